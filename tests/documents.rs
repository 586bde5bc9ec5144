//! The project's files, as values.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};
use std::fs;

/// The text of a file of the project.
pub(crate) fn text(file: &str) -> String {
    let path = rehearsal::root().join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the files in a folder of the project.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let path = rehearsal::root().join(folder);
    let mut names: Vec<_> = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A JSON file of the project.
pub(crate) fn json(file: &str) -> Value {
    serde_json::from_str(&text(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A YAML file of the project. The tags of CloudFormation become what they are short for: `!Ref X` is `{"Ref": "X"}`.
pub(crate) fn yaml(file: &str) -> Value {
    let text = text(file);
    let mut events = Parser::new_from_str(&text)
        .map(|event| event.unwrap_or_else(|error| panic!("{file}: {error}")).0);
    loop {
        match events.next().expect("a document") {
            Event::StreamStart | Event::DocumentStart(_) => {}
            first => return node(first, &mut events),
        }
    }
}

fn node<'a>(event: Event<'a>, events: &mut impl Iterator<Item = Event<'a>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, _, tag) => tagged(tag.as_deref(), plain(&text)),
        Event::Scalar(text, _, _, tag) => tagged(tag.as_deref(), text.into()),
        Event::SequenceStart(_, tag) => {
            let mut items = Vec::new();
            loop {
                match events.next().expect("the end of a sequence") {
                    Event::SequenceEnd => return tagged(tag.as_deref(), items.into()),
                    event => items.push(node(event, events)),
                }
            }
        }
        Event::MappingStart(_, tag) => {
            let mut members = Map::new();
            loop {
                match events.next().expect("the end of a mapping") {
                    Event::MappingEnd => return tagged(tag.as_deref(), members.into()),
                    Event::Scalar(name, ..) => {
                        let event = events.next().expect("a value");
                        let before = members.insert(name.to_string(), node(event, events));
                        assert_eq!(before, None, "{name} is there twice");
                    }
                    event => panic!("{event:?} is no name"),
                }
            }
        }
        event => panic!("{event:?} is not used in this project"),
    }
}

/// Numbers, booleans and null as JSON has them; anything else is text.
fn plain(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => value,
        _ => text.into(),
    }
}

fn tagged(tag: Option<&Tag>, value: Value) -> Value {
    let Some(tag) = tag else { return value };
    let name = match tag.suffix.as_str() {
        name @ ("Ref" | "Condition") => name.to_owned(),
        name => format!("Fn::{name}"),
    };
    Value::Object(Map::from_iter([(name, value)]))
}
