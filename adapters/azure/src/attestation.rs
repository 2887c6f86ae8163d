//! Attestations: a Managed HSM's signed statements about a key that it holds.
//!
//! The format is that of the HSMs' manufacturer (Marvell). The checks are those of Microsoft's public checker,
//! `azure-managed-hsm-key-attestation`: the statement's signature, and two certificates below a configured root. Then the statement has to
//! say what a key exchange key must be. Statements of older firmware, whose signatures follow no standard, are refused. Unlike that
//! checker, certificates that issued others have to be those of authorities (see `keyplane_destination`).
// contract: azure.attestation

use std::ops::RangeInclusive;

use azure_security_keyvault_keys::models::KeyAttestation;
use keyplane_destination::{Roots, attributes, certificates, without_zeros};
use keyplane_model::Timestamp;
use rustls::pki_types::CertificateDer;

/// The number of certificates between a root and a statement: the card's and the partition's.
const DEPTH: RangeInclusive<usize> = 2..=2;

/// The length of the RSA signature that follows a statement, in bytes.
const SIGNATURE: usize = 256;

/// The length of the header before a key, in bytes.
const HEADER: usize = 20;

// Attribute types, with PKCS#11's numbers.
const CLASS: u32 = 0x0000;
const ID: u32 = 0x0102;
const DECRYPT: u32 = 0x0105;
const MODULUS: u32 = 0x0120;
const EXTRACTABLE: u32 = 0x0162;
const NEVER_EXTRACTABLE: u32 = 0x0164;

const PUBLIC_KEY: &[u8] = &[2];
const PRIVATE_KEY: &[u8] = &[3];
const YES: &[u8] = &[1];
const NO: &[u8] = &[0];

/// Checks that an HSM attests that a key pair was generated there, can never leave it, and does not decrypt. `made`: when the pair was
/// generated, which is before the attestation; `None`: not known.
pub(crate) fn check(
    attestation: &KeyAttestation,
    roots: &Roots,
    made: Option<Timestamp>,
    name: &str,
    version: &str,
    modulus: &[u8],
) -> Result<(), String> {
    let given = certificates(attestation.certificate_pem_file.as_deref().unwrap_or_default())?;
    let private = signed(attestation.private_key_attestation.as_deref(), &given, roots, made)?;
    let public = signed(attestation.public_key_attestation.as_deref(), &given, roots, made)?;
    let has = |statement: &[u8], kind, value: &[u8]| attribute(statement, kind) == Some(value);
    for statement in [private, public] {
        let id = attribute(statement, ID).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default().trim_end_matches('\0');
        let mut parts = id.rsplit('/');
        let (is, of) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !is.eq_ignore_ascii_case(version) || !of.eq_ignore_ascii_case(name) {
            return Err("the attestation is of another key".to_owned());
        }
    }
    if !has(private, CLASS, PRIVATE_KEY) || !has(public, CLASS, PUBLIC_KEY) {
        return Err("the attestation is not of a key pair".to_owned());
    }
    if !has(private, EXTRACTABLE, NO) || !has(private, NEVER_EXTRACTABLE, YES) {
        return Err("the attested key can leave the HSM, or once could".to_owned());
    }
    if !has(private, DECRYPT, NO) {
        return Err("the attested key decrypts".to_owned());
    }
    match attribute(public, MODULUS).map(without_zeros) {
        Some(attested) if attested == without_zeros(modulus) => Ok(()),
        _ => Err("the attested public key is another one".to_owned()),
    }
}

/// Checks a statement's signature; returns the statement without it.
fn signed<'a>(blob: Option<&'a [u8]>, given: &[CertificateDer<'_>], roots: &Roots, made: Option<Timestamp>) -> Result<&'a [u8], String> {
    let blob = blob.unwrap_or_default();
    let (signed, signature) = blob.split_at_checked(blob.len().saturating_sub(SIGNATURE)).unwrap_or_default();
    // One root suffices. If none vouches, the first one's reason is reported.
    let mut refused = None;
    for vouched in roots.vouch(given, DEPTH, made, signed, signature) {
        match vouched {
            Ok(()) => return Ok(signed),
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    Err(refused.unwrap_or_default())
}

/// The value of one attribute of the key in a statement; `None` unless the attribute is there exactly once.
fn attribute(statement: &[u8], wanted: u32) -> Option<&[u8]> {
    let found = attributes(statement.get(HEADER..)?)?;
    let mut found = found.into_iter().filter(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    found.next().filter(|_| found.next().is_none())
}
