//! What went wrong in a state, as the state after it hears of it.

use serde::Deserialize;
use serde_json::Value;

/// What a `Catch` of Step Functions passes on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failure {
    /// The error's name.
    pub error: String,
    /// Free text, if there is any; that of a function is JSON with `errorMessage`.
    #[serde(default)]
    pub cause: String,
}

impl Failure {
    /// What a person reads: the function's own sentence where there is one, otherwise the cause, or the error's name.
    pub fn sentence(&self) -> String {
        let parsed: Option<Value> = serde_json::from_str(&self.cause).ok();
        let message = parsed
            .as_ref()
            .and_then(|parsed| parsed["errorMessage"].as_str());
        match message.unwrap_or(&self.cause) {
            "" => self.error.clone(),
            message => message.to_owned(),
        }
    }
}
