//! Requests, checked against the service model that AWS publishes (botocore carries it).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use regex_lite::Regex;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// A shape of answers whose pattern wants 36 characters and whose length allows 32. Real ids have 32.
const UNSATISFIABLE: &str = "ServiceId";

/// AWS's service model: which operations there are, and what each may be asked.
#[derive(Debug)]
pub struct ServiceModel {
    operations: BTreeMap<String, Operation>,
    shapes: BTreeMap<String, Shape>,
}

/// Why a service model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is not there or not readable.
    #[error("{} cannot be read: `cargo rehearse --prepare` puts it there", path.display())]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The text is not JSON.
    #[error("the service model is not JSON")]
    Json(#[from] serde_json::Error),
    /// The model has something that is not understood here. Better no emulator than one that lets it pass.
    #[error("shape {shape} of the service model: {reason}")]
    Shape {
        /// The name of the shape.
        shape: String,
        /// What is not understood.
        reason: String,
    },
}

/// The names of the shapes of an operation.
#[derive(Debug)]
struct Operation {
    input: String,
    output: String,
}

#[derive(Debug)]
struct Shape {
    kind: Kind,
    /// Values of such shapes are never repeated in an error message.
    sensitive: bool,
}

#[derive(Debug)]
enum Kind {
    Structure {
        members: BTreeMap<String, String>,
        required: Vec<String>,
    },
    List {
        member: String,
        size: Bounds,
    },
    Map {
        key: String,
        value: String,
        size: Bounds,
    },
    Text {
        length: Bounds,
        one_of: Vec<String>,
        pattern: Option<Pattern>,
    },
    Integer {
        range: Bounds,
    },
    Boolean,
    Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: Option<i64>,
    max: Option<i64>,
}

#[derive(Debug)]
struct Pattern {
    published: String,
    regex: Regex,
    /// What a text may not start with: regex-lite has no look-ahead, and `TagKey` is `^(?!aws:).+`.
    not_first: Option<String>,
}

impl ServiceModel {
    /// Reads botocore's `service-2.json.gz`.
    ///
    /// # Errors
    /// See [`ModelError`].
    pub fn read(path: &Path) -> Result<ServiceModel, ModelError> {
        let unreadable = |source| ModelError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut json = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut json)
            .map_err(unreadable)?;
        ServiceModel::parse(&json)
    }

    /// Reads a service model from its JSON.
    ///
    /// # Errors
    /// [`ModelError::Json`] and [`ModelError::Shape`].
    pub fn parse(json: &str) -> Result<ServiceModel, ModelError> {
        let model: Value = serde_json::from_str(json)?;
        let operations = entries(&model["operations"])
            .map(|(name, operation)| {
                let (input, output) = (name_of(&operation["input"]), name_of(&operation["output"]));
                (name.clone(), Operation { input, output })
            })
            .collect();
        let shapes = entries(&model["shapes"])
            .map(|(name, shape)| {
                Shape::parse(name, shape)
                    .map(|shape| (name.clone(), shape))
                    .map_err(|reason| ModelError::Shape {
                        shape: name.clone(),
                        reason,
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(ServiceModel { operations, shapes })
    }

    /// The published patterns that had to be rewritten because regex-lite cannot compile them as they are.
    #[must_use]
    pub fn rewritten_patterns(&self) -> Vec<(&str, &str)> {
        self.shapes
            .iter()
            .filter_map(|(name, shape)| match &shape.kind {
                Kind::Text {
                    pattern: Some(pattern),
                    ..
                } if pattern.not_first.is_some() => {
                    Some((name.as_str(), pattern.published.as_str()))
                }
                _ => None,
            })
            .collect()
    }

    /// What the model has against a request of one of its operations.
    #[must_use]
    pub fn refusal(&self, operation: &str, request: &Value) -> Option<String> {
        self.check(operation, request)
            .err()
            .map(|refusal| refusal.message)
    }

    pub(crate) fn has_operation(&self, operation: &str) -> bool {
        self.operations.contains_key(operation)
    }

    /// Checks a request: a wrong type is a `SerializationException`, as everywhere in AWS; anything else an
    /// `InvalidRequestException` that names every mistake at once.
    ///
    /// AWS itself ignores members that it does not know. They are refused here with botocore's text, because no client
    /// that was generated from the model can send one.
    pub(crate) fn check(&self, operation: &str, request: &Value) -> Result<(), Refusal> {
        self.check_whole(&self.operation(operation).input, request)
    }

    /// Checks an answer in the same way: the emulator does not trust itself either.
    pub(crate) fn check_answer(&self, operation: &str, answer: &Value) -> Result<(), Refusal> {
        self.check_whole(&self.operation(operation).output, answer)
    }

    fn operation(&self, name: &str) -> &Operation {
        self.operations
            .get(name)
            .expect("the operation was looked up before")
    }

    fn check_whole(&self, shape: &str, value: &Value) -> Result<(), Refusal> {
        let mut mistakes = Vec::new();
        self.check_shape(shape, value, "", &mut mistakes)?;
        match mistakes.len() {
            0 => Ok(()),
            1 => Err(Refusal::invalid_request(format!(
                "1 validation error detected: {}",
                mistakes[0]
            ))),
            n => Err(Refusal::invalid_request(format!(
                "{n} validation errors detected: {}",
                mistakes.join("; ")
            ))),
        }
    }

    fn check_shape(
        &self,
        name: &str,
        value: &Value,
        at: &str,
        mistakes: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        let shape = self
            .shapes
            .get(name)
            .ok_or_else(|| Refusal::internal(format!("the model has no shape {name}")))?;
        let wrong_type = |wanted: &str| {
            let at = if at.is_empty() { "the request" } else { at };
            Err(Refusal::serialization(format!("{at} is not {wanted}")))
        };
        let quoted = || {
            if shape.sensitive {
                "(sensitive)".to_owned()
            } else {
                format!("'{}'", plain(value))
            }
        };
        let mut mistake = |constraint: String| {
            mistakes.push(format!(
                "Value {} at '{at}' failed to satisfy constraint: {constraint}",
                quoted()
            ));
        };
        match &shape.kind {
            Kind::Structure { members, required } => {
                let Value::Object(given) = value else {
                    return wrong_type("a structure");
                };
                for name in required.iter().filter(|name| absent(given, name)) {
                    mistakes.push(format!(
                        "Value null at '{}' failed to satisfy constraint: Member must not be null",
                        below(at, name)
                    ));
                }
                for (member, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                    match members.get(member) {
                        Some(shape) => {
                            self.check_shape(shape, value, &below(at, member), mistakes)?
                        }
                        None => mistakes.push(unknown_member(at, member, members)),
                    }
                }
            }
            Kind::List { member, size } => {
                let Value::Array(items) = value else {
                    return wrong_type("a list");
                };
                size.check(items.len(), "length", &mut mistake);
                for (index, item) in items.iter().enumerate() {
                    self.check_shape(member, item, &format!("{at}[{index}]"), mistakes)?;
                }
            }
            Kind::Map {
                key,
                value: value_shape,
                size,
            } => {
                let Value::Object(pairs) = value else {
                    return wrong_type("a map");
                };
                size.check(pairs.len(), "length", &mut mistake);
                for (name, item) in pairs {
                    self.check_shape(
                        key,
                        &Value::from(name.as_str()),
                        &format!("{at} (key)"),
                        mistakes,
                    )?;
                    self.check_shape(value_shape, item, &below(at, name), mistakes)?;
                }
            }
            Kind::Text {
                length,
                one_of,
                pattern,
            } => {
                let Value::String(text) = value else {
                    return wrong_type("a string");
                };
                length.check(text.chars().count(), "length", &mut mistake);
                if !one_of.is_empty() && !one_of.contains(text) {
                    mistake(format!(
                        "Member must satisfy enum value set: [{}]",
                        one_of.join(", ")
                    ));
                }
                if let Some(pattern) = pattern
                    && !pattern.matches(text)
                {
                    mistake(format!(
                        "Member must satisfy regular expression pattern: {}",
                        pattern.published
                    ));
                }
            }
            Kind::Integer { range } => {
                let Some(number) = value.as_i64() else {
                    return wrong_type("an integer");
                };
                range.check(number, "value", &mut mistake);
            }
            Kind::Boolean => {
                if !value.is_boolean() {
                    return wrong_type("a boolean");
                }
            }
            Kind::Timestamp => {
                if !value.is_number() {
                    return wrong_type("a timestamp");
                }
            }
        }
        Ok(())
    }
}

impl Shape {
    fn parse(name: &str, shape: &Value) -> Result<Shape, String> {
        let bounds = Bounds {
            min: shape["min"].as_i64(),
            max: shape["max"].as_i64(),
        };
        let kind = match shape["type"].as_str().unwrap_or_default() {
            "structure" => Kind::Structure {
                members: entries(&shape["members"])
                    .map(|(name, member)| (name.clone(), name_of(member)))
                    .collect(),
                required: texts(&shape["required"]),
            },
            "list" => Kind::List {
                member: name_of(&shape["member"]),
                size: bounds,
            },
            "map" => Kind::Map {
                key: name_of(&shape["key"]),
                value: name_of(&shape["value"]),
                size: bounds,
            },
            "string" => Kind::Text {
                length: bounds,
                one_of: texts(&shape["enum"]),
                pattern: shape["pattern"]
                    .as_str()
                    .filter(|_| name != UNSATISFIABLE)
                    .map(Pattern::parse)
                    .transpose()?,
            },
            "integer" | "long" => Kind::Integer { range: bounds },
            "boolean" => Kind::Boolean,
            "timestamp" => Kind::Timestamp,
            other => return Err(format!("type {other:?} is not known here")),
        };
        Ok(Shape {
            kind,
            sensitive: shape["sensitive"].as_bool().unwrap_or_default(),
        })
    }
}

impl Pattern {
    fn parse(published: &str) -> Result<Pattern, String> {
        let look_ahead = published
            .strip_prefix("^(?!")
            .and_then(|rest| rest.split_once(')'));
        let (not_first, pattern) = match look_ahead {
            Some((literal, rest))
                if literal
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == ':') =>
            {
                (Some(literal.to_owned()), rest)
            }
            _ => (None, published),
        };
        // A Smithy pattern is not anchored by itself; App Runner's are written to match the whole value.
        let regex = Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|error| format!("pattern {published}: {error}"))?;
        Ok(Pattern {
            published: published.to_owned(),
            regex,
            not_first,
        })
    }

    fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
            && !self
                .not_first
                .as_ref()
                .is_some_and(|first| text.starts_with(first))
    }
}

impl Bounds {
    fn check(self, actual: impl TryInto<i64>, what: &str, mistake: &mut impl FnMut(String)) {
        let actual = actual.try_into().unwrap_or(i64::MAX);
        if let Some(min) = self.min.filter(|min| actual < *min) {
            mistake(format!(
                "Member must have {what} greater than or equal to {min}"
            ));
        }
        if let Some(max) = self.max.filter(|max| actual > *max) {
            mistake(format!(
                "Member must have {what} less than or equal to {max}"
            ));
        }
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn name_of(reference: &Value) -> String {
    reference["shape"].as_str().unwrap_or_default().to_owned()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn absent(given: &Map<String, Value>, name: &str) -> bool {
    given.get(name).is_none_or(Value::is_null)
}

fn below(at: &str, member: &str) -> String {
    if at.is_empty() {
        member.to_owned()
    } else {
        format!("{at}.{member}")
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn unknown_member(at: &str, member: &str, members: &BTreeMap<String, String>) -> String {
    let at = if at.is_empty() { "input" } else { at };
    let known: Vec<&str> = members.keys().map(String::as_str).collect();
    format!(
        "Unknown parameter in {at}: \"{member}\", must be one of: {}",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::ErrorName;
    use serde_json::json;

    fn model() -> ServiceModel {
        let model = json!({
            "operations": {"Fly": {"input": {"shape": "FlyRequest"}, "output": {"shape": "Where"}}},
            "shapes": {
                "FlyRequest": {"type": "structure", "required": ["Name"], "members": {
                    "Name": {"shape": "Name"}, "Height": {"shape": "Height"}, "Wind": {"shape": "Wind"},
                    "Crew": {"shape": "Crew"}, "Luggage": {"shape": "Luggage"}, "Night": {"shape": "Night"},
                    "Key": {"shape": "Key"}, "Where": {"shape": "Where"},
                }},
                "Name": {"type": "string", "min": 4, "max": 6, "pattern": "[a-z]+"},
                "Height": {"type": "integer", "min": 1, "max": 25},
                "Wind": {"type": "string", "enum": ["EAST", "WEST"]},
                "Crew": {"type": "list", "member": {"shape": "Name"}, "max": 2},
                "Luggage": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Secret"}},
                "Secret": {"type": "string", "max": 3, "sensitive": true},
                "Night": {"type": "boolean"},
                "Key": {"type": "string", "pattern": "^(?!aws:).+"},
                "Where": {"type": "structure", "members": {"Airport": {"shape": "Name"}}},
            },
        });
        ServiceModel::parse(&model.to_string()).expect("the little model is right")
    }

    fn refused(request: &Value) -> Refusal {
        model()
            .check("Fly", request)
            .expect_err("this request must be refused")
    }

    #[test]
    fn a_request_that_keeps_to_the_model_passes() {
        let request = json!({"Name": "geese", "Height": 25, "Wind": "EAST", "Crew": ["anna"], "Luggage": {"case": "abc"},
            "Night": false, "Key": "app", "Where": {"Airport": null}});
        assert_eq!(model().check("Fly", &request), Ok(()));
    }

    #[test]
    fn each_constraint_of_the_model_is_kept() {
        for (request, said) in [
            (json!({}), "null at 'Name'"),
            (json!({"Name": null}), "null at 'Name'"),
            (json!({"Name": "abc"}), "length greater than or equal to 4"),
            (json!({"Name": "abcdefg"}), "length less than or equal to 6"),
            (json!({"Name": "Abcd"}), "pattern: [a-z]+"),
            (json!({"Name": "abcd\n"}), "pattern: [a-z]+"),
            (json!({"Name": "abcd", "Height": 0}), "'0' at 'Height'"),
            (
                json!({"Name": "abcd", "Height": 26}),
                "value less than or equal to 25",
            ),
            (
                json!({"Name": "abcd", "Wind": "NORTH"}),
                "enum value set: [EAST, WEST]",
            ),
            (
                json!({"Name": "abcd", "Crew": ["anna", "bert", "carl"]}),
                "at 'Crew'",
            ),
            (
                json!({"Name": "abcd", "Crew": ["anna", "b"]}),
                "at 'Crew[1]'",
            ),
            (
                json!({"Name": "abcd", "Luggage": {"x": "abc"}}),
                "at 'Luggage (key)'",
            ),
            (json!({"Name": "abcd", "Key": "aws:this"}), "(?!aws:)"),
            (
                json!({"Name": "abcd", "Wings": 2}),
                "Unknown parameter in input: \"Wings\"",
            ),
            (
                json!({"Name": "abcd", "Where": {"City": "x"}}),
                "Unknown parameter in Where: \"City\"",
            ),
        ] {
            let refusal = refused(&request);
            assert_eq!(
                refusal.error,
                ErrorName::InvalidRequestException,
                "{request}"
            );
            assert!(
                refusal.message.contains(said),
                "{request}: {}",
                refusal.message
            );
        }
    }

    #[test]
    fn a_wrong_type_is_a_serialization_exception() {
        for request in [
            json!([]),
            json!({"Name": 5}),
            json!({"Name": "abcd", "Height": "5"}),
            json!({"Name": "abcd", "Height": 1.5}),
            json!({"Name": "abcd", "Crew": "anna"}),
            json!({"Name": "abcd", "Luggage": []}),
            json!({"Name": "abcd", "Night": "yes"}),
            json!({"Name": "abcd", "Where": "here"}),
        ] {
            assert_eq!(
                refused(&request).error,
                ErrorName::SerializationException,
                "{request}"
            );
        }
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let message = refused(&json!({"Name": "x", "Height": 99, "Wind": "UP"})).message;
        assert!(
            message.starts_with("3 validation errors detected"),
            "{message}"
        );
    }

    #[test]
    fn an_answer_is_checked_like_a_request() {
        assert_eq!(
            model().check_answer("Fly", &json!({"Airport": "oslo"})),
            Ok(())
        );
        assert!(
            model()
                .check_answer("Fly", &json!({"Airport": "x"}))
                .is_err()
        );
    }

    #[test]
    fn a_sensitive_value_is_never_repeated() {
        let message = refused(&json!({"Name": "abcd", "Luggage": {"case": "hunter2"}})).message;
        assert!(
            message.contains("(sensitive)") && !message.contains("hunter2"),
            "{message}"
        );
    }

    #[test]
    fn a_pattern_that_cannot_be_compiled_is_an_error() {
        let model =
            json!({"operations": {}, "shapes": {"X": {"type": "string", "pattern": "(?<=a)b"}}});
        assert!(matches!(
            ServiceModel::parse(&model.to_string()),
            Err(ModelError::Shape { .. })
        ));
    }
}
