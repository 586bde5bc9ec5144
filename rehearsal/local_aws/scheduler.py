"""EventBridge Scheduler: schedules that keep to their own time zone, and fire when they are told to.

A minute passes in a fraction of a second here, and a test is over before a schedule is due: none fires by itself. A test
asks when a schedule would fire, and fires it as if it were that moment.

Not restored: targets other than state machines, flexible time windows, schedules that fire twice, ActionAfterCompletion,
the default payload of a target without Input, `W` in cron expressions. Time zones are those of this machine, or
of the package tzdata where it has none.
"""

import calendar
import json
import logging
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ministack.services import scheduler
from ministack.services import stepfunctions as states
from ministack.services.cloudformation import provisioners

import clock
import faults
import iam
import queues

logger = logging.getLogger("scheduler")

Schedule = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

# "By default, EventBridge Scheduler retries for 24 hours and up to 185 times"
# (https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html). How long it waits is not told.
RETRIES = 185
EVENT_AGE = 24 * 3600
LONGEST_WAIT = 300

_ASSUMABLE = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."


# -- when it fires -----------------------------------------------------------------------------------------------------

_UTC = ZoneInfo("UTC")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


def _numbers(text: str, least: int, most: int, names: tuple[str, ...] = ()) -> set[int]:
    """The values of a field of a cron expression: lists, ranges and steps of numbers or names."""

    def number(written: str) -> int:
        value = names.index(written.upper()) + least if written.upper() in names else int(written)
        if not least <= value <= most:
            raise ValueError(written)
        return value

    found: set[int] = set()
    for part in text.split(","):
        span, stepped, step = part.partition("/")
        first, ranged, last = span.partition("-")
        if span == "*":
            start, end = least, most
        else:
            start = number(first)
            end = number(last) if ranged else most if stepped else start
        if start > end or (stepped and int(step) < 1):
            raise ValueError(part)
        found.update(range(start, end + 1, int(step) if stepped else 1))
    return found


def _last_day(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _day_rule(of_month: str, of_week: str) -> Callable[[date], bool]:
    """One of the two is `?`: "if you use it in one, you must use ? in the other"."""
    if (of_month == "?") == (of_week == "?"):
        raise ValueError("one of day-of-month and day-of-week is ?, and only one")
    if of_month == "L":
        return lambda day: day.day == _last_day(day)
    if of_month != "?":
        days = _numbers(of_month, 1, 31)
        return lambda day: day.day in days
    if found := re.fullmatch(r"(\w+)#([1-5])", of_week):
        (weekday,), nth = _numbers(found[1], 1, 7, _WEEKDAYS), int(found[2])
        return lambda day: _weekday(day) == weekday and (day.day - 1) // 7 + 1 == nth
    if found := re.fullmatch(r"(\w+)L", of_week):
        (weekday,) = _numbers(found[1], 1, 7, _WEEKDAYS)
        return lambda day: _weekday(day) == weekday and day.day > _last_day(day) - 7
    weekdays = _numbers(of_week, 1, 7, _WEEKDAYS)
    return lambda day: _weekday(day) in weekdays


def _weekday(day: date) -> int:
    """1 is Sunday."""
    return day.isoweekday() % 7 + 1


@dataclass
class _Cron:
    """`cron(minutes hours day-of-month month day-of-week year)`
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based)."""

    minutes: set[int]
    hours: set[int]
    is_day: Callable[[date], bool]
    months: set[int]
    years: set[int]

    @classmethod
    def parse(cls, fields: str) -> "_Cron":
        minutes, hours, of_month, months, of_week, years = fields.split()
        return cls(
            _numbers(minutes, 0, 59),
            _numbers(hours, 0, 23),
            _day_rule(of_month, of_week),
            _numbers(months, 1, 12, _MONTHS),
            _numbers(years, 1970, 2199),
        )

    def local_times(self, first: date, last: date) -> Iterator[datetime]:
        """What a clock on the wall shows when it fires."""
        day = first
        while day <= last:
            if day.year in self.years and day.month in self.months and self.is_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        yield datetime.combine(day, time(hour, minute))
            day += timedelta(days=1)


def _instant(local: datetime, zone: ZoneInfo) -> datetime | None:
    """The instant at which a clock on the wall shows this. "Your schedule gets skipped if it falls on a non-existent
    date and time"; when clocks go back "your schedule runs only once"
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylist-savings-time)."""
    instant = local.replace(tzinfo=zone).astimezone(_UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == local else None


def _date(given: Any) -> datetime | None:
    epoch = scheduler._to_epoch(given)
    return None if epoch is None else datetime.fromtimestamp(epoch, _UTC)


def _instants(schedule: Schedule, since: datetime, until: datetime) -> list[datetime]:
    """When a schedule fires, from `since` on and before `until`."""
    expression, zone = schedule["ScheduleExpression"], ZoneInfo(schedule["ScheduleExpressionTimezone"])
    kind, inside = re.fullmatch(r"(at|cron|rate)\((.+)\)", expression).groups()  # type: ignore[union-attr]
    if kind == "at":
        local_times: Iterator[datetime] = iter([datetime.fromisoformat(inside)])
    else:
        since = max(since, _date(schedule.get("StartDate")) or since)
        until = min(until, _date(schedule.get("EndDate")) or until)
    if kind == "rate":
        # "days represents a 24-hour duration": daylight saving does not move it.
        value, unit = inside.split()
        every = timedelta(**{unit.rstrip("s") + "s": int(value)})
        begun = _date(schedule.get("StartDate") or schedule["CreationDate"])
        assert begun is not None
        instant = begun + max(-((begun - since) // every), 0) * every
        found = []
        while instant < until:
            found.append(instant)
            instant += every
        return found
    if kind == "cron":
        # No zone is farther than fourteen hours from UTC.
        day = timedelta(days=1)
        local_times = _Cron.parse(inside).local_times((since - day).date(), (until + day).date())
    instants = (_instant(local, zone) for local in local_times)
    return [instant for instant in instants if instant and since <= instant < until]


def _check(body: dict[str, Any]) -> str | None:
    """Why AWS refuses a schedule."""
    zone = body.setdefault("ScheduleExpressionTimezone", "UTC")
    probe = {"CreationDate": 0, **body}
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return f"Invalid time zone {zone}."
    try:
        _instants(probe, datetime(2026, 1, 1, tzinfo=_UTC), datetime(2026, 1, 2, tzinfo=_UTC))
    except (AttributeError, KeyError, TypeError, ValueError):
        return f"Invalid Schedule Expression {body.get('ScheduleExpression')}."
    target = body.get("Target") or {}
    if "Input" in target:
        try:
            json.loads(target["Input"])
        except ValueError:
            return "Target Input must be valid JSON."
    if not str(target.get("Arn", "")).startswith("arn:aws:states:"):
        return f"The local AWS knows no schedules for {target.get('Arn')}."
    if not _may_be_assumed(target.get("RoleArn", ""), body.get("GroupName", "default")):
        return _ASSUMABLE
    return None


def _checked(change: Callable[..., Response]) -> Callable[..., Response]:
    def checked(name: str, body: dict[str, Any]) -> Response:
        if refusal := _check(body):
            refused: Response = scheduler._error(400, "ValidationException", refusal)
            return refused
        return change(name, body)

    return checked


# -- firing ------------------------------------------------------------------------------------------------------------


def _may_be_assumed(role_arn: str, group: str) -> bool:
    """Whether Scheduler may assume a role. `aws:SourceArn` is the ARN of the schedule's group, not that of the schedule
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html)."""
    return iam.service_may_assume(role_arn, "scheduler.amazonaws.com", scheduler._group_arn(group))


def _start(schedule: Schedule, payload: str) -> tuple[str, str] | None:
    """Start an execution with the rights of the schedule's role; the error and its message, if it is refused."""
    machine, role = schedule["Target"]["Arn"], schedule["Target"]["RoleArn"]
    if not _may_be_assumed(role, schedule["GroupName"]):
        return "AccessDeniedException", _ASSUMABLE
    if not iam.role_may(role, iam.Check("states:StartExecution", machine)):
        return "AccessDeniedException", f"{role} is not authorized to perform: states:StartExecution on {machine}"
    if fault := faults.take("states", "StartExecution", {"throttle", "error"}):
        return "ThrottlingException" if fault.kind == "throttle" else "InternalServerException", "injected fault"
    status, _, body = states._start_execution({"stateMachineArn": machine, "input": payload})
    if status < 400:
        return None
    answer = json.loads(body)
    return answer.get("__type", "").rsplit("#", 1)[-1], answer.get("message", "")


def _bury(schedule: Schedule, payload: str, attributes: dict[str, str]) -> None:
    """Send what could not be delivered to the dead-letter queue, with the rights of the schedule's role
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html)."""
    target = schedule["Target"]
    queue = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not queue:
        return
    role = target["RoleArn"]
    if not _may_be_assumed(role, schedule["GroupName"]) or not iam.role_may(role, iam.Check("sqs:SendMessage", queue)):
        logger.warning("%s may not send to %s: what %s sent is lost", role, queue, schedule["Arn"])
        return
    queues.put(queue, payload, {name: ("String", value) for name, value in attributes.items()})


def _deliver(schedule: Schedule, scheduled: str) -> None:
    """Invoke the target until it accepts or the RetryPolicy is exhausted, whatever the error is."""
    target = schedule["Target"]
    policy = target.get("RetryPolicy") or {}
    retries = int(policy.get("MaximumRetryAttempts", RETRIES))
    most_age = int(policy.get("MaximumEventAgeInSeconds", EVENT_AGE))
    retried, waited = 0, 0.0

    def attempt() -> None:
        nonlocal retried, waited
        execution_id = secrets.token_hex(8)
        # https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
        payload = str(target.get("Input", "{}"))
        for name, value in (
            ("schedule-arn", schedule["Arn"]),
            ("scheduled-time", scheduled),
            ("execution-id", execution_id),
            ("attempt-number", str(retried + 1)),
        ):
            payload = payload.replace(f"<aws.scheduler.{name}>", value)
        error = _start(schedule, payload)
        if error is None:
            return
        wait = min(2**retried, LONGEST_WAIT)
        if retried < retries and waited + wait <= most_age:
            retried, waited = retried + 1, waited + wait
            clock.after(wait, attempt)
            return
        attributes = {
            "ERROR_CODE": error[0],
            "ERROR_MESSAGE": error[1],
            "EXECUTION_ID": execution_id,
            "EXHAUSTED_RETRY_CONDITION": "MaximumRetryAttempts" if retried >= retries else "MaximumEventAgeInSeconds",
            "IS_PAYLOAD_TRUNCATED": "false",
            "RETRY_ATTEMPTS": str(retried),
            "SCHEDULED_TIME": scheduled,
            "SCHEDULE_ARN": schedule["Arn"],
            "TARGET_ARN": target["Arn"],
        }
        _bury(schedule, payload, attributes)

    attempt()


# -- what tests ask ----------------------------------------------------------------------------------------------------


_FORM = "%Y-%m-%dT%H:%M:%SZ"


def _parse(instant: str) -> datetime:
    return datetime.strptime(instant, _FORM).replace(tzinfo=_UTC)


def _print(instant: datetime) -> str:
    return instant.strftime(_FORM)


def listed(since: str | None, until: str | None) -> list[dict[str, Any]]:
    """All schedules, with the instants at which each would fire from `since` on and before `until`: none if it is
    disabled."""
    return [
        {
            "name": schedule["Name"],
            "group": schedule["GroupName"],
            "expression": schedule["ScheduleExpression"],
            "time_zone": schedule["ScheduleExpressionTimezone"],
            "state": schedule["State"],
            "target": schedule["Target"]["Arn"],
            "fires": [_print(instant) for instant in _instants(schedule, _parse(since), _parse(until))]
            if since and until and schedule["State"] == "ENABLED"
            else [],
        }
        for schedule in list(scheduler._schedules.values())
    ]


def fire(name: str, at: str, group: str = "default") -> None:
    """Let an enabled schedule fire as if it were this moment."""
    schedule = scheduler._schedules.get(f"{group}/{name}")
    if schedule is None:
        raise ValueError(f"there is no schedule {name} in the group {group}")
    if schedule["State"] != "ENABLED":
        raise ValueError(f"the schedule {name} is {schedule['State']}")
    _deliver(dict(schedule), _print(_parse(at)))


# -- CloudFormation ----------------------------------------------------------------------------------------------------


def _provision() -> None:
    """A schedule of a template has all its properties and is refused as the API refuses it; MiniStack drops its time
    zone, its dates and every error."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"]

    def carry_out(change: Callable[..., Response], name: str, properties: dict[str, Any]) -> Any:
        scheduler._ensure_default_group()
        body = {key: value for key, value in properties.items() if key != "Name"}
        status, _, answer = change(name, body)
        if status >= 400:
            raise ValueError(json.loads(answer)["Message"])
        return name, {"Arn": json.loads(answer)["ScheduleArn"]}

    def create(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        name = properties.get("Name") or provisioners._physical_name(stack, logical_id, max_len=64)
        return carry_out(scheduler._create_schedule, name, properties)

    def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], *more: Any, **named: Any) -> Any:
        if new.get("Name", physical_id) != physical_id or new.get("GroupName") != old.get("GroupName"):
            return carry_out(scheduler._create_schedule, new.get("Name", physical_id), new)
        return carry_out(scheduler._update_schedule, physical_id, new)

    handlers |= {"create": create, "update": update}


def install() -> None:
    scheduler._create_schedule = _checked(scheduler._create_schedule)
    scheduler._update_schedule = _checked(scheduler._update_schedule)
    # MiniStack would fire every schedule in UTC and by the clock on the wall.
    scheduler.start_scheduler = lambda: None
    _provision()
