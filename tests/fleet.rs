//! A push that concerns a hundred services, or as many as the variable SERVICES says, in an account that App Runner throttles
//! at ten calls a second of each operation: in the time of a clock on the wall, because so are the limits.

use apprunner_emulator::{Arrangement, OperationType, ServiceStatus};
use rehearsal::{Limit, LocalAws, NewService, Options};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PER_SECOND: f64 = 10.0;

fn size() -> usize {
    let given = std::env::var("SERVICES").ok();
    given.map_or(100, |it| it.parse().expect("SERVICES is a number"))
}

fn arrange(local: &LocalAws, arrangement: Value) {
    let arrangement: Arrangement = serde_json::from_value(arrangement).expect("an arrangement");
    local.apprunner().arrange(arrangement).expect("arranged");
}

/// Services that run, before there is anybody who hears of it.
async fn fleet(local: &LocalAws, size: usize) -> String {
    let repository = local.aws().ecr().create_repository();
    let created = repository.repository_name("fleet").send().await;
    created.expect("a repository");
    let image = local
        .push_image("fleet", "latest", "amd64")
        .await
        .expect("pushed");
    arrange(local, json!({"kind": "quota", "services": size}));
    for n in 0..size {
        // A creation takes minutes, which is not what this is about.
        arrange(
            local,
            json!({"kind": "next-operation", "operation": "CREATE_SERVICE", "fate": {"takes": 0.001}}),
        );
        let (name, environment) = (format!("fleet-{n:03}"), format!("e{n}"));
        let new = NewService {
            name: &name,
            image: &format!("fleet@{image}"),
            tags: &[
                ("groundcrew:managed", "true"),
                ("groundcrew:app", "fleet"),
                ("groundcrew:environment", &environment),
                ("groundcrew:image-tag", "latest"),
            ],
            ..NewService::default()
        };
        // The first one waits for its role, which App Runner cannot assume for some seconds.
        while local.create_service(&new).await.is_err() {
            assert_eq!(n, 0, "created at once");
        }
    }
    while local
        .apprunner()
        .snapshot()
        .services
        .iter()
        .any(|service| service.status != ServiceStatus::Running)
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    image
}

fn updated(local: &LocalAws) -> usize {
    let services = local.apprunner().snapshot().services.into_iter();
    let updates = services.flat_map(|service| service.operations);
    updates
        .filter(|operation| operation.operation_type == OperationType::UpdateService)
        .count()
}

#[tokio::test]
async fn a_fleet_is_reached_below_ten_calls_a_second() {
    let size = size();
    let prepared = rehearsal::prepare()
        .await
        .expect("what the local AWS needs is there");
    let functions = rehearsal::build().await.expect("the functions build");
    let local = LocalAws::start(&prepared, Options { time_scale: 1.0 })
        .await
        .expect("the local AWS starts");
    fleet(&local, size).await;
    let template = rehearsal::root().join("template.yaml");
    local
        .deploy(&template, functions, &[])
        .await
        .expect("the template deploys");
    for operation in [
        "DescribeService",
        "ListOperations",
        "ListTagsForResource",
        "StartDeployment",
        "TagResource",
        "UpdateService",
    ] {
        let limit = Limit {
            service: "apprunner".into(),
            operation: operation.into(),
            per_second: PER_SECOND,
        };
        local.limit(&limit).await.expect("limited");
    }
    local.clear_calls().await.expect("cleared");

    let began = Instant::now();
    local
        .push_image("fleet", "latest", "amd64")
        .await
        .expect("pushed");
    let mut progress = 0;
    while updated(&local) < size {
        assert!(
            began.elapsed() < Duration::from_secs(400),
            "{} of {size} were reached",
            updated(&local)
        );
        if updated(&local) >= progress + 50 {
            progress = updated(&local);
            println!(
                "{progress} services after {:.0} s",
                began.elapsed().as_secs_f64()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let seconds = began.elapsed().as_secs_f64();

    let mut calls: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for call in local.calls().await.expect("the calls") {
        let (all, throttled) = calls.entry(call.action).or_default();
        *all += 1;
        *throttled += usize::from(call.error.as_deref() == Some("ThrottlingException"));
    }
    for (action, (all, throttled)) in calls
        .iter()
        .filter(|(action, _)| action.starts_with("apprunner:") || action.starts_with("tag:"))
    {
        println!("{action}: {all} calls, {throttled} of them throttled");
    }
    println!("{size} services in {seconds:.0} s");
    assert_eq!(updated(&local), size, "each once");
    let all: usize = calls.values().map(|(all, _)| all).sum();
    let throttled: usize = calls.values().map(|(_, throttled)| throttled).sum();
    assert!(
        throttled * 20 < all,
        "{throttled} of {all} calls were throttled: more than one in twenty"
    );
}
