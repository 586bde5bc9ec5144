//! The API over HTTP: awsJson1.0, every operation at `POST /`, `POST /_local/arrangements` for a command line, and
//! `GET /_local/tags` for the rest of the local AWS.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::arrangements::Arrangement;
use crate::ids;
use crate::refusal::{ErrorName, Refusal};
use crate::world::Emulation;

/// Serves until it is dropped.
pub(crate) async fn serve(listener: std::net::TcpListener, emulation: Arc<Emulation>) {
    let listener = TcpListener::from_std(listener)
        .expect("the listener is non-blocking and this is a runtime");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let emulation = Arc::clone(&emulation);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(Arc::clone(&emulation), request));
            // A client that breaks off is no business of the server.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

async fn answer(
    emulation: Arc<Emulation>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(response(
            StatusCode::BAD_REQUEST,
            &json!({"message": "The body broke off."}),
        ));
    };
    let body = body.to_bytes();
    let (status, answer) = match (&head.method, head.uri.path()) {
        (&Method::POST, "/") => {
            let target = head
                .headers
                .get("x-amz-target")
                .and_then(|target| target.to_str().ok())
                .unwrap_or_default();
            match emulation.call(target, &body).await {
                Ok(answer) => (StatusCode::OK, answer),
                Err(refusal) => (refusal.status(), refusal.body()),
            }
        }
        (&Method::POST, "/_local/arrangements") => {
            match serde_json::from_slice::<Arrangement>(&body) {
                Ok(arrangement) => match emulation.arrange(arrangement) {
                    Ok(()) => (StatusCode::OK, json!({})),
                    Err(error) => (
                        StatusCode::BAD_REQUEST,
                        json!({"message": error.to_string()}),
                    ),
                },
                Err(error) => (
                    StatusCode::BAD_REQUEST,
                    json!({"message": error.to_string()}),
                ),
            }
        }
        (&Method::GET, "/_local/tags") => (StatusCode::OK, emulation.tagged_resources()),
        _ => (
            StatusCode::NOT_FOUND,
            json!({"message": "POST / or POST /_local/arrangements"}),
        ),
    };
    Ok(response(status, &answer))
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/x-amz-json-1.0")
        .header("x-amzn-RequestId", ids::uuid())
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a status and plain headers make a response")
}

impl Emulation {
    async fn call(self: &Arc<Self>, target: &str, body: &[u8]) -> Result<Value, Refusal> {
        let operation = target
            .strip_prefix("AppRunner.")
            .filter(|operation| self.model.has_operation(operation))
            .ok_or_else(|| {
                Refusal::unknown_operation(format!("{target} is not an operation of App Runner"))
            })?;
        let reads = operation.starts_with("Describe") || operation.starts_with("List");
        let is_open = match self.world() {
            world if reads => world.account_reads,
            world => world.account_is_open,
        };
        if !is_open {
            return Err(Refusal {
                error: ErrorName::SubscriptionRequiredException,
                message: "The AWS Access Key Id needs a subscription for the service".to_owned(),
            });
        }
        let request: Value = match body {
            [] => json!({}),
            body => serde_json::from_slice(body)
                .map_err(|error| Refusal::serialization(error.to_string()))?,
        };
        self.model.check(operation, &request)?;
        let answer = self.carry_out(operation, &request).await?;
        if let Err(mistake) = self.model.check_answer(operation, &answer) {
            self.world().complain(format!(
                "{operation} was answered wrongly: {}",
                mistake.message
            ));
        }
        Ok(answer)
    }

    async fn carry_out(
        self: &Arc<Self>,
        operation: &str,
        request: &Value,
    ) -> Result<Value, Refusal> {
        match operation {
            "CreateService" => self.create_service(request).await,
            "DescribeService" => self.describe_service(request),
            "ListServices" => self.list_services(request),
            "UpdateService" => self.update_service(request).await,
            "DeleteService" => self.delete_service(request),
            "PauseService" => self.pause_service(request),
            "ResumeService" => self.resume_service(request),
            "StartDeployment" => self.start_deployment(request),
            "ListOperations" => self.list_operations(request),
            "CreateAutoScalingConfiguration" => self.create_auto_scaling_configuration(request),
            "DescribeAutoScalingConfiguration" => self.describe_auto_scaling_configuration(request),
            "ListAutoScalingConfigurations" => self.list_auto_scaling_configurations(request),
            "DeleteAutoScalingConfiguration" => self.delete_auto_scaling_configuration(request),
            "CreateObservabilityConfiguration" => self.create_observability_configuration(request),
            "DescribeObservabilityConfiguration" => {
                self.describe_observability_configuration(request)
            }
            "ListObservabilityConfigurations" => self.list_observability_configurations(request),
            "DeleteObservabilityConfiguration" => self.delete_observability_configuration(request),
            "CreateVpcConnector" => self.create_vpc_connector(request).await,
            "DescribeVpcConnector" => self.describe_vpc_connector(request),
            "ListVpcConnectors" => self.list_vpc_connectors(request),
            "ListVpcIngressConnections" => self.list_vpc_ingress_connections(request),
            "DeleteVpcConnector" => self.delete_vpc_connector(request),
            "TagResource" => self.tag_resource(request),
            "UntagResource" => self.untag_resource(request),
            "ListTagsForResource" => self.list_tags_for_resource(request),
            _ => Err(Refusal::unknown_operation(format!(
                "{operation} is not implemented by the App Runner emulator"
            ))),
        }
    }
}
