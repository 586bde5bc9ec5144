//! What groundcrew has parked, kept in a tag of the service. Without it a service is never woken: somebody else has paused it.

use crate::stack::{TAG_PARKED, Tags};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Behind the time, until the service is seen to be paused, and again from the moment that groundcrew wakes it: whoever
/// finds it running then, and wants it asleep, goes on.
const PAUSING: &str = "pausing";

/// The tag, read.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mark {
    /// The beginning of the sleep.
    pub since: Timestamp,
    /// Whether groundcrew is about to pause the service, or to wake it. Without, one that runs was woken by somebody else.
    pub pausing: bool,
}

impl Mark {
    /// Reads the tags of a service. What nobody can have meant counts as nothing, and what a later version adds is left out.
    pub fn of(tags: &Tags) -> Option<Self> {
        let (since, rest) = match tags.get(TAG_PARKED)?.split_once(' ') {
            Some((since, rest)) => (since, rest),
            None => (tags.get(TAG_PARKED)?.as_str(), ""),
        };
        Some(Self {
            since: since.parse().ok()?,
            pausing: rest.split(' ').next() == Some(PAUSING),
        })
    }

    /// The tag.
    pub fn tag(self) -> (String, String) {
        (TAG_PARKED.into(), self.to_string())
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pausing {
            true => write!(f, "{} {PAUSING}", self.since),
            false => write!(f, "{}", self.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::NONE;

    #[test]
    fn a_mark_comes_back_as_it_was_and_anything_else_is_none() {
        let since = "2026-11-20T19:00:00Z".parse().expect("a time");
        for pausing in [true, false] {
            let mark = Mark { since, pausing };
            assert_eq!(Mark::of(&Tags::from([mark.tag()])), Some(mark));
        }
        let later = (TAG_PARKED.to_owned(), format!("{since} pausing twice"));
        let pausing = true;
        assert_eq!(
            Mark::of(&Tags::from([later])),
            Some(Mark { since, pausing })
        );
        for text in [NONE, "", "soon", "yesterday pausing"] {
            let tags = Tags::from([(TAG_PARKED.to_owned(), text.to_owned())]);
            assert_eq!(Mark::of(&tags), None, "{text}");
        }
    }
}
