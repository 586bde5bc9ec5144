//! What an execution of `park` is started with, by the schedule, by an event or by a person.

use crate::schedule::Schedule;
use groundcrew::{Mistake, Result, input};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The input of the state machine `park`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(title = "groundcrew parking")]
pub struct Request {
    /// What is asked for.
    pub action: Asked,
    /// For `pause` and `resume`: every stack of this environment,
    #[serde(default)]
    pub environment: Option<String>,
    /// or one stack, by its name, `shop-staging`,
    #[serde(default)]
    pub stack: Option<String>,
    /// or the stack of one App Runner service, by its name or by its ARN.
    #[serde(default)]
    pub service: Option<String>,
    /// For `pause` and `resume`: how long, as RFC 3339 has it, `2026-11-21T02:00:00Z`. Left out: until the schedule's next morning, or its next evening.
    #[serde(default)]
    pub until: Option<String>,
    /// The moment that it is about, as RFC 3339 has it. Left out: now.
    #[serde(default)]
    pub now: Option<String>,
    /// `true` says what would be done, and does nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// Every environment that sleeps is brought in line with the schedule.
    FollowSchedule,
    /// A person wants something parked.
    Pause,
    /// A person wants something awake.
    Resume,
}

/// Which stacks a request is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// Those that the schedule is about.
    Schedule,
    Environment(String),
    Stack(String),
    Service(String),
}

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`groundcrew::Error::Invalid`] with every mistake at once.
    pub fn parse(input: &Value) -> Result<Self> {
        input::parse(&Self::schema(), input, Self::mistakes)
    }

    /// The JSON schema of a request, draft 2020-12.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |allowed: &str| {
            let mistake = Mistake::new("action", self.action.name(), allowed);
            let others = ["environment", "stack", "service", "until"];
            mistakes.push(others.into_iter().fold(mistake, Mistake::rests_on));
        };
        let scopes = [&self.environment, &self.stack, &self.service];
        let given = scopes.iter().filter(|scope| scope.is_some()).count();
        if self.action == Asked::FollowSchedule {
            if given > 0 || self.until.is_some() {
                wrong("neither environment, stack, service nor until: the schedule says it all");
            }
        } else if given != 1 {
            wrong("one of environment, stack and service beside it");
        }
        for (field, value) in [("until", &self.until), ("now", &self.now)] {
            if let Some(text) = value.as_ref().filter(|text| time(text).is_none()) {
                let allowed = "a time as RFC 3339 has it, 2026-11-21T02:00:00Z";
                mistakes.push(Mistake::new(field, text.clone(), allowed));
            }
        }
        mistakes
    }

    pub(crate) fn scope(&self) -> Scope {
        let environment = self.environment.clone().map(Scope::Environment);
        let stack = self.stack.clone().map(Scope::Stack);
        let service = self.service.clone().map(Scope::Service);
        environment.or(stack).or(service).unwrap_or(Scope::Schedule)
    }

    /// The moment that it is about.
    pub(crate) fn now(&self) -> Option<Timestamp> {
        time(self.now.as_ref()?)
    }

    /// Until when what a person wants is to last.
    ///
    /// # Errors
    /// [`groundcrew::Error::Invalid`] for a time that has passed.
    pub(crate) fn lasts_until(&self, schedule: &Schedule, now: Timestamp) -> Result<Timestamp> {
        let Some(until) = self.until.as_deref().and_then(time) else {
            return Ok(match self.action {
                Asked::Pause => schedule.next_wake(now),
                _ => schedule.next_sleep(now),
            });
        };
        if until <= now {
            let allowed = format!("a time after {now}");
            return Err(groundcrew::Error::invalid(
                "until",
                until.to_string(),
                allowed,
            ));
        }
        Ok(until)
    }
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::FollowSchedule => "follow-schedule",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::{at, schedule};
    use serde_json::json;

    fn refused(request: &Value) -> String {
        Request::parse(request).expect_err("refused").to_string()
    }

    #[test]
    fn a_bad_request_is_refused_with_every_mistake_at_once() {
        let message = refused(&json!({"action": "pause", "until": "tonight", "now": "5 o'clock"}));
        for field in ["environment", "until", "now"] {
            assert!(message.contains(field), "{field} is not named in {message}");
        }
        let message = refused(&json!({"action": "sleep", "stak": "shop-dev"}));
        assert!(
            message.contains("action") && message.contains("stak"),
            "{message}"
        );
        let both = json!({"action": "resume", "environment": "dev", "stack": "shop-dev"});
        assert!(refused(&both).contains("one of environment, stack and service"));
        refused(&json!({"action": "follow-schedule", "environment": "dev"}));
    }

    #[test]
    fn a_wish_lasts_until_the_next_morning_or_evening_unless_it_says_until_when() {
        let lasts = |request: Value, now: &str| {
            let request = Request::parse(&request).expect("a request");
            request.lasts_until(&schedule("UTC"), at(now))
        };
        let (day, night) = ("2026-11-23T12:00:00Z", "2026-11-24T02:00:00Z");
        let wish = |action: &str| json!({"action": action, "stack": "shop-staging"});
        for (action, now, until) in [
            ("pause", day, "2026-11-24T07:00:00Z"),
            ("pause", night, "2026-11-24T07:00:00Z"),
            ("resume", day, "2026-11-23T20:00:00Z"),
            ("resume", night, "2026-11-24T20:00:00Z"),
        ] {
            assert_eq!(
                lasts(wish(action), now).expect("a time"),
                at(until),
                "{action} at {now}"
            );
        }
        let mut past = wish("pause");
        past["until"] = json!(day);
        let error = lasts(past, night).expect_err("it has passed").to_string();
        assert!(error.contains("until"), "{error}");
    }
}
