//! A service that a test creates past `provision`, with an image of its own.

use super::{Stage, eventually};
use apprunner_emulator::{
    Arrangement, OperationStatus, OperationType, ServiceSnapshot, ServiceStatus,
};
use aws_sdk_apprunner::types::{SourceConfiguration, Tag};
use aws_sdk_cloudwatch::types::{
    ComparisonOperator, Dimension, MetricAlarm, StateValue, Statistic,
};
use groundcrew::Memory;
use groundcrew::memory::{Deployments, Remembered};
use groundcrew::stack::Tags;
use rehearsal::{Call, End, Execution, NewService, Notification, Published};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// A service, by its ARN: another of the same name is another one. One that a test has created on a shared stage is nobody's
/// once the test is done with it: no later event of the stage looks at it.
pub(crate) struct Service<'a> {
    /// Where it runs.
    pub(crate) stage: &'a Stage,
    /// Its name.
    pub(crate) name: String,
    /// Its ARN.
    pub(crate) arn: String,
    /// The digest that it was created with; empty for one that was there.
    pub(crate) first: String,
    is_created: bool,
}

/// What a service is created with.
pub(crate) struct Given<'a> {
    stage: &'a Stage,
    name: String,
    tags: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
    image: Option<String>,
    by_tag: bool,
}

impl<'a> Given<'a> {
    /// A tag of it, in place of the one with this key.
    pub(crate) fn tagged(mut self, key: &str, value: &str) -> Self {
        self.tags.retain(|(of, _)| of != key);
        self.tags.push((key.into(), value.into()));
        self
    }

    /// These tags and no others.
    pub(crate) fn with_only(mut self, tags: &[(&str, &str)]) -> Self {
        let owned = tags
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        self.tags = owned.collect();
        self
    }

    /// Part of a stack.
    pub(crate) fn of_stack(self, app: &str, environment: &str) -> Self {
        self.tagged("groundcrew:app", app)
            .tagged("groundcrew:environment", environment)
    }

    /// Under this tag rule; `latest` unless it is told.
    pub(crate) fn follows(self, rule: &str) -> Self {
        self.tagged("groundcrew:image-tag", rule)
    }

    /// Under this policy; without a bake window unless it is told, for most tests are not about alarms.
    pub(crate) fn policy(self, policy: &str) -> Self {
        self.tagged("groundcrew:deploy-policy", policy)
    }

    /// None of groundcrew's.
    pub(crate) fn foreign(self) -> Self {
        self.with_only(&[])
    }

    /// With a variable that gets its value from a secret.
    pub(crate) fn reads(mut self, variable: &str, secret: impl Into<String>) -> Self {
        self.secrets.push((variable.into(), secret.into()));
        self
    }

    /// With an image that is there, `shop-dev@sha256:…`, in place of one that is pushed to a repository of its name.
    pub(crate) fn runs(mut self, image: impl Into<String>) -> Self {
        self.image = Some(image.into());
        self
    }

    /// With its image named by the tag, as people create services.
    pub(crate) fn by_tag(mut self) -> Self {
        self.by_tag = true;
        self
    }

    fn tag(&self, key: &str) -> Option<&str> {
        let mut tags = self.tags.iter();
        tags.find(|(of, _)| of == key).map(|(_, value)| &**value)
    }

    /// Pushes its first image; answers its identifier, and its digest.
    async fn push(&self) -> (String, String) {
        let (stage, name) = (self.stage, &*self.name);
        let repository = stage.local.aws().ecr().create_repository();
        // That of a service before it, or of a stack, is there already.
        let _ = repository.repository_name(name).send().await;
        let rule = self.tag("groundcrew:image-tag").unwrap_or("latest");
        let tag = if rule.contains(':') { "1.0.0" } else { rule };
        let digest = stage.local.push_image(name, tag, "amd64").await;
        let digest = digest.expect("pushed");
        // `trigger` is not to find a service that is created only then.
        stage.local.everybody_has_heard().await.expect("heard");
        let identifier = match self.by_tag {
            true => format!("{name}:{tag}"),
            false => format!("{name}@{digest}"),
        };
        (identifier, digest)
    }

    /// Creates it and waits until it runs, and until there is nothing left to do for it.
    ///
    /// # Panics
    /// If it does not come to that.
    pub(crate) async fn create(self) -> Service<'a> {
        let (stage, name) = (self.stage, &*self.name);
        let (image, first) = match &self.image {
            None => self.push().await,
            Some(image) => {
                let digest = image.split_once('@').expect("a digest").1;
                (image.clone(), digest.to_owned())
            }
        };
        // More than an account begins with: those of other tests are there, too.
        let quota = Arrangement::Quota { services: 1000 };
        stage.local.apprunner().arrange(quota).expect("arranged");
        let tags: Vec<_> = self
            .tags
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        let secrets: Vec<_> = self
            .secrets
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        let new = NewService {
            name,
            image: &image,
            tags: &tags,
            secrets: &secrets,
        };
        let arn = stage.local.create_service(&new).await.expect("created");
        let mut service = Service::of(stage, name, &arn);
        service.first = first;
        service.is_created = true;
        service.status_is(ServiceStatus::Running).await;
        let is_watched = stage.outputs.get("DeployStateMachineArn").is_ok();
        if is_watched {
            // That it runs is an event, whose look has nothing to do.
            service.quiet().await;
        }
        if is_watched && !secrets.is_empty() && self.tag("groundcrew:managed").is_some() {
            // What it was created with counts as delivered, as `provision` records it.
            stage.deploy(&json!({"service": name})).await;
            service.quiet().await;
        }
        service
    }
}

impl<'a> Service<'a> {
    /// A managed service that is to be created, of the stack `{name}-test`.
    pub(crate) fn given(stage: &'a Stage, name: &str) -> Given<'a> {
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", name),
            ("groundcrew:environment", "test"),
            ("groundcrew:image-tag", "latest"),
            ("groundcrew:deploy-policy", "bake=0"),
        ];
        let given = Given {
            stage,
            name: name.to_owned(),
            tags: Vec::new(),
            secrets: Vec::new(),
            image: None,
            by_tag: false,
        };
        given.with_only(&tags)
    }

    /// One that is there.
    pub(crate) fn of(stage: &'a Stage, name: &str, arn: &str) -> Self {
        Self {
            stage,
            name: name.to_owned(),
            arn: arn.to_owned(),
            first: String::new(),
            is_created: false,
        }
    }

    /// The one of a stack that was provisioned.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn named(stage: &'a Stage, name: &str) -> Self {
        let services = stage.local.apprunner().snapshot().services;
        let mut living = services
            .into_iter()
            .filter(|it| it.name == name && it.status != ServiceStatus::Deleted);
        let arn = living.next().expect("the service exists").arn;
        Self::of(stage, name, &arn)
    }

    /// Its id, the dimension of its metrics.
    pub(crate) fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }

    /// What it is now; `None` once nothing is known of it any more.
    pub(crate) fn find(&self) -> Option<ServiceSnapshot> {
        let services = self.stage.local.apprunner().snapshot().services;
        services.into_iter().find(|service| service.arn == self.arn)
    }

    /// What it is now.
    ///
    /// # Panics
    /// If nothing is known of it any more.
    pub(crate) fn look(&self) -> ServiceSnapshot {
        self.find().expect("the service exists")
    }

    /// Waits until it is so.
    ///
    /// # Panics
    /// If it does not come to that.
    pub(crate) async fn eventually(
        &self,
        is: impl Fn(&ServiceSnapshot) -> bool,
    ) -> ServiceSnapshot {
        let seen = async || Some(self.look()).filter(|seen| is(seen));
        eventually(&self.name, seen).await
    }

    /// Waits until it is in a state.
    ///
    /// # Panics
    /// If it does not get there.
    pub(crate) async fn status_is(&self, status: ServiceStatus) {
        let what = format!("{} is {status:?}", self.name);
        eventually(&what, async || {
            (self.find()?.status == status).then_some(())
        })
        .await;
    }

    /// Waits until it runs an image, and no operation.
    ///
    /// # Panics
    /// If it does not come to that.
    pub(crate) async fn has_come_to_run(&self, digest: &str) {
        let is_there = |seen: &ServiceSnapshot| {
            seen.runs.image_digest.as_deref() == Some(digest)
                && seen.status == ServiceStatus::Running
        };
        self.eventually(is_there).await;
    }

    /// Deletes it, and waits for the end.
    ///
    /// # Panics
    /// If it stays.
    pub(crate) async fn delete(&self) {
        let deleted = self.stage.local.aws().apprunner().delete_service();
        let deleted = deleted.service_arn(&self.arn).send().await;
        deleted.expect("accepted");
        eventually("it is gone", async || {
            let gone = self
                .find()
                .is_none_or(|it| it.status == ServiceStatus::Deleted);
            gone.then_some(())
        })
        .await;
    }

    /// Pauses it as a person does, and waits for the end.
    pub(crate) async fn pause_by_hand(&self) {
        let paused = self.stage.local.aws().apprunner().pause_service();
        let paused = paused.service_arn(&self.arn).send().await;
        paused.expect("accepted");
        self.has_ended(OperationType::PauseService).await;
    }

    /// Resumes it as a person does, and waits for the end.
    pub(crate) async fn resume_by_hand(&self) {
        let resumed = self.stage.local.aws().apprunner().resume_service();
        let resumed = resumed.service_arn(&self.arn).send().await;
        resumed.expect("accepted");
        self.has_ended(OperationType::ResumeService).await;
    }

    /// Waits for the end of an operation; what follows on it may have begun by then.
    async fn has_ended(&self, kind: OperationType) {
        let is_under_way = |(of, status)| of == kind && status == OperationStatus::InProgress;
        let what = format!("the end of {kind:?} of {}", self.name);
        eventually(&what, async || {
            let mut operations = self.operations().into_iter();
            (!operations.any(is_under_way)).then_some(())
        })
        .await;
    }

    /// Begins to update its source as a person does in the console.
    pub(crate) async fn update_by_hand(&self, change: impl FnOnce(&mut SourceConfiguration)) {
        let apprunner = self.stage.local.aws().apprunner();
        let described = apprunner.describe_service().service_arn(&self.arn);
        let described = described.send().await.expect("described").service;
        let mut source = described
            .and_then(|it| it.source_configuration)
            .expect("a source");
        change(&mut source);
        let update = apprunner.update_service().service_arn(&self.arn);
        let updated = update.source_configuration(source).send().await;
        updated.expect("accepted");
    }

    /// The same, with another image of its repository.
    pub(crate) async fn run_by_hand(&self, digest: &str) {
        self.update_by_hand(|source| {
            let image = source.image_repository.as_mut().expect("an image");
            let (repository, _) = image.image_identifier.split_once('@').expect("a digest");
            image.image_identifier = format!("{repository}@{digest}");
        })
        .await;
    }

    /// The same: App Runner deploys by itself what is pushed.
    pub(crate) async fn deploy_by_itself(&self) {
        self.update_by_hand(|source| source.auto_deployments_enabled = Some(true))
            .await;
        self.status_is(ServiceStatus::Running).await;
    }

    /// Whether App Runner deploys by itself what is pushed.
    pub(crate) fn deploys_by_itself(&self) -> bool {
        self.look().description["SourceConfiguration"]["AutoDeploymentsEnabled"] == true
    }

    /// Pushes another image.
    ///
    /// # Panics
    /// If it cannot.
    pub(crate) async fn push(&self, tag: &str) -> String {
        let pushed = self.stage.local.push_image(&self.name, tag, "amd64");
        pushed.await.expect("pushed")
    }

    /// The digest that it runs; empty for none.
    pub(crate) fn runs(&self) -> String {
        self.look().runs.image_digest.unwrap_or_default()
    }

    /// The value of a tag.
    pub(crate) fn tag(&self, key: &str) -> Option<String> {
        self.look().tags.get(key).cloned()
    }

    /// What is remembered of its deployments.
    pub(crate) async fn memory(&self) -> Memory<Deployments> {
        self.memory_of().await
    }

    /// What is remembered of it, of one kind.
    pub(crate) async fn memory_of<T: Remembered>(&self) -> Memory<T> {
        let aws = self.stage.aws();
        let memory = Memory::of(&aws, &self.arn, &Tags::new()).await;
        memory.expect("it is remembered")
    }

    /// Its release record, the oldest first, as its tags tell it.
    pub(crate) fn releases(&self) -> Vec<String> {
        let tags = self.look().tags.into_iter();
        let releases = tags.filter(|(key, _)| key.starts_with(groundcrew::stack::TAG_RELEASE));
        releases.map(|(_, value)| value).collect()
    }

    /// Sets a tag as a person does.
    pub(crate) async fn set_tag(&self, key: &str, value: &str) {
        let tag = Tag::builder().key(key).value(value).build();
        let tagged = self.stage.local.aws().apprunner().tag_resource();
        let tagged = tagged.resource_arn(&self.arn).tags(tag).send().await;
        tagged.expect("tagged");
    }

    /// Removes every tag but these, as a tool does that knows only its own.
    pub(crate) async fn keeps_only(&self, kept: &[&str]) {
        let tags = self.look().tags;
        let gone = tags.into_keys().filter(|key| !kept.contains(&key.as_str()));
        let untag = self.stage.local.aws().apprunner().untag_resource();
        let untag = untag
            .resource_arn(&self.arn)
            .set_tag_keys(Some(gone.collect()));
        untag.send().await.expect("untagged");
    }

    /// The operations since it was created, the oldest first.
    pub(crate) fn operations(&self) -> Vec<(OperationType, OperationStatus)> {
        let operations = self.look().operations.into_iter().rev();
        let operations = operations.map(|operation| (operation.operation_type, operation.status));
        operations.skip(1).collect()
    }

    /// How many of these are of a type.
    pub(crate) fn count(&self, kind: OperationType) -> usize {
        let operations = self.operations();
        operations.iter().filter(|(of, _)| *of == kind).count()
    }

    /// Arranges what becomes of its next operation of a type: `"fails"`, `"stuck"` or `{"takes": 3}`.
    pub(crate) fn next(&self, operation: &str, fate: Value) {
        self.arrange(json!({
            "kind": "next-operation", "operation": operation, "service": self.name, "fate": fate,
        }));
    }

    /// Arranges what its health path answers while it runs an image.
    pub(crate) fn answers(&self, digest: &str, status: u16) {
        self.arrange(json!({"kind": "image-answer", "digest": digest, "status": status}));
    }

    fn arrange(&self, arrangement: Value) {
        let arrangement: Arrangement = serde_json::from_value(arrangement).expect("an arrangement");
        let arranged = self.stage.local.apprunner().arrange(arrangement);
        arranged.expect("arranged");
    }

    /// The calls to App Runner that deployed something to it, by groundcrew.
    pub(crate) async fn changes(&self) -> Vec<Call> {
        let deploy = ["apprunner:UpdateService", "apprunner:StartDeployment"];
        let mut calls = self.stage.local.calls().await.expect("the calls");
        calls.retain(|call| call.resource == self.arn && deploy.contains(&&*call.action));
        calls
    }
}

/// Its alarms.
impl Service<'_> {
    /// An alarm on one of its metrics, as a person makes it; answers its name, which begins with the service's.
    pub(crate) async fn alarm(&self, name: &str, metric: &str) -> String {
        self.tagged_alarm(name, metric, &[]).await
    }

    /// The same with these tags.
    pub(crate) async fn tagged_alarm(
        &self,
        name: &str,
        metric: &str,
        tags: &[(&str, &str)],
    ) -> String {
        let name = format!("{}-{name}", self.name);
        let dimension =
            |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let tag = |(key, value): &(&str, &str)| {
            let tag = aws_sdk_cloudwatch::types::Tag::builder();
            tag.key(*key).value(*value).build()
        };
        let alarm = self.stage.local.aws().cloudwatch().put_metric_alarm();
        let alarm = alarm
            .alarm_name(&name)
            .namespace("AWS/AppRunner")
            .metric_name(metric)
            .statistic(Statistic::Sum)
            .period(300)
            .evaluation_periods(1)
            .threshold(1.0)
            .comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold)
            .dimensions(dimension("ServiceName", &self.name))
            .dimensions(dimension("ServiceID", self.id()))
            .set_tags(
                Some(tags.iter().map(tag).collect()).filter(|tags: &Vec<_>| !tags.is_empty()),
            );
        alarm.send().await.expect("an alarm");
        name
    }

    /// Lets App Runner publish a metric of it each minute from now on, or no longer.
    pub(crate) async fn publishes(&self, metric: &str, value: Option<f64>) {
        self.publishes_since(metric, value, None).await;
    }

    /// The same, from a moment on, in seconds since 1970.
    pub(crate) async fn publishes_since(&self, metric: &str, value: Option<f64>, at: Option<f64>) {
        let published = Published {
            service_arn: &self.arn,
            metric,
            value,
            at,
        };
        let published = self.stage.local.publish(&published).await;
        published.expect("published");
    }

    /// Whether its requests fail from now on; a service whose requests do not publishes no count of that.
    pub(crate) async fn fails(&self, fails: bool) {
        self.publishes("5xxStatusResponses", fails.then_some(10.0))
            .await;
    }

    /// Sets the state of an alarm.
    pub(crate) async fn turn(&self, alarm: &str, state: StateValue) {
        let turned = self.stage.local.aws().cloudwatch().set_alarm_state();
        let turned = turned.alarm_name(alarm).state_value(state);
        let turned = turned.state_reason("a test").send().await;
        turned.expect("turned");
    }

    /// The alarms whose name begins with its own.
    ///
    /// # Panics
    /// If CloudWatch does not answer.
    pub(crate) async fn alarms(&self) -> Vec<MetricAlarm> {
        let described = self.stage.local.aws().cloudwatch().describe_alarms();
        let described = described.alarm_name_prefix(format!("{}-", self.name));
        let found = described.send().await.expect("described");
        found.metric_alarms.unwrap_or_default()
    }

    /// Waits until it has so many alarms.
    ///
    /// # Panics
    /// If it does not get them.
    pub(crate) async fn has_alarms(&self, count: usize) -> Vec<MetricAlarm> {
        eventually(&format!("{} has {count} alarms", self.name), async || {
            let alarms = self.alarms().await;
            (alarms.len() == count).then_some(alarms)
        })
        .await
    }
}

/// What groundcrew does with it.
impl Service<'_> {
    /// The executions of `deploy` for it that events have started, so far.
    pub(crate) async fn executions(&self) -> Vec<Execution> {
        let machine = self.stage.output("DeployStateMachineArn");
        let prefix = format!("{}-", self.name);
        let executions = self.stage.local.executions(machine, &prefix).await;
        executions.expect("listed")
    }

    /// The same, ended, once no more come: whoever was to hear of something has heard of it, twice with nothing in between.
    ///
    /// # Panics
    /// If one of them does not end.
    pub(crate) async fn quiet(&self) -> Vec<End> {
        const LOOK: Duration = Duration::from_millis(20);
        let mut known = None;
        let ended = loop {
            self.stage.local.everybody_has_heard().await.expect("heard");
            let executions = self.executions().await;
            let run = executions.iter().any(Execution::ran);
            if !run && known == Some(executions.len()) {
                break executions;
            }
            if run {
                tokio::time::sleep(LOOK).await;
            }
            known = Some(executions.len()).filter(|_| !run);
        };
        let mut ends = Vec::new();
        for execution in ended {
            ends.push(execution.end().await.expect("it ends"));
        }
        ends
    }

    /// What was told of it.
    pub(crate) async fn told(&self) -> Vec<Notification> {
        let mut told = self.stage.local.notifications().await.expect("listed");
        let prefix = format!("{}:", self.name);
        told.retain(|told| {
            told.subject
                .as_deref()
                .is_some_and(|it| it.starts_with(&prefix))
        });
        told
    }

    /// The subjects of that.
    pub(crate) async fn subjects(&self) -> Vec<String> {
        let told = self.told().await.into_iter();
        told.filter_map(|told| told.subject).collect()
    }

    /// Waits until so many notifications were told of it.
    ///
    /// # Panics
    /// If they are not.
    pub(crate) async fn hear(&self, count: usize) -> Vec<Notification> {
        eventually(&format!("{count} were told of {}", self.name), async || {
            Some(self.told().await).filter(|told| told.len() >= count)
        })
        .await
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if self.is_created && self.stage.is_shared {
            let service_arn = self.arn.clone();
            let untagged = Arrangement::Untagged { service_arn };
            let untagged = self.stage.local.apprunner().arrange(untagged);
            untagged.expect("what was created is known, if only as deleted");
        }
    }
}

/// Whether an alarm is of a database, and not of a service.
pub(crate) fn is_of_database(alarm: &MetricAlarm) -> bool {
    alarm.namespace() == Some("AWS/RDS")
}

/// The ids of the services that alarms watch, by themselves or in a query.
pub(crate) fn watched(alarms: &[MetricAlarm]) -> BTreeSet<String> {
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
