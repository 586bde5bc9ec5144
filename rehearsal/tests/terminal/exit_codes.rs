//! What the program ends with, as `--help` and the README say. (3 is in `progress`, 130 after Ctrl-C too.)

use super::{file, rehearse, report, teardown};
use std::path::Path;
use std::process::{Output, Stdio};

/// The exit code, and what was said on standard error.
fn ends(arguments: &[&str]) -> (Option<i32>, String) {
    let output = output(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

fn output(arguments: &[&str]) -> Output {
    rehearse()
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

fn provision(spec: &Path) -> Output {
    rehearse()
        .args(["provision", "--input"])
        .arg(spec)
        .arg("--report")
        .arg(report())
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_is_wrong_before_anything_starts() {
    let text = file("not.json", "shop");
    let list = file("list.json", "[]");
    let (text, list) = (text.display().to_string(), list.display().to_string());
    for (arguments, says) in [
        (&["fly"][..], "unrecognized subcommand 'fly'"),
        (&["provision"], "--input <FILE>"),
        (&["--scale", "0"], "a number from 1 to 1000"),
        (
            &["completions", "tcsh"],
            "[possible values: bash, fish, zsh]",
        ),
        (&["teardown", "--input", "nowhere.json"], "nowhere.json: "),
        (&["provision", "--input", &text], "this is not JSON"),
        (&["deploy", "--input", &list], "error: "),
        (&["deploy", "--event", &list], "error: "),
        (
            &["rotate", "--input", "-", "--event", "-"],
            "standard input",
        ),
    ] {
        let (code, said) = ends(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(!said.contains("building"), "{arguments:?}: {said}");
    }
}

#[test]
fn who_asks_for_help_gets_it_on_standard_output_with_0() {
    let help = output(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    for code in ["0  ", "1  ", "2  ", "3  ", "130"] {
        assert!(text.contains(&format!("\n  {code}  ")), "{code}: {text}");
    }
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["deploy", "--help"],
        &["help", "park"],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.lines().count() < 75, "too long to read: {text}");
    }
}

#[test]
fn a_broken_promise_ends_with_1() {
    // Nobody can push an image before the execution looks for one.
    let spec = r#"{"app": "shop", "environment": "test", "image": {"wait_minutes": 0}, "on_failure": "keep"}"#;
    let spec = file("impatient.json", spec);
    let output = provision(&spec);
    let play = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{play}");
    assert!(
        play.contains("BROKEN") && play.contains("0 of 1 promises kept"),
        "{play}"
    );
}

#[test]
fn an_input_that_groundcrew_refuses_ends_with_2() {
    let spec = file(
        "refused.json",
        r#"{"app": "shop", "environment": "test", "databse": {}}"#,
    );
    let output = provision(&spec);
    let play = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{play}");
    assert!(play.contains("databse"), "{play}");
}

#[test]
fn a_play_that_nobody_reads_ends_with_130() {
    let mut child = teardown()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
