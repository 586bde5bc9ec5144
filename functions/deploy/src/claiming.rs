//! Whose a service is. What an execution has decided it writes as a claim into the memory of the service, by compare-and-set,
//! before it calls App Runner. So of executions that look at the same moment one deploys, and whoever comes back after a crash
//! knows what was asked for.

use crate::deployment::HealthAddress;
use crate::follow::Verdict;
use crate::request::Request;
use crate::{bake, settle};
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::claim::{Answer, Claim, Kind};
use groundcrew::installation::Keeper;
use groundcrew::managed::operations;
use groundcrew::memory::{Deployments, Orders, Rejection, Wish};
use groundcrew::reference::ImageReference;
use groundcrew::{Aws, Error, Managed, Memory, Result};

/// How often a service is asked, before it is changed, whether it is well, unless it says so sooner.
const ASKED_BEFORE: u32 = 3;

/// One execution at one service.
pub(crate) struct Work<'a> {
    pub(crate) aws: &'a Aws,
    pub(crate) request: Request,
    pub(crate) execution: &'a str,
    pub(crate) managed: Managed,
    pub(crate) memory: Memory<Deployments>,
    pub(crate) orders: Orders,
    pub(crate) keeper: Keeper,
    /// What is to be remembered of a deployment whose watch a wish ends. It is written together with the claim of the wish: one that
    /// comes to nothing ends no watch.
    pub(crate) ended: Option<Deployments>,
}

/// Who deploys the service.
pub(crate) enum Standing {
    /// Nobody.
    Free,
    /// This execution.
    Own(Claim),
    /// Another one, which watches the very image that a person asks for.
    Watched,
    /// Nobody any more, and the bad image still runs that was to be taken back.
    Unfinished(Claim),
}

impl Work<'_> {
    /// Whether this execution has claimed the service.
    pub(crate) fn has_claimed(&self) -> bool {
        let claim = self.memory.claim.as_ref();
        claim.is_some_and(|claim| claim.execution == self.execution)
    }

    /// Reads the claim on a service. That of another execution that runs is `Claimed`, but that a person's wish takes it from one
    /// that only watches; that of one that ended early is void. What became of the deployment is recorded.
    pub(crate) async fn standing(&mut self, wish: Option<&Wish>) -> Result<Standing> {
        let Some(claim) = self.memory.claim.clone() else {
            return Ok(Standing::Free);
        };
        if claim.execution == self.execution {
            return Ok(Standing::Own(claim));
        }
        let is_alive = claim.is_alive(self.aws).await?;
        let claimed = || {
            Error::Claimed(format!(
                "service {} is being deployed by the execution {}",
                self.managed.name(),
                claim.execution
            ))
        };
        if is_alive && wish.is_none() {
            return Err(claimed());
        }
        if self.managed.service.status() == &ServiceStatus::OperationInProgress {
            return Ok(Standing::Free); // and busy
        }
        let operations = operations(self.aws, self.managed.arn()).await?;
        let since = match claim.sent {
            true => claim.operations(&operations).unwrap_or_default(),
            false => Vec::new(),
        };
        if is_alive && since.is_empty() {
            return Err(claimed());
        }
        if since
            .iter()
            .any(|operation| Verdict::of(operation).is_none())
        {
            // It has begun since the service was looked at.
            return Err(Error::Busy {
                call: "apprunner:ListOperations",
                reason: format!("service {} is in an operation", self.managed.name()),
            });
        }
        let runs = self.runs();
        if is_alive && wish.is_some_and(|wish| runs.as_ref() == Some(&wish.digest)) {
            return Ok(Standing::Watched);
        }
        if claim.kind == Kind::Rollback && since.is_empty() && runs == claim.previous {
            return Ok(Standing::Unfinished(claim));
        }
        let mut then = (*self.memory).clone();
        settle::aftermath(&mut then, &claim, &since, runs.as_deref());
        if is_alive {
            let wish = then
                .wish
                .as_mut()
                .filter(|it| it.execution == self.execution);
            if let (Some(wish), Some(digest)) = (wish, claim.digest) {
                let tag = claim.tag;
                wish.ended_watch_of = Some(Rejection { digest, tag });
            }
            self.ended = Some(then);
        } else {
            self.memory.write(self.aws, then).await?;
        }
        Ok(Standing::Free)
    }

    /// What is remembered, once the watch is ended that a wish ends.
    pub(crate) fn remembered(&self) -> Deployments {
        self.ended.clone().unwrap_or_else(|| (*self.memory).clone())
    }

    /// The digest that the service is pinned to.
    pub(crate) fn runs(&self) -> Option<String> {
        ImageReference::of(&self.managed.service).and_then(|image| image.digest)
    }

    /// Claims the service, unless somebody else has written its memory since this execution looked. Answers the claim as it is
    /// written.
    ///
    /// # Errors
    /// `NotReady` if somebody has: look again.
    pub(crate) async fn claim(&mut self, mut claim: Claim, mut then: Deployments) -> Result<Claim> {
        let newest = operations(self.aws, self.managed.arn())
            .await?
            .into_iter()
            .next();
        if let Some(newest) = newest
            .as_ref()
            .filter(|newest| Verdict::of(newest).is_none())
        {
            return Err(Error::Busy {
                call: "apprunner:ListOperations",
                reason: format!(
                    "service {} is in the operation {}",
                    self.managed.name(),
                    newest.id().unwrap_or_default()
                ),
            });
        }
        if claim.kind == Kind::Image {
            claim.unwell_before = self.unwell_now().await;
        }
        claim.sent = true;
        claim.after = newest.and_then(|newest| newest.id);
        then.claim = Some(claim.clone());
        then.told_waiting = None;
        then.told_stuck = None;
        self.memory.write(self.aws, then).await?;
        Ok(claim)
    }

    /// Gives the claim up: what looks at the service next must find it free.
    pub(crate) async fn give_up(&mut self) -> Result<()> {
        let mut then = (*self.memory).clone();
        then.claim = None;
        self.memory.write(self.aws, then).await
    }

    /// How the service answers before it is changed, if it is not well then. It is asked again before that is believed: the image is
    /// measured by it, and a connection that was lost once would excuse whatever it does.
    async fn unwell_now(&self) -> Option<Answer> {
        let address = HealthAddress::of(&self.managed, None)?;
        let mut answer = bake::ask(self.aws, &address).await;
        for _ in 1..ASKED_BEFORE {
            if bake::is_good(&address, &answer) {
                return None;
            }
            answer = bake::ask(self.aws, &address).await;
        }
        (!bake::is_good(&address, &answer)).then_some(answer)
    }
}
