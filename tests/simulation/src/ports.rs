//! A server's way to the ledger and the custodian: each call takes time, before and after it is done.
//!
//! So a server's knowledge is always a little old, and a crash can come between what is durable and what the server knows of it.
//!
//! [`Between`] makes a wrapper around the ledger short: it implements only the methods that it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyplane_model::{
    Approval, Asked, Attempt, AttemptId, ChangeSet, ChangeSetRecord, Charter, CharterChange, CharterId, CharterProposal, Class,
    DestinationName, Digest, Fence, InstallationId, Intent, Inventory, KeyId, KeyRecord, Lease, LedgerEvent, Receipt, SealedCharter, Span,
};
use keyplane_port::{
    Commitment, Custodian, CustodianError, CustodianStatus, EnrolmentReport, IntentRevision, KeyState, Ledger, LedgerError, MintRequest,
    Minted, OpenChangeSet, Usages, Warrant, Wrap, WrapRequest, Wrapped,
};

use crate::executor::Sim;

/// The longest time of each half of a call.
const QUICK: Span = Span::millis(20);

/// Something whose calls take time.
pub(crate) struct Slow<T: ?Sized> {
    sim: Arc<Sim>,
    inner: Arc<T>,
}

impl<T: ?Sized> Slow<T> {
    pub(crate) fn new(sim: Arc<Sim>, inner: Arc<T>) -> Arc<Self> {
        Arc::new(Self { sim, inner })
    }

    async fn wait(&self) {
        self.sim.sleep(self.sim.span(QUICK)).await;
    }
}

macro_rules! slow {
    ($port:ident { $(async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $result:ty;)* }) => {
        #[async_trait]
        impl<T: $port + ?Sized> $port for Slow<T> {
            $(async fn $name(&self $(, $argument: $type)*) -> $result {
                self.wait().await;
                let done = self.inner.$name($($argument),*).await;
                self.wait().await;
                done
            })*
        }
    };
}

slow! { Ledger {
    async fn installation(&self) -> Result<InstallationId, LedgerError>;
    async fn put_intent(&self, intent: &Intent, source: &str, asked: Asked<'_>) -> Result<IntentRevision, LedgerError>;
    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError>;
    async fn intent_revision(&self) -> Result<Option<IntentRevision>, LedgerError>;
    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, LedgerError>;
    async fn page_of_keys(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<KeyState>, LedgerError>;
    async fn page_of_events(&self, after: u64, limit: u32) -> Result<Vec<LedgerEvent>, LedgerError>;
    async fn page_of_open(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError>;
    async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError>;
    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError>;
    async fn approve(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError>;
    async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError>;
    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease, asked: Asked<'_>) -> Result<bool, LedgerError>;
    async fn complete(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn end(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn withdraw(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn abandon(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError>;
    async fn propose_charter(&self, change: &CharterChange, asked: Asked<'_>) -> Result<Digest, LedgerError>;
    async fn charter_proposals(&self, before: &CharterId) -> Result<Vec<CharterProposal>, LedgerError>;
    async fn charter_proposal(&self, digest: &Digest) -> Result<Option<CharterProposal>, LedgerError>;
    async fn approve_charter(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn put_charter(&self, charter: &SealedCharter, approvals: &[Approval], asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError>;
} }

slow! { Custodian {
    async fn status(&self) -> Result<CustodianStatus, CustodianError>;
    async fn enroll(&self, installation: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError>;
    async fn test(&self) -> Result<EnrolmentReport, CustodianError>;
    async fn adopt(&self, current: &SealedCharter, change: &CharterChange, approvals: &[Approval]) -> Result<SealedCharter, CustodianError>;
    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError>;
    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError>;
    async fn finish(&self, sealed: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError>;
    async fn usages(&self) -> Result<Usages, CustodianError>;
} }

/// A wrapper around the ledger. By default it passes each call on.
#[async_trait]
pub(crate) trait Between: Send + Sync {
    /// The ledger that calls are passed on to.
    fn behind(&self) -> &dyn Ledger;

    async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError> {
        self.behind().propose(change_set, asked).await
    }

    async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError> {
        self.behind().commit(digest, asked).await
    }

    async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.behind().wrap(digest, wrap, fence, asked).await
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.behind().attempt(digest, attempt, fence, asked).await
    }

    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.behind().receive(digest, receipt, fence, asked).await
    }

    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
        self.behind().change_set(digest).await
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        self.behind().charter().await
    }
}

/// The ledger behind a [`Between`].
pub(crate) struct Behind<B>(pub(crate) B);

macro_rules! behind {
    ($(own async fn $own:ident(&self $(, $own_argument:ident: $own_type:ty)*) -> $own_result:ty;)*
     $(async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        #[async_trait]
        impl<B: Between> Ledger for Behind<B> {
            $(async fn $own(&self $(, $own_argument: $own_type)*) -> $own_result {
                Between::$own(&self.0 $(, $own_argument)*).await
            })*
            $(async fn $name(&self $(, $argument: $type)*) -> $result {
                self.0.behind().$name($($argument),*).await
            })*
        }
    };
}

behind! {
    own async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError>;
    own async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError>;
    own async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    own async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    own async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    own async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError>;
    own async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError>;
    async fn installation(&self) -> Result<InstallationId, LedgerError>;
    async fn put_intent(&self, intent: &Intent, source: &str, asked: Asked<'_>) -> Result<IntentRevision, LedgerError>;
    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError>;
    async fn intent_revision(&self) -> Result<Option<IntentRevision>, LedgerError>;
    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, LedgerError>;
    async fn page_of_keys(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<KeyState>, LedgerError>;
    async fn page_of_events(&self, after: u64, limit: u32) -> Result<Vec<LedgerEvent>, LedgerError>;
    async fn page_of_open(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError>;
    async fn approve(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError>;
    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease, asked: Asked<'_>) -> Result<bool, LedgerError>;
    async fn complete(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn end(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn withdraw(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn abandon(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError>;
    async fn propose_charter(&self, change: &CharterChange, asked: Asked<'_>) -> Result<Digest, LedgerError>;
    async fn charter_proposals(&self, before: &CharterId) -> Result<Vec<CharterProposal>, LedgerError>;
    async fn charter_proposal(&self, digest: &Digest) -> Result<Option<CharterProposal>, LedgerError>;
    async fn approve_charter(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn put_charter(&self, charter: &SealedCharter, approvals: &[Approval], asked: Asked<'_>) -> Result<(), LedgerError>;
}
