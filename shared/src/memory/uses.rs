//! What a service refers to: the index in which an event of AWS finds the services that it concerns.

use super::Remembered;
use crate::arn::SecretArn;
use crate::reference::{ImageReference, Repository, current_secrets, is_secret};
use aws_sdk_apprunner::types::Service;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a service referred to when it was last looked at. It is an index and not the truth: whoever finds a service in it looks
/// at the service before anything is deployed, and a service that it does not know is looked at.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Uses {
    /// The repository of its image, `ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME`; `None` for an image from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The secrets whose current version it reads, as its configuration names them: see [`current_secrets`].
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<String>,
}

impl Uses {
    /// What a service refers to now.
    pub fn of(service: &Service) -> Self {
        Self {
            repository: ImageReference::of(service).map(|image| image.repository.to_string()),
            secrets: current_secrets(service),
        }
    }

    /// Whether its image is from this repository.
    pub fn repository(&self, repository: &Repository) -> bool {
        self.repository.as_ref() == Some(&repository.to_string())
    }

    /// Whether it reads the current version of this secret.
    pub fn secret(&self, secret: &SecretArn) -> bool {
        let mut named = self.secrets.iter();
        named.any(|named| is_secret(named, secret.as_str()))
    }
}

impl Remembered for Uses {
    const KIND: &'static str = "uses";
}
