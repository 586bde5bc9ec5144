//! A check that could not be made counts neither as passed nor as failed.

use crate::scenarios::deployments::{redeployed, updated};
use crate::stage::{Service, play};
use apprunner_emulator::ServiceStatus;
use serde_json::json;

#[test]
fn o5_a_smoke_check_that_meets_somebodys_operation_waits_for_its_end_and_asks_again() {
    play(|stage| async move {
        let app = Service::given(stage, "meets").create().await;
        let bad = app.push("latest").await;
        app.answers(&bad, 500);
        app.has_come_to_run(&bad).await;
        // A pipeline that pushes an image applies its spec, too.
        app.next("UPDATE_SERVICE", json!({"takes": 4.0}));
        app.update_by_hand(|source| {
            let image = source.image_repository.as_mut().expect("an image");
            let configuration = image.image_configuration.as_mut().expect("a configuration");
            let variables = configuration
                .runtime_environment_variables
                .get_or_insert_default();
            variables.insert("COLOUR".into(), "blue".into());
        })
        .await;
        app.eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        app.hear(1).await;
        app.quiet().await;
        assert_eq!(app.subjects().await, ["meets: rolled back"]);
        assert_eq!(app.runs(), app.first);
    });
}

#[test]
fn o5_an_address_that_was_not_well_before_says_nothing_about_an_image_and_that_is_told() {
    play(|stage| async move {
        let app = Service::given(stage, "walled").create().await;
        app.answers(&app.first, 403);
        let pushed = app.push("latest").await;
        app.answers(&pushed, 403);
        let told = app.hear(1).await;
        assert_eq!(told[0].subject.as_deref(), Some("walled: latest deployed"));
        assert!(
            told[0].message.contains("answered 403"),
            "{}",
            told[0].message
        );
        app.quiet().await;
        assert_eq!(app.runs(), pushed);
        // Where it gets worse, the image is to blame.
        let worse = app.push("latest").await;
        app.answers(&worse, 500);
        let told = app.hear(2).await;
        assert_eq!(told[1].subject.as_deref(), Some("walled: rolled back"));
        app.quiet().await;
        assert_eq!(app.runs(), pushed);
    });
}

#[test]
fn o5_a_roll_back_that_cannot_begin_is_told_with_its_reason_and_the_image_is_no_way_back() {
    play(|stage| async move {
        let app = Service::given(stage, "barred")
            .policy("bake=30")
            .follows("semver:1")
            .create()
            .await;
        app.alarm("errors", "5xxStatusResponses").await;
        let bad = app.push("1.1.0").await;
        app.has_come_to_run(&bad).await;
        // Somebody's update hangs when requests fail.
        app.next("UPDATE_SERVICE", json!("stuck"));
        app.run_by_hand(&bad).await;
        app.fails(true).await;
        let told = app.hear(1).await;
        assert_eq!(told[0].subject.as_deref(), Some("barred: stuck"));
        assert!(
            told[0].message.contains("since the deployment, alarm"),
            "{}",
            told[0].message
        );
        app.quiet().await;
        assert!(app.memory().await.is_bad(&bad));
    });
}

#[test]
fn o2_a_secret_that_moves_in_a_bake_window_is_delivered_before_the_image_is_judged() {
    play(|stage| async move {
        let arn = stage.secret("moving").await;
        let app = Service::given(stage, "moving")
            .reads("PASSWORD", &arn)
            .policy("bake=20")
            .create()
            .await;
        let (before, told) = (app.operations().len(), app.subjects().await.len());
        app.alarm("errors", "5xxStatusResponses").await;
        let pushed = app.push("latest").await;
        app.has_come_to_run(&pushed).await;
        // The old password is dead at once, so that requests fail until the new one is delivered.
        app.next("START_DEPLOYMENT", json!({"takes": 2.0}));
        let version = stage
            .local
            .rotate_secret(&arn, "two")
            .await
            .expect("rotated");
        app.fails(true).await;
        app.eventually(|seen| seen.status == ServiceStatus::OperationInProgress)
            .await;
        app.fails(false).await;
        app.eventually(|seen| seen.runs.secret_versions.get("PASSWORD") == Some(&version))
            .await;
        app.hear(told + 1).await;
        app.quiet().await;
        assert_eq!(app.runs(), pushed);
        assert_eq!(app.operations()[before..], [updated(), redeployed()]);
        assert_eq!(app.subjects().await[told..], ["moving: latest deployed"]);
    });
}
