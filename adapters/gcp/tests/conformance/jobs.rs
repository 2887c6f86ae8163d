//! Import jobs: every method that we use, and how the newest job of a copy is found.

use keyplane_conformance::{Subject as _, wrap};
use keyplane_gcp::GoogleKms;
use keyplane_model::{Class, ObjectId, Span, Version, WrapScheme};
use keyplane_port::{Acted, Cloud, Mutation, Prepared, WrapFor};
use serde_json::json;

use crate::emulated::{Emulated, begin, config, machine};
use crate::placement::{import, marks, target};

/// The `n`th job of the copy.
fn job(n: u32) -> ObjectId {
    ObjectId(format!("kp-33333333333383338333333333333333-v3-{n}"))
}

/// The adapter for the same key ring, for an HSM that wraps under keys of this size.
async fn with_size(emulated: &Emulated, bits: u32) -> GoogleKms {
    let mut config = config(&emulated.endpoint, machine(&emulated.endpoint));
    config.import_key_size = bits;
    GoogleKms::connect(config).await.unwrap()
}

fn preparation(scheme: WrapScheme) -> Mutation {
    Mutation::Prepare { target: target(), version: Version(3), scheme }
}

#[tokio::test]
async fn every_method_brings_a_key_that_can_be_used() {
    for (bits, scheme, method) in [
        (3_072, WrapScheme::RsaOaepSha256, "RSA_OAEP_3072_SHA256"),
        (4_096, WrapScheme::RsaOaepSha256, "RSA_OAEP_4096_SHA256"),
        (3_072, WrapScheme::RsaAesKeyWrapSha256, "RSA_OAEP_3072_SHA256_AES_256"),
        (4_096, WrapScheme::RsaAesKeyWrapSha256, "RSA_OAEP_4096_SHA256_AES_256"),
    ] {
        let emulated = begin().await;
        let cloud = with_size(&emulated, bits).await;
        let object = ObjectId(target().name);
        cloud.act(&Mutation::Create { target: target(), marks: marks() }).await.unwrap();
        assert_eq!(cloud.act(&preparation(scheme)).await, Ok(Acted::Created(job(1))), "{method}");
        assert_eq!(emulated.control.bodies("CreateImportJob").await, [json!({ "importMethod": method, "protectionLevel": "SOFTWARE" })]);
        emulated.advance(Span::seconds(1)).await;
        assert_eq!(cloud.prepared(&target(), Version(3), None).await, Ok(Some(Prepared { wrapping: job(1), ready: true })), "{method}");
        let wrapping_key = cloud.wrapping_key(&WrapFor::Prepared(job(1)), scheme).await.unwrap();
        let wrapped = wrap(&wrapping_key, &[7; 32]);
        // 32 bytes take 40 under AES key wrap with padding.
        let under_aes = if scheme == WrapScheme::RsaOaepSha256 { 0 } else { 40 };
        assert_eq!(wrapped.len(), bits as usize / 8 + under_aes, "{method}: a key of another size");
        cloud.act(&import(&object, wrapping_key, wrapped)).await.unwrap();
        emulated.advance(Span::seconds(1)).await;
        let publication = Mutation::Publish { target: target(), object: object.clone(), material: Some("1".into()) };
        cloud.act(&publication).await.unwrap();
        assert!(emulated.holds(&object, &[7; 32]).await, "{method}");
        let secret = emulated.encrypt(&target().name, b"plain").await.unwrap();
        assert_eq!(emulated.decrypt(&target().name, &secret).await.as_deref(), Some(&b"plain"[..]), "{method}");
    }
}

#[tokio::test]
async fn a_job_of_another_size_than_is_configured_now_is_passed_over() {
    let emulated = begin().await;
    let (small, large) = (with_size(&emulated, 3_072).await, with_size(&emulated, 4_096).await);
    let scheme = WrapScheme::RsaOaepSha256;
    small.act(&preparation(scheme)).await.unwrap();
    emulated.advance(Span::seconds(1)).await;
    assert_eq!(large.prepared(&target(), Version(3), None).await, Ok(None));
    assert_eq!(large.wrapping_key(&WrapFor::Prepared(job(1)), scheme).await.unwrap_err().class, Class::Stale);
    assert_eq!(large.act(&preparation(scheme)).await, Ok(Acted::Created(job(2))));
    emulated.advance(Span::seconds(1)).await;
    assert_eq!(large.prepared(&target(), Version(3), None).await, Ok(Some(Prepared { wrapping: job(2), ready: true })));
    assert_eq!(small.prepared(&target(), Version(3), None).await, Ok(None), "the newest one counts");
}

#[tokio::test]
async fn however_many_jobs_expired_no_call_sends_more_than_it_declares() {
    let emulated = begin().await;
    let cloud = &emulated.cloud;
    let declared = |word: &str| cloud.destination().capabilities.draws[word].iter().filter(|drawn| *drawn == "Read").count();
    let reads = async || {
        let reads = emulated.control.operations().await.iter().filter(|operation| operation.starts_with("Get")).count();
        emulated.control.call("DELETE", "requests", None).await;
        reads
    };
    for made in 0.. {
        reads().await;
        assert_eq!(cloud.prepared(&target(), Version(3), None).await, Ok(None), "{made} jobs expired");
        let (sent, usual) = (reads().await, if made < 2 { made + 1 } else { usize::MAX });
        assert!(sent <= declared("prepared").min(usual), "{made} jobs expired: {sent} reads");
        let acted = cloud.act(&preparation(WrapScheme::RsaOaepSha256)).await;
        let sent = reads().await;
        assert!(sent <= declared("prepare"), "{made} jobs expired: {sent} reads");
        if let Err(error) = acted {
            assert_eq!((error.class, made), (Class::Denied, 17), "{error}");
            break;
        }
        let wrapping = job(u32::try_from(made).unwrap() + 1);
        assert_eq!(acted, Ok(Acted::Created(wrapping.clone())));
        emulated.advance(Span::seconds(1)).await;
        assert_eq!(cloud.prepared(&target(), Version(3), None).await, Ok(Some(Prepared { wrapping, ready: true })));
        let sent = reads().await;
        assert!(sent <= declared("prepared"), "{made} jobs expired, one is new: {sent} reads");
        emulated.advance(Span::days(4)).await;
    }
}
