//! What is in a secret, and what its rotation does in Secrets Manager.

use super::LocalAws;
use crate::{Error, Result};
use serde_json::Value;

impl LocalAws {
    /// The current value of a secret that holds JSON; null if it holds something else.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn secret(&self, secret_id: &str) -> Result<Value> {
        let secret = self.aws().secrets_manager().get_secret_value();
        let secret = secret.secret_id(secret_id).send().await;
        let secret = secret.map_err(Error::call("secretsmanager:GetSecretValue"))?;
        let value = secret.secret_string().unwrap_or_default();
        Ok(serde_json::from_str(value).unwrap_or_default())
    }

    /// Rotates a secret to this value as a rotation function does, and returns the id of the new version: a version
    /// labelled AWSPENDING (`createSecret`), then AWSCURRENT moves to it (`finishSecret`).
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn rotate_secret(&self, secret_id: &str, value: &str) -> Result<String> {
        let pending = self.begin_rotation(secret_id, value).await?;
        self.finish_rotation(secret_id, &pending).await?;
        Ok(pending)
    }

    /// Stores a new value as AWSPENDING: nobody who asks for the secret gets it yet. Returns the id of its version.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn begin_rotation(&self, secret_id: &str, value: &str) -> Result<String> {
        let put = self
            .aws()
            .secrets_manager()
            .put_secret_value()
            .secret_id(secret_id)
            .secret_string(value)
            .version_stages("AWSPENDING")
            .send()
            .await
            .map_err(Error::call("secretsmanager:PutSecretValue"))?;
        Ok(put.version_id.unwrap_or_default())
    }

    /// Moves AWSCURRENT to a version.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn finish_rotation(&self, secret_id: &str, version_id: &str) -> Result<()> {
        let current = self.current_version(secret_id).await?;
        self.aws()
            .secrets_manager()
            .update_secret_version_stage()
            .secret_id(secret_id)
            .version_stage("AWSCURRENT")
            .move_to_version_id(version_id)
            .remove_from_version_id(current)
            .send()
            .await
            .map(drop)
            .map_err(Error::call("secretsmanager:UpdateSecretVersionStage"))
    }

    /// The id of the version that is labelled AWSCURRENT.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn current_version(&self, secret_id: &str) -> Result<String> {
        let secret = self
            .aws()
            .secrets_manager()
            .describe_secret()
            .secret_id(secret_id)
            .send()
            .await
            .map_err(Error::call("secretsmanager:DescribeSecret"))?;
        let current = secret
            .version_ids_to_stages
            .unwrap_or_default()
            .into_iter()
            .find(|(_, stages)| stages.iter().any(|stage| stage == "AWSCURRENT"));
        current.map(|(version, _)| version).ok_or(Error::Call {
            call: "secretsmanager:DescribeSecret",
            reason: format!("no version of {secret_id} is AWSCURRENT"),
        })
    }
}
