//! One flow as a picture: a bar for each state, a tick for each call, a mark for each event. What it shows is in a table
//! beside it, too, so that nothing depends on seeing it.

use super::words::count;
use crate::console::clock;
use crate::record::{Call, End, Execution, Flow, Left, State};
use jiff::SignedDuration;
use maud::{Markup, html};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// In the units of the picture, which are pixels on a wide screen.
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 196.0;
/// Behind it is room for what stands beside a bar.
const RIGHT: f64 = 866.0;
const AXIS: f64 = 30.0;
const ROW: f64 = 20.0;
const HEAD: f64 = 26.0;
const LANE: f64 = 13.0;
const BAR: f64 = 11.0;
/// How wide a letter is, about.
const LETTER: f64 = 6.3;
/// So far apart are the labels of the axis.
const APART: f64 = 62.0;
const LONGEST_LABEL: usize = 27;

/// Whether there is anything to draw.
pub(super) fn is_empty(flow: &Flow) -> bool {
    flow.executions.is_empty()
        && flow.calls.is_empty()
        && flow.events.is_empty()
        && flow.notifications.is_empty()
}

/// The picture of a flow; `id` is one that nothing else in the page has.
pub(super) fn svg(flow: &Flow, id: &str) -> Markup {
    let scale = Scale::of(flow);
    let mut rows = Rows {
        scale: &scale,
        y: AXIS,
        drawn: Vec::new(),
    };
    for executions in groups(&flow.executions) {
        rows.executions(&executions);
    }
    rows.calls(&flow.calls);
    let events: Vec<_> = flow.events.iter().map(|event| event.at).collect();
    rows.marks("Events", "event", &events);
    let told: Vec<_> = flow.notifications.iter().map(|told| told.at).collect();
    rows.marks("Notifications", "told", &told);
    let height = rows.y + 6.0;
    html! {
        svg.timeline viewBox=(format!("0 0 {WIDTH} {}", n(height))) role="img"
            aria-labelledby={(id) "-title " (id) "-desc"} {
            title id={(id) "-title"} { "Timeline: " (flow.title) }
            desc id={(id) "-desc"} { (in_words(flow)) }
            (scale.axis(flow, height))
            @for row in &rows.drawn { (row) }
        }
    }
}

/// What the picture shows, in a sentence or two.
fn in_words(flow: &Flow) -> String {
    let mut words = String::new();
    for execution in &flow.executions {
        let states: Vec<_> = by_name(&execution.states)
            .into_iter()
            .map(|(name, of)| {
                let seconds: f64 = of.iter().map(|state| state.seconds).sum();
                let failed = of.iter().any(|state| state.left == Left::Failed);
                let failed = if failed { ", failed" } else { "" };
                format!("{name} {}{failed}", clock(seconds))
            })
            .collect();
        // A string can always be written to.
        let _ = write!(
            words,
            "{} {} after {}: {}. ",
            execution.machine,
            ended(&execution.end),
            clock(execution.seconds),
            states.join("; ")
        );
    }
    let refused = flow.calls.iter().filter(|call| call.error.is_some());
    let _ = write!(
        words,
        "{}, {} of them answered with an error; {}; {}.",
        count(flow.calls.len(), "call", "calls"),
        refused.count(),
        count(flow.events.len(), "event", "events"),
        count(flow.notifications.len(), "notification", "notifications")
    );
    words
}

/// How an execution ended, in a word.
pub(super) fn ended(end: &End) -> &str {
    match end {
        End::Running => "still runs",
        End::Succeeded => "succeeded",
        End::Failed { error, .. } => error,
    }
}

/// The states by name, in the order in which each was entered first.
fn by_name<'a>(states: impl IntoIterator<Item = &'a State>) -> Vec<(&'a str, Vec<&'a State>)> {
    let mut found: Vec<(&str, Vec<&State>)> = Vec::new();
    for state in states {
        match found.iter_mut().find(|(name, _)| *name == state.name) {
            Some((_, of)) => of.push(state),
            None => found.push((&state.name, vec![state])),
        }
    }
    found
}

/// Executions that are drawn in the same rows: of one state machine, one after the other, none of which did more than look.
fn groups(executions: &[Execution]) -> Vec<Vec<&Execution>> {
    let only_looks =
        |execution: &Execution| execution.end == End::Succeeded && execution.states.len() <= 1;
    let mut groups: Vec<Vec<&Execution>> = Vec::new();
    for execution in executions {
        let joins = |last: &&Execution| {
            last.machine == execution.machine
                && last.at + last.seconds <= execution.at
                && only_looks(last)
                && only_looks(execution)
        };
        match groups.last_mut() {
            Some(group) if group.last().is_some_and(joins) => group.push(execution),
            _ => groups.push(vec![execution]),
        }
    }
    groups
}

/// AWS time, from the beginning of a flow to the last thing that happens in it.
struct Scale {
    end: f64,
}

impl Scale {
    fn of(flow: &Flow) -> Self {
        let executions = flow.executions.iter();
        let ends = executions
            .map(|execution| execution.at + execution.seconds)
            .chain(flow.calls.iter().map(|call| call.at))
            .chain(flow.events.iter().map(|event| event.at))
            .chain(flow.notifications.iter().map(|told| told.at));
        Self {
            end: ends.fold(60.0, f64::max) * 1.02,
        }
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + at.clamp(0.0, self.end) / self.end * (RIGHT - LEFT)
    }

    /// A round duration.
    fn step(&self) -> f64 {
        const STEPS: [f64; 14] = [
            10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0,
            43_200.0, 86_400.0,
        ];
        let most = ((RIGHT - LEFT) / APART / 1.4).floor();
        let step = STEPS.into_iter().find(|step| self.end / step <= most);
        step.unwrap_or(self.end / most)
    }

    /// Not too many.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (step, end) = (self.step(), self.end);
        (0..)
            .map(move |n| f64::from(n) * step)
            .take_while(move |at| *at < end)
    }

    /// What a clock shows, with the day if there are several; or how long it has been.
    fn label(&self, flow: &Flow, at: f64) -> String {
        let Some(local) = flow.local(at) else {
            return clock(at);
        };
        let (first, last) = (flow.moments.first(), flow.moments.last());
        let several = first.map(|it| it.local.date()) != last.map(|it| it.local.date());
        // A moment is there a little after it has begun.
        let local = &local + SignedDuration::from_secs(2);
        let form = match (several, self.step() < 60.0) {
            (true, _) => "%a %H:%M",
            (false, true) => "%H:%M:%S",
            (false, false) => "%H:%M",
        };
        local.strftime(form).to_string()
    }

    /// Where there is a clock, what it shows; a jump of it is a dashed line.
    fn axis(&self, flow: &Flow, height: f64) -> Markup {
        let jumps: Vec<f64> = flow.moments.iter().map(|moment| moment.at).collect();
        let mut taken: Vec<f64> = Vec::new();
        let mut labels = Vec::new();
        let candidates = jumps.iter().copied().filter(|at| *at <= self.end);
        for at in candidates.chain(self.ticks()) {
            let x = self.x(at);
            if taken.iter().all(|other| (other - x).abs() >= APART) && x <= RIGHT {
                taken.push(x);
                labels.push((x, self.label(flow, at)));
            }
        }
        html! {
            g.axis {
                @for at in self.ticks() {
                    line x1=(n(self.x(at))) x2=(n(self.x(at))) y1=(n(AXIS - 8.0)) y2=(n(height)) {}
                }
                @for at in jumps.iter().skip(1).filter(|at| **at <= self.end) {
                    line.jump x1=(n(self.x(*at))) x2=(n(self.x(*at))) y1=(n(AXIS - 10.0)) y2=(n(height)) {}
                }
                @for (x, label) in labels {
                    text x=(n(x)) y=(n(AXIS - 14.0)) { (label) }
                }
            }
        }
    }
}

/// The rows of a picture, from above.
struct Rows<'a> {
    scale: &'a Scale,
    y: f64,
    drawn: Vec<Markup>,
}

impl Rows<'_> {
    /// Those of one group, with a row for each state of them.
    fn executions(&mut self, executions: &[&Execution]) {
        let (Some(first), Some(last)) = (executions.first(), executions.last()) else {
            return;
        };
        let (scale, y) = (self.scale, self.y + HEAD - 10.0);
        let word = match &last.end {
            End::Succeeded => "✓ succeeded".to_owned(),
            End::Running => "… still runs".to_owned(),
            End::Failed { error, .. } => format!("✗ {error}"),
        };
        let said = match executions.len() {
            1 => format!("{word} · {}", clock(first.seconds)),
            times => format!("{word}, {times} times"),
        };
        let lines = executions.iter().map(|execution| {
            let end = execution.at + execution.seconds;
            (scale.x(execution.at), scale.x(end))
        });
        let lines: Vec<_> = lines.collect();
        let to = lines.iter().map(|line| line.1).fold(0.0, f64::max);
        self.drawn.push(html! {
            g class=(if last.failed() { "execution failed" } else { "execution" }) {
                text.name x="0" y=(n(y)) { (first.machine) }
                @for (from, to) in &lines {
                    line x1=(n(*from)) x2=(n(*to)) y1=(n(y - 4.0)) y2=(n(y - 4.0)) {}
                }
                (beside(scale.x(first.at), to, y, &said))
            }
        });
        self.y += HEAD;
        let states = executions.iter().flat_map(|execution| &execution.states);
        for (name, states) in by_name(states) {
            self.states(name, &states);
        }
        self.y += 4.0;
    }

    fn states(&mut self, name: &str, states: &[&State]) {
        let (scale, y) = (self.scale, self.y);
        let bars = states.iter().map(|state| {
            let (from, to) = (scale.x(state.at), scale.x(state.at + state.seconds));
            let retries = apart(state.failures.iter().map(|failure| scale.x(failure.at)));
            html! {
                rect class=(class(state)) x=(n(from)) y=(n(y + 4.0)) width=(n((to - from).max(1.5)))
                    height=(BAR) rx="2" {
                    title { (state.name) ": " (clock(state.seconds)) (tries(state)) }
                }
                @if !retries.is_empty() {
                    path.retry d=(strokes(&retries, y + 4.0, BAR)) {}
                }
            }
        });
        let bars: Vec<_> = bars.collect();
        let seconds: f64 = states.iter().map(|state| state.seconds).sum();
        let failed = states
            .iter()
            .rfind(|state| matches!(state.left, Left::Failed | Left::Unwell));
        let said = match (failed, states.len()) {
            (Some(state), _) => {
                let error = state.failures.last().map(|last| last.error.as_str());
                let error = error.filter(|_| state.left == Left::Failed);
                format!("✗ {}, {}", error.unwrap_or("not well"), clock(seconds))
            }
            (None, 1) => clock(seconds),
            (None, times) => format!("{times} times, {}", clock(seconds)),
        };
        let from = states.iter().map(|it| it.at).fold(f64::MAX, f64::min);
        let to = states.iter().map(|it| it.at + it.seconds);
        let (from, to) = (scale.x(from), scale.x(to.fold(0.0, f64::max)));
        self.drawn.push(html! {
            g class=(if failed.is_some() { "state failed" } else { "state" }) {
                text.label x="12" y=(n(y + 13.5)) { (shortened(name)) }
                @for bar in bars { (bar) }
                (beside(from, to, y + 13.5, &said))
            }
        });
        self.y += ROW;
    }

    /// A lane for each service; what was refused is marked.
    fn calls(&mut self, calls: &[Call]) {
        if calls.is_empty() {
            return;
        }
        let mut services: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in calls {
            let service = call.action.split(':').next().unwrap_or_default();
            services.entry(service).or_default().push(call);
        }
        self.lane_head("AWS calls");
        for (service, calls) in services {
            let y = self.y;
            let (refused, taken): (Vec<_>, Vec<_>) =
                calls.iter().partition(|call| call.error.is_some());
            let x = |calls: Vec<&&Call>| apart(calls.iter().map(|call| self.scale.x(call.at)));
            let crosses = x(refused.clone()).into_iter().map(|x| {
                let (left, right) = (n(x - 3.0), n(x + 3.0));
                format!(
                    "M{left} {}L{right} {}M{left} {}L{right} {}",
                    n(y + 3.0),
                    n(y + 9.0),
                    n(y + 9.0),
                    n(y + 3.0)
                )
            });
            let label = match refused.len() {
                0 => format!("{service} {}", calls.len()),
                refused => format!("{service} {}, {refused} errors", calls.len()),
            };
            self.drawn.push(html! {
                g.calls {
                    text.label x="12" y=(n(y + 10.0)) { (label) }
                    path.call d=(strokes(&x(taken), y + 2.0, 8.0)) {}
                    @if !refused.is_empty() { path.refused d=(crosses.collect::<String>()) {} }
                }
            });
            self.y += LANE;
        }
        self.y += 4.0;
    }

    fn lane_head(&mut self, text: &str) {
        self.drawn.push(html! {
            text.name x="0" y=(n(self.y + HEAD - 10.0)) { (text) }
        });
        self.y += HEAD - 4.0;
    }

    fn marks(&mut self, text: &str, class: &str, at: &[f64]) {
        if at.is_empty() {
            return;
        }
        let middle = self.y + 12.0;
        let x = apart(at.iter().map(|at| self.scale.x(*at)));
        self.drawn.push(html! {
            g class=(class) {
                text.name x="0" y=(n(middle + 4.0)) {
                    (text) tspan.label dx="6" { (at.len()) }
                }
                @for x in x {
                    @if class == "told" {
                        circle cx=(n(x)) cy=(n(middle)) r="4.5" {}
                    } @else {
                        path d=(format!("M{} {}l4.5 4.5l-4.5 4.5l-4.5 -4.5z", n(x), n(middle - 4.5))) {}
                    }
                }
            }
        });
        self.y += ROW + 2.0;
    }
}

fn class(state: &State) -> &'static str {
    match (state.left, state.kind.as_str()) {
        (Left::Failed | Left::Unwell, _) => "bar failed",
        (Left::Not, _) => "bar not-left",
        (Left::Done, "Wait") => "bar wait",
        (Left::Done, _) => "bar",
    }
}

fn tries(state: &State) -> String {
    match state.failures.len() {
        0 => String::new(),
        failures => format!(", tried {} times", failures + 1),
    }
}

/// A text behind a bar, or before it if there is no room, or on it if there is none there either.
fn beside(from: f64, to: f64, y: f64, text: &str) -> Markup {
    let width = text.chars().count() as f64 * LETTER;
    let (x, class) = if to + 6.0 + width <= WIDTH {
        (to + 6.0, "said")
    } else if from - 6.0 - width >= LEFT {
        (from - 6.0, "said before")
    } else {
        (to - 5.0, "said on")
    };
    html! { text class=(class) x=(n(x)) y=(n(y)) { (text) } }
}

/// Places that can be told apart, of any number of places.
fn apart(x: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut places: Vec<i64> = x.map(|x| (x / 2.0).round() as i64).collect();
    places.sort_unstable();
    places.dedup();
    places.into_iter().map(|place| place as f64 * 2.0).collect()
}

fn strokes(x: &[f64], y: f64, height: f64) -> String {
    let strokes = x
        .iter()
        .map(|x| format!("M{} {}v{}", n(*x), n(y), n(height)));
    strokes.collect()
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST_LABEL) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", name[..end].trim_end()),
    }
}

/// A number as short as it can be without being seen.
fn n(number: f64) -> String {
    let tenths = (number * 10.0).round() / 10.0;
    format!("{tenths}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_calls_are_no_more_strokes_than_the_picture_has_places() {
        let calls = (0..50_000).map(|n| LEFT + f64::from(n) / 50_000.0 * (RIGHT - LEFT));
        assert!(apart(calls).len() <= ((RIGHT - LEFT) / 2.0) as usize + 1);
    }

    #[test]
    fn only_looks_that_follow_each_other_share_their_rows() {
        let look = |machine: &str, at: f64, end: End| Execution {
            machine: machine.into(),
            name: String::new(),
            at,
            seconds: 10.0,
            end,
            transitions: 1,
            states: Vec::new(),
        };
        let failed = End::Failed {
            error: "NotAllDone".into(),
            message: String::new(),
        };
        let executions = [
            look("park", 0.0, End::Succeeded),
            look("park", 20.0, End::Succeeded),
            look("park", 25.0, End::Succeeded), // while the one before runs
            look("park", 60.0, failed),
            look("deploy", 80.0, End::Succeeded),
        ];
        let sizes: Vec<_> = groups(&executions).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
    }

    #[test]
    fn an_axis_has_a_few_round_times_whatever_the_duration() {
        for end in [60.0, 61.2, 900.0, 3000.0, 40_000.0, 900_000.0] {
            let ticks = Scale { end }.ticks().count();
            assert!((2..=10).contains(&ticks), "{ticks} for {end}");
        }
    }

    #[test]
    fn a_text_is_behind_its_bar_or_before_it_or_on_it() {
        let said = |from, to| beside(from, to, 0.0, "✗ DeploymentFailed, 12:03").into_string();
        assert!(said(300.0, 400.0).contains("class=\"said\""));
        assert!(said(700.0, 860.0).contains("said before"));
        assert!(said(200.0, 860.0).contains("said on"));
    }

    #[test]
    fn a_long_name_is_shortened_between_letters() {
        let name = "ä".repeat(40);
        assert_eq!(shortened(&name).chars().count(), LONGEST_LABEL + 1);
        assert_eq!(shortened("Plan"), "Plan");
    }
}
