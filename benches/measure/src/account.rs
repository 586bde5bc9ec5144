//! A local AWS with groundcrew deployed, and what a person starts on it.

use crate::{Begun, Count, Error, Result};
use apprunner_emulator::Arrangement;
use rehearsal::{End, Execution, LocalAws, Options, Outputs};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

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

    /// A look of `park`, with the ends of the executions that it starts.
    ///
    /// # Errors
    /// If one of them fails.
    pub(crate) async fn look(&self, name: &str, input: &Value) -> Result<(End, Vec<End>)> {
        const PARK: &str = "ParkStateMachineArn";
        let look = self.execute(PARK, name, input).await?;
        let ends = self
            .local
            .ends_of_started(self.outputs.get(PARK)?, &look)
            .await?;
        match ends.iter().find(|end| !end.succeeded) {
            Some(end) => Err(Error::Unexpected(format!("park failed: {}", end.message))),
            None => Ok((look, ends)),
        }
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

    /// Begins to count what something takes.
    pub(crate) async fn begin(&self) -> Result<Before> {
        let executions = self.executions().await?;
        Ok(Before {
            begun: Count::begin(&self.local).await?,
            executions: executions.iter().map(|it| it.arn().to_owned()).collect(),
        })
    }

    /// What it took, once so many executions of any state machine have ended, and all that follows from them.
    ///
    /// # Errors
    /// If they do not come.
    pub(crate) async fn spent(&self, before: &Before, executions: usize) -> Result<Spent> {
        const PATIENCE: Duration = Duration::from_secs(600);
        const LOOK: Duration = Duration::from_secs(2);
        let began = Instant::now();
        let mut known = (0, 0);
        loop {
            let mut new = self.executions().await?;
            new.retain(|execution| !before.executions.contains(execution.arn()));
            let mut spent = Spent::default();
            let found = new.len();
            for execution in new {
                spent.transitions += execution.end().await?.transitions;
            }
            let now = (found, self.local.invocations().await?.len());
            if found >= executions && now == known {
                spent.count = Count::since(before.begun, &self.local).await?;
                return Ok(spent);
            }
            if began.elapsed() > PATIENCE {
                let why = format!("{found} executions were started instead of {executions}");
                return Err(Error::Unexpected(why));
            }
            known = now;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn executions(&self) -> Result<Vec<Execution>> {
        let mut all = Vec::new();
        for machine in ["Provision", "Teardown", "Deploy", "Park", "Sweep"] {
            let arn = self.outputs.get(&format!("{machine}StateMachineArn"))?;
            all.extend(self.local.executions(arn, "").await?);
        }
        Ok(all)
    }
}

/// Where something begins.
pub(crate) struct Before {
    begun: Begun,
    executions: BTreeSet<String>,
}

/// What something took.
#[derive(Default)]
pub(crate) struct Spent {
    pub(crate) count: Count,
    pub(crate) transitions: usize,
}

/// Arranges something in App Runner.
pub(crate) fn arrange(local: &LocalAws, arrangement: Arrangement) -> Result<()> {
    let arranged = local.apprunner().arrange(arrangement);
    arranged.map_err(|error| Error::Unexpected(format!("not arranged: {error}")))
}

/// A call of whoever measures that AWS refuses.
pub(crate) fn refused<E: std::error::Error>(what: &str) -> impl FnOnce(E) -> Error {
    move |error| Error::Unexpected(format!("{what}: {error:?}"))
}

/// A file of `events/`.
pub(crate) fn example(file: &str) -> Result<Value> {
    let path = Path::new("events").join(file);
    let text = std::fs::read_to_string(rehearsal::root().join(&path));
    let text = text.map_err(Error::io(format!("cannot read {}", path.display())))?;
    let json = serde_json::from_str(&text);
    json.map_err(|error| Error::Unexpected(format!("{}: {error}", path.display())))
}
