//! AWS on loopback, over TLS: each call has one answer, which is given at once. Each service has an address of its own, as on
//! AWS, so that each client has as many handshakes to make as there.

use crate::http::{Connection, Request};
use crate::{Error, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The services, by the names of their files in `answers/`, and as all SDKs name the variable with their address.
pub(crate) const SERVICES: [(&str, &str); 13] = [
    ("apprunner", "APPRUNNER"),
    ("dynamodb", "DYNAMODB"),
    ("ec2", "EC2"),
    ("ecr", "ECR"),
    ("iam", "IAM"),
    ("logs", "CLOUDWATCH_LOGS"),
    ("monitoring", "CLOUDWATCH"),
    ("rds", "RDS"),
    ("s3", "S3"),
    ("secretsmanager", "SECRETS_MANAGER"),
    ("sns", "SNS"),
    ("states", "SFN"),
    ("tagging", "RESOURCE_GROUPS_TAGGING_API"),
];

/// A call that a peer has made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `localhost:40213`
    pub(crate) authority: String,
    /// As it came.
    pub(crate) bytes: Vec<u8>,
    service: &'static str,
    request: Request,
}

/// A call as it is compared: `ecr.DescribeImages {"repositoryName": "shop-staging"}`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    operation: String,
    parameters: Value,
}

impl Display for Named {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.operation, self.parameters)
    }
}

impl Named {
    /// `ecr`
    pub(crate) fn service(&self) -> &str {
        self.operation.split('.').next().unwrap_or_default()
    }
}

impl Call {
    pub(crate) fn named(&self) -> Named {
        Named {
            operation: format!("{}.{}", self.service, operation(&self.request)),
            parameters: parameters(&self.request),
        }
    }
}

/// What an answer is found by: the target of the JSON protocols, the action of the query protocol, the path of the others.
fn operation(request: &Request) -> String {
    if let Some(target) = request.header("x-amz-target") {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    if let Some((_, operation)) = request.path.rsplit_once("/operation/") {
        return operation.to_owned();
    }
    match form(&request.body).remove("Action") {
        Some(Value::String(action)) => action,
        _ => format!("{}{}", request.method, request.path.replace('/', "-")),
    }
}

/// What was asked, whatever the order of its fields: a text that is JSON itself (the input of an execution) is read, too.
fn parameters(request: &Request) -> Value {
    match serde_json::from_slice(&request.body) {
        Ok(Value::Object(mut fields)) => {
            for value in fields.values_mut() {
                let inner = value
                    .as_str()
                    .and_then(|text| serde_json::from_str(text).ok());
                if let Some(inner @ Value::Object(_)) = inner {
                    *value = inner;
                }
            }
            Value::Object(fields)
        }
        Ok(other) => other,
        Err(_) => {
            let mut form = form(&request.body);
            form.remove("Action");
            form.into()
        }
    }
}

fn form(body: &[u8]) -> Map<String, Value> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

/// The answers of a job, by service and operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(BTreeMap<(String, String), Answer>);

#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    headers: &'static str,
    body: Vec<u8>,
}

impl Answers {
    /// Reads a folder of files such as `ecr.DescribeImages.json`, or `rds.DescribeDBInstances.404.xml` for a refusal.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let failed = || Error::io(format!("cannot read {}", folder.display()));
        let mut answers = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let odd = || Error::SetUp(format!("{} is no name of an answer", path.display()));
            let parts: Vec<_> = name.split('.').collect();
            let (service, operation, status, kind) = match parts.as_slice() {
                [service, operation, kind] => (*service, *operation, 200, *kind),
                [service, operation, status, kind] => {
                    let status = status.parse().map_err(|_| odd())?;
                    (*service, *operation, status, *kind)
                }
                _ => return Err(odd()),
            };
            let headers = match kind {
                "json" => "Content-Type: application/x-amz-json-1.1\r\n",
                "xml" => "Content-Type: text/xml\r\n",
                "cbor" => "Content-Type: application/cbor\r\nsmithy-protocol: rpc-v2-cbor\r\n",
                _ => return Err(odd()),
            };
            let answer = Answer {
                status,
                headers,
                body: std::fs::read(&path).map_err(failed())?,
            };
            answers.insert((service.to_owned(), operation.to_owned()), answer);
        }
        Ok(Self(answers))
    }
}

/// What all addresses share.
#[derive(Debug, Default)]
struct State {
    answers: Mutex<Arc<Answers>>,
    calls: Mutex<Vec<Call>>,
}

/// The addresses.
#[derive(Debug)]
pub(crate) struct Endpoint {
    state: Arc<State>,
    /// `localhost:40213`, by the names of [`SERVICES`].
    pub(crate) authorities: BTreeMap<&'static str, String>,
}

impl Endpoint {
    pub(crate) fn start(tls: &Arc<ServerConfig>) -> Result<Self> {
        let state = Arc::new(State::default());
        let mut authorities = BTreeMap::new();
        for (service, _) in SERVICES {
            let listener = TcpListener::bind("127.0.0.1:0");
            let listener = listener.map_err(Error::io("cannot listen on 127.0.0.1"))?;
            let address = listener.local_addr();
            let port = address.map_err(Error::io("cannot listen"))?.port();
            let authority = format!("localhost:{port}");
            authorities.insert(service, authority.clone());
            let (state, tls) = (Arc::clone(&state), Arc::clone(tls));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (state, tls) = (Arc::clone(&state), Arc::clone(&tls));
                    let authority = authority.clone();
                    // A client that goes away in the middle says so by what it did not do.
                    std::thread::spawn(move || state.serve(service, &authority, stream, tls));
                }
            });
        }
        Ok(Self { state, authorities })
    }

    /// From now on these are the answers. `LAYERS` in one of them is where layers are downloaded.
    pub(crate) fn answer_with(&self, answers: &Answers) {
        let mut answers = answers.clone();
        for answer in answers.0.values_mut() {
            if let Ok(text) = std::str::from_utf8(&answer.body) {
                answer.body = text.replace("LAYERS", &self.authorities["s3"]).into();
            }
        }
        *lock(&self.state.answers) = Arc::new(answers);
    }

    /// The calls since the last time that they were taken.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.state.calls))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn serve(
        &self,
        service: &'static str,
        authority: &str,
        stream: TcpStream,
        tls: Arc<ServerConfig>,
    ) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        let tls = ServerConnection::new(tls).ok()?;
        let mut client = Connection::new(StreamOwned::new(tls, stream));
        while let Some(mut request) = client.request().ok()? {
            let answers = Arc::clone(&lock(&self.answers));
            let key = (service.to_owned(), operation(&request));
            let call = Call {
                authority: authority.to_owned(),
                bytes: std::mem::take(&mut request.bytes),
                service,
                request,
            };
            lock(&self.calls).push(call);
            match answers.0.get(&key) {
                Some(Answer {
                    status,
                    headers,
                    body,
                }) => client.respond(*status, headers, body).ok()?,
                None => {
                    let unexpected = format!(r#"{{"__type": "Unexpected", "message": "{key:?}"}}"#);
                    let kind = "Content-Type: application/x-amz-json-1.1\r\n";
                    client.respond(400, kind, unexpected.as_bytes()).ok()?;
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// A call of that operation.
    pub(crate) fn named(operation: &str) -> Named {
        Named {
            operation: operation.into(),
            parameters: Value::Null,
        }
    }

    fn call(headers: &[(&str, &str)], path: &str, body: &str) -> Named {
        let headers = headers.iter();
        let request = Request {
            method: "POST".into(),
            path: path.into(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            body: body.into(),
            bytes: Vec::new(),
        };
        let call = Call {
            authority: "localhost:1".into(),
            bytes: Vec::new(),
            service: "ecr",
            request,
        };
        call.named()
    }

    #[test]
    fn calls_of_every_protocol_are_known_by_their_operation() {
        let target = [(
            "X-Amz-Target",
            "AmazonEC2ContainerRegistry_V20150921.DescribeImages",
        )];
        let json = call(&target, "/", r#"{"maxResults": 1000}"#);
        assert_eq!(
            json.to_string(),
            r#"ecr.DescribeImages {"maxResults":1000}"#
        );
        let query = call(
            &[],
            "/",
            "Action=DescribeAvailabilityZones&Version=2016-11-15",
        );
        assert_eq!(query.operation, "ecr.DescribeAvailabilityZones");
        assert_eq!(query.parameters, json!({"Version": "2016-11-15"}));
        let rpc = call(
            &[],
            "/service/GraniteServiceVersion20100801/operation/DescribeAlarms",
            "",
        );
        assert_eq!(rpc.operation, "ecr.DescribeAlarms");
        assert_eq!(call(&[], "/layers/a", "").operation, "ecr.POST-layers-a");
    }

    #[test]
    fn the_same_parameters_in_another_order_are_the_same_call_and_others_are_not() {
        let target = [("x-amz-target", "AWSStepFunctions.StartExecution")];
        let one = call(
            &target,
            "/",
            r#"{"name": "a", "input": "{\"b\":1,\"c\":2}"}"#,
        );
        let same = call(
            &target,
            "/",
            r#"{"input":"{\"c\": 2, \"b\": 1}","name":"a"}"#,
        );
        let other = call(
            &target,
            "/",
            r#"{"input":"{\"c\": 2, \"b\": 2}","name":"a"}"#,
        );
        assert_eq!(one, same);
        assert_ne!(one, other);
    }
}
