//! The ECR repository: an own one, scanned on push and tidied by a lifecycle policy, or an existing one that is only read.

use super::foreign;
use aws_sdk_apprunner::types::Service;
use aws_sdk_ecr::types::{
    EncryptionConfiguration, EncryptionType, ImageScanningConfiguration, ImageTagMutability,
    Repository, Tag,
};
use groundcrew::error::found;
use groundcrew::stack::{TAG_CHANGED_BY, Tags};
use groundcrew::{Aws, Error, Removal, Result, Run, Spec, image, reference};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) async fn ensure(aws: &Aws, spec: &Spec, run: &mut Run) -> Result<()> {
    let name = spec.repository();
    let found = find(aws, &name).await?;
    if spec.image.repository.is_some() {
        let repository = found.ok_or_else(|| {
            Error::invalid(
                "image.repository",
                name,
                "an ECR repository that exists in this account and region",
            )
        })?;
        run.tell(
            "repository_uri",
            repository.repository_uri.unwrap_or_default(),
        );
        return Ok(());
    }
    let uri = match found {
        Some(repository) => repair(aws, spec, run, repository).await?,
        None => create(aws, spec, run, &name).await?,
    };
    let Some(uri) = uri else { return Ok(()) };
    run.tell("repository_uri", uri);
    lifecycle(aws, spec, run, &name).await
}

/// The repository of that name, whoever owns it.
pub(super) async fn find(aws: &Aws, name: &str) -> Result<Option<Repository>> {
    let described = aws.ecr().describe_repositories().repository_names(name);
    let described = found(
        described.send().await,
        |error| error.is_repository_not_found_exception(),
        "ecr:DescribeRepositories",
    )?;
    Ok(described.and_then(|it| it.repositories?.into_iter().next()))
}

async fn create(aws: &Aws, spec: &Spec, run: &mut Run, name: &str) -> Result<Option<String>> {
    if !run.create(format!("repository {name}")) {
        return Ok(None);
    }
    let tags = spec.stack().tags(&run.execution);
    let created = aws
        .ecr()
        .create_repository()
        .repository_name(name)
        .image_tag_mutability(mutability(spec))
        .image_scanning_configuration(
            ImageScanningConfiguration::builder()
                .scan_on_push(true)
                .build(),
        )
        .encryption_configuration(
            EncryptionConfiguration::builder()
                .encryption_type(EncryptionType::Aes256)
                .build()
                .map_err(Error::built)?,
        )
        .set_tags(Some(
            tags.iter()
                .map(|(key, value)| tag(key, value))
                .collect::<Result<_>>()?,
        ))
        .send()
        .await
        .map_err(Error::aws("ecr:CreateRepository"))?;
    Ok(created
        .repository
        .and_then(|repository| repository.repository_uri))
}

async fn repair(
    aws: &Aws,
    spec: &Spec,
    run: &mut Run,
    repository: Repository,
) -> Result<Option<String>> {
    let name = repository.repository_name().unwrap_or_default();
    let arn = repository.repository_arn().unwrap_or_default();
    let tags = tags(aws, arn).await?;
    if !spec.stack().owns(&tags) {
        return Err(Error::Conflict(format!("repository {name}")));
    }
    run.settle(&tags);
    let scans = repository
        .image_scanning_configuration()
        .is_some_and(ImageScanningConfiguration::scan_on_push);
    if !scans && run.change(format!("repository {name}: scan on push")) {
        mark_changed(aws, run, arn).await?;
        aws.ecr()
            .put_image_scanning_configuration()
            .repository_name(name)
            .image_scanning_configuration(
                ImageScanningConfiguration::builder()
                    .scan_on_push(true)
                    .build(),
            )
            .send()
            .await
            .map_err(Error::aws("ecr:PutImageScanningConfiguration"))?;
    }
    let wanted = mutability(spec);
    if repository.image_tag_mutability() != Some(&wanted)
        && run.change(format!("repository {name}: tags {wanted}"))
    {
        mark_changed(aws, run, arn).await?;
        aws.ecr()
            .put_image_tag_mutability()
            .repository_name(name)
            .image_tag_mutability(wanted)
            .send()
            .await
            .map_err(Error::aws("ecr:PutImageTagMutability"))?;
    }
    Ok(repository.repository_uri)
}

async fn lifecycle(aws: &Aws, spec: &Spec, run: &mut Run, name: &str) -> Result<()> {
    let wanted = lifecycle_policy(spec);
    let policy = aws.ecr().get_lifecycle_policy().repository_name(name);
    let policy = found(
        policy.send().await,
        |error| error.is_lifecycle_policy_not_found_exception(),
        "ecr:GetLifecyclePolicy",
    )?;
    let existing: Option<Value> = policy
        .and_then(|policy| policy.lifecycle_policy_text)
        .and_then(|text| serde_json::from_str(&text).ok());
    if existing.as_ref() != Some(&wanted)
        && run.change(format!(
            "repository {name}: keep {} images",
            spec.image.keep
        ))
    {
        if let Some(repository) = find(aws, name).await? {
            mark_changed(aws, run, repository.repository_arn().unwrap_or_default()).await?;
        }
        aws.ecr()
            .put_lifecycle_policy()
            .repository_name(name)
            .lifecycle_policy_text(wanted.to_string())
            .send()
            .await
            .map_err(Error::aws("ecr:PutLifecyclePolicy"))?;
    }
    Ok(())
}

fn lifecycle_policy(spec: &Spec) -> Value {
    json!({"rules": [{
        "rulePriority": 1,
        "description": "Keep the newest images",
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": spec.image.keep},
        "action": {"type": "expire"},
    }]})
}

fn mutability(spec: &Spec) -> ImageTagMutability {
    if spec.image.immutable_tags {
        ImageTagMutability::Immutable
    } else {
        ImageTagMutability::Mutable
    }
}

/// Removes the repository with its images, unless a service runs one of them: that of another stack, or of nobody. An undo leaves
/// one into which somebody has pushed.
pub(super) async fn destroy(aws: &Aws, removal: &Removal, run: &mut Run) -> Result<()> {
    let name = removal.stack().name();
    let Some(repository) = find(aws, &name).await? else {
        return Ok(());
    };
    let tags = tags(aws, repository.repository_arn().unwrap_or_default()).await?;
    if !removal.covers(&tags) {
        return Ok(());
    }
    let services = foreign::services_but(aws, &name).await?;
    let uri = repository.repository_uri().unwrap_or_default();
    let users: Vec<_> = services.iter().filter(|it| runs_from(it, uri)).collect();
    if !users.is_empty() {
        let users: Vec<_> = users.iter().map(|it| it.service_name.as_str()).collect();
        run.leave(format!(
            "repository {name}, of which service {} runs an image",
            users.join(", ")
        ));
        return Ok(());
    }
    if removal.is_undo()
        && let Some(date) = last_push(aws, &name).await?
    {
        run.leave(format!(
            "repository {name}, into which an image was pushed on {date}"
        ));
        return Ok(());
    }
    if run.remove(format!("repository {name} with its images")) {
        aws.ecr()
            .delete_repository()
            .repository_name(&name)
            .force(true)
            .send()
            .await
            .map_err(Error::aws("ecr:DeleteRepository"))?;
    }
    Ok(())
}

/// The date of the newest image.
async fn last_push(aws: &Aws, name: &str) -> Result<Option<String>> {
    let repository = reference::Repository::own(&aws.account, name.to_owned());
    let images = image::pushed(aws, &repository).await?;
    let newest = images.iter().map(|image| image.at).max();
    let newest = newest.and_then(|at| Timestamp::from_second(at).ok());
    Ok(newest.map(|at| at.strftime("%Y-%m-%d").to_string()))
}

/// Whether a service runs an image of this repository: `uri`, and then `:tag` or `@digest`.
fn runs_from(service: &Service, uri: &str) -> bool {
    let source = service.source_configuration();
    let image = source.and_then(|source| source.image_repository());
    let rest = image.and_then(|image| image.image_identifier().strip_prefix(uri));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
}

async fn tags(aws: &Aws, arn: &str) -> Result<Tags> {
    let found = aws
        .ecr()
        .list_tags_for_resource()
        .resource_arn(arn)
        .send()
        .await
        .map_err(Error::aws("ecr:ListTagsForResource"))?;
    Ok(found
        .tags
        .unwrap_or_default()
        .into_iter()
        .map(|tag| (tag.key, tag.value))
        .collect())
}

async fn mark_changed(aws: &Aws, run: &Run, arn: &str) -> Result<()> {
    if run.has_created() {
        return Ok(());
    }
    aws.ecr()
        .tag_resource()
        .resource_arn(arn)
        .tags(tag(TAG_CHANGED_BY, &run.execution)?)
        .send()
        .await
        .map_err(Error::aws("ecr:TagResource"))?;
    Ok(())
}

fn tag(key: &str, value: &str) -> Result<Tag> {
    Tag::builder()
        .key(key)
        .value(value)
        .build()
        .map_err(Error::built)
}
