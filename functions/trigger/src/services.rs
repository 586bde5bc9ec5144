//! Which services an event concerns: an index says whom to ask, and what they really refer to decides.

use crate::event::Cause;
use aws_sdk_apprunner::types::Service;
use groundcrew::arn::ServiceArn;
use groundcrew::managed::are_ours;
use groundcrew::memory::{Deployments, Uses};
use groundcrew::pace::{Tempo, patiently};
use groundcrew::reference::{ImageReference, current_secrets, is_secret};
use groundcrew::stack::{TAG_IMAGE_TAG, Tags};
use groundcrew::tag_rule::TagRule;
use groundcrew::{Aws, Error, Memory, Result, tagged};
use lambda_runtime::tracing::error;
use std::collections::{BTreeMap, BTreeSet};

/// A service that an event may concern.
pub(crate) struct Candidate {
    pub(crate) service: ServiceArn,
    /// Its tags, as the index of tags has them; it may not know them yet.
    pub(crate) tags: Option<Tags>,
    /// What it used when it was last looked at; new of one that was never looked at.
    uses: Memory<Uses>,
}

/// The services that an event may concern: those that used what it is about when they were last looked at, and managed ones that
/// never were.
///
/// # Errors
/// Those of `tag:GetResources` and `dynamodb:Query`.
pub(crate) async fn candidates(aws: &Aws, cause: &Cause, tempo: Tempo) -> Result<Vec<Candidate>> {
    let tagged = tagged::find_patiently(aws, tempo, &["apprunner:service"], &[]).await?;
    let ours = tagged.into_iter().filter(|(_, tags)| are_ours(tags));
    let mut tags: BTreeMap<_, _> = ours.collect();
    let index = match patiently(tempo, || Memory::<Uses>::all(aws)).await {
        // One that somebody has broken must not keep a push from anybody: then all are looked at.
        Err(Error::Failed(reason)) => {
            error!(reason, "every managed service is looked at");
            Vec::new()
        }
        index => index?,
    };
    let known: BTreeSet<_> = index.iter().map(Memory::subject).collect();
    let unknown = tags.keys().filter(|arn| !known.contains(arn.as_str()));
    let nothing = Tags::new();
    let unknown: Vec<_> = unknown
        .map(|arn| Memory::among(&[], arn, &nothing))
        .collect();
    let using = index.into_iter().filter(|uses| is_about(cause, uses));
    let candidates = using.chain(unknown).filter_map(|uses| {
        Some(Candidate {
            service: ServiceArn::parse(uses.subject())?,
            tags: tags.remove(uses.subject()),
            uses,
        })
    });
    Ok(candidates.collect())
}

/// Whether a cause is about something that a service uses.
fn is_about(cause: &Cause, uses: &Uses) -> bool {
    match cause {
        Cause::ImagePushed { repository, .. } => uses.repository(repository),
        Cause::SecretMoved { arn, .. } => uses.secret(arn),
        Cause::ServiceRunning { .. } => false,
    }
}

impl Candidate {
    /// What is known of one service, so that it can be [noted](Self::note).
    ///
    /// # Errors
    /// Those of `dynamodb:GetItem`.
    pub(crate) async fn of(aws: &Aws, service: &ServiceArn, tags: &Tags) -> Result<Self> {
        Ok(Self {
            service: service.clone(),
            tags: Some(tags.clone()),
            uses: Memory::of(aws, service.as_str(), tags).await?,
        })
    }

    /// Notes in the index what the service uses, if that is something else than it was.
    ///
    /// # Errors
    /// Those of `dynamodb:PutItem`.
    pub(crate) async fn note(&self, aws: &Aws, service: &Service, tempo: Tempo) -> Result<()> {
        let uses = Uses::of(service);
        if !self.uses.is_new() && *self.uses == uses {
            return Ok(());
        }
        let write = || async { self.uses.clone().write(aws, uses.clone()).await };
        match patiently(tempo, write).await {
            // Another event has just brought somebody here.
            Err(Error::NotReady(_)) => Ok(()),
            written => written,
        }
    }
}

/// Why a service that is running again need not be looked at.
///
/// # Errors
/// Those of `states:DescribeExecution` and `dynamodb:GetItem`.
pub(crate) async fn left_alone(
    aws: &Aws,
    service: &ServiceArn,
    tags: &Tags,
) -> Result<Option<&'static str>> {
    let memory: Memory<Deployments> = Memory::of(aws, service.as_str(), tags).await?;
    if memory.orders.now(tags).held {
        return Ok(Some("on hold"));
    }
    // Each deployment ends with a running service, and watches it: its claim keeps it from starting the next one. That of an
    // execution that ended early keeps nobody from anything.
    match &memory.claim {
        Some(claim) if claim.is_alive(aws).await? => Ok(Some("being deployed")),
        _ => Ok(None),
    }
}

/// Whether a service has to be looked at. Also one that is paused, busy or on hold: what that means `deploy` decides.
pub fn concerns(cause: &Cause, service: &Service, tags: &Tags) -> bool {
    match cause {
        Cause::ImagePushed {
            repository, tag, ..
        } => ImageReference::of(service).is_some_and(|image| {
            image.repository == *repository
                && rule(tags, &image).is_some_and(|rule| rule.covers(tag))
        }),
        Cause::SecretMoved { arn, .. } => current_secrets(service)
            .iter()
            .any(|named| is_secret(named, arn.as_str())),
        Cause::ServiceRunning { service_arn } => service.service_arn() == service_arn.as_str(),
    }
}

/// Whether it is for the tags of a service to say whether an event concerns it: what they say is asked of App Runner before it is
/// taken for no, as the index of tags lags behind.
pub(crate) fn rests_on_tags(cause: &Cause, service: &Service) -> bool {
    match cause {
        Cause::ImagePushed { repository, .. } => {
            ImageReference::of(service).is_some_and(|image| image.repository == *repository)
        }
        Cause::SecretMoved { .. } | Cause::ServiceRunning { .. } => false,
    }
}

/// The rule in the service's tag; without one, the tag that its image is named by.
fn rule(tags: &Tags, image: &ImageReference) -> Option<TagRule> {
    match tags.get(TAG_IMAGE_TAG) {
        Some(rule) => Some(TagRule::parse(rule)),
        None => image.tag.clone().map(TagRule::Exact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_apprunner::types::{
        ImageConfiguration, ImageRepository, ImageRepositoryType, NetworkConfiguration,
        ServiceStatus, SourceConfiguration,
    };
    use aws_smithy_types::DateTime;
    use groundcrew::arn::SecretArn;
    use groundcrew::reference::Repository;
    use groundcrew::stack::{TAG_APP, TAG_ENVIRONMENT, TAG_MANAGED};

    const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
    const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:groundcrew/shop/staging/database-a1B2c3";

    fn service(image: &str, secrets: &[&str]) -> Service {
        let mut configuration = ImageConfiguration::builder();
        for (n, secret) in secrets.iter().enumerate() {
            configuration = configuration.runtime_environment_secrets(format!("S{n}"), *secret);
        }
        let repository = ImageRepository::builder()
            .image_identifier(image)
            .image_repository_type(ImageRepositoryType::Ecr)
            .image_configuration(configuration.build())
            .build()
            .expect("a repository");
        Service::builder()
            .service_name("shop-staging")
            .service_id("1")
            .service_arn("arn:aws:apprunner:us-east-1:123456789012:service/shop-staging/1")
            .created_at(DateTime::from_secs(0))
            .updated_at(DateTime::from_secs(0))
            .status(ServiceStatus::Running)
            .source_configuration(
                SourceConfiguration::builder()
                    .image_repository(repository)
                    .build(),
            )
            .network_configuration(NetworkConfiguration::builder().build())
            .build()
            .expect("a service")
    }

    fn push(repository: &str, tag: &str) -> Cause {
        let image = ImageReference::parse(repository).expect("a repository");
        Cause::ImagePushed {
            repository: image.repository,
            tag: tag.into(),
            digest: "sha256:0a".into(),
        }
    }

    fn tags(tags: &[(&str, &str)]) -> Tags {
        let managed = [
            (TAG_MANAGED, "true"),
            (TAG_APP, "shop"),
            (TAG_ENVIRONMENT, "staging"),
        ];
        let all = managed.iter().chain(tags);
        all.map(|(key, value)| (key.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn a_push_concerns_the_services_whose_rule_covers_its_tag() {
        let pinned = service(&format!("{REGISTRY}/shop-staging@sha256:ff"), &[]);
        for (rule, covered, not_covered) in [
            ("latest", "latest", "latest-1"),
            ("prefix:main-", "main-7", "mainly"),
            ("semver:1", "v1.9.0", "2.0.0"),
            ("semver:1.4", "1.4.2", "1.5.0"),
            ("semver:1+pre", "1.5.0-rc.1", "2.0.0-rc.1"),
        ] {
            let tags = tags(&[(TAG_IMAGE_TAG, rule)]);
            let concerned = |tag: &str| {
                concerns(
                    &push(&format!("{REGISTRY}/shop-staging"), tag),
                    &pinned,
                    &tags,
                )
            };
            assert!(concerned(covered), "{rule}: {covered}");
            assert!(!concerned(not_covered), "{rule}: {not_covered}");
        }
    }

    #[test]
    fn a_service_without_a_rule_follows_the_tag_of_its_image() {
        let follows = service(&format!("{REGISTRY}/shop-staging:stable"), &[]);
        let pinned = service(&format!("{REGISTRY}/shop-staging@sha256:ff"), &[]);
        let stable = push(&format!("{REGISTRY}/shop-staging"), "stable");
        assert!(concerns(&stable, &follows, &tags(&[])));
        assert!(!concerns(&stable, &pinned, &tags(&[])));
        let stable_2 = push(&format!("{REGISTRY}/shop-staging"), "stable-2");
        assert!(!concerns(&stable_2, &follows, &tags(&[])));
        // The rule, where there is one, is what counts.
        let ruled = tags(&[(TAG_IMAGE_TAG, "latest")]);
        assert!(!concerns(&stable, &follows, &ruled));
    }

    #[test]
    fn a_repository_of_another_name_region_or_account_is_another_one() {
        let shop = service(&format!("{REGISTRY}/shop-staging:latest"), &[]);
        for other in [
            format!("{REGISTRY}/shop"),
            format!("{REGISTRY}/team/shop-staging"),
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop-staging".into(),
            "210987654321.dkr.ecr.us-east-1.amazonaws.com/shop-staging".into(),
        ] {
            assert!(
                !concerns(&push(&other, "latest"), &shop, &tags(&[])),
                "{other}"
            );
        }
        // And a service may run an image from there.
        let foreign = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/shop-staging";
        let shop = service(&format!("{foreign}:latest"), &[]);
        assert!(concerns(&push(foreign, "latest"), &shop, &tags(&[])));
    }

    #[test]
    fn an_image_from_elsewhere_is_never_concerned_by_a_push() {
        let public = service("public.ecr.aws/docker/library/nginx:latest", &[]);
        assert!(!concerns(
            &push(&format!("{REGISTRY}/nginx"), "latest"),
            &public,
            &tags(&[])
        ));
    }

    #[test]
    fn a_secret_concerns_the_services_that_read_its_current_version() {
        let cause = Cause::SecretMoved {
            arn: SecretArn::parse(SECRET).expect("a secret"),
            version_id: None,
        };
        let concerned = |secret: &str| {
            concerns(
                &cause,
                &service(&format!("{REGISTRY}/shop:latest"), &[secret]),
                &tags(&[]),
            )
        };
        let bare = SECRET.strip_suffix("-a1B2c3").expect("it ends so");
        for reads in [
            SECRET.to_owned(),
            format!("{SECRET}:password::"),
            format!("{bare}:password::"),
            format!("{SECRET}:password:AWSCURRENT:"),
        ] {
            assert!(concerned(&reads), "{reads}");
        }
        for does_not in [
            format!("{SECRET}:password:AWSPREVIOUS:"),
            format!("{SECRET}:password::0a1b2c3d"),
            format!("{bare}-other-a1B2c3"),
            SECRET.replace("us-east-1", "eu-west-1"),
            "arn:aws:ssm:us-east-1:123456789012:parameter/database".into(),
        ] {
            assert!(!concerned(&does_not), "{does_not}");
        }
    }

    #[test]
    fn a_repository_says_where_it_is() {
        let Cause::ImagePushed { repository, .. } = push(&format!("{REGISTRY}/team/shop"), "1")
        else {
            unreachable!("it is a push")
        };
        let expected = Repository {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            name: "team/shop".into(),
        };
        assert_eq!(repository, expected);
    }
}
