//! How fast the functions start and answer, beside the same jobs in Python and Node, and beside the bare requests.
//!
//! Each peer is started as Lambda starts it, with a Runtime API and an AWS on loopback, over TLS whose certificates it verifies.
//! That all of them make the same calls and give the same answer is checked with every start: otherwise the run fails.

mod certificates;
mod comparison;
mod console;
mod endpoint;
mod error;
mod http;
mod jobs;
mod peers;
mod run;
mod runtime_api;
mod setup;
mod statistics;

use certificates::Certificates;
use clap::Parser;
use comparison::Comparison;
use endpoint::Endpoint;
use error::{Error, Result};
use figures::Figures;
use jobs::Job;
use peers::Cast;
use setup::Places;
use std::process::ExitCode;

const MET: u8 = 0;
const MISSED: u8 = 1;
const NOT_MEASURED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  cargo measure cold-start                        everything, some minutes once the functions are built
  cargo measure cold-start --short                trigger and deploy with few repetitions, as CI does
  cargo measure cold-start --update-readme        … everything, and into README.md
  cargo run --release --package cold-start -- --set-up-only
                                                  what takes longest, ahead of time
  cargo run --release --package cold-start -- --job deploy --repetitions 100
                                                  one job, more often

How it is done: a process is started with the environment of a Lambda function, gets one event and is ended. The peers take
turns, so that a slow minute of the machine is one for all of them. The least of what there is to be done is the floor: the
same requests as bytes that are prepared, over TLS with certificates that are verified, without an SDK.

It needs Python 3.10 or newer (boto3 is installed in target/benches/venv), and Node 20 with npm, cmake, g++, make, autoconf,
automake and libtool, which aws-lambda-ric is made with; without them the others are measured, but not for the README. No call leaves this machine.

Exit codes:
  0    every goal was met, or missed by no more than measurements of the same run differ
  1    a goal was missed by more than that
  2    the command line is wrong
  3    something could not be set up or measured, or the peers do not do the same job";

/// Measures cold starts: from the start of a process to its first answer.
#[derive(Parser)]
#[command(name = "cold-start", after_help = EXAMPLES)]
struct Arguments {
    /// Measure trigger and deploy only, with few repetitions
    #[arg(long)]
    short: bool,
    /// Build and install what is measured, and measure nothing yet
    #[arg(long, conflicts_with = "update_readme")]
    set_up_only: bool,
    /// Measure this job only; can be given more than once
    #[arg(long = "job", value_name = "JOB", value_parser = Job::NAMES)]
    jobs: Vec<String>,
    /// How often each peer is started for each job [default: 40, or 10 with --short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(5..))]
    repetitions: Option<u16>,
    /// How often each peer does each job once it is warm [default: 1500, or 150 with --short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(10..))]
    warm: Option<u16>,
    /// Write the figures into README.md, with the command that they are of
    #[arg(long, conflicts_with = "short")]
    update_readme: bool,
}

impl Arguments {
    /// Whether nothing is left out, and nothing chosen.
    fn is_whole(&self) -> bool {
        let is_chosen = self.repetitions.is_some() || self.warm.is_some();
        !self.short && self.jobs.is_empty() && !is_chosen
    }

    /// What a person types to measure the same.
    fn command(&self) -> String {
        let mut command = "cargo measure cold-start".to_owned();
        if !self.is_whole() && !self.short {
            command = "cargo run --release --package cold-start --".to_owned();
        }
        command += if self.short { " --short" } else { "" };
        let jobs = self.jobs.iter().map(|job| format!(" --job {job}"));
        command.extend(jobs);
        let chosen = [("repetitions", self.repetitions), ("warm", self.warm)];
        let chosen = chosen.map(|(name, chosen)| chosen.map(|it| format!(" --{name} {it}")));
        command.extend(chosen.into_iter().flatten());
        command
    }
}

/// The functions that events start.
const EVENT_FUNCTIONS: [&str; 5] = ["trigger", "deploy", "alarms", "park", "sweep"];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments) {
        Ok(true) => MET.into(),
        Ok(false) => MISSED.into(),
        Err(error) => {
            console::error(error);
            NOT_MEASURED.into()
        }
    }
}

/// Whether every goal was met.
fn measure(arguments: &Arguments) -> Result<bool> {
    let places = Places::of_this_program()?;
    let names: Vec<&str> = match (&arguments.jobs[..], arguments.short) {
        ([], false) => Job::NAMES.to_vec(),
        ([], true) => vec!["trigger", "deploy"],
        (jobs, _) => jobs.iter().map(String::as_str).collect(),
    };
    let jobs = names.iter().map(|name| Job::read(&places.root, name));
    let jobs: Vec<Job> = jobs.collect::<Result<_>>()?;
    let is_whole = jobs.len() == Job::NAMES.len();
    let functions = if is_whole {
        [&EVENT_FUNCTIONS[..], &["provision"]].concat()
    } else {
        jobs.iter().map(|job| job.function).collect()
    };
    setup::build(&places, &[&functions[..], &["floor"]].concat())?;
    let python = setup::python(&places)?;
    let peers: Vec<_> = jobs.iter().filter(|job| job.has_peers).collect();
    let bundles: Vec<_> = peers.iter().map(|job| job.function).collect();
    let node = setup::node(&places, &bundles);
    let node = match node {
        Ok(node) => Some(node),
        Err(why) if arguments.update_readme => return Err(why),
        Err(why) => {
            console::progress(format_args!("measured without Node: {why}"));
            None
        }
    };
    if arguments.set_up_only {
        return Ok(true);
    }
    let is_without_node = node.is_none();

    let certificates = Certificates::new()?;
    let authority = places.benches.join("authority.pem");
    let authorities = places.benches.join("authorities.pem");
    let all = setup::authorities(&python)? + &certificates.authority_pem;
    std::fs::write(&authority, &certificates.authority_pem)
        .and_then(|()| std::fs::write(&authorities, all))
        .map_err(Error::io("cannot write the authorities"))?;
    let endpoint = Endpoint::start(&certificates.server)?;
    let cast = Cast {
        places: &places,
        endpoint: &endpoint,
        authorities,
        authority,
        python,
        node,
    };
    let (repetitions, warm) = if arguments.short {
        (10, 150)
    } else {
        (40, 1500)
    };
    let repetitions = arguments.repetitions.unwrap_or(repetitions).into();
    let warm = arguments.warm.unwrap_or(warm).into();
    let mut comparison = Comparison::default();
    for job in &jobs {
        comparison.compare(&cast, job, repetitions, warm)?;
    }
    comparison.weigh(&cast, &functions)?;
    let command = arguments.command();
    let met = show(&places, &comparison.figures(&command), arguments)?;
    if is_without_node {
        console::progress("the goals beside Node were not measured: it is not there, see above");
    }
    Ok(met)
}

/// Prints the figures, and keeps those that were measured as a whole, for reports. Whether they are what they are to be.
fn show(places: &Places, figures: &Figures, arguments: &Arguments) -> Result<bool> {
    const NAME: &str = "cold-start";
    console::line(figures.markdown().trim_end());
    if arguments.is_whole() {
        let kept = figures.write(&places.root, NAME);
        kept.map_err(Error::io("cannot write the figures"))?;
    }
    if arguments.update_readme {
        let written = figures.write_into_readme(&places.root, NAME);
        written.map_err(Error::io("cannot write them into README.md"))?;
    }
    for goal in figures.goals.iter().filter(|goal| !goal.met_within_noise()) {
        let (what, measured, noise) = (&goal.what, goal.measured, goal.noise);
        console::error(format_args!(
            "{what}: {measured:.2} ± {noise:.2} is not {}",
            goal.limit
        ));
    }
    Ok(figures.goals.iter().all(figures::Goal::met_within_noise))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        <Arguments as CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_short_measurement_is_never_written_into_the_readme() {
        let given = ["cold-start", "--update-readme", "--short"];
        assert!(Arguments::try_parse_from(given).is_err());
    }

    #[test]
    fn figures_name_the_command_that_measures_the_same() {
        let command = |arguments: &[&str]| {
            let all = ["cold-start"].iter().chain(arguments);
            Arguments::parse_from(all).command()
        };
        assert_eq!(command(&[]), "cargo measure cold-start");
        assert_eq!(command(&["--short"]), "cargo measure cold-start --short");
        assert_eq!(
            command(&["--job", "trigger", "--warm", "20"]),
            "cargo run --release --package cold-start -- --job trigger --warm 20"
        );
    }
}
