//! One execution of a state machine, carried out state by state: with what answers its tasks, and without waiting longer than
//! that wants.

use super::data::Data;
use super::machines::{Level, Machine, State, errors, patience_seconds};
use groundcrew::Error;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// More states than any execution of ours enters.
const ENDLESS: usize = 200;

/// The fields of states that are carried out here; any other would be passed over in silence.
const FIELDS: [&str; 25] = [
    "Branches",
    "Catch",
    "Cause",
    "CausePath",
    "Choices",
    "Comment",
    "Default",
    "End",
    "Error",
    "ErrorPath",
    "InputPath",
    "ItemProcessor",
    "ItemSelector",
    "ItemsPath",
    "MaxConcurrency",
    "Next",
    "Parameters",
    "Resource",
    "ResultPath",
    "ResultSelector",
    "Retry",
    "Seconds",
    "SecondsPath",
    "TimeoutSeconds",
    "Type",
];

/// What carries out the tasks of an execution.
pub(crate) trait Tasks {
    /// What a function answers to a step.
    async fn call(&self, state: State<'_>, step: Value) -> Result<Value, Failure>;

    /// Publishes a message.
    async fn publish(&self, _state: State<'_>, _message: &Value) -> Result<(), Failure> {
        Ok(())
    }

    /// Waits for so many seconds of AWS, before a retry or in a state that waits.
    async fn wait(&self, _seconds: f64) {}

    /// A state was entered, the last of those that were played. Whether the execution goes on.
    fn enters(&self, _played: &Played) -> bool {
        true
    }

    /// What a state fails with that has others in it, beside what these fail with.
    fn breaks(&self, _state: State<'_>) -> Option<Failure> {
        None
    }
}

/// How a task fails.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// With an `Error` and perhaps a `Cause`, on which the state may try again.
    Error(Value),
    /// With the same, after its last retry.
    AtLast(Value),
    /// Not at all: the execution was stopped for good.
    Stopped,
}

/// As Lambda hands the error of a function on.
impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (name, message) = (error.name(), error.to_string());
        let cause = json!({"errorType": name, "errorMessage": message});
        Self::Error(json!({"Error": name, "Cause": cause.to_string()}))
    }
}

/// How an execution ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Ended {
    /// It was stopped, or it runs.
    #[default]
    Stopped,
    /// With its data as the output.
    Succeeded,
    /// With an `Error`, and perhaps a `Cause`.
    Failed(Value),
}

/// What happened in an execution.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    /// The states in the order in which they were entered.
    pub(crate) states: Vec<String>,
    /// The data in the end.
    pub(crate) data: Value,
    /// What its states sent to functions.
    pub(crate) steps: Vec<Value>,
    /// What these answered, other than by failing.
    pub(crate) answers: Vec<Value>,
    /// How many results of states said what is to be told.
    pub(crate) to_tell: usize,
    /// What it published.
    pub(crate) told: Vec<Value>,
    /// How many seconds its states may take one after the other: what each waits for, and the last time that it asks.
    pub(crate) seconds: f64,
    /// How it ended.
    pub(crate) ended: Ended,
}

impl Played {
    /// The places of a state in the order of the states.
    pub(crate) fn positions(&self, name: &str) -> Vec<usize> {
        let states = self.states.iter().enumerate();
        let found = states.filter(|(_, state)| *state == name);
        found.map(|(n, _)| n).collect()
    }

    /// Whether a state was entered.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.positions(name).is_empty()
    }

    /// The last state that was entered.
    pub(crate) fn last(&self) -> &str {
        self.states.last().unwrap()
    }

    /// The last step of this action that was sent to a function.
    pub(crate) fn last_step(&self, action: &str) -> Option<&Value> {
        let steps = self.steps.iter().rev();
        steps.into_iter().find(|step| step["action"] == action)
    }
}

/// Plays one execution to its end, of this name and start.
pub(crate) async fn play(
    machine: &Machine,
    tasks: &impl Tasks,
    (name, started): (&str, Timestamp),
    input: &Value,
) -> Played {
    let context = json!({
        "Execution": {"Input": input, "Name": name, "StartTime": started},
        "StateMachine": {"Id": format!("arn:aws:states:us-east-1:123456789012:stateMachine:{}", machine.name)},
    });
    for state in machine.states() {
        for field in state.value.as_object().unwrap().keys() {
            let is_known = FIELDS.binary_search(&field.as_str()).is_ok();
            assert!(is_known, "{}: {field} is not known here", state.name);
        }
    }
    let mut data = Data {
        value: input.clone(),
        context,
    };
    let mut player = Player {
        tasks,
        played: Played::default(),
    };
    let ended = player.level(machine.top(), &mut data).await;
    let mut played = player.played;
    played.data = data.value;
    played.ended = match ended {
        Ok(()) => Ended::Succeeded,
        Err(Failure::Error(failure) | Failure::AtLast(failure)) => Ended::Failed(failure),
        Err(Failure::Stopped) => Ended::Stopped,
    };
    played
}

struct Player<'a, T> {
    tasks: &'a T,
    played: Played,
}

impl<T: Tasks> Player<'_, T> {
    /// From the first state of a level to its end; the data is its result then.
    async fn level(&mut self, level: Level<'_>, data: &mut Data) -> Result<(), Failure> {
        let mut name = level.start_at;
        loop {
            let state = level.state(name).unwrap_or_else(|| panic!("no {name}"));
            name = match self.enter(state, data).await {
                Ok(None) => return Ok(()),
                Ok(Some(next)) => next,
                Err(failure) => caught(state, data, failure)?,
            };
        }
    }

    /// One state; answers the one after it.
    async fn enter<'s>(
        &mut self,
        state: State<'s>,
        data: &mut Data,
    ) -> Result<Option<&'s str>, Failure> {
        let of = state.value.as_object().unwrap();
        let states = &mut self.played.states;
        states.push(state.name.to_owned());
        assert!(states.len() < ENDLESS, "round in a circle: {states:?}");
        if !self.tasks.enters(&self.played) {
            return Err(Failure::Stopped);
        }
        self.played.seconds += longest_seconds(state, data);
        data.context["State"] = json!({"Name": state.name, "EnteredTime": Timestamp::now()});
        match state.kind() {
            "Succeed" => return Ok(None),
            "Fail" => return Err(Failure::AtLast(failed(state, data))),
            "Choice" => {
                let rules = state.value["Choices"].as_array().unwrap();
                let rule = rules.iter().find(|rule| data.holds(rule));
                let next = rule.map_or(&state.value["Default"], |rule| &rule["Next"]);
                return Ok(Some(next.as_str().unwrap()));
            }
            "Wait" => {
                let seconds = state.value["SecondsPath"].as_str();
                let seconds = seconds.map(|path| data.path(path));
                let seconds = seconds.unwrap_or_else(|| state.value["Seconds"].clone());
                self.tasks.wait(seconds.as_f64().expect("seconds")).await;
            }
            "Pass" => {
                if let Some(path) = state.value["InputPath"].as_str() {
                    data.value = data.path(path);
                }
                if !state.value["Parameters"].is_null() {
                    let result = data.filled(&state.value["Parameters"]);
                    data.put(of, result);
                }
            }
            "Task" => {
                let result = self.task_with_retries(state, data).await?;
                self.put(state, data, &result);
            }
            "Parallel" => {
                self.tasks.breaks(state).map_or(Ok(()), Err)?;
                // One after the other, so that their calls have the same order each time.
                let mut results = Vec::new();
                for branch in state.branches() {
                    let mut own = data.clone();
                    Box::pin(self.level(branch, &mut own)).await?;
                    results.push(own.value);
                }
                self.put(state, data, &results.into());
            }
            "Map" => {
                self.tasks.breaks(state).map_or(Ok(()), Err)?;
                let items = data.path(state.value["ItemsPath"].as_str().unwrap());
                let mut results = Vec::new();
                for item in items.as_array().unwrap() {
                    let mut own = data.clone();
                    own.context["Map"] = json!({"Item": {"Value": item}});
                    own.value = own.filled(&state.value["ItemSelector"]);
                    let items = state.branches().remove(0);
                    Box::pin(self.level(items, &mut own)).await?;
                    results.push(own.value);
                }
                self.put(state, data, &results.into());
            }
            kind => panic!("{}: {kind} is not known here", state.name),
        }
        let next = state.value["Next"].as_str();
        assert_eq!(next.is_none(), state.is_end(), "{}", state.name);
        Ok(next)
    }

    /// Puts what a state came to into the data.
    fn put(&mut self, state: State<'_>, data: &mut Data, result: &Value) {
        let result = match &state.value["ResultSelector"] {
            Value::Null => result.clone(),
            selector => {
                let context = data.context.clone();
                let value = result.clone();
                Data { value, context }.filled(selector)
            }
        };
        self.played.to_tell += usize::from(result["notification"].is_object());
        data.put(state.value.as_object().unwrap(), result);
    }

    async fn task_with_retries(
        &mut self,
        state: State<'_>,
        data: &mut Data,
    ) -> Result<Value, Failure> {
        let mut retries = BTreeMap::new();
        loop {
            data.context["State"]["RetryCount"] = retries.values().sum::<u64>().into();
            let failure = match self.task(state, data).await {
                Err(Failure::Error(failure)) => failure,
                ended => return ended,
            };
            let error = failure["Error"].as_str().unwrap();
            let Some(position) = state
                .retriers()
                .iter()
                .position(|retrier| is_for(retrier, error))
            else {
                return Err(Failure::AtLast(failure));
            };
            let retrier = &state.retriers()[position];
            let before = retries.entry(position).or_insert(0);
            if *before >= retrier["MaxAttempts"].as_u64().expect("MaxAttempts") {
                return Err(Failure::AtLast(failure));
            }
            let number = |name: &str, default: f64| retrier[name].as_f64().unwrap_or(default);
            let interval = number("IntervalSeconds", 1.0);
            let interval = interval * number("BackoffRate", 2.0).powf(*before as f64);
            *before += 1;
            let most = number("MaxDelaySeconds", f64::INFINITY);
            self.tasks.wait(interval.min(most)).await;
        }
    }

    async fn task(&mut self, state: State<'_>, data: &Data) -> Result<Value, Failure> {
        let parameters = data.filled(&state.value["Parameters"]);
        match state.value["Resource"].as_str().unwrap() {
            "arn:aws:states:::lambda:invoke" => {
                let step = parameters["Payload"].clone();
                self.played.steps.push(step.clone());
                let answer = self.tasks.call(state, step).await?;
                self.played.answers.push(answer.clone());
                Ok(json!({"StatusCode": 200, "Payload": answer}))
            }
            "arn:aws:states:::sns:publish" => {
                assert!(parameters["Message"].is_string(), "{parameters}");
                self.tasks.publish(state, &parameters).await?;
                self.played.told.push(parameters);
                Ok(json!({"MessageId": "0d"}))
            }
            resource => panic!("{resource} is not known here: {}", data.value),
        }
    }
}

/// What a state that fails says.
fn failed(state: State<'_>, data: &Data) -> Value {
    let mut failure = Map::new();
    for name in ["Error", "Cause"] {
        let path = state.value[format!("{name}Path")].as_str();
        let value = match path {
            Some(path) => data.computed(path),
            None => state.value[name].clone(),
        };
        assert!(value.is_string() || value.is_null(), "{}", state.name);
        if value.is_string() {
            failure.insert(name.into(), value);
        }
    }
    failure.into()
}

/// The state after the catcher of a failure, which is in the data then.
fn caught<'s>(state: State<'s>, data: &mut Data, failure: Failure) -> Result<&'s str, Failure> {
    let (Failure::Error(error) | Failure::AtLast(error)) = &failure else {
        return Err(failure);
    };
    let name = error["Error"].as_str().unwrap();
    let mut catchers = state.catchers().iter();
    let Some(catcher) = catchers.find(|catcher| is_for(catcher, name)) else {
        return Err(failure);
    };
    data.put(catcher.as_object().unwrap(), error.clone());
    Ok(catcher["Next"].as_str().unwrap())
}

/// Whether a retrier or a catcher is for an error.
fn is_for(of: &Value, error: &str) -> bool {
    let all = |name: &&str| match *name {
        "States.ALL" => true,
        "States.TaskFailed" => error != "States.Timeout",
        name => name == error,
    };
    errors(of).iter().any(all)
}

/// How long a state may take: what it waits for, and the last time that it asks.
fn longest_seconds(state: State<'_>, data: &Data) -> f64 {
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
        .map(|path| data.path(path).as_f64().expect("seconds"));
    waits.sum::<f64>() + times.into_iter().chain([given]).flatten().sum::<f64>()
}
