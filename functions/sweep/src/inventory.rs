//! Which stacks there are, by the tags of everything that they may consist of.

use crate::request::Request;
use groundcrew::arn::ServiceArn;
use groundcrew::memory::Deployments;
use groundcrew::pace::{Tempo, patiently};
use groundcrew::stack::{TAG_APP, TAG_ENVIRONMENT, Tags, created_at};
use groundcrew::tagged::{find_patiently, stack_of};
use groundcrew::{Aws, Error, Memory, Result, Stack};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// As many stacks as one invocation looks at. The values of a tag filter are twenty at most (`tag:GetResources`).
const BATCH: usize = 20;

/// By which a stack is known to be there: what runs, what costs, what watches it, and what it leaves.
const KINDS: [&str; 4] = [
    "apprunner:service",
    "cloudwatch:alarm",
    "logs:log-group",
    "rds:db",
];

/// What `list` answers.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// How many stacks there are.
    pub stacks: usize,
    /// All of them, in parts that one invocation can look at.
    pub batches: Vec<Vec<Stack>>,
    /// How many bytes the lines of one kind may have that a batch says.
    pub room: usize,
    /// Whether nothing is to be repaired.
    pub dry_run: bool,
}

/// What carries the tags of one stack. The index lags behind: each of it may be gone.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) stack: Stack,
    pub(crate) services: Vec<ServiceArn>,
    /// The identifiers of its databases.
    pub(crate) databases: Vec<String>,
    /// The names of its alarms.
    pub(crate) alarms: Vec<String>,
    /// The names of the log groups of its services, also of those that are gone.
    pub(crate) log_groups: Vec<String>,
    /// When the execution began that created the latest of it.
    pub(crate) since: Option<Timestamp>,
}

pub(crate) async fn list(aws: &Aws, request: &Value) -> Result<Listed> {
    let request = Request::parse(request)?;
    let found = find_patiently(aws, Tempo::AWS, &KINDS, &[]).await?;
    let mut stacks: Vec<_> = found
        .iter()
        .filter_map(|(_, tags)| stack_of(tags))
        .collect();
    // One whose tags somebody has removed is looked at, too.
    let remembered = patiently(Tempo::AWS, || Memory::<Deployments>::all(aws)).await?;
    stacks.extend(remembered.iter().filter_map(|memory| memory.stack.clone()));
    stacks.sort_by_key(Stack::name);
    stacks.dedup();
    if let Some(name) = &request.stack {
        stacks.retain(|stack| stack.name() == *name);
        if stacks.is_empty() {
            let allowed = "the name of a stack that groundcrew manages; there is none of that name";
            return Err(Error::invalid("stack", name.clone(), allowed));
        }
    }
    let batches: Vec<_> = stacks.chunks(BATCH).map(<[_]>::to_vec).collect();
    Ok(Listed {
        stacks: stacks.len(),
        room: room(batches.len()),
        batches,
        dry_run: request.dry_run,
    })
}

/// Those of three kinds, of all batches, have to fit into the 256 KiB of a state, with as much again for what is escaped.
fn room(batches: usize) -> usize {
    (120_000 / 3 / batches.max(1)).min(10_000)
}

/// What carries the tags of these stacks, of at most [`BATCH`].
pub(crate) async fn inventories(aws: &Aws, stacks: &[Stack]) -> Result<Vec<Inventory>> {
    let mut tags: Vec<_> = stacks
        .iter()
        .flat_map(|stack| {
            [
                (TAG_APP, stack.app.as_str()),
                (TAG_ENVIRONMENT, &stack.environment),
            ]
        })
        .collect();
    tags.sort_unstable();
    tags.dedup();
    let mut inventories: BTreeMap<_, _> = stacks
        .iter()
        .map(|stack| (stack.name(), Inventory::empty(stack)))
        .collect();
    for (arn, tags) in find_patiently(aws, Tempo::AWS, &KINDS, &tags).await? {
        let inventory = stack_of(&tags).and_then(|stack| inventories.get_mut(&stack.name()));
        if let Some(inventory) = inventory {
            inventory.add(arn, &tags);
        }
    }
    Ok(inventories.into_values().collect())
}

impl Inventory {
    fn empty(stack: &Stack) -> Self {
        Self {
            stack: stack.clone(),
            services: Vec::new(),
            databases: Vec::new(),
            alarms: Vec::new(),
            log_groups: Vec::new(),
            since: None,
        }
    }

    fn add(&mut self, arn: String, tags: &Tags) {
        self.since = self.since.max(created_at(tags));
        if let Some(service) = ServiceArn::parse(&arn) {
            self.services.push(service);
        } else if let Some((_, database)) = arn.split_once(":db:") {
            self.databases.push(database.to_owned());
        } else if let Some((_, alarm)) = arn.split_once(":alarm:") {
            self.alarms.push(alarm.to_owned());
        } else if let Some((_, group)) = arn.split_once(":log-group:") {
            self.log_groups
                .push(group.trim_end_matches(":*").to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_stacks_have_room_for_all_their_lines_and_thousands_fit_into_a_state() {
        assert_eq!(room(0), room(1));
        assert!(room(3) >= 10_000);
        for batches in [1, 10, 100, 1000] {
            let most = batches * 3 * room(batches);
            assert!(most <= 120_000, "{most} bytes");
        }
    }

    #[test]
    fn what_carries_the_tags_of_a_stack_is_told_apart_by_its_arn() {
        let stack = Stack {
            app: "shop".into(),
            environment: "dev".into(),
        };
        let mut inventory = Inventory::empty(&stack);
        for arn in [
            "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a",
            "arn:aws:rds:us-east-1:123456789012:db:shop-dev",
            "arn:aws:cloudwatch:us-east-1:123456789012:alarm:shop-dev-cpu",
        ] {
            inventory.add(arn.into(), &stack.tags("first 2026-11-20T08:00:00Z"));
        }
        assert_eq!(inventory.services[0].id(), "0a");
        assert_eq!(inventory.databases, ["shop-dev"]);
        assert_eq!(inventory.alarms, ["shop-dev-cpu"]);
        let began: Timestamp = "2026-11-20T08:00:00Z".parse().expect("a time");
        assert_eq!(inventory.since, Some(began));
    }
}
