//! Reads what a person starts an execution with, and tells every mistake at once.

pub(crate) mod schema;

use crate::{Error, Mistake, Result};
use serde_json::Value;

/// Reads an input of ours.
///
/// # Errors
/// [`Error::Invalid`] with every mistake that its schema finds, and every rule between its fields that is broken.
pub fn parse<T: serde::de::DeserializeOwned>(
    schema: &Value,
    input: &Value,
    rules: impl FnOnce(&T) -> Vec<Mistake>,
) -> Result<T> {
    match read(schema, input, rules) {
        (Some(parsed), mistakes) if mistakes.is_empty() => Ok(parsed),
        (_, mistakes) => Err(Error::Invalid(mistakes)),
    }
}

/// What of an input is sound, if that is enough to go by, and every mistake in the rest.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    schema: &Value,
    input: &Value,
    rules: impl FnOnce(&T) -> Vec<Mistake>,
) -> (Option<T>, Vec<Mistake>) {
    let mut mistakes = schema::mistakes(schema, input);
    let mistaken: Vec<_> = mistakes
        .iter()
        .map(|mistake| mistake.field.clone())
        .collect();
    // What the schema accepts, serde accepts too: a property test holds the two together.
    let mut sound = sound(input, "", &mistaken);
    // Required fields get a stand-in; they are all texts.
    if let Some(members) = sound.as_object_mut() {
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Value::as_str) {
            members.entry(name).or_insert("stack".into());
        }
    }
    match T::deserialize(sound) {
        Ok(parsed) => {
            // Where a field is mistaken, a rule that rests on it has nothing to say yet.
            let mut broken = rules(&parsed);
            broken.retain(|rule| !mistakes.iter().any(|mistake| rule.is_moot_after(mistake)));
            mistakes.extend(broken);
            (Some(parsed), mistakes)
        }
        Err(error) => {
            if mistakes.is_empty() {
                mistakes.push(Mistake::new("", input.clone(), error.to_string()));
            }
            (None, mistakes)
        }
    }
}

/// The input without what is mistaken in it, so that the rules can look at the rest.
fn sound(value: &Value, field: &str, mistaken: &[String]) -> Value {
    let kept = |field: &String| !mistaken.contains(field);
    match value {
        Value::Object(members) => {
            let path = |name: &str| {
                if field.is_empty() {
                    name.to_owned()
                } else {
                    format!("{field}.{name}")
                }
            };
            let members = members.iter().filter(|(name, _)| kept(&path(name)));
            members
                .map(|(name, member)| (name.clone(), sound(member, &path(name), mistaken)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        Value::Array(items) => {
            let items = items
                .iter()
                .enumerate()
                .map(|(n, item)| (format!("{field}[{n}]"), item));
            items
                .filter(|(field, _)| kept(field))
                .map(|(_, item)| item.clone())
                .collect()
        }
        other => other.clone(),
    }
}
