//! Where scenarios are played: a local AWS, with groundcrew deployed to it or without.

mod service;

pub(crate) use service::{Service, is_of_database, watched};

use crate::contract::authorizations::{self, NEEDED, PARAMETERS, granted, policies_of};
use crate::documents;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use groundcrew::Aws;
use groundcrew::stack::Tags;
use rehearsal::promises::{Promise, check};
use rehearsal::{Authorization, End, LocalAws, Options, Outputs, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long something may take that has to happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(120);

/// A local AWS.
pub(crate) struct Stage {
    /// The local AWS.
    pub(crate) local: LocalAws,
    /// The outputs of the template; none where it is not deployed.
    pub(crate) outputs: Outputs,
    /// Whether other tests play on it meanwhile.
    is_shared: bool,
}

/// A stage that outlives its tests, with the parameters of its template.
struct Standing {
    parameters: Vec<(String, String)>,
    runtime: Runtime,
    stage: Stage,
}

/// The stage that tests share.
static SHARED: OnceLock<Standing> = OnceLock::new();

/// The stages that no test plays on now.
static FREE: Mutex<Vec<&'static Standing>> = Mutex::new(Vec::new());

/// Plays a scenario on the stage, beside others. The stage is set by whoever comes first.
pub(crate) fn play<F: Future>(scenario: impl FnOnce(&'static Stage) -> F) -> F::Output {
    let shared = SHARED.get_or_init(|| Standing::set(&[], true));
    shared.runtime.block_on(scenario(&shared.stage))
}

/// Plays a scenario that looks at everything, or disturbs everything: on a stage that is another's before or afterwards, but
/// not meanwhile. There come to be as many of them as there are such tests at once. That of a test that fails is not used again.
pub(crate) fn play_alone<F: Future>(
    parameters: &[(&str, &str)],
    scenario: impl FnOnce(&'static Stage) -> F,
) -> F::Output {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let parameters: Vec<_> = parameters.iter().map(owned).collect();
    let free = || FREE.lock().expect("nobody panics with it");
    let found = {
        let mut free = free();
        let position = free.iter().position(|it| it.parameters == parameters);
        position.map(|position| free.remove(position))
    };
    let one = found.unwrap_or_else(|| Box::leak(Box::new(Standing::set(&parameters, false))));
    let output = one.runtime.block_on(scenario(&one.stage));
    free().push(one);
    output
}

/// Plays on a stage of its own, where nothing is deployed and time passes so fast that the calls are the subject, not the
/// waiting: six minutes of RDS take 7 ms.
pub(crate) fn play_fast<T>(scenario: impl AsyncFnOnce(Stage) -> T) -> T {
    Runtime::new().expect("a runtime").block_on(async {
        let fast = Options {
            time_scale: 50_000.0,
        };
        scenario(Stage::bare(fast).await).await
    })
}

/// Plays on a stage of its own with groundcrew deployed, where so many seconds of AWS pass in one.
pub(crate) fn play_at<T>(
    time_scale: f64,
    parameters: &[(&str, &str)],
    scenario: impl AsyncFnOnce(Stage) -> T,
) -> T {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::bare(Options { time_scale }).await;
        let outputs = stage.set_up(parameters).await;
        scenario(Stage { outputs, ..stage }).await
    })
}

/// Waits for something: first often, for most of it is there soon.
///
/// # Panics
/// If it does not happen in time.
pub(crate) async fn eventually<T>(what: &str, is: impl AsyncFn() -> Option<T>) -> T {
    const LONGEST: Duration = Duration::from_millis(50);
    let seen = tokio::time::timeout(PATIENCE, async {
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(seen) = is().await {
                return seen;
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f64(1.3).min(LONGEST);
        }
    });
    seen.await
        .unwrap_or_else(|_| panic!("it did not happen: {what}"))
}

impl Standing {
    fn set(parameters: &[(String, String)], is_shared: bool) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let stage = runtime.block_on(Stage::set(parameters, is_shared));
        Self {
            parameters: parameters.to_vec(),
            runtime,
            stage,
        }
    }
}

/// The table that functions remember in, where there is no template that has it.
async fn memory(aws: &Aws) {
    let attribute = |name: &str| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        let attribute = attribute.attribute_type(ScalarAttributeType::S);
        attribute.build().expect("an attribute")
    };
    let key = |name: &str, kind| {
        let key = KeySchemaElement::builder().attribute_name(name);
        key.key_type(kind).build().expect("a key")
    };
    let table = aws.dynamodb().create_table();
    let table = table.table_name(&aws.account.memory);
    let table = table.billing_mode(BillingMode::PayPerRequest);
    let table = table.attribute_definitions(attribute("kind"));
    let table = table.attribute_definitions(attribute("subject"));
    let table = table.key_schema(key("kind", KeyType::Hash));
    let table = table.key_schema(key("subject", KeyType::Range));
    table.send().await.expect("a table");
}

impl Stage {
    async fn bare(options: Options) -> Self {
        let prepared = rehearsal::prepare().await;
        let prepared = prepared.expect("what the local AWS needs is there");
        let local = LocalAws::start(&prepared, options).await;
        let local = local.expect("the local AWS starts");
        memory(local.aws()).await;
        Self {
            local,
            outputs: Outputs::default(),
            is_shared: false,
        }
    }

    async fn set(parameters: &[(String, String)], is_shared: bool) -> Self {
        let parameters: Vec<_> = parameters.iter().map(|(a, b)| (&**a, &**b)).collect();
        let stage = Self::bare(Options::default()).await;
        Self {
            outputs: stage.set_up(&parameters).await,
            is_shared,
            ..stage
        }
    }

    /// Clients of the installation that is deployed, or of one that is not.
    pub(crate) fn aws(&self) -> Aws {
        let aws = self.local.aws();
        let mut account = aws.account.clone();
        if let Ok(table) = self.outputs.get("MemoryTable") {
            account.memory = table.to_owned();
            account.deploy_state_machine = self.output("DeployStateMachineArn").to_owned();
        }
        Aws::new(self.local.sdk_config(), aws.https.clone(), account)
    }

    /// The role of a function, by its name.
    pub(crate) async fn role(&self, function: &str) -> String {
        let part = format!("-{function}Role-");
        let listed = self.local.aws().iam().list_roles().send().await;
        let roles = listed.expect("roles").roles;
        let mut names = roles.into_iter().map(|role| role.role_name);
        names.find(|name| name.contains(&part)).expect("its role")
    }

    /// Deploys groundcrew as it is, or as it is again.
    pub(crate) async fn set_up(&self, parameters: &[(&str, &str)]) -> Outputs {
        let functions = rehearsal::build().await.expect("the functions build");
        let template = rehearsal::root().join("template.yaml");
        let deployed = self.local.deploy(&template, functions, parameters).await;
        deployed.expect("the template deploys")
    }

    /// The value of an output of the template.
    pub(crate) fn output(&self, name: &str) -> &str {
        self.outputs.get(name).expect("an output")
    }

    /// Starts `provision` and waits for its end. The image that a new stack waits for is pushed as soon as its
    /// repository is there.
    pub(crate) async fn provision(&self, spec: &Value) -> End {
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
    pub(crate) async fn provision_without_image(&self, spec: &Value) -> End {
        self.execute("ProvisionStateMachineArn", spec).await
    }

    /// Removes a stack for good, and waits for the end.
    pub(crate) async fn teardown(&self, spec: &Value) -> End {
        self.remove(&json!({
            "app": spec["app"],
            "environment": spec["environment"],
            "final_snapshot": false,
            "ignore_deletion_protection": true,
        }))
        .await
    }

    /// Starts `teardown` and waits for its end.
    pub(crate) async fn remove(&self, removal: &Value) -> End {
        self.execute("TeardownStateMachineArn", removal).await
    }

    /// Starts `deploy` and waits for its end.
    pub(crate) async fn deploy(&self, request: &Value) -> End {
        self.execute("DeployStateMachineArn", request).await
    }

    /// Starts `park` and waits for its end, and for the ends of the executions that it starts: that of one of them that fails
    /// is the answer.
    pub(crate) async fn park(&self, request: &Value) -> End {
        let end = self.execute("ParkStateMachineArn", request).await;
        let machine = self.output("ParkStateMachineArn");
        let ends = self.local.ends_of_started(machine, &end).await;
        let mut ends = ends.expect("they end").into_iter();
        ends.find(|end| !end.succeeded).unwrap_or(end)
    }

    /// Starts `sweep` and waits for its end.
    pub(crate) async fn sweep(&self, request: &Value) -> End {
        self.execute("SweepStateMachineArn", request).await
    }

    async fn execute(&self, output: &str, input: &Value) -> End {
        let machine = self.output(output);
        let execution = self.local.start_execution(machine, &name(), input).await;
        let execution = execution.expect("the execution starts");
        execution.end().await.expect("the execution ends")
    }

    /// A secret of this name, by its ARN.
    pub(crate) async fn secret(&self, name: &str) -> String {
        let created = self.local.aws().secrets_manager().create_secret();
        let created = created.name(name).secret_string("one").send().await;
        created.expect("created").arn.expect("an ARN")
    }

    /// Everything in the account.
    pub(crate) async fn world(&self) -> World {
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
    pub(crate) async fn traces(&self, stack: &str) -> Vec<String> {
        let world = &self.world().await;
        let begin = format!("{stack}-");
        let is_own = |part: &str| part == stack || part.starts_with(&begin);
        let secret = format!("/{}/", stack.replace('-', "/"));
        let apprunner = &world.apprunner;
        let all = [
            ("VPC", names(&world.vpcs, |it| name_of(it.tags()))),
            ("subnet", names(&world.subnets, |it| name_of(it.tags()))),
            (
                "route table",
                names(&world.route_tables, |it| name_of(it.tags())),
            ),
            (
                "security group",
                names(&world.security_groups, |it| it.group_name()),
            ),
            (
                "repository",
                names(&world.repositories, |it| it.repository_name()),
            ),
            ("secret", names(&world.secrets, |it| it.name())),
            (
                "database",
                names(&world.databases, |it| it.db_instance_identifier()),
            ),
            (
                "DB subnet group",
                names(&world.subnet_groups, |it| it.db_subnet_group_name()),
            ),
            ("role", names(&world.roles, |it| Some(it.role_name()))),
            ("service", names(&apprunner.services, |it| Some(&it.arn))),
            (
                "connector",
                names(&apprunner.vpc_connectors, |it| Some(&it.arn)),
            ),
            (
                "auto scaling",
                names(&apprunner.auto_scaling_configurations, |it| Some(&it.arn)),
            ),
            (
                "observability",
                names(&apprunner.observability_configurations, |it| Some(&it.arn)),
            ),
            ("alarm", names(&world.alarms, |it| it.alarm_name())),
            (
                "dashboard",
                names(&world.dashboards, |(name, _)| Some(name)),
            ),
            (
                "log group",
                names(&world.log_groups, |it| it.log_group_name()),
            ),
            ("topic", names(&world.topics, |(arn, _)| Some(arn))),
        ];
        let is_trace = |name: &str| name.split(['/', ':']).any(is_own) || name.contains(&secret);
        let of_kind = |(kind, names): (&str, Vec<&str>)| {
            let own = names.into_iter().filter(|name| is_trace(name));
            own.map(|name| format!("{kind} {name}")).collect::<Vec<_>>()
        };
        all.into_iter().flat_map(of_kind).collect()
    }

    /// The state of a database; `None` if there is none of this name.
    pub(crate) async fn database(&self, name: &str) -> Option<String> {
        let described = self.local.aws().rds().describe_db_instances().send().await;
        let mut found = described.expect("described").db_instances?.into_iter();
        let found = found.find(|it| it.db_instance_identifier() == Some(name))?;
        found.db_instance_status
    }

    /// Waits until a database is in a state, or gone.
    pub(crate) async fn database_is(&self, name: &str, status: Option<&str>) {
        let what = format!("the database {name} is {status:?}");
        eventually(&what, async || {
            (self.database(name).await.as_deref() == status).then_some(())
        })
        .await;
    }

    /// A dashboard as groundcrew 0.1 made it: it names its owner, and has no tags.
    pub(crate) async fn dashboard_of_0_1(&self, app: &str, environment: &str) -> String {
        let name = format!("{app}-{environment}-{}", rehearsal::REGION);
        let owner = format!(
            "groundcrew:app={app}\ngroundcrew:environment={environment}\ngroundcrew:managed=true"
        );
        let body = json!({"widgets": [{
            "type": "text", "width": 24, "height": 2, "properties": {"markdown": owner},
        }]});
        let put = self.local.aws().cloudwatch().put_dashboard();
        let put = put.dashboard_name(&name).dashboard_body(body.to_string());
        put.send().await.expect("a dashboard");
        name
    }

    /// The actions that the role of a function grants are those that it has called since the calls were cleared.
    ///
    /// # Panics
    /// If it was denied one, or never called one.
    pub(crate) async fn assert_grants_what_it_calls(&self, function: &str) {
        let role = format!("-{function}Role-");
        let mut calls = self.local.calls().await.expect("the calls are logged");
        calls.retain(|call| call.principal.contains(&role));
        let denied: Vec<_> = calls.iter().filter(|call| !call.allowed).collect();
        assert!(denied.is_empty(), "{function} is denied {denied:?}");
        // What its runtime does, which SAM grants: logs and traces.
        let logs = [
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:PutLogEvents",
        ];
        let of_runtime = |action: &str| logs.contains(&action) || action.starts_with("xray:");
        let called: BTreeSet<_> = calls
            .iter()
            .flat_map(|call| call.implied.iter().chain([&call.action]))
            .map(String::as_str)
            .filter(|action| !of_runtime(action))
            .collect();
        let policies = rehearsal::authorize(&[], &PARAMETERS).await;
        let roles = policies.expect("the template has roles").roles;
        let policies = policies_of(&roles[&format!("{function}Role")], &roles);
        let mut granted = granted(&policies);
        granted.remove("sqs:SendMessage"); // SAM adds it for the dead-letter queue of the function
        let granted: BTreeSet<_> = granted.iter().map(String::as_str).collect();
        let missing: Vec<_> = called.difference(&granted).collect();
        let idle: Vec<_> = granted.difference(&called).collect();
        assert!(
            missing.is_empty() && idle.is_empty(),
            "{function}: called and not granted {missing:?}, granted and never called {idle:?}"
        );
        assert!(!granted.is_empty(), "{function} has a role");
        calls.retain(|call| !of_runtime(&call.action));
        keep_as_needed(
            function,
            &authorizations::asked(function, &policies, &calls),
        );
    }
}

/// What a function has asked for belongs into the list that the policies are asked for without a local AWS. Who comes first to an
/// alarm is chance, so the list holds what any run has asked for; to begin anew, make it `[]`.
fn keep_as_needed(function: &str, asked: &[Authorization]) {
    let file = format!("{NEEDED}/{function}.json");
    let kept = || -> Vec<Authorization> {
        serde_json::from_value(documents::json(&file)).expect("a list")
    };
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        let path = rehearsal::root().join(&file);
        let mut all = [kept(), asked.to_vec()].concat();
        all.sort_by_key(|it| json!(it).to_string());
        all.dedup();
        std::fs::write(path, authorizations::written(&all)).expect("written");
    }
    let kept = kept();
    // Which services are there when somebody looks for others is chance, too: of what no tag decides, one of a type will do.
    let kind = |resource: &str| {
        let name = resource.splitn(6, ':').nth(5).unwrap_or_default();
        name.split(['/', ':']).next().map(str::to_owned)
    };
    let is_like = |it: &Authorization, other: &Authorization| {
        let untagged = it.keys.is_empty() && other.keys.is_empty();
        untagged && it.action == other.action && kind(&it.resource) == kind(&other.resource)
    };
    let is_known =
        |it: &Authorization| kept.contains(it) || kept.iter().any(|other| is_like(it, other));
    let new: Vec<_> = asked.iter().filter(|it| !is_known(it)).collect();
    assert!(
        new.is_empty(),
        "UPDATE_GENERATED=1 brings into {file}: {}",
        json!(new)
    );
}

fn names<'a, T>(
    found: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> Option<&'a str>,
) -> Vec<&'a str> {
    found.into_iter().filter_map(name).collect()
}

/// The name of an EC2 resource.
fn name_of(tags: &[aws_sdk_ec2::types::Tag]) -> Option<&str> {
    tags.iter().find(|tag| tag.key() == Some("Name"))?.value()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A name that no other execution has.
pub(crate) fn name() -> String {
    static NAMES: AtomicU32 = AtomicU32::new(1);
    format!("run-{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A small spec of a stack that nobody else uses.
pub(crate) fn spec(app: &str) -> Value {
    json!({"app": app, "environment": "dev", "service": {"health_check": {"path": "/health"}}})
}

/// The tags of an EC2 resource.
pub(crate) fn tags(found: &[aws_sdk_ec2::types::Tag]) -> Tags {
    found
        .iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
        .collect()
}

/// The outcome of each resource in the report of an execution.
pub(crate) fn outcomes(end: &End) -> Vec<(String, String)> {
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
pub(crate) fn touched(end: &End) -> Vec<String> {
    let outcomes = outcomes(end)
        .into_iter()
        .filter(|(_, outcome)| outcome != "unchanged");
    outcomes
        .map(|(name, outcome)| format!("{name} {outcome}"))
        .collect()
}

/// The execution succeeded.
///
/// # Panics
/// If it did not, with what it says.
pub(crate) fn assert_succeeded(end: &End) {
    assert!(end.succeeded, "{}: {}", end.error, end.message);
}

/// The promises that a rehearsal checks, too.
///
/// # Panics
/// If one of them is broken, with what shows that.
pub(crate) fn assert_kept<Scene>(promises: &[Promise<Scene>], scene: &Scene) {
    for promise in check(promises, scene) {
        let (id, sentence) = (promise.id, promise.sentence);
        promise
            .verdict
            .unwrap_or_else(|reason| panic!("{id}: {sentence}: {reason}"));
    }
}
