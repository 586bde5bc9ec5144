//! What groundcrew promises and how a rehearsal checks it. Ids and sentences are those of the README.

use crate::local_aws::Call;
use crate::world::World;
use crate::{End, What};
use groundcrew::Spec;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Kept or broken, with the evidence.
pub type Verdict = Result<String, String>;

/// A sentence that is true of whatever a `Scene` shows.
#[derive(Debug)]
pub struct Promise<Scene> {
    id: &'static str,
    sentence: &'static str,
    check: fn(&Scene) -> Verdict,
}

/// A promise that was checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The feature's id.
    pub id: &'static str,
    /// What is promised.
    pub sentence: &'static str,
    /// Whether it was kept.
    pub verdict: Verdict,
}

/// Checks promises against what was seen.
pub fn check<Scene>(promises: &[Promise<Scene>], scene: &Scene) -> Vec<Checked> {
    let check = |promise: &Promise<Scene>| Checked {
        id: promise.id,
        sentence: promise.sentence,
        verdict: (promise.check)(scene),
    };
    promises.iter().map(check).collect()
}

/// After a spec with mistakes was sent.
#[derive(Debug)]
pub struct Refused {
    /// The fields with the mistakes.
    pub fields: Vec<&'static str>,
    /// How `provision` ended.
    pub end: End,
    /// What differs in the account.
    pub differences: Vec<String>,
}

/// Promises about a spec that cannot be right.
pub const REFUSED: &[Promise<Refused>] = &[Promise {
    id: "P11",
    sentence: "A bad spec is refused in the first state, with every mistake named at once, before anything is created",
    check: |seen| {
        kept_if(seen.end.error == "Invalid", || format!("it ended with {:?}: {}", seen.end.error, seen.end.message))?;
        let missing: Vec<_> = seen.fields.iter().filter(|field| !seen.end.message.contains(**field)).collect();
        kept_if(missing.is_empty(), || format!("not named: {missing:?} in {}", seen.end.message))?;
        nothing_differs(&seen.differences)?;
        Ok(format!("named {}", seen.fields.join(", ")))
    },
}];

/// After a dry run.
#[derive(Debug)]
pub struct Planned {
    /// How `provision` ended.
    pub end: End,
    /// The calls that it made.
    pub calls: Vec<Call>,
    /// What differs in the account.
    pub differences: Vec<String>,
}

/// Promises about a dry run.
pub const PLANNED: &[Promise<Planned>] = &[Promise {
    id: "P13",
    sentence: "A dry run says what would be created and calls nothing that writes",
    check: |seen| {
        succeeded(&seen.end)?;
        no_write(&seen.calls)?;
        nothing_differs(&seen.differences)?;
        let plan = seen.end.output["plan"].as_object().ok_or("there is no plan in the output")?;
        let created = plan.values().filter(|resource| resource["outcome"] == "created").count();
        kept_if(created == plan.len(), || format!("not everything is to be created: {}", seen.end.output))?;
        Ok(format!("{created} resources to create, {} calls, all of which only read", seen.calls.len()))
    },
}];

/// After a stack was provisioned.
#[derive(Debug)]
pub struct Provisioned {
    /// What was asked for.
    pub spec: Spec,
    /// How `provision` ended.
    pub end: End,
    /// The account.
    pub world: World,
    /// The secret with the database's credentials.
    pub credentials: Value,
    /// Where the password is to be seen.
    pub disclosed: Vec<String>,
    /// The status that the service's address answers with, asked from outside.
    pub answer: Result<u16, String>,
    /// The calls that `provision` made.
    pub calls: Vec<Call>,
    /// On what this rehearsal listens; an error where the system does not tell.
    pub listening: Result<Vec<SocketAddr>, String>,
}

/// Promises about a stack that exists.
pub const PROVISIONED: &[Promise<Provisioned>] = &[
    Promise {
        id: "P1",
        sentence: "The service reaches out of private subnets in two zones or more",
        check: private_subnets,
    },
    Promise {
        id: "P1",
        sentence: "The database accepts 5432 from the connector's security group and nothing else",
        check: database_is_closed,
    },
    Promise {
        id: "P2",
        sentence: "The repository scans on push, expires old images, and the execution waited for the first one",
        check: registry,
    },
    Promise {
        id: "P3",
        sentence: "The password is in Secrets Manager, complete for rotation, and nowhere else",
        check: credentials,
    },
    Promise {
        id: "P4",
        sentence: "PostgreSQL of the asked version is private, encrypted, backed up and protected as the spec says",
        check: database,
    },
    Promise {
        id: "P5",
        sentence: "Both roles trust App Runner's own principals, and the instance role reads named secrets only",
        check: roles,
    },
    Promise {
        id: "P6",
        sentence: "The service runs an image pinned by digest, with auto-deployments off, in the stack's network",
        check: service,
    },
    Promise {
        id: "P7",
        sentence: "Alarms are on the dimensions that App Runner publishes, logs are kept as long as the spec says",
        check: alarms,
    },
    Promise {
        id: "P8",
        sentence: "The service answers its health path over HTTPS before the execution says success",
        check: |seen| {
            let health = &seen.end.output["health"]["status"];
            kept_if(health == 200 || !seen.spec.service.public, || format!("the output says {health}"))?;
            match &seen.answer {
                Ok(200) => Ok(format!("{} answers 200", seen.end.output["url"].as_str().unwrap_or_default())),
                Ok(status) => Err(format!("it answers {status}")),
                Err(reason) if seen.spec.service.public => Err(reason.clone()),
                Err(_) => Ok("not asked, the service is private".into()),
            }
        },
    },
    Promise {
        id: "IAM",
        sentence: "Every call of the functions was allowed by their own policies",
        check: |seen| {
            let denied: Vec<_> = seen.calls.iter().filter(|call| !call.allowed).map(described).collect();
            kept_if(denied.is_empty(), || format!("denied: {}", denied.join(", ")))?;
            Ok(format!("{} calls, {} state transitions", seen.calls.len(), seen.end.transitions))
        },
    },
    Promise {
        id: "B1",
        sentence: "The rehearsal listens on loopback only",
        check: |seen| {
            let Ok(listening) = &seen.listening else { return Ok("this system does not tell who listens where".into()) };
            let open: Vec<_> = listening.iter().filter(|address| !address.ip().is_loopback()).collect();
            kept_if(open.is_empty(), || format!("{open:?}"))?;
            Ok(format!("{} sockets, all on loopback", listening.len()))
        },
    },
];

/// After the same spec was provisioned again.
#[derive(Debug)]
pub struct Repeated {
    /// How `provision` ended.
    pub end: End,
    /// The calls that it made.
    pub calls: Vec<Call>,
    /// What differs in the account.
    pub differences: Vec<String>,
}

/// Promises about a repetition.
pub const REPEATED: &[Promise<Repeated>] = &[Promise {
    id: "P9",
    sentence: "The same spec again changes nothing and creates nothing",
    check: |seen| {
        succeeded(&seen.end)?;
        let resources = seen.end.output["resources"].as_object().ok_or("there are no resources in the output")?;
        let changed: Vec<_> =
            resources.iter().filter(|(_, resource)| resource["outcome"] != "unchanged").map(|(name, _)| name).collect();
        kept_if(changed.is_empty(), || format!("not reported as unchanged: {changed:?}"))?;
        no_write(&seen.calls)?;
        nothing_differs(&seen.differences)?;
        Ok(format!("{} resources unchanged, {} calls, all of which only read", resources.len(), seen.calls.len()))
    },
}];

/// After a teardown, and another one.
#[derive(Debug)]
pub struct Removed {
    /// How `teardown` ended.
    pub end: End,
    /// How it ended the second time.
    pub again: End,
    /// Whether a snapshot of the database was asked for, where there was one.
    pub final_snapshot: bool,
    /// What differs in the account from before the stack.
    pub differences: Vec<String>,
}

/// Promises about a stack that is gone.
pub const REMOVED: &[Promise<Removed>] = &[
    Promise {
        id: "P12",
        sentence: "A teardown removes everything of the stack, and leaves a final snapshot if asked to",
        check: |seen| {
            succeeded(&seen.end)?;
            let (snapshots, left): (Vec<_>, Vec<_>) =
                seen.differences.iter().partition(|difference| difference.starts_with("+ DB snapshot "));
            kept_if(left.is_empty(), || format!("left: {left:?}"))?;
            kept_if(snapshots.is_empty() != seen.final_snapshot, || format!("snapshots: {snapshots:?}"))?;
            let said = &seen.end.output["left"];
            kept_if(said.as_array().is_none_or(Vec::is_empty), || format!("the output names as left: {said}"))?;
            let snapshot = snapshots.first().map(|snapshot| snapshot.trim_start_matches("+ ").to_owned());
            Ok(format!("the account is as it was before, plus {}", snapshot.unwrap_or("nothing".into())))
        },
    },
    Promise {
        id: "P12",
        sentence: "A teardown of a stack that is not there succeeds",
        check: |seen| {
            succeeded(&seen.again)?;
            Ok(format!("succeeded in {:.0} s", seen.again.seconds))
        },
    },
];

/// That an execution succeeded, for a flow whose other promises cannot be looked at otherwise.
pub fn succeeds(flow: &'static str, end: &End) -> Checked {
    let sentence = match flow {
        "provision" => "The execution of provision succeeds",
        _ => "The execution of teardown succeeds",
    };
    Checked { id: "B1", sentence, verdict: succeeded(end).map(|()| format!("after {:.0} s", end.seconds)) }
}

fn private_subnets(seen: &Provisioned) -> Verdict {
    let connector = connector(seen)?;
    let ids = connector.subnets();
    let subnets: Vec<_> =
        seen.world.subnets.iter().filter(|subnet| subnet.subnet_id().is_some_and(|id| contains(ids, id))).collect();
    let zones: BTreeSet<_> = subnets.iter().filter_map(|subnet| subnet.availability_zone()).collect();
    kept_if(zones.len() >= 2, || format!("zones: {zones:?}"))?;
    for table in &seen.world.route_tables {
        let serves = |association: &aws_sdk_ec2::types::RouteTableAssociation| {
            association.subnet_id().is_some_and(|id| contains(ids, id))
        };
        let gateway = table.routes().iter().filter_map(|route| route.gateway_id()).find(|id| id.starts_with("igw-"));
        if let Some(gateway) = gateway.filter(|_| table.associations().iter().any(serves)) {
            return Err(format!("{} leads to {gateway}", table.route_table_id().unwrap_or_default()));
        }
    }
    Ok(zones.into_iter().collect::<Vec<_>>().join(", "))
}

fn database_is_closed(seen: &Provisioned) -> Verdict {
    let connector = connector(seen)?.security_groups();
    let database = instance(seen)?;
    let ids: Vec<_> = database.vpc_security_groups().iter().filter_map(|group| group.vpc_security_group_id()).collect();
    let groups = seen.world.security_groups.iter().filter(|group| group.group_id().is_some_and(|id| ids.contains(&id)));
    let mut accepted = Vec::new();
    for rule in groups.flat_map(|group| group.ip_permissions()) {
        let only_5432 = (rule.from_port(), rule.to_port()) == (Some(5432), Some(5432));
        let addresses = rule.ip_ranges().len() + rule.ipv6_ranges().len() + rule.prefix_list_ids().len();
        kept_if(only_5432 && addresses == 0, || format!("it also accepts {rule:?}"))?;
        accepted.extend(rule.user_id_group_pairs().iter().filter_map(|pair| pair.group_id()));
    }
    let is_connectors = |group: &&str| contains(connector, group);
    kept_if(!accepted.is_empty() && accepted.iter().all(is_connectors), || format!("it accepts 5432 from {accepted:?}"))?;
    Ok(format!("5432 from {} to {}", accepted.join(", "), ids.join(", ")))
}

fn registry(seen: &Provisioned) -> Verdict {
    if let Some(existing) = &seen.spec.image.repository {
        return Ok(format!("the spec names an existing repository, {existing}, which is not touched"));
    }
    let name = seen.spec.repository();
    let repository = seen.world.repositories.iter().find(|repository| repository.repository_name() == Some(&name));
    let repository = repository.ok_or_else(|| format!("there is no repository {name}"))?;
    let scans = repository.image_scanning_configuration().is_some_and(|scanning| scanning.scan_on_push());
    kept_if(scans, || "it does not scan".into())?;
    kept_if(seen.world.lifecycle_policies.contains_key(&name), || "it has no lifecycle policy".into())?;
    let waited = seen.end.happenings.iter().find(|happening| match &happening.what {
        What::Failed { error, .. } => happening.state == "Image" && error == "NotReady",
        _ => false,
    });
    let waited = waited.ok_or("the execution did not wait for an image")?;
    let What::Failed { message, .. } = &waited.what else { return Err("the execution did not say so".into()) };
    Ok(format!("it said: {message}"))
}

fn credentials(seen: &Provisioned) -> Verdict {
    // https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
    for key in ["engine", "host", "username", "password", "dbname", "port"] {
        kept_if(!seen.credentials[key].is_null(), || format!("the secret has no {key}"))?;
    }
    let host = &seen.credentials["host"];
    let address = instance(seen)?.endpoint().and_then(|endpoint| endpoint.address());
    kept_if(host.as_str() == address, || format!("the secret's host is {host}, the database's {address:?}"))?;
    kept_if(seen.disclosed.is_empty(), || format!("the password is in {}", seen.disclosed.join(", ")))?;
    Ok("searched in histories, logs, descriptions and files".into())
}

fn database(seen: &Provisioned) -> Verdict {
    let (wanted, found) = (&seen.spec.database, instance(seen)?);
    let version = found.engine_version().unwrap_or_default();
    let facts = [
        (found.db_instance_status() == Some("available"), "available"),
        (found.engine() == Some("postgres"), "postgres"),
        (version.split('.').next() == Some(&wanted.major_version.to_string()), "of the asked version"),
        (found.db_instance_class() == Some(&wanted.instance_class), "of the asked class"),
        (found.storage_type() == Some("gp3"), "on gp3"),
        (found.storage_encrypted() == Some(true), "encrypted"),
        (found.publicly_accessible() == Some(false), "private"),
        (found.backup_retention_period() == Some(i32::from(wanted.backup_days)), "backed up"),
        (found.multi_az() == Some(wanted.multi_az), "in as many zones as asked"),
        (found.deletion_protection() == Some(seen.spec.deletion_protection()), "protected as asked"),
    ];
    all_true(&facts)?;
    let protection = if seen.spec.deletion_protection() { "protected from deletion" } else { "not protected" };
    Ok(format!("PostgreSQL {version}, {}, {protection}", wanted.instance_class))
}

fn roles(seen: &Provisioned) -> Verdict {
    for (part, principal) in [("access", "build.apprunner.amazonaws.com"), ("instance", "tasks.apprunner.amazonaws.com")] {
        let name = seen.spec.stack().part(part);
        let role = seen.world.roles.iter().find(|role| role.role_name() == name);
        let trust = role.and_then(|role| role.assume_role_policy_document()).map(crate::world::decoded);
        let trust = trust.ok_or_else(|| format!("there is no role {name}"))?;
        kept_if(trust.contains(principal), || format!("{name} trusts {trust}"))?;
    }
    let instance = format!("{}/", seen.spec.stack().part("instance"));
    let mut readable = BTreeSet::new();
    for (_, policy) in seen.world.policies.iter().filter(|(name, _)| name.starts_with(&instance)) {
        let policy: Value = serde_json::from_str(policy).map_err(|error| error.to_string())?;
        for statement in each(&policy["Statement"]) {
            let mut actions = each(&statement["Action"]).filter_map(Value::as_str);
            if actions.any(|action| action.starts_with("secretsmanager:") || action.starts_with("ssm:")) {
                readable.extend(each(&statement["Resource"]).filter_map(Value::as_str).map(str::to_owned));
            }
        }
    }
    let named = |arn: &String| arn.starts_with("arn:") && !arn.contains('*');
    kept_if(readable.iter().all(named), || format!("the instance role reads {readable:?}"))?;
    Ok(format!("the instance role reads {}", readable.into_iter().collect::<Vec<_>>().join(", ")))
}

fn service(seen: &Provisioned) -> Verdict {
    let service = description(seen)?;
    let source = &service["SourceConfiguration"];
    let image = source["ImageRepository"]["ImageIdentifier"].as_str().unwrap_or_default();
    let egress = &service["NetworkConfiguration"]["EgressConfiguration"];
    let instance = &service["InstanceConfiguration"];
    let wanted = &seen.spec.service;
    let facts = [
        (service["Status"] == "RUNNING", "running"),
        (image.contains("@sha256:"), "pinned by digest"),
        (source["AutoDeploymentsEnabled"] == false, "without auto-deployments"),
        (egress["VpcConnectorArn"].as_str() == connector(seen)?.vpc_connector_arn(), "in the stack's network"),
        (instance["Cpu"] == wanted.cpu.to_string(), "of the asked CPU"),
        (instance["Memory"] == wanted.memory.to_string(), "of the asked memory"),
    ];
    all_true(&facts)?;
    Ok(image.to_owned())
}

fn alarms(seen: &Provisioned) -> Verdict {
    let service = description(seen)?;
    let (name, id) = (service["ServiceName"].as_str(), service["ServiceId"].as_str());
    let mut watching = 0;
    for alarm in &seen.world.alarms {
        let metrics = alarm.metrics().iter().filter_map(|query| query.metric_stat()?.metric());
        let nested = metrics.map(|metric| (metric.namespace(), metric.dimensions()));
        for (namespace, dimensions) in nested.chain([(alarm.namespace(), alarm.dimensions())]) {
            if namespace == Some("AWS/AppRunner") {
                let dimension =
                    |name: &str| dimensions.iter().find(|dimension| dimension.name() == Some(name))?.value();
                let right = dimension("ServiceName") == name && dimension("ServiceID") == id;
                kept_if(right, || format!("{} watches {dimensions:?}", alarm.alarm_name().unwrap_or_default()))?;
                watching += 1;
            }
        }
    }
    kept_if(watching > 0, || "no alarm watches the service".into())?;
    let dashboard = seen.world.dashboards.contains_key(&seen.spec.stack().name());
    kept_if(dashboard, || "there is no dashboard".into())?;
    let days = i32::from(seen.spec.log_retention_days);
    let groups: Vec<_> = seen.world.log_groups.iter().filter(|group| group.retention_in_days() == Some(days)).collect();
    kept_if(groups.len() == 2, || format!("log groups: {:?}", seen.world.log_groups))?;
    Ok(format!("{} alarms, a dashboard, 2 log groups kept for {days} days", seen.world.alarms.len()))
}

fn instance(seen: &Provisioned) -> Result<&aws_sdk_rds::types::DbInstance, String> {
    let name = seen.spec.stack().name();
    let found = seen.world.databases.iter().find(|database| database.db_instance_identifier() == Some(&name));
    found.ok_or_else(|| format!("there is no database {name}"))
}

fn connector(seen: &Provisioned) -> Result<&aws_sdk_apprunner::types::VpcConnector, String> {
    let name = seen.spec.stack().name();
    let found = seen.world.vpc_connectors.iter().find(|connector| connector.vpc_connector_name() == Some(&name));
    found.ok_or_else(|| format!("there is no VPC connector {name}"))
}

/// What DescribeService answers.
fn description(seen: &Provisioned) -> Result<&Value, String> {
    let name = seen.spec.stack().name();
    let found = seen.world.apprunner.services.iter().find(|service| service.name == name);
    let description = &found.ok_or_else(|| format!("there is no service {name}"))?.description;
    Ok(description.get("Service").unwrap_or(description))
}

/// A policy's member may be one thing or a list of them.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

fn contains(list: &[String], wanted: &str) -> bool {
    list.iter().any(|found| found == wanted)
}

fn kept_if(kept: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if kept { Ok(()) } else { Err(otherwise()) }
}

fn all_true(facts: &[(bool, &str)]) -> Result<(), String> {
    let not: Vec<_> = facts.iter().filter(|(is, _)| !is).map(|(_, what)| *what).collect();
    kept_if(not.is_empty(), || format!("not {}", not.join(", not ")))
}

fn succeeded(end: &End) -> Result<(), String> {
    kept_if(end.succeeded, || format!("{}: {}", end.error, end.message))
}

fn nothing_differs(differences: &[String]) -> Result<(), String> {
    kept_if(differences.is_empty(), || format!("the account differs: {}", differences.join("; ")))
}

fn no_write(calls: &[Call]) -> Result<(), String> {
    let writes: Vec<_> = calls.iter().filter(|call| call.writes()).map(described).collect();
    kept_if(writes.is_empty(), || format!("it called {}", writes.join(", ")))
}

fn described(call: &Call) -> String {
    format!("{} on {} by {}", call.action, call.resource, call.principal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(error: &str, message: &str) -> End {
        End {
            succeeded: error.is_empty(),
            output: Value::Null,
            error: error.into(),
            message: message.into(),
            seconds: 1.0,
            happenings: Vec::new(),
            transitions: 1,
        }
    }

    #[test]
    fn a_refusal_that_forgets_a_mistake_breaks_the_promise() {
        let seen = |message: &str, differences: &[&str]| Refused {
            fields: vec!["service.port", "databse"],
            end: end("Invalid", message),
            differences: differences.iter().map(|line| (*line).to_owned()).collect(),
        };
        let verdict = |seen| check(REFUSED, &seen).remove(0).verdict;
        assert!(verdict(seen("service.port: 0\ndatabse: {}", &[])).is_ok());
        assert!(verdict(seen("service.port: 0", &[])).is_err());
        assert!(verdict(seen("service.port: 0\ndatabse: {}", &["+ VPC vpc-1"])).is_err());
    }

    #[test]
    fn a_teardown_that_was_not_asked_for_a_snapshot_leaves_none() {
        let seen = |final_snapshot, differences: &[&str]| Removed {
            end: end("", ""),
            again: end("", ""),
            final_snapshot,
            differences: differences.iter().map(|line| (*line).to_owned()).collect(),
        };
        let verdict = |seen| check(REMOVED, &seen).remove(0).verdict;
        assert!(verdict(seen(true, &["+ DB snapshot shop-final"])).is_ok());
        assert!(verdict(seen(true, &[])).is_err());
        assert!(verdict(seen(false, &["+ DB snapshot shop-final"])).is_err());
        assert!(verdict(seen(false, &["+ role shop-access"])).is_err());
    }
}
