//! A stack as AWS has it: its services and its databases, found by their tags.

use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_rds::types::DbInstance;
use groundcrew::error::found;
use groundcrew::memory::{Deployments, Parking};
use groundcrew::reference::current_secrets;
use groundcrew::stack::Tags;
use groundcrew::{Aws, Claim, Error, Managed, Mark, Memory, Result, Stack};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A stack, with everything that a decision rests on.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Which one.
    pub stack: Stack,
    /// Its App Runner services.
    pub services: Vec<Service>,
    /// Its RDS instances.
    pub databases: Vec<Database>,
}

/// One service of a stack.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// App Runner's word for its state.
    pub status: ServiceStatus,
    /// Its tags.
    pub tags: Tags,
    /// The memory of one instance, in GB.
    pub memory_gb: Option<f64>,
    /// The secrets that it reads, by ARN.
    pub secrets: BTreeSet<String>,
}

/// One database of a stack.
#[derive(Clone, Debug)]
pub struct Database {
    /// Its identifier.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// RDS's word for its state.
    pub status: String,
    /// Its instance class.
    pub class: String,
    /// Why RDS stops no such database, if it does not.
    pub cannot_stop: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// A stack by what it consists of: what the states hand on to each other.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Parts {
    /// Which stack.
    pub stack: Stack,
    /// The ARNs of its services.
    pub services: Vec<String>,
    /// The identifiers of its databases.
    pub databases: Vec<String>,
}

impl Observed {
    /// The tags of everything in it.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &Tags> + Clone {
        let services = self.services.iter().map(|service| &service.tags);
        services.chain(self.databases.iter().map(|database| &database.tags))
    }

    /// What it consists of.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            stack: self.stack.clone(),
            services: self.services.iter().map(|it| it.arn.clone()).collect(),
            databases: self.databases.iter().map(|it| it.name.clone()).collect(),
        }
    }

    /// What is in which state, for a person.
    pub(crate) fn states(&self) -> String {
        let services = self.services.iter();
        let services = services.map(|it| format!("service {} is {}", it.name, it.status));
        let databases = self.databases.iter();
        let databases = databases.map(|it| format!("database {} is {}", it.name, it.status));
        let all: Vec<_> = services.chain(databases).collect();
        all.join(", ")
    }
}

impl Service {
    /// Since when groundcrew has it parked.
    pub(crate) fn mark(&self) -> Option<Mark> {
        Mark::of(&self.tags)
    }

    /// Remembers something else of its sleep.
    ///
    /// # Errors
    /// `NotReady` if somebody else has written meanwhile.
    pub(crate) async fn remember(
        &self,
        aws: &Aws,
        change: impl FnOnce(&mut Parking),
    ) -> Result<()> {
        let mut memory: Memory<Parking> = Memory::of(aws, &self.arn, &self.tags).await?;
        let mut then = (*memory).clone();
        change(&mut then);
        memory.write(aws, then).await
    }

    /// Whether somebody else has paused it: then it is left alone.
    pub(crate) fn is_paused_by_others(&self) -> bool {
        self.status == ServiceStatus::Paused && self.mark().is_none()
    }

    /// The execution of `deploy` that its tag names.
    pub(crate) fn claim(&self) -> Option<Claim> {
        Claim::of(&self.tags)
    }

    pub(crate) fn of(managed: Managed) -> Self {
        let service = &managed.service;
        let memory = service
            .instance_configuration()
            .and_then(|instance| instance.memory());
        Self {
            arn: managed.arn().to_owned(),
            name: managed.name().to_owned(),
            status: service.status().clone(),
            memory_gb: memory.and_then(gigabytes),
            secrets: current_secrets(service),
            tags: managed.tags,
        }
    }
}

/// `2048` or `2 GB`.
fn gigabytes(memory: &str) -> Option<f64> {
    match memory.split_once(' ') {
        Some((gigabytes, _)) => gigabytes.parse().ok(),
        None => memory
            .parse::<f64>()
            .ok()
            .map(|megabytes| megabytes / 1024.0),
    }
}

impl Database {
    /// Whether it can be connected to.
    pub(crate) fn is_up(&self) -> bool {
        let up = [
            "available",
            "backing-up",
            "storage-optimization",
            "storage-config-upgrade",
        ];
        up.contains(&self.status.as_str())
    }

    /// Whether it is stopped, or about to be.
    pub(crate) fn is_down(&self) -> bool {
        ["stopped", "stopping"].contains(&self.status.as_str())
    }

    /// Whether a person has to see to it. One that is being created or deleted comes out of that by itself.
    pub fn needs_a_person(&self) -> bool {
        self.is_broken() && !self.is_going() && self.status != "creating"
    }

    /// Whether it is being deleted.
    pub fn is_going(&self) -> bool {
        ["delete-precheck", "deleting"].contains(&self.status.as_str())
    }

    /// Whether no time and no call of ours leads out of its state.
    pub(crate) fn is_broken(&self) -> bool {
        let broken = [
            "creating",
            "delete-precheck",
            "deleting",
            "failed",
            "inaccessible-encryption-credentials",
            "inaccessible-encryption-credentials-recoverable",
            "insufficient-capacity",
            "restore-error",
            "storage-full",
            "upgrade_failed",
        ];
        broken.contains(&self.status.as_str()) || self.status.starts_with("incompatible-")
    }

    fn of(instance: &DbInstance) -> Option<Self> {
        let tags = instance.tag_list().iter();
        let tags = tags.filter_map(|tag| Some((tag.key.clone()?, tag.value.clone()?)));
        Some(Self {
            name: instance.db_instance_identifier.clone()?,
            arn: instance.db_instance_arn.clone()?,
            status: instance.db_instance_status.clone().unwrap_or_default(),
            class: instance.db_instance_class.clone().unwrap_or_default(),
            cannot_stop: cannot_stop(instance),
            tags: tags.collect(),
        })
    }
}

/// The kinds that RDS stops never (RDS user guide, "Stopping an Amazon RDS DB instance temporarily", limitations).
fn cannot_stop(instance: &DbInstance) -> Option<String> {
    let engine = instance.engine().unwrap_or_default();
    let replicas = instance.read_replica_db_instance_identifiers();
    let clusters = instance.read_replica_db_cluster_identifiers();
    if let Some(source) = instance.read_replica_source_db_instance_identifier() {
        return Some(format!("it is a read replica of {source}"));
    }
    if instance
        .read_replica_source_db_cluster_identifier()
        .is_some()
    {
        return Some("it is a read replica".into());
    }
    if let Some(replica) = replicas.iter().chain(clusters).next() {
        return Some(format!("it has the read replica {replica}"));
    }
    if let Some(cluster) = instance.db_cluster_identifier() {
        return Some(format!("it belongs to the cluster {cluster}"));
    }
    (engine.starts_with("sqlserver") && instance.multi_az() == Some(true))
        .then(|| "it is a SQL Server in several availability zones".into())
}

/// Looks at the parts of a stack again; what is gone, or no longer its own, is left out.
///
/// # Errors
/// Those of the calls.
pub(crate) async fn look(aws: &Aws, parts: &Parts) -> Result<Observed> {
    let mut services = Vec::new();
    for arn in &parts.services {
        if let Some(managed) = Managed::look(aws, arn).await? {
            let managed = managed.remembered::<Deployments>(aws).await?;
            services.push(managed.remembered::<Parking>(aws).await?);
        }
    }
    observe(aws, &parts.stack, services, &parts.databases).await
}

/// A stack whose services were looked at already, with what is remembered of their parking; looks at its databases. What is not
/// its own is left out.
///
/// # Errors
/// Those of `rds:DescribeDBInstances`.
pub async fn observe(
    aws: &Aws,
    stack: &Stack,
    services: Vec<Managed>,
    databases: &[String],
) -> Result<Observed> {
    let services = services.into_iter();
    let own = services.filter(|service| stack.owns(&service.tags));
    let mut observed = Observed {
        stack: stack.clone(),
        services: own.map(Service::of).collect(),
        databases: Vec::new(),
    };
    for name in databases {
        let described = aws
            .rds()
            .describe_db_instances()
            .db_instance_identifier(name)
            .send()
            .await;
        let described = found(
            described,
            |error| error.is_db_instance_not_found_fault(),
            "rds:DescribeDBInstances",
        )?;
        let instances = described.and_then(|it| it.db_instances).unwrap_or_default();
        let databases = instances.iter().filter_map(Database::of);
        let own = databases.filter(|database| stack.owns(&database.tags));
        observed.databases.extend(own);
    }
    Ok(observed)
}

/// Every database of the account.
///
/// # Errors
/// Those of `rds:DescribeDBInstances`.
pub(crate) async fn databases(aws: &Aws) -> Result<Vec<Database>> {
    let mut databases = Vec::new();
    let mut pages = aws.rds().describe_db_instances().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("rds:DescribeDBInstances"))?;
        databases.extend(page.db_instances().iter().filter_map(Database::of));
    }
    Ok(databases)
}
