//! One step of a state machine: what goes into the function `provision`, and what comes out.

use crate::resources::check_health;
use crate::spec::Mistake;
use crate::stack::{TAG_CHANGED_BY, TAG_CREATED_BY, Tags, tag_value};
use crate::{Aws, Failure, Resource, Result, Spec, Stack, check, image};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The input of one step. `execution` is the name of the Step Functions execution with its start time (a name alone can be
/// used again): the tags of created resources hold it.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Refuses a bad spec, with every mistake at once; answers the spec with all its defaults.
    CheckSpec {
        /// What the person sent.
        spec: Value,
    },
    /// Says what `ensure` would do with each resource, and calls nothing that writes.
    Plan {
        /// A checked spec.
        spec: Spec,
        /// The execution's name.
        execution: String,
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
    /// Asks the service over HTTPS for its health path; answers what it said.
    CheckHealth {
        /// A checked spec.
        spec: Spec,
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

/// What is to be removed: the input of the state machine `teardown`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(title = "groundcrew removal")]
pub struct Removal {
    /// The application's name.
    #[schemars(regex(pattern = Stack::APP), extend("patternErrorMessage" = Stack::APP_IN_WORDS), length(max = 30))]
    pub app: String,
    /// The environment's name.
    #[schemars(regex(pattern = Stack::ENVIRONMENT), extend("patternErrorMessage" = Stack::ENVIRONMENT_IN_WORDS), length(max = 16))]
    pub environment: String,
    /// Whether RDS takes a last snapshot of the database; it outlives the stack.
    #[serde(default = "yes")]
    pub final_snapshot: bool,
    /// Whether a database that is protected from deletion is deleted all the same. If not, such a stack is refused.
    #[serde(default)]
    pub ignore_deletion_protection: bool,
    /// Only what this execution of `provision` created: its name, a space, its start time. Its undo uses it.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub created_by: Option<String>,
}

fn yes() -> bool {
    true
}

impl Removal {
    /// Reads a removal.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with every mistake at once.
    pub fn parse(input: &Value) -> Result<Self> {
        crate::spec::parse(&Self::schema(), input, |removal: &Self| {
            crate::spec::name_mistake(&removal.stack())
                .into_iter()
                .collect::<Vec<Mistake>>()
        })
    }

    /// The JSON schema of a removal, draft 2020-12.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The stack that it is about.
    pub fn stack(&self) -> Stack {
        Stack {
            app: self.app.clone(),
            environment: self.environment.clone(),
        }
    }

    /// Whether a resource with these tags is to go: it is ours, and within the limits of an undo.
    pub fn covers(&self, tags: &Tags) -> bool {
        self.stack().owns(tags)
            && self
                .created_by
                .as_ref()
                .is_none_or(|execution| tags.get(TAG_CREATED_BY) == Some(&tag_value(execution)))
    }
}

/// What happened to one resource.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was as it should be.
    #[default]
    Unchanged,
    /// It existed, and this execution repaired or extended it.
    Changed,
    /// This execution created it.
    Created,
    /// This execution removed it, or part of it.
    Removed,
}

/// One pass of `ensure` or `destroy` over one resource: who does it, whether it may write, and what it found and did.
#[derive(Debug, Default)]
pub struct Run {
    /// The execution's name, for the tags.
    pub execution: String,
    /// Whether to decide only.
    pub dry_run: bool,
    changes: Vec<String>,
    details: BTreeMap<String, String>,
    outcome: Outcome,
}

impl Run {
    /// A pass of `execution` that acts.
    pub fn acting(execution: &str) -> Self {
        Self {
            execution: tag_value(execution),
            ..Self::default()
        }
    }

    /// A pass that only decides.
    pub fn deciding(execution: &str) -> Self {
        Self {
            dry_run: true,
            ..Self::acting(execution)
        }
    }

    /// Notes that something has to be created. `false` in a dry run: then do not.
    #[must_use]
    pub fn create(&mut self, what: impl Into<String>) -> bool {
        self.note(Outcome::Created, "create", what.into())
    }

    /// Notes that something has to be changed. `false` in a dry run: then do not.
    #[must_use]
    pub fn change(&mut self, what: impl Into<String>) -> bool {
        self.note(Outcome::Changed, "change", what.into())
    }

    /// Notes that something has to go. `false` in a dry run: then do not.
    #[must_use]
    pub fn remove(&mut self, what: impl Into<String>) -> bool {
        self.note(Outcome::Removed, "remove", what.into())
    }

    fn note(&mut self, outcome: Outcome, verb: &str, what: String) -> bool {
        if !self.dry_run {
            tracing::info!(execution = self.execution, "{verb} {what}");
        }
        self.changes.push(format!("{verb} {what}"));
        self.outcome = self.outcome.max(outcome);
        !self.dry_run
    }

    /// Notes what a reader of the report wants to know, an ARN for instance.
    pub fn tell(&mut self, name: &str, value: impl Into<String>) {
        self.details.insert(name.into(), value.into());
    }

    /// Takes the outcome from the tags of a resource that exists: a step that had to wait is called again and finds what
    /// its own earlier call created or changed.
    pub fn settle(&mut self, tags: &Tags) {
        let by_us = |tag: &str| tags.get(tag) == Some(&self.execution);
        let outcome = if by_us(TAG_CREATED_BY) {
            Outcome::Created
        } else if by_us(TAG_CHANGED_BY) {
            Outcome::Changed
        } else {
            return;
        };
        self.outcome = self.outcome.max(outcome);
    }

    /// Whether this execution has created the resource, now or in an earlier call: then it is no change to complete it.
    pub(crate) fn has_created(&self) -> bool {
        self.outcome == Outcome::Created
    }

    /// What is planned or done, one line each.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// The outcome so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    fn report(self, entered: Option<Timestamp>) -> Value {
        let seconds = entered.map(|entered| Timestamp::now().duration_since(entered).as_secs_f64());
        json!({
            "outcome": self.outcome,
            "changes": self.changes,
            "details": self.details,
            "seconds": seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0),
        })
    }
}

impl Step {
    /// Reads the input of the function.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for anything that no state machine of ours sends.
    pub fn parse(input: Value) -> Result<Self> {
        serde_json::from_value(input).map_err(|error| {
            crate::Error::invalid(
                "",
                error.to_string(),
                "the input of a state of provision or teardown",
            )
        })
    }

    /// Does the step.
    ///
    /// # Errors
    /// Those of [`crate::Error`]; the state machine retries or catches them by name.
    pub async fn handle(self, aws: &Aws) -> Result<Value> {
        match self {
            Self::CheckSpec { spec } => {
                let spec = Spec::parse(&spec)?;
                check::spec(aws, &spec).await?;
                Ok(json!(spec))
            }
            Self::Plan { spec, execution } => {
                let mut resources = serde_json::Map::new();
                for resource in Resource::ALL {
                    let mut run = Run::deciding(&execution);
                    resource.ensure(aws, &spec, &mut run).await?;
                    resources.insert(resource.name().into(), run.report(None));
                }
                Ok(Value::Object(resources))
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
            Self::CheckHealth { spec } => check_health(aws, &spec).await,
            Self::CheckRemoval { removal } => {
                let removal = Removal::parse(&removal)?;
                check::removal(aws, &removal).await?;
                Ok(json!(removal))
            }
            Self::Destroy {
                resource,
                removal,
                entered,
            } => {
                let mut run = Run::acting("");
                resource.destroy(aws, &removal, &mut run).await?;
                Ok(run.report(Some(entered)))
            }
            Self::Prune { spec } => {
                let mut run = Run::acting("");
                crate::resources::prune(aws, &spec, &mut run).await?;
                Ok(run.report(None))
            }
            Self::Remaining { removal, failure } => {
                let mut left = Vec::new();
                for resource in Resource::ALL {
                    let mut run = Run::deciding("");
                    resource.destroy(aws, &removal, &mut run).await?;
                    let names = run
                        .changes
                        .iter()
                        .filter_map(|change| change.strip_prefix("remove "));
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
    fn a_failure_without_a_sentence_is_told_by_its_name() {
        let sentence = sentence(&failure(""), &[]);
        assert_eq!(
            sentence,
            "States.Timeout. And nothing is left of what this execution created."
        );
    }
}
