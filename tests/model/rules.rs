//! What `deploy` may do and where it has to end: in words of its own, and not by the code that decides.

use super::world::{By, Fact, Image, MINUTE, Operation, Quality, Rule, World};
use apprunner_emulator::{OperationType, ServiceStatus};
use serde_json::Value;

/// What a person has asked for, as it was remembered.
#[derive(Clone, Debug)]
pub(super) struct Wished {
    pub(super) at: i64,
    pub(super) digest: String,
    /// Only what is pushed after it is deployed by itself.
    pub(super) is_border: bool,
}

/// What a rule goes by: the version, then the time of the push in seconds, then the digest.
type Place<'a> = (Option<(u32, u32, u32)>, i64, &'a str);

fn version(tag: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = tag.split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

impl Rule {
    fn covers(self, tag: &str) -> bool {
        match self {
            Self::SemVer => version(tag).is_some_and(|(major, ..)| major == 1),
            Self::Prefix => tag.starts_with("main-"),
            Self::Exact => tag == "latest",
        }
    }

    fn place<'a>(self, image: &'a Image, tag: &str) -> Place<'a> {
        let version = version(tag).filter(|_| self == Self::SemVer);
        (version, image.pushed / 1000, &image.digest)
    }
}

/// `"image"`, `"secrets"` or `"rollback"`.
fn kind(claim: &Value) -> &str {
    claim["kind"].as_str().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl World {
    /// Holds what has just happened against the rules.
    pub(super) fn happens(&mut self, fact: Fact) {
        match fact {
            Fact::Remembered { was, now } => self.remembers(&was, &now),
            Fact::Began(operation) => self.began(&operation),
        }
    }

    fn name(&self) -> String {
        self.executions[self.at_work].name.clone()
    }

    fn is_asked_for(&self) -> bool {
        self.executions[self.at_work].input["to"].is_string()
    }

    fn remembers(&mut self, was: &Value, now: &Value) {
        let name = self.name();
        if now["wish"] != was["wish"] && now["wish"]["execution"] != was["wish"]["execution"] {
            self.wishes_for(&now["wish"]);
        }
        let (before, claim) = (&was["claim"], &now["claim"]);
        let owner = text(&before["execution"]);
        let is_taken = owner != name && self.is_alive(&owner) == Some(true);
        if is_taken && *claim != *before {
            let number = self.executions.iter().position(|it| it.name == owner);
            self.taken
                .extend(number.map(|number| (number, self.at_work)));
        }
        if claim.is_null() {
            if !before.is_null() {
                self.tell(format!(
                    "{name}: the claim of {} ends",
                    text(&before["execution"])
                ));
            }
            return;
        }
        if claim["execution"] != name.as_str() || claim == before {
            return;
        }
        let is_new = before["execution"] != claim["execution"];
        let digest = text(&claim["digest"]);
        if before["execution"] != claim["execution"] || before["kind"] != claim["kind"] {
            self.claimed_at = self.now;
        }
        let what = match kind(claim) {
            "secrets" => "the current secrets".to_owned(),
            kind => format!("{kind}: {}", self.called(&digest)),
        };
        self.tell(format!("{name} claims the service for {what}"));
        if is_new && !before.is_null() && self.is_alive(&text(&before["execution"])) == Some(true) {
            if !self.is_asked_for() {
                self.breaks(format!(
                    "{name} takes the claim of an execution that is at work"
                ));
            }
            self.unjudged.insert(text(&before["digest"]));
        }
        let again = self.executions[self.at_work].input["again"] == true;
        if is_new && self.held && !again {
            self.breaks(format!("{name} deploys to a service that is held"));
        }
        match kind(claim) {
            "image" if claim["sent"] == true => self.claims_image(claim),
            "rollback" => self.claims_way_back(claim),
            _ => {}
        }
    }

    fn wishes_for(&mut self, wish: &Value) {
        let digest = text(&wish["digest"]);
        let to = text(&self.executions[self.at_work].input["to"]);
        let line = format!("{} asks for {to}: {}", self.name(), self.called(&digest));
        self.tell(line);
        let is_bad = self.judged.iter().any(|(bad, _)| *bad == digest);
        if to == "previous" && is_bad {
            self.breaks("an image that failed is taken for the one that ran well before");
        }
        if to == "newest" && is_bad && digest != self.runs.0 {
            self.breaks("an image that failed is taken for the newest one");
        }
        self.judged.retain(|(bad, _)| *bad != digest);
        self.wishes.push(Wished {
            at: self.now,
            digest,
            is_border: to != "newest",
        });
    }

    /// Whether the tag of an image was set on this side of the last wish.
    fn is_after_border(&self, image: &Image, tag: &str) -> bool {
        let Some(wish) = self.wishes.last().filter(|wish| wish.is_border) else {
            return true;
        };
        let tagged = image.tagged.get(tag).copied().unwrap_or_default();
        tagged / 1000 > wish.at / 1000
    }

    fn best_place<'a>(&self, image: &'a Image) -> Option<Place<'a>> {
        let covered = image.tagged.keys().filter(|tag| self.rule.covers(tag));
        covered.map(|tag| self.rule.place(image, tag)).max()
    }

    fn claims_image(&mut self, claim: &Value) {
        let digest = text(&claim["digest"]);
        if self.health() != 200 {
            // What is no better than before says nothing about the image.
            self.unjudged.insert(digest.clone());
        }
        if self.is_asked_for() {
            let wished = self.wishes.iter().any(|wish| wish.digest == digest);
            if !wished {
                self.breaks("an image is deployed for a person who has not asked for it");
            }
            return;
        }
        let tag = text(&claim["tag"]);
        let image = self.image(&digest).clone();
        let bad = self.judged.iter().any(|(bad, under)| {
            let lower = under.as_ref().is_none_or(|under| {
                self.rule.place(&image, &tag) <= self.rule.place(&image, under)
            });
            *bad == digest && lower
        });
        if bad {
            self.breaks(format!("{} is tried again by itself", self.called(&digest)));
        }
        if !self.rule.covers(&tag) {
            self.breaks(format!("{tag} is not under the rule of the service"));
        }
        if !self.is_after_border(&image, &tag) {
            let called = self.called(&digest);
            self.breaks(format!("{called} is from before the last wish"));
        }
    }

    /// By itself nothing goes back from what runs.
    fn goes_forward(&mut self, operation: &Operation) {
        let mut runs = self.image(&operation.before).clone();
        // What was decided need not know of a tag that was given a moment ago.
        let known = self.now - MINUTE;
        runs.tagged.retain(|_, at| *at < known);
        let image = self.image(&operation.digest).clone();
        let tag = text(&operation.claimed["tag"]);
        let forward = self.rule == Rule::Exact
            || self
                .best_place(&runs)
                .is_none_or(|running| self.rule.place(&image, &tag) > running);
        if !forward {
            let (there, back) = (self.called(&runs.digest), self.called(&image.digest));
            self.breaks(format!("by itself it goes back from {there} to {back}"));
        }
    }

    fn claims_way_back(&mut self, claim: &Value) {
        let (back, bad) = (text(&claim["digest"]), text(&claim["previous"]));
        if [Quality::Good, Quality::Fails].contains(&self.image(&bad).quality) {
            let called = self.called(&bad);
            self.breaks(format!("{called} is good, and is taken back"));
        }
        let of_bad = |it: &&Operation| it.succeeded() && it.digest == bad && it.before != bad;
        let before = self.operations.iter().rev().find(of_bad);
        if before.is_none_or(|it| it.before != back) {
            let called = self.called(&back);
            self.breaks(format!("{called} is the way back, and did not run before"));
        }
        // What a person has asked for runs, however it is.
        let is_meant = self.wishes.iter().any(|wish| wish.digest == back)
            || self
                .operations
                .iter()
                .any(|it| it.by == By::Somebody && it.digest == back);
        if !is_meant && self.judged.iter().any(|(bad, _)| *bad == back) {
            let called = self.called(&back);
            self.breaks(format!("{called} failed, and is the way back"));
        }
    }

    fn began(&mut self, operation: &Operation) {
        let who = match operation.by {
            By::Execution(_) => self.name(),
            By::Somebody => "somebody".into(),
        };
        let Operation { id, kind, .. } = operation;
        let line = format!(
            "{who}: {id} begins, {kind:?} {}",
            self.called(&operation.digest)
        );
        self.tell(line);
        if operation.by != By::Somebody && operation.claimed["execution"] != who.as_str() {
            self.breaks(format!("{who} has App Runner deploy without a claim"));
        }
        let is_own = matches!(operation.by, By::Execution(_));
        if is_own && operation.claimed["kind"] == "image" && !self.is_asked_for() {
            self.goes_forward(operation);
        }
        // Nobody judges an image that does not run any more, or that runs paused.
        if operation.by == By::Somebody {
            self.is_not_judged(&operation.claimed);
        }
    }

    /// Whatever it is that was claimed: it need not come to a judgement.
    fn is_not_judged(&mut self, claim: &Value) {
        let images = ["digest", "previous"].map(|name| text(&claim[name]));
        self.unjudged.extend(images);
    }

    /// An execution stopped for good.
    pub(super) fn stops(&mut self, name: &str) {
        let claim = self.remembered()["claim"].clone();
        if claim["execution"] == name {
            self.is_not_judged(&claim);
        }
    }

    /// A deployment was settled.
    pub(super) fn settles(&mut self, step: &Value, answer: &Value) {
        let deployment = &step["deployment"];
        let outcome = text(&answer["outcome"]);
        let execution = &mut self.executions[self.at_work];
        execution.settled = deployment["operation_id"].as_str().map(str::to_owned);
        let line = format!("{} settles: {outcome}", execution.name);
        self.tell(line);
        let bad = match outcome.as_str() {
            "RolledBack" | "RollbackFailed" => &deployment["instead_of"],
            // That of a delivery of secrets says nothing about the image.
            "DeploymentFailed" | "Unwell"
                if deployment["kind"] == "image" && deployment["secrets_since"] == false =>
            {
                deployment
            }
            _ => return,
        };
        if deployment["asked_for"] == true {
            return;
        }
        let tag = bad["tag"].as_str().map(str::to_owned);
        self.judged.push((text(&bad["digest"]), tag));
    }

    /// A message was published.
    pub(super) fn publishes(&mut self, subject: &str) {
        let name = self.name();
        self.tell(format!("{name} tells: {subject}"));
        let execution = &mut self.executions[self.at_work];
        execution.subjects.push(subject.to_owned());
        if subject.ends_with("stuck") {
            self.breaks("it is stuck, and nothing is");
        }
        if subject.ends_with("no longer watched") {
            // That of an execution whose claim it took, and which therefore tells nothing.
            let taken = self.taken.iter().find(|(_, by)| **by == self.at_work);
            match taken.map(|(number, _)| *number) {
                Some(number) if self.executions[number].told.is_empty() => {
                    self.executions[number].told.push(subject.to_owned());
                }
                _ => self.breaks("a watch is told to have ended that nobody has ended, or twice"),
            }
            return;
        }
        let Some(operation) = self.executions[self.at_work].settled.clone() else {
            return;
        };
        let told = |it: &super::world::Execution| it.told.contains(&operation);
        if self.executions.iter().any(told) {
            self.breaks(format!("the outcome of {operation} is told twice"));
        }
        self.executions[self.at_work].told.push(operation);
        self.executions[self.at_work].settled = None;
    }

    /// An execution came to its end.
    pub(super) fn ends(&mut self, number: usize, error: Option<&str>, cause: &str) {
        let execution = &mut self.executions[number];
        execution.is_alive = false;
        let (name, input) = (execution.name.clone(), execution.input.clone());
        self.tell(format!("{name} ends: {}", error.unwrap_or("succeeded")));
        let is_expected = match error {
            None => true,
            Some("Invalid") => input["to"].is_string() || input["again"] == true,
            Some(error) => [
                "DeploymentFailed",
                "RolledBack",
                "Unwell",
                "Replaced",
                "Refused",
            ]
            .contains(&error),
        };
        if !is_expected {
            self.breaks(format!(
                "{name} ends with {}: {cause}",
                error.unwrap_or_default()
            ));
        }
    }

    /// Whether an execution has told how it came out, or the one that has taken its claim has. One that was stopped cannot.
    fn is_told(&self, number: usize) -> bool {
        let execution = &self.executions[number];
        let successor = self.taken.get(&number);
        execution.was_killed
            || !execution.told.is_empty()
            || successor.is_some_and(|successor| self.is_told(*successor))
    }

    /// Of everything that an execution has had deployed, somebody is told.
    fn everything_is_told(&mut self) {
        for number in 0..self.executions.len() {
            let own = |it: &&Operation| it.by == By::Execution(number);
            let first = self.operations.iter().find(own);
            let id = first.map(|first| first.id.clone());
            if let Some(id) = id.filter(|_| !self.is_told(number)) {
                let name = self.executions[number].name.clone();
                self.breaks(format!("nobody is told of {id} of {name}"));
            }
        }
    }

    /// The images that may run in the end.
    fn allowed(&self) -> Vec<String> {
        let border = self.wishes.last().filter(|wish| wish.is_border);
        let sets = |it: &&Operation| {
            let meant = it.by == By::Somebody
                || matches!(it.by, By::Execution(n) if self.executions[n].input["to"].is_string())
                || kind(&it.claimed) == "rollback";
            // What was claimed before the wish was under way then.
            let before = border.is_some_and(|wish| it.claimed_at.unwrap_or(it.started) <= wish.at);
            it.kind == OperationType::UpdateService && it.succeeded() && (meant || before)
        };
        let base = self.operations.iter().rev().find(sets);
        let base = base.map_or(&self.images[0].digest, |it| &it.digest);
        let from = self.best_place(self.image(base));
        let reach = |image: &'_ Image| {
            let tags = image.tagged.keys();
            let tags = tags.filter(|tag| self.rule.covers(tag) && self.is_after_border(image, tag));
            let places = tags.map(|tag| {
                let (version, at, _) = self.rule.place(image, tag);
                (version, at, image.digest.clone())
            });
            let place = places.max()?;
            let from = from.map(|(version, at, digest)| (version, at, digest.to_owned()));
            let forward = self.rule == Rule::Exact || from.is_none_or(|from| place > from);
            forward.then(|| (place, image.digest.clone()))
        };
        let reached = |image: &&Image| image.digest != *base;
        let good = self.images.iter().filter(reached);
        let good = good.filter(|image| image.quality == Quality::Good);
        let good: Vec<_> = good.filter_map(reach).collect();
        let unjudged = self.images.iter().filter(reached);
        let unjudged = unjudged.filter(|image| {
            self.unjudged.contains(&image.digest) && image.quality != Quality::Fails
        });
        let unjudged = unjudged.filter_map(reach);
        if self.rule == Rule::Exact {
            // Of those that have carried the tag, which ones were deployed before it moved on depends on the moment.
            let holds = |digest: &str| self.image(digest).tags.iter().any(|tag| tag == "latest");
            if let Some((_, holder)) = good.iter().find(|(_, digest)| holds(digest)) {
                return vec![holder.clone()];
            }
            let all = good.into_iter().chain(unjudged).map(|(_, digest)| digest);
            return all.chain([base.clone()]).collect();
        }
        let best = good.into_iter().max();
        let mut allowed: Vec<_> = unjudged
            .filter(|it| best.as_ref().is_none_or(|best| it > best))
            .map(|(_, digest)| digest)
            .collect();
        allowed.push(best.map_or(base.clone(), |(_, digest)| digest));
        allowed
    }

    /// Where everything has to be when nothing is left to do.
    pub(super) fn is_at_rest(&mut self, due: Option<String>) {
        self.everything_is_told();
        let remembered = self.remembered();
        if !remembered["claim"].is_null() {
            self.breaks("a claim is left");
        }
        if let Some(due) = due {
            self.breaks(format!("something is left to do: {due}"));
        }
        assert_eq!(self.status, ServiceStatus::Running);
        let (digest, secret) = self.runs.clone();
        let allowed = self.allowed();
        if !allowed.contains(&digest) {
            let should: Vec<_> = allowed.iter().map(|it| self.called(it)).collect();
            let runs = self.called(&digest);
            self.breaks(format!(
                "{runs} runs in the end, and not {}",
                should.join(" or ")
            ));
        }
        if secret != self.secret {
            self.breaks("it runs with an old secret in the end");
        }
    }
}
