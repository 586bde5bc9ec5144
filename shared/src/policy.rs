//! How a service is deployed, as its spec says and as a tag of the service keeps it.

use crate::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How new images and secrets are delivered.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How many minutes the service's alarms are watched after a deployment; one that turns red takes the service back to the image before. The alarms look at periods of five minutes. 0: not watched.
    #[schemars(range(min = 0, max = 240))]
    pub bake_minutes: u16,
    /// An image with a finding of this severity, or of a higher one, is not deployed. Left out: findings are not looked at.
    #[schemars(with = "Option<String>", extend("enum" = ["low", "medium", "high", "critical", null]))]
    pub refuse_findings: Option<Severity>,
    /// What happens to an image without a scan result (scanning failed, or it cannot be scanned), where findings are looked at.
    pub without_scan: WithoutScan,
}

/// The severity of a finding, as ECR names it.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// LOW
    Low,
    /// MEDIUM
    Medium,
    /// HIGH
    High,
    /// CRITICAL
    Critical,
}

/// What happens to an image without a scan result.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutScan {
    /// It is deployed.
    #[default]
    Deploy,
    /// It is refused.
    Refuse,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            bake_minutes: 10,
            refuse_findings: None,
            without_scan: WithoutScan::Deploy,
        }
    }
}

impl Severity {
    const ALL: [(Self, &str); 4] = [
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::Critical, "critical"),
    ];

    /// Its name in a spec.
    pub fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(severity, _)| *severity == self);
        named.map_or("", |(_, name)| name)
    }

    /// The severity that ECR names so, in any case; `INFORMATIONAL` and `UNDEFINED` are below them all.
    pub fn of(name: &str) -> Option<Self> {
        let named = Self::ALL
            .iter()
            .find(|(_, known)| known.eq_ignore_ascii_case(name));
        named.map(|(severity, _)| *severity)
    }
}

impl Policy {
    /// Reads the tag of a service; a service without one is deployed by default.
    ///
    /// # Errors
    /// [`Error::Failed`] names the tag and what it may say.
    pub fn parse(tag: Option<&String>) -> Result<Self> {
        let mut policy = Self::default();
        let refused = |part: &str| {
            Error::Failed(format!(
                "the tag {} says {part:?}: it holds bake=<minutes from 0 to 240>, findings=<none, low, medium, high or critical> and unscanned=<deploy or refuse>",
                crate::stack::TAG_POLICY
            ))
        };
        for part in tag.map(|tag| tag.split_whitespace()).into_iter().flatten() {
            match part.split_once('=') {
                Some(("bake", minutes)) => {
                    let parsed = minutes.parse().ok().filter(|minutes| *minutes <= 240);
                    policy.bake_minutes = parsed.ok_or_else(|| refused(part))?;
                }
                Some(("findings", "none")) => policy.refuse_findings = None,
                Some(("findings", name)) => {
                    let severity = Severity::of(name).ok_or_else(|| refused(part))?;
                    policy.refuse_findings = Some(severity);
                }
                Some(("unscanned", "deploy")) => policy.without_scan = WithoutScan::Deploy,
                Some(("unscanned", "refuse")) => policy.without_scan = WithoutScan::Refuse,
                _ => return Err(refused(part)),
            }
        }
        Ok(policy)
    }
}

/// As the tag has it.
impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unscanned = match self.without_scan {
            WithoutScan::Deploy => "deploy",
            WithoutScan::Refuse => "refuse",
        };
        let findings = self.refuse_findings.map_or("none", Severity::name);
        write!(
            f,
            "bake={} findings={findings} unscanned={unscanned}",
            self.bake_minutes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_survives_its_way_through_a_tag() {
        let policy = Policy {
            bake_minutes: 45,
            refuse_findings: Some(Severity::High),
            without_scan: WithoutScan::Refuse,
        };
        let tag = policy.to_string();
        assert_eq!(Policy::parse(Some(&tag)).expect("a policy"), policy);
        assert_eq!(Policy::parse(None).expect("the default"), Policy::default());
    }

    #[test]
    fn a_tag_that_says_something_else_is_refused_with_what_it_may_say() {
        for tag in [
            "bake=ten",
            "bake=999",
            "findings=worst",
            "unscanned=maybe",
            "what",
        ] {
            let error = Policy::parse(Some(&tag.to_owned())).expect_err(tag);
            assert!(
                error.to_string().contains("groundcrew:deploy-policy"),
                "{error}"
            );
        }
    }
}
