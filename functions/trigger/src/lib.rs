//! From an event of AWS to the deployments that it may ask for: which managed services it concerns, and one execution of
//! `deploy` for each. An event only says that something may have changed: what there is to deploy, `deploy` finds out.

mod event;
mod execution;
mod services;

#[cfg(test)]
mod tests;

pub use event::{Cause, Event};
pub use execution::input;
pub use services::concerns;
use services::{Candidate, rests_on_tags};

use aws_sdk_apprunner::types::Service;
use groundcrew::arn::ServiceArn;
use groundcrew::execution::Start;
use groundcrew::managed::are_ours;
use groundcrew::memory::Deployments;
use groundcrew::pace::{Pace, Tempo, patiently};
use groundcrew::stack::TAG_IMAGE_TAG;
use groundcrew::{Aws, Error, Memory, Result, managed};
use jiff::Timestamp;
use lambda_runtime::tracing::info;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Starts `deploy` for each service that an event concerns. Answers what was done: `{"cause", "services": how many were looked
/// at, "started": […], "replays": […]}`, or `{"not_for_us": why}`.
///
/// # Errors
/// [`Error::Invalid`] for an event that lacks what it must have, [`Error::Failed`] with the services that could not be looked
/// at or started (the others are), otherwise those of AWS. After each of them the same event can be handled again.
pub async fn handle(aws: &Aws, event: &Value) -> Result<Value> {
    at_tempo(aws, event, Tempo::AWS).await
}

async fn at_tempo(aws: &Aws, event: &Value, tempo: Tempo) -> Result<Value> {
    match Event::parse(event)? {
        Event::NotForUs(reason) => Ok(not_for_us(&reason)),
        Event::LookAgain {
            cause: Cause::ServiceRunning { service_arn },
            time,
        } => running(aws, service_arn, time, tempo).await,
        Event::LookAgain { cause, time } => fan_out(aws, cause, time, tempo).await,
    }
}

fn not_for_us(reason: &str) -> Value {
    info!(reason, "an event that is not for us");
    json!({"not_for_us": reason})
}

/// What was done, by the names of the services.
#[derive(Default)]
struct Summary {
    services: usize,
    started: Vec<String>,
    replays: Vec<String>,
    failures: Vec<String>,
}

impl Summary {
    fn note(&mut self, service: &ServiceArn, start: Result<Option<Start>>) {
        let name = service.name().to_owned();
        match start {
            Ok(Some(Start::Started)) => self.started.push(name),
            Ok(Some(Start::Replay)) => self.replays.push(name),
            Ok(None) => {}
            Err(error) => self.failures.push(format!("{name} ({error})")),
        }
    }

    fn answer(mut self, cause: &Cause) -> Result<Value> {
        for names in [&mut self.started, &mut self.replays, &mut self.failures] {
            names.sort();
        }
        let Self {
            services,
            started,
            replays,
            failures,
        } = self;
        let cause = cause.to_string();
        info!(
            cause,
            services,
            started = started.join(" "),
            replays = replays.join(" "),
            failures = failures.len(),
            "looked for the services of an event"
        );
        if failures.is_empty() {
            return Ok(
                json!({"cause": cause, "services": services, "started": started, "replays": replays}),
            );
        }
        Err(Error::Failed(format!(
            "{cause}: {} of {services} services could not be asked or started: {}",
            failures.len(),
            failures.join(", ")
        )))
    }
}

/// The event names its service, so nothing is looked for.
async fn running(
    aws: &Aws,
    service_arn: ServiceArn,
    time: Timestamp,
    tempo: Tempo,
) -> Result<Value> {
    let service = &service_arn;
    let idle = |reason: &str| Ok(not_for_us(&format!("{} is {reason}", service.name())));
    if !service.is_of(&aws.account) {
        return idle("a service of another account or region");
    }
    let Some(tags) = patiently(tempo, || managed::tags(aws, service.as_str())).await? else {
        return idle("gone");
    };
    if !are_ours(&tags) {
        return idle("not one of groundcrew's services");
    }
    let describe = || managed::describe(aws, service.as_str());
    let Some(described) = patiently(tempo, describe).await? else {
        return idle("gone");
    };
    let candidate = patiently(tempo, || Candidate::of(aws, service, &tags)).await?;
    candidate.note(aws, &described, tempo).await?;
    if let Some(reason) = patiently(tempo, || services::left_alone(aws, service, &tags)).await? {
        return idle(reason);
    }
    let cause = Cause::ServiceRunning {
        service_arn: service_arn.clone(),
    };
    let start = patiently(tempo, || execution::start(aws, service, &cause, time)).await?;
    let mut summary = Summary {
        services: 1,
        ..Summary::default()
    };
    summary.note(service, Ok(Some(start)));
    summary.answer(&cause)
}

/// Looks at each service that the event may concern. The first ones are deployed while others are still being looked at.
async fn fan_out(aws: &Aws, cause: Cause, time: Timestamp, tempo: Tempo) -> Result<Value> {
    let candidates = services::candidates(aws, &cause, tempo).await?;
    let mut summary = Summary {
        services: candidates.len(),
        ..Summary::default()
    };
    let look = Arc::new(Look {
        aws: aws.clone(),
        cause,
        time,
        pace: Pace::new(tempo),
        tempo,
    });
    let mut looks = JoinSet::new();
    for candidate in candidates {
        let look = Arc::clone(&look);
        looks.spawn(async move {
            let start = look.at(&candidate).await;
            (candidate.service, start)
        });
    }
    while let Some(looked) = looks.join_next().await {
        let (service, start) = looked.expect("a look neither panics nor is cancelled");
        summary.note(&service, start);
    }
    summary.answer(&look.cause)
}

/// The look of one event at the services that it may concern.
struct Look {
    aws: Aws,
    cause: Cause,
    time: Timestamp,
    pace: Pace,
    tempo: Tempo,
}

impl Look {
    /// Starts `deploy` for a service if the event concerns it.
    async fn at(&self, candidate: &Candidate) -> Result<Option<Start>> {
        let (aws, service) = (&self.aws, &candidate.service);
        let describe = || managed::describe(aws, service.as_str());
        let Some(described) = self.pace.ask(describe).await? else {
            return Ok(None);
        };
        let start = || execution::start(aws, service, &self.cause, self.time);
        let start = match self.concerns(candidate, &described).await? {
            true => Some(patiently(self.tempo, start).await?),
            false => None,
        };
        candidate.note(aws, &described, self.tempo).await?;
        Ok(start)
    }

    async fn concerns(&self, candidate: &Candidate, described: &Service) -> Result<bool> {
        let (aws, arn) = (&self.aws, candidate.service.as_str());
        if let Some(tags) = &candidate.tags {
            if concerns(&self.cause, described, tags) {
                return Ok(true);
            }
            if !rests_on_tags(&self.cause, described) {
                return Ok(false);
            }
        }
        let asked = self.pace.ask(|| managed::tags(aws, arn)).await?;
        let Some(mut tags) = asked.filter(are_ours) else {
            return Ok(false);
        };
        // A rule that somebody has removed by the way is remembered.
        let ask = || Memory::<Deployments>::of(aws, arn, &tags);
        let rule = patiently(self.tempo, ask).await?.orders.now(&tags).rule;
        tags.extend(rule.map(|rule| (TAG_IMAGE_TAG.to_owned(), rule)));
        Ok(concerns(&self.cause, described, &tags))
    }
}
