//! The secret with the database's credentials. The password is generated inside the function, goes to Secrets Manager
//! and RDS, and nowhere else.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::types::Tag;
use groundcrew::error::found;
use groundcrew::stack::{TAG_CREATED_BY, Tags};
use groundcrew::{Aws, Error, Removal, Result, Run, Spec, Stack};
use serde::{Deserialize, Serialize};

/// How many days a removed secret can be restored; a stack provisioned again within them gets it back.
const RECOVERY_DAYS: i64 = 7;

/// What the tag `groundcrew:created-by` of a removed secret says, until an execution restores it.
const NOBODY: &str = "nobody";

/// The name of the database's own user.
pub(super) const USERNAME: &str = "postgres";

/// Where the database listens.
pub(super) const PORT: u16 = 5432;

/// The secret's JSON, in the shape that the rotation templates of RDS read. `Debug` does not show the password.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Credentials {
    engine: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) dbname: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    pub(super) port: u16,
    #[serde(
        default,
        rename = "dbInstanceIdentifier",
        skip_serializing_if = "Option::is_none"
    )]
    db_instance_identifier: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let name = stack.secret_name();
    let Some(secret) = describe(aws, &name).await? else {
        if run.create(format!("secret {name}")) {
            let arn = create(aws, stack, run, &name).await?;
            run.tell("secret_arn", arn);
        }
        return Ok(());
    };
    let tags = tags(&secret);
    if !stack.owns(&tags) {
        return Err(Error::Conflict(format!("secret {name}")));
    }
    run.settle(&tags);
    let nobodys = is_nobodys(&tags);
    let restore = match (nobodys, secret.deleted_date().is_some()) {
        (true, _) => run.create(format!("secret {name}, restored")),
        // Somebody deleted it by hand: it stays whose it was.
        (false, true) => run.change(format!("secret {name}, restored")),
        (false, false) => false,
    };
    if restore && secret.deleted_date().is_some() {
        aws.secrets_manager()
            .restore_secret()
            .secret_id(&name)
            .send()
            .await
            .map_err(Error::aws("secretsmanager:RestoreSecret"))?;
    }
    if restore && nobodys {
        // Secrets Manager tags no secret that waits for its deletion, so this comes after; a crash in between leaves a
        // secret that is nobody's, and the next call takes it.
        created_by(aws, &name, &run.execution).await?;
    }
    run.tell("secret_arn", secret.arn.unwrap_or_default());
    Ok(())
}

async fn create(aws: &Aws, stack: &Stack, run: &Run, name: &str) -> Result<String> {
    let generated = aws
        .secrets_manager()
        .get_random_password()
        .password_length(32)
        // What RDS refuses in a password, and what a connection string or a shell would have to quote.
        .exclude_characters("/\"@\\ '`:?#%&$;<>|(){}[]")
        .require_each_included_type(true)
        .send()
        .await
        .map_err(Error::aws("secretsmanager:GetRandomPassword"))?;
    let credentials = Credentials {
        engine: "postgres".into(),
        username: USERNAME.into(),
        password: generated.random_password.unwrap_or_default(),
        dbname: stack.database_name(),
        host: None,
        port: PORT,
        db_instance_identifier: None,
    };
    let created = aws
        .secrets_manager()
        .create_secret()
        .name(name)
        .description(format!("The database of {stack}"))
        .secret_string(credentials.to_json())
        .set_tags(Some(
            stack
                .tags(&run.execution)
                .iter()
                .map(|(key, value)| tag(key, value))
                .collect(),
        ))
        .send()
        .await
        .map_err(Error::aws("secretsmanager:CreateSecret"))?;
    Ok(created.arn.unwrap_or_default())
}

impl Credentials {
    fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// The same credentials for a database at `host`.
    pub(super) fn at(self, host: Option<String>, db_instance_identifier: Option<String>) -> Self {
        Self {
            host,
            db_instance_identifier,
            ..self
        }
    }

    /// Reads the credentials of a stack.
    pub(super) async fn read(aws: &Aws, stack: &Stack) -> Result<Self> {
        let name = stack.secret_name();
        let value = aws
            .secrets_manager()
            .get_secret_value()
            .secret_id(&name)
            .send()
            .await
            .map_err(Error::aws("secretsmanager:GetSecretValue"))?;
        // The parse error would quote the secret: it is left out.
        serde_json::from_str(value.secret_string().unwrap_or_default()).map_err(|_| {
            Error::Failed(format!(
                "secret {name} does not hold the JSON with username, password, dbname and port that its rotation needs: put its AWSPREVIOUS version back"
            ))
        })
    }

    /// Writes them back, as the new current version.
    pub(super) async fn write(&self, aws: &Aws, stack: &Stack) -> Result<()> {
        aws.secrets_manager()
            .put_secret_value()
            .secret_id(stack.secret_name())
            .secret_string(self.to_json())
            .send()
            .await
            .map_err(Error::aws("secretsmanager:PutSecretValue"))?;
        Ok(())
    }
}

/// The ARN of the stack's secret, if it has one.
pub(super) async fn secret_arn(aws: &Aws, stack: &Stack) -> Result<Option<String>> {
    Ok(describe(aws, &stack.secret_name())
        .await?
        .and_then(|secret| secret.arn))
}

pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let name = removal.stack().secret_name();
    let Some(secret) = describe(aws, &name).await? else {
        return Ok(());
    };
    let tags = tags(&secret);
    // A removal that was cut off after its first call left it so.
    let half_removed = removal.stack().owns(&tags) && is_nobodys(&tags);
    if secret.deleted_date().is_none()
        && (removal.covers(&tags) || half_removed)
        && run.remove(format!("secret {name}"))
    {
        delete(aws, &name).await?;
    }
    Ok(())
}

fn is_nobodys(tags: &Tags) -> bool {
    tags.get(TAG_CREATED_BY)
        .is_some_and(|creator| creator == NOBODY)
}

async fn delete(aws: &Aws, name: &str) -> Result<()> {
    created_by(aws, name, NOBODY).await?;
    aws.secrets_manager()
        .delete_secret()
        .secret_id(name)
        .recovery_window_in_days(RECOVERY_DAYS)
        .send()
        .await
        .map_err(Error::aws("secretsmanager:DeleteSecret"))?;
    Ok(())
}

async fn created_by(aws: &Aws, name: &str, execution: &str) -> Result<()> {
    aws.secrets_manager()
        .tag_resource()
        .secret_id(name)
        .tags(tag(TAG_CREATED_BY, execution))
        .send()
        .await
        .map_err(Error::aws("secretsmanager:TagResource"))?;
    Ok(())
}

/// A secret by its name or its ARN, with or without the six characters at its end; `None` if there is none.
pub(crate) async fn describe(aws: &Aws, name: &str) -> Result<Option<DescribeSecretOutput>> {
    let described = aws.secrets_manager().describe_secret().secret_id(name);
    found(
        described.send().await,
        |error| error.is_resource_not_found_exception(),
        "secretsmanager:DescribeSecret",
    )
}

fn tags(secret: &DescribeSecretOutput) -> Tags {
    secret
        .tags()
        .iter()
        .filter_map(|tag| Some((tag.key.clone()?, tag.value.clone()?)))
        .collect()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_password() {
        let credentials: Credentials = serde_json::from_str(
            r#"{"engine": "postgres", "username": "postgres", "password": "hunter2hunter2", "dbname": "shop", "port": 5432}"#,
        )
        .unwrap();
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
