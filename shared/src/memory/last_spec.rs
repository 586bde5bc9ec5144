//! What a stack was last built as.

use super::Remembered;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The spec that a stack was last brought in line with, and what a person was told of what has changed since.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct LastSpec {
    /// The spec with all its defaults, as its check has answered it. A later version reads it as it reads a person's.
    pub spec: Value,
    /// The fingerprint of the differences that a person was told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

impl Remembered for LastSpec {
    const KIND: &'static str = "specs";
}
