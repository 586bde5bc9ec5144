//! How a deployment ended, by App Runner's operation and by what the service runs.

use crate::deployment::Deployment;
use crate::follow::Verdict;
use groundcrew::claim::Kind;

/// How a deployment ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// It runs and is well.
    Deployed,
    /// App Runner could not deploy it and runs what ran before.
    Failed,
    /// It was not well, and what ran before runs again.
    RolledBack,
    /// It was not well, and the way back failed, too.
    RollbackFailed,
    /// It is not well, and runs.
    Left(String),
    /// It ran, and somebody else has set another image since.
    Replaced(Option<String>),
}

impl End {
    pub(crate) fn of(
        deployment: &Deployment,
        operation: &Verdict,
        left: Option<String>,
        runs: Option<String>,
    ) -> Self {
        let is_replaced = deployment.kind != Kind::Secrets && runs != deployment.digest;
        match (deployment.kind, operation.succeeded, left) {
            (_, true, _) if is_replaced => Self::Replaced(runs),
            (_, true, Some(why)) => Self::Left(why),
            (Kind::Rollback, true, None) => Self::RolledBack,
            (Kind::Rollback, false, _) => Self::RollbackFailed,
            (_, true, None) => Self::Deployed,
            (_, false, _) => Self::Failed,
        }
    }

    /// What the execution ends with: `Deployed`, or the name of its error.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Deployed => "Deployed",
            Self::Failed => "DeploymentFailed",
            Self::RolledBack => "RolledBack",
            Self::RollbackFailed => "RollbackFailed",
            Self::Left(_) => "Unwell",
            Self::Replaced(_) => "Replaced",
        }
    }
}

/// Whether what failed or succeeded was the delivery of secrets, and not that of an image: also if an image was being watched
/// when a secret moved.
pub(crate) fn is_about_secrets(deployment: &Deployment, operation: &Verdict) -> bool {
    deployment.kind == Kind::Secrets || (deployment.deliveries > 0 && !operation.succeeded)
}
