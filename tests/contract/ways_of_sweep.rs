//! Every way through the state machine `sweep`, passed with real data: each payload is made by the machine's own paths out of
//! answers of the types that its function answers with, and what it reports is what the function reports.

use crate::asl::machines;
use crate::asl::{Functions, Played, State, every_way};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use groundcrew::environment::Account;
use groundcrew::{Aws, Drift, Stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;
use sweep::{Finding, Listed, Looked, Remedy, Request, Step, Surroundings, Swept, Told};
use tokio::runtime::Builder;

/// As many batches as fifty stacks make.
const BATCHES: usize = 3;

const ROOM: usize = 10_000;

/// Something for each remedy.
fn findings() -> Vec<Finding> {
    let arn = || "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a".to_owned();
    let remedies = [
        Remedy::Alarms(arn()),
        Remedy::Deploy(arn()),
        Remedy::EndAutoDeployments(arn()),
        Remedy::Park,
        for_a_person(),
    ];
    remedies.map(found).into()
}

fn for_a_person() -> Remedy {
    Remedy::Person("Look at it".into())
}

fn found(remedy: Remedy) -> Finding {
    Finding {
        of: "service shop-dev".into(),
        what: "it is not as it should be".into(),
        remedy,
    }
}

fn listed(step: &Value, batches: usize) -> Value {
    let stack = Stack {
        app: "shop".into(),
        environment: "dev".into(),
    };
    json!(Listed {
        stacks: batches,
        batches: vec![vec![stack]; batches],
        room: ROOM,
        dry_run: Request::parse(&step["request"]).unwrap().dry_run,
    })
}

fn looked(step: &Value, findings: Vec<Finding>) -> Value {
    let is_wanted = step["dry_run"] == false;
    json!(Looked {
        services: 1,
        to_repair: is_wanted && findings.iter().any(Finding::is_repairable),
        swept: Swept {
            told: step["compared"]["drifts"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|_| is_wanted)
                .map(told)
                .collect(),
            ..Swept::looked_at(&findings, ROOM)
        },
        findings,
    })
}

/// How `provision` says that a stack differs from its spec.
fn drift() -> Drift {
    Drift {
        stack: "shop-dev".into(),
        urgent: Vec::new(),
        differs: vec!["change database shop-dev: class db.t4g.large → db.t4g.micro".into()],
        fingerprint: Some("0a".into()),
        is_told: false,
    }
}

fn told(drift: &Value) -> Told {
    Told {
        stack: drift["stack"].as_str().unwrap().into(),
        fingerprint: drift["fingerprint"].as_str().map(str::to_owned),
    }
}

fn repaired(step: &Value, succeeds: bool) -> Value {
    let findings: Vec<Finding> = serde_json::from_value(step["findings"].clone()).unwrap();
    let mut swept = Swept::default();
    for finding in findings {
        let lines = match finding.is_repairable() {
            false => &mut swept.for_a_person,
            true if succeeds => &mut swept.repaired,
            true => &mut swept.failed,
        };
        lines.push(finding.to_string(), ROOM);
    }
    swept.told = serde_json::from_value(step["told"].clone()).unwrap();
    json!(swept)
}

/// What the function itself answers, which asks AWS for nothing.
fn reported(step: Step) -> Value {
    #[derive(Debug)]
    struct Nobody;
    impl HttpConnector for Nobody {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            panic!("a report asks nobody")
        }
    }
    let account = Account {
        partition: "aws".into(),
        region: "us-east-1".into(),
        id: "123456789012".into(),
        permissions_boundary: String::new(),
        deploy_state_machine: String::new(),
        memory: String::new(),
    };
    let config = aws_config::SdkConfig::builder().build();
    let aws = Aws::new(&config, SharedHttpConnector::new(Nobody), account);
    let surroundings = Surroundings {
        notifications: String::new(),
        parking: String::new(),
        park_state_machine: String::new(),
        provision_state_machine: String::new(),
        teardown_state_machine: String::new(),
    };
    let answer = step.handle(&aws, &surroundings);
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(answer).unwrap()
}

/// The function of `sweep`.
struct Sweep;

impl Functions for Sweep {
    fn answers(&self, state: State<'_>, step: &Value) -> Vec<Value> {
        if state.name == "Compare" {
            let compare = provision::Step::parse(step.clone());
            compare.unwrap_or_else(|error| panic!("{}: {error}", state.name));
            return vec![json!({"drifts": [drift()]})];
        }
        let parsed = Step::parse(step.clone());
        match parsed.unwrap_or_else(|error| panic!("{}: {error}", state.name)) {
            Step::List { .. } => [0, 1, BATCHES].map(|batches| listed(step, batches)).into(),
            Step::Look { .. } => {
                let found = [Vec::new(), vec![found(for_a_person())], findings()];
                found.map(|findings| looked(step, findings)).into()
            }
            Step::Repair { .. } => [true, false]
                .map(|succeeds| repaired(step, succeeds))
                .into(),
            report @ Step::Report { .. } => vec![reported(report)],
            Step::Remember { .. } => vec![Value::Null],
        }
    }
}

/// All ways through the machine, each with whether nothing was to be repaired.
fn ways() -> &'static [(Played, bool)] {
    static WAYS: LazyLock<Vec<(Played, bool)>> = LazyLock::new(|| {
        let machine = machines::sweep();
        let of = |dry_run| every_way(&machine, &Sweep, &json!({"dry_run": dry_run})).into_iter();
        let ways = [false, true].map(|dry_run| of(dry_run).map(move |way| (way, dry_run)));
        ways.into_iter().flatten().collect()
    });
    &WAYS
}

/// Those ways alone.
pub(crate) fn all() -> Vec<Played> {
    ways().iter().map(|(way, _)| way.clone()).collect()
}

fn lines(report: &Value, kind: &str) -> usize {
    let batches = report["batches"].as_array().unwrap().iter();
    let lines = batches.map(|batch| batch[kind]["lines"].as_array().unwrap().len());
    lines.sum()
}

/// What the function was asked to report, if it came so far.
fn report(way: &Played) -> Option<&Value> {
    way.steps.iter().find(|step| step["action"] == "report")
}

#[test]
fn the_ways_come_to_every_state_of_sweep() {
    let ways = ways();
    let passed: BTreeSet<_> = ways.iter().flat_map(|(way, _)| &way.states).collect();
    for state in machines::sweep().states() {
        assert!(passed.contains(&state.name.to_owned()), "{}", state.name);
    }
    assert!(ways.len() > 500, "{} ways", ways.len());
}

#[test]
fn a_look_alone_repairs_nothing_and_a_sweep_whatever_it_can() {
    for (way, dry_run) in ways() {
        let repairs = way.steps.iter().filter(|step| step["action"] == "repair");
        if *dry_run {
            assert_eq!(repairs.count(), 0, "{:?}", way.states);
            continue;
        }
        for repair in repairs {
            assert_eq!(repair["findings"], json!(findings()), "{:?}", way.states);
        }
        if let Some(report) = report(way).filter(|_| !way.has("Give up")) {
            // What could be repaired was tried.
            let repairable = lines(report, "repaired") + lines(report, "failed");
            let tried = 4 * way.positions("Repair").len();
            assert_eq!(repairable, tried, "{:?}", way.states);
        }
    }
}

/// Once for all of it: whatever was found, or that it cannot be said.
#[test]
fn whatever_a_sweep_finds_is_told_once_and_a_look_alone_tells_nobody() {
    for (way, dry_run) in ways() {
        let told = way.positions("Tell").len();
        let cannot_say = way.positions("Tell without a report").len();
        let found = report(way).map_or(0, |report| {
            let kinds = ["repaired", "for_a_person", "failed"];
            kinds.iter().map(|kind| lines(report, kind)).sum()
        });
        let expected = match way.last() {
            "Refused input" => (0, 0),
            "Failed" => (0, 1),
            _ => (usize::from(found > 0 && !dry_run), 0),
        };
        assert_eq!((told, cannot_say), expected, "{:?}", way.states);
    }
}

#[test]
fn what_differs_from_a_spec_is_remembered_as_told_after_it_is_told_and_of_no_look_alone() {
    let mut remembered = 0;
    for (way, dry_run) in ways() {
        let remember = way.positions("Remember");
        let news = report(way).map_or(0, |report| {
            let batches = report["batches"].as_array().unwrap().iter();
            batches
                .map(|it| it["told"].as_array().map_or(0, Vec::len))
                .sum()
        });
        let ended_before = ["Not told", "Failed", "Refused input"].contains(&way.last());
        let expected = usize::from(news > 0 && !ended_before);
        assert_eq!(remember.len(), expected, "{:?}", way.states);
        assert!(!dry_run || news == 0, "{:?}", way.states);
        if let ([tell], [remember]) = (&way.positions("Tell")[..], &remember[..]) {
            assert!(tell < remember, "{:?}", way.states);
        }
        remembered += expected;
    }
    assert!(remembered > 0);
}

#[test]
fn stacks_that_could_not_be_compared_are_looked_at_and_that_is_said() {
    let mut failed = 0;
    for (way, _) in ways() {
        let looks = way.steps.iter().filter(|step| step["action"] == "look");
        let without = looks.filter(|step| step["compared"]["failure"].is_string());
        let without = without.count();
        assert_eq!(
            without,
            way.positions("Not compared").len(),
            "{:?}",
            way.states
        );
        failed += without;
    }
    assert!(failed > 0);
}

#[test]
fn every_batch_is_reported_though_one_before_it_could_not_be_swept() {
    for (way, _) in ways() {
        let Some(report) = report(way) else {
            continue;
        };
        let batches = way.positions("Look").len();
        assert_eq!(report["batches"].as_array().unwrap().len(), batches);
        let given_up = way.positions("Give up").len();
        assert!(lines(report, "failed") >= given_up, "{:?}", way.states);
    }
}

#[test]
fn a_sweep_succeeds_if_and_only_if_everything_was_looked_at_and_repaired() {
    let machine = machines::sweep();
    let top = machine.top();
    for (way, _) in ways().iter().filter(|(way, _)| way.last() != "Not told") {
        let fails = top.state(way.last()).unwrap().kind() == "Fail";
        let well = report(way).is_some_and(|report| lines(report, "failed") == 0);
        let well = well && !way.has("Tell without a report");
        assert_ne!(fails, well, "{:?}: {}", way.states, way.data);
    }
}

#[test]
fn fifty_stacks_are_swept_in_the_time_that_a_sweep_has() {
    let ways = ways();
    let seconds = ways.iter().map(|(way, _)| way.seconds);
    let longest = seconds.fold(0.0, f64::max);
    let allowed = machines::sweep().timeout_seconds();
    assert!(
        longest <= allowed as f64,
        "the longest way takes {longest} s, and an execution may take {allowed} s"
    );
}

/// A batch takes the same states whatever there is in it, and its lines have as much room as there are batches for (Step Functions
/// guide, "Quotas": 25,000 events, 262,144 bytes of data). A task takes three events each time that it is called and two more.
#[test]
fn a_sweep_of_a_thousand_stacks_stays_within_the_limits_of_one_execution() {
    const BATCHES: u64 = 1_000 / 20;
    let machine = machines::sweep();
    let mut levels = machine.levels().into_iter();
    let top = levels.next().expect("the machine's own");
    let of_level = |level: &crate::asl::machines::Level<'_>| {
        let of_state = |state: State<'_>| {
            let attempts = state.retriers().iter();
            let attempts: u64 = attempts.map(|it| it["MaxAttempts"].as_u64().unwrap()).sum();
            2 + 3 * (attempts + 1)
        };
        level.states().map(of_state).sum::<u64>()
    };
    let events = of_level(&top)
        + levels
            .map(|level| BATCHES * (2 + of_level(&level)))
            .sum::<u64>();
    assert!(events < 25_000, "{events} events");
    let stack = Stack {
        app: "a".repeat(20),
        environment: "e".repeat(19),
    };
    let listed = json!(Listed {
        stacks: 1_000,
        batches: vec![vec![stack; 20]; 50],
        room: ROOM,
        dry_run: false,
    });
    // The lines of all batches together are held to 120,000 bytes beside their code.
    let bytes = listed.to_string().len() + 120_000;
    assert!(bytes < 262_144, "{bytes} bytes");
}
