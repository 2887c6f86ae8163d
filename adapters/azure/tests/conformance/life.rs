//! What only Azure has: versions, deleted names, key exchange keys, and what it cannot do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;
use keyplane_azure::{AzureConfig, AzureVault, Credentials, Secret, SecretSource, VaultKind};
use keyplane_model::{
    Algorithm, Class, CopyCoordinates, CopyRecord, EpochId, EvidenceStrength, IdTree, KeyId, MaterialState, ObjectId, ObjectState,
    Presence, PublicKey, Purpose, Source, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Cause, Cloud as _, Mutation, WrapFor, WrappingKey};
use serde_json::json;

use crate::emulated::{CLIENT, DAYS, Emulated, Place, TENANT, begin, config, host};
use crate::requests::{aes, import, marks, material, prepared, target};

const SCHEME: WrapScheme = WrapScheme::RsaAesKeyWrapSha1;
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn object() -> ObjectId {
    ObjectId("payments-db".into())
}

/// A vault that holds version 1.
async fn imported(kind: VaultKind, target: &Target) -> (Emulated, CopyRecord) {
    let emulated = begin(kind).await;
    let (bytes, public_key) = material(target.algorithm);
    let import = import(&emulated, target, Version(1), &bytes).await;
    emulated.cloud.act(&import).await.unwrap();
    let copy = copy(&emulated, target, public_key).await;
    (emulated, copy)
}

async fn copy(emulated: &Emulated, target: &Target, public_key: Option<PublicKey>) -> CopyRecord {
    let seen = emulated.cloud.look(target).await.unwrap().claimed.unwrap();
    CopyRecord {
        coordinates: CopyCoordinates {
            installation: target.installation,
            key: KeyId(IdTree::new([7; 32]).uuid()),
            version: Version(1),
            placement: target.placement,
            algorithm: target.algorithm,
            source: Source::Generated,
            epoch: EpochId(1),
            profile: "standard".parse().unwrap(),
            approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
        },
        bytes_of: None,
        check_value: None,
        blob: None,
        public_key,
        material: seen.current().unwrap().id.clone(),
        wrapped_under: None,
        imported: None,
    }
}

async fn evidence(emulated: &Emulated, target: &Target, copy: &CopyRecord) -> (EvidenceStrength, bool) {
    let evidence = emulated.cloud.evidence(target, copy, NOW).await.unwrap();
    assert_eq!((evidence.placement, evidence.version, evidence.at), (target.placement, Version(1), NOW));
    assert_eq!(evidence.reason.is_none(), evidence.strength > EvidenceStrength::None, "{evidence:?}");
    (evidence.strength, evidence.fits)
}

#[tokio::test]
async fn two_imports_of_one_version_are_both_recognised_and_the_older_can_be_disabled() {
    let (emulated, first) = imported(VaultKind::ManagedHsm, &aes()).await;
    let again = import(&emulated, &aes(), Version(1), &[7; 32]).await;
    emulated.cloud.act(&again).await.unwrap();

    let seen = emulated.cloud.look(&aes()).await.unwrap().claimed.unwrap();
    let told: Vec<_> = seen.materials.iter().map(|material| (material.version, material.state, material.presence.clone())).collect();
    let ours = Some(Version(1));
    assert_eq!(told, [(ours, MaterialState::Current, Presence::Present), (ours, MaterialState::Former, Presence::Present)]);
    assert_eq!(seen.materials[1].id, first.material, "the newest comes first");

    let disable = Mutation::Disable { object: object(), material: first.material.clone() };
    emulated.cloud.act(&disable).await.unwrap();
    let seen = emulated.cloud.look(&aes()).await.unwrap();
    assert_eq!(seen.claimed, seen.published);
    let seen = seen.claimed.unwrap();
    assert_eq!(
        (seen.state, &seen.materials[0].presence, &seen.materials[1].presence),
        (ObjectState::Usable, &Presence::Present, &Presence::Disabled)
    );

    let current = seen.current().unwrap().id.clone();
    emulated.cloud.act(&Mutation::Disable { object: object(), material: current.clone() }).await.unwrap();
    assert_eq!(emulated.cloud.look(&aes()).await.unwrap().claimed.unwrap().state, ObjectState::Disabled);
    emulated.cloud.act(&Mutation::Enable { object: object(), material: current }).await.unwrap();
    assert_eq!(emulated.cloud.look(&aes()).await.unwrap().claimed.unwrap().state, ObjectState::Usable);
}

#[tokio::test]
async fn the_newest_version_is_current_whatever_the_order_of_the_list() {
    let rsa = target(Algorithm::Rsa2048, Purpose::Encrypt);
    let (emulated, first) = imported(VaultKind::KeyVault, &rsa).await;
    let mut publics = vec![first.public_key.unwrap().digest()];
    for version in 2..=4 {
        let (bytes, public) = material(Algorithm::Rsa2048);
        publics.insert(0, public.unwrap().digest());
        let next = import(&emulated, &rsa, Version(version), &bytes).await;
        emulated.cloud.act(&next).await.unwrap();
    }
    for order in ["by_id", "oldest_first", "newest_first"] {
        for pages in ["full", "short"] {
            emulated.control.call("POST", "readings", Some(json!({ "versions_order": order, "pages": pages }))).await;
            let seen = emulated.cloud.look(&rsa).await.unwrap().claimed.unwrap();
            let current = seen.current().unwrap();
            assert_eq!((current.version, current.public_key), (Some(Version(4)), Some(publics[0])), "{order} {pages}");
            // Versions made within one second have no order that Azure shows.
            let mut told: Vec<_> =
                seen.materials.iter().map(|material| (material.version.unwrap(), material.public_key.unwrap())).collect();
            told.sort_by(|a, b| b.cmp(a));
            let expected: Vec<_> = (1..=4).rev().map(Version).zip(publics.clone()).collect();
            assert_eq!(told, expected, "{order} {pages}");
            assert!(seen.materials[1..].iter().all(|material| material.state == MaterialState::Former));
        }
    }
}

#[tokio::test]
async fn a_deleted_key_keeps_its_name_and_says_until_when() {
    let (emulated, copy) = imported(VaultKind::ManagedHsm, &aes()).await;
    let next = import(&emulated, &aes(), Version(1), &[7; 32]).await;
    for days in [0, 7, DAYS + 1] {
        let other = Mutation::ScheduleDeletion { object: object(), material: None, days };
        assert_eq!(emulated.cloud.act(&other).await.unwrap_err().class, Class::Invalid, "not the vault's own number");
    }
    assert!(!emulated.control.operations().await.contains(&"DeleteKey".to_owned()));
    emulated.cloud.act(&Mutation::ScheduleDeletion { object: object(), material: None, days: DAYS }).await.unwrap();

    let seen = emulated.cloud.look(&aes()).await.unwrap();
    assert_eq!(seen.published, None);
    let deleted = seen.claimed.unwrap();
    assert!(deleted.fits(&aes()) && !deleted.is_empty(), "{deleted:?}");
    let ObjectState::DeletionScheduled(Some(_)) = deleted.state else { unreachable!("{deleted:?}") };
    assert_eq!(emulated.cloud.inspect(&object()).await, Ok(Some(deleted)));
    assert_eq!(evidence(&emulated, &aes(), &copy).await, (EvidenceStrength::None, false));
    let refused = emulated.cloud.act(&next).await.unwrap_err();
    assert_eq!((refused.class, refused.cause), (Class::AlreadyExists, Cause::Plain), "{refused}");

    emulated.control.call("POST", "clock", Some(json!({ "advance_seconds": (DAYS + 1) * 86_400 }))).await;
    assert_eq!(emulated.cloud.inspect(&object()).await, Ok(None));
}

/// Counts the adapter's warnings.
struct Warnings(Arc<AtomicU32>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN && metadata.target().starts_with("keyplane_azure")
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_vault_that_keeps_deleted_keys_for_another_time_is_believed() {
    let (emulated, _) = imported(VaultKind::ManagedHsm, &aes()).await;
    let warnings = Arc::new(AtomicU32::new(0));
    let _heard = tracing::subscriber::set_default(Warnings(Arc::clone(&warnings)));
    let mut config = config(&emulated.place);
    config.settings.deletion_days = DAYS + 1;
    let cloud = AzureVault::connect(config).unwrap();
    for _ in 0..2 {
        let seen = cloud.look(&aes()).await.unwrap();
        assert_eq!(seen, emulated.cloud.look(&aes()).await.unwrap(), "nothing that is looked at depends on it");
    }
    assert_eq!(warnings.load(Ordering::SeqCst), 1, "it is said once, and only of the vault that differs");
    let days = cloud.destination().capabilities.deletion_days;
    let error = cloud.act(&Mutation::ScheduleDeletion { object: object(), material: None, days }).await.unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Invalid, Cause::Plain), "{error}");
    assert_eq!(emulated.cloud.look(&aes()).await.unwrap().claimed.unwrap().state, ObjectState::Usable);
}

#[tokio::test]
async fn a_key_of_somebody_else_is_seen_for_what_it_is() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    emulated.does(Method::POST, "keys/Payments-DB/create", Some(json!({ "kty": "oct-HSM", "key_size": 256 }))).await;
    let seen = emulated.cloud.look(&aes()).await.unwrap();
    assert_eq!(seen.claimed, seen.published);
    let foreign = seen.claimed.unwrap();
    assert_eq!((foreign.object.0.as_str(), foreign.marks.as_ref()), ("Payments-DB", None), "names differ not by case");
    assert!(!foreign.fits(&aes()));
    assert_eq!(foreign.materials.len(), 1);
    assert_eq!(emulated.cloud.sweep(None).await.unwrap().objects, []);
}

#[tokio::test]
async fn a_version_that_somebody_else_put_on_top_takes_the_key_from_us() {
    let (emulated, copy) = imported(VaultKind::ManagedHsm, &aes()).await;
    assert_eq!(evidence(&emulated, &aes(), &copy).await, (EvidenceStrength::None, true));
    emulated.does(Method::POST, "keys/payments-db/create", Some(json!({ "kty": "oct-HSM", "key_size": 256 }))).await;
    assert!(!emulated.cloud.look(&aes()).await.unwrap().claimed.unwrap().fits(&aes()));
    assert_eq!(evidence(&emulated, &aes(), &copy).await, (EvidenceStrength::None, false));
}

#[tokio::test]
async fn what_another_installation_made_is_listed_as_theirs() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    let Mutation::Import { target, marks, version, wrapping_key, wrapped, .. } = import(&emulated, &aes(), Version(1), &[7; 32]).await
    else {
        unreachable!("an import is an import")
    };
    let mut theirs = marks;
    theirs.installation = "99999999-9999-8999-8999-999999999999".parse().unwrap();
    let import =
        Mutation::Import { target, object: None, marks: theirs.clone(), again: None, version, public_key: None, wrapping_key, wrapped };
    emulated.cloud.act(&import).await.unwrap();
    let page = emulated.cloud.sweep(None).await.unwrap();
    assert_eq!(page.objects.iter().map(|object| object.marks.as_ref()).collect::<Vec<_>>(), [Some(&theirs)]);
    assert!(!page.objects[0].fits(&aes()));
    assert_eq!(page.objects[0].current().unwrap().version, None, "no version of ours");
}

#[tokio::test]
async fn evidence_of_a_key_pair_is_its_public_half() {
    for (algorithm, purpose) in [(Algorithm::Rsa2048, Purpose::Encrypt), (Algorithm::EcP256, Purpose::Sign)] {
        let pair = target(algorithm, purpose);
        let (emulated, copy) = imported(VaultKind::KeyVault, &pair).await;
        assert_eq!(evidence(&emulated, &pair, &copy).await, (EvidenceStrength::Equality, true));
        let mut other = copy.clone();
        other.public_key = material(algorithm).1;
        assert_eq!(evidence(&emulated, &pair, &other).await, (EvidenceStrength::None, false), "another pair");
        other = copy.clone();
        other.material = Some("0".repeat(32));
        assert_eq!(evidence(&emulated, &pair, &other).await, (EvidenceStrength::None, false), "another version");
        other.material = None;
        assert_eq!(evidence(&emulated, &pair, &other).await, (EvidenceStrength::None, false), "never imported");

        let version = copy.material.clone().unwrap();
        let path = format!("keys/payments-db/{version}");
        emulated.does(Method::PATCH, &path, Some(json!({ "attributes": { "enabled": false } }))).await;
        assert_eq!(evidence(&emulated, &pair, &copy).await, (EvidenceStrength::Equality, true), "unusable is not gone");
        let one = if purpose == Purpose::Sign { "sign" } else { "decrypt" };
        emulated.does(Method::PATCH, &path, Some(json!({ "key_ops": [one] }))).await;
        let seen = emulated.cloud.look(&pair).await.unwrap().claimed.unwrap();
        assert!(seen.marks.is_some() && !seen.policy_fits);
        assert_eq!(evidence(&emulated, &pair, &copy).await, (EvidenceStrength::None, false), "other operations");
    }
}

#[tokio::test]
async fn a_key_without_its_tags_is_no_longer_ours() {
    let (emulated, copy) = imported(VaultKind::ManagedHsm, &aes()).await;
    let path = format!("keys/payments-db/{}", copy.material.clone().unwrap());
    emulated.does(Method::PATCH, &path, Some(json!({ "tags": { "keyplane-placement": "33333333-3333-8333-8333-333333333333" } }))).await;
    let seen = emulated.cloud.look(&aes()).await.unwrap().claimed.unwrap();
    assert_eq!((seen.marks.as_ref(), seen.current().unwrap().version), (None, None));
    assert_eq!(evidence(&emulated, &aes(), &copy).await, (EvidenceStrength::None, false));
}

#[tokio::test]
async fn nothing_is_wrapped_under_a_key_that_can_do_more_or_is_not_ours() {
    let emulated = begin(VaultKind::KeyVault).await;
    let rsa = target(Algorithm::Rsa2048, Purpose::Encrypt);
    let kid = prepared(&emulated, &rsa, Version(1)).await;
    let asked = async |kid: &str| {
        let kid = ObjectId(kid.to_owned());
        let prepared = emulated.cloud.prepared(&rsa, Version(1), Some(&kid)).await;
        let wrapping_key = emulated.cloud.wrapping_key(&WrapFor::Prepared(kid), SCHEME).await;
        (prepared.map(|prepared| prepared.is_some()).map_err(|error| error.class), wrapping_key.map(|_| ()).map_err(|e| (e.class, e.cause)))
    };
    assert_eq!(asked(&kid.0).await, (Ok(true), Ok(())));

    let gone = Err((Class::Stale, Cause::ImportTokenExpired));
    for body in [
        json!({ "kty": "RSA-HSM", "key_size": 4096, "key_ops": ["decrypt", "unwrapKey"] }),
        json!({ "kty": "RSA", "key_size": 4096, "key_ops": ["encrypt", "decrypt"] }),
        json!({ "kty": "RSA-HSM", "key_size": 4096, "key_ops": ["import"], "attributes": { "enabled": false } }),
        json!({ "kty": "RSA-HSM", "key_size": 2048, "key_ops": ["import"] }),
        json!({ "kty": "RSA-HSM", "key_size": 3072, "key_ops": ["import"] }),
    ] {
        let made = emulated.does(Method::POST, "keys/keyplane-kek-00000000000000000000000000000000-1/create", Some(body.clone())).await;
        assert_eq!(asked(made["key"]["kid"].as_str().unwrap()).await, (Ok(false), gone), "{body}");
    }
    let unknown = format!("{}0", &kid.0[..kid.0.len() - 1]);
    assert_eq!(asked(&unknown).await, (Ok(false), Err((Class::NotFound, Cause::Plain))));
    let invalid = (Err(Class::Invalid), Err((Class::Invalid, Cause::Plain)));
    let before = emulated.control.operations().await.len();
    for other in [
        "",
        "nonsense",
        "https://evil.vault.azure.net/keys/keyplane-kek-1/0f",
        &format!("https://{}/keys/payments-db/0f", host(VaultKind::KeyVault)),
        &format!("https://{}/keys/keyplane-kek-1", host(VaultKind::KeyVault)),
        &format!("https://{}/keys/keyplane-kek-1/0f/../../..", host(VaultKind::KeyVault)),
    ] {
        assert_eq!(asked(other).await, invalid, "{other:?}");
        let wrapping_key = WrappingKey { spki: vec![1], scheme: SCHEME, token: other.as_bytes().to_vec(), valid_until: None };
        let import = Mutation::Import {
            target: rsa.clone(),
            object: None,
            marks: marks(),
            again: None,
            version: Version(1),
            public_key: None,
            wrapping_key,
            wrapped: vec![1],
        };
        assert_eq!(emulated.cloud.act(&import).await.unwrap_err().class, Class::Invalid, "{other:?}");
    }
    assert_eq!(emulated.control.operations().await.len(), before, "nothing is sent for an id that cannot be ours");
}

#[tokio::test]
async fn only_what_the_hsm_attests_under_the_configured_roots_is_wrapped_under() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    let root = emulated.attestation_root().await;
    let attested =
        |place: &Place, roots: &[u8]| AzureVault::connect(AzureConfig { attestation_roots: Some(roots.to_vec()), ..config(place) });
    let cloud = attested(&emulated.place, root.as_bytes()).unwrap();
    assert_ne!(cloud.destination().fingerprint, emulated.cloud.destination().fingerprint, "roots are approved");
    let kid = prepared(&emulated, &aes(), Version(1)).await;
    cloud.wrapping_key(&WrapFor::Prepared(kid.clone()), SCHEME).await.unwrap();
    assert!(cloud.prepared(&aes(), Version(1), Some(&kid)).await.unwrap().is_some());

    let stranger = keyplane_emulator_wire::azure::Identity::new(&["localhost"]).unwrap().authority;
    let error =
        attested(&emulated.place, stranger.as_bytes()).unwrap().wrapping_key(&WrapFor::Prepared(kid.clone()), SCHEME).await.unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Broken, "GetKeyAttestation"), "{error}");
    for roots in [&b""[..], b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(attested(&emulated.place, roots).is_err());
    }
    let vault = begin(VaultKind::KeyVault).await;
    assert!(attested(&vault.place, root.as_bytes()).is_err(), "a key vault attests nothing");
}

#[tokio::test]
async fn material_that_is_wrapped_wrongly_is_refused_and_changes_nothing() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    let mut garbled = import(&emulated, &aes(), Version(1), &[7; 32]).await;
    let Mutation::Import { wrapped, .. } = &mut garbled else { unreachable!("an import is an import") };
    wrapped[0] ^= 1;
    let error = emulated.cloud.act(&garbled).await.unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Invalid, Cause::Plain), "{error}");
    assert_eq!(emulated.cloud.look(&aes()).await.unwrap().claimed, None);
}

#[tokio::test]
async fn what_azure_does_not_do_is_refused_before_anything_is_sent() {
    let (hsm, vault) = (begin(VaultKind::ManagedHsm).await, begin(VaultKind::KeyVault).await);
    let wrapping_key = |scheme| WrappingKey { spki: vec![1], scheme, token: b"x".to_vec(), valid_until: None };
    let import = |target: Target, scheme, again: Option<String>| Mutation::Import {
        target,
        object: None,
        marks: marks(),
        again,
        version: Version(1),
        public_key: None,
        wrapping_key: wrapping_key(scheme),
        wrapped: vec![1],
    };
    let prepare = |target: Target, scheme| Mutation::Prepare { target, version: Version(1), scheme };
    let hmac = target(Algorithm::HmacSha256, Purpose::Mac);
    let (create, claim) = (Mutation::Create { target: aes(), marks: marks() }, Mutation::Claim { target: aes(), object: object() });
    let publish = Mutation::Publish { target: aes(), object: object(), material: None };
    for (emulated, mutation) in [
        (&hsm, create),
        (&hsm, claim),
        (&hsm, publish),
        (&hsm, Mutation::Disable { object: object(), material: None }),
        (&hsm, Mutation::Enable { object: object(), material: None }),
        (&hsm, import(aes(), SCHEME, Some("0f".into()))),
        (&hsm, import(aes(), WrapScheme::RsaOaepSha256, None)),
        (&hsm, import(hmac.clone(), SCHEME, None)),
        (&hsm, prepare(hmac, SCHEME)),
        (&hsm, prepare(aes(), WrapScheme::RsaAesKeyWrapSha256)),
        (&hsm, prepare(target(Algorithm::EcP256, Purpose::Encrypt), SCHEME)),
        (&vault, import(aes(), SCHEME, None)),
        (&vault, prepare(aes(), SCHEME)),
    ] {
        let error = emulated.cloud.act(&mutation).await.unwrap_err();
        assert_eq!((error.class, error.cause), (Class::Unsupported, Cause::Plain), "{mutation:?}");
    }
    let error = hsm.cloud.wrapping_key(&WrapFor::Object(object()), SCHEME).await.unwrap_err();
    assert_eq!(error.class, Class::Unsupported);
    let invalid = [
        Mutation::Disable { object: object(), material: Some("0f/../x".into()) },
        Mutation::Disable { object: ObjectId("a/b".into()), material: Some("0f".into()) },
        Mutation::ScheduleDeletion { object: ObjectId("keyplane-kek-1".into()), material: None, days: DAYS },
        Mutation::ScheduleDeletion { object: ObjectId(String::new()), material: None, days: DAYS },
    ];
    for mutation in invalid {
        assert_eq!(hsm.cloud.act(&mutation).await.unwrap_err().class, Class::Invalid, "{mutation:?}");
    }
    let mut named = aes();
    for name in ["", "a b", "a_b", "ä", "../x", "keyplane-kek-1", &"a".repeat(128)] {
        named.name = name.to_owned();
        assert_eq!(hsm.cloud.look(&named).await.unwrap_err().class, Class::Invalid, "{name:?}");
        assert_eq!(hsm.cloud.act(&import(named.clone(), SCHEME, None)).await.unwrap_err().class, Class::Invalid, "{name:?}");
    }
    for emulated in [&hsm, &vault] {
        assert_eq!(emulated.control.operations().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn every_source_of_credentials_opens_the_vault() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    let opens = async |credentials| {
        let mut config = config(&emulated.place);
        config.credentials = credentials;
        AzureVault::connect(config).unwrap().inspect(&object()).await
    };
    let address = Some(emulated.place.metadata.to_string());
    for client in [None, Some(CLIENT.to_owned())] {
        assert_eq!(opens(Credentials::ManagedIdentity { client, address: address.clone() }).await, Ok(None));
    }
    let other = Credentials::ManagedIdentity { client: Some("somebody-else".into()), address };
    let error = opens(other).await.unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");

    let token = crate::emulated::federated_token();
    assert_eq!(opens(workload(token.to_path_buf())).await, Ok(None));
    std::fs::write(&token, "nonsense").unwrap();
    let error = opens(workload(token.to_path_buf())).await.unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
    let mut missing = config(&emulated.place);
    missing.credentials = workload("/no/such/file".into());
    assert!(AzureVault::connect(missing).is_err());
}

/// A workload whose token is in this file.
fn workload(token_file: std::path::PathBuf) -> Credentials {
    let path = token_file.clone();
    let token = SecretSource::new(move || Ok(Secret::new(std::fs::read_to_string(&path)?.into())));
    Credentials::WorkloadIdentity { tenant: TENANT.into(), client: CLIENT.into(), token_file, token }
}

/// Kubernetes replaces the token long before it ends.
#[tokio::test]
async fn a_federated_token_is_read_when_it_is_needed_and_not_kept() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    let token = crate::emulated::federated_token();
    let good = std::fs::read_to_string(&token).unwrap();
    std::fs::write(&token, "nonsense").unwrap();
    let mut config = config(&emulated.place);
    config.credentials = workload(token.to_path_buf());
    let cloud = AzureVault::connect(config).unwrap();
    std::fs::remove_file(&token).unwrap();
    let error = cloud.inspect(&object()).await.unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
    std::fs::write(&token, good).unwrap();
    assert_eq!(cloud.inspect(&object()).await, Ok(None));
}

#[tokio::test]
async fn a_read_that_lags_shows_the_past_or_says_that_it_cannot_tell() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    emulated.control.call("POST", "consistency", Some(json!({ "seconds": 3_600 }))).await;
    let kid = prepared(&emulated, &aes(), Version(1)).await;
    let wrapping_key = loop {
        match emulated.cloud.wrapping_key(&WrapFor::Prepared(kid.clone()), SCHEME).await {
            Ok(key) => break key,
            Err(error) => assert_eq!(error.class, Class::NotFound, "{error}"),
        }
    };
    for version in [1, 2] {
        let (target, marks, wrapping_key) = (aes(), marks(), wrapping_key.clone());
        let wrapped = keyplane_conformance::wrap(&wrapping_key, &[7; 32]);
        let version = Version(version);
        let import = Mutation::Import { target, object: None, marks, again: None, version, public_key: None, wrapping_key, wrapped };
        emulated.cloud.act(&import).await.unwrap();
        // Not within one second: times would not tell which of the two is newer.
        emulated.control.call("POST", "clock", Some(json!({ "advance_seconds": 2 }))).await;
    }
    let mut versions = std::collections::BTreeSet::new();
    for _ in 0..80 {
        match emulated.cloud.look(&aes()).await {
            Ok(seen) => {
                let shown = seen.claimed.map(|found| {
                    assert!(found.fits(&aes()));
                    (found.materials.len(), found.current().unwrap().version)
                });
                assert!(matches!(shown, None | Some((1, Some(Version(1))) | (2, Some(Version(2))))), "{shown:?}");
                versions.insert(shown);
            }
            Err(error) => assert_eq!(error.class, Class::Transient, "{error}"),
        }
    }
    assert!(versions.len() > 1, "no read was late: the emulator does not lag");
    emulated.control.call("POST", "clock", Some(json!({ "advance_seconds": 3_601 }))).await;
    assert_eq!(emulated.cloud.look(&aes()).await.unwrap().claimed.unwrap().current().unwrap().version, Some(Version(2)));
}
