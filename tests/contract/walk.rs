//! The ways through a state machine, walked with real data: each payload is made by the machine's own paths out of answers that
//! its functions can give, and each choice is made by the machine's own rules.

use super::machines::{Level, Machine, State, errors, patience_seconds};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What there is to know of a machine's functions.
pub(crate) trait Functions {
    /// What a function can answer to a step, which it has to understand.
    fn answers(&self, state: State<'_>, step: &Value) -> Vec<Value>;

    /// What a state can end with once its retries are over, by the name of what its catcher is for.
    fn failures(&self, name: &str) -> Vec<Value> {
        let name = if name == "States.ALL" { "Denied" } else { name };
        vec![json!({"Error": name, "Cause": r#"{"errorMessage": "…"}"#})]
    }

    /// Whether a walk is not followed any further.
    fn is_enough(&self, _walk: &Walk) -> bool {
        false
    }
}

/// One way through the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walk {
    /// The states in their order.
    pub(crate) states: Vec<String>,
    /// The execution's data.
    pub(crate) data: Value,
    /// The context object.
    pub(crate) context: Value,
    /// What its states sent to the function.
    pub(crate) steps: Vec<Value>,
    /// What it answered to those that did not fail.
    pub(crate) answers: Vec<Value>,
    /// How many of its answers said what is to be told.
    pub(crate) to_tell: usize,
    /// What it published.
    pub(crate) told: Vec<Value>,
    /// How long its states may take together.
    pub(crate) seconds: f64,
}

impl Walk {
    pub(crate) fn positions(&self, name: &str) -> Vec<usize> {
        let states = self.states.iter().enumerate();
        let found = states.filter(|(_, state)| *state == name);
        found.map(|(n, _)| n).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.positions(name).is_empty()
    }

    pub(crate) fn last(&self) -> &str {
        self.states.last().unwrap()
    }

    /// The value of a path, of the data or of the context object.
    fn path(&self, path: &str) -> Value {
        let value = self.found(path);
        value.unwrap_or_else(|| panic!("{:?}: there is no {path} in {}", self.states, self.data))
    }

    fn found(&self, path: &str) -> Option<Value> {
        let (of, path) = match path.strip_prefix("$$.") {
            Some(path) => (&self.context, path),
            None => (&self.data, path.strip_prefix("$.").unwrap()),
        };
        let mut value = of;
        for name in path.split('.') {
            value = value.as_object()?.get(name)?;
        }
        Some(value.clone())
    }

    /// The value of a path, of a text in quotes, or of an intrinsic function.
    fn value(&self, text: &str) -> Value {
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
        let mut given = given.map(|argument| self.value(argument));
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

    /// A template of the language, with the values of its paths.
    fn filled(&self, template: &Value) -> Value {
        let Value::Object(members) = template else {
            return template.clone();
        };
        let member = |(name, value): (&String, &Value)| match name.strip_suffix(".$") {
            None => (name.clone(), self.filled(value)),
            Some(name) => (name.to_owned(), self.value(value.as_str().unwrap())),
        };
        Value::Object(members.iter().map(member).collect())
    }

    /// The data after a state whose result is this, or after a catcher whose error is this.
    fn with_result(&self, of: &Map<String, Value>, result: Value) -> Self {
        let mut walk = self.clone();
        match of.get("ResultPath") {
            None => walk.data = result,
            Some(Value::Null) => {}
            Some(path) => {
                let path = path.as_str().unwrap().strip_prefix("$.").unwrap();
                walk.data[path] = result;
            }
        }
        walk
    }

    /// The walk after an answer of a function.
    fn answered(&self, state: State<'_>, answer: Value) -> Self {
        let answered = Walk {
            data: json!({"Payload": &answer}),
            ..self.clone()
        };
        let result = match &state.value["ResultSelector"] {
            // What the function answers is the result; no state hands it on as it is.
            Value::Null => Value::Null,
            selector => answered.filled(selector),
        };
        let to_tell = usize::from(result["notification"].is_object());
        let mut walk = self.with_result(state.value.as_object().unwrap(), result);
        walk.to_tell += to_tell;
        walk.answers.push(answer);
        walk
    }

    fn holds(&self, rule: &Value) -> bool {
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

/// All ways through a machine from these starts, to their end.
pub(crate) fn walks(machine: &Machine, functions: &dyn Functions, starts: Vec<Walk>) -> Vec<Walk> {
    walks_of(&machine.top(), functions, starts)
}

fn walks_of(level: &Level<'_>, functions: &dyn Functions, starts: Vec<Walk>) -> Vec<Walk> {
    let mut ended = Vec::new();
    let mut going: Vec<_> = starts
        .into_iter()
        .map(|start| (start, level.start_at.to_owned()))
        .collect();
    while let Some((mut walk, name)) = going.pop() {
        assert!(
            walk.states.len() < 100,
            "round in a circle: {:?}",
            walk.states
        );
        let state = level.state(&name).unwrap_or_else(|| panic!("no {name}"));
        walk.states.push(name.clone());
        if functions.is_enough(&walk) {
            continue;
        }
        walk.seconds += longest_seconds(state, &walk);
        let of = state.value.as_object().unwrap();
        let mut on = Vec::new();
        match state.kind() {
            "Fail" => {
                let paths = ["ErrorPath", "CausePath"].into_iter();
                for path in paths.filter_map(|path| state.value[path].as_str()) {
                    assert!(walk.value(path).is_string());
                }
                ended.push(walk.clone());
            }
            "Pass" => {
                let mut walk = walk.clone();
                if let Some(path) = state.value["InputPath"].as_str() {
                    walk.data = walk.path(path);
                }
                if !state.value["Parameters"].is_null() {
                    walk.data = walk.filled(&state.value["Parameters"]);
                }
                on.push(walk);
            }
            "Wait" => on.push(walk.clone()),
            "Choice" => {
                let rules = state.value["Choices"].as_array().unwrap();
                let rule = rules.iter().find(|rule| walk.holds(rule));
                let next = rule.map_or(&state.value["Default"], |rule| &rule["Next"]);
                going.push((walk.clone(), next.as_str().unwrap().to_owned()));
            }
            "Map" => on.extend(walks_of_items(state, functions, &walk)),
            "Task" => {
                let parameters = walk.filled(&state.value["Parameters"]);
                if state.function().is_some() {
                    let step = parameters["Payload"].clone();
                    let answers = functions.answers(state, &step);
                    walk.steps.push(step);
                    on.extend(
                        answers
                            .into_iter()
                            .map(|answer| walk.answered(state, answer)),
                    );
                } else {
                    assert_eq!(state.value["Resource"], "arn:aws:states:::sns:publish");
                    assert!(parameters["Message"].is_string(), "{parameters}");
                    let mut told = walk.with_result(of, json!({"MessageId": "0d"}));
                    told.told.push(parameters);
                    on.push(told);
                }
            }
            kind => panic!("{name}: {kind} is not known here"),
        }
        match state.value["Next"].as_str() {
            Some(next) => going.extend(on.into_iter().map(|walk| (walk, next.to_owned()))),
            None => {
                assert!(on.is_empty() || state.is_end(), "{name}");
                ended.extend(on);
            }
        }
        for catcher in state.catchers() {
            let next = catcher["Next"].as_str().unwrap();
            for failure in errors(catcher).iter().flat_map(|it| functions.failures(it)) {
                let caught = walk.with_result(catcher.as_object().unwrap(), failure);
                going.push((caught, next.to_owned()));
            }
        }
    }
    ended
}

/// What a `Map` comes to, one item after the other.
fn walks_of_items(state: State<'_>, functions: &dyn Functions, walk: &Walk) -> Vec<Walk> {
    let items = walk.path(state.value["ItemsPath"].as_str().unwrap());
    let items = items.as_array().unwrap();
    // At once they would not take as long as together.
    assert!(items.len() == 1 || state.value["MaxConcurrency"] == 1);
    let level = state.branches().remove(0);
    let mut walks = vec![(walk.clone(), Vec::new())];
    for item in items {
        let on = walks.into_iter().flat_map(|(walk, results)| {
            let mut start = walk.clone();
            start.context["Map"] = json!({"Item": {"Value": item}});
            start.data = start.filled(&state.value["ItemSelector"]);
            let ended = walks_of(&level, functions, vec![start]).into_iter();
            ended.map(move |on| {
                let results = [results.clone(), vec![on.data.clone()]].concat();
                let (data, context) = (walk.data.clone(), walk.context.clone());
                (
                    Walk {
                        data,
                        context,
                        ..on
                    },
                    results,
                )
            })
        });
        walks = on.collect();
    }
    let of = state.value.as_object().unwrap();
    let walks = walks.into_iter();
    walks
        .map(|(walk, results)| walk.with_result(of, results.into()))
        .collect()
}

/// How long a state may take: what it waits for, and the last time that it asks.
fn longest_seconds(state: State<'_>, walk: &Walk) -> f64 {
    let waits = ["Busy", "Claimed", "NotReady"].into_iter();
    let waits: BTreeSet<_> = waits
        .filter_map(|error| {
            let mut retriers = state.retriers().iter();
            retriers.position(|of| errors(of).contains(&error))
        })
        .collect();
    let waits = waits
        .into_iter()
        .map(|n| patience_seconds(&state.retriers()[n]));
    let times = ["TimeoutSeconds", "Seconds"].map(|time| state.value[time].as_f64());
    let given = state.value["SecondsPath"]
        .as_str()
        .map(|path| walk.path(path).as_f64().expect("seconds"));
    waits.sum::<f64>() + times.into_iter().chain([given]).flatten().sum::<f64>()
}
