//! What holds between the parts of the project, and what it promises: one program, so that all of it is compiled and linked
//! once, and what waits for AWS's time waits beside what computes.

#![expect(clippy::unwrap_used, reason = "so a test fails")]

mod asl;
mod contract;
mod crashes;
mod documents;
mod drifts;
mod model;
mod properties;
mod scenarios;
mod stage;
