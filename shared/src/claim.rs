//! The claim of a deployment that is under way, as it is remembered of the service.
//!
//! It is written before App Runner is called, by compare-and-set: of executions that look at the same moment one gets it. After
//! a crash anywhere, whoever looks next finds in it what was asked for, and in App Runner's list of operations whether it was.

use crate::error::found;
use crate::stack::{TAG_DEPLOYING, Tags};
use crate::{Aws, Result};
use aws_sdk_apprunner::types::{OperationSummary, OperationType};
use aws_sdk_sfn::types::ExecutionStatus;
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
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claim {
    /// The name of the execution.
    pub execution: String,
    /// What it does.
    pub kind: Kind,
    /// Whether App Runner was called, or was about to be: before, no operation can be that of the claim.
    pub sent: bool,
    /// The service's newest operation before App Runner was called: those after it are ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The digest to be deployed; `None` for the secrets of a service that is pinned to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The tag that the image was chosen for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The digest that runs until then, if the service is pinned to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The fingerprint of the secrets that go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<String>,
    /// How the service answered right before, if it was asked then and was not well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell_before: Option<Answer>,
}

/// How a service answers on its health path.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Answer {
    /// The HTTP status; `None` if it did not answer.
    pub status: Option<u16>,
    /// The same in words: `answered 403`.
    pub said: String,
}

/// What the tag says when nothing is under way: a tag cannot be taken away together with setting others.
pub const NONE: &str = "none";

/// Every digest begins so; left out, a claim with two of them fits into a tag.
const SHA256: &str = "sha256:";

/// At the end of the kind: App Runner was called.
const SENT: char = '+';

impl Claim {
    /// The longest name of an execution that fits into a tag beside the rest.
    pub const LONGEST_EXECUTION: usize = 60;

    /// Reads the tag of a service; `None` if nothing is under way. A claim of a version that writes it otherwise is one, too:
    /// its first word is the execution, and which operation is its own nobody knows.
    pub fn of(tags: &Tags) -> Option<Self> {
        let claim = tags.get(TAG_DEPLOYING)?;
        let execution = claim.split(' ').next()?;
        if [NONE, ""].contains(&execution) {
            return None;
        }
        Some(Self::read(claim).unwrap_or_else(|| Self {
            execution: execution.to_owned(),
            kind: Kind::Image,
            sent: false,
            after: Some(claim.clone()), // no operation has such an id
            digest: None,
            tag: None,
            previous: None,
            secrets: None,
            unwell_before: None,
        }))
    }

    fn read(claim: &str) -> Option<Self> {
        let mut words = claim.split(' ');
        let given = |word: &str| (word != NONE).then(|| word.to_owned());
        let digest = |word: &str| given(word).map(|digits| format!("{SHA256}{digits}"));
        let execution = words.next()?.to_owned();
        let kind = words.next()?;
        let sent = kind.ends_with(SENT);
        let kind = match kind.trim_end_matches(SENT) {
            "image" => Kind::Image,
            "secrets" => Kind::Secrets,
            "rollback" => Kind::Rollback,
            _ => return None,
        };
        Some(Self {
            execution,
            kind,
            sent,
            after: given(words.next()?),
            digest: digest(words.next()?),
            tag: None,
            previous: digest(words.next()?),
            secrets: given(words.next()?),
            unwell_before: None,
        })
    }

    /// The operations of its kind that App Runner has accepted since, the newest first; `None` if so many came after it
    /// that the list no longer reaches back.
    pub fn operations<'a>(
        &self,
        newest_first: &'a [OperationSummary],
    ) -> Option<Vec<&'a OperationSummary>> {
        let wanted = match self.kind {
            Kind::Image | Kind::Rollback => OperationType::UpdateService,
            Kind::Secrets => OperationType::StartDeployment,
        };
        let at = |operation: &OperationSummary| operation.id() == self.after.as_deref();
        let since = match newest_first.iter().position(at) {
            Some(position) => &newest_first[..position],
            None if self.after.is_none() => newest_first,
            None => return None,
        };
        let of_kind = since
            .iter()
            .filter(|operation| operation.r#type() == Some(&wanted));
        Some(of_kind.collect())
    }

    /// Whether its execution is running. One that nobody knows is not, nor is a name that no execution can have.
    ///
    /// # Errors
    /// Those of `states:DescribeExecution`.
    pub async fn is_alive(&self, aws: &Aws) -> Result<bool> {
        let machine = &aws.account.deploy_state_machine;
        let arn = machine.replacen(":stateMachine:", ":execution:", 1);
        let described = aws
            .sfn()
            .describe_execution()
            .execution_arn(format!("{arn}:{}", self.execution))
            .send()
            .await;
        let described = found(
            described,
            |error| error.is_execution_does_not_exist() || error.is_invalid_arn(),
            "states:DescribeExecution",
        )?;
        Ok(described.is_some_and(|it| it.status() == &ExecutionStatus::Running))
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
        let digits = |digest: &Option<String>| {
            let digest = digest.as_deref().unwrap_or(NONE);
            digest.strip_prefix(SHA256).unwrap_or(digest).to_owned()
        };
        let words = [
            self.execution.clone(),
            format!(
                "{kind}{}",
                if self.sent {
                    SENT.to_string()
                } else {
                    String::new()
                }
            ),
            or_none(&self.after),
            digits(&self.digest),
            digits(&self.previous),
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
            sent: true,
            after: Some("01234567-89ab-cdef-0123-456789abcdef".into()),
            digest: Some(format!("sha256:{}", "0b".repeat(32))),
            tag: None,
            previous: Some(format!("sha256:{}", "0c".repeat(32))),
            secrets: Some("0d".repeat(8)),
            unwell_before: None,
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
    fn a_claim_of_each_kind_comes_back_from_its_tag() {
        for kind in [Kind::Image, Kind::Secrets, Kind::Rollback] {
            for sent in [true, false] {
                let claim = Claim {
                    kind,
                    sent,
                    digest: None,
                    ..claim()
                };
                let tags = Tags::from([(TAG_DEPLOYING.to_owned(), claim.to_string())]);
                assert_eq!(Claim::of(&tags), Some(claim));
            }
        }
    }

    #[test]
    fn of_a_service_without_an_operation_every_one_came_after_the_claim() {
        let claim = Claim {
            after: None,
            ..claim()
        };
        let operations = [operation("first", OperationType::UpdateService)];
        let found = claim.operations(&operations).expect("it is known");
        assert_eq!(found.len(), 1);
        assert_eq!(claim.operations(&[]), Some(Vec::new()));
    }

    #[test]
    fn nothing_is_claimed_by_no_tag_by_none_or_by_an_empty_one() {
        assert_eq!(Claim::of(&Tags::new()), None);
        for text in ["none", ""] {
            let tags = Tags::from([(TAG_DEPLOYING.to_owned(), text.to_owned())]);
            assert_eq!(Claim::of(&tags), None, "{text}");
        }
    }

    #[test]
    fn a_claim_that_a_later_version_writes_otherwise_is_somebodys_and_no_operation_is_its_own() {
        for text in ["me", "me image", "me picture none 0a none none"] {
            let tags = Tags::from([(TAG_DEPLOYING.to_owned(), text.to_owned())]);
            let claim = Claim::of(&tags).unwrap_or_else(|| panic!("{text} is free"));
            assert_eq!((claim.execution.as_str(), claim.sent), ("me", false));
            let operations = [operation("first", OperationType::UpdateService)];
            assert_eq!(claim.operations(&operations), None, "{text}");
        }
        let longer = format!("{} another word", claim());
        let tags = Tags::from([(TAG_DEPLOYING.to_owned(), longer)]);
        assert_eq!(Claim::of(&tags), Some(claim()));
    }

    #[test]
    fn the_operations_of_a_claim_are_those_of_its_kind_that_came_after_it() {
        let id = claim().after.expect("it has one");
        let operations = [
            operation("later", OperationType::UpdateService),
            operation("first", OperationType::UpdateService),
            operation("other", OperationType::PauseService),
            operation(&id, OperationType::UpdateService),
            operation("before", OperationType::UpdateService),
        ];
        let found = |operations| {
            let found = claim().operations(operations)?.into_iter();
            found.map(OperationSummary::id).collect::<Option<Vec<_>>>()
        };
        assert_eq!(found(&operations), Some(vec!["later", "first"]));
        assert_eq!(found(&operations[3..]), Some(Vec::new()));
        assert_eq!(
            found(&operations[..3]),
            None,
            "it is not known what came after it"
        );
    }
}
