//! What an execution of `deploy` is started with, by `trigger` or by a person.

use groundcrew::{Mistake, Result, input};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The input of the state machine `deploy`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[schemars(title = "groundcrew deployment")]
pub struct Request {
    /// The App Runner service, by its name or by its ARN.
    #[schemars(
        regex(pattern = r"^(arn:aws[a-z-]*:apprunner:[a-z0-9-]+:[0-9]{12}:service/[A-Za-z0-9][A-Za-z0-9_-]{3,39}/[0-9a-f]{32}|[A-Za-z0-9][A-Za-z0-9_-]{3,39})$"),
        extend("patternErrorMessage" = "the name of an App Runner service, or its ARN")
    )]
    pub service: String,
    /// Why, in a few words, for the notification and the release record. Left out: by hand.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub cause: Option<String>,
    /// Which image instead of the newest: `previous` (what ran well before), a digest, or a tag. It is found out at once. By itself is then deployed only what is pushed afterwards. `newest` ends that, and deploys the newest image.
    #[serde(default)]
    #[schemars(
        regex(pattern = r"^(sha256:[0-9a-f]{64}|[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$"),
        extend("patternErrorMessage" = "previous, newest, a digest (sha256: and 64 hexadecimal digits) or an image tag")
    )]
    pub to: Option<String>,
    /// `true` freezes the service: no event deploys anything. `false` ends that, and delivers what came in meanwhile.
    #[serde(default)]
    pub hold: Option<bool>,
    /// `true` deploys the same image once more, with the current secrets: also while the service is frozen.
    #[serde(default)]
    pub again: Option<bool>,
    /// The push that an event tells of; `trigger` says it.
    #[serde(default)]
    pub pushed: Option<PushedTag>,
    /// The secret that an event says has moved; `trigger` says it.
    #[serde(default)]
    pub rotated: Option<Rotated>,
}

/// What an event says of a push.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PushedTag {
    /// The image, `sha256:…`
    pub digest: String,
    /// The tag that it was given.
    pub tag: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// What an event says of a rotation.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Rotated {
    /// The secret's ARN.
    pub secret: String,
    /// The version that is current now; of an event that does not name it, the time of the event.
    pub version: String,
}

/// What a person asks for to end what an earlier wish holds back.
pub(crate) const NEWEST: &str = "newest";

impl Request {
    /// Reads a request.
    ///
    /// # Errors
    /// [`groundcrew::Error::Invalid`] with every mistake at once.
    pub fn parse(input: &Value) -> Result<Self> {
        input::parse(&Self::schema(), input, |request: &Self| {
            let held = request.hold == Some(true);
            let to = request.to.as_ref();
            let again = request.again == Some(true);
            let mut mistakes = Vec::new();
            if let Some(to) = to.filter(|_| held) {
                let instead = "nothing beside hold: true, which deploys nothing";
                mistakes.push(Mistake::new("to", to.clone(), instead));
            }
            if let Some(to) = to.filter(|_| again) {
                let instead = "nothing beside again: true, which keeps the image";
                mistakes.push(Mistake::new("to", to.clone(), instead));
            }
            if held && again {
                let instead = "false, or left out, beside again: true, which deploys";
                mistakes.push(Mistake::new("hold", "true", instead));
            }
            mistakes
        })
    }

    /// The JSON schema of a request, draft 2020-12.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Why, in a few words.
    pub fn why(&self) -> &str {
        self.cause.as_deref().unwrap_or("started by hand")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bad_request_is_refused_with_every_mistake_at_once() {
        let bad = json!({"service": "a b", "to": "no tag!", "hold": "yes", "sevrice": 1});
        let message = Request::parse(&bad).expect_err("refused").to_string();
        for field in ["service", "to", "hold", "sevrice"] {
            assert!(message.contains(field), "{field} is not named in {message}");
        }
        let both = json!({"service": "shop-dev", "to": "previous", "hold": true});
        let message = Request::parse(&both).expect_err("refused").to_string();
        assert!(message.contains("hold"), "{message}");
    }

    #[test]
    fn a_service_is_named_by_name_or_by_arn() {
        let arn = format!(
            "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/{}",
            "0a".repeat(16)
        );
        for service in ["shop-dev", &arn] {
            let request = Request::parse(&json!({"service": service})).expect("a request");
            assert_eq!(request.why(), "started by hand");
        }
    }
}
