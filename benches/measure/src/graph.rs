//! What a stack is made of, what takes its time, and what each part waits for.

use crate::{Error, Result};
use apprunner_emulator::Emulator;
use rehearsal::Takes;
use std::collections::BTreeMap;

/// A part of a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// The calls that make it.
    pub calls: &'static [&'static str],
    /// The parts that it needs, which come before it.
    pub after: &'static [&'static str],
    /// AWS seconds from its call until the others can use it.
    pub seconds: f64,
}

/// The graph of a stack as `events/provision.json` describes it. That a service waits for its database is no reference between
/// the two: it reads the address from the secret, which has none before.
const STACK: [(&str, &[&str], &[&str]); 20] = [
    ("VPC", &["ec2:CreateVpc"], &[]),
    ("subnets", &["ec2:CreateSubnet"], &["VPC"]),
    (
        "route table",
        &["ec2:CreateRouteTable", "ec2:AssociateRouteTable"],
        &["subnets"],
    ),
    (
        "security groups",
        &[
            "ec2:CreateSecurityGroup",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateTags",
        ],
        &["VPC"],
    ),
    (
        "repository",
        &["ecr:CreateRepository", "ecr:PutLifecyclePolicy"],
        &[],
    ),
    ("image", &[], &["repository"]),
    ("secret", &["secretsmanager:CreateSecret"], &[]),
    ("subnet group", &["rds:CreateDBSubnetGroup"], &["subnets"]),
    (
        "database",
        &["rds:CreateDBInstance"],
        &["subnet group", "security groups", "secret"],
    ),
    (
        "address in the secret",
        &["secretsmanager:PutSecretValue"],
        &["database"],
    ),
    (
        "VPC connector",
        &["apprunner:CreateVpcConnector"],
        &["subnets", "security groups"],
    ),
    (
        "auto scaling",
        &["apprunner:CreateAutoScalingConfiguration"],
        &[],
    ),
    (
        "observability",
        &["apprunner:CreateObservabilityConfiguration"],
        &[],
    ),
    (
        "roles",
        &["iam:CreateRole", "iam:PutRolePolicy"],
        &["secret"],
    ),
    (
        "service",
        &["apprunner:CreateService"],
        &[
            "image",
            "address in the secret",
            "VPC connector",
            "auto scaling",
            "observability",
            "roles",
        ],
    ),
    ("topic", &["sns:CreateTopic"], &[]),
    (
        "alarms",
        &["cloudwatch:PutMetricAlarm"],
        &["service", "database", "topic"],
    ),
    (
        "dashboard",
        &["cloudwatch:PutDashboard"],
        &["service", "database"],
    ),
    ("log retention", &["logs:PutRetentionPolicy"], &["service"]),
    ("answer of the health path", &[], &["service"]),
];

/// The parts of a stack, with the durations of the local AWS.
///
/// # Errors
/// If it does not say one of them.
pub fn stack(durations: &[Takes]) -> Result<Vec<Part>> {
    let of = |call: &str| {
        let takes = durations.iter().find(|takes| takes.call == call);
        let unknown =
            || Error::Unexpected(format!("the local AWS does not say how long {call} takes"));
        takes.map(|takes| takes.seconds).ok_or_else(unknown)
    };
    let apprunner = Emulator::DURATIONS;
    let parts = STACK.iter().map(|&(name, calls, after)| {
        let seconds = match name {
            "database" => of("rds:CreateDBInstance")?,
            "service" => apprunner.create_service + apprunner.first_use_of_a_connector,
            "roles" => apprunner.role_propagation,
            _ => 0.0,
        };
        Ok(Part {
            name,
            calls,
            after,
            seconds,
        })
    });
    parts.collect()
}

/// When each part is there, if each is begun as soon as what it needs is there: AWS seconds from the beginning.
pub fn ready(parts: &[Part]) -> BTreeMap<&'static str, f64> {
    let mut ready = BTreeMap::new();
    for part in parts {
        let begin = part
            .after
            .iter()
            .filter_map(|name| ready.get(name))
            .copied();
        ready.insert(part.name, begin.fold(0.0, f64::max) + part.seconds);
    }
    ready
}

/// The chain of parts that nothing can be faster than, and how long it takes.
pub fn critical_path(parts: &[Part]) -> (Vec<&'static str>, f64) {
    let ready = ready(parts);
    let at = |name: &str| ready.get(name).copied().unwrap_or_default();
    let last = |names: &mut dyn Iterator<Item = &'static str>| {
        names.max_by(|one, other| at(one).total_cmp(&at(other)))
    };
    let mut path = Vec::new();
    let mut next = last(&mut parts.iter().map(|part| part.name));
    let total = next.map(at).unwrap_or_default();
    while let Some(part) = next.and_then(|name| parts.iter().find(|part| part.name == name)) {
        if part.seconds > 0.0 {
            path.push(part.name);
        }
        next = last(&mut part.after.iter().copied());
    }
    path.reverse();
    (path, total)
}

/// How long it takes to make one part after the other.
pub fn one_after_the_other(parts: &[Part]) -> f64 {
    parts.iter().map(|part| part.seconds).sum()
}

/// The calls that make something and are of no part: the graph does not know all of the stack.
pub fn unknown<'a>(parts: &[Part], made: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let of_a_part = |call: &&str| parts.iter().any(|part| part.calls.contains(call));
    let mut unknown: Vec<_> = made.filter(|call| !of_a_part(call)).collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, seconds: f64, after: &'static [&'static str]) -> Part {
        Part {
            name,
            calls: &[],
            after,
            seconds,
        }
    }

    #[test]
    fn the_critical_path_is_the_longest_chain_and_not_the_sum() {
        let parts = [
            part("network", 5.0, &[]),
            part("roles", 10.0, &[]),
            part("database", 360.0, &["network"]),
            part("connector", 120.0, &["network"]),
            part("service", 240.0, &["database", "connector", "roles"]),
            part("alarms", 0.0, &["service"]),
        ];
        let (path, seconds) = critical_path(&parts);
        assert_eq!(
            (path, seconds),
            (vec!["network", "database", "service"], 605.0)
        );
        assert_eq!(one_after_the_other(&parts), 735.0);
        assert_eq!(ready(&parts)["connector"], 125.0);
        assert_eq!(critical_path(&[]), (vec![], 0.0));
    }

    #[test]
    fn each_part_of_a_stack_needs_only_parts_that_come_before_it() {
        for (n, (name, _, after)) in STACK.iter().enumerate() {
            for needed in *after {
                let before = STACK[..n].iter().any(|(before, _, _)| before == needed);
                assert!(before, "{name} needs {needed}");
            }
        }
    }

    #[test]
    fn a_call_of_no_part_is_found() {
        let parts = [Part {
            calls: &["ec2:CreateVpc"],
            ..part("VPC", 0.0, &[])
        }];
        let made = [
            "ec2:CreateVpc",
            "ec2:CreateNatGateway",
            "ec2:CreateNatGateway",
        ];
        assert_eq!(unknown(&parts, made.into_iter()), ["ec2:CreateNatGateway"]);
    }

    #[test]
    fn a_duration_that_the_local_aws_does_not_say_is_an_error() {
        assert!(stack(&[]).is_err());
    }
}
