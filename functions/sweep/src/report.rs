//! The end of a sweep: what was found and repaired, and what a person is told.

use crate::finding::{Lines, Swept, Told};
use groundcrew::Notification;
use groundcrew::command::start_execution;
use serde::Serialize;

/// What `report` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether something could not be looked at or repaired.
    pub(crate) failed: bool,
    /// How many findings there were.
    pub(crate) found: usize,
    /// How many of them were repaired.
    pub(crate) repaired: usize,
    /// All of it, in words.
    pub(crate) summary: String,
    /// What is to be told; nothing, if nothing was found.
    pub(crate) notification: Option<Notification>,
    /// What of it is told once.
    pub(crate) told: Vec<Told>,
}

/// As many lines of a kind as a person reads.
const LINES: usize = 30;

pub(crate) fn report(batches: Vec<Swept>, dry_run: bool, machine: &str, execution: &str) -> Report {
    let of = |kind: fn(&Swept) -> &Lines| {
        let mut all = Lines::default();
        for lines in batches.iter().map(kind) {
            all.lines.extend_from_slice(&lines.lines);
            all.more += lines.more;
        }
        all
    };
    let (repaired, for_a_person, failed) = (
        of(|batch| &batch.repaired),
        of(|batch| &batch.for_a_person),
        of(|batch| &batch.failed),
    );
    let found = repaired.count() + for_a_person.count() + failed.count();
    let done = if dry_run {
        "would be repaired"
    } else {
        "repaired"
    };
    let parts = [
        ("could not be repaired", &failed),
        ("for you to see to", &for_a_person),
        (done, &repaired),
    ];
    let parts = || parts.iter().filter(|(_, lines)| lines.count() > 0);
    let counted: Vec<_> = parts()
        .map(|(what, lines)| format!("{} {what}", lines.count()))
        .collect();
    let sections: Vec<_> = parts().map(|(what, lines)| section(what, lines)).collect();
    let summary = match found {
        0 => "everything is as it should be".to_owned(),
        _ => sections.join("\n\n"),
    };
    let notification = (found > 0 && !dry_run).then(|| {
        Notification::new(
            &format!("groundcrew sweep: {}", counted.join(", ")),
            &[
                summary.clone(),
                format!(
                    "To look again, and repair nothing:\n{}",
                    start_execution(machine, r#"{"dry_run": true}"#)
                ),
                format!("Execution: {execution}"),
            ],
        )
    });
    Report {
        failed: failed.count() > 0,
        found,
        repaired: if dry_run { 0 } else { repaired.count() },
        summary,
        notification,
        told: batches.into_iter().flat_map(|batch| batch.told).collect(),
    }
}

fn section(what: &str, lines: &Lines) -> String {
    let mut text = format!("{} {what}:", lines.count());
    for line in lines.lines.iter().take(LINES) {
        text.push_str("\n- ");
        text.push_str(line);
    }
    match lines.count() - lines.lines.len().min(LINES) {
        0 => text,
        more => format!("{text}\n- and {more} more, in the logs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(repaired: usize, for_a_person: usize, failed: usize) -> Swept {
        let lines = |count: usize| {
            let mut lines = Lines::default();
            (0..count).for_each(|n| lines.push(format!("service shop-{n}: x"), 1000));
            lines
        };
        Swept {
            repaired: lines(repaired),
            for_a_person: lines(for_a_person),
            failed: lines(failed),
            told: Vec::new(),
        }
    }

    #[test]
    fn one_message_counts_what_was_repaired_and_what_is_left_and_none_says_that_all_is_well() {
        let well = report(vec![batch(0, 0, 0)], false, "arn", "run-1");
        assert!(!well.failed && well.notification.is_none());
        let report = report(vec![batch(40, 1, 0), batch(1, 0, 1)], false, "arn", "run-1");
        let told = report.notification.expect("a message");
        assert_eq!(
            told.subject(),
            "groundcrew sweep: 1 could not be repaired, 1 for you to see to, 41 repaired"
        );
        assert!(
            told.message().contains("more, in the logs"),
            "{}",
            told.message()
        );
        assert!(report.failed);
        assert_eq!((report.found, report.repaired), (43, 41));
    }

    #[test]
    fn a_look_alone_says_what_would_be_repaired_and_tells_nobody() {
        let report = report(vec![batch(1, 0, 0)], true, "arn", "run-1");
        assert!(
            report.summary.contains("1 would be repaired"),
            "{}",
            report.summary
        );
        assert!(report.notification.is_none());
        assert_eq!((report.found, report.repaired), (1, 0));
    }
}
