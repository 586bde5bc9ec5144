"""Resource Groups Tagging API: App Runner's services, databases, alarms and log groups among the resources, and pages.

That it still lists a resource that was deleted lately is told to it.
Not restored: that it lags behind the services in any other way, compliance details.
"""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ministack import app
from ministack.services import cloudwatch, cloudwatch_logs, rds, secretsmanager, tagging

import apprunner

Response = tuple[int, dict[str, str], bytes]

# "The default is 50" and "the maximum is 100"
# (https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html).
_PAGE, _LARGEST_PAGE = 50, 100

# What was deleted lately, by ARN.
_deleted: dict[str, dict[str, str]] = {}

_listing: ContextVar[bool] = ContextVar("listing", default=False)

_services: ContextVar[list[dict[str, Any]]] = ContextVar("services")


def _collect_apprunner() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for resource in _services.get([]):
        yield resource["arn"], [{"Key": key, "Value": value} for key, value in resource["tags"].items()]


def _collect_rds() -> Iterator[tuple[str, list[dict[str, str]]]]:
    region = tagging.get_region()
    yield from ((arn, tags) for arn, tags in list(rds._tags.items()) if arn.split(":")[3] == region)


def _collect_alarms() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for arn, tags in list(cloudwatch._resource_tags.items()):
        if ":alarm:" in arn and arn.split(":")[3] == tagging.get_region():
            yield arn, [{"Key": key, "Value": value} for key, value in tags.items()]
    # IAM collects as well, and what is gone has no tags.
    for arn, tags in _deleted.items() if _listing.get() else ():
        yield arn, [{"Key": key, "Value": value} for key, value in tags.items()]


def _collect_log_groups() -> Iterator[tuple[str, list[dict[str, str]]]]:
    for group in list(cloudwatch_logs._log_groups.values()):
        yield group["arn"].removesuffix(":*"), [{"Key": key, "Value": value} for key, value in group["tags"].items()]


def remember_deleted_alarm(arn: str, tags: dict[str, str]) -> None:
    """The index still lists an alarm that is gone."""
    _deleted[arn] = tags


def _get_resources(data: dict[str, Any]) -> Response:
    """MiniStack answers everything at once, and also what has no tags and never had any."""
    size = data.pop("ResourcesPerPage", _PAGE)
    if not isinstance(size, int) or not 1 <= size <= _LARGEST_PAGE:
        refused: Response = tagging._invalid_parameter(f"ResourcesPerPage must be between 1 and {_LARGEST_PAGE}")
        return refused
    token = data.pop("PaginationToken", "")
    try:
        after = base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError):
        message = json.dumps({"__type": "PaginationTokenExpiredException", "message": "The token is not valid."})
        return 400, {"Content-Type": "application/x-amz-json-1.1"}, message.encode()
    listing = _listing.set(True)
    response: Response = _ministack_get_resources(data)
    _listing.reset(listing)
    if response[0] != 200:
        return response
    found = [found for found in json.loads(response[2])["ResourceTagMappingList"] if found["Tags"]]
    found = sorted((f for f in found if f["ResourceARN"] > after), key=lambda mapping: str(mapping["ResourceARN"]))
    following = base64.urlsafe_b64encode(found[size - 1]["ResourceARN"].encode()).decode() if len(found) > size else ""
    page: Response = tagging._json({"ResourceTagMappingList": found[:size], "PaginationToken": following})
    return page


_ministack_get_resources = tagging._get_resources


def _is_of_type(arn: str, types: list[str]) -> bool:
    """MiniStack takes `log-group:/aws` for the type of `log-group:/aws/apprunner/…`."""
    _, _, service, _, _, resource = arn.split(":", 5)
    kind = re.split("[:/]", resource, maxsplit=1)[0]
    return not types or service in types or f"{service}:{kind}" in types


def with_tag(key: str) -> dict[str, dict[str, str]]:
    """Everything outside App Runner that has a tag of this key, by ARN: also what the API does not list, as roles, but no
    secret that waits for its deletion."""
    found = {}
    deleted = {secret["ARN"] for secret in secretsmanager._secrets.values() if secret.get("DeletedDate")}
    for collect in tagging._RESOURCE_TAG_COLLECTORS.values():
        for arn, listed in collect():
            tags = {tag["Key"]: tag["Value"] for tag in listed}
            if key in tags and arn not in deleted:
                found[arn.removesuffix(":*")] = tags
    return found


def install() -> None:
    handle = app.SERVICE_HANDLERS["tagging"]

    async def handle_request(method, path, headers, body, query):  # type: ignore[no-untyped-def]
        _services.set(await asyncio.to_thread(apprunner.tagged_resources))
        return await handle(method, path, headers, body, query)

    app.SERVICE_HANDLERS["tagging"] = handle_request
    tagging._COLLECTORS |= {
        "apprunner": _collect_apprunner,
        "cloudwatch": _collect_alarms,
        "logs": _collect_log_groups,
        "rds": _collect_rds,
    }
    tagging._matches_type_filters = _is_of_type
    tagging._HANDLERS["GetResources"] = _get_resources
