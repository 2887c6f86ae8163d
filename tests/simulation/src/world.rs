//! One run of a schedule, from the beginning to the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use keyplane_model::{
    Actor, Asked, ChangeSetRecord, DestinationName, Digest, IdTree, InstallationId, Intent, LedgerSnapshot, PlacementId, PlacementSeen,
    ServerId, Span, StepNo, Timestamp,
};
use keyplane_port::{Cloud, Custodian, Ledger, MemoryLedger};
use serde_json::Value;

use crate::clouds::Place;
use crate::custodian::{Remembering, SymbolCustodian};
use crate::executor::{Parties, Party, PartyClock, Sim, Stopped, locked};
use crate::life::{Life, Moment, Moments};
use crate::people::{self, APPROVERS, Desk, PROPOSER, Person, parsed};
use crate::planted::Planted;
use crate::ports::{Behind, Slow};
use crate::rules::{self, Broken, Left, Rule};
use crate::schedule::{Fault, Schedule};
use crate::server::{Blocked, Server};
use crate::sites::{self, Emulated};
use crate::symbols::Symbols;
use crate::watch::{Watched, WatchedLedger};

/// The longest time after the trouble in which late effects may still come: a late effect, and what a suspension held back.
const AFTERMATH_SECONDS: u32 = 180;

/// What was sent this long ago shows in every read, whatever lag and network do.
const VISIBLE: Span = Span::seconds(30);

/// A run that takes longer does not settle. Others take less than half an hour. A bug that makes runs go on for ever costs this much time.
const LONGEST: Span = Span::seconds(2 * 3_600);

/// The longest time until a crashed server is back.
const RESTART: Span = Span::seconds(60);

/// How often an unanswered last look is repeated, and the pause between.
const LAST_LOOKS: u32 = 5;

/// Long enough for contradicting reads to agree.
const LAST_PAUSE: Span = Span::seconds(15);

/// The first approver's party number. Servers count from 0.
const FIRST_APPROVER: Party = 100;

/// The party that changes keys by hand.
const HANDS: Party = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// SHA-256 of the transcript.
    pub(crate) transcript: String,
    /// The transcript's lines, if they were kept.
    pub(crate) lines: Vec<String>,
    pub(crate) broken: Vec<Broken>,
    /// How often each thing happened: mutations by kind and place, faults by kind.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The run's length in virtual seconds.
    pub(crate) seconds: u64,
    pub(crate) remains: Remains,
}

/// The final state of a run, for checks beyond the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    pub(crate) ledger: Option<LedgerSnapshot>,
    /// Every change set that was ever committed, or is open.
    pub(crate) change_sets: Vec<ChangeSetRecord>,
    /// Each emulator's dump.
    pub(crate) dumps: Vec<(Place, Value)>,
    /// The last look at each placement.
    pub(crate) seen: BTreeMap<PlacementId, PlacementSeen>,
    /// The operations of the mutating requests that each cloud got from servers and people, in order.
    pub(crate) mutating: BTreeMap<Place, Vec<String>>,
    /// How often each moment came.
    pub(crate) moments: BTreeMap<Moment, u64>,
}

/// What the servers share.
struct World {
    schedule: Schedule,
    planted: Option<Planted>,
    sim: Arc<Sim>,
    symbols: Symbols,
    sites: BTreeMap<Place, Arc<dyn Emulated>>,
    ledger: Arc<MemoryLedger>,
    custodian: Arc<SymbolCustodian>,
    desk: Desk,
    /// How many server lives began.
    begun: u64,
    installation: InstallationId,
    began: Timestamp,
    settled: Arc<AtomicBool>,
    blocked: Arc<Mutex<Blocked>>,
    broken: Arc<Mutex<Vec<Broken>>>,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
    committed: Arc<Mutex<BTreeSet<Digest>>>,
    tried: Arc<Mutex<BTreeMap<(Digest, StepNo), Timestamp>>>,
    sent: Arc<Mutex<BTreeMap<(Digest, StepNo), u32>>>,
    meddled: Arc<Mutex<BTreeSet<(Place, String)>>>,
    clocks: BTreeMap<Party, Arc<PartyClock>>,
    /// How many mutating requests set each cloud up.
    made_with: BTreeMap<Place, usize>,
    moments: Arc<Moments>,
    /// The current life of each server.
    lives: BTreeMap<Party, Life>,
}

/// Runs a schedule, with a planted bug if one is given. `readable`: whether the transcript's lines are kept.
pub(crate) fn run(schedule: &Schedule, planted: Option<Planted>, readable: bool) -> Ended {
    let mut world = World::new(schedule.clone(), planted, readable);
    let stopped = world.play();
    world.end(stopped)
}

impl World {
    fn new(schedule: Schedule, planted: Option<Planted>, readable: bool) -> Self {
        let sim = Sim::new(schedule.seed, readable);
        if !schedule.slow {
            sim.hurry();
        }
        let symbols = Symbols::default();
        let sites = schedule.places().into_iter().map(|place| {
            let lag = Span::seconds(schedule.lags.get(&place).copied().unwrap_or(0));
            (place, sites::emulated(place, schedule.key_vault, symbols.clone(), lag, schedule.seed))
        });
        let sites: BTreeMap<Place, Arc<dyn Emulated>> = sites.collect();
        let made_with = sites.iter().map(|(place, site)| (*place, site.mutating().len())).collect();
        for (place, question, answer) in &schedule.readings {
            if sites.get(place).is_some_and(|site| !site.read(question, answer)) {
                sim.note("schedule", &format!("{} has no such reading: {question} {answer}", place.name()));
            }
        }
        let installation = InstallationId(IdTree::new([3; 32]).uuid());
        let ledger = Arc::new(MemoryLedger::new(installation));
        let custodian = SymbolCustodian::new(symbols.clone(), PartyClock::new(Arc::clone(&sim)), Arc::new(Remembering::default()));
        // Neither ledger nor custodian is ever busy.
        let charter = people::intent(&schedule, false, None).charter(installation);
        let enrolled = custodian.enroll(installation, &charter).now_or_never().and_then(Result::ok);
        if let Some(sealed) = enrolled.and_then(|report| report.charter) {
            let installer = Actor(PROPOSER.to_owned());
            let _ = ledger.put_charter(&sealed, &[], Asked { by: &installer, at: sim.now() }).now_or_never();
        }
        Self {
            began: sim.now(),
            schedule,
            planted,
            symbols,
            sites,
            ledger,
            custodian,
            desk: Desk::default(),
            installation,
            settled: Arc::default(),
            blocked: Arc::default(),
            broken: Arc::default(),
            counts: Arc::default(),
            committed: Arc::default(),
            tried: Arc::default(),
            sent: Arc::default(),
            meddled: Arc::default(),
            begun: 0,
            clocks: BTreeMap::new(),
            made_with,
            moments: Arc::default(),
            lives: BTreeMap::new(),
            sim,
        }
    }

    /// Runs all parties to the end.
    fn play(&mut self) -> Stopped {
        let mut parties = Parties::new(Arc::clone(&self.sim));
        for server in 0..self.schedule.servers {
            self.clocks.insert(server, PartyClock::new(Arc::clone(&self.sim)));
            let first = self.sim.span(Span::seconds(5));
            self.start(&mut parties, server, first);
        }
        self.begin_approvals(&mut parties);
        let mut lands = BTreeMap::new();
        for fault in self.schedule.faults.clone() {
            self.arrange(&mut parties, &fault, &mut lands);
        }
        let end = self.began + LONGEST;
        let hands = self.hands();
        parties.spawn(HANDS, hands);
        loop {
            match parties.run(end) {
                Stopped::Crashed(party) => {
                    self.count("crash");
                    let Some(life) = self.lives.get(&party) else { continue };
                    life.end();
                    if !lands.get(&party).copied().unwrap_or(true) {
                        life.cut();
                    }
                    let arrives = life.carries();
                    self.sim.note(&name_of(party), if arrives { "falls over" } else { "falls over, with what it was sending" });
                    let gone = Span::seconds(1) + self.sim.span(RESTART);
                    self.start(&mut parties, party, gone);
                }
                stopped => return stopped,
            }
        }
    }

    fn count(&self, what: &str) {
        *locked(&self.counts).entry(what.to_owned()).or_default() += 1;
    }

    /// Starts a server, or starts it again after a crash.
    fn start(&mut self, parties: &mut Parties, party: Party, first: Span) {
        let life = Life::new(party, Arc::clone(&self.sim), Arc::clone(&self.moments));
        self.lives.insert(party, life.clone());
        let name = name_of(party);
        let Some(clock) = self.clocks.get(&party).cloned() else { return };
        self.begun += 1;
        // After a crash a server has another id.
        let id = ServerId(IdTree::new([4; 32]).child(&self.begun.to_string()).uuid());
        let clouds: BTreeMap<DestinationName, Arc<dyn Cloud>> = self
            .sites
            .iter()
            .map(|(place, site)| {
                let watched: Arc<dyn Cloud> = Arc::new(Watched {
                    inner: site.cloud(&life, &name, self.installation),
                    ledger: Arc::clone(&self.ledger),
                    server: id,
                    broken: Arc::clone(&self.broken),
                    committed: Arc::clone(&self.committed),
                    sim: Arc::clone(&self.sim),
                    answers: Mutex::default(),
                    tried: Arc::clone(&self.tried),
                    sent: Arc::clone(&self.sent),
                    counts: Arc::clone(&self.counts),
                });
                (parsed(place.name()), Planted::cloud(self.planted, watched))
            })
            .collect();
        let watched = Behind(WatchedLedger {
            inner: Arc::clone(&self.ledger),
            life: life.clone(),
            broken: Arc::clone(&self.broken),
            read: Mutex::default(),
        });
        let ledger: Arc<dyn Ledger> = Slow::new(Arc::clone(&self.sim), Arc::new(watched));
        let custodian: Arc<dyn Custodian> = Slow::new(Arc::clone(&self.sim), Arc::clone(&self.custodian));
        let calm = self.began + Span::seconds(self.schedule.trouble + AFTERMATH_SECONDS);
        let (later, tried) = (Arc::clone(&self.sim), Arc::clone(&self.tried));
        let server = Server {
            name,
            id,
            life,
            sim: Arc::clone(&self.sim),
            clock: Planted::clock(self.planted, clock),
            ledger: Planted::ledger(self.planted, ledger),
            custodian: Planted::custodian(self.planted, custodian, &self.custodian),
            clouds,
            installation: self.installation,
            desk: self.desk.clone(),
            intent: self.wanted(),
            trouble: Arc::new(move || {
                let now = later.now();
                now < calm || locked(&tried).values().any(|sent| now < *sent + VISIBLE)
            }),
            settled: Arc::clone(&self.settled),
            broken: Arc::clone(&self.broken),
            blocked: Arc::clone(&self.blocked),
        };
        parties.spawn(party, server.serve(first));
    }

    /// The intent, depending on the time.
    fn wanted(&self) -> Arc<dyn Fn() -> Intent + Send + Sync> {
        let Schedule { change, charter, .. } = &self.schedule;
        let changed = change.as_ref().map(|(after, _)| self.began + Span::seconds(*after));
        let patience = charter.as_ref().and_then(|charter| charter.given_up);
        let given_up = changed.zip(patience).map(|(changed, seconds)| changed + Span::seconds(seconds));
        let first = people::intent(&self.schedule, false, None);
        let then = people::intent(&self.schedule, true, charter.as_ref().map(|charter| charter.what));
        let last = people::intent(&self.schedule, true, None);
        let sim = Arc::clone(&self.sim);
        Arc::new(move || {
            let now = sim.now();
            if changed.is_none_or(|changed| now < changed) {
                first.clone()
            } else if given_up.is_some_and(|given_up| now >= given_up) {
                last.clone()
            } else {
                then.clone()
            }
        })
    }

    fn begin_approvals(&self, parties: &mut Parties) {
        let settled = Arc::clone(&self.settled);
        let over: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(move || settled.load(Ordering::Relaxed));
        let slow = APPROVERS.into_iter().zip(self.schedule.approvers.iter().copied());
        // The proposer approves quickly, and does not count.
        let everybody = slow.filter_map(|(name, thinks)| Some((name, thinks?))).chain([(PROPOSER, 1)]);
        let given_up = self.schedule.charter.as_ref().is_some_and(|charter| charter.given_up.is_some());
        for (party, (name, thinks)) in (FIRST_APPROVER..).zip(everybody) {
            let person = Person {
                name,
                thinks: Span::seconds(thinks),
                given_up,
                sim: Arc::clone(&self.sim),
                ledger: Arc::clone(&self.ledger),
                desk: self.desk.clone(),
            };
            parties.spawn(party, person.approve(Arc::clone(&over)));
        }
    }

    /// Schedules a fault.
    fn arrange(&self, parties: &mut Parties, fault: &Fault, lands: &mut BTreeMap<Party, bool>) {
        match fault {
            Fault::Request { place, mutation, what } => {
                if let Some(site) = self.sites.get(place) {
                    sites::befall(site.as_ref(), *mutation, *what);
                }
            }
            Fault::Reads { place, skip, times, throttled } => {
                if let Some(site) = self.sites.get(place) {
                    site.add(sites::refusals(*skip, *times, *throttled));
                }
            }
            Fault::CrashAt { moment, nth, lands } => self.moments.crash_at(*moment, *nth, *lands),
            Fault::Crash { server, poll, lands: arrives } => {
                parties.crash_at(*server, *poll);
                lands.insert(*server, *arrives);
            }
            Fault::Pause { server, after, seconds } => {
                let from = self.began + Span::seconds(*after);
                parties.pause(*server, from, from + Span::seconds(*seconds));
            }
            Fault::Stall { server, poll, seconds } => parties.stall_at(*server, *poll, Span::seconds(*seconds)),
            Fault::Jump { server, after, seconds } => {
                let Some(clock) = self.clocks.get(server).cloned() else { return };
                let (sim, name, seconds) = (Arc::clone(&self.sim), name_of(*server), *seconds);
                self.sim.after(Span::seconds(*after), move || {
                    sim.note(&name, &format!("its clock jumps by {seconds} s"));
                    clock.jump(i64::from(seconds) * 1_000_000);
                });
            }
            // Changes by hand are made by one party, in order.
            Fault::Meddling { .. } => {}
            Fault::Bot { place, operation, what } => {
                if let Some(site) = self.sites.get(place) {
                    site.add(sites::bot(operation, *what));
                }
            }
        }
    }

    /// The changes by hand, in the order of time; then the end of the trouble.
    fn hands(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut todo: Vec<_> = self
            .schedule
            .faults
            .iter()
            .filter_map(|fault| match fault {
                Fault::Meddling { place, after, key, what } => Some((*after, *place, self.schedule.keys.get(*key)?.name.clone(), *what)),
                _ => None,
            })
            .collect();
        todo.sort_by_key(|(after, place, ..)| (*after, *place));
        let (sim, sites, meddled, counts) =
            (Arc::clone(&self.sim), self.sites.clone(), Arc::clone(&self.meddled), Arc::clone(&self.counts));
        let trouble = self.schedule.trouble;
        async move {
            let mut since = 0;
            for (after, place, key, what) in todo {
                sim.sleep(Span::seconds(after - since)).await;
                since = after;
                if sites.get(&place).is_some_and(|site| site.meddle(sim.now(), &key, what)) {
                    sim.note("somebody", &format!("does by hand: {what:?} {key} at {}", place.name()));
                    *locked(&counts).entry(format!("by hand: {what:?}")).or_default() += 1;
                    locked(&meddled).insert((place, key));
                }
            }
            sim.sleep(Span::seconds(trouble.saturating_sub(since))).await;
            sites.values().for_each(|site| site.calm());
        }
    }

    /// Looks at every placement in the ledger after the end.
    fn last_look(&self) -> BTreeMap<PlacementId, PlacementSeen> {
        let life = Life::new(HANDS, Arc::clone(&self.sim), Arc::default());
        let clouds = self.sites.iter().map(|(place, site)| {
            let name = parsed::<DestinationName>(place.name());
            (name, site.cloud(&life, "last-look", self.installation))
        });
        let clouds: BTreeMap<DestinationName, Arc<dyn Cloud>> = clouds.collect();
        let destinations = clouds.iter().map(|(name, cloud)| (name.clone(), cloud.destination().clone())).collect();
        let Some(Ok(snapshot)) = self.ledger.snapshot().now_or_never() else { return BTreeMap::new() };
        let ids = IdTree::of(self.installation);
        let targets = keyplane_planner::targets(&Intent::default(), &destinations, &snapshot, ids, self.installation);
        let looks = targets.into_iter().flat_map(|(name, targets)| {
            let cloud = clouds.get(&name).cloned();
            targets.into_iter().filter_map(move |target| Some((Arc::clone(cloud.as_ref()?), target)))
        });
        let (looks, sim, seen) = (looks.collect::<Vec<_>>(), Arc::clone(&self.sim), Arc::new(Mutex::new(BTreeMap::new())));
        let found = Arc::clone(&seen);
        let mut parties = Parties::new(Arc::clone(&self.sim));
        parties.spawn(HANDS, async move {
            for (cloud, target) in looks {
                for _ in 0..LAST_LOOKS {
                    if let Ok(there) = cloud.look(&target).await {
                        locked(&found).insert(target.placement, there);
                        break;
                    }
                    sim.sleep(LAST_PAUSE).await;
                }
            }
        });
        parties.run(self.sim.now() + LONGEST);
        std::mem::take(&mut locked(&seen))
    }

    /// Judges the final state.
    fn end(self, stopped: Stopped) -> Ended {
        let mut broken = std::mem::take(&mut *locked(&self.broken));
        let now = self.sim.now();
        let dumps: Vec<(Place, Value)> = self.sites.iter().map(|(place, site)| (*place, site.dump(now))).collect();
        let (requests, mishaps): (Vec<_>, Vec<_>) = self.sites.values().map(|site| site.requests()).unzip();
        let mut mishaps: Vec<(Timestamp, String, String)> = mishaps.into_iter().flatten().collect();
        mishaps.sort();
        mishaps.iter().for_each(|(_, kind, operation)| self.count(&format!("{kind} at {operation}")));
        // Counts orders of faults, since the effect of one may depend on the one before.
        mishaps.windows(2).for_each(|pair| self.count(&format!("first {}, then {}", pair[0].1, pair[1].1)));
        for (place, site) in &self.sites {
            if let Some((at, operation)) = site.overdrawn().first() {
                let what = format!("{operation} was sent to {} after {}, when its quota was used up", place.name(), *at - self.began);
                broken.push(Broken { rule: Rule::Quotas, what });
            }
        }
        let meddled = locked(&self.meddled).clone();
        let seen = self.last_look();
        let shared = self.schedule.wanted().filter(|key| key.shared).map(|key| key.name.clone()).collect();
        let ledger = self.ledger.snapshot().now_or_never().and_then(Result::ok);
        let mut change_sets = Vec::new();
        if let Some(snapshot) = &ledger {
            let digests: BTreeSet<Digest> =
                locked(&self.committed).iter().chain(snapshot.open.values().map(|record| &record.digest)).copied().collect();
            change_sets = digests.iter().filter_map(|digest| self.ledger.change_set(digest).now_or_never()?.ok()?).collect();
            let events = self.ledger.page_of_events(0, u32::MAX).now_or_never().and_then(Result::ok).unwrap_or_default();
            let digests: BTreeSet<Digest> = events.iter().filter_map(|event| event.about.change_set).collect();
            let proposed: Vec<_> = digests.iter().filter_map(|digest| self.ledger.change_set(digest).now_or_never()?.ok()?).collect();
            broken.extend(rules::judge(&Left {
                ledger: snapshot,
                change_sets: &change_sets,
                proposed: &proposed,
                dumps: &dumps,
                requests: &requests.concat(),
                symbols: &self.symbols,
                custodian: &self.custodian,
                charter: self.ledger.charter().now_or_never().and_then(Result::ok).flatten(),
                seen: &seen,
                shared: &shared,
                meddled: &meddled,
            }));
        }
        let blocked = locked(&self.blocked).clone();
        for (key, why) in blocked.iter().filter(|(key, _)| !meddled.iter().any(|(_, meddled)| meddled == *key)) {
            broken.push(Broken { rule: Rule::Settles, what: format!("{key} is blocked, and nobody changed it: {why}") });
        }
        if !self.settled.load(Ordering::Relaxed) || stopped == Stopped::Late {
            broken.push(Broken {
                rule: Rule::Settles,
                what: format!("there is still something to do after {} s", (now - self.began).to_std().as_secs()),
            });
        }
        let (transcript, lines) = self.sim.transcript();
        let counts = locked(&self.counts).clone();
        let mutating = self.sites.iter().zip(self.made_with.values());
        let mutating = mutating.map(|((place, site), made_with)| (*place, site.mutating().split_off(*made_with))).collect();
        let remains = Remains { ledger, change_sets, dumps, seen, mutating, moments: self.moments.counts() };
        Ended { transcript, lines, broken, counts, seconds: (now - self.began).to_std().as_secs(), remains }
    }
}

fn name_of(party: Party) -> String {
    format!("server-{party}")
}
