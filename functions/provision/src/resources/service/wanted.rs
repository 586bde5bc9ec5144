//! What the service of a stack is to be. What App Runner is told and what a living service is compared with are members of one
//! value: each function takes it apart as a whole, so that a member cannot be sent and not compared.

use super::super::{configuration, credentials, registry, roles};
use crate::member::{Becomes, Member, differing, listed};
use aws_sdk_apprunner::types::{
    AuthenticationConfiguration, EgressConfiguration, EgressType, HealthCheckConfiguration,
    HealthCheckProtocol, ImageConfiguration, ImageRepository, ImageRepositoryType,
    IngressConfiguration, InstanceConfiguration, IpAddressType, NetworkConfiguration, Service,
    ServiceObservabilityConfiguration, SourceConfiguration,
};
use groundcrew::reference::Repository;
use groundcrew::tag_rule::TagRule;
use groundcrew::{Aws, Error, Result, Spec, image};
use std::collections::HashMap;

/// Everything that a service is created with, but for its name and its tags.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    image: String,
    deploys_by_itself: bool,
    access_role: String,
    port: String,
    start_command: Option<String>,
    variables: HashMap<String, String>,
    secrets: HashMap<String, String>,
    cpu: String,
    memory: String,
    instance_role: String,
    health_check: HealthCheckConfiguration,
    vpc_connector: String,
    is_public: bool,
    ip_address_type: IpAddressType,
    observability: Option<String>,
    auto_scaling: String,
}

/// The same in the parts that App Runner takes.
pub(super) struct Parts {
    pub(super) source: SourceConfiguration,
    pub(super) instance: InstanceConfiguration,
    pub(super) health_check: HealthCheckConfiguration,
    pub(super) network: NetworkConfiguration,
    pub(super) observability: ServiceObservabilityConfiguration,
    pub(super) auto_scaling_arn: String,
}

impl Wanted {
    /// As the spec has it; an image that is running stays. `None` in a dry run before the roles and configurations exist.
    pub(super) async fn of(
        aws: &Aws,
        spec: &Spec,
        service: Option<&Service>,
    ) -> Result<Option<Self>> {
        let stack = &spec.stack();
        let (Some(roles), Some(configuration), Some(repository)) = (
            roles::arns(aws, stack).await?,
            configuration::arns(aws, spec).await?,
            registry::find(aws, &spec.repository()).await?,
        ) else {
            return Ok(None);
        };
        let uri = repository.repository_uri.unwrap_or_default();
        let running = service
            .and_then(super::image_identifier)
            .filter(|image| image.split_once('@').is_some_and(|(of, _)| of == uri));
        let image = match running {
            Some(image) => image.to_owned(),
            None => {
                let repository = Repository::own(&aws.account, spec.repository());
                let rule = TagRule::parse(&spec.image.tag);
                match image::newest(aws, &repository, &rule).await? {
                    Some(digest) => format!("{uri}@{digest}"),
                    None => return Ok(None),
                }
            }
        };
        let own_secret = credentials::secret_arn(aws, stack).await?;
        let own_secret = own_secret.unwrap_or_default();
        Ok(Some(Self::built(
            spec,
            roles,
            configuration,
            image,
            &own_secret,
        )))
    }

    fn built(
        spec: &Spec,
        roles: roles::Arns,
        configuration: configuration::Arns,
        image: String,
        own_secret: &str,
    ) -> Self {
        let service = &spec.service;
        let secret = |(name, reference): (&String, &String)| {
            let value = match reference.strip_prefix("database:") {
                // A JSON key is written as ECS writes it: ARN:key:stage:version (aws-apprunner-alpha of the CDK).
                Some(key) => format!("{own_secret}:{key}::"),
                None => reference.clone(),
            };
            (name.clone(), value)
        };
        let check = &service.health_check;
        Self {
            image,
            deploys_by_itself: false,
            access_role: roles.access,
            port: service.port.to_string(),
            start_command: None,
            variables: service.variables.clone().into_iter().collect(),
            secrets: service.secrets.iter().map(secret).collect(),
            cpu: service.cpu.to_string(),
            memory: service.memory.to_string(),
            instance_role: roles.instance,
            health_check: HealthCheckConfiguration::builder()
                .protocol(HealthCheckProtocol::Http)
                .path(&check.path)
                .interval(check.interval.into())
                .timeout(check.timeout.into())
                .healthy_threshold(check.healthy_threshold.into())
                .unhealthy_threshold(check.unhealthy_threshold.into())
                .build(),
            vpc_connector: configuration.vpc_connector,
            is_public: service.public,
            ip_address_type: IpAddressType::Ipv4,
            observability: configuration.observability.filter(|_| service.xray),
            auto_scaling: configuration.auto_scaling,
        }
    }

    /// What App Runner is told, whether it creates or updates. What is left out of a part is gone after an update.
    /// (Assumption whole-parts)
    ///
    /// # Errors
    /// A part that App Runner's SDK does not build.
    pub(super) fn parts(self) -> Result<Parts> {
        let Self {
            image,
            deploys_by_itself,
            access_role,
            port,
            start_command,
            variables,
            secrets,
            cpu,
            memory,
            instance_role,
            health_check,
            vpc_connector,
            is_public,
            ip_address_type,
            observability,
            auto_scaling,
        } = self;
        let container = ImageConfiguration::builder()
            .port(port)
            .set_start_command(start_command)
            .set_runtime_environment_variables(Some(variables))
            .set_runtime_environment_secrets(Some(secrets));
        let repository = ImageRepository::builder()
            .image_identifier(image)
            .image_repository_type(ImageRepositoryType::Ecr)
            .image_configuration(container.build());
        let access = AuthenticationConfiguration::builder().access_role_arn(access_role);
        let egress = EgressConfiguration::builder()
            .egress_type(EgressType::Vpc)
            .vpc_connector_arn(vpc_connector);
        let ingress = IngressConfiguration::builder().is_publicly_accessible(is_public);
        Ok(Parts {
            source: SourceConfiguration::builder()
                .image_repository(repository.build().map_err(Error::built)?)
                .auto_deployments_enabled(deploys_by_itself)
                .authentication_configuration(access.build())
                .build(),
            instance: InstanceConfiguration::builder()
                .cpu(cpu)
                .memory(memory)
                .instance_role_arn(instance_role)
                .build(),
            health_check,
            network: NetworkConfiguration::builder()
                .egress_configuration(egress.build())
                .ingress_configuration(ingress.build())
                .ip_address_type(ip_address_type)
                .build(),
            observability: ServiceObservabilityConfiguration::builder()
                .observability_enabled(observability.is_some())
                .set_observability_configuration_arn(observability)
                .build(),
            auto_scaling_arn: auto_scaling,
        })
    }

    /// Its members, beside those of a service; no value of a variable is shown.
    pub(super) fn members(&self, service: &Service) -> Vec<Member> {
        let Self {
            image,
            deploys_by_itself,
            access_role,
            port,
            start_command,
            variables,
            secrets,
            cpu,
            memory,
            instance_role,
            health_check,
            vpc_connector,
            is_public,
            ip_address_type,
            observability,
            auto_scaling,
        } = self;
        let source = service.source_configuration();
        let is_image = source.and_then(|it| it.image_repository());
        let identifier = is_image.map(ImageRepository::image_identifier);
        let container = is_image.and_then(|it| it.image_configuration());
        let automatic = source.and_then(|it| it.auto_deployments_enabled());
        let access = source.and_then(|it| it.authentication_configuration());
        let access = access.and_then(|it| it.access_role_arn());
        let set = |found: Option<&HashMap<String, String>>| found.cloned().unwrap_or_default();
        let is_variables = set(container.and_then(|it| it.runtime_environment_variables()));
        let is_secrets = set(container.and_then(|it| it.runtime_environment_secrets()));
        let command = container.and_then(|it| it.start_command());
        let command = command.filter(|it| !it.is_empty());
        let instance = service.instance_configuration();
        let network = service.network_configuration();
        let egress = network.and_then(|it| it.egress_configuration());
        let connector = egress
            .filter(|it| it.egress_type() == Some(&EgressType::Vpc))
            .and_then(|it| it.vpc_connector_arn());
        let ingress = network.and_then(|it| it.ingress_configuration());
        let public = ingress.is_none_or(|it| it.is_publicly_accessible());
        let addresses = network.and_then(|it| it.ip_address_type());
        let addresses = addresses.unwrap_or(&IpAddressType::Ipv4);
        let observed = service.observability_configuration();
        let observed = observed
            .filter(|it| it.observability_enabled())
            .and_then(|it| it.observability_configuration_arn());
        let scaling = service.auto_scaling_configuration_summary();
        let scaling = scaling.and_then(|it| it.auto_scaling_configuration_arn());
        let said = |found: Option<&str>| found.unwrap_or("none").to_owned();
        vec![
            Member::put_right("image", said(identifier), image),
            Member::put_right(
                "auto-deployments",
                automatic.unwrap_or(false),
                deploys_by_itself,
            ),
            Member::put_right("access role", said(access), access_role),
            Member::put_right("port", said(container.and_then(|it| it.port())), port),
            Member::put_right(
                "start command",
                said(command),
                said(start_command.as_deref()),
            ),
            Member::hidden("variables", is_variables == *variables),
            Member::hidden("secrets", is_secrets == *secrets),
            Member::put_right("CPU", said(instance.and_then(|it| it.cpu())), cpu),
            Member::put_right("memory", said(instance.and_then(|it| it.memory())), memory),
            Member::put_right(
                "instance role",
                said(instance.and_then(|it| it.instance_role_arn())),
                instance_role,
            ),
            Member::hidden(
                "health check",
                service.health_check_configuration() == Some(health_check),
            ),
            Member::put_right("VPC connector", said(connector), vpc_connector),
            Member::put_right("public", public, is_public),
            Member::put_right("IP addresses", addresses, ip_address_type),
            Member::put_right(
                "observability",
                said(observed),
                said(observability.as_deref()),
            ),
            Member::put_right("auto scaling", said(scaling), auto_scaling),
        ]
    }

    /// What of the service differs, by name.
    pub(super) fn drift(&self, service: &Service) -> Vec<&'static str> {
        let members = self.members(service);
        let off = differing(&members, Becomes::PutRight).into_iter();
        off.map(|it| it.name).collect()
    }

    /// What of the service differs, with what it is and is to be.
    pub(super) fn differences(&self, service: &Service) -> String {
        listed(&differing(&self.members(service), Becomes::PutRight))
    }
}
