//! One process of a peer, from its start: how long it takes, and what it needs.

use crate::runtime_api::{Answer, RuntimeApi};
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a peer is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The program with its arguments.
    pub(crate) command: Vec<String>,
    /// Where the code of the function is.
    pub(crate) folder: PathBuf,
    /// All of its environment, but for the address of the Runtime API.
    pub(crate) environment: BTreeMap<String, String>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// What a cold start took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cold {
    /// From the start of the process until it asks for an event.
    pub(crate) init: Duration,
    /// From the event to the answer.
    pub(crate) first: Duration,
    /// Time on a processor until the answer, of the program and of the kernel for it.
    pub(crate) cpu: Duration,
    /// The most memory that it had until the answer, in bytes.
    pub(crate) memory: u64,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) cold: Cold,
    /// The invocations after the first.
    pub(crate) warm: Vec<Duration>,
    /// All answers, the first one first.
    pub(crate) answers: Vec<Answer>,
}

impl Program {
    /// Starts the peer, has it do the job once cold and so many times warm, and ends it.
    pub(crate) fn run(&self, event: &[u8], warm: usize) -> Result<Run, String> {
        self.start(event, warm)
            .map_err(|error| format!("{error}{}", self.tail()))
    }

    fn start(&self, event: &[u8], warm: usize) -> Result<Run, String> {
        let api = RuntimeApi::start(event).map_err(|error| error.to_string())?;
        let log = File::create(&self.log).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let (program, arguments) = self.command.split_first().ok_or("there is no command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.environment)
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let started = Instant::now();
        let child = command.spawn();
        let child = child.map_err(|error| format!("cannot start {program}: {error}"))?;
        let mut process = Process(child);
        let ready = api.next(&mut process.0)?;
        let (handed_out, answered, answer) = api.invoke(&mut process.0)?;
        let cold = Cold {
            init: ready - started,
            first: answered - handed_out,
            cpu: process
                .cpu()
                .ok_or("its time on a processor is not known")?,
            memory: process.peak_memory().ok_or("its memory is not known")?,
        };
        let mut run = Run {
            cold,
            warm: Vec::with_capacity(warm),
            answers: vec![answer],
        };
        for _ in 0..warm {
            api.next(&mut process.0)?;
            let (handed_out, answered, answer) = api.invoke(&mut process.0)?;
            run.warm.push(answered - handed_out);
            run.answers.push(answer);
        }
        api.next(&mut process.0)?;
        Ok(run)
    }

    /// The end of what it has written.
    fn tail(&self) -> String {
        const LINES: usize = 20;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| format!("\n  {line}")).collect()
    }
}

/// A child that does not outlive the value.
struct Process(Child);

impl Process {
    fn cpu(&self) -> Option<Duration> {
        let clock = clock_getcpuclockid(self.id()?).ok()?;
        clock.now().ok().map(Duration::from)
    }

    fn id(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().map(Pid::from_raw)
    }

    fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        peak_memory(&status.ok()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In bytes, of a file such as `/proc/1/status`.
fn peak_memory(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_memory_is_read_and_not_what_is_used_now() {
        let status = "Name:\tdeploy\nVmHWM:\t    6660 kB\nVmRSS:\t    6000 kB\n";
        assert_eq!(peak_memory(status), Some(6660 * 1024));
        assert_eq!(peak_memory("Name:\tdeploy\n"), None);
    }

    #[test]
    fn a_program_that_cannot_be_started_says_which_and_one_that_ends_shows_its_last_words() {
        let program = |command: &[&str]| Program {
            command: command.iter().map(|word| word.to_string()).collect(),
            folder: std::env::temp_dir(),
            environment: BTreeMap::new(),
            log: std::env::temp_dir().join(format!("cold-start-{}.log", std::process::id())),
        };
        let missing = program(&["/no/such/program"]).run(b"{}", 0).unwrap_err();
        assert!(missing.contains("/no/such/program"), "{missing}");
        let ended = program(&["sh", "-c", "echo no module named boto3; exit 3"]);
        let ended = ended.run(b"{}", 0).unwrap_err();
        assert!(
            ended.contains("exit status: 3\n  no module named boto3"),
            "{ended}"
        );
    }
}
