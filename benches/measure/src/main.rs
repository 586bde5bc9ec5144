//! `cargo measure`: what groundcrew costs, how fast it starts, how it scales, and what its waiting is spent on.

use clap::{Parser, Subcommand};
use figures::Figures;
use measure::{Error, Result, cold_start, nights, operations, provisioning, scale};
use rehearsal::console;
use std::process::ExitCode;

const MET: u8 = 0;
const MISSED: u8 = 1;
const BAD_ARGUMENTS: u8 = 2;
const NOT_MEASURED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  cargo measure                                  everything, one after the other
  cargo measure cold-start                       functions as Lambda starts them, beside Python, Node and a bare exchange
  cargo measure scale --services 1,10,100        a push, a rotation and a sweep that concern so many services
  cargo measure nights                           an evening and a morning of 1, 10 and 50 stacks
  cargo measure provisioning                     how long a stack takes, beside the least that it can take
  cargo measure operations                       calls, invocations, state transitions and dollars of each operation
  cargo measure operations --update-readme       … and write them where README.md has a place for them
  cargo measure --short                          a few minutes of everything; of cold starts CI does as much

Figures of what is measured as a whole are kept in target/figures/, as JSON, where reports find them. Those that the README shows are written there by --update-readme, never by hand.

All but the cold starts are measured over the local AWS of `cargo rehearse`, which needs Rust and Python 3.10 or newer. Times
are those of AWS: a database that takes six minutes there takes six minutes in them. No call leaves this machine.

Exit codes:
  0    every goal was met, or missed by no more than measurements of the same run differ
  1    a goal was missed by more than that
  2    the command line is wrong
  3    something could not be measured";

/// Measures groundcrew, and holds the figures to their goals.
#[derive(Parser)]
#[command(name = "cargo measure", bin_name = "cargo measure", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Measure less of each: minutes instead of hours
    #[arg(long, global = true)]
    short: bool,
    /// Write the figures into README.md, and the plots into docs/
    #[arg(long, global = true, conflicts_with = "short")]
    update_readme: bool,
}

#[derive(Subcommand)]
enum What {
    /// How fast functions start and answer, beside the same job in Python and Node
    ColdStart,
    /// Calls, time and memory against the number of services
    Scale {
        /// How many services a push, a rotation and a sweep concern
        #[arg(long, value_name = "N,N,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=2000))]
        services: Option<Vec<u16>>,
    },
    /// What a night of many stacks takes
    Nights {
        /// How many stacks are parked and woken
        #[arg(long, value_name = "N,N,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=200))]
        stacks: Option<Vec<u16>>,
    },
    /// Calls, invocations, state transitions and cost of each operation
    Operations,
    /// The time that a stack takes to be built, beside the least that it can take
    Provisioning {
        /// AWS seconds that pass in a second on the wall
        #[arg(long, value_name = "N", default_value_t = provisioning::TIME_SCALE, value_parser = positive)]
        scale: f64,
    },
}

impl Arguments {
    /// Whether nothing is left out, and nothing chosen.
    fn is_whole(&self) -> bool {
        let chosen = match &self.what {
            Some(What::Scale { services }) => services.is_some(),
            Some(What::Nights { stacks }) => stacks.is_some(),
            Some(What::Provisioning { scale }) => *scale != provisioning::TIME_SCALE,
            Some(What::ColdStart | What::Operations) | None => false,
        };
        !self.short && !chosen
    }
}

fn positive(given: &str) -> Result<f64, String> {
    match given.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("is a number above 0".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.update_readme && !arguments.is_whole() {
        console::error(
            &"the README shows what is measured with the defaults: leave the sizes and the scale out",
        );
        return BAD_ARGUMENTS.into();
    }
    match measure(&arguments).await {
        Ok(true) => MET.into(),
        Ok(false) => MISSED.into(),
        Err(error) => {
            console::error(&chain(&error));
            NOT_MEASURED.into()
        }
    }
}

/// Whether every goal was met.
async fn measure(arguments: &Arguments) -> Result<bool> {
    let Arguments {
        what,
        short,
        update_readme,
    } = arguments;
    let is_whole = arguments.is_whole();
    let show = |name: &str, figures: &Figures| show(name, figures, is_whole, *update_readme);
    let sizes: (&[u16], &[u16]) = if *short {
        (&scale::SHORT_SERVICES, &nights::SHORT_STACKS)
    } else {
        (&scale::SERVICES, &nights::STACKS)
    };
    match what {
        Some(What::ColdStart) => cold_start::run(*short, *update_readme).await,
        Some(What::Scale { services }) => {
            let services = services.as_deref().unwrap_or(sizes.0);
            show("scale", &scale::run(services).await?)
        }
        Some(What::Nights { stacks }) => {
            let stacks = stacks.as_deref().unwrap_or(sizes.1);
            show("nights", &nights::run(stacks).await?)
        }
        Some(What::Operations) => show("operations", &operations::run().await?),
        Some(What::Provisioning { scale }) => {
            show("provisioning", &provisioning::run(*scale, *short).await?)
        }
        None => {
            let operations = show("operations", &operations::run().await?)?;
            let provisioning = provisioning::run(provisioning::TIME_SCALE, *short).await?;
            let provisioning = show("provisioning", &provisioning)?;
            let nights = show("nights", &nights::run(sizes.1).await?)?;
            let scale = show("scale", &scale::run(sizes.0).await?)?;
            let cold_start = cold_start::run(*short, *update_readme).await?;
            Ok(operations && provisioning && nights && scale && cold_start)
        }
    }
}

/// Prints the figures, and keeps those that were measured as a whole. Whether they are what they are to be.
fn show(name: &str, figures: &Figures, is_whole: bool, update_readme: bool) -> Result<bool> {
    console::heading(&figures.title);
    console::line(figures.markdown().trim_end());
    let root = rehearsal::root();
    if is_whole {
        let kept = figures.write(root, name);
        kept.map_err(Error::io("cannot write the figures"))?;
    }
    if update_readme {
        let written = figures.write_into_readme(root, name);
        written.map_err(Error::io("cannot write them into README.md"))?;
        for plot in &figures.plots {
            let file = root.join(format!("docs/{name}-{}.svg", plot.y));
            let written = std::fs::write(&file, plot.svg());
            written.map_err(Error::io(format!("cannot write {}", file.display())))?;
        }
    }
    for goal in figures.goals.iter().filter(|goal| !goal.met_within_noise()) {
        let (what, measured, limit) = (&goal.what, goal.measured, goal.limit);
        console::error(&format_args!("{what}: {measured:.2} is not {limit}"));
    }
    Ok(figures.goals.iter().all(figures::Goal::met_within_noise))
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(chain);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_short_run_is_never_written_into_the_readme() {
        let given = ["cargo measure", "scale", "--short", "--update-readme"];
        assert!(Arguments::try_parse_from(given).is_err());
    }
}
