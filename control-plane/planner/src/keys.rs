//! Plans key by key, and combines the results of the passes.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Action, Approvals, CLOCKS, ChangeSet, ChangeSetRecord, Digest, Key, KeyId, KeyName, KeyRecord, ProfileName, Reason, Span, Step, StepNo,
    Timestamp,
};

use crate::estimate::Estimate;
use crate::input::PlanInput;
use crate::open::Open;
use crate::placements::Work;
use crate::report::{Finding, KeyReport, NothingReason, Obstacle, Outcome, PlanReport, Warning};
use crate::surplus::Marked;
use crate::{open, placements, surplus, targets};

/// A look that is older than 15 minutes gets a warning. No decision depends on it: each step looks again before it acts.
const OLD_LOOK: Span = Span::seconds(15 * 60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// New change sets to propose, sorted by key name, at most one for each key. Each replaces the key's open proposed change set.
    pub change_sets: Vec<ChangeSet>,
    /// Open proposed change sets that still fit and keep their approvals.
    pub kept: BTreeSet<Digest>,
    /// Open proposed change sets that no longer fit and that nothing replaces. The caller drops them.
    pub outdated: BTreeSet<Digest>,
    pub report: PlanReport,
}

/// Plans all keys.
///
/// Flow, for each key that is wanted, is recorded or has an open change set: a committed change set is left alone. Otherwise the key's
/// placements are planned. If none needs anything, its surplus objects are cleaned up. The result is compared with the open proposed change
/// set.
///
/// Guarantees: the same input gives the same bytes. At most one change set for each key. Nothing but empty surplus objects is deleted. Once
/// the change sets are applied, planning again gives none. Every key of intent and ledger is in the report, with a typed reason.
///
/// Assumes that the inventories were taken from the [`targets()`](crate::targets()) of the same intent and of `before`. A placement that
/// was not looked at is an [`Obstacle`]; it is never taken for absent.
#[must_use]
pub fn plan(input: &PlanInput<'_>) -> Plan {
    let mut plan = Plan { change_sets: Vec::new(), kept: BTreeSet::new(), outdated: BTreeSet::new(), report: PlanReport::default() };
    let mut estimate = Estimate::default();
    let proposed = input.ledger.open.values().map(|open| &open.change_set.key);
    let names: BTreeSet<&KeyName> = input.intent.keys.keys().chain(input.ledger.keys.keys()).chain(proposed).collect();
    let marked = Marked::of(input);
    for name in names {
        let subject = Subject::new(input, &marked, name);
        let report = subject.plan(&mut plan, &mut estimate);
        plan.report.keys.insert(name.clone(), report);
    }
    plan.report.lanes = estimate.lanes();
    plan.report.warnings.extend(looks(input));
    plan.report.warnings.extend(surplus::unknown(input));
    plan.report.warnings.sort();
    plan
}

fn looks(input: &PlanInput<'_>) -> impl Iterator<Item = Warning> {
    input.inventories.iter().flat_map(|(destination, inventory)| {
        let incomplete = (!inventory.complete).then(|| Warning::IncompleteSweep { destination: destination.clone() });
        let old = (input.now - inventory.at > OLD_LOOK).then(|| Warning::OldLook { destination: destination.clone(), at: inventory.at });
        incomplete.into_iter().chain(old)
    })
}

/// A key that is wanted, is recorded, or has an open change set.
struct Subject<'a> {
    input: &'a PlanInput<'a>,
    marked: &'a Marked<'a>,
    name: &'a KeyName,
    /// `None`: not wanted.
    key: Option<&'a Key>,
    /// `None`: not in the ledger.
    record: Option<&'a KeyRecord>,
    id: KeyId,
    open: Open<'a>,
}

impl<'a> Subject<'a> {
    fn new(input: &'a PlanInput<'a>, marked: &'a Marked<'a>, name: &'a KeyName) -> Self {
        let record = input.ledger.keys.get(name);
        let id = targets::key_id(name, record, input.ids);
        Self { input, marked, name, key: input.intent.keys.get(name), record, id, open: Open::of(input.ledger.open.get(&id)) }
    }

    fn plan(&self, plan: &mut Plan, estimate: &mut Estimate) -> KeyReport {
        // INVARIANT: nothing is planned beside a change set that is being withdrawn. Once it is dropped, the key is planned anew.
        if let Open::Ending(open) = self.open {
            plan.report.warnings.extend(self.unused(&self.removals()));
            return KeyReport {
                outcome: Outcome::Nothing { reason: NothingReason::Withdrawing { digest: open.digest } },
                findings: Vec::new(),
            };
        }
        // INVARIANT: nothing is planned beside a committed change set. The engine resumes or drops it.
        if let Open::Committed(open) = self.open {
            let rest = (0..).map(StepNo).zip(&open.change_set.steps).filter(|(number, _)| !open.receipts.contains_key(number));
            estimate.add_steps(&open.change_set, rest.map(|(_, step)| step), self.input.destinations);
            plan.report.warnings.extend(self.unused(&self.removals()));
            return KeyReport { outcome: Outcome::Nothing { reason: open::running(open) }, findings: Vec::new() };
        }

        let imports = self.key.map(|key| placements::work(self.input, self.name, key, self.id)).unwrap_or_default();
        let removals = self.removals();
        let is_blocked = !imports.findings.is_empty();
        let mut findings = imports.findings.clone();
        findings.extend(removals.findings.clone());
        for (known, drifts) in self.record.into_iter().flat_map(|record| placements::unwanted(self.input, self.name, self.key, record)) {
            findings.extend(drifts);
            // For a key that is no longer wanted, the outcome already says so.
            if self.key.is_some() {
                plan.report.warnings.push(Warning::UnwantedPlacement {
                    key: self.name.clone(),
                    destination: known.destination.clone(),
                    name: known.name.clone(),
                });
            }
        }

        // Imports come first: an object that looks surplus now may become the placement's own.
        let (action, work) = if imports.placements.is_empty() {
            (Action::CleanUp, removals)
        } else {
            plan.report.warnings.extend(self.unused(&removals));
            (Action::Import, imports)
        };
        let change = if work.placements.is_empty() { None } else { self.fill(action, work, &mut findings) };
        findings.sort_by_key(|finding| (finding.destination.clone(), finding.name.clone(), finding.placement));
        let outcome = self.settle(change, is_blocked, &findings, plan, estimate);
        KeyReport { outcome, findings }
    }

    fn removals(&self) -> Work {
        self.record.map(|record| surplus::work(self.input, self.marked, record)).unwrap_or_default()
    }

    /// Warns of surplus objects that no change set removes yet.
    fn unused<'w>(&'w self, removals: &'w Work) -> impl Iterator<Item = Warning> + 'w {
        removals.reasons.iter().filter_map(|reason| match reason {
            Reason::SurplusObject { object, destination } => {
                Some(Warning::UnusedObject { key: self.name.clone(), destination: destination.clone(), object: object.clone() })
            }
            _ => None,
        })
    }

    /// `None`: the intent has no such profile, so no approvers are defined.
    fn fill(&self, action: Action, work: Work, findings: &mut Vec<Finding>) -> Option<ChangeSet> {
        let Some(frame) = self.frame(action) else {
            findings.extend(work.placements.into_iter().map(|(placement, plan, _)| Finding {
                placement,
                destination: plan.destination,
                name: plan.name,
                obstacle: Obstacle::UnknownProfile,
            }));
            return None;
        };
        let mut change_set = ChangeSet { reasons: work.reasons, ..frame };
        for (placement, plan, steps) in work.placements {
            change_set.placements.insert(placement, plan);
            change_set.steps.extend(steps);
        }
        change_set.until = self.latest_end(&change_set.steps)?;
        Some(change_set)
    }

    /// Keeps the open proposed change set if it still fits, otherwise takes the new one.
    fn settle(
        &self,
        change: Option<ChangeSet>,
        is_blocked: bool,
        findings: &[Finding],
        plan: &mut Plan,
        estimate: &mut Estimate,
    ) -> Outcome {
        let open = match self.open {
            Open::Proposed(open) => Some(open),
            Open::None | Open::Ending(_) | Open::Committed(_) => None,
        };
        if let Some(open) = open.filter(|open| self.still_fits(open, change.as_ref(), findings)) {
            plan.kept.insert(open.digest);
            estimate.add(&open.change_set, self.input.destinations);
            return Outcome::Nothing { reason: open::awaiting(open) };
        }
        if let Some(change_set) = change {
            let mut alone = Estimate::default();
            alone.add(&change_set, self.input.destinations);
            estimate.add(&change_set, self.input.destinations);
            let outcome = Outcome::Change {
                digest: digest(&change_set),
                action: change_set.action,
                reasons: change_set.reasons.clone(),
                steps: change_set.steps.len(),
                takes: alone.total(),
                replaces: open.map(|open| open.digest),
            };
            plan.change_sets.push(change_set);
            return outcome;
        }
        plan.outdated.extend(open.map(|open| open.digest));
        if is_blocked || findings.iter().any(|finding| finding.obstacle == Obstacle::UnknownProfile) {
            Outcome::Blocked
        } else {
            Outcome::Nothing { reason: self.nothing() }
        }
    }

    fn still_fits(&self, open: &ChangeSetRecord, change: Option<&ChangeSet>, findings: &[Finding]) -> bool {
        if !self.is_in_time(open) {
            return false;
        }
        // Compare as if the first proposer had planned now, with the first expiry.
        let first = |set: ChangeSet| ChangeSet { proposer: open.change_set.proposer.clone(), until: open.change_set.until, ..set };
        let again = change.cloned().map(first);
        self.frame(open.change_set.action).is_some_and(|frame| {
            let frame = first(frame);
            open::still_fits(open, again.as_ref().map(|again| (again, digest(again))), &frame, findings)
        })
    }

    /// Whether a proposal can still be committed, as far as time tells. An expired one cannot be approved any more, and neither can one whose
    /// approvals would count for longer than the rules have come to allow.
    ///
    /// INVARIANT: no approvals are lost because the clocks of two servers differ. This clock may be ahead by [`CLOCKS`], so approvals that
    /// have ended are kept for as long. A proposal that is yet to be made shows that this clock is behind, and then how long its approvals
    /// would count says nothing of the rules.
    fn is_in_time(&self, open: &ChangeSetRecord) -> bool {
        let (now, until) = (self.input.now, open.change_set.until);
        let ends = if open.approvals.is_empty() { until } else { until + CLOCKS };
        let Some(latest) = self.latest_end(&open.change_set.steps) else { return false };
        now < ends && (until <= latest + CLOCKS || now < open.proposed)
    }

    /// The key's profile, and its rules of approval. `None`: the intent does not have the profile.
    fn approvals(&self) -> Option<(&'a ProfileName, &'a Approvals)> {
        let profile = match (self.key, self.record) {
            (Some(key), _) => &key.profile,
            (None, Some(record)) => &record.profile,
            (None, None) => return None,
        };
        let of_profile = &self.input.intent.profiles.get(profile)?.approvals;
        // A key's own rules are at least as strict as its profile's.
        Some((profile, self.key.map_or(of_profile, |key| &key.rules.approvals)))
    }

    /// The latest time until which approvals of these steps may count. Where bytes are imported that were made before, those of the profile
    /// that they were made under are asked, too, or of the strictest profile if that one is gone.
    fn latest_end(&self, steps: &[Step]) -> Option<Timestamp> {
        let (_, own) = self.approvals()?;
        let profiles = &self.input.intent.profiles;
        let shortest = || profiles.values().map(|rules| rules.approvals.valid).min();
        let of = |profile: &ProfileName| profiles.get(profile).map(|rules| rules.approvals.valid).or_else(shortest);
        let made = steps.iter().filter_map(|step| of(&step.act.made()?.profile));
        Some(self.input.now + made.fold(own.valid, Ord::min))
    }

    /// The key's change set without placements and steps. `None`: the intent does not have its profile.
    fn frame(&self, action: Action) -> Option<ChangeSet> {
        let (profile, approvals) = self.approvals()?;
        Some(ChangeSet {
            format: ChangeSet::FORMAT,
            installation: self.input.ledger.installation,
            key: self.name.clone(),
            key_id: self.id,
            profile: profile.clone(),
            action,
            wanted: self.key.map(wanted),
            approvals: match action {
                Action::Import | Action::CleanUp => approvals.import.clone(),
            },
            proposer: self.input.proposer.clone(),
            generation: self.record.map(|record| record.generation).unwrap_or_default(),
            placements: BTreeMap::new(),
            steps: Vec::new(),
            reasons: Vec::new(),
            until: self.latest_end(&[])?,
        })
    }

    fn nothing(&self) -> NothingReason {
        match (self.key, self.record.and_then(placements::newest), self.record) {
            (None, _, _) => NothingReason::Unwanted,
            (Some(key), Some((version, _)), Some(record)) if !key.placements.is_empty() => {
                NothingReason::InPlace { version, since: record.versions.get(&version).and_then(|version| version.activated) }
            }
            (Some(_), _, _) => NothingReason::NoPlacements,
        }
    }
}

fn digest(change_set: &ChangeSet) -> Digest {
    // INVARIANT: a change set has string keys and no floats, so it always has canonical bytes.
    change_set.digest().expect("a change set has canonical bytes")
}

fn wanted(key: &Key) -> Digest {
    // INVARIANT: the same holds for a key.
    key.digest().expect("a key has canonical bytes")
}
