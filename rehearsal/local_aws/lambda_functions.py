"""Lambda: the environment of a function with JSON logging, asynchronous invocations with their queue, and what each
invocation took.

Not restored: that Lambda publishes no version that equals the last published one (MiniStack goes by the revision of the
function), what else than the machine's own cores limits concurrency, the destination "on success".
"""

import contextvars
import itertools
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import cloudwatch_logs, lambda_svc

import clock
import iam
import queues

Response = tuple[int, dict[str, str], bytes]

logger = logging.getLogger("lambda")

# How many functions that nobody waits for run at once. AWS would run all of them; each is a process here. With less than these
# a fleet's events wait for each other for minutes.
AT_ONCE = 32
# "Lambda retries function errors twice, with a one-minute wait before the first retry, and two minutes before the
# second" (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
WAITS = (60, 120)
# Throttled events are retried for up to six hours, "from 1 second after the first attempt to a maximum of 5 minutes"
# (same page).
EVENT_AGE = 6 * 3600
LONGEST_WAIT = 300


def _log_as_configured() -> None:
    """Lambda tells a runtime the log format and level through its environment
    (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html)."""
    environment = lambda_svc._provided_worker_env

    def provided_worker_env(config: dict[str, Any], code_dir: str, port: int) -> dict[str, str]:
        variables: dict[str, str] = environment(config, code_dir, port)
        logging = config.get("LoggingConfig") or {}
        if logging.get("LogFormat") == "JSON":
            variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
            variables["AWS_LAMBDA_LOG_LEVEL"] = logging.get("ApplicationLogLevel", "INFO")
        return variables

    lambda_svc._provided_worker_env = provided_worker_env


# -- what invocations take ---------------------------------------------------------------------------------------------

invocations: list[dict[str, Any]] = []


def _peak_memory(process: Any) -> int | None:
    """The most memory that a process has had, in KB, as Lambda's "Max Memory Used" says it; None if it has ended."""
    try:
        with open(f"/proc/{process.pid}/status") as status:
            found = next((line for line in status if line.startswith("VmHWM:")), None)
    except OSError:
        return None
    return int(found.split()[1]) if found else None


def _invoke(worker: Any, event: Any, *given: Any, **named: Any) -> dict[str, Any]:
    """Run an invocation, and note it as Lambda's REPORT line does, with the id of the EventBridge event that it is for."""
    began, at = time.monotonic(), time.time()
    answer: dict[str, Any] = _ministack_invoke(worker, event, *given, **named)
    failed = answer.get("status") != "ok"
    invocations.append(
        {
            "function": worker.func_name,
            "event": event.get("id") if isinstance(event, dict) and "detail-type" in event else None,
            "at": at,
            "seconds": time.monotonic() - began,
            "cold_start": bool(answer.get("cold_start")),
            "error": (answer.get("error_payload") or {}).get("errorType") if failed else None,
            "peak_memory_kb": _peak_memory(worker._proc) if worker._proc else None,
        }
    )
    return answer


_ministack_invoke: Callable[..., Any] = lambda_runtime.ProvidedWorker.invoke


# -- asynchronous invocations ------------------------------------------------------------------------------------------

_waiting: deque[Callable[[], None]] = deque()
_arrived = threading.Semaphore(0)
_numbers = itertools.count()
# What nobody waits for and has not ended, retries included: invocations, and deliveries of events.
unfinished: set[int] = set()


def begin() -> int:
    """Something has begun that nobody waits for; its number ends it."""
    number = next(_numbers)
    unfinished.add(number)
    return number


def end(number: int) -> None:
    """It has ended."""
    unfinished.discard(number)


def _work() -> None:
    """Run what waits, the oldest first."""
    while True:
        _arrived.acquire()
        try:
            _waiting.popleft()()
        except Exception:
            logger.exception("an asynchronous invocation could not be carried out")


def _queue(attempt: Callable[[], None]) -> None:
    """Run an attempt as soon as it is its turn, in the account and region of the caller."""
    context = contextvars.copy_context()
    _waiting.append(lambda: context.run(attempt))
    _arrived.release()


def invoke_async(function: dict[str, Any], event: Any, number: int | None = None) -> None:
    """Invoke a function without waiting for it; with the number of the delivery that it ends, if it ends one. A function
    error is retried twice, a throttled event for six hours; then the event goes to where the function wants its failures."""
    config = function.get("config") or function
    settings = function.get("event_invoke_config") or (function.get("event_invoke_configs") or {}).get("$LATEST") or {}
    retries = settings.get("MaximumRetryAttempts")
    retries = len(WAITS) if retries is None else int(retries)
    most_age = settings.get("MaximumEventAgeInSeconds") or EVENT_AGE
    accepted = time.time()
    errors = throttles = 0
    number = begin() if number is None else number

    def attempt() -> None:
        retried = False
        try:
            retried = try_once()
        finally:
            if not retried:
                end(number)

    def try_once() -> bool:
        """Whether it is tried once more."""
        nonlocal errors, throttles
        begun = time.time()
        result = lambda_svc._execute_function_with_config_scope(function, event)
        throttled = bool(result.get("throttle"))
        failed = bool(result.get("error"))
        lambda_svc._emit_lambda_metrics(
            config["FunctionName"], (time.time() - begun) * 1000, error=failed and not throttled, throttle=throttled
        )
        if not failed:
            return False
        if throttled:
            wait = min(2**throttles, LONGEST_WAIT)
            throttles += 1
        elif errors < retries:
            wait = WAITS[errors]
            errors += 1
        else:
            _give_up(function, event, result, settings)
            return False
        if clock.age(accepted) + wait > most_age:
            _give_up(function, event, result, settings)
            return False
        clock.after(wait, lambda: _queue(attempt))
        return True

    _queue(attempt)


def _give_up(function: dict[str, Any], event: Any, result: dict[str, Any], settings: dict[str, Any]) -> None:
    """Send the event to the function's destination for failures, or as it is to its dead-letter queue, with the
    attributes RequestID, ErrorCode and ErrorMessage
    (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq)."""
    config = function.get("config") or function
    name = config["FunctionName"]
    if destination := (settings.get("DestinationConfig") or {}).get("OnFailure", {}).get("Destination"):
        lambda_svc._route_async_failure(destination, name, event, result)
        return
    queue = (config.get("DeadLetterConfig") or {}).get("TargetArn")
    if not queue:
        return
    if not iam.role_may(config["Role"], iam.Check("sqs:SendMessage", queue)):
        logger.warning("%s may not send to its dead-letter queue %s: the event is lost", name, queue)
        return
    body = result.get("body")
    message = body.get("errorMessage") or body.get("message") if isinstance(body, dict) else str(body)
    attributes = {
        "RequestID": ("String", lambda_svc.new_uuid()),
        "ErrorCode": ("Number", "429" if result.get("throttle") else "200"),
        "ErrorMessage": ("String", (message or "no message")[:1024]),
    }
    if not queues.put(queue, json.dumps(event), attributes):
        logger.warning("the dead-letter queue %s of %s does not exist: the event is lost", queue, name)


def _describe_log_groups(data: dict[str, Any]) -> Response:
    """MiniStack counts the bytes of streams that the threads of functions add to meanwhile."""
    for _ in range(100):
        try:
            response: Response = _ministack_describe_log_groups(data)
            return response
        except RuntimeError as error:
            if "changed size" not in str(error):
                raise
    raise RuntimeError("functions write so much that their log groups cannot be listed")


_ministack_describe_log_groups = cloudwatch_logs._describe_log_groups


def install() -> None:
    cloudwatch_logs._describe_log_groups = _describe_log_groups
    _log_as_configured()
    lambda_runtime.ProvidedWorker.invoke = _invoke
    lambda_svc.invoke_async_with_retry = invoke_async
    for _ in range(AT_ONCE):
        threading.Thread(target=_work, daemon=True).start()
