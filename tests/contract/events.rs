use super::documents::{files, json};
use groundcrew::Spec;
use groundcrew::step::Removal;

#[test]
fn every_event_is_what_its_reader_expects() {
    for file in files("events") {
        let event = json(&format!("events/{file}"));
        let read = match file.as_str() {
            name if name.starts_with("provision") => Spec::parse(&event).map(drop),
            "teardown.json" => Removal::parse(&event).map(drop),
            name => panic!("nobody reads events/{name}"),
        };
        read.unwrap_or_else(|error| panic!("events/{file}: {error}"));
    }
}

#[test]
fn each_state_machine_has_an_example_of_its_input() {
    for file in ["provision.json", "provision-minimal.json", "teardown.json"] {
        assert!(files("events").contains(&file.to_owned()), "{file}");
    }
}
