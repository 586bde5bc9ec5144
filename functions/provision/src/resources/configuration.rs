//! What a service is configured with and shares a name with: its VPC connector, its auto scaling configuration and, for
//! X-Ray, its observability configuration.

use super::zones::FEWEST;
use super::{connector, foreign, network};
use aws_sdk_apprunner::types::{
    AutoScalingConfiguration, AutoScalingConfigurationSummary, ObservabilityConfigurationSummary,
    Service, Tag, TraceConfiguration, TracingVendor, VpcConnector,
};
use groundcrew::stack::{TAG_CHANGED_BY, TAG_CREATED_BY, Tags};
use groundcrew::{Aws, Error, Mistake, Removal, Result, Run, Spec, Stack, managed, pages};
use serde_json::json;
use std::collections::BTreeSet;

/// The ARNs that a service names.
pub(super) struct Arns {
    pub(super) vpc_connector: String,
    pub(super) auto_scaling: String,
    pub(super) observability: Option<String>,
}

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    vpc_connector(aws, spec, run).await?;
    auto_scaling(aws, spec, run).await?;
    observability(aws, spec, run).await
}

/// What of these a plan would make anew, in the words of the service's drift: it is not there to be compared.
pub(super) async fn would_change(aws: &Aws, spec: &Spec) -> Result<Vec<&'static str>> {
    let mut traces = Run::deciding("");
    observability(aws, spec, &mut traces).await?;
    let mut scaling = Run::deciding("");
    auto_scaling(aws, spec, &mut scaling).await?;
    let both = [("observability", traces), ("auto scaling", scaling)];
    let differs = |(what, run): (_, Run)| (!run.changes().is_empty()).then_some(what);
    Ok(both.into_iter().filter_map(differs).collect())
}

/// Finds what `ensure` made; `None` if it is not all there.
pub(super) async fn arns(aws: &Aws, spec: &Spec) -> Result<Option<Arns>> {
    let name = spec.stack().name();
    let connector = connector::find(aws, &name)
        .await?
        .and_then(|connector| connector.vpc_connector_arn);
    let scaling = auto_scaling_revisions(aws, &name)
        .await?
        .pop()
        .map(|(arn, _)| arn);
    let observability = if spec.service.xray {
        observability_revisions(aws, &name).await?.pop()
    } else {
        None
    };
    let (Some(vpc_connector), Some(auto_scaling)) = (connector, scaling) else {
        return Ok(None);
    };
    Ok(
        (!spec.service.xray || observability.is_some()).then_some(Arns {
            vpc_connector,
            auto_scaling,
            observability,
        }),
    )
}

async fn vpc_connector(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let name = stack.name();
    let network = network::find(aws, spec).await?;
    let all = connector::all(aws).await?;
    let own_one = all.iter().find(|it| it.vpc_connector_name() == Some(&name));
    let Some(connector) = own_one else {
        let group_id = network.as_ref().map(|network| &network.connector_group_id);
        let is_taken = |groups: &[String]| matches!(groups, [group] if Some(group) == group_id);
        if let Some(other) = all.iter().find(|it| is_taken(it.security_groups())) {
            let arn = other.vpc_connector_arn().unwrap_or_default();
            return Err(Error::Conflict(format!(
                "{arn}, a VPC connector with the security group of {stack},"
            )));
        }
        if !run.create(format!("VPC connector {name}")) {
            return Ok(());
        }
        let network = network.ok_or_else(|| Error::NotReady(format!("the network of {stack}")))?;
        return connect(aws, spec, run, &network).await;
    };
    let arn = connector.vpc_connector_arn().unwrap_or_default();
    own(aws, stack, run, Some(arn), "VPC connector").await?;
    run.tell("vpc_connector_arn", arn);
    match moved_from(connector, network.as_ref(), spec) {
        Some(mistake) => Err(Error::Invalid(vec![mistake])),
        None => Ok(()),
    }
}

/// A stack whose connector leads elsewhere than the spec says.
pub(super) async fn moved(aws: &Aws, spec: &Spec) -> Result<Option<Mistake>> {
    let Some(connector) = connector::find(aws, &spec.stack().name()).await? else {
        return Ok(None);
    };
    let network = network::find(aws, spec).await?;
    Ok(moved_from(&connector, network.as_ref(), spec))
}

/// App Runner keeps one revision of a connector and changes none. In an own VPC it is made of some of the subnets: of those in the
/// zones that the spec names, if it names any.
fn moved_from(
    connector: &VpcConnector,
    network: Option<&network::Parts>,
    spec: &Spec,
) -> Option<Mistake> {
    let (network, wanted) = (network?, &spec.network);
    let is: BTreeSet<_> = connector.subnets().iter().collect();
    let subnet_ids: BTreeSet<_> = network.subnet_ids.iter().collect();
    let is_own = wanted.vpc_id.is_none();
    if is != subnet_ids && !(is_own && is.is_subset(&subnet_ids)) {
        let is: Vec<_> = is.into_iter().map(String::as_str).collect();
        return Some(Mistake::new(
            "network.subnet_ids",
            json!(wanted.subnet_ids),
            format!(
                "{}, in which the stack stands: {}",
                is.join(", "),
                network::STAYS
            ),
        ));
    }
    let zones: BTreeSet<_> = is
        .iter()
        .filter_map(|id| network.zone_ids.get(*id))
        .collect();
    let is_moved = !wanted.zones.is_empty() && zones != wanted.zones.iter().collect();
    is_moved.then(|| {
        let allowed = format!(
            "{}, in which the service is connected, or nothing: {}",
            json!(zones),
            network::STAYS
        );
        Mistake::new("network.zones", json!(wanted.zones), allowed)
    })
}

/// Creates the connector, of the subnets that App Runner accepts. Where too few are left of an own VPC it gets others, which the next
/// look finds; what was refused is asked again then, for nothing remembers it.
async fn connect(aws: &Aws, spec: &Spec, run: &mut Run, network: &network::Parts) -> Result<()> {
    let name = spec.stack().name();
    let mut subnet_ids = network.connector_subnet_ids.clone();
    let mut refused = Vec::new();
    while subnet_ids.len() >= FEWEST {
        let (group_id, tags) = (&network.connector_group_id, tag_list(&spec.stack(), run));
        let created = connector::create(aws, &name, &subnet_ids, group_id, tags).await;
        let Err(refusal) = created else {
            return Ok(());
        };
        let named = connector::refused(&refusal, &subnet_ids);
        if named.is_empty() {
            return Err(refusal);
        }
        let mistakes = chosen(spec, &named, &refusal);
        if !mistakes.is_empty() {
            return Err(Error::Invalid(mistakes));
        }
        subnet_ids.retain(|id| !named.contains(id));
        refused.extend(named);
    }
    network::add_subnets(aws, spec, run, network, &refused).await?;
    Err(Error::NotReady(format!(
        "VPC connector {name}, for which there is a subnet in another zone now,"
    )))
}

/// A refusal of what a person chose, who must choose again.
fn chosen(spec: &Spec, refused: &[String], refusal: &Error) -> Vec<Mistake> {
    let network = &spec.network;
    let allowed = |what: &str| format!("{what} that App Runner supports ({refusal})");
    if network.vpc_id.is_none() && !network.zones.is_empty() {
        let allowed = allowed("availability zones");
        return vec![Mistake::new("network.zones", json!(network.zones), allowed)];
    }
    let subnets = network.subnet_ids.iter().enumerate();
    subnets
        .filter(|(_, id)| refused.contains(id))
        .map(|(n, id)| {
            let field = format!("network.subnet_ids[{n}]");
            Mistake::new(field, id.clone(), allowed("a subnet in a zone"))
        })
        .collect()
}

async fn auto_scaling(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let (name, scaling) = (stack.name(), &spec.service.scaling);
    if let Some((arn, _)) = auto_scaling_revisions(aws, &name).await?.pop() {
        own(aws, stack, run, Some(&arn), "auto scaling configuration").await?;
        let current = describe_auto_scaling(aws, &arn).await?;
        let same = current.min_size() == Some(scaling.min_size.into())
            && current.max_size() == Some(scaling.max_size.into())
            && current.max_concurrency() == Some(scaling.max_concurrency.into());
        run.tell("auto_scaling_configuration_arn", &arn);
        if same || !run.change(format!("auto scaling configuration {name}: a new revision")) {
            return Ok(());
        }
    } else if !run.create(format!("auto scaling configuration {name}")) {
        return Ok(());
    }
    aws.apprunner()
        .create_auto_scaling_configuration()
        .auto_scaling_configuration_name(&name)
        .min_size(scaling.min_size.into())
        .max_size(scaling.max_size.into())
        .max_concurrency(scaling.max_concurrency.into())
        .set_tags(Some(revision_tags(aws, stack, run).await?))
        .send()
        .await
        .map_err(Error::aws("apprunner:CreateAutoScalingConfiguration"))?;
    Ok(())
}

/// The tags of a new revision. It belongs to whoever created the VPC connector: a new revision of a living stack is a
/// change, and an undo must not take it from a service that uses it.
async fn revision_tags(aws: &Aws, stack: &Stack, run: &Run) -> Result<Vec<Tag>> {
    let connector = connector::find(aws, &stack.name()).await?;
    let Some(arn) = connector.and_then(|connector| connector.vpc_connector_arn) else {
        return Err(Error::NotReady(format!("VPC connector {stack}")));
    };
    let mut tags = stack.tags(&run.execution);
    if let Some(creator) = self::tags(aws, &arn)
        .await?
        .remove(TAG_CREATED_BY)
        .filter(|creator| *creator != run.execution)
    {
        tags.insert(TAG_CREATED_BY.into(), creator);
        tags.insert(TAG_CHANGED_BY.into(), run.execution.clone());
    }
    Ok(tags.iter().map(|(key, value)| tag(key, value)).collect())
}

async fn observability(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let name = stack.name();
    if !spec.service.xray {
        return Ok(());
    }
    if let Some(arn) = observability_revisions(aws, &name).await?.pop() {
        own(aws, stack, run, Some(&arn), "observability configuration").await?;
        run.tell("observability_configuration_arn", arn);
        return Ok(());
    }
    if run.create(format!("observability configuration {name}")) {
        let tracing = TraceConfiguration::builder()
            .vendor(TracingVendor::Awsxray)
            .build()
            .map_err(Error::built)?;
        aws.apprunner()
            .create_observability_configuration()
            .observability_configuration_name(&name)
            .trace_configuration(tracing)
            .set_tags(Some(revision_tags(aws, stack, run).await?))
            .send()
            .await
            .map_err(Error::aws("apprunner:CreateObservabilityConfiguration"))?;
    }
    Ok(())
}

/// Removes the revisions that the service uses no more: App Runner keeps five of a name, and refuses a sixth.
pub(crate) async fn prune(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let name = stack.name();
    let mut scaling = auto_scaling_revisions(aws, &name).await?;
    scaling.pop();
    let observability = if spec.service.xray {
        Vec::new()
    } else {
        observability_revisions(aws, &name).await?
    };
    for (arn, _) in scaling.into_iter().filter(|(_, used)| !used) {
        if stack.owns(&tags(aws, &arn).await?) && run.remove(arn.clone()) {
            delete_auto_scaling(aws, &arn).await?;
        }
    }
    let service = match observability.is_empty() {
        true => None,
        false => managed::named(aws, &name).await?,
    };
    // A service that sleeps, and whose update waits, wakes with what it was configured with.
    let is_used = |arn: &String| {
        let service = service.iter();
        service.flat_map(used_by).any(|used| used == arn)
    };
    for arn in observability.into_iter().filter(|arn| !is_used(arn)) {
        if stack.owns(&tags(aws, &arn).await?) && run.remove(arn.clone()) {
            delete_observability(aws, &arn).await?;
        }
    }
    Ok(())
}

/// The ARNs of what is to be removed: the connector first, then each revision of a configuration.
pub(super) async fn owned(aws: &Aws, removal: &Removal) -> Result<Vec<String>> {
    let name = removal.stack().name();
    let connector = connector::find(aws, &name).await?;
    let connector = connector.and_then(|connector| connector.vpc_connector_arn);
    let scaling = auto_scaling_revisions(aws, &name).await?;
    let mut all: Vec<_> = connector.into_iter().collect();
    all.extend(scaling.into_iter().map(|(arn, _)| arn));
    all.extend(observability_revisions(aws, &name).await?);
    let mut owned = Vec::new();
    for arn in all {
        if removal.covers(&tags(aws, &arn).await?) {
            owned.push(arn);
        }
    }
    Ok(owned)
}

/// The ARNs of the connector and of the configurations that a service uses.
pub(super) fn used_by(service: &Service) -> impl Iterator<Item = &String> {
    let network = service.network_configuration();
    let egress = network.and_then(|network| network.egress_configuration.as_ref());
    let scaling = service.auto_scaling_configuration_summary.as_ref();
    let observability = service.observability_configuration.as_ref();
    [
        egress.and_then(|egress| egress.vpc_connector_arn.as_ref()),
        scaling.and_then(|scaling| scaling.auto_scaling_configuration_arn.as_ref()),
        observability.and_then(|it| it.observability_configuration_arn.as_ref()),
    ]
    .into_iter()
    .flatten()
}

pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    for arn in owned(aws, removal).await? {
        if !run.remove(&*arn) {
            continue;
        }
        let kind = arn.split([':', '/']).nth(5);
        let deleted = match kind {
            Some("vpcconnector") => delete_connector(aws, &arn).await,
            Some("autoscalingconfiguration") => delete_auto_scaling(aws, &arn).await,
            _ => delete_observability(aws, &arn).await,
        };
        if let Err(refusal) = deleted {
            return Err(explained(aws, removal, &arn, refusal).await);
        }
    }
    Ok(())
}

/// A service of somebody else's that uses what cannot be deleted for it. If there is none, App Runner lets go of it by itself,
/// after hours perhaps.
async fn explained(aws: &Aws, removal: &Removal, arn: &String, refusal: Error) -> Error {
    if !matches!(refusal, Error::NotReady(_)) {
        return refusal;
    }
    match foreign::services_but(aws, &removal.stack().name()).await {
        Ok(others) => match others.iter().find(|it| used_by(it).any(|used| used == arn)) {
            Some(service) => Error::Failed(format!(
                "{arn} is not the stack's alone: service {} uses it. Give that service one of its own, then start teardown again ({refusal})",
                service.service_name
            )),
            None => refusal,
        },
        Err(error) => error,
    }
}

async fn delete_connector(aws: &Aws, arn: &str) -> Result<()> {
    aws.apprunner()
        .delete_vpc_connector()
        .vpc_connector_arn(arn)
        .send()
        .await
        .map_err(Error::aws("apprunner:DeleteVpcConnector"))?;
    Ok(())
}

async fn delete_auto_scaling(aws: &Aws, arn: &str) -> Result<()> {
    aws.apprunner()
        .delete_auto_scaling_configuration()
        .auto_scaling_configuration_arn(arn)
        .send()
        .await
        .map_err(Error::aws("apprunner:DeleteAutoScalingConfiguration"))?;
    Ok(())
}

async fn delete_observability(aws: &Aws, arn: &str) -> Result<()> {
    aws.apprunner()
        .delete_observability_configuration()
        .observability_configuration_arn(arn)
        .send()
        .await
        .map_err(Error::aws("apprunner:DeleteObservabilityConfiguration"))?;
    Ok(())
}

/// Content when the resource is ours.
async fn own(aws: &Aws, stack: &Stack, run: &mut Run, arn: Option<&str>, what: &str) -> Result<()> {
    let tags = tags(aws, arn.unwrap_or_default()).await?;
    if !stack.owns(&tags) {
        return Err(Error::Conflict(format!("{what} {stack}")));
    }
    run.settle(&tags);
    Ok(())
}

/// The configuration's revisions, the oldest first: the ARN of each, and whether a service uses it.
async fn auto_scaling_revisions(aws: &Aws, name: &str) -> Result<Vec<(String, bool)>> {
    let mut found = auto_scalings(aws, Some(name)).await?;
    found.sort_by_key(|summary| summary.auto_scaling_configuration_revision());
    let found = found.into_iter().filter_map(|summary| {
        let is_used = summary.has_associated_service() == Some(true);
        Some((summary.auto_scaling_configuration_arn?, is_used))
    });
    Ok(found.collect())
}

async fn observability_revisions(aws: &Aws, name: &str) -> Result<Vec<String>> {
    let mut found = observabilities(aws, Some(name)).await?;
    found.sort_by_key(|summary| summary.observability_configuration_revision());
    let found = found.into_iter();
    Ok(found
        .filter_map(|summary| summary.observability_configuration_arn)
        .collect())
}

/// All revisions of the auto scaling configuration of this name; without one the latest revision of each.
pub(crate) async fn auto_scalings(
    aws: &Aws,
    name: Option<&str>,
) -> Result<Vec<AutoScalingConfigurationSummary>> {
    pages::all(async |token| {
        let page = aws.apprunner().list_auto_scaling_configurations();
        let page = page.set_auto_scaling_configuration_name(name.map(str::to_owned));
        let page = page.latest_only(name.is_none()).set_next_token(token);
        let page = page.send().await;
        let page = page.map_err(Error::aws("apprunner:ListAutoScalingConfigurations"))?;
        Ok((
            page.auto_scaling_configuration_summary_list,
            page.next_token,
        ))
    })
    .await
}

/// All revisions of the observability configuration of this name; without one the latest revision of each.
pub(crate) async fn observabilities(
    aws: &Aws,
    name: Option<&str>,
) -> Result<Vec<ObservabilityConfigurationSummary>> {
    pages::all(async |token| {
        let page = aws.apprunner().list_observability_configurations();
        let page = page.set_observability_configuration_name(name.map(str::to_owned));
        let page = page.latest_only(name.is_none()).set_next_token(token);
        let page = page.send().await;
        let page = page.map_err(Error::aws("apprunner:ListObservabilityConfigurations"))?;
        Ok((
            page.observability_configuration_summary_list,
            page.next_token,
        ))
    })
    .await
}

async fn describe_auto_scaling(aws: &Aws, arn: &str) -> Result<AutoScalingConfiguration> {
    let found = aws
        .apprunner()
        .describe_auto_scaling_configuration()
        .auto_scaling_configuration_arn(arn)
        .send()
        .await
        .map_err(Error::aws("apprunner:DescribeAutoScalingConfiguration"))?;
    found
        .auto_scaling_configuration
        .ok_or_else(|| Error::NotReady(format!("auto scaling configuration {arn}")))
}

/// The tags of any App Runner resource.
pub(super) async fn tags(aws: &Aws, arn: &str) -> Result<Tags> {
    let found = aws
        .apprunner()
        .list_tags_for_resource()
        .resource_arn(arn)
        .send()
        .await
        .map_err(Error::aws("apprunner:ListTagsForResource"))?;
    Ok(found
        .tags
        .unwrap_or_default()
        .into_iter()
        .filter_map(|tag| Some((tag.key?, tag.value?)))
        .collect())
}

pub(super) fn tag_list(stack: &Stack, run: &Run) -> Vec<Tag> {
    stack
        .tags(&run.execution)
        .iter()
        .map(|(key, value)| tag(key, value))
        .collect()
}

pub(super) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}
