//! The claim of a deployment that is under way, kept in a tag of the service.
//!
//! It is written before App Runner is called. After a crash anywhere, whoever looks next finds in it what was asked for,
//! and in App Runner's list of operations whether it was.

use aws_sdk_apprunner::types::{OperationSummary, OperationType};
use groundcrew::stack::TAG_DEPLOYING;
use groundcrew::stack::Tags;
use serde::{Deserialize, Serialize};

/// What is being deployed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Another image, and with it the current secrets: `UpdateService`.
    Image,
    /// The same image with the current secrets: `StartDeployment`.
    Secrets,
    /// The image before, because the new one is not well: `UpdateService`.
    Rollback,
}

/// Who deploys what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// The name of the execution.
    pub execution: String,
    /// What it does.
    pub kind: Kind,
    /// The service's newest operation before App Runner was called: those after it are ours.
    pub after: Option<String>,
    /// The digest to be deployed.
    pub digest: String,
    /// The digest that runs until then, if the service is pinned to one.
    pub previous: Option<String>,
    /// The fingerprint of the secrets that go with it.
    pub secrets: Option<String>,
}

/// What the tag says when nothing is under way: a tag cannot be taken away together with setting others.
pub(crate) const NONE: &str = "none";

/// Every digest begins so; left out, a claim with two of them fits into a tag.
const SHA256: &str = "sha256:";

impl Claim {
    /// The longest name of an execution that fits into a tag beside the rest.
    pub const LONGEST_EXECUTION: usize = 64;

    /// Reads the tag of a service; `None` if nothing is under way.
    pub fn of(tags: &Tags) -> Option<Self> {
        let mut words = tags.get(TAG_DEPLOYING)?.split(' ');
        let given = |word: &str| (word != NONE).then(|| word.to_owned());
        let digest = |word: &str| given(word).map(|digits| format!("{SHA256}{digits}"));
        let execution = words.next()?.to_owned();
        let kind = match words.next()? {
            "image" => Kind::Image,
            "secrets" => Kind::Secrets,
            "rollback" => Kind::Rollback,
            _ => return None,
        };
        Some(Self {
            execution,
            kind,
            after: given(words.next()?),
            digest: digest(words.next()?)?,
            previous: digest(words.next()?),
            secrets: given(words.next()?),
        })
    }

    /// The operation that came of it: the first one of its kind after the claim.
    pub fn operation<'a>(
        &self,
        newest_first: &'a [OperationSummary],
    ) -> Option<&'a OperationSummary> {
        let wanted = match self.kind {
            Kind::Image | Kind::Rollback => OperationType::UpdateService,
            Kind::Secrets => OperationType::StartDeployment,
        };
        newest_first
            .iter()
            .take_while(|operation| operation.id() != self.after.as_deref())
            .filter(|operation| operation.r#type() == Some(&wanted))
            .last()
    }
}

/// As the tag has it: who, what, after which operation, to which digest, from which, with which secrets.
impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Image => "image",
            Kind::Secrets => "secrets",
            Kind::Rollback => "rollback",
        };
        let or_none = |given: &Option<String>| given.clone().unwrap_or(NONE.to_owned());
        let digits = |digest: &str| digest.strip_prefix(SHA256).unwrap_or(digest).to_owned();
        let words = [
            self.execution.clone(),
            kind.to_owned(),
            or_none(&self.after),
            digits(&self.digest),
            self.previous.as_deref().map_or(NONE.to_owned(), digits),
            or_none(&self.secrets),
        ];
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            execution: "x".repeat(Claim::LONGEST_EXECUTION),
            kind: Kind::Rollback,
            after: Some("0a".repeat(16)),
            digest: format!("sha256:{}", "0b".repeat(32)),
            previous: Some(format!("sha256:{}", "0c".repeat(32))),
            secrets: Some("0d".repeat(8)),
        }
    }

    fn operation(id: &str, kind: OperationType) -> OperationSummary {
        OperationSummary::builder().id(id).r#type(kind).build()
    }

    #[test]
    fn the_longest_claim_fits_into_a_tag_and_comes_back_whole() {
        let written = claim().to_string();
        assert!(written.len() <= 256, "{} characters", written.len());
        let tags = Tags::from([(TAG_DEPLOYING.to_owned(), written)]);
        assert_eq!(Claim::of(&tags), Some(claim()));
    }

    #[test]
    fn nothing_is_claimed_by_no_tag_by_none_or_by_what_somebody_else_wrote() {
        assert_eq!(Claim::of(&Tags::new()), None);
        for text in ["none", "", "me image", "me picture none 0a none none"] {
            let tags = Tags::from([(TAG_DEPLOYING.to_owned(), text.to_owned())]);
            assert_eq!(Claim::of(&tags), None, "{text}");
        }
    }

    #[test]
    fn the_operation_of_a_claim_is_the_first_of_its_kind_after_it() {
        let id = claim().after.expect("it has one");
        let operations = [
            operation("later", OperationType::UpdateService),
            operation("ours", OperationType::UpdateService),
            operation("other", OperationType::PauseService),
            operation(&id, OperationType::UpdateService),
            operation("before", OperationType::UpdateService),
        ];
        let found = claim()
            .operation(&operations)
            .and_then(OperationSummary::id);
        assert_eq!(found, Some("ours"));
        assert_eq!(claim().operation(&operations[3..]), None);
    }
}
