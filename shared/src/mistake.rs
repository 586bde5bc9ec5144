//! A mistake in what somebody wrote: one for each field, with what is allowed there.

use serde_json::Value;

/// One mistake in an input: the field, its value and what is allowed there.
#[derive(Clone, Debug, PartialEq)]
pub struct Mistake {
    /// The path of the field, `service.health_check.interval` or `network.subnet_ids[1]`.
    pub field: String,
    /// The value that was found there; `null` where there was none.
    pub value: Value,
    /// What is allowed.
    pub allowed: String,
    /// What the person most likely meant, in the words to write.
    meant: Option<String>,
    /// The other fields that decide what is allowed.
    rests_on: Vec<String>,
}

impl Mistake {
    /// A mistake in `field`.
    pub fn new(
        field: impl Into<String>,
        value: impl Into<Value>,
        allowed: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.into(),
            allowed: allowed.into(),
            meant: None,
            rests_on: Vec::new(),
        }
    }

    /// With what to write instead.
    #[must_use]
    pub fn write(mut self, meant: impl Into<String>) -> Self {
        self.meant = Some(meant.into());
        self
    }

    /// With another field that decides what is allowed.
    #[must_use]
    pub fn rests_on(mut self, field: impl Into<String>) -> Self {
        self.rests_on.push(field.into());
        self
    }

    /// Whether a mistake in another field, or one within it, leaves nothing to say about this one.
    pub fn is_moot_after(&self, other: &Self) -> bool {
        let fields = self.rests_on.iter().chain([&self.field]);
        fields
            .into_iter()
            .any(|field| is_within(field, &other.field) || is_within(&other.field, field))
    }
}

/// Whether a field is another one, or a part of it.
fn is_within(field: &str, other: &str) -> bool {
    field
        .strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || other.is_empty() || rest.starts_with(['.', '[']))
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() {
            "the input"
        } else {
            &self.field
        };
        if self.value.is_null() {
            write!(f, "{field}: there is no value")?;
        } else {
            let value = self.value.to_string();
            // A value may be long, a whole object even: its beginning is enough to recognise it.
            let shown: String = value.chars().take(100).collect();
            let more = if shown.len() < value.len() { "…" } else { "" };
            write!(f, "{field}: {shown}{more} is refused")?;
        }
        write!(f, "; allowed: {}", self.allowed)?;
        match &self.meant {
            Some(meant) => write!(f, "; write {meant}"),
            None => Ok(()),
        }
    }
}
