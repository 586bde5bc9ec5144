//! How calls, time and memory grow with the number of services.

use crate::cost;
use crate::stacks::{self, Night};
use crate::{Count, Ended, Fleet, Result};
use figures::{Figures, Goal, Limit, Plot, Series, Table, thousands};
use rehearsal::console;

/// How many of each.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Services that a push, a rotation and a sweep concern.
    pub services: Vec<u16>,
    /// Stacks that are parked and woken.
    pub stacks: Vec<u16>,
}

impl Sizes {
    /// Those of a run, or of a short one.
    pub fn new(short: bool) -> Self {
        let (services, stacks) = if short {
            (vec![1, 10], vec![1])
        } else {
            (vec![1, 10, 100, 1000], vec![1, 10, 50])
        };
        Self { services, stacks }
    }
}

/// What concerned so many services at once.
struct Measured {
    what: &'static str,
    services: usize,
    reached: usize,
    /// Deployments beyond one for each.
    doubled: usize,
    /// Until the last service was reached, in seconds.
    seconds: f64,
    /// The longest invocation, in seconds.
    longest: f64,
    ended: Ended,
    count: Count,
}

/// Measures.
///
/// # Errors
/// If something cannot be measured.
pub async fn run(sizes: &Sizes) -> Result<Vec<(&'static str, Figures)>> {
    let mut all = Vec::new();
    for size in sorted(&sizes.services) {
        let fleet = Fleet::new(size.into()).await?;
        all.push(push(&fleet).await?.shown());
        all.push(rotate(&fleet).await?.shown());
        all.push(sweep(&fleet).await?.shown());
    }
    let mut nights = Vec::new();
    for size in sorted(&sizes.stacks) {
        nights.push(stacks::night(size.into()).await?);
    }
    let figures = [("scale", figures(&all)), ("nights", night_figures(&nights))];
    let measured = figures
        .into_iter()
        .filter(|(_, figures)| !figures.tables.is_empty());
    Ok(measured.collect())
}

fn sorted(sizes: &[u16]) -> Vec<u16> {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

async fn push(fleet: &Fleet) -> Result<Measured> {
    console::progress(format_args!(
        "a push that concerns {} services",
        fleet.size()
    ));
    of("push", fleet, fleet.push().await?).await
}

async fn rotate(fleet: &Fleet) -> Result<Measured> {
    console::progress(format_args!(
        "a rotation that concerns {} services",
        fleet.size()
    ));
    of("rotation", fleet, fleet.rotate().await?).await
}

async fn of(what: &'static str, fleet: &Fleet, occasion: crate::Occasion<'_>) -> Result<Measured> {
    let seconds = occasion.reach().await?;
    let ended = occasion.end().await?;
    let count = occasion.count().await?;
    let (reached, asked) = occasion.reached();
    Ok(Measured {
        what,
        services: fleet.size(),
        reached,
        doubled: asked - reached,
        seconds,
        longest: count.longest("Trigger"),
        ended,
        count,
    })
}

async fn sweep(fleet: &Fleet) -> Result<Measured> {
    console::progress(format_args!("a sweep over {} services", fleet.size()));
    let (stacks, _, ended, count) = fleet.sweep().await?;
    Ok(Measured {
        what: "sweep",
        services: fleet.size(),
        reached: stacks as usize,
        doubled: 0,
        seconds: ended.seconds,
        longest: count.longest("Sweep"),
        ended,
        count,
    })
}

impl Measured {
    fn per_service(&self) -> f64 {
        self.count.all() as f64 / self.services as f64
    }

    fn throttled_share(&self) -> f64 {
        100.0 * self.count.throttled() as f64 / self.count.all().max(1) as f64
    }

    /// What it was made of, for whoever watches.
    fn shown(self) -> Self {
        console::progress(self.row().join(" · "));
        for (action, (calls, throttled)) in &self.count.calls {
            console::progress(format_args!("  {action}: {calls}, {throttled} throttled"));
        }
        for (function, invocations, seconds) in self.count.functions() {
            let each = seconds / invocations as f64;
            let of = format!("  {function}: {invocations} invocations of {each:.2} s");
            console::progress(of);
        }
        self
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.what.to_owned(),
            thousands(self.services),
            thousands(self.reached),
            format!("{:.0}", self.seconds),
            format!("{:.0}", self.longest),
            thousands(self.count.all()),
            format!("{:.1}", self.per_service()),
            format!(
                "{} ({:.1} %)",
                thousands(self.count.throttled()),
                self.throttled_share()
            ),
            thousands(self.ended.executions),
            thousands(self.ended.transitions),
            self.ended.failed.to_string(),
            format!("{:.0}", self.count.peak_memory("")),
        ]
    }
}

fn figures(all: &[Measured]) -> Figures {
    let mut figures = Figures::new("How it scales", "cargo measure scale");
    if all.is_empty() {
        return figures;
    }
    figures.tables.push(Table {
        caption: "What concerns many services at once, where App Runner takes ten calls of each operation in a second (memory is that of the largest function, built without optimisation)".into(),
        columns: [
            "what",
            "services",
            "reached",
            "s until the last",
            "s of the longest invocation",
            "calls of AWS",
            "for each service",
            "of them throttled",
            "executions",
            "state transitions",
            "executions failed",
            "peak memory, MiB",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: all.iter().map(Measured::row).collect(),
    });
    figures.goals = goals(all);
    figures.plots = vec![
        plot("Calls of AWS", "calls", all, |measured| {
            measured.count.all() as f64
        }),
        plot(
            "Time until the last service is reached",
            "seconds",
            all,
            |measured| measured.seconds,
        ),
    ];
    figures
}

const OCCASIONS: [&str; 3] = ["push", "rotation", "sweep"];

fn plot(title: &str, unit: &str, all: &[Measured], y: impl Fn(&Measured) -> f64) -> Plot {
    let series = OCCASIONS.map(|what| Series {
        name: what.to_owned(),
        points: all
            .iter()
            .filter(|measured| measured.what == what)
            .map(|measured| (measured.services as f64, y(measured)))
            .collect(),
    });
    Plot {
        title: title.to_owned(),
        x: "services".into(),
        y: unit.to_owned(),
        series: series.to_vec(),
    }
}

fn goals(all: &[Measured]) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut goal = |what: String, measured: f64, limit: Limit, held: Option<Limit>| {
        goals.push(Goal {
            what,
            measured,
            noise: 0.0,
            limit,
            held,
        });
    };
    for what in OCCASIONS {
        let of: Vec<_> = all
            .iter()
            .filter(|measured| measured.what == what)
            .collect();
        let missed: usize = of
            .iter()
            .map(|it| it.services - it.reached + it.doubled + it.ended.failed)
            .sum();
        goal(
            format!("{what}: services not reached once"),
            missed as f64,
            Limit::AtMost(0.0),
            None,
        );
        let throttled = of.iter().map(|it| it.throttled_share()).fold(0.0, f64::max);
        goal(
            format!("{what}: % of calls throttled"),
            throttled,
            Limit::AtMost(1.0),
            // Events of a thousand services come in bunches on a busy machine: 2.3 % were seen, and nothing was lost to it.
            Some(Limit::AtMost(5.0)),
        );
        let of_ten = of.iter().find(|it| it.services == 10);
        if let (Some(ten), Some(most)) = (of_ten, of.last())
            && most.services > 10
        {
            let grown = most.per_service() / ten.per_service();
            let most = most.services;
            goal(
                format!("{what}: calls for each of {most} services, over those of 10"),
                grown,
                Limit::AtMost(1.1),
                None,
            );
        }
        if let [one, .., most] = &of[..] {
            let grown = most.count.peak_memory("") / one.count.peak_memory("");
            let (one, most) = (one.services, most.services);
            goal(
                format!("{what}: peak memory with {most} services, over that with {one}"),
                grown,
                Limit::AtMost(1.5),
                None,
            );
        }
    }
    goals
}

fn night_figures(nights: &[Night]) -> Figures {
    let mut figures = Figures::new("What nights take", "cargo measure scale");
    if nights.is_empty() {
        return figures;
    }
    let missed = nights
        .iter()
        .map(|night| 2 * night.stacks - night.reached.0 - night.reached.1);
    figures.tables.push(night_table(nights));
    figures.goals.push(Goal {
        what: "stacks not parked, or not woken".to_owned(),
        measured: missed.sum::<usize>() as f64,
        noise: 0.0,
        limit: Limit::AtMost(0.0),
        held: None,
    });
    figures
}

/// What a night takes: it is paid for 250 times a year, and the looks between as well.
fn night_table(nights: &[Night]) -> Table {
    let row = |night: &Night| {
        let (park, wake, deliver) = night.transitions;
        let (evening, morning) = (&night.evening.count, &night.morning.count);
        vec![
            thousands(night.stacks),
            format!(
                "{} + {} + {}",
                thousands(park),
                thousands(wake),
                thousands(deliver)
            ),
            format!(
                "{} + {}",
                thousands(evening.all()),
                thousands(morning.all())
            ),
            format!(
                "{:.0} + {:.0}",
                night.seconds.0 / 60.0,
                night.seconds.1 / 60.0
            ),
            format!(
                "{:.0}",
                evening.peak_memory("Park").max(morning.peak_memory("Park"))
            ),
            format!("${:.2}", cost::year(park + wake + deliver, night.look)),
        ]
    };
    let columns = [
        "stacks",
        "state transitions: to park, to wake, to deliver",
        "calls of AWS: in the evening, in the morning",
        "minutes: to park, to wake",
        "peak memory of park, MiB",
        "in a year, 250 nights and the looks",
    ];
    Table {
        caption: "Nights of stacks with a service and a database each".into(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: nights.iter().map(row).collect(),
    }
}
