"""CBOR (RFC 8949), as far as AWS's protocol smithy-rpc-v2-cbor uses it. Reading is botocore's."""

import struct
from dataclasses import dataclass
from typing import Any

from botocore.parsers import RpcV2CBORParser


@dataclass
class Tag:
    """A tagged value: tag 1 is a time in epoch seconds (RFC 8949, 3.4.2)."""

    tag: int
    value: Any


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * size:
            return bytes([major << 5 | extra]) + number.to_bytes(size, "big")
    raise ValueError(f"{number} is too large for CBOR")


def dumps(value: Any) -> bytes:
    """Encode a value of JSON's types, bytes or a Tag."""
    match value:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            text = value.encode()
            return _head(3, len(text)) + text
        case list() | tuple():
            return _head(4, len(value)) + b"".join(map(dumps, value))
        case dict():
            return _head(5, len(value)) + b"".join(dumps(k) + dumps(v) for k, v in value.items())
        case Tag():
            return _head(6, value.tag) + dumps(value.value)
    raise TypeError(f"no CBOR form for {type(value).__name__}")


def loads(data: bytes) -> Any:
    """Decode one data item; times become `datetime`."""
    parser = RpcV2CBORParser()
    return parser.parse_data_item(parser.get_peekable_stream_from_bytes(data))
