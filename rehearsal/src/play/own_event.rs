//! An event of AWS that a person brings along.

use crate::{ACCOUNT, Error, LocalAws, REGION, Result};
use groundcrew::Spec;
use serde_json::Value;
use trigger::{Cause, Event};

/// An event as AWS puts it on the default bus.
#[derive(Clone, Debug)]
pub(super) struct OwnEvent {
    event: Value,
    meaning: Event,
}

impl OwnEvent {
    /// Reads an event.
    ///
    /// # Errors
    /// [`Error::Input`] with the field that is missing or wrong.
    pub(super) fn parse(event: Value) -> Result<Self> {
        if !event.is_object() {
            return Err(Error::Input(
                "this is no event of AWS: one is a JSON object with source, detail-type and detail, as those in events/"
                    .into(),
            ));
        }
        let meaning = Event::parse(&event)
            .map_err(|error| Error::Input(format!("this is no event as AWS sends it:\n{error}")))?;
        Ok(Self { event, meaning })
    }

    /// The whole event.
    pub(super) fn json(&self) -> &Value {
        &self.event
    }

    /// What it may ask a deployment for, if it does.
    pub(super) fn cause(&self) -> Option<&Cause> {
        match &self.meaning {
            Event::LookAgain { cause, .. } => Some(cause),
            Event::NotForUs(_) => None,
        }
    }

    /// What happened, for a person.
    pub(super) fn sentence(&self) -> String {
        match &self.meaning {
            Event::LookAgain { cause, .. } => cause.to_string(),
            Event::NotForUs(reason) => reason.clone(),
        }
    }

    /// Where it is from, if that is not where a rehearsal plays.
    pub(super) fn elsewhere(&self) -> Option<String> {
        let field = |name: &str, here: &str| {
            let found = self.event[name].as_str()?;
            (found != here).then(|| format!("{name} {found}"))
        };
        let fields = [field("account", ACCOUNT), field("region", REGION)];
        let fields: Vec<_> = fields.into_iter().flatten().collect();
        (!fields.is_empty()).then(|| fields.join(" and "))
    }

    /// The tag that it was pushed under, if it is about an image in the repository of this stack.
    pub(super) fn pushed_to(&self, spec: &Spec) -> Option<&str> {
        match self.cause()? {
            Cause::ImagePushed {
                repository, tag, ..
            } => {
                let own = repository.account == ACCOUNT
                    && repository.region == REGION
                    && repository.name == spec.repository();
                own.then_some(tag.as_str())
            }
            _ => None,
        }
    }

    /// The same event about what is here under the same name: AWS ends the ARN of a secret and of a service with characters
    /// that nobody can choose. Says what it replaced.
    pub(super) async fn here(self, local: &LocalAws) -> Result<(Self, Option<String>)> {
        let (there, here) = match self.cause() {
            Some(Cause::SecretMoved { arn, .. }) => {
                let found = local.aws().secrets_manager().describe_secret();
                let found = found.secret_id(arn.name()).send().await.ok();
                (arn.as_str(), found.and_then(|found| found.arn))
            }
            Some(Cause::ServiceRunning { service_arn }) => {
                let services = local.apprunner().snapshot().services;
                let found = services
                    .into_iter()
                    .find(|service| service.name == service_arn.name());
                (service_arn.as_str(), found.map(|found| found.arn))
            }
            _ => return Ok((self, None)),
        };
        // Everything before the last characters is as the event says, the account and the region too.
        let alike = |here: &String| {
            let of = |arn: &str| arn[..arn.len() - last(arn)].to_owned();
            here != there && of(here) == of(there)
        };
        let Some(here) = here.filter(alike) else {
            return Ok((self, None));
        };
        let text = self.event.to_string().replace(there, &here);
        let event = serde_json::from_str(&text).map_err(Error::call("/_local/events"))?;
        let replaced = format!(
            "here its ARN ends with {} instead of {}",
            &here[here.len() - last(&here)..],
            &there[there.len() - last(there)..]
        );
        Ok((Self::parse(event)?, Some(replaced)))
    }
}

/// How many characters at the end of an ARN AWS has chosen.
fn last(arn: &str) -> usize {
    arn.rfind(['/', '-']).map_or(0, |at| arn.len() - at - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn example(name: &str) -> Value {
        let file = crate::root().join("events").join(name);
        let text = std::fs::read_to_string(file).expect("an event");
        serde_json::from_str(&text).expect("JSON")
    }

    fn spec(name: &str) -> Spec {
        Spec::parse(&json!({"app": name, "environment": "staging"})).expect("a spec")
    }

    #[test]
    fn an_event_that_aws_would_not_send_is_refused_with_the_field() {
        let mut pushed = example("ecr-push.json");
        pushed["detail"]["repository-name"] = json!(7);
        for (event, field) in [
            (json!([]), "source"),
            (json!("push"), "source"),
            (json!({"detail-type": "ECR Image Action"}), "source"),
            (json!({"source": "aws.ecr"}), "detail-type"),
            (pushed, "detail.repository-name"),
        ] {
            let message = OwnEvent::parse(event).expect_err("refused").to_string();
            assert!(message.contains(field), "{field} is not named in {message}");
        }
    }

    #[test]
    fn a_push_is_to_the_repository_of_the_stack_or_to_another_one() {
        let pushed_to = |event: &str, app: &str| {
            let event = OwnEvent::parse(example(event)).expect("an event");
            event.pushed_to(&spec(app)).map(str::to_owned)
        };
        assert_eq!(
            pushed_to("ecr-push.json", "shop").as_deref(),
            Some("latest")
        );
        assert_eq!(pushed_to("ecr-push.json", "blog"), None);
        assert_eq!(pushed_to("ecr-push-other-account.json", "shop"), None);
        assert_eq!(pushed_to("ecr-push-untagged.json", "shop"), None);
    }

    #[test]
    fn an_event_from_elsewhere_says_from_where() {
        let elsewhere = |event: &str| {
            let event = OwnEvent::parse(example(event)).expect("an event");
            event.elsewhere()
        };
        assert_eq!(elsewhere("ecr-push.json"), None);
        let account = elsewhere("ecr-push-other-account.json").expect("another account");
        assert!(account.starts_with("account "), "{account}");
    }
}
