//! Auto scaling configurations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::revisions::{Revision, Revisions};
use crate::world::{Emulation, World};
use crate::{pages, tags};

/// Names per Region, and revisions of each (developer guide, architecture).
const NAMES: usize = 10;
const REVISIONS: usize = 5;
const DEFAULT: &str = "DefaultConfiguration";

/// The settings of a revision.
#[derive(Debug)]
pub(crate) struct AutoScaling {
    max_concurrency: i64,
    min_size: i64,
    max_size: i64,
}

/// Every account has this one. (Its id is the same everywhere: hashicorp/terraform-provider-aws#19840.)
pub(crate) fn add_default(revisions: &mut Revisions<AutoScaling>) {
    let settings = AutoScaling {
        max_concurrency: 100,
        min_size: 1,
        max_size: 25,
    };
    revisions.add_with_id(
        DEFAULT,
        1,
        "00000000000000000000000000000001",
        BTreeMap::new(),
        settings,
    );
}

pub(crate) fn default_arn(revisions: &Revisions<AutoScaling>) -> String {
    revisions.all[0].arn.clone()
}

impl Emulation {
    pub(crate) fn create_auto_scaling_configuration(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let name = request["AutoScalingConfigurationName"]
            .as_str()
            .unwrap_or_default();
        let settings = AutoScaling {
            max_concurrency: request["MaxConcurrency"].as_i64().unwrap_or(100),
            min_size: request["MinSize"].as_i64().unwrap_or(1),
            max_size: request["MaxSize"].as_i64().unwrap_or(25),
        };
        if settings.min_size > settings.max_size {
            return Err(Refusal::invalid_request(
                "MinSize must not be greater than MaxSize.",
            ));
        }
        let tags = tags::of_request(request, &BTreeMap::new())?;
        let world = &mut *self.world();
        let known = world
            .auto_scaling
            .active()
            .filter(|revision| revision.name == name)
            .count();
        // The account's own default does not count: it is not of the account's making (Assumption default-scaling).
        let names = world.auto_scaling.names() - 1;
        if known == 0 && names >= NAMES || known >= REVISIONS {
            return Err(Refusal::quota(format!(
                "You can have at most {NAMES} auto scaling configurations with {REVISIONS} revisions each in a Region."
            )));
        }
        let number = world.auto_scaling.next_revision(name);
        let arn = world
            .auto_scaling
            .add(name, number, tags, settings)
            .arn
            .clone();
        Ok(json!({"AutoScalingConfiguration": describe(world, found(world, &arn)?)}))
    }

    pub(crate) fn describe_auto_scaling_configuration(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let world = self.world();
        Ok(json!({"AutoScalingConfiguration": describe(&world, found(&world, arn_of(request))?)}))
    }

    pub(crate) fn list_auto_scaling_configurations(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let world = self.world();
        let revisions = &world.auto_scaling;
        let name = request["AutoScalingConfigurationName"].as_str();
        let latest_only = request["LatestOnly"].as_bool().unwrap_or(true);
        let list = revisions
            .active()
            .filter(|revision| name.is_none_or(|name| revision.name == name))
            .filter(|revision| !latest_only || revisions.is_latest(revision))
            .map(|revision| summarise(&world, revision))
            .collect();
        pages::page("AutoScalingConfigurationSummaryList", list, request, 100)
    }

    pub(crate) fn delete_auto_scaling_configuration(
        &self,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        let arn = arn_of(request);
        let revision = found(world, arn)?;
        if !revision.is_active() {
            return Err(Refusal::not_found("AutoScalingConfiguration", arn));
        }
        let chosen = revision.arn.clone();
        let doomed: Vec<String> = if request["DeleteAllRevisions"].as_bool().unwrap_or_default() {
            let Some(name) = world.auto_scaling.bare_name(arn) else {
                return Err(Refusal::invalid_request(
                    "The ARN must end with the configuration name when DeleteAllRevisions is true.",
                ));
            };
            world
                .auto_scaling
                .active()
                .filter(|revision| revision.name == name)
                .map(|revision| revision.arn.clone())
                .collect()
        } else {
            vec![chosen.clone()]
        };
        if doomed.contains(&default_arn(&world.auto_scaling)) {
            return Err(Refusal::invalid_request(
                "You can't delete the default auto scaling configuration.",
            ));
        }
        if doomed.iter().any(|arn| is_used(world, arn)) {
            // hashicorp/terraform-provider-aws#38534
            return Err(Refusal::invalid_request(
                "You can't delete the auto scaling configuration. It's used by one or more services.",
            ));
        }
        doomed
            .iter()
            .for_each(|arn| world.auto_scaling.deactivate(arn));
        Ok(json!({"AutoScalingConfiguration": describe(world, found(world, &chosen)?)}))
    }
}

fn arn_of(request: &Value) -> &str {
    request["AutoScalingConfigurationArn"]
        .as_str()
        .unwrap_or_default()
}

fn found<'w>(world: &'w World, arn: &str) -> Result<&'w Revision<AutoScaling>, Refusal> {
    world
        .auto_scaling
        .find(arn)
        .ok_or_else(|| Refusal::not_found("AutoScalingConfiguration", arn))
}

fn is_used(world: &World, arn: &str) -> bool {
    world.living().any(|service| {
        [Some(&service.configuration), service.deployed.as_ref()]
            .into_iter()
            .flatten()
            .any(|configuration| configuration.auto_scaling_arn == arn)
    })
}

fn summarise(world: &World, revision: &Revision<AutoScaling>) -> Value {
    json!({
        "AutoScalingConfigurationArn": revision.arn,
        "AutoScalingConfigurationName": revision.name,
        "AutoScalingConfigurationRevision": revision.revision,
        "Status": revision.status(),
        "CreatedAt": revision.created_at,
        "HasAssociatedService": is_used(world, &revision.arn),
        "IsDefault": revision.arn == default_arn(&world.auto_scaling),
    })
}

fn describe(world: &World, revision: &Revision<AutoScaling>) -> Value {
    let mut description = summarise(world, revision);
    description["Latest"] = json!(world.auto_scaling.is_latest(revision));
    description["MaxConcurrency"] = json!(revision.settings.max_concurrency);
    description["MinSize"] = json!(revision.settings.min_size);
    description["MaxSize"] = json!(revision.settings.max_size);
    if let Some(deleted_at) = revision.deleted_at {
        description["DeletedAt"] = json!(deleted_at);
    }
    description
}
