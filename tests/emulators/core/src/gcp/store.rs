//! The contents of the project: key rings, import jobs, keys and their versions.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use super::{
    attestation::Statement,
    operation::parent,
    refusal::{Code, Refusal, invalid_field, missing, wrong_state},
    word::{Algorithm, ImportMethod, JobState, Kind, Level, Purpose, VersionState, Word as _},
};
use crate::{
    Timestamp,
    crypto::{Pair, Secret},
};

/// An import job lives for three days (PROTO, `ImportJob`).
// contract: gcp.import.job
pub(super) const JOB_LIFETIME: Duration = Duration::from_secs(3 * 24 * 60 * 60);

#[derive(Clone)]
pub(super) struct Ring {
    pub(super) created: Timestamp,
}

/// An import job, with its pair for wrapping.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) method: ImportMethod,
    pub(super) level: Level,
    pub(super) created: Timestamp,
    /// When its pair becomes, or became, ready.
    pub(super) ready: Timestamp,
    pub(super) pair: Arc<Pair>,
    pub(super) statement: Option<Arc<Statement>>,
}

impl Job {
    pub(super) fn expires(&self) -> Timestamp {
        self.created + JOB_LIFETIME
    }

    pub(super) fn state(&self, now: Timestamp) -> JobState {
        if self.expires() <= now {
            JobState::Expired
        } else if self.ready <= now {
            JobState::Active
        } else {
            JobState::PendingGeneration
        }
    }
}

/// The attributes of new versions of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) level: Level,
    pub(super) algorithm: Algorithm,
}

/// When a key rotates automatically.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) next: Timestamp,
    /// `None`: the key rotates once.
    pub(super) period: Option<Duration>,
}

/// The last import into a version.
#[derive(Clone)]
pub(super) struct Import {
    /// By its full name.
    pub(super) job: String,
    /// When the material arrived.
    pub(super) at: Option<Timestamp>,
    /// Why the material did not arrive.
    pub(super) failure: Option<String>,
}

/// A change of a version that comes without a request.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) due: Timestamp,
    /// Its material, or the reason for which there will be none.
    pub(super) outcome: Result<Arc<Secret>, String>,
    pub(super) statement: Option<Arc<Statement>>,
}

#[derive(Clone)]
pub(super) struct Version {
    pub(super) number: u32,
    pub(super) state: VersionState,
    pub(super) level: Level,
    pub(super) algorithm: Algorithm,
    pub(super) created: Timestamp,
    pub(super) generated: Option<Timestamp>,
    pub(super) import: Option<Import>,
    /// When its material will be, or was, destroyed.
    pub(super) destroyed: Option<Timestamp>,
    /// Present exactly when the version is enabled, disabled or scheduled for destruction.
    pub(super) material: Option<Arc<Secret>>,
    /// SHA-256 of the material that the version ever held.
    pub(super) fingerprint: Option<[u8; 32]>,
    pub(super) statement: Option<Arc<Statement>>,
    pub(super) pending: Option<Pending>,
}

impl Version {
    pub(super) fn new(number: u32, template: Template, now: Timestamp) -> Self {
        Self {
            number,
            state: VersionState::PendingGeneration,
            level: template.level,
            algorithm: template.algorithm,
            created: now,
            generated: None,
            import: None,
            destroyed: None,
            material: None,
            fingerprint: None,
            statement: None,
            pending: None,
        }
    }

    /// Whether the version can be imported again.
    // contract: gcp.import.again
    pub(super) fn is_reimport_eligible(&self) -> bool {
        self.import.is_some() && matches!(self.state, VersionState::Destroyed | VersionState::ImportFailed)
    }

    /// Destroys the material for good.
    fn destroy(&mut self, at: Timestamp) {
        self.state = VersionState::Destroyed;
        self.destroyed = Some(at);
        self.material = None;
        self.statement = None;
    }

    pub(super) fn schedule_destruction(&mut self, now: Timestamp, delay: Duration) {
        if delay.is_zero() {
            self.destroy(now);
        } else {
            self.state = VersionState::DestroyScheduled;
            self.destroyed = Some(now + delay);
        }
    }

    fn next_event(&self) -> Option<Timestamp> {
        let destruction = self.destroyed.filter(|_| self.state == VersionState::DestroyScheduled);
        self.pending.as_ref().map(|pending| pending.due).into_iter().chain(destruction).min()
    }

    /// Makes the changes that are due: pending material arrives or fails, scheduled destruction happens.
    fn settle(&mut self, now: Timestamp) {
        if let Some(Pending { due, outcome, statement }) = self.pending.take_if(|pending| pending.due <= now) {
            match (outcome, &mut self.import) {
                (Ok(material), import) => {
                    self.state = VersionState::Enabled;
                    self.material = Some(material);
                    self.statement = statement;
                    match import {
                        Some(import) => (import.at, import.failure) = (Some(due), None),
                        None => self.generated = Some(due),
                    }
                }
                (Err(reason), Some(import)) => {
                    self.state = VersionState::ImportFailed;
                    import.failure = Some(reason);
                }
                (Err(_), None) => self.state = VersionState::GenerationFailed,
            }
        }
        if self.state == VersionState::DestroyScheduled
            && let Some(at) = self.destroyed.filter(|at| *at <= now)
        {
            self.destroy(at);
        }
    }
}

#[derive(Clone)]
pub(super) struct Key {
    pub(super) purpose: Purpose,
    pub(super) created: Timestamp,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) template: Template,
    pub(super) import_only: bool,
    /// How long versions wait for their destruction.
    pub(super) destroy_delay: Duration,
    pub(super) schedule: Option<Schedule>,
    /// By number.
    pub(super) versions: BTreeMap<u32, Version>,
    /// The highest number that a version ever had.
    pub(super) last_number: u32,
    pub(super) primary: Option<u32>,
}

impl Key {
    pub(super) fn version(&self, number: u32) -> Option<&Version> {
        self.versions.get(&number)
    }

    /// When the key will change without a request.
    fn next_event(&self) -> Option<Timestamp> {
        let versions = self.versions.values().filter_map(Version::next_event);
        versions.chain(self.schedule.map(|schedule| schedule.next)).min()
    }
}

#[derive(Clone)]
pub(super) struct Retired {
    pub(super) original: String,
    pub(super) deleted: Timestamp,
}

/// Everything, by full name. Cloning is cheap, because earlier states are kept.
#[derive(Clone, Default)]
pub struct Store {
    pub(super) rings: BTreeMap<String, Ring>,
    pub(super) jobs: BTreeMap<String, Arc<Job>>,
    keys: BTreeMap<String, Arc<Key>>,
    /// By the name of the record.
    pub(super) retired: BTreeMap<String, Retired>,
    /// When to look at which key again. Entries may be outdated.
    events: BTreeSet<(Timestamp, String)>,
}

impl Store {
    pub(super) fn ring(&self, name: &str) -> Result<&Ring, Refusal> {
        self.rings.get(name).ok_or_else(|| missing("KeyRing", name))
    }

    pub(super) fn job(&self, name: &str) -> Result<&Job, Refusal> {
        self.jobs.get(name).map(Arc::as_ref).ok_or_else(|| missing("ImportJob", name))
    }

    pub(super) fn key(&self, name: &str) -> Result<&Key, Refusal> {
        self.find_key(name).ok_or_else(|| missing("CryptoKey", name))
    }

    pub(super) fn find_key(&self, name: &str) -> Option<&Key> {
        self.keys.get(name).map(Arc::as_ref)
    }

    /// A version by its full name, with its key and the key's name.
    pub(super) fn version<'s, 'n>(&'s self, name: &'n str) -> Result<(&'n str, &'s Key, &'s Version), Refusal> {
        let key_name = parent(name);
        let key = self.key(key_name)?;
        let number = number_of(name).and_then(|number| key.version(number));
        Ok((key_name, key, number.ok_or_else(|| missing("CryptoKeyVersion", name))?))
    }

    /// The keys whose names begin with a prefix and sort after `after`.
    pub(super) fn keys_in<'s>(&'s self, prefix: &'s str, after: Option<&'s str>) -> impl Iterator<Item = (&'s str, &'s Key)> {
        within(&self.keys, prefix, after).map(|(name, key)| (name, key.as_ref()))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &Key)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key.as_ref()))
    }

    pub(super) fn insert_key(&mut self, name: &str, key: Key) {
        self.events.extend(key.next_event().map(|at| (at, name.to_owned())));
        self.keys.insert(name.to_owned(), Arc::new(key));
    }

    pub(super) fn remove_key(&mut self, name: &str) {
        self.keys.remove(name);
    }

    /// Changes a key, and records when to look at it again.
    pub(super) fn change<T>(&mut self, name: &str, change: impl FnOnce(&mut Key) -> T) -> Option<T> {
        let key = Arc::make_mut(self.keys.get_mut(name)?);
        let changed = change(key);
        self.events.extend(key.next_event().map(|at| (at, name.to_owned())));
        Some(changed)
    }

    /// The next key that changes without a request until `now`. Each entry is returned once.
    pub(super) fn next_due(&mut self, now: Timestamp) -> Option<(Timestamp, String)> {
        let due = self.events.first().is_some_and(|(at, _)| *at <= now);
        if due { self.events.pop_first() } else { None }
    }

    /// Makes the changes of a key that are due, except its rotation.
    pub(super) fn settle(&mut self, name: &str, now: Timestamp) {
        self.change(name, |key| key.versions.values_mut().for_each(|version| version.settle(now)));
    }
}

/// The kind of an algorithm, if this emulator supports it and it serves this purpose.
pub(super) fn kind_for(algorithm: Algorithm, purpose: Purpose) -> Result<Kind, Refusal> {
    let kind = algorithm.kind().ok_or_else(|| Code::Unimplemented.because(format!("this emulator does not have {}", algorithm.name())))?;
    if kind.purpose() != purpose {
        return Err(invalid_field("algorithm", format!("{} does not serve the purpose {}", algorithm.name(), purpose.name())));
    }
    Ok(kind)
}

/// The entries whose names begin with a prefix and sort after `after`.
pub(super) fn within<'s, T>(
    map: &'s BTreeMap<String, T>,
    prefix: &'s str,
    after: Option<&'s str>,
) -> impl Iterator<Item = (&'s str, &'s T)> {
    let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
    let behind = map.range::<str, _>((from, Bound::Unbounded));
    behind.take_while(move |(name, _)| name.starts_with(prefix)).map(|(name, value)| (name.as_str(), value))
}

/// The number at the end of a version's name, in its only spelling.
pub(super) fn number_of(version: &str) -> Option<u32> {
    let digits = version.rsplit('/').next()?;
    digits.parse().ok().filter(|number: &u32| number.to_string() == digits)
}

/// The full name of a version.
pub(super) fn version_name(key: &str, number: u32) -> String {
    format!("{key}/cryptoKeyVersions/{number}")
}

/// A version is in a state that an operation does not allow.
pub(super) fn not_in_state(name: &str, version: &Version, wanted: &str) -> Refusal {
    let message = format!("{name} is not {wanted}, current state is: {}.", version.state.name());
    wrong_state(name, "CRYPTO_KEY_VERSION_STATE", message)
}
