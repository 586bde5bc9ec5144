//! Executions of `provision` and `teardown` that run: what they build, change or remove is left to them until they have ended.
//!
//! Step Functions is asked, and no tag says it: an execution that was stopped holds nothing, and one that changes nothing
//! writes nothing. Its list may not hold an execution of the last seconds yet (API reference, `ListExecutions`); such a `provision`
//! meets a stack that falls asleep, and waits for that.

use crate::Surroundings;
use crate::decide::{Action, Decision};
use groundcrew::execution::{acts_on, input, running};
use groundcrew::pace::patiently;
use groundcrew::{Aws, Result, Stack};

/// What runs now, of all stacks.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay {
    works: Vec<Work>,
}

/// One execution that acts on a stack.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Work {
    /// The name of the stack.
    stack: String,
    kind: Kind,
    execution: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Provision,
    Teardown,
}

impl UnderWay {
    /// Asks Step Functions.
    ///
    /// # Errors
    /// Those of `states:ListExecutions` and `states:DescribeExecution`.
    async fn look(aws: &Aws, surroundings: &Surroundings, kinds: &[Kind]) -> Result<Self> {
        let mut works = Vec::new();
        for &kind in kinds {
            let machine = match kind {
                Kind::Provision => &surroundings.provision_state_machine,
                Kind::Teardown => &surroundings.teardown_state_machine,
            };
            for (arn, execution) in patiently(surroundings.tempo, || running(aws, machine)).await? {
                let input = patiently(surroundings.tempo, || input(aws, &arn)).await?;
                let stack = input.as_deref().and_then(acts_on);
                works.extend(stack.map(|stack| Work {
                    stack,
                    kind,
                    execution,
                }));
            }
        }
        Ok(Self { works })
    }

    /// The same, of what could hold one of these actions: what is to be left alone anyhow is not asked about.
    ///
    /// # Errors
    /// Those of [`Self::look`].
    pub(crate) async fn look_for(
        aws: &Aws,
        surroundings: &Surroundings,
        actions: impl IntoIterator<Item = Action>,
    ) -> Result<Self> {
        let actions: Vec<_> = actions.into_iter().collect();
        let kinds = [Kind::Provision, Kind::Teardown];
        let kinds = kinds.into_iter().filter(|kind| {
            let mut actions = actions.iter();
            actions.any(|action| kind.holds(*action))
        });
        Self::look(aws, surroundings, &kinds.collect::<Vec<_>>()).await
    }

    /// The decision that is left of one: nothing is put to sleep under a `provision`, which waits for what it has begun, and
    /// nothing at all is done under a `teardown`. Waking is what a `provision` can do with.
    pub(crate) fn hold(&self, stack: &Stack, decision: Decision) -> Decision {
        let holds = |work: &&Work| work.stack == stack.name() && work.kind.holds(decision.action);
        match self.works.iter().find(holds) {
            Some(work) => Decision {
                action: Action::Leave,
                reason: work.reason(),
                sleep: None,
            },
            None => decision,
        }
    }

    /// Why a stack is left alone, if it is.
    pub(crate) fn reason(&self, stack: &Stack) -> Option<String> {
        let work = self.works.iter().find(|work| work.stack == stack.name());
        work.map(Work::reason)
    }
}

impl Kind {
    fn holds(self, action: Action) -> bool {
        match action {
            Action::Pause => true,
            Action::Resume => self == Self::Teardown,
            Action::Leave => false,
        }
    }
}

impl Work {
    fn reason(&self) -> String {
        let (machine, does) = match self.kind {
            Kind::Provision => ("provision", "builds or changes"),
            Kind::Teardown => ("teardown", "removes"),
        };
        format!(
            "{machine} {does} it, execution {}: it is left alone until the look after the end of that",
            self.execution
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(app: &str) -> Stack {
        Stack {
            app: app.into(),
            environment: "staging".into(),
        }
    }

    fn under_way(kind: Kind) -> UnderWay {
        let work = Work {
            stack: stack("shop").name(),
            kind,
            execution: "run-1".into(),
        };
        UnderWay { works: vec![work] }
    }

    fn held(under_way: &UnderWay, app: &str, action: Action) -> Action {
        let decision = Decision {
            action,
            reason: "so".into(),
            sleep: None,
        };
        let held = under_way.hold(&stack(app), decision);
        assert_eq!(held.reason.contains("run-1"), held.action != action);
        held.action
    }

    #[test]
    fn nothing_is_put_to_sleep_under_a_provision_and_nothing_is_done_under_a_teardown() {
        use Action::{Leave, Pause, Resume};
        let builds = under_way(Kind::Provision);
        assert_eq!(held(&builds, "shop", Pause), Leave);
        assert_eq!(held(&builds, "shop", Resume), Resume);
        let removes = under_way(Kind::Teardown);
        assert_eq!(held(&removes, "shop", Pause), Leave);
        assert_eq!(held(&removes, "shop", Resume), Leave);
        for other in [&builds, &removes, &UnderWay::default()] {
            assert_eq!(held(other, "blog", Pause), Pause);
            assert_eq!(held(other, "blog", Resume), Resume);
            assert_eq!(held(other, "shop", Leave), Leave);
        }
    }
}
