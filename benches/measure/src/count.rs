//! What groundcrew has asked of AWS, and what its functions took.

use crate::Result;
use rehearsal::{Call, Invocation, LocalAws};
use std::collections::BTreeMap;

/// The calls and invocations of a span of time.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// By action, `apprunner:DescribeService`: how many, and how many of them were throttled. Those of functions; and
    /// `sns:Publish`, which state machines call.
    pub calls: BTreeMap<String, (usize, usize)>,
    /// The invocations of functions that have ended.
    pub invocations: Vec<Invocation>,
}

/// Where a count begins.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    notifications: usize,
}

impl Count {
    /// Begins to count.
    ///
    /// # Errors
    /// If the local AWS does not answer.
    pub async fn begin(local: &LocalAws) -> Result<Begun> {
        local.clear_calls().await?;
        local.clear_invocations().await?;
        let notifications = local.notifications().await?.len();
        Ok(Begun { notifications })
    }

    /// What there was since.
    ///
    /// # Errors
    /// If the local AWS does not answer.
    pub async fn since(begun: Begun, local: &LocalAws) -> Result<Self> {
        let published = local.notifications().await?.len() - begun.notifications;
        let (calls, invocations) = (local.calls().await?, local.invocations().await?);
        Ok(Self::of(&calls, invocations, published))
    }

    fn of(calls: &[Call], invocations: Vec<Invocation>, published: usize) -> Self {
        let mut count = Self {
            invocations,
            ..Self::default()
        };
        if published > 0 {
            count.calls.insert("sns:Publish".into(), (published, 0));
        }
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

    /// The most memory that a process of a function whose name holds `part` has had, in MiB.
    pub fn peak_memory(&self, part: &str) -> f64 {
        let of = self.invocations_of(part);
        let peak = of.filter_map(|it| it.peak_memory_kb).max();
        peak.unwrap_or_default() as f64 / 1024.0
    }

    /// The functions: how often each was invoked, and for how many seconds on the wall.
    pub fn functions(&self) -> Vec<(&str, usize, f64)> {
        let mut functions: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
        for it in &self.invocations {
            let (invocations, seconds) = functions.entry(&it.function).or_default();
            *invocations += 1;
            *seconds += it.seconds;
        }
        let functions = functions.into_iter();
        functions
            .map(|(name, (invocations, seconds))| (name, invocations, seconds))
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    fn call(principal: &str, action: &str, error: Option<&str>) -> Call {
        let call = json!({
            "n": 1, "at": 0.0, "principal": principal, "action": action, "resource": "*", "allowed": true,
            "status": 200, "error": error,
        });
        from_value(call).expect("a call")
    }

    #[test]
    fn the_calls_of_functions_count_and_those_of_people_and_of_the_runtime_do_not() {
        let describe = "apprunner:DescribeService";
        let calls = [
            call("trigger-role", describe, None),
            call("trigger-role", describe, Some("ThrottlingException")),
            call("trigger-role", describe, Some("ResourceNotFoundException")),
            call("root", describe, None),
            call("trigger-role", "logs:PutLogEvents", None),
        ];
        let count = Count::of(&calls, Vec::new(), 2);
        assert_eq!(count.calls[describe], (3, 1));
        assert_eq!(
            (count.all(), count.throttled()),
            (5, 1),
            "with two messages"
        );
    }
}
