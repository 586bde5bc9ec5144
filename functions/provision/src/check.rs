//! What only AWS can tell about an input, asked before anything is created: otherwise it would come out minutes later.

use crate::resources::{
    availability_zones, database_drift, database_refused, in_the_way, subnets_of,
};
use groundcrew::reference::Repository;
use groundcrew::spec::Mistake;
use groundcrew::{Aws, Error, Removal, Result, Spec, database, image};
use serde_json::json;
use std::collections::BTreeSet;

/// Refuses a spec that AWS would refuse later.
///
/// # Errors
/// [`Error::Invalid`] with every mistake at once.
pub(crate) async fn spec(aws: &Aws, spec: &Spec) -> Result<()> {
    let mut mistakes = Vec::new();
    mistakes.extend(account(aws).await?);
    mistakes.extend(network(aws, spec).await?);
    mistakes.extend(engine(aws, spec).await?);
    mistakes.extend(image(aws, spec).await?);
    if let Some(instance) = database::find(aws, &spec.stack().name()).await? {
        match database_drift(spec, &instance) {
            Err(Error::Invalid(more)) => mistakes.extend(more),
            other => drop(other?),
        }
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(mistakes))
    }
}

/// AWS closed App Runner to new customers on 2026-04-30. What it answers to the others is not documented, so any refusal of
/// the most harmless call that is not about our own policy counts.
async fn account(aws: &Aws) -> Result<Option<Mistake>> {
    let Err(refusal) = aws.apprunner().list_services().max_results(1).send().await else {
        return Ok(None);
    };
    match Error::aws("apprunner:ListServices")(refusal) {
        Error::Denied { reason, .. } | Error::Aws { reason, .. } => Ok(Some(Mistake::new(
            "",
            aws.account.id.clone(),
            format!(
                "an account that may use App Runner, which is closed to new customers since 2026-04-30, and a region that has it ({reason})"
            ),
        ))),
        transient => Err(transient),
    }
}

async fn network(aws: &Aws, spec: &Spec) -> Result<Vec<Mistake>> {
    let network = &spec.network;
    let mut mistakes = Vec::new();
    let zones = availability_zones(aws).await?;
    let Some(vpc_id) = &network.vpc_id else {
        if zones.len() < 2 {
            mistakes.push(Mistake::new(
                "network",
                json!(zones),
                "a region with two availability zones, which RDS needs",
            ));
        }
        return Ok(mistakes);
    };
    let subnets = subnets_of(aws, vpc_id).await?;
    let mut covered = BTreeSet::new();
    for (n, id) in network.subnet_ids.iter().enumerate() {
        let field = format!("network.subnet_ids[{n}]");
        match subnets.iter().find(|subnet| &subnet.id == id) {
            None => mistakes.push(Mistake::new(field, id.clone(), format!("a subnet of {vpc_id}"))),
            Some(subnet) if subnet.is_public => mistakes.push(Mistake::new(
                field,
                id.clone(),
                "a private subnet: this one has a route to an internet gateway, and a VPC connector there reaches nothing",
            )),
            Some(subnet) => {
                covered.insert(&subnet.zone);
            }
        }
    }
    if mistakes.is_empty() && covered.len() < 2 {
        mistakes.push(Mistake::new(
            "network.subnet_ids",
            json!(network.subnet_ids),
            "subnets in two availability zones or more, which RDS needs",
        ));
    }
    Ok(mistakes)
}

async fn engine(aws: &Aws, spec: &Spec) -> Result<Option<Mistake>> {
    let database = &spec.database;
    let major = format!("{}.", database.major_version);
    let mut offered = false;
    let mut pages = aws
        .rds()
        .describe_orderable_db_instance_options()
        .engine("postgres")
        .db_instance_class(&database.instance_class)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("rds:DescribeOrderableDBInstanceOptions"))?;
        offered |= page.orderable_db_instance_options().iter().any(|option| {
            option
                .engine_version()
                .is_some_and(|version| version.starts_with(&major))
        });
    }
    Ok((!offered).then(|| {
        Mistake::new(
            "database.instance_class",
            database.instance_class.clone(),
            format!(
                "a class that RDS offers here for PostgreSQL {}",
                database.major_version
            ),
        )
    }))
}

async fn image(aws: &Aws, spec: &Spec) -> Result<Option<Mistake>> {
    let repository = Repository::own(&aws.account, spec.repository());
    let rule = image::TagRule::parse(&spec.image.tag);
    let digest = match image::newest(aws, &repository, &rule).await {
        Ok(Some(digest)) => digest,
        Ok(None) => return Ok(None),
        Err(Error::Aws { code, .. }) if code == "RepositoryNotFoundException" => {
            return Ok(spec.image.repository.is_some().then(|| {
                Mistake::new(
                    "image.repository",
                    repository.name,
                    "an ECR repository that exists in this account and region",
                )
            }));
        }
        Err(error) => return Err(error),
    };
    let variants = image::variants(aws, &repository, &digest).await?;
    Ok((!variants.iter().any(|variant| variant.platform == image::PLATFORM)).then(|| {
        Mistake::new(
            "image.tag",
            spec.image.tag.clone(),
            format!(
                "an image for {}, which is all that App Runner runs; {digest} is for {} (build it with --platform {})",
                image::PLATFORM,
                image::platforms(&variants),
                image::PLATFORM
            ),
        )
    }))
}

/// Refuses what could not be removed to the end before anything is removed. An undo removes what it can.
///
/// # Errors
/// [`Error::Invalid`] with all at once: a protected database, and whatever is not the stack's and keeps a part of it.
pub(crate) async fn removal(aws: &Aws, removal: &Removal) -> Result<()> {
    let mut mistakes = Vec::new();
    if let Some(instance) = database::find(aws, &removal.stack().name()).await?
        && removal.covers(&database::tags(instance.tag_list()))
    {
        mistakes.extend(database_refused(removal, &instance));
    }
    if removal.created_by.is_none() {
        let found = in_the_way(aws, removal).await?;
        mistakes.extend(found.into_iter().map(Mistake::from));
    }
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(mistakes))
    }
}
