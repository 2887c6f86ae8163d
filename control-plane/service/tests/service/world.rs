//! A service without clouds, and the people who approve.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyplane_api::{ApprovalRequest, Approved, CharterRequest, CharterState, Source};
use keyplane_engine::{Engine, Leases};
use keyplane_model::{
    APPROVAL_NAMESPACE, Actor, Approval, Asked, ChangeSet, Charter, CharterChange, CharterProposal, Digest, EpochId, IdTree,
    InstallationId, KeyName, Problem, SealedCharter, ServerId, Span, Statement, Timestamp,
};
use keyplane_port::{
    Clock, Custodian, CustodianError, CustodianStatus, EnrolmentReport, Ledger as _, MemoryLedger, MintRequest, Minted, Usages, Warrant,
    WrapRequest, Wrapped,
};
use keyplane_service::Service;
use keyplane_verifier::{approved, required_for_charter};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey, SshSig};

/// The approvers of [`policy`], in the order in which they come.
pub(crate) const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

/// A policy with the first `people` of [`PEOPLE`], whose only profile needs this many of them for everything.
pub(crate) fn policy(people: usize, need: u32) -> String {
    let approvers = PEOPLE.iter().take(people).map(|name| {
        let key = key(name).public_key().to_openssh().unwrap();
        format!("approver: {name}\ngroups: [security]\nkeys: [\"{key}\"]\n---\n")
    });
    let rule = if need == 0 { "{ need: 0 }".to_owned() } else { format!("{{ need: {need}, from: [security] }}") };
    let profile = "profile: plain\nalgorithms: [aes-256]\nprotection: software\n";
    format!("{}{profile}approvals: {{ import: {rule}, retire: {rule} }}\n", approvers.collect::<String>())
}

pub(crate) fn sources(policy: &str) -> Vec<Source> {
    vec![Source { name: "policy.yaml".to_owned(), text: policy.to_owned() }]
}

pub(crate) fn actor(name: &str) -> Actor {
    Actor(name.to_owned())
}

/// A person's key, the same in every run.
fn key(name: &str) -> PrivateKey {
    let mut seed = [0; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    PrivateKey::from(Ed25519Keypair::from_seed(&seed))
}

pub(crate) struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub(crate) fn pass(&self, span: Span) {
        let mut now = self.0.lock().unwrap();
        *now = *now + span;
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn uptime(&self) -> Span {
        Span::ZERO
    }

    async fn sleep(&self, _: Span) {}
}

/// A custodian that keeps the number and digest of the newest charter, as a token does, and judges approvals of the next one.
pub(crate) struct TestCustodian {
    ledger: Arc<MemoryLedger>,
    clock: Arc<TestClock>,
    /// What the token has on record.
    pub(crate) adopted: Mutex<(u32, Digest)>,
    /// Another process has this charter adopted at the same moment.
    pub(crate) rival: Mutex<Option<Charter>>,
    /// The ends of this key's change sets cannot be recorded.
    pub(crate) fails_for: Mutex<Option<KeyName>>,
}

fn sealed(charter: &Charter, serial: u32) -> SealedCharter {
    SealedCharter { charter: charter.clone(), serial, epoch: EpochId(1), mac: Vec::new() }
}

#[async_trait]
impl Custodian for TestCustodian {
    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        let charter = Some(*self.adopted.lock().unwrap());
        let token = "test".to_owned();
        Ok(CustodianStatus { token, development: true, epoch: Some(EpochId(1)), charter, derives: false, routes: Vec::new() })
    }

    async fn adopt(
        &self,
        current: &SealedCharter,
        change: &CharterChange,
        approvals: &[Approval],
    ) -> Result<SealedCharter, CustodianError> {
        let statement = Statement::of_charter(change).unwrap();
        let rules = required_for_charter(&current.charter, &change.next);
        approved(&statement, &change.proposer, rules, &current.charter, approvals).map_err(|shortfall| {
            CustodianError::ApprovalsMissing { have: shortfall.have(), need: shortfall.rule.need, why: shortfall.to_string() }
        })?;
        let next = sealed(&change.next, current.serial + 1);
        let token = *self.adopted.lock().unwrap();
        // A repeated adoption succeeds, whether or not its approvals have ended.
        if token != record(&next) {
            if token != record(current) {
                return Err(CustodianError::CharterChanged);
            }
            if change.until <= self.clock.now() {
                return Err(CustodianError::Refused("the approvals ended".to_owned()));
            }
        }
        let rival = self.rival.lock().unwrap().clone();
        if let Some(rival) = rival {
            let rival = sealed(&rival, next.serial);
            *self.adopted.lock().unwrap() = record(&rival);
            self.ledger.put_charter(&rival, &[], Asked { by: &actor("rival"), at: self.clock.now() }).await.unwrap();
        } else {
            *self.adopted.lock().unwrap() = record(&next);
        }
        Ok(next)
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

    async fn finish(&self, _: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError> {
        if *self.fails_for.lock().unwrap() == Some(change_set.key.clone()) {
            return Err(CustodianError::Full("the token has no room".to_owned()));
        }
        Ok(())
    }

    async fn usages(&self) -> Result<Usages, CustodianError> {
        unreachable!()
    }
}

/// What the token has on record of a charter.
fn record(sealed: &SealedCharter) -> (u32, Digest) {
    (sealed.serial, sealed.charter.digest().unwrap())
}

pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) custodian: Arc<TestCustodian>,
    pub(crate) clock: Arc<TestClock>,
}

impl World {
    /// An installation whose first charter is that of this policy.
    pub(crate) async fn new(policy: &str) -> Self {
        let installation = InstallationId(IdTree::new([7; 32]).uuid());
        let ledger = Arc::new(MemoryLedger::new(installation));
        let clock = Arc::new(TestClock(Mutex::new(Timestamp(1_790_000_000_000_000))));
        let policy = keyplane_policy::load(&[("policy.yaml".to_owned(), policy.to_owned())], None).unwrap();
        let first = sealed(&policy.intent.charter(installation), 1);
        ledger.put_charter(&first, &[], Asked { by: &actor("test"), at: clock.now() }).await.unwrap();
        let custodian = Arc::new(TestCustodian {
            ledger: Arc::clone(&ledger),
            clock: Arc::clone(&clock),
            adopted: Mutex::new(record(&first)),
            rival: Mutex::default(),
            fails_for: Mutex::default(),
        });
        let engine = Engine {
            ledger: Arc::clone(&ledger) as Arc<dyn keyplane_port::Ledger>,
            custodian: Arc::clone(&custodian) as Arc<dyn Custodian>,
            lanes: BTreeMap::new(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            leases: Leases::new(ServerId(IdTree::new([8; 32]).uuid())),
        };
        Self { service: Service::new(engine).await.unwrap(), ledger, custodian, clock }
    }

    /// Asks for the charter of a policy.
    pub(crate) async fn change_charter(&self, policy: &str, by: &str) -> Result<CharterState, Vec<Problem>> {
        self.service.change_charter(&CharterRequest { sources: sources(policy), own: false }, &actor(by)).await
    }

    /// Proposes the charter of a policy, even if somebody else did.
    pub(crate) async fn propose_own(&self, policy: &str, by: &str) -> Digest {
        let state = self.service.change_charter(&CharterRequest { sources: sources(policy), own: true }, &actor(by)).await;
        state.unwrap().proposal.unwrap()
    }

    pub(crate) async fn in_force(&self) -> SealedCharter {
        self.ledger.charter().await.unwrap().unwrap()
    }

    pub(crate) async fn proposal(&self, digest: &Digest) -> CharterProposal {
        self.ledger.charter_proposal(digest).await.unwrap().unwrap()
    }

    /// Signs a proposed charter, and hands that in.
    pub(crate) async fn approve(&self, digest: &Digest, name: &str) -> Result<Approved, Problem> {
        let statement = Statement::of_charter(&self.proposal(digest).await.change).unwrap();
        let signature = SshSig::sign(&key(name), APPROVAL_NAMESPACE, HashAlg::Sha512, statement.as_str().as_bytes()).unwrap();
        let request =
            ApprovalRequest { digest: *digest, approver: name.parse().unwrap(), signature: signature.to_pem(LineEnding::LF).unwrap() };
        self.service.approve(&request, &actor(name)).await
    }
}
