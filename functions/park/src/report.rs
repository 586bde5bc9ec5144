//! What a person is told: that a stack could not be parked or woken, or could not be looked at.

use crate::decide::Action;
use crate::plan::Row;
use crate::task::Task;
use groundcrew::Notification;
use groundcrew::command::start_execution;
use serde::Serialize;

/// What a person is told of an execution.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether something failed.
    pub failed: bool,
    /// What failed, in a line for each stack.
    pub summary: String,
    /// What is to be told; nothing if it was told before.
    pub notification: Option<Notification>,
}

/// As many lines as a person reads.
const LINES: usize = 30;

/// Says what could not be done with a stack, and why. `machine` is the ARN of the state machine, and `execution` the execution's
/// name.
pub(crate) fn not_done(
    task: &Task,
    why: &str,
    is_news: bool,
    machine: &str,
    execution: &str,
) -> Report {
    let stack = task.name();
    let not_done = match task.action {
        Action::Pause => "could not be parked",
        Action::Resume => "could not be woken",
        Action::Leave => "could not be told what is wanted of it",
    };
    let action = match task.action {
        Action::Resume => "resume",
        Action::Pause | Action::Leave => "pause",
    };
    let summary = format!("{stack} {not_done}: {why}.");
    let input = format!(r#"{{"action": "{action}", "stack": "{stack}"}}"#);
    let notification = is_news.then(|| {
        Notification::new(
            &format!("{stack}: {not_done}"),
            &[
                summary.clone(),
                format!(
                    "The same is tried again every half hour, and told no second time. To try it now, once the cause is mended:\n{}",
                    start_execution(machine, &input)
                ),
                format!("Execution: {execution}"),
            ],
        )
    });
    Report {
        failed: true,
        summary,
        notification,
    }
}

/// Says which stacks could not be looked at; nothing remembers who was told of them.
pub(crate) fn unseen(rows: &[Row], is_to_be_told: bool, execution: &str) -> Report {
    let Some(first) = rows.first() else {
        return Report::default();
    };
    let lines = rows.iter().take(LINES);
    let lines = lines.map(|row| format!("{}: {}.", row.stack, row.reason));
    let mut summary = lines.collect::<Vec<_>>().join("\n\n");
    if let Some(more) = rows.len().checked_sub(LINES).filter(|more| *more > 0) {
        summary = format!("{summary}\n\nAnd {more} more, in the logs.");
    }
    let subject = match rows.len() - 1 {
        0 => format!("{}: could not be looked at", first.stack),
        more => format!("{}: could not be looked at (and {more} more)", first.stack),
    };
    let notification = is_to_be_told.then(|| {
        Notification::new(
            &subject,
            &[
                summary.clone(),
                "The other stacks were looked at. The next look, within half an hour, tries again; once a day you are told if it cannot.".into(),
                format!("Execution: {execution}"),
            ],
        )
    });
    Report {
        failed: true,
        summary,
        notification,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::tests::task;

    #[test]
    fn a_message_says_what_failed_and_how_to_go_on_and_none_is_there_when_it_was_told_before() {
        let resume = task(Action::Resume, "2026-11-24T07:00:00Z", false);
        let why = "database shop-dev is failed";
        let report = not_done(&resume, why, true, "arn", "run-1");
        let told = report.notification.expect("a message");
        let stack = resume.name();
        assert_eq!(told.subject(), format!("{stack}: could not be woken"));
        for part in [why, "start-execution", "\"action\": \"resume\"", "run-1"] {
            assert!(told.message().contains(part), "{part}: {}", told.message());
        }
        let again = not_done(&resume, why, false, "arn", "run-1");
        assert!(again.failed && again.notification.is_none());
    }
}
