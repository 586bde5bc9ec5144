//! Images are pushed, moved and deleted, and each is an event.

use super::stage::{Stage, play};
use rehearsal::{ACCOUNT, Event, REGION};
use serde_json::json;

async fn events(stage: &Stage, repository: &str) -> Vec<Event> {
    stage
        .events("ECR Image Action", "repository-name", repository)
        .await
}

#[test]
fn a_push_is_an_event_without_resources() {
    play(async |stage| {
        stage.repository("one").await;
        let digest = stage.local.push_image("one", "v1", "amd64").await.unwrap();
        let [event] = &events(stage, "one").await[..] else {
            panic!("not one event")
        };
        assert_eq!(
            event.detail,
            json!({
                "result": "SUCCESS",
                "repository-name": "one",
                "image-digest": digest,
                "action-type": "PUSH",
                "image-tag": "v1",
                "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
                "artifact-media-type": "application/vnd.oci.image.config.v1+json",
            })
        );
        assert_eq!(event.source, "aws.ecr");
        assert_eq!(event.resources, [] as [&str; 0]);
        assert_eq!((&event.account[..], &event.region[..]), (ACCOUNT, REGION));
    });
}

#[test]
fn an_image_under_two_tags_is_pushed_twice() {
    play(async |stage| {
        stage.repository("two").await;
        let digest = stage
            .local
            .push_image_as("two", &["v1", "latest"], "amd64")
            .await
            .unwrap();
        let pushed: Vec<_> = events(stage, "two").await;
        let pushed = pushed.iter().map(|event| {
            assert_eq!(event.detail["image-digest"], digest);
            event.detail["image-tag"].as_str().unwrap()
        });
        assert_eq!(pushed.collect::<Vec<_>>(), ["v1", "latest"]);
    });
}

#[test]
fn the_images_of_an_index_are_pushed_without_a_tag() {
    play(async |stage| {
        stage.repository("index").await;
        let digest = stage
            .local
            .push_index("index", "v1", &["amd64", "arm64"])
            .await
            .unwrap();
        let pushed = events(stage, "index").await;
        assert_eq!(pushed.len(), 3);
        assert!(pushed[0].detail.get("image-tag").is_none());
        assert!(pushed[1].detail.get("image-tag").is_none());
        assert_eq!(pushed[2].detail["image-tag"], "v1");
        assert_eq!(pushed[2].detail["image-digest"], digest);
        assert!(pushed[2].detail.get("artifact-media-type").is_none());
    });
}

#[test]
fn each_push_is_another_image_and_a_later_one() {
    play(async |stage| {
        stage.repository("latest").await;
        let first = stage.local.push_image("latest", "latest", "amd64").await;
        let second = stage.local.push_image("latest", "latest", "amd64").await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_ne!(first, second);
        let ecr = stage.local.aws().ecr();
        let images = ecr.describe_images().repository_name("latest").send().await;
        let mut images = images.unwrap().image_details.unwrap();
        images.sort_by_key(|image| image.image_pushed_at.map(|at| at.secs()));
        let [old, new] = &images[..] else {
            panic!("{images:?}")
        };
        assert_eq!(old.image_digest.as_deref(), Some(&first[..]));
        assert_eq!(old.image_tags, None);
        assert_eq!(new.image_tags.as_deref(), Some(&["latest".to_owned()][..]));
        assert_ne!(old.image_pushed_at, new.image_pushed_at);

        // Back to the first: an event, and no new image.
        let tagged = stage.local.tag_image("latest", &first, "latest").await;
        tagged.unwrap();
        let pushed = events(stage, "latest").await;
        assert_eq!(pushed.len(), 3);
        assert_eq!(pushed[2].detail["image-digest"], first);
        // What is there already changes nothing.
        let tagged = stage.local.tag_image("latest", &first, "latest").await;
        tagged.unwrap();
        assert_eq!(events(stage, "latest").await.len(), 3);
    });
}

#[test]
fn a_deleted_image_is_an_event_for_each_of_its_tags() {
    play(async |stage| {
        stage.repository("gone").await;
        let digest = stage
            .local
            .push_image_as("gone", &["a", "b"], "amd64")
            .await
            .unwrap();
        stage.local.delete_image("gone", &digest).await.unwrap();
        let events = events(stage, "gone").await;
        let deleted = events
            .iter()
            .filter(|event| event.detail["action-type"] == "DELETE");
        let tags: Vec<_> = deleted.map(|event| &event.detail["image-tag"]).collect();
        assert_eq!(tags, ["a", "b"]);
    });
}
