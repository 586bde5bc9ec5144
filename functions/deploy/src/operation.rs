//! App Runner's operations that a deployment takes: asking for one, and finding out afterwards whether it was accepted.

use aws_sdk_apprunner::types::{OperationStatus, OperationSummary, ServiceStatus};
use groundcrew::claim::{Claim, Kind};
use groundcrew::memory::Deployments;
use groundcrew::reference::ImageReference;
use groundcrew::{Aws, Error, Managed, Memory, Result};

/// The operation that the claim asked for, if App Runner has accepted it. One that delivered another image is somebody
/// else's, who was quicker.
pub(crate) fn accepted(
    operations: &[OperationSummary],
    claim: &Claim,
    managed: &Managed,
) -> Option<String> {
    if !claim.sent {
        return None;
    }
    let runs = ImageReference::of(&managed.service).and_then(|image| image.digest);
    let since = claim.operations(operations).unwrap_or_default();
    let own = since.into_iter().find(|operation| {
        operation.status() != Some(&OperationStatus::Succeeded)
            || claim.kind == Kind::Secrets
            || runs == claim.digest
    });
    own.and_then(|operation| operation.id.clone())
}

/// App Runner has refused the call: what it is doing instead is not what the claim waits for.
pub(crate) async fn disown(
    aws: &Aws,
    memory: &mut Memory<Deployments>,
    mut claim: Claim,
    refused: &Error,
) -> Result<()> {
    if matches!(refused, Error::Busy { .. }) {
        claim.sent = false;
        let mut then = (**memory).clone();
        then.claim = Some(claim);
        memory.write(aws, then).await?;
    }
    Ok(())
}

/// Points the service to another image; everything else stays as App Runner has it.
pub(crate) async fn update_image(aws: &Aws, managed: &Managed, identifier: &str) -> Result<String> {
    let mut source = managed.service.source_configuration.clone();
    if let Some(source) = &mut source {
        // Of a pushed tag App Runner would otherwise make a deployment of its own.
        source.auto_deployments_enabled = Some(false);
        if let Some(repository) = &mut source.image_repository {
            repository.image_identifier = identifier.to_owned();
        }
    }
    let updated = aws
        .apprunner()
        .update_service()
        .service_arn(managed.arn())
        .set_source_configuration(source)
        .send()
        .await
        .map_err(Error::aws("apprunner:UpdateService"))?;
    Ok(updated.operation_id)
}

pub(crate) async fn start_deployment(aws: &Aws, managed: &Managed) -> Result<String> {
    let started = aws
        .apprunner()
        .start_deployment()
        .service_arn(managed.arn())
        .send()
        .await
        .map_err(Error::aws("apprunner:StartDeployment"));
    match started {
        Ok(started) => Ok(started.operation_id),
        // StartDeployment knows no InvalidStateException: of a service in an operation it says InvalidRequestException,
        // as of any mistake (many public repositories quote it). The service's status tells them apart.
        Err(Error::Aws { code, reason, call }) if code == "InvalidRequestException" => {
            let now = groundcrew::managed::describe(aws, managed.arn()).await?;
            let busy = now.is_some_and(|now| now.status() == &ServiceStatus::OperationInProgress);
            Err(if busy {
                Error::Busy { call, reason }
            } else {
                Error::Aws { code, reason, call }
            })
        }
        Err(error) => Err(error),
    }
}
