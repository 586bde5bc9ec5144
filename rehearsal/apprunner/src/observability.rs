//! Observability configurations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::revisions::Revision;
use crate::world::{Emulation, World};
use crate::{pages, tags};

/// Names per Region, and revisions of each (developer guide, architecture).
const NAMES: usize = 10;
const REVISIONS: usize = 10;

/// `TraceConfiguration` as given; null when tracing is off.
#[derive(Debug)]
pub(crate) struct Tracing(Value);

impl Emulation {
    pub(crate) fn create_observability_configuration(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let name = request["ObservabilityConfigurationName"]
            .as_str()
            .unwrap_or_default();
        // Still reserved here, though no longer for auto scaling (service model).
        if name == "DefaultConfiguration" {
            return Err(Refusal::invalid_request(
                "The configuration name DefaultConfiguration is reserved.",
            ));
        }
        let tags = tags::of_request(request, &BTreeMap::new())?;
        let world = &mut *self.world();
        let known = world
            .observability
            .active()
            .filter(|revision| revision.name == name)
            .count();
        if known == 0 && world.observability.names() >= NAMES || known >= REVISIONS {
            return Err(Refusal::quota(format!(
                "You can have at most {NAMES} observability configurations with {REVISIONS} revisions each in a Region."
            )));
        }
        let number = world.observability.next_revision(name);
        let tracing = Tracing(request["TraceConfiguration"].clone());
        let arn = world
            .observability
            .add(name, number, tags, tracing)
            .arn
            .clone();
        Ok(json!({"ObservabilityConfiguration": describe(world, found(world, &arn)?)}))
    }

    pub(crate) fn describe_observability_configuration(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let world = self.world();
        Ok(json!({"ObservabilityConfiguration": describe(&world, found(&world, arn_of(request))?)}))
    }

    pub(crate) fn list_observability_configurations(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let world = self.world();
        let revisions = &world.observability;
        let name = request["ObservabilityConfigurationName"].as_str();
        let latest_only = request["LatestOnly"].as_bool().unwrap_or(true);
        let list = revisions
            .active()
            .filter(|revision| name.is_none_or(|name| revision.name == name))
            .filter(|revision| !latest_only || revisions.is_latest(revision))
            .map(summarise)
            .collect();
        pages::page("ObservabilityConfigurationSummaryList", list, request, 100)
    }

    pub(crate) fn delete_observability_configuration(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        let revision = found(world, arn_of(request))?;
        if !revision.is_active() {
            return Err(Refusal::not_found(
                "ObservabilityConfiguration",
                arn_of(request),
            ));
        }
        let arn = revision.arn.clone();
        if is_used(world, &arn) {
            return Err(Refusal::invalid_request(
                "You can't delete the observability configuration. It's used by one or more services.",
            ));
        }
        world.observability.deactivate(&arn);
        Ok(json!({"ObservabilityConfiguration": describe(world, found(world, &arn)?)}))
    }
}

fn arn_of(request: &Value) -> &str {
    request["ObservabilityConfigurationArn"]
        .as_str()
        .unwrap_or_default()
}

fn found<'w>(world: &'w World, arn: &str) -> Result<&'w Revision<Tracing>, Refusal> {
    world
        .observability
        .find(arn)
        .ok_or_else(|| Refusal::not_found("ObservabilityConfiguration", arn))
}

fn is_used(world: &World, arn: &str) -> bool {
    world.living().any(|service| {
        [Some(&service.configuration), service.deployed.as_ref()]
            .into_iter()
            .flatten()
            .any(|configuration| configuration.observability_arn() == Some(arn))
    })
}

fn summarise(revision: &Revision<Tracing>) -> Value {
    json!({
        "ObservabilityConfigurationArn": revision.arn,
        "ObservabilityConfigurationName": revision.name,
        "ObservabilityConfigurationRevision": revision.revision,
    })
}

fn describe(world: &World, revision: &Revision<Tracing>) -> Value {
    let mut description = summarise(revision);
    description["Latest"] = json!(world.observability.is_latest(revision));
    description["Status"] = json!(revision.status());
    description["CreatedAt"] = json!(revision.created_at);
    if !revision.settings.0.is_null() {
        description["TraceConfiguration"] = revision.settings.0.clone();
    }
    if let Some(deleted_at) = revision.deleted_at {
        description["DeletedAt"] = json!(deleted_at);
    }
    description
}
