//! What the shells of people complete, with their real Tab keys.

use super::screen::Screen;
use super::{file, rehearse};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A shell answers at once, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ctrl-U: whatever was typed before is gone.
const WIPE: char = '\x15';

/// A shell on a terminal, that has read what is printed for it.
struct Shell(Screen);

impl Shell {
    /// `None` where it is not installed.
    fn start(name: &str, arguments: &[&str], before: &str) -> Option<Self> {
        let installed = Command::new(name).args(["-c", "exit 0"]).status();
        if installed.is_err() {
            eprintln!("{name} is not installed: what it completes is not tested");
            return None;
        }
        let printed = rehearse()
            .args(["completions", name])
            .output()
            .expect("it starts");
        assert!(printed.status.success(), "{printed:?}");
        let script = String::from_utf8_lossy(&printed.stdout);
        let script = file(&format!("completions.{name}"), &script);
        // It is to complete the name of the program where it lies.
        let programs = Path::new(env!("CARGO_BIN_EXE_rehearse"));
        let programs = programs.parent().expect("it lies in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        // fish asks whether the terminal is its own.
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", name])
            .args(arguments)
            .current_dir(rehearsal::root())
            .env("TERM", "xterm")
            .env("PATH", format!("{}:{path}", programs.display()))
            .env_remove("INPUTRC")
            .env_remove("LS_COLORS");
        let mut shell = Self(Screen::of(command, 120));
        shell.0.patience = PATIENCE;
        shell.0.press(&format!(
            "{before}source {}; echo re''ady\n",
            script.display()
        ));
        shell
            .0
            .until(|screen| screen.rows().iter().any(|row| row == "ready"));
        Some(shell)
    }

    /// Types `keys` on a line of its own, until that line is `to`.
    fn completes(&mut self, keys: &str, to: &str) {
        self.0.press(&format!("{WIPE}{keys}"));
        // zsh goes on with the sign that stands before a value.
        let line = |text: &str| text.trim_end_matches([' ', '\n', '=']).ends_with(to);
        self.0.until(|screen| line(&screen.text()));
    }

    /// Types `keys` on a line of its own, until these words are shown.
    fn lists(&mut self, keys: &str, words: &[&str]) {
        self.0.press(&format!("{WIPE}{keys}"));
        self.0.until(|screen| {
            let text = screen.text();
            words.iter().all(|word| text.contains(word))
        });
    }

    fn completes_cargo_rehearse(&mut self) {
        self.completes("cargo rehearse dep\t", "cargo rehearse deploy");
        self.completes(
            "cargo rehearse deploy --ev\t",
            "cargo rehearse deploy --event",
        );
        self.completes(
            "cargo rehearse deploy --event events/ecr-push-fai\t",
            "cargo rehearse deploy --event events/ecr-push-failure.json",
        );
        self.completes("cargo rehea\t", "cargo rehearse");
        self.completes("rehearse teard\t", "rehearse teardown");
        self.lists(
            "cargo rehearse \t\t",
            &["provision", "rollback", "prepare", "completions"],
        );
    }
}

const BASH: [&str; 3] = ["--norc", "--noprofile", "-i"];

#[test]
fn bash_completes_flows_options_and_files() {
    let shell = Shell::start("bash", &BASH, "PS1='> '; ");
    shell
        .expect("bash is everywhere")
        .completes_cargo_rehearse();
}

#[test]
fn bash_completes_the_rest_of_cargo_as_before() {
    let before = "_before() { COMPREPLY=($(compgen -W 'build report' -- \"$2\")); }; complete -F _before cargo; PS1='> '; ";
    let mut shell = Shell::start("bash", &BASH, before).expect("bash is everywhere");
    shell.completes("cargo bui\t", "cargo build");
    shell.completes("cargo rep\t", "cargo report");
    shell.completes("cargo reh\t", "cargo rehearse");
    shell.completes("cargo rehearse pro\t", "cargo rehearse provision");
    shell.completes(
        "cargo -q rehearse ter\x7f\x7fear\t",
        "cargo -q rehearse teardown",
    );
}

#[test]
fn zsh_completes_flows_options_and_files() {
    let before = "PS1='> '; autoload -U compinit; compinit -u -D; ";
    if let Some(mut shell) = Shell::start("zsh", &["-f", "-i"], before) {
        shell.completes_cargo_rehearse();
    }
}

#[test]
fn fish_completes_flows_options_and_files() {
    if let Some(mut shell) = Shell::start("fish", &["--no-config", "-i"], "") {
        shell.completes_cargo_rehearse();
    }
}
