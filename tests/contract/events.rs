//! The files of `events/`: inputs of state machines, and what AWS sends. Of each of the latter: which rules of the template
//! match it, and what the function behind them takes it for.

use super::{ways_of_deploy, ways_of_park, ways_of_sweep};
use crate::asl::{Ended, Played};
use crate::documents::{files, json, text, yaml};
use Means::{LookAgain, NotForUs};
use deploy::Request;
use groundcrew::Removal;
use groundcrew::Spec;
use groundcrew::arn::ServiceArn;
use regex_lite::Regex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use trigger::{Cause, Event};

/// What an event means to the function `trigger`: the cause as people read it, or why there is none.
#[derive(Debug, PartialEq)]
enum Means {
    LookAgain(&'static str),
    NotForUs(&'static str),
}

const PUSH: Means = LookAgain("push of shop-staging:latest (sha256:b51c09cbfb55)");
const ROTATION: Means = LookAgain("rotation of the secret groundcrew/shop/staging/database");
const RUNNING: Means = LookAgain("the service is running again");
const NO_TAG: Means = NotForUs("a push without a tag");

/// A file of `events/`, the rules that match it, and what it means.
type Row = (&'static str, &'static [&'static str], Means);

const SERVICE: &[&str] = &["ServiceChanged", "ServiceSettled"];

const FROM_AWS: [Row; 37] = [
    ("apprunner-operation-status", SERVICE, RUNNING),
    (
        "apprunner-operation-status-delete",
        SERVICE,
        NotForUs("an operation is DeleteServiceCompletedSuccessfully"),
    ),
    (
        "apprunner-operation-status-deployment",
        SERVICE,
        NotForUs("an operation is DeploymentCompletedSuccessfully"),
    ),
    ("apprunner-operation-status-pascal-case", SERVICE, RUNNING),
    (
        "apprunner-operation-status-resume-failed",
        SERVICE,
        NotForUs("an operation is ResumeServiceFailed"),
    ),
    (
        "apprunner-operation-status-started",
        SERVICE,
        NotForUs("an operation is UpdateServiceStarted"),
    ),
    ("apprunner-service-status", SERVICE, RUNNING),
    (
        "apprunner-service-status-in-progress",
        SERVICE,
        NotForUs("a service is OPERATION_IN_PROGRESS"),
    ),
    ("apprunner-service-status-pascal-case", SERVICE, RUNNING),
    (
        "apprunner-service-status-paused",
        SERVICE,
        NotForUs("a service is PAUSED"),
    ),
    (
        "ecr-archive",
        &[],
        NotForUs("UPDATE_STORAGE_CLASS of an image, SUCCESS"),
    ),
    ("ecr-delete", &[], NotForUs("DELETE of an image, SUCCESS")),
    ("ecr-push", &["ImagePushed"], PUSH),
    (
        "ecr-push-attestation",
        &["ImagePushed"],
        NotForUs("a push of application/spdx+json, which is not a container image"),
    ),
    (
        "ecr-push-failure",
        &[],
        NotForUs("PUSH of an image, FAILURE"),
    ),
    (
        "ecr-push-helm-chart",
        &["ImagePushed"],
        NotForUs(
            "a push of application/vnd.cncf.helm.config.v1+json, which is not a container image",
        ),
    ),
    (
        "ecr-push-index",
        &["ImagePushed"],
        LookAgain("push of shop-staging:1.4.2 (sha256:4f53cda18c2b)"),
    ),
    ("ecr-push-other-account", &["ImagePushed"], PUSH),
    ("ecr-push-other-region", &["ImagePushed"], PUSH),
    (
        "ecr-push-other-repository",
        &["ImagePushed"],
        LookAgain("push of blog-staging:latest (sha256:b51c09cbfb55)"),
    ),
    (
        "ecr-push-other-tag",
        &["ImagePushed"],
        LookAgain("push of shop-staging:nightly (sha256:b51c09cbfb55)"),
    ),
    ("ecr-push-untagged", &[], NO_TAG),
    ("ecr-push-untagged-empty-tag", &["ImagePushed"], NO_TAG),
    ("ecr-push-without-media-types", &["ImagePushed"], PUSH),
    ("ecr-scan", &[], NotForUs("\"ECR Image Scan\" of aws.ecr")),
    (
        "rds-started",
        &[],
        NotForUs("\"RDS DB Instance Event\" of aws.rds"),
    ),
    (
        "rds-started-by-itself",
        &["DatabaseStartedByItself"],
        NotForUs("\"RDS DB Instance Event\" of aws.rds"),
    ),
    (
        "rds-stopped",
        &[],
        NotForUs("\"RDS DB Instance Event\" of aws.rds"),
    ),
    ("secret-label-updated", &["SecretLabelMoved"], ROTATION),
    (
        "secret-label-updated-other-label",
        &[],
        NotForUs("the label BLUE of a secret"),
    ),
    (
        "secret-label-updated-pending",
        &[],
        NotForUs("the label AWSPENDING of a secret"),
    ),
    (
        "secret-put-value",
        &[],
        NotForUs("\"AWS API Call via CloudTrail\" of aws.secretsmanager"),
    ),
    (
        "secret-rotation-failed",
        &[],
        NotForUs("RotationFailed of a secret"),
    ),
    (
        "secret-rotation-started",
        &[],
        NotForUs("RotationStarted of a secret"),
    ),
    ("secret-rotation-succeeded", &["SecretRotated"], ROTATION),
    (
        "secret-rotation-succeeded-service-event-details",
        &["SecretRotated"],
        ROTATION,
    ),
    (
        "secret-test-rotation-succeeded",
        &[],
        NotForUs("TestRotationSucceeded of a secret"),
    ),
];

/// The files that people start executions with.
fn inputs() -> impl Iterator<Item = String> {
    let from_aws: BTreeSet<_> = FROM_AWS
        .iter()
        .map(|(file, ..)| format!("{file}.json"))
        .collect();
    files("events")
        .into_iter()
        .filter(move |file| !from_aws.contains(file))
}

#[test]
fn every_input_is_what_its_reader_expects() {
    for file in inputs() {
        let event = json(&format!("events/{file}"));
        let read = match file.as_str() {
            "provision-again.json" => provision::Again::parse(&event).map(drop),
            name if name.starts_with("provision") => Spec::parse(&event).map(drop),
            "teardown.json" => Removal::parse(&event).map(drop),
            "deploy.json" => Request::parse(&event).map(drop),
            name if name.starts_with("park") => park::Request::parse(&event).map(drop),
            name if name.starts_with("sweep") => sweep::Request::parse(&event).map(drop),
            name => panic!("nobody reads events/{name}"),
        };
        read.unwrap_or_else(|error| panic!("events/{file}: {error}"));
    }
}

#[test]
fn each_state_machine_has_an_example_of_its_input() {
    for file in [
        "deploy.json",
        "park-pause.json",
        "park-resume.json",
        "park-schedule.json",
        "provision.json",
        "provision-minimal.json",
        "provision-again.json",
        "provision-wake.json",
        "sweep.json",
        "sweep-dry-run.json",
        "teardown.json",
    ] {
        assert!(files("events").contains(&file.to_owned()), "{file}");
    }
}

/// The rules of the template, by name, with their properties and the resource whose target they have.
fn rules() -> BTreeMap<String, Value> {
    let template = yaml("template.yaml");
    let resources = template["Resources"].as_object().unwrap();
    let mut rules = BTreeMap::new();
    for (of, resource) in resources {
        let events = resource["Properties"]["Events"].as_object();
        for (name, event) in events.into_iter().flatten() {
            if event["Type"] == "EventBridgeRule" {
                let mut rule = event["Properties"].clone();
                rule["Of"] = of.as_str().into();
                rules.insert(name.clone(), rule);
            }
        }
    }
    rules
}

#[test]
fn each_event_matches_exactly_the_rules_that_it_should() {
    let rules = rules();
    for (file, expected, _) in FROM_AWS {
        let event = json(&format!("events/{file}.json"));
        let matching: Vec<_> = rules
            .iter()
            .filter(|(name, rule)| {
                matches(&rule["Pattern"], Some(&event))
                    .unwrap_or_else(|unknown| panic!("{name}: {unknown}"))
            })
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(matching, expected, "{file}");
    }
}

#[test]
fn each_event_means_what_it_should() {
    for (file, _, means) in FROM_AWS {
        let event = json(&format!("events/{file}.json"));
        let parsed = Event::parse(&event).unwrap_or_else(|error| panic!("{file}: {error}"));
        match (parsed, means) {
            (Event::LookAgain { cause, time }, LookAgain(expected)) => {
                assert_eq!(cause.to_string(), expected, "{file}");
                assert_eq!(time.to_string(), event["time"], "{file}");
            }
            (Event::NotForUs(reason), NotForUs(expected)) => assert_eq!(reason, expected, "{file}"),
            (parsed, expected) => panic!("{file}: {parsed:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn no_event_that_means_something_is_held_back_by_the_rules() {
    for (file, rules, means) in FROM_AWS {
        if matches!(means, LookAgain(_)) {
            assert!(!rules.is_empty(), "{file}");
        }
    }
}

/// With the longest names that AWS allows, too.
#[test]
fn what_an_event_starts_deploy_with_is_what_deploy_reads() {
    let id = "8fe1e10304f84fd2b0df550fe98a71fa";
    let service = format!(
        "arn:aws:apprunner:us-east-1:123456789012:service/{}/{id}",
        "s".repeat(40)
    );
    let service = ServiceArn::parse(&service).unwrap();
    let read = |cause: &Cause, time| {
        let input = trigger::input(&service, cause, time);
        let request = Request::parse(&input).unwrap_or_else(|error| panic!("{input}: {error}"));
        assert_eq!(request.service, service.as_str());
        assert!(
            cause
                .to_string()
                .starts_with(request.why().trim_end_matches('…'))
        );
    };
    for (file, ..) in FROM_AWS {
        let mut event = json(&format!("events/{file}.json"));
        if let Ok(Event::LookAgain { cause, time }) = Event::parse(&event) {
            read(&cause, time);
        }
        event["detail"]["repository-name"] = "r".repeat(256).into();
        event["detail"]["image-tag"] = "t".repeat(128).into();
        let name = "n".repeat(512);
        event["resources"] = json!([format!(
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-a1B2c3"
        )]);
        if let Ok(Event::LookAgain { cause, time }) = Event::parse(&event) {
            read(&cause, time);
        }
    }
}

#[test]
fn what_an_event_starts_park_with_is_what_park_reads() {
    let event = json("events/rds-started-by-itself.json");
    let transformer = &rules()["DatabaseStartedByItself"]["InputTransformer"];
    assert_eq!(transformer["InputPathsMap"], json!({"time": "$.time"}));
    let input = transformer["InputTemplate"].as_str().unwrap();
    let input = input.replace("<time>", &event["time"].to_string());
    park::Request::parse(&serde_json::from_str(&input).unwrap()).expect("a request");
}

#[test]
fn every_rule_has_an_example() {
    let examples: BTreeSet<_> = FROM_AWS
        .iter()
        .flat_map(|(_, rules, _)| rules.iter().map(|name| (*name).to_owned()))
        .collect();
    assert_eq!(rules().into_keys().collect::<BTreeSet<_>>(), examples);
}

#[test]
fn every_rule_tries_again_and_loses_nothing() {
    let template = yaml("template.yaml");
    let policy = &template["Resources"]["DeadLettersOfRules"]["Properties"]["PolicyDocument"];
    let sources = policy["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"]
        .as_array()
        .unwrap();
    for (name, rule) in rules() {
        let age = rule["RetryPolicy"]["MaximumEventAgeInSeconds"].as_u64();
        // What is decided for the time of its event must not come late; the schedule looks every half hour anyway.
        let least = match name.as_str() {
            "DatabaseStartedByItself" => 60,
            _ => 3600,
        };
        assert!(
            age.is_some_and(|age| (least..=86400).contains(&age)),
            "{name}"
        );
        let attempts = rule["RetryPolicy"]["MaximumRetryAttempts"].as_u64();
        assert!(
            attempts.is_some_and(|attempts| (1..=185).contains(&attempts)),
            "{name}"
        );
        let letters = &rule["DeadLetterConfig"]["Arn"]["Fn::GetAtt"];
        assert_eq!(letters, "DeadLetters.Arn", "{name}");
        let of = rule["Of"].as_str().unwrap();
        let source = json!({"Fn::GetAtt": format!("{of}{name}.Arn")});
        assert!(sources.contains(&source), "{name} may not use the queue");
    }
    let untold = &template["Resources"]["UntoldEnds"]["Properties"]["Targets"][0];
    assert!(untold["RetryPolicy"]["MaximumEventAgeInSeconds"].as_u64() >= Some(3600));
    assert_eq!(
        untold["DeadLetterConfig"]["Arn"]["Fn::GetAtt"],
        "DeadLetters.Arn"
    );
    assert!(sources.contains(&json!({"Fn::GetAtt": "UntoldEnds.Arn"})));
    assert_eq!(sources.len(), rules().len() + 1);
}

/// Whether a pattern of EventBridge matches a value, with the operators that our rules use; another one is an error, so that
/// nobody takes it for checked (EventBridge user guide, "Comparison operators for use in event patterns").
fn matches(pattern: &Value, value: Option<&Value>) -> Result<bool, String> {
    match pattern {
        Value::Object(fields) => {
            for (name, pattern) in fields {
                if let ("$or", Some(patterns)) = (name.as_str(), pattern.as_array()) {
                    let any = patterns.iter().map(|pattern| matches(pattern, value));
                    if any.collect::<Result<Vec<_>, _>>()?.contains(&true) {
                        continue;
                    }
                    return Ok(false);
                }
                if name.starts_with('$') {
                    return Err(format!("the operator {name} is not known here"));
                }
                if !matches(pattern, value.and_then(|value| value.get(name)))? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Value::Array(choices) => {
            for choice in choices {
                if allows(choice, value)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => Err(format!("{other} is not in a list")),
    }
}

/// The rule on ends that nobody is told of.
struct UntoldEnds(Value);

impl UntoldEnds {
    fn read() -> Self {
        let template = yaml("template.yaml");
        let mut pattern = template["Resources"]["UntoldEnds"]["Properties"]["EventPattern"].clone();
        let machines = pattern["detail"]["stateMachineArn"].as_array_mut().unwrap();
        for machine in machines {
            *machine = machine["Ref"].take();
        }
        Self(pattern)
    }

    /// Whether it matches the event of an execution (Step Functions guide, "Execution Status Change").
    fn has(&self, machine: &str, status: &str, error: Option<&str>) -> bool {
        let event = json!({
            "source": "aws.states",
            "detail-type": "Step Functions Execution Status Change",
            "detail": {"stateMachineArn": machine, "status": status, "error": error},
        });
        matches(&self.0, Some(&event)).unwrap()
    }
}

/// Either the execution tells, or it is of what was told before, or the rule tells; and never two of them.
#[test]
fn every_end_of_deploy_park_and_sweep_is_told_by_the_execution_or_by_the_rule() {
    fn ends<'a>(ways: impl IntoIterator<Item = &'a Played>) -> BTreeSet<(String, bool)> {
        let mut ends = BTreeSet::new();
        for way in ways {
            if let Ended::Failed(failure) = &way.ended {
                let has_not_told = ["Not told", "Refused input"].contains(&way.last());
                ends.insert((failure["Error"].as_str().unwrap().to_owned(), has_not_told));
            }
        }
        ends
    }
    let rule = UntoldEnds::read();
    for (machine, ends) in [
        ("DeployStateMachine", ends(ways_of_deploy::ways())),
        ("ParkStateMachine", ends(&ways_of_park::all())),
        ("SweepStateMachine", ends(&ways_of_sweep::all())),
    ] {
        assert!(ends.len() >= 3, "{machine}: {ends:?}");
        for (error, has_not_told) in ends {
            let by_rule = rule.has(machine, "FAILED", Some(&error));
            assert_eq!(by_rule, has_not_told, "{machine}: {error}");
        }
        for error in [
            "States.Runtime",
            "States.DataLimitExceeded",
            "of another name",
        ] {
            assert!(rule.has(machine, "FAILED", Some(error)), "{error}");
        }
        for status in ["ABORTED", "TIMED_OUT"] {
            assert!(rule.has(machine, status, None), "{status}");
        }
        for status in ["RUNNING", "SUCCEEDED"] {
            assert!(!rule.has(machine, status, None), "{status}");
        }
    }
    for machine in ["ProvisionStateMachine", "TeardownStateMachine"] {
        assert!(
            !rule.has(machine, "FAILED", Some("States.Runtime")),
            "alarms tell"
        );
    }
}

/// What a deployment can end with is in its code.
#[test]
fn the_rule_leaves_out_every_outcome_that_deploy_tells() {
    let rule = UntoldEnds::read();
    let outcome =
        Regex::new(r#"(?:outcome: |Self::[A-Za-z]+(?:\(_\))? => )"([A-Z][A-Za-z]+)""#).unwrap();
    let mut outcomes = BTreeSet::new();
    for file in ["end", "explain", "settle"] {
        let code = text(&format!("functions/deploy/src/{file}.rs"));
        let found = outcome.captures_iter(&code);
        outcomes.extend(found.map(|found| found[1].to_owned()));
    }
    for outcome in &outcomes {
        assert!(
            !rule.has("DeployStateMachine", "FAILED", Some(outcome))
                || outcome == "Deployed"
                || outcome == "Nothing",
            "{outcome}"
        );
    }
    for outcome in ["DeploymentFailed", "Failed", "RolledBack", "Stuck"] {
        assert!(outcomes.contains(outcome), "{outcomes:?}");
    }
}

/// The cause may hold data.
#[test]
fn the_rule_on_untold_ends_passes_on_nothing_but_names() {
    let template = yaml("template.yaml");
    let target = &template["Resources"]["UntoldEnds"]["Properties"]["Targets"][0];
    let paths = target["InputTransformer"]["InputPathsMap"]
        .as_object()
        .unwrap();
    let paths: BTreeSet<_> = paths.values().map(|path| path.as_str().unwrap()).collect();
    let expected = ["$.detail.executionArn", "$.detail.name", "$.detail.status"];
    assert_eq!(paths, BTreeSet::from(expected));
}

/// Whether one choice of a list matches. Of an event's list any item does.
fn allows(choice: &Value, value: Option<&Value>) -> Result<bool, String> {
    let items = match value {
        Some(Value::Array(items)) => items.iter().collect(),
        other => other.into_iter().collect::<Vec<_>>(),
    };
    let Value::Object(operators) = choice else {
        return Ok(items.contains(&choice));
    };
    let [(operator, operand)] = operators.iter().collect::<Vec<_>>()[..] else {
        return Err(format!("{choice} is not one operator"));
    };
    match (operator.as_str(), operand) {
        ("exists", Value::Bool(exists)) => {
            let is_leaf = value.is_some_and(|value| !value.is_object());
            Ok(is_leaf == *exists)
        }
        ("prefix", Value::String(prefix)) => Ok(items
            .iter()
            .any(|item| item.as_str().is_some_and(|text| text.starts_with(prefix)))),
        ("anything-but", Value::String(_) | Value::Number(_)) => {
            Ok(items.iter().any(|item| *item != operand))
        }
        ("anything-but", Value::Array(others)) if others.iter().all(|other| !other.is_object()) => {
            Ok(items.iter().any(|item| !others.contains(item)))
        }
        _ => Err(format!("the operator {choice} is not known here")),
    }
}

#[test]
fn a_pattern_matches_as_eventbridge_matches() {
    let event = json!({"source": "aws.ecr", "resources": ["a", "b"], "detail": {"image-tag": "v1", "size": 3, "none": null}});
    let matched = |pattern: Value| matches(&pattern, Some(&event)).unwrap();
    let either = |source: &str| json!({"$or": [{"source": [source]}, {"detail": {"size": [4]}}]});
    assert!(matched(either("aws.ecr")) && !matched(either("aws.rds")));
    assert!(matched(
        json!({"source": ["aws.rds", "aws.ecr"], "detail": {"size": [3]}})
    ));
    assert!(!matched(
        json!({"source": ["aws.ecr"], "detail": {"size": ["3"]}})
    ));
    assert!(matched(json!({"resources": ["b"]})) && !matched(json!({"resources": ["c"]})));
    assert!(matched(json!({"detail": {"image-tag": [{"prefix": "v"}]}})));
    assert!(!matched(
        json!({"detail": {"image-tag": [{"prefix": "w"}]}})
    ));
    assert!(matched(
        json!({"detail": {"image-tag": [{"anything-but": "v2"}]}})
    ));
    assert!(!matched(
        json!({"detail": {"image-tag": [{"anything-but": ["v1", "v2"]}]}})
    ));
    assert!(!matched(
        json!({"detail": {"other": [{"anything-but": "v2"}]}})
    ));
    assert!(matched(
        json!({"detail": {"image-tag": [{"exists": true}], "other": [{"exists": false}]}})
    ));
    assert!(matched(
        json!({"detail": {"none": [{"exists": true}, null]}})
    ));
    assert!(
        !matched(json!({"detail": [{"exists": true}]})),
        "only a leaf exists"
    );
    assert!(!matched(json!({"other": {"deeper": ["x"]}})));
}

#[test]
fn an_operator_that_is_not_known_here_is_refused() {
    for pattern in [
        json!({"detail": {"image-tag": [{"suffix": "1"}]}}),
        json!({"detail": {"image-tag": [{"wildcard": "v*"}]}}),
        json!({"detail": {"image-tag": [{"numeric": [">", 1]}]}}),
        json!({"detail": {"image-tag": [{"anything-but": {"prefix": "v"}}]}}),
        json!({"detail": {"image-tag": [{"prefix": "v", "exists": true}]}}),
        json!({"detail": {"image-tag": "v1"}}),
        json!({"$nor": [{"source": ["aws.ecr"]}]}),
    ] {
        let event = json!({"source": "aws.ecr", "detail": {"image-tag": "v1"}});
        assert!(matches(&pattern, Some(&event)).is_err(), "{pattern}");
    }
}
