//! The errors that App Runner answers with.

use hyper::StatusCode;
use serde_json::{Value, json};

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorName,
    pub(crate) message: String,
}

/// The errors of the service model, and the ones that any AWS JSON service may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::enum_variant_names)] // the names are AWS's
pub(crate) enum ErrorName {
    InternalServiceErrorException,
    InvalidRequestException,
    InvalidStateException,
    ResourceNotFoundException,
    SerializationException,
    ServiceQuotaExceededException,
    SubscriptionRequiredException,
    UnknownOperationException,
}

impl Refusal {
    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self {
            error: ErrorName::InvalidRequestException,
            message: message.into(),
        }
    }

    pub(crate) fn invalid_state(message: impl Into<String>) -> Self {
        Self {
            error: ErrorName::InvalidStateException,
            message: message.into(),
        }
    }

    pub(crate) fn not_found(what: &str, arn: &str) -> Self {
        Self {
            error: ErrorName::ResourceNotFoundException,
            message: format!("{what} not found for ARN: {arn}."),
        }
    }

    pub(crate) fn quota(message: impl Into<String>) -> Self {
        Self {
            error: ErrorName::ServiceQuotaExceededException,
            message: message.into(),
        }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self {
            error: ErrorName::InternalServiceErrorException,
            message: message.into(),
        }
    }

    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self {
            error: ErrorName::SerializationException,
            message: message.into(),
        }
    }

    pub(crate) fn unknown_operation(message: impl Into<String>) -> Self {
        Self {
            error: ErrorName::UnknownOperationException,
            message: message.into(),
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self.error {
            ErrorName::InternalServiceErrorException => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The body. The member of App Runner's own errors is `Message` (service model), the one of AWS's common errors
    /// `message`; clients read either, so both are there.
    pub(crate) fn body(&self) -> Value {
        // awsJson1.0 names the shape with its namespace: https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
        let namespace = match self.error {
            ErrorName::SerializationException
            | ErrorName::SubscriptionRequiredException
            | ErrorName::UnknownOperationException => "com.amazon.coral.service",
            _ => "com.amazonaws.apprunner",
        };
        json!({
            "__type": format!("{namespace}#{:?}", self.error),
            "Message": self.message,
            "message": self.message,
        })
    }
}
