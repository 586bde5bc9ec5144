//! The first step: looks at every stack that is asked about, and says what is to be done with each, and why.

use crate::Surroundings;
use crate::decide::{Action, Decision, Sleep, decide, obstacle};
use crate::observed::{Observed, stacks};
use crate::request::{Asked, Request, Scope};
use crate::savings::{Saving, saving};
use crate::schedule::Schedule;
use crate::task::{Clock, Task, Wanted};
use crate::under_way::UnderWay;
use crate::wish::{TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL, has_tag};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::NONE;
use groundcrew::stack::{TAG_ENVIRONMENT, Tags};
use groundcrew::tagged::{self, stack_of};
use groundcrew::{Aws, Error, Mark, Result, Stack};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// What `plan` answers.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The moment that it is about.
    pub now: Timestamp,
    /// Every stack that it is about.
    pub stacks: Vec<Row>,
    /// What its sleeps come to, together.
    pub total: Saving,
    /// Whether there is something to do.
    pub something: bool,
    /// What is to be done.
    pub tasks: Vec<Task>,
}

/// What a person reads about one stack.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub stack: String,
    /// What is to be done with it.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// What is in which state.
    pub state: String,
    /// Since when and until when it sleeps, if it does or is about to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Sleep>,
    /// What that comes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saving: Option<Saving>,
    /// The rotations of its secrets that fall into the sleep.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<String>,
}

pub(crate) async fn plan(
    aws: &Aws,
    surroundings: &Surroundings,
    schedule: &Schedule,
    request: &Value,
    started: Timestamp,
) -> Result<Plan> {
    let request = Request::parse(request)?;
    let about = request.now().unwrap_or(started);
    let clock = Clock { about, started };
    let now = clock.now();
    let wanted = match request.action {
        Asked::FollowSchedule => None,
        asked => Some(Wanted {
            awake: asked == Asked::Resume,
            until: request.lasts_until(schedule, about)?,
        }),
    };
    let mut plan = Plan {
        now,
        stacks: Vec::new(),
        total: Saving::none(),
        something: false,
        tasks: Vec::new(),
    };
    let mut decided = Vec::new();
    for observed in scope(aws, schedule, &request).await? {
        let as_wanted = match &wanted {
            // What cannot be parked is not touched, tags included.
            Some(wanted) if wanted.awake || obstacle(&observed).is_none() => {
                Some((wanted.clone(), overruled(&observed, wanted, about)))
            }
            _ => None,
        };
        let looked_at = as_wanted
            .as_ref()
            .map_or(&observed, |(_, observed)| observed);
        let decision = decide(looked_at, schedule, now);
        decided.push((observed, as_wanted.map(|(wanted, _)| wanted), decision));
    }
    let decisions = decided.iter().map(|(_, _, decision)| decision);
    let under_way = UnderWay::look_for(aws, surroundings, decisions).await?;
    for (observed, wanted, decision) in decided {
        let decision = under_way.hold(&observed.stack, decision);
        let rotations = match (decision.action, decision.sleep) {
            (Action::Pause, Some(sleep)) => rotations(aws, schedule, &observed, now, sleep).await?,
            _ => Vec::new(),
        };
        plan.stacks.push(row(&observed, &decision, rotations));
        if decision.action != Action::Leave || wanted.is_some() {
            plan.tasks.push(Task {
                parts: observed.parts(),
                action: decision.action,
                sleep: decision.sleep,
                wanted,
                clock,
            });
        }
    }
    for row in &plan.stacks {
        row.log();
        if let Some(saving) = row.saving {
            plan.total = plan.total.and(saving);
        }
    }
    if request.dry_run {
        plan.tasks.clear();
    }
    plan.something = !plan.tasks.is_empty();
    Ok(plan)
}

/// The stacks that a request is about.
async fn scope(aws: &Aws, schedule: &Schedule, request: &Request) -> Result<Vec<Observed>> {
    let services = tagged::find(aws, &["apprunner:service"], &[]).await?;
    let scope = request.scope();
    let of_service: BTreeSet<String> = match &scope {
        Scope::Service(service) => services
            .iter()
            .filter(|(arn, _)| arn == service || arn.split('/').nth(1) == Some(service))
            .filter_map(|(_, tags)| stack_of(tags))
            .map(|stack| stack.name())
            .collect(),
        _ => BTreeSet::new(),
    };
    let is = |tags: &Tags, wanted: &dyn Fn(Stack) -> bool| stack_of(tags).is_some_and(wanted);
    let wanted = |tags: &Tags| match &scope {
        // What is parked is woken, also in an environment that no longer sleeps.
        Scope::Schedule => {
            let environment = tags.get(TAG_ENVIRONMENT);
            environment.is_some_and(|it| schedule.knows(it)) || Mark::of(tags).is_some()
        }
        Scope::Environment(name) => tags.get(TAG_ENVIRONMENT) == Some(name),
        Scope::Stack(name) => is(tags, &|stack| stack.name() == *name),
        Scope::Service(_) => is(tags, &|stack| of_service.contains(&stack.name())),
    };
    let stacks = stacks(aws, services, wanted).await?;
    let (field, value) = match &scope {
        Scope::Schedule => return Ok(stacks),
        Scope::Environment(name) => ("environment", name),
        Scope::Stack(name) => ("stack", name),
        Scope::Service(name) => ("service", name),
    };
    if stacks.is_empty() {
        let allowed =
            format!("the {field} of a service that groundcrew manages; there is none of that name");
        return Err(Error::invalid(field, value.clone(), allowed));
    }
    let never = |stack: &&Observed| !schedule.knows(&stack.stack.environment);
    match stacks.iter().find(never) {
        Some(stack) if request.action == Asked::Pause => Err(Error::invalid(
            field,
            value.clone(),
            format!(
                "what belongs to an environment that sleeps ({}), and {} does not: the parameter SleepingEnvironments says which",
                schedule.environments().join(", "),
                stack.stack.environment,
            ),
        )),
        _ => Ok(stacks),
    }
}

/// A stack as it is to be seen once the tags say what a person wants. What somebody else has paused becomes ours with it.
fn overruled(observed: &Observed, wanted: &Wanted, now: Timestamp) -> Observed {
    let mut observed = observed.clone();
    for service in &mut observed.services {
        if service.is_paused_by_others() {
            let mark = Mark {
                since: now,
                pausing: false,
            };
            service.tags.extend([mark.tag()]);
        }
        service.tags.extend(wanted.tags());
    }
    let is_alone = observed.services.is_empty();
    for database in &mut observed.databases {
        if is_alone {
            database.tags.extend(wanted.tags());
        } else if has_tag(&database.tags) {
            database.tags.extend(silent());
        }
    }
    observed
}

/// The tags of a database that would overrule what a person wants.
pub(crate) fn silent() -> Tags {
    let tags = [TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL];
    tags.map(|key| (key.to_owned(), NONE.to_owned())).into()
}

impl Row {
    /// The dashboard of the template reads these fields.
    fn log(&self) {
        let since = self.sleep.map(|sleep| sleep.since.to_string());
        let until = self.sleep.map(|sleep| sleep.until.to_string());
        let (hours, dollars) = match self.saving {
            Some(saving) => (Some(saving.hours), saving.dollars),
            None => (None, None),
        };
        tracing::info!(
            action = "looked",
            stack = self.stack,
            state = self.state,
            since = since,
            until = until,
            hours = hours,
            dollars = dollars,
            "{}",
            self.reason
        );
    }
}

fn row(observed: &Observed, decision: &Decision, rotations: Vec<String>) -> Row {
    let deploying = observed.services.iter().find_map(|it| it.claim());
    let reason = match deploying.filter(|_| decision.action == Action::Pause) {
        Some(claim) => format!(
            "{}; the deployment {} ends first",
            decision.reason, claim.execution
        ),
        None => match observed
            .services
            .iter()
            .find(|it| it.status == ServiceStatus::OperationInProgress)
        {
            Some(service) if decision.action == Action::Pause => {
                format!(
                    "{}; the operation of service {} ends first",
                    decision.reason, service.name
                )
            }
            _ => decision.reason.clone(),
        },
    };
    let asleep = decision.sleep.filter(|_| decision.action != Action::Resume);
    Row {
        stack: observed.stack.name(),
        action: decision.action,
        reason,
        state: observed.states(),
        sleep: decision.sleep,
        saving: asleep.map(|sleep| saving(observed, sleep)),
        rotations,
    }
}

/// The rotations that fall into a sleep: the function that rotates would not find the database.
async fn rotations(
    aws: &Aws,
    schedule: &Schedule,
    observed: &Observed,
    now: Timestamp,
    sleep: Sleep,
) -> Result<Vec<String>> {
    let secrets: BTreeSet<_> = observed
        .services
        .iter()
        .flat_map(|it| &it.secrets)
        .collect();
    let mut found = Vec::new();
    for arn in secrets {
        let described = aws
            .secrets_manager()
            .describe_secret()
            .secret_id(arn)
            .send()
            .await;
        let secret = match described.map_err(Error::aws("secretsmanager:DescribeSecret")) {
            Ok(secret) => secret,
            // It is gone, or of another account: that is not for this step to say.
            Err(Error::Aws { .. } | Error::Denied { .. }) => continue,
            Err(error) => return Err(error),
        };
        let at = secret
            .next_rotation_date()
            .and_then(|at| Timestamp::from_second(at.secs()).ok());
        if let Some(at) = at.filter(|at| now <= *at && *at < sleep.until) {
            found.push(format!(
                "the secret {} is to be rotated at {}, when its database is stopped: rotate it before, or keep the stack awake",
                secret.name().unwrap_or(arn),
                schedule.local(at),
            ));
        }
    }
    Ok(found)
}
