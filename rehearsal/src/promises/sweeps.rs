//! What is looked at over a sweep: what it finds of what events have missed, and what it does about it.

use super::deployments::{Act, outcome};
use super::{Promise, described, kept_if};
use crate::End;
use crate::local_aws::{Call, Notification};
use serde_json::Value;

/// One sweep, and what it called.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// How the executions of `sweep` ended that began.
    pub ends: Vec<End>,
    /// The calls of functions and state machines meanwhile.
    pub calls: Vec<Call>,
    /// What was told on the topic of groundcrew that begins with `groundcrew sweep`.
    pub told: Vec<Notification>,
}

impl Sweep {
    fn ended(&self) -> Result<&End, String> {
        match self.ends.as_slice() {
            [end] if end.succeeded => Ok(end),
            [end] => Err(format!("sweep ended with {}: {}", end.error, end.message)),
            ends => Err(format!("{} executions of sweep began", ends.len())),
        }
    }

    /// How many things it found, and how many of them it repaired.
    fn counted(&self) -> Result<(u64, u64), String> {
        let output = &self.ended()?.output;
        let count = |name: &str| {
            let count = output[name].as_u64();
            count.ok_or_else(|| format!("the output does not say what it {name}"))
        };
        Ok((count("found")?, count("repaired")?))
    }

    /// What it found and did, for a person.
    pub fn summary(&self) -> &str {
        let outputs = self.ends.iter().map(|end| &end.output["summary"]);
        outputs.filter_map(Value::as_str).next().unwrap_or_default()
    }

    fn wrote_nothing(&self) -> Result<(), String> {
        let own = self.calls.iter().filter(|call| {
            call.principal.contains("-SweepFunctionRole-")
                && call.writes()
                && !call.action.starts_with("logs:CreateLog")
                && !call.action.starts_with("logs:PutLogEvents")
                && !call.action.starts_with("xray:")
        });
        let writes: Vec<_> = own.map(described).collect();
        kept_if(writes.is_empty(), || {
            format!("it called {}", writes.join(", "))
        })
    }

    fn told_nobody(&self) -> Result<(), String> {
        kept_if(self.told.is_empty(), || {
            format!("{} notifications were told", self.told.len())
        })
    }
}

/// After events were lost, and a sweep.
#[derive(Debug)]
pub struct Swept {
    /// What is wrong by now, as a sweep has to name it.
    pub wrong: Vec<String>,
    /// What came of the push and the rotation without their events.
    pub unheard: Act,
    /// A sweep that only looks.
    pub plan: Sweep,
    /// The one that the schedule starts.
    pub sweep: Sweep,
    /// What it led to.
    pub act: Act,
    /// The image that was pushed.
    pub digest: String,
    /// The version of the secret that was made, if one was.
    pub version_id: Option<String>,
    /// The variables that hold a part of it.
    pub variables: Vec<String>,
    /// The alarms that are missing, or silent, and the log groups that are kept for another time than before.
    pub left: Vec<String>,
    /// The same once more.
    pub second: Sweep,
}

/// Promises about a sweep.
pub const SWEPT: &[Promise<Swept>] = &[
    Promise {
        id: "O10",
        sentence: "A sweep with dry_run names what events have missed, and calls nothing that writes",
        check: |seen| {
            let executions = seen.unheard.executions.len();
            kept_if(executions == 0, || {
                format!("{executions} executions heard of what nobody was to hear of")
            })?;
            let (found, repaired) = seen.plan.counted()?;
            let summary = seen.plan.summary();
            let missed: Vec<_> = seen
                .wrong
                .iter()
                .filter(|wrong| !summary.contains(*wrong))
                .collect();
            kept_if(missed.is_empty(), || {
                format!("not named: {missed:?} in {summary}")
            })?;
            kept_if(repaired == 0, || format!("it repaired {repaired}"))?;
            seen.plan.wrote_nothing()?;
            seen.plan.told_nobody()?;
            Ok(format!("{found} findings"))
        },
    },
    Promise {
        id: "O10",
        sentence: "The sweep of the schedule repairs it, once, and says so",
        check: |seen| {
            let (found, repaired) = seen.sweep.counted()?;
            kept_if(found > 0 && found == repaired, || {
                format!(
                    "it repaired {repaired} of {found}: {}",
                    seen.sweep.summary()
                )
            })?;
            let told = seen.sweep.told.len();
            kept_if(told == 1, || format!("{told} notifications were told"))?;
            let mut outcomes: Vec<_> = seen.act.executions.iter().map(outcome).collect();
            outcomes.retain(|of| *of != "Nothing");
            kept_if(outcomes == ["Deployed"], || {
                format!("the executions of deploy ended with {outcomes:?}")
            })?;
            seen.act.runs(&seen.digest)?;
            for variable in seen.version_id.iter().flat_map(|_| &seen.variables) {
                let version = seen.act.after.runs.secret_versions.get(variable);
                kept_if(version == seen.version_id.as_ref(), || {
                    format!("{variable} is of version {version:?}")
                })?;
            }
            kept_if(seen.left.is_empty(), || {
                format!("not repaired: {}", seen.left.join(", "))
            })?;
            let end = seen.sweep.ended()?;
            Ok(format!(
                "{repaired} of {found} repaired, {} state transitions",
                end.transitions
            ))
        },
    },
    Promise {
        id: "O10",
        sentence: "A second sweep right after finds nothing, and changes nothing",
        check: |seen| {
            let (found, _) = seen.second.counted()?;
            kept_if(found == 0, || {
                format!("it found {found}: {}", seen.second.summary())
            })?;
            seen.second.wrote_nothing()?;
            seen.second.told_nobody()?;
            let end = seen.second.ended()?;
            Ok(format!(
                "{}, {} state transitions",
                seen.second.summary(),
                end.transitions
            ))
        },
    },
    Promise {
        id: "IAM",
        sentence: "Every call for sweeping was allowed by the policies of its caller",
        check: |seen| {
            let sweeps = [&seen.plan, &seen.sweep, &seen.second];
            let calls = || sweeps.iter().flat_map(|sweep| &sweep.calls);
            let denied: Vec<_> = calls()
                .filter(|call| !call.allowed)
                .map(described)
                .collect();
            kept_if(denied.is_empty(), || {
                format!("denied: {}", denied.join(", "))
            })?;
            Ok(format!("{} calls", calls().count()))
        },
    },
];

#[cfg(test)]
mod tests {
    use super::super::{Checked, check};
    use super::*;
    use apprunner_emulator::{RunningSnapshot, ServiceSnapshot, ServiceStatus};
    use serde_json::json;
    use std::collections::BTreeMap;

    const NEW: &str = "sha256:4e3";

    fn end(output: Value) -> End {
        End {
            succeeded: true,
            output,
            error: String::new(),
            message: String::new(),
            seconds: 60.0,
            happenings: Vec::new(),
            transitions: 8,
        }
    }

    fn sweep(found: u64, repaired: u64, summary: &str, calls: &[&str], told: usize) -> Sweep {
        let call = |action: &&str| Call {
            n: 1,
            at: 0.0,
            principal: "groundcrew-SweepFunctionRole-0A".into(),
            action: (*action).into(),
            resource: "*".into(),
            implied: Vec::new(),
            checks: Vec::new(),
            allowed: true,
            status: 200,
            error: None,
        };
        let notification = Notification {
            topic: "arn:aws:sns:us-east-1:123456789012:Notifications".into(),
            subject: Some("groundcrew sweep: 2 repaired".into()),
            message: summary.into(),
            at: 0.0,
        };
        let output = json!({"found": found, "repaired": repaired, "summary": summary});
        Sweep {
            ends: vec![end(output)],
            calls: calls.iter().map(call).collect(),
            told: vec![notification; told],
        }
    }

    fn act(outcomes: &[&str]) -> Act {
        let service = ServiceSnapshot {
            name: "shop-dev".into(),
            arn: "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a".into(),
            status: ServiceStatus::Running,
            description: Value::Null,
            tags: BTreeMap::new(),
            operations: Vec::new(),
            runs: RunningSnapshot {
                image_digest: Some(NEW.into()),
                secret_versions: BTreeMap::from([("PASSWORD".to_owned(), "v2".to_owned())]),
            },
        };
        Act {
            before: service.clone(),
            after: service,
            executions: outcomes
                .iter()
                .map(|outcome| end(json!({"outcome": outcome})))
                .collect(),
            told: Vec::new(),
            calls: Vec::new(),
        }
    }

    const LOOKS: [&str; 3] = [
        "tag:GetResources",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    ];

    fn swept() -> Swept {
        Swept {
            wrong: vec![NEW.into(), "shop-dev-cpu".into()],
            unheard: act(&[]),
            plan: sweep(2, 0, "shop-dev-cpu and sha256:4e3", &LOOKS, 0),
            sweep: sweep(2, 2, "all", &["states:StartExecution"], 1),
            act: act(&["Nothing", "Deployed"]),
            digest: NEW.into(),
            version_id: Some("v2".into()),
            variables: vec!["PASSWORD".into()],
            left: Vec::new(),
            second: sweep(0, 0, "everything is as it should be", &LOOKS, 0),
        }
    }

    /// The promises that are broken, by the words that they begin with.
    fn broken(seen: &Swept) -> Vec<String> {
        let checked = check(SWEPT, seen).into_iter();
        let broken = checked.filter(|checked| checked.verdict.is_err());
        let words = |Checked { sentence, .. }: Checked| {
            let words: Vec<_> = sentence.split(' ').take(2).collect();
            words.join(" ")
        };
        broken.map(words).collect()
    }

    #[test]
    fn a_sweep_that_repairs_once_what_it_had_named_keeps_every_promise() {
        assert_eq!(broken(&swept()), Vec::<String>::new());
    }

    #[test]
    fn a_look_that_misses_something_or_writes_or_tells_breaks_the_promise() {
        let of = |plan: Sweep| broken(&Swept { plan, ..swept() });
        let named = "shop-dev-cpu and sha256:4e3";
        for plan in [
            sweep(2, 0, "shop-dev-cpu", &LOOKS, 0),
            sweep(2, 2, named, &LOOKS, 0),
            sweep(2, 0, named, &["logs:PutRetentionPolicy"], 0),
            sweep(2, 0, named, &LOOKS, 1),
            Sweep {
                ends: Vec::new(),
                ..sweep(2, 0, named, &LOOKS, 0)
            },
        ] {
            assert_eq!(of(plan), ["A sweep"]);
        }
        let heard = Swept {
            unheard: act(&["Nothing"]),
            ..swept()
        };
        assert_eq!(broken(&heard), ["A sweep"], "the event was not lost");
    }

    #[test]
    fn a_sweep_that_leaves_something_or_does_it_twice_breaks_the_promise() {
        let repaired = || sweep(2, 2, "all", &[], 1);
        for seen in [
            Swept {
                sweep: sweep(2, 1, "all", &[], 1),
                ..swept()
            },
            Swept {
                sweep: sweep(0, 0, "all", &[], 1),
                ..swept()
            },
            Swept {
                sweep: sweep(2, 2, "all", &[], 0),
                ..swept()
            },
            Swept {
                sweep: Sweep {
                    ends: Vec::new(),
                    ..repaired()
                },
                ..swept()
            },
            Swept {
                act: act(&["Nothing"]),
                ..swept()
            },
            Swept {
                act: act(&["Deployed", "Deployed"]),
                ..swept()
            },
            Swept {
                digest: "sha256:01d".into(),
                ..swept()
            },
            Swept {
                version_id: Some("v3".into()),
                ..swept()
            },
            Swept {
                left: vec!["the alarm shop-dev-cpu".into()],
                ..swept()
            },
        ] {
            assert_eq!(broken(&seen), ["The sweep"], "{seen:#?}");
        }
    }

    #[test]
    fn a_second_sweep_that_finds_or_changes_something_breaks_the_promise() {
        let well = "everything is as it should be";
        for second in [
            sweep(1, 0, "x", &LOOKS, 0),
            sweep(0, 0, well, &["cloudwatch:PutMetricAlarm"], 0),
            sweep(0, 0, well, &LOOKS, 1),
        ] {
            assert_eq!(broken(&Swept { second, ..swept() }), ["A second"]);
        }
        let mut denied = swept();
        denied.sweep.calls[0].allowed = false;
        assert_eq!(broken(&denied), ["Every call"]);
    }
}
