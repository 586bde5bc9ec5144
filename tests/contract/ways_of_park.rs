//! What every way through the state machine `park` comes to, for one stack.

use crate::asl::machines;
use crate::asl::{Functions, Played, State, every_way};
use park::{Action, Came, Outcome, Plan, Saving, Step, Task, report};
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

fn plan(action: Option<Action>) -> Plan {
    Plan {
        now: "2026-11-21T01:02:03Z".parse().unwrap(),
        stacks: Vec::new(),
        total: Saving::none(),
        something: action.is_some(),
        tasks: action.map(task).into_iter().collect(),
    }
}

impl Functions for Park {
    fn answers(&self, state: State<'_>, step: &Value) -> Vec<Value> {
        let read = Step::parse(step.clone());
        let step = read.unwrap_or_else(|error| panic!("{}: {error}", state.name));
        let outcome = |task: &Task, came, to_tell| {
            json!(Outcome {
                stack: format!("{}-{}", task.parts.stack.app, task.parts.stack.environment),
                action: task.action,
                outcome: came,
                why: "so".into(),
                to_tell,
            })
        };
        match step {
            Step::Plan { .. } => {
                let something = ACTIONS.map(Some).into_iter();
                something.chain([None]).map(|it| json!(plan(it))).collect()
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
                came.map(|came| outcome(&task, came, false)).into()
            }
            Step::GiveUp { task, .. } => [true, false]
                .map(|tell| outcome(&task, Came::Failed, tell))
                .into(),
            Step::Report {
                outcomes,
                machine,
                execution,
            } => {
                vec![json!(report(&outcomes, &machine, &execution))]
            }
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

fn at_night() -> Vec<Played> {
    ways(&Park, &look("2026-11-21T20:00:00Z"))
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
    let passed: BTreeSet<_> = ways.iter().flat_map(|way| &way.states).collect();
    for state in machines::park().states() {
        assert!(passed.contains(&state.name.to_owned()), "{}", state.name);
    }
    assert!(ways.len() > 50, "{} ways", ways.len());
}

#[test]
fn a_stack_is_paused_and_resumed_in_its_order_unless_somebody_has_taken_it_over_since_the_plan() {
    let (mut done, mut overtaken) = (BTreeSet::new(), BTreeSet::new());
    for way in at_night() {
        if !way.has("Give up") && !way.has("Tell without a report") {
            let recorded = way.answers.get(1).map(|answer| answer["outcome"].clone());
            match recorded == Some(json!("overtaken")) {
                true => overtaken.insert(actions(&way).join(" ")),
                false => done.insert(actions(&way).join(" ")),
            };
        }
    }
    let expected = [
        "plan",
        "plan record alarms-off pause-services stop-databases report",
        "plan record report",
        "plan record start-databases resume-services alarms-on deliver report",
    ];
    assert_eq!(done, expected.map(String::from).into());
    assert_eq!(overtaken, [String::from("plan record report")].into());
}

/// Whatever fails for a stack, its alarms are put right and a person hears of it, unless that was so already.
#[test]
fn what_fails_for_a_stack_fails_the_execution_and_is_told_as_often_as_it_is_news() {
    let failing = failing();
    for way in at_night() {
        let has = |name: &str| way.has(name);
        let fails = failing.contains(way.last());
        assert!(fails || !has("Give up"), "{:?}", way.states);
        let is_well = ["Done", "Nothing to do"].contains(&way.last());
        assert_eq!(fails, !is_well, "{:?}", way.states);
        let expected = match () {
            () if is_well || has("Refused input") || has("Is it to be told?") => 0,
            // A report that fails, or a `Map`, would lose what the steps take for told.
            () if has("Tell without a report") => 1,
            () => usize::from(way.data["outcomes"][0]["to_tell"] == true),
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
    let ways = at_night();
    let longest = ways.iter().map(|way| way.seconds).fold(0.0, f64::max);
    let allowed = machines::park().timeout_seconds();
    assert!(
        longest <= allowed as f64,
        "the longest way takes {longest} s, and an execution may take {allowed} s"
    );
}
