//! Copies are generated or derived, unwrapped from their blobs, and delivered; and forged or changed blobs are refused.

use aws_lc_rs::rsa::KeySize;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use keyplane_model::{Algorithm, CheckValue, CopyCoordinates, EpochId, SealedBlob, Source, Version, WrapScheme};
use keyplane_port::{Custodian as _, CustodianError, MintRequest, Minted};

use super::fixture::*;
use crate::HsmError;
use crate::software::SoftwareKey;

#[tokio::test]
async fn a_copy_arrives_with_the_bytes_that_were_minted_by_every_scheme_and_modulus() {
    let lab = Lab::new();
    // Without RSA-4096, which enrolment covers.
    let clouds = [KeySize::Rsa2048, KeySize::Rsa3072].map(|size| SoftwareKey::make(size).unwrap());
    let mut arrived = Vec::new();
    for scheme in WrapScheme::ALL {
        let desk = Desk::open(lab.custodian(), Source::Derived, scheme).await;
        let minted = desk.mint().await;
        assert_eq!(minted.blob, None);
        for cloud in &clouds {
            let bytes = desk.deliver(&minted, cloud).await;
            assert_eq!(minted.check_value, Some(check_value(&bytes)));
            arrived.push(bytes);
        }
    }
    arrived.dedup();
    assert_eq!(arrived.len(), 1, "a derived copy is always the same");
    assert_eq!(arrived[0].len(), 32);
}

#[tokio::test]
async fn a_generated_copy_comes_back_from_its_blob_in_another_process() {
    let lab = Lab::new();
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let desk = Desk::open(lab.custodian(), Source::Generated, WrapScheme::RsaAesKeyWrapSha256).await;
    let minted = desk.mint().await;
    let bytes = desk.deliver(&minted, &cloud).await;
    drop(desk);
    let desk = Desk::open(lab.custodian(), Source::Generated, WrapScheme::RsaAesKeyWrapSha256).await;
    assert_eq!(desk.deliver(&minted, &cloud).await, bytes);
    assert_eq!(*desk.custodian.reveal_for_test(&desk.coordinates, minted.blob.as_ref()).await.unwrap(), bytes);
    assert_eq!(minted.check_value, Some(check_value(&bytes)));
    // The blob does not contain the bytes.
    let blob = minted.blob.unwrap();
    assert!(!blob.wrapped.windows(8).any(|window| bytes.windows(8).any(|part| part == window)));
    // Asking again generates another key. The ledger keeps the first blob.
    assert_ne!(desk.mint().await.check_value, minted.check_value);
}

#[tokio::test]
async fn versions_and_placements_have_bytes_of_their_own() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    let first = desk.custodian.reveal_for_test(&desk.coordinates, None).await.unwrap();
    let next = CopyCoordinates { version: Version(2), ..desk.coordinates.clone() };
    let elsewhere = CopyCoordinates { placement: keyplane_model::PlacementId(uuid::Uuid::from_u128(9)), ..desk.coordinates.clone() };
    for other in [next, elsewhere] {
        assert_ne!(desk.custodian.reveal_for_test(&other, None).await.unwrap(), first);
    }
}

#[tokio::test]
async fn a_blob_that_was_changed_or_moved_is_refused_before_it_is_unwrapped() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Generated, WrapScheme::RsaOaepSha256).await;
    let blob = desk.mint().await.blob.unwrap();
    let changed = |change: &dyn Fn(&mut SealedBlob)| {
        let mut blob = blob.clone();
        change(&mut blob);
        blob
    };
    let blobs = [
        changed(&|blob| blob.wrapped[0] ^= 1),
        changed(&|blob| blob.wrapped.push(0)),
        changed(&|blob| blob.mac[15] ^= 1),
        changed(&|blob| blob.mac.truncate(8)),
        changed(&|blob| blob.mac.clear()),
    ];
    let other = uuid::Uuid::from_u128(9);
    let base = || desk.coordinates.clone();
    let moved = [
        CopyCoordinates { installation: keyplane_model::InstallationId(other), ..base() },
        CopyCoordinates { key: keyplane_model::KeyId(other), ..base() },
        CopyCoordinates { version: Version(2), ..base() },
        CopyCoordinates { placement: keyplane_model::PlacementId(other), ..base() },
    ];
    let attempts = blobs.into_iter().map(|blob| (base(), blob)).chain(moved.into_iter().map(|copy| (copy, blob.clone())));
    for (coordinates, blob) in attempts {
        let error = desk.custodian.reveal_for_test(&coordinates, Some(&blob)).await.unwrap_err();
        assert!(matches!(error, HsmError::Unsealed("the blob")), "{coordinates:?}: {error}");
    }
}

#[tokio::test]
async fn coordinates_and_blob_have_to_go_together() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Generated, WrapScheme::RsaOaepSha256).await;
    let blob = desk.mint().await.blob.unwrap();
    let reveal = |copy: CopyCoordinates, blob: Option<SealedBlob>| {
        let custodian = &desk.custodian;
        async move { custodian.reveal_for_test(&copy, blob.as_ref()).await.unwrap_err() }
    };
    let base = || desk.coordinates.clone();
    assert!(matches!(reveal(base(), None).await, HsmError::Coordinates(_)));
    let derived = CopyCoordinates { source: Source::Derived, ..base() };
    assert!(matches!(reveal(derived, Some(blob.clone())).await, HsmError::Coordinates(_)));
    let lost = CopyCoordinates { epoch: EpochId(2), ..base() };
    assert!(matches!(reveal(lost, Some(blob.clone())).await, HsmError::EpochMissing(EpochId(2))));
    let rsa = CopyCoordinates { algorithm: Algorithm::Rsa3072, ..base() };
    let error = reveal(rsa, Some(blob)).await;
    assert!(matches!(error, HsmError::Unsealed("the blob")), "{error:?}");
}

#[tokio::test]
async fn bytes_that_are_not_the_recorded_ones_are_not_delivered() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    let minted = Minted { check_value: Some(CheckValue([0, 1, 2])), blob: None, public_key: None };
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let error = desk.custodian.wrap(&desk.warrant, &desk.wrap_request(&minted, cloud.spki())).await.unwrap_err();
    assert!(matches!(error, CustodianError::Broken(_)), "{error}");
}

#[tokio::test]
async fn nothing_is_wrapped_for_what_is_no_strong_rsa_key() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    let minted = desk.mint().await;
    for spki in [vec![], vec![0x30, 0], vec![0; 4096]] {
        let error = desk.custodian.wrap(&desk.warrant, &desk.wrap_request(&minted, &spki)).await.unwrap_err();
        assert!(matches!(error, CustodianError::Refused(_)), "{error}");
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_does_not_stop_the_others() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Derived, WrapScheme::RsaOaepSha256).await;
    let request = MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    for _ in 0..8 {
        let call = desk.custodian.mint(&desk.warrant, &request);
        let _ = tokio::time::timeout(std::time::Duration::ZERO, call).await;
    }
    desk.mint().await;
}

#[tokio::test]
async fn session_objects_do_not_pile_up() {
    let lab = Lab::new();
    let desk = Desk::open(lab.custodian(), Source::Generated, WrapScheme::RsaAesKeyWrapSha1).await;
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    for _ in 0..3 {
        let minted = desk.mint().await;
        desk.deliver(&minted, &cloud).await;
    }
    let left = desk.custodian.session_objects_for_test().await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_copy_in_an_object_that_gives_it_away_or_stays_is_not_used() {
    let lab = Lab::new();
    let vault = crate::vault::Vault::open(&lab.config).unwrap();
    let token = vault.token();
    for (sensitive, stays, guarded) in [(true, false, true), (false, false, false), (true, true, false)] {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(stays),
            Attribute::Sensitive(sensitive),
            Attribute::Value(vec![7; 32]),
        ];
        let key = token.ephemeral(token.session().create_object(&template).unwrap());
        assert_eq!(vault.guarded(key).is_ok(), guarded, "sensitive: {sensitive}, stays: {stays}");
    }
}
