//! Finds resources of any kind by their tags, all of a kind in a few calls. The index that answers lags behind: what a tag
//! says now, or whether a resource still exists, is asked of its own service. (Assumption tag-index)

use crate::pace::{Tempo, patiently};
use crate::stack::{TAG_APP, TAG_ENVIRONMENT, TAG_MANAGED, Tags};
use crate::{Aws, Error, Result, Stack};
use aws_sdk_resourcegroupstagging::types::TagFilter;
use std::collections::BTreeMap;

/// Resources with their tags, by ARN, in the order of the index.
type Found = Vec<(String, Tags)>;

/// What of these kinds (`apprunner:service`) carries the tag `groundcrew:managed` and these. Of a key that is named more than
/// once any of its values will do.
///
/// # Errors
/// Those of `tag:GetResources`.
pub async fn find(aws: &Aws, kinds: &[&str], tags: &[(&str, &str)]) -> Result<Found> {
    let mut found = Found::new();
    let mut token = None;
    loop {
        token = page(aws, kinds, tags, token, &mut found).await?;
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
    kinds: &[&str],
    tags: &[(&str, &str)],
) -> Result<Found> {
    let mut found = Found::new();
    let mut token = None;
    loop {
        let (next, page) = patiently(tempo, || async {
            let mut found = Found::new();
            let next = page(aws, kinds, tags, token.clone(), &mut found).await?;
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
    kinds: &[&str],
    tags: &[(&str, &str)],
    token: Option<String>,
    found: &mut Found,
) -> Result<Option<String>> {
    let mut wanted = BTreeMap::from([(TAG_MANAGED, vec!["true".to_owned()])]);
    for (key, value) in tags {
        wanted.entry(key).or_default().push((*value).to_owned());
    }
    let filters = wanted.into_iter().map(|(key, values)| {
        let filter = TagFilter::builder().key(key);
        filter.set_values(Some(values)).build()
    });
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    let page = aws
        .tagging()
        .get_resources()
        .set_resource_type_filters(Some(kinds))
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
