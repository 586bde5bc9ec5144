//! What groundcrew has asked of AWS, and what its functions took.

use crate::Result;
use rehearsal::{Call, Invocation, LocalAws};
use std::collections::BTreeMap;

/// The calls and invocations of a span of time.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// By action, `apprunner:DescribeService`: how many, and how many of them were throttled.
    pub calls: BTreeMap<String, (usize, usize)>,
    /// The invocations of functions that have ended.
    pub invocations: Vec<Invocation>,
    /// Messages that state machines have published.
    pub notifications: usize,
}

impl Count {
    /// Begins to count.
    ///
    /// # Errors
    /// If the local AWS does not answer.
    pub async fn begin(local: &LocalAws) -> Result<()> {
        local.clear_calls().await?;
        local.clear_invocations().await?;
        Ok(())
    }

    /// What there was since.
    ///
    /// # Errors
    /// If the local AWS does not answer.
    pub async fn since(local: &LocalAws) -> Result<Self> {
        Ok(Self::of(&local.calls().await?, local.invocations().await?))
    }

    fn of(calls: &[Call], invocations: Vec<Invocation>) -> Self {
        let mut count = Self {
            invocations,
            ..Self::default()
        };
        for call in calls.iter().filter(|call| is_groundcrews(call)) {
            let (all, throttled) = count.calls.entry(call.action.clone()).or_default();
            *all += 1;
            *throttled += usize::from(is_throttled(call));
        }
        count
    }

    /// All calls.
    pub fn all(&self) -> usize {
        self.calls.values().map(|(all, _)| all).sum()
    }

    /// Those that AWS refused because it was asked too often.
    pub fn throttled(&self) -> usize {
        self.calls.values().map(|(_, throttled)| throttled).sum()
    }

    /// The most memory that a process of a function whose name holds `part` has had, in MB.
    pub fn peak_memory(&self, part: &str) -> f64 {
        let of = self.invocations_of(part);
        let peak = of.filter_map(|it| it.peak_memory_kb).max();
        peak.unwrap_or_default() as f64 / 1024.0
    }

    /// The longest invocation of a function whose name holds `part`, in seconds on the wall.
    pub fn longest(&self, part: &str) -> f64 {
        let seconds = self.invocations_of(part).map(|it| it.seconds);
        seconds.fold(0.0, f64::max)
    }

    fn invocations_of(&self, part: &str) -> impl Iterator<Item = &Invocation> {
        let of = move |it: &&Invocation| it.function.contains(part);
        self.invocations.iter().filter(of)
    }
}

/// Not those of a person or of whoever measures, nor what the runtime of a function does by itself.
fn is_groundcrews(call: &Call) -> bool {
    call.principal != "root"
        && !["logs:", "xray:"]
            .iter()
            .any(|of| call.action.starts_with(of))
}

fn is_throttled(call: &Call) -> bool {
    let code = call.error.as_deref().unwrap_or_default();
    code.starts_with("Throttling") || code == "RequestLimitExceeded"
}
