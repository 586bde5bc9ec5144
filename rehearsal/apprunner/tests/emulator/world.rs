//! An emulator with its surroundings, and a client for both of its faces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use apprunner_emulator::{Arrangement, Emulator, Fate, OperationType, Settings};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::local_aws::LocalAws;
use crate::service_model::service_model;

pub(crate) const IMAGE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop@sha256:11";
pub(crate) const OTHER_IMAGE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop@sha256:22";
pub(crate) const ACCESS_ROLE: &str = "arn:aws:iam::123456789012:role/groundcrew/shop-prod-access";
pub(crate) const INSTANCE_ROLE: &str =
    "arn:aws:iam::123456789012:role/groundcrew/shop-prod-instance";

/// How long a test waits for anything, on the wall clock.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) local_aws: LocalAws,
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) error: String,
    pub(crate) message: String,
}

impl World {
    /// A thousand AWS seconds a second.
    pub(crate) async fn start() -> World {
        World::start_at(1000.0).await
    }

    pub(crate) async fn start_at(time_scale: f64) -> World {
        let (local_aws, base) = LocalAws::start().await;
        let emulator = Emulator::start(Settings {
            account: "123456789012".into(),
            region: "us-east-1".into(),
            time_scale,
            service_model: service_model(),
            surroundings: Some(base),
        });
        World {
            emulator: emulator.unwrap(),
            local_aws,
        }
    }

    pub(crate) async fn call(&self, operation: &str, request: Value) -> Result<Value, Refused> {
        self.send(&format!("AppRunner.{operation}"), request.to_string())
            .await
    }

    pub(crate) async fn send(&self, target: &str, body: String) -> Result<Value, Refused> {
        let (status, answer) = self.post("/", target, body).await;
        assert!(
            self.emulator.complaints().is_empty(),
            "{:?}",
            self.emulator.complaints()
        );
        if status == 200 {
            return Ok(answer);
        }
        let error = answer["__type"]
            .as_str()
            .unwrap()
            .rsplit('#')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(answer["Message"], answer["message"]);
        Err(Refused {
            status,
            error,
            message: answer["message"].as_str().unwrap().to_owned(),
        })
    }

    pub(crate) async fn post(&self, path: &str, target: &str, body: String) -> (u16, Value) {
        let endpoint = self.emulator.endpoint();
        let stream = TcpStream::connect(endpoint.strip_prefix("http://").unwrap())
            .await
            .unwrap();
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", target)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Asks the address of a service, trusting only the emulator's authority. Nothing if the connection is refused.
    pub(crate) async fn get(&self, url: &str, path: &str) -> Option<(u16, Value)> {
        let (host, _) = url.split_once(':').unwrap();
        let stream = TcpStream::connect(url.replace("localhost", "127.0.0.1"))
            .await
            .ok()?;
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(
                CertificateDer::from_pem_slice(
                    self.emulator.certificate_authority_pem().as_bytes(),
                )
                .unwrap(),
            )
            .unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = match TlsConnector::from(Arc::new(tls))
            .connect(name, stream)
            .await
        {
            // The address closed between the connection and its handshake: nobody answers there.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            stream => stream.unwrap(),
        };
        let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", url)
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Some((status, serde_json::from_slice(&body).unwrap()))
    }

    /// Creates a service and answers its ARN.
    pub(crate) async fn create(&self, request: Value) -> String {
        let answer = self.call("CreateService", request).await.unwrap();
        answer["Service"]["ServiceArn"].as_str().unwrap().to_owned()
    }

    /// Creates a service, waits until it runs, and answers its ARN.
    pub(crate) async fn running(&self, name: &str) -> String {
        let arn = self.create(create_request(name)).await;
        assert_eq!(self.settled(&arn).await["Status"], "RUNNING");
        arn
    }

    pub(crate) async fn describe(&self, arn: &str) -> Value {
        self.call("DescribeService", json!({"ServiceArn": arn}))
            .await
            .unwrap()["Service"]
            .take()
    }

    /// Waits until no operation is in progress.
    pub(crate) async fn settled(&self, arn: &str) -> Value {
        let begun = Instant::now();
        loop {
            let service = self.describe(arn).await;
            if service["Status"] != "OPERATION_IN_PROGRESS" {
                return service;
            }
            assert!(begun.elapsed() < PATIENCE, "still {service}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the stand-in was told so much at this method and path.
    pub(crate) async fn told(&self, at: &str, how_many: usize) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let told = self.local_aws.told(at);
            if told.len() >= how_many {
                return told;
            }
            assert!(begun.elapsed() < PATIENCE, "only {told:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The newest operation of a service.
    pub(crate) async fn last_operation(&self, arn: &str) -> Value {
        let answer = self
            .call("ListOperations", json!({"ServiceArn": arn}))
            .await
            .unwrap();
        answer["OperationSummaryList"][0].clone()
    }

    pub(crate) fn next(&self, operation: OperationType, fate: Fate) {
        self.emulator
            .arrange(Arrangement::NextOperation {
                operation,
                service: None,
                fate,
            })
            .unwrap();
    }
}

impl Refused {
    /// That this was refused, with this error and such a text.
    pub(crate) fn is(&self, error: &str, said: &str) {
        assert!(
            self.error == error && self.message.contains(said),
            "{self:?} instead of {error}: {said}"
        );
        assert_eq!(
            self.status,
            if error == "InternalServiceErrorException" {
                500
            } else {
                400
            }
        );
    }
}

/// A request that creates a service as a rehearsed stack does.
pub(crate) fn create_request(name: &str) -> Value {
    json!({
        "ServiceName": name,
        "SourceConfiguration": source(IMAGE),
        "InstanceConfiguration": {"Cpu": "256", "Memory": "512", "InstanceRoleArn": INSTANCE_ROLE},
        "HealthCheckConfiguration": {"Protocol": "HTTP", "Path": "/health"},
        "Tags": [{"Key": "groundcrew:app", "Value": "shop"}],
    })
}

pub(crate) fn source(image: &str) -> Value {
    json!({
        "ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"},
        "AutoDeploymentsEnabled": false,
        "AuthenticationConfiguration": {"AccessRoleArn": ACCESS_ROLE},
    })
}
