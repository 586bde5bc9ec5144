//! The stack spec: what a person asks for. The JSON schema, the validation and the documentation are all made of the
//! types in this file.

mod cidr;
#[cfg(test)]
mod generated;
mod habit;
mod rules;
#[cfg(test)]
mod tests;

pub use cidr::Cidr;
pub(crate) use rules::name as name_mistake;

use crate::tag_rule::TagRule;
use crate::{Error, Mistake, Policy, Result, Stack, input};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A stack: one containerised web application with its database, in one environment.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields, title = "groundcrew stack")]
pub struct Spec {
    /// The application's name; with the environment it names every resource (`shop-staging`). 4 to 32 characters together.
    #[schemars(regex(pattern = Stack::APP), extend("patternErrorMessage" = Stack::APP_IN_WORDS), length(max = 30))]
    pub app: String,
    /// The environment's name. `dev`, `test`, `preview`, `ci` and `pr<number>` are short-lived: their database is not protected from deletion by default.
    #[schemars(regex(pattern = Stack::ENVIRONMENT), extend("patternErrorMessage" = Stack::ENVIRONMENT_IN_WORDS), length(max = 16))]
    pub environment: String,
    /// Where the image comes from.
    #[serde(default)]
    pub image: Image,
    /// The App Runner service.
    #[serde(default)]
    pub service: Service,
    /// How new images and rotated secrets are delivered.
    #[serde(default)]
    pub deploy: Policy,
    /// The RDS PostgreSQL instance.
    #[serde(default)]
    pub database: Database,
    /// The network: an own VPC, or an existing one.
    #[serde(default)]
    pub network: Network,
    /// What the CloudWatch alarms watch for.
    #[serde(default)]
    pub alarms: Alarms,
    /// How many days the service's log groups keep their events: one of the periods that CloudWatch Logs offers.
    #[serde(default = "thirty_days")]
    #[schemars(extend("enum" = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]))]
    pub log_retention_days: u16,
    /// What a failed execution does with what it created.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Whether a stack that sleeps is woken first, so that it can be changed at once. By default a change that needs the stack awake waits, and the report names it. `park` puts the stack to sleep again at its next look.
    #[serde(default)]
    pub wake: bool,
    /// When the class and Multi-AZ of a database are put right that somebody has changed by hand: RDS interrupts the database for a class, and slows it down for Multi-AZ. What the spec itself changes is changed at once either way.
    #[serde(default)]
    pub apply: Apply,
    /// Only say what would be created, changed and left alone; nothing is called that writes.
    #[serde(default)]
    pub dry_run: bool,
}

pub(crate) fn thirty_days() -> u16 {
    30
}

/// What a failed execution does with what it created.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Remove what this execution created, and nothing else.
    #[default]
    Undo,
    /// Leave everything as it is, for a person to look at.
    Keep,
}

/// When RDS does what disturbs a database.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Apply {
    /// In the maintenance window of the database.
    #[default]
    Window,
    /// Now.
    Now,
}

/// Where the image comes from.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Image {
    /// An existing ECR repository of this account and region; it is read and never changed. Left out: the stack has a repository of its own, named like the stack.
    #[schemars(
        regex(pattern = r"^[a-z0-9]+([._/-][a-z0-9]+)*$"),
        extend("not" = {"type": "string", "pattern": r"^[0-9]{12}\.dkr\."}),
        extend("patternErrorMessage" = "the name of an ECR repository without its registry: lower-case letters and digits, in parts divided by . _ - or /"),
        length(min = 2, max = 256)
    )]
    pub repository: Option<String>,
    /// Which image: a tag (`latest`), `prefix:release-` for the newest push whose tag begins so, or `semver:1` / `semver:1.4` for the highest release within (`semver:1+pre`: pre-releases too).
    #[schemars(
        regex(pattern = TagRule::PATTERN),
        extend("patternErrorMessage" = "a tag (latest), the beginning of one (prefix:release-) or a range of versions (semver:1, semver:1.4)"),
        length(max = 128)
    )]
    pub tag: String,
    /// Whether a tag, once pushed, can be pushed again with another image (own repository only).
    pub immutable_tags: bool,
    /// How many images the own repository keeps; older ones expire.
    #[schemars(range(min = 1, max = 1000))]
    pub keep: u16,
    /// How many minutes an execution waits for the first push.
    #[schemars(range(min = 0, max = 1440))]
    pub wait_minutes: u16,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            repository: None,
            tag: "latest".into(),
            immutable_tags: false,
            keep: 30,
            wait_minutes: 60,
        }
    }
}

/// The App Runner service.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Service {
    /// CPU units of an instance, 1024 to a vCPU. With `memory`: 256 → 512 or 1024; 512 → 1024; 1024 → 2048, 3072 or 4096; 2048 → 4096 or 6144; 4096 → 8192, 10240 or 12288.
    #[schemars(extend("enum" = [256, 512, 1024, 2048, 4096]))]
    pub cpu: u16,
    /// Memory of an instance in MiB.
    #[schemars(extend("enum" = [512, 1024, 2048, 3072, 4096, 6144, 8192, 10240, 12288]))]
    pub memory: u16,
    /// The port that the container listens on.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// How App Runner, and the validation at the end of `provision`, find out that the service works.
    pub health_check: HealthCheck,
    /// How many instances run.
    pub scaling: Scaling,
    /// Plain environment variables. `PORT` and names that begin with `AWSAPPRUNNER` belong to App Runner.
    #[schemars(extend("additionalProperties" = variable_values(), "propertyNames" = variable_names()))]
    pub variables: BTreeMap<String, String>,
    /// Environment variables whose value App Runner reads at each deployment: `database:password` (a JSON key of the stack's own secret), the ARN of a Secrets Manager secret (with `:json-key::` for one key), or the ARN of an SSM parameter. All are of this account and region, and under a key that AWS manages; the six characters at the end of a secret's ARN may be left out.
    #[schemars(extend("additionalProperties" = secret_references(), "propertyNames" = variable_names()))]
    pub secrets: BTreeMap<String, String>,
    /// Whether the service answers on the internet; if not, only through a VPC ingress connection.
    pub public: bool,
    /// Whether App Runner sends traces to X-Ray.
    pub xray: bool,
}

fn variable_names() -> Value {
    json!({
        "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
        "not": {"pattern": "^(PORT$|AWSAPPRUNNER)"},
        "patternErrorMessage": "a name of letters, digits and underscores, no digit first; AWSAPPRUNNER… are App Runner's own, and so is PORT, for which there is service.port",
        "maxLength": 2048,
    })
}

/// App Runner holds a value to `.*` (its service model, `RuntimeEnvironmentVariablesValue`), and that dot is no end of a line
/// (Assumption line-ends). An environment ends a value at its first NUL.
fn variable_values() -> Value {
    json!({
        "type": "string",
        "pattern": "^[^\0\n\r\u{85}\u{2028}\u{2029}]*$",
        "patternErrorMessage": "a text of one line; a secret may have several",
        "maxLength": 51200,
    })
}

fn secret_references() -> Value {
    json!({
        "type": "string",
        "pattern": SECRET_REFERENCE,
        "patternErrorMessage": "database:password (or engine, host, username, dbname, port), the ARN of a Secrets Manager secret or the ARN of an SSM parameter",
        "writeOnly": true,
        "maxLength": 2048,
    })
}

const SECRET_REFERENCE: &str = r"^(database:(engine|host|username|password|dbname|port)|arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+(:[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]*:[A-Za-z0-9-]*)?|arn:aws[a-z-]*:ssm:[a-z0-9-]+:[0-9]{12}:parameter/[A-Za-z0-9/_.-]+)$";

impl Default for Service {
    fn default() -> Self {
        Self {
            cpu: 1024,
            memory: 2048,
            port: 8080,
            health_check: HealthCheck::default(),
            scaling: Scaling::default(),
            variables: BTreeMap::new(),
            secrets: BTreeMap::new(),
            public: true,
            xray: false,
        }
    }
}

/// An HTTP health check.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct HealthCheck {
    /// The path that answers 200 when the application can serve requests.
    #[schemars(
        regex(pattern = r"^/[!-~]*$"),
        extend("patternErrorMessage" = "a path that begins with /, in ASCII and without spaces")
    )]
    pub path: String,
    /// Seconds between two checks.
    #[schemars(range(min = 1, max = 20))]
    pub interval: u8,
    /// Seconds that an answer may take.
    #[schemars(range(min = 1, max = 20))]
    pub timeout: u8,
    /// Successful checks in a row that make an instance healthy.
    #[schemars(range(min = 1, max = 20))]
    pub healthy_threshold: u8,
    /// Failed checks in a row that make an instance unhealthy.
    #[schemars(range(min = 1, max = 20))]
    pub unhealthy_threshold: u8,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/".into(),
            interval: 5,
            timeout: 2,
            healthy_threshold: 1,
            unhealthy_threshold: 5,
        }
    }
}

/// How many instances run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Scaling {
    /// Instances that are always provisioned. App Runner does not scale to zero.
    #[schemars(range(min = 1, max = 25))]
    pub min_size: u8,
    /// The most instances; not below `min_size`.
    #[schemars(range(min = 1, max = 25))]
    pub max_size: u8,
    /// Requests at the same time that one instance gets before another is started.
    #[schemars(range(min = 1, max = 200))]
    pub max_concurrency: u8,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            min_size: 1,
            max_size: 5,
            max_concurrency: 100,
        }
    }
}

/// The RDS PostgreSQL instance.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Database {
    /// The major version of PostgreSQL; RDS chooses and keeps up the minor one.
    #[schemars(range(min = 14, max = 18))]
    pub major_version: u8,
    /// The instance class; the region must offer it for that version.
    #[schemars(
        regex(pattern = r"^db\.[a-z0-9-]+\.[a-z0-9-]+$"),
        extend("patternErrorMessage" = "an instance class such as db.t4g.micro")
    )]
    pub instance_class: String,
    /// gp3 storage in GiB; it can grow later and never shrinks.
    #[schemars(range(min = 20, max = 65536))]
    pub storage_gib: u32,
    /// Whether a standby runs in another availability zone.
    pub multi_az: bool,
    /// How many days of automated backups are kept; 0 turns them off (and a read replica needs them).
    #[schemars(range(min = 0, max = 35))]
    pub backup_days: u8,
    /// Whether RDS refuses to delete the instance. Left out: protected, except in short-lived environments.
    pub deletion_protection: Option<bool>,
    /// Whether a read replica runs beside it. RDS cannot stop an instance that has one.
    pub read_replica: bool,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            major_version: 17,
            instance_class: "db.t4g.micro".into(),
            storage_gib: 20,
            multi_az: false,
            backup_days: 7,
            deletion_protection: None,
            read_replica: false,
        }
    }
}

/// The network: an own VPC (`cidr`, `zones`), or an existing one (`vpc_id` with `subnet_ids`).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Network {
    /// The address range of the own VPC, /16 to /24. Left out, without `vpc_id`: `10.0.0.0/16`.
    #[schemars(
        regex(pattern = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"),
        extend("patternErrorMessage" = "an IPv4 range such as 10.0.0.0/16")
    )]
    pub cidr: Option<String>,
    /// An existing VPC; it is read and never changed, apart from the two security groups that the stack adds to it. A stack stays in the VPC in which it was created.
    #[schemars(
        regex(pattern = r"^vpc-[0-9a-f]{8,17}$"),
        extend("patternErrorMessage" = "the id of a VPC, vpc- and 8 to 17 hexadecimal digits")
    )]
    pub vpc_id: Option<String>,
    /// Existing private subnets of that VPC, in two availability zones at least, and in none that App Runner refuses.
    #[schemars(extend("items" = subnet_ids()), length(max = 16))]
    pub subnet_ids: Vec<String>,
    /// The availability zones of the own VPC's subnets, two at least, by id: names mean other zones in other accounts. Left out: the first three by name that App Runner does not refuse. A stack stays in the zones that its service was first connected in.
    #[schemars(extend("items" = zone_ids()), length(max = 6))]
    pub zones: Vec<String>,
}

fn zone_ids() -> Value {
    json!({
        "type": "string",
        "pattern": "^[a-z]{3,6}[0-9]-az[0-9]{1,2}$",
        "patternErrorMessage": "the id of an availability zone, use1-az1 for instance, not its name",
    })
}

fn subnet_ids() -> Value {
    json!({
        "type": "string",
        "pattern": "^subnet-[0-9a-f]{8,17}$",
        "patternErrorMessage": "the id of a subnet, subnet- and 8 to 17 hexadecimal digits",
    })
}

impl Network {
    /// The address range of the own VPC.
    pub fn own_cidr(&self) -> &str {
        self.cidr.as_deref().unwrap_or("10.0.0.0/16")
    }
}

/// What the CloudWatch alarms watch for, and whom they tell.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub struct Alarms {
    /// Service CPU in percent, average over 5 minutes, three times in a row.
    #[schemars(range(min = 1, max = 100))]
    pub cpu_percent: u8,
    /// Service memory in percent, average over 5 minutes, three times in a row.
    #[schemars(range(min = 1, max = 100))]
    pub memory_percent: u8,
    /// Average request latency in milliseconds over 5 minutes, twice in a row.
    #[schemars(range(min = 1, max = 120000))]
    pub latency_milliseconds: u32,
    /// 5xx answers within 5 minutes.
    #[schemars(range(min = 1, max = 1000000))]
    pub server_errors: u32,
    /// 4xx answers in percent of the requests within 5 minutes, three times in a row.
    #[schemars(range(min = 1, max = 100))]
    pub client_error_percent: u8,
    /// Database CPU in percent, average over 5 minutes, three times in a row.
    #[schemars(range(min = 1, max = 100))]
    pub database_cpu_percent: u8,
    /// Open connections to the database.
    #[schemars(range(min = 1, max = 262143))]
    pub database_connections: u32,
    /// Free storage of the database in GiB.
    #[schemars(range(min = 1, max = 65536))]
    pub database_free_storage_gib: u32,
    /// An address that the stack's own topic writes to; AWS asks it to confirm.
    #[schemars(
        regex(pattern = r"^[!-?A-~]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"),
        extend("patternErrorMessage" = "an e-mail address"),
        length(max = 254)
    )]
    pub email: Option<String>,
    /// An existing SNS topic of this region to tell instead of the stack's own; it is never changed. Its own policy must let CloudWatch publish.
    #[schemars(
        regex(pattern = r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}$"),
        // No FIFO topic, whose name has a dot (Assumption fifo-topics).
        extend("patternErrorMessage" = "the ARN of a standard SNS topic"),
        length(max = 256) // a tag of the service keeps it
    )]
    pub topic_arn: Option<String>,
}

impl Default for Alarms {
    fn default() -> Self {
        Self {
            cpu_percent: 80,
            memory_percent: 80,
            latency_milliseconds: 1000,
            server_errors: 5,
            client_error_percent: 20,
            database_cpu_percent: 80,
            database_connections: 80,
            database_free_storage_gib: 2,
            email: None,
            topic_arn: None,
        }
    }
}

impl Spec {
    /// Reads a spec and checks everything that can be checked without asking AWS.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every mistake at once.
    pub fn parse(input: &Value) -> Result<Self> {
        match Self::read(input) {
            (Some(spec), mistakes) if mistakes.is_empty() => Ok(spec),
            (_, mistakes) => Err(Error::Invalid(mistakes)),
        }
    }

    /// Reads what is sound of a spec, for whoever has more to ask about it, and every mistake in the rest. `None` if it does
    /// not say which stack it is about.
    pub fn read(input: &Value) -> (Option<Self>, Vec<Mistake>) {
        let (spec, mut mistakes) = input::read(&Self::schema(), input, rules::mistakes);
        mistakes = mistakes.into_iter().map(habit::understood).collect();
        let is_named = !mistakes
            .iter()
            .any(|mistake| ["", "app", "environment"].contains(&mistake.field.as_str()));
        (spec.filter(|_| is_named), mistakes)
    }

    /// The JSON schema of a spec, draft 2020-12; `spec.schema.json` is a copy of it for editors.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The stack that the spec describes.
    pub fn stack(&self) -> Stack {
        Stack {
            app: self.app.clone(),
            environment: self.environment.clone(),
        }
    }

    /// The ECR repository: the one that the spec names, or the stack's own.
    pub fn repository(&self) -> String {
        self.image
            .repository
            .clone()
            .unwrap_or_else(|| self.stack().name())
    }

    /// Whether RDS is to refuse the deletion of the database.
    pub fn deletion_protection(&self) -> bool {
        self.database
            .deletion_protection
            .unwrap_or(!self.stack().is_short_lived())
    }
}
