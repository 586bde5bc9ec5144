//! What a person has set for the alarms of a service.

use super::Remembered;
use crate::stack::{TAG_ALARM_TOPIC, TAG_ALARMS, Tags};
use serde::{Deserialize, Serialize};

/// The tags in which a person sets what the alarms of a service watch for, as they were last read. Somebody who removes them by the
/// way has not meant to change it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Watched {
    /// The thresholds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<String>,
    /// The topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

impl Watched {
    /// What a person has set; of a tag that is not there, what it said when it was last read.
    pub fn now(&self, tags: &Tags) -> Self {
        let given = |key, before: &Option<String>| tags.get(key).or(before.as_ref()).cloned();
        Self {
            thresholds: given(TAG_ALARMS, &self.thresholds),
            topic: given(TAG_ALARM_TOPIC, &self.topic),
        }
    }
}

impl Remembered for Watched {
    const KIND: &'static str = "alarms";

    fn complete(&self, tags: &mut Tags) {
        let settings = [
            (TAG_ALARMS, &self.thresholds),
            (TAG_ALARM_TOPIC, &self.topic),
        ];
        for (key, said) in settings {
            if let Some(said) = said {
                tags.entry(key.into()).or_insert_with(|| said.clone());
            }
        }
    }
}
