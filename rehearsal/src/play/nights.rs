//! Nights: what the schedule starts, what comes in meanwhile, and what RDS does by itself.

use super::calendar::{instant, long};
use super::deployments::{HEARS, POLL, QUIET, Scenes, variables_of_database};
use super::ended;
use crate::console::{DIM, line};
use crate::promises::nights::{
    FELL_ASLEEP, FellAsleep, HOLIDAYS, Holidays, KEPT_AWAKE, KeptAwake, Look, Moment, Rung,
    SCHEDULED, SEVENTH_DAY, SLEPT, Scheduled, SeventhDay, Slept, UNPARKABLE, WOKE, Woke,
};
use crate::record::later;
use crate::{End, Error, Execution, Result, Schedule};
use aws_sdk_apprunner::types::Tag;
use aws_sdk_cloudwatch::types::StateValue;
use groundcrew::Stack;
use jiff::{SignedDuration, Zoned};
use std::cell::RefCell;
use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Instant;

/// What somebody sets who works late.
const TAG_AWAKE_UNTIL: &str = "groundcrew:awake-until";
const PARK: &str = "ParkStateMachineArn";
const SEVEN_DAYS: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Scenes<'_> {
    /// An evening on which somebody works late, a night with a push and a rotation, and the morning. Whether it all went so
    /// that another one can be played.
    pub(super) async fn night(&mut self) -> Result<bool> {
        if !self.schedule().await? {
            return Ok(false);
        }
        let calendar = self.calendar;
        let before_evening = calendar.before_evening();
        self.heading(&before_evening, "a look by day");
        let day = self.look_at(&before_evening, true).await?;
        let evening = calendar.evening();
        if self.spec.database.read_replica {
            self.heading(&evening, "night, for a stack that has none");
            let look = self.look_at(&evening, true).await?;
            self.check(UNPARKABLE, &look);
            return Ok(false);
        }
        self.heading(&evening, "somebody works late");
        self.keep_awake(&calendar.late()).await?;
        let kept = self.look_at(&evening, true).await?;
        self.heading(&calendar.late(), "night");
        let night = self.look_at(&calendar.late(), true).await?;
        let seen = KeptAwake {
            evening: kept,
            later: night.clone(),
        };
        self.check(KEPT_AWAKE, &seen);
        let rung = self.ring("while it sleeps").await?;
        if !self.check(FELL_ASLEEP, &FellAsleep { day, night, rung }) {
            return Ok(false);
        }
        self.sleep_and_wake().await
    }

    /// The rest of the night, and the morning.
    async fn sleep_and_wake(&mut self) -> Result<bool> {
        let (late, at_night, morning) = (
            self.calendar.late(),
            self.calendar.at_night(),
            self.calendar.morning(),
        );
        let mut looks = self.looks_between(&late, &at_night).await?;
        self.heading(&at_night, "a push and a rotation, while it sleeps");
        let before = self.before().await?;
        let digest = self.untagged().await?;
        let tag = self.next_tag();
        self.tag(&digest, &tag).await?;
        let mut came_in = vec![self.follow(before, None).await?];
        let variables = variables_of_database(self.spec);
        let mut version_id = None;
        if variables.is_empty() {
            line("           No variable is from the stack's secret: nothing is rotated.");
        } else {
            let before = self.before().await?;
            version_id = Some(self.new_version().await?);
            came_in.push(self.follow(before, None).await?);
        }
        looks.extend(self.looks_between(&at_night, &morning).await?);
        self.check(SLEPT, &Slept { came_in, looks });
        self.heading(&morning, "morning");
        let before = self.before().await?;
        let look = self.look_at(&morning, true).await?;
        let act = self.follow(before, None).await?;
        let rung = self.ring("once it is awake").await?;
        self.it_is_any_time();
        let seen = Woke {
            look,
            act,
            digest,
            version_id,
            variables,
            rung,
        };
        Ok(self.check(WOKE, &seen))
    }

    /// A week of holidays, on the seventh day of which RDS starts the database.
    /// Whether it is awake at the end.
    pub(super) async fn holidays(&mut self) -> Result<bool> {
        let calendar = self.calendar;
        let last_evening = calendar.last_evening();
        self.heading(&last_evening, "the evening before a week of holidays");
        let told = self.told_at_all().await?;
        let evening = self.look_at(&last_evening, true).await?;
        let asleep: f64 = evening.ends.iter().map(|end| end.seconds).sum();
        let seventh_day = &later(&last_evening, asleep.round()) + SEVEN_DAYS;
        let (before, after): (Vec<_>, Vec<_>) = calendar
            .holidays()
            .into_iter()
            .partition(|noon| *noon < seventh_day);
        self.stage
            .heading("Holidays: a look at noon of each, of the 48 of a day");
        let mut looks = Vec::new();
        for noon in &before {
            looks.push(self.look_at(noon, false).await?);
        }
        self.show_looks(&looks);
        if evening.is_asleep().is_err() || looks.iter().any(|look| look.is_asleep().is_err()) {
            self.it_is_any_time();
            let seen = Holidays {
                evening,
                looks,
                woken: None,
            };
            return Ok(self.check(HOLIDAYS, &seen));
        }
        self.heading(
            &seventh_day,
            "RDS starts a database that is stopped for seven days",
        );
        let look = self.seventh_day(&seventh_day).await?;
        let told = self.told_at_all().await?.split_off(told.len());
        self.check(SEVENTH_DAY, &SeventhDay { look, told });
        for noon in &after {
            looks.push(self.look_at(noon, false).await?);
        }
        let back_at_work = calendar.back_at_work();
        self.heading(&back_at_work, "the first morning after the holidays");
        let before = self.before().await?;
        let morning = self.look_at(&back_at_work, true).await?;
        let act = self.follow(before, None).await?;
        self.it_is_any_time();
        let seen = Holidays {
            evening,
            looks,
            woken: Some((morning, act)),
        };
        Ok(self.check(HOLIDAYS, &seen))
    }

    pub(super) fn heading(&mut self, at: &Zoned, what: &str) {
        let zone = at.time_zone().iana_name().unwrap_or_default();
        self.stage
            .heading(&format!("{} in {zone}: {what}", long(at)));
        self.it_is(at.clone());
    }

    /// The schedule that the template declares fires by itself on AWS. Here it fires at the moments that its own expression
    /// names, and at those only that are played.
    async fn schedule(&mut self) -> Result<bool> {
        let looks = self.calendar.looks();
        let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
            return Ok(false);
        };
        let schedules = self.schedules(PARK, first, last).await?;
        self.stage.heading("The schedule of the template");
        for Schedule {
            name,
            expression,
            time_zone,
            fires,
            ..
        } in &schedules
        {
            line(format_args!(
                "           {name} fires at {expression} in {time_zone}: {} times until {}",
                fires.len(),
                long(last)
            ));
        }
        line(
            "           Only these days are played: a time that is not of the schedule is that of this machine.",
        );
        let needed = looks.iter().map(instant).collect();
        let seen = Scheduled {
            schedules,
            time_zone: self.calendar.zone_name().into(),
            needed,
        };
        Ok(self.check(SCHEDULED, &seen))
    }

    /// The schedules of a state machine, with the moments from one on and up to another.
    pub(super) async fn schedules(
        &self,
        machine: &str,
        from: &Zoned,
        until: &Zoned,
    ) -> Result<Vec<Schedule>> {
        let machine = self.stage.outputs.get(machine)?;
        let local = &self.stage.local;
        let until = instant(&later(until, 1.0));
        let mut schedules = local.schedules(&instant(from), &until).await?;
        schedules.retain(|schedule| schedule.target == machine);
        Ok(schedules)
    }

    /// Lets the schedule fire at a moment of its own, and waits until what it starts has ended.
    async fn look_at(&mut self, at: &Zoned, aloud: bool) -> Result<Look> {
        let fires = instant(at);
        let known = self.known(PARK).await?;
        self.stage.forget_calls().await?;
        self.it_is(at.clone());
        let schedules = self.schedules(PARK, at, at).await?;
        match schedules.iter().find(|it| it.fires.contains(&fires)) {
            Some(schedule) => {
                self.stage
                    .local
                    .fire_schedule(&schedule.name, &fires)
                    .await?
            }
            None => line(format_args!("           no schedule fires at {fires}")),
        }
        self.looked(at, known, aloud).await
    }

    /// The looks that the schedule names after a moment and before another.
    async fn looks_between(&mut self, after: &Zoned, before: &Zoned) -> Result<Vec<Look>> {
        let schedules = self
            .schedules(PARK, &later(after, 1.0), &later(before, -2.0))
            .await?;
        let fires: Vec<String> = schedules.into_iter().flat_map(|it| it.fires).collect();
        let mut looks = Vec::new();
        for at in fires.iter().filter_map(|at| at.parse().ok()) {
            let at: jiff::Timestamp = at;
            let at = at.to_zoned(self.calendar.zone().clone());
            looks.push(self.look_at(&at, false).await?);
        }
        self.show_looks(&looks);
        Ok(looks)
    }

    fn show_looks(&self, looks: &[Look]) {
        if let (Some(first), Some(last)) = (looks.first(), looks.last()) {
            let asleep = looks.iter().filter(|look| look.is_asleep().is_ok()).count();
            line(format_args!(
                "           {} looks from {} to {}: {asleep} found it asleep, and left it so",
                looks.len(),
                first.at,
                last.at
            ));
        }
    }

    /// RDS starts the database, and says so.
    async fn seventh_day(&mut self, at: &Zoned) -> Result<Look> {
        let known = self.known(PARK).await?;
        self.stage.forget_calls().await?;
        let database = self.spec.stack().name();
        self.stage
            .local
            .seven_days_end(&database, &instant(at))
            .await?;
        line(format_args!(
            "           {DIM}the rehearsal lets seven days end: RDS tells RDS-EVENT-0154 of {database}{DIM:#}"
        ));
        self.looked(at, known, true).await
    }

    /// Waits for the execution of `park` that begins, for its end and those of what it starts, and watches the stack meanwhile.
    async fn looked(&mut self, at: &Zoned, known: HashSet<String>, aloud: bool) -> Result<Look> {
        let seen = RefCell::new(Vec::new());
        let ends = tokio::select! {
            ends = self.ends(PARK, known, aloud) => ends?,
            failed = self.watch(&seen, aloud) => return Err(match failed {
                Ok(never) => match never {},
                Err(error) => error,
            }),
        };
        let mut seen = seen.into_inner();
        seen.push(self.moment().await?);
        let (alarms_on, alarms_off) = self.alarms().await?;
        let look = Look {
            stack: self.spec.stack().name(),
            at: at.strftime("%a %Y-%m-%d %H:%M").to_string(),
            ends,
            calls: self.stage.calls().await?,
            seen,
            alarms_on,
            alarms_off,
        };
        if aloud {
            line(format_args!(
                "           {} alarms tell, {} are silent",
                look.alarms_on.len(),
                look.alarms_off.len()
            ));
        }
        self.looks.push(look.clone());
        Ok(look)
    }

    /// Follows the execution of a state machine that begins to its end, and those of the same machine that it starts.
    pub(super) async fn ends(
        &self,
        machine: &str,
        mut known: HashSet<String>,
        aloud: bool,
    ) -> Result<Vec<End>> {
        let since = Instant::now();
        let mut ends = Vec::new();
        loop {
            let mut new = self.executions_of(machine).await?;
            new.retain(|execution| known.insert(execution.arn().to_owned()));
            if new.is_empty() {
                if !ends.is_empty() {
                    return Ok(ends);
                }
                if since.elapsed() >= HEARS {
                    line("           no execution began");
                    return Ok(ends);
                }
                tokio::time::sleep(POLL).await;
            }
            for execution in new {
                if !aloud {
                    ends.push(execution.end().await?);
                    continue;
                }
                let dial = self.dial(&execution).await?;
                let end = self
                    .stage
                    .follow(execution, &dial, async |_| Ok(()))
                    .await?;
                ended(&end, &dial);
                for sentence in end.message.lines() {
                    line(format_args!("           {sentence}"));
                }
                ends.push(end);
            }
        }
    }

    async fn executions_of(&self, machine: &str) -> Result<Vec<Execution>> {
        let machine = self.stage.outputs.get(machine)?;
        self.stage.local.executions(machine, "").await
    }

    pub(super) async fn known(&self, machine: &str) -> Result<HashSet<String>> {
        let executions = self.executions_of(machine).await?;
        let arns = executions
            .iter()
            .map(|execution| execution.arn().to_owned());
        Ok(arns.collect())
    }

    /// Writes down what the stack is, again and again, and shows each change.
    async fn watch(&self, seen: &RefCell<Vec<Moment>>, aloud: bool) -> Result<Infallible> {
        loop {
            let moment = self.moment().await?;
            let is = (moment.service, moment.database.clone());
            let last = seen
                .borrow()
                .last()
                .map(|last| (last.service, last.database.clone()));
            if aloud && last.is_some_and(|last| last != is) {
                line(format_args!(
                    "           {DIM}service {}, database {}{DIM:#}",
                    moment.service.as_str(),
                    moment.database
                ));
            }
            seen.borrow_mut().push(moment);
            tokio::time::sleep(POLL).await;
        }
    }

    async fn moment(&self) -> Result<Moment> {
        Ok(Moment {
            database_before: self.database().await?,
            service: self.look()?.status,
            database: self.database().await?,
        })
    }

    async fn database(&self) -> Result<String> {
        let describe = self.stage.local.aws().rds().describe_db_instances();
        let described = describe
            .db_instance_identifier(self.spec.stack().name())
            .send()
            .await
            .map_err(Error::call("rds:DescribeDBInstances"))?;
        let status = described
            .db_instances()
            .first()
            .and_then(|database| database.db_instance_status());
        Ok(status.unwrap_or_default().to_owned())
    }

    /// The alarms of the stack whose actions are on, and those whose actions are off.
    pub(super) async fn alarms(&self) -> Result<(Vec<String>, Vec<String>)> {
        let cloudwatch = self.stage.local.aws().cloudwatch();
        let described = cloudwatch
            .describe_alarms()
            .alarm_name_prefix(self.spec.stack().part(""))
            .send()
            .await
            .map_err(Error::call("cloudwatch:DescribeAlarms"))?;
        let (on, off): (Vec<_>, Vec<_>) = described
            .metric_alarms
            .unwrap_or_default()
            .into_iter()
            .partition(|alarm| alarm.actions_enabled == Some(true));
        let names = |alarms: Vec<aws_sdk_cloudwatch::types::MetricAlarm>| {
            let names = alarms.into_iter().filter_map(|alarm| alarm.alarm_name);
            names.collect()
        };
        Ok((names(on), names(off)))
    }

    /// Turns an alarm red, and listens.
    async fn ring(&self, when: &str) -> Result<Rung> {
        let alarm = Stack::watcher(&self.spec.stack().part("server-errors"));
        let before = self.told_at_all().await?.len();
        line(format_args!(
            "           {DIM}the rehearsal turns the alarm {alarm} red {when}{DIM:#}"
        ));
        self.turn(&alarm, StateValue::Alarm).await?;
        tokio::time::sleep(QUIET).await;
        let told = self.told_at_all().await?.split_off(before);
        self.turn(&alarm, StateValue::Ok).await?;
        line(match told.len() {
            0 => "           nobody is told",
            _ => "           it is told",
        });
        Ok(Rung { alarm, told })
    }

    /// On any topic.
    async fn told_at_all(&self) -> Result<Vec<crate::Notification>> {
        self.stage.local.notifications().await
    }

    pub(super) async fn keep_awake(&self, until: &Zoned) -> Result<()> {
        let arn = self.look()?.arn;
        let until = instant(until);
        line(format_args!(
            "           $ aws apprunner tag-resource --resource-arn {arn} --tags Key={TAG_AWAKE_UNTIL},Value={until}"
        ));
        let tag = Tag::builder().key(TAG_AWAKE_UNTIL).value(until).build();
        let tagged = self.stage.local.aws().apprunner().tag_resource();
        tagged
            .resource_arn(arn)
            .tags(tag)
            .send()
            .await
            .map(drop)
            .map_err(Error::call("apprunner:TagResource"))
    }
}
