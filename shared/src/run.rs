//! One pass over one resource: what it may do, and what it did.

use crate::stack::{TAG_CHANGED_BY, TAG_CREATED_BY, Tags, tag_value};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
    urgent: Vec<String>,
    waits: Vec<String>,
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

    /// The same of something that must not stay as it is until somebody has time: it opens the stack to others.
    #[must_use]
    pub fn change_urgently(&mut self, what: impl Into<String>) -> bool {
        let what = what.into();
        self.urgent.push(what.clone());
        self.change(what)
    }

    /// Notes that something has to go. `false` in a dry run: then do not.
    #[must_use]
    pub fn remove(&mut self, what: impl Into<String>) -> bool {
        self.note(Outcome::Removed, "remove", what.into())
    }

    /// Notes what stays although it is the stack's, and why.
    pub fn leave(&mut self, what: impl Into<String>) {
        self.changes.push(format!("leave {}", what.into()));
    }

    /// Notes what differs and can only be changed once the stack is awake.
    pub fn wait(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.dry_run {
            tracing::info!(execution = self.execution, "{what} waits");
        }
        self.waits.push(what);
    }

    /// What waits until the stack is awake, one line each.
    pub fn waits(&self) -> &[String] {
        &self.waits
    }

    fn note(&mut self, outcome: Outcome, verb: &str, what: String) -> bool {
        if !self.dry_run {
            tracing::info!(execution = self.execution, "{verb} {what}");
        }
        self.changes.push(format!("{verb} {what}"));
        self.outcome = self.outcome.max(outcome);
        !self.dry_run
    }

    /// What must not stay as it is, one line each.
    pub fn urgent(&self) -> &[String] {
        &self.urgent
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
    pub fn has_created(&self) -> bool {
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

    /// What is reported of it: `{"outcome", "changes", "waits", "details", "seconds"}`, the seconds since `entered`.
    pub fn report(self, entered: Option<Timestamp>) -> Value {
        let seconds = entered.map(|entered| Timestamp::now().duration_since(entered).as_secs_f64());
        json!({
            "outcome": self.outcome,
            "changes": self.changes,
            "waits": self.waits,
            "details": self.details,
            "seconds": seconds.map(|seconds| (seconds * 1000.0).round() / 1000.0),
        })
    }
}
