//! The rest of the local AWS: asked what exists there, told what App Runner does there. Plain JSON over HTTP.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::StartError;
use crate::world::Emulation;

/// How long an answer may take, on the wall clock.
const PATIENCE: Duration = Duration::from_secs(10);

/// The other side of the interface.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// `127.0.0.1:PORT`
    authority: String,
}

/// Why the surroundings did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurroundingsError {
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the connection broke: {0}")]
    Http(#[from] hyper::Error),
    #[error("no answer within {PATIENCE:?}")]
    Slow(#[from] tokio::time::error::Elapsed),
    #[error("the answer was {0}")]
    Status(StatusCode),
    #[error("the answer was not understood: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Debug, Deserialize)]
pub(crate) struct Role {
    pub(crate) exists: bool,
    #[serde(default)]
    pub(crate) age_seconds: f64,
    /// The service principals that the role trusts.
    #[serde(default)]
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Image {
    pub(crate) exists: bool,
    #[serde(default)]
    pub(crate) digest: Option<String>,
    #[serde(default)]
    pub(crate) architectures: Vec<String>,
}

/// Where an image is.
#[derive(Debug, PartialEq)]
pub(crate) struct ImageReference<'a> {
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) repository: &'a str,
    /// A tag or a digest.
    pub(crate) reference: &'a str,
}

/// What the role of a service's instances gets of a secret or a parameter, or why it gets nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct Read {
    /// The id of the version; parameters have none.
    #[serde(default)]
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) refused: Option<String>,
}

/// `SECRET_ARN`, with `:json-key:version-stage:version-id` behind it or not (developer guide, config-file-ref).
#[derive(Debug, PartialEq)]
pub(crate) struct SecretReference<'a> {
    arn: &'a str,
    stage: &'a str,
    version: &'a str,
}

impl<'a> SecretReference<'a> {
    /// Nothing if it is not a secret of Secrets Manager.
    pub(crate) fn parse(reference: &'a str) -> Option<Self> {
        if reference.split(':').nth(2) != Some("secretsmanager") {
            return None;
        }
        let end = reference.match_indices(':').nth(6).map(|(at, _)| at);
        let (arn, rest) = reference.split_at(end.unwrap_or(reference.len()));
        let mut rest = rest.split(':').skip(2);
        Some(Self {
            arn,
            stage: rest.next().unwrap_or_default(),
            version: rest.next().unwrap_or_default(),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Subnet {
    pub(crate) id: String,
    pub(crate) vpc: String,
    /// The id of its availability zone.
    pub(crate) zone: String,
    pub(crate) public: bool,
}

#[derive(Debug, Deserialize)]
struct Subnets {
    subnets: Vec<Subnet>,
}

/// Something that App Runner does outside itself.
#[derive(Debug)]
pub(crate) enum Notice {
    Event(Event),
    LogGroups(Vec<String>),
    /// Lines of a log stream.
    Log {
        group: String,
        stream: String,
        lines: Vec<String>,
    },
    CreateNetworkInterfaces {
        vpc_connector_arn: String,
        subnets: Vec<String>,
        security_groups: Vec<String>,
    },
    DeleteNetworkInterfaces {
        vpc_connector_arn: String,
    },
}

/// An EventBridge event, in the camelCase shape of the developer guide (monitor-ev).
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) detail_type: &'static str,
    pub(crate) service_arn: String,
    pub(crate) detail: Value,
}

impl Surroundings {
    pub(crate) fn new(base: &str) -> Result<Surroundings, StartError> {
        match base.trim_end_matches('/').strip_prefix("http://") {
            Some(authority) if !authority.contains('/') => Ok(Surroundings {
                authority: authority.to_owned(),
            }),
            _ => Err(StartError::Surroundings(base.to_owned())),
        }
    }

    pub(crate) async fn role(&self, arn: &str) -> Result<Role, SurroundingsError> {
        self.ask(&format!("/_local/role?arn={}", encoded(arn)))
            .await
    }

    pub(crate) async fn image(
        &self,
        image: &ImageReference<'_>,
    ) -> Result<Image, SurroundingsError> {
        let (account, region) = (encoded(image.account), encoded(image.region));
        let (repository, reference) = (encoded(image.repository), encoded(image.reference));
        self.ask(&format!(
            "/_local/image?account={account}&region={region}&repository={repository}&reference={reference}"
        ))
        .await
    }

    /// What a role gets that asks for this secret now.
    pub(crate) async fn secret(
        &self,
        secret: &SecretReference<'_>,
        role: &str,
    ) -> Result<Read, SurroundingsError> {
        let (arn, stage) = (encoded(secret.arn), encoded(secret.stage));
        let (version, role) = (encoded(secret.version), encoded(role));
        self.ask(&format!(
            "/_local/secret?arn={arn}&stage={stage}&version={version}&role={role}"
        ))
        .await
    }

    /// What a role gets that asks for this parameter of Systems Manager now.
    pub(crate) async fn parameter(&self, arn: &str, role: &str) -> Result<Read, SurroundingsError> {
        let (arn, role) = (encoded(arn), encoded(role));
        self.ask(&format!("/_local/parameter?arn={arn}&role={role}"))
            .await
    }

    pub(crate) async fn subnets(&self, ids: &[String]) -> Result<Vec<Subnet>, SurroundingsError> {
        let ids: Vec<String> = ids.iter().map(|id| encoded(id)).collect();
        self.ask(&format!("/_local/subnets?ids={}", ids.join(",")))
            .await
            .map(|answer: Subnets| answer.subnets)
    }

    async fn tell(&self, notice: &Notice) -> Result<(), SurroundingsError> {
        let (method, path, body) = match notice {
            Notice::Event(event) => (
                Method::POST,
                "/_local/events",
                json!({
                    "source": "aws.apprunner",
                    "detail-type": event.detail_type,
                    "resources": [event.service_arn],
                    "detail": event.detail,
                }),
            ),
            Notice::LogGroups(names) => {
                (Method::POST, "/_local/log-groups", json!({"names": names}))
            }
            Notice::Log {
                group,
                stream,
                lines,
            } => (
                Method::POST,
                "/_local/log-events",
                json!({"group": group, "stream": stream, "lines": lines}),
            ),
            Notice::CreateNetworkInterfaces {
                vpc_connector_arn,
                subnets,
                security_groups,
            } => (
                Method::POST,
                "/_local/network-interfaces",
                json!({
                    "vpc_connector_arn": vpc_connector_arn, "subnets": subnets, "security_groups": security_groups,
                }),
            ),
            Notice::DeleteNetworkInterfaces { vpc_connector_arn } => (
                Method::DELETE,
                "/_local/network-interfaces",
                json!({"vpc_connector_arn": vpc_connector_arn}),
            ),
        };
        self.send(method, path, body.to_string()).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, SurroundingsError> {
        Ok(serde_json::from_slice(
            &self.send(Method::GET, path, String::new()).await?,
        )?)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Bytes, SurroundingsError> {
        let exchange = async {
            let stream = TcpStream::connect(&self.authority).await?;
            let (mut client, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(HOST, &self.authority)
                .header(CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body)))
                .expect("an encoded path and fixed headers make a request");
            let response = client.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            if status.is_success() {
                Ok(body)
            } else {
                Err(SurroundingsError::Status(status))
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await?
    }
}

/// Passes notices on, one after the other, so that events arrive in their order.
pub(crate) async fn deliver(
    emulation: Arc<Emulation>,
    mut notices: mpsc::UnboundedReceiver<Notice>,
) {
    while let Some(notice) = notices.recv().await {
        if let Some(surroundings) = &emulation.surroundings
            && let Err(error) = surroundings.tell(&notice).await
        {
            emulation
                .world()
                .complain(format!("{notice:?} could not be delivered: {error}"));
        }
        emulation.delivered.send_modify(|delivered| *delivered += 1);
    }
}

/// Percent-encodes a query value.
fn encoded(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_a_secret_may_name_a_stage_or_a_version() {
        let arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop-Ab12Cd";
        for (rest, stage, version) in [
            ("", "", ""),
            (":password::", "", ""),
            (":password:AWSPREVIOUS:", "AWSPREVIOUS", ""),
            (":::4711", "", "4711"),
        ] {
            assert_eq!(
                SecretReference::parse(&format!("{arn}{rest}")),
                Some(SecretReference {
                    arn,
                    stage,
                    version
                })
            );
        }
        let parameter = "arn:aws:ssm:us-east-1:123456789012:parameter/shop";
        assert_eq!(SecretReference::parse(parameter), None);
        assert_eq!(SecretReference::parse("shop"), None);
    }
}
