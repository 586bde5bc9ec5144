"""ECR: what a scan found in an image. Nothing is scanned here: a test plants the findings."""

import json
import time
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import ecr

Response = tuple[int, dict[str, str], bytes]

# Basic scans end COMPLETE; enhanced ones go on, ACTIVE.
_DESCRIPTIONS = {
    "IN_PROGRESS": "The scan is in progress.",
    "COMPLETE": "The scan was completed successfully.",
    "ACTIVE": "Continuous scan is selected for image.",
    "FAILED": "The scan failed.",
    "UNSUPPORTED_IMAGE": "UnsupportedImageError: The operating system and/or package manager are not supported.",
}

# By account, region, repository and digest: the status and how many findings there are of each severity.
_scans: dict[tuple[str, str, str, str], tuple[str, dict[str, int]]] = {}


def _key(repository: str, digest: str) -> tuple[str, str, str, str]:
    return get_account_id(), get_region(), repository, digest


def plant(repository: str, digest: str, status: str, severities: dict[str, int]) -> None:
    """From now on the image was scanned so. A severity without findings is left out, as ECR does."""
    if status not in _DESCRIPTIONS:
        raise ValueError(f"unknown status {status}")
    _scans[_key(repository, digest)] = status, {name: count for name, count in severities.items() if count}


def _findings(status: str, severities: dict[str, int], arn: str) -> dict[str, Any]:
    each = [f"{severity}-{n}" for severity, count in severities.items() for n in range(count)]
    if status == "ACTIVE":
        kind = "PACKAGE_VULNERABILITY"
        found = [{"title": f"CVE-{name}", "severity": name.rpartition("-")[0], "type": kind} for name in each]
        return {
            "enhancedFindings": [
                finding | {"findingArn": f"{arn}/finding/{n}", "status": "ACTIVE"} for n, finding in enumerate(found)
            ]
        }
    return {"findings": [{"name": f"CVE-{name}", "severity": name.rpartition("-")[0]} for name in each]}


def describe_image_scan_findings(data: dict[str, Any]) -> Response:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImageScanFindings.html: the counts are on
    each page, and an image that was not scanned is an error. So is an index: only its images are scanned."""
    name, wanted = data["repositoryName"], data["imageId"]
    if name not in ecr._repositories:
        message = f"The repository with name '{name}' does not exist in the registry with id '{ecr._registry_id()}'"
        return ecr.error_response_json("RepositoryNotFoundException", message, 400)
    image = ecr._find_image(name, wanted)
    if image is None:
        message = f"The image with imageId {json.dumps(wanted)} does not exist within the repository '{name}'"
        return ecr.error_response_json("ImageNotFoundException", message, 400)
    digest = image["imageDigest"]
    if _key(name, digest) not in _scans:
        message = f"Image scan does not exist for the image with '{{imageDigest:'{digest}'}}' in the repository '{name}'"
        return ecr.error_response_json("ScanNotFoundException", message, 400)
    status, severities = _scans[_key(name, digest)]
    answer: dict[str, Any] = {
        "registryId": ecr._registry_id(),
        "repositoryName": name,
        "imageId": {"imageDigest": digest} | ({"imageTag": wanted["imageTag"]} if "imageTag" in wanted else {}),
        "imageScanStatus": {"status": status, "description": _DESCRIPTIONS[status]},
    }
    if status in ("COMPLETE", "ACTIVE"):
        findings = _findings(status, severities, ecr._repo_arn(name))
        start, size = int(data.get("nextToken") or 0), data.get("maxResults") or 100
        (member, found), *_ = findings.items()
        answer["imageScanFindings"] = {
            "imageScanCompletedAt": time.time(),
            "vulnerabilitySourceUpdatedAt": time.time(),
            "findingSeverityCounts": severities,
            member: found[start : start + size],
        }
        if start + size < len(found):
            answer["nextToken"] = str(start + size)
    return ecr.json_response(answer)

