//! What an HSM's signed statement proves.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use keyplane_conformance::Subject as _;
use keyplane_emulator_core::gcp::{Readings, Spoiled};
use keyplane_gcp::GoogleKms;
use keyplane_model::{CheckValue, Class, Evidence, EvidenceStrength, Marks, Protection, Span, Target, Timestamp, Version, WrapScheme};
use keyplane_port::{Acted, Cloud as _, Mutation, WrapFor};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::emulated::{Emulated, begin_hsm, begin_with, config, key, machine, serve};
use crate::placement::{copy, import, marks, target};

/// Imports a key whose bytes are all seven.
async fn bring(emulated: &Emulated, target: &Target) {
    let cloud = &emulated.cloud;
    let marks = Marks { placement: target.placement, ..marks() };
    let Acted::Created(object) = cloud.act(&Mutation::Create { target: target.clone(), marks }).await.unwrap() else {
        unreachable!("creating gives an object")
    };
    let scheme = WrapScheme::RsaOaepSha256;
    let Acted::Created(job) = cloud.act(&Mutation::Prepare { target: target.clone(), version: Version(1), scheme }).await.unwrap() else {
        unreachable!("preparing gives a job")
    };
    emulated.advance(Span::seconds(1)).await;
    let wrapping_key = cloud.wrapping_key(&WrapFor::Prepared(job), scheme).await.unwrap();
    let wrapped = keyplane_conformance::wrap(&wrapping_key, &[7; 32]);
    cloud.act(&import(&object, wrapping_key, wrapped)).await.unwrap();
    emulated.advance(Span::seconds(1)).await;
    cloud.act(&Mutation::Publish { target: target.clone(), object, material: Some("1".into()) }).await.unwrap();
}

/// The first three bytes of a zero block, encrypted by AES-256 under that key (`openssl enc -aes-256-ecb`).
const SEVENS: CheckValue = CheckValue([0x0a, 0x4d, 0xee]);

/// The evidence for the first import into the key of this name, whatever check value was recorded.
pub(crate) async fn of_the_copy(emulated: &Emulated, cloud: &GoogleKms, name: &str) -> Evidence {
    let dump = emulated.control.call("GET", "dump", None).await;
    let found = dump["keys"].as_array().unwrap().iter().find(|key| key["id"] == name).unwrap();
    let label = |label: &str| found["tags"][label].as_str().unwrap();
    let mut target = target();
    target.name = name.into();
    target.placement = label("keyplane-placement").parse().unwrap();
    target.incarnation = label("keyplane-incarnation").parse().unwrap();
    let mut copy = copy(None);
    copy.coordinates.placement = target.placement;
    cloud.evidence(&target, &copy, Timestamp(1)).await.unwrap()
}

async fn shown(cloud: &GoogleKms, check_value: Option<CheckValue>) -> (EvidenceStrength, bool, Option<String>) {
    let evidence = cloud.evidence(&target(), &copy(check_value), Timestamp(1)).await.unwrap();
    (evidence.strength, evidence.fits, evidence.reason)
}

/// The adapter with these roots for attestations.
async fn with_roots(emulated: &Emulated, roots: Option<Vec<u8>>) -> GoogleKms {
    let mut config = config(&emulated.endpoint, machine(&emulated.endpoint));
    config.protection = Protection::Hsm;
    config.attestation_roots = roots;
    GoogleKms::connect(config).await.unwrap()
}

fn none(fits: bool, reason: &str) -> (EvidenceStrength, bool, Option<String>) {
    (EvidenceStrength::None, fits, Some(reason.to_owned()))
}

// contract: gcp.attestation
#[tokio::test]
async fn a_signed_check_value_counts_and_every_other_one_does_not() {
    let emulated = begin_hsm().await;
    bring(&emulated, &target()).await;
    let cloud = &emulated.cloud;
    emulated.control.call("DELETE", "requests", None).await;
    assert_eq!(shown(cloud, Some(SEVENS)).await, (EvidenceStrength::CheckValue, true, None));
    assert_eq!(emulated.control.operations().await, ["GetCryptoKey", "ListCryptoKeyVersions", "GetCryptoKeyVersion"]);
    assert_eq!(shown(cloud, Some(CheckValue([1, 2, 3]))).await, none(false, "the HSM's check value is another one"));
    assert_eq!(shown(cloud, None).await, none(true, "our own HSM gave no check value"));
}

#[tokio::test]
async fn what_an_hsm_did_not_sign_or_signed_of_another_key_is_drift() {
    let emulated = begin_hsm().await;
    bring(&emulated, &target()).await;
    for (spoiled, reason) in
        [("signature", "the attestation is not signed under the configured roots"), ("check_value", "the HSM's check value is another one")]
    {
        emulated.control.call("POST", "readings", Some(json!({ "spoiled": { spoiled: true } }))).await;
        assert_eq!(shown(&emulated.cloud, Some(SEVENS)).await, none(false, reason));
    }
    emulated.control.call("POST", "readings", Some(json!({}))).await;

    // The roots of another HSM; then one right root beside a foreign one. Each configured root has to vouch.
    let foreign = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem().into_bytes();
    let own = emulated.roots().await;
    for roots in [foreign.clone(), [own.clone(), foreign].concat()] {
        let cloud = with_roots(&emulated, Some(roots)).await;
        let reason = "the attestation is not signed under the configured roots";
        assert_eq!(shown(&cloud, Some(SEVENS)).await, none(false, reason));
    }
    let own = String::from_utf8(own).unwrap();
    let (manufacturer, owner) = own.split_at(own.rfind("-----BEGIN").unwrap());
    for root in [manufacturer, owner] {
        let cloud = with_roots(&emulated, Some(root.as_bytes().to_vec())).await;
        assert_eq!(shown(&cloud, Some(SEVENS)).await.0, EvidenceStrength::CheckValue);
    }
}

#[tokio::test]
async fn the_statement_about_another_key_proves_nothing_about_this_one() {
    let emulated = begin_hsm().await;
    let other = Target { placement: "99999999-9999-8999-8999-999999999999".parse().unwrap(), name: "other".into(), ..target() };
    bring(&emulated, &target()).await;
    bring(&emulated, &other).await;
    // A proxy shows the attestation of another key, which the right HSM signed for the same bytes.
    let (ours, theirs) = (format!("{}/cryptoKeyVersions/1", key(&target().name)), format!("{}/cryptoKeyVersions/1", key(&other.name)));
    let attestation = emulated.kms("GET", &theirs, Value::Null).await.unwrap()["attestation"].clone();
    let router = emulated.router();
    let proxy = Router::new().fallback(async move |request: Request| -> Response {
        if request.uri().path() == format!("/v1/{ours}") {
            return json!({ "name": ours, "state": "ENABLED", "attestation": attestation }).to_string().into_response();
        }
        router.oneshot(request).await.unwrap()
    });
    let mut server = JoinSet::new();
    let mut config = config(&serve(&mut server, proxy).await, machine(&emulated.endpoint));
    config.protection = Protection::Hsm;
    config.attestation_roots = Some(emulated.roots().await);
    let cloud = GoogleKms::connect(config).await.unwrap();
    assert_eq!(shown(&cloud, Some(SEVENS)).await, none(false, "the attestation is of another key"));
}

#[tokio::test]
async fn without_roots_an_attestation_can_only_contradict() {
    let emulated = begin_hsm().await;
    bring(&emulated, &target()).await;
    let cloud = with_roots(&emulated, None).await;
    assert_eq!(shown(&cloud, Some(SEVENS)).await, none(true, "the attestation was not checked: no roots for it are configured"));
    assert_eq!(shown(&cloud, Some(CheckValue([1, 2, 3]))).await, none(false, "the HSM's check value is another one"));
    emulated.control.call("POST", "readings", Some(json!({ "attestation": "cavium_v1" }))).await;
    assert_eq!(shown(&cloud, Some(SEVENS)).await, none(true, "the attestation is of a format that is not known"));
}

#[tokio::test]
async fn material_goes_only_under_a_key_that_an_hsm_answers_for() {
    let emulated =
        begin_with(Protection::Hsm, Readings { spoiled: Spoiled { signature: true, ..Spoiled::default() }, ..Readings::default() }).await;
    let scheme = WrapScheme::RsaOaepSha256;
    let Acted::Created(job) = emulated.cloud.act(&Mutation::Prepare { target: target(), version: Version(1), scheme }).await.unwrap()
    else {
        unreachable!("preparing gives a job")
    };
    emulated.advance(Span::seconds(1)).await;
    let from = WrapFor::Prepared(job);
    let error = emulated.cloud.wrapping_key(&from, scheme).await.unwrap_err();
    assert_eq!(error.class, Class::Broken, "{error}");
    emulated.control.call("POST", "readings", Some(json!({}))).await;
    assert!(emulated.cloud.wrapping_key(&from, scheme).await.is_ok());
    emulated.control.call("POST", "readings", Some(json!({ "spoiled": { "signature": true } }))).await;
    assert!(with_roots(&emulated, None).await.wrapping_key(&from, scheme).await.is_ok(), "without roots nothing is checked");
}
