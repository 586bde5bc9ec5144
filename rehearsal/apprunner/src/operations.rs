//! Operations: they take time, succeed or fail, and a failed change goes back to what ran before.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::arrangements::Fate;
use crate::cause::Cause;
use crate::ids;
use crate::states::{OperationStatus, OperationType, ServiceStatus};
use crate::surroundings::{
    Event, ImageReference, Notice, SecretReference, Surroundings, SurroundingsError,
};
use crate::world::{Emulation, Operation, Running, Service, World, now};

/// AWS seconds that it takes longer when a service is the first to use a VPC connector ("2–5 minutes", developer guide,
/// network-vpc).
pub(crate) const FIRST_USE_OF_A_CONNECTOR: f64 = 120.0;
/// AWS seconds that it takes to go back to what ran before.
const ROLLBACK: f64 = 60.0;

/// AWS seconds that an operation takes.
pub(crate) const fn seconds(kind: OperationType, is_first_deployment: bool) -> f64 {
    match kind {
        OperationType::CreateService => 240.0,
        OperationType::UpdateService if is_first_deployment => 240.0, // the rebuild of a CREATE_FAILED service
        OperationType::UpdateService | OperationType::StartDeployment => 180.0,
        OperationType::PauseService => 60.0,
        OperationType::ResumeService => 90.0,
        OperationType::DeleteService => 60.0,
    }
}

/// Where an operation leaves the service: when it succeeded, and when it failed. A failed change of a service that ran
/// leaves it RUNNING, so RUNNING is not success (aws/apprunner-roadmap#209).
fn outcome(kind: OperationType, has_run_before: bool) -> (ServiceStatus, ServiceStatus) {
    match kind {
        OperationType::CreateService => (ServiceStatus::Running, ServiceStatus::CreateFailed),
        OperationType::UpdateService if !has_run_before => {
            (ServiceStatus::Running, ServiceStatus::CreateFailed)
        }
        OperationType::UpdateService | OperationType::StartDeployment => {
            (ServiceStatus::Running, ServiceStatus::Running)
        }
        OperationType::PauseService => (ServiceStatus::Paused, ServiceStatus::Running),
        OperationType::ResumeService => (ServiceStatus::Running, ServiceStatus::Paused),
        OperationType::DeleteService => (ServiceStatus::Deleted, ServiceStatus::DeleteFailed),
    }
}

/// Whether an operation reads the image and the secrets. (Assumption secrets-at-resume)
fn deploys(kind: OperationType) -> bool {
    matches!(
        kind,
        OperationType::CreateService
            | OperationType::UpdateService
            | OperationType::StartDeployment
    )
}

impl Emulation {
    /// Starts an operation that the service's state allows. Answers `Service` and `OperationId`.
    pub(crate) fn begin(
        self: &Arc<Self>,
        world: &mut World,
        arn: &str,
        kind: OperationType,
    ) -> Value {
        let service = world
            .services
            .iter_mut()
            .find(|service| service.arn == arn)
            .expect("the caller found the service");
        let fate = crate::arrangements::take(&mut world.next_operations, kind, &service.name);
        let id = ids::uuid();
        service.operations.insert(0, Operation::new(&id, kind));
        let mut seconds = seconds(kind, service.deployed.is_none());
        if let Some(connector) = service
            .configuration
            .vpc_connector_arn()
            .filter(|_| deploys(kind))
            && let Some(connector) = world
                .connectors
                .all
                .iter_mut()
                .find(|known| known.arn == connector)
            && !std::mem::replace(&mut connector.settings.is_used, true)
        {
            seconds += FIRST_USE_OF_A_CONNECTOR;
            self.tell(Notice::CreateNetworkInterfaces {
                vpc_connector_arn: connector.arn.clone(),
                subnets: connector.settings.subnets.clone(),
                security_groups: connector.settings.security_groups.clone(),
            });
        }
        if kind == OperationType::DeleteService {
            service.is_up = false;
        }
        self.set_status(service, ServiceStatus::OperationInProgress);
        self.report(service, kind, "Started", "INFO");
        let answer = json!({"Service": service.describe(), "OperationId": id});

        let (factor, arranged) = match fate {
            Some(Fate::Stuck) => return answer, // nothing will ever end it
            Some(Fate::Takes(factor)) => (factor, None),
            Some(Fate::Fails) => (1.0, Some(Cause::Arranged)),
            None => (1.0, None),
        };
        let (emulation, arn) = (Arc::clone(self), arn.to_owned());
        self.runtime.spawn(async move {
            let found = match arranged {
                None => emulation.look_up(&arn, kind).await,
                Some(cause) => Err(cause),
            };
            emulation.pass(seconds * factor).await;
            emulation.end(&arn, &id, found).await;
        });
        answer
    }

    async fn end(&self, arn: &str, id: &str, found: Result<Running, Cause>) {
        let (found, cause) = match found {
            Ok(found) => (found, None),
            Err(cause) => (Running::default(), Some(cause)),
        };
        if let Some(cause) = &cause {
            self.log(arn, id, cause);
            // Whoever sees the failure can read why.
            self.everything_is_told().await;
        }
        match &cause {
            Some(cause) if self.starts_rollback(arn, id, cause) => self.pass(ROLLBACK).await,
            Some(_) => {}
            None => self.prepare_address(arn, id).await,
        }

        let mut world = self.world();
        let Some((service, at)) = world.operation(arn, id) else {
            return;
        };
        let kind = service.operations[at].kind;
        let has_run_before = service.deployed.is_some();
        let rolls_back = cause.is_some() && has_run_before && deploys(kind);
        let (succeeded, failed) = outcome(kind, has_run_before);
        service.operations[at].set(match (&cause, rolls_back) {
            (None, _) => OperationStatus::Succeeded,
            (Some(_), true) => OperationStatus::RollbackSucceeded,
            (Some(_), false) => OperationStatus::Failed,
        });
        if rolls_back && let Some(deployed) = service.deployed.clone() {
            service.configuration = deployed;
        }
        if cause.is_none() && deploys(kind) {
            service.deployed = Some(service.configuration.clone());
            service.runs = found;
        }
        let status = if cause.is_none() { succeeded } else { failed };
        service.is_up = status == ServiceStatus::Running;
        if status == ServiceStatus::Deleted {
            service.deleted_at = Some(now());
            service.address = None;
        }
        self.set_status(service, status);
        let (what, severity) = if cause.is_none() {
            ("CompletedSuccessfully", "INFO")
        } else {
            ("Failed", "ERROR")
        };
        self.report(service, kind, what, severity);
        service.operations[at].cause = cause;
    }

    /// Writes of a failed deployment into the service's log group (developer guide, monitor-cwl).
    fn log(&self, arn: &str, id: &str, cause: &Cause) {
        let mut world = self.world();
        let Some((service, at)) = world.operation(arn, id) else {
            return;
        };
        if !deploys(service.operations[at].kind) {
            return;
        }
        let deployment = format!("deployment/{}", id.replace('-', ""));
        let events = cause.event_log(&service.configuration, id);
        for (stream, lines) in [
            (deployment, cause.deployment_log()),
            ("events".to_owned(), events),
        ] {
            self.tell(Notice::Log {
                group: format!("/aws/apprunner/{}/{}/service", service.name, service.id),
                stream,
                lines,
            });
        }
    }

    /// Sets a failed change of a service that ran to ROLLBACK_IN_PROGRESS. False if there is nothing to go back to.
    fn starts_rollback(&self, arn: &str, id: &str, cause: &Cause) -> bool {
        let mut world = self.world();
        let Some((service, at)) = world.operation(arn, id) else {
            return false;
        };
        let has_run_before = service.deployed.is_some();
        let operation = &mut service.operations[at];
        if !has_run_before || !deploys(operation.kind) {
            return false;
        }
        operation.set(OperationStatus::RollbackInProgress);
        operation.cause = Some(cause.clone());
        true
    }

    /// Opens or shuts the address as the new configuration wants it, so that whoever sees RUNNING can connect. A private
    /// service has an address that leads nowhere.
    async fn prepare_address(&self, arn: &str, id: &str) {
        let settled = {
            let mut world = self.world();
            let Some((service, at)) = world.operation(arn, id) else {
                return;
            };
            let is_public = service.configuration.is_public();
            service
                .address
                .as_ref()
                .filter(|_| deploys(service.operations[at].kind))
                .map(|it| it.open_if(is_public))
        };
        if let Some(settled) = settled {
            settled.await;
        }
    }

    /// What a deployment finds behind the names in its configuration, or why it cannot succeed: asked when it begins, so
    /// that what changes after that waits for the next one. App Runner tells late too.
    async fn look_up(&self, arn: &str, kind: OperationType) -> Result<Running, Cause> {
        let Some(surroundings) = self.surroundings.as_ref().filter(|_| deploys(kind)) else {
            return Ok(Running::default());
        };
        let (image, secrets, role, subnets) = {
            let world = self.world();
            let Some(service) = world.services.iter().find(|service| service.arn == arn) else {
                return Ok(Running::default());
            };
            let configuration = &service.configuration;
            let connector = configuration
                .vpc_connector_arn()
                .and_then(|arn| world.connectors.exact(arn));
            (
                configuration
                    .image_identifier()
                    .filter(|_| configuration.image_repository_type() == Some("ECR"))
                    .map(str::to_owned),
                configuration.secrets(),
                // The rules see to it that a service that reads secrets has one.
                configuration
                    .instance_role_arn()
                    .unwrap_or_default()
                    .to_owned(),
                connector.map(|connector| connector.settings.subnets.clone()),
            )
        };
        let mut found = Running::default();
        let asked = async {
            if let Some(image) = &image {
                match self.look_up_image(surroundings, image).await? {
                    Ok(digest) => found.digest = digest,
                    Err(cause) => return Ok(Some(cause)),
                }
            }
            for (variable, reference) in &secrets {
                let read = match SecretReference::parse(reference) {
                    Some(secret) => surroundings.secret(&secret, &role).await?,
                    None => surroundings.parameter(reference, &role).await?,
                };
                if let Some(why) = read.refused {
                    // No call tells it (aws/aws-cdk#17792, aws/apprunner-roadmap#110).
                    return Ok(Some(Cause::Unreadable(format!(
                        "{reference} of {variable} could not be read: {why}"
                    ))));
                }
                found
                    .secrets
                    .extend(read.version.map(|version| (variable.clone(), version)));
            }
            // Public subnets make a create fail and an update roll back (developer guide, network-vpc).
            if let Some(subnets) = subnets {
                let found = surroundings.subnets(&subnets).await?;
                if let Some(missing) = subnets
                    .iter()
                    .find(|id| !found.iter().any(|subnet| subnet.id == **id))
                {
                    let missing = format!("Subnet {missing} does not exist.");
                    return Ok(Some(Cause::Subnet(missing)));
                }
                if let Some(subnet) = found.iter().find(|subnet| subnet.public) {
                    let public = format!("Subnet {} is public.", subnet.id);
                    return Ok(Some(Cause::Subnet(public)));
                }
            }
            Ok(None)
        };
        let cause = asked.await.unwrap_or_else(|error: SurroundingsError| {
            let complaint = format!("what {arn} needs could not be looked up: {error}");
            self.world().complain(complaint.clone());
            Some(Cause::Unknown(complaint))
        });
        cause.map_or(Ok(found), Err)
    }

    /// The digest of an image, or why it cannot run.
    async fn look_up_image(
        &self,
        surroundings: &Surroundings,
        image: &str,
    ) -> Result<Result<Option<String>, Cause>, SurroundingsError> {
        let found = surroundings.image(&image_reference(image)).await?;
        if !found.exists {
            return Ok(Err(Cause::NoSuchImage(image.to_owned())));
        }
        // x86-64 only: aws/apprunner-roadmap#98
        let runs = |architecture: &String| architecture == "amd64";
        if !found.architectures.iter().any(runs) {
            return Ok(Err(Cause::NoImageForAmd64(image.to_owned())));
        }
        Ok(Ok(found.digest))
    }

    /// Sets the status of a service and sends the event that says so.
    pub(crate) fn set_status(&self, service: &mut Service, status: ServiceStatus) {
        let previous = std::mem::replace(&mut service.status, status);
        service.updated_at = now();
        if previous == status {
            return; // a new service starts OPERATION_IN_PROGRESS and comes from nowhere
        }
        let failed = matches!(
            status,
            ServiceStatus::CreateFailed | ServiceStatus::DeleteFailed
        );
        self.tell(Notice::Event(Event {
            detail_type: "AppRunner Service Status Change",
            service_arn: service.arn.clone(),
            detail: json!({
                "previousServiceStatus": previous,
                "currentServiceStatus": status,
                "serviceName": service.name,
                "serviceId": service.id,
                "message": format!("Service status is set to {}.", status.as_str()),
                "severity": if failed { "ERROR" } else { "INFO" },
            }),
        }));
    }

    /// Sends the event of an operation. It carries no operation id, and there is none for a rollback.
    fn report(&self, service: &Service, kind: OperationType, what: &str, severity: &str) {
        let operation_status = format!("{}{what}", kind.event_stem());
        self.tell(Notice::Event(Event {
            detail_type: "AppRunner Service Operation Status Change",
            service_arn: service.arn.clone(),
            detail: json!({
                "operationStatus": operation_status,
                "serviceName": service.name,
                "serviceId": service.id,
                "message": format!("{operation_status} on {}.", service.name),
                "severity": severity,
            }),
        }));
    }
}

impl Operation {
    fn new(id: &str, kind: OperationType) -> Self {
        let started_at = now();
        Self {
            id: id.to_owned(),
            kind,
            status: OperationStatus::InProgress,
            started_at,
            updated_at: started_at,
            ended_at: None,
            cause: None,
        }
    }

    fn set(&mut self, status: OperationStatus) {
        self.status = status;
        self.updated_at = now();
        self.ended_at = (status != OperationStatus::RollbackInProgress).then_some(self.updated_at);
    }

    pub(crate) fn summarise(&self, service_arn: &str) -> Value {
        let mut summary = json!({
            "Id": self.id,
            "Type": self.kind,
            "Status": self.status,
            "TargetArn": service_arn,
            "StartedAt": self.started_at,
            "UpdatedAt": self.updated_at,
        });
        if let Some(ended_at) = self.ended_at {
            summary["EndedAt"] = json!(ended_at);
        }
        summary
    }
}

/// What `ACCOUNT.dkr.ecr.REGION.amazonaws.com/repository[:tag|@digest]` names.
fn image_reference(identifier: &str) -> ImageReference<'_> {
    let (registry, image) = identifier.split_once('/').unwrap_or(("", identifier));
    let mut labels = registry.split('.');
    let (repository, reference) = image
        .split_once('@')
        .or_else(|| image.split_once(':'))
        .unwrap_or((image, "latest"));
    ImageReference {
        account: labels.next().unwrap_or_default(),
        region: labels.nth(2).unwrap_or_default(),
        repository,
        reference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_identifier_names_a_registry_a_repository_and_a_tag_or_digest() {
        let registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        for (image, (repository, reference)) in [
            ("shop", ("shop", "latest")),
            ("team/shop:v1", ("team/shop", "v1")),
            ("shop@sha256:00ff", ("shop", "sha256:00ff")),
        ] {
            assert_eq!(
                image_reference(&format!("{registry}/{image}")),
                ImageReference {
                    account: "123456789012",
                    region: "us-east-1",
                    repository,
                    reference,
                }
            );
        }
    }
}
