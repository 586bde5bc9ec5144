//! A container image without a container: what `docker push` leaves in ECR.

use crate::{Error, LocalAws, Result};
use aws_smithy_types::Blob;
use groundcrew::image::TagRule;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl LocalAws {
    /// Pushes an image for `linux/{architecture}` (`amd64`, `arm64`), as `docker push` does, and returns its digest.
    /// Each push under a new tag has a digest of its own.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn push_image(
        &self,
        repository: &str,
        tag: &str,
        architecture: &str,
    ) -> Result<String> {
        let configuration = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": {"org.opencontainers.image.version": tag}},
            "rootfs": {"type": "layers", "diff_ids": []},
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "size": configuration.len(), "digest": digest(&configuration)},
            "layers": [],
        });
        self.upload(repository, &configuration).await?;
        let pushed = self
            .aws()
            .ecr()
            .put_image()
            .repository_name(repository)
            .image_tag(tag)
            .image_manifest_media_type(MANIFEST)
            .image_manifest(manifest.to_string())
            .send()
            .await
            .map_err(Error::call("ecr:PutImage"))?;
        let image = pushed
            .image
            .and_then(|image| image.image_id)
            .and_then(|id| id.image_digest);
        Ok(image.unwrap_or_else(|| digest(&manifest.to_string())))
    }

    async fn upload(&self, repository: &str, layer: &str) -> Result<()> {
        let ecr = &self.aws().ecr();
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
    use groundcrew::image::Pushed;

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
