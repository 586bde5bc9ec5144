//! The way back from an image that is not well: once, to the image before, and never with older secrets.

use crate::bake::Health;
use crate::deployment::{Deployment, Unwell, identifier};
use crate::follow::Verdict;
use crate::operation::{accepted, disown, update_image};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::{Claim, Kind};
use groundcrew::managed::operations;
use groundcrew::memory::Deployments;
use groundcrew::reference::{ImageReference, current_secrets};
use groundcrew::{Aws, Error, Managed, Memory, Result, image, secrets};
use serde::Serialize;

/// Where it goes from here.
#[derive(Debug, Serialize)]
pub(crate) struct WayBack {
    /// The rollback that App Runner has accepted; or, where there is none, the deployment itself,
    pub deployment: Deployment,
    /// with its operation.
    pub operation: Verdict,
    /// Why there is none, and the service stays as it is.
    pub left: Option<String>,
}

pub(crate) async fn roll_back(
    aws: &Aws,
    deployment: Deployment,
    operation: Verdict,
    health: &Health,
    execution: &str,
) -> Result<WayBack> {
    let left = |deployment: &Deployment, why: String| WayBack {
        deployment: deployment.clone(),
        operation: operation.clone(),
        left: Some(why),
    };
    let Some(managed) = Managed::look(aws, &deployment.service_arn).await? else {
        return Ok(left(&deployment, "the service is gone".into()));
    };
    let unwell = &health.why;
    let previous = match way_back(&deployment) {
        Ok(previous) => previous.to_owned(),
        Err(reason) => return Ok(left(&deployment, format!("{unwell}. {reason}"))),
    };
    let rollback = |operation_id: String, secrets: Option<String>| WayBack {
        deployment: Deployment {
            kind: Kind::Rollback,
            digest: Some(previous.clone()),
            tag: None,
            previous: None,
            secrets,
            operation_id,
            instead_of: Some(Unwell {
                digest: deployment.digest.clone(),
                tag: deployment.tag.clone(),
                why: unwell.clone(),
            }),
            ..deployment.clone()
        },
        operation: operation.clone(),
        left: None,
    };
    let mut memory: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let is_own = |claim: &Claim| claim.execution == execution;
    let Some(claim) = memory.claim.clone().filter(is_own) else {
        // Nothing is taken back that somebody else answers for by now; `settle` says so.
        return Ok(left(&deployment, unwell.clone()));
    };
    let runs = ImageReference::of(&managed.service);
    let newest = operations(aws, managed.arn()).await?;
    if claim.kind == Kind::Rollback {
        // An earlier attempt of this step claimed it; whether App Runner heard of it, its operations tell.
        if let Some(id) = accepted(&newest, &claim, &managed) {
            return Ok(rollback(id, claim.secrets));
        }
    } else if runs
        .as_ref()
        .is_some_and(|it| it.digest == deployment.digest)
    {
        // First of all: whoever has to go on from here knows which image was the bad one, however long App Runner is busy.
        let mut then = (*memory).clone();
        then.claim = Some(Claim {
            kind: Kind::Rollback,
            sent: false,
            digest: Some(previous.clone()),
            tag: None,
            previous: deployment.digest.clone(),
            ..claim.clone()
        });
        if let Some(bad) = &deployment.digest {
            then.reject(bad, deployment.tag.as_deref());
        }
        memory.write(aws, then).await?;
    }
    match managed.service.status() {
        ServiceStatus::Running => {}
        ServiceStatus::OperationInProgress => {
            return Err(Error::Busy {
                call: "apprunner:UpdateService",
                reason: format!(
                    "service {} is in an operation, and is not well: {unwell}",
                    deployment.service
                ),
            });
        }
        status => {
            return Ok(left(
                &deployment,
                format!("{unwell}. The service is {status} now"),
            ));
        }
    }
    let Some(runs) = runs.filter(|runs| runs.digest == deployment.digest) else {
        let reason = format!("{unwell}. Somebody has given the service another image since");
        return Ok(left(&deployment, reason));
    };
    let images = image::pushed(aws, &runs.repository).await?;
    if !images.iter().any(|image| image.digest == previous) {
        let reason = format!("{unwell}. The image before is no longer in the repository");
        return Ok(left(&deployment, reason));
    }
    let now = secrets::fingerprint(aws, &current_secrets(&managed.service)).await?;
    let claim = Claim {
        execution: execution.to_owned(),
        kind: Kind::Rollback,
        sent: true,
        after: newest.into_iter().next().and_then(|newest| newest.id),
        digest: Some(previous.clone()),
        tag: None,
        previous: deployment.digest.clone(),
        secrets: now.text.clone(),
        unwell_before: None,
    };
    let mut then = (*memory).clone();
    then.claim = Some(claim.clone());
    memory.write(aws, then).await?;
    let identifier = identifier(&runs.repository, &previous);
    let operation_id = match update_image(aws, &managed, &identifier).await {
        Ok(operation_id) => operation_id,
        Err(refused) => {
            disown(aws, &mut memory, claim, &refused).await?;
            return Err(refused);
        }
    };
    tracing::warn!(operation_id, "{}: {unwell}; going back", deployment.service);
    Ok(rollback(operation_id, now.text))
}

/// The digest to go back to, or why there is no way back.
fn way_back(deployment: &Deployment) -> Result<&str, &'static str> {
    match (deployment.kind, &deployment.previous) {
        (Kind::Rollback, _) => Err("This was the way back already"),
        (Kind::Secrets, _) => Err("Secrets are never rolled back"),
        (Kind::Image, _) if deployment.asked_for => {
            Err("It was asked for by hand and is not taken back by itself")
        }
        (Kind::Image, Some(previous)) => Ok(previous),
        (Kind::Image, None) => Err("It is not known what ran before"),
    }
}
