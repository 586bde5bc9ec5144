//! What a rehearsal leaves behind: its report, and its record as JSON.

use rehearsal::record::{End, Record, VERSION};
use rehearsal::{Options, Stage, report};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn rehearse(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rehearse"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs")
}

#[tokio::test]
async fn a_stack_that_was_built_is_in_the_record_whole_and_its_password_is_nowhere() {
    let stage = Stage::set(Options::default(), &[]).await.expect("a stage");
    let spec = rehearsal::root().join("events/provision.json");
    let spec: Value =
        serde_json::from_str(&std::fs::read_to_string(spec).expect("a file")).expect("JSON");
    stage.provision(&spec).await.expect("it is played");
    let secret = stage.local().aws().secrets_manager().get_secret_value();
    let secret = secret.secret_id("groundcrew/shop/staging/database");
    let secret = secret.send().await.expect("the credentials");
    let secret: Value =
        serde_json::from_str(secret.secret_string().expect("a text")).expect("JSON");
    let password = secret["password"].as_str().expect("a password");

    let record = stage.record("cargo rehearse provision", None).await;
    let flow = &record.flows[0];
    let execution = &flow.executions[0];
    assert_eq!(
        (flow.title.as_str(), &execution.end),
        ("Provision", &End::Succeeded)
    );
    let database = execution.states.iter().find(|it| it.name == "Database");
    let database = database.expect("the state");
    assert!(database.outcome.as_deref() == Some("created") && !database.failures.is_empty());
    assert!(database.seconds > 360.0, "{}", database.seconds);
    // Those of before and during the checks, too, which forget them in between.
    let called = |action: &str| flow.calls.iter().any(|call| call.action == action);
    assert!(called("ec2:CreateVpc") && called("cloudwatch:PutMetricAlarm"));
    assert!(flow.events.iter().any(|event| event.source == "aws.ecr"));
    let kind = |kind: &str| record.resources.iter().filter(|it| it.kind == kind).count();
    assert_eq!(
        (
            kind("ec2 subnet"),
            kind("rds db"),
            kind("apprunner service")
        ),
        (3, 1, 1)
    );
    assert!(
        record
            .resources
            .iter()
            .all(|it| it.flow == Some(0) && it.exists)
    );
    assert!(record.promises.len() > 5 && record.broken().next().is_none());
    assert!(record.cost.invocations["create"] > 10);

    assert!(stage.is_disclosed_by(password));
    let json = record.json().expect("JSON");
    for text in [report::html(&record), json] {
        assert!(!stage.is_disclosed_by(&text));
        assert!(!text.contains(password) && text.contains("shop-staging"));
    }
}

#[test]
fn standard_output_is_one_json_document_also_of_a_play_that_is_refused() {
    let (spec, report) = (temporary("refused.json"), temporary("refused.html"));
    std::fs::write(&spec, r#"{"app": "shop", "databse": {}}"#).expect("a file");
    let (spec, page) = (spec.display().to_string(), report.display().to_string());
    let output = rehearse(&["provision", "--input", &spec, "--json", "--report", &page]);
    assert_eq!(output.status.code(), Some(2));
    let record: Record = serde_json::from_slice(&output.stdout).expect("one document");
    assert_eq!(record.version, VERSION);
    assert_eq!(
        record.command,
        format!("cargo rehearse provision --input {spec}")
    );
    let End::Failed { error, message } = &record.flows[0].executions[0].end else {
        panic!("{:?}", record.flows);
    };
    assert!(
        error == "Invalid" && message.contains("databse"),
        "{message}"
    );
    let played = String::from_utf8_lossy(&output.stderr);
    assert!(
        played.contains("Refuse a bad spec") && played.contains(&page),
        "{played}"
    );
    let report = std::fs::read_to_string(report).expect("a report");
    assert!(report.contains("databse: {} is refused"), "{report}");
}

#[test]
fn a_report_that_has_no_place_is_refused_before_anything_starts() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let output = rehearse(&["deploy", "--report", folder]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(folder) && !said.contains("starting"),
        "{said}"
    );
}
