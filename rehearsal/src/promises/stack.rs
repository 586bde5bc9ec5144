//! What is looked at in a stack that exists, a function for each promise.

use super::{Provisioned, Verdict, all_true, kept_if};
use crate::{REGION, What};
use groundcrew::Stack;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn private_subnets(seen: &Provisioned) -> Verdict {
    let connector = connector(seen)?;
    let ids = connector.subnets();
    let subnets: Vec<_> = seen
        .world
        .subnets
        .iter()
        .filter(|subnet| subnet.subnet_id().is_some_and(|id| contains(ids, id)))
        .collect();
    let zones: BTreeSet<_> = subnets
        .iter()
        .filter_map(|subnet| subnet.availability_zone())
        .collect();
    kept_if(zones.len() >= 2, || format!("zones: {zones:?}"))?;
    for table in &seen.world.route_tables {
        let serves = |association: &aws_sdk_ec2::types::RouteTableAssociation| {
            association.subnet_id().is_some_and(|id| contains(ids, id))
        };
        let gateway = table
            .routes()
            .iter()
            .filter_map(|route| route.gateway_id())
            .find(|id| id.starts_with("igw-"));
        if let Some(gateway) = gateway.filter(|_| table.associations().iter().any(serves)) {
            return Err(format!(
                "{} leads to {gateway}",
                table.route_table_id().unwrap_or_default()
            ));
        }
    }
    Ok(zones.into_iter().collect::<Vec<_>>().join(", "))
}

pub(super) fn database_is_closed(seen: &Provisioned) -> Verdict {
    let connector = connector(seen)?.security_groups();
    let database = instance(seen)?;
    let ids: Vec<_> = database
        .vpc_security_groups()
        .iter()
        .filter_map(|group| group.vpc_security_group_id())
        .collect();
    let groups = seen
        .world
        .security_groups
        .iter()
        .filter(|group| group.group_id().is_some_and(|id| ids.contains(&id)));
    let mut accepted = Vec::new();
    for rule in groups.flat_map(|group| group.ip_permissions()) {
        let only_5432 = (rule.from_port(), rule.to_port()) == (Some(5432), Some(5432));
        let addresses =
            rule.ip_ranges().len() + rule.ipv6_ranges().len() + rule.prefix_list_ids().len();
        kept_if(only_5432 && addresses == 0, || {
            format!("it also accepts {rule:?}")
        })?;
        accepted.extend(
            rule.user_id_group_pairs()
                .iter()
                .filter_map(|pair| pair.group_id()),
        );
    }
    let is_connectors = |group: &&str| contains(connector, group);
    kept_if(
        !accepted.is_empty() && accepted.iter().all(is_connectors),
        || format!("it accepts 5432 from {accepted:?}"),
    )?;
    Ok(format!(
        "5432 from {} to {}",
        accepted.join(", "),
        ids.join(", ")
    ))
}

pub(super) fn registry(seen: &Provisioned) -> Verdict {
    if let Some(existing) = &seen.spec.image.repository {
        return Ok(format!(
            "the spec names an existing repository, {existing}, which is not touched"
        ));
    }
    let name = seen.spec.repository();
    let repository = seen
        .world
        .repositories
        .iter()
        .find(|repository| repository.repository_name() == Some(&name));
    let repository = repository.ok_or_else(|| format!("there is no repository {name}"))?;
    let scans = repository
        .image_scanning_configuration()
        .is_some_and(|scanning| scanning.scan_on_push());
    kept_if(scans, || "it does not scan".into())?;
    kept_if(seen.world.lifecycle_policies.contains_key(&name), || {
        "it has no lifecycle policy".into()
    })?;
    let waited = seen
        .end
        .happenings
        .iter()
        .find(|happening| match &happening.what {
            What::Failed { error, .. } => happening.state == "Image" && error == "NotReady",
            _ => false,
        });
    let waited = waited.ok_or("the execution did not wait for an image")?;
    let What::Failed { message, .. } = &waited.what else {
        return Err("the execution did not say so".into());
    };
    Ok(format!("it said: {message}"))
}

pub(super) fn credentials(seen: &Provisioned) -> Verdict {
    // https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    for key in ["engine", "host", "username", "password", "dbname", "port"] {
        kept_if(!seen.credentials[key].is_null(), || {
            format!("the secret has no {key}")
        })?;
    }
    let host = &seen.credentials["host"];
    let address = instance(seen)?
        .endpoint()
        .and_then(|endpoint| endpoint.address());
    kept_if(host.as_str() == address, || {
        format!("the secret's host is {host}, the database's {address:?}")
    })?;
    kept_if(seen.disclosed.is_empty(), || {
        format!("the password is in {}", seen.disclosed.join(", "))
    })?;
    let found = seen.searched.len();
    kept_if(found > 0, || {
        "the search finds not even the stack's name".into()
    })?;
    Ok(format!(
        "of histories, logs, descriptions and files, {found} show the stack's name and none the password"
    ))
}

pub(super) fn database(seen: &Provisioned) -> Verdict {
    let (wanted, found) = (&seen.spec.database, instance(seen)?);
    let version = found.engine_version().unwrap_or_default();
    let facts = [
        (found.db_instance_status() == Some("available"), "available"),
        (found.engine() == Some("postgres"), "postgres"),
        (
            version.split('.').next() == Some(&wanted.major_version.to_string()),
            "of the asked version",
        ),
        (
            found.db_instance_class() == Some(&wanted.instance_class),
            "of the asked class",
        ),
        (found.storage_type() == Some("gp3"), "on gp3"),
        (found.storage_encrypted() == Some(true), "encrypted"),
        (found.publicly_accessible() == Some(false), "private"),
        (
            found.backup_retention_period() == Some(i32::from(wanted.backup_days)),
            "backed up",
        ),
        (
            found.multi_az() == Some(wanted.multi_az),
            "in as many zones as asked",
        ),
        (
            found.deletion_protection() == Some(seen.spec.deletion_protection()),
            "protected as asked",
        ),
    ];
    all_true(&facts)?;
    let protection = if seen.spec.deletion_protection() {
        "protected from deletion"
    } else {
        "not protected"
    };
    Ok(format!(
        "PostgreSQL {version}, {}, {protection}",
        wanted.instance_class
    ))
}

pub(super) fn roles(seen: &Provisioned) -> Verdict {
    for (part, principal) in [
        ("access", "build.apprunner.amazonaws.com"),
        ("instance", "tasks.apprunner.amazonaws.com"),
    ] {
        let name = format!("{}-{REGION}", seen.spec.stack().part(part));
        let role = seen
            .world
            .roles
            .iter()
            .find(|role| role.role_name() == name);
        let trust = role
            .and_then(|role| role.assume_role_policy_document())
            .map(crate::world::decoded);
        let trust = trust.ok_or_else(|| format!("there is no role {name}"))?;
        kept_if(trust.contains(principal), || {
            format!("{name} trusts {trust}")
        })?;
    }
    let instance = format!("{}-{REGION}/", seen.spec.stack().part("instance"));
    let mut readable = BTreeSet::new();
    for (_, policy) in seen
        .world
        .policies
        .iter()
        .filter(|(name, _)| name.starts_with(&instance))
    {
        let policy: Value = serde_json::from_str(policy).map_err(|error| error.to_string())?;
        for statement in each(&policy["Statement"]) {
            let mut actions = each(&statement["Action"]).filter_map(Value::as_str);
            if actions
                .any(|action| action.starts_with("secretsmanager:") || action.starts_with("ssm:"))
            {
                readable.extend(
                    each(&statement["Resource"])
                        .filter_map(Value::as_str)
                        .map(str::to_owned),
                );
            }
        }
    }
    let named = |arn: &String| arn.starts_with("arn:") && !arn.contains('*');
    kept_if(readable.iter().all(named), || {
        format!("the instance role reads {readable:?}")
    })?;
    let readable: Vec<_> = readable.into_iter().collect();
    let nothing = || "nothing, as the spec names no secret".into();
    let what = Some(readable.join(", "))
        .filter(|text| !text.is_empty())
        .unwrap_or_else(nothing);
    Ok(format!("the instance role reads {what}"))
}

pub(super) fn service(seen: &Provisioned) -> Verdict {
    let service = description(seen)?;
    let source = &service["SourceConfiguration"];
    let image = source["ImageRepository"]["ImageIdentifier"]
        .as_str()
        .unwrap_or_default();
    let egress = &service["NetworkConfiguration"]["EgressConfiguration"];
    let instance = &service["InstanceConfiguration"];
    let wanted = &seen.spec.service;
    let facts = [
        (service["Status"] == "RUNNING", "running"),
        (image.contains("@sha256:"), "pinned by digest"),
        (
            source["AutoDeploymentsEnabled"] == false,
            "without auto-deployments",
        ),
        (
            egress["VpcConnectorArn"].as_str() == connector(seen)?.vpc_connector_arn(),
            "in the stack's network",
        ),
        (
            number(&instance["Cpu"]) == Some(wanted.cpu),
            "of the asked CPU",
        ),
        (
            number(&instance["Memory"]) == Some(wanted.memory),
            "of the asked memory",
        ),
    ];
    all_true(&facts)?;
    Ok(image.to_owned())
}

pub(super) fn alarms(seen: &Provisioned) -> Verdict {
    let service = description(seen)?;
    let (name, id) = (
        service["ServiceName"].as_str(),
        service["ServiceId"].as_str(),
    );
    let mut watching = 0;
    let own = format!("{}-", seen.spec.stack().name());
    let alarms = seen.world.alarms.iter();
    for alarm in alarms.filter(|alarm| starts_with(alarm.alarm_name(), &own)) {
        let metrics = alarm
            .metrics()
            .iter()
            .filter_map(|query| query.metric_stat()?.metric());
        let nested = metrics.map(|metric| (metric.namespace(), metric.dimensions()));
        for (namespace, dimensions) in nested.chain([(alarm.namespace(), alarm.dimensions())]) {
            if namespace == Some("AWS/AppRunner") {
                let dimension = |name: &str| {
                    dimensions
                        .iter()
                        .find(|dimension| dimension.name() == Some(name))?
                        .value()
                };
                let right = dimension("ServiceName") == name && dimension("ServiceID") == id;
                kept_if(right, || {
                    format!(
                        "{} watches {dimensions:?}",
                        alarm.alarm_name().unwrap_or_default()
                    )
                })?;
                watching += 1;
            }
        }
    }
    kept_if(watching > 0, || "no alarm watches the service".into())?;
    let dashboard = seen
        .world
        .dashboards
        .contains_key(&Stack::watcher(&seen.spec.stack().part(REGION)));
    kept_if(dashboard, || "there is no dashboard".into())?;
    let days = i32::from(seen.spec.log_retention_days);
    let own = format!("/aws/apprunner/{}/", seen.spec.stack().name());
    let groups = seen.world.log_groups.iter();
    let groups: Vec<_> = groups
        .filter(|group| starts_with(group.log_group_name(), &own))
        .map(|group| group.retention_in_days())
        .collect();
    kept_if(groups == [Some(days); 2], || {
        format!("log groups: {:?}", seen.world.log_groups)
    })?;
    Ok(format!(
        "{watching} alarms on the service, a dashboard, 2 log groups kept for {days} days"
    ))
}

fn instance(seen: &Provisioned) -> Result<&aws_sdk_rds::types::DbInstance, String> {
    let name = seen.spec.stack().name();
    let found = seen
        .world
        .databases
        .iter()
        .find(|database| database.db_instance_identifier() == Some(&name));
    found.ok_or_else(|| format!("there is no database {name}"))
}

fn connector(seen: &Provisioned) -> Result<&aws_sdk_apprunner::types::VpcConnector, String> {
    let name = seen.spec.stack().name();
    let found = seen
        .world
        .vpc_connectors
        .iter()
        .find(|connector| connector.vpc_connector_name() == Some(&name));
    found.ok_or_else(|| format!("there is no VPC connector {name}"))
}

/// What DescribeService answers.
fn description(seen: &Provisioned) -> Result<&Value, String> {
    let name = seen.spec.stack().name();
    let found = seen
        .world
        .apprunner
        .services
        .iter()
        .find(|service| service.name == name);
    let description = &found
        .ok_or_else(|| format!("there is no service {name}"))?
        .description;
    Ok(description.get("Service").unwrap_or(description))
}

/// App Runner answers numbers as text.
fn number(value: &Value) -> Option<u16> {
    value.as_str()?.parse().ok()
}

/// A policy's member may be one thing or a list of them.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice)
        .iter()
}

fn starts_with(name: Option<&str>, prefix: &str) -> bool {
    name.is_some_and(|name| name.starts_with(prefix))
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|found| found == wanted)
}
