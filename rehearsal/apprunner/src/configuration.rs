//! The configuration of a service, and what a request makes of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Everything about a service that an update can change, in the shapes of `CreateService`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Configuration {
    pub(crate) source: Value,
    instance: Value,
    health_check: Value,
    network: Value,
    pub(crate) observability: Value,
    encryption: Value,
    /// As given; full once it was looked up.
    pub(crate) auto_scaling_arn: String,
}

impl Configuration {
    /// The defaults of `CreateService` (service model), with this auto scaling configuration.
    pub(crate) fn with_defaults(auto_scaling_arn: &str) -> Self {
        Self {
            source: json!({}),
            instance: json!({"Cpu": "1024", "Memory": "2048"}),
            health_check: json!({
                "Protocol": "TCP", "Path": "/", "Interval": 5, "Timeout": 2,
                "HealthyThreshold": 1, "UnhealthyThreshold": 5,
            }),
            network: json!({
                "EgressConfiguration": {"EgressType": "DEFAULT"},
                "IngressConfiguration": {"IsPubliclyAccessible": true},
                "IpAddressType": "IPV4",
            }),
            observability: json!({"ObservabilityEnabled": false}),
            encryption: Value::Null,
            auto_scaling_arn: auto_scaling_arn.to_owned(),
        }
    }

    /// This configuration with what a `CreateService` or `UpdateService` request names. A block keeps those of its
    /// members that the request does not name; a member that it names is replaced as a whole, so an `ImageRepository`
    /// without `ImageConfiguration` loses variables and secrets. AWS does not document how deep an update merges: this
    /// is the reading that punishes a request which says too little.
    pub(crate) fn with(&self, request: &Value) -> Self {
        let mut new = self.clone();
        overlay(&mut new.source, &request["SourceConfiguration"]);
        overlay(&mut new.instance, &request["InstanceConfiguration"]);
        overlay(&mut new.health_check, &request["HealthCheckConfiguration"]);
        overlay(&mut new.network, &request["NetworkConfiguration"]);
        // As a whole: an ARN may only stand beside ObservabilityEnabled.
        if request["ObservabilityConfiguration"].is_object() {
            new.observability = request["ObservabilityConfiguration"].clone();
        }
        if request["EncryptionConfiguration"].is_object() {
            new.encryption = request["EncryptionConfiguration"].clone();
        }
        if let Some(arn) = request["AutoScalingConfigurationArn"].as_str() {
            new.auto_scaling_arn = arn.to_owned();
        }
        new.fill_in();
        new
    }

    fn fill_in(&mut self) {
        // App Runner prints units whatever was sent: "1 vCPU" comes back as "1024".
        for (member, unit) in [("Cpu", " vCPU"), ("Memory", " GB")] {
            if let Some(number) = self.instance[member]
                .as_str()
                .and_then(|text| text.strip_suffix(unit))
            {
                let units = number.parse::<f64>().unwrap_or_default() * 1024.0;
                self.instance[member] = json!(format!("{units}"));
            }
        }
        let is_private_image = self.image_repository_type() == Some("ECR");
        if self.source["AutoDeploymentsEnabled"].is_null() {
            self.source["AutoDeploymentsEnabled"] = json!(is_private_image);
        }
        if self.source["ImageRepository"].is_object() {
            let configuration = &mut self.source["ImageRepository"]["ImageConfiguration"];
            if configuration["Port"].is_null() {
                configuration["Port"] = json!("8080");
            }
        }
    }

    pub(crate) fn describe_into(&self, service: &mut Value) {
        service["SourceConfiguration"] = self.source.clone();
        service["InstanceConfiguration"] = self.instance.clone();
        service["HealthCheckConfiguration"] = self.health_check.clone();
        service["NetworkConfiguration"] = self.network.clone();
        service["ObservabilityConfiguration"] = self.observability.clone();
        if !self.encryption.is_null() {
            service["EncryptionConfiguration"] = self.encryption.clone();
        }
        let mut parts = self.auto_scaling_arn.split('/').skip(1);
        service["AutoScalingConfigurationSummary"] = json!({
            "AutoScalingConfigurationArn": self.auto_scaling_arn,
            "AutoScalingConfigurationName": parts.next(),
            "AutoScalingConfigurationRevision": parts.next().and_then(|revision| revision.parse::<u32>().ok()),
        });
    }

    pub(crate) fn image_identifier(&self) -> Option<&str> {
        self.source["ImageRepository"]["ImageIdentifier"].as_str()
    }

    pub(crate) fn image_repository_type(&self) -> Option<&str> {
        self.source["ImageRepository"]["ImageRepositoryType"].as_str()
    }

    pub(crate) fn image_configuration(&self) -> &Value {
        &self.source["ImageRepository"]["ImageConfiguration"]
    }

    /// The variables that get their value from a secret or a parameter, each with its reference.
    pub(crate) fn secrets(&self) -> BTreeMap<String, String> {
        let secrets = self.image_configuration()["RuntimeEnvironmentSecrets"].as_object();
        let named = secrets.into_iter().flatten();
        named
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    pub(crate) fn access_role_arn(&self) -> Option<&str> {
        self.source["AuthenticationConfiguration"]["AccessRoleArn"].as_str()
    }

    pub(crate) fn instance_role_arn(&self) -> Option<&str> {
        self.instance["InstanceRoleArn"].as_str()
    }

    pub(crate) fn cpu_and_memory(&self) -> (&str, &str) {
        (
            self.instance["Cpu"].as_str().unwrap_or_default(),
            self.instance["Memory"].as_str().unwrap_or_default(),
        )
    }

    pub(crate) fn egress_type(&self) -> &str {
        self.network["EgressConfiguration"]["EgressType"]
            .as_str()
            .unwrap_or("DEFAULT")
    }

    pub(crate) fn vpc_connector_arn(&self) -> Option<&str> {
        self.network["EgressConfiguration"]["VpcConnectorArn"].as_str()
    }

    pub(crate) fn is_public(&self) -> bool {
        self.network["IngressConfiguration"]["IsPubliclyAccessible"]
            .as_bool()
            .unwrap_or(true)
    }

    pub(crate) fn health_protocol(&self) -> &str {
        self.health_check["Protocol"].as_str().unwrap_or("TCP")
    }

    pub(crate) fn port(&self) -> &str {
        let image = &self.source["ImageRepository"]["ImageConfiguration"];
        image["Port"].as_str().unwrap_or("8080")
    }

    pub(crate) fn health_path(&self) -> &str {
        self.health_check["Path"].as_str().unwrap_or("/")
    }

    pub(crate) fn observability_is_enabled(&self) -> bool {
        self.observability["ObservabilityEnabled"]
            .as_bool()
            .unwrap_or_default()
    }

    pub(crate) fn observability_arn(&self) -> Option<&str> {
        self.observability["ObservabilityConfigurationArn"].as_str()
    }
}

/// Puts the named members of `block` into `kept`.
fn overlay(kept: &mut Value, block: &Value) {
    for (member, value) in block
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_null())
    {
        kept[member] = value.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(identifier: &str) -> Value {
        json!({"ImageIdentifier": identifier, "ImageRepositoryType": "ECR"})
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name() {
        let before = Configuration::with_defaults("asc").with(&json!({
            "SourceConfiguration": {"ImageRepository": image("a"), "AutoDeploymentsEnabled": false},
            "InstanceConfiguration": {"Cpu": "0.25 vCPU", "Memory": "0.5 GB", "InstanceRoleArn": "role"},
        }));
        let after = before.with(&json!({
            "SourceConfiguration": {"ImageRepository": image("b")}, "InstanceConfiguration": {"Memory": "1024"},
        }));
        assert_eq!(after.image_identifier(), Some("b"));
        assert_eq!(after.source["AutoDeploymentsEnabled"], json!(false));
        assert_eq!(after.cpu_and_memory(), ("256", "1024"));
        assert_eq!(after.instance_role_arn(), Some("role"));
    }

    #[test]
    fn cpu_and_memory_come_back_in_units() {
        for (cpu, memory, units) in [
            ("0.25 vCPU", "0.5 GB", ("256", "512")),
            ("4 vCPU", "12 GB", ("4096", "12288")),
        ] {
            let configuration = Configuration::with_defaults("asc")
                .with(&json!({"InstanceConfiguration": {"Cpu": cpu, "Memory": memory}}));
            assert_eq!(configuration.cpu_and_memory(), units);
        }
    }

    #[test]
    fn auto_deployments_are_on_by_default_for_a_private_image() {
        let configuration = Configuration::with_defaults("asc")
            .with(&json!({"SourceConfiguration": {"ImageRepository": image("a")}}));
        assert_eq!(configuration.source["AutoDeploymentsEnabled"], json!(true));
    }
}
