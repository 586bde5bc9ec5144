//! The RDS PostgreSQL instance, its subnet group and, if the spec asks for one, its read replica.

mod living;
mod wanted;

use super::credentials::Credentials;
use super::{network, roles};
use crate::asleep;
use crate::member::{Becomes, change, differing};
use aws_sdk_rds::types::{DbInstance, DbSubnetGroup, Tag};
use groundcrew::error::found;
use groundcrew::stack::{TAG_AWAKE_UNTIL, TAG_CHANGED_BY, Tags};
use groundcrew::{Aws, Error, Mistake, Removal, Result, Run, Spec, Stack, database};
use jiff::Timestamp;
use living::Living;
use wanted::{Exposure, Wanted};

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let name = stack.name();
    let network = network::find(aws, spec).await?;
    subnet_group(aws, stack, run, network.as_ref()).await?;
    let replica = match spec.database.read_replica {
        true => own_replica(aws, stack).await?,
        false => None,
    };
    let Some(instance) = database::find(aws, &name).await? else {
        return build(aws, spec, run, network.as_ref()).await;
    };
    let tags = database::tags(instance.tag_list());
    if !stack.owns(&tags) {
        return Err(Error::Conflict(format!("database {name}")));
    }
    run.settle(&tags);
    wanted::check(spec, &instance)?;
    let network = network.ok_or_else(|| Error::NotReady(format!("the network of {stack}")))?;
    let group = network.database_group_id.as_str();
    let living = Living::compared(aws, spec, run, instance, replica, group).await?;
    living.name_what_stays(run);
    let status = living.instance.db_instance_status().unwrap_or_default();
    // RDS changes nothing on a stopped instance (RDS user guide, "Stopping an Amazon RDS DB instance temporarily").
    if asleep::is_stopped(status) && asleep::is_to_wait(spec, run) {
        living.wait(spec, run);
    } else if run.dry_run {
        living.plan(spec, run);
        return Ok(());
    } else {
        available(&living.instance)?;
        living.put_right(aws, run).await?;
        tell_the_secret(aws, spec, run, &living.instance).await?;
        if spec.database.read_replica {
            ensure_replica(aws, stack, run, group, living.replica.as_ref()).await?;
        }
    }
    describe(run, &living.instance);
    Ok(())
}

/// Creates a database that is not there, and says of a replica that it comes after it.
async fn build(
    aws: &Aws,
    spec: &Spec,
    run: &mut Run,
    network: Option<&network::Parts>,
) -> Result<()> {
    let stack = spec.stack();
    let planned = run.create(format!(
        "database {stack}, PostgreSQL {} on {}",
        spec.database.major_version, spec.database.instance_class
    ));
    if spec.database.read_replica {
        let _ = run.create(format!("read replica {}", replica_name(&stack)));
    }
    match network {
        Some(network) if planned => create(aws, spec, run, &network.database_group_id).await,
        _ if planned => Err(Error::NotReady(format!("the network of {stack}"))),
        _ => Ok(()),
    }
}

fn describe(run: &mut Run, instance: &DbInstance) {
    let arn = instance.db_instance_arn().unwrap_or_default();
    run.tell("db_instance_arn", arn);
    let version = instance.engine_version().unwrap_or_default();
    run.tell("engine_version", version);
}

async fn create(aws: &Aws, spec: &Spec, run: &Run, database_group_id: &str) -> Result<()> {
    let stack = spec.stack();
    let name = stack.name();
    let credentials = Credentials::read(aws, &stack).await?;
    let call = aws.rds().create_db_instance();
    let call = Wanted::of(spec, database_group_id).create(call, &credentials);
    call.db_instance_identifier(&name)
        .set_tags(Some(tag_list(&stack, run)))
        .send()
        .await
        .map_err(Error::aws("rds:CreateDBInstance"))?;
    Err(Error::NotReady(format!(
        "database {name}, which is being created,"
    )))
}

/// Whether no time leads out of a state, and RDS neither changes nor snapshots an instance in it.
fn is_broken(status: &str) -> bool {
    let broken = [
        "failed",
        "insufficient-capacity",
        "restore-error",
        "storage-full",
        "upgrade_failed",
    ];
    broken.contains(&status)
        || status.starts_with("incompatible-")
        || status.starts_with("inaccessible-")
}

/// Content when the instance can be used or changed.
fn available(instance: &DbInstance) -> Result<()> {
    let name = instance.db_instance_identifier().unwrap_or_default();
    match instance.db_instance_status().unwrap_or_default() {
        "available" | "storage-optimization" => Ok(()),
        status if is_broken(status) => Err(Error::Failed(format!(
            "database {name} is {status}: see its events in RDS; RDS does not repair this by itself"
        ))),
        status => Err(Error::NotReady(format!("database {name} ({status})"))),
    }
}

async fn subnet_group(
    aws: &Aws,
    stack: &Stack,
    run: &mut Run,
    network: Option<&network::Parts>,
) -> Result<()> {
    let name = stack.name();
    if let Some(group) = find_subnet_group(aws, &name).await? {
        let tags = subnet_group_tags(aws, &group).await?;
        return if stack.owns(&tags) {
            Ok(())
        } else {
            Err(Error::Conflict(format!("DB subnet group {name}")))
        };
    }
    if run.create(format!("DB subnet group {name}")) {
        let network = network.ok_or_else(|| Error::NotReady(format!("the network of {stack}")))?;
        roles::of_rds(aws).await?;
        aws.rds()
            .create_db_subnet_group()
            .db_subnet_group_name(&name)
            .db_subnet_group_description(format!("The private subnets of {stack}"))
            .set_subnet_ids(Some(network.subnet_ids.clone()))
            .set_tags(Some(tag_list(stack, run)))
            .send()
            .await
            .map_err(Error::aws("rds:CreateDBSubnetGroup"))?;
    }
    Ok(())
}

async fn tell_the_secret(
    aws: &Aws,
    spec: &Spec,
    run: &mut Run,
    instance: &DbInstance,
) -> Result<()> {
    let stack = spec.stack();
    let host = instance
        .endpoint()
        .and_then(|endpoint| endpoint.address())
        .map(str::to_owned);
    let known = Credentials::read(aws, &stack).await?;
    let told = known
        .clone()
        .at(host, instance.db_instance_identifier.clone());
    if told != known && run.change("secret: host of the database") {
        told.write(aws, &stack).await?;
    }
    Ok(())
}

/// The name of a stack's read replica.
pub(crate) fn replica_name(stack: &Stack) -> String {
    stack.part("replica")
}

async fn own_replica(aws: &Aws, stack: &Stack) -> Result<Option<DbInstance>> {
    let name = replica_name(stack);
    let found = database::find(aws, &name).await?;
    match &found {
        Some(replica) if !stack.owns(&database::tags(replica.tag_list())) => {
            Err(Error::Conflict(format!("database {name}")))
        }
        _ => Ok(found),
    }
}

async fn ensure_replica(
    aws: &Aws,
    stack: &Stack,
    run: &mut Run,
    security_group: &str,
    found: Option<&DbInstance>,
) -> Result<()> {
    let name = replica_name(stack);
    let wanted = Exposure::of(security_group);
    let Some(replica) = found else {
        if run.create(format!("read replica {name}")) {
            let call = aws.rds().create_db_instance_read_replica();
            let call = wanted.create(call);
            call.db_instance_identifier(&name)
                .source_db_instance_identifier(stack.name())
                .set_tags(Some(tag_list(stack, run)))
                .send()
                .await
                .map_err(Error::aws("rds:CreateDBInstanceReadReplica"))?;
        }
        return Err(Error::NotReady(format!(
            "read replica {name}, which is being created,"
        )));
    };
    available(replica)?;
    let members = wanted.members(replica);
    let drift = differing(&members, Becomes::PutRight);
    if !change(run, &format!("read replica {name}"), &drift) {
        return Ok(());
    }
    mark_changed(aws, run, replica).await?;
    let call = wanted.change(aws.rds().modify_db_instance());
    let call = call.db_instance_identifier(&name).apply_immediately(true);
    let modified = call.send().await;
    modified.map_err(Error::aws("rds:ModifyDBInstance"))?;
    Err(Error::NotReady(format!(
        "read replica {name}, which is being modified,"
    )))
}

pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let stack = &removal.stack();
    let mut gone = true;
    // A source cannot go before its replica.
    for name in [replica_name(stack), stack.name()] {
        let Some(instance) = database::find(aws, &name).await? else {
            continue;
        };
        if removal.covers(&database::tags(instance.tag_list())) {
            gone = false;
            remove(aws, removal, run, &instance).await?;
        }
    }
    let name = stack.name();
    if !gone && !run.dry_run {
        return Err(Error::NotReady(format!(
            "what follows the removal of database {name}"
        )));
    }
    let Some(group) = find_subnet_group(aws, &name).await? else {
        return Ok(());
    };
    if removal.covers(&subnet_group_tags(aws, &group).await?)
        && run.remove(format!("DB subnet group {name}"))
    {
        aws.rds()
            .delete_db_subnet_group()
            .db_subnet_group_name(&name)
            .send()
            .await
            .map_err(Error::aws("rds:DeleteDBSubnetGroup"))?;
    }
    Ok(())
}

/// Deletes one instance; waits where RDS needs it.
async fn remove(aws: &Aws, removal: &Removal, run: &mut Run, instance: &DbInstance) -> Result<()> {
    let name = instance.db_instance_identifier().unwrap_or_default();
    let status = instance.db_instance_status().unwrap_or_default();
    let gone = || {
        Err(Error::NotReady(format!(
            "database {name}, which is being deleted,"
        )))
    };
    if !run.remove(format!("database {name}")) {
        return Ok(());
    }
    if status == "deleting" {
        return gone();
    }
    let is_protected = instance.deletion_protection() == Some(true);
    if is_protected && !removal.ignore_deletion_protection {
        return Err(Error::Invalid(vec![protected(name)]));
    }
    let snapshot = takes_snapshot(removal, instance).then(|| final_snapshot_name(instance));
    // "You can't create a final DB snapshot of your DB instance if it isn't in the Available state" (RDS user guide, "Deleting a DB
    // instance"), nor modify it while it is stopped ("Stopping an Amazon RDS DB instance temporarily"). Deleted it can be.
    if (is_protected || snapshot.is_some()) && ["stopped", "stopping", "starting"].contains(&status)
    {
        return start(aws, instance).await;
    }
    if is_protected {
        aws.rds()
            .modify_db_instance()
            .db_instance_identifier(name)
            .deletion_protection(false)
            .apply_immediately(true)
            .send()
            .await
            .map_err(Error::aws("rds:ModifyDBInstance"))?;
        return Err(Error::NotReady(format!(
            "database {name}, whose deletion protection is being turned off,"
        )));
    }
    aws.rds()
        .delete_db_instance()
        .db_instance_identifier(name)
        .skip_final_snapshot(snapshot.is_none())
        .set_final_db_snapshot_identifier(snapshot)
        .delete_automated_backups(true)
        .send()
        .await
        .map_err(Error::aws("rds:DeleteDBInstance"))?;
    gone()
}

/// A replica has nothing of its own, and an instance that failed cannot be snapshotted.
fn takes_snapshot(removal: &Removal, instance: &DbInstance) -> bool {
    let source = instance.read_replica_source_db_instance_identifier();
    let status = instance.db_instance_status().unwrap_or_default();
    let has_failed = status == "failed" || status.starts_with("incompatible-");
    removal.final_snapshot && source.is_none() && !has_failed
}

/// Starts a database that is stopped, and keeps `park` from stopping it again until it is gone.
async fn start(aws: &Aws, instance: &DbInstance) -> Result<()> {
    let name = instance.db_instance_identifier().unwrap_or_default();
    let status = instance.db_instance_status().unwrap_or_default();
    if status == "stopped" {
        let until = Timestamp::now().as_second() + 24 * 60 * 60;
        let until = Timestamp::from_second(until).unwrap_or(Timestamp::MAX);
        aws.rds()
            .add_tags_to_resource()
            .resource_name(instance.db_instance_arn().unwrap_or_default())
            .tags(tag(TAG_AWAKE_UNTIL, &until.to_string()))
            .send()
            .await
            .map_err(Error::aws("rds:AddTagsToResource"))?;
        aws.rds()
            .start_db_instance()
            .db_instance_identifier(name)
            .send()
            .await
            .map_err(Error::aws("rds:StartDBInstance"))?;
    }
    Err(Error::NotReady(format!(
        "database {name} ({status}), which is started first, for RDS neither changes nor snapshots a stopped one,"
    )))
}

/// The same for every attempt, and another one for the next instance of that name.
fn final_snapshot_name(instance: &DbInstance) -> String {
    let name = instance.db_instance_identifier().unwrap_or_default();
    let id = instance
        .dbi_resource_id()
        .unwrap_or_default()
        .to_lowercase();
    format!("{name}-final-{}", id.trim_start_matches("db-"))
}

/// What keeps a database from being removed as it is asked for.
pub(crate) fn refused(removal: &Removal, instance: &DbInstance) -> Vec<Mistake> {
    let name = instance.db_instance_identifier().unwrap_or_default();
    let status = instance.db_instance_status().unwrap_or_default();
    let mut mistakes = Vec::new();
    let is_protected = instance.deletion_protection() == Some(true);
    if is_protected && !removal.ignore_deletion_protection {
        mistakes.push(protected(name));
    }
    if is_protected && is_broken(status) {
        let allowed = "a state in which RDS turns deletion protection off: see its events in RDS, or ask AWS Support";
        mistakes.push(Mistake::new(format!("database {name}"), status, allowed));
    } else if takes_snapshot(removal, instance) && is_broken(status) {
        let allowed =
            format!("false: database {name} is {status}, and RDS snapshots only what is available");
        mistakes.push(Mistake::new("final_snapshot", true, allowed));
    }
    mistakes
}

/// The refusal to remove a protected database.
fn protected(name: &str) -> Mistake {
    let allowed =
        format!("true, if database {name}, which is protected from deletion, is really to go");
    Mistake::new("ignore_deletion_protection", false, allowed)
}

/// Whether there is a subnet group of that name, whoever owns it.
pub(crate) async fn has_subnet_group(aws: &Aws, name: &str) -> Result<bool> {
    Ok(find_subnet_group(aws, name).await?.is_some())
}

async fn find_subnet_group(aws: &Aws, name: &str) -> Result<Option<DbSubnetGroup>> {
    let described = aws
        .rds()
        .describe_db_subnet_groups()
        .db_subnet_group_name(name)
        .send()
        .await;
    let described = found(
        described,
        |error| error.is_db_subnet_group_not_found_fault(),
        "rds:DescribeDBSubnetGroups",
    )?;
    Ok(described.and_then(|it| it.db_subnet_groups?.into_iter().next()))
}

async fn subnet_group_tags(aws: &Aws, group: &DbSubnetGroup) -> Result<Tags> {
    let found = aws
        .rds()
        .list_tags_for_resource()
        .resource_name(group.db_subnet_group_arn().unwrap_or_default())
        .send()
        .await
        .map_err(Error::aws("rds:ListTagsForResource"))?;
    Ok(database::tags(found.tag_list()))
}

async fn mark_changed(aws: &Aws, run: &Run, instance: &DbInstance) -> Result<()> {
    if run.has_created() {
        return Ok(());
    }
    aws.rds()
        .add_tags_to_resource()
        .resource_name(instance.db_instance_arn().unwrap_or_default())
        .tags(tag(TAG_CHANGED_BY, &run.execution))
        .send()
        .await
        .map_err(Error::aws("rds:AddTagsToResource"))?;
    Ok(())
}

fn tag_list(stack: &Stack, run: &Run) -> Vec<Tag> {
    stack
        .tags(&run.execution)
        .iter()
        .map(|(key, value)| tag(key, value))
        .collect()
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_database_that_cannot_go_as_it_is_asked_for_is_refused_with_what_to_ask_for() {
        let fields = |status: &str, is_protected: bool, removal: Value| {
            let mut removal = removal;
            removal["app"] = json!("shop");
            removal["environment"] = json!("prod");
            let instance = DbInstance::builder()
                .db_instance_identifier("shop-prod")
                .db_instance_status(status)
                .deletion_protection(is_protected)
                .build();
            let removal = Removal::parse(&removal).expect("a removal");
            let mistakes = refused(&removal, &instance).into_iter();
            mistakes.map(|it| it.field).collect::<Vec<_>>()
        };
        let meant = json!({"ignore_deletion_protection": true});
        assert_eq!(fields("stopped", true, meant.clone()), [""; 0]);
        assert_eq!(
            fields("stopped", true, json!({})),
            ["ignore_deletion_protection"]
        );
        assert_eq!(fields("storage-full", false, json!({})), ["final_snapshot"]);
        assert_eq!(
            fields("storage-full", false, json!({"final_snapshot": false})),
            [""; 0]
        );
        assert_eq!(fields("failed", false, json!({})), [""; 0]);
        assert_eq!(fields("failed", true, meant), ["database shop-prod"]);
    }
}
