//! What a state has come to, by its output.

use serde_json::{Value, json};

/// The outcome in a state's output: its own result, or what it left under its resource's name. Of `deploy` and `park` it is
/// what the state has found out.
pub(crate) fn outcome<'a>(state: &str, output: &'a Value) -> Option<&'a str> {
    let found_out = match state {
        "Assess" | "Hold" => &output["reason"],
        "Await the operation" => &output["operation"]["status"],
        "Smoke check" | "Bake" => &output["health"]["why"],
        "Roll back" if output["left"].is_null() => &output["deployment"]["digest"],
        "Roll back" => &output["left"],
        "Tell" => &Value::Null,
        // There is one stack in a rehearsal.
        "Plan" => &output["stacks"][0]["reason"],
        _ => {
            let state = state.to_lowercase();
            let mut words = state.split(' ');
            let under_its_name = words.find_map(|word| output[word]["outcome"].as_str());
            return output["outcome"].as_str().or(under_its_name);
        }
    };
    found_out.as_str()
}

/// Whether a state of `deploy` has found out that its service is not well.
pub(crate) fn is_unwell(state: &str, output: &Value) -> bool {
    match state {
        "Smoke check" | "Bake" => output["health"]["well"] == json!(false),
        "Await the operation" => output["operation"]["succeeded"] == json!(false),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_a_state_is_found_wherever_the_state_puts_it() {
        assert_eq!(
            outcome("Network", &json!({"outcome": "created"})),
            Some("created")
        );
        let whole = json!({"spec": {}, "service": {"outcome": "changed"}});
        assert_eq!(outcome("Service once more", &whole), Some("changed"));
        assert_eq!(outcome("Remove service", &whole), Some("changed"));
        assert_eq!(outcome("Validate", &whole), None);
        assert!(is_unwell("Bake", &json!({"health": {"well": false}})));
        assert!(!is_unwell("Settle", &json!({"health": {"well": false}})));
        let planned = json!({"stacks": [{"action": "pause", "reason": "it is night"}]});
        assert_eq!(outcome("Plan", &planned), Some("it is night"));
        let assessed = json!({"reason": "it is paused", "outcome": "Refused"});
        assert_eq!(outcome("Assess", &assessed), Some("it is paused"));
    }
}
