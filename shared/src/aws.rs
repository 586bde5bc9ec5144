//! The AWS clients of a function, and what a function knows of the account that it runs in.

use crate::{Error, Result, error};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::byte_stream::ByteStream;
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
    tagging: OnceLock<aws_sdk_resourcegroupstagging::Client>,
}

/// The account, region and partition that a function runs in, and the boundary of the roles that it may create.
#[derive(Clone, Debug)]
pub struct Account {
    /// `aws`, or the partition's own name.
    pub partition: String,
    /// The region, `us-east-1`.
    pub region: String,
    /// The twelve digits.
    pub id: String,
    /// The ARN of the permissions boundary that IAM asks of every role created.
    pub permissions_boundary: String,
    /// The ARN of the state machine `deploy`.
    pub deploy_state_machine: String,
}

impl Account {
    /// Reads what `template.yaml` puts into the environment of each function.
    ///
    /// # Panics
    /// If the template and this function disagree; a contract test sees to it that they do not.
    pub fn from_env() -> Self {
        let read = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("template.yaml sets {name} for every function"))
        };
        Self {
            partition: read("PARTITION"),
            region: read("AWS_REGION"),
            id: read("ACCOUNT_ID"),
            permissions_boundary: read("PERMISSIONS_BOUNDARY"),
            deploy_state_machine: read("DEPLOY_STATE_MACHINE"),
        }
    }

    /// The ARN of an SNS topic of this account.
    pub fn topic_arn(&self, name: &str) -> String {
        format!(
            "arn:{}:sns:{}:{}:{name}",
            self.partition, self.region, self.id
        )
    }

    /// The ARN of an alarm of this account.
    pub fn alarm_arn(&self, name: &str) -> String {
        format!(
            "arn:{}:cloudwatch:{}:{}:alarm:{name}",
            self.partition, self.region, self.id
        )
    }

    /// The ARN of a log group of this account, in the form that tags are read by.
    pub fn log_group_arn(&self, name: &str) -> String {
        format!(
            "arn:{}:logs:{}:{}:log-group:{name}",
            self.partition, self.region, self.id
        )
    }
}

impl Aws {
    /// The clients of a Lambda function.
    pub async fn load() -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(
                aws_smithy_http_client::Builder::new()
                    .tls_provider(TLS)
                    .build_https(),
            )
            .retry_config(RetryConfig::disabled())
            // Below the time that the function has for all its calls: one that is stuck ends with a name that is retried.
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(Duration::from_secs(20))
                    .build(),
            )
            .load()
            .await;
        let mut https = Connector::builder().connector_settings(
            HttpConnectorSettings::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(10))
                .build(),
        );
        https.set_sleep_impl(config.sleep_impl());
        let https = SharedHttpConnector::new(https.tls_provider(TLS).build());
        Self::new(&config, https, Account::from_env())
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
