//! Compares stacks with what they should be. Nothing is called that writes.

use crate::finding::{Finding, Looked, Remedy, Swept};
use crate::inventory::{Inventory, inventories};
use crate::{Compared, Surroundings, drift};
use aws_sdk_apprunner::types::{OperationStatus, ServiceStatus};
use deploy::Due;
use groundcrew::alarms::services_of;
use groundcrew::arn::ServiceArn;
use groundcrew::command::start_execution;
use groundcrew::installation::Keeper;
use groundcrew::memory::{Deployments, Parking, Uses, Watched};
use groundcrew::pace::{Pace, Tempo, patiently};
use groundcrew::stack::{
    TAG_ALARM_TOPIC, TAG_ALARMS, TAG_APP, TAG_AWAKE_UNTIL, TAG_ENVIRONMENT, TAG_HOLD,
    TAG_IMAGE_TAG, TAG_MANAGED, TAG_PARKED_UNTIL, TAG_POLICY, Tags,
};
use groundcrew::{Aws, Managed, Memory, Policy, Result, Stack, Watch, log_group};
use jiff::{SignedDuration, Timestamp};
use park::{Action, Database, Observed, Schedule, decide, observe};

/// What takes longer is stuck: an operation of App Runner takes minutes, and it gives up by itself within the hour.
const STUCK: SignedDuration = SignedDuration::from_hours(2);
/// `park` has had its looks, every half hour.
const OVERDUE: SignedDuration = SignedDuration::from_hours(1);
/// By then CloudWatch Logs has counted what is in a log group (Assumption stored-bytes).
const COUNTED: SignedDuration = SignedDuration::from_hours(24);
/// An execution that builds a stack, or takes it down, has ended by then.
const LEFT: SignedDuration = SignedDuration::from_hours(24);

/// How stacks are looked at.
#[derive(Debug)]
pub struct Look<'a> {
    /// What the sweep knows of its surroundings.
    pub surroundings: &'a Surroundings,
    /// When environments sleep.
    pub schedule: &'a Schedule,
    /// The moment.
    pub now: Timestamp,
    /// Whether nothing is to be repaired.
    pub dry_run: bool,
    /// That of [`crate::Listed`].
    pub room: usize,
}

/// Looks at some stacks, at most twenty, which were [compared](Compared) with their specs before.
///
/// # Errors
/// Those of `tag:GetResources` and `dynamodb:Query`; what is the matter with a stack is a finding.
pub async fn look(
    aws: &Aws,
    look: &Look<'_>,
    stacks: &[Stack],
    compared: &Compared,
) -> Result<Looked> {
    let pace = Pace::new(Tempo::AWS);
    let sweep = Sweep {
        aws,
        surroundings: look.surroundings,
        schedule: look.schedule,
        now: look.now,
        deployments: patiently(Tempo::AWS, || Memory::all(aws)).await?,
        parking: patiently(Tempo::AWS, || Memory::all(aws)).await?,
        watched: patiently(Tempo::AWS, || Memory::all(aws)).await?,
        uses: patiently(Tempo::AWS, || Memory::all(aws)).await?,
    };
    let mut looked = Looked {
        services: 0,
        findings: Vec::new(),
        to_repair: false,
        swept: Swept::default(),
    };
    for inventory in inventories(aws, stacks).await? {
        looked.services += inventory.services.len();
        match pace.ask(|| sweep.stack(&inventory)).await {
            Ok(findings) => looked.findings.extend(findings),
            // What is the matter with one stack does not hide the others.
            Err(error) => looked.findings.push(Finding {
                of: format!("stack {}", inventory.stack),
                what: format!("it could not be looked at: {error}"),
                remedy: Remedy::Person("Mend that; the next sweep looks again".into()),
            }),
        }
    }
    looked.findings.extend(drift::findings(
        &compared.drifts,
        look.surroundings,
        look.dry_run,
    ));
    looked
        .findings
        .extend(compared.failure.as_ref().map(|failure| Finding {
            of: "stacks".into(),
            what: format!("they could not be compared with their specs: {failure}"),
            remedy: Remedy::Person("Mend that; the next sweep compares them again".into()),
        }));
    for finding in &looked.findings {
        let repairable = finding.is_repairable();
        // The dashboard of the template reads these.
        tracing::info!(action = "found", repairable = repairable, "{finding}");
    }
    looked.to_repair = !look.dry_run && looked.findings.iter().any(Finding::is_repairable);
    looked.swept = Swept {
        told: drift::told(&compared.drifts, look.dry_run, look.room),
        ..Swept::looked_at(&looked.findings, look.room)
    };
    Ok(looked)
}

struct Sweep<'a> {
    aws: &'a Aws,
    surroundings: &'a Surroundings,
    schedule: &'a Schedule,
    now: Timestamp,
    /// What is remembered of deployments, of every service.
    deployments: Vec<Memory<Deployments>>,
    /// What is remembered of parking, of every service.
    parking: Vec<Memory<Parking>>,
    /// What is remembered of their alarms, of every service.
    watched: Vec<Memory<Watched>>,
    /// The index from what a service uses to the service.
    uses: Vec<Memory<Uses>>,
}

impl Sweep<'_> {
    /// What is the matter with one part of a stack hides no other.
    async fn stack(&self, inventory: &Inventory) -> Result<Vec<Finding>> {
        let stack = &inventory.stack;
        let mut findings = Vec::new();
        let mut services = Vec::new();
        for service in &inventory.services {
            let managed = Managed::look(self.aws, service.as_str()).await?;
            let ours = managed.as_ref().filter(|it| it.is_ours());
            let lost = ours.and_then(|it| self.lost_settings(service, &it.tags));
            let managed = managed.map(|it| match it.is_ours() {
                true => {
                    let parking = Memory::among(&self.parking, it.arn(), &it.tags);
                    let watched = Memory::among(&self.watched, it.arn(), &it.tags);
                    it.with(&parking).with(&watched)
                }
                false => it,
            });
            let name = service.name();
            if let Some(other) = self.kept_by_others(service, managed.as_ref()).await? {
                findings.push(other);
                return Ok(findings);
            }
            if managed.as_ref().is_none_or(Managed::is_ours) {
                let alarms = self.alarms(service, managed.as_ref()).await;
                findings.extend(or_finding(name, "its alarms", alarms)?);
            }
            if let Some(managed) = managed.filter(Managed::is_ours) {
                let found = self.service(service, &managed).await;
                findings.extend(or_finding(name, "what it runs", found)?);
                findings.extend(unknown_settings(service, &managed));
                findings.extend(lost);
                findings.extend(self.in_tags_alone(service, &managed));
                findings.extend(self.wrong_in_index(service, &managed));
                services.push(managed);
            }
        }
        let is_gone = services.is_empty();
        let observed = observe(self.aws, stack, services, &inventory.databases).await?;
        findings.extend(self.forgotten(inventory).await?);
        findings.extend(self.strays(inventory).await?);
        findings.extend(self.empty_log_groups(inventory).await?);
        findings.extend(databases(&observed));
        if is_gone {
            findings.extend(self.left(inventory, &observed).await?);
        }
        findings.extend(self.sleep(&observed));
        Ok(findings)
    }

    async fn alarms(
        &self,
        service: &ServiceArn,
        managed: Option<&Managed>,
    ) -> Result<Option<Finding>> {
        let topic = &self.surroundings.notifications;
        let run = alarms::compare(self.aws, service, managed, topic).await?;
        Ok(finding(
            service,
            in_few_words(run.changes()),
            Remedy::Alarms(service.to_string()),
        ))
    }

    async fn service(&self, service: &ServiceArn, managed: &Managed) -> Result<Option<Finding>> {
        let status = managed.service.status();
        if [ServiceStatus::CreateFailed, ServiceStatus::DeleteFailed].contains(status) {
            let advice = "Start provision with its spec to repair it, or teardown to remove it";
            let what = Some(format!("it is {status}"));
            return Ok(finding(service, what, Remedy::Person(advice.into())));
        }
        if status == &ServiceStatus::OperationInProgress {
            return self.stuck(service, managed).await;
        }
        let memory = Memory::among(&self.deployments, managed.arn(), &managed.tags);
        let (what, remedy) = match deploy::due(self.aws, managed, &memory).await? {
            Some(Due::Deployment(why)) => (why, Remedy::Deploy(service.to_string())),
            Some(Due::EndOfAutoDeployments) => (
                "App Runner deploys by itself what is pushed, past every check".into(),
                Remedy::EndAutoDeployments(service.to_string()),
            ),
            None => return Ok(None),
        };
        Ok(finding(service, Some(what), remedy))
    }

    /// A stack of another installation is left to that one, as a whole.
    async fn kept_by_others(
        &self,
        service: &ServiceArn,
        managed: Option<&Managed>,
    ) -> Result<Option<Finding>> {
        let Some(managed) = managed.filter(|managed| managed.is_ours()) else {
            return Ok(None);
        };
        let keeper = Keeper::of(self.aws, &managed.tags).await?;
        let advice = "Nothing of its stack was looked at";
        Ok(finding(
            service,
            keeper.objection(),
            Remedy::Person(advice.into()),
        ))
    }

    /// Tags that a person has set and somebody has removed. What they said still counts, but a person no longer sees it.
    fn lost_settings(&self, service: &ServiceArn, tags: &Tags) -> Option<Finding> {
        let (arn, nothing) = (service.as_str(), &Tags::new());
        let orders = &Memory::among(&self.deployments, arn, nothing).orders;
        let watched = Memory::among(&self.watched, arn, nothing);
        let parking = Memory::among(&self.parking, arn, nothing);
        let said = [
            (TAG_IMAGE_TAG, orders.rule.clone()),
            (TAG_POLICY, orders.policy.clone()),
            (TAG_HOLD, orders.held.then(|| "true".to_owned())),
            (TAG_ALARMS, watched.thresholds.clone()),
            (TAG_ALARM_TOPIC, watched.topic.clone()),
        ];
        let is_ahead = |until: &&Timestamp| self.now < **until;
        let wish = [
            (TAG_AWAKE_UNTIL, parking.awake_until.as_ref()),
            (TAG_PARKED_UNTIL, parking.parked_until.as_ref()),
        ];
        let wish = wish.map(|(tag, until)| (tag, until.filter(is_ahead).map(ToString::to_string)));
        let lost = said.into_iter().chain(wish).filter_map(|(tag, said)| {
            let is_lost = !tags.contains_key(tag);
            said.filter(|_| is_lost).map(|said| format!("{tag}={said}"))
        });
        let lost: Vec<_> = lost.collect();
        let what = (!lost.is_empty()).then(|| {
            format!(
                "somebody has removed {}, which it goes by all the same",
                lost.join(" and ")
            )
        });
        let advice = "Set it again, or set what shall take its place; a tool that removes tags can be told to ignore those of groundcrew";
        finding(service, what, Remedy::Person(advice.into()))
    }

    /// What groundcrew 0.1 has left in tags, and what anybody can remove there, as long as nothing is deployed that takes it over
    /// (until 0.3.0).
    fn in_tags_alone(&self, service: &ServiceArn, managed: &Managed) -> Option<Finding> {
        let memory = Memory::among(&self.deployments, managed.arn(), &managed.tags);
        let what = "what is remembered of its deployments is in its tags alone, where anybody can remove it";
        let what = deploy::is_to_be_taken_over(&memory).then(|| what.to_owned());
        finding(service, what, Remedy::Deploy(service.to_string()))
    }

    /// A service that no push or rotation would find by what it uses now. One that the index does not know is looked at each time.
    fn wrong_in_index(&self, service: &ServiceArn, managed: &Managed) -> Option<Finding> {
        let said = Memory::among(&self.uses, managed.arn(), &managed.tags);
        let is_wrong = !said.is_new() && *said != Uses::of(&managed.service);
        let what = "pushes and rotations are looked up by what it no longer uses";
        let what = is_wrong.then(|| what.to_owned());
        finding(service, what, Remedy::Index(service.to_string()))
    }

    /// Services that are remembered, and carry the tags of their stack no more.
    async fn strays(&self, inventory: &Inventory) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for memory in &self.deployments {
            let arn = memory.subject();
            let Some(service) = ServiceArn::parse(arn) else {
                continue;
            };
            let is_of_stack = memory.stack.as_ref() == Some(&inventory.stack);
            if !is_of_stack || inventory.services.contains(&service) {
                continue;
            }
            let (what, remedy) = match Managed::look(self.aws, arn).await? {
                None => (
                    "it is gone, and was still remembered",
                    Remedy::Forget(arn.into()),
                ),
                Some(managed) if managed.is_ours() => continue, // the index does not know it yet
                Some(_) => (
                    "somebody has removed the tags by which groundcrew looks after it: nothing is deployed to it, and it is not woken",
                    Remedy::Person(format!(
                        "Set {TAG_MANAGED}=true, {TAG_APP}={} and {TAG_ENVIRONMENT}={} again; or, if it is to be left alone, forget it: aws dynamodb delete-item --table-name {} --key '{{\"kind\": {{\"S\": \"deployments\"}}, \"subject\": {{\"S\": \"{arn}\"}}}}'",
                        inventory.stack.app, inventory.stack.environment, self.aws.account.memory
                    )),
                ),
            };
            findings.extend(finding(&service, Some(what.into()), remedy));
        }
        Ok(findings)
    }

    async fn stuck(&self, service: &ServiceArn, managed: &Managed) -> Result<Option<Finding>> {
        let operations = managed.operations(self.aws).await?;
        let unfinished = operations.first().filter(|newest| {
            let unfinished = [
                OperationStatus::InProgress,
                OperationStatus::Pending,
                OperationStatus::RollbackInProgress,
            ];
            newest
                .status()
                .is_some_and(|status| unfinished.contains(status))
        });
        // App Runner's maintenance is no operation.
        let since = unfinished
            .and_then(|newest| newest.started_at())
            .unwrap_or(managed.service.updated_at());
        let since = Timestamp::from_second(since.secs()).unwrap_or(self.now);
        if self.now.duration_since(since) <= STUCK {
            return Ok(None);
        }
        let advice = format!(
            "Nothing can be done with it until it ends: look at the log group {}, and ask AWS Support",
            log_group::events(service.name(), service.id())
        );
        let what = format!("it is in an operation since {since}");
        Ok(finding(service, Some(what), Remedy::Person(advice)))
    }

    /// What should sleep and does not, or sleeps and should not, although `park` has had its time.
    fn sleep(&self, observed: &Observed) -> Option<Finding> {
        let at = |now| decide(observed, self.schedule, now);
        let (before, now) = (at(self.now - OVERDUE), at(self.now));
        if now.action == Action::Leave || now.action != before.action {
            return None;
        }
        let asleep = match now.action {
            Action::Pause => "it should be parked and is not",
            _ => "it should be awake and is parked",
        };
        Some(Finding {
            of: format!("stack {}", observed.stack),
            what: format!("{asleep}: {}", now.reason),
            remedy: Remedy::Park,
        })
    }

    /// Alarms of services that are gone so long that nothing else knows of them.
    async fn forgotten(&self, inventory: &Inventory) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (name, id) in services_of(self.aws, &inventory.alarms).await? {
            let service = ServiceArn::new(&self.aws.account, &name, &id);
            let is_known = inventory.services.contains(&service);
            // The index may not know a new one yet.
            if !is_known && Managed::look(self.aws, service.as_str()).await?.is_none() {
                findings.extend(self.alarms(&service, None).await?);
            }
        }
        Ok(findings)
    }

    /// Log groups of services that are gone, of which nothing is left to read. Nothing else removes those that were kept of a
    /// service that failed.
    async fn empty_log_groups(&self, inventory: &Inventory) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for name in &inventory.log_groups {
            let Some(service) = log_group::service_of(&self.aws.account, name) else {
                continue;
            };
            if inventory.services.contains(&service)
                || Managed::look(self.aws, service.as_str()).await?.is_some()
            {
                continue;
            }
            let found = log_group::groups(self.aws, name).await?;
            let mut found = found.iter();
            let group = found.find(|it| it.log_group_name() == Some(name));
            let counted = (self.now - COUNTED).as_millisecond();
            let is_empty = group.is_some_and(|it| {
                let created = it.creation_time().unwrap_or(i64::MAX);
                it.stored_bytes() == Some(0) && created < counted
            });
            // A line of the last day may not be counted yet.
            let is_left =
                is_empty && log_group::last_written(self.aws, name).await? < Some(counted);
            findings.extend(is_left.then(|| Finding {
                of: format!("log group {name}"),
                what: "it is empty, and its service is gone".into(),
                remedy: Remedy::LogGroup(name.clone()),
            }));
        }
        Ok(findings)
    }

    /// The databases of a stack without a service: they cost on. One that is going takes care of itself.
    async fn left(&self, inventory: &Inventory, observed: &Observed) -> Result<Option<Finding>> {
        let stack = &inventory.stack;
        let is_new = |since: Timestamp| self.now.duration_since(since) < LEFT;
        if inventory.since.is_some_and(is_new) {
            return Ok(None); // it is being built
        }
        let stays = |database: &&Database| !database.is_going();
        let left = observed.databases.iter().filter(stays);
        let left: Vec<_> = left.map(|it| format!("database {}", it.name)).collect();
        // The index of tags may not know a service yet that has taken the place of another.
        if left.is_empty() || Managed::find(self.aws, &stack.name()).await?.is_some() {
            return Ok(None);
        }
        let teardown = &self.surroundings.teardown_state_machine;
        let input = format!(
            r#"{{"app": "{}", "environment": "{}"}}"#,
            stack.app, stack.environment
        );
        Ok(Some(Finding {
            of: format!("stack {stack}"),
            what: format!("it has no service, and there is {}", left.join(", ")),
            remedy: Remedy::Person(format!(
                "If nobody needs it, remove it, with a last snapshot of its database: {}",
                start_execution(teardown, &input)
            )),
        }))
    }
}

/// Settings in tags of a service that groundcrew does not know: nothing goes by them, and nothing fails for them.
fn unknown_settings(service: &ServiceArn, managed: &Managed) -> Option<Finding> {
    let policy = Policy::unknown(managed.tags.get(TAG_POLICY));
    let watch = Watch::unknown(&managed.tags);
    let of = |tag: &str, parts: Vec<&str>| {
        (!parts.is_empty()).then(|| format!("its tag {tag} says {}", parts.join(" ")))
    };
    let both = [of(TAG_POLICY, policy), of(TAG_ALARMS, watch)];
    let both: Vec<_> = both.into_iter().flatten().collect();
    let what = (!both.is_empty())
        .then(|| format!("{}, which groundcrew does not know", both.join(", and ")));
    let advice = "Correct it, or leave it to a later version of groundcrew; until then it is as if it were not there";
    finding(service, what, Remedy::Person(advice.into()))
}

/// Databases that no time leads out of their state.
fn databases(observed: &Observed) -> Vec<Finding> {
    let broken = observed.databases.iter().filter(|it| it.needs_a_person());
    broken
        .map(|database| Finding {
            of: format!("database {}", database.name),
            what: format!("it is {}", database.status),
            remedy: Remedy::Person(
                "Look at its events in RDS; what helps depends on its state".into(),
            ),
        })
        .collect()
}

/// A look that failed is a finding itself, and the others go on; what is to be asked again later is not.
fn or_finding<T: IntoIterator<Item = Finding>>(
    service: &str,
    what: &str,
    looked: Result<T>,
) -> Result<Vec<Finding>> {
    match looked {
        Ok(found) => Ok(found.into_iter().collect()),
        Err(error) if error.is_retried() => Err(error),
        Err(error) => Ok(vec![Finding {
            of: format!("service {service}"),
            what: format!("{what} could not be looked at: {error}"),
            remedy: Remedy::Person("Mend that; the next sweep looks again".into()),
        }]),
    }
}

fn finding(service: &ServiceArn, what: Option<String>, remedy: Remedy) -> Option<Finding> {
    Some(Finding {
        of: format!("service {}", service.name()),
        what: what?,
        remedy,
    })
}

/// A service that lost all its alarms has nine changes.
fn in_few_words(changes: &[String]) -> Option<String> {
    match changes {
        [] => None,
        [one] => Some(one.clone()),
        [first, second] => Some(format!("{first}, {second}")),
        [first, second, more @ ..] => Some(format!("{first}, {second} and {} more", more.len())),
    }
}
