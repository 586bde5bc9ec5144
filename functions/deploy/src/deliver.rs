//! New secrets in the middle of a bake: they are delivered first, for the old ones may be dead, and the image is judged afterwards.

use crate::deployment::Deployment;
use crate::operation::{accepted, disown, start_deployment};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::{Claim, Kind};
use groundcrew::managed::operations;
use groundcrew::memory::Deployments;
use groundcrew::reference::current_secrets;
use groundcrew::{Aws, Error, Managed, Memory, Result, secrets};
use serde::Serialize;

/// What `deliver-secrets` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Delivery {
    /// The deployment with the operation that delivers them; without one, as it was.
    pub(crate) deployment: Deployment,
    /// Whether App Runner delivers them.
    pub(crate) delivering: bool,
}

/// Has App Runner deploy the same image once more, inside the claim of this execution. The claim keeps what it takes to go back.
///
/// # Errors
/// `Busy` while the service is in an operation.
pub(crate) async fn deliver(
    aws: &Aws,
    deployment: Deployment,
    execution: &str,
) -> Result<Delivery> {
    let as_it_was = |deployment| {
        Ok(Delivery {
            deployment,
            delivering: false,
        })
    };
    let Some(managed) = Managed::look(aws, &deployment.service_arn).await? else {
        return as_it_was(deployment);
    };
    let mut memory: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let own = |claim: &Claim| claim.execution == execution;
    let Some(claim) = memory.claim.clone().filter(own) else {
        return as_it_was(deployment);
    };
    let listed = operations(aws, managed.arn()).await?;
    if claim.kind == Kind::Secrets
        && let Some(id) = accepted(&listed, &claim, &managed)
        && id != deployment.operation_id
    {
        // An earlier attempt of this step, whose answer was lost.
        return Ok(delivered_by(deployment, claim, id));
    }
    match managed.service.status() {
        ServiceStatus::Running => {}
        ServiceStatus::OperationInProgress => {
            return Err(Error::Busy {
                call: "apprunner:StartDeployment",
                reason: format!("service {} is in an operation", deployment.service),
            });
        }
        _ => return as_it_was(deployment),
    }
    let now = secrets::fingerprint(aws, &current_secrets(&managed.service)).await?;
    let claim = Claim {
        kind: Kind::Secrets,
        sent: true,
        after: listed.into_iter().next().and_then(|newest| newest.id),
        secrets: now.text,
        ..claim
    };
    let mut then = (*memory).clone();
    then.claim = Some(claim.clone());
    memory.write(aws, then).await?;
    match start_deployment(aws, &managed).await {
        Ok(id) => Ok(delivered_by(deployment, claim, id)),
        Err(refused) => {
            disown(aws, &mut memory, claim, &refused).await?;
            Err(refused)
        }
    }
}

fn delivered_by(deployment: Deployment, claim: Claim, operation_id: String) -> Delivery {
    Delivery {
        deployment: Deployment {
            operation_id,
            new_secrets: true,
            deliveries: deployment.deliveries + 1,
            secrets: claim.secrets,
            ..deployment
        },
        delivering: true,
    }
}
