//! What a Managed HSM says of a key that it holds, signed.
//!
//! The form is that of the HSMs' maker (Marvell), and what is checked is what Microsoft's public checker of such statements
//! checks: a signature over the statement, under two certificates below a root that was configured; and then that the statement
//! says what a key to wrap under has to be. Statements of the maker's older firmware, whose signatures follow no standard, are
//! refused. The certificates' dates are not looked at: a statement is of the past.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use azure_security_keyvault_keys::models::KeyAttestation;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The largest file of roots, or of certificates that come with a statement, that is read, in bytes.
const MAX_CERTIFICATES: usize = 1 << 16;

/// How many certificates stand between a root and a statement: the card's and the partition's.
const DEPTH: usize = 2;

/// The length of the RSA signature behind a statement, in bytes.
const SIGNATURE: usize = 256;

/// What stands before a key's attributes, in bytes.
const HEADER: usize = 20;

/// How many attributes of a key are read; some forty are there.
const MAX_ATTRIBUTES: u32 = 256;

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

/// Certificates that statements are checked against.
pub(crate) struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads certificates in PEM; what is wrong with them otherwise.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, &'static str> {
        let roots = certificates(pem)?;
        match roots.iter().all(|root| X509Certificate::from_der(root).is_ok_and(|(rest, _)| rest.is_empty())) {
            true => Ok(Self(roots)),
            false => Err("they hold a certificate that cannot be read"),
        }
    }
}

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
    match roots.0.iter().any(|root| vouches(root, given, DEPTH, signed, signature)) {
        true => Ok(signed),
        false => Err("the attestation is not signed under the configured roots"),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    if pem.len() > MAX_CERTIFICATES {
        return Err("they are larger than 64 KiB");
    }
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "they are not PEM")?;
    if found.is_empty() { Err("they hold no certificate") } else { Ok(found) }
}

/// Whether a certificate answers for a signature by exactly so many others below it.
fn vouches(issuer: &[u8], others: &[CertificateDer<'_>], depth: usize, signed: &[u8], signature: &[u8]) -> bool {
    let Ok((_, issuer)) = X509Certificate::from_der(issuer) else { return false };
    others.iter().any(|other| {
        let Ok((_, certificate)) = X509Certificate::from_der(other) else { return false };
        certificate.issuer().as_raw() == issuer.subject().as_raw()
            && has_signed(&issuer, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
            && match depth {
                0 | 1 => has_signed(&certificate, signed, signature),
                _ => vouches(other, others, depth - 1, signed, signature),
            }
    })
}

/// Whether the key of a certificate made a signature. RSA with PKCS#1 and SHA-256, as all of these HSMs' certificates have it.
fn has_signed(certificate: &X509Certificate<'_>, signed: &[u8], signature: &[u8]) -> bool {
    let key = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref()).verify(signed, signature).is_ok()
}

/// One attribute of the key in a statement: a header; handle, number of attributes, size; each attribute: type, length, value. All
/// of it in network byte order. One that is there twice is not there.
fn attribute(statement: &[u8], wanted: u32) -> Option<&[u8]> {
    let count = word(statement, HEADER + 4).filter(|count| *count <= MAX_ATTRIBUTES)?;
    let mut rest = statement.get(HEADER + 12..)?;
    let mut found = None;
    for _ in 0..count {
        let (kind, length) = (word(rest, 0)?, usize::try_from(word(rest, 4)?).ok()?);
        let value = rest.get(8..)?.get(..length)?;
        rest = rest.get(8 + length..)?;
        if kind == wanted && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..)?.get(..4)?.try_into().ok()?))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
