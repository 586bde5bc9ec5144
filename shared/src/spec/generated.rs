//! `spec.schema.json` and `docs/spec.md` are made of the types in `spec.rs`. After a change there, write them anew:
//! `UPDATE_GENERATED=1 cargo test --workspace --lib generated`.

use super::Spec;
use crate::Removal;
use crate::input::schema::{allowed, resolve, type_name};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

const BEGINNING: &str = r#"<!-- Written by a test from shared/src/spec.rs; see shared/src/spec/generated.rs. -->

# The stack spec

The input of the state machine `provision`: one JSON object. Two fields are required, every other has a default. A field
that is not listed here is refused, and all mistakes are told at once, before anything is created.

[`shared/spec.schema.json`](../shared/spec.schema.json) is the same as a JSON schema, for completion and checks while you
write. In Visual Studio Code, in `.vscode/settings.json`:

```json
{"json.schemas": [{"fileMatch": ["my-stack.json"], "url": "./shared/spec.schema.json"}]}
```

"#;

const REMOVAL: &str = r"
# The removal

The input of the state machine `teardown`.

";

/// Holds a file to what it should be, or writes it.
fn is_current(file: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is not current: run `UPDATE_GENERATED=1 cargo test --workspace --lib generated` and commit it",
        path.display()
    );
}

#[test]
fn the_schema_for_editors_is_current() {
    let schema = Spec::schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(schema["description"].is_string());
    let text = serde_json::to_string_pretty(&schema).unwrap();
    is_current("spec.schema.json", &(text + "\n"));
}

#[test]
fn the_documentation_of_the_spec_is_current() {
    let text = [
        BEGINNING,
        &documentation(&Spec::schema()),
        REMOVAL,
        &documentation(&Removal::schema()),
    ];
    is_current("../docs/spec.md", &text.concat());
}

/// One table for the fields at the top, and one for each field that has fields of its own.
fn documentation(schema: &Value) -> String {
    let mut text = String::new();
    tables(schema, schema, "", &mut text);
    text
}

fn tables(root: &Value, schema: &Value, path: &str, text: &mut String) {
    let mut inner = Vec::new();
    text.push_str(
        "| field | type | default | what is allowed | what it is |\n|---|---|---|---|---|\n",
    );
    for (name, property) in schema["properties"].as_object().unwrap() {
        let resolved = resolve(root, property);
        let path = format!("{path}{name}");
        let described = |schema: &Value| schema["description"].as_str().map(str::to_owned);
        let description = described(property)
            .or_else(|| described(resolved))
            .unwrap_or_else(|| panic!("{path} has no description"));
        if resolved.get("properties").is_some() {
            inner.push((path, resolved, description));
            continue;
        }
        row(root, schema, &path, name, property, &description, text);
    }
    for (path, resolved, description) in inner {
        write!(text, "\n## `{path}`\n\n{description}\n\n").unwrap();
        tables(root, resolved, &format!("{path}."), text);
    }
}

fn row(
    root: &Value,
    parent: &Value,
    path: &str,
    name: &str,
    property: &Value,
    description: &str,
    text: &mut String,
) {
    let resolved = resolve(root, property);
    let is_required = parent["required"]
        .as_array()
        .is_some_and(|required| required.iter().any(|required| required == name));
    let default = match property.get("default") {
        Some(Value::Null) => "none".into(),
        Some(default) => format!("`{default}`"),
        None if is_required => "**required**".into(),
        None => panic!("{path} has neither a default nor is it required"),
    };
    let kind = match type_name(resolved) {
        "" => "string", // a choice
        "object" => "object of strings",
        "array" => "list of strings",
        name => name,
    };
    let allowed = match resolved.get("additionalProperties") {
        Some(inner) => format!(
            "names: {}; values: {}",
            allowed(root, &resolved["propertyNames"]),
            allowed(root, inner)
        ),
        None => match resolved.get("items") {
            Some(inner) => format!("{}, each {}", allowed(root, resolved), allowed(root, inner)),
            None => allowed(root, resolved),
        },
    };
    let cells = [path, kind, &default, &allowed, description].map(|cell| cell.replace('|', "\\|"));
    let [_, kind, default, allowed, description] = cells;
    writeln!(
        text,
        "| `{path}` | {kind} | {default} | {allowed} | {description} |"
    )
    .unwrap();
}
