//! The end of a deployment: what is remembered of it, and what is told.

use crate::deployment::Deployment;
use crate::follow::{GONE, Verdict};
use crate::notification::Notification;
use crate::release::{Outcome, Release, releases, surplus};
use aws_sdk_apprunner::types::OperationSummary;
use groundcrew::arn::ServiceArn;
use groundcrew::claim::{Claim, Kind, NONE};
use groundcrew::managed::{set_tags, tags as tags_of};
use groundcrew::stack::{
    TAG_DEPLOYED_SECRETS, TAG_DEPLOYING, TAG_REJECTED_IMAGE, TAG_REJECTED_SECRETS, Tags,
};
use groundcrew::{Aws, Error, Result, event_log};
use serde::Serialize;

/// What `settle` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Settled {
    /// How the execution ends: `Deployed`, or the name of its error.
    pub(crate) outcome: &'static str,
    /// What is to be told, unless there is nothing to tell.
    pub(crate) notification: Option<Notification>,
    /// The same in a word, for the output of the execution.
    pub(crate) reason: String,
    /// Whether the service has to be looked at once more: an image failed that would have taken new secrets along.
    pub(crate) look_again: bool,
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
    let said = match ServiceArn::parse(&deployment.service_arn) {
        Some(service) if [End::Failed, End::RollbackFailed].contains(&end) => {
            event_log::said(aws, &service, operation.started_at).await
        }
        _ => None,
    };
    let found = match operation.status.as_str() {
        GONE => None,
        _ => tags_of(aws, &deployment.service_arn).await?,
    };
    let Some(existing) = found else {
        return Ok(Settled {
            outcome: "Nothing",
            notification: None,
            reason: "the service was removed meanwhile".into(),
            look_again: false,
        });
    };
    let mut tags = record(&existing, deployment, operation, &end);
    if Claim::of(&existing).is_none_or(|claim| claim.execution == execution) {
        tags.insert(TAG_DEPLOYING.into(), NONE.into());
    }
    // Settled once more, the release itself is among them already, and takes no other's place.
    let mut others = existing.clone();
    others.retain(|key, _| !tags.contains_key(key));
    let too_many = surplus(&others);
    if !too_many.is_empty() {
        aws.apprunner()
            .untag_resource()
            .resource_arn(&deployment.service_arn)
            .set_tag_keys(Some(too_many))
            .send()
            .await
            .map_err(Error::aws("apprunner:UntagResource"))?;
    }
    set_tags(aws, &deployment.service_arn, &tags).await?;
    let secrets_wait = end == End::Failed
        && deployment.kind == Kind::Image
        && deployment.new_secrets
        && !deployment.asked_for;
    let look_again = deployment.left_over || secrets_wait;
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
        notification: Some(Notification::ended(
            aws,
            deployment,
            operation,
            &end,
            said.as_deref(),
        )),
        reason: format!("{}: {outcome}", deployment.service),
        look_again,
    })
}

/// What the tags are to say after the end of a deployment. The same every time: the times in it are App Runner's.
fn record(existing: &Tags, deployment: &Deployment, operation: &Verdict, end: &End) -> Tags {
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
        digest: digest.clone().unwrap_or(NONE.into()),
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
    match (end, deployment.kind, &deployment.secrets) {
        (End::Failed, Kind::Secrets, Some(secrets)) => {
            tags.insert(TAG_REJECTED_SECRETS.into(), secrets.clone());
        }
        // The image runs and is not to blame for its secrets.
        (End::Left(_), Kind::Secrets, _) => {}
        // What a person has asked for takes no place from what was rejected before.
        (End::Failed | End::Left(_), _, _) if !deployment.asked_for => {
            let bad = deployment.digest.clone();
            tags.extend(bad.map(|bad| (TAG_REJECTED_IMAGE.into(), bad)));
        }
        _ => {}
    }
    tags.extend(first(existing, deployment));
    tags
}

/// Of the image that ran when the first release was made: nobody has recorded it, and it is a way back, too.
fn first(existing: &Tags, deployment: &Deployment) -> Option<(String, String)> {
    let previous = match deployment.kind {
        Kind::Rollback => deployment.digest.clone()?,
        Kind::Image | Kind::Secrets => deployment.previous.clone()?,
    };
    let releases = releases(existing);
    let mut ran = releases
        .iter()
        .filter(|release| release.outcome == Outcome::Deployed);
    ran.next().is_none().then(|| {
        Release {
            at: deployment.created_at,
            outcome: Outcome::Deployed,
            digest: previous,
            tag: None,
            secrets: existing.get(TAG_DEPLOYED_SECRETS).cloned(),
            cause: "ran before the first release".into(),
        }
        .to_tag()
    })
}

/// What the tags are to say about a claim whose execution ended early: what App Runner made of it is recorded, although
/// nobody has watched it. Its operation is the first one since the claim, and delivered what the claim says.
pub(crate) fn aftermath(claim: &Claim, since: &[&OperationSummary], runs: Option<&str>) -> Tags {
    let mut tags = Tags::from([(TAG_DEPLOYING.into(), NONE.into())]);
    let Some(verdict) = since.last().and_then(|operation| Verdict::of(operation)) else {
        return tags;
    };
    let delivered = claim.kind == Kind::Secrets || runs == claim.digest.as_deref();
    let (outcome, digest) = match (claim.kind, verdict.succeeded) {
        (_, true) if !delivered => return tags,
        (Kind::Rollback, true) => (Outcome::RolledBack, &claim.previous),
        // The bad image was rejected together with the claim.
        (Kind::Rollback, false) => (Outcome::Left, &claim.previous),
        (_, true) => (Outcome::Deployed, &claim.digest),
        (_, false) => (Outcome::Failed, &claim.digest),
    };
    let release = Release {
        at: verdict.ended_at,
        outcome,
        digest: digest.clone().unwrap_or(NONE.into()),
        tag: None,
        secrets: claim.secrets.clone(),
        cause: format!("left unwatched by {}", claim.execution),
    };
    tags.extend([release.to_tag()]);
    let (key, value) = match (claim.kind, verdict.succeeded) {
        (_, true) => (TAG_DEPLOYED_SECRETS, &claim.secrets),
        (Kind::Image, false) => (TAG_REJECTED_IMAGE, &claim.digest),
        (Kind::Secrets, false) => (TAG_REJECTED_SECRETS, &claim.secrets),
        (Kind::Rollback, false) => return tags,
    };
    tags.extend(value.clone().map(|value| (key.into(), value)));
    tags
}
