//! Histories: what may happen to a service, in any order, and how one is played.

use super::aws::{SECRET, SERVICE, Shared};
use super::world::{By, HOUR, MINUTE, Quality, Rule, SECOND, Start, Trouble, World};
use crate::asl::{Ended, Failure, Machine, Played, State, Tasks, machines, play};
use apprunner_emulator::{OperationType, ServiceStatus};
use deploy::{Due, Step};
use groundcrew::{Aws, Managed, Memory};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// More rounds than it takes until everything is at rest.
const ENDLESS: usize = 6;

/// What has happened to a service: each event so many milliseconds after the one before.
#[derive(Clone, Debug)]
pub(super) struct History {
    rule: Rule,
    /// What calls and operations take.
    chance: u64,
    events: Vec<(i64, Event)>,
}

/// At which call of the execution that an event starts what happens.
type Troubled = Option<(u16, Trouble)>;

#[derive(Clone, Debug)]
enum Event {
    /// A new image: the next minor version, or the next patch of one that there is.
    Push(Option<Index>, Quality, Troubled),
    /// An image gets another tag under the rule.
    Retag(Index, Troubled),
    Rotate(Troubled),
    /// A person asks for an image.
    Wish(To, Troubled),
    Hold(bool, Troubled),
    /// A person has the service looked at.
    Look(Troubled),
    /// A person has the same image deployed once more.
    Again(Troubled),
    /// The last event comes once more.
    Twice,
    /// Somebody else gives the service an image.
    Set(Index),
    Sleep,
    Wake,
    Maintain(i64),
    /// Another tool removes the tags that it does not know.
    WipeTags,
}

#[derive(Clone, Debug)]
enum To {
    Previous,
    Newest,
    Image(Index),
}

fn troubled() -> impl Strategy<Value = Troubled> {
    use Trouble::{CutAfter, CutBefore, DiesAfter, DiesBefore};
    let trouble = select(vec![CutBefore, CutAfter, DiesBefore, DiesAfter]);
    prop_oneof![
        5 => Just(None),
        1 => (0..40_u16, trouble.clone()).prop_map(Some),
        1 => (0..140_u16, trouble).prop_map(Some),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    use Quality::{Alarming, Fails, Good, Unwell};
    let quality = || select(vec![Good, Good, Good, Fails, Unwell, Alarming]);
    let to = prop_oneof![
        Just(To::Previous),
        Just(To::Newest),
        any::<Index>().prop_map(To::Image),
    ];
    let hold = (any::<bool>(), troubled());
    prop_oneof![
        6 => (quality(), troubled()).prop_map(|(quality, it)| Event::Push(None, quality, it)),
        2 => (any::<Index>(), quality(), troubled())
            .prop_map(|(of, quality, it)| Event::Push(Some(of), quality, it)),
        // Without trouble: of a tag that was moved nothing but its event tells, and the execution remembers it.
        1 => any::<Index>().prop_map(|of| Event::Retag(of, None)),
        3 => troubled().prop_map(Event::Rotate),
        4 => (to, troubled()).prop_map(|(to, it)| Event::Wish(to, it)),
        2 => hold.prop_map(|(held, it)| Event::Hold(held, it)),
        1 => troubled().prop_map(Event::Look),
        1 => troubled().prop_map(Event::Again),
        1 => Just(Event::Twice),
        1 => any::<Index>().prop_map(Event::Set),
        1 => Just(Event::Sleep),
        1 => Just(Event::Wake),
        1 => (MINUTE..8 * MINUTE).prop_map(Event::Maintain),
        1 => Just(Event::WipeTags),
    ]
}

/// A moment, the middle of an operation, the middle of a bake, or long after that.
fn gap() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => 0..3 * SECOND,
        1 => 3 * SECOND..2 * MINUTE,
        2 => 2 * MINUTE..7 * MINUTE,
        2 => 7 * MINUTE..HOUR,
    ]
}

pub(super) fn history() -> impl Strategy<Value = History> {
    let rule = select(vec![Rule::SemVer, Rule::SemVer, Rule::Prefix, Rule::Exact]);
    let events = prop::collection::vec((gap(), event()), 1..9);
    (rule, any::<u64>(), events).prop_map(|(rule, chance, events)| History {
        rule,
        chance,
        events,
    })
}

impl History {
    /// One of everything that an image and a secret can come to, one after the other, and a way back.
    pub(super) fn plain() -> Self {
        let push = |quality| Event::Push(None, quality, None);
        let events = [
            push(Quality::Good),
            push(Quality::Unwell),
            push(Quality::Fails),
            Event::Rotate(None),
            push(Quality::Alarming),
            Event::Wish(To::Previous, None),
        ];
        Self {
            rule: Rule::SemVer,
            chance: 0,
            events: events.map(|event| (HOUR, event)).into(),
        }
    }
}

/// How a history was played.
pub(super) struct Account {
    pub(super) story: Vec<String>,
    pub(super) broken: Vec<String>,
    pub(super) executions: Vec<super::world::Execution>,
}

/// An execution, whose tasks are the steps of the function.
struct Execution {
    shared: Shared,
    aws: Aws,
}

impl Tasks for Execution {
    async fn call(&self, _: State<'_>, step: Value) -> Result<Value, Failure> {
        let ends_hold = step["action"] == "order" && step["request"]["hold"] == false;
        if ends_hold {
            self.shared.world().held = false;
        }
        let answer = async { Step::parse(step.clone())?.handle(&self.aws).await };
        let answer = Box::pin(answer).await;
        let answer = answer.map_err(|error| Failure::from(&error))?;
        let mut world = self.shared.world();
        if step["action"] == "order" && step["request"]["hold"] == true {
            // An older order counts no more, and its answer says so.
            let reason = answer["reason"].as_str().expect("a reason");
            world.held |= reason.starts_with("it is held");
        }
        if step["action"] == "settle" {
            world.settles(&step, &answer);
        }
        Ok(answer)
    }

    async fn publish(&self, _: State<'_>, message: &Value) -> Result<(), Failure> {
        let subject = message["Subject"].as_str().expect("a subject");
        self.shared.world().publishes(subject);
        self.shared.pass(50).await;
        Ok(())
    }

    async fn wait(&self, seconds: f64) {
        let milliseconds = (seconds * 1000.0) as i64;
        self.shared.pass(milliseconds.max(1)).await;
    }
}

/// An execution that is not over.
struct AtWork {
    number: usize,
    goes_on: i64,
    play: Pin<Box<dyn Future<Output = Played>>>,
}

/// Whether a future wants to be asked again at once.
#[derive(Default)]
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Stage {
    shared: Shared,
    aws: Aws,
    at_work: Vec<AtWork>,
}

/// Plays a history to its end.
pub(super) fn play_history(history: &History) -> Account {
    let shared = Shared::new(World::new(history.rule, history.chance));
    let aws = shared.aws();
    let mut stage = Stage {
        shared,
        aws,
        at_work: Vec::new(),
    };
    for (gap, event) in &history.events {
        let at = stage.world().now + gap;
        stage.play_until(Some(at));
        stage.happens(event);
    }
    stage.come_to_rest();
    let world = stage.world();
    Account {
        story: world.story.clone(),
        broken: world.broken.clone(),
        executions: world.executions.clone(),
    }
}

impl Stage {
    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.shared.world()
    }

    /// Lets everybody work, the one first that is to go on first; without a limit, until all are done.
    fn play_until(&mut self, limit: Option<i64>) {
        loop {
            let next = self.at_work.iter().map(|it| it.goes_on);
            let (end, start) = {
                let world = self.world();
                let start = world.starts.iter().map(|start| start.at).min();
                (world.next_end(), start)
            };
            let next = next.chain(end).chain(start).min();
            let Some(next) = next.filter(|next| limit.is_none_or(|limit| *next <= limit)) else {
                if let Some(limit) = limit {
                    self.world().now = limit;
                }
                return;
            };
            {
                let mut world = self.world();
                world.now = world.now.max(next);
                world.end_what_is_over();
            }
            self.start_what_is_due();
            let now = self.world().now;
            let due = self.at_work.iter().position(|it| it.goes_on <= now);
            if let Some(position) = due {
                self.go_on(position);
            }
        }
    }

    fn start_what_is_due(&mut self) {
        loop {
            let start = {
                let mut world = self.world();
                let now = world.now;
                let due = world.starts.iter().position(|start| start.at <= now);
                let Some(start) = due.map(|due| world.starts.remove(due)) else {
                    return;
                };
                if start.unless_left_alone && world.is_left_alone() {
                    continue;
                }
                start
            };
            self.start(&start);
        }
    }

    fn start(&mut self, start: &Start) {
        let (number, now, name) = {
            let mut world = self.world();
            let number = world.executions.len();
            let name = format!("e{}", number + 1);
            let mut input = start.input.clone();
            input["service"] = SERVICE.into();
            let mut said = input.clone();
            said.as_object_mut().expect("an input").remove("service");
            world.tell(format!("{name} begins: {said}"));
            world
                .executions
                .push(super::world::Execution::new(&name, input, start.trouble));
            (number, world.time(), name)
        };
        let execution = Execution {
            shared: self.shared.clone(),
            aws: self.aws.clone(),
        };
        let input = self.world().executions[number].input.clone();
        let play = async move { play(machine(), &execution, (&name, now), &input).await };
        self.at_work.push(AtWork {
            number,
            goes_on: now.as_millisecond(),
            play: Box::pin(play),
        });
    }

    /// One execution, until it waits for something.
    fn go_on(&mut self, position: usize) {
        let AtWork { number, .. } = self.at_work[position];
        self.world().at_work = number;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let played = self.at_work[position].play.as_mut().poll(&mut context);
        let mut world = self.shared.world();
        if world.executions[number].was_killed {
            drop(world);
            drop(self.at_work.remove(position));
            return;
        }
        match played {
            Poll::Pending => {
                // Some futures of the SDK want to be asked twice.
                let now = world.now;
                let wake = world.take_wake().or(woken.take().then_some(now));
                self.at_work[position].goes_on = wake.expect("it waits for something");
            }
            Poll::Ready(played) => {
                let (error, cause) = match &played.ended {
                    Ended::Failed(failure) => {
                        (failure["Error"].as_str(), failure["Cause"].to_string())
                    }
                    _ => (None, String::new()),
                };
                world.ends(number, error, &cause);
                world.executions[number].states = played.states;
                drop(world);
                drop(self.at_work.remove(position));
            }
        }
    }

    fn happens(&mut self, event: &Event) {
        let mut world = self.shared.world();
        let event_time = world.time().as_second();
        let event_time = jiff::Timestamp::from_second(event_time).expect("a time");
        let digests: Vec<_> = world.images.iter().map(|it| it.digest.clone()).collect();
        let chosen = |index: &Index| index.get(&digests).clone();
        let is_free = world.status == ServiceStatus::Running;
        let (input, trouble) = match event {
            Event::Push(_, _, trouble) | Event::Retag(_, trouble) => {
                let (digest, tag) = match event {
                    Event::Push(of, quality, _) => {
                        let tag = world.next_tag(of.as_ref().map(|of| of.index(digests.len())));
                        (world.push_image(&tag, *quality), tag)
                    }
                    Event::Retag(of, _) => {
                        let (digest, tag) = (chosen(of), world.next_tag(None));
                        world.tag_image(&digest, &tag);
                        (digest, tag)
                    }
                    _ => unreachable!("of these two"),
                };
                let quality = world.image(&digest).quality;
                let line = format!("{} is pushed as {tag}: {quality:?}", world.called(&digest));
                world.tell(line);
                let pushed = json!({"digest": digest, "tag": tag, "at": event_time});
                (json!({"cause": "a push", "pushed": pushed}), *trouble)
            }
            Event::Rotate(trouble) => {
                world.secret += 1;
                let version = format!("version-{}", world.secret);
                world.tell("the secret is rotated");
                let rotated = json!({"secret": SECRET, "version": version});
                (json!({"cause": "a rotation", "rotated": rotated}), *trouble)
            }
            Event::Wish(to, trouble) => {
                let to = match to {
                    To::Previous => "previous".to_owned(),
                    To::Newest => "newest".to_owned(),
                    To::Image(of) => chosen(of),
                };
                (json!({"to": to}), *trouble)
            }
            Event::Hold(held, trouble) => (json!({"hold": held}), *trouble),
            Event::Look(trouble) => (json!({}), *trouble),
            Event::Again(trouble) => (json!({"again": true}), *trouble),
            Event::Twice => {
                let events = world.executions.iter().rev();
                let mut events = events.filter(|it| it.input["cause"].is_string());
                let Some(last) = events.next().map(|it| it.input.clone()) else {
                    return;
                };
                (last, None)
            }
            Event::Set(of) if is_free => {
                let digest = chosen(of);
                // A person who deploys by other means sees whether App Runner can.
                if world.image(&digest).quality != Quality::Fails {
                    world.operate(By::Somebody, OperationType::UpdateService, Some(digest));
                }
                return;
            }
            Event::Sleep if is_free => {
                world.operate(By::Somebody, OperationType::PauseService, None);
                return;
            }
            Event::Wake if world.status == ServiceStatus::Paused => {
                world.operate(By::Somebody, OperationType::ResumeService, None);
                return;
            }
            Event::Maintain(milliseconds) if is_free => {
                world.tell("App Runner begins with maintenance");
                world.maintain(*milliseconds);
                return;
            }
            Event::WipeTags => {
                world.tell("another tool removes the tags that it does not know");
                let own = ["managed", "app", "environment"].map(|key| format!("groundcrew:{key}"));
                world.tags.retain(|key, _| own.contains(key));
                return;
            }
            Event::Set(_) | Event::Sleep | Event::Wake | Event::Maintain(_) => return,
        };
        let start = Start {
            at: world.now + world.latency(),
            input,
            trouble,
            unless_left_alone: false,
        };
        world.starts.push(start);
    }

    /// The service wakes and is let go, and is looked at until there is nothing left to do, as every day.
    fn come_to_rest(&mut self) {
        self.play_until(None);
        if self.world().status == ServiceStatus::Paused {
            self.happens(&Event::Wake);
            self.play_until(None);
        }
        self.happens(&Event::Hold(false, None));
        self.play_until(None);
        let mut due = self.due();
        for _ in 0..ENDLESS {
            let Some(why) = &due else { break };
            let mut world = self.world();
            world.now += HOUR;
            let start = Start {
                at: world.now,
                input: json!({"cause": why}),
                trouble: None,
                unless_left_alone: false,
            };
            world.starts.push(start);
            drop(world);
            self.play_until(None);
            due = self.due();
        }
        self.world().is_at_rest(due);
    }

    /// What the daily look finds.
    fn due(&self) -> Option<String> {
        self.world().at_work = usize::MAX;
        let look = async {
            let managed = Managed::look(&self.aws, SERVICE).await?;
            let managed = managed.expect("it is there");
            let memory = Memory::of(&self.aws, managed.arn(), &managed.tags).await?;
            deploy::due(&self.aws, &managed, &memory).await
        };
        let mut look = Box::pin(look);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(due) = look.as_mut().poll(&mut context) {
                return match due.expect("it is found out") {
                    Some(Due::Deployment(why)) => Some(why),
                    Some(Due::EndOfAutoDeployments) => Some("the end of auto deployments".into()),
                    None => None,
                };
            }
        }
    }
}

fn machine() -> &'static Machine {
    static MACHINE: std::sync::LazyLock<Machine> = std::sync::LazyLock::new(machines::deploy);
    &MACHINE
}
