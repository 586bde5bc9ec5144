"""EventBridge: events of AWS's own services, targets that must be allowed to be invoked, and dead letters.

Not restored: retries and dead letters of targets other than Lambda functions, state machines and topics; roles of targets other
than state machines.
"""

import json
import logging
import time
from collections import deque
from typing import Any

from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import eventbridge, lambda_svc, sqs
from ministack.services import stepfunctions as states

import clock
import faults
import iam
import lambda_functions
import queues
import scope
import sns

logger = logging.getLogger("eventbridge")

Event = dict[str, Any]

_SERVICE = "events.amazonaws.com"

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


# -- functions, state machines and topics as targets ---------------------------------------------------------------------------


def _may_invoke(function: dict[str, Any], arn: str, rule_arn: str) -> bool:
    """Whether the function's resource policy lets EventBridge invoke it for this rule; MiniStack does not ask
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-lambda-permissions)."""
    keys: iam.Context = {"aws:SourceArn": rule_arn, "aws:SourceAccount": get_account_id()}
    return iam.service_may(function.get("policy"), _SERVICE, "lambda:InvokeFunction", arn, keys)


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
    if not iam.service_may_assume(role, _SERVICE, rule["Arn"]):
        return "NO_PERMISSIONS", f"EventBridge is not authorized to assume {role}"
    if not iam.role_may(role, iam.Check("states:StartExecution", machine)):
        return "NO_PERMISSIONS", f"{role} is not authorized to perform: states:StartExecution on {machine}"
    return None


def _refuse_topic(target: Event, rule: Event) -> tuple[str, str] | None:
    """Why EventBridge cannot publish to a topic. The policy of the topic must allow it whether EventBridge sends the ARN and the
    account of the rule or not: SNS's guide lists it among the services that send `aws:SourceAccount`
    (https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html), and that of EventBridge said for years "You can't
    use of Condition blocks in Amazon SNS topic policies for EventBridge" (awsdocs/amazon-eventbridge-user-guide,
    doc_source/eb-use-resource-based.md). It does not send `aws:SourceOwner`, by which the default policy goes."""
    topic = target["Arn"]
    if not sns.exists(topic):
        return "NO_RESOURCE", f"Topic does not exist: {topic}"
    sent: iam.Context = {"aws:SourceArn": rule["Arn"], "aws:SourceAccount": get_account_id()}
    if not all(sns.may_publish(topic, _SERVICE, keys) for keys in (sent, {})):
        return "NO_PERMISSIONS", f"EventBridge is not authorized to publish to {topic}"
    return None


def _invoke_function(target: Event, text: str, number: int) -> bool:
    function, config, _ = lambda_svc._get_func_record_for_ref(target["Arn"])
    record = lambda_svc._execution_record_for_config(function, config)
    lambda_functions.invoke_async(record, _decoded(text), number)
    return True


def _start_machine(target: Event, text: str, number: int) -> bool:
    states._start_execution({"stateMachineArn": target["Arn"], "input": json.dumps(_decoded(text))})
    return False


def _publish(target: Event, text: str, number: int) -> bool:
    """The message is the text as it is, with the quotes of a sentence
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html), and has no subject."""
    sns.publish(target["Arn"], text)
    return False


# By the service of a target: the call, what refuses it, and what makes it. The last answers whether what has begun with a number
# goes on, in a function.
_TARGETS = {
    "lambda": ("Invoke", _refuse_function, _invoke_function),
    "sns": ("Publish", _refuse_topic, _publish),
    "states": ("StartExecution", _refuse_machine, _start_machine),
}


def _deliver(target: Event, text: str, rule: Event) -> None:
    """Hand an event over to a function's queue, start a state machine with it or publish it. A target that is missing or may not be
    invoked is a dead letter at once; a call that is refused for the moment is repeated under the target's RetryPolicy
    (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html)."""
    arn, rule_arn = target["Arn"], rule["Arn"]
    service = arn.split(":")[2]
    operation, refuse, hand_over = _TARGETS[service]
    policy = target.get("RetryPolicy") or {}
    retries, most_age = policy.get("MaximumRetryAttempts", RETRIES), policy.get("MaximumEventAgeInSeconds", EVENT_AGE)
    retried, waited = 0, 0.0

    def bury(code: str, message: str, exhausted: str | None = None) -> None:
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue:
            return
        if not sqs.queue_policy_allows(queue, _SERVICE, rule_arn, get_account_id()):
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
        queues.put(queue, text, attributes)

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
        if not (fault := faults.take(service, operation, {"throttle", "error"})):
            return hand_over(target, text, number)
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
    if target.get("Arn", "::").split(":")[2] not in _TARGETS:
        _ministack_invoke_target(target, event, rule, view)
        return
    view = view or eventbridge._pattern_event_view(event)
    if "InputTransformer" in target:
        text = eventbridge._apply_input_transformer(target["InputTransformer"], rule, view)
    elif "Input" in target:
        text = target["Input"]
    else:
        payload: Any = view.event_with_detail()
        for part in target.get("InputPath", "$").removeprefix("$").split("."):
            payload = payload[part] if part else payload
        text = json.dumps(payload)
    _deliver(target, text, rule)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


_ministack_invoke_target = eventbridge._invoke_target


def install() -> None:
    _remember_events()
    eventbridge._invoke_target = _invoke_target
