//! Freezing a service, and letting it go again.

use crate::request::Request;
use groundcrew::stack::{TAG_HOLD, Tags};
use groundcrew::{Aws, Error, Managed, Result};
use serde::Serialize;
use serde_json::Value;

/// What `hold` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    /// Whether the service is frozen now: then there is nothing more to do.
    pub(crate) held: bool,
    /// What was done, for a person.
    pub(crate) reason: String,
}

/// A step of its own, so that an execution that waits for the service afterwards does not set its tag again and again over
/// that of a later one.
pub(crate) async fn hold(aws: &Aws, request: &Value) -> Result<Held> {
    let request = Request::parse(request)?;
    let held = request.hold == Some(true);
    let Some(managed) = look(aws, &request.service).await? else {
        return Ok(Held {
            held: true,
            reason: "there is no such service (any more)".into(),
        });
    };
    if !managed.is_ours() {
        return Err(Error::Conflict(format!("service {}", managed.name())));
    }
    managed
        .tag(aws, &Tags::from([(TAG_HOLD.into(), held.to_string())]))
        .await?;
    let reason = if held {
        "it is held: no event deploys anything until deploy is started with hold: false"
    } else {
        "it is no longer held"
    };
    Ok(Held {
        held,
        reason: reason.into(),
    })
}

/// A service by its name or by its ARN.
pub(crate) async fn look(aws: &Aws, service: &str) -> Result<Option<Managed>> {
    if service.starts_with("arn:") {
        Managed::look(aws, service).await
    } else {
        Managed::find(aws, service).await
    }
}
