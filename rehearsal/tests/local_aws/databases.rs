//! Databases stop and start as RDS lets them, and tell it.

use super::stage::{Stage, eventually, play};
use aws_sdk_rds::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_rds::types::DbInstance;
use rehearsal::{Fault, FaultKind};
use tokio::sync::Mutex;

/// A fault strikes the next start, whichever it is.
static STARTS: Mutex<()> = Mutex::const_new(());

async fn create(stage: &Stage, name: &str) {
    let create = stage.local.aws().rds().create_db_instance();
    let create = create.db_instance_identifier(name).engine("postgres");
    let create = create
        .db_instance_class("db.t4g.micro")
        .allocated_storage(20);
    let create = create.master_username("root").backup_retention_period(1);
    let create = create.master_user_password("a-long-password");
    create.send().await.unwrap();
    becomes(stage, name, "available").await;
}

async fn found(stage: &Stage, name: &str) -> Option<DbInstance> {
    let describe = stage.local.aws().rds().describe_db_instances();
    let found = describe.db_instance_identifier(name).send().await.ok()?;
    found.db_instances?.pop()
}

async fn status(stage: &Stage, name: &str) -> Option<String> {
    found(stage, name).await?.db_instance_status
}

async fn becomes(stage: &Stage, name: &str, wanted: &str) {
    eventually(async || (status(stage, name).await.as_deref() == Some(wanted)).then_some(())).await;
}

/// The ids of the events about an instance, the oldest first.
async fn told(stage: &Stage, name: &str) -> Vec<String> {
    let kind = "RDS DB Instance Event";
    let events = stage.events(kind, "SourceIdentifier", name).await;
    let ids = events
        .iter()
        .map(|event| event.detail["EventID"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

/// A refusal's code and message.
fn refusal<T, E: ProvideErrorMetadata, R>(answer: Result<T, SdkError<E, R>>) -> (String, String) {
    let Err(error) = answer else {
        panic!("it is not refused")
    };
    let refused = error.as_service_error().unwrap().meta();
    (
        refused.code().unwrap().to_owned(),
        refused.message().unwrap().to_owned(),
    )
}

fn invalid_state(message: &str) -> (String, String) {
    ("InvalidDBInstanceState".to_owned(), message.to_owned())
}

#[test]
fn a_database_tells_when_it_is_created_stopped_started_and_deleted() {
    play(async |stage| {
        let rds = stage.local.aws().rds();
        create(stage, "told").await;
        let stop = rds.stop_db_instance().db_instance_identifier("told");
        let stopping = stop.send().await.unwrap().db_instance.unwrap();
        assert_eq!(stopping.db_instance_status(), Some("stopping"));
        becomes(stage, "told", "stopped").await;
        let alone = STARTS.lock().await;
        let start = rds.start_db_instance().db_instance_identifier("told");
        let starting = start.send().await.unwrap().db_instance.unwrap();
        assert_eq!(starting.db_instance_status(), Some("starting"));
        drop(alone);
        becomes(stage, "told", "available").await;
        let delete = rds.delete_db_instance().db_instance_identifier("told");
        delete.skip_final_snapshot(true).send().await.unwrap();
        let all = ["RDS-EVENT-0005", "RDS-EVENT-0087", "RDS-EVENT-0088"];
        let all: Vec<_> = all.into_iter().chain(["RDS-EVENT-0003"]).collect();
        eventually(async || (told(stage, "told").await == all).then_some(())).await;

        let events = stage.events("RDS DB Instance Event", "EventID", "RDS-EVENT-0087");
        let mut events = events.await;
        events.retain(|event| event.detail["SourceIdentifier"] == "told");
        let arn = "arn:aws:rds:us-east-1:123456789012:db:told";
        assert_eq!(events[0].source, "aws.rds");
        assert_eq!(events[0].resources, [arn]);
        let detail = &events[0].detail;
        assert_eq!(detail["SourceArn"], arn);
        assert_eq!(detail["SourceType"], "DB_INSTANCE");
        assert_eq!(detail["Message"], "DB instance stopped.");
        assert_eq!(detail["EventCategories"][0], "notification");
    });
}

#[test]
fn what_the_state_of_a_database_forbids_is_refused() {
    play(async |stage| {
        let rds = stage.local.aws().rds();
        let name = "states";
        create(stage, name).await;
        let start = || rds.start_db_instance().db_instance_identifier(name).send();
        let stop = || rds.stop_db_instance().db_instance_identifier(name).send();
        let not_stopped = "Instance states cannot be started as it is not in one of the following statuses: \
                           'stopped, inaccessible-encryption-credentials-recoverable'.";
        let not_available = "Instance states is not in available state.";
        assert_eq!(refusal(start().await), invalid_state(not_stopped));
        stop().await.unwrap();
        assert_eq!(refusal(stop().await), invalid_state(not_available));
        becomes(stage, name, "stopped").await;
        assert_eq!(refusal(stop().await), invalid_state(not_available));
        let modify = rds.modify_db_instance().db_instance_identifier(name);
        let modify = modify.backup_retention_period(3).send();
        assert_eq!(
            refusal(modify.await),
            invalid_state("Database instance is not in available state.")
        );
    });
}

#[test]
fn neither_a_replica_nor_its_source_can_be_stopped() {
    play(async |stage| {
        let rds = stage.local.aws().rds();
        create(stage, "source").await;
        let replica = rds.create_db_instance_read_replica();
        let replica = replica.db_instance_identifier("replica");
        let replica = replica.source_db_instance_identifier("source");
        replica.send().await.unwrap();
        becomes(stage, "replica", "available").await;
        for (name, message) in [
            ("replica", "Cannot stop or start a Read-Replica instance"),
            (
                "source",
                "Cannot stop or start an instance that has Read-Replica instances",
            ),
        ] {
            let stop = rds.stop_db_instance().db_instance_identifier(name);
            assert_eq!(refusal(stop.send().await), invalid_state(message));
            assert_eq!(status(stage, name).await.as_deref(), Some("available"));
        }
    });
}

#[test]
fn a_database_that_was_stopped_for_seven_days_starts_by_itself_and_says_why() {
    play(async |stage| {
        let local = &stage.local;
        create(stage, "week").await;
        assert!(local.seven_days_pass("week").await.is_err());
        let stop = local.aws().rds().stop_db_instance();
        stop.db_instance_identifier("week").send().await.unwrap();
        becomes(stage, "week", "stopped").await;
        let alone = STARTS.lock().await;
        local.seven_days_pass("week").await.unwrap();
        drop(alone);
        becomes(stage, "week", "available").await;
        assert_eq!(
            told(stage, "week").await[2..],
            ["RDS-EVENT-0154", "RDS-EVENT-0088"]
        );
        let stop = local.aws().rds().stop_db_instance();
        stop.db_instance_identifier("week").send().await.unwrap();
        becomes(stage, "week", "stopped").await;
        let alone = STARTS.lock().await;
        let at = "2030-12-01T19:04:00Z";
        local.seven_days_end("week", at).await.unwrap();
        drop(alone);
        let events = local.events().await.unwrap();
        let of_then = events.iter().filter(|event| event.time == at);
        let of_then: Vec<_> = of_then.map(|event| &event.detail["EventID"]).collect();
        assert_eq!(of_then, ["RDS-EVENT-0154"]);
    });
}

#[test]
fn a_start_can_fail_or_never_end() {
    play(async |stage| {
        let local = &stage.local;
        let rds = local.aws().rds();
        for (name, kind) in [
            ("stuck", FaultKind::Stuck),
            ("failing", FaultKind::Fails),
            ("stuck-by-itself", FaultKind::Stuck),
        ] {
            create(stage, name).await;
            let stop = rds.stop_db_instance().db_instance_identifier(name);
            stop.send().await.unwrap();
            becomes(stage, name, "stopped").await;
            let fault = Fault {
                service: "rds".into(),
                operation: "StartDBInstance".into(),
                kind,
                times: 1,
                seconds: 0.0,
            };
            let _alone = STARTS.lock().await;
            local.add_fault(&fault).await.unwrap();
            if name == "stuck-by-itself" {
                local.seven_days_pass(name).await.unwrap();
            } else {
                let start = rds.start_db_instance().db_instance_identifier(name);
                start.send().await.unwrap();
            }
        }
        becomes(stage, "failing", "failed").await;
        for (name, last) in [
            ("stuck", "RDS-EVENT-0087"),
            ("stuck-by-itself", "RDS-EVENT-0154"),
        ] {
            assert_eq!(status(stage, name).await.as_deref(), Some("starting"));
            assert_eq!(told(stage, name).await.last().unwrap(), last);
        }
    });
}
