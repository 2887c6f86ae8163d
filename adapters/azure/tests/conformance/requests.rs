//! The requests that are sent: exactly those of the contract, and no more than declared.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use keyplane_azure::VaultKind;
use keyplane_conformance::wrap;
use keyplane_model::{
    Algorithm, Class, CopyCoordinates, CopyRecord, Digest, EpochId, IdTree, KeyId, Marks, MaterialState, ObjectId, ObjectSeen, ObjectState,
    Presence, PublicKey, Purpose, Source, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud as _, CloudError, Mutation, Prepared, WrapFor};
use serde_json::{Value, json};

use crate::emulated::{Emulated, begin, host};

pub(crate) fn marks() -> Marks {
    Marks {
        installation: "11111111-1111-8111-8111-111111111111".parse().unwrap(),
        placement: "33333333-3333-8333-8333-333333333333".parse().unwrap(),
        incarnation: 2,
        attempt: "44444444-4444-8444-8444-444444444444".parse().unwrap(),
    }
}

pub(crate) fn target(algorithm: Algorithm, purpose: Purpose) -> Target {
    Target {
        installation: marks().installation,
        placement: marks().placement,
        incarnation: marks().incarnation,
        name: "payments-db".into(),
        algorithm,
        purpose,
        key: "payments-db".parse().unwrap(),
    }
}

pub(crate) fn aes() -> Target {
    target(Algorithm::Aes256, Purpose::Encrypt)
}

/// Material of an algorithm, as it is wrapped, and its public key.
pub(crate) fn material(algorithm: Algorithm) -> (Vec<u8>, Option<PublicKey>) {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    let rsa = |size| {
        let private = keyplane_conformance::rsa_pair(size);
        let public: PublicKeyX509Der<'_> = aws_lc_rs::rsa::KeyPair::from_pkcs8(&private).unwrap().public_key().as_der().unwrap();
        (private, Some(PublicKey(public.as_ref().to_vec())))
    };
    let ec = |kind| {
        let pair = EcdsaKeyPair::generate(kind).unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        (private.as_ref().to_vec(), Some(PublicKey(public.as_ref().to_vec())))
    };
    match algorithm {
        Algorithm::Aes256 | Algorithm::HmacSha256 => (vec![7; 32], None),
        Algorithm::Rsa2048 => rsa(KeySize::Rsa2048),
        Algorithm::Rsa3072 => rsa(KeySize::Rsa3072),
        Algorithm::Rsa4096 => rsa(KeySize::Rsa4096),
        Algorithm::EcP256 => ec(&ECDSA_P256_SHA256_ASN1_SIGNING),
        Algorithm::EcP384 => ec(&ECDSA_P384_SHA384_ASN1_SIGNING),
    }
}

const SCHEME: WrapScheme = WrapScheme::RsaAesKeyWrapSha1;

/// Has a key exchange key made.
pub(crate) async fn prepared(emulated: &Emulated, target: &Target, version: Version) -> ObjectId {
    let prepare = Mutation::Prepare { target: target.clone(), version, scheme: SCHEME };
    let Acted::Created(kid) = emulated.cloud.act(&prepare).await.unwrap() else { unreachable!("preparing makes a key") };
    kid
}

/// The import of material, wrapped under a new key exchange key.
pub(crate) async fn import(emulated: &Emulated, target: &Target, version: Version, material: &[u8]) -> Mutation {
    let kid = prepared(emulated, target, version).await;
    let wrapping_key = emulated.cloud.wrapping_key(&WrapFor::Prepared(kid), SCHEME).await.unwrap();
    let wrapped = wrap(&wrapping_key, material);
    let (target, marks) = (target.clone(), marks());
    Mutation::Import { target, object: None, marks, again: None, version, public_key: None, wrapping_key, wrapped }
}

/// Imports a key of this kind, from preparation to evidence.
async fn goes_all_the_way(kind: VaultKind, algorithm: Algorithm, purpose: Purpose) {
    let emulated = begin(kind).await;
    let cloud = &emulated.cloud;
    let target = target(algorithm, purpose);
    let nothing = cloud.look(&target).await.unwrap();
    assert_eq!((nothing.claimed, nothing.published), (None, None));
    assert_eq!(cloud.prepared(&target, Version(1), None).await.unwrap(), None);

    let kid = prepared(&emulated, &target, Version(1)).await;
    let found = cloud.prepared(&target, Version(1), Some(&kid)).await.unwrap();
    assert_eq!(found, Some(Prepared { wrapping: kid.clone(), ready: true }));
    let wrapping_key = cloud.wrapping_key(&WrapFor::Prepared(kid.clone()), SCHEME).await.unwrap();
    assert_eq!((wrapping_key.token.as_slice(), wrapping_key.scheme), (kid.0.as_bytes(), SCHEME));
    let (bytes, public) = material(algorithm);
    let wrapped = wrap(&wrapping_key, &bytes);
    let import = Mutation::Import {
        target: target.clone(),
        object: None,
        marks: marks(),
        again: None,
        version: Version(1),
        public_key: public.clone(),
        wrapping_key,
        wrapped,
    };
    assert_eq!(cloud.act(&import).await, Ok(Acted::Done));

    let seen = cloud.look(&target).await.unwrap();
    assert_eq!(seen.claimed, seen.published);
    let object = seen.claimed.unwrap();
    assert!(object.fits(&target), "{object:?}");
    assert_eq!((object.object.0.as_str(), object.state), ("payments-db", ObjectState::Usable));
    let current = object.current().unwrap();
    assert_eq!((current.version, current.state, &current.presence), (Some(Version(1)), MaterialState::Current, &Presence::Present));
    assert_eq!(current.public_key, public.map(|public| public.digest()));
    let page = cloud.sweep(None).await.unwrap();
    assert_eq!((page.objects, page.broken, page.next), (vec![object], 0, None), "the key to wrap under is no object of ours");

    let dump = emulated.control.call("GET", "dump", None).await;
    let keys = dump["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["id"] == "payments-db").unwrap();
    assert_eq!(format!("sha256:{}", key["materials"][0]["sha256"].as_str().unwrap()), Digest::of(&bytes).to_string());
}

#[tokio::test]
async fn an_aes_key_goes_into_a_managed_hsm() {
    goes_all_the_way(VaultKind::ManagedHsm, Algorithm::Aes256, Purpose::Encrypt).await;
}

#[tokio::test]
async fn rsa_and_ec_keys_go_into_a_key_vault_and_a_managed_hsm() {
    for (algorithm, purpose) in [
        (Algorithm::Rsa2048, Purpose::Encrypt),
        (Algorithm::Rsa3072, Purpose::Sign),
        (Algorithm::Rsa4096, Purpose::Encrypt),
        (Algorithm::EcP256, Purpose::Sign),
        (Algorithm::EcP384, Purpose::Sign),
    ] {
        goes_all_the_way(VaultKind::KeyVault, algorithm, purpose).await;
    }
    goes_all_the_way(VaultKind::ManagedHsm, Algorithm::Rsa3072, Purpose::Encrypt).await;
    goes_all_the_way(VaultKind::ManagedHsm, Algorithm::EcP256, Purpose::Sign).await;
}

#[tokio::test]
async fn the_requests_are_those_of_the_contract() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let emulated = begin(VaultKind::ManagedHsm).await;
    let import = import(&emulated, &aes(), Version(3), &[7; 32]).await;
    emulated.cloud.act(&import).await.unwrap();
    let Mutation::Import { wrapping_key, wrapped, .. } = import else { unreachable!("an import is an import") };
    let kid = String::from_utf8(wrapping_key.token).unwrap();
    let kek = format!("https://{}/keys/keyplane-kek-33333333333383338333333333333333-3/", host(VaultKind::ManagedHsm));
    assert!(kid.starts_with(&kek), "{kid}");

    let tags = json!({
        "keyplane-installation": "11111111-1111-8111-8111-111111111111",
        "keyplane-placement": "33333333-3333-8333-8333-333333333333",
        "keyplane-key": "payments-db",
        "keyplane-version": "3",
    });
    let create = json!({ "kty": "RSA-HSM", "key_size": 4096, "key_ops": ["import"], "attributes": { "enabled": true }, "tags": tags });
    assert_eq!(emulated.control.bodies("CreateKey").await, [create]);
    let mut sent = emulated.control.bodies("ImportKey").await.remove(0);
    let blob = URL_SAFE_NO_PAD.decode(sent["key"]["key_hsm"].take().as_str().unwrap()).unwrap();
    let blob: Value = serde_json::from_slice(&blob).unwrap();
    assert_eq!(blob["header"]["kid"], kid);
    assert_eq!(URL_SAFE_NO_PAD.decode(blob["ciphertext"].as_str().unwrap()).unwrap(), wrapped);
    let mut tags = tags;
    tags["keyplane-incarnation"] = "2".into();
    tags["keyplane-attempt"] = "44444444-4444-8444-8444-444444444444".into();
    assert_eq!(
        sent,
        json!({
            "Hsm": true,
            "key": { "kty": "oct-HSM", "key_ops": ["encrypt", "decrypt", "wrapKey", "unwrapKey"], "key_hsm": null },
            "attributes": { "enabled": true },
            "tags": tags,
        })
    );
    let (mutations, _) = (emulated.control.call("GET", "state", None).await["mutations"].as_u64().unwrap(), ());
    assert_eq!(mutations, 2, "one for each act, however the client got its token");
}

/// Makes versions of a key that are marked as imports of ours.
async fn fill(emulated: &Emulated, name: &str, versions: std::ops::RangeInclusive<u32>) {
    for version in versions {
        let tags = json!({
            "keyplane-installation": marks().installation,
            "keyplane-placement": marks().placement,
            "keyplane-incarnation": marks().incarnation.to_string(),
            "keyplane-attempt": marks().attempt,
            "keyplane-version": version.to_string(),
        });
        let making = json!({ "kty": "EC-HSM", "crv": "P-256", "key_ops": ["sign", "verify"], "tags": tags });
        emulated.does(Method::POST, &format!("keys/{name}/create"), Some(making)).await;
    }
}

/// The largest draw of the requests since the journal was emptied. An operation on a key of a key vault counts as eight of the lightest.
async fn drawn(emulated: &Emulated) -> BTreeMap<&'static str, usize> {
    let kind = emulated.place.kind;
    let mut drawn = BTreeMap::new();
    for operation in emulated.control.operations().await {
        let (quota, times) = match (kind, operation.as_str()) {
            (_, "CreateKey" | "ImportKey") => ("CreateHsm", 1),
            (VaultKind::ManagedHsm, "DeleteKey") => ("Delete", 1),
            // The list of all keys is about no single key.
            (_, "GetKeys") | (VaultKind::ManagedHsm, _) => ("Operations", 1),
            (VaultKind::KeyVault, _) => ("Operations", 8),
        };
        *drawn.entry(quota).or_default() += times;
    }
    drawn
}

/// Fails if a call drew more than it declares, or nothing at all. Empties the journal.
async fn declared(emulated: &Emulated, word: &str, about: &str) {
    let draws = &emulated.cloud.destination().capabilities.draws[word];
    let drawn = drawn(emulated).await;
    assert!(!drawn.is_empty(), "{word} {about}");
    for (quota, times) in drawn {
        let allowed = draws.iter().filter(|name| *name == quota).count();
        assert!(times <= allowed, "{word} {about} at a {} draws {times} of `{quota}` and declares {allowed}", emulated.place.kind);
    }
    emulated.control.call("DELETE", "requests", None).await;
}

#[tokio::test]
async fn no_read_draws_more_than_it_declares_however_many_versions_there_are() {
    for kind in [VaultKind::KeyVault, VaultKind::ManagedHsm] {
        let emulated = begin(kind).await;
        let cloud = &emulated.cloud;
        let counts = [1, 2, 5, 30];
        for count in counts {
            fill(&emulated, &format!("key-{count}"), 1..=count).await;
        }
        for number in 0..12 {
            fill(&emulated, &format!("other-{number}"), 1..=2).await;
        }
        for (pages, page) in [("full", 25_usize), ("short", 24)] {
            emulated.control.call("POST", "readings", Some(json!({ "pages": pages }))).await;
            emulated.control.call("DELETE", "requests", None).await;
            for count in counts {
                let about = format!("{count} versions in {pages} pages");
                let target = Target { name: format!("key-{count}"), ..target(Algorithm::EcP256, Purpose::Sign) };
                let seen = cloud.look(&target).await.unwrap().claimed.unwrap();
                declared(&emulated, "look", &about).await;
                // Each version is shown; the requests that are left read the public keys of the newest.
                let materials = &seen.materials;
                let listing = usize::from(pages == "short") + materials.len().div_ceil(page);
                let shown = materials.iter().take_while(|material| material.public_key.is_some()).count();
                assert_eq!((materials.len(), shown), (count as usize, materials.len().min(7 - listing)), "{about}");
                assert!(materials[shown..].iter().all(|material| material.public_key.is_none() && material.version.is_some()), "{about}");
                assert_eq!(cloud.inspect(&ObjectId(target.name.clone())).await, Ok(Some(seen.clone())));
                declared(&emulated, "inspect", &about).await;
                let copy = copy_of(&seen, &target);
                assert!(cloud.evidence(&target, &copy, Timestamp(0)).await.unwrap().reason.is_some());
                declared(&emulated, "evidence", &about).await;
            }
            let (mut names, mut cursor) = (BTreeSet::new(), None);
            loop {
                let page = cloud.sweep(cursor.as_ref()).await.unwrap();
                declared(&emulated, "sweep", pages).await;
                assert_eq!(page.broken, 0);
                assert!(page.objects.iter().all(|object| names.insert(object.object.clone())), "a key was found twice");
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(names.len(), counts.len() + 12, "{pages}");
        }
    }
}

/// A copy whose import was never confirmed.
fn copy_of(seen: &ObjectSeen, target: &Target) -> CopyRecord {
    let coordinates = CopyCoordinates {
        installation: target.installation,
        key: KeyId(IdTree::new([7; 32]).uuid()),
        version: seen.current().unwrap().version.unwrap(),
        placement: target.placement,
        algorithm: target.algorithm,
        source: Source::Generated,
        epoch: EpochId(1),
        profile: "standard".parse().unwrap(),
        approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
    };
    let (check_value, blob, public_key, material) = (None, None, None, None);
    CopyRecord { coordinates, bytes_of: None, check_value, blob, public_key, material, wrapped_under: None, imported: None }
}

#[tokio::test]
async fn nothing_else_draws_more_than_it_declares() {
    for kind in [VaultKind::KeyVault, VaultKind::ManagedHsm] {
        let emulated = begin(kind).await;
        let cloud = &emulated.cloud;
        let target = target(Algorithm::EcP256, Purpose::Sign);
        let object = ObjectId(target.name.clone());
        let nothing = cloud.look(&target).await.unwrap();
        assert_eq!((nothing.claimed, nothing.published), (None, None));
        declared(&emulated, "look", "at no key").await;
        let kid = prepared(&emulated, &target, Version(1)).await;
        declared(&emulated, "prepare", "").await;
        assert!(cloud.prepared(&target, Version(1), Some(&kid)).await.unwrap().is_some());
        declared(&emulated, "prepared", "").await;
        cloud.wrapping_key(&WrapFor::Prepared(kid.clone()), SCHEME).await.unwrap();
        declared(&emulated, "wrapping-key", "").await;
        let (bytes, _) = material(Algorithm::EcP256);
        let import = import(&emulated, &target, Version(1), &bytes).await;
        emulated.control.call("DELETE", "requests", None).await;
        cloud.act(&import).await.unwrap();
        declared(&emulated, "import", "").await;
        let material = cloud.inspect(&object).await.unwrap().unwrap().current().unwrap().id.clone();
        emulated.control.call("DELETE", "requests", None).await;
        let days = cloud.destination().capabilities.deletion_days;
        for mutation in [
            Mutation::Disable { object: object.clone(), material: material.clone() },
            Mutation::Enable { object: object.clone(), material },
            Mutation::ScheduleDeletion { object: object.clone(), material: None, days },
            Mutation::Restore { object: object.clone(), material: None },
            Mutation::ScheduleDeletion { object: object.clone(), material: None, days },
            Mutation::Purge { object },
        ] {
            assert_eq!(cloud.act(&mutation).await, Ok(Acted::Done));
            declared(&emulated, mutation.word(), "").await;
        }
    }
}

#[tokio::test]
async fn a_key_as_full_as_a_managed_hsm_lets_it_be_is_read_whole() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    fill(&emulated, "payments-db", 1..=100).await;
    for pages in ["full", "short"] {
        emulated.control.call("POST", "readings", Some(json!({ "pages": pages }))).await;
        let seen = emulated.cloud.inspect(&ObjectId("payments-db".into())).await.unwrap().unwrap();
        let versions: BTreeSet<_> = seen.materials.iter().map(|material| material.version).collect();
        assert_eq!((versions.len(), seen.current().unwrap().version), (100, Some(Version(100))), "{pages}");
    }
}

#[tokio::test]
async fn a_key_with_more_versions_than_one_look_lists_is_an_error_and_never_a_part_of_it() {
    let emulated = begin(VaultKind::KeyVault).await;
    let cloud = &emulated.cloud;
    let target = target(Algorithm::EcP256, Purpose::Sign);
    let object = ObjectId(target.name.clone());
    fill(&emulated, "another", 1..=1).await;
    fill(&emulated, &target.name, 1..=150).await;
    let full = cloud.inspect(&object).await.unwrap().unwrap();
    assert_eq!(full.materials.len(), 150);
    fill(&emulated, &target.name, 151..=151).await;
    emulated.control.call("DELETE", "requests", None).await;

    let short = |error: CloudError| (error.class, error.cause, error.operation);
    let too_many = (Class::Unsupported, Cause::Plain, "GetKeyVersions");
    assert_eq!(cloud.look(&target).await.map_err(short), Err(too_many));
    declared(&emulated, "look", "at too many versions").await;
    assert_eq!(cloud.inspect(&object).await.map_err(short), Err(too_many));
    assert_eq!(cloud.evidence(&target, &copy_of(&full, &target), Timestamp(0)).await.map_err(short), Err(too_many));
    emulated.control.call("DELETE", "requests", None).await;
    let page = cloud.sweep(None).await.unwrap();
    let names: Vec<_> = page.objects.iter().map(|object| object.object.0.as_str()).collect();
    assert_eq!((names, page.broken, page.next), (vec!["another"], 1, None), "the sweep goes on, and is not complete");
    declared(&emulated, "sweep", "at too many versions").await;
}
