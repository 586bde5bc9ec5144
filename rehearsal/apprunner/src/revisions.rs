//! What auto scaling configurations, observability configurations and VPC connectors have in common: a name has
//! numbered revisions that never change, a deleted revision stays INACTIVE for a while, and an ARN may leave out the
//! id (`…/name/revision`) or the revision too (`…/name`, the latest active one).

use std::collections::BTreeMap;

use crate::ids;
use crate::world::{Tags, now};

/// One revision of a named configuration.
#[derive(Debug)]
pub(crate) struct Revision<T> {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) revision: u32,
    pub(crate) created_at: f64,
    pub(crate) deleted_at: Option<f64>,
    pub(crate) tags: Tags,
    pub(crate) settings: T,
}

impl<T> Revision<T> {
    pub(crate) fn is_active(&self) -> bool {
        self.deleted_at.is_none()
    }

    pub(crate) fn status(&self) -> &'static str {
        if self.is_active() {
            "ACTIVE"
        } else {
            "INACTIVE"
        }
    }
}

/// All revisions of all names of one kind, oldest first.
#[derive(Debug)]
pub(crate) struct Revisions<T> {
    /// `arn:aws:apprunner:REGION:ACCOUNT:KIND`
    prefix: String,
    pub(crate) all: Vec<Revision<T>>,
}

impl<T> Revisions<T> {
    pub(crate) fn new(prefix: String) -> Self {
        Self {
            prefix,
            all: Vec::new(),
        }
    }

    pub(crate) fn active(&self) -> impl Iterator<Item = &Revision<T>> {
        self.all.iter().filter(|revision| revision.is_active())
    }

    /// Names with at least one active revision.
    pub(crate) fn names(&self) -> usize {
        let names: BTreeMap<&str, ()> = self
            .active()
            .map(|revision| (revision.name.as_str(), ()))
            .collect();
        names.len()
    }

    /// The number after the highest of that name, deleted ones included: as with task definitions in ECS, a number is
    /// not used again.
    pub(crate) fn next_revision(&self, name: &str) -> u32 {
        self.all
            .iter()
            .filter(|revision| revision.name == name)
            .map(|revision| revision.revision)
            .max()
            .unwrap_or(0)
            + 1
    }

    pub(crate) fn is_latest(&self, revision: &Revision<T>) -> bool {
        self.latest(&revision.name)
            .is_some_and(|latest| latest.arn == revision.arn)
    }

    pub(crate) fn latest(&self, name: &str) -> Option<&Revision<T>> {
        self.active()
            .filter(|revision| revision.name == name)
            .max_by_key(|revision| revision.revision)
    }

    pub(crate) fn add(&mut self, name: &str, number: u32, tags: Tags, settings: T) -> &Revision<T> {
        self.add_with_id(name, number, &ids::resource_id(), tags, settings)
    }

    pub(crate) fn add_with_id(
        &mut self,
        name: &str,
        number: u32,
        id: &str,
        tags: Tags,
        settings: T,
    ) -> &Revision<T> {
        self.all.push(Revision {
            arn: format!("{}/{name}/{number}/{id}", self.prefix),
            name: name.to_owned(),
            revision: number,
            created_at: now(),
            deleted_at: None,
            tags,
            settings,
        });
        self.all.last().expect("it was just pushed")
    }

    /// The revision of exactly this full ARN, active or not.
    pub(crate) fn exact(&self, arn: &str) -> Option<&Revision<T>> {
        self.all.iter().find(|revision| revision.arn == arn)
    }

    /// The revision that a full or partial ARN stands for: a full one finds a deleted revision too.
    pub(crate) fn find(&self, arn: &str) -> Option<&Revision<T>> {
        self.exact(arn).or_else(|| {
            let rest = arn.strip_prefix(&self.prefix)?.strip_prefix('/')?;
            match rest.split_once('/') {
                None => self.latest(rest),
                Some((name, number)) => {
                    let number: u32 = number.parse().ok()?;
                    self.active()
                        .find(|revision| revision.name == name && revision.revision == number)
                }
            }
        })
    }

    /// The name in an ARN that ends at the name.
    pub(crate) fn bare_name<'a>(&self, arn: &'a str) -> Option<&'a str> {
        arn.strip_prefix(&self.prefix)?
            .strip_prefix('/')
            .filter(|name| !name.contains('/'))
    }

    pub(crate) fn deactivate(&mut self, arn: &str) {
        if let Some(revision) = self.all.iter_mut().find(|revision| revision.arn == arn) {
            revision.deleted_at = Some(now());
        }
    }
}
