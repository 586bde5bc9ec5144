"""Lasting limits: so many calls of an operation in a second, and no more, as a token bucket like that of EC2
(https://docs.aws.amazon.com/AWSEC2/latest/APIReference/throttling.html). AWS documents none of App Runner.
(Assumption call-limits)
"""

import threading
import time


class Limit:
    """A bucket that holds the calls of one second. `*` is all operations of a service together."""

    def __init__(self, service: str, operation: str, per_second: float) -> None:
        if per_second <= 0:
            raise ValueError("per_second must be positive")
        self.service, self.operation, self.per_second = service, operation, per_second
        self._tokens = max(per_second, 1.0)
        self._filled = time.monotonic()

    def applies(self, service: str, operation: str) -> bool:
        return self.service == service and self.operation in (operation, "*")

    def take(self) -> bool:
        """Whether one more call is within the limit."""
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled) * self.per_second, max(self.per_second, 1.0))
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


_limits: list[Limit] = []
_lock = threading.Lock()


def add(limit: Limit) -> None:
    """A limit takes the place of an earlier one for the same calls."""
    with _lock:
        _limits[:] = [old for old in _limits if (old.service, old.operation) != (limit.service, limit.operation)]
        _limits.append(limit)


def clear() -> None:
    with _lock:
        _limits.clear()


def exceeded(service: str, operation: str) -> bool:
    """Count a call; whether it is one too many."""
    with _lock:
        taken = [limit.take() for limit in _limits if limit.applies(service, operation)]
        return not all(taken)
