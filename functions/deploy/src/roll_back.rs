//! The way back from an image that is not well: once, to the image before, and never with older secrets.

use crate::assess::{accepted, disown, update_image};
use crate::bake::Health;
use crate::deployment::{Deployment, Unwell, identifier};
use crate::follow::Verdict;
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::{Claim, Kind};
use groundcrew::managed::operations;
use groundcrew::reference::{ImageReference, current_secrets};
use groundcrew::stack::{TAG_DEPLOYING, TAG_REJECTED_IMAGE, Tags};
use groundcrew::{Aws, Error, Managed, Result, image, secrets};
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
    let claim = Claim::of(&managed.tags).filter(|claim| claim.execution == execution);
    if let Some(claim) = claim.filter(|claim| claim.kind == Kind::Rollback) {
        // An earlier attempt of this step claimed it; whether App Runner heard of it, its operations tell.
        let operations = operations(aws, managed.arn()).await?;
        if let Some(id) = accepted(&operations, &claim, &managed) {
            return Ok(rollback(id, claim.secrets));
        }
    }
    match managed.service.status() {
        ServiceStatus::Running => {}
        ServiceStatus::OperationInProgress => {
            return Err(Error::Busy {
                call: "apprunner:UpdateService",
                reason: format!("service {} is in an operation", deployment.service),
            });
        }
        status => {
            return Ok(left(
                &deployment,
                format!("{unwell}. The service is {status} now"),
            ));
        }
    }
    let runs = ImageReference::of(&managed.service);
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
    let newest = operations(aws, managed.arn()).await?.into_iter().next();
    let claim = Claim {
        execution: execution.to_owned(),
        kind: Kind::Rollback,
        sent: true,
        after: newest.and_then(|newest| newest.id),
        digest: Some(previous.clone()),
        previous: deployment.digest.clone(),
        secrets: now.clone(),
    };
    // Both at once: whoever has to go on from here knows which image was the bad one.
    let mut tags = Tags::from([(TAG_DEPLOYING.into(), claim.to_string())]);
    tags.extend(
        deployment
            .digest
            .clone()
            .map(|bad| (TAG_REJECTED_IMAGE.into(), bad)),
    );
    managed.tag(aws, &tags).await?;
    let identifier = identifier(&runs.repository, &previous);
    let operation_id = match update_image(aws, &managed, &identifier).await {
        Ok(operation_id) => operation_id,
        Err(refused) => {
            disown(aws, &managed, claim, &refused).await?;
            return Err(refused);
        }
    };
    tracing::warn!(operation_id, "{}: {unwell}; going back", deployment.service);
    Ok(rollback(operation_id, now))
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
