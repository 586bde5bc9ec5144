//! The first step: compares what a service should run with what it runs, and has App Runner make up the difference.
//!
//! It claims the service for what it has decided before it calls App Runner ([`crate::claiming`]).

use crate::claiming::{Standing, Work};
use crate::decide::{Decision, decide, why_not_this};
use crate::deployment::{Deployment, HealthAddress, Unwell, called, identifier};
use crate::due::{Seen, is_to_be_taken_over, obstacle};
use crate::notification;
use crate::operation::{accepted, disown, start_deployment, update_image};
use crate::order::{self, look};
use crate::preflight;
use crate::request::Request;
use groundcrew::claim::{Claim, Kind};
use groundcrew::installation::Keeper;
use groundcrew::managed::operations;
use groundcrew::memory::{Deployments, Wish};
use groundcrew::reference::{ImageReference, current_secrets, is_secret};
use groundcrew::stack::{TAG_IMAGE_TAG, TAG_INSTALLATION, Tags, tag_value};
use groundcrew::tag_rule::{Candidate, Pushed, TagRule};
use groundcrew::{Aws, Error, Memory, Notification, Policy, Result, image, secrets};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `assess` answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Assessment {
    /// What came of it.
    pub verdict: AssessmentVerdict,
    /// Why, for a person.
    pub reason: String,
    /// The deployment that is under way.
    pub deployment: Option<Deployment>,
    /// What is to be told.
    pub notification: Option<Notification>,
    /// How it ends, if that is told without a deployment: the error of the execution.
    pub outcome: String,
    /// Whether the service has to be looked at once more: secrets may wait behind a refused image.
    pub look_again: bool,
}

/// What came of an assessment.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AssessmentVerdict {
    /// There is nothing to do, now.
    Nothing,
    /// App Runner deploys.
    Deploying,
    /// Nothing is deployed, and somebody is told why.
    Refused,
}

/// Assesses a service. `started` is when the execution began; an execution of groundcrew 0.1 does not say it, and has not
/// resolved what it was asked for either.
pub(crate) async fn assess(
    aws: &Aws,
    request: &Value,
    execution: &str,
    started: Option<Timestamp>,
) -> Result<Assessment> {
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
    let Some(managed) = look(aws, &request.service).await? else {
        return Ok(nothing("there is no such service (any more)"));
    };
    if !managed.is_ours() {
        return Err(Error::Conflict(format!("service {}", managed.name())));
    }
    let keeper = Keeper::of(aws, &managed.tags).await?;
    if let Some(objection) = keeper.objection() {
        return no(&request, &objection);
    }
    let mut memory: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    if is_to_be_taken_over(&memory) {
        let mut then = (*memory).clone();
        then.note(&managed.tags);
        memory.write(aws, then).await?;
    }
    memory.repeat_in_tags(aws, &managed.tags).await?;
    let mut work = Work {
        aws,
        execution,
        orders: memory.orders.now(&managed.tags),
        keeper,
        ended: None,
        request,
        managed,
        memory,
    };
    if started.is_none()
        && let Some(to) = &work.request.to
    {
        order::resolve(aws, &work.managed, &mut work.memory, to, execution).await?;
    }
    // Boxed, for the types of nested futures grow too deep for the compiler.
    Box::pin(work.assess()).await
}

impl Work<'_> {
    async fn assess(mut self) -> Result<Assessment> {
        let wish = match &self.request.to {
            None => None,
            Some(_) => match self.memory.wish.clone() {
                Some(wish) if wish.execution == self.execution => Some(wish),
                // What it has claimed the service for goes on: App Runner may be at it.
                _ if self.has_claimed() => None,
                _ => return no(&self.request, "another image was asked for since"),
            },
        };
        self.admit().await?;
        let standing = match self.standing(wish.as_ref()).await? {
            // What a person asks for takes the place of what was left to do: the bad image is rejected already.
            Standing::Unfinished(_) if wish.is_some() => Standing::Free,
            standing => standing,
        };
        match standing {
            Standing::Own(claim) => Box::pin(self.carry_on(claim)).await,
            Standing::Watched => Ok(nothing(
                "the service runs that image already, and the execution that watches it tells",
            )),
            free => {
                if let Some(reason) = self.obstacle()? {
                    return match self.waiting_secrets().await? {
                        Some(waiting) => Ok(waiting),
                        None => self.no(&reason),
                    };
                }
                match free {
                    Standing::Unfinished(rollback) => {
                        let claim = Claim {
                            execution: self.execution.to_owned(),
                            ..rollback
                        };
                        let then = (*self.memory).clone();
                        self.deploy(claim, then).await
                    }
                    _ => Box::pin(self.decide(wish.as_ref())).await,
                }
            }
        }
    }

    /// Remembers that an image was given a tag after a person's wish, whatever keeps it from being deployed now.
    async fn admit(&mut self) -> Result<()> {
        let Some(pushed) = &self.request.pushed else {
            return Ok(());
        };
        let mut then = (*self.memory).clone();
        then.admit(&pushed.digest, &pushed.tag, pushed.at);
        match then == *self.memory {
            true => Ok(()),
            false => self.memory.write(self.aws, then).await,
        }
    }

    /// Nothing to do, as [`no`] has it, unless it is to be told.
    fn no(&self, reason: &str) -> Result<Assessment> {
        match self.ended_watch(reason) {
            Some(notification) => Ok(replaced(notification, reason)),
            None => no(&self.request, reason),
        }
    }

    /// Nothing to do.
    fn nothing(&self, reason: &str) -> Assessment {
        match self.ended_watch(reason) {
            Some(notification) => replaced(notification, reason),
            None => nothing(reason),
        }
    }

    /// The end of a watch that this wish has ended, and that its execution therefore does not tell.
    fn ended_watch(&self, reason: &str) -> Option<Notification> {
        let wish = self.memory.wish.as_ref()?;
        let watched = wish.ended_watch_of.as_ref();
        let watched = watched.filter(|_| wish.execution == self.execution)?;
        let service = self.managed.name();
        let runs = self.runs();
        Some(notification::no_longer_watched(
            service,
            watched,
            wish,
            runs.as_deref(),
            reason,
        ))
    }

    /// Why nothing is deployed to the service now.
    ///
    /// # Errors
    /// `Busy` while it is in an operation.
    fn obstacle(&self) -> Result<Option<String>> {
        let again = self.request.again == Some(true);
        obstacle(&self.managed, self.orders.held && !again)
    }

    /// A rotation that waits because the service is held: that is told, once, for the secrets before it may have ended.
    async fn waiting_secrets(&mut self) -> Result<Option<Assessment>> {
        let asked_for = self.request.to.is_some() || self.request.cause.is_none();
        if !self.orders.held || asked_for {
            return Ok(None);
        }
        let arns = current_secrets(&self.managed.service);
        let now = secrets::fingerprint(self.aws, &arns).await?.text;
        let told = [&self.memory.delivered_secrets, &self.memory.told_waiting];
        if now.is_none() || told.contains(&&now) {
            return Ok(None);
        }
        let mut then = (*self.memory).clone();
        then.told_waiting = now;
        self.memory.write(self.aws, then).await?;
        let notification = notification::waiting(self.aws, self.managed.name(), &self.request);
        Ok(Some(Assessment {
            notification: Some(notification),
            ..refused("it is held, and does not get the current versions of its secrets")
        }))
    }

    /// Decides what to deploy, checks that it may be deployed, and claims the service for it.
    async fn decide(self, wish: Option<&Wish>) -> Result<Assessment> {
        let policy = Policy::parse(self.orders.policy.as_ref())?;
        let seen = Seen::of(self.aws, &self.managed).await?;
        let mut remembered = self.remembered();
        if self.request.cause.is_none() {
            // A person who starts deploy has mended what was in the way.
            remembered.rejected_secrets = None;
        }
        let situation = seen.situation(&remembered, &self.managed.tags);
        let decision = match wish {
            Some(wish) => Decision::Image(asked_for(wish, &seen.images)),
            None if self.request.again == Some(true) => Decision::Secrets,
            None => decide(&situation),
        };
        let unseen = self.unseen_rotation(&seen);
        let decision = match decision {
            Decision::Nothing(_) if unseen.is_some() => Decision::Secrets,
            decision => decision,
        };
        let mut then = self.remembered();
        then.note(&self.managed.tags);
        then.delivered_unseen.extend(unseen);
        let Seen { image, running, .. } = &seen;
        let (kind, digest, tag) = match (decision, image) {
            (Decision::Nothing(reason), _) => return Ok(self.idle(&seen, &reason)),
            (Decision::Image(candidate), _) if running.as_ref() == Some(&candidate.digest) => {
                return Ok(self.nothing("the service runs that image already"));
            }
            (Decision::Image(candidate), Some(image)) => {
                let policy = match wish {
                    // Findings come in after the day on which it ran well: a way back must not be barred by them.
                    Some(_) => Policy {
                        refuse_findings: None,
                        ..policy
                    },
                    None => policy,
                };
                let objection =
                    preflight::objection(self.aws, &image.repository, &candidate, &policy).await?;
                if let Some(objection) = objection {
                    return self.refuse(&seen, &candidate, &objection).await;
                }
                (Kind::Image, Some(candidate.digest), Some(candidate.tag))
            }
            (Decision::Secrets | Decision::Image(_), _) => (Kind::Secrets, running.clone(), None),
        };
        let claim = Claim {
            execution: self.execution.to_owned(),
            kind,
            sent: true,
            after: None,
            previous: running
                .clone()
                .filter(|running| digest.as_ref() != Some(running)),
            digest,
            tag,
            secrets: seen.secrets.text.clone(),
            unwell_before: None,
        };
        self.say_what_must_be_known(&seen).await?;
        self.deploy(claim, then).await
    }

    /// In tags of the service: which installation looks after it, and the tag that it has followed in its image identifier, if it has
    /// no rule, before that gives way to a digest.
    async fn say_what_must_be_known(&self, seen: &Seen) -> Result<()> {
        let mut tags = Tags::new();
        if self.keeper != Keeper::Us {
            let own = self.aws.account.deploy_state_machine.clone();
            tags.insert(TAG_INSTALLATION.into(), own);
        }
        let tag = seen.image.as_ref().and_then(|image| image.tag.clone());
        if let Some(tag) = tag.filter(|_| self.orders.rule.is_none()) {
            tags.insert(TAG_IMAGE_TAG.into(), tag);
        }
        match tags.is_empty() {
            true => Ok(()),
            false => self.managed.tag(self.aws, &tags).await,
        }
    }

    /// There is nothing to deploy. The author of a push that would be expected to be deployed is told why it is not.
    fn idle(&self, seen: &Seen, reason: &str) -> Assessment {
        let situation = seen.situation(&self.memory, &self.managed.tags);
        let pushed = self.request.pushed.as_ref();
        let why = pushed.and_then(|pushed| {
            Some((
                pushed,
                why_not_this(&situation, &pushed.digest, &pushed.tag)?,
            ))
        });
        let Some((pushed, why)) = why else {
            return nothing(reason);
        };
        let service = self.managed.name();
        Assessment {
            notification: Some(notification::passed_over(self.aws, service, pushed, &why)),
            ..refused(&why)
        }
    }

    /// A secret that an event says has moved, and whose versions this function may not see: with its version. What is the case
    /// only the event tells.
    fn unseen_rotation(&self, seen: &Seen) -> Option<(String, String)> {
        let rotated = self.request.rotated.as_ref()?;
        let unseen = &seen.secrets.unreadable;
        let secret = unseen
            .iter()
            .find(|named| is_secret(named, &rotated.secret))?;
        let delivered = self.memory.delivered_unseen.get(secret);
        (delivered != Some(&rotated.version)).then(|| (secret.clone(), rotated.version.clone()))
    }

    /// Remembers that the image must not be deployed, so that it is told once and not with every event that follows.
    async fn refuse(
        mut self,
        seen: &Seen,
        candidate: &Candidate,
        objection: &str,
    ) -> Result<Assessment> {
        let image = called(Some(&candidate.tag), Some(&candidate.digest));
        let service = self.managed.name().to_owned();
        tracing::error!("{service} was not given {image}: {objection}");
        let by_itself = self.request.to.is_none();
        let mut then = (*self.memory).clone();
        let mut look_again = false;
        if by_itself {
            then.reject(&candidate.digest, Some(&candidate.tag));
            let without = seen.situation(&then, &self.managed.tags);
            look_again = !matches!(decide(&without), Decision::Nothing(_));
            self.memory.write(self.aws, then).await?;
        }
        Ok(Assessment {
            notification: Some(notification::refused(
                self.aws,
                &service,
                candidate,
                &self.request,
                objection,
            )),
            look_again,
            ..refused(objection)
        })
    }

    /// Claims the service and acts.
    async fn deploy(mut self, claim: Claim, then: Deployments) -> Result<Assessment> {
        let claim = self.claim(claim, then).await?;
        Box::pin(self.act(claim)).await
    }

    /// Does what this execution has claimed the service for, unless App Runner has accepted it already.
    async fn carry_on(mut self, claim: Claim) -> Result<Assessment> {
        let operations = operations(self.aws, self.managed.arn()).await?;
        if let Some(id) = accepted(&operations, &claim, &self.managed) {
            return self.deploying(&claim, &id).await;
        }
        if let Some(reason) = self.obstacle()? {
            // It was held or parked in these seconds.
            self.give_up().await?;
            return self.no(&reason);
        }
        if claim.kind != Kind::Secrets && self.runs() != claim.previous {
            // What was decided was meant for another image than runs by now.
            self.give_up().await?;
            return Err(Error::NotReady(format!(
                "service {}, which somebody has given another image meanwhile,",
                self.managed.name()
            )));
        }
        let then = (*self.memory).clone();
        self.deploy(claim, then).await
    }

    /// Asks App Runner for what the claim says.
    async fn act(mut self, claim: Claim) -> Result<Assessment> {
        let image = ImageReference::of(&self.managed.service);
        let asked = match (claim.kind, &claim.digest, image) {
            (Kind::Image | Kind::Rollback, Some(digest), Some(image)) => {
                let identifier = identifier(&image.repository, digest);
                update_image(self.aws, &self.managed, &identifier).await
            }
            _ => start_deployment(self.aws, &self.managed).await,
        };
        let refused = match asked {
            Ok(operation_id) => return self.deploying(&claim, &operation_id).await,
            Err(error) => error,
        };
        disown(self.aws, &mut self.memory, claim, &refused).await?;
        Err(refused)
    }

    async fn deploying(&self, claim: &Claim, operation_id: &str) -> Result<Assessment> {
        let (managed, request) = (&self.managed, &self.request);
        let service = managed.name();
        let what = match (claim.kind, &claim.digest) {
            (Kind::Image | Kind::Rollback, Some(digest)) => digest,
            _ => "the current secrets",
        };
        let reason = format!("{service} is being deployed with {what}");
        tracing::info!(operation_id, "{reason}");
        let is_rollback = claim.kind == Kind::Rollback;
        let delivered = self.memory.delivered_secrets.as_ref();
        let created_at = managed.service.created_at().secs();
        let mut notes = Vec::new();
        if let Keeper::Gone(machine) = &self.keeper {
            notes.push(format!(
                "Another installation of groundcrew looked after it before, {machine}, which is gone."
            ));
        }
        let pushed = request.pushed.as_ref();
        let wish = self.memory.wish.as_ref().filter(|wish| wish.holds_back);
        if let Some(wish) = wish.filter(|_| pushed.is_some() && claim.kind == Kind::Image) {
            notes.push(format!(
                "It came after somebody had asked for {}.",
                called(wish.tag.as_deref(), Some(&wish.digest))
            ));
        }
        let deployment = Deployment {
            service_arn: managed.arn().to_owned(),
            service: service.to_owned(),
            kind: claim.kind,
            digest: claim.digest.clone(),
            tag: match &claim.tag {
                Some(tag) => Some(tag.clone()).filter(|tag| !tag.is_empty()),
                None => self.tag_of(claim.digest.as_deref()).await?,
            },
            previous: claim.previous.clone().filter(|_| !is_rollback),
            secrets: claim.secrets.clone(),
            new_secrets: claim.secrets.is_some() && claim.secrets.as_ref() != delivered,
            created_at: Timestamp::from_second(created_at).unwrap_or_default(),
            operation_id: operation_id.to_owned(),
            // It was read well before the claim.
            bake_minutes: Policy::parse(self.orders.policy.as_ref())
                .unwrap_or_default()
                .bake_minutes,
            health: HealthAddress::of(managed, claim.unwell_before.clone()),
            cause: request.why().to_owned(),
            asked_for: request.to.is_some(),
            left_over: is_rollback,
            // A rollback is claimed here only for an execution that ended before it could carry it out.
            instead_of: is_rollback.then(|| Unwell {
                digest: claim.previous.clone(),
                tag: None,
                why: "the execution that deployed it found it so, and ended early".into(),
            }),
            deliveries: 0,
            notes,
        };
        Ok(Assessment {
            verdict: AssessmentVerdict::Deploying,
            reason,
            deployment: Some(deployment),
            notification: None,
            outcome: "Deploying".into(),
            look_again: false,
        })
    }

    /// The tag that an image is known by: the one that the service's rule took it for, or any.
    async fn tag_of(&self, digest: Option<&str>) -> Result<Option<String>> {
        let reference = ImageReference::of(&self.managed.service);
        let (Some(digest), Some(reference)) = (digest, reference) else {
            return Ok(None);
        };
        let images = image::pushed(self.aws, &reference.repository).await?;
        let found = images.iter().find(|image| image.digest == digest);
        let rule = self.orders.rule.as_ref().map(|rule| TagRule::parse(rule));
        let by_rule = |image: &Pushed| Some(rule.as_ref()?.candidate(image)?.tag);
        Ok(found.and_then(|image| by_rule(image).or_else(|| image.tags.first().cloned())))
    }
}

/// The image of a wish, as the repository has it.
fn asked_for(wish: &Wish, images: &[Pushed]) -> Candidate {
    let held = images.iter().find(|image| image.digest == wish.digest);
    Candidate {
        digest: wish.digest.clone(),
        tag: wish.tag.clone().unwrap_or_default(),
        at: held.map_or(wish.at.as_second(), |image| image.at),
    }
}

/// Nothing to do. A person who has asked for something is told why it is not there.
fn no(request: &Request, reason: &str) -> Result<Assessment> {
    let refused = |field: &str, value: Value| {
        Error::invalid(
            field,
            value,
            format!("a service that takes a deployment; {reason}"),
        )
    };
    match (&request.to, request.again) {
        (Some(to), _) => Err(refused("to", to.clone().into())),
        (None, Some(true)) => Err(refused("again", true.into())),
        _ => Ok(nothing(reason)),
    }
}

/// Nothing is deployed, and that is told.
fn refused(reason: &str) -> Assessment {
    Assessment {
        verdict: AssessmentVerdict::Refused,
        reason: reason.to_owned(),
        deployment: None,
        notification: None,
        outcome: "Refused".into(),
        look_again: false,
    }
}

/// The image that was being watched gave way to what somebody asked for.
fn replaced(notification: Notification, reason: &str) -> Assessment {
    Assessment {
        notification: Some(notification),
        outcome: "Replaced".into(),
        ..refused(reason)
    }
}

fn nothing(reason: &str) -> Assessment {
    tracing::info!("nothing to do: {reason}");
    Assessment {
        verdict: AssessmentVerdict::Nothing,
        outcome: "Nothing".into(),
        ..refused(reason)
    }
}
