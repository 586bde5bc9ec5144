//! What is remembered, in tags of the service: so groundcrew 0.1 kept it, and reads it after a way back to it (until 0.3.0).

use super::{Deployments, Outcome, Parking, Rejection, Release};
use crate::Mark;
use crate::claim::{Claim, NONE};
use crate::stack::{
    TAG_DEPLOYED_SECRETS, TAG_DEPLOYING, TAG_PARKED, TAG_PARKING_FAILED, TAG_PARKING_WISH,
    TAG_REJECTED_IMAGE, TAG_REJECTED_SECRETS, TAG_RELEASE, Tags, tag_value,
};
use jiff::Timestamp;

/// The longest value of a tag.
const LONGEST: usize = 256;

const OUTCOMES: [(Outcome, &str); 5] = [
    (Outcome::Deployed, "deployed"),
    (Outcome::Failed, "failed"),
    (Outcome::RolledBack, "rolled-back"),
    (Outcome::Left, "left"),
    (Outcome::Unwatched, "unwatched"),
];

pub(super) fn deployments(tags: &Tags) -> Deployments {
    let given = |key| {
        let value: &String = tags.get(key)?;
        (value != NONE).then(|| value.clone())
    };
    let mut releases: Vec<_> = tags
        .iter()
        .filter_map(|(key, value)| release(key, value))
        .collect();
    releases.sort_by_key(|release| std::cmp::Reverse(release.at));
    let rejected = given(TAG_REJECTED_IMAGE).map(|digest| Rejection { digest, tag: None });
    Deployments {
        claim: Claim::of(tags),
        delivered_secrets: given(TAG_DEPLOYED_SECRETS),
        rejected_secrets: given(TAG_REJECTED_SECRETS),
        rejected_images: rejected.into_iter().collect(),
        releases,
        ..Deployments::default()
    }
}

pub(super) fn of_deployments(memory: &Deployments) -> Tags {
    let or_none = |given: Option<&String>| given.cloned().unwrap_or(NONE.into());
    let passed_over = memory
        .wish
        .as_ref()
        .and_then(|wish| wish.passed_over.as_ref());
    let rejected = memory
        .rejected_images
        .first()
        .map(|rejected| &rejected.digest);
    let claim = memory.claim.as_ref().map(Claim::to_string);
    let mut tags = Tags::from([
        (TAG_DEPLOYING.into(), or_none(claim.as_ref())),
        (
            TAG_DEPLOYED_SECRETS.into(),
            or_none(memory.delivered_secrets.as_ref()),
        ),
        (
            TAG_REJECTED_SECRETS.into(),
            or_none(memory.rejected_secrets.as_ref()),
        ),
        (TAG_REJECTED_IMAGE.into(), or_none(passed_over.or(rejected))),
    ]);
    tags.extend(memory.releases.iter().map(to_tag));
    tags
}

pub(super) fn parking(tags: &Tags) -> Parking {
    let given = |key| tags.get(key).filter(|value| *value != NONE);
    Parking {
        mark: Mark::of(tags),
        wished: given(TAG_PARKING_WISH).and_then(|at| at.parse().ok()),
        told_failed: given(TAG_PARKING_FAILED).cloned(),
        // Tags that a person may write as well say for themselves what is wished.
        ..Parking::default()
    }
}

pub(super) fn of_parking(memory: &Parking) -> Tags {
    let or_none = |given: Option<String>| given.unwrap_or(NONE.into());
    let text = |given: Option<&dyn std::fmt::Display>| or_none(given.map(ToString::to_string));
    Tags::from([
        (
            TAG_PARKED.into(),
            text(memory.mark.as_ref().map(|it| it as _)),
        ),
        (
            TAG_PARKING_WISH.into(),
            text(memory.wished.as_ref().map(|it| it as _)),
        ),
        (
            TAG_PARKING_FAILED.into(),
            or_none(memory.told_failed.clone()),
        ),
    ])
}

pub(super) fn is_release(key: &str) -> bool {
    key.starts_with(TAG_RELEASE)
}

/// The key and the value of a release's tag.
fn to_tag(release: &Release) -> (String, String) {
    let outcome = OUTCOMES.iter().find(|(it, _)| *it == release.outcome);
    let outcome = outcome.map_or("", |(_, name)| name);
    let mut value = format!("{outcome} {}", release.digest.as_deref().unwrap_or(NONE));
    let named = [("tag", &release.tag), ("secrets", &release.secrets)];
    for (name, given) in named {
        if let Some(given) = given {
            value += &format!(" {name}={given}");
        }
    }
    value += &format!(" why={}", tag_value(&release.cause));
    value.truncate(LONGEST); // tag_value leaves ASCII only
    let second = Timestamp::from_second(release.at.as_second()).unwrap_or(release.at);
    (
        format!("{TAG_RELEASE}{second}"),
        value.trim_end().to_owned(),
    )
}

fn release(key: &str, value: &str) -> Option<Release> {
    let at = key.strip_prefix(TAG_RELEASE)?.parse().ok()?;
    let (facts, cause) = value.split_once(" why=").unwrap_or((value, ""));
    let mut facts = facts.split(' ');
    let outcome = facts.next()?;
    let (outcome, _) = OUTCOMES.iter().find(|(_, name)| *name == outcome)?;
    let digest = facts.next()?;
    let (mut tag, mut secrets) = (None, None);
    for fact in facts {
        match fact.split_once('=') {
            Some(("tag", given)) => tag = Some(given.to_owned()),
            Some(("secrets", given)) => secrets = Some(given.to_owned()),
            _ => {}
        }
    }
    Some(Release {
        at,
        outcome: *outcome,
        digest: (digest != NONE).then(|| digest.to_owned()),
        tag,
        secrets,
        cause: cause.to_owned(),
        of_secrets: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Kind;

    fn release_of(second: i64, outcome: Outcome) -> Release {
        Release {
            at: Timestamp::from_second(second).expect("a time"),
            outcome,
            digest: Some("sha256:0a".into()),
            tag: Some("1.4.2".into()),
            secrets: None,
            cause: "push of shop-dev:1.4.2".into(),
            of_secrets: false,
        }
    }

    #[test]
    fn a_release_survives_its_way_through_a_tag() {
        for (outcome, name) in OUTCOMES {
            let release_of = release_of(1_795_000_000, outcome);
            let (key, value) = to_tag(&release_of);
            assert_eq!(key, "groundcrew:release-2026-11-18T11:06:40Z");
            assert_eq!(
                value,
                format!("{name} sha256:0a tag=1.4.2 why=push of shop-dev:1.4.2")
            );
            assert_eq!(release(&key, &value), Some(release_of));
        }
    }

    #[test]
    fn the_longest_release_fits_into_a_tag() {
        let mut longest = release_of(1_795_000_000, Outcome::RolledBack);
        longest.digest = Some(format!("sha256:{}", "0a".repeat(32)));
        longest.tag = Some("t".repeat(128));
        longest.secrets = Some("0b".repeat(8));
        longest.cause = "because (of) ".repeat(30);
        let (key, value) = to_tag(&longest);
        assert!(key.len() <= 128 && value.len() <= LONGEST, "{value}");
        let found = release(&key, &value).expect("a release");
        assert_eq!((found.digest, found.tag), (longest.digest, longest.tag));
        assert_eq!(found.secrets, longest.secrets);
    }

    #[test]
    fn a_sleep_comes_back_from_its_tags() {
        let since = Timestamp::from_second(1_795_000_000).expect("a time");
        let memory = Parking {
            mark: Some(Mark {
                since,
                pausing: true,
            }),
            wished: Some(since),
            told_failed: Some(format!("pause {since}")),
            ..Parking::default()
        };
        assert_eq!(parking(&of_parking(&memory)), memory);
        let nothing = Parking::default();
        assert_eq!(parking(&of_parking(&nothing)), nothing);
    }

    #[test]
    fn a_memory_comes_back_from_its_tags() {
        let memory = Deployments {
            claim: Some(Claim {
                execution: "one".into(),
                kind: Kind::Image,
                sent: true,
                after: None,
                digest: Some("sha256:0b".into()),
                tag: None,
                previous: Some("sha256:0a".into()),
                secrets: None,
                unwell_before: None,
            }),
            delivered_secrets: Some("0c".into()),
            rejected_secrets: Some("0d".into()),
            rejected_images: vec![Rejection {
                digest: "sha256:0e".into(),
                tag: None,
            }],
            releases: vec![
                release_of(2, Outcome::Failed),
                release_of(1, Outcome::Deployed),
            ],
            ..Deployments::default()
        };
        assert_eq!(deployments(&of_deployments(&memory)), memory);
        let nothing = Deployments::default();
        assert_eq!(deployments(&of_deployments(&nothing)), nothing);
        assert_eq!(deployments(&Tags::new()), nothing);
    }
}
