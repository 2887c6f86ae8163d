//! What a warrant allows, and what it does not.

use aws_lc_rs::rsa::KeySize;
use keyplane_model::{CharterId, CopyCoordinates, KeyId, Source, Statement, StepNo, Version, WrapScheme};
use keyplane_port::{Custodian as _, CustodianError, MintRequest, Warrant};

use super::fixture::*;
use crate::HsmCustodian;
use crate::software::SoftwareKey;

/// A custodian whose charter needs two approvals, and a warrant without any.
async fn strict(lab: &Lab) -> (HsmCustodian, Warrant) {
    let custodian = lab.custodian();
    let sealed = custodian.enroll(INSTALLATION, &charter(2)).await.unwrap().charter.unwrap();
    let change_set = change_set(Source::Derived, WrapScheme::RsaOaepSha256, rule(2));
    (custodian, Warrant { change_set, approvals: vec![], charter: sealed })
}

fn request() -> MintRequest {
    MintRequest { step: MINT, coordinates: CopyCoordinates { approvals: rule(2), ..coordinates(Source::Derived) } }
}

#[tokio::test]
async fn below_the_charters_number_nothing_is_made() {
    let lab = Lab::new();
    let (custodian, mut warrant) = strict(&lab).await;
    let signed = statement(&warrant);
    // Under another charter.
    let set = &warrant.change_set;
    let id = CharterId { serial: 2, ..warrant.charter.id().unwrap() };
    let another = Statement::of_change_set(set, &set.digest().unwrap(), &id);
    let missing = |have, ignored: &str| {
        let why = format!("{have} of 2 approvals of security{ignored}");
        CustodianError::ApprovalsMissing { have, need: 2, why }
    };
    assert_eq!(custodian.mint(&warrant, &request()).await.unwrap_err(), missing(0, ""));
    warrant.approvals = vec![approval("alice", 1, &signed), approval("alice", 1, &signed)];
    assert_eq!(custodian.mint(&warrant, &request()).await.unwrap_err(), missing(1, "; not counted: `alice` (it counts already)"));
    warrant.approvals = vec![approval("alice", 1, &signed), approval("bob", 3, &signed)];
    assert_eq!(
        custodian.mint(&warrant, &request()).await.unwrap_err(),
        missing(1, "; not counted: `bob` (the key that signed is not enrolled for this approver)")
    );
    warrant.approvals = vec![approval("alice", 1, &signed), approval("bob", 2, &another)];
    assert_eq!(
        custodian.mint(&warrant, &request()).await.unwrap_err(),
        missing(1, "; not counted: `bob` (the signature is not over what has to be approved, or was changed)")
    );
    warrant.approvals = vec![approval("alice", 1, &signed), approval("bob", 2, &signed)];
    custodian.mint(&warrant, &request()).await.unwrap();
}

#[tokio::test]
async fn a_change_set_that_was_changed_after_its_approval_is_worth_nothing() {
    let lab = Lab::new();
    let (custodian, mut warrant) = strict(&lab).await;
    let signed = statement(&warrant);
    warrant.approvals = vec![approval("alice", 1, &signed), approval("bob", 2, &signed)];
    warrant.change_set.proposer = keyplane_model::Actor("mallory@example.com".to_owned());
    let error = custodian.mint(&warrant, &request()).await.unwrap_err();
    assert!(matches!(error, CustodianError::ApprovalsMissing { have: 0, need: 2, .. }), "{error}");
}

#[tokio::test]
async fn the_proposers_own_approval_does_not_count() {
    let lab = Lab::new();
    let (custodian, mut warrant) = strict(&lab).await;
    warrant.change_set.proposer = keyplane_model::Actor("alice@example.com".to_owned());
    let signed = statement(&warrant);
    warrant.approvals = vec![approval("alice", 1, &signed), approval("bob", 2, &signed)];
    let error = custodian.mint(&warrant, &request()).await.unwrap_err();
    assert!(matches!(error, CustodianError::ApprovalsMissing { have: 1, need: 2, .. }), "{error}");
}

#[tokio::test]
async fn a_charter_that_the_hsm_did_not_seal_is_worth_nothing() {
    let lab = Lab::new();
    let (custodian, mut warrant) = strict(&lab).await;
    // Someone with write access to the database lowers the number, in the charter and in the change set.
    warrant.charter.charter = charter(0);
    warrant.change_set.approvals = rule(0);
    let request = MintRequest { step: MINT, coordinates: coordinates(Source::Derived) };
    let error = custodian.mint(&warrant, &request).await.unwrap_err();
    assert!(matches!(&error, CustodianError::Broken(text) if text.contains("the charter")), "{error}");
}

#[tokio::test]
async fn a_step_entitles_to_its_own_copy_alone() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    let base = || desk.coordinates.clone();
    let attempts = [
        (IMPORT, base()),
        (StepNo(17), base()),
        (MINT, CopyCoordinates { version: Version(2), ..base() }),
        (MINT, CopyCoordinates { source: Source::Generated, ..base() }),
        (MINT, CopyCoordinates { key: KeyId(uuid::Uuid::from_u128(9)), ..base() }),
    ];
    for (step, coordinates) in attempts {
        let error = desk.custodian.mint(&desk.warrant, &MintRequest { step, coordinates }).await.unwrap_err();
        assert!(matches!(error, CustodianError::Refused(_)), "{error}");
    }
    let minted = desk.mint().await;
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let good = desk.wrap_request(&minted, cloud.spki());
    let mut other_step = good.clone();
    other_step.step = MINT;
    let mut other_scheme = good.clone();
    other_scheme.wrapping_key.scheme = WrapScheme::RsaOaepSha1;
    let mut other_copy = good.clone();
    other_copy.copy.coordinates.version = Version(2);
    for request in [other_step, other_scheme, other_copy] {
        let error = desk.custodian.wrap(&desk.warrant, &request).await.unwrap_err();
        assert!(matches!(error, CustodianError::Refused(_)), "{error}");
    }
    desk.custodian.wrap(&desk.warrant, &good).await.unwrap();
}

#[tokio::test]
async fn before_a_charter_was_adopted_nothing_is_made() {
    let lab = Lab::new();
    let other = Lab::new();
    let (custodian, mut warrant) = strict(&other).await;
    drop(custodian);
    let signed = statement(&warrant);
    warrant.approvals = vec![approval("alice", 1, &signed), approval("bob", 2, &signed)];
    let error = lab.custodian().mint(&warrant, &request()).await.unwrap_err();
    assert!(matches!(error, CustodianError::NotEnrolled(_)), "{error}");
}

#[tokio::test]
async fn another_tokens_seal_is_none() {
    let lab = Lab::new();
    let other = Lab::new();
    let (custodian, warrant) = strict(&other).await;
    drop(custodian);
    let (custodian, mut own) = strict(&lab).await;
    let signed = statement(&own);
    own.approvals = vec![approval("alice", 1, &signed), approval("bob", 2, &signed)];
    own.charter.mac = warrant.charter.mac;
    let error = custodian.mint(&own, &request()).await.unwrap_err();
    assert!(matches!(error, CustodianError::Broken(_)), "{error}");
}
