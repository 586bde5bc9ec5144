//! The stage of the scenario tests: one local AWS with the whole template deployed, shared by the tests of a program.

use rehearsal::{End, LocalAws, Options, Outputs};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::runtime::Runtime;

/// A local AWS with groundcrew deployed.
pub struct Stage {
    /// The local AWS.
    pub local: LocalAws,
    /// The outputs of the template.
    pub outputs: Outputs,
}

static STAGE: OnceLock<(Runtime, Stage)> = OnceLock::new();

/// Plays a scenario on the stage, which is set by whoever comes first.
pub fn play<F: Future>(scenario: impl FnOnce(&'static Stage) -> F) -> F::Output {
    let (runtime, stage) = STAGE.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime can be made");
        let stage = runtime.block_on(Stage::set());
        (runtime, stage)
    });
    runtime.block_on(scenario(stage))
}

impl Stage {
    async fn set() -> Self {
        let prepared = rehearsal::prepare().await.expect("what the local AWS needs is there");
        let functions = rehearsal::build().await.expect("the functions build");
        let local = LocalAws::start(&prepared, Options::default()).await.expect("the local AWS starts");
        let template = rehearsal::root().join("template.yaml");
        let outputs = local
            .deploy(&template, &functions, &[("Architecture", "x86_64")])
            .await
            .expect("the template deploys");
        Self { local, outputs }
    }

    /// Starts `provision` and waits for its end.
    pub async fn provision(&self, spec: &Value) -> End {
        self.execute("ProvisionStateMachineArn", spec).await
    }

    /// Starts `teardown` and waits for its end.
    pub async fn teardown(&self, removal: &Value) -> End {
        self.execute("TeardownStateMachineArn", removal).await
    }

    async fn execute(&self, output: &str, input: &Value) -> End {
        let machine = self.outputs.get(output).expect("the template has the output");
        let execution = self.local.start_execution(machine, &name(), input).await.expect("the execution starts");
        execution.end().await.expect("the execution ends")
    }
}

/// A name that no other execution has.
pub fn name() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(1);
    format!("run-{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A small spec of a stack that nobody else uses.
pub fn spec(app: &str) -> Value {
    json!({"app": app, "environment": "dev", "service": {"health_check": {"path": "/health"}}})
}
