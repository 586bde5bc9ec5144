"""Reads requests and answers into values, by the protocol of their service.

A member that the model lacks stays in the value under its own name, so that the check of the shape reports it.
The protocols: https://smithy.io/2.0/aws/protocols/index.html.

Not restored: event streams, XML attributes, host prefixes, and headers that the model does not have.
"""

import json
import re
from functools import cache, cached_property
from typing import Any
from urllib.parse import parse_qsl
from xml.etree.ElementTree import Element, ParseError, fromstring

from botocore.model import OperationModel, ServiceModel, Shape
from ministack.core import iam_actions

import cbor
from shapes import Checks, Foreign, wire_name

# Services whose requests are signed with another name than botocore's of the service.
_SIGNED_AS = {
    "monitoring": "cloudwatch",
    "servicequotas": "service-quotas",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}

Headers = dict[str, str]
Query = dict[str, list[str]]


class Unreadable(Exception):
    """A request or an answer is not what its protocol says."""


class UnknownService(Exception):
    """A request is for a service that botocore has no model of."""


class UnknownOperation(Unreadable):
    """A request is for an operation that its service does not have."""


class Service:
    """The model of a service."""

    def __init__(self, name: str) -> None:
        self.name = name
        # Three times as fast as botocore's loader, which keeps the order of all members.
        description = iam_actions._load_botocore_model(name)
        if not description:
            raise UnknownService(f"botocore has no service {name}: wire.py needs botocore's name of it")
        self.model = ServiceModel(description, name)
        self.protocol: str = self.model.metadata["protocol"]
        self._checks: dict[tuple[str, bool], Checks] = {}

    def checks(self, protocol: str, is_request: bool) -> Checks:
        """What requests or answers in this protocol are held against."""
        key = protocol, is_request
        if key not in self._checks:
            self._checks[key] = Checks(protocol, is_request)
        return self._checks[key]

    @cached_property
    def routes(self) -> list[tuple[str, re.Pattern[str], OperationModel]]:
        """The operations of a REST API, the longest paths first."""
        found = []
        for name in self.model.operation_names:
            operation = self.model.operation_model(name)
            path = operation.http["requestUri"].partition("?")[0].rstrip("/")
            parts = re.split(r"\{(\w+)\+?\}", path)
            # The path is decoded already, so a name can contain slashes.
            labels = (f"(?P<{label}>.+?)" + re.escape(text) for label, text in zip(parts[1::2], parts[2::2], strict=True))
            pattern = re.compile(re.escape(parts[0]) + "".join(labels) + "/?")
            found.append((sum(map(len, parts[0::2])), operation.http["method"], pattern, operation))
        found.sort(key=lambda route: -route[0])
        return [route[1:] for route in found]


def _needed(operation: OperationModel) -> list[tuple[str, str, str | None]]:
    """What tells operations with the same path apart: `?uploads`, and what has to be in a query or a header."""
    literal = operation.http["requestUri"].partition("?")[2]
    needed: list[tuple[str, str, str | None]] = [
        ("querystring", part.partition("=")[0], part.partition("=")[2]) for part in filter(None, literal.split("&"))
    ]
    if shape := operation.input_shape:
        for name in shape.required_members:
            serialization = shape.members[name].serialization
            if (location := serialization.get("location")) in ("querystring", "header"):
                needed.append((location, serialization.get("name", name), None))
    return needed


def _has(headers: Headers, query: Query, place: str, name: str, value: str | None) -> bool:
    if place == "header":
        return name.lower() in headers
    return name in query and (not value or query[name] == [value])


@cache
def service(signed_as: str) -> Service:
    """The service that requests are signed for by this name."""
    return Service(_SIGNED_AS.get(signed_as, signed_as))


class Request:
    """A request: its operation, and its parameters as a value of the operation's input."""

    def __init__(self, of: Service, method: str, path: str, headers: Headers, body: bytes, query: Query) -> None:
        self.service, self.protocol = of, of.protocol
        self.form: dict[str, str] = {}
        if "rpc-v2-cbor" in headers.get("smithy-protocol", ""):
            self.protocol, name = "cbor", path.rsplit("/", 1)[-1]
        elif target := headers.get("x-amz-target"):
            self.protocol, name = "json", target.rsplit(".", 1)[-1]
        elif self.protocol.startswith("rest-"):
            name, self._labels = self._route(method, path, headers, query)
        else:
            self.protocol = "ec2" if self.protocol == "ec2" else "query"
            self.form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            self.form = self.form or {key: values[0] for key, values in query.items()}
            name = self.form.pop("Action", "")
            self.form.pop("Version", None)
        if name not in of.model.operation_names:
            raise UnknownOperation(f"{of.name} has no operation {name or method + ' ' + path}")
        self.operation: OperationModel = of.model.operation_model(name)
        self._path, self._headers, self._body, self._query = path, headers, body, query

    def _route(self, method: str, path: str, headers: Headers, query: Query) -> tuple[str, dict[str, str]]:
        best: tuple[int, str, dict[str, str]] = -1, "", {}
        for of, pattern, operation in self.service.routes:
            if of == method and (found := pattern.fullmatch(path)):
                needed = _needed(operation)
                if len(needed) > best[0] and all(_has(headers, query, *one) for one in needed):
                    best = len(needed), operation.name, found.groupdict()
        return best[1:]

    def value(self) -> Any:
        """The parameters."""
        shape = self.operation.input_shape
        if self.protocol == "cbor":
            return _cbor(self._body)
        if self.protocol == "json":
            return _json(self._body)
        if self.protocol in ("query", "ec2"):
            tree = _tree(self.form)
            return _of_form(shape, tree, self.protocol) if shape else tree
        return self._of_rest(shape) if shape else {}

    def _of_rest(self, shape: Shape) -> Any:
        protocol, value = self.protocol, {}
        literal = {part.partition("=")[0] for part in self.operation.http["requestUri"].partition("?")[2].split("&")}
        query = {key: values for key, values in self._query.items() if key not in literal and key[:6] != "X-Amz-"}
        for name, member in shape.members.items():
            wire, key = member.serialization.get("name", name), wire_name(member, name, protocol)
            match member.serialization.get("location"):
                case "uri":
                    value[key] = _scalar(member, self._labels.get(wire))
                case "querystring" if wire in query:
                    given = query.pop(wire)
                    value[key] = given if member.type_name == "list" else _scalar(member, given[0])
                case "querystring" if member.type_name == "map":
                    value[key] = {other: query.pop(other)[0] for other in list(query)}
                case "header" if wire.lower() in self._headers:
                    value[key] = _scalar(member, self._headers[wire.lower()])
                case "headers":
                    value[key] = _prefixed(self._headers, wire)
        # The SDKs add the name of the operation.
        query.pop("x-id", None)
        return value | query | _payload(shape, self._body, protocol)


class Answer:
    """An answer without an error, or the code of the error that it tells."""

    def __init__(self, request: Request, status: int, headers: Headers, body: bytes) -> None:
        self._request, self.status, self._body = request, status, body
        self._headers = {name.lower(): value for name, value in headers.items()}

    def value(self) -> Any:
        """A value of the operation's output."""
        shape, protocol = self._request.operation.output_shape, self._request.protocol
        if protocol == "cbor":
            return _cbor(self._body)
        if protocol == "json":
            return _json(self._body)
        if protocol in ("query", "ec2"):
            return self._of_xml(shape, protocol)
        return self._of_rest(shape) if shape else {}

    def _of_xml(self, shape: Shape | None, protocol: str) -> Any:
        root, name = _xml(self._body), self._request.operation.name
        if _local(root) != f"{name}Response":
            return Foreign(f"<{_local(root)}>")
        # Neither is in the models: the metadata of each answer, and what EC2 says where it has nothing to say.
        known = {"requestId", "return"} if protocol == "ec2" else {"ResponseMetadata"}
        children = [child for child in root if _local(child) not in known or (shape and _local(child) in shape.members)]
        wrapper = shape.serialization.get("resultWrapper") if shape else None
        if wrapper and [_local(child) for child in children] == [wrapper]:
            children = list(children[0])
        elif wrapper:
            return Foreign(f"<{_local(root)}> without one <{wrapper}>")
        return _of_children(shape, children, protocol) if shape else {_local(child): child for child in children}

    def _of_rest(self, shape: Shape) -> Any:
        protocol, value = self._request.protocol, {}
        for name, member in shape.members.items():
            wire, key = member.serialization.get("name", name), wire_name(member, name, protocol)
            match member.serialization.get("location"):
                case "statusCode":
                    value[key] = self.status
                case "header" if wire.lower() in self._headers:
                    value[key] = _scalar(member, self._headers[wire.lower()])
                case "headers":
                    value[key] = _prefixed(self._headers, wire)
        return value | _payload(shape, self._body, protocol)

    def error(self) -> tuple[str, dict[str, Any]]:
        """The code, and what the error says besides a message."""
        protocol = self._request.protocol
        if protocol in ("query", "ec2", "rest-xml"):
            if not self._body:  # the answer to a HEAD
                return "", {}
            root = _xml(self._body)
            error = next((e for e in root.iter() if _local(e) == "Error"), root)
            members = {_local(child): child.text for child in error}
            code = members.pop("Code", "") or ""
        else:
            content = _cbor(self._body) if protocol == "cbor" else _json(self._body)
            members = dict(content) if isinstance(content, dict) else {}
            code = members.pop("__type", members.pop("code", ""))
            code = self._headers.get("x-amzn-errortype", code).partition(":")[0].rpartition("#")[2]
        for told in ("message", "Message", "Type", "RequestId", "HostId", "Resource"):
            members.pop(told, None)
        return code, members


# -- JSON and CBOR -----------------------------------------------------------------------------------------------------


def _cbor(body: bytes) -> Any:
    try:
        return cbor.loads(body) if body else {}
    except Exception as error:  # botocore's reader raises whatever comes
        raise Unreadable(f"no CBOR: {error!r}") from None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError as error:
        raise Unreadable(f"no JSON: {error}") from None


def _payload(shape: Shape, body: bytes, protocol: str) -> dict[str, Any]:
    """The members of a REST request or answer that are in its body."""
    if payload := shape.serialization.get("payload"):
        member = shape.members[payload]
        key = wire_name(member, payload, protocol)
        if not body:
            return {}
        if member.type_name in ("blob", "string"):
            return {key: body if member.type_name == "blob" else body.decode()}
        return {key: _of_element(member, _xml(body), protocol) if protocol == "rest-xml" else _json(body)}
    if protocol == "rest-xml":
        value: dict[str, Any] = _of_children(shape, list(_xml(body)), protocol) if body else {}
        return value
    content = _json(body)
    return content if isinstance(content, dict) else {"": content}


def _prefixed(headers: Headers, prefix: str) -> dict[str, str]:
    return {name[len(prefix) :]: value for name, value in headers.items() if name.startswith(prefix.lower())}


# -- forms -------------------------------------------------------------------------------------------------------------


def _tree(form: dict[str, str]) -> dict[str, Any]:
    """`Tags.member.1.Key` as nested dictionaries."""
    tree: dict[str, Any] = {}
    for key, text in form.items():
        *above, last = key.split(".")
        node = tree
        for part in above:
            below = node.setdefault(part, {})
            if not isinstance(below, dict):
                raise Unreadable(f"{key} is below a value")
            node = below
        node[last] = text
    return tree


@cache
def _form_names(shape: Shape, protocol: str) -> dict[str, tuple[str, Shape]]:
    names = {}
    for name, member in shape.members.items():
        wire = member.serialization.get("name", name)
        if protocol == "ec2":
            wire = member.serialization.get("queryName") or wire[0].upper() + wire[1:]
        elif member.type_name == "list" and member.serialization.get("flattened"):
            wire = member.member.serialization.get("name", wire)
        names[wire] = name, member
    return names


def _numbered(node: Any) -> list[Any]:
    if not isinstance(node, dict) or not all(key.isdigit() for key in node):
        return [Foreign(f"{node!r}")]
    return [node[key] for key in sorted(node, key=int)]


def _of_form(shape: Shape, node: Any, protocol: str) -> Any:
    kind, is_flat = shape.type_name, protocol == "ec2" or shape.serialization.get("flattened")
    if kind == "structure" and isinstance(node, dict):
        names, value = _form_names(shape, protocol), {}
        for key, child in node.items():
            name, member = names.get(key, (key, None))
            value[name] = _of_form(member, child, protocol) if member else child
        return value
    # An empty list or map is sent as an empty text.
    if kind == "list":
        if not is_flat:
            node = _only(node, shape.member.serialization.get("name", "member"))
        return [_of_form(shape.member, child, protocol) for child in _numbered(node)] if node else []
    if kind == "map":
        entries = _numbered(node if is_flat else _only(node, "entry")) if node else []
        key, item = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
        if not all(isinstance(entry, dict) and set(entry) == {key, item} for entry in entries):
            return Foreign(f"{node!r}")
        return {entry[key]: _of_form(shape.value, entry[item], protocol) for entry in entries}
    return _scalar(shape, node)


def _only(node: Any, name: str) -> Any:
    return node[name] if isinstance(node, dict) and set(node) == {name} else node


def _scalar(shape: Shape, text: Any) -> Any:
    """Text as a value of this shape; what is none stays text."""
    try:
        match shape.type_name:
            case "integer" | "long":
                return int(text)
            case "float" | "double":
                return float(text)
            case "boolean":
                return {"true": True, "false": False}.get(text, text)
            case "list":  # of a header
                return [part.strip() for part in text.split(",")]
    except (TypeError, ValueError):
        pass
    return text


# -- XML ---------------------------------------------------------------------------------------------------------------


def _xml(body: bytes) -> Element:
    try:
        return fromstring(body)
    except ParseError as error:
        raise Unreadable(f"no XML: {error}") from None


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


@cache
def _xml_names(shape: Shape) -> dict[str, tuple[str, Shape, bool]]:
    """Of each element: the member, its shape, and whether it is one of several."""
    names = {}
    for name, member in shape.members.items():
        wire = member.serialization.get("name", name)
        is_flat = member.type_name in ("list", "map") and bool(member.serialization.get("flattened"))
        if is_flat and member.type_name == "list":
            wire = member.member.serialization.get("name", wire)
        names[wire] = name, member, is_flat
    return names


def _of_children(shape: Shape, children: list[Element], protocol: str) -> dict[str, Any]:
    names, value = _xml_names(shape), {}
    for child in children:
        tag = _local(child)
        name, member, is_flat = names.get(tag, (tag, None, False))
        if member is None:
            value[name] = child.text
        elif is_flat and member.type_name == "list":
            value.setdefault(name, []).append(_of_element(member.member, child, protocol))
        elif is_flat:
            value.setdefault(name, {}).update(_entry(member, child, protocol))
        else:
            value[name] = Foreign(f"a second <{tag}>") if name in value else _of_element(member, child, protocol)
    return value


def _entry(shape: Shape, entry: Element, protocol: str) -> dict[str, Any]:
    key, item = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
    parts = {_local(child): child for child in entry}
    if set(parts) != {key, item}:
        return {f"<{_local(entry)}>": Foreign(f"<{_local(entry)}> with {sorted(parts)}")}
    return {parts[key].text or "": _of_element(shape.value, parts[item], protocol)}


def _of_element(shape: Shape, element: Element, protocol: str) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return _of_children(shape, list(element), protocol)
    if kind == "list":
        # EC2 calls an element of a list `item`, which its model says in each place.
        name = shape.member.serialization.get("name", "member")
        return [
            _of_element(shape.member, child, protocol) if _local(child) == name else Foreign(f"<{_local(child)}>")
            for child in element
        ]
    if kind == "map":
        value: dict[str, Any] = {}
        for child in element:
            value |= _entry(shape, child, protocol)
        return value
    if len(element):
        return Foreign(f"<{_local(element)}> with elements")
    return _scalar(shape, element.text or "")
