//! What AWS does on its own account and a test wants on demand.

use std::sync::Arc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::states::{OperationType, ServiceStatus};
use crate::world::{Emulation, World};

/// Something to happen. As JSON it is the body of `POST /_local/arrangements`, for instance
/// `{"kind":"next-operation","operation":"UPDATE_SERVICE","service":"shop-prod","fate":"fails"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrangement {
    /// The next operation of this type, of this service or of any, does not go as usual. Once; several wait in line.
    NextOperation {
        /// Which operation.
        operation: OperationType,
        /// The name of the service.
        #[serde(default)]
        service: Option<String>,
        /// What becomes of it: `"fails"`, `"stuck"` or `{"takes": 3}`.
        fate: Fate,
    },
    /// From now on the health path of the service answers with this HTTP status. App Runner's own opinion of the service
    /// does not change: that is what [`Arrangement::NextOperation`] is for.
    HealthAnswer {
        /// The name of the service, which need not exist yet.
        service: String,
        /// 200 to 999.
        status: u16,
    },
    /// From now on the health path of every service that runs this image answers with this HTTP status. It comes before
    /// [`Arrangement::HealthAnswer`], and is as little App Runner's own opinion.
    ImageAnswer {
        /// `sha256:…`
        digest: String,
        /// 200 to 999.
        status: u16,
    },
    /// How many services there can be. Accounts may ask AWS for more than they begin with.
    Quota {
        /// 30 at the start.
        services: usize,
    },
    /// Whether App Runner is open to the account. When it is not, calls are refused with `SubscriptionRequiredException`: since
    /// 2026-04-30 App Runner takes no new customers, and so one of them was told (a public report of 2026-06-22, of
    /// CreateAutoScalingConfiguration).
    Account {
        /// As at the start.
        open: bool,
        /// Whether calls that only read are answered all the same (Assumption closed-to-readers).
        #[serde(default)]
        reads: bool,
    },
    /// In which availability zones App Runner refuses the subnets of a connector.
    Zones {
        /// Their ids; `["use1-az3"]` at the start.
        refused: Vec<String>,
    },
    /// App Runner takes a RUNNING or PAUSED service into maintenance: OPERATION_IN_PROGRESS without an operation
    /// (developer guide, architecture).
    Maintenance {
        /// The name of the service.
        service: String,
        /// For how many AWS seconds; without, until [`Arrangement::EndOfMaintenance`].
        #[serde(default)]
        seconds: Option<f64>,
    },
    /// It takes the service out of maintenance.
    EndOfMaintenance {
        /// The name of the service.
        service: String,
    },
    /// The service gets a VPC ingress connection, or loses it again: there is no call for that here.
    Ingress {
        /// The name of the service, which need not exist yet.
        service: String,
        /// Whether it has one.
        connected: bool,
    },
    /// App Runner holds the VPC connector of this name although no service uses it, or lets go of it
    /// (aws/apprunner-roadmap#161).
    Held {
        /// The name of the connector, which need not exist yet.
        connector: String,
        /// Whether it is held.
        held: bool,
    },
    /// A service loses all its tags at once, in whatever state it is: a test is done with it.
    Untagged {
        /// The ARN of the service.
        service_arn: String,
    },
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It fails: a create ends CREATE_FAILED, an update or deployment is rolled back, a delete ends DELETE_FAILED, a pause
    /// or resume leaves the service as it was.
    Fails,
    /// It stays IN_PROGRESS for ever (hashicorp/terraform-provider-aws#38371).
    Stuck,
    /// It takes so many times as long.
    Takes(f64),
}

/// Why something cannot be arranged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrangementError {
    /// Only such a service can be maintained.
    #[error("there is no RUNNING or PAUSED service {0}")]
    NoSuchService(String),
    /// Only what begins ends.
    #[error("no service {0} is in maintenance")]
    NotMaintained(String),
    /// Nothing has this ARN.
    #[error("there is no service {0}")]
    NoService(String),
    /// Not an HTTP status that can end a response.
    #[error("{0} is not an HTTP status between 200 and 999")]
    NotAStatus(u16),
    /// Not a duration.
    #[error("{0} is not a positive number")]
    NotPositive(f64),
}

#[derive(Debug)]
pub(crate) struct NextOperation {
    operation: OperationType,
    service: Option<String>,
    fate: Fate,
}

/// Takes the first arrangement for this operation out of the line.
pub(crate) fn take(
    line: &mut Vec<NextOperation>,
    kind: OperationType,
    service: &str,
) -> Option<Fate> {
    let first = line.iter().position(|next| {
        next.operation == kind && next.service.as_deref().is_none_or(|name| name == service)
    })?;
    Some(line.remove(first).fate)
}

impl Emulation {
    pub(crate) fn arrange(
        self: &Arc<Self>,
        arrangement: Arrangement,
    ) -> Result<(), ArrangementError> {
        let positive = |number: f64| {
            if number.is_finite() && number > 0.0 {
                Ok(())
            } else {
                Err(ArrangementError::NotPositive(number))
            }
        };
        let world = &mut *self.world();
        match arrangement {
            Arrangement::NextOperation {
                operation,
                service,
                fate,
            } => {
                if let Fate::Takes(times) = fate {
                    positive(times)?;
                }
                world.next_operations.push(NextOperation {
                    operation,
                    service,
                    fate,
                });
            }
            Arrangement::HealthAnswer { service, status } => {
                world.health_answers.insert(service, final_status(status)?);
            }
            Arrangement::ImageAnswer { digest, status } => {
                world.image_answers.insert(digest, final_status(status)?);
            }
            Arrangement::Quota { services } => world.service_quota = services,
            Arrangement::Account { open, reads } => {
                (world.account_is_open, world.account_reads) = (open, open || reads);
            }
            Arrangement::Zones { refused } => world.refused_zones = refused,
            Arrangement::Maintenance {
                service: name,
                seconds,
            } => {
                seconds.map_or(Ok(()), positive)?;
                let service = world.services.iter_mut().find(|service| {
                    service.name == name
                        && matches!(
                            service.status,
                            ServiceStatus::Running | ServiceStatus::Paused
                        )
                });
                let service = service.ok_or(ArrangementError::NoSuchService(name))?;
                world.maintained.insert(service.arn.clone(), service.status);
                self.set_status(service, ServiceStatus::OperationInProgress);
                if let Some(seconds) = seconds {
                    let (emulation, arn) = (Arc::clone(self), service.arn.clone());
                    self.runtime.spawn(async move {
                        emulation.pass(seconds).await;
                        emulation.end_maintenance(&mut emulation.world(), &arn);
                    });
                }
            }
            Arrangement::EndOfMaintenance { service: name } => {
                let maintained = world.services.iter();
                let mut maintained = maintained.filter(|it| world.maintained.contains_key(&it.arn));
                let service = maintained.find(|service| service.name == name);
                let service = service.ok_or(ArrangementError::NotMaintained(name))?;
                let arn = service.arn.clone();
                self.end_maintenance(world, &arn);
            }
            Arrangement::Ingress { service, connected } => {
                world.ingress_connections.remove(&service);
                if connected {
                    let arn = self.ingress_connection_arn(&service);
                    world.ingress_connections.insert(service, arn);
                }
            }
            Arrangement::Held { connector, held } => {
                if held {
                    world.held_connectors.insert(connector);
                } else {
                    world.held_connectors.remove(&connector);
                }
            }
            Arrangement::Untagged { service_arn } => {
                let service = world.service_mut(&service_arn);
                let service = service.ok_or(ArrangementError::NoService(service_arn))?;
                service.tags.clear();
            }
        }
        Ok(())
    }
}

impl Emulation {
    /// Nothing else can have touched the service meanwhile: its state forbade it.
    fn end_maintenance(&self, world: &mut World, arn: &str) {
        let before = world.maintained.remove(arn);
        if let (Some(before), Some(service)) = (before, world.service_mut(arn)) {
            self.set_status(service, before);
        }
    }
}

fn final_status(status: u16) -> Result<StatusCode, ArrangementError> {
    StatusCode::from_u16(status)
        .ok()
        .filter(|code| !code.is_informational())
        .ok_or(ArrangementError::NotAStatus(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_arrangement_reads_as_json() {
        for (json, arrangement) in [
            (
                json!({"kind": "next-operation", "operation": "START_DEPLOYMENT", "fate": {"takes": 3.0}}),
                Arrangement::NextOperation {
                    operation: OperationType::StartDeployment,
                    service: None,
                    fate: Fate::Takes(3.0),
                },
            ),
            (
                json!({"kind": "health-answer", "service": "shop", "status": 500}),
                Arrangement::HealthAnswer {
                    service: "shop".into(),
                    status: 500,
                },
            ),
            (
                json!({"kind": "image-answer", "digest": "sha256:00", "status": 500}),
                Arrangement::ImageAnswer {
                    digest: "sha256:00".into(),
                    status: 500,
                },
            ),
            (
                json!({"kind": "quota", "services": 300}),
                Arrangement::Quota { services: 300 },
            ),
            (
                json!({"kind": "untagged", "service_arn": "arn"}),
                Arrangement::Untagged {
                    service_arn: "arn".into(),
                },
            ),
            (
                json!({"kind": "account", "open": false}),
                Arrangement::Account {
                    open: false,
                    reads: false,
                },
            ),
        ] {
            assert_eq!(
                serde_json::from_value::<Arrangement>(json).ok(),
                Some(arrangement)
            );
        }
        assert!(
            serde_json::from_value::<Arrangement>(json!({"kind": "account", "opne": false}))
                .is_err()
        );
    }

    #[test]
    fn an_arrangement_for_another_service_waits() {
        let fails = |service: &str| NextOperation {
            operation: OperationType::UpdateService,
            service: Some(service.into()),
            fate: Fate::Fails,
        };
        let mut line = vec![fails("shop"), fails("blog")];
        assert_eq!(
            take(&mut line, OperationType::UpdateService, "blog"),
            Some(Fate::Fails)
        );
        assert_eq!(take(&mut line, OperationType::UpdateService, "blog"), None);
        assert_eq!(take(&mut line, OperationType::PauseService, "shop"), None);
        assert_eq!(line.len(), 1);
    }
}
