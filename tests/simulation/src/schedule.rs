//! A schedule: the servers and people of a run, the keys that are wanted, and the faults, all fixed in advance, so that a failing schedule
//! can be made smaller and run again. Most are drawn from a seed; those of the grid are made by hand.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{Algorithm, Purpose};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde::Serialize;

use crate::clouds::Place;
use crate::life::Moment;

/// The fewest faults of a drawn schedule.
const FEWEST_FAULTS: u32 = 5;

/// The most faults of a drawn schedule.
const MOST_FAULTS: u32 = 12;

/// All faults of a drawn schedule happen within so many seconds from the beginning.
const TROUBLE_SECONDS: u32 = 600;

/// One schedule in this many has a bot. Their runs are long.
const BOTS_ONE_IN: u32 = 8;

/// Everything that determines a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Schedule {
    /// Decides what the other fields leave open: delays, and the order of tasks.
    pub(crate) seed: u64,
    /// All of them work on the same ledger.
    pub(crate) servers: u32,
    /// Whether the Azure vault is a Key Vault instead of a Managed HSM.
    pub(crate) key_vault: bool,
    /// The keys that are wanted from the beginning.
    pub(crate) keys: Vec<KeyPlan>,
    /// A key that is wanted later, with the time in seconds. `None`: there is none.
    pub(crate) change: Option<(u32, KeyPlan)>,
    /// The change of approvers or approval rules that comes with it. `None`: there is none.
    pub(crate) charter: Option<CharterPlan>,
    /// The longest time that each approver takes, in seconds; `None`: this one never answers. The last one is in the charter only after a
    /// change.
    pub(crate) approvers: Vec<Option<u32>>,
    /// Seconds for which reads may show an earlier state, by cloud.
    pub(crate) lags: BTreeMap<Place, u32>,
    /// The answers to the contracts' open questions that are not the default: cloud, question, answer.
    pub(crate) readings: Vec<(Place, &'static str, &'static str)>,
    /// Whether some messages take seconds. If none does, only the faults make requests late.
    pub(crate) slow: bool,
    /// Seconds from the beginning after which no fault happens any more.
    pub(crate) trouble: u32,
    pub(crate) faults: Vec<Fault>,
}

/// Open questions of the clouds' documents (`[unstated]` in the contracts) that a run could notice: the emulators' names for them, and the
/// answers that are not the default, as JSON.
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

/// A key in the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct KeyPlan {
    pub(crate) name: String,
    /// How many people have to approve its change sets.
    pub(crate) need: u32,
    /// Whether the HSM generates it instead of deriving it.
    pub(crate) generated: bool,
    /// What applications do with it.
    pub(crate) purpose: Purpose,
    /// Whether its placements hold the same bytes.
    pub(crate) shared: bool,
    /// Its placements, with the algorithm of each.
    pub(crate) places: BTreeMap<Place, Algorithm>,
}

/// A change of approvers or approval rules during a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CharterPlan {
    pub(crate) what: CharterChange,
    /// When it is given up because too few sign it, in seconds after it; `None`: enough sign.
    pub(crate) given_up: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum CharterChange {
    /// From then on one approval suffices for every key.
    Loosened,
    /// From then on every key needs two approvals.
    Tightened,
    /// One approver is replaced by another person.
    Replaced,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Fault {
    /// Something happens to the nth mutating request that a cloud gets.
    Request { place: Place, mutation: u64, what: Mishap },
    /// A cloud refuses so many reads in a row, after so many that pass.
    Reads { place: Place, skip: u64, times: u64, throttled: bool },
    /// A server crashes at its nth poll. `lands`: requests on the way still arrive.
    Crash { server: u32, poll: u64, lands: bool },
    /// A server crashes at the nth such moment of the run, whichever server that is; `lands` as for `Crash`. Never drawn.
    CrashAt { moment: Moment, nth: u64, lands: bool },
    /// A server is suspended for a while, as a virtual machine can be.
    Pause { server: u32, after: u32, seconds: u32 },
    /// A server is suspended from its nth poll on: in the middle of its work.
    Stall { server: u32, poll: u64, seconds: u32 },
    /// A server's wall clock is set forward or back.
    Jump { server: u32, after: u32, seconds: i32 },
    /// Somebody changes a key at a cloud without Keyplane.
    Meddling { place: Place, after: u32, key: usize, what: Meddling },
    /// From the beginning on, a program of the cloud's owner meddles with every request of an operation, which is answered all the same.
    Bot { place: Place, operation: &'static str, what: Bot },
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Mishap {
    /// It takes effect, and the connection is closed without a reply.
    LostReply,
    /// It takes effect so many seconds after it arrived, and there is no reply.
    Late(u32),
    /// The connection is closed at once, and it takes effect when the cloud has answered so many further requests. Never drawn.
    Closed(u64),
    /// It never takes effect, and there is no reply.
    Swallowed,
    /// The cloud answers with its internal error. `applied`: it took effect all the same.
    Failed { applied: bool },
    /// The cloud refuses: too many requests.
    Throttled,
    /// The network delivers it twice. The reply is that of the first.
    Twice,
}

/// What people do to a key at the cloud without Keyplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Meddling {
    Disable,
    /// They delete it, or schedule its deletion.
    Delete,
}

/// What a program of a cloud's owner does as soon as a request took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Bot {
    /// It undoes that, so nobody ever sees the effect.
    Undoes,
    /// It strips the tags of new keys; at Azure it disables new versions.
    Alters,
}

/// The bots that keep a key from arriving, without spoiling what is there: marks that are stripped, an alias call and an activation without
/// effect, a key exchange key that is altered.
pub(crate) const BOTS: [(Place, &str, Bot); 4] = [
    (Place::Aws, "CreateKey", Bot::Alters),
    (Place::Aws, "CreateAlias", Bot::Undoes),
    (Place::Gcp, "UpdateCryptoKeyPrimaryVersion", Bot::Undoes),
    (Place::Azure, "CreateKey", Bot::Alters),
];

/// How long a bot is at work, in seconds: long enough that a change set is given up, planned and approved again, and tried again.
pub(crate) const BOT_SECONDS: u32 = 3_000;

struct Draw(ChaCha20Rng);

impl Draw {
    fn below(&mut self, end: u32) -> u32 {
        self.0.next_u32() % end
    }

    /// A number from 1 to `most`. Small ones are drawn more often.
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

    /// A key for some of the places that can serve its purpose; `everywhere`: for all of those in every run.
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

    /// Draws AES, which most keys are, more often than any other.
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
        // Every cloud takes part.
        let keys: Vec<KeyPlan> = (0..3 + draw.below(2)).map(|number| draw.key(number, key_vault, number == 0)).collect();
        let change = Some((60 + draw.below(400), draw.key(9, key_vault, false)));
        let charter = draw.one_in(2).then(|| draw.charter());
        let mut approvers: Vec<Option<u32>> = (0..4).map(|_| Some(draw.small(400))).collect();
        if draw.one_in(3) {
            approvers[2] = None;
        }
        let lags = Place::ALL.into_iter().map(|place| (place, if draw.one_in(2) { 0 } else { draw.small(8) })).collect();
        let count = FEWEST_FAULTS + draw.below(MOST_FAULTS - FEWEST_FAULTS + 1);
        let mut faults: Vec<Fault> = (0..count).map(|_| draw.fault(servers, keys.len() as u32)).collect();
        let readings = READINGS.into_iter().filter_map(|(place, question, answers)| {
            let chosen = draw.below(2 * answers.len() as u32) as usize;
            Some((place, question, *answers.get(chosen)?))
        });
        let readings = readings.collect();
        let (slow, mut trouble) = (true, TROUBLE_SECONDS);
        // Drawn apart, so that nothing else depends on it.
        let mut bots = Draw(ChaCha20Rng::seed_from_u64(seed ^ 0xb07));
        if bots.one_in(BOTS_ONE_IN) {
            let (place, operation, what) = bots.of(&BOTS);
            faults.push(Fault::Bot { place, operation, what });
            trouble = BOT_SECONDS;
        }
        Self { seed, servers, key_vault, keys, change, charter, approvers, lags, readings, slow, trouble, faults }
    }

    /// Every key that is ever wanted.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &KeyPlan> {
        self.keys.iter().chain(self.change.as_ref().map(|(_, key)| key))
    }

    /// The clouds where a key is wanted.
    pub(crate) fn places(&self) -> BTreeSet<Place> {
        self.wanted().flat_map(|key| key.places.keys().copied()).collect()
    }
}
