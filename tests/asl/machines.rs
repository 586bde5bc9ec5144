//! A state machine as Amazon States Language has it.

use crate::documents;
use serde_json::{Map, Value};

/// Every state machine.
pub(crate) fn all() -> [Machine; 5] {
    [deploy(), park(), provision(), sweep(), teardown()]
}

pub(crate) fn deploy() -> Machine {
    Machine::read("deploy")
}

pub(crate) fn park() -> Machine {
    Machine::read("park")
}

pub(crate) fn provision() -> Machine {
    Machine::read("provision")
}

pub(crate) fn sweep() -> Machine {
    Machine::read("sweep")
}

pub(crate) fn teardown() -> Machine {
    Machine::read("teardown")
}

pub(crate) struct Machine {
    pub(crate) name: &'static str,
    pub(crate) text: String,
    definition: Value,
}

/// The states of a machine, of one branch of a `Parallel`, or of what a `Map` does with each item.
pub(crate) struct Level<'a> {
    pub(crate) start_at: &'a str,
    pub(crate) states: &'a Map<String, Value>,
}

/// A state with its name.
#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a Value,
}

impl Machine {
    fn read(name: &'static str) -> Self {
        Self::read_from("statemachine", name)
    }

    fn read_from(folder: &str, name: &'static str) -> Self {
        let file = format!("{folder}/{name}.asl.yaml");
        Self {
            name,
            text: documents::text(&file),
            definition: documents::yaml(&file),
        }
    }

    /// As an earlier version of groundcrew had it: one of the folders of `tests/earlier`.
    pub(crate) fn of_earlier(version: &str, name: &'static str) -> Self {
        Self::read_from(&format!("tests/earlier/{version}"), name)
    }

    /// One that is no file, for tests of what plays them.
    pub(super) fn of(definition: Value) -> Self {
        Self {
            name: "test",
            text: String::new(),
            definition,
        }
    }

    pub(crate) fn comment(&self) -> Option<&str> {
        self.definition["Comment"].as_str()
    }

    pub(crate) fn timeout_seconds(&self) -> u64 {
        seconds(&self.definition["TimeoutSeconds"])
    }

    pub(crate) fn top(&self) -> Level<'_> {
        Level::of(&self.definition)
    }

    /// The machine's own level and that of every branch.
    pub(crate) fn levels(&self) -> Vec<Level<'_>> {
        let mut levels = vec![self.top()];
        let mut n = 0;
        while let Some(level) = levels.get(n) {
            let inner: Vec<_> = level.states().flat_map(State::branches).collect();
            levels.extend(inner);
            n += 1;
        }
        levels
    }

    pub(crate) fn states(&self) -> Vec<State<'_>> {
        self.levels().iter().flat_map(Level::states).collect()
    }

    pub(crate) fn tasks(&self) -> Vec<State<'_>> {
        let tasks = self.states().into_iter();
        tasks.filter(|state| state.kind() == "Task").collect()
    }

    /// The states that call a function.
    pub(crate) fn steps(&self) -> Vec<State<'_>> {
        let steps = self.tasks().into_iter();
        steps.filter(|state| state.function().is_some()).collect()
    }
}

impl<'a> Level<'a> {
    fn of(value: &'a Value) -> Self {
        Self {
            start_at: value["StartAt"].as_str().expect("StartAt"),
            states: value["States"].as_object().expect("States"),
        }
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = State<'a>> + use<'a> {
        let states = self.states.iter();
        states.map(|(name, value)| State { name, value })
    }

    pub(crate) fn state(&self, name: &str) -> Option<State<'a>> {
        let (name, value) = self.states.get_key_value(name)?;
        Some(State { name, value })
    }
}

impl<'a> State<'a> {
    pub(crate) fn kind(self) -> &'a str {
        self.value["Type"].as_str().expect("Type")
    }

    pub(crate) fn branches(self) -> Vec<Level<'a>> {
        let branches = list(&self.value["Branches"]).iter();
        branches
            .chain(self.value.get("ItemProcessor"))
            .map(Level::of)
            .collect()
    }

    pub(crate) fn catchers(self) -> &'a [Value] {
        list(&self.value["Catch"])
    }

    pub(crate) fn retriers(self) -> &'a [Value] {
        list(&self.value["Retry"])
    }

    /// Where an execution can go from here.
    pub(crate) fn targets(self) -> Vec<&'a str> {
        let choices = list(&self.value["Choices"]);
        let ways = [&self.value["Next"], &self.value["Default"]].into_iter();
        ways.chain(choices.iter().map(|choice| &choice["Next"]))
            .chain(self.catchers().iter().map(|catcher| &catcher["Next"]))
            .filter(|target| !target.is_null())
            .map(|target| target.as_str().expect("the name of a state"))
            .collect()
    }

    /// Whether an execution, or a branch, ends here.
    pub(crate) fn is_end(self) -> bool {
        self.value["End"] == true || ["Succeed", "Fail"].contains(&self.kind())
    }

    /// `CreateFunction` for instance, for a state that calls a function.
    pub(crate) fn function(self) -> Option<&'a str> {
        let name = self.value["Parameters"]["FunctionName"].as_str()?;
        name.strip_prefix("${")?.strip_suffix('}')
    }

    /// What the function gets.
    pub(crate) fn payload(self) -> &'a Value {
        &self.value["Parameters"]["Payload"]
    }

    pub(crate) fn action(self) -> &'a str {
        self.payload()["action"].as_str().expect("an action")
    }

    /// The retrier that an error of this name meets: the first that names it.
    pub(crate) fn retrier(self, error: &str) -> Option<&'a Value> {
        self.retriers()
            .iter()
            .find(|retrier| errors(retrier).contains(&error))
    }
}

/// What a retrier or a catcher is for.
pub(crate) fn errors(of: &Value) -> Vec<&str> {
    list(&of["ErrorEquals"])
        .iter()
        .map(|name| name.as_str().expect("the name of an error"))
        .collect()
}

/// How long a retrier waits before it gives up, at most.
pub(crate) fn patience_seconds(retrier: &Value) -> f64 {
    let number = |name: &str, default: f64| retrier[name].as_f64().unwrap_or(default);
    let most = number("MaxDelaySeconds", f64::INFINITY);
    let attempts = retrier["MaxAttempts"].as_u64().expect("MaxAttempts");
    let mut interval = number("IntervalSeconds", 1.0);
    let mut total = 0.0;
    for _ in 0..attempts {
        total += interval.min(most);
        interval *= number("BackoffRate", 2.0);
    }
    total
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn seconds(value: &Value) -> u64 {
    value.as_u64().expect("TimeoutSeconds")
}
