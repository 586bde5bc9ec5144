"""Faults on demand: what the next calls of an operation get instead of, or on top of, their answer."""

import threading
from dataclasses import dataclass


@dataclass
class Fault:
    """The next `times` calls of an operation of a service meet this fault; `*` is any."""

    service: str
    operation: str
    kind: str
    times: int = 1
    seconds: float = 0


# What is accepted and then fails, or never ends, is the resource's fault, not the call's: the resource asks for it.
OF_RESOURCES = {"fails", "stuck"}
OF_CALLS = {"throttle", "error", "timeout-after", "slow"}
# The answer has a member or an error code that AWS does not send.
OF_ANSWERS = {"foreign"}

_faults: list[Fault] = []
_lock = threading.Lock()


def add(fault: Fault) -> None:
    with _lock:
        _faults.append(fault)


def clear() -> None:
    with _lock:
        _faults.clear()


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
