//! Measures groundcrew over the local AWS: what it costs, how it scales, and what its waiting is spent on.

pub mod cold_start;
mod error;
pub mod operations;
pub mod provisioning;
pub mod scale;

pub use error::{Error, Result};
