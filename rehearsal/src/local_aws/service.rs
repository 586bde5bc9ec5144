//! Services and databases that no stack was provisioned for.

use super::LocalAws;
use crate::{Error, Result};
use aws_sdk_apprunner::types::{
    AuthenticationConfiguration, HealthCheckConfiguration, HealthCheckProtocol, ImageConfiguration,
    ImageRepository, ImageRepositoryType, InstanceConfiguration, SourceConfiguration, Tag,
};
use serde_json::json;
use std::time::Duration;

/// Where `provision` puts the roles of services, too: nothing else may be passed on.
const ROLE_PATH: &str = "/groundcrew/";
const ACCESS_ROLE: &str = "local-aws-access";
const INSTANCE_ROLE: &str = "local-aws-instance";
/// A role that was just made cannot be assumed for some seconds of AWS time.
const ATTEMPTS: u32 = 100;

/// A service to create past `provision`: in milliseconds, and as many as a test wants.
#[derive(Clone, Debug, Default)]
pub struct NewService<'a> {
    /// Its name.
    pub name: &'a str,
    /// Repository and tag or digest in the account's own registry, `shop-dev@sha256:…`, or a whole identifier. The image
    /// must be there when the service starts.
    pub image: &'a str,
    /// Its tags; nothing is added.
    pub tags: &'a [(&'a str, &'a str)],
    /// The variables that get their value from a secret, with the reference of each.
    pub secrets: &'a [(&'a str, &'a str)],
}

impl LocalAws {
    /// Begins to create a service, which answers `/health`, and returns its ARN. It has roles that App Runner may
    /// assume, which the first call makes.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn create_service(&self, new: &NewService<'_>) -> Result<String> {
        let of_account =
            |role: &str| format!("arn:aws:iam::{}:role{ROLE_PATH}{role}", super::ACCOUNT);
        self.ensure_role(ACCESS_ROLE, "build.apprunner.amazonaws.com")
            .await?;
        self.ensure_role(INSTANCE_ROLE, "tasks.apprunner.amazonaws.com")
            .await?;
        if !new.secrets.is_empty() {
            self.let_read(INSTANCE_ROLE).await?;
        }
        let own = format!("{}.dkr.ecr.{}.amazonaws.com", super::ACCOUNT, super::REGION);
        let identifier = match new.image.split_once(".dkr.ecr.") {
            Some(_) => new.image.to_owned(),
            None => format!("{own}/{}", new.image),
        };
        let secrets = new.secrets.iter();
        let secrets = secrets.map(|(name, reference)| ((*name).into(), (*reference).into()));
        let configuration = ImageConfiguration::builder()
            .set_runtime_environment_secrets(Some(secrets.collect()))
            .build();
        let image = ImageRepository::builder()
            .image_identifier(identifier)
            .image_repository_type(ImageRepositoryType::Ecr)
            .image_configuration(configuration)
            .build()
            .map_err(Error::call("apprunner:CreateService"))?;
        let access = AuthenticationConfiguration::builder()
            .access_role_arn(of_account(ACCESS_ROLE))
            .build();
        let source = SourceConfiguration::builder()
            .image_repository(image)
            .auto_deployments_enabled(false)
            .authentication_configuration(access)
            .build();
        let health = HealthCheckConfiguration::builder()
            .protocol(HealthCheckProtocol::Http)
            .path("/health")
            .build();
        let instance = InstanceConfiguration::builder()
            .instance_role_arn(of_account(INSTANCE_ROLE))
            .build();
        let tags = new.tags.iter();
        let tags = tags.map(|(key, value)| Tag::builder().key(*key).value(*value).build());
        let create = self
            .aws()
            .apprunner()
            .create_service()
            .service_name(new.name)
            .source_configuration(source)
            .health_check_configuration(health)
            .instance_configuration(instance)
            .set_tags(Some(tags.collect()));
        let mut attempt = 0;
        loop {
            attempt += 1;
            match create.clone().send().await {
                Ok(created) => {
                    return Ok(created
                        .service
                        .map_or_else(String::new, |it| it.service_arn));
                }
                Err(error)
                    if attempt < ATTEMPTS
                        && error
                            .as_service_error()
                            .and_then(|error| error.meta().message())
                            .is_some_and(|said| said.starts_with("Error in assuming")) =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(Error::call("apprunner:CreateService")(error)),
            }
        }
    }

    /// Begins to create a small database of PostgreSQL, with these tags and no others.
    ///
    /// # Errors
    /// [`Error::Call`].
    pub async fn create_database(&self, name: &str, tags: &[(&str, &str)]) -> Result<()> {
        let tags = tags.iter().map(|(key, value)| {
            let tag = aws_sdk_rds::types::Tag::builder();
            tag.key(*key).value(*value).build()
        });
        let create = self.aws().rds().create_db_instance();
        let created = create
            .db_instance_identifier(name)
            .engine("postgres")
            .engine_version("17")
            .db_instance_class("db.t4g.micro")
            .allocated_storage(20)
            .backup_retention_period(1)
            .master_username("shop")
            .master_user_password("not-a-secret-here")
            .set_tags(Some(tags.collect()));
        let created = created.send().await;
        created
            .map(drop)
            .map_err(Error::call("rds:CreateDBInstance"))
    }

    /// App Runner reads secrets and parameters with the role of the instances.
    async fn let_read(&self, role: &str) -> Result<()> {
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": ["secretsmanager:GetSecretValue", "ssm:GetParameters"],
                "Resource": "*",
            }],
        });
        let put = self.aws().iam().put_role_policy().role_name(role);
        let put = put.policy_name("read").policy_document(policy.to_string());
        put.send()
            .await
            .map(drop)
            .map_err(Error::call("iam:PutRolePolicy"))
    }

    async fn ensure_role(&self, name: &str, principal: &str) -> Result<()> {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"Service": principal},
                "Action": "sts:AssumeRole",
            }],
        });
        let role = self.aws().iam().create_role().path(ROLE_PATH);
        match role
            .role_name(name)
            .assume_role_policy_document(trust.to_string())
            .send()
            .await
        {
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_entity_already_exists_exception()) =>
            {
                Ok(())
            }
            made => made.map(drop).map_err(Error::call("iam:CreateRole")),
        }
    }
}
