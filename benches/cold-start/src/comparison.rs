//! Takes the measurements, holds the peers to the same job, and makes figures of them.

use crate::endpoint::Named;
use crate::jobs::Job;
use crate::peers::{Cast, Peer};
use crate::run::{Cold, Run};
use crate::statistics::{Ratio, median, percentile};
use crate::{Error, Result, console};
use figures::{Figures, Goal, Limit, Table};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many processes the warm invocations are spread over.
const ROUNDS: usize = 3;

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    jobs: Vec<Measured>,
    /// The programs and what they are when they are packed, in bytes.
    weights: Vec<(String, u64, u64)>,
}

/// What was measured of a job.
#[derive(Debug)]
struct Measured {
    name: &'static str,
    about: &'static str,
    /// How many calls it makes, and of how many services.
    calls: (usize, usize),
    over_floor: f64,
    peers: BTreeMap<Peer, Series>,
}

/// What was measured of a peer.
#[derive(Debug, Default)]
struct Series {
    cold: Vec<Cold>,
    warm: Vec<Duration>,
    /// Its deployment package, in bytes.
    package: Option<u64>,
}

/// What every peer has to do.
struct Standard {
    calls: Vec<Named>,
    answer: Value,
}

impl Comparison {
    /// Has all peers do a job, in turn.
    pub(crate) fn compare(
        &mut self,
        cast: &Cast<'_>,
        job: &Job,
        repetitions: usize,
        warm: usize,
    ) -> Result<()> {
        cast.endpoint.answer_with(&job.answers);
        let standard = standard(cast, job)?;
        let peers = cast.peers(job);
        let mut series: BTreeMap<Peer, Series> = BTreeMap::new();
        console::progress(format_args!(
            "{}: {repetitions} cold starts of each of {} peers",
            job.name,
            peers.len()
        ));
        // The first start of each finds nothing in the caches of the file system, and does not count.
        for repetition in 0..=repetitions {
            for peer in &peers {
                let run = standard.hold(cast, *peer, job, 0)?;
                if repetition > 0 {
                    series.entry(*peer).or_default().cold.push(run.cold);
                }
            }
        }
        console::progress(format_args!(
            "{}: {warm} warm invocations of each",
            job.name
        ));
        for _ in 0..ROUNDS {
            for peer in &peers {
                let run = standard.hold(cast, *peer, job, warm.div_ceil(ROUNDS))?;
                series.entry(*peer).or_default().warm.extend(run.warm);
            }
        }
        for (peer, series) in &mut series {
            series.package = package(cast, *peer, job)?;
        }
        self.jobs.push(Measured {
            name: job.name,
            about: job.about,
            calls: standard.count(),
            over_floor: job.over_floor,
            peers: series,
        });
        Ok(())
    }

    /// Weighs the programs of these functions.
    pub(crate) fn weigh(&mut self, cast: &Cast<'_>, functions: &[&str]) -> Result<()> {
        for function in functions {
            let program = cast.places.programs.join(function);
            let size = std::fs::metadata(&program).map(|file| file.len());
            let size = size.map_err(Error::io(format!("cannot read {}", program.display())))?;
            let packed = packed(&[program])?;
            self.weights.push(((*function).to_owned(), size, packed));
        }
        Ok(())
    }

    /// The tables and the goals.
    pub(crate) fn figures(&self, command: &str) -> Figures {
        let mut figures = Figures::new("Cold starts", command);
        for job in &self.jobs {
            figures.tables.push(job.table());
            figures.goals.extend(job.goals());
        }
        figures.tables.push(self.sizes());
        for (function, _, packed) in &self.weights {
            let limit = if function == "provision" { 4.5 } else { 2.0 };
            let reached = WEIGHTS.iter().find(|(name, _)| name == function);
            figures.goals.push(Goal {
                what: format!("{function}, zipped, in MB"),
                measured: megabytes(*packed),
                noise: 0.0,
                limit: Limit::AtMost(limit),
                held: reached.map(|(_, reached)| Limit::AtMost(*reached)),
            });
        }
        figures
    }

    fn sizes(&self) -> Table {
        let row = |(function, size, packed): &(String, u64, u64)| {
            let size = format!("{:.2}", megabytes(*size));
            vec![function.clone(), size, format!("{:.2}", megabytes(*packed))]
        };
        Table {
            caption: "Sizes of the functions".into(),
            columns: ["function", "program, MB", "zipped, MB"]
                .map(str::to_owned)
                .to_vec(),
            rows: self.weights.iter().map(row).collect(),
        }
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What our function does is what the others have to do; the floor repeats it byte by byte.
fn standard(cast: &Cast<'_>, job: &Job) -> Result<Standard> {
    let failed = |reason: String| Error::Peer {
        peer: "groundcrew".into(),
        job: job.name.into(),
        reason,
    };
    cast.endpoint.take_calls();
    let program = cast.program(Peer::Groundcrew, job);
    let run = program.run(&job.event, 0).map_err(failed)?;
    let calls = cast.endpoint.take_calls();
    let answer = &run.answers[0];
    if !job.is_done(&answer.value()) {
        let calls: String = calls
            .iter()
            .map(|call| format!("\n  {}", call.named()))
            .collect();
        return Err(failed(format!(
            "it answered {} after{calls}",
            answer.value()
        )));
    }
    cast.write_script(job, &calls, answer)?;
    Ok(Standard {
        calls: calls.iter().map(|call| call.named()).collect(),
        answer: answer.value(),
    })
}

impl Standard {
    /// How many calls there are, and of how many services.
    fn count(&self) -> (usize, usize) {
        let services: BTreeSet<_> = self.calls.iter().map(Named::service).collect();
        (self.calls.len(), services.len())
    }

    /// Has a peer do the job, and sees to it that it was the same one.
    fn hold(&self, cast: &Cast<'_>, peer: Peer, job: &Job, warm: usize) -> Result<Run> {
        let name = peer.name().replace('*', "");
        let run = cast.program(peer, job).run(&job.event, warm);
        let run = run.map_err(|reason| Error::Peer {
            peer: name.clone(),
            job: job.name.into(),
            reason,
        })?;
        let calls = cast.endpoint.take_calls();
        let calls: Vec<Named> = calls.iter().map(|call| call.named()).collect();
        let unfair = |what: String| Error::Unfair(format!("{}, {name}: {what}", job.name));
        for answer in &run.answers {
            if answer.value() != self.answer {
                let (found, wanted) = (answer.value(), &self.answer);
                return Err(unfair(format!("it answers {found} instead of {wanted}")));
            }
        }
        if let Some(difference) = difference(&self.calls, &calls, warm + 1) {
            return Err(unfair(difference));
        }
        Ok(run)
    }
}

/// The first call that is not what it should be in so many invocations.
fn difference(wanted: &[Named], found: &[Named], invocations: usize) -> Option<String> {
    let all = wanted.iter().cycle().take(wanted.len() * invocations);
    for (n, wanted) in all.enumerate() {
        match found.get(n) {
            Some(found) if found == wanted => {}
            Some(found) => return Some(format!("it calls {found} instead of {wanted}")),
            None => return Some(format!("it does not call {wanted}")),
        }
    }
    let more = found.get(wanted.len() * invocations)?;
    Some(format!("it calls {more}, too"))
}

/// The size of what a person uploads: the program, the bundle, or the code alone where the managed runtime brings the SDK.
fn package(cast: &Cast<'_>, peer: Peer, job: &Job) -> Result<Option<u64>> {
    let programs = &cast.places.programs;
    let python = cast.places.root.join("benches/peers/python");
    let function = job.function;
    let files = match (peer, &cast.node) {
        (Peer::Floor, _) => vec![programs.join("floor")],
        (Peer::Groundcrew, _) => vec![programs.join(function)],
        (Peer::Python, _) => {
            let files = [function, "services"];
            files
                .map(|name| python.join(name).with_extension("py"))
                .to_vec()
        }
        (Peer::Node, Some(node)) => vec![node.bundles.join(function).with_extension("mjs")],
        (Peer::Node, None) => return Ok(None),
    };
    packed(&files).map(Some)
}

/// The size of files as a zip archive holds them.
fn packed(files: &[PathBuf]) -> Result<u64> {
    let pack = |file: &Path| {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&std::fs::read(file)?)?;
        packed.finish().map(|packed| packed.len() as u64)
    };
    let sizes = files
        .iter()
        .map(|file| pack(file).map_err(Error::io(format!("cannot pack {}", file.display()))));
    sizes.sum()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Series {
    fn of(&self, what: impl Fn(&Cold) -> f64) -> Vec<f64> {
        self.cold.iter().map(what).collect()
    }

    fn cold(&self) -> Vec<f64> {
        self.of(|cold| milliseconds(cold.init + cold.first))
    }

    fn memory(&self) -> Vec<f64> {
        self.of(|cold| cold.memory as f64 / f64::from(1 << 20))
    }
}

impl Measured {
    fn table(&self) -> Table {
        let (calls, services) = self.calls;
        let columns = [
            "",
            "init, ms",
            "first answer, ms",
            "cold: both, ms",
            "cold / floor",
            "cold / groundcrew",
            "warm p50, ms",
            "warm p99, ms",
            "CPU, ms",
            "memory, MiB",
            "zipped, MB",
        ];
        Table {
            caption: format!(
                "`{}`, {} ({calls} calls of {services} services)",
                self.name, self.about
            ),
            columns: columns.map(str::to_owned).to_vec(),
            rows: self
                .peers
                .iter()
                .map(|(peer, series)| self.row(*peer, series))
                .collect(),
        }
    }

    fn row(&self, peer: Peer, series: &Series) -> Vec<String> {
        let shown = |values: Vec<f64>| readable(median(&values));
        let warm: Vec<f64> = series.warm.iter().copied().map(milliseconds).collect();
        let over = |reference: Peer| {
            let reference = &self.peers[&reference];
            readable(Ratio::of(&series.cold(), &reference.cold()).value)
        };
        let package = series
            .package
            .map(|bytes| format!("{:.2}", megabytes(bytes)));
        vec![
            peer.name().to_owned(),
            shown(series.of(|cold| milliseconds(cold.init))),
            shown(series.of(|cold| milliseconds(cold.first))),
            shown(series.cold()),
            over(Peer::Floor),
            over(Peer::Groundcrew),
            readable(percentile(&warm, 0.5)),
            readable(percentile(&warm, 0.99)),
            shown(series.of(|cold| milliseconds(cold.cpu))),
            shown(series.memory()),
            package.unwrap_or_default(),
        ]
    }

    fn goals(&self) -> Vec<Goal> {
        let name = self.name;
        let [floor, ours] = [Peer::Floor, Peer::Groundcrew].map(|peer| &self.peers[&peer]);
        let goal = |what: String, ratio: Ratio, limit| Goal {
            what,
            measured: ratio.value,
            noise: ratio.noise,
            limit,
            held: None,
        };
        let mut goals = vec![goal(
            format!("{name}: cold start, times that of the floor"),
            Ratio::of(&ours.cold(), &floor.cold()),
            Limit::AtMost(self.over_floor),
        )];
        for (peer, language, least, reached) in [
            (Peer::Python, "Python", 55.0, 30.0),
            (Peer::Node, "Node", 35.0, 16.0),
        ] {
            if let Some(theirs) = self.peers.get(&peer) {
                let what = format!("{name}: cold start, times faster than {language}");
                let faster = Ratio::of(&theirs.cold(), &ours.cold());
                goals.push(Goal {
                    held: Some(Limit::AtLeast(reached)),
                    ..goal(what, faster, Limit::AtLeast(least))
                });
            }
        }
        if let Some(python) = self.peers.get(&Peer::Python) {
            goals.push(goal(
                format!("{name}: memory, times less than Python"),
                Ratio::of(&python.memory(), &ours.memory()),
                Limit::AtLeast(6.0),
            ));
        }
        goals
    }
}

/// The zipped sizes that functions above their limit have come down to, in MB and rounded up.
const WEIGHTS: [(&str, f64); 5] = [
    ("trigger", 2.3),
    ("deploy", 2.85),
    ("alarms", 2.55),
    ("park", 3.0),
    ("sweep", 3.2),
];

/// A figure with as many digits as mean something.
fn readable(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::tests::named;

    #[test]
    fn another_call_a_call_less_and_a_call_more_are_each_unfair() {
        let [a, b] = ["A", "B"].map(named);
        let wanted = [a.clone(), b.clone()];
        let found = |calls: &[&Named]| -> Vec<_> { calls.iter().copied().cloned().collect() };
        let check = |calls: &[&Named]| difference(&wanted, &found(calls), 2);
        assert_eq!(check(&[&a, &b, &a, &b]), None);
        assert!(check(&[&a, &b, &b, &a]).is_some_and(|it| it.contains("instead of")));
        assert!(check(&[&a, &b, &a]).is_some_and(|it| it.contains("does not call")));
        assert!(check(&[&a, &b, &a, &b, &a]).is_some_and(|it| it.contains(", too")));
    }

    #[test]
    fn goals_are_about_whole_cold_starts_and_leave_out_who_was_not_there() {
        let series = |milliseconds: u64, memory: u64| Series {
            cold: vec![
                Cold {
                    init: Duration::from_millis(milliseconds),
                    first: Duration::from_millis(milliseconds),
                    cpu: Duration::from_millis(1),
                    memory: memory << 20,
                };
                10
            ],
            ..Series::default()
        };
        let mut job = Measured {
            name: "trigger",
            about: "",
            calls: (3, 3),
            over_floor: 2.0,
            peers: BTreeMap::from([
                (Peer::Floor, series(2, 2)),
                (Peer::Groundcrew, series(3, 6)),
                (Peer::Python, series(180, 30)),
            ]),
        };
        let verdicts = |job: &Measured| -> Vec<_> {
            let goals = job.goals();
            goals
                .iter()
                .map(|goal| (goal.measured, goal.met()))
                .collect()
        };
        assert_eq!(verdicts(&job), [(1.5, true), (60.0, true), (5.0, false)]);
        assert_eq!(job.table().rows[2][3], "360");
        job.peers.remove(&Peer::Python);
        assert_eq!(job.goals().len(), 1);
    }
}
