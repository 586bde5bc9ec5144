//! What is to be deployed: a pure function of what should run and what runs.

use groundcrew::image::{Candidate, Pushed, TagRule};

use crate::release::{Outcome, Release, previous};

/// What a service runs, and what there is to run.
#[derive(Clone, Debug)]
pub(crate) struct Situation<'a> {
    /// What the service tracks; `None` if it tracks no image.
    pub(crate) rule: Option<TagRule>,
    /// The digest that the service is pinned to; `None` if it is pinned to none.
    pub(crate) running: Option<&'a str>,
    /// The images of its repository; none if its image is not from ECR.
    pub(crate) images: &'a [Pushed],
    /// Its releases, the newest first.
    pub(crate) releases: &'a [Release],
    /// The digest that no event deploys again.
    pub(crate) rejected_image: Option<&'a str>,
    /// The fingerprint of its secrets' current versions; `None` without secrets.
    pub(crate) secrets: Option<&'a str>,
    /// The fingerprint that it was last deployed with.
    pub(crate) deployed_secrets: Option<&'a str>,
    /// The fingerprint that could not be deployed.
    pub(crate) rejected_secrets: Option<&'a str>,
}

/// What is to be done, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    /// Deploy this image, and with it the current secrets.
    Image(Candidate),
    /// Deploy the same image with the current secrets.
    Secrets,
    /// Leave the service as it is.
    Nothing(String),
}

/// Compares what should run with what runs. An image comes first: its deployment takes the current secrets along.
pub(crate) fn decide(situation: &Situation<'_>) -> Decision {
    let reason = match newer_image(situation) {
        Ok(candidate) => return Decision::Image(candidate),
        Err(reason) => reason,
    };
    match situation.secrets {
        Some(now) if situation.deployed_secrets == Some(now) => Decision::Nothing(reason),
        Some(now) if situation.rejected_secrets == Some(now) => Decision::Nothing(format!(
            "{reason}; the current secrets could not be deployed before and wait for newer ones"
        )),
        Some(_) => Decision::Secrets,
        None => Decision::Nothing(reason),
    }
}

/// The image that the rule wants instead of the running one, or why there is none.
fn newer_image(situation: &Situation<'_>) -> Result<Candidate, String> {
    let Some(rule) = &situation.rule else {
        return Err("the service tracks no image".into());
    };
    let Some(candidate) = rule.choose(situation.images) else {
        return Err("the repository has no image under the service's tag rule".into());
    };
    if situation.running == Some(&candidate.digest) {
        return Err(format!("it runs the newest image, {}", candidate.tag));
    }
    if situation.rejected_image == Some(&candidate.digest) {
        return Err(format!(
            "the newest image, {}, was rejected before, and a newer one is waited for",
            candidate.tag
        ));
    }
    let last = situation
        .releases
        .iter()
        .find(|release| release.digest == candidate.digest);
    if last.is_some_and(|last| [Outcome::Failed, Outcome::RolledBack].contains(&last.outcome)) {
        return Err(format!(
            "the newest image, {}, failed before, and a newer one is waited for",
            candidate.tag
        ));
    }
    let Some(running) = situation.running else {
        return Ok(candidate); // not pinned to a digest yet
    };
    match running_candidate(situation, rule, running) {
        Some(running) if !rule.goes_forward(&running, &candidate) => Err(format!(
            "what it runs, {}, is newer than all that the repository holds",
            running.tag
        )),
        _ => Ok(candidate),
    }
}

/// What runs, as the rule sees it: by its tags in the repository, or by the release record once it is deleted there.
fn running_candidate(
    situation: &Situation<'_>,
    rule: &TagRule,
    running: &str,
) -> Option<Candidate> {
    let held = situation
        .images
        .iter()
        .find(|image| image.digest == running);
    if let Some(candidate) = held.and_then(|image| rule.candidate(image)) {
        return Some(candidate);
    }
    let recorded = situation
        .releases
        .iter()
        .find(|release| release.digest == running)?;
    Some(Candidate {
        digest: running.to_owned(),
        tag: recorded.tag.clone()?,
        at: held.map_or(recorded.at.as_second(), |image| image.at),
    })
}

/// The image that a person asks for: `previous`, a digest or a tag.
///
/// # Errors
/// A sentence for that person.
pub(crate) fn wish(situation: &Situation<'_>, to: &str) -> Result<Candidate, String> {
    let digest = match to {
        "previous" => {
            let found = previous(situation.releases, situation.running);
            found.map(|release| release.digest.as_str()).ok_or(
                "the release record knows no other image that ran here: name a digest or a tag",
            )?
        }
        digest if digest.starts_with("sha256:") => digest,
        tag => {
            let tagged = |image: &&Pushed| image.tags.iter().any(|of| of == tag);
            let found = situation.images.iter().find(tagged);
            found
                .map(|image| image.digest.as_str())
                .ok_or_else(|| format!("the repository has no image tagged {tag}"))?
        }
    };
    let image = situation.images.iter().find(|image| image.digest == digest);
    let image = image.ok_or_else(|| {
        format!("the repository no longer holds {digest}: push it again, or choose another one")
    })?;
    let by_rule = situation
        .rule
        .as_ref()
        .and_then(|rule| rule.candidate(image));
    Ok(by_rule.unwrap_or_else(|| Candidate {
        digest: image.digest.clone(),
        tag: image.tags.first().cloned().unwrap_or_default(),
        at: image.at,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn image(digest: &str, tag: &str, at: i64) -> Pushed {
        Pushed {
            digest: digest.into(),
            tags: vec![tag.into()],
            at,
        }
    }

    fn release(digest: &str, tag: &str, second: i64) -> Release {
        Release {
            at: Timestamp::from_second(second).expect("a time"),
            outcome: Outcome::Deployed,
            digest: digest.into(),
            tag: Some(tag.into()),
            secrets: None,
            cause: String::new(),
        }
    }

    fn situation<'a>(rule: &str, images: &'a [Pushed]) -> Situation<'a> {
        Situation {
            rule: Some(TagRule::parse(rule)),
            running: Some("old"),
            images,
            releases: &[],
            rejected_image: None,
            secrets: Some("now"),
            deployed_secrets: Some("now"),
            rejected_secrets: None,
        }
    }

    fn digest(decision: Decision) -> Option<String> {
        match decision {
            Decision::Image(candidate) => Some(candidate.digest),
            Decision::Secrets | Decision::Nothing(_) => None,
        }
    }

    #[test]
    fn a_newer_image_is_deployed_and_takes_the_secrets_along() {
        let images = [image("old", "1.0.0", 1), image("new", "1.1.0", 2)];
        let mut situation = situation("semver:1", &images);
        situation.deployed_secrets = Some("before");
        assert_eq!(digest(decide(&situation)).as_deref(), Some("new"));
    }

    #[test]
    fn a_rejected_image_waits_for_a_newer_one_and_does_not_hold_up_secrets() {
        let mut images = vec![image("old", "1.0.0", 1), image("bad", "1.1.0", 2)];
        let mut at = situation("semver:1", &images);
        at.rejected_image = Some("bad");
        assert!(matches!(decide(&at), Decision::Nothing(_)));
        at.deployed_secrets = Some("before");
        assert_eq!(decide(&at), Decision::Secrets);
        images.push(image("good", "1.1.1", 3));
        let mut at = situation("semver:1", &images);
        at.rejected_image = Some("bad");
        assert_eq!(digest(decide(&at)).as_deref(), Some("good"));
    }

    #[test]
    fn an_image_that_failed_before_another_one_is_not_tried_when_that_is_deleted() {
        let images = [image("old", "1.0.0", 1), image("bad", "1.1.0", 2)];
        let failed = Release {
            outcome: Outcome::Failed,
            ..release("bad", "1.1.0", 2)
        };
        let mut at = situation("semver:1", &images);
        at.rejected_image = Some("worse, and deleted");
        let releases = [failed];
        at.releases = &releases;
        assert!(matches!(decide(&at), Decision::Nothing(_)));
    }

    #[test]
    fn secrets_that_could_not_be_deployed_wait_for_newer_ones() {
        let images = [image("old", "latest", 1)];
        let mut at = situation("latest", &images);
        at.deployed_secrets = Some("before");
        at.rejected_secrets = Some("now");
        assert!(matches!(decide(&at), Decision::Nothing(_)));
        at.secrets = Some("newer");
        assert_eq!(decide(&at), Decision::Secrets);
    }

    #[test]
    fn a_service_whose_newest_image_was_deleted_keeps_what_it_runs() {
        let images = [image("older", "1.0.0", 1)];
        let releases = [release("old", "1.1.0", 2)];
        let mut at = situation("semver:1", &images);
        at.releases = &releases;
        assert!(matches!(decide(&at), Decision::Nothing(_)));
    }

    #[test]
    fn a_service_without_a_rule_gets_its_secrets_only() {
        let images = [image("new", "latest", 1)];
        let mut at = situation("latest", &images);
        at.rule = None;
        at.deployed_secrets = None;
        assert_eq!(decide(&at), Decision::Secrets);
    }

    #[test]
    fn a_wish_is_an_earlier_release_a_digest_or_a_tag_that_the_repository_holds() {
        let images = [image("old", "1.1.0", 2), image("sha256:0a", "1.0.0", 1)];
        let releases = [release("old", "1.1.0", 2), release("sha256:0a", "1.0.0", 1)];
        let mut at = situation("semver:1", &images);
        at.releases = &releases;
        for to in ["previous", "sha256:0a", "1.0.0"] {
            let wished = wish(&at, to).expect(to);
            assert_eq!(
                (wished.digest.as_str(), wished.tag.as_str()),
                ("sha256:0a", "1.0.0")
            );
        }
        assert!(wish(&at, "2.0.0").expect_err("none").contains("2.0.0"));
        assert!(
            wish(&at, "sha256:0b")
                .expect_err("none")
                .contains("sha256:0b")
        );
    }

    fn tags() -> impl Strategy<Value = String> {
        prop_oneof![
            (0..3u8, 0..3u8, 0..3u8).prop_map(|(a, b, c)| format!("{a}.{b}.{c}")),
            (0..3u8, 0..3u8).prop_map(|(a, b)| format!("v1.{a}.0-rc.{b}")),
            (0..9u8).prop_map(|n| format!("main-{n}")),
            Just("latest".to_owned()),
        ]
    }

    fn repository() -> impl Strategy<Value = Vec<Pushed>> {
        let image = (proptest::collection::vec(tags(), 0..3), 0..50i64);
        proptest::collection::vec(image, 0..8).prop_map(|images| {
            let numbered = images.into_iter().enumerate();
            numbered
                .map(|(n, (tags, at))| Pushed {
                    digest: format!("digest-{n}"),
                    tags,
                    at,
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_was_decided_and_done_leaves_nothing_to_decide(
            images in repository(),
            rule in prop_oneof![Just("latest"), Just("semver:1"), Just("semver:1+pre"), Just("semver:1.2"), Just("prefix:main-")],
            secrets in proptest::option::of("[ab]"),
            deployed in proptest::option::of("[ab]"),
        ) {
            let mut at = situation(rule, &images);
            at.running = None;
            at.secrets = secrets.as_deref();
            at.deployed_secrets = deployed.as_deref();
            let chosen;
            match decide(&at) {
                Decision::Image(candidate) => {
                    chosen = candidate.digest;
                    at.running = Some(&chosen);
                    at.deployed_secrets = at.secrets;
                }
                Decision::Secrets => at.deployed_secrets = at.secrets,
                Decision::Nothing(_) => {}
            }
            prop_assert!(matches!(decide(&at), Decision::Nothing(_)));
        }

        #[test]
        fn an_image_is_chosen_by_a_tag_that_the_rule_covers_and_never_the_rejected_one(
            images in repository(),
            running in proptest::option::of(0..8usize),
            rejected in proptest::option::of(0..8usize),
            rule in prop_oneof![Just("latest"), Just("semver:1"), Just("semver:1+pre"), Just("semver:1.2"), Just("prefix:main-")],
        ) {
            let digest = |n: usize| format!("digest-{n}");
            let (running, rejected) = (running.map(digest), rejected.map(digest));
            let mut at = situation(rule, &images);
            at.running = running.as_deref();
            at.rejected_image = rejected.as_deref();
            if let Decision::Image(candidate) = decide(&at) {
                let rule = TagRule::parse(rule);
                prop_assert!(rule.covers(&candidate.tag));
                prop_assert!(at.rejected_image != Some(candidate.digest.as_str()));
                prop_assert!(at.running != Some(candidate.digest.as_str()));
            }
        }

        #[test]
        fn a_deleted_image_is_never_followed_by_an_older_one(
            images in repository(),
            gone in 0..8usize,
            rule in prop_oneof![Just("semver:1"), Just("semver:1+pre"), Just("prefix:main-")],
        ) {
            let of_rule = TagRule::parse(rule);
            let Some(newest) = of_rule.choose(&images) else { return Ok(()) };
            let ran = release(&newest.digest, &newest.tag, newest.at);
            let releases = [ran];
            let left: Vec<_> = images.iter().enumerate().filter(|(n, image)| *n != gone && image.digest != newest.digest).map(|(_, image)| image.clone()).collect();
            let mut at = situation(rule, &left);
            at.running = Some(&newest.digest);
            at.releases = &releases;
            prop_assert!(matches!(decide(&at), Decision::Nothing(_)), "{:?} after {:?}", decide(&at), newest);
        }

        #[test]
        fn the_order_in_which_ecr_lists_images_does_not_matter(images in repository(), turn in 0..8usize) {
            for rule in ["latest", "semver:1", "prefix:main-"] {
                let rule = TagRule::parse(rule);
                // A tag is on one image only; the exact rule rests on that.
                if matches!(rule, TagRule::Exact(_)) { continue; }
                let mut turned = images.clone();
                turned.rotate_left(turn.min(images.len()));
                let digest = |images: &[Pushed]| rule.choose(images).map(|chosen| chosen.digest);
                prop_assert_eq!(digest(&images), digest(&turned));
            }
        }
    }
}
