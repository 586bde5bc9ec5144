//! A child process with all its descendants, none of which outlives the value.

use rustix::process::{Pid, Signal, kill_process_group};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// How long the system may take to end processes that were killed.
const FUNERAL: Duration = Duration::from_secs(5);

/// A process group of its own: the child and what it starts. Dropping it kills them all; so does the end of this program,
/// even if it is killed itself.
#[derive(Debug)]
pub(crate) struct Group {
    child: Child,
    id: Option<Pid>,
    _watch: Child,
}

/// Waits until standard input closes, which it does when this program ends, and then kills the group.
const WATCH: &str = r#"read _; kill -s KILL -- "-$0""#;

impl Group {
    /// Starts `command`, with nothing to read unless it says otherwise.
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let id = child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let watch = Command::new("sh")
            .args(["-c", WATCH, &child.id().unwrap_or_default().to_string()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        match watch {
            Ok(watch) => Ok(Self {
                child,
                id,
                _watch: watch,
            }),
            Err(error) => {
                // Nothing is started that nobody watches.
                child.start_kill()?;
                Err(error)
            }
        }
    }

    /// Runs `command` to its end, without input.
    pub(crate) async fn run(command: &mut Command) -> std::io::Result<ExitStatus> {
        Self::spawn(command.stdin(Stdio::null()))?
            .child
            .wait()
            .await
    }

    /// The child's standard output, if it was piped and not taken before.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The child's standard error, if it was piped and not taken before.
    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// The child's standard input, if it was piped and not taken before.
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for the child to end.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// How the child ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Only ESRCH is possible: all of them have ended already.
            let _ = kill_process_group(id, Signal::KILL);
        }
        let killed = Instant::now();
        while self.ended().is_none() && killed.elapsed() < FUNERAL {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
