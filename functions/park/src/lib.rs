//! Parking: pauses the stacks of an environment at night and wakes them in the morning. The steps of the state machine `park`.
//!
//! It looks, every half hour, and decides from what it sees, the schedule and the moment. Nothing is an edge: a look that
//! was missed, came twice or met a busy service is made up for by the next one.
//!
//! A look starts one execution of the same machine for each stack that has something to do, which works and tells for itself:
//! what hangs or fails for one stack holds up no other.
//!
//! What has to outlive a step is kept in tags of the service: what a person wants, and since when groundcrew has it parked.
//! Each step asks first whether what it is for is still wanted, so that of two wishes the last one wins.

mod alarms;
mod at_work;
mod databases;
mod decide;
mod extent;
mod give_up;
mod observed;
mod outlook;
mod plan;
mod record;
mod report;
mod request;
mod savings;
mod schedule;
mod services;
mod task;
mod under_way;
mod wake;
mod wish;

pub use decide::{Action, Decision, Sleep, decide};
pub use observed::{Database, Observed, Parts, Service, observe};
pub use outlook::{Outlook, outlook};
pub use plan::{Plan, Row};
pub use report::Report;
pub use request::{Asked, Request};
pub use savings::Saving;
pub use schedule::{Period, Schedule};
pub use task::{Came, Clock, Outcome, Task, Wanted};

use groundcrew::environment::{parking, variable};
use groundcrew::pace::Tempo;
use groundcrew::{Aws, Error, Failure, Result};
use jiff::Timestamp;
use plan::Looking;
use serde::Deserialize;
use serde_json::{Value, json};

/// What `park` knows of its surroundings, from the environment of the function.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// When environments sleep, as [`Schedule::parse`] reads it.
    pub parking: String,
    /// The ARN of the state machine `provision`.
    pub provision_state_machine: String,
    /// The ARN of the state machine `teardown`.
    pub teardown_state_machine: String,
    /// How fast a look asks.
    pub tempo: Tempo,
}

impl Surroundings {
    /// Reads what `template.yaml` puts into the definition, which sends it with this step, and into the environment of the
    /// function.
    ///
    /// # Panics
    /// If the template and this function disagree; a contract test sees to it that they do not.
    pub fn of(step: &Value) -> Self {
        Self {
            parking: parking(step),
            provision_state_machine: variable("PROVISION_STATE_MACHINE"),
            teardown_state_machine: variable("TEARDOWN_STATE_MACHINE"),
            tempo: Tempo::AWS,
        }
    }
}

/// The input of one step, as `statemachine/park.asl.yaml` sends it.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Step {
    /// Looks at every stack that is asked about, decides, and starts an execution for each that has something to do.
    Plan {
        /// What the execution was started with.
        request: Value,
        /// When the execution was started.
        started: Timestamp,
        /// The ARN of the state machine; the definition of groundcrew 0.1 does not say it.
        machine: Option<String>,
        /// The execution's name.
        #[serde(default)]
        execution: String,
    },
    /// Writes down what is wanted of a stack.
    Record {
        /// The stack.
        task: Task,
    },
    /// Turns the actions of its alarms off.
    AlarmsOff {
        /// The stack.
        task: Task,
    },
    /// Pauses its services.
    PauseServices {
        /// The stack.
        task: Task,
    },
    /// Stops its databases.
    StopDatabases {
        /// The stack.
        task: Task,
    },
    /// Starts its databases.
    StartDatabases {
        /// The stack.
        task: Task,
    },
    /// Resumes its services.
    ResumeServices {
        /// The stack.
        task: Task,
    },
    /// Turns the actions of its alarms on.
    AlarmsOn {
        /// The stack.
        task: Task,
    },
    /// Delivers what came in while it slept.
    Deliver {
        /// The stack.
        task: Task,
    },
    /// Puts right what can be, when a stack could not be parked or woken, and says what is left.
    GiveUp {
        /// The stack.
        task: Task,
        /// What went wrong, as a `Catch` has it.
        failure: Failure,
        /// The ARN of the state machine.
        #[serde(default)]
        machine: String,
        /// The execution's name.
        #[serde(default)]
        execution: String,
    },
    /// Notes that a person was told of what could not be done.
    NoteTold {
        /// The stack; none, if it was of the look.
        task: Option<Task>,
    },
}

impl Step {
    /// Reads the input of the function.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for anything that the state machine does not send. What a later version sends besides is left out.
    pub fn parse(input: Value) -> Result<Self> {
        serde_json::from_value(input).map_err(|error| Error::unreadable("park", &error))
    }

    /// Does the step.
    ///
    /// # Errors
    /// Those of [`Error`]; the state machine retries or catches them by name.
    pub async fn handle(self, aws: &Aws, surroundings: &Surroundings) -> Result<Value> {
        let schedule = &Schedule::parse(&surroundings.parking)?;
        Ok(match self {
            Self::Plan {
                request,
                started,
                machine,
                execution,
            } => {
                let machine = machine.ok_or_else(|| {
                    let sentence = "groundcrew was replaced when this execution had just begun: start it again, or wait for the next look";
                    Error::Failed(sentence.into())
                })?;
                let looking = Looking {
                    started,
                    machine,
                    execution,
                };
                json!(plan::plan(aws, surroundings, schedule, &request, looking).await?)
            }
            Self::Record { task } => {
                json!(record::record(aws, surroundings, schedule, &task).await?)
            }
            Self::AlarmsOff { task } => json!(alarms::off(aws, schedule, &task).await?),
            Self::PauseServices { task } => json!(services::pause(aws, schedule, &task).await?),
            Self::StopDatabases { task } => json!(databases::stop(aws, schedule, &task).await?),
            Self::StartDatabases { task } => json!(databases::start(aws, schedule, &task).await?),
            Self::ResumeServices { task } => json!(services::resume(aws, schedule, &task).await?),
            Self::AlarmsOn { task } => json!(alarms::on(aws, schedule, &task).await?),
            Self::Deliver { task } => json!(wake::deliver(aws, schedule, &task).await?),
            Self::GiveUp {
                task,
                failure,
                machine,
                execution,
            } => {
                let given_up = give_up::give_up(aws, &task, &failure, &machine, &execution);
                json!(given_up.await?)
            }
            Self::NoteTold { task } => match task {
                Some(task) => json!(give_up::note_told(aws, &task).await?),
                None => Value::Null,
            },
        })
    }
}
