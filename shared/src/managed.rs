//! A service that groundcrew looks after: what App Runner says of it, and its tags.

use crate::error::found;
use crate::memory::Remembered;
use crate::pages::{self, Page};
use crate::stack::{TAG_APP, TAG_ENVIRONMENT, TAG_MANAGED, Tags};
use crate::{Aws, Error, Mark, Memory, Result};
use aws_sdk_apprunner::types::{OperationSummary, Service, ServiceStatus, ServiceSummary, Tag};

/// An App Runner service with its tags.
#[derive(Clone, Debug)]
pub struct Managed {
    /// What App Runner says of it.
    pub service: Service,
    /// Its tags.
    pub tags: Tags,
}

impl Managed {
    /// Looks at a service; `None` if it is gone.
    ///
    /// # Errors
    /// Those of `apprunner:DescribeService` and `apprunner:ListTagsForResource`.
    pub async fn look(aws: &Aws, service_arn: &str) -> Result<Option<Self>> {
        let Some(service) = describe(aws, service_arn).await? else {
            return Ok(None);
        };
        let tags = tags(aws, service_arn).await?;
        Ok(tags.map(|tags| Self { service, tags }))
    }

    /// Looks for a service by its name; `None` if there is none.
    ///
    /// # Errors
    /// Those of App Runner.
    pub async fn find(aws: &Aws, name: &str) -> Result<Option<Self>> {
        let Some(service) = named(aws, name).await? else {
            return Ok(None);
        };
        let tags = tags(aws, &service.service_arn).await?;
        Ok(tags.map(|tags| Self { service, tags }))
    }

    /// Whether it carries the tags of a stack; another one is never touched.
    pub fn is_ours(&self) -> bool {
        are_ours(&self.tags)
    }

    /// Since when groundcrew has it parked.
    pub fn mark(&self) -> Option<Mark> {
        Mark::of(&self.tags)
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.service.service_arn
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.service.service_name
    }

    /// With what is remembered of it, of one kind, in the place of the tags that say so as well (until 0.3.0).
    ///
    /// # Errors
    /// Those of `dynamodb:GetItem`.
    pub async fn remembered<T: Remembered>(self, aws: &Aws) -> Result<Self> {
        let memory: Memory<T> = Memory::of(aws, self.arn(), &self.tags).await?;
        Ok(self.with(&memory))
    }

    /// [`Self::remembered`], with a memory that is at hand.
    pub fn with<T: Remembered>(mut self, memory: &Memory<T>) -> Self {
        memory.complete(&mut self.tags);
        self
    }

    /// Sets tags, all in one call: either all of them are there or none.
    ///
    /// # Errors
    /// Those of `apprunner:TagResource`.
    pub async fn tag(&self, aws: &Aws, tags: &Tags) -> Result<()> {
        set_tags(aws, self.arn(), tags).await
    }

    /// Its newest operations, at most twenty, the newest first.
    ///
    /// # Errors
    /// Those of `apprunner:ListOperations`.
    pub async fn operations(&self, aws: &Aws) -> Result<Vec<OperationSummary>> {
        operations(aws, self.arn()).await
    }
}

/// Whether these are the tags of a service of a stack.
pub fn are_ours(tags: &Tags) -> bool {
    tags.get(TAG_MANAGED).is_some_and(|value| value == "true")
        && [TAG_APP, TAG_ENVIRONMENT]
            .iter()
            .all(|tag| tags.contains_key(*tag))
}

/// Sets tags of a service, all in one call: either all of them are there or none.
///
/// # Errors
/// Those of `apprunner:TagResource`.
pub async fn set_tags(aws: &Aws, service_arn: &str, tags: &Tags) -> Result<()> {
    let tags = tags
        .iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build());
    aws.apprunner()
        .tag_resource()
        .resource_arn(service_arn)
        .set_tags(Some(tags.collect()))
        .send()
        .await
        .map_err(Error::aws("apprunner:TagResource"))?;
    Ok(())
}

/// The tags of a service; `None` if it is gone.
///
/// # Errors
/// Those of `apprunner:ListTagsForResource`.
pub async fn tags(aws: &Aws, service_arn: &str) -> Result<Option<Tags>> {
    let listed = aws
        .apprunner()
        .list_tags_for_resource()
        .resource_arn(service_arn)
        .send()
        .await;
    let listed = found(
        listed,
        |error| error.is_resource_not_found_exception(),
        "apprunner:ListTagsForResource",
    )?;
    Ok(listed.map(|listed| {
        let tags = listed.tags.unwrap_or_default().into_iter();
        tags.filter_map(|tag| tag.key.zip(tag.value)).collect()
    }))
}

/// The newest operations of a service, at most twenty, the newest first; none if it is gone.
///
/// # Errors
/// Those of `apprunner:ListOperations`.
pub async fn operations(aws: &Aws, service_arn: &str) -> Result<Vec<OperationSummary>> {
    let listed = aws
        .apprunner()
        .list_operations()
        .service_arn(service_arn)
        .max_results(20)
        .send()
        .await;
    let listed = found(
        listed,
        |error| error.is_resource_not_found_exception(),
        "apprunner:ListOperations",
    )?;
    Ok(listed
        .and_then(|listed| listed.operation_summary_list)
        .unwrap_or_default())
}

/// A service by its ARN; `None` if it is gone. App Runner describes a deleted service for a while.
///
/// # Errors
/// Those of `apprunner:DescribeService`.
pub async fn describe(aws: &Aws, service_arn: &str) -> Result<Option<Service>> {
    let described = aws
        .apprunner()
        .describe_service()
        .service_arn(service_arn)
        .send()
        .await;
    let described = found(
        described,
        |error| error.is_resource_not_found_exception(),
        "apprunner:DescribeService",
    )?;
    Ok(described
        .and_then(|described| described.service)
        .filter(|service| service.status() != &ServiceStatus::Deleted))
}

/// Every service that App Runner lists, whoever owns it.
///
/// # Errors
/// Those of `apprunner:ListServices`.
pub async fn listed(aws: &Aws) -> Result<Vec<ServiceSummary>> {
    pages::all(|token| page(aws, token)).await
}

/// The service of that name that is not deleted, whoever owns it.
///
/// # Errors
/// Those of `apprunner:ListServices` and `apprunner:DescribeService`.
pub async fn named(aws: &Aws, name: &str) -> Result<Option<Service>> {
    let is_it = |service: &ServiceSummary| {
        service.service_name() == Some(name) && service.status() != Some(&ServiceStatus::Deleted)
    };
    let found = pages::find(|token| page(aws, token), is_it).await?;
    match found.and_then(|service| service.service_arn) {
        Some(arn) => describe(aws, &arn).await,
        None => Ok(None),
    }
}

async fn page(aws: &Aws, token: Option<String>) -> Result<Page<ServiceSummary>> {
    let page = aws.apprunner().list_services().set_next_token(token);
    let page = page.send().await;
    let page = page.map_err(Error::aws("apprunner:ListServices"))?;
    Ok((page.service_summary_list, page.next_token))
}
