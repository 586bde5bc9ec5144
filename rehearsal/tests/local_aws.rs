//! The local AWS does what AWS does: each behaviour that its overlay restores and the tests of groundcrew rest on.

#![allow(clippy::unwrap_used, missing_docs)]

mod alarms;
mod databases;
mod deliveries;
mod executions;
mod images;
mod metrics;
mod models;
mod registries;
mod roles;
mod scans;
mod schedules;
mod secrets;
mod services;
mod stage;
mod tables;
mod tagged;
mod topics;
mod versions;
