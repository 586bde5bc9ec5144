//! What a service waits for. An assessment does it at an event; the daily look of `sweep` finds what no event has brought.

use crate::decide::{Decision, Situation, decide};
use crate::deployment::called;
use crate::operation::update_image;
use aws_sdk_apprunner::types::ServiceStatus;
use groundcrew::memory::Deployments;
use groundcrew::reference::{ImageReference, current_secrets};
use groundcrew::stack::Tags;
use groundcrew::tag_rule::{Pushed, TagRule};
use groundcrew::{Aws, Error, Managed, Memory, Result, image, secrets};

/// What a service waits for that no event has brought.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Due {
    /// An execution of `deploy`, and why.
    Deployment(String),
    /// That App Runner no longer deploys by itself what is pushed, past every check.
    EndOfAutoDeployments,
}

/// What a service waits for; `None` if for nothing, or not yet: one that is deployed, held, paused or busy is looked at again
/// when that ends. Nothing is called that writes.
///
/// # Errors
/// Those of AWS.
pub async fn due(
    aws: &Aws,
    managed: &Managed,
    memory: &Memory<Deployments>,
) -> Result<Option<Due>> {
    let held = memory.orders.now(&managed.tags).held;
    let is_free = matches!(obstacle(managed, held), Ok(None));
    if !is_free {
        return Ok(None);
    }
    if let Some(claim) = &memory.claim {
        let ended_early = !claim.is_alive(aws).await?;
        let why = || format!("the deployment {} ended early", claim.execution);
        return Ok(ended_early.then(|| Due::Deployment(why())));
    }
    let seen = Seen::of(aws, managed).await?;
    Ok(match decide(&seen.situation(memory, &managed.tags)) {
        Decision::Image(image) => {
            let image = called(Some(&image.tag), Some(&image.digest));
            Some(Due::Deployment(format!(
                "{image} was pushed and not deployed"
            )))
        }
        Decision::Secrets => {
            let why = "it does not run with the current versions of its secrets";
            Some(Due::Deployment(why.into()))
        }
        Decision::Nothing(_) => deploys_by_itself(managed).then_some(Due::EndOfAutoDeployments),
    })
}

/// Turns off what [`due`] has found, if it still finds it; the image stays. Answers whether it had to.
///
/// # Errors
/// `Busy` while the service is in an operation.
pub async fn end_auto_deployments(aws: &Aws, managed: &Managed) -> Result<bool> {
    let memory = Memory::of(aws, managed.arn(), &managed.tags).await?;
    if due(aws, managed, &memory).await? != Some(Due::EndOfAutoDeployments) {
        return Ok(false);
    }
    let source = managed.service.source_configuration();
    let image = source.and_then(|source| source.image_repository());
    let Some(image) = image else { return Ok(false) };
    update_image(aws, managed, image.image_identifier()).await?;
    Ok(true)
}

/// Whether App Runner deploys by itself what is pushed. Only of a service that is pinned to a digest: the image of another one
/// would be that which its tag names by now.
fn deploys_by_itself(managed: &Managed) -> bool {
    let is_pinned = ImageReference::of(&managed.service).is_some_and(|it| it.digest.is_some());
    let source = managed.service.source_configuration();
    is_pinned && source.and_then(|source| source.auto_deployments_enabled()) == Some(true)
}

/// Why nothing is deployed to a service now.
///
/// # Errors
/// `Busy` while it is in an operation.
pub(crate) fn obstacle(managed: &Managed, held: bool) -> Result<Option<String>> {
    if held {
        return Ok(Some(
            "it is held; start deploy with hold: false to go on".into(),
        ));
    }
    match managed.service.status() {
        ServiceStatus::Running => Ok(None),
        ServiceStatus::Paused => Ok(Some(
            "it is paused, and is looked at again when it wakes".into(),
        )),
        ServiceStatus::OperationInProgress => Err(Error::Busy {
            call: "apprunner:DescribeService",
            reason: format!("service {} is in an operation", managed.name()),
        }),
        status => Ok(Some(format!(
            "it is {status}; start provision with its spec to repair it"
        ))),
    }
}

/// What a service runs and what there is to run, as AWS has it now.
pub(crate) struct Seen {
    /// Where its image comes from; `None` for one from elsewhere, or built from source: of it only the secrets are delivered.
    pub(crate) image: Option<ImageReference>,
    /// The digest that it is pinned to.
    pub(crate) running: Option<String>,
    /// The images of its repository.
    pub(crate) images: Vec<Pushed>,
    /// The current versions of its secrets.
    pub(crate) secrets: secrets::Fingerprint,
}

impl Seen {
    pub(crate) async fn of(aws: &Aws, managed: &Managed) -> Result<Self> {
        let image = ImageReference::of(&managed.service);
        let images = match &image {
            Some(image) => image::pushed(aws, &image.repository).await?,
            None => Vec::new(),
        };
        Ok(Self {
            running: image.as_ref().and_then(|image| image.digest.clone()),
            image,
            images,
            secrets: secrets::fingerprint(aws, &current_secrets(&managed.service)).await?,
        })
    }

    /// Together with what is remembered, and what the tags of the service say.
    pub(crate) fn situation<'a>(&'a self, memory: &'a Deployments, tags: &Tags) -> Situation<'a> {
        let own_tag = self.image.as_ref().and_then(|image| image.tag.clone());
        let tracked = memory.orders.now(tags).rule.or(own_tag);
        let tracked = tracked.filter(|_| self.image.is_some());
        Situation {
            rule: tracked.map(|rule| TagRule::parse(&rule)),
            running: self.running.as_deref(),
            images: &self.images,
            memory,
            secrets: self.secrets.text.as_deref(),
        }
    }
}

/// Whether tags of groundcrew 0.1 alone say what is remembered of a service. The end of a deployment that is under way is still
/// written there (until 0.3.0).
pub fn is_to_be_taken_over(memory: &Memory<Deployments>) -> bool {
    memory.is_new() && memory.claim.is_none() && **memory != Deployments::default()
}
