//! Registries of other accounts and regions.

use super::stage::{Stage, play};
use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use rehearsal::{ACCOUNT, NewService, REGION};
use serde_json::json;

const OTHER: &str = "210987654321";

async fn look(
    stage: &Stage,
    region: &str,
    owner: &str,
    repository: &str,
) -> Result<String, String> {
    let config = stage.local.sdk_config().to_builder();
    let config = config.region(aws_config::Region::new(region.to_owned()));
    let ecr = Client::new(&config.build());
    let found = ecr
        .describe_images()
        .registry_id(owner)
        .repository_name(repository)
        .image_ids(ImageIdentifier::builder().image_tag("latest").build())
        .send()
        .await
        .map_err(|error| error.into_service_error().to_string())?;
    Ok(found.image_details()[0].image_digest().unwrap().to_owned())
}

#[test]
fn an_image_is_in_one_account_and_region_and_its_push_is_an_event_there() {
    play(async |stage| {
        stage.repository("far").await;
        let here = stage.local.push_image("far", "latest", "amd64").await;
        let mut digests = vec![here.unwrap()];
        let places = [(ACCOUNT, REGION), (OTHER, REGION), (ACCOUNT, "eu-west-1")];
        for (account, region) in &places[1..] {
            let registry = stage.local.registry(account, region);
            registry.create_repository("far", &[ACCOUNT]).await.unwrap();
            let digest = registry.push_image("far", "latest", "amd64").await;
            digests.push(digest.unwrap());
        }
        for ((account, region), digest) in places.iter().zip(&digests) {
            let found = look(stage, region, account, "far").await;
            assert_eq!(found.as_ref(), Ok(digest), "{account} {region}");
        }
        assert!(look(stage, "eu-west-1", OTHER, "far").await.is_err());
        let events = stage
            .events("ECR Image Action", "repository-name", "far")
            .await;
        assert_eq!(events.len(), 1);
    });
}

#[test]
fn a_service_can_run_an_image_of_another_account() {
    play(async |stage| {
        let registry = stage.local.registry(OTHER, REGION);
        registry
            .create_repository("lent", &[ACCOUNT])
            .await
            .unwrap();
        let digest = registry.push_image("lent", "latest", "amd64").await;
        let digest = digest.unwrap();
        let lent = groundcrew::reference::Repository {
            account: OTHER.into(),
            region: REGION.into(),
            name: "lent".into(),
        };
        let variants = groundcrew::image::variants(stage.local.aws(), &lent, &digest).await;
        assert_eq!(variants.unwrap()[0].platform, "linux/amd64");

        let new = NewService {
            name: "lent",
            image: &format!("{OTHER}.dkr.ecr.{REGION}.amazonaws.com/lent@{digest}"),
            ..NewService::default()
        };
        let arn = stage.local.create_service(&new).await.unwrap();
        let running = super::services::runs(stage, &arn).await;
        assert_eq!(running.image_digest, Some(digest));
    });
}

#[test]
fn another_accounts_repository_must_let_the_caller_in() {
    play(async |stage| {
        let registry = stage.local.registry(OTHER, REGION);
        for (name, readers) in [("open", &[ACCOUNT][..]), ("closed", &[])] {
            registry.create_repository(name, readers).await.unwrap();
            registry.push_image(name, "v1", "amd64").await.unwrap();
            let asked = json!({"registryId": OTHER, "repositoryName": name});
            let calls = json!([["ecr", "describe_images", asked]]);
            let answers = super::executions::calls(stage, name, calls).await;
            let answer = answers["describe_images"].as_str().unwrap();
            assert_eq!(answer == "ok", name == "open", "{name}: {answer}");
        }
    });
}
