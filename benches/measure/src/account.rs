//! A local AWS with groundcrew deployed, and what a person starts on it.

use crate::{Error, Result};
use rehearsal::{End, LocalAws, Options, Outputs};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// An account of its own.
pub(crate) struct Account {
    pub(crate) local: LocalAws,
    outputs: Outputs,
}

impl Account {
    /// Starts a local AWS where so many seconds pass in one, and deploys the template.
    pub(crate) async fn new(time_scale: f64, parameters: &[(&str, &str)]) -> Result<Self> {
        let prepared = rehearsal::prepare().await?;
        let functions = rehearsal::build().await?;
        let local = LocalAws::start(&prepared, Options { time_scale }).await?;
        let template = rehearsal::root().join("template.yaml");
        let outputs = local.deploy(&template, functions, parameters).await?;
        Ok(Self { local, outputs })
    }

    /// Starts the state machine that an output names, and waits for the end.
    ///
    /// # Errors
    /// If the execution fails.
    pub(crate) async fn execute(&self, machine: &str, name: &str, input: &Value) -> Result<End> {
        let arn = self.outputs.get(machine)?;
        let started = self.local.start_execution(arn, name, input).await?;
        let end = started.end().await?;
        if end.succeeded {
            return Ok(end);
        }
        let (error, message) = (&end.error, &end.message);
        let why = format!("the execution {name} of {machine} failed: {error}: {message}");
        Err(Error::Unexpected(why))
    }

    /// Builds a stack. Its image is pushed as soon as its repository is there.
    ///
    /// # Errors
    /// If that fails.
    pub(crate) async fn provision(&self, name: &str, spec: &Value) -> Result<End> {
        const LOOK: Duration = Duration::from_millis(50);
        let text = |field: &str| spec[field].as_str().unwrap_or_default();
        let repository = format!("{}-{}", text("app"), text("environment"));
        let pushed = async {
            let push = || self.local.push_image(&repository, "latest", "amd64");
            while push().await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            end = self.execute("ProvisionStateMachineArn", name, spec) => end,
            () = pushed => unreachable!("it waits for ever in the end"),
        }
    }

    /// The ARN or name in an output of the template.
    pub(crate) fn output(&self, name: &str) -> Result<&str> {
        Ok(self.outputs.get(name)?)
    }
}

/// A file of `events/`.
pub(crate) fn example(file: &str) -> Result<Value> {
    let path = Path::new("events").join(file);
    let text = std::fs::read_to_string(rehearsal::root().join(&path));
    let text = text.map_err(Error::io(format!("cannot read {}", path.display())))?;
    let json = serde_json::from_str(&text);
    json.map_err(|error| Error::Unexpected(format!("{}: {error}", path.display())))
}
