//! What AWS documents about a service's configuration and the service model does not hold. Texts without a source are
//! ours: AWS's are not documented.

use serde_json::Value;

use crate::configuration::Configuration;
use crate::refusal::Refusal;

/// CPU and memory, in units, that go together (developer guide, architecture).
const CPU_AND_MEMORY: [(&str, &[&str]); 5] = [
    ("256", &["512", "1024"]),
    ("512", &["1024"]),
    ("1024", &["2048", "3072", "4096"]),
    ("2048", &["4096", "6144"]),
    ("4096", &["8192", "10240", "12288"]),
];

/// Refuses a configuration that App Runner would refuse whatever else exists in the account.
pub(crate) fn check(configuration: &Configuration) -> Result<(), Refusal> {
    check_source(configuration)?;
    check_variables(configuration)?;

    let (cpu, memory) = configuration.cpu_and_memory();
    if !CPU_AND_MEMORY
        .iter()
        .any(|(units, memories)| *units == cpu && memories.contains(&memory))
    {
        return refuse(format!(
            "Invalid combination of Cpu {cpu} and Memory {memory}."
        ));
    }
    match (
        configuration.egress_type(),
        configuration.vpc_connector_arn(),
    ) {
        ("VPC", None) => return refuse("VpcConnectorArn is required when EgressType is VPC."),
        ("DEFAULT", Some(_)) => {
            return refuse("VpcConnectorArn is only valid when EgressType is VPC.");
        }
        _ => {}
    }
    match (
        configuration.observability_is_enabled(),
        configuration.observability_arn(),
    ) {
        (true, None) => {
            refuse("ObservabilityConfigurationArn is required when ObservabilityEnabled is true.")
        }
        (false, Some(_)) => {
            refuse("ObservabilityConfigurationArn is only valid when ObservabilityEnabled is true.")
        }
        _ => Ok(()),
    }
}

fn check_source(configuration: &Configuration) -> Result<(), Refusal> {
    let source = &configuration.source;
    match (
        source["ImageRepository"].is_object(),
        source["CodeRepository"].is_object(),
    ) {
        (true, false) => {}
        (true, true) => {
            return refuse("Provide either ImageRepository or CodeRepository, not both.");
        }
        (false, false) => return refuse("Provide either ImageRepository or CodeRepository."),
        // Without CreateConnection there is nothing that a source code service could be built from.
        (false, true) => {
            return refuse("The App Runner emulator builds no service from source code.");
        }
    }
    let identifier = configuration.image_identifier().unwrap_or_default();
    if configuration.image_repository_type() == Some("ECR_PUBLIC") {
        if !identifier.starts_with("public.ecr.aws/") {
            return refuse(format!(
                "{identifier} is not the identifier of an ECR Public image."
            ));
        }
        // "not available" for a public image (service model, SourceConfiguration).
        if source["AutoDeploymentsEnabled"] == Value::Bool(true) {
            return refuse("AutoDeploymentsEnabled is not supported for an ECR Public image.");
        }
        return Ok(());
    }
    // The registry may be another account's (developer guide, service-source-image). Whether it may be in another Region
    // is not documented; whatever watches it has to cope.
    if !identifier.contains(".dkr.ecr.") {
        return refuse(format!(
            "{identifier} is not the identifier of an ECR image."
        ));
    }
    if configuration.access_role_arn().is_none() {
        return refuse("AccessRoleArn is required for an ECR image repository.");
    }
    Ok(())
}

fn check_variables(configuration: &Configuration) -> Result<(), Refusal> {
    let image = configuration.image_configuration();
    let names = |member: &str| {
        image[member]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
    };
    // Developer guide, env-variable, and the guard of AWS's own CDK construct.
    let reserved = |name: &String| name == "PORT" || name.starts_with("AWSAPPRUNNER");
    if let Some(name) = names("RuntimeEnvironmentVariables")
        .chain(names("RuntimeEnvironmentSecrets"))
        .find(reserved)
    {
        return refuse(format!(
            "The environment variable name {name} is reserved by App Runner."
        ));
    }
    if names("RuntimeEnvironmentSecrets").next().is_some()
        && configuration.instance_role_arn().is_none()
    {
        // Reported word for word by users of the API.
        return refuse(
            "Instance Role have to be provided if passing in RuntimeEnvironmentSecrets.",
        );
    }
    match image["Port"].as_str().map(str::parse::<u16>) {
        None | Some(Ok(1..)) => Ok(()),
        _ => refuse("Port must be a number between 1 and 65535."),
    }
}

fn refuse(message: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::invalid_request(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request() -> Value {
        json!({
            "SourceConfiguration": {
                "ImageRepository": {
                    "ImageIdentifier": "123456789012.dkr.ecr.us-east-1.amazonaws.com/shop@sha256:00",
                    "ImageRepositoryType": "ECR",
                },
                "AuthenticationConfiguration": {"AccessRoleArn": "arn:aws:iam::123456789012:role/access"},
            },
        })
    }

    fn checked(change: impl FnOnce(&mut Value)) -> Result<(), Refusal> {
        let mut request = request();
        change(&mut request);
        check(&Configuration::with_defaults("asc").with(&request))
    }

    #[test]
    fn only_the_documented_cpu_and_memory_pairs_are_taken() {
        let cpus = ["256", "512", "1024", "2048", "4096"];
        let memories = [
            "512", "1024", "2048", "3072", "4096", "6144", "8192", "10240", "12288",
        ];
        let mut taken = 0;
        for cpu in cpus {
            for memory in memories {
                let pair = json!({"Cpu": cpu, "Memory": memory});
                taken +=
                    usize::from(checked(|request| request["InstanceConfiguration"] = pair).is_ok());
            }
        }
        assert_eq!(taken, 11);
    }

    #[test]
    fn each_documented_rule_is_kept() {
        let image = "/SourceConfiguration/ImageRepository";
        let put = |request: &mut Value, at: &str, member: &str, value: Value| {
            request.pointer_mut(at).expect("the request has it")[member] = value;
        };
        assert_eq!(checked(|_| {}), Ok(()));
        for (at, member, value, said) in [
            (
                image,
                "ImageConfiguration",
                json!({"RuntimeEnvironmentVariables": {"PORT": "1"}}),
                "PORT is reserved",
            ),
            (
                image,
                "ImageConfiguration",
                json!({"RuntimeEnvironmentVariables": {"AWSAPPRUNNER_X": "1"}}),
                "reserved",
            ),
            (
                image,
                "ImageConfiguration",
                json!({"RuntimeEnvironmentSecrets": {"PORT": "arn"}}),
                "PORT is reserved",
            ),
            (
                image,
                "ImageConfiguration",
                json!({"RuntimeEnvironmentSecrets": {"PW": "arn"}}),
                "Instance Role have to",
            ),
            (
                image,
                "ImageConfiguration",
                json!({"Port": "http"}),
                "Port must be",
            ),
            (
                image,
                "ImageIdentifier",
                json!("public.ecr.aws/team/shop:v1"),
                "not the identifier of an ECR image",
            ),
            (
                image,
                "ImageRepositoryType",
                json!("ECR_PUBLIC"),
                "not the identifier of an ECR Public",
            ),
            (
                "/SourceConfiguration",
                "AuthenticationConfiguration",
                json!({}),
                "AccessRoleArn is required",
            ),
            (
                "/SourceConfiguration",
                "CodeRepository",
                json!({}),
                "not both",
            ),
            (
                "",
                "NetworkConfiguration",
                json!({"EgressConfiguration": {"EgressType": "VPC"}}),
                "is required",
            ),
            (
                "",
                "NetworkConfiguration",
                json!({"EgressConfiguration": {"EgressType": "DEFAULT", "VpcConnectorArn": "arn"}}),
                "only valid",
            ),
            (
                "",
                "ObservabilityConfiguration",
                json!({"ObservabilityEnabled": true}),
                "is required",
            ),
            (
                "",
                "ObservabilityConfiguration",
                json!({"ObservabilityEnabled": false, "ObservabilityConfigurationArn": "arn"}),
                "only valid",
            ),
        ] {
            let refusal = checked(|request| put(request, at, member, value.clone()))
                .expect_err(&format!("{value}"));
            assert!(
                refusal.message.contains(said),
                "{value}: {}",
                refusal.message
            );
        }
    }
}
