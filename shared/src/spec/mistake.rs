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
        }
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() {
            "the input"
        } else {
            &self.field
        };
        if self.value.is_null() {
            return write!(f, "{field}: there is no value; allowed: {}", self.allowed);
        }
        let value = self.value.to_string();
        // A value may be long, a whole object even: its beginning is enough to recognise it.
        let shown: String = value.chars().take(100).collect();
        let more = if shown.len() < value.len() { "…" } else { "" };
        write!(
            f,
            "{field}: {shown}{more} is refused; allowed: {}",
            self.allowed
        )
    }
}
