//! Python and the packages of the local AWS, in a virtual environment under `target/`.

use crate::console;
use crate::process::Group;
use crate::project::{self, Target};
use crate::{Error, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The newest first, so that an old `python3` of the system does not stand in the way.
const PYTHONS: [&str; 8] = [
    "python3",
    "python3.15",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python",
];

/// Exits with 0 for a Python that can make the virtual environment.
const SUITABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";

/// What [`prepare`] prepared.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The Python interpreter that has the packages of the local AWS.
    pub python: PathBuf,
    /// AWS's own model of the App Runner API, as botocore carries it (gzipped JSON).
    pub apprunner_model: PathBuf,
}

/// Prepares what the local AWS needs: a virtual environment with `rehearsal/local_aws/requirements.txt`. Takes half a
/// minute the first time and nothing after that, until the requirements change.
///
/// # Errors
/// [`Error::Prepare`], with what to do about it.
pub async fn prepare() -> Result<Prepared> {
    let folder = Target::of_this_program().rehearsal();
    let failed = |doing: &str| {
        let doing = doing.to_owned();
        move |error: std::io::Error| Error::Prepare(format!("{doing}: {error}"))
    };
    fs::create_dir_all(&folder).map_err(failed(&format!("cannot create {}", folder.display())))?;
    let requirements = project::root().join("rehearsal/local_aws/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .map_err(failed(&format!("cannot read {}", requirements.display())))?;
    let _lock = lock(&folder.join("prepare.lock"))
        .await
        .map_err(failed("cannot take the lock"))?;

    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    // Written last, so an interrupted preparation is begun again.
    let stamp = venv.join("prepared-from.txt");
    let is_prepared =
        fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && runs(&python, "").await;
    if !is_prepared {
        let system = find_python().await?;
        let _busy = console::busy(format_args!(
            "preparing the local AWS in {} (once, about half a minute)",
            venv.display()
        ));
        if venv.exists() {
            fs::remove_dir_all(&venv)
                .map_err(failed("cannot remove the old virtual environment"))?;
        }
        let log = folder.join("prepare.log");
        let output = File::create(&log).map_err(failed("cannot write a log"))?;
        run(
            &system,
            &["-m", "venv", &venv.to_string_lossy()],
            &output,
            &log,
        )
        .await?;
        let install = [
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "-r",
        ];
        run(
            &python,
            &[&install[..], &[&*requirements.to_string_lossy()]].concat(),
            &output,
            &log,
        )
        .await?;
        fs::write(&stamp, wanted).map_err(failed("cannot write the stamp"))?;
    }
    Ok(Prepared {
        apprunner_model: apprunner_model(&venv)?,
        python,
    })
}

/// Two rehearsals at once prepare one after the other.
async fn lock(path: &Path) -> std::io::Result<File> {
    let file = File::create(path)?;
    let mut busy = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if busy.is_some() => {
                tokio::time::sleep(Duration::from_millis(200)).await
            }
            Err(fs::TryLockError::WouldBlock) => {
                busy = Some(console::busy(
                    "waiting for another rehearsal that is preparing the local AWS",
                ));
            }
        }
    }
}

async fn find_python() -> Result<PathBuf> {
    for name in PYTHONS {
        if runs(Path::new(name), SUITABLE).await {
            return Ok(name.into());
        }
    }
    Err(Error::Prepare(
        "no Python 3.10 or newer with the modules venv and ensurepip was found; install one \
         (Debian, Ubuntu: `apt install python3-venv`; Fedora: `dnf install python3`; macOS: `brew install python`) \
         and run this again"
            .into(),
    ))
}

async fn runs(python: &Path, code: &str) -> bool {
    let mut command = Command::new(python);
    command
        .args(["-c", code])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Group::run(&mut command)
        .await
        .is_ok_and(|status| status.success())
}

async fn run(python: &Path, arguments: &[&str], output: &File, log: &Path) -> Result<()> {
    let failed =
        |error: std::io::Error| Error::Prepare(format!("cannot run {}: {error}", python.display()));
    let mut command = Command::new(python);
    command
        .args(arguments)
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output.try_clone().map_err(failed)?);
    if Group::run(&mut command).await.map_err(failed)?.success() {
        return Ok(());
    }
    Err(Error::Prepare(format!(
        "`{} {}` failed (the package index must be reachable the first time):\n{}",
        python.display(),
        arguments.join(" "),
        crate::tail(log)
    )))
}

fn apprunner_model(venv: &Path) -> Result<PathBuf> {
    let inside = "site-packages/botocore/data/apprunner/2020-05-15/service-2.json.gz";
    fs::read_dir(venv.join("lib"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join(inside)))
        .find(|path| path.exists())
        .ok_or_else(|| {
            Error::Prepare(format!(
                "{} does not hold botocore: remove that folder",
                venv.display()
            ))
        })
}
