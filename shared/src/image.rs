//! What ECR holds: the images of a repository, and the platforms that they are for.

use crate::reference::Repository;
use crate::tag_rule::{Pushed, TagRule};
use crate::{Aws, Error, Result, Spec};
use serde::Deserialize;

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

/// A digest as a person reads it: `sha256:` and the first twelve digits.
pub fn short(digest: &str) -> &str {
    digest.get(.."sha256:".len() + 12).unwrap_or(digest)
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
