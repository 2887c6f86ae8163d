//! Bugs, planted by wrappers around the ports: what the rules' checkers are judged by. The product has none of these switches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyplane_model::{
    Actor, Approval, Approver, ApproverName, Attempt, AttemptId, ChangeSet, ChangeSetRecord, Charter, Class, CopyRecord, Creation,
    Destination, DestinationName, Digest, Evidence, Fence, InstallationId, Intent, Inventory, Lease, LedgerSnapshot, ObjectId, ObjectSeen,
    ObjectState, PlacementSeen, Receipt, SealedCharter, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{
    Acted, Cloud, CloudError, Commitment, Cursor, Custodian, CustodianError, CustodianStatus, EnrolmentReport, IntentRevision, Ledger,
    LedgerError, MintRequest, Minted, Mutation, Page, Prepared, Swept, Warrant, WrapFor, WrapRequest, Wrapped, WrappingKey,
};

use crate::custodian::SymbolCustodian;
use crate::executor::locked;
use crate::people::{PROPOSER, parsed};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// Whatever is wrapped again is made again: an import is repeated with new bytes.
    NewBytes,
    /// "It is not there" is believed at once: no time-out, no consistency bound, one look.
    SecondLookSkipped,
    /// The first look at a placement is remembered for good.
    StaleReadTrusted,
    /// Attempts are not written down.
    AttemptForgotten,
    /// Material goes to any empty object of ours, whoever holds the claim.
    SurplusShellFilled,
    /// An inventory that lacks something counts as complete.
    PartialInventoryComplete,
    /// Whoever proposed counts as an approver, for the servers and for the custodian.
    ProposerCounts,
    /// A blob holds the key's own bytes.
    BytesInBlob,
    /// What is wrapped under is somebody else's key, and the cloud's own is only told.
    WrappingKeySwapped,
    /// An object is switched off on the way, and nobody approved it.
    UnapprovedDisable,
}

impl Planted {
    /// Every one of them.
    pub(crate) const ALL: [Self; 10] = [
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
    ];

    /// What the command line calls it.
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
        }
    }

    /// A cloud with the bug in it, if it is one of clouds.
    pub(crate) fn cloud(planted: Option<Self>, inner: Arc<dyn Cloud>) -> Arc<dyn Cloud> {
        let Some(planted) = planted else { return inner };
        let mut destination = inner.destination().clone();
        if planted == Self::SecondLookSkipped {
            let capabilities = &mut destination.capabilities;
            (capabilities.equal_reads, capabilities.consistency, capabilities.call_timeout) = (1, Span::ZERO, Span::seconds(1));
        }
        Arc::new(Crooked { planted, inner, destination, first: Mutex::default() })
    }

    /// A ledger with the bug in it, if it is one of ledgers.
    pub(crate) fn ledger(planted: Option<Self>, inner: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        match planted {
            Some(planted @ (Self::AttemptForgotten | Self::ProposerCounts)) => Arc::new(CrookedLedger { planted, inner }),
            _ => inner,
        }
    }

    /// A custodian with the bug in it, if it is one of custodians. `own` is the one that judges nobody.
    pub(crate) fn custodian(planted: Option<Self>, inner: Arc<dyn Custodian>, own: &Arc<SymbolCustodian>) -> Arc<dyn Custodian> {
        match planted {
            Some(planted @ (Self::NewBytes | Self::ProposerCounts | Self::BytesInBlob | Self::WrappingKeySwapped)) => {
                Arc::new(CrookedCustodian { planted, inner, own: Arc::clone(own) })
            }
            _ => inner,
        }
    }
}

struct Crooked {
    planted: Planted,
    inner: Arc<dyn Cloud>,
    destination: Destination,
    /// What was seen first of each placement.
    first: Mutex<BTreeMap<String, PlacementSeen>>,
}

#[async_trait]
impl Cloud for Crooked {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let seen = self.inner.look(target).await?;
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
            // The page is not there, and nobody is told.
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
        let done = self.inner.act(&mutation).await;
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
        next: &Charter,
        proposer: &Actor,
        approvals: &[Approval],
    ) -> Result<SealedCharter, CustodianError> {
        self.inner.adopt(current, next, proposer, approvals).await
    }

    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        let mut minted = match self.planted {
            Planted::ProposerCounts => self.own.make(&request.coordinates),
            _ => self.inner.mint(warrant, request).await?,
        };
        if self.planted == Planted::BytesInBlob
            && let Some(blob) = &mut minted.blob
        {
            blob.mac = self.own.open(&blob.wrapped);
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
            Planted::ProposerCounts => self.own.seal(request),
            Planted::WrappingKeySwapped => {
                let mut wrapped = self.inner.wrap(warrant, request).await?;
                wrapped.wrapped_under = Digest::of(b"another key");
                Ok(wrapped)
            }
            _ => self.inner.wrap(warrant, request).await,
        }
    }
}

/// Under which name the proposer approves, where that counts.
const STAND_IN: &str = "somebody-else";

struct CrookedLedger {
    planted: Planted,
    inner: Arc<dyn Ledger>,
}

#[async_trait]
impl Ledger for CrookedLedger {
    async fn installation(&self) -> Result<InstallationId, LedgerError> {
        self.inner.installation().await
    }

    async fn put_intent(&self, intent: &Intent, author: &Actor, source: &str, at: Timestamp) -> Result<IntentRevision, LedgerError> {
        self.inner.put_intent(intent, author, source, at).await
    }

    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError> {
        self.inner.intent().await
    }

    async fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError> {
        self.inner.snapshot().await
    }

    async fn propose(&self, change_set: &ChangeSet, at: Timestamp) -> Result<Digest, LedgerError> {
        self.inner.propose(change_set, at).await
    }

    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
        let mut record = self.inner.change_set(digest).await?;
        if self.planted == Planted::ProposerCounts
            && let Some(record) = &mut record
        {
            let own = record.approvals.iter_mut().filter(|approval| approval.approver.as_str() == PROPOSER);
            own.for_each(|approval| approval.approver = parsed(STAND_IN));
        }
        Ok(record)
    }

    async fn approve(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
        self.inner.approve(digest, approval).await
    }

    async fn commit(&self, digest: &Digest, at: Timestamp) -> Result<Commitment, LedgerError> {
        self.inner.commit(digest, at).await
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>) -> Result<(), LedgerError> {
        if self.planted == Planted::AttemptForgotten {
            return Ok(());
        }
        self.inner.attempt(digest, attempt, fence).await
    }

    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class) -> Result<(), LedgerError> {
        self.inner.refused(digest, attempt, class).await
    }

    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>) -> Result<(), LedgerError> {
        self.inner.receive(digest, receipt, fence).await
    }

    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError> {
        self.inner.lease(lane).await
    }

    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease) -> Result<bool, LedgerError> {
        self.inner.put_lease(lane, seen, next).await
    }

    async fn complete(&self, digest: &Digest, at: Timestamp) -> Result<(), LedgerError> {
        self.inner.complete(digest, at).await
    }

    async fn abandon(&self, digest: &Digest, reason: &str, at: Timestamp) -> Result<(), LedgerError> {
        self.inner.abandon(digest, reason, at).await
    }

    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory) -> Result<(), LedgerError> {
        self.inner.put_inventory(destination, inventory).await
    }

    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError> {
        self.inner.inventories().await
    }

    async fn put_charter(&self, charter: &SealedCharter) -> Result<(), LedgerError> {
        self.inner.put_charter(charter).await
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        let mut sealed = self.inner.charter().await?;
        if self.planted == Planted::ProposerCounts
            && let Some(sealed) = &mut sealed
            && let Some(own) = sealed.charter.approvers.remove(&parsed::<ApproverName>(PROPOSER))
        {
            sealed.charter.approvers.insert(parsed(STAND_IN), Approver { logins: [STAND_IN.to_owned()].into(), ..own });
        }
        Ok(sealed)
    }
}
