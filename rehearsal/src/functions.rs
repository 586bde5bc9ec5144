//! The Lambda functions, built for the machine that the rehearsal runs on.

use crate::console::{self, Busy};
use crate::process::Group;
use crate::project::{self, Target};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;

const BUILDING: &str = "building the functions for this machine";

static BUILT: OnceCell<PathBuf> = OnceCell::const_new();

/// Builds every function and returns a folder that holds `<function>/bootstrap` for each, as `target/lambda/` does after
/// `cargo lambda build`. Done once in a process; cargo itself sees to it that unchanged functions cost nothing.
///
/// # Errors
/// [`Error::Build`]; the compiler's own words are on standard error.
pub async fn build() -> Result<&'static Path> {
    BUILT.get_or_try_init(build_now).await.map(PathBuf::as_path)
}

async fn build_now() -> Result<PathBuf> {
    let target = Target::of_this_program();
    let functions = functions()?;
    let busy = console::busy(BUILDING);
    let mut cargo = cargo(&target, &functions);
    let status = match busy.is_live() {
        true => run_quietly(&mut cargo, &busy).await,
        false => Group::run(&mut cargo).await,
    };
    let status = status.map_err(failed("cannot run cargo"))?;
    drop(busy);
    if !status.success() {
        return Err(Error::Build("see the compiler's messages above".into()));
    }
    let folder = target.rehearsal().join("lambda");
    for function in functions {
        install(&target.programs().join(&function), &folder.join(&function)).await?;
    }
    Ok(folder)
}

/// Runs cargo with its progress on our last line, in place of a line for each crate and a bar of its own.
async fn run_quietly(cargo: &mut Command, busy: &Busy) -> std::io::Result<ExitStatus> {
    let colour = if console::colourful() {
        "always"
    } else {
        "never"
    };
    cargo
        .env("CARGO_TERM_PROGRESS_WHEN", "always")
        .env("CARGO_TERM_PROGRESS_WIDTH", "100")
        .args(["--color", colour])
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    let mut group = Group::spawn(cargo)?;
    let (mut output, mut line, mut last) = (group.stderr(), Vec::new(), String::new());
    let mut buffer = [0; 4096];
    while let Some(output) = &mut output {
        let read = output.read(&mut buffer).await?;
        for byte in &buffer[..read] {
            if !matches!(byte, b'\r' | b'\n') {
                line.push(*byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            match Word::of(&anstream::adapter::strip_str(&text).to_string()) {
                Word::Progress(what) => busy.says(format_args!("{BUILDING}: {what}")),
                Word::Idle => {}
                // An empty line parts two messages; cargo's bar leaves some of its own.
                Word::Message if *byte == b'\r' || (text.is_empty() && last.is_empty()) => {}
                Word::Message => {
                    console::quote(&text);
                    last = text;
                }
            }
            line.clear();
        }
        if read == 0 {
            break;
        }
    }
    group.wait().await
}

/// What a line of cargo's is.
#[derive(Debug, PartialEq)]
enum Word {
    /// What is under way.
    Progress(String),
    /// Nothing that a person needs.
    Idle,
    /// A warning or an error, or a part of one.
    Message,
}

impl Word {
    fn of(line: &str) -> Self {
        let line = line.trim();
        let (verb, what) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            // `Building [====>    ] 12/345: aws-sdk-ec2, provision(bin)`
            "Building" if what.starts_with('[') => what
                .split_once("] ")
                .map_or(Self::Idle, |(_, what)| Self::Progress(what.to_owned())),
            "Blocking" | "Downloading" | "Updating" => Self::Progress(line.to_owned()),
            "Adding" | "Compiling" | "Dirty" | "Downloaded" | "Finished" | "Fresh" | "Locking" => {
                Self::Idle
            }
            _ => Self::Message,
        }
    }
}

/// In this program's profile, and together with it: with the same features what they share is compiled already.
fn cargo(target: &Target, functions: &[String]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--bins", "--package", env!("CARGO_PKG_NAME")]);
    for function in functions {
        cargo.args(["--package", function]);
    }
    cargo
        .args(["--profile", target.profile(), "--target-dir"])
        .arg(target.folder())
        .current_dir(project::root());
    // Cargo tells a program that it runs about its package; build scripts that watch these variables (ring's does)
    // would run again, and with them everything that depends on them.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let about_the_package = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if about_the_package
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || name == "LD_LIBRARY_PATH"
        {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Each folder of `functions/` is a package with one program of the same name.
fn functions() -> Result<Vec<String>> {
    let folder = project::root().join("functions");
    let entries = fs::read_dir(&folder).map_err(failed("cannot list functions/"))?;
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok())
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Puts a copy without symbols, a tenth of the size, where the template's `CodeUri` is looked up.
async fn install(program: &Path, folder: &Path) -> Result<()> {
    let bootstrap = folder.join("bootstrap");
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if changed(&bootstrap) >= changed(program) && changed(program).is_some() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(failed("cannot create a folder for a function"))?;
    // Renamed when it is whole, because another rehearsal may be installing the same function.
    let unfinished = folder.with_extension(std::process::id().to_string());
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&unfinished).arg(program);
    if !Group::run(&mut strip)
        .await
        .is_ok_and(|status| status.success())
    {
        fs::copy(program, &unfinished).map_err(failed("cannot copy a function"))?;
    }
    fs::rename(&unfinished, &bootstrap).map_err(failed("cannot install a function"))
}

fn failed(doing: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::Build(format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_cargo_says_a_person_sees_what_is_compiled_and_what_is_wrong() {
        let progress = |what: &str| Word::Progress(what.into());
        for (line, word) in [
            (
                "    Building [=======>    ] 344/345: aws-sdk-ec2, provision(bin)",
                progress("344/345: aws-sdk-ec2, provision(bin)"),
            ),
            (
                "    Blocking waiting for file lock on build directory",
                progress("Blocking waiting for file lock on build directory"),
            ),
            (
                "   Compiling groundcrew v0.1.0 (/home/me/groundcrew/shared)",
                Word::Idle,
            ),
            ("    Finished `dev` profile in 0.44s", Word::Idle),
            ("error[E0308]: mismatched types", Word::Message),
            ("  --> shared/src/spec.rs:3:5", Word::Message),
            ("3 |     Building [a]", Word::Message),
            ("", Word::Message),
        ] {
            assert_eq!(Word::of(line), word, "{line}");
        }
    }
}
