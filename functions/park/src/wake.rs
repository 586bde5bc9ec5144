//! The end of a sleep: what came in meanwhile is delivered, and the mark is taken away.

use crate::schedule::Schedule;
use crate::task::{Outcome, Task};
use aws_sdk_apprunner::types::OperationType;
use groundcrew::execution::start;
use groundcrew::managed::operations;
use groundcrew::memory::Parking;
use groundcrew::secrets::hexadecimal;
use groundcrew::{Aws, Claim, Result};
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
        // A service can be parked twice in a night, after it was kept awake for a while.
        let newest_first = operations(aws, &service.arn).await?;
        let pausing = |kind: Option<&OperationType>| kind == Some(&OperationType::PauseService);
        let pause = newest_first.iter().find(|it| pausing(it.r#type()));
        let pause = pause.and_then(|it| it.id()).unwrap_or_default();
        let sleep = format!("{} {pause}", mark.since);
        deploy(aws, &service.arn, &service.name, &sleep).await?;
        let awake = |it: &mut Parking| {
            it.mark = None;
            it.told_failed = None;
        };
        service.remember(aws, awake).await?;
    }
    Ok(task.done())
}

/// Once for each sleep: the name of the execution is taken afterwards.
async fn deploy(aws: &Aws, arn: &str, name: &str, sleep: &str) -> Result<()> {
    let machine = &aws.account.deploy_state_machine;
    let input = json!({"service": arn, "cause": "woken"});
    start(aws, machine, &execution(arn, name, sleep), &input).await?;
    Ok(())
}

/// `{service}-woken-{hash of the service and its sleep}`, as long as the claim of a deployment takes.
fn execution(arn: &str, name: &str, sleep: &str) -> String {
    let end = format!("-woken-{}", hexadecimal(&format!("{arn}\n{sleep}"), 8));
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
        let name = |arn: &str, sleep: &str| execution(arn, &"s".repeat(40), sleep);
        assert_eq!(name("one", "1"), name("one", "1"));
        assert_ne!(name("one", "1"), name("one", "2"));
        assert_ne!(name("one", "1"), name("two", "1"));
        assert_eq!(name("one", "1").len(), Claim::LONGEST_EXECUTION);
    }
}
