//! The resources of a stack. Each file has its `ensure` (create or accept, repair what differs from the spec, answer
//! `NotReady` until it can be used) and its `destroy` (content when there is nothing), both safe to repeat after a crash
//! between any two API calls. What exists is found by name and tag, never by memory of an earlier run.

pub(crate) mod configuration;
pub(crate) mod connector;
pub(crate) mod credentials;
mod database;
mod foreign;
mod logs;
mod network;
mod registry;
mod roles;
mod service;
mod zones;

pub(crate) use configuration::prune;
pub(crate) use database::{has_subnet_group, refused as database_refused, replica_name};
pub(crate) use foreign::in_the_way;
pub(crate) use network::{ExistingSubnet, availability_zones, own_vpcs, subnets_of};
pub(crate) use roles::too_many_secrets;
pub(crate) use service::check_health;
pub(crate) use zones::{FEWEST, Zone};

use groundcrew::{Aws, Mistake, Removal, Result, Run, Spec, alarms};
use serde::{Deserialize, Serialize};

/// One resource of a stack, as the state machines name it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// The VPC with its private subnets, and the security groups of the connector and of the database.
    Network,
    /// The ECR repository.
    Registry,
    /// The secret with the database's password.
    Credentials,
    /// The RDS PostgreSQL instance.
    Database,
    /// The VPC connector, the auto scaling and the observability configuration of the service.
    Configuration,
    /// The access role and the instance role of the service.
    Roles,
    /// The App Runner service.
    Service,
    /// The alarms, the dashboard, the topic and the log retention.
    Alarms,
}

/// An existing stack that the spec wants elsewhere: neither a connector nor a database can be moved.
pub(crate) async fn moved(aws: &Aws, spec: &Spec, has_app_runner: bool) -> Result<Option<Mistake>> {
    let moved = network::moved(aws, spec).await?;
    match moved {
        None if has_app_runner => configuration::moved(aws, spec).await,
        moved => Ok(moved),
    }
}

impl Resource {
    /// Creation order; removal walks it backwards.
    pub const ALL: [Self; 8] = [
        Self::Network,
        Self::Registry,
        Self::Credentials,
        Self::Roles,
        Self::Database,
        Self::Configuration,
        Self::Service,
        Self::Alarms,
    ];

    /// Creates, accepts or repairs the resource.
    ///
    /// # Errors
    /// `NotReady` until it can be used; see [`groundcrew::Error`] for the others.
    pub async fn ensure(self, aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
        // Boxed, for the futures of what is called inside of them are large, and lie on the stack of whoever polls them.
        match self {
            Self::Network => Box::pin(network::ensure(aws, spec, run)).await,
            Self::Registry => registry::ensure(aws, spec, run).await,
            Self::Credentials => credentials::ensure(aws, spec, run).await,
            Self::Database => Box::pin(database::ensure(aws, spec, run)).await,
            Self::Configuration => configuration::ensure(aws, spec, run).await,
            Self::Roles => roles::ensure(aws, spec, run).await,
            Self::Service => Box::pin(service::ensure(aws, spec, run)).await,
            Self::Alarms => alarms::ensure(aws, spec, run).await,
        }
    }

    /// Removes the resource if it is ours, and within the removal's limits.
    ///
    /// # Errors
    /// `NotReady` until it is gone; see [`groundcrew::Error`] for the others.
    pub async fn destroy(self, aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
        match self {
            Self::Network => network::destroy(aws, removal, run).await,
            Self::Registry => registry::destroy(aws, removal, run).await,
            Self::Credentials => credentials::destroy(aws, removal, run).await,
            Self::Database => database::destroy(aws, removal, run).await,
            Self::Configuration => configuration::destroy(aws, removal, run).await,
            Self::Roles => roles::destroy(aws, removal, run).await,
            Self::Service => service::destroy(aws, removal, run).await,
            Self::Alarms => alarms::destroy(aws, removal, run).await,
        }
    }

    /// The word that the state machines use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Registry => "registry",
            Self::Credentials => "credentials",
            Self::Database => "database",
            Self::Configuration => "configuration",
            Self::Roles => "roles",
            Self::Service => "service",
            Self::Alarms => "alarms",
        }
    }
}
