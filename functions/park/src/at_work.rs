//! What is at work on stacks when a look begins to find something to do.

use crate::Surroundings;
use crate::decide::Action;
use crate::task::Task;
use crate::under_way::UnderWay;
use groundcrew::execution::running;
use groundcrew::pace::patiently;
use groundcrew::{Aws, Result};

/// Executions of `provision` and `teardown`, which hold a stack, and those of `park` that are seeing to one.
///
/// Step Functions' list may not hold an execution of the last seconds yet (API reference, `ListExecutions`). Then two executions
/// do the same with a stack, each step of which finds the same done.
#[derive(Debug)]
pub(crate) struct AtWork {
    pub(crate) under_way: UnderWay,
    /// The names of the executions of `park` that run.
    parking: Vec<String>,
}

impl AtWork {
    /// Asks Step Functions; `machine` is the ARN of `park`.
    ///
    /// # Errors
    /// Those of `states:ListExecutions` and `states:DescribeExecution`.
    pub(crate) async fn look(
        aws: &Aws,
        surroundings: &Surroundings,
        machine: &str,
    ) -> Result<Self> {
        let parking = patiently(surroundings.tempo, || running(aws, machine)).await?;
        Ok(Self {
            under_way: UnderWay::look_for(aws, surroundings, [Action::Pause]).await?,
            parking: parking.into_iter().map(|(_, name)| name).collect(),
        })
    }

    /// The execution that does with a stack what is to be done with it.
    pub(crate) fn on(&self, task: &Task) -> Option<&str> {
        let begin = task.executions();
        let is_of = |name: &&String| {
            let end = name.strip_prefix(&begin);
            end.is_some_and(|end| !end.contains('-'))
        };
        self.parking.iter().find(is_of).map(String::as_str)
    }
}
