//! The end of a sleep: what came in meanwhile is delivered, and the mark is taken away.

use crate::give_up::TAG_FAILED;
use crate::mark::{NONE, TAG_PARKED};
use crate::schedule::Schedule;
use crate::task::{Outcome, Task};
use groundcrew::managed::set_tags;
use groundcrew::secrets::hexadecimal;
use groundcrew::stack::Tags;
use groundcrew::{Aws, Claim, Error, Result};
use jiff::Timestamp;
use serde_json::json;

/// Starts `deploy` for each service that was woken. The mark goes last: until then the next look begins anew.
///
/// # Errors
/// `Busy` while the deployment that has begun holds the service.
pub(crate) async fn deliver(aws: &Aws, schedule: &Schedule, task: &Task) -> Result<Outcome> {
    let Some(observed) = task.look(aws, schedule).await? else {
        return Ok(task.overtaken());
    };
    for service in &observed.services {
        let Some(mark) = service.mark() else { continue };
        deploy(aws, &service.arn, &service.name, mark.since).await?;
        let mut tags = Tags::from([(TAG_PARKED.into(), NONE.into())]);
        if service.tags.contains_key(TAG_FAILED) {
            tags.insert(TAG_FAILED.into(), NONE.into());
        }
        set_tags(aws, &service.arn, &tags).await?;
    }
    Ok(task.done())
}

/// Once for each sleep: the name of the execution is taken afterwards.
async fn deploy(aws: &Aws, arn: &str, name: &str, since: Timestamp) -> Result<()> {
    let started = aws
        .sfn()
        .start_execution()
        .state_machine_arn(&aws.account.deploy_state_machine)
        .name(execution(arn, name, since))
        .input(json!({"service": arn, "cause": "woken"}).to_string())
        .send()
        .await;
    match started {
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_execution_already_exists()) =>
        {
            Ok(())
        }
        started => started
            .map(drop)
            .map_err(Error::aws("states:StartExecution")),
    }
}

/// `{service}-woken-{hash of the service and its sleep}`, as long as the claim of a deployment takes.
fn execution(arn: &str, name: &str, since: Timestamp) -> String {
    let end = format!("-woken-{}", hexadecimal(&format!("{arn}\n{since}"), 8));
    let name: String = name
        .chars()
        .take(Claim::LONGEST_EXECUTION - end.len())
        .collect();
    format!("{name}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sleep_of_each_service_has_a_deployment_whose_name_fits_into_a_claim() {
        let name = |arn: &str, since: i64| {
            let since = Timestamp::from_second(since).expect("a time");
            execution(arn, &"s".repeat(40), since)
        };
        assert_eq!(name("one", 1), name("one", 1));
        assert_ne!(name("one", 1), name("one", 2));
        assert_ne!(name("one", 1), name("two", 1));
        assert_eq!(name("one", 1).len(), Claim::LONGEST_EXECUTION);
    }
}
