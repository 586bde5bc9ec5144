//! Many stacks that sleep at night, and are woken in the morning.

use crate::account::{Account, Spent, arrange, refused};
use crate::{Error, Result};
use apprunner_emulator::{Arrangement, ServiceStatus};
use rehearsal::{NewService, console};
use serde_json::json;
use std::time::{Duration, Instant};

/// As fast as the functions' own time allows.
const TIME_SCALE: f64 = 50.0;
const ENVIRONMENT: &str = "dev";
const REPOSITORY: &str = "sleepers";

/// Monday to Friday from 07:00 to 20:00 UTC.
const EVENING: &str = "2026-11-23T20:00:00Z"; // a Monday
const NIGHT: &str = "2026-11-24T02:00:00Z";
const MORNING: &str = "2026-11-24T07:00:00Z";

/// A night of so many stacks.
pub(crate) struct Night {
    pub(crate) stacks: usize,
    /// AWS seconds until the last of them slept, and until the last was awake.
    pub(crate) seconds: (f64, f64),
    /// How many of them slept, and how many of them were awake again.
    pub(crate) reached: (usize, usize),
    /// State transitions of `park` in the evening and in the morning, and of `deploy` in the morning.
    pub(crate) transitions: (usize, usize, usize),
    pub(crate) look: usize,
    pub(crate) evening: Spent,
    pub(crate) morning: Spent,
}

/// Plays one.
pub(crate) async fn night(stacks: usize) -> Result<Night> {
    console::progress(format_args!("a night of {stacks} stacks"));
    let account = Account::new(TIME_SCALE, &[("SleepingEnvironments", ENVIRONMENT)]).await?;
    create(&account, stacks).await?;
    let before = account.begin().await?;
    let park = look(&account, EVENING).await?;
    let evening = account.spent(&before, 1).await?;
    let asleep = count(&account, ServiceStatus::Paused);
    let nothing = look(&account, NIGHT).await?;
    let before = account.begin().await?;
    let wake = look(&account, MORNING).await?;
    let morning = account.spent(&before, 1 + stacks).await?;
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

async fn look(account: &Account, now: &str) -> Result<rehearsal::End> {
    let input = json!({"action": "follow-schedule", "now": now});
    let name = now.replace(':', "-");
    account.execute("ParkStateMachineArn", &name, &input).await
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
        create_database(account, &name, &tags).await?;
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

async fn create_database(account: &Account, name: &str, tags: &[(&str, &str)]) -> Result<()> {
    let tag = |(key, value): &(&str, &str)| {
        let tag = aws_sdk_rds::types::Tag::builder();
        tag.key(*key).value(*value).build()
    };
    let create = account.local.aws().rds().create_db_instance();
    let created = create
        .db_instance_identifier(name)
        .engine("postgres")
        .engine_version("17")
        .db_instance_class("db.t4g.micro")
        .allocated_storage(20)
        .backup_retention_period(1)
        .master_username("shop")
        .master_user_password("not-a-secret-here")
        .set_tags(Some(tags.iter().map(tag).collect()));
    created.send().await.map_err(refused("no database"))?;
    Ok(())
}
