//! How calls, time and memory grow with the number of services.

use crate::{Count, Ended, Fleet, Result};
use figures::{Figures, Goal, Limit, Plot, Series, Table};
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
pub async fn run(sizes: &Sizes) -> Result<Figures> {
    let mut services = sizes.services.clone();
    services.sort_unstable();
    services.dedup();
    let mut all = Vec::new();
    for size in services {
        let fleet = Fleet::new(size.into()).await?;
        let occasions = [
            push(&fleet).await?,
            rotate(&fleet).await?,
            sweep(&fleet).await?,
        ];
        for measured in &occasions {
            console::progress(measured.row().join(" · "));
            for (action, (calls, throttled)) in &measured.count.calls {
                console::progress(format_args!("  {action}: {calls}, {throttled} throttled"));
            }
        }
        all.extend(occasions);
    }
    Ok(figures(&all))
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
    let count = fleet.count().await?;
    Ok(Measured {
        what,
        services: fleet.size(),
        reached: occasion.reached().0,
        seconds,
        longest: count.longest("Trigger"),
        ended,
        count,
    })
}

async fn sweep(fleet: &Fleet) -> Result<Measured> {
    console::progress(format_args!("a sweep over {} services", fleet.size()));
    let (stacks, _, ended) = fleet.sweep().await?;
    let count = fleet.count().await?;
    Ok(Measured {
        what: "sweep",
        services: fleet.size(),
        reached: stacks as usize,
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
            thousands(self.ended.transitions),
            self.ended.failed.to_string(),
            format!("{:.0}", self.count.peak_memory("")),
        ]
    }
}

fn figures(all: &[Measured]) -> Figures {
    let mut figures = Figures::new("How it scales", "cargo measure scale");
    figures.tables.push(Table {
        caption: "What concerns many services at once, where App Runner takes ten calls of each operation in a second".into(),
        columns: [
            "what",
            "services",
            "reached",
            "s until the last",
            "s of the longest invocation",
            "calls of AWS",
            "for each service",
            "of them throttled",
            "state transitions",
            "executions failed",
            "peak memory, MB",
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
    let mut goal = |what: String, measured: f64, limit: Limit| {
        goals.push(Goal {
            what,
            measured,
            noise: 0.0,
            limit,
        });
    };
    for what in OCCASIONS {
        let of: Vec<_> = all
            .iter()
            .filter(|measured| measured.what == what)
            .collect();
        let missed: usize = of
            .iter()
            .map(|it| it.services - it.reached + it.ended.failed)
            .sum();
        goal(
            format!("{what}: services not reached, or lost"),
            missed as f64,
            Limit::AtMost(0.0),
        );
        let throttled = of.iter().map(|it| it.throttled_share()).fold(0.0, f64::max);
        goal(
            format!("{what}: % of calls throttled"),
            throttled,
            Limit::AtMost(1.0),
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
            );
        }
        if let [one, .., most] = &of[..] {
            let grown = most.count.peak_memory("") / one.count.peak_memory("");
            let (one, most) = (one.services, most.services);
            goal(
                format!("{what}: peak memory with {most} services, over that with {one}"),
                grown,
                Limit::AtMost(1.5),
            );
        }
    }
    goals
}

/// `12,345`
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
