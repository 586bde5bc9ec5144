//! Authorisations, played against the policies of `template.yaml` without a local AWS.

use crate::{Error, Result, prepare, project};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// One authorisation that somebody asks IAM for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Authorization {
    /// The function, the state machine or the role that asks, by its name in the template.
    pub who: String,
    /// The IAM action, `ec2:CreateVpc`.
    pub action: String,
    /// The ARN of what it is done to, `*` if the action knows no resources; `${CreateFunction.Arn}` is the template's.
    pub resource: String,
    /// The condition keys with their values. Those that AWS does not supply for the action and the resource count for nothing.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub keys: Map<String, Value>,
}

/// What the policies of the template say.
#[derive(Debug, Deserialize)]
pub struct Policies {
    /// To each authorisation: `allowed`, `denied`, or why AWS's own data know no such authorisation.
    pub verdicts: Vec<String>,
    /// The roles and the managed policies of the template, by their names in it, as CloudFormation makes them.
    pub roles: Map<String, Value>,
}

/// Asks the policies of the template, expanded by SAM's translator and evaluated by MiniStack, with the condition keys that AWS
/// supplies by its own data.
///
/// # Errors
/// [`Error::Prepare`] without Python; [`Error::Deploy`] if the template cannot be expanded.
pub async fn authorize(
    authorizations: &[Authorization],
    parameters: &[(&str, &str)],
) -> Result<Policies> {
    let failed = |error: std::io::Error| Error::Deploy(format!("cannot run plays.py: {error}"));
    let parameters: Map<String, Value> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let template = project::root().join("template.yaml");
    let asked = json!({"template": template, "parameters": parameters, "plays": authorizations});
    let mut child = Command::new(prepare().await?.python)
        .arg(project::root().join("rehearsal/local_aws/plays.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    // It reads to the end before it writes anything; dropped, the pipe ends.
    if let Some(mut input) = child.stdin.take() {
        let written = input.write_all(asked.to_string().as_bytes()).await;
        written.map_err(failed)?;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::Deploy(format!("{error}: {said}")))
}
