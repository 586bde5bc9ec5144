//! The local AWS behaves as AWS does; and `cargo rehearse` as a person has it: what it shows, leaves behind, and ends with.

mod interruption;
mod local_aws;
mod report;
mod terminal;
