//! Which image a service is to run: the tag rule, and what ECR holds.

use crate::reference::Repository;
use crate::{Aws, Error, Result, Spec};
use semver::Version;
use serde::Deserialize;

/// What a service tracks in its repository.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TagRule {
    /// The image that carries this tag.
    Exact(String),
    /// The newest push whose tag begins so.
    Prefix(String),
    /// The highest version within a major version, or within a minor one.
    SemVer {
        /// The major version.
        major: u64,
        /// The minor version, if the rule is that narrow.
        minor: Option<u64>,
        /// Whether pre-releases count, `1.5.0-rc.1` for instance.
        pre_releases: bool,
    },
}

/// An image that ECR holds, as far as a tag rule looks at it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pushed {
    /// `sha256:…`
    pub digest: String,
    /// Its tags; an untagged image is never chosen.
    pub tags: Vec<String>,
    /// When it was pushed, in seconds since 1970.
    pub at: i64,
}

/// An image under a tag rule: which, by which of its tags, and since when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// `sha256:…`
    pub digest: String,
    /// The tag that the rule took it for.
    pub tag: String,
    /// When it was pushed, in seconds since 1970. Of an image that is gone: when it was deployed.
    pub at: i64,
}

impl TagRule {
    /// How a rule is written: in the characters that AWS allows in a tag's value.
    pub const PATTERN: &str = r"^(semver:[0-9]{1,9}(\.[0-9]{1,9})?(\+pre)?|prefix:[A-Za-z0-9_][A-Za-z0-9_.-]*|[A-Za-z0-9_][A-Za-z0-9_.-]*)$";

    /// Reads a rule that matches [`Self::PATTERN`].
    pub fn parse(text: &str) -> Self {
        if let Some(prefix) = text.strip_prefix("prefix:") {
            return Self::Prefix(prefix.into());
        }
        let Some(range) = text.strip_prefix("semver:") else {
            return Self::Exact(text.into());
        };
        let stable = range.strip_suffix("+pre");
        let mut numbers = stable
            .unwrap_or(range)
            .split('.')
            .map(|number| number.parse().unwrap_or(0));
        Self::SemVer {
            major: numbers.next().unwrap_or(0),
            minor: numbers.next(),
            pre_releases: stable.is_some(),
        }
    }

    /// Whether an image is tracked for this tag.
    pub fn covers(&self, tag: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == tag,
            Self::Prefix(prefix) => tag.starts_with(prefix),
            Self::SemVer {
                major,
                minor,
                pre_releases,
            } => version(tag).is_some_and(|version| {
                version.major == *major
                    && minor.is_none_or(|minor| version.minor == minor)
                    && (*pre_releases || version.pre.is_empty())
            }),
        }
    }

    /// What an image is under this rule; `None` if it has no tag that the rule covers.
    pub fn candidate(&self, image: &Pushed) -> Option<Candidate> {
        let covered = image.tags.iter().filter(|tag| self.covers(tag));
        let tag = match self {
            Self::Exact(_) | Self::Prefix(_) => covered.max()?,
            Self::SemVer { .. } => covered.max_by_key(|tag| version(tag))?,
        };
        Some(Candidate {
            digest: image.digest.clone(),
            tag: tag.clone(),
            at: image.at,
        })
    }

    /// The image that the rule chooses: the one that carries the tag, the highest version, or the newest push.
    pub fn choose(&self, images: &[Pushed]) -> Option<Candidate> {
        let candidates = images.iter().filter_map(|image| self.candidate(image));
        candidates.max_by(|one, other| self.order(one).cmp(&self.order(other)))
    }

    /// Whether an event may take a service from what it runs to this candidate. A deleted image must not take it back to
    /// an older one: going back is what a person asks for. A tag, on the other hand, is put where somebody wants it.
    pub fn goes_forward(&self, running: &Candidate, candidate: &Candidate) -> bool {
        match self {
            Self::Exact(_) => true,
            // What runs was deployed under another rule: the new rule decides.
            _ if !self.covers(&running.tag) => true,
            _ => self.order(candidate) > self.order(running),
        }
    }

    /// Whether the rule takes a candidate for a later one than another: the same image under a higher version, for instance.
    pub fn prefers(&self, candidate: &Candidate, other: &Candidate) -> bool {
        self.order(candidate) > self.order(other)
    }

    fn order<'a>(&self, candidate: &'a Candidate) -> (Option<Version>, i64, &'a str) {
        let version = match self {
            Self::SemVer { .. } => version(&candidate.tag),
            Self::Exact(_) | Self::Prefix(_) => None,
        };
        (version, candidate.at, &candidate.digest)
    }
}

/// `1.4.2` or `v1.4.2`, by the rules of semver.org.
fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

/// The images of a repository.
///
/// # Errors
/// Those of `ecr:DescribeImages`.
pub async fn pushed(aws: &Aws, repository: &Repository) -> Result<Vec<Pushed>> {
    let mut images = Vec::new();
    let mut pages = aws
        .ecr_in(&repository.region)
        .describe_images()
        .registry_id(&repository.account)
        .repository_name(&repository.name)
        .max_results(1000)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("ecr:DescribeImages"))?;
        images.extend(
            page.image_details
                .unwrap_or_default()
                .into_iter()
                .filter(|image| {
                    let manifest = image.image_manifest_media_type();
                    foreign_media_type(manifest, image.artifact_media_type()).is_none()
                })
                .filter_map(|image| {
                    Some(Pushed {
                        digest: image.image_digest?,
                        tags: image.image_tags.unwrap_or_default(),
                        at: image.image_pushed_at.map_or(0, |at| at.secs()),
                    })
                }),
        );
    }
    Ok(images)
}

/// The digest that `rule` chooses in a repository today.
///
/// # Errors
/// Those of `ecr:DescribeImages`.
pub async fn newest(aws: &Aws, repository: &Repository, rule: &TagRule) -> Result<Option<String>> {
    let images = pushed(aws, repository).await?;
    Ok(rule.choose(&images).map(|candidate| candidate.digest))
}

/// An image for one platform.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variant {
    /// `linux/amd64`
    pub platform: String,
    /// The digest of its own manifest.
    pub digest: String,
}

/// The platforms of several variants, for a person.
pub fn platforms(variants: &[Variant]) -> String {
    let platforms: Vec<_> = variants
        .iter()
        .map(|variant| variant.platform.as_str())
        .collect();
    platforms.join(", ")
}

/// The variants of an image. An index names them; for a single image the platform is in its configuration.
///
/// # Errors
/// [`Error::Failed`] if the repository holds something that is not a container image, otherwise those of ECR.
pub async fn variants(aws: &Aws, repository: &Repository, digest: &str) -> Result<Vec<Variant>> {
    let ecr = aws.ecr_in(&repository.region);
    let found = ecr
        .batch_get_image()
        .registry_id(&repository.account)
        .repository_name(&repository.name)
        // Without these ECR may hand out an index as the image for one platform.
        .set_accepted_media_types(Some(
            INDEXES
                .iter()
                .chain(&IMAGES)
                .map(|kind| (*kind).to_owned())
                .collect(),
        ))
        .image_ids(
            aws_sdk_ecr::types::ImageIdentifier::builder()
                .image_digest(digest)
                .build(),
        )
        .send()
        .await
        .map_err(Error::aws("ecr:BatchGetImage"))?;
    let not_an_image = || {
        Error::Failed(format!(
            "{repository}@{digest} is not a container image: push an image there"
        ))
    };
    let text = found
        .images()
        .first()
        .and_then(|image| image.image_manifest())
        .ok_or_else(not_an_image)?;
    let manifest: Manifest = serde_json::from_str(text).map_err(|_| not_an_image())?;
    if let Some(config) = manifest.config {
        let layer = ecr
            .get_download_url_for_layer()
            .registry_id(&repository.account)
            .repository_name(&repository.name)
            .layer_digest(&config.digest)
            .send()
            .await
            .map_err(Error::aws("ecr:GetDownloadUrlForLayer"))?;
        let (status, body) = aws
            .get(
                "ecr:GetDownloadUrlForLayer",
                layer.download_url().unwrap_or_default(),
            )
            .await?;
        if status != 200 {
            return Err(Error::Unavailable {
                call: "ecr:GetDownloadUrlForLayer",
                reason: format!("the layer's address answered {status}"),
            });
        }
        let platform: Platform = serde_json::from_slice(&body).map_err(|_| not_an_image())?;
        return Ok(vec![Variant {
            platform: platform.to_string(),
            digest: digest.to_owned(),
        }]);
    }
    Ok(manifest
        .manifests
        .into_iter()
        .filter_map(|entry| {
            Some(Variant {
                platform: entry.platform?.to_string(),
                digest: entry.digest,
            })
        })
        .collect())
}

/// Waits for the first image of a spec that App Runner can run. `attempt` counts the state's retries, which come every
/// [`WAIT_SECONDS`]; it is the clock, so that the limit holds whatever speed the state machine runs at.
///
/// # Errors
/// `NotReady` until there is one, [`Error::Failed`] when the spec's limit has passed or the image is for another platform.
pub async fn wait(aws: &Aws, spec: &Spec, attempt: u32) -> Result<String> {
    let repository = Repository::own(&aws.account, spec.repository());
    let Some(digest) = newest(aws, &repository, &TagRule::parse(&spec.image.tag)).await? else {
        let push = format!(
            "an image tagged {} in the repository {}",
            spec.image.tag, repository.name
        );
        if attempt * WAIT_SECONDS >= u32::from(spec.image.wait_minutes) * 60 {
            return Err(Error::Failed(format!(
                "{push} did not come within {} min: push it, or raise image.wait_minutes, and start again",
                spec.image.wait_minutes
            )));
        }
        return Err(Error::NotReady(push));
    };
    let variants = variants(aws, &repository, &digest).await?;
    if !variants.iter().any(|variant| variant.platform == PLATFORM) {
        return Err(Error::Failed(format!(
            "{repository}@{digest} is for {}, and App Runner runs {PLATFORM} only: build it with --platform {PLATFORM}",
            platforms(&variants)
        )));
    }
    Ok(digest)
}

/// How many seconds lie between two looks for the first image; `statemachine/provision.asl.yaml` says the same.
pub const WAIT_SECONDS: u32 = 15;

const INDEXES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
];
const IMAGES: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
];
/// A Helm chart, a signature or an SBOM is an OCI image by its manifest, too, and has another configuration than these.
const CONFIGURATIONS: [&str; 2] = [
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
];

/// The media type by which something in a registry is not a container image. What ECR does not tell speaks for one.
pub fn foreign_media_type<'a>(
    manifest: Option<&'a str>,
    artifact: Option<&'a str>,
) -> Option<&'a str> {
    if manifest.is_some_and(|manifest| INDEXES.contains(&manifest)) {
        return None;
    }
    manifest
        .filter(|manifest| !IMAGES.contains(manifest))
        .or(artifact.filter(|artifact| !CONFIGURATIONS.contains(artifact)))
}

/// What App Runner runs: it has no Graviton (apprunner-roadmap#98).
pub const PLATFORM: &str = "linux/amd64";

/// An image manifest has a configuration, an index has manifests (OCI image specification 1.1).
#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(digest: &str, tags: &[&str], at: i64) -> Pushed {
        Pushed {
            digest: digest.into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            at,
        }
    }

    fn chosen(rule: &str, images: &[Pushed]) -> Option<String> {
        let candidate = TagRule::parse(rule).choose(images);
        candidate.map(|candidate| candidate.digest)
    }

    fn at(tag: &str, at: i64) -> Candidate {
        Candidate {
            digest: format!("digest of {tag}"),
            tag: tag.into(),
            at,
        }
    }

    #[test]
    fn an_exact_rule_chooses_the_image_that_carries_the_tag_now() {
        let images = [
            pushed("a", &[], 3),
            pushed("b", &["latest", "1.0.0"], 2),
            pushed("c", &["1.1.0"], 1),
        ];
        assert_eq!(chosen("latest", &images).as_deref(), Some("b"));
        assert_eq!(chosen("2.0.0", &images), None);
    }

    #[test]
    fn a_prefix_chooses_the_newest_push_and_not_the_highest_name() {
        let images = [
            pushed("a", &["release-9"], 1),
            pushed("b", &["release-10"], 2),
            pushed("c", &["main-1"], 3),
        ];
        assert_eq!(chosen("prefix:release-", &images).as_deref(), Some("b"));
    }

    #[test]
    fn a_version_range_chooses_the_highest_release_and_neither_backports_nor_pre_releases() {
        let images = [
            pushed("backport", &["1.4.9"], 9),
            pushed("highest", &["v1.10.0"], 2),
            pushed("candidate", &["1.11.0-rc.1"], 3),
            pushed("next", &["2.0.0"], 4),
        ];
        assert_eq!(chosen("semver:1", &images).as_deref(), Some("highest"));
        assert_eq!(chosen("semver:1.4", &images).as_deref(), Some("backport"));
        assert_eq!(chosen("semver:3", &images), None);
    }

    #[test]
    fn a_pre_release_is_chosen_where_the_rule_asks_for_them_and_gives_way_to_its_release() {
        let mut images = vec![
            pushed("release", &["1.10.0"], 1),
            pushed("second", &["1.11.0-rc.10"], 2),
            pushed("first", &["1.11.0-rc.9"], 3),
        ];
        assert_eq!(chosen("semver:1+pre", &images).as_deref(), Some("second"));
        images.push(pushed("final", &["1.11.0"], 0));
        assert_eq!(chosen("semver:1+pre", &images).as_deref(), Some("final"));
    }

    #[test]
    fn a_deleted_image_takes_no_service_back_to_an_older_one() {
        let rule = TagRule::parse("semver:1");
        assert!(!rule.goes_forward(&at("1.5.0", 5), &at("1.4.9", 9)));
        assert!(rule.goes_forward(&at("1.5.0", 5), &at("1.5.1", 1)));
        assert!(!rule.goes_forward(&at("1.5.0", 5), &at("1.5.0", 5)));
        let rule = TagRule::parse("prefix:main-");
        assert!(!rule.goes_forward(&at("main-7", 7), &at("main-6", 6)));
    }

    #[test]
    fn a_tag_that_is_moved_back_and_a_rule_that_is_new_are_meant() {
        assert!(TagRule::parse("latest").goes_forward(&at("latest", 5), &at("latest", 1)));
        assert!(TagRule::parse("semver:1").goes_forward(&at("2.0.0", 5), &at("1.4.9", 1)));
    }
}
