//! What a sleep comes to: hours, and money at the prices of us-east-1.

use crate::decide::Sleep;
use crate::observed::Observed;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An idle instance of App Runner is charged for its memory only (<https://aws.amazon.com/apprunner/pricing/>).
const GB_HOUR: f64 = 0.007;

/// PostgreSQL in one availability zone, by the hour (<https://aws.amazon.com/rds/postgresql/pricing/>, November 2026).
const DATABASE_HOUR: [(&str, f64); 1] = [("db.t4g.micro", 0.016)];

/// What a sleep comes to.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Saving {
    /// Hours asleep.
    pub hours: f64,
    /// US dollars; `None` if the price of a database's class is not known here.
    pub dollars: Option<f64>,
}

impl Saving {
    /// Of no sleep at all.
    pub fn none() -> Self {
        Self {
            hours: 0.0,
            dollars: Some(0.0),
        }
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        let dollars = self.dollars.zip(other.dollars);
        Self {
            hours: self.hours + other.hours,
            dollars: dollars.map(|(one, another)| cents(one + another)),
        }
    }
}

/// What a sleep of a stack comes to: the memory of one instance for each service, and its databases' instances. Storage is
/// charged on.
pub(crate) fn saving(stack: &Observed, sleep: Sleep) -> Saving {
    let endless = sleep.since == Timestamp::MIN || sleep.until == Timestamp::MAX;
    let seconds = match endless {
        true => 0.0,
        false => sleep.until.duration_since(sleep.since).as_secs_f64(),
    };
    let hours = seconds / 3600.0;
    let services = stack.services.iter();
    let memory: Option<f64> = services.map(|service| service.memory_gb).sum();
    let databases = stack.databases.iter();
    let price = |class: &str| DATABASE_HOUR.iter().find(|(known, _)| *known == class);
    let databases: Option<f64> = databases
        .map(|database| price(&database.class).map(|(_, hour)| hour))
        .sum();
    let hour = memory.zip(databases);
    Saving {
        hours: (hours * 10.0).round() / 10.0,
        dollars: hour.map(|(memory, databases)| cents(hours * (memory * GB_HOUR + databases))),
    }
}

/// To a hundredth of a cent, for a night of a small stack comes to some cents.
fn cents(dollars: f64) -> f64 {
    (dollars * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Database, Service};
    use aws_sdk_apprunner::types::ServiceStatus;
    use groundcrew::Stack;

    fn stack(class: &str) -> Observed {
        Observed {
            stack: Stack {
                app: "shop".into(),
                environment: "staging".into(),
            },
            services: vec![Service {
                arn: String::new(),
                name: "shop-staging".into(),
                status: ServiceStatus::Running,
                tags: Default::default(),
                memory_gb: Some(2.0),
                secrets: Default::default(),
            }],
            databases: vec![Database {
                name: "shop-staging".into(),
                arn: String::new(),
                status: "available".into(),
                class: class.into(),
                cannot_stop: None,
                tags: Default::default(),
            }],
        }
    }

    fn night() -> Sleep {
        Sleep {
            since: "2026-11-23T20:00:00Z".parse().expect("a time"),
            until: "2026-11-24T07:00:00Z".parse().expect("a time"),
        }
    }

    #[test]
    fn a_night_of_the_example_saves_its_memory_and_its_database() {
        let found = saving(&stack("db.t4g.micro"), night());
        assert_eq!((found.hours, found.dollars), (11.0, Some(0.33)));
        let twice = found.and(found);
        assert_eq!((twice.hours, twice.dollars), (22.0, Some(0.66)));
    }

    #[test]
    fn a_class_without_a_known_price_saves_hours() {
        let found = saving(&stack("db.r8g.24xlarge"), night());
        assert_eq!((found.hours, found.dollars), (11.0, None));
        assert_eq!(Saving::none().and(found).dollars, None);
    }
}
