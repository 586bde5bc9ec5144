//! One deployment of one service: the steps of the state machine `deploy`.
//!
//! A deployment is reconciliation. Nobody says what to deploy; [`assess`] compares what a service should run (the newest
//! image under its tag rule, the current versions of its secrets) with what it runs, and acts on the difference in the
//! same step. Whatever comes twice, late or in another order finds nothing left to do.
//!
//! What has to outlive a step is kept in tags of the service: the claim of the deployment that is under way, what was
//! delivered, what was rejected, and the last releases. They are where a person looks, they go with the service, and one
//! `TagResource` sets several of them at once or none. App Runner itself takes one operation at a time, so that two
//! executions that look at the same moment still deploy once.

mod assess;
mod bake;
mod decide;
mod deployment;
mod explain;
mod follow;
mod hold;
mod notification;
mod preflight;
mod release;
mod request;
mod roll_back;
mod settle;

pub use assess::{Due, due, end_auto_deployments};
pub use deployment::{Assessment, AssessmentVerdict, Deployment};
pub use notification::Notification;
pub use request::Request;

use groundcrew::{Aws, Error, Failure, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// The input of one step, as `statemachine/deploy.asl.yaml` sends it.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Freezes a service, or ends that; answers a [`hold::Held`].
    Hold {
        /// What the execution was started with.
        request: Value,
    },
    /// Compares, checks and acts; answers an [`Assessment`].
    Assess {
        /// What the execution was started with.
        request: Value,
        /// The execution's name.
        execution: String,
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
    },
    /// Looks at the service's alarms; answers a [`bake::Look`].
    Bake {
        /// What was deployed.
        deployment: Deployment,
        /// Of the operation that deployed it.
        operation: follow::Verdict,
        /// How many looks at the alarms there were before.
        looks: u32,
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
    /// [`Error::Invalid`] for anything that the state machine does not send.
    pub fn parse(input: Value) -> Result<Self> {
        serde_json::from_value(input).map_err(|error| {
            Error::invalid("", error.to_string(), "the input of a state of deploy")
        })
    }

    /// Does the step.
    ///
    /// # Errors
    /// Those of [`Error`]; the state machine retries or catches them by name.
    pub async fn handle(self, aws: &Aws) -> Result<Value> {
        Ok(match self {
            Self::Hold { request } => json!(hold::hold(aws, &request).await?),
            Self::Assess { request, execution } => {
                json!(assess::assess(aws, &request, &execution).await?)
            }
            Self::AwaitOperation { deployment } => {
                json!(follow::operation(aws, &deployment).await?)
            }
            Self::SmokeCheck {
                deployment,
                attempt,
            } => json!(bake::smoke_check(aws, &deployment, attempt).await?),
            Self::Bake {
                deployment,
                operation,
                looks,
            } => json!(bake::look(aws, &deployment, &operation, looks).await?),
            Self::RollBack {
                deployment,
                operation,
                health,
                execution,
            } => {
                json!(roll_back::roll_back(aws, deployment, operation, &health, &execution).await?)
            }
            Self::Settle {
                deployment,
                operation,
                left,
                execution,
            } => json!(settle::settle(aws, &deployment, &operation, left, &execution).await?),
            Self::Explain {
                request,
                failure,
                execution,
            } => json!(explain::explain(aws, &request, &failure, &execution).await),
        })
    }
}
