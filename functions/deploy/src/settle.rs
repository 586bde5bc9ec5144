//! The end of a deployment: what is remembered of it, and what is told.

use crate::deployment::Deployment;
use crate::end::{End, is_about_secrets};
use crate::follow::{GONE, Verdict};
use crate::notification;
use aws_sdk_apprunner::types::OperationSummary;
use groundcrew::arn::ServiceArn;
use groundcrew::claim::{Claim, Kind};
use groundcrew::memory::{Deployments, Outcome, Release};
use groundcrew::reference::ImageReference;
use groundcrew::{Aws, Managed, Memory, Notification, Result, event_log};
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
    /// Whether the service has to be looked at once more: an image failed that would have taken new secrets along, or somebody
    /// else has set another image.
    pub(crate) look_again: bool,
}

pub(crate) async fn settle(
    aws: &Aws,
    deployment: &Deployment,
    operation: &Verdict,
    left: Option<String>,
    note: Option<String>,
    execution: &str,
) -> Result<Settled> {
    let nothing = |reason: &str| {
        Ok(Settled {
            outcome: "Nothing",
            notification: None,
            reason: reason.to_owned(),
            look_again: false,
        })
    };
    let found = match operation.status.as_str() {
        GONE => None,
        _ => Managed::look(aws, &deployment.service_arn).await?,
    };
    let Some(managed) = found else {
        return nothing("the service was removed meanwhile");
    };
    let runs = ImageReference::of(&managed.service).and_then(|image| image.digest);
    let end = End::of(deployment, operation, left, runs);
    let said = said(aws, deployment, operation, &end).await;
    let mut memory: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let Some(then) = remembered(&memory, deployment, operation, &end, execution) else {
        return nothing("somebody has asked for another image since, and that execution tells");
    };
    memory.write(aws, then).await?;
    let secrets_wait = end == End::Failed
        && !is_about_secrets(deployment, operation)
        && deployment.new_secrets
        && !deployment.asked_for;
    let look_again = deployment.left_over || secrets_wait || matches!(end, End::Replaced(_));
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
        notification: Some(notification::ended(
            aws,
            deployment,
            operation,
            &end,
            said.as_deref(),
            note.as_deref(),
        )),
        reason: format!("{}: {outcome}", deployment.service),
        look_again,
    })
}

/// What App Runner says of a failure.
async fn said(
    aws: &Aws,
    deployment: &Deployment,
    operation: &Verdict,
    end: &End,
) -> Option<String> {
    let service = ServiceArn::parse(&deployment.service_arn)?;
    match end {
        End::Failed | End::RollbackFailed => {
            event_log::said(aws, &service, operation.started_at).await
        }
        _ => None,
    }
}

/// What is to be remembered of a service; `None` if this execution answers for it no more.
fn remembered(
    memory: &Memory<Deployments>,
    deployment: &Deployment,
    operation: &Verdict,
    end: &End,
    execution: &str,
) -> Option<Deployments> {
    let release = release(deployment, operation, end);
    let is_own = memory
        .claim
        .as_ref()
        .is_some_and(|claim| claim.execution == execution);
    if is_own {
        return Some(record(memory, deployment, operation, end, release));
    }
    let is_recorded = |other: &Release| other.at == release.at && other.outcome == release.outcome;
    // A wish records the image that it replaces as this step would; its execution has the claim.
    let is_taken = matches!(end, End::Replaced(_)) && memory.claim.is_some();
    // By an attempt of this step whose answer was lost.
    let was_recorded = !is_taken && memory.releases.iter().any(is_recorded);
    was_recorded.then(|| (**memory).clone())
}

/// The same every time: the times in it are App Runner's.
fn release(deployment: &Deployment, operation: &Verdict, end: &End) -> Release {
    let own = (&deployment.digest, &deployment.tag);
    let bad = deployment.instead_of.as_ref();
    let taken_back = bad.map_or(own, |bad| (&bad.digest, &bad.tag));
    let (outcome, (digest, tag)) = match end {
        End::Deployed => (Outcome::Deployed, own),
        End::Failed => (Outcome::Failed, own),
        End::Left(_) => (Outcome::Left, own),
        End::RolledBack => (Outcome::RolledBack, taken_back),
        End::RollbackFailed => (Outcome::Left, taken_back),
        // The bad image was taken back all the same.
        End::Replaced(_) if deployment.kind == Kind::Rollback => (Outcome::RolledBack, taken_back),
        End::Replaced(_) => (Outcome::Unwatched, own),
    };
    Release {
        at: operation.ended_at,
        outcome,
        digest: digest.clone(),
        tag: tag.clone(),
        secrets: deployment.secrets.clone(),
        cause: deployment.cause.clone(),
        of_secrets: is_about_secrets(deployment, operation),
    }
}

/// What is to be remembered after the end of a deployment.
fn record(
    before: &Deployments,
    deployment: &Deployment,
    operation: &Verdict,
    end: &End,
    release: Release,
) -> Deployments {
    let mut then = before.clone();
    then.claim = None;
    if let Some(first) = first(before, deployment) {
        then.record(first);
    }
    if operation.succeeded && deployment.secrets.is_some() {
        then.delivered_secrets = deployment.secrets.clone();
    }
    let about_secrets = is_about_secrets(deployment, operation);
    if about_secrets && deployment.kind == Kind::Image {
        // The image itself is deployed, and the watch over it has ended early.
        then.record(Release {
            at: operation.started_at,
            outcome: Outcome::Unwatched,
            of_secrets: false,
            ..release.clone()
        });
    }
    then.record(release);
    match (end, about_secrets) {
        (End::Failed, true) => then.rejected_secrets = deployment.secrets.clone(),
        // The image runs and is not to blame for its secrets.
        (End::Left(_), true) => {}
        (End::Failed | End::Left(_), _) => {
            if let Some(bad) = deployment.digest.as_ref().filter(|_| !deployment.asked_for) {
                then.reject(bad, deployment.tag.as_deref());
            }
        }
        _ => {}
    }
    then
}

/// Of the image that ran when the first release was made: nobody has recorded it, and it is a way back, too.
fn first(before: &Deployments, deployment: &Deployment) -> Option<Release> {
    let previous = match deployment.kind {
        Kind::Rollback => deployment.digest.clone()?,
        Kind::Image | Kind::Secrets => deployment.previous.clone()?,
    };
    let mut ran = before.releases.iter().filter(|it| it.outcome.is_good());
    ran.next().is_none().then(|| Release {
        at: deployment.created_at,
        outcome: Outcome::Deployed,
        digest: Some(previous),
        tag: None,
        secrets: before.delivered_secrets.clone(),
        cause: "ran before the first release".into(),
        of_secrets: false,
    })
}

/// What is to be remembered of a claim whose execution ended early, or that a person's wish has ended: what App Runner made of
/// it, although nobody has watched it. Its operation is the first one since the claim, and delivered what the claim says.
pub(crate) fn aftermath(
    then: &mut Deployments,
    claim: &Claim,
    since: &[&OperationSummary],
    runs: Option<&str>,
) {
    then.claim = None;
    let Some(verdict) = since.last().and_then(|operation| Verdict::of(operation)) else {
        return;
    };
    let delivered = claim.kind == Kind::Secrets || runs == claim.digest.as_deref();
    let (outcome, digest) = match (claim.kind, verdict.succeeded) {
        (_, true) if !delivered => return,
        (Kind::Rollback, true) => (Outcome::RolledBack, &claim.previous),
        // The bad image was rejected together with the claim.
        (Kind::Rollback, false) => (Outcome::Left, &claim.previous),
        (_, true) => (Outcome::Unwatched, &claim.digest),
        (_, false) => (Outcome::Failed, &claim.digest),
    };
    then.record(Release {
        at: verdict.ended_at,
        outcome,
        digest: digest.clone(),
        tag: claim.tag.clone().filter(|_| claim.kind != Kind::Rollback),
        secrets: claim.secrets.clone(),
        cause: format!("left unwatched by {}", claim.execution),
        of_secrets: claim.kind == Kind::Secrets,
    });
    match (claim.kind, verdict.succeeded) {
        (_, true) if claim.secrets.is_some() => then.delivered_secrets = claim.secrets.clone(),
        (Kind::Image, false) => {
            if let Some(bad) = &claim.digest {
                then.reject(bad, claim.tag.as_deref());
            }
        }
        (Kind::Secrets, false) => then.rejected_secrets = claim.secrets.clone(),
        _ => {}
    }
}
