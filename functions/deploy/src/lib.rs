//! One deployment of one service: the steps of the state machine `deploy`.
//!
//! A deployment is reconciliation. Nobody says what to deploy; [`assess`] compares what a service should run (the newest
//! image under its tag rule, the current versions of its secrets) with what it runs, and acts on the difference in the
//! same step. Whatever comes twice, late or in another order finds nothing left to do.
//!
//! What has to outlive a step is in the memory of the service ([`groundcrew::memory`]): the claim of the deployment that is
//! under way, what was delivered, what was rejected, what a person has asked for, and the last releases. It is written by
//! compare-and-set, so that of two executions that look at the same moment one deploys.

mod assess;
mod bake;
mod claiming;
mod decide;
mod deliver;
mod deployment;
mod due;
mod end;
mod explain;
mod follow;
mod notification;
mod operation;
mod order;
mod preflight;
mod request;
mod roll_back;
mod settle;

pub use assess::{Assessment, AssessmentVerdict};
pub use bake::MOST_DELIVERIES;
pub use deployment::Deployment;
pub use due::{Due, due, end_auto_deployments, is_to_be_taken_over};
pub use request::Request;

use groundcrew::{Aws, Error, Failure, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The input of one step, as `statemachine/deploy.asl.yaml` sends it.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Step {
    /// Freezes a service, or ends that, or finds out which image a person asks for; answers an [`order::Ordered`].
    #[serde(alias = "hold")]
    Order {
        /// What the execution was started with.
        request: Value,
        /// The execution's name.
        #[serde(default)]
        execution: String,
        /// When it began.
        #[serde(default)]
        started: Option<Timestamp>,
    },
    /// Compares, checks and acts; answers an [`Assessment`].
    Assess {
        /// What the execution was started with.
        request: Value,
        /// The execution's name.
        execution: String,
        /// When it began.
        #[serde(default)]
        started: Option<Timestamp>,
    },
    /// Waits for the end of App Runner's operation; answers a [`follow::Verdict`].
    AwaitOperation {
        /// What is under way.
        deployment: Deployment,
    },
    /// Asks the service for its health path; answers a [`bake::Health`].
    SmokeCheck {
        /// What was deployed.
        deployment: Deployment,
        /// How often the state was retried already.
        attempt: u32,
        /// The execution's name.
        #[serde(default)]
        execution: Option<String>,
    },
    /// Looks at the service's alarms; answers a [`bake::Look`].
    Bake {
        /// What was deployed.
        deployment: Deployment,
        /// Of the operation that deployed it.
        operation: follow::Verdict,
        /// How many looks at the alarms there were before.
        looks: u32,
        /// What has to be told of the smoke check.
        #[serde(default)]
        note: Option<String>,
        /// The execution's name.
        #[serde(default)]
        execution: Option<String>,
    },
    /// Delivers secrets that have moved while the image was watched; answers a [`deliver::Delivery`].
    DeliverSecrets {
        /// What was deployed.
        deployment: Deployment,
        /// The execution's name.
        execution: String,
    },
    /// Goes back to the image before; answers a [`roll_back::WayBack`].
    RollBack {
        /// What was deployed and is not well.
        deployment: Deployment,
        /// Of its operation.
        operation: follow::Verdict,
        /// What is wrong with it.
        health: bake::Health,
        /// The execution's name.
        execution: String,
    },
    /// Records how it ended; answers a [`settle::Settled`] with what is to be told.
    Settle {
        /// The last deployment of the execution, which may be a rollback.
        deployment: Deployment,
        /// Of its operation.
        operation: follow::Verdict,
        /// Why the service was left as it is, if it was.
        left: Option<String>,
        /// What has to be told of the smoke check.
        #[serde(default)]
        note: Option<String>,
        /// The execution's name.
        execution: String,
    },
    /// Says what a person needs to know of an execution that could not go on.
    Explain {
        /// What the execution was started with.
        request: Value,
        /// What went wrong, as a `Catch` has it.
        failure: Failure,
        /// The execution's name.
        execution: String,
    },
}

impl Step {
    /// Reads the input of the function.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for anything that the state machine does not send. What a later version sends besides is left out.
    pub fn parse(input: Value) -> Result<Self> {
        serde_json::from_value(input).map_err(|error| Error::unreadable("deploy", &error))
    }

    /// Does the step.
    ///
    /// # Errors
    /// Those of [`Error`]; the state machine retries or catches them by name.
    pub async fn handle(self, aws: &Aws) -> Result<Value> {
        match self {
            Self::Order {
                request,
                execution,
                started,
            } => answer(order::order(aws, &request, &execution, started)).await,
            Self::Assess {
                request,
                execution,
                started,
            } => answer(assess::assess(aws, &request, &execution, started)).await,
            Self::AwaitOperation { deployment } => {
                answer(follow::operation(aws, &deployment)).await
            }
            Self::SmokeCheck {
                deployment,
                attempt,
                execution,
            } => {
                let execution = execution.as_deref();
                answer(bake::smoke_check(aws, &deployment, attempt, execution)).await
            }
            Self::Bake {
                deployment,
                operation,
                looks,
                note,
                execution,
            } => {
                let execution = execution.as_deref();
                let look = bake::look(aws, &deployment, &operation, looks, note, execution);
                answer(look).await
            }
            Self::DeliverSecrets {
                deployment,
                execution,
            } => answer(deliver::deliver(aws, deployment, &execution)).await,
            Self::RollBack {
                deployment,
                operation,
                health,
                execution,
            } => {
                let way_back =
                    roll_back::roll_back(aws, deployment, operation, &health, &execution);
                answer(way_back).await
            }
            Self::Settle {
                deployment,
                operation,
                left,
                note,
                execution,
            } => {
                let settled = settle::settle(aws, &deployment, &operation, left, note, &execution);
                answer(settled).await
            }
            Self::Explain {
                request,
                failure,
                execution,
            } => Ok(json!(
                Box::pin(explain::explain(aws, &request, &failure, &execution)).await
            )),
        }
    }
}

/// What a step answers, as JSON. It is boxed, for nested futures take much of a stack.
fn answer<T: Serialize>(
    step: impl Future<Output = Result<T>>,
) -> impl Future<Output = Result<Value>> {
    let step = Box::pin(step);
    async { Ok(json!(step.await?)) }
}
