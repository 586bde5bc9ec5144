//! The way back from an image that is not well: once, to the image before, and never with older secrets.

use crate::bake::Health;
use crate::deployment::{Deployment, Unwell, identifier};
use crate::follow::Verdict;
use crate::operation::{accepted, disown, update_image};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::{Claim, Kind};
use groundcrew::managed::operations;
use groundcrew::memory::Deployments;
use groundcrew::reference::{ImageReference, Repository, current_secrets};
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
    let left = |why: String| WayBack {
        deployment: deployment.clone(),
        operation: operation.clone(),
        left: Some(why),
    };
    let Some(managed) = Managed::look(aws, &deployment.service_arn).await? else {
        return Ok(left("the service is gone".into()));
    };
    let unwell = &health.why;
    let previous = match way_back(&deployment) {
        Ok(previous) => previous,
        Err(reason) => return Ok(left(format!("{unwell}. {reason}"))),
    };
    let mut memory: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let is_own = |claim: &Claim| claim.execution == execution;
    let Some(claim) = memory.claim.clone().filter(is_own) else {
        // Nothing is taken back that somebody else answers for by now; `settle` says so.
        return Ok(left(unwell.clone()));
    };
    let rollback = Rollback {
        aws,
        managed: &managed,
        deployment: &deployment,
        unwell,
        previous,
    };
    let under_way = |operation_id: String, secrets: Option<String>| WayBack {
        deployment: rollback.deployment(operation_id, secrets),
        operation: operation.clone(),
        left: None,
    };
    let newest = operations(aws, managed.arn()).await?;
    if claim.kind == Kind::Rollback {
        // An earlier attempt of this step claimed it; whether App Runner heard of it, its operations tell.
        if let Some(id) = accepted(&newest, &claim, &managed) {
            return Ok(under_way(id, claim.secrets));
        }
    } else if rollback.image().is_some() {
        rollback.reject(&mut memory, claim).await?;
    }
    let repository = match rollback.repository().await? {
        Ok(repository) => repository,
        Err(reason) => return Ok(left(format!("{unwell}. {reason}"))),
    };
    let now = secrets::fingerprint(aws, &current_secrets(&managed.service)).await?;
    let claim = Claim {
        execution: execution.to_owned(),
        kind: Kind::Rollback,
        sent: true,
        after: newest.into_iter().next().and_then(|newest| newest.id),
        digest: Some(previous.to_owned()),
        tag: None,
        previous: deployment.digest.clone(),
        secrets: now.text.clone(),
        unwell_before: None,
    };
    let operation_id = rollback.start(&mut memory, claim, &repository).await?;
    Ok(under_way(operation_id, now.text))
}

/// What is gone back from, and to what.
struct Rollback<'a> {
    aws: &'a Aws,
    managed: &'a Managed,
    /// What was deployed and is not well.
    deployment: &'a Deployment,
    /// What is wrong with it.
    unwell: &'a str,
    /// The digest to go back to.
    previous: &'a str,
}

impl Rollback<'_> {
    /// The rollback that an operation delivers.
    fn deployment(&self, operation_id: String, secrets: Option<String>) -> Deployment {
        let deployment = self.deployment;
        Deployment {
            kind: Kind::Rollback,
            digest: Some(self.previous.to_owned()),
            tag: None,
            previous: None,
            secrets,
            operation_id,
            instead_of: Some(Unwell {
                digest: deployment.digest.clone(),
                tag: deployment.tag.clone(),
                why: self.unwell.to_owned(),
            }),
            ..deployment.clone()
        }
    }

    /// The image of the service, while it is the bad one.
    fn image(&self) -> Option<ImageReference> {
        let runs = ImageReference::of(&self.managed.service);
        runs.filter(|runs| runs.digest == self.deployment.digest)
    }

    /// First of all: whoever has to go on from here knows which image was the bad one, however long App Runner is busy.
    async fn reject(&self, memory: &mut Memory<Deployments>, claim: Claim) -> Result<()> {
        let deployment = self.deployment;
        let mut then = (**memory).clone();
        then.claim = Some(Claim {
            kind: Kind::Rollback,
            sent: false,
            digest: Some(self.previous.to_owned()),
            tag: None,
            previous: deployment.digest.clone(),
            ..claim
        });
        if let Some(bad) = &deployment.digest {
            then.reject(bad, deployment.tag.as_deref());
        }
        memory.write(self.aws, then).await
    }

    /// The repository that holds the image before, or why the service stays as it is.
    ///
    /// # Errors
    /// `Busy` while the service is in an operation.
    async fn repository(&self) -> Result<Result<Repository, String>> {
        match self.managed.service.status() {
            ServiceStatus::Running => {}
            ServiceStatus::OperationInProgress => {
                return Err(Error::Busy {
                    call: "apprunner:UpdateService",
                    reason: format!(
                        "service {} is in an operation, and is not well: {}",
                        self.deployment.service, self.unwell
                    ),
                });
            }
            status => return Ok(Err(format!("The service is {status} now"))),
        }
        let Some(ImageReference { repository, .. }) = self.image() else {
            return Ok(Err(
                "Somebody has given the service another image since".into()
            ));
        };
        let images = image::pushed(self.aws, &repository).await?;
        Ok(match images.iter().any(|it| it.digest == self.previous) {
            true => Ok(repository),
            false => Err("The image before is no longer in the repository".into()),
        })
    }

    /// Writes the claim, and asks App Runner for what it says. Answers the id of the operation.
    async fn start(
        &self,
        memory: &mut Memory<Deployments>,
        claim: Claim,
        repository: &Repository,
    ) -> Result<String> {
        let mut then = (**memory).clone();
        then.claim = Some(claim.clone());
        memory.write(self.aws, then).await?;
        let identifier = identifier(repository, self.previous);
        let operation_id = match update_image(self.aws, self.managed, &identifier).await {
            Ok(operation_id) => operation_id,
            Err(refused) => {
                disown(self.aws, memory, claim, &refused).await?;
                return Err(refused);
            }
        };
        let (service, unwell) = (&self.deployment.service, self.unwell);
        tracing::warn!(operation_id, "{service}: {unwell}; going back");
        Ok(operation_id)
    }
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
