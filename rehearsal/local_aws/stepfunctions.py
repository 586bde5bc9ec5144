"""Step Functions: branches and items that stop when one fails, limits that hold, roles that are asked, a truthful history.

Waits and retry intervals are AWS seconds, as are a machine's TimeoutSeconds and that of a nested execution. A task's
TimeoutSeconds is wall time: a Lambda function works no faster here than on AWS.

An execution of a standard machine that starts or ends is an event of EventBridge.

Not restored: permission checks of `aws-sdk:` integrations, redrive, what is aborted in the history, distributed Map states.
"""

import contextlib
import contextvars
import copy
import functools
import json
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.services import stepfunctions as sf

import clock
import eventbridge
import iam

State = dict[str, Any]
Execution = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

_execution: ContextVar[Execution | None] = ContextVar("execution", default=None)
# One event for each Parallel or Map state around the current path: set when another of its paths has failed.
_branches: ContextVar[tuple[threading.Event, ...]] = ContextVar("branches", default=())
# The id of the last event on the current path through the graph, in a list because threads of one path share it.
_previous: ContextVar[list[int] | None] = ContextVar("previous", default=None)
# The parameters of the task that the current path is about to schedule.
_parameters: ContextVar[Any] = ContextVar("parameters", default=None)
_events = threading.Lock()

# States.ALL and States.TaskFailed do not match these
# (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html).
_TERMINAL = {"States.Runtime", "States.DataLimitExceeded"}

# The name of an execution has no "white space, brackets < > { } [ ], wildcard characters ? *, special characters
# \" # % \\ ^ | ~ ` $ & , ; : /, control characters".
_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")


class Stopped(BaseException):
    """The execution has ended, or a sibling branch has failed: this path goes no further."""


def _is_stopped() -> bool:
    execution = _execution.get()
    ended = execution is not None and execution["status"] != "RUNNING"
    return ended or any(branch.is_set() for branch in _branches.get())


def _sleep(seconds: float) -> None:
    end = time.monotonic() + clock.wall(seconds)
    # Less and less often: hundreds of executions that wait for days would keep a processor busy.
    pause = 0.05
    while (left := end - time.monotonic()) > 0:
        if _is_stopped():
            raise Stopped
        time.sleep(min(left, pause))
        pause = min(pause * 1.5, 2)


# -- history -----------------------------------------------------------------------------------------------------------


def _integration(resource: str) -> dict[str, str]:
    """`arn:aws:states:::lambda:invoke` in events: the type `lambda`, the resource `invoke`."""
    kind, _, action = resource.removeprefix("arn:aws:states:::").partition(":")
    return {"resourceType": kind, "resource": action}


def _add_event(execution: Execution, kind: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """Link each event to the one before it on its own path, and write none for a path that is stopped."""
    own = _execution.get() is execution
    if own and _is_stopped() and not kind.startswith("Execution"):
        raise Stopped
    details = copy.deepcopy(details or {})
    for name, fields in details.items():
        if name.startswith("task") and str(fields.get("resource", "")).startswith("arn:aws:states:::"):
            fields |= _integration(fields["resource"])
    if kind == "TaskScheduled":
        # Both are in each such event (https://docs.aws.amazon.com/step-functions/latest/apireference/API_TaskScheduledEventDetails.html).
        details["taskScheduledEventDetails"] |= {"region": sf.get_region(), "parameters": json.dumps(_parameters.get())}
    if kind == "TaskFailed" and details["taskFailedEventDetails"]["error"] == "States.Timeout":
        kind, details = "TaskTimedOut", {"taskTimedOutEventDetails": details["taskFailedEventDetails"]}
    previous = _previous.get() if own else None
    with _events:
        event: dict[str, Any] = _ministack_add_event(execution, kind, details)
        event["previousEventId"] = previous[0] if previous else event["id"] - 1
        if previous:
            previous[0] = event["id"]
    if kind == "TaskScheduled":
        started = {key: details["taskScheduledEventDetails"].get(key) for key in ("resourceType", "resource")}
        _add_event(execution, "TaskStarted", {"taskStartedEventDetails": started})
    return event


def _remember_parameters(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Of a state; only a task looks at them, right after."""

    def remember(*arguments: Any) -> Any:
        parameters = apply(*arguments)
        _parameters.set(parameters)
        return parameters

    return remember


# -- retries -----------------------------------------------------------------------------------------------------------


def _find_retrier(retriers: list[State], error: str, counts: dict[int, int]) -> tuple[State | None, int]:
    """Wait as AWS does, MaxDelaySeconds and JitterStrategy included; MiniStack caps each wait at a minute."""
    if error in _TERMINAL:
        return None, -1
    retrier, index = _ministack_find_retrier(retriers, error, counts)
    if retrier is None or _execution.get() is None:
        return retrier, index
    delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** counts.get(index, 0)
    delay = min(delay, retrier.get("MaxDelaySeconds", delay))
    _sleep(random.uniform(0, delay) if retrier.get("JitterStrategy") == "FULL" else delay)
    return {**retrier, "IntervalSeconds": 0}, index


def _find_catcher(catchers: list[State], error: str) -> State | None:
    named = [c for c in catchers if error in c.get("ErrorEquals", [])] if error in _TERMINAL else catchers
    catcher: State | None = _ministack_find_catcher(named, error)
    return catcher


# -- tasks -------------------------------------------------------------------------------------------------------------


def _authorise(error: str, action: str, resource: str) -> None:
    """A machine does only what its role may do; MiniStack does not ask."""
    execution = _execution.get()
    if execution is None:
        return
    role = sf._state_machines[execution["stateMachineArn"]]["roleArn"]
    if not iam.role_may(role, iam.Check(action, resource)):
        cause = f"User: {role} is not authorized to perform: {action} on resource: {resource} "
        cause += f"because no identity-based policy allows the {action} action"
        raise sf._ExecutionError(error, cause)


def _call_lambda(function: str, event: Any) -> Any:
    if not function.startswith("arn:"):
        function = f"arn:aws:lambda:{sf.get_region()}:{sf.get_account_id()}:function:{function}"
    _authorise("Lambda.AWSLambdaException", "lambda:InvokeFunction", function)
    try:
        return _ministack_call_lambda(function, event)
    except sf._ExecutionError as error:
        # MiniStack knows no name for it (https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html).
        if error.error == "Lambda.Unknown" and "TooManyRequestsException" in str(error.cause):
            raise sf._ExecutionError("Lambda.TooManyRequestsException", error.cause) from None
        raise


def _publish(resource: str, parameters: dict[str, Any]) -> Any:
    _authorise("SNS.AuthorizationErrorException", "sns:Publish", parameters.get("TopicArn", "*"))
    try:
        return _ministack_publish(resource, parameters)
    except sf._ExecutionError as error:
        # An error has the name of its exception; MiniStack calls each SNS.PublishFailed and gives the whole answer.
        found = re.search(r"<Code>(\w+?)(?:Exception)?</Code>\s*<Message>(.*?)</Message>", error.cause, re.DOTALL)
        if found is None:
            raise
        raise sf._ExecutionError(f"SNS.{found[1]}Exception", found[2]) from None


def _with_time_limit(resource: str, parameters: Any, seconds: float) -> Any:
    """A nested execution that takes too long is stopped; a function that does so runs on unheard."""
    if not resource.startswith("arn:aws:states:::states:startExecution.sync"):
        return _ministack_with_time_limit(resource, parameters, seconds)
    abandoned = threading.Event()
    outer = _branches.set((*_branches.get(), abandoned))
    try:
        return _ministack_with_time_limit(resource, parameters, clock.wall(seconds))
    except sf._ExecutionError:
        abandoned.set()
        raise
    finally:
        _branches.reset(outer)


def _start_nested(resource: str, parameters: dict[str, Any]) -> dict[str, Any]:
    request = sf._nested_start_execution_request(parameters)
    _authorise("StepFunctions.AccessDeniedException", "states:StartExecution", request["stateMachineArn"])
    status, _, body = _start_execution(request)
    answer = json.loads(body)
    if status >= 400:
        error = answer.get("__type", "").removesuffix("Exception")
        raise sf._ExecutionError(f"StepFunctions.{error}Exception", answer.get("message", ""))
    return {"ExecutionArn": answer["executionArn"], "StartDate": answer["startDate"]}


def _run_nested(resource: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """`.sync` starts an ordinary execution and follows it; when the outer one is stopped, so is the inner."""
    arn = _start_nested(resource, parameters)["ExecutionArn"]
    for action in ("states:DescribeExecution", "states:StopExecution"):
        _authorise("StepFunctions.AccessDeniedException", action, arn)
    nested = sf._executions[arn]
    while nested["status"] == "RUNNING":
        if _is_stopped():
            sf._stop_execution({"executionArn": arn, "cause": "the outer execution was stopped"})
            raise Stopped
        time.sleep(0.02)
    machine = sf._state_machines[nested["stateMachineArn"]]
    description = {
        "ExecutionArn": arn,
        "Input": nested["input"],
        "InputDetails": {"Included": True},
        "Name": nested["name"],
        "StartDate": nested["startDate"],
        "StateMachineArn": machine["stateMachineArn"],
        "Status": nested["status"],
        "StopDate": nested["stopDate"],
    }
    if nested["status"] != "SUCCEEDED":
        description |= {"Error": nested.get("error"), "Cause": nested.get("cause")}
        raise sf._ExecutionError("States.TaskFailed", json.dumps(description))
    output = nested["output"]
    return description | {
        "Output": json.loads(output) if resource.endswith(".sync:2") else output,
        "OutputDetails": {"Included": True},
    }


# -- Parallel and Map --------------------------------------------------------------------------------------------------

# "Concurrent iterations may be limited. When this occurs, some iterations won't begin until previous iterations complete.
# The likelihood of this occurring increases when your input array has more than 40 items"
# (https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html).
MAP_ITERATIONS_AT_ONCE = 40


def _run_together(execution: Execution, kind: str, runs: list[Callable[[], Any]], at_once: int, fork: int) -> list[Any]:
    """Run paths through the graph at the same time, so many at once. One that fails fails the state at once and stops the
    others."""
    results: list[Any] = [None] * len(runs)
    failures: list[tuple[int, Exception]] = []
    failed, ended = threading.Event(), threading.Semaphore(0)
    paths = [[fork] for _ in runs]
    waiting = deque(range(len(runs)))

    def work() -> None:
        _branches.set((*_branches.get(), failed))
        while waiting:
            try:
                index = waiting.popleft()
            except IndexError:  # another has taken the last
                return
            _previous.set(paths[index])
            try:
                if not _is_stopped():
                    results[index] = runs[index]()
            except Stopped:
                pass
            except Exception as failure:  # whatever it is, it fails the state
                failures.append((index, failure))
                failed.set()
            finally:
                ended.release()

    for _ in range(min(at_once, len(runs))):
        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
    for _ in runs:
        while not failures and not ended.acquire(timeout=0.05):
            if _is_stopped():
                raise Stopped
    if _is_stopped():
        raise Stopped
    previous = _previous.get()
    if failures:
        index, failure = failures[0]
        if previous:
            previous[0] = paths[index][0]
        sf._add_event(execution, f"{kind}StateFailed")
        if isinstance(failure, sf._ExecutionError):
            raise failure
        raise sf._ExecutionError("States.BranchFailed", str(failure))
    if previous:
        previous[0] = max((path[0] for path in paths), default=fork)
    sf._add_event(execution, f"{kind}StateSucceeded")
    return results


def _finish(state: State, data: Any, context: State, results: list[Any]) -> tuple[Any, str | None]:
    """The output of a Parallel or Map state, and the state after it."""
    if sf._state_query_language(state, context) == "JSONata":
        output = sf._apply_jsonata_output(state, data, context, result=results, default=results)
        sf._apply_state_assign(state, data, context, result=results)
    else:
        output = sf._apply_result_path(state, data, sf._apply_result_selector(state, results))
        output = sf._apply_output_path(state, output, context)
    return output, sf._next_or_end(state)


def _run_branches(state: State, data: Any, execution: Execution, context: State) -> tuple[Any, str | None]:
    if sf._state_query_language(state, context) == "JSONata":
        given = sf._apply_jsonata_arguments(state, data, context)
    else:
        given = sf._apply_parameters(state, sf._apply_input_path(state, data, context), context)

    def run(branch: State) -> Any:
        # Each branch has a context object of its own: its state, its retries.
        own = copy.deepcopy(context)
        return sf._run_sub_machine(branch["States"], branch["StartAt"], given, execution, own)

    fork = sf._add_event(execution, "ParallelStateStarted")["id"]
    runs = [functools.partial(run, branch) for branch in state["Branches"]]
    return _finish(state, data, context, _run_together(execution, "Parallel", runs, len(runs), fork))


def _run_items(state: State, data: Any, execution: Execution, context: State) -> tuple[Any, str | None]:
    """MaxConcurrency iterations at once. "If an iteration fails, the Map state fails and the other iterations stop"
    (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html)."""
    processor = state.get("ItemProcessor") or state["Iterator"]
    if (processor.get("ProcessorConfig") or {}).get("Mode") == "DISTRIBUTED":
        answer: tuple[Any, str | None] = _ministack_run_items(state, data, execution, context)
        return answer
    jsonata = sf._state_query_language(state, context) == "JSONata"
    given = sf._apply_input_path(state, data, context)
    at_once = state.get("MaxConcurrency", 0)
    if jsonata:
        items = sf._jsonata_state_field(state, "Items", "array", data, context) if "Items" in state else data
        at_once = sf._jsonata_state_field({"MaxConcurrency": at_once}, "MaxConcurrency", "number", data, context)
    else:
        path = state.get("ItemsPath", "$")
        items = sf._resolve_path_or_ctx(path, given, context)
        if not isinstance(items, list):
            raise sf._ExecutionError("States.Runtime", f"Reference path '{path}' must point to array.")
        if "MaxConcurrencyPath" in state:
            at_once = sf._resolve_path_or_ctx(state["MaxConcurrencyPath"], given, context)
    selector = state.get("ItemSelector") or state.get("Parameters")
    name = context["State"]["Name"]

    def run(index: int, item: Any) -> Any:
        own = copy.deepcopy(context)
        own["Map"] = {"Item": {"Index": index, "Value": item}}
        iteration = {"name": name, "index": index}
        sf._add_event(execution, "MapIterationStarted", {"mapIterationStartedEventDetails": iteration})
        chosen = item
        if selector and jsonata:
            chosen = sf._apply_jsonata_template(selector, data, own)
        elif selector:
            chosen = sf._resolve_params_obj(selector, given, own)
        try:
            result = sf._run_sub_machine(processor["States"], processor["StartAt"], chosen, execution, own)
        except Exception:
            sf._add_event(execution, "MapIterationFailed", {"mapIterationFailedEventDetails": iteration})
            raise
        sf._add_event(execution, "MapIterationSucceeded", {"mapIterationSucceededEventDetails": iteration})
        return result

    fork = sf._add_event(execution, "MapStateStarted", {"mapStateStartedEventDetails": {"length": len(items)}})["id"]
    runs = [functools.partial(run, index, item) for index, item in enumerate(items)]
    at_once = min(int(at_once) or MAP_ITERATIONS_AT_ONCE, MAP_ITERATIONS_AT_ONCE)
    return _finish(state, data, context, _run_together(execution, "Map", runs, at_once, fork))


def _run_sub_machine(states: State, start: str, data: Any, execution: Execution, context: State) -> Any:
    """MiniStack runs the states of a branch without a trace in the history."""
    name: str | None = start
    data = copy.deepcopy(data)
    while name:
        if name not in states:
            raise sf._ExecutionError("States.Runtime", f"State '{name}' not found")
        state = states[name]
        kind = state["Type"]
        context["State"] = {"Name": name, "EnteredTime": sf.now_iso(), "RetryCount": 0}
        entered = {"name": name, "input": json.dumps(data)}
        sf._add_event(execution, f"{kind}StateEntered", {"stateEnteredEventDetails": entered})
        if kind == "Fail":
            raise sf._ExecutionError(*sf._fail_state_error(state, data, context))
        following: str | None = None
        if kind == "Succeed":
            data = sf._apply_output_path(state, sf._apply_input_path(state, data, context), context)
        else:
            execute = getattr(sf, f"_execute_{kind.lower()}")
            walks = kind in ("Task", "Parallel", "Map")
            arguments = (state, data, execution, context) if walks else (state, data, context)
            data, following = execute(*arguments)
        exited = {"name": name, "output": json.dumps(data)}
        sf._add_event(execution, f"{kind}StateExited", {"stateExitedEventDetails": exited})
        name = following
    return data


# -- executions --------------------------------------------------------------------------------------------------------


def _run_execution(arn: str) -> None:
    """Hold the machine to its TimeoutSeconds."""
    execution = sf._executions[arn]
    _execution.set(execution)
    _branches.set(())
    _previous.set([1])
    definition = json.loads(sf._state_machines[execution["stateMachineArn"]]["definition"])

    def time_out() -> None:
        if execution["status"] == "RUNNING":
            execution.update(status="TIMED_OUT", error="States.Timeout", stopDate=sf.now_iso())
            details = {"executionTimedOutEventDetails": {"error": "States.Timeout"}}
            sf._add_event(execution, "ExecutionTimedOut", details)
            _emit_status(execution)

    if "TimeoutSeconds" in definition:
        clock.after(definition["TimeoutSeconds"], time_out)
    with contextlib.suppress(Stopped):
        _ministack_run_execution(arn)


# The text of an input or output in an event, as JSON writes it
# (https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html, "248 KiB").
_EVENT_DATA = 248 * 1024


def _emit_status(execution: Execution) -> None:
    """An execution has started or ended; the members are those of AWS's examples, where one that was stopped has no error (the
    same page). MiniStack tells no error of one that timed out, and whole seconds."""
    if execution.get("sync") or sf._state_machines.get(execution["stateMachineArn"], {}).get("type") == "EXPRESS":
        return  # "Only standard workflows emit events"
    status = execution["status"]
    has_failed = status in ("FAILED", "TIMED_OUT")
    data = {"input": execution["input"], "output": execution["output"] if status == "SUCCEEDED" else None}
    sizes = {name: len(json.dumps(text).encode()) if text else 0 for name, text in data.items()}
    is_left_out = {"input": sum(sizes.values()) > _EVENT_DATA, "output": sizes["output"] > _EVENT_DATA}
    detail = {
        "executionArn": execution["executionArn"],
        "stateMachineArn": execution["stateMachineArn"],
        "name": execution["name"],
        "status": status,
        "startDate": sf._iso_to_epoch_ms(execution["startDate"]),
        "stopDate": sf._iso_to_epoch_ms(execution["stopDate"]),
        "stateMachineVersionArn": None,
        "stateMachineAliasArn": None,
        "redriveCount": 0,
        "redriveDate": None,
        "redriveStatus": "REDRIVABLE" if has_failed else "NOT_REDRIVABLE",
        "redriveStatusReason": f"Execution is {status} and {'is redrivable' if has_failed else 'cannot be redriven'}",
        "error": execution.get("error") if has_failed else None,
        "cause": execution.get("cause") if has_failed else None,
    }
    for name, text in data.items():
        detail[name] = None if is_left_out[name] else text
        detail[f"{name}Details"] = None if text is None else {"included": not is_left_out[name]}
    arn = execution["executionArn"]
    eventbridge.emit("aws.states", "Step Functions Execution Status Change", detail, [arn])


def _fail_execution(execution: Execution, error: str, cause: str) -> None:
    """What has ended stays as it ended, and a failed execution has no output."""
    if execution["status"] == "RUNNING":
        _ministack_fail_execution(execution, error, cause)
        execution["output"] = None


def _start_execution(data: dict[str, Any]) -> Response:
    """The same name with the same input is the same execution while it runs; names and inputs have a form
    (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html)."""
    if "name" in data and not _NAME.fullmatch(data["name"]):
        refused: Response = sf.error_response_json("InvalidName", f"Invalid Name: '{data['name']}'", 400)
        return refused
    try:
        json.loads(data.get("input") or "{}")
    except ValueError as error:
        refused = sf.error_response_json("InvalidExecutionInput", f"Invalid State Machine Execution Input: {error}", 400)
        return refused
    machine = sf._resolve_state_machine_arn(data.get("stateMachineArn", ""))
    if machine and data.get("name"):
        scope = f"arn:aws:states:{sf.get_region()}:{sf.get_account_id()}:execution"
        running = sf._executions.get(f"{scope}:{sf._state_machines[machine]['name']}:{data['name']}")
        same = running and json.loads(running["input"]) == json.loads(data.get("input") or "{}")
        if running and same and running["status"] == "RUNNING":
            return sf.json_response({"executionArn": running["executionArn"], "startDate": running["startDate"]})
    response: Response = _ministack_start_execution(data)
    return response


_ministack_add_event: Callable[..., Any] = sf._add_event
_ministack_find_retrier: Callable[..., Any] = sf._find_matching_retrier
_ministack_find_catcher: Callable[..., Any] = sf._find_matching_catcher
_ministack_call_lambda: Callable[..., Any] = sf._call_lambda
_ministack_publish: Callable[..., Any] = sf._invoke_sns_publish
_ministack_with_time_limit: Callable[..., Any] = sf._invoke_resource_with_timeout
_ministack_run_items: Callable[..., Any] = sf._run_map_items
_ministack_run_execution: Callable[..., Any] = sf._run_execution
_ministack_fail_execution: Callable[..., Any] = sf._fail_execution
_ministack_start_execution: Callable[..., Any] = sf._start_execution


def install() -> None:
    sf._scaled_sleep = _sleep
    sf._add_event = _add_event
    sf._apply_parameters = _remember_parameters(sf._apply_parameters)
    sf._apply_jsonata_arguments = _remember_parameters(sf._apply_jsonata_arguments)
    sf._find_matching_retrier = _find_retrier
    sf._find_matching_catcher = _find_catcher
    sf._call_lambda = _call_lambda
    sf._SERVICE_DISPATCH["arn:aws:states:::sns:publish"] = _publish
    sf._invoke_resource_with_timeout = _with_time_limit
    sf._invoke_nested_start_execution = _start_nested
    sf._invoke_nested_start_execution_sync = _run_nested
    sf._run_parallel_branches = _run_branches
    sf._run_map_items = _run_items
    sf._run_sub_machine = _run_sub_machine
    sf._run_execution = _run_execution
    sf._fail_execution = _fail_execution
    sf._start_execution = _start_execution
    sf._emit_execution_status_event = _emit_status
