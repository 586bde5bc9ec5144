//! What a person is told, as SNS takes it.

use serde::{Deserialize, Serialize};

/// One message to the notification topic. The state machines read its two fields.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Written")]
pub struct Notification {
    subject: String,
    message: String,
}

/// One as somebody else has written it.
#[derive(Deserialize)]
struct Written {
    subject: String,
    message: String,
}

impl From<Written> for Notification {
    fn from(written: Written) -> Self {
        Self::new(&written.subject, &[written.message])
    }
}

/// As many characters as SNS takes as a subject: ASCII, on one line (API reference, `Publish`).
const LONGEST_SUBJECT: usize = 100;

/// As many bytes as SNS takes as a message (the same page).
const LONGEST_MESSAGE: usize = 256 * 1024;

/// At the end of a message that was too long.
const MORE: &str = "…";

impl Notification {
    /// A message of paragraphs; those without text are left out. What SNS would not take is replaced or cut off.
    pub fn new(subject: &str, paragraphs: &[String]) -> Self {
        let printable = |character: char| {
            if (' '..='~').contains(&character) {
                character
            } else {
                '-'
            }
        };
        let mut subject: String = subject.trim().chars().map(printable).collect();
        subject.truncate(LONGEST_SUBJECT);
        let paragraphs = paragraphs.iter().filter(|paragraph| !paragraph.is_empty());
        let paragraphs: Vec<_> = paragraphs.map(String::as_str).collect();
        let mut message = paragraphs.join("\n\n");
        if message.len() > LONGEST_MESSAGE {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE - MORE.len()));
            message.push_str(MORE);
        }
        Self { subject, message }
    }

    /// At most 100 ASCII characters on one line.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Plain text.
    pub fn message(&self) -> &str {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_what_sns_takes_and_a_message_has_no_empty_paragraph() {
        let service = "s".repeat(40);
        let told = Notification::new(
            &format!(" {service}: für \n{}", "x".repeat(100)),
            &["One.".into(), String::new(), "Two.".into()],
        );
        assert_eq!(told.subject.len(), LONGEST_SUBJECT);
        assert!(told.subject.starts_with(&service) && told.subject.is_ascii());
        assert!(!told.subject.contains('\n'));
        assert_eq!(told.message, "One.\n\nTwo.");
    }

    #[test]
    fn a_message_that_is_too_long_is_cut_between_two_characters_and_a_long_one_is_whole() {
        let longest = "x".repeat(LONGEST_MESSAGE);
        let told = Notification::new("so", std::slice::from_ref(&longest));
        assert_eq!(told.message, longest);
        let told = Notification::new("so", &["ü".repeat(LONGEST_MESSAGE)]);
        assert!(told.message.len() <= LONGEST_MESSAGE);
        assert!(told.message.ends_with("ü…"));
    }

    #[test]
    fn a_message_is_handed_on_as_its_subject_and_its_text() {
        let told = Notification::new("shop-dev: so", &["It is so.".into()]);
        let expected = serde_json::json!({"subject": "shop-dev: so", "message": "It is so."});
        assert_eq!(serde_json::to_value(&told).expect("JSON"), expected);
        let read: Notification = serde_json::from_value(expected).expect("a notification");
        assert_eq!(read, told);
    }
}
