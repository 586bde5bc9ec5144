//! What an earlier version of groundcrew left behind while it was replaced: executions with their definitions and payloads, and
//! tags. `tests/earlier/` holds them as that version wrote them.
//!
//! An execution calls the published version of a function that its definition was made for. One of groundcrew 0.1 names no
//! version, so that today's code answers it (until 0.3.0).

use super::authorizations;
use super::state_machines::{filled, filled_with, read};
use crate::asl::machines::{self, Machine};
use crate::documents;
use groundcrew::claim::Kind;
use groundcrew::stack::{TAG_POLICY, Tags};
use groundcrew::{Claim, Error, Mark, Policy, Watch};
use rehearsal::Authorization;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The version whose executions name no version of a function.
const UNPINNED: &str = "6ecc944";
const MACHINES: [&str; 5] = ["deploy", "park", "provision", "sweep", "teardown"];

fn earlier(file: &str) -> Value {
    documents::json(&format!("tests/earlier/{UNPINNED}/{file}.json"))
}

#[test]
fn every_payload_of_an_earlier_definition_is_a_step() {
    let payloads = earlier("payloads");
    let example = |name: &str| match &payloads[name] {
        Value::Null if name != "left" => panic!("no example of {name}"),
        value => value.clone(),
    };
    let mut read_steps = 0;
    for name in MACHINES {
        let machine = Machine::of_earlier(UNPINNED, name);
        for state in machine.steps() {
            // The executions of a look told together at its end; now each execution tells for itself. One that is at work while
            // 0.1 is replaced ends with an error there, which is told, and the next look goes on where it stopped.
            if (name, state.action()) == ("park", "report") {
                continue;
            }
            let payload = filled_with(state.payload(), &example);
            let step = read(state, payload);
            step.unwrap_or_else(|error| panic!("{name}: {}: {error}", state.name));
            read_steps += 1;
        }
    }
    assert_eq!(read_steps, 49);
}

/// Puts a member that is not known into every object that states hand on to each other.
fn with_more(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(with_more).collect(),
        Value::Object(members) => {
            let deeper = members.iter().map(|(name, value)| {
                // The one member of a remedy says which it is.
                let value = match name == "remedy" {
                    true => value.clone(),
                    false => with_more(value),
                };
                (name.clone(), value)
            });
            let more = [("of_a_later_version".to_owned(), json!({"it": [1]}))];
            Value::Object(deeper.chain(more).collect())
        }
        value => value.clone(),
    }
}

#[test]
fn what_a_later_version_adds_to_a_payload_is_left_out() {
    for machine in machines::all() {
        for state in machine.steps() {
            let step = read(state, with_more(&filled(state.payload())));
            step.unwrap_or_else(|error| panic!("{}: {}: {error}", machine.name, state.name));
        }
    }
}

/// A person's mistake ends an execution without a word to others; this is none.
#[test]
fn a_payload_that_cannot_be_read_is_no_mistake_of_a_person() {
    for machine in machines::all() {
        for state in machine.steps() {
            let unreadable = json!({"action": state.action(), "of": "another version"});
            let mut payloads = vec![json!({"action": "of-another-version"})];
            // Of a note its one member may be left out.
            payloads.extend(Some(unreadable).filter(|_| state.action() != "note-told"));
            for payload in payloads {
                let error = read(state, payload).expect_err("it is refused");
                let what = format!("{}: {}", machine.name, state.name);
                assert!(matches!(error, Error::Unreadable(_)), "{what}: {error}");
                let mut named = state.retriers().iter().chain(state.catchers());
                let named = named.any(|it| machines::errors(it).contains(&error.name()));
                assert!(!named, "{what} has no way of its own for it");
            }
        }
    }
}

#[test]
fn the_tags_of_an_earlier_version_are_read() {
    let tags: BTreeMap<String, String> = serde_json::from_value(earlier("tags")).expect("tags");
    let tags: Tags = tags.into_iter().collect();
    let claim = Claim::of(&tags).expect("a claim");
    assert_eq!(
        (claim.execution.as_str(), claim.kind, claim.sent),
        ("shop-staging-0a1b2c3d", Kind::Image, true)
    );
    let digest = |digits: &str| Some(format!("sha256:{}", digits.repeat(32)));
    assert_eq!(
        (claim.digest, claim.previous, claim.secrets),
        (digest("0b"), digest("0c"), Some("0d".repeat(8)))
    );
    let policy = Policy::parse(tags.get(TAG_POLICY)).expect("a policy");
    assert_eq!(policy.bake_minutes, 45);
    assert!(Policy::unknown(tags.get(TAG_POLICY)).is_empty());
    let watch = Watch::parse(&tags).expect("a watch");
    assert_eq!(
        (watch.alarms.cpu_percent, watch.log_retention_days),
        (71, 7)
    );
    assert!(Watch::unknown(&tags).is_empty());
    assert!(Mark::of(&tags).expect("a mark").pausing);
}

/// Roles have no versions: what a running execution of the version before does is allowed for one release longer.
#[test]
fn the_policies_allow_what_executions_of_the_version_before_do() {
    let needed = earlier("needed");
    let needed: Vec<Authorization> = serde_json::from_value(needed).expect("authorisations");
    let refused = authorizations::refused(&needed);
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
