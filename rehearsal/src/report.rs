//! A record as one HTML page that needs nothing else: no network, no script, no font. `maud` escapes all text.

mod parts;
mod timeline;
mod words;

use crate::project::Target;
use crate::record::Record;
use figures::thousands;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use parts::{alerts, cost, figures, flows, overview, promises, resources};
use std::path::PathBuf;
use words::{count, day, verdict};

const STYLE: &str = include_str!("report/style.css");

/// Nothing is loaded and nothing runs, whatever a name or a message holds.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Where a report goes unless it is told otherwise.
pub fn file() -> PathBuf {
    Target::of_this_program().rehearsal().join("report.html")
}

/// The page.
pub fn html(record: &Record) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (verdict(record)) " · " (record.command) }
                // Browsers ask for one otherwise.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (header(record))
                (contents(record))
                main id="main" {
                    (alerts(record))
                    (overview(record))
                    (promises(record))
                    (flows(record))
                    (resources(record))
                    (cost(record))
                    (figures(record))
                }
                (footer(record))
            }
        }
    };
    page.into_string()
}

fn header(record: &Record) -> Markup {
    // Of what is held to no promise, how it ended is all that can be said.
    let is_well = record.error.is_none()
        && record.broken().next().is_none()
        && (!record.promises.is_empty() || words::failed(record).is_none());
    let executions: usize = record.flows.iter().map(|flow| flow.executions.len()).sum();
    let calls: usize = record.flows.iter().map(|flow| flow.calls.len()).sum();
    html! {
        header.page {
            p.kind { "Rehearsal of groundcrew" }
            h1 class=(if is_well { "good" } else { "bad" }) { (verdict(record)) }
            p.when {
                code { (record.command) }
                " played " (count(record.flows.len(), "flow", "flows")) " on a local AWS on "
                time datetime=(record.began) { (day(&record.began)) }
                ", within " (crate::console::clock(record.wall_seconds)) " minutes."
            }
            dl.tiles {
                div { dt { "promises kept" } dd { (record.kept()) " of " (record.promises.len()) } }
                div { dt { "executions" } dd { (executions) } }
                div { dt { "state transitions" } dd { (thousands(record.cost.state_transitions)) } }
                div { dt { "calls of AWS" } dd { (thousands(calls)) } }
                div { dt { "would cost" } dd { (words::dollars(record.cost.dollars)) } }
                @if let Some(saved) = words::saved(&record.cost) {
                    div { dt { "its nights save" } dd { (saved) } }
                }
            }
        }
    }
}

fn contents(record: &Record) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul {
                li { a href="#overview" { "Overview" } }
                li { a href="#promises" { "Promises" } }
                li { a href="#flows" { "Timelines" } }
                li { a href="#resources" { "Resources" } }
                li { a href="#cost" { "Cost" } }
                @if !record.figures.is_empty() {
                    li { a href="#figures" { "Measurements" } }
                }
            }
        }
    }
}

fn footer(record: &Record) -> Markup {
    html! {
        footer {
            p {
                "All durations are those of AWS, of which " (record.time_scale) " seconds passed in one on the wall. "
                "A function takes as long to start as it does on this machine, so many times over."
            }
            p { "The same as JSON: " code { (record.command) " --json" } }
        }
    }
}

#[cfg(test)]
mod tests;
