//! The grid: every cloud, every mutating request of a key's way there, every mishap, with a crash and without, one by one.
//!
//! Owns schedules made by hand, of one key each, and what each of them has to come to. What a schedule drawn from a seed meets by
//! chance is met here for certain; what happens over the wire is the end-to-end kill matrix's to show.
//!
//! How many requests and moments there are, undisturbed runs say: a request that the engine sends one day has its cases that day.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keyplane_model::{Action, Algorithm, ChangeSetState, ObjectState, Purpose};

use crate::clouds::Place;
use crate::life::Moment;
use crate::planted::Planted;
use crate::rules::{Broken, Rule, is_live, materials, objects};
use crate::schedule::{Fault, KeyPlan, Mishap, Schedule};
use crate::shrink::shrink;
use crate::world::{Ended, run};

/// A cloud of the grid, and the requests that a first key takes there: no more than the contracts ask for.
struct Cloud {
    name: &'static str,
    place: Place,
    key_vault: bool,
    algorithm: Algorithm,
    requests: &'static [&'static str],
}

const AWS: Cloud = Cloud {
    name: "aws",
    place: Place::Aws,
    key_vault: false,
    algorithm: Algorithm::Aes256,
    requests: &["CreateKey", "CreateAlias", "ImportKeyMaterial", "CreateAlias"],
};

const GOOGLE_CLOUD: Cloud = Cloud {
    name: "google cloud",
    place: Place::Gcp,
    requests: &["CreateCryptoKey", "CreateImportJob", "ImportCryptoKeyVersion", "UpdateCryptoKeyPrimaryVersion"],
    ..AWS
};

const KEY_VAULT: Cloud =
    Cloud { name: "key vault", place: Place::Azure, key_vault: true, algorithm: Algorithm::Rsa3072, requests: &["CreateKey", "ImportKey"] };

const MANAGED_HSM: Cloud = Cloud { name: "managed hsm", key_vault: false, algorithm: Algorithm::Aes256, ..KEY_VAULT };

impl Cloud {
    /// Every cloud of the grid.
    const ALL: [&Self; 4] = [&AWS, &GOOGLE_CLOUD, &KEY_VAULT, &MANAGED_HSM];
}

/// A late effect that its client still waits for, in seconds: the clouds of a run time a call out after 10 s, and an attempt counts
/// as open for 20 s. With reads that lag by [`LAG`], it shows just in time.
const WITHIN: u32 = 11;

/// A late effect after its client concluded that there is none, and sent the request again.
const BEYOND: u32 = 60;

/// Seconds for which reads lag behind, where they do.
const LAG: u32 = 8;

/// Seconds in which everything goes wrong that will: a key is there by then, and its mishap over.
const TROUBLE: u32 = 600;

/// The same where something is left over: time for its clean-up as well.
const LONGER_TROUBLE: u32 = 1_800;

/// What can become of a request; `None`: nothing out of the ordinary, only a crash.
const MISHAPS: [Option<Mishap>; 11] = [
    None,
    Some(Mishap::LostReply),
    Some(Mishap::Late(1)),
    Some(Mishap::Late(WITHIN)),
    Some(Mishap::Late(BEYOND)),
    Some(Mishap::Closed(3)),
    Some(Mishap::Swallowed),
    Some(Mishap::Failed { applied: true }),
    Some(Mishap::Failed { applied: false }),
    Some(Mishap::Throttled),
    Some(Mishap::Twice),
];

/// A crash around a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crash {
    moment: Moment,
    lands: bool,
}

/// Where a server can crash around a request; `None`: nowhere.
const CRASHES: [Option<Crash>; 6] = [
    None,
    Some(Crash { moment: Moment::Written, lands: true }),
    Some(Crash { moment: Moment::Sent, lands: false }),
    Some(Crash { moment: Moment::Sent, lands: true }),
    Some(Crash { moment: Moment::Served, lands: true }),
    Some(Crash { moment: Moment::Answered, lands: true }),
];

/// What is the same for the cases of a cloud that differ in what goes wrong.
#[derive(Clone, Copy, Debug)]
struct Setting {
    generated: bool,
    servers: u32,
    lag: u32,
}

/// Both sources of bytes; then what makes crashes and looks harder: another server that takes over at once, and reads that lag behind.
const SETTINGS: [Setting; 4] = [
    Setting { generated: false, servers: 1, lag: 0 },
    Setting { generated: true, servers: 1, lag: 0 },
    Setting { generated: true, servers: 1, lag: LAG },
    Setting { generated: true, servers: 2, lag: LAG },
];

/// Whether a mishap and a crash can meet: after a reply nobody crashes where none comes, and the connection is not closed either.
fn fits(mishap: Option<Mishap>, crash: Option<Crash>) -> bool {
    let is_answered = !matches!(mishap, Some(Mishap::Late(_) | Mishap::Swallowed));
    match crash {
        None => mishap.is_some(),
        Some(crash) => is_answered || crash.moment != Moment::Answered,
    }
}

fn name_of(mishap: Option<Mishap>) -> String {
    mishap.map_or("no mishap".to_owned(), |mishap| format!("{mishap:?}"))
}

/// Whether a mishap may leave something over: an effect so late that the request was sent again, or that came twice.
fn may_double(fault: &Fault) -> bool {
    matches!(fault, Fault::Request { what: Mishap::Late(BEYOND) | Mishap::Twice, .. })
}

fn schedule(cloud: &Cloud, setting: Setting, faults: Vec<Fault>) -> Schedule {
    let key = KeyPlan {
        name: KEY.to_owned(),
        need: 1,
        generated: setting.generated,
        purpose: Purpose::Encrypt,
        shared: false,
        places: [(cloud.place, cloud.algorithm)].into(),
    };
    Schedule {
        seed: 1,
        servers: setting.servers,
        key_vault: cloud.key_vault,
        keys: vec![key],
        change: None,
        charter: None,
        approvers: vec![Some(1)],
        lags: [(cloud.place, setting.lag)].into(),
        readings: Vec::new(),
        slow: false,
        // A late effect may leave something over: its clean-up has to be approved first.
        trouble: if faults.iter().any(may_double) { LONGER_TROUBLE } else { TROUBLE },
        faults,
    }
}

const KEY: &str = "key-0";

/// What a case is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Label {
    cloud: &'static str,
    /// The number and operation of a request, or a moment.
    at: String,
    mishap: String,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: {}", self.cloud, self.at, self.mishap)
    }
}

/// The cases of one cloud, and how many there are of each kind.
struct Grid {
    cloud: &'static Cloud,
    planted: Option<Planted>,
    counts: BTreeMap<Label, u64>,
    /// How many cases broke each rule.
    broken: BTreeMap<Rule, u64>,
    failures: Vec<String>,
}

impl Grid {
    /// A cloud's grid, with every case run; with a planted bug, with that one in it.
    fn walked(cloud: &'static Cloud, planted: Option<Planted>) -> Self {
        let mut grid = Self { cloud, planted, counts: BTreeMap::new(), broken: BTreeMap::new(), failures: Vec::new() };
        grid.walk();
        grid.demand_every_case();
        grid
    }

    /// Whether the planted bug was found: then the other cases need not be run.
    fn is_found(&self) -> bool {
        self.planted.is_some_and(|planted| self.broken.contains_key(&planted.breaks()))
    }

    /// Every request of a key's way has every case: otherwise one could be lost, and nobody would see it.
    fn demand_every_case(&mut self) {
        for (number, operation) in (1..).zip(self.cloud.requests) {
            for mishap in MISHAPS {
                let crashes = CRASHES.into_iter().filter(|crash| fits(mishap, *crash)).count();
                let label = Label { cloud: self.cloud.name, at: format!("request {number}, {operation}"), mishap: name_of(mishap) };
                let count = self.counts.get(&label).copied().unwrap_or_default();
                if count != (crashes * SETTINGS.len()) as u64 && self.planted.is_none() {
                    self.failures.push(format!("{label}: {count} cases"));
                }
            }
        }
    }

    /// Runs every case.
    fn walk(&mut self) {
        for setting in SETTINGS {
            let undisturbed = self.case("nothing goes wrong", "no mishap", setting, Vec::new());
            let requests = mutating(&undisturbed, self.cloud);
            if self.planted.is_none() && requests != self.cloud.requests {
                self.failures.push(format!("{} gets other requests than the contract asks for: {requests:?}", self.cloud.name));
            }
            self.at_every_request(setting, &requests, 0, &[]);
            self.at_every_moment(setting, &undisturbed, "", &[]);
            for (number, operation) in (1..).zip(&requests) {
                let late = Fault::Request { place: self.cloud.place, mutation: number, what: Mishap::Late(BEYOND) };
                let before = [late];
                let ended = run(&schedule(self.cloud, setting, before.to_vec()), self.planted, false);
                let all = mutating(&ended, self.cloud);
                self.at_every_moment(setting, &ended, &format!("late {operation}, "), &before);
                // What an undisturbed key does not send cleans up.
                let first = all.iter().position(|operation| !requests.contains(operation)).unwrap_or(all.len());
                self.at_every_request(setting, &all, first, &before);
            }
        }
    }

    /// Every mishap at every request from the `first` on (from 0), with a crash around it and without. `before` is what goes wrong
    /// earlier: requests that get no answer.
    fn at_every_request(&mut self, setting: Setting, requests: &[String], first: usize, before: &[Fault]) {
        for (number, operation) in (1..).zip(requests).skip(first) {
            for mishap in MISHAPS {
                for crash in CRASHES {
                    if !fits(mishap, crash) || self.is_found() {
                        continue;
                    }
                    let mut faults = before.to_vec();
                    faults.extend(mishap.map(|what| Fault::Request { place: self.cloud.place, mutation: number, what }));
                    faults.extend(crash.map(|Crash { moment, lands }| {
                        // What never came back is not among the answers.
                        let unanswered = if moment == Moment::Answered { before.len() as u64 } else { 0 };
                        Fault::CrashAt { moment, nth: number - unanswered, lands }
                    }));
                    self.case(&format!("request {number}, {operation}"), &name_of(mishap), setting, faults);
                }
            }
        }
    }

    /// A crash at every line of progress and every receipt of a run in which this went wrong before.
    fn at_every_moment(&mut self, setting: Setting, ended: &Ended, what: &str, before: &[Fault]) {
        for moment in [Moment::Told, Moment::Recorded] {
            for nth in 1..=ended.remains.moments.get(&moment).copied().unwrap_or_default() {
                if self.is_found() {
                    return;
                }
                let crash = Fault::CrashAt { moment, nth, lands: true };
                let faults = before.iter().cloned().chain([crash]).collect();
                self.case(&format!("{what}every {moment:?}"), "crash", setting, faults);
            }
        }
    }

    /// Runs a case, and demands what it has to come to.
    fn case(&mut self, at: &str, mishap: &str, setting: Setting, faults: Vec<Fault>) -> Ended {
        let label = Label { cloud: self.cloud.name, at: at.to_owned(), mishap: mishap.to_owned() };
        let schedule = schedule(self.cloud, setting, faults);
        let ended = run(&schedule, self.planted, false);
        let broken = judged(&schedule, &ended);
        for rule in broken.iter().map(|broken| broken.rule).collect::<BTreeSet<_>>() {
            *self.broken.entry(rule).or_default() += 1;
        }
        if !broken.is_empty() && self.failures.len() < MOST_TOLD && self.planted.is_none() {
            let judge = |schedule: &Schedule| judged(schedule, &run(schedule, self.planted, false));
            let (smaller, _) = shrink(&schedule, &broken, judge);
            let lines = run(&smaller, self.planted, true).lines.join("\n");
            self.failures.push(format!("{label}: {setting:?}: {broken:#?}\nof {:?}\nas in {smaller:?}\n{lines}", schedule.faults));
        } else if let Some(first) = broken.first() {
            self.failures.push(format!("{label}: {setting:?}: {:?}: {}", schedule.faults, first.what));
        }
        *self.counts.entry(label).or_default() += 1;
        ended
    }
}

/// How many failing cases are told with a smaller schedule and its transcript.
const MOST_TOLD: usize = 2;

fn mutating(ended: &Ended, cloud: &Cloud) -> Vec<String> {
    ended.remains.mutating.get(&cloud.place).cloned().unwrap_or_default()
}

/// What a run broke: the rules, and what a case has to come to.
fn judged(schedule: &Schedule, ended: &Ended) -> Vec<Broken> {
    let mut broken = ended.broken.clone();
    let missing = |what: String| Broken { rule: Rule::Settles, what };
    broken.extend(unhappened(schedule, ended).into_iter().map(missing));
    broken.extend(unfinished(schedule, ended).into_iter().map(missing));
    broken.extend(doubled(schedule, ended).into_iter().map(|what| Broken { rule: Rule::Doubles, what }));
    broken
}

/// What was to go wrong, and did not: such a case proves nothing.
fn unhappened(schedule: &Schedule, ended: &Ended) -> Vec<String> {
    let wanted = |is: &dyn Fn(&Fault) -> bool| schedule.faults.iter().filter(|fault| is(fault)).count() as u64;
    let crashes = ended.counts.get("crash").copied().unwrap_or_default();
    let hit =
        ended.counts.iter().filter(|(what, _)| FAULTS.iter().any(|fault| what.starts_with(fault))).map(|(_, count)| count).sum::<u64>();
    let mut said = Vec::new();
    if crashes != wanted(&|fault| matches!(fault, Fault::CrashAt { .. })) {
        said.push(format!("there were {crashes} crashes"));
    }
    let twice = wanted(&|fault| matches!(fault, Fault::Request { what: Mishap::Twice, .. }));
    if hit != wanted(&|fault| matches!(fault, Fault::Request { .. })) - twice {
        said.push(format!("{hit} requests went wrong"));
    }
    said
}

/// How what went wrong with a request is counted.
const FAULTS: [&str; 5] = ["lost_reply at ", "late at ", "hang at ", "server_error at ", "throttle at "];

/// Why the key is not active at its destination, with nothing left to do.
fn unfinished(schedule: &Schedule, ended: &Ended) -> Vec<String> {
    let Some(ledger) = &ended.remains.ledger else { return vec!["the ledger cannot be read".to_owned()] };
    let (Some(record), [plan]) = (ledger.keys.values().next(), schedule.keys.as_slice()) else {
        return vec!["the ledger does not know the key".to_owned()];
    };
    let mut said = Vec::new();
    if record.placements.len() != plan.places.len() || record.copies.len() != plan.places.len() {
        said.push(format!("not one copy a placement: {record:?}"));
    }
    for copy in &record.copies {
        let seen = ended.remains.seen.get(&copy.coordinates.placement);
        let claimed = seen.and_then(|seen| seen.claimed.as_ref());
        let current = claimed.and_then(|object| object.current()).filter(|current| current.is_present());
        if copy.imported.is_none() || current.is_none_or(|current| current.id != copy.material) {
            said.push(format!("what the ledger calls imported is not what is in use: {copy:?}, {claimed:?}"));
        }
        if claimed.is_none_or(|object| object.state != ObjectState::Usable) {
            said.push(format!("the key cannot be used: {claimed:?}"));
        }
        if seen.and_then(|seen| seen.published.as_ref()).map(|object| &object.object) != claimed.map(|object| &object.object) {
            said.push(format!("the users' name does not lead to it: {seen:?}"));
        }
    }
    if !ledger.open.is_empty() {
        said.push(format!("change sets are open: {:?}", ledger.open.values()));
    }
    // What is approved is carried through, whatever happens; only what a late effect left over asks for another approval.
    let imports = ended.remains.change_sets.iter().filter(|record| record.change_set.action == Action::Import);
    if imports.count() != 1 || ended.remains.change_sets.iter().any(|record| record.state != ChangeSetState::Done) {
        let states = ended.remains.change_sets.iter().map(|record| (record.change_set.action, record.state));
        said.push(format!("not one import that is done: {:?}", states.collect::<Vec<_>>()));
    }
    said
}

/// Why there is more than one live object and one material.
fn doubled(schedule: &Schedule, ended: &Ended) -> Vec<String> {
    let Some(ledger) = &ended.remains.ledger else { return Vec::new() };
    let (may_double, mut said) = (schedule.faults.iter().any(may_double), Vec::new());
    let placements = ledger.keys.values().flat_map(|record| record.placements.keys());
    for (placement, place) in placements.zip(schedule.places()) {
        let all = objects(&ended.remains.dumps, place, &placement.to_string());
        let (live, surplus): (Vec<_>, Vec<_>) = all.into_iter().partition(|object| is_live(object));
        let [live] = live.as_slice() else {
            said.push(format!("not one live object: {live:?}"));
            continue;
        };
        if surplus.iter().any(|object| materials(object).next().is_some()) {
            said.push(format!("surplus with material: {surplus:?}"));
        }
        if !may_double && !surplus.is_empty() {
            said.push(format!("an object was made twice, though the first could be seen: {surplus:?}"));
        }
        let all = materials(live).count();
        let usable =
            materials(live).filter(|material| !material["state"].as_str().is_some_and(|state| state.eq_ignore_ascii_case("disabled")));
        let usable = usable.count();
        // Where importing is activating, the first of two was in use until the second came: it goes on to work.
        let followed = place == Place::Azure && may_double;
        if usable != 1 && !(followed && usable == 2) {
            said.push(format!("not one material that works: {live}"));
        }
        if !may_double && all != 1 {
            said.push(format!("it was imported twice, though the first import could be seen: {live}"));
        }
    }
    said
}

/// Walks every cloud's grid, prints how many cases there are of each kind, and the failing ones; whether all hold.
#[expect(clippy::print_stdout, reason = "how many cases there are is a result")]
pub(crate) fn walk() -> bool {
    let grids = Cloud::ALL.map(|cloud| std::thread::spawn(move || Grid::walked(cloud, None)));
    let mut all = true;
    for grid in grids.into_iter().map(std::thread::JoinHandle::join) {
        let Ok(grid) = grid else { return false };
        println!("{grid}");
        all &= grid.failures.is_empty();
    }
    all
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.cloud.name)?;
        self.counts.iter().try_for_each(|(label, count)| writeln!(f, "{count:>6}  {}: {}", label.at, label.mishap))?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "{failure}\n"))?;
        write!(f, "{:>6}  cases, {} failed", self.counts.values().sum::<u64>(), self.failures.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the grid is there for: an engine that sends again with no look, or believes a first look, or forgets what it sent before a
    /// crash.
    #[test]
    fn the_grid_finds_what_a_crash_or_a_lost_reply_makes_of_these_bugs() {
        for planted in [Planted::RepeatedBlindly, Planted::AttemptsUnread, Planted::SecondLookSkipped, Planted::AttemptForgotten] {
            let grid = Grid::walked(&AWS, Some(planted));
            assert!(grid.is_found(), "{}: {:?}", planted.name(), grid.broken);
        }
    }
}
