//! What the states of an execution hand on to each other.

use aws_sdk_apprunner::types::HealthCheckProtocol;
use groundcrew::Managed;
use groundcrew::claim::{Answer, Kind};
use groundcrew::image::short;
use groundcrew::reference::Repository;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A deployment that App Runner has accepted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Deployment {
    /// The service's ARN.
    pub service_arn: String,
    /// The service's name.
    pub service: String,
    /// What is deployed.
    pub kind: Kind,
    /// The digest that is to run; `None` for the secrets of a service that is pinned to none.
    pub digest: Option<String>,
    /// The tag that it was chosen for.
    pub tag: Option<String>,
    /// The digest that ran before, if the service was pinned to one.
    pub previous: Option<String>,
    /// The fingerprint of the secrets that go with it.
    pub secrets: Option<String>,
    /// Whether that fingerprint is another one than before.
    pub new_secrets: bool,
    /// When the service was created.
    pub created_at: Timestamp,
    /// App Runner's operation.
    pub operation_id: String,
    /// For how many minutes the alarms are watched afterwards.
    pub bake_minutes: u16,
    /// What answers when the service is well; `None` if it cannot be asked from here.
    pub health: Option<HealthAddress>,
    /// Why, in a few words.
    pub cause: String,
    /// Whether a person has asked for this image: then it is not taken back by itself.
    pub asked_for: bool,
    /// Whether this was left over by another execution, so that the service has to be looked at once more.
    pub left_over: bool,
    /// What is taken back, if this is a rollback.
    pub instead_of: Option<Unwell>,
    /// How often secrets have moved while the image was watched. The operation is then the last one that delivered them.
    #[serde(default)]
    pub deliveries: u8,
    /// What else is to be told of it, each a sentence.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Where a service is asked whether it is well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct HealthAddress {
    /// `https://…` with the path of the health check.
    pub url: String,
    /// Whether only 200 is a good answer. Without an HTTP health check any answer is, but a 5xx.
    pub only_200: bool,
    /// How the service answered before it was changed, if it was not well then.
    #[serde(default)]
    pub unwell_before: Option<Answer>,
}

impl HealthAddress {
    /// The address of a public service with the path of its health check, and how it answered before it is changed.
    pub(crate) fn of(managed: &Managed, unwell_before: Option<Answer>) -> Option<Self> {
        let service = &managed.service;
        let public = service
            .network_configuration()
            .and_then(|network| network.ingress_configuration())
            .is_none_or(|ingress| ingress.is_publicly_accessible());
        let address = service.service_url().filter(|_| public)?;
        let check = service.health_check_configuration();
        let http = check.filter(|check| check.protocol() == Some(&HealthCheckProtocol::Http));
        let path = http.and_then(|check| check.path()).unwrap_or("/");
        Some(Self {
            url: format!("https://{address}{path}"),
            only_200: http.is_some(),
            unwell_before,
        })
    }
}

/// An image that was deployed and is not well.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unwell {
    /// Its digest.
    pub digest: Option<String>,
    /// The tag that it was chosen for.
    pub tag: Option<String>,
    /// What is wrong with it.
    pub why: String,
}

/// An image as a person calls it: `1.4.2 (sha256:0123456789ab)`.
pub(crate) fn called(tag: Option<&str>, digest: Option<&str>) -> String {
    let Some(digest) = digest else {
        return "its image".into();
    };
    match tag.filter(|tag| !tag.is_empty()) {
        Some(tag) => format!("{tag} ({})", short(digest)),
        None => short(digest).to_owned(),
    }
}

/// The `ImageIdentifier` of a digest.
pub(crate) fn identifier(repository: &Repository, digest: &str) -> String {
    format!("{repository}@{digest}")
}
