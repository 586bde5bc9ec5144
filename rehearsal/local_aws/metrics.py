"""CloudWatch's GetMetricData, over what PutMetricData has stored and what AWS's services publish, which `/_local/metrics` says:
into `AWS/…` nobody else may put (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html).

A metric that is published has one value in each minute. Minutes pass faster here than on the wall, and a period of five of
them has to be one for its caller: the times of a request and of its answer are AWS seconds, counted from its StartTime.

Not restored: expressions other than arithmetic with `+ - * /`, pages, and that data comes late. Alarms are not evaluated over
what is published here: SetAlarmState turns them.
"""

import ast
import math
import operator
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ministack.services import cloudwatch

import cbor
import clock

Response = tuple[int, dict[str, str], bytes]
Series = dict[int, float]

_MINUTE = 60
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

# By namespace, name and dimensions of a metric: from when on it is published with which value; None for no longer.
_published: dict[tuple[str, str, str], list[tuple[float, float | None]]] = defaultdict(list)


def publish(namespace: str, name: str, dimensions: dict[str, str], value: float | None, at: float) -> None:
    """Publish this value in each minute that begins at this time of `time.time()` or later, or none."""
    key = (namespace, name, cloudwatch._dims_key(dimensions))
    changes = [change for change in _published[key] if change[0] < at]
    _published[key] = [*changes, (at, value)]


class _Asked:
    """A request's times. StartTime is rounded down to the minute and inclusive, EndTime exclusive
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html). Whether periods begin there or
    at multiples of their length AWS does not say; here they begin there."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end
        self.first = math.floor(start / _MINUTE) * _MINUTE

    def on_the_wall(self, at: float) -> float:
        return self.start + clock.wall(at - self.start)

    def of_aws(self, wall: float) -> float:
        return self.start + (wall - self.start) * clock.SCALE

    def series(self, stat: dict[str, Any]) -> Series:
        metric, period = stat["Metric"], int(stat["Period"])
        dimensions = cloudwatch._dims_from_list(metric.get("Dimensions") or [])
        key = (metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(dimensions))
        periods: dict[int, list[dict[str, Any]]] = defaultdict(list)

        def add(at: float, point: dict[str, Any]) -> None:
            if self.first <= at < self.end:
                periods[self.first + int((at - self.first) // period) * period].append(point)

        for point in cloudwatch._metrics.get(key, []):
            add(self.of_aws(point["Timestamp"]), point)
        if changes := _published.get(key):
            for at in range(self.first, math.ceil(self.end), _MINUTE):
                known = bisect_right(changes, self.on_the_wall(at), key=lambda change: change[0])
                value = changes[known - 1][1] if known else None
                if value is not None:
                    add(at, {"Value": value})
        values = {
            at: cloudwatch._stat_value(cloudwatch._calc_stats(points), stat["Stat"], points)
            for at, points in periods.items()
        }
        return {at: float(value) for at, value in values.items() if value is not None}


def _compute(node: ast.expr, values: dict[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return values[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_compute(left, values), _compute(right, values))
    raise ValueError(f"metric math with {ast.unparse(node)} is not restored")


def _evaluate(expression: str, series: dict[str, Series]) -> Series:
    """Missing values are zero, and where the divisor is zero the result has none
    (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html#metric-math-syntax-arithmetic)."""
    tree = ast.parse(expression, mode="eval").body
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    result: Series = {}
    for at in set().union(*(series[name] for name in names)):
        try:
            result[at] = _compute(tree, {name: series[name].get(at, 0.0) for name in names})
        except ZeroDivisionError:
            continue
    return result


def get_metric_data(_: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Response:
    start, end = cloudwatch._parse_ts(data["StartTime"]), cloudwatch._parse_ts(data["EndTime"])
    if start >= end:
        message = "The parameter EndTime must be greater than StartTime."
        refused: Response = cloudwatch._error("ValidationError", message, 400, is_json, is_cbor)
        return refused
    asked, queries = _Asked(start, end), data["MetricDataQueries"]
    series = {query["Id"]: asked.series(query["MetricStat"]) for query in queries if "MetricStat" in query}
    for query in queries:
        if "Expression" in query:
            series[query["Id"]] = _evaluate(query["Expression"], series)
    newest_first = data.get("ScanBy") != "TimestampAscending"
    results = []
    for query in queries:
        if query.get("ReturnData", True):
            points = sorted(series[query["Id"]].items(), reverse=newest_first)
            results.append(
                {
                    "Id": query["Id"],
                    "Label": query.get("Label", query["Id"]),
                    "Timestamps": [cbor.Tag(1, float(at)) for at, _ in points],
                    "Values": [value for _, value in points],
                    "StatusCode": "Complete",
                }
            )
    answer: Response = cloudwatch._cbor_ok({"MetricDataResults": results})
    return answer


def install() -> None:
    cloudwatch._get_metric_data = get_metric_data
