//! Each function may do what it does, and nothing else: the actions that its role grants are the actions that a play
//! through every branch calls.

use crate::stage::{
    Service, Stage, assert_succeeded, eventually, is_of_database, play_alone, spec,
};
use apprunner_emulator::Arrangement;
use aws_sdk_cloudwatch::types::StateValue;
use groundcrew::memory::Uses;
use groundcrew::stack::TAG_INSTALLATION;
use rehearsal::{Scan, ScanStatus};
use serde_json::json;

/// An installation of groundcrew that there was.
const GONE: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:gone-deploy";

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
    let unbound = aws.iam().delete_role_permissions_boundary();
    let unbound = unbound.role_name("rich-prod-instance-us-east-1").send();
    unbound.await.expect("changed by hand");
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

    // The installation that has looked after it is gone.
    let service = Service::named(stage, "rich-prod");
    service.set_tag(TAG_INSTALLATION, GONE).await;

    // A later spec that differs in everything that can be changed.
    spec["image"] = json!({"immutable_tags": true, "keep": 5, "tag": "prefix:late"});
    spec["service"]["scaling"] = json!({"max_size": 7});
    spec["service"]["xray"] = json!(false);
    spec["database"]["storage_gib"] = json!(40);
    spec["log_retention_days"] = json!(7);
    // A parameter and a topic that are there.
    let put = aws.ssm().put_parameter().name("/rich/key").value("one");
    let kind = aws_sdk_ssm::types::ParameterType::String;
    put.r#type(kind).send().await.expect("put");
    let topic = aws.sns().create_topic().name("rich").send().await;
    let topic = topic.expect("created").topic_arn;
    spec["service"]["secrets"]["KEY"] =
        json!("arn:aws:ssm:us-east-1:123456789012:parameter/rich/key");
    spec["alarms"] = json!({"topic_arn": topic});
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
    // Somebody gave a role a policy, and the database is stopped, which it can be once its replica is gone.
    let attached = aws
        .iam()
        .attach_role_policy()
        .role_name("rich-prod-instance-us-east-1");
    let attached = attached.policy_arn("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess");
    attached.send().await.expect("changed by hand");
    let replica = aws
        .rds()
        .delete_db_instance()
        .db_instance_identifier("rich-prod-replica");
    let replica = replica.skip_final_snapshot(true).send().await;
    replica.expect("changed by hand");
    stage.database_is("rich-prod-replica", None).await;
    let stopped = aws
        .rds()
        .stop_db_instance()
        .db_instance_identifier("rich-prod");
    stopped.send().await.expect("changed by hand");
    stage.database_is("rich-prod", Some("stopped")).await;
    let removal = json!({"app": "rich", "environment": "prod", "ignore_deletion_protection": true});
    Service::named(stage, "rich-prod").quiet().await;
    // Nothing happens to the service any more, so that the function `alarms` does not replace it.
    stage.dashboard_of_0_1("rich", "prod").await;
    service.set_tag(TAG_INSTALLATION, GONE).await;
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

/// A managed service of its own, beside all stacks: with a secret, a scan that is asked for, and as many releases as are kept.
async fn granted<'a>(stage: &'a Stage, secret: &str) -> Service<'a> {
    let given = Service::given(stage, "granted").reads("PASSWORD", secret);
    let given = given.tagged(TAG_INSTALLATION, GONE);
    let mut given = given.policy("bake=1 findings=high");
    let release = format!("deployed sha256:{} why=long ago", "0a".repeat(32));
    for day in 1..=10 {
        let key = format!("groundcrew:release-2020-01-{day:02}T00:00:00Z");
        given = given.tagged(&key, &release);
    }
    given.create().await
}

/// Waits until a deployment has been settled, with this outcome for this image.
async fn released(service: &Service<'_>, outcome: &str, digest: &str) {
    let release = format!("{outcome} {digest}");
    let is_release = |key: &str| key.starts_with("groundcrew:release-");
    service
        .eventually(|seen| {
            let mut tags = seen.tags.iter();
            tags.any(|(key, value)| is_release(key) && value.starts_with(&release))
                && seen.tags["groundcrew:deploying"] == "none"
        })
        .await;
}

/// Pushes an image whose scan has found this, and only then tags it.
async fn push_scanned(service: &Service<'_>, tag: &str, severities: &[(&str, u32)]) -> String {
    let digest = service.push(tag).await;
    let severities = severities.iter();
    let severities = severities.map(|(severity, count)| ((*severity).to_owned(), *count));
    let scan = Scan {
        repository: service.name.clone(),
        digest: digest.clone(),
        status: ScanStatus::Complete,
        severities: severities.collect(),
    };
    let local = &service.stage.local;
    local.plant_scan(&scan).await.expect("planted");
    let tagged = local.tag_image(&service.name, &digest, "latest").await;
    tagged.expect("tagged");
    digest
}

/// Everything that makes `trigger` and `deploy` look, and everything that they find.
async fn play_every_deployment(stage: &Stage) {
    let secret = stage.secret("granted").await;
    let app = &granted(stage, &secret).await;

    // A push, whose release takes the place of the oldest; and a rotation.
    let second = push_scanned(app, "second", &[]).await;
    released(app, "deployed", &second).await;
    let rotated = stage.local.rotate_secret(&secret, "two").await;
    let version = rotated.expect("rotated");
    app.eventually(|seen| {
        seen.runs.secret_versions["PASSWORD"] == version
            && seen.tags["groundcrew:deploying"] == "none"
    })
    .await;

    // By name: held, with a claim whose execution nobody knows, and let go.
    let request = json!({"service": app.name, "hold": true});
    assert_succeeded(&stage.deploy(&request).await);
    let claim = format!("gone image none {} none none", "0a".repeat(32));
    app.set_tag("groundcrew:deploying", &claim).await;
    let request = json!({"service": app.name, "hold": false});
    assert_succeeded(&stage.deploy(&request).await);

    // Refused for what its scan found.
    let refused = push_scanned(app, "refused", &[("CRITICAL", 1)]).await;
    app.eventually(|seen| seen.tags.get("groundcrew:rejected-image") == Some(&refused))
        .await;

    // Pushed while it is paused, deployed when it is running again, and taken back for the requests that fail.
    app.set_tag("groundcrew:deploy-policy", "bake=60").await;
    app.alarm("errors", "5xxStatusResponses").await;
    app.pause_by_hand().await;
    let third = push_scanned(app, "third", &[]).await;
    app.resume_by_hand().await;
    app.has_come_to_run(&third).await;
    app.fails(true).await;
    released(app, "rolled-back", &third).await;

    // Not deployed, for which App Runner has a reason.
    app.next("UPDATE_SERVICE", json!("fails"));
    let fourth = push_scanned(app, "fourth", &[]).await;
    released(app, "failed", &fourth).await;

    // By hand, with what nobody can read: it is explained.
    app.set_tag("groundcrew:deploy-policy", "bake=long").await;
    let end = stage
        .deploy(&json!({"service": app.arn, "to": "previous"}))
        .await;
    assert_eq!(end.error, "Failed", "{}", end.message);
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

/// Lets alarms of the database of a stack be red, silent, and then tell.
async fn redden(service: &Service<'_>) {
    for alarm in service
        .has_alarms(9)
        .await
        .iter()
        .filter(|it| is_of_database(it))
    {
        let name = alarm.alarm_name().expect("a name");
        let disabled = service
            .stage
            .local
            .aws()
            .cloudwatch()
            .disable_alarm_actions();
        disabled.alarm_names(name).send().await.expect("off");
        service.turn(name, StateValue::Alarm).await;
    }
}

/// Everything that makes `alarms` look, and everything that it finds.
async fn play_every_operation(stage: &Stage) {
    let tags = [
        ("groundcrew:managed", "true"),
        ("groundcrew:app", "red"),
        ("groundcrew:environment", "test"),
    ];
    let database = stage.local.create_database("red-test", &tags).await;
    database.expect("a database");
    let red = Service::given(stage, "red-test").of_stack("red", "test");
    let red = red.create().await;
    redden(&red).await;
    red.pause_by_hand().await;
    red.resume_by_hand().await;
    tells(&red, true).await;
    let given = Service::given(stage, "followed-test");
    let service = given.of_stack("followed", "test").create().await;
    service.has_alarms(6).await;
    stage.dashboard_of_0_1("followed", "test").await;
    service.pause_by_hand().await;
    tells(&service, false).await;
    service.resume_by_hand().await;
    tells(&service, true).await;
    service.delete().await;
    service.has_alarms(0).await;
}

/// While no event comes `provision` is the first who makes alarms; and everything that a sweep finds is repaired.
async fn play_without_events(stage: &Stage) {
    let secret = stage.secret("swept").await;
    stage.local.lose_events(true).await.expect("lost");
    let mut unheard = spec("unheard");
    unheard["service"]["xray"] = json!(true);
    assert_succeeded(&stage.provision(&unheard).await);
    // What sleeps is woken if its spec asks for that.
    Service::named(stage, "unheard-dev").pause_by_hand().await;
    let stopped = stage.local.aws().rds().stop_db_instance();
    let stopped = stopped.db_instance_identifier("unheard-dev").send().await;
    stopped.expect("changed by hand");
    let mut woken = unheard;
    woken["wake"] = json!(true);
    assert_succeeded(&stage.provision_without_image(&woken).await);
    let given = |name, app| Service::given(stage, name).of_stack(app, "test");
    let all = [
        given("pushed-test", "pushed")
            .reads("PASSWORD", &secret)
            .create()
            .await,
        given("claimed-test", "claimed").create().await,
        given("itself-test", "itself").create().await,
        given("marked-test", "marked").create().await,
        given("busy-test", "busy").create().await,
    ];
    let [pushed, claimed, itself, marked, busy] = &all;
    pushed.push("latest").await;
    let claim = format!("gone image none {} none none", "0a".repeat(32));
    claimed.set_tag("groundcrew:deploying", &claim).await;
    stage.dashboard_of_0_1("marked", "test").await;
    itself.deploy_by_itself().await;
    marked
        .set_tag("groundcrew:parked", "2026-11-20T19:00:00Z")
        .await;
    marked.set_tag(TAG_INSTALLATION, GONE).await;
    busy.next("PAUSE_SERVICE", json!("stuck"));
    let paused = stage.local.aws().apprunner().pause_service();
    let paused = paused.service_arn(&busy.arn).send().await;
    paused.expect("accepted");

    // Of a stack that has no service.
    let tags = [
        ("groundcrew:managed", "true"),
        ("groundcrew:app", "left"),
        ("groundcrew:environment", "test"),
    ];
    let database = stage.local.create_database("left-test", &tags).await;
    database.expect("a database");

    let mut index = marked.memory_of::<Uses>().await;
    let lie = Uses {
        repository: Some("another".into()),
        ..Uses::default()
    };
    index.write(&stage.aws(), lie).await.expect("written");

    let everything = json!({});
    assert_succeeded(&stage.sweep(&everything).await);
    for service in [pushed, claimed, itself, marked] {
        service.has_alarms(6).await;
        service.quiet().await;
    }
    Service::named(stage, "unheard-dev")
        .set_tag(TAG_INSTALLATION, GONE)
        .await;
    // A stack that differs from its spec, while an execution is at work on another.
    let iam = stage.local.aws().iam().put_role_policy();
    let role = format!("unheard-dev-instance-{}", rehearsal::REGION);
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"},
    ]});
    let given = iam.role_name(role).policy_name("theirs");
    let given = given.policy_document(policy.to_string()).send().await;
    given.expect("given by hand");
    let machine = stage.output("ProvisionStateMachineArn");
    let mut waiting = spec("waiting");
    waiting["image"] = json!({"wait_minutes": 1440});
    let waits = stage.local.start_execution(machine, "waiting", &waiting);
    let waits = waits.await;
    let waits = waits.expect("started");
    itself.pause_by_hand().await;
    redden(&Service::named(stage, "red-test")).await;
    assert_succeeded(&stage.sweep(&everything).await);
    tells(itself, false).await;
    itself.resume_by_hand().await;
    assert_succeeded(&stage.sweep(&everything).await);
    tells(itself, true).await;
    itself.delete().await;
    pushed.delete().await;
    let aged = stage
        .local
        .age_log_groups("/aws/apprunner/itself-test/", 40.0);
    aged.await.expect("aged");
    assert_succeeded(&stage.sweep(&everything).await);
    itself.has_alarms(0).await;
    let pushed = stage.local.push_image("waiting-dev", "latest", "amd64");
    pushed.await.expect("pushed");
    assert_succeeded(&waits.end().await.expect("it ends"));
    stage.local.lose_events(false).await.expect("heard again");
}

#[test]
fn each_role_grants_exactly_the_actions_that_its_function_calls() {
    // No other scenario has this stage before: some roles are made at the first use of a service in an account.
    play_alone(&[("LogRetentionDays", "14")], |stage| async move {
        stage.local.clear_calls().await.expect("the log is cleared");
        tokio::join!(
            play_every_branch(stage),
            play_every_deployment(stage),
            play_every_operation(stage),
        );
        play_without_events(stage).await;
        for function in [
            "CreateFunction",
            "DeleteFunction",
            "DeployFunction",
            "TriggerFunction",
            "AlarmsFunction",
            "SweepFunction",
            "CompareFunction",
        ] {
            stage.assert_grants_what_it_calls(function).await;
        }
    });
}
