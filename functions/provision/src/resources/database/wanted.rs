//! What the database of a stack is to be. What it is created with, what a living one is compared with and what is changed of it
//! are members of one value: each function takes it apart as a whole, so that a member cannot be sent and not compared.

use super::super::credentials::{Credentials, PORT, USERNAME};
use crate::member::Member;
use aws_sdk_rds::operation::create_db_instance::builders::CreateDBInstanceFluentBuilder;
use aws_sdk_rds::operation::create_db_instance_read_replica::builders::CreateDBInstanceReadReplicaFluentBuilder;
use aws_sdk_rds::operation::modify_db_instance::builders::ModifyDBInstanceFluentBuilder;
use aws_sdk_rds::types::{DbInstance, PendingModifiedValues};
use groundcrew::{Error, Mistake, Result, Spec};

const ENGINE: &str = "postgres";

const CLASS: &str = "class";
const MULTI_AZ: &str = "Multi-AZ";

/// What RDS keeps for the maintenance window unless it is asked to do it immediately; everything else it does at once whatever it
/// is asked ("Settings for DB instances", RDS user guide). To do one thing immediately does all that is kept as well.
const KEPT: [&str; 7] = [
    "major version",
    CLASS,
    "storage",
    MULTI_AZ,
    "backup days",
    "port",
    // The page does not say it of this.
    "extended support",
];

/// Whether RDS is to be asked to change these members immediately.
pub(super) fn is_immediate(members: &[&Member]) -> bool {
    members.iter().any(|it| KEPT.contains(&it.name))
}

/// Whether RDS keeps something for the maintenance window of an instance beside these members.
pub(super) fn pending_beside(instance: &DbInstance, may_wait: &[&str]) -> bool {
    let Some(pending) = instance.pending_modified_values() else {
        return false;
    };
    let mut pending = pending.clone();
    if may_wait.contains(&CLASS) {
        pending.db_instance_class = None;
    }
    if may_wait.contains(&MULTI_AZ) {
        pending.multi_az = None;
    }
    pending != PendingModifiedValues::builder().build()
}

/// The values of these members that RDS keeps for the maintenance window of an instance, for a person.
pub(super) fn kept(instance: &DbInstance, may_wait: &[&str]) -> Option<String> {
    let pending = instance.pending_modified_values()?;
    let class = pending
        .db_instance_class()
        .map(|it| format!("{CLASS} {it}"));
    let multi_az = pending.multi_az().map(|it| format!("{MULTI_AZ} {it}"));
    let kept = [(CLASS, class), (MULTI_AZ, multi_az)].into_iter();
    let kept = kept.filter(|(name, _)| may_wait.contains(name));
    let kept: Vec<_> = kept.filter_map(|(_, value)| value).collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// Everything that a database is created with, but for its name, its tags and its password.
#[derive(Clone)]
pub(super) struct Wanted {
    major_version: u8,
    upgrades_minor_version: bool,
    lifecycle_support: &'static str,
    class: String,
    storage_gib: i32,
    storage_type: &'static str,
    is_encrypted: bool,
    is_multi_az: bool,
    backup_days: i32,
    is_protected: bool,
    subnet_group: String,
    exposure: Exposure,
    db_name: String,
    port: i32,
    username: &'static str,
}

impl Wanted {
    /// As the spec has it, in this security group.
    pub(super) fn of(spec: &Spec, security_group: &str) -> Self {
        let (stack, database) = (spec.stack(), &spec.database);
        Self {
            // The major version alone: minor versions are withdrawn after a year or so.
            major_version: database.major_version,
            upgrades_minor_version: true,
            lifecycle_support: "open-source-rds-extended-support-disabled",
            class: database.instance_class.clone(),
            storage_gib: i32::try_from(database.storage_gib).unwrap_or(i32::MAX),
            storage_type: "gp3",
            is_encrypted: true,
            is_multi_az: database.multi_az,
            backup_days: database.backup_days.into(),
            is_protected: spec.deletion_protection(),
            subnet_group: stack.name(),
            exposure: Exposure::of(security_group),
            db_name: stack.database_name(),
            port: PORT.into(),
            username: USERNAME,
        }
    }

    /// Creates it.
    pub(super) fn create(
        self,
        call: CreateDBInstanceFluentBuilder,
        credentials: &Credentials,
    ) -> CreateDBInstanceFluentBuilder {
        let Self {
            major_version,
            upgrades_minor_version,
            lifecycle_support,
            class,
            storage_gib,
            storage_type,
            is_encrypted,
            is_multi_az,
            backup_days,
            is_protected,
            subnet_group,
            exposure,
            db_name,
            port,
            username,
        } = self;
        call.engine(ENGINE)
            .engine_version(major_version.to_string())
            .auto_minor_version_upgrade(upgrades_minor_version)
            .engine_lifecycle_support(lifecycle_support)
            .db_instance_class(class)
            .allocated_storage(storage_gib)
            .storage_type(storage_type)
            .storage_encrypted(is_encrypted)
            .multi_az(is_multi_az)
            .publicly_accessible(exposure.is_public)
            .backup_retention_period(backup_days)
            .deletion_protection(is_protected)
            .copy_tags_to_snapshot(exposure.copies_tags)
            .db_subnet_group_name(subnet_group)
            .vpc_security_group_ids(exposure.security_group)
            .db_name(db_name)
            .port(port)
            .master_username(username)
            .master_user_password(&credentials.password)
    }

    /// Its members, beside those of an instance. What RDS has accepted and not yet applied counts as done, unless it is to be done
    /// now.
    pub(super) fn members(&self, instance: &DbInstance, is_pending_done: bool) -> Vec<Member> {
        let Self {
            major_version,
            upgrades_minor_version,
            lifecycle_support,
            class,
            storage_gib,
            storage_type,
            is_encrypted,
            is_multi_az,
            backup_days,
            is_protected,
            subnet_group,
            exposure,
            db_name,
            port,
            username,
        } = self;
        let pending = instance.pending_modified_values();
        let pending = pending.filter(|_| is_pending_done);
        let is_class = pending
            .and_then(|it| it.db_instance_class())
            .or(instance.db_instance_class());
        let is_in_zones = pending
            .and_then(|it| it.multi_az())
            .or(instance.multi_az())
            .unwrap_or(false);
        let backups = pending
            .and_then(|it| it.backup_retention_period())
            .or(instance.backup_retention_period())
            .unwrap_or(0);
        let listens = pending
            .and_then(|it| it.port())
            .or(instance.endpoint().and_then(|it| it.port()))
            .unwrap_or(*port);
        let is_on = |found: Option<bool>| found.unwrap_or(false);
        let said = |found: Option<&str>| found.unwrap_or_default().to_owned();
        let groups = instance.db_subnet_group();
        let in_group = groups.and_then(|it| it.db_subnet_group_name());
        // AWS need not say it of an instance of before there was a choice.
        let support = instance.engine_lifecycle_support();
        let support = support.unwrap_or(lifecycle_support);
        let mut members = vec![
            Member::put_right("major version", major_version_of(instance), major_version),
            Member::moves("minor version", said(instance.engine_version()), ""),
            Member::put_right(
                "automatic minor versions",
                is_on(instance.auto_minor_version_upgrade()),
                upgrades_minor_version,
            ),
            Member::put_right("extended support", support, lifecycle_support),
            Member::put_right(CLASS, is_class.unwrap_or_default(), class),
            match grows_by_itself(instance) && allocated(instance) > *storage_gib {
                true => Member::moves("storage", allocated(instance), storage_gib),
                false => Member::put_right("storage", allocated(instance), storage_gib),
            },
            Member::stays("storage type", said(instance.storage_type()), storage_type),
            Member::stays(
                "encryption",
                is_on(instance.storage_encrypted()),
                is_encrypted,
            ),
            Member::put_right(MULTI_AZ, is_in_zones, is_multi_az),
            Member::put_right("backup days", backups, backup_days),
            Member::put_right(
                "deletion protection",
                is_on(instance.deletion_protection()),
                is_protected,
            ),
            Member::stays("subnet group", said(in_group), subnet_group),
            Member::stays("name of the database", said(instance.db_name()), db_name),
            Member::put_right("port", listens, port),
            Member::stays("user name", said(instance.master_username()), username),
            Member::unreadable("password"),
        ];
        members.extend(exposure.members(instance));
        members
    }

    /// Those members that disturb the database when they change, and that this value has in common with the one before: somebody has
    /// changed them by hand, and they can wait for the maintenance window ("Settings for DB instances", RDS user guide).
    pub(super) fn may_wait(&self, before: &Self) -> Vec<&'static str> {
        let same = [
            (CLASS, self.class == before.class),
            (MULTI_AZ, self.is_multi_az == before.is_multi_az),
        ];
        let same = same.into_iter().filter(|(_, is_same)| *is_same);
        same.map(|(name, _)| name).collect()
    }

    /// Changes these members of an instance, and no others.
    pub(super) fn change(
        self,
        call: ModifyDBInstanceFluentBuilder,
        members: &[&Member],
    ) -> ModifyDBInstanceFluentBuilder {
        let Self {
            major_version,
            upgrades_minor_version,
            lifecycle_support,
            class,
            storage_gib,
            storage_type: _,
            is_encrypted: _,
            is_multi_az,
            backup_days,
            is_protected,
            subnet_group: _,
            exposure,
            db_name: _,
            port,
            username: _,
        } = self;
        let Exposure {
            is_public,
            copies_tags,
            security_group,
        } = exposure;
        let is_off = |name: &str| members.iter().any(|it| it.name == name);
        let upgrades = is_off("major version");
        let minor = is_off("automatic minor versions").then_some(upgrades_minor_version);
        let support = is_off("extended support").then(|| lifecycle_support.to_owned());
        call.set_engine_version(upgrades.then(|| major_version.to_string()))
            .set_allow_major_version_upgrade(upgrades.then_some(true))
            .set_auto_minor_version_upgrade(minor)
            .set_engine_lifecycle_support(support)
            .set_db_instance_class(is_off(CLASS).then_some(class))
            .set_allocated_storage(is_off("storage").then_some(storage_gib))
            .set_multi_az(is_off(MULTI_AZ).then_some(is_multi_az))
            .set_publicly_accessible(is_off("public").then_some(is_public))
            .set_backup_retention_period(is_off("backup days").then_some(backup_days))
            .set_deletion_protection(is_off("deletion protection").then_some(is_protected))
            .set_copy_tags_to_snapshot(is_off("tags of snapshots").then_some(copies_tags))
            .set_vpc_security_group_ids(is_off("security groups").then(|| vec![security_group]))
            .set_db_port_number(is_off("port").then_some(port))
    }
}

/// Who reaches an instance, and what tells whose its snapshots are: all that a read replica does not have from its source.
#[derive(Clone)]
pub(super) struct Exposure {
    is_public: bool,
    copies_tags: bool,
    /// Left out, it would get the default group of the VPC, which accepts nothing from the connector.
    security_group: String,
}

impl Exposure {
    /// In the group of its source.
    pub(super) fn of(security_group: &str) -> Self {
        Self {
            is_public: false,
            copies_tags: true,
            security_group: security_group.to_owned(),
        }
    }

    /// Creates a read replica.
    pub(super) fn create(
        self,
        call: CreateDBInstanceReadReplicaFluentBuilder,
    ) -> CreateDBInstanceReadReplicaFluentBuilder {
        let Self {
            is_public,
            copies_tags,
            security_group,
        } = self;
        call.publicly_accessible(is_public)
            .copy_tags_to_snapshot(copies_tags)
            .vpc_security_group_ids(security_group)
    }

    /// Its members, beside those of an instance.
    pub(super) fn members(&self, instance: &DbInstance) -> Vec<Member> {
        let Self {
            is_public,
            copies_tags,
            security_group,
        } = self;
        let is_on = |found: Option<bool>| found.unwrap_or(false);
        vec![
            Member::put_right("public", is_on(instance.publicly_accessible()), is_public).urgent(),
            Member::put_right(
                "tags of snapshots",
                is_on(instance.copy_tags_to_snapshot()),
                copies_tags,
            ),
            Member::put_right("security groups", security_groups(instance), security_group)
                .urgent(),
        ]
    }

    /// Changes a read replica.
    pub(super) fn change(
        self,
        call: ModifyDBInstanceFluentBuilder,
    ) -> ModifyDBInstanceFluentBuilder {
        let Self {
            is_public,
            copies_tags,
            security_group,
        } = self;
        call.publicly_accessible(is_public)
            .copy_tags_to_snapshot(copies_tags)
            .vpc_security_group_ids(security_group)
    }
}

/// What the spec wants of a living instance, and what RDS cannot do.
///
/// # Errors
/// [`Error::Invalid`] with the field of the spec.
pub(super) fn check(spec: &Spec, instance: &DbInstance) -> Result<()> {
    let database = &spec.database;
    let major = major_version_of(instance);
    if major > u32::from(database.major_version) {
        return Err(Error::invalid(
            "database.major_version",
            database.major_version,
            format!("{major}, which is running, or a later one: RDS does not go back"),
        ));
    }
    if let Some(mistake) = storage_mistake(database.storage_gib, instance) {
        return Err(Error::Invalid(vec![mistake]));
    }
    if !database.read_replica && !instance.read_replica_db_instance_identifiers().is_empty() {
        return Err(Error::invalid(
            "database.read_replica",
            false,
            "true while the database has a read replica: delete the replica first, if it is to go",
        ));
    }
    Ok(())
}

fn storage_mistake(storage_gib: u32, instance: &DbInstance) -> Option<Mistake> {
    let allocated = u32::try_from(allocated(instance)).unwrap_or_default();
    if allocated > storage_gib {
        let advice =
            format!("{allocated}, which is allocated, or more: RDS storage does not shrink");
        return (!grows_by_itself(instance))
            .then(|| Mistake::new("database.storage_gib", storage_gib, advice));
    }
    // RDS rounds a smaller growth up to a tenth (ModifyDBInstance, AllocatedStorage), and the spec would never be met.
    let least = allocated + allocated.div_ceil(10);
    let advice = format!(
        "{allocated}, which is allocated, or {least} and more: RDS storage grows by a tenth at least"
    );
    (allocated + 1..least)
        .contains(&storage_gib)
        .then(|| Mistake::new("database.storage_gib", storage_gib, advice))
}

/// Whether somebody has turned storage autoscaling on: then RDS has the last word on how large it is.
fn grows_by_itself(instance: &DbInstance) -> bool {
    let most = instance.max_allocated_storage();
    most > instance.allocated_storage()
}

fn allocated(instance: &DbInstance) -> i32 {
    let pending = instance.pending_modified_values();
    pending
        .and_then(|it| it.allocated_storage())
        .or(instance.allocated_storage())
        .unwrap_or(0)
}

fn major_version_of(instance: &DbInstance) -> u32 {
    let pending = instance.pending_modified_values();
    let version = pending
        .and_then(|it| it.engine_version())
        .or(instance.engine_version());
    version
        .and_then(|version| version.split('.').next()?.parse().ok())
        .unwrap_or(0)
}

fn security_groups(instance: &DbInstance) -> String {
    let groups = instance.vpc_security_groups().iter();
    let mut ids: Vec<_> = groups.filter_map(|it| it.vpc_security_group_id()).collect();
    ids.sort_unstable();
    ids.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Becomes, differing, listed};
    use aws_sdk_rds::types::builders::DbInstanceBuilder;
    use serde_json::json;

    fn spec(storage_gib: u32) -> Spec {
        let database = json!({"storage_gib": storage_gib});
        let spec = json!({"app": "shop", "environment": "dev", "database": database});
        Spec::parse(&spec).expect("a good spec")
    }

    /// An instance with 20 GiB, as far as it matters here.
    fn instance() -> DbInstanceBuilder {
        DbInstance::builder()
            .engine_version("17.9")
            .allocated_storage(20)
    }

    #[test]
    fn storage_grows_by_a_tenth_at_least_and_shrinks_never() {
        let is_refused = |storage_gib| check(&spec(storage_gib), &instance().build()).is_err();
        assert!(!is_refused(20) && is_refused(21) && !is_refused(22));
        let large = instance().allocated_storage(40);
        assert!(check(&spec(20), &large.build()).is_err());
    }

    #[test]
    fn storage_that_rds_has_grown_by_itself_is_no_drift() {
        let storage = |allocated, spec: &Spec| {
            let grows = instance().max_allocated_storage(100);
            let instance = grows.allocated_storage(allocated).build();
            check(spec, &instance).expect("it is as RDS has it");
            let members = Wanted::of(spec, "sg-1").members(&instance, true);
            listed(&differing(&members, Becomes::PutRight))
        };
        assert!(!storage(40, &spec(20)).contains("storage"));
        assert!(storage(20, &spec(40)).contains("storage 20 → 40"));
    }

    #[test]
    fn a_read_replica_is_not_dropped_in_silence() {
        let instance = instance().read_replica_db_instance_identifiers("shop-dev-replica");
        let refused = check(&spec(20), &instance.build()).unwrap_err();
        assert_eq!(refused.name(), "Invalid");
    }
}
