//! The grid: every cloud, every mutating request on a key's way there, every mishap, with and without a crash.
//!
//! Owns schedules made by hand, of one key each, and what each has to lead to. Random schedules meet such a case only by chance; the grid
//! always does. The end-to-end kill matrix tests the same over the wire.
//!
//! Undisturbed runs tell which requests and moments there are, so a new request of the engine gets its cases by itself.

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

/// A cloud of the grid, with the requests that a first key takes there, which are no more than the contracts ask for.
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
    const ALL: [&Self; 4] = [&AWS, &GOOGLE_CLOUD, &KEY_VAULT, &MANAGED_HSM];
}

/// The delay of a late effect for which its client still waits, in seconds. The clouds of a run time a call out after 10 s, and an attempt
/// counts as open for 20 s. With reads that lag by [`LAG`], the effect shows just in time.
const WITHIN: u32 = 11;

/// The delay of a late effect whose client has concluded that there is none and has sent the request again, in seconds.
const BEYOND: u32 = 60;

/// Seconds for which reads lag, where they do.
const LAG: u32 = 8;

/// Seconds within which all faults happen. By then the key is there, and its mishap over.
const TROUBLE: u32 = 600;

/// The same if there is surplus: includes the time for its clean-up.
const LONGER_TROUBLE: u32 = 1_800;

/// What can go wrong with a request. `None`: only a crash.
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

/// Where a server can crash around a request. `None`: nowhere.
const CRASHES: [Option<Crash>; 6] = [
    None,
    Some(Crash { moment: Moment::Written, lands: true }),
    Some(Crash { moment: Moment::Sent, lands: false }),
    Some(Crash { moment: Moment::Sent, lands: true }),
    Some(Crash { moment: Moment::Served, lands: true }),
    Some(Crash { moment: Moment::Answered, lands: true }),
];

/// What cases of a cloud have in common that differ in their faults.
#[derive(Clone, Copy, Debug)]
struct Setting {
    generated: bool,
    servers: u32,
    lag: u32,
}

/// Both sources; then what makes crashes and looks harder: a second server, which takes over at once, and lagging reads.
const SETTINGS: [Setting; 4] = [
    Setting { generated: false, servers: 1, lag: 0 },
    Setting { generated: true, servers: 1, lag: 0 },
    Setting { generated: true, servers: 1, lag: LAG },
    Setting { generated: true, servers: 2, lag: LAG },
];

/// Whether a mishap and a crash can meet: without a reply, and with an open connection, there is no crash after the reply.
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

/// Whether a mishap may leave surplus: the effect comes so late that the request was sent again, or it comes twice.
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
        // A late effect may leave surplus, whose clean-up has to be approved first.
        trouble: if faults.iter().any(may_double) { LONGER_TROUBLE } else { TROUBLE },
        faults,
    }
}

const KEY: &str = "key-0";

/// The name of a case.
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
    /// Runs every case of a cloud's grid; with a planted bug, until that is found.
    fn walked(cloud: &'static Cloud, planted: Option<Planted>) -> Self {
        let mut grid = Self { cloud, planted, counts: BTreeMap::new(), broken: BTreeMap::new(), failures: Vec::new() };
        grid.walk();
        grid.demand_every_case();
        grid
    }

    /// Whether the planted bug was found, so that the other cases need not be run.
    fn is_found(&self) -> bool {
        self.planted.is_some_and(|planted| self.broken.contains_key(&planted.breaks()))
    }

    /// Checks that every request has every case. Otherwise one could be lost unnoticed.
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
                // The requests that an undisturbed key does not send are those of a clean-up.
                let first = all.iter().position(|operation| !requests.contains(operation)).unwrap_or(all.len());
                self.at_every_request(setting, &all, first, &before);
            }
        }
    }

    /// Every mishap at every request from the `first` on (counted from 0), with and without a crash. `before`: earlier faults, whose
    /// requests get no answer.
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
                        // Requests without an answer are not counted among the answered ones.
                        let unanswered = if moment == Moment::Answered { before.len() as u64 } else { 0 };
                        Fault::CrashAt { moment, nth: number - unanswered, lands }
                    }));
                    self.case(&format!("request {number}, {operation}"), &name_of(mishap), setting, faults);
                }
            }
        }
    }

    /// A crash at every line of progress and every receipt of a run with these earlier faults.
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

    /// Runs a case, and checks what it led to.
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

/// How many failing cases are printed with a smaller schedule and its transcript.
const MOST_TOLD: usize = 2;

fn mutating(ended: &Ended, cloud: &Cloud) -> Vec<String> {
    ended.remains.mutating.get(&cloud.place).cloned().unwrap_or_default()
}

/// What a run broke: the rules, and the demands of a case.
fn judged(schedule: &Schedule, ended: &Ended) -> Vec<Broken> {
    let mut broken = ended.broken.clone();
    let missing = |what: String| Broken { rule: Rule::Settles, what };
    broken.extend(unhappened(schedule, ended).into_iter().map(missing));
    broken.extend(unfinished(schedule, ended).into_iter().map(missing));
    broken.extend(doubled(schedule, ended).into_iter().map(|what| Broken { rule: Rule::Doubles, what }));
    broken
}

/// The faults that did not happen. A case with one proves nothing.
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

/// How injected faults of requests are counted.
const FAULTS: [&str; 5] = ["lost_reply at ", "late at ", "hang at ", "server_error at ", "throttle at "];

/// Why the key is not active at its destination with nothing left to do.
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
    // What is approved is carried through, whatever happens. Only the surplus of a late effect needs another approval.
    let imports = ended.remains.change_sets.iter().filter(|record| record.change_set.action == Action::Import);
    if imports.count() != 1 || ended.remains.change_sets.iter().any(|record| record.state != ChangeSetState::Done) {
        let states = ended.remains.change_sets.iter().map(|record| (record.change_set.action, record.state));
        said.push(format!("not one import that is done: {:?}", states.collect::<Vec<_>>()));
    }
    said
}

/// Why there is more than one live object or material.
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
        // Where the import is the activation, the first of two was in use until the second came, so it stays usable.
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

/// Runs every cloud's grid, and prints the numbers of cases and the failing ones. `true`: all hold.
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

    /// The bugs that the grid is for: an engine that sends again without a look, believes a first look, or forgets what it sent before a
    /// crash.
    #[test]
    fn the_grid_finds_what_a_crash_or_a_lost_reply_makes_of_these_bugs() {
        for planted in [Planted::RepeatedBlindly, Planted::AttemptsUnread, Planted::SecondLookSkipped, Planted::AttemptForgotten] {
            let grid = Grid::walked(&AWS, Some(planted));
            assert!(grid.is_found(), "{}: {:?}", planted.name(), grid.broken);
        }
    }
}
