//! Judges what a custodian let through.
//!
//! Written from what approvals are bound to (`control-plane/docs/adr/0012-what-approvals-are-bound-to.md`) and the rules that never bend, to
//! be compared with the verifier: it must not call it, nor the model's functions that say which rule applies. It verifies no signature. It
//! was there when people signed, and knows who signed what, under which charter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keyplane_model::{
    Act, Actor, Approval, ApprovalRule, Approvals, ChangeSet, Charter, CharterChange, CharterId, CopyCoordinates, Digest, GroupName,
    IdTree, InstallationId, PlacementPlan, ProfileName, SealedCharter, Span, StepNo, Timestamp, canonical_bytes,
};
use keyplane_port::{MintRequest, Warrant, WrapRequest, Wrapped};

/// Approvals are good for 30 days at most.
const LONGEST: Span = Span::days(30);

/// Clocks may differ by so much.
const CLOCKS: Span = Span::seconds(3_600);

/// A step's bytes leave under so many keys at most.
const MOST_KEYS: usize = 64;

/// What a custodian should not have let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Under a charter that is not in force.
    Charter,
    /// Without the approvals that it needs.
    Approvals,
    /// Under a rule of approval that nobody guards.
    Rule,
    /// After the approvals ended, or with ones that last too long.
    Time,
    /// After the change set ended.
    Finished,
    /// A copy or scheme that the step is not for.
    Step,
    /// Other bytes than those of the copy, or not for the key that the request shows.
    Bytes,
    /// Under more keys than a step may have.
    Keys,
    /// Without a record of the key.
    Record,
    /// A charter without the approvals of everybody whose rules it touches.
    Adoption,
    /// A charter that cannot be in force.
    Unfit,
    /// A first charter where there is one.
    Enrolment,
}

impl Fault {
    #[cfg(test)]
    pub(super) const ALL: [Self; 12] = [
        Self::Charter,
        Self::Approvals,
        Self::Rule,
        Self::Time,
        Self::Finished,
        Self::Step,
        Self::Bytes,
        Self::Keys,
        Self::Record,
        Self::Adoption,
        Self::Unfit,
        Self::Enrolment,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Charter => "under a charter that is not in force",
            Self::Approvals => "without the approvals that it needs",
            Self::Rule => "under a rule of approval that nobody guards",
            Self::Time => "out of time",
            Self::Finished => "after the change set ended",
            Self::Step => "not what the step is for",
            Self::Bytes => "other bytes, or for another key, than was asked for",
            Self::Keys => "under too many keys",
            Self::Record => "without a record of the key",
            Self::Adoption => "a charter without the approvals of everybody whose rules it touches",
            Self::Unfit => "a charter that cannot be in force",
            Self::Enrolment => "a first charter where there is one",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) fault: Fault,
    /// For the report.
    pub(crate) what: String,
}

/// What a person signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// By the change set's digest.
    ChangeSet(Digest),
    /// By the digest of the whole change.
    Charter(Digest),
}

struct Signed {
    /// The public half of the key that signed.
    key: &'static str,
    subject: Subject,
    under: CharterId,
}

/// What the checker knows of one installation.
struct Known {
    /// Each charter that was in force, the present one last.
    charters: Vec<(CharterId, Charter)>,
    ended: BTreeSet<Digest>,
    /// The keys under which the bytes of each step left.
    keys: BTreeMap<(Digest, StepNo), BTreeSet<Digest>>,
}

pub(super) struct Checker {
    /// The keys with which somebody can sign.
    real_keys: BTreeSet<&'static str>,
    /// By the signature.
    signed: BTreeMap<String, Signed>,
    installations: BTreeMap<InstallationId, Known>,
    /// What the bytes of each copy were made as.
    born: BTreeMap<Vec<u8>, CopyCoordinates>,
    broken: Vec<Broken>,
}

impl Checker {
    pub(super) fn new(real_keys: BTreeSet<&'static str>) -> Self {
        Self { real_keys, signed: BTreeMap::new(), installations: BTreeMap::new(), born: BTreeMap::new(), broken: Vec::new() }
    }

    pub(super) fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// Somebody signed something under a charter, with this key.
    pub(super) fn signed(&mut self, signature: &str, key: &'static str, subject: Subject, under: CharterId) {
        self.signed.insert(signature.to_owned(), Signed { key, subject, under });
    }

    /// A custodian adopted this as its first charter.
    pub(super) fn enrolled(&mut self, sealed: &SealedCharter) {
        let id = id_of(sealed);
        let first = Known { charters: vec![(id, sealed.charter.clone())], ended: BTreeSet::new(), keys: BTreeMap::new() };
        let known = self.installations.entry(sealed.charter.installation).or_insert(first);
        if known.charters.len() > 1 || known.charters.first().is_none_or(|(there, _)| *there != id) {
            self.find(Fault::Enrolment, format!("charter {id}"));
        }
        self.unfit(&sealed.charter);
    }

    /// A custodian was told that a change set ended.
    pub(super) fn finished(&mut self, at: InstallationId, digest: Digest) {
        if let Some(known) = self.installations.get_mut(&at) {
            known.ended.insert(digest);
        }
    }

    /// A custodian made a copy with these bytes.
    pub(super) fn minted(&mut self, at: InstallationId, now: Timestamp, warrant: &Warrant, request: &MintRequest, bytes: &[u8]) {
        self.warranted(at, now, warrant, None);
        if !makes(&warrant.change_set, request.step, &request.coordinates) {
            self.find(Fault::Step, format!("made {:?} by step {}", request.coordinates, request.step));
        }
        self.bear(bytes, &request.coordinates);
    }

    /// A custodian wrapped a copy. `bytes`: what whoever has the private key gets. `recorded`: whether the custodian has a record of it.
    pub(super) fn wrapped(
        &mut self,
        at: InstallationId,
        now: Timestamp,
        (warrant, request): (&Warrant, &WrapRequest),
        wrapped: &Wrapped,
        bytes: Option<&[u8]>,
        recorded: bool,
    ) {
        let (set, step) = (&warrant.change_set, request.step);
        let copy = &request.copy.coordinates;
        if !imports(set, step, copy) || !scheme_fits(set, request) {
            self.find(Fault::Step, format!("wrapped {copy:?} by {} for step {step}", request.wrapping_key.scheme));
        }
        let under = Digest::of(&request.wrapping_key.spki);
        // Whatever the request says, the bytes need the approvals of what they were made as.
        let made = match bytes {
            Some(bytes) => self.bear(bytes, copy),
            None => {
                self.find(Fault::Bytes, format!("what was wrapped for step {step} is not for key {under}"));
                copy.clone()
            }
        };
        self.warranted(at, now, warrant, Some(&made));
        if !recorded || wrapped.wrapped_under != under {
            self.find(Fault::Record, format!("step {step} left under {under}"));
        }
        let digest = digest_of(set);
        let keys = self.installations.get_mut(&at).map(|known| known.keys.entry((digest, step)).or_default());
        let count = keys.map_or(0, |keys| {
            keys.insert(under);
            keys.len()
        });
        if count > MOST_KEYS {
            self.find(Fault::Keys, format!("step {step} of {digest} left under {count} keys"));
        }
    }

    /// A custodian adopted a charter.
    pub(super) fn adopted(
        &mut self,
        at: InstallationId,
        now: Timestamp,
        change: &CharterChange,
        approvals: &[Approval],
        sealed: &SealedCharter,
    ) {
        let Some((id, charter)) = self.in_force(at) else { return self.find(Fault::Adoption, "without a charter before".to_owned()) };
        let next = id_of(sealed);
        if next == id {
            // The answer to what was adopted before is repeated.
            return;
        }
        let CharterChange { before, next: wanted, proposer, until } = change;
        if *before != id
            || next.serial != id.serial + 1
            || sealed.charter != *wanted
            || wanted.installation != at
            || proposer.0.trim().is_empty()
        {
            self.find(Fault::Adoption, format!("{next} came after {id} by a change of {before}"));
        }
        let rules = touched(&charter, wanted);
        let concerned = charter.profiles.values().filter(|of| rules.iter().any(|rule| **rule == of.import || **rule == of.retire));
        self.in_time(now, *until, concerned.map(|of| of.valid));
        self.unfit(wanted);
        let by = self.approvers(&charter, id, Subject::Charter(digest_of_change(change)), proposer, approvals);
        for rule in touched(&charter, wanted) {
            let have = counted(&charter, &by, rule);
            if have < rule.need as usize {
                self.find(Fault::Adoption, format!("{next} came after {id} with {have} of {} of {:?}", rule.need, rule.from));
            }
        }
        if let Some(known) = self.installations.get_mut(&at) {
            known.charters.push((next, sealed.charter.clone()));
        }
    }

    fn in_force(&self, at: InstallationId) -> Option<(CharterId, Charter)> {
        self.installations.get(&at)?.charters.last().cloned()
    }

    fn find(&mut self, fault: Fault, what: String) {
        self.broken.push(Broken { fault, what });
    }

    /// `longest`: what each of the profiles concerned allows.
    fn in_time(&mut self, now: Timestamp, until: Timestamp, longest: impl Iterator<Item = Span>) {
        let longest = longest.fold(LONGEST, Ord::min);
        if until <= now || until > now + longest + CLOCKS {
            self.find(Fault::Time, format!("at {now}, with approvals until {until}"));
        }
    }

    /// What these bytes were made as; from now on `copy`, if they are new.
    fn bear(&mut self, bytes: &[u8], copy: &CopyCoordinates) -> CopyCoordinates {
        let born = self.born.entry(bytes.to_vec()).or_insert_with(|| copy.clone()).clone();
        if born != *copy {
            self.find(Fault::Bytes, format!("the bytes of {born:?} as those of {copy:?}"));
        }
        born
    }

    /// Checks what the custodian was shown. `made`: what the bytes that leave were made as. `None`: new bytes are made.
    fn warranted(&mut self, at: InstallationId, now: Timestamp, warrant: &Warrant, made: Option<&CopyCoordinates>) {
        let Warrant { change_set: set, approvals, charter: sealed } = warrant;
        let digest = digest_of(set);
        let Some((id, charter)) = self.in_force(at) else { return self.find(Fault::Charter, "there is none".to_owned()) };
        if sealed.charter != charter || sealed.serial != id.serial {
            self.find(Fault::Charter, format!("{digest} under charter {}, and {id} is in force", id_of(sealed)));
        }
        if set.installation != at {
            self.find(Fault::Step, format!("{digest} is for installation {}", set.installation));
        }
        let older = set.steps.iter().filter_map(|step| match &step.act {
            Act::Import { made: Some(made), .. } => Some(&made.profile),
            _ => None,
        });
        let of = |name| charter.profiles.get(name).map_or(charter.profiles.values().map(|of| of.valid).min(), |of| Some(of.valid));
        self.in_time(now, set.until, older.chain([&set.profile]).filter_map(of));
        if self.installations.get(&at).is_some_and(|known| known.ended.contains(&digest)) {
            self.find(Fault::Finished, digest.to_string());
        }
        let of_profile = charter.profiles.get(&set.profile).map(|rules| &rules.import);
        if of_profile != Some(&set.approvals) && !charter.key_rules.contains(&set.approvals) {
            self.find(Fault::Rule, format!("{digest}: {:?}", set.approvals));
        }
        let by = self.approvers(&charter, id, Subject::ChangeSet(digest), &set.proposer, approvals);
        for rule in needed(&charter, set, made) {
            let have = counted(&charter, &by, rule);
            if have < rule.need as usize {
                let bytes = made.map_or("new bytes".to_owned(), |made| format!("bytes of {}", made.profile));
                self.find(Fault::Approvals, format!("{digest}: {bytes} by {have} of {} of {:?}", rule.need, rule.from));
            }
        }
    }

    /// Who of a charter's approvers signed this, except the proposer.
    fn approvers<'a>(
        &self,
        charter: &Charter,
        id: CharterId,
        subject: Subject,
        proposer: &Actor,
        approvals: &'a [Approval],
    ) -> BTreeSet<&'a str> {
        let is = |name: &str| name.eq_ignore_ascii_case(proposer.0.trim());
        let counts = |approval: &&Approval| {
            let Some(approver) = charter.approvers.get(&approval.approver) else { return false };
            let Some(signed) = self.signed.get(&approval.signature) else { return false };
            let own = is(approval.approver.as_str()) || approver.logins.iter().any(|login| is(login));
            !own && signed.subject == subject && signed.under == id && approver.keys.contains(signed.key)
        };
        approvals.iter().filter(counts).map(|approval| approval.approver.as_str()).collect()
    }

    fn unfit(&mut self, charter: &Charter) {
        let rules = charter.profiles.values().flat_map(|rules| [&rules.import, &rules.retire]).chain(&charter.key_rules);
        let unmet = rules.filter(|rule| members(charter, rule) < rule.need as usize).count();
        let keys: Vec<&str> = charter.approvers.values().flat_map(|approver| &approver.keys).map(String::as_str).collect();
        let doubled = keys.len() - keys.iter().collect::<BTreeSet<_>>().len();
        let unreal = keys.iter().filter(|key| !self.real_keys.contains(**key)).count();
        let silent = charter.approvers.values().filter(|approver| approver.keys.is_empty()).count();
        if charter.profiles.is_empty() || unmet + doubled + unreal + silent > 0 {
            let what = format!("{unmet} rules unmet, {doubled} keys twice, {unreal} keys that are none, {silent} people without any");
            self.find(Fault::Unfit, what);
        }
    }
}

fn id_of(sealed: &SealedCharter) -> CharterId {
    CharterId { serial: sealed.serial, digest: json_digest(&sealed.charter) }
}

fn digest_of(set: &ChangeSet) -> Digest {
    json_digest(set)
}

fn digest_of_change(change: &CharterChange) -> Digest {
    json_digest(change)
}

fn json_digest(value: &impl serde::Serialize) -> Digest {
    Digest::of(&canonical_bytes(value).unwrap_or_default())
}

/// How many people a rule counts.
fn members(charter: &Charter, rule: &ApprovalRule) -> usize {
    charter.approvers.values().filter(|approver| approver.groups.iter().any(|group| rule.from.contains(group))).count()
}

/// How many of these people a rule counts.
fn counted(charter: &Charter, by: &BTreeSet<&str>, rule: &ApprovalRule) -> usize {
    let counts = |groups: &BTreeSet<GroupName>| groups.iter().any(|group| rule.from.contains(group));
    charter.approvers.iter().filter(|(name, approver)| by.contains(name.as_str()) && counts(&approver.groups)).count()
}

/// The profiles' rules that need the most people.
pub(super) fn strictest(charter: &Charter) -> Vec<&ApprovalRule> {
    let all: Vec<&ApprovalRule> = charter.profiles.values().flat_map(|rules| [&rules.import, &rules.retire]).collect();
    let most = all.iter().map(|rule| rule.need).max();
    all.into_iter().filter(|rule| Some(rule.need) == most).collect()
}

/// The rules that have to be satisfied: of the profile that the change set names, its own; and if bytes leave, of the profile under which they
/// were made, and the one of then. What the charter does not know any more, or nobody could meet, counts as its strictest rules.
fn needed<'a>(charter: &'a Charter, set: &'a ChangeSet, made: Option<&'a CopyCoordinates>) -> Vec<&'a ApprovalRule> {
    let of_profile = |profile: &ProfileName| charter.profiles.get(profile).map_or_else(|| strictest(charter), |rules| vec![&rules.import]);
    let mut rules = of_profile(&set.profile);
    rules.push(&set.approvals);
    if let Some(made) = made {
        rules.extend(of_profile(&made.profile));
        if members(charter, &made.approvals) < made.approvals.need as usize {
            rules.extend(strictest(charter));
        } else {
            rules.push(&made.approvals);
        }
    }
    rules
}

/// The rules of a charter whose approvals another one needs: each that is changed or removed, each that counts a group of somebody who comes,
/// goes or changes, and the profiles' rules that need the most people.
pub(crate) fn touched<'a>(before: &'a Charter, next: &Charter) -> Vec<&'a ApprovalRule> {
    let names: BTreeSet<_> = before.approvers.keys().chain(next.approvers.keys()).collect();
    let changed = names.into_iter().map(|name| [before.approvers.get(name), next.approvers.get(name)]).filter(|[old, new]| old != new);
    let groups: BTreeSet<&GroupName> = changed.flatten().flatten().flat_map(|approver| &approver.groups).collect();
    let counts = |rule: &ApprovalRule| rule.from.iter().any(|group| groups.contains(group));
    let mut rules = strictest(before);
    for (profile, old) in &before.profiles {
        let new = next.profiles.get(profile);
        // What belongs to neither of the two rules belongs to both.
        let rest = |new: &Approvals| Approvals { import: old.import.clone(), retire: old.retire.clone(), ..new.clone() } == *old;
        let same = new.is_some_and(rest);
        if !same || counts(&old.import) || new.is_none_or(|new| new.import != old.import) {
            rules.push(&old.import);
        }
        if !same || counts(&old.retire) || new.is_none_or(|new| new.retire != old.retire) {
            rules.push(&old.retire);
        }
    }
    rules.extend(before.key_rules.iter().filter(|rule| counts(rule) || !next.key_rules.contains(*rule)));
    rules
}

/// Whether a step makes this copy.
fn makes(set: &ChangeSet, step: StepNo, copy: &CopyCoordinates) -> bool {
    let Some(step) = set.steps.get(step.0 as usize) else { return false };
    let Act::Mint { version, source, epoch } = step.act else { return false };
    let under = (&copy.profile, &copy.approvals) == (&set.profile, &set.approvals);
    under && step.placement == copy.placement && (version, source, epoch) == (copy.version, copy.source, copy.epoch) && is_of(set, copy)
}

/// Whether a step imports this copy: one that the change set makes, or one that was made before and that approvers read about.
fn imports(set: &ChangeSet, step: StepNo, copy: &CopyCoordinates) -> bool {
    let Some(step) = set.steps.get(step.0 as usize) else { return false };
    let Act::Import { version, of, made, .. } = &step.act else { return false };
    let placement = of.unwrap_or(step.placement);
    let algorithm = set.placements.get(&step.placement).map(|plan| plan.algorithm);
    let here = *version == copy.version && placement == copy.placement && algorithm == Some(copy.algorithm);
    let own = (0..).map(StepNo).take(set.steps.len()).any(|number| makes(set, number, copy));
    here && is_of(set, copy) && made.as_ref().map_or(own, |made| made == copy)
}

/// Whether a copy is of the key that approvers read, at a placement that they read, if the change set describes it.
fn is_of(set: &ChangeSet, copy: &CopyCoordinates) -> bool {
    let ids = IdTree::of(set.installation);
    let key = ids.key(set.key.as_str());
    let named = |plan: &PlacementPlan| ids.placement(key, plan.destination.as_str(), &plan.name) == copy.placement;
    let placed = set.placements.get(&copy.placement).is_none_or(|plan| named(plan) && plan.algorithm == copy.algorithm);
    copy.installation == set.installation && copy.key == set.key_id && set.key_id == key && placed
}

fn scheme_fits(set: &ChangeSet, request: &WrapRequest) -> bool {
    let step = set.steps.get(request.step.0 as usize);
    matches!(step.map(|step| &step.act), Some(Act::Import { scheme, .. }) if *scheme == request.wrapping_key.scheme)
}
