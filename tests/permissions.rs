//! Each function may do what it does, and nothing else: the actions that its role grants are the actions that a play
//! through every branch calls.

use apprunner_emulator::{Arrangement, ServiceSnapshot, ServiceStatus};
use aws_sdk_apprunner::types::Tag;
use aws_sdk_cloudwatch::types::{ComparisonOperator, Dimension, StateValue, Statistic};
use rehearsal::{End, NewService, Scan, ScanStatus};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tests::{Service, Stage, eventually, play_alone, spec};

/// How long something may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn assert_succeeded(end: &End) {
    assert!(end.succeeded, "{}: {}", end.error, end.message);
}

fn fails(service: &str, operation: &str) -> Arrangement {
    let arrangement = json!({"kind": "next-operation", "operation": operation, "service": service, "fate": "fails"});
    serde_json::from_value(arrangement).expect("an arrangement")
}

/// Everything that a spec can ask for, everything that a later one can change, and everything that can have been changed
/// by hand in between.
async fn play_every_branch(stage: &Stage) {
    let aws = stage.local.aws();
    let mut spec = json!({
        "app": "rich",
        "environment": "prod",
        "service": {
            "xray": true,
            "health_check": {"path": "/health"},
            "secrets": {"PASSWORD": "database:password"},
        },
        "database": {"read_replica": true},
        "alarms": {"email": "on-call@example.com"},
        "on_failure": "keep",
    });
    // A creation that fails and is rebuilt by an update, then one that has to be created anew.
    stage
        .local
        .apprunner()
        .arrange(fails("rich-prod", "CREATE_SERVICE"))
        .expect("arranged");
    assert!(!stage.provision(&spec).await.succeeded);
    stage
        .local
        .apprunner()
        .arrange(fails("rich-prod", "UPDATE_SERVICE"))
        .expect("arranged");
    assert_succeeded(&stage.provision(&spec).await);

    // By hand: the repository is no longer scanned, a role trusts somebody else, the database's group has lost its rule.
    let scanning = aws_sdk_ecr::types::ImageScanningConfiguration::builder()
        .scan_on_push(false)
        .build();
    aws.ecr()
        .put_image_scanning_configuration()
        .repository_name("rich-prod")
        .image_scanning_configuration(scanning)
        .send()
        .await
        .expect("changed by hand");
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    aws.iam()
        .update_assume_role_policy()
        .role_name("rich-prod-access-us-east-1")
        .policy_document(trust.to_string())
        .send()
        .await
        .expect("changed by hand");
    let world = stage.world().await;
    let group = world
        .security_groups
        .iter()
        .find(|group| group.group_name() == Some("rich-prod-database"))
        .expect("it exists");
    aws.ec2()
        .authorize_security_group_ingress()
        .group_id(group.group_id().expect("an id"))
        .ip_protocol("tcp")
        .from_port(22)
        .to_port(22)
        .cidr_ip("0.0.0.0/0")
        .send()
        .await
        .expect("changed by hand");

    // A later spec that differs in everything that can be changed.
    spec["image"] = json!({"immutable_tags": true, "keep": 5, "tag": "prefix:late"});
    spec["service"]["scaling"] = json!({"max_size": 7});
    spec["service"]["xray"] = json!(false);
    spec["database"]["storage_gib"] = json!(40);
    spec["log_retention_days"] = json!(7);
    let mut plan = spec.clone();
    plan["dry_run"] = json!(true);
    assert_succeeded(&stage.provision(&plan).await);
    stage
        .local
        .push_image("rich-prod", "late-1", "amd64")
        .await
        .expect("an image");
    assert_succeeded(&stage.provision_without_image(&spec).await);

    // Tracing once more, so that there is an observability configuration to remove.
    spec["service"]["xray"] = json!(true);
    assert_succeeded(&stage.provision_without_image(&spec).await);
    // An execution that ends right after the creation of the service has not tagged App Runner's log groups.
    let groups = stage.world().await.log_groups;
    for name in groups
        .iter()
        .filter_map(|group| group.log_group_name())
        .filter(|name| name.contains("/rich-prod/"))
    {
        let arn = aws.account.log_group_arn(name);
        aws.logs()
            .untag_resource()
            .resource_arn(arn)
            .tag_keys("groundcrew:created-by")
            .send()
            .await
            .expect("changed by hand");
    }
    let removal = json!({"app": "rich", "environment": "prod", "ignore_deletion_protection": true});
    assert_succeeded(&stage.remove(&removal).await);

    // The secret is restored; and a failure is undone.
    stage
        .local
        .apprunner()
        .arrange(fails("rich-prod", "CREATE_SERVICE"))
        .expect("arranged");
    spec["on_failure"] = json!("undo");
    spec["image"] = json!({"tag": "latest"});
    assert!(!stage.provision(&spec).await.succeeded);
}

/// A managed service of its own, beside all stacks.
struct App<'a> {
    stage: &'a Stage,
    arn: String,
}

impl<'a> App<'a> {
    const NAME: &'static str = "granted";

    /// With a secret, a scan that is asked for, and as many releases as are kept.
    async fn new(stage: &'a Stage, secret: &str) -> Self {
        let repository = stage.local.aws().ecr().create_repository();
        let repository = repository.repository_name(Self::NAME).send().await;
        repository.expect("a repository");
        let pushed = stage.local.push_image(Self::NAME, "latest", "amd64").await;
        let first = pushed.expect("pushed");
        let (release, days) = (format!("deployed {first} why=long ago"), 1..=10);
        let releases: Vec<_> = days
            .map(|day| format!("groundcrew:release-2020-01-{day:02}T00:00:00Z"))
            .collect();
        let mut tags = vec![
            ("groundcrew:managed", "true"),
            ("groundcrew:app", Self::NAME),
            ("groundcrew:environment", "test"),
            ("groundcrew:image-tag", "latest"),
            ("groundcrew:deploy-policy", "bake=1 findings=high"),
        ];
        tags.extend(releases.iter().map(|key| (key.as_str(), release.as_str())));
        let arn = stage
            .local
            .create_service(&NewService {
                name: Self::NAME,
                image: &format!("{}@{first}", Self::NAME),
                tags: &tags,
                secrets: &[("PASSWORD", secret)],
            })
            .await
            .expect("created");
        let app = Self { stage, arn };
        app.eventually(|seen| seen.status == ServiceStatus::Running)
            .await;
        app
    }

    fn look(&self) -> ServiceSnapshot {
        let services = self.stage.local.apprunner().snapshot().services;
        let found = services.into_iter().find(|service| service.arn == self.arn);
        found.expect("the service exists")
    }

    async fn eventually(&self, is: impl Fn(&ServiceSnapshot) -> bool) {
        let happened = tokio::time::timeout(PATIENCE, async {
            while !is(&self.look()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if happened.await.is_err() {
            panic!("it did not happen: {:#?}", self.look());
        }
    }

    /// Waits until a deployment has been settled, with this outcome for this image.
    async fn released(&self, outcome: &str, digest: &str) {
        let release = format!("{outcome} {digest}");
        self.eventually(|seen| {
            let is_release = |key: &str| key.starts_with("groundcrew:release-");
            let mut tags = seen.tags.iter();
            tags.any(|(key, value)| is_release(key) && value.starts_with(&release))
                && seen.tags["groundcrew:deploying"] == "none"
        })
        .await;
    }

    /// Pushes an image whose scan has found this, and only then tags it.
    async fn push(&self, name: &str, severities: &[(&str, u32)]) -> String {
        let local = &self.stage.local;
        let pushed = local.push_image(Self::NAME, name, "amd64").await;
        let digest = pushed.expect("pushed");
        let scan = Scan {
            repository: Self::NAME.into(),
            digest: digest.clone(),
            status: ScanStatus::Complete,
            severities: severities
                .iter()
                .map(|(severity, count)| ((*severity).to_owned(), *count))
                .collect(),
        };
        local.plant_scan(&scan).await.expect("planted");
        let tagged = local.tag_image(Self::NAME, &digest, "latest").await;
        tagged.expect("tagged");
        digest
    }

    async fn set(&self, key: &str, value: &str) {
        let tag = Tag::builder().key(key).value(value).build();
        let tagged = self.stage.local.aws().apprunner().tag_resource();
        let tagged = tagged.resource_arn(&self.arn).tags(tag).send().await;
        tagged.expect("tagged");
    }

    async fn alarm(&self) -> String {
        let id = self.arn.rsplit('/').next().expect("an id");
        let name = format!("{}-errors", Self::NAME);
        let alarm = self.stage.local.aws().cloudwatch().put_metric_alarm();
        alarm
            .alarm_name(&name)
            .namespace("AWS/AppRunner")
            .metric_name("5xxStatusResponses")
            .statistic(Statistic::Sum)
            .period(300)
            .evaluation_periods(1)
            .threshold(1.0)
            .comparison_operator(ComparisonOperator::GreaterThanOrEqualToThreshold)
            .dimensions(Dimension::builder().name("ServiceID").value(id).build())
            .send()
            .await
            .expect("an alarm");
        name
    }
}

/// Everything that makes `trigger` and `deploy` look, and everything that they find.
async fn play_every_deployment(stage: &Stage) {
    let aws = stage.local.aws();
    let secret = aws.secrets_manager().create_secret().name("granted");
    let secret = secret.secret_string("one").send().await;
    let secret = secret.expect("created").arn.expect("an ARN");
    let app = &App::new(stage, &secret).await;

    // A push, whose release takes the place of the oldest; and a rotation.
    let second = app.push("second", &[]).await;
    app.released("deployed", &second).await;
    let rotated = stage.local.rotate_secret(&secret, "two").await;
    let version = rotated.expect("rotated");
    app.eventually(|seen| {
        seen.runs.secret_versions["PASSWORD"] == version
            && seen.tags["groundcrew:deploying"] == "none"
    })
    .await;

    // By name: held, with a claim whose execution nobody knows, and let go.
    let request = json!({"service": App::NAME, "hold": true});
    assert_succeeded(&stage.deploy(&request).await);
    let claim = format!("gone image none {} none none", "0a".repeat(32));
    app.set("groundcrew:deploying", &claim).await;
    let request = json!({"service": App::NAME, "hold": false});
    assert_succeeded(&stage.deploy(&request).await);

    // Refused for what its scan found.
    let refused = app.push("refused", &[("CRITICAL", 1)]).await;
    app.eventually(|seen| seen.tags.get("groundcrew:rejected-image") == Some(&refused))
        .await;

    // Pushed while it is paused, deployed when it is running again, and taken back for an alarm.
    app.set("groundcrew:deploy-policy", "bake=60").await;
    let alarm = app.alarm().await;
    let paused = aws.apprunner().pause_service().service_arn(&app.arn);
    paused.send().await.expect("pausing");
    app.eventually(|seen| seen.status == ServiceStatus::Paused)
        .await;
    let third = app.push("third", &[]).await;
    let resumed = aws.apprunner().resume_service().service_arn(&app.arn);
    resumed.send().await.expect("resuming");
    app.eventually(|seen| {
        seen.runs.image_digest.as_ref() == Some(&third) && seen.status == ServiceStatus::Running
    })
    .await;
    let red = aws.cloudwatch().set_alarm_state().alarm_name(alarm);
    let red = red.state_value(StateValue::Alarm).state_reason("a test");
    red.send().await.expect("turned");
    app.released("rolled-back", &third).await;

    // By hand, with what nobody can read: it is explained.
    app.set("groundcrew:deploy-policy", "bake=long").await;
    let end = stage
        .deploy(&json!({"service": app.arn, "to": "previous"}))
        .await;
    assert_eq!(end.error, "Failed", "{}", end.message);
}

/// The tags of a service that is the only one of its stack, in the environment `test`.
fn tags(app: &str) -> [(&str, &str); 5] {
    [
        ("groundcrew:managed", "true"),
        ("groundcrew:app", app),
        ("groundcrew:environment", "test"),
        ("groundcrew:image-tag", "latest"),
        ("groundcrew:deploy-policy", "bake=0"),
    ]
}

async fn pause(service: &Service<'_>) {
    let paused = service.stage.local.aws().apprunner().pause_service();
    let paused = paused.service_arn(&service.arn).send().await;
    paused.expect("accepted");
    service.status_is(ServiceStatus::Paused).await;
}

async fn resume(service: &Service<'_>) {
    let resumed = service.stage.local.aws().apprunner().resume_service();
    let resumed = resumed.service_arn(&service.arn).send().await;
    resumed.expect("accepted");
    service.status_is(ServiceStatus::Running).await;
}

async fn tag(service: &Service<'_>, key: &str, value: &str) {
    let tag = Tag::builder().key(key).value(value).build();
    let tagged = service.stage.local.aws().apprunner().tag_resource();
    let tagged = tagged.resource_arn(&service.arn).tags(tag).send().await;
    tagged.expect("tagged");
}

async fn tells(service: &Service<'_>, tells: bool) {
    let what = format!("the alarms of {} tell: {tells}", service.name);
    eventually(&what, async || {
        let alarms = service.alarms().await;
        let mut all = alarms.iter();
        all.all(|alarm| alarm.actions_enabled() == Some(tells))
            .then_some(())
    })
    .await;
}

/// Everything that makes `alarms` look, and everything that it finds.
async fn play_every_operation(stage: &Stage) {
    let service = Service::new(stage, "followed-test", &tags("followed"), &[]).await;
    service.has_alarms(6).await;
    pause(&service).await;
    tells(&service, false).await;
    resume(&service).await;
    tells(&service, true).await;
    service.delete().await;
    service.has_alarms(0).await;
}

/// While no event comes `provision` is the first who makes alarms; and everything that a sweep finds is repaired.
async fn play_without_events(stage: &Stage) {
    let aws = stage.local.aws();
    let secret = aws.secrets_manager().create_secret().name("swept");
    let secret = secret.secret_string("one").send().await;
    let secret = secret.expect("created").arn.expect("an ARN");
    let secrets = [("PASSWORD", secret.as_str())];
    let new =
        async |app, secrets| Service::new(stage, &format!("{app}-test"), &tags(app), secrets).await;
    stage.local.lose_events(true).await.expect("lost");
    assert_succeeded(&stage.provision(&spec("unheard")).await);
    let all = [
        new("pushed", &secrets[..]).await,
        new("claimed", &[]).await,
        new("itself", &[]).await,
        new("marked", &[]).await,
        new("busy", &[]).await,
    ];
    let [pushed, claimed, itself, marked, busy] = &all;
    pushed.push("latest").await;
    let claim = format!("gone image none {} none none", "0a".repeat(32));
    tag(claimed, "groundcrew:deploying", &claim).await;
    let described = aws.apprunner().describe_service();
    let described = described.service_arn(&itself.arn).send().await;
    let source = described.expect("described").service.expect("a service");
    let mut source = source.source_configuration.expect("a source");
    source.auto_deployments_enabled = Some(true);
    let updated = aws.apprunner().update_service().service_arn(&itself.arn);
    let updated = updated.source_configuration(source).send().await;
    updated.expect("accepted");
    itself.status_is(ServiceStatus::Running).await;
    tag(marked, "groundcrew:parked", "2026-11-20T19:00:00Z").await;
    let stuck = json!({"kind": "next-operation", "operation": "PAUSE_SERVICE", "service": "busy-test", "fate": "stuck"});
    let stuck = serde_json::from_value(stuck).expect("an arrangement");
    stage.local.apprunner().arrange(stuck).expect("arranged");
    let paused = aws.apprunner().pause_service().service_arn(&busy.arn);
    paused.send().await.expect("accepted");

    // Of a stack that has no service.
    stage
        .local
        .create_database("left-test", &tags("left"))
        .await
        .expect("a database");

    let everything = json!({});
    assert_succeeded(&stage.sweep(&everything).await);
    for service in [pushed, claimed, itself, marked] {
        service.has_alarms(6).await;
        service.quiet().await;
    }
    pause(itself).await;
    assert_succeeded(&stage.sweep(&everything).await);
    tells(itself, false).await;
    resume(itself).await;
    assert_succeeded(&stage.sweep(&everything).await);
    tells(itself, true).await;
    itself.delete().await;
    assert_succeeded(&stage.sweep(&everything).await);
    itself.has_alarms(0).await;
    stage.local.lose_events(false).await.expect("heard again");
}

#[test]
fn each_role_grants_exactly_the_actions_that_its_function_calls() {
    play_alone(|stage| async move {
        stage.local.clear_calls().await.expect("the log is cleared");
        tokio::join!(
            play_every_branch(stage),
            play_every_deployment(stage),
            play_every_operation(stage),
        );
        play_without_events(stage).await;
        let calls = stage.local.calls().await.expect("the calls are logged");
        let world = stage.world().await;
        for function in [
            "CreateFunction",
            "DeleteFunction",
            "DeployFunction",
            "TriggerFunction",
            "AlarmsFunction",
            "SweepFunction",
        ] {
            let role = format!("-{function}Role-");
            let own = || calls.iter().filter(|call| call.principal.contains(&role));
            let denied: Vec<_> = own().filter(|call| !call.allowed).collect();
            assert!(denied.is_empty(), "{function} is denied {denied:?}");
            let called: BTreeSet<&str> = own()
                .flat_map(|call| {
                    call.implied
                        .iter()
                        .map(String::as_str)
                        .chain([call.action.as_str()])
                })
                // What the runtime itself does, which SAM grants: logs and traces.
                .filter(|action| {
                    ![
                        "logs:CreateLogStream",
                        "logs:PutLogEvents",
                        "logs:CreateLogGroup",
                    ]
                    .contains(action)
                        && !action.starts_with("xray:")
                })
                .collect();
            let policies: Vec<Value> = world
                .policies
                .iter()
                .filter(|(name, _)| name.contains(&role))
                .map(|(_, policy)| serde_json::from_str(policy).expect("a policy is JSON"))
                .collect();
            let granted: BTreeSet<&str> = policies
                .iter()
                .flat_map(|policy| policy["Statement"].as_array().expect("statements"))
                .flat_map(|statement| match &statement["Action"] {
                    Value::String(action) => vec![action.as_str()],
                    actions => actions
                        .as_array()
                        .expect("actions")
                        .iter()
                        .filter_map(Value::as_str)
                        .collect(),
                })
                // SAM adds it for the dead-letter queue of the function.
                .filter(|action| *action != "sqs:SendMessage")
                .collect();
            let missing: Vec<_> = called.difference(&granted).collect();
            let idle: Vec<_> = granted.difference(&called).collect();
            assert!(
                missing.is_empty() && idle.is_empty(),
                "{function}: called and not granted {missing:?}, granted and never called {idle:?}"
            );
            println!(
                "{function}: {} actions granted, all of them called",
                granted.len()
            );
        }
    });
}
