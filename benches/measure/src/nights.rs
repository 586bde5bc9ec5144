//! Many stacks that sleep at night, and are woken in the morning.

use crate::account::{Account, Spent, arrange, refused};
use crate::{Error, Result, cost};
use apprunner_emulator::{Arrangement, ServiceStatus};
use figures::{Figures, Goal, Limit, Table, thousands};
use rehearsal::{NewService, console};
use serde_json::json;
use std::time::{Duration, Instant};

/// How many stacks sleep and wake.
pub const STACKS: [u16; 3] = [1, 10, 50];

/// The same, in a short run.
pub const SHORT_STACKS: [u16; 1] = [1];

/// As fast as the functions' own time allows.
const TIME_SCALE: f64 = 50.0;
const ENVIRONMENT: &str = "dev";
const REPOSITORY: &str = "sleepers";

/// Monday to Friday from 07:00 to 20:00 UTC.
const EVENING: &str = "2026-11-23T20:00:00Z"; // a Monday
const NIGHT: &str = "2026-11-24T02:00:00Z";
const MORNING: &str = "2026-11-24T07:00:00Z";

/// Measures a night of so many stacks each.
///
/// # Errors
/// If something cannot be measured.
pub async fn run(sizes: &[u16]) -> Result<Figures> {
    let mut nights = Vec::new();
    for size in crate::sorted(sizes) {
        nights.push(night(size.into()).await?);
    }
    Ok(figures(&nights))
}

/// A night of so many stacks.
struct Night {
    stacks: usize,
    /// AWS seconds until the last of them slept, and until the last was awake.
    seconds: (f64, f64),
    /// How many of them slept, and how many of them were awake again.
    reached: (usize, usize),
    /// State transitions of `park` in the evening and in the morning, and of `deploy` in the morning.
    transitions: (usize, usize, usize),
    look: usize,
    evening: Spent,
    morning: Spent,
}

/// Plays one.
async fn night(stacks: usize) -> Result<Night> {
    console::progress(format_args!("a night of {stacks} stacks"));
    let account = Account::new(TIME_SCALE, &[("SleepingEnvironments", ENVIRONMENT)]).await?;
    create(&account, stacks).await?;
    let before = account.begin().await?;
    let park = look(&account, EVENING).await?;
    let evening = account.spent(&before, 1 + stacks).await?;
    let asleep = count(&account, ServiceStatus::Paused);
    let nothing = look(&account, NIGHT).await?;
    let before = account.begin().await?;
    let wake = look(&account, MORNING).await?;
    let morning = account.spent(&before, 1 + 2 * stacks).await?;
    Ok(Night {
        stacks,
        seconds: (park.seconds, wake.seconds),
        reached: (asleep, count(&account, ServiceStatus::Running)),
        transitions: (
            park.transitions,
            wake.transitions,
            morning.transitions - wake.transitions,
        ),
        look: nothing.transitions,
        evening,
        morning,
    })
}

/// What a look takes with the executions that it starts.
struct Looked {
    /// AWS seconds until the last of them has ended.
    seconds: f64,
    transitions: usize,
}

async fn look(account: &Account, now: &str) -> Result<Looked> {
    let input = json!({"action": "follow-schedule", "now": now});
    let began = Instant::now();
    let (look, ends) = account.look(&now.replace(':', "-"), &input).await?;
    let all = || ends.iter().chain([&look]);
    Ok(Looked {
        seconds: began.elapsed().as_secs_f64() * TIME_SCALE,
        transitions: all().map(|end| end.transitions).sum(),
    })
}

fn count(account: &Account, status: ServiceStatus) -> usize {
    let services = account.local.apprunner().snapshot().services;
    services.iter().filter(|it| it.status == status).count()
}

/// Stacks of a service and a database, which groundcrew finds by their tags; it gives them their alarms.
async fn create(account: &Account, stacks: usize) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(300);
    let local = &account.local;
    let repository = local.aws().ecr().create_repository();
    let created = repository.repository_name(REPOSITORY).send().await;
    created.map_err(refused("no repository"))?;
    let digest = local.push_image(REPOSITORY, "latest", "amd64").await?;
    arrange(local, Arrangement::Quota { services: stacks })?;
    for n in 0..stacks {
        let app = format!("sleeper{n}");
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", &app),
            ("groundcrew:environment", ENVIRONMENT),
            ("groundcrew:image-tag", "latest"),
            ("groundcrew:deploy-policy", "bake=0"),
        ];
        let name = format!("{app}-{ENVIRONMENT}");
        local.create_database(&name, &tags).await?;
        let new = NewService {
            name: &name,
            image: &format!("{REPOSITORY}@{digest}"),
            tags: &tags,
            secrets: &[],
        };
        local.create_service(&new).await?;
    }
    let began = Instant::now();
    while count(account, ServiceStatus::Running) < stacks || !databases_are_there(account).await? {
        if began.elapsed() > PATIENCE {
            return Err(Error::Unexpected("the stacks do not come up".into()));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // Alarms follow their creation.
    let before = account.begin().await?;
    account.spent(&before, 0).await?;
    Ok(())
}

async fn databases_are_there(account: &Account) -> Result<bool> {
    let describe = account.local.aws().rds().describe_db_instances();
    let found = describe.into_paginator().items().send();
    let found: Result<Vec<_>, _> = found.collect().await;
    let found = found.map_err(refused("no databases"))?;
    let is_there = |status: Option<&str>| status == Some("available");
    Ok(found.iter().all(|it| is_there(it.db_instance_status())))
}

fn figures(nights: &[Night]) -> Figures {
    let mut figures = Figures::new("What nights take", "cargo measure nights");
    let missed = nights
        .iter()
        .map(|night| 2 * night.stacks - night.reached.0 - night.reached.1);
    figures.tables.push(table(nights));
    figures.goals.push(Goal {
        what: "stacks not parked, or not woken".to_owned(),
        measured: missed.sum::<usize>() as f64,
        noise: 0.0,
        limit: Limit::AtMost(0.0),
        held: None,
    });
    figures
}

/// What a night takes: it is paid for 250 times a year, and the looks between as well.
fn table(nights: &[Night]) -> Table {
    let row = |night: &Night| {
        let (park, wake, deliver) = night.transitions;
        let (evening, morning) = (&night.evening.count, &night.morning.count);
        vec![
            thousands(night.stacks),
            format!(
                "{} + {} + {}",
                thousands(park),
                thousands(wake),
                thousands(deliver)
            ),
            format!(
                "{} + {}",
                thousands(evening.all()),
                thousands(morning.all())
            ),
            format!(
                "{:.0} + {:.0}",
                night.seconds.0 / 60.0,
                night.seconds.1 / 60.0
            ),
            format!(
                "{:.0}",
                evening.peak_memory("Park").max(morning.peak_memory("Park"))
            ),
            format!("${:.2}", cost::year(park + wake + deliver, night.look)),
        ]
    };
    let columns = [
        "stacks",
        "state transitions: to park, to wake, to deliver",
        "calls of AWS: in the evening, in the morning",
        "minutes: to park, to wake",
        "peak memory of park, MiB",
        "in a year, 250 nights and the looks",
    ];
    Table {
        caption: "Nights of stacks with a service and a database each".into(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: nights.iter().map(row).collect(),
    }
}
