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
    let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").unwrap_or_default();
    // Only a second call could find that somebody writes already.
    let _ = tracing::subscriber::set_global_default(lines(&level, std::io::stdout));
}

/// Each line has its time: "If you don't supply a valid timestamp, Lambda assigns the log the level INFO", and with
/// `ApplicationLogLevel: WARN` it would then drop every warning and every error
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>).
fn lines<W>(level: &str, to: W) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match level {
        "" => LevelFilter::INFO,       // tracing would take it for ERROR
        "FATAL" => LevelFilter::ERROR, // Lambda knows it, and nothing of ours is worse than an error
        level => level.parse().unwrap_or(LevelFilter::INFO),
    };
    fmt()
        .json()
        .with_target(false)
        .with_max_level(level)
        .with_writer(to)
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panics with it").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(level: &str) -> Vec<Value> {
        let written = Written::default();
        let to = written.clone();
        tracing::subscriber::with_default(lines(level, move || to.clone()), || {
            tracing::info!("one");
            tracing::warn!("two");
            tracing::error!("three");
        });
        let text = written.0.lock().expect("nobody panics with it").clone();
        let text = String::from_utf8(text).expect("a text");
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// One test, for tracing keeps for all threads which of its macros are listened to.
    #[test]
    fn each_line_from_the_level_of_the_template_on_has_the_level_and_the_time_by_which_lambda_keeps_it()
     {
        for (level, kept) in [
            ("INFO", &["INFO", "WARN", "ERROR"][..]),
            ("WARN", &["WARN", "ERROR"]),
            ("ERROR", &["ERROR"]),
            ("FATAL", &["ERROR"]),
            ("", &["INFO", "WARN", "ERROR"]),
        ] {
            let lines = written(level);
            let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str()).collect();
            assert!(levels.iter().flatten().eq(kept), "{level}: {lines:?}");
            for line in lines {
                let time = line["timestamp"].as_str().expect("a time");
                time.parse::<jiff::Timestamp>().expect("RFC 3339");
            }
        }
    }
}
