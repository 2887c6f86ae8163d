//! MAC keys and key pairs: how they are generated, kept and delivered, and what is refused.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use keyplane_model::{Algorithm, CheckValue, CopyCoordinates, PlacementId, PublicKey, SealedBlob, Source, Version, WrapScheme};
use keyplane_port::{Custodian as _, CustodianError, MintRequest, Minted};
use keyplane_verifier::{Facts, Violation, judge};

use super::fixture::*;
use crate::error::{NoRoute, Unsupported};
use crate::kind::Kind;
use crate::pair::{Curve, Pair};
use crate::pkcs11::{TemplateKind, kwp};
use crate::root::Root;
use crate::software::{SoftwareKey, check_private_key};
use crate::template::{self, Life, Use, named};
use crate::token::Token;
use crate::vault::Vault;
use crate::{HsmError, pkcs11, proof, seal};

/// Without RSA-4096, which takes seconds to generate. Enrolment covers it.
const PAIRS: [Algorithm; 4] = [Algorithm::Rsa2048, Algorithm::Rsa3072, Algorithm::EcP256, Algorithm::EcP384];

fn pair(algorithm: Algorithm) -> Pair {
    let Kind::Pair(pair) = Kind::of(algorithm) else { panic!("`{algorithm}` is no key pair") };
    pair
}

/// A vault with a root epoch, on this thread.
pub(super) fn vault(config: &crate::HsmConfig) -> Vault {
    let vault = Vault::open(config).unwrap();
    let (routes, _) = vault.prove(proof::QUICK).unwrap();
    vault.enrol(&routes).unwrap();
    vault
}

/// A blob as the custodian makes it, of a key that the test generated.
fn blob_of(vault: &Vault, coordinates: &CopyCoordinates, kwp: &Mechanism<'_>, key: ObjectHandle) -> SealedBlob {
    let root = Root::open(vault.token(), EPOCH).unwrap();
    let wrapped = vault.token().wrap(kwp, root.wrapping, key).unwrap();
    let mac = seal::seal(vault.token(), &root, &seal::blob_message(coordinates, &wrapped).unwrap()).unwrap();
    SealedBlob { wrapped, mac }
}

#[tokio::test]
async fn a_key_pair_arrives_as_strict_pkcs8_of_the_public_key_that_was_recorded() {
    let lab = Lab::new();
    let cloud = SoftwareKey::make(KeySize::Rsa3072).unwrap();
    let mut desk = Desk::of(lab.custodian(), PAIRS[0], Source::Generated, WrapScheme::RsaAesKeyWrapSha256).await;
    for algorithm in PAIRS {
        desk.turn_to(algorithm, Source::Generated, WrapScheme::RsaAesKeyWrapSha256);
        let minted = desk.mint().await;
        assert_eq!(minted.check_value, None);
        let public = minted.public_key.clone().unwrap();
        for scheme in [WrapScheme::RsaAesKeyWrapSha256, WrapScheme::RsaAesKeyWrapSha1] {
            desk.turn_to(algorithm, Source::Generated, scheme);
            let pkcs8 = desk.deliver(&minted, &cloud).await;
            assert_eq!(check_private_key(pair(algorithm), &pkcs8, &public), Ok(()), "{algorithm} by {scheme}");
            assert_eq!(*desk.custodian.reveal_for_test(&desk.coordinates, minted.blob.as_ref()).await.unwrap(), pkcs8);
            // The blob does not contain the bytes.
            let blob = &minted.blob.as_ref().unwrap().wrapped;
            assert!(!blob.windows(16).any(|window| pkcs8.windows(16).any(|part| part == window)));
        }
        desk.turn_to(algorithm, Source::Generated, WrapScheme::RsaAesKeyWrapSha256);
        assert_ne!(desk.mint().await.public_key, Some(public), "the same key pair twice");
    }
    assert_eq!(desk.custodian.session_objects_for_test().await.unwrap(), 0);
}

#[tokio::test]
async fn a_key_pair_comes_back_from_its_blob_in_another_process() {
    let lab = Lab::new();
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let open = || Desk::of(lab.custodian(), Algorithm::EcP384, Source::Generated, WrapScheme::RsaAesKeyWrapSha1);
    let desk = open().await;
    let minted = desk.mint().await;
    drop(desk);
    let bytes = open().await.deliver(&minted, &cloud).await;
    assert_eq!(check_private_key(pair(Algorithm::EcP384), &bytes, minted.public_key.as_ref().unwrap()), Ok(()));
}

#[tokio::test]
async fn a_mac_key_arrives_by_every_scheme_derived_or_generated() {
    let lab = Lab::new();
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let mut desk = Desk::of(lab.custodian(), Algorithm::HmacSha256, Source::Derived, WrapScheme::RsaOaepSha256).await;
    for source in [Source::Derived, Source::Generated] {
        desk.turn_to(Algorithm::HmacSha256, source, WrapScheme::RsaOaepSha256);
        let minted = desk.mint().await;
        assert_eq!((&minted.public_key, minted.blob.is_some()), (&None, source == Source::Generated));
        let mut arrived = Vec::new();
        for scheme in WrapScheme::ALL {
            desk.turn_to(Algorithm::HmacSha256, source, scheme);
            arrived.push(desk.deliver(&minted, &cloud).await);
        }
        arrived.dedup();
        assert_eq!((arrived.len(), arrived[0].len()), (1, 32));
        assert_eq!(minted.check_value, Some(mac_check_value(&arrived[0])));
    }
    // Another algorithm gives other bytes for the same placement.
    desk.turn_to(Algorithm::HmacSha256, Source::Derived, WrapScheme::RsaOaepSha256);
    let mac = desk.custodian.reveal_for_test(&desk.coordinates, None).await.unwrap();
    let aes = desk.custodian.reveal_for_test(&coordinates(Source::Derived), None).await.unwrap();
    assert_ne!(mac, aes);
}

#[tokio::test]
async fn a_mac_key_is_delivered_only_as_the_one_whose_check_value_was_recorded() {
    let lab = Lab::new();
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let desk = Desk::of(lab.custodian(), Algorithm::HmacSha256, Source::Generated, WrapScheme::RsaOaepSha256).await;
    let minted = desk.mint().await;
    let wrap = |check_value: Option<CheckValue>| {
        let request = desk.wrap_request(&Minted { check_value, ..minted.clone() }, cloud.spki());
        let desk = &desk;
        async move { desk.custodian.wrap(&desk.warrant, &request).await }
    };
    let CheckValue([a, b, c]) = minted.check_value.unwrap();
    let error = wrap(Some(CheckValue([a, b, !c]))).await.unwrap_err();
    assert!(matches!(&error, CustodianError::Broken(text) if text.contains("not the recorded one")), "{error}");
    // No check value is recorded where the token digests no keys. Then none is compared.
    wrap(None).await.unwrap();
}

/// A private key stands for a token that digests no keys, because no token digests a private key.
#[test]
fn where_the_token_does_not_digest_a_key_there_is_no_check_value_and_a_recorded_one_is_not_passed_over() {
    let lab = Lab::new();
    let vault = vault(&lab.config);
    let (private, _) = Kind::of(Algorithm::EcP256).generate(vault.token(), &[]).unwrap();
    let (key, _) = Kind::Hmac.generate(vault.token(), &[]).unwrap();
    // A refused digest does not block the next one.
    for _ in 0..2 {
        assert_eq!(vault.first_check_value(Kind::Hmac, private.handle()).unwrap(), None);
    }
    let recorded = vault.first_check_value(Kind::Hmac, key.handle()).unwrap();
    assert!(recorded.is_some());
    vault.is_recorded(Kind::Hmac, key.handle(), recorded, None).unwrap();
    let error = vault.is_recorded(Kind::Hmac, private.handle(), recorded, None).unwrap_err();
    assert!(matches!(error, HsmError::Token { doing: "making a check value", .. }), "{error}");
}

#[tokio::test]
async fn a_pair_is_delivered_only_as_the_one_whose_public_key_was_recorded() {
    let lab = Lab::new();
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let desk = Desk::of(lab.custodian(), Algorithm::EcP256, Source::Generated, WrapScheme::RsaAesKeyWrapSha256).await;
    let minted = desk.mint().await;
    let other = desk.mint().await.public_key;
    let wrap = |public_key: Option<PublicKey>| {
        let request = desk.wrap_request(&Minted { public_key, ..minted.clone() }, cloud.spki());
        let desk = &desk;
        async move { desk.custodian.wrap(&desk.warrant, &request).await }
    };
    assert!(matches!(wrap(None).await.unwrap_err(), CustodianError::Refused(_)));
    for public in [other, Some(PublicKey(vec![])), Some(PublicKey(cloud.spki().to_vec()))] {
        let error = wrap(public).await.unwrap_err();
        assert!(matches!(&error, CustodianError::Broken(text) if text.contains("not the recorded one")), "{error}");
    }
    wrap(minted.public_key.clone()).await.unwrap();
}

#[tokio::test]
async fn a_pairs_blob_that_was_moved_or_changed_is_refused_before_it_is_unwrapped() {
    let lab = Lab::new();
    let desk = Desk::of(lab.custodian(), Algorithm::EcP256, Source::Generated, WrapScheme::RsaAesKeyWrapSha256).await;
    let blob = desk.mint().await.blob.unwrap();
    let base = || desk.coordinates.clone();
    let mut changed = blob.clone();
    changed.wrapped[9] ^= 1;
    let others = Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::EcP256);
    let attempts = others
        .map(|algorithm| CopyCoordinates { algorithm, ..base() })
        .chain([
            CopyCoordinates { version: Version(2), ..base() },
            CopyCoordinates { placement: PlacementId(uuid::Uuid::from_u128(9)), ..base() },
        ])
        .map(|copy| (copy, blob.clone()))
        .chain([(base(), changed)]);
    for (copy, blob) in attempts {
        let error = desk.custodian.reveal_for_test(&copy, Some(&blob)).await.unwrap_err();
        assert!(matches!(error, HsmError::Unsealed("the blob")), "{copy:?}: {error}");
    }
    desk.custodian.reveal_for_test(&base(), Some(&blob)).await.unwrap();
}

/// Runs on both tokens. The seal is right, as if the custodian had made a mistake, but the key does not fit its coordinates.
pub(super) fn a_key_of_another_kind_or_size_is_not_brought_back(vault: &Vault, kwp: &Mechanism<'_>, secrets: &[(u64, Algorithm)]) {
    let token = vault.token();
    let made = |algorithm| Kind::of(algorithm).generate(token, &[]).unwrap().0;
    let pairs = [
        (Algorithm::Rsa2048, Algorithm::Rsa3072),
        (Algorithm::Rsa3072, Algorithm::Rsa2048),
        (Algorithm::EcP256, Algorithm::EcP384),
        (Algorithm::EcP256, Algorithm::Rsa2048),
        (Algorithm::EcP256, Algorithm::HmacSha256),
        (Algorithm::EcP256, Algorithm::Aes256),
        (Algorithm::Aes256, Algorithm::EcP256),
    ];
    let secret = |length: u64| {
        let mut template = template::secret_of(KeyType::GENERIC_SECRET, Life::Passing, &[]);
        template.push(Attribute::ValueLen(length.into()));
        token.generate(&Mechanism::GenericSecretKeyGen, &template).unwrap()
    };
    let pairs = pairs.into_iter().map(|(is, said)| (made(is), said));
    for (key, algorithm) in pairs.chain(secrets.iter().map(|(length, said)| (secret(*length), *said))) {
        let coordinates = coordinates_of(algorithm, Source::Generated);
        let blob = blob_of(vault, &coordinates, kwp, key.handle());
        let error = vault.bring(&coordinates, Some(&blob)).err().unwrap();
        // The token itself refuses to unwrap what is not PKCS#8.
        let refused = matches!(error, HsmError::OtherKind(of) if of == algorithm) || matches!(error, HsmError::Token { .. });
        assert!(refused, "`{algorithm}`: {error}");
    }
}

#[test]
fn a_sealed_blob_with_a_key_of_another_kind_or_size_is_refused() {
    let lab = Lab::new();
    let (aes, mac) = (Algorithm::Aes256, Algorithm::HmacSha256);
    let secrets = [(16, aes), (24, aes), (16, mac), (31, mac), (33, mac), (64, mac)];
    a_key_of_another_kind_or_size_is_not_brought_back(&vault(&lab.config), &kwp(), &secrets);
}

/// Runs on both tokens.
pub(super) fn what_is_brought_back_can_do_nothing_but_leave(vault: &Vault, kwp: &Mechanism<'_>) {
    let token = vault.token();
    let session = token.session();
    let root = Root::open(token, EPOCH).unwrap();
    for algorithm in [Algorithm::Rsa2048, Algorithm::EcP256] {
        let (kind, coordinates) = (Kind::of(algorithm), coordinates_of(algorithm, Source::Generated));
        let (fresh, _) = kind.generate(token, kind.uses()).unwrap();
        let blob = blob_of(vault, &coordinates, kwp, fresh.handle());
        let brought = vault.bring(&coordinates, Some(&blob)).unwrap();
        for key in [&fresh, &brought] {
            let secrets = [AttributeType::Value, AttributeType::PrivateExponent, AttributeType::Prime1, AttributeType::Coefficient];
            for secret in secrets {
                // Some tokens answer nothing, some that the attribute is sensitive; none shows the value.
                assert_eq!(session.get_attributes(key.handle(), &[secret]).unwrap_or_default(), [], "`{algorithm}` shows {secret}");
            }
            for change in [Attribute::Sensitive(false), Attribute::Private(false)] {
                assert!(session.update_attributes(key.handle(), std::slice::from_ref(&change)).is_err(), "`{algorithm}` takes {change:?}");
            }
            assert!(session.copy_object(key.handle(), &[Attribute::Sensitive(false)]).is_err(), "`{algorithm}` copied to a readable key");
            if algorithm == Algorithm::Rsa2048 {
                assert!(session.decrypt(&Mechanism::RsaPkcs, key.handle(), &[1; 256]).is_err());
                // Otherwise it could decrypt by unwrapping.
                assert!(token.unwrap(&Mechanism::RsaPkcs, key.handle(), &[1; 256], &template::secret(Life::Passing, &[])).is_err());
            }
        }
        // The blob, in the hands of someone who has a session.
        let unwrap = |with: &[Attribute], uses: &[Use]| {
            let mut template = template::private(pair(algorithm).key_type(), Life::Passing, uses);
            template.retain(|old| !with.iter().any(|new| new.attribute_type() == old.attribute_type()));
            template.extend_from_slice(with);
            token.unwrap(kwp, root.wrapping, &blob.wrapped, &template).map(|_| ())
        };
        assert!(unwrap(&[], &[Use::Sign]).is_ok());
        assert!(unwrap(&[], &[Use::Sign, Use::Decrypt]).is_err());
        for with in [Attribute::Sensitive(false), Attribute::Private(false), Attribute::Token(true), Attribute::Unwrap(true)] {
            assert!(unwrap(std::slice::from_ref(&with), &[Use::Sign]).is_err(), "`{algorithm}` unwrapped to {with:?}");
        }
    }
}

#[test]
fn a_private_key_in_kryoptic_can_do_nothing_but_leave() {
    let lab = Lab::new();
    what_is_brought_back_can_do_nothing_but_leave(&vault(&lab.config), &kwp());
}

#[test]
fn key_pairs_cannot_be_derived_nor_go_by_oaep_alone() {
    let lab = Lab::new();
    let vault = vault(&lab.config);
    let error = vault.mint(&coordinates_of(Algorithm::EcP256, Source::Derived)).err().unwrap();
    assert!(matches!(error, HsmError::Coordinates(_)), "{error}");
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    let coordinates = coordinates_of(Algorithm::EcP256, Source::Generated);
    let minted = vault.mint(&coordinates).unwrap();
    let copy = keyplane_model::CopyRecord {
        coordinates,
        bytes_of: None,
        check_value: None,
        blob: minted.blob,
        public_key: minted.public_key,
        material: None,
        wrapped_under: None,
        imported: None,
    };
    let error = vault.wrap(&copy, cloud.spki(), WrapScheme::RsaOaepSha256, |_| Ok(())).err().unwrap();
    assert!(matches!(error, HsmError::Unsupported(Unsupported::Scheme { why: NoRoute::ForSecrets, .. })), "{error}");
}

/// Verifier and token apply the same rule.
#[test]
fn verifier_and_token_refuse_the_same_schemes_for_the_same_keys() {
    let lab = Lab::new();
    let (routes, _) = Vault::open(&lab.config).unwrap().prove(proof::QUICK).unwrap();
    let charter = charter(0);
    let facts = Facts { charter: &charter, installation: INSTALLATION, now: NOW, record: None, key: None, destinations: None };
    for algorithm in Algorithm::ALL {
        for scheme in WrapScheme::ALL {
            let mut set = change_set(Source::Generated, scheme, rule(0));
            set.placements.values_mut().for_each(|plan| plan.algorithm = algorithm);
            let violations = judge(&set, &facts).err().unwrap_or_default();
            let judged = violations.contains(&Violation::SchemeUnfit { step: IMPORT, scheme });
            let way = routes.way(scheme, algorithm);
            let refused = matches!(way, Err(Unsupported::Scheme { why: NoRoute::ForSecrets, .. }));
            let by_itself = matches!(scheme, WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1);
            let expected = by_itself && !algorithm.is_symmetric();
            assert_eq!((judged, refused), (expected, expected), "{algorithm} by {scheme}: {way:?}");
        }
    }
}

/// The root wrapping key of such an epoch was generated when all copies were AES keys. Its unwrap template says that unwrapped keys do not
/// wrap, and private keys have no such attribute.
#[tokio::test]
async fn an_older_epoch_goes_on_with_secret_keys_and_says_that_it_keeps_no_pairs() {
    let lab = Lab::new();
    {
        let uses = [Use::Wrap, Use::Unwrap];
        let mut template = named(template::secret_of_256_bits(Life::Root, &uses), "keyplane/root/1/wrap");
        template.push(pkcs11::template(TemplateKind::Unwrap, &[(AttributeType::Sensitive, true), (AttributeType::Wrap, false)]));
        lab.token().session().generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    }
    let scheme = WrapScheme::RsaAesKeyWrapSha256;
    let mut desk = Desk::open(lab.custodian(), Source::Generated, scheme).await;
    let cloud = SoftwareKey::make(KeySize::Rsa2048).unwrap();
    for algorithm in [Algorithm::Aes256, Algorithm::HmacSha256] {
        desk.turn_to(algorithm, Source::Generated, scheme);
        let minted = desk.mint().await;
        assert_eq!(desk.deliver(&minted, &cloud).await.len(), 32);
    }
    let routes = desk.custodian.status().await.unwrap().routes;
    let route = routes.into_iter().find(|route| route.scheme == scheme).unwrap();
    assert_eq!(route.algorithms, [Algorithm::Aes256, Algorithm::HmacSha256]);
    assert!(route.reason.unwrap().contains(&NoRoute::Keep.to_string()));
    desk.turn_to(Algorithm::EcP256, Source::Generated, scheme);
    let request = MintRequest { step: MINT, coordinates: desk.coordinates.clone() };
    let error = desk.custodian.mint(&desk.warrant, &request).await.unwrap_err();
    assert!(matches!(error, CustodianError::Unsupported(_)), "{error}");
}

#[tokio::test]
async fn a_quick_status_tells_the_same_routes_as_a_thorough_enrolment() {
    let lab = Lab::new();
    let custodian = crate::HsmCustodian::start(lab.config.clone(), now()).unwrap();
    let thorough = custodian.enroll(INSTALLATION, &charter(0)).await.unwrap().status.routes;
    assert_eq!(custodian.status().await.unwrap().routes, thorough);
    for route in thorough {
        let expected = Algorithm::ALL.into_iter().filter(|algorithm| route.scheme.takes(*algorithm));
        assert!(route.algorithms.iter().copied().eq(expected), "{route:?}");
        assert_eq!(route.reason, None);
    }
}

/// kryoptic keeps one key in 256 like this: the private number is a byte shorter than the curve's order.
#[test]
fn a_private_number_without_its_leading_zeros_is_noticed_before_it_leaves() {
    let lab = Lab::new();
    let token = lab.token();
    let whole = |number: &[u8]| {
        let mut template = template::private(KeyType::EC, Life::Passing, &[]);
        template.extend([Attribute::EcParams(Curve::P256.parameters()), Attribute::Value(number.to_vec())]);
        let key = token.ephemeral(token.session().create_object(&template).unwrap());
        pair(Algorithm::EcP256).leaves_whole(&token, key.handle()).unwrap()
    };
    assert!(whole(&[0x5a; 32]));
    assert!(!whole(&[0x5a; 31]));
}

#[test]
fn what_is_no_strict_pkcs8_or_another_key_is_told_apart() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = |key: &EcdsaKeyPair| PublicKey(crate::spki::of_point(Curve::P256.oid(), key.public_key().as_ref()).unwrap());
    let pkcs8 = key.to_pkcs8v1().unwrap().as_ref().to_vec();
    let check = |bytes: &[u8], public: &PublicKey| check_private_key(Pair::Ec(Curve::P256), bytes, public);
    assert_eq!(check(&pkcs8, &public(&key)), Ok(()));
    assert_eq!(check(&pkcs8, &public(&other)), Err(NoRoute::Nonconforming));
    assert_eq!(check(&[&pkcs8[..], &[0; 5]].concat(), &public(&key)), Err(NoRoute::Pkcs8));
    assert_eq!(check(&pkcs8[..pkcs8.len() - 1], &public(&key)), Err(NoRoute::Pkcs8));
    assert_eq!(check_private_key(Pair::Ec(Curve::P384), &pkcs8, &public(&key)), Err(NoRoute::Pkcs8));
    assert_eq!(check_private_key(Pair::Rsa(2048), &pkcs8, &public(&key)), Err(NoRoute::Pkcs8));
    // aws-lc encodes the public key as we do.
    assert_eq!(public(&key).0, key.public_key().as_der().unwrap().as_ref());
}

/// The public key read from the token equals the one that software computes.
#[test]
fn public_keys_are_written_as_software_writes_them() {
    let lab = Lab::new();
    let token: Token = lab.token();
    for algorithm in [Algorithm::Rsa2048, Algorithm::EcP256, Algorithm::EcP384] {
        let (key, public) = pair(algorithm).generate(&token, Life::Passing, &[Use::Sign]).unwrap();
        let seen = token.attributes(key.handle(), &[AttributeType::PublicKeyInfo]).unwrap();
        assert_eq!(seen, [Attribute::PublicKeyInfo(public.0.clone())]);
        assert!(pair(algorithm).belongs(&token, key.handle(), &public).unwrap());
    }
}
