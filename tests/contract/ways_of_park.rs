//! What every way through the state machine `park` comes to, for one stack.

use crate::asl::machines;
use crate::asl::{Functions, Played, State, every_way};
use groundcrew::Notification;
use park::{Action, Came, Outcome, Plan, Report, Saving, Step, Task};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The function of `park`.
struct Park;

/// The same, when it fails at whatever it is asked.
struct Broken;

const ACTIONS: [Action; 3] = [Action::Pause, Action::Resume, Action::Leave];

/// What is to be done with one stack. Only a person's wish has something to note where nothing is to be done.
pub(crate) fn task(action: Action) -> Task {
    let at = "2026-11-21T01:02:03Z";
    let wanted = json!({"awake": false, "until": at});
    let task = json!({
        "parts": {
            "stack": {"app": "shop", "environment": "dev"},
            "services": ["arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a"],
            "databases": ["shop-dev"],
        },
        "action": action,
        "sleep": {"since": at, "until": at},
        "wanted": if action == Action::Leave { wanted } else { Value::Null },
        "clock": {"about": at, "started": at},
    });
    serde_json::from_value(task).unwrap()
}

/// What failed, told or told before.
fn report(failed: bool, is_news: bool) -> Report {
    let notification = || Notification::new("shop-dev: so", &["it is so".into()]);
    Report {
        failed,
        summary: "so".into(),
        notification: is_news.then(notification),
    }
}

fn plan(task: Option<Task>, report: Report) -> Plan {
    Plan {
        now: "2026-11-21T01:02:03Z".parse().unwrap(),
        stacks: Vec::new(),
        more: 0,
        total: Saving::none(),
        started: 0,
        task,
        report,
    }
}

impl Functions for Park {
    fn answers(&self, state: State<'_>, step: &Value) -> Vec<Value> {
        let read = Step::parse(step.clone());
        let step = read.unwrap_or_else(|error| panic!("{}: {error}", state.name));
        let outcome = |task: &Task, came| {
            json!(Outcome {
                stack: format!("{}-{}", task.parts.stack.app, task.parts.stack.environment),
                action: task.action,
                outcome: came,
                why: "so".into(),
            })
        };
        match step {
            // What a person wants of one stack is done at once; and of all stacks one may not be looked at.
            Step::Plan { request, .. } => {
                let by_itself =
                    ACTIONS.map(|action| plan(Some(task(action)), report(false, false)));
                let by_others = [(false, false), (true, false), (true, true)];
                let by_others = by_others.map(|(failed, news)| plan(None, report(failed, news)));
                let by_itself = by_itself
                    .into_iter()
                    .filter(|_| request["stack"].is_string());
                by_itself.chain(by_others).map(|plan| json!(plan)).collect()
            }
            Step::Record { task }
            | Step::AlarmsOff { task }
            | Step::PauseServices { task }
            | Step::StopDatabases { task }
            | Step::StartDatabases { task }
            | Step::ResumeServices { task }
            | Step::AlarmsOn { task }
            | Step::Deliver { task } => {
                let came = [Came::Done, Came::Overtaken];
                came.map(|came| outcome(&task, came)).into()
            }
            Step::GiveUp { .. } => [true, false].map(|news| json!(report(true, news))).into(),
            Step::NoteTold { .. } => vec![Value::Null],
        }
    }

    fn failures(&self, name: &str) -> Vec<Value> {
        match name {
            "States.ALL" => vec![
                json!({"Error": "Denied", "Cause": r#"{"errorMessage": "…"}"#}),
                json!({"Error": "States.Timeout"}),
            ],
            name => vec![json!({"Error": name, "Cause": r#"{"errorMessage": "…"}"#})],
        }
    }
}

impl Functions for Broken {
    fn answers(&self, _: State<'_>, _: &Value) -> Vec<Value> {
        Vec::new()
    }

    fn failures(&self, name: &str) -> Vec<Value> {
        Park.failures(name)
    }
}

/// All ways through the machine that begin with this input.
fn ways(functions: &dyn Functions, input: &Value) -> Vec<Played> {
    every_way(&machines::park(), functions, input)
}

fn look(now: &str) -> Value {
    json!({"action": "follow-schedule", "now": now})
}

/// The ways of a look, which hands over what is to be done.
fn at_night() -> Vec<Played> {
    ways(&Park, &look("2026-11-21T20:00:00Z"))
}

/// Those of the executions that it starts.
fn handed_over() -> Vec<Played> {
    let of_action = |action| ways(&Park, &json!({"task": task(action)}));
    ACTIONS.into_iter().flat_map(of_action).collect()
}

/// All of them, and those of an execution by hand.
pub(crate) fn all() -> Vec<Played> {
    let by_hand = ways(&Park, &json!({"action": "resume", "stack": "shop-dev"}));
    by_hand
        .into_iter()
        .chain(at_night())
        .chain(handed_over())
        .collect()
}

fn actions(way: &Played) -> Vec<&str> {
    let steps = way.steps.iter();
    steps.map(|step| step["action"].as_str().unwrap()).collect()
}

/// The states that an execution fails in.
fn failing() -> BTreeSet<String> {
    let machine = machines::park();
    let states = machine.states().into_iter();
    let failing = states.filter(|state| state.kind() == "Fail");
    failing.map(|state| state.name.to_owned()).collect()
}

#[test]
fn the_ways_come_to_every_state_of_park() {
    let ways = ways(&Park, &json!({"action": "resume", "stack": "shop-dev"}));
    let all: Vec<_> = ways
        .into_iter()
        .chain(at_night())
        .chain(handed_over())
        .collect();
    let passed: BTreeSet<_> = all.iter().flat_map(|way| &way.states).collect();
    for state in machines::park().states() {
        assert!(passed.contains(&state.name.to_owned()), "{}", state.name);
    }
    assert!(all.len() > 100, "{} ways", all.len());
}

#[test]
fn a_stack_is_paused_and_resumed_in_its_order_unless_somebody_has_taken_it_over_since_the_plan() {
    let by_hand = || ways(&Park, &json!({"action": "resume", "stack": "shop-dev"}));
    for (begin, ways) in [("", handed_over()), ("plan ", by_hand())] {
        let (mut done, mut overtaken) = (BTreeSet::new(), BTreeSet::new());
        for way in ways {
            if !way.has("Record") || way.has("Give up") {
                continue;
            }
            let recorded = &way.data["outcome"]["outcome"];
            let steps = actions(&way).join(" ");
            match recorded == "overtaken" && way.has("Noted") {
                true => overtaken.insert(steps),
                false => done.insert(steps),
            };
        }
        let expected = [
            "record",
            "record alarms-off pause-services stop-databases",
            "record start-databases resume-services alarms-on deliver",
        ];
        let expected = expected.map(|steps| format!("{begin}{steps}"));
        assert_eq!(done, expected.into());
        assert_eq!(overtaken, [format!("{begin}record")].into());
    }
}

/// Whatever fails for a stack, its alarms are put right and a person hears of it, unless that was so already; and it is noted
/// that a person was told once SNS has the message.
#[test]
fn what_fails_for_a_stack_fails_the_execution_and_is_told_as_often_as_it_is_news() {
    let failing = failing();
    for way in handed_over().into_iter().chain(at_night()) {
        let has = |name: &str| way.has(name);
        let fails = failing.contains(way.last());
        assert!(fails || !has("Give up"), "{:?}", way.states);
        let is_well = [
            "Deliver what came in",
            "Looked",
            "Noted",
            "Stop the databases",
        ];
        assert_eq!(fails, !is_well.contains(&way.last()), "{:?}", way.states);
        let expected = match () {
            () if !fails || has("Refused input") || has("Is it to be told?") => 0,
            () if has("Tell without a report") => 1,
            () => usize::from(way.data["report"]["notification"].is_object()),
        };
        // SNS itself may fail.
        let published = way.told.len();
        let untold = way.data["untold"].is_object();
        assert_eq!(
            published + usize::from(untold),
            expected,
            "{:?}",
            way.states
        );
        let is_noted = has("Note that it was told");
        let told_of_it = published == 1 && !has("Tell without a report");
        assert_eq!(is_noted, told_of_it, "{:?}", way.states);
    }
}

/// Nothing remembers that it was told, and it fails every half hour.
#[test]
fn a_plan_that_fails_is_told_once_a_day_and_to_whoever_asks() {
    let is_told = |input: Value| {
        let ways = ways(&Broken, &input).into_iter();
        let failed = ways.filter(|way| way.has("Is it to be told?"));
        let told: BTreeSet<_> = failed
            .inspect(|way| assert_eq!(way.last(), "Failed"))
            .map(|way| way.has("Tell without a report"))
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        told.contains(&true)
    };
    let looks = (0..48).map(|n| (n / 2, n % 2 * 30));
    // Not every zone is whole or half hours from UTC.
    for offset in [0, 15] {
        let told = looks.clone().filter(|(hour, minute)| {
            is_told(look(&format!(
                "2026-11-21T{hour:02}:{:02}:00Z",
                minute + offset
            )))
        });
        assert_eq!(told.collect::<Vec<_>>(), [(8, 0)]);
    }
    assert!(is_told(json!({"action": "resume", "stack": "shop-dev"})));
    assert!(is_told(
        json!({"action": "follow-schedule", "dry_run": true})
    ));
    assert!(is_told(json!({})));
}

#[test]
fn park_does_not_time_out_before_its_states_give_up() {
    let ways = ways(&Park, &json!({"action": "resume", "stack": "shop-dev"}));
    let longest = ways.iter().map(|way| way.seconds).fold(0.0, f64::max);
    let allowed = machines::park().timeout_seconds();
    assert!(
        longest <= allowed as f64,
        "the longest way takes {longest} s, and an execution may take {allowed} s"
    );
}

/// The events in the history of an execution, at most: a task takes three each time that it is called and two more, any other
/// state two (Step Functions' API reference, `HistoryEvent`).
fn events_at_most(machine: &machines::Machine) -> u64 {
    let states = machine.states().into_iter();
    let of_state = |state: State<'_>| {
        let attempts = state.retriers().iter();
        let attempts: u64 = attempts.map(|it| it["MaxAttempts"].as_u64().unwrap()).sum();
        2 + 3 * (attempts + 1)
    };
    states.map(of_state).sum()
}

/// An execution sees to one stack, and a look has one task: neither grows with the stacks (Step Functions guide, "Quotas":
/// 25,000 events, 262,144 bytes of data). What a look answers is held to that beside its code.
#[test]
fn no_execution_of_park_comes_near_the_limits_of_its_history_and_its_data_however_many_stacks_there_are()
 {
    let machine = machines::park();
    let has_map = machine.states().iter().any(|state| state.kind() == "Map");
    assert!(!has_map, "the history of a Map grows with the stacks");
    let events = events_at_most(&machine);
    assert!(events < 12_500, "{events} events");
    let mut task = json!(task(Action::Pause));
    // Names of 40 characters, as many services as an account has, and twice as many databases.
    let service = format!(
        "arn:aws:apprunner:ap-northeast-1:123456789012:service/{}/{}",
        "s".repeat(40),
        "0".repeat(32)
    );
    task["parts"]["services"] = json!(vec![service; 50]);
    task["parts"]["databases"] = json!(vec!["d".repeat(63); 100]);
    let bytes = json!({"task": task}).to_string().len();
    assert!(bytes < 65_536, "{bytes} bytes");
}

/// A thousand stacks of environments that sleep are seen to in one look: before its function ends, before the next look, and
/// slower than Step Functions starts executions (its guide, "Quotas": `StartExecution` refills by 150 a second in the regions
/// where it refills slowest, from a bucket of 800) and App Runner answers (Assumption call-limits).
#[test]
fn a_look_reaches_a_thousand_stacks_before_its_function_ends_and_asks_no_faster_than_aws_answers() {
    let interval = groundcrew::pace::Tempo::AWS.interval.as_secs_f64();
    let seconds = 1_000.0 * interval;
    let template = crate::documents::yaml("template.yaml");
    let timeout = template["Resources"]["ParkFunction"]["Properties"]["Timeout"].as_f64();
    let timeout = timeout.expect("a timeout");
    assert!(seconds <= 0.8 * timeout, "{seconds} s of {timeout} s");
    assert!(timeout < 1_800.0, "the next look begins");
    let plan = machines::park();
    let plan = plan.steps().into_iter().find(|state| state.name == "Plan");
    let waits = plan.expect("a state").value["TimeoutSeconds"].as_f64();
    assert!(waits > Some(timeout), "the state outlasts its function");
    assert!(1.0 / interval < 150.0);
}
