//! The Lambda functions, built for the machine that the rehearsal runs on.

use crate::console::progress;
use crate::process::Group;
use crate::project::{self, Target};
use crate::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use tokio::process::Command;
use tokio::sync::OnceCell;

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
    progress("building the functions for this machine");
    let status = Group::run(&mut cargo(&target))
        .await
        .map_err(failed("cannot run cargo"))?;
    if !status.success() {
        return Err(Error::Build("see the compiler's messages above".into()));
    }
    let folder = target.rehearsal().join("lambda");
    for function in functions()? {
        install(&target.programs().join(&function), &folder.join(&function)).await?;
    }
    Ok(folder)
}

/// The whole workspace and this program's profile: with the same features everything is compiled already.
fn cargo(target: &Target) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--workspace",
            "--bins",
            "--profile",
            target.profile(),
            "--target-dir",
        ])
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
