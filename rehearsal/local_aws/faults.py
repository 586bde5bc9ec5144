"""Faults on demand: what the next calls of an operation get instead of, or on top of, their answer.

What AWS answers in its own words is in refusals.json, one refusal a line: the call, the HTTP status, AWS's code and message,
whether it passes (`transient`), stays (`final`) or is a mistake of the caller, the error that the functions make of it
(shared/src/error.rs), and who says so.
"""

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Fault:
    """The next `times` calls of an operation of a service meet this fault; `*` is any."""

    service: str
    operation: str
    kind: str
    times: int = 1
    seconds: float = 0
    # The id of a line of refusals.json.
    refusal: str = ""


# What is accepted and then fails, or never ends, is the resource's fault, not the call's: the resource asks for it.
OF_RESOURCES = {"fails", "stuck"}
OF_CALLS = {"throttle", "error", "timeout-after", "slow", "refusal"}
# The answer has a member or an error code that AWS does not send.
OF_ANSWERS = {"foreign"}

REFUSALS: dict[str, dict[str, Any]] = {
    refusal["id"]: refusal
    for refusal in json.loads(Path(__file__).with_name("refusals.json").read_text(encoding="utf-8"))
}

_faults: list[Fault] = []
_lock = threading.Lock()


def add(fault: Fault) -> None:
    with _lock:
        _faults.append(fault)


def refuse(refusal: str, times: int) -> None:
    """The next calls that a line of refusals.json is about are refused so, and take no effect."""
    line = REFUSALS[refusal]
    add(Fault(line["service"], line["operation"], "refusal", times, refusal=refusal))


def clear() -> None:
    with _lock:
        _faults.clear()


def waiting() -> list[str]:
    with _lock:
        return [fault.refusal or fault.kind for fault in _faults]


def take(service: str, operation: str, kinds: set[str]) -> Fault | None:
    """Use up one call's worth of the first fault that fits."""
    with _lock:
        for fault in _faults:
            if fault.service in (service, "*") and fault.operation in (operation, "*") and fault.kind in kinds:
                fault.times -= 1
                if fault.times <= 0:
                    _faults.remove(fault)
                return fault
    return None
