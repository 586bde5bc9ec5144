use super::{ways_of_deploy, ways_of_park};
use crate::asl::machines::{self, Level, Machine, State, errors, patience_seconds};
use groundcrew::{Error, Spec};
use provision::{Resource, Step};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The errors that Step Functions itself raises (its developer guide, "Error names").
const STATES: [&str; 9] = [
    "States.ALL",
    "States.DataLimitExceeded",
    "States.HeartbeatTimeout",
    "States.IntrinsicFailure",
    "States.ParameterPathFailure",
    "States.Permissions",
    "States.ResultPathMatchFailure",
    "States.TaskFailed",
    "States.Timeout",
];

/// The errors of the service Lambda rather than of a function (the same guide, "Handle transient Lambda service
/// exceptions").
const LAMBDA: [&str; 8] = [
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
];

#[test]
fn every_state_that_is_named_exists() {
    for machine in machines::all() {
        for level in machine.levels() {
            let exists = |name: &str| level.states.contains_key(name);
            assert!(
                exists(level.start_at),
                "{}: {}",
                machine.name,
                level.start_at
            );
            for state in level.states() {
                for target in state.targets() {
                    assert!(
                        exists(target),
                        "{}: {} goes on to {target}, which does not exist",
                        machine.name,
                        state.name
                    );
                }
            }
        }
    }
}

#[test]
fn every_state_is_reachable() {
    for machine in machines::all() {
        for level in machine.levels() {
            let mut reached = BTreeSet::from([level.start_at]);
            let mut to_visit = vec![level.start_at];
            while let Some(state) = to_visit.pop().and_then(|name| level.state(name)) {
                let new = state.targets().into_iter();
                to_visit.extend(new.filter(|name| reached.insert(*name)));
            }
            for state in level.states() {
                assert!(
                    reached.contains(state.name),
                    "{}: nothing leads to {}",
                    machine.name,
                    state.name
                );
            }
        }
    }
}

#[test]
fn every_way_leads_to_an_end() {
    for machine in machines::all() {
        for level in machine.levels() {
            for state in level.states() {
                let goes_on = !state.targets().is_empty();
                let says_so = state.is_end() || goes_on;
                assert!(says_so, "{}: {} leads nowhere", machine.name, state.name);
                assert!(
                    !(state.is_end() && state.value.get("Next").is_some()),
                    "{}: {} ends and goes on",
                    machine.name,
                    state.name
                );
                assert!(
                    ends(&level, state, &mut BTreeSet::new()),
                    "{}: {} never comes to an end",
                    machine.name,
                    state.name
                );
            }
        }
    }
}

/// Whether an end can be reached from a state.
fn ends<'a>(level: &Level<'a>, state: State<'a>, before: &mut BTreeSet<&'a str>) -> bool {
    let mut targets = state.targets().into_iter();
    before.insert(state.name)
        && (state.is_end()
            || targets.any(|target| {
                let target = level.state(target);
                target.is_some_and(|target| ends(level, target, before))
            }))
}

/// The seconds of the longest way from a state to an end: each state asks again as long as its patience lasts, and one
/// more time. `None` if a way leads nowhere or round in a circle.
fn longest<'a>(level: &Level<'a>, state: State<'a>, before: &mut Vec<&'a str>) -> Option<f64> {
    if before.contains(&state.name) {
        return None;
    }
    before.push(state.name);
    let mut rest = 0f64;
    for target in state.targets() {
        rest = rest.max(longest(level, level.state(target)?, before)?);
    }
    before.pop();
    let mut own = state.value["TimeoutSeconds"].as_f64().unwrap_or(0.0);
    // Each retrier has a patience of its own.
    for retrier in state.retriers() {
        let waits = ["Busy", "Claimed", "NotReady"];
        if errors(retrier).iter().any(|name| waits.contains(name)) {
            own += patience_seconds(retrier);
        }
    }
    for branch in state.branches() {
        let first = branch.state(branch.start_at)?;
        own = own.max(longest(&branch, first, &mut Vec::new())?);
    }
    Some(own + rest)
}

/// Those that go round in no circle; `deploy` is walked instead.
#[test]
fn an_execution_does_not_time_out_before_its_states_give_up() {
    for machine in [
        machines::park(),
        machines::provision(),
        machines::teardown(),
    ] {
        let top = machine.top();
        let first = top.state(top.start_at).unwrap();
        let longest = longest(&top, first, &mut Vec::new()).expect("every way leads to an end");
        let allowed = machine.timeout_seconds();
        assert!(
            longest <= allowed as f64,
            "{}: the longest way takes {longest} s, and an execution may take {allowed} s",
            machine.name
        );
    }
}

/// Otherwise a failed `provision` would leave an undo behind that goes on by itself.
#[test]
fn undo_waits_as_long_as_a_teardown_may_take() {
    let provision = machines::provision();
    let undo = provision
        .states()
        .into_iter()
        .find(|state| state.name == "Undo");
    let waits = undo.unwrap().value["TimeoutSeconds"].as_u64();
    assert_eq!(waits, Some(machines::teardown().timeout_seconds()));
}

#[test]
fn every_machine_says_what_it_promises() {
    for machine in machines::all() {
        assert!(machine.comment().is_some(), "{}", machine.name);
    }
}

#[test]
fn every_error_that_is_retried_or_caught_exists() {
    for machine in machines::all() {
        for state in machine.states() {
            for name in state
                .retriers()
                .iter()
                .chain(state.catchers())
                .flat_map(errors)
            {
                let exists = Error::NAMES.contains(&name)
                    || STATES.contains(&name)
                    || LAMBDA.contains(&name);
                assert!(
                    exists,
                    "{}: {} handles {name}, which nobody raises",
                    machine.name, state.name
                );
            }
        }
    }
}

#[test]
fn states_all_stands_alone_and_last() {
    for machine in machines::all() {
        for state in machine.states() {
            for handlers in [state.retriers(), state.catchers()] {
                for (n, handler) in handlers.iter().enumerate() {
                    if errors(handler).contains(&"States.ALL") {
                        let alone = errors(handler).len() == 1;
                        let last = n + 1 == handlers.len();
                        assert!(alone && last, "{}: {}", machine.name, state.name);
                    }
                }
            }
        }
    }
}

#[test]
fn an_error_meets_one_retrier() {
    for machine in machines::all() {
        for state in machine.states() {
            let mut seen = BTreeSet::new();
            for name in state.retriers().iter().flat_map(errors) {
                assert!(
                    seen.insert(name),
                    "{}: {} retries {name} twice",
                    machine.name,
                    state.name
                );
            }
        }
    }
}

#[test]
fn every_task_has_a_time_limit() {
    for machine in machines::all() {
        for task in machine.tasks() {
            let limit = task.value["TimeoutSeconds"].as_u64();
            assert!(limit.is_some(), "{}: {}", machine.name, task.name);
        }
    }
}

#[test]
fn every_retry_comes_to_an_end() {
    for machine in machines::all() {
        for state in machine.states() {
            for retrier in state.retriers() {
                let where_ = format!("{}: {}: {:?}", machine.name, state.name, errors(retrier));
                assert!(
                    retrier["MaxAttempts"].is_u64(),
                    "{where_} has no MaxAttempts"
                );
                let patience = patience_seconds(retrier);
                let whole = machine.timeout_seconds();
                assert!(patience < whole as f64, "{where_} waits {patience} s");
                // Doubled without a limit, the tenth wait takes a quarter of an hour.
                let doubles = retrier["BackoffRate"].as_f64() != Some(1.0);
                let is_limited = retrier["MaxDelaySeconds"].is_u64() || patience < 300.0;
                assert!(
                    !doubles || is_limited,
                    "{where_} waits longer each time, without a limit"
                );
            }
        }
    }
}

/// What a state machine puts where its payload has a path.
pub(super) fn example(name: &str) -> Value {
    match name {
        "spec" => json!({"app": "shop", "environment": "dev"}),
        "removal" => json!({"app": "shop", "environment": "dev"}),
        "app" => json!("shop"),
        "environment" => json!("dev"),
        "execution" | "created_by" => json!("run-1"),
        "entered" => json!("2026-11-21T01:02:03.456Z"),
        "attempt" | "looks" => json!(3),
        "failure" => json!({"Error": "Failed", "Cause": "{\"errorMessage\": \"it broke\"}"}),
        "request" => json!({"service": "shop-dev"}),
        "deployment" => ways_of_deploy::deployment("image"),
        "operation" => ways_of_deploy::ended(true),
        "health" => json!({"well": false, "why": "it answered 500"}),
        "waits" => json!([[], ["service shop-dev: variables"]]),
        "left" | "note" => Value::Null,
        "task" => json!(ways_of_park::task(park::Action::Pause)),
        "stacks" => json!([{"app": "shop", "environment": "dev"}]),
        "dry_run" => json!(true),
        "room" => json!(10_000),
        "findings" => {
            json!([{"of": "service shop-dev", "what": "it has no alarms", "remedy": {"alarms": "arn"}}])
        }
        "compared" => json!({"drifts": []}),
        "told" => json!([{"stack": "shop-dev", "fingerprint": null}]),
        "batches" => {
            let lines = json!({"lines": [], "more": 0});
            json!([{"repaired": lines, "for_a_person": lines, "failed": lines}])
        }
        "machine" => json!("arn:aws:states:us-east-1:123456789012:stateMachine:park"),
        "started" => json!("2026-11-21T01:02:03.456Z"),
        name => panic!("no example of {name}"),
    }
}

pub(super) fn filled(payload: &Value) -> Value {
    filled_with(payload, &example)
}

/// A payload with these values in place of its paths.
pub(super) fn filled_with(payload: &Value, example: &dyn Fn(&str) -> Value) -> Value {
    let Value::Object(members) = payload else {
        return payload.clone();
    };
    let member = |(name, value): (&String, &Value)| match name.strip_suffix(".$") {
        Some(name) => (name.to_owned(), example(name)),
        None => (name.clone(), filled_with(value, example)),
    };
    Value::Object(members.iter().map(member).collect())
}

/// Whether the function that a state calls reads this.
pub(super) fn read(state: State<'_>, payload: Value) -> groundcrew::Result<()> {
    match state.function() {
        Some("DeployFunction") => deploy::Step::parse(payload).map(drop),
        Some("ParkFunction") => park::Step::parse(payload).map(drop),
        Some("SweepFunction") => sweep::Step::parse(payload).map(drop),
        Some("CompareFunction" | "CreateFunction" | "DeleteFunction") => {
            Step::parse(payload).map(drop)
        }
        function => panic!("nobody knows what {function:?} reads"),
    }
}
#[test]
fn every_payload_is_a_step() {
    for machine in machines::all() {
        for state in machine.steps() {
            if let Err(error) = read(state, filled(state.payload())) {
                panic!("{}: {}: {error}", machine.name, state.name);
            }
        }
    }
}

/// A step leaves out what it does not know, a misspelt name for instance. What it knows it cannot do without, or it takes no
/// other type.
#[test]
fn a_payload_has_no_field_that_its_step_does_not_know() {
    let is_known = |state: State<'_>, field: &str| {
        let (mut without, mut with_another) = (filled(state.payload()), filled(state.payload()));
        without.as_object_mut().unwrap().remove(field);
        with_another[field] = json!({"of": ["another type"]});
        read(state, without).is_err() || read(state, with_another).is_err()
    };
    for machine in machines::all() {
        for state in machine.steps() {
            let payload = filled(state.payload());
            let mut fields = payload.as_object().unwrap().keys();
            let unknown = fields.find(|field| *field != "parking" && !is_known(state, field));
            assert_eq!(unknown, None, "{}: {}", machine.name, state.name);
            assert!(!is_known(state, "entred"), "the test tells them apart");
        }
    }
}

/// The schedule is in the definition: in the environment of a published version it would be that of yesterday.
#[test]
fn each_step_that_goes_by_the_schedule_gets_it() {
    for machine in machines::all() {
        for state in machine.steps() {
            let goes_by_it = match state.function() {
                Some("CreateFunction") => ["plan", "check-health"].contains(&state.action()),
                Some("SweepFunction") => state.action() == "look",
                function => function == Some("ParkFunction"),
            };
            let parking = state.payload().get("parking");
            let expected = json!("${Parking}");
            assert_eq!(
                parking,
                goes_by_it.then_some(&expected),
                "{}: {}",
                machine.name,
                state.name
            );
        }
    }
}

/// Which state ensures, or destroys, which resource.
fn states_of<'a>(machine: &'a Machine, action: &str) -> BTreeMap<Resource, Vec<&'a str>> {
    let mut states: BTreeMap<_, Vec<_>> =
        Resource::ALL.map(|resource| (resource, Vec::new())).into();
    for state in machine.steps() {
        if state.action() == action {
            let resource = serde_json::from_value(state.payload()["resource"].clone()).unwrap();
            states.entry(resource).or_default().push(state.name);
        }
    }
    states
}

#[test]
fn every_resource_is_ensured_by_one_state_of_provision() {
    let provision = machines::provision();
    let mut states = states_of(&provision, "ensure");
    // After a service that could be neither used nor repaired was removed.
    let services = states.get_mut(&Resource::Service);
    services
        .unwrap()
        .retain(|state| *state != "Service once more");
    states.retain(|_, states| states.len() != 1);
    assert!(states.is_empty(), "ensured by none or by two: {states:?}");
}

#[test]
fn every_resource_is_destroyed_by_one_state_of_teardown() {
    let teardown = machines::teardown();
    let mut states = states_of(&teardown, "destroy");
    // The function `alarms` makes those of a service anew whose operation ends in between.
    let alarms = states.get_mut(&Resource::Alarms);
    alarms
        .unwrap()
        .retain(|state| *state != "Remove alarms again");
    states.retain(|_, states| states.len() != 1);
    assert!(states.is_empty(), "destroyed by none or by two: {states:?}");
}

/// One of each, in the order of [`Error::NAMES`].
fn one_of_each() -> [Error; 12] {
    let call = "ec2:CreateVpc";
    let reason = String::new;
    [
        Error::NotReady(reason()),
        Error::Busy {
            call,
            reason: reason(),
        },
        Error::Claimed(reason()),
        Error::Throttled { call },
        Error::Unavailable {
            call,
            reason: reason(),
        },
        Error::Conflict(reason()),
        Error::Invalid(Vec::new()),
        Error::Unreadable(reason()),
        Error::Failed(reason()),
        Error::CreateFailed(reason()),
        Error::Denied {
            call,
            reason: reason(),
        },
        Error::Aws {
            call,
            code: reason(),
            reason: reason(),
        },
    ]
}

#[test]
fn every_error_is_known_by_its_name() {
    assert_eq!(one_of_each().map(|error| error.name()), Error::NAMES);
}

#[test]
fn a_resource_is_asked_again_on_exactly_the_errors_that_ask_for_it() {
    for machine in machines::all() {
        for state in machine.steps() {
            if ![
                "ensure",
                "wake",
                "destroy",
                "prune",
                "await-image",
                "check-health",
            ]
            .contains(&state.action())
            {
                continue;
            }
            for error in one_of_each() {
                // No resource is claimed; only deploy waits for another execution of deploy. And what has just been made with a tag
                // may be denied for some seconds to whoever is allowed it by that tag.
                let is_just_made = state.action() == "ensure" && error.name() == "Denied";
                let is_asked_again =
                    (error.is_retried() && error.name() != "Claimed") || is_just_made;
                assert_eq!(
                    state.retrier(error.name()).is_some(),
                    is_asked_again,
                    "{}: {}: {}",
                    machine.name,
                    state.name,
                    error.name()
                );
            }
        }
    }
}

#[test]
fn every_call_of_a_function_is_repeated_when_lambda_or_aws_falter() {
    let transient = ["Throttled", "Unavailable"]
        .into_iter()
        .chain(LAMBDA)
        .chain(["States.Timeout"]);
    for name in transient {
        for machine in machines::all() {
            for state in machine.steps() {
                assert!(
                    state.retrier(name).is_some(),
                    "{}: {}: {name}",
                    machine.name,
                    state.name
                );
            }
        }
    }
}

/// The function counts the retries and has no other clock.
#[test]
fn the_wait_for_the_first_image_covers_what_a_spec_may_ask_for() {
    let provision = machines::provision();
    let image = provision
        .steps()
        .into_iter()
        .find(|state| state.action() == "await-image");
    let retrier = image.and_then(|state| state.retrier("NotReady")).unwrap();
    let number = |name: &str| retrier[name].as_u64().unwrap();
    assert_eq!(
        number("IntervalSeconds"),
        u64::from(groundcrew::image::WAIT_SECONDS)
    );
    assert_eq!(number("BackoffRate"), 1);
    let most = &Spec::schema()["$defs"]["Image"]["properties"]["wait_minutes"]["maximum"];
    let asked = most.as_u64().unwrap() * 60;
    let covered = number("MaxAttempts") * number("IntervalSeconds");
    // One attempt beyond: the one that says why it gives up.
    assert!(
        covered >= asked + number("IntervalSeconds"),
        "{covered} s of {asked} s"
    );
}

#[test]
fn what_creates_cannot_delete_and_what_deletes_cannot_create() {
    for machine in machines::all() {
        for state in machine.steps() {
            let function = match state.action() {
                "plan" if machine.name == "park" => "ParkFunction",
                "list" | "look" | "repair" | "report" | "remember" => "SweepFunction",
                "compare" => "CompareFunction",
                "check-spec" | "plan" | "wake" | "ensure" | "await-image" | "check-health" => {
                    "CreateFunction"
                }
                "check-removal" | "destroy" | "prune" | "remaining" => "DeleteFunction",
                "order" | "assess" | "await-operation" | "smoke-check" | "bake"
                | "deliver-secrets" | "roll-back" | "settle" | "explain" => "DeployFunction",
                "record" | "alarms-off" | "pause-services" | "stop-databases"
                | "start-databases" | "resume-services" | "alarms-on" | "deliver" | "give-up"
                | "note-told" => "ParkFunction",
                action => panic!("who answers {action}?"),
            };
            assert_eq!(
                state.function(),
                Some(function),
                "{}: {}",
                machine.name,
                state.name
            );
        }
    }
    assert!(!machines::teardown().text.contains("${CreateFunction}"));
    for function in ["${CreateFunction}", "${DeleteFunction}"] {
        assert!(!machines::deploy().text.contains(function), "{function}");
    }
}

/// Whatever goes wrong once something may have been created, it is undone or named.
#[test]
fn nothing_fails_in_provision_without_an_undo() {
    let provision = machines::provision();
    let top = provision.top();
    let before_anything = ["Refuse a bad spec", "Plan"];
    for state in top.states() {
        if !["Task", "Parallel"].contains(&state.kind()) || before_anything.contains(&state.name) {
            continue;
        }
        let catches_all = state.catchers().last().map(errors) == Some(vec!["States.ALL"]);
        assert!(catches_all, "{}", state.name);
    }
}
