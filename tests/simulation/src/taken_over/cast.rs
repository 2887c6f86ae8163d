//! Who takes part in a run: its clock, its people and their keys, and charters drawn at random.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex};

use async_trait::async_trait;
use keyplane_model::{
    APPROVAL_NAMESPACE, ApprovalRule, Approvals, Approver, ApproverName, Charter, GroupName, InstallationId, Span, Standing, Statement,
    Timestamp,
};
use keyplane_port::Clock;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use crate::executor::locked;
use crate::people::parsed;

pub(super) const PEOPLE: [&str; 8] = ["alice", "bob", "carol", "dan", "dora", "vera", "vito", "mallory"];

/// Mallory's number: the one approver who works for the adversary, and so signs whatever it likes.
pub(super) const MALLORY: usize = 7;

const GROUPS: [&str; 4] = ["developers", "platform", "security", "vault"];

pub(super) const PROFILES: [&str; 4] = ["archive", "logs", "payments", "sandbox"];

/// The time at which every run begins.
const BEGINNING: Timestamp = Timestamp(1_800_000_000_000_000);

/// The source of everything random in a run.
pub(super) struct Draw(ChaCha20Rng);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed ^ 0x7a6e))
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.next_u32() as usize % end
    }

    pub(super) fn one_in(&mut self, parts: usize) -> bool {
        self.below(parts) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// `None`: there are none.
    pub(super) fn any<T>(&mut self, all: impl IntoIterator<Item = T>) -> Option<T> {
        let mut all: Vec<T> = all.into_iter().collect();
        (!all.is_empty()).then(|| all.swap_remove(self.below(all.len())))
    }

    /// Everybody, in an order of chance.
    pub(super) fn people(&mut self) -> Vec<usize> {
        let mut people: Vec<usize> = (0..PEOPLE.len()).collect();
        for last in (1..people.len()).rev() {
            people.swap(last, self.below(last + 1));
        }
        people
    }
}

/// A clock that stands still until it is set.
pub(super) struct Hand(Mutex<Timestamp>);

impl Hand {
    pub(super) fn new() -> Self {
        Self(Mutex::new(BEGINNING))
    }

    pub(super) fn advance(&self, span: Span) {
        let mut now = locked(&self.0);
        *now = *now + span;
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *locked(&self.0)
    }

    fn uptime(&self) -> Span {
        self.now() - Timestamp(0)
    }

    async fn sleep(&self, _: Span) {}
}

struct Key {
    private: PrivateKey,
    public: String,
}

/// Two keys of each person, the second for whoever gets another one. Made once for all runs.
static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let key = |number: u8| {
        let private = PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]));
        let public = private.public_key().to_openssh().unwrap_or_default();
        Key { private, public }
    };
    (1..).take(2 * PEOPLE.len()).map(key).collect()
});

/// The public half of a person's first or second key, as charters have it.
pub(super) fn public(person: usize, second: bool) -> &'static str {
    &KEYS[2 * person + usize::from(second)].public
}

/// Every key with which somebody can sign.
pub(super) fn all_public() -> BTreeSet<&'static str> {
    KEYS.iter().map(|key| key.public.as_str()).collect()
}

/// A person's signature, and the key that made it: the second one if this charter has that for anybody.
pub(super) fn sign(person: usize, charter: &Charter, statement: &Statement) -> (String, &'static str) {
    let second = charter.approvers.values().any(|approver| approver.keys.contains(public(person, true)));
    let key = &KEYS[2 * person + usize::from(second)];
    let signed = key.private.sign(APPROVAL_NAMESPACE, HashAlg::Sha512, statement.as_str().as_bytes());
    let signature = signed.and_then(|signature| signature.to_pem(LineEnding::LF));
    (signature.unwrap_or_default(), key.public.as_str())
}

pub(super) fn name(person: usize) -> ApproverName {
    parsed(PEOPLE[person])
}

pub(super) fn login(person: usize) -> String {
    format!("{}@example.com", PEOPLE[person])
}

fn approver(draw: &mut Draw, person: usize) -> Approver {
    Approver {
        groups: GROUPS.into_iter().filter(|_| draw.one_in(2)).map(parsed).collect(),
        logins: BTreeSet::from([login(person)]),
        keys: BTreeSet::from([public(person, draw.one_in(6)).to_owned()]),
    }
}

/// A rule that the charter's people can meet.
fn rule(draw: &mut Draw, charter: &Charter) -> ApprovalRule {
    let from: BTreeSet<GroupName> = (0..=draw.below(2)).map(|_| parsed(draw.of(&GROUPS))).collect();
    ApprovalRule { need: u32::try_from(draw.below(4)).unwrap_or(0).min(members(charter, &from)), from }
}

fn members(charter: &Charter, from: &BTreeSet<GroupName>) -> u32 {
    let members = charter.approvers.values().filter(|approver| !approver.groups.is_disjoint(from)).count();
    u32::try_from(members).unwrap_or(0)
}

/// Mostly a stricter rule than a profile's, which the charter's people can meet.
fn rule_of_a_key(draw: &mut Draw, charter: &Charter) -> ApprovalRule {
    match draw.any(charter.profiles.values()).filter(|_| !draw.one_in(4)) {
        Some(rules) => {
            let from = rules.import.from.clone();
            ApprovalRule { need: (rules.import.need + 1).min(members(charter, &from)), from }
        }
        None => rule(draw, charter),
    }
}

fn rules(draw: &mut Draw, charter: &Charter) -> Approvals {
    let standing = Standing { rotation: draw.one_in(4).then(|| Span::days(365)) };
    let valid = if draw.one_in(4) { Span::days(3) } else { Span::days(30) };
    Approvals { import: rule(draw, charter), retire: rule(draw, charter), standing, valid }
}

/// A charter that can be in force.
pub(super) fn charter(draw: &mut Draw, installation: InstallationId) -> Charter {
    let mut charter = Charter { installation, approvers: BTreeMap::new(), profiles: BTreeMap::new(), key_rules: BTreeSet::new() };
    for person in 0..PEOPLE.len() {
        if !draw.one_in(4) {
            charter.approvers.insert(name(person), approver(draw, person));
        }
    }
    for profile in PROFILES {
        if charter.profiles.is_empty() || !draw.one_in(4) {
            let rules = rules(draw, &charter);
            charter.profiles.insert(parsed(profile), rules);
        }
    }
    for _ in 0..draw.below(3) {
        let rule = rule_of_a_key(draw, &charter);
        charter.key_rules.insert(rule);
    }
    charter
}

/// The charter with one change. It may be one that cannot be in force.
pub(super) fn changed(draw: &mut Draw, before: &Charter) -> Charter {
    let mut next = before.clone();
    let number = draw.below(PEOPLE.len());
    let person = name(number);
    let profile = draw.any(before.profiles.keys().cloned()).unwrap_or_else(|| parsed(PROFILES[0]));
    let (somebody, something) = (next.approvers.get_mut(&person), next.profiles.get_mut(&profile));
    match (draw.below(18), somebody, something) {
        (0..2, ..) => spoil(draw, &mut next),
        (2, ..) => next = charter(draw, before.installation),
        // Whoever is mallory wants a key under each name.
        (3..5, Some(somebody), _) => somebody.keys = BTreeSet::from([public(MALLORY, true).to_owned()]),
        (5, Some(somebody), _) => drop(somebody.logins.insert("somebody@example.com".to_owned())),
        (6..8, Some(_), _) => drop(next.approvers.remove(&person)),
        (8..10, _, Some(something)) => something.import = rule(draw, before),
        (10, _, Some(something)) => something.retire = rule(draw, before),
        (11..13, _, Some(something)) => something.import.need = 0,
        (13, _, Some(something)) => something.standing = Standing { rotation: Some(Span::days(9)) },
        (14, _, Some(_)) => drop(next.profiles.remove(&profile)),
        (15, ..) => drop(next.profiles.insert(parsed(draw.of(&PROFILES)), rules(draw, before))),
        (16, ..) => drop(next.key_rules.insert(rule_of_a_key(draw, before))),
        (17, ..) => next.key_rules.clear(),
        _ => drop(next.approvers.insert(person, approver(draw, number))),
    }
    next
}

/// Makes a charter that cannot be in force.
fn spoil(draw: &mut Draw, charter: &mut Charter) {
    let somebody = draw.any(charter.approvers.keys().cloned()).unwrap_or_else(|| name(0));
    let mut keys = BTreeSet::new();
    match draw.below(5) {
        0 => return charter.profiles.clear(),
        1 => return charter.profiles.values_mut().for_each(|there| there.import.need = 9),
        2 => {}
        3 => drop(keys.insert("ssh-ed25519 AAAA".to_owned())),
        _ => keys.extend(charter.approvers.values().flat_map(|approver| &approver.keys).cloned()),
    }
    charter.approvers.entry(somebody).and_modify(|there| there.keys = keys);
}
