//! The connection of `alarms` and of `sweep` is disturbed at every call, and `sweep` is killed around it: repeated, the alarms
//! of a service end up as if nothing had happened, a look has written nothing, and a repair has started everything once.

#[expect(dead_code, reason = "the other crash tests disturb in more ways")]
mod disturbance;

use apprunner_emulator::{OperationType, ServiceSnapshot, ServiceStatus};
use aws_sdk_apprunner::types::Tag;
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, MetricAlarm, Statistic};
use disturbance::{Disturbance, Kind, disturbed};
use groundcrew::Aws;
use groundcrew::arn::ServiceArn;
use groundcrew::aws::Account;
use rehearsal::{LocalAws, NewService, Options};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use sweep::{Step, Surroundings};
use tokio::runtime::Runtime;

/// A database takes six minutes to create, which is 7 ms at this speed: the calls are the subject here, not the waiting.
const FAST: Options = Options {
    time_scale: 50_000.0,
};

/// The service that has the name of its stack, the database and the repository.
const NAME: &str = "following-dev";

/// What every alarm tells here.
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:groundcrew-notifications";

/// No word about alarms: they tell the topic of the function, for the stack has none of its own.
const TAGS: [(&str, &str); 3] = [
    ("groundcrew:managed", "true"),
    ("groundcrew:app", "following"),
    ("groundcrew:environment", "dev"),
];

/// A local AWS, with state machines in place of `deploy`, whose executions run on, and of `park`, whose executions end.
struct Stage {
    local: LocalAws,
    calm: Aws,
    surroundings: Surroundings,
    image: String,
}

impl Stage {
    async fn set() -> Self {
        let prepared = rehearsal::prepare()
            .await
            .expect("what the local AWS needs is there");
        let local = LocalAws::start(&prepared, FAST)
            .await
            .expect("the local AWS starts");
        let aws = local.aws();
        let repository = aws.ecr().create_repository().repository_name(NAME);
        repository.send().await.expect("a repository");
        let image = local.push_image(NAME, "latest", "amd64").await;
        let image = format!("{NAME}@{}", image.expect("pushed"));
        let endless = json!({"Type": "Wait", "Seconds": 99_999_999, "End": true});
        let deploy = machine(aws, "following-deploy", &endless).await;
        let park = machine(aws, "following-park", &json!({"Type": "Succeed"})).await;
        let account = Account {
            deploy_state_machine: deploy,
            ..aws.account.clone()
        };
        let calm = Aws::new(local.sdk_config(), aws.https.clone(), account);
        Self {
            local,
            calm,
            surroundings: Surroundings {
                notifications: TOPIC.into(),
                parking: r#"{"environments": "", "time_zone": "UTC", "sleep_from": "20:00", "sleep_until": "07:00",
                    "awake_days": "MON-FRI", "parked_dates": "", "awake_dates": ""}"#
                    .into(),
                park_state_machine: park,
                teardown_state_machine: "teardown".into(),
            },
            image,
        }
    }

    fn disturbed(&self, disturbance: &Disturbance) -> Aws {
        disturbed(&self.local, self.calm.account.clone(), disturbance)
    }

    fn services(&self) -> Vec<ServiceSnapshot> {
        self.local.apprunner().snapshot().services
    }

    /// The service that has this name now.
    fn find(&self, name: &str) -> Option<ServiceSnapshot> {
        self.services()
            .into_iter()
            .find(|service| service.name == name)
    }

    fn arn(&self, name: &str) -> String {
        self.find(name).expect("the service exists").arn
    }

    async fn is(&self, name: &str, status: ServiceStatus) {
        while self.find(name).is_none_or(|found| found.status != status) {
            pause().await;
        }
    }

    async fn create(&self, name: &str, tags: &[(&str, &str)]) {
        let new = NewService {
            name,
            image: &self.image,
            tags,
            ..NewService::default()
        };
        self.local.create_service(&new).await.expect("created");
        self.is(name, ServiceStatus::Running).await;
    }

    async fn delete(&self, name: &str) {
        let deleted = self.calm.apprunner().delete_service();
        let deleted = deleted.service_arn(self.arn(name)).send().await;
        deleted.expect("accepted");
        while self.find(name).is_some() {
            pause().await;
        }
    }

    async fn tag(&self, key: &str, value: &str) {
        let tag = Tag::builder().key(key).value(value).build();
        let tagged = self.calm.apprunner().tag_resource();
        let tagged = tagged.resource_arn(self.arn(NAME)).tags(tag).send().await;
        tagged.expect("tagged");
    }

    async fn pause(&self) {
        let paused = self.calm.apprunner().pause_service();
        let paused = paused.service_arn(self.arn(NAME)).send().await;
        paused.expect("accepted");
        self.is(NAME, ServiceStatus::Paused).await;
    }

    async fn resume(&self) {
        let resumed = self.calm.apprunner().resume_service();
        let resumed = resumed.service_arn(self.arn(NAME)).send().await;
        resumed.expect("accepted");
        self.is(NAME, ServiceStatus::Running).await;
    }

    async fn alarms(&self) -> Vec<MetricAlarm> {
        let described = self.calm.cloudwatch().describe_alarms().send().await;
        described
            .expect("described")
            .metric_alarms
            .unwrap_or_default()
    }

    async fn delete_alarms(&self, names: Vec<String>) {
        let deleted = self.calm.cloudwatch().delete_alarms();
        let deleted = deleted.set_alarm_names(Some(names)).send().await;
        deleted.expect("deleted");
    }

    /// Brings the alarms of a service in line, undisturbed.
    async fn follow(&self, arn: &str) -> Vec<String> {
        let service = ServiceArn::parse(arn).expect("an ARN");
        let followed = alarms::follow(&self.calm, &service, TOPIC).await;
        followed.expect("undisturbed").changes().to_vec()
    }
}

async fn machine(aws: &Aws, name: &str, state: &Value) -> String {
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole",
    }]});
    let role = aws.iam().create_role().role_name(name);
    let role = role.assume_role_policy_document(trust.to_string());
    let role = role.send().await.expect("a role").role.expect("a role").arn;
    let definition = json!({"StartAt": "Run", "States": {"Run": state}});
    let machine = aws.sfn().create_state_machine().name(name);
    let machine = machine.definition(definition.to_string()).role_arn(role);
    let machine = machine.send().await.expect("a state machine");
    machine.state_machine_arn
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

/// What becomes of a service while nobody looks after its alarms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Happened {
    /// It appeared: there are no alarms, no dashboard, and its logs are kept for ever.
    Created,
    /// It was deleted and created again: everything watches the id before.
    Recreated,
    /// Somebody has paused it.
    Paused,
    /// `park` has paused it, and stopped its database.
    Parked,
    /// It was resumed, by whomever.
    Resumed,
    /// It may have more instances.
    Larger,
    /// It is gone, and its database is not.
    Gone,
    /// It is gone, and so is its database.
    GoneWithItsDatabase,
}

/// The alarms of one service, its dashboard and how long its logs are kept.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    alarms: BTreeMap<String, Watching>,
    /// Whose dashboard there is.
    dashboard: Option<String>,
    retention: BTreeSet<Option<i32>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Watching {
    /// What it watches.
    what: BTreeSet<String>,
    threshold: String,
    tells: bool,
    topics: Vec<String>,
}

/// What no function of ours made.
const BY_HAND: [&str; 3] = [
    "following-dev-by-hand",
    "following-dev-by-hand-too",
    "following-dev-x-cpu",
];

impl Stage {
    /// A service with a database, alarms that are in line with it, and others between them.
    async fn with_alarms() -> Self {
        let stage = Self::set().await;
        stage.create_database().await;
        stage.create(NAME, &TAGS).await;
        stage.follow(&stage.arn(NAME)).await;
        stage
    }

    async fn has_database(&self) -> bool {
        let described = self.calm.rds().describe_db_instances().send().await;
        !described.expect("described").db_instances().is_empty()
    }

    async fn create_database(&self) {
        let created = self.local.create_database(NAME, &TAGS).await;
        created.expect("a database");
        loop {
            let described = self.calm.rds().describe_db_instances().send().await;
            let described = described.expect("described");
            if described.db_instances()[0].db_instance_status() == Some("available") {
                return;
            }
            pause().await;
        }
    }

    async fn delete_database(&self) {
        let deleted = self.calm.rds().delete_db_instance();
        let deleted = deleted
            .db_instance_identifier(NAME)
            .skip_final_snapshot(true);
        deleted.send().await.expect("accepted");
        while self.has_database().await {
            pause().await;
        }
    }

    /// Alarms on the service and on its database that somebody made by hand, and one of a stack whose name begins like ours.
    async fn neighbours(&self, id: &str) {
        let tags = [
            ("groundcrew:managed", "true"),
            ("groundcrew:app", NAME),
            ("groundcrew:environment", "x"),
        ];
        let tags = tags.map(|(key, value)| {
            let tag = aws_sdk_cloudwatch::types::Tag::builder();
            tag.key(key).value(value).build()
        });
        let watched = [
            ("ServiceID", id, None),
            ("DBInstanceIdentifier", NAME, None),
            ("ServiceID", "of-a-neighbour", Some(tags.into())),
        ];
        for (name, (dimension, value, tags)) in BY_HAND.into_iter().zip(watched) {
            let dimension = Dimension::builder().name(dimension).value(value).build();
            let alarm = self.calm.cloudwatch().put_metric_alarm();
            let alarm = alarm
                .alarm_name(name)
                .namespace("AWS/AppRunner")
                .metric_name("Requests")
                .statistic(Statistic::Sum)
                .period(300)
                .evaluation_periods(1)
                .threshold(1.0)
                .comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold)
                .dimensions(dimension)
                .alarm_actions(TOPIC)
                .set_tags(tags);
            alarm.send().await.expect("an alarm");
        }
    }

    async fn scale_to(&self, most: i32) {
        let name = format!("following-{most}");
        let existing = self.local.apprunner().snapshot();
        let mut existing = existing.auto_scaling_configurations.into_iter();
        let arn = match existing.find(|it| it.name == name) {
            Some(configuration) => Some(configuration.arn),
            None => {
                let created = self.calm.apprunner().create_auto_scaling_configuration();
                let created = created
                    .auto_scaling_configuration_name(name)
                    .max_size(most)
                    .send()
                    .await
                    .expect("created");
                let created = created.auto_scaling_configuration;
                created.and_then(|it| it.auto_scaling_configuration_arn)
            }
        };
        let updated = self.calm.apprunner().update_service();
        let updated = updated
            .service_arn(self.arn(NAME))
            .set_auto_scaling_configuration_arn(arn);
        updated.send().await.expect("accepted");
        self.is(NAME, ServiceStatus::Running).await;
    }

    /// Puts the service and its alarms back where they were before, and then lets it happen. Answers its ARN.
    async fn let_it_happen(&self, happened: Happened) -> String {
        if matches!(happened, Happened::GoneWithItsDatabase) && !self.has_database().await {
            self.create_database().await;
        }
        match self.find(NAME).map(|found| found.status) {
            None => self.create(NAME, &TAGS).await,
            Some(ServiceStatus::Paused) if happened != Happened::Resumed => self.resume().await,
            _ => {}
        }
        let mut arn = self.arn(NAME);
        match happened {
            Happened::Created => {
                let ours = self
                    .alarms()
                    .await
                    .into_iter()
                    .filter_map(|it| it.alarm_name);
                self.delete_alarms(ours.collect()).await;
                let dashboards = self.calm.cloudwatch().delete_dashboards();
                // There is none yet, once.
                let _ = dashboards.dashboard_names(dashboard_name()).send().await;
                for group in self.log_groups(&arn).await.into_keys() {
                    let kept = self.calm.logs().delete_retention_policy();
                    let kept = kept.log_group_name(group).send().await;
                    kept.expect("kept for ever");
                }
            }
            Happened::Recreated => {
                self.follow(&arn).await;
                self.delete(NAME).await;
                self.create(NAME, &TAGS).await;
                arn = self.arn(NAME);
            }
            Happened::Paused | Happened::Parked => {
                self.tag("groundcrew:parked", "none").await;
                self.follow(&arn).await;
                self.pause().await;
                if happened == Happened::Parked {
                    self.tag("groundcrew:parked", "2026-11-20T19:00:00Z").await;
                }
            }
            Happened::Resumed => {
                if self.find(NAME).expect("it exists").status == ServiceStatus::Running {
                    self.pause().await;
                }
                self.tag("groundcrew:parked", "2026-11-20T19:00:00Z").await;
                self.follow(&arn).await;
                self.tag("groundcrew:parked", "none").await;
                self.resume().await;
            }
            Happened::Larger => {
                self.scale_to(3).await;
                self.follow(&arn).await;
                self.scale_to(7).await;
            }
            Happened::Gone | Happened::GoneWithItsDatabase => {
                self.follow(&arn).await;
                self.delete(NAME).await;
                if happened == Happened::GoneWithItsDatabase {
                    self.delete_database().await;
                }
            }
        }
        self.neighbours(id(&arn)).await;
        arn
    }

    /// For how many days each of its log groups is kept.
    async fn log_groups(&self, arn: &str) -> BTreeMap<String, Option<i32>> {
        let groups = self.calm.logs().describe_log_groups();
        let prefix = format!("/aws/apprunner/{NAME}/{}/", id(arn));
        let groups = groups.log_group_name_prefix(prefix).send().await;
        let groups = groups.expect("described").log_groups.unwrap_or_default();
        let named = groups.into_iter();
        let named = named.filter_map(|it| Some((it.log_group_name?, it.retention_in_days)));
        named.collect()
    }

    async fn seen(&self, arn: &str) -> Seen {
        let named = |value: &str| match value {
            value if value == id(arn) => "the service".to_owned(),
            value => value.to_owned(),
        };
        let alarms = self.alarms().await.into_iter().map(|alarm| {
            let queries = alarm.metrics().iter();
            let of_queries = queries
                .filter_map(|query| query.metric_stat()?.metric())
                .flat_map(|metric| metric.dimensions());
            let all = alarm.dimensions().iter().chain(of_queries);
            let watching = Watching {
                what: all.filter_map(|it| it.value().map(named)).collect(),
                threshold: format!("{:?}", alarm.threshold()),
                tells: alarm.actions_enabled() == Some(true),
                topics: alarm.alarm_actions().to_vec(),
            };
            (alarm.alarm_name.unwrap_or_default(), watching)
        });
        let alarms = alarms.collect();
        let dashboard = self.calm.cloudwatch().get_dashboard();
        let dashboard = dashboard.dashboard_name(dashboard_name()).send().await;
        let body = dashboard.ok().and_then(|found| found.dashboard_body);
        let whose = |body: String| match body.contains(id(arn)) {
            true => "the service's".to_owned(),
            false => "of another id".to_owned(),
        };
        Seen {
            alarms,
            dashboard: body.map(whose),
            retention: self.log_groups(arn).await.into_values().collect(),
        }
    }

    /// What undisturbed following comes to: looked at closely, because everything else is compared with it.
    async fn undisturbed(&self, happened: Happened) -> Seen {
        let arn = self.let_it_happen(happened).await;
        let before = self.seen(&arn).await;
        let changes = self.follow(&arn).await;
        assert!(
            !changes.is_empty(),
            "{happened:?}: there is something to do"
        );
        let seen = self.seen(&arn).await;
        assert_eq!(
            self.follow(&arn).await,
            Vec::<String>::new(),
            "{happened:?}"
        );
        for name in BY_HAND {
            assert_eq!(seen.alarms[name], before.alarms[name], "{happened:?}");
        }
        let ours = || {
            let all = seen.alarms.iter();
            all.filter(|(name, _)| !BY_HAND.contains(&name.as_str()))
        };
        let (databases, services): (Vec<_>, Vec<_>) =
            ours().partition(|(name, _)| name.contains("-database-"));
        let number = match happened {
            Happened::Gone => (3, 0),
            Happened::GoneWithItsDatabase => (0, 0),
            _ => (3, 6),
        };
        assert_eq!((databases.len(), services.len()), number, "{seen:#?}");
        for (name, alarm) in &services {
            let what = BTreeSet::from(["the service".to_owned(), NAME.to_owned()]);
            assert_eq!(alarm.what, what, "{name}: {seen:#?}");
            let silent = [Happened::Paused, Happened::Parked].contains(&happened);
            assert_eq!(alarm.tells, !silent, "{happened:?}: {name}");
        }
        for (name, alarm) in &databases {
            let silent = happened == Happened::Parked;
            assert_eq!(alarm.tells, !silent, "{happened:?}: {name}");
        }
        for (name, alarm) in ours() {
            assert_eq!(alarm.topics, [TOPIC], "{name}");
        }
        if happened == Happened::Larger {
            let most = &seen.alarms[&format!("{NAME}-instances")].threshold;
            assert_eq!(most, "Some(7.0)");
        }
        let dashboard = (happened != Happened::GoneWithItsDatabase).then_some("the service's");
        assert_eq!(seen.dashboard.as_deref(), dashboard, "{happened:?}");
        if !services.is_empty() {
            assert_eq!(seen.retention, BTreeSet::from([Some(30)]), "{happened:?}");
        }
        seen
    }
}

fn id(arn: &str) -> &str {
    arn.rsplit('/').next().expect("an id")
}

fn dashboard_name() -> String {
    format!("{NAME}-us-east-1")
}

/// Disturbs every call once in each way; the event is handled once more.
fn follow_whichever_call_is_disturbed(what_happens: &[Happened]) {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::with_alarms().await;
        for happened in what_happens.iter().copied() {
            let expected = stage.undisturbed(happened).await;
            let mut disturbances = 0;
            'kinds: for kind in Kind::ALL {
                for call in 0.. {
                    let arn = stage.let_it_happen(happened).await;
                    let disturbance = Disturbance::at(call, kind);
                    let service = ServiceArn::parse(&arn).expect("an ARN");
                    let aws = stage.disturbed(&disturbance);
                    let followed = alarms::follow(&aws, &service, TOPIC).await;
                    let label = format!(
                        "{happened:?}, {kind:?} at call {call} ({})",
                        disturbance.call()
                    );
                    if let Err(error) = followed {
                        assert!(error.is_retried(), "{label}: no retry of {error:?}");
                        stage.follow(&arn).await;
                    }
                    let seen = stage.seen(&arn).await;
                    assert!(
                        seen == expected,
                        "{label}: expected {expected:#?}, found {seen:#?}"
                    );
                    if !disturbance.struck() {
                        continue 'kinds;
                    }
                    disturbances += 1;
                }
            }
            println!("{happened:?}: {disturbances} disturbances");
        }
    });
}

#[test]
fn a_service_that_appears_has_its_alarms_whichever_call_is_disturbed() {
    follow_whichever_call_is_disturbed(&[Happened::Created, Happened::Recreated]);
}

#[test]
fn alarms_are_silent_while_their_service_is_paused_and_only_then_whichever_call_is_disturbed() {
    follow_whichever_call_is_disturbed(&[Happened::Paused, Happened::Parked, Happened::Resumed]);
}

#[test]
fn the_alarm_on_the_most_instances_knows_how_many_that_are_whichever_call_is_disturbed() {
    follow_whichever_call_is_disturbed(&[Happened::Larger]);
}

#[test]
fn a_service_that_is_gone_leaves_no_alarm_whichever_call_is_disturbed() {
    follow_whichever_call_is_disturbed(&[Happened::Gone, Happened::GoneWithItsDatabase]);
}

/// A stack in which everything is the matter that a sweep can repair.
impl Stage {
    async fn with_findings() -> Self {
        let stage = Self::set().await;
        // The service of the stack is marked as parked, and awake; and of its two images it runs the older one.
        let tags = [
            &TAGS[..],
            &[
                ("groundcrew:image-tag", "latest"),
                ("groundcrew:parked", "2026-11-20T19:00:00Z"),
            ],
        ];
        stage.create(NAME, &tags.concat()).await;
        stage.create(WORKER, &TAGS).await;
        for service in [NAME, WORKER] {
            stage.follow(&stage.arn(service)).await;
        }
        let pushed = stage.local.push_image(NAME, "latest", "amd64").await;
        pushed.expect("pushed");
        stage.lose_an_alarm().await;
        stage.deploy_by_itself().await;
        stage
    }

    async fn lose_an_alarm(&self) {
        self.delete_alarms(vec![format!("{NAME}-memory")]).await;
    }

    async fn deploy_by_itself(&self) {
        let described = self.calm.apprunner().describe_service();
        let described = described.service_arn(self.arn(WORKER)).send().await;
        let service = described.expect("described").service.expect("a service");
        let mut source = service.source_configuration.expect("a source");
        source.auto_deployments_enabled = Some(true);
        let updated = self.calm.apprunner().update_service();
        let updated = updated
            .service_arn(self.arn(WORKER))
            .source_configuration(source);
        updated.send().await.expect("accepted");
        self.is(WORKER, ServiceStatus::Running).await;
    }

    async fn step(&self, aws: &Aws, input: &Value) -> Value {
        let step = Step::parse(input.clone()).expect("a step");
        let answer = step.handle(aws, &self.surroundings).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", input["action"]))
    }

    async fn executions(&self, machine: &str) -> usize {
        let found = self.local.executions(machine, "").await;
        found.expect("listed").len()
    }

    /// What repairs have come to until now.
    async fn done(&self) -> Done {
        let worker = self.find(WORKER).expect("it exists");
        let updates = worker.operations.iter();
        let automatic = &worker.description["SourceConfiguration"]["AutoDeploymentsEnabled"];
        Done {
            deployments: self
                .executions(&self.calm.account.deploy_state_machine)
                .await,
            parkings: self.executions(&self.surroundings.park_state_machine).await,
            updates: updates
                .filter(|it| it.operation_type == OperationType::UpdateService)
                .count(),
            deploys_by_itself: automatic == true,
            alarms: self.alarms().await.len(),
        }
    }
}

/// A second service of the stack.
const WORKER: &str = "following-worker";

#[derive(Debug, Eq, PartialEq)]
struct Done {
    deployments: usize,
    parkings: usize,
    updates: usize,
    deploys_by_itself: bool,
    alarms: usize,
}

#[test]
fn a_look_finds_everything_and_writes_nothing_whichever_call_is_disturbed() {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::with_findings().await;
        let look = json!({
            "action": "look", "stacks": [{"app": "following", "environment": "dev"}], "dry_run": false,
            "room": 10_000,
        });
        let expected = stage.step(&stage.calm, &look).await;
        let findings = expected["findings"].as_array().expect("findings");
        let remedies: Vec<_> = findings
            .iter()
            .map(|finding| finding["remedy"].clone())
            .collect();
        let [main, worker] = [NAME, WORKER].map(|name| stage.arn(name));
        let wanted = [
            json!({"alarms": main}),
            json!({"deploy": main}),
            json!({"end-auto-deployments": worker}),
            json!("park"),
        ];
        assert_eq!(remedies, wanted, "{expected:#}");
        stage.local.clear_calls().await.expect("cleared");
        let mut disturbances = 0;
        'kinds: for kind in Kind::ALL {
            for call in 0.. {
                let disturbance = Disturbance::at(call, kind);
                let found = stage.step(&stage.disturbed(&disturbance), &look).await;
                let label = format!("{kind:?} at call {call} ({})", disturbance.call());
                assert_eq!(found, expected, "{label}");
                let calls = stage.local.calls().await.expect("listed");
                let writes: Vec<_> = calls.iter().filter(|call| call.writes()).collect();
                assert!(writes.is_empty(), "{label}: {writes:#?}");
                stage.local.clear_calls().await.expect("cleared");
                if !disturbance.struck() {
                    assert!(!calls.is_empty(), "they are listed");
                    continue 'kinds;
                }
                disturbances += 1;
            }
        }
        println!("{disturbances} disturbances of a look");
    });
}

#[test]
fn a_repair_does_everything_once_whichever_call_is_disturbed_and_wherever_it_is_killed() {
    Runtime::new().expect("a runtime").block_on(async {
        let stage = Stage::with_findings().await;
        let [main, worker] = [NAME, WORKER].map(|name| stage.arn(name));
        let finding = |remedy: Value| json!({"of": "service", "what": "is the matter", "remedy": remedy});
        let findings = [
            json!({"alarms": main}),
            json!({"deploy": main}),
            json!({"deploy": worker}),
            json!({"end-auto-deployments": worker}),
            json!("park"),
            json!({"person": "Look at it"}),
        ];
        let findings = findings.map(finding);
        let mut sweeps = 0;
        let (mut disturbances, mut killed) = (0, 0);
        for (kind, kills) in Kind::ALL
            .map(|kind| (kind, false))
            .into_iter()
            .chain([(Kind::CutBefore, true), (Kind::CutAfter, true)])
        {
            for call in 0.. {
                sweeps += 1;
                stage.lose_an_alarm().await;
                if !stage.done().await.deploys_by_itself {
                    stage.deploy_by_itself().await;
                }
                let before = stage.done().await;
                let repair = json!({
                    "action": "repair", "findings": findings, "execution": format!("sweep-{sweeps}"),
                    "room": 10_000,
                });
                let disturbance = Disturbance::at(call, kind);
                let aws = stage.disturbed(&disturbance);
                tokio::select! {
                    answer = stage.step(&aws, &repair) => assert_all_repaired(&answer, &disturbance),
                    () = struck(&disturbance), if kills => {}
                }
                let label = format!("{kind:?} at call {call} ({}), killed: {kills}", disturbance.call());
                let repeated = stage.step(&stage.calm, &repair).await;
                assert_all_repaired(&repeated, &disturbance);
                stage.is(WORKER, ServiceStatus::Running).await;
                let expected = Done {
                    deployments: before.deployments + 2,
                    parkings: before.parkings + 1,
                    updates: before.updates + 1,
                    deploys_by_itself: false,
                    alarms: before.alarms + 1,
                };
                assert_eq!(stage.done().await, expected, "{label}");
                if !disturbance.struck() {
                    break;
                }
                disturbances += usize::from(!kills);
                killed += usize::from(kills);
            }
        }
        println!("{disturbances} disturbances of a repair, killed {killed} times");
    });
}

fn assert_all_repaired(answer: &Value, disturbance: &Disturbance) {
    let count = |kind: &str| {
        let lines = answer[kind]["lines"].as_array().expect("lines").len();
        lines as u64 + answer[kind]["more"].as_u64().expect("a number")
    };
    let counted = ["repaired", "for_a_person", "failed"].map(count);
    assert_eq!(counted, [5, 1, 0], "{}: {answer:#}", disturbance.call());
}

async fn struck(disturbance: &Disturbance) {
    while !disturbance.struck() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A call that takes effect before its answer is lost has to reach AWS.
    tokio::time::sleep(Duration::from_millis(30)).await;
}
