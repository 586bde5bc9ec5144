//! Every way through the state machine `deploy`, walked with real data: each payload is made by the machine's own paths out of
//! answers that its functions can give, and each choice is made by the machine's own rules.

use super::machines::{self, State, errors, patience_seconds};
use deploy::{Assessment, Step};
use groundcrew::Error;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// How often a walk assesses: a service is looked at once more behind a failed or refused image, which is rejected by then.
const ROUNDS: usize = 2;

/// One way through the machine.
#[derive(Clone, Default)]
pub(crate) struct Walk {
    /// The states in their order.
    pub(crate) states: Vec<String>,
    /// The execution's data.
    pub(crate) data: Value,
    /// The context object.
    pub(crate) context: Value,
    /// What its states sent to the function.
    pub(crate) steps: Vec<Value>,
    /// How many of its answers said what is to be told.
    pub(crate) to_tell: usize,
    /// How long its states may take together.
    pub(crate) seconds: f64,
}

impl Walk {
    /// From each assessment to the next one, or to the end.
    fn rounds(&self) -> Vec<&[String]> {
        let starts = self.positions("Assess");
        let ends = starts.iter().skip(1).copied().chain([self.states.len()]);
        let rounds = starts.iter().zip(ends);
        rounds
            .map(|(start, end)| &self.states[*start..end])
            .collect()
    }

    pub(crate) fn positions(&self, name: &str) -> Vec<usize> {
        let states = self.states.iter().enumerate();
        let found = states.filter(|(_, state)| *state == name);
        found.map(|(n, _)| n).collect()
    }

    pub(crate) fn last(&self) -> &str {
        self.states.last().unwrap()
    }

    /// The value of a path, of the data or of the context object.
    pub(crate) fn path(&self, path: &str) -> Value {
        let (of, path) = match path.strip_prefix("$$.") {
            Some(path) => (&self.context, path),
            None => (&self.data, path.strip_prefix("$.").unwrap()),
        };
        found(of, path).unwrap_or_else(|| panic!("{:?}: there is no {path} in {of}", self.states))
    }

    /// The value of a path, of a text in quotes, or of an intrinsic function.
    pub(crate) fn value(&self, text: &str) -> Value {
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
    pub(crate) fn filled(&self, template: &Value) -> Value {
        let Value::Object(members) = template else {
            return template.clone();
        };
        let member = |(name, value): (&String, &Value)| match name.strip_suffix(".$") {
            None => (name.clone(), self.filled(value)),
            Some(name) => (name.to_owned(), self.value(value.as_str().unwrap())),
        };
        Value::Object(members.iter().map(member).collect())
    }

    /// The data after a state whose result is this.
    pub(crate) fn with_result(&self, state: State<'_>, result: Value) -> Self {
        let mut walk = self.clone();
        match state.value["ResultPath"].as_str() {
            None => walk.data = result,
            Some(path) => walk.data[path.strip_prefix("$.").unwrap()] = result,
        }
        walk
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

fn found(of: &Value, path: &str) -> Option<Value> {
    let mut value = of;
    for name in path.split('.') {
        value = value.as_object()?.get(name)?;
    }
    Some(value.clone())
}

pub(crate) fn holds(rule: &Value, walk: &Walk) -> bool {
    if let Some(rules) = rule["And"].as_array() {
        return rules.iter().all(|rule| holds(rule, walk));
    }
    if rule["IsPresent"] == true {
        let path = rule["Variable"]
            .as_str()
            .unwrap()
            .strip_prefix("$.")
            .unwrap();
        return found(&walk.data, path).is_some();
    }
    let value = walk.path(rule["Variable"].as_str().unwrap());
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
        "IsBoolean" => value.is_boolean() == operand.as_bool().unwrap(),
        "IsNull" => value.is_null() == operand.as_bool().unwrap(),
        operator => panic!("{operator} is not known here"),
    }
}

/// A deployment as the states hand it on.
pub(crate) fn deployment(kind: &str) -> Value {
    json!({
        "service_arn": "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a", "service": "shop-dev", "kind": kind,
        "digest": "sha256:0b", "tag": "latest", "previous": null, "secrets": null, "new_secrets": true, "operation_id": "0c",
        "bake_minutes": 10, "health": null, "cause": "a push", "asked_for": false, "instead_of": null, "left_over": false,
        "created_at": "2026-11-01T00:00:00Z",
    })
}

/// The end of an operation.
pub(crate) fn ended(succeeded: bool) -> Value {
    let at = "2026-11-21T01:02:03Z";
    json!({"succeeded": succeeded, "status": "…", "delivered": true, "started_at": at, "ended_at": at})
}

fn assessment(verdict: &str, kind: Option<&str>, look_again: bool) -> Value {
    let told =
        json!({"subject": "shop-dev: latest refused", "message": "it is for another platform"});
    let answer = json!({
        "verdict": verdict, "reason": "so", "deployment": kind.map(deployment), "look_again": look_again,
        "notification": if verdict == "refused" { told } else { Value::Null },
    });
    // Through its own type, so that an answer that it cannot give is not walked with.
    let answer: Assessment = serde_json::from_value(answer).unwrap();
    json!(answer)
}

/// What the function can answer to a step.
fn answers(step: &Value) -> Vec<Value> {
    let told = json!({"subject": "shop-dev: …", "message": "…"});
    let health = [true, false].map(|well| json!({"well": well, "why": "seen"}));
    let look = |well, over| {
        // The whole window in one wait.
        let looks = step["looks"].as_u64().unwrap() + 1;
        json!({"well": well, "why": "seen", "over": over, "looks": looks, "seconds": longest_window() * 60})
    };
    match step["action"].as_str().unwrap() {
        "assess" => vec![
            assessment("nothing", None, false),
            assessment("refused", None, false),
            assessment("refused", None, true),
            assessment("deploying", Some("image"), false),
            assessment("deploying", Some("secrets"), false),
            assessment("deploying", Some("rollback"), false),
        ],
        "hold" => [true, false]
            .map(|held| json!({"held": held, "reason": "so"}))
            .into(),
        "await-operation" => {
            let mut of_somebody_else = ended(true);
            of_somebody_else["delivered"] = json!(false);
            let mut gone = ended(false);
            gone["status"] = json!("GONE");
            vec![ended(true), ended(false), of_somebody_else, gone]
        }
        "smoke-check" => health.into(),
        "bake" if step["looks"] == 0 => {
            vec![look(true, false), look(false, false), look(true, true)]
        }
        "bake" => vec![look(true, true), look(false, true)],
        "roll-back" => {
            let answer = |deployment, left| json!({"deployment": deployment, "operation": step["operation"], "left": left});
            vec![
                answer(deployment("rollback"), Value::Null),
                answer(step["deployment"].clone(), "no way back".into()),
            ]
        }
        "settle" if step["operation"]["status"] == "GONE" => {
            vec![
                json!({"outcome": "Nothing", "notification": null, "reason": "gone", "look_again": false}),
            ]
        }
        "settle" => {
            let kind = step["deployment"]["kind"].as_str().unwrap();
            let succeeded = step["operation"]["succeeded"] == true;
            let (outcome, look_again) = match (kind, succeeded, step["left"].is_null()) {
                (_, true, false) => ("Unwell", false),
                ("rollback", true, true) => ("RolledBack", false),
                ("rollback", false, _) => ("RollbackFailed", false),
                (_, true, true) => ("Deployed", false),
                (kind, false, _) => ("DeploymentFailed", kind == "image"),
            };
            vec![
                json!({"outcome": outcome, "notification": told, "reason": "so", "look_again": look_again}),
            ]
        }
        "explain" => vec![json!({"outcome": "Stuck", "notification": told})],
        action => panic!("who answers {action}?"),
    }
}

/// The errors that a state can end with, once its retries are over, each with its catcher.
pub(crate) fn failures(state: State<'_>) -> Vec<(&str, &Value)> {
    let mut failures = Vec::new();
    for catcher in state.catchers() {
        for name in errors(catcher) {
            let name = if name == "States.ALL" { "Denied" } else { name };
            failures.push((name, catcher));
        }
    }
    failures
}

/// All ways through the machine, to their end.
fn walks() -> Vec<Walk> {
    let machine = machines::deploy();
    let top = machine.top();
    let start = |hold: Option<bool>| Walk {
        data: hold.map_or(
            json!({"service": "shop-dev"}),
            |hold| json!({"service": "shop-dev", "hold": hold}),
        ),
        context: json!({
            "Execution": {"Input": {"service": "shop-dev"}, "Name": "run-1"},
            "State": {"RetryCount": 0},
        }),
        ..Walk::default()
    };
    let mut ended = Vec::new();
    let starts = [None, Some(true), Some(false)].map(start);
    let mut going: Vec<_> = starts
        .into_iter()
        .map(|start| (start, top.start_at.to_owned()))
        .collect();
    while let Some((mut walk, name)) = going.pop() {
        assert!(
            walk.states.len() < 100,
            "round in a circle: {:?}",
            walk.states
        );
        let state = top.state(&name).unwrap_or_else(|| panic!("no {name}"));
        walk.states.push(name.clone());
        if walk.positions("Assess").len() > ROUNDS {
            continue;
        }
        let waits = ["Busy", "Claimed", "NotReady"].into_iter();
        let waits: BTreeSet<_> = waits
            .filter_map(|error| {
                state
                    .retriers()
                    .iter()
                    .position(|of| errors(of).contains(&error))
            })
            .collect();
        for waits in waits {
            walk.seconds += patience_seconds(&state.retriers()[waits]);
        }
        for time in ["TimeoutSeconds", "Seconds"] {
            walk.seconds += state.value[time].as_f64().unwrap_or(0.0);
        }
        if let Some(path) = state.value["SecondsPath"].as_str() {
            walk.seconds += walk.path(path).as_f64().expect("seconds");
        }
        let next = state.value["Next"].as_str().map(str::to_owned);
        match state.kind() {
            "Fail" => {
                let paths = ["ErrorPath", "CausePath"].into_iter();
                for path in paths.filter_map(|path| state.value[path].as_str()) {
                    assert!(walk.path(path).is_string());
                }
                ended.push(walk);
            }
            "Pass" => {
                walk.data = walk.filled(&state.value["Parameters"]);
                assert!(state.is_end(), "{name}");
                ended.push(walk);
            }
            "Wait" => going.push((walk, next.unwrap())),
            "Choice" => {
                let rules = state.value["Choices"].as_array().unwrap();
                let rule = rules.iter().find(|rule| holds(rule, &walk));
                let next = rule.map_or(&state.value["Default"], |rule| &rule["Next"]);
                going.push((walk, next.as_str().unwrap().to_owned()));
            }
            "Task" => {
                let parameters = walk.filled(&state.value["Parameters"]);
                let results: Vec<_> = if state.function().is_some() {
                    let step = parameters["Payload"].clone();
                    Step::parse(step.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
                    walk.steps.push(step.clone());
                    let answers = answers(&step).into_iter();
                    answers
                        .map(|answer| {
                            let answered = Walk {
                                data: json!({"Payload": answer}),
                                ..walk.clone()
                            };
                            answered.filled(&state.value["ResultSelector"])
                        })
                        .collect()
                } else {
                    assert_eq!(state.value["Resource"], "arn:aws:states:::sns:publish");
                    vec![json!({"MessageId": "0d"})]
                };
                for result in results {
                    let to_tell = usize::from(result["notification"].is_object());
                    let mut walk = walk.with_result(state, result);
                    walk.to_tell += to_tell;
                    going.push((walk, next.clone().unwrap()));
                }
                for (error, catcher) in failures(state) {
                    let failure = json!({"Error": error, "Cause": r#"{"errorMessage": "…"}"#});
                    let mut caught = walk.clone();
                    match catcher["ResultPath"].as_str() {
                        Some(path) => caught.data[path.strip_prefix("$.").unwrap()] = failure,
                        None => caught.data = failure,
                    }
                    going.push((caught, catcher["Next"].as_str().unwrap().to_owned()));
                }
            }
            kind => panic!("{name}: {kind} is not known here"),
        }
    }
    ended
}

/// The states that publish.
fn publishing() -> BTreeSet<String> {
    let machine = machines::deploy();
    let tasks = machine.tasks().into_iter();
    let publishing = tasks.filter(|task| task.value["Resource"] == "arn:aws:states:::sns:publish");
    publishing.map(|task| task.name.to_owned()).collect()
}

#[test]
fn the_walks_come_to_every_state_of_deploy() {
    let walks = walks();
    let walked: BTreeSet<_> = walks.iter().flat_map(|walk| &walk.states).collect();
    for state in machines::deploy().states() {
        assert!(walked.contains(&state.name.to_owned()), "{}", state.name);
    }
    assert!(walks.len() > 50, "{} walks", walks.len());
}

#[test]
fn each_outcome_of_a_deployment_is_told_once_and_that_there_is_nothing_to_do_is_not() {
    let publishing = publishing();
    for walk in walks() {
        let rounds = walk.rounds();
        for (n, round) in rounds.iter().enumerate() {
            let told = round.iter().filter(|state| publishing.contains(*state));
            let is_last = n + 1 == rounds.len();
            let silent = match is_last {
                true => ["Nothing to do", "Refused input"].contains(&walk.last()),
                false => was_not_ours(round),
            };
            let expected = if silent { 0 } else { 1 };
            assert_eq!(told.count(), expected, "{round:?}");
        }
        assert_eq!(
            walk.positions("Tell").len(),
            walk.to_tell,
            "{:?}",
            walk.states
        );
    }
}

/// Whether App Runner had taken somebody else's update, so that the service is looked at again.
fn was_not_ours(round: &[String]) -> bool {
    round
        .last()
        .is_some_and(|state| state == "Is there something to watch?")
}

#[test]
fn a_deployment_is_rolled_back_at_most_once_and_a_rollback_never() {
    for walk in walks() {
        for round in walk.rounds() {
            let back = round.iter().filter(|state| *state == "Roll back");
            assert!(back.count() <= 1, "{round:?}");
        }
        for step in walk.steps {
            let again = step["action"] == "roll-back" && step["deployment"]["kind"] == "rollback";
            assert!(!again, "{:?}", walk.states);
        }
    }
}

/// The end that its `Settle` or `Explain` found out, and no other.
#[test]
fn an_execution_succeeds_if_and_only_if_it_deployed_or_had_nothing_to_do() {
    let machine = machines::deploy();
    let top = machine.top();
    for walk in walks().into_iter().filter(|walk| walk.last() != "Not told") {
        let fails = top.state(walk.last()).unwrap().kind() == "Fail";
        let outcome = walk.data["outcome"].as_str();
        let is_good = ["Deployed", "Nothing"].map(Some).contains(&outcome);
        assert_ne!(fails, is_good, "{:?}: {}", walk.states, walk.data);
    }
}

/// Whatever App Runner was asked for, its end is recorded, or a person is told that nobody knows it.
#[test]
fn what_was_deployed_is_settled_or_explained() {
    for walk in walks() {
        for round in walk.rounds() {
            let has = |name: &str| round.iter().any(|state| state == name);
            if has("Await the operation") && !was_not_ours(round) {
                assert!(has("Settle") || has("Explain"), "{round:?}");
            }
        }
    }
}

#[test]
fn deploy_does_not_time_out_before_its_states_give_up() {
    let walks = walks();
    let longest = walks.iter().map(|walk| walk.seconds).fold(0.0, f64::max);
    let allowed = machines::deploy().timeout_seconds();
    assert!(
        longest <= allowed as f64,
        "the longest way takes {longest} s, and an execution may take {allowed} s"
    );
}

/// A state that writes goes on after every error that a repetition may mend, and after no other.
#[test]
fn what_writes_is_repeated_on_exactly_the_errors_that_ask_for_it() {
    let machine = machines::deploy();
    for state in machine.steps() {
        if ["assess", "roll-back", "settle"].contains(&state.action()) {
            let retried: BTreeSet<_> = Error::NAMES
                .into_iter()
                .filter(|name| state.retrier(name).is_some())
                .collect();
            let mut expected = BTreeSet::from(["Busy", "NotReady", "Throttled", "Unavailable"]);
            if state.action() == "assess" {
                expected.insert("Claimed");
            }
            assert_eq!(retried, expected, "{}", state.name);
        }
    }
}

/// The longest bake window that a policy can have, in minutes.
fn longest_window() -> u64 {
    let longest = (1..=u16::MAX).take_while(|minutes| {
        let policy = Some(format!("bake={minutes}"));
        groundcrew::Policy::parse(policy.as_ref()).is_ok()
    });
    longest.count() as u64
}

/// The function counts the retries and has no other clock.
#[test]
fn a_service_that_does_not_answer_is_asked_as_often_as_the_function_wants() {
    let machine = machines::deploy();
    let state = machine.top().state("Smoke check").unwrap();
    let retrier = state.retrier("NotReady").unwrap();
    assert!(retrier["MaxAttempts"].as_u64().unwrap() >= 5);
    assert!(longest_window() >= 10);
}
