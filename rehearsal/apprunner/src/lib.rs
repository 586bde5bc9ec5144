//! AWS App Runner on loopback: its API, its states, its events, and an address for each service that answers over TLS.
//!
//! Nothing here trusts our own reading of the API: `model.rs` checks every request against the service model that AWS
//! publishes. What the model does not hold is in `rules.rs`, what a service may do in which state in `states.rs`.
//!
//! Durations are written in AWS seconds and divided by [`Settings::time_scale`]. Everything binds 127.0.0.1.

mod address;
mod arrangements;
mod auto_scaling;
mod cause;
mod certificates;
mod configuration;
mod ids;
mod model;
mod observability;
mod operations;
mod pages;
mod refusal;
mod revisions;
mod rules;
mod server;
mod services;
mod snapshot;
mod states;
mod surroundings;
mod tags;
mod vpc_connectors;
mod world;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use arrangements::{Arrangement, ArrangementError, Fate};
pub use certificates::CertificateError;
pub use model::{ModelError, ServiceModel};
pub use snapshot::{
    OperationSnapshot, RevisionSnapshot, RunningSnapshot, ServiceSnapshot, Snapshot,
};
pub use states::{Call, OperationStatus, OperationType, ServiceStatus, Verdict, verdict};

use crate::certificates::Certificates;
use crate::world::Emulation;

/// What an emulator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The account id in every ARN, twelve digits.
    pub account: String,
    /// The region in every ARN.
    pub region: String,
    /// AWS seconds per wall second: at 200, a service that takes 240 AWS seconds to create is there after 1.2 s.
    pub time_scale: f64,
    /// botocore's `data/apprunner/2020-05-15/service-2.json.gz`.
    pub service_model: PathBuf,
    /// Base URL (`http://127.0.0.1:PORT`) of the rest of the local AWS, which is asked for images, roles and subnets and
    /// receives events. Without it every image, role and subnet is taken to be right, and events go nowhere.
    pub surroundings: Option<String>,
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The published service model could not be read.
    #[error("the App Runner service model cannot be used")]
    Model(#[from] ModelError),
    /// No loopback port, thread or runtime to be had.
    #[error("the App Runner emulator could not be started")]
    Io(#[from] std::io::Error),
    /// The certificate authority of the service addresses could not be made.
    #[error("the certificates of the service addresses could not be made")]
    Certificates(#[from] CertificateError),
    /// Time passes, and forwards.
    #[error("time_scale must be a positive number, not {0}")]
    TimeScale(f64),
    /// Only plain HTTP to an authority is spoken with the surroundings.
    #[error("surroundings must look like http://127.0.0.1:PORT, not {0}")]
    Surroundings(String),
}

/// A running App Runner. It has a thread of its own, so it outlives the runtime of whoever started it; when it is
/// dropped, every port it opened is closed.
#[derive(Debug)]
pub struct Emulator {
    emulation: Arc<Emulation>,
    endpoint: SocketAddr,
    certificate_authority_pem: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How long things take, in AWS seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Durations {
    /// From `CreateService` until it runs.
    pub create_service: f64,
    /// How much longer that is when it is the first to use its VPC connector.
    pub first_use_of_a_connector: f64,
    /// Until a new IAM role can be assumed.
    pub role_propagation: f64,
}

impl Emulator {
    /// How long things take here, for whoever wants to know the least that a stack can take.
    pub const DURATIONS: Durations = Durations {
        create_service: operations::seconds(OperationType::CreateService, true),
        first_use_of_a_connector: operations::FIRST_USE_OF_A_CONNECTOR,
        role_propagation: services::ROLE_PROPAGATION,
    };

    /// Starts an App Runner with nothing in it but the account's `DefaultConfiguration` for auto scaling.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(settings: Settings) -> Result<Emulator, StartError> {
        if !(settings.time_scale.is_finite() && settings.time_scale > 0.0) {
            return Err(StartError::TimeScale(settings.time_scale));
        }
        let model = ServiceModel::read(&settings.service_model)?;
        let certificates = Certificates::new()?;
        let certificate_authority_pem = certificates.authority_pem.clone();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let endpoint = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let emulation = Emulation::new(settings, model, &certificates, runtime.handle().clone())?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&emulation);
        let thread = std::thread::Builder::new()
            .name("apprunner".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = server::serve(listener, served) => {}
                    }
                });
            })?;
        Ok(Emulator {
            emulation,
            endpoint,
            certificate_authority_pem,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where the API listens: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.endpoint)
    }

    /// The certificate authority that a client of a service's address must trust.
    #[must_use]
    pub fn certificate_authority_pem(&self) -> &str {
        &self.certificate_authority_pem
    }

    /// Makes something happen that AWS does on its own account.
    ///
    /// # Errors
    /// See [`ArrangementError`].
    pub fn arrange(&self, arrangement: Arrangement) -> Result<(), ArrangementError> {
        self.emulation.arrange(arrangement)
    }

    /// Waits until the surroundings know of everything that has happened until now. A state that [`Self::snapshot`] shows was
    /// told before that, or will have been after this.
    pub async fn everything_is_told(&self) {
        self.emulation.everything_is_told().await;
    }

    /// Everything that exists now: services that are not deleted, revisions and connectors that are active.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.emulation.snapshot()
    }

    /// What could not be told to, or asked of, the surroundings, and answers of the emulator itself that AWS's model does
    /// not allow, one sentence each. Empty in a healthy run.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.emulation.world().complaints.clone()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The runtime goes with its thread, and with it every task that holds a listener.
            let _ = thread.join();
        }
    }
}
