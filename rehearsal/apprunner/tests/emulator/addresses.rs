//! The addresses of services.

use std::time::{Duration, Instant};

use apprunner_emulator::{Arrangement, Fate, OperationType};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::world::{IMAGE, OTHER_IMAGE, World, create_request, source};

fn url(service: &Value) -> String {
    service["ServiceUrl"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_service_answers_its_health_path_over_tls_only_while_it_runs() {
    let world = World::start().await;
    world.next(OperationType::CreateService, Fate::Takes(3.0));
    let arn = world.create(create_request("shop-prod")).await;
    let url = url(&world.describe(&arn).await);
    assert_eq!(world.get(&url, "/health").await, None);
    world.settled(&arn).await;
    assert_eq!(
        world.get(&url, "/health").await,
        Some((200, json!({"status": "ok"})))
    );
    assert_eq!(
        world
            .get(&url.replace("localhost", "127.0.0.1"), "/health")
            .await
            .unwrap()
            .0,
        200
    );
    assert_eq!(world.get(&url, "/").await.unwrap().0, 404);

    world.next(OperationType::UpdateService, Fate::Takes(3.0));
    world
        .call(
            "UpdateService",
            json!({"ServiceArn": arn, "SourceConfiguration": source(OTHER_IMAGE)}),
        )
        .await
        .unwrap();
    assert_eq!(world.get(&url, "/health").await.unwrap().0, 200);
    world.settled(&arn).await;

    world
        .call("PauseService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    world.settled(&arn).await;
    assert_eq!(world.get(&url, "/health").await.unwrap().0, 503);
    world
        .call("ResumeService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    world.settled(&arn).await;
    assert_eq!(world.get(&url, "/health").await.unwrap().0, 200);

    world
        .call("DeleteService", json!({"ServiceArn": arn}))
        .await
        .unwrap();
    world.settled(&arn).await;
    wait_until(|| async { world.get(&url, "/health").await.is_none() }).await;
}

#[tokio::test]
async fn a_private_service_cannot_be_reached() {
    let world = World::start().await;
    let ingress = |public: bool| json!({"IngressConfiguration": {"IsPubliclyAccessible": public}});
    let mut request = create_request("shop-prod");
    request["NetworkConfiguration"] = ingress(false);
    let arn = world.create(request).await;
    let url = url(&world.settled(&arn).await);
    assert_eq!(world.get(&url, "/health").await, None);
    for public in [true, false, true] {
        world
            .call(
                "UpdateService",
                json!({"ServiceArn": arn, "NetworkConfiguration": ingress(public)}),
            )
            .await
            .unwrap();
        world.settled(&arn).await;
        assert_eq!(world.get(&url, "/health").await.is_some(), public);
    }
}

#[tokio::test]
async fn a_health_answer_can_be_arranged() {
    let world = World::start().await;
    let answers = |status: u16| {
        world.emulator.arrange(Arrangement::HealthAnswer {
            service: "shop-prod".into(),
            status,
        })
    };
    answers(500).unwrap();
    let arn = world.running("shop-prod").await;
    let url = url(&world.describe(&arn).await);
    assert_eq!(
        world.get(&url, "/health").await,
        Some((500, json!({"status": "failing"})))
    );
    answers(200).unwrap();
    assert_eq!(world.get(&url, "/health").await.unwrap().0, 200);
    assert!(answers(99).is_err() && answers(101).is_err());
}

#[tokio::test]
async fn an_image_can_answer_badly_wherever_it_runs() {
    let world = World::start().await;
    let answer =
        |digest: &str| json!({"exists": true, "digest": digest, "architectures": ["amd64"]});
    world.local_aws.set("shop@sha256:22", answer("sha256:22"));
    let arrangement = Arrangement::ImageAnswer {
        digest: "sha256:22".into(),
        status: 500,
    };
    world.emulator.arrange(arrangement).unwrap();
    let arn = world.running("shop-prod").await;
    let url = url(&world.describe(&arn).await);
    assert_eq!(world.get(&url, "/health").await.unwrap().0, 200);
    for (image, status) in [(OTHER_IMAGE, 500), (IMAGE, 200)] {
        let update = json!({"ServiceArn": arn, "SourceConfiguration": source(image)});
        world.call("UpdateService", update).await.unwrap();
        world.settled(&arn).await;
        assert_eq!(world.last_operation(&arn).await["Status"], "SUCCEEDED");
        assert_eq!(world.get(&url, "/health").await.unwrap().0, status);
    }
}

#[tokio::test]
async fn every_port_is_closed_when_the_emulator_is_dropped() {
    let world = World::start().await;
    let arn = world.running("shop-prod").await;
    let address = url(&world.describe(&arn).await).replace("localhost", "127.0.0.1");
    let endpoint = world.emulator.endpoint().replace("http://", "");
    TcpStream::connect(&address).await.unwrap();
    drop(world.emulator);
    assert!(TcpStream::connect(&address).await.is_err());
    assert!(TcpStream::connect(&endpoint).await.is_err());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_socket_that_listens_is_on_loopback() {
    let world = World::start().await;
    world.running("shop-prod").await;
    let mine: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter_map(|link| {
            Some(
                link.to_str()?
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let mut listening = 0;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        for line in std::fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let columns: Vec<&str> = line.split_whitespace().collect();
            // state 0A is LISTEN; 127.0.0.1 reads 0100007F
            if columns[3] == "0A" && mine.iter().any(|inode| inode == columns[9]) {
                assert!(columns[1].starts_with("0100007F:"), "{line}");
                listening += 1;
            }
        }
    }
    assert!(listening >= 2, "{listening}");
}

async fn wait_until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
