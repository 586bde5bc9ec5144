"""Secrets Manager: the name of a secret in deletion stays taken, a repeated request changes nothing, when a secret is rotated
next, and events.

Not restored: RotateSecret does not call the rotation function, it ends at once with the value that there was; rotations by a
schedule expression, and that any happens by itself.
"""

import json
from typing import Any

from ministack.services import secretsmanager

import eventbridge

Response = tuple[int, dict[str, str], bytes]


def _error(code: str, message: str) -> Response:
    response: Response = secretsmanager.error_response_json(code, message, 400)
    return response


def _repeated(data: dict[str, Any], secret: dict[str, Any]) -> Response | None:
    """The answer to a request whose ClientRequestToken names a version that exists: SDKs repeat requests with the same
    token, and "if a version with this value already exists and the contents match, the operation is idempotent"
    (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html)."""
    token = data.get("ClientRequestToken")
    version = secret["Versions"].get(token)
    if version is None:
        return None
    if any(version.get(name) != data.get(name) for name in ("SecretString", "SecretBinary")):
        message = "You can't use ClientRequestToken because that value is already in use for a different version."
        return _error("ResourceExistsException", message)
    answer = {"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token, "VersionStages": version["Stages"]}
    response: Response = secretsmanager.json_response(answer)
    return response


def _create_secret(data: dict[str, Any]) -> Response:
    _, secret = secretsmanager._resolve(data.get("Name"))
    if secret and secret.get("DeletedDate"):
        message = "You can't create this secret because a secret with this name is already scheduled for deletion."
        return _error("InvalidRequestException", message)
    if secret and (repeated := _repeated(data, secret)):
        return repeated
    response: Response = _ministack_create_secret(data)
    if response[0] == 200 and (token := data.get("ClientRequestToken")):
        # The token becomes the id of the first version.
        _, secret = secretsmanager._resolve(data["Name"])
        secret["Versions"] = {token: next(iter(secret["Versions"].values()))}
        answer = {"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token}
        response = secretsmanager.json_response(answer)
    if response[0] == 200:
        # The harder case. (Assumption first-version)
        _, secret = secretsmanager._resolve(data["Name"])
        _emit_label_updated(secret, "AWSCURRENT", json.loads(response[2])["VersionId"])
    return response


def _put_secret_value(data: dict[str, Any]) -> Response:
    _, secret = secretsmanager._resolve(data.get("SecretId"))
    if secret and not secret.get("DeletedDate") and (repeated := _repeated(data, secret)):
        return repeated
    response: Response = _ministack_put_secret_value(data)
    return response


def _update_secret(data: dict[str, Any]) -> Response:
    """The token becomes the id of the version, as in PutSecretValue."""
    _, secret = secretsmanager._resolve(data.get("SecretId"))
    has_value = "SecretString" in data or "SecretBinary" in data
    if not has_value or not secret or secret.get("DeletedDate") or not data.get("ClientRequestToken"):
        response: Response = _ministack_update_secret(data)
        return response
    described = {name: value for name, value in data.items() if name not in ("SecretString", "SecretBinary")}
    response = _ministack_update_secret(described)
    if response[0] != 200 or (response := _put_secret_value(data))[0] != 200:
        return response
    # The stages are PutSecretValue's to tell (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecret.html).
    answer = {name: value for name, value in json.loads(response[2]).items() if name != "VersionStages"}
    response = secretsmanager.json_response(answer)
    return response


def _update_secret_version_stage(data: dict[str, Any]) -> Response:
    """The end of a rotation moves AWSCURRENT "and removes the AWSPENDING label as part of the same API call"
    (https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html)."""
    response: Response = _ministack_update_secret_version_stage(data)
    if response[0] == 200 and data.get("VersionStage") == "AWSCURRENT" and data.get("MoveToVersionId"):
        _, secret = secretsmanager._resolve(data["SecretId"])
        secretsmanager._remove_stage(secret, data["MoveToVersionId"], "AWSPENDING")
    return response


def _rotate_secret(data: dict[str, Any]) -> Response:
    """The end of a rotation is also in CloudTrail, if the account has a trail
    (https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-eventbridge.html)."""
    response: Response = _ministack_rotate_secret(data)
    if response[0] == 200:
        detail = {
            "eventType": "AwsServiceEvent",
            "eventSource": "secretsmanager.amazonaws.com",
            "eventName": "RotationSucceeded",
            "requestParameters": None,
            "responseElements": None,
            "additionalEventData": {"SecretId": json.loads(response[2])["ARN"]},
        }
        eventbridge.emit("aws.secretsmanager", "AWS Service Event via CloudTrail", detail, [])
    return response


def _describe_secret(data: dict[str, Any]) -> Response:
    """ "The next rotation is scheduled to occur on or before this date", of a secret that is rotated
    (https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html)."""
    response: Response = _ministack_describe_secret(data)
    described = json.loads(response[2])
    days = (described.get("RotationRules") or {}).get("AutomaticallyAfterDays")
    if response[0] != 200 or not days:
        return response
    described["NextRotationDate"] = described["LastChangedDate"] + days * 24 * 3600
    answer: Response = secretsmanager.json_response(described)
    return answer


def _emit_label_updated(secret: dict[str, Any], label: str, version: str) -> None:
    """A label other than AWSPENDING and AWSPREVIOUS has moved
    (https://docs.aws.amazon.com/secretsmanager/latest/userguide/event-detail-secret-label-updated-secretsmanager.html).
    MiniStack emits it past what the local AWS remembers of events. Assumption first-label: so does the first version of a secret."""
    detail = {"name": secret["Name"], "labelUpdated": label, "versionId": version}
    eventbridge.emit("aws.secretsmanager", "Secret Label Updated", detail, [secret["ARN"]])


def _resolve(secret_id: str | None, **options: Any) -> tuple[str | None, dict[str, Any] | None]:
    """An ARN without its six random characters is that of the secret with exactly this name
    (https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot.html#ARN_secretnamehyphen); MiniStack takes
    the first whose name begins so."""
    key, secret = _ministack_resolve(secret_id, **options)
    name = (secret_id or "").partition(":secret:")[2]
    if secret is None or not name or secret["ARN"] == secret_id or secret["Name"] == name:
        return key, secret
    secret = secretsmanager._secrets.get(name)
    return (name, secret) if secret else (None, None)


def version_of(arn: str, stage: str, version: str | None) -> str | None:
    """The id of a secret's version by its id or stage, if there is such a version."""
    _, secret = secretsmanager._resolve(arn)
    if secret is None or secret.get("DeletedDate"):
        return None
    if version:
        return version if version in secret["Versions"] else None
    found: str | None = secretsmanager._find_stage_version(secret, stage)[0]
    return found


_ministack_resolve = secretsmanager._resolve
_ministack_create_secret = secretsmanager._create_secret
_ministack_describe_secret = secretsmanager._describe_secret
_ministack_put_secret_value = secretsmanager._put_secret_value
_ministack_update_secret = secretsmanager._update_secret
_ministack_update_secret_version_stage = secretsmanager._update_secret_version_stage
_ministack_rotate_secret = secretsmanager._rotate_secret


def install() -> None:
    secretsmanager._resolve = _resolve
    secretsmanager._create_secret = _create_secret
    secretsmanager._describe_secret = _describe_secret
    secretsmanager._put_secret_value = _put_secret_value
    secretsmanager._update_secret = _update_secret
    secretsmanager._update_secret_version_stage = _update_secret_version_stage
    secretsmanager._rotate_secret = _rotate_secret
    secretsmanager._emit_secret_label_updated = _emit_label_updated
