//! What a person asks for means what it meant when they asked, and nothing undoes it by itself.

use crate::scenarios::deployments::{redeployed, updated};
use crate::stage::{Service, play};
use apprunner_emulator::ServiceStatus;
use groundcrew::memory::Outcome;
use rehearsal::{Scan, ScanStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl Service<'_> {
    /// Starts `deploy` for it and waits for its end, which must be a good one.
    async fn asks(&self, wish: Value) -> Value {
        let mut request = wish;
        request["service"] = self.name.clone().into();
        let end = self.stage.deploy(&request).await;
        assert!(end.succeeded, "{request}: {}", end.message);
        end.output
    }

    async fn deployed(&self, tag: &str) -> String {
        let told = self.subjects().await.len();
        let digest = self.push(tag).await;
        self.hear(told + 1).await;
        self.quiet().await;
        assert_eq!(self.runs(), digest, "{tag}");
        digest
    }
}

#[test]
fn o5_a_wish_ends_a_bake_at_once_and_previous_is_what_ran_before_the_image_in_sight() {
    play(|stage| async move {
        let app = Service::given(stage, "impatient")
            .follows("semver:1")
            .policy("bake=15")
            .create()
            .await;
        let first = app.deployed("1.1.0").await;
        let before = app.operations().len();
        let second = app.push("1.2.0").await;
        app.has_come_to_run(&second).await;
        let output = app.asks(json!({"to": "previous"})).await;
        assert_eq!(output["outcome"], "Deployed", "{output}");
        app.quiet().await;
        assert_eq!(app.runs(), first);
        assert_eq!(app.operations()[before..], [updated(), updated()]);
        // Who watched the second one tells nothing of it: its window did not come to its end.
        let told = ["impatient: 1.1.0 deployed", "impatient: 1.1.0 deployed"];
        assert_eq!(app.subjects().await, told);
        let memory = app.memory().await;
        let ended = memory
            .releases
            .iter()
            .find(|it| it.digest.as_ref() == Some(&second));
        assert_eq!(ended.map(|it| it.outcome), Some(Outcome::Unwatched));
    });
}

#[test]
fn o5_a_person_and_the_roll_back_that_mean_the_same_go_back_one_release() {
    play(|stage| async move {
        let app = Service::given(stage, "both")
            .follows("semver:1")
            .create()
            .await;
        app.deployed("1.1.0").await;
        let good = app.deployed("1.2.0").await;
        app.next("UPDATE_SERVICE", json!({"takes": 2.0}));
        let bad = app.push("1.3.0").await;
        app.answers(&bad, 500);
        app.eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        // The person sees it fail, and asks for what ran before it: by the time that it is free, 1.2.0 runs again.
        let _ = stage
            .deploy(&json!({"service": "both", "to": "previous"}))
            .await;
        app.quiet().await;
        assert_eq!(app.runs(), good);
    });
}

#[test]
fn o5_what_was_pushed_before_a_persons_wish_is_not_deployed_by_itself_and_what_comes_after_is() {
    play(|stage| async move {
        let app = Service::given(stage, "border")
            .follows("semver:1")
            .create()
            .await;
        let first = app.deployed("1.4.0").await;
        app.deployed("1.4.5").await;
        let newest = app.deployed("1.5.0").await;
        app.asks(json!({"to": "1.4.0"})).await;
        assert_eq!(app.runs(), first);
        let nothing = async |what: &str| {
            let output = app.asks(json!({})).await;
            assert_eq!(output["outcome"], "Nothing", "{what}: {output}");
            assert_eq!(app.runs(), first, "{what}");
        };
        nothing("a look").await;
        app.asks(json!({"hold": true})).await;
        app.asks(json!({"hold": false})).await;
        nothing("held and let go").await;
        stage
            .local
            .delete_image("border", &newest)
            .await
            .expect("deleted");
        nothing("the newest is deleted").await;
        stage.sweep(&json!({})).await;
        app.quiet().await;
        assert_eq!(app.runs(), first, "swept");
        // A hotfix of what runs, then a newer one.
        app.deployed("1.4.1").await;
        app.deployed("1.5.1").await;
        app.asks(json!({"to": "previous"})).await;
        let output = app.asks(json!({"to": "newest"})).await;
        assert_eq!(output["outcome"], "Deployed", "{output}");
    });
}

#[test]
fn o5_an_older_image_that_gets_its_tag_after_the_wish_is_deployed_as_the_event_says() {
    play(|stage| async move {
        let app = Service::given(stage, "retagged")
            .follows("semver:1")
            .create()
            .await;
        let first = app.deployed("1.4.0").await;
        let newest = app.deployed("1.5.0").await;
        app.asks(json!({"to": "1.4.0"})).await;
        assert_eq!(app.runs(), first);
        stage
            .local
            .tag_image("retagged", &newest, "1.5.1")
            .await
            .expect("tagged");
        app.has_come_to_run(&newest).await;
        app.quiet().await;
    });
}

#[test]
fn o5_a_hotfix_below_a_rejected_version_is_deployed_and_a_rejected_image_under_a_lower_tag_is_told()
{
    play(|stage| async move {
        let app = Service::given(stage, "hotfix")
            .follows("semver:1")
            .create()
            .await;
        app.deployed("1.4.0").await;
        let bad = app.push("1.5.0").await;
        app.answers(&bad, 500);
        app.hear(2).await;
        app.quiet().await;
        let fix = app.deployed("1.4.1").await;
        let told = app.subjects().await.len();
        stage
            .local
            .tag_image("hotfix", &bad, "1.4.9")
            .await
            .expect("tagged");
        let heard = app.hear(told + 1).await;
        let subject = heard[told].subject.as_deref();
        assert_eq!(subject, Some("hotfix: 1.4.9 not deployed"));
        assert!(
            heard[told].message.contains("rejected before"),
            "{}",
            heard[told].message
        );
        assert!(
            heard[told].message.contains(&bad),
            "{}",
            heard[told].message
        );
        app.quiet().await;
        assert_eq!(app.runs(), fix);
    });
}

#[test]
fn o6_what_a_person_asks_for_is_not_refused_for_findings_that_came_in_since() {
    play(|stage| async move {
        let app = Service::given(stage, "findings")
            .policy("bake=0 findings=high")
            .follows("semver:1")
            .create()
            .await;
        let ran = app.deployed("1.1.0").await;
        app.deployed("1.2.0").await;
        let found = Scan {
            repository: "findings".into(),
            digest: ran.clone(),
            status: ScanStatus::Complete,
            severities: BTreeMap::from([("HIGH".into(), 3)]),
        };
        stage.local.plant_scan(&found).await.expect("planted");
        app.asks(json!({"to": "previous"})).await;
        assert_eq!(app.runs(), ran);
    });
}

#[test]
fn o2_a_rotation_under_a_hold_is_told_once_with_the_command_that_delivers_it() {
    play(|stage| async move {
        let arn = stage.secret("frozen").await;
        let app = Service::given(stage, "frozen")
            .reads("PASSWORD", &arn)
            .create()
            .await;
        app.asks(json!({"hold": true})).await;
        app.quiet().await;
        let (before, told) = (app.operations().len(), app.subjects().await.len());
        let version = stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        let heard = app.hear(told + 1).await;
        let message = &heard[told].message;
        assert_eq!(
            heard[told].subject.as_deref(),
            Some("frozen: held, a secret waits")
        );
        assert!(message.contains("\"again\": true"), "{message}");
        app.push("latest").await;
        app.quiet().await;
        assert_eq!(app.operations().len(), before);
        assert_eq!(app.subjects().await.len(), told + 1);
        let output = app.asks(json!({"again": true})).await;
        assert_eq!(output["outcome"], "Deployed", "{output}");
        assert_eq!(app.look().runs.secret_versions["PASSWORD"], version);
        assert_eq!(app.operations()[before..], [redeployed()]);
        assert_eq!(app.runs(), app.first, "it is still held");
    });
}

#[test]
fn o11_one_operation_that_hangs_is_told_once_however_many_pushes_wait_for_it() {
    play(|stage| async move {
        let app = Service::given(stage, "hanging").create().await;
        app.next("UPDATE_SERVICE", json!("stuck"));
        for _ in 0..4 {
            app.push("latest").await;
        }
        app.hear(1).await;
        app.quiet().await;
        assert_eq!(app.subjects().await, ["hanging: stuck"]);
    });
}
