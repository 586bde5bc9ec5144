//! Where a stack is put. In the account of the local AWS App Runner refuses the first zone by name, as the product knows.

use crate::stage::{Stage, assert_succeeded, eventually, play, play_alone, spec, touched};
use apprunner_emulator::Arrangement;
use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};
use groundcrew::{Error, Run, Spec};
use provision::Resource;
use rehearsal::{End, What};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The zone ids of a stack's subnets, by subnet; and of those that its connector is made of.
async fn zones(stage: &Stage, stack: &str) -> (BTreeMap<String, String>, Vec<String>) {
    let world = stage.world().await;
    let vpc = world.vpcs.iter().find(|vpc| is_named(vpc.tags(), stack));
    let vpc_id = vpc.expect("the VPC is there").vpc_id();
    let subnets = world.subnets.iter().filter(|it| it.vpc_id() == vpc_id);
    let zone_of = |it: &aws_sdk_ec2::types::Subnet| {
        let (id, zone) = (it.subnet_id()?, it.availability_zone_id()?);
        Some((id.to_owned(), zone.to_owned()))
    };
    let subnets: BTreeMap<_, _> = subnets.filter_map(zone_of).collect();
    let mut connectors = world.vpc_connectors.iter();
    let connector = connectors.find(|it| it.vpc_connector_name() == Some(stack));
    let used = connector.map_or(&[][..], |it| it.subnets()).iter();
    let mut used: Vec<_> = used.map(|id| subnets[id].clone()).collect();
    used.sort();
    (subnets, used)
}

fn is_named(tags: &[Tag], name: &str) -> bool {
    let mut tags = tags.iter();
    tags.any(|tag| tag.key() == Some("Name") && tag.value() == Some(name))
}

/// The VPC of a stack as an earlier execution left it, with subnets in these zones.
async fn left_behind(stage: &Stage, app: &str, zones: &[&str]) {
    let ec2 = stage.local.aws().ec2();
    let stack = format!("{app}-dev");
    let tags = |kind: ResourceType, name: &str| {
        let pairs = [
            ("groundcrew:app", app),
            ("groundcrew:environment", "dev"),
            ("groundcrew:managed", "true"),
            ("groundcrew:created-by", "earlier"),
            ("Name", name),
        ];
        let tags = pairs.map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = TagSpecification::builder().set_tags(Some(tags.into()));
        tags.resource_type(kind).build()
    };
    let vpc = ec2.create_vpc().cidr_block("10.0.0.0/16");
    let vpc = vpc.tag_specifications(tags(ResourceType::Vpc, &stack));
    let vpc = vpc.send().await.expect("a VPC").vpc.expect("a VPC");
    for (n, zone) in zones.iter().enumerate() {
        let subnet = ec2.create_subnet().availability_zone(*zone);
        let subnet = subnet.set_vpc_id(vpc.vpc_id.clone());
        let subnet = subnet.cidr_block(format!("10.0.{}.0/18", n * 64));
        let name = format!("{stack}-private-{zone}");
        let subnet = subnet.tag_specifications(tags(ResourceType::Subnet, &name));
        subnet.send().await.expect("a subnet");
    }
}

/// Whether the execution was refused in its first state.
fn assert_refused_at_once(end: &End, field: &str, allowed: &str) {
    let begin = format!("{field}: ");
    let message = &end.message;
    assert_eq!(end.error, "Invalid", "{message}");
    assert!(
        message.starts_with(&begin) && message.contains(allowed),
        "{message}"
    );
    let mut entered = end
        .happenings
        .iter()
        .filter(|it| matches!(it.what, What::Entered));
    assert!(entered.all(|it| it.state == "Refuse a bad spec"));
}

fn refuse(stage: &Stage, zones: &[&str]) {
    let refused = zones.iter().map(|&id| id.to_owned()).collect();
    let zones = Arrangement::Zones { refused };
    stage.local.apprunner().arrange(zones).expect("arranged");
}

#[test]
fn a_network_of_an_earlier_version_is_healed_or_completed_and_nothing_of_it_is_moved() {
    play(|stage| async move {
        // Of an earlier version, which took the first three by name; and of an execution that was stopped after its first subnet.
        left_behind(stage, "aged", &["us-east-1a", "us-east-1b", "us-east-1c"]).await;
        left_behind(stage, "half", &["us-east-1c"]).await;
        let (before, _) = zones(stage, "aged-dev").await;
        let [aged, half] = ["aged", "half"].map(spec);
        let ends = tokio::join!(stage.provision(&aged), stage.provision(&half));
        assert_succeeded(&ends.0);
        assert_succeeded(&ends.1);

        let (after, used) = zones(stage, "aged-dev").await;
        assert_eq!(after, before, "two are enough");
        assert_eq!(used, ["use1-az4", "use1-az6"]);
        let (all, used) = zones(stage, "half-dev").await;
        assert_eq!(used, ["use1-az1", "use1-az4", "use1-az6"]);
        assert_eq!(all.len(), 3, "{all:?}");

        let again = stage.provision_without_image(&aged).await;
        assert_succeeded(&again);
        assert_eq!(touched(&again), Vec::<String>::new());
        for spec in [&aged, &half] {
            assert_succeeded(&stage.teardown(spec).await);
        }
        for stack in ["aged-dev", "half-dev"] {
            assert_eq!(stage.traces(stack).await, Vec::<String>::new());
        }
    });
}

#[test]
fn a_zone_that_only_app_runner_knows_to_refuse_costs_a_subnet_in_another_unless_somebody_chose_it()
{
    play_alone(&[], |stage| async move {
        // Of the first three that are taken App Runner accepts one.
        refuse(stage, &["use1-az3", "use1-az4", "use1-az6"]);
        let free = spec("learnt");
        let mut bound = spec("bound");
        bound["network"] = json!({"zones": ["use1-az2", "use1-az6"]});
        let mut guest = spec("guest");
        guest["network"] = existing(stage).await;
        let ends = tokio::join!(
            stage.provision(&free),
            stage.provision_without_image(&bound),
            stage.provision_without_image(&guest)
        );
        assert_succeeded(&ends.0);
        let (all, used) = zones(stage, "learnt-dev").await;
        assert_eq!(used, ["use1-az1", "use1-az2"]);
        let mut all: Vec<_> = all.values().collect();
        all.sort();
        assert_eq!(all, ["use1-az1", "use1-az2", "use1-az4", "use1-az6"]);
        let again = stage.provision_without_image(&free).await;
        assert_succeeded(&again);
        assert_eq!(touched(&again), Vec::<String>::new());

        let refused = [
            (&ends.1, "network.zones: ", "bound-dev"),
            (&ends.2, "network.subnet_ids[1]: ", "guest-dev"),
        ];
        for (end, begin, stack) in refused {
            assert_eq!(end.error, "Invalid", "{}", end.message);
            assert!(end.message.starts_with(begin), "{}", end.message);
            assert!(end.message.contains("(use1-az6)"), "{}", end.message);
            assert_eq!(stage.traces(stack).await, Vec::<String>::new());
        }
        assert_succeeded(&stage.teardown(&free).await);
        assert_eq!(stage.traces("learnt-dev").await, Vec::<String>::new());
        refuse(stage, &["use1-az3"]);
    });
}

/// A VPC of somebody's with two private subnets, of which the second is in use1-az6.
async fn existing(stage: &Stage) -> Value {
    let ec2 = stage.local.aws().ec2();
    let vpc = ec2.create_vpc().cidr_block("172.21.0.0/16").send().await;
    let vpc_id = vpc.expect("a VPC").vpc.expect("a VPC").vpc_id;
    let mut subnet_ids = Vec::new();
    for (zone_id, cidr) in [("use1-az1", "172.21.0.0/24"), ("use1-az6", "172.21.1.0/24")] {
        let subnet = ec2.create_subnet().set_vpc_id(vpc_id.clone());
        let subnet = subnet.availability_zone_id(zone_id).cidr_block(cidr);
        let subnet = subnet.send().await.expect("a subnet").subnet;
        subnet_ids.push(subnet.expect("a subnet").subnet_id);
    }
    json!({"vpc_id": vpc_id, "subnet_ids": subnet_ids})
}

#[test]
fn a_stack_is_in_the_zones_that_somebody_chose_and_stays_there() {
    play(|stage| async move {
        let mut spec = spec("chosen");
        spec["network"] = json!({"zones": ["use1-az5", "use2-az1"]});
        let end = stage.provision_without_image(&spec).await;
        assert_refused_at_once(&end, "network.zones", "zones of this region");

        spec["network"] = json!({"zones": ["use1-az5", "use1-az1"]});
        assert_succeeded(&stage.provision(&spec).await);
        let (all, used) = zones(stage, "chosen-dev").await;
        assert_eq!(used, ["use1-az1", "use1-az5"]);
        assert_eq!(all.len(), 2, "{all:?}");

        // A connector cannot be moved; a plan says so, too.
        for dry_run in [true, false] {
            let mut other = spec.clone();
            other["network"] = json!({"zones": ["use1-az5", "use1-az4"]});
            other["dry_run"] = json!(dry_run);
            let end = stage.provision_without_image(&other).await;
            assert_refused_at_once(&end, "network.zones", r#"["use1-az1","use1-az5"]"#);
        }
        for same in [json!({"zones": ["use1-az1", "use1-az5"]}), json!({})] {
            spec["network"] = same;
            let end = stage.provision_without_image(&spec).await;
            assert_succeeded(&end);
            assert_eq!(touched(&end), Vec::<String>::new());
        }
        spec["network"] = existing(stage).await;
        let end = stage.provision_without_image(&spec).await;
        assert_refused_at_once(&end, "network.vpc_id", "a VPC connector");
        assert_succeeded(&stage.teardown(&spec).await);
    });
}

#[test]
fn a_connector_waits_for_one_that_lingers_and_is_in_conflict_with_a_foreign_one() {
    play(|stage| async move {
        let aws = stage.local.aws();
        let checked = Spec::parse(&spec("lingering")).expect("a good spec");
        let ensure = async |resource: Resource| {
            let mut run = Run::acting("first");
            resource.ensure(aws, &checked, &mut run).await
        };
        let removal = json!({"app": "lingering", "environment": "dev", "final_snapshot": false});
        let removal = groundcrew::Removal::parse(&removal).expect("a good removal");
        let destroy = async || {
            let mut run = Run::acting("");
            let destroyed = Resource::Configuration.destroy(aws, &removal, &mut run);
            destroyed.await.expect("nothing holds it");
        };
        ensure(Resource::Network).await.expect("a network");
        ensure(Resource::Configuration).await.expect("a connector");
        destroy().await;
        let refused = ensure(Resource::Configuration).await;
        let Err(Error::NotReady(reason)) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("Existing VPC connector arn"), "{reason}");
        eventually("the group is free again", async || {
            ensure(Resource::Configuration).await.ok()
        })
        .await;
        destroy().await;

        // Somebody takes the group for a connector of their own.
        let world = stage.world().await;
        let mut groups = world.security_groups.iter();
        let group = groups.find(|it| it.group_name() == Some("lingering-dev-connector"));
        let group_id = group.and_then(|it| it.group_id()).expect("a group");
        let (subnets, _) = zones(stage, "lingering-dev").await;
        let foreign = eventually("somebody has a connector", async || {
            let create = aws.apprunner().create_vpc_connector();
            let create = create
                .vpc_connector_name("by-hand")
                .security_groups(group_id);
            let create = create.set_subnets(Some(subnets.keys().cloned().collect()));
            create.send().await.ok()?.vpc_connector?.vpc_connector_arn
        })
        .await;
        let refused = ensure(Resource::Configuration).await;
        let Err(Error::Conflict(what)) = refused else {
            panic!("{refused:?}");
        };
        assert!(what.starts_with(&foreign), "{what}");
        let delete = aws.apprunner().delete_vpc_connector();
        delete
            .vpc_connector_arn(foreign)
            .send()
            .await
            .expect("gone");
        destroy().await;
        assert_succeeded(&stage.teardown(&spec("lingering")).await);
        assert_eq!(stage.traces("lingering-dev").await, Vec::<String>::new());
    });
}
