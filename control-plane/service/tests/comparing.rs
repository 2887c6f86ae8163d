//! `evidence` tells what left the HSM under a wrapping key that the ledger does not know.

#![expect(clippy::unwrap_used, reason = "a test fails where its world cannot be built")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use keyplane_engine::{Engine, Leases};
use keyplane_model::{
    Act, Action, Actor, Algorithm, Approval, ApprovalRule, Asked, ChangeSet, Charter, CharterChange, CloudKind, Digest, Expectation,
    Generation, IdTree, InstallationId, PlacementPlan, Problem, ProblemCode, Purpose, SealedCharter, ServerId, Span, Step, StepNo,
    Timestamp, Version, Wrap, WrapScheme,
};
use keyplane_port::{
    Clock, Custodian, CustodianError, CustodianStatus, EnrolmentReport, Ledger as _, MemoryLedger, MintRequest, Minted, Usage, Usages,
    Warrant, WrapRequest, Wrapped,
};
use keyplane_service::Service;

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn uptime(&self) -> Span {
        Span::ZERO
    }

    async fn sleep(&self, _: Span) {}
}

/// A custodian with these records of use.
struct Records(Result<Usages, CustodianError>);

#[async_trait]
impl Custodian for Records {
    async fn usages(&self) -> Result<Usages, CustodianError> {
        self.0.clone()
    }

    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        unreachable!()
    }

    async fn enroll(&self, _: InstallationId, _: &Charter) -> Result<EnrolmentReport, CustodianError> {
        unreachable!()
    }

    async fn test(&self) -> Result<EnrolmentReport, CustodianError> {
        unreachable!()
    }

    async fn adopt(&self, _: &SealedCharter, _: &CharterChange, _: &[Approval]) -> Result<SealedCharter, CustodianError> {
        unreachable!()
    }

    async fn mint(&self, _: &Warrant, _: &MintRequest) -> Result<Minted, CustodianError> {
        unreachable!()
    }

    async fn wrap(&self, _: &Warrant, _: &WrapRequest) -> Result<Wrapped, CustodianError> {
        unreachable!()
    }

    async fn finish(&self, _: &SealedCharter, _: &ChangeSet) -> Result<(), CustodianError> {
        unreachable!()
    }
}

fn installation() -> InstallationId {
    InstallationId(IdTree::new([7; 32]).uuid())
}

/// A change set that imports version 3 of a key to two destinations.
fn change_set() -> ChangeSet {
    let ids = IdTree::new([1; 32]);
    let key = ids.key("payments-db");
    let places = ["here", "there"].map(|place| (ids.placement(key, place, "payments-db"), place));
    let plan = |place: &str| PlacementPlan {
        destination: place.parse().unwrap(),
        fingerprint: Digest::of(place.as_bytes()),
        cloud: CloudKind::Aws,
        name: "payments-db".to_owned(),
        algorithm: Algorithm::Aes256,
        purpose: Purpose::Encrypt,
        incarnation: 1,
    };
    let act = || Act::Import { version: Version(3), scheme: WrapScheme::RsaOaepSha256, of: None, made: None };
    ChangeSet {
        format: ChangeSet::FORMAT,
        installation: installation(),
        key: "payments-db".parse().unwrap(),
        key_id: key,
        profile: "payments".parse().unwrap(),
        action: Action::Import,
        wanted: None,
        approvals: ApprovalRule { need: 0, from: BTreeSet::new() },
        proposer: Actor("carol".to_owned()),
        generation: Generation(0),
        placements: places.iter().map(|(placement, place)| (*placement, plan(place))).collect(),
        steps: places.iter().map(|(placement, _)| Step { placement: *placement, expects: Expectation::Empty, act: act() }).collect(),
        reasons: Vec::new(),
        until: NOW + Span::days(30),
    }
}

fn wrap(step: u32, key: &[u8]) -> Wrap {
    Wrap { step: StepNo(step), wrapped_under: Digest::of(key), at: NOW }
}

/// What `evidence` tells if the ledger knows these wraps of the change set (`None`: not even that), and the custodian has these records.
async fn told(known: Option<&[Wrap]>, records: Result<Usages, CustodianError>) -> Vec<Problem> {
    let ledger = MemoryLedger::new(installation());
    if let Some(known) = known {
        let asked = Asked { by: &Actor("test".to_owned()), at: NOW };
        let digest = ledger.propose(&change_set(), asked).await.unwrap();
        ledger.commit(&digest, asked).await.unwrap();
        for wrap in known {
            ledger.wrap(&digest, wrap, None, asked).await.unwrap();
        }
    }
    let engine = Engine {
        ledger: Arc::new(ledger),
        custodian: Arc::new(Records(records)),
        lanes: BTreeMap::new(),
        clock: Arc::new(Still),
        leases: Leases::new(ServerId(IdTree::new([8; 32]).uuid())),
    };
    Service::new(engine).await.unwrap().evidence().await.unwrap().problems
}

/// The records of one change set that was used for these wraps.
fn used(wraps: &[Wrap]) -> Usages {
    let change_set = change_set();
    let usage = Usage::none(&change_set, change_set.digest().unwrap());
    Usages { usages: vec![Usage { wraps: wraps.to_vec(), ..usage }], ..Usages::default() }
}

#[tokio::test]
async fn what_the_ledger_knows_is_not_told_whether_or_not_it_was_sent() {
    let wraps = [wrap(0, b"a key"), wrap(1, b"a key"), wrap(0, b"another key")];
    assert_eq!(told(Some(&wraps), Ok(used(&wraps))).await, []);
    // The custodian was not asked any more, or its record is over.
    assert_eq!(told(Some(&wraps), Ok(used(&wraps[1..]))).await, []);
    assert_eq!(told(Some(&wraps), Ok(Usages::default())).await, []);
    let later = Wrap { at: NOW + Span::days(1), ..wraps[0] };
    assert_eq!(told(Some(&wraps), Ok(used(&[later]))).await, [], "the clocks of server and custodian differ");
}

#[tokio::test]
async fn a_wrapping_key_that_the_ledger_does_not_know_is_told_with_key_version_and_destination() {
    for (known, step, destination) in
        [(vec![], 0, "here"), (vec![wrap(1, b"a key")], 0, "here"), (vec![wrap(1, b"another key")], 1, "there")]
    {
        let problems = told(Some(&known), Ok(used(&[wrap(step, b"a key")]))).await;
        let [problem] = &problems[..] else { unreachable!("{problems:?}") };
        assert_eq!(problem.code, ProblemCode::WrappingKeyUnknown);
        let place = (problem.key.as_ref().unwrap().as_str(), problem.destination.as_ref().unwrap().as_str());
        assert_eq!(place, ("payments-db", destination));
        for part in ["`payments-db`, version 3", &NOW.to_string(), &Digest::of(b"a key").to_string()] {
            assert!(problem.detail.contains(part), "{part}: {}", problem.detail);
        }
    }
}

/// Somebody made it up, or removed it from the database.
#[tokio::test]
async fn a_change_set_that_the_ledger_does_not_have_is_told() {
    let problems = told(None, Ok(used(&[wrap(0, b"a key")]))).await;
    let [problem] = &problems[..] else { unreachable!("{problems:?}") };
    assert_eq!((problem.code, &problem.key), (ProblemCode::WrappingKeyUnknown, &None));
    assert!(problem.detail.contains(&change_set().digest().unwrap().to_string()), "{problem:?}");
    // It ended before anything was wrapped for it.
    assert_eq!(told(None, Ok(used(&[]))).await, []);
}

#[tokio::test]
async fn what_cannot_be_compared_is_told() {
    let codes = async |records| told(None, records).await.iter().map(|problem| problem.code).collect::<Vec<_>>();
    let broken = Usages { broken: vec!["`keyplane/usage/x`: it is not sealed".to_owned()], ..Usages::default() };
    assert_eq!(codes(Ok(broken)).await, [ProblemCode::TokenBroken]);
    assert_eq!(codes(Ok(Usages { more: true, ..Usages::default() })).await, [ProblemCode::TokenFailed]);
    assert_eq!(codes(Err(CustodianError::Failed("gone".to_owned()))).await, [ProblemCode::TokenFailed]);
    let unset = CustodianError::NotEnrolled("the PIN has to be set first".to_owned());
    assert_eq!(codes(Err(unset)).await, [ProblemCode::TokenNotEnrolled], "nothing was compared");
}
