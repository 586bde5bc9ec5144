//! The sections of the page.

use super::timeline::{self, ended};
use super::words::{count, dollars, principal, saved, when};
use crate::console::clock;
use crate::record::{
    Call, Cost, End, Execution, Flow, Left, Notification, Promise, Record, Resource, State,
};
use figures::{Figures, Table, thousands};
use groundcrew::stack::{TAG_APP, TAG_ENVIRONMENT};
use jiff::tz::TimeZone;
use maud::{Markup, PreEscaped, html};
use std::collections::BTreeMap;

/// What is wrong, first and whole; nothing if all is well.
pub(super) fn alerts(record: &Record) -> Markup {
    let broken: Vec<_> = record.broken().collect();
    html! {
        @if let Some(error) = &record.error {
            section.alert aria-labelledby="error-head" {
                h2 id="error-head" { "The rehearsal ended with an error" }
                pre { (error) }
                p { "What follows is as far as it got." }
            }
        }
        @if !broken.is_empty() {
            section.alert aria-labelledby="broken-head" {
                h2 id="broken-head" { (count(broken.len(), "promise is broken", "promises are broken")) }
                ul.promises { @for promise in &broken { (self::promise(record, promise)) } }
            }
        }
    }
}

/// Every promise, in the order in which it was checked.
pub(super) fn promises(record: &Record) -> Markup {
    html! {
        section id="promises" aria-labelledby="promises-head" {
            h2 id="promises-head" { "Promises" }
            @if record.promises.is_empty() {
                p { "Nothing that was played is held to a promise." }
            } @else {
                ul.promises { @for promise in &record.promises { (self::promise(record, promise)) } }
            }
        }
    }
}

fn promise(record: &Record, promise: &Promise) -> Markup {
    let flow = record.flows.get(promise.flow);
    html! {
        li class=(if promise.kept { "promise kept" } else { "promise broken" }) {
            span { (verdict(promise.kept)) }
            span.id { (promise.id) }
            div {
                p.sentence { (promise.sentence) }
                p.evidence {
                    (promise.evidence)
                    @if let Some(flow) = flow {
                        " " a.flow href={"#flow-" (promise.flow)} { (flow.title) }
                    }
                }
            }
        }
    }
}

fn verdict(kept: bool) -> Markup {
    html! {
        @if kept { strong.word.good { "✓ kept" } } @else { strong.word.bad { "✗ BROKEN" } }
    }
}

/// All flows in a table.
pub(super) fn overview(record: &Record) -> Markup {
    html! {
        section id="overview" aria-labelledby="overview-head" {
            h2 id="overview-head" { "Overview" }
            (boxed("What was played", html! {
                table {
                    caption { "What was played, in this order" }
                    thead { tr {
                        th scope="col" { "Flow" }
                        th scope="col" { "Promises" }
                        th scope="col" { "Executions" }
                        th.figure scope="col" { "AWS time" }
                        th.figure scope="col" { "Transitions" }
                        th.figure scope="col" { "Calls" }
                    } }
                    tbody { @for (index, flow) in record.flows.iter().enumerate() {
                        @let transitions: usize = flow.executions.iter().map(|it| it.transitions).sum();
                        tr {
                            th scope="row" { a href={"#flow-" (index)} { (flow.title) } }
                            td { (of_flow(record, index)) }
                            td { (endings(&flow.executions)) }
                            td.figure { (clock(flow.seconds)) }
                            td.figure { (thousands(transitions)) }
                            td.figure { (thousands(flow.calls.len())) }
                        }
                    } }
                }
            }))
        }
    }
}

/// How the promises of a flow stand.
fn of_flow(record: &Record, index: usize) -> Markup {
    let checked = record.promises.iter().filter(|it| it.flow == index);
    let (kept, broken): (Vec<_>, Vec<_>) = checked.partition(|promise| promise.kept);
    html! {
        @if !broken.is_empty() { strong.word.bad { "✗ " (broken.len()) " BROKEN" } " " }
        @if !kept.is_empty() { span.word.good { "✓ " (kept.len()) " kept" } }
    }
}

/// `park succeeded, 8 ×`
fn endings(executions: &[Execution]) -> String {
    let mut endings: Vec<(String, usize)> = Vec::new();
    for execution in executions {
        let ending = format!("{} {}", execution.machine, ended(&execution.end));
        match endings.iter_mut().find(|(known, _)| *known == ending) {
            Some((_, times)) => *times += 1,
            None => endings.push((ending, 1)),
        }
    }
    let endings = endings.into_iter().map(|(ending, times)| match times {
        1 => ending,
        times => format!("{ending}, {times} ×"),
    });
    endings.collect::<Vec<_>>().join("; ")
}

/// Each flow, with its timeline and the same in tables.
pub(super) fn flows(record: &Record) -> Markup {
    html! {
        section id="flows" aria-labelledby="flows-head" {
            h2 id="flows-head" { "Timelines" }
            (legend())
            @for (index, flow) in record.flows.iter().enumerate() { (self::flow(record, index, flow)) }
        }
    }
}

fn legend() -> Markup {
    let swatch = |shape: Markup, word: &str| {
        html! {
            li { svg.timeline viewBox="0 0 26 14" width="26" height="14" aria-hidden="true" { (shape) } " " (word) }
        }
    };
    html! {
        ul.legend aria-label="What the marks of the timelines mean" {
            (swatch(html! { rect.bar x="1" y="2" width="24" height="11" rx="2" {} }, "a state"))
            (swatch(html! {
                rect.bar x="1" y="2" width="24" height="11" rx="2" {}
                path.retry d="M7 2v11M13 2v11M19 2v11" {}
            }, "tried again"))
            (swatch(html! { rect.bar.wait x="1" y="2" width="24" height="11" rx="2" {} }, "a pause"))
            (swatch(html! { rect.bar.failed x="1" y="2" width="24" height="11" rx="2" {} }, "failed, or not well"))
            (swatch(html! { path.call d="M5 3v8M9 3v8M16 3v8" {} }, "a call"))
            (swatch(html! { path.refused d="M10 4L16 10M10 10L16 4" {} }, "a call answered with an error, of which “not found” is one"))
            (swatch(html! { g.event { path d="M13 2.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z" {} } }, "an event"))
            (swatch(html! { g.told { circle cx="13" cy="7" r="4.5" {} } }, "a notification"))
        }
    }
}

fn flow(record: &Record, index: usize, flow: &Flow) -> Markup {
    let id = format!("flow-{index}");
    let transitions: usize = flow.executions.iter().map(|it| it.transitions).sum();
    html! {
        section.flow id=(id) {
            h3 id={(id) "-head"} { (flow.title) }
            p.facts {
                (clock(flow.seconds)) " of AWS time"
                @if !flow.executions.is_empty() { " · " (endings(&flow.executions)) }
                @if transitions > 0 { " · " (count(transitions, "transition", "transitions")) }
                " " (of_flow(record, index))
            }
            @for execution in &flow.executions {
                @if let End::Failed { error, message } = &execution.end {
                    @if !message.is_empty() && !is_told(flow, message) {
                        p.cause { strong { (execution.machine) ": " (error) } " " (message) }
                    }
                }
            }
            @if timeline::is_empty(flow) {
                p { "Nothing ran, and no event came." }
            } @else {
                (boxed(&format!("Timeline: {}", flow.title), timeline::svg(flow, &id)))
                details {
                    summary { "The same as tables" }
                    @for execution in &flow.executions { (states(flow, execution)) }
                    (calls(flow))
                    (events(flow))
                }
            }
            @for told in &flow.notifications { (notification(flow, told)) }
        }
    }
}

/// Whether a cause is what somebody was told, which is shown anyway.
fn is_told(flow: &Flow, message: &str) -> bool {
    let told = flow.notifications.iter();
    told.map(|told| told.message.trim())
        .filter(|told| !told.is_empty())
        .any(|told| message.contains(told) || told.contains(message.trim()))
}

fn states(flow: &Flow, execution: &Execution) -> Markup {
    boxed(
        &format!("States of {}", execution.name),
        html! {
            table {
                caption {
                    (execution.machine) " " (ended(&execution.end)) " after " (clock(execution.seconds))
                    ", began at " (when(flow, execution.at)) ", named " code { (execution.name) }
                }
                thead { tr {
                    th scope="col" { "State" }
                    th.figure scope="col" { "Entered" }
                    th.figure scope="col" { "Took" }
                    th scope="col" { "Outcome" }
                    th scope="col" { "Attempts that failed" }
                } }
                tbody { @for state in &execution.states {
                    tr {
                        th scope="row" { (state.name) @if state.kind == "Wait" { " (a pause)" } }
                        td.figure { (when(flow, state.at)) }
                        td.figure { (clock(state.seconds)) }
                        td { (left(state)) }
                        td { (failures(state)) }
                    }
                } }
            }
        },
    )
}

fn left(state: &State) -> Markup {
    let outcome = state.outcome.as_deref();
    html! {
        @match state.left {
            Left::Done => (outcome.unwrap_or("done")),
            Left::Unwell => { strong.bad { "✗ not well: " } (outcome.unwrap_or_default()) },
            Left::Failed => strong.bad { "✗ failed" },
            Left::Not => "not left",
        }
    }
}

/// Attempts that failed for the same reason, once.
fn failures(state: &State) -> Markup {
    let mut reasons: Vec<(&str, &str, usize)> = Vec::new();
    for failure in &state.failures {
        match reasons.last_mut() {
            Some((error, message, times))
                if *error == failure.error && *message == failure.message =>
            {
                *times += 1;
            }
            _ => reasons.push((&failure.error, &failure.message, 1)),
        }
    }
    html! {
        @for (error, message, times) in reasons {
            div { @if times > 1 { (times) " × " } (error) ": " (message) }
        }
    }
}

fn calls(flow: &Flow) -> Markup {
    let mut rows: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    for call in &flow.calls {
        let row = (call.action.as_str(), principal(&call.principal));
        rows.entry(row).or_default().push(call);
    }
    let errors = |calls: &[&Call]| {
        let mut errors: Vec<_> = calls
            .iter()
            .filter_map(|call| call.error.as_deref())
            .collect();
        let refused = errors.len();
        errors.sort_unstable();
        errors.dedup();
        match refused {
            0 => String::new(),
            refused => format!("{refused}: {}", errors.join(", ")),
        }
    };
    html! {
        @if !rows.is_empty() {
            (boxed(&format!("AWS calls of {}", flow.title), html! {
                table {
                    caption { "AWS calls" }
                    thead { tr {
                        th scope="col" { "Action" }
                        th scope="col" { "By" }
                        th.figure scope="col" { "Times" }
                        th scope="col" { "Answered with an error" }
                    } }
                    tbody { @for ((action, by), calls) in &rows {
                        tr {
                            th scope="row" { (action) }
                            td { (by) }
                            td.figure { (thousands(calls.len())) }
                            td { (errors(calls)) }
                        }
                    } }
                }
            }))
        }
    }
}

fn events(flow: &Flow) -> Markup {
    html! {
        @if !flow.events.is_empty() {
            (boxed(&format!("Events of {}", flow.title), html! {
                table {
                    caption { "Events on the default bus" }
                    thead { tr {
                        th.figure scope="col" { "When" }
                        th scope="col" { "From" }
                        th scope="col" { "What" }
                        th scope="col" { "About" }
                    } }
                    tbody { @for event in &flow.events {
                        tr {
                            td.figure { (when(flow, event.at)) }
                            td { (event.source) }
                            td { (event.detail_type) }
                            td { (event.about) }
                        }
                    } }
                }
            }))
        }
    }
}

/// As its reader sees it.
fn notification(flow: &Flow, told: &Notification) -> Markup {
    html! {
        figure.told {
            figcaption { "Told at " (when(flow, told.at)) ": " strong { (told.subject) } }
            pre { (told.message) }
        }
    }
}

/// What was created, whose it is, and by whom.
pub(super) fn resources(record: &Record) -> Markup {
    html! {
        section id="resources" aria-labelledby="resources-head" {
            h2 id="resources-head" { "Resources" }
            @if record.resources.is_empty() {
                p { "groundcrew has created nothing." }
            } @else {
                p { "Each carries the tags of its stack and the name of the execution that created it: undo, teardown and sweep go by them." }
                (boxed("Resources", html! {
                    table.resources {
                        caption { (count(record.resources.len(), "resource", "resources")) " that groundcrew has created" }
                        thead { tr {
                            th scope="col" { "Kind" }
                            th scope="col" { "Name" }
                            th scope="col" { "Stack" }
                            th scope="col" { "Created by" }
                            th scope="col" { "In the end" }
                            th scope="col" { "ARN and tags" }
                        } }
                        tbody { @for resource in &record.resources {
                            tr {
                                td { (resource.kind) }
                                th scope="row" { (resource.name) }
                                td { (stack(resource)) }
                                td { (creator(resource)) }
                                td { @if resource.exists { "there" } @else { "gone" } }
                                td {
                                    details {
                                        summary { (count(resource.tags.len(), "tag", "tags")) }
                                        code { (resource.arn) }
                                        dl.tags { @for (key, value) in &resource.tags {
                                            div { dt { (key) } dd { (value) } }
                                        } }
                                    }
                                }
                            }
                        } }
                    }
                }))
            }
        }
    }
}

fn creator(resource: &Resource) -> Markup {
    // Behind its name the tag says when it began.
    let name = resource.created_by.split(' ').next();
    html! {
        @match resource.flow {
            Some(flow) => a href={"#flow-" (flow)} { (name.unwrap_or_default()) },
            None => (name.unwrap_or_default()),
        }
    }
}

fn stack(resource: &Resource) -> String {
    let tag = |key: &str| resource.tags.get(key).map_or("", String::as_str);
    format!("{}-{}", tag(TAG_APP), tag(TAG_ENVIRONMENT))
}

/// What it would have cost, and what nights save.
pub(super) fn cost(record: &Record) -> Markup {
    let Cost {
        state_transitions,
        dollars: transitions_cost,
        invocations,
        sleeps,
    } = &record.cost;
    html! {
        section id="cost" aria-labelledby="cost-head" {
            h2 id="cost-head" { "Cost" }
            p {
                "The " (count(*state_transitions, "state transition", "state transitions")) " of this rehearsal would cost "
                strong { (dollars(*transitions_cost)) } " on AWS, at $0.025 for 1,000 in us-east-1."
            }
            @if !invocations.is_empty() {
                (boxed("Invocations", html! {
                    table.narrow {
                        caption { "Invocations of functions" }
                        thead { tr { th scope="col" { "Function" } th.figure scope="col" { "Invocations" } } }
                        tbody { @for (function, times) in invocations {
                            tr { th scope="row" { (function) } td.figure { (thousands(*times)) } }
                        } }
                    }
                }))
            }
            @if !sleeps.is_empty() {
                (boxed("What parking saves", html! {
                    table {
                        caption {
                            "What parking saves, at the prices of us-east-1"
                            @if let Some(saved) = saved(&record.cost) { ": " (saved) " together" }
                        }
                        thead { tr {
                            th scope="col" { "Stack" }
                            th scope="col" { "Asleep since" }
                            th scope="col" { "Until" }
                            th.figure scope="col" { "Hours" }
                            th.figure scope="col" { "Saves" }
                        } }
                        tbody { @for sleep in sleeps {
                            tr {
                                th scope="row" { (sleep.stack) }
                                td { (sleep.since.to_zoned(TimeZone::UTC).strftime("%a %-d %B, %H:%M UTC").to_string()) }
                                td { (sleep.until.to_zoned(TimeZone::UTC).strftime("%a %-d %B, %H:%M UTC").to_string()) }
                                td.figure { (sleep.hours) }
                                td.figure {
                                    @if let Some(saved) = sleep.dollars { (format!("${saved:.2}")) } @else { "not known" }
                                }
                            }
                        } }
                    }
                }))
            }
        }
    }
}

/// What other commands have measured.
pub(super) fn figures(record: &Record) -> Markup {
    html! {
        @if !record.figures.is_empty() {
            section id="figures" aria-labelledby="figures-head" {
                h2 id="figures-head" { "Measurements" }
                @for figures in &record.figures { (measured(figures)) }
            }
        }
    }
}

fn measured(figures: &Figures) -> Markup {
    html! {
        section {
            h3 { (figures.title) }
            p.facts { "Measured on " (figures.taken) " with " code { (figures.command) } }
            @for table in &figures.tables { (self::table(table)) }
            @if !figures.goals.is_empty() { (table(&figures.goal_table())) }
            @for plot in &figures.plots {
                (boxed(&plot.title, html! { (PreEscaped(plot.svg())) }))
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    let is_figure = |cell: &str| cell.starts_with(|first: char| first.is_ascii_digit());
    let class = |column: usize| {
        let mut cells = table.rows.iter().filter_map(|row| row.get(column));
        (column > 0 && cells.all(|cell| is_figure(cell))).then_some("figure")
    };
    boxed(
        &table.caption,
        html! {
            table {
                caption { (marked(&table.caption)) }
                thead { tr { @for (column, name) in table.columns.iter().enumerate() {
                    @if name.is_empty() { td {} }
                    @else { th class=[class(column)] scope="col" { (marked(name)) } }
                } } }
                tbody { @for row in &table.rows {
                    tr { @for (column, cell) in row.iter().enumerate() {
                        @if column == 0 { th scope="row" { (marked(cell)) } }
                        @else { td class=[class(column)] { (marked(cell)) } }
                    } }
                } }
            }
        },
    )
}

/// Figures are written for the README, too, with code and bold as Markdown has them.
fn marked(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } }
            @else {
                @for (place, part) in part.split("**").enumerate() {
                    @if place % 2 == 1 { strong { (part) } } @else { (part) }
                }
            }
        }
    }
}

/// What may be wider than a page scrolls by itself, also with a keyboard.
fn boxed(label: &str, inside: Markup) -> Markup {
    html! { div.box tabindex="0" role="group" aria-label=(label) { (inside) } }
}
