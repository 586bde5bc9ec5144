//! Which image a service is to run: the tag rule, and what ECR holds.

use crate::{Aws, Error, Result, Spec};
use serde::Deserialize;

/// What a service tracks in its repository.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TagRule {
    /// The image that carries this tag.
    Exact(String),
    /// The newest push whose tag begins so.
    Prefix(String),
    /// The highest release within a major version, or within a minor one.
    SemVer {
        /// The major version.
        major: u64,
        /// The minor version, if the rule is that narrow.
        minor: Option<u64>,
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

impl TagRule {
    /// How a rule is written: in the characters that AWS allows in a tag's value.
    pub const PATTERN: &str = r"^(semver:[0-9]{1,9}(\.[0-9]{1,9})?|prefix:[A-Za-z0-9_][A-Za-z0-9_.-]*|[A-Za-z0-9_][A-Za-z0-9_.-]*)$";

    /// Reads a rule that matches [`Self::PATTERN`].
    pub fn parse(text: &str) -> Self {
        if let Some(prefix) = text.strip_prefix("prefix:") {
            return Self::Prefix(prefix.into());
        }
        let Some(version) = text.strip_prefix("semver:") else {
            return Self::Exact(text.into());
        };
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        Self::SemVer {
            major: numbers.next().unwrap_or(0),
            minor: numbers.next(),
        }
    }

    /// The digest that the rule chooses among the images of a repository.
    pub fn choose<'a>(&self, images: &'a [Pushed]) -> Option<&'a str> {
        let chosen = match self {
            Self::Exact(tag) => images.iter().find(|image| image.tags.contains(tag)),
            Self::Prefix(prefix) => images
                .iter()
                .filter(|image| image.tags.iter().any(|tag| tag.starts_with(prefix)))
                .max_by_key(|image| (image.at, &image.digest)),
            Self::SemVer { major, minor } => images
                .iter()
                .filter_map(|image| {
                    let releases = image.tags.iter().filter_map(|tag| release(tag));
                    let within = releases.filter(|release| {
                        release.0 == *major && minor.is_none_or(|minor| release.1 == minor)
                    });
                    within.max().map(|release| (release, image))
                })
                .max_by_key(|(release, image)| (*release, image.at))
                .map(|(_, image)| image),
        };
        chosen.map(|image| image.digest.as_str())
    }
}

/// `1.4.2` or `v1.4.2`; pre-releases and builds are no releases.
fn release(tag: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = tag
        .strip_prefix('v')
        .unwrap_or(tag)
        .split('.')
        .map(str::parse);
    let mut next = || numbers.next()?.ok();
    let release = (next()?, next()?, next()?);
    numbers.next().is_none().then_some(release)
}

/// The digest that `rule` chooses in a repository today.
///
/// # Errors
/// Those of `ecr:DescribeImages`.
pub async fn newest(aws: &Aws, repository: &str, rule: &TagRule) -> Result<Option<String>> {
    let mut images = Vec::new();
    let mut pages = aws
        .ecr()
        .describe_images()
        .repository_name(repository)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("ecr:DescribeImages"))?;
        images.extend(
            page.image_details
                .unwrap_or_default()
                .into_iter()
                .filter_map(|image| {
                    Some(Pushed {
                        digest: image.image_digest?,
                        tags: image.image_tags.unwrap_or_default(),
                        at: image.image_pushed_at.map_or(0, |at| at.secs()),
                    })
                }),
        );
    }
    Ok(rule.choose(&images).map(str::to_owned))
}

/// The platforms of an image, `linux/amd64`. An index names them; for a single image they are in its configuration.
///
/// # Errors
/// [`Error::Failed`] if the repository holds something that is not a container image, otherwise those of ECR.
pub async fn platforms(aws: &Aws, repository: &str, digest: &str) -> Result<Vec<String>> {
    let found = aws
        .ecr()
        .batch_get_image()
        .repository_name(repository)
        // Without these ECR may hand out an index as the image for one platform.
        .set_accepted_media_types(Some(MANIFESTS.map(str::to_owned).to_vec()))
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
        let layer = aws
            .ecr()
            .get_download_url_for_layer()
            .repository_name(repository)
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
        return Ok(vec![platform.to_string()]);
    }
    Ok(manifest
        .manifests
        .into_iter()
        .filter_map(|entry| entry.platform)
        .map(|platform| platform.to_string())
        .collect())
}

/// Waits for the first image of a spec that App Runner can run. `attempt` counts the state's retries, which come every
/// [`WAIT_SECONDS`]; it is the clock, so that the limit holds whatever speed the state machine runs at.
///
/// # Errors
/// `NotReady` until there is one, [`Error::Failed`] when the spec's limit has passed or the image is for another platform.
pub async fn wait(aws: &Aws, spec: &Spec, attempt: u32) -> Result<String> {
    let repository = spec.repository();
    let Some(digest) = newest(aws, &repository, &TagRule::parse(&spec.image.tag)).await? else {
        let push = format!(
            "an image tagged {} in the repository {repository}",
            spec.image.tag
        );
        if attempt * WAIT_SECONDS >= u32::from(spec.image.wait_minutes) * 60 {
            return Err(Error::Failed(format!(
                "{push} did not come within {} min: push it, or raise image.wait_minutes, and start again",
                spec.image.wait_minutes
            )));
        }
        return Err(Error::NotReady(push));
    };
    let platforms = platforms(aws, &repository, &digest).await?;
    if !platforms.iter().any(|platform| platform == PLATFORM) {
        return Err(Error::Failed(format!(
            "{repository}@{digest} is for {}, and App Runner runs {PLATFORM} only: build it with --platform {PLATFORM}",
            platforms.join(", ")
        )));
    }
    Ok(digest)
}

/// How many seconds lie between two looks for the first image; `statemachine/provision.asl.yaml` says the same.
pub const WAIT_SECONDS: u32 = 15;

/// The manifests that we can read, as the registries of Docker and OCI name them.
const MANIFESTS: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
];

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

    #[test]
    fn an_exact_rule_chooses_the_image_that_carries_the_tag_now() {
        let images = [
            pushed("a", &[], 3),
            pushed("b", &["latest", "1.0.0"], 2),
            pushed("c", &["1.1.0"], 1),
        ];
        assert_eq!(TagRule::parse("latest").choose(&images), Some("b"));
        assert_eq!(TagRule::parse("2.0.0").choose(&images), None);
    }

    #[test]
    fn a_prefix_chooses_the_newest_push_and_not_the_highest_name() {
        let images = [
            pushed("a", &["release-9"], 1),
            pushed("b", &["release-10"], 2),
            pushed("c", &["main-1"], 3),
        ];
        assert_eq!(TagRule::parse("prefix:release-").choose(&images), Some("b"));
    }

    #[test]
    fn a_version_range_chooses_the_highest_release_and_neither_backports_nor_pre_releases() {
        let images = [
            pushed("backport", &["1.4.9"], 9),
            pushed("highest", &["v1.10.0"], 2),
            pushed("candidate", &["1.11.0-rc.1"], 3),
            pushed("next", &["2.0.0"], 4),
        ];
        assert_eq!(TagRule::parse("semver:1").choose(&images), Some("highest"));
        assert_eq!(
            TagRule::parse("semver:1.4").choose(&images),
            Some("backport")
        );
        assert_eq!(TagRule::parse("semver:3").choose(&images), None);
    }
}
