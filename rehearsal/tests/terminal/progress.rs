//! What is under way, on a terminal and elsewhere.

use super::screen::Screen;
use super::{rehearse, teardown};
use std::process::{Command, Stdio};

const TICKS: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// The rows that say what is under way.
fn under_way(screen: &Screen) -> Vec<String> {
    let mut rows = screen.rows();
    rows.retain(|row| row.starts_with(TICKS));
    rows
}

fn has_colours(written: &[u8]) -> bool {
    let text = String::from_utf8_lossy(written);
    let mut sequences = text.split("\x1b[").skip(1);
    sequences.any(|rest| {
        rest.trim_start_matches(|part: char| part.is_ascii_digit() || part == ';')
            .starts_with('m')
    })
}

#[test]
fn the_last_line_of_a_narrow_terminal_says_what_is_under_way_and_is_gone_at_the_end() {
    const NARROW: u16 = 40;
    let mut command = teardown();
    command.env("NO_COLOR", "1");
    let mut screen = Screen::of(command, NARROW);
    let mut seen = Vec::new();
    let status = screen.end(|screen| {
        let rows = under_way(screen);
        assert!(rows.len() <= 1, "one line is drawn: {rows:?}");
        assert!(!screen.hides_its_cursor());
        if let [row] = rows.as_slice() {
            let last = screen.rows().pop();
            assert_eq!(last.as_ref(), Some(row), "what is printed stands above");
            seen.push(row.clone());
        }
    });
    assert_eq!(status.code(), Some(0), "{}", screen.text());
    assert!(
        seen.iter()
            .any(|row| row.contains(" s  starting the local"))
    );
    let (clock, state) = (":", "  Remove ");
    let of_a_state = |row: &&String| row.contains(clock) && row.contains(state);
    let mut of_states: Vec<_> = seen.iter().filter(of_a_state).collect();
    of_states.dedup();
    assert!(of_states.len() > 5, "its clock goes on: {seen:?}");
    assert_eq!(under_way(&screen), [""; 0], "{}", screen.text());
    let rows = screen.rows();
    let at = |begin: &str| rows.iter().position(|row| row.starts_with(begin));
    assert!(at("· starting the local AWS") < at("Teardown"));
    assert!(at("Teardown") < at("Promises"), "{rows:?}");
    assert!(screen.text().contains("2 of 2 promises kept"));
    assert!(!screen.text().contains("still in"), "{}", screen.text());
    assert!(!has_colours(&screen.raw), "NO_COLOR is set");
}

#[test]
fn ctrl_c_takes_the_last_line_away_and_leaves_the_cursor() {
    let mut screen = Screen::of(teardown(), 100);
    screen.until(|screen| under_way(screen).iter().any(|row| row.contains("Remove")));
    let interrupted = Command::new("kill")
        .args(["-INT", &screen.child.id().to_string()])
        .status();
    assert!(interrupted.expect("kill runs").success());
    let status = screen.end(|_| {});
    assert_eq!(status.code(), Some(130), "{}", screen.text());
    assert_eq!(under_way(&screen), [""; 0], "{}", screen.text());
    assert!(!screen.hides_its_cursor());
    assert!(has_colours(&screen.raw), "a terminal has colours");
}

#[test]
fn after_an_error_nothing_is_under_way() {
    let mut command = teardown();
    command.env("CARGO", "false");
    let mut screen = Screen::of(command, 100);
    assert_eq!(screen.end(|_| {}).code(), Some(3), "{}", screen.text());
    let rows = screen.rows();
    assert_eq!(under_way(&screen), [""; 0], "{rows:?}");
    let [.., building, error] = rows.as_slice() else {
        panic!("{rows:?}");
    };
    assert!(building.starts_with("· building the functions"), "{rows:?}");
    assert!(error.starts_with("error: the functions could not be built"));
}

#[test]
fn a_terminal_that_cannot_rewrite_a_line_is_only_written_to() {
    let mut command = rehearse();
    command
        .args(["prepare"])
        .env("TERM", "dumb")
        .env("CARGO", "false");
    let mut screen = Screen::of(command, 100);
    assert_eq!(screen.end(|_| {}).code(), Some(3), "{}", screen.text());
    let written = String::from_utf8_lossy(&screen.raw).replace("\r\n", "\n");
    assert!(written.contains("· building the functions"), "{written:?}");
    assert!(!written.contains(['\r', '\x1b']), "{written:?}");
}

#[test]
fn nothing_is_rewritten_in_a_pipe() {
    let output = teardown().stdin(Stdio::null()).output().expect("it starts");
    for (what, written) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = String::from_utf8_lossy(written);
        assert!(!text.contains(['\r', '\x1b']), "{what}: {text:?}");
        assert!(!text.contains(TICKS), "{what}: {text:?}");
    }
    let progress = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        progress.contains("\n· starting the local AWS"),
        "{progress}"
    );
    let play = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(play.contains("\n2 of 2 promises kept\n"), "{play}");
    assert_eq!(output.status.code(), Some(0));
}
