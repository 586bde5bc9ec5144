//! Finds resources of any kind by their tags, all of a kind in a few calls. The index that answers lags behind: what a tag
//! says now, or whether a resource still exists, is asked of its own service.

use crate::pace::{Tempo, patiently};
use crate::stack::{TAG_APP, TAG_ENVIRONMENT, TAG_MANAGED, Tags};
use crate::{Aws, Error, Result, Stack};
use aws_sdk_resourcegroupstagging::types::TagFilter;

/// Resources with their tags, by ARN, in the order of the index.
type Found = Vec<(String, Tags)>;

/// What of a kind (`apprunner:service`) carries the tag `groundcrew:managed` and these.
///
/// # Errors
/// Those of `tag:GetResources`.
pub async fn find(aws: &Aws, kind: &str, tags: &[(&str, &str)]) -> Result<Found> {
    let mut found = Found::new();
    let mut token = None;
    loop {
        token = page(aws, kind, tags, token, &mut found).await?;
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// The same for a function that no state machine repeats: asks again for a page that is throttled.
///
/// # Errors
/// Those of `tag:GetResources`.
pub async fn find_patiently(
    aws: &Aws,
    tempo: Tempo,
    kind: &str,
    tags: &[(&str, &str)],
) -> Result<Found> {
    let mut found = Found::new();
    let mut token = None;
    loop {
        let (next, page) = patiently(tempo, || async {
            let mut found = Found::new();
            let next = page(aws, kind, tags, token.clone(), &mut found).await?;
            Ok((next, found))
        })
        .await?;
        found.extend(page);
        token = next;
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// Adds a page to what was found; answers the token of the next one.
async fn page(
    aws: &Aws,
    kind: &str,
    tags: &[(&str, &str)],
    token: Option<String>,
    found: &mut Found,
) -> Result<Option<String>> {
    let managed = [(TAG_MANAGED, "true")];
    let filters = managed.iter().chain(tags);
    let filters = filters.map(|(key, value)| TagFilter::builder().key(*key).values(*value).build());
    let page = aws
        .tagging()
        .get_resources()
        .resource_type_filters(kind)
        .set_tag_filters(Some(filters.collect()))
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
    Ok(page.pagination_token.filter(|token| !token.is_empty()))
}

/// The stack that these tags name, if they are those of a managed resource.
pub fn stack_of(tags: &Tags) -> Option<Stack> {
    let stack = Stack {
        app: tags.get(TAG_APP)?.clone(),
        environment: tags.get(TAG_ENVIRONMENT)?.clone(),
    };
    stack.owns(tags).then_some(stack)
}
