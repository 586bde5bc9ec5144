//! What a person is told of stacks that differ from the specs that they were last brought in line with. The sweep has no right to
//! change them: somebody may have scaled up at night for a reason.

use crate::Surroundings;
use crate::finding::{Finding, Remedy, Told};
use groundcrew::command::start_execution;
use groundcrew::memory::LastSpec;
use groundcrew::stack::Tags;
use groundcrew::{Aws, Drift, Error, Memory, Result};
use serde_json::json;

/// As many bytes as [`Told`] has in a state, at most: two names of 40 characters, and a fingerprint.
const ROOM: usize = 150;

/// What there is to tell: what is urgent each time, and the rest once, until it changes. Whoever looks by hand and repairs nothing
/// is told of all of it.
pub(crate) fn findings(
    drifts: &[Drift],
    surroundings: &Surroundings,
    dry_run: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for drift in drifts {
        let machine = &surroundings.provision_state_machine;
        let input = json!({"stack": drift.stack});
        let command = start_execution(machine, &input.to_string());
        let of = format!("stack {}", drift.stack);
        for urgent in &drift.urgent {
            findings.push(Finding {
                of: of.clone(),
                what: format!("URGENT, it is open to others: {urgent}"),
                remedy: Remedy::Person(format!("Close it: {command}")),
            });
        }
        if !drift.differs.is_empty() && (dry_run || !drift.is_told) {
            findings.push(Finding {
                of,
                what: format!("it is not as its last spec has it: {}", drift.differs.join("; ")),
                remedy: Remedy::Person(format!(
                    "The next provision does that; write into the spec what is to stay, or bring it in line: {command}"
                )),
            });
        }
    }
    findings
}

/// What is to be remembered as told once it is told, as much as there is room for: the rest is told once more.
pub(crate) fn told(drifts: &[Drift], dry_run: bool, room: usize) -> Vec<Told> {
    let news = drifts.iter().filter(|drift| !drift.is_told && !dry_run);
    let told = news.map(|drift| Told {
        stack: drift.stack.clone(),
        fingerprint: drift.fingerprint.clone(),
    });
    told.take(room / ROOM).collect()
}

/// Remembers that a person was told. A stack that was brought in line meanwhile, or that is gone, is left.
pub(crate) async fn remember(aws: &Aws, told: Vec<Told>) -> Result<()> {
    for Told { stack, fingerprint } in told {
        let mut memory: Memory<LastSpec> = Memory::of(aws, &stack, &Tags::new()).await?;
        if memory.is_new() {
            continue;
        }
        let then = LastSpec {
            told: fingerprint,
            ..(*memory).clone()
        };
        match memory.write(aws, then).await {
            Err(Error::NotReady(_)) => {}
            written => written?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(is_told: bool) -> Drift {
        Drift {
            stack: "shop-dev".into(),
            urgent: vec!["change database shop-dev: public true → false".into()],
            differs: vec![
                "change database shop-dev: class a → b".into(),
                "create secret x".into(),
            ],
            fingerprint: Some("0a".into()),
            is_told,
        }
    }

    fn lines(is_told: bool, dry_run: bool) -> Vec<String> {
        let surroundings = Surroundings {
            notifications: String::new(),
            parking: String::new(),
            park_state_machine: String::new(),
            provision_state_machine: "arn:provision".into(),
            teardown_state_machine: String::new(),
        };
        let findings = findings(&[drift(is_told)], &surroundings, dry_run);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_urgent_is_told_each_time_and_the_rest_once_and_to_whoever_looks_by_hand() {
        let command = r#"aws stepfunctions start-execution --state-machine-arn arn:provision --input '{"stack":"shop-dev"}'"#;
        let [urgent, rest] = &lines(false, false)[..] else {
            panic!("two lines")
        };
        assert!(
            urgent.contains("public true → false") && urgent.ends_with(command),
            "{urgent}"
        );
        assert!(
            rest.contains("class a → b; create secret x") && rest.ends_with(command),
            "{rest}"
        );
        assert_eq!(lines(true, false), std::slice::from_ref(urgent));
        assert_eq!(lines(true, true), [urgent.clone(), rest.clone()]);
    }

    #[test]
    fn a_look_by_hand_tells_nobody_and_what_has_no_room_is_told_once_more() {
        let drifts = [drift(false), drift(true), drift(false)];
        assert_eq!(told(&drifts, true, 10_000), []);
        assert_eq!(told(&drifts, false, 10_000).len(), 2);
        assert_eq!(told(&drifts, false, ROOM).len(), 1);
    }
}
