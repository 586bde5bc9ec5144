//! Which installation of groundcrew looks after a service. Two of them in one account and region would take each other's
//! deployments for abandoned ones.

use crate::error::found;
use crate::stack::{TAG_INSTALLATION, Tags};
use crate::{Aws, Result};
use aws_sdk_sfn::types::StateMachineStatus;

/// Who looks after a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Keeper {
    /// This installation.
    Us,
    /// Nobody has said so yet.
    Nobody,
    /// One that is no longer there.
    Gone(String),
    /// Another one.
    Other(String),
}

impl Keeper {
    /// Who looks after a service with these tags.
    ///
    /// # Errors
    /// Those of `states:DescribeStateMachine`.
    pub async fn of(aws: &Aws, tags: &Tags) -> Result<Self> {
        let own = &aws.account.deploy_state_machine;
        let Some(keeper) = tags.get(TAG_INSTALLATION) else {
            return Ok(Self::Nobody);
        };
        if keeper == own {
            return Ok(Self::Us);
        }
        Ok(match exists(aws, keeper).await? {
            true => Self::Other(keeper.clone()),
            false => Self::Gone(keeper.clone()),
        })
    }

    /// Why this installation leaves the service alone, if it does.
    pub fn objection(&self) -> Option<String> {
        match self {
            Self::Other(machine) => Some(format!(
                "another installation of groundcrew looks after it, {machine}; remove one of the two, or the tag {TAG_INSTALLATION} from the service"
            )),
            Self::Us | Self::Nobody | Self::Gone(_) => None,
        }
    }
}

async fn exists(aws: &Aws, machine: &str) -> Result<bool> {
    let described = aws
        .sfn()
        .describe_state_machine()
        .state_machine_arn(machine)
        .send()
        .await;
    let described = found(
        described,
        |error| error.is_state_machine_does_not_exist() || error.is_invalid_arn(),
        "states:DescribeStateMachine",
    )?;
    Ok(described.is_some_and(|it| it.status() != Some(&StateMachineStatus::Deleting)))
}
