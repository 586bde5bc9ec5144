//! What an App Runner service refers to: the repository of its image, and the secrets that it reads.

use crate::environment::Account;
use aws_sdk_apprunner::types::{Service, SourceConfiguration};
use std::collections::BTreeSet;

/// An ECR repository, of any account and region.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Repository {
    /// The twelve digits of the registry.
    pub account: String,
    /// The registry's region.
    pub region: String,
    /// The repository's name, `team/shop`.
    pub name: String,
}

impl Repository {
    /// A repository of this account and region.
    pub fn own(account: &Account, name: impl Into<String>) -> Self {
        Self {
            account: account.id.clone(),
            region: account.region.clone(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            account,
            region,
            name,
        } = self;
        write!(f, "{account}.dkr.ecr.{region}.amazonaws.com/{name}")
    }
}

/// The image of a service: an `ImageIdentifier` of a private ECR repository.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageReference {
    /// Where it is.
    pub repository: Repository,
    /// `sha256:…`, where the service is pinned to one.
    pub digest: Option<String>,
    /// The tag, where the service names one.
    pub tag: Option<String>,
}

impl ImageReference {
    /// Reads `ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME` with `:tag` or `@digest`; `None` for an image from elsewhere.
    pub fn parse(identifier: &str) -> Option<Self> {
        let (registry, path) = identifier.split_once('/')?;
        let (account, rest) = registry.split_once(".dkr.ecr.")?;
        let region = rest.strip_suffix(".amazonaws.com")?;
        let (name, digest) = match path.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (path, None),
        };
        let (name, tag) = match name.split_once(':') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (name, None),
        };
        Some(Self {
            repository: Repository {
                account: account.into(),
                region: region.into(),
                name: name.into(),
            },
            digest,
            tag,
        })
    }

    /// The image of a service; `None` if it is not from a private ECR repository.
    pub fn of(service: &Service) -> Option<Self> {
        Self::parse(
            service
                .source_configuration()?
                .image_repository()?
                .image_identifier(),
        )
    }
}

/// The secrets of Secrets Manager whose current version a service reads, by what its configuration names: whole ARNs, or
/// ARNs without the six characters that Secrets Manager appends. A reference to one version, or to another stage than
/// `AWSCURRENT`, does not move with the secret and is left out; so is an SSM parameter.
pub fn current_secrets(service: &Service) -> BTreeSet<String> {
    service
        .source_configuration()
        .map(secrets_of)
        .unwrap_or_default()
}

/// The same of a service that is about to be created.
pub fn secrets_of(source: &SourceConfiguration) -> BTreeSet<String> {
    let values = source
        .image_repository()
        .and_then(|repository| repository.image_configuration())
        .and_then(|image| image.runtime_environment_secrets());
    let values = values.into_iter().flat_map(|secrets| secrets.values());
    values.filter_map(|value| current_secret(value)).collect()
}

/// `ARN`, `ARN:json-key`, or `ARN:json-key:version-stage:version-id` with any of them empty, as ECS writes it.
fn current_secret(value: &str) -> Option<String> {
    let parts: Vec<_> = value.split(':').collect();
    let [
        "arn",
        _,
        "secretsmanager",
        _,
        _,
        "secret",
        _,
        of_secret @ ..,
    ] = parts.as_slice()
    else {
        return None;
    };
    let stage = of_secret.get(1).copied().unwrap_or_default();
    let version_id = of_secret.get(2).copied().unwrap_or_default();
    let follows = (stage.is_empty() || stage == "AWSCURRENT") && version_id.is_empty();
    follows.then(|| parts[..7].join(":"))
}

/// Whether what a service names is this secret, given by its whole ARN.
pub fn is_secret(named: &str, arn: &str) -> bool {
    // The suffix is a hyphen and six characters (Secrets Manager guide, "Secret ARN").
    let without_suffix = arn
        .len()
        .checked_sub(7)
        .filter(|at| arn.as_bytes().get(*at) == Some(&b'-'))
        .and_then(|at| arn.get(..at));
    named == arn || Some(named) == without_suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/db-a1b2c3";

    #[test]
    fn an_image_is_known_by_registry_repository_and_digest_or_tag() {
        let parse = |rest: &str| {
            ImageReference::parse(&format!(
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com/{rest}"
            ))
        };
        let pinned = parse("team/shop@sha256:0a").expect("an image");
        assert_eq!(pinned.repository.account, "123456789012");
        assert_eq!(pinned.repository.region, "eu-west-1");
        assert_eq!(pinned.repository.name, "team/shop");
        assert_eq!(pinned.digest.as_deref(), Some("sha256:0a"));
        let tagged = parse("shop:1.2").expect("an image");
        assert_eq!((tagged.digest, tagged.tag.as_deref()), (None, Some("1.2")));
        assert_eq!(
            ImageReference::parse("public.ecr.aws/docker/library/nginx:latest"),
            None
        );
    }

    #[test]
    fn a_secret_is_known_with_and_without_key_stage_and_suffix() {
        for value in [
            ARN.to_owned(),
            format!("{ARN}:password"),
            format!("{ARN}:password::"),
            format!("{ARN}::AWSCURRENT:"),
        ] {
            assert_eq!(current_secret(&value).as_deref(), Some(ARN), "{value}");
        }
        let bare = ARN.strip_suffix("-a1b2c3").expect("it ends so");
        assert!(is_secret(ARN, ARN) && is_secret(bare, ARN));
    }

    #[test]
    fn a_pinned_version_another_stage_and_a_parameter_do_not_follow_a_rotation() {
        for value in [
            format!("{ARN}:password:AWSPREVIOUS:"),
            format!("{ARN}:password::0a1b2c3d"),
            "arn:aws:ssm:us-east-1:123456789012:parameter/shop".to_owned(),
            "shop-parameter".to_owned(),
        ] {
            assert_eq!(current_secret(&value), None, "{value}");
        }
    }

    #[test]
    fn a_secret_that_only_begins_or_ends_alike_is_another_one() {
        let named =
            |name: &str| format!("arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}");
        assert!(!is_secret(&named("shop/d"), ARN));
        assert!(!is_secret(&named("shop"), ARN));
        assert!(!is_secret(
            &named("shop/db"),
            &named("shop/db-replica-a1b2c3")
        ));
        assert!(!is_secret("", "é-a1b2"));
    }
}
