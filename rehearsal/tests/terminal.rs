//! `cargo rehearse` as a person has it before them: a terminal that is drawn on, a pipe that is only written to, what the
//! program ends with, and what a shell completes.

mod completions;
mod exit_codes;
mod progress;
mod screen;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

fn rehearse() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehearse"));
    command
        .current_dir(rehearsal::root())
        .env("TERM", "xterm-256color");
    // What decides about colours beside TERM: with CI even a dumb terminal has them.
    for decided in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(decided);
    }
    command
}

/// A play of a few seconds.
fn teardown() -> Command {
    let mut command = rehearse();
    command
        .args(["teardown", "--input", "events/teardown.json", "--report"])
        .arg(report());
    command
}

/// Where no other test, and no person, has a report.
fn report() -> PathBuf {
    static REPORTS: AtomicUsize = AtomicUsize::new(0);
    let number = REPORTS.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{number}.html"))
}

/// A file that a person has written, in the folder that cargo gives to tests.
fn file(name: &str, content: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).expect("a file can be written");
    path
}
