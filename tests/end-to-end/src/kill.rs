//! The kill matrix: a crash, a lost reply or a late effect at any request loses nothing and doubles nothing.

use serde_json::{Value, json};

use crate::matrix::{self, BEYOND, Case, Kill, WITHIN, Work};
use crate::site::{AWS, GCP, KEY_VAULT, MANAGED_HSM, SITES, Site};

/// How many labs work side by side in one test.
const LABS: usize = 2;

/// Of so many runs one may tell fewer lines than the run that counted them, and end before it is killed.
const MOST_UNKILLED: usize = 10;

/// The sources of a site's keys: both where most cases are, since how bytes come to be does not depend on where they go.
fn sources(site: &Site) -> &'static [&'static str] {
    if site.destination == AWS.destination { &["derived", "generated"] } else { &["generated"] }
}

/// Every case of some faults at a site: each at every request, for its sources.
#[expect(clippy::print_stdout, reason = "how many cases there are is a result")]
fn cases(name: &str, site: &'static Site, faults: &[(Value, Kill)]) -> Vec<Case> {
    let at_request = |source, number| {
        let case = move |(effect, kill): &(Value, Kill)| Case {
            site,
            work: Work::FirstKey,
            source,
            fault: Some((number, effect.clone())),
            kill: *kill,
        };
        faults.iter().map(case)
    };
    let requests = 1..=site.requests.len() as u64;
    let of_source = |source: &&'static str| {
        let source = *source;
        requests.clone().flat_map(move |number| at_request(source, number)).collect::<Vec<_>>()
    };
    let cases: Vec<Case> = sources(site).iter().flat_map(of_source).collect();
    println!("{name} at {}: {} cases over {} requests", site.destination, cases.len(), sources(site).len() * site.requests.len());
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
    for site in SITES {
        let world = crate::world::World::enrolled_at(site.destination);
        for source in sources(site) {
            assert_eq!(matrix::mutations(&world, site, Work::FirstKey, source, source), site.requests, "{}", site.destination);
        }
        let world = matrix::world(site);
        assert_eq!(matrix::mutations(&world, site, Work::CleanUp, "surplus", "generated"), site.cleans, "{}", site.destination);
    }
}

fn crashes(site: &'static Site) {
    let at = |when, replied, lands| (halt(when), Kill::Halted { replied, lands });
    let faults = [
        at("before_effect", false, false),
        at("before_effect", false, true),
        at("after_effect", false, false),
        at("after_reply", true, false),
    ];
    let cases = cases("kill matrix", site, &faults);
    assert!(cases.len() >= 3 * sources(site).len() * site.requests.len(), "fewer than three cases a request");
    matrix::run(cases, LABS, |_, _| {});
}

fn late_effects_after_a_crash(site: &'static Site) {
    let faults = [(late(WITHIN), Kill::Received), (late(BEYOND), Kill::Received)];
    matrix::run(cases("late effects after a kill", site, &faults), LABS, |_, _| {});
}

fn lost_replies_and_late_effects(site: &'static Site) {
    // Between two looks of a client that knows at once that it has no reply.
    let between = json!({ "kind": "late", "after_requests": 3, "close": true });
    let faults = [json!({ "kind": "lost_reply" }), between, late(WITHIN), late(BEYOND)].map(|effect| (effect, Kill::Not));
    matrix::run(cases("lost replies and late effects", site, &faults), LABS, |_, _| {});
}

#[expect(clippy::print_stdout, reason = "how many cases there are is a result")]
fn faults_of_a_clean_up(site: &'static Site) {
    let at = |when, replied| (halt(when), Kill::Halted { replied, lands: false });
    let crashes = [at("before_effect", false), at("after_effect", false), at("after_reply", true)];
    let others = [json!({ "kind": "lost_reply" }), late(WITHIN), late(BEYOND)].map(|effect| (effect, Kill::Not));
    let case = |(effect, kill)| Case { site, work: Work::CleanUp, source: "generated", fault: Some((1, effect)), kill };
    let cases: Vec<Case> = crashes.into_iter().chain(others).map(case).collect();
    println!("clean-ups at {}: {} cases over 1 request", site.destination, cases.len());
    matrix::run(cases, LABS, |_, _| {});
}

fn lagging_reads(site: &'static Site) {
    let faults = [(halt("after_effect"), Kill::Halted { replied: false, lands: false }), (json!({ "kind": "lost_reply" }), Kill::Not)];
    matrix::run(cases("reads that lag behind", site, &faults), 2 * LABS, |world, site| {
        world.emulator(site.destination).unwrap().post("consistency", &json!({ "seconds": 1 })).unwrap();
        world.edit_config(|text| text.replace("consistency = \"200ms\"", "consistency = \"1500ms\"")).unwrap();
    });
}

#[expect(clippy::print_stdout, reason = "how many cases there are is a result")]
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
    let unkilled = matrix::run(cases, LABS, |_, _| {});
    println!("kills after a line of progress at {}: {count} cases, {unkilled} of which ended before", site.destination);
    assert!(unkilled * MOST_UNKILLED <= count, "{unkilled} of {count} runs were not killed");
}

/// Every kind of fault at every site: a test of its own each, so that they run side by side and fail by themselves.
macro_rules! matrix {
    ($($module:ident: $site:expr;)*) => {
        $(mod $module {
            use super::*;

            #[test]
            fn a_crash_at_any_request_loses_nothing_and_doubles_nothing() {
                crashes(&$site);
            }

            #[test]
            fn a_crash_and_a_late_effect_at_any_request_lose_nothing_and_double_nothing() {
                late_effects_after_a_crash(&$site);
            }

            #[test]
            fn a_lost_reply_or_a_late_effect_at_any_request_loses_nothing_and_doubles_nothing() {
                lost_replies_and_late_effects(&$site);
            }

            #[test]
            fn a_crash_or_a_lost_reply_while_reads_lag_behind_loses_nothing_and_doubles_nothing() {
                lagging_reads(&$site);
            }

            #[test]
            fn a_crash_after_any_line_of_progress_loses_nothing_and_doubles_nothing() {
                crashes_after_a_line_of_progress(&$site);
            }
        })*
    };
}

#[test]
fn a_crash_a_lost_reply_or_a_late_effect_of_a_clean_up_loses_nothing_at_aws() {
    faults_of_a_clean_up(&AWS);
}

#[test]
fn a_crash_a_lost_reply_or_a_late_effect_of_a_clean_up_loses_nothing_at_google_cloud() {
    faults_of_a_clean_up(&GCP);
}

matrix! {
    aws: AWS;
    google_cloud: GCP;
    key_vault: KEY_VAULT;
    managed_hsm: MANAGED_HSM;
}
