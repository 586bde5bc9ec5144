"""How AWS authorises a call, by AWS's own data (authorization.json, which refresh_authorization.py makes anew).

iam.py says which actions and resources a call comes to. Here that is held against AWS's data: an action or a type of resource
that AWS does not know is a mistake of the local AWS, and so is a required type that is left out. A condition key is there only
if AWS supplies it for this action on this type; every other key is absent, whatever a policy hopes for.

Assumption tags-at-creation: aws:ResourceTag is absent while a resource is created.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Context = dict[str, Any]

_DATA: dict[str, Any] = json.loads((Path(__file__).parent / "authorization.json").read_text())


class Disagreement(Exception):
    """The local AWS authorises a call otherwise than AWS's data say."""


@dataclass(frozen=True)
class Type:
    """A type of resource that an action touches."""

    name: str
    arn: re.Pattern[str]
    required: bool
    keys: frozenset[str]


@dataclass(frozen=True)
class Action:
    """An action: the types of resources that it touches, and the condition keys that it has on any of them."""

    name: str
    types: tuple[Type, ...]
    keys: frozenset[str]

    def type_of(self, resource: str) -> Type | None:
        """The type of a resource; none for an action that knows only `*`."""
        found = next((it for it in self.types if it.arn.fullmatch(resource)), None)
        if found is None and (self.types or resource != "*"):
            known = ", ".join(it.name for it in self.types) or "no type, only *"
            raise Disagreement(f"{self.name} is authorised on {known}: {resource} is none of these")
        return found

    def supplies(self, key: str, of: Type | None) -> bool:
        """Whether AWS supplies a condition key; of a key with a part of the user's choice that is what comes before it."""
        start = re.sub(r"/.*", "/", key.lower())
        return any(start in keys or key.lower() in keys for keys in (self.keys, of.keys if of else ()))


def _keys(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(key.split("${")[0].lower() for key in keys)


def _pattern(arn: str) -> re.Pattern[str]:
    """The pattern of an ARN format. A name may hold any character; of what is not created yet it is `*`."""
    parts = arn.split(":", 5)
    fields = ["[^:]*" if field.startswith("$") else re.escape(field) for field in parts[:5]]
    resource = "".join(".+" if it.startswith("$") else re.escape(it) for it in re.split(r"(\$\{\w+\})", parts[5]))
    return re.compile(":".join([*fields, resource]))


@cache
def action(name: str) -> Action:
    """An action by its full name, `rds:CreateDBInstance`."""
    service, operation = name.split(":")
    found = _DATA["services"].get(service, {}).get("actions", {}).get(operation)
    if found is None:
        raise Disagreement(f"AWS's data know no action {name}; refresh_authorization.py brings newer ones")
    of_service = _DATA["services"][service]["types"]
    types = (
        Type(
            type_,
            _pattern(of_service[type_]["arn"]),
            it["required"],
            _keys([*it["keys"], *of_service[type_]["keys"]]),
        )
        for type_, it in found["types"].items()
        if type_ in of_service
    )
    # The longest format first: a log stream would pass for a log group.
    ordered = sorted(types, key=lambda it: -len(it.arn.pattern))
    return Action(name, tuple(ordered), _keys(found["keys"]))


def also_authorised_as(operation: str) -> Iterable[str]:
    """The actions, besides its own, that AWS authorises an operation as when its parameters ask for it."""
    service, name = operation.split(":")
    also: dict[str, Any] = _DATA["services"].get(service, {}).get("operations", {}).get(name, {})
    return also


def supplied(name: str, resource: str, context: Context) -> Context:
    """What AWS supplies of these condition keys: those of the action, and those of the type of the resource."""
    it = action(name)
    type_ = it.type_of(resource)
    return {key: value for key, value in context.items() if it.supplies(key, type_)}


def required_types(name: str) -> set[str]:
    """The types on which AWS authorises every call of an action."""
    return {type_.name for type_ in action(name).types if type_.required}
