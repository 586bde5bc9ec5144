"""CloudWatch: the protocol that the SDK for Rust speaks to it, smithy-rpc-v2-cbor, and alarms kept whole, which publish where
they may."""

import sys
import time
import types
from collections.abc import Callable
from typing import Any

from ministack.core import iam_actions
from ministack.core.responses import get_region
from ministack.services import cloudwatch

import cbor
import clock
import iam
import sns

Response = tuple[int, dict[str, str], bytes]


def _answer_in_cbor() -> None:
    """MiniStack answers CBOR only where the package cbor2 is installed, and in XML otherwise."""
    module = types.ModuleType("cbor2")
    module.dumps, module.loads, module.CBORTag = cbor.dumps, cbor.loads, cbor.Tag  # type: ignore[attr-defined]
    sys.modules["cbor2"] = module


def _name_errors_as_before() -> None:
    """Errors keep the codes of the older protocol in a header, which SDKs prefer
    (https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait)."""
    shapes: dict[str, Any] = iam_actions._load_botocore_model("cloudwatch")["shapes"]
    codes = {name: shape["error"]["code"] for name, shape in shapes.items() if "code" in shape.get("error", {})}
    error = cloudwatch._error

    def respond(code: str, message: str, status: int, use_json: bool = False, use_cbor: bool = False) -> Response:
        status, headers, body = error(code, message, status, use_json, use_cbor)
        if use_cbor or use_json:
            headers["x-amzn-query-error"] = f"{codes.get(code, code)};{'Sender' if status < 500 else 'Receiver'}"
        return status, headers, body

    cloudwatch._error = respond


_ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")
# What an alarm may say, and MiniStack drops (metric math) or makes up.
_OPTIONAL = (
    "AlarmDescription",
    "DatapointsToAlarm",
    "EvaluateLowSampleCountPercentile",
    "ExtendedStatistic",
    "InsufficientDataActions",
    "MetricName",
    "Metrics",
    "Namespace",
    "Period",
    "Statistic",
    "ThresholdMetricId",
    "Unit",
)


def _keep_alarms_as_they_were_put() -> None:
    """DescribeAlarms tells what PutMetricAlarm was told, no more and no less."""
    put = cloudwatch._put_metric_alarm

    def put_metric_alarm(form: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Response:
        response: Response = put(form, data, is_cbor, is_json)
        if response[0] == 200 and (is_cbor or is_json):
            alarm = cloudwatch._alarms[data["AlarmName"]]
            for name in _OPTIONAL:
                alarm.pop(name, None)
                if name in data:
                    alarm[name] = data[name]
        return response

    cloudwatch._put_metric_alarm = put_metric_alarm


def _refuse_topics_of_other_regions() -> None:
    """The sentence is AWS's own, as public reports have it."""
    put = cloudwatch._put_metric_alarm

    def put_metric_alarm(form: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Response:
        for arn in (arn for kind in _ACTIONS for arn in (data or {}).get(kind) or []):
            region = arn.split(":")[3]
            if arn.startswith("arn:aws:sns:") and region != get_region():
                message = f"Invalid region {region} specified. Only {get_region()} is supported."
                refused: Response = cloudwatch._error("ValidationError", message, 400, is_json, is_cbor)
                return refused
        response: Response = put(form, data, is_cbor, is_json)
        return response

    cloudwatch._put_metric_alarm = put_metric_alarm


def _publish_where_allowed() -> None:
    """The policy of the topic must let CloudWatch publish, which sends the alarm's ARN and the account along, as
    `aws:SourceOwner` too (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html,
    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html)."""
    dispatch = cloudwatch._dispatch_alarm_actions

    def dispatch_alarm_actions(alarm: dict[str, Any], *more: Any) -> None:
        account = cloudwatch.get_account_id()
        keys = {"aws:SourceArn": alarm["AlarmArn"], "aws:SourceAccount": account, "aws:SourceOwner": account}

        def is_allowed(arn: str) -> bool:
            return sns.exists(arn) and sns.may_publish(arn, "cloudwatch.amazonaws.com", keys)

        dispatch(alarm | {kind: [arn for arn in alarm.get(kind) or [] if is_allowed(arn)] for kind in _ACTIONS}, *more)

    cloudwatch._dispatch_alarm_actions = dispatch_alarm_actions


def _date_states() -> None:
    """StateUpdatedTimestamp is when the state was set last, StateTransitionedTimestamp when it became another one
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricAlarm.html). Both have milliseconds on
    AWS; MiniStack knows whole seconds, in which minutes pass here, and no transitions. An alarm that is put again keeps
    its state and its times."""

    def dated(change: Callable[..., Any], name_of: Callable[..., str]) -> Callable[..., Any]:
        def changed(*arguments: Any) -> Any:
            name = name_of(*arguments)
            before = dict(cloudwatch._alarms.get(name) or {})
            answer = change(*arguments)
            alarm, now = cloudwatch._alarms.get(name), round(time.time(), 3)
            if alarm is None:
                return answer
            if alarm["StateValue"] != before.get("StateValue"):
                alarm["StateTransitionedTimestamp"] = alarm["StateUpdatedTimestamp"] = now
            elif change is set_state:
                alarm["StateUpdatedTimestamp"] = now
            else:
                times = ("StateTransitionedTimestamp", "StateUpdatedTimestamp", "StateReasonData")
                alarm |= {key: before[key] for key in times if key in before}
            return answer

        return changed

    def named(form: Any, data: dict[str, Any], *_: Any) -> str:
        name: str = (data or {}).get("AlarmName") or cloudwatch._p(form, "AlarmName")
        return name

    set_state = cloudwatch._set_alarm_state
    cloudwatch._set_alarm_state = dated(set_state, named)
    cloudwatch._put_metric_alarm = dated(cloudwatch._put_metric_alarm, named)
    cloudwatch._evaluate_alarm = dated(cloudwatch._evaluate_alarm, lambda alarm: str(alarm["AlarmName"]))


# Sets the state of an alarm, which stays so.
_set_state: Callable[..., Response] = cloudwatch._set_alarm_state

# AWS seconds: "often within seconds".
_RETURNS_AFTER = 5.0


def _return_to_actual_states() -> None:
    """A state that a role sets lasts for a moment: "metric alarms returns to their actual state quickly, often within seconds"
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_SetAlarmState.html). Nothing publishes data here: what
    they say is what the account itself has set, which is whoever plays."""
    global _set_state
    _set_state = set_state = cloudwatch._set_alarm_state

    def set_alarm_state(form: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Response:
        name = (data or {}).get("AlarmName", "")
        before = dict(cloudwatch._alarms.get(name) or {})
        response: Response = set_state(form, data, is_cbor, is_json)
        call = iam.CURRENT.get()
        if before and call and call.principal != "root":
            actual = {"AlarmName": name, "StateValue": before["StateValue"], "StateReason": before["StateReason"]}

            def returns() -> None:
                if cloudwatch._alarms.get(name, {}).get("StateValue") == data["StateValue"]:
                    set_state(None, actual, True)

            clock.after(_RETURNS_AFTER, returns)
        return response

    cloudwatch._set_alarm_state = set_alarm_state


# When the numbers of a metric were published that alarms look at, by its namespace, its name and the value of its dimension.
_published: dict[tuple[str, str, str], list[float]] = {}


def publish(namespace: str, metric: str, dimension: str, number: int) -> None:
    """An AWS service publishes a number. Alarms on the sum of this metric look at it now, and once more when no period of theirs has
    any: then nothing is missing for them that they would take for red. Their periods are AWS seconds."""
    times = _published.setdefault((namespace, metric, dimension), [])
    times += [time.time()] * number
    for alarm in list(cloudwatch._alarms.values()):
        of = [pair.get("Value") for pair in alarm.get("Dimensions", [])]
        if (alarm.get("Namespace"), alarm.get("MetricName"), of) != (namespace, metric, [dimension]):
            continue
        name, window = alarm["AlarmName"], alarm["Period"] * alarm["EvaluationPeriods"]

        def look(name: str = name, window: float = window, threshold: float = alarm["Threshold"]) -> None:
            recent = sum(clock.age(at) < window for at in times)
            state = "ALARM" if recent >= threshold else "OK"
            _set_state(None, {"AlarmName": name, "StateValue": state, "StateReason": metric}, True)

        look()
        clock.after(window + 1, look)


def _date_dashboards() -> None:
    """ListDashboards tells times as times in CBOR; MiniStack writes them as text."""
    answer = cloudwatch._cbor_ok

    def cbor_ok(data: dict[str, Any]) -> Response:
        for entry in data.get("DashboardEntries", []):
            entry["LastModified"] = cbor.Tag(1, cloudwatch._dashboards[entry["DashboardName"]]["LastModified"])
        response: Response = answer(data)
        return response

    cloudwatch._cbor_ok = cbor_ok


def _tag_dashboards() -> None:
    """A dashboard has tags: those that PutDashboard creates it with, and those of TagResource. Of a dashboard that is there
    PutDashboard ignores them (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutDashboard.html)."""
    put, refuse = cloudwatch._put_dashboard, cloudwatch._validate_alarm_tag_arn

    def put_dashboard(form: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Response:
        name = (data or {}).get("DashboardName")
        is_new = name not in cloudwatch._dashboards
        response: Response = put(form, data, is_cbor, is_json)
        if is_new and name in cloudwatch._dashboards and (tags := data.get("Tags")):
            arn = cloudwatch._dashboards[name]["DashboardArn"]
            cloudwatch._resource_tags[arn] = {tag["Key"]: tag["Value"] for tag in tags}
        return response

    def validate_tag_arn(arn: str, is_json: bool = False, is_cbor: bool = False) -> Response | None:
        if any(dashboard["DashboardArn"] == arn for dashboard in cloudwatch._dashboards.values()):
            return None
        refused: Response | None = refuse(arn, is_json, is_cbor)
        return refused

    cloudwatch._put_dashboard = put_dashboard
    cloudwatch._validate_alarm_tag_arn = validate_tag_arn


def install() -> None:
    _date_dashboards()
    _tag_dashboards()
    _answer_in_cbor()
    _name_errors_as_before()
    _keep_alarms_as_they_were_put()
    _refuse_topics_of_other_regions()
    _publish_where_allowed()
    _date_states()
    _return_to_actual_states()
