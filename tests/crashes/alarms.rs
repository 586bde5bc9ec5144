//! The connection of `alarms` is disturbed at every call: repeated, the alarms of a service end up as if nothing had happened.

use super::disturbance::{Disturbance, Kind, disturbed};
use crate::stage::{Service, Stage, play_fast};
use apprunner_emulator::ServiceStatus;
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, MetricAlarm, Statistic};
use groundcrew::arn::ServiceArn;
use std::collections::{BTreeMap, BTreeSet};

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

/// A local AWS with one image.
struct Scene {
    stage: Stage,
    image: String,
}

impl Scene {
    async fn set(stage: Stage) -> Self {
        let repository = stage.local.aws().ecr().create_repository();
        let repository = repository.repository_name(NAME).send().await;
        repository.expect("a repository");
        let image = stage.local.push_image(NAME, "latest", "amd64").await;
        let image = format!("{NAME}@{}", image.expect("pushed"));
        Self { stage, image }
    }

    /// The service that has the name now.
    fn find(&self) -> Option<Service<'_>> {
        let services = self.stage.local.apprunner().snapshot().services;
        let found = services.into_iter().find(|service| service.name == NAME)?;
        Some(Service::of(&self.stage, NAME, &found.arn))
    }

    fn service(&self) -> Service<'_> {
        self.find().expect("the service exists")
    }

    async fn create(&self) -> Service<'_> {
        let given = Service::given(&self.stage, NAME).with_only(&TAGS);
        given.runs(&self.image).create().await
    }

    async fn alarms(&self) -> Vec<MetricAlarm> {
        let described = self.stage.local.aws().cloudwatch().describe_alarms();
        let described = described.send().await.expect("described");
        described.metric_alarms.unwrap_or_default()
    }

    async fn delete_alarms(&self, names: Vec<String>) {
        let deleted = self.stage.local.aws().cloudwatch().delete_alarms();
        let deleted = deleted.set_alarm_names(Some(names)).send().await;
        deleted.expect("deleted");
    }

    /// Brings the alarms of a service in line, undisturbed.
    async fn follow(&self, arn: &str) -> Vec<String> {
        let service = ServiceArn::parse(arn).expect("an ARN");
        let followed = alarms::follow(self.stage.local.aws(), &service, TOPIC).await;
        followed.expect("undisturbed").changes().to_vec()
    }
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

/// Since when it sleeps.
const SINCE: &str = "2026-11-20T19:00:00Z";

/// What no function of ours made.
const BY_HAND: [&str; 3] = [
    "following-dev-by-hand",
    "following-dev-by-hand-too",
    "following-dev-x-cpu",
];

impl Scene {
    /// A service with a database, alarms that are in line with it, and others between them.
    async fn with_alarms(stage: Stage) -> Self {
        let scene = Self::set(stage).await;
        scene.create_database().await;
        let arn = scene.create().await.arn.clone();
        scene.follow(&arn).await;
        scene
    }

    async fn has_database(&self) -> bool {
        self.stage.database(NAME).await.is_some()
    }

    async fn create_database(&self) {
        let created = self.stage.local.create_database(NAME, &TAGS).await;
        created.expect("a database");
        self.stage.database_is(NAME, Some("available")).await;
    }

    async fn delete_database(&self) {
        let deleted = self.stage.local.aws().rds().delete_db_instance();
        let deleted = deleted.db_instance_identifier(NAME);
        let deleted = deleted.skip_final_snapshot(true).send().await;
        deleted.expect("accepted");
        self.stage.database_is(NAME, None).await;
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
            let alarm = self.stage.local.aws().cloudwatch().put_metric_alarm();
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
        let existing = self.stage.local.apprunner().snapshot();
        let mut existing = existing.auto_scaling_configurations.into_iter();
        let arn = match existing.find(|it| it.name == name) {
            Some(configuration) => Some(configuration.arn),
            None => {
                let created = self
                    .stage
                    .local
                    .aws()
                    .apprunner()
                    .create_auto_scaling_configuration();
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
        let updated = self.stage.local.aws().apprunner().update_service();
        let updated = updated
            .service_arn(&self.service().arn)
            .set_auto_scaling_configuration_arn(arn);
        updated.send().await.expect("accepted");
        self.service().status_is(ServiceStatus::Running).await;
    }

    /// Puts the service and its alarms back where they were before, and then lets it happen. Answers its ARN.
    async fn let_it_happen(&self, happened: Happened) -> String {
        if matches!(happened, Happened::GoneWithItsDatabase) && !self.has_database().await {
            self.create_database().await;
        }
        match self.find().map(|found| found.look().status) {
            None => drop(self.create().await),
            Some(ServiceStatus::Paused) if happened != Happened::Resumed => {
                self.service().resume_by_hand().await;
            }
            _ => {}
        }
        let service = self.service();
        let mut arn = service.arn.clone();
        match happened {
            Happened::Created => {
                let ours = self
                    .alarms()
                    .await
                    .into_iter()
                    .filter_map(|it| it.alarm_name);
                self.delete_alarms(ours.collect()).await;
                let dashboards = self.stage.local.aws().cloudwatch().delete_dashboards();
                // There is none yet, once.
                let _ = dashboards.dashboard_names(dashboard_name()).send().await;
                for group in self.log_groups(&arn).await.into_keys() {
                    let kept = self.stage.local.aws().logs().delete_retention_policy();
                    let kept = kept.log_group_name(group).send().await;
                    kept.expect("kept for ever");
                }
            }
            Happened::Recreated => {
                self.follow(&arn).await;
                service.delete().await;
                arn = self.create().await.arn.clone();
            }
            Happened::Paused | Happened::Parked => {
                service.set_tag("groundcrew:parked", "none").await;
                self.follow(&arn).await;
                service.pause_by_hand().await;
                if happened == Happened::Parked {
                    service.set_tag("groundcrew:parked", SINCE).await;
                }
            }
            Happened::Resumed => {
                if service.look().status == ServiceStatus::Running {
                    service.pause_by_hand().await;
                }
                service.set_tag("groundcrew:parked", SINCE).await;
                self.follow(&arn).await;
                service.set_tag("groundcrew:parked", "none").await;
                service.resume_by_hand().await;
            }
            Happened::Larger => {
                self.scale_to(3).await;
                self.follow(&arn).await;
                self.scale_to(7).await;
            }
            Happened::Gone | Happened::GoneWithItsDatabase => {
                self.follow(&arn).await;
                service.delete().await;
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
        let groups = self.stage.local.aws().logs().describe_log_groups();
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
        let dashboard = self.stage.local.aws().cloudwatch().get_dashboard();
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
            let most = &seen.alarms[&format!("{NAME}-instances-groundcrew")].threshold;
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
    format!("{NAME}-us-east-1-groundcrew")
}

/// Disturbs every call once in each way; the event is handled once more.
fn follow_whichever_call_is_disturbed(what_happens: &[Happened]) {
    play_fast(async |stage| {
        let scene = Scene::with_alarms(stage).await;
        for happened in what_happens.iter().copied() {
            let expected = scene.undisturbed(happened).await;
            let mut disturbances = 0;
            'kinds: for kind in Kind::ALL {
                for call in 0.. {
                    let arn = scene.let_it_happen(happened).await;
                    let disturbance = Disturbance::at(call, kind);
                    let service = ServiceArn::parse(&arn).expect("an ARN");
                    let local = &scene.stage.local;
                    let aws = disturbed(local, local.aws().account.clone(), &disturbance);
                    let followed = alarms::follow(&aws, &service, TOPIC).await;
                    let label = format!(
                        "{happened:?}, {kind:?} at call {call} ({})",
                        disturbance.calls()
                    );
                    if let Err(error) = followed {
                        assert!(error.is_retried(), "{label}: no retry of {error:?}");
                        scene.follow(&arn).await;
                    }
                    let seen = scene.seen(&arn).await;
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
