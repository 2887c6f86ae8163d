//! Attestations: an HSM's signed statement about a key that it holds.
//!
//! The format is that of the HSMs' manufacturer (Marvell, formerly Cavium; version 2). The checks are those of Google's public script
//! `verify_attestation_chains.py`: the statement's signature, and a chain of certificates up to a configured root. Google Cloud's HSMs have
//! two chains, the manufacturer's and Google's; if both roots are configured, both chains have to hold. Unlike the script, certificates
//! that issued others have to be those of authorities (see `keyplane_destination`).
// contract: gcp.attestation

use std::io::Read as _;
use std::ops::RangeInclusive;

use aws_lc_rs::digest::{SHA512, digest};
use flate2::read::GzDecoder;
use google_cloudkms1::api::KeyOperationAttestation;
use keyplane_destination::{Roots, attributes, without_zeros, word};
use keyplane_model::{CheckValue, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

const FORMAT: &str = "CAVIUM_V2_COMPRESSED";

/// The longest statement that is read, in bytes after decompression. That of a key pair has 2 KiB.
const MAX_STATEMENT: u64 = 1 << 16;

/// The largest number of certificates that may come with a statement; real ones come with four.
const MAX_CERTIFICATES: usize = 16;

/// The number of certificates between a root and a statement: the card's and, in one chain, the partition's.
const DEPTH: RangeInclusive<usize> = 1..=2;

/// The length of the RSA signature that follows a statement, in bytes.
const SIGNATURE: usize = 256;

/// The attribute of the key's id: SHA-512 of its resource name, in hexadecimal digits.
const ATTRIBUTE_ID: u32 = 0x0102;

/// The attribute of an RSA key's modulus.
const ATTRIBUTE_MODULUS: u32 = 0x0120;

/// The attribute of the key check value.
const ATTRIBUTE_KCV: u32 = 0x0173;

/// The parts of an HSM's statement that are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The digest of the key's resource name, in hexadecimal digits; `None`: the statement has no id.
    id: Option<String>,
    /// The key check value; `None`: the statement has none.
    pub(crate) check_value: Option<CheckValue>,
    /// The moduli of an RSA pair, one of each half; empty for other keys.
    moduli: Vec<Vec<u8>>,
}

impl Statement {
    /// Whether the statement is about the key with this resource name.
    pub(crate) fn is_about(&self, name: &str) -> bool {
        let digest = hex::encode(digest(&SHA512, name.as_bytes()));
        self.id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(&digest))
    }

    /// Whether the statement is about this RSA key, a SubjectPublicKeyInfo in DER. The modulus identifies it.
    pub(crate) fn has_public_key(&self, spki: &[u8]) -> bool {
        let Ok(([], info)) = SubjectPublicKeyInfo::from_der(spki) else { return false };
        let Ok(PublicKey::RSA(key)) = info.parsed() else { return false };
        self.moduli.iter().any(|modulus| without_zeros(modulus) == without_zeros(key.modulus))
    }
}

/// Reads an attestation. Its signature is checked if there are roots. `made`: when the statement was made; `None`: not known.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn read(attestation: &KeyOperationAttestation, roots: Option<&Roots>, made: Option<Timestamp>) -> Result<Statement, String> {
    if attestation.format.as_deref() != Some(FORMAT) {
        return Err("the attestation is of a format that is not known".to_owned());
    }
    let packed = attestation.content.as_deref().ok_or("the attestation is empty")?;
    let mut unpacked = Vec::new();
    GzDecoder::new(packed).take(MAX_STATEMENT).read_to_end(&mut unpacked).map_err(|_| "the attestation cannot be unpacked")?;
    let Some((signed, signature)) = unpacked.len().checked_sub(SIGNATURE).map(|at| unpacked.split_at(at)) else {
        return Err("the attestation is too short".to_owned());
    };
    if let Some(roots) = roots {
        let certificates = certificates(attestation)?;
        roots.vouch(&certificates, DEPTH, made, signed, signature).collect::<Result<(), String>>()?;
    }
    statement(signed).ok_or_else(|| "the attestation cannot be read".to_owned())
}

/// Reads the certificates that came with an attestation.
fn certificates(attestation: &KeyOperationAttestation) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let chains = attestation.cert_chains.as_ref().ok_or("the attestation comes without certificates")?;
    let chains = [&chains.cavium_certs, &chains.google_card_certs, &chains.google_partition_certs];
    let mut certificates = Vec::new();
    for pem in chains.into_iter().flatten().flatten() {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            certificates.push(certificate.map_err(|_| "a certificate of the attestation is not PEM")?);
            if certificates.len() > MAX_CERTIFICATES {
                return Err("the attestation comes with too many certificates");
            }
        }
    }
    Ok(certificates)
}

/// Reads the signed part of a statement. It begins with a header of four words, the last of which is the length of the body, which follows
/// at the end. The body begins with four half words, the last two of which are the offsets of a pair's keys in the body; for a single key
/// the second offset is 0. All numbers are in network byte order.
fn statement(signed: &[u8]) -> Option<Statement> {
    let length = usize::try_from(word(signed, 12)?).ok()?;
    let body = signed.get(signed.len().checked_sub(length)?..)?;
    let mut statement = Statement::default();
    for (place, required) in [(4, true), (6, false)] {
        let at = usize::from(u16::from_be_bytes(body.get(place..place + 2)?.try_into().ok()?));
        if at == 0 && !required {
            continue;
        }
        add_key(body.get(at..)?, &mut statement)?;
    }
    Some(statement)
}

fn add_key(key: &[u8], statement: &mut Statement) -> Option<()> {
    for (kind, value) in attributes(key)? {
        match kind {
            ATTRIBUTE_ID => statement.id = Some(text(value)?),
            ATTRIBUTE_KCV => statement.check_value = Some(CheckValue(value.try_into().ok()?)),
            ATTRIBUTE_MODULUS => statement.moduli.push(value.to_vec()),
            _ => {}
        }
    }
    Some(())
}

/// Reads a text up to the first zero byte.
fn text(value: &[u8]) -> Option<String> {
    String::from_utf8(value.split(|byte| *byte == 0).next()?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use google_cloudkms1::api::CertificateChains;

    use super::*;

    const NAME: &str = "projects/acme/locations/europe-west3/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";

    fn object(attributes: &[(u32, &[u8])]) -> Vec<u8> {
        let word = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
        let mut bytes = [word(7), word(attributes.len()), word(0)].concat();
        for (kind, value) in attributes {
            bytes.extend([kind.to_be_bytes(), word(value.len())].concat());
            bytes.extend(*value);
        }
        bytes
    }

    /// A statement as an HSM makes it, without its signature.
    fn signed(first: &[u8], second: Option<&[u8]>) -> Vec<u8> {
        let half = |number: usize| u16::try_from(number).unwrap().to_be_bytes();
        let mut body = [half(1), half(3), half(8), half(second.map_or(0, |_| 8 + first.len()))].concat();
        body.extend(first);
        body.extend(second.unwrap_or_default());
        let mut bytes: Vec<u8> = [0, 3, 0, u32::try_from(body.len()).unwrap()].map(u32::to_be_bytes).concat();
        bytes.resize(32, 0);
        bytes.extend(body);
        bytes
    }

    fn packed(bytes: &[u8]) -> KeyOperationAttestation {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        KeyOperationAttestation { cert_chains: None, content: Some(encoder.finish().unwrap()), format: Some(FORMAT.into()) }
    }

    fn id(name: &str) -> Vec<u8> {
        [hex::encode(digest(&SHA512, name.as_bytes())).as_bytes(), &[0]].concat()
    }

    #[test]
    fn a_statement_says_which_key_it_is_about_and_its_check_value() {
        let object = object(&[(0x0003, b"app_key\0"), (ATTRIBUTE_ID, &id(NAME)), (ATTRIBUTE_KCV, &[1, 2, 3]), (0x8000_0180, &[0; 32])]);
        let bytes = [signed(&object, None), vec![9; SIGNATURE]].concat();
        let statement = read(&packed(&bytes), None, None).unwrap();
        assert_eq!(statement.check_value, Some(CheckValue([1, 2, 3])));
        assert!(statement.is_about(NAME));
        assert!(!statement.is_about(&NAME.replace("/1", "/2")), "the statement of one version serves another");
        assert!(!Statement::default().is_about(NAME), "a statement about nothing is about everything");
    }

    #[test]
    fn the_public_key_of_a_pair_is_told_by_its_modulus() {
        let pair = |size| aws_lc_rs::rsa::KeyPair::generate(size).unwrap();
        let spki = |pair: &aws_lc_rs::rsa::KeyPair| {
            use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
            use aws_lc_rs::signature::KeyPair as _;
            let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            der.as_ref().to_vec()
        };
        let (ours, other) = (spki(&pair(aws_lc_rs::rsa::KeySize::Rsa2048)), spki(&pair(aws_lc_rs::rsa::KeySize::Rsa2048)));
        let info = SubjectPublicKeyInfo::from_der(&ours).unwrap().1;
        let Ok(PublicKey::RSA(key)) = info.parsed() else { unreachable!("it is an RSA key") };
        let of = |told: &[u8]| {
            let half = object(&[(ATTRIBUTE_MODULUS, told)]);
            statement(&signed(&half, Some(&half))).unwrap()
        };
        let told = of(without_zeros(key.modulus));
        assert!(told.has_public_key(&ours));
        assert!(!told.has_public_key(&other) && !told.has_public_key(b""));
        assert!(!of(&ours).has_public_key(&ours), "no HSM tells a key by that");
    }

    #[test]
    fn whatever_is_cut_or_too_long_is_refused() {
        let object = object(&[(ATTRIBUTE_ID, &id(NAME)), (ATTRIBUTE_KCV, &[1, 2, 3])]);
        let whole = signed(&object, Some(&object));
        assert!(statement(&whole).is_some());
        for length in 0..whole.len() {
            // With the original length in its header, and with the real one.
            let mut cut = whole[..length].to_vec();
            assert!(statement(&cut).is_none_or(|said| said == Statement::default()), "{length}");
            if let Some(header) = cut.get_mut(12..16) {
                header.copy_from_slice(&u32::try_from(length.saturating_sub(32)).unwrap().to_be_bytes());
                assert_eq!(statement(&cut), None, "{length}");
            }
        }
        for (kind, value) in [(ATTRIBUTE_KCV, &[1, 2][..]), (ATTRIBUTE_KCV, &[1, 2, 3, 4]), (ATTRIBUTE_ID, &[0xff])] {
            assert_eq!(statement(&signed(&super::tests::object(&[(kind, value)]), None)), None);
        }
        let many: Vec<(u32, &[u8])> = vec![(1, &[]); 1_000];
        assert_eq!(statement(&signed(&super::tests::object(&many), None)), None);

        assert_eq!(read(&packed(&[0; SIGNATURE - 1]), None, None), Err("the attestation is too short".to_owned()));
        assert!(read(&packed(&vec![0; 50 << 20]), None, None).is_err(), "a small answer becomes a large one");
        let garbage = KeyOperationAttestation { content: Some(vec![1, 2, 3]), format: Some(FORMAT.into()), cert_chains: None };
        assert_eq!(read(&garbage, None, None), Err("the attestation cannot be unpacked".to_owned()));
        assert_eq!(
            read(&KeyOperationAttestation::default(), None, None),
            Err("the attestation is of a format that is not known".to_owned())
        );
    }

    #[test]
    fn certificates_are_limited() {
        let pem = rcgen::generate_simple_self_signed(vec!["x".into()]).unwrap().cert.pem();
        let roots = Roots::read(pem.as_bytes()).unwrap();
        let mut attestation = packed(&[0; 1_000]);
        assert_eq!(read(&attestation, Some(&roots), None), Err("the attestation comes without certificates".to_owned()));
        attestation.cert_chains = Some(CertificateChains { cavium_certs: Some(vec![pem.clone(); 17]), ..CertificateChains::default() });
        assert_eq!(read(&attestation, Some(&roots), None), Err("the attestation comes with too many certificates".to_owned()));
        attestation.cert_chains = Some(CertificateChains { cavium_certs: Some(vec![pem]), ..CertificateChains::default() });
        assert_eq!(read(&attestation, Some(&roots), None), Err("the attestation is not signed under the configured roots".to_owned()));
    }
}
