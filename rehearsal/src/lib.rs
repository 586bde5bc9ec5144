//! The rehearsal: the whole of groundcrew on this machine, with no AWS account and no Docker.
//!
//! [`prepare`] what the local AWS needs, [`build`] the functions, start a [`LocalAws`], deploy the template, start
//! executions and look at what they did. The program `rehearse` and the scenario tests are made of these.

mod authorization;
pub mod console;
mod deploy;
mod disclosure;
mod error;
mod execution;
mod functions;
mod image;
mod local_aws;
mod outcome;
mod play;
mod process;
mod project;
pub mod promises;
pub mod record;
pub mod report;
pub mod sockets;
mod venv;
mod world;

pub use authorization::{Authorization, Policies, authorize};
pub use deploy::{Outputs, STACK_NAME};
pub use error::{Error, Result};
pub use execution::{End, Execution, Happening, What};
pub use functions::build;
pub use image::{Registry, tag_for};
pub use local_aws::{
    ACCOUNT, Call, Check, Event, Fault, FaultKind, Invocation, Limit, LocalAws, Message,
    NewService, Notification, Options, Published, REGION, Scan, ScanStatus, Schedule, TIME_SCALE,
    Tagged, Takes,
};
pub use play::{Deployments, Occasion, Played, Stage};
pub use project::root;
pub use venv::{Prepared, prepare};
pub use world::World;

/// The end of a log, for an error message.
fn tail(log: &std::path::Path) -> String {
    const LINES: usize = 30;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
