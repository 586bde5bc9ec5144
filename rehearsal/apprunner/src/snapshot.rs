//! What exists, for a test to look at.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::revisions::Revisions;
use crate::states::{OperationStatus, OperationType, ServiceStatus};
use crate::world::Emulation;

/// Everything that exists at one moment. The account's own `DefaultConfiguration` is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Services that are not deleted, oldest first.
    pub services: Vec<ServiceSnapshot>,
    /// Active revisions.
    pub auto_scaling_configurations: Vec<RevisionSnapshot>,
    /// Active revisions.
    pub observability_configurations: Vec<RevisionSnapshot>,
    /// Active connectors.
    pub vpc_connectors: Vec<RevisionSnapshot>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceSnapshot {
    /// `ServiceName`
    pub name: String,
    /// `ServiceArn`
    pub arn: String,
    /// `Status`
    pub status: ServiceStatus,
    /// The whole answer of `DescribeService`.
    pub description: Value,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its operations, newest first.
    pub operations: Vec<OperationSnapshot>,
    /// What runs, or would run after a resume: what the last deployment that succeeded found.
    pub runs: RunningSnapshot,
}

/// What a service runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunningSnapshot {
    /// The digest of its image, if that is in the account's ECR.
    pub image_digest: Option<String>,
    /// The id of the version of each secret that it was started with, by the variable that it is in.
    pub secret_versions: BTreeMap<String, String>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationSnapshot {
    /// `Id`
    pub id: String,
    /// `Type`
    pub operation_type: OperationType,
    /// `Status`
    pub status: OperationStatus,
    /// Why it failed, which AWS writes into the service's log only.
    pub cause: Option<String>,
}

/// A revision of a configuration, or a connector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RevisionSnapshot {
    /// Its name.
    pub name: String,
    /// Its number.
    pub revision: u32,
    /// Its full ARN.
    pub arn: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Emulation {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let world = self.world();
        let services = world.living().map(|service| ServiceSnapshot {
            name: service.name.clone(),
            arn: service.arn.clone(),
            status: service.status,
            description: service.describe(),
            tags: service.tags.clone(),
            operations: service
                .operations
                .iter()
                .map(|operation| OperationSnapshot {
                    id: operation.id.clone(),
                    operation_type: operation.kind,
                    status: operation.status,
                    cause: operation.cause.as_ref().map(ToString::to_string),
                })
                .collect(),
            runs: RunningSnapshot {
                image_digest: service.runs.digest.clone(),
                secret_versions: service.runs.secrets.clone(),
            },
        });
        let default = crate::auto_scaling::default_arn(&world.auto_scaling);
        let mut auto_scaling_configurations = active(&world.auto_scaling);
        auto_scaling_configurations.retain(|revision| revision.arn != default);
        Snapshot {
            services: services.collect(),
            auto_scaling_configurations,
            observability_configurations: active(&world.observability),
            vpc_connectors: active(&world.connectors),
        }
    }
}

fn active<T>(revisions: &Revisions<T>) -> Vec<RevisionSnapshot> {
    let snapshot = revisions.active().map(|revision| RevisionSnapshot {
        name: revision.name.clone(),
        revision: revision.revision,
        arn: revision.arn.clone(),
        tags: revision.tags.clone(),
    });
    snapshot.collect()
}
