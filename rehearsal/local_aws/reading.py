"""What App Runner reads for a service when it deploys: secrets and parameters, with the policy of the service's own role.

"Update the IAM policy of your instance role so App Runner can access the secrets and parameters":
secretsmanager:GetSecretValue, ssm:GetParameters, and kms:Decrypt where the key is a customer managed one
(https://docs.aws.amazon.com/apprunner/latest/dg/env-variable.html). The key that AWS manages lets everybody in who may read the
secret or parameter (https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#aws-managed-cmk).
A secret is authorised by its whole ARN, by whatever it is asked for (https://github.com/aws/aws-cdk/issues/18555).

Not restored: policies of secrets and keys, by which another account may let a service in.
"""

from typing import Any

from ministack.services import secretsmanager, ssm

import iam
import secretsmanager as secrets

Answer = dict[str, Any]


def _refused(action: str, resource: str) -> str:
    return f"not authorized to perform: {action} on resource: {resource}"


def _lacks(role: str, action: str, resource: str, key: str, managed_key: str) -> str | None:
    """What the role lacks to read this, if anything."""
    if not iam.role_may(role, iam.Check(action, resource)):
        return _refused(action, resource)
    if not key or key.endswith(managed_key):
        return None
    if not key.startswith("arn:"):
        region, account = resource.split(":")[3:5]
        key = f"arn:aws:kms:{region}:{account}:{key if key.startswith('alias/') else f'key/{key}'}"
    return None if iam.role_may(role, iam.Check("kms:Decrypt", key)) else _refused("kms:Decrypt", key)


def secret(arn: str, stage: str, version: str | None, role: str) -> Answer:
    """The id of the version that the role gets, or why it gets none."""
    _, found = secretsmanager._resolve(arn)
    if found is None:
        return {"refused": "Secrets Manager can't find the specified secret."}
    key = found.get("KmsKeyId") or ""
    if lacks := _lacks(role, "secretsmanager:GetSecretValue", found["ARN"], key, "alias/aws/secretsmanager"):
        return {"refused": lacks}
    held = secrets.version_of(arn, stage, version)
    return {"version": held} if held else {"refused": f"Secrets Manager can't find the specified secret value: {stage}"}


def parameter(arn: str, role: str) -> Answer:
    """Nothing if the role gets it, or why it does not. "Cross account referencing … is not supported" (service model of App
    Runner, ImageConfiguration)."""
    _, found = ssm._lookup_parameter(arn)
    if found is None:
        return {"refused": f"invalid ssm parameters: {arn}"}
    if lacks := _lacks(role, "ssm:GetParameters", found["ARN"], found.get("KeyId") or "", "alias/aws/ssm"):
        return {"refused": lacks}
    return {}
