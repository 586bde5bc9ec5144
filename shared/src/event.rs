//! Reads the fields of an event. What is not known in one is no mistake; what is missing is named by its path. So the envelope of
//! the crate `aws_lambda_events` is not used: of a field that is missing serde names the parent alone, a field of another type
//! that nobody reads is a mistake to it, and its feature `eventbridge` brings a second library of times.

use crate::arn::ServiceArn;
use crate::{Error, Result};
use serde_json::Value;

/// The service that an event of App Runner is about.
///
/// # Errors
/// [`Error::Invalid`] if it names none.
pub fn service(event: &Value) -> Result<ServiceArn> {
    let arn = text(event, "resources[0]")?;
    ServiceArn::parse(arn)
        .ok_or_else(|| Error::invalid("resources[0]", arn, "the ARN of an App Runner service"))
}

/// The status that a service has got, by an event of App Runner: `RUNNING` for instance.
///
/// # Errors
/// [`Error::Invalid`] if it names none.
pub fn service_status(event: &Value) -> Result<&str> {
    either(
        event,
        [
            "detail.currentServiceStatus",
            "detail.CurrentServiceStatus",
            "detail.currentStatus",
            "detail.CurrentStatus",
        ],
    )
}

/// The status of the operation that an event of App Runner is about, `UpdateServiceCompletedSuccessfully` for instance. AWS
/// has changed the case of its names before (App Runner developer guide, "Handling App Runner events in EventBridge", before
/// and after 2024).
///
/// # Errors
/// [`Error::Invalid`] if it names none.
pub fn operation_status(event: &Value) -> Result<&str> {
    either(
        event,
        [
            "detail.operationStatus",
            "detail.OperationStatus",
            "detail.status",
            "detail.Status",
        ],
    )
}

/// The value at a path such as `detail.image-tag` or `resources[0]`; `null` where there is none.
pub fn at<'a>(event: &'a Value, path: &str) -> &'a Value {
    let pointer = path.replace(['.', '['], "/").replace(']', "");
    event
        .pointer(&format!("/{pointer}"))
        .unwrap_or(&Value::Null)
}

/// The text at a path.
///
/// # Errors
/// [`Error::Invalid`] if there is none, or something else.
pub fn text<'a>(event: &'a Value, path: &str) -> Result<&'a str> {
    optional(event, path)?.ok_or_else(|| Error::invalid(path, at(event, path).clone(), "a text"))
}

/// The text at a path; `None` for an empty one, too: AWS writes it where it has nothing to say.
///
/// # Errors
/// [`Error::Invalid`] if there is something else.
pub fn optional<'a>(event: &'a Value, path: &str) -> Result<Option<&'a str>> {
    match at(event, path) {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        other => Err(Error::invalid(path, other.clone(), "a text")),
    }
}

/// The text at the first of these paths that has a value.
///
/// # Errors
/// [`Error::Invalid`] names the first path.
pub fn either<'a>(event: &'a Value, paths: [&str; 4]) -> Result<&'a str> {
    let path = paths.iter().find(|path| !at(event, path).is_null());
    text(event, path.unwrap_or(&paths[0]))
}
