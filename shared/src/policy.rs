//! How a service is deployed, as its spec says and as a tag of the service keeps it.

use crate::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How new images and secrets are delivered.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Policy {
    /// How many minutes the metrics of the service's alarms are watched after a deployment. A metric that meets the condition of its alarm, on data of after the deployment alone, takes the service back to the image before. The default is as long as each alarm of groundcrew needs. 0: not watched.
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
            bake_minutes: 25,
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

/// The parts of a tag that set something else than these keys.
pub(crate) fn unknown<'a>(tag: Option<&'a String>, keys: &[&str]) -> Vec<&'a str> {
    let parts = tag.map(|tag| tag.split_whitespace()).into_iter().flatten();
    parts
        .filter(|part| !keys.contains(&part.split('=').next().unwrap_or_default()))
        .collect()
}

impl Policy {
    /// What the tag of a service may set.
    const KEYS: [&str; 3] = ["bake", "findings", "unscanned"];

    /// The parts of the tag of a service that are not known here: slips of the pen, and what a later version knows.
    pub fn unknown(tag: Option<&String>) -> Vec<&str> {
        unknown(tag, &Self::KEYS)
    }

    /// Reads the tag of a service; a service without one is deployed by default. Nothing fails for [`Self::unknown`].
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
            match part.split_once('=').unwrap_or((part, "")) {
                ("bake", minutes) => {
                    let parsed = minutes.parse().ok().filter(|minutes| *minutes <= 240);
                    policy.bake_minutes = parsed.ok_or_else(|| refused(part))?;
                }
                ("findings", "none") => policy.refuse_findings = None,
                ("findings", name) => {
                    let severity = Severity::of(name).ok_or_else(|| refused(part))?;
                    policy.refuse_findings = Some(severity);
                }
                ("unscanned", "deploy") => policy.without_scan = WithoutScan::Deploy,
                ("unscanned", "refuse") => policy.without_scan = WithoutScan::Refuse,
                (key, _) if Self::KEYS.contains(&key) => return Err(refused(part)),
                _ => {}
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
            "bake",
        ] {
            let error = Policy::parse(Some(&tag.to_owned())).expect_err(tag);
            assert!(
                error.to_string().contains("groundcrew:deploy-policy"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_part_that_is_not_known_changes_nothing_and_is_named() {
        let tag = "bake=45 bkae=60 canary=10% slowly".to_owned();
        let policy = Policy::parse(Some(&tag)).expect("a policy");
        assert_eq!(policy.bake_minutes, 45);
        assert_eq!(
            Policy::unknown(Some(&tag)),
            ["bkae=60", "canary=10%", "slowly"]
        );
        let written = Policy::default().to_string();
        assert!(Policy::unknown(Some(&written)).is_empty(), "{written}");
    }
}
