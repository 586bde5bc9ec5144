//! Checks a JSON value against a schema of ours and tells every mistake at once. serde stops at the first, and a whole
//! JSON Schema implementation would weigh more than the function; a test compares this one with such an implementation.

use crate::Mistake;
use regex_lite::Regex;
use serde_json::{Map, Value};

/// The keywords that [`mistakes`] understands; a test holds the schemas to them.
#[cfg(test)]
const KEYWORDS: [&str; 18] = [
    "$ref",
    "additionalProperties",
    "const",
    "enum",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "not",
    "oneOf",
    "pattern",
    "properties",
    "propertyNames",
    "required",
    "type",
    "writeOnly",
];

/// What a pattern asks for, in words: for our refusals, and for editors (Visual Studio Code shows it).
pub(crate) const WORDS: &str = "patternErrorMessage";

/// Every mistake of `value`, in the order of the schema's fields.
pub(crate) fn mistakes(schema: &Value, value: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    check(schema, schema, String::new(), value, &mut found);
    found
}

fn check(root: &Value, schema: &Value, field: String, value: &Value, found: &mut Vec<Mistake>) {
    let schema = resolve(root, schema);
    // One fitting alternative is enough.
    if let Some(alternatives) = alternatives(schema) {
        let tried: Vec<Vec<Mistake>> = alternatives
            .iter()
            .map(|alternative| {
                let mut found = Vec::new();
                check(root, alternative, field.clone(), value, &mut found);
                found
            })
            .collect();
        if tried.iter().all(|mistakes| !mistakes.is_empty()) {
            found.push(refused(root, schema, field, value));
        }
        return;
    }
    if !has_type(schema, value) || !has_value(schema, value) {
        found.push(refused(root, schema, field, value));
        return;
    }
    match value {
        Value::Object(members) => object(root, schema, &field, members, found),
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                for (n, item) in items.iter().enumerate() {
                    check(root, inner, format!("{field}[{n}]"), item, found);
                }
            }
        }
        _ => {}
    }
}

/// The mistake that a value is, and what to write instead where that can be told.
fn refused(root: &Value, schema: &Value, field: String, value: &Value) -> Mistake {
    let allowed = allowed(root, schema);
    // Somebody may have put the secret itself where its name belongs.
    if schema.get("writeOnly") == Some(&Value::Bool(true)) {
        return Mistake::new(field, "(not shown)", allowed);
    }
    let mut alike = alike(value).into_iter();
    let meant = alike.find(|other| other != value && fits(root, schema, other));
    let mistake = Mistake::new(field, value.clone(), allowed);
    match meant {
        Some(meant) => mistake.write(meant.to_string()),
        None => mistake,
    }
}

/// Whether a value that is no object is allowed.
fn fits(root: &Value, schema: &Value, value: &Value) -> bool {
    let schema = resolve(root, schema);
    if let Some(alternatives) = alternatives(schema) {
        return alternatives.iter().any(|schema| fits(root, schema, value));
    }
    let items = value.as_array().into_iter().flatten();
    has_type(schema, value)
        && has_value(schema, value)
        && items
            .into_iter()
            .all(|item| fits(root, &schema["items"], item))
}

/// What a value would be without its quotes, or with some, in small letters, or in a list.
fn alike(value: &Value) -> Vec<Value> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            let bare =
                serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.to_lowercase()));
            let bare = bare
                .ok()
                .filter(|bare: &Value| bare.is_number() || bare.is_boolean());
            let texts = [text.into(), text.to_lowercase().into(), vec![text].into()];
            bare.into_iter().chain(texts).collect()
        }
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|number| number.fract() == 0.0 && number.abs() < 1e9);
            let whole = whole.map(|number| Value::from(number as i64));
            whole
                .into_iter()
                .chain([number.to_string().into()])
                .collect()
        }
        Value::Bool(_) => vec![value.to_string().into()],
        _ => Vec::new(),
    }
}

/// A choice is `oneOf` constants.
fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("oneOf").and_then(Value::as_array)
}

fn object(
    root: &Value,
    schema: &Value,
    field: &str,
    members: &Map<String, Value>,
    found: &mut Vec<Mistake>,
) {
    let path = |name: &str| {
        if field.is_empty() {
            name.to_owned()
        } else {
            format!("{field}.{name}")
        }
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    for required in strings(schema.get("required")) {
        if !members.contains_key(required) {
            let inner = &schema["properties"][required];
            found.push(Mistake::new(
                path(required),
                Value::Null,
                format!("{}; it is required", allowed(root, inner)),
            ));
        }
    }
    for (name, member) in members {
        if let Some(inner) = properties.and_then(|properties| properties.get(name)) {
            check(root, inner, path(name), member, found);
            continue;
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => {
                let known: Vec<_> = properties
                    .map(|properties| properties.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                found.push(Mistake::new(
                    path(name),
                    member.clone(),
                    format!("only the fields {}", listed(&known, "and")),
                ));
            }
            Some(inner) => {
                let names = schema.get("propertyNames").unwrap_or(&Value::Null);
                if !has_value(names, &Value::String(name.clone())) {
                    found.push(Mistake::new(
                        path(name),
                        member.clone(),
                        allowed(root, names),
                    ));
                }
                check(root, inner, path(name), member, found);
            }
            None => {}
        }
    }
}

pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or(&Value::Null),
        None => schema,
    }
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn has_type(schema: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    match schema.get("type") {
        Some(Value::String(name)) => is(name),
        Some(names @ Value::Array(_)) => strings(Some(names)).any(is),
        _ => true,
    }
}

/// Whether a value of the right type is within its limits. Limits of another type than the value's say nothing about it.
fn has_value(schema: &Value, value: &Value) -> bool {
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    let listed = |value: &Value| match schema.get("enum").and_then(Value::as_array) {
        Some(values) => values.contains(value),
        None => schema.get("const").is_none_or(|only| only == value),
    };
    let fits = |size: usize, smallest: &str, largest: &str| {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        limit(smallest).is_none_or(|limit| size >= limit)
            && limit(largest).is_none_or(|limit| size <= limit)
    };
    let matches = |pattern: &Value, text: &str| {
        pattern
            .as_str()
            .is_none_or(|pattern| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)))
    };
    listed(value)
        && match value {
            Value::Number(_) => {
                let number = value.as_i64();
                limit("minimum").is_none_or(|limit| number >= Some(limit))
                    && limit("maximum")
                        .is_none_or(|limit| number.is_some_and(|number| number <= limit))
            }
            Value::String(text) => {
                fits(text.chars().count(), "minLength", "maxLength")
                    && schema
                        .get("pattern")
                        .is_none_or(|pattern| matches(pattern, text))
                    && !schema
                        .get("not")
                        .and_then(|not| not.get("pattern"))
                        .is_some_and(|pattern| matches(pattern, text))
            }
            Value::Array(items) => fits(items.len(), "minItems", "maxItems"),
            _ => true,
        }
}

/// What a schema allows, in words.
pub(crate) fn allowed(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    if let Some(alternatives) = alternatives(schema) {
        let all: Vec<_> = alternatives
            .iter()
            .map(|alternative| allowed(root, alternative))
            .collect();
        return listed(&all, "or");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let all: Vec<_> = values.iter().map(Value::to_string).collect();
        return listed(&all, "or");
    }
    if let Some(only) = schema.get("const") {
        return only.to_string();
    }
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    match type_name(schema) {
        "boolean" => "true or false".into(),
        "integer" => match (limit("minimum"), limit("maximum")) {
            (Some(least), Some(most)) => format!("a whole number from {least} to {most}"),
            _ => "a whole number".into(),
        },
        "object" => "an object".into(),
        "array" => match limit("maxItems") {
            Some(most) => format!("a list of {most} items at most"),
            None => "a list".into(),
        },
        _ => text_allowed(schema),
    }
}

fn text_allowed(schema: &Value) -> String {
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    let word = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
    let mut words = match (word(WORDS), word("pattern")) {
        (Some(words), _) => words.to_owned(),
        (None, Some(pattern)) => format!("a text that matches {pattern}"),
        (None, None) => "a text".into(),
    };
    match (limit("minLength"), limit("maxLength")) {
        (Some(least), Some(most)) => words += &format!(" ({least} to {most} characters)"),
        (None, Some(most)) => words += &format!(" ({most} characters at most)"),
        _ => {}
    }
    words
}

/// The type of a schema that is no choice. Null, which is how JSON leaves a field out, needs no words.
pub(crate) fn type_name(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        names => strings(names)
            .find(|name| *name != "null")
            .unwrap_or_default(),
    }
}

/// `a, b or c`
pub(crate) fn listed(words: &[impl AsRef<str>], last: &str) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((end, begin)) if !begin.is_empty() => format!("{} {last} {end}", begin.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Removal;
    use crate::Spec;

    /// What tells a reader or an editor something and refuses nothing.
    const ANNOTATIONS: [&str; 7] = [
        "$defs",
        "$schema",
        "default",
        "description",
        "format",
        WORDS,
        "title",
    ];

    /// Every keyword of a schema; the names of properties and definitions, and the values of defaults, are none.
    fn keywords<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(members) => {
                for (keyword, inner) in members {
                    found.push(keyword);
                    match (keyword.as_str(), inner) {
                        ("properties" | "$defs", Value::Object(named)) => {
                            named.values().for_each(|inner| keywords(inner, found));
                        }
                        ("default" | "const" | "enum", _) => {}
                        _ => keywords(inner, found),
                    }
                }
            }
            Value::Array(all) => all.iter().for_each(|inner| keywords(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn the_schemas_use_only_keywords_that_the_checker_understands() {
        for schema in [Spec::schema(), Removal::schema()] {
            let mut found = Vec::new();
            keywords(&schema, &mut found);
            found.retain(|keyword| !KEYWORDS.contains(keyword) && !ANNOTATIONS.contains(keyword));
            assert_eq!(found, [""; 0], "{}", schema["title"]);
        }
    }

    #[test]
    fn every_keyword_that_the_checker_understands_is_used() {
        let (spec, removal) = (Spec::schema(), Removal::schema());
        let mut found = Vec::new();
        keywords(&spec, &mut found);
        keywords(&removal, &mut found);
        for keyword in KEYWORDS {
            assert!(found.contains(&keyword), "no schema says {keyword}");
        }
    }
}
