//! How calls, time and memory grow with the number of services.

use crate::{Error, Result};
use figures::Figures;

/// How many of each.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Services that a push, a rotation and a sweep concern.
    pub services: Vec<u16>,
    /// Stacks that are parked and woken.
    pub stacks: Vec<u16>,
}

impl Sizes {
    /// Those of a run, or of a short one.
    pub fn new(short: bool) -> Self {
        let (services, stacks) = if short {
            (vec![1, 10], vec![1])
        } else {
            (vec![1, 10, 100, 1000], vec![1, 10, 50])
        };
        Self { services, stacks }
    }
}

/// Measures.
///
/// # Errors
/// If something cannot be measured.
pub async fn run(_sizes: &Sizes) -> Result<Figures> {
    Err(Error::Unexpected("scale is not measured yet".into()))
}
