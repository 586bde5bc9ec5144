//! What of a stack exceeds a quota. One whose applied value can be read refuses; of the others AWS's default is known, and a plan
//! warns of it.

use crate::resources::{configuration, connector, has_subnet_group, own_vpcs, replica_name};
use aws_sdk_rds::types::DbInstance;
use groundcrew::{Aws, Error, Mistake, Result, Spec, database, managed};
use std::collections::BTreeSet;

/// What a stack still needs of a quota of RDS.
struct Need {
    quota: &'static str,
    what: &'static str,
    field: &'static str,
    more: i64,
}

/// The quotas of RDS that the stack would exceed.
pub(super) async fn exceeded(aws: &Aws, spec: &Spec) -> Result<Vec<Mistake>> {
    let stack = &spec.stack();
    let instance = database::find(aws, &stack.name()).await?;
    let instance = instance.as_ref();
    let needs_replica =
        spec.database.read_replica && database::find(aws, &replica_name(stack)).await?.is_none();
    let needs_group = instance.is_none() && !has_subnet_group(aws, &stack.name()).await?;
    let needs = needs(spec, instance, needs_replica, needs_group).into_iter();
    let needs: Vec<_> = needs.filter(|need| need.more > 0).collect();
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let found = aws
        .rds()
        .describe_account_attributes()
        .send()
        .await
        .map_err(Error::aws("rds:DescribeAccountAttributes"))?;
    let mistakes = needs.into_iter().filter_map(|need| {
        let mut quotas = found.account_quotas().iter();
        let quota = quotas.find(|quota| quota.account_quota_name() == Some(need.quota))?;
        beyond(&need, quota.used()?, quota.max()?)
    });
    Ok(mistakes.collect())
}

fn needs(
    spec: &Spec,
    instance: Option<&DbInstance>,
    needs_replica: bool,
    needs_group: bool,
) -> [Need; 3] {
    let size = i64::from(spec.database.storage_gib);
    let has = instance
        .and_then(DbInstance::allocated_storage)
        .unwrap_or(0);
    let replica = i64::from(needs_replica);
    [
        Need {
            quota: "DBInstances",
            what: "DB instances",
            field: "database",
            more: i64::from(instance.is_none()) + replica,
        },
        Need {
            quota: "AllocatedStorage",
            what: "GiB of storage for all DB instances",
            field: "database.storage_gib",
            more: size - i64::from(has) + replica * size,
        },
        Need {
            quota: "DBSubnetGroups",
            what: "DB subnet groups",
            field: "database",
            more: i64::from(needs_group),
        },
    ]
}

fn beyond(need: &Need, used: i64, most: i64) -> Option<Mistake> {
    let Need {
        quota,
        what,
        field,
        more,
    } = need;
    (used + more > most).then(|| {
        Mistake::new(
            *field,
            format!("{more} more"),
            format!(
                "what is left of {most} {what}, of which {used} are in use: ask AWS for a higher quota ({quota} of RDS), or remove something"
            ),
        )
    })
}

/// What may be refused all the same: nothing that a function calls tells these quotas.
///
/// # Errors
/// Those of AWS.
pub(crate) async fn warnings(aws: &Aws, spec: &Spec) -> Result<Vec<String>> {
    let name = spec.stack().name();
    let mut warnings = Vec::new();
    // App Runner guide, "App Runner resource quotas".
    warnings.extend(scarce(
        &services(aws).await?,
        &name,
        "App Runner services",
        30,
    ));
    warnings.extend(scarce(&connectors(aws).await?, &name, "VPC connectors", 10));
    warnings.extend(scarce(
        &scalings(aws).await?,
        &name,
        "auto scaling configurations",
        10,
    ));
    if spec.service.xray {
        let found = observabilities(aws).await?;
        warnings.extend(scarce(&found, &name, "observability configurations", 10));
    }
    if spec.network.vpc_id.is_none() && own_vpcs(aws, &spec.stack()).await?.is_empty() {
        // Amazon VPC guide, "Amazon VPC quotas".
        warnings.extend(scarce(&vpcs(aws).await?, &name, "VPCs", 5));
    }
    Ok(warnings)
}

/// A warning if one more is more than AWS gives an account by default.
fn scarce(found: &BTreeSet<String>, name: &str, what: &str, default: usize) -> Option<String> {
    (!found.contains(name) && found.len() >= default).then(|| {
        format!(
            "{} {what} are there, and {default} is what AWS allows in a region by default: unless your quota is higher, this stack's is refused",
            found.len()
        )
    })
}

async fn services(aws: &Aws) -> Result<BTreeSet<String>> {
    // One that could not be created counts (App Runner guide, "When service creation fails").
    let found = managed::listed(aws).await?.into_iter();
    Ok(found.filter_map(|it| it.service_name).collect())
}

async fn connectors(aws: &Aws) -> Result<BTreeSet<String>> {
    let found = connector::all(aws).await?.into_iter();
    Ok(found.filter_map(|it| it.vpc_connector_name).collect())
}

async fn scalings(aws: &Aws) -> Result<BTreeSet<String>> {
    let found = configuration::auto_scalings(aws, None).await?.into_iter();
    let mut found: BTreeSet<_> = found
        .filter_map(|it| it.auto_scaling_configuration_name)
        .collect();
    // The one that every account has does not count (Assumption default-scaling).
    found.remove("DefaultConfiguration");
    Ok(found)
}

async fn observabilities(aws: &Aws) -> Result<BTreeSet<String>> {
    let found = configuration::observabilities(aws, None).await?.into_iter();
    Ok(found
        .filter_map(|it| it.observability_configuration_name)
        .collect())
}

async fn vpcs(aws: &Aws) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut pages = aws.ec2().describe_vpcs().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("ec2:DescribeVpcs"))?;
        let vpcs = page.vpcs.unwrap_or_default().into_iter();
        found.extend(vpcs.filter_map(|vpc| vpc.vpc_id));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(database: serde_json::Value) -> Spec {
        let spec = json!({"app": "shop", "environment": "dev", "database": database});
        Spec::parse(&spec).expect("a good spec")
    }

    #[test]
    fn a_stack_needs_what_it_does_not_have_yet() {
        let more = |spec: &Spec, instance: Option<&DbInstance>, replica: bool| {
            needs(spec, instance, replica, instance.is_none()).map(|need| need.more)
        };
        let small = spec(json!({"storage_gib": 20}));
        assert_eq!(more(&small, None, false), [1, 20, 1]);
        assert_eq!(more(&small, None, true), [2, 40, 1]);
        let instance = DbInstance::builder().allocated_storage(20).build();
        assert_eq!(more(&small, Some(&instance), false), [0, 0, 0]);
        let larger = spec(json!({"storage_gib": 50}));
        assert_eq!(more(&larger, Some(&instance), false), [0, 30, 0]);
        assert_eq!(more(&larger, Some(&instance), true), [1, 80, 0]);
    }

    #[test]
    fn a_quota_refuses_from_the_first_that_is_too_many() {
        let [need, _, _] = needs(&spec(json!({})), None, true, true);
        assert_eq!(beyond(&need, 38, 40), None);
        let said = beyond(&need, 39, 40).expect("refused").to_string();
        assert_eq!(
            said,
            r#"database: "2 more" is refused; allowed: what is left of 40 DB instances, of which 39 are in use: ask AWS for a higher quota (DBInstances of RDS), or remove something"#
        );
    }

    #[test]
    fn a_default_quota_warns_only_of_one_more() {
        let names = |n: usize| (0..n).map(|n| n.to_string()).collect::<BTreeSet<_>>();
        assert_eq!(scarce(&names(9), "shop-dev", "VPC connectors", 10), None);
        assert_eq!(scarce(&names(10), "3", "VPC connectors", 10), None);
        let warning = scarce(&names(10), "shop-dev", "VPC connectors", 10).expect("a warning");
        assert!(
            warning.starts_with("10 VPC connectors are there, and 10 is"),
            "{warning}"
        );
    }
}
