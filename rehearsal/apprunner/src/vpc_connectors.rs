//! VPC connectors.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::revisions::Revision;
use crate::surroundings::Notice;
use crate::world::{Emulation, World, now};
use crate::{pages, tags};

/// Connectors per Region (developer guide, architecture).
const CONNECTORS: usize = 10;

/// The zones that App Runner refuses at the start (Assumption zones-without-app-runner).
const REFUSED_ZONES: [&str; 1] = ["use1-az3"];
/// For so many AWS seconds nobody may have the security groups of a deleted connector, as long as its network interfaces stay
/// (Assumption groups-of-a-connector).
const GROUPS_LINGER: f64 = 60.0;

/// The zones that App Runner refuses, until somebody [arranges](crate::Arrangement::Zones) others.
pub(crate) fn refused_zones() -> Vec<String> {
    REFUSED_ZONES.map(str::to_owned).into()
}

/// Where a connector leads.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) subnets: Vec<String>,
    pub(crate) security_groups: Vec<String>,
    /// Whether a service ever used it: the first one waits longer, and makes its network interfaces.
    pub(crate) is_used: bool,
}

impl Emulation {
    pub(crate) async fn create_vpc_connector(&self, request: &Value) -> Result<Value, Refusal> {
        let name = request["VpcConnectorName"].as_str().unwrap_or_default();
        let subnets = texts(&request["Subnets"]);
        let security_groups = texts(&request["SecurityGroups"]);
        let tags = tags::of_request(request, &BTreeMap::new())?;
        self.check_subnets(&subnets).await?;

        let world = &mut *self.world();
        let groups: BTreeSet<&String> = security_groups.iter().collect();
        let holds = |other: &&Revision<Connector>| {
            let lingers = |at| (now() - at) * self.time_scale < GROUPS_LINGER;
            !groups.is_empty()
                && other.deleted_at.is_none_or(lingers)
                && other
                    .settings
                    .security_groups
                    .iter()
                    .collect::<BTreeSet<_>>()
                    == groups
        };
        if let Some(other) = world.connectors.all.iter().find(holds) {
            // Text: pulumi/pulumi-aws#5364, of a connector with the same name, so it comes before what follows.
            return Err(Refusal::invalid_request(format!(
                "The security groups combination provided in the request already exists on existing vpc connector. \
                 Existing VPC connector arn: {}, Security Groups: [{}]",
                other.arn,
                security_groups.join(", ")
            )));
        }
        // "At this time, App Runner supports only one revision per name." (service model, VpcConnector)
        if world.connectors.latest(name).is_some() {
            return Err(Refusal::invalid_request(format!(
                "VPC connector with the provided name already exists: {name}."
            )));
        }
        if world.connectors.active().count() >= CONNECTORS {
            return Err(Refusal::quota(format!(
                "You can have at most {CONNECTORS} VPC connectors in a Region."
            )));
        }
        let connector = Connector {
            subnets,
            security_groups,
            is_used: false,
        };
        Ok(json!({"VpcConnector": describe(world.connectors.add(name, 1, tags, connector))}))
    }

    pub(crate) fn describe_vpc_connector(&self, request: &Value) -> Result<Value, Refusal> {
        Ok(json!({"VpcConnector": describe(found(&self.world(), arn_of(request))?)}))
    }

    /// Deleted connectors too: for the other lists the service model promises active ones only, for this one it does not.
    pub(crate) fn list_vpc_connectors(&self, request: &Value) -> Result<Value, Refusal> {
        pages::page(
            "VpcConnectors",
            self.world().connectors.all.iter().map(describe).collect(),
            request,
            100,
        )
    }

    pub(crate) fn delete_vpc_connector(&self, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        let arn = arn_of(request);
        if !found(world, arn)?.is_active() {
            return Err(Refusal::not_found("VpcConnector", arn));
        }
        let uses = |service: &crate::world::Service| {
            [Some(&service.configuration), service.deployed.as_ref()]
                .into_iter()
                .flatten()
                .any(|configuration| configuration.vpc_connector_arn() == Some(arn))
        };
        let is_held = world.held_connectors.contains(&found(world, arn)?.name);
        if is_held || world.living().any(uses) {
            // aws/apprunner-roadmap#161
            return Err(Refusal::invalid_request(format!(
                "Provided VPC connector arn is being used by other services. ARN:  {arn}"
            )));
        }
        world.connectors.deactivate(arn);
        if found(world, arn)?.settings.is_used {
            self.tell(Notice::DeleteNetworkInterfaces {
                vpc_connector_arn: arn.to_owned(),
            });
        }
        Ok(json!({"VpcConnector": describe(found(world, arn)?)}))
    }

    /// They must exist, be in one VPC and in zones that App Runner supports. That they are private is only found out when a
    /// service uses them.
    async fn check_subnets(&self, subnets: &[String]) -> Result<(), Refusal> {
        if subnets.is_empty() {
            return Err(Refusal::invalid_request("Subnets must not be empty."));
        }
        let Some(surroundings) = &self.surroundings else {
            return Ok(());
        };
        let known = surroundings.subnets(subnets).await.map_err(|error| {
            self.world().complain(format!(
                "subnets {subnets:?} could not be looked up: {error}"
            ));
            Refusal::internal("the subnets could not be looked up")
        })?;
        if let Some(missing) = subnets
            .iter()
            .find(|id| !known.iter().any(|subnet| subnet.id == **id))
        {
            return Err(Refusal::invalid_request(format!(
                "The subnet ID '{missing}' does not exist."
            )));
        }
        let vpcs: BTreeSet<&str> = known.iter().map(|subnet| subnet.vpc.as_str()).collect();
        if vpcs.len() > 1 {
            return Err(Refusal::invalid_request(
                "All subnets must be in the same VPC.",
            ));
        }
        let refused_zones = &self.world().refused_zones;
        let refused: Vec<String> = known
            .iter()
            .filter(|subnet| refused_zones.contains(&subnet.zone))
            .map(|subnet| format!("{}({})", subnet.id, subnet.zone))
            .collect();
        if !refused.is_empty() {
            // The words are those of six public projects (Assumption zones-without-app-runner: several subnets are named at once, with commas).
            return Err(Refusal::invalid_request(format!(
                "The Availability Zones associated with the following subnet(s) don't support App Runner services: {}",
                refused.join(", ")
            )));
        }
        Ok(())
    }
}

fn arn_of(request: &Value) -> &str {
    request["VpcConnectorArn"].as_str().unwrap_or_default()
}

/// Only a full ARN will do (service model).
fn found<'w>(world: &'w World, arn: &str) -> Result<&'w Revision<Connector>, Refusal> {
    world
        .connectors
        .exact(arn)
        .ok_or_else(|| Refusal::not_found("VpcConnector", arn))
}

fn describe(connector: &Revision<Connector>) -> Value {
    let mut description = json!({
        "VpcConnectorName": connector.name,
        "VpcConnectorArn": connector.arn,
        "VpcConnectorRevision": connector.revision,
        "Subnets": connector.settings.subnets,
        "SecurityGroups": connector.settings.security_groups,
        "Status": connector.status(),
        "CreatedAt": connector.created_at,
    });
    if let Some(deleted_at) = connector.deleted_at {
        description["DeletedAt"] = json!(deleted_at);
    }
    description
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
