//! A stand-in for the rest of the local AWS: what exists can be set, what is told is kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Clone, Default)]
pub(crate) struct LocalAws {
    /// Answers by path and query parameter, in place of the usual ones.
    unusual: Arc<Mutex<BTreeMap<String, Value>>>,
    told: Arc<Mutex<Vec<(String, Value)>>>,
}

impl LocalAws {
    /// Starts it and answers its base URL too.
    pub(crate) async fn start() -> (LocalAws, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let local_aws = LocalAws::default();
        let served = local_aws.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let local_aws = served.clone();
                tokio::spawn(async move {
                    let answer = service_fn(|request| local_aws.clone().answer(request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                });
            }
        });
        (local_aws, base)
    }

    /// From now on this role, secret or parameter (its ARN), image (`repository@reference`) or subnet (its id) looks like that.
    pub(crate) fn set(&self, what: &str, answer: Value) {
        self.unusual.lock().unwrap().insert(what.to_owned(), answer);
    }

    /// What was told at this method and path, oldest first.
    pub(crate) fn told(&self, at: &str) -> Vec<Value> {
        self.told
            .lock()
            .unwrap()
            .iter()
            .filter(|(told, _)| told == at)
            .map(|(_, body)| body.clone())
            .collect()
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let query: BTreeMap<String, String> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let unusual = |what: &str| self.unusual.lock().unwrap().get(what).cloned();
        let answer = match path.as_str() {
            "/_local/role" => unusual(&query["arn"]).unwrap_or_else(|| {
                let services = [
                    "build.apprunner.amazonaws.com",
                    "tasks.apprunner.amazonaws.com",
                ];
                json!({"exists": true, "age_seconds": 3600, "services": services})
            }),
            "/_local/image" => unusual(&format!("{}@{}", query["repository"], query["reference"]))
                .unwrap_or_else(
                    || json!({"exists": true, "digest": "sha256:00", "architectures": ["amd64"]}),
                ),
            "/_local/secret" => {
                unusual(&query["arn"]).unwrap_or_else(|| json!({"version": "version-1"}))
            }
            "/_local/parameter" => unusual(&query["arn"]).unwrap_or_else(|| json!({})),
            "/_local/subnets" => {
                let usual = |id: &str| json!({"id": id, "vpc": "vpc-1", "zone": "use1-az1", "public": false});
                let subnets: Vec<Value> = query["ids"]
                    .split(',')
                    .map(|id| unusual(id).unwrap_or_else(|| usual(id)))
                    .collect();
                json!({"subnets": subnets.into_iter().filter(|subnet| !subnet.is_null()).collect::<Vec<_>>()})
            }
            _ => {
                let told = serde_json::from_slice(&body).unwrap();
                self.told
                    .lock()
                    .unwrap()
                    .push((format!("{method} {path}"), told));
                json!({})
            }
        };
        Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
    }
}

fn decoded(value: &str) -> String {
    let mut parts = value.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        text.push_str(&part[2..]);
    }
    text
}
