//! Derivation gives known answers, since a copy has to be derived again for as long as its root epoch lives.

use aws_lc_rs::{cmac, hmac};
use cryptoki::object::Attribute;
use keyplane_model::{Algorithm, CopyCoordinates, EpochId, InstallationId, KeyId, PlacementId, Source, Version};
use uuid::Uuid;

use super::fixture::*;
use crate::derive::{Label, copy_context, derive};
use crate::kind::Kind;
use crate::seal::blob_message;
use crate::template::{self, Life, Use};

/// SP 800-108r1, section 4.1, in software: K(i) = CMAC(K, [i] || Label || 0x00 || Context || [L]).
fn in_software(root: &[u8; 32], label: &[u8], context: &[u8]) -> Vec<u8> {
    let key = cmac::Key::new(cmac::AES_256, root).unwrap();
    let block = |i: u32| {
        let input = [&i.to_be_bytes()[..], label, &[0], context, &256_u32.to_be_bytes()].concat();
        cmac::sign(&key, &input).unwrap().as_ref().to_vec()
    };
    [block(1), block(2)].concat()
}

#[test]
fn the_token_derives_what_software_derives() {
    let root = [0x42; 32];
    let lab = Lab::new();
    let token = lab.token();
    let mut template = template::secret(Life::Held, &[Use::Derive]);
    template.push(Attribute::Value(root.to_vec()));
    let handle = token.ephemeral(token.session().create_object(&template).unwrap());
    let context = copy_context(&coordinates(Source::Derived)).unwrap();
    let template = template::secret_of_256_bits(Life::Passing, &[Use::Encrypt]);
    for (label, bytes) in [(Label::Copy, b"keyplane/v1/copy".as_slice()), (Label::Mac, b"keyplane/v1/mac")] {
        let key = derive(&token, handle.handle(), label, &context, &template).unwrap();
        let block = token.session().encrypt(&cryptoki::mechanism::Mechanism::AesEcb, key.handle(), &[5; 16]).unwrap();
        assert_eq!(block, encrypt_block(&in_software(&root, bytes, &context), [5; 16]));
    }
}

#[test]
fn the_token_derives_mac_keys_as_software_does() {
    let root = [0x42; 32];
    let lab = Lab::new();
    let token = lab.token();
    let mut template = template::secret(Life::Held, &[Use::Derive]);
    template.push(Attribute::Value(root.to_vec()));
    let handle = token.ephemeral(token.session().create_object(&template).unwrap());
    let context = copy_context(&coordinates_of(Algorithm::HmacSha256, Source::Derived)).unwrap();
    let template = template::with_length(Kind::Hmac.template(&[Use::Sign]));
    let key = derive(&token, handle.handle(), Label::Copy, &context, &template).unwrap();
    let mac = token.session().sign(&cryptoki::mechanism::Mechanism::Sha256Hmac, key.handle(), b"message").unwrap();
    let known = hmac::Key::new(hmac::HMAC_SHA256, &in_software(&root, b"keyplane/v1/copy", &context));
    hmac::verify(&known, b"message", &mac).unwrap();
}

/// Coordinates whose parts are easy to find in a hexadecimal dump.
fn known(algorithm: Algorithm, source: Source) -> CopyCoordinates {
    CopyCoordinates {
        key: KeyId(Uuid::from_u128(0x2222_2222_2222_8222_8222_2222_2222_2222)),
        placement: PlacementId(Uuid::from_u128(0x3333_3333_3333_8333_8333_3333_3333_3333)),
        ..coordinates_of(algorithm, source)
    }
}

#[test]
fn the_context_of_a_copy_never_changes() {
    let context = copy_context(&known(Algorithm::Aes256, Source::Derived)).unwrap();
    assert_eq!(
        hex::encode(context),
        "00000010111111111111811181111111111111110000001022222222222282228222222222222222\
         0000000400000001000000103333333333338333833333333333333300000007\
         6165732d323536\
         000000087061796d656e7473\
         0000001e7b2266726f6d223a5b227365637572697479225d2c226e656564223a307d"
            .replace(char::is_whitespace, "")
    );
}

/// Like the derivation's input, the sealed bytes can never change: a blob lives as long as its root epoch.
#[test]
fn what_the_seal_of_a_blob_covers_never_changes_and_names_the_algorithm() {
    let message = |algorithm| hex::encode(blob_message(&known(algorithm, Source::Generated), &[0xab; 40]).unwrap());
    let with = |algorithm: &str| {
        "6b6579706c616e652f76312f626c6f6200\
         00000010111111111111811181111111111111110000001022222222222282228222222222222222\
         0000000400000001000000103333333333338333833333333333333300000007ALGORITHM\
         000000087061796d656e7473\
         0000001e7b2266726f6d223a5b227365637572697479225d2c226e656564223a307d\
         0000000967656e657261746564\
         0000000400000001\
         00000028abababababababababababababababababababababababababababababababababababababababab"
            .replace(char::is_whitespace, "")
            .replace("ALGORITHM", algorithm)
    };
    assert_eq!(message(Algorithm::Aes256), with("6165732d323536"));
    assert_eq!(message(Algorithm::EcP256), with("65632d70323536"));
}

#[test]
fn each_coordinate_gives_another_context_but_source_and_epoch() {
    let base = || coordinates(Source::Derived);
    let other = Uuid::from_u128(9);
    let different = [
        CopyCoordinates { installation: InstallationId(other), ..base() },
        CopyCoordinates { key: KeyId(other), ..base() },
        CopyCoordinates { version: Version(2), ..base() },
        CopyCoordinates { placement: PlacementId(other), ..base() },
        CopyCoordinates { algorithm: Algorithm::HmacSha256, ..base() },
        CopyCoordinates { profile: "standard".parse().unwrap(), ..base() },
        CopyCoordinates { approvals: rule(1), ..base() },
    ];
    let mut contexts: Vec<_> = different.iter().chain([&base()]).map(|copy| copy_context(copy).unwrap()).collect();
    contexts.sort();
    contexts.dedup();
    assert_eq!(contexts.len(), different.len() + 1);
    // The epoch is not part of the context, since each epoch has a root key of its own.
    assert_eq!(copy_context(&CopyCoordinates { epoch: EpochId(2), ..base() }).unwrap(), copy_context(&base()).unwrap());
}
