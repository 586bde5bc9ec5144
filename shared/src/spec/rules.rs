//! The rules between fields, which a JSON schema cannot hold. All of them can be told without asking AWS.

use super::{Cidr, Network, Spec};
use crate::input::schema::listed;
use crate::{Mistake, Stack, zone};
use serde_json::{Value, json};

/// The CPU and memory pairs that App Runner has (its guide, "App Runner architecture and concepts"); its API model does
/// not hold them, so a wrong pair would fail minutes later.
const PAIRS: [(u16, &[u16]); 5] = [
    (256, &[512, 1024]),
    (512, &[1024]),
    (1024, &[2048, 3072, 4096]),
    (2048, &[4096, 6144]),
    (4096, &[8192, 10240, 12288]),
];

/// Every broken rule of a spec that the schema accepts.
pub(super) fn mistakes(spec: &Spec) -> Vec<Mistake> {
    let mut found = Vec::new();
    found.extend(name(&spec.stack()));
    found.extend(service(spec));
    found.extend(network(spec));
    if spec.database.read_replica && spec.database.backup_days == 0 {
        found.push(
            Mistake::new(
                "database.backup_days",
                0,
                "1 to 35, because database.read_replica needs automated backups",
            )
            .rests_on("database.read_replica"),
        );
    }
    if spec.alarms.email.is_some() && spec.alarms.topic_arn.is_some() {
        found.push(
            Mistake::new(
                "alarms.email",
                spec.alarms.email.clone(),
                "nothing beside alarms.topic_arn: subscribe the address to that topic yourself",
            )
            .rests_on("alarms.topic_arn"),
        );
    }
    found
}

/// What is wrong with a stack's name.
pub(crate) fn name(stack: &Stack) -> Option<Mistake> {
    let name = stack.name();
    if name.starts_with("sg-") {
        return Some(Mistake::new(
            "app",
            stack.app.clone(),
            "another beginning, because EC2 takes no security group whose name begins with sg-",
        ));
    }
    let allowed = Stack::SHORTEST_NAME..=Stack::LONGEST_NAME;
    (!allowed.contains(&name.len())).then(|| {
        Mistake::new(
            "app",
            stack.app.clone(),
            format!(
                "an app and an environment of {} to {} characters together with their hyphen, because App Runner takes no other names; \"{name}\" has {}",
                allowed.start(),
                allowed.end(),
                name.len()
            ),
        )
        .rests_on("environment")
    })
}

fn service(spec: &Spec) -> Vec<Mistake> {
    let service = &spec.service;
    let mut found = Vec::new();
    for (cpu, memories) in PAIRS {
        if cpu == service.cpu && !memories.contains(&service.memory) {
            let memories: Vec<_> = memories.iter().map(u16::to_string).collect();
            found.push(
                Mistake::new(
                    "service.memory",
                    service.memory,
                    format!("{} with service.cpu {cpu}", listed(&memories, "or")),
                )
                .rests_on("service.cpu"),
            );
        }
    }
    if service.scaling.max_size < service.scaling.min_size {
        found.push(
            Mistake::new(
                "service.scaling.max_size",
                service.scaling.max_size,
                format!(
                    "service.scaling.min_size, which is {}, or more",
                    service.scaling.min_size
                ),
            )
            .rests_on("service.scaling.min_size"),
        );
    }
    for name in service
        .secrets
        .keys()
        .filter(|name| service.variables.contains_key(*name))
    {
        found.push(
            Mistake::new(
                format!("service.secrets.{name}"),
                service.secrets[name].clone(),
                "a name that service.variables does not hold too",
            )
            .rests_on(format!("service.variables.{name}")),
        );
    }
    found
}

fn network(spec: &Spec) -> Vec<Mistake> {
    let network = &spec.network;
    let mut found = Vec::new();
    if let Some(cidr) = &network.cidr {
        if network.vpc_id.is_some() {
            found.push(
                Mistake::new(
                    "network.cidr",
                    cidr.clone(),
                    "nothing beside network.vpc_id: an existing VPC has its range",
                )
                .rests_on("network.vpc_id"),
            );
        }
        if !Cidr::parse(cidr).is_some_and(|cidr| (16..=24).contains(&cidr.prefix())) {
            found.push(Mistake::new(
                "network.cidr",
                cidr.clone(),
                "the first address of a range of /16 to /24, such as 10.0.0.0/16 (a smaller one has no room for three subnets)",
            ));
        }
    }
    match (&network.vpc_id, network.subnet_ids.len()) {
        (None, 1..) => found.push(
            Mistake::new(
                "network.vpc_id",
                None::<String>,
                "the VPC of network.subnet_ids",
            )
            .rests_on("network.subnet_ids"),
        ),
        (Some(_), 0 | 1) => found.push(
            Mistake::new(
                "network.subnet_ids",
                network.subnet_ids.clone(),
                "two private subnets of network.vpc_id or more, in two availability zones",
            )
            .rests_on("network.vpc_id"),
        ),
        _ => {}
    }
    found.extend(zones(network));
    found
}

fn zones(network: &Network) -> Vec<Mistake> {
    let zones = &network.zones;
    let mistake = |value: Value, allowed: String| Mistake::new("network.zones", value, allowed);
    if zones.is_empty() {
        return Vec::new();
    }
    if network.vpc_id.is_some() {
        let allowed =
            "nothing beside network.vpc_id: subnets of an existing VPC are in a zone already";
        return vec![mistake(json!(zones), allowed.into())];
    }
    let mut found = Vec::new();
    if zones.len() == 1 {
        let allowed =
            "two availability zones or more, which RDS needs; leave it out to have them chosen";
        found.push(mistake(json!(zones), allowed.into()));
    }
    for (n, id) in zones.iter().enumerate() {
        if zones[..n].contains(id) {
            found.push(mistake(json!(id), "each zone once".into()));
        }
        if zone::is_without_app_runner(id) {
            let allowed = format!("another zone: App Runner accepts no VPC connector in {id}");
            found.push(mistake(json!(id), allowed));
        }
    }
    found
}
