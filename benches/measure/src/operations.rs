//! What each operation costs.

use crate::{Error, Result};
use figures::Figures;

/// Measures.
///
/// # Errors
/// If something cannot be measured.
pub async fn run() -> Result<Figures> {
    Err(Error::Unexpected("operations are not measured yet".into()))
}
