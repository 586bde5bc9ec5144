//! Finds resources of any kind by their tags, all of a kind in a few calls. The index that answers lags behind: what a tag
//! says now, or whether a resource still exists, is asked of its own service.

use crate::stack::{TAG_APP, TAG_ENVIRONMENT, TAG_MANAGED, Tags};
use crate::{Aws, Error, Result, Stack};
use aws_sdk_resourcegroupstagging::types::TagFilter;

/// What of a kind (`apprunner:service`) carries the tag `groundcrew:managed` and these: ARNs with their tags.
///
/// # Errors
/// Those of `tag:GetResources`.
pub async fn find(aws: &Aws, kind: &str, tags: &[(&str, &str)]) -> Result<Vec<(String, Tags)>> {
    let filters = [(TAG_MANAGED, "true")].into_iter();
    let filters = filters
        .chain(tags.iter().copied())
        .map(|(key, value)| TagFilter::builder().key(key).values(value).build());
    let filters: Vec<_> = filters.collect();
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let page = aws
            .tagging()
            .get_resources()
            .resource_type_filters(kind)
            .set_tag_filters(Some(filters.clone()))
            .resources_per_page(100)
            .set_pagination_token(token)
            .send()
            .await
            .map_err(Error::aws("tag:GetResources"))?;
        for resource in page.resource_tag_mapping_list() {
            let tags = resource.tags().iter();
            let tags = tags.map(|tag| (tag.key().to_owned(), tag.value().to_owned()));
            let arn = resource.resource_arn().map(str::to_owned);
            found.extend(arn.map(|arn| (arn, tags.collect())));
        }
        token = page.pagination_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// The stack that these tags name, if they are those of a managed resource.
pub fn stack_of(tags: &Tags) -> Option<Stack> {
    let stack = Stack {
        app: tags.get(TAG_APP)?.clone(),
        environment: tags.get(TAG_ENVIRONMENT)?.clone(),
    };
    stack.owns(tags).then_some(stack)
}
