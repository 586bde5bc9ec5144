//! One error enum for every function; the variant's name is the contract with the state machines.

use crate::Mistake;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use lambda_runtime::Diagnostic;

/// The result of everything that talks to AWS.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Each variant is one retry policy in `statemachine/*.asl.yaml`, matched there by [`Error::name`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource exists or is on its way and cannot be used yet: ask again.
    #[error("{0} is not ready yet")]
    NotReady(String),
    /// AWS is doing something else to this resource (maintenance, a deployment): ask again.
    #[error("{call}: {reason}")]
    Busy {
        /// The API call that was refused, as IAM spells it.
        call: &'static str,
        /// AWS's own sentence.
        reason: String,
    },
    /// Another execution is deploying this service and watches it: ask again, for as long as the longest watch takes.
    #[error("{0}")]
    Claimed(String),
    /// AWS asks for fewer calls: ask again, later.
    #[error("{call}: AWS is throttling this call")]
    Throttled {
        /// The API call that was throttled.
        call: &'static str,
    },
    /// AWS did not answer, or answered with a fault of its own: ask again.
    #[error("{call}: AWS did not answer this call: {reason}")]
    Unavailable {
        /// The API call without an answer.
        call: &'static str,
        /// What the connection or AWS said.
        reason: String,
    },
    /// A resource of that name exists and is not ours: it is never adopted, changed or deleted.
    #[error(
        "{0} exists without the tags of this stack, so it is not touched: rename the stack, or remove or rename that resource"
    )]
    Conflict(String),
    /// The input is refused; nothing was created.
    #[error("{}", listed(.0))]
    Invalid(Vec<Mistake>),
    /// The input of a step is none that this version of the function knows: no person wrote it, a state machine did.
    #[error("{0}")]
    Unreadable(String),
    /// AWS gave up on a resource for good; the message says which, why and what to do.
    #[error("{0}")]
    Failed(String),
    /// A service that an earlier execution left as CREATE_FAILED and that an update did not repair: delete it, then create it.
    #[error("{0} could not be rebuilt by an update and has to be created anew")]
    CreateFailed(String),
    /// The function's role may not make this call.
    #[error("{call}: not allowed: {reason}")]
    Denied {
        /// The API call that IAM refused.
        call: &'static str,
        /// AWS's own sentence, which names the role and the action.
        reason: String,
    },
    /// Any other refusal by AWS.
    #[error("{call}: {code}: {reason}")]
    Aws {
        /// The API call that failed.
        call: &'static str,
        /// AWS's error code.
        code: String,
        /// AWS's own sentence.
        reason: String,
    },
}

impl Error {
    /// Every name that a state machine may match on.
    pub const NAMES: [&str; 12] = [
        "NotReady",
        "Busy",
        "Claimed",
        "Throttled",
        "Unavailable",
        "Conflict",
        "Invalid",
        "Unreadable",
        "Failed",
        "CreateFailed",
        "Denied",
        "Aws",
    ];

    /// The `errorType` that Step Functions sees.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotReady(_) => "NotReady",
            Self::Busy { .. } => "Busy",
            Self::Claimed(_) => "Claimed",
            Self::Throttled { .. } => "Throttled",
            Self::Unavailable { .. } => "Unavailable",
            Self::Conflict(_) => "Conflict",
            Self::Invalid(_) => "Invalid",
            Self::Unreadable(_) => "Unreadable",
            Self::Failed(_) => "Failed",
            Self::CreateFailed(_) => "CreateFailed",
            Self::Denied { .. } => "Denied",
            Self::Aws { .. } => "Aws",
        }
    }

    /// Whether the state machine asks again by itself. Such an answer is part of normal work, not a failure to log.
    pub fn is_retried(&self) -> bool {
        matches!(
            self,
            Self::NotReady(_)
                | Self::Busy { .. }
                | Self::Claimed(_)
                | Self::Throttled { .. }
                | Self::Unavailable { .. }
        )
    }

    /// Turns the SDK's error into ours: `.map_err(Error::aws("ec2:CreateVpc"))`. Retriable or not is decided here, once.
    pub fn aws<E>(call: &'static str) -> impl FnOnce(SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| {
            let Some(refusal) = error.as_service_error() else {
                return Self::Unavailable {
                    call,
                    reason: chain(&error),
                };
            };
            let code = refusal.code().unwrap_or("Unknown").to_owned();
            let reason = refusal.message().unwrap_or("AWS gave no reason").to_owned();
            let status = error
                .raw_response()
                .map(|response| response.status().as_u16());
            Self::refused(call, code, reason, status)
        }
    }

    /// What a refusal means. AWS's own words for each are in `rehearsal/local_aws/refusals.json`, with where they are from; a
    /// test reads them. What is looked at again is looked at for as long as its state has time, and ends with these words.
    fn refused(call: &'static str, code: String, reason: String, status: Option<u16>) -> Self {
        let service = call.split(':').next().unwrap_or_default();
        let waits = || Self::NotReady(format!("what {call} waits for ({reason})"));
        // Seen of an account that came after the closure; and what another closed service says.
        let is_closed = code == "SubscriptionRequiredException" || reason.contains("new customers");
        if is_closed && service == "apprunner" {
            return Self::Failed(format!(
                "{call}: App Runner is closed to new customers since 2026-04-30, and this account may not use it: take one that used it before ({reason})"
            ));
        }
        match (service, code.as_str()) {
            (
                _,
                "Throttled"
                | "Throttling"
                | "ThrottlingException"
                | "ThrottledException"
                | "ProvisionedThroughputExceededException"
                | "RequestLimitExceeded"
                | "RequestThrottled"
                | "RequestThrottledException"
                | "EC2ThrottledException"
                | "TooManyRequestsException"
                | "SlowDown",
            ) => Self::Throttled { call },
            (
                _,
                "AccessDenied"
                | "AccessDeniedException"
                | "UnauthorizedOperation"
                | "AuthorizationError"
                | "AuthorizationErrorException",
            ) => Self::Denied { call, reason },
            (_, "RequestTimeout" | "RequestTimeoutException") => Self::Unavailable { call, reason },
            // No state leads out of this one by itself.
            ("apprunner", "InvalidStateException") if reason.contains("VpcIngressConnection") => {
                Self::Failed(format!(
                    "{call}: {reason} Delete its VPC ingress connections first"
                ))
            }
            (
                _,
                "InvalidStateException"
                | "InvalidDBInstanceState"
                | "InvalidDBInstanceStateFault"
                | "InvalidDBSubnetGroupStateFault"
                | "InvalidDBSubnetStateFault"
                | "InsufficientDBInstanceCapacity"
                | "OperationAbortedException"
                | "ConcurrentAccess"
                | "ConcurrentAccessException"
                | "ConcurrentModification"
                | "ConcurrentModificationException"
                | "ResourceConflict"
                | "StaleTag"
                | "StaleTagException",
            ) => Self::Busy { call, reason },
            // Network interfaces that a VPC connector leaves behind hold its group and subnets for a while; and IAM does not
            // know at once that a policy is gone.
            (_, "DependencyViolation" | "DeleteConflict") => waits(),
            // The role that RDS works with is being made, on its first use in an account.
            ("rds", "InvalidParameterValue")
                if reason.contains("service linked role")
                    || reason.contains("Missing necessary credentials") =>
            {
                waits()
            }
            (
                _,
                "EntityAlreadyExists"
                | "DBInstanceAlreadyExists"
                | "DBSubnetGroupAlreadyExists"
                | "InvalidGroup.Duplicate"
                | "InvalidPermission.Duplicate"
                | "InvalidSubnet.Conflict"
                | "RepositoryAlreadyExistsException"
                | "Resource.AlreadyAssociated"
                | "ResourceExistsException",
            ) => Self::NotReady(format!("what {call} has made already ({reason})")),
            // The same, of what has no code of its own; and of a connector whose groups one has that was just deleted (Assumption groups-of-a-connector).
            ("apprunner", "InvalidRequestException") if reason.contains("already exists") => {
                Self::NotReady(format!("what {call} has made already ({reason})"))
            }
            ("iam", "InvalidInput") if reason.contains("has been taken") => {
                Self::NotReady(format!("what {call} has made already ({reason})"))
            }
            // It was deleted since it was listed; or what was just made is not known everywhere; or a look has missed what a call
            // with a lost answer had made. The next look finds out which.
            _ if is_missing(call, &code) => {
                Self::NotReady(format!("what {call} asks about ({reason})"))
            }
            // A secret that was just restored.
            ("secretsmanager", "InvalidRequestException")
                if reason.contains("marked for deletion")
                    || reason.contains("scheduled for deletion") =>
            {
                waits()
            }
            // A role made a second ago cannot be assumed everywhere yet; App Runner has no error code of its own for
            // it (terraform-provider-aws retries on this very text).
            ("apprunner", "InvalidRequestException") if reason.contains("Error in assuming") => {
                Self::NotReady(format!("a role that App Runner has to assume ({reason})"))
            }
            // A connector or a configuration is in use for a while after its last service is gone
            // (apprunner-roadmap#161, terraform-provider-aws#38534).
            ("apprunner", "InvalidRequestException") if reason.contains("used by") => waits(),
            _ if status == Some(429) => Self::Throttled { call },
            _ if status.is_some_and(|status| status >= 500) => Self::Unavailable { call, reason },
            _ => Self::Aws { call, code, reason },
        }
    }

    /// A request that could not be put together because a required member is missing; tests reach every one.
    pub fn built(error: aws_smithy_types::error::operation::BuildError) -> Self {
        Self::Failed(error.to_string())
    }

    /// What a state machine has sent to a function that does not know it.
    pub fn unreadable(state_machine: &str, error: &serde_json::Error) -> Self {
        Self::Unreadable(format!(
            "the input of a state of {state_machine} cannot be read: {error}"
        ))
    }

    /// One mistake in the input.
    pub fn invalid(
        field: &str,
        value: impl Into<serde_json::Value>,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Invalid(vec![Mistake::new(field, value, allowed)])
    }
}

/// What AWS answers; `None` if it refuses because there is no such thing, by what `is_none` says of its error.
///
/// # Errors
/// [`Error::aws`] of any other refusal.
pub fn found<T, E>(
    answer: Result<T, SdkError<E, HttpResponse>>,
    is_none: impl FnOnce(&E) -> bool,
    call: &'static str,
) -> Result<Option<T>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.as_service_error().is_some_and(is_none) => Ok(None),
        Err(error) => Err(Error::aws(call)(error)),
    }
}

/// Whether AWS says that there is no such thing, of what a look has just found or a call has just made. What a person names in
/// a spec, an image or a secret, is a mistake if it is not there.
fn is_missing(call: &str, code: &str) -> bool {
    match call.split(':').next() {
        Some("ec2") => code.ends_with(".NotFound"),
        Some("apprunner" | "logs") => code == "ResourceNotFoundException",
        Some("iam") => code == "NoSuchEntity",
        Some("rds") => [
            "DBInstanceNotFound",
            "DBInstanceNotFoundFault",
            "DBSubnetGroupNotFoundFault",
        ]
        .contains(&code),
        Some("sns") => [
            "NotFound",
            "NotFoundException",
            "ResourceNotFound",
            "ResourceNotFoundException",
        ]
        .contains(&code),
        Some("cloudwatch") => ["ResourceNotFound", "ResourceNotFoundException"].contains(&code),
        Some("ecr") => {
            let reads_images = [
                "BatchGetImage",
                "DescribeImages",
                "DescribeImageScanFindings",
                "GetDownloadUrlForLayer",
            ];
            code == "RepositoryNotFoundException"
                && !reads_images
                    .iter()
                    .any(|operation| call.ends_with(operation))
        }
        Some("secretsmanager") => {
            code == "ResourceNotFoundException" && call != "secretsmanager:DescribeSecret"
        }
        _ => false,
    }
}

fn listed(mistakes: &[Mistake]) -> String {
    let lines: Vec<_> = mistakes.iter().map(Mistake::to_string).collect();
    lines.join("\n")
}

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self {
            error_type: error.name().into(),
            error_message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the table of what AWS says.
    #[derive(serde::Deserialize)]
    struct Refusal {
        id: String,
        service: String,
        operation: String,
        status: u16,
        code: String,
        message: String,
        is: String,
        becomes: String,
        source: String,
    }

    fn refusals() -> Vec<Refusal> {
        let table = include_str!("../../rehearsal/local_aws/refusals.json");
        serde_json::from_str(table).expect("the table can be read")
    }

    #[test]
    fn what_passes_is_looked_at_again_and_what_stays_ends_with_a_name_and_with_awss_own_words() {
        for line in refusals() {
            let id = &line.id;
            // A call lives as long as the program; a test has few.
            let call: &'static str = format!("{}:{}", line.service, line.operation).leak();
            let error = Error::refused(call, line.code, line.message.clone(), Some(line.status));
            assert_eq!(error.name(), line.becomes, "{id}");
            let passes = ["transient", "final", "mistake"]
                .iter()
                .position(|it| *it == line.is);
            // Only whoever has just made something can hope that a denial passes: a few looks of `provision`.
            let is_retried = error.is_retried() || (passes == Some(0) && line.becomes == "Denied");
            assert_eq!(passes.expect("a kind") == 0, is_retried, "{id}");
            let said = matches!(error, Error::Throttled { .. })
                || error.to_string().contains(&line.message);
            assert!(said, "{id}: {error}");
            assert!(!line.source.is_empty(), "{id}: who says so?");
        }
    }

    #[test]
    fn what_a_person_names_and_is_not_there_is_a_mistake() {
        for (call, code) in [
            ("ecr:DescribeImages", "RepositoryNotFoundException"),
            ("secretsmanager:DescribeSecret", "ResourceNotFoundException"),
            ("apprunner:CreateService", "InvalidRequestException"),
        ] {
            let error = Error::refused(call, code.into(), "no".into(), Some(400));
            assert_eq!(error.name(), "Aws", "{call}");
        }
    }
}
