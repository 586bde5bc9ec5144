//! Measures groundcrew over the local AWS: what it costs, how it scales, and what its waiting is spent on.

mod account;
pub mod cold_start;
mod cost;
mod count;
mod error;
mod fleet;
pub mod graph;
pub mod nights;
pub mod operations;
pub mod provisioning;
pub mod scale;

pub use count::{Begun, Count};
pub use error::{Error, Result};
pub use fleet::{Ended, Fleet, Occasion, PER_SECOND};

/// Each size once, the smallest first.
fn sorted(sizes: &[u16]) -> Vec<u16> {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}
