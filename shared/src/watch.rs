//! What the alarms of a stack watch for, as its spec says and as tags of its service keep it: alarms are kept in line with a
//! service when nobody has its spec at hand.

use crate::claim::NONE;
use crate::policy::unknown;
use crate::spec::{Alarms, thirty_days};
use crate::stack::{TAG_ALARM_TOPIC, TAG_ALARMS, Tags};
use crate::{Error, Result, Spec};

/// The periods that CloudWatch Logs offers (`PutRetentionPolicy`).
const LOG_RETENTION_DAYS: [u16; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// What is watched for, whom it is told, and how long logs are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The thresholds, and the topic if it is not the stack's own. No address: subscribing one is the business of `provision`.
    pub alarms: Alarms,
    /// How many days the service's logs are kept.
    pub log_retention_days: u16,
}

impl Watch {
    /// What a spec says.
    pub fn of(spec: &Spec) -> Self {
        Self {
            alarms: Alarms {
                email: None,
                ..spec.alarms.clone()
            },
            log_retention_days: spec.log_retention_days,
        }
    }

    /// What the tag of a service may set, as [`Self::set`] does.
    const KEYS: [&str; 9] = [
        "cpu",
        "memory",
        "latency",
        "server-errors",
        "client-errors",
        "database-cpu",
        "database-connections",
        "database-storage",
        "logs",
    ];

    /// The parts of the tag of a service that are not known here: slips of the pen, and what a later version knows.
    pub fn unknown(tags: &Tags) -> Vec<&str> {
        unknown(tags.get(TAG_ALARMS), &Self::KEYS)
    }

    /// Reads the tags of a service. What a service without them is watched for is what a spec says by default. Nothing fails
    /// for [`Self::unknown`].
    ///
    /// # Errors
    /// [`Error::Failed`] names the tag and what it may say.
    pub fn parse(tags: &Tags) -> Result<Self> {
        let mut watch = Self::default();
        for part in tags
            .get(TAG_ALARMS)
            .map(|tag| tag.split_whitespace())
            .into_iter()
            .flatten()
        {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if !Self::KEYS.contains(&key) {
                continue;
            }
            let set = watch.set(key, value);
            set.ok_or_else(|| {
                Error::Failed(format!(
                    "the tag {TAG_ALARMS} says {part:?}: it holds whole numbers, as {:?} does",
                    Self::default().to_string()
                ))
            })?;
        }
        let topic = tags.get(TAG_ALARM_TOPIC).filter(|topic| *topic != NONE);
        watch.alarms.topic_arn = topic.cloned();
        Ok(watch)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let alarms = &mut self.alarms;
        match key {
            "cpu" => alarms.cpu_percent = value.parse().ok()?,
            "memory" => alarms.memory_percent = value.parse().ok()?,
            "latency" => alarms.latency_milliseconds = value.parse().ok()?,
            "server-errors" => alarms.server_errors = value.parse().ok()?,
            "client-errors" => alarms.client_error_percent = value.parse().ok()?,
            "database-cpu" => alarms.database_cpu_percent = value.parse().ok()?,
            "database-connections" => alarms.database_connections = value.parse().ok()?,
            "database-storage" => alarms.database_free_storage_gib = value.parse().ok()?,
            "logs" => {
                let days = value.parse().ok()?;
                let offered = LOG_RETENTION_DAYS.contains(&days);
                self.log_retention_days = offered.then_some(days)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// The tags that keep it.
    pub fn tags(&self) -> [(&'static str, String); 2] {
        let topic = self.alarms.topic_arn.as_deref().unwrap_or(NONE);
        [
            (TAG_ALARMS, self.to_string()),
            (TAG_ALARM_TOPIC, topic.to_owned()),
        ]
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            alarms: Alarms::default(),
            log_retention_days: thirty_days(),
        }
    }
}

/// As the tag has it, each threshold by the name of its alarm.
impl std::fmt::Display for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let alarms = &self.alarms;
        write!(
            f,
            "cpu={} memory={} latency={} server-errors={} client-errors={} database-cpu={} database-connections={} database-storage={} logs={}",
            alarms.cpu_percent,
            alarms.memory_percent,
            alarms.latency_milliseconds,
            alarms.server_errors,
            alarms.client_error_percent,
            alarms.database_cpu_percent,
            alarms.database_connections,
            alarms.database_free_storage_gib,
            self.log_retention_days
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tags: &[(&str, String)]) -> Result<Watch> {
        let tags = tags.iter();
        Watch::parse(
            &tags
                .map(|(key, value)| ((*key).into(), value.clone()))
                .collect(),
        )
    }

    #[test]
    fn a_watch_survives_its_way_through_the_tags_whatever_it_says() {
        let watch = Watch {
            alarms: Alarms {
                cpu_percent: 71,
                memory_percent: 72,
                latency_milliseconds: 120_000,
                server_errors: 1_000_000,
                client_error_percent: 75,
                database_cpu_percent: 76,
                database_connections: 262_143,
                database_free_storage_gib: 65_536,
                email: None,
                topic_arn: Some("arn:aws:sns:eu-west-1:123456789012:on-call".into()),
            },
            log_retention_days: 3653,
        };
        assert_eq!(read(&watch.tags()).expect("a watch"), watch);
        let longest = watch.to_string();
        assert!(longest.len() <= 256, "{} characters", longest.len());
        let own_topic = Watch::default();
        assert_eq!(read(&own_topic.tags()).expect("a watch"), own_topic);
        assert_eq!(read(&[]).expect("the default"), own_topic);
    }

    #[test]
    fn a_tag_may_say_the_retention_that_a_spec_may_say() {
        let schema = Spec::schema();
        let offered = &schema["properties"]["log_retention_days"]["enum"];
        assert_eq!(offered, &serde_json::json!(LOG_RETENTION_DAYS));
    }

    #[test]
    fn a_tag_that_says_something_else_is_refused_with_what_it_may_say() {
        for tag in ["cpu=high", "cpu", "cpu=300", "logs=31"] {
            let error = read(&[(TAG_ALARMS, tag.into())]).expect_err(tag);
            assert!(error.to_string().contains("cpu=80 memory=80"), "{error}");
        }
    }

    #[test]
    fn a_part_that_is_not_known_changes_nothing_and_is_named() {
        let tag = [(TAG_ALARMS, "cpu=71 disk=80 swap".to_owned())];
        let expected = read(&[(TAG_ALARMS, "cpu=71".to_owned())]).expect("a watch");
        assert_eq!(read(&tag).expect("a watch"), expected);
        let tags = Tags::from(tag.map(|(key, value)| (key.into(), value)));
        assert_eq!(Watch::unknown(&tags), ["disk=80", "swap"]);
        let own = Watch::default().tags();
        let own = Tags::from(own.map(|(key, value)| (key.into(), value)));
        assert!(Watch::unknown(&own).is_empty(), "{own:?}");
    }
}
