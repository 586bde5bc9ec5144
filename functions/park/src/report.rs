//! The end of an execution: what became of each stack, and what a person is told, if something failed.

use crate::decide::Action;
use crate::task::{Came, Outcome};
use serde::Serialize;

/// What `report` answers.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether something failed.
    pub failed: bool,
    /// What became of it all, in a line for each stack that failed.
    pub summary: String,
    /// What is to be told.
    pub notification: Option<Notification>,
}

/// One message to the notification topic.
#[derive(Debug, Serialize)]
pub struct Notification {
    /// At most 100 ASCII characters on one line (SNS, `Publish`): the names of stacks are shorter.
    pub subject: String,
    /// Plain text.
    pub message: String,
}

/// Says what became of all stacks: `machine` is the ARN of the state machine, and `execution` the execution's name.
pub fn report(outcomes: &[Outcome], machine: &str, execution: &str) -> Report {
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.outcome == Came::Failed)
        .collect();
    let lines: Vec<_> = failed
        .iter()
        .map(|outcome| format!("{} {}: {}.", outcome.stack, not_done(outcome), outcome.why))
        .collect();
    let done = outcomes.len() - failed.len();
    let summary = match (failed.len(), done) {
        (0, done) => format!("{done} done"),
        (_, 0) => lines.join("\n\n"),
        (_, done) => format!(
            "{}\n\nOther stacks: {done}, all of them well.",
            lines.join("\n\n")
        ),
    };
    let first = failed.iter().find(|outcome| outcome.to_tell);
    let notification = first.map(|first| Notification {
        subject: match failed.len() {
            1 => format!("{}: {}", first.stack, not_done(first)),
            several => format!("{}: {} (and {} more)", first.stack, not_done(first), several - 1),
        },
        message: format!(
            "{summary}\n\nThe same is tried again every half hour, and told no second time. To try it now, once the cause is mended:\naws stepfunctions start-execution --state-machine-arn {machine} --input '{{\"action\": \"{}\", \"stack\": \"{}\"}}'\n\nExecution: {execution}",
            match first.action {
                Action::Resume => "resume",
                Action::Pause | Action::Leave => "pause",
            },
            first.stack,
        ),
    });
    Report {
        failed: !failed.is_empty(),
        summary,
        notification,
    }
}

fn not_done(outcome: &Outcome) -> &'static str {
    match outcome.action {
        Action::Pause => "could not be parked",
        Action::Resume => "could not be woken",
        Action::Leave => "could not be told what is wanted of it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stack: &str, outcome: Came, to_tell: bool) -> Outcome {
        Outcome {
            stack: stack.into(),
            action: Action::Resume,
            outcome,
            why: format!("database {stack} is failed"),
            to_tell,
        }
    }

    #[test]
    fn one_message_says_what_failed_and_how_to_go_on_and_none_says_that_all_is_well() {
        let well = report(&[outcome("shop-dev", Came::Done, false)], "arn", "run-1");
        assert!(!well.failed && well.notification.is_none());
        let outcomes = [
            outcome("shop-dev", Came::Done, false),
            outcome("blog-dev", Came::Failed, true),
            outcome("news-dev", Came::Failed, true),
        ];
        let told = report(&outcomes, "arn", "run-1");
        let told = told.notification.expect("a message");
        assert_eq!(told.subject, "blog-dev: could not be woken (and 1 more)");
        for part in [
            "database blog-dev is failed",
            "database news-dev is failed",
            "start-execution",
        ] {
            assert!(
                told.message.contains(part),
                "{part} is not in {}",
                told.message
            );
        }
        assert!(told.subject.len() <= 100);
    }

    #[test]
    fn what_was_told_before_fails_and_is_told_no_second_time() {
        let again = report(&[outcome("shop-dev", Came::Failed, false)], "arn", "run-1");
        assert!(again.failed && again.notification.is_none());
    }
}
