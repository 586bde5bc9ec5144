//! IAM without a local AWS: the policies of the template, asked for everything that somebody needs, and for everything foreign.
//!
//! Which actions there are, on which types of resources and with which condition keys, are AWS's own data
//! (`rehearsal/local_aws/authorization.json`); that IAM evaluates them is MiniStack's code.

use crate::documents::{self, files};
use regex_lite::Regex;
use rehearsal::{Authorization, Call, authorize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::runtime::Runtime;

/// What functions need, as a play through every branch of them has asked for it, and what machines, schedules and rules need.
pub(crate) const NEEDED: &str = "tests/authorization/needed";
const FOREIGN: &str = "tests/authorization/foreign.json";

/// IAM's quotas for the policies inside of one role, and for each managed policy, in characters without white space
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
const IN_A_ROLE: usize = 10_240;
const IN_A_MANAGED_POLICY: usize = 6_144;
/// How much longer ARNs are in another region, partition or stack than in `groundcrew` in `us-east-1`, at the most.
const LONGER: f64 = 1.2;

pub(crate) const PARAMETERS: [(&str, &str); 1] = [("SleepingEnvironments", "test,staging")];

struct Played {
    verdicts: Vec<String>,
    roles: Map<String, Value>,
}

fn play(authorizations: &[Authorization]) -> Played {
    let runtime = Runtime::new().unwrap();
    let policies = runtime.block_on(authorize(authorizations, &PARAMETERS));
    let policies = policies.unwrap_or_else(|error| panic!("{error}"));
    Played {
        verdicts: policies.verdicts,
        roles: policies.roles,
    }
}

fn needed() -> Vec<Authorization> {
    let lists = files(NEEDED).into_iter();
    lists
        .flat_map(|file| {
            let list = documents::json(&format!("{NEEDED}/{file}"));
            serde_json::from_value::<Vec<Authorization>>(list)
                .unwrap_or_else(|error| panic!("{file}: {error}"))
        })
        .collect()
}

/// What is foreign, by the type of the resource: names that are nobody's, and names that are like ours.
fn foreign(kind: &str) -> &'static [&'static str] {
    match kind {
        "alarm" => &["alarm:theirs", "alarm:theirs-groundcrew"],
        "dashboard" => &[
            "dashboard/theirs",
            "dashboard/theirs-us-east-1",
            "dashboard/theirs-groundcrew",
        ],
        "log-group" => &[
            "log-group:theirs:*",
            "log-group:/aws/apprunner/theirs/1/service:*",
        ],
        "topic" => &["theirs", "theirs-alarms"],
        "role" => &["role/theirs", "role/groundcrew/theirs"],
        "Secret" => &["secret:theirs-AbCdEf", "secret:groundcrew/theirs-AbCdEf"],
        "db" => &["db:theirs", "db:theirs-replica"],
        "snapshot" => &["snapshot:theirs", "snapshot:theirs-final-1"],
        "og" => &["og:theirs"],
        "pg" => &["pg:theirs"],
        _ => &[],
    }
}

/// Every authorisation of a foreign resource by an action that somebody of ours has and that does more than look.
fn plays_on_what_is_foreign(roles: &Map<String, Value>) -> Vec<Authorization> {
    let data = documents::json("rehearsal/local_aws/authorization.json");
    let mut plays = Vec::new();
    for (who, role) in roles {
        for action in granted(&policies_of(role, roles)) {
            let (service, operation) = action.split_once(':').unwrap();
            let looks = ["Describe", "Get", "List", "BatchGet"];
            let reads_secrets = action == "secretsmanager:GetSecretValue";
            if looks.iter().any(|verb| operation.starts_with(verb)) && !reads_secrets {
                continue;
            }
            let types = &data["services"][service]["types"];
            let touched = &data["services"][service]["actions"][operation]["types"];
            let touched = touched
                .as_object()
                .unwrap_or_else(|| panic!("AWS's data know no {action}"));
            for kind in touched.keys() {
                let Some(format) = types[kind]["arn"].as_str() else {
                    continue;
                };
                for resource in arns(format, foreign(kind)) {
                    for keys in [
                        json!({}),
                        json!({"aws:RequestTag/groundcrew:managed": "true", "aws:TagKeys": ["groundcrew:managed"]}),
                        json!({"aws:ResourceTag/team": "theirs", "aws:TagKeys": ["groundcrew:deploying"]}),
                    ] {
                        plays.push(Authorization {
                            who: who.trim_end_matches("Role").to_owned(),
                            action: action.clone(),
                            resource: resource.clone(),
                            keys: keys.as_object().unwrap().clone(),
                        });
                    }
                }
            }
        }
    }
    plays
}

/// The policies of a role: its own, and those of the template that are attached to it.
pub(crate) fn policies_of<'a>(role: &'a Value, all: &'a Map<String, Value>) -> Vec<&'a Value> {
    let attached = many(&role["ManagedPolicyArns"]);
    let attached = attached.into_iter().filter_map(|arn| {
        let name = arn.as_str()?.rsplit('/').next()?;
        let mut managed = all.iter();
        managed.find_map(|(logical, policy)| name.contains(logical.as_str()).then_some(policy))
    });
    let own = many(&role["Policies"]).into_iter();
    let policies = own.chain(attached);
    policies.map(|policy| &policy["PolicyDocument"]).collect()
}

/// The actions that policies allow.
pub(crate) fn granted(policies: &[&Value]) -> BTreeSet<String> {
    let statements = policies
        .iter()
        .flat_map(|policy| many(&policy["Statement"]));
    statements
        .flat_map(|statement| many(&statement["Action"]))
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

fn many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

/// Foreign resources of one type by the format of its ARN.
fn arns(format: &str, names: &[&str]) -> Vec<String> {
    let account = format
        .replace("${Partition}", "aws")
        .replace("${Region}", "us-east-1")
        .replace("${Account}", rehearsal::ACCOUNT);
    let parts: Vec<_> = account.splitn(6, ':').collect();
    let variable = Regex::new(r"\$\{\w+\}").unwrap();
    let any = variable.replace_all(parts[5], "theirs").into_owned();
    let names = match names {
        [] => vec![any.as_str()],
        names => names.to_vec(),
    };
    let with = |name: &str| format!("{}:{name}", parts[..5].join(":"));
    names.into_iter().map(with).collect()
}

/// What the policies of the template do not allow of these, each with the verdict.
pub(super) fn refused(needed: &[Authorization]) -> Vec<String> {
    refusals(needed, &play(needed))
}

fn refusals(needed: &[Authorization], played: &Played) -> Vec<String> {
    let asked = needed.iter().zip(&played.verdicts);
    asked
        .filter(|(_, verdict)| *verdict != "allowed")
        .map(|(asked, verdict)| format!("{verdict}: {}", json!(asked)))
        .collect()
}

#[test]
fn the_policies_allow_everything_that_functions_machines_schedules_and_rules_need() {
    let needed = needed();
    let played = play(&needed);
    let refused = refusals(&needed, &played);
    println!(
        "{} authorisations played, {} refused",
        needed.len(),
        refused.len()
    );
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    let who: BTreeSet<_> = needed.iter().map(|it| it.who.as_str()).collect();
    let roles = played.roles.keys();
    let unasked: Vec<_> = roles
        .filter(|role| role.ends_with("Role"))
        .filter(|role| !who.contains(role.trim_end_matches("Role")) && !who.contains(role.as_str()))
        .collect();
    assert!(unasked.is_empty(), "nobody asks for {unasked:?}");
}

#[test]
fn nothing_foreign_can_be_touched_but_for_what_iam_cannot_tell_apart() {
    let exceptions = documents::json(FOREIGN);
    let reasons = exceptions["allowed"].as_array().unwrap();
    let explicit = exceptions["denied"].clone();
    let explicit: Vec<Authorization> = serde_json::from_value(explicit).unwrap();
    let roles = play(&[]).roles;
    let mut plays = plays_on_what_is_foreign(&roles);
    plays.retain(|play| roles.contains_key(&format!("{}Role", play.who)));
    plays.extend(explicit);
    let verdicts = play(&plays).verdicts;
    let (mut used, mut unexplained) = (BTreeSet::new(), Vec::new());
    let mut touched: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (play, verdict) in plays.iter().zip(&verdicts) {
        assert!(
            ["allowed", "denied"].contains(&verdict.as_str()),
            "{verdict}: {}",
            json!(play)
        );
        if verdict == "denied" {
            continue;
        }
        let (_, resource) = play.resource.split_once(rehearsal::ACCOUNT).unwrap();
        let what = format!("{} {}", play.action, resource.trim_start_matches(':'));
        let reason = reasons.iter().position(|reason| {
            let has = |member: &str, value: &str| {
                let mut all = reason[member].as_array().unwrap().iter();
                all.any(|it| it == value)
            };
            has("who", &play.who) && has("what", &what)
        });
        match reason {
            Some(reason) => drop(used.insert(reason)),
            None => unexplained.push(json!(play).to_string()),
        }
        touched.entry(what).or_default().insert(&play.who);
    }
    println!(
        "{} plays on what is foreign; {} things can be touched, each with its reason in {FOREIGN}:",
        plays.len(),
        touched.len()
    );
    for (what, who) in &touched {
        println!("  {what}: {who:?}");
    }
    assert!(
        unexplained.is_empty(),
        "foreign, and allowed:\n{}",
        unexplained.join("\n")
    );
    let idle = (0..reasons.len()).filter(|reason| !used.contains(reason));
    let idle: Vec<_> = idle.map(|reason| &reasons[reason]).collect();
    assert!(idle.is_empty(), "exceptions that nothing needs: {idle:?}");
}

#[test]
fn the_policies_of_each_role_fit_the_quotas_of_iam() {
    for (name, role) in play(&[]).roles {
        let size = |policy: &Value| {
            let characters = policy["PolicyDocument"].to_string().len();
            (characters as f64 * LONGER) as usize
        };
        let inside: usize = many(&role["Policies"]).into_iter().map(size).sum();
        assert!(inside <= IN_A_ROLE, "{name}: {inside} of {IN_A_ROLE}");
        if role["PolicyDocument"].is_object() {
            let alone = size(&role);
            assert!(alone <= IN_A_MANAGED_POLICY, "{name}: {alone}");
        }
    }
}

/// What a function has asked IAM for in a play, one for each kind: of the same action on the same sort of resource with the same
/// keys there is one. Of the keys those count that the policies of its role go by for this action.
pub(crate) fn asked(function: &str, policies: &[&Value], calls: &[Call]) -> Vec<Authorization> {
    let statements: Vec<_> = policies
        .iter()
        .flat_map(|policy| many(&policy["Statement"]))
        .collect();
    let go_by = |action: &str, key: &str| {
        let mut all = statements.iter();
        all.any(|statement| {
            many(&statement["Action"]).iter().any(|it| *it == action)
                && statement["Condition"].to_string().contains(key)
        })
    };
    let checks: Vec<_> = calls.iter().flat_map(|call| &call.checks).collect();
    let names: BTreeSet<_> = checks.iter().filter_map(|it| name(&it.keys)).collect();
    let mut kinds: BTreeMap<String, Authorization> = BTreeMap::new();
    for check in checks {
        let mut keys = check.keys.clone();
        keys.retain(|key, _| go_by(&check.action, key));
        for value in keys.values_mut() {
            if let Value::String(text) = value {
                *text = sort(text, &names);
            }
        }
        for keys in alone(keys) {
            let asked = Authorization {
                who: function.to_owned(),
                action: check.action.clone(),
                resource: sort(&check.resource, &names),
                keys,
            };
            kinds.insert(json!(asked).to_string(), asked);
        }
    }
    kinds.into_values().collect()
}

/// The app of what is touched, by its tags.
fn name(keys: &Map<String, Value>) -> Option<String> {
    let sources = [
        "aws:RequestTag/groundcrew:app",
        "aws:ResourceTag/groundcrew:app",
    ];
    let mut found = sources.iter().filter_map(|key| keys.get(*key)?.as_str());
    found.next().map(str::to_owned)
}

/// Each tag key by itself: whoever may set each of them may set all of them.
fn alone(mut keys: Map<String, Value>) -> Vec<Map<String, Value>> {
    let Some(all) = keys.remove("aws:TagKeys") else {
        return vec![keys];
    };
    let release = Regex::new("^groundcrew:release-.*").unwrap();
    let one = many(&all).into_iter().map(|key| {
        let key = release.replace(key.as_str().unwrap(), "groundcrew:release-2026");
        let mut keys = keys.clone();
        keys.insert("aws:TagKeys".into(), json!([key]));
        keys
    });
    one.collect()
}

/// A resource without what differs from play to play: ids, the names of stacks, the ends of secrets.
fn sort(resource: &str, names: &BTreeSet<String>) -> String {
    const SAME: [(&str, &str); 6] = [
        ("[0-9a-f]{32}", "0123456789abcdef0123456789abcdef"),
        ("/(vpc|subnet|sg|rtb)-[0-9a-f]+$", "/$1-0123456789abcdef0"),
        ("(:secret:.*)-[A-Za-z0-9]{6}$", "$1-AbCdEf"),
        ("(execution:[^:]*:).*", "${1}one"),
        ("-final-[0-9a-zA-Z-]+$", "-final-1"),
        (
            "groundcrew-([A-Za-z]+)-[0-9A-Z]{8,}",
            "groundcrew-$1-2K7Q9XJ4",
        ),
    ];
    let mut sort = resource.to_owned();
    for app in names {
        let name = Regex::new(&format!("([:/]){app}(-(dev|test|prod))?([-:/]|$)")).unwrap();
        sort = name.replace(&sort, "${1}shop-test$4").into_owned();
    }
    for (same, one) in SAME {
        let same = Regex::new(same).unwrap();
        sort = same.replace_all(&sort, one).into_owned();
    }
    sort
}

/// The needs of a function, a line each.
pub(crate) fn written(needed: &[Authorization]) -> String {
    let lines: Vec<_> = needed.iter().map(|it| json!(it).to_string()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
