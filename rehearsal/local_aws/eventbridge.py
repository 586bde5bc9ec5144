"""EventBridge: events of AWS's own services, targets that must be allowed to be invoked, and dead letters.

Not restored: retries, dead letters and roles of targets other than Lambda functions and state machines.
"""

import json
import logging
import time
from collections import deque
from typing import Any

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import eventbridge, lambda_svc, sqs
from ministack.services import stepfunctions as states

import clock
import faults
import iam
import lambda_functions
import queues
import scope

logger = logging.getLogger("eventbridge")

Event = dict[str, Any]

# "By default, EventBridge retries sending the event for 24 hours and up to 185 times with an exponential back off"
# (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html). How long it waits is not told.
RETRIES = 185
EVENT_AGE = 24 * 3600
LONGEST_WAIT = 300

# What went over the default bus of the account that all is in.
events: deque[Event] = deque(maxlen=10_000)

# AWS's own events come at best effort: while this is set none does
# (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-delivery-level.html).
losing = False


def lose(is_on: bool) -> None:
    """Lose the events of AWS services from now on, or no longer."""
    global losing
    losing = is_on


def now() -> str:
    """The `time` of an event. AWS writes whole seconds; here minutes pass in a second, and events that are minutes
    apart must not have the same time."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03}Z"


def put(event: Event) -> str:
    """Put an event in the form in which rules and targets see it on the default bus; its id. `id`, `time`, `account`
    and `region` are kept, where given: a replayed event is the same event, and one that was forwarded from another
    account says so. Any `source` is allowed: this is AWS itself, and PutEvents refuses `aws.*`."""
    record = {
        "EventId": event.get("id") or new_uuid(),
        "Source": event["source"],
        "DetailType": event["detail-type"],
        "Detail": json.dumps(event.get("detail", {})),
        "EventBusName": "default",
        "Time": event.get("time") or now(),
        "Resources": event.get("resources", []),
        "Account": event.get("account") or get_account_id(),
        "Region": event.get("region") or get_region(),
    }
    eventbridge._events_log_list().append(record)
    eventbridge._dispatch_event(record)
    eventbridge._archive_event(record)
    return record["EventId"]


def emit(source: str, detail_type: str, detail: Event, resources: list[str], at: str | None = None) -> None:
    """An AWS service says that something has happened, now if not `at` another time."""
    put({"source": source, "detail-type": detail_type, "detail": detail, "resources": resources, "time": at})


def _remember_events() -> None:
    dispatch = eventbridge._dispatch_event

    def dispatch_event(event: Event, view: Any = None) -> None:
        if losing and event["Source"].startswith("aws."):
            return
        view = view or eventbridge._pattern_event_view(event)
        here = (get_account_id(), get_region()) == (scope.ACCOUNT, scope.REGION)
        if here and event.get("EventBusName", "default") == "default":
            # Its own `time` need not be now: an event is put again later, or arranged for another day.
            events.append({**view.event_with_detail(), "at": time.time()})
        dispatch(event, view)

    eventbridge._dispatch_event = dispatch_event


# -- functions and state machines as targets ---------------------------------------------------------------------------


def _may_invoke(function: dict[str, Any], arn: str, rule_arn: str) -> bool:
    """Whether the function's resource policy lets EventBridge invoke it for this rule; MiniStack does not ask
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-lambda-permissions)."""
    context = iam_evaluator.EvalContext(
        principal_arn="*",
        principal_type="Service",
        principal_account="",
        action="lambda:InvokeFunction",
        resource_arn=arn,
        region=get_region(),
        service_context={"aws:sourcearn": rule_arn, "aws:sourceaccount": get_account_id()},
    )
    policy = function.get("policy")
    return iam_evaluator.evaluate_resource_policy(policy, context, service="events.amazonaws.com").decision == "Allow"


def _refuse_function(target: Event, rule: Event) -> tuple[str, str] | None:
    """Why a function cannot be invoked, however often it is tried."""
    function, config, _ = lambda_svc._get_func_record_for_ref(target["Arn"])
    if not function or not config:
        return "NO_RESOURCE", f"Function not found: {target['Arn']}"
    if not _may_invoke(function, target["Arn"], rule["Arn"]):
        return "NO_PERMISSIONS", f"EventBridge is not authorized to invoke {target['Arn']}"
    return None


def _refuse_machine(target: Event, rule: Event) -> tuple[str, str] | None:
    """Why a state machine cannot be started: EventBridge does it with the rights of the target's role
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-iam-roles.html)."""
    machine, role = target["Arn"], target.get("RoleArn", "")
    if not states._resolve_state_machine_arn(machine):
        return "NO_RESOURCE", f"State Machine Does Not Exist: '{machine}'"
    if not iam.service_may_assume(role, "events.amazonaws.com", rule["Arn"]):
        return "NO_PERMISSIONS", f"EventBridge is not authorized to assume {role}"
    if not iam.role_may(role, iam.Check("states:StartExecution", machine)):
        return "NO_PERMISSIONS", f"{role} is not authorized to perform: states:StartExecution on {machine}"
    return None


def _hand_over(target: Event, payload: Any, number: int) -> bool:
    """Whether what has begun with this number goes on, in a function."""
    if target["Arn"].startswith("arn:aws:states:"):
        states._start_execution({"stateMachineArn": target["Arn"], "input": json.dumps(payload)})
        return False
    function, config, _ = lambda_svc._get_func_record_for_ref(target["Arn"])
    lambda_functions.invoke_async(lambda_svc._execution_record_for_config(function, config), payload, number)
    return True


def _deliver(target: Event, payload: Any, rule: Event) -> None:
    """Hand an event over to a function's queue or start a state machine with it. A target that is missing or may not be
    invoked is a dead letter at once; a call that is refused for the moment is repeated under the target's RetryPolicy
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html)."""
    arn, rule_arn = target["Arn"], rule["Arn"]
    is_machine = arn.startswith("arn:aws:states:")
    refuse = _refuse_machine if is_machine else _refuse_function
    operation = ("states", "StartExecution") if is_machine else ("lambda", "Invoke")
    policy = target.get("RetryPolicy") or {}
    retries, most_age = policy.get("MaximumRetryAttempts", RETRIES), policy.get("MaximumEventAgeInSeconds", EVENT_AGE)
    retried, waited = 0, 0.0

    def bury(code: str, message: str, exhausted: str | None = None) -> None:
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue:
            return
        if not sqs.queue_policy_allows(queue, "events.amazonaws.com", rule_arn, get_account_id()):
            logger.warning("%s does not let %s send dead letters: the event is lost", queue, rule_arn)
            return
        attributes = {
            "RULE_ARN": ("String", rule_arn),
            "TARGET_ARN": ("String", arn),
            "ERROR_CODE": ("String", code),
            "ERROR_MESSAGE": ("String", message),
        }
        if exhausted:
            attributes["EXHAUSTED_RETRY_CONDITION"] = ("String", exhausted)
            attributes["RETRY_ATTEMPTS"] = ("Number", str(retried))
        queues.put(queue, json.dumps(payload), attributes)

    number = lambda_functions.begin()

    def attempt() -> None:
        goes_on = False
        try:
            goes_on = try_once()
        finally:
            if not goes_on:
                lambda_functions.end(number)

    def try_once() -> bool:
        """Whether something follows: another attempt, or the function that has the event now."""
        nonlocal retried, waited
        if refusal := refuse(target, rule):
            bury(*refusal)
            return False
        if not (fault := faults.take(*operation, {"throttle", "error"})):
            return _hand_over(target, payload, number)
        code = "THROTTLING" if fault.kind == "throttle" else "ERROR_FROM_TARGET"
        wait = min(2**retried, LONGEST_WAIT)
        if retried >= retries:
            bury(code, "injected fault", "MaximumRetryAttempts")
            return False
        if waited + wait > most_age:
            bury(code, "injected fault", "MaximumEventAgeInSeconds")
            return False
        retried, waited = retried + 1, waited + wait
        clock.after(wait, attempt)
        return True

    attempt()


def _invoke_target(target: Event, event: Event, rule: Event, view: Any = None) -> None:
    """MiniStack invokes any function once, in a thread of its own, starts machines whatever the role may, and forgets the
    events that it cannot deliver."""
    if not target.get("Arn", "").startswith(("arn:aws:lambda:", "arn:aws:states:")):
        _ministack_invoke_target(target, event, rule, view)
        return
    view = view or eventbridge._pattern_event_view(event)
    payload: Any = view.event_with_detail()
    if "InputTransformer" in target:
        payload = _decoded(eventbridge._apply_input_transformer(target["InputTransformer"], rule, view))
    elif "Input" in target:
        payload = _decoded(target["Input"])
    elif "InputPath" in target:
        for part in target["InputPath"].removeprefix("$").split("."):
            payload = payload[part] if part else payload
    _deliver(target, payload, rule)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


_ministack_invoke_target = eventbridge._invoke_target


def install() -> None:
    _remember_events()
    eventbridge._invoke_target = _invoke_target
