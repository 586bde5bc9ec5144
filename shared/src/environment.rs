//! What a function finds in its environment: the account that it runs in, and what the template says of its surroundings.

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
    /// The ARN of the state machine `deploy`, which also names this installation of groundcrew.
    pub deploy_state_machine: String,
    /// The name of the table that holds what groundcrew remembers.
    pub memory: String,
}

/// A variable that `template.yaml` puts into the environment of a function.
///
/// # Panics
/// If the template and the function disagree; a contract test sees to it that they do not.
pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("template.yaml sets {name} for this function"))
}

/// When environments sleep, as the definition of the state machine sends it with a step; empty for a step that goes by no
/// schedule. It is in the definition, because a parameter that changes alone makes no version of a function
/// (<https://github.com/aws/serverless-application-model/issues/3820>): the next execution would go by the old one.
///
/// Executions of groundcrew 0.1 find it in the environment of the function (until 0.3.0).
pub fn parking(step: &serde_json::Value) -> String {
    match step["parking"].as_str() {
        Some(parking) => parking.to_owned(),
        None => std::env::var("PARKING").unwrap_or_default(),
    }
}

impl Account {
    /// Reads what `template.yaml` puts into the environment of each function.
    ///
    /// # Panics
    /// If the template and this function disagree; a contract test sees to it that they do not.
    pub fn from_env() -> Self {
        Self {
            partition: variable("PARTITION"),
            region: variable("AWS_REGION"),
            id: variable("ACCOUNT_ID"),
            permissions_boundary: variable("PERMISSIONS_BOUNDARY"),
            deploy_state_machine: variable("DEPLOY_STATE_MACHINE"),
            memory: variable("MEMORY"),
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

    /// The ARN of a dashboard of this account; dashboards have no region.
    pub fn dashboard_arn(&self, name: &str) -> String {
        format!(
            "arn:{}:cloudwatch::{}:dashboard/{name}",
            self.partition, self.id
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
