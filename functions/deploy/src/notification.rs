//! What a person reads on a phone: what happened, to which service, with which image, why, and what to do.

use crate::deployment::{Deployment, called};
use crate::end::{End, is_about_secrets};
use crate::follow::Verdict;
use crate::request::{PushedTag, Request};
use groundcrew::claim::Kind;
use groundcrew::command::start_execution;
use groundcrew::image::short;
use groundcrew::memory::{Rejection, Wish};
use groundcrew::tag_rule::Candidate;
use groundcrew::{Aws, Notification, log_group};
use jiff::Timestamp;

/// An image that must not be deployed.
pub(crate) fn refused(
    aws: &Aws,
    service: &str,
    candidate: &Candidate,
    request: &Request,
    objection: &str,
) -> Notification {
    let image = called(Some(&candidate.tag), Some(&candidate.digest));
    Notification::new(
        &format!(
            "{service}: {} refused",
            name(Some(&candidate.tag), Some(&candidate.digest))
        ),
        &[
            format!("{service} was not given {image}: {objection}."),
            "It goes on with what it runs. The image is not tried again; push a newer one.".into(),
            why(request.why()),
            by_hand(
                aws,
                service,
                &candidate.digest,
                "To deploy it all the same, once the cause is mended",
            ),
        ],
    )
}

/// A push that leads to nothing, where its author would expect it to be deployed.
pub(crate) fn passed_over(aws: &Aws, service: &str, pushed: &PushedTag, why: &str) -> Notification {
    let image = called(Some(&pushed.tag), Some(&pushed.digest));
    let tag = name(Some(&pushed.tag), Some(&pushed.digest));
    Notification::new(
        &format!("{service}: {tag} not deployed"),
        &[
            format!("{service} was not given {image}: {why}."),
            "It goes on with what it runs.".into(),
            by_hand(aws, service, &pushed.digest, "To deploy it all the same"),
        ],
    )
}

/// A watch that a wish has ended, which then came to nothing.
pub(crate) fn no_longer_watched(
    service: &str,
    watched: &Rejection,
    wish: &Wish,
    runs: Option<&str>,
    reason: &str,
) -> Notification {
    let (tag, digest) = (watched.tag.as_deref(), Some(watched.digest.as_str()));
    let asked_for = called(wish.tag.as_deref(), Some(&wish.digest));
    let runs = runs.map_or(String::new(), |runs| format!(" It runs {}.", short(runs)));
    Notification::new(
        &format!("{service}: {} no longer watched", name(tag, digest)),
        &[
            format!(
                "{service} was being watched with {}. Somebody asked for {asked_for}, which ended the watch.",
                called(tag, digest)
            ),
            format!("Nothing was deployed for that: {reason}.{runs}"),
        ],
    )
}

/// A rotation that waits because the service is held.
pub(crate) fn waiting(aws: &Aws, service: &str, request: &Request) -> Notification {
    Notification::new(
        &format!("{service}: held, a secret waits"),
        &[
            format!(
                "A secret of {service} has a new version, and the service is held: it goes on with the old one, which may stop working."
            ),
            why(request.why()),
            start(
                aws,
                "To deliver the current secrets while it stays held",
                &format!("{{\"service\": \"{service}\", \"again\": true}}"),
            ),
        ],
    )
}

/// The end of a deployment. `said` is what App Runner says of its failure, `note` what is to be told of its health.
pub(crate) fn ended(
    aws: &Aws,
    deployment: &Deployment,
    operation: &Verdict,
    end: &End,
    said: Option<&str>,
    note: Option<&str>,
) -> Notification {
    let ended = Ended {
        aws,
        deployment,
        operation,
        said,
        note,
    };
    match end {
        End::Deployed if deployment.kind == Kind::Secrets => ended.secrets_deployed(),
        End::Deployed => ended.deployed(),
        End::Replaced(runs) => ended.replaced(runs.as_deref()),
        End::Failed => ended.failed(),
        End::RolledBack => ended.rolled_back(),
        End::RollbackFailed => ended.rollback_failed(),
        End::Left(unwell) => ended.left(unwell),
    }
}

/// A deployment that is over.
struct Ended<'a> {
    aws: &'a Aws,
    deployment: &'a Deployment,
    operation: &'a Verdict,
    /// What App Runner says of its failure.
    said: Option<&'a str>,
    /// What is to be told of its health.
    note: Option<&'a str>,
}

/// One message for each end.
impl Ended<'_> {
    fn deployed(&self) -> Notification {
        let (service, image, at) = (self.service(), self.image(), self.at());
        let secrets = match (self.deployment.new_secrets, self.deployment.kind) {
            (true, Kind::Image) => "It got the current secrets along with it.".to_owned(),
            _ => String::new(),
        };
        Notification::new(
            &format!("{service}: {} deployed", self.tag()),
            &[
                format!("{service} runs {image} since {at}."),
                secrets,
                watched(self.deployment),
                self.notes(),
                self.cause(),
                self.way_back(),
            ],
        )
    }

    fn secrets_deployed(&self) -> Notification {
        let (service, image, at) = (self.service(), self.image(), self.at());
        Notification::new(
            &format!("{service}: current secrets deployed"),
            &[
                format!(
                    "{service} runs with the current version of its secrets since {at}. Its image is the same, {image}."
                ),
                self.notes(),
                self.cause(),
            ],
        )
    }

    /// Somebody else has set the image that it `runs`.
    fn replaced(&self, runs: Option<&str>) -> Notification {
        let (service, image) = (self.service(), self.image());
        Notification::new(
            &format!("{service}: {} replaced", self.tag()),
            &[
                format!(
                    "{service} was given {image}, and runs {} since: somebody else has set that. It is looked at once more, and what is newer by its tag rule is deployed.",
                    runs.map_or("an image without a digest", short)
                ),
                self.cause(),
                self.way_back(),
            ],
        )
    }

    fn failed(&self) -> Notification {
        let (service, at, status) = (self.service(), self.at(), &self.operation.status);
        let (what, next) = match is_about_secrets(self.deployment, self.operation) {
            true => (
                "the current version of its secrets".to_owned(),
                "It waits for the next version of a secret; until then it runs with the old ones, which may stop working.",
            ),
            false => (
                self.image(),
                "The image is not tried again; push a newer one.",
            ),
        };
        let state = if status == "ROLLBACK_SUCCEEDED" {
            "App Runner has gone back to what ran before."
        } else {
            "See whether the service still answers."
        };
        Notification::new(
            &format!("{service}: deployment failed"),
            &[
                format!(
                    "App Runner could not deploy {what} to {service} ({status}, {at}). {state}"
                ),
                self.said(),
                next.into(),
                self.logs(),
                self.cause(),
            ],
        )
    }

    fn rolled_back(&self) -> Notification {
        let (service, at) = (self.service(), self.at());
        let (bad_image, unwell) = self.unwell();
        Notification::new(
            &format!("{service}: rolled back"),
            &[
                format!("{service} was not well with {bad_image}: {unwell}."),
                format!(
                    "It runs {} again since {at}, with the current secrets. The bad image is not tried again; push a newer one.",
                    short(self.deployment.digest.as_deref().unwrap_or_default())
                ),
                self.logs(),
                self.cause(),
            ],
        )
    }

    fn rollback_failed(&self) -> Notification {
        let (service, at) = (self.service(), self.at());
        let (bad_image, unwell) = self.unwell();
        Notification::new(
            &format!("{service}: roll back failed, needs you now"),
            &[
                format!("{service} is not well with {bad_image}: {unwell}."),
                format!(
                    "App Runner could not go back to {} ({}, {at}). Nothing more is tried.",
                    short(self.deployment.digest.as_deref().unwrap_or_default()),
                    self.operation.status
                ),
                self.said(),
                self.logs(),
                self.cause(),
            ],
        )
    }

    /// It runs and is `unwell`.
    fn left(&self, unwell: &str) -> Notification {
        let (service, image, at) = (self.service(), self.image(), self.at());
        Notification::new(
            &format!("{service}: not well after a deployment"),
            &[
                format!(
                    "{service} runs {image} since {at} and is not well: {unwell}. It was left as it is."
                ),
                self.logs(),
                self.cause(),
                self.way_back(),
            ],
        )
    }
}

/// What the messages are made of.
impl Ended<'_> {
    fn service(&self) -> &str {
        &self.deployment.service
    }

    fn image(&self) -> String {
        let deployment = self.deployment;
        called(deployment.tag.as_deref(), deployment.digest.as_deref())
    }

    fn tag(&self) -> String {
        let deployment = self.deployment;
        name(deployment.tag.as_deref(), deployment.digest.as_deref())
    }

    fn at(&self) -> String {
        clock(self.operation.ended_at)
    }

    fn cause(&self) -> String {
        why(&self.deployment.cause)
    }

    fn said(&self) -> String {
        let said = self.said.map(|said| format!("App Runner says: {said}"));
        said.unwrap_or_default()
    }

    fn notes(&self) -> String {
        let note = self.note.map(|note| format!("{note}."));
        let mut notes: Vec<_> = note.into_iter().collect();
        notes.extend(self.deployment.notes.clone());
        notes.join(" ")
    }

    /// The image that was taken back, and what was wrong with it.
    fn unwell(&self) -> (String, &str) {
        let Some(bad) = &self.deployment.instead_of else {
            return Default::default();
        };
        (called(bad.tag.as_deref(), bad.digest.as_deref()), &bad.why)
    }

    /// The command that goes back to the image before, if there was one.
    fn way_back(&self) -> String {
        let Some(previous) = self.deployment.previous.as_deref() else {
            return String::new();
        };
        let what_for = format!("To go back to {}", short(previous));
        by_hand(self.aws, self.service(), previous, &what_for)
    }

    fn logs(&self) -> String {
        let (service, arn) = (self.service(), &self.deployment.service_arn);
        let id = arn.rsplit('/').next().unwrap_or_default();
        format!(
            "Look at the log groups {} and {}.",
            log_group::events(service, id),
            log_group::output(service, id)
        )
    }
}

/// The tag, as a short name for an image; its digest if it has none.
fn name(tag: Option<&str>, digest: Option<&str>) -> String {
    let tag = tag.filter(|tag| !tag.is_empty() && tag.len() <= 30);
    tag.or(digest.map(short)).unwrap_or("image").to_owned()
}

fn why(cause: &str) -> String {
    format!("Cause: {cause}.")
}

fn watched(deployment: &Deployment) -> String {
    match deployment.bake_minutes {
        0 => "Its alarms were not watched.".into(),
        minutes => format!("It was watched for {minutes} min: no alarm."),
    }
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The command that deploys a digest by hand.
pub(crate) fn by_hand(aws: &Aws, service: &str, digest: &str, what_for: &str) -> String {
    let input = format!("{{\"service\": \"{service}\", \"to\": \"{digest}\"}}");
    start(aws, what_for, &input)
}

/// The command that starts `deploy` with an input.
fn start(aws: &Aws, what_for: &str, input: &str) -> String {
    let command = start_execution(&aws.account.deploy_state_machine, input);
    format!("{what_for}:\n{command}")
}
