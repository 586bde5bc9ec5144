"""IAM: every call is authorised on each resource it touches, with the tags of the request and of the resource.

MiniStack evaluates policies, but on one resource per call, which is often "*", and knows the tags of few services.
What a call touches is said here, and held against AWS's own data (authorization.py): a call that comes to less, or to something
else, is answered with a 500 that says so.

Not restored: service-specific condition keys other than ec2:CreateAction, iam:PassedToService, iam:PermissionsBoundary,
iam:PolicyARN, iam:AWSServiceName, sns:Protocol and dynamodb:LeadingKeys; iam:PassRole to services other than App Runner; what a
state machine needs to write its logs; of DynamoDB, indexes, batches, transactions and PartiQL.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import cloudwatch, dynamodb, ec2, ecr, rds, tagging
from ministack.services import iam as roles
from ministack.services import stepfunctions as states

import authorization
import cbor
from authorization import Context, Disagreement


@dataclass
class Check:
    """One question to IAM: may the caller do this to that?"""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


@dataclass
class Call:
    """One AWS call as it arrived, and what IAM said to it."""

    service: str
    operation: str
    parameters: dict[str, Any]
    region: str
    account: str
    tags: dict[str, str]
    tag_keys: list[str]
    checks: list[Check] = field(default_factory=list)
    principal: str = "root"
    denied: Check | None = None

    @property
    def action(self) -> str:
        return f"{NAMESPACES.get(self.service, self.service)}:{self.operation}"

    def arn(self, service: str, resource: str, region: str | None = None) -> str:
        return f"arn:aws:{service}:{self.region if region is None else region}:{self.account}:{resource}"

    def request_tags(self) -> Context:
        """The condition keys of the tags that the request sets or removes."""
        if not self.tags and not self.tag_keys:
            return {}
        return {f"aws:RequestTag/{key}": value for key, value in self.tags.items()} | {
            "aws:TagKeys": [*self.tags, *self.tag_keys]
        }


NAMESPACES = iam_actions.SERVICE_TO_IAM_NAMESPACE
CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)
_CHECKED: ContextVar[Check | None] = ContextVar("check", default=None)


# -- reading a request -------------------------------------------------------------------------------------------------


def _parameters(headers: dict[str, str], body: bytes, form: dict[str, list[str]]) -> dict[str, Any]:
    """A request's parameters by AWS's names: a JSON or CBOR body as it is, a query form flat (`Tag.1.Key`)."""
    try:
        if "cbor" in headers.get("content-type", ""):
            return cbor.loads(body) if body else {}
        if body[:1] == b"{":
            return json.loads(body)
    except ValueError:
        return {}
    return {key: value[0] if isinstance(value, list) else value for key, value in form.items()}


def _listed(parameters: dict[str, Any], name: str) -> list[str]:
    """A list parameter: JSON's, or a form's `Name.1`, `Name.member.1`, `Name.Member.1`."""
    if isinstance(value := parameters.get(name), list):
        return value
    pattern = re.compile(rf"{name}(?:\.\w+)?\.\d+")
    return [value for key, value in parameters.items() if pattern.fullmatch(key)]


def _request_tags(parameters: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    raw = parameters.get("Tags", parameters.get("tags"))
    tags: dict[str, str] = {}
    if isinstance(raw, dict):
        tags = dict(raw)
    elif isinstance(raw, list) and all(isinstance(tag, dict) for tag in raw):
        tags = {tag.get("Key", tag.get("key")): tag.get("Value", tag.get("value", "")) for tag in raw}
    for key, value in parameters.items():
        if re.fullmatch(r"(?:TagSpecification\.\d+\.)?Tags?(?:\.\w+)?\.\d+\.Key", key):
            tags[value] = parameters.get(key.removesuffix("Key") + "Value", "")
    return tags, [*_listed(parameters, "TagKeys"), *_listed(parameters, "tagKeys")]


def _tag_specifications(parameters: dict[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """EC2's TagSpecification.N: the type of resource and its tags."""
    for key, kind in parameters.items():
        if found := re.fullmatch(r"(TagSpecification\.\d+\.)ResourceType", key):
            specification = {k.removeprefix(found[1]): v for k, v in parameters.items() if k.startswith(found[1])}
            yield kind, _request_tags(specification)[0]


# -- what each service's calls touch -----------------------------------------------------------------------------------

# The resource that an EC2 call creates is authorised as `TYPE/*`, those it names as themselves.
_EC2_CREATES = {
    "CreateVpc": "vpc",
    "CreateSubnet": "subnet",
    "CreateSecurityGroup": "security-group",
    "CreateRouteTable": "route-table",
    "CreateInternetGateway": "internet-gateway",
    "CreateNetworkInterface": "network-interface",
}
_EC2_NAMES = re.compile(
    r"VpcId|SubnetId|GroupId|RouteTableId|InternetGatewayId|NetworkInterfaceId|(?:SecurityGroupId|ResourceId)\.\d+"
)


def _ec2(call: Call) -> Iterator[Check]:
    if call.operation.startswith("Describe"):
        yield Check(call.action, "*")
        return
    specifications = list(_tag_specifications(call.parameters))
    for kind in {_EC2_CREATES.get(call.operation), *(kind for kind, _ in specifications)} - {None}:
        resource = call.arn("ec2", f"{kind}/*")
        tags = next((tags for specified, tags in specifications if specified == kind), {})
        context: Context = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
        if tags:
            context["aws:TagKeys"] = list(tags)
        yield Check(call.action, resource, context)
        # Tagging on creation is authorised as well: "ec2:CreateTags ... with the condition key ec2:CreateAction"
        # (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html).
        if tags:
            yield Check("ec2:CreateTags", resource, context | {"ec2:CreateAction": call.operation})
    # The tags of CreateTags and DeleteTags are the request's; other calls tag only what they create.
    context = call.request_tags() if call.operation in ("CreateTags", "DeleteTags") else {}
    named = [value for key, value in call.parameters.items() if _EC2_NAMES.fullmatch(key)]
    # An association has no ARN: its route table has.
    if association := call.parameters.get("AssociationId"):
        for table in ec2._route_tables.values():
            if any(a["RouteTableAssociationId"] == association for a in table["Associations"]):
                named.append(table["RouteTableId"])
    for identifier in named:
        yield Check(call.action, call.arn("ec2", f"{ec2._guess_resource_type(identifier)}/{identifier}"), context)
    if not named and call.operation not in _EC2_CREATES:
        yield Check(call.action, "*")


def _rds(call: Call) -> Iterator[Check]:
    given = call.parameters
    tags = call.request_tags()

    def check(kind: str, name: str) -> Check:
        return Check(call.action, name if name.startswith("arn:") else call.arn("rds", f"{kind}:{name}"), tags)

    if "ResourceName" in given:
        yield check("db", given["ResourceName"])
    elif "SubnetGroup" in call.operation:
        yield check("subgrp", given.get("DBSubnetGroupName", "*"))
    elif "ParameterGroup" in call.operation:
        yield check("pg", given.get("DBParameterGroupName", "*"))
    elif "Snapshot" in call.operation:
        yield check("snapshot", given.get("DBSnapshotIdentifier", "*"))
        if call.operation == "CreateDBSnapshot":
            yield check("db", given.get("DBInstanceIdentifier", "*"))
    elif "DBInstance" in call.operation and "Orderable" not in call.operation:
        yield check("db", given.get("DBInstanceIdentifier", "*"))
        if source := given.get("SourceDBInstanceIdentifier"):
            yield check("db", source)
            # Where the call names no groups, those that the replica takes: the default ones, and its source's subnet group.
            found = rds._instances.get(source, {})
            yield check("og", f"default:postgres-{found.get('EngineVersion', '17').split('.')[0]}")
            yield check("pg", f"default.postgres{found.get('EngineVersion', '17').split('.')[0]}")
            yield check("subgrp", found.get("DBSubnetGroup", {}).get("DBSubnetGroupName", "default"))
        if call.operation == "DeleteDBInstance" and (snapshot := given.get("FinalDBSnapshotIdentifier")):
            # A final snapshot is authorised like any other, and so are the tags that it copies
            # (https://github.com/aws-solutions/instance-scheduler-on-aws/issues/572).
            taken = call.arn("rds", f"snapshot:{snapshot}")
            yield Check("rds:CreateDBSnapshot", taken, tags)
            yield Check("rds:CreateDBSnapshot", check("db", given["DBInstanceIdentifier"]).resource, tags)
            yield Check("rds:AddTagsToResource", taken, tags)
        if call.operation == "CreateDBInstance":
            # "The policy must also allow the default option group, parameter group and subnet group"
            # (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/security_iam_id-based-policy-examples.html).
            engine = given.get("Engine", "postgres")
            major = given.get("EngineVersion", rds._default_engine_version(engine)).split(".")[0]
            yield check("og", given.get("OptionGroupName", f"default:{engine}-{major}"))
            yield check("pg", given.get("DBParameterGroupName", f"default.{engine}{major}"))
            yield check("subgrp", given.get("DBSubnetGroupName", "default"))
    else:
        yield Check(call.action, "*", tags)


def _ecr(call: Call) -> Iterator[Check]:
    owner = call.parameters.get("registryId") or call.account
    repositories = f"arn:aws:ecr:{call.region}:{owner}:repository"
    if arn := call.parameters.get("resourceArn"):
        yield Check(call.action, arn, call.request_tags())
    elif name := call.parameters.get("repositoryName"):
        yield Check(call.action, f"{repositories}/{name}", call.request_tags())
    elif call.operation == "DescribeRepositories":
        for name in call.parameters.get("repositoryNames") or ["*"]:
            yield Check(call.action, f"{repositories}/{name}")
    else:
        yield Check(call.action, "*")


def _iam(call: Call) -> Iterator[Check]:
    given = call.parameters
    context = call.request_tags()
    if "PolicyArn" in given:
        context["iam:PolicyARN"] = given["PolicyArn"]
    if call.operation == "CreateServiceLinkedRole":
        context["iam:AWSServiceName"] = service = given.get("AWSServiceName", "")
        yield Check(call.action, call.arn("iam", f"role/aws-service-role/{service}/*", region=""), context)
    elif name := given.get("RoleName"):
        # A role's path is part of its ARN; of a role that does not exist IAM knows the name alone.
        path = given.get("Path", "/") if call.operation == "CreateRole" else "/"
        role = roles._roles.get(name)
        boundary = given.get("PermissionsBoundary") or (role or {}).get("PermissionsBoundary")
        if boundary:
            context["iam:PermissionsBoundary"] = boundary
        yield Check(call.action, role["Arn"] if role else call.arn("iam", f"role{path}{name}", region=""), context)
    elif arn := given.get("PolicyArn"):
        yield Check(call.action, arn, context)
    elif name := given.get("PolicyName"):
        yield Check(call.action, call.arn("iam", f"policy{given.get('Path', '/')}{name}", region=""), context)
    else:
        yield Check(call.action, "*", context)


def _logs(call: Call) -> Iterator[Check]:
    # "log-group:NAME:*" in policies for all calls but those that tag
    # (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html).
    context = call.request_tags()
    if arn := call.parameters.get("resourceArn"):
        group = arn.removesuffix(":*")
        yield Check(call.action, group, context)
    elif group := call.parameters.get("logGroupName") or call.parameters.get("logGroupIdentifier"):
        group = group.removesuffix(":*") if group.startswith("arn:") else call.arn("logs", f"log-group:{group}")
        stream = call.parameters.get("logStreamName")
        yield Check(call.action, f"{group}:log-stream:{stream}" if stream else f"{group}:*", context)
    elif call.operation == "DescribeLogGroups":
        yield Check(call.action, "*")
    else:
        yield Check(call.action, "*", context)


def _cloudwatch(call: Call) -> Iterator[Check]:
    given = call.parameters
    tags = call.request_tags()
    names = [given["AlarmName"]] if "AlarmName" in given else _listed(given, "AlarmNames")
    dashboards = [given["DashboardName"]] if "DashboardName" in given else _listed(given, "DashboardNames")
    if "ResourceARN" in given:
        yield Check(call.action, given["ResourceARN"], tags)
    elif names:
        for name in names:
            yield Check(call.action, call.arn("cloudwatch", f"alarm:{name}"), tags)
    elif dashboards:
        for name in dashboards:
            yield Check(call.action, call.arn("cloudwatch", f"dashboard/{name}", region=""), tags)
    elif call.operation == "DescribeAlarms":
        yield Check(call.action, call.arn("cloudwatch", "alarm:*"))
    elif call.operation == "GetMetricData":
        # The only dataset, which every account has (Assumption default-dataset,
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetDataset.html).
        yield Check(call.action, call.arn("cloudwatch", "dataset/default"))
    else:
        yield Check(call.action, "*", tags)


def _sns(call: Call) -> Iterator[Check]:
    given = call.parameters
    arn = given.get("ResourceArn") or given.get("TopicArn") or given.get("TargetArn")
    if not arn and (subscription := given.get("SubscriptionArn")):
        arn = subscription.rsplit(":", 1)[0]  # subscriptions are authorised on their topic
    if not arn and (name := given.get("Name")):
        arn = call.arn("sns", name)
    context = call.request_tags()
    if "Protocol" in given:
        context["sns:Protocol"] = given["Protocol"]
    yield Check(call.action, arn or "*", context)


def _dynamodb(call: Call) -> Iterator[Check]:
    given = call.parameters
    if arn := given.get("ResourceArn"):
        yield Check(call.action, arn, call.request_tags())
    elif name := given.get("TableName"):
        resource = name if name.startswith("arn:") else call.arn("dynamodb", f"table/{name}")
        yield Check(call.action, resource, call.request_tags() | _leading_keys(given))
    else:
        yield Check(call.action, "*")


def _leading_keys(given: dict[str, Any]) -> Context:
    """The partition key of the item or of the query. Which actions have it AWS's data say: Scan has not
    (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html)."""
    table = dynamodb._tables.get(given["TableName"].rpartition("/")[2])
    if table is None:
        return {}
    name = table["pk_name"]
    item = given.get("Key") or given.get("Item")
    value = item.get(name) if item else _queried_key(given, name)
    return {"dynamodb:LeadingKeys": list(value.values())} if value else {}


def _queried_key(given: dict[str, Any], name: str) -> dict[str, str] | None:
    value: dict[str, str] | None = dynamodb._key_condition_av(
        given.get("KeyConditionExpression"),
        given.get("KeyConditions"),
        given.get("ExpressionAttributeValues") or {},
        given.get("ExpressionAttributeNames") or {},
        name,
    )
    return value


SERVICES: dict[str, Callable[[Call], Iterator[Check]]] = {
    "dynamodb": _dynamodb,
    "ec2": _ec2,
    "rds": _rds,
    "ecr": _ecr,
    "iam": _iam,
    "logs": _logs,
    "monitoring": _cloudwatch,
    "sns": _sns,
}


# -- what calls imply --------------------------------------------------------------------------------------------------

# Actions that AWS's data list for an operation, and that its parameters here never ask for.
_NOT_ASKED_FOR = {
    # Of the service that replicates a table to other accounts
    # (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/globaltables_MA_security.html).
    "dynamodb:DeleteItem": ("dynamodb:WriteDataForReplication",),
    "dynamodb:DescribeTable": ("dynamodb:ReadDataForReplication", "dynamodb:ReplicateSettings"),
    "dynamodb:GetItem": ("dynamodb:ReadDataForReplication",),
    "dynamodb:PutItem": ("dynamodb:WriteDataForReplication",),
    "ecr:BatchGetImage": ("ecr:BatchImportUpstreamImage", "ecr:CreateRepository", "ecr:TagResource"),  # a pull-through cache
    "ecr:GetDownloadUrlForLayer": ("ecr:BatchImportUpstreamImage",),
    "iam:CreateServiceLinkedRole": ("iam:PutRolePolicy",),  # IAM's own policy of the role
    "cloudwatch:ListTagsForResource": ("oam:ListTagsForResource",),  # a sink or a link of Observability Access Manager
    "cloudwatch:TagResource": ("oam:TagResource",),
    "rds:CreateDBInstance": ("rds:CreateTenantDatabase", "iam:PassRole"),  # of Oracle; a role for monitoring or a domain
    "logs:FilterLogEvents": ("logs:Unmask",),  # with "unmask": true alone (CloudWatch Logs API reference, FilterLogEvents)
    "rds:CreateDBInstanceReadReplica": ("rds:CreateTenantDatabase", "iam:PassRole"),
    "rds:DeleteDBInstance": ("rds:DeleteTenantDatabase", "rds:AddTagsToResource", "rds:CreateDBSnapshot"),  # see _rds
    "rds:ModifyDBInstance": ("rds:AddTagsToResource", "iam:PassRole"),
    "rds:StopDBInstance": ("rds:AddTagsToResource", "rds:CreateDBSnapshot"),  # a snapshot before it stops
    "secretsmanager:CreateSecret": ("secretsmanager:ReplicateSecretToRegions",),
    "sns:CreateTopic": ("sns:PutDataProtectionPolicy", "iam:PassRole"),
    "sns:Subscribe": ("iam:PassRole",),  # of a Firehose stream
    "states:StartExecution": ("states:DescribeExecution",),  # Assumption start-without-describe
}
# Types that AWS's data require for an action, and that no call here names.
_NOT_NAMED = {
    "rds:CreateDBInstanceReadReplica": {"cluster"},  # a replica of an instance has none
    # An execution is of one sort or the other, and is started by a state machine or a Map state.
    "states:DescribeExecution": {"express"},
    "states:ListExecutions": {"maprun"},
}
# The first call in an account makes the role that the service itself works with
# (https://docs.aws.amazon.com/apprunner/latest/dg/using-service-linked-roles.html,
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAM.ServiceLinkedRoles.html).
LINKED_ROLES = {
    "apprunner:CreateService": ("apprunner.amazonaws.com", "AWSServiceRoleForAppRunner"),
    "apprunner:CreateVpcConnector": ("networking.apprunner.amazonaws.com", "AWSServiceRoleForAppRunnerNetworking"),
    "rds:CreateDBInstance": ("rds.amazonaws.com", "AWSServiceRoleForRDS"),
}


def _implied(call: Call) -> Iterator[Check]:
    """What a caller must be allowed besides the call itself."""
    first = call.checks[0].resource.removesuffix(":*")
    played = {check.action for check in call.checks}
    for action in authorization.also_authorised_as(call.action):
        if action in played or action in _NOT_ASKED_FOR.get(call.action, ()):
            continue
        if re.search("Tag(Resource|Role|Policy|LogGroup)|Tags", action):
            if call.tags:
                yield Check(action, first, call.request_tags())
        elif action == "apprunner:DisassociateCustomDomain":
            yield Check(action, first)
        elif action != "iam:PassRole":  # a call that passes no role
            raise Disagreement(f"AWS authorises {call.action} as {action}, too")
    if linked := LINKED_ROLES.get(call.action):
        service, name = linked
        if name not in roles._roles:
            resource = call.arn("iam", f"role/aws-service-role/{service}/{name}", region="")
            yield Check("iam:CreateServiceLinkedRole", resource, {"iam:AWSServiceName": service})


def _make_linked_role(call: Call) -> None:
    if (linked := LINKED_ROLES.get(call.action)) and linked[1] not in roles._roles:
        _create_linked_role(*linked)


def _create_linked_role(service: str, name: str) -> None:
    if name not in roles._roles:
        principal = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [principal]})
        path = f"/aws-service-role/{service}/"
        roles._create_role({"RoleName": name, "Path": path, "AssumeRolePolicyDocument": trust})


# -- tags of existing resources ----------------------------------------------------------------------------------------


def _ec2_tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    account, region = tagging._account(), tagging.get_region()
    for identifier, tags in ec2._tags.items():
        yield f"arn:aws:ec2:{region}:{account}:{ec2._guess_resource_type(identifier)}/{identifier}", tags


def _log_group_tags() -> Iterator[tuple[str, list[dict[str, str]]]]:
    from ministack.services import cloudwatch_logs

    for group in list(cloudwatch_logs._log_groups.values()):
        tags = [{"Key": key, "Value": value} for key, value in group["tags"].items()]
        arn = group["arn"].removesuffix(":*")
        yield from ((arn, tags), (f"{arn}:*", tags))


def _listed_tags(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


TAGS = {
    "ec2": _ec2_tags,
    "ecr": lambda: ((r["repositoryArn"], r.get("tags", [])) for r in ecr._repositories.values()),
    "rds": lambda: rds._tags.items(),
    "logs": _log_group_tags,
    "cloudwatch": lambda: ((arn, _listed_tags(tags)) for arn, tags in cloudwatch._resource_tags.items()),
    "states": lambda: (
        (arn, [{"Key": t["key"], "Value": t["value"]} for t in tags]) for arn, tags in states._tags.items()
    ),
}


# -- patches -----------------------------------------------------------------------------------------------------------


def role_may(role_arn: str, check: Check) -> bool:
    """Whether a role that a service works with (a state machine's) may do this: it makes no signed call here."""
    account, name = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    supplied = authorization.supplied(check.action, check.resource, check.context)
    context: Context = {key.lower(): value for key, value in supplied.items()}
    _CHECKED.set(check)
    for key, value in (tagging.resource_tags(check.resource) or {}).items():
        context[f"aws:resourcetag/{key}".lower()] = value
    result = iam_evaluator.evaluate(
        iam_evaluator.EvalContext(
            principal_arn=role_arn,
            principal_type="AssumedRole",
            principal_account=account,
            action=check.action,
            resource_arn=check.resource,
            region=tagging.get_region(),
            service_context={"aws:tagkeys": None} | context,
        ),
        iam_evaluator._gather_role_policies(name, account),
        *iam_evaluator._permissions_boundary(roles._roles, name, account),
    )
    return result.decision == "Allow"


def service_may(policy: Any, service: str, action: str, resource: str, keys: Context) -> bool:
    """Whether the policy of a resource lets an AWS service do this, which sends these condition keys along. The principal `*` is
    any, services included."""
    context = iam_evaluator.EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action=action,
        resource_arn=resource,
        region=tagging.get_region(),
        service_context={key.lower(): value for key, value in keys.items()},
    )
    return bool(iam_evaluator.evaluate_resource_policy(policy, context, service=service).decision == "Allow")


def service_may_assume(role_arn: str, service: str, source_arn: str) -> bool:
    """Whether the trust policy of a role lets an AWS service assume it for one of its resources."""
    role = roles._roles.get(role_arn.rsplit("/", 1)[-1])
    if role is None or role["Arn"] != role_arn:
        return False
    trust = role["AssumeRolePolicyDocument"]
    statements = (json.loads(trust) if isinstance(trust, str) else trust).get("Statement", [])
    statements = statements if isinstance(statements, list) else [statements]
    document = {"Statement": [{**statement, "Resource": "*"} for statement in statements]}
    keys: Context = {"aws:SourceArn": source_arn, "aws:SourceAccount": tagging._account()}
    return service_may(document, service, "sts:AssumeRole", role_arn, keys)


def principal_name(access_key: str) -> str:
    """The name of the calling role or user, `root` for the account itself."""
    arn = (iam_evaluator.resolve_caller_identity(access_key) or {}).get("userArn", "")
    if ":assumed-role/" in arn:
        return arn.split("/")[1]
    return arn.rsplit("/", 1)[-1] if ":user/" in arn else "root"


def _remember_calls() -> None:
    """Read each request once, before MiniStack asks whether it is allowed."""
    extract = iam_actions.extract_iam_action

    def extract_iam_action(service, method, path, headers, body, form):  # type: ignore[no-untyped-def]
        action = extract(service, method, path, headers, body, form)
        # smithy-rpc-v2-cbor names the operation in the path, where MiniStack does not look for it.
        if action is None and service in NAMESPACES and (found := re.search(r"/operation/(\w+)$", path)):
            action = f"{NAMESPACES[service]}:{found[1]}"
        if action:
            parameters = _parameters(headers, body, form)
            region, account = tagging.get_region(), tagging._account()
            call = Call(service, action.split(":")[1], parameters, region, account, *_request_tags(parameters))
            call.checks = list(SERVICES[service](call)) if service in SERVICES else []
            CURRENT.set(call)
        return action

    iam_actions.extract_iam_action = extract_iam_action


def _know_the_resource() -> None:
    """MiniStack takes every body for text, which CBOR is not."""
    extract = iam_actions.extract_resource_arn

    def extract_resource_arn(*request):  # type: ignore[no-untyped-def]
        call = CURRENT.get()
        return call.checks[0].resource if call and call.checks else extract(*request)

    iam_actions.extract_resource_arn = extract_resource_arn


def _check_each_resource() -> None:
    """Allow a call only if every check of it is allowed."""
    enforce_one = iam_evaluator.enforce

    def enforce(access_key, action, service, region, resource_arn="*", service_context=None):  # type: ignore[no-untyped-def]
        call = CURRENT.get()
        if call is None:
            return enforce_one(access_key, action, service, region, resource_arn, service_context)
        call.principal = principal_name(access_key)
        call.checks = call.checks or [Check(action, resource_arn, (service_context or {}) | call.request_tags())]
        if call.principal == "root":
            return enforce_one(access_key, action, service, region, resource_arn, service_context)
        call.checks += _implied(call)
        _agree(call)
        for check in call.checks:
            _CHECKED.set(check)
            tags = {f"aws:ResourceTag/{key}": value for key, value in (tagging.resource_tags(check.resource) or {}).items()}
            check.context = authorization.supplied(check.action, check.resource, tags | check.context)
            if denied := enforce_one(access_key, check.action, service, region, check.resource, check.context):
                call.denied = check
                return denied
        _make_linked_role(call)
        return None

    iam_evaluator.enforce = enforce


def _agree(call: Call) -> None:
    """Hold the checks of a call against the types of resources on which AWS authorises it."""
    touched: dict[str, set[str]] = {}
    for check in call.checks:
        type_ = authorization.action(check.action).type_of(check.resource)
        touched.setdefault(check.action, set()).add(type_.name if type_ else "*")
    for action, types in touched.items():
        if left := authorization.required_types(action) - types - _NOT_NAMED.get(action, set()):
            raise Disagreement(f"AWS authorises {action} on {', '.join(sorted(left))}, too")


def _supply_tags_as_aws_does() -> None:
    """The tags of a resource are condition keys of those actions only for which AWS's data list them."""
    read = tagging.resource_tags

    def resource_tags(arn: str) -> dict[str, str] | None:
        check = _CHECKED.get()
        if check and check.resource == arn:
            action = authorization.action(check.action)
            if not action.supplies("aws:ResourceTag/", action.type_of(arn)):
                return None
        tags: dict[str, str] | None = read(arn)
        return tags

    tagging.resource_tags = resource_tags


def _name_what_was_denied() -> None:
    """AWS's message names the action and the resource that was denied, not only the call. DynamoDB's status is 400."""
    respond = iam_actions.access_denied_response

    def access_denied_response(service, action, principal, request_id, **options):  # type: ignore[no-untyped-def]
        if (call := CURRENT.get()) and (denied := call.denied):
            explicit = options.get("explicit_deny", False)
            message = iam_actions.identity_denial_message(denied.action, principal, denied.resource, explicit)
            action, options = denied.action, options | {"message": message, "resource_arn": denied.resource}
        response = respond(service, action, principal, request_id, **options)
        # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html, which has it below 400.
        return (400, *response[1:]) if service == "dynamodb" else response

    iam_actions.access_denied_response = access_denied_response


def _name_linked_roles() -> None:
    """MiniStack makes their names up, and refuses a second one with another code than AWS
    (https://github.com/lgallard/terraform-aws-elasticsearch/issues/5)."""
    names = dict(LINKED_ROLES.values())
    create: Callable[[Any], Any] = roles._IAM_HANDLERS["CreateServiceLinkedRole"]

    def create_service_linked_role(p):  # type: ignore[no-untyped-def]
        service = roles._p(p, "AWSServiceName")
        name = names.get(service)
        if name is None:
            return create(p)
        if name in roles._roles:
            message = f"Service role name {name} has been taken in this account, please try a different suffix."
            return roles._error(400, "InvalidInput", message, ns="iam")
        _create_linked_role(service, name)
        role = roles._role_xml(name)
        result = f"<CreateServiceLinkedRoleResult><Role>{role}</Role></CreateServiceLinkedRoleResult>"
        return roles._xml(200, "CreateServiceLinkedRoleResponse", result, ns="iam")

    roles._IAM_HANDLERS["CreateServiceLinkedRole"] = create_service_linked_role


def _policies_linger() -> None:
    """A role is refused to be deleted once more right after a policy of it was removed: IAM is eventually consistent, and
    terraform-provider-aws repeats the call (internal/service/iam/role.go). The words:
    https://github.com/aws-controllers-k8s/community/issues/1910, https://github.com/99designs/iamy/pull/68."""
    lingering: set[str] = set()
    for operation in ("DeleteRolePolicy", "DetachRolePolicy"):
        remove = roles._IAM_HANDLERS[operation]

        def removed(p, remove=remove):  # type: ignore[no-untyped-def]
            response = remove(p)
            if response[0] == 200:
                lingering.add(roles._p(p, "RoleName"))
            return response

        roles._IAM_HANDLERS[operation] = removed
    delete = roles._IAM_HANDLERS["DeleteRole"]

    def delete_role(p):  # type: ignore[no-untyped-def]
        name = roles._p(p, "RoleName")
        role = roles._roles.get(name, {})
        if name in lingering or (role.get("InlinePolicies") and not role.get("AttachedPolicies")):
            lingering.discard(name)
            message = "Cannot delete entity, must delete policies first."
            return roles._error(409, "DeleteConflict", message, ns="iam")
        response = delete(p)
        if response[0] == 409 and any(name in profile["Roles"] for profile in roles._instance_profiles.values()):
            message = "Cannot delete entity, must remove roles from instance profile first."
            return roles._error(409, "DeleteConflict", message, ns="iam")
        return response

    roles._IAM_HANDLERS["DeleteRole"] = delete_role


def _remember_when_roles_were_made() -> None:
    """IAM is eventually consistent: App Runner refuses a role that is some seconds old, so its age must be known."""
    create_role = roles._IAM_HANDLERS["CreateRole"]

    def create(p):  # type: ignore[no-untyped-def]
        response = create_role(p)
        if response[0] == 200:
            roles._roles[roles._p(p, "RoleName")]["_created"] = time.time()
        return response

    roles._IAM_HANDLERS["CreateRole"] = create


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: "IAM doesn't count white space".
_INLINE_POLICIES = 10_240


def _limit_inline_policies() -> None:
    """The inline policies of a role together. The message is the one that people report."""
    put_role_policy = roles._IAM_HANDLERS["PutRolePolicy"]

    def put(p):  # type: ignore[no-untyped-def]
        name = roles._p(p, "RoleName")
        policies = (roles._roles.get(name) or {}).get("InlinePolicies") or {}
        all_of_them = {**policies, roles._p(p, "PolicyName"): roles._p(p, "PolicyDocument")}
        texts = (text if isinstance(text, str) else json.dumps(text) for text in all_of_them.values())
        if sum(len(re.sub(r"\s", "", text)) for text in texts) > _INLINE_POLICIES:
            message = f"Maximum policy size of {_INLINE_POLICIES} bytes exceeded for role {name}"
            return roles._error(409, "LimitExceeded", message, ns="iam")
        return put_role_policy(p)

    roles._IAM_HANDLERS["PutRolePolicy"] = put


def install() -> None:
    tagging._RESOURCE_TAG_COLLECTORS.update(TAGS)
    _supply_tags_as_aws_does()
    _remember_calls()
    _know_the_resource()
    _check_each_resource()
    _name_what_was_denied()
    _name_linked_roles()
    _remember_when_roles_were_made()
    _policies_linger()
    _limit_inline_policies()
