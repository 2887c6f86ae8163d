//! Attestations: an HSM's signed statements about a key that it holds. Google Cloud's and Azure's HSMs are of one maker (Marvell),
//! and this is what their statements have in common.
//!
//! Owns the certificates, the signature and the list of a key's attributes. The format around that list, and the values that it has
//! to hold, belong to the adapters. The certificates' dates are not checked, because a statement may be older than they are valid;
//! Google's and Microsoft's published checkers (ATT in `tests/emulators/contracts.md`) do not check them either.

use std::ops::RangeInclusive;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::SettingsError;

/// The largest file of certificates that is read, in bytes: of the roots, or of those that come with a statement.
const MAX_CERTIFICATES: usize = 1 << 16;

/// The largest number of attributes of one key that is read; real statements have some forty.
const MAX_ATTRIBUTES: u32 = 256;

/// The root certificates that statements are checked against; at least one.
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Reads root certificates in PEM, at most 64 KiB.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn read(pem: &[u8]) -> Result<Self, SettingsError> {
        let roots = certificates(pem).map_err(SettingsError::AttestationRoots)?;
        match roots.iter().all(|root| X509Certificate::from_der(root).is_ok_and(|(rest, _)| rest.is_empty())) {
            true => Ok(Self(roots)),
            false => Err(SettingsError::AttestationRoots("they hold a certificate that cannot be read")),
        }
    }

    /// For each root: whether `signature` over `signed` was made by the key of one of `certificates` that stands below the root at a
    /// depth within `depth` (1: the root itself issued it), with each certificate on the way signed by the one above it.
    pub fn vouch<'a>(
        &'a self,
        certificates: &'a [CertificateDer<'_>],
        depth: RangeInclusive<usize>,
        signed: &'a [u8],
        signature: &'a [u8],
    ) -> impl Iterator<Item = bool> + 'a {
        let below = Below { certificates, depth, signed, signature };
        self.0.iter().map(move |root| below.answers_to(root, 1))
    }
}

/// Reads certificates in PEM, at most 64 KiB.
///
/// # Errors
/// When there is none, or it is no PEM.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    if pem.len() > MAX_CERTIFICATES {
        return Err("they are larger than 64 KiB");
    }
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "they are not PEM")?;
    if found.is_empty() { Err("they hold no certificate") } else { Ok(found) }
}

/// The certificates and the signature that are tried below a root.
struct Below<'a, 'c> {
    certificates: &'a [CertificateDer<'c>],
    depth: RangeInclusive<usize>,
    signed: &'a [u8],
    signature: &'a [u8],
}

impl Below<'_, '_> {
    /// Whether the signature was made by a certificate that `issuer` issued, which then stands at `depth`, or by one further below.
    fn answers_to(&self, issuer: &[u8], depth: usize) -> bool {
        let Ok((_, issuer)) = X509Certificate::from_der(issuer) else { return false };
        self.certificates.iter().any(|other| {
            let Ok((_, certificate)) = X509Certificate::from_der(other) else { return false };
            certificate.issuer().as_raw() == issuer.subject().as_raw()
                && has_signed(&issuer, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
                && ((self.depth.contains(&depth) && has_signed(&certificate, self.signed, self.signature))
                    || (depth < *self.depth.end() && self.answers_to(other, depth + 1)))
        })
    }
}

/// Whether the key of a certificate made a signature: RSA with PKCS#1 v1.5 padding and SHA-256, as all of these HSMs use it.
fn has_signed(certificate: &X509Certificate<'_>, signed: &[u8], signature: &[u8]) -> bool {
    let key = &certificate.public_key().subject_public_key.data;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref()).verify(signed, signature).is_ok()
}

/// Reads the attributes of a key in a statement, as type and value. For each key the statement has three words: handle, number of
/// attributes, size; then for each attribute the words type and length, and the value. Words have 32 bits in network byte order.
/// `None`: the list is cut off or too long.
#[must_use]
pub fn attributes(key: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let count = word(key, 4).filter(|count| *count <= MAX_ATTRIBUTES)?;
    let mut rest = key.get(12..)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (kind, length) = (word(rest, 0)?, usize::try_from(word(rest, 4)?).ok()?);
        found.push((kind, rest.get(8..)?.get(..length)?));
        rest = rest.get(8 + length..)?;
    }
    Some(found)
}

/// The word at an offset in bytes; `None`: the bytes end before it does.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..)?.get(..4)?.try_into().ok()?))
}

/// A large number, big-endian, without its leading zeros: so two of the same value are the same bytes.
#[must_use]
pub fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An RSA key that is certified by another one, or by itself.
    struct Certified {
        issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
        pair: aws_lc_rs::signature::RsaKeyPair,
        der: CertificateDer<'static>,
    }

    fn certified(name: &str, by: Option<&Certified>) -> Certified {
        use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(private.as_ref().to_vec());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&private, &rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = match by {
            Some(by) => params.signed_by(&key, &by.issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Certified { issuer: rcgen::Issuer::new(params, key), pair, der: certificate.der().clone() }
    }

    fn sign(by: &Certified, bytes: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; by.pair.public_modulus_len()];
        let random = aws_lc_rs::rand::SystemRandom::new();
        by.pair.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &random, bytes, &mut signature).unwrap();
        signature
    }

    #[test]
    fn a_signature_counts_under_a_root_by_so_many_certificates() {
        let root = certified("root", None);
        let card = certified("card", Some(&root));
        let partition = certified("partition", Some(&card));
        let below = certified("below", Some(&partition));
        let all: Vec<_> = [&root, &card, &partition, &below].map(|certified| certified.der.clone()).into();
        let roots = Roots(vec![root.der.clone()]);
        let vouches = |others: &[CertificateDer<'_>], depth, signed: &[u8], signature: &[u8]| {
            roots.vouch(others, depth, signed, signature).collect::<Vec<_>>() == [true]
        };
        let counts = |others: &[CertificateDer<'_>], signer: &Certified| vouches(others, 1..=2, b"statement", &sign(signer, b"statement"));
        assert!(counts(&all, &card) && counts(&all, &partition));
        assert!(!counts(&all, &below), "whoever has a partition's key makes HSMs");
        assert!(!counts(&all[..2], &partition), "a certificate is missing");
        let forged = certified("card", Some(&certified("root", None)));
        assert!(!counts(std::slice::from_ref(&forged.der), &forged), "the names are right, the keys are not");
        assert!(!vouches(&all[1..], 2..=2, b"statement", &sign(&card, b"statement")), "a certificate more has to be between them");
        assert!(vouches(&all[1..], 2..=2, b"statement", &sign(&partition, b"statement")));
        assert!(!vouches(&all, 1..=2, b"another", &sign(&card, b"statement")));
    }

    #[test]
    fn roots_that_cannot_be_read_are_refused() {
        let refusal = |pem: &[u8]| Roots::read(pem).err().map(|error| error.to_string());
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, word) in [(&b""[..], "no certificate"), (garbage, "cannot be read"), (&vec![b'\n'; MAX_CERTIFICATES + 1], "64 KiB")] {
            assert!(refusal(pem).is_some_and(|refusal| refusal.contains(word)), "{word}");
        }
        assert_eq!(refusal(rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem().as_bytes()), None);
    }

    #[test]
    fn attributes_are_all_there_or_none_is() {
        let key: Vec<u8> = [[7; 4], 2_u32.to_be_bytes(), [0; 4], 1_u32.to_be_bytes(), 2_u32.to_be_bytes()].concat();
        let key = [key, vec![8, 9], [3_u32.to_be_bytes(), [0; 4]].concat()].concat();
        assert_eq!(attributes(&key), Some(vec![(1, &[8, 9][..]), (3, &[])]));
        for length in 0..key.len() {
            assert_eq!(attributes(&key[..length]), None, "{length}");
        }
        let mut many = [[0; 4], (MAX_ATTRIBUTES + 1).to_be_bytes(), [0; 4]].concat();
        many.resize(1 << 16, 0);
        assert_eq!(attributes(&many), None);
    }
}
