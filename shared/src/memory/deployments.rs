//! What is remembered of a service's deployments.

use super::{Remembered, in_tags};
use crate::Stack;
use crate::claim::Claim;
use crate::stack::{TAG_HOLD, TAG_IMAGE_TAG, TAG_POLICY, Tags};
use crate::tagged::stack_of;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many releases are kept; what is older is in the executions of `deploy`, for 90 days.
const KEPT_RELEASES: usize = 10;

/// How many rejections are kept. An image that is older than all of these is not the newest one.
const KEPT_REJECTIONS: usize = 20;

/// What is remembered of a service's deployments.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Deployments {
    /// The stack that the service belongs to, or belonged to when it was last deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
    /// The deployment that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// The fingerprint of the secrets that it was last deployed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_secrets: Option<String>,
    /// The fingerprint of secrets that could not be deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_secrets: Option<String>,
    /// Images that no event deploys again, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_images: Vec<Rejection>,
    /// The last releases, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<Release>,
    /// The last image that a person has asked for, which is a border in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// What a person has set in tags of the service, as it was last found there.
    pub orders: Orders,
    /// Secrets whose versions groundcrew may not see, with the version that an event named and that was delivered.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub delivered_unseen: BTreeMap<String, String>,
    /// When the execution was started by which somebody last held the service or let it go: an older one that had to wait does not
    /// overwrite it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ordered: Option<Timestamp>,
    /// The operation that somebody was told to be stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_stuck: Option<String>,
    /// The fingerprint of secrets that wait while the service is held, as somebody was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told_waiting: Option<String>,
}

/// An image under one of its tags.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rejection {
    /// `sha256:…`
    pub digest: String,
    /// The tag that it was chosen for; `None`: under any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// What a person has asked for, and a border in time: only what was pushed after it is deployed by itself, or what was given its
/// tag after it, as an event says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wish {
    /// The execution that the person has started.
    pub execution: String,
    /// When the wish was made.
    pub at: Timestamp,
    /// The digest that it was resolved to then.
    pub digest: String,
    /// The tag that the image is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether it is a border. One for the newest image is none.
    #[serde(default)]
    pub holds_back: bool,
    /// The newest image then, if it is another one: groundcrew 0.1 takes it for the rejected one (until 0.3.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
    /// The image whose watch it has ended, so that its end is told also if the wish then comes to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_watch_of: Option<Rejection>,
    /// Images that were pushed before, and have been given these tags since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tagged_since: Vec<Rejection>,
}

/// What a person sets in tags of the service. Somebody who removes the tags by the way has not meant to change it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Orders {
    /// The tag rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The deployment policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Whether somebody has held it with an execution; a hold that is in a tag alone ends with the tag.
    pub held: bool,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs, or ran until the next release.
    Deployed,
    /// App Runner could not deploy it.
    Failed,
    /// It ran and was not well, and the image before took its place.
    RolledBack,
    /// It runs, is not well, and nothing took its place.
    Left,
    /// It was deployed, and nobody has watched it to the end.
    Unwatched,
}

impl Outcome {
    /// Whether the image ran and nothing is known against it.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Deployed | Self::Unwatched)
    }
}

/// One deployment that came to an end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Release {
    /// When App Runner ended its operation; the second tells releases of a service apart.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// `sha256:…`; `None` for the secrets of a service that is pinned to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The tag that the image was chosen for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The fingerprint of the secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<String>,
    /// Why, in a few words.
    pub cause: String,
    /// Whether it was about the secrets alone: then it says nothing about the image.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_secrets: bool,
}

impl Orders {
    /// What a person has set; of a tag that is not there, what it said when it was last seen.
    pub fn now(&self, tags: &Tags) -> Self {
        let given = |key, before: &Option<String>| tags.get(key).or(before.as_ref()).cloned();
        Self {
            rule: given(TAG_IMAGE_TAG, &self.rule),
            policy: given(TAG_POLICY, &self.policy),
            // An order is in the table before it is in the tag, so that whoever claims the service has seen it or is too late.
            held: self.held || tags.get(TAG_HOLD).is_some_and(|hold| hold == "true"),
        }
    }
}

impl Deployments {
    /// Remembers what the tags of the service say: whose it is, and what a person has set.
    pub fn note(&mut self, tags: &Tags) {
        self.stack = stack_of(tags).or(self.stack.take());
        self.orders = Orders {
            held: self.orders.held,
            ..self.orders.now(tags)
        };
    }

    /// Remembers the end of a deployment: once, however often the step is repeated that records it.
    pub fn record(&mut self, release: Release) {
        let is_it = |other: &Release| {
            let of = |it: &Release| (it.at, it.digest.clone(), it.of_secrets);
            of(other) == of(&release)
        };
        self.releases.retain(|other| !is_it(other));
        self.releases.push(release);
        self.releases
            .sort_by_key(|release| std::cmp::Reverse(release.at));
        self.releases.truncate(KEPT_RELEASES);
    }

    /// No event deploys the image again, under this tag or one that its rule takes for older.
    pub fn reject(&mut self, digest: &str, tag: Option<&str>) {
        let rejection = Rejection {
            digest: digest.to_owned(),
            tag: tag.map(str::to_owned),
        };
        self.rejected_images.retain(|other| other != &rejection);
        self.rejected_images.insert(0, rejection);
        self.rejected_images.truncate(KEPT_REJECTIONS);
        if let Some(wish) = &mut self.wish {
            wish.passed_over = None;
        }
    }

    /// Events may deploy the image again.
    pub fn welcome(&mut self, digest: &str) {
        self.rejected_images.retain(|other| other.digest != digest);
    }

    /// What no event deploys again: what was rejected, and each image whose last release was not well.
    pub fn rejections(&self) -> impl Iterator<Item = Rejection> {
        let mut seen = Vec::new();
        let of_images = self.releases.iter().filter(|release| !release.of_secrets);
        let bad = of_images.filter_map(move |release| {
            let digest = release.digest.as_ref()?;
            let is_last = !seen.contains(digest);
            seen.push(digest.clone());
            (is_last && !release.outcome.is_good()).then(|| Rejection {
                digest: digest.clone(),
                tag: release.tag.clone(),
            })
        });
        self.rejected_images.iter().cloned().chain(bad)
    }

    /// Whether the last word on an image is that it was not well.
    pub fn is_bad(&self, digest: &str) -> bool {
        self.rejections().any(|rejected| rejected.digest == digest)
    }

    /// Remembers that an image has been given a tag since the wish, so that it is on this side of the border.
    pub fn admit(&mut self, digest: &str, tag: &str, at: Timestamp) {
        let Some(wish) = self.wish.as_mut().filter(|wish| wish.at < at) else {
            return;
        };
        let tagged = Rejection {
            digest: digest.to_owned(),
            tag: Some(tag.to_owned()),
        };
        wish.tagged_since.retain(|other| other != &tagged);
        wish.tagged_since.insert(0, tagged);
        wish.tagged_since.truncate(KEPT_REJECTIONS);
    }

    /// What ran well before an image: an image that was watched to the end, if there is one.
    pub fn previous(&self, image: Option<&str>) -> Option<&Release> {
        let of = |outcome| {
            self.releases.iter().find(move |release| {
                let digest = release.digest.as_deref();
                release.outcome == outcome
                    && digest != image
                    && digest.is_some_and(|digest| !self.is_bad(digest))
            })
        };
        of(Outcome::Deployed).or_else(|| of(Outcome::Unwatched))
    }
}

impl Remembered for Deployments {
    const KIND: &'static str = "deployments";
    const IN_TAGS: bool = true;

    fn of_tags(tags: &Tags) -> Self {
        in_tags::deployments(tags)
    }

    fn to_tags(&self) -> Tags {
        in_tags::of_deployments(self)
    }

    fn is_removable(key: &str) -> bool {
        in_tags::is_release(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(second: i64, outcome: Outcome, digest: &str) -> Release {
        Release {
            at: Timestamp::from_second(second).expect("a time"),
            outcome,
            digest: Some(digest.into()),
            tag: None,
            secrets: None,
            cause: String::new(),
            of_secrets: false,
        }
    }

    fn after(releases: &[(i64, Outcome, &str)]) -> Deployments {
        let mut memory = Deployments::default();
        for (second, outcome, digest) in releases {
            memory.record(release(*second, *outcome, digest));
        }
        memory
    }

    #[test]
    fn the_previous_release_is_the_last_one_that_ran_well_and_is_another_image() {
        let memory = after(&[
            (1, Outcome::Deployed, "a"),
            (2, Outcome::Deployed, "b"),
            (3, Outcome::Deployed, "c"),
            (4, Outcome::RolledBack, "d"),
            (5, Outcome::Deployed, "c"),
        ]);
        let previous = |running| memory.previous(Some(running))?.digest.clone();
        assert_eq!(previous("c").as_deref(), Some("b"));
        assert_eq!(previous("d").as_deref(), Some("c"));
    }

    #[test]
    fn an_image_that_nobody_watched_is_the_last_choice_and_one_that_was_bad_is_none() {
        let memory = after(&[
            (1, Outcome::Deployed, "watched"),
            (2, Outcome::Unwatched, "unwatched"),
        ]);
        let found = memory.previous(Some("now")).expect("there is one");
        assert_eq!(found.digest.as_deref(), Some("watched"));
        let memory = after(&[(1, Outcome::Unwatched, "unwatched")]);
        let found = memory.previous(Some("now")).expect("there is one");
        assert_eq!(found.digest.as_deref(), Some("unwatched"));
        let mut memory = after(&[
            (1, Outcome::Deployed, "bad"),
            (2, Outcome::RolledBack, "bad"),
        ]);
        assert_eq!(memory.previous(Some("now")), None);
        memory = after(&[(1, Outcome::Deployed, "rejected")]);
        memory.reject("rejected", Some("1.0.0"));
        assert_eq!(memory.previous(Some("now")), None);
    }

    #[test]
    fn ten_releases_are_kept_and_one_that_is_recorded_twice_is_there_once() {
        let mut memory = Deployments::default();
        for second in 1..=12 {
            memory.record(release(second, Outcome::Deployed, "a"));
            memory.record(release(second, Outcome::Deployed, "a"));
        }
        let seconds: Vec<_> = memory.releases.iter().map(|it| it.at.as_second()).collect();
        assert_eq!(seconds, (3..=12).rev().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_remembered_comes_back_from_an_item_of_the_table_and_unknown_parts_of_it_are_ignored()
    {
        let mut memory = after(&[(1, Outcome::Deployed, "a"), (2, Outcome::Unwatched, "b")]);
        memory.reject("c", Some("1.0.0"));
        memory.orders.held = true;
        let mut item: super::super::Item = serde_dynamo::to_item(&memory).expect("an item");
        let later = aws_sdk_dynamodb::types::AttributeValue::S("of a later version".into());
        item.insert("later".into(), later);
        let read: Deployments = serde_dynamo::from_item(item).expect("it is read");
        assert_eq!(read, memory);
    }
}
