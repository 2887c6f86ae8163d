//! SoftHSM 2.6: RSA-OAEP with SHA-1 only, and no derivation. It reports refusals by other return values than kryoptic.

use std::path::PathBuf;

use aws_lc_rs::rsa::KeySize;
use keyplane_model::{Algorithm, Source, WrapScheme};
use keyplane_port::{Custodian as _, CustodianError, MintRequest};

use super::fixture::*;
use crate::error::NoRoute;
use crate::provision::initialise;
use crate::software::SoftwareKey;
use crate::{HsmConfig, HsmCustodian, Pin, PinSource};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// SoftHSM reads its configuration only from a file that the environment names, so the test starts itself again in a process with its own.
/// Returns the token in the inner process, and `None` in the outer one.
fn softhsm(test: &str) -> Option<HsmConfig> {
    let module = PathBuf::from(MODULE);
    if !module.is_file() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "`{MODULE}` is missing");
        println!("skipped: `{MODULE}` is missing");
        return None;
    }
    if std::env::var_os("KEYPLANE_INNER_TEST").is_none() {
        let folder = tempfile::TempDir::new().unwrap();
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let conf = folder.path().join("softhsm2.conf");
        std::fs::write(&conf, format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display())).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([&format!("tests::softhsm::{test}"), "--exact", "--nocapture"])
            .env("SOFTHSM2_CONF", &conf)
            .env("KEYPLANE_INNER_TEST", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return None;
    }
    let pin = || Pin::new("1234567890".to_owned()).unwrap();
    let config = HsmConfig { module, token_label: "soft".to_owned(), init: None, pin: Some(PinSource::new(move || Ok(pin()))) };
    initialise(&config, &Pin::new("0987654321".to_owned()).unwrap(), &pin()).unwrap();
    Some(config)
}

#[tokio::test]
async fn what_softhsm_cannot_do_is_said_with_reasons() {
    let Some(config) = softhsm("what_softhsm_cannot_do_is_said_with_reasons") else { return };
    let report = HsmCustodian::start(config, now()).unwrap().enroll(INSTALLATION, &charter(0)).await.unwrap();
    for check in &report.checks {
        println!("{} {:?} {}: {}", if check.passed { "ok  " } else { "FAIL" }, check.expected, check.name, check.detail);
    }
    assert!(report.status.development);
    assert!(!report.status.derives);
    let ways: Vec<_> = report.status.routes.iter().map(|route| (route.scheme, route.way.as_deref(), route.reason.is_some())).collect();
    assert_eq!(
        ways,
        [
            (WrapScheme::RsaOaepSha256, None, true),
            (WrapScheme::RsaOaepSha1, Some("direct"), false),
            (WrapScheme::RsaAesKeyWrapSha256, None, true),
            // For secret keys only: it pads private keys, which no cloud can then parse.
            (WrapScheme::RsaAesKeyWrapSha1, Some("composed"), true),
        ]
    );
    let composed = report.status.routes.last().unwrap();
    assert_eq!(composed.algorithms, [Algorithm::Aes256, Algorithm::HmacSha256]);
    let reason = composed.reason.as_ref().unwrap();
    // All private keys, and not only those whose encodings happen to need padding.
    assert!(reason.contains(&format!("rsa-2048, rsa-3072, rsa-4096, ec-p256, ec-p384: {}", NoRoute::Padded)), "{reason}");
}

#[tokio::test]
async fn a_mac_key_arrives_from_softhsm_and_a_key_pair_is_not_made() {
    let Some(config) = softhsm("a_mac_key_arrives_from_softhsm_and_a_key_pair_is_not_made") else { return };
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let scheme = WrapScheme::RsaAesKeyWrapSha1;
    let custodian = HsmCustodian::start(config, now()).unwrap().quick();
    let mut desk = Desk::of(custodian, Algorithm::HmacSha256, Source::Generated, scheme).await;
    // SoftHSM leaves an empty object behind when unwrapping fails, and some self-tests expect it to fail.
    desk.custodian.status().await.unwrap();
    let before = desk.custodian.session_objects_for_test().await.unwrap();
    let minted = desk.mint().await;
    let bytes = desk.deliver(&minted, &cloud).await;
    assert_eq!((bytes.len(), minted.check_value), (32, Some(mac_check_value(&bytes))));
    desk.turn_to(Algorithm::EcP256, Source::Generated, scheme);
    let request = MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    let error = desk.custodian.mint(&desk.warrant, &request).await.unwrap_err();
    assert!(matches!(&error, CustodianError::Unsupported(text) if text.contains("zeros")), "{error}");
    assert_eq!(desk.custodian.session_objects_for_test().await.unwrap(), before);
}

#[tokio::test]
async fn a_second_process_believes_the_record_of_the_proof_that_softhsm_keeps() {
    let Some(config) = softhsm("a_second_process_believes_the_record_of_the_proof_that_softhsm_keeps") else { return };
    super::record::a_second_process_makes_no_proof(&config).await;
    super::record::a_tampered_record_is_not_believed(&config);
}

#[tokio::test]
async fn a_private_key_in_softhsm_can_do_nothing_but_leave() {
    let Some(config) = softhsm("a_private_key_in_softhsm_can_do_nothing_but_leave") else { return };
    let vault = super::kinds::vault(&config);
    super::kinds::what_is_brought_back_can_do_nothing_but_leave(&vault, &cryptoki::mechanism::Mechanism::AesKeyWrapPad);
}

#[tokio::test]
async fn a_generated_copy_arrives_from_softhsm_and_a_derived_one_is_refused() {
    let Some(config) = softhsm("a_generated_copy_arrives_from_softhsm_and_a_derived_one_is_refused") else { return };
    let cloud = SoftwareKey::make(KeySize::Rsa3072).unwrap();
    for scheme in [WrapScheme::RsaOaepSha1, WrapScheme::RsaAesKeyWrapSha1] {
        let desk = Desk::open(HsmCustodian::start(config.clone(), now()).unwrap().quick(), Source::Generated, scheme).await;
        let minted = desk.mint().await;
        let bytes = desk.deliver(&minted, &cloud).await;
        assert_eq!(minted.check_value, Some(check_value(&bytes)));
    }
    let desk = Desk::open(HsmCustodian::start(config, now()).unwrap().quick(), Source::Derived, WrapScheme::RsaOaepSha1).await;
    let request = MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    let error = desk.custodian.mint(&desk.warrant, &request).await.unwrap_err();
    assert!(matches!(error, CustodianError::Unsupported(_)), "{error}");
}

#[tokio::test]
async fn a_finished_change_set_is_good_for_nothing_at_softhsm_either() {
    let Some(config) = softhsm("a_finished_change_set_is_good_for_nothing_at_softhsm_either") else { return };
    super::usage::a_finished_change_set_is_good_for_nothing(&config, Source::Generated, WrapScheme::RsaOaepSha1).await;
}

#[tokio::test]
async fn a_sealed_blob_with_another_key_is_refused_by_softhsm_too() {
    let Some(config) = softhsm("a_sealed_blob_with_another_key_is_refused_by_softhsm_too") else { return };
    let (vault, kwp) = (super::kinds::vault(&config), cryptoki::mechanism::Mechanism::AesKeyWrapPad);
    // SoftHSM pads a secret of 31 bytes to 32 before it wraps, so that length cannot be detected.
    let secrets = [(16, Algorithm::Aes256), (24, Algorithm::Aes256), (16, Algorithm::HmacSha256), (64, Algorithm::HmacSha256)];
    super::kinds::a_key_of_another_kind_or_size_is_not_brought_back(&vault, &kwp, &secrets);
}
