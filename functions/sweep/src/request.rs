//! What an execution of `sweep` is started with, by the schedule or by a person.

use groundcrew::{Result, input};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The input of the state machine `sweep`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(title = "groundcrew sweep")]
pub struct Request {
    /// Only this stack, by its name, `shop-staging`. Left out: all of them.
    #[serde(default)]
    pub stack: Option<String>,
    /// `true` says what would be repaired, and repairs nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`groundcrew::Error::Invalid`] with every mistake at once.
    pub fn parse(input: &Value) -> Result<Self> {
        input::parse(&Self::schema(), input, |_| Vec::new())
    }

    /// The JSON schema of a request, draft 2020-12.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn everything_is_swept_unless_a_stack_is_named_and_a_slip_of_the_pen_is_refused() {
        let read = |input: Value| Request::parse(&input);
        assert_eq!(read(json!({})).expect("a request"), Request::default());
        let one = read(json!({"stack": "shop-staging", "dry_run": true})).expect("a request");
        assert_eq!(
            (one.stack.as_deref(), one.dry_run),
            (Some("shop-staging"), true)
        );
        let error = read(json!({"dry-run": true}))
            .expect_err("refused")
            .to_string();
        assert!(error.contains("dry-run"), "{error}");
    }
}
