//! The spec that a stack was last brought in line with: what a person may start `provision` with instead of the whole spec, and
//! what the stack is compared with every day.

use groundcrew::memory::LastSpec;
use groundcrew::spec::Apply;
use groundcrew::stack::Tags;
use groundcrew::{Aws, Error, Memory, Result, Spec, input};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// The input of `provision` that brings a stack in line with its last spec.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// The name of the stack, `shop-staging`.
    pub stack: String,
    /// As in a spec.
    #[serde(default)]
    pub dry_run: bool,
    /// As in a spec.
    #[serde(default)]
    pub wake: bool,
    /// As in a spec.
    #[serde(default)]
    pub apply: Apply,
}

impl Again {
    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every mistake at once.
    pub fn parse(input: &Value) -> Result<Self> {
        input::parse(&schemars::schema_for!(Self).to_value(), input, |_| {
            Vec::new()
        })
    }
}

/// What `provision` was started with: a spec, or the name of a stack whose last spec it is to be.
///
/// # Errors
/// [`Error::Invalid`] for a stack of which no spec is remembered; those of `dynamodb:GetItem`.
pub(crate) async fn meant(aws: &Aws, input: &Value) -> Result<Value> {
    if input.get("stack").is_none() {
        return Ok(input.clone());
    }
    let again = Again::parse(input)?;
    let memory = of(aws, &again.stack).await?;
    if memory.is_new() {
        let allowed = "the name of a stack that provision has built, as shop-staging; of this one no spec is remembered, so start provision with its whole spec";
        return Err(Error::invalid("stack", again.stack, allowed));
    }
    let mut meant = memory.spec.clone();
    meant["dry_run"] = json!(again.dry_run);
    meant["wake"] = json!(again.wake);
    meant["apply"] = json!(again.apply);
    Ok(meant)
}

/// Remembers that a stack is as this spec has it.
///
/// # Errors
/// `NotReady` if another execution remembers another one at this moment; those of DynamoDB.
pub(crate) async fn remember(aws: &Aws, spec: &Spec) -> Result<()> {
    let mut memory = of(aws, &spec.stack().name()).await?;
    let mut spec = json!(spec);
    // What a person asks of one execution is no part of it.
    spec["dry_run"] = json!(false);
    spec["wake"] = json!(false);
    spec["apply"] = json!(Apply::default());
    // What stays although it differs is not told again.
    let told = memory.told.clone();
    memory.write(aws, LastSpec { spec, told }).await
}

/// What is remembered of a stack, by its name.
///
/// # Errors
/// Those of `dynamodb:GetItem`.
pub(crate) async fn of(aws: &Aws, stack: &str) -> Result<Memory<LastSpec>> {
    Memory::of(aws, stack, &Tags::new()).await
}
