//! How long a stack takes to be built, beside the least that it can take.

use crate::{Error, Result};
use figures::Figures;

/// Slow enough for what this machine itself takes to vanish beside what AWS takes.
pub const TIME_SCALE: f64 = 20.0;

/// Measures, at so many AWS seconds in a second on the wall.
///
/// # Errors
/// If something cannot be measured.
pub async fn run(_scale: f64) -> Result<Figures> {
    Err(Error::Unexpected("provisioning is not measured yet".into()))
}
