//! The topic that the alarms of a stack tell.

use crate::error::found;
use crate::stack::{TAG_ALARMS, Tags};
use crate::{Aws, Error, Managed, Removal, Result, Run, Spec, Stack, Watch};

/// The topic that the alarms tell: the spec's, or one of the stack's own, which is made if it is not there.
pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<String> {
    if let Some(topic_arn) = &spec.alarms.topic_arn {
        return Ok(topic_arn.clone());
    }
    let stack = &spec.stack();
    let name = stack.part("alarms");
    let topic_arn = aws.account.topic_arn(&name);
    match tags(aws, &topic_arn).await? {
        Some(tags) if stack.owns(&tags) => run.settle(&tags),
        Some(_) => return Err(Error::Conflict(format!("topic {name}"))),
        None if run.create(format!("topic {name}")) => {
            let tags = stack.tags(&run.execution);
            let tag = |(key, value): (&String, &String)| {
                aws_sdk_sns::types::Tag::builder()
                    .key(key)
                    .value(value)
                    .build()
                    .map_err(Error::built)
            };
            aws.sns()
                .create_topic()
                .name(&name)
                .set_tags(Some(tags.iter().map(tag).collect::<Result<_>>()?))
                .send()
                .await
                .map_err(Error::aws("sns:CreateTopic"))?;
        }
        None => return Ok(topic_arn),
    }
    if let Some(email) = &spec.alarms.email {
        let subscriptions = aws
            .sns()
            .list_subscriptions_by_topic()
            .topic_arn(&topic_arn)
            .send()
            .await
            .map_err(Error::aws("sns:ListSubscriptionsByTopic"))?;
        let subscribed = subscriptions
            .subscriptions()
            .iter()
            .any(|subscription| subscription.endpoint() == Some(email));
        if !subscribed && run.change(format!("topic {name}: write to {email}")) {
            aws.sns()
                .subscribe()
                .topic_arn(&topic_arn)
                .protocol("email")
                .endpoint(email)
                .send()
                .await
                .map_err(Error::aws("sns:Subscribe"))?;
        }
    }
    Ok(topic_arn)
}

/// The tags of a topic; `None` if there is none.
async fn tags(aws: &Aws, topic_arn: &str) -> Result<Option<Tags>> {
    let listed = aws
        .sns()
        .list_tags_for_resource()
        .resource_arn(topic_arn)
        .send()
        .await;
    let listed = found(
        listed,
        |error| error.is_resource_not_found_exception(),
        "sns:ListTagsForResource",
    )?;
    Ok(listed.map(|listed| {
        let tags = listed.tags.unwrap_or_default().into_iter();
        tags.map(|tag| (tag.key, tag.value)).collect()
    }))
}

/// The topic that the tags of a service name, or the stack's own.
pub(super) async fn of(
    aws: &Aws,
    managed: &Managed,
    stack: &Stack,
    watch: &Watch,
    fallback: &str,
) -> Result<String> {
    if let Some(topic_arn) = &watch.alarms.topic_arn {
        return Ok(topic_arn.clone());
    }
    let own = aws.account.topic_arn(&stack.part("alarms"));
    // `provision` makes the topic after the service.
    let age = jiff::Timestamp::now().as_second() - managed.service.created_at().secs();
    let is_being_made = managed.tags.contains_key(TAG_ALARMS) && age < 3600;
    let is_ours = |tags: Option<Tags>| tags.is_some_and(|tags| stack.owns(&tags));
    match is_being_made || is_ours(tags(aws, &own).await?) {
        true => Ok(own),
        false => Ok(fallback.to_owned()),
    }
}

/// Removes the stack's own topic, within the removal's limits.
pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let stack = &removal.stack();
    let topic_arn = aws.account.topic_arn(&stack.part("alarms"));
    let tags = tags(aws, &topic_arn).await?;
    if tags.is_some_and(|tags| removal.covers(&tags)) && run.remove(format!("topic {topic_arn}")) {
        aws.sns()
            .delete_topic()
            .topic_arn(topic_arn)
            .send()
            .await
            .map_err(Error::aws("sns:DeleteTopic"))?;
    }
    Ok(())
}
