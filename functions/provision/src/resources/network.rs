//! The network: an own VPC with private subnets, or an existing one that is only read; and the two security groups, of
//! which the database's accepts PostgreSQL from the connector's alone.

use super::zones::{Choice, Zone};
use super::{connector, foreign};
use aws_sdk_ec2::types::{
    Filter, IpPermission, ResourceType, Route, RouteTable, SecurityGroup, Subnet,
    SubnetCidrBlockStateCode, Tag, TagSpecification, UserIdGroupPair, Vpc,
};
use groundcrew::spec::{self, Cidr};
use groundcrew::stack::{TAG_APP, TAG_CHANGED_BY, TAG_ENVIRONMENT, TAG_MANAGED, Tags};
use groundcrew::{Aws, Error, Mistake, Removal, Result, Run, Spec, Stack};
use std::collections::BTreeMap;

/// PostgreSQL's port.
const POSTGRESQL: i32 = 5432;

/// What the database and the connector need of a network.
#[derive(Debug)]
pub(super) struct Parts {
    /// All subnets, which the database may be in.
    pub(super) subnet_ids: Vec<String>,
    /// The ids of their zones, in an own VPC.
    pub(super) zone_ids: BTreeMap<String, String>,
    /// Those of them that the connector may be made of.
    pub(super) connector_subnet_ids: Vec<String>,
    pub(super) connector_group_id: String,
    pub(super) database_group_id: String,
}

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let (vpc_id, subnet_ids) = match &spec.network.vpc_id {
        Some(vpc_id) => (Some(vpc_id.clone()), spec.network.subnet_ids.clone()),
        None => own_vpc(aws, spec, run, &[]).await?,
    };
    let Some(vpc_id) = vpc_id else {
        // A dry run without a VPC: nothing can be inside it.
        return dry_groups(stack, run);
    };
    let connector = security_group(aws, stack, run, &vpc_id, Role::Connector).await?;
    let database = security_group(aws, stack, run, &vpc_id, Role::Database).await?;
    if let (Some(connector), Some(database)) = (&connector, &database) {
        only_from_the_connector(aws, run, connector, database).await?;
    }
    run.tell("vpc_id", vpc_id);
    run.tell("subnet_ids", subnet_ids.join(", "));
    Ok(())
}

/// Finds what `ensure` made; `None` if it is not all there.
pub(super) async fn find(aws: &Aws, spec: &Spec) -> Result<Option<Parts>> {
    let stack = &spec.stack();
    let network = &spec.network;
    let mut zone_ids = BTreeMap::new();
    let mut connector_subnet_ids = network.subnet_ids.clone();
    let (vpc_id, subnet_ids) = match &network.vpc_id {
        Some(vpc_id) => (vpc_id.clone(), network.subnet_ids.clone()),
        None => {
            let Some(vpc) = own_vpcs(aws, stack).await?.into_iter().next() else {
                return Ok(None);
            };
            let vpc_id = vpc.vpc_id.unwrap_or_default();
            let subnets = own_subnets(aws, stack, &vpc_id).await?;
            let choice = Choice {
                chosen: &network.zones,
                refused: &[],
            };
            connector_subnet_ids = ids(subnets.iter().filter(|it| choice.allows(zone_id(it))));
            let zones = subnets.iter().map(|it| zone_id(it).to_owned());
            zone_ids.extend(ids(&subnets).into_iter().zip(zones));
            (vpc_id, ids(&subnets))
        }
    };
    let connector = find_group(aws, stack, &vpc_id, Role::Connector).await?;
    let database = find_group(aws, stack, &vpc_id, Role::Database).await?;
    Ok(connector.zip(database).map(|(connector, database)| Parts {
        subnet_ids,
        zone_ids,
        connector_subnet_ids,
        connector_group_id: connector.group_id.unwrap_or_default(),
        database_group_id: database.group_id.unwrap_or_default(),
    }))
}

/// Why a stack stays where it is, and what to do if it must not.
pub(super) const STAYS: &str = "neither a VPC connector nor a database can be moved, so tear the stack down (with its final snapshot) and provision it anew, or provision another one beside it";

/// A stack that the spec wants in another VPC, or in another range, than where it stands.
pub(super) async fn moved(aws: &Aws, spec: &Spec) -> Result<Option<Mistake>> {
    let stack = &spec.stack();
    if let Some(own) = own_vpcs(aws, stack).await?.into_iter().next() {
        let (id, range) = (
            own.vpc_id().unwrap_or_default(),
            own.cidr_block().unwrap_or_default(),
        );
        return Ok(moved_from_own(&spec.network, id, range));
    }
    let groups = own_groups(aws, stack).await?;
    let mut stands = groups.iter().filter_map(|group| group.vpc_id());
    Ok(stands
        .next()
        .and_then(|id| moved_from_existing(&spec.network, id)))
}

fn moved_from_own(network: &spec::Network, id: &str, range: &str) -> Option<Mistake> {
    if let Some(wanted) = &network.vpc_id {
        let allowed = format!("nothing: the stack stands in its own VPC {id}, and {STAYS}");
        return Some(Mistake::new("network.vpc_id", wanted.clone(), allowed));
    }
    let wanted = network.cidr.as_ref().filter(|wanted| *wanted != range)?;
    let allowed = format!("{range}, the range of the VPC in which the stack stands: {STAYS}");
    Some(Mistake::new("network.cidr", wanted.clone(), allowed))
}

fn moved_from_existing(network: &spec::Network, id: &str) -> Option<Mistake> {
    let wanted = network.vpc_id.as_deref();
    (wanted != Some(id)).then(|| {
        let allowed = format!("{id}, in which the stack stands: {STAYS}");
        Mistake::new("network.vpc_id", wanted, allowed)
    })
}

/// Adds subnets to the own VPC of a stack without a connector, in other zones than those of the subnets that App Runner has refused.
///
/// # Errors
/// [`Error::Failed`] if there is no other zone.
pub(super) async fn add_subnets(
    aws: &Aws,
    spec: &Spec,
    run: &mut Run,
    network: &Parts,
    refused: &[String],
) -> Result<()> {
    let (_, subnet_ids) = own_vpc(aws, spec, run, refused).await?;
    if subnet_ids.len() > network.subnet_ids.len() {
        return Ok(());
    }
    let refused = match refused {
        [] => String::new(),
        refused => format!("; it has refused {}", refused.join(", ")),
    };
    Err(Error::Failed(format!(
        "App Runner accepts fewer than two availability zones of {} for a VPC connector{refused}",
        aws.account.region
    )))
}

/// The own VPC with its subnets; `refused` are those that App Runner has just refused. No VPC in a dry run before there is one.
async fn own_vpc(
    aws: &Aws,
    spec: &Spec,
    run: &mut Run,
    refused: &[String],
) -> Result<(Option<String>, Vec<String>)> {
    let stack = &spec.stack();
    let range = Cidr::parse(spec.network.own_cidr()).ok_or_else(|| {
        Error::invalid(
            "network.cidr",
            spec.network.own_cidr(),
            "an address range such as 10.0.0.0/16",
        )
    })?;
    let zones = availability_zones(aws).await?;
    let found = own_vpcs(aws, stack).await?.into_iter().next();
    let is_new = found.is_none();
    let vpc_id = match found {
        Some(vpc) => {
            run.settle(&tags(vpc.tags()));
            vpc.vpc_id.unwrap_or_default()
        }
        None if run.create(format!("VPC {range}")) => aws
            .ec2()
            .create_vpc()
            .cidr_block(range.to_string())
            .tag_specifications(tagged(ResourceType::Vpc, stack, run, &stack.name()))
            .send()
            .await
            .map_err(Error::aws("ec2:CreateVpc"))?
            .vpc
            .and_then(|vpc| vpc.vpc_id)
            .unwrap_or_default(),
        None => {
            let choice = Choice {
                chosen: &spec.network.zones,
                refused: &[],
            };
            let missing = choice.missing(&zones, &[], false);
            let missing: Vec<_> = missing.iter().map(|zone| zone.to_string()).collect();
            let _ = run.create(format!("private subnets in {}", missing.join(", ")));
            let _ = run.create("route table");
            return Ok((None, Vec::new()));
        }
    };
    let all = subnets_in(aws, &vpc_id).await?;
    // Somebody may have put subnets of their own beside ours.
    let mut ranges: Vec<_> = all
        .iter()
        .filter_map(|subnet| Cidr::parse(subnet.cidr_block()?))
        .collect();
    let mut subnets = all;
    subnets.retain(|subnet| stack.owns(&tags(subnet.tags())));
    let is_refused = |subnet: &&Subnet| contains(refused, subnet.subnet_id().unwrap_or_default());
    let refused: Vec<_> = subnets.iter().filter(is_refused).map(zone_id).collect();
    let taken: Vec<_> = subnets.iter().map(zone_id).collect();
    let choice = Choice {
        chosen: &spec.network.zones,
        refused: &refused,
    };
    let mut missing = choice.missing(&zones, &taken, false);
    // Whether a zone has opened since, or an execution was stopped between two subnets, only the connector tells.
    if !missing.is_empty() && !is_new && connector::find(aws, &stack.name()).await?.is_some() {
        missing = choice.missing(&zones, &taken, true);
    }
    let mut subnet_ids = ids(&subnets);
    for zone in missing {
        let mut blocks = (0..Cidr::BLOCKS).map(|n| range.block(n));
        let cidr = blocks
            .find(|block| !ranges.iter().any(|range| range.overlaps(*block)))
            .ok_or_else(|| Error::Failed(format!("{vpc_id} has no room for a subnet in {zone}")))?;
        ranges.push(cidr);
        if run.create(format!("private subnet {cidr} in {zone}")) {
            let created = aws
                .ec2()
                .create_subnet()
                .vpc_id(&vpc_id)
                .cidr_block(cidr.to_string())
                .availability_zone(&zone.name)
                .tag_specifications(tagged(
                    ResourceType::Subnet,
                    stack,
                    run,
                    &stack.part(&format!("private-{}", zone.name)),
                ))
                .send()
                .await
                .map_err(Error::aws("ec2:CreateSubnet"))?;
            subnet_ids.extend(ids(&created.subnet));
        }
    }
    route_table(aws, stack, run, &vpc_id, &subnet_ids).await?;
    Ok((Some(vpc_id), subnet_ids))
}

/// One route table of its own for the private subnets, so that a person can add a route (to a NAT gateway, say) without
/// touching the VPC's main one. Groundcrew gives it no route but the local one, and names and leaves those of others.
async fn route_table(
    aws: &Aws,
    stack: &Stack,
    run: &mut Run,
    vpc_id: &str,
    subnet_ids: &[String],
) -> Result<()> {
    let table = match own_route_tables(aws, stack, vpc_id)
        .await?
        .into_iter()
        .next()
    {
        Some(table) => table,
        None if run.create("route table") => aws
            .ec2()
            .create_route_table()
            .vpc_id(vpc_id)
            .tag_specifications(tagged(
                ResourceType::RouteTable,
                stack,
                run,
                &stack.part("private"),
            ))
            .send()
            .await
            .map_err(Error::aws("ec2:CreateRouteTable"))?
            .route_table
            .unwrap_or_else(|| RouteTable::builder().build()),
        None => return Ok(()),
    };
    let table_id = table.route_table_id().unwrap_or_default();
    let others: Vec<_> = table.routes().iter().filter_map(route_beside).collect();
    if !others.is_empty() {
        run.leave(format!(
            "route table {table_id}: routes that are not groundcrew's, {}",
            others.join(", ")
        ));
    }
    for subnet_id in subnet_ids {
        let associated = table
            .associations()
            .iter()
            .any(|association| association.subnet_id() == Some(subnet_id));
        if !associated && run.change(format!("route table of {subnet_id}")) {
            aws.ec2()
                .associate_route_table()
                .route_table_id(table_id)
                .subnet_id(subnet_id)
                .send()
                .await
                .map_err(Error::aws("ec2:AssociateRouteTable"))?;
        }
    }
    Ok(())
}

/// A route that somebody has added, by where it leads; `None` for the local one, which each table has.
fn route_beside(route: &Route) -> Option<&str> {
    let is_local = route.gateway_id() == Some("local");
    let to = route
        .destination_cidr_block()
        .or(route.destination_ipv6_cidr_block())
        .or(route.destination_prefix_list_id());
    to.filter(|_| !is_local)
}

/// Which of the two security groups.
#[derive(Clone, Copy)]
enum Role {
    Connector,
    Database,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Connector => "connector",
            Self::Database => "database",
        }
    }
}

fn dry_groups(stack: &Stack, run: &mut Run) -> Result<()> {
    for role in [Role::Connector, Role::Database] {
        let _ = run.create(format!("security group {}", stack.part(role.name())));
    }
    Ok(())
}

async fn security_group(
    aws: &Aws,
    stack: &Stack,
    run: &mut Run,
    vpc_id: &str,
    role: Role,
) -> Result<Option<SecurityGroup>> {
    let name = stack.part(role.name());
    if let Some(group) = find_group(aws, stack, vpc_id, role).await? {
        // In an existing VPC the groups are all that is ours.
        run.settle(&tags(group.tags()));
        return Ok(Some(group));
    }
    if !run.create(format!("security group {name}")) {
        return Ok(None);
    }
    let created = aws
        .ec2()
        .create_security_group()
        .vpc_id(vpc_id)
        .group_name(&name)
        .description(format!("The {} of {stack}", role.name()))
        .tag_specifications(tagged(ResourceType::SecurityGroup, stack, run, &name))
        .send()
        .await
        .map_err(Error::aws("ec2:CreateSecurityGroup"))?;
    Ok(Some(
        SecurityGroup::builder()
            .set_group_id(created.group_id)
            .build(),
    ))
}

/// Leaves the database's group with one rule: PostgreSQL from the connector's group.
async fn only_from_the_connector(
    aws: &Aws,
    run: &mut Run,
    connector: &SecurityGroup,
    database: &SecurityGroup,
) -> Result<()> {
    let connector_id = connector.group_id().unwrap_or_default();
    let database_id = database.group_id().unwrap_or_default();
    // EC2 merges the sources of one protocol and port into one permission.
    let rules = database.ip_permissions().iter().flat_map(by_source);
    let (wanted, others): (Vec<_>, Vec<_>) = rules.partition(|rule| is_from(rule, connector_id));
    if wanted.is_empty()
        && run.change(format!(
            "{database_id}: accept {POSTGRESQL} from {connector_id}"
        ))
    {
        mark_changed(aws, run, database).await?;
        let rule = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(POSTGRESQL)
            .to_port(POSTGRESQL)
            .user_id_group_pairs(UserIdGroupPair::builder().group_id(connector_id).build())
            .build();
        aws.ec2()
            .authorize_security_group_ingress()
            .group_id(database_id)
            .ip_permissions(rule)
            .send()
            .await
            .map_err(Error::aws("ec2:AuthorizeSecurityGroupIngress"))?;
    }
    let named: Vec<_> = others.iter().map(in_words).collect();
    if !others.is_empty()
        && run.change_urgently(format!(
            "{database_id}: accept nothing else, that is no {}",
            named.join(", ")
        ))
    {
        mark_changed(aws, run, database).await?;
        aws.ec2()
            .revoke_security_group_ingress()
            .group_id(database_id)
            .set_ip_permissions(Some(others))
            .send()
            .await
            .map_err(Error::aws("ec2:RevokeSecurityGroupIngress"))?;
    }
    Ok(())
}

async fn mark_changed(aws: &Aws, run: &Run, group: &SecurityGroup) -> Result<()> {
    if run.has_created() {
        return Ok(());
    }
    aws.ec2()
        .create_tags()
        .resources(group.group_id().unwrap_or_default())
        .tags(tag(TAG_CHANGED_BY, &run.execution))
        .send()
        .await
        .map_err(Error::aws("ec2:CreateTags"))?;
    Ok(())
}

/// A permission with one source, for a person: `tcp 5432 from 0.0.0.0/0`.
fn in_words(rule: &IpPermission) -> String {
    let protocol = match rule.ip_protocol() {
        Some("-1") | None => "traffic",
        Some(protocol) => protocol,
    };
    let ports = match (rule.from_port(), rule.to_port()) {
        (Some(from), Some(to)) if from == to => format!(" {from}"),
        (Some(from), Some(to)) => format!(" {from}-{to}"),
        _ => String::new(),
    };
    let groups = rule.user_id_group_pairs().iter();
    let groups = groups.filter_map(|it| it.group_id());
    let ranges = rule.ip_ranges().iter().filter_map(|it| it.cidr_ip());
    let ranges_6 = rule.ipv6_ranges().iter().filter_map(|it| it.cidr_ipv6());
    let lists = rule.prefix_list_ids().iter();
    let lists = lists.filter_map(|it| it.prefix_list_id());
    let mut sources = groups.chain(ranges).chain(ranges_6).chain(lists);
    let source = sources.next().unwrap_or("nowhere");
    format!("{protocol}{ports} from {source}")
}

/// A permission, split so that each has one source.
fn by_source(permission: &IpPermission) -> Vec<IpPermission> {
    let of = || {
        IpPermission::builder()
            .set_ip_protocol(permission.ip_protocol.clone())
            .set_from_port(permission.from_port)
            .set_to_port(permission.to_port)
    };
    let groups = permission.user_id_group_pairs().iter();
    let ranges = permission.ip_ranges().iter();
    let ipv6_ranges = permission.ipv6_ranges().iter();
    let prefix_lists = permission.prefix_list_ids().iter();
    groups
        .map(|group| of().user_id_group_pairs(group.clone()))
        .chain(ranges.map(|range| of().ip_ranges(range.clone())))
        .chain(ipv6_ranges.map(|range| of().ipv6_ranges(range.clone())))
        .chain(prefix_lists.map(|list| of().prefix_list_ids(list.clone())))
        .map(|builder| builder.build())
        .collect()
}

fn is_from(rule: &IpPermission, group_id: &str) -> bool {
    rule.ip_protocol() == Some("tcp")
        && rule.from_port() == Some(POSTGRESQL)
        && rule.to_port() == Some(POSTGRESQL)
        && rule.ip_ranges().is_empty()
        && rule.ipv6_ranges().is_empty()
        && rule.prefix_list_ids().is_empty()
        && matches!(rule.user_id_group_pairs(), [pair] if pair.group_id() == Some(group_id))
}

/// Removes what is ours, and leaves an existing VPC as it was found. What stands in the way is named.
pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    match remove(aws, removal, run).await {
        Err(refusal) => Err(foreign::explained(aws, &removal.stack(), refusal).await),
        Ok(()) => Ok(()),
    }
}

async fn remove(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let stack = &removal.stack();
    let covers = |found: &[Tag]| removal.covers(&tags(found));
    let groups = own_groups(aws, stack).await?;
    // The database's group refers to the connector's, which cannot go before it.
    let last = stack.part(Role::Connector.name());
    let (connector, others): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .partition(|group| group.group_name() == Some(&last));
    for group in others
        .into_iter()
        .chain(connector)
        .filter(|group| covers(group.tags()))
    {
        let group_id = group.group_id.unwrap_or_default();
        if run.remove(format!("security group {group_id}")) {
            aws.ec2()
                .delete_security_group()
                .group_id(group_id)
                .send()
                .await
                .map_err(Error::aws("ec2:DeleteSecurityGroup"))?;
        }
    }
    for vpc in own_vpcs(aws, stack).await? {
        let vpc_id = vpc.vpc_id().unwrap_or_default();
        for subnet in own_subnets(aws, stack, vpc_id)
            .await?
            .into_iter()
            .filter(|subnet| covers(subnet.tags()))
        {
            let subnet_id = subnet.subnet_id.unwrap_or_default();
            if run.remove(format!("subnet {subnet_id}")) {
                aws.ec2()
                    .delete_subnet()
                    .subnet_id(subnet_id)
                    .send()
                    .await
                    .map_err(Error::aws("ec2:DeleteSubnet"))?;
            }
        }
        for table in own_route_tables(aws, stack, vpc_id)
            .await?
            .into_iter()
            .filter(|table| covers(table.tags()))
        {
            let table_id = table.route_table_id.unwrap_or_default();
            if run.remove(format!("route table {table_id}")) {
                aws.ec2()
                    .delete_route_table()
                    .route_table_id(table_id)
                    .send()
                    .await
                    .map_err(Error::aws("ec2:DeleteRouteTable"))?;
            }
        }
        if covers(vpc.tags()) && run.remove(format!("VPC {vpc_id}")) {
            aws.ec2()
                .delete_vpc()
                .vpc_id(vpc_id)
                .send()
                .await
                .map_err(Error::aws("ec2:DeleteVpc"))?;
        }
    }
    Ok(())
}

/// An existing subnet, as far as a spec may name it.
#[derive(Clone, Debug)]
pub(crate) struct ExistingSubnet {
    pub(crate) id: String,
    pub(crate) zone: Zone,
    pub(crate) is_public: bool,
    pub(crate) has_ipv4: bool,
    pub(crate) has_ipv6: bool,
}

/// The subnets of an existing VPC.
pub(crate) async fn subnets_of(aws: &Aws, vpc_id: &str) -> Result<Vec<ExistingSubnet>> {
    let subnets = subnets_in(aws, vpc_id).await?;
    let tables = aws
        .ec2()
        .describe_route_tables()
        .filters(filter("vpc-id", vpc_id))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeRouteTables"))?
        .route_tables
        .unwrap_or_default();
    Ok(subnets
        .into_iter()
        .map(|subnet| {
            let id = subnet.subnet_id().unwrap_or_default();
            ExistingSubnet {
                is_public: is_public(&tables, id),
                zone: Zone {
                    name: subnet.availability_zone().unwrap_or_default().into(),
                    id: zone_id(&subnet).into(),
                },
                has_ipv4: subnet.ipv6_native() != Some(true),
                has_ipv6: has_ipv6(&subnet),
                id: id.into(),
            }
        })
        .collect())
}

/// Ranges that it had, or is about to lose, are listed too.
fn has_ipv6(subnet: &Subnet) -> bool {
    let mut ranges = subnet.ipv6_cidr_block_association_set().iter();
    ranges.any(|range| {
        let state = range.ipv6_cidr_block_state();
        matches!(
            state.and_then(|state| state.state()),
            Some(SubnetCidrBlockStateCode::Associated | SubnetCidrBlockStateCode::Associating)
        )
    })
}

fn zone_id(subnet: &Subnet) -> &str {
    subnet.availability_zone_id().unwrap_or_default()
}

fn ids<'s>(subnets: impl IntoIterator<Item = &'s Subnet>) -> Vec<String> {
    let ids = subnets.into_iter().filter_map(Subnet::subnet_id);
    ids.map(str::to_owned).collect()
}

fn contains(ids: &[String], id: &str) -> bool {
    ids.iter().any(|one| one == id)
}

/// A subnet is public if its route table, or the main one where it has none of its own, leads to an internet gateway.
fn is_public(tables: &[RouteTable], subnet_id: &str) -> bool {
    let own = tables.iter().find(|table| {
        table
            .associations()
            .iter()
            .any(|association| association.subnet_id() == Some(subnet_id))
    });
    let main = || {
        tables.iter().find(|table| {
            table
                .associations()
                .iter()
                .any(|association| association.main() == Some(true))
        })
    };
    own.or_else(main).is_some_and(|table| {
        table
            .routes()
            .iter()
            .any(|route| route.gateway_id().is_some_and(|id| id.starts_with("igw-")))
    })
}

/// The availability zones that the account really has, by name; local and wavelength zones take no database.
pub(crate) async fn availability_zones(aws: &Aws) -> Result<Vec<Zone>> {
    let zones = aws
        .ec2()
        .describe_availability_zones()
        .filters(filter("state", "available"))
        .filters(filter("zone-type", "availability-zone"))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeAvailabilityZones"))?;
    let mut zones: Vec<_> = zones
        .availability_zones
        .unwrap_or_default()
        .into_iter()
        .filter_map(|zone| {
            Some(Zone {
                name: zone.zone_name?,
                id: zone.zone_id?,
            })
        })
        .collect();
    zones.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(zones)
}

/// The stack's VPCs: one, unless an answer was lost right after a creation. The first by id is the one that is used, and
/// removal takes them all.
pub(crate) async fn own_vpcs(aws: &Aws, stack: &Stack) -> Result<Vec<Vpc>> {
    let found = aws
        .ec2()
        .describe_vpcs()
        .set_filters(Some(ours(stack)))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeVpcs"))?;
    let mut vpcs = found.vpcs.unwrap_or_default();
    vpcs.sort_by(|a, b| a.vpc_id.cmp(&b.vpc_id));
    Ok(vpcs)
}

async fn own_groups(aws: &Aws, stack: &Stack) -> Result<Vec<SecurityGroup>> {
    let found = aws
        .ec2()
        .describe_security_groups()
        .set_filters(Some(ours(stack)))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeSecurityGroups"))?;
    Ok(found.security_groups.unwrap_or_default())
}

async fn own_subnets(aws: &Aws, stack: &Stack, vpc_id: &str) -> Result<Vec<Subnet>> {
    let mut subnets = subnets_in(aws, vpc_id).await?;
    subnets.retain(|subnet| stack.owns(&tags(subnet.tags())));
    Ok(subnets)
}

/// All subnets of a VPC, by id.
async fn subnets_in(aws: &Aws, vpc_id: &str) -> Result<Vec<Subnet>> {
    let found = aws
        .ec2()
        .describe_subnets()
        .filters(filter("vpc-id", vpc_id))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeSubnets"))?;
    let mut subnets = found.subnets.unwrap_or_default();
    subnets.sort_by(|a, b| a.subnet_id.cmp(&b.subnet_id));
    Ok(subnets)
}

async fn own_route_tables(aws: &Aws, stack: &Stack, vpc_id: &str) -> Result<Vec<RouteTable>> {
    let found = aws
        .ec2()
        .describe_route_tables()
        .set_filters(Some(ours(stack)))
        .filters(filter("vpc-id", vpc_id))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeRouteTables"))?;
    Ok(found.route_tables.unwrap_or_default())
}

/// # Errors
/// [`Error::Conflict`] if a group of that name in the VPC is not ours.
async fn find_group(
    aws: &Aws,
    stack: &Stack,
    vpc_id: &str,
    role: Role,
) -> Result<Option<SecurityGroup>> {
    let name = stack.part(role.name());
    let found = aws
        .ec2()
        .describe_security_groups()
        .filters(filter("vpc-id", vpc_id))
        .filters(filter("group-name", &name))
        .send()
        .await
        .map_err(Error::aws("ec2:DescribeSecurityGroups"))?;
    match found.security_groups.unwrap_or_default().into_iter().next() {
        Some(group) if stack.owns(&tags(group.tags())) => Ok(Some(group)),
        Some(_) => Err(Error::Conflict(format!(
            "security group {name} in {vpc_id}"
        ))),
        None => Ok(None),
    }
}

pub(super) fn ours(stack: &Stack) -> Vec<Filter> {
    let tagged = |key: &str, value: &str| filter(&format!("tag:{key}"), value);
    vec![
        tagged(TAG_APP, &stack.app),
        tagged(TAG_ENVIRONMENT, &stack.environment),
        tagged(TAG_MANAGED, "true"),
    ]
}

pub(super) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

pub(super) fn tags(found: &[Tag]) -> Tags {
    found
        .iter()
        .filter_map(|tag| Some((tag.key.clone()?, tag.value.clone()?)))
        .collect()
}

fn tagged(kind: ResourceType, stack: &Stack, run: &Run, name: &str) -> TagSpecification {
    let ours = stack.tags(&run.execution);
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(
            ours.iter()
                .map(|(key, value)| tag(key, value))
                .chain([tag("Name", name)])
                .collect(),
        ))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::IpRange;
    use serde_json::json;

    fn network(fields: serde_json::Value) -> spec::Network {
        let spec = json!({"app": "shop", "environment": "dev", "network": fields});
        Spec::parse(&spec).expect("a good spec").network
    }

    #[test]
    fn a_stack_stays_in_the_vpc_in_which_it_stands() {
        let existing = |id: &str| {
            network(json!({"vpc_id": id, "subnet_ids": ["subnet-12345678", "subnet-23456789"]}))
        };
        let field = |mistake: Option<Mistake>| mistake.map(|mistake| mistake.field);
        let from_own =
            |network: &spec::Network| field(moved_from_own(network, "vpc-11111111", "10.1.0.0/16"));
        // One who leaves the range out leaves it as it is.
        assert_eq!(from_own(&network(json!({}))), None);
        assert_eq!(from_own(&network(json!({"cidr": "10.1.0.0/16"}))), None);
        assert_eq!(
            from_own(&network(json!({"cidr": "10.2.0.0/16"}))).as_deref(),
            Some("network.cidr")
        );
        assert_eq!(
            from_own(&existing("vpc-22222222")).as_deref(),
            Some("network.vpc_id")
        );
        let from_existing =
            |network: &spec::Network| field(moved_from_existing(network, "vpc-22222222"));
        assert_eq!(from_existing(&existing("vpc-22222222")), None);
        assert_eq!(
            from_existing(&existing("vpc-33333333")).as_deref(),
            Some("network.vpc_id")
        );
        assert_eq!(
            from_existing(&network(json!({}))).as_deref(),
            Some("network.vpc_id")
        );
    }

    #[test]
    fn a_source_that_somebody_added_is_told_from_the_connectors_group_although_ec2_merges_them() {
        let merged = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(POSTGRESQL)
            .to_port(POSTGRESQL)
            .user_id_group_pairs(UserIdGroupPair::builder().group_id("sg-connector").build())
            .ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build())
            .build();
        let rules = by_source(&merged);
        let (wanted, others): (Vec<_>, Vec<_>) = rules
            .into_iter()
            .partition(|rule| is_from(rule, "sg-connector"));
        assert_eq!(wanted.len(), 1);
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].ip_ranges()[0].cidr_ip(), Some("0.0.0.0/0"));
    }
}
