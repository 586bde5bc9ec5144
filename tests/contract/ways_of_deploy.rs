//! What every way through the state machine `deploy` comes to.

use crate::asl::machines;
use crate::asl::{Functions, Played, State, every_way};
use deploy::{Assessment, Step};
use groundcrew::Error;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// How often a way assesses: a service is looked at once more behind a failed or refused image, which is rejected by then.
const ROUNDS: usize = 2;

/// From each assessment to the next one, or to the end.
fn rounds(way: &Played) -> Vec<&[String]> {
    let starts = way.positions("Assess");
    let ends = starts.iter().skip(1).copied().chain([way.states.len()]);
    let rounds = starts.iter().zip(ends);
    rounds
        .map(|(start, end)| &way.states[*start..end])
        .collect()
}

/// A deployment as the states hand it on.
pub(crate) fn deployment(kind: &str) -> Value {
    json!({
        "service_arn": "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a", "service": "shop-dev", "kind": kind,
        "digest": "sha256:0b", "tag": "latest", "previous": null, "secrets": null, "new_secrets": true, "operation_id": "0c",
        "bake_minutes": 10, "health": null, "cause": "a push", "asked_for": false, "instead_of": null, "left_over": false,
        "created_at": "2026-11-01T00:00:00Z",
    })
}

/// The end of an operation.
pub(crate) fn ended(succeeded: bool) -> Value {
    let at = "2026-11-21T01:02:03Z";
    json!({"succeeded": succeeded, "status": "…", "delivered": true, "started_at": at, "ended_at": at})
}

fn assessment(verdict: &str, kind: Option<&str>, outcome: &str, look_again: bool) -> Value {
    let told =
        json!({"subject": "shop-dev: latest refused", "message": "it is for another platform"});
    let answer = json!({
        "verdict": verdict, "reason": "so", "deployment": kind.map(deployment), "look_again": look_again, "outcome": outcome,
        "notification": if verdict == "refused" { told } else { Value::Null },
    });
    // Through its own type, so that an answer that it cannot give is not passed with.
    let answer: Assessment = serde_json::from_value(answer).unwrap();
    json!(answer)
}

/// What the function can answer to a step.
fn answers(step: &Value) -> Vec<Value> {
    let told = json!({"subject": "shop-dev: …", "message": "…"});
    let deliveries = step["deployment"]["deliveries"].as_u64().unwrap_or(0);
    let health = |well: bool, interruption: &str| {
        json!({
            "well": well, "why": "seen", "note": null, "superseded": interruption == "superseded",
            "secrets_moved": interruption == "secrets moved",
        })
    };
    // Once at the smoke check and once in the window: no way has more of them.
    assert_eq!(deploy::MOST_DELIVERIES, 2);
    let moved = |after: u64| (deliveries == after).then(|| health(true, "secrets moved"));
    let timed = |mut health: Value, over| {
        // The whole window in one wait.
        let looks = step["looks"].as_u64().unwrap() + 1;
        let more = json!({"over": over, "looks": looks, "seconds": longest_window() * 60});
        health
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        health
    };
    let look = |well, over| timed(health(well, ""), over);
    match step["action"].as_str().unwrap() {
        "assess" => vec![
            assessment("nothing", None, "Nothing", false),
            assessment("refused", None, "Refused", false),
            assessment("refused", None, "Refused", true),
            assessment("refused", None, "Replaced", false),
            assessment("deploying", Some("image"), "Deploying", false),
            assessment("deploying", Some("secrets"), "Deploying", false),
            assessment("deploying", Some("rollback"), "Deploying", false),
        ],
        "order" => [true, false]
            .map(|held| json!({"held": held, "reason": "so"}))
            .into(),
        "await-operation" => {
            let mut of_somebody_else = ended(true);
            of_somebody_else["delivered"] = json!(false);
            let mut gone = ended(false);
            gone["status"] = json!("GONE");
            vec![ended(true), ended(false), of_somebody_else, gone]
        }
        "smoke-check" => {
            let answers = [true, false].map(|well| health(well, ""));
            answers.into_iter().chain(moved(0)).collect()
        }
        "bake" if step["looks"] == 0 => {
            vec![look(true, false), look(false, false), look(true, true)]
        }
        // Interrupted at the end of the window: no way takes longer.
        "bake" => {
            let superseded = Some(health(true, "superseded"));
            let interrupted = superseded.into_iter().chain(moved(1));
            let answers = [look(true, true), look(false, true)].into_iter();
            answers
                .chain(interrupted.map(|it| timed(it, true)))
                .collect()
        }
        "deliver-secrets" => {
            let mut delivered = step["deployment"].clone();
            delivered["deliveries"] = json!(deliveries + 1);
            vec![
                json!({"deployment": delivered, "delivering": true}),
                json!({"deployment": step["deployment"], "delivering": false}),
            ]
        }
        "roll-back" => {
            let answer = |deployment, left| json!({"deployment": deployment, "operation": step["operation"], "left": left});
            vec![
                answer(deployment("rollback"), Value::Null),
                answer(step["deployment"].clone(), "no way back".into()),
            ]
        }
        "settle" if step["operation"]["status"] == "GONE" || step["note"] == "superseded" => {
            vec![
                json!({"outcome": "Nothing", "notification": null, "reason": "gone", "look_again": false}),
            ]
        }
        "settle" => {
            let kind = step["deployment"]["kind"].as_str().unwrap();
            let succeeded = step["operation"]["succeeded"] == true;
            let (outcome, look_again) = match (kind, succeeded, step["left"].is_null()) {
                (_, true, false) => ("Unwell", false),
                ("rollback", true, true) => ("RolledBack", false),
                ("rollback", false, _) => ("RollbackFailed", false),
                (_, true, true) => ("Deployed", false),
                (kind, false, _) => ("DeploymentFailed", kind == "image"),
            };
            vec![
                json!({"outcome": outcome, "notification": told, "reason": "so", "look_again": look_again}),
            ]
        }
        "explain" => [told, Value::Null]
            .map(|told| json!({"outcome": "Stuck", "notification": told}))
            .into(),
        action => panic!("who answers {action}?"),
    }
}

/// The function of `deploy`.
struct Deploy;

impl Functions for Deploy {
    fn answers(&self, state: State<'_>, step: &Value) -> Vec<Value> {
        let read = Step::parse(step.clone());
        read.unwrap_or_else(|error| panic!("{}: {error}", state.name));
        answers(step)
    }

    fn is_enough(&self, way: &Played) -> bool {
        let assessed = way.positions("Assess").len();
        // Secrets that move are looked at in ways with one assessment: with two of them there were millions.
        let has_delivered = !way.positions("Deliver the secrets").is_empty();
        assessed > ROUNDS || (assessed > 1 && has_delivered)
    }
}

/// All ways through the machine, to their end.
pub(crate) fn ways() -> &'static [Played] {
    static WAYS: LazyLock<Vec<Played>> = LazyLock::new(|| {
        let inputs = [
            json!({"service": "shop-dev"}),
            json!({"service": "shop-dev", "hold": true}),
            json!({"service": "shop-dev", "to": "previous"}),
            json!({"service": "shop-dev", "cause": "a push"}),
        ];
        inputs
            .map(|input| every_way(&machines::deploy(), &Deploy, &input))
            .concat()
    });
    &WAYS
}

/// The states that publish.
fn publishing() -> BTreeSet<String> {
    let machine = machines::deploy();
    let tasks = machine.tasks().into_iter();
    let publishing = tasks.filter(|task| task.value["Resource"] == "arn:aws:states:::sns:publish");
    publishing.map(|task| task.name.to_owned()).collect()
}

#[test]
fn the_ways_come_to_every_state_of_deploy() {
    let ways = ways();
    let passed: BTreeSet<_> = ways.iter().flat_map(|way| &way.states).collect();
    for state in machines::deploy().states() {
        assert!(passed.contains(&state.name.to_owned()), "{}", state.name);
    }
    assert!(ways.len() > 50, "{} ways", ways.len());
}

#[test]
fn each_outcome_of_a_deployment_is_told_once_and_that_there_is_nothing_to_do_is_not() {
    let publishing = publishing();
    for way in ways() {
        let rounds = rounds(way);
        for (n, round) in rounds.iter().enumerate() {
            let told = round.iter().filter(|state| publishing.contains(*state));
            let is_last = n + 1 == rounds.len();
            let silent = match is_last {
                true => ["Nothing to do", "Refused input", "Told before"].contains(&way.last()),
                false => was_not_ours(round),
            };
            let expected = if silent { 0 } else { 1 };
            assert_eq!(told.count(), expected, "{round:?}");
        }
        assert_eq!(way.positions("Tell").len(), way.to_tell, "{:?}", way.states);
    }
}

/// A person who starts an execution reads its end; nobody reads that of one which an event has started.
#[test]
fn a_refusal_is_told_unless_a_person_waits_for_it() {
    for (input, told) in [
        (json!({"service": "shop-dev"}), false),
        (json!({"service": "shop-dev", "hold": true}), false),
        (json!({"service": "shop-dev", "cause": "a push"}), true),
    ] {
        let ways = every_way(&machines::deploy(), &Deploy, &input);
        let refused = ways.iter().filter(|way| way.has("Does a person wait?"));
        let refused: Vec<_> = refused.collect();
        assert!(!refused.is_empty(), "{input}");
        for way in refused {
            assert_eq!(way.has("Explain"), told, "{input}: {:?}", way.states);
            assert_eq!(way.last() == "Refused input", !told, "{input}");
        }
    }
}

/// Whether App Runner had taken somebody else's update, so that the service is looked at again.
fn was_not_ours(round: &[String]) -> bool {
    round
        .last()
        .is_some_and(|state| state == "Is there something to watch?")
}

#[test]
fn a_deployment_is_rolled_back_at_most_once_and_a_rollback_never() {
    for way in ways() {
        for round in rounds(way) {
            let back = round.iter().filter(|state| *state == "Roll back");
            assert!(back.count() <= 1, "{round:?}");
        }
        for step in &way.steps {
            let again = step["action"] == "roll-back" && step["deployment"]["kind"] == "rollback";
            assert!(!again, "{:?}", way.states);
        }
    }
}

/// The end that its `Settle` or `Explain` found out, and no other.
#[test]
fn an_execution_succeeds_if_and_only_if_it_deployed_or_had_nothing_to_do() {
    let machine = machines::deploy();
    let top = machine.top();
    for way in ways().iter().filter(|way| way.last() != "Not told") {
        let fails = top.state(way.last()).unwrap().kind() == "Fail";
        let outcome = way.data["outcome"].as_str();
        let is_good = ["Deployed", "Nothing"].map(Some).contains(&outcome);
        assert_ne!(fails, is_good, "{:?}: {}", way.states, way.data);
    }
}

/// Whatever App Runner was asked for, its end is recorded, or a person is told that nobody knows it.
#[test]
fn what_was_deployed_is_settled_or_explained() {
    for way in ways() {
        for round in rounds(way) {
            let has = |name: &str| round.iter().any(|state| state == name);
            if has("Await the operation") && !was_not_ours(round) {
                assert!(has("Settle") || has("Explain"), "{round:?}");
            }
        }
    }
}

#[test]
fn deploy_does_not_time_out_before_its_states_give_up() {
    let ways = ways();
    let longest = ways.iter().map(|way| way.seconds).fold(0.0, f64::max);
    let allowed = machines::deploy().timeout_seconds();
    assert!(
        longest <= allowed as f64,
        "the longest way takes {longest} s, and an execution may take {allowed} s"
    );
}

/// A state that writes goes on after every error that a repetition may mend, and after no other.
#[test]
fn what_writes_is_repeated_on_exactly_the_errors_that_ask_for_it() {
    let machine = machines::deploy();
    for state in machine.steps() {
        if ["assess", "deliver-secrets", "roll-back", "settle"].contains(&state.action()) {
            let retried: BTreeSet<_> = Error::NAMES
                .into_iter()
                .filter(|name| state.retrier(name).is_some())
                .collect();
            let mut expected = BTreeSet::from(["Busy", "NotReady", "Throttled", "Unavailable"]);
            if state.action() == "assess" {
                expected.insert("Claimed");
            }
            assert_eq!(retried, expected, "{}", state.name);
        }
    }
}

/// The longest bake window that a policy can have, in minutes.
fn longest_window() -> u64 {
    let longest = (1..=u16::MAX).take_while(|minutes| {
        let policy = Some(format!("bake={minutes}"));
        groundcrew::Policy::parse(policy.as_ref()).is_ok()
    });
    longest.count() as u64
}

/// The function counts the retries and has no other clock.
#[test]
fn a_service_that_does_not_answer_is_asked_as_often_as_the_function_wants() {
    let machine = machines::deploy();
    let state = machine.top().state("Smoke check").unwrap();
    let retrier = state.retrier("NotReady").unwrap();
    assert!(retrier["MaxAttempts"].as_u64().unwrap() >= 5);
    assert!(longest_window() >= 10);
}
