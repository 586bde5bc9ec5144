//! The stage of the scenario tests: one local AWS with the whole template deployed, shared by the tests of a program.

mod service;

pub use service::{PATIENCE, Service, eventually, is_of_database, watched};

use groundcrew::stack::Tags;
use rehearsal::{End, LocalAws, Options, Outputs, World};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::RwLock;

/// A local AWS with groundcrew deployed.
pub struct Stage {
    /// The local AWS.
    pub local: LocalAws,
    /// The outputs of the template.
    pub outputs: Outputs,
    alone: RwLock<()>,
}

type Set = (Runtime, Stage);

/// The stage that tests share.
static STAGE: OnceLock<Set> = OnceLock::new();

/// The stages that no test plays on now.
static FREE: Mutex<Vec<&'static Set>> = Mutex::new(Vec::new());

/// Plays a scenario on the stage, beside others. The stage is set by whoever comes first.
pub fn play<F: Future>(scenario: impl FnOnce(&'static Stage) -> F) -> F::Output {
    let (runtime, stage) = STAGE.get_or_init(|| set(&[]));
    runtime.block_on(async {
        let _beside_others = stage.alone.read().await;
        scenario(stage).await
    })
}

/// Plays a scenario while no other is on: it looks at everything, or disturbs everything.
pub fn play_alone<F: Future>(scenario: impl FnOnce(&'static Stage) -> F) -> F::Output {
    let (runtime, stage) = STAGE.get_or_init(|| set(&[]));
    runtime.block_on(async {
        let _alone = stage.alone.write().await;
        scenario(stage).await
    })
}

/// Plays a scenario on a stage that is another's before or afterwards, but not meanwhile. There come to be as many stages as
/// there are tests at once; their templates have these parameters, the same for all tests of a program. That of a test that
/// fails is not used again.
pub fn play_on_a_free_stage<F: Future>(
    parameters: &[(&str, &str)],
    scenario: impl FnOnce(&'static Stage) -> F,
) -> F::Output {
    let free = || FREE.lock().expect("nobody panics with it");
    let one = free().pop();
    let one = one.unwrap_or_else(|| Box::leak(Box::new(set(parameters))));
    let (runtime, stage) = one;
    let output = runtime.block_on(scenario(stage));
    free().push(one);
    output
}

fn set(parameters: &[(&str, &str)]) -> Set {
    let runtime = Runtime::new().expect("a runtime can be made");
    let stage = runtime.block_on(Stage::set(parameters));
    (runtime, stage)
}

impl Stage {
    async fn set(parameters: &[(&str, &str)]) -> Self {
        let prepared = rehearsal::prepare()
            .await
            .expect("what the local AWS needs is there");
        let functions = rehearsal::build().await.expect("the functions build");
        let local = LocalAws::start(&prepared, Options::default())
            .await
            .expect("the local AWS starts");
        let template = rehearsal::root().join("template.yaml");
        let outputs = local
            .deploy(&template, functions, parameters)
            .await
            .expect("the template deploys");
        Self {
            local,
            outputs,
            alone: RwLock::new(()),
        }
    }

    /// Starts `provision` and waits for its end. The image that a new stack waits for is pushed as soon as its
    /// repository is there.
    pub async fn provision(&self, spec: &Value) -> End {
        let push = async {
            let repository = format!("{}-{}", text(&spec["app"]), text(&spec["environment"]));
            let tag = spec["image"]["tag"].as_str().unwrap_or("latest");
            while self
                .local
                .push_image(&repository, tag, "amd64")
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = self.provision_without_image(spec) => end,
            () = push => unreachable!("it waits for ever in the end"),
        }
    }

    /// Starts `provision` and waits for its end.
    pub async fn provision_without_image(&self, spec: &Value) -> End {
        self.execute("ProvisionStateMachineArn", spec).await
    }

    /// Removes a stack for good, and waits for the end.
    pub async fn teardown(&self, spec: &Value) -> End {
        self.remove(&json!({
            "app": spec["app"],
            "environment": spec["environment"],
            "final_snapshot": false,
            "ignore_deletion_protection": true,
        }))
        .await
    }

    /// Starts `teardown` and waits for its end.
    pub async fn remove(&self, removal: &Value) -> End {
        self.execute("TeardownStateMachineArn", removal).await
    }

    /// Starts `deploy` and waits for its end.
    pub async fn deploy(&self, request: &Value) -> End {
        self.execute("DeployStateMachineArn", request).await
    }

    /// Starts `park` and waits for its end.
    pub async fn park(&self, request: &Value) -> End {
        self.execute("ParkStateMachineArn", request).await
    }

    /// Starts `sweep` and waits for its end.
    pub async fn sweep(&self, request: &Value) -> End {
        self.execute("SweepStateMachineArn", request).await
    }

    async fn execute(&self, output: &str, input: &Value) -> End {
        let machine = self
            .outputs
            .get(output)
            .expect("the template has the output");
        let execution = self
            .local
            .start_execution(machine, &name(), input)
            .await
            .expect("the execution starts");
        execution.end().await.expect("the execution ends")
    }

    /// Everything in the account.
    pub async fn world(&self) -> World {
        // Other scenarios remove what is theirs: it may be gone between two calls of one look.
        for _ in 0..20 {
            if let Ok(world) = World::look(&self.local).await {
                return world;
            }
        }
        let world = World::look(&self.local).await;
        world.expect("the account can be looked at")
    }

    /// The names of everything in the account that belongs to a stack, or looks like it: empty when nothing is left.
    pub async fn traces(&self, stack: &str) -> Vec<String> {
        let world = self.world().await;
        let named = |kind: &str, name: Option<&str>| {
            name.filter(|name| {
                name.split(['/', ':'])
                    .any(|part| part == stack || part.starts_with(&format!("{stack}-")))
            })
            .map(|name| format!("{kind} {name}"))
        };
        let tagged = |kind: &str, id: Option<&str>, tags: &[aws_sdk_ec2::types::Tag]| {
            let name = tags.iter().find(|tag| tag.key() == Some("Name"))?.value()?;
            (name == stack || name.starts_with(&format!("{stack}-")))
                .then(|| format!("{kind} {}", id.unwrap_or_default()))
        };
        let mut found: Vec<Option<String>> = Vec::new();
        found.extend(
            world
                .vpcs
                .iter()
                .map(|vpc| tagged("VPC", vpc.vpc_id(), vpc.tags())),
        );
        found.extend(
            world
                .subnets
                .iter()
                .map(|subnet| tagged("subnet", subnet.subnet_id(), subnet.tags())),
        );
        found.extend(
            world
                .route_tables
                .iter()
                .map(|table| tagged("route table", table.route_table_id(), table.tags())),
        );
        found.extend(
            world
                .security_groups
                .iter()
                .map(|group| named("security group", group.group_name())),
        );
        found.extend(
            world
                .repositories
                .iter()
                .map(|repository| named("repository", repository.repository_name())),
        );
        found.extend(world.secrets.iter().map(|secret| {
            let of = stack.replace('-', "/");
            secret
                .name()
                .filter(|name| name.contains(&format!("/{of}/")))
                .map(|name| format!("secret {name}"))
        }));
        found.extend(
            world
                .databases
                .iter()
                .map(|database| named("database", database.db_instance_identifier())),
        );
        found.extend(
            world
                .subnet_groups
                .iter()
                .map(|group| named("DB subnet group", group.db_subnet_group_name())),
        );
        found.extend(
            world
                .roles
                .iter()
                .map(|role| named("role", Some(role.role_name()))),
        );
        found.extend(
            world
                .apprunner
                .services
                .iter()
                .map(|service| named("service", Some(&service.arn))),
        );
        found.extend(
            world
                .apprunner
                .vpc_connectors
                .iter()
                .map(|connector| named("connector", Some(&connector.arn))),
        );
        found.extend(
            world
                .apprunner
                .auto_scaling_configurations
                .iter()
                .map(|revision| named("auto scaling", Some(&revision.arn))),
        );
        found.extend(
            world
                .apprunner
                .observability_configurations
                .iter()
                .map(|revision| named("observability", Some(&revision.arn))),
        );
        found.extend(
            world
                .alarms
                .iter()
                .map(|alarm| named("alarm", alarm.alarm_name())),
        );
        found.extend(
            world
                .dashboards
                .keys()
                .map(|dashboard| named("dashboard", Some(dashboard))),
        );
        found.extend(
            world
                .log_groups
                .iter()
                .map(|group| named("log group", group.log_group_name())),
        );
        found.extend(world.topics.keys().map(|topic| named("topic", Some(topic))));
        found.into_iter().flatten().collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A name that no other execution has.
pub fn name() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(1);
    format!("run-{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A small spec of a stack that nobody else uses.
pub fn spec(app: &str) -> Value {
    json!({"app": app, "environment": "dev", "service": {"health_check": {"path": "/health"}}})
}

/// The tags of an EC2 resource.
pub fn tags(found: &[aws_sdk_ec2::types::Tag]) -> Tags {
    found
        .iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
        .collect()
}

/// The outcome of each resource in the report of an execution.
pub fn outcomes(end: &End) -> Vec<(String, String)> {
    let resources = end.output["resources"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    resources
        .into_iter()
        .map(|(name, report)| (name, text(&report["outcome"]).to_owned()))
        .collect()
}

/// The resources of a report that are not unchanged.
pub fn touched(end: &End) -> Vec<String> {
    let outcomes = outcomes(end)
        .into_iter()
        .filter(|(_, outcome)| outcome != "unchanged");
    outcomes
        .map(|(name, outcome)| format!("{name} {outcome}"))
        .collect()
}
