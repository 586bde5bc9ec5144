"""DynamoDB: a table of a stack is created, updated and deleted as by a person, and keeps what its template says.

MiniStack checks keys, numbers, sizes, expressions and reserved words as DynamoDB does; iam.py says who may use which keys.

Not restored: reads that are not consistent (all are), how much a table takes in a second, and how long a table is made; of tables
in templates, time to live, contributor insights, streams to Kinesis, imports, and the key and the policy of a table.
"""

import json
from typing import Any

from ministack.services import dynamodb
from ministack.services.cloudformation import provisioners

import wire

# The key is given otherwise in a template than in a request, so a table of a template has AWS's.
_OF_REQUESTS = set(wire.service("dynamodb").model.operation_model("CreateTable").input_shape.members) - {"SSESpecification"}


def _called(response: tuple[int, dict[str, str], bytes]) -> dict[str, Any]:
    """What DynamoDB answers to CloudFormation, which ends with its words if it refuses."""
    status, _, body = response
    answer: dict[str, Any] = json.loads(body)
    if status >= 400:
        raise ValueError(answer["message"])
    return answer


def _keep_backups(name: str, properties: dict[str, Any]) -> None:
    """A table is restorable to a point in time if its template says so, and otherwise not
    (https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html)."""
    specification = properties.get("PointInTimeRecoverySpecification") or {"PointInTimeRecoveryEnabled": False}
    _called(
        dynamodb._update_continuous_backups({"TableName": name, "PointInTimeRecoverySpecification": specification})
    )


def _create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
    name = properties.get("TableName") or provisioners._physical_name(stack, logical_id, max_len=255)
    request = {key: value for key, value in properties.items() if key in _OF_REQUESTS} | {"TableName": name}
    _called(dynamodb._create_table(request))
    _keep_backups(name, properties)
    return name, provisioners._ddb_attrs(dynamodb._tables[name])


def _update(name: str, old: dict[str, Any], new: dict[str, Any], stack: str, *more: Any, **named: Any) -> Any:
    made = _ministack_update(name, old, new, stack, *more, **named)
    _keep_backups(made[0], new)
    return made


def _delete(name: str, properties: dict[str, Any]) -> None:
    if name in dynamodb._tables:
        _called(dynamodb._delete_table({"TableName": name}))


_ministack_update = provisioners._ddb_update


def install() -> None:
    # A change that replaces a table calls the first two by these names.
    provisioners._ddb_create, provisioners._ddb_delete = _create, _delete
    provisioners._RESOURCE_HANDLERS["AWS::DynamoDB::Table"] |= {"create": _create, "update": _update, "delete": _delete}
