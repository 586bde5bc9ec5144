//! Which stack: its names and its tags, all derived from (app, environment).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The tag that holds the app.
pub const TAG_APP: &str = "groundcrew:app";
/// The tag that holds the environment.
pub const TAG_ENVIRONMENT: &str = "groundcrew:environment";
/// The tag, always `true`, without which nothing is ever changed or deleted.
pub const TAG_MANAGED: &str = "groundcrew:managed";
/// The tag that names the execution that created a resource; undo goes by it.
pub const TAG_CREATED_BY: &str = "groundcrew:created-by";
/// The tag that names the execution that last changed a resource.
pub const TAG_CHANGED_BY: &str = "groundcrew:changed-by";
/// The tag of a service that holds its tag rule.
pub const TAG_IMAGE_TAG: &str = "groundcrew:image-tag";
/// On a service: how it is deployed, a [`crate::Policy`].
pub const TAG_POLICY: &str = "groundcrew:deploy-policy";
/// On a service: `true` freezes it; no event deploys anything.
pub const TAG_HOLD: &str = "groundcrew:hold";
/// On a service: the deployment that is under way, or `none`.
pub const TAG_DEPLOYING: &str = "groundcrew:deploying";
/// On a service: the fingerprint of the secrets that it was last deployed with.
pub const TAG_DEPLOYED_SECRETS: &str = "groundcrew:deployed-secrets";
/// On a service: the digest that is not deployed again by any event.
pub const TAG_REJECTED_IMAGE: &str = "groundcrew:rejected-image";
/// On a service: the fingerprint of secrets that could not be deployed.
pub const TAG_REJECTED_SECRETS: &str = "groundcrew:rejected-secrets";
/// On a service: the installation of groundcrew that looks after it, by the ARN of its state machine `deploy`.
pub const TAG_INSTALLATION: &str = "groundcrew:installation";
/// On a service: what its alarms watch for, a [`crate::Watch`].
pub const TAG_ALARMS: &str = "groundcrew:alarms";
/// On a service: the topic that its alarms tell instead of the stack's own, or `none`.
pub const TAG_ALARM_TOPIC: &str = "groundcrew:alarm-topic";
/// The execution that has kept a log group although its service goes: its name and its start time.
pub const TAG_KEPT_BY: &str = "groundcrew:kept-by";
/// Until when a log group is kept, a date: the last of its lines goes then, by its retention.
pub const TAG_KEPT_UNTIL: &str = "groundcrew:kept-until";
/// On a service: since when groundcrew has it parked, a [`crate::Mark`], or `none`.
pub const TAG_PARKED: &str = "groundcrew:parked";
/// On a service: when the wish was uttered that its tags hold.
pub const TAG_PARKING_WISH: &str = "groundcrew:parking-wish";
/// On a service: which failure to park or wake it a person was told of.
pub const TAG_PARKING_FAILED: &str = "groundcrew:parking-failed";
/// On a service: the beginning of the tags that keep its last releases; the time follows.
pub const TAG_RELEASE: &str = "groundcrew:release-";

/// On a service or a database: it stays awake until this time.
pub const TAG_AWAKE_UNTIL: &str = "groundcrew:awake-until";
/// On a service or a database: it stays parked until this time.
pub const TAG_PARKED_UNTIL: &str = "groundcrew:parked-until";

/// The tags of one AWS resource.
pub type Tags = BTreeMap<String, String>;

/// The identity of a stack.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stack {
    /// The application: lower-case letters, digits and hyphens, beginning with a letter.
    pub app: String,
    /// The environment: lower-case letters and digits, beginning with a letter, no hyphen (so that no two stacks share a name).
    pub environment: String,
}

impl Stack {
    /// What an app may be called: RDS takes no two hyphens in a row.
    pub const APP: &str = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$";
    /// The same in words.
    pub const APP_IN_WORDS: &str =
        "lower-case letters, digits and single hyphens, beginning with a letter";
    /// What an environment may be called: no hyphen, so that no two stacks share a name.
    pub const ENVIRONMENT: &str = "^[a-z][a-z0-9]*$";
    /// The same in words.
    pub const ENVIRONMENT_IN_WORDS: &str = "lower-case letters and digits, beginning with a letter";
    /// The longest `{app}-{environment}`: what the name of an App Runner auto scaling configuration may hold.
    pub const LONGEST_NAME: usize = 32;
    /// The shortest `{app}-{environment}`: what App Runner asks of a service name.
    pub const SHORTEST_NAME: usize = 4;

    /// `{app}-{environment}`, the name of the service, its configurations, the database and the repository.
    pub fn name(&self) -> String {
        format!("{}-{}", self.app, self.environment)
    }

    /// `{app}-{environment}-{part}`, for resources of which a stack has several.
    pub fn part(&self, part: &str) -> String {
        format!("{}-{}-{part}", self.app, self.environment)
    }

    /// The name of the secret with the database's credentials.
    pub fn secret_name(&self) -> String {
        format!("groundcrew/{}/{}/database", self.app, self.environment)
    }

    /// The database inside the instance. PostgreSQL wants no hyphen, and RDS refuses a word that PostgreSQL reserves
    /// (`CreateDBInstance`, `DBName`); `order` and `user` are good names for an app, and no such word ends in `_db`.
    pub fn database_name(&self) -> String {
        format!("{}_db", self.app.replace('-', "_"))
    }

    /// The name of an alarm or a dashboard: `{name}-groundcrew`. `PutMetricAlarm` and `PutDashboard` overwrite whatever has
    /// the name, so the policies of the functions allow a new one under names of this kind alone.
    pub fn watcher(name: &str) -> String {
        format!("{name}-groundcrew")
    }

    /// The tags that say whose a resource is.
    pub fn owner(&self) -> Tags {
        Tags::from([
            (TAG_APP.into(), self.app.clone()),
            (TAG_ENVIRONMENT.into(), self.environment.clone()),
            (TAG_MANAGED.into(), "true".into()),
        ])
    }

    /// The tags of a resource created by `execution`.
    pub fn tags(&self, execution: &str) -> Tags {
        let mut tags = self.owner();
        tags.insert(TAG_CREATED_BY.into(), execution.into());
        tags
    }

    /// Whether a resource with these tags belongs to this stack.
    pub fn owns(&self, tags: &Tags) -> bool {
        let is = |key: &str, value: &str| tags.get(key).is_some_and(|found| found == value);
        is(TAG_APP, &self.app) && is(TAG_ENVIRONMENT, &self.environment) && is(TAG_MANAGED, "true")
    }

    /// Whether the environment is one that nobody would miss: its database is not protected from deletion by default.
    pub fn is_short_lived(&self) -> bool {
        ["dev", "test", "preview", "ci"].contains(&self.environment.as_str())
            || self.environment.strip_prefix("pr").is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
            })
    }
}

/// When the execution began that created a resource with these tags: the tag holds its name, a space and its start.
pub fn created_at(tags: &Tags) -> Option<Timestamp> {
    tags.get(TAG_CREATED_BY)?.rsplit(' ').next()?.parse().ok()
}

/// An execution's name as the value of a tag: Step Functions allows characters in it that RDS refuses there.
pub fn tag_value(execution: &str) -> String {
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || "+-=._:/@ ".contains(character);
    let kept = execution
        .chars()
        .map(|character| if allowed(character) { character } else { '-' });
    kept.collect()
}

impl std::fmt::Display for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.app, self.environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_any_execution_becomes_a_value_that_every_service_takes_in_a_tag() {
        assert_eq!(tag_value("nightly-2026_11-21"), "nightly-2026_11-21");
        assert_eq!(tag_value("it's (again) für dev!"), "it-s -again- f-r dev-");
    }
}
