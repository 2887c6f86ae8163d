//! What happens in a run: who is there, what is wanted, and what goes wrong, all drawn from the seed beforehand, so that a schedule
//! can be made smaller and tried again.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{Algorithm, Purpose};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde::Serialize;

use crate::clouds::Place;

/// The fewest faults of a schedule.
const FEWEST_FAULTS: u32 = 5;

/// The most faults of a schedule.
const MOST_FAULTS: u32 = 12;

/// Within so many seconds from the beginning everything goes wrong that will.
pub(crate) const TROUBLE_SECONDS: u32 = 600;

/// A run before it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Schedule {
    /// Of everything that is not said here: delays, and who goes on next.
    pub(crate) seed: u64,
    /// How many servers work side by side.
    pub(crate) servers: u32,
    /// Whether the Azure vault is a Key Vault, rather than a Managed HSM.
    pub(crate) key_vault: bool,
    /// The keys that are wanted from the beginning.
    pub(crate) keys: Vec<KeyPlan>,
    /// What is wanted later, after so many seconds.
    pub(crate) change: (u32, KeyPlan),
    /// How approvers and approval rules change with it, if they do.
    pub(crate) charter: Option<CharterPlan>,
    /// How long each approver thinks, in seconds, at most; `None`: one that never answers. The last one comes with a new charter.
    pub(crate) approvers: Vec<Option<u32>>,
    /// Seconds for which reads may show what was before, by cloud.
    pub(crate) lags: BTreeMap<Place, u32>,
    /// How open questions of the contracts are read, where not as usual: cloud, question, answer.
    pub(crate) readings: Vec<(Place, &'static str, &'static str)>,
    /// What goes wrong.
    pub(crate) faults: Vec<Fault>,
}

/// What the clouds' documents leave open (`[unstated]` in the contracts) and a run could notice: the emulators' names for it, and the
/// answers that are not the usual ones, as JSON.
const READINGS: [(Place, &str, &[&str]); 12] = [
    (Place::Aws, "import_token_use", &["\"once\""]),
    (Place::Aws, "import_while_disabled", &["\"enables\"", "\"refused\""]),
    (Place::Aws, "restored_disabled_key", &["\"disabled\""]),
    (Place::Aws, "mutations_see", &["\"recent_past\""]),
    (Place::Aws, "rotations_order", &["\"newest_first\""]),
    (Place::Aws, "leaving_rotations", &["\"refused\""]),
    (Place::Gcp, "job_millis", &["0", "30000"]),
    (Place::Gcp, "import_millis", &["0", "60000"]),
    (Place::Gcp, "bad_material", &["\"at_once\""]),
    (Place::Azure, "versions_order", &["\"oldest_first\"", "\"newest_first\""]),
    (Place::Azure, "pages", &["\"short\""]),
    (Place::Azure, "transition_seconds", &["3"]),
];

/// A key that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct KeyPlan {
    /// Its name.
    pub(crate) name: String,
    /// How many approvals it needs.
    pub(crate) need: u32,
    /// Whether it is drawn in the HSM, rather than derived.
    pub(crate) generated: bool,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// Whether its placements hold the same bytes.
    pub(crate) shared: bool,
    /// Where it goes, and what it is there.
    pub(crate) places: BTreeMap<Place, Algorithm>,
}

/// Other approvers or approval rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CharterPlan {
    /// What is other.
    pub(crate) what: CharterChange,
    /// After how many seconds it is given up, because too few sign it; `None`: they do.
    pub(crate) given_up: Option<u32>,
}

/// What changes of who may approve what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum CharterChange {
    /// One approval is enough for everything.
    Loosened,
    /// Everything needs two.
    Tightened,
    /// One approver goes, and somebody else comes.
    Replaced,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Fault {
    /// Of the nth mutating request at a cloud.
    Request { place: Place, mutation: u64, what: Mishap },
    /// So many reads in a row at a cloud, after so many, are refused.
    Reads { place: Place, skip: u64, times: u64, throttled: bool },
    /// A server falls over at its nth poll; what it sent and nobody received yet arrives or not.
    Crash { server: u32, poll: u64, lands: bool },
    /// A server stands still for a while.
    Pause { server: u32, after: u32, seconds: u32 },
    /// A server stands still for a while, from its nth poll on: in the middle of whatever it does.
    Stall { server: u32, poll: u64, seconds: u32 },
    /// A server's clock jumps.
    Jump { server: u32, after: u32, seconds: i32 },
    /// Somebody changes a key by hand at a cloud.
    Meddling { place: Place, after: u32, key: usize, what: Meddling },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Mishap {
    /// It has its effect, and no reply comes.
    LostReply,
    /// The effect comes so many seconds later, and no reply.
    Late(u32),
    /// Nothing happens, and nobody says so.
    Swallowed,
    /// The cloud fails, after the effect or without it.
    Failed { applied: bool },
    /// Too many requests.
    Throttled,
    /// It arrives twice.
    Twice,
}

/// What people do to a key at a cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Meddling {
    /// It is switched off.
    Disable,
    /// It is deleted, or on its way to be.
    Delete,
}

struct Draw(ChaCha20Rng);

impl Draw {
    fn below(&mut self, end: u32) -> u32 {
        self.0.next_u32() % end
    }

    /// From 1 to `most`, small ones more often.
    fn small(&mut self, most: u32) -> u32 {
        let most = 1 + self.below(most);
        1 + self.below(most)
    }

    fn one_in(&mut self, parts: u32) -> bool {
        self.below(parts) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u32) as usize]
    }

    fn place(&mut self) -> Place {
        self.of(&Place::ALWAYS)
    }

    /// A key for some of the places that can serve its purpose, or for all of those that are in every run.
    fn key(&mut self, number: u32, key_vault: bool, everywhere: bool) -> KeyPlan {
        let purpose = match self.below(8) {
            _ if everywhere => Purpose::Encrypt,
            0..4 => Purpose::Encrypt,
            4..7 => Purpose::Sign,
            _ => Purpose::Mac,
        };
        let candidates: &[Place] = match purpose {
            Purpose::Encrypt => &Place::ALWAYS,
            Purpose::Sign => &[Place::Gcp, Place::Azure],
            Purpose::Mac => &[Place::Gcp, Place::Gcp2],
        };
        let mut places = vec![self.of(candidates)];
        for _ in 0..self.below(3) {
            places.push(self.of(candidates));
        }
        if everywhere {
            places = candidates.to_vec();
        }
        let can = |place: Place, algorithm: &Algorithm| algorithm.serves(purpose) && place.takes(key_vault).contains(algorithm);
        let common: Vec<Algorithm> =
            Algorithm::ALL.into_iter().filter(|algorithm| places.iter().all(|place| can(*place, algorithm))).collect();
        let shared = self.one_in(if purpose == Purpose::Encrypt { 3 } else { 2 }) && !common.is_empty();
        let same = shared.then(|| self.algorithm(&common));
        let places = places.into_iter().map(|place| {
            let possible: Vec<Algorithm> = Algorithm::ALL.into_iter().filter(|algorithm| can(place, algorithm)).collect();
            (place, same.unwrap_or_else(|| self.algorithm(&possible)))
        });
        let places = places.collect();
        let generated = self.one_in(2);
        KeyPlan { name: format!("key-{number}"), need: 1 + self.below(2), generated, purpose, shared, places }
    }

    /// AES, which most keys are, more often than each of the others.
    fn algorithm(&mut self, possible: &[Algorithm]) -> Algorithm {
        if possible.contains(&Algorithm::Aes256) && self.one_in(2) { Algorithm::Aes256 } else { self.of(possible) }
    }

    fn charter(&mut self) -> CharterPlan {
        let what = self.of(&[CharterChange::Loosened, CharterChange::Tightened, CharterChange::Replaced]);
        CharterPlan { what, given_up: self.one_in(3).then(|| 60 + self.below(300)) }
    }

    fn fault(&mut self, servers: u32, keys: u32) -> Fault {
        let server = self.below(servers);
        let after = self.below(TROUBLE_SECONDS);
        match self.below(20) {
            0..9 => Fault::Request { place: self.place(), mutation: self.small(24).into(), what: self.mishap() },
            9..11 => {
                Fault::Reads { place: self.place(), skip: self.below(200).into(), times: self.small(6).into(), throttled: self.one_in(2) }
            }
            11..16 => Fault::Crash { server, poll: self.small(600).into(), lands: self.one_in(2) },
            16..17 if self.one_in(2) => Fault::Pause { server, after, seconds: self.small(120) },
            16..17 => Fault::Stall { server, poll: self.small(1_200).into(), seconds: 30 + self.below(150) },
            17..18 => {
                let seconds = i32::try_from(self.small(90)).unwrap_or(1);
                Fault::Jump { server, after, seconds: if self.one_in(2) { seconds } else { -seconds } }
            }
            _ => {
                let what = if self.one_in(2) { Meddling::Disable } else { Meddling::Delete };
                Fault::Meddling { place: self.place(), after, key: self.below(keys) as usize, what }
            }
        }
    }

    fn mishap(&mut self) -> Mishap {
        match self.below(9) {
            8 => Mishap::Twice,
            0..2 => Mishap::LostReply,
            2..5 => Mishap::Late(self.small(120)),
            5 => Mishap::Swallowed,
            6 => Mishap::Failed { applied: self.one_in(2) },
            _ => Mishap::Throttled,
        }
    }
}

impl Schedule {
    /// The schedule of a seed: at least 2 servers, 3 keys, 3 clouds, a change of intent and 5 faults.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut draw = Draw(ChaCha20Rng::seed_from_u64(seed ^ 0x5ced));
        let servers = 2 + draw.below(2);
        let key_vault = draw.one_in(3);
        // Every cloud is in it.
        let keys: Vec<KeyPlan> = (0..3 + draw.below(2)).map(|number| draw.key(number, key_vault, number == 0)).collect();
        let change = (60 + draw.below(400), draw.key(9, key_vault, false));
        let charter = draw.one_in(2).then(|| draw.charter());
        let mut approvers: Vec<Option<u32>> = (0..4).map(|_| Some(draw.small(400))).collect();
        if draw.one_in(3) {
            approvers[2] = None;
        }
        let lags = Place::ALL.into_iter().map(|place| (place, if draw.one_in(2) { 0 } else { draw.small(8) })).collect();
        let count = FEWEST_FAULTS + draw.below(MOST_FAULTS - FEWEST_FAULTS + 1);
        let faults = (0..count).map(|_| draw.fault(servers, keys.len() as u32)).collect();
        let readings = READINGS.into_iter().filter_map(|(place, question, answers)| {
            let chosen = draw.below(2 * answers.len() as u32) as usize;
            Some((place, question, *answers.get(chosen)?))
        });
        let readings = readings.collect();
        Self { seed, servers, key_vault, keys, change, charter, approvers, lags, readings, faults }
    }

    /// The clouds that are in it.
    pub(crate) fn places(&self) -> BTreeSet<Place> {
        let wanted = self.keys.iter().chain([&self.change.1]).flat_map(|key| key.places.keys().copied());
        wanted.chain(Place::ALWAYS).collect()
    }
}
