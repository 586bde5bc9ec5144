//! Members of a resource: what each one is, and what it is to be.

use groundcrew::Run;
use std::fmt::{self, Display, Formatter};

/// What becomes of a member that is not as it is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Becomes {
    /// The execution puts it right.
    PutRight,
    /// It stays, and is named: AWS changes it of no living resource.
    Stays,
    /// It stays: AWS moves it by itself.
    Moves,
    /// Nobody can tell: AWS does not say what it is.
    Unreadable,
}

/// A member of a resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    /// What it is called, for a person.
    pub(crate) name: &'static str,
    /// What becomes of it if it differs.
    pub(crate) becomes: Becomes,
    is: String,
    wanted: String,
    /// Whether what it is and is to be is shown to nobody.
    is_hidden: bool,
    /// Whether it opens the resource to others.
    is_urgent: bool,
}

impl Member {
    /// One that an execution puts right.
    pub(crate) fn put_right(name: &'static str, is: impl Display, wanted: impl Display) -> Self {
        Self::new(name, Becomes::PutRight, is, wanted)
    }

    /// One that AWS changes of no living resource.
    pub(crate) fn stays(name: &'static str, is: impl Display, wanted: impl Display) -> Self {
        Self::new(name, Becomes::Stays, is, wanted)
    }

    /// One that AWS moves by itself.
    pub(crate) fn moves(name: &'static str, is: impl Display, wanted: impl Display) -> Self {
        Self::new(name, Becomes::Moves, is, wanted)
    }

    /// One that AWS does not tell.
    pub(crate) fn unreadable(name: &'static str) -> Self {
        Self::new(name, Becomes::Unreadable, "", "")
    }

    /// One that an execution puts right, and of which nothing is shown but its name.
    pub(crate) fn hidden(name: &'static str, is_as_wanted: bool) -> Self {
        Self {
            is_hidden: true,
            ..Self::put_right(name, is_as_wanted, true)
        }
    }

    /// The same, of one that opens the resource to others if it differs.
    pub(crate) fn urgent(self) -> Self {
        Self {
            is_urgent: true,
            ..self
        }
    }

    fn new(name: &'static str, becomes: Becomes, is: impl Display, wanted: impl Display) -> Self {
        Self {
            name,
            becomes,
            is: is.to_string(),
            wanted: wanted.to_string(),
            is_hidden: false,
            is_urgent: false,
        }
    }

    /// Whether it is not as it is to be.
    fn differs(&self) -> bool {
        self.is != self.wanted
    }
}

impl Display for Member {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.is_hidden {
            true => f.write_str(self.name),
            false => write!(f, "{} {} → {}", self.name, self.is, self.wanted),
        }
    }
}

/// Those of the members that differ, and that become this.
pub(crate) fn differing(members: &[Member], becomes: Becomes) -> Vec<&Member> {
    let members = members.iter();
    members
        .filter(|it| it.becomes == becomes && it.differs())
        .collect()
}

/// Notes that these members of something are to be changed, those that are urgent by themselves. `false` if they are not to be
/// changed now.
pub(crate) fn change(run: &mut Run, what: &str, members: &[&Member]) -> bool {
    let (urgent, others): (Vec<_>, Vec<_>) = members.iter().partition(|it| it.is_urgent);
    let of = |members: &[&Member]| format!("{what}: {}", listed(members));
    let now = !urgent.is_empty() && run.change_urgently(of(&urgent));
    let then = !others.is_empty() && run.change(of(&others));
    now || then
}

/// Members in a sentence: `class db.t4g.large → db.t4g.micro, public true → false`.
pub(crate) fn listed(members: &[&Member]) -> String {
    let members: Vec<_> = members.iter().map(ToString::to_string).collect();
    members.join(", ")
}
