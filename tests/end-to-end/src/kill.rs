//! The kill matrix: after a crash, a lost reply or a late effect of any request nothing is lost and nothing is there twice.
//!
//! `make test` runs over the wire, with a real SIGKILL, only what needs that: a kill before and after the effect of each request, a lost
//! reply and a late effect of each, and a kill before and after the effect of a clean-up. `make soak` runs the rest, in the modules `soak`:
//! other moments, late effects after a kill, lagging reads, a kill after each line of progress.

use serde_json::{Value, json};

use crate::matrix::{self, BEYOND, Case, Kill, WITHIN, Work};
use crate::site::{AWS, GCP, KEY_VAULT, MANAGED_HSM, Site};
use crate::world::World;

/// How many labs one test uses concurrently. Most of a case is waiting for time-outs.
const LABS: usize = 3;

/// The same for cases that wait almost all of the time.
const WAITING_LABS: usize = 2 * LABS;

/// One in so many runs may report fewer lines than the run that counted them, and so end before it is killed.
const MOST_UNKILLED: usize = 10;

/// A fault, and when `keyplane` is killed.
type Fault = (Value, Kill);

/// The sources of a site's keys. Both only at AWS, since what happens at the destination does not depend on the source.
fn sources(site: &Site) -> &'static [&'static str] {
    if site.destination == AWS.destination { &["derived", "generated"] } else { &["generated"] }
}

/// Each fault at every request, for keys of these sources.
fn at_every_request(site: &'static Site, sources: &[&'static str], faults: &[Fault]) -> Vec<Case> {
    let requests = 1..=site.requests.len() as u64;
    let of_source = |source: &&'static str| {
        let source = *source;
        requests.clone().flat_map(move |number| {
            faults.iter().map(move |(effect, kill)| Case {
                site,
                work: Work::FirstKey,
                source,
                fault: Some((number, effect.clone())),
                kill: *kill,
            })
        })
    };
    sources.iter().flat_map(of_source).collect()
}

/// Each fault at the request of a clean-up; none at a site that needs no clean-up.
fn at_a_clean_up(site: &'static Site, faults: &[Fault]) -> Vec<Case> {
    let case =
        |(effect, kill): &Fault| Case { site, work: Work::CleanUp, source: "generated", fault: Some((1, effect.clone())), kill: *kill };
    if site.cleans.is_empty() { Vec::new() } else { faults.iter().map(case).collect() }
}

fn run(name: &str, cases: Vec<Case>, labs: usize, prepare: fn(&World, &Site)) {
    println!("{name} at {}: {} cases", cases[0].site.destination, cases.len());
    matrix::run(cases, labs, prepare);
}

fn as_it_is(_: &World, _: &Site) {}

/// The emulator stops there, and then `keyplane` is killed.
fn halt(when: &str) -> Fault {
    (json!({ "kind": "halt", "when": when }), Kill::Halted { replied: when == "after_reply", lands: false })
}

/// The same, but the request that was stopped before its effect takes effect later.
fn halt_that_lands() -> Fault {
    (json!({ "kind": "halt", "when": "before_effect" }), Kill::Halted { replied: false, lands: true })
}

fn lost_reply() -> Fault {
    (json!({ "kind": "lost_reply" }), Kill::Not)
}

fn late(seconds: u64, kill: Kill) -> Fault {
    (json!({ "kind": "late", "after_seconds": seconds }), kill)
}

/// The effect comes between two looks of a client that knows at once that it gets no reply.
fn late_between_looks() -> Fault {
    (json!({ "kind": "late", "after_requests": 3, "close": true }), Kill::Not)
}

fn every_mutating_request(site: &'static Site) {
    let world = matrix::world(site);
    for source in sources(site) {
        assert_eq!(matrix::mutations(&world, site, Work::FirstKey, source, source), site.requests, "{}", site.destination);
    }
    assert_eq!(matrix::mutations(&world, site, Work::CleanUp, "surplus", "generated"), site.cleans, "{}", site.destination);
}

fn crashes_lost_replies_and_late_effects(site: &'static Site) {
    let crashes = [halt("before_effect"), halt("after_effect")];
    let kills = at_every_request(site, sources(site), &crashes);
    assert_eq!(kills.len(), 2 * sources(site).len() * site.requests.len(), "not two kills a request");
    // Clean-ups come first, because the work before each of them grows with the keys in the lab.
    let mut cases = at_a_clean_up(site, &crashes);
    cases.extend(kills);
    cases.extend(at_every_request(site, &["generated"], &[lost_reply(), late_between_looks()]));
    run("kill matrix", cases, LABS, as_it_is);
}

fn other_crashes(site: &'static Site) {
    let mut cases = at_a_clean_up(site, &[halt("after_reply")]);
    cases.extend(at_every_request(site, sources(site), &[halt("after_reply"), halt_that_lands()]));
    run("other moments of a kill", cases, LABS, as_it_is);
}

fn late_effects_after_a_crash(site: &'static Site) {
    let faults = [late(WITHIN, Kill::Received), late(BEYOND, Kill::Received)];
    run("late effects after a kill", at_every_request(site, sources(site), &faults), WAITING_LABS, as_it_is);
}

fn other_lost_replies_and_late_effects(site: &'static Site) {
    let mut cases = at_a_clean_up(site, &[lost_reply(), late(WITHIN, Kill::Not), late(BEYOND, Kill::Not)]);
    cases.extend(at_every_request(site, sources(site), &[late(WITHIN, Kill::Not), late(BEYOND, Kill::Not)]));
    let others: Vec<&'static str> = sources(site).iter().copied().filter(|source| *source != "generated").collect();
    cases.extend(at_every_request(site, &others, &[lost_reply(), late_between_looks()]));
    run("lost replies and late effects", cases, WAITING_LABS, as_it_is);
}

fn lagging_reads(site: &'static Site) {
    let faults = [halt("after_effect"), lost_reply()];
    run("reads that lag behind", at_every_request(site, sources(site), &faults), WAITING_LABS, |world, site| {
        world.emulator(site.destination).unwrap().post("consistency", &json!({ "seconds": 1 })).unwrap();
        world.edit_config(|text| text.replace("consistency = \"200ms\"", "consistency = \"1500ms\"")).unwrap();
    });
}

fn crashes_after_a_line_of_progress(site: &'static Site) {
    let world = matrix::world(site);
    let lines: Vec<(&'static str, usize)> = sources(site)
        .iter()
        .map(|source| {
            world.approved(source, source, &[site.destination]);
            let told = world.must(&["apply"]).unwrap().stderr;
            (*source, told.lines().count())
        })
        .collect();
    drop(world);
    let cases: Vec<Case> = lines
        .into_iter()
        .flat_map(|(source, lines)| {
            (1..=lines).map(move |line| Case { site, work: Work::FirstKey, source, fault: None, kill: Kill::Told(line) })
        })
        .collect();
    let count = cases.len();
    assert!(count >= 2 * sources(site).len() * site.requests.len(), "fewer than two lines a request");
    let unkilled = matrix::run(cases, LABS, as_it_is);
    println!("kills after a line of progress at {}: {count} cases, {unkilled} of which ended before", site.destination);
    assert!(unkilled * MOST_UNKILLED <= count, "{unkilled} of {count} runs were not killed");
}

/// Every kind of fault at every site. Each is a test of its own, so that they run concurrently and fail independently.
macro_rules! matrix {
    ($($module:ident: $site:expr;)*) => {
        $(mod $module {
            use super::*;

            #[test]
            fn the_matrix_has_every_mutating_request() {
                every_mutating_request(&$site);
            }

            #[test]
            fn a_crash_a_lost_reply_or_a_late_effect_at_any_request_loses_nothing_and_doubles_nothing() {
                crashes_lost_replies_and_late_effects(&$site);
            }

            mod soak {
                use super::*;

                #[test]
                #[ignore = "make soak"]
                fn a_crash_at_any_other_moment_of_a_request_loses_nothing_and_doubles_nothing() {
                    other_crashes(&$site);
                }

                #[test]
                #[ignore = "make soak"]
                fn a_crash_and_a_late_effect_at_any_request_lose_nothing_and_double_nothing() {
                    late_effects_after_a_crash(&$site);
                }

                #[test]
                #[ignore = "make soak"]
                fn a_lost_reply_or_a_late_effect_at_any_other_moment_loses_nothing_and_doubles_nothing() {
                    other_lost_replies_and_late_effects(&$site);
                }

                #[test]
                #[ignore = "make soak"]
                fn a_crash_or_a_lost_reply_while_reads_lag_behind_loses_nothing_and_doubles_nothing() {
                    lagging_reads(&$site);
                }

                #[test]
                #[ignore = "make soak"]
                fn a_crash_after_any_line_of_progress_loses_nothing_and_doubles_nothing() {
                    crashes_after_a_line_of_progress(&$site);
                }
            }
        })*
    };
}

matrix! {
    aws: AWS;
    google_cloud: GCP;
    key_vault: KEY_VAULT;
    managed_hsm: MANAGED_HSM;
}
