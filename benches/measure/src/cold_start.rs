//! Cold starts are measured by a program of their own, an optimised build that shares nothing with the SDK's other users.

use crate::{Error, Result};
use std::process::ExitStatus;
use tokio::process::Command;

/// Runs it. Whether its goals were met.
///
/// # Errors
/// If it could not be run, or could not measure.
pub async fn run(short: bool, update_readme: bool) -> Result<bool> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cold_start = Command::new(cargo);
    cold_start
        .args(["run", "--release", "--package", "cold-start", "--"])
        .args(short.then_some("--short"))
        .args(update_readme.then_some("--update-readme"))
        .current_dir(rehearsal::root());
    let status = cold_start.status().await;
    verdict(status.map_err(Error::io("cannot run cargo"))?)
}

fn verdict(status: ExitStatus) -> Result<bool> {
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(Error::Unexpected(format!(
            "cold starts were not measured: {status}"
        ))),
    }
}
