//! What a rehearsal keeps while it plays, so that a record can be made of it at any time: AWS tells most of it, but not for
//! how long.

use super::{
    Call, Cost, Event, Execution, Flow, Moment, Notification, Promise, Record, Resource, VERSION,
    executions,
};
use crate::promises::Checked;
use crate::{Error, LocalAws, Outputs, Result, local_aws};
use groundcrew::stack::{TAG_CREATED_BY, TAG_MANAGED};
use jiff::{Timestamp, Zoned};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by everything that plays; it keeps times on the wall, in seconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    flows: Vec<Begun>,
    calls: Vec<local_aws::Call>,
    promises: Vec<Promise>,
    resources: BTreeMap<String, Resource>,
    secrets: Vec<String>,
}

#[derive(Debug)]
struct Begun {
    at: f64,
    title: String,
    moments: Vec<(f64, Zoned)>,
}

impl Recorder {
    /// Something else is played from now on.
    pub(crate) fn flow(&self, title: &str) {
        self.notes().flows.push(Begun {
            at: now(),
            title: title.to_owned(),
            moments: Vec::new(),
        });
    }

    /// From now on it is that time where the people are.
    pub(crate) fn it_is(&self, local: &Zoned) {
        if let Some(flow) = self.notes().flows.last_mut() {
            // A heading says it, and then what happens then.
            if flow.moments.last().is_none_or(|(_, last)| last != local) {
                flow.moments.push((now(), local.clone()));
            }
        }
    }

    /// These were checked.
    pub(crate) fn checked(&self, checked: &[Checked]) {
        let mut notes = self.notes();
        let flow = notes.current();
        notes.promises.extend(checked.iter().map(|it| Promise {
            id: it.id.to_owned(),
            sentence: it.sentence.to_owned(),
            kept: it.verdict.is_ok(),
            evidence: it.verdict.clone().unwrap_or_else(|broken| broken),
            flow,
        }));
    }

    /// What must not be in any record.
    pub(crate) fn secret(&self, value: &str) {
        let mut notes = self.notes();
        if !value.is_empty() && !notes.secrets.iter().any(|known| known == value) {
            notes.secrets.push(value.to_owned());
        }
    }

    /// Whether a text holds what must not be in any record.
    pub(crate) fn is_disclosed_by(&self, text: &str) -> bool {
        let notes = self.notes();
        notes.secrets.iter().any(|secret| text.contains(secret))
    }

    /// Has the local AWS forget the calls so far, and keeps them.
    pub(crate) async fn take(&self, local: &LocalAws) -> Result<()> {
        let calls = local.take_calls().await?;
        self.notes().made(calls);
        Ok(())
    }

    /// Looks at what there is: it may be gone soon.
    pub(crate) async fn look(&self, local: &LocalAws) -> Result<()> {
        let tagged = local.tagged(TAG_MANAGED).await?;
        self.notes().seen(tagged);
        Ok(())
    }

    /// The record so far. What the local AWS does not tell any more is left out.
    pub(crate) async fn record(
        &self,
        local: &LocalAws,
        outputs: &Outputs,
        command: &str,
        error: Option<&Error>,
    ) -> Record {
        let ended = now();
        let mut told = Vec::new();
        for (machine, arn) in outputs.state_machines() {
            let of = executions::of(local, &machine, arn).await;
            told.extend(of.unwrap_or_default());
        }
        told.sort_by(|one, other| one.began.total_cmp(&other.began));
        let events = local.events().await.unwrap_or_default();
        let notifications = local.notifications().await.unwrap_or_default();
        let mut invocations = BTreeMap::new();
        for invocation in local.invocations().await.unwrap_or_default() {
            *invocations
                .entry(function(&invocation.function))
                .or_default() += 1;
        }
        let calls = local.calls().await.unwrap_or_default();
        let tagged = local.tagged(TAG_MANAGED).await;
        let mut notes = self.notes();
        notes.made(calls);
        // Of a local AWS that does not answer nothing is known, which is not that everything is gone.
        if let Ok(tagged) = tagged {
            notes.seen(tagged);
        }
        let mut timeline = Timeline::of(&notes.flows, ended, local.time_scale());
        let mut sleeps = Vec::new();
        for executions::Told {
            began,
            mut execution,
            sleeps: found,
        } in told
        {
            timeline.put(began, |flow, at| {
                execution.shift(at);
                flow.executions.push(execution);
            });
            sleeps.extend(found);
        }
        for call in &notes.calls {
            timeline.put(call.at, |flow, at| flow.calls.push(Call::of(call, at)));
        }
        for event in &events {
            timeline.put(event.at, |flow, at| flow.events.push(Event::of(event, at)));
        }
        for told in notifications {
            timeline.put(told.at, |flow, at| {
                flow.notifications.push(Notification {
                    at,
                    topic: told.topic,
                    subject: told.subject.unwrap_or_default(),
                    message: told.message,
                });
            });
        }
        timeline.flows.iter_mut().for_each(Flow::cut);
        let mut resources: Vec<_> = notes.resources.values().cloned().collect();
        for resource in &mut resources {
            resource.flow = timeline.flow_of(&resource.created_by);
        }
        let began = notes.flows.first().map_or(ended, |first| first.at);
        Record {
            version: VERSION,
            command: command.to_owned(),
            began: Timestamp::from_millisecond((began * 1000.0) as i64).unwrap_or_default(),
            wall_seconds: ended - began,
            time_scale: local.time_scale(),
            error: error.map(Error::to_string),
            cost: Cost::of(&timeline.flows, invocations, sleeps),
            flows: timeline.flows,
            promises: notes.promises.clone(),
            resources,
            figures: figures::Figures::all(crate::root()),
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// The flow that is played.
    fn current(&self) -> usize {
        self.flows.len().saturating_sub(1)
    }

    fn made(&mut self, calls: Vec<local_aws::Call>) {
        let calls = calls.into_iter().filter(|call| call.principal != "root");
        self.calls.extend(calls);
    }

    fn seen(&mut self, tagged: Vec<local_aws::Tagged>) {
        for resource in self.resources.values_mut() {
            resource.exists = false;
        }
        for local_aws::Tagged { arn, tags } in tagged {
            let (kind, name) = named(&arn);
            let created_by = tags.get(TAG_CREATED_BY).cloned().unwrap_or_default();
            let new = || Resource {
                kind,
                name,
                arn: arn.clone(),
                tags: BTreeMap::new(),
                created_by,
                flow: None,
                exists: true,
            };
            let resource = self.resources.entry(arn.clone()).or_insert_with(new);
            resource.exists = true;
            resource.tags = tags;
        }
    }
}

/// Flows, into which everything is sorted by its time on the wall.
struct Timeline {
    begins: Vec<f64>,
    time_scale: f64,
    flows: Vec<Flow>,
}

impl Timeline {
    fn of(begun: &[Begun], ended: f64, time_scale: f64) -> Self {
        let ends = begun.iter().skip(1).map(|next| next.at).chain([ended]);
        let flow = |(begun, end): (&Begun, f64)| Flow {
            title: begun.title.clone(),
            seconds: (end - begun.at) * time_scale,
            moments: begun
                .moments
                .iter()
                .map(|(at, local)| Moment {
                    at: (at - begun.at) * time_scale,
                    local: local.clone(),
                })
                .collect(),
            executions: Vec::new(),
            calls: Vec::new(),
            events: Vec::new(),
            notifications: Vec::new(),
        };
        Self {
            begins: begun.iter().map(|begun| begun.at).collect(),
            time_scale,
            flows: begun.iter().zip(ends).map(flow).collect(),
        }
    }

    /// The flow with the execution that a tag names, by its name and, behind it, when it began.
    fn flow_of(&self, created_by: &str) -> Option<usize> {
        let name = created_by.split(' ').next();
        self.flows.iter().position(|flow| {
            let mut names = flow.executions.iter().map(|it| it.name.as_str());
            names.any(|known| Some(known) == name)
        })
    }

    /// Puts something into the flow that was played then. What was before the first is left out.
    fn put(&mut self, wall: f64, put: impl FnOnce(&mut Flow, f64)) {
        let Some(index) = self.begins.iter().rposition(|begin| *begin <= wall) else {
            return;
        };
        let at = (wall - self.begins[index]) * self.time_scale;
        put(&mut self.flows[index], at);
    }
}

impl Flow {
    /// Leaves out the time before anything happens, where no clock shows it, and after everything has.
    fn cut(&mut self) {
        let first = match self.moments.is_empty() {
            true => self.times().fold(f64::MAX, f64::min),
            false => 0.0,
        };
        let last = self.times().fold(0.0, f64::max);
        for execution in &mut self.executions {
            execution.shift(-first);
        }
        let calls = self.calls.iter_mut().map(|call| &mut call.at);
        let events = self.events.iter_mut().map(|event| &mut event.at);
        let told = self.notifications.iter_mut().map(|told| &mut told.at);
        calls.chain(events).chain(told).for_each(|at| *at -= first);
        self.seconds = (last - first).max(0.0);
    }

    /// When anything begins or ends.
    fn times(&self) -> impl Iterator<Item = f64> {
        let executions = self.executions.iter();
        executions
            .flat_map(|execution| [execution.at, execution.at + execution.seconds])
            .chain(self.calls.iter().map(|call| call.at))
            .chain(self.events.iter().map(|event| event.at))
            .chain(self.notifications.iter().map(|told| told.at))
    }
}

impl Execution {
    /// Makes it begin so much later.
    fn shift(&mut self, by: f64) {
        self.at += by;
        for state in &mut self.states {
            state.at += by;
            for failure in &mut state.failures {
                failure.at += by;
            }
        }
    }
}

impl Call {
    fn of(call: &local_aws::Call, at: f64) -> Self {
        Self {
            at,
            principal: call.principal.clone(),
            action: call.action.clone(),
            error: match (&call.error, call.status) {
                (Some(code), _) => Some(code.clone()),
                (None, status @ 400..) => Some(status.to_string()),
                (None, _) => None,
            },
        }
    }
}

impl Event {
    fn of(event: &local_aws::Event, at: f64) -> Self {
        Self {
            at,
            source: event.source.clone(),
            detail_type: event.detail_type.clone(),
            about: about(&event.detail),
        }
    }
}

/// What the details of AWS's events call what has happened, and to what. Some say it in a sentence.
fn about(detail: &Value) -> String {
    const WORDS: [&str; 14] = [
        "eventName",
        "action-type",
        "result",
        "repository-name",
        "image-tag",
        "image-digest",
        "EventID",
        "SourceIdentifier",
        "Message",
        "name",
        "status",
        "labelUpdated",
        "versionId",
        "alarmName",
    ];
    if let Some(sentence) = detail["message"].as_str() {
        return sentence.to_owned();
    }
    let words = WORDS.iter().filter_map(|word| detail[word].as_str());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(", ")
}

/// The kind and the name of what has an ARN: `arn:aws:ec2:us-east-1:123456789012:subnet/subnet-0a` is the `ec2 subnet` of
/// the name `subnet-0a`.
fn named(arn: &str) -> (String, String) {
    let mut parts = arn.splitn(6, ':').skip(2);
    let service = parts.next().unwrap_or_default();
    let resource = parts.nth(2).unwrap_or_default();
    let (kind, name) = match resource.split_once(['/', ':']) {
        Some((kind, name)) => (format!("{service} {kind}"), name),
        None => (service.to_owned(), resource),
    };
    // App Runner ends the ARN with an id that nobody has chosen, and a role is at a path.
    let name = match service {
        "apprunner" => name.split('/').next().unwrap_or(name),
        "iam" => name.rsplit('/').next().unwrap_or(name),
        _ => name,
    };
    (kind, name.to_owned())
}

/// CloudFormation puts its stack's name before the name of a function, and characters of its own behind it.
fn function(name: &str) -> String {
    let name = name.split("Function-").next().unwrap_or(name);
    let name = name.rsplit('-').next().unwrap_or(name);
    name.trim_end_matches("Function").to_lowercase()
}

fn now() -> f64 {
    Timestamp::now().as_duration().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tagged(arn: &str, by: &str) -> local_aws::Tagged {
        local_aws::Tagged {
            arn: arn.into(),
            tags: [(TAG_CREATED_BY.to_owned(), by.to_owned())].into(),
        }
    }

    #[test]
    fn what_happens_is_put_into_the_flow_that_was_played_then_in_aws_seconds() {
        let begun = |at: f64| Begun {
            at,
            title: String::new(),
            moments: Vec::new(),
        };
        let mut timeline = Timeline::of(&[begun(100.0), begun(103.0)], 104.0, 200.0);
        let mut seen = Vec::new();
        for wall in [99.0, 100.0, 102.5, 103.5] {
            timeline.put(wall, |flow, at| seen.push((flow.seconds, at)));
        }
        assert_eq!(seen, [(600.0, 0.0), (600.0, 500.0), (200.0, 100.0)]);
    }

    #[test]
    fn a_flow_lasts_from_the_first_thing_to_the_last_or_from_when_a_clock_shows_its_time() {
        let event = |at: f64| Event {
            at,
            source: "aws.ecr".into(),
            detail_type: "ECR Image Action".into(),
            about: "PUSH".into(),
        };
        let begun = Begun {
            at: 100.0,
            title: String::new(),
            moments: Vec::new(),
        };
        let mut flow = Timeline::of(&[begun], 110.0, 200.0).flows.remove(0);
        flow.events = vec![event(300.0), event(700.0)];
        let mut timed = flow.clone();
        timed.moments.push(Moment {
            at: 0.0,
            local: "2026-11-23T20:00:00+01:00[Europe/Berlin]"
                .parse()
                .expect("a time"),
        });
        let seen = |mut flow: Flow| {
            flow.cut();
            (flow.seconds, flow.events[0].at)
        };
        assert_eq!(seen(flow), (400.0, 0.0));
        assert_eq!(seen(timed), (700.0, 300.0));
    }

    #[test]
    fn a_resource_is_remembered_when_it_is_gone_with_who_has_created_it() {
        let mut notes = Notes::default();
        let database = "arn:aws:rds:us-east-1:123456789012:db:shop-staging";
        notes.seen(vec![tagged(database, "first")]);
        notes.seen(Vec::new());
        let resource = &notes.resources[database];
        assert_eq!(
            (resource.created_by.as_str(), resource.exists),
            ("first", false)
        );
        assert_eq!(resource.tags.len(), 1);
    }

    #[test]
    fn an_arn_says_what_a_resource_is_and_what_it_is_called() {
        for (arn, kind, name) in [
            (
                "arn:aws:ec2:us-east-1:1:subnet/subnet-0a",
                "ec2 subnet",
                "subnet-0a",
            ),
            ("arn:aws:rds:us-east-1:1:db:shop-dev", "rds db", "shop-dev"),
            ("arn:aws:sns:us-east-1:1:shop-dev", "sns", "shop-dev"),
            (
                "arn:aws:apprunner:us-east-1:1:service/shop-dev/0a1b",
                "apprunner service",
                "shop-dev",
            ),
            (
                "arn:aws:iam::1:role/groundcrew/shop-dev-access",
                "iam role",
                "shop-dev-access",
            ),
        ] {
            assert_eq!(named(arn), (kind.to_owned(), name.to_owned()));
        }
    }

    #[test]
    fn a_function_is_called_as_its_folder_is() {
        assert_eq!(function("groundcrew-TriggerFunction-0A1B"), "trigger");
    }

    #[test]
    fn an_event_says_in_a_line_what_has_happened() {
        let detail =
            json!({"result": "SUCCESS", "image-tag": "latest", "other": 7, "action-type": "PUSH"});
        assert_eq!(about(&detail), "PUSH, SUCCESS, latest");
        let detail = json!({"message": "Service status is set to RUNNING.", "serviceName": "shop"});
        assert_eq!(about(&detail), "Service status is set to RUNNING.");
    }
}
