//! The end of a deployment: what is remembered of it, and what is told.

use crate::claim::{self, Claim, Kind};
use crate::deployment::Deployment;
use crate::follow::Verdict;
use crate::notification::Notification;
use crate::release::{Outcome, Release, releases, surplus};
use aws_sdk_apprunner::types::OperationSummary;
use groundcrew::stack::{
    TAG_DEPLOYED_SECRETS, TAG_DEPLOYING, TAG_REJECTED_IMAGE, TAG_REJECTED_SECRETS, Tags,
};
use groundcrew::{Aws, Error, Managed, Result};
use jiff::Timestamp;
use serde::Serialize;

/// What `settle` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Settled {
    /// How the execution ends: `Deployed`, or the name of its error.
    pub outcome: &'static str,
    /// What is to be told.
    pub notification: Notification,
    /// Whether the service has to be looked at once more: an image failed that would have taken new secrets along.
    pub look_again: bool,
}

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
}

impl End {
    fn of(deployment: &Deployment, operation: &Verdict, left: Option<String>) -> Self {
        match (deployment.kind, operation.succeeded, left) {
            (_, true, Some(why)) => Self::Left(why),
            (Kind::Rollback, true, None) => Self::RolledBack,
            (Kind::Rollback, false, _) => Self::RollbackFailed,
            (_, true, None) => Self::Deployed,
            (_, false, _) => Self::Failed,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Deployed => "Deployed",
            Self::Failed => "DeploymentFailed",
            Self::RolledBack => "RolledBack",
            Self::RollbackFailed => "RollbackFailed",
            Self::Left(_) => "Unwell",
        }
    }
}

pub(crate) async fn settle(
    aws: &Aws,
    deployment: &Deployment,
    operation: &Verdict,
    left: Option<String>,
    execution: &str,
) -> Result<Settled> {
    let end = End::of(deployment, operation, left);
    let Some(managed) = Managed::look(aws, &deployment.service_arn).await? else {
        return Err(Error::Failed(format!(
            "service {} is gone",
            deployment.service
        )));
    };
    let mut tags = record(&managed, deployment, operation, &end);
    let claimed = Claim::of(&managed.tags).is_none_or(|claim| claim.execution == execution);
    if claimed {
        tags.insert(TAG_DEPLOYING.into(), claim::NONE.into());
    }
    // Settled once more, the release itself is among them already, and takes no other's place.
    let mut others = managed.tags.clone();
    others.retain(|key, _| !tags.contains_key(key));
    let too_many = surplus(&others);
    if !too_many.is_empty() {
        aws.apprunner()
            .untag_resource()
            .resource_arn(managed.arn())
            .set_tag_keys(Some(too_many))
            .send()
            .await
            .map_err(Error::aws("apprunner:UntagResource"))?;
    }
    managed.tag(aws, &tags).await?;
    let look_again = end == End::Failed
        && deployment.kind == Kind::Image
        && deployment.new_secrets
        && !deployment.asked_for;
    let outcome = end.name();
    if end == End::Deployed {
        tracing::info!(
            digest = deployment.digest,
            "{}: {outcome}",
            deployment.service
        );
    } else {
        tracing::error!(
            digest = deployment.digest,
            "{}: {outcome}",
            deployment.service
        );
    }
    Ok(Settled {
        outcome,
        notification: Notification::ended(aws, &managed, deployment, operation, &end),
        look_again,
    })
}

/// What the tags are to say after the end of a deployment. The same every time: the times in it are App Runner's.
fn record(managed: &Managed, deployment: &Deployment, operation: &Verdict, end: &End) -> Tags {
    let mut tags = Tags::new();
    let bad = deployment.instead_of.as_ref();
    let (outcome, digest, tag) = match end {
        End::Deployed => (Outcome::Deployed, &deployment.digest, &deployment.tag),
        End::Failed => (Outcome::Failed, &deployment.digest, &deployment.tag),
        End::Left(_) => (Outcome::Left, &deployment.digest, &deployment.tag),
        End::RolledBack | End::RollbackFailed => {
            let outcome = match end {
                End::RolledBack => Outcome::RolledBack,
                _ => Outcome::Left,
            };
            bad.map_or((outcome, &deployment.digest, &deployment.tag), |bad| {
                (outcome, &bad.digest, &bad.tag)
            })
        }
    };
    let release = Release {
        at: operation.ended_at,
        outcome,
        digest: digest.clone(),
        tag: tag.clone(),
        secrets: deployment.secrets.clone(),
        cause: deployment.cause.clone(),
    };
    tags.extend([release.to_tag()]);
    if operation.succeeded
        && let Some(secrets) = &deployment.secrets
    {
        tags.insert(TAG_DEPLOYED_SECRETS.into(), secrets.clone());
    }
    if *end == End::Failed {
        match (deployment.kind, &deployment.secrets) {
            (Kind::Secrets, Some(secrets)) => {
                tags.insert(TAG_REJECTED_SECRETS.into(), secrets.clone());
            }
            _ => {
                tags.insert(TAG_REJECTED_IMAGE.into(), deployment.digest.clone());
            }
        }
    }
    tags.extend(first(managed, deployment));
    tags
}

/// Of the image that ran when the first release was made: nobody has recorded it, and it is a way back, too.
fn first(managed: &Managed, deployment: &Deployment) -> Option<(String, String)> {
    let previous = deployment.previous.clone()?;
    let known = !releases(&managed.tags).is_empty();
    let created = managed.service.created_at();
    (!known).then(|| {
        Release {
            at: Timestamp::from_second(created.secs()).unwrap_or_default(),
            outcome: Outcome::Deployed,
            digest: previous,
            tag: None,
            secrets: managed.tags.get(TAG_DEPLOYED_SECRETS).cloned(),
            cause: "ran before the first release".into(),
        }
        .to_tag()
    })
}

/// What the tags are to say about a deployment whose execution ended before it: what App Runner made of it is recorded
/// as if it had been watched, except that nobody has looked at alarms.
pub(crate) fn aftermath(
    managed: &Managed,
    claim: &Claim,
    operation: Option<&OperationSummary>,
) -> Tags {
    let mut tags = Tags::from([(TAG_DEPLOYING.into(), claim::NONE.into())]);
    let Some(verdict) = operation.and_then(Verdict::of) else {
        return tags;
    };
    if claim.kind == Kind::Rollback {
        // The bad image was rejected together with the claim.
        if let Some(secrets) = claim.secrets.clone().filter(|_| verdict.succeeded) {
            tags.insert(TAG_DEPLOYED_SECRETS.into(), secrets);
        }
        return tags;
    }
    let deployment = Deployment {
        service_arn: managed.arn().to_owned(),
        service: managed.name().to_owned(),
        kind: claim.kind,
        digest: claim.digest.clone(),
        tag: None,
        previous: claim.previous.clone(),
        secrets: claim.secrets.clone(),
        new_secrets: false,
        operation_id: String::new(),
        bake_minutes: 0,
        health: None,
        cause: format!("left unwatched by {}", claim.execution),
        asked_for: false,
        instead_of: None,
    };
    let end = if verdict.succeeded {
        End::Deployed
    } else {
        End::Failed
    };
    tags.extend(record(managed, &deployment, &verdict, &end));
    tags
}
