//! Attestations: an HSM's signed statements about a key that it holds. The HSMs of Google Cloud and Azure are of one manufacturer
//! (Marvell), and this is what their statements have in common.
//!
//! Owns the certificates, the signature and the list of a key's attributes. The format around that list, and the values that it has
//! to hold, belong to the adapters.
//!
//! Google's and Microsoft's published checkers (ATT in `tests/emulators/contracts.md`) check only the certificates' signatures. With them,
//! whoever has the private key of any certificate below the root could issue certificates for false HSMs. So here each certificate that
//! issued another has to be that of a certificate authority, and each one below the root has to have been valid when the statement was
//! made. Statements are never renewed, so they stay valid after the certificates expire. A root is trusted because it is configured,
//! whatever its dates: the manufacturer's expired in 2025 and is still in use.

use std::ops::RangeInclusive;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use keyplane_model::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{ASN1Time, BasicConstraints, FromDer as _, X509Certificate, X509Version};

use crate::SettingsError;
use crate::text::{cut, one_line};

/// The largest file of certificates that is read, in bytes: the roots, or those that come with a statement.
const MAX_CERTIFICATES: usize = 1 << 16;

/// The largest number of attributes of one key that is read; real statements have about forty.
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

    /// For each root: whether `signature` over `signed` was made by the key of one of `certificates` whose depth below the root is within
    /// `depth` (1: the root itself issued it). Each certificate on the way has to be issued by the one above it, which has to be an
    /// authority. `at`: when the statement was made; `None`: not known, so no dates are checked.
    ///
    /// The error is for people. It names the certificate if one in a chain to the root is refused.
    pub fn vouch<'a>(
        &'a self,
        certificates: &'a [CertificateDer<'_>],
        depth: RangeInclusive<usize>,
        at: Option<Timestamp>,
        signed: &'a [u8],
        signature: &'a [u8],
    ) -> impl Iterator<Item = Result<(), String>> + 'a {
        let certificates = certificates.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
        let below = Below { certificates, depth, at, signed, signature };
        self.0.iter().map(move |root| {
            let refused = match X509Certificate::from_der(root) {
                Ok((_, root)) => match below.answers_to(&[&root]) {
                    Ok(()) => return Ok(()),
                    Err(refused) => refused,
                },
                Err(_) => None,
            };
            Err(refused.unwrap_or_else(|| "the attestation is not signed under the configured roots".to_owned()))
        })
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

/// The certificates and the signature to be checked against one root.
struct Below<'a> {
    certificates: Vec<X509Certificate<'a>>,
    depth: RangeInclusive<usize>,
    at: Option<Timestamp>,
    signed: &'a [u8],
    signature: &'a [u8],
}

impl Below<'_> {
    /// Whether the signature was made by a certificate that the last one of `chain` issued, or by one further below. The chain begins with
    /// the root. The error says why a certificate in a chain to the signature is refused; `None`: there is no such chain.
    fn answers_to(&self, chain: &[&X509Certificate<'_>]) -> Result<(), Option<String>> {
        let (depth, mut refused) = (chain.len(), None);
        let Some(issuer) = chain.last() else { return Err(None) };
        for certificate in &self.certificates {
            if certificate.issuer().as_raw() != issuer.subject().as_raw()
                || !has_signed(issuer, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
            {
                continue;
            }
            let chain = [chain, &[certificate]].concat();
            if self.depth.contains(&depth) && has_signed(certificate, self.signed, self.signature) {
                match defect(&chain, self.at) {
                    None => return Ok(()),
                    Some(defect) => refused = refused.or(Some(defect)),
                }
            }
            if depth < *self.depth.end() {
                match self.answers_to(&chain) {
                    Ok(()) => return Ok(()),
                    Err(deeper) => refused = refused.or(deeper),
                }
            }
        }
        Err(refused)
    }
}

/// Why a certificate of a chain is refused, for people; `None`: none is. The chain begins with the root and ends with the leaf, which
/// issued no other.
fn defect(chain: &[&X509Certificate<'_>], at: Option<Timestamp>) -> Option<String> {
    let last = chain.len() - 1;
    chain.iter().enumerate().find_map(|(position, certificate)| {
        let reason = match (position < last).then(|| no_authority(certificate, last - 1 - position)).flatten() {
            Some(reason) => reason,
            None if position > 0 && at.is_some_and(|at| !is_valid(certificate, at)) => "was not valid when the attestation was made",
            None => return None,
        };
        Some(format!("the certificate `{}` of the attestation {reason}", cut(&one_line(&certificate.subject().to_string()))))
    })
}

/// Why a certificate was not allowed to issue the next one; `None`: it was. `between`: the number of certificates between it and the leaf.
///
/// Certificates of X.509's first version cannot say what they are for. The manufacturer's root of 2015 and its certificates of cards are
/// such. The owner's certificates, and those of a card for its partition, are of the third version: they have to say that they are an
/// authority's.
// contract: gcp.attestation, azure.attestation
fn no_authority(certificate: &X509Certificate<'_>, between: usize) -> Option<&'static str> {
    const TWICE: &str = "has an extension that cannot be read, or has it twice";
    if certificate.version() == X509Version::V1 {
        return None;
    }
    let (Ok(constraints), Ok(usage)) = (certificate.basic_constraints(), certificate.key_usage()) else { return Some(TWICE) };
    match constraints.map(|constraints| constraints.value) {
        Some(BasicConstraints { ca: true, path_len_constraint: Some(most) }) if between > *most as usize => {
            Some("has more authorities below it than it allows")
        }
        Some(BasicConstraints { ca: true, .. }) if usage.is_some_and(|usage| !usage.value.key_cert_sign()) => {
            Some("issued another one, and its key is not for signing certificates")
        }
        Some(BasicConstraints { ca: true, .. }) => None,
        Some(BasicConstraints { ca: false, .. }) | None => Some("issued another one, and is not an authority's"),
    }
}

fn is_valid(certificate: &X509Certificate<'_>, at: Timestamp) -> bool {
    ASN1Time::from_timestamp(at.0.div_euclid(1_000_000)).is_ok_and(|at| certificate.validity().is_valid_at(at))
}

/// Whether a certificate's key made a signature: RSA with PKCS#1 v1.5 padding and SHA-256, as all of these HSMs use it.
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

/// A large big-endian number without its leading zeros, so that equal numbers are equal bytes.
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

    /// Makes the certificate that of an authority.
    fn authority(params: &mut rcgen::CertificateParams) {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    }

    fn leaf(params: &mut rcgen::CertificateParams) {
        params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    }

    fn certified(name: &str, by: Option<&Certified>, says: impl Fn(&mut rcgen::CertificateParams)) -> Certified {
        use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let private = rustls::pki_types::PrivatePkcs8KeyDer::from(private.as_ref().to_vec());
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&private, &rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2030, 1, 1));
        says(&mut params);
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

    /// The same certificate in X.509's first version, which has no extensions.
    fn of_the_first_version(certified: Certified, by: &Certified) -> Certified {
        use pkcs1::der::asn1::{AnyRef, BitString};
        use pkcs1::der::{Decode as _, Encode as _, Tag, TagNumber, Tagged as _};
        let parts = Vec::<AnyRef<'_>>::from_der(&certified.der).unwrap();
        let body = parts[0].to_der().unwrap();
        let mut body = Vec::<AnyRef<'_>>::from_der(&body).unwrap();
        let is = |part: &AnyRef<'_>, number| part.tag() == Tag::ContextSpecific { constructed: true, number: TagNumber::new(number) };
        body.retain(|part| !is(part, 0) && !is(part, 3));
        let body = body.to_der().unwrap();
        let signature = BitString::from_bytes(&sign(by, &body)).unwrap().to_der().unwrap();
        let whole = vec![AnyRef::from_der(&body).unwrap(), parts[1], AnyRef::from_der(&signature).unwrap()];
        Certified { der: CertificateDer::from(whole.to_der().unwrap()), ..certified }
    }

    #[test]
    fn a_signature_counts_under_a_root_by_so_many_certificates() {
        let root = certified("root", None, authority);
        let card = certified("card", Some(&root), authority);
        let partition = certified("partition", Some(&card), authority);
        let below = certified("below", Some(&partition), leaf);
        let all: Vec<_> = [&root, &card, &partition, &below].map(|certified| certified.der.clone()).into();
        let roots = Roots(vec![root.der.clone()]);
        let vouches = |others: &[CertificateDer<'_>], depth, signed: &[u8], signature: &[u8]| {
            roots.vouch(others, depth, None, signed, signature).all(|vouches| vouches.is_ok())
        };
        let counts = |others: &[CertificateDer<'_>], signer: &Certified| vouches(others, 1..=2, b"statement", &sign(signer, b"statement"));
        assert!(counts(&all, &card) && counts(&all, &partition));
        assert!(!counts(&all, &below), "whoever has a partition's key makes HSMs");
        assert!(!counts(&all[..2], &partition), "a certificate is missing");
        let forged = certified("card", Some(&certified("root", None, authority)), authority);
        assert!(!counts(std::slice::from_ref(&forged.der), &forged), "the names are right, the keys are not");
        assert!(!vouches(&all[1..], 2..=2, b"statement", &sign(&card, b"statement")), "a certificate more has to be between them");
        assert!(vouches(&all[1..], 2..=2, b"statement", &sign(&partition, b"statement")));
        assert!(!vouches(&all, 1..=2, b"another", &sign(&card, b"statement")));
    }

    /// 2025-06-01 00:00 UTC, when each certificate here is valid unless a test says otherwise.
    const THEN: Timestamp = Timestamp(1_748_736_000_000_000);

    /// The verdict on a signature by the last certificate of a chain.
    fn judged(chain: [&Certified; 3], at: Option<Timestamp>) -> Result<(), String> {
        let [root, card, partition] = chain;
        let given = [card.der.clone(), partition.der.clone()];
        let signature = sign(partition, b"statement");
        Roots(vec![root.der.clone()]).vouch(&given, 1..=2, at, b"statement", &signature).next().unwrap()
    }

    #[test]
    fn every_certificate_that_issued_another_one_is_an_authority_s() {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyUsagePurpose};
        type Says = fn(&mut CertificateParams);
        const NONE: &str = "is not an authority's";
        let refused: [(Says, &str); 6] = [
            (leaf, NONE),
            (|params| params.is_ca = IsCa::ExplicitNoCa, NONE),
            (
                |params| {
                    authority(params);
                    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
                },
                "its key is not for signing certificates",
            ),
            (
                |params| {
                    authority(params);
                    params.not_after = rcgen::date_time_ymd(2025, 5, 31);
                },
                "was not valid",
            ),
            (
                |params| {
                    authority(params);
                    params.not_before = rcgen::date_time_ymd(2025, 6, 2);
                },
                "was not valid",
            ),
            (
                |params| {
                    authority(params);
                    let again = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
                    params.custom_extensions.push(again);
                },
                "has it twice",
            ),
        ];
        let root = certified("root", None, authority);
        for (says, reason) in refused {
            let card = certified("the card", Some(&root), says);
            let partition = certified("partition", Some(&card), leaf);
            let refusal = judged([&root, &card, &partition], Some(THEN)).unwrap_err();
            assert!(refusal.contains("`CN=the card`") && refusal.contains(reason), "{reason}: {refusal}");
        }
        let taken: [Says; 3] = [
            authority,
            // Without the extension for key usage, a key may be used for everything.
            |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        ];
        for says in taken {
            let card = certified("the card", Some(&root), says);
            let partition = certified("partition", Some(&card), leaf);
            assert_eq!(judged([&root, &card, &partition], Some(THEN)), Ok(()));
        }
    }

    #[test]
    fn a_root_says_what_may_be_below_it_and_is_trusted_whatever_its_dates() {
        use rcgen::{BasicConstraints, CertificateParams, IsCa};
        let chain = |says: fn(&mut CertificateParams)| {
            let root = certified("the root", None, says);
            let card = certified("card", Some(&root), authority);
            let partition = certified("partition", Some(&card), leaf);
            judged([&root, &card, &partition], Some(THEN))
        };
        let refusal = chain(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))).unwrap_err();
        assert!(refusal.contains("`CN=the root`") && refusal.contains("more authorities below it than it allows"), "{refusal}");
        let refusal = chain(leaf).unwrap_err();
        assert!(refusal.contains("`CN=the root`") && refusal.contains("is not an authority's"), "{refusal}");
        assert_eq!(chain(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1))), Ok(()));
        let over = chain(|params| {
            authority(params);
            params.not_after = rcgen::date_time_ymd(2024, 1, 1);
        });
        assert_eq!(over, Ok(()));
    }

    #[test]
    fn a_leaf_is_asked_for_its_dates_alone() {
        let root = certified("root", None, authority);
        let card = certified("card", Some(&root), authority);
        let partition = certified("the partition", Some(&card), |params| params.not_after = rcgen::date_time_ymd(2025, 5, 31));
        let chain = [&root, &card, &partition];
        let refusal = judged(chain, Some(THEN)).unwrap_err();
        assert!(refusal.contains("`CN=the partition`") && refusal.contains("was not valid"), "{refusal}");
        assert_eq!(judged(chain, Some(Timestamp(THEN.0 - 86_400_000_000 * 2))), Ok(()), "the statement was made in time");
        assert_eq!(judged(chain, None), Ok(()), "nobody knows when it was made");
    }

    /// The manufacturer's certificates of cards are of the first version. One of the third version has to say that it is an authority's.
    #[test]
    fn a_certificate_without_a_way_to_say_what_it_is_may_be_a_card_s() {
        let root = certified("root", None, authority);
        let card = of_the_first_version(certified("card", Some(&root), authority), &root);
        assert_eq!(X509Certificate::from_der(&card.der).unwrap().1.version(), X509Version::V1);
        let partition = certified("partition", Some(&card), leaf);
        assert_eq!(judged([&root, &card, &partition], Some(THEN)), Ok(()));
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
