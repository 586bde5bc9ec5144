use crate::project::Target;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// The folder of one run; it is removed in the end, unless it is kept or a test is failing.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    kept: AtomicBool,
}

impl RunFolder {
    pub(super) fn create() -> Result<Self> {
        static RUNS: AtomicU32 = AtomicU32::new(1);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let path = Target::of_this_program().rehearsal().join("runs").join(format!("{}-{run}", std::process::id()));
        // A killed process of the same id may have left its folder.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path)
            .map_err(|error| Error::Start(format!("cannot create {}: {error}", path.display())))?;
        Ok(Self { path, kept: AtomicBool::new(false) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) && !std::thread::panicking() {
            // What cannot be removed stays in `target/`, where it does no harm.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
