//! How calls, time and memory grow with the number of services.

use crate::{Count, Ended, Fleet, Occasion, Result};
use figures::{Figures, Goal, Limit, Plot, Series, Table, thousands};
use rehearsal::console;

/// How many services are concerned at once.
pub const SERVICES: [u16; 4] = [1, 10, 100, 1000];

/// The same, in a short run.
pub const SHORT_SERVICES: [u16; 2] = [1, 10];

/// What concerns many services at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cause {
    /// Of an image that all of them are to run.
    Push,
    /// Of a secret that all of them read.
    Rotation,
    /// Over all of them.
    Sweep,
}

impl Cause {
    /// Every one.
    const ALL: [Self; 3] = [Self::Push, Self::Rotation, Self::Sweep];

    /// `push`, `rotation`, `sweep`
    fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Rotation => "rotation",
            Self::Sweep => "sweep",
        }
    }
}

/// What concerned so many services at once.
struct Measured {
    what: Cause,
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

/// Measures each cause in turn with so many services: a sweep finds what the push before it has left.
///
/// # Errors
/// If something cannot be measured.
pub async fn run(sizes: &[u16]) -> Result<Figures> {
    let mut all = Vec::new();
    for size in crate::sorted(sizes) {
        let fleet = Fleet::new(size.into()).await?;
        for cause in Cause::ALL {
            let what = cause.name();
            console::progress(format_args!("a {what} that concerns {size} services"));
            let measured = match cause {
                Cause::Push => of(cause, &fleet, fleet.push().await?).await?,
                Cause::Rotation => of(cause, &fleet, fleet.rotate().await?).await?,
                Cause::Sweep => sweep(&fleet).await?,
            };
            all.push(measured.shown());
        }
    }
    Ok(figures(&all))
}

async fn of(what: Cause, fleet: &Fleet, occasion: Occasion<'_>) -> Result<Measured> {
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
    let (stacks, _, ended, count) = fleet.sweep().await?;
    Ok(Measured {
        what: Cause::Sweep,
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
            self.what.name().to_owned(),
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

fn plot(title: &str, unit: &str, all: &[Measured], y: impl Fn(&Measured) -> f64) -> Plot {
    let series = Cause::ALL.map(|what| Series {
        name: what.name().to_owned(),
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
    for cause in Cause::ALL {
        let what = cause.name();
        let of: Vec<_> = all
            .iter()
            .filter(|measured| measured.what == cause)
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
