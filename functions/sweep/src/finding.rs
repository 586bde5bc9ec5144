//! What a sweep finds, and what becomes of it.

use serde::{Deserialize, Serialize};

/// Something that is not as it should be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What it is about: `service shop-staging`.
    pub of: String,
    /// What is the matter with it.
    pub what: String,
    /// What mends it.
    pub remedy: Remedy,
}

/// What mends a finding.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// The function `alarms`, for this service; by its ARN, also of one that is gone.
    Alarms(String),
    /// An execution of `deploy` for this service, by its ARN.
    Deploy(String),
    /// An update of this service that changes nothing else, by its ARN.
    EndAutoDeployments(String),
    /// An end to what is remembered of this service, by its ARN.
    Forget(String),
    /// A correction of what the index says that this service uses, by its ARN.
    Index(String),
    /// The removal of this log group, by its name.
    LogGroup(String),
    /// An execution of `park`.
    Park,
    /// A person, and what they do.
    Person(String),
}

/// What a person is told of a stack that differs from its spec, by which it is told once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Told {
    /// The name of the stack.
    pub stack: String,
    /// The fingerprint of what differs; `None` if nothing does any more.
    pub fingerprint: Option<String>,
}

/// What `look` answers.
#[derive(Debug, Serialize)]
pub struct Looked {
    /// How many services were looked at.
    pub services: usize,
    /// Everything that was found.
    pub findings: Vec<Finding>,
    /// Whether there is something to repair, and it is wanted.
    pub to_repair: bool,
    /// The same in words, for a batch of which nothing is repaired.
    pub swept: Swept,
}

/// What became of the stacks of a batch, in words.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Swept {
    /// What was repaired, or is being; of a look alone, what would be.
    pub repaired: Lines,
    /// What a person has to see to.
    pub for_a_person: Lines,
    /// What could not be repaired.
    pub failed: Lines,
    /// What of it is told once, until it changes. An execution of before there was such a thing says nothing.
    #[serde(default)]
    pub told: Vec<Told>,
}

/// Some lines, and how many more there were: those of all batches have to fit into the 256 KiB of a state.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Lines {
    /// The first of them.
    pub lines: Vec<String>,
    /// How many there are besides.
    pub more: usize,
}

impl Lines {
    /// Adds a line, or counts it if there is no room for it, in bytes.
    pub fn push(&mut self, line: impl Into<String>, room: usize) {
        let line = line.into();
        let held: usize = self.lines.iter().map(String::len).sum();
        if self.more == 0 && held + line.len() <= room {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lines.len() + self.more
    }
}

impl Swept {
    /// What was found, and not repaired.
    pub fn looked_at(findings: &[Finding], room: usize) -> Self {
        let mut swept = Self::default();
        for finding in findings {
            match finding.is_repairable() {
                true => swept.repaired.push(finding.to_string(), room),
                false => swept.for_a_person.push(finding.to_string(), room),
            }
        }
        swept
    }
}

impl Finding {
    /// Whether a sweep can mend it.
    pub fn is_repairable(&self) -> bool {
        !matches!(self.remedy, Remedy::Person(_))
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.of, self.what)?;
        match &self.remedy {
            Remedy::Person(advice) => write!(f, ". {advice}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_room_is_counted_and_so_is_all_that_comes_after_it() {
        let mut lines = Lines::default();
        for line in ["one", "three", "six", "x"] {
            lines.push(line, 8);
        }
        assert_eq!(lines.lines, ["one", "three"]);
        assert_eq!((lines.more, lines.count()), (2, 4));
    }
}
