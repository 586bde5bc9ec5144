//! What the states of an execution hand on to each other for one stack, and whether it is still wanted.

use crate::decide::{Action, Sleep};
use crate::observed::{Observed, Parts, look};
use crate::schedule::Schedule;
use crate::wish::{TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL, Wish};
use groundcrew::claim::NONE;
use groundcrew::secrets::hexadecimal;
use groundcrew::stack::Tags;
use groundcrew::{Aws, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One stack, and what is to be done with it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Task {
    /// The stack.
    pub parts: Parts,
    /// What is to be done.
    pub action: Action,
    /// The sleep that it is put into, or woken from.
    pub sleep: Option<Sleep>,
    /// What a person wants of it, if a person has started this.
    pub wanted: Option<Wanted>,
    /// What time it is.
    pub clock: Clock,
}

/// What a person wants of a stack.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wanted {
    /// Whether it is to be awake, and not parked.
    pub awake: bool,
    /// Until when.
    pub until: Timestamp,
}

/// What time it is in an execution: the moment that it is about, and what has passed since it was started.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Clock {
    /// The moment that it is about.
    pub about: Timestamp,
    /// When it was started.
    pub started: Timestamp,
}

/// What came of a task.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// The stack's name.
    pub stack: String,
    /// What was to be done.
    pub action: Action,
    /// What came of it.
    pub outcome: Came,
    /// Why, and what is in which state, for a person.
    pub why: String,
}

/// What came of a task.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Came {
    /// It was done.
    Done,
    /// Somebody wants something else by now, and does it.
    Overtaken,
}

impl Clock {
    /// Now.
    pub(crate) fn now(self) -> Timestamp {
        let passed = Timestamp::now().duration_since(self.started);
        self.about
            .checked_add(passed.max(jiff::SignedDuration::ZERO))
            .unwrap_or(self.about)
    }

    /// Whether this is the one look of a day that tells of a failure that nothing remembers, as `park.asl.yaml` has it for a
    /// plan that fails: that of 08:00 UTC, or 08:15 in a zone that is a quarter of an hour off.
    pub(crate) fn is_daily(self) -> bool {
        let minute_of_day = self.about.as_second().rem_euclid(24 * 3600) / 60;
        [8 * 60, 8 * 60 + 15].contains(&minute_of_day)
    }
}

impl Wanted {
    /// The tags that say so. The other one has to be overruled, too.
    pub(crate) fn tags(&self) -> Tags {
        let (says, is_silent) = match self.awake {
            true => (TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL),
            false => (TAG_PARKED_UNTIL, TAG_AWAKE_UNTIL),
        };
        Tags::from([
            (says.into(), self.until.to_string()),
            (is_silent.into(), NONE.into()),
        ])
    }
}

impl Task {
    /// The stack as it is now, if what is to be done with it is still what is wanted of it.
    pub(crate) async fn look(&self, aws: &Aws, schedule: &Schedule) -> Result<Option<Observed>> {
        let observed = look(aws, &self.parts).await?;
        // One that has lost its services since has nobody to ask, and nothing that needs a database.
        let is_there = self.is_alone() || !observed.services.is_empty();
        let still = is_there && self.is_wanted(&observed, schedule);
        if !still {
            tracing::info!("{}: somebody wants something else by now", self.name());
        }
        Ok(still.then_some(observed))
    }

    /// Whether it is about databases whose service was gone before.
    fn is_alone(&self) -> bool {
        self.parts.services.is_empty()
    }

    /// Whether the tags of a stack want what this task is for.
    fn is_wanted(&self, observed: &Observed, schedule: &Schedule) -> bool {
        let environment = &observed.stack.environment;
        let wish = Wish::of(schedule, environment, observed.tags(), self.clock.now());
        match self.action {
            // `record` has marked what is to be paused: if nothing is marked, somebody has taken it over since.
            Action::Pause => {
                let marked = observed.services.iter().any(|it| it.mark().is_some());
                (self.is_alone() || marked) && matches!(wish, Wish::Asleep { .. })
            }
            Action::Resume => matches!(wish, Wish::Awake { .. }),
            Action::Leave => true,
        }
    }

    /// The stack's name.
    pub(crate) fn name(&self) -> String {
        self.parts.stack.name()
    }

    /// How the names of the executions begin that do this with the stack.
    pub(crate) fn executions(&self) -> String {
        format!("{}-{}-", self.name(), self.action.name())
    }

    /// The name of the execution that does this: of all looks at the same moment, and of a look that is repeated, the same.
    /// Each wish has one of its own; `by` is the execution that it was uttered with.
    pub(crate) fn execution(&self, by: &str) -> String {
        let moment = self.clock.about.to_string();
        let of = if self.wanted.is_some() { by } else { &moment };
        let hash = hexadecimal(&format!("{}\n{of}", self.name()), 8);
        format!("{}{hash}", self.executions())
    }

    pub(crate) fn done(&self) -> Outcome {
        self.outcome(Came::Done, String::new())
    }

    pub(crate) fn overtaken(&self) -> Outcome {
        let why = "somebody wants something else by now".into();
        self.outcome(Came::Overtaken, why)
    }

    pub(crate) fn outcome(&self, outcome: Came, why: String) -> Outcome {
        Outcome {
            stack: self.name(),
            action: self.action,
            outcome,
            why,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use groundcrew::Stack;
    use jiff::ToSpan;

    /// What is to be done with a stack at a moment, by the schedule or as a wish.
    pub(crate) fn task(action: Action, about: &str, wanted: bool) -> Task {
        let about = about.parse().expect("a time");
        Task {
            parts: Parts {
                stack: Stack {
                    app: "a".repeat(20),
                    environment: "e".repeat(19),
                },
                services: Vec::new(),
                databases: Vec::new(),
            },
            action,
            sleep: None,
            wanted: wanted.then_some(Wanted {
                awake: true,
                until: about,
            }),
            clock: Clock {
                about,
                started: about,
            },
        }
    }

    #[test]
    fn looks_at_the_same_moment_start_one_execution_for_a_stack_and_each_wish_has_its_own() {
        let (evening, morning) = ("2026-11-23T20:00:00Z", "2026-11-24T07:00:00Z");
        let name = |action, about, wanted, by| task(action, about, wanted).execution(by);
        let pause = name(Action::Pause, evening, false, "one");
        assert_eq!(pause, name(Action::Pause, evening, false, "other"));
        assert_ne!(pause, name(Action::Pause, morning, false, "one"));
        assert_ne!(pause, name(Action::Resume, evening, false, "one"));
        let wish = name(Action::Pause, evening, true, "one");
        assert_eq!(wish, name(Action::Pause, morning, true, "one"));
        assert_ne!(wish, name(Action::Pause, evening, true, "other"));
        // An execution's name has at most 80 characters (`StartExecution`).
        assert!(name(Action::Resume, evening, false, "one").len() <= 80);
    }

    #[test]
    fn of_the_looks_of_a_day_one_tells_what_nothing_remembers_in_whatever_zone() {
        for offset in [0, 15, 30, 45] {
            let midnight: Timestamp = "2026-11-21T00:00:00Z".parse().expect("a time");
            let looks = (0..48).map(|n| midnight + (offset + n * 30).minutes());
            let is_daily = |about| {
                Clock {
                    about,
                    started: about,
                }
                .is_daily()
            };
            assert_eq!(
                looks.filter(|about| is_daily(*about)).count(),
                1,
                "{offset}"
            );
        }
    }
}
