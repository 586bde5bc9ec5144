//! A service that a scenario creates past `provision`, with an image of its own.

use crate::Stage;
use apprunner_emulator::{ServiceSnapshot, ServiceStatus};
use aws_sdk_cloudwatch::types::MetricAlarm;
use rehearsal::{End, NewService};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long something may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something.
///
/// # Panics
/// If it does not happen within a minute.
pub async fn eventually<T>(what: &str, is: impl AsyncFn() -> Option<T>) -> T {
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(seen) = is().await {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    seen.await
        .unwrap_or_else(|_| panic!("it did not happen: {what}"))
}

/// The service, by its ARN: another of the same name is another one.
pub struct Service<'a> {
    /// Where it runs.
    pub stage: &'a Stage,
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
}

impl<'a> Service<'a> {
    /// Creates it with these tags and secrets, and waits until it runs the image that is tagged `latest`.
    ///
    /// # Panics
    /// If it does not.
    pub async fn new(
        stage: &'a Stage,
        name: &str,
        tags: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Self {
        let repository = stage.local.aws().ecr().create_repository();
        // That of a service before it, or of a stack, is there already.
        let _ = repository.repository_name(name).send().await;
        let pushed = stage.local.push_image(name, "latest", "amd64").await;
        let image = format!("{name}@{}", pushed.expect("pushed"));
        let new = NewService {
            name,
            image: &image,
            tags,
            secrets,
        };
        let arn = stage.local.create_service(&new).await.expect("created");
        let service = Self::of(stage, name, &arn);
        service.status_is(ServiceStatus::Running).await;
        service
    }

    /// One that is there.
    pub fn of(stage: &'a Stage, name: &str, arn: &str) -> Self {
        Self {
            stage,
            name: name.to_owned(),
            arn: arn.to_owned(),
        }
    }

    /// The one of a stack that was provisioned.
    ///
    /// # Panics
    /// If there is none.
    pub fn named(stage: &'a Stage, name: &str) -> Self {
        let services = stage.local.apprunner().snapshot().services;
        let mut living = services
            .into_iter()
            .filter(|it| it.name == name && it.status != ServiceStatus::Deleted);
        let arn = living.next().expect("the service exists").arn;
        Self::of(stage, name, &arn)
    }

    /// Its id, the dimension of its metrics.
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }

    /// What it is now; `None` once nothing is known of it any more.
    pub fn look(&self) -> Option<ServiceSnapshot> {
        let services = self.stage.local.apprunner().snapshot().services;
        services.into_iter().find(|service| service.arn == self.arn)
    }

    /// Waits until it is in a state.
    ///
    /// # Panics
    /// If it does not get there.
    pub async fn status_is(&self, status: ServiceStatus) {
        let name = format!("{} is {status:?}", self.name);
        eventually(&name, async || {
            (self.look()?.status == status).then_some(())
        })
        .await;
    }

    /// Deletes it, and waits for the end.
    ///
    /// # Panics
    /// If it stays.
    pub async fn delete(&self) {
        let deleted = self.stage.local.aws().apprunner().delete_service();
        let deleted = deleted.service_arn(&self.arn).send().await;
        deleted.expect("accepted");
        eventually("it is gone", async || {
            let gone = self
                .look()
                .is_none_or(|it| it.status == ServiceStatus::Deleted);
            gone.then_some(())
        })
        .await;
    }

    /// Pushes another image.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn push(&self, tag: &str) -> String {
        let pushed = self.stage.local.push_image(&self.name, tag, "amd64");
        pushed.await.expect("pushed")
    }

    /// The digest that it runs.
    pub fn runs(&self) -> Option<String> {
        self.look()?.runs.image_digest
    }

    /// The alarms whose name begins with its own.
    ///
    /// # Panics
    /// If CloudWatch does not answer.
    pub async fn alarms(&self) -> Vec<MetricAlarm> {
        let described = self.stage.local.aws().cloudwatch().describe_alarms();
        let described = described.alarm_name_prefix(format!("{}-", self.name));
        let found = described.send().await.expect("described");
        found.metric_alarms.unwrap_or_default()
    }

    /// Waits until it has so many alarms.
    ///
    /// # Panics
    /// If it does not get them.
    pub async fn has_alarms(&self, count: usize) -> Vec<MetricAlarm> {
        eventually(&format!("{} has {count} alarms", self.name), async || {
            let alarms = self.alarms().await;
            (alarms.len() == count).then_some(alarms)
        })
        .await
    }

    /// The executions of `deploy` for it, ended, once no more come.
    ///
    /// # Panics
    /// If one of them does not end.
    pub async fn quiet(&self) -> Vec<End> {
        let machine = self.stage.outputs.get("DeployStateMachineArn");
        let machine = machine.expect("an output");
        let prefix = format!("{}-", self.name);
        let mut known = usize::MAX;
        loop {
            let executions = self.stage.local.executions(machine, &prefix).await;
            let mut ends = Vec::new();
            for execution in executions.expect("listed") {
                ends.push(execution.end().await.expect("it ends"));
            }
            if ends.len() == known {
                return ends;
            }
            known = ends.len();
            tokio::time::sleep(Duration::from_millis(1000)).await;
        }
    }
}

/// Whether an alarm is of a database, and not of a service.
pub fn is_of_database(alarm: &MetricAlarm) -> bool {
    alarm.namespace() == Some("AWS/RDS")
}

/// The ids of the services that alarms watch, by themselves or in a query.
pub fn watched(alarms: &[MetricAlarm]) -> BTreeSet<String> {
    let queries = alarms.iter().flat_map(MetricAlarm::metrics);
    let metrics = queries.filter_map(|query| query.metric_stat()?.metric());
    let of_queries = metrics.flat_map(|metric| metric.dimensions());
    let own = alarms.iter().flat_map(MetricAlarm::dimensions);
    let ids = own
        .chain(of_queries)
        .filter(|dimension| dimension.name() == Some("ServiceID"));
    ids.filter_map(|dimension| dimension.value().map(str::to_owned))
        .collect()
}
