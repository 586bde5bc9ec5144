//! The jobs that are compared, each a real invocation of a function.

use crate::endpoint::Answers;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;

/// One invocation.
#[derive(Debug)]
pub(crate) struct Job {
    /// `trigger`
    pub(crate) name: &'static str,
    /// The function that does it, and the names of its peers.
    pub(crate) function: &'static str,
    /// What is done, for a person.
    pub(crate) about: &'static str,
    /// Whether there are peers in Python and in Node.
    pub(crate) has_peers: bool,
    /// How much longer than the floor it may take.
    pub(crate) over_floor: f64,
    /// What the function gets.
    pub(crate) event: Vec<u8>,
    /// What AWS answers.
    pub(crate) answers: Answers,
    /// A part of the answer, by which the job is known to be done: where, and what.
    done: (&'static str, &'static str),
}

const SERVICE: &str = "arn:aws:apprunner:us-east-1:123456789012:service/shop-staging/8fe1e10304f84fd2b0df550fe98a71fa";

impl Job {
    /// The names of all jobs.
    pub(crate) const NAMES: [&str; 3] = ["trigger", "deploy", "provision"];

    /// Reads what a job is made of: its event, and the answers of AWS.
    pub(crate) fn read(root: &Path, name: &str) -> Result<Self> {
        let folder = root.join("benches/cold-start/answers").join(name);
        let answers = Answers::read(&folder)?;
        match name {
            "trigger" => Ok(Self {
                name: "trigger",
                function: "trigger",
                about: "events/ecr-push.json: of one managed service that it concerns, deploy is started",
                has_peers: true,
                over_floor: 2.0,
                event: bytes(&example(root, "ecr-push")?),
                answers,
                done: ("/started/0", "shop-staging"),
            }),
            "deploy" => Ok(Self {
                name: "deploy",
                function: "deploy",
                about: "its first state: an image is newer than what runs and fit to run, and the service is claimed for it, but somebody else was quicker, which is answered with NotReady",
                has_peers: true,
                over_floor: 2.0,
                event: bytes(&json!({
                    "action": "assess",
                    "request": {
                        "service": SERVICE,
                        "cause": "push of shop-staging:latest (sha256:b51c09cbfb55)",
                        "pushed": {
                            "tag": "latest",
                            "digest": "sha256:b51c09cbfb55d7783f0e0f7c9e3a2f8a4d2b6a1c5e9d8f7a6b5c4d3e2f1a0b9c",
                            "at": "2026-11-21T08:15:30Z",
                        },
                    },
                    "execution": "shop-staging-8bb08d3e7b1a4cf9",
                    "started": "2026-11-21T08:15:33.120Z",
                })),
                answers,
                done: ("/error", "NotReady"),
            }),
            "provision" => Ok(Self {
                name: "provision",
                function: "provision",
                about: "the first state of every execution, which refuses a bad spec: events/provision.json",
                has_peers: false,
                over_floor: 3.0,
                event: bytes(&json!({
                    "action": "check-spec",
                    "spec": example(root, "provision")?,
                })),
                answers,
                done: ("/app", "shop"),
            }),
            other => Err(Error::SetUp(format!("there is no job {other}"))),
        }
    }

    /// Whether this answer is that of the job, and not that of some mistake.
    pub(crate) fn is_done(&self, answer: &Value) -> bool {
        let (place, wanted) = self.done;
        answer.pointer(place).and_then(Value::as_str) == Some(wanted)
    }
}

/// A file of `events/`.
fn example(root: &Path, name: &str) -> Result<Value> {
    let file = root.join("events").join(name).with_extension("json");
    let text = std::fs::read(&file);
    let text = text.map_err(Error::io(format!("cannot read {}", file.display())))?;
    let odd = |error| Error::SetUp(format!("{}: {error}", file.display()));
    serde_json::from_slice(&text).map_err(odd)
}

fn bytes(event: &Value) -> Vec<u8> {
    event.to_string().into_bytes()
}
