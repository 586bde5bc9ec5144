//! Alarms follow their service. Whenever an operation of a managed service has ended, its alarms are brought in line with what it
//! is now: a service that was created or recreated (another `ServiceID`) gets them, one that was updated has another most of
//! instances, one that is paused has nothing to tell, and one that is gone needs none.
//!
//! An event says only that something may have changed, so that one that comes late, twice or out of order does no harm.

use groundcrew::Run;
use groundcrew::alarms;
use groundcrew::arn::ServiceArn;
use groundcrew::memory::{Parking, Watched};
use groundcrew::pace::{Tempo, patiently};
use groundcrew::stack::TAG_CREATED_BY;
use groundcrew::{Aws, Managed, Memory, Result, Watch, event};
use lambda_runtime::tracing::info;
use serde_json::{Value, json};

/// Who creates alarms, as their tags say, if the service does not say who has created it.
const CREATED_BY: &str = "alarms";

/// Brings the alarms of the service in line that an event is about. Answers `{"service", "changes": […]}`, or
/// `{"not_for_us": why}`.
///
/// # Errors
/// [`groundcrew::Error::Invalid`] for an event that lacks what it must have, otherwise those of [`follow`]. After each of
/// them the same event can be handled again.
pub async fn handle(aws: &Aws, event: &Value, notifications: &str) -> Result<Value> {
    match settled(event)? {
        Some(service) if service.is_of(&aws.account) => {
            // Whatever was done before a call is throttled is found done.
            // Boxed, for the types of nested futures grow too deep for the compiler.
            let handle = || async {
                let managed = Box::pin(look(aws, &service)).await?;
                let run = Box::pin(keep(aws, &service, managed.as_ref(), notifications)).await?;
                Box::pin(remember(aws, managed.as_ref())).await?;
                Ok(run)
            };
            let run = patiently(Tempo::AWS, handle).await?;
            let (service, changes) = (service.name(), run.changes());
            info!(
                service,
                changes = changes.len(),
                "looked at the alarms of a service"
            );
            Ok(json!({"service": service, "changes": changes}))
        }
        Some(_) => Ok(not_for_us("a service of another account or region")),
        None => Ok(not_for_us("nothing has ended for a service")),
    }
}

fn not_for_us(reason: &str) -> Value {
    info!(reason, "an event that is not for us");
    json!({"not_for_us": reason})
}

/// The service that runs, or is paused, or gone by now; `None` for any other event. Of each operation one of its two events
/// is followed, or both would change the same alarms at once: that of the status, which has changed by then. Of a service that
/// is gone only that of the operation is documented.
fn settled(event: &Value) -> Result<Option<ServiceArn>> {
    let source = event::text(event, "source")?;
    let is_settled = match (source, event::text(event, "detail-type")?) {
        ("aws.apprunner", "AppRunner Service Status Change") => {
            ["RUNNING", "PAUSED"].contains(&event::service_status(event)?)
        }
        ("aws.apprunner", "AppRunner Service Operation Status Change") => {
            event::operation_status(event)? == "DeleteServiceCompletedSuccessfully"
        }
        _ => false,
    };
    is_settled.then(|| event::service(event)).transpose()
}

/// Brings the alarms of a service in line; those of one that is gone are removed. A service that is not ours is left alone.
///
/// # Errors
/// Those of [`alarms::follow`] and [`alarms::forget`].
pub async fn follow(aws: &Aws, service: &ServiceArn, notifications: &str) -> Result<Run> {
    let managed = look(aws, service).await?;
    keep(aws, service, managed.as_ref(), notifications).await
}

/// A service with what is remembered of its sleep, and of settings that somebody has removed by the way.
async fn look(aws: &Aws, service: &ServiceArn) -> Result<Option<Managed>> {
    Ok(match Managed::look(aws, service.as_str()).await? {
        Some(managed) if managed.is_ours() => {
            let managed = managed.remembered::<Parking>(aws).await?;
            Some(managed.remembered::<Watched>(aws).await?)
        }
        other => other,
    })
}

async fn keep(
    aws: &Aws,
    service: &ServiceArn,
    managed: Option<&Managed>,
    notifications: &str,
) -> Result<Run> {
    let mut run = Run::acting(managed.map_or(CREATED_BY, created_by));
    bring_in_line(aws, service, managed, notifications, &mut run).await?;
    Ok(run)
}

/// Remembers what a person has set, once it is known to be readable.
async fn remember(aws: &Aws, managed: Option<&Managed>) -> Result<()> {
    let Some(managed) = managed.filter(|managed| managed.is_ours()) else {
        return Ok(());
    };
    Watch::parse(&managed.tags)?;
    let mut memory: Memory<Watched> = Memory::of(aws, managed.arn(), &managed.tags).await?;
    let then = memory.now(&managed.tags);
    match then == *memory {
        true => Ok(()),
        false => memory.write(aws, then).await,
    }
}

/// What [`follow`] would do with a service that was looked at, or found to be gone; nothing is called that writes.
///
/// # Errors
/// Those of [`follow`].
pub async fn compare(
    aws: &Aws,
    service: &ServiceArn,
    managed: Option<&Managed>,
    notifications: &str,
) -> Result<Run> {
    let mut run = Run::deciding(CREATED_BY);
    bring_in_line(aws, service, managed, notifications, &mut run).await?;
    Ok(run)
}

async fn bring_in_line(
    aws: &Aws,
    service: &ServiceArn,
    managed: Option<&Managed>,
    notifications: &str,
    run: &mut Run,
) -> Result<()> {
    match managed {
        Some(managed) if managed.is_ours() => {
            alarms::follow(aws, managed, notifications, run).await
        }
        Some(_) => Ok(()),
        None => alarms::forget(aws, service.name(), service.id(), run).await,
    }
}

/// With the service they are created, and with it an undo removes them.
fn created_by(managed: &Managed) -> &str {
    managed
        .tags
        .get(TAG_CREATED_BY)
        .map_or(CREATED_BY, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of `events/`.
    fn example(name: &str) -> Value {
        let file = format!("{}/../../events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        serde_json::from_str(&text).expect("it is JSON")
    }

    #[test]
    fn a_service_that_has_settled_is_looked_at_once() {
        for name in [
            "apprunner-operation-status-delete",
            "apprunner-service-status",
            "apprunner-service-status-paused",
            "apprunner-service-status-pascal-case",
        ] {
            let service = settled(&example(name)).expect(name);
            assert_eq!(service.expect(name).name(), "shop-staging", "{name}");
        }
        for name in [
            "apprunner-operation-status",
            "apprunner-operation-status-deployment",
            "apprunner-operation-status-started",
            "apprunner-service-status-in-progress",
            "ecr-push",
        ] {
            assert_eq!(settled(&example(name)).expect(name), None, "{name}");
        }
    }

    #[test]
    fn an_event_without_its_service_is_refused_with_the_field() {
        let mut event = example("apprunner-service-status");
        event["resources"] = json!([]);
        let error = settled(&event).expect_err("refused");
        assert!(error.to_string().contains("resources[0]"), "{error}");
    }

    proptest! {
        #[test]
        fn any_event_is_understood_or_refused(
            source in "aws.apprunner|aws.ecr|",
            of in "Operation |",
            status in "RUNNING|PAUSED|DeleteServiceCompletedSuccessfully|[A-Za-z]{0,12}",
            arn in ".{0,40}",
        ) {
            let event = json!({
                "source": source, "detail-type": format!("AppRunner Service {of}Status Change"),
                "resources": [arn], "detail": {"operationStatus": status, "currentServiceStatus": status},
            });
            let _ = settled(&event);
        }
    }
}
