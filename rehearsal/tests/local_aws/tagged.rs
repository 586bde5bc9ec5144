//! The Resource Groups Tagging API finds services, databases and alarms by their tags.

use super::stage::play;
use aws_sdk_resourcegroupstagging::Client;
use aws_sdk_resourcegroupstagging::types::TagFilter;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn services_are_found_by_tag_page_by_page() {
    play(async |stage| {
        let apprunner = stage.local.aws().apprunner();
        let mut created = BTreeSet::new();
        for n in 0..5 {
            let request = super::stage::service(apprunner, &format!("tagged-{n}"));
            let request = if n < 4 {
                request.tags(super::stage::tag("groundcrew:managed", "true"))
            } else {
                request
            };
            let service = request.send().await.unwrap().service.unwrap();
            if n < 4 {
                created.insert(service.service_arn);
            }
        }
        let tagging = Client::new(stage.local.sdk_config());
        let managed = TagFilter::builder()
            .key("groundcrew:managed")
            .values("true");
        let mut found = BTreeSet::new();
        let mut token = None;
        let mut pages = 0;
        loop {
            let page = tagging
                .get_resources()
                .resource_type_filters("apprunner:service")
                .tag_filters(managed.clone().build())
                .resources_per_page(3)
                .set_pagination_token(token)
                .send()
                .await
                .unwrap();
            let mappings = page.resource_tag_mapping_list.unwrap();
            assert!(mappings.len() <= 3);
            found.extend(mappings.into_iter().filter_map(|it| it.resource_arn));
            pages += 1;
            token = page.pagination_token.filter(|token| !token.is_empty());
            if token.is_none() {
                break;
            }
        }
        assert_eq!((found, pages), (created, 2));
        let refused = tagging.get_resources().resources_per_page(101).send().await;
        let refused = refused.unwrap_err().into_service_error();
        assert!(refused.is_invalid_parameter_exception(), "{refused:?}");
    });
}

#[test]
fn services_databases_and_alarms_are_found_in_one_look_with_all_their_tags() {
    play(async |stage| {
        let aws = stage.local.aws();
        let service = super::stage::service(aws.apprunner(), "kinds");
        let service = service
            .tags(super::stage::tag("kinds", "yes"))
            .tags(super::stage::tag("is", "service"));
        let service = service.send().await.unwrap().service.unwrap().service_arn;

        let database = aws.rds().create_db_instance();
        let database = database.db_instance_identifier("kinds").engine("postgres");
        let database = database.db_instance_class("db.t4g.micro");
        let database = database.allocated_storage(20).master_username("root");
        let database = database.master_user_password("a-long-password");
        let tag = |key: &str, value: &str| {
            aws_sdk_rds::types::Tag::builder()
                .key(key)
                .value(value)
                .build()
        };
        let database = database.tags(tag("kinds", "yes")).send().await.unwrap();
        let database = database.db_instance.unwrap().db_instance_arn.unwrap();
        let later = aws.rds().add_tags_to_resource().resource_name(&database);
        later.tags(tag("is", "database")).send().await.unwrap();

        let tag = |key: &str, value: &str| {
            let tag = aws_sdk_cloudwatch::types::Tag::builder();
            tag.key(key).value(value).build()
        };
        let tags = vec![tag("kinds", "yes"), tag("is", "alarm")];
        super::alarms::put_tagged(stage, "kinds", tags).await;

        let kinds = TagFilter::builder().key("kinds").values("yes").build();
        let find = async |types: &[&str]| -> BTreeMap<String, BTreeMap<String, String>> {
            let find = Client::new(stage.local.sdk_config()).get_resources();
            let types = types.iter().map(|it| (*it).to_owned()).collect();
            let find = find.set_resource_type_filters(Some(types));
            let found = find.tag_filters(kinds.clone()).send().await.unwrap();
            let found = found.resource_tag_mapping_list.unwrap().into_iter();
            let found = found.map(|it| {
                let tags = it.tags.unwrap().into_iter();
                (
                    it.resource_arn.unwrap(),
                    tags.map(|tag| (tag.key, tag.value)).collect(),
                )
            });
            found.collect()
        };
        let alarm = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:kinds".to_owned();
        let of = |is: &str| {
            let tags = [("kinds", "yes"), ("is", is)];
            tags.map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        };
        let all = ["apprunner:service", "rds:db", "cloudwatch:alarm"];
        assert_eq!(
            find(&all).await,
            BTreeMap::from([
                (service.clone(), of("service")),
                (database.clone(), of("database")),
                (alarm.clone(), of("alarm")),
            ])
        );
        let two = find(&all[..2]).await;
        assert!(two.into_keys().eq([service, database]));
        assert!(find(&["rds:subgrp"]).await.is_empty());
        let delete = aws.cloudwatch().delete_alarms().alarm_names("kinds");
        delete.send().await.unwrap();
        assert!(find(&["cloudwatch:alarm"]).await.is_empty());
    });
}
