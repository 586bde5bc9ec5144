//! The ARNs that events carry: read once, at the edge.

use crate::environment::Account;
use std::fmt::{Display, Formatter, Result};

/// `arn:aws:apprunner:REGION:ACCOUNT:service/NAME/ID`
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ServiceArn(String);

impl ServiceArn {
    /// Reads the ARN of an App Runner service; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.split(':').collect();
        let ["arn", _, "apprunner", _, _, resource] = parts.as_slice() else {
            return None;
        };
        let (name, id) = resource.strip_prefix("service/")?.split_once('/')?;
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_service = !name.is_empty() && name.bytes().all(in_name) && !id.is_empty();
        is_service.then(|| Self(text.into()))
    }

    /// That of a service of an account.
    pub fn new(account: &Account, name: &str, id: &str) -> Self {
        let Account {
            partition, region, ..
        } = account;
        let of = &account.id;
        Self(format!(
            "arn:{partition}:apprunner:{region}:{of}:service/{name}/{id}"
        ))
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }

    /// The service's id, which a service of the same name that comes after it does not have.
    pub fn id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the service is one of this account and region: no other can be deployed from here.
    pub fn is_of(&self, account: &Account) -> bool {
        let mut parts = self.0.split(':').skip(3);
        parts.next() == Some(&account.region) && parts.next() == Some(&account.id)
    }
}

impl Display for ServiceArn {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.0)
    }
}

/// `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretArn(String);

impl SecretArn {
    /// Reads the whole ARN of a secret; `None` for anything else, a secret's mere name too.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.split(':').collect();
        let ["arn", _, "secretsmanager", _, _, "secret", name] = parts.as_slice() else {
            return None;
        };
        (!name.is_empty()).then(|| Self(text.into()))
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The secret's name, without the six characters that Secrets Manager appends.
    pub fn name(&self) -> &str {
        let name = self.0.rsplit(':').next().unwrap_or_default();
        match name.rsplit_once('-') {
            Some((name, suffix)) if suffix.len() == 6 => name,
            _ => name,
        }
    }
}

impl Display for SecretArn {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_arn_and_nothing_else_is_one() {
        let arn = "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/8fe1e103";
        assert_eq!(
            ServiceArn::parse(arn).expect("a service").name(),
            "shop-dev"
        );
        for other in [
            "shop-dev",
            "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev",
            "arn:aws:apprunner:us-east-1:123456789012:service//8fe1e103",
            "arn:aws:apprunner:us-east-1:123456789012:vpcconnector/shop-dev/1/8fe1e103",
            "arn:aws:ecs:us-east-1:123456789012:service/shop-dev/8fe1e103",
        ] {
            assert_eq!(ServiceArn::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_secret_has_its_name_without_the_suffix() {
        let secret = |name: &str| {
            SecretArn::parse(&format!(
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}"
            ))
        };
        assert_eq!(
            secret("shop/db-a1B2c3").expect("a secret").name(),
            "shop/db"
        );
        assert_eq!(
            secret("shop-db-a1B2c3").expect("a secret").name(),
            "shop-db"
        );
        assert_eq!(
            secret("shop-database").expect("a secret").name(),
            "shop-database"
        );
        assert_eq!(SecretArn::parse("shop/db"), None);
        assert_eq!(secret(""), None);
    }
}
