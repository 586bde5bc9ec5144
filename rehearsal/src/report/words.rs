//! Numbers, times and money, as a person reads them.

use crate::record::{Cost, End, Flow, Record};
use figures::thousands;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What came of a rehearsal.
pub(super) fn verdict(record: &Record) -> String {
    let (promises, broken) = (record.promises.len(), record.broken().count());
    let verdict = match (promises, broken) {
        (0, _) => match failed(record) {
            Some((machine, error)) => format!("{machine} ended with {error}"),
            None => "No promise was checked".to_owned(),
        },
        (_, 0) => format!("{promises} of {promises} promises kept"),
        (_, broken) => format!("{broken} of {promises} promises broken"),
    };
    match &record.error {
        None => verdict,
        Some(_) => format!("It ended with an error: {}", lower_first(&verdict)),
    }
}

/// The first execution that has failed, and its error.
pub(super) fn failed(record: &Record) -> Option<(&str, &str)> {
    let mut executions = record.flows.iter().flat_map(|flow| &flow.executions);
    executions.find_map(|execution| match &execution.end {
        End::Failed { error, .. } => Some((execution.machine.as_str(), error.as_str())),
        End::Running | End::Succeeded => None,
    })
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// `1 event`, `2 events`
pub(super) fn count(count: usize, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        thousands(count),
        if count == 1 { one } else { many }
    )
}

/// US dollars, to a hundredth of a cent where that is all there is.
pub(super) fn dollars(dollars: f64) -> String {
    if dollars < 1.0 {
        format!("${dollars:.4}")
    } else {
        format!("${dollars:.2}")
    }
}

/// What the sleeps save, if there are any and their prices are known.
pub(super) fn saved(cost: &Cost) -> Option<String> {
    let sleeps = cost.sleeps.iter().map(|sleep| sleep.dollars);
    let saved: Vec<f64> = sleeps.collect::<Option<_>>()?;
    (!saved.is_empty()).then(|| format!("${:.2}", saved.iter().sum::<f64>()))
}

/// `21 November 2026, 12:10 UTC`
pub(super) fn day(at: &Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC);
    at.strftime("%-d %B %Y, %H:%M UTC").to_string()
}

/// When something in a flow was: on the clock of the people if there is one, or since the flow began.
pub(super) fn when(flow: &Flow, at: f64) -> String {
    match flow.local(at) {
        Some(local) => local.strftime("%a %H:%M:%S").to_string(),
        None => crate::console::clock(at),
    }
}

/// The function or the state machine behind the name of a role: CloudFormation puts its stack's name before it and
/// characters of its own behind.
pub(super) fn principal(role: &str) -> &str {
    let name = role.strip_prefix("groundcrew-").unwrap_or(role);
    ["FunctionRole", "StateMachineRole", "Role"]
        .iter()
        .find_map(|end| Some(name.split_once(end)?.0))
        .filter(|name| !name.is_empty())
        .unwrap_or(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_something_is_not_many() {
        assert_eq!(count(1, "event", "events"), "1 event");
        assert_eq!(count(2000, "event", "events"), "2,000 events");
    }

    #[test]
    fn a_role_of_the_template_is_called_by_what_it_is_for() {
        assert_eq!(principal("groundcrew-CreateFunctionRole-0A1B"), "Create");
        assert_eq!(principal("groundcrew-DeployStateMachineRole-0A"), "Deploy");
        assert_eq!(principal("shop-staging-access"), "shop-staging-access");
    }
}
