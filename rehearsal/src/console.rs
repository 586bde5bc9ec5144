//! What a person sees: progress on standard error, the play itself on standard output. Colour only on a terminal and
//! without `NO_COLOR`; `anstream` sees to that.

use crate::local_aws::Notification;
use crate::promises::Checked;
use anstyle::{AnsiColor, Style};
use std::fmt::Display;
use std::io::Write as _;
use tokio::sync::Notify;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Told once nobody reads what is written, as after `cargo rehearse | head`.
static CLOSED: Notify = Notify::const_new();

/// Waits until nobody reads the output any more.
pub async fn closed() {
    CLOSED.notified().await;
}

/// One line of the play.
pub fn line(text: impl Display) {
    if writeln!(anstream::stdout(), "{text}").is_err() {
        CLOSED.notify_one();
    }
}

/// One line of progress, before the thing that takes its time.
pub fn progress(text: impl Display) {
    if writeln!(anstream::stderr(), "{DIM}· {text}{DIM:#}").is_err() {
        CLOSED.notify_one();
    }
}

/// The beginning of an act.
pub fn heading(text: impl Display) {
    line(format_args!("\n{BOLD}{text}{BOLD:#}"));
}

/// Why nothing more happens.
pub fn error(error: &dyn Display) {
    let text = format_args!("{RED}{BOLD}error:{BOLD:#}{RED:#} {error}");
    // This is the last word in any case.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A notification, as its reader sees it on a phone.
pub(crate) fn notification(told: &Notification) {
    let subject = told.subject.as_deref().unwrap_or_default();
    line(format_args!("           ┌ {BOLD}{subject}{BOLD:#}"));
    for paragraph in told.message.lines() {
        for wrapped in wrapped(paragraph) {
            line(
                format_args!("           │ {wrapped}")
                    .to_string()
                    .trim_end(),
            );
        }
    }
    line("           └");
}

/// A paragraph in lines that are easy to read. A command stays whole, to be copied.
fn wrapped(paragraph: &str) -> Vec<String> {
    const WIDTH: usize = 80;
    if paragraph.starts_with("aws ") || paragraph.is_empty() {
        return vec![paragraph.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split(' ') {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= WIDTH => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The promises, kept or broken, each with its evidence.
pub fn table(checked: &[Checked]) {
    heading("Promises");
    for Checked {
        id,
        sentence,
        verdict,
    } in checked
    {
        let (style, word, evidence) = match verdict {
            Ok(evidence) => (GREEN, "kept", evidence),
            Err(evidence) => (RED, "BROKEN", evidence),
        };
        line(format_args!(
            "{style}{word:>8}{style:#}  {BOLD}{id:<4}{BOLD:#}  {sentence}"
        ));
        line(format_args!(
            "{:16}{DIM}{}{DIM:#}",
            "",
            evidence.replace('\n', "\n                ")
        ));
    }
    let kept = checked
        .iter()
        .filter(|promise| promise.verdict.is_ok())
        .count();
    let style = if kept == checked.len() { GREEN } else { RED };
    line(format_args!(
        "\n{style}{BOLD}{kept} of {} promises kept{BOLD:#}{style:#}",
        checked.len()
    ));
}

/// A duration as `0:45`, `12:03` or `1:02:03`.
pub(crate) fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_wrapped_between_words_and_a_command_is_not() {
        let text = "It runs again. ".repeat(8);
        let lines = wrapped(text.trim());
        assert!(
            lines.len() > 1 && lines.iter().all(|line| line.len() <= 80),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), text.trim());
        let command = format!("aws {}", "x ".repeat(100));
        assert_eq!(wrapped(&command), [command]);
        assert_eq!(wrapped(""), [""]);
    }

    #[test]
    fn a_duration_is_shown_as_a_clock_would() {
        assert_eq!(clock(0.4), "0:00");
        assert_eq!(clock(45.0), "0:45");
        assert_eq!(clock(723.2), "12:03");
        assert_eq!(clock(3723.0), "1:02:03");
    }
}
