//! Services without a stack, and how often they may be asked for.

use super::stage::{Stage, eventually, play};
use apprunner_emulator::{Arrangement, RunningSnapshot, ServiceStatus};
use rehearsal::{Limit, NewService};

/// What a service runs, once it is RUNNING.
pub(crate) async fn runs(stage: &Stage, arn: &str) -> RunningSnapshot {
    eventually(async || {
        let services = stage.local.apprunner().snapshot().services;
        let service = services.into_iter().find(|service| service.arn == arn)?;
        (service.status == ServiceStatus::Running).then_some(service.runs)
    })
    .await
}

#[test]
fn a_service_runs_the_digest_and_the_secret_versions_of_its_last_deployment() {
    play(async |stage| {
        let local = &stage.local;
        stage.repository("fleet").await;
        let digest = local.push_image("fleet", "latest", "amd64").await.unwrap();
        let secrets = local.aws().secrets_manager();
        let secret = secrets.create_secret().name("fleet").secret_string("one");
        let secret = secret.send().await.unwrap().arn.unwrap();
        let first = local.current_version(&secret).await.unwrap();
        let new = NewService {
            name: "fleet",
            image: &format!("fleet@{digest}"),
            secrets: &[("PASSWORD", &format!("{secret}:password::"))],
            ..NewService::default()
        };
        let arn = local.create_service(&new).await.unwrap();
        let running = runs(stage, &arn).await;
        assert_eq!(running.image_digest.as_deref(), Some(&digest[..]));
        assert_eq!(running.secret_versions["PASSWORD"], first);

        let second = local.rotate_secret(&secret, "two").await.unwrap();
        assert_eq!(runs(stage, &arn).await, running);
        let deploy = local.aws().apprunner().start_deployment();
        deploy.service_arn(&arn).send().await.unwrap();
        assert_eq!(runs(stage, &arn).await.secret_versions["PASSWORD"], second);
        assert_eq!(local.apprunner().complaints(), [] as [&str; 0]);
    });
}

#[test]
fn a_limit_lasts_and_shows_in_the_log_of_calls() {
    play(async |stage| {
        let local = &stage.local;
        let limit = Limit {
            service: "apprunner".into(),
            operation: "ListVpcConnectors".into(),
            per_second: 5.0,
        };
        local.limit(&limit).await.unwrap();
        // A client that does not try again.
        let config = local
            .sdk_config()
            .to_builder()
            .retry_config(aws_config::retry::RetryConfig::disabled());
        let apprunner = aws_sdk_apprunner::Client::new(&config.build());
        let ask = async || apprunner.list_vpc_connectors().send().await.is_ok();
        let mut allowed = 0;
        for _ in 0..20 {
            allowed += u32::from(ask().await);
        }
        assert!((5..10).contains(&allowed), "{allowed}");
        let calls = local.calls().await.unwrap();
        let refused = calls.iter().filter(|call| {
            call.action == "apprunner:ListVpcConnectors"
                && call.error.as_deref() == Some("ThrottlingException")
        });
        assert_eq!(refused.count() as u32, 20 - allowed);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert!(ask().await);
        local.clear_limits().await.unwrap();
        for _ in 0..20 {
            assert!(ask().await);
        }
    });
}

#[test]
fn three_hundred_services_are_made_in_seconds() {
    play(async |stage| {
        let local = &stage.local;
        let quota = Arrangement::Quota { services: 400 };
        local.apprunner().arrange(quota).unwrap();
        stage.repository("crowd").await;
        let digest = local.push_image("crowd", "latest", "amd64").await.unwrap();
        let begun = std::time::Instant::now();
        for n in 0..300 {
            let new = NewService {
                name: &format!("crowd-{n}"),
                image: &format!("crowd@{digest}"),
                tags: &[("crowd", "true")],
                secrets: &[],
            };
            local.create_service(&new).await.unwrap();
        }
        eprintln!("300 services after {:?}", begun.elapsed());
        eventually(async || {
            let services = local.apprunner().snapshot().services;
            let running = services.iter().filter(|service| {
                service.tags.contains_key("crowd") && service.status == ServiceStatus::Running
            });
            (running.count() == 300).then_some(())
        })
        .await;
        let crowd = aws_sdk_resourcegroupstagging::types::TagFilter::builder();
        let pages = local
            .aws()
            .tagging()
            .get_resources()
            .resource_type_filters("apprunner:service")
            .tag_filters(crowd.key("crowd").build())
            .resources_per_page(100)
            .into_paginator()
            .send()
            .try_collect()
            .await
            .unwrap();
        let sizes = pages
            .iter()
            .map(|page| page.resource_tag_mapping_list().len());
        assert_eq!(sizes.collect::<Vec<_>>(), [100, 100, 100]);
    });
}
