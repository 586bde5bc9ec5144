//! What is not the stack's and keeps a part of it from being deleted. AWS says that there is something, and not what.

use super::network::{filter, ours, own_vpcs, tags};
use super::{configuration, connector, roles};
use aws_sdk_apprunner::types::{Service, ServiceStatus};
use aws_sdk_ec2::types::{Filter, NetworkInterface};
use groundcrew::{Aws, Error, Mistake, Removal, Result, Stack, database, managed, pages};
use std::collections::{BTreeMap, BTreeSet};

/// Something that is not the stack's, by what it keeps from being deleted.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Obstacle {
    of: String,
    what: String,
    remedy: &'static str,
}

impl Obstacle {
    fn new(of: impl Into<String>, what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            of: of.into(),
            what: what.into(),
            remedy,
        }
    }
}

impl From<Obstacle> for Mistake {
    fn from(Obstacle { of, what, remedy }: Obstacle) -> Self {
        Self::new(
            of,
            what,
            format!("only what the stack made; {remedy}, then start again"),
        )
    }
}

/// What stands in a network.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What is somebody else's.
    pub(super) foreign: Vec<Obstacle>,
    /// The interfaces that RDS and App Runner keep there for the stack, and take away by themselves.
    pub(super) lingering: Vec<String>,
}

/// Everything that would keep a stack from being deleted.
///
/// # Errors
/// Those of AWS.
pub(crate) async fn in_the_way(aws: &Aws, removal: &Removal) -> Result<Vec<Obstacle>> {
    let stack = &removal.stack();
    let mut found = in_network(aws, stack).await?.foreign;
    found.extend(of_service(aws, removal).await?);
    for name in roles::own(aws, removal).await? {
        for profile in roles::instance_profiles(aws, &name).await? {
            let what = format!("instance profile {profile}");
            found.push(Obstacle::new(
                format!("role {name}"),
                what,
                "take the role out of it",
            ));
        }
    }
    Ok(found)
}

/// What refuses the deletion of a service and of its configurations.
async fn of_service(aws: &Aws, removal: &Removal) -> Result<Vec<Obstacle>> {
    let name = removal.stack().name();
    let mut found = Vec::new();
    if let Some(service) = managed::named(aws, &name).await?
        && removal.covers(&configuration::tags(aws, &service.service_arn).await?)
    {
        for connection in ingress_connections(aws, &service.service_arn).await? {
            let what = format!("VPC ingress connection {connection}");
            found.push(Obstacle::new(format!("service {name}"), what, "delete it"));
        }
    }
    let own = configuration::owned(aws, removal).await?;
    if !own.is_empty() {
        for service in services_but(aws, &name).await? {
            for used in configuration::used_by(&service).filter(|used| own.contains(*used)) {
                let what = format!("service {}, which uses it", service.service_name);
                found.push(Obstacle::new(
                    used,
                    what,
                    "give that service one of its own",
                ));
            }
        }
    }
    Ok(found)
}

/// The connections over which a VPC reaches a service: "Make sure that you don't have any active VPCIngressConnections" (botocore,
/// DeleteService).
async fn ingress_connections(aws: &Aws, service_arn: &str) -> Result<Vec<String>> {
    let of_service = aws_sdk_apprunner::types::ListVpcIngressConnectionsFilter::builder()
        .service_arn(service_arn)
        .build();
    let listed = pages::all(async |token| {
        let page = aws.apprunner().list_vpc_ingress_connections();
        let page = page.filter(of_service.clone()).set_next_token(token);
        let page = page.send().await;
        let page = page.map_err(Error::aws("apprunner:ListVpcIngressConnections"))?;
        Ok((page.vpc_ingress_connection_summary_list, page.next_token))
    });
    let listed = listed.await?.into_iter();
    Ok(listed
        .filter_map(|connection| connection.vpc_ingress_connection_arn)
        .collect())
}

/// All services but the one of this name, whoever owns them.
pub(super) async fn services_but(aws: &Aws, name: &str) -> Result<Vec<Service>> {
    let mut found = Vec::new();
    for summary in managed::listed(aws).await? {
        let is_other = summary.service_name() != Some(name)
            && summary.status() != Some(&ServiceStatus::Deleted);
        if let Some(arn) = summary.service_arn().filter(|_| is_other) {
            found.extend(managed::describe(aws, arn).await?);
        }
    }
    Ok(found)
}

/// What stands in the VPC of a stack, or refers to its security groups in an existing one.
pub(super) async fn in_network(aws: &Aws, stack: &Stack) -> Result<Standing> {
    let mut standing = Standing::default();
    let groups = security_groups(aws, ours(stack)).await?;
    let groups: BTreeSet<_> = groups
        .into_iter()
        .filter_map(|group| group.group_id)
        .collect();
    let vpcs = own_vpcs(aws, stack).await?;
    let vpcs: BTreeSet<_> = vpcs.into_iter().filter_map(|vpc| vpc.vpc_id).collect();
    let mut interfaces = BTreeMap::new();
    if !groups.is_empty() {
        standing.foreign.extend(rules(aws, stack, &groups).await?);
        interfaces.extend(network_interfaces(aws, "group-id", &groups).await?);
    }
    if !vpcs.is_empty() {
        interfaces.extend(network_interfaces(aws, "vpc-id", &vpcs).await?);
    }
    for vpc_id in &vpcs {
        standing.foreign.extend(inside(aws, stack, vpc_id).await?);
        standing.foreign.extend(attached(aws, vpc_id).await?);
    }
    for interface in interfaces.into_values() {
        let of = format!("VPC {}", interface.vpc_id().unwrap_or_default());
        let what = described(&interface);
        if is_of_stack(&interface, &groups) {
            standing.lingering.push(what);
        } else {
            let remedy = "delete it, or what it belongs to";
            standing.foreign.push(Obstacle::new(of, what, remedy));
        }
    }
    if !groups.is_empty() || !vpcs.is_empty() {
        standing.foreign.extend(databases(aws, stack, &vpcs).await?);
        standing
            .foreign
            .extend(connectors(aws, stack, &groups).await?);
    }
    Ok(standing)
}

/// RDS describes its interfaces so, and App Runner tags its own (its guide, "Enabling VPC access for outgoing traffic"); those of
/// the stack are in its groups and in no other.
fn is_of_stack(interface: &NetworkInterface, groups: &BTreeSet<String>) -> bool {
    let managed = interface.description() == Some("RDSNetworkInterface")
        || tags(interface.tag_set()).contains_key("AWSAppRunnerManaged");
    let mut of = interface.groups().iter();
    managed
        && !interface.groups().is_empty()
        && of.all(|group| group.group_id().is_some_and(|id| groups.contains(id)))
}

fn described(interface: &NetworkInterface) -> String {
    let id = interface.network_interface_id().unwrap_or_default();
    let instance = interface.attachment().and_then(|it| it.instance_id());
    match (
        instance.unwrap_or_default(),
        interface.description().unwrap_or_default(),
    ) {
        ("", "") => format!("network interface {id}"),
        ("", description) => format!("network interface {id} ({description})"),
        (instance, _) => format!("network interface {id} of instance {instance}"),
    }
}

async fn network_interfaces(
    aws: &Aws,
    by: &str,
    ids: &BTreeSet<String>,
) -> Result<BTreeMap<String, NetworkInterface>> {
    let mut found = BTreeMap::new();
    let wanted = Filter::builder()
        .name(by)
        .set_values(Some(ids.iter().cloned().collect()));
    let mut pages = aws
        .ec2()
        .describe_network_interfaces()
        .filters(wanted.build())
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("ec2:DescribeNetworkInterfaces"))?;
        let interfaces = page.network_interfaces.unwrap_or_default().into_iter();
        found.extend(interfaces.filter_map(|it| Some((it.network_interface_id.clone()?, it))));
    }
    Ok(found)
}

async fn security_groups(
    aws: &Aws,
    filters: Vec<Filter>,
) -> Result<Vec<aws_sdk_ec2::types::SecurityGroup>> {
    let found = aws
        .ec2()
        .describe_security_groups()
        .set_filters(Some(filters))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeSecurityGroups"))?;
    Ok(found.security_groups.unwrap_or_default())
}

/// Rules of other groups that refer to these.
async fn rules(aws: &Aws, stack: &Stack, groups: &BTreeSet<String>) -> Result<BTreeSet<Obstacle>> {
    let mut found = BTreeSet::new();
    for kind in ["ip-permission.group-id", "egress.ip-permission.group-id"] {
        let wanted = Filter::builder()
            .name(kind)
            .set_values(Some(groups.iter().cloned().collect()));
        for other in security_groups(aws, vec![wanted.build()]).await? {
            if stack.owns(&tags(other.tags())) {
                continue;
            }
            let rules = other
                .ip_permissions()
                .iter()
                .chain(other.ip_permissions_egress());
            let named = rules.flat_map(|rule| rule.user_id_group_pairs());
            let named = named.filter_map(|pair| pair.group_id().filter(|id| groups.contains(*id)));
            let what = format!(
                "a rule of security group {}",
                other.group_id().unwrap_or_default()
            );
            found.extend(named.map(|id| {
                Obstacle::new(format!("security group {id}"), &*what, "remove that rule")
            }));
        }
    }
    Ok(found)
}

/// What others made in a VPC.
async fn inside(aws: &Aws, stack: &Stack, vpc_id: &str) -> Result<Vec<Obstacle>> {
    let within = || filter("vpc-id", vpc_id);
    let mut found = Vec::new();
    for group in security_groups(aws, vec![within()]).await? {
        if group.group_name() != Some("default") && !stack.owns(&tags(group.tags())) {
            found.push(format!(
                "security group {}",
                group.group_id().unwrap_or_default()
            ));
        }
    }
    let subnets = aws.ec2().describe_subnets().filters(within()).send().await;
    let subnets = subnets.map_err(Error::aws("ec2:DescribeSubnets"))?;
    let subnets = subnets.subnets().iter();
    let subnets = subnets.filter(|it| !stack.owns(&tags(it.tags())));
    found.extend(subnets.map(|it| format!("subnet {}", it.subnet_id().unwrap_or_default())));
    let tables = aws
        .ec2()
        .describe_route_tables()
        .filters(within())
        .send()
        .await;
    let tables = tables.map_err(Error::aws("ec2:DescribeRouteTables"))?;
    for table in tables.route_tables() {
        let is_main = table
            .associations()
            .iter()
            .any(|it| it.main() == Some(true));
        if !is_main && !stack.owns(&tags(table.tags())) {
            found.push(format!(
                "route table {}",
                table.route_table_id().unwrap_or_default()
            ));
        }
    }
    let lists = aws.ec2().describe_network_acls().filters(within());
    let lists = lists.filters(filter("default", "false")).send().await;
    let lists = lists.map_err(Error::aws("ec2:DescribeNetworkAcls"))?;
    let lists = lists.network_acls().iter();
    found
        .extend(lists.map(|it| format!("network ACL {}", it.network_acl_id().unwrap_or_default())));
    let endpoints = aws
        .ec2()
        .describe_vpc_endpoints()
        .filters(within())
        .send()
        .await;
    let endpoints = endpoints.map_err(Error::aws("ec2:DescribeVpcEndpoints"))?;
    let endpoints = endpoints.vpc_endpoints().iter();
    found.extend(
        endpoints.map(|it| format!("VPC endpoint {}", it.vpc_endpoint_id().unwrap_or_default())),
    );
    let of = format!("VPC {vpc_id}");
    Ok(found
        .into_iter()
        .map(|what| Obstacle::new(&*of, what, "delete it"))
        .collect())
}

/// What others attached to a VPC.
async fn attached(aws: &Aws, vpc_id: &str) -> Result<Vec<Obstacle>> {
    let to_it = || filter("attachment.vpc-id", vpc_id);
    let mut found = Vec::new();
    let gateways = aws
        .ec2()
        .describe_internet_gateways()
        .filters(to_it())
        .send()
        .await;
    let gateways = gateways.map_err(Error::aws("ec2:DescribeInternetGateways"))?;
    let gateways = gateways.internet_gateways().iter();
    found.extend(gateways.map(|it| {
        format!(
            "internet gateway {}",
            it.internet_gateway_id().unwrap_or_default()
        )
    }));
    let gateways = aws.ec2().describe_vpn_gateways().filters(to_it());
    let gateways = gateways
        .filters(filter("attachment.state", "attached"))
        .send()
        .await;
    let gateways = gateways.map_err(Error::aws("ec2:DescribeVpnGateways"))?;
    let gateways = gateways.vpn_gateways().iter();
    found.extend(
        gateways.map(|it| format!("VPN gateway {}", it.vpn_gateway_id().unwrap_or_default())),
    );
    // These two know no filter for one side or the other at once.
    let gateways = aws
        .ec2()
        .describe_egress_only_internet_gateways()
        .send()
        .await;
    let gateways = gateways.map_err(Error::aws("ec2:DescribeEgressOnlyInternetGateways"))?;
    for gateway in gateways.egress_only_internet_gateways() {
        if gateway
            .attachments()
            .iter()
            .any(|it| it.vpc_id() == Some(vpc_id))
        {
            let id = gateway
                .egress_only_internet_gateway_id()
                .unwrap_or_default();
            found.push(format!("egress-only internet gateway {id}"));
        }
    }
    let peerings = aws.ec2().describe_vpc_peering_connections().send().await;
    let peerings = peerings.map_err(Error::aws("ec2:DescribeVpcPeeringConnections"))?;
    for peering in peerings.vpc_peering_connections() {
        let sides = [peering.requester_vpc_info(), peering.accepter_vpc_info()];
        let is_side = sides
            .into_iter()
            .flatten()
            .any(|it| it.vpc_id() == Some(vpc_id));
        let status = peering
            .status()
            .and_then(|it| it.code())
            .map(|code| code.as_str());
        // AWS would delete it with the VPC, and cut somebody off.
        if is_side && status == Some("active") {
            let id = peering.vpc_peering_connection_id().unwrap_or_default();
            found.push(format!("peering connection {id}"));
        }
    }
    let of = format!("VPC {vpc_id}");
    let obstacle = |what| Obstacle::new(&*of, what, "detach or delete it");
    Ok(found.into_iter().map(obstacle).collect())
}

/// Databases of others in the VPC, or in the subnet group of the stack.
async fn databases(aws: &Aws, stack: &Stack, vpcs: &BTreeSet<String>) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    let mut pages = aws.rds().describe_db_instances().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("rds:DescribeDBInstances"))?;
        for instance in page.db_instances() {
            let Some(group) = instance.db_subnet_group() else {
                continue;
            };
            let stands = group.vpc_id().is_some_and(|id| vpcs.contains(id))
                || group.db_subnet_group_name() == Some(&stack.name());
            if stands && !stack.owns(&database::tags(instance.tag_list())) {
                let of = format!("VPC {}", group.vpc_id().unwrap_or_default());
                let name = instance.db_instance_identifier().unwrap_or_default();
                found.push(Obstacle::new(
                    of,
                    format!("database {name}"),
                    "delete or move it",
                ));
            }
        }
    }
    Ok(found)
}

/// VPC connectors of others with a group of the stack: they share their interfaces with its own.
async fn connectors(aws: &Aws, stack: &Stack, groups: &BTreeSet<String>) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    for connector in connector::all(aws).await? {
        let mut of = connector.security_groups().iter();
        let shared = of.find(|id| groups.contains(*id));
        let is_other = connector.vpc_connector_name() != Some(&stack.name());
        if let Some(group) = shared.filter(|_| is_other) {
            let what = format!(
                "VPC connector {}",
                connector.vpc_connector_arn().unwrap_or_default()
            );
            found.push(Obstacle::new(
                format!("security group {group}"),
                what,
                "delete it",
            ));
        }
    }
    Ok(found)
}

/// What a refusal by EC2 becomes: what somebody else has to see to is told at once, and the rest is waited for, by name.
pub(super) async fn explained(aws: &Aws, stack: &Stack, refusal: Error) -> Error {
    let Error::NotReady(waits) = refusal else {
        return refusal;
    };
    match in_network(aws, stack).await {
        Ok(Standing { foreign, .. }) if !foreign.is_empty() => {
            let foreign: Vec<_> = foreign
                .into_iter()
                .map(|it| format!("{}: {} ({})", it.of, it.what, it.remedy))
                .collect();
            Error::Failed(format!(
                "{waits} will not come by itself, for there is what is not the stack's. {}. Then start teardown again",
                foreign.join("; ")
            ))
        }
        Ok(Standing { lingering, .. }) if lingering.is_empty() => Error::NotReady(waits),
        Ok(Standing { lingering, .. }) => Error::NotReady(format!(
            "{waits}, which is held by {},",
            lingering.join(", ")
        )),
        Err(error) => error,
    }
}
