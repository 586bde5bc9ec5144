//! O16: groundcrew is replaced while executions are under way, and they end as they would have.

use super::stacks::entered;
use crate::stage::{Service, Stage, assert_succeeded, name, play, play_at, spec};
use apprunner_emulator::ServiceStatus;
use rehearsal::{End, Execution, Fault, FaultKind, Happening, What};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

/// Slow enough for a deployment of groundcrew to come between two states of a deployment.
const TIME_SCALE: f64 = 40.0;

/// How many times as long an operation takes that a deployment of groundcrew comes into.
const LONG: u32 = 8;

/// Those of the template; one of them changes in the last deployment.
const PARAMETERS: [(&str, &str); 2] = [("SleepingEnvironments", "test"), ("SleepUntil", "07:00")];

/// The functions that state machines call.
const CALLED: [&str; 4] = ["provision", "deploy", "park", "sweep"];

/// A function of a later version: it knows nothing of what earlier definitions send.
const LATER: &str = r#"#!/usr/bin/env python3
import json, os, urllib.request

invocations = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
error = json.dumps({"errorType": "Invalid", "errorMessage": "a later version refuses it"}).encode()
while True:
    with urllib.request.urlopen(f"{invocations}/next") as invocation:
        id = invocation.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(f"{invocations}/{id}/error", error).close()
"#;

/// A later version of groundcrew: other definitions, and other code that they call. Answers its template, and its functions.
async fn later(stage: &Stage) -> (PathBuf, PathBuf) {
    let built = rehearsal::build().await.expect("the functions build");
    let folder = stage.local.folder().join("later");
    let (machines, functions) = (folder.join("statemachine"), folder.join("functions"));
    for folder in [&machines, &functions] {
        fs::create_dir_all(folder).expect("a folder");
    }
    let root = rehearsal::root();
    for machine in fs::read_dir(root.join("statemachine")).expect("machines") {
        let machine = machine.expect("a file").path();
        let text = fs::read_to_string(&machine).expect("a definition");
        let text = text.replace("action: ", "action: later-");
        let file = machines.join(machine.file_name().expect("a name"));
        fs::write(file, text).expect("written");
    }
    for function in fs::read_dir(built).expect("functions") {
        let function = function.expect("a folder");
        let copy = functions.join(function.file_name());
        fs::create_dir_all(&copy).expect("a folder");
        let bootstrap = copy.join("bootstrap");
        if CALLED.iter().any(|called| function.file_name() == *called) {
            fs::write(&bootstrap, LATER).expect("written");
            let may_run = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&bootstrap, may_run).expect("allowed");
        } else {
            fs::copy(function.path().join("bootstrap"), &bootstrap).expect("copied");
        }
    }
    let template = folder.join("template.yaml");
    fs::copy(root.join("template.yaml"), &template).expect("copied");
    (template, functions)
}

/// An execution, and when it was started.
struct UnderWay {
    execution: Execution,
    begun: Instant,
}

/// An execution that has ended, and when it was started.
struct Ended {
    end: End,
    begun: Instant,
}

async fn start(stage: &Stage, machine: &str, input: &Value) -> UnderWay {
    let machine = stage.output(&format!("{machine}StateMachineArn"));
    let begun = Instant::now();
    let started = stage.local.start_execution(machine, &name(), input).await;
    UnderWay {
        execution: started.expect("the execution starts"),
        begun,
    }
}

/// Waits until an execution enters a state.
async fn comes_to(under_way: &mut UnderWay, state: &str) {
    let mut seen = Vec::new();
    while let Some(news) = under_way.execution.next().await.expect("its history") {
        let enters = |it: &Happening| it.state == state && it.what == What::Entered;
        if news.iter().any(enters) {
            return;
        }
        seen.extend(news);
    }
    panic!("it has ended without {state}: {seen:#?}");
}

impl Ended {
    /// The states that were entered, or tried again, after a moment.
    fn states_after(&self, moment: Instant) -> BTreeSet<&str> {
        let seconds = (moment - self.begun).as_secs_f64() * TIME_SCALE;
        let late = self.end.happenings.iter().filter(|it| it.seconds > seconds);
        late.map(|it| it.state.as_str()).collect()
    }
}

async fn ends(under_way: UnderWay) -> Ended {
    let end = under_way.execution.end().await;
    Ended {
        end: end.expect("the execution ends"),
        begun: under_way.begun,
    }
}

#[test]
fn o16_executions_that_are_under_way_end_as_they_would_have_when_groundcrew_is_replaced_and_put_back()
 {
    play_at(TIME_SCALE, &PARAMETERS, async |stage| {
        let stage = &stage;
        let (template, functions) = later(stage).await;
        let torn = spec("torn");
        let given = |name| Service::given(stage, name);
        let (good, bad, asleep, _) = tokio::join!(
            given("goes-on").policy("bake=10").create(),
            given("goes-back").create(),
            given("sleeps").create(),
            stage.provision(&torn)
        );
        // What events start would be refused by the later version.
        stage.local.lose_events(true).await.expect("lost");
        let pushed = good.push("latest").await;
        let unwell = bad.push("latest").await;
        bad.answers(&unwell, 500);

        good.next("UPDATE_SERVICE", json!({"takes": LONG}));
        bad.next("UPDATE_SERVICE", json!({"takes": LONG}));
        asleep.next("PAUSE_SERVICE", json!({"takes": LONG}));
        let service = Service::named(stage, "torn-dev");
        service.next("DELETE_SERVICE", json!({"takes": LONG}));

        // Each is stopped in a state: in that of an operation that takes long, or of a call that is throttled.
        let removal = json!({"app": "torn", "environment": "dev", "final_snapshot": false});
        let mut removed = start(stage, "Teardown", &removal).await;
        let mut built = start(stage, "Provision", &spec("built")).await;
        comes_to(&mut removed, "Remove service").await;
        comes_to(&mut built, "Image").await;
        let request = json!({"service": good.name});
        let mut deployed = start(stage, "Deploy", &request).await;
        let mut taken_back = start(stage, "Deploy", &json!({"service": bad.name})).await;
        comes_to(&mut deployed, "Give the operation time").await;
        comes_to(&mut taken_back, "Give the operation time").await;
        let mut waits = start(stage, "Deploy", &request).await; // for the first of them
        comes_to(&mut waits, "Assess").await;
        let request = json!({"action": "pause", "service": asleep.name});
        let mut parked = start(stage, "Park", &request).await;
        comes_to(&mut parked, "Pause the services").await;
        let throttled = Fault {
            service: "tag".into(),
            operation: "GetResources".into(),
            kind: FaultKind::Throttle,
            times: 1000,
            seconds: 0.0,
        };
        stage.local.add_fault(&throttled).await.expect("it falters");
        let mut swept = start(stage, "Sweep", &json!({})).await;
        comes_to(&mut swept, "List").await;

        let upgraded = stage.local.deploy(&template, &functions, &PARAMETERS).await;
        upgraded.expect("the later version deploys");
        let replaced = Instant::now();
        for (machine, input) in [
            ("Deploy", json!({"service": good.name})),
            ("Provision", spec("other")),
            ("Sweep", json!({})),
        ] {
            let end = ends(start(stage, machine, &input).await).await.end;
            assert!(
                end.message.contains("a later version"),
                "{machine}: {end:?}"
            );
        }
        stage.local.clear_faults().await.expect("it works again");
        stage
            .local
            .push_image("built-dev", "latest", "amd64")
            .await
            .expect("pushed");

        comes_to(&mut deployed, "Let it bake").await;
        stage.set_up(&PARAMETERS).await;
        let put_back = Instant::now();

        let deployed = ends(deployed).await;
        assert_eq!(
            deployed.end.output["outcome"], "Deployed",
            "{:?}",
            deployed.end
        );
        assert_eq!(good.runs(), pushed);
        assert!(deployed.states_after(put_back).contains("Settle"));
        let taken_back = ends(taken_back).await;
        let told = &taken_back.end.message;
        assert_eq!(taken_back.end.error, "RolledBack", "{told}");
        assert_eq!(bad.runs(), bad.first);
        let waited = ends(waits).await;
        assert_succeeded(&waited.end);
        let after: BTreeSet<_> = [&deployed, &taken_back, &waited]
            .into_iter()
            .flat_map(|ended| ended.states_after(replaced))
            .collect();
        for state in [
            "Assess",
            "Await the operation",
            "Smoke check",
            "Bake",
            "Roll back",
            "Settle",
        ] {
            assert!(after.contains(state), "{state} is not in {after:?}");
        }

        for (execution, last) in [
            (built, "Validate"),
            (removed, "Remove network"),
            (parked, "Stop the databases"),
            (swept, "Look"),
        ] {
            let ended = ends(execution).await;
            assert_succeeded(&ended.end);
            let after = ended.states_after(replaced);
            assert!(after.contains(last), "{last}: {:?}", entered(&ended.end));
        }
        assert_eq!(stage.traces("torn-dev").await, Vec::<String>::new());
        assert_eq!(asleep.look().status, ServiceStatus::Paused);

        // The next execution goes by a parameter that has changed alone.
        let earlier = [PARAMETERS[0], ("SleepUntil", "06:30")];
        let parked_until = || asleep.tag("groundcrew:parked-until").unwrap_or_default();
        assert!(parked_until().ends_with("T07:00:00Z"), "{}", parked_until());
        stage.set_up(&earlier).await;
        assert_succeeded(&stage.park(&request).await);
        assert!(parked_until().ends_with("T06:30:00Z"), "{}", parked_until());
    });
}

#[test]
fn o16_what_a_later_version_has_written_into_tags_stops_no_deployment_and_is_found_by_the_sweep() {
    play(|stage| async move {
        let given = Service::given(stage, "of-later").policy("bake=0 canary=10");
        let app = given.tagged("groundcrew:alarms", "disk=80").create().await;
        // Nobody knows such an execution (any more), and nobody such a claim.
        app.set_tag("groundcrew:deploying", "later-1 canary 10")
            .await;
        let digest = app.push("latest").await;
        app.quiet().await;
        assert_eq!(app.runs(), digest);
        assert_eq!(app.tag("groundcrew:deploying").as_deref(), Some("none"));
        let looked = stage
            .sweep(&json!({"stack": "of-later-test", "dry_run": true}))
            .await;
        assert_succeeded(&looked);
        let summary = looked.output["summary"].as_str().expect("a text");
        for part in ["canary=10", "disk=80"] {
            assert!(summary.contains(part), "{part}: {summary}");
        }
    });
}

#[test]
fn o16_a_claim_of_a_later_version_is_somebodys_while_its_execution_runs() {
    play(|stage| async move {
        let (first, second) = tokio::join!(
            Service::given(stage, "claims-later").create(),
            Service::given(stage, "claimed-later").create()
        );
        first.next("UPDATE_SERVICE", json!({"takes": 4}));
        let digest = first.push("latest").await;
        first
            .eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        let claim = first.tag("groundcrew:deploying").expect("a claim");
        let execution = claim.split(' ').next().expect("an execution");
        let claim = format!("{execution} canary 10");
        second.set_tag("groundcrew:deploying", &claim).await;
        let mut waits = start(stage, "Deploy", &json!({"service": second.name})).await;
        while let Some(news) = waits.execution.next().await.expect("its history") {
            let claimed = |it: &Happening| matches!(&it.what, What::Failed { error, .. } if error == "Claimed");
            if news.iter().any(claimed) {
                assert_succeeded(&ends(waits).await.end);
                first.quiet().await;
                assert_eq!(first.runs(), digest);
                return;
            }
        }
        panic!("the claim is nobody's");
    });
}

#[test]
fn o16_a_refusal_that_nobody_waits_for_is_told_and_one_that_a_person_reads_is_not() {
    play(|stage| async move {
        let app = Service::given(stage, "refused-later")
            .foreign()
            .create()
            .await;
        let by_hand = stage.deploy(&json!({"service": app.name})).await;
        assert_eq!(by_hand.error, "Conflict", "{}", by_hand.message);
        assert_eq!(app.subjects().await, Vec::<String>::new());
        let pushed = json!({"service": app.name, "cause": "push of refused-later:latest"});
        let pushed = stage.deploy(&pushed).await;
        assert_eq!(pushed.error, "Failed", "{}", pushed.message);
        assert_eq!(app.subjects().await, ["refused-later: deployment failed"]);
    });
}
