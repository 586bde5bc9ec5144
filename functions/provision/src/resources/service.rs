//! The App Runner service: pinned to an image digest, auto-deployments off, repaired when its creation failed.

mod wanted;

use super::{configuration, logs, roles};
use crate::asleep;
use aws_sdk_apprunner::primitives::DateTime;
use aws_sdk_apprunner::types::{
    OperationStatus, OperationSummary, OperationType, Service, ServiceStatus,
};
use groundcrew::arn::ServiceArn;
use groundcrew::claim::NONE;
use groundcrew::installation::Keeper;
use groundcrew::memory::{self, Deployments};
use groundcrew::reference;
use groundcrew::stack::{
    TAG_CHANGED_BY, TAG_CREATED_BY, TAG_DEPLOYED_SECRETS, TAG_IMAGE_TAG, TAG_INSTALLATION,
    TAG_POLICY, Tags,
};
use groundcrew::{
    Aws, Error, Memory, Removal, Result, Run, Spec, Watch, event_log, log_group, managed, secrets,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use wanted::{Parts, Wanted};

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let name = stack.name();
    let Some(service) = managed::named(aws, &name).await? else {
        if run.create(format!("service {name}")) {
            let wanted = Wanted::of(aws, spec, None).await?;
            create(aws, spec, run, wanted).await?;
            return Err(Error::NotReady(format!(
                "service {name}, which is being created,"
            )));
        }
        return Ok(());
    };
    let tags = configuration::tags(aws, &service.service_arn).await?;
    if !stack.owns(&tags) {
        return Err(Error::Conflict(format!("service {name}")));
    }
    if let Some(objection) = Keeper::of(aws, &tags).await?.objection() {
        return Err(Error::Failed(format!("service {name}: {objection}")));
    }
    run.settle(&tags);
    logs::own(aws, run, &service, &tags).await?;
    match service.status() {
        ServiceStatus::Running | ServiceStatus::Paused => {}
        ServiceStatus::OperationInProgress if run.dry_run => {}
        ServiceStatus::OperationInProgress => {
            return Err(Error::NotReady(format!(
                "service {name}, which is in an operation,"
            )));
        }
        ServiceStatus::CreateFailed => return rebuild(aws, spec, run, &service, &tags).await,
        status => {
            return Err(Error::Failed(format!(
                "service {name} is {status}: delete it, then start again"
            )));
        }
    }
    // An image that is running stays: delivering a newer one is the business of `deploy`.
    let wanted = Wanted::of(aws, spec, Some(&service)).await?;
    let mut said = standing_orders(spec).to_vec();
    if service.status() == &ServiceStatus::Paused && asleep::is_to_wait(spec, run) {
        let mut waits = waiting(aws, spec, run, &service, wanted.as_ref()).await?;
        if !waits.is_empty() {
            // The rule is about images of the repository that waits with it: in the morning `deploy` goes by those of before.
            let rule = said.remove(0);
            if tags.get(rule.0) != Some(&rule.1) {
                waits.push("image tag");
            }
            run.wait(format!("service {name}: {}", waits.join(", ")));
        }
    } else if let Some(wanted) = &wanted {
        let drift = wanted.differences(&service);
        if !drift.is_empty() && run.change(format!("service {name}: {drift}")) {
            // While it slept they waited with it, and it was woken since.
            roles::ensure(aws, spec, run).await?;
            return update(aws, run, &service, &tags, wanted).await;
        }
    }
    if said
        .iter()
        .any(|(key, value)| tags.get(*key) != Some(value))
        && run.change(format!(
            "service {name}: tracks {}, is deployed with {}, watched with {}",
            spec.image.tag,
            spec.deploy,
            Watch::of(spec)
        ))
    {
        let said = said.iter().map(|(key, value)| (*key, value.as_str()));
        let changed_by = (TAG_CHANGED_BY, run.execution.as_str());
        tag(aws, &service, &said.chain([changed_by]).collect::<Vec<_>>()).await?;
    }
    run.tell("service_arn", &service.service_arn);
    run.tell("service_url", service.service_url().unwrap_or_default());
    run.tell("image", image_identifier(&service).unwrap_or_default());
    Ok(())
}

/// What of a paused service differs, and waits until it runs. In a plan not all is there that it is compared with.
async fn waiting(
    aws: &Aws,
    spec: &Spec,
    run: &Run,
    service: &Service,
    wanted: Option<&Wanted>,
) -> Result<Vec<&'static str>> {
    let mut waits = match wanted {
        Some(wanted) => wanted.drift(service),
        None => {
            let mut without_traces = spec.clone();
            without_traces.service.xray = false;
            let wanted = Wanted::of(aws, &without_traces, Some(service)).await?;
            wanted.map_or_else(Vec::new, |wanted| wanted.drift(service))
        }
    };
    if run.dry_run {
        waits.extend(configuration::would_change(aws, spec).await?);
    }
    Ok(waits)
}

/// What the tags of a service keep of its spec, its tag rule first: `deploy` and `alarms` have nothing else to go by.
fn standing_orders(spec: &Spec) -> [(&'static str, String); 4] {
    let [alarms, topic] = Watch::of(spec).tags();
    [
        (TAG_IMAGE_TAG, spec.image.tag.clone()),
        (TAG_POLICY, spec.deploy.to_string()),
        alarms,
        topic,
    ]
}

async fn create(aws: &Aws, spec: &Spec, run: &Run, wanted: Option<Wanted>) -> Result<()> {
    let stack = &spec.stack();
    let wanted =
        wanted.ok_or_else(|| Error::NotReady(format!("what service {stack} is made of")))?;
    let mut tags = configuration::tag_list(stack, run);
    let orders = standing_orders(spec);
    tags.extend(orders.map(|(key, value)| configuration::tag(key, &value)));
    // With these it starts; what moves from now on is delivered by `deploy`.
    let parts = wanted.parts()?;
    let secrets = reference::secrets_of(&parts.source);
    let own = &aws.account.deploy_state_machine;
    tags.push(configuration::tag(TAG_INSTALLATION, own));
    let delivered = secrets::fingerprint(aws, &secrets).await?.text;
    // Should this function end before it can remember that, the tag is what is taken over.
    let tag = |fingerprint| configuration::tag(TAG_DEPLOYED_SECRETS, fingerprint);
    tags.extend(delivered.as_deref().map(tag));
    let created = aws
        .apprunner()
        .create_service()
        .service_name(stack.name())
        .source_configuration(parts.source)
        .instance_configuration(parts.instance)
        .health_check_configuration(parts.health_check)
        .network_configuration(parts.network)
        .observability_configuration(parts.observability)
        .auto_scaling_configuration_arn(parts.auto_scaling_arn)
        .set_tags(Some(tags))
        .send()
        .await
        .map_err(Error::aws("apprunner:CreateService"))?;
    let Some(service) = created.service else {
        return Ok(());
    };
    remember_secrets(aws, &service, &Tags::new(), delivered).await?;
    Ok(())
}

/// Remembers with which secrets a service is deployed: what moves from now on is delivered by `deploy`. Answers what was
/// remembered before.
async fn remember_secrets(
    aws: &Aws,
    service: &Service,
    tags: &Tags,
    delivered: Option<String>,
) -> Result<Option<String>> {
    let mut memory: Memory<Deployments> = Memory::of(aws, &service.service_arn, tags).await?;
    let before = memory.delivered_secrets.clone();
    let mut then = (*memory).clone();
    then.delivered_secrets = delivered;
    memory.write(aws, then).await?;
    Ok(before)
}

async fn update(
    aws: &Aws,
    run: &Run,
    service: &Service,
    tags: &Tags,
    wanted: &Wanted,
) -> Result<()> {
    let name = &service.service_name;
    if tags.get(TAG_CHANGED_BY) == Some(&run.execution) {
        // This execution has asked for it before, and still it is not there. RUNNING proves nothing: App Runner rolls
        // a failed update back to RUNNING (apprunner-roadmap#209), so the operation tells.
        let operation = latest_operation(aws, service, &OperationType::UpdateService).await?;
        let status = operation.as_ref().and_then(|it| it.status());
        if status == Some(&OperationStatus::Succeeded) {
            return Err(Error::Failed(format!(
                "App Runner accepted the update of service {name} and still differs from the spec in {}",
                wanted.drift(service).join(", ")
            )));
        }
        if let Some(
            status @ (OperationStatus::Failed
            | OperationStatus::RollbackFailed
            | OperationStatus::RollbackSucceeded),
        ) = status
        {
            // With which secrets it runs now nobody knows: `deploy` will see to it.
            remember_secrets(aws, service, tags, None).await?;
            let began = operation.as_ref().and_then(|it| it.started_at());
            let said = said(aws, service, began).await;
            let said = said.map_or_else(String::new, |said| {
                format!(" App Runner says: {}", sentence(said))
            });
            return Err(Error::Failed(format!(
                "the update of service {name} failed ({status}) and App Runner keeps running what was there.{said} Read the log groups {}",
                log_groups(service)
            )));
        }
    }
    // An update takes the current secrets along: recorded now, or the event of its end would have them deployed again.
    let parts = wanted.clone().parts()?;
    let secrets = reference::secrets_of(&parts.source);
    let fingerprint = secrets::fingerprint(aws, &secrets).await?;
    let before = remember_secrets(aws, service, tags, fingerprint.text).await?;
    tag(aws, service, &[(TAG_CHANGED_BY, &run.execution)]).await?;
    if let Err(refused) = send_update(aws, service, parts).await {
        // It was not sent, unless the answer was lost. Somebody else was quicker, `deploy` for instance: how their operation
        // ends is not how this update ends.
        if !matches!(refused, Error::Unavailable { .. }) {
            remember_secrets(aws, service, tags, before).await?;
            tag(aws, service, &[(TAG_CHANGED_BY, NONE)]).await?;
        }
        return Err(refused);
    }
    Err(Error::NotReady(format!(
        "service {name}, which is being updated,"
    )))
}

async fn send_update(aws: &Aws, service: &Service, parts: Parts) -> Result<()> {
    aws.apprunner()
        .update_service()
        .service_arn(&service.service_arn)
        .source_configuration(parts.source)
        .instance_configuration(parts.instance)
        .health_check_configuration(parts.health_check)
        .network_configuration(parts.network)
        .observability_configuration(parts.observability)
        .auto_scaling_configuration_arn(parts.auto_scaling_arn)
        .send()
        .await
        .map_err(Error::aws("apprunner:UpdateService"))?;
    Ok(())
}

/// A service whose creation failed is of no use and never goes by itself. One that this execution created is a failure
/// to report; one that was found is rebuilt by an update, and where that failed too, created anew.
async fn rebuild(
    aws: &Aws,
    spec: &Spec,
    run: &mut Run,
    service: &Service,
    tags: &Tags,
) -> Result<()> {
    let name = &service.service_name;
    if tags.get(TAG_CREATED_BY) == Some(&run.execution) {
        return Err(not_created(aws, spec, service).await);
    }
    if !run.change(format!("service {name}, whose creation failed: rebuild it")) {
        return Ok(());
    }
    if latest_operation(aws, service, &OperationType::UpdateService)
        .await?
        .is_some()
    {
        return Err(Error::CreateFailed(format!("service {name}")));
    }
    let wanted = Wanted::of(aws, spec, Some(service)).await?;
    let wanted =
        wanted.ok_or_else(|| Error::NotReady(format!("what service {name} is made of")))?;
    tag(aws, service, &[(TAG_CHANGED_BY, &run.execution)]).await?;
    send_update(aws, service, wanted.parts()?).await?;
    Err(Error::NotReady(format!(
        "service {name}, which is being rebuilt,"
    )))
}

/// Why the service could not be created, in App Runner's words if it has any.
async fn not_created(aws: &Aws, spec: &Spec, service: &Service) -> Error {
    let name = &service.service_name;
    let why = match said(aws, service, Some(service.created_at())).await {
        Some(said) => format!("App Runner says: {said}"),
        None => format!(
            "App Runner does not say why. Either it could not read a secret of the spec, or the image did not start, or it does not listen on port {} and answer {} with 200",
            spec.service.port, spec.service.health_check.path
        ),
    };
    Error::Failed(format!(
        "App Runner could not create service {name}. {} Read the log groups {}",
        sentence(why),
        log_groups(service)
    ))
}

/// What App Runner says of an operation that began then.
async fn said(aws: &Aws, service: &Service, began: Option<&DateTime>) -> Option<String> {
    let arn = ServiceArn::parse(&service.service_arn)?;
    event_log::said(aws, &arn, Timestamp::from_second(began?.secs()).ok()?).await
}

fn sentence(mut text: String) -> String {
    if !text.ends_with(['.', '…']) {
        text.push('.');
    }
    text
}

/// Where App Runner and the application say more.
fn log_groups(service: &Service) -> String {
    let (name, id) = (&service.service_name, &service.service_id);
    let (events, output) = (log_group::events(name, id), log_group::output(name, id));
    format!("{events} and {output}")
}

/// The newest operation of a kind; App Runner lists the newest first.
async fn latest_operation(
    aws: &Aws,
    service: &Service,
    kind: &OperationType,
) -> Result<Option<OperationSummary>> {
    let operations = managed::operations(aws, &service.service_arn).await?;
    let mut operations = operations.into_iter();
    Ok(operations.find(|operation| operation.r#type() == Some(kind)))
}

pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let name = removal.stack().name();
    if let Some(service) = managed::named(aws, &name).await? {
        let tags = configuration::tags(aws, &service.service_arn).await?;
        if removal.covers(&tags)
            && let Some(objection) = Keeper::of(aws, &tags).await?.objection()
        {
            return Err(Error::Failed(format!("service {name}: {objection}")));
        }
        if removal.covers(&tags) && run.remove(format!("service {name}")) {
            logs::before_deletion(aws, removal, run, &service, &tags).await?;
            if service.status() != &ServiceStatus::OperationInProgress {
                aws.apprunner()
                    .delete_service()
                    .service_arn(&service.service_arn)
                    .send()
                    .await
                    .map_err(Error::aws("apprunner:DeleteService"))?;
            }
            return Err(Error::NotReady(format!(
                "service {name}, which is being deleted,"
            )));
        }
    } else if !run.dry_run {
        memory::forget_name(aws, &name).await?;
        if !removal.is_undo() {
            memory::forget_spec(aws, &removal.stack()).await?;
        }
    }
    logs::destroy(aws, removal, run).await
}

fn image_identifier(service: &Service) -> Option<&str> {
    Some(
        service
            .source_configuration()?
            .image_repository()?
            .image_identifier(),
    )
}

async fn tag(aws: &Aws, service: &Service, tags: &[(&str, &str)]) -> Result<()> {
    aws.apprunner()
        .tag_resource()
        .resource_arn(&service.service_arn)
        .set_tags(Some(
            tags.iter()
                .map(|(key, value)| configuration::tag(key, value))
                .collect(),
        ))
        .send()
        .await
        .map_err(Error::aws("apprunner:TagResource"))?;
    Ok(())
}

/// Asks the service for its health path, as a user would; not if it sleeps, for the reason that is given then.
///
/// # Errors
/// `NotReady` with the answer while it is not 200.
pub(crate) async fn check_health(aws: &Aws, spec: &Spec, asleep: Option<String>) -> Result<Value> {
    let name = spec.stack().name();
    let service = managed::named(aws, &name)
        .await?
        .ok_or_else(|| Error::NotReady(format!("service {name}")))?;
    let url = format!(
        "https://{}{}",
        service.service_url().unwrap_or_default(),
        spec.service.health_check.path
    );
    if !spec.service.public {
        return Ok(
            json!({"url": url, "status": null, "note": "not asked: the service answers inside its VPC only"}),
        );
    }
    if let Some(why) = asleep {
        return Ok(json!({"url": url, "status": null, "note": format!("not asked: {why}")}));
    }
    match aws.get("https:GET", &url).await {
        Ok((200, _)) => Ok(json!({"url": url, "status": 200})),
        Ok((status, _)) => Err(Error::NotReady(format!(
            "service {name}: {url} answers {status} instead of 200, so it"
        ))),
        Err(error) => Err(Error::NotReady(format!("service {name}: {error}, so it"))),
    }
}
