//! What is looked at over nights, mornings and a week of holidays: what sleeps, what is awake, and who is told.

use super::deployments::{Act, outcome};
use super::{Promise, Verdict, described, kept_if};
use crate::End;
use crate::console::clock;
use crate::local_aws::{Call, Notification, Schedule};
use apprunner_emulator::{OperationStatus, OperationType, ServiceStatus};
use groundcrew::image;
use serde_json::Value;

/// The service and the database of a stack at one moment. The database is asked before the service and once more after
/// it, so that whatever comes between two questions is not taken for a wrong order.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// The service.
    pub service: ServiceStatus,
    /// RDS's status of the database, asked before the service.
    pub database_before: String,
    /// The same, asked after the service.
    pub database: String,
}

/// One look of `park`, and what came of it.
#[derive(Clone, Debug)]
pub struct Look {
    /// The name of the stack that it is about.
    pub stack: String,
    /// When it was, in the time zone of the schedule, for a person.
    pub at: String,
    /// How the executions of `park` ended that began: the look, and those that it started.
    pub ends: Vec<End>,
    /// The calls of functions and state machines meanwhile.
    pub calls: Vec<Call>,
    /// What was seen while it lasted; the last one is from after its end.
    pub seen: Vec<Moment>,
    /// The alarms of the stack whose actions are on afterwards.
    pub alarms_on: Vec<String>,
    /// The alarms of the stack whose actions are off afterwards.
    pub alarms_off: Vec<String>,
}

impl Look {
    fn ended(&self) -> Result<&End, String> {
        let at = &self.at;
        let look = self.ends.first();
        let look = look.ok_or_else(|| format!("{at}: no execution of park began"))?;
        match self.ends.iter().find(|end| !end.succeeded) {
            Some(end) => Err(format!(
                "{at}: park ended with {}: {}",
                end.error, end.message
            )),
            None => Ok(look),
        }
    }

    /// What the plan says about the stack.
    fn row(&self) -> Result<&Value, String> {
        let rows = self.ended()?.output["stacks"].as_array();
        let mut rows = rows.into_iter().flatten();
        let row = rows.find(|row| row["stack"] == self.stack.as_str());
        row.ok_or_else(|| format!("{}: the plan does not name {}", self.at, self.stack))
    }

    /// Of the plan's row: why, for a person.
    fn reason(&self) -> Result<&str, String> {
        Ok(self.row()?["reason"].as_str().unwrap_or_default())
    }

    fn decided(&self, action: &str) -> Result<&Value, String> {
        let row = self.row()?;
        kept_if(row["action"] == action, || {
            format!(
                "{}: park was to {action} and not to {}: {}",
                self.at,
                row["action"],
                row["reason"].as_str().unwrap_or_default()
            )
        })?;
        Ok(row)
    }

    /// Of the function alone: Step Functions calls it, its runtime writes logs, and a look starts an execution of `park` itself for
    /// each stack that has something to do.
    fn calls_of_park(&self) -> impl Iterator<Item = &Call> {
        let own = |call: &&Call| call.principal.contains("-ParkFunctionRole-");
        let of_the_runtime = |call: &&Call| {
            let mut services = ["logs:", "xray:"].iter();
            services.any(|service| call.action.starts_with(service))
        };
        let of_the_look = |call: &&Call| {
            call.action == "states:StartExecution" && call.resource.contains("ParkStateMachine")
        };
        let calls = self.calls.iter().filter(own);
        calls.filter(move |call| !of_the_runtime(call) && !of_the_look(call))
    }

    /// It looked, and touched nothing.
    fn left_it(&self) -> Result<(), String> {
        self.decided("leave")?;
        let writes: Vec<_> = self
            .calls_of_park()
            .filter(|call| call.writes())
            .map(described)
            .collect();
        kept_if(writes.is_empty(), || {
            format!("{}: it called {}", self.at, writes.join(", "))
        })
    }

    fn last(&self) -> Result<&Moment, String> {
        let last = self.seen.last();
        last.ok_or_else(|| format!("{}: nothing was seen", self.at))
    }

    /// Whether everything sleeps by now and nothing would tell.
    pub fn is_asleep(&self) -> Result<(), String> {
        self.stands(ServiceStatus::Paused, "stopped")?;
        kept_if(
            self.alarms_on.is_empty() && !self.alarms_off.is_empty(),
            || format!("{}: these alarms are on: {:?}", self.at, self.alarms_on),
        )
    }

    /// Whether everything is awake by now and would tell.
    pub fn is_awake(&self) -> Result<(), String> {
        self.stands(ServiceStatus::Running, "available")?;
        kept_if(
            self.alarms_off.is_empty() && !self.alarms_on.is_empty(),
            || format!("{}: these alarms are off: {:?}", self.at, self.alarms_off),
        )
    }

    fn stands(&self, service: ServiceStatus, database: &str) -> Result<(), String> {
        let last = self.last()?;
        kept_if(last.service == service && last.database == database, || {
            format!(
                "{}: the service is {} and the database {}, not {} and {database}",
                self.at,
                last.service.as_str(),
                last.database,
                service.as_str()
            )
        })
    }

    /// Whether each of these was called, and none before those that precede it.
    fn called_in_order(&self, actions: &[&str]) -> Result<(), String> {
        let calls: Vec<_> = self
            .calls_of_park()
            .filter(|call| call.error.is_none())
            .map(|call| call.action.as_str())
            .collect();
        let mut after = 0;
        for (n, action) in actions.iter().enumerate() {
            let first = calls.iter().position(|call| call == action);
            let first = first.ok_or_else(|| format!("{}: nobody called {action}", self.at))?;
            kept_if(first >= after, || {
                let before = actions.get(n.wrapping_sub(1)).unwrap_or(action);
                format!("{}: {action} was called before {before}", self.at)
            })?;
            let last = calls.iter().rposition(|call| call == action);
            after = last.unwrap_or(first);
        }
        Ok(())
    }

    /// Of the look, and of what it started one after the other.
    fn figures(&self) -> String {
        let transitions: usize = self.ends.iter().map(|end| end.transitions).sum();
        let seconds: f64 = self.ends.iter().map(|end| end.seconds).sum();
        format!(
            "{transitions} state transitions, {} API calls, {} of AWS's time",
            self.calls_of_park().count(),
            clock(seconds)
        )
    }
}

/// What an alarm led to that turned red.
#[derive(Clone, Debug)]
pub struct Rung {
    /// The alarm's name.
    pub alarm: String,
    /// What was told, on any topic.
    pub told: Vec<Notification>,
}

/// The schedule as the template declares it.
#[derive(Debug)]
pub struct Scheduled {
    /// All schedules that start `park`.
    pub schedules: Vec<Schedule>,
    /// The time zone that the template was deployed with.
    pub time_zone: String,
    /// The moments that a night, a morning and the holidays need a look at, `2026-11-23T19:00:00Z`.
    pub needed: Vec<String>,
}

/// Promises about the schedule.
pub const SCHEDULED: &[Promise<Scheduled>] = &[Promise {
    id: "O6",
    sentence: "A schedule in the time zone of the people looks every half hour",
    check: |seen| {
        let [schedule] = seen.schedules.as_slice() else {
            return Err(format!("{} schedules start park", seen.schedules.len()));
        };
        let Schedule {
            expression,
            time_zone,
            state,
            fires,
            ..
        } = schedule;
        kept_if(state == "ENABLED", || format!("it is {state}"))?;
        kept_if(*time_zone == seen.time_zone, || {
            format!("its time zone is {time_zone} and not {}", seen.time_zone)
        })?;
        let mut needed = seen.needed.iter();
        match needed.find(|needed| !fires.contains(needed)) {
            Some(missing) => Err(format!(
                "{expression} in {time_zone} does not fire at {missing}"
            )),
            None => Ok(format!(
                "{expression} in {time_zone} fires {} times in the days that are played",
                fires.len()
            )),
        }
    },
}];

/// What cannot be parked.
pub const UNPARKABLE: &[Promise<Look>] = &[Promise {
    id: "O7",
    sentence: "What cannot be parked is said, and not touched",
    check: |look| {
        look.left_it()?;
        look.is_awake()?;
        let reason = look.reason()?;
        kept_if(reason.contains("cannot be parked"), || {
            format!("its reason is {reason}")
        })?;
        Ok(reason.to_owned())
    },
}];

/// After an evening on which somebody worked late.
#[derive(Debug)]
pub struct KeptAwake {
    /// The look in the evening.
    pub evening: Look,
    /// The look when the time of the tag had come.
    pub later: Look,
}

/// Promises about the tag that keeps awake.
pub const KEPT_AWAKE: &[Promise<KeptAwake>] = &[Promise {
    id: "O7",
    sentence: "groundcrew:awake-until keeps a stack awake until then, and expires by itself",
    check: |seen| {
        seen.evening.left_it()?;
        seen.evening.is_awake()?;
        let reason = seen.evening.reason()?;
        kept_if(reason.contains("groundcrew:awake-until"), || {
            format!("it was left awake because {reason}")
        })?;
        seen.later.decided("pause")?;
        Ok(format!(
            "{}: {reason}; {}: it fell asleep",
            seen.evening.at, seen.later.at
        ))
    },
}];

/// After a stack was put to sleep.
#[derive(Debug)]
pub struct FellAsleep {
    /// A look while it was day.
    pub day: Look,
    /// The look that put it to sleep.
    pub night: Look,
    /// An alarm that turned red afterwards.
    pub rung: Rung,
}

/// Promises about an evening.
pub const FELL_ASLEEP: &[Promise<FellAsleep>] = &[
    Promise {
        id: "O6",
        sentence: "By night the services are paused, and then the database is stopped",
        check: |seen| {
            seen.day.left_it()?;
            let look = &seen.night;
            let row = look.decided("pause")?;
            look.is_asleep()?;
            look.called_in_order(&["apprunner:PauseService", "rds:StopDBInstance"])?;
            let too_early = |seen: &&Moment| {
                seen.database_before != "available" && seen.service != ServiceStatus::Paused
            };
            if let Some(Moment {
                service,
                database_before,
                ..
            }) = look.seen.iter().find(too_early)
            {
                return Err(format!(
                    "the database was {database_before} while the service was {}",
                    service.as_str()
                ));
            }
            let saving = &row["saving"];
            Ok(format!(
                "{}; {} hours of sleep save ${}",
                look.figures(),
                saving["hours"],
                saving["dollars"]
            ))
        },
    },
    Promise {
        id: "O8",
        sentence: "Its alarms are silent before the first service is paused, and tell nobody while it sleeps",
        check: |seen| {
            let look = &seen.night;
            look.called_in_order(&["cloudwatch:DisableAlarmActions", "apprunner:PauseService"])?;
            kept_if(
                look.alarms_on.is_empty() && !look.alarms_off.is_empty(),
                || format!("these are on: {:?}", look.alarms_on),
            )?;
            let Rung { alarm, told } = &seen.rung;
            told_nobody(told)?;
            Ok(format!(
                "{} alarms are silent; {alarm} turned red, and nobody was told",
                look.alarms_off.len()
            ))
        },
    },
];

fn told_nobody(told: &[Notification]) -> Result<(), String> {
    let subjects = told.iter().map(|told| told.subject.as_deref());
    let subjects: Vec<_> = subjects.map(Option::unwrap_or_default).collect();
    kept_if(subjects.is_empty(), || format!("it was told: {subjects:?}"))
}

/// After a night in which something came in.
#[derive(Debug)]
pub struct Slept {
    /// What a push, and a rotation, led to.
    pub came_in: Vec<Act>,
    /// The looks of the night.
    pub looks: Vec<Look>,
}

/// Promises about a night.
pub const SLEPT: &[Promise<Slept>] = &[
    Promise {
        id: "O4",
        sentence: "A push or a rotation for what is paused deploys nothing, and wakes nothing",
        check: |seen| {
            for act in &seen.came_in {
                act.left_it()?;
                kept_if(!act.executions.is_empty(), || {
                    "no execution of deploy heard of it".into()
                })?;
                kept_if(act.after.status == ServiceStatus::Paused, || {
                    format!("the service is {}", act.after.status.as_str())
                })?;
            }
            let ends = seen.came_in.iter().flat_map(|act| &act.executions);
            let mut reasons: Vec<_> = ends
                .filter_map(|end| end.output["reason"].as_str())
                .collect();
            reasons.dedup();
            Ok(reasons.join("; "))
        },
    },
    Promise {
        id: "O6",
        sentence: "Each look of the night leaves asleep what sleeps",
        check: |seen| {
            for look in &seen.looks {
                look.left_it()?;
                look.is_asleep()?;
            }
            Ok(looks(&seen.looks))
        },
    },
];

fn looks(looks: &[Look]) -> String {
    let ends = looks.iter().flat_map(|look| &look.ends);
    let transitions: usize = ends.map(|end| end.transitions).sum();
    let (count, first, last) = (looks.len(), looks.first(), looks.last());
    let at = |look: Option<&Look>| look.map_or(String::new(), |look| look.at.clone());
    format!(
        "{count} looks from {} to {}, {transitions} state transitions together",
        at(first),
        at(last)
    )
}

/// After a stack was woken.
#[derive(Debug)]
pub struct Woke {
    /// The look that woke it.
    pub look: Look,
    /// What was deployed then.
    pub act: Act,
    /// The image that was pushed in the night.
    pub digest: String,
    /// The version of the secret that was made in the night, if one was.
    pub version_id: Option<String>,
    /// The variables that hold a part of it.
    pub variables: Vec<String>,
    /// An alarm that turned red afterwards.
    pub rung: Rung,
}

/// Promises about a morning.
pub const WOKE: &[Promise<Woke>] = &[
    Promise {
        id: "O6",
        sentence: "In the morning the database is started, and once it is available the services are resumed",
        check: |seen| wakes(&seen.look, &seen.act),
    },
    Promise {
        id: "O4",
        sentence: "What came in while it slept arrives in one deployment, of the newest image with the current secrets",
        check: |seen| {
            let Woke {
                act,
                digest,
                version_id,
                ..
            } = seen;
            // Not by App Runner's event alone, which may not come.
            seen.look
                .called_in_order(&["apprunner:ResumeService", "states:StartExecution"])?;
            let succeeded = |kind| (kind, OperationStatus::Succeeded);
            act.operations_are(&[
                succeeded(OperationType::ResumeService),
                succeeded(OperationType::UpdateService),
            ])?;
            let outcomes: Vec<_> = act.executions.iter().map(outcome).collect();
            let mut others = outcomes.clone();
            others.retain(|of| *of != "Nothing");
            kept_if(others == ["Deployed"], || {
                format!("the executions of deploy ended with {outcomes:?}")
            })?;
            act.runs(digest)?;
            for variable in version_id.iter().flat_map(|_| &seen.variables) {
                let version = act.after.runs.secret_versions.get(variable);
                kept_if(version == version_id.as_ref(), || {
                    format!("{variable} is of version {version:?}")
                })?;
            }
            let short = image::short(digest);
            Ok(match version_id.as_ref().and_then(|id| id.get(..8)) {
                Some(version) => format!("one UpdateService, to {short} with version {version}"),
                None => format!("one UpdateService, to {short}"),
            })
        },
    },
    Promise {
        id: "O8",
        sentence: "Once it is awake its alarms tell again",
        check: |seen| {
            seen.look
                .called_in_order(&["apprunner:ResumeService", "cloudwatch:EnableAlarmActions"])?;
            kept_if(seen.look.alarms_off.is_empty(), || {
                format!("these are off: {:?}", seen.look.alarms_off)
            })?;
            let Rung { alarm, told } = &seen.rung;
            kept_if(told.iter().any(|told| told.message.contains(alarm)), || {
                format!("{alarm} turned red, and nobody was told")
            })?;
            Ok(format!(
                "{} alarms tell; {alarm} turned red, and it was told",
                seen.look.alarms_on.len()
            ))
        },
    },
];

fn wakes(look: &Look, act: &Act) -> Verdict {
    look.decided("resume")?;
    // What came in is being deployed when the look ends: whether the service runs is seen after that.
    let awake = Moment {
        service: act.after.status,
        ..look.last()?.clone()
    };
    let seen = vec![awake];
    Look {
        seen,
        ..look.clone()
    }
    .is_awake()?;
    look.called_in_order(&["rds:StartDBInstance", "apprunner:ResumeService"])?;
    let too_early =
        |seen: &&Moment| seen.service != ServiceStatus::Paused && seen.database != "available";
    if let Some(Moment {
        service, database, ..
    }) = look.seen.iter().find(too_early)
    {
        return Err(format!(
            "the service was {} while the database was {database}",
            service.as_str()
        ));
    }
    Ok(look.figures())
}

/// After the seventh day of a sleep.
#[derive(Debug)]
pub struct SeventhDay {
    /// The look that RDS's event led to.
    pub look: Look,
    /// What was told, on any topic, since the stack fell asleep.
    pub told: Vec<Notification>,
}

/// Promises about a database that RDS starts.
pub const SEVENTH_DAY: &[Promise<SeventhDay>] = &[Promise {
    id: "O7",
    sentence: "The database that RDS starts by itself after seven days is stopped again, and nobody is told",
    check: |seen| {
        let look = &seen.look;
        let row = look.decided("pause")?;
        let reason = row["reason"].as_str().unwrap_or_default();
        look.called_in_order(&["rds:StopDBInstance"])?;
        look.is_asleep()?;
        let woken = |seen: &&Moment| seen.service != ServiceStatus::Paused;
        if let Some(woken) = look.seen.iter().find(woken) {
            return Err(format!(
                "the service was {} meanwhile",
                woken.service.as_str()
            ));
        }
        told_nobody(&seen.told)?;
        Ok(format!("{reason}; {}", look.figures()))
    },
}];

/// After days that are none of work.
#[derive(Debug)]
pub struct Holidays {
    /// The look of the evening before.
    pub evening: Look,
    /// A look on each of them, by day.
    pub looks: Vec<Look>,
    /// The look of the morning after, and what came of it; `None` if there was nothing to be woken.
    pub woken: Option<(Look, Act)>,
}

/// Promises about holidays.
pub const HOLIDAYS: &[Promise<Holidays>] = &[Promise {
    id: "O7",
    sentence: "Over holidays it stays parked, and it is woken on the first day of work",
    check: |seen| {
        seen.evening.decided("pause")?;
        seen.evening.is_asleep()?;
        for look in &seen.looks {
            look.left_it()?;
            look.is_asleep()?;
        }
        let (morning, act) = seen.woken.as_ref().ok_or("it was not to be woken")?;
        wakes(morning, act)?;
        let resumed = (OperationType::ResumeService, OperationStatus::Succeeded);
        act.operations_are(&[resumed])?;
        Ok(format!(
            "{}; awake since {}",
            looks(&seen.looks),
            morning.at
        ))
    },
}];

/// Promises about every look that was played.
pub const LOOKED_AFTER: &[Promise<Vec<Look>>] = &[Promise {
    id: "IAM",
    sentence: "Every call for parking was allowed by the policies of its caller",
    check: |looks| {
        let calls = || looks.iter().flat_map(|look| &look.calls);
        let denied: Vec<_> = calls()
            .filter(|call| !call.allowed)
            .map(described)
            .collect();
        kept_if(denied.is_empty(), || {
            format!("denied: {}", denied.join(", "))
        })?;
        Ok(format!(
            "{} calls in {} looks",
            calls().count(),
            looks.len()
        ))
    },
}];

#[cfg(test)]
mod tests {
    use super::super::{Checked, check};
    use super::*;
    use apprunner_emulator::{OperationSnapshot, RunningSnapshot, ServiceSnapshot};
    use serde_json::json;
    use std::collections::BTreeMap;

    const NEW: &str = "sha256:4e3";
    const PAUSE: [&str; 3] = [
        "cloudwatch:DisableAlarmActions",
        "apprunner:PauseService",
        "rds:StopDBInstance",
    ];
    const RESUME: [&str; 4] = [
        "rds:StartDBInstance",
        "apprunner:ResumeService",
        "cloudwatch:EnableAlarmActions",
        "states:StartExecution",
    ];

    fn end(output: Value) -> End {
        End {
            succeeded: true,
            output,
            error: String::new(),
            message: String::new(),
            seconds: 600.0,
            happenings: Vec::new(),
            transitions: 14,
        }
    }

    fn call(action: &str) -> Call {
        Call {
            n: 1,
            at: 0.0,
            principal: "groundcrew-ParkFunctionRole-0A".into(),
            action: action.into(),
            resource: "*".into(),
            implied: Vec::new(),
            checks: Vec::new(),
            allowed: true,
            status: 200,
            error: None,
        }
    }

    fn moment(service: ServiceStatus, database: &str) -> Moment {
        Moment {
            service,
            database_before: database.into(),
            database: database.into(),
        }
    }

    fn look(action: &str, reason: &str, calls: &[&str], seen: &[(ServiceStatus, &str)]) -> Look {
        let row = json!({
            "stack": "shop-dev", "action": action, "reason": reason, "saving": {"hours": 11.0, "dollars": 0.33},
        });
        let alarms = vec!["shop-dev-server-errors".to_owned()];
        let asleep = matches!(seen.last(), Some((ServiceStatus::Paused, _)));
        Look {
            stack: "shop-dev".into(),
            at: "Mon 2026-11-23 20:00".into(),
            ends: vec![end(json!({"stacks": [row]}))],
            calls: calls.iter().map(|action| call(action)).collect(),
            seen: seen
                .iter()
                .map(|(service, database)| moment(*service, database))
                .collect(),
            alarms_on: if asleep { Vec::new() } else { alarms.clone() },
            alarms_off: if asleep { alarms } else { Vec::new() },
        }
    }

    use ServiceStatus::{OperationInProgress, Paused, Running};

    fn paused() -> Look {
        let seen = [
            (Running, "available"),
            (Paused, "available"),
            (Paused, "stopping"),
            (Paused, "stopped"),
        ];
        look("pause", "it is night", &PAUSE, &seen)
    }

    fn resumed() -> Look {
        let seen = [
            (Paused, "starting"),
            (Paused, "available"),
            (OperationInProgress, "available"),
            (Running, "available"),
        ];
        look("resume", "it is day", &RESUME, &seen)
    }

    fn left(service: ServiceStatus, database: &str, reason: &str) -> Look {
        look(
            "leave",
            reason,
            &["tag:GetResources"],
            &[(service, database)],
        )
    }

    fn told(alarm: &str) -> Notification {
        Notification {
            topic: "arn:aws:sns:us-east-1:123456789012:shop-dev-alarms".into(),
            subject: Some(format!("ALARM: {alarm}")),
            message: format!("{alarm} is in ALARM"),
            at: 0.0,
        }
    }

    fn rung(told: Vec<Notification>) -> Rung {
        Rung {
            alarm: "shop-dev-server-errors".into(),
            told,
        }
    }

    fn act(operations: &[OperationType], outcomes: &[&str], status: ServiceStatus) -> Act {
        let service = |operations: &[OperationType], status| ServiceSnapshot {
            name: "shop-dev".into(),
            arn: "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a".into(),
            status,
            description: Value::Null,
            tags: BTreeMap::new(),
            operations: operations
                .iter()
                .enumerate()
                .rev()
                .map(|(n, kind)| OperationSnapshot {
                    id: n.to_string(),
                    operation_type: *kind,
                    status: OperationStatus::Succeeded,
                    cause: None,
                })
                .collect(),
            runs: RunningSnapshot {
                image_digest: Some(NEW.into()),
                secret_versions: BTreeMap::from([("PASSWORD".to_owned(), "v2".to_owned())]),
            },
        };
        let created = [OperationType::CreateService];
        Act {
            before: service(&created, Paused),
            after: service(&[&created[..], operations].concat(), status),
            executions: outcomes
                .iter()
                .map(|of| end(json!({"outcome": of, "reason": "it is paused"})))
                .collect(),
            told: Vec::new(),
            calls: Vec::new(),
        }
    }

    /// The sentences of the promises that are broken, by how they begin.
    fn broken<Scene>(promises: &[Promise<Scene>], scene: &Scene) -> Vec<&'static str> {
        let checked = check(promises, scene).into_iter();
        let broken = checked.filter(|checked| checked.verdict.is_err());
        let words = |Checked { sentence, .. }: Checked| sentence.split(' ').next().unwrap_or("");
        broken.map(words).collect()
    }

    #[test]
    fn a_schedule_that_is_off_elsewhere_or_looks_too_seldom_breaks_the_promise() {
        let schedule = Schedule {
            name: "groundcrew-park".into(),
            group: "default".into(),
            expression: "cron(0/30 * * * ? *)".into(),
            time_zone: "Europe/Berlin".into(),
            state: "ENABLED".into(),
            target: "arn".into(),
            fires: vec!["2026-11-23T19:00:00Z".into(), "2026-11-23T19:30:00Z".into()],
        };
        let is_kept = |schedules: Vec<Schedule>| {
            let needed = vec!["2026-11-23T19:30:00Z".into()];
            broken(
                SCHEDULED,
                &Scheduled {
                    schedules,
                    time_zone: "Europe/Berlin".into(),
                    needed,
                },
            )
            .is_empty()
        };
        assert!(is_kept(vec![schedule.clone()]));
        assert!(!is_kept(Vec::new()));
        assert!(!is_kept(vec![schedule.clone(), schedule.clone()]));
        assert!(!is_kept(vec![Schedule {
            state: "DISABLED".into(),
            ..schedule.clone()
        }]));
        assert!(!is_kept(vec![Schedule {
            time_zone: "UTC".into(),
            ..schedule.clone()
        }]));
        let fires = vec!["2026-11-23T19:00:00Z".into()];
        assert!(!is_kept(vec![Schedule { fires, ..schedule }]));
    }

    #[test]
    fn a_tag_that_keeps_nothing_awake_or_for_ever_breaks_the_promise() {
        let tagged = || {
            left(
                Running,
                "available",
                "groundcrew:awake-until keeps it awake",
            )
        };
        let is_kept = |evening, later| broken(KEPT_AWAKE, &KeptAwake { evening, later }).is_empty();
        assert!(is_kept(tagged(), paused()));
        assert!(!is_kept(paused(), paused()));
        assert!(!is_kept(tagged(), tagged()));
        assert!(
            !is_kept(left(Running, "available", "it is day"), paused()),
            "the tag is not why"
        );
    }

    #[test]
    fn an_evening_in_another_order_or_half_done_breaks_the_promise() {
        let day = || left(Running, "available", "it is day");
        let of = |night: Look| {
            broken(
                FELL_ASLEEP,
                &FellAsleep {
                    day: day(),
                    night,
                    rung: rung(Vec::new()),
                },
            )
        };
        assert!(of(paused()).is_empty());
        let with_calls = |calls: [&str; 3]| Look {
            calls: calls.map(call).into(),
            ..paused()
        };
        assert_eq!(of(with_calls([PAUSE[0], PAUSE[2], PAUSE[1]])), ["By"]);
        assert_eq!(of(with_calls([PAUSE[1], PAUSE[0], PAUSE[2]])), ["Its"]);
        let mut early = paused();
        early
            .seen
            .insert(1, moment(OperationInProgress, "stopping"));
        assert_eq!(of(early), ["By"]);
        let mut loud = paused();
        loud.alarms_on.push("shop-dev-cpu".into());
        assert_eq!(of(loud), ["By", "Its"]);
        let mut failed = paused();
        failed.ends[0].succeeded = false;
        assert_eq!(of(failed), ["By"]);
        assert_eq!(
            of(Look {
                ends: Vec::new(),
                ..paused()
            }),
            ["By"]
        );
        let half_done = look("pause", "it is night", &PAUSE, &[(Paused, "available")]);
        assert_eq!(of(half_done), ["By"]);
        let rung = rung(vec![told("shop-dev-server-errors")]);
        assert_eq!(
            broken(
                FELL_ASLEEP,
                &FellAsleep {
                    day: day(),
                    night: paused(),
                    rung
                }
            ),
            ["Its"]
        );
        let by_day = FellAsleep {
            day: paused(),
            night: paused(),
            rung: self::rung(Vec::new()),
        };
        assert_eq!(broken(FELL_ASLEEP, &by_day), ["By"]);
    }

    #[test]
    fn what_came_in_and_woke_something_breaks_the_promise() {
        let asleep = || vec![left(Paused, "stopped", "asleep")];
        let of = |act: Act| {
            broken(
                SLEPT,
                &Slept {
                    came_in: vec![act],
                    looks: asleep(),
                },
            )
        };
        assert!(of(act(&[], &["Nothing"], Paused)).is_empty());
        assert_eq!(of(act(&[], &[], Paused)), ["A"], "nobody heard of it");
        assert_eq!(of(act(&[], &["Nothing"], Running)), ["A"]);
        let deployed = act(&[OperationType::UpdateService], &["Deployed"], Paused);
        assert_eq!(of(deployed), ["A"]);
        let touched = Slept {
            came_in: Vec::new(),
            looks: vec![paused()],
        };
        assert_eq!(broken(SLEPT, &touched), ["Each"]);
        let awake = Slept {
            came_in: Vec::new(),
            looks: vec![left(Paused, "available", "asleep")],
        };
        assert_eq!(broken(SLEPT, &awake), ["Each"]);
    }

    fn woke(look: Look, act: Act, told: Vec<Notification>) -> Vec<&'static str> {
        let seen = Woke {
            look,
            act,
            digest: NEW.into(),
            version_id: Some("v2".into()),
            variables: vec!["PASSWORD".into()],
            rung: rung(told),
        };
        broken(WOKE, &seen)
    }

    #[test]
    fn a_morning_in_another_order_or_with_another_deployment_breaks_the_promise() {
        use OperationType::{ResumeService, UpdateService};
        let once = || {
            act(
                &[ResumeService, UpdateService],
                &["Nothing", "Deployed", "Nothing"],
                Running,
            )
        };
        let rings = || vec![told("shop-dev-server-errors")];
        assert!(woke(resumed(), once(), rings()).is_empty());
        let with_calls = |calls: [&str; 4]| Look {
            calls: calls.map(call).into(),
            ..resumed()
        };
        // The look itself starts what wakes the stack, and that is no deployment.
        let mut started = call("states:StartExecution");
        started.resource =
            "arn:aws:states:us-east-1:1:stateMachine:crew-ParkStateMachine-1A".into();
        let mut by_the_look = resumed();
        by_the_look.calls.insert(0, started);
        assert!(woke(by_the_look, once(), rings()).is_empty());
        let services_first = with_calls([RESUME[1], RESUME[0], RESUME[2], RESUME[3]]);
        assert_eq!(woke(services_first, once(), rings()), ["In"]);
        let mut early = resumed();
        early
            .seen
            .insert(1, moment(OperationInProgress, "starting"));
        assert_eq!(woke(early, once(), rings()), ["In"]);
        let mut being_deployed = resumed();
        being_deployed
            .seen
            .push(moment(OperationInProgress, "available"));
        assert!(woke(being_deployed, once(), rings()).is_empty());
        let never_runs = act(&[ResumeService, UpdateService], &["Deployed"], Paused);
        assert_eq!(woke(resumed(), never_runs, rings()), ["In"]);
        let alarms_first = with_calls([RESUME[2], RESUME[0], RESUME[1], RESUME[3]]);
        assert_eq!(woke(alarms_first, once(), rings()), ["Once"]);
        let nobody_delivers = with_calls([RESUME[0], RESUME[1], RESUME[2], "tag:GetResources"]);
        assert_eq!(woke(nobody_delivers, once(), rings()), ["What"]);
        assert_eq!(woke(resumed(), once(), Vec::new()), ["Once"]);
        for act in [
            act(&[ResumeService], &["Nothing"], Running),
            act(
                &[ResumeService, UpdateService, UpdateService],
                &["Deployed", "Deployed"],
                Running,
            ),
            act(
                &[ResumeService, UpdateService],
                &["Deployed", "RolledBack"],
                Running,
            ),
        ] {
            assert_eq!(woke(resumed(), act, rings()), ["What"]);
        }
        let mut old_secret = once();
        old_secret.after.runs.secret_versions.clear();
        assert_eq!(woke(resumed(), old_secret, rings()), ["What"]);
        let mut old_image = once();
        old_image.after.runs.image_digest = None;
        assert_eq!(woke(resumed(), old_image, rings()), ["What"]);
    }

    #[test]
    fn a_database_that_stays_up_on_the_seventh_day_or_is_told_of_breaks_the_promise() {
        let seen = [
            (Paused, "starting"),
            (Paused, "available"),
            (Paused, "stopped"),
        ];
        let stopped = || look("pause", "database shop-dev is starting", &PAUSE[2..], &seen);
        let is_kept = |look, told| broken(SEVENTH_DAY, &SeventhDay { look, told }).is_empty();
        assert!(is_kept(stopped(), Vec::new()));
        assert!(!is_kept(stopped(), vec![told("shop-dev-server-errors")]));
        assert!(!is_kept(
            Look {
                ends: Vec::new(),
                ..stopped()
            },
            Vec::new()
        ));
        assert!(!is_kept(left(Paused, "available", "asleep"), Vec::new()));
        let mut woken = stopped();
        woken
            .seen
            .insert(1, moment(OperationInProgress, "available"));
        assert!(!is_kept(woken, Vec::new()));
    }

    #[test]
    fn holidays_on_which_something_wakes_or_after_which_it_sleeps_on_break_the_promise() {
        let resume = [OperationType::ResumeService];
        let holidays = |day: Look, woken: Option<(Look, Act)>| Holidays {
            evening: paused(),
            looks: vec![day],
            woken,
        };
        let is_kept = |day: Look, morning: Look, act: Act| {
            broken(HOLIDAYS, &holidays(day, Some((morning, act)))).is_empty()
        };
        let once = || act(&resume, &["Nothing"], Running);
        let asleep = || left(Paused, "stopped", "asleep");
        assert!(is_kept(asleep(), resumed(), once()));
        assert!(!is_kept(resumed(), resumed(), once()));
        assert!(!is_kept(asleep(), asleep(), once()));
        assert_eq!(broken(HOLIDAYS, &holidays(asleep(), None)), ["Over"]);
        let deployed = [OperationType::ResumeService, OperationType::UpdateService];
        assert!(!is_kept(
            asleep(),
            resumed(),
            act(&deployed, &["Deployed"], Running)
        ));
    }

    #[test]
    fn what_cannot_be_parked_and_is_touched_or_not_said_breaks_the_promise() {
        let is_kept = |look: Look| broken(UNPARKABLE, &look).is_empty();
        assert!(is_kept(left(
            Running,
            "available",
            "it cannot be parked: a read replica"
        )));
        assert!(!is_kept(left(Running, "available", "it is day")));
        assert!(!is_kept(paused()));
    }

    #[test]
    fn a_call_for_parking_that_was_denied_breaks_the_promise() {
        assert!(broken(LOOKED_AFTER, &vec![paused()]).is_empty());
        let mut denied = paused();
        denied.calls[0].allowed = false;
        assert_eq!(broken(LOOKED_AFTER, &vec![denied]), ["Every"]);
    }
}
