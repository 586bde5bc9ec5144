//! Connections that break at every call, and executions that stop for good: the state machines are played with the code of the
//! functions, in this process.

mod alarms;
mod deployments;
mod disturbance;
mod nights;
mod stacks;
mod sweeps;
mod wakes;

use crate::asl::{Failure, Machine, Played, State, Tasks, play};
use crate::stage::Stage;
use disturbance::Disturbance;
use groundcrew::{Aws, Error};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// How often a step is repeated that is not part of an execution, before it counts as stuck.
pub(crate) const PATIENCE: u32 = 2_000;

/// An execution whose steps are answered by `answer`: by the code of a function, and by whatever a test does around it.
struct Execution<'a, F> {
    machine: Machine,
    name: &'a str,
    started: Timestamp,
    answer: F,
    disturbance: Option<&'a Disturbance>,
}

impl<'a, F: AsyncFn(Value) -> Result<Value, Failure>> Execution<'a, F> {
    fn of(machine: Machine, name: &'a str, answer: F) -> Self {
        Self {
            machine,
            name,
            started: Timestamp::now(),
            answer,
            disturbance: None,
        }
    }

    /// With a connection that may break at a call of each state.
    fn disturbed(mut self, disturbance: &'a Disturbance) -> Self {
        self.disturbance = Some(disturbance);
        self
    }

    /// The one that was started then, which goes on as when a function ended in the middle of a step.
    fn started(mut self, at: Timestamp) -> Self {
        self.started = at;
        self
    }

    async fn play(&self, input: &Value) -> Played {
        play(&self.machine, self, (self.name, self.started), input).await
    }
}

impl<F: AsyncFn(Value) -> Result<Value, Failure>> Tasks for Execution<'_, F> {
    async fn call(&self, _: State<'_>, step: Value) -> Result<Value, Failure> {
        // On the heap, for it holds all that a step of a function can do.
        Box::pin((self.answer)(step)).await
    }

    /// What takes minutes on AWS is over in milliseconds here, however often a state may ask until then.
    async fn wait(&self, _: f64) {
        pause().await;
    }

    fn enters(&self, _: &Played) -> bool {
        self.disturbance.inspect(|it| it.next_state());
        true
    }
}

/// A step whose execution stops for good where a disturbance strikes.
async fn stopping(
    disturbance: &Disturbance,
    step: impl Future<Output = Result<Value, Error>>,
) -> Result<Value, Failure> {
    let answer = step.await;
    if disturbance.struck() {
        return Err(Failure::Stopped);
    }
    answer.map_err(|error| Failure::from(&error))
}

/// A step that is repeated as a state machine would.
async fn patiently(step: impl AsyncFn() -> Result<Value, Error>) -> Value {
    for _ in 0..PATIENCE {
        match step().await {
            Ok(answer) => return answer,
            Err(error) if error.is_retried() => pause().await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it was not over after {PATIENCE} attempts")
}

pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

/// Waits until a call is struck, and until one that takes effect before its answer is lost has reached AWS.
async fn struck(disturbance: &Disturbance) {
    while !disturbance.struck() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
}

impl Stage {
    /// A state machine of one state, in place of one that a function starts; by its ARN.
    pub(crate) async fn machine(&self, name: &str, definition: &Value) -> String {
        let aws = self.local.aws();
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole",
        }]});
        let role = aws.iam().create_role().role_name(name);
        let role = role.assume_role_policy_document(trust.to_string());
        let role = role.send().await.expect("a role").role.expect("a role").arn;
        let machine = aws.sfn().create_state_machine().name(name);
        let machine = machine.definition(definition.to_string()).role_arn(role);
        let machine = machine.send().await.expect("a state machine");
        machine.state_machine_arn
    }

    /// Clients for functions that start this machine in place of `deploy`.
    fn clients(&self, deploy_state_machine: &str) -> Aws {
        let aws = self.local.aws();
        let mut account = aws.account.clone();
        account.deploy_state_machine = deploy_state_machine.to_owned();
        Aws::new(self.local.sdk_config(), aws.https.clone(), account)
    }
}
