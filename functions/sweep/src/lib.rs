//! The sweep: once a day, and by hand, every managed stack is compared with what it should be, because AWS delivers events at
//! best effort. The steps of the state machine `sweep`.
//!
//! It says what it finds, and repairs what is safe to repair with the code that the events would have started: alarms as the
//! function `alarms` does, what was not delivered by `deploy`, what sleeps or should by `park`. The rest is for a person.

mod drift;
mod finding;
mod inventory;
mod look;
mod repair;
mod report;
mod request;

pub use finding::{Finding, Lines, Looked, Remedy, Swept, Told};
pub use inventory::Listed;
pub use look::{Look, look};
pub use request::Request;

use groundcrew::environment::{parking, variable};
use groundcrew::{Aws, Drift, Error, Result, Stack};
use jiff::Timestamp;
use park::Schedule;
use serde::Deserialize;
use serde_json::{Value, json};

/// What the sweep knows of its surroundings, from the environment of the function.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The ARN of the topic that alarms tell if their service names none.
    pub notifications: String,
    /// When environments sleep, as `park` reads it.
    pub parking: String,
    /// The ARN of the state machine `park`.
    pub park_state_machine: String,
    /// The ARN of the state machine `provision`, for what a person is told.
    pub provision_state_machine: String,
    /// The ARN of the state machine `teardown`, for what a person is told.
    pub teardown_state_machine: String,
}

impl Surroundings {
    /// Reads what `template.yaml` puts into the definition, which sends it with this step, and into the environment of the
    /// function.
    ///
    /// # Panics
    /// If the template and this function disagree; a contract test sees to it that they do not.
    pub fn of(step: &Value) -> Self {
        Self {
            notifications: variable("NOTIFICATIONS"),
            parking: parking(step),
            park_state_machine: variable("PARK_STATE_MACHINE"),
            provision_state_machine: variable("PROVISION_STATE_MACHINE"),
            teardown_state_machine: variable("TEARDOWN_STATE_MACHINE"),
        }
    }
}

/// The input of one step, as `statemachine/sweep.asl.yaml` sends it.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Step {
    /// Lists every stack of the account that anything carries the tags of; answers a [`Listed`].
    List {
        /// What the execution was started with.
        request: Value,
    },
    /// Looks at some stacks; answers a [`Looked`].
    Look {
        /// Which.
        stacks: Vec<Stack>,
        /// How they differ from their last specs; of an execution of before there was such a thing, nothing.
        #[serde(default)]
        compared: Compared,
        /// Whether nothing is to be repaired.
        dry_run: bool,
        /// How many bytes the lines of one kind may have.
        room: usize,
    },
    /// Repairs what was found; answers a [`Swept`].
    Repair {
        /// What was found.
        findings: Vec<Finding>,
        /// What of it is told once.
        #[serde(default)]
        told: Vec<Told>,
        /// The execution's name.
        execution: String,
        /// How many bytes the lines of one kind may have.
        room: usize,
    },
    /// Says what was found and repaired, over all.
    Report {
        /// What became of each batch.
        batches: Vec<Swept>,
        /// Whether nothing was to be repaired.
        dry_run: bool,
        /// The ARN of the state machine.
        machine: String,
        /// The execution's name.
        execution: String,
    },
    /// Remembers what a person was told, and is not told again.
    Remember {
        /// What.
        told: Vec<Told>,
    },
}

/// How the stacks of a batch differ from their last specs.
#[derive(Debug, Default, Deserialize)]
pub struct Compared {
    /// Those that do.
    pub drifts: Vec<Drift>,
    /// Why they could not be compared.
    #[serde(default)]
    pub failure: Option<String>,
}

impl Step {
    /// Reads the input of the function.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for anything that the state machine does not send. What a later version sends besides is left out.
    pub fn parse(input: Value) -> Result<Self> {
        serde_json::from_value(input).map_err(|error| Error::unreadable("sweep", &error))
    }

    /// Does the step.
    ///
    /// # Errors
    /// Those of [`Error`]; the state machine retries or catches them by name.
    pub async fn handle(self, aws: &Aws, surroundings: &Surroundings) -> Result<Value> {
        // Boxed, for the types of nested futures grow too deep for the compiler.
        Ok(match self {
            Self::List { request } => json!(Box::pin(inventory::list(aws, &request)).await?),
            Self::Look {
                stacks,
                compared,
                dry_run,
                room,
            } => {
                let schedule = &Schedule::parse(&surroundings.parking)?;
                let now = Timestamp::now();
                let look = Look {
                    surroundings,
                    schedule,
                    now,
                    dry_run,
                    room,
                };
                json!(Box::pin(look::look(aws, &look, &stacks, &compared)).await?)
            }
            Self::Repair {
                findings,
                told,
                execution,
                room,
            } => {
                let repair = repair::repair(aws, surroundings, findings, &execution, room);
                let repaired = Box::pin(repair).await?;
                json!(Swept { told, ..repaired })
            }
            Self::Report {
                batches,
                dry_run,
                machine,
                execution,
            } => json!(report::report(batches, dry_run, &machine, &execution)),
            Self::Remember { told } => json!(Box::pin(drift::remember(aws, told)).await?),
        })
    }
}
