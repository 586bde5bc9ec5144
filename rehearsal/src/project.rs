//! Where things are: the project's own files and its target folder.

use std::path::{Path, PathBuf};

/// The folder of the workspace, with `template.yaml` in it.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the rehearsal lives in a folder of the workspace")
}

/// Where cargo put the running program: the target folder (`CARGO_TARGET_DIR` is honoured, because cargo honoured it
/// when it built this program) and the profile's folder in it.
#[derive(Debug)]
pub(crate) struct Target {
    folder: PathBuf,
    profile: String,
}

impl Target {
    pub(crate) fn of_this_program() -> Self {
        let program = std::env::current_exe().expect("a running program knows its file");
        Self::of(&program).unwrap_or_else(|| Self {
            folder: root().join("target"),
            profile: "debug".into(),
        })
    }

    /// `target/debug/rehearse` and, for a test, `target/debug/deps/scenario-1f2e3d`.
    fn of(program: &Path) -> Option<Self> {
        let folder = program.parent()?;
        let folder = if folder.ends_with("deps") {
            folder.parent()?
        } else {
            folder
        };
        Some(Self {
            profile: folder.file_name()?.to_str()?.to_owned(),
            folder: folder.parent()?.to_owned(),
        })
    }

    /// The target folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the programs of this profile are.
    pub(crate) fn programs(&self) -> PathBuf {
        self.folder.join(&self.profile)
    }

    /// What `cargo build --profile` calls the profile.
    pub(crate) fn profile(&self) -> &str {
        if self.profile == "debug" {
            "dev"
        } else {
            &self.profile
        }
    }

    /// Everything that rehearsals write.
    pub(crate) fn rehearsal(&self) -> PathBuf {
        self.folder.join("rehearsal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_and_a_test_of_one_profile_have_the_same_target_folder() {
        for program in ["/build/debug/rehearse", "/build/debug/deps/scenario-1f2e"] {
            let target = Target::of(Path::new(program)).unwrap();
            assert_eq!(
                (target.folder(), target.profile()),
                (Path::new("/build"), "dev")
            );
            assert_eq!(target.programs(), Path::new("/build/debug"));
        }
        assert_eq!(
            Target::of(Path::new("/build/release/rehearse"))
                .unwrap()
                .profile(),
            "release"
        );
    }
}
