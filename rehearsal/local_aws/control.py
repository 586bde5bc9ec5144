"""What tests and the App Runner emulator ask of the local AWS: `/_local/...`, unsigned, on loopback only."""

import asyncio
import itertools
import json
import math
import os
import re
import time
from collections.abc import Callable
from typing import Any

from ministack import app
from ministack.services import cloudwatch_logs
from ministack.services import iam as roles

import apprunner
import clock
import ec2
import ecr
import eventbridge
import faults
import iam
import lambda_functions
import limits
import metrics
import models
import queues
import rds
import reading
import scans
import scheduler
import sns
import tagging
from models import refuse
from scope import scope

Response = tuple[int, dict[str, str], bytes]
Query = dict[str, list[str]]

# What AWS says when a caller asks too often, and when it fails itself
# (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html,
# https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html,
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html).
_THROTTLED = {
    "ec2": (503, "RequestLimitExceeded"),
    "rds": (400, "Throttling"),
    "iam": (400, "Throttling"),
    "sns": (400, "Throttling"),
    "cloudwatch": (400, "Throttling"),
}
_FAILED = {"dynamodb": (500, "InternalServerError"), "ec2": (500, "InternalError")}

_calls: list[dict[str, Any]] = []
_numbers = itertools.count(1)


# -- the call log and the faults ---------------------------------------------------------------------------------------


def _error_code(headers: dict[str, str], body: bytes) -> str | None:
    """The error code of an answer, in whichever protocol it is."""
    for name, value in headers.items():
        if name.lower() == "x-amzn-errortype":
            return value.split(":")[0]
    text = body.decode("utf-8", "replace")
    found = re.search(r"<Code>([^<]+)</Code>|\"(?:__type|code)\"\s*:\s*\"(?:[^\"#]*#)?([^\"]+)\"", text)
    found = found or re.search(r"__type.([A-Za-z.]+?)(?=.message)", text, re.DOTALL)
    return next((group for group in found.groups() if group), None) if found else None


def _record(call: iam.Call, status: int, error: str | None) -> None:
    _calls.append(
        {
            "n": next(_numbers),
            "at": time.time(),
            "principal": call.principal,
            "service": call.action.split(":")[0],
            "action": call.denied.action if call.denied else call.action,
            "resource": (call.denied or call.checks[0]).resource if call.checks else "*",
            # What else the caller had to be allowed: iam:PassRole, tagging on creation, a service-linked role.
            "implied": sorted({check.action for check in call.checks} - {call.action}),
            "checks": [
                {"action": check.action, "resource": check.resource, "keys": check.context}
                for check in (call.checks if call.principal != "root" else ())
            ],
            "allowed": call.denied is None,
            "status": status,
            "error": error,
        }
    )


def _watch_calls() -> None:
    dispatch = app._dispatch_service_request
    handlers = app.SERVICE_HANDLERS

    async def dispatch_service_request(method, path, headers, body, query, request_id):  # type: ignore[no-untyped-def]
        iam.CURRENT.set(None)
        if (target := headers.get("x-amz-target", "")).startswith("AppRunner."):
            await apprunner.read_tags(target, body)
        status, answer_headers, answer = await dispatch(method, path, headers, body, query, request_id)
        if call := iam.CURRENT.get():
            _record(call, status, _error_code(answer_headers, answer) if status >= 400 else None)
        return status, answer_headers, answer

    def with_faults(handler: Callable[..., Any]) -> Callable[..., Any]:
        """Faults strike behind IAM: a denied call is denied all the same."""

        async def handle(method, path, headers, body, query):  # type: ignore[no-untyped-def]
            call = iam.CURRENT.get()
            service = call.action.split(":")[0] if call else ""
            fault = faults.take(service, call.operation, faults.OF_CALLS) if call else None
            if call and limits.exceeded(service, call.operation):
                return refuse(call, *_THROTTLED.get(service, (400, "ThrottlingException")), headers, "Rate exceeded")
            if fault and fault.kind == "throttle":
                return refuse(call, *_THROTTLED.get(service, (400, "ThrottlingException")), headers, "injected fault")
            if fault and fault.kind == "error":
                return refuse(call, *_FAILED.get(service, (500, "InternalFailure")), headers, "injected fault")
            if fault and fault.kind == "refusal":
                refusal = faults.REFUSALS[fault.refusal]
                return refuse(call, refusal["status"], refusal["code"], headers, refusal["message"])
            answer = await handler(method, path, headers, body, query)
            if fault and fault.kind == "slow":
                await asyncio.sleep(clock.wall(fault.seconds))
            # The call took effect and the caller does not learn it. ASGI cannot drop the connection; SDKs treat a
            # gateway's 504 like a lost answer.
            return (504, {"Content-Type": "text/plain"}, b"") if fault and fault.kind == "timeout-after" else answer

        return handle

    app._dispatch_service_request = dispatch_service_request
    for service, handler in handlers.items():
        handlers[service] = with_faults(handler)


# -- /_local/ ----------------------------------------------------------------------------------------------------------


def _put_event(event: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"id": eventbridge.put(event)}


def _list_events(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"events": list(eventbridge.events)}


def _lose_events(body: dict[str, Any], query: Query) -> dict[str, Any]:
    eventbridge.lose(body["losing"])
    return {}


def _list_messages(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"messages": queues.messages(query["queue"][0])}


def _list_notifications(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"notifications": sns.notifications}


def _list_schedules(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"schedules": scheduler.listed(query.get("from", [None])[0], query.get("until", [None])[0])}


def _fire_schedule(firing: dict[str, Any], query: Query) -> dict[str, Any]:
    scheduler.fire(**firing)
    return {}


def _pass_seven_days(body: dict[str, Any], query: Query) -> dict[str, Any]:
    rds.pass_seven_days(body["instance"], body.get("at"))
    return {}


def _set_quota(body: dict[str, Any], query: Query) -> dict[str, Any]:
    if body["quota"] not in rds.quotas:
        raise ValueError(f"no quota {body['quota']} of RDS is known")
    rds.quotas[body["quota"]] = body["most"]
    return {}


def _remember_deleted_alarm(body: dict[str, Any], query: Query) -> dict[str, Any]:
    tagging.remember_deleted_alarm(body["arn"], body["tags"])
    return {}


def _add_fault(fault: dict[str, Any], query: Query) -> dict[str, Any]:
    if fault["kind"] not in faults.OF_CALLS | faults.OF_RESOURCES | faults.OF_ANSWERS:
        raise ValueError(f"unknown kind of fault {fault['kind']}")
    faults.add(faults.Fault(**fault))
    return {}


def _refuse_calls(body: dict[str, Any], query: Query) -> dict[str, Any]:
    faults.refuse(body["refusal"], body["times"])
    return {}


def _list_faults(body: dict[str, Any], query: Query) -> dict[str, Any]:
    """What has not struck yet: the ids of refusals, and the kinds of all others."""
    return {"faults": faults.waiting()}


def _clear_faults(body: dict[str, Any], query: Query) -> dict[str, Any]:
    faults.clear()
    return {}


def _add_limit(limit: dict[str, Any], query: Query) -> dict[str, Any]:
    limits.add(limits.Limit(**limit))
    return {}


def _clear_limits(body: dict[str, Any], query: Query) -> dict[str, Any]:
    limits.clear()
    return {}


def _list_calls(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"calls": list(_calls)}


def _clear_calls(body: dict[str, Any], query: Query) -> dict[str, Any]:
    """Forget the calls so far, and answer them: whoever keeps them elsewhere misses none."""
    forgotten = list(_calls)
    _calls.clear()
    return {"calls": forgotten}


def _list_resources(body: dict[str, Any], query: Query) -> dict[str, Any]:
    found = tagging.with_tag(query["tag"][0])
    return {"resources": [{"arn": arn, "tags": tags} for arn, tags in sorted(found.items())]}


def _list_invocations(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"invocations": list(lambda_functions.invocations)}


def _describe_run(body: dict[str, Any], query: Query) -> dict[str, Any]:
    """Which local AWS this is."""
    return {"folder": os.environ.get("RUN_DIR", "")}


def _list_unfinished(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"unfinished": sorted(lambda_functions.unfinished)}


def _clear_invocations(body: dict[str, Any], query: Query) -> dict[str, Any]:
    lambda_functions.invocations.clear()
    return {}


def _list_durations(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"durations": [{"call": f"rds:{call}", "seconds": seconds} for call, seconds in rds.SECONDS.items()]}


def _role(body: dict[str, Any], query: Query) -> dict[str, Any]:
    """A role's age and whom it trusts: roles of a template are old."""
    arn = query["arn"][0]
    role = roles._roles.get(arn.rsplit("/", 1)[-1])
    if role is None or role["Arn"] != arn:
        return {"exists": False, "age_seconds": 0, "services": []}
    trust = role["AssumeRolePolicyDocument"]
    statements = (json.loads(trust) if isinstance(trust, str) else trust).get("Statement", [])
    services: list[str] = []
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal", {})
        trusted = principal.get("Service", []) if isinstance(principal, dict) else []
        services += [trusted] if isinstance(trusted, str) else trusted
    return {"exists": True, "age_seconds": clock.age(role.get("_created", 0)), "services": services}


def _image(body: dict[str, Any], query: Query) -> dict[str, Any]:
    with scope(query["account"][0], query["region"][0]):
        return ecr.describe_image(query["repository"][0], query["reference"][0])


def _secret(body: dict[str, Any], query: Query) -> dict[str, Any]:
    """Which version of a secret a service gets: the one that its reference names, or the current one."""
    stage, version = query.get("stage", [""])[0], query.get("version", [""])[0]
    return reading.secret(query["arn"][0], stage or "AWSCURRENT", version or None, query["role"][0])


def _parameter(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return reading.parameter(query["arn"][0], query["role"][0])


def _plant_scan(scan: dict[str, Any], query: Query) -> dict[str, Any]:
    scans.plant(**scan)
    return {}


def _publish_metric(body: dict[str, Any], query: Query) -> dict[str, Any]:
    """Lets a service of AWS publish a metric from a time on, or from now on."""
    at = body["at"] if body["at"] is not None else time.time()
    metrics.publish(body["namespace"], body["name"], body["dimensions"], body["value"], at)
    return {}


def _subnets(body: dict[str, Any], query: Query) -> dict[str, Any]:
    return {"subnets": ec2.describe_subnets(query["ids"][0].split(","))}


def _create_log_groups(body: dict[str, Any], query: Query) -> dict[str, Any]:
    for name in body["names"]:
        if name not in cloudwatch_logs._log_groups:
            cloudwatch_logs._create_log_group({"logGroupName": name})
    return {}


def _write_log(body: dict[str, Any], query: Query) -> dict[str, Any]:
    group, stream = body["group"], body["stream"]
    of = {"logGroupName": group, "logStreamName": stream}
    if stream not in cloudwatch_logs._log_groups[group]["streams"]:
        cloudwatch_logs._create_log_stream(of)
    at = int(time.time() * 1000)
    events = [{"timestamp": at, "message": line} for line in body["lines"]]
    cloudwatch_logs._put_log_events({**of, "logEvents": events})
    return {}


def _age_log_groups(body: dict[str, Any], query: Query) -> dict[str, Any]:
    """Makes the log groups of a prefix some days older. What is older than their retention is gone then."""
    for name, group in cloudwatch_logs._log_groups.items():
        if not name.startswith(body["prefix"]):
            continue
        older = int(body["days"] * 86_400_000)
        group["creationTime"] -= older
        oldest = time.time() * 1000 - (group["retentionInDays"] or math.inf) * 86_400_000
        for stream in group["streams"].values():
            events = [{**event, "timestamp": event["timestamp"] - older} for event in stream["events"]]
            stream["events"] = [event for event in events if event["timestamp"] >= oldest]
            if stream["lastEventTimestamp"] is not None:
                stream["lastEventTimestamp"] -= older
    return {}


def _create_network_interfaces(body: dict[str, Any], query: Query) -> dict[str, Any]:
    ec2.create_connector_interfaces(body["vpc_connector_arn"], body["subnets"], body["security_groups"])
    return {}


def _delete_network_interfaces(body: dict[str, Any], query: Query) -> dict[str, Any]:
    ec2.delete_connector_interfaces(body["vpc_connector_arn"])
    return {}


ENDPOINTS: dict[tuple[str, str], Callable[[dict[str, Any], Query], dict[str, Any]]] = {
    ("POST", "events"): _put_event,
    ("GET", "events"): _list_events,
    ("POST", "events/losing"): _lose_events,
    ("GET", "messages"): _list_messages,
    ("GET", "notifications"): _list_notifications,
    ("GET", "schedules"): _list_schedules,
    ("POST", "schedules/fire"): _fire_schedule,
    ("POST", "rds/seven-days"): _pass_seven_days,
    ("POST", "rds/quotas"): _set_quota,
    ("POST", "tags/deleted-alarm"): _remember_deleted_alarm,
    ("POST", "faults"): _add_fault,
    ("GET", "faults"): _list_faults,
    ("POST", "refusals"): _refuse_calls,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "limits"): _add_limit,
    ("DELETE", "limits"): _clear_limits,
    ("GET", "calls"): _list_calls,
    ("DELETE", "calls"): _clear_calls,
    ("GET", "resources"): _list_resources,
    ("GET", "invocations"): _list_invocations,
    ("DELETE", "invocations"): _clear_invocations,
    ("GET", "invocations/unfinished"): _list_unfinished,
    ("GET", "run"): _describe_run,
    ("GET", "durations"): _list_durations,
    ("GET", "role"): _role,
    ("GET", "image"): _image,
    ("POST", "scan-findings"): _plant_scan,
    ("POST", "metrics"): _publish_metric,
    ("GET", "secret"): _secret,
    ("GET", "parameter"): _parameter,
    ("GET", "subnets"): _subnets,
    ("POST", "log-groups"): _create_log_groups,
    ("POST", "log-groups/age"): _age_log_groups,
    ("POST", "log-events"): _write_log,
    ("POST", "network-interfaces"): _create_network_interfaces,
    ("DELETE", "network-interfaces"): _delete_network_interfaces,
}


def _answer(status: int, content: dict[str, Any]) -> Response:
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


def _serve_local() -> None:
    shortcuts = app._handle_post_body_shortcuts

    async def handle_post_body_shortcuts(method, path, headers, body, query, request_id):  # type: ignore[no-untyped-def]
        if not path.startswith("/_local/"):
            return await shortcuts(method, path, headers, body, query, request_id)
        if path == ecr.LAYER_PATH:
            with scope(query["account"][0], query["region"][0]):
                layer = ecr.layer(query["repository"][0], query["digest"][0])
            return (404, {}, b"") if layer is None else (200, {"Content-Type": "application/octet-stream"}, layer)
        if models.wrong:
            return _answer(500, {"error": models.said()})
        endpoint = ENDPOINTS.get((method, path.removeprefix("/_local/")))
        if endpoint is None:
            return _answer(404, {"error": f"no {method} {path}"})
        try:
            return _answer(200, endpoint(json.loads(body or b"{}"), query))
        except (KeyError, TypeError, ValueError) as error:
            return _answer(400, {"error": repr(error)})

    app._handle_post_body_shortcuts = handle_post_body_shortcuts


def install() -> None:
    _watch_calls()
    _serve_local()
