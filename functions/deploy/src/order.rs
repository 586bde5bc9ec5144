//! What a person orders before anything is deployed: a service is frozen or let go again, or is to run an image of their choice.
//!
//! A wish is resolved here, once, and not when the service is free at last: by then `previous` would be another image.

use crate::decide::{Situation, wish};
use crate::deployment::called;
use crate::due::Seen;
use crate::request::{NEWEST, Request};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::{Claim, Kind};
use groundcrew::installation::Keeper;
use groundcrew::memory::{Deployments, Wish};
use groundcrew::stack::{TAG_HOLD, Tags};
use groundcrew::{Aws, Error, Managed, Memory, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// What `order` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Ordered {
    /// Whether there is nothing more to do: the service is frozen now, or gone.
    pub(crate) held: bool,
    /// What was done, for a person.
    pub(crate) reason: String,
}

/// A step of its own, so that an execution that waits for the service afterwards does not set its order again and again over
/// that of a later one.
pub(crate) async fn order(
    aws: &Aws,
    request: &Value,
    execution: &str,
    started: Option<Timestamp>,
) -> Result<Ordered> {
    let request = Request::parse(request)?;
    let Some(mut managed) = look(aws, &request.service).await? else {
        return Ok(Ordered {
            held: true,
            reason: "there is no such service (any more)".into(),
        });
    };
    if !managed.is_ours() {
        return Err(Error::Conflict(format!("service {}", managed.name())));
    }
    if let Some(objection) = Keeper::of(aws, &managed.tags).await?.objection() {
        return Err(Error::invalid("service", request.service, objection));
    }
    let mut memory = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let mut reasons = Vec::new();
    if let Some(held) = request.hold {
        let is_newest = hold(aws, &managed, &mut memory, held, started).await?;
        let held_now = memory.orders.held.to_string();
        managed.tags.insert(TAG_HOLD.into(), held_now);
        reasons.push(match (is_newest, held) {
            (false, _) => "somebody has held it or let it go since: that counts".to_owned(),
            (true, true) => {
                "it is held: no event deploys anything until deploy is started with hold: false"
                    .into()
            }
            (true, false) => "it is no longer held".into(),
        });
    }
    if let Some(to) = &request.to {
        reasons.push(resolve(aws, &managed, &mut memory, to, execution).await?);
    }
    let reason = reasons.join("; ");
    tracing::info!("{}: {reason}", managed.name());
    Ok(Ordered {
        held: request.hold == Some(true),
        reason,
    })
}

/// Answers whether nobody has ordered otherwise since this execution was started: App Runner takes no tag while the service is in an
/// operation, so that this one may have waited.
async fn hold(
    aws: &Aws,
    managed: &Managed,
    memory: &mut Memory<Deployments>,
    held: bool,
    started: Option<Timestamp>,
) -> Result<bool> {
    if started.is_some() && memory.hold_ordered > started {
        return Ok(false);
    }
    let mut then = (**memory).clone();
    then.note(&managed.tags);
    then.orders.held = held;
    then.hold_ordered = started;
    then.told_waiting = None;
    memory.write(aws, then).await?;
    let tags = Tags::from([(TAG_HOLD.into(), held.to_string())]);
    managed.tag(aws, &tags).await?;
    // Somebody else may have been quicker with a newer order and its tag.
    let now: Memory<Deployments> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let is_newest = now.hold_ordered == started;
    if !is_newest {
        let tags = Tags::from([(TAG_HOLD.into(), now.orders.held.to_string())]);
        managed.tag(aws, &tags).await?;
    }
    Ok(is_newest)
}

/// Remembers which image a person asks for. What ran or was deployed when they asked is what `previous` is reckoned from.
///
/// # Errors
/// [`Error::Invalid`] with a sentence for that person.
pub(crate) async fn resolve(
    aws: &Aws,
    managed: &Managed,
    memory: &mut Memory<Deployments>,
    to: &str,
    execution: &str,
) -> Result<String> {
    let asked_for = |wish: &Wish| {
        let image = called(wish.tag.as_deref(), Some(&wish.digest));
        format!("{image} is asked for")
    };
    if let Some(wish) = memory.wish.as_ref().filter(|it| it.execution == execution) {
        return Ok(asked_for(wish));
    }
    if let Some(reason) = out_of_service(managed) {
        return Err(Error::invalid(
            "to",
            to,
            format!("a service that takes a deployment; {reason}"),
        ));
    }
    if memory.orders.now(&managed.tags).held {
        let advice =
            "a service that is not held; start deploy with hold: false first, or with both";
        return Err(Error::invalid("to", to, advice));
    }
    let seen = Seen::of(aws, managed).await?;
    let situation = seen.situation(memory, &managed.tags);
    let refused = |sentence: String| Error::invalid("to", to, sentence);
    let found = wish(&situation, to, in_sight(memory, situation.running)).map_err(refused)?;
    let newest = newest_digest(&situation);
    let made = Wish {
        execution: execution.to_owned(),
        at: Timestamp::now(),
        passed_over: newest.filter(|newest| *newest != found.digest),
        holds_back: to != NEWEST,
        digest: found.digest,
        tag: Some(found.tag).filter(|tag| !tag.is_empty()),
        ended_watch_of: None,
        tagged_since: Vec::new(),
    };
    let reason = asked_for(&made);
    let mut then = (**memory).clone();
    then.note(&managed.tags);
    then.welcome(&made.digest);
    then.wish = Some(made);
    memory.write(aws, then).await?;
    Ok(reason)
}

/// Why the service takes no deployment, though nobody is at work on it.
fn out_of_service(managed: &Managed) -> Option<String> {
    match managed.service.status() {
        ServiceStatus::Running | ServiceStatus::OperationInProgress => None,
        ServiceStatus::Paused => Some("it is paused: wake it first".into()),
        status => Some(format!(
            "it is {status}: start provision with its spec to repair it"
        )),
    }
}

/// The image that a person has before their eyes: the one that is being deployed or taken back, otherwise what runs.
fn in_sight<'a>(memory: &'a Deployments, running: Option<&'a str>) -> Option<&'a str> {
    match &memory.claim {
        Some(Claim {
            kind: Kind::Rollback,
            previous,
            ..
        }) => previous.as_deref(),
        Some(Claim {
            kind: Kind::Image,
            digest,
            ..
        }) => digest.as_deref(),
        _ => running,
    }
}

fn newest_digest(situation: &Situation<'_>) -> Option<String> {
    let rule = situation.rule.as_ref()?;
    Some(rule.choose(situation.images)?.digest)
}

/// A service by its name or by its ARN.
pub(crate) async fn look(aws: &Aws, service: &str) -> Result<Option<Managed>> {
    if service.starts_with("arn:") {
        Managed::look(aws, service).await
    } else {
        Managed::find(aws, service).await
    }
}
