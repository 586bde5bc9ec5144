//! One local AWS with `template.yaml` deployed, shared by all tests.

use aws_config::SdkConfig;
use aws_sdk_apprunner::Client;
use aws_sdk_apprunner::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_apprunner::operation::create_service::builders::CreateServiceFluentBuilder;
use aws_sdk_apprunner::types::{ImageRepository, ImageRepositoryType, SourceConfiguration, Tag};
use rehearsal::{Event, LocalAws, Notification, Options, Outputs};
use serde_json::Value;
use std::future::Future;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long a test waits for anything, on the wall clock.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) local: LocalAws,
    pub(crate) outputs: Outputs,
}

static STAGE: OnceLock<(Runtime, Stage)> = OnceLock::new();

/// Runs a test on the stage.
pub(crate) fn play<F: Future>(test: impl FnOnce(&'static Stage) -> F) -> F::Output {
    let (runtime, stage) = STAGE.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let stage = runtime.block_on(async {
            let local = LocalAws::start(&rehearsal::prepare().await.unwrap(), Options::default())
                .await
                .unwrap();
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/local_aws");
            let outputs = local
                .deploy(&folder.join("template.yaml"), &folder, &[])
                .await
                .unwrap();
            Stage { local, outputs }
        });
        (runtime, stage)
    });
    runtime.block_on(test(stage))
}

impl Stage {
    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap()
    }

    pub(crate) async fn repository(&self, name: &str) {
        let ecr = self.local.aws().ecr();
        ecr.create_repository()
            .repository_name(name)
            .send()
            .await
            .unwrap();
    }

    /// The configuration of a client that calls as a new user, which has no policy yet.
    pub(crate) async fn user(&self, name: &str) -> SdkConfig {
        let iam = self.local.aws().iam();
        iam.create_user().user_name(name).send().await.unwrap();
        let key = iam.create_access_key().user_name(name).send().await;
        let key = key.unwrap().access_key.unwrap();
        let (id, secret) = (key.access_key_id(), key.secret_access_key());
        let credentials = Credentials::new(id, secret, None, None, "a test");
        let config = self.local.sdk_config().to_builder();
        let config = config.credentials_provider(SharedCredentialsProvider::new(credentials));
        config.build()
    }

    /// The messages that were published to a topic, the oldest first.
    pub(crate) async fn published(&self, topic: &str) -> Vec<Notification> {
        let mut published = self.local.notifications().await.unwrap();
        published.retain(|it| it.topic == topic);
        published
    }

    /// The events of a kind whose detail has this value, the oldest first.
    pub(crate) async fn events(&self, kind: &str, member: &str, value: &str) -> Vec<Event> {
        let mut events = self.local.events().await.unwrap();
        events.retain(|event| event.detail_type == kind && event.detail[member] == value);
        events
    }

    /// What the listener has heard with this in its detail.
    pub(crate) async fn heard(&self, member: &str, value: &str) -> Vec<Value> {
        let mut heard = self.all_heard().await;
        heard.retain(|event| event["detail"][member] == value);
        heard
    }

    /// Everything that the listener has heard, the oldest first.
    pub(crate) async fn all_heard(&self) -> Vec<Value> {
        let logs = self.local.aws().logs();
        let mut heard = Vec::new();
        let mut pages = logs
            .filter_log_events()
            .log_group_name(self.output("ListenerLogs"))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            for event in page.unwrap().events.unwrap_or_default() {
                let line = event.message.unwrap_or_default();
                if let Some(text) = line.trim().strip_prefix("HEARD ") {
                    heard.push(serde_json::from_str(text).unwrap());
                }
            }
        }
        heard
    }
}

/// A request that creates a service from a public image, which takes no roles.
pub(crate) fn service(apprunner: &Client, name: &str) -> CreateServiceFluentBuilder {
    let image = ImageRepository::builder()
        .image_identifier("public.ecr.aws/aws-containers/hello-app-runner:latest")
        .image_repository_type(ImageRepositoryType::EcrPublic)
        .build()
        .unwrap();
    let source = SourceConfiguration::builder().image_repository(image);
    apprunner
        .create_service()
        .service_name(name)
        .source_configuration(source.auto_deployments_enabled(false).build())
}

pub(crate) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Waits until something is there.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
