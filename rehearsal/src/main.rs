//! `cargo rehearse`: groundcrew on this machine, with no AWS account and no Docker.

mod completions;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};
use completions::Shell;
use rehearsal::{
    Deployments, Error, LocalAws, Occasion, Options, Played, Result, Stage, World, console,
    promises, record::Record,
};
use serde_json::Value;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

const KEPT: u8 = 0;
const BROKEN: u8 = 1;
const BAD_INPUT: u8 = 2;
const NO_LOCAL_AWS: u8 = 3;
const INTERRUPTED: u8 = 130;

const ABOUT: &str = "\
Rehearses groundcrew on this machine: no AWS account, no Docker

Starts a local AWS, deploys template.yaml on it as CloudFormation would, runs the real state
machines with the real functions, shows each state as it happens, and ends with a table of the
promises that were kept. Without a command everything is played: ten days in the life of a stack.";

const MORE: &str = "\
Examples:
  cargo rehearse                                  everything, with the inputs in events/
  cargo rehearse provision --input my-stack.json  a stack of your own spec, built and checked
  cargo rehearse deploy --event my-event.json     whom an event of AWS concerns, and what comes of it
  cargo rehearse park --keep                      a night; then look around with the aws CLI
  cargo rehearse --scale 20                       ten times slower than usual, to watch
  cargo rehearse deploy --report deploy.html      with its report there: timelines, calls, promises
  cargo rehearse deploy --json >deploy.json       the same as one JSON document
  cargo rehearse help deploy                      more about one command

Nothing is needed but Rust and Python 3.10 or newer. The first run downloads the local AWS into
target/rehearsal and builds the functions; after that no call leaves this machine: everything
listens on 127.0.0.1, and your AWS credentials are not read.

The times shown are those of AWS: at a scale of 200, a database that takes six minutes there is
ready in two seconds. The play is written to standard output (with --json to standard error),
progress to standard error. On a terminal the last line says what is under way; elsewhere no line
is ever rewritten. NO_COLOR turns the colours off.

Exit codes:
  0    every promise was kept
  1    a promise was broken
  2    the command line or the input is wrong
  3    the rehearsal itself failed: preparing, building, the local AWS, or writing the report
  130  interrupted, or nobody reads the output any more; nothing is left running";

const OF_PROVISION: &str = "\
The local AWS is empty: an existing VPC, repository or secret that the spec names is not there.
docs/spec.md lists every field.

Examples:
  cargo rehearse provision --input events/provision.json
  jq '.dry_run = true' my-stack.json | cargo rehearse provision --input -
                                   only says what would be created";

const OF_EVENTS: &str = "\
With --event, the event is all that trigger hears: what it is about (a push of that tag, a new
version of that secret) has happened before, while the service was held. The events in events/
are those of the stack in events/provision.json; one that concerns no service says so, and lists
the services.

Examples:
  cargo rehearse deploy --input my-stack.json   by the tag rule and the policy of your own stack
  cargo rehearse deploy --event events/ecr-push.json
  cargo rehearse rotate --event events/secret-label-updated.json";

const OF_NIGHTS: &str = "\
Nights are played at the next days of work in Europe/Berlin: the schedule of the template fires
at the moments that its own expression names. The environment of the spec sleeps from 20:00 to
07:00. A stack that cannot be parked (database.read_replica) says so, and has no nights.";

const OF_TEARDOWN: &str = "\
The local AWS is empty: there is no such stack, and its teardown succeeds all the same. That of a
stack that is there is part of `cargo rehearse` without a command.";

/// Rehearses groundcrew on this machine: no AWS account, no Docker
#[derive(Parser)]
#[command(name = "cargo rehearse", bin_name = "cargo rehearse", long_about = ABOUT, after_help = MORE)]
struct Arguments {
    #[command(subcommand)]
    flow: Option<Flow>,
    /// AWS seconds that pass in a second on the wall
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = rehearsal::TIME_SCALE,
        value_parser = scale,
        value_hint = ValueHint::Other
    )]
    scale: f64,
    /// Leave the local AWS up at the end, until Ctrl-C
    #[arg(long, global = true)]
    keep: bool,
    /// Where the report is written, an HTML page [default: report.html in target/rehearsal]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Print the record of the play as one JSON document at its end; the play itself goes to standard error
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Flow {
    /// Build one stack from a spec
    #[command(after_help = OF_PROVISION)]
    Provision {
        /// The spec, a JSON file; - for standard input
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        input: PathBuf,
    },
    /// Push an image to a stack, and follow its deployment
    #[command(after_help = OF_EVENTS)]
    Deploy(Happens),
    /// Rotate the secret of a stack, and follow its delivery
    #[command(after_help = OF_EVENTS)]
    Rotate(Happens),
    /// Push images that are taken back by themselves, then go back by hand
    #[command(after_help = OF_EVENTS)]
    Rollback(Happens),
    /// Let the evening come, and the morning, and a week of holidays
    #[command(after_help = OF_NIGHTS)]
    Park {
        /// The spec of the stack, a JSON file; - for standard input [default: events/provision.json]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        input: Option<PathBuf>,
    },
    /// Lose events of AWS, and sweep up what they were of
    Sweep {
        /// The spec of the stack, a JSON file; - for standard input [default: events/provision.json]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        input: Option<PathBuf>,
    },
    /// Remove one stack
    #[command(after_help = OF_TEARDOWN)]
    Teardown {
        /// What to remove, a JSON file; - for standard input
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        input: PathBuf,
    },
    /// Only download what the local AWS needs, and build the functions
    Prepare,
    /// Print what makes a shell complete these commands, their options and files
    #[command(after_help = completions::INSTALL)]
    Completions {
        /// The shell to be sourced by
        shell: Shell,
    },
}

#[derive(Args)]
struct Happens {
    /// The spec of the stack, a JSON file; - for standard input [default: events/provision.json]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// An event of AWS, a JSON file, to be put on the bus as it is; - for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    event: Option<PathBuf>,
}

impl Happens {
    fn read(&self, occasion: Occasion) -> Result<Play> {
        let is_stdin = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
        if is_stdin(&self.input) && is_stdin(&self.event) {
            return Err(Error::Input(
                "standard input holds either the spec or the event".into(),
            ));
        }
        let spec = self.input.clone().unwrap_or_else(example);
        let event = self.event.as_deref().map(read).transpose()?;
        let deployments = Deployments::new(occasion, read(&spec)?, event)?;
        Ok(Play::Deployments(Box::new(deployments)))
    }
}

/// What no event of a person can be about.
fn by_itself(occasion: Occasion, input: &Option<PathBuf>) -> Result<Play> {
    let spec = read(&input.clone().unwrap_or_else(example))?;
    let deployments = Deployments::new(occasion, spec, None)?;
    Ok(Play::Deployments(Box::new(deployments)))
}

fn example() -> PathBuf {
    rehearsal::root().join("events/provision.json")
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    console::live();
    let code = tokio::select! {
        biased;
        code = rehearse(&arguments) => code,
        () = interrupted() => INTERRUPTED,
        () = console::closed() => INTERRUPTED,
    };
    code.into()
}

async fn rehearse(arguments: &Arguments) -> u8 {
    match play(arguments).await {
        Ok(code) => code,
        Err(error) => {
            console::error(&error);
            if matches!(error, Error::Input(_)) {
                BAD_INPUT
            } else {
                NO_LOCAL_AWS
            }
        }
    }
}

/// What is to be played, with all its input, which is read before anything is started.
enum Play {
    Everything {
        spec: Value,
        deployments: Box<Deployments>,
        removal: Value,
    },
    Provision {
        spec: Value,
    },
    Deployments(Box<Deployments>),
    Teardown {
        removal: Value,
    },
}

impl Play {
    /// What the template is deployed with.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Everything { deployments, .. } | Self::Deployments(deployments) => {
                deployments.parameters()
            }
            Self::Provision { .. } | Self::Teardown { .. } => Vec::new(),
        }
    }

    async fn on(&self, stage: &Stage) -> Result<Played> {
        match self {
            Self::Everything {
                spec,
                deployments,
                removal,
            } => stage.everything(spec, deployments, removal).await,
            Self::Deployments(deployments) => stage.deployments(deployments).await,
            Self::Provision { spec } => stage.provision(spec).await,
            Self::Teardown { removal } => {
                let before = World::look(stage.local()).await?;
                stage.tear_down(removal, &before).await
            }
        }
    }
}

async fn play(arguments: &Arguments) -> Result<u8> {
    let play = match &arguments.flow {
        None => Play::Everything {
            spec: read(&example())?,
            deployments: Box::new(Deployments::new(Occasion::All, read(&example())?, None)?),
            removal: read(&rehearsal::root().join("events/teardown.json"))?,
        },
        Some(Flow::Provision { input }) => Play::Provision { spec: read(input)? },
        Some(Flow::Deploy(happens)) => happens.read(Occasion::Push)?,
        Some(Flow::Rotate(happens)) => happens.read(Occasion::Rotation)?,
        Some(Flow::Rollback(happens)) => happens.read(Occasion::BadImage)?,
        Some(Flow::Park { input }) => by_itself(Occasion::Nights, input)?,
        Some(Flow::Sweep { input }) => by_itself(Occasion::Sweep, input)?,
        Some(Flow::Teardown { input }) => Play::Teardown {
            removal: read(input)?,
        },
        Some(Flow::Completions { shell }) => {
            console::line(completions::script(*shell, Arguments::command()).trim_end());
            return Ok(KEPT);
        }
        Some(Flow::Prepare) => {
            rehearsal::prepare().await?;
            rehearsal::build().await?;
            return Ok(KEPT);
        }
    };
    let report = Report::to(arguments.report.clone())?;
    if arguments.json {
        console::play_on_standard_error();
    }
    let options = Options {
        time_scale: arguments.scale,
    };
    let stage = Stage::set(options, &play.parameters()).await?;
    let playing = console::playing();
    let played = play.on(&stage).await.inspect_err(|_| keep(stage.local()));
    drop(playing);
    let arguments_given = std::env::args_os().skip(1);
    let command = command(arguments_given.map(|given| given.to_string_lossy().into_owned()));
    let record = stage.record(&command, played.as_ref().err()).await;
    let played = match played {
        Ok(played) => played,
        Err(error) => {
            if let Err(unwritten) = report.write(&stage, &record, arguments.json) {
                console::error(&unwritten);
            }
            return Err(error);
        }
    };
    let is_own_input = !matches!(play, Play::Everything { .. });
    let code = if is_own_input && played.end.error == "Invalid" {
        BAD_INPUT
    } else {
        promises::table(&played.checked);
        if played.checked.iter().all(|promise| promise.verdict.is_ok()) {
            KEPT
        } else {
            BROKEN
        }
    };
    if code == BROKEN {
        keep(stage.local());
    }
    report.write(&stage, &record, arguments.json)?;
    if arguments.keep {
        // Listened for before anybody is told of Ctrl-C.
        let interrupted = interrupted();
        explain(&stage)?;
        interrupted.await;
    }
    Ok(code)
}

/// The command that plays the same again: where its report goes makes no difference.
fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["cargo rehearse".to_owned()];
    let mut is_file = false;
    for argument in arguments {
        if std::mem::take(&mut is_file) || argument == "--json" || argument.starts_with("--report=")
        {
            continue;
        }
        is_file = argument == "--report";
        if !is_file {
            words.push(argument);
        }
    }
    words.join(" ")
}

/// The file that the report goes to.
struct Report(PathBuf);

impl Report {
    /// Nobody waits for a play whose report has no place.
    fn to(file: Option<PathBuf>) -> Result<Self> {
        let file = file.unwrap_or_else(rehearsal::report::file);
        let folder = file.parent().filter(|folder| *folder != Path::new(""));
        let made = folder.map_or(Ok(()), std::fs::create_dir_all);
        match made {
            Err(error) => Err(Error::Input(format!("{}: {error}", file.display()))),
            Ok(()) if file.is_dir() => Err(Error::Input(format!(
                "{} is a folder: --report names a file",
                file.display()
            ))),
            Ok(()) => Ok(Self(file)),
        }
    }

    fn write(&self, stage: &Stage, record: &Record, json: bool) -> Result<()> {
        let failed =
            |error: &dyn std::fmt::Display| Error::Report(format!("{}: {error}", self.0.display()));
        let page = rehearsal::report::html(record);
        let document = record.json().map_err(|error| failed(&error))?;
        if stage.is_disclosed_by(&page) || stage.is_disclosed_by(&document) {
            return Err(failed(&"the password of a database would be in it"));
        }
        std::fs::write(&self.0, page).map_err(|error| failed(&error))?;
        console::line(format_args!("\nThe report is in {}", self.0.display()));
        if json {
            console::document(&document);
        }
        Ok(())
    }
}

fn keep(local: &LocalAws) {
    local.keep_folder();
    console::progress(format!("logs are in {}", local.folder().display()));
}

/// How to reach the local AWS from another terminal.
fn explain(stage: &Stage) -> Result<()> {
    console::heading("The local AWS is up until Ctrl-C. In another terminal:");
    for (name, value) in stage.local().environment() {
        console::line(format_args!("export {name}={value}"));
    }
    console::line("aws apprunner list-services");
    console::line("aws stepfunctions start-execution --input file://my-stack.json \\");
    console::line(format_args!(
        "  --state-machine-arn {}",
        stage.outputs().get("ProvisionStateMachineArn")?
    ));
    let authority = stage.local().certificate_authority();
    console::line(format_args!(
        "curl --cacert {} https://…  # the address of a service",
        authority.display()
    ));
    Ok(())
}

/// Ends with the next Ctrl-C, or `kill`, from the moment of this call on.
fn interrupted() -> impl Future<Output = ()> {
    let signals = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = signals.expect("a process may listen to its own signals");
    async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

fn read(input: &Path) -> Result<Value> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Input(format!("{}: {error}", input.display()));
    let text = if input == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(input)
    };
    let text = text.map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&format!("this is not JSON: {error}")))
}

fn scale(text: &str) -> Result<f64, String> {
    let allowed = 1.0..=1000.0;
    let scale = text.parse().ok().filter(|scale| allowed.contains(scale));
    scale.ok_or_else(|| format!("a number from {} to {}", allowed.start(), allowed.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_command_in_the_report_plays_the_same_again() {
        let command = |line: &str| command(line.split(' ').map(str::to_owned));
        let again = "cargo rehearse deploy --scale 20";
        assert_eq!(command("deploy --json --report a.html --scale 20"), again);
        assert_eq!(command("deploy --report=a.html --scale 20"), again);
    }

    #[test]
    fn a_scale_is_a_number_within_reason() {
        assert_eq!(scale("20"), Ok(20.0));
        for refused in ["0", "-1", "NaN", "inf", "5000", "fast"] {
            assert!(scale(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn input_that_is_no_json_is_refused_with_its_file_and_place() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let message = read(&file).unwrap_err().to_string();
        assert!(
            message.contains("Cargo.toml") && message.contains("line 1"),
            "{message}"
        );
    }
}
