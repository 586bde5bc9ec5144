//! Who does a job, and how Lambda starts them.

use crate::Result;
use crate::endpoint::{Call, Endpoint, SERVICES};
use crate::jobs::Job;
use crate::run::Program;
use crate::runtime_api::Answer;
use crate::setup::{Node, Places};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who does a job.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Peer {
    /// The bare requests.
    Floor,
    /// The function of this project, as it is shipped.
    Groundcrew,
    /// Python with boto3.
    Python,
    /// Node with the SDK v3.
    Node,
}

impl Peer {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor: the bare requests",
            Self::Groundcrew => "**groundcrew** (Rust)",
            Self::Python => "Python, boto3",
            Self::Node => "Node, SDK v3 in a bundle",
        }
    }

    fn file_name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Groundcrew => "groundcrew",
            Self::Python => "python",
            Self::Node => "node",
        }
    }
}

/// What all of them are started with.
#[derive(Debug)]
pub(crate) struct Cast<'a> {
    pub(crate) places: &'a Places,
    pub(crate) endpoint: &'a Endpoint,
    /// The authorities that the machine of a function trusts, and that of this run.
    pub(crate) authorities: PathBuf,
    /// That of this run alone.
    pub(crate) authority: PathBuf,
    pub(crate) python: PathBuf,
    pub(crate) node: Option<Node>,
}

impl Cast<'_> {
    /// Those who can do a job on this machine.
    pub(crate) fn peers(&self, job: &Job) -> Vec<Peer> {
        let mut peers = vec![Peer::Floor, Peer::Groundcrew];
        if job.has_peers {
            peers.push(Peer::Python);
            peers.extend(self.node.is_some().then_some(Peer::Node));
        }
        peers
    }

    /// How a peer is started for a job.
    pub(crate) fn program(&self, peer: Peer, job: &Job) -> Program {
        let handler = format!("{}.handler", job.function);
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let program = |name: &str| text(&self.places.programs.join(name));
        let mut folder = self.places.programs.clone();
        let command = match peer {
            Peer::Floor => vec![program("floor")],
            Peer::Groundcrew => vec![program(job.function)],
            Peer::Python => {
                folder = self.places.root.join("benches/peers/python");
                let words = ["-m", "awslambdaric", &handler].map(str::to_owned);
                [vec![text(&self.python)], words.to_vec()].concat()
            }
            Peer::Node => {
                let node = self.node.as_ref();
                folder = node.map_or(folder, |node| node.bundles.clone());
                node.map_or_else(Vec::new, |node| {
                    vec![text(&node.program), text(&node.client), handler.clone()]
                })
            }
        };
        let mut environment = self.environment(&handler, &folder);
        if peer == Peer::Floor {
            environment.insert("SCRIPT".into(), text(&self.script(job)));
        }
        let log = format!("{}-{}.log", job.name, peer.file_name());
        Program {
            command,
            folder,
            environment,
            log: self.places.benches.join("logs").join(log),
        }
    }

    /// What the floor sends.
    fn script(&self, job: &Job) -> PathBuf {
        self.places.benches.join(format!("{}.script", job.name))
    }

    /// Has the floor send what was sent, and answer what was answered.
    pub(crate) fn write_script(&self, job: &Job, calls: &[Call], answer: &Answer) -> Result<()> {
        let mut script = Vec::new();
        for call in calls {
            let length = call.bytes.len();
            script.extend(format!("call {} {length}\n", call.authority).into_bytes());
            script.extend(&call.bytes);
        }
        let length = answer.body.len();
        script.extend(format!("answer {} {length}\n", answer.kind).into_bytes());
        script.extend(&answer.body);
        let written = std::fs::write(self.script(job), script);
        written.map_err(crate::Error::io("cannot write the script of the floor"))
    }

    /// That of a function on Lambda, with what `template.yaml` adds, and the addresses of this machine.
    fn environment(&self, handler: &str, folder: &Path) -> BTreeMap<String, String> {
        const STATE_MACHINE: &str =
            "arn:aws:states:us-east-1:123456789012:stateMachine:groundcrew-deploy";
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut environment: BTreeMap<String, String> = [
            ("ACCOUNT_ID", "123456789012"),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_NAME", "groundcrew"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/groundcrew"),
            ("AWS_LAMBDA_LOG_LEVEL", "INFO"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/21/[$LATEST]0"),
            ("AWS_REGION", "us-east-1"),
            (
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            ),
            ("AWS_SESSION_TOKEN", "an-example-of-a-token"),
            ("DEPLOY_STATE_MACHINE", STATE_MACHINE),
            ("MEMORY", "groundcrew-memory"),
            ("HOME", "/home/sbx_user1051"),
            ("LANG", "en_US.UTF-8"),
            ("PARTITION", "aws"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            (
                "PERMISSIONS_BOUNDARY",
                "arn:aws:iam::123456789012:policy/groundcrew-boundary",
            ),
            ("TZ", ":UTC"),
            ("_HANDLER", handler),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        for (service, variable) in SERVICES {
            let address = format!("https://{}", self.endpoint.authorities[service]);
            environment.insert(format!("AWS_ENDPOINT_URL_{variable}"), address);
        }
        let places = [
            // Python and Rust read all authorities that they trust; Node has them built in.
            ("AWS_CA_BUNDLE", &*self.authorities),
            ("SSL_CERT_FILE", &*self.authorities),
            ("NODE_EXTRA_CA_CERTS", &*self.authority),
            ("LAMBDA_TASK_ROOT", folder),
            // Bytecode is there from the second start on, as it is in a managed runtime, and outside of the project.
            ("PYTHONPYCACHEPREFIX", &self.places.benches.join("pycache")),
        ];
        for (name, path) in places {
            environment.insert(name.to_owned(), text(path));
        }
        environment
    }
}
