//! What exists in the emulated account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::address::Address;
use crate::arrangements::NextOperation;
use crate::auto_scaling::{self, AutoScaling};
use crate::cause::Cause;
use crate::certificates::Certificates;
use crate::configuration::Configuration;
use crate::model::ServiceModel;
use crate::observability::Tracing;
use crate::refusal::Refusal;
use crate::revisions::Revisions;
use crate::services::SERVICES;
use crate::states::{Call, OperationStatus, OperationType, ServiceStatus, Verdict, verdict};
use crate::surroundings::{Notice, Surroundings, deliver};
use crate::vpc_connectors::{self, Connector};
use crate::{Settings, StartError};

/// Tags of one resource.
pub(crate) type Tags = BTreeMap<String, String>;

/// For how many AWS seconds a deleted service can still be described ("for some time", service model, `Service`).
const DELETED_SERVICE_IS_SHOWN: f64 = 3600.0;

/// The emulator: what exists, and what is needed to change it.
pub(crate) struct Emulation {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) time_scale: f64,
    pub(crate) model: ServiceModel,
    pub(crate) surroundings: Option<Surroundings>,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) runtime: Handle,
    notices: mpsc::UnboundedSender<Notice>,
    /// How many notices there were, and how many of them the surroundings have got.
    posted: AtomicU64,
    pub(crate) delivered: watch::Sender<u64>,
    world: Mutex<World>,
}

/// Everything that exists.
pub(crate) struct World {
    /// Oldest first; deleted ones stay, to be described for a while.
    pub(crate) services: Vec<Service>,
    pub(crate) auto_scaling: Revisions<AutoScaling>,
    pub(crate) observability: Revisions<Tracing>,
    pub(crate) connectors: Revisions<Connector>,
    pub(crate) next_operations: Vec<NextOperation>,
    /// The services in maintenance, by ARN, with the status that they have afterwards.
    pub(crate) maintained: BTreeMap<String, ServiceStatus>,
    /// The ARNs of VPC ingress connections, by the name of their service.
    pub(crate) ingress_connections: BTreeMap<String, String>,
    /// The names of the connectors that App Runner holds although no service uses them.
    pub(crate) held_connectors: BTreeSet<String>,
    /// What the health path of a service (by name) answers instead of 200.
    pub(crate) health_answers: BTreeMap<String, StatusCode>,
    /// What the health path answers while this image (by digest) runs.
    pub(crate) image_answers: BTreeMap<String, StatusCode>,
    /// How many services there can be.
    pub(crate) service_quota: usize,
    /// Whether App Runner is open to the account.
    pub(crate) account_is_open: bool,
    /// Whether its calls that only read are answered.
    pub(crate) account_reads: bool,
    /// The ids of the availability zones in which no connector can be.
    pub(crate) refused_zones: Vec<String>,
    pub(crate) complaints: Vec<String>,
}

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) created_at: f64,
    pub(crate) updated_at: f64,
    pub(crate) deleted_at: Option<f64>,
    pub(crate) status: ServiceStatus,
    /// What `DescribeService` shows: during an update already the new one (service model, `UpdateServiceResponse`).
    pub(crate) configuration: Configuration,
    /// What runs: the configuration of the last operation that succeeded, and what a failed one goes back to.
    pub(crate) deployed: Option<Configuration>,
    /// What the deployment of it found. A resume starts it again as it was: whether AWS then reads secrets anew is not
    /// documented, and this is the harder case.
    pub(crate) runs: Running,
    /// Whether instances run: also during an update, a deployment, a pause that is not done yet, and maintenance.
    pub(crate) is_up: bool,
    pub(crate) tags: Tags,
    /// Newest first.
    pub(crate) operations: Vec<Operation>,
    pub(crate) port: u16,
    /// Gone when the service is deleted, and with it the listener.
    pub(crate) address: Option<Address>,
}

/// What a deployment found behind the names in its configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Running {
    /// Of an image in the account's ECR.
    pub(crate) digest: Option<String>,
    /// The id of the version of each secret in Secrets Manager, by the variable that it is in.
    pub(crate) secrets: BTreeMap<String, String>,
}

/// An operation on a service.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) kind: OperationType,
    pub(crate) status: OperationStatus,
    pub(crate) started_at: f64,
    pub(crate) updated_at: f64,
    pub(crate) ended_at: Option<f64>,
    /// Why it failed. The API does not tell; the service's event log does.
    pub(crate) cause: Option<Cause>,
}

impl Emulation {
    pub(crate) fn new(
        settings: Settings,
        model: ServiceModel,
        certificates: &Certificates,
        runtime: Handle,
    ) -> Result<Arc<Emulation>, StartError> {
        let surroundings = settings
            .surroundings
            .as_deref()
            .map(Surroundings::new)
            .transpose()?;
        let (notices, posted) = mpsc::unbounded_channel();
        let of = |kind: &str| {
            format!(
                "arn:aws:apprunner:{}:{}:{kind}",
                settings.region, settings.account
            )
        };
        let mut world = World {
            services: Vec::new(),
            auto_scaling: Revisions::new(of("autoscalingconfiguration")),
            observability: Revisions::new(of("observabilityconfiguration")),
            connectors: Revisions::new(of("vpcconnector")),
            next_operations: Vec::new(),
            maintained: BTreeMap::new(),
            ingress_connections: BTreeMap::new(),
            held_connectors: BTreeSet::new(),
            health_answers: BTreeMap::new(),
            image_answers: BTreeMap::new(),
            service_quota: SERVICES,
            account_is_open: true,
            account_reads: true,
            refused_zones: vpc_connectors::refused_zones(),
            complaints: Vec::new(),
        };
        auto_scaling::add_default(&mut world.auto_scaling);
        let emulation = Arc::new(Emulation {
            account: settings.account,
            region: settings.region,
            time_scale: settings.time_scale,
            model,
            surroundings,
            acceptor: certificates.acceptor.clone(),
            runtime: runtime.clone(),
            notices,
            posted: AtomicU64::new(0),
            delivered: watch::Sender::new(0),
            world: Mutex::new(world),
        });
        runtime.spawn(deliver(Arc::clone(&emulation), posted));
        Ok(emulation)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .expect("nothing panics while it holds the world")
    }

    /// Lets AWS seconds pass.
    pub(crate) async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds / self.time_scale)).await;
    }

    /// Tells the surroundings something, after everything that was told before.
    pub(crate) fn tell(&self, notice: Notice) {
        self.posted.fetch_add(1, Ordering::SeqCst);
        // The receiver only goes when the whole emulator does.
        let _ = self.notices.send(notice);
    }

    /// Waits until the surroundings have got every notice so far.
    pub(crate) async fn everything_is_told(&self) {
        let posted = self.posted.load(Ordering::SeqCst);
        let mut delivered = self.delivered.subscribe();
        let all = delivered.wait_for(|delivered| *delivered >= posted);
        drop(all.await.expect("the emulation counts as long as it lives"));
    }

    /// The service of this ARN. A deleted one is found for an hour.
    pub(crate) fn service<'w>(&self, world: &'w World, arn: &str) -> Result<&'w Service, Refusal> {
        let shown = |service: &&Service| {
            service
                .deleted_at
                .is_none_or(|at| (now() - at) * self.time_scale < DELETED_SERVICE_IS_SHOWN)
        };
        world
            .services
            .iter()
            .find(|service| service.arn == arn)
            .filter(shown)
            .ok_or_else(|| Refusal::not_found("Service", arn))
    }

    /// The service of this ARN, if its state allows the call.
    pub(crate) fn service_for<'w>(
        &self,
        world: &'w mut World,
        arn: &str,
        call: Call,
    ) -> Result<&'w mut Service, Refusal> {
        let status = self.service(world, arn)?.status;
        let refused_to_be = |done: &str| {
            // Text: hashicorp/terraform-provider-aws#19840
            Refusal::invalid_state(format!(
                "Service cannot be {done} in the current state: {}.",
                status.as_str()
            ))
        };
        match verdict(call, status) {
            Verdict::Yes => Ok(world.service_mut(arn).expect("it was just found")),
            Verdict::State => Err(refused_to_be(match call {
                Call::StartDeployment => "deployed",
                Call::UpdateService => "updated",
                Call::PauseService => "paused",
                Call::ResumeService => "resumed",
                Call::DeleteService => "deleted",
                Call::Tag => "tagged",
            })),
            // Reported word for word by many users of the API.
            Verdict::Request => Err(Refusal::invalid_request(
                "Can't start a deployment on the specified service, because it isn't in RUNNING state.",
            )),
            Verdict::Gone => Err(Refusal::not_found("Service", arn)),
        }
    }
}

impl std::fmt::Debug for Emulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulation")
            .field("account", &self.account)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn service_mut(&mut self, arn: &str) -> Option<&mut Service> {
        self.services.iter_mut().find(|service| service.arn == arn)
    }

    /// The service of an operation, and where among its operations that one is.
    pub(crate) fn operation(&mut self, arn: &str, id: &str) -> Option<(&mut Service, usize)> {
        let service = self.service_mut(arn)?;
        let at = service
            .operations
            .iter()
            .position(|operation| operation.id == id)?;
        Some((service, at))
    }

    /// Services that are not deleted: they count against the quota and keep their name.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Service> {
        self.services
            .iter()
            .filter(|service| service.status != ServiceStatus::Deleted)
    }

    pub(crate) fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }
}

impl Service {
    pub(crate) fn url(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn describe(&self) -> Value {
        let mut service = json!({
            "ServiceName": self.name,
            "ServiceId": self.id,
            "ServiceArn": self.arn,
            "ServiceUrl": self.url(),
            "CreatedAt": self.created_at,
            "UpdatedAt": self.updated_at,
            "Status": self.status,
        });
        if let Some(deleted_at) = self.deleted_at {
            service["DeletedAt"] = json!(deleted_at);
        }
        self.configuration.describe_into(&mut service);
        service
    }

    pub(crate) fn summarise(&self) -> Value {
        json!({
            "ServiceName": self.name,
            "ServiceId": self.id,
            "ServiceArn": self.arn,
            "ServiceUrl": self.url(),
            "CreatedAt": self.created_at,
            "UpdatedAt": self.updated_at,
            "Status": self.status,
        })
    }
}

/// The time as AWS JSON writes it: seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_millis() as f64 / 1000.0)
}
