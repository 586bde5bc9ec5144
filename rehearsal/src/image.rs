//! A container image without a container: what `docker push` leaves in ECR.

use crate::{ACCOUNT, Error, LocalAws, REGION, Result};
use aws_config::Region;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_ecr::types::ImageIdentifier;
use aws_smithy_types::Blob;
use groundcrew::tag_rule::TagRule;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Images that were pushed: each gets a number, so that no two are the same.
static PUSHED: AtomicU64 = AtomicU64::new(0);

impl LocalAws {
    /// The private registry of an account in a region. What is pushed to that of another account or region is an event
    /// there, and not here.
    pub fn registry(&self, account: &str, region: &str) -> Registry {
        let root = Credentials::new(account, "test", None, None, "the root user of an account");
        let config = self.sdk_config().to_builder();
        let config = config
            .region(Region::new(region.to_owned()))
            .credentials_provider(SharedCredentialsProvider::new(root));
        Registry {
            ecr: Client::new(&config.build()),
        }
    }

    /// [`Registry::push_image`] to the account's own registry.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn push_image(&self, repository: &str, tag: &str, arch: &str) -> Result<String> {
        self.own().push_image(repository, tag, arch).await
    }

    /// [`Registry::push_image_as`] to the account's own registry.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn push_image_as(
        &self,
        repository: &str,
        tags: &[&str],
        architecture: &str,
    ) -> Result<String> {
        let own = self.own();
        own.push_image_as(repository, tags, architecture).await
    }

    /// [`Registry::push_index`] to the account's own registry.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn push_index(
        &self,
        repository: &str,
        tag: &str,
        architectures: &[&str],
    ) -> Result<String> {
        self.own().push_index(repository, tag, architectures).await
    }

    /// [`Registry::tag_image`] in the account's own registry.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn tag_image(&self, repository: &str, digest: &str, tag: &str) -> Result<()> {
        self.own().tag_image(repository, digest, tag).await
    }

    /// [`Registry::delete_image`] in the account's own registry.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn delete_image(&self, repository: &str, digest: &str) -> Result<()> {
        self.own().delete_image(repository, digest).await
    }

    fn own(&self) -> Registry {
        self.registry(ACCOUNT, REGION)
    }
}

/// A private registry of ECR.
#[derive(Clone, Debug)]
pub struct Registry {
    ecr: Client,
}

impl Registry {
    /// Creates a repository that all accounts named here may pull from.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn create_repository(&self, name: &str, readers: &[&str]) -> Result<()> {
        let create = self.ecr.create_repository().repository_name(name);
        create
            .send()
            .await
            .map_err(Error::call("ecr:CreateRepository"))?;
        if readers.is_empty() {
            return Ok(());
        }
        let readers = readers
            .iter()
            .map(|account| format!("arn:aws:iam::{account}:root"));
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": readers.collect::<Vec<_>>()},
                "Action": [
                    "ecr:BatchGetImage",
                    "ecr:DescribeImages",
                    "ecr:DescribeImageScanFindings",
                    "ecr:GetDownloadUrlForLayer",
                ],
            }],
        });
        self.ecr
            .set_repository_policy()
            .repository_name(name)
            .policy_text(policy.to_string())
            .send()
            .await
            .map(drop)
            .map_err(Error::call("ecr:SetRepositoryPolicy"))
    }

    /// Pushes a new image for `linux/{architecture}` (`amd64`, `arm64`), as `docker push` does, and returns its digest,
    /// which no image had before.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn push_image(
        &self,
        repository: &str,
        tag: &str,
        architecture: &str,
    ) -> Result<String> {
        self.push_image_as(repository, &[tag], architecture).await
    }

    /// Pushes one new image under several tags, or under none. Each tag is a push of its own to ECR.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn push_image_as(
        &self,
        repository: &str,
        tags: &[&str],
        architecture: &str,
    ) -> Result<String> {
        let manifest = self.upload_image(repository, architecture).await?;
        if tags.is_empty() {
            self.put(repository, None, MANIFEST, &manifest).await?;
        }
        for tag in tags {
            self.put(repository, Some(tag), MANIFEST, &manifest).await?;
        }
        Ok(digest(&manifest))
    }

    /// Pushes a new image for several architectures: an untagged image for each, then the tagged index of them, whose
    /// digest it returns.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn push_index(
        &self,
        repository: &str,
        tag: &str,
        architectures: &[&str],
    ) -> Result<String> {
        let mut children = Vec::new();
        for architecture in architectures {
            let child = self.upload_image(repository, architecture).await?;
            self.put(repository, None, MANIFEST, &child).await?;
            children.push(json!({
                "mediaType": MANIFEST,
                "digest": digest(&child),
                "size": child.len(),
                "platform": {"architecture": architecture, "os": "linux"},
            }));
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        let index = index.to_string();
        self.put(repository, Some(tag), INDEX, &index).await?;
        Ok(digest(&index))
    }

    /// Moves a tag to an image that is in the repository, as `docker tag` and `docker push` do. Nothing happens if it
    /// is there already.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn tag_image(&self, repository: &str, digest: &str, tag: &str) -> Result<()> {
        let image = ImageIdentifier::builder().image_digest(digest).build();
        let found = self
            .ecr
            .batch_get_image()
            .repository_name(repository)
            .image_ids(image)
            .send()
            .await
            .map_err(Error::call("ecr:BatchGetImage"))?;
        let Some(image) = found.images.unwrap_or_default().pop() else {
            return Err(Error::Call {
                call: "ecr:BatchGetImage",
                reason: format!("{repository}@{digest} does not exist"),
            });
        };
        let kind = image.image_manifest_media_type.unwrap_or_default();
        let manifest = image.image_manifest.unwrap_or_default();
        self.put(repository, Some(tag), &kind, &manifest).await
    }

    /// Deletes an image with all its tags.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn delete_image(&self, repository: &str, digest: &str) -> Result<()> {
        self.ecr
            .batch_delete_image()
            .repository_name(repository)
            .image_ids(ImageIdentifier::builder().image_digest(digest).build())
            .send()
            .await
            .map(drop)
            .map_err(Error::call("ecr:BatchDeleteImage"))
    }

    /// Uploads the configuration of a new image and returns its manifest.
    async fn upload_image(&self, repository: &str, architecture: &str) -> Result<String> {
        let number = PUSHED.fetch_add(1, Ordering::Relaxed).to_string();
        let configuration = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": {"org.opencontainers.image.revision": number}},
            "rootfs": {"type": "layers", "diff_ids": []},
        })
        .to_string();
        self.upload(repository, &configuration).await?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": configuration.len(), "digest": digest(&configuration)},
            "layers": [],
        });
        Ok(manifest.to_string())
    }

    async fn put(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        manifest: &str,
    ) -> Result<()> {
        let put = self
            .ecr
            .put_image()
            .repository_name(repository)
            .set_image_tag(tag.map(str::to_owned))
            .image_manifest_media_type(media_type)
            .image_manifest(manifest)
            .send()
            .await;
        match put {
            // `docker push` is content with what is there.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_image_already_exists_exception()) =>
            {
                Ok(())
            }
            put => put.map(drop).map_err(Error::call("ecr:PutImage")),
        }
    }

    async fn upload(&self, repository: &str, layer: &str) -> Result<()> {
        let ecr = &self.ecr;
        let upload = ecr
            .initiate_layer_upload()
            .repository_name(repository)
            .send()
            .await
            .map_err(Error::call("ecr:InitiateLayerUpload"))?;
        let id = upload.upload_id.unwrap_or_default();
        ecr.upload_layer_part()
            .repository_name(repository)
            .upload_id(&id)
            .part_first_byte(0)
            .part_last_byte(layer.len() as i64 - 1)
            .layer_part_blob(Blob::new(layer))
            .send()
            .await
            .map_err(Error::call("ecr:UploadLayerPart"))?;
        ecr.complete_layer_upload()
            .repository_name(repository)
            .upload_id(id)
            .layer_digests(digest(layer))
            .send()
            .await
            .map_err(Error::call("ecr:CompleteLayerUpload"))?;
        Ok(())
    }
}

/// A tag that a rule would choose.
pub fn tag_for(rule: &TagRule) -> String {
    match rule {
        TagRule::Exact(tag) => tag.clone(),
        TagRule::Prefix(prefix) => format!("{prefix}1"),
        TagRule::SemVer { major, minor, .. } => format!("{major}.{}.0", minor.unwrap_or(0)),
    }
}

fn digest(content: &str) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(content) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundcrew::tag_rule::Pushed;

    #[test]
    fn a_digest_is_written_as_registries_write_it() {
        assert_eq!(
            digest(""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn the_tag_for_a_rule_is_chosen_by_that_rule() {
        for rule in ["latest", "prefix:release-", "semver:3", "semver:3.7"] {
            let rule = TagRule::parse(rule);
            let image = Pushed {
                digest: "sha256:1".into(),
                tags: vec![tag_for(&rule)],
                at: 0,
            };
            let chosen = rule.choose(&[image]).map(|chosen| chosen.digest);
            assert_eq!(chosen.as_deref(), Some("sha256:1"), "{rule:?}");
        }
    }
}
