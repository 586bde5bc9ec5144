//! What groundcrew remembers of a service: in a table of its own, which no other tool and no person changes by the way.
//!
//! One item for each service and kind of memory, and one for the spec of each stack. It is written by compare-and-set: whoever writes has read what is there, or
//! is refused and looks again. Reads are consistent. Whose a service is, and what a person sets, stays in tags of the service.
//!
//! Until 0.3.0 what is remembered is written to tags of the service as well, after the table, so that the version before finds
//! it there; read it is from the table alone, unless the table holds nothing of the service yet.

mod deployments;
mod in_tags;
mod last_spec;
mod parking;
mod uses;
mod watched;

pub use deployments::{Deployments, Orders, Outcome, Rejection, Release, Wish};
pub use last_spec::LastSpec;
pub use parking::Parking;
pub use uses::Uses;
pub use watched::Watched;

use crate::claim::NONE;
use crate::stack::Tags;
use crate::{Aws, Error, Result, Stack, managed};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The partition key: what kind of memory an item is. Policies hold functions to the kinds that they need by it.
const KIND: &str = "kind";
/// The sort key: the ARN of the service that is remembered, or the name of the stack.
const SUBJECT: &str = "subject";

/// Each kind of memory of a service. A service is remembered as long as its deployments are, so these are forgotten last.
const KINDS: [&str; 4] = [Parking::KIND, Watched::KIND, Uses::KIND, Deployments::KIND];

type Item = HashMap<String, AttributeValue>;

/// What is remembered of a service, of one kind.
pub trait Remembered: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// The partition key of its items.
    const KIND: &'static str;

    /// Whether groundcrew 0.1 kept it in tags of the service (until 0.3.0).
    const IN_TAGS: bool = false;

    /// Reads it from tags, as groundcrew 0.1 kept it (until 0.3.0).
    fn of_tags(_: &Tags) -> Self {
        Self::default()
    }

    /// The same as tags, for groundcrew 0.1 (until 0.3.0). A tag is said to be `none` rather than removed, but for those that
    /// `is_removable`.
    fn to_tags(&self) -> Tags {
        Tags::new()
    }

    /// Whether a tag of this kind goes when [`Self::to_tags`] no longer has it.
    fn is_removable(_: &str) -> bool {
        false
    }

    /// Says in the tags of a service that was looked at what is remembered: it has the last word on what groundcrew writes itself,
    /// and a person's tag on what a person sets.
    fn complete(&self, tags: &mut Tags) {
        tags.extend(self.to_tags());
    }
}

/// What is remembered of one service or stack, with the revision that was read.
#[derive(Clone, Debug)]
pub struct Memory<T> {
    subject: String,
    /// 0: the table holds nothing yet.
    revision: u64,
    /// As the table has it, or as the tags of the service had it before there was a table.
    now: T,
}

/// An item of the table.
#[derive(Debug, Deserialize, Serialize)]
struct Stored<T> {
    kind: String,
    subject: String,
    revision: u64,
    #[serde(rename = "remembered")]
    content: T,
}

impl<T> std::ops::Deref for Memory<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.now
    }
}

impl<T: Remembered> Memory<T> {
    /// What is remembered of a service that has these tags, or of a stack, which has none.
    ///
    /// # Errors
    /// Those of `dynamodb:GetItem`; [`Error::Failed`] for an item that this version cannot read.
    pub async fn of(aws: &Aws, subject: &str, tags: &Tags) -> Result<Self> {
        let found = aws
            .dynamodb()
            .get_item()
            .table_name(&aws.account.memory)
            .set_key(Some(key(T::KIND, subject)))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("dynamodb:GetItem"))?;
        match found.item {
            Some(item) => Self::read(item),
            None => Ok(Self::of_tags(subject, tags)),
        }
    }

    /// What is remembered of a service that has these tags, among all that the table holds of this kind.
    pub fn among(all: &[Self], subject: &str, tags: &Tags) -> Self {
        let found = all.iter().find(|it| it.subject == subject);
        found.map_or_else(|| Self::of_tags(subject, tags), Self::clone)
    }

    /// What is remembered of a service that the table holds nothing of.
    fn of_tags(subject: &str, tags: &Tags) -> Self {
        let now = T::of_tags(tags);
        if now != T::default() {
            tracing::warn!(
                subject,
                "the table holds no {} of this service: its tags count, and are taken over with the next write",
                T::KIND
            );
        }
        Self {
            subject: subject.to_owned(),
            revision: 0,
            now,
        }
    }

    /// Everything of this kind that the table holds.
    ///
    /// # Errors
    /// Those of `dynamodb:Query`; [`Error::Failed`] for an item that this version cannot read.
    pub async fn all(aws: &Aws) -> Result<Vec<Self>> {
        let query = aws
            .dynamodb()
            .query()
            .table_name(&aws.account.memory)
            .consistent_read(true)
            .key_condition_expression("#kind = :kind")
            .expression_attribute_names("#kind", KIND)
            .expression_attribute_values(":kind", AttributeValue::S(T::KIND.into()));
        let mut items = query.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = items.next().await {
            found.push(Self::read(item.map_err(Error::aws("dynamodb:Query"))?)?);
        }
        Ok(found)
    }

    fn read(item: Item) -> Result<Self> {
        let name = |key| match item.get(key) {
            Some(AttributeValue::S(text)) => text.clone(),
            _ => String::new(),
        };
        let (kind, subject) = (name(KIND), name(SUBJECT));
        let stored: Stored<T> = serde_dynamo::from_item(item).map_err(|error| {
            Error::Failed(format!(
                "the {kind} that are remembered of {subject} cannot be read: {error}; another version of groundcrew wrote them, or somebody has changed them by hand"
            ))
        })?;
        Ok(Self {
            subject: stored.subject,
            revision: stored.revision,
            now: stored.content,
        })
    }

    /// The ARN of the service, or the name of the stack.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether the table holds nothing of the service yet.
    pub fn is_new(&self) -> bool {
        self.revision == 0
    }

    /// Writes what is to be remembered from now on, unless somebody else has written since it was read. What the table has
    /// already is not written again, but the tags are looked at once more.
    ///
    /// # Errors
    /// `NotReady` if somebody was quicker: look again. Otherwise those of `dynamodb:PutItem` and of App Runner.
    pub async fn write(&mut self, aws: &Aws, then: T) -> Result<()> {
        if then == self.now && !self.is_new() {
            return self.mirror(aws).await;
        }
        let stored = Stored {
            kind: T::KIND.into(),
            subject: self.subject.clone(),
            revision: self.revision + 1,
            content: then,
        };
        let item: Item = serde_dynamo::to_item(&stored).map_err(|error| {
            Error::Failed(format!(
                "what is to be remembered of {}: {error}",
                self.subject
            ))
        })?;
        let put = aws
            .dynamodb()
            .put_item()
            .table_name(&aws.account.memory)
            .set_item(Some(item));
        let put = match self.revision {
            0 => put
                .condition_expression("attribute_not_exists(#kind)")
                .expression_attribute_names("#kind", KIND),
            revision => put
                .condition_expression("#revision = :revision")
                .expression_attribute_names("#revision", "revision")
                .expression_attribute_values(":revision", AttributeValue::N(revision.to_string())),
        };
        put.send().await.map_err(|error| {
            let lost = error
                .as_service_error()
                .is_some_and(PutItemError::is_conditional_check_failed_exception);
            match lost {
                true => Error::NotReady(format!(
                    "what is remembered of {}, which somebody else has written meanwhile,",
                    self.subject
                )),
                false => Error::aws("dynamodb:PutItem")(error),
            }
        })?;
        self.revision = stored.revision;
        self.now = stored.content;
        self.mirror(aws).await
    }

    /// Says in the tags what the table has, if they say something else: whoever wrote it last may have ended before it came to
    /// that (until 0.3.0).
    ///
    /// # Errors
    /// Those of App Runner.
    pub async fn repeat_in_tags(&self, aws: &Aws, tags: &Tags) -> Result<()> {
        match self.is_new() || differing(&self.now, tags).is_empty() {
            true => Ok(()),
            false => self.mirror(aws).await,
        }
    }

    /// Says the same in the tags of the service (until 0.3.0). While App Runner takes no tags, for the service is in an operation,
    /// they lag behind until the next write.
    async fn mirror(&self, aws: &Aws) -> Result<()> {
        if !T::IN_TAGS {
            return Ok(());
        }
        match self.say_in_tags(aws).await {
            Err(Error::Busy { .. }) => Ok(()),
            said => said,
        }
    }

    async fn say_in_tags(&self, aws: &Aws) -> Result<()> {
        let Some(existing) = managed::tags(aws, &self.subject).await? else {
            return Ok(());
        };
        let wanted = self.now.to_tags();
        let gone: Vec<_> = existing
            .keys()
            .filter(|key| T::is_removable(key) && !wanted.contains_key(*key))
            .cloned()
            .collect();
        if !gone.is_empty() {
            aws.apprunner()
                .untag_resource()
                .resource_arn(&self.subject)
                .set_tag_keys(Some(gone))
                .send()
                .await
                .map_err(Error::aws("apprunner:UntagResource"))?;
        }
        let changed = differing(&self.now, &existing);
        match changed.is_empty() {
            true => Ok(()),
            false => managed::set_tags(aws, &self.subject, &changed).await,
        }
    }
}

/// What the tags of a service do not say as it is remembered.
fn differing<T: Remembered>(remembered: &T, existing: &Tags) -> Tags {
    let wanted = remembered.to_tags().into_iter();
    let differs = |key: &String, value: &String| match existing.get(key) {
        Some(said) => said != value,
        None => value != NONE,
    };
    wanted.filter(|(key, value)| differs(key, value)).collect()
}

/// Forgets everything of a service.
///
/// # Errors
/// Those of `dynamodb:DeleteItem`.
pub async fn forget(aws: &Aws, service_arn: &str) -> Result<()> {
    for kind in KINDS {
        delete(aws, key(kind, service_arn)).await?;
    }
    Ok(())
}

/// Forgets everything of services of this name, which others of the name may have had before.
///
/// # Errors
/// Those of `dynamodb:Query` and `dynamodb:DeleteItem`.
pub async fn forget_name(aws: &Aws, service_name: &str) -> Result<()> {
    let account = &aws.account;
    let prefix = format!(
        "arn:{}:apprunner:{}:{}:service/{service_name}/",
        account.partition, account.region, account.id
    );
    for kind in KINDS {
        let query = aws
            .dynamodb()
            .query()
            .table_name(&account.memory)
            .consistent_read(true)
            .key_condition_expression("#kind = :kind AND begins_with(#subject, :prefix)")
            .projection_expression("#kind, #subject")
            .expression_attribute_names("#kind", KIND)
            .expression_attribute_names("#subject", SUBJECT)
            .expression_attribute_values(":kind", AttributeValue::S(kind.into()))
            .expression_attribute_values(":prefix", AttributeValue::S(prefix.clone()));
        let mut items = query.into_paginator().items().send();
        while let Some(key) = items.next().await {
            delete(aws, key.map_err(Error::aws("dynamodb:Query"))?).await?;
        }
    }
    Ok(())
}

/// Forgets the last spec of a stack.
///
/// # Errors
/// Those of `dynamodb:DeleteItem`.
pub async fn forget_spec(aws: &Aws, stack: &Stack) -> Result<()> {
    delete(aws, key(LastSpec::KIND, &stack.name())).await
}

async fn delete(aws: &Aws, key: Item) -> Result<()> {
    aws.dynamodb()
        .delete_item()
        .table_name(&aws.account.memory)
        .set_key(Some(key))
        .send()
        .await
        .map_err(Error::aws("dynamodb:DeleteItem"))?;
    Ok(())
}

fn key(kind: &str, subject: &str) -> Item {
    HashMap::from([
        (KIND.to_owned(), AttributeValue::S(kind.into())),
        (SUBJECT.to_owned(), AttributeValue::S(subject.into())),
    ])
}
