//! What EventBridge Scheduler would do if somebody waited for it.

use super::LocalAws;
use super::control::ask;
use crate::Result;
use serde::Deserialize;
use serde_json::json;

/// A schedule of EventBridge Scheduler. None fires by itself: [`LocalAws::fire_schedule`].
#[derive(Clone, Debug, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The group that it is in, `default`.
    pub group: String,
    /// `cron(…)`, `at(…)` or `rate(…)`.
    pub expression: String,
    /// The name of its time zone in the IANA list.
    pub time_zone: String,
    /// `ENABLED` or `DISABLED`.
    pub state: String,
    /// The ARN of what it starts.
    pub target: String,
    /// When it fires, the earliest first, as `2026-11-21T19:00:00Z`; never if it is disabled.
    pub fires: Vec<String>,
}

impl LocalAws {
    /// All schedules, and when each would fire from `from` on and before `until`, which are `2026-11-21T19:00:00Z`: in
    /// local time where clocks change, as on AWS.
    ///
    /// # Errors
    /// [`crate::Error::Call`] if these are no times.
    pub async fn schedules(&self, from: &str, until: &str) -> Result<Vec<Schedule>> {
        self.list("schedules", &format!("schedules?from={from}&until={until}"))
            .await
    }

    /// Lets an enabled schedule of the default group fire now as if it were `at`, `2026-11-21T19:00:00Z`: its role starts
    /// its target, or, when its retries are exhausted, sends a dead letter.
    ///
    /// # Errors
    /// [`crate::Error::Call`] if there is no such schedule, or it is disabled.
    pub async fn fire_schedule(&self, name: &str, at: &str) -> Result<()> {
        let firing = json!({"name": name, "at": at});
        ask(self.port, "POST", "schedules/fire", Some(firing))
            .await
            .map(drop)
    }
}
