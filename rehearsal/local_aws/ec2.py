"""EC2: the checks on addresses, dependencies and duplicates that a network is built against.

Error codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html.
Not restored: paging (all is one page), quotas, the lag with which a new resource becomes visible.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from ministack.services import ec2, rds

import clock

Parameters = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Action = Callable[[Parameters], Response]

# App Runner keeps the interfaces of a deleted VPC connector for a while. (Assumption lingering-interfaces)
INTERFACE_LINGER_SECONDS = 60

# Filters that MiniStack honours; it passes over all others, which would find too much.
_FILTERS = {
    "DescribeVpcs": {"vpc-id", "cidr", "cidr-block-association.cidr-block", "state", "owner-id", "is-default"},
    "DescribeAvailabilityZones": {"state", "zone-type", "zone-id", "zone-name"},
    "DescribeSubnets": {"vpc-id", "availability-zone", "subnet-id", "cidr-block", "cidr", "default-for-az"},
    "DescribeSecurityGroups": {
        "vpc-id",
        "group-name",
        "group-id",
        "ip-permission.group-id",
        "egress.ip-permission.group-id",
    },
    "DescribeSecurityGroupRules": {"group-id", "security-group-rule-id"},
    "DescribeRouteTables": {
        "association.route-table-association-id",
        "association.subnet-id",
        "association.main",
        "vpc-id",
    },
    "DescribeInternetGateways": {"internet-gateway-id", "owner-id", "attachment.vpc-id", "attachment.state"},
    "DescribeNetworkAcls": {"vpc-id", "default"},
    "DescribeVpcPeeringConnections": {"status-code"},
    "DescribeVpnGateways": {"attachment.vpc-id", "attachment.state"},
}


def _error(code: str, message: str) -> Response:
    return ec2._error(code, message, 400)


def _depends(kind: str, identifier: str) -> Response:
    return _error("DependencyViolation", f"The {kind} '{identifier}' has dependencies and cannot be deleted.")


def _created(response: Response, tag: str) -> str | None:
    """The id that the answer to a creation gives, if it succeeded."""
    found = re.search(rf"<{tag}>([^<]+)</{tag}>", response[2].decode())
    return found[1] if found else None


def _wrap(name: str, before: Callable[[Parameters], Response | None]) -> None:
    """Ask `before` first: its answer, if any, is the answer."""
    action: Action = ec2._ACTION_MAP[name]

    def wrapped(p: Parameters) -> Response:
        return before(p) or action(p)

    ec2._ACTION_MAP[name] = wrapped


# -- availability zones ------------------------------------------------------------------------------------------------

# The ids of the zones of us-east-1, in the order of their names, a to f: "we decided to independently map Availability Zones to codes
# in each AWS account" in the oldest regions, and ids are the same in all accounts
# (https://docs.aws.amazon.com/global-infrastructure/latest/regions/az-ids.html). In this account App Runner refuses the first.
_ZONES = {"us-east-1": ("use1-az3", "use1-az4", "use1-az6", "use1-az1", "use1-az2", "use1-az5")}
_mini_zone_id: Callable[[str], str] = ec2._az_id_for_zone_name


def _zones() -> dict[str, str]:
    """The zones of the region: the id of each name. MiniStack's three are left to regions that nothing is played in."""
    region = ec2.get_region()
    ids = _ZONES.get(region) or [_mini_zone_id(f"{region}{letter}") for letter in "abc"]
    return {f"{region}{letter}": zone_id for letter, zone_id in zip("abcdef", ids, strict=False)}


def _zone_id(name: str) -> str:
    return _zones().get(name) or _mini_zone_id(name)


def _zone_name(zone_id: str) -> str | None:
    return next((name for name, found in _zones().items() if found == zone_id), None)


def _describe_zones(p: Parameters) -> Response:
    """All are available, and availability zones; an account that has opted into no local zone sees none."""
    filters = ec2._parse_filters(p)
    region = ec2.get_region()
    items = ""
    for name, zone_id in _zones().items():
        seen = {"state": "available", "zone-type": "availability-zone", "zone-id": zone_id, "zone-name": name}
        if all(seen[key] in values for key, values in filters.items() if key in seen):
            items += (
                f"<item><zoneName>{name}</zoneName><zoneState>available</zoneState><regionName>{region}</regionName>"
                f"<zoneId>{zone_id}</zoneId><groupName>{region}-zg-1</groupName>"
                f"<networkBorderGroup>{region}</networkBorderGroup><optInStatus>opt-in-not-required</optInStatus>"
                "<zoneType>availability-zone</zoneType></item>"
            )
    return ec2._xml(200, "DescribeAvailabilityZonesResponse", f"<availabilityZoneInfo>{items}</availabilityZoneInfo>")


# -- addresses ---------------------------------------------------------------------------------------------------------


def _network(cidr: str) -> ipaddress.IPv4Network | None:
    """A block between /16 and /28, which is what VPCs and subnets may have; stray host bits are dropped."""
    try:
        network = ipaddress.IPv4Network(cidr, strict=False)
    except ValueError:
        return None
    return network if 16 <= network.prefixlen <= 28 else None


def _check_vpc(p: Parameters) -> Response | None:
    cidr = ec2._p(p, "CidrBlock")
    network = _network(cidr)
    if network is None:
        return _error("InvalidVpc.Range", f"The CIDR '{cidr}' is invalid.")
    p["CidrBlock"] = [str(network)]
    return None


def _check_subnet(p: Parameters) -> Response | None:
    vpc_id, cidr, zone = ec2._p(p, "VpcId"), ec2._p(p, "CidrBlock"), ec2._p(p, "AvailabilityZone")
    vpc = ec2._vpcs.get(vpc_id)
    if vpc is None:
        return _error("InvalidVpcID.NotFound", f"The vpc ID '{vpc_id}' does not exist")
    network = _network(cidr)
    if network is None or not network.subnet_of(ipaddress.IPv4Network(vpc["CidrBlock"])):
        return _error("InvalidSubnet.Range", f"The CIDR '{cidr}' is invalid.")
    if zone and zone not in _zones():
        return _error("InvalidParameterValue", f"Value ({zone}) for parameter availabilityZone is invalid.")
    for subnet in ec2._subnets.values():
        if subnet["VpcId"] == vpc_id and network.overlaps(ipaddress.IPv4Network(subnet["CidrBlock"])):
            return _error("InvalidSubnet.Conflict", f"The CIDR '{cidr}' conflicts with another subnet")
    p["CidrBlock"] = [str(network)]
    return None


def _count_addresses() -> None:
    """AWS keeps the first four addresses of a subnet and its last."""
    create: Action = ec2._ACTION_MAP["CreateSubnet"]

    def create_subnet(p: Parameters) -> Response:
        response = create(p)
        if subnet_id := _created(response, "subnetId"):
            subnet = ec2._subnets[subnet_id]
            addresses = ipaddress.IPv4Network(subnet["CidrBlock"]).num_addresses - 5
            old, subnet["AvailableIpAddressCount"] = subnet["AvailableIpAddressCount"], addresses
            body = response[2].replace(f"Count>{old}<".encode(), f"Count>{addresses}<".encode())
            response = response[0], response[1], body
        return response

    ec2._ACTION_MAP["CreateSubnet"] = create_subnet


# -- security groups ---------------------------------------------------------------------------------------------------


# What the source of a rule is called, by its kind.
_SOURCES = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}


def _split(permissions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A permission is as many rules as it has sources."""
    for permission in permissions:
        for kind in _SOURCES:
            for source in permission.get(kind, []):
                yield {**permission, **{name: [] for name in _SOURCES}, kind: [source]}


def _single_rules(permissions: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    for rule in _split(permissions):
        ports = rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort")
        yield (*ports, next(source.get(name) for kind, name in _SOURCES.items() for source in rule[kind]))


def _permissions(p: Parameters) -> list[dict[str, Any]]:
    """The permissions of a request, also of one that has the parameters of a single one, which MiniStack passes over."""
    if ec2._p(p, "IpProtocol"):
        for given, meant in {
            "IpProtocol": "IpProtocol",
            "FromPort": "FromPort",
            "ToPort": "ToPort",
            "CidrIp": "IpRanges.1.CidrIp",
        }.items():
            if given in p:
                p[f"IpPermissions.1.{meant}"] = p.pop(given)
    return ec2._parse_ip_permissions(p, "IpPermissions")


def _check_rules(stored: str) -> Callable[[Parameters], Response | None]:
    def check(p: Parameters) -> Response | None:
        group = ec2._security_groups.get(ec2._p(p, "GroupId"))
        permissions = _permissions(p)
        if group is None:
            return None
        existing = set(_single_rules(group[stored]))
        for protocol, from_port, to_port, peer in _single_rules(permissions):
            if (protocol, from_port, to_port, peer) in existing:
                return _error(
                    "InvalidPermission.Duplicate",
                    f'the specified rule "peer: {peer}, {protocol.upper()}, from port: {from_port}, '
                    f'to port: {to_port}, ALLOW" already exists',
                )
            if str(peer).startswith("sg-") and peer not in ec2._security_groups:
                return _error("InvalidGroup.NotFound", f"The security group '{peer}' does not exist")
        return None

    return check


def _check_revocation(stored: str) -> Callable[[Parameters], Response | None]:
    """MiniStack revokes what was authorised in the same words. "If the values you specify do not match the existing rule's values,
    an InvalidPermission.NotFound client error is returned, and no rules are revoked" (botocore, RevokeSecurityGroupIngress)."""

    def check(p: Parameters) -> Response | None:
        group = ec2._security_groups.get(ec2._p(p, "GroupId"))
        wanted = set(_single_rules(_permissions(p)))
        if group is None or not wanted:
            return None
        if not wanted <= set(_single_rules(group[stored])):
            return _error("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        group[stored] = [rule for rule in _split(group[stored]) if next(_single_rules([rule])) not in wanted]
        return None

    return check


def _merge_sources() -> None:
    """EC2 describes the sources of one protocol and its ports as one permission."""
    render = ec2._sg_xml

    def merged(permissions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for rule in permissions:
            ports = rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort")
            first = found.setdefault(ports, {**rule, **{kind: [] for kind in _SOURCES}})
            for kind in _SOURCES:
                first[kind] = [*first[kind], *rule.get(kind, [])]
        return list(found.values())

    def sg_xml(group: dict[str, Any]) -> str:
        return str(render(group | {kind: merged(group[kind]) for kind in ("IpPermissions", "IpPermissionsEgress")}))

    ec2._sg_xml = sg_xml


def _check_group_vpc(p: Parameters) -> Response | None:
    vpc_id = ec2._p(p, "VpcId")
    if vpc_id and vpc_id not in ec2._vpcs:
        return _error("InvalidVpcID.NotFound", f"The vpc ID '{vpc_id}' does not exist")
    return None


def _check_group_unused(p: Parameters) -> Response | None:
    group_id = ec2._p(p, "GroupId")
    interfaces = ec2._network_interfaces.values()
    in_use = any(group["GroupId"] == group_id for interface in interfaces for group in interface["Groups"])
    others = [group for group in ec2._security_groups.values() if group["GroupId"] != group_id]
    referenced = any(
        rule[-1] == group_id
        for group in others
        for rule in _single_rules([*group["IpPermissions"], *group["IpPermissionsEgress"]])
    )
    if in_use or referenced:
        return _error("DependencyViolation", f"resource {group_id} has a dependent object")
    return None


# -- subnets, route tables, VPCs ---------------------------------------------------------------------------------------


def _check_subnet_unused(p: Parameters) -> Response | None:
    subnet_id = ec2._p(p, "SubnetId")
    if any(interface["SubnetId"] == subnet_id for interface in ec2._network_interfaces.values()):
        return _depends("subnet", subnet_id)
    for group in rds._subnet_groups.values():
        if any(member["SubnetIdentifier"] == subnet_id for member in group["Subnets"]):
            return _depends("subnet", subnet_id)
    for table in ec2._route_tables.values():
        table["Associations"] = [a for a in table["Associations"] if a.get("SubnetId") != subnet_id]
    return None


def _check_association(p: Parameters) -> Response | None:
    subnet_id, table_id = ec2._p(p, "SubnetId"), ec2._p(p, "RouteTableId")
    if subnet_id not in ec2._subnets:
        return _error("InvalidSubnetID.NotFound", f"The subnet ID '{subnet_id}' does not exist")
    if any(a.get("SubnetId") == subnet_id for table in ec2._route_tables.values() for a in table["Associations"]):
        return _error(
            "Resource.AlreadyAssociated",
            f"the specified association for route table {table_id} conflicts with an existing association",
        )
    return None


def _check_table_unused(p: Parameters) -> Response | None:
    table_id = ec2._p(p, "RouteTableId")
    table = ec2._route_tables.get(table_id)
    return _depends("routeTable", table_id) if table and table["Associations"] else None


def _check_vpc_unused(p: Parameters) -> Response | None:
    """ "You must detach or delete all gateways and resources that are associated with the VPC" (botocore, DeleteVpc); a peering
    connection goes with it (https://github.com/stackshy/cloudemu/pull/488)."""
    vpc_id = ec2._p(p, "VpcId")
    tables = [table for table in ec2._route_tables.values() if table["VpcId"] == vpc_id]
    own_tables = [table for table in tables if not any(a.get("Main") for a in table["Associations"])]
    inside = [*ec2._network_interfaces.values(), *ec2._vpc_endpoints.values(), *ec2._egress_igws.values()]
    inside += [acl for acl in ec2._network_acls.values() if not acl.get("IsDefault")]
    inside += [attachment for gateway in ec2._vpn_gateways.values() for attachment in gateway["Attachments"]]
    if own_tables or any(it["VpcId"] == vpc_id for it in inside):
        return _depends("vpc", vpc_id)
    for name, peering in list(ec2._vpc_peering.items()):
        if vpc_id in (peering["RequesterVpcInfo"]["VpcId"], peering["AccepterVpcInfo"]["VpcId"]):
            del ec2._vpc_peering[name]
    return None


# -- network interfaces ------------------------------------------------------------------------------------------------


def create_interface(subnet_id: str, security_groups: list[str], description: str, tags: dict[str, str]) -> str:
    """An interface that a service keeps in a VPC: it holds on to its subnet and its security groups."""
    request: Parameters = {"SubnetId": [subnet_id], "Description": [description]}
    for number, group in enumerate(security_groups, 1):
        request[f"SecurityGroupId.{number}"] = [group]
    interface_id = _created(ec2._create_network_interface(request), "networkInterfaceId") or ""
    ec2._network_interfaces[interface_id]["Status"] = "in-use"
    ec2._tags[interface_id] = [{"Key": key, "Value": value} for key, value in tags.items()]
    return interface_id


def set_interface_groups(interface_id: str, security_groups: list[str]) -> None:
    names = {group["GroupId"]: group["GroupName"] for group in ec2._security_groups.values()}
    groups = [{"GroupId": group, "GroupName": names.get(group, group)} for group in security_groups]
    ec2._network_interfaces[interface_id]["Groups"] = groups


def delete_interface(interface_id: str) -> None:
    ec2._network_interfaces.pop(interface_id, None)
    ec2._tags.pop(interface_id, None)


_connectors: dict[str, list[str]] = {}


def create_connector_interfaces(connector_arn: str, subnets: list[str], security_groups: list[str]) -> None:
    """App Runner's interfaces for a VPC connector, one in each subnet."""
    _connectors[connector_arn] = [
        create_interface(subnet, security_groups, connector_arn, {"AWSAppRunnerManaged": "true"}) for subnet in subnets
    ]


def delete_connector_interfaces(connector_arn: str) -> None:
    """Take the interfaces of a deleted VPC connector away, some time later."""

    def delete() -> None:
        for interface_id in _connectors.pop(connector_arn, []):
            delete_interface(interface_id)

    clock.after(INTERFACE_LINGER_SECONDS, delete)


def _describe_interfaces(p: Parameters) -> Response:
    """MiniStack passes over the filters of DescribeNetworkInterfaces."""
    wanted = ec2._parse_member_list(p, "NetworkInterfaceId")
    filters = ec2._parse_filters(p)
    fields: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        "network-interface-id": lambda i: [i["NetworkInterfaceId"]],
        "subnet-id": lambda i: [i["SubnetId"]],
        "vpc-id": lambda i: [i["VpcId"]],
        "status": lambda i: [i["Status"]],
        "description": lambda i: [i["Description"]],
        "group-id": lambda i: [group["GroupId"] for group in i["Groups"]],
    }
    if refused := _refuse_filters(filters, set(fields)):
        return refused
    for interface_id in wanted:
        if interface_id not in ec2._network_interfaces:
            message = f"The networkInterface ID '{interface_id}' does not exist"
            return _error("InvalidNetworkInterfaceID.NotFound", message)
    items = "".join(
        ec2._eni_fields_xml(interface)
        for interface in ec2._network_interfaces.values()
        if (not wanted or interface["NetworkInterfaceId"] in wanted)
        and ec2._resource_matches_tag_filters(interface["NetworkInterfaceId"], filters)
        and all(set(fields[n](interface)) & set(v) for n, v in filters.items() if n in fields)
    )
    return ec2._xml(200, "DescribeNetworkInterfacesResponse", f"<networkInterfaceSet>{items}</networkInterfaceSet>")


def _tag_interfaces() -> None:
    """MiniStack drops the tags of CreateNetworkInterface."""
    create: Action = ec2._ACTION_MAP["CreateNetworkInterface"]

    def create_network_interface(p: Parameters) -> Response:
        response = create(p)
        if interface_id := _created(response, "networkInterfaceId"):
            ec2._parse_tag_specs(p, "network-interface", interface_id)
        return response

    ec2._ACTION_MAP["CreateNetworkInterface"] = create_network_interface


def _interfaces_of_nat_gateways() -> None:
    """A NAT gateway has one, described so (public dumps of accounts have it word for word)."""
    create, delete = (ec2._ACTION_MAP["CreateNatGateway"], ec2._ACTION_MAP["DeleteNatGateway"])
    interfaces: dict[str, str] = {}

    def create_nat_gateway(p: Parameters) -> Response:
        response = create(p)
        if nat_id := _created(response, "natGatewayId"):
            subnet_id = ec2._p(p, "SubnetId")
            interfaces[nat_id] = create_interface(subnet_id, [], f"Interface for NAT Gateway {nat_id}", {})
        return response

    def delete_nat_gateway(p: Parameters) -> Response:
        delete_interface(interfaces.pop(ec2._p(p, "NatGatewayId"), ""))
        return delete(p)

    ec2._ACTION_MAP |= {"CreateNatGateway": create_nat_gateway, "DeleteNatGateway": delete_nat_gateway}


def _filter_endpoints() -> None:
    """MiniStack passes over the filters of DescribeVpcEndpoints."""
    describe: Action = ec2._ACTION_MAP["DescribeVpcEndpoints"]

    def describe_vpc_endpoints(p: Parameters) -> Response:
        filters = ec2._parse_filters(p)
        if refused := _refuse_filters(filters, {"vpc-id"}):
            return refused
        if not filters:
            return describe(p)
        items = "".join(
            ec2._vpce_fields_xml(endpoint)
            for endpoint in ec2._vpc_endpoints.values()
            if endpoint["VpcId"] in filters.get("vpc-id", [endpoint["VpcId"]])
            and ec2._resource_matches_tag_filters(endpoint["VpcEndpointId"], filters)
        )
        return ec2._xml(200, "DescribeVpcEndpointsResponse", f"<vpcEndpointSet>{items}</vpcEndpointSet>")

    ec2._ACTION_MAP["DescribeVpcEndpoints"] = describe_vpc_endpoints


# -- filters and tags --------------------------------------------------------------------------------------------------


def _refuse_filters(filters: dict[str, list[str]], honoured: set[str]) -> Response | None:
    for name in filters:
        if name not in honoured and not name.startswith("tag:") and name not in ("tag-key", "tag-value"):
            return _error("InvalidParameterValue", f"The filter '{name}' is invalid")
    return None


def _check_filters(honoured: set[str]) -> Callable[[Parameters], Response | None]:
    return lambda p: _refuse_filters(ec2._parse_filters(p), honoured)


# The filters of groups by what their rules refer to, and where these rules are kept.
_REFERRING = {"ip-permission.group-id": "IpPermissions", "egress.ip-permission.group-id": "IpPermissionsEgress"}


def _filter_groups(p: Parameters) -> Response | None:
    """MiniStack knows none of these filters: ask by `GroupId.N`, which differs for unknown ids."""
    filters = ec2._parse_filters(p)
    known = [group_id for group_id in filters.get("group-id", []) if group_id in ec2._security_groups]
    for name, stored in _REFERRING.items():
        for group in ec2._security_groups.values():
            if any(rule[-1] in filters.get(name, []) for rule in _single_rules(group[stored])):
                known.append(group["GroupId"])
    if not {"group-id", *_REFERRING} & set(filters):
        return None
    if not known:
        return ec2._xml(200, "DescribeSecurityGroupsResponse", "<securityGroupInfo/>")
    p |= {f"GroupId.{number}": [group_id] for number, group_id in enumerate(known, 1)}
    return None


def _forget_tags(name: str, parameter: str) -> None:
    """A deleted resource has no tags; MiniStack keeps them."""
    action: Action = ec2._ACTION_MAP[name]

    def wrapped(p: Parameters) -> Response:
        response = action(p)
        if response[0] == 200:
            ec2._tags.pop(ec2._p(p, parameter), None)
        return response

    ec2._ACTION_MAP[name] = wrapped


def _tell_no_parts_of_vpcs() -> None:
    """A VPC does not name its main route table, its default group or its network ACL
    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html); MiniStack lets it."""
    render = ec2._vpc_fields_xml

    def vpc_fields_xml(vpc: dict[str, Any], tag: str = "item") -> str:
        parts = ("DefaultNetworkAclId", "DefaultSecurityGroupId", "MainRouteTableId")
        told: str = render({name: value for name, value in vpc.items() if name not in parts}, tag)
        return told

    ec2._vpc_fields_xml = vpc_fields_xml


def describe_subnets(ids: list[str]) -> list[dict[str, Any]]:
    """Subnets as App Runner sees them: public where the route table leads to an internet gateway."""
    found = []
    for subnet in (ec2._subnets[i] for i in ids if i in ec2._subnets):
        tables = [table for table in ec2._route_tables.values() if table["VpcId"] == subnet["VpcId"]]
        own = [t for t in tables if any(a.get("SubnetId") == subnet["SubnetId"] for a in t["Associations"])]
        main = [t for t in tables if any(a.get("Main") for a in t["Associations"])]
        public = any(r.get("GatewayId", "").startswith("igw-") for t in own or main for r in t["Routes"])
        found.append(
            {
                "id": subnet["SubnetId"],
                "vpc": subnet["VpcId"],
                "zone": subnet["AvailabilityZoneId"],
                "public": public,
            }
        )
    return found


def install() -> None:
    _count_addresses()
    _tag_interfaces()
    _tell_no_parts_of_vpcs()
    _interfaces_of_nat_gateways()
    _merge_sources()
    _filter_endpoints()
    ec2._az_id_for_zone_name = _zone_id
    ec2._zone_name_for_az_id = _zone_name
    for subnet in ec2._subnets.all_values():
        subnet["AvailabilityZoneId"] = _zone_id(subnet["AvailabilityZone"])
    ec2._ACTION_MAP["DescribeAvailabilityZones"] = _describe_zones
    ec2._ACTION_MAP["DescribeNetworkInterfaces"] = _describe_interfaces
    for name, honoured in _FILTERS.items():
        _wrap(name, _check_filters(honoured))
    for name, before in {
        "DescribeSecurityGroups": _filter_groups,
        "CreateVpc": _check_vpc,
        "CreateSubnet": _check_subnet,
        "CreateSecurityGroup": _check_group_vpc,
        "AuthorizeSecurityGroupIngress": _check_rules("IpPermissions"),
        "AuthorizeSecurityGroupEgress": _check_rules("IpPermissionsEgress"),
        "RevokeSecurityGroupIngress": _check_revocation("IpPermissions"),
        "RevokeSecurityGroupEgress": _check_revocation("IpPermissionsEgress"),
        "AssociateRouteTable": _check_association,
        "DeleteSecurityGroup": _check_group_unused,
        "DeleteSubnet": _check_subnet_unused,
        "DeleteRouteTable": _check_table_unused,
        "DeleteVpc": _check_vpc_unused,
    }.items():
        _wrap(name, before)
    for name, parameter in {
        "DeleteVpc": "VpcId",
        "DeleteSubnet": "SubnetId",
        "DeleteSecurityGroup": "GroupId",
        "DeleteRouteTable": "RouteTableId",
        "DeleteInternetGateway": "InternetGatewayId",
        "DeleteNetworkInterface": "NetworkInterfaceId",
    }.items():
        _forget_tags(name, parameter)
