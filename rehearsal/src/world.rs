//! Everything in the account that a stack can consist of, looked at as root.

use crate::{Error, LocalAws, Result};
use apprunner_emulator::Snapshot;
use aws_sdk_apprunner::types::{VpcConnector, VpcConnectorStatus};
use aws_sdk_cloudwatch::types::MetricAlarm;
use aws_sdk_cloudwatchlogs::types::LogGroup;
use aws_sdk_ec2::types::{NetworkInterface, RouteTable, SecurityGroup, Subnet, Vpc};
use aws_sdk_ecr::types::Repository;
use aws_sdk_iam::types::Role;
use aws_sdk_rds::types::{DbInstance, DbSnapshot, DbSubnetGroup};
use aws_sdk_secretsmanager::types::SecretListEntry;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// A look at the account. The fields hold AWS's own descriptions.
#[derive(Debug)]
pub struct World {
    /// VPCs, the account's default VPC included.
    pub vpcs: Vec<Vpc>,
    /// Subnets.
    pub subnets: Vec<Subnet>,
    /// Route tables.
    pub route_tables: Vec<RouteTable>,
    /// Security groups.
    pub security_groups: Vec<SecurityGroup>,
    /// Network interfaces.
    pub network_interfaces: Vec<NetworkInterface>,
    /// ECR repositories.
    pub repositories: Vec<Repository>,
    /// Lifecycle policies by repository.
    pub lifecycle_policies: BTreeMap<String, String>,
    /// Secrets, without those that are waiting for their deletion.
    pub secrets: Vec<SecretListEntry>,
    /// Database instances.
    pub databases: Vec<DbInstance>,
    /// DB subnet groups.
    pub subnet_groups: Vec<DbSubnetGroup>,
    /// Snapshots of databases that a person or a deletion took.
    pub snapshots: Vec<DbSnapshot>,
    /// Roles, without those that AWS services make for themselves.
    pub roles: Vec<Role>,
    /// Inline policies, `role/policy`, as JSON.
    pub policies: BTreeMap<String, String>,
    /// App Runner's services, connectors and configurations.
    pub apprunner: Snapshot,
    /// Active VPC connectors with their subnets and security groups.
    pub vpc_connectors: Vec<VpcConnector>,
    /// Metric alarms.
    pub alarms: Vec<MetricAlarm>,
    /// Dashboards with their bodies.
    pub dashboards: BTreeMap<String, String>,
    /// The log groups of App Runner services.
    pub log_groups: Vec<LogGroup>,
    /// SNS topics by ARN, with their attributes and subscriptions.
    pub topics: BTreeMap<String, String>,
}

impl World {
    /// Looks at everything.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn look(local: &LocalAws) -> Result<Self> {
        let aws = local.aws();
        let ec2 = &aws.ec2();
        let vpcs = all(
            ec2.describe_vpcs()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "ec2:DescribeVpcs",
        )?;
        let subnets = all(
            ec2.describe_subnets()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "ec2:DescribeSubnets",
        )?;
        let route_tables = all(
            ec2.describe_route_tables()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "ec2:DescribeRouteTables",
        )?;
        let security_groups = all(
            ec2.describe_security_groups()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "ec2:DescribeSecurityGroups",
        )?;
        let network_interfaces = all(
            ec2.describe_network_interfaces()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "ec2:DescribeNetworkInterfaces",
        )?;
        let repositories = all(
            aws.ecr()
                .describe_repositories()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "ecr:DescribeRepositories",
        )?;
        let mut secrets = Vec::new();
        let mut pages = aws.secrets_manager().list_secrets().into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Error::call("secretsmanager:ListSecrets"))?;
            secrets.extend(page.secret_list.unwrap_or_default());
        }
        for secret in &mut secrets {
            // Reading a secret is no change.
            secret.last_accessed_date = None;
        }
        let rds = &aws.rds();
        let databases = all(
            rds.describe_db_instances()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "rds:DescribeDBInstances",
        )?;
        let subnet_groups = all(
            rds.describe_db_subnet_groups()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "rds:DescribeDBSubnetGroups",
        )?;
        let snapshots = all(
            rds.describe_db_snapshots()
                .snapshot_type("manual")
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "rds:DescribeDBSnapshots",
        )?;
        let roles: Vec<Role> = all(
            aws.iam()
                .list_roles()
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "iam:ListRoles",
        )?;
        let roles: Vec<_> = roles
            .into_iter()
            .filter(|role| !role.path.starts_with("/aws-service-role/"))
            .collect();
        let log_groups = all(
            aws.logs()
                .describe_log_groups()
                .log_group_name_prefix("/aws/apprunner/")
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "logs:DescribeLogGroups",
        )?;
        let mut vpc_connectors = Vec::new();
        let mut pages = aws
            .apprunner()
            .list_vpc_connectors()
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Error::call("apprunner:ListVpcConnectors"))?;
            vpc_connectors.extend(page.vpc_connectors);
        }
        // A deleted connector is inactive and stays in the list.
        vpc_connectors
            .retain(|connector| connector.status() != Some(&VpcConnectorStatus::Inactive));
        Ok(Self {
            lifecycle_policies: lifecycle_policies(local, &repositories).await?,
            policies: policies(local, &roles).await?,
            alarms: alarms(local).await?,
            dashboards: dashboards(local).await?,
            topics: topics(local).await?,
            apprunner: local.apprunner().snapshot(),
            vpc_connectors,
            vpcs,
            subnets,
            route_tables,
            security_groups,
            network_interfaces,
            repositories,
            secrets,
            databases,
            subnet_groups,
            snapshots,
            roles,
            log_groups,
        })
    }

    /// What differs between this look and a later one, a line each; empty if nothing was created, changed or removed.
    pub fn differences(&self, later: &Self) -> Vec<String> {
        differences(&self.things(), &later.things())
    }

    /// Everything by kind and name, each described in lines that do not depend on the order of a map or a list.
    fn things(&self) -> BTreeMap<String, Vec<String>> {
        let mut things = BTreeMap::new();
        put(&mut things, "VPC", &self.vpcs, |vpc| vpc.vpc_id());
        put(&mut things, "subnet", &self.subnets, |subnet| {
            subnet.subnet_id()
        });
        put(&mut things, "route table", &self.route_tables, |table| {
            table.route_table_id()
        });
        put(
            &mut things,
            "security group",
            &self.security_groups,
            |group| group.group_id(),
        );
        put(
            &mut things,
            "network interface",
            &self.network_interfaces,
            |card| card.network_interface_id(),
        );
        put(
            &mut things,
            "repository",
            &self.repositories,
            |repository| repository.repository_name(),
        );
        put(&mut things, "secret", &self.secrets, |secret| secret.name());
        put(&mut things, "database", &self.databases, |database| {
            database.db_instance_identifier()
        });
        put(
            &mut things,
            "DB subnet group",
            &self.subnet_groups,
            |group| group.db_subnet_group_name(),
        );
        put(&mut things, "DB snapshot", &self.snapshots, |snapshot| {
            snapshot.db_snapshot_identifier()
        });
        put(&mut things, "role", &self.roles, |role| {
            Some(role.role_name())
        });
        put(
            &mut things,
            "service",
            &self.apprunner.services,
            |service| Some(&service.arn),
        );
        put(
            &mut things,
            "VPC connector",
            &self.vpc_connectors,
            |connector| connector.vpc_connector_arn(),
        );
        let revisions = &self.apprunner.auto_scaling_configurations;
        put(
            &mut things,
            "auto scaling configuration",
            revisions,
            |revision| Some(&revision.arn),
        );
        let revisions = &self.apprunner.observability_configurations;
        put(
            &mut things,
            "observability configuration",
            revisions,
            |revision| Some(&revision.arn),
        );
        put(&mut things, "alarm", &self.alarms, |alarm| {
            alarm.alarm_name()
        });
        put(&mut things, "log group", &self.log_groups, |group| {
            group.log_group_name()
        });
        for (kind, named) in [
            ("lifecycle policy", &self.lifecycle_policies),
            ("policy", &self.policies),
            ("dashboard", &self.dashboards),
            ("topic", &self.topics),
        ] {
            things.extend(
                named
                    .iter()
                    .map(|(name, content)| (format!("{kind} {name}"), vec![content.clone()])),
            );
        }
        things
    }
}

fn put<T: Debug>(
    things: &mut BTreeMap<String, Vec<String>>,
    kind: &str,
    found: &[T],
    name: impl Fn(&T) -> Option<&str>,
) {
    for thing in found {
        let mut lines: Vec<_> = format!("{thing:#?}")
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        lines.sort();
        things.insert(
            format!("{kind} {}", name(thing).unwrap_or("without a name")),
            lines,
        );
    }
}

fn differences(
    before: &BTreeMap<String, Vec<String>>,
    after: &BTreeMap<String, Vec<String>>,
) -> Vec<String> {
    let mut found: Vec<_> = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .map(|name| format!("- {name}"))
        .collect();
    for (name, lines) in after {
        match before.get(name) {
            None => found.push(format!("+ {name}")),
            Some(earlier) if earlier != lines => {
                let new = lines.iter().find(|line| !earlier.contains(line));
                let old = earlier.iter().find(|line| !lines.contains(line));
                let line =
                    |line: Option<&String>| line.map_or("nothing", String::as_str).to_owned();
                found.push(format!("~ {name}: {} → {}", line(old), line(new)));
            }
            Some(_) => {}
        }
    }
    found
}

/// The items of all pages.
fn all<T, E: std::error::Error>(pages: Result<Vec<T>, E>, call: &'static str) -> Result<Vec<T>> {
    pages.map_err(Error::call(call))
}

async fn lifecycle_policies(
    local: &LocalAws,
    repositories: &[Repository],
) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for name in repositories.iter().filter_map(Repository::repository_name) {
        match local
            .aws()
            .ecr()
            .get_lifecycle_policy()
            .repository_name(name)
            .send()
            .await
        {
            Ok(policy) => {
                found.insert(
                    name.to_owned(),
                    policy.lifecycle_policy_text.unwrap_or_default(),
                );
            }
            Err(error)
                if is(&error, |error| {
                    error.is_lifecycle_policy_not_found_exception()
                }) => {}
            Err(error) => return Err(Error::call("ecr:GetLifecyclePolicy")(error)),
        }
    }
    Ok(found)
}

fn is<E, R>(error: &aws_sdk_ecr::error::SdkError<E, R>, kind: impl Fn(&E) -> bool) -> bool {
    error.as_service_error().is_some_and(kind)
}

async fn policies(local: &LocalAws, roles: &[Role]) -> Result<BTreeMap<String, String>> {
    let iam = &local.aws().iam();
    let mut found = BTreeMap::new();
    for role in roles.iter().map(Role::role_name) {
        let names = all(
            iam.list_role_policies()
                .role_name(role)
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "iam:ListRolePolicies",
        )?;
        for name in names {
            let policy = iam
                .get_role_policy()
                .role_name(role)
                .policy_name(&name)
                .send()
                .await;
            let policy = policy.map_err(Error::call("iam:GetRolePolicy"))?;
            found.insert(format!("{role}/{name}"), decoded(&policy.policy_document));
        }
    }
    Ok(found)
}

/// IAM answers documents in the percent-encoding of RFC 3986.
pub(crate) fn decoded(document: &str) -> String {
    let mut bytes = Vec::with_capacity(document.len());
    let mut rest = document.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let escape = (*first == b'%').then(|| others.get(..2)).flatten();
        let escaped = escape
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            &others[2..]
        } else {
            others
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Alarms without their state, which changes by itself.
async fn alarms(local: &LocalAws) -> Result<Vec<MetricAlarm>> {
    let mut alarms = Vec::new();
    let mut pages = local
        .aws()
        .cloudwatch()
        .describe_alarms()
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        alarms.extend(
            page.map_err(Error::call("cloudwatch:DescribeAlarms"))?
                .metric_alarms
                .unwrap_or_default(),
        );
    }
    for alarm in &mut alarms {
        alarm.state_value = None;
        alarm.state_reason = None;
        alarm.state_reason_data = None;
        alarm.state_updated_timestamp = None;
        alarm.state_transitioned_timestamp = None;
    }
    Ok(alarms)
}

async fn dashboards(local: &LocalAws) -> Result<BTreeMap<String, String>> {
    let cloudwatch = &local.aws().cloudwatch();
    let listed = all(
        cloudwatch
            .list_dashboards()
            .into_paginator()
            .items()
            .send()
            .collect()
            .await,
        "cloudwatch:ListDashboards",
    )?;
    let mut found = BTreeMap::new();
    for name in listed
        .into_iter()
        .filter_map(|dashboard| dashboard.dashboard_name)
    {
        let dashboard = cloudwatch
            .get_dashboard()
            .dashboard_name(&name)
            .send()
            .await;
        let dashboard = dashboard.map_err(Error::call("cloudwatch:GetDashboard"))?;
        found.insert(name, dashboard.dashboard_body.unwrap_or_default());
    }
    Ok(found)
}

async fn topics(local: &LocalAws) -> Result<BTreeMap<String, String>> {
    let sns = &local.aws().sns();
    let listed = all(
        sns.list_topics()
            .into_paginator()
            .items()
            .send()
            .collect()
            .await,
        "sns:ListTopics",
    )?;
    let mut found = BTreeMap::new();
    for arn in listed.into_iter().filter_map(|topic| topic.topic_arn) {
        let subscriptions = all(
            sns.list_subscriptions_by_topic()
                .topic_arn(&arn)
                .into_paginator()
                .items()
                .send()
                .collect()
                .await,
            "sns:ListSubscriptionsByTopic",
        )?;
        let to: Vec<_> = subscriptions
            .iter()
            .filter_map(|subscription| subscription.endpoint())
            .collect();
        found.insert(arn, to.join(", "));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn things(named: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        named
            .iter()
            .map(|(name, lines)| ((*name).to_owned(), owned(lines)))
            .collect()
    }

    #[test]
    fn what_came_what_went_and_what_changed_are_told_apart() {
        let before = things(&[
            ("VPC a", &["cidr: 1"]),
            ("role b", &["path: /"]),
            ("topic c", &[]),
        ]);
        let after = things(&[("VPC a", &["cidr: 2"]), ("secret d", &[]), ("topic c", &[])]);
        assert_eq!(
            differences(&before, &after),
            ["- role b", "~ VPC a: cidr: 1 → cidr: 2", "+ secret d"]
        );
        assert_eq!(differences(&before, &before), Vec::<String>::new());
    }

    #[test]
    fn the_order_within_a_description_does_not_matter() {
        let mut one = BTreeMap::new();
        put(&mut one, "thing", &[vec!["a", "b"]], |_| Some("x"));
        let mut other = BTreeMap::new();
        put(&mut other, "thing", &[vec!["b", "a"]], |_| Some("x"));
        assert_eq!(one, other);
    }

    #[test]
    fn a_document_of_iam_is_decoded() {
        assert_eq!(decoded("%7B%22a%22%3A%20%22%C3%A4%22%7D"), r#"{"a": "ä"}"#);
        assert_eq!(decoded("100% {}%2"), "100% {}%2");
    }
}
