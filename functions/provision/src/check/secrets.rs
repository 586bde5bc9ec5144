//! The secrets and parameters that a service reads. App Runner reads them when it deploys, minutes later, and no call says why
//! it could not. No value is read here.

use crate::resources::{credentials, too_many_secrets};
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_ssm::types::{ParameterMetadata, ParameterStringFilter};
use groundcrew::environment::Account;
use groundcrew::{Aws, Error, Mistake, Result, Spec};
use std::collections::{BTreeMap, BTreeSet};

/// A filter of `DescribeParameters` takes fifty values (its service model, `ParameterStringFilterValueList`).
const VALUES: usize = 50;

/// What a spec says of one variable that gets its value from elsewhere.
enum Reference<'a> {
    /// A key of the stack's own secret.
    Own,
    /// A secret, by its ARN with or without the six characters at its end, and which of its values.
    Secret {
        arn: String,
        stage: &'a str,
        version: &'a str,
        /// The key with stage and version, as it is written behind the ARN.
        rest: &'a str,
    },
    /// A parameter, by its ARN.
    Parameter(&'a str),
}

impl<'a> Reference<'a> {
    fn read(text: &'a str) -> Self {
        if text.starts_with("database:") {
            return Self::Own;
        }
        if text.split(':').nth(2) == Some("ssm") {
            return Self::Parameter(text);
        }
        // arn:aws:secretsmanager:region:account:secret:name, and then perhaps :json-key:stage:version.
        let end = text
            .match_indices(':')
            .nth(6)
            .map_or(text.len(), |(at, _)| at);
        let (arn, rest) = text.split_at(end);
        let mut of_secret = rest.split(':').skip(2);
        Self::Secret {
            arn: arn.to_owned(),
            stage: of_secret.next().unwrap_or_default(),
            version: of_secret.next().unwrap_or_default(),
            rest,
        }
    }
}

/// Looks up what a service reads, and writes secrets by their whole ARNs into the spec: a role may read no other.
///
/// # Errors
/// Those of AWS that say nothing about the spec.
pub(super) async fn resolve(aws: &Aws, spec: &mut Spec) -> Result<Vec<Mistake>> {
    let named = spec.service.secrets.clone();
    let mut mistakes = Vec::new();
    let (mut secrets, mut parameters) = (BTreeMap::new(), BTreeSet::new());
    for (name, text) in &named {
        let reference = Reference::read(text);
        if let Some(allowed) = elsewhere(&aws.account, &reference, text) {
            mistakes.push(mistake(name, text, allowed));
            continue;
        }
        match reference {
            Reference::Own => {}
            Reference::Secret { arn, .. } => drop(secrets.insert(arn, None)),
            Reference::Parameter(arn) => drop(parameters.insert(arn)),
        }
    }
    for (arn, found) in &mut secrets {
        *found = credentials::describe(aws, arn).await?;
    }
    let parameters = describe_parameters(aws, &parameters).await?;
    for (name, text) in &named {
        if mistakes.iter().any(|mistake| mistake.field == field(name)) {
            continue;
        }
        let wrong = match Reference::read(text) {
            Reference::Own => None,
            Reference::Parameter(arn) => wrong_with_parameter(parameters.get(arn)),
            Reference::Secret {
                arn,
                stage,
                version,
                rest,
            } => {
                let secret = secrets.get(&arn).and_then(Option::as_ref);
                let whole = secret.and_then(|secret| secret.arn()).unwrap_or(&arn);
                let whole = format!("{whole}{rest}");
                let _ = spec.service.secrets.insert(name.clone(), whole);
                wrong_with_secret(secret, stage, version)
            }
        };
        mistakes.extend(wrong.map(|allowed| mistake(name, text, allowed)));
    }
    mistakes.extend(too_many_secrets(&aws.account, spec));
    Ok(mistakes)
}

fn field(variable: &str) -> String {
    format!("service.secrets.{variable}")
}

fn mistake(variable: &str, reference: &str, allowed: String) -> Mistake {
    Mistake::new(field(variable), reference, allowed)
}

/// What is allowed instead of a reference that leads out of this account and region.
fn elsewhere(account: &Account, reference: &Reference<'_>, text: &str) -> Option<String> {
    let mut parts = text.split(':').skip(1);
    let mut is = |wanted: &str| parts.next() == Some(wanted);
    let here = is(&account.partition);
    let (what, other_account) = match reference {
        Reference::Own => return None,
        // The key that AWS manages serves no other account (Secrets Manager guide, "Access to secrets from a different account").
        Reference::Secret { .. } => (
            "a secret",
            "that of another account lies under a customer managed key, which is not supported yet",
        ),
        // Service model of App Runner, ImageConfiguration.
        Reference::Parameter(_) => ("a parameter", "App Runner reads none of another account"),
    };
    let mut parts = text.split(':').skip(3);
    let mut is = |wanted: &str| parts.next() == Some(wanted);
    // Rotations there are no events here, and nothing here may look at what is there.
    if !here || !is(&account.region) {
        return Some(format!(
            "{what} of {}, where the service runs: copy it there",
            account.region
        ));
    }
    (!is(&account.id)).then(|| format!("{what} of account {}: {other_account}", account.id))
}

/// The parameters of some ARNs. DescribeParameters goes by names, of which some begin with a slash that their ARNs lack.
async fn describe_parameters(
    aws: &Aws,
    arns: &BTreeSet<&str>,
) -> Result<BTreeMap<String, ParameterMetadata>> {
    let names = arns.iter().flat_map(|arn| {
        let name = arn.split_once(":parameter/").map_or("", |(_, name)| name);
        let rooted = [format!("/{name}")];
        // Only a name that begins with a slash may have others.
        let bare = (!name.contains('/')).then(|| name.to_owned());
        rooted.into_iter().chain(bare)
    });
    let names: Vec<_> = names.collect();
    let mut found = BTreeMap::new();
    for names in names.chunks(VALUES) {
        let filter = ParameterStringFilter::builder()
            .key("Name")
            .option("Equals")
            .set_values(Some(names.to_vec()))
            .build()
            .map_err(Error::built)?;
        let mut pages = aws
            .ssm()
            .describe_parameters()
            .parameter_filters(filter)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(Error::aws("ssm:DescribeParameters"))?;
            let arn = |parameter: &ParameterMetadata| parameter.arn.clone();
            let parameters = page.parameters.unwrap_or_default().into_iter();
            found.extend(parameters.filter_map(|parameter| Some((arn(&parameter)?, parameter))));
        }
    }
    Ok(found)
}

/// A key that everybody may use who may read what it protects. It is left out, or named by its alias (Assumption managed-key).
fn is_aws_key(key: Option<&str>, alias: &str) -> bool {
    key.is_none_or(|key| key.is_empty() || key.ends_with(alias))
}

fn wrong_with_secret(
    secret: Option<&DescribeSecretOutput>,
    stage: &str,
    version: &str,
) -> Option<String> {
    let Some(secret) = secret else {
        return Some("a secret that exists in this account and region".into());
    };
    let name = secret.name().unwrap_or_default();
    if secret.deleted_date().is_some() {
        return Some(format!(
            "a secret that is not scheduled for deletion: restore {name}, or name another"
        ));
    }
    if !is_aws_key(secret.kms_key_id(), "alias/aws/secretsmanager") {
        return Some(format!(
            "a secret under the key aws/secretsmanager: {name} lies under a customer managed key, which is not supported yet"
        ));
    }
    let stage = match (stage, version) {
        ("", "") => "AWSCURRENT",
        (stage, _) => stage,
    };
    let versions = secret.version_ids_to_stages().into_iter().flatten();
    let mut fitting = versions.filter(|(id, stages)| {
        (version.is_empty() || *id == version)
            && (stage.is_empty() || stages.iter().any(|it| it == stage))
    });
    if fitting.next().is_some() {
        return None;
    }
    let which = match version {
        "" => format!("labelled {stage}"),
        version => version.to_owned(),
    };
    Some(format!("a version that {name} has: it has none {which}"))
}

fn wrong_with_parameter(parameter: Option<&ParameterMetadata>) -> Option<String> {
    let Some(parameter) = parameter else {
        return Some("a parameter that exists in this account and region".into());
    };
    (!is_aws_key(parameter.key_id(), "alias/aws/ssm")).then(|| {
        format!(
            "a parameter under the key aws/ssm: {} lies under a customer managed key, which is not supported yet",
            parameter.name().unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_secretsmanager::primitives::DateTime;
    use std::collections::HashMap;

    fn account() -> Account {
        Account {
            partition: "aws".into(),
            region: "eu-west-1".into(),
            id: "123456789012".into(),
            permissions_boundary: String::new(),
            deploy_state_machine: String::new(),
            memory: String::new(),
        }
    }

    fn led_out(text: &str) -> String {
        elsewhere(&account(), &Reference::read(text), text).unwrap_or_default()
    }

    #[test]
    fn what_is_of_another_account_or_region_is_refused_unasked() {
        let secret =
            |rest: &str| format!("arn:aws:secretsmanager:{rest}:secret:shop/key-AbCdEf:key::");
        let parameter = |rest: &str| format!("arn:aws:ssm:{rest}:parameter/shop/key");
        assert_eq!(led_out(&secret("eu-west-1:123456789012")), "");
        assert_eq!(led_out(&parameter("eu-west-1:123456789012")), "");
        assert_eq!(led_out("database:password"), "");
        assert!(led_out(&secret("us-east-1:123456789012")).contains("a secret of eu-west-1"));
        assert!(led_out(&parameter("us-east-1:123456789012")).contains("a parameter of eu-west-1"));
        assert!(led_out(&secret("eu-west-1:210987654321")).contains("customer managed key"));
        assert!(led_out(&parameter("eu-west-1:210987654321")).contains("none of another account"));
        let china = "arn:aws-cn:ssm:eu-west-1:123456789012:parameter/shop/key";
        assert!(led_out(china).contains("a parameter of eu-west-1"));
    }

    fn secret(key: Option<&str>, stages: &[(&str, &str)]) -> DescribeSecretOutput {
        let stages = stages
            .iter()
            .map(|(id, stage)| ((*id).to_owned(), vec![(*stage).to_owned()]));
        DescribeSecretOutput::builder()
            .name("shop/key")
            .set_kms_key_id(key.map(str::to_owned))
            .set_version_ids_to_stages(Some(stages.collect::<HashMap<_, _>>()))
            .build()
    }

    #[test]
    fn a_secret_is_taken_if_the_service_can_read_it() {
        let current = [("one", "AWSCURRENT"), ("zero", "AWSPREVIOUS")];
        for key in [
            None,
            Some("alias/aws/secretsmanager"),
            Some("arn:aws:kms:eu-west-1:123456789012:alias/aws/secretsmanager"),
        ] {
            assert_eq!(
                wrong_with_secret(Some(&secret(key, &current)), "", ""),
                None
            );
        }
        for (stage, version) in [("AWSPREVIOUS", ""), ("", "zero"), ("AWSCURRENT", "one")] {
            assert_eq!(
                wrong_with_secret(Some(&secret(None, &current)), stage, version),
                None
            );
        }
    }

    #[test]
    fn a_secret_that_the_service_cannot_read_is_refused_with_the_reason() {
        let current = [("one", "AWSCURRENT")];
        let says =
            |secret: Option<&DescribeSecretOutput>, stage: &str, version: &str, words: &str| {
                let said = wrong_with_secret(secret, stage, version).unwrap_or_default();
                assert!(said.contains(words), "{said:?} does not say {words:?}");
            };
        says(None, "", "", "that exists");
        let key = "arn:aws:kms:eu-west-1:123456789012:key/0a1b";
        says(
            Some(&secret(Some(key), &current)),
            "",
            "",
            "customer managed key",
        );
        let mut deleted = secret(None, &current);
        deleted.deleted_date = Some(DateTime::from_secs(0));
        says(Some(&deleted), "", "", "restore shop/key");
        says(Some(&secret(None, &[])), "", "", "none labelled AWSCURRENT");
        says(
            Some(&secret(None, &current)),
            "AWSPREVIOUS",
            "",
            "none labelled AWSPREVIOUS",
        );
        says(Some(&secret(None, &current)), "", "two", "none two");
        says(
            Some(&secret(None, &current)),
            "AWSPREVIOUS",
            "one",
            "none one",
        );
    }

    #[test]
    fn a_parameter_is_taken_if_the_service_can_read_it() {
        let parameter = |key: Option<&str>| {
            ParameterMetadata::builder()
                .set_key_id(key.map(str::to_owned))
                .build()
        };
        assert_eq!(wrong_with_parameter(Some(&parameter(None))), None);
        assert_eq!(
            wrong_with_parameter(Some(&parameter(Some("alias/aws/ssm")))),
            None
        );
        assert!(wrong_with_parameter(Some(&parameter(Some("alias/shop")))).is_some());
        assert!(wrong_with_parameter(None).is_some());
    }
}
