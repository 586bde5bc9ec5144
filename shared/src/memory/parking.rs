//! What is remembered of a service's sleep.

use super::{Remembered, in_tags};
use crate::Mark;
use crate::stack::{TAG_AWAKE_UNTIL, TAG_PARKED_UNTIL, Tags};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is remembered of a service's sleep.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Parking {
    /// Since when groundcrew has it parked. Without it the service is never woken: somebody else has paused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// When the wish was uttered that its tags hold, so that an older one that had to wait does not overwrite it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wished: Option<Timestamp>,
    /// Until when that wish keeps it awake, also if somebody removes the tag that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awake_until: Option<Timestamp>,
    /// Until when that wish keeps it parked, also if somebody removes the tag that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_until: Option<Timestamp>,
    /// Which failure a person was told of: every half hour the same is tried again, and told no second time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_failed: Option<String>,
}

impl Parking {
    /// The tags that say what the last wish said.
    pub fn wish(&self) -> impl Iterator<Item = (&'static str, String)> {
        let said = [
            (TAG_AWAKE_UNTIL, self.awake_until),
            (TAG_PARKED_UNTIL, self.parked_until),
        ];
        said.into_iter()
            .filter_map(|(key, until)| Some((key, until?.to_string())))
    }
}

impl Remembered for Parking {
    const KIND: &'static str = "parking";
    const IN_TAGS: bool = true;

    fn of_tags(tags: &Tags) -> Self {
        in_tags::parking(tags)
    }

    fn to_tags(&self) -> Tags {
        in_tags::of_parking(self)
    }

    fn complete(&self, tags: &mut Tags) {
        tags.extend(self.to_tags());
        for (key, until) in self.wish() {
            tags.entry(key.into()).or_insert(until);
        }
    }
}
