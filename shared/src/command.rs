//! Commands that a person is told, to be copied into a shell.

/// Starts an execution of the state machine of an ARN, with an input of JSON.
pub fn start_execution(state_machine_arn: &str, input: &str) -> String {
    format!(
        "aws stepfunctions start-execution --state-machine-arn {state_machine_arn} --input {}",
        quoted(input)
    )
}

/// One word for a shell: within single quotes it reads everything as it is, up to the next of them.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_hands_the_input_on_as_it_is() {
        assert_eq!(
            start_execution("arn", r#"{"stack": "shop-dev"}"#),
            r#"aws stepfunctions start-execution --state-machine-arn arn --input '{"stack": "shop-dev"}'"#
        );
        let said = r#"{"why": "it's $HOME"}"#;
        let answer = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", quoted(said))])
            .output()
            .expect("a shell");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), said);
    }
}
