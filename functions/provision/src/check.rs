//! What only AWS can tell about an input, asked before anything is created: otherwise it would come out minutes later.

mod quotas;
mod secrets;

pub(crate) use quotas::warnings;

use crate::resources::{
    ExistingSubnet, FEWEST, Resource, Zone, availability_zones, connector, database_refused,
    in_the_way, moved, subnets_of,
};
use groundcrew::error::found;
use groundcrew::reference::Repository;
use groundcrew::spec::Network;
use groundcrew::tag_rule::TagRule;
use groundcrew::{Aws, Error, Mistake, Removal, Result, Run, Spec, database, image, zone};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The regions that have App Runner (General Reference, "AWS App Runner endpoints and quotas"; botocore's endpoints). There is no
/// address of it in any other: the SDK would wait for a name that does not resolve.
const REGIONS: [&str; 11] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "us-east-1",
    "us-east-2",
    "us-west-2",
];

/// Reads a spec, and refuses what AWS would refuse later. Answers it with all its defaults, and with its secrets by their whole
/// ARNs: whatever is planned or done goes by that.
///
/// # Errors
/// [`Error::Invalid`] with every mistake at once.
pub(crate) async fn spec(aws: &Aws, input: &Value) -> Result<Spec> {
    let (spec, mut mistakes) = Spec::read(input);
    let Some(mut spec) = spec else {
        return Err(Error::Invalid(mistakes));
    };
    let asked = match ask(aws, &mut spec).await {
        // What is known to be wrong is told, whatever else there is.
        Err(_) if !mistakes.is_empty() => Asked::default(),
        asked => asked?,
    };
    let mut more = asked.mistakes;
    more.retain(|more| !mistakes.iter().any(|mistake| more.is_moot_after(mistake)));
    mistakes.extend(more);
    let mut refusals = asked.refusals.into_iter();
    if mistakes.is_empty() {
        return refusals.next().map_or(Ok(spec), Err);
    }
    // Beside mistakes a refusal is one of them.
    let name = spec.stack().name();
    mistakes.extend(refusals.map(|refused| {
        Mistake::new(
            "app",
            name.clone(),
            format!("a stack without this: {refused}"),
        )
    }));
    Err(Error::Invalid(mistakes))
}

/// What AWS says to a spec.
#[derive(Default)]
struct Asked {
    mistakes: Vec<Mistake>,
    /// What is no mistake of the spec: a resource of somebody else's, or one that is broken.
    refusals: Vec<Error>,
}

async fn ask(aws: &Aws, spec: &mut Spec) -> Result<Asked> {
    let mut mistakes = Vec::new();
    match region(&aws.account.region) {
        Some(mistake) => mistakes.push(mistake),
        None => mistakes.extend(account(aws).await?),
    }
    // Of an App Runner that is not there, or not for this account, nothing more is asked.
    let has_app_runner = mistakes.is_empty();
    mistakes.extend(network(aws, spec).await?);
    mistakes.extend(moved(aws, spec, has_app_runner).await?);
    mistakes.extend(engine(aws, spec).await?);
    mistakes.extend(image(aws, spec).await?);
    mistakes.extend(secrets::resolve(aws, spec).await?);
    mistakes.extend(topic(aws, spec).await?);
    mistakes.extend(quotas::exceeded(aws, spec).await?);
    let mut refusals = Vec::new();
    if has_app_runner {
        // What is decided later is decided now, too: what an `ensure` refuses is refused before any other has acted.
        for resource in Resource::ALL {
            match resource.ensure(aws, spec, &mut Run::deciding("")).await {
                Ok(()) => {}
                Err(Error::Invalid(more)) => mistakes.extend(more),
                Err(error @ (Error::Throttled { .. } | Error::Unavailable { .. })) => {
                    return Err(error);
                }
                // The execution waits for what is on its way.
                Err(error) if error.is_retried() => {}
                Err(error) => refusals.push(error),
            }
        }
    }
    // Some is asked twice, and said once.
    let mut said = Vec::new();
    mistakes.retain(|mistake: &Mistake| {
        let is_new = !said.contains(mistake);
        said.push(mistake.clone());
        is_new
    });
    Ok(Asked { mistakes, refusals })
}

fn region(region: &str) -> Option<Mistake> {
    (!REGIONS.contains(&region)).then(|| {
        let allowed = format!("a region that has App Runner: {}", REGIONS.join(", "));
        Mistake::new("", region, allowed)
    })
}

/// AWS closed App Runner to new customers on 2026-04-30. A call that creates was refused to one of them by
/// SubscriptionRequiredException; whether calls that read are refused, too, nobody has said (Assumption closed-to-readers). Where they are not, the first call
/// that creates something of App Runner says the same.
async fn account(aws: &Aws) -> Result<Option<Mistake>> {
    let Err(refusal) = aws.apprunner().list_services().max_results(1).send().await else {
        return Ok(None);
    };
    match Error::aws("apprunner:ListServices")(refusal) {
        Error::Failed(why) | Error::Denied { reason: why, .. } | Error::Aws { reason: why, .. } => {
            let allowed = format!("an account that may use App Runner ({why})");
            Ok(Some(Mistake::new("", aws.account.id.clone(), allowed)))
        }
        transient => Err(transient),
    }
}

async fn network(aws: &Aws, spec: &Spec) -> Result<Vec<Mistake>> {
    let network = &spec.network;
    Ok(match &network.vpc_id {
        Some(vpc_id) => {
            let connector = connector::find(aws, &spec.stack().name()).await?;
            let subnets = subnets_of(aws, vpc_id).await?;
            existing(network, vpc_id, &subnets, connector.is_some())
        }
        None => zones(network, &availability_zones(aws).await?),
    })
}

/// What is wrong with the zones of an own VPC.
fn zones(network: &Network, zones: &[Zone]) -> Vec<Mistake> {
    let usable: Vec<_> = zones
        .iter()
        .map(|zone| zone.id.as_str())
        .filter(|id| !zone::is_without_app_runner(id))
        .collect();
    if usable.len() < FEWEST {
        return vec![Mistake::new(
            "network",
            json!(usable),
            "a region with two availability zones that App Runner supports: RDS needs two",
        )];
    }
    let chosen = network.zones.iter();
    chosen
        .filter(|id| !usable.contains(&id.as_str()))
        .map(|id| {
            let allowed = format!(
                "zones of this region, of which there are {}",
                usable.join(", ")
            );
            Mistake::new("network.zones", json!(id), allowed)
        })
        .collect()
}

/// What is wrong with the subnets of an existing VPC. What App Runner asks of a new connector is not asked of one that is there.
fn existing(
    network: &Network,
    vpc_id: &str,
    subnets: &[ExistingSubnet],
    is_connected: bool,
) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut named = Vec::new();
    for (n, id) in network.subnet_ids.iter().enumerate() {
        let mut refuse = |allowed: String| {
            let field = format!("network.subnet_ids[{n}]");
            mistakes.push(Mistake::new(field, id.clone(), allowed));
        };
        let Some(subnet) = subnets.iter().find(|subnet| &subnet.id == id) else {
            let allowed = format!("a subnet of {vpc_id}");
            let field = format!("network.subnet_ids[{n}]");
            mistakes.push(Mistake::new(field, id.clone(), allowed).rests_on("network.vpc_id"));
            continue;
        };
        named.push(subnet);
        if subnet.is_public {
            refuse("a private subnet: this one has a route to an internet gateway, and a VPC connector there reaches nothing".into());
        }
        if zone::is_without_app_runner(&subnet.zone.id) {
            refuse(format!(
                "a subnet in a zone that App Runner supports: this one is in {}, where it accepts no VPC connector",
                subnet.zone
            ));
        }
        // "App Runner only supports subnets of IP address type IPv4 and dual stack" (API reference, CreateVpcConnector)
        if !subnet.has_ipv4 {
            refuse("a subnet with IPv4 addresses, which App Runner and RDS need".into());
        }
    }
    let mut all = |allowed: String| {
        let value = json!(network.subnet_ids);
        mistakes.push(Mistake::new("network.subnet_ids", value, allowed));
    };
    // The subnets of a connector are all of one address type (developer guide, network-vpc).
    let (dual, plain): (Vec<&ExistingSubnet>, Vec<_>) =
        named.iter().partition(|subnet| subnet.has_ipv6);
    if !is_connected && !dual.is_empty() && !plain.is_empty() {
        let dual: Vec<_> = dual.iter().map(|subnet| subnet.id.as_str()).collect();
        all(format!(
            "subnets that are all IPv4 or all dual-stack, as App Runner needs them: {} with an IPv6 range, the others without",
            dual.join(", ")
        ));
    }
    let covered: BTreeSet<_> = named.iter().map(|subnet| &subnet.zone.id).collect();
    if named.len() == network.subnet_ids.len() && covered.len() < FEWEST {
        all("subnets in two availability zones or more, which RDS needs".into());
    }
    mistakes
}

/// What CreateDBInstance would refuse of the class, the storage and the standby.
async fn engine(aws: &Aws, spec: &Spec) -> Result<Option<Mistake>> {
    let database = &spec.database;
    let major = format!("{}.", database.major_version);
    let mut offered = Vec::new();
    let mut pages = aws
        .rds()
        .describe_orderable_db_instance_options()
        .engine("postgres")
        .db_instance_class(&database.instance_class)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("rds:DescribeOrderableDBInstanceOptions"))?;
        offered.extend(page.orderable_db_instance_options.unwrap_or_default());
    }
    offered.retain(|option| {
        option
            .engine_version()
            .is_some_and(|version| version.starts_with(&major))
    });
    let class = |allowed: String| {
        Mistake::new(
            "database.instance_class",
            database.instance_class.clone(),
            allowed,
        )
        .rests_on("database.major_version")
    };
    if offered.is_empty() {
        return Ok(Some(class(format!(
            "a class that RDS offers here for PostgreSQL {}",
            database.major_version
        ))));
    }
    offered.retain(|option| option.storage_type() == Some("gp3"));
    if offered.is_empty() {
        return Ok(Some(class(
            "a class that RDS offers with gp3 storage".into(),
        )));
    }
    let wants = |asked: bool, has: Option<bool>| !asked || has != Some(false);
    if !offered
        .iter()
        .any(|option| wants(database.multi_az, option.multi_az_capable()))
    {
        let allowed = "a class that RDS offers with a standby, for database.multi_az is true";
        return Ok(Some(class(allowed.into()).rests_on("database.multi_az")));
    }
    if !offered
        .iter()
        .any(|option| wants(database.read_replica, option.read_replica_capable()))
    {
        let allowed =
            "a class that RDS offers with read replicas, for database.read_replica is true";
        return Ok(Some(
            class(allowed.into()).rests_on("database.read_replica"),
        ));
    }
    let most = offered
        .iter()
        .filter_map(|option| option.max_storage_size())
        .max();
    Ok(most
        .filter(|most| i64::from(*most) < i64::from(database.storage_gib))
        .map(|most| {
            let allowed = format!(
                "{most} at most with database.instance_class {}",
                database.instance_class
            );
            Mistake::new("database.storage_gib", database.storage_gib, allowed)
                .rests_on("database.instance_class")
        }))
}

async fn image(aws: &Aws, spec: &Spec) -> Result<Option<Mistake>> {
    let repository = Repository::own(&aws.account, spec.repository());
    let rule = TagRule::parse(&spec.image.tag);
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
        .rests_on("image.repository")
    }))
}

/// A topic that no alarm could tell. One of another account is left to it: its policy says who may publish, and nobody here may
/// look at it (Assumption foreign-topics).
async fn topic(aws: &Aws, spec: &Spec) -> Result<Option<Mistake>> {
    let Some(arn) = &spec.alarms.topic_arn else {
        return Ok(None);
    };
    let refuse = |allowed: String| Ok(Some(Mistake::new("alarms.topic_arn", arn.clone(), allowed)));
    let parts: Vec<_> = arn.split(':').collect();
    let account = &aws.account;
    let (of, name) = match parts.as_slice() {
        ["arn", partition, "sns", region, of, name]
            if *partition == account.partition && *region == account.region =>
        {
            (*of, *name)
        }
        // "Invalid region us-east-1 specified. Only us-west-2 is supported.", says PutMetricAlarm.
        _ => {
            return refuse(format!(
                "a topic of {}: alarms tell none of another region",
                account.region
            ));
        }
    };
    if of != account.id {
        return Ok(None);
    }
    let described = aws.sns().get_topic_attributes().topic_arn(arn).send().await;
    let described = found(
        described,
        |error| error.is_not_found_exception(),
        "sns:GetTopicAttributes",
    )?;
    let Some(described) = described else {
        return refuse("a topic that exists".into());
    };
    let attributes = described.attributes.unwrap_or_default();
    // The policy of that key, which nobody can change, lets no alarm use it (SNS guide, "Enable compatibility between event sources
    // from AWS services and encrypted topics").
    match attributes.get("KmsMasterKeyId") {
        Some(key) if key.ends_with("alias/aws/sns") => refuse(format!(
            "a topic without encryption, or under a key that CloudWatch may use: {name} lies under aws/sns, which it may not"
        )),
        _ => Ok(None),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_without_app_runner_is_refused_with_those_that_have_it() {
        assert_eq!(region("eu-west-3"), None);
        for elsewhere in [
            "us-west-1",
            "eu-north-1",
            "ca-central-1",
            "sa-east-1",
            "cn-north-1",
        ] {
            let said = region(elsewhere).expect("refused").to_string();
            assert!(
                said.contains("us-west-2") && said.contains(elsewhere),
                "{said}"
            );
        }
    }

    fn subnet(id: &str, zone_id: &str, has_ipv6: bool) -> ExistingSubnet {
        ExistingSubnet {
            id: id.into(),
            zone: Zone {
                name: format!("the name of {zone_id}"),
                id: zone_id.into(),
            },
            is_public: false,
            has_ipv4: true,
            has_ipv6,
        }
    }

    fn refused(subnets: &[ExistingSubnet]) -> Vec<(String, String)> {
        let network = Network {
            subnet_ids: subnets.iter().map(|subnet| subnet.id.clone()).collect(),
            ..Network::default()
        };
        let mistakes = existing(&network, "vpc-1", subnets, false).into_iter();
        mistakes.map(|it| (it.field, it.allowed)).collect()
    }

    #[test]
    fn subnets_of_a_connector_are_all_of_one_address_type() {
        let mixed = [
            subnet("subnet-a", "use1-az1", false),
            subnet("subnet-b", "use1-az2", true),
        ];
        let mistakes = refused(&mixed);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].0, "network.subnet_ids");
        assert!(
            mistakes[0].1.contains("subnet-b with an IPv6 range"),
            "{mistakes:?}"
        );
        let network = Network {
            subnet_ids: vec!["subnet-a".into(), "subnet-b".into()],
            ..Network::default()
        };
        assert_eq!(existing(&network, "vpc-1", &mixed, true), []);
        for has_ipv6 in [false, true] {
            let same = ["use1-az1", "use1-az2"].map(|zone| subnet(zone, zone, has_ipv6));
            assert_eq!(refused(&same), []);
        }
        let mut without = subnet("subnet-c", "use1-az4", true);
        without.has_ipv4 = false;
        let mistakes = refused(&[subnet("subnet-b", "use1-az2", true), without]);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].0, "network.subnet_ids[1]");
    }

    #[test]
    fn every_mistake_of_every_subnet_is_told_at_once() {
        let mut public = subnet("subnet-a", "use1-az3", false);
        public.is_public = true;
        let mistakes = refused(&[public, subnet("subnet-b", "use1-az3", false)]);
        let fields: Vec<_> = mistakes.iter().map(|(field, _)| field.as_str()).collect();
        let [first, second, all] = [
            "network.subnet_ids[0]",
            "network.subnet_ids[1]",
            "network.subnet_ids",
        ];
        assert_eq!(fields, [first, first, second, all]);
        assert!(
            mistakes[1].1.contains("the name of use1-az3 (use1-az3)"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn zones_are_those_of_the_region() {
        let zone = |id: &str| Zone {
            name: id.into(),
            id: id.into(),
        };
        let network = Network {
            zones: vec!["euw1-az1".into(), "use1-az1".into()],
            ..Network::default()
        };
        let here = ["euw1-az1", "euw1-az2", "use1-az3"].map(zone);
        let mistakes = zones(&network, &here);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].value, "use1-az1");
        assert!(
            mistakes[0].allowed.ends_with("euw1-az1, euw1-az2"),
            "{mistakes:?}"
        );
        // Two, of which App Runner refuses one.
        let mistakes = zones(&Network::default(), &here[1..]);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
}
