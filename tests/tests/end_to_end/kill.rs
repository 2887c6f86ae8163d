//! The kill matrix: a crash, a lost reply or a late effect at any request loses nothing and doubles nothing.

use serde_json::{Value, json};

use crate::matrix::{self, Case, Kill};
use crate::world::World;

/// The profiles of the two sources.
const SOURCES: [&str; 2] = ["derived", "generated"];

/// What a key takes: the object, its claim, its material, its users' name.
const REQUESTS: [&str; 4] = ["CreateKey", "CreateAlias", "ImportKeyMaterial", "CreateAlias"];

/// How many labs work side by side in one test.
const LABS: usize = 2;

/// Within the settling time of the labs (time-out and consistency bound: 1.2 s): the client has given up, and still waits.
const WITHIN: u64 = 1;

/// Beyond it: the client has concluded that nothing happened, and done it again.
const BEYOND: u64 = 5;

/// Every case of some faults: each at every request, for both sources.
#[expect(clippy::print_stdout, reason = "how many cases there are is a result")]
fn cases(name: &str, faults: &[(Value, Kill)]) -> Vec<Case> {
    let at_request =
        |source, number| faults.iter().map(move |(effect, kill)| Case { source, fault: Some((number, effect.clone())), kill: *kill });
    let requests = 1..=REQUESTS.len() as u64;
    let cases: Vec<Case> = SOURCES.iter().flat_map(|source| requests.clone().flat_map(move |number| at_request(*source, number))).collect();
    println!("{name}: {} cases over {} requests", cases.len(), SOURCES.len() * REQUESTS.len());
    cases
}

fn halt(when: &str) -> Value {
    json!({ "kind": "halt", "when": when })
}

fn late(seconds: u64) -> Value {
    json!({ "kind": "late", "after_seconds": seconds })
}

#[test]
fn the_matrix_has_every_mutating_request() {
    let world = World::enrolled();
    for source in SOURCES {
        assert_eq!(matrix::mutations(&world, source, source), REQUESTS);
    }
}

#[test]
fn a_crash_at_any_request_loses_nothing_and_doubles_nothing() {
    let at = |when, replied, lands| (halt(when), Kill::Halted { replied, lands });
    let faults = [
        at("before_effect", false, false),
        at("before_effect", false, true),
        at("after_effect", false, false),
        at("after_reply", true, false),
    ];
    let cases = cases("kill matrix", &faults);
    assert!(cases.len() >= 3 * SOURCES.len() * REQUESTS.len(), "fewer than three cases a request");
    matrix::run(cases, LABS, |_| {});
}

#[test]
fn a_crash_and_a_late_effect_at_any_request_lose_nothing_and_double_nothing() {
    let faults = [(late(WITHIN), Kill::Received), (late(BEYOND), Kill::Received)];
    matrix::run(cases("late effects after a kill", &faults), LABS, |_| {});
}

#[test]
fn a_lost_reply_or_a_late_effect_at_any_request_loses_nothing_and_doubles_nothing() {
    // Between two looks of a client that knows at once that it has no reply.
    let between = json!({ "kind": "late", "after_requests": 3, "close": true });
    let faults = [json!({ "kind": "lost_reply" }), between, late(WITHIN), late(BEYOND)].map(|effect| (effect, Kill::Not));
    matrix::run(cases("lost replies and late effects", &faults), LABS, |_| {});
}

#[test]
fn a_crash_or_a_lost_reply_while_reads_lag_behind_loses_nothing_and_doubles_nothing() {
    let faults = [(halt("after_effect"), Kill::Halted { replied: false, lands: false }), (json!({ "kind": "lost_reply" }), Kill::Not)];
    matrix::run(cases("reads that lag behind", &faults), 2 * LABS, |world| {
        world.here().post("consistency", &json!({ "seconds": 1 })).unwrap();
        world.edit_config(|text| text.replace("consistency = \"200ms\"", "consistency = \"1500ms\"")).unwrap();
    });
}

#[test]
fn a_crash_after_any_line_of_progress_loses_nothing_and_doubles_nothing() {
    let world = matrix::world();
    let lines = SOURCES.map(|source| {
        world.approved(source, source, &[crate::world::HERE]);
        let told = world.must(&["apply"]).unwrap().stderr;
        (source, told.lines().count())
    });
    drop(world);
    let cases: Vec<Case> = lines
        .into_iter()
        .flat_map(|(source, lines)| (1..=lines).map(move |line| Case { source, fault: None, kill: Kill::Told(line) }))
        .collect();
    println!("kills after a line of progress: {} cases", cases.len());
    assert!(cases.len() >= 2 * SOURCES.len() * REQUESTS.len(), "fewer than two lines a request");
    matrix::run(cases, LABS, |_| {});
}
