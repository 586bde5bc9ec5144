//! What groundcrew promises and how a rehearsal checks it. Ids and sentences are those of the README.

pub mod deployments;
pub mod nights;
mod stack;
pub mod sweeps;

use crate::console::{self, BOLD, DIM, GREEN, RED, line};
use crate::local_aws::Call;
use crate::world::World;
use crate::{End, LocalAws, Result, sockets};
use groundcrew::Spec;
use serde_json::Value;
use std::net::SocketAddr;

/// Kept or broken, with the evidence.
pub type Verdict = std::result::Result<String, String>;

/// A sentence that is true of whatever a `Scene` shows.
#[derive(Debug)]
pub struct Promise<Scene> {
    id: &'static str,
    sentence: &'static str,
    check: fn(&Scene) -> Verdict,
}

/// A promise that was checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The feature's id.
    pub id: &'static str,
    /// What is promised.
    pub sentence: &'static str,
    /// Whether it was kept.
    pub verdict: Verdict,
}

/// Checks promises against what was seen.
pub fn check<Scene>(promises: &[Promise<Scene>], scene: &Scene) -> Vec<Checked> {
    let check = |promise: &Promise<Scene>| Checked {
        id: promise.id,
        sentence: promise.sentence,
        verdict: (promise.check)(scene),
    };
    promises.iter().map(check).collect()
}

/// Shows the promises, kept or broken, each with its evidence.
pub fn table(checked: &[Checked]) {
    console::heading("Promises");
    for Checked {
        id,
        sentence,
        verdict,
    } in checked
    {
        let (style, word, evidence) = match verdict {
            Ok(evidence) => (GREEN, "kept", evidence),
            Err(evidence) => (RED, "BROKEN", evidence),
        };
        line(format_args!(
            "{style}{word:>8}{style:#}  {BOLD}{id:<4}{BOLD:#}  {sentence}"
        ));
        line(format_args!(
            "{:16}{DIM}{}{DIM:#}",
            "",
            evidence.replace('\n', "\n                ")
        ));
    }
    let kept = checked
        .iter()
        .filter(|promise| promise.verdict.is_ok())
        .count();
    let style = if kept == checked.len() { GREEN } else { RED };
    line(format_args!(
        "\n{style}{BOLD}{kept} of {} promises kept{BOLD:#}{style:#}",
        checked.len()
    ));
}

/// After a spec with mistakes was sent.
#[derive(Debug)]
pub struct Refused {
    /// The fields with the mistakes.
    pub fields: Vec<&'static str>,
    /// How `provision` ended.
    pub end: End,
    /// What differs in the account.
    pub differences: Vec<String>,
}

/// Promises about a spec that cannot be right.
pub const REFUSED: &[Promise<Refused>] = &[Promise {
    id: "P11",
    sentence: "A bad spec is refused in the first state, with every mistake named at once, before anything is created",
    check: |seen| {
        kept_if(seen.end.error == "Invalid", || {
            format!("it ended with {:?}: {}", seen.end.error, seen.end.message)
        })?;
        let missing: Vec<_> = seen
            .fields
            .iter()
            .filter(|field| !seen.end.message.contains(**field))
            .collect();
        kept_if(missing.is_empty(), || {
            format!("not named: {missing:?} in {}", seen.end.message)
        })?;
        nothing_differs(&seen.differences)?;
        Ok(format!("named {}", seen.fields.join(", ")))
    },
}];

/// After a dry run.
#[derive(Debug)]
pub struct Planned {
    /// How `provision` ended.
    pub end: End,
    /// The calls that it made.
    pub calls: Vec<Call>,
    /// What differs in the account.
    pub differences: Vec<String>,
}

/// Promises about a dry run.
pub const PLANNED: &[Promise<Planned>] = &[Promise {
    id: "P13",
    sentence: "A dry run says what would be created and calls nothing that writes",
    check: |seen| {
        succeeded(&seen.end)?;
        no_write(&seen.calls)?;
        nothing_differs(&seen.differences)?;
        let plan = seen.end.output["plan"]
            .as_object()
            .ok_or("there is no plan in the output")?;
        let created = plan
            .values()
            .filter(|resource| resource["outcome"] == "created")
            .count();
        kept_if(created == plan.len(), || {
            format!("not everything is to be created: {}", seen.end.output)
        })?;
        Ok(format!(
            "{created} resources to create, {} calls, all of which only read",
            seen.calls.len()
        ))
    },
}];

/// After a stack was provisioned.
#[derive(Debug)]
pub struct Provisioned {
    /// What was asked for.
    pub spec: Spec,
    /// How `provision` ended.
    pub end: End,
    /// The account.
    pub world: World,
    /// The secret with the database's credentials.
    pub credentials: Value,
    /// Where the password is to be seen.
    pub disclosed: Vec<String>,
    /// Where the stack's name is to be seen, which shows that the search for the password finds what is there.
    pub searched: Vec<String>,
    /// The status that the service's address answers with, asked from outside.
    pub answer: std::result::Result<u16, String>,
    /// The calls that `provision` made.
    pub calls: Vec<Call>,
    /// On what this rehearsal listens; an error where the system does not tell.
    pub listening: std::result::Result<Vec<SocketAddr>, String>,
}

impl Provisioned {
    /// Looks at a stack that an execution has built, with the calls that it made.
    ///
    /// # Errors
    /// If the local AWS does not answer.
    pub async fn look(
        local: &LocalAws,
        spec: Spec,
        credentials: Value,
        end: End,
        calls: Vec<Call>,
    ) -> Result<Self> {
        let password = credentials["password"].as_str().unwrap_or_default();
        let url = end.output["url"].as_str().unwrap_or_default();
        let answer = local.aws().get("https:GET", url).await;
        Ok(Self {
            disclosed: local.places_that_show(password).await?,
            searched: local.places_that_show(&spec.stack().name()).await?,
            answer: answer
                .map(|answer| answer.0)
                .map_err(|error| error.to_string()),
            listening: sockets::listening().map_err(|error| error.to_string()),
            world: World::look(local).await?,
            credentials,
            calls,
            spec,
            end,
        })
    }
}

/// Promises about a stack that exists.
pub const PROVISIONED: &[Promise<Provisioned>] = &[
    Promise {
        id: "P1",
        sentence: "The service reaches out of private subnets in two zones or more",
        check: stack::private_subnets,
    },
    Promise {
        id: "P1",
        sentence: "The database accepts 5432 from the connector's security group and nothing else",
        check: stack::database_is_closed,
    },
    Promise {
        id: "P2",
        sentence: "The repository scans on push, expires old images, and the execution waited for the first one",
        check: stack::registry,
    },
    Promise {
        id: "P3",
        sentence: "The password is in Secrets Manager, complete for rotation, and nowhere else",
        check: stack::credentials,
    },
    Promise {
        id: "P4",
        sentence: "PostgreSQL of the asked version is private, encrypted, backed up and protected as the spec says",
        check: stack::database,
    },
    Promise {
        id: "P5",
        sentence: "Both roles trust App Runner's own principals, and the instance role reads named secrets only",
        check: stack::roles,
    },
    Promise {
        id: "P6",
        sentence: "The service runs an image pinned by digest, with auto-deployments off, in the stack's network",
        check: stack::service,
    },
    Promise {
        id: "P7",
        sentence: "Alarms are on the dimensions that App Runner publishes, logs are kept as long as the spec says",
        check: stack::alarms,
    },
    Promise {
        id: "P8",
        sentence: "The service answers its health path over HTTPS before the execution says success",
        check: |seen| {
            let health = &seen.end.output["health"]["status"];
            kept_if(health == 200 || !seen.spec.service.public, || {
                format!("the output says {health}")
            })?;
            match &seen.answer {
                Ok(200) => Ok(format!(
                    "{} answers 200",
                    seen.end.output["url"].as_str().unwrap_or_default()
                )),
                Ok(status) => Err(format!("it answers {status}")),
                Err(reason) if seen.spec.service.public => Err(reason.clone()),
                Err(_) => Ok("not asked, the service is private".into()),
            }
        },
    },
    Promise {
        id: "IAM",
        sentence: "Every call of the functions was allowed by their own policies",
        check: |seen| {
            let denied: Vec<_> = seen
                .calls
                .iter()
                .filter(|call| !call.allowed)
                .map(described)
                .collect();
            kept_if(denied.is_empty(), || {
                format!("denied: {}", denied.join(", "))
            })?;
            Ok(format!(
                "{} calls, {} state transitions",
                seen.calls.len(),
                seen.end.transitions
            ))
        },
    },
    Promise {
        id: "B1",
        sentence: "The rehearsal listens on loopback only",
        check: |seen| {
            let Ok(listening) = &seen.listening else {
                return Ok("this system does not tell who listens where".into());
            };
            let open: Vec<_> = listening
                .iter()
                .filter(|address| !address.ip().is_loopback())
                .collect();
            kept_if(open.is_empty(), || format!("{open:?}"))?;
            Ok(format!("{} sockets, all on loopback", listening.len()))
        },
    },
];

/// After the same spec was provisioned again.
#[derive(Debug)]
pub struct Repeated {
    /// How `provision` ended.
    pub end: End,
    /// The calls that it made.
    pub calls: Vec<Call>,
    /// What differs in the account.
    pub differences: Vec<String>,
}

/// Promises about a repetition.
pub const REPEATED: &[Promise<Repeated>] = &[Promise {
    id: "P9",
    sentence: "The same spec again changes nothing and creates nothing",
    check: |seen| {
        succeeded(&seen.end)?;
        let resources = seen.end.output["resources"]
            .as_object()
            .ok_or("there are no resources in the output")?;
        let changed: Vec<_> = resources
            .iter()
            .filter(|(_, resource)| resource["outcome"] != "unchanged")
            .map(|(name, _)| name)
            .collect();
        kept_if(changed.is_empty(), || {
            format!("not reported as unchanged: {changed:?}")
        })?;
        no_write(&seen.calls)?;
        nothing_differs(&seen.differences)?;
        Ok(format!(
            "{} resources unchanged, {} calls, all of which only read",
            resources.len(),
            seen.calls.len()
        ))
    },
}];

/// After a teardown, and another one.
#[derive(Debug)]
pub struct Removed {
    /// How `teardown` ended.
    pub end: End,
    /// How it ended the second time.
    pub again: End,
    /// Whether a snapshot of the database was asked for, where there was one.
    pub final_snapshot: bool,
    /// What differs in the account from before the stack.
    pub differences: Vec<String>,
}

/// Promises about a stack that is gone.
pub const REMOVED: &[Promise<Removed>] = &[
    Promise {
        id: "P12",
        sentence: "A teardown removes everything of the stack, and leaves a final snapshot if asked to",
        check: |seen| {
            succeeded(&seen.end)?;
            let (snapshots, left): (Vec<_>, Vec<_>) = seen
                .differences
                .iter()
                .partition(|difference| difference.starts_with("+ DB snapshot "));
            kept_if(left.is_empty(), || format!("left: {left:?}"))?;
            kept_if(snapshots.is_empty() != seen.final_snapshot, || {
                format!("snapshots: {snapshots:?}")
            })?;
            let said = &seen.end.output["left"];
            kept_if(said.as_array().is_none_or(Vec::is_empty), || {
                format!("the output names as left: {said}")
            })?;
            let snapshot = snapshots
                .first()
                .map(|snapshot| snapshot.trim_start_matches("+ ").to_owned());
            Ok(format!(
                "the account is as it was before, plus {}",
                snapshot.unwrap_or("nothing".into())
            ))
        },
    },
    Promise {
        id: "P12",
        sentence: "A teardown of a stack that is not there succeeds",
        check: |seen| {
            succeeded(&seen.again)?;
            Ok(format!("succeeded in {:.0} s", seen.again.seconds))
        },
    },
];

/// Of a `provision` that failed, nothing else can be checked.
pub fn provision_succeeds(end: &End) -> Checked {
    Checked {
        id: "P",
        sentence: "The execution of provision succeeds",
        verdict: succeeded(end).map(|()| format!("after {:.0} s", end.seconds)),
    }
}

fn kept_if(kept: bool, otherwise: impl FnOnce() -> String) -> std::result::Result<(), String> {
    if kept { Ok(()) } else { Err(otherwise()) }
}

fn all_true(facts: &[(bool, &str)]) -> std::result::Result<(), String> {
    let not: Vec<_> = facts
        .iter()
        .filter(|(is, _)| !is)
        .map(|(_, what)| *what)
        .collect();
    kept_if(not.is_empty(), || format!("not {}", not.join(", not ")))
}

fn succeeded(end: &End) -> std::result::Result<(), String> {
    kept_if(end.succeeded, || format!("{}: {}", end.error, end.message))
}

fn nothing_differs(differences: &[String]) -> std::result::Result<(), String> {
    kept_if(differences.is_empty(), || {
        format!("the account differs: {}", differences.join("; "))
    })
}

fn no_write(calls: &[Call]) -> std::result::Result<(), String> {
    let writes: Vec<_> = calls
        .iter()
        .filter(|call| call.writes())
        .map(described)
        .collect();
    kept_if(writes.is_empty(), || {
        format!("it called {}", writes.join(", "))
    })
}

fn described(call: &Call) -> String {
    format!("{} on {} by {}", call.action, call.resource, call.principal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(error: &str, message: &str) -> End {
        End {
            succeeded: error.is_empty(),
            output: Value::Null,
            error: error.into(),
            message: message.into(),
            seconds: 1.0,
            happenings: Vec::new(),
            transitions: 1,
        }
    }

    #[test]
    fn a_refusal_that_forgets_a_mistake_breaks_the_promise() {
        let seen = |message: &str, differences: &[&str]| Refused {
            fields: vec!["service.port", "databse"],
            end: end("Invalid", message),
            differences: differences.iter().map(|line| (*line).to_owned()).collect(),
        };
        let verdict = |seen| check(REFUSED, &seen).remove(0).verdict;
        assert!(verdict(seen("service.port: 0\ndatabse: {}", &[])).is_ok());
        assert!(verdict(seen("service.port: 0", &[])).is_err());
        assert!(verdict(seen("service.port: 0\ndatabse: {}", &["+ VPC vpc-1"])).is_err());
    }

    #[test]
    fn a_teardown_that_was_not_asked_for_a_snapshot_leaves_none() {
        let seen = |final_snapshot, differences: &[&str]| Removed {
            end: end("", ""),
            again: end("", ""),
            final_snapshot,
            differences: differences.iter().map(|line| (*line).to_owned()).collect(),
        };
        let verdict = |seen| check(REMOVED, &seen).remove(0).verdict;
        assert!(verdict(seen(true, &["+ DB snapshot shop-final"])).is_ok());
        assert!(verdict(seen(true, &[])).is_err());
        assert!(verdict(seen(false, &["+ DB snapshot shop-final"])).is_err());
        assert!(verdict(seen(false, &["+ role shop-access"])).is_err());
    }
}
