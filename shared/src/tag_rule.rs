//! Which image a service is to run: a rule over the tags of what a repository holds. It asks nobody.

use semver::Version;

/// What a service tracks in its repository.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TagRule {
    /// The image that carries this tag.
    Exact(String),
    /// The newest push whose tag begins so.
    Prefix(String),
    /// The highest version within a major version, or within a minor one.
    SemVer {
        /// The major version.
        major: u64,
        /// The minor version, if the rule is that narrow.
        minor: Option<u64>,
        /// Whether pre-releases count, `1.5.0-rc.1` for instance.
        pre_releases: bool,
    },
}

/// An image that ECR holds, as far as a tag rule looks at it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pushed {
    /// `sha256:…`
    pub digest: String,
    /// Its tags; an untagged image is never chosen.
    pub tags: Vec<String>,
    /// When it was pushed, in seconds since 1970.
    pub at: i64,
}

/// An image under a tag rule: which, by which of its tags, and since when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// `sha256:…`
    pub digest: String,
    /// The tag that the rule took it for.
    pub tag: String,
    /// When it was pushed, in seconds since 1970. Of an image that is gone: when it was deployed.
    pub at: i64,
}

impl TagRule {
    /// How a rule is written: in the characters that AWS allows in a tag's value.
    pub const PATTERN: &str = r"^(semver:[0-9]{1,9}(\.[0-9]{1,9})?(\+pre)?|prefix:[A-Za-z0-9_][A-Za-z0-9_.-]*|[A-Za-z0-9_][A-Za-z0-9_.-]*)$";

    /// Reads a rule that matches [`Self::PATTERN`].
    pub fn parse(text: &str) -> Self {
        if let Some(prefix) = text.strip_prefix("prefix:") {
            return Self::Prefix(prefix.into());
        }
        let Some(range) = text.strip_prefix("semver:") else {
            return Self::Exact(text.into());
        };
        let stable = range.strip_suffix("+pre");
        let mut numbers = stable
            .unwrap_or(range)
            .split('.')
            .map(|number| number.parse().unwrap_or(0));
        Self::SemVer {
            major: numbers.next().unwrap_or(0),
            minor: numbers.next(),
            pre_releases: stable.is_some(),
        }
    }

    /// Whether an image is tracked for this tag.
    pub fn covers(&self, tag: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == tag,
            Self::Prefix(prefix) => tag.starts_with(prefix),
            Self::SemVer {
                major,
                minor,
                pre_releases,
            } => version(tag).is_some_and(|version| {
                version.major == *major
                    && minor.is_none_or(|minor| version.minor == minor)
                    && (*pre_releases || version.pre.is_empty())
            }),
        }
    }

    /// What an image is under this rule; `None` if it has no tag that the rule covers.
    pub fn candidate(&self, image: &Pushed) -> Option<Candidate> {
        let covered = image.tags.iter().filter(|tag| self.covers(tag));
        let tag = match self {
            Self::Exact(_) | Self::Prefix(_) => covered.max()?,
            Self::SemVer { .. } => covered.max_by_key(|tag| version(tag))?,
        };
        Some(Candidate {
            digest: image.digest.clone(),
            tag: tag.clone(),
            at: image.at,
        })
    }

    /// The image that the rule chooses: the one that carries the tag, the highest version, or the newest push.
    pub fn choose(&self, images: &[Pushed]) -> Option<Candidate> {
        let candidates = images.iter().filter_map(|image| self.candidate(image));
        candidates.max_by(|one, other| self.order(one).cmp(&self.order(other)))
    }

    /// Whether an event may take a service from what it runs to this candidate. A deleted image must not take it back to
    /// an older one: going back is what a person asks for. A tag, on the other hand, is put where somebody wants it.
    pub fn goes_forward(&self, running: &Candidate, candidate: &Candidate) -> bool {
        match self {
            Self::Exact(_) => true,
            // What runs was deployed under another rule: the new rule decides.
            _ if !self.covers(&running.tag) => true,
            _ => self.order(candidate) > self.order(running),
        }
    }

    /// Whether the rule takes a candidate for a later one than another: the same image under a higher version, for instance.
    pub fn prefers(&self, candidate: &Candidate, other: &Candidate) -> bool {
        self.order(candidate) > self.order(other)
    }

    fn order<'a>(&self, candidate: &'a Candidate) -> (Option<Version>, i64, &'a str) {
        let version = match self {
            Self::SemVer { .. } => version(&candidate.tag),
            Self::Exact(_) | Self::Prefix(_) => None,
        };
        (version, candidate.at, &candidate.digest)
    }
}

/// `1.4.2` or `v1.4.2`, by the rules of semver.org.
fn version(tag: &str) -> Option<Version> {
    Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(digest: &str, tags: &[&str], at: i64) -> Pushed {
        Pushed {
            digest: digest.into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            at,
        }
    }

    fn chosen(rule: &str, images: &[Pushed]) -> Option<String> {
        let candidate = TagRule::parse(rule).choose(images);
        candidate.map(|candidate| candidate.digest)
    }

    fn at(tag: &str, at: i64) -> Candidate {
        Candidate {
            digest: format!("digest of {tag}"),
            tag: tag.into(),
            at,
        }
    }

    #[test]
    fn an_exact_rule_chooses_the_image_that_carries_the_tag_now() {
        let images = [
            pushed("a", &[], 3),
            pushed("b", &["latest", "1.0.0"], 2),
            pushed("c", &["1.1.0"], 1),
        ];
        assert_eq!(chosen("latest", &images).as_deref(), Some("b"));
        assert_eq!(chosen("2.0.0", &images), None);
    }

    #[test]
    fn a_prefix_chooses_the_newest_push_and_not_the_highest_name() {
        let images = [
            pushed("a", &["release-9"], 1),
            pushed("b", &["release-10"], 2),
            pushed("c", &["main-1"], 3),
        ];
        assert_eq!(chosen("prefix:release-", &images).as_deref(), Some("b"));
    }

    #[test]
    fn a_version_range_chooses_the_highest_release_and_neither_backports_nor_pre_releases() {
        let images = [
            pushed("backport", &["1.4.9"], 9),
            pushed("highest", &["v1.10.0"], 2),
            pushed("candidate", &["1.11.0-rc.1"], 3),
            pushed("next", &["2.0.0"], 4),
        ];
        assert_eq!(chosen("semver:1", &images).as_deref(), Some("highest"));
        assert_eq!(chosen("semver:1.4", &images).as_deref(), Some("backport"));
        assert_eq!(chosen("semver:3", &images), None);
    }

    #[test]
    fn a_pre_release_is_chosen_where_the_rule_asks_for_them_and_gives_way_to_its_release() {
        let mut images = vec![
            pushed("release", &["1.10.0"], 1),
            pushed("second", &["1.11.0-rc.10"], 2),
            pushed("first", &["1.11.0-rc.9"], 3),
        ];
        assert_eq!(chosen("semver:1+pre", &images).as_deref(), Some("second"));
        images.push(pushed("final", &["1.11.0"], 0));
        assert_eq!(chosen("semver:1+pre", &images).as_deref(), Some("final"));
    }

    #[test]
    fn a_deleted_image_takes_no_service_back_to_an_older_one() {
        let rule = TagRule::parse("semver:1");
        assert!(!rule.goes_forward(&at("1.5.0", 5), &at("1.4.9", 9)));
        assert!(rule.goes_forward(&at("1.5.0", 5), &at("1.5.1", 1)));
        assert!(!rule.goes_forward(&at("1.5.0", 5), &at("1.5.0", 5)));
        let rule = TagRule::parse("prefix:main-");
        assert!(!rule.goes_forward(&at("main-7", 7), &at("main-6", 6)));
    }

    #[test]
    fn a_tag_that_is_moved_back_and_a_rule_that_is_new_are_meant() {
        assert!(TagRule::parse("latest").goes_forward(&at("latest", 5), &at("latest", 1)));
        assert!(TagRule::parse("semver:1").goes_forward(&at("2.0.0", 5), &at("1.4.9", 1)));
    }
}
