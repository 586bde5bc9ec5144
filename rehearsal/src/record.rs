//! What a rehearsal was: the document that `--json` prints, and what the report shows.
//!
//! Times are AWS seconds since the beginning of the flow that they are in: since the first thing that happens in it, or, if it
//! is played at a time of its own, since that time. No secret value is in it: neither the inputs nor
//! the outputs of executions are, only what the play itself says of them.

mod executions;
mod recorder;

pub(crate) use recorder::Recorder;

use figures::Figures;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What [`Record::version`] is. It becomes another number when a field goes or gets another meaning; new fields may come
/// without.
pub const VERSION: u32 = 1;

/// US dollars for a state transition of a standard workflow, in us-east-1 (<https://aws.amazon.com/step-functions/pricing/>).
pub const STATE_TRANSITION: f64 = 0.025 / 1000.0;

/// A whole rehearsal.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    /// The version of this form, [`VERSION`].
    pub version: u32,
    /// The command that was given.
    pub command: String,
    /// When its first flow began, on the wall.
    pub began: Timestamp,
    /// How long its flows took on the wall.
    pub wall_seconds: f64,
    /// AWS seconds that passed in a second on the wall.
    pub time_scale: f64,
    /// Why it ended before its end, if it did: then all the rest is as far as it got.
    pub error: Option<String>,
    /// What was played, in this order.
    pub flows: Vec<Flow>,
    /// What was checked, in this order.
    pub promises: Vec<Promise>,
    /// What groundcrew has created, by ARN.
    pub resources: Vec<Resource>,
    /// What it would have cost on AWS.
    pub cost: Cost,
    /// What was measured before, with other commands.
    pub figures: Vec<Figures>,
}

/// Something that was played.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Flow {
    /// What it is.
    pub title: String,
    /// How long until the last thing that happened in it.
    pub seconds: f64,
    /// Where it is played at a time of its own, the moments that it goes through.
    pub moments: Vec<Moment>,
    /// What ran, in the order in which it began.
    pub executions: Vec<Execution>,
    /// The calls of functions and state machines, in the order of their answers. Those of the rehearsal are left out.
    pub calls: Vec<Call>,
    /// What went over the default bus.
    pub events: Vec<Event>,
    /// What was published to SNS topics.
    pub notifications: Vec<Notification>,
}

/// From here on it is that time where the people are, until the next moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Moment {
    /// When in the flow.
    pub at: f64,
    /// Which time it is then.
    pub local: Zoned,
}

/// An execution of a state machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Execution {
    /// The state machine, `provision`.
    pub machine: String,
    /// Its name.
    pub name: String,
    /// When it began.
    pub at: f64,
    /// How long it took; so far, if it still runs.
    pub seconds: f64,
    /// How it ended.
    pub end: End,
    /// The state transitions that AWS charges.
    pub transitions: usize,
    /// Its states that do something or wait, in the order in which they were entered; one that was entered twice is there
    /// twice.
    pub states: Vec<State>,
}

/// How an execution ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It did not end yet.
    Running,
    /// It has succeeded.
    Succeeded,
    /// It has failed, timed out or was stopped.
    Failed {
        /// The error's name.
        error: String,
        /// What it says.
        message: String,
    },
}

/// A state that was entered.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// `Task` or `Wait`.
    pub kind: String,
    /// When it was entered.
    pub at: f64,
    /// How long until it was left, or until the execution ended.
    pub seconds: f64,
    /// How it was left.
    pub left: Left,
    /// What it has come to, in its own words.
    pub outcome: Option<String>,
    /// The attempts of its task that failed.
    pub failures: Vec<Failure>,
}

/// How a state was left.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Left {
    /// It has succeeded.
    Done,
    /// It has succeeded in finding out that something is not well.
    Unwell,
    /// It has failed.
    Failed,
    /// It was not: the execution ended or still runs.
    Not,
}

/// An attempt of a task that failed. Most are a wait: the state machine tries again.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Failure {
    /// When.
    pub at: f64,
    /// The error's name, `NotReady`.
    pub error: String,
    /// What it says.
    pub message: String,
}

/// A call of AWS.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Call {
    /// When it was answered.
    pub at: f64,
    /// Whose call it was: the name of the role.
    pub principal: String,
    /// The IAM action, `ec2:CreateVpc`.
    pub action: String,
    /// AWS's error code, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An event on the default bus.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// When it went over the bus.
    pub at: f64,
    /// Where it is from, `aws.ecr`.
    pub source: String,
    /// Its kind, `ECR Image Action`.
    pub detail_type: String,
    /// What it says has happened, in the words of its detail.
    pub about: String,
}

/// What somebody was told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Notification {
    /// When.
    pub at: f64,
    /// The ARN of the topic.
    pub topic: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub message: String,
}

/// A promise that was checked.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Promise {
    /// The feature's id; several promises may be about one feature.
    pub id: String,
    /// What is promised.
    pub sentence: String,
    /// Whether it was kept.
    pub kept: bool,
    /// What shows that.
    pub evidence: String,
    /// The flow after which it was checked, counted from 0.
    pub flow: usize,
}

/// A resource that groundcrew has created.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Resource {
    /// The service and what it calls the kind, `ec2 subnet`.
    pub kind: String,
    /// Its name, or the id that AWS has given it.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The tags that it had last.
    pub tags: BTreeMap<String, String>,
    /// The execution that created it, by its tag.
    pub created_by: String,
    /// The flow that this execution was played in, counted from 0.
    pub flow: Option<usize>,
    /// Whether it was there at the end.
    pub exists: bool,
}

/// What a rehearsal would have cost on AWS, and what its nights save.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Cost {
    /// Of all executions.
    pub state_transitions: usize,
    /// What they cost, in US dollars.
    pub dollars: f64,
    /// The invocations of each function.
    pub invocations: BTreeMap<String, usize>,
    /// The sleeps that were played, and what each saves.
    pub sleeps: Vec<Sleep>,
}

/// A sleep of a stack.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sleep {
    /// The stack.
    pub stack: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Hours asleep.
    pub hours: f64,
    /// What they save, in US dollars; `None` if a price is not known.
    pub dollars: Option<f64>,
}

impl Record {
    /// How many promises were kept.
    pub fn kept(&self) -> usize {
        self.promises.iter().filter(|promise| promise.kept).count()
    }

    /// Those that were not.
    pub fn broken(&self) -> impl Iterator<Item = &Promise> {
        self.promises.iter().filter(|promise| !promise.kept)
    }

    /// As one JSON document.
    ///
    /// # Errors
    /// None: everything in it has a form in JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

impl Flow {
    /// The time where the people are, so many AWS seconds after the flow began; `None` if nobody looks at a clock then.
    pub fn local(&self, at: f64) -> Option<Zoned> {
        let moment = self.moments.iter().rfind(|moment| moment.at <= at)?;
        Some(later(&moment.local, at - moment.at))
    }
}

/// So many AWS seconds later.
pub(crate) fn later(than: &Zoned, seconds: f64) -> Zoned {
    let later = SignedDuration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|passed| than.checked_add(passed).ok());
    later.unwrap_or_else(|| than.clone())
}

impl Execution {
    /// Whether it has failed.
    pub fn failed(&self) -> bool {
        matches!(self.end, End::Failed { .. })
    }
}

impl Cost {
    fn of(
        flows: &[Flow],
        invocations: BTreeMap<String, usize>,
        sleeps: impl IntoIterator<Item = Sleep>,
    ) -> Self {
        let executions = flows.iter().flat_map(|flow| &flow.executions);
        let state_transitions = executions.map(|execution| execution.transitions).sum();
        Self {
            state_transitions,
            dollars: state_transitions as f64 * STATE_TRANSITION,
            invocations,
            sleeps: distinct(sleeps),
        }
    }
}

/// Each sleep once, as the last look at it says it: every look at a stack that sleeps says so again.
fn distinct(sleeps: impl IntoIterator<Item = Sleep>) -> Vec<Sleep> {
    let mut distinct: Vec<Sleep> = Vec::new();
    for sleep in sleeps {
        let same = |known: &&mut Sleep| known.stack == sleep.stack && known.until == sleep.until;
        match distinct.iter_mut().find(same) {
            Some(known) => *known = sleep,
            None => distinct.push(sleep),
        }
    }
    distinct
}
