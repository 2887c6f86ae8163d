//! What a Managed HSM says of a key that it holds, signed.
//!
//! The form is that of the HSMs' maker (Marvell), and what is checked is what Microsoft's public checker of such statements
//! checks: a signature over the statement, under two certificates below a root that was configured; and then that the statement
//! says what a key to wrap under has to be. Statements of the maker's older firmware, whose signatures follow no standard, are
//! refused. The certificates' dates are not looked at: a statement is of the past.

use std::ops::RangeInclusive;

use azure_security_keyvault_keys::models::KeyAttestation;
use keyplane_destination::{Roots, attributes, certificates, without_zeros};
use rustls::pki_types::CertificateDer;

/// How many certificates stand between a root and a statement: the card's and the partition's.
const DEPTH: RangeInclusive<usize> = 2..=2;

/// The length of the RSA signature behind a statement, in bytes.
const SIGNATURE: usize = 256;

/// What stands before a key's attributes, in bytes.
const HEADER: usize = 20;

// Attributes, by the numbers of PKCS#11.
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

/// Whether an HSM says of a key pair that it was made there, never leaves, and does not decrypt; what is wrong otherwise.
pub(crate) fn check(attestation: &KeyAttestation, roots: &Roots, name: &str, version: &str, modulus: &[u8]) -> Result<(), &'static str> {
    let given = certificates(attestation.certificate_pem_file.as_deref().unwrap_or_default())?;
    let private = signed(attestation.private_key_attestation.as_deref(), &given, roots)?;
    let public = signed(attestation.public_key_attestation.as_deref(), &given, roots)?;
    let has = |statement: &[u8], kind, value: &[u8]| attribute(statement, kind) == Some(value);
    for statement in [private, public] {
        let id = attribute(statement, ID).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default().trim_end_matches('\0');
        let mut parts = id.rsplit('/');
        let (is, of) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if !is.eq_ignore_ascii_case(version) || !of.eq_ignore_ascii_case(name) {
            return Err("the attestation is of another key");
        }
    }
    if !has(private, CLASS, PRIVATE_KEY) || !has(public, CLASS, PUBLIC_KEY) {
        return Err("the attestation is not of a key pair");
    }
    if !has(private, EXTRACTABLE, NO) || !has(private, NEVER_EXTRACTABLE, YES) {
        return Err("the attested key can leave the HSM, or once could");
    }
    if !has(private, DECRYPT, NO) {
        return Err("the attested key decrypts");
    }
    match attribute(public, MODULUS).map(without_zeros) {
        Some(attested) if attested == without_zeros(modulus) => Ok(()),
        _ => Err("the attested public key is another one"),
    }
}

/// A statement without its signature, if that is good.
fn signed<'a>(blob: Option<&'a [u8]>, given: &[CertificateDer<'_>], roots: &Roots) -> Result<&'a [u8], &'static str> {
    let blob = blob.unwrap_or_default();
    let (signed, signature) = blob.split_at_checked(blob.len().saturating_sub(SIGNATURE)).unwrap_or_default();
    match roots.vouch(given, DEPTH, signed, signature).any(|vouches| vouches) {
        true => Ok(signed),
        false => Err("the attestation is not signed under the configured roots"),
    }
}

/// One attribute of the key in a statement. One that is there twice is not there.
fn attribute(statement: &[u8], wanted: u32) -> Option<&[u8]> {
    let found = attributes(statement.get(HEADER..)?)?;
    let mut found = found.into_iter().filter(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    found.next().filter(|_| found.next().is_none())
}
