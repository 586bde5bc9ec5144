//! The promises O1–O5 and O11 over the deployed template: events in, deployments and notifications out. IAM is enforced.

use crate::stage::{Service, eventually, play, spec, touched};
use apprunner_emulator::{Arrangement, OperationStatus, OperationType, ServiceStatus};
use aws_sdk_cloudwatch::types::StateValue;
use regex_lite::Regex;
use rehearsal::{Notification, Scan, ScanStatus};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn updated() -> (OperationType, OperationStatus) {
    (OperationType::UpdateService, OperationStatus::Succeeded)
}

pub(crate) fn redeployed() -> (OperationType, OperationStatus) {
    (OperationType::StartDeployment, OperationStatus::Succeeded)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn event(file: &str) -> Value {
    let path = rehearsal::root().join("events").join(file);
    let text = std::fs::read_to_string(path).expect("an event");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn o1_a_push_is_deployed_once_by_digest_and_told_once() {
    play(|stage| async move {
        let app = Service::given(stage, "pushed-once").create().await;
        let digest = app.push("latest").await;
        app.eventually(|seen| seen.runs.image_digest.as_deref() == Some(&digest))
            .await;
        let told = app.hear(1).await;
        let ends = app.quiet().await;
        assert_eq!(app.operations(), [updated()]);
        assert!(ends.iter().all(|end| end.succeeded), "{ends:#?}");
        let identifier =
            &app.look().description["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"];
        assert!(
            identifier
                .as_str()
                .expect("text")
                .ends_with(&format!("pushed-once@{digest}")),
            "{identifier}"
        );
        assert_eq!(app.subjects().await, ["pushed-once: latest deployed"]);
        for part in [&digest[..19], &app.first, "push of pushed-once:latest"] {
            assert!(
                told[0].message.contains(part),
                "{part} is not in {}",
                told[0].message
            );
        }
    });
}

/// The three tags of the README, on a service that somebody has created in the console: from a tag, and without a rule.
#[test]
fn o1_a_service_that_a_person_has_tagged_gets_every_push_of_its_own_tag_and_no_other() {
    play(|stage| async move {
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", "by-hand"),
            ("groundcrew:environment", "test"),
        ];
        let given = Service::given(stage, "tagged-by-hand").with_only(&tags);
        let app = given.by_tag().create().await;
        app.set_tag("groundcrew:deploy-policy", "bake=0").await;
        let before = app.operations().len();
        for n in 1..=2 {
            let digest = app.push("latest").await;
            app.quiet().await;
            assert_eq!(app.runs(), digest, "push {n}");
            app.push("other").await;
            app.quiet().await;
            assert_eq!(app.runs(), digest, "push {n}");
        }
        assert_eq!(app.operations()[before..], [updated(), updated()]);
        let rule = app.tag("groundcrew:image-tag");
        assert_eq!(rule.as_deref(), Some("latest"), "it is written down");
    });
}

/// What a person asks for replaces the tag as well.
#[test]
fn o5_a_service_that_a_person_has_tagged_and_rolled_back_gets_the_next_push() {
    play(|stage| async move {
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", "by-hand"),
            ("groundcrew:environment", "test"),
            ("groundcrew:deploy-policy", "bake=0"),
        ];
        let given = Service::given(stage, "asked-by-hand").with_only(&tags);
        let app = given.by_tag().create().await;
        let wished = app.push("wished").await;
        let end = stage
            .deploy(&json!({"service": app.name, "to": "wished"}))
            .await;
        assert!(end.succeeded, "{}", end.message);
        assert_eq!(app.runs(), wished);
        let digest = app.push("latest").await;
        app.quiet().await;
        assert_eq!(app.runs(), digest);
    });
}

#[test]
fn o4_the_same_event_ten_times_and_its_siblings_deploy_once() {
    play(|stage| async move {
        let app = Service::given(stage, "siblings")
            .follows("prefix:main-")
            .create()
            .await;
        // An index with its untagged children, then the same image under more tags.
        let digest = stage
            .local
            .push_index("siblings", "main-1", &["amd64", "arm64"])
            .await
            .expect("pushed");
        for tag in ["main-2", "other"] {
            stage
                .local
                .tag_image("siblings", &digest, tag)
                .await
                .expect("tagged");
        }
        let events = stage.local.events().await.expect("events");
        let of_repository = events.iter().filter(|event| {
            event.detail["repository-name"] == "siblings" && event.detail["image-digest"] == digest
        });
        let pushed: Vec<_> = of_repository.collect();
        assert_eq!(pushed.len(), 3, "{pushed:#?}");
        app.hear(1).await;
        let executions = app.quiet().await.len();
        for n in 0..10 {
            let replayed = pushed[n % pushed.len()];
            stage.local.put_event(&json!({
                "id": replayed.id, "time": replayed.time, "account": replayed.account, "region": replayed.region,
                "source": replayed.source, "detail-type": replayed.detail_type, "resources": replayed.resources, "detail": replayed.detail,
            })).await.expect("put");
        }
        assert_eq!(
            app.quiet().await.len(),
            executions,
            "a replay starts nothing"
        );
        assert_eq!(app.runs(), digest);
        assert_eq!(app.operations(), [updated()]);
        assert_eq!(app.subjects().await.len(), 1);
    });
}

#[test]
fn o4_five_pushes_and_a_rotation_during_an_operation_make_one_further_deployment_each() {
    play(|stage| async move {
        let arn = stage.secret("coalesced").await;
        let app = Service::given(stage, "coalesced")
            .reads("PASSWORD", format!("{arn}:password::"))
            .create()
            .await;
        let before = app.operations().len();
        app.next("UPDATE_SERVICE", json!({"takes": 3.0}));
        app.push("latest").await;
        app.eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        let mut newest = String::new();
        for _ in 0..5 {
            newest = app.push("latest").await;
        }
        let version = stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        let seen = app
            .eventually(|seen| {
                seen.runs.image_digest.as_deref() == Some(&newest)
                    && seen.status == ServiceStatus::Running
            })
            .await;
        app.quiet().await;
        assert_eq!(seen.runs.secret_versions["PASSWORD"], version);
        // The secrets at once, for the old ones may be dead, and the newest image when the first one has been watched.
        assert_eq!(
            app.operations()[before..],
            [updated(), redeployed(), updated()]
        );
        assert_eq!(app.subjects().await.len(), 2 + before);
    });
}

#[test]
fn o2_a_rotation_reaches_the_services_that_use_the_secret_and_no_other() {
    play(|stage| async move {
        let arn = stage.secret("rotated/db").await;
        let look_alike = stage.secret("rotated/db-backup").await;
        let bare = arn.rsplit_once('-').expect("a suffix").0.to_owned();
        let uses = |reference: String| async move {
            let name = match reference.as_str() {
                reference if reference.ends_with("password::") => "by-key",
                reference if reference.contains("backup") => "look-alike",
                reference if reference.matches('-').count() > 2 => "by-arn",
                _ => "by-name",
            };
            Service::given(stage, name)
                .reads("PASSWORD", &reference)
                .create()
                .await
        };
        let (key, whole, named, other) = (
            uses(format!("{arn}:password::")).await,
            uses(arn.clone()).await,
            uses(bare).await,
            uses(look_alike).await,
        );
        let plain = Service::given(stage, "no-secret").create().await;
        let looks = (other.quiet().await.len(), plain.quiet().await.len());
        let before: Vec<_> = [&key, &whole, &named]
            .iter()
            .map(|app| app.operations().len())
            .collect();
        let version = stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        for (app, before) in [&key, &whole, &named].into_iter().zip(before) {
            app.eventually(|seen| seen.runs.secret_versions.get("PASSWORD") == Some(&version))
                .await;
            app.quiet().await;
            assert_eq!(app.operations()[before..], [redeployed()], "{}", app.name);
            assert_eq!(app.runs(), app.first, "the image is the same");
        }
        let now = (other.quiet().await.len(), plain.quiet().await.len());
        assert_eq!(now, looks, "nobody looked");
    });
}

#[test]
fn o2_a_test_rotation_a_put_and_a_pending_version_deploy_nothing() {
    play(|stage| async move {
        let arn = stage.secret("pending").await;
        let app = Service::given(stage, "pending-only")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        let before = app.operations();
        let looks = app.quiet().await.len();
        stage
            .local
            .begin_rotation(&arn, "two")
            .await
            .expect("begun");
        for file in [
            "secret-test-rotation-succeeded.json",
            "secret-put-value.json",
            "secret-label-updated-pending.json",
        ] {
            // As if it were about this secret.
            let known = Regex::new(r#"arn:aws:secretsmanager:[^"]*"#).expect("a pattern");
            let text = event(file).to_string();
            let text = known.replace_all(&text, arn.as_str());
            let event = serde_json::from_str(&text).expect("JSON");
            stage.local.put_event(&event).await.expect("put");
        }
        assert_eq!(app.quiet().await.len(), looks, "nobody looked");
        assert_eq!(app.operations(), before);
    });
}

#[test]
fn o3_an_operation_that_rolls_back_has_failed_although_the_service_runs() {
    play(|stage| async move {
        let app = Service::given(stage, "not-deployed").create().await;
        app.next("UPDATE_SERVICE", json!("fails"));
        let bad = app.push("latest").await;
        let told = app.hear(1).await;
        let ends = app.quiet().await;
        assert_eq!(app.look().status, ServiceStatus::Running);
        assert_eq!(app.runs(), app.first);
        assert_eq!(app.subjects().await, ["not-deployed: deployment failed"]);
        assert!(
            told[0].message.contains(&bad[..19]) && told[0].message.contains("ROLLBACK_SUCCEEDED"),
            "{}",
            told[0].message
        );
        assert!(
            ends.iter().any(|end| end.error == "DeploymentFailed"),
            "{ends:#?}"
        );

        // The same digest once more, under another event: it is not tried again. A newer one is.
        stage
            .local
            .tag_image("not-deployed", &bad, "again")
            .await
            .expect("tagged");
        let events = stage.local.events().await.expect("events");
        let again = events
            .iter()
            .rfind(|event| event.detail["image-digest"] == bad)
            .expect("an event");
        let mut detail = again.detail.clone();
        detail["image-tag"] = json!("latest");
        stage
            .local
            .put_event(
                &json!({"source": "aws.ecr", "detail-type": "ECR Image Action", "detail": detail}),
            )
            .await
            .expect("put");
        app.quiet().await;
        assert_eq!(app.operations().len(), 1);
        let good = app.push("latest").await;
        app.eventually(|seen| seen.runs.image_digest.as_deref() == Some(&good))
            .await;
        app.quiet().await;
        assert_eq!(app.subjects().await.len(), 2);
    });
}

#[test]
fn o5_requests_that_fail_in_the_bake_window_take_the_image_back_once() {
    play(|stage| async move {
        let app = Service::given(stage, "baked-red")
            .policy("bake=30")
            .create()
            .await;
        app.alarm("errors", "5xxStatusResponses").await;
        app.alarm("latency", "RequestLatency").await;
        let bad = app.push("latest").await;
        app.has_come_to_run(&bad).await;
        app.fails(true).await;
        app.eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        // Another one, while it goes back: no second rollback.
        app.publishes("RequestLatency", Some(9000.0)).await;
        let told = app.hear(1).await;
        let ends = app.quiet().await;
        assert_eq!(app.runs(), app.first);
        assert_eq!(app.operations(), [updated(), updated()]);
        assert_eq!(app.subjects().await, ["baked-red: rolled back"]);
        assert!(
            told[0].message.contains(
                "since the deployment, alarm: baked-red-errors (5xxStatusResponses, Sum: "
            ),
            "{}",
            told[0].message
        );
        assert!(
            ends.iter().any(|end| end.error == "RolledBack"),
            "{ends:#?}"
        );
        assert_eq!(
            app.tag("groundcrew:rejected-image").as_deref(),
            Some(bad.as_str())
        );
    });
}

#[test]
fn o5_the_fix_of_an_image_that_fails_in_bursts_is_not_taken_back_for_what_that_image_did() {
    play(|stage| async move {
        // Red before, or only during the operation: an alarm on errors stays red for a quarter of an hour after the last one.
        for (name, fails_before) in [("red-before", true), ("red-during", false)] {
            let app = Service::given(stage, name).policy("bake=10").create().await;
            let errors = app.alarm("errors", "5xxStatusResponses").await;
            if fails_before {
                app.fails(true).await;
                app.turn(&errors, StateValue::Alarm).await;
            }
            app.next("UPDATE_SERVICE", json!({"takes": 3.0}));
            let fix = app.push("latest").await;
            app.eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
                .await;
            app.fails(true).await;
            app.turn(&errors, StateValue::Alarm).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            app.fails(false).await;
            assert_eq!(app.look().status, ServiceStatus::OperationInProgress);
            app.hear(1).await;
            app.quiet().await;
            assert_eq!(app.runs(), fix);
            assert_eq!(app.subjects().await, [format!("{name}: latest deployed")]);
        }
    });
}

#[test]
fn o5_requests_that_fail_after_a_deployment_take_the_image_back_although_the_alarm_was_red_before()
{
    play(|stage| async move {
        let app = Service::given(stage, "still-red")
            .policy("bake=60")
            .create()
            .await;
        let errors = app.alarm("errors", "5xxStatusResponses").await;
        app.turn(&errors, StateValue::Alarm).await;
        let bad = app.push("latest").await;
        app.has_come_to_run(&bad).await;
        app.fails(true).await;
        app.hear(1).await;
        app.quiet().await;
        assert_eq!(app.runs(), app.first);
        assert_eq!(app.subjects().await, ["still-red: rolled back"]);
    });
}

#[test]
fn o5_a_share_of_refused_requests_counts_when_it_is_large_for_as_long_as_its_alarm_says() {
    play(|stage| async move {
        let mut spec = spec("refusing");
        spec["deploy"] = json!({"bake_minutes": 240});
        let end = stage.provision(&spec).await;
        assert!(end.succeeded, "{}", end.message);
        let app = Service::named(stage, "refusing-dev");
        app.quiet().await;
        let first = app.runs();
        let bad = app.push("latest").await;
        app.has_come_to_run(&bad).await;
        app.publishes("Requests", Some(100.0)).await;
        app.publishes("4xxStatusResponses", Some(60.0)).await;
        let told = app.hear(1).await;
        app.quiet().await;
        assert_eq!(app.runs(), first);
        let said = "4xx (percent: 60 since ";
        assert!(told[0].message.contains(said), "{}", told[0].message);
        let end = stage.teardown(&spec).await;
        assert!(end.succeeded, "{}", end.message);
    });
}

#[test]
fn o5_an_image_that_fails_its_smoke_check_is_taken_back() {
    play(|stage| async move {
        let app = Service::given(stage, "smoking").create().await;
        let bad = stage
            .local
            .push_image("smoking", "waiting", "amd64")
            .await
            .expect("pushed");
        app.answers(&bad, 500);
        stage
            .local
            .tag_image("smoking", &bad, "latest")
            .await
            .expect("tagged");
        let told = app.hear(1).await;
        app.quiet().await;
        assert_eq!(app.runs(), app.first);
        assert_eq!(app.subjects().await, ["smoking: rolled back"]);
        assert!(
            told[0].message.contains("answered 500"),
            "{}",
            told[0].message
        );
    });
}

#[test]
fn o5_a_person_goes_back_to_any_earlier_release_and_events_leave_it_there() {
    play(|stage| async move {
        let app = Service::given(stage, "by-hand")
            .follows("semver:1")
            .create()
            .await;
        let second = app.push("1.1.0").await;
        app.hear(1).await;
        let third = app.push("1.2.0").await;
        app.hear(2).await;
        app.quiet().await;
        assert_eq!(app.runs(), third);

        let end = stage
            .deploy(&json!({"service": "by-hand", "to": "previous"}))
            .await;
        assert!(end.succeeded, "{}", end.message);
        assert_eq!(app.runs(), second);
        let end = stage
            .deploy(&json!({"service": app.arn, "to": app.first}))
            .await;
        assert!(end.succeeded, "{}", end.message);
        assert_eq!(app.runs(), app.first);

        // A look for whatever reason leaves it there, until something newer is pushed.
        let end = stage.deploy(&json!({"service": "by-hand"})).await;
        assert_eq!(end.output["outcome"], "Nothing", "{}", end.output);
        let fourth = app.push("1.2.1").await;
        app.eventually(|seen| seen.runs.image_digest.as_deref() == Some(&fourth))
            .await;
        app.quiet().await;

        let end = stage
            .deploy(&json!({"service": "by-hand", "to": "7.0.0"}))
            .await;
        assert!(
            end.error == "Invalid" && end.message.contains("7.0.0"),
            "{}",
            end.message
        );
        let digests: Vec<_> = app
            .look()
            .tags
            .into_iter()
            .filter(|(key, _)| key.starts_with("groundcrew:release-"))
            .collect();
        assert!(digests.len() >= 5, "{digests:#?}");
    });
}

#[test]
fn o1_a_held_service_is_frozen_until_it_is_let_go_and_then_gets_what_came_in() {
    play(|stage| async move {
        let app = Service::given(stage, "held").create().await;
        let end = stage
            .deploy(&json!({"service": "held", "hold": true}))
            .await;
        assert!(
            end.succeeded && end.output["outcome"] == "Nothing",
            "{}",
            end.output
        );
        let digest = app.push("latest").await;
        app.quiet().await;
        assert_eq!(app.operations(), []);
        let end = stage
            .deploy(&json!({"service": "held", "hold": false}))
            .await;
        assert!(end.succeeded, "{}", end.message);
        assert_eq!(app.runs(), digest);
    });
}

#[test]
fn o1_an_image_for_another_platform_is_refused_and_told_once() {
    play(|stage| async move {
        let app = Service::given(stage, "arm-only").create().await;
        let bad = stage
            .local
            .push_image("arm-only", "latest", "arm64")
            .await
            .expect("pushed");
        let told = app.hear(1).await;
        // Another event of the same image: it is known by now.
        stage.deploy(&json!({"service": "arm-only"})).await;
        app.quiet().await;
        assert!(app.changes().await.is_empty(), "App Runner was not asked");
        assert_eq!(app.subjects().await, ["arm-only: latest refused"]);
        for part in ["linux/arm64", "--platform linux/amd64", &bad[..19]] {
            assert!(told[0].message.contains(part), "{}", told[0].message);
        }
    });
}

#[test]
fn o4_a_push_while_paused_is_deployed_once_after_resume() {
    play(|stage| async move {
        let app = Service::given(stage, "asleep").create().await;
        app.pause_by_hand().await;
        let digest = app.push("latest").await;
        let ends = app.quiet().await;
        assert!(ends.iter().all(|end| end.succeeded), "{ends:#?}");
        assert!(app.subjects().await.is_empty(), "nobody is woken");
        app.resume_by_hand().await;
        app.eventually(|seen| seen.runs.image_digest.as_deref() == Some(&digest))
            .await;
        app.quiet().await;
        let updates = app
            .operations()
            .into_iter()
            .filter(|(kind, _)| *kind == OperationType::UpdateService);
        assert_eq!(updates.count(), 1);
        assert_eq!(app.subjects().await.len(), 1);
    });
}

#[test]
fn o11_a_service_that_is_stuck_ends_in_one_notification_with_its_operation() {
    play(|stage| async move {
        let app = Service::given(stage, "stuck-fast").create().await;
        app.next("UPDATE_SERVICE", json!("stuck"));
        app.push("latest").await;
        let told = app.hear(1).await;
        let ends = app.quiet().await;
        let operation = &app.look().operations[0].id;
        assert_eq!(app.subjects().await, ["stuck-fast: stuck"]);
        assert!(
            told[0].message.contains(operation.as_str()) && told[0].message.contains("since"),
            "{}",
            told[0].message
        );
        assert!(ends.iter().any(|end| end.error == "Stuck"), "{ends:#?}");
        assert_eq!(app.changes().await.len(), 1, "it was not tried again");
    });
}

#[test]
fn a_service_without_our_tags_is_never_touched() {
    play(|stage| async move {
        let app = Service::given(stage, "foreign").foreign().create().await;
        app.push("latest").await;
        app.quiet().await;
        let end = stage.deploy(&json!({"service": "foreign"})).await;
        assert_eq!(end.error, "Conflict", "{}", end.message);
        assert!(app.changes().await.is_empty());
        assert!(app.look().tags.is_empty());
        assert!(app.subjects().await.is_empty());
    });
}

#[test]
fn a_push_to_another_repository_account_or_tag_concerns_nobody() {
    play(|stage| async move {
        let app = Service::given(stage, "unconcerned").create().await;
        let looks = app.quiet().await.len();
        app.push("other").await;
        let events = stage.local.events().await.expect("events");
        let pushed = events
            .iter()
            .rfind(|event| event.detail["repository-name"] == "unconcerned")
            .expect("an event");
        let mut detail = pushed.detail.clone();
        detail["image-tag"] = json!("latest");
        let event = |account: &str, region: &str, detail: &Value| json!({"account": account, "region": region, "source": "aws.ecr", "detail-type": "ECR Image Action", "detail": detail});
        stage
            .local
            .put_event(&event("999999999999", "us-east-1", &detail))
            .await
            .expect("put");
        stage
            .local
            .put_event(&event("123456789012", "eu-west-1", &detail))
            .await
            .expect("put");
        detail["repository-name"] = json!("unconcerned-too");
        stage
            .local
            .put_event(&event("123456789012", "us-east-1", &detail))
            .await
            .expect("put");
        assert_eq!(app.quiet().await.len(), looks);
    });
}

#[test]
fn a_malformed_event_ends_in_the_dead_letter_queue() {
    play(|stage| async move {
        let queue = stage.output("DeadLettersArn");
        let malformed = json!({"source": "aws.ecr", "detail-type": "ECR Image Action", "detail": {
            "result": "SUCCESS", "action-type": "PUSH", "image-tag": "latest", "image-digest": 7, "repository-name": "malformed",
        }});
        stage.local.put_event(&malformed).await.expect("put");
        let found = eventually("it is in the queue", async || {
            let messages = stage.local.messages(queue).await.expect("the queue");
            let mut messages = messages.into_iter();
            messages.find(|message| message.body.contains("malformed"))
        })
        .await;
        let error = found.attributes.get("ErrorMessage").expect("why");
        assert!(error.contains("image-digest"), "{error}");
    });
}

#[test]
fn a_bad_request_by_hand_is_refused_with_every_mistake_and_tells_nobody() {
    play(|stage| async move {
        let about = |told: Vec<Notification>| {
            let texts = told.into_iter().map(|told| told.message);
            texts
                .filter(|text| text.contains("no such thing") || text.contains("nobody-here"))
                .count()
        };
        let end = stage
            .deploy(&json!({"service": "no such thing!", "to": "no tag!"}))
            .await;
        assert_eq!(end.error, "Invalid");
        assert!(
            end.message.contains("service") && end.message.contains("to:"),
            "{}",
            end.message
        );
        let end = stage.deploy(&json!({"service": "nobody-here"})).await;
        assert_eq!(end.output["outcome"], "Nothing", "{}", end.output);
        let end = stage.deploy(&json!("shop-dev")).await;
        assert_eq!(end.error, "Invalid", "{}", end.message);
        let told = stage.local.notifications().await.expect("listed");
        assert_eq!(about(told), 0);
    });
}

#[test]
fn o1_findings_of_a_scan_refuse_an_image_where_the_policy_says_so() {
    play(|stage| async move {
        let app = Service::given(stage, "scanned")
            .policy("bake=0 findings=high unscanned=refuse")
            .create()
            .await;
        let scan = |digest: &str, status, severities: &[(&str, u32)]| Scan {
            repository: "scanned".into(),
            digest: digest.into(),
            status,
            severities: severities
                .iter()
                .map(|(name, count)| ((*name).into(), *count))
                .collect(),
        };
        let push = |scans: Vec<(ScanStatus, Vec<(&'static str, u32)>)>| {
            let (stage, scan) = (app.stage, &scan);
            async move {
                let digest = stage
                    .local
                    .push_image("scanned", "aside", "amd64")
                    .await
                    .expect("pushed");
                for (status, severities) in scans {
                    stage
                        .local
                        .plant_scan(&scan(&digest, status, &severities))
                        .await
                        .expect("planted");
                }
                stage
                    .local
                    .tag_image("scanned", &digest, "latest")
                    .await
                    .expect("tagged");
                digest
            }
        };
        push(vec![(
            ScanStatus::Complete,
            vec![("CRITICAL", 2), ("LOW", 9)],
        )])
        .await;
        let told = app.hear(1).await;
        assert!(
            told[0].message.contains("2 CRITICAL"),
            "{}",
            told[0].message
        );
        push(vec![(ScanStatus::UnsupportedImage, vec![])]).await;
        let told = app.hear(2).await;
        assert!(
            told[1].message.contains("UNSUPPORTED_IMAGE"),
            "{}",
            told[1].message
        );
        assert!(app.changes().await.is_empty());
        // The shape of enhanced scanning; a severity that is not there has no findings.
        let good = push(vec![(ScanStatus::Active, vec![("MEDIUM", 5)])]).await;
        app.hear(3).await;
        app.quiet().await;
        assert_eq!(app.runs(), good);
    });
}

#[test]
fn o1_a_push_in_another_account_reaches_the_services_that_run_its_images() {
    play(|stage| async move {
        const OTHER: &str = "210987654321";
        let registry = stage.local.registry(OTHER, "us-east-1");
        registry
            .create_repository("central", &[rehearsal::ACCOUNT])
            .await
            .expect("created");
        let first = registry
            .push_image("central", "latest", "amd64")
            .await
            .expect("pushed");
        let image = format!("{OTHER}.dkr.ecr.us-east-1.amazonaws.com/central@{first}");
        let app = Service::given(stage, "from-elsewhere")
            .runs(&image)
            .create()
            .await;
        // A repository of the same name in this account is another one.
        let twin = Service::given(stage, "central").create().await;
        let second = registry
            .push_image("central", "latest", "amd64")
            .await
            .expect("pushed");
        // Its own account's bus forwards the event to ours, as it is.
        let pushed = json!({
            "account": OTHER, "region": "us-east-1", "source": "aws.ecr", "detail-type": "ECR Image Action",
            "detail": {"result": "SUCCESS", "action-type": "PUSH", "repository-name": "central", "image-digest": second, "image-tag": "latest"},
        });
        stage.local.put_event(&pushed).await.expect("put");
        app.hear(1).await;
        app.quiet().await;
        let identifier =
            app.look().description["SourceConfiguration"]["ImageRepository"]["ImageIdentifier"]
                .clone();
        assert!(
            identifier.as_str().expect("text").ends_with(&second),
            "{identifier}"
        );
        assert_eq!(twin.operations(), []);
    });
}

#[test]
fn o2_a_rotation_that_cannot_be_deployed_is_told_once_and_not_tried_again() {
    play(|stage| async move {
        let arn = stage.secret("unlucky").await;
        let app = Service::given(stage, "bad-secret")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        let (before, told) = (app.operations().len(), app.subjects().await.len());
        app.next("START_DEPLOYMENT", json!("fails"));
        stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        app.hear(told + 1).await;
        stage
            .deploy(&json!({"service": "bad-secret", "cause": "whatever else happens"}))
            .await;
        app.quiet().await;
        assert_eq!(app.operations().len(), before + 1);
        assert_eq!(
            app.subjects().await[told..],
            ["bad-secret: deployment failed"]
        );
        // A person who has mended what was in the way starts deploy, and need not rotate once more.
        let end = stage.deploy(&json!({"service": "bad-secret"})).await;
        assert!(end.succeeded, "{}", end.message);
        let version = stage.local.current_version(&arn).await.expect("it has one");
        assert_eq!(app.look().runs.secret_versions["PASSWORD"], version);
    });
}

#[test]
fn o2_secrets_that_wait_behind_a_bad_image_are_delivered_without_it() {
    play(|stage| async move {
        let arn = stage.secret("behind").await;
        let app = Service::given(stage, "behind-it")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        app.pause_by_hand().await;
        app.push("latest").await;
        let version = stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        app.quiet().await;
        app.next("UPDATE_SERVICE", json!("fails"));
        app.resume_by_hand().await;
        app.eventually(|seen| seen.runs.secret_versions.get("PASSWORD") == Some(&version))
            .await;
        app.quiet().await;
        assert_eq!(app.runs(), app.first);
        let newest: Vec<_> = app.operations().into_iter().rev().take(2).collect();
        assert_eq!(
            newest,
            [
                redeployed(),
                (
                    OperationType::UpdateService,
                    OperationStatus::RollbackSucceeded
                )
            ]
        );
    });
}

#[test]
fn o5_an_image_that_somebody_else_sets_in_the_bake_window_is_told_as_replaced_and_healed() {
    play(|stage| async move {
        for (name, is_red) in [("overtaken", false), ("overtaken-red", true)] {
            let app = Service::given(stage, name).policy("bake=30").create().await;
            app.alarm("errors", "5xxStatusResponses").await;
            let pushed = app.push("latest").await;
            app.has_come_to_run(&pushed).await;
            let own = stage.local.push_image(name, "other", "amd64").await;
            app.run_by_hand(&own.expect("pushed")).await;
            app.fails(is_red).await;
            app.hear(1).await;
            app.fails(false).await;
            let told = app.hear(2).await;
            app.quiet().await;
            let replaced = format!("{name}: latest replaced");
            let deployed = format!("{name}: latest deployed");
            assert_eq!(app.subjects().await, [replaced, deployed]);
            assert!(
                told[0].message.contains("somebody else"),
                "{}",
                told[0].message
            );
            assert_eq!(app.runs(), pushed, "{:#?}", app.look());
            assert!(!app.memory().await.is_bad(&pushed));
            let releases = app.releases();
            let outcomes: Vec<_> = releases.iter().map(|it| it.split(' ').next()).collect();
            assert_eq!(
                outcomes[outcomes.len() - 2..],
                [Some("unwatched"), Some("deployed")]
            );
        }
    });
}

#[test]
fn o4_a_stack_that_was_just_provisioned_is_up_to_date_and_gets_the_next_push() {
    play(|stage| async move {
        let mut spec = spec("provisioned");
        spec["service"]["secrets"] = json!({"PASSWORD": "database:password"});
        spec["deploy"] = json!({"bake_minutes": 0});
        let end = stage.provision(&spec).await;
        assert!(end.succeeded, "{}", end.message);
        let arn = text(&end.output["resources"]["service"]["details"]["service_arn"]);
        let app = Service::of(stage, "provisioned-dev", &arn);
        app.quiet().await;
        assert_eq!(app.operations(), [], "nothing was left to deploy");
        let digest = app.push("latest").await;
        let told = app.hear(1).await;
        app.quiet().await;
        assert_eq!((app.runs(), app.operations()), (digest, vec![updated()]));
        let version = stage
            .local
            .rotate_secret(
                "groundcrew/provisioned/dev/database",
                r#"{"password": "two"}"#,
            )
            .await
            .expect("rotated");
        app.hear(2).await;
        app.quiet().await;
        assert_eq!(app.look().runs.secret_versions["PASSWORD"], version);
        assert_eq!(app.operations(), [updated(), redeployed()]);
        assert!(!told[0].message.contains("two"), "no secret is told");
        // And the same spec again leaves alone what was deployed.
        let end = stage.provision_without_image(&spec).await;
        assert_eq!(touched(&end), Vec::<String>::new());
        let end = stage.teardown(&spec).await;
        assert!(end.succeeded, "{}", end.message);
    });
}

#[test]
fn an_event_that_concerns_nobody_is_one_line_in_the_log_and_no_error() {
    play(|stage| async move {
        stage
            .local
            .put_event(&event("ecr-push-other-repository.json"))
            .await
            .expect("put");
        let logs = stage.local.aws().logs();
        let lines = eventually("it is logged", async || {
            let groups = logs.describe_log_groups().send().await.expect("groups");
            let names = groups.log_groups.into_iter().flatten();
            let mut names = names.filter_map(|group| group.log_group_name);
            let group = names.find(|name| name.contains("TriggerFunction"))?;
            let found = logs.filter_log_events().log_group_name(group).send().await;
            let lines = found.expect("events").events.into_iter().flatten();
            let lines = lines.filter_map(|event| event.message);
            let lines: Vec<_> = lines.filter(|line| line.contains("blog-staging")).collect();
            Some(lines).filter(|lines| !lines.is_empty())
        })
        .await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("INFO"), "{}", lines[0]);
    });
}

#[test]
fn o5_secrets_are_never_rolled_back() {
    play(|stage| async move {
        let arn = stage.secret("forward").await;

        let app = Service::given(stage, "forward-only")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        let told = app.subjects().await.len();
        let bad = stage
            .local
            .push_image("forward-only", "aside", "amd64")
            .await
            .expect("pushed");
        app.answers(&bad, 500);
        stage
            .local
            .tag_image("forward-only", &bad, "latest")
            .await
            .expect("tagged");
        app.eventually(|seen| seen.runs.image_digest.as_deref() == Some(&bad))
            .await;
        let version = stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        app.hear(told + 1).await;
        app.eventually(|seen| seen.runs.secret_versions.get("PASSWORD") == Some(&version))
            .await;
        app.quiet().await;
        assert_eq!(app.runs(), app.first);
        // The way back took them along, or they were delivered after it: once.
        let deployed = app.operations().into_iter().rev().take(2);
        let deployed: Vec<_> = deployed
            .filter(|(kind, _)| *kind == OperationType::StartDeployment)
            .collect();
        assert!(deployed.len() <= 1, "{deployed:?}");
    });
}

#[test]
fn o4_a_push_during_maintenance_is_deployed_when_it_is_over() {
    play(|stage| async move {
        let app = Service::given(stage, "maintained").create().await;
        let service = || app.name.clone();
        let (seconds, apprunner) = (None, stage.local.apprunner());
        let maintenance = Arrangement::Maintenance {
            service: service(),
            seconds,
        };
        apprunner.arrange(maintenance).expect("arranged");
        let digest = app.push("latest").await;
        // An hour is waited for, and then a person is told.
        let told = app.hear(1).await;
        assert_eq!(told[0].subject.as_deref(), Some("maintained: stuck"));
        assert!(
            told[0].message.contains("maintenance"),
            "{}",
            told[0].message
        );
        // When it ends after all, App Runner says so, and the service is looked at again.
        let end = Arrangement::EndOfMaintenance { service: service() };
        apprunner.arrange(end).expect("arranged");
        app.eventually(|seen| seen.runs.image_digest.as_ref() == Some(&digest))
            .await;
        app.quiet().await;
        assert_eq!(app.runs(), digest);
        // The look for the push of its first image may have come late, and have waited as long.
        let mut subjects = app.subjects().await;
        subjects.dedup();
        assert_eq!(
            subjects,
            ["maintained: stuck", "maintained: latest deployed"]
        );
    });
}

#[test]
fn a_service_that_is_removed_during_its_deployment_tells_nobody() {
    play(|stage| async move {
        let app = Service::given(stage, "removed")
            .policy("bake=60")
            .create()
            .await;
        let digest = app.push("latest").await;
        app.has_come_to_run(&digest).await;
        let apprunner = stage.local.aws().apprunner();
        apprunner
            .delete_service()
            .service_arn(&app.arn)
            .send()
            .await
            .expect("deleting");
        let ends = app.quiet().await;
        assert!(ends.iter().all(|end| end.succeeded), "{ends:#?}");
        assert_eq!(app.subjects().await, Vec::<String>::new());
    });
}

#[test]
fn o5_an_image_that_a_person_has_asked_for_is_left_and_told_when_it_is_not_well() {
    play(|stage| async move {
        let app = Service::given(stage, "insisted").create().await;
        let bad = app.push("hotfix").await;
        app.answers(&bad, 500);
        let end = stage
            .deploy(&json!({"service": "insisted", "to": "hotfix"}))
            .await;
        assert_eq!(end.error, "Unwell", "{}", end.message);
        app.quiet().await;
        assert_eq!((app.runs(), app.operations()), (bad, vec![updated()]));
        let told = app.told().await;
        assert_eq!(
            app.subjects().await,
            ["insisted: not well after a deployment"]
        );
        assert!(
            told[0].message.contains("asked for by hand"),
            "{}",
            told[0].message
        );
    });
}

#[test]
fn o5_a_rotation_after_which_requests_fail_is_left_and_told() {
    play(|stage| async move {
        let arn = stage.secret("red-after").await;

        let app = Service::given(stage, "red-after")
            .policy("bake=30")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        let (before, told) = (app.operations().len(), app.subjects().await.len());
        app.alarm("errors", "5xxStatusResponses").await;
        let version = stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        app.eventually(|seen| {
            seen.runs.secret_versions.get("PASSWORD") == Some(&version)
                && seen.status == ServiceStatus::Running
        })
        .await;
        app.fails(true).await;
        let heard = app.hear(told + 1).await;
        app.quiet().await;
        assert_eq!(app.operations()[before..], [redeployed()]);
        assert_eq!(
            app.subjects().await[told..],
            ["red-after: not well after a deployment"]
        );
        assert!(
            heard[told].message.contains("never rolled back"),
            "{}",
            heard[told].message
        );
    });
}

#[test]
fn o2_secrets_behind_a_bad_image_are_delivered_by_the_execution_that_finds_it_bad() {
    play(|stage| async move {
        for (name, platform, subject) in [
            ("behind-failed", "amd64", "behind-failed: deployment failed"),
            ("behind-refused", "arm64", "behind-refused: latest refused"),
        ] {
            let arn = stage.secret(name).await;

            let app = Service::given(stage, name)
                .reads("PASSWORD", &arn)
                .create()
                .await;
            let (before, told) = (app.operations().len(), app.subjects().await.len());
            // Held meanwhile, so that no other event delivers what this execution leaves behind.
            let held = |held: bool| json!({"service": name, "hold": held});
            stage.deploy(&held(true)).await;
            let pushed = stage.local.push_image(name, "latest", platform).await;
            pushed.expect("pushed");
            let rotated = stage.local.rotate_secret(&arn, "two").await;
            let version = rotated.expect("rotated");
            // That they wait is told at once, and once.
            let waits = app.hear(told + 1).await;
            let waiting = format!("{name}: held, a secret waits");
            assert_eq!(waits[told].subject.as_ref(), Some(&waiting));
            app.quiet().await;
            app.next("UPDATE_SERVICE", json!("fails"));
            let end = stage.deploy(&held(false)).await;
            assert!(end.succeeded, "{name}: {}", end.message);
            assert_eq!(app.look().runs.secret_versions["PASSWORD"], version);
            assert_eq!(app.runs(), app.first);
            let since = app.operations().split_off(before);
            let redeployments = since.iter().filter(|done| **done == redeployed()).count();
            assert_eq!(redeployments, 1, "{since:?}");
            let delivered = format!("{name}: current secrets deployed");
            assert_eq!(app.subjects().await[told + 1..], [subject, &delivered]);
        }
    });
}

#[test]
fn o1_app_runner_deploys_nothing_by_itself_once_an_image_was_deployed() {
    play(|stage| async move {
        let app = Service::given(stage, "by-itself").create().await;
        app.deploy_by_itself().await;
        app.quiet().await;
        assert!(app.deploys_by_itself());
        let digest = app.push("latest").await;
        app.hear(1).await;
        app.quiet().await;
        assert_eq!(app.runs(), digest);
        assert!(!app.deploys_by_itself());
    });
}

#[test]
fn o5_the_image_that_ran_before_the_first_release_is_a_way_back_too() {
    play(|stage| async move {
        let app = Service::given(stage, "first-way").create().await;
        let second = app.push("latest").await;
        app.hear(1).await;
        app.quiet().await;
        assert_eq!(app.runs(), second);
        let end = stage
            .deploy(&json!({"service": "first-way", "to": "previous"}))
            .await;
        assert!(end.succeeded, "{}", end.message);
        assert_eq!(app.runs(), app.first);
    });
}

#[test]
fn o5_a_push_in_a_bake_window_waits_for_its_end_and_for_the_way_back() {
    play(|stage| async move {
        let app = Service::given(stage, "in-turn")
            .policy("bake=60")
            .create()
            .await;
        app.alarm("errors", "5xxStatusResponses").await;
        let bad = app.push("latest").await;
        app.has_come_to_run(&bad).await;
        let good = app.push("latest").await;
        // Until its execution has looked who deploys the service.
        eventually("it looks whether the claim is alive", async || {
            let calls = stage.local.calls().await.expect("the calls");
            let found = calls.iter().any(|call| {
                call.action == "states:DescribeExecution"
                    && call.principal.contains("Deploy")
                    && call.resource.contains(":in-turn-")
            });
            found.then_some(())
        })
        .await;
        app.fails(true).await;
        app.hear(1).await;
        app.fails(false).await;
        app.hear(2).await;
        app.quiet().await;
        assert_eq!(
            app.subjects().await,
            ["in-turn: rolled back", "in-turn: latest deployed"]
        );
        assert_eq!(app.runs(), good);
        assert_eq!(app.operations(), [updated(), updated(), updated()]);
    });
}
