//! How a stack differs from its last spec: what `provision` answers when it compares, and what the sweep tells.

use serde::{Deserialize, Serialize};

/// How a stack differs from the spec that it was last brought in line with.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Drift {
    /// The name of the stack.
    pub stack: String,
    /// What must not stay as it is, one line each: a role without its boundary, a database that others can reach.
    pub urgent: Vec<String>,
    /// What else differs, one line each.
    pub differs: Vec<String>,
    /// The fingerprint of what differs; `None` if nothing does.
    pub fingerprint: Option<String>,
    /// Whether a person was told of just that.
    pub is_told: bool,
}

impl Drift {
    /// Whether anything differs.
    pub fn is_there(&self) -> bool {
        !(self.urgent.is_empty() && self.differs.is_empty())
    }
}
