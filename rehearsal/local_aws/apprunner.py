"""App Runner: authorised here like every other service, answered by the emulator at APPRUNNER_EMULATOR."""

import asyncio
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ministack import app
from ministack.core import router

import iam
from iam import Call, Check

EMULATOR = os.environ.get("APPRUNNER_EMULATOR", "")
Response = tuple[int, dict[str, str], bytes]

# A created resource is authorised by a pattern over the parts of the ARN that are not known yet.
_CREATES = {
    "CreateService": ("ServiceName", "service/{}/*"),
    "CreateVpcConnector": ("VpcConnectorName", "vpcconnector/{}/*/*"),
    "CreateAutoScalingConfiguration": ("AutoScalingConfigurationName", "autoscalingconfiguration/{}/*/*"),
    "CreateObservabilityConfiguration": ("ObservabilityConfigurationName", "observabilityconfiguration/{}/*/*"),
}
_NAMES = (
    "ServiceArn",
    "VpcConnectorArn",
    "AutoScalingConfigurationArn",
    "ObservabilityConfigurationArn",
    "ResourceArn",
)
_tags: ContextVar[dict[str, list[dict[str, str]]]] = ContextVar("apprunner_tags")


def _send(target: str, body: bytes) -> Response:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": target}
    request = urllib.request.Request(EMULATOR, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as answer:
        status, content = answer.code, answer.read()
    return status, {"Content-Type": "application/x-amz-json-1.0"}, content


def tagged_resources() -> list[dict[str, Any]]:
    """Everything in the emulator that can have tags: `arn` and `tags` of each."""
    with urllib.request.urlopen(f"{EMULATOR}/_local/tags", timeout=60) as answer:
        resources: list[dict[str, Any]] = json.loads(answer.read())["resources"]
    return resources


async def handle_request(
    method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> Response:
    """Forward a call that IAM has allowed."""
    return await asyncio.to_thread(_send, headers["x-amz-target"], body)


def _named(given: dict[str, Any]) -> str | None:
    return next((given[name] for name in _NAMES if given.get(name)), None)


def _referred(operation: str, given: dict[str, Any]) -> Iterator[str]:
    """What a service is made of: optional types of CreateService and UpdateService in AWS's data, so authorised when named."""
    if operation in ("CreateService", "UpdateService"):
        egress = (given.get("NetworkConfiguration") or {}).get("EgressConfiguration") or {}
        observability = given.get("ObservabilityConfiguration") or {}
        source = (given.get("SourceConfiguration") or {}).get("AuthenticationConfiguration") or {}
        named = (
            given.get("AutoScalingConfigurationArn"),
            observability.get("ObservabilityConfigurationArn"),
            egress.get("VpcConnectorArn"),
            source.get("ConnectionArn"),
        )
        yield from filter(None, named)


async def read_tags(target: str, body: bytes) -> None:
    """Ask the emulator for the tags of the resources that a call is about, before IAM needs them."""
    _tags.set({})
    given, operation = json.loads(body or b"{}"), target.removeprefix("AppRunner.")
    named = [] if operation in _CREATES else [_named(given)]
    for arn in filter(None, [*named, *_referred(operation, given)]):
        request = json.dumps({"ResourceArn": arn}).encode()
        status, _, answer = await asyncio.to_thread(_send, "AppRunner.ListTagsForResource", request)
        if status == 200:
            _tags.get()[arn] = json.loads(answer).get("Tags") or []


# Assumption passed-to-service: nobody has seen the service that App Runner passes a role to, so any of these, or none. The Service
# Authorization Reference prints `bullet` for CreateService and UpdateService, AWSAppRunnerFullAccess names `apprunner`, and the
# trust policies name `build` and `tasks`. Four accounts refused a StringEquals with one or two of the last three, and allowed the
# call without it, as if there were no such key. So a policy has to allow all of them.
# (https://docs.aws.amazon.com/service-authorization/latest/reference/list_apprunner.html, table of API operations;
# https://github.com/RoboFinSystems/robosystems/pull/1279)
_PASSED_TO: tuple[dict[str, str], ...] = (
    {},
    {"iam:PassedToService": "apprunner.amazonaws.com"},
    {"iam:PassedToService": "build.apprunner.amazonaws.com"},
    {"iam:PassedToService": "bullet.amazonaws.com"},
    {"iam:PassedToService": "tasks.apprunner.amazonaws.com"},
)


def _passed_roles(given: dict[str, Any]) -> Iterator[str]:
    authentication = (given.get("SourceConfiguration") or {}).get("AuthenticationConfiguration") or {}
    if access := authentication.get("AccessRoleArn"):
        yield access
    if instance := (given.get("InstanceConfiguration") or {}).get("InstanceRoleArn"):
        yield instance


def checks(call: Call) -> Iterator[Check]:
    """What a call touches: the resource and the roles it passes on."""
    given = call.parameters
    if call.operation in _CREATES:
        name, pattern = _CREATES[call.operation]
        yield Check(call.action, call.arn("apprunner", pattern.format(given.get(name, ""))), call.request_tags())
    elif arn := _named(given):
        yield Check(call.action, arn, call.request_tags())
    else:
        yield Check(call.action, "*", call.request_tags())
    for arn in _referred(call.operation, given):
        yield Check(call.action, arn, call.request_tags())
    for role in _passed_roles(given):
        yield from (Check("iam:PassRole", role, dict(passed)) for passed in _PASSED_TO)


def install() -> None:
    app.SERVICE_HANDLERS["apprunner"] = handle_request
    router.SERVICE_PATTERNS["apprunner"] = {"target_prefixes": ["AppRunner."]}
    iam.NAMESPACES["apprunner"] = "apprunner"
    iam.SERVICES["apprunner"] = checks
    iam.TAGS["apprunner"] = lambda: _tags.get({}).items()
