//! Bugs, planted by wrappers around the ports, to test the rules' checkers. The product has none of these switches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyplane_model::{
    Actor, Approval, Asked, Attempt, ChangeSet, ChangeSetRecord, Charter, CharterChange, Class, CopyRecord, Creation, Destination, Digest,
    Evidence, Fence, InstallationId, ObjectId, ObjectSeen, ObjectState, PlacementSeen, SealedCharter, Span, Target, Timestamp, Version,
    WrapScheme,
};
use keyplane_port::{
    Acted, Clock, Cloud, CloudError, Cursor, Custodian, CustodianError, CustodianStatus, EnrolmentReport, Ledger, LedgerError, MintRequest,
    Minted, Mutation, Page, Prepared, Swept, Usages, Warrant, Wrap, WrapFor, WrapRequest, Wrapped, WrappingKey,
};

use crate::custodian::SymbolCustodian;
use crate::executor::locked;
use crate::ports::{Behind, Between};
use crate::rules::Rule;
use crate::schedule::{Fault, Schedule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A copy that is wrapped again is generated again, so an import is repeated with new bytes.
    NewBytes,
    /// An absence is believed at once: without time-out and consistency bound, after one look.
    SecondLookSkipped,
    /// The first look at a placement is kept for good.
    StaleReadTrusted,
    /// Attempts are not recorded.
    AttemptForgotten,
    /// Material is imported into any empty object of ours, whichever holds the claim.
    SurplusShellFilled,
    /// An incomplete inventory is reported as complete.
    PartialInventoryComplete,
    /// The proposer is not recorded, and so counts as an approver.
    ProposerCounts,
    /// A blob holds the key's own bytes.
    BytesInBlob,
    /// A copy is wrapped under another key than the cloud's, which is reported.
    WrappingKeySwapped,
    /// An object is disabled without approval.
    UnapprovedDisable,
    /// A failed look is reported as one that found nothing.
    FailedLookIsAbsence,
    /// A transient failure is reported as damage.
    FailureIsDamage,
    /// A new charter is adopted with the approvals that the new one asks for.
    CharterJudgedByItself,
    /// A lease is judged by a clock that stops while the server is suspended, so the server acts on an expired lease.
    LeaseOutlived,
    /// Uptime is wall-clock time, so whoever sets the clock decides when an absence is conclusive.
    ClockBelieved,
    /// Nothing draws from a quota.
    QuotasForgotten,
    /// The first charter that was read is taken for the one in force for good.
    CharterReadOnce,
    /// The ledger gets another public key than that of the generated pair.
    OtherPublicKey,
    /// A clean-up removes what is in use instead of the surplus.
    WrongOneRemoved,
    /// A request without a reply is sent again at once, without a look.
    RepeatedBlindly,
    /// Attempts of earlier runs are read as refused ones, so a server goes on after a crash as if they had had no effect.
    AttemptsUnread,
    /// The custodian is not told that a change set ended.
    EndUntold,
    /// The keys that copies are wrapped under are not recorded before.
    WrapForgotten,
    /// Of a step's attempts only the last one is kept in mind, so their number over all runs is never reached.
    AttemptsForgiven,
}

impl Planted {
    pub(crate) const ALL: [Self; 24] = [
        Self::NewBytes,
        Self::SecondLookSkipped,
        Self::StaleReadTrusted,
        Self::AttemptForgotten,
        Self::SurplusShellFilled,
        Self::PartialInventoryComplete,
        Self::ProposerCounts,
        Self::BytesInBlob,
        Self::WrappingKeySwapped,
        Self::UnapprovedDisable,
        Self::FailedLookIsAbsence,
        Self::FailureIsDamage,
        Self::CharterJudgedByItself,
        Self::LeaseOutlived,
        Self::ClockBelieved,
        Self::QuotasForgotten,
        Self::CharterReadOnce,
        Self::OtherPublicKey,
        Self::WrongOneRemoved,
        Self::RepeatedBlindly,
        Self::AttemptsUnread,
        Self::EndUntold,
        Self::WrapForgotten,
        Self::AttemptsForgiven,
    ];

    /// The rule that the bug breaks, among others.
    pub(crate) fn breaks(self) -> Rule {
        match self {
            Self::BytesInBlob => Rule::Plaintext,
            Self::NewBytes | Self::OtherPublicKey => Rule::Lost,
            Self::SecondLookSkipped | Self::SurplusShellFilled | Self::ClockBelieved | Self::RepeatedBlindly | Self::AttemptsUnread => {
                Rule::Doubles
            }
            Self::ProposerCounts | Self::UnapprovedDisable | Self::EndUntold => Rule::Approved,
            Self::AttemptForgotten => Rule::Attempted,
            Self::WrongOneRemoved => Rule::Retiring,
            Self::PartialInventoryComplete | Self::FailedLookIsAbsence => Rule::Absence,
            Self::FailureIsDamage => Rule::Classes,
            Self::WrappingKeySwapped | Self::WrapForgotten => Rule::WrappedUnder,
            Self::CharterJudgedByItself | Self::CharterReadOnce => Rule::Charter,
            Self::LeaseOutlived => Rule::Lanes,
            Self::QuotasForgotten => Rule::Quotas,
            Self::AttemptsForgiven => Rule::Bounded,
            Self::StaleReadTrusted => Rule::Settles,
        }
    }

    /// Whether a schedule can show the bug. A clock that can be set is right if nobody sets it, one that stops during suspension does not
    /// stop without one, and without a bot every step is done long before its attempts are used up. Such runs are skipped.
    pub(crate) fn may_show(self, schedule: &Schedule) -> bool {
        let any = |is: fn(&Fault) -> bool| schedule.faults.iter().any(is);
        match self {
            Self::ClockBelieved => any(|fault| matches!(fault, Fault::Jump { .. })),
            Self::LeaseOutlived => any(|fault| match fault {
                Fault::Pause { seconds, .. } | Fault::Stall { seconds, .. } => Span::seconds(*seconds) >= STOOD_STILL,
                _ => false,
            }),
            Self::AttemptsForgiven => any(|fault| matches!(fault, Fault::Bot { .. })),
            _ => true,
        }
    }

    /// The bug's name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NewBytes => "new-bytes",
            Self::SecondLookSkipped => "second-look-skipped",
            Self::StaleReadTrusted => "stale-read-trusted",
            Self::AttemptForgotten => "attempt-forgotten",
            Self::SurplusShellFilled => "surplus-shell-filled",
            Self::PartialInventoryComplete => "partial-inventory-complete",
            Self::ProposerCounts => "proposer-counts",
            Self::BytesInBlob => "bytes-in-blob",
            Self::WrappingKeySwapped => "wrapping-key-swapped",
            Self::UnapprovedDisable => "unapproved-disable",
            Self::FailedLookIsAbsence => "failed-look-is-absence",
            Self::FailureIsDamage => "failure-is-damage",
            Self::CharterJudgedByItself => "charter-judged-by-itself",
            Self::LeaseOutlived => "lease-outlived",
            Self::ClockBelieved => "clock-believed",
            Self::QuotasForgotten => "quotas-forgotten",
            Self::CharterReadOnce => "charter-read-once",
            Self::OtherPublicKey => "other-public-key",
            Self::WrongOneRemoved => "wrong-one-removed",
            Self::RepeatedBlindly => "repeated-blindly",
            Self::AttemptsUnread => "attempts-unread",
            Self::EndUntold => "end-untold",
            Self::WrapForgotten => "wrap-forgotten",
            Self::AttemptsForgiven => "attempts-forgiven",
        }
    }

    /// The clock, with the bug if it is one of clocks.
    pub(crate) fn clock(planted: Option<Self>, inner: Arc<dyn Clock>) -> Arc<dyn Clock> {
        match planted {
            Some(planted @ (Self::LeaseOutlived | Self::ClockBelieved)) => {
                Arc::new(CrookedClock { planted, inner, seen: Mutex::default() })
            }
            _ => inner,
        }
    }

    /// The cloud, with the bug if it is one of clouds.
    pub(crate) fn cloud(planted: Option<Self>, inner: Arc<dyn Cloud>) -> Arc<dyn Cloud> {
        let Some(planted) = planted else { return inner };
        let mut destination = inner.destination().clone();
        let capabilities = &mut destination.capabilities;
        match planted {
            Self::SecondLookSkipped => {
                (capabilities.equal_reads, capabilities.consistency, capabilities.call_timeout) = (1, Span::ZERO, Span::seconds(1));
            }
            Self::QuotasForgotten => capabilities.draws.clear(),
            _ => {}
        }
        Arc::new(Crooked { planted, inner, destination, first: Mutex::default() })
    }

    /// The ledger, with the bug if it is one of ledgers.
    pub(crate) fn ledger(planted: Option<Self>, inner: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        match planted {
            Some(
                planted @ (Self::AttemptForgotten
                | Self::ProposerCounts
                | Self::CharterReadOnce
                | Self::AttemptsUnread
                | Self::WrapForgotten
                | Self::AttemptsForgiven),
            ) => Arc::new(Behind(CrookedLedger { planted, inner, first: Mutex::default() })),
            _ => inner,
        }
    }

    /// The custodian, with the bug if it is one of custodians. `own`: the custodian that checks nothing.
    pub(crate) fn custodian(planted: Option<Self>, inner: Arc<dyn Custodian>, own: &Arc<SymbolCustodian>) -> Arc<dyn Custodian> {
        match planted {
            Some(
                planted @ (Self::NewBytes
                | Self::BytesInBlob
                | Self::WrappingKeySwapped
                | Self::CharterJudgedByItself
                | Self::OtherPublicKey
                | Self::EndUntold),
            ) => Arc::new(CrookedCustodian { planted, inner, own: Arc::clone(own) }),
            _ => inner,
        }
    }
}

/// A clock that was not read for this long belongs to a suspended server: no lane waits so long without reading it.
const STOOD_STILL: Span = Span::seconds(25);

/// A clock whose uptime leaves out suspended time, or is the wall clock's.
struct CrookedClock {
    planted: Planted,
    inner: Arc<dyn Clock>,
    /// The true uptime at the last reading, and what was returned.
    seen: Mutex<(Span, Span)>,
}

#[async_trait]
impl Clock for CrookedClock {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn uptime(&self) -> Span {
        if self.planted == Planted::ClockBelieved {
            return self.inner.now() - Timestamp(0);
        }
        let (now, mut seen) = (self.inner.uptime(), locked(&self.seen));
        let passed = now - seen.0;
        *seen = (now, if passed < STOOD_STILL { seen.1 + passed } else { seen.1 });
        seen.1
    }

    async fn sleep(&self, span: Span) {
        self.inner.sleep(span).await;
    }
}

struct Crooked {
    planted: Planted,
    inner: Arc<dyn Cloud>,
    destination: Destination,
    /// The first look at each placement, by its id.
    first: Mutex<BTreeMap<String, PlacementSeen>>,
}

impl Crooked {
    /// Turns a clean-up against what is in use instead of the surplus.
    async fn mistake(&self, mutation: &mut Mutation) -> Result<(), CloudError> {
        match mutation {
            Mutation::ScheduleDeletion { object, .. } => {
                let page = self.inner.sweep(None).await?;
                let placement = |seen: &ObjectSeen| seen.marks.as_ref().map(|marks| marks.placement);
                let surplus = page.objects.iter().find(|seen| seen.object == *object).and_then(placement);
                let used = page.objects.iter().find(|seen| seen.state == ObjectState::Usable && placement(seen) == surplus);
                *object = used.map_or_else(|| object.clone(), |used| used.object.clone());
            }
            Mutation::Disable { object, material } => {
                let seen = self.inner.inspect(object).await?;
                let used = seen.as_ref().and_then(ObjectSeen::current).and_then(|current| current.id.clone());
                *material = used.or_else(|| material.clone());
            }
            _ => {}
        }
        Ok(())
    }
}

#[async_trait]
impl Cloud for Crooked {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    fn sent(&self, quota: &str) -> Option<u64> {
        self.inner.sent(quota)
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let seen = match self.inner.look(target).await {
            Err(_) if self.planted == Planted::FailedLookIsAbsence => return Ok(PlacementSeen::default()),
            Err(error) if self.planted == Planted::FailureIsDamage => return Err(CloudError { class: Class::Broken, ..error }),
            seen => seen?,
        };
        if self.planted == Planted::StaleReadTrusted {
            return Ok(locked(&self.first).entry(target.placement.to_string()).or_insert(seen).clone());
        }
        Ok(seen)
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.inner.inspect(object).await
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        let page = self.inner.sweep(cursor).await;
        if self.planted == Planted::PartialInventoryComplete {
            // The page is left out silently.
            return Ok(Page::default());
        }
        page
    }

    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        self.inner.find(target, swept).await
    }

    async fn prepared(&self, target: &Target, version: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        self.inner.prepared(target, version, made).await
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        self.inner.wrapping_key(from, scheme).await
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        let mut mutation = mutation.clone();
        if self.planted == Planted::SurplusShellFilled
            && let Mutation::Import { target, object: Some(object), wrapping_key, .. } = &mut mutation
            && self.destination.capabilities.creation == Creation::Claimed
        {
            // The newest empty object of the placement, if there is another one.
            let page = self.inner.sweep(None).await?;
            let shell = page.objects.into_iter().find(|seen| {
                let ours = seen.marks.as_ref().is_some_and(|marks| marks.placement == target.placement);
                ours && seen.object != *object && seen.state == ObjectState::AwaitingMaterial
            });
            if let Some(shell) = shell {
                *object = shell.object;
                *wrapping_key = self.inner.wrapping_key(&WrapFor::Object(object.clone()), wrapping_key.scheme).await?;
            }
        }
        if self.planted == Planted::WrongOneRemoved {
            self.mistake(&mut mutation).await?;
        }
        let mut done = self.inner.act(&mutation).await;
        if self.planted == Planted::RepeatedBlindly && done.as_ref().is_err_and(|error| error.class == Class::Ambiguous) {
            done = self.inner.act(&mutation).await;
        }
        if self.planted == Planted::UnapprovedDisable
            && let Mutation::Publish { object, material, .. } = &mutation
        {
            let _ = self.inner.act(&Mutation::Disable { object: object.clone(), material: material.clone() }).await;
        }
        done
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        self.inner.evidence(target, copy, now).await
    }
}

struct CrookedCustodian {
    planted: Planted,
    inner: Arc<dyn Custodian>,
    own: Arc<SymbolCustodian>,
}

#[async_trait]
impl Custodian for CrookedCustodian {
    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        self.inner.status().await
    }

    async fn enroll(&self, installation: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError> {
        self.inner.enroll(installation, charter).await
    }

    async fn test(&self) -> Result<EnrolmentReport, CustodianError> {
        self.inner.test().await
    }

    async fn adopt(
        &self,
        current: &SealedCharter,
        change: &CharterChange,
        approvals: &[Approval],
    ) -> Result<SealedCharter, CustodianError> {
        let asks = change.next.strictest().first().map_or(0, |rule| rule.need);
        if self.planted == Planted::CharterJudgedByItself && u32::try_from(approvals.len()).is_ok_and(|given| given > asks) {
            return self.own.replace(current, &change.next, approvals);
        }
        self.inner.adopt(current, change, approvals).await
    }

    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        let mut minted = self.inner.mint(warrant, request).await?;
        if self.planted == Planted::BytesInBlob
            && let Some(blob) = &mut minted.blob
        {
            blob.mac = self.own.open(&blob.wrapped);
        }
        if self.planted == Planted::OtherPublicKey && minted.public_key.is_some() {
            minted.public_key = self.own.make(&request.coordinates).public_key;
        }
        Ok(minted)
    }

    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        match self.planted {
            Planted::NewBytes => {
                let mut copy = request.copy.clone();
                copy.coordinates.source = keyplane_model::Source::Generated;
                copy.blob = self.own.make(&copy.bound()).blob;
                self.own.seal(&WrapRequest { copy, ..request.clone() })
            }
            Planted::WrappingKeySwapped => {
                let mut wrapped = self.inner.wrap(warrant, request).await?;
                wrapped.wrapped_under = Digest::of(b"another key");
                Ok(wrapped)
            }
            _ => self.inner.wrap(warrant, request).await,
        }
    }

    async fn finish(&self, sealed: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError> {
        if self.planted == Planted::EndUntold {
            return Ok(());
        }
        self.inner.finish(sealed, change_set).await
    }

    async fn usages(&self) -> Result<Usages, CustodianError> {
        self.inner.usages().await
    }
}

/// Recorded as the proposer by the bug that lets the proposer's own approval count.
const STAND_IN: &str = "somebody-else";

struct CrookedLedger {
    planted: Planted,
    inner: Arc<dyn Ledger>,
    /// The first charter that was read. `None`: none yet.
    first: Mutex<Option<SealedCharter>>,
}

#[async_trait]
impl Between for CrookedLedger {
    fn behind(&self) -> &dyn Ledger {
        self.inner.as_ref()
    }

    async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError> {
        if self.planted == Planted::ProposerCounts {
            let proposer = Actor(STAND_IN.to_owned());
            return self.inner.propose(&ChangeSet { proposer, ..change_set.clone() }, asked).await;
        }
        self.inner.propose(change_set, asked).await
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        let first = locked(&self.first).clone();
        if self.planted == Planted::CharterReadOnce && first.is_some() {
            return Ok(first);
        }
        let charter = self.inner.charter().await?;
        locked(&self.first).clone_from(&charter);
        Ok(charter)
    }

    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
        let mut record = self.inner.change_set(digest).await?;
        if self.planted == Planted::AttemptsUnread
            && let Some(record) = &mut record
        {
            // Each run continues the count of attempts, so that the ledger does not take a new one for the last.
            let open = |attempt: &mut Attempt| attempt.refused = Some(Class::Transient);
            record.attempts.iter_mut().for_each(open);
        }
        if self.planted == Planted::AttemptsForgiven
            && let Some(record) = &mut record
        {
            let mut seen = BTreeSet::new();
            let earlier = record.attempts.iter_mut().rev().filter(|attempt| !seen.insert(attempt.step));
            earlier.for_each(|attempt| attempt.refused = Some(Class::Transient));
        }
        Ok(record)
    }

    async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        if self.planted == Planted::WrapForgotten {
            return Ok(());
        }
        self.inner.wrap(digest, wrap, fence, asked).await
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        if self.planted == Planted::AttemptForgotten {
            return Ok(());
        }
        self.inner.attempt(digest, attempt, fence, asked).await
    }
}
