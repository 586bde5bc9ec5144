//! What to do with a service: decided from what it runs and what there is to run, and from nothing else.

use groundcrew::memory::{Deployments, Rejection};
use groundcrew::tag_rule::{Candidate, Pushed, TagRule};

use crate::request::NEWEST;

/// What a service runs, and what there is to run.
#[derive(Clone, Debug)]
pub(crate) struct Situation<'a> {
    /// What the service tracks; `None` if it tracks no image.
    pub(crate) rule: Option<TagRule>,
    /// The digest that the service is pinned to; `None` if it is pinned to none.
    pub(crate) running: Option<&'a str>,
    /// The images of its repository; none if its image is not from ECR.
    pub(crate) images: &'a [Pushed],
    /// What is remembered of its deployments.
    pub(crate) memory: &'a Deployments,
    /// The fingerprint of its secrets' current versions; `None` without secrets.
    pub(crate) secrets: Option<&'a str>,
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
    let memory = situation.memory;
    match situation.secrets {
        Some(now) if memory.delivered_secrets.as_deref() == Some(now) => Decision::Nothing(reason),
        Some(now) if memory.rejected_secrets.as_deref() == Some(now) => Decision::Nothing(format!(
            "{reason}; the current secrets could not be deployed before and wait for newer ones"
        )),
        Some(_) => Decision::Secrets,
        None => Decision::Nothing(reason),
    }
}

/// The image that the rule wants instead of the running one, or why there is none: of those that may be deployed by themselves,
/// the one that the rule chooses, if it goes forward from what runs.
fn newer_image(situation: &Situation<'_>) -> Result<Candidate, String> {
    let Some(rule) = &situation.rule else {
        return Err("the service tracks no image".into());
    };
    let Some(newest) = rule.choose(situation.images) else {
        return Err("the repository has no image under the service's tag rule".into());
    };
    let open: Vec<_> = situation
        .images
        .iter()
        .filter_map(|image| allowed(situation, rule, image))
        .collect();
    let running = situation
        .running
        .and_then(|running| running_candidate(situation, rule, running));
    let found = rule
        .choose(&open)
        .filter(|candidate| situation.running != Some(&candidate.digest))
        .filter(|candidate| {
            running
                .as_ref()
                .is_none_or(|running| rule.goes_forward(running, candidate))
        });
    found.ok_or_else(|| why_not(situation, rule, &newest, running.as_ref()))
}

/// The image with those of its tags under which it may be deployed by itself; `None` without any.
fn allowed(situation: &Situation<'_>, rule: &TagRule, image: &Pushed) -> Option<Pushed> {
    let may = |tag: &String| {
        let candidate = Candidate {
            digest: image.digest.clone(),
            tag: tag.clone(),
            at: image.at,
        };
        rule.covers(tag) && why_excluded(situation, rule, &candidate).is_none()
    };
    let tags: Vec<_> = image.tags.iter().filter(|tag| may(tag)).cloned().collect();
    (!tags.is_empty()).then(|| Pushed {
        tags,
        ..image.clone()
    })
}

/// Why an image is not deployed by itself under a tag.
fn why_excluded(
    situation: &Situation<'_>,
    rule: &TagRule,
    candidate: &Candidate,
) -> Option<String> {
    let memory = situation.memory;
    if situation.running == Some(&candidate.digest) {
        return None; // it is the standard that the others are held to
    }
    let rejected = |rejection: &Rejection| {
        rejection.digest == candidate.digest
            && rejection.tag.as_ref().is_none_or(|tag| {
                let before = Candidate {
                    tag: tag.clone(),
                    ..candidate.clone()
                };
                // Under a tag that the rule prefers it is tried once more.
                tag == &candidate.tag || !rule.prefers(candidate, &before)
            })
    };
    if memory.rejections().any(|it| rejected(&it)) {
        return Some("was rejected before, and a newer one is waited for".into());
    }
    let wish = memory.wish.as_ref().filter(|wish| wish.holds_back)?;
    let tagged_since = wish
        .tagged_since
        .iter()
        .any(|it| it.digest == candidate.digest && it.tag.as_ref() == Some(&candidate.tag));
    (candidate.at <= wish.at.as_second() && !tagged_since).then(|| {
        format!(
            "was pushed before somebody asked for {} at {}, and only what is pushed after that is deployed by itself",
            wish.tag.as_deref().unwrap_or(&wish.digest),
            wish.at.strftime("%Y-%m-%d %H:%M UTC")
        )
    })
}

/// Why the newest image is not deployed.
fn why_not(
    situation: &Situation<'_>,
    rule: &TagRule,
    newest: &Candidate,
    running: Option<&Candidate>,
) -> String {
    if situation.running == Some(&newest.digest) {
        return format!("it runs the newest image, {}", newest.tag);
    }
    if let Some(why) = why_excluded(situation, rule, newest) {
        return format!("the newest image, {}, {why}", newest.tag);
    }
    match running {
        Some(running) => format!(
            "what it runs, {}, is newer than all that the repository holds",
            running.tag
        ),
        None => "no image of the repository may be deployed by itself".into(),
    }
}

/// Why an image is not deployed that somebody has just given this tag, where they would expect it: it goes forward from what
/// runs, and something that they need not know of keeps it back. Of an image that was rejected under this very tag they were told.
pub(crate) fn why_not_this(situation: &Situation<'_>, digest: &str, tag: &str) -> Option<String> {
    let rule = situation.rule.as_ref().filter(|rule| rule.covers(tag))?;
    let tagged = |image: &&Pushed| image.digest == digest && image.tags.iter().any(|it| it == tag);
    let candidate = Candidate {
        digest: digest.to_owned(),
        tag: tag.to_owned(),
        at: situation.images.iter().find(tagged)?.at,
    };
    let was_told = situation
        .memory
        .rejections()
        .any(|it| it.digest == digest && it.tag.as_deref().is_none_or(|rejected| rejected == tag));
    let forward = situation
        .running
        .and_then(|running| running_candidate(situation, rule, running))
        .is_none_or(|running| rule.goes_forward(&running, &candidate));
    if was_told || !forward {
        return None;
    }
    why_excluded(situation, rule, &candidate).map(|why| format!("{tag} {why}"))
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
    let releases = &situation.memory.releases;
    let recorded = releases
        .iter()
        .find(|release| release.digest.as_deref() == Some(running))?;
    Some(Candidate {
        digest: running.to_owned(),
        tag: recorded.tag.clone()?,
        at: held.map_or(recorded.at.as_second(), |image| image.at),
    })
}

/// The image that a person asks for: `previous`, `newest`, a digest or a tag. `previous` is what ran well before `seen`, the
/// image that the person sees at work or failing.
///
/// # Errors
/// A sentence for that person.
pub(crate) fn wish(
    situation: &Situation<'_>,
    to: &str,
    seen: Option<&str>,
) -> Result<Candidate, String> {
    let newest;
    let digest = match to {
        "previous" => {
            let found = situation.memory.previous(seen);
            found.and_then(|release| release.digest.as_deref()).ok_or(
                "the release record knows no other image that ran well here: name a digest or a tag",
            )?
        }
        NEWEST => {
            let rule = situation.rule.as_ref();
            let rule = rule.ok_or("the service tracks no image")?;
            let welcome = situation.images.iter().filter(|image| {
                situation.running == Some(&image.digest) || !situation.memory.is_bad(&image.digest)
            });
            let welcome: Vec<_> = welcome.cloned().collect();
            newest = rule
                .choose(&welcome)
                .ok_or("the repository has no image under the service's tag rule that is not rejected: name a digest or a tag")?;
            &newest.digest
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
    use groundcrew::memory::{Outcome, Release, Wish};
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
            digest: Some(digest.into()),
            tag: Some(tag.into()),
            secrets: None,
            cause: String::new(),
            of_secrets: false,
        }
    }

    /// Nothing has happened yet, and the secrets `now` are delivered.
    fn memory() -> Deployments {
        Deployments {
            delivered_secrets: Some("now".into()),
            ..Deployments::default()
        }
    }

    fn with(change: impl FnOnce(&mut Deployments)) -> Deployments {
        let mut memory = memory();
        change(&mut memory);
        memory
    }

    fn situation<'a>(rule: &str, images: &'a [Pushed], memory: &'a Deployments) -> Situation<'a> {
        Situation {
            rule: Some(TagRule::parse(rule)),
            running: Some("old"),
            images,
            memory,
            secrets: Some("now"),
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
        let memory = with(|memory| memory.delivered_secrets = Some("before".into()));
        let at = situation("semver:1", &images, &memory);
        assert_eq!(digest(decide(&at)).as_deref(), Some("new"));
    }

    #[test]
    fn a_rejected_image_waits_for_a_newer_one_and_does_not_hold_up_secrets() {
        let mut images = vec![image("old", "1.0.0", 1), image("bad", "1.1.0", 2)];
        let mut memory = with(|memory| memory.reject("bad", Some("1.1.0")));
        let at = situation("semver:1", &images, &memory);
        assert!(matches!(decide(&at), Decision::Nothing(_)));
        memory.delivered_secrets = Some("before".into());
        let at = situation("semver:1", &images, &memory);
        assert_eq!(decide(&at), Decision::Secrets);
        images.push(image("good", "1.1.1", 3));
        let at = situation("semver:1", &images, &memory);
        assert_eq!(digest(decide(&at)).as_deref(), Some("good"));
    }

    #[test]
    fn a_hotfix_below_a_rejected_version_is_deployed_if_it_goes_forward() {
        let images = [
            image("old", "1.4.0", 1),
            image("bad", "1.5.0", 2),
            image("fix", "1.4.1", 3),
            image("older", "1.3.9", 4),
        ];
        let memory = with(|memory| memory.reject("bad", Some("1.5.0")));
        let at = situation("semver:1", &images, &memory);
        assert_eq!(digest(decide(&at)).as_deref(), Some("fix"));
    }

    #[test]
    fn a_rejected_image_is_tried_once_more_under_a_tag_that_the_rule_prefers() {
        let again = |tag: &str| Pushed {
            tags: vec!["1.5.0".into(), tag.into()],
            ..image("bad", "1.5.0", 2)
        };
        let memory = with(|memory| memory.reject("bad", Some("1.5.0")));
        for (tag, deployed) in [("1.5.1", Some("bad")), ("1.4.9", None), ("1.5.0", None)] {
            let images = [image("old", "1.4.0", 1), again(tag)];
            let at = situation("semver:1", &images, &memory);
            assert_eq!(digest(decide(&at)).as_deref(), deployed, "{tag}");
            let told = why_not_this(&at, "bad", tag);
            assert_eq!(told.is_some(), tag == "1.4.9", "{tag}: {told:?}");
        }
        let memory = with(|memory| {
            memory.reject("bad", Some("1.5.0"));
            memory.reject("bad", Some("1.5.1"));
        });
        let images = [image("old", "1.4.0", 1), again("1.5.1")];
        let at = situation("semver:1", &images, &memory);
        assert!(matches!(decide(&at), Decision::Nothing(_)));
        assert_eq!(memory.previous(Some("old")), None, "it is no way back");
    }

    /// What a person asked for at second 10, and what is deployed by itself then.
    #[test]
    fn what_a_person_asks_for_is_a_border_in_time() {
        let wish = Wish {
            execution: "by-hand".into(),
            at: Timestamp::from_second(10).expect("a time"),
            digest: "old".into(),
            tag: Some("1.4.0".into()),
            holds_back: true,
            passed_over: None,
            ended_watch_of: None,
            tagged_since: Vec::new(),
        };
        let back = with(|memory| {
            memory.record(release("old", "1.4.0", 1));
            memory.record(release("newest", "1.5.0", 5));
            memory.wish = Some(wish.clone());
        });
        let old = || image("old", "1.4.0", 1);
        let newest = || image("newest", "1.5.0", 5);
        let decided = |rule: &str, images: &[Pushed], memory: &Deployments| {
            digest(decide(&situation(rule, images, memory)))
        };
        let after = |tag: &str| image("after", tag, 11);
        let looks: [(&str, Vec<Pushed>, Option<&str>); 5] = [
            ("nothing new", vec![old(), newest()], None),
            (
                "the newest is deleted",
                vec![old(), image("middle", "1.4.5", 4)],
                None,
            ),
            (
                "a hotfix below",
                vec![old(), newest(), after("1.4.1")],
                Some("after"),
            ),
            (
                "a newer one",
                vec![old(), newest(), after("1.5.1")],
                Some("after"),
            ),
            (
                "one that goes back",
                vec![old(), newest(), after("1.3.0")],
                None,
            ),
        ];
        for (what, images, deployed) in looks {
            let found = decided("semver:1", &images, &back);
            assert_eq!(found.as_deref(), deployed, "{what}");
        }
        // Tagged anew: an event says so, or nobody knows when.
        let retagged = Pushed {
            tags: vec!["1.5.0".into()],
            ..newest()
        };
        let images = [old(), retagged];
        assert_eq!(decided("semver:1", &images, &back), None);
        let mut told = back.clone();
        told.admit(
            "newest",
            "1.5.0",
            Timestamp::from_second(9).expect("a time"),
        );
        assert_eq!(decided("semver:1", &images, &told), None, "before the wish");
        told.admit(
            "newest",
            "1.5.0",
            Timestamp::from_second(12).expect("a time"),
        );
        let found = decided("semver:1", &images, &told);
        assert_eq!(found.as_deref(), Some("newest"));
        // A tag is followed wherever somebody puts it.
        let images = [image("old", "1.4.0", 1), image("moved", "latest", 2)];
        assert_eq!(decided("latest", &images, &back), None);
        told.admit(
            "moved",
            "latest",
            Timestamp::from_second(12).expect("a time"),
        );
        assert_eq!(decided("latest", &images, &told).as_deref(), Some("moved"));
        // Who asks for the newest wants no border.
        let mut lifted = back;
        lifted.wish = Some(Wish {
            holds_back: false,
            ..wish
        });
        let images = [old(), newest()];
        let found = decided("semver:1", &images, &lifted);
        assert_eq!(found.as_deref(), Some("newest"));
    }

    #[test]
    fn an_image_that_failed_before_another_one_is_not_tried_when_that_is_deleted() {
        let images = [image("old", "1.0.0", 1), image("bad", "1.1.0", 2)];
        let memory = with(|memory| {
            memory.record(Release {
                outcome: Outcome::Failed,
                ..release("bad", "1.1.0", 2)
            });
            memory.reject("worse, and deleted", Some("1.2.0"));
        });
        let at = situation("semver:1", &images, &memory);
        assert!(matches!(decide(&at), Decision::Nothing(_)));
    }

    #[test]
    fn secrets_that_could_not_be_deployed_wait_for_newer_ones() {
        let images = [image("old", "latest", 1)];
        let memory = with(|memory| {
            memory.delivered_secrets = Some("before".into());
            memory.rejected_secrets = Some("now".into());
        });
        let mut at = situation("latest", &images, &memory);
        assert!(matches!(decide(&at), Decision::Nothing(_)));
        at.secrets = Some("newer");
        assert_eq!(decide(&at), Decision::Secrets);
    }

    #[test]
    fn a_service_whose_newest_image_was_deleted_keeps_what_it_runs() {
        let images = [image("older", "1.0.0", 1)];
        let memory = with(|memory| memory.record(release("old", "1.1.0", 2)));
        let at = situation("semver:1", &images, &memory);
        assert!(matches!(decide(&at), Decision::Nothing(_)));
    }

    #[test]
    fn a_service_without_a_rule_gets_its_secrets_only() {
        let images = [image("new", "latest", 1)];
        let memory = with(|memory| memory.delivered_secrets = None);
        let mut at = situation("latest", &images, &memory);
        at.rule = None;
        assert_eq!(decide(&at), Decision::Secrets);
    }

    #[test]
    fn a_wish_is_an_earlier_release_the_newest_image_a_digest_or_a_tag_that_the_repository_holds() {
        let images = [
            image("old", "1.1.0", 2),
            image("sha256:0a", "1.0.0", 1),
            image("bad", "1.2.0", 3),
        ];
        let memory = with(|memory| {
            memory.record(release("old", "1.1.0", 2));
            memory.record(release("sha256:0a", "1.0.0", 1));
            memory.reject("bad", Some("1.2.0"));
        });
        let at = situation("semver:1", &images, &memory);
        for to in ["previous", "sha256:0a", "1.0.0"] {
            let wished = wish(&at, to, Some("old")).expect(to);
            assert_eq!(
                (wished.digest.as_str(), wished.tag.as_str()),
                ("sha256:0a", "1.0.0")
            );
        }
        let newest = wish(&at, "newest", Some("old")).expect("there is one");
        assert_eq!(newest.digest, "old", "the newest one that is not rejected");
        // Reckoned from the image that a person has before their eyes, not from what runs by then.
        let seen = wish(&at, "previous", Some("bad")).expect("there is one");
        assert_eq!(seen.digest, "old");
        for to in ["2.0.0", "sha256:0b"] {
            let sentence = wish(&at, to, Some("old")).expect_err("none");
            assert!(sentence.contains(to), "{sentence}");
        }
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
            let before = with(|memory| memory.delivered_secrets = deployed);
            let after = with(|memory| memory.delivered_secrets = secrets.clone());
            let mut at = situation(rule, &images, &before);
            at.running = None;
            at.secrets = secrets.as_deref();
            let chosen;
            match decide(&at) {
                Decision::Image(candidate) => {
                    chosen = candidate.digest;
                    at.running = Some(&chosen);
                    at.memory = &after;
                }
                Decision::Secrets => at.memory = &after,
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
            let memory = with(|memory| {
                if let Some(rejected) = &rejected {
                    memory.reject(rejected, None);
                }
            });
            let mut at = situation(rule, &images, &memory);
            at.running = running.as_deref();
            if let Decision::Image(candidate) = decide(&at) {
                let rule = TagRule::parse(rule);
                prop_assert!(rule.covers(&candidate.tag));
                prop_assert!(rejected.as_ref() != Some(&candidate.digest));
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
            let memory = with(|memory| memory.record(release(&newest.digest, &newest.tag, newest.at)));
            let left: Vec<_> = images.iter().enumerate().filter(|(n, image)| *n != gone && image.digest != newest.digest).map(|(_, image)| image.clone()).collect();
            let mut at = situation(rule, &left, &memory);
            at.running = Some(&newest.digest);
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
