//! The first step of an execution that looks: sees every stack that is asked about, says what is to be done with each and why,
//! and starts an execution for each that has something to do. Each of these works and tells for itself.

use crate::Surroundings;
use crate::at_work::AtWork;
use crate::decide::{Action, Decision, Sleep, decide, obstacle};
use crate::extent::{Extent, Found};
use crate::observed::{Observed, Service};
use crate::report::{Report, unseen};
use crate::request::{Asked, Request};
use crate::savings::{Saving, saving};
use crate::schedule::Schedule;
use crate::task::{Clock, Task, Wanted};
use crate::wish::{TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL, has_tag};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::NONE;
use groundcrew::execution::start;
use groundcrew::installation::Keeper;
use groundcrew::memory::{Deployments, Parking};
use groundcrew::pace::{Pace, patiently};
use groundcrew::stack::Tags;
use groundcrew::{Aws, Error, Managed, Mark, Result, managed};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::rc::Rc;
use tokio::sync::OnceCell;
use tokio::task::{JoinSet, LocalSet};

/// What `plan` answers.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The moment that it is about.
    pub now: Timestamp,
    /// The stacks that it is about: first what could not be looked at, then what has something to do.
    pub stacks: Vec<Row>,
    /// How many stacks there are besides, for which a state has no room. The logs name them.
    pub more: usize,
    /// What its sleeps come to, together.
    pub total: Saving,
    /// How many executions were started, for a stack each.
    pub started: usize,
    /// What this execution does itself: what a person wants of one stack.
    pub task: Option<Task>,
    /// What is to be told of it, if a stack could not be looked at.
    pub report: Report,
}

/// What a person reads about one stack.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub stack: String,
    /// What is to be done with it.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// What is in which state.
    pub state: String,
    /// The execution that does it, if it is another than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
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

/// The execution that looks.
#[derive(Clone, Debug)]
pub(crate) struct Looking {
    /// When it was started.
    pub(crate) started: Timestamp,
    /// The ARN of its state machine, of which it starts others.
    pub(crate) machine: String,
    /// Its name.
    pub(crate) execution: String,
}

/// How many bytes of rows a state has room for: half of its 262,144 bytes (Step Functions guide, "Quotas for task executions"),
/// as the rest of the data takes some, and names may be escaped.
const ROOM: usize = 131_072;

pub(crate) async fn plan(
    aws: &Aws,
    surroundings: &Surroundings,
    schedule: &Schedule,
    request: &Value,
    looking: Looking,
) -> Result<Plan> {
    let request = Request::parse(request)?;
    let (about, started) = (request.now().unwrap_or(looking.started), looking.started);
    let clock = Clock { about, started };
    let wanted = match request.action {
        Asked::FollowSchedule => None,
        asked => Some(Wanted {
            awake: asked == Asked::Resume,
            until: request.lasts_until(schedule, about)?,
        }),
    };
    let (extent, found) = Extent::find(aws, schedule, &request).await?;
    let execution = looking.execution.clone();
    let look = Rc::new(Look {
        aws: aws.clone(),
        surroundings: surroundings.clone(),
        schedule: schedule.clone(),
        extent,
        wanted,
        clock,
        dry_run: request.dry_run,
        looking,
        pace: Pace::new(surroundings.tempo),
        at_work: OnceCell::new(),
    });
    let (here, mut looks) = (LocalSet::new(), JoinSet::new());
    for found in found {
        let look = Rc::clone(&look);
        // Boxed, for the types of nested futures grow too deep for the compiler.
        let seen = Box::pin(async move { look.stack(found).await });
        looks.spawn_local_on(seen, &here);
    }
    let seen = here.run_until(looks.join_all()).await;
    let seen = seen.into_iter().flatten().collect();
    // A person hears of it at once, and otherwise one look of a day tells what nothing remembers.
    let is_asked = request.action != Asked::FollowSchedule || request.now.is_none();
    Ok(Plan::of(seen, clock, is_asked, &execution))
}

/// One look at everything. Its calls of App Runner keep a pace, and so do those of the executions that it starts, one after
/// the other while it goes on looking.
struct Look {
    aws: Aws,
    surroundings: Surroundings,
    schedule: Schedule,
    extent: Extent,
    wanted: Option<Wanted>,
    clock: Clock,
    dry_run: bool,
    looking: Looking,
    pace: Pace,
    at_work: OnceCell<AtWork>,
}

/// What came of the look at one stack.
#[derive(Debug)]
struct Seen {
    row: Row,
    /// What this execution is to do itself.
    task: Option<Task>,
    is_started: bool,
    /// Whether it could not be looked at, or its execution not be started.
    has_failed: bool,
}

impl Seen {
    /// What is left as it is, or seen to by whom the row names.
    fn of(row: Row) -> Self {
        Self {
            row,
            task: None,
            is_started: false,
            has_failed: false,
        }
    }
}

impl Look {
    /// What fails for one stack does not stop the others.
    async fn stack(&self, found: Found) -> Option<Seen> {
        let stack = found.stack.name();
        match self.see(found).await {
            Ok(seen) => seen,
            Err(error) => Some(Seen {
                has_failed: true,
                ..Seen::of(Row::unseen(stack, &error))
            }),
        }
    }

    async fn see(&self, found: Found) -> Result<Option<Seen>> {
        let Some(observed) = self.observe(found).await? else {
            return Ok(None);
        };
        let (wanted, mut decision) = self.decide(&observed);
        if decision.action != Action::Leave {
            let at_work = self.at_work().await?;
            decision = at_work.under_way.hold(&observed.stack, decision);
        }
        let rotations = self.rotations(&observed, &decision).await?;
        let row = row(&observed, &decision, rotations);
        let is_to_do = decision.action != Action::Leave || wanted.is_some();
        let task = is_to_do.then(|| Task {
            parts: observed.parts(),
            action: decision.action,
            sleep: decision.sleep,
            wanted,
            clock: self.clock,
        });
        match task.filter(|_| !self.dry_run) {
            Some(task) if !self.extent.is_one_stack() => self.hand_over(row, &task).await.map(Some),
            task => Ok(Some(Seen {
                task,
                ..Seen::of(row)
            })),
        }
    }

    /// What is wanted of a stack by this request, and what is to be done with it.
    fn decide(&self, observed: &Observed) -> (Option<Wanted>, Decision) {
        // What cannot be parked is not touched, tags included.
        let can_be = |wanted: &Wanted| wanted.awake || obstacle(observed).is_none();
        let wanted = self.wanted.clone().filter(can_be);
        let overruled = wanted
            .as_ref()
            .map(|wanted| overruled(observed, wanted, self.clock.about));
        let looked_at = overruled.as_ref().unwrap_or(observed);
        let decision = decide(looked_at, &self.schedule, self.clock.now());
        (wanted, decision)
    }

    /// A stack as it is; `None` if there is nothing of it, or nothing that is wanted.
    async fn observe(&self, found: Found) -> Result<Option<Observed>> {
        let aws = &self.aws;
        let mut services = Vec::new();
        for arn in found.services {
            // What a tag says now is asked of App Runner itself.
            let looked = self.pace.ask(|| Managed::look(aws, &arn)).await?;
            let is_wanted =
                |it: &Managed| found.stack.owns(&it.tags) && self.extent.wants(it.arn(), &it.tags);
            if let Some(managed) = looked.filter(is_wanted) {
                let keeper = || Keeper::of(aws, &managed.tags);
                let keeper = patiently(self.surroundings.tempo, keeper).await?;
                if let Some(objection) = keeper.objection() {
                    tracing::info!("stack {} is left alone: {objection}", found.stack.name());
                    return Ok(None);
                }
                let ask = || async {
                    let managed = managed.clone().remembered::<Parking>(aws).await?;
                    managed.remembered::<Deployments>(aws).await
                };
                let remembered = patiently(self.surroundings.tempo, ask).await?;
                services.push(Service::of(remembered));
            }
        }
        let mut databases = found.databases;
        if services.is_empty() {
            databases.retain(|it| self.extent.wants(&it.arn, &it.tags) && !it.is_going());
            // Their service is gone, unless the index does not know it yet: then the next look does.
            let name = &found.stack.name();
            if databases.is_empty() || self.pace.ask(|| managed::named(aws, name)).await?.is_some()
            {
                return Ok(None);
            }
        }
        Ok(Some(Observed {
            stack: found.stack,
            services,
            databases,
        }))
    }

    /// What is at work now, asked once for all stacks and only if there is something to do.
    async fn at_work(&self) -> Result<&AtWork> {
        let look = || AtWork::look(&self.aws, &self.surroundings, &self.looking.machine);
        self.at_work.get_or_try_init(look).await
    }

    /// Starts the execution that does what is to be done with a stack, unless one is doing that already. A wish is written
    /// down in any case.
    async fn hand_over(&self, mut row: Row, task: &Task) -> Result<Seen> {
        let at_work = self.at_work().await?;
        if let Some(execution) = at_work.on(task).filter(|_| task.wanted.is_none()) {
            row.reason = format!("{}; the execution {execution} is at work on it", row.reason);
            row.execution = Some(execution.to_owned());
            return Ok(Seen::of(row));
        }
        let name = task.execution(&self.looking.execution);
        let (machine, input) = (&self.looking.machine, json!({"task": task}));
        let tempo = self.surroundings.tempo;
        patiently(tempo, || start(&self.aws, machine, &name, &input)).await?;
        row.execution = Some(name);
        Ok(Seen {
            is_started: true,
            ..Seen::of(row)
        })
    }

    /// The rotations that fall into a sleep: the function that rotates would not find the database.
    async fn rotations(&self, observed: &Observed, decision: &Decision) -> Result<Vec<String>> {
        match (decision.action, decision.sleep) {
            (Action::Pause, Some(sleep)) => {
                let (aws, schedule, now) = (&self.aws, &self.schedule, self.clock.now());
                let ask = || rotations(aws, schedule, observed, now, sleep);
                patiently(self.surroundings.tempo, ask).await
            }
            _ => Ok(Vec::new()),
        }
    }
}

impl Plan {
    fn of(seen: Vec<Seen>, clock: Clock, is_asked: bool, execution: &str) -> Self {
        let mut plan = Self {
            now: clock.now(),
            stacks: Vec::new(),
            more: 0,
            total: Saving::none(),
            started: 0,
            task: None,
            report: Report::default(),
        };
        let mut failed = Vec::new();
        for seen in seen {
            plan.started += usize::from(seen.is_started);
            plan.task = seen.task.or(plan.task);
            match seen.has_failed {
                true => failed.push(seen.row),
                false => plan.stacks.push(seen.row),
            }
        }
        let by_name = |row: &Row| (row.action == Action::Leave, row.stack.clone());
        plan.stacks.sort_by_key(by_name);
        failed.sort_by_key(by_name);
        for row in failed.iter().chain(&plan.stacks) {
            row.log();
            if let Some(saving) = row.saving {
                plan.total = plan.total.and(saving);
            }
        }
        plan.report = unseen(&failed, is_asked || clock.is_daily(), execution);
        plan.stacks.splice(0..0, failed);
        plan.more = cut(&mut plan.stacks, ROOM);
        plan
    }
}

/// Leaves the first rows, for which there is room in bytes; answers how many others there were.
fn cut(rows: &mut Vec<Row>, room: usize) -> usize {
    let mut taken = 0;
    let fits = |row: &Row| {
        taken += json!(row).to_string().len() + 1;
        taken <= room
    };
    let fitting = rows.iter().map(fits).take_while(|fits| *fits).count();
    rows.split_off(fitting).len()
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
    fn unseen(stack: String, error: &Error) -> Self {
        Self {
            stack,
            action: Action::Leave,
            reason: format!("it could not be looked at: {error}"),
            state: "unknown".into(),
            execution: None,
            sleep: None,
            saving: None,
            rotations: Vec::new(),
        }
    }

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
        execution: None,
        sleep: decision.sleep,
        saving: asleep.map(|sleep| saving(observed, sleep)),
        rotations,
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::at;

    /// The longest that AWS takes: names of 40 characters for a service and of 63 for a database.
    fn longest(n: usize) -> Seen {
        let stack = format!("{n:04}{}", "s".repeat(36));
        let sleep = Sleep {
            since: at("2026-11-23T20:00:00.123456789Z"),
            until: at("2026-11-24T07:00:00.123456789Z"),
        };
        let execution = format!("{stack}-pause-0123456789abcdef");
        let row = Row {
            action: Action::Pause,
            reason: format!("it is night until Tue 2026-11-24 07:00 CET; {execution}"),
            state: format!(
                "service {stack} is OPERATION_IN_PROGRESS, database {stack} is storage-optimization"
            ),
            execution: Some(execution),
            sleep: Some(sleep),
            saving: Some(Saving {
                hours: 11.0,
                dollars: Some(0.33),
            }),
            rotations: Vec::new(),
            stack,
        };
        Seen {
            is_started: true,
            ..Seen::of(row)
        }
    }

    fn clock() -> Clock {
        let about = at("2026-11-23T20:00:00Z");
        Clock {
            about,
            started: about,
        }
    }

    #[test]
    fn the_answer_of_a_look_at_a_thousand_stacks_fits_into_a_state_and_says_how_many_it_leaves_out()
    {
        for stacks in [1, 200, 1000, 5000] {
            let seen = (0..stacks).map(longest).collect();
            let plan = Plan::of(seen, clock(), false, "run-1");
            let bytes = json!(plan).to_string().len();
            assert!(bytes <= 262_144, "{stacks} stacks: {bytes} bytes");
            assert_eq!(plan.stacks.len() + plan.more, stacks);
            assert_eq!(plan.started, stacks);
            assert!(
                plan.stacks.len() >= stacks.min(200),
                "{}",
                plan.stacks.len()
            );
        }
    }

    #[test]
    fn a_stack_that_could_not_be_looked_at_comes_first_and_is_told_once_a_day_and_to_whoever_asks()
    {
        let seen = || {
            let row = Row::unseen("shop-dev".into(), &Error::Failed("it is so".into()));
            let hidden = Seen {
                has_failed: true,
                ..Seen::of(row)
            };
            vec![longest(1), hidden]
        };
        let evening = Plan::of(seen(), clock(), false, "run-1");
        assert_eq!(evening.stacks[0].stack, "shop-dev");
        assert_eq!((evening.started, evening.report.failed), (1, true));
        assert!(evening.report.notification.is_none());
        let asked = Plan::of(seen(), clock(), true, "run-1").report;
        let told = asked.notification.expect("it is told");
        assert_eq!(told.subject(), "shop-dev: could not be looked at");
        assert!(told.message().contains("it is so"), "{}", told.message());
        let about = at("2026-11-24T08:00:00Z");
        let daily = Clock {
            about,
            started: about,
        };
        assert!(
            Plan::of(seen(), daily, false, "run-1")
                .report
                .notification
                .is_some()
        );
        let well = Plan::of(vec![longest(1)], daily, true, "run-1");
        assert!(!well.report.failed && well.report.notification.is_none());
    }
}
