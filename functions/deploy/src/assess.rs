//! The first step: compares what a service should run with what it runs, and has App Runner make up the difference.

use crate::claim::{Claim, Kind, NONE};
use crate::decide::{Decision, Situation, decide, wish};
use crate::deployment::{
    Assessment, AssessmentVerdict, Deployment, HealthAddress, called, identifier,
};
use crate::notification::Notification;
use crate::release::releases;
use crate::request::Request;
use crate::{follow, preflight, settle};
use aws_sdk_apprunner::types::{HealthCheckProtocol, ServiceStatus};
use groundcrew::image::{self, Candidate, TagRule};
use groundcrew::managed::operations;
use groundcrew::reference::{ImageReference, current_secrets};
use groundcrew::stack::{
    TAG_DEPLOYED_SECRETS, TAG_DEPLOYING, TAG_HOLD, TAG_IMAGE_TAG, TAG_POLICY, TAG_REJECTED_IMAGE,
    TAG_REJECTED_SECRETS, Tags, tag_value,
};
use groundcrew::{Aws, Error, Managed, Policy, Result, secrets};
use serde_json::Value;

pub(crate) async fn assess(
    aws: &Aws,
    request: &Value,
    execution: &str,
    attempt: u32,
) -> Result<Assessment> {
    let request = Request::parse(request)?;
    if tag_value(execution) != execution
        || execution.contains(' ')
        || execution.len() > Claim::LONGEST_EXECUTION
    {
        return Err(Error::invalid(
            "name of the execution",
            execution,
            "64 letters, digits, hyphens and underscores at most: a tag of the service holds it",
        ));
    }
    let Some(mut managed) = look(aws, &request.service).await? else {
        return Ok(nothing("there is no such service (any more)"));
    };
    if !managed.is_ours() {
        return Err(Error::Conflict(format!("service {}", managed.name())));
    }
    hold(aws, &mut managed, request.hold).await?;
    let no = |reason: &str| match &request.to {
        Some(to) => Err(Error::invalid(
            "to",
            to.clone(),
            format!("a service that takes a deployment; {reason}"),
        )),
        None => Ok(nothing(reason)),
    };
    if managed
        .tags
        .get(TAG_HOLD)
        .is_some_and(|hold| hold == "true")
    {
        return no("it is held; start deploy with hold: false to go on");
    }
    if let Some(claim) = Claim::of(&managed.tags) {
        if let Some(deployment) = resume(aws, &mut managed, &request, &claim, execution).await? {
            return Ok(deploying(deployment));
        }
    }
    match managed.service.status() {
        ServiceStatus::Running => {}
        ServiceStatus::Paused => return no("it is paused, and is looked at again when it wakes"),
        ServiceStatus::OperationInProgress => {
            return Err(Error::Busy {
                call: "apprunner:DescribeService",
                reason: format!("service {} is in an operation", managed.name()),
            });
        }
        status => {
            let reason = format!("it is {status}; start provision with its spec to repair it");
            return no(&reason);
        }
    }
    act(aws, &managed, &request, execution, attempt).await
}

async fn look(aws: &Aws, service: &str) -> Result<Option<Managed>> {
    if service.starts_with("arn:") {
        Managed::look(aws, service).await
    } else {
        Managed::find(aws, service).await
    }
}

/// Freezes the service, or ends that.
async fn hold(aws: &Aws, managed: &mut Managed, hold: Option<bool>) -> Result<()> {
    let Some(hold) = hold else { return Ok(()) };
    let is = managed.tags.get(TAG_HOLD).map_or("false", String::as_str);
    if is != hold.to_string() {
        set(
            aws,
            managed,
            Tags::from([(TAG_HOLD.into(), hold.to_string())]),
        )
        .await?;
    }
    Ok(())
}

async fn set(aws: &Aws, managed: &mut Managed, tags: Tags) -> Result<()> {
    managed.tag(aws, &tags).await?;
    managed.tags.extend(tags);
    Ok(())
}

/// What became of a claim. One of this execution: the deployment that came of it, if App Runner heard of it. One of another
/// execution that runs: `Busy`. One of an execution that ended early: its operation is recorded, and the claim is void.
async fn resume(
    aws: &Aws,
    managed: &mut Managed,
    request: &Request,
    claim: &Claim,
    execution: &str,
) -> Result<Option<Deployment>> {
    let own = claim.execution == execution;
    if !own && follow::is_running(aws, &claim.execution).await? {
        return Err(Error::Busy {
            call: "apprunner:UpdateService",
            reason: format!(
                "service {} is being deployed by the execution {}",
                managed.name(),
                claim.execution
            ),
        });
    }
    let operations = operations(aws, managed.arn()).await?;
    let operation = claim.operation(&operations);
    if own {
        let Some(id) = operation.and_then(|operation| operation.id()) else {
            return Ok(None);
        };
        let mut deployment = describe(managed, request, claim, id)?;
        if let Some(image) = ImageReference::of(&managed.service) {
            let images = image::pushed(aws, &image.repository).await?;
            let rule = managed
                .tags
                .get(TAG_IMAGE_TAG)
                .map(|rule| TagRule::parse(rule));
            let deployed = images.iter().find(|image| image.digest == claim.digest);
            let candidate = deployed
                .zip(rule)
                .and_then(|(image, rule)| rule.candidate(image));
            deployment.tag = candidate.map(|candidate| candidate.tag);
        }
        return Ok(Some(deployment));
    }
    if managed.service.status() != &ServiceStatus::OperationInProgress {
        let tags = settle::aftermath(managed, claim, operation);
        set(aws, managed, tags).await?;
    }
    Ok(None)
}

/// The deployment of a claim.
fn describe(
    managed: &Managed,
    request: &Request,
    claim: &Claim,
    operation_id: &str,
) -> Result<Deployment> {
    let deployed = managed.tags.get(TAG_DEPLOYED_SECRETS);
    Ok(Deployment {
        service_arn: managed.arn().to_owned(),
        service: managed.name().to_owned(),
        kind: claim.kind,
        digest: claim.digest.clone(),
        tag: None,
        previous: claim.previous.clone(),
        secrets: claim.secrets.clone(),
        new_secrets: claim.secrets.is_some() && claim.secrets.as_ref() != deployed,
        operation_id: operation_id.to_owned(),
        bake_minutes: Policy::parse(managed.tags.get(TAG_POLICY))?.bake_minutes,
        health: health_address(managed),
        cause: request.why().to_owned(),
        asked_for: request.to.is_some(),
        instead_of: None,
        note: None,
    })
}

/// Decides, checks, claims, and calls App Runner.
async fn act(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    execution: &str,
    attempt: u32,
) -> Result<Assessment> {
    let tag = |name: &str| managed.tags.get(name).map(String::as_str);
    let policy = Policy::parse(managed.tags.get(TAG_POLICY))?;
    let Some(image) = ImageReference::of(&managed.service) else {
        return Ok(nothing(
            "it does not run an image from a private ECR repository",
        ));
    };
    let rule = tag(TAG_IMAGE_TAG).or(image.tag.as_deref());
    let images = image::pushed(aws, &image.repository).await?;
    let now = secrets::fingerprint(aws, &current_secrets(&managed.service)).await?;
    let record = releases(&managed.tags);
    let situation = Situation {
        rule: rule.map(TagRule::parse),
        running: image.digest.as_deref(),
        images: &images,
        releases: &record,
        rejected_image: tag(TAG_REJECTED_IMAGE),
        secrets: now.as_deref(),
        deployed_secrets: tag(TAG_DEPLOYED_SECRETS),
        rejected_secrets: tag(TAG_REJECTED_SECRETS),
    };
    let mut decision = match &request.to {
        None => decide(&situation),
        Some(to) => {
            let wished = wish(&situation, to)
                .map_err(|sentence| Error::invalid("to", to.clone(), sentence))?;
            if image.digest.as_ref() == Some(&wished.digest) {
                return Ok(nothing("the service runs that image already"));
            }
            Decision::Image(wished)
        }
    };
    let mut note = None;
    if let Decision::Image(candidate) = decision.clone() {
        let digest = &candidate.digest;
        let objection =
            preflight::objection(aws, &image.repository, digest, &policy, attempt).await?;
        if let Some(objection) = objection {
            let refusal =
                Notification::refused(aws, managed.name(), &candidate, request, &objection);
            // Remembered, so that it is told once and not with every event that follows.
            let tags = Tags::from([(TAG_REJECTED_IMAGE.into(), digest.clone())]);
            managed.tag(aws, &tags).await?;
            let without = Situation {
                rejected_image: Some(digest),
                ..situation.clone()
            };
            decision = match request.to {
                None => decide(&without),
                Some(_) => Decision::Nothing(String::new()),
            };
            if decision != Decision::Secrets {
                return Ok(Assessment {
                    verdict: AssessmentVerdict::Refused,
                    reason: objection,
                    deployment: None,
                    notification: Some(refusal),
                });
            }
            let refused = called(Some(&candidate.tag), digest);
            note = Some(format!(
                "The image {refused} was not deployed: {objection}."
            ));
        }
    }
    let (kind, candidate) = match decision {
        Decision::Nothing(reason) => return Ok(nothing(&reason)),
        Decision::Image(candidate) => (Kind::Image, candidate),
        Decision::Secrets => {
            let digest = image.digest.clone().unwrap_or_default();
            let tag = record.iter().find(|release| release.digest == digest);
            let tag = tag.and_then(|release| release.tag.clone());
            let candidate = Candidate {
                digest,
                tag: tag.or(image.tag.clone()).unwrap_or_default(),
                at: 0,
            };
            (Kind::Secrets, candidate)
        }
    };
    let claim = Claim {
        execution: execution.to_owned(),
        kind,
        after: newest_operation(aws, managed).await?,
        digest: candidate.digest.clone(),
        previous: image
            .digest
            .clone()
            .filter(|digest| *digest != candidate.digest),
        secrets: now.clone(),
    };
    let mut tags = Tags::from([(TAG_DEPLOYING.into(), claim.to_string())]);
    let newest = situation
        .rule
        .as_ref()
        .and_then(|rule| rule.choose(&images));
    if request.to.is_some() {
        // What a person passes over is not deployed by the next event; what they ask for is welcome again.
        let passed_over = newest.map(|newest| newest.digest);
        let rejected = passed_over.filter(|newest| *newest != candidate.digest);
        tags.insert(TAG_REJECTED_IMAGE.into(), rejected.unwrap_or(NONE.into()));
    }
    managed.tag(aws, &tags).await?;
    let operation_id = match kind {
        Kind::Secrets => start_deployment(aws, managed).await?,
        Kind::Image | Kind::Rollback => {
            let identifier = identifier(&image.repository, &candidate.digest);
            update_image(aws, managed, &identifier).await?
        }
    };
    Ok(deploying(Deployment {
        tag: Some(candidate.tag).filter(|tag| !tag.is_empty()),
        note,
        ..describe(managed, request, &claim, &operation_id)?
    }))
}

pub(crate) async fn newest_operation(aws: &Aws, managed: &Managed) -> Result<Option<String>> {
    let operations = operations(aws, managed.arn()).await?;
    Ok(operations.into_iter().next().and_then(|newest| newest.id))
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

async fn start_deployment(aws: &Aws, managed: &Managed) -> Result<String> {
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
        // as of any mistake (aws-facts: found in many repositories). The service's status tells them apart.
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

/// The address of a public service with the path of its health check.
fn health_address(managed: &Managed) -> Option<HealthAddress> {
    let service = &managed.service;
    let public = service
        .network_configuration()
        .and_then(|network| network.ingress_configuration())
        .is_none_or(|ingress| ingress.is_publicly_accessible());
    let address = service.service_url().filter(|_| public)?;
    let check = service.health_check_configuration();
    let http = check.filter(|check| check.protocol() == Some(&HealthCheckProtocol::Http));
    let path = http.and_then(|check| check.path()).unwrap_or("/");
    Some(HealthAddress {
        url: format!("https://{address}{path}"),
        only_200: http.is_some(),
    })
}

fn nothing(reason: &str) -> Assessment {
    tracing::info!("nothing to do: {reason}");
    Assessment {
        verdict: AssessmentVerdict::Nothing,
        reason: reason.to_owned(),
        deployment: None,
        notification: None,
    }
}

fn deploying(deployment: Deployment) -> Assessment {
    let Deployment {
        service, digest, ..
    } = &deployment;
    let what = match deployment.kind {
        Kind::Secrets => "the current secrets",
        Kind::Image | Kind::Rollback => digest,
    };
    let reason = format!("{service} is being deployed with {what}");
    tracing::info!(operation_id = deployment.operation_id, "{reason}");
    Assessment {
        verdict: AssessmentVerdict::Deploying,
        reason,
        deployment: Some(deployment),
        notification: None,
    }
}
