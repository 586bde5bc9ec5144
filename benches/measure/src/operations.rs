//! What each operation takes of AWS, and what that costs: in the life of one stack, that of `events/provision.json`.

use crate::account::{Account, Spent, arrange, example};
use crate::cost;
use crate::{Error, Result};
use apprunner_emulator::Arrangement;
use figures::{Figures, Table};
use jiff::{SignedDuration, Timestamp};
use rehearsal::console;
use serde_json::{Value, json};

/// Slow enough for questions whether something is done to be as many as on AWS.
const TIME_SCALE: f64 = 20.0;

/// The next night, three hours long and far from now: a sweep, which is always now, is to find nothing.
struct Night {
    evening: Timestamp,
    morning: Timestamp,
}

impl Night {
    fn after(now: Timestamp) -> Result<Self> {
        const HOUR: i64 = 3600;
        let evening = (now.as_second() / HOUR + 8) * HOUR;
        let at = |second| Timestamp::from_second(second);
        let night = at(evening).and_then(|evening| {
            let morning = at(evening.as_second() + 3 * HOUR)?;
            Ok(Self { evening, morning })
        });
        night.map_err(|error| Error::Unexpected(format!("there is no night: {error}")))
    }

    /// What the template is to be deployed with: a night has to end on the next day, so it lies where that is so.
    fn parameters(&self) -> [(&'static str, String); 4] {
        let hour = self.evening.as_second().rem_euclid(24 * 3600) / 3600;
        let zone = match 22 - hour {
            east @ 0..=12 => format!("Etc/GMT-{east}"),
            east @ 13.. => format!("Etc/GMT+{}", 24 - east),
            west => format!("Etc/GMT+{}", -west),
        };
        [
            ("AwakeDays", "MON-SUN".to_owned()),
            ("SleepFrom", "22:00".to_owned()),
            ("SleepUntil", "01:00".to_owned()),
            ("SleepTimeZone", zone),
        ]
    }

    fn middle(&self) -> Timestamp {
        self.evening + SignedDuration::from_mins(90)
    }
}

/// Measures.
///
/// # Errors
/// If something cannot be measured.
pub async fn run() -> Result<Figures> {
    let spec = example("provision.json")?;
    let name = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    let (app, environment) = (name("app"), name("environment"));
    let night = Night::after(Timestamp::now())?;
    let parameters = night.parameters();
    let parameters = parameters
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let parameters: Vec<_> = parameters
        .chain([("SleepingEnvironments", environment.as_str())])
        .collect();
    let life = Life {
        account: Account::new(TIME_SCALE, &parameters).await?,
        stack: format!("{app}-{environment}"),
        secret: format!("groundcrew/{app}/{environment}/database"),
        spec,
    };
    let rows = [
        life.provision().await?,
        life.provision_again().await?,
        life.push().await?,
        life.rotation().await?,
        life.rollback().await?,
        life.look("a night: parked", night.evening, 1).await?,
        life.look("a look that finds nothing to do", night.middle(), 1)
            .await?,
        life.look(
            "a morning: woken, and looked at by deploy",
            night.morning,
            2,
        )
        .await?,
        life.sweep().await?,
        life.teardown().await?,
    ];
    let mut figures = Figures::new("What operations take", "cargo measure operations");
    let columns = [
        "operation",
        "calls of AWS",
        "invocations of functions",
        "state transitions",
        "cost",
    ];
    figures.tables.push(Table {
        caption: "One stack with a service and a database; cost in us-east-1, with a second of 256 MB for each invocation".into(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.to_vec(),
    });
    Ok(figures)
}

/// The life of a stack.
struct Life {
    account: Account,
    stack: String,
    secret: String,
    spec: Value,
}

impl Life {
    async fn provision(&self) -> Result<Vec<String>> {
        let what = "provision";
        console::progress(what);
        let before = self.account.begin().await?;
        self.account.provision("first", &self.spec).await?;
        Ok(row(what, &self.account.spent(&before, 1).await?))
    }

    async fn provision_again(&self) -> Result<Vec<String>> {
        let what = "provision again";
        console::progress(what);
        let before = self.account.begin().await?;
        let machine = "ProvisionStateMachineArn";
        self.account.execute(machine, "second", &self.spec).await?;
        Ok(row(what, &self.account.spent(&before, 1).await?))
    }

    async fn push(&self) -> Result<Vec<String>> {
        let what = "a push, deployed and watched";
        console::progress(what);
        let before = self.account.begin().await?;
        self.account
            .local
            .push_image(&self.stack, "latest", "amd64")
            .await?;
        Ok(row(what, &self.account.spent(&before, 1).await?))
    }

    async fn rotation(&self) -> Result<Vec<String>> {
        let what = "a rotation, delivered and watched";
        console::progress(what);
        let local = &self.account.local;
        let read = local.aws().secrets_manager().get_secret_value();
        let read = read.secret_id(&self.secret).send().await;
        let value = read
            .map_err(crate::account::refused("no secret"))?
            .secret_string;
        let mut value: Value = serde_json::from_str(&value.unwrap_or_default())
            .map_err(|error| Error::Unexpected(format!("the secret is no JSON: {error}")))?;
        value["password"] = json!("another-one-that-nobody-knows");
        let before = self.account.begin().await?;
        local
            .rotate_secret(&self.secret, &value.to_string())
            .await?;
        Ok(row(what, &self.account.spent(&before, 1).await?))
    }

    /// Of an image whose health path answers 500.
    async fn rollback(&self) -> Result<Vec<String>> {
        let what = "a bad image, deployed and taken back";
        console::progress(what);
        let local = &self.account.local;
        let before = self.account.begin().await?;
        let digest = local.push_image(&self.stack, "latest", "amd64").await?;
        arrange(
            local,
            Arrangement::ImageAnswer {
                digest,
                status: 500,
            },
        )?;
        Ok(row(what, &self.account.spent(&before, 1).await?))
    }

    async fn look(&self, what: &str, now: Timestamp, executions: usize) -> Result<Vec<String>> {
        console::progress(what);
        let before = self.account.begin().await?;
        let look = json!({"action": "follow-schedule", "now": now.to_string()});
        let name = format!("look-{}", now.as_second());
        self.account.look(&name, &look).await?;
        Ok(row(what, &self.account.spent(&before, executions).await?))
    }

    async fn sweep(&self) -> Result<Vec<String>> {
        let what = "a sweep that finds nothing";
        console::progress(what);
        let before = self.account.begin().await?;
        self.account
            .execute("SweepStateMachineArn", "sweep", &json!({}))
            .await?;
        Ok(row(what, &self.account.spent(&before, 1).await?))
    }

    async fn teardown(&self) -> Result<Vec<String>> {
        let what = "teardown";
        console::progress(what);
        let before = self.account.begin().await?;
        let removal = example("teardown.json")?;
        self.account
            .execute("TeardownStateMachineArn", "teardown", &removal)
            .await?;
        Ok(row(what, &self.account.spent(&before, 1).await?))
    }
}

fn row(what: &str, spent: &Spent) -> Vec<String> {
    let invocations = spent.count.invocations.len();
    vec![
        what.to_owned(),
        spent.count.all().to_string(),
        invocations.to_string(),
        spent.transitions.to_string(),
        format!("${:.4}", cost::dollars(spent.transitions, invocations)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_night_is_hours_away_and_begins_on_the_hour() {
        let now: Timestamp = "2026-11-21T17:40:00Z".parse().expect("a time");
        let night = Night::after(now).expect("a night");
        assert_eq!(night.evening.to_string(), "2026-11-22T01:00:00Z");
        assert_eq!(night.middle().to_string(), "2026-11-22T02:30:00Z");
    }

    #[test]
    fn the_night_is_from_22_to_01_o_clock_where_it_is_whatever_the_time() {
        for hour in 0..24 {
            let now = Timestamp::from_second(1_795_000_000 + hour * 3600).expect("a time");
            let night = Night::after(now).expect("a night");
            let [_, _, _, (_, zone)] = night.parameters();
            let zone = jiff::tz::TimeZone::get(&zone).expect("a zone");
            let local = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%H:%M").to_string();
            assert_eq!(local(night.evening), "22:00", "{now}");
            assert_eq!(local(night.morning), "01:00", "{now}");
        }
    }
}
