//! Checks a JSON value against a schema of ours and tells every mistake at once. serde stops at the first, and a whole
//! JSON Schema implementation would weigh more than the function; a test compares this one with such an implementation.

use super::Mistake;
use regex_lite::Regex;
use serde_json::{Map, Value};

/// The keywords that [`mistakes`] understands; a test holds the generated schema to them.
#[cfg(test)]
pub(super) const KEYWORDS: [&str; 18] = [
    "$ref",
    "additionalProperties",
    "anyOf",
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
];

/// Every mistake of `value`, in the order of the schema's fields.
pub(super) fn mistakes(schema: &Value, value: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    check(schema, schema, String::new(), value, &mut found);
    found
}

fn check(root: &Value, schema: &Value, field: String, value: &Value, found: &mut Vec<Mistake>) {
    let schema = resolve(root, schema);
    // An optional field: `anyOf` its schema and null; a choice: `oneOf` constants. One fitting alternative is enough.
    if let Some(alternatives) = schema
        .get("anyOf")
        .or(schema.get("oneOf"))
        .and_then(Value::as_array)
    {
        let tried: Vec<Vec<Mistake>> = alternatives
            .iter()
            .map(|alternative| {
                let mut found = Vec::new();
                check(root, alternative, field.clone(), value, &mut found);
                found
            })
            .collect();
        if tried.iter().all(|mistakes| !mistakes.is_empty()) {
            found.push(Mistake::new(field, value.clone(), allowed(root, schema)));
        }
        return;
    }
    let before = found.len();
    if !has_type(schema, value) || !has_value(schema, value) {
        found.push(Mistake::new(field, value.clone(), allowed(root, schema)));
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
    debug_assert!(found.len() >= before);
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
                format!("{}; this field is required", allowed(root, inner)),
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
                    format!("no such field; the fields here are {}", known.join(", ")),
                ));
            }
            Some(inner) => {
                let names = schema.get("propertyNames").unwrap_or(&Value::Null);
                if !has_value(names, &Value::String(name.clone())) {
                    found.push(Mistake::new(
                        path(name),
                        member.clone(),
                        format!("a name that is {}", allowed(root, names)),
                    ));
                }
                check(root, inner, path(name), member, found);
            }
            None => {}
        }
    }
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
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
fn allowed(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    let text = |value: &Value| value.to_string();
    if let Some(alternatives) = schema
        .get("anyOf")
        .or(schema.get("oneOf"))
        .and_then(Value::as_array)
    {
        let all: Vec<_> = alternatives
            .iter()
            .map(|alternative| allowed(root, alternative))
            .collect();
        return all.join(" or ");
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(text).collect::<Vec<_>>().join(", ");
    }
    if let Some(only) = schema.get("const") {
        return text(only);
    }
    let mut words = match schema.get("type") {
        Some(Value::String(name)) => vec![name.clone()],
        Some(names) => vec![strings(Some(names)).collect::<Vec<_>>().join(" or ")],
        None => Vec::new(),
    };
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    match (limit("minimum"), limit("maximum")) {
        (Some(least), Some(most)) => words.push(format!("{least} to {most}")),
        (Some(least), None) => words.push(format!("{least} or more")),
        _ => {}
    }
    match (limit("minLength"), limit("maxLength")) {
        (Some(least), Some(most)) => words.push(format!("of {least} to {most} characters")),
        (None, Some(most)) => words.push(format!("of {most} characters at most")),
        _ => {}
    }
    if let Some(most) = limit("maxItems") {
        words.push(format!("of {most} items at most"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        words.push(format!("matching {pattern}"));
    }
    if let Some(pattern) = schema
        .get("not")
        .and_then(|not| not.get("pattern"))
        .and_then(Value::as_str)
    {
        words.push(format!("not matching {pattern}"));
    }
    words.join(" ")
}
