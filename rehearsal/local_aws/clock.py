"""AWS time in the local AWS: all durations are written in AWS seconds and divided by TIME_SCALE."""

import contextvars
import os
import threading
import time
from collections.abc import Callable

SCALE = float(os.environ["TIME_SCALE"])


def wall(aws_seconds: float) -> float:
    """AWS seconds as seconds on the wall."""
    return aws_seconds / SCALE


def age(created: float) -> float:
    """AWS seconds since `created`, a time of `time.time()`."""
    return (time.time() - created) * SCALE


def after(aws_seconds: float, action: Callable[[], None]) -> None:
    """Run `action` once after so many AWS seconds, in the account and region of the caller."""
    context = contextvars.copy_context()
    timer = threading.Timer(wall(aws_seconds), context.run, (action,))
    timer.daemon = True
    timer.start()
