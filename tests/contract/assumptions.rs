//! What is believed of AWS and no text of AWS states is in `docs/assumptions.md`, and whatever rests on it says so.

use crate::documents::text;
use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const REGISTER: &str = "docs/assumptions.md";

/// Where code and emulators say what they rest on.
const PLACES: [&str; 5] = [
    "functions",
    "rehearsal",
    "shared",
    "statemachine",
    "template.yaml",
];

fn read(path: &Path, to: &mut String) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), to);
        }
    } else if path.extension().is_some_and(|extension| {
        ["rs", "py", "yaml", "json"]
            .iter()
            .any(|it| extension == *it)
    }) {
        *to += &fs::read_to_string(path).unwrap();
    }
}

#[test]
fn every_assumption_is_in_the_register_and_somewhere_relied_on() {
    let mut code = String::new();
    for place in PLACES {
        read(&rehearsal::root().join(place), &mut code);
    }
    let nameless: Vec<_> = code
        .lines()
        .filter(|line| line.contains("Assumption:"))
        .collect();
    assert!(
        nameless.is_empty(),
        "an assumption has an id: {nameless:#?}"
    );
    let ids = |pattern: &str, text: &str| -> BTreeSet<String> {
        let id = Regex::new(pattern).unwrap();
        id.captures_iter(text)
            .map(|found| found[1].to_owned())
            .collect()
    };
    let relied_on = ids(r"Assumption ([a-z][a-z0-9-]+)", &code);
    let register = text(REGISTER);
    let known = ids(r"(?m)^### ([a-z][a-z0-9-]+)$", &register);
    assert_eq!(relied_on, known);
    for part in register.split("\n### ").skip(1) {
        let (id, text) = part.split_once('\n').unwrap();
        for line in ["- Source: ", "- If it is wrong: ", "- Check: `"] {
            assert!(text.contains(line), "{id}: {line}");
        }
    }
}
