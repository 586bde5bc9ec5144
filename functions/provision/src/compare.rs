//! Compares stacks with the specs that they were last brought in line with, by the decisions of `ensure`. Nothing is called that
//! writes, and the role of the function that does it allows nothing that does.

use crate::last_spec;
use crate::resources::Resource;
use groundcrew::pace::{Pace, Tempo};
use groundcrew::secrets::hexadecimal;
use groundcrew::{Aws, Drift, Error, Result, Run, Spec, Stack, execution};
use std::collections::BTreeSet;

/// The stacks of these that differ, or whose difference is gone that a person was told of. One of which no spec is remembered, and
/// one that an execution is at work on, is left out. `machines` are the ARNs of `provision` and `teardown`.
///
/// # Errors
/// `Throttled` and `Unavailable`; what else is the matter with a stack is a difference.
pub(crate) async fn drifts(aws: &Aws, stacks: &[Stack], machines: &[String]) -> Result<Vec<Drift>> {
    let pace = Pace::new(Tempo::AWS);
    let mut drifts = Vec::new();
    for stack in stacks {
        drifts.extend(pace.ask(|| drift(aws, stack)).await?);
    }
    if drifts.iter().any(Drift::is_there) {
        let under_way = under_way(aws, machines).await?;
        drifts.retain(|drift| !under_way.contains(&drift.stack));
    }
    Ok(drifts)
}

async fn drift(aws: &Aws, stack: &Stack) -> Result<Option<Drift>> {
    let name = stack.name();
    let memory = last_spec::of(aws, &name).await?;
    if memory.is_new() {
        return Ok(None);
    }
    let found = match Spec::parse(&memory.spec) {
        Ok(spec) => differences(aws, &spec).await,
        Err(error) => Err(error),
    };
    let (urgent, differs) = match found {
        Ok(found) => found,
        Err(error @ (Error::Throttled { .. } | Error::Unavailable { .. })) => return Err(error),
        // Something is on its way: the next look sees what comes of it.
        Err(error) if error.is_retried() => return Ok(None),
        Err(error) => (
            Vec::new(),
            vec![format!("it could not be compared: {error}")],
        ),
    };
    let fingerprint = (!differs.is_empty()).then(|| hexadecimal(&differs.join("\n"), 8));
    let drift = Drift {
        is_told: fingerprint.is_some() && fingerprint == memory.told,
        stack: name,
        urgent,
        differs,
        fingerprint,
    };
    let is_gone = !drift.is_there() && memory.told.is_some();
    Ok((drift.is_there() || is_gone).then_some(drift))
}

/// What is urgent, and what else differs. Alarms are not asked for: the sweep keeps them by itself.
async fn differences(aws: &Aws, spec: &Spec) -> Result<(Vec<String>, Vec<String>)> {
    let (mut urgent, mut differs) = (Vec::new(), Vec::new());
    for resource in Resource::ALL {
        if resource == Resource::Alarms {
            continue;
        }
        let mut run = Run::deciding("");
        resource.ensure(aws, spec, &mut run).await?;
        let is_urgent = |line: &&String| run.urgent().iter().any(|it| line.ends_with(it));
        let (now, later): (Vec<_>, Vec<_>) = run.changes().iter().partition(is_urgent);
        urgent.extend(now.into_iter().cloned());
        differs.extend(later.into_iter().cloned());
        let waits = run.waits().iter();
        differs.extend(waits.map(|it| format!("{it}, which waits until the stack is awake")));
    }
    Ok((urgent, differs))
}

/// The names of the stacks that an execution of these state machines is at work on.
async fn under_way(aws: &Aws, machines: &[String]) -> Result<BTreeSet<String>> {
    let mut stacks = BTreeSet::new();
    for machine in machines {
        for (arn, _) in execution::running(aws, machine).await? {
            let input = execution::input(aws, &arn).await?;
            stacks.extend(input.as_deref().and_then(execution::acts_on));
        }
    }
    Ok(stacks)
}
