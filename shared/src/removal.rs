//! What is to be removed of a stack.

use crate::stack::{TAG_CREATED_BY, Tags, tag_value};
use crate::{Mistake, Result, Stack, input};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is to be removed: the input of the state machine `teardown`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields, title = "groundcrew removal")]
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
        input::parse(&Self::schema(), input, |removal: &Self| {
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

    /// Whether it is the undo of an execution of `provision`.
    pub fn is_undo(&self) -> bool {
        self.created_by.is_some()
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
