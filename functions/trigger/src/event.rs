//! What an event of AWS means: that services may have to be deployed, or nothing. It never says what to deploy.

use groundcrew::arn::{SecretArn, ServiceArn};
use groundcrew::event::{self, at, optional, text};
use groundcrew::image::{foreign_media_type, short};
use groundcrew::reference::Repository;
use groundcrew::{Error, Result};
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::{Display, Formatter};

/// What an event means.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The services that the cause concerns are to be looked at.
    LookAgain {
        /// What happened.
        cause: Cause,
        /// When it happened. A replay of the event says the same.
        time: Timestamp,
    },
    /// Nothing that a service would have to be deployed for, and why.
    NotForUs(String),
}

/// Why services may have to be deployed.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// An image was pushed under a tag.
    ImagePushed {
        /// Where to: the account and region of the event, which may be another's.
        repository: Repository,
        /// The tag.
        tag: String,
        /// `sha256:…`
        digest: String,
    },
    /// `AWSCURRENT` moved to another version of a secret.
    SecretMoved {
        /// The secret.
        arn: SecretArn,
        /// The version, where the event names it.
        version_id: Option<String>,
    },
    /// A service is running (again): what came while it was parked or busy can be deployed.
    ServiceRunning {
        /// The service.
        service_arn: ServiceArn,
    },
}

impl Cause {
    /// What tells this cause from others of the same second.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::ImagePushed {
                repository,
                tag,
                digest,
            } => format!("push {repository}:{tag} {digest}"),
            Self::SecretMoved { arn, version_id } => {
                format!("secret {arn} {}", version_id.as_deref().unwrap_or_default())
            }
            Self::ServiceRunning { service_arn } => format!("running {service_arn}"),
        }
    }
}

/// For people: in notifications, and beside the executions.
impl Display for Cause {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ImagePushed {
                repository,
                tag,
                digest,
            } => {
                write!(f, "push of {}:{tag} ({})", repository.name, short(digest))
            }
            Self::SecretMoved { arn, .. } => write!(f, "rotation of the secret {}", arn.name()),
            Self::ServiceRunning { .. } => f.write_str("the service is running again"),
        }
    }
}

impl Event {
    /// Reads an event. What it does not know in one is no mistake.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field that is missing, or not what it is in AWS's own events.
    pub fn parse(event: &Value) -> Result<Self> {
        let source = text(event, "source")?;
        let detail_type = text(event, "detail-type")?;
        match (source, detail_type) {
            ("aws.ecr", "ECR Image Action") => image_action(event),
            ("aws.secretsmanager", "Secret Label Updated") => label_updated(event),
            ("aws.secretsmanager", "AWS Service Event via CloudTrail") => service_event(event),
            ("aws.apprunner", "AppRunner Service Status Change") => service_status(event),
            ("aws.apprunner", "AppRunner Service Operation Status Change") => {
                operation_status(event)
            }
            _ => Ok(Self::NotForUs(format!("\"{detail_type}\" of {source}"))),
        }
    }

    fn look_again(event: &Value, cause: Cause) -> Result<Self> {
        let time = text(event, "time")?;
        let time = time
            .parse()
            .map_err(|_| Error::invalid("time", time, "a time, as 2026-11-21T08:15:30Z"))?;
        Ok(Self::LookAgain { cause, time })
    }
}

/// What AWS sends once for each manifest and tag that is pushed (ECR user guide, "Amazon ECR events and EventBridge").
fn image_action(event: &Value) -> Result<Event> {
    let action = text(event, "detail.action-type")?;
    let result = text(event, "detail.result")?;
    if (action, result) != ("PUSH", "SUCCESS") {
        return Ok(Event::NotForUs(format!("{action} of an image, {result}")));
    }
    // The children of an index, and what is pushed by its digest: without a tag, or with an empty one.
    let Some(tag) = optional(event, "detail.image-tag")? else {
        return Ok(Event::NotForUs("a push without a tag".into()));
    };
    let manifest = optional(event, "detail.manifest-media-type")?;
    let artifact = optional(event, "detail.artifact-media-type")?;
    if let Some(media_type) = foreign_media_type(manifest, artifact) {
        return Ok(Event::NotForUs(format!(
            "a push of {media_type}, which is not a container image"
        )));
    }
    let cause = Cause::ImagePushed {
        repository: Repository {
            account: text(event, "account")?.into(),
            region: text(event, "region")?.into(),
            name: text(event, "detail.repository-name")?.into(),
        },
        tag: tag.into(),
        digest: text(event, "detail.image-digest")?.into(),
    };
    Event::look_again(event, cause)
}

/// Sent after a label has moved, so the new version works already; no trail is needed (Secrets Manager user guide,
/// "Secret Label Updated event").
fn label_updated(event: &Value) -> Result<Event> {
    let label = text(event, "detail.labelUpdated")?;
    if label != "AWSCURRENT" {
        return Ok(Event::NotForUs(format!("the label {label} of a secret")));
    }
    let cause = Cause::SecretMoved {
        arn: secret(event, "resources[0]")?,
        version_id: optional(event, "detail.versionId")?.map(str::to_owned),
    };
    Event::look_again(event, cause)
}

/// The same from CloudTrail, for regions without the event above. Not the API calls: `PutSecretValue` in a rotation makes a
/// version that does not work yet, and `RotateSecret` is only its beginning.
fn service_event(event: &Value) -> Result<Event> {
    let name = text(event, "detail.eventName")?;
    if name != "RotationSucceeded" {
        return Ok(Event::NotForUs(format!("{name} of a secret")));
    }
    // AWS does not document where: the first is seen most, the third in rotations that RDS manages.
    let places = [
        "detail.additionalEventData.SecretId",
        "detail.additionalEventData.secretId",
        "detail.serviceEventDetails.secretId",
        "detail.serviceEventDetails.SecretId",
    ];
    let place = places.iter().find(|place| !at(event, place).is_null());
    let cause = Cause::SecretMoved {
        arn: secret(event, place.unwrap_or(&places[0]))?,
        version_id: None,
    };
    Event::look_again(event, cause)
}

fn service_status(event: &Value) -> Result<Event> {
    let status = event::service_status(event)?;
    if status != "RUNNING" {
        return Ok(Event::NotForUs(format!("a service is {status}")));
    }
    service_running(event)
}

fn operation_status(event: &Value) -> Result<Event> {
    let status = event::operation_status(event)?;
    if status != "ResumeServiceCompletedSuccessfully" {
        return Ok(Event::NotForUs(format!("an operation is {status}")));
    }
    service_running(event)
}

fn service_running(event: &Value) -> Result<Event> {
    let service_arn = event::service(event)?;
    Event::look_again(event, Cause::ServiceRunning { service_arn })
}

fn secret(event: &Value, path: &str) -> Result<SecretArn> {
    let arn = text(event, path)?;
    SecretArn::parse(arn).ok_or_else(|| Error::invalid(path, arn, "the whole ARN of a secret"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde_json::json;

    /// A file of `events/`.
    fn example(name: &str) -> Value {
        let file = format!("{}/../../events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        serde_json::from_str(&text).expect("it is JSON")
    }

    fn cause(event: &Value) -> Cause {
        match Event::parse(event) {
            Ok(Event::LookAgain { cause, .. }) => cause,
            other => panic!("{other:?} for {event}"),
        }
    }

    const HANDLED: [&str; 7] = [
        "ecr-push",
        "secret-label-updated",
        "secret-rotation-succeeded",
        "secret-rotation-succeeded-service-event-details",
        "apprunner-service-status",
        "apprunner-operation-status",
        "apprunner-service-status-pascal-case",
    ];

    #[test]
    fn a_push_is_known_by_registry_tag_and_digest() {
        let pushed = |account: &str, region: &str| Cause::ImagePushed {
            repository: Repository {
                account: account.into(),
                region: region.into(),
                name: "shop-staging".into(),
            },
            tag: "latest".into(),
            digest: "sha256:b51c09cbfb55d7783f0e0f7c9e3a2f8a4d2b6a1c5e9d8f7a6b5c4d3e2f1a0b9c"
                .into(),
        };
        assert_eq!(
            cause(&example("ecr-push")),
            pushed("123456789012", "us-east-1")
        );
        let elsewhere = pushed("210987654321", "us-east-1");
        assert_eq!(cause(&example("ecr-push-other-account")), elsewhere);
        let elsewhere = pushed("123456789012", "eu-west-1");
        assert_eq!(cause(&example("ecr-push-other-region")), elsewhere);
    }

    #[test]
    fn a_secret_is_known_wherever_aws_writes_its_arn() {
        let moved = |version_id: Option<&str>| {
            Cause::SecretMoved {
            arn: SecretArn::parse("arn:aws:secretsmanager:us-east-1:123456789012:secret:groundcrew/shop/staging/database-a1B2c3").expect("a secret"),
            version_id: version_id.map(str::to_owned),
        }
        };
        let version_id = Some("a1b2c3d4-5678-90ab-cdef-1234567890ab");
        assert_eq!(cause(&example("secret-label-updated")), moved(version_id));
        assert_eq!(cause(&example("secret-rotation-succeeded")), moved(None));
        let details = example("secret-rotation-succeeded-service-event-details");
        assert_eq!(cause(&details), moved(None));
        let arn = details["detail"]["serviceEventDetails"]["secretId"].clone();
        for other in [
            json!({"additionalEventData": {"secretId": arn}}),
            json!({"serviceEventDetails": {"SecretId": arn}, "additionalEventData": null}),
        ] {
            let mut event = details.clone();
            let detail = event["detail"].as_object_mut().expect("an object");
            detail.remove("serviceEventDetails");
            detail.extend(other.as_object().expect("an object").clone());
            assert_eq!(cause(&event), moved(None));
        }
    }

    #[test]
    fn a_running_service_is_known_in_either_spelling() {
        let service_arn = ServiceArn::parse("arn:aws:apprunner:us-east-1:123456789012:service/shop-staging/8fe1e10304f84fd2b0df550fe98a71fa").expect("a service");
        for name in [
            "apprunner-service-status",
            "apprunner-service-status-pascal-case",
            "apprunner-operation-status",
            "apprunner-operation-status-pascal-case",
        ] {
            let expected = Cause::ServiceRunning {
                service_arn: service_arn.clone(),
            };
            assert_eq!(cause(&example(name)), expected, "{name}");
        }
    }

    #[test]
    fn fields_that_nobody_knows_yet_change_nothing() {
        for name in HANDLED {
            let event = example(name);
            let mut longer = event.clone();
            longer["new"] = json!({"a": [1]});
            longer["detail"]["new"] = json!(null);
            assert_eq!(cause(&longer), cause(&event), "{name}");
        }
    }

    #[test]
    fn a_field_that_is_missing_or_no_text_is_named() {
        for (name, field) in [
            ("ecr-push", "source"),
            ("ecr-push", "detail-type"),
            ("ecr-push", "account"),
            ("ecr-push", "region"),
            ("ecr-push", "time"),
            ("ecr-push", "detail.action-type"),
            ("ecr-push", "detail.result"),
            ("ecr-push", "detail.repository-name"),
            ("ecr-push", "detail.image-digest"),
            ("secret-label-updated", "detail.labelUpdated"),
            ("secret-label-updated", "resources[0]"),
            ("secret-label-updated", "time"),
            ("secret-rotation-succeeded", "detail.eventName"),
            (
                "secret-rotation-succeeded",
                "detail.additionalEventData.SecretId",
            ),
            ("apprunner-service-status", "detail.currentServiceStatus"),
            ("apprunner-service-status", "resources[0]"),
            ("apprunner-operation-status", "detail.operationStatus"),
        ] {
            for wrong in [json!(null), json!(7), json!({"a": 1}), json!([])] {
                let mut event = example(name);
                let pointer = field.replace(['.', '['], "/").replace(']', "");
                *event
                    .pointer_mut(&format!("/{pointer}"))
                    .expect("it is there") = wrong.clone();
                let refused = Event::parse(&event).expect_err("it is malformed");
                let Error::Invalid(mistakes) = refused else {
                    panic!("{name}: {refused:?}")
                };
                assert_eq!(mistakes.len(), 1);
                assert_eq!(
                    (&*mistakes[0].field, &mistakes[0].value),
                    (field, &wrong),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn both_spellings_of_a_status_at_once_are_no_mistake() {
        let mut event = example("apprunner-service-status");
        let expected = cause(&event);
        event["detail"]["CurrentServiceStatus"] = json!("RUNNING");
        assert_eq!(cause(&event), expected);
    }

    #[test]
    fn a_wrong_arn_is_named_by_the_place_where_it_is() {
        let mut event = example("secret-rotation-succeeded-service-event-details");
        event["detail"]["serviceEventDetails"]["secretId"] = json!("database");
        let refused = Event::parse(&event).expect_err("it is malformed");
        let refused = refused.to_string();
        assert!(
            refused.contains("detail.serviceEventDetails.secretId"),
            "{refused}"
        );
    }

    #[test]
    fn a_detail_that_is_no_object_is_refused_and_a_field_that_nobody_reads_may_be_anything() {
        for detail in [json!([]), json!(7), json!("PUSH")] {
            let mut event = example("ecr-push");
            event["detail"] = detail;
            let refused = Event::parse(&event).expect_err("it is malformed");
            assert!(
                refused.to_string().contains("detail.action-type"),
                "{refused}"
            );
        }
        for unread in ["id", "version", "resources"] {
            let mut event = example("ecr-push");
            let expected = cause(&event);
            event[unread] = json!(7);
            assert_eq!(cause(&event), expected, "{unread}");
        }
    }

    #[test]
    fn what_is_no_arn_and_what_is_no_time_is_refused() {
        for (name, field, wrong) in [
            (
                "secret-label-updated",
                "/resources/0",
                "groundcrew/shop/staging/database",
            ),
            (
                "secret-rotation-succeeded",
                "/detail/additionalEventData/SecretId",
                "database",
            ),
            ("apprunner-service-status", "/resources/0", "shop-staging"),
            ("ecr-push", "/time", "yesterday"),
        ] {
            let mut event = example(name);
            *event.pointer_mut(field).expect("it is there") = wrong.into();
            let refused = Event::parse(&event)
                .expect_err("it is malformed")
                .to_string();
            assert!(refused.contains(wrong), "{refused}");
        }
    }

    #[test]
    fn a_tag_or_media_type_of_the_wrong_type_is_refused_and_an_empty_one_is_none() {
        for field in ["image-tag", "manifest-media-type", "artifact-media-type"] {
            let mut event = example("ecr-push");
            event["detail"][field] = json!(["latest"]);
            let refused = Event::parse(&event)
                .expect_err("it is malformed")
                .to_string();
            assert!(refused.contains(field), "{refused}");
        }
        let mut event = example("ecr-push");
        event["detail"]["artifact-media-type"] = "".into();
        cause(&event);
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        let name = prop_oneof![
            any::<String>(),
            select(vec!["source", "detail-type", "detail", "resources", "time"])
                .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The pointers of everything in a value.
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        for (n, item) in value.as_array().into_iter().flatten().enumerate() {
            places(item, &format!("{at}/{n}"), found);
        }
        for (name, item) in value.as_object().into_iter().flatten() {
            places(item, &format!("{at}/{name}"), found);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_json_is_an_event_or_an_error(event in anything()) {
            let _ = Event::parse(&event);
        }

        #[test]
        fn an_event_with_anything_in_one_place_is_an_event_or_names_a_field(
            name in select(HANDLED.to_vec()), place in any::<Index>(), anything in anything()
        ) {
            let mut event = example(name);
            let mut found = Vec::new();
            places(&event, "", &mut found);
            let pointer = &found[place.index(found.len())];
            *event.pointer_mut(pointer).expect("it is there") = anything;
            match Event::parse(&event) {
                Ok(_) => {}
                Err(Error::Invalid(mistakes)) => prop_assert!(!mistakes[0].field.is_empty()),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
