//! What an execution has at hand: its data and the context object, read through paths, templates and rules.

use serde_json::{Map, Value};

/// The data of an execution, or of one of its branches, with its context object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) value: Value,
    pub(crate) context: Value,
}

impl Data {
    /// The value of a path, which has to be there.
    pub(crate) fn path(&self, path: &str) -> Value {
        let value = self.found(path).cloned();
        value.unwrap_or_else(|| panic!("there is no {path} in {}", self.value))
    }

    /// `$`, `$.member.member`, `$[0].member`, or the same of the context object behind another `$`.
    fn found(&self, path: &str) -> Option<&Value> {
        let (of, path) = match path.strip_prefix("$$") {
            Some(path) => (&self.context, path),
            None => (&self.value, path.strip_prefix('$').unwrap()),
        };
        let steps = path.split(['.', '[']).filter(|step| !step.is_empty());
        steps
            .into_iter()
            .try_fold(of, |value, step| match step.strip_suffix(']') {
                Some(index) => value.get(index.parse::<usize>().unwrap()),
                None => value.get(step),
            })
    }

    /// The value of a path, of a text in quotes, or of an intrinsic function.
    pub(crate) fn computed(&self, text: &str) -> Value {
        if let Some(quoted) = text.strip_prefix('\'') {
            return quoted.strip_suffix('\'').unwrap().into();
        }
        let Some((function, rest)) = text
            .strip_prefix("States.")
            .and_then(|it| it.split_once('('))
        else {
            return self.path(text);
        };
        let given = arguments(rest.strip_suffix(')').unwrap()).into_iter();
        let mut given = given.map(|argument| self.computed(argument));
        match function {
            "Array" => given.collect(),
            "JsonToString" => given.next().unwrap().to_string().into(),
            "Format" => {
                let template = given.next().unwrap();
                let mut parts = template.as_str().unwrap().split("{}");
                let mut formatted = parts.next().unwrap().to_owned();
                for part in parts {
                    let value = given.next().unwrap();
                    // Anything else would fail the execution.
                    assert!(!value.is_object() && !value.is_array(), "{text}: {value}");
                    let value = value.as_str().map_or(value.to_string(), str::to_owned);
                    formatted = formatted + &value + part;
                }
                assert_eq!(given.next(), None, "{text}");
                formatted.into()
            }
            function => panic!("{function} is not known here"),
        }
    }

    /// A template with the values of its paths.
    pub(crate) fn filled(&self, template: &Value) -> Value {
        let Value::Object(members) = template else {
            return template.clone();
        };
        let member = |(name, value): (&String, &Value)| match name.strip_suffix(".$") {
            None => (name.clone(), self.filled(value)),
            Some(name) => (name.to_owned(), self.computed(value.as_str().unwrap())),
        };
        Value::Object(members.iter().map(member).collect())
    }

    /// Puts the result of a state, or the error of a catcher, where its `ResultPath` says.
    pub(crate) fn put(&mut self, of: &Map<String, Value>, result: Value) {
        match of.get("ResultPath") {
            None => self.value = result,
            Some(Value::Null) => {}
            Some(path) => {
                let path = path.as_str().unwrap().strip_prefix("$.").unwrap();
                self.value[path] = result;
            }
        }
    }

    /// Whether a rule of a `Choice` holds.
    pub(crate) fn holds(&self, rule: &Value) -> bool {
        let rules = |name: &str| rule[name].as_array();
        if let Some(rules) = rules("And") {
            return rules.iter().all(|rule| self.holds(rule));
        }
        if let Some(rules) = rules("Or") {
            return rules.iter().any(|rule| self.holds(rule));
        }
        if rule["Not"].is_object() {
            return !self.holds(&rule["Not"]);
        }
        let variable = rule["Variable"].as_str().unwrap();
        if let Some(present) = rule["IsPresent"].as_bool() {
            return self.found(variable).is_some() == present;
        }
        let value = self.path(variable);
        let comparison = rule.as_object().unwrap().iter();
        let mut comparison =
            comparison.filter(|(name, _)| !["Variable", "Next"].contains(&name.as_str()));
        let (operator, operand) = comparison.next_back().unwrap();
        match operator.as_str() {
            "StringEquals" | "BooleanEquals" => {
                // Another type would fail the execution.
                assert_eq!(value.is_string(), operator == "StringEquals", "{rule}");
                value == *operand
            }
            "StringMatches" => {
                let parts: Vec<_> = operand.as_str().unwrap().split('*').collect();
                let [before, within, after] = parts[..] else {
                    panic!("{rule} is not known here");
                };
                let value = value.as_str().expect("a text");
                value.starts_with(before) && value.contains(within) && value.ends_with(after)
            }
            "IsBoolean" => value.is_boolean() == operand.as_bool().unwrap(),
            "IsString" => value.is_string() == operand.as_bool().unwrap(),
            "IsNull" => value.is_null() == operand.as_bool().unwrap(),
            operator => panic!("{operator} is not known here"),
        }
    }
}

/// The arguments of an intrinsic function, which may be calls of others.
fn arguments(text: &str) -> Vec<&str> {
    let (mut arguments, mut begin, mut depth, mut quoted) = (Vec::new(), 0, 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(text[begin..].trim());
    arguments
}
