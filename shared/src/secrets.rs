//! Which versions of its secrets a service should run with, as one short text to compare.

use crate::{Aws, Error, Result};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Which versions of some secrets are current.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fingerprint {
    /// Sixteen hexadecimal digits, `None` without secrets.
    pub text: Option<String>,
    /// The secrets whose versions may not be seen: they count as ones without a version.
    pub unreadable: BTreeSet<String>,
}

/// The fingerprint of the current versions of some secrets. It is made of ARNs and version ids; no value is read. A secret that
/// is gone counts as one without a version.
///
/// # Errors
/// Those of `secretsmanager:DescribeSecret`, but that it does not exist or may not be described.
pub async fn fingerprint(aws: &Aws, arns: &BTreeSet<String>) -> Result<Fingerprint> {
    let mut versions = BTreeMap::new();
    let mut unreadable = BTreeSet::new();
    for arn in arns {
        let version = match current_version(aws, arn).await {
            Ok(version) => version,
            Err(Error::Denied { .. }) => {
                unreadable.insert(arn.clone());
                None
            }
            Err(Error::Aws { code, .. }) if code == "ResourceNotFoundException" => None,
            Err(error) => return Err(error),
        };
        versions.insert(arn.as_str(), version.unwrap_or_default());
    }
    Ok(Fingerprint {
        text: of(&versions),
        unreadable,
    })
}

async fn current_version(aws: &Aws, arn: &str) -> Result<Option<String>> {
    let described = aws
        .secrets_manager()
        .describe_secret()
        .secret_id(arn)
        .send()
        .await
        .map_err(Error::aws("secretsmanager:DescribeSecret"))?;
    let current = described
        .version_ids_to_stages
        .into_iter()
        .flatten()
        .find(|(_, stages)| stages.iter().any(|stage| stage == "AWSCURRENT"));
    Ok(current.map(|(version_id, _)| version_id))
}

fn of(versions: &BTreeMap<&str, String>) -> Option<String> {
    let lines = versions.iter();
    let text: String = lines
        .map(|(arn, version)| format!("{arn} {version}\n"))
        .collect();
    (!versions.is_empty()).then(|| hexadecimal(&text, 8))
}

/// The first bytes of the SHA-256 of a text, two digits each.
pub fn hexadecimal(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text);
    let bytes = digest.iter().take(bytes);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_version_changes_the_fingerprint_and_no_secrets_have_none() {
        let one = |version: &str| of(&BTreeMap::from([("arn", version.to_owned())]));
        assert_ne!(one("first"), one("second"));
        assert_eq!(one("first"), one("first"));
        assert_eq!(one("first").map(|text| text.len()), Some(16));
        assert_eq!(of(&BTreeMap::new()), None);
    }
}
