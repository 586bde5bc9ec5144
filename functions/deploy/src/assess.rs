//! The first step: compares what a service should run with what it runs, and has App Runner make up the difference.
//!
//! It takes two attempts. The first one decides, and writes the decision as a claim into a tag of the service; the next one
//! does what the claim says. Of executions that claim the service at the same moment, the last one to write wins: seconds
//! later, only that one finds its own claim. And whoever comes back after a crash knows what was asked of App Runner.

use crate::claim::{Claim, Kind, NONE};
use crate::decide::{Decision, Situation, decide, wish};
use crate::deployment::{
    Assessment, AssessmentVerdict, Deployment, HealthAddress, called, identifier,
};
use crate::notification::Notification;
use crate::release::releases;
use crate::request::Request;
use crate::{follow, preflight, settle};
use aws_sdk_apprunner::types::{
    HealthCheckProtocol, OperationStatus, OperationSummary, ServiceStatus,
};
use groundcrew::image::{self, Candidate, Pushed, TagRule};
use groundcrew::managed::operations;
use groundcrew::reference::{ImageReference, current_secrets};
use groundcrew::stack::{
    TAG_DEPLOYED_SECRETS, TAG_DEPLOYING, TAG_HOLD, TAG_IMAGE_TAG, TAG_POLICY, TAG_REJECTED_IMAGE,
    TAG_REJECTED_SECRETS, Tags, tag_value,
};
use groundcrew::{Aws, Error, Managed, Policy, Result, secrets};
use serde_json::Value;

pub(crate) async fn assess(aws: &Aws, request: &Value, execution: &str) -> Result<Assessment> {
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
    let claim = own_claim(aws, &mut managed, execution).await?;
    if let Some(claim) = &claim {
        let operations = operations(aws, managed.arn()).await?;
        let found = claim
            .operation(&operations)
            .filter(|found| delivers(found, claim, &managed));
        if let Some(id) = found.and_then(|found| found.id()) {
            return deploying(aws, &managed, &request, claim, id).await;
        }
    }
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
    match claim {
        Some(claim) => act(aws, &managed, &request, &claim).await,
        None => decide_and_claim(aws, &managed, &request, execution).await,
    }
}

/// Whether an operation is the one that the claim asked for. Somebody else's, which was quicker, delivers another image.
fn delivers(operation: &OperationSummary, claim: &Claim, managed: &Managed) -> bool {
    let image = ImageReference::of(&managed.service).and_then(|image| image.digest);
    operation.status() != Some(&OperationStatus::Succeeded)
        || claim.kind == Kind::Secrets
        || image.as_ref() == Some(&claim.digest)
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
        let tags = Tags::from([(TAG_HOLD.into(), hold.to_string())]);
        set(aws, managed, tags).await?;
    }
    Ok(())
}

async fn set(aws: &Aws, managed: &mut Managed, tags: Tags) -> Result<()> {
    managed.tag(aws, &tags).await?;
    managed.tags.extend(tags);
    Ok(())
}

/// The claim of this execution. That of another one that runs is `Busy`; that of one that ended early is void, and what
/// became of it is recorded.
async fn own_claim(aws: &Aws, managed: &mut Managed, execution: &str) -> Result<Option<Claim>> {
    let Some(claim) = Claim::of(&managed.tags) else {
        return Ok(None);
    };
    if claim.execution == execution {
        return Ok(Some(claim));
    }
    if follow::is_running(aws, &claim.execution).await? {
        return Err(Error::Busy {
            call: "apprunner:UpdateService",
            reason: format!(
                "service {} is being deployed by the execution {}",
                managed.name(),
                claim.execution
            ),
        });
    }
    if managed.service.status() != &ServiceStatus::OperationInProgress {
        let operations = operations(aws, managed.arn()).await?;
        let tags = settle::aftermath(managed, &claim, claim.operation(&operations));
        set(aws, managed, tags).await?;
    }
    Ok(None)
}

/// Decides what to deploy, checks that it may be deployed, and claims the service for it.
///
/// # Errors
/// `NotReady` when it has claimed: the next attempt acts.
async fn decide_and_claim(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    execution: &str,
) -> Result<Assessment> {
    let tag = |name: &str| managed.tags.get(name).map(String::as_str);
    let policy = Policy::parse(managed.tags.get(TAG_POLICY))?;
    let Some(image) = ImageReference::of(&managed.service) else {
        return Ok(nothing(
            "it does not run an image from a private ECR repository",
        ));
    };
    let images = image::pushed(aws, &image.repository).await?;
    let now = secrets::fingerprint(aws, &current_secrets(&managed.service)).await?;
    let record = releases(&managed.tags);
    let situation = Situation {
        rule: tag(TAG_IMAGE_TAG)
            .or(image.tag.as_deref())
            .map(TagRule::parse),
        running: image.digest.as_deref(),
        images: &images,
        releases: &record,
        rejected_image: tag(TAG_REJECTED_IMAGE),
        secrets: now.as_deref(),
        deployed_secrets: tag(TAG_DEPLOYED_SECRETS),
        rejected_secrets: tag(TAG_REJECTED_SECRETS),
    };
    let decision = match &request.to {
        None => decide(&situation),
        Some(to) => Decision::Image(
            wish(&situation, to).map_err(|sentence| Error::invalid("to", to.clone(), sentence))?,
        ),
    };
    let (kind, digest) = match decision {
        Decision::Nothing(reason) => return Ok(nothing(&reason)),
        Decision::Image(candidate) if image.digest.as_ref() == Some(&candidate.digest) => {
            return Ok(nothing("the service runs that image already"));
        }
        Decision::Image(candidate) => {
            let objection =
                preflight::objection(aws, &image.repository, &candidate, &policy).await?;
            if let Some(objection) = objection {
                let without = Situation {
                    rejected_image: Some(&candidate.digest),
                    ..situation.clone()
                };
                let secrets_wait = request.to.is_none() && decide(&without) == Decision::Secrets;
                let refused = refuse(aws, managed, request, &candidate, &objection).await?;
                return Ok(Assessment {
                    look_again: secrets_wait,
                    ..refused
                });
            }
            (Kind::Image, candidate.digest)
        }
        Decision::Secrets => (Kind::Secrets, image.digest.clone().unwrap_or_default()),
    };
    let claim = Claim {
        execution: execution.to_owned(),
        kind,
        after: newest_operation(aws, managed).await?,
        previous: image.digest.clone().filter(|running| *running != digest),
        digest,
        secrets: now.clone(),
    };
    let mut tags = Tags::from([(TAG_DEPLOYING.into(), claim.to_string())]);
    if request.to.is_some() {
        // What a person passes over is not deployed by the next event; what they ask for is welcome again.
        let newest = situation
            .rule
            .as_ref()
            .and_then(|rule| rule.choose(&images));
        let passed_over = newest.filter(|newest| newest.digest != claim.digest);
        let passed_over = passed_over.map_or(NONE.into(), |newest| newest.digest);
        tags.insert(TAG_REJECTED_IMAGE.into(), passed_over);
    }
    managed.tag(aws, &tags).await?;
    Err(Error::NotReady(format!(
        "the claim on service {}",
        managed.name()
    )))
}

/// Remembers that the image must not be deployed, so that it is told once and not with every event that follows.
async fn refuse(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    candidate: &Candidate,
    objection: &str,
) -> Result<Assessment> {
    let image = called(Some(&candidate.tag), &candidate.digest);
    tracing::error!("{} was not given {image}: {objection}", managed.name());
    let tags = Tags::from([(TAG_REJECTED_IMAGE.into(), candidate.digest.clone())]);
    managed.tag(aws, &tags).await?;
    Ok(Assessment {
        verdict: AssessmentVerdict::Refused,
        reason: objection.to_owned(),
        deployment: None,
        notification: Some(Notification::refused(
            aws,
            managed.name(),
            candidate,
            request,
            objection,
        )),
        look_again: false,
    })
}

/// Does what the claim says.
async fn act(aws: &Aws, managed: &Managed, request: &Request, claim: &Claim) -> Result<Assessment> {
    let operation_id = match (claim.kind, ImageReference::of(&managed.service)) {
        (Kind::Image | Kind::Rollback, Some(image)) => {
            let identifier = identifier(&image.repository, &claim.digest);
            update_image(aws, managed, &identifier).await?
        }
        (Kind::Secrets, _) | (_, None) => start_deployment(aws, managed).await?,
    };
    deploying(aws, managed, request, claim, &operation_id).await
}

async fn deploying(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    claim: &Claim,
    operation_id: &str,
) -> Result<Assessment> {
    let (service, digest) = (managed.name(), &claim.digest);
    let what = match claim.kind {
        Kind::Secrets => "the current secrets",
        Kind::Image | Kind::Rollback => digest,
    };
    let reason = format!("{service} is being deployed with {what}");
    tracing::info!(operation_id, "{reason}");
    let deployed = managed.tags.get(TAG_DEPLOYED_SECRETS);
    let deployment = Deployment {
        service_arn: managed.arn().to_owned(),
        service: service.to_owned(),
        kind: claim.kind,
        digest: digest.clone(),
        tag: tag_of(aws, managed, digest).await?,
        previous: claim.previous.clone(),
        secrets: claim.secrets.clone(),
        new_secrets: claim.secrets.is_some() && claim.secrets.as_ref() != deployed,
        operation_id: operation_id.to_owned(),
        bake_minutes: Policy::parse(managed.tags.get(TAG_POLICY))?.bake_minutes,
        health: health_address(managed),
        cause: request.why().to_owned(),
        asked_for: request.to.is_some(),
        instead_of: None,
    };
    Ok(Assessment {
        verdict: AssessmentVerdict::Deploying,
        reason,
        deployment: Some(deployment),
        notification: None,
        look_again: false,
    })
}

/// The tag that an image is known by: the one that the service's rule took it for, or any.
async fn tag_of(aws: &Aws, managed: &Managed, digest: &str) -> Result<Option<String>> {
    let Some(reference) = ImageReference::of(&managed.service) else {
        return Ok(None);
    };
    let images = image::pushed(aws, &reference.repository).await?;
    let found = images.iter().find(|image| image.digest == digest);
    let rule = managed
        .tags
        .get(TAG_IMAGE_TAG)
        .map(|rule| TagRule::parse(rule));
    let by_rule = |image: &Pushed| Some(rule.as_ref()?.candidate(image)?.tag);
    Ok(found.and_then(|image| by_rule(image).or_else(|| image.tags.first().cloned())))
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
        look_again: false,
    }
}
