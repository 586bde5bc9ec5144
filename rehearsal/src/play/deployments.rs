//! What nobody starts by hand: pushes, rotations and the deployments that they lead to; and the way back, which somebody
//! does.

use super::calendar::Calendar;
use super::own_event::OwnEvent;
use super::{Dial, Played, Stage, ended};
use crate::console::{self, BOLD, DIM, line};
use crate::promises::deployments::{
    ALARMED, Act, FAILED, Failed, LOOKED, PUSHED, Pushed, REPLAYED, ROTATED, Rotated, TOLD,
    TakenBack, UNANSWERED, UNCONCERNED, WENT_BACK, WentBack, outcome,
};
use crate::promises::nights::{LOOKED_AFTER, Look};
use crate::promises::{Checked, Promise};
use crate::record::later;
use crate::{Error, Execution, Happening, Notification, Published, Result, What};
use apprunner_emulator::{Arrangement, Fate, OperationType, ServiceSnapshot, ServiceStatus};
use aws_sdk_apprunner::types::Tag;
use aws_sdk_cloudwatch::types::StateValue;
use groundcrew::Spec;
use groundcrew::command::start_execution;
use groundcrew::image;
use groundcrew::reference::{Repository, is_secret};
use groundcrew::stack::{TAG_HOLD, TAG_IMAGE_TAG, TAG_MANAGED, TAG_RELEASE};
use groundcrew::tag_rule::TagRule;
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use trigger::Cause;

/// The metric of requests that fail.
const SERVER_ERRORS: &str = "5xxStatusResponses";

/// The password of a rotation, which no database has.
const NEW_PASSWORD: &str = "a-password-that-no-database-has";

pub(super) const POLL: Duration = Duration::from_millis(50);
/// On the wall, because a function is a process that starts: how long `trigger` may take to hear of an event,
pub(super) const HEARS: Duration = Duration::from_secs(4);
/// and how long nothing must happen until nothing more will.
pub(super) const QUIET: Duration = Duration::from_secs(1);

/// How the subjects begin of what a sweep tells.
pub(super) const OF_SWEEP: &str = "groundcrew sweep";

/// What is to be played on a stack that exists.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Occasion {
    /// An image is pushed.
    Push,
    /// The stack's secret is rotated.
    Rotation,
    /// Images are pushed that are taken back; then a person goes back.
    BadImage,
    /// It sleeps and is woken, over a night and over holidays.
    Nights,
    /// Events are lost, and what they were of is found.
    Sweep,
    /// All of them.
    All,
}

/// An occasion, and what goes with it.
#[derive(Clone, Debug)]
pub struct Deployments {
    occasion: Occasion,
    input: Value,
    spec: Spec,
    event: Option<OwnEvent>,
    calendar: Calendar,
}

impl Deployments {
    /// Checks that these can be played on the stack of `input`, with the event of a person instead of AWS's own.
    ///
    /// # Errors
    /// [`Error::Input`].
    pub fn new(occasion: Occasion, input: Value, event: Option<Value>) -> Result<Self> {
        let refused = |sentence: &str| Err(Error::Input(sentence.to_owned()));
        let spec = Spec::parse(&input)
            .map_err(|error| Error::Input(format!("the spec is refused:\n{error}")))?;
        if spec.dry_run {
            return refused(
                "dry_run: true builds no stack that could be deployed to: leave it out",
            );
        }
        let event = event.map(OwnEvent::parse).transpose()?;
        let rule = TagRule::parse(&spec.image.tag);
        let pushed = match &event {
            Some(event) => event.pushed_to(&spec).map(str::to_owned),
            None => (occasion != Occasion::Rotation).then(|| later_tag(&rule, 1)),
        };
        if spec.image.immutable_tags && pushed == Some(crate::tag_for(&rule)) {
            return refused(
                "image.immutable_tags: no second image can be pushed under the tag of the first one; with image.tag semver:1 or prefix:main- each push has a tag of its own",
            );
        }
        if occasion == Occasion::BadImage && event.is_some() && pushed.is_none() {
            return refused(
                "this is no push of an image to the stack's repository, and only an image is rolled back",
            );
        }
        let rotates = matches!(occasion, Occasion::Rotation | Occasion::All) && event.is_none();
        if rotates && variables_of_database(&spec).is_empty() {
            return refused(
                "service.secrets: no variable is from the stack's secret (database:password for instance), so that there is nothing to rotate",
            );
        }
        Ok(Self {
            occasion,
            input,
            spec,
            event,
            calendar: Calendar::after(Timestamp::now()),
        })
    }

    /// What the template has to be deployed with: the environment sleeps where nights are played.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        match self.occasion {
            Occasion::Nights | Occasion::All => self.calendar.parameters(&self.spec),
            _ => Vec::new(),
        }
    }
}

/// The variables that hold a part of the stack's own secret.
pub(super) fn variables_of_database(spec: &Spec) -> Vec<String> {
    let secrets = spec.service.secrets.iter();
    let own = secrets.filter(|(_, reference)| reference.starts_with("database:"));
    own.map(|(name, _)| name.clone()).collect()
}

/// A tag that a rule prefers to [`crate::tag_for`]'s, and the more so the higher the number.
fn later_tag(rule: &TagRule, number: u64) -> String {
    match rule {
        TagRule::Exact(tag) => tag.clone(),
        TagRule::Prefix(prefix) => format!("{prefix}{}", number + 1),
        TagRule::SemVer { major, minor, .. } => format!("{major}.{}.{number}", minor.unwrap_or(0)),
    }
}

impl Stage {
    /// Builds the stack, and plays what happens to it then.
    ///
    /// # Errors
    /// If the local AWS does not play along.
    pub async fn deployments(&self, deployments: &Deployments) -> Result<Played> {
        self.heading("Provision");
        let end = self
            .run(
                "ProvisionStateMachineArn",
                "rehearsal-provision",
                &deployments.input,
            )
            .await?;
        let checked = if end.succeeded {
            self.deploy(deployments).await?
        } else {
            self.check_failed(&end)
        };
        Ok(Played { end, checked })
    }

    /// Plays what happens to a stack that exists.
    pub(super) async fn deploy(&self, deployments: &Deployments) -> Result<Vec<Checked>> {
        let mut scenes = Scenes {
            occasion: deployments.occasion,
            stage: self,
            spec: &deployments.spec,
            rule: TagRule::parse(&deployments.spec.image.tag),
            calendar: &deployments.calendar,
            now: None,
            pushes: 0,
            acts: Vec::new(),
            looks: Vec::new(),
            checked: Vec::new(),
        };
        // `trigger` has heard that the new service runs.
        scenes.settled().await?;
        match (deployments.occasion, &deployments.event) {
            (Occasion::BadImage, event) => {
                scenes.push().await?;
                scenes.bad_images(event.as_ref()).await?;
            }
            (_, Some(event)) => scenes.own_event(event.clone()).await?,
            (Occasion::Push, None) => {
                let pushed = scenes.push().await?;
                scenes.replay(pushed).await?;
            }
            (Occasion::Rotation, None) => scenes.rotate().await?,
            (Occasion::Nights, None) => {
                if scenes.night().await? {
                    scenes.holidays().await?;
                }
            }
            (Occasion::Sweep, None) => scenes.sweep().await?,
            (Occasion::All, None) => {
                let pushed = scenes.push().await?;
                scenes.replay(pushed).await?;
                scenes.rotate().await?;
                // What does not wake up cannot be deployed to.
                if scenes.night().await? {
                    scenes.bad_images(None).await?;
                    if scenes.holidays().await? {
                        scenes.sweep().await?;
                    }
                }
            }
        }
        scenes.check(TOLD, &scenes.acts.clone());
        if !scenes.looks.is_empty() {
            scenes.check(LOOKED_AFTER, &scenes.looks.clone());
        }
        Ok(scenes.checked)
    }
}

/// The scenes of a play, one after the other.
pub(super) struct Scenes<'a> {
    pub(super) occasion: Occasion,
    pub(super) stage: &'a Stage,
    pub(super) spec: &'a Spec,
    rule: TagRule,
    pub(super) calendar: &'a Calendar,
    /// What time it is; nobody looks at a clock where that is not what is played.
    now: Option<Now>,
    pushes: u64,
    acts: Vec<Act>,
    pub(super) looks: Vec<Look>,
    checked: Vec<Checked>,
}

/// A moment of AWS's time, and when that was on the wall.
struct Now {
    local: Zoned,
    wall: SystemTime,
}

/// How things were before an act.
pub(super) struct Before {
    service: ServiceSnapshot,
    executions: HashSet<String>,
    heard: usize,
    told: usize,
}

/// What `trigger` wrote of an event into its log.
struct Heard {
    replays: Vec<String>,
}

impl Scenes<'_> {
    /// A new image: it is deployed. Returns the event.
    async fn push(&mut self) -> Result<Value> {
        self.stage.heading("A push");
        let before = self.before().await?;
        let digest = self.untagged().await?;
        let tag = self.next_tag();
        self.tag(&digest, &tag).await?;
        let act = self.follow(before, None).await?;
        let event = self.event_of(&digest).await?;
        self.check(PUSHED, &Pushed { digest, act });
        Ok(event)
    }

    /// EventBridge delivers an event at least once.
    async fn replay(&mut self, event: Value) -> Result<()> {
        self.stage.heading("The same event once more");
        let before = self.before().await?;
        self.stage.local.put_event(&event).await?;
        let act = self.follow(before, None).await?;
        self.check(REPLAYED, &act);
        Ok(())
    }

    async fn rotate(&mut self) -> Result<()> {
        self.stage.heading("A rotation");
        let before = self.before().await?;
        let version_id = self.new_version().await?;
        let act = self.follow(before, None).await?;
        let variables = variables_of_database(self.spec);
        let seen = Rotated {
            version_id,
            variables,
            act,
        };
        self.check(ROTATED, &seen);
        Ok(())
    }

    async fn bad_images(&mut self, event: Option<&OwnEvent>) -> Result<()> {
        if event.is_none() {
            self.image_that_does_not_start().await?;
        }
        let watched = self.spec.deploy.bake_minutes > 0;
        if self.spec.service.public {
            self.image_that_does_not_answer(event).await?;
        } else {
            line("           The service is not public, and is not asked whether it answers.");
        }
        if watched && (event.is_none() || !self.spec.service.public) {
            self.image_that_alarms(event).await?;
        } else if !watched {
            line("           deploy.bake_minutes is 0: no alarm takes an image back.");
        }
        self.go_back().await
    }

    async fn image_that_does_not_start(&mut self) -> Result<()> {
        self.stage
            .heading("A bad image: App Runner cannot start it");
        let before = self.before().await?;
        let digest = self.untagged().await?;
        self.arrange(Arrangement::NextOperation {
            operation: OperationType::UpdateService,
            service: Some(self.spec.stack().name()),
            fate: Fate::Fails,
        })?;
        let tag = self.next_tag();
        self.tag(&digest, &tag).await?;
        let act = self.follow(before, None).await?;
        self.check(FAILED, &Failed { digest, act });
        Ok(())
    }

    async fn image_that_does_not_answer(&mut self, event: Option<&OwnEvent>) -> Result<()> {
        self.stage
            .heading("A bad image: its health path answers 500");
        let digest = self.untagged().await?;
        self.arrange(Arrangement::ImageAnswer {
            digest: digest.clone(),
            status: 500,
        })?;
        let act = self.push_bad(&digest, event, None).await?;
        let again = self.late_event(&digest).await?;
        self.check(UNANSWERED, &TakenBack { digest, act, again });
        Ok(())
    }

    async fn image_that_alarms(&mut self, event: Option<&OwnEvent>) -> Result<()> {
        self.stage
            .heading("A bad image: requests fail in the bake window");
        let digest = self.untagged().await?;
        let act = self.push_bad(&digest, event, Some(SERVER_ERRORS)).await?;
        self.publish(SERVER_ERRORS, None).await?;
        let again = self.late_event(&digest).await?;
        self.check(ALARMED, &TakenBack { digest, act, again });
        Ok(())
    }

    async fn push_bad(
        &mut self,
        digest: &str,
        event: Option<&OwnEvent>,
        failing: Option<&str>,
    ) -> Result<Act> {
        if let Some(event) = event {
            let tag = event.pushed_to(self.spec).unwrap_or_default();
            self.while_held(self.tag(digest, tag)).await?;
            let before = self.before().await?;
            self.put(event).await?;
            return self.follow(before, failing).await;
        }
        let before = self.before().await?;
        let tag = self.next_tag();
        self.tag(digest, &tag).await?;
        self.follow(before, failing).await
    }

    /// Another event of an image, as of a push of the same digest later.
    async fn late_event(&mut self, digest: &str) -> Result<Act> {
        line(format_args!(
            "           {DIM}the rehearsal puts another event of that image on the bus{DIM:#}"
        ));
        let mut event = self.event_of(digest).await?;
        let fields = event.as_object_mut().into_iter();
        for fields in fields {
            fields.remove("id");
            fields.remove("time");
        }
        let before = self.before().await?;
        self.stage.local.put_event(&event).await?;
        self.follow(before, None).await
    }

    /// To what ran before, as a person does it who does not trust the last good image any more.
    async fn go_back(&mut self) -> Result<()> {
        self.stage.heading("Back to the release before, by hand");
        let service = self.spec.stack().name();
        let running = self.look()?.runs.image_digest;
        let record = self.look()?.tags;
        let mut deployed: Vec<_> = record
            .iter()
            .filter(|(key, _)| key.starts_with(TAG_RELEASE))
            .filter_map(|(key, value)| Some((key, value.strip_prefix("deployed ")?)))
            .filter_map(|(key, value)| Some((key, value.split(' ').next()?.to_owned())))
            .filter(|(_, digest)| Some(digest) != running.as_ref())
            .collect();
        deployed.sort();
        let digest = deployed.pop().map(|(_, digest)| digest).unwrap_or_default();
        let before = self.before().await?;
        self.by_hand(
            "rehearsal-back",
            &json!({"service": service, "to": "previous"}),
        )
        .await?;
        let act = self.follow(before, None).await?;
        line(format_args!(
            "           {DIM}and a look at the service, as any event would ask for{DIM:#}"
        ));
        let before = self.before().await?;
        self.by_hand("rehearsal-look", &json!({"service": service}))
            .await?;
        let again = self.follow(before, None).await?;
        self.check(WENT_BACK, &WentBack { digest, act, again });
        self.show_releases()
    }

    /// Starts `deploy` with the command of the template's output.
    async fn by_hand(&self, name: &str, input: &Value) -> Result<()> {
        let machine = self.stage.outputs.get("DeployStateMachineArn")?;
        line(format_args!(
            "           $ {}",
            start_execution(machine, &input.to_string())
        ));
        let started = self.stage.local.start_execution(machine, name, input);
        started.await.map(drop)
    }

    /// The event of a person, alone: what it is about has happened, and AWS's own event of that has led to nothing.
    async fn own_event(&mut self, event: OwnEvent) -> Result<()> {
        self.stage
            .heading(&format!("Your event: {}", event.sentence()));
        let (event, replaced) = event.here(&self.stage.local).await?;
        if let Some(replaced) = replaced {
            line(format_args!("           {DIM}{replaced}{DIM:#}"));
        }
        let concerned = self.is_concerned(&event)?;
        if let Some(tag) = event.pushed_to(self.spec) {
            let digest = self.untagged().await?;
            self.while_held(self.tag(&digest, tag)).await?;
            let repository =
                Repository::own(&self.stage.local.aws().account, self.spec.repository());
            let newest = image::newest(self.stage.local.aws(), &repository, &self.rule).await;
            let newest = newest.ok().flatten();
            if event.json()["detail"]["image-digest"] != digest {
                line(format_args!(
                    "           {DIM}the event names another digest: what the repository holds now is deployed{DIM:#}"
                ));
            }
            let act = self.put_alone(&event).await?;
            match (concerned, newest == Some(digest.clone())) {
                (true, true) => self.check(PUSHED, &Pushed { digest, act }),
                (true, false) => self.check(LOOKED, &act),
                (false, _) => self.nobody(&event, &act)?,
            };
        } else if let (Some(Cause::SecretMoved { .. }), true) = (event.cause(), concerned) {
            let new_version = async { self.new_version().await.map(drop) };
            self.while_held(new_version).await?;
            let secret = self.spec.stack().secret_name();
            let version_id = self.stage.local.current_version(&secret).await?;
            let act = self.put_alone(&event).await?;
            let variables = variables_of_database(self.spec);
            self.check(
                ROTATED,
                &Rotated {
                    version_id,
                    variables,
                    act,
                },
            );
        } else {
            let act = self.put_alone(&event).await?;
            if concerned {
                self.check(LOOKED, &act);
            } else {
                self.nobody(&event, &act)?;
            }
        }
        Ok(())
    }

    async fn put_alone(&mut self, event: &OwnEvent) -> Result<Act> {
        let before = self.before().await?;
        self.put(event).await?;
        self.follow(before, None).await
    }

    async fn put(&self, event: &OwnEvent) -> Result<()> {
        line(format_args!(
            "           {DIM}the rehearsal puts your event on the bus{DIM:#}"
        ));
        self.stage.local.put_event(event.json()).await.map(drop)
    }

    /// Whether the stack's service has to be looked at, by what this rehearsal knows of it.
    fn is_concerned(&self, event: &OwnEvent) -> Result<bool> {
        let service = self.look()?;
        Ok(match event.cause() {
            Some(Cause::ImagePushed { .. }) => event
                .pushed_to(self.spec)
                .is_some_and(|tag| self.rule.covers(tag)),
            Some(Cause::SecretMoved { arn, .. }) => secrets(&service)
                .iter()
                .any(|named| is_secret(named, arn.as_str())),
            Some(Cause::ServiceRunning { service_arn }) => service_arn.as_str() == service.arn,
            None => false,
        })
    }

    fn nobody(&mut self, event: &OwnEvent, act: &Act) -> Result<bool> {
        line(format_args!(
            "           {BOLD}This event concerns no service.{BOLD:#} These are managed here:"
        ));
        for service in self.stage.local.apprunner().snapshot().services {
            if !service.tags.contains_key(TAG_MANAGED) {
                continue;
            }
            let image = image_identifier(&service);
            let repository = image.split('@').next().unwrap_or(image);
            let rule = service
                .tags
                .get(TAG_IMAGE_TAG)
                .map_or("none", String::as_str);
            line(format_args!(
                "             {BOLD}{}{BOLD:#} takes {rule} of {repository}",
                service.name
            ));
            for secret in secrets(&service) {
                line(format_args!("               and the secret {secret}"));
            }
        }
        if let Some(elsewhere) = event.elsewhere() {
            line(format_args!(
                "           The event is of {elsewhere}; a rehearsal plays in account {} and region {}.",
                crate::ACCOUNT,
                crate::REGION
            ));
        }
        Ok(self.check(UNCONCERNED, act))
    }

    /// Lets something happen while the service is held, so that AWS's own event of it deploys nothing.
    async fn while_held(&self, happens: impl Future<Output = Result<()>>) -> Result<()> {
        console::progress(
            "what the event is about happens while the service is held, so that only your event counts",
        );
        let arn = self.look()?.arn;
        let apprunner = self.stage.local.aws().apprunner();
        let held = Tag::builder().key(TAG_HOLD).value("true").build();
        apprunner
            .tag_resource()
            .resource_arn(&arn)
            .tags(held)
            .send()
            .await
            .map_err(Error::call("apprunner:TagResource"))?;
        happens.await?;
        self.settled().await?;
        apprunner
            .untag_resource()
            .resource_arn(&arn)
            .tag_keys(TAG_HOLD)
            .send()
            .await
            .map(drop)
            .map_err(Error::call("apprunner:UntagResource"))
    }

    /// Pushes an image that nothing knows of yet, because it has no tag. Returns its digest.
    pub(super) async fn untagged(&self) -> Result<String> {
        let repository = self.spec.repository();
        let local = &self.stage.local;
        local.push_image_as(&repository, &[], "amd64").await
    }

    pub(super) fn next_tag(&mut self) -> String {
        self.pushes += 1;
        later_tag(&self.rule, self.pushes)
    }

    pub(super) async fn tag(&self, digest: &str, tag: &str) -> Result<()> {
        let repository = self.spec.repository();
        line(format_args!(
            "           {DIM}the rehearsal pushes {repository}:{tag}, {digest}{DIM:#}"
        ));
        self.stage.local.tag_image(&repository, digest, tag).await
    }

    /// A rotation of the stack's secret.
    pub(super) async fn new_version(&self) -> Result<String> {
        let mut value = self.stage.credentials(&self.spec.stack()).await?;
        value["password"] = json!(NEW_PASSWORD);
        self.stage.recorder.secret(NEW_PASSWORD);
        let secret = self.spec.stack().secret_name();
        let local = &self.stage.local;
        let version_id = local.rotate_secret(&secret, &value.to_string()).await?;
        line(format_args!(
            "           {DIM}the rehearsal rotates {secret}: version {version_id} is current{DIM:#}"
        ));
        Ok(version_id)
    }

    pub(super) async fn turn(&self, alarm: &str, state: StateValue) -> Result<()> {
        let cloudwatch = self.stage.local.aws().cloudwatch();
        cloudwatch
            .set_alarm_state()
            .alarm_name(alarm)
            .state_value(state)
            .state_reason("the rehearsal")
            .send()
            .await
            .map(drop)
            .map_err(Error::call("cloudwatch:SetAlarmState"))
    }

    /// Lets App Runner publish a metric of the service from now on, or no longer.
    async fn publish(&self, metric: &str, value: Option<f64>) -> Result<()> {
        let published = Published {
            service_arn: &self.look()?.arn,
            metric,
            value,
            at: None,
        };
        self.stage.local.publish(&published).await
    }

    fn arrange(&self, arrangement: Arrangement) -> Result<()> {
        let arranged = self.stage.local.apprunner().arrange(arrangement);
        arranged.map_err(Error::call("/_local/arrangements"))
    }

    pub(super) fn look(&self) -> Result<ServiceSnapshot> {
        let name = self.spec.stack().name();
        let services = self.stage.local.apprunner().snapshot().services;
        let found = services.into_iter().find(|service| service.name == name);
        found.ok_or_else(|| Error::Call {
            call: "apprunner:ListServices",
            reason: format!("there is no service {name}"),
        })
    }

    /// ECR's own event of a tagged image, whole.
    async fn event_of(&self, digest: &str) -> Result<Value> {
        let events = self.stage.local.events().await?;
        let pushed = events.into_iter().rfind(|event| {
            event.source == "aws.ecr"
                && event.detail["image-digest"] == digest
                && event.detail["image-tag"].is_string()
        });
        let event = pushed.ok_or_else(|| Error::Call {
            call: "/_local/events",
            reason: format!("ECR tells nothing of {digest}"),
        })?;
        Ok(json!({
            "version": "0", "id": event.id, "time": event.time, "account": event.account, "region": event.region,
            "source": event.source, "detail-type": event.detail_type, "resources": event.resources, "detail": event.detail,
        }))
    }

    /// Whether all of them are kept.
    pub(super) fn check<Scene>(&mut self, promises: &[Promise<Scene>], scene: &Scene) -> bool {
        let checked = self.stage.check(promises, scene);
        let kept = checked.iter().all(|promise| promise.verdict.is_ok());
        self.checked.extend(checked);
        kept
    }

    pub(super) async fn before(&self) -> Result<Before> {
        self.stage.forget_calls().await?;
        Ok(Before {
            service: self.look()?,
            executions: self
                .executions()
                .await?
                .into_iter()
                .map(|of| of.arn().to_owned())
                .collect(),
            heard: self.heard().await?.len(),
            told: self.told().await?.len(),
        })
    }

    async fn executions(&self) -> Result<Vec<crate::Execution>> {
        let machine = self.stage.outputs.get("DeployStateMachineArn")?;
        self.stage.local.executions(machine, "").await
    }

    /// What was told of deployments on the topic of groundcrew itself.
    async fn told(&self) -> Result<Vec<Notification>> {
        let topic = self.stage.outputs.get("NotificationsTopicArn")?;
        let mut told = self.stage.local.notifications().await?;
        let is_of_sweep = |told: &Notification| {
            let subject = told.subject.as_deref();
            subject.is_some_and(|subject| subject.starts_with(OF_SWEEP))
        };
        told.retain(|told| told.topic == topic && !is_of_sweep(told));
        Ok(told)
    }

    /// Waits until `trigger` has heard everything and no execution of `deploy` runs.
    pub(super) async fn settled(&self) -> Result<()> {
        let (mut heard, mut ended) = (usize::MAX, usize::MAX);
        let mut since = Instant::now();
        let _busy = console::meanwhile("waiting until everything is quiet");
        while since.elapsed() < QUIET {
            let executions = self.executions().await?;
            let now = (self.heard().await?.len(), executions.len());
            if now != (heard, ended) {
                (heard, ended) = now;
                for execution in executions {
                    execution.end().await?;
                }
                since = Instant::now();
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Follows what an event leads to, and shows it, until nothing more happens. A metric gets bad as soon as it is watched.
    pub(super) async fn follow(&mut self, before: Before, failing: Option<&str>) -> Result<Act> {
        let (mut heard, mut known) = (before.heard, before.executions);
        let (mut ends, mut told) = (Vec::new(), before.told);
        let (failing, mut since) = (Cell::new(failing), Instant::now());
        let _busy = console::meanwhile("listening for what comes of it");
        loop {
            let news = self.heard().await?;
            for news in news.iter().skip(heard) {
                news.show();
                since = Instant::now();
            }
            heard = news.len().max(heard);
            let mut executions = self.executions().await?.into_iter();
            if let Some(execution) = executions.find(|of| !known.contains(of.arn())) {
                known.insert(execution.arn().to_owned());
                self.show_start(execution.arn()).await?;
                let dial = self.dial(&execution).await?;
                let end = self
                    .stage
                    .follow(execution, &dial, async |happening| {
                        self.play_along(happening, &failing).await
                    })
                    .await?;
                // Of several executions that run at once the one that had nothing to do may be the first that is shown.
                let news: Vec<_> = match outcome(&end) {
                    "Nothing" => Vec::new(),
                    _ => self.told().await?.into_iter().skip(told).collect(),
                };
                told += news.len();
                show_end(&end, &dial, &news);
                ends.push(end);
                since = Instant::now();
                continue;
            }
            let is_awaited = heard == before.heard && ends.is_empty();
            if since.elapsed() > if is_awaited { HEARS } else { QUIET } {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        let act = Act {
            before: before.service,
            after: self.look()?,
            executions: ends,
            told: self.told().await?.into_iter().skip(before.told).collect(),
            calls: self.stage.calls().await?,
        };
        if act.executions.is_empty() {
            line("           nothing was started");
        }
        show_running(&act.after);
        self.acts.push(act.clone());
        Ok(act)
    }

    /// From now on it is that time.
    pub(super) fn it_is(&mut self, local: Zoned) {
        self.stage.recorder.it_is(&local);
        self.now = Some(Now {
            local,
            wall: SystemTime::now(),
        });
    }

    /// From now on nobody looks at a clock.
    pub(super) fn it_is_any_time(&mut self) {
        self.now = None;
    }

    /// What the times in front of an execution's lines are.
    pub(super) async fn dial(&self, execution: &Execution) -> Result<Dial> {
        let Some(Now { local, wall }) = &self.now else {
            return Ok(Dial::SinceItBegan);
        };
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let passed = execution.started().await? - wall.as_secs_f64();
        let passed = passed.max(0.0) * self.stage.local.time_scale();
        Ok(Dial::Local(later(local, passed)))
    }

    async fn play_along(&self, happening: &Happening, failing: &Cell<Option<&str>>) -> Result<()> {
        let watching = happening.state == "Bake" && happening.what == What::Entered;
        if let Some(metric) = watching.then(|| failing.take()).flatten() {
            let each_minute = f64::from(self.spec.alarms.server_errors);
            line(format_args!(
                "           {DIM}the rehearsal lets App Runner publish {metric}: {each_minute} each minute{DIM:#}"
            ));
            self.publish(metric, Some(each_minute)).await?;
        }
        Ok(())
    }

    /// What `trigger` wrote into its log, event by event.
    async fn heard(&self) -> Result<Vec<Heard>> {
        let logs = self.stage.local.aws().logs();
        let groups = logs.describe_log_groups().into_paginator().items().send();
        let groups = groups
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(Error::call("logs:DescribeLogGroups"))?;
        let mut heard = Vec::new();
        for group in groups {
            let name = group.log_group_name.unwrap_or_default();
            if !name.ends_with("TriggerFunctionLogs") {
                continue;
            }
            let events = logs.filter_log_events().log_group_name(name);
            let events = events
                .into_paginator()
                .send()
                .collect::<Result<Vec<_>, _>>();
            let pages = events.await.map_err(Error::call("logs:FilterLogEvents"))?;
            let events = pages.iter().flat_map(|page| page.events());
            heard.extend(events.filter_map(|event| Heard::parse(event.message()?)));
        }
        Ok(heard)
    }

    /// Who has started an execution: `trigger` says for which cause, a person need not.
    async fn show_start(&self, arn: &str) -> Result<()> {
        let sfn = self.stage.local.aws().sfn();
        let described = sfn.describe_execution().execution_arn(arn).send().await;
        let described = described.map_err(Error::call("states:DescribeExecution"))?;
        let input = described.input.unwrap_or_default();
        let input: Value = serde_json::from_str(&input).unwrap_or_default();
        if let Some(cause) = input["cause"].as_str() {
            let service = input["service"].as_str().unwrap_or_default();
            let service = service.rsplit('/').nth(1).unwrap_or(service);
            line(format_args!(
                "           trigger starts deploy for {BOLD}{service}{BOLD:#}: {cause}"
            ));
        }
        Ok(())
    }

    fn show_releases(&self) -> Result<()> {
        let service = self.look()?;
        line(format_args!(
            "           The release record, as aws apprunner list-tags-for-resource shows it:"
        ));
        for (key, value) in &service.tags {
            if let Some(at) = key.strip_prefix(TAG_RELEASE) {
                line(format_args!("             {DIM}{at}{DIM:#}  {value}"));
            }
        }
        Ok(())
    }
}

impl Heard {
    fn parse(text: &str) -> Option<Self> {
        let fields = serde_json::from_str::<Value>(text).ok()?["fields"].take();
        let is_end = [
            "looked for the services of an event",
            "an event that is not for us",
        ]
        .iter()
        .any(|message| fields["message"] == *message);
        let replays = fields["replays"].as_str().unwrap_or_default();
        is_end.then(|| Self {
            replays: replays.split_whitespace().map(str::to_owned).collect(),
        })
    }

    fn show(&self) {
        for service in &self.replays {
            line(format_args!(
                "           trigger has started deploy for {BOLD}{service}{BOLD:#} for this event before"
            ));
        }
    }
}

fn show_end(end: &crate::End, dial: &Dial, told: &[Notification]) {
    ended(end, dial);
    if outcome(end) == "Nothing" {
        let reason = end.output["reason"].as_str().unwrap_or_default();
        line(format_args!("           nothing to do: {reason}"));
    } else if !end.succeeded && told.is_empty() {
        for sentence in end.message.lines() {
            line(format_args!("           {sentence}"));
        }
    }
    for told in told {
        console::notification(told.subject.as_deref(), &told.message);
    }
}

/// Which release runs now, with which secrets.
fn show_running(service: &ServiceSnapshot) {
    let digest = service.runs.image_digest.as_deref().unwrap_or_default();
    let short = image::short(digest);
    let mut versions: Vec<_> = service.runs.secret_versions.values().collect();
    versions.sort();
    versions.dedup();
    let versions: Vec<_> = versions.iter().filter_map(|id| id.get(..8)).collect();
    let secrets = match versions.as_slice() {
        [] => String::new(),
        versions => format!(", with version {} of its secret", versions.join(", ")),
    };
    let releases = service.tags.iter().filter(|(key, value)| {
        key.starts_with(TAG_RELEASE) && value.split(' ').nth(1) == Some(digest)
    });
    let mut facts = releases.flat_map(|(_, value)| value.split(' '));
    let tag = facts.find_map(|fact| fact.strip_prefix("tag="));
    let tag = tag.map_or(String::new(), |tag| format!(" ({tag})"));
    line(format_args!(
        "           {BOLD}{}{BOLD:#} {} {BOLD}{short}{BOLD:#}{tag}{secrets}",
        service.name,
        if service.status == ServiceStatus::Paused {
            "is paused with"
        } else {
            "runs"
        }
    ));
}

fn image_identifier(service: &ServiceSnapshot) -> &str {
    let source = &service.description["SourceConfiguration"];
    let identifier = &source["ImageRepository"]["ImageIdentifier"];
    identifier.as_str().unwrap_or_default()
}

/// The ARNs of the secrets that a service reads.
fn secrets(service: &ServiceSnapshot) -> Vec<String> {
    let source = &service.description["SourceConfiguration"]["ImageRepository"];
    let named = source["ImageConfiguration"]["RuntimeEnvironmentSecrets"].as_object();
    let named = named.into_iter().flatten();
    let mut arns: Vec<_> = named
        .filter_map(|(_, value)| value.as_str())
        .map(|value| value.split(':').take(7).collect::<Vec<_>>().join(":"))
        .collect();
    arns.sort();
    arns.dedup();
    arns
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundcrew::tag_rule::Pushed as Image;

    fn spec() -> Value {
        json!({"app": "shop", "environment": "staging", "service": {"secrets": {"PASSWORD": "database:password"}}})
    }

    fn refusal(occasion: Occasion, spec: Value, event: Option<Value>) -> String {
        Deployments::new(occasion, spec, event)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn what_cannot_be_played_is_refused_before_anything_starts_with_the_field() {
        let mut bad = spec();
        bad["databse"] = json!({});
        assert!(refusal(Occasion::Push, bad, None).contains("databse"));
        let mut plan = spec();
        plan["dry_run"] = json!(true);
        assert!(refusal(Occasion::Push, plan, None).contains("dry_run"));
        let mut immutable = spec();
        immutable["image"] = json!({"immutable_tags": true});
        assert!(
            refusal(Occasion::BadImage, immutable.clone(), None).contains("image.immutable_tags")
        );
        assert!(Deployments::new(Occasion::Rotation, immutable.clone(), None).is_ok());
        immutable["image"]["tag"] = json!("semver:1");
        assert!(Deployments::new(Occasion::All, immutable, None).is_ok());
        let mut without = spec();
        without["service"]["secrets"] = json!({});
        assert!(refusal(Occasion::Rotation, without.clone(), None).contains("service.secrets"));
        assert!(Deployments::new(Occasion::Push, without, None).is_ok());
        let other = json!({"source": "aws.s3", "detail-type": "Object Created"});
        assert!(refusal(Occasion::BadImage, spec(), Some(other)).contains("push"));
    }

    #[test]
    fn every_rule_prefers_a_later_tag() {
        for rule in [
            "latest",
            "prefix:release-",
            "semver:3",
            "semver:3.7",
            "semver:3+pre",
        ] {
            let rule = TagRule::parse(rule);
            let tags = [
                crate::tag_for(&rule),
                later_tag(&rule, 1),
                later_tag(&rule, 2),
            ];
            let images = tags.iter().enumerate().map(|(n, tag)| Image {
                digest: n.to_string(),
                // An exact tag is on one image only: the last one that it was pushed with.
                tags: if n == 2 || tag != &tags[2] {
                    vec![tag.clone()]
                } else {
                    Vec::new()
                },
                at: n as i64,
            });
            let chosen = rule.choose(&images.collect::<Vec<_>>());
            assert_eq!(
                chosen.map(|chosen| chosen.digest).as_deref(),
                Some("2"),
                "{rule:?}"
            );
        }
    }

    #[test]
    fn what_trigger_says_of_an_event_is_read_from_its_log() {
        let text = r#"{"level":"INFO","fields":{"message":"looked for the services of an event","cause":"push of shop:latest","services":2,"started":"shop-dev","replays":"shop-test blog"}}"#;
        let heard = Heard::parse(text).expect("the end of an event");
        assert_eq!(heard.replays, ["shop-test", "blog"]);
        assert!(Heard::parse("START RequestId: 0a").is_none());
        assert!(Heard::parse(r#"{"fields":{"message":"another"}}"#).is_none());
    }
}
