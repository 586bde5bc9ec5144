//! The release record: the last releases of a service, one tag each.
//!
//! Why tags: they need no table to be kept, backed up and paid for, they go with the service, a person sees them beside it,
//! and recording the end of a deployment is the same single call that gives up its claim. What is older than
//! [`KEPT`] releases is in the executions of `deploy`, for 90 days.

use groundcrew::claim::NONE;
use groundcrew::stack::{TAG_RELEASE, Tags, tag_value};
use jiff::Timestamp;

/// How many releases are kept: a service may have 50 tags, of which a team wants some.
pub(crate) const KEPT: usize = 10;

/// The longest value of a tag.
const LONGEST: usize = 256;

/// How a deployment ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It runs, or ran until the next release.
    Deployed,
    /// App Runner could not deploy it.
    Failed,
    /// It ran and was not well, and the image before took its place.
    RolledBack,
    /// It runs, is not well, and nothing took its place.
    Left,
}

impl Outcome {
    const ALL: [(Self, &str); 4] = [
        (Self::Deployed, "deployed"),
        (Self::Failed, "failed"),
        (Self::RolledBack, "rolled-back"),
        (Self::Left, "left"),
    ];

    fn name(self) -> &'static str {
        let named = Self::ALL.iter().find(|(outcome, _)| *outcome == self);
        named.map_or("", |(_, name)| name)
    }
}

/// One deployment that came to an end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Release {
    /// When App Runner ended its operation; the second tells releases of a service apart.
    pub(crate) at: Timestamp,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// `sha256:…`, or `none` for the secrets of a service that is pinned to none.
    pub(crate) digest: String,
    /// The tag that the image was chosen for.
    pub(crate) tag: Option<String>,
    /// The fingerprint of the secrets.
    pub(crate) secrets: Option<String>,
    /// Why, in a few words.
    pub(crate) cause: String,
}

impl Release {
    /// The key and the value of its tag.
    pub(crate) fn to_tag(&self) -> (String, String) {
        let mut value = format!("{} {}", self.outcome.name(), self.digest);
        let named = [("tag", &self.tag), ("secrets", &self.secrets)];
        for (name, given) in named {
            if let Some(given) = given {
                value += &format!(" {name}={given}");
            }
        }
        value += &format!(" why={}", tag_value(&self.cause));
        value.truncate(LONGEST); // tag_value leaves ASCII only
        let second = Timestamp::from_second(self.at.as_second()).unwrap_or(self.at);
        (
            format!("{TAG_RELEASE}{second}"),
            value.trim_end().to_owned(),
        )
    }

    fn parse(key: &str, value: &str) -> Option<Self> {
        let at = key.strip_prefix(TAG_RELEASE)?.parse().ok()?;
        let (facts, cause) = value.split_once(" why=").unwrap_or((value, ""));
        let mut facts = facts.split(' ');
        let outcome = facts.next()?;
        let (outcome, _) = Outcome::ALL.iter().find(|(_, name)| *name == outcome)?;
        let digest = facts.next()?.to_owned();
        let (mut tag, mut secrets) = (None, None);
        for fact in facts {
            match fact.split_once('=') {
                Some(("tag", given)) => tag = Some(given.to_owned()),
                Some(("secrets", given)) => secrets = Some(given.to_owned()),
                _ => {}
            }
        }
        Some(Self {
            at,
            outcome: *outcome,
            digest,
            tag,
            secrets,
            cause: cause.to_owned(),
        })
    }
}

/// The releases that a service's tags remember, the newest first.
pub(crate) fn releases(tags: &Tags) -> Vec<Release> {
    let found = tags
        .iter()
        .filter_map(|(key, value)| Release::parse(key, value));
    let mut releases: Vec<_> = found.collect();
    releases.sort_by_key(|release| std::cmp::Reverse(release.at));
    releases
}

/// What ran well before the image that runs now.
pub(crate) fn previous<'a>(releases: &'a [Release], running: Option<&str>) -> Option<&'a Release> {
    releases.iter().find(|release| {
        release.outcome == Outcome::Deployed
            && release.digest != NONE
            && Some(release.digest.as_str()) != running
    })
}

/// The keys of the releases that have to go, so that one more can come.
pub(crate) fn surplus(tags: &Tags) -> Vec<String> {
    let keys = tags.keys().filter(|key| key.starts_with(TAG_RELEASE));
    let mut keys: Vec<_> = keys.cloned().collect();
    keys.sort(); // times in this form sort by themselves
    let surplus = (keys.len() + 1).saturating_sub(KEPT);
    keys.truncate(surplus);
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(second: i64, outcome: Outcome, digest: &str) -> Release {
        Release {
            at: Timestamp::from_second(second).expect("a time"),
            outcome,
            digest: digest.into(),
            tag: Some("1.4.2".into()),
            secrets: None,
            cause: "push of shop-dev:1.4.2".into(),
        }
    }

    fn tags(releases: &[Release]) -> Tags {
        releases.iter().map(Release::to_tag).collect()
    }

    #[test]
    fn a_release_survives_its_way_through_a_tag() {
        let release = release(1_795_000_000, Outcome::RolledBack, "sha256:0a");
        let (key, value) = release.to_tag();
        assert_eq!(key, "groundcrew:release-2026-11-18T11:06:40Z");
        assert_eq!(
            value,
            "rolled-back sha256:0a tag=1.4.2 why=push of shop-dev:1.4.2"
        );
        assert_eq!(releases(&tags(std::slice::from_ref(&release))), [release]);
    }

    #[test]
    fn the_longest_release_fits_into_a_tag() {
        let mut release = release(1_795_000_000, Outcome::RolledBack, "");
        release.digest = format!("sha256:{}", "0a".repeat(32));
        release.tag = Some("t".repeat(128));
        release.secrets = Some("0b".repeat(8));
        release.cause = "because (of) ".repeat(30);
        let (key, value) = release.to_tag();
        assert!(key.len() <= 128 && value.len() <= LONGEST, "{value}");
        let found = releases(&Tags::from([(key, value)])).remove(0);
        assert_eq!((found.digest, found.tag), (release.digest, release.tag));
        assert_eq!(found.secrets, release.secrets);
    }

    #[test]
    fn the_previous_release_is_the_last_one_that_ran_well_and_is_another_image() {
        let record = releases(&tags(&[
            release(1, Outcome::Deployed, "a"),
            release(2, Outcome::Deployed, "b"),
            release(3, Outcome::Deployed, "c"),
            release(4, Outcome::RolledBack, "d"),
            release(5, Outcome::Deployed, "c"),
        ]));
        let previous =
            |running| previous(&record, Some(running)).map(|found| found.digest.as_str());
        assert_eq!(previous("c"), Some("b"));
        assert_eq!(previous("d"), Some("c"));
    }

    #[test]
    fn the_oldest_release_goes_before_an_eleventh_comes() {
        let record: Vec<_> = (1..=10)
            .map(|second| release(second, Outcome::Deployed, "a"))
            .collect();
        assert_eq!(surplus(&tags(&record)), [record[0].to_tag().0]);
        assert!(surplus(&tags(&record[..9])).is_empty());
    }
}
