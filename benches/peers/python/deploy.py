"""The job of functions/deploy when an execution begins: it compares what a service should run with what it runs, and claims
the service for the difference, unless somebody else is quicker. What comes of a claim, of a wish of a person, of a refused
image and of what an earlier version has left in tags is not part of the job."""

import datetime
import functools
import hashlib
import json
import logging
import os
import re
import time

import boto3
import urllib3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError

from services import (
    HOLD,
    IMAGE_TAG,
    IMAGES,
    INDEXES,
    are_ours,
    covers,
    foreign_media_type,
    image_of,
    version,
)

logger = logging.getLogger()
logger.setLevel(logging.INFO)

# What fails is repeated by the state machine, which looks again before it acts.
once = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
apprunner = boto3.client("apprunner", config=once)
dynamodb = boto3.client("dynamodb", config=once)
ecr = boto3.client("ecr", config=once)
secretsmanager = boto3.client("secretsmanager", config=once)
https = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=10))

PLATFORM = "linux/amd64"
SEVERITIES = ["LOW", "MEDIUM", "HIGH", "CRITICAL"]
SCAN_SECONDS = 600
INSTALLATION = "groundcrew:installation"
POLICY = "groundcrew:deploy-policy"
BAD = ("failed", "rolled-back", "left")

SERVICE = re.compile(
    r"(arn:aws[a-z-]*:apprunner:[a-z0-9-]+:[0-9]{12}:service/[A-Za-z0-9][A-Za-z0-9_-]{3,39}/[0-9a-f]{32}"
    r"|[A-Za-z0-9][A-Za-z0-9_-]{3,39})"
)
EXECUTION = re.compile(r"[A-Za-z0-9+=._:/@-]{1,60}")


class Invalid(Exception):
    """The input is refused."""


class Conflict(Exception):
    """The service is not one of ours."""


class Busy(Exception):
    """The service is in an operation."""


class NotReady(Exception):
    """To be asked again."""


class Failed(Exception):
    """AWS has something else than it should have."""


def handler(event, _context):
    if event.get("action") != "assess":
        raise Invalid(f"{event.get('action')!r} is not part of the job")
    return assess(event["request"], event["execution"])


def assess(request, execution):
    check(request, execution)
    service, tags = look(request["service"])
    if service is None:
        return nothing("there is no such service (any more)")
    if not are_ours(tags):
        raise Conflict(f"service {service['ServiceName']} exists without the tags of this stack")
    if tags.get(INSTALLATION) != os.environ["DEPLOY_STATE_MACHINE"]:
        raise NotImplementedError("another installation is not part of the job")
    item = remembered(service["ServiceArn"])
    memory = item["remembered"]
    if memory.get("claim") or memory.get("wish"):
        raise NotImplementedError("what became of a claim or a wish is not part of the job")
    orders = orders_of(memory, tags)
    reason = obstacle(service, orders["held"])
    if reason:
        return nothing(reason)
    return decide_and_claim(service, tags, item, orders, request, execution)


def remembered(arn):
    """What the table holds of the service: its item, as Python has it."""
    found = dynamodb.get_item(
        TableName=os.environ["MEMORY"],
        Key={"kind": {"S": "deployments"}, "subject": {"S": arn}},
        ConsistentRead=True,
    )
    if "Item" not in found:
        raise NotImplementedError("what an earlier version has left in tags is not part of the job")
    return TypeDeserializer().deserialize({"M": found["Item"]})


def orders_of(memory, tags):
    """What a person has set; of a tag that is not there, what it said when it was last seen."""
    before = memory.get("orders", {})
    return {
        "rule": tags.get(IMAGE_TAG, before.get("rule")),
        "policy": tags.get(POLICY, before.get("policy")),
        "held": before.get("held", False) or tags.get(HOLD) == "true",
    }


def check(request, execution):
    unknown = set(request) - {"service", "cause", "pushed"}
    if unknown:
        raise Invalid(f"{', '.join(sorted(unknown))}: not part of the job")
    service, cause = request.get("service"), request.get("cause")
    if not isinstance(service, str) or not SERVICE.fullmatch(service):
        raise Invalid(f"service: {service!r} is not the name of an App Runner service, or its ARN")
    if cause is not None and (not isinstance(cause, str) or len(cause) > 256):
        raise Invalid(f"cause: {cause!r} is not a text of 256 characters at most")
    if not EXECUTION.fullmatch(execution):
        raise Invalid(f"name of the execution: {execution!r} does not fit into a tag")


def look(service):
    arn = service if service.startswith("arn:") else find(service)
    if arn is None:
        return None, {}
    try:
        described = apprunner.describe_service(ServiceArn=arn)["Service"]
        if described["Status"] == "DELETED":
            return None, {}
        return described, tags_of(arn)
    except apprunner.exceptions.ResourceNotFoundException:
        return None, {}


def find(name):
    for page in pages(apprunner.list_services, "ServiceSummaryList"):
        for service in page:
            if service["ServiceName"] == name and service["Status"] != "DELETED":
                return service["ServiceArn"]
    return None


def pages(call, field, **arguments):
    """App Runner has no paginators in boto3."""
    while True:
        page = call(**arguments)
        yield page[field]
        if not page.get("NextToken"):
            return
        arguments["NextToken"] = page["NextToken"]


def tags_of(arn):
    tags = apprunner.list_tags_for_resource(ResourceArn=arn)["Tags"]
    return {tag["Key"]: tag["Value"] for tag in tags}


def obstacle(service, held):
    if held:
        return "it is held; start deploy with hold: false to go on"
    match service["Status"]:
        case "RUNNING":
            return None
        case "PAUSED":
            return "it is paused, and is looked at again when it wakes"
        case "OPERATION_IN_PROGRESS":
            raise Busy(f"apprunner:DescribeService: service {service['ServiceName']} is in an operation")
        case status:
            return f"it is {status}; start provision with its spec to repair it"


def nothing(reason):
    logger.info("nothing to do: %s", reason)
    return {
        "verdict": "nothing",
        "reason": reason,
        "deployment": None,
        "notification": None,
        "outcome": "Nothing",
        "look_again": False,
    }


def decide_and_claim(service, tags, item, orders, request, execution):
    memory = item["remembered"]
    policy = parse_policy(orders["policy"] or "")
    image = image_of(service)
    images = list(pushed(image)) if image else []
    secrets = fingerprint(current_secrets(service))
    by_hand = request.get("cause") is None
    rule = image and (orders["rule"] or image["tag"])
    candidate, reason = newer_image(rule, memory, image, images)
    running = image["digest"] if image else None
    if candidate:
        objection = object_to(image, candidate, policy)
        if objection:
            raise NotImplementedError(f"a refused image is not part of the job: {objection}")
        kind, digest, tag = "image", candidate["digest"], candidate["tag"]
    elif secrets is None or memory.get("delivered_secrets") == secrets:
        return nothing(reason)
    elif memory.get("rejected_secrets") == secrets and not by_hand:
        return nothing(
            f"{reason}; the current secrets could not be deployed before and wait for newer ones"
        )
    else:
        kind, digest, tag = "secrets", running, None
    previous = running if running != digest else None
    wanted = {"kind": kind, "digest": digest, "tag": tag, "previous": previous, "secrets": secrets}
    orders["held"] = memory.get("orders", {}).get("held", False)
    claim(service, tags, item, orders, {"execution": execution, **wanted})


def parse_policy(tag):
    policy = {"bake": 25, "findings": None, "unscanned": "deploy"}
    for part in tag.split():
        name, _, value = part.partition("=")
        if name == "bake" and value.isdigit() and int(value) <= 240:
            policy["bake"] = int(value)
        elif name == "findings" and value == "none":
            policy["findings"] = None
        elif name == "findings" and value.upper() in SEVERITIES:
            policy["findings"] = value.upper()
        elif name == "unscanned" and value in ("deploy", "refuse"):
            policy["unscanned"] = value
        else:
            raise Failed(f"the tag {POLICY} says {part!r}")
    return policy


def pushed(image):
    """The images of a repository."""
    found = ecr.get_paginator("describe_images").paginate(
        registryId=image["account"],
        repositoryName=image["name"],
        PaginationConfig={"PageSize": 1000},
    )
    for page in found:
        for held in page["imageDetails"]:
            manifest, artifact = held.get("imageManifestMediaType"), held.get("artifactMediaType")
            if not foreign_media_type(manifest, artifact):
                yield {
                    "digest": held["imageDigest"],
                    "tags": held.get("imageTags", []),
                    "at": int(held["imagePushedAt"].timestamp()) if "imagePushedAt" in held else 0,
                }


def current_secrets(service):
    """The secrets whose current version a service reads: ARN, ARN:json-key, or ARN:json-key:version-stage:version-id."""
    repository = service.get("SourceConfiguration", {}).get("ImageRepository", {})
    secrets = repository.get("ImageConfiguration", {}).get("RuntimeEnvironmentSecrets", {})
    found = set()
    for value in secrets.values():
        parts = value.split(":")
        if len(parts) < 7 or parts[2] != "secretsmanager" or parts[5] != "secret":
            continue
        stage, version_id = (parts[8:] + ["", ""])[:2]
        if stage in ("", "AWSCURRENT") and not version_id:
            found.add(":".join(parts[:7]))
    return sorted(found)


def fingerprint(arns):
    """Made of ARNs and version ids; no value is read."""
    if not arns:
        return None
    lines = "".join(f"{arn} {current_version(arn)}\n" for arn in arns)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def current_version(arn):
    try:
        versions = secretsmanager.describe_secret(SecretId=arn).get("VersionIdsToStages", {})
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 or is_throttled(error):
            raise
        return ""
    return next((id for id, stages in versions.items() if "AWSCURRENT" in stages), "")


def is_throttled(error):
    return error.response["Error"]["Code"] in ("ThrottlingException", "TooManyRequestsException")


def newer_image(rule, memory, image, images):
    """The image that the rule wants instead of the running one, or why there is none: of those that were not rejected, the
    one that the rule chooses, if it goes forward from what runs."""
    if not rule:
        return None, "the service tracks no image"
    candidates = [found for held in images if (found := candidate_of(rule, held))]
    if not candidates:
        return None, "the repository has no image under the service's tag rule"
    choose = functools.partial(max, key=functools.partial(order, rule), default=None)
    open_images = (open_tags(rule, memory, image, held) for held in images)
    best = choose([found for held in open_images if (found := candidate_of(rule, held))])
    running = running_candidate(rule, image["digest"], images, memory.get("releases", []))
    if best and best["digest"] != image["digest"] and (not running or goes_forward(rule, running, best)):
        return best, None
    newest = choose(candidates)
    digest, tag = newest["digest"], newest["tag"]
    if digest == image["digest"]:
        return None, f"it runs the newest image, {tag}"
    if is_rejected(rule, memory, newest):
        return None, f"the newest image, {tag}, was rejected before, and a newer one is waited for"
    if running:
        return None, f"what it runs, {running['tag']}, is newer than all that the repository holds"
    return None, "no image of the repository may be deployed by itself"


def open_tags(rule, memory, image, held):
    """An image with those of its tags under which it may be deployed by itself."""
    if held["digest"] == image["digest"]:
        return held
    tags = [tag for tag in held["tags"] if not is_rejected(rule, memory, {**held, "tag": tag})]
    return {**held, "tags": tags}


def is_rejected(rule, memory, candidate):
    """Under a tag that the rule prefers it is tried once more."""

    def is_it(rejection):
        if rejection["digest"] != candidate["digest"]:
            return False
        tag = rejection.get("tag")
        if tag is None or tag == candidate["tag"] or not covers(rule, candidate["tag"]):
            return True
        return order(rule, candidate) <= order(rule, {**candidate, "tag": tag})

    return any(is_it(rejection) for rejection in rejections(memory))


def rejections(memory):
    """What was rejected, and each image whose last release was not well."""
    yield from memory.get("rejected_images", [])
    seen = set()
    for release in memory.get("releases", []):
        digest = release.get("digest")
        if release.get("of_secrets") or digest is None:
            continue
        if digest not in seen and release["outcome"] in BAD:
            yield {"digest": digest, "tag": release.get("tag")}
        seen.add(digest)


def candidate_of(rule, image):
    covered = [tag for tag in image["tags"] if covers(rule, tag)]
    if not covered:
        return None
    tag = max(covered, key=version if rule.startswith("semver:") else None)
    return {"digest": image["digest"], "tag": tag, "at": image["at"]}


def order(rule, candidate):
    by_version = version(candidate["tag"]) if rule.startswith("semver:") else None
    return by_version or (), candidate["at"], candidate["digest"]


def goes_forward(rule, running, candidate):
    if not rule.startswith(("semver:", "prefix:")) or not covers(rule, running["tag"]):
        return True
    return order(rule, candidate) > order(rule, running)


def running_candidate(rule, digest, images, releases):
    """What runs, as the rule sees it: by its tags, or by the release record once it is deleted."""
    if digest is None:
        return None
    held = next((image for image in images if image["digest"] == digest), None)
    found = held and candidate_of(rule, held)
    if found:
        return found
    recorded = next((release for release in releases if release.get("digest") == digest), None)
    if not recorded or not recorded.get("tag"):
        return None
    recorded_at = datetime.datetime.strptime(recorded["at"], "%Y-%m-%dT%H:%M:%S%z")
    at = held["at"] if held else int(recorded_at.timestamp())
    return {"digest": digest, "tag": recorded["tag"], "at": at}


def object_to(image, candidate, policy):
    """Why the image must not be deployed, or nothing."""
    variants = variants_of(image, candidate["digest"])
    runs = next((digest for platform, digest in variants if platform == PLATFORM), None)
    if runs is None:
        platforms = ", ".join(platform for platform, _ in variants)
        return f"it is built for {platforms}, and App Runner runs {PLATFORM} only"
    if policy["findings"] is None:
        return None
    return gate(image, candidate, policy, runs)


def variants_of(image, digest):
    """An index names the platforms; that of a single image is in its configuration."""
    repository = {"registryId": image["account"], "repositoryName": image["name"]}
    found = ecr.batch_get_image(
        **repository,
        acceptedMediaTypes=[*INDEXES, *IMAGES],
        imageIds=[{"imageDigest": digest}],
    )
    manifests = [held["imageManifest"] for held in found["images"] if "imageManifest" in held]
    if not manifests:
        raise Failed(f"{image['name']}@{digest} is not a container image: push an image there")
    manifest = json.loads(manifests[0])
    if "config" not in manifest:
        entries = [entry for entry in manifest.get("manifests", []) if "platform" in entry]
        return [(platform_of(entry["platform"]), entry["digest"]) for entry in entries]
    layer = ecr.get_download_url_for_layer(**repository, layerDigest=manifest["config"]["digest"])
    configuration = https.request("GET", layer["downloadUrl"])
    if configuration.status != 200:
        raise NotReady(f"the layer's address answered {configuration.status}")
    return [(platform_of(json.loads(configuration.data)), digest)]


def platform_of(platform):
    return f"{platform['os']}/{platform['architecture']}"


def gate(image, candidate, policy, digest):
    """Whether the findings of the scan forbid the deployment."""
    try:
        found = ecr.describe_image_scan_findings(
            registryId=image["account"],
            repositoryName=image["name"],
            imageId={"imageDigest": digest},
            maxResults=1,
        )
        status = found.get("imageScanStatus", {}).get("status", "ECR says nothing of it")
    except ecr.exceptions.ScanNotFoundException:
        found, status = {}, "it was never scanned"
    if status in ("IN_PROGRESS", "PENDING") and time.time() - candidate["at"] <= SCAN_SECONDS:
        raise NotReady(f"the scan of {image['name']}@{candidate['digest']} is not ready yet")
    if status not in ("COMPLETE", "ACTIVE"):
        return None if policy["unscanned"] == "deploy" else f"it has no scan result ({status})"
    refused = SEVERITIES[SEVERITIES.index(policy["findings"]) :]
    counts = found.get("imageScanFindings", {}).get("findingSeverityCounts", {})
    severe = [f"{count} {name}" for name, count in sorted(counts.items()) if name in refused and count]
    return f"its scan found {', '.join(severe)}" if severe else None


def claim(service, tags, item, orders, wanted):
    """Claims the service, unless somebody else has written what is remembered of it since this execution looked."""
    arn, name = service["ServiceArn"], service["ServiceName"]
    try:
        operations = apprunner.list_operations(ServiceArn=arn, MaxResults=20)["OperationSummaryList"]
    except apprunner.exceptions.ResourceNotFoundException:
        operations = []
    newest = operations[0] if operations else None
    if newest and newest["Status"] in ("PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS"):
        raise Busy(f"apprunner:ListOperations: service {name} is in the operation {newest['Id']}")
    if wanted["kind"] == "image" and is_public(service):
        raise NotImplementedError("how a service answers before it is changed is not part of the job")
    then = {
        **item["remembered"],
        "stack": {"app": tags["groundcrew:app"], "environment": tags["groundcrew:environment"]},
        "orders": given(orders),
        "claim": given({**wanted, "sent": True, "after": newest and newest["Id"]}),
    }
    for told in "told_waiting", "told_stuck":
        then.pop(told, None)
    revision = item["revision"]
    try:
        dynamodb.put_item(
            TableName=os.environ["MEMORY"],
            Item=TypeSerializer().serialize({**item, "revision": revision + 1, "remembered": then})["M"],
            ConditionExpression="#revision = :revision",
            ExpressionAttributeNames={"#revision": "revision"},
            ExpressionAttributeValues={":revision": {"N": str(revision)}},
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        lost = "which somebody else has written meanwhile, is not ready yet"
        raise NotReady(f"what is remembered of {arn}, {lost}") from None
    raise NotImplementedError("what comes of a claim is not part of the job")


def is_public(service):
    return service["NetworkConfiguration"]["IngressConfiguration"]["IsPubliclyAccessible"]


def given(values):
    return {name: value for name, value in values.items() if value is not None}
