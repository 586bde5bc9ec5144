//! A model of one service: the real steps of `deploy` are played over an AWS in this process, through random histories of pushes,
//! rotations, wishes, holds, nights, maintenance, other people's updates and wiped tags, with executions that work at the same
//! time, stop for good and lose their connection. What must never happen is checked at each step, and in the end where it has
//! come to.

mod aws;
mod history;
mod rules;
mod world;

use crate::asl::{Failure, State, Tasks, machines, play};
use crate::properties::MODEL;
use crate::stage::{Service, Stage, play_fast};
use deploy::Step;
use history::{History, history, play_history};
use jiff::Timestamp;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How many histories are played, unless `MODEL_HISTORIES` says it.
const HISTORIES: u32 = 600;

fn explore(histories: u32, seed: u8) {
    let config = Config {
        cases: histories,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let runtime = Runtime::new().unwrap();
    let _context = runtime.enter();
    let holds = |history: History| match play_history(&history).broken.first() {
        None => Ok(()),
        Some(broken) => Err(TestCaseError::fail(broken.clone())),
    };
    // The same ones each time, so that a run says something about a change; `MODEL_SEED` brings others.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    match TestRunner::new_with_rng(config, rng).run(&history(), holds) {
        Ok(()) => {}
        Err(TestError::Fail(_, history)) => {
            let played = play_history(&history);
            panic!("\n{}\n\n{history:?}", played.story.join("\n"));
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn whatever_happens_the_service_ends_with_what_rules_wishes_and_verdicts_say() {
    LazyLock::force(&MODEL);
    let histories = std::env::var("MODEL_HISTORIES").ok();
    let histories = histories.map_or(HISTORIES, |it| it.parse().expect("a number"));
    let seed = std::env::var("MODEL_SEED").ok();
    let seed: u8 = seed.map_or(1, |it| it.parse().expect("a number"));
    std::thread::scope(|scope| {
        let halves = [seed, seed.wrapping_add(1)];
        let halves = halves.map(|seed| scope.spawn(move || explore(histories / 2, seed)));
        for half in halves {
            half.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// What an execution on the local AWS has at hand.
struct Local<'a> {
    service: &'a Service<'a>,
    /// Whether the service's alarm turns red in its bake.
    turns_red: bool,
}

impl Tasks for Local<'_> {
    async fn call(&self, _: State<'_>, step: Value) -> Result<Value, Failure> {
        if self.turns_red && step["action"] == "bake" {
            // Since ever: a minute of its bake takes a millisecond here, and only what comes after the deployment counts.
            let errors = self
                .service
                .publishes_since("5xxStatusResponses", Some(10.0), Some(0.0));
            errors.await;
        }
        let aws = self.service.stage.local.aws();
        let answer = async { Step::parse(step)?.handle(aws).await };
        Box::pin(answer)
            .await
            .map_err(|error| Failure::from(&error))
    }

    async fn wait(&self, _: f64) {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// The states that an execution entered, each once, and the subjects of its messages.
type Played = (Vec<String>, Vec<String>);

fn each_once(states: Vec<String>) -> Vec<String> {
    let mut once = Vec::new();
    for state in states {
        if !once.contains(&state) {
            once.push(state);
        }
    }
    once
}

/// [`History::plain`] on the local AWS.
async fn plain_on(stage: Stage) -> Vec<Played> {
    let secret = stage.secret("shop").await;
    let given = Service::given(&stage, "shop-dev").follows("semver:1");
    let given = given.policy("bake=3").reads("PASSWORD", &secret);
    let service = &given.create().await;
    service.alarm("errors", "5xxStatusResponses").await;
    let deploy = async |name: &str, mut input: Value, turns_red| -> Played {
        input["service"] = service.arn.clone().into();
        let tasks = Local { service, turns_red };
        let played = play(
            &machines::deploy(),
            &tasks,
            (name, Timestamp::now()),
            &input,
        )
        .await;
        let subjects = played.told.iter();
        let subjects = subjects.map(|told| told["Subject"].as_str().unwrap().to_owned());
        (each_once(played.states), subjects.collect())
    };
    let pushed = |digest: &str, tag: &str| {
        let pushed = json!({"digest": digest, "tag": tag, "at": Timestamp::now()});
        json!({"cause": "a push", "pushed": pushed})
    };
    // The secret that it was created with counts as delivered in the model.
    deploy("first", json!({"cause": "a look"}), false).await;
    let good = service.push("1.1.0").await;
    let good = deploy("good", pushed(&good, "1.1.0"), false).await;
    let unwell = service.push("1.2.0").await;
    service.answers(&unwell, 500);
    let unwell = deploy("unwell", pushed(&unwell, "1.2.0"), false).await;
    let fails = service.push("1.3.0").await;
    service.next("UPDATE_SERVICE", json!("fails"));
    let fails = deploy("fails", pushed(&fails, "1.3.0"), false).await;
    let rotated = stage.local.rotate_secret(&secret, "again").await;
    rotated.unwrap();
    let rotation = deploy("rotation", json!({"cause": "a rotation"}), false).await;
    let alarming = service.push("1.4.0").await;
    let alarming = deploy("alarming", pushed(&alarming, "1.4.0"), true).await;
    service.fails(false).await;
    let back = deploy("back", json!({"to": "previous"}), false).await;
    vec![good, unwell, fails, rotation, alarming, back]
}

#[test]
fn the_model_and_the_local_aws_tell_the_same_story() {
    LazyLock::force(&MODEL);
    let model = {
        let runtime = Runtime::new().unwrap();
        let _context = runtime.enter();
        play_history(&History::plain())
    };
    assert_eq!(model.broken, [""; 0], "{:#?}", model.story);
    let of_model = model
        .executions
        .into_iter()
        .map(|execution| (each_once(execution.states), execution.subjects));
    let of_local = play_fast(plain_on);
    let of_model: Vec<_> = of_model.take(of_local.len()).collect();
    for (model, local) in of_model.iter().zip(&of_local) {
        assert_eq!(model, local);
    }
}
