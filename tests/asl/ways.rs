//! Every way through a state machine, with real data: each payload is made by the machine's own paths out of answers that its
//! functions can give, and each choice is made by the machine's own rules.

use super::machines::{Machine, State, errors};
use super::player::{Ended, Failure, Played, Tasks, play};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What there is to know of a machine's functions.
pub(crate) trait Functions {
    /// What a function can answer to a step, which it has to understand.
    fn answers(&self, state: State<'_>, step: &Value) -> Vec<Value>;

    /// What a state can end with once its retries are over, by the name of what its catcher is for.
    fn failures(&self, name: &str) -> Vec<Value> {
        let name = if name == "States.ALL" { "Denied" } else { name };
        vec![json!({"Error": name, "Cause": r#"{"errorMessage": "…"}"#})]
    }

    /// Whether a way is not followed any further.
    fn is_enough(&self, _played: &Played) -> bool {
        false
    }
}

/// All ways through a machine from this input to an end.
pub(crate) fn every_way(
    machine: &Machine,
    functions: &dyn Functions,
    input: &Value,
) -> Vec<Played> {
    let started = Timestamp::now();
    let mut crossroads = Crossroads {
        functions,
        taken: RefCell::default(),
        passed: Cell::new(0),
    };
    let mut ways = Vec::new();
    loop {
        crossroads.passed.set(0);
        let played = at_once(play(machine, &crossroads, ("run-1", started), input));
        if played.ended != Ended::Stopped {
            ways.push(played);
        }
        if !crossroads.turn() {
            return ways;
        }
    }
}

/// What a future comes to that waits for nothing.
pub(super) fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing is waited for"),
    }
}

/// Where the ways part: at each task, at its answers and its failures.
struct Crossroads<'a> {
    functions: &'a dyn Functions,
    /// The crossroads of this way: which turn was taken, of which.
    taken: RefCell<Vec<(usize, Vec<Turn>)>>,
    /// How many crossroads this way has come past.
    passed: Cell<usize>,
}

/// What a task comes to.
type Turn = Result<Value, Failure>;

impl Crossroads<'_> {
    /// Takes the turn that was arranged, or else the first. Whatever comes before the last crossroads is the same each time.
    fn choose(&self, turns: impl FnOnce() -> Vec<Turn>) -> Turn {
        let at = self.passed.replace(self.passed.get() + 1);
        let mut taken = self.taken.borrow_mut();
        if at == taken.len() {
            taken.push((0, turns()));
        }
        let (turn, turns) = &taken[at];
        // Where there is none, nothing comes after it either.
        turns.get(*turn).cloned().unwrap_or(Err(Failure::Stopped))
    }

    /// Arranges the next way: it parts from this one at the last crossroads that have another turn. Answers whether there is one.
    fn turn(&mut self) -> bool {
        let taken = self.taken.get_mut();
        while let Some((turn, turns)) = taken.pop() {
            if turn + 1 < turns.len() {
                taken.push((turn + 1, turns));
                return true;
            }
        }
        false
    }

    fn failures(&self, state: State<'_>) -> impl Iterator<Item = Turn> {
        let catchers = state.catchers().iter();
        let names = catchers.flat_map(|catcher| errors(catcher));
        let failures = names.flat_map(|name| self.functions.failures(name));
        failures.map(|failure| Err(Failure::AtLast(failure)))
    }

    /// It succeeds, or fails in one of the ways that are caught.
    fn succeed_or_fail(&self, state: State<'_>) -> Turn {
        let succeeds = [Ok(Value::Null)].into_iter();
        self.choose(|| succeeds.chain(self.failures(state)).collect())
    }
}

impl Tasks for Crossroads<'_> {
    async fn call(&self, state: State<'_>, step: Value) -> Turn {
        self.choose(|| {
            let answers = self.functions.answers(state, &step).into_iter().map(Ok);
            answers.chain(self.failures(state)).collect()
        })
    }

    async fn publish(&self, state: State<'_>, _message: &Value) -> Result<(), Failure> {
        self.succeed_or_fail(state).map(drop)
    }

    fn enters(&self, played: &Played) -> bool {
        !self.functions.is_enough(played)
    }

    fn breaks(&self, state: State<'_>) -> Option<Failure> {
        self.succeed_or_fail(state).err()
    }
}
