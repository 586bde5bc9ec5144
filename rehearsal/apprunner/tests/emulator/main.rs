//! The emulator, asked as a client of App Runner asks it.

#![allow(clippy::unwrap_used, missing_docs)]

mod addresses;
mod arranging;
mod changing;
mod companions;
mod creating;
mod local_aws;
mod requests;
mod service_model;
mod states;
mod world;
