//! AWSCURRENT moves, and each time that is an event.

use super::stage::{Stage, play};

async fn create(stage: &Stage, name: &str) -> String {
    let secrets = stage.local.aws().secrets_manager();
    let made = secrets.create_secret().name(name).secret_string("one");
    made.send().await.unwrap().arn.unwrap()
}

/// The versions that AWSCURRENT moved to.
async fn moves(stage: &Stage, name: &str) -> Vec<String> {
    let events = stage.events("Secret Label Updated", "name", name).await;
    let versions = events.iter().map(|event| {
        assert_eq!(event.detail["labelUpdated"], "AWSCURRENT");
        assert!(event.resources[0].contains(name));
        event.detail["versionId"].as_str().unwrap().to_owned()
    });
    versions.collect()
}

#[test]
fn a_rotation_is_one_event_at_its_end() {
    play(async |stage| {
        let arn = create(stage, "rotated").await;
        let first = stage.local.current_version(&arn).await.unwrap();
        let pending = stage.local.begin_rotation(&arn, "two").await.unwrap();
        assert_eq!(moves(stage, "rotated").await, std::slice::from_ref(&first));
        stage.local.finish_rotation(&arn, &pending).await.unwrap();
        assert_eq!(moves(stage, "rotated").await, [first, pending.clone()]);
        let secrets = stage.local.aws().secrets_manager();
        let secret = secrets.describe_secret().secret_id(&arn).send().await;
        let stages = secret.unwrap().version_ids_to_stages.unwrap();
        assert_eq!(stages[&pending], ["AWSCURRENT"]);
    });
}

#[test]
fn a_changed_value_is_an_event_and_a_changed_description_is_none() {
    play(async |stage| {
        let arn = create(stage, "changed").await;
        let secrets = stage.local.aws().secrets_manager();
        let put = secrets.put_secret_value().secret_id(&arn);
        put.secret_string("two").send().await.unwrap();
        let update = secrets.update_secret().secret_id(&arn);
        update.secret_string("three").send().await.unwrap();
        let update = secrets.update_secret().secret_id(&arn);
        update.description("Three").send().await.unwrap();
        let moves = moves(stage, "changed").await;
        assert_eq!(moves.len(), 3);
        let current = stage.local.current_version(&arn).await.unwrap();
        assert_eq!(moves.last(), Some(&current));
    });
}
