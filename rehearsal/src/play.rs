//! The flows of a rehearsal, each played to its end and then checked against the promises.

mod calendar;
mod deployments;
mod nights;
mod own_event;
mod sweeps;

pub use deployments::{Deployments, Occasion};

use crate::console::{self, BOLD, DIM, GREEN, RED, YELLOW, clock, line};
use crate::outcome::{is_unwell, outcome};
use crate::promises::{self, Checked, Planned, Promise, Provisioned, Refused, Removed, Repeated};
use crate::record::{Record, Recorder, later};
use crate::{
    Call, End, Error, Execution, Happening, LocalAws, Options, Outputs, Result, What, World,
};
use groundcrew::tag_rule::TagRule;
use groundcrew::{Spec, Stack};
use jiff::Zoned;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// The error that a spec is refused with.
const INVALID: &str = "Invalid";

/// On the wall: for how long nothing may be shown.
const SILENCE: Duration = Duration::from_secs(2);

/// A local AWS with the template deployed on it.
#[derive(Debug)]
pub struct Stage {
    local: LocalAws,
    outputs: Outputs,
    recorder: Recorder,
}

impl Stage {
    /// Prepares, builds, starts and deploys, with these parameters of the template.
    ///
    /// # Errors
    /// Those of each of these.
    pub async fn set(options: Options, parameters: &[(&str, String)]) -> Result<Self> {
        let prepared = crate::prepare().await?;
        let functions = crate::build().await?;
        let local = LocalAws::start(&prepared, options).await?;
        let template = crate::root().join("template.yaml");
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let outputs = local.deploy(&template, functions, &parameters).await?;
        Ok(Self {
            local,
            outputs,
            recorder: Recorder::default(),
        })
    }

    /// The local AWS.
    pub fn local(&self) -> &LocalAws {
        &self.local
    }

    /// The outputs of the template.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// What was played so far, with `command`; and why it ended, if it did not come to its end. What the local AWS does not
    /// tell any more is left out.
    pub async fn record(&self, command: &str, error: Option<&Error>) -> Record {
        self.recorder
            .record(&self.local, &self.outputs, command, error)
            .await
    }

    /// Whether a text holds a password that this rehearsal has seen.
    pub fn is_disclosed_by(&self, text: &str) -> bool {
        self.recorder.is_disclosed_by(text)
    }

    /// The beginning of an act.
    fn heading(&self, title: &str) {
        console::heading(title);
        self.recorder.flow(title);
    }

    fn check<Scene>(&self, promises: &[Promise<Scene>], scene: &Scene) -> Vec<Checked> {
        let checked = promises::check(promises, scene);
        self.recorder.checked(&checked);
        checked
    }

    /// Of a `provision` that failed.
    fn check_failed(&self, end: &End) -> Vec<Checked> {
        let checked = vec![promises::provision_succeeds(end)];
        // An input that is refused is no broken promise.
        if end.error != INVALID {
            self.recorder.checked(&checked);
        }
        checked
    }

    /// From now on [`Self::calls`] are those that come.
    async fn forget_calls(&self) -> Result<()> {
        self.recorder.take(&self.local).await
    }

    /// Everything: a bad spec, a dry run, a stack from nothing, the same again, its days and nights, and its teardown.
    ///
    /// # Errors
    /// If the local AWS does not play along.
    pub async fn everything(
        &self,
        spec: &Value,
        deployments: &Deployments,
        removal: &Value,
    ) -> Result<Played> {
        let mut checked = self.refuse(spec).await?;
        checked.extend(self.plan(spec).await?.checked);
        let before = World::look(&self.local).await?;
        let Played {
            end,
            checked: provisioned,
        } = self.provision(spec).await?;
        if end.error == INVALID {
            self.recorder.checked(&provisioned);
        }
        checked.extend(provisioned);
        if end.succeeded {
            checked.extend(self.repeat(spec).await?);
            checked.extend(self.deploy(deployments).await?);
        }
        checked.extend(self.tear_down(removal, &before).await?.checked);
        Ok(Played { end, checked })
    }

    async fn refuse(&self, spec: &Value) -> Result<Vec<Checked>> {
        self.heading("A spec with mistakes");
        let mut spec = spec.clone();
        spec["databse"] = json!({});
        spec["service"] =
            json!({"cpu": 1024, "memory": 512, "port": 0, "variables": {"PORT": "80"}});
        let before = World::look(&self.local).await?;
        let end = self
            .run("ProvisionStateMachineArn", "rehearsal-refused", &spec)
            .await?;
        let differences = before.differences(&World::look(&self.local).await?);
        let fields = vec![
            "databse",
            "service.memory",
            "service.port",
            "service.variables",
        ];
        Ok(self.check(
            promises::REFUSED,
            &Refused {
                fields,
                end,
                differences,
            },
        ))
    }

    async fn plan(&self, spec: &Value) -> Result<Played> {
        self.heading("A dry run");
        let mut spec = spec.clone();
        spec["dry_run"] = json!(true);
        let before = World::look(&self.local).await?;
        self.forget_calls().await?;
        let end = self
            .run("ProvisionStateMachineArn", "rehearsal-plan", &spec)
            .await?;
        for (name, resource) in end.output["plan"].as_object().into_iter().flatten() {
            let changes = resource["changes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            line(format_args!(
                "           {BOLD}{name}{BOLD:#}: {}",
                changes.collect::<Vec<_>>().join(", ")
            ));
        }
        for warning in end.output["warnings"].as_array().into_iter().flatten() {
            line(format_args!(
                "           {}",
                warning.as_str().unwrap_or_default()
            ));
        }
        let calls = self.calls().await?;
        let differences = before.differences(&World::look(&self.local).await?);
        let seen = Planned {
            end,
            calls,
            differences,
        };
        Ok(Played {
            checked: self.check(promises::PLANNED, &seen),
            end: seen.end,
        })
    }

    /// Provisions a stack, with an image pushed when the execution waits for one; or plans it, if it is a dry run.
    ///
    /// # Errors
    /// If the local AWS does not play along.
    pub async fn provision(&self, input: &Value) -> Result<Played> {
        if input["dry_run"] == json!(true) {
            return self.plan(input).await;
        }
        self.heading("Provision");
        self.forget_calls().await?;
        let end = self
            .run("ProvisionStateMachineArn", "rehearsal-provision", input)
            .await?;
        let spec = Spec::parse(input).ok();
        if let Some(spec) = spec.as_ref().filter(|_| !end.succeeded) {
            // Of a stack that was not built there may be a password all the same, which the record must not show.
            drop(self.credentials(&spec.stack()).await);
        }
        let Some(spec) = spec.filter(|_| end.succeeded) else {
            return Ok(Played {
                checked: self.check_failed(&end),
                end,
            });
        };
        let calls = self.calls().await?;
        let credentials = self.credentials(&spec.stack()).await?;
        let seen = Provisioned::look(&self.local, spec, credentials, end, calls).await?;
        Ok(Played {
            checked: self.check(promises::PROVISIONED, &seen),
            end: seen.end,
        })
    }

    async fn repeat(&self, spec: &Value) -> Result<Vec<Checked>> {
        self.heading("Provision again, with the same spec");
        let before = World::look(&self.local).await?;
        self.forget_calls().await?;
        let end = self
            .run("ProvisionStateMachineArn", "rehearsal-again", spec)
            .await?;
        let calls = self.calls().await?;
        let differences = before.differences(&World::look(&self.local).await?);
        Ok(self.check(
            promises::REPEATED,
            &Repeated {
                end,
                calls,
                differences,
            },
        ))
    }

    /// Tears a stack down, twice. `before` is the account as it was without the stack.
    ///
    /// # Errors
    /// If the local AWS does not play along.
    pub async fn tear_down(&self, removal: &Value, before: &World) -> Result<Played> {
        self.heading("Teardown");
        let had_database = !World::look(&self.local).await?.databases.is_empty();
        let end = self
            .run("TeardownStateMachineArn", "rehearsal-teardown", removal)
            .await?;
        let differences = before.differences(&World::look(&self.local).await?);
        self.heading("Teardown of a stack that is gone");
        let again = self
            .run(
                "TeardownStateMachineArn",
                "rehearsal-teardown-again",
                removal,
            )
            .await?;
        let final_snapshot = had_database && removal["final_snapshot"] != json!(false);
        let seen = Removed {
            end,
            again,
            final_snapshot,
            differences,
        };
        Ok(Played {
            checked: self.check(promises::REMOVED, &seen),
            end: seen.end,
        })
    }

    /// Runs a state machine to its end and shows what happens.
    async fn run(&self, output: &str, name: &str, input: &Value) -> Result<End> {
        let execution = self
            .local
            .start_execution(self.outputs.get(output)?, name, input)
            .await?;
        let dial = Dial::SinceItBegan;
        let end = self
            .follow(execution, &dial, async |happening| {
                self.play_along(happening, input).await
            })
            .await?;
        ended(&end, &dial);
        for sentence in end.message.lines() {
            line(format_args!("           {sentence}"));
        }
        Ok(end)
    }

    /// Shows what happens in an execution, and plays along, until its end.
    async fn follow(
        &self,
        mut execution: Execution,
        dial: &Dial,
        play_along: impl AsyncFn(&Happening) -> Result<()>,
    ) -> Result<End> {
        let mut shown = Shown::by(dial.clone());
        let (began, mut spoke) = (Instant::now(), Instant::now());
        let (busy, scale) = (console::meanwhile("begins"), self.local.time_scale());
        busy.goes_by(shown.clock(0.0, scale));
        loop {
            let happenings = match tokio::time::timeout(SILENCE, execution.next()).await {
                Ok(next) => match next? {
                    Some(happenings) => happenings,
                    None => return execution.end().await,
                },
                Err(_) => Vec::new(),
            };
            let latest = happenings.last().map(|happening| happening.seconds);
            for happening in happenings {
                if shown.show(&happening) {
                    spoke = Instant::now();
                }
                play_along(&happening).await?;
                if matches!(happening.what, What::Exited(_)) {
                    self.recorder.look(&self.local).await?;
                }
            }
            if let Some(seconds) = latest {
                busy.goes_by(shown.clock(seconds, scale));
                busy.says(shown.under_way());
            }
            if spoke.elapsed() >= SILENCE && !busy.is_live() {
                shown.still(began.elapsed().as_secs_f64() * scale);
                spoke = Instant::now();
            }
        }
    }

    /// Does what a person would: pushes the first image once the execution says that it waits for it.
    async fn play_along(&self, happening: &Happening, input: &Value) -> Result<()> {
        let What::Failed { error, .. } = &happening.what else {
            return Ok(());
        };
        let Ok(spec) = Spec::parse(input) else {
            return Ok(());
        };
        if happening.state != "Image" || error != "NotReady" || self.has_an_image(&spec).await? {
            return Ok(());
        }
        let (repository, tag) = (
            spec.repository(),
            crate::tag_for(&TagRule::parse(&spec.image.tag)),
        );
        let digest = self.local.push_image(&repository, &tag, "amd64").await?;
        line(format_args!(
            "{:>9}  {DIM}the rehearsal pushes {repository}:{tag}, {digest}{DIM:#}",
            ""
        ));
        Ok(())
    }

    async fn has_an_image(&self, spec: &Spec) -> Result<bool> {
        let images = self
            .local
            .aws()
            .ecr()
            .list_images()
            .repository_name(spec.repository())
            .send()
            .await;
        Ok(!images
            .map_err(Error::call("ecr:ListImages"))?
            .image_ids()
            .is_empty())
    }

    /// The calls of the functions since the log was cleared.
    async fn calls(&self) -> Result<Vec<Call>> {
        self.local.calls_of_functions().await
    }

    /// The credentials of its database, which the record must not show.
    async fn credentials(&self, stack: &Stack) -> Result<Value> {
        let credentials = self.local.secret(&stack.secret_name()).await?;
        let password = credentials["password"].as_str().unwrap_or_default();
        self.recorder.secret(password);
        Ok(credentials)
    }
}

/// A flow that was played.
#[derive(Debug)]
pub struct Played {
    /// How its execution ended.
    pub end: End,
    /// Its promises.
    pub checked: Vec<Checked>,
}

/// What the times in front of the lines of an execution are.
#[derive(Clone, Debug, Default)]
enum Dial {
    /// How long it has run.
    #[default]
    SinceItBegan,
    /// What a clock on the wall shows where the people are, for one that began then.
    Local(Zoned),
}

impl Dial {
    /// So many AWS seconds after the beginning.
    fn at(&self, seconds: f64) -> String {
        match self {
            Self::SinceItBegan => clock(seconds),
            Self::Local(began) => calendar::short(&later(began, seconds)),
        }
    }
}

/// The last line of an execution.
fn ended(end: &End, dial: &Dial) {
    let (at, transitions) = (dial.at(end.seconds), end.transitions);
    let (style, word) = if end.succeeded {
        (GREEN, "succeeded")
    } else {
        (RED, end.error.as_str())
    };
    line(format_args!(
        "{at:>9}  {style}{BOLD}{word}{BOLD:#}{style:#}  {transitions} state transitions"
    ));
}

/// What a person has been shown of an execution.
#[derive(Debug, Default)]
struct Shown {
    dial: Dial,
    entered: HashMap<String, f64>,
    waits: HashMap<String, String>,
    failed: HashSet<String>,
    /// The task that was left last, and its outcome: one that is entered again at once goes round in a loop.
    left: Option<(String, String)>,
}

impl Shown {
    fn by(dial: Dial) -> Self {
        Self {
            dial,
            ..Self::default()
        }
    }

    /// Shows it, unless it was shown before. Says whether it did.
    fn show(&mut self, happening: &Happening) -> bool {
        if happening.kind == "Wait" {
            if happening.what == What::Entered {
                self.entered
                    .insert(happening.state.clone(), happening.seconds);
            } else {
                self.entered.remove(&happening.state);
            }
        }
        if happening.kind != "Task" {
            return false;
        }
        let (at, state) = (self.dial.at(happening.seconds), &happening.state);
        match &happening.what {
            What::Entered => {
                self.entered.insert(state.clone(), happening.seconds);
                if self.left.as_ref().is_some_and(|(left, _)| left == state) {
                    return false;
                }
                self.left = None;
                line(format_args!("{at:>9}  {DIM}{state} …{DIM:#}"));
            }
            // It was left through a catch.
            What::Exited(_) if self.failed.remove(state) => {
                self.entered.remove(state);
                return false;
            }
            What::Exited(output) => {
                let outcome = outcome(state, output).unwrap_or("done");
                let entered = self.entered.remove(state);
                let took = happening.seconds - entered.unwrap_or(happening.seconds);
                let left = (state.clone(), outcome.to_owned());
                if self.left.replace(left.clone()) == Some(left) {
                    return false;
                }
                let (style, mark) = match is_unwell(state, output) {
                    true => (RED, "✗"),
                    false => (GREEN, "✓"),
                };
                line(format_args!(
                    "{at:>9}  {style}{mark}{style:#} {BOLD}{state}{BOLD:#}  {outcome}, after {}",
                    clock(took)
                ));
            }
            // Each attempt of a wait says the same: once is enough.
            What::Failed { message, .. } if self.waits.get(state) == Some(message) => return false,
            What::Failed { error, message } if is_retried(error) => {
                line(format_args!(
                    "{at:>9}  {YELLOW}…{YELLOW:#} {state}: {message}"
                ));
                self.waits.insert(state.clone(), message.clone());
            }
            What::Failed { error, .. } => {
                self.failed.insert(state.clone());
                line(format_args!(
                    "{at:>9}  {RED}✗{RED:#} {BOLD}{state}{BOLD:#}  {error}"
                ));
            }
        }
        true
    }

    /// While nothing happens that was not shown already.
    fn still(&self, seconds: f64) {
        let at = self.dial.at(seconds);
        match self.entered.is_empty() {
            true => console::progress(format_args!("{at}, waiting")),
            false => console::progress(format_args!("{at}, still in {}", self.under_way())),
        }
    }

    /// The states that were entered and not left.
    fn under_way(&self) -> String {
        let mut states: Vec<_> = self.entered.keys().map(String::as_str).collect();
        states.sort_unstable();
        states.join(", ")
    }

    /// What a clock shows that says now that so many AWS seconds have passed.
    fn clock(&self, seconds: f64, scale: f64) -> impl Fn() -> String + Send + Sync + 'static {
        let (dial, since) = (self.dial.clone(), Instant::now());
        move || dial.at(seconds + since.elapsed().as_secs_f64() * scale)
    }
}

/// What the state machines retry; `shared/src/error.rs` says why.
fn is_retried(error: &str) -> bool {
    ["NotReady", "Busy", "Claimed", "Throttled", "Unavailable"].contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_execution_or_of_the_people_also_when_clocks_change() {
        assert_eq!(Dial::SinceItBegan.at(245.0), "4:05");
        let began = "2026-10-25T02:50:00+02:00[Europe/Berlin]";
        let dial = Dial::Local(began.parse().expect("a time"));
        assert_eq!(dial.at(0.0), "Sun 02:50");
        assert_eq!(dial.at(900.0), "Sun 02:05");
        assert_eq!(dial.at(86_400.0), "Mon 01:50");
    }
}
