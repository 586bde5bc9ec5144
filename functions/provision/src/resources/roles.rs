//! The two roles of a service: the access role pulls its image, the instance role is what the application runs as and
//! reads exactly the secrets and parameters that the spec names.

use super::{credentials, registry};
use crate::asleep;
use aws_sdk_apprunner::types::ServiceStatus;
use aws_sdk_iam::types::{Role, Tag};
use groundcrew::environment::Account;
use groundcrew::error::found;
use groundcrew::stack::{TAG_CHANGED_BY, Tags};
use groundcrew::{Aws, Error, Mistake, Removal, Result, Run, Spec, Stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The path of the roles; the functions' policies go by it.
const PATH: &str = "/groundcrew/";
/// The name of the one inline policy of each role.
const POLICY: &str = "groundcrew";
/// The characters of all inline policies of a role together, white space not counted; the quota cannot be raised (IAM guide, "IAM
/// and STS quotas").
const POLICY_SIZE: usize = 10_240;

/// The access role and the instance role, by the principals that App Runner assumes them as. (One page of AWS's guide
/// says `tasks.apprunner.aws.com`; its prose and the CDK say otherwise, and are right.)
const ROLES: [(&str, &str); 2] = [
    ("access", "build.apprunner.amazonaws.com"),
    ("instance", "tasks.apprunner.amazonaws.com"),
];

/// The ARNs of the roles.
pub(super) struct Arns {
    pub(super) access: String,
    pub(super) instance: String,
}

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let stack = &spec.stack();
    let repository = registry::find(aws, &spec.repository())
        .await?
        .and_then(|repository| repository.repository_arn);
    let secret = credentials::secret_arn(aws, stack).await?;
    for (kind, principal) in ROLES {
        let policy = match kind {
            "access" => access_policy(repository.as_deref().unwrap_or_default()),
            _ => instance_policy(spec, secret.as_deref().unwrap_or_default()),
        };
        let wanted = Wanted {
            trust: trust(principal),
            boundary: aws.account.permissions_boundary.clone(),
            policy,
        };
        role(aws, spec, run, kind, &wanted).await?;
    }
    Ok(())
}

/// Everything that a role is created with, but for its name, its description and its tags.
struct Wanted {
    /// Who may assume it.
    trust: Value,
    /// Beyond which it may do nothing, whatever policies it has.
    boundary: String,
    /// What it may do.
    policy: Value,
}

async fn role(aws: &Aws, spec: &Spec, run: &mut Run, kind: &str, wanted: &Wanted) -> Result<()> {
    let stack = &spec.stack();
    let name = role_name(aws, stack, kind);
    let Wanted {
        trust,
        boundary,
        policy,
    } = wanted;
    let found = find(aws, &name).await?;
    let exists = match &found {
        Some(role) if !stack.owns(&tags(role)) => {
            return Err(Error::Conflict(format!("role {name}")));
        }
        Some(role) => {
            run.settle(&tags(role));
            keep_trust(aws, run, role, trust).await?;
            // Before its policy: a role without the boundary is none whose policy may be changed.
            keep_boundary(aws, run, role, boundary).await?;
            name_beside(aws, run, &name).await?;
            true
        }
        None => create(aws, stack, run, kind, wanted).await?,
    };
    if !exists || granted(aws, &name).await?.as_ref() == Some(policy) {
        return Ok(());
    }
    // A service that is woken may read the secrets that it was paused with (Assumption secrets-at-resume): what it may read changes
    // with them. One that is in an operation may be falling asleep.
    if found.is_some() && asleep::is_to_wait(spec, run) {
        match asleep::status(aws, stack).await? {
            Some(ServiceStatus::Paused) => {
                run.wait(format!("role {name}: what it may do"));
                return Ok(());
            }
            Some(ServiceStatus::OperationInProgress) if !run.dry_run => {
                return Err(Error::NotReady(format!(
                    "service {stack}, which is in an operation,"
                )));
            }
            _ => {}
        }
    }
    if run.change(format!("role {name}: what it may do")) {
        mark_changed(aws, run, &name).await?;
        aws.iam()
            .put_role_policy()
            .role_name(&name)
            .policy_name(POLICY)
            .policy_document(policy.to_string())
            .send()
            .await
            .map_err(Error::aws("iam:PutRolePolicy"))?;
    }
    Ok(())
}

/// Creates a role, without its policy. Answers whether it is there: in a dry run it is not.
async fn create(
    aws: &Aws,
    stack: &Stack,
    run: &mut Run,
    kind: &str,
    wanted: &Wanted,
) -> Result<bool> {
    let name = role_name(aws, stack, kind);
    if !run.create(format!("role {name}")) {
        return Ok(false);
    }
    let tags = stack.tags(&run.execution);
    let tags = tags.iter().map(|(key, value)| tag(key, value));
    aws.iam()
        .create_role()
        .role_name(&name)
        .path(PATH)
        .description(format!("The {kind} role of App Runner service {stack}"))
        .assume_role_policy_document(wanted.trust.to_string())
        .permissions_boundary(&wanted.boundary)
        .set_tags(Some(tags.collect::<Result<_>>()?))
        .send()
        .await
        .map_err(Error::aws("iam:CreateRole"))?;
    Ok(true)
}

async fn keep_trust(aws: &Aws, run: &mut Run, role: &Role, trust: &Value) -> Result<()> {
    let name = role.role_name();
    let trusted = role.assume_role_policy_document().and_then(document);
    if trusted.as_ref() == Some(trust) || !run.change(format!("role {name}: who may assume it")) {
        return Ok(());
    }
    mark_changed(aws, run, name).await?;
    aws.iam()
        .update_assume_role_policy()
        .role_name(name)
        .policy_document(trust.to_string())
        .send()
        .await
        .map_err(Error::aws("iam:UpdateAssumeRolePolicy"))?;
    Ok(())
}

async fn keep_boundary(aws: &Aws, run: &mut Run, role: &Role, boundary: &str) -> Result<()> {
    let name = role.role_name();
    let found = role
        .permissions_boundary()
        .and_then(|it| it.permissions_boundary_arn());
    let is = found.unwrap_or("none");
    if is == boundary {
        return Ok(());
    }
    let what = format!("role {name}: boundary {is} → {boundary}");
    // CloudFormation has replaced the boundary, and the role has the one before: it holds all the same.
    let is_ours = boundary
        .rsplit_once('-')
        .is_some_and(|(name, _)| is.starts_with(name));
    let now = match is_ours {
        true => run.change(what),
        false => run.change_urgently(what),
    };
    if !now {
        return Ok(());
    }
    mark_changed(aws, run, name).await?;
    aws.iam()
        .put_role_permissions_boundary()
        .role_name(name)
        .permissions_boundary(boundary)
        .send()
        .await
        .map_err(Error::aws("iam:PutRolePermissionsBoundary"))?;
    Ok(())
}

/// Policies that somebody else has given to a role are named and left: the boundary holds them.
async fn name_beside(aws: &Aws, run: &mut Run, name: &str) -> Result<()> {
    let mut beside = attached_policies(aws, name).await?;
    let inline = inline_policies(aws, name).await?.into_iter();
    beside.extend(inline.filter(|policy| policy != POLICY));
    if !beside.is_empty() {
        run.leave(format!(
            "role {name}: policies that are not groundcrew's, {}",
            beside.join(", ")
        ));
    }
    Ok(())
}

/// What the policy of a role grants; `None` without one.
async fn granted(aws: &Aws, name: &str) -> Result<Option<Value>> {
    let policy = aws.iam().get_role_policy().role_name(name);
    let policy = found(
        policy.policy_name(POLICY).send().await,
        |error| error.is_no_such_entity_exception(),
        "iam:GetRolePolicy",
    )?;
    Ok(policy.and_then(|policy| document(&policy.policy_document)))
}

/// The roles' ARNs; `None` until both exist.
pub(super) async fn arns(aws: &Aws, stack: &Stack) -> Result<Option<Arns>> {
    let access = find(aws, &role_name(aws, stack, "access")).await?;
    let instance = find(aws, &role_name(aws, stack, "instance")).await?;
    Ok(access.zip(instance).map(|(access, instance)| Arns {
        access: access.arn,
        instance: instance.arn,
    }))
}

/// IAM has one name space for all regions, and a stack may stand in several.
fn role_name(aws: &Aws, stack: &Stack, kind: &str) -> String {
    format!("{}-{}", stack.part(kind), aws.account.region)
}

fn trust(principal: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": principal}, "Action": "sts:AssumeRole"}],
    })
}

/// What pulling an image takes; AWS's managed policy allows it for every repository of the account.
fn access_policy(repository_arn: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:DescribeImages", "ecr:GetDownloadUrlForLayer"],
            "Resource": repository_arn,
        },
    ]})
}

fn instance_policy(spec: &Spec, own_secret_arn: &str) -> Value {
    let (mut secrets, mut parameters) = (BTreeSet::new(), BTreeSet::new());
    for reference in spec.service.secrets.values() {
        if reference.starts_with("database:") {
            secrets.insert(own_secret_arn.to_owned());
        } else if reference.split(':').nth(2) == Some("ssm") {
            parameters.insert(reference.clone());
        } else {
            // arn:aws:secretsmanager:region:account:secret:name, and then perhaps :json-key:stage:version.
            let arn: Vec<_> = reference.split(':').take(7).collect();
            secrets.insert(arn.join(":"));
        }
    }
    let mut statements = Vec::new();
    if !secrets.is_empty() {
        statements.push(json!({"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secrets}));
    }
    if !parameters.is_empty() {
        statements.push(
            json!({"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": parameters}),
        );
    }
    // What AWS's AWSXRayDaemonWriteAccess holds, which has no resources to name. An empty policy is not one, so a service
    // without secrets and tracing is told that it may not trace.
    let effect = if spec.service.xray { "Allow" } else { "Deny" };
    if spec.service.xray || statements.is_empty() {
        statements.push(json!({
            "Effect": effect,
            "Action": ["xray:GetSamplingRules", "xray:GetSamplingStatisticSummaries", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"],
            "Resource": "*",
        }));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// More secrets and parameters than fit into the policy that lets the service read them.
pub(crate) fn too_many_secrets(account: &Account, spec: &Spec) -> Option<Mistake> {
    let Account {
        partition,
        region,
        id,
        ..
    } = account;
    let own = spec.stack().secret_name();
    // Six characters are added to its name when it is made.
    let own = format!("arn:{partition}:secretsmanager:{region}:{id}:secret:{own}-??????");
    let policy = instance_policy(spec, &own).to_string();
    let size = policy.chars().filter(|it| !it.is_whitespace()).count();
    (size > POLICY_SIZE).then(|| {
        Mistake::new(
            "service.secrets",
            format!("{} variables", spec.service.secrets.len()),
            format!(
                "as many secrets and parameters as the policy of the service's role holds, {POLICY_SIZE} characters: it would have {size}, so keep several values in one secret, and read them by its keys"
            ),
        )
    })
}

/// The names of the roles that are to be removed.
pub(super) async fn own(aws: &Aws, removal: &Removal) -> Result<Vec<String>> {
    let mut own = Vec::new();
    for (kind, _) in ROLES {
        let name = role_name(aws, &removal.stack(), kind);
        let role = find(aws, &name).await?;
        if role.is_some_and(|role| removal.covers(&tags(&role))) {
            own.push(name);
        }
    }
    Ok(own)
}

/// Removes the roles with all their policies, also those that somebody attached or put there by hand: IAM deletes no role that
/// still has one.
pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    for name in own(aws, removal).await? {
        if !run.remove(format!("role {name}")) {
            continue;
        }
        let mut policies = Vec::new();
        for policy_arn in attached_policies(aws, &name).await? {
            aws.iam()
                .detach_role_policy()
                .role_name(&name)
                .policy_arn(&policy_arn)
                .send()
                .await
                .map_err(Error::aws("iam:DetachRolePolicy"))?;
            policies.push(policy_arn);
        }
        for policy in inline_policies(aws, &name).await? {
            aws.iam()
                .delete_role_policy()
                .role_name(&name)
                .policy_name(&policy)
                .send()
                .await
                .map_err(Error::aws("iam:DeleteRolePolicy"))?;
            policies.push(policy);
        }
        let deleted = aws.iam().delete_role().role_name(&name).send().await;
        match deleted.map_err(Error::aws("iam:DeleteRole")) {
            Ok(_) => {}
            Err(Error::NotReady(waits)) => return Err(held(aws, &name, &policies, waits).await),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Why a role cannot be deleted: an instance profile is somebody else's, and of policies that were just removed IAM does not know
/// everywhere yet.
async fn held(aws: &Aws, name: &str, policies: &[String], waits: String) -> Error {
    match instance_profiles(aws, name).await {
        Ok(profiles) if !profiles.is_empty() => Error::Failed(format!(
            "role {name} is in the instance profile {}: take it out of it, then start teardown again",
            profiles.join(", ")
        )),
        Ok(_) => Error::NotReady(format!(
            "role {name}, of which IAM has just been told to remove {}: {waits}, so it",
            policies.join(", ")
        )),
        Err(error) => error,
    }
}

async fn attached_policies(aws: &Aws, name: &str) -> Result<Vec<String>> {
    let listed = aws.iam().list_attached_role_policies().role_name(name);
    let mut pages = listed.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("iam:ListAttachedRolePolicies"))?;
        let policies = page.attached_policies.unwrap_or_default().into_iter();
        found.extend(policies.filter_map(|policy| policy.policy_arn));
    }
    Ok(found)
}

async fn inline_policies(aws: &Aws, name: &str) -> Result<Vec<String>> {
    let mut pages = aws
        .iam()
        .list_role_policies()
        .role_name(name)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("iam:ListRolePolicies"))?;
        found.extend(page.policy_names);
    }
    Ok(found)
}

/// The instance profiles that a role is in. They are somebody else's: App Runner knows none.
pub(super) async fn instance_profiles(aws: &Aws, name: &str) -> Result<Vec<String>> {
    let listed = aws.iam().list_instance_profiles_for_role().role_name(name);
    let mut pages = listed.into_paginator().send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(Error::aws("iam:ListInstanceProfilesForRole"))?;
        found.extend(
            page.instance_profiles
                .into_iter()
                .map(|it| it.instance_profile_name),
        );
    }
    Ok(found)
}

/// The role that RDS works with in an account: an instance makes it on the first use of RDS, but the subnet group, which comes
/// before, is refused without it (crossplane-contrib/provider-aws#479).
pub(super) async fn of_rds(aws: &Aws) -> Result<()> {
    if find(aws, "AWSServiceRoleForRDS").await?.is_none() {
        aws.iam()
            .create_service_linked_role()
            .aws_service_name("rds.amazonaws.com")
            .send()
            .await
            .map_err(Error::aws("iam:CreateServiceLinkedRole"))?;
    }
    Ok(())
}

async fn find(aws: &Aws, name: &str) -> Result<Option<Role>> {
    let role = found(
        aws.iam().get_role().role_name(name).send().await,
        |error| error.is_no_such_entity_exception(),
        "iam:GetRole",
    )?;
    Ok(role.and_then(|found| found.role))
}

/// IAM hands policy documents out URL-encoded (RFC 3986).
fn document(encoded: &str) -> Option<Value> {
    let mut bytes = encoded.bytes();
    let mut decoded = Vec::with_capacity(encoded.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = [bytes.next()?, bytes.next()?];
            decoded.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    serde_json::from_slice(&decoded).ok()
}

fn tags(role: &Role) -> Tags {
    role.tags()
        .iter()
        .map(|tag| (tag.key.clone(), tag.value.clone()))
        .collect()
}

async fn mark_changed(aws: &Aws, run: &Run, name: &str) -> Result<()> {
    if run.has_created() {
        return Ok(());
    }
    aws.iam()
        .tag_role()
        .role_name(name)
        .tags(tag(TAG_CHANGED_BY, &run.execution)?)
        .send()
        .await
        .map_err(Error::aws("iam:TagRole"))?;
    Ok(())
}

fn tag(key: &str, value: &str) -> Result<Tag> {
    Tag::builder()
        .key(key)
        .value(value)
        .build()
        .map_err(Error::built)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account {
            partition: "aws".into(),
            region: "us-east-1".into(),
            id: "123456789012".into(),
            permissions_boundary: String::new(),
            deploy_state_machine: String::new(),
            memory: String::new(),
        }
    }

    /// A spec that reads so many secrets, the last of which has a name of some length.
    fn reading(secrets: usize, last: usize) -> Spec {
        let named = |n: usize| match n + 1 == secrets {
            true => "x".repeat(last),
            false => format!("{n:04}{}", "s".repeat(50)),
        };
        let secrets = (0..secrets).map(|n| {
            let arn = format!(
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:{}-AbCdEf:key::",
                named(n)
            );
            (format!("KEY_{n}"), arn)
        });
        let mut spec = Spec::parse(&json!({"app": "shop", "environment": "dev"})).unwrap();
        spec.service.secrets = secrets.collect();
        spec
    }

    #[test]
    fn as_many_secrets_are_taken_as_the_policy_holds_to_the_character() {
        let of = |spec: &Spec| instance_policy(spec, "").to_string().len();
        let base = of(&reading(80, 1));
        let room = POLICY_SIZE - base;
        assert!(room < 1000, "the last name fills it");
        let full = reading(80, 1 + room);
        assert_eq!(of(&full), POLICY_SIZE);
        assert_eq!(too_many_secrets(&account(), &full), None);
        let mistake = too_many_secrets(&account(), &reading(80, 2 + room));
        let mistake = mistake.expect("refused").to_string();
        assert!(
            mistake.starts_with("service.secrets: \"80 variables\" is refused"),
            "{mistake}"
        );
        assert!(mistake.contains("it would have 10241"), "{mistake}");
    }

    #[test]
    fn keys_of_one_secret_take_its_place_once() {
        let mut spec = reading(1, 100);
        let arn = spec.service.secrets["KEY_0"].clone();
        spec.service.secrets = (0..1000)
            .map(|n| (format!("KEY_{n}"), arn.clone()))
            .collect();
        assert_eq!(too_many_secrets(&account(), &spec), None);
    }
}
