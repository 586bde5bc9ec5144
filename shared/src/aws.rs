//! The AWS clients of a function.

use crate::environment::Account;
use crate::{Error, Result, error};
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_apprunner::config::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::byte_stream::ByteStream;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// ring: its first handshake does not gather entropy for 40 ms as that of aws-lc does. The roots are those of the
/// operating system, which Lambda keeps up to date, so a new root of Amazon's needs no deployment.
const TLS: Provider = Provider::Rustls(CryptoMode::Ring);

/// The clients that functions call, each built when it is first asked for: the linker leaves out of a function the
/// services that it never asks for. They never retry: a step that fails is repeated by the state machine, and looks at
/// the world again before it acts, which a blind repetition of one call (a second VPC!) does not.
#[derive(Clone, Debug)]
pub struct Aws {
    /// Plain HTTPS, for image layers and health checks.
    pub https: SharedHttpConnector,
    /// Where this runs.
    pub account: Account,
    config: SdkConfig,
    clients: Arc<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    apprunner: OnceLock<aws_sdk_apprunner::Client>,
    cloudwatch: OnceLock<aws_sdk_cloudwatch::Client>,
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    #[cfg(feature = "ec2")]
    ec2: OnceLock<aws_sdk_ec2::Client>,
    ecr: OnceLock<aws_sdk_ecr::Client>,
    #[cfg(feature = "iam")]
    iam: OnceLock<aws_sdk_iam::Client>,
    logs: OnceLock<aws_sdk_cloudwatchlogs::Client>,
    rds: OnceLock<aws_sdk_rds::Client>,
    secrets_manager: OnceLock<aws_sdk_secretsmanager::Client>,
    sfn: OnceLock<aws_sdk_sfn::Client>,
    sns: OnceLock<aws_sdk_sns::Client>,
    #[cfg(feature = "ssm")]
    ssm: OnceLock<aws_sdk_ssm::Client>,
    tagging: OnceLock<aws_sdk_resourcegroupstagging::Client>,
}

/// The SDK's HTTP client, but that it is connected when something is called, and not once more for each service before
/// that: each time it reads the certificates of all authorities.
#[derive(Debug)]
struct OnFirstCall(SharedHttpClient);

impl HttpClient for OnFirstCall {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

/// Plain HTTPS, which few invocations need.
#[derive(Debug, Default)]
struct Https(OnceLock<SharedHttpConnector>);

impl HttpConnector for Https {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.0.get_or_init(|| {
            let settings = HttpConnectorSettings::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(10))
                .build();
            let connector = Connector::builder()
                .connector_settings(settings)
                .sleep_impl(TokioSleep::new());
            SharedHttpConnector::new(connector.tls_provider(TLS).build())
        });
        connector.call(request)
    }
}

/// The addresses of services that the environment names, `AWS_ENDPOINT_URL_APPRUNNER` or `AWS_ENDPOINT_URL` for all of them.
#[derive(Debug)]
struct Addresses;

impl LoadServiceConfig for Addresses {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        setting(key.env(), key.service_id(), |name| std::env::var(name).ok())
    }
}

/// A setting of a service, or of all of them.
fn setting(name: &str, service: &str, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let own = format!("{name}_{}", service.replace(' ', "_").to_uppercase());
    let read = |name: &str| read(name).filter(|value| !value.is_empty());
    read(&own).or_else(|| read(name))
}

impl Aws {
    /// The clients of a Lambda function. What Lambda has to say to them is in the environment; the SDK's own chain would look
    /// for it in files as well, and builds clients for logins that a function never has.
    pub fn load() -> Self {
        let account = Account::from_env();
        let clients = aws_smithy_http_client::Builder::new()
            .tls_provider(TLS)
            .build_https();
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(account.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(
                EnvironmentVariableCredentialsProvider::new(),
            ))
            .service_config(Addresses)
            .http_client(SharedHttpClient::new(OnFirstCall(clients)))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .retry_config(RetryConfig::disabled())
            // Below the time that the function has for all its calls: one that is stuck ends with a name that is retried.
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(3))
                    .operation_timeout(Duration::from_secs(20))
                    .build(),
            )
            .build();
        let https = SharedHttpConnector::new(Https::default());
        Self::new(&config, https, account)
    }

    /// The clients of a configuration; `https` is for plain HTTPS.
    pub fn new(config: &SdkConfig, https: SharedHttpConnector, account: Account) -> Self {
        Self {
            https,
            account,
            config: config.clone(),
            clients: Arc::default(),
        }
    }

    /// App Runner.
    pub fn apprunner(&self) -> &aws_sdk_apprunner::Client {
        let build = || aws_sdk_apprunner::Client::new(&self.config);
        self.clients.apprunner.get_or_init(build)
    }

    /// CloudWatch metrics, alarms and dashboards.
    pub fn cloudwatch(&self) -> &aws_sdk_cloudwatch::Client {
        let build = || aws_sdk_cloudwatch::Client::new(&self.config);
        self.clients.cloudwatch.get_or_init(build)
    }

    /// DynamoDB: what groundcrew remembers.
    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        let build = || aws_sdk_dynamodb::Client::new(&self.config);
        self.clients.dynamodb.get_or_init(build)
    }

    /// EC2: VPCs, subnets, security groups.
    #[cfg(feature = "ec2")]
    pub fn ec2(&self) -> &aws_sdk_ec2::Client {
        let build = || aws_sdk_ec2::Client::new(&self.config);
        self.clients.ec2.get_or_init(build)
    }

    /// ECR of this region.
    pub fn ecr(&self) -> &aws_sdk_ecr::Client {
        let build = || aws_sdk_ecr::Client::new(&self.config);
        self.clients.ecr.get_or_init(build)
    }

    /// IAM.
    #[cfg(feature = "iam")]
    pub fn iam(&self) -> &aws_sdk_iam::Client {
        let build = || aws_sdk_iam::Client::new(&self.config);
        self.clients.iam.get_or_init(build)
    }

    /// CloudWatch Logs.
    pub fn logs(&self) -> &aws_sdk_cloudwatchlogs::Client {
        let build = || aws_sdk_cloudwatchlogs::Client::new(&self.config);
        self.clients.logs.get_or_init(build)
    }

    /// RDS.
    pub fn rds(&self) -> &aws_sdk_rds::Client {
        let build = || aws_sdk_rds::Client::new(&self.config);
        self.clients.rds.get_or_init(build)
    }

    /// Secrets Manager.
    pub fn secrets_manager(&self) -> &aws_sdk_secretsmanager::Client {
        let build = || aws_sdk_secretsmanager::Client::new(&self.config);
        self.clients.secrets_manager.get_or_init(build)
    }

    /// Step Functions.
    pub fn sfn(&self) -> &aws_sdk_sfn::Client {
        let build = || aws_sdk_sfn::Client::new(&self.config);
        self.clients.sfn.get_or_init(build)
    }

    /// SNS.
    pub fn sns(&self) -> &aws_sdk_sns::Client {
        let build = || aws_sdk_sns::Client::new(&self.config);
        self.clients.sns.get_or_init(build)
    }

    /// Systems Manager: its parameters.
    #[cfg(feature = "ssm")]
    pub fn ssm(&self) -> &aws_sdk_ssm::Client {
        let build = || aws_sdk_ssm::Client::new(&self.config);
        self.clients.ssm.get_or_init(build)
    }

    /// Resource Groups Tagging: finds resources of any service by their tags.
    pub fn tagging(&self) -> &aws_sdk_resourcegroupstagging::Client {
        let build = || aws_sdk_resourcegroupstagging::Client::new(&self.config);
        self.clients.tagging.get_or_init(build)
    }

    /// ECR of another region: a service may run an image from there.
    pub fn ecr_in(&self, region: &str) -> aws_sdk_ecr::Client {
        if region == self.account.region {
            return self.ecr().clone();
        }
        let config = aws_sdk_ecr::config::Builder::from(&self.config);
        aws_sdk_ecr::Client::from_conf(config.region(Region::new(region.to_owned())).build())
    }

    /// GETs a URL: the status and the body.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nothing answers within ten seconds.
    pub async fn get(&self, call: &'static str, url: &str) -> Result<(u16, Vec<u8>)> {
        let unavailable = |reason: String| Error::Unavailable { call, reason };
        let mut request = HttpRequest::empty();
        request
            .set_uri(url)
            .map_err(|error| unavailable(error.to_string()))?;
        let response = self
            .https
            .call(request)
            .await
            .map_err(|error| unavailable(error::chain(&error)))?;
        let status = response.status().as_u16();
        let body = ByteStream::new(response.into_body())
            .collect()
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        Ok((status, body.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_service_comes_before_that_of_all_and_an_empty_one_is_none() {
        let address = |service: &str| {
            setting("AWS_ENDPOINT_URL", service, |name| {
                let value = match name {
                    "AWS_ENDPOINT_URL" => "https://all",
                    "AWS_ENDPOINT_URL_RESOURCE_GROUPS_TAGGING_API" => "https://tagging",
                    "AWS_ENDPOINT_URL_SFN" => "",
                    _ => return None,
                };
                Some(value.to_owned())
            })
        };
        let tagging = address("Resource Groups Tagging API");
        assert_eq!(tagging.as_deref(), Some("https://tagging"));
        assert_eq!(address("SFN").as_deref(), Some("https://all"));
        assert_eq!(address("ECR").as_deref(), Some("https://all"));
        assert_eq!(setting("AWS_ENDPOINT_URL", "ECR", |_| None), None);
    }
}
