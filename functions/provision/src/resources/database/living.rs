//! A database that is there, compared with what it is to be: what is put right at once, what in its maintenance window, and what
//! stays.

use super::wanted::{self, Exposure, Wanted};
use super::{mark_changed, replica_name};
use crate::last_spec;
use crate::member::{Becomes, Member, change, differing, listed};
use aws_sdk_rds::types::DbInstance;
use groundcrew::spec::Apply;
use groundcrew::stack::TAG_CHANGED_BY;
use groundcrew::{Aws, Error, Result, Run, Spec, database};

/// A database with its members, beside those that it is to have.
pub(super) struct Living {
    pub(super) instance: DbInstance,
    pub(super) replica: Option<DbInstance>,
    wanted: Wanted,
    members: Vec<Member>,
    of_replica: Vec<Member>,
    /// The members that are put right in the maintenance window.
    may_wait: Vec<&'static str>,
    /// Whether this execution has changed it before.
    is_ours: bool,
}

impl Living {
    /// Compares a database and its replica with the spec.
    ///
    /// # Errors
    /// Those of `dynamodb:GetItem`.
    pub(super) async fn compared(
        aws: &Aws,
        spec: &Spec,
        run: &Run,
        instance: DbInstance,
        replica: Option<DbInstance>,
        security_group: &str,
    ) -> Result<Self> {
        let wanted = Wanted::of(spec, security_group);
        let tags = database::tags(instance.tag_list());
        let is_ours = tags.get(TAG_CHANGED_BY) == Some(&run.execution);
        let is_now = spec.apply == Apply::Now;
        let may_wait = match is_now {
            true => Vec::new(),
            false => may_wait(aws, spec, security_group, &wanted).await?,
        };
        let of_replica = replica.as_ref();
        let of_replica = of_replica.map(|it| Exposure::of(security_group).members(it));
        Ok(Self {
            members: wanted.members(&instance, is_ours || !is_now),
            of_replica: of_replica.unwrap_or_default(),
            instance,
            replica,
            wanted,
            may_wait,
            is_ours,
        })
    }

    /// What is put right at once, and what in the maintenance window.
    fn differing(&self) -> (Vec<&Member>, Vec<&Member>) {
        let differing = differing(&self.members, Becomes::PutRight).into_iter();
        differing.partition(|it| !self.may_wait.contains(&it.name))
    }

    fn name(&self) -> &str {
        self.instance.db_instance_identifier().unwrap_or_default()
    }

    fn lacks_replica(&self, spec: &Spec) -> bool {
        spec.database.read_replica && self.replica.is_none()
    }

    /// Names what RDS changes of no living database.
    pub(super) fn name_what_stays(&self, run: &mut Run) {
        let stays = differing(&self.members, Becomes::Stays);
        if !stays.is_empty() {
            run.leave(format!(
                "database {}: {}, which RDS changes of no living database",
                self.name(),
                listed(&stays)
            ));
        }
    }

    /// Says what waits until it is awake.
    pub(super) fn wait(&self, spec: &Spec, run: &mut Run) {
        let differing = differing(&self.members, Becomes::PutRight);
        if !differing.is_empty() {
            run.wait(format!("database {}: {}", self.name(), listed(&differing)));
        }
        if self.lacks_replica(spec) {
            run.wait(format!("read replica {}", replica_name(&spec.stack())));
        }
    }

    /// Says what would be put right.
    pub(super) fn plan(&self, spec: &Spec, run: &mut Run) {
        let (now, later) = self.differing();
        let _ = change(run, &format!("database {}", self.name()), &now);
        let _ = self.in_its_window(run, &later);
        let replica = format!("read replica {}", replica_name(&spec.stack()));
        let _ = change(
            run,
            &replica,
            &differing(&self.of_replica, Becomes::PutRight),
        );
        if self.lacks_replica(spec) {
            let _ = run.create(replica);
        }
    }

    /// Has RDS put right what differs.
    ///
    /// # Errors
    /// `NotReady` until RDS has done it, or keeps it for the maintenance window; those of `rds:ModifyDBInstance`.
    pub(super) async fn put_right(&self, aws: &Aws, run: &mut Run) -> Result<()> {
        let name = self.name();
        let (now, later) = self.differing();
        let is_changed = change(run, &format!("database {name}"), &now);
        if is_changed || self.in_its_window(run, &later) {
            let members = if is_changed { &now } else { &later };
            mark_changed(aws, run, &self.instance).await?;
            let call = aws.rds().modify_db_instance().db_instance_identifier(name);
            let call = self.wanted.clone().change(call, members);
            let call = call.apply_immediately(is_changed && wanted::is_immediate(members));
            let modified = call.send().await;
            modified.map_err(Error::aws("rds:ModifyDBInstance"))?;
            return Err(Error::NotReady(format!(
                "database {name}, which is being modified,"
            )));
        }
        // Right after a modification the instance is still `available`, with what is to come beside it.
        if self.is_ours && wanted::pending_beside(&self.instance, &self.may_wait) {
            return Err(Error::NotReady(format!(
                "database {name}, whose modification is pending,"
            )));
        }
        if let Some(kept) = wanted::kept(&self.instance, &self.may_wait) {
            run.tell(
                "in_maintenance_window",
                format!("{kept}, {} UTC", self.window()),
            );
        }
        Ok(())
    }

    /// `sun:05:00-sun:05:30`
    fn window(&self) -> &str {
        let window = self.instance.preferred_maintenance_window();
        window.unwrap_or_default()
    }

    /// Notes what is put right in the maintenance window. `false` if there is nothing, or not now.
    fn in_its_window(&self, run: &mut Run, members: &[&Member]) -> bool {
        !members.is_empty()
            && run.change(format!(
                "database {}, in its maintenance window {} UTC, or at once with \"apply\": \"now\": {}",
                self.name(),
                self.window(),
                listed(members)
            ))
    }
}

/// What of a database may wait for its maintenance window: it is as the spec had it when the stack was last brought in line.
async fn may_wait(
    aws: &Aws,
    spec: &Spec,
    security_group: &str,
    wanted: &Wanted,
) -> Result<Vec<&'static str>> {
    let last = last_spec::of(aws, &spec.stack().name()).await?;
    // Of a stack that was last built before specs were remembered nobody knows, and of one that cannot be read.
    let last = Spec::parse(&last.spec).ok();
    let last = last.map(|last| Wanted::of(&last, security_group));
    Ok(last.map_or_else(Vec::new, |last| wanted.may_wait(&last)))
}
