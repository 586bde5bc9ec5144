//! A connection to the local AWS that breaks at one call.

use crate::stage::play_fast;
use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::retry::RetryConfig;
use groundcrew::environment::Account;
use groundcrew::{Aws, Error};
use regex_lite::Regex;
use rehearsal::LocalAws;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use tokio::sync::Notify;

/// What happens to the call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The connection is cut before AWS hears of the call.
    CutBefore,
    /// The call takes effect, and the connection is cut before its answer.
    CutAfter,
    /// AWS throttles the call.
    Throttle,
    /// AWS answers with a 5xx.
    ServerError,
    /// The call takes effect, and no answer comes in time.
    TimeoutAfter,
    /// The call waits for what somebody does [meanwhile](Disturbance::meanwhile).
    Held,
}

impl Kind {
    /// All that break a call: before it takes effect or after that, with an answer or without.
    pub(super) const ALL: [Self; 5] = [
        Self::CutBefore,
        Self::CutAfter,
        Self::Throttle,
        Self::ServerError,
        Self::TimeoutAfter,
    ];
}

/// One disturbance of one call, or of one call of each state; counts the calls.
#[derive(Clone, Debug)]
pub(super) struct Disturbance(Arc<State>);

#[derive(Debug)]
struct State {
    at: usize,
    kind: Kind,
    writes_only: bool,
    in_each_state: bool,
    calls: AtomicUsize,
    struck: Mutex<Vec<String>>,
    held: Notify,
    go_on: Notify,
}

impl Disturbance {
    /// A disturbance of the `at`-th call, from 0.
    pub(super) fn at(at: usize, kind: Kind) -> Self {
        Self::new(at, kind, false, false)
    }

    /// A disturbance of the `at`-th call that writes, from 0.
    pub(super) fn at_write(at: usize, kind: Kind) -> Self {
        Self::new(at, kind, true, false)
    }

    /// A disturbance of the `at`-th call of each state of an execution, from 0. One state hands its result on to the next, and
    /// has done what it has to by then: so what each of them makes of a broken call is seen in one execution.
    pub(super) fn in_each_state(at: usize, kind: Kind) -> Self {
        Self::new(at, kind, false, true)
    }

    /// Of calls whose answer is lost only those are counted that write: for what reads it is the same whether AWS has heard it.
    fn new(at: usize, kind: Kind, writes_only: bool, in_each_state: bool) -> Self {
        Self(Arc::new(State {
            at,
            kind,
            writes_only: writes_only || [Kind::CutAfter, Kind::TimeoutAfter].contains(&kind),
            in_each_state,
            calls: AtomicUsize::new(0),
            struck: Mutex::default(),
            held: Notify::new(),
            go_on: Notify::new(),
        }))
    }

    /// Does something while a call is [held](Kind::Held), and never if there is no such call.
    pub(super) async fn meanwhile(&self, act: impl Future<Output = ()>) {
        self.0.held.notified().await;
        act.await;
        self.0.go_on.notify_one();
    }

    /// A state was entered: its calls are counted anew.
    pub(super) fn next_state(&self) {
        if self.0.in_each_state {
            self.0.calls.store(0, Ordering::SeqCst);
        }
    }

    /// Whether it has struck: there was such a call.
    pub(super) fn struck(&self) -> bool {
        self.strikes() > 0
    }

    /// How often it has struck.
    pub(super) fn strikes(&self) -> usize {
        self.0.struck.lock().expect("nobody panics here").len()
    }

    /// The calls that it struck.
    pub(super) fn calls(&self) -> String {
        self.0.struck.lock().expect("nobody panics here").join(", ")
    }

    /// What to do with this call.
    fn strike(&self, call: &str) -> Option<Kind> {
        if self.0.writes_only && !writes(call) {
            return None;
        }
        let number = self.0.calls.fetch_add(1, Ordering::SeqCst);
        if number != self.0.at {
            return None;
        }
        let mut struck = self.0.struck.lock().expect("nobody panics here");
        struck.push(call.to_owned());
        Some(self.0.kind)
    }
}

/// Whether an operation can change something, by AWS's own naming.
fn writes(operation: &str) -> bool {
    !["Describe", "List", "Get", "BatchGet"]
        .iter()
        .any(|verb| operation.starts_with(verb))
}

/// The operation of a request: in a header, in the path, or in the form.
fn operation(request: &HttpRequest) -> String {
    if let Some(target) = request.headers().get("x-amz-target") {
        return target.rsplit('.').next().unwrap_or_default().to_owned();
    }
    let form = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
    let action = form
        .split('&')
        .find_map(|pair| pair.strip_prefix("Action="));
    let path = request.uri().rsplit('/').next().unwrap_or_default();
    action.unwrap_or(path).to_owned()
}

/// Clients of the local AWS whose connection is disturbed.
pub(super) fn disturbed(local: &LocalAws, account: Account, disturbance: &Disturbance) -> Aws {
    let config: SdkConfig = local.sdk_config().clone();
    let inner = config.http_client().expect("the local AWS has a client");
    let client = Client {
        inner,
        disturbance: disturbance.clone(),
        control: local.endpoint(),
    };
    let config = config
        .into_builder()
        .http_client(SharedHttpClient::new(client))
        .retry_config(RetryConfig::disabled())
        .build();
    Aws::new(&config, local.aws().https.clone(), account)
}

#[derive(Clone, Debug)]
struct Client {
    inner: SharedHttpClient,
    disturbance: Disturbance,
    control: String,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector {
            inner,
            disturbance: self.disturbance.clone(),
            control: self.control.clone(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    disturbance: Disturbance,
    control: String,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(kind) = self.disturbance.strike(&operation(&request)) else {
            return self.inner.call(request);
        };
        let (inner, control) = (self.inner.clone(), self.control.clone());
        let state = Arc::clone(&self.disturbance.0);
        HttpConnectorFuture::new(async move {
            let cut = || ConnectorError::io("the connection was cut".into());
            match kind {
                Kind::CutBefore => Err(cut()),
                Kind::CutAfter => {
                    inner.call(request).await?;
                    Err(cut())
                }
                Kind::TimeoutAfter => {
                    inner.call(request).await?;
                    Err(ConnectorError::timeout("no answer in time".into()))
                }
                Kind::Held => {
                    state.held.notify_one();
                    state.go_on.notified().await;
                    inner.call(request).await
                }
                Kind::Throttle | Kind::ServerError => {
                    // In the protocol of the service, which the local AWS knows.
                    let fault = if kind == Kind::Throttle {
                        "throttle"
                    } else {
                        "error"
                    };
                    let mut ask = HttpRequest::new(
                        format!(r#"{{"service":"*","operation":"*","kind":"{fault}","times":1}}"#)
                            .into(),
                    );
                    ask.set_method("POST")
                        .map_err(|error| ConnectorError::user(error.into()))?;
                    ask.set_uri(format!("{control}/_local/faults"))
                        .map_err(|error| ConnectorError::user(error.into()))?;
                    inner.call(ask).await?;
                    inner.call(request).await
                }
            }
        })
    }
}

/// The lines of a description with their counts, without what is different each time.
pub(super) fn shape(description: &str) -> BTreeMap<String, usize> {
    static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r#"(?x)
            \b(vpc|subnet|sg|sgr|rtb|rtbassoc|eni|igw|acl|dopt|eipassoc|eni-attach|subnet-cidr-assoc|vpc-cidr-assoc)-[0-9a-f]{8,}
            | \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b
            | \b[0-9a-f]{32}\b
            | "[0-9a-f]{16}"
            | sha256:[0-9a-f]{64}
            | \bdb-[A-Z0-9]{20,}
            | \bA(ROA|IPA|IDA|NPA)[A-Z0-9]{12,}
            | /database-[A-Za-z0-9]{6}\b
            | \d{4}-\d\d-\d\dT[0-9:.]+Z?
            | \b(seconds|subsecond_nanos|creation_time):\s*[-0-9Some()]+
            | localhost:\d+
            | "10\.\d+\.\d+\.\d+"
            | "us-east-1[a-f]"
            | \b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b
            | /[0-9]+/
            | (Revision|revision)[^0-9]{1,12}\d+
            | \b1[67]\d{8}(\d{3})?(\.\d+)?\b
            "#,
        )
        .expect("a good pattern")
    });
    let mut lines = BTreeMap::new();
    for line in description.lines() {
        *lines
            .entry(VARIABLE.replace_all(line.trim(), "…").into_owned())
            .or_insert(0) += 1;
    }
    lines
}

/// So a lost answer is that of a call that did not get there, to whoever asks again.
#[test]
fn a_function_does_not_tell_a_call_that_was_cut_from_one_that_was_not_answered() {
    play_fast(async |stage| {
        let account = stage.local.aws().account.clone();
        let mut names = Vec::new();
        for kind in [Kind::CutBefore, Kind::CutAfter, Kind::TimeoutAfter] {
            let aws = disturbed(
                &stage.local,
                account.clone(),
                &Disturbance::at_write(0, kind),
            );
            let topic = aws.sns().create_topic().name("unheard").send().await;
            let error = topic.map_err(Error::aws("sns:CreateTopic")).err();
            names.push(error.map(|error| error.name()));
        }
        assert_eq!(names, [Some("Unavailable"); 3]);
    });
}
