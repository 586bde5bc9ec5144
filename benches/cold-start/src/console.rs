//! What a person sees: progress and errors on standard error, figures on standard output.

use anstyle::{AnsiColor, Style};
use std::fmt::Display;

const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();

/// One line, before the thing that takes its time.
pub(crate) fn progress(text: impl Display) {
    anstream::eprintln!("{DIM}· {text}{DIM:#}");
}

/// Why nothing more happens, or why it was not good enough.
pub(crate) fn error(text: impl Display) {
    anstream::eprintln!("{RED}error:{RED:#} {text}");
}

/// The figures.
pub(crate) fn line(text: impl Display) {
    anstream::println!("{text}");
}
