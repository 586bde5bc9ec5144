//! The local AWS: MiniStack with its overlay as a child process, the App Runner emulator beside it in this one.

mod control;
mod run_folder;
mod schedule;
mod secret;
mod service;

pub use control::{
    Call, Check, Event, Fault, FaultKind, Invocation, Limit, Message, Notification, Published,
    Scan, ScanStatus, Tagged, Takes,
};
pub use schedule::Schedule;
pub use service::NewService;

use crate::console;
use crate::process::Group;
use crate::venv::Prepared;
use crate::{Error, Result, project};
use apprunner_emulator::{Emulator, Settings};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sfn::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use groundcrew::Aws;
use groundcrew::environment::Account;
use run_folder::RunFolder;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{ChildStdin, Command};

/// The account of every ARN.
pub const ACCOUNT: &str = "123456789012";
/// The region of everything.
pub const REGION: &str = "us-east-1";
/// AWS seconds that pass in a second on the wall, unless told otherwise.
pub const TIME_SCALE: f64 = 200.0;

/// In the folder of a run.
const AUTHORITY: &str = "certificate-authority.pem";
/// How many ports are tried: those of many local AWS and of their services come and go.
const PORTS: usize = 5;
/// As Python says it of a port (EADDRINUSE).
const TAKEN: &str = "Address already in use";
/// Python has to import MiniStack, on a machine that may be busy compiling.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How to start a local AWS.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// AWS seconds that pass in a second on the wall.
    pub time_scale: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time_scale: TIME_SCALE,
        }
    }
}

/// A running local AWS, empty at first. Everything that it listens on is loopback. Dropping it ends every process that
/// it started; if this program is killed, they end by themselves when their standard input closes.
#[derive(Debug)]
pub struct LocalAws {
    _server: Group,
    /// Open as long as this program lives.
    _lifeline: Option<ChildStdin>,
    emulator: Emulator,
    prepared: Prepared,
    port: u16,
    time_scale: f64,
    config: SdkConfig,
    aws: Aws,
    folder: RunFolder,
}

impl LocalAws {
    /// Starts a local AWS and waits until it answers.
    ///
    /// # Errors
    /// [`Error::Start`] with the end of its log.
    pub async fn start(prepared: &Prepared, options: Options) -> Result<Self> {
        let _busy = console::busy(format_args!(
            "starting the local AWS, where {} seconds pass in one",
            options.time_scale
        ));
        for _ in 0..PORTS {
            if let Some(local) = Self::start_on(free_port()?, prepared, options).await? {
                return Ok(local);
            }
        }
        let reason = "other programs took every port that was free";
        Err(Error::Start(reason.into()))
    }

    /// Starts it on this port; `None` if another program has taken it meanwhile.
    async fn start_on(port: u16, prepared: &Prepared, options: Options) -> Result<Option<Self>> {
        let folder = RunFolder::create()?;
        let emulator = Emulator::start(Settings {
            account: ACCOUNT.into(),
            region: REGION.into(),
            time_scale: options.time_scale,
            service_model: prepared.apprunner_model.clone(),
            surroundings: Some(format!("http://127.0.0.1:{port}")),
        })
        .map_err(|error| Error::Start(format!("App Runner: {error}")))?;
        let authority = folder.path().join(AUTHORITY);
        std::fs::write(&authority, emulator.certificate_authority_pem())
            .map_err(failed("cannot write a file"))?;

        let log = folder.path().join("local-aws.log");
        let output = File::create(&log).map_err(failed("cannot write a log"))?;
        let mut command = Command::new(&prepared.python);
        command
            .arg(project::root().join("rehearsal/local_aws/main.py"))
            .current_dir(folder.path())
            .env_clear()
            .envs(
                std::env::vars_os()
                    .filter(|(name, _)| ["PATH", "HOME", "LANG"].iter().any(|kept| name == kept)),
            )
            .env("GATEWAY_PORT", port.to_string())
            .env("TIME_SCALE", options.time_scale.to_string())
            .env("APPRUNNER_EMULATOR", emulator.endpoint())
            .env("SSL_CERT_FILE", &authority)
            .env("RUN_DIR", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().map_err(failed("cannot write a log"))?)
            .stderr(output);
        let mut server = Group::spawn(&mut command).map_err(failed("cannot run Python"))?;
        let lifeline = server.stdin();
        let answers = wait_until_it_answers(&mut server, port, folder.path(), &log).await;
        if !answers.inspect_err(|_| folder.keep())? {
            return Ok(None);
        }

        let config = sdk_config(port);
        let aws = aws(&config, emulator.certificate_authority_pem())?;
        Ok(Some(Self {
            _server: server,
            _lifeline: lifeline,
            emulator,
            prepared: prepared.clone(),
            port,
            time_scale: options.time_scale,
            config,
            aws,
            folder,
        }))
    }

    /// `http://127.0.0.1:PORT`, the endpoint of every service.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// AWS seconds that pass in a second on the wall.
    pub fn time_scale(&self) -> f64 {
        self.time_scale
    }

    /// The configuration of clients that may do everything, as the account's root.
    pub fn sdk_config(&self) -> &SdkConfig {
        &self.config
    }

    /// Clients of every service that the functions call, as the account's root.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The App Runner emulator, for what AWS does on its own account.
    pub fn apprunner(&self) -> &Emulator {
        &self.emulator
    }

    /// The folder of this run: logs, and everything else that was written.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder of this run behind, for a person to look at.
    pub fn keep_folder(&self) {
        self.folder.keep();
    }

    /// The certificate authority of the addresses that services answer on, as a PEM file.
    pub fn certificate_authority(&self) -> PathBuf {
        self.folder().join(AUTHORITY)
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}

/// A port that is free now. Another program can take it before MiniStack does.
fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("no port is free"))?;
    Ok(listener
        .local_addr()
        .map_err(failed("no port is free"))?
        .port())
}

/// Waits until the server answers that works in this folder. Whether it does: if not, another program has its port.
async fn wait_until_it_answers(
    server: &mut Group,
    port: u16,
    folder: &Path,
    log: &Path,
) -> Result<bool> {
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        if let Some(status) = server.ended() {
            let said = crate::tail(log);
            if said.contains(TAKEN) {
                return Ok(false);
            }
            let reason = format!("MiniStack ended with {status}:\n{said}");
            return Err(Error::Start(reason));
        }
        // It may be another local AWS that answers while this one is being read, or a program that never does.
        let asked = control::ask(port, "GET", "run", None);
        if let Ok(Ok(run)) = tokio::time::timeout(Duration::from_secs(2), asked).await {
            return Ok(run["folder"].as_str() == folder.to_str());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Error::Start(format!(
        "MiniStack did not answer within {START_LIMIT:?}:\n{}",
        crate::tail(log)
    )))
}

/// Nothing of the user's own AWS configuration: no profile, no environment, no endpoint that reaches a real account.
fn sdk_config(port: u16) -> SdkConfig {
    let root = Credentials::new("test", "test", None, None, "the root user of the local AWS");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(root))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

fn aws(config: &SdkConfig, certificate_authority: &str) -> Result<Aws> {
    let trusted = TrustStore::empty().with_pem_certificate(certificate_authority);
    let tls = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| {
            Error::Start(format!("the certificate of the service addresses: {error}"))
        })?;
    let https = aws_smithy_http_client::Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build();
    let account = Account {
        partition: "aws".into(),
        region: REGION.into(),
        id: ACCOUNT.into(),
        // It takes nothing away, as with no template there is none of its own.
        permissions_boundary: "arn:aws:iam::aws:policy/AdministratorAccess".into(),
        deploy_state_machine: String::new(),
        memory: "groundcrew-memory".into(),
    };
    Ok(Aws::new(config, SharedHttpConnector::new(https), account))
}

fn failed(doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::Start(format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answers as a local AWS does, the other says nothing.
    #[tokio::test]
    async fn a_port_that_another_program_has_taken_is_left_to_it() {
        let prepared = crate::prepare().await.expect("what the local AWS needs");
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let options = Options::default();
        let other = LocalAws::start(&prepared, options).await.expect("another");
        for taken in [port, other.port] {
            let started = LocalAws::start_on(taken, &prepared, options).await;
            assert!(started.expect("no failure").is_none(), "{taken}");
        }
        drop(silent);
    }
}
