use super::html;
use crate::record::{
    Call, Cost, End, Event, Execution, Failure, Flow, Left, Moment, Notification, Promise, Record,
    Resource, Sleep, State, VERSION,
};
use figures::{Figures, Goal, Limit, Plot, Series, Table};

const SCRIPT: &str = "<script>alert('x')</script>";

fn state(name: &str, at: f64, left: Left) -> State {
    State {
        name: name.into(),
        kind: "Task".into(),
        at,
        seconds: 60.0,
        left,
        outcome: None,
        failures: vec![Failure {
            at: at + 30.0,
            error: "NotReady".into(),
            message: "the database is not ready yet".into(),
        }],
    }
}

fn promise(kept: bool, evidence: &str) -> Promise {
    Promise {
        id: "O1".into(),
        sentence: "A push is deployed once, by digest".into(),
        kept,
        evidence: evidence.into(),
        flow: 0,
    }
}

/// One of each, with a broken promise.
fn record() -> Record {
    let moment = |at: f64, local: &str| Moment {
        at,
        local: local.parse().expect("a time"),
    };
    let flow = Flow {
        title: "A push".into(),
        seconds: 600.0,
        moments: vec![
            moment(0.0, "2026-11-23T20:00:00+01:00[Europe/Berlin]"),
            moment(300.0, "2026-11-24T07:00:00+01:00[Europe/Berlin]"),
        ],
        executions: vec![Execution {
            machine: "deploy".into(),
            name: "first".into(),
            at: 20.0,
            seconds: 200.0,
            end: End::Failed {
                error: "RolledBack".into(),
                message: "it was not well".into(),
            },
            transitions: 26,
            states: vec![
                state("Assess", 20.0, Left::Done),
                state("Smoke check", 80.0, Left::Unwell),
                state("Roll back", 140.0, Left::Failed),
            ],
        }],
        calls: vec![
            Call {
                at: 30.0,
                principal: "groundcrew-DeployFunctionRole-0A".into(),
                action: "apprunner:UpdateService".into(),
                error: None,
            },
            Call {
                at: 35.0,
                principal: "groundcrew-DeployFunctionRole-0A".into(),
                action: "apprunner:UpdateService".into(),
                error: Some("InvalidStateException".into()),
            },
        ],
        events: vec![Event {
            at: 1.0,
            source: "aws.ecr".into(),
            detail_type: "ECR Image Action".into(),
            about: "PUSH, latest".into(),
        }],
        notifications: vec![Notification {
            at: 320.0,
            topic: "arn:aws:sns:us-east-1:123456789012:Notifications".into(),
            subject: "shop-staging: rolled back".into(),
            message: "It runs the image before.".into(),
        }],
    };
    let tags = [
        ("groundcrew:app", "shop"),
        ("groundcrew:environment", "staging"),
    ];
    let mut figures = Figures::new("Cold starts", "cargo measure cold-start");
    figures.tables.push(Table {
        caption: "Cold starts".into(),
        columns: vec!["function".into(), "ms".into()],
        rows: vec![vec!["trigger".into(), "12".into()]],
    });
    figures.goals.push(Goal {
        what: "trigger over floor".into(),
        measured: 1.9,
        noise: 0.1,
        limit: Limit::AtMost(2.0),
        held: None,
    });
    figures.plots.push(Plot {
        title: "Calls".into(),
        x: "services".into(),
        y: "calls".into(),
        series: vec![Series {
            name: "push".into(),
            points: vec![(1.0, 38.0), (10.0, 380.0)],
        }],
    });
    Record {
        version: VERSION,
        command: "cargo rehearse deploy".into(),
        began: "2026-11-21T12:10:00Z".parse().expect("a time"),
        wall_seconds: 20.0,
        time_scale: 200.0,
        error: None,
        flows: vec![flow],
        promises: vec![promise(true, "once"), promise(false, "twice, at 20:01")],
        resources: vec![Resource {
            kind: "rds db".into(),
            name: "shop-staging".into(),
            arn: "arn:aws:rds:us-east-1:123456789012:db:shop-staging".into(),
            tags: tags.map(|(key, value)| (key.into(), value.into())).into(),
            created_by: "rehearsal-provision".into(),
            flow: Some(0),
            exists: true,
        }],
        cost: Cost {
            state_transitions: 26,
            dollars: 0.000_65,
            invocations: [("deploy".to_owned(), 9)].into(),
            sleeps: vec![Sleep {
                stack: "shop-staging".into(),
                since: "2026-11-23T21:00:00Z".parse().expect("a time"),
                until: "2026-11-24T06:00:00Z".parse().expect("a time"),
                hours: 9.0,
                dollars: Some(0.27),
            }],
        },
        figures: vec![figures],
    }
}

#[test]
fn a_broken_promise_is_the_first_thing_that_is_said_with_its_evidence() {
    let page = html(&record());
    let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("no {what}"));
    assert!(place("<h1 class=\"bad\">1 of 2 promises broken</h1>") < place("✗ BROKEN"));
    assert!(place("✗ BROKEN") < place("twice, at 20:01"));
    assert!(place("twice, at 20:01") < place("✓ kept"));
    assert!(page.contains("<title>1 of 2 promises broken"));
}

#[test]
fn a_rehearsal_that_ends_with_an_error_says_so_first_and_shows_how_far_it_got() {
    let mut record = record();
    record.promises.retain(|promise| promise.kept);
    record.error = Some("the local AWS refused ecr:ListImages: it is gone".into());
    let page = html(&record);
    assert!(page.contains("<h1 class=\"bad\">It ended with an error: 1 of 1 promises kept</h1>"));
    let error = page.find("it is gone").expect("the error");
    assert!(
        error
            < page
                .find("<h3 id=\"flow-0-head\">A push")
                .expect("the flow")
    );
}

#[test]
fn what_is_held_to_no_promise_says_how_it_ended() {
    let mut record = record();
    record.promises.clear();
    assert!(html(&record).contains("<h1 class=\"bad\">deploy ended with RolledBack</h1>"));
    record.flows[0].executions[0].end = End::Succeeded;
    assert!(html(&record).contains("<h1 class=\"good\">No promise was checked</h1>"));
}

#[test]
fn whatever_a_text_holds_it_is_shown_as_text() {
    let mut record = record();
    record.command = SCRIPT.into();
    record.error = Some(SCRIPT.into());
    record.promises[0].evidence = SCRIPT.into();
    record.promises[1].sentence = SCRIPT.into();
    let resource = &mut record.resources[0];
    resource.name = SCRIPT.into();
    resource.created_by = SCRIPT.into();
    resource.tags.insert(SCRIPT.into(), SCRIPT.into());
    let figures = &mut record.figures[0];
    figures.tables[0].rows[0][0] = SCRIPT.into();
    let Plot {
        title,
        x,
        y,
        series,
    } = &mut figures.plots[0];
    for text in [title, x, y, &mut series[0].name] {
        *text = SCRIPT.into();
    }
    let flow = &mut record.flows[0];
    flow.title = SCRIPT.into();
    flow.notifications[0].subject = SCRIPT.into();
    flow.notifications[0].message = SCRIPT.into();
    flow.events[0].about = SCRIPT.into();
    flow.calls[0].action = SCRIPT.into();
    flow.calls[1].error = Some(SCRIPT.into());
    let execution = &mut flow.executions[0];
    execution.machine = SCRIPT.into();
    execution.states[0].name = SCRIPT.into();
    execution.states[1].outcome = Some(SCRIPT.into());
    execution.states[2].failures[0].message = SCRIPT.into();
    let page = html(&record);
    assert!(!page.contains("<script"));
    assert!(page.matches("&lt;script&gt;").count() > 18);
    // In an attribute nothing may end it.
    assert!(!page.contains("aria-label=\"Timeline: <"));
}

#[test]
fn a_page_needs_nothing_but_itself() {
    // The name space of a drawing is a name, not an address.
    let page = html(&record()).replace("http://www.w3.org/2000/svg", "");
    for needs in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(needs), "{needs}");
    }
    let links: Vec<_> = page
        .match_indices("href=\"")
        .map(|(at, _)| &page[at + 6..])
        .collect();
    assert!(
        links
            .iter()
            .all(|link| link.starts_with('#') || link.starts_with("data:,"))
    );
    for link in links.iter().filter_map(|link| link.strip_prefix('#')) {
        let id = link.split('"').next().unwrap_or_default();
        assert!(
            page.contains(&format!("id=\"{id}\"")),
            "nothing is called {id}"
        );
    }
}

#[test]
fn a_timeline_says_in_words_and_in_a_table_what_it_shows() {
    let page = html(&record());
    assert!(page.contains("role=\"img\" aria-labelledby=\"flow-0-title flow-0-desc\""));
    assert!(page.contains(
        "deploy RolledBack after 3:20: Assess 1:00; Smoke check 1:00; Roll back 1:00, failed."
    ));
    assert!(page.contains("2 calls, 1 of them answered with an error; 1 event; 1 notification."));
    assert!(page.contains("<td>1: InvalidStateException</td>"));
    // On the clock of the people, also after it was moved on.
    assert!(page.contains("Mon 20:00:20") && page.contains(">Tue 07:00</text>"));
}

#[test]
fn a_record_of_a_day_makes_a_page_that_can_be_sent_by_mail() {
    let mut record = record();
    let flow = &mut record.flows[0];
    let calls = (0..2000).map(|n| Call {
        at: f64::from(n) * 0.3,
        ..flow.calls[0].clone()
    });
    flow.calls = calls.collect();
    let states = flow.executions[0].states.clone();
    flow.executions[0].states = states.into_iter().cycle().take(60).collect();
    record.flows = vec![record.flows[0].clone(); 25];
    let size = html(&record).len();
    assert!(size < 1_500_000, "{size} bytes");
}

#[test]
fn a_record_is_the_same_after_it_was_json() {
    let record = record();
    let json = record.json().expect("JSON");
    let again: Record = serde_json::from_str(&json).expect("a record");
    assert_eq!(again, record);
    assert!(json.starts_with("{\"version\":1,"));
}
