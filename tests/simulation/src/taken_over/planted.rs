//! The custodian of a run, and variants of it that let too much through, to test the checker with. The product has none of these switches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use keyplane_model::{
    Actor, Algorithm, Approval, ApprovalRule, ApproverName, ChangeSet, Charter, CharterChange, CharterId, CopyCoordinates, Digest, KeyId,
    PlacementId, SealedBlob, SealedCharter, Source, Statement, StepNo, Timestamp, Version,
};
use keyplane_port::{Clock, Custodian as _, CustodianError, MintRequest, Minted, Spent, Warrant, WrapRequest, Wrapped};
use keyplane_verifier::{
    Adoption, Denial, RequestFault, Violation, approved, may_mint, may_wrap, required, required_for_charter, verify_approval,
};

use super::cast::Hand;
use super::checker::Fault;
use crate::custodian::{Judge, SymbolCustodian, Verifier};
use crate::executor::locked;
use crate::symbols::Symbols;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A copy's bytes are derived without its profile and rule.
    ProfileUnbound,
    /// A blob's MAC is not checked.
    BlobUnbound,
    /// Each rule is satisfied by one person fewer.
    RuleLooser,
    /// Bytes leave without the approvals of the profile and the rule under which they were made.
    MakingForgotten,
    /// A change set's rule of approval need not be in the charter.
    RuleUnguarded,
    /// Approvals have no end.
    EndForgotten,
    /// A change set under an earlier charter is judged by that one.
    OldCharterHonoured,
    /// What is signed of a charter does not name the one before.
    CharterBySignaturesOfBefore,
    /// A charter is changed by those of the strictest rules alone, whichever rules it touches.
    TouchedForgotten,
    /// A charter is not asked whether it could be in force.
    UnfitAdopted,
    /// Another first charter takes the place of the one in force.
    EnrolledAgain,
    /// Nothing is recorded of a change set's end.
    FinishedWraps,
    /// Records of use are lost when the custodian is started anew.
    RecordsForgotten,
    /// Wraps are not recorded.
    WrapsUnrecorded,
    /// A step is wrapped under any number of keys.
    KeysUnbounded,
    /// What is signed of a change set names neither the key nor the digest.
    KeyUnsigned,
    /// The proposer's own approval counts.
    ProposerCounts,
    /// Approvals are counted, not people.
    ApprovalsCounted,
    /// An approval counts for the name on it, whoever signed.
    NameBelieved,
    /// A step is not compared with the request.
    WrongStep,
}

impl Planted {
    pub(crate) const ALL: [Self; 20] = [
        Self::ProfileUnbound,
        Self::BlobUnbound,
        Self::RuleLooser,
        Self::MakingForgotten,
        Self::RuleUnguarded,
        Self::EndForgotten,
        Self::OldCharterHonoured,
        Self::CharterBySignaturesOfBefore,
        Self::TouchedForgotten,
        Self::UnfitAdopted,
        Self::EnrolledAgain,
        Self::FinishedWraps,
        Self::RecordsForgotten,
        Self::WrapsUnrecorded,
        Self::KeysUnbounded,
        Self::KeyUnsigned,
        Self::ProposerCounts,
        Self::ApprovalsCounted,
        Self::NameBelieved,
        Self::WrongStep,
    ];

    /// What the checker has to find, among others.
    pub(crate) fn shows_as(self) -> Fault {
        match self {
            Self::ProfileUnbound
            | Self::RuleLooser
            | Self::MakingForgotten
            | Self::KeyUnsigned
            | Self::ProposerCounts
            | Self::ApprovalsCounted
            | Self::NameBelieved => Fault::Approvals,
            Self::BlobUnbound => Fault::Bytes,
            Self::RuleUnguarded => Fault::Rule,
            Self::EndForgotten => Fault::Time,
            Self::OldCharterHonoured => Fault::Charter,
            Self::CharterBySignaturesOfBefore | Self::TouchedForgotten => Fault::Adoption,
            Self::UnfitAdopted => Fault::Unfit,
            Self::EnrolledAgain => Fault::Enrolment,
            Self::FinishedWraps | Self::RecordsForgotten => Fault::Finished,
            Self::WrapsUnrecorded => Fault::Record,
            Self::KeysUnbounded => Fault::Keys,
            Self::WrongStep => Fault::Step,
        }
    }

    /// The variant's name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ProfileUnbound => "profile-unbound",
            Self::BlobUnbound => "blob-unbound",
            Self::RuleLooser => "rule-looser",
            Self::MakingForgotten => "making-forgotten",
            Self::RuleUnguarded => "rule-unguarded",
            Self::EndForgotten => "end-forgotten",
            Self::OldCharterHonoured => "old-charter-honoured",
            Self::CharterBySignaturesOfBefore => "charter-by-signatures-of-before",
            Self::TouchedForgotten => "touched-forgotten",
            Self::UnfitAdopted => "unfit-adopted",
            Self::EnrolledAgain => "enrolled-again",
            Self::FinishedWraps => "finished-wraps",
            Self::RecordsForgotten => "records-forgotten",
            Self::WrapsUnrecorded => "wraps-unrecorded",
            Self::KeysUnbounded => "keys-unbounded",
            Self::KeyUnsigned => "key-unsigned",
            Self::ProposerCounts => "proposer-counts",
            Self::ApprovalsCounted => "approvals-counted",
            Self::NameBelieved => "name-believed",
            Self::WrongStep => "wrong-step",
        }
    }
}

/// The place of a derived copy: what it is derived from if its profile and rule are left out.
type Place = (KeyId, Version, PlacementId, Algorithm);

/// The custodian that a server talks to.
pub(super) struct Custody {
    token: Arc<SymbolCustodian>,
    planted: Option<Planted>,
    /// The first copy that was made at each place.
    first: BTreeMap<Place, CopyCoordinates>,
}

/// A token in memory never waits.
fn done<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect("a token in memory answers at once")
}

impl Custody {
    pub(super) fn new(symbols: &Symbols, clock: &Arc<Hand>, planted: Option<Planted>) -> Self {
        let clock: Arc<dyn Clock> = match planted {
            Some(Planted::EndForgotten) => Arc::new(Hand::new()),
            _ => Arc::<Hand>::clone(clock),
        };
        let judge: Arc<dyn Judge> = match planted {
            Some(planted) => Arc::new(Crooked { planted, judged: Mutex::default(), before: Mutex::default() }),
            None => Arc::new(Verifier),
        };
        Self { token: SymbolCustodian::new(symbols.clone(), clock, judge), planted, first: BTreeMap::new() }
    }

    /// Adopts a first charter. `None`: it adopted none.
    pub(super) fn enrol(&self, charter: &Charter) -> Result<Option<SealedCharter>, CustodianError> {
        if self.planted == Some(Planted::EnrolledAgain) {
            let sealed = self.token.sealed(charter, 1);
            self.token.enforce(&sealed, &[]);
            return Ok(Some(sealed));
        }
        Ok(done(self.token.enroll(charter.installation, charter))?.charter)
    }

    pub(super) fn adopt(
        &self,
        current: &SealedCharter,
        change: &CharterChange,
        approvals: &[Approval],
    ) -> Result<SealedCharter, CustodianError> {
        done(self.token.adopt(current, change, approvals))
    }

    pub(super) fn mint(&mut self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        let minted = match (done(self.token.mint(warrant, request)), self.planted) {
            (Err(CustodianError::CharterChanged), Some(Planted::OldCharterHonoured)) => self.token.make(&request.coordinates),
            (minted, _) => minted?,
        };
        self.first_at(&request.coordinates);
        Ok(minted)
    }

    pub(super) fn wrap(&mut self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        let mut request = request.clone();
        if self.planted == Some(Planted::BlobUnbound)
            && let Some(blob) = &mut request.copy.blob
        {
            blob.mac = self.token.mac(&request.copy.coordinates, &blob.wrapped);
        }
        match (done(self.token.wrap(warrant, &request)), self.planted) {
            (Err(CustodianError::CharterChanged), Some(Planted::OldCharterHonoured))
            | (Err(CustodianError::Spent(Spent::WrappingKeys(_))), Some(Planted::KeysUnbounded)) => self.token.seal(&request),
            (Ok(_), Some(Planted::ProfileUnbound)) => {
                request.copy.coordinates = self.first_at(&request.copy.coordinates);
                self.token.seal(&request)
            }
            (Ok(wrapped), Some(Planted::WrapsUnrecorded)) => {
                self.token.forget();
                Ok(wrapped)
            }
            (wrapped, _) => wrapped,
        }
    }

    pub(super) fn finish(&self, sealed: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError> {
        if self.planted == Some(Planted::FinishedWraps) { Ok(()) } else { done(self.token.finish(sealed, change_set)) }
    }

    /// Starts the custodian anew, on the same token.
    pub(super) fn restart(&self) {
        if self.planted == Some(Planted::RecordsForgotten) {
            self.token.forget();
        }
    }

    /// Whether a wrap is on record.
    pub(super) fn has_recorded(&self, change_set: Digest, step: StepNo, wrapped_under: Digest) -> bool {
        let usages = done(self.token.usages()).unwrap_or_default().usages;
        let mut wraps = usages.iter().filter(|usage| usage.change_set == change_set).flat_map(|usage| &usage.wraps);
        wraps.any(|wrap| (wrap.step, wrap.wrapped_under) == (step, wrapped_under))
    }

    /// A copy's bytes, for the checker.
    pub(super) fn reveal(&self, copy: &CopyCoordinates, blob: Option<&SealedBlob>) -> Vec<u8> {
        self.token.bring(copy, blob).unwrap_or_default()
    }

    /// The first copy at a derived copy's place. A generated copy is itself.
    fn first_at(&mut self, copy: &CopyCoordinates) -> CopyCoordinates {
        if copy.source == Source::Generated {
            return copy.clone();
        }
        let place = (copy.key, copy.version, copy.placement, copy.algorithm);
        self.first.entry(place).or_insert_with(|| copy.clone()).clone()
    }
}

/// A judge that forgives what a planted variant does not see.
struct Crooked {
    planted: Planted,
    /// Every change set that it was shown.
    judged: Mutex<Vec<ChangeSet>>,
    /// Every charter that it was shown as the one in force.
    before: Mutex<Vec<CharterId>>,
}

impl Judge for Crooked {
    fn mint(&self, warrant: &Warrant, request: &MintRequest, now: Timestamp) -> Result<(), RequestFault> {
        let step = || may_mint(&warrant.change_set, request.step, &request.coordinates);
        self.forgive(warrant, None, Verifier.mint(warrant, request, now), step)
    }

    fn wrap(&self, warrant: &Warrant, request: &WrapRequest, now: Timestamp) -> Result<(), RequestFault> {
        let copy = &request.copy.coordinates;
        let step = || may_wrap(&warrant.change_set, request.step, copy, request.wrapping_key.scheme);
        self.forgive(warrant, Some(copy), Verifier.wrap(warrant, request, now), step)
    }

    fn adoption(
        &self,
        current: &SealedCharter,
        change: &CharterChange,
        approvals: &[Approval],
        now: Timestamp,
    ) -> Result<Adoption, RequestFault> {
        locked(&self.before).extend(current.id().ok());
        let fault = match Verifier.adoption(current, change, approvals, now) {
            Ok(adoption) => return Ok(adoption),
            Err(fault) => fault,
        };
        let charter = &current.charter;
        let signed = |before: CharterId| Statement::of_charter(&CharterChange { before, ..change.clone() }).ok();
        let enough = |rules: Vec<&ApprovalRule>, before: CharterId| {
            signed(before).is_some_and(|statement| approved(&statement, &change.proposer, rules, charter, approvals).is_ok())
        };
        let touched = || required_for_charter(charter, &change.next).into_iter().collect::<Vec<_>>();
        let forgiven = match (self.planted, &fault) {
            (Planted::TouchedForgotten, RequestFault::Approvals(_)) => enough(charter.strictest().into_iter().collect(), change.before),
            (Planted::CharterBySignaturesOfBefore, RequestFault::Approvals(_)) => {
                locked(&self.before).iter().any(|before| enough(touched(), *before))
            }
            (Planted::UnfitAdopted, RequestFault::Unfit(_)) => enough(touched(), change.before),
            _ => false,
        };
        let (Some(serial), Ok(digest), true) = (change.before.serial.checked_add(1), change.next.digest(), forgiven) else {
            return Err(fault);
        };
        let in_time = if now < change.until { Ok(()) } else { Err(Violation::Ended(change.until)) };
        Ok(Adoption { next: CharterId { serial, digest }, in_time })
    }
}

impl Crooked {
    fn forgive(
        &self,
        warrant: &Warrant,
        made: Option<&CopyCoordinates>,
        judged: Result<(), RequestFault>,
        step: impl FnOnce() -> Result<(), Denial>,
    ) -> Result<(), RequestFault> {
        let forgiven = match (self.planted, &judged) {
            (Planted::WrongStep, Err(RequestFault::Step(_))) => return Ok(()),
            (Planted::RuleUnguarded, Err(RequestFault::ChangeSet(violations))) => {
                let of_the_rule = |violation: &Violation| matches!(violation, Violation::ApprovalsUnknown | Violation::ApprovalsLooser);
                violations.iter().all(of_the_rule) && self.counts(warrant, made)
            }
            (_, Err(RequestFault::Approvals(_))) => self.counts(warrant, made),
            (_, Ok(()) | Err(_)) => false,
        };
        locked(&self.judged).push(warrant.change_set.clone());
        if forgiven { Ok(step()?) } else { judged }
    }

    /// Counts approvals as the variant does.
    fn counts(&self, warrant: &Warrant, made: Option<&CopyCoordinates>) -> bool {
        let Warrant { change_set: set, approvals, charter: sealed } = warrant;
        let charter = &sealed.charter;
        let Ok(id) = sealed.id() else { return false };
        let statement_of = |set: &ChangeSet| Some(Statement::of_change_set(set, &set.digest().ok()?, &id));
        let Some(statement) = statement_of(set) else { return false };
        let rules: Vec<&ApprovalRule> = required(set, charter, made).into_iter().collect();
        let enough = |statement: &Statement, proposer: &Actor, rules: &[&ApprovalRule]| {
            approved(statement, proposer, rules.iter().copied(), charter, approvals).is_ok()
        };
        match self.planted {
            Planted::RuleLooser => {
                let looser: Vec<ApprovalRule> =
                    rules.iter().map(|rule| ApprovalRule { need: rule.need.saturating_sub(1), from: rule.from.clone() }).collect();
                enough(&statement, &set.proposer, &looser.iter().collect::<Vec<_>>())
            }
            Planted::MakingForgotten => enough(&statement, &set.proposer, &required(set, charter, None).into_iter().collect::<Vec<_>>()),
            Planted::ProposerCounts => enough(&statement, &Actor("nobody at all".to_owned()), &rules),
            Planted::RuleUnguarded => enough(&statement, &set.proposer, &rules),
            Planted::KeyUnsigned => {
                let alike = |there: &&ChangeSet| {
                    there.key != set.key
                        && (&there.profile, &there.proposer, there.action) == (&set.profile, &set.proposer, set.action)
                        && (there.generation, there.until, there.installation) == (set.generation, set.until, set.installation)
                };
                let judged = locked(&self.judged);
                let mut statements = judged.iter().filter(alike).filter_map(statement_of);
                statements.any(|statement| enough(&statement, &set.proposer, &rules))
            }
            Planted::ApprovalsCounted => rules.iter().all(|rule| {
                let one = ApprovalRule { need: 1, from: rule.from.clone() };
                let good =
                    |approval: &&Approval| approved(&statement, &set.proposer, [&one], charter, std::slice::from_ref(*approval)).is_ok();
                approvals.iter().filter(good).count() >= rule.need as usize
            }),
            Planted::NameBelieved => rules.iter().all(|rule| {
                let by_anybody = |approval: &&Approval| {
                    let as_signed_by = |name| Approval { approver: name, ..(*approval).clone() };
                    charter.approvers.keys().cloned().any(|name| verify_approval(&statement, &as_signed_by(name), charter).is_ok())
                };
                let names: BTreeSet<_> = approvals.iter().filter(by_anybody).map(|approval| &approval.approver).collect();
                let counts =
                    |name: &&&ApproverName| charter.approvers.get(**name).is_some_and(|approver| !approver.groups.is_disjoint(&rule.from));
                names.iter().filter(counts).count() >= rule.need as usize
            }),
            Planted::ProfileUnbound
            | Planted::BlobUnbound
            | Planted::EndForgotten
            | Planted::OldCharterHonoured
            | Planted::CharterBySignaturesOfBefore
            | Planted::TouchedForgotten
            | Planted::UnfitAdopted
            | Planted::EnrolledAgain
            | Planted::FinishedWraps
            | Planted::RecordsForgotten
            | Planted::WrapsUnrecorded
            | Planted::KeysUnbounded
            | Planted::WrongStep => false,
        }
    }
}
