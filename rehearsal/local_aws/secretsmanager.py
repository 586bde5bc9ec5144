"""Secrets Manager: the name of a secret in deletion stays taken, and a repeated request changes nothing."""

from typing import Any

from ministack.services import secretsmanager

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
    return response


def _put_secret_value(data: dict[str, Any]) -> Response:
    _, secret = secretsmanager._resolve(data.get("SecretId"))
    if secret and not secret.get("DeletedDate") and (repeated := _repeated(data, secret)):
        return repeated
    response: Response = _ministack_put_secret_value(data)
    return response


_ministack_create_secret = secretsmanager._create_secret
_ministack_put_secret_value = secretsmanager._put_secret_value


def install() -> None:
    secretsmanager._create_secret = _create_secret
    secretsmanager._put_secret_value = _put_secret_value
