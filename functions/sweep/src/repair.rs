//! Repairs what was found, with the code that the event would have started which did not come.

use crate::Surroundings;
use crate::finding::{Finding, Remedy, Swept};
use groundcrew::arn::ServiceArn;
use groundcrew::error::found;
use groundcrew::execution::start;
use groundcrew::memory::{self, Uses};
use groundcrew::pace::{Pace, Tempo};
use groundcrew::secrets::hexadecimal;
use groundcrew::{Aws, Claim, Error, Managed, Memory, Result};
use serde_json::json;

/// One finding after the other; what cannot be repaired does not stop the rest. Repeated, it finds the same done.
pub(crate) async fn repair(
    aws: &Aws,
    surroundings: &Surroundings,
    findings: Vec<Finding>,
    execution: &str,
    room: usize,
) -> Result<Swept> {
    let pace = Pace::new(Tempo::AWS);
    let mut swept = Swept::default();
    for finding in findings {
        if !finding.is_repairable() {
            swept.for_a_person.push(finding.to_string(), room);
            continue;
        }
        let done = pace.ask(|| mend(aws, surroundings, &finding.remedy, execution));
        match done.await {
            Ok(how) => {
                tracing::info!("{finding}: {how}");
                swept.repaired.push(format!("{finding}: {how}"), room);
            }
            Err(error) => {
                tracing::error!("{finding}: it could not be repaired: {error}");
                let failed = format!("{finding}: it could not be repaired: {error}");
                swept.failed.push(failed, room);
            }
        }
    }
    Ok(swept)
}

/// Answers what was done, for a person.
async fn mend(
    aws: &Aws,
    surroundings: &Surroundings,
    remedy: &Remedy,
    execution: &str,
) -> Result<&'static str> {
    match remedy {
        Remedy::Alarms(arn) => {
            alarms::follow(aws, &service(arn)?, &surroundings.notifications).await?;
            Ok("done")
        }
        Remedy::Deploy(arn) => {
            let service = service(arn)?;
            let input = json!({"service": arn, "cause": "sweep"});
            let name = name(service.name(), &format!("{arn}\n{execution}"));
            start(aws, &aws.account.deploy_state_machine, &name, &input).await?;
            Ok("deploy was started")
        }
        Remedy::EndAutoDeployments(arn) => {
            match Managed::look(aws, arn).await? {
                Some(managed) if managed.is_ours() => {
                    deploy::end_auto_deployments(aws, &managed).await?;
                }
                _ => {}
            }
            Ok("it is being switched off")
        }
        Remedy::Forget(arn) => {
            memory::forget(aws, arn).await?;
            Ok("forgotten")
        }
        Remedy::Index(arn) => {
            if let Some(managed) = Managed::look(aws, arn).await?.filter(Managed::is_ours) {
                let mut memory: Memory<Uses> = Memory::of(aws, arn, &managed.tags).await?;
                memory.write(aws, Uses::of(&managed.service)).await?;
            }
            Ok("done")
        }
        Remedy::LogGroup(name) => {
            let delete = aws.logs().delete_log_group().log_group_name(name);
            // One that is gone by now is removed, too.
            found(
                delete.send().await,
                |error| error.is_resource_not_found_exception(),
                "logs:DeleteLogGroup",
            )?;
            Ok("removed")
        }
        Remedy::Park => {
            // Once for all stacks: it looks at every one.
            let name = name("sweep", execution);
            let input = json!({"action": "follow-schedule"});
            start(aws, &surroundings.park_state_machine, &name, &input).await?;
            Ok("park was started")
        }
        Remedy::Person(_) => Ok("left"),
    }
}

fn service(arn: &str) -> Result<ServiceArn> {
    ServiceArn::parse(arn)
        .ok_or_else(|| Error::invalid("remedy", arn, "the ARN of an App Runner service"))
}

/// `{of}-sweep-{hash of the sweep}`, as long as the claim of a deployment takes.
fn name(of: &str, sweep: &str) -> String {
    let end = format!("-sweep-{}", hexadecimal(sweep, 8));
    let of: String = of
        .chars()
        .take(Claim::LONGEST_EXECUTION - end.len())
        .collect();
    format!("{of}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sweep_starts_one_execution_for_each_service_whose_name_fits_into_a_claim() {
        let long = "s".repeat(40);
        assert_eq!(name(&long, "first"), name(&long, "first"));
        assert_ne!(name(&long, "first"), name(&long, "second"));
        assert!(name(&long, "first").len() <= Claim::LONGEST_EXECUTION);
    }
}
