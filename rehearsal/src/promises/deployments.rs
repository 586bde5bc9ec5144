//! What is looked at after something led to a deployment, or to none: a scene for each, with its promises.

use super::{Promise, Verdict, described, kept_if};
use crate::End;
use crate::console::clock;
use crate::local_aws::{Call, Notification};
use apprunner_emulator::{
    OperationSnapshot, OperationStatus, OperationType, ServiceSnapshot, ServiceStatus,
};
use groundcrew::stack::TAG_REJECTED_IMAGE;

/// What something led to: an event, or a person's command.
#[derive(Clone, Debug)]
pub struct Act {
    /// The service before.
    pub before: ServiceSnapshot,
    /// The service after, when nothing more happened.
    pub after: ServiceSnapshot,
    /// The executions of `deploy` that it started, the first first.
    pub executions: Vec<End>,
    /// What was told on the topic of groundcrew.
    pub told: Vec<Notification>,
    /// The calls of the functions and state machines.
    pub calls: Vec<Call>,
}

impl Act {
    /// App Runner's new operations, the first first.
    fn operations(&self) -> Vec<(OperationType, OperationStatus)> {
        let last = self.before.operations.first().map(|before| &before.id);
        let new = |operation: &&OperationSnapshot| Some(&operation.id) != last;
        let new = self.after.operations.iter().take_while(new);
        let mut new: Vec<_> = new.map(|new| (new.operation_type, new.status)).collect();
        new.reverse();
        new
    }

    fn digest(&self) -> &str {
        self.after.runs.image_digest.as_deref().unwrap_or_default()
    }

    pub(super) fn operations_are(
        &self,
        wanted: &[(OperationType, OperationStatus)],
    ) -> Result<(), String> {
        let operations = self.operations();
        kept_if(operations == wanted, || {
            format!("App Runner's operations are {operations:?}")
        })
    }

    pub(super) fn runs(&self, digest: &str) -> Result<(), String> {
        kept_if(self.digest() == digest, || {
            format!("it runs {} and not {digest}", self.digest())
        })
    }

    /// Of the one execution that ended so: `Deployed`, `Nothing`, or the name of an error.
    fn ended_once(&self, wanted: &str) -> Result<&End, String> {
        match self.executions.as_slice() {
            [end] if outcome(end) == wanted => Ok(end),
            ends => {
                let outcomes: Vec<_> = ends.iter().map(ending).collect();
                Err(format!(
                    "the executions of deploy ended with {outcomes:?} and not with {wanted} once"
                ))
            }
        }
    }

    fn told_nobody(&self) -> Result<(), String> {
        let told: Vec<_> = self.told.iter().map(subject).collect();
        kept_if(told.is_empty(), || format!("it was told: {told:?}"))
    }

    /// Looked at or not: nothing was deployed, and nobody was told.
    pub(super) fn left_it(&self) -> Result<(), String> {
        self.operations_are(&[])?;
        self.told_nobody()?;
        self.executions.iter().try_for_each(|end| {
            kept_if(outcome(end) == "Nothing", || {
                format!(
                    "an execution of deploy ended with {}: {}",
                    outcome(end),
                    end.message
                )
            })
        })
    }

    /// What it took: the calls until App Runner was asked, and the whole execution.
    fn figures(&self, end: &End, asked: &str) -> String {
        let of_functions = self.calls.iter().filter(|call| !of_the_machine(call));
        let until = of_functions.take_while(|call| call.action != asked).count();
        format!(
            "{} API calls from the event to {asked}, {} state transitions, {} of AWS's time",
            until + 1,
            end.transitions,
            clock(end.seconds)
        )
    }
}

/// What Step Functions itself calls.
fn of_the_machine(call: &Call) -> bool {
    call.action == "lambda:InvokeFunction" || call.action == "sns:Publish"
}

/// How an execution of `deploy` ended.
pub(crate) fn outcome(end: &End) -> &str {
    if end.succeeded {
        end.output["outcome"].as_str().unwrap_or_default()
    } else {
        &end.error
    }
}

/// The same with the first line of why.
fn ending(end: &End) -> String {
    let why = end.message.lines().next().filter(|why| !why.is_empty());
    why.map_or(outcome(end).to_owned(), |why| {
        format!("{}: {why}", outcome(end))
    })
}

fn subject(told: &Notification) -> &str {
    told.subject.as_deref().unwrap_or_default()
}

const UPDATED: (OperationType, OperationStatus) =
    (OperationType::UpdateService, OperationStatus::Succeeded);

/// After an image was pushed.
#[derive(Debug)]
pub struct Pushed {
    /// `sha256:…`
    pub digest: String,
    /// What it led to.
    pub act: Act,
}

/// Promises about a push.
pub const PUSHED: &[Promise<Pushed>] = &[Promise {
    id: "O1",
    sentence: "A push is deployed once, by digest",
    check: |Pushed { digest, act }| {
        let end = act.ended_once("Deployed")?;
        act.operations_are(&[UPDATED])?;
        act.runs(digest)?;
        let source = &act.after.description["SourceConfiguration"];
        let identifier = source["ImageRepository"]["ImageIdentifier"].as_str();
        kept_if(
            identifier.is_some_and(|identifier| identifier.ends_with(&format!("@{digest}"))),
            || format!("its image is {identifier:?}"),
        )?;
        Ok(act.figures(end, "apprunner:UpdateService"))
    },
}];

/// After a secret was rotated.
#[derive(Debug)]
pub struct Rotated {
    /// The id of the new version.
    pub version_id: String,
    /// The variables that hold it.
    pub variables: Vec<String>,
    /// What it led to.
    pub act: Act,
}

/// Promises about a rotation.
pub const ROTATED: &[Promise<Rotated>] = &[Promise {
    id: "O2",
    sentence: "A rotated secret reaches the service, once, with the same image",
    check: |seen| {
        let act = &seen.act;
        let end = act.ended_once("Deployed")?;
        act.operations_are(&[(OperationType::StartDeployment, OperationStatus::Succeeded)])?;
        act.runs(act.before.runs.image_digest.as_deref().unwrap_or_default())?;
        for variable in &seen.variables {
            let version = act.after.runs.secret_versions.get(variable);
            kept_if(version == Some(&seen.version_id), || {
                format!("{variable} is of version {version:?}")
            })?;
        }
        kept_if(!seen.variables.is_empty(), || "no variable holds it".into())?;
        Ok(act.figures(end, "apprunner:StartDeployment"))
    },
}];

/// After App Runner could not start an image.
#[derive(Debug)]
pub struct Failed {
    /// The digest of that image.
    pub digest: String,
    /// What the push of it led to.
    pub act: Act,
}

/// Promises about an image that App Runner cannot start.
pub const FAILED: &[Promise<Failed>] = &[Promise {
    id: "O3",
    sentence: "A deployment that App Runner rolls back counts as failed, although the service is RUNNING",
    check: |Failed { digest, act }| {
        act.ended_once("DeploymentFailed")?;
        act.operations_are(&[(
            OperationType::UpdateService,
            OperationStatus::RollbackSucceeded,
        )])?;
        kept_if(act.after.status == ServiceStatus::Running, || {
            format!("the service is {:?}", act.after.status)
        })?;
        act.runs(act.before.runs.image_digest.as_deref().unwrap_or_default())?;
        is_rejected(act, digest)?;
        Ok("the operation's own word, ROLLBACK_SUCCEEDED, was told".into())
    },
}];

fn is_rejected(act: &Act, digest: &str) -> Result<(), String> {
    let rejected = act.after.tags.get(TAG_REJECTED_IMAGE);
    kept_if(rejected.is_some_and(|rejected| rejected == digest), || {
        format!("the tag {TAG_REJECTED_IMAGE} says {rejected:?}")
    })
}

/// The same event, put on the bus once more.
pub const REPLAYED: &[Promise<Act>] = &[Promise {
    id: "O4",
    sentence: "The same event again starts nothing",
    check: |act| {
        let begun = act.executions.len();
        kept_if(begun == 0, || format!("{begun} executions were started"))?;
        act.left_it()?;
        let refused = act.calls.iter().find(|call| {
            call.action == "states:StartExecution"
                && call.error.as_deref() == Some("ExecutionAlreadyExists")
        });
        refused.ok_or("trigger did not find the name of the execution taken")?;
        Ok("trigger found the name of the execution taken".into())
    },
}];

/// After an image was deployed and was not well.
#[derive(Debug)]
pub struct TakenBack {
    /// The digest of that image.
    pub digest: String,
    /// What the push of it led to.
    pub act: Act,
    /// What another event of that image led to.
    pub again: Act,
}

/// Promises about an image that does not answer well.
pub const UNANSWERED: &[Promise<TakenBack>] = &[Promise {
    id: "O5",
    sentence: "An image that fails its smoke check is taken back once, and not tried again",
    check: taken_back,
}];

/// Promises about an image under which a metric meets the condition of its alarm.
pub const ALARMED: &[Promise<TakenBack>] = &[Promise {
    id: "O5",
    sentence: "An image that turns an alarm red in its bake window is taken back once, and not tried again",
    check: taken_back,
}];

fn taken_back(seen: &TakenBack) -> Verdict {
    let TakenBack { digest, act, again } = seen;
    let end = act.ended_once("RolledBack")?;
    act.operations_are(&[UPDATED, UPDATED])?;
    act.runs(act.before.runs.image_digest.as_deref().unwrap_or_default())?;
    is_rejected(act, digest)?;
    again.ended_once("Nothing")?;
    again.left_it()?;
    Ok(format!(
        "{} state transitions, {} of AWS's time until the image before ran again",
        end.transitions,
        clock(end.seconds)
    ))
}

/// After a person went back.
#[derive(Debug)]
pub struct WentBack {
    /// The digest that they went back to.
    pub digest: String,
    /// What their command led to.
    pub act: Act,
    /// What a look at the service led to afterwards.
    pub again: Act,
}

/// Promises about the way back by hand.
pub const WENT_BACK: &[Promise<WentBack>] = &[Promise {
    id: "O5",
    sentence: "A person goes back to the release before, and no event undoes that",
    check: |WentBack { digest, act, again }| {
        let end = act.ended_once("Deployed")?;
        act.operations_are(&[UPDATED])?;
        act.runs(digest)?;
        again.ended_once("Nothing")?;
        again.left_it()?;
        Ok(format!(
            "{} state transitions, {} of AWS's time",
            end.transitions,
            clock(end.seconds)
        ))
    },
}];

/// An event that has nothing to do with the service.
pub const UNCONCERNED: &[Promise<Act>] = &[Promise {
    id: "O1",
    sentence: "An event that concerns no service starts nothing",
    check: |act| {
        let begun = act.executions.len();
        kept_if(begun == 0, || format!("{begun} executions were started"))?;
        act.left_it()?;
        Ok("no execution of deploy, no operation of App Runner, no notification".into())
    },
}];

/// An event that concerns the service and brings nothing new.
pub const LOOKED: &[Promise<Act>] = &[Promise {
    id: "O4",
    sentence: "An event that brings nothing new deploys nothing",
    check: |act| {
        let end = act.ended_once("Nothing")?;
        act.left_it()?;
        Ok(end.output["reason"].as_str().unwrap_or_default().to_owned())
    },
}];

/// Promises about everything that was played.
pub const TOLD: &[Promise<Vec<Act>>] = &[
    Promise {
        id: "O11",
        sentence: "One notification for each outcome, with service, digest, cause and what to do",
        check: |acts| {
            let mut told = Vec::new();
            for act in acts {
                let ends = act.executions.iter();
                let outcomes: Vec<_> = ends.map(outcome).filter(|of| *of != "Nothing").collect();
                let subjects: Vec<_> = act.told.iter().map(subject).collect();
                kept_if(outcomes.len() == subjects.len(), || {
                    format!("of the outcomes {outcomes:?} these were told: {subjects:?}")
                })?;
                act.told
                    .iter()
                    .try_for_each(|told| is_complete(&act.after.name, told))?;
                told.extend(subjects);
            }
            Ok(match told.as_slice() {
                [] => "nothing came of it, and nobody was told".into(),
                told => format!("told: {}", told.join("; ")),
            })
        },
    },
    Promise {
        id: "IAM",
        sentence: "Every call for deployments was allowed by the policies of its caller",
        check: |acts| {
            let calls = || acts.iter().flat_map(|act| &act.calls);
            let denied: Vec<_> = calls()
                .filter(|call| !call.allowed)
                .map(described)
                .collect();
            kept_if(denied.is_empty(), || {
                format!("denied: {}", denied.join(", "))
            })?;
            Ok(format!("{} calls", calls().count()))
        },
    },
];

/// What a person is told to do. Of current secrets there is nothing to be done.
const NEXT: [&str; 3] = ["To go back to", "push a newer one", "start deploy"];

fn is_complete(service: &str, told: &Notification) -> Result<(), String> {
    let (subject, message) = (subject(told), &told.message);
    let has =
        |is: bool, what: &str| kept_if(is, || format!("the notification {subject:?} lacks {what}"));
    let of_service = subject.starts_with(&format!("{service}: ")) && message.contains(service);
    has(of_service, "the service")?;
    has(message.contains("sha256:"), "the digest")?;
    has(message.contains("Cause: "), "the cause")?;
    let nothing_to_do = subject.ends_with("current secrets deployed");
    let next = NEXT.iter().any(|next| message.contains(next));
    has(next || nothing_to_do, "what to do")
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;
    use apprunner_emulator::RunningSnapshot;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    const OLD: &str = "sha256:01d";
    const NEW: &str = "sha256:4e3";

    fn service(digest: &str, operations: &[(OperationType, OperationStatus)]) -> ServiceSnapshot {
        let operations = operations.iter().enumerate().rev();
        ServiceSnapshot {
            name: "shop-dev".into(),
            arn: "arn:aws:apprunner:us-east-1:123456789012:service/shop-dev/0a".into(),
            status: ServiceStatus::Running,
            description: json!({"SourceConfiguration": {"ImageRepository": {"ImageIdentifier": format!("shop-dev@{digest}")}}}),
            tags: BTreeMap::from([(TAG_REJECTED_IMAGE.to_owned(), NEW.to_owned())]),
            operations: operations
                .map(|(n, (operation_type, status))| OperationSnapshot {
                    id: n.to_string(),
                    operation_type: *operation_type,
                    status: *status,
                    cause: None,
                })
                .collect(),
            runs: RunningSnapshot {
                image_digest: Some(digest.into()),
                secret_versions: BTreeMap::from([("PASSWORD".to_owned(), "v2".to_owned())]),
            },
        }
    }

    fn end(outcome: &str) -> End {
        let succeeded = ["Deployed", "Nothing"].contains(&outcome);
        End {
            succeeded,
            output: if succeeded {
                json!({"outcome": outcome})
            } else {
                Value::Null
            },
            error: if succeeded {
                String::new()
            } else {
                outcome.into()
            },
            message: String::new(),
            seconds: 1.0,
            happenings: Vec::new(),
            transitions: 9,
        }
    }

    fn told(subject: &str) -> Notification {
        Notification {
            topic: "arn:aws:sns:us-east-1:123456789012:Notifications".into(),
            subject: Some(format!("shop-dev: {subject}")),
            message: format!(
                "shop-dev runs latest ({NEW}).\n\nCause: push.\n\nTo go back to {OLD}: …"
            ),
            at: 0.0,
        }
    }

    fn call(action: &str, error: Option<&str>) -> Call {
        Call {
            n: 1,
            at: 0.0,
            principal: "role".into(),
            action: action.into(),
            resource: "*".into(),
            implied: Vec::new(),
            checks: Vec::new(),
            allowed: true,
            status: 200,
            error: error.map(str::to_owned),
        }
    }

    /// An act that ended so, with these new operations.
    fn act(
        digest: &str,
        operations: &[(OperationType, OperationStatus)],
        outcomes: &[&str],
    ) -> Act {
        let created = (OperationType::CreateService, OperationStatus::Succeeded);
        let all: Vec<_> = std::iter::once(created)
            .chain(operations.iter().copied())
            .collect();
        let telling = outcomes.iter().filter(|outcome| **outcome != "Nothing");
        Act {
            before: service(OLD, &[created]),
            after: service(digest, &all),
            executions: outcomes.iter().map(|outcome| end(outcome)).collect(),
            told: telling.map(|outcome| told(outcome)).collect(),
            calls: vec![
                call("tag:GetResources", None),
                call("lambda:InvokeFunction", None),
                call("apprunner:UpdateService", None),
                call("sns:Publish", None),
            ],
        }
    }

    fn verdict<Scene>(promises: &[Promise<Scene>], scene: &Scene) -> Verdict {
        check(promises, scene).remove(0).verdict
    }

    #[test]
    fn a_push_that_is_deployed_twice_or_not_by_its_digest_breaks_the_promise() {
        let pushed = |act: Act| {
            let digest = NEW.to_owned();
            verdict(PUSHED, &Pushed { digest, act })
        };
        let evidence = pushed(act(NEW, &[UPDATED], &["Deployed"])).expect("kept");
        assert!(evidence.starts_with("2 API calls"), "{evidence}");
        assert!(pushed(act(NEW, &[UPDATED, UPDATED], &["Deployed"])).is_err());
        assert!(pushed(act(NEW, &[UPDATED], &["Deployed", "Deployed"])).is_err());
        assert!(pushed(act(OLD, &[UPDATED], &["Deployed"])).is_err());
        assert!(pushed(act(NEW, &[], &[])).is_err());
        let mut by_tag = act(NEW, &[UPDATED], &["Deployed"]);
        by_tag.after.description = json!({});
        assert!(pushed(by_tag).is_err());
    }

    #[test]
    fn a_rotation_that_does_not_reach_every_variable_breaks_the_promise() {
        let redeployed = (OperationType::StartDeployment, OperationStatus::Succeeded);
        let rotated = |version_id: &str, variables: &[&str], act: Act| {
            let variables = variables.iter().map(|name| (*name).to_owned()).collect();
            let version_id = version_id.to_owned();
            verdict(
                ROTATED,
                &Rotated {
                    version_id,
                    variables,
                    act,
                },
            )
        };
        let once = || act(OLD, &[redeployed], &["Deployed"]);
        assert!(rotated("v2", &["PASSWORD"], once()).is_ok());
        assert!(rotated("v3", &["PASSWORD"], once()).is_err());
        assert!(rotated("v2", &["PASSWORD", "USER"], once()).is_err());
        assert!(rotated("v2", &[], once()).is_err());
        assert!(rotated("v2", &["PASSWORD"], act(NEW, &[redeployed], &["Deployed"])).is_err());
        let twice = act(OLD, &[redeployed, redeployed], &["Deployed"]);
        assert!(rotated("v2", &["PASSWORD"], twice).is_err());
    }

    #[test]
    fn a_rollback_of_app_runner_that_is_taken_for_success_breaks_the_promise() {
        let undone = (
            OperationType::UpdateService,
            OperationStatus::RollbackSucceeded,
        );
        let failed = |act: Act| {
            let digest = NEW.to_owned();
            verdict(FAILED, &Failed { digest, act })
        };
        assert!(failed(act(OLD, &[undone], &["DeploymentFailed"])).is_ok());
        assert!(failed(act(OLD, &[undone], &["Deployed"])).is_err());
        let mut forgotten = act(OLD, &[undone], &["DeploymentFailed"]);
        forgotten.after.tags.clear();
        assert!(failed(forgotten).is_err());
    }

    #[test]
    fn a_replay_that_starts_anything_breaks_the_promise() {
        let replay = |calls: Vec<Call>, outcomes: &[&str]| {
            let mut act = act(OLD, &[], outcomes);
            act.calls = calls;
            verdict(REPLAYED, &act)
        };
        let taken = || {
            vec![call(
                "states:StartExecution",
                Some("ExecutionAlreadyExists"),
            )]
        };
        assert!(replay(taken(), &[]).is_ok());
        assert!(replay(taken(), &["Nothing"]).is_err());
        assert!(replay(Vec::new(), &[]).is_err(), "nobody heard of it");
    }

    #[test]
    fn a_bad_image_that_stays_or_comes_back_breaks_the_promise() {
        let taken_back = |act: Act, again: Act| {
            let digest = NEW.to_owned();
            verdict(ALARMED, &TakenBack { digest, act, again })
        };
        let back = || act(OLD, &[UPDATED, UPDATED], &["RolledBack"]);
        let left = || act(OLD, &[], &["Nothing"]);
        assert!(taken_back(back(), left()).is_ok());
        assert!(taken_back(act(NEW, &[UPDATED], &["Deployed"]), left()).is_err());
        let thrice = act(OLD, &[UPDATED, UPDATED, UPDATED], &["RolledBack"]);
        assert!(taken_back(thrice, left()).is_err());
        assert!(taken_back(back(), act(NEW, &[UPDATED], &["Deployed"])).is_err());
        assert!(
            taken_back(back(), act(OLD, &[], &[])).is_err(),
            "nobody looked"
        );
    }

    #[test]
    fn a_way_back_by_hand_that_an_event_undoes_breaks_the_promise() {
        let went_back = |act: Act, again: Act| {
            let digest = NEW.to_owned();
            verdict(WENT_BACK, &WentBack { digest, act, again })
        };
        let back = || act(NEW, &[UPDATED], &["Deployed"]);
        assert!(went_back(back(), act(NEW, &[], &["Nothing"])).is_ok());
        assert!(went_back(back(), act(OLD, &[UPDATED], &["Deployed"])).is_err());
        assert!(
            went_back(
                act(OLD, &[UPDATED], &["Deployed"]),
                act(OLD, &[], &["Nothing"])
            )
            .is_err()
        );
    }

    #[test]
    fn an_event_that_should_have_led_to_nothing_and_did_breaks_the_promise() {
        assert!(verdict(UNCONCERNED, &act(OLD, &[], &[])).is_ok());
        assert!(verdict(UNCONCERNED, &act(OLD, &[], &["Nothing"])).is_err());
        assert!(verdict(LOOKED, &act(OLD, &[], &["Nothing"])).is_ok());
        assert!(verdict(LOOKED, &act(OLD, &[], &[])).is_err());
        assert!(verdict(LOOKED, &act(NEW, &[UPDATED], &["Deployed"])).is_err());
    }

    #[test]
    fn an_outcome_that_is_told_twice_never_or_in_part_breaks_the_promise() {
        let deployed = || act(NEW, &[UPDATED], &["Deployed"]);
        let told_of = |notifications: Vec<Notification>| {
            let mut act = deployed();
            act.told = notifications;
            verdict(TOLD, &vec![act])
        };
        assert!(verdict(TOLD, &vec![deployed(), act(OLD, &[], &["Nothing"])]).is_ok());
        assert!(told_of(Vec::new()).is_err());
        assert!(told_of(vec![told("latest deployed"), told("latest deployed")]).is_err());
        for part in ["shop-dev", "sha256:", "Cause: ", "To go back to"] {
            let mut partial = told("latest deployed");
            partial.message = partial.message.replace(part, "…");
            assert!(told_of(vec![partial]).is_err(), "{part}");
        }
    }

    #[test]
    fn a_call_that_was_denied_breaks_the_promise() {
        let mut act = act(NEW, &[UPDATED], &["Deployed"]);
        assert!(check(TOLD, &vec![act.clone()])[1].verdict.is_ok());
        act.calls[0].allowed = false;
        assert!(check(TOLD, &vec![act])[1].verdict.is_err());
    }
}
