//! One service, its repository, its secret and whoever is at work on it, at a time of its own.

use super::aws::{SECRET, SERVICE, seconds};
use super::rules::Wished;
use apprunner_emulator::{OperationType, ServiceStatus};
use groundcrew::secrets::hexadecimal;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const SECOND: i64 = 1000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// What becomes of a service that runs an image.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Quality {
    Good,
    /// App Runner cannot deploy it.
    Fails,
    /// It answers 500.
    Unwell,
    /// It turns an alarm red.
    Alarming,
}

/// What the service follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rule {
    SemVer,
    Prefix,
    Exact,
}

impl Rule {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::SemVer => "semver:1",
            Self::Prefix => "prefix:main-",
            Self::Exact => "latest",
        }
    }
}

/// What happens to the execution at one of its calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// It stops for good before AWS hears of the call,
    DiesBefore,
    /// or after that.
    DiesAfter,
    /// The connection is cut before AWS hears of the call,
    CutBefore,
    /// or after that.
    CutAfter,
}

#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) digest: String,
    pub(super) tags: Vec<String>,
    pub(super) pushed: i64,
    pub(super) quality: Quality,
    /// The tags that it has or had, with the time of each.
    pub(super) tagged: BTreeMap<String, i64>,
}

/// Who asked App Runner for an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    Execution(usize),
    Somebody,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) kind: OperationType,
    pub(super) by: By,
    /// What the claim of the execution says that it is: `image`, `rollback` or `secrets`.
    pub(super) claimed: Value,
    pub(super) started: i64,
    /// When an execution claimed the service for it.
    pub(super) claimed_at: Option<i64>,
    ends: i64,
    pub(super) fails: bool,
    pub(super) ended: Option<i64>,
    pub(super) digest: String,
    secret: u32,
    /// What ran before.
    pub(super) before: String,
}

impl Operation {
    pub(super) fn succeeded(&self) -> bool {
        self.ended.is_some() && !self.fails
    }

    pub(super) fn listed(&self, now: i64) -> Value {
        let status = match (self.ended, self.fails) {
            (Some(_), false) => "SUCCEEDED",
            (Some(_), true) => "ROLLBACK_SUCCEEDED",
            (None, true) if now >= self.ends - MINUTE => "ROLLBACK_IN_PROGRESS",
            (None, _) => "IN_PROGRESS",
        };
        let mut operation = json!({
            "Id": self.id,
            "Type": self.kind,
            "Status": status,
            "StartedAt": seconds(self.started),
            "UpdatedAt": seconds(self.ended.unwrap_or(self.started)),
        });
        if let Some(ended) = self.ended {
            operation["EndedAt"] = seconds(ended).into();
        }
        operation
    }
}

/// An execution of `deploy`.
#[derive(Clone, Debug)]
pub(super) struct Execution {
    pub(super) name: String,
    pub(super) input: Value,
    pub(super) is_alive: bool,
    pub(super) was_killed: bool,
    /// At which of its calls what happens to it.
    pub(super) trouble: Option<(u16, Trouble)>,
    calls: u16,
    /// The operation that its last settlement was about.
    pub(super) settled: Option<String>,
    /// The operations that it has told of.
    pub(super) told: Vec<String>,
    /// The subjects of its messages.
    pub(super) subjects: Vec<String>,
    /// The states that it has entered.
    pub(super) states: Vec<String>,
}

impl Execution {
    pub(super) fn new(name: &str, input: Value, trouble: Option<(u16, Trouble)>) -> Self {
        Self {
            name: name.to_owned(),
            input,
            is_alive: true,
            was_killed: false,
            trouble,
            calls: 0,
            settled: None,
            told: Vec::new(),
            subjects: Vec::new(),
            states: Vec::new(),
        }
    }
}

/// An execution that is to be started.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) at: i64,
    pub(super) input: Value,
    pub(super) trouble: Option<(u16, Trouble)>,
    /// Of a service that is RUNNING again: not while it is held or being deployed.
    pub(super) unless_left_alone: bool,
}

/// What the rules look at.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Remembered { was: Value, now: Value },
    Began(Operation),
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) created: i64,
    pub(super) rule: Rule,
    pub(super) images: Vec<Image>,
    /// The number of the secret's current version.
    pub(super) secret: u32,
    pub(super) status: ServiceStatus,
    pub(super) configured: String,
    /// The digest and the version of the secret that run.
    pub(super) runs: (String, u32),
    pub(super) tags: BTreeMap<String, String>,
    pub(super) operations: Vec<Operation>,
    maintained_until: Option<i64>,
    pub(super) red_since: Option<i64>,
    pub(super) item: Option<Value>,
    pub(super) executions: Vec<Execution>,
    /// The one that is at work in this moment.
    pub(super) at_work: usize,
    /// When it goes on.
    wake: Option<i64>,
    pub(super) starts: Vec<Start>,
    chance: u64,
    /// Whether the service is held, as far as a person was told.
    pub(super) held: bool,
    /// When the service was last claimed.
    pub(super) claimed_at: i64,
    pub(super) wishes: Vec<Wished>,
    /// Images under tags that were found bad, and nobody has asked for since.
    pub(super) judged: Vec<(String, Option<String>)>,
    /// Bad images that nobody could judge: their execution stopped, or the service was not well before.
    pub(super) unjudged: BTreeSet<String>,
    /// Which execution has taken the claim of which.
    pub(super) taken: BTreeMap<usize, usize>,
    pub(super) story: Vec<String>,
    /// What the rules do not allow.
    pub(super) broken: Vec<String>,
}

impl World {
    pub(super) fn new(rule: Rule, seed: u64) -> Self {
        let monday = Timestamp::from_second(1_767_603_600).expect("a time");
        let now = monday.as_millisecond();
        let mut world = Self {
            now,
            created: now - 24 * HOUR,
            rule,
            images: Vec::new(),
            secret: 1,
            status: ServiceStatus::Running,
            configured: String::new(),
            runs: (String::new(), 1),
            tags: BTreeMap::new(),
            operations: Vec::new(),
            maintained_until: None,
            red_since: None,
            item: None,
            executions: Vec::new(),
            at_work: 0,
            wake: None,
            starts: Vec::new(),
            chance: seed | 1,
            held: false,
            claimed_at: 0,
            wishes: Vec::new(),
            judged: Vec::new(),
            unjudged: BTreeSet::new(),
            taken: BTreeMap::new(),
            story: Vec::new(),
            broken: Vec::new(),
        };
        let tag = match rule {
            Rule::SemVer => "1.0.0",
            Rule::Prefix => "main-0",
            Rule::Exact => "latest",
        };
        world.now -= 24 * HOUR;
        let digest = world.push_image(tag, Quality::Good);
        world.now = now;
        world.configured.clone_from(&digest);
        world.runs.0 = digest;
        for (key, value) in [
            ("managed", "true"),
            ("app", "shop"),
            ("environment", "dev"),
            ("image-tag", rule.text()),
            ("deploy-policy", "bake=3"),
            ("installation", super::aws::MACHINE),
        ] {
            world
                .tags
                .insert(format!("groundcrew:{key}"), value.to_owned());
        }
        // It has been looked at before: what somebody wipes from the tags since is remembered.
        let secrets = hexadecimal(&format!("{SECRET} version-1\n"), 8);
        let text = |text: &str| json!({"S": text});
        world.item = Some(json!({
            "kind": text("deployments"),
            "subject": text(SERVICE),
            "revision": {"N": "1"},
            "remembered": {"M": {
                "delivered_secrets": text(&secrets),
                "orders": {"M": {
                    "rule": text(rule.text()),
                    "policy": text("bake=3"),
                    "held": {"BOOL": false},
                }},
            }},
        }));
        world
    }

    pub(super) fn time(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now).expect("a time")
    }

    pub(super) fn tell(&mut self, line: impl std::fmt::Display) {
        let line = format!("{}  {line}", self.time().strftime("%a %H:%M:%S%.3f"));
        self.story.push(line);
    }

    pub(super) fn breaks(&mut self, rule: impl std::fmt::Display) {
        self.tell(format!("!! {rule}"));
        self.broken.push(rule.to_string());
    }

    /// A number below `below`, the same in each play.
    pub(super) fn any(&mut self, below: i64) -> i64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % 1_000_000) as i64 % below
    }

    /// How long a request or its answer is on its way: mostly a moment.
    pub(super) fn latency(&mut self) -> i64 {
        match self.any(24) {
            0 => 2 * SECOND + self.any(3 * SECOND),
            _ => 5 + self.any(60),
        }
    }

    pub(super) fn wake_in(&mut self, milliseconds: i64) {
        self.wake = Some(self.now + milliseconds);
    }

    pub(super) fn take_wake(&mut self) -> Option<i64> {
        self.wake.take()
    }

    /// What happens at this call of the one that is at work.
    pub(super) fn trouble(&mut self) -> Option<Trouble> {
        let execution = self.executions.get_mut(self.at_work)?;
        let number = execution.calls;
        execution.calls += 1;
        let (at, trouble) = execution.trouble?;
        (at == number).then_some(trouble)
    }

    pub(super) fn die(&mut self) {
        let execution = &mut self.executions[self.at_work];
        execution.is_alive = false;
        execution.was_killed = true;
        let name = execution.name.clone();
        self.tell(format!("{name} stops for good"));
        self.stops(&name);
    }

    /// `None` if nobody knows it.
    pub(super) fn is_alive(&self, name: &str) -> Option<bool> {
        let known = self.executions.iter().find(|it| it.name == name)?;
        Some(known.is_alive)
    }

    pub(super) fn image(&self, digest: &str) -> &Image {
        let found = self.images.iter().find(|image| image.digest == digest);
        found.expect("images stay")
    }

    /// An image as the story calls it.
    pub(super) fn called(&self, digest: &str) -> String {
        let number = self.images.iter().position(|it| it.digest == digest);
        let tags = self.images.iter().find(|it| it.digest == digest);
        let tags = tags.map(|it| it.tagged.keys().cloned().collect::<Vec<_>>().join(", "));
        match number {
            Some(number) => format!("image {number} ({})", tags.unwrap_or_default()),
            None => "no image".into(),
        }
    }

    /// A new image under a tag, which another one may lose.
    pub(super) fn push_image(&mut self, tag: &str, quality: Quality) -> String {
        let digest = format!("sha256:{:064x}", self.images.len() + 1);
        self.images.push(Image {
            digest: digest.clone(),
            tags: Vec::new(),
            pushed: self.now,
            quality,
            tagged: BTreeMap::new(),
        });
        self.tag_image(&digest, tag);
        digest
    }

    /// The next tag under the rule: of a version, the next minor one, or the next patch of one that there is.
    pub(super) fn next_tag(&self, patch_of: Option<usize>) -> String {
        let number = self.images.iter().map(|it| it.tagged.len()).sum::<usize>();
        let tags = self.images.iter().flat_map(|image| image.tagged.keys());
        let versions = tags.filter_map(|tag| {
            let (minor, patch) = tag.strip_prefix("1.")?.split_once('.')?;
            Some((minor.parse::<u32>().ok()?, patch.parse::<u32>().ok()?))
        });
        let versions: Vec<_> = versions.collect();
        match (self.rule, patch_of) {
            (Rule::Exact, _) => "latest".into(),
            (Rule::Prefix, _) => format!("main-{number}"),
            (Rule::SemVer, None) => {
                let minor = versions.iter().map(|it| it.0).max().unwrap_or_default();
                format!("1.{}.0", minor + 1)
            }
            (Rule::SemVer, Some(at)) => {
                let (minor, _) = versions[at % versions.len()];
                let of_it = versions.iter().filter(|it| it.0 == minor);
                let patch = of_it.map(|it| it.1).max().unwrap_or_default();
                format!("1.{minor}.{}", patch + 1)
            }
        }
    }

    pub(super) fn tag_image(&mut self, digest: &str, tag: &str) {
        let now = self.now;
        for image in &mut self.images {
            image.tags.retain(|of| of != tag);
            if image.digest == digest {
                image.tags.push(tag.to_owned());
                image.tagged.insert(tag.to_owned(), now);
            }
        }
    }

    /// How the service answers.
    pub(super) fn health(&self) -> u16 {
        let is_up = self.image(&self.runs.0).quality != Quality::Unwell;
        match self.status {
            ServiceStatus::Paused => 404,
            // The old password is dead at once.
            _ if is_up && self.runs.1 == self.secret => 200,
            _ => 500,
        }
    }

    /// An operation of whoever is at work.
    pub(super) fn begin(&mut self, kind: OperationType, digest: Option<String>) -> String {
        self.operate(By::Execution(self.at_work), kind, digest)
    }

    pub(super) fn operate(
        &mut self,
        by: By,
        kind: OperationType,
        digest: Option<String>,
    ) -> String {
        let digest = digest.unwrap_or_else(|| self.configured.clone());
        let takes = 2 * MINUTE + self.any(3 * MINUTE);
        let deploys =
            [OperationType::UpdateService, OperationType::StartDeployment].contains(&kind);
        let fails = deploys && self.image(&digest).quality == Quality::Fails;
        let operation = Operation {
            id: format!("operation-{}", self.operations.len() + 1),
            kind,
            by,
            claimed: self.remembered()["claim"].clone(),
            started: self.now,
            claimed_at: matches!(by, By::Execution(_)).then_some(self.claimed_at),
            ends: self.now + takes + if fails { MINUTE } else { 0 },
            fails,
            ended: None,
            digest: digest.clone(),
            secret: self.secret,
            before: self.runs.0.clone(),
        };
        let id = operation.id.clone();
        self.configured = digest;
        self.status = ServiceStatus::OperationInProgress;
        self.operations.push(operation.clone());
        self.happens(Fact::Began(operation));
        id
    }

    /// Maintenance: an operation that App Runner does not list.
    pub(super) fn maintain(&mut self, milliseconds: i64) {
        self.status = ServiceStatus::OperationInProgress;
        self.maintained_until = Some(self.now + milliseconds);
    }

    /// When App Runner next ends something.
    pub(super) fn next_end(&self) -> Option<i64> {
        let running = self.operations.last().filter(|it| it.ended.is_none());
        running.map(|it| it.ends).or(self.maintained_until)
    }

    /// What App Runner does until now.
    pub(super) fn end_what_is_over(&mut self) {
        if self.next_end().is_none_or(|end| end > self.now) {
            return;
        }
        let now = self.now;
        let mut status = ServiceStatus::Running;
        if self.maintained_until.take().is_none() {
            let red_in = 5 * SECOND + self.any(20 * SECOND);
            let operation = self.operations.last_mut().expect("one is under way");
            operation.ended = Some(now);
            let operation = operation.clone();
            match operation.kind {
                OperationType::PauseService => status = ServiceStatus::Paused,
                OperationType::ResumeService => {}
                _ if operation.fails => self.configured.clone_from(&self.runs.0),
                _ => {
                    self.runs = (operation.digest.clone(), operation.secret);
                    let is_red = self.image(&operation.digest).quality == Quality::Alarming;
                    self.red_since = is_red.then_some(now + red_in);
                }
            }
            let how = if operation.fails { "fails" } else { "is over" };
            let line = format!(
                "App Runner: {} {how}; {} runs",
                operation.id,
                self.called(&self.runs.0)
            );
            self.tell(line);
        }
        self.status = status;
        if status == ServiceStatus::Running {
            self.starts.push(Start {
                at: now + SECOND,
                input: json!({"service": SERVICE, "cause": "it is running again"}),
                trouble: None,
                unless_left_alone: true,
            });
        }
    }

    /// Whether the service is held, or the execution that has claimed it is at work.
    pub(super) fn is_left_alone(&self) -> bool {
        let remembered = self.remembered();
        let held = self
            .tags
            .get("groundcrew:hold")
            .is_some_and(|hold| hold == "true");
        let claim = remembered["claim"]["execution"].as_str();
        held || remembered["orders"]["held"] == true
            || claim.is_some_and(|name| self.is_alive(name) == Some(true))
    }
}
