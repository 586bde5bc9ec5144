//! The first step: compares what a service should run with what it runs, and has App Runner make up the difference.
//!
//! It takes two attempts. The first one decides, and writes the decision as a claim into a tag of the service; the next one,
//! seconds later, does what the claim says. Of executions that claim a service at the same moment only the last one to write
//! finds its own claim then. And whoever comes back after a crash knows what was asked of App Runner.

use crate::decide::{Decision, Situation, decide, wish};
use crate::deployment::{
    Assessment, AssessmentVerdict, Deployment, HealthAddress, Unwell, called, identifier,
};
use crate::follow::Verdict;
use crate::hold::look;
use crate::notification::Notification;
use crate::release::{Release, releases};
use crate::request::Request;
use crate::{preflight, settle};
use aws_sdk_apprunner::types::{
    HealthCheckProtocol, OperationStatus, OperationSummary, ServiceStatus,
};
use groundcrew::claim::{Claim, Kind, NONE};
use groundcrew::image::{self, Candidate, Pushed, TagRule};
use groundcrew::managed::{operations, tags as tags_of};
use groundcrew::reference::{ImageReference, current_secrets};
use groundcrew::stack::{
    TAG_DEPLOYED_SECRETS, TAG_DEPLOYING, TAG_HOLD, TAG_IMAGE_TAG, TAG_POLICY, TAG_REJECTED_IMAGE,
    TAG_REJECTED_SECRETS, Tags, tag_value,
};
use groundcrew::{Aws, Error, Managed, Policy, Result, secrets};
use jiff::Timestamp;
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
            "60 letters, digits, hyphens and underscores at most: a tag of the service holds it",
        ));
    }
    let Some(mut managed) = look(aws, &request.service).await? else {
        return Ok(nothing("there is no such service (any more)"));
    };
    if !managed.is_ours() {
        return Err(Error::Conflict(format!("service {}", managed.name())));
    }
    let standing = match standing(aws, &mut managed, execution).await? {
        // What a person asks for takes the place of what was left to do: the bad image is rejected already.
        Standing::Unfinished(_) if request.to.is_some() => Standing::Free,
        standing => standing,
    };
    match standing {
        Standing::Own(claim) => carry_on(aws, &managed, &request, claim).await,
        free => {
            if let Some(reason) = obstacle(&managed)? {
                return no(&request, &reason);
            }
            match free {
                Standing::Unfinished(rollback) => {
                    let claim = Claim {
                        execution: execution.to_owned(),
                        sent: false,
                        ..rollback
                    };
                    claim_service(aws, &managed, claim, Tags::new()).await
                }
                _ => decide_and_claim(aws, &managed, &request, execution).await,
            }
        }
    }
}

/// Who deploys the service.
enum Standing {
    /// Nobody.
    Free,
    /// This execution.
    Own(Claim),
    /// Nobody any more, and the bad image still runs that was to be taken back.
    Unfinished(Claim),
}

/// Reads the claim on a service. That of another execution that runs is `Claimed`; that of one that ended early is void, and
/// what became of it is recorded.
async fn standing(aws: &Aws, managed: &mut Managed, execution: &str) -> Result<Standing> {
    let Some(claim) = Claim::of(&managed.tags) else {
        return Ok(Standing::Free);
    };
    if claim.execution == execution {
        return Ok(Standing::Own(claim));
    }
    if claim.is_alive(aws).await? {
        return Err(claimed(managed, &claim));
    }
    if managed.service.status() == &ServiceStatus::OperationInProgress {
        return Ok(Standing::Free); // and busy
    }
    let operations = operations(aws, managed.arn()).await?;
    let since = claim.operations(&operations).unwrap_or_default();
    let runs = ImageReference::of(&managed.service).and_then(|image| image.digest);
    if claim.kind == Kind::Rollback && since.is_empty() && runs == claim.previous {
        return Ok(Standing::Unfinished(claim));
    }
    let tags = settle::aftermath(&claim, &since, runs.as_deref());
    managed.tag(aws, &tags).await?;
    managed.tags.extend(tags);
    Ok(Standing::Free)
}

fn claimed(managed: &Managed, claim: &Claim) -> Error {
    Error::Claimed(format!(
        "service {} is being deployed by the execution {}",
        managed.name(),
        claim.execution
    ))
}

/// Why nothing is deployed to the service now.
///
/// # Errors
/// `Busy` while it is in an operation.
fn obstacle(managed: &Managed) -> Result<Option<String>> {
    if managed
        .tags
        .get(TAG_HOLD)
        .is_some_and(|hold| hold == "true")
    {
        return Ok(Some(
            "it is held; start deploy with hold: false to go on".into(),
        ));
    }
    match managed.service.status() {
        ServiceStatus::Running => Ok(None),
        ServiceStatus::Paused => Ok(Some(
            "it is paused, and is looked at again when it wakes".into(),
        )),
        ServiceStatus::OperationInProgress => Err(Error::Busy {
            call: "apprunner:DescribeService",
            reason: format!("service {} is in an operation", managed.name()),
        }),
        status => Ok(Some(format!(
            "it is {status}; start provision with its spec to repair it"
        ))),
    }
}

/// Nothing to do. A person who has asked for an image is told why it is not there.
fn no(request: &Request, reason: &str) -> Result<Assessment> {
    match &request.to {
        Some(to) => Err(Error::invalid(
            "to",
            to.clone(),
            format!("a service that takes a deployment; {reason}"),
        )),
        None => Ok(nothing(reason)),
    }
}

/// What a service runs and what there is to run, as AWS has it now.
struct Seen {
    /// Where its image comes from; `None` for one from elsewhere, or built from source: of it only the secrets are delivered.
    image: Option<ImageReference>,
    /// The digest that it is pinned to.
    running: Option<String>,
    images: Vec<Pushed>,
    secrets: Option<String>,
    releases: Vec<Release>,
}

impl Seen {
    async fn of(aws: &Aws, managed: &Managed) -> Result<Self> {
        let image = ImageReference::of(&managed.service);
        let images = match &image {
            Some(image) => image::pushed(aws, &image.repository).await?,
            None => Vec::new(),
        };
        Ok(Self {
            running: image.as_ref().and_then(|image| image.digest.clone()),
            image,
            images,
            secrets: secrets::fingerprint(aws, &current_secrets(&managed.service)).await?,
            releases: releases(&managed.tags),
        })
    }

    /// The rule of a service that has none in its tags, to be kept there before the tag in its image identifier, which it
    /// follows until then, gives way to a digest.
    fn unwritten_rule(&self, tags: &Tags) -> Option<(String, String)> {
        let tag = self.image.as_ref()?.tag.clone()?;
        (!tags.contains_key(TAG_IMAGE_TAG)).then(|| (TAG_IMAGE_TAG.into(), tag))
    }

    /// Together with what the tags of the service say.
    fn situation<'a>(&'a self, tags: &'a Tags) -> Situation<'a> {
        let tag = |name: &str| tags.get(name).map(String::as_str);
        let own_tag = self.image.as_ref().and_then(|image| image.tag.as_deref());
        let tracked = tag(TAG_IMAGE_TAG)
            .or(own_tag)
            .filter(|_| self.image.is_some());
        Situation {
            rule: tracked.map(TagRule::parse),
            running: self.running.as_deref(),
            images: &self.images,
            releases: &self.releases,
            rejected_image: tag(TAG_REJECTED_IMAGE),
            secrets: self.secrets.as_deref(),
            deployed_secrets: tag(TAG_DEPLOYED_SECRETS),
            rejected_secrets: tag(TAG_REJECTED_SECRETS),
        }
    }
}

/// What a service waits for that no event has brought.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Due {
    /// An execution of `deploy`, and why.
    Deployment(String),
    /// That App Runner no longer deploys by itself what is pushed, past every check.
    EndOfAutoDeployments,
}

/// What a service waits for; `None` if for nothing, or not yet: one that is deployed, held, paused or busy is looked at again
/// when that ends. Nothing is called that writes.
///
/// # Errors
/// Those of AWS.
pub async fn due(aws: &Aws, managed: &Managed) -> Result<Option<Due>> {
    let is_free = matches!(obstacle(managed), Ok(None));
    if !is_free {
        return Ok(None);
    }
    if let Some(claim) = Claim::of(&managed.tags) {
        let ended_early = !claim.is_alive(aws).await?;
        let why = || format!("the deployment {} ended early", claim.execution);
        return Ok(ended_early.then(|| Due::Deployment(why())));
    }
    let seen = Seen::of(aws, managed).await?;
    Ok(match decide(&seen.situation(&managed.tags)) {
        Decision::Image(image) => {
            let image = called(Some(&image.tag), Some(&image.digest));
            Some(Due::Deployment(format!(
                "{image} was pushed and not deployed"
            )))
        }
        Decision::Secrets => {
            let why = "it does not run with the current versions of its secrets";
            Some(Due::Deployment(why.into()))
        }
        Decision::Nothing(_) => deploys_by_itself(managed).then_some(Due::EndOfAutoDeployments),
    })
}

/// Turns off what [`due`] has found, if it still finds it; the image stays. Answers whether it had to.
///
/// # Errors
/// `Busy` while the service is in an operation.
pub async fn end_auto_deployments(aws: &Aws, managed: &Managed) -> Result<bool> {
    if due(aws, managed).await? != Some(Due::EndOfAutoDeployments) {
        return Ok(false);
    }
    let source = managed.service.source_configuration();
    let image = source.and_then(|source| source.image_repository());
    let Some(image) = image else { return Ok(false) };
    update_image(aws, managed, image.image_identifier()).await?;
    Ok(true)
}

/// Whether App Runner deploys by itself what is pushed. Only of a service that is pinned to a digest: the image of another one
/// would be that which its tag names by now.
fn deploys_by_itself(managed: &Managed) -> bool {
    let is_pinned = ImageReference::of(&managed.service).is_some_and(|it| it.digest.is_some());
    let source = managed.service.source_configuration();
    is_pinned && source.and_then(|source| source.auto_deployments_enabled()) == Some(true)
}

/// Decides what to deploy, checks that it may be deployed, and claims the service for it.
async fn decide_and_claim(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    execution: &str,
) -> Result<Assessment> {
    let policy = Policy::parse(managed.tags.get(TAG_POLICY))?;
    let seen = Seen::of(aws, managed).await?;
    let mut situation = seen.situation(&managed.tags);
    if request.cause.is_none() {
        // A person who starts deploy has mended what was in the way.
        situation.rejected_secrets = None;
    }
    let Seen { image, running, .. } = &seen;
    let decision = match &request.to {
        None => decide(&situation),
        Some(to) => Decision::Image(
            wish(&situation, to).map_err(|sentence| Error::invalid("to", to.clone(), sentence))?,
        ),
    };
    let (kind, digest) = match (decision, image) {
        (Decision::Nothing(reason), _) => return Ok(nothing(&reason)),
        (Decision::Image(candidate), _) if running.as_ref() == Some(&candidate.digest) => {
            let passed_over = pass_over(&situation, running.as_ref());
            managed.tag(aws, &passed_over).await?;
            return Ok(nothing("the service runs that image already"));
        }
        (Decision::Image(candidate), Some(image)) => {
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
            (Kind::Image, Some(candidate.digest))
        }
        (Decision::Secrets | Decision::Image(_), _) => (Kind::Secrets, running.clone()),
    };
    let mut tags = match &request.to {
        Some(_) => pass_over(&situation, digest.as_ref()),
        None => Tags::new(),
    };
    tags.extend(seen.unwritten_rule(&managed.tags));
    let claim = Claim {
        execution: execution.to_owned(),
        kind,
        sent: false,
        after: None,
        previous: running
            .clone()
            .filter(|running| digest.as_ref() != Some(running)),
        digest,
        secrets: seen.secrets.clone(),
    };
    claim_service(aws, managed, claim, tags).await
}

/// What a person passes over is not deployed by the next event; what they ask for is welcome again.
fn pass_over(situation: &Situation<'_>, asked_for: Option<&String>) -> Tags {
    let rule = situation.rule.as_ref();
    let newest = rule.and_then(|rule| rule.choose(situation.images));
    let newest = newest.map(|newest| newest.digest);
    let passed_over = newest.filter(|newest| Some(newest) != asked_for);
    Tags::from([(
        TAG_REJECTED_IMAGE.into(),
        passed_over.unwrap_or(NONE.into()),
    )])
}

/// Remembers that the image must not be deployed, so that it is told once and not with every event that follows.
async fn refuse(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    candidate: &Candidate,
    objection: &str,
) -> Result<Assessment> {
    let image = called(Some(&candidate.tag), Some(&candidate.digest));
    tracing::error!("{} was not given {image}: {objection}", managed.name());
    if request.to.is_none() {
        let tags = Tags::from([(TAG_REJECTED_IMAGE.into(), candidate.digest.clone())]);
        managed.tag(aws, &tags).await?;
    }
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

/// Claims the service, unless somebody else has claimed or changed it since this execution looked.
///
/// # Errors
/// `NotReady` when it has: the next attempt acts.
async fn claim_service(
    aws: &Aws,
    managed: &Managed,
    mut claim: Claim,
    mut tags: Tags,
) -> Result<Assessment> {
    let newest = operations(aws, managed.arn()).await?.into_iter().next();
    if let Some(newest) = newest
        .as_ref()
        .filter(|newest| Verdict::of(newest).is_none())
    {
        return Err(Error::Busy {
            call: "apprunner:ListOperations",
            reason: format!(
                "service {} is in the operation {}",
                managed.name(),
                newest.id().unwrap_or_default()
            ),
        });
    }
    let now = tags_of(aws, managed.arn()).await?.unwrap_or_default();
    let other = Claim::of(&now).filter(|now| Some(now) != Claim::of(&managed.tags).as_ref());
    if let Some(other) = other {
        return Err(claimed(managed, &other));
    }
    claim.after = newest.and_then(|newest| newest.id);
    tags.insert(TAG_DEPLOYING.into(), claim.to_string());
    managed.tag(aws, &tags).await?;
    Err(Error::NotReady(format!(
        "the claim on service {}",
        managed.name()
    )))
}

/// Does what this execution has claimed the service for, unless App Runner has accepted it already.
async fn carry_on(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    claim: Claim,
) -> Result<Assessment> {
    let operations = operations(aws, managed.arn()).await?;
    if let Some(id) = accepted(&operations, &claim, managed) {
        return deploying(aws, managed, request, &claim, &id).await;
    }
    if let Some(reason) = obstacle(managed)? {
        // It was held or parked in these seconds: what looks at it next must find it free.
        let free = Tags::from([(TAG_DEPLOYING.into(), NONE.into())]);
        managed.tag(aws, &free).await?;
        return no(request, &reason);
    }
    // From here on an operation may be that of the claim, and none that is there already is.
    let claim = Claim {
        sent: true,
        after: operations.into_iter().next().and_then(|newest| newest.id),
        ..claim
    };
    let sent = Tags::from([(TAG_DEPLOYING.into(), claim.to_string())]);
    managed.tag(aws, &sent).await?;
    act(aws, managed, request, claim).await
}

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

/// Asks App Runner for what the claim says.
async fn act(aws: &Aws, managed: &Managed, request: &Request, claim: Claim) -> Result<Assessment> {
    let image = ImageReference::of(&managed.service);
    let asked = match (claim.kind, &claim.digest, image) {
        (Kind::Image | Kind::Rollback, Some(digest), Some(image)) => {
            update_image(aws, managed, &identifier(&image.repository, digest)).await
        }
        _ => start_deployment(aws, managed).await,
    };
    let refused = match asked {
        Ok(operation_id) => return deploying(aws, managed, request, &claim, &operation_id).await,
        Err(error) => error,
    };
    disown(aws, managed, claim, &refused).await?;
    Err(refused)
}

/// App Runner has refused the call: what it is doing instead is not what the claim waits for.
pub(crate) async fn disown(
    aws: &Aws,
    managed: &Managed,
    mut claim: Claim,
    refused: &Error,
) -> Result<()> {
    if matches!(refused, Error::Busy { .. }) {
        claim.sent = false;
        let tags = Tags::from([(TAG_DEPLOYING.into(), claim.to_string())]);
        managed.tag(aws, &tags).await?;
    }
    Ok(())
}

async fn deploying(
    aws: &Aws,
    managed: &Managed,
    request: &Request,
    claim: &Claim,
    operation_id: &str,
) -> Result<Assessment> {
    let service = managed.name();
    let what = match (claim.kind, &claim.digest) {
        (Kind::Image | Kind::Rollback, Some(digest)) => digest,
        _ => "the current secrets",
    };
    let reason = format!("{service} is being deployed with {what}");
    tracing::info!(operation_id, "{reason}");
    let is_rollback = claim.kind == Kind::Rollback;
    let deployed = managed.tags.get(TAG_DEPLOYED_SECRETS);
    let created_at = managed.service.created_at().secs();
    let deployment = Deployment {
        service_arn: managed.arn().to_owned(),
        service: service.to_owned(),
        kind: claim.kind,
        digest: claim.digest.clone(),
        tag: tag_of(aws, managed, claim.digest.as_deref()).await?,
        previous: claim.previous.clone().filter(|_| !is_rollback),
        secrets: claim.secrets.clone(),
        new_secrets: claim.secrets.is_some() && claim.secrets.as_ref() != deployed,
        created_at: Timestamp::from_second(created_at).unwrap_or_default(),
        operation_id: operation_id.to_owned(),
        // It was read well before the claim.
        bake_minutes: Policy::parse(managed.tags.get(TAG_POLICY))
            .unwrap_or_default()
            .bake_minutes,
        health: health_address(managed),
        cause: request.why().to_owned(),
        asked_for: request.to.is_some(),
        left_over: is_rollback,
        // A rollback is claimed here only for an execution that ended before it could carry it out.
        instead_of: is_rollback.then(|| Unwell {
            digest: claim.previous.clone(),
            tag: None,
            why: "the execution that deployed it found it so, and ended early".into(),
        }),
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
async fn tag_of(aws: &Aws, managed: &Managed, digest: Option<&str>) -> Result<Option<String>> {
    let (Some(digest), Some(reference)) = (digest, ImageReference::of(&managed.service)) else {
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
