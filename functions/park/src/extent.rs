//! What a look is about: the stacks that a request means, by their tags.

use crate::observed::{Database, databases};
use crate::request::{Asked, Request, Scope};
use crate::schedule::Schedule;
use groundcrew::memory::Parking;
use groundcrew::stack::{TAG_ENVIRONMENT, Tags};
use groundcrew::tagged::{self, stack_of};
use groundcrew::{Aws, Error, Mark, Memory, Result, Stack};
use std::collections::{BTreeMap, BTreeSet};

/// A stack as the index of tags has it, which lags behind: each of its services may be gone, or another's.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) stack: Stack,
    /// The ARNs of its services.
    pub(crate) services: Vec<String>,
    /// Its databases, as RDS has them.
    pub(crate) databases: Vec<Database>,
}

/// Which stacks a request is about.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    scope: Scope,
    /// The stacks of the service that is named, by name.
    of_service: BTreeSet<String>,
    /// The ARNs of the services that groundcrew has parked.
    parked: BTreeSet<String>,
    schedule: Schedule,
}

impl Extent {
    /// What a request is about, and what the tags know of it.
    ///
    /// # Errors
    /// `Invalid` for a name that nothing has, and for the wish to park what never sleeps; otherwise those of
    /// `tag:GetResources` and `rds:DescribeDBInstances`.
    pub(crate) async fn find(
        aws: &Aws,
        schedule: &Schedule,
        request: &Request,
    ) -> Result<(Self, Vec<Found>)> {
        let services = tagged::find(aws, &["apprunner:service"], &[]).await?;
        let scope = request.scope();
        let of_service = match &scope {
            Scope::Service(service) => services
                .iter()
                .filter(|(arn, _)| arn == service || arn.split('/').nth(1) == Some(service))
                .filter_map(|(_, tags)| stack_of(tags))
                .map(|stack| stack.name())
                .collect(),
            _ => BTreeSet::new(),
        };
        let extent = Self {
            scope,
            of_service,
            parked: parked(aws).await?,
            schedule: schedule.clone(),
        };
        let found = extent.stacks(services, databases(aws).await?);
        extent.check(request.action, &found)?;
        Ok((extent, found))
    }

    /// Whether what has these tags is meant.
    pub(crate) fn wants(&self, arn: &str, tags: &Tags) -> bool {
        let Some(stack) = stack_of(tags) else {
            return false;
        };
        match &self.scope {
            // What is parked is woken, also in an environment that no longer sleeps.
            Scope::Schedule => {
                let environment = tags.get(TAG_ENVIRONMENT);
                environment.is_some_and(|it| self.schedule.knows(it))
                    || self.parked.contains(arn)
                    || Mark::of(tags).is_some()
            }
            Scope::Environment(name) => stack.environment == *name,
            Scope::Stack(name) => stack.name() == *name,
            Scope::Service(_) => self.of_service.contains(&stack.name()),
        }
    }

    /// Whether it is about one stack alone, by its name or that of its service.
    pub(crate) fn is_one_stack(&self) -> bool {
        matches!(self.scope, Scope::Stack(_) | Scope::Service(_))
    }

    /// Those that a service or a database is wanted of, each with all its databases.
    fn stacks(&self, services: Vec<(String, Tags)>, databases: Vec<Database>) -> Vec<Found> {
        let mut stacks: BTreeMap<(String, String), Found> = BTreeMap::new();
        let key = |stack: &Stack| (stack.app.clone(), stack.environment.clone());
        let empty = |stack: Stack| Found {
            stack,
            services: Vec::new(),
            databases: Vec::new(),
        };
        for (arn, tags) in services {
            if let Some(stack) = stack_of(&tags).filter(|_| self.wants(&arn, &tags)) {
                let found = stacks.entry(key(&stack));
                found.or_insert_with(|| empty(stack)).services.push(arn);
            }
        }
        for database in databases {
            let Some(stack) = stack_of(&database.tags) else {
                continue;
            };
            if self.wants(&database.arn, &database.tags) || stacks.contains_key(&key(&stack)) {
                let found = stacks.entry(key(&stack));
                let found = found.or_insert_with(|| empty(stack));
                found.databases.push(database);
            }
        }
        stacks.into_values().collect()
    }

    /// # Errors
    /// `Invalid` for a name that nothing has, and for the wish to park what never sleeps.
    fn check(&self, asked: Asked, found: &[Found]) -> Result<()> {
        let (field, value) = match &self.scope {
            Scope::Schedule => return Ok(()),
            Scope::Environment(name) => ("environment", name),
            Scope::Stack(name) => ("stack", name),
            Scope::Service(name) => ("service", name),
        };
        if found.is_empty() {
            let allowed = format!(
                "the {field} of a service that groundcrew manages; there is none of that name"
            );
            return Err(Error::invalid(field, value.clone(), allowed));
        }
        let never = |it: &&Found| !self.schedule.knows(&it.stack.environment);
        match found.iter().find(never) {
            Some(Found { stack, .. }) if asked == Asked::Pause => Err(Error::invalid(
                field,
                value.clone(),
                format!(
                    "what belongs to an environment that sleeps ({}), and {} does not: the parameter SleepingEnvironments says which",
                    self.schedule.environments().join(", "),
                    stack.environment,
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The ARNs of the services that groundcrew has parked, whatever their tags say.
async fn parked(aws: &Aws) -> Result<BTreeSet<String>> {
    let remembered = Memory::<Parking>::all(aws).await?.into_iter();
    let parked = remembered.filter(|memory| memory.mark.is_some());
    Ok(parked.map(|memory| memory.subject().to_owned()).collect())
}
