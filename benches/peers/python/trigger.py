"""The job of functions/trigger for a pushed image: the managed services that it concerns, and one execution of `deploy`
for each. A service that the index does not know is looked at, and not noted. The SDK repeats and slows down what is throttled, which the function in Rust does by itself."""

import hashlib
import json
import logging
import os

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config

from services import IMAGE_TAG, MANAGED, are_ours, covers, foreign_media_type, image_of

logger = logging.getLogger()
logger.setLevel(logging.INFO)

patient = Config(retries={"mode": "adaptive", "total_max_attempts": 8}, connect_timeout=5, read_timeout=20)
tagging = boto3.client("resourcegroupstaggingapi", config=patient)
apprunner = boto3.client("apprunner", config=patient)
sfn = boto3.client("stepfunctions", config=patient)
dynamodb = boto3.client("dynamodb", config=patient)
deserialize = TypeDeserializer().deserialize


class Invalid(Exception):
    """An event that lacks what it must have."""


class Failed(Exception):
    """Services that could not be looked at or started; the others are."""


def handler(event, _context):
    if (text(event, "source"), text(event, "detail-type")) != ("aws.ecr", "ECR Image Action"):
        return not_for_us(f'"{event["detail-type"]}" of {event["source"]}')
    detail = event.get("detail") or {}
    action, result = text(detail, "action-type"), text(detail, "result")
    if (action, result) != ("PUSH", "SUCCESS"):
        return not_for_us(f"{action} of an image, {result}")
    tag = detail.get("image-tag")
    if not tag:
        return not_for_us("a push without a tag")
    foreign = foreign_media_type(detail.get("manifest-media-type"), detail.get("artifact-media-type"))
    if foreign:
        return not_for_us(f"a push of {foreign}, which is not a container image")
    push = {
        "account": text(event, "account"),
        "region": text(event, "region"),
        "name": text(detail, "repository-name"),
        "tag": tag,
        "digest": text(detail, "image-digest"),
        "time": text(event, "time"),
    }
    return fan_out(push)


def text(event, field):
    value = event.get(field)
    if not isinstance(value, str) or not value:
        raise Invalid(f"{field}: {value!r} is not a text")
    return value


def not_for_us(reason):
    logger.info("an event that is not for us: %s", reason)
    return {"not_for_us": reason}


def fan_out(push):
    """The SDK keeps a pace that App Runner does not throttle, so services are looked at one after the other."""
    cause = f"push of {push['name']}:{push['tag']} ({push['digest'][:19]})"
    services = candidates(push)
    started, replays, failures = [], [], []
    for arn, tags in services.items():
        name = arn.split("/")[1]
        try:
            service = describe(arn)
            if service and concerns(push, service, tags):
                (started if start(arn, push, cause) else replays).append(name)
        except Exception as error:
            failures.append(f"{name} ({error})")
    for names in started, replays, failures:
        names.sort()
    logger.info(
        "looked for the services of an event",
        extra={"cause": cause, "services": len(services), "started": started, "replays": replays},
    )
    if failures:
        raise Failed(
            f"{cause}: {len(failures)} of {len(services)} services could not be asked or started: "
            + ", ".join(failures)
        )
    return {"cause": cause, "services": len(services), "started": started, "replays": replays}


def candidates(push):
    """The services that used the repository when they were last looked at, and managed ones that never were."""
    services, index = dict(managed()), dict(uses())
    repository = f"{push['account']}.dkr.ecr.{push['region']}.amazonaws.com/{push['name']}"
    return {
        arn: tags
        for arn, tags in services.items()
        if arn not in index or index[arn].get("repository") == repository
    }


def uses():
    pages = dynamodb.get_paginator("query").paginate(
        TableName=os.environ["MEMORY"],
        ConsistentRead=True,
        KeyConditionExpression="#kind = :kind",
        ExpressionAttributeNames={"#kind": "kind"},
        ExpressionAttributeValues={":kind": {"S": "uses"}},
    )
    for page in pages:
        for item in page["Items"]:
            yield deserialize(item["subject"]), deserialize(item["remembered"])


def managed():
    pages = tagging.get_paginator("get_resources").paginate(
        ResourceTypeFilters=["apprunner:service"],
        TagFilters=[{"Key": MANAGED, "Values": ["true"]}],
        ResourcesPerPage=100,
    )
    for page in pages:
        for resource in page["ResourceTagMappingList"]:
            tags = {tag["Key"]: tag["Value"] for tag in resource["Tags"]}
            if are_ours(tags):
                yield resource["ResourceARN"], tags


def describe(arn):
    """None for a service that is gone; App Runner describes a deleted one for a while."""
    try:
        service = apprunner.describe_service(ServiceArn=arn)["Service"]
    except apprunner.exceptions.ResourceNotFoundException:
        return None
    return service if service["Status"] != "DELETED" else None


def concerns(push, service, tags):
    image = image_of(service)
    if not image or any(image[of] != push[of] for of in ("account", "region", "name")):
        return False
    rule = tags.get(IMAGE_TAG) or image["tag"]
    return bool(rule) and covers(rule, push["tag"])


def start(arn, push, cause):
    """The name is that of the event, so that one that comes twice starts one execution."""
    repository = f"{push['account']}.dkr.ecr.{push['region']}.amazonaws.com/{push['name']}"
    event = f"{arn}\npush {repository}:{push['tag']} {push['digest']}\n{push['time']}"
    name = f"{arn.split('/')[1][:63]}-{hashlib.sha256(event.encode()).hexdigest()[:16]}"
    pushed = {"at": push["time"], "digest": push["digest"], "tag": push["tag"]}
    if len(cause) > 256:
        cause = cause[:255] + "…"
    try:
        sfn.start_execution(
            stateMachineArn=os.environ["DEPLOY_STATE_MACHINE"],
            name=name,
            input=json.dumps({"cause": cause, "pushed": pushed, "service": arn}, ensure_ascii=False),
        )
    except sfn.exceptions.ExecutionAlreadyExists:
        return False
    return True
