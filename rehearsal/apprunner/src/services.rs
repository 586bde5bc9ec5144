//! The calls on services.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::address::Address;
use crate::configuration::Configuration;
use crate::refusal::Refusal;
use crate::states::{Call, OperationType, ServiceStatus};
use crate::surroundings::Notice;
use crate::world::{Emulation, Running, Service, World, now};
use crate::{auto_scaling, ids, pages, rules, tags};

/// Services per Region, unless AWS was asked for more (developer guide, architecture).
pub(crate) const SERVICES: usize = 30;
/// AWS seconds until a new IAM role can be assumed. AWS gives no figure; ten seconds is what people wait in practice.
pub(crate) const ROLE_PROPAGATION: f64 = 10.0;

impl Emulation {
    pub(crate) async fn create_service(
        self: &Arc<Self>,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let name = request["ServiceName"].as_str().unwrap_or_default();
        let new_tags = tags::of_request(request, &BTreeMap::new())?;
        let default_scaling = auto_scaling::default_arn(&self.world().auto_scaling);
        let mut configuration = Configuration::with_defaults(&default_scaling).with(request);
        rules::check(&configuration)?;
        self.check_roles(request).await?;

        let world = &mut *self.world();
        if world.living().any(|service| service.name == name) {
            // Reported word for word by users of the API. A failed service keeps its name too.
            return Err(Refusal::invalid_request(format!(
                "Service with the provided name already exists: {name}."
            )));
        }
        let quota = world.service_quota;
        if world.living().count() >= quota {
            return Err(Refusal::quota(format!(
                "You can have at most {quota} services in a Region."
            )));
        }
        look_up_companions(world, &mut configuration)?;
        let id = ids::resource_id();
        let arn = format!(
            "arn:aws:apprunner:{}:{}:service/{name}/{id}",
            self.region, self.account
        );
        let address = Address::reserve(self, &arn)
            .map_err(|error| Refusal::internal(format!("no loopback port for {name}: {error}")))?;
        world.services.push(Service {
            name: name.to_owned(),
            id: id.clone(),
            arn: arn.clone(),
            created_at: now(),
            updated_at: now(),
            deleted_at: None,
            status: ServiceStatus::OperationInProgress,
            configuration,
            deployed: None,
            runs: Running::default(),
            is_up: false,
            tags: new_tags,
            operations: Vec::new(),
            port: address.port,
            address: Some(address),
        });
        // Made by the service-linked role (developer guide, monitor-cwl); nothing ever deletes them.
        let group = format!("/aws/apprunner/{name}/{id}");
        self.tell(Notice::LogGroups(vec![
            format!("{group}/service"),
            format!("{group}/application"),
        ]));
        Ok(self.begin(world, &arn, OperationType::CreateService))
    }

    pub(crate) fn describe_service(&self, request: &Value) -> Result<Value, Refusal> {
        let world = self.world();
        Ok(json!({"Service": self.service(&world, service_arn(request))?.describe()}))
    }

    pub(crate) fn list_services(&self, request: &Value) -> Result<Value, Refusal> {
        pages::page(
            "ServiceSummaryList",
            self.world().living().map(Service::summarise).collect(),
            request,
            20,
        )
    }

    pub(crate) async fn update_service(
        self: &Arc<Self>,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let arn = service_arn(request);
        let proposed = {
            let world = &mut *self.world();
            let service = self.service_for(world, arn, Call::UpdateService)?;
            if request
                .as_object()
                .is_none_or(|members| members.values().filter(|value| !value.is_null()).count() < 2)
            {
                // terraform-aws-modules/terraform-aws-app-runner#17
                return Err(Refusal::invalid_request(
                    "No configurations provided in the UpdateService request",
                ));
            }
            service.configuration.with(request)
        };
        rules::check(&proposed)?;
        self.check_roles(request).await?;

        // Someone else may have been faster while the roles were looked at.
        let world = &mut *self.world();
        let mut configuration = self
            .service_for(world, arn, Call::UpdateService)?
            .configuration
            .with(request);
        look_up_companions(world, &mut configuration)?;
        self.service_for(world, arn, Call::UpdateService)?
            .configuration = configuration;
        Ok(self.begin(world, arn, OperationType::UpdateService))
    }

    pub(crate) fn start_deployment(self: &Arc<Self>, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        self.service_for(world, service_arn(request), Call::StartDeployment)?;
        let answer = self.begin(world, service_arn(request), OperationType::StartDeployment);
        // The only one of these calls that does not answer with the service.
        Ok(json!({"OperationId": answer["OperationId"]}))
    }

    pub(crate) fn pause_service(self: &Arc<Self>, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        self.service_for(world, service_arn(request), Call::PauseService)?;
        Ok(self.begin(world, service_arn(request), OperationType::PauseService))
    }

    pub(crate) fn resume_service(self: &Arc<Self>, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        self.service_for(world, service_arn(request), Call::ResumeService)?;
        Ok(self.begin(world, service_arn(request), OperationType::ResumeService))
    }

    pub(crate) fn delete_service(self: &Arc<Self>, request: &Value) -> Result<Value, Refusal> {
        let world = &mut *self.world();
        let service = self.service_for(world, service_arn(request), Call::DeleteService)?;
        let name = service.name.clone();
        if world.ingress_connections.contains_key(&name) {
            // hashicorp/terraform-provider-aws#40896
            return Err(Refusal::invalid_state(
                "You cannot delete a Service while it has VpcIngressConnections with a status of AVAILABLE.",
            ));
        }
        Ok(self.begin(world, service_arn(request), OperationType::DeleteService))
    }

    pub(crate) fn ingress_connection_arn(&self, service: &str) -> String {
        let id = ids::resource_id();
        format!(
            "arn:aws:apprunner:{}:{}:vpcingressconnection/{service}/{id}",
            self.region, self.account
        )
    }

    pub(crate) fn list_vpc_ingress_connections(&self, request: &Value) -> Result<Value, Refusal> {
        let world = self.world();
        let of = request["Filter"]["ServiceArn"].as_str();
        let living = world
            .living()
            .filter(|it| of.is_none_or(|arn| it.arn == arn));
        let connections = living.filter_map(|it| {
            let arn = world.ingress_connections.get(&it.name)?;
            Some(json!({"VpcIngressConnectionArn": arn, "ServiceArn": it.arn}))
        });
        let connections = connections.collect();
        pages::page("VpcIngressConnectionSummaryList", connections, request, 100)
    }

    pub(crate) fn list_operations(&self, request: &Value) -> Result<Value, Refusal> {
        let world = self.world();
        let service = self.service(&world, service_arn(request))?;
        let operations = service
            .operations
            .iter()
            .map(|operation| operation.summarise(&service.arn))
            .collect();
        pages::page("OperationSummaryList", operations, request, 20)
    }

    /// App Runner assumes the roles of a request before it answers (hashicorp/terraform-provider-aws retries CreateService
    /// on this very text).
    async fn check_roles(&self, request: &Value) -> Result<(), Refusal> {
        let access =
            &request["SourceConfiguration"]["AuthenticationConfiguration"]["AccessRoleArn"];
        let instance = &request["InstanceConfiguration"]["InstanceRoleArn"];
        for (what, arn, principal) in [
            ("access", access, "build.apprunner.amazonaws.com"),
            ("instance", instance, "tasks.apprunner.amazonaws.com"),
        ] {
            let (Some(surroundings), Some(arn)) = (&self.surroundings, arn.as_str()) else {
                continue;
            };
            let role = surroundings.role(arn).await.map_err(|error| {
                self.world()
                    .complain(format!("{arn} could not be looked up: {error}"));
                Refusal::internal(format!("{arn} could not be looked up"))
            })?;
            let is_trusted = role.services.iter().any(|service| service == principal);
            if !role.exists || !is_trusted || role.age_seconds < ROLE_PROPAGATION {
                return Err(Refusal::invalid_request(format!(
                    "Error in assuming {what} role {arn}"
                )));
            }
        }
        Ok(())
    }
}

/// Finds the configurations and the connector that the ARNs stand for, and writes their full ARNs into the service.
fn look_up_companions(world: &World, configuration: &mut Configuration) -> Result<(), Refusal> {
    let unusable = |what: &str, arn: &str| {
        Refusal::invalid_request(format!("{what} {arn} does not exist or is inactive."))
    };
    let arn = configuration.auto_scaling_arn.clone();
    let scaling = world
        .auto_scaling
        .find(&arn)
        .filter(|found| found.is_active());
    configuration.auto_scaling_arn = scaling
        .ok_or_else(|| unusable("AutoScalingConfiguration", &arn))?
        .arn
        .clone();

    if let Some(arn) = configuration.observability_arn().map(str::to_owned) {
        let found = world
            .observability
            .find(&arn)
            .filter(|found| found.is_active());
        let found = found.ok_or_else(|| unusable("ObservabilityConfiguration", &arn))?;
        configuration.observability["ObservabilityConfigurationArn"] = json!(found.arn);
    }
    if let Some(arn) = configuration.vpc_connector_arn() {
        let connector = world
            .connectors
            .exact(arn)
            .filter(|found| found.is_active());
        connector.ok_or_else(|| unusable("VpcConnector", arn))?;
    }
    Ok(())
}

fn service_arn(request: &Value) -> &str {
    request["ServiceArn"].as_str().unwrap_or_default()
}
