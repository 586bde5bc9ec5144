//! What a person sees: progress on standard error, the play itself on standard output. Colour only on a terminal and
//! without `NO_COLOR`; `anstream` sees to that.

use crate::promises::Checked;
use anstyle::{AnsiColor, Style};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();

/// One line of progress, before the thing that takes its time.
pub fn progress(text: impl std::fmt::Display) {
    anstream::eprintln!("{DIM}· {text}{DIM:#}");
}

/// The beginning of an act.
pub fn heading(text: impl std::fmt::Display) {
    anstream::println!("\n{BOLD}{text}{BOLD:#}");
}

/// Why nothing more happens.
pub fn error(error: &dyn std::fmt::Display) {
    anstream::eprintln!("{RED}{BOLD}error:{BOLD:#}{RED:#} {error}");
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
        anstream::println!("{style}{word:>8}{style:#}  {BOLD}{id:<4}{BOLD:#}  {sentence}");
        anstream::println!(
            "{:16}{DIM}{}{DIM:#}",
            "",
            evidence.replace('\n', "\n                ")
        );
    }
    let kept = checked
        .iter()
        .filter(|promise| promise.verdict.is_ok())
        .count();
    let style = if kept == checked.len() { GREEN } else { RED };
    anstream::println!(
        "\n{style}{BOLD}{kept} of {} promises kept{BOLD:#}{style:#}",
        checked.len()
    );
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
    fn a_duration_is_shown_as_a_clock_would() {
        assert_eq!(clock(0.4), "0:00");
        assert_eq!(clock(45.0), "0:45");
        assert_eq!(clock(723.2), "12:03");
        assert_eq!(clock(3723.0), "1:02:03");
    }
}
