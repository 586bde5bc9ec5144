//! One step of a state machine: what goes into the function `provision`, and what comes out.

use crate::resources::{Resource, check_health};
use crate::{asleep, check, compare, last_spec};
use groundcrew::{Aws, Error, Failure, Removal, Result, Run, Spec, Stack, image};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// The input of one step. `execution` is the name of the Step Functions execution with its start time (a name alone can be
/// used again): the tags of created resources hold it.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Step {
    /// Refuses a bad spec, with every mistake at once; answers the spec with all its defaults, and its secrets by their whole ARNs.
    CheckSpec {
        /// What the person sent: a spec, or the name of a stack whose last spec it is to be.
        spec: Value,
    },
    /// Says what `ensure` would do with each resource, and what AWS may refuse all the same; calls nothing that writes.
    Plan {
        /// A checked spec.
        spec: Spec,
        /// The execution's name.
        execution: String,
    },
    /// Wakes a stack that sleeps: starts its database, then resumes its service; answers a [`Report`].
    Wake {
        /// A checked spec.
        spec: Spec,
        /// The execution's name.
        execution: String,
        /// When the state was entered: an operation that failed since is not tried again.
        entered: Timestamp,
    },
    /// Creates, accepts or repairs one resource; answers a [`Report`].
    Ensure {
        /// Which one.
        resource: Resource,
        /// A checked spec.
        spec: Spec,
        /// The execution's name.
        execution: String,
        /// When the state was entered, for the time in the report.
        entered: Timestamp,
    },
    /// Waits for the first image; answers its digest.
    AwaitImage {
        /// A checked spec.
        spec: Spec,
        /// How often the state was retried already.
        attempt: u32,
    },
    /// Asks the service over HTTPS for its health path; answers what it said, when the stack sleeps, and what waits until it is awake.
    /// The spec is then remembered as the one that the stack was last brought in line with.
    CheckHealth {
        /// A checked spec.
        spec: Spec,
        /// What waits of each resource; an execution that was started before there was such a thing says nothing.
        #[serde(default)]
        waits: Vec<Vec<String>>,
    },
    /// Compares stacks with their last specs; answers those that differ, each a [`Drift`](groundcrew::Drift).
    Compare {
        /// Which.
        stacks: Vec<Stack>,
        /// The ARNs of the state machines `provision` and `teardown`.
        machines: Vec<String>,
    },
    /// Refuses a bad removal; answers it with all its defaults.
    CheckRemoval {
        /// What the person sent.
        removal: Value,
    },
    /// Removes one resource; answers a [`Report`].
    Destroy {
        /// Which one.
        resource: Resource,
        /// A checked removal.
        removal: Removal,
        /// The name of the execution that removes it, with its start time; one of groundcrew 0.1 does not say it.
        #[serde(default)]
        execution: String,
        /// When the state was entered, for the time in the report.
        entered: Timestamp,
    },
    /// Removes what a changed spec left unused: old revisions of the service's configurations.
    Prune {
        /// A checked spec.
        spec: Spec,
    },
    /// Names what a removal left, by the same decisions as the removal itself.
    Remaining {
        /// A checked removal.
        removal: Removal,
        /// As for `destroy`: what this execution has kept is left, too.
        #[serde(default)]
        execution: String,
        /// What went wrong before, for the sentence that the execution ends with.
        failure: Option<Failure>,
    },
}

/// What a person reads at the end of a failed execution.
fn sentence(failure: &Failure, left: &[String]) -> String {
    let left = match left {
        [] => "nothing is left of what this execution created".to_owned(),
        left => format!("this execution created and left: {}", left.join(", ")),
    };
    format!("{}. And {left}.", failure.sentence())
}

/// An undo does not wait for hours for what App Runner has not let go of: a person wants to hear of the failure. What is left
/// costs nothing, is named, and a later teardown removes it.
fn impatient(error: Error, resource: Resource, removal: &Removal, entered: Timestamp) -> Error {
    const PATIENCE: SignedDuration = SignedDuration::from_mins(40);
    let lingers = [Resource::Configuration, Resource::Network].contains(&resource);
    let waited = Timestamp::now().duration_since(entered);
    match error {
        Error::NotReady(_) if lingers && removal.created_by.is_some() && waited > PATIENCE => {
            Error::Failed(format!(
                "{error}; start teardown when App Runner has let go of it"
            ))
        }
        error => error,
    }
}

impl Step {
    /// Reads the input of the function.
    ///
    /// # Errors
    /// [`Error::Unreadable`] for anything that no state machine of ours sends. What a later version sends besides is left out.
    pub fn parse(input: Value) -> Result<Self> {
        serde_json::from_value(input)
            .map_err(|error| Error::unreadable("provision or teardown", &error))
    }

    /// Does the step. `parking` is [`groundcrew::environment::parking`]: when environments sleep.
    ///
    /// # Errors
    /// Those of [`Error`]; the state machine retries or catches them by name.
    pub async fn handle(self, aws: &Aws, parking: &str) -> Result<Value> {
        match self {
            Self::CheckSpec { spec } => {
                let meant = last_spec::meant(aws, &spec).await?;
                Ok(json!(check::spec(aws, &meant).await?))
            }
            Self::Plan { spec, execution } => {
                let mut resources = serde_json::Map::new();
                let mut waits = Vec::new();
                for resource in Resource::ALL {
                    let mut run = Run::deciding(&execution);
                    resource.ensure(aws, &spec, &mut run).await?;
                    waits.extend_from_slice(run.waits());
                    resources.insert(resource.name().into(), run.report(None));
                }
                let mut wakes = Run::deciding(&execution);
                if spec.wake {
                    asleep::wake(aws, &spec, &mut wakes, Timestamp::now()).await?;
                }
                let seen = asleep::Seen::look(aws, &spec, parking).await?;
                Ok(json!({
                    "resources": resources,
                    "warnings": check::warnings(aws, &spec).await?,
                    "wakes": wakes.changes(),
                    "sleeps": seen.sleeps,
                    "next": seen.next(&waits),
                    "waits": waits,
                }))
            }
            Self::Wake {
                spec,
                execution,
                entered,
            } => {
                let mut run = Run::acting(&execution);
                asleep::wake(aws, &spec, &mut run, entered).await?;
                Ok(run.report(Some(entered)))
            }
            Self::Ensure {
                resource,
                spec,
                execution,
                entered,
            } => {
                let mut run = Run::acting(&execution);
                resource.ensure(aws, &spec, &mut run).await?;
                Ok(run.report(Some(entered)))
            }
            Self::AwaitImage { spec, attempt } => {
                let digest = image::wait(aws, &spec, attempt).await?;
                Ok(json!({ "digest": digest }))
            }
            Self::CheckHealth { spec, waits } => {
                let seen = asleep::Seen::look(aws, &spec, parking).await?;
                let health = check_health(aws, &spec, seen.unasked()).await?;
                last_spec::remember(aws, &spec).await?;
                let waits = waits.concat();
                Ok(json!({
                    "url": health["url"],
                    "health": health,
                    "sleeps": seen.sleeps,
                    "next": seen.next(&waits),
                    "waits": waits,
                }))
            }
            Self::Compare { stacks, machines } => {
                let drifts = Box::pin(compare::drifts(aws, &stacks, &machines)).await?;
                Ok(json!({ "drifts": drifts }))
            }
            Self::CheckRemoval { removal } => {
                let removal = Removal::parse(&removal)?;
                check::removal(aws, &removal).await?;
                Ok(json!(removal))
            }
            Self::Destroy {
                resource,
                removal,
                execution,
                entered,
            } => {
                let mut run = Run::acting(&execution);
                let destroyed = resource.destroy(aws, &removal, &mut run).await;
                destroyed.map_err(|error| impatient(error, resource, &removal, entered))?;
                Ok(run.report(Some(entered)))
            }
            Self::Prune { spec } => {
                let mut run = Run::acting("");
                crate::resources::prune(aws, &spec, &mut run).await?;
                Ok(run.report(None))
            }
            Self::Remaining {
                removal,
                execution,
                failure,
            } => {
                let mut left = Vec::new();
                for resource in Resource::ALL {
                    let mut run = Run::deciding(&execution);
                    resource.destroy(aws, &removal, &mut run).await?;
                    let names = run.changes().iter().filter_map(|change| {
                        change
                            .strip_prefix("remove ")
                            .or_else(|| change.strip_prefix("leave "))
                    });
                    left.extend(names.map(str::to_owned));
                }
                let sentence = failure.map(|failure| sentence(&failure, &left));
                Ok(json!({"left": left, "sentence": sentence}))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(cause: &str) -> Failure {
        Failure {
            error: "States.Timeout".into(),
            cause: cause.into(),
        }
    }

    #[test]
    fn a_failed_execution_ends_with_the_functions_sentence_and_with_what_is_left() {
        let cause = r#"{"errorType": "Failed", "errorMessage": "database shop-dev is failed"}"#;
        let left = ["database shop-dev".to_owned(), "VPC vpc-1".to_owned()];
        assert_eq!(
            sentence(&failure(cause), &left),
            "database shop-dev is failed. And this execution created and left: database shop-dev, VPC vpc-1."
        );
    }

    #[test]
    fn an_undo_does_not_wait_for_hours_for_what_app_runner_keeps_and_a_teardown_does() {
        let after_an_hour = |created_by: Option<&str>, resource| {
            let removal = json!({"app": "shop", "environment": "dev", "created_by": created_by});
            let removal = Removal::parse(&removal).expect("a removal");
            let entered = Timestamp::now() - SignedDuration::from_hours(1);
            let waits = Error::NotReady("the connector".into());
            impatient(waits, resource, &removal, entered).name()
        };
        let undo = Some("first 2026-11-20T08:00:00Z");
        assert_eq!(after_an_hour(undo, Resource::Configuration), "Failed");
        assert_eq!(after_an_hour(undo, Resource::Network), "Failed");
        assert_eq!(after_an_hour(undo, Resource::Database), "NotReady");
        assert_eq!(after_an_hour(None, Resource::Configuration), "NotReady");
    }

    #[test]
    fn an_execution_that_was_started_before_an_upgrade_is_understood() {
        let removal = json!({"app": "shop", "environment": "dev"});
        for step in [
            json!({"action": "destroy", "resource": "service", "removal": removal, "entered": "2026-11-20T08:00:00Z"}),
            json!({"action": "remaining", "removal": removal}),
            json!({"action": "check-health", "spec": {"app": "shop", "environment": "dev"}}),
        ] {
            Step::parse(step.clone()).unwrap_or_else(|error| panic!("{step}: {error}"));
        }
    }

    #[test]
    fn a_failure_without_a_sentence_is_told_by_its_name() {
        let sentence = sentence(&failure(""), &[]);
        assert_eq!(
            sentence,
            "States.Timeout. And nothing is left of what this execution created."
        );
    }
}
