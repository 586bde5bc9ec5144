//! The Resource Groups Tagging API finds services by their tags.

use crate::stage::play;
use aws_sdk_resourcegroupstagging::Client;
use aws_sdk_resourcegroupstagging::types::TagFilter;
use std::collections::BTreeSet;

#[test]
fn services_are_found_by_tag_page_by_page() {
    play(async |stage| {
        let apprunner = stage.local.aws().apprunner();
        let mut created = BTreeSet::new();
        for n in 0..5 {
            let request = crate::stage::service(apprunner, &format!("tagged-{n}"));
            let request = if n < 4 {
                request.tags(crate::stage::tag("groundcrew:managed", "true"))
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
