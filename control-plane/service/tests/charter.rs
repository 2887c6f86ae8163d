//! Proposed charters: what is kept, and what happens if two processes have one adopted at the same moment.

#![expect(clippy::unwrap_used, reason = "a test fails where its world cannot be built")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use keyplane_api::{CharterRequest, Source};
use keyplane_engine::{Engine, Leases};
use keyplane_model::{
    Actor, Approval, Asked, ChangeSet, Charter, CharterChange, EpochId, IdTree, InstallationId, ProblemCode, SealedCharter, ServerId, Span,
    Timestamp,
};
use keyplane_port::{
    Clock, Custodian, CustodianError, CustodianStatus, EnrolmentReport, Ledger as _, MemoryLedger, MintRequest, Minted, Usages, Warrant,
    WrapRequest, Wrapped,
};
use keyplane_service::Service;

/// A policy whose rules need nobody, so that a proposed charter needs no approvals.
const POLICY: &str = "
approver: alice
groups: [security]
keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA5rI61q7zSzHJuefUBIKlKjoDNrgIP/gXljHsIZLCma\"]
---
profile: open
algorithms: [aes-256]
protection: software
approvals: { import: { need: 0 }, retire: { need: 0 }, valid: 1d }
";

struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_790_000_000_000_000)
    }

    fn uptime(&self) -> Span {
        Span::ZERO
    }

    async fn sleep(&self, _: Span) {}
}

/// A custodian that adopts everything. With `rival`, another process has that charter adopted in the meantime.
struct Willing {
    ledger: Arc<MemoryLedger>,
    rival: Option<Charter>,
}

fn sealed(charter: &Charter, serial: u32) -> SealedCharter {
    SealedCharter { charter: charter.clone(), serial, epoch: EpochId(1), mac: Vec::new() }
}

#[async_trait]
impl Custodian for Willing {
    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        let charter = self.rival.as_ref().map(|rival| (2, rival.digest().unwrap()));
        Ok(CustodianStatus { token: "test".to_owned(), development: true, epoch: None, charter, derives: false, routes: Vec::new() })
    }

    async fn adopt(&self, current: &SealedCharter, change: &CharterChange, _: &[Approval]) -> Result<SealedCharter, CustodianError> {
        if let Some(rival) = &self.rival {
            let asked = Asked { by: &Actor("rival".to_owned()), at: Still.now() };
            self.ledger.put_charter(&sealed(rival, current.serial + 1), &[], asked).await.unwrap();
        }
        Ok(sealed(&change.next, current.serial + 1))
    }

    async fn enroll(&self, _: InstallationId, _: &Charter) -> Result<EnrolmentReport, CustodianError> {
        unreachable!()
    }

    async fn test(&self) -> Result<EnrolmentReport, CustodianError> {
        unreachable!()
    }

    async fn mint(&self, _: &Warrant, _: &MintRequest) -> Result<Minted, CustodianError> {
        unreachable!()
    }

    async fn wrap(&self, _: &Warrant, _: &WrapRequest) -> Result<Wrapped, CustodianError> {
        unreachable!()
    }

    async fn finish(&self, _: &ChangeSet) -> Result<(), CustodianError> {
        unreachable!()
    }

    async fn usages(&self) -> Result<Usages, CustodianError> {
        unreachable!()
    }
}

/// A service whose charter in force has one approver less than the policy.
async fn service(rival: impl FnOnce(&Charter) -> Option<Charter>) -> (Service, Arc<MemoryLedger>) {
    let installation = InstallationId(IdTree::new([7; 32]).uuid());
    let ledger = Arc::new(MemoryLedger::new(installation));
    let policy = keyplane_policy::load(&[("policy.yaml".to_owned(), POLICY.to_owned())], None).unwrap();
    let mut first = policy.intent.charter(installation);
    first.approvers.clear();
    ledger.put_charter(&sealed(&first, 1), &[], Asked { by: &Actor("test".to_owned()), at: Still.now() }).await.unwrap();
    let engine = Engine {
        ledger: Arc::clone(&ledger) as Arc<dyn keyplane_port::Ledger>,
        custodian: Arc::new(Willing { ledger: Arc::clone(&ledger), rival: rival(&first) }),
        lanes: BTreeMap::new(),
        clock: Arc::new(Still),
        leases: Leases::new(ServerId(IdTree::new([8; 32]).uuid())),
    };
    (Service::new(engine).await.unwrap(), ledger)
}

fn request() -> CharterRequest {
    CharterRequest { sources: vec![Source { name: "policy.yaml".to_owned(), text: POLICY.to_owned() }] }
}

#[tokio::test]
async fn whoever_asks_for_the_same_charter_finds_the_first_proposal() {
    let (service, ledger) = service(|_| None).await;
    let [alice, bob] = ["alice", "bob"].map(|name| Actor(name.to_owned()));
    let proposed = service.change_charter(&request(), &alice).await.unwrap();
    let digest = proposed.proposal.unwrap();
    assert!(!proposed.adopted, "nobody has seen it yet");
    let kept = ledger.charter_proposal(&digest).await.unwrap().unwrap();
    assert_eq!((kept.change.proposer, kept.change.before), (alice, proposed.id));
    assert_eq!(kept.change.until, Still.now() + Span::days(1), "the custodian takes no approvals that count for longer");
    let adopted = service.change_charter(&request(), &bob).await.unwrap();
    assert_eq!((adopted.adopted, adopted.id.serial), (true, 2));
    assert_eq!(adopted.id.digest, kept.change.next.digest().unwrap());
    assert_eq!(ledger.charter_proposals(&proposed.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_loses_a_race_for_a_charter_is_told_so() {
    let other = |first: &Charter| {
        let mut other = first.clone();
        other.profiles.insert("other".parse().unwrap(), first.profiles.values().next().unwrap().clone());
        Some(other)
    };
    let (service, ledger) = service(other).await;
    let alice = Actor("alice".to_owned());
    let digest = service.change_charter(&request(), &alice).await.unwrap().proposal.unwrap();
    let problems = service.change_charter(&request(), &alice).await.unwrap_err();
    assert_eq!(problems[0].code, ProblemCode::CharterChanged, "{problems:?}");
    assert!(problems[0].detail.contains(&format!("another charter was adopted at the same moment as {digest}")), "{problems:?}");
    let winner = ledger.charter().await.unwrap().unwrap();
    assert!(problems[0].detail.contains(&format!("the token's is charter 2 {}", winner.charter.digest().unwrap())), "{problems:?}");
}
