use crate::project::Target;
use crate::{Error, Result};
use rustix::process::{Pid, test_kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A file with this name keeps its folder from being removed.
const KEPT: &str = "kept";
/// How long a kept folder of an earlier process stays.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder of one run, `runs/{process}-{number}`. It is removed in the end, unless it is kept or a test is failing.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub(super) fn create() -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(1);
        let runs = Target::of_this_program().rehearsal().join("runs");
        sweep(&runs);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = runs.join(format!("{}-{run}", std::process::id()));
        fs::create_dir_all(&path)
            .map_err(|error| Error::Start(format!("cannot create {}: {error}", path.display())))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn keep(&self) {
        // Without the mark the folder is removed, which is a pity and no harm.
        let _ = fs::write(self.path.join(KEPT), "");
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        if !self.path.join(KEPT).exists() {
            // What cannot be removed stays in `target/`, where it does no harm.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what killed processes left, and what was kept longer than a day ago.
fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_recent = |path: &Path| {
            let age = fs::metadata(path)
                .and_then(|mark| mark.modified())
                .ok()
                .and_then(|at| at.elapsed().ok());
            age.is_some_and(|age| age < DAY)
        };
        if !is_alive(&entry.file_name().to_string_lossy()) && !is_recent(&path.join(KEPT)) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Whether the process of a folder, `{process}-{number}`, is there.
fn is_alive(folder: &str) -> bool {
    let process = folder
        .split('-')
        .next()
        .and_then(|id| Pid::from_raw(id.parse().ok()?));
    process.is_some_and(|process| test_kill_process(process).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_processes_that_are_gone_are_swept() {
        let runs = std::env::temp_dir().join(format!("rehearsal-sweep-{}", std::process::id()));
        let own = format!("{}-1", std::process::id());
        // No process has the highest id there can be.
        for folder in [&own, "2147483647-1", "2147483647-2"] {
            fs::create_dir_all(runs.join(folder)).unwrap();
        }
        fs::write(runs.join("2147483647-2").join(KEPT), "").unwrap();
        sweep(&runs);
        assert!(runs.join(own).exists());
        assert!(!runs.join("2147483647-1").exists());
        assert!(runs.join("2147483647-2").exists());
        fs::remove_dir_all(runs).unwrap();
    }
}
