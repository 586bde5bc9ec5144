//! What a function writes to its log: a line of JSON for each event, as `template.yaml` asks for it.

use lambda_runtime::tracing::subscriber::filter::LevelFilter;
use lambda_runtime::tracing::subscriber::fmt;
use tracing::level_filters::STATIC_MAX_LEVEL;

// `Cargo.toml` says why.
const _: () = assert!(
    cfg!(debug_assertions) || matches!(STATIC_MAX_LEVEL, LevelFilter::INFO),
    "what is shipped says nothing below INFO"
);

/// Writes events from now on, from the level on that Lambda names in `AWS_LAMBDA_LOG_LEVEL`. The runtime has the same with
/// filters by target, whose regular expressions are a tenth of a function's size.
pub fn write_json() {
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").ok();
    let level = level.and_then(|level| level.parse().ok());
    let lines = fmt()
        .json()
        .with_target(false)
        .without_time()
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .finish();
    // Only a second call could find that somebody writes already.
    let _ = tracing::subscriber::set_global_default(lines);
}
