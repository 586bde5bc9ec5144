//! The alarms of a stack with the topic that they tell, the dashboard, and the retention of the service's logs.

mod alarm;
mod condition;
mod dashboard;

pub use condition::{Breach, Condition, MINUTE, Point, first_minute};

use crate::stack::{TAG_ALARMS, Tags};
use crate::{
    Aws, Error, Managed, Removal, Result, Run, Spec, Stack, Watch, database, event_log, managed,
    tagged,
};
use alarm::{Alarm, service_of, watches_database, watches_service};
use aws_sdk_apprunner::types::{Service, ServiceStatus};
use aws_sdk_cloudwatch::types::{MetricAlarm, StateValue, Tag};
use std::collections::BTreeSet;

/// Seconds of one data point.
const PERIOD: i32 = 300;

/// Puts up what a spec wants watched, and takes down what it does not.
///
/// # Errors
/// [`Error::NotReady`] while there is no service to watch; otherwise those of AWS.
pub async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let topic_arn = topic(aws, spec, run).await?;
    let Some(service) = managed::named(aws, &stack.name()).await? else {
        if run.dry_run {
            are_free(aws, spec).await?;
            let _ = run.create(format!("alarms and dashboard of {stack}"));
            return Ok(());
        }
        return Err(Error::NotReady(format!(
            "service {stack}, which the alarms watch,"
        )));
    };
    let watched = Watched {
        stack,
        service: &service,
        max_size: match service.status() {
            // Its update waits until it runs, and what follows it says the same of its alarms.
            ServiceStatus::Paused => max_size(aws, &service).await?,
            _ => spec.service.scaling.max_size.into(),
        },
        has_database: true,
        watch: &Watch::of(spec),
        topic_arn: &topic_arn,
        tells: Tells::default(),
        retires: false,
    };
    watched.keep(aws, run).await?;
    run.tell("topic_arn", topic_arn);
    Ok(())
}

/// Brings the alarms, the dashboard and the log retention of a service in line with what it is now, and with what its tags
/// say of them. One that is in an operation is left for the end of it, and one that cannot run for `provision`. Alarms of a
/// service that tells of no topic tell `fallback_topic_arn`.
///
/// # Errors
/// Those of AWS; `Conflict` if an alarm of that name is somebody else's.
pub async fn follow(
    aws: &Aws,
    managed: &Managed,
    fallback_topic_arn: &str,
    run: &mut Run,
) -> Result<()> {
    let (service, Some(stack)) = (&managed.service, tagged::stack_of(&managed.tags)) else {
        return Ok(());
    };
    let status = service.status();
    if ![ServiceStatus::Running, ServiceStatus::Paused].contains(status) {
        return Ok(());
    }
    let stack = &stack;
    let watch = &Watch::parse(&managed.tags)?;
    let watched = Watched {
        stack,
        service,
        max_size: max_size(aws, service).await?,
        has_database: has_database(aws, stack).await?,
        watch,
        topic_arn: &topic_of(aws, managed, stack, watch, fallback_topic_arn).await?,
        tells: Tells::of(managed),
        retires: true,
    };
    watched.keep(aws, run).await?;
    match watched.is_main() {
        true => dashboard::retire(aws, stack, run, |tags| stack.owns(tags)).await,
        false => Ok(()),
    }
}

/// Removes the alarms of a service that is gone, and those of a database that is gone with it.
///
/// # Errors
/// Those of AWS.
pub async fn forget(aws: &Aws, name: &str, id: &str, run: &mut Run) -> Result<()> {
    let mut found = find(aws, &format!("{name}-")).await?;
    found.retain(|alarm| watches_service(alarm, id) || watches_database(alarm, name));
    if found.is_empty() {
        return Ok(()); // most services are nobody's whom we watch
    }
    let has_database = database::find(aws, name).await?.is_some();
    let mut gone = Vec::new();
    let mut stack = None;
    for alarm in found {
        let of_database = !has_database && watches_database(&alarm, name);
        if !of_database && !watches_service(&alarm, id) {
            continue;
        }
        let name = alarm.alarm_name.unwrap_or_default();
        let owner = tagged::stack_of(&tags(aws, &name).await?);
        if owner.is_some() && run.remove(format!("alarm {name}")) {
            gone.push(name);
        }
        stack = owner.or(stack);
    }
    // The dashboard first: by the tags of the alarms a repetition knows whose it is.
    if let Some(stack) = stack.filter(|stack| !has_database && stack.name() == name) {
        // That of a service which has taken its place by now speaks of another id.
        let is_its = |tags: &Tags, body: &str| stack.owns(tags) && body.contains(id);
        dashboard::remove(aws, &stack, run, is_its).await?;
    }
    delete(aws, gone).await
}

/// The names and ids of the services that these alarms watch; there may be no such alarm any more.
///
/// # Errors
/// Those of `cloudwatch:DescribeAlarms`.
pub async fn services_of(aws: &Aws, names: &[String]) -> Result<BTreeSet<(String, String)>> {
    let mut services = BTreeSet::new();
    for names in names.chunks(AT_ONCE) {
        let described = aws.cloudwatch().describe_alarms();
        let described = described.set_alarm_names(Some(names.to_vec()));
        let described = described.max_records(AT_ONCE as i32).send().await;
        let described = described.map_err(Error::aws("cloudwatch:DescribeAlarms"))?;
        services.extend(described.metric_alarms().iter().filter_map(service_of));
    }
    Ok(services)
}

/// A service with all that its alarms depend on.
struct Watched<'a> {
    stack: &'a Stack,
    service: &'a Service,
    /// The most instances that it may have.
    max_size: i32,
    has_database: bool,
    watch: &'a Watch,
    topic_arn: &'a str,
    tells: Tells,
    /// Whether what had another name before goes: the function that creates may not delete.
    retires: bool,
}

/// Whether alarms have their actions on; `None`: as they are.
#[derive(Clone, Copy, Default)]
struct Tells {
    of_service: Option<bool>,
    of_database: Option<bool>,
}

impl Tells {
    /// A service that is paused has nothing to tell, whoever paused it; its database has, unless it is parked with it. What is
    /// about to be parked or woken is the business of `park`.
    fn of(managed: &Managed) -> Self {
        let paused = managed.service.status() == &ServiceStatus::Paused;
        match managed.mark() {
            Some(mark) if mark.pausing && !paused => Self::default(),
            Some(mark) if mark.pausing => Self {
                of_service: Some(false),
                of_database: None,
            },
            Some(_) if paused => Self {
                of_service: Some(false),
                of_database: Some(false),
            },
            None if paused => Self {
                of_service: Some(false),
                of_database: None,
            },
            _ => Self {
                of_service: Some(true),
                of_database: Some(true),
            },
        }
    }
}

impl Watched<'_> {
    /// Only the service that `provision` makes has the name of its stack; with it come the database and the dashboard.
    fn is_main(&self) -> bool {
        self.service.service_name == self.stack.name()
    }

    async fn keep(&self, aws: &Aws, run: &mut Run) -> Result<()> {
        self.log_retention(aws, run).await?;
        self.alarms(aws, run).await?;
        match self.is_main() {
            true => dashboard::keep(aws, self.stack, run, self.service).await,
            false => Ok(()),
        }
    }

    fn wanted(&self) -> Vec<Alarm> {
        let (thresholds, service) = (&self.watch.alarms, self.service);
        let (name, id) = (&service.service_name, &service.service_id);
        let mut wanted = Alarm::of_service(thresholds, name, id, self.max_size);
        if self.has_database && self.is_main() {
            wanted.extend(Alarm::of_database(thresholds, name));
        }
        wanted
    }

    async fn alarms(&self, aws: &Aws, run: &mut Run) -> Result<()> {
        let name = &self.service.service_name;
        let existing = find(aws, &format!("{name}-")).await?;
        let (mut to_tell, mut to_be_silent) = (Vec::new(), Vec::new());
        // What is somebody else's does not keep the service from having the others.
        let mut conflict = None;
        for alarm in self.wanted() {
            let tells = match alarm.is_of_database() {
                true => self.tells.of_database,
                false => self.tells.of_service,
            };
            let found = existing
                .iter()
                .find(|found| found.alarm_name() == Some(&alarm.name));
            let Some(found) = found else {
                if run.create(format!("alarm {}", alarm.name)) {
                    let tags = Some(tag_list(self.stack, run));
                    alarm
                        .put(aws, self.topic_arn, tells.unwrap_or(true), tags)
                        .await?;
                }
                continue;
            };
            let is_telling = found.actions_enabled().unwrap_or(true);
            let tells = tells.unwrap_or(is_telling);
            let differs = alarm.differs(found, self.topic_arn);
            if !differs && tells == is_telling {
                continue;
            }
            if !self.stack.owns(&tags(aws, &alarm.name).await?) {
                conflict = Some(Error::Conflict(format!("alarm {}", alarm.name)));
                continue;
            }
            if differs {
                if run.change(format!("alarm {}", alarm.name)) {
                    alarm.put(aws, self.topic_arn, tells, None).await?;
                }
            } else if tells && run.change(format!("alarm {}: tells again", alarm.name)) {
                to_tell.push(alarm.name);
            } else if !tells && run.change(format!("alarm {}: is silent", alarm.name)) {
                to_be_silent.push(alarm.name);
            }
        }
        set_actions(aws, to_tell, true).await?;
        set_actions(aws, to_be_silent, false).await?;
        if self.is_main() && !self.has_database {
            self.forget_database(aws, &existing, run).await?;
        }
        if self.retires {
            self.retire(aws, &existing, run).await?;
        }
        conflict.map_or(Ok(()), Err)
    }

    /// Sets the retention of the groups that App Runner made; it cannot be given to them beforehand. IAM allows it for groups
    /// with our tag.
    async fn log_retention(&self, aws: &Aws, run: &mut Run) -> Result<()> {
        let (service, days) = (self.service, i32::from(self.watch.log_retention_days));
        let prefix = format!(
            "/aws/apprunner/{}/{}/",
            service.service_name, service.service_id
        );
        for group in event_log::groups(aws, &prefix).await? {
            let name = group.log_group_name.unwrap_or_default();
            if group.retention_in_days == Some(days)
                || !run.change(format!("log group {name}: keep {days} days"))
            {
                continue;
            }
            aws.logs()
                .tag_resource()
                .resource_arn(aws.account.log_group_arn(&name))
                .set_tags(Some(self.stack.owner().into_iter().collect()))
                .send()
                .await
                .map_err(Error::aws("logs:TagResource"))?;
            aws.logs()
                .put_retention_policy()
                .log_group_name(name)
                .retention_in_days(days)
                .send()
                .await
                .map_err(Error::aws("logs:PutRetentionPolicy"))?;
        }
        Ok(())
    }

    /// Removes the alarms that groundcrew 0.1 made under other names, once the new ones are there (until 0.3.0).
    async fn retire(&self, aws: &Aws, existing: &[MetricAlarm], run: &mut Run) -> Result<()> {
        let mut gone = Vec::new();
        for new in self.wanted() {
            let old = new.name_before();
            if existing.iter().any(|it| it.alarm_name() == Some(old))
                && self.stack.owns(&tags(aws, old).await?)
                && run.remove(format!("alarm {old}"))
            {
                gone.push(old.to_owned());
            }
        }
        delete(aws, gone).await
    }

    async fn forget_database(
        &self,
        aws: &Aws,
        existing: &[MetricAlarm],
        run: &mut Run,
    ) -> Result<()> {
        let mut gone = Vec::new();
        for alarm in existing {
            let name = alarm.alarm_name().unwrap_or_default();
            if watches_database(alarm, &self.stack.name())
                && self.stack.owns(&tags(aws, name).await?)
                && run.remove(format!("alarm {name}"))
            {
                gone.push(name.to_owned());
            }
        }
        delete(aws, gone).await
    }
}

/// Content if nobody else has what will watch a service that is not there yet.
async fn are_free(aws: &Aws, spec: &Spec) -> Result<()> {
    let (stack, thresholds) = (&spec.stack(), &spec.alarms);
    let name = stack.name();
    let mut wanted = Alarm::of_service(thresholds, &name, "", 0);
    wanted.extend(Alarm::of_database(thresholds, &name));
    for found in find(aws, &stack.part("")).await? {
        let found = found.alarm_name.unwrap_or_default();
        let is_wanted = wanted.iter().any(|alarm| alarm.name == found);
        if is_wanted && !stack.owns(&tags(aws, &found).await?) {
            return Err(Error::Conflict(format!("alarm {found}")));
        }
    }
    dashboard::is_free(aws, stack).await
}

/// The most instances that a service may have.
async fn max_size(aws: &Aws, service: &Service) -> Result<i32> {
    let summary = service.auto_scaling_configuration_summary();
    let described = aws
        .apprunner()
        .describe_auto_scaling_configuration()
        .set_auto_scaling_configuration_arn(
            summary.and_then(|summary| summary.auto_scaling_configuration_arn.clone()),
        )
        .send()
        .await
        .map_err(Error::aws("apprunner:DescribeAutoScalingConfiguration"))?;
    let configuration = described.auto_scaling_configuration;
    Ok(configuration
        .and_then(|configuration| configuration.max_size)
        .unwrap_or(25)) // as App Runner has it (`CreateAutoScalingConfiguration`)
}

async fn has_database(aws: &Aws, stack: &Stack) -> Result<bool> {
    let found = database::find(aws, &stack.name()).await?;
    Ok(found.is_some_and(|found| stack.owns(&database::tags(found.tag_list()))))
}

/// The topic that the tags of a service name, or the stack's own.
async fn topic_of(
    aws: &Aws,
    managed: &Managed,
    stack: &Stack,
    watch: &Watch,
    fallback: &str,
) -> Result<String> {
    if let Some(topic_arn) = &watch.alarms.topic_arn {
        return Ok(topic_arn.clone());
    }
    let own = aws.account.topic_arn(&stack.part("alarms"));
    // `provision` makes the topic after the service.
    let age = jiff::Timestamp::now().as_second() - managed.service.created_at().secs();
    let is_being_made = managed.tags.contains_key(TAG_ALARMS) && age < 3600;
    let is_ours = |tags: Option<Tags>| tags.is_some_and(|tags| stack.owns(&tags));
    match is_being_made || is_ours(topic_tags(aws, &own).await?) {
        true => Ok(own),
        false => Ok(fallback.to_owned()),
    }
}

/// As many as one call takes (`DescribeAlarms`, `DisableAlarmActions`, `DeleteAlarms`).
const AT_ONCE: usize = 100;

/// Turns the actions of alarms on or off. All of them have to be there: of what has no tags IAM refuses the whole call. An alarm
/// of a database that is red when its actions go on tells that.
///
/// # Errors
/// Those of `cloudwatch:EnableAlarmActions`, `DisableAlarmActions`, `DescribeAlarms` and `SetAlarmState`.
pub async fn set_actions(aws: &Aws, names: Vec<String>, on: bool) -> Result<()> {
    for names in names.chunks(AT_ONCE) {
        let names = names.to_vec();
        if on {
            let enabled = aws.cloudwatch().enable_alarm_actions();
            enabled
                .set_alarm_names(Some(names.clone()))
                .send()
                .await
                .map_err(Error::aws("cloudwatch:EnableAlarmActions"))?;
            tell_again(aws, names).await?;
        } else {
            let disabled = aws.cloudwatch().disable_alarm_actions();
            disabled
                .set_alarm_names(Some(names))
                .send()
                .await
                .map_err(Error::aws("cloudwatch:DisableAlarmActions"))?;
        }
    }
    Ok(())
}

/// CloudWatch acts when an alarm changes its state, so one that turned red while its actions were off would never tell. It is set
/// to no state, and CloudWatch puts it back to what its data say, "often within seconds" (API reference, `SetAlarmState`): that
/// is a change, and no alarm of ours has an action for having no data.
///
/// Those of databases alone. A service tells until it is paused, publishes nothing then, and silence is no alarm; and a bake would
/// take one of a service that turns red again for the new image's.
async fn tell_again(aws: &Aws, names: Vec<String>) -> Result<()> {
    let described = aws.cloudwatch().describe_alarms();
    let described = described.set_alarm_names(Some(names));
    let described = described.state_value(StateValue::Alarm);
    let described = described.max_records(AT_ONCE as i32).send().await;
    let described = described.map_err(Error::aws("cloudwatch:DescribeAlarms"))?;
    let red = described.metric_alarms().iter();
    for alarm in red.filter(|it| service_of(it).is_none()) {
        aws.cloudwatch()
            .set_alarm_state()
            .set_alarm_name(alarm.alarm_name.clone())
            .state_value(StateValue::InsufficientData)
            .state_reason("its actions are on again, and what is red is told")
            .send()
            .await
            .map_err(Error::aws("cloudwatch:SetAlarmState"))?;
    }
    Ok(())
}

async fn delete(aws: &Aws, names: Vec<String>) -> Result<()> {
    for names in names.chunks(AT_ONCE) {
        aws.cloudwatch()
            .delete_alarms()
            .set_alarm_names(Some(names.to_vec()))
            .send()
            .await
            .map_err(Error::aws("cloudwatch:DeleteAlarms"))?;
    }
    Ok(())
}

/// The topic that the alarms tell: the spec's, or one of the stack's own.
async fn topic(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<String> {
    if let Some(topic_arn) = &spec.alarms.topic_arn {
        return Ok(topic_arn.clone());
    }
    let stack = &spec.stack();
    let name = stack.part("alarms");
    let topic_arn = aws.account.topic_arn(&name);
    match topic_tags(aws, &topic_arn).await? {
        Some(tags) if stack.owns(&tags) => run.settle(&tags),
        Some(_) => return Err(Error::Conflict(format!("topic {name}"))),
        None if run.create(format!("topic {name}")) => {
            let tags = stack.tags(&run.execution);
            let tag = |(key, value): (&String, &String)| {
                aws_sdk_sns::types::Tag::builder()
                    .key(key)
                    .value(value)
                    .build()
                    .map_err(Error::built)
            };
            aws.sns()
                .create_topic()
                .name(&name)
                .set_tags(Some(tags.iter().map(tag).collect::<Result<_>>()?))
                .send()
                .await
                .map_err(Error::aws("sns:CreateTopic"))?;
        }
        None => return Ok(topic_arn),
    }
    if let Some(email) = &spec.alarms.email {
        let subscriptions = aws
            .sns()
            .list_subscriptions_by_topic()
            .topic_arn(&topic_arn)
            .send()
            .await
            .map_err(Error::aws("sns:ListSubscriptionsByTopic"))?;
        let subscribed = subscriptions
            .subscriptions()
            .iter()
            .any(|subscription| subscription.endpoint() == Some(email));
        if !subscribed && run.change(format!("topic {name}: write to {email}")) {
            aws.sns()
                .subscribe()
                .topic_arn(&topic_arn)
                .protocol("email")
                .endpoint(email)
                .send()
                .await
                .map_err(Error::aws("sns:Subscribe"))?;
        }
    }
    Ok(topic_arn)
}

/// The tags of a topic; `None` if there is none.
async fn topic_tags(aws: &Aws, topic_arn: &str) -> Result<Option<Tags>> {
    match aws
        .sns()
        .list_tags_for_resource()
        .resource_arn(topic_arn)
        .send()
        .await
    {
        Ok(found) => Ok(Some(
            found
                .tags
                .unwrap_or_default()
                .into_iter()
                .map(|tag| (tag.key, tag.value))
                .collect(),
        )),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_resource_not_found_exception()) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::aws("sns:ListTagsForResource")(error)),
    }
}

/// Removes everything that watches a stack, within the removal's limits.
///
/// # Errors
/// Those of AWS.
pub async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let stack = &removal.stack();
    for alarm in find(aws, &stack.part("")).await? {
        let name = alarm.alarm_name.unwrap_or_default();
        if removal.covers(&tags(aws, &name).await?) && run.remove(format!("alarm {name}")) {
            delete(aws, vec![name]).await?;
        }
    }
    dashboard::remove(aws, stack, run, |tags, _| removal.covers(tags)).await?;
    dashboard::retire(aws, stack, run, |tags| removal.covers(tags)).await?;
    let topic_arn = aws.account.topic_arn(&stack.part("alarms"));
    let tags = topic_tags(aws, &topic_arn).await?;
    if tags.is_some_and(|tags| removal.covers(&tags)) && run.remove(format!("topic {topic_arn}")) {
        aws.sns()
            .delete_topic()
            .topic_arn(topic_arn)
            .send()
            .await
            .map_err(Error::aws("sns:DeleteTopic"))?;
    }
    Ok(())
}

/// The alarms whose name begins so, whoever owns them.
///
/// # Errors
/// Those of `cloudwatch:DescribeAlarms`.
pub async fn find(aws: &Aws, prefix: &str) -> Result<Vec<MetricAlarm>> {
    let mut found = Vec::new();
    let mut pages = aws
        .cloudwatch()
        .describe_alarms()
        .alarm_name_prefix(prefix)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        found.extend(
            page.map_err(Error::aws("cloudwatch:DescribeAlarms"))?
                .metric_alarms
                .unwrap_or_default(),
        );
    }
    Ok(found)
}

async fn tags(aws: &Aws, alarm: &str) -> Result<Tags> {
    let found = aws
        .cloudwatch()
        .list_tags_for_resource()
        .resource_arn(aws.account.alarm_arn(alarm))
        .send()
        .await
        .map_err(Error::aws("cloudwatch:ListTagsForResource"))?;
    Ok(found
        .tags
        .unwrap_or_default()
        .into_iter()
        .filter_map(|tag| Some((tag.key?, tag.value?)))
        .collect())
}

fn tag_list(stack: &Stack, run: &Run) -> Vec<Tag> {
    stack
        .tags(&run.execution)
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}
