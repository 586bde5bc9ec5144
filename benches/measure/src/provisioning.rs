//! How long a stack takes to be built, beside the least that it can take, what CloudFormation would take, and one step after
//! the other. The durations are those of the local AWS, which are AWS's own by experience.

use crate::account::{Account, example};
use crate::graph::{self, Part};
use crate::{Count, Error, Result};
use figures::{Figures, Goal, Limit, Table};
use rehearsal::{End, What, console};
use serde_json::{Value, json};

/// Slow enough for what this machine itself takes to be no more than what Lambda takes.
pub const TIME_SCALE: f64 = 3.0;

/// How often a stack is built, and how often in a short run: what the first one shows may be chance.
const RUNS: (usize, usize) = (3, 2);
/// How much longer than the least it may take.
const GOAL: f64 = 1.05;

/// Measures, at so many AWS seconds in a second on the wall.
///
/// # Errors
/// If something cannot be measured.
pub async fn run(time_scale: f64, short: bool) -> Result<Figures> {
    let account = Account::new(time_scale, &[]).await?;
    let parts = graph::stack(&account.local.durations().await?)?;
    let mut ends = Vec::new();
    for n in 1..=if short { RUNS.1 } else { RUNS.0 } {
        console::progress(format_args!(
            "building a stack: {:.0} minutes at least, {time_scale} times as fast",
            graph::critical_path(&parts).1 / 60.0
        ));
        let spec = Value::Object(spec(n)?);
        let begun = Count::begin(&account.local).await?;
        let end = account.provision(&format!("measured-{n}"), &spec).await?;
        console::progress(format_args!("it took {:.0} s", end.seconds));
        let count = Count::since(begun, &account.local).await?;
        is_the_whole_graph(&parts, &count)?;
        ends.push(end);
    }
    ends.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    Ok(figures(&parts, &ends))
}

/// The stack of `events/provision.json`, as often as wanted.
fn spec(n: usize) -> Result<serde_json::Map<String, Value>> {
    let mut spec = example("provision.json")?;
    spec["environment"] = json!(format!("run{n}"));
    match spec {
        Value::Object(spec) => Ok(spec),
        _ => Err(Error::Unexpected("events/provision.json is no spec".into())),
    }
}

/// What is compared with is the graph: it must know whatever a stack is made of.
fn is_the_whole_graph(parts: &[Part], count: &Count) -> Result<()> {
    let made = count.calls.keys().map(String::as_str);
    let made = made.filter(|call| {
        let operation = call.split(':').next_back().unwrap_or_default();
        let verbs = ["Create", "Put", "Associate", "Authorize"];
        verbs.iter().any(|verb| operation.starts_with(verb))
    });
    match graph::unknown(parts, made).as_slice() {
        [] => Ok(()),
        unknown => Err(Error::Unexpected(format!(
            "a stack is made with {}, of which benches/measure/src/graph.rs knows nothing",
            unknown.join(", ")
        ))),
    }
}

fn figures(parts: &[Part], ends: &[End]) -> Figures {
    let (path, least) = graph::critical_path(parts);
    let (fastest, slowest) = (&ends[0], &ends[ends.len() - 1]);
    let median = &ends[ends.len() / 2];
    let row = |what: String, seconds: f64| {
        vec![
            what,
            format!("{seconds:.0}"),
            format!("{:.2}", seconds / least),
        ]
    };
    let mut figures = Figures::new("How long a stack takes", "cargo measure provisioning");
    figures.tables.push(Table {
        caption: "A stack with a database, at the durations of the local AWS".into(),
        columns: ["how", "AWS seconds", "of the critical path"]
            .map(str::to_owned)
            .to_vec(),
        rows: vec![
            row(format!("critical path: {}", path.join(", then ")), least),
            row("groundcrew".into(), median.seconds),
            row(
                "CloudFormation's order: what depends on nothing unfinished, as the critical path (its polling is not counted)".into(),
                least,
            ),
            row(
                "one part after the other, and no time lost with asking either".into(),
                graph::one_after_the_other(parts),
            ),
        ],
    });
    figures.tables.push(Table {
        caption: "Where groundcrew's time goes".into(),
        columns: ["state", "entered at, AWS seconds", "took"]
            .map(str::to_owned)
            .to_vec(),
        rows: states(median),
    });
    figures.goals.push(Goal {
        what: "a stack, groundcrew over the critical path".into(),
        measured: median.seconds / least,
        noise: (slowest.seconds - fastest.seconds) / least,
        limit: Limit::AtMost(GOAL),
        held: None,
    });
    figures
}

/// The tasks in the order in which they were entered.
fn states(end: &End) -> Vec<Vec<String>> {
    let entered = end.happenings.iter();
    let entered = entered.filter(|it| it.kind == "Task" && it.what == What::Entered);
    let rows = entered.map(|entered| {
        let exits = end.happenings.iter();
        let exit = exits
            .filter(|it| it.state == entered.state && it.seconds >= entered.seconds)
            .find(|it| matches!(it.what, What::Exited(_)));
        let took = exit.map_or(0.0, |exit| exit.seconds - entered.seconds);
        vec![
            entered.state.clone(),
            format!("{:.0}", entered.seconds),
            format!("{took:.0}"),
        ]
    });
    rows.collect()
}
