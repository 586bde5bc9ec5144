"""Values, held against the shapes of botocore's models. Each shape becomes a function once.

A request is held against the whole shape. An answer is held against members, types and enums: AWS's own answers break lengths and
patterns (App Runner's ServiceId has 32 characters, its pattern has 36).

A pattern must match the whole text: most patterns of the models have no anchors, and AWS quotes them in its refusals of longer
texts. Python's `re` compiles them after `_REWRITTEN`.

Not restored: `.` excludes only the line feed, in Java also other line ends; `\\p{L}` and `\\p{N}` include the underscore.
"""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from botocore.model import Shape


class Problem(NamedTuple):
    """A fault of a value. Its kind is `missing`, `unknown`, `type` or `constraint`."""

    kind: str
    path: str
    value: Any
    rule: str


class Foreign(NamedTuple):
    """A thing on the wire that is no value of any shape."""

    what: str


Check = Callable[[Any], list[Problem]]

_RIGHT: list[Problem] = []
_SEPARATORS = " \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
# Syntax of the models' patterns that Python lacks.
_REWRITTEN = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\w",
    r"\p{Z}": _SEPARATORS,
    r"\p{ASCII}": r"[\x00-\x7f]",
    r"[\w-": r"[\w\-",
}
# What AWS answers against its own models, by the name of the shape and a value that tells it from others of that name.
_ANSWERED = {
    # Of a VPC endpoint, in the samples of EC2's reference (CreateVpcEndpoint, DescribeVpcEndpoints).
    "State": ("PendingAcceptance", {"available", "deleted", "deleting", "pending"}),
    # Of an internet gateway: "the state is available when attached to a VPC" (InternetGatewayAttachment).
    "AttachmentStatus": ("attached", {"available"}),
    # Of a stack that so far is a change set: public captures of 2023-09-24, 2024-10-21 and 2026-09-20.
    "ResourceStatus": ("CREATE_COMPLETE", {"REVIEW_IN_PROGRESS"}),
}
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def _compile(pattern: str) -> re.Pattern[str]:
    flags = re.UNICODE if r"\p{L}" in pattern else re.ASCII
    for theirs, ours in _REWRITTEN.items():
        pattern = pattern.replace(theirs, ours)
    return re.compile(pattern, flags)


def wire_name(shape: Shape, name: str, protocol: str) -> str:
    """The name of a member in a value: in JSON that of the wire, elsewhere that of the model."""
    return str(shape.serialization.get("name", name)) if protocol.endswith("json") else name


class Checks:
    """The checks of the shapes of one service."""

    def __init__(self, protocol: str, is_request: bool) -> None:
        self._protocol, self._is_request = protocol, is_request
        self._known: dict[str, Check] = {}

    def of(self, shape: Shape) -> Check:
        """The check of this shape."""
        make = getattr(self, f"_{shape.type_name}", None)
        if make is not None:
            if shape.name not in self._known:
                # A shape may contain itself.
                self._known[shape.name] = lambda value: self._known[shape.name](value)
                self._known[shape.name] = make(shape)
            return self._known[shape.name]
        match shape.type_name:
            case "string" | "character":
                return self._text(shape)
            case "integer" | "long" | "float" | "double":
                return self._number(shape)
            case "timestamp":
                return self._time(shape)
            case "blob":
                return self._bytes(shape)
            case "boolean":
                return _typed("a boolean", lambda value: isinstance(value, bool))
        raise TypeError(f"{shape.name} is of an unknown type, {shape.type_name}")

    def _structure(self, shape: Shape) -> Check:
        if shape.is_document_type:
            return lambda value: _RIGHT
        members = {wire_name(member, name, self._protocol): self.of(member) for name, member in shape.members.items()}
        required = [wire_name(shape.members[name], name, self._protocol) for name in shape.required_members]
        is_union = shape.is_tagged_union

        def check(value: Any) -> list[Problem]:
            if not isinstance(value, dict):
                return [_wrong_type(value, "a structure")]
            problems = []
            for name, item in value.items():
                member = members.get(name)
                if member is None:
                    rule = f"{shape.name} has no such member, it has {', '.join(members) or 'none'}"
                    problems.append(Problem("unknown", name, item, rule))
                elif member is _free_text and type(item) is str:  # most members of answers
                    continue
                elif item is not None and (found := member(item)):
                    problems += _below(name, found)
            for name in required:
                if value.get(name) is None:
                    problems.append(Problem("missing", name, None, "Member must not be null"))
            if is_union and sum(item is not None for item in value.values()) != 1:
                problems.append(Problem("constraint", "", value, "Exactly one member of the union must be set"))
            return problems

        return check

    def _list(self, shape: Shape) -> Check:
        item_check, size = self.of(shape.member), self._bounds(shape, "length")

        def check(value: Any) -> list[Problem]:
            if not isinstance(value, list):
                return [_wrong_type(value, "a list")]
            problems = size(len(value), value)
            for number, item in enumerate(value, 1):
                if found := item_check(item):
                    problems = problems + _below(f"{number}.member", found)
            return problems

        return check

    def _map(self, shape: Shape) -> Check:
        key_check, item_check, size = self.of(shape.key), self.of(shape.value), self._bounds(shape, "length")

        def check(value: Any) -> list[Problem]:
            if not isinstance(value, dict):
                return [_wrong_type(value, "a map")]
            problems = size(len(value), value)
            for key, item in value.items():
                if found := key_check(key):
                    problems = problems + _below("key", found)
                if item is not None and (found := item_check(item)):
                    problems = problems + _below(f"{key}.member", found)
            return problems

        return check

    def _text(self, shape: Shape) -> Check:
        size, values = self._bounds(shape, "length"), frozenset(shape.enum)
        if not self._is_request and shape.name in _ANSWERED and _ANSWERED[shape.name][0] in values:
            values |= _ANSWERED[shape.name][1]
        published = shape.metadata.get("pattern") if self._is_request else None
        pattern = _compile(published) if published else None
        if size is _unbounded and not values and not pattern:
            return _free_text

        def check(value: Any) -> list[Problem]:
            if not isinstance(value, str):
                return [_wrong_type(value, "a string")]
            problems = size(len(value), value)
            if values and value not in values:
                rule = f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
                problems = [*problems, Problem("constraint", "", value, rule)]
            if pattern and not pattern.fullmatch(value):
                rule = f"Member must satisfy regular expression pattern: {published}"
                problems = [*problems, Problem("constraint", "", value, rule)]
            return problems

        return _hidden(check) if shape.metadata.get("sensitive") else check

    def _number(self, shape: Shape) -> Check:
        types = int if shape.type_name in ("integer", "long") else (int, float)
        wanted = "an integer" if types is int else "a number"
        bounds = self._bounds(shape, "value")

        def check(value: Any) -> list[Problem]:
            if isinstance(value, bool) or not isinstance(value, types):
                return [_wrong_type(value, wanted)]
            return bounds(value, value)

        return check

    def _time(self, shape: Shape) -> Check:
        """JSON has times as numbers, XML and forms as dates, CBOR as times; headers have other forms."""
        if shape.serialization.get("location") in ("header", "querystring", "uri"):
            return _typed("a time", lambda value: isinstance(value, str))
        if self._protocol == "cbor":
            return _typed("a time", lambda value: isinstance(value, datetime))
        default = "unixTimestamp" if self._protocol.endswith("json") else "iso8601"
        if shape.serialization.get("timestampFormat", default) == "iso8601":
            return _typed("a date", lambda value: isinstance(value, str) and bool(_DATE.fullmatch(value)))
        return _typed("a time", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool))

    def _bytes(self, shape: Shape) -> Check:
        size = self._bounds(shape, "length")

        def check(value: Any) -> list[Problem]:
            if isinstance(value, str):
                try:
                    value = base64.b64decode(value, validate=True)
                except binascii.Error:
                    return [_wrong_type(value, "base64")]
            return size(len(value), value) if isinstance(value, bytes) else [_wrong_type(value, "bytes")]

        return check

    def _bounds(self, shape: Shape, what: str) -> Callable[[float, Any], list[Problem]]:
        least, most = shape.metadata.get("min"), shape.metadata.get("max")
        if not self._is_request or (least is None and most is None):
            return _unbounded

        def check(number: float, value: Any) -> list[Problem]:
            if least is not None and number < least:
                return [Problem("constraint", "", value, f"Member must have {what} greater than or equal to {least}")]
            if most is not None and number > most:
                return [Problem("constraint", "", value, f"Member must have {what} less than or equal to {most}")]
            return _RIGHT

        return check


def _unbounded(number: float, value: Any) -> list[Problem]:
    return _RIGHT


def _free_text(value: Any) -> list[Problem]:
    return _RIGHT if isinstance(value, str) else [_wrong_type(value, "a string")]


def _typed(wanted: str, is_right: Callable[[Any], bool]) -> Check:
    return lambda value: _RIGHT if is_right(value) else [_wrong_type(value, wanted)]


def _wrong_type(value: Any, wanted: str) -> Problem:
    return Problem("type", "", value, f"{value.what if isinstance(value, Foreign) else 'the value'} is not {wanted}")


def _hidden(check: Check) -> Check:
    """The same, and no problem tells the value."""
    return lambda value: [problem._replace(value=...) for problem in check(value)]


def _below(name: str, problems: list[Problem]) -> list[Problem]:
    return [p._replace(path=f"{name}.{p.path}" if p.path else name) for p in problems]
