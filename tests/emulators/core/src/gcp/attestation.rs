//! The emulated HSM's signed statements about a key: attributes, among them check values by which the owner recognises the key.
//!
//! Format: Marvell, "LiquidSecurity key attestation", as parsed by the public scripts that Google refers to (`parse_v1.py`, `parse_v2.py`,
//! and `verify_attestation_chains.py` of GoogleCloudPlatform/python-docs-samples). Numbers are big-endian, and the whole is compressed with
//! gzip. Its last 256 bytes are a signature over the rest, RSA PKCS#1 with SHA-256, by the key of the HSM's partition. That key has a
//! certificate of the manufacturer, by way of the card, and one of the owner; the card's key has one of the owner too.

use std::time::Duration;

use rand_core::RngCore;
use serde_json::{Value, json};

use super::{
    certificate::{Party, Terms, certificate, pem},
    checksum::gzip,
    readings::{Attestation, ExtendedCheck, Readings},
    word::{AttestationFormat, Kind, Style},
    written::encode,
};
use crate::{
    Timestamp,
    crypto::{
        Pair, Refused, RsaSize, Secret,
        keys::{AesMode, Curve, Hash, RsaSignature},
        service::{MacHash, PairKind, ServiceCrypto},
    },
};

/// The types of attributes.
mod attribute {
    pub(super) const CLASS: u32 = 0x0000;
    pub(super) const TOKEN: u32 = 0x0001;
    pub(super) const PRIVATE: u32 = 0x0002;
    pub(super) const LABEL: u32 = 0x0003;
    pub(super) const TRUSTED: u32 = 0x0086;
    pub(super) const KEY_TYPE: u32 = 0x0100;
    pub(super) const ID: u32 = 0x0102;
    pub(super) const SENSITIVE: u32 = 0x0103;
    /// Marvell's table: "RSA key modulus value". For other pairs these HSMs put the point here.
    pub(super) const MODULUS: u32 = 0x0120;
    pub(super) const MODULUS_BITS: u32 = 0x0121;
    pub(super) const VALUE_LEN: u32 = 0x0161;
    pub(super) const EXTRACTABLE: u32 = 0x0162;
    /// Whether the key was generated inside.
    pub(super) const LOCAL: u32 = 0x0163;
    pub(super) const NEVER_EXTRACTABLE: u32 = 0x0164;
    pub(super) const ALWAYS_SENSITIVE: u32 = 0x0165;
    /// The key check value.
    pub(super) const KCV: u32 = 0x0173;
    /// The extended key check value.
    pub(super) const EKCV: u32 = 0x1003;
    pub(super) const WRAP_WITH_TRUSTED: u32 = 0x0210;
}

/// Object classes of PKCS#11.
const PUBLIC: u8 = 2;
const PRIVATE: u8 = 3;
const SECRET: u8 = 4;

/// The length of a signature, in bytes.
const SIGNATURE: u32 = 256;

/// The bytes before the attributes in version 2: a header of sixteen, and sixteen that the scripts skip.
const PREFACE: u32 = 32;

/// Attributes and header were requested, with a signature.
const FLAGS: u16 = 3;

/// The validity of the emulated HSM's certificates.
const VALIDITY: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

/// What the HSM states about a key.
pub(super) struct Statement {
    /// SHA-512 of the key's full name, in hexadecimal digits.
    id: String,
    /// The lowest byte of PKCS#11's `CKK_…`.
    key_type: u8,
    imported: bool,
    subject: Subject,
}

enum Subject {
    Secret { length: usize, check: [u8; 3], hkdf: Vec<u8>, sha256: Vec<u8> },
    Pair { told: Vec<u8>, bits: usize, check: [u8; 3], sha256: Vec<u8> },
}

impl Statement {
    /// The statement about this material of a version, or about the wrapping pair of an import job.
    pub(super) fn of(crypto: &dyn ServiceCrypto, name: &str, kind: Kind, material: &Secret, imported: bool) -> Result<Self, Refused> {
        /// CKK_RSA, CKK_EC, CKK_GENERIC_SECRET, CKK_AES and CKK_EC_EDWARDS, the lowest byte.
        const RSA: u8 = 0x00;
        const EC: u8 = 0x03;
        const GENERIC: u8 = 0x10;
        const AES: u8 = 0x1f;
        const EDWARDS: u8 = 0x40;
        let size = |size: RsaSize| size.bytes() * 8;
        let (key_type, subject) = match kind {
            Kind::Symmetric | Kind::Raw { .. } => {
                // AES-CBC of a block of zeros, with zeros as initialisation vector, encrypts just that block.
                let block = crypto.aes_encrypt(material, AesMode::Cbc, &[0; 16], &[], &[0; 16])?;
                (AES, secret(crypto, material, [block[0], block[1], block[2]]))
            }
            Kind::Hmac(_) => {
                let hash = crypto.sha1(material.expose());
                (GENERIC, secret(crypto, material, [hash[0], hash[1], hash[2]]))
            }
            Kind::RsaSign { size: rsa, .. } | Kind::RsaDecrypt { size: rsa, .. } => {
                (RSA, pair(crypto, PairKind::Rsa, material, crypto.read_rsa(material)?.modulus, size(rsa))?)
            }
            Kind::Ec(curve) => {
                let point = crypto.read_ec(curve, material)?;
                let uncompressed = [&[4], point.x.as_slice(), point.y.as_slice()].concat();
                (EC, pair(crypto, PairKind::Ec(curve), material, uncompressed, curve_bits(curve))?)
            }
            Kind::Ed25519 => {
                // The end of its SubjectPublicKeyInfo (RFC 8410).
                let public = crypto.public_of(PairKind::Ed25519, material)?;
                let point = public.last_chunk::<32>().ok_or(Refused)?.to_vec();
                (EDWARDS, pair(crypto, PairKind::Ed25519, material, point, 256)?)
            }
        };
        let id = hex::encode(crypto.digest(Hash::Sha512, name.as_bytes()));
        Ok(Self { id, key_type, imported, subject })
    }

    /// The objects of the statement, each with its attributes.
    fn objects(&self, readings: &Readings) -> Vec<Vec<(u32, Vec<u8>)>> {
        // Spoiled check values differ in every byte.
        let spoil = |mut value: Vec<u8>| {
            if readings.spoiled.check_value {
                value.iter_mut().for_each(|byte| *byte ^= 0xff);
            }
            value
        };
        let flag = |value: bool| vec![u8::from(value)];
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        let common = |class: u8| {
            vec![
                (attribute::CLASS, vec![class]),
                (attribute::TOKEN, flag(true)),
                (attribute::PRIVATE, flag(true)),
                (attribute::LABEL, b"app_key\0".to_vec()),
                (attribute::TRUSTED, flag(false)),
                (attribute::KEY_TYPE, vec![self.key_type]),
                (attribute::ID, self.id.clone().into_bytes()),
                (attribute::SENSITIVE, flag(class != PUBLIC)),
                (attribute::EXTRACTABLE, flag(class == PUBLIC)),
                (attribute::LOCAL, flag(!self.imported)),
                (attribute::NEVER_EXTRACTABLE, flag(class != PUBLIC && !self.imported)),
                (attribute::ALWAYS_SENSITIVE, flag(class != PUBLIC && !self.imported)),
                (attribute::WRAP_WITH_TRUSTED, flag(false)),
            ]
        };
        match &self.subject {
            Subject::Secret { length, check, hkdf, sha256 } => {
                let extended = match readings.extended_check {
                    ExtendedCheck::Hkdf => hkdf,
                    ExtendedCheck::Sha256 => sha256,
                };
                let mut object = common(SECRET);
                object.push((attribute::VALUE_LEN, number(*length)));
                object.push((attribute::KCV, spoil(check.to_vec())));
                object.push((attribute::EKCV, spoil(extended.clone())));
                vec![object]
            }
            Subject::Pair { told, bits, check, sha256 } => {
                let half = |class| {
                    let mut object = common(class);
                    object.push((attribute::MODULUS, told.clone()));
                    object.push((attribute::MODULUS_BITS, number(*bits)));
                    object.push((attribute::KCV, spoil(check.to_vec())));
                    object.push((attribute::EKCV, spoil(sha256.clone())));
                    object
                };
                vec![half(PUBLIC), half(PRIVATE)]
            }
        }
    }
}

pub(super) struct Hsm {
    partition: Pair,
    /// The manufacturer's, then the owner's.
    roots: [String; 2],
    /// Of the partition, then of the card.
    by_manufacturer: [String; 2],
    card_by_owner: String,
    partition_by_owner: String,
}

impl Hsm {
    pub(super) fn new(crypto: &dyn ServiceCrypto, now: Timestamp, rng: &mut dyn RngCore) -> Result<Self, Refused> {
        let make = || crypto.make_pair(RsaSize::Rsa2048);
        let (manufacturer, owner, card, partition) = (make()?, make()?, make()?, make()?);
        let from = Timestamp::from_micros(now.micros() - i64::from(24 * 60 * 60) * 1_000_000);
        let manufacturer = Party { name: "Manufacturer Root", pair: &manufacturer };
        let owner = Party { name: "Owner Root", pair: &owner };
        let mut issue = |issuer: &Party<'_>, name: &str, pair: &Pair, authority: bool| {
            let terms = Terms { serial: rng.next_u64(), authority, from, until: now + VALIDITY };
            certificate(crypto, issuer, &Party { name, pair }, terms).map(|der| pem("CERTIFICATE", &der))
        };
        let card_party = Party { name: "Card", pair: &card };
        Ok(Self {
            roots: [issue(&manufacturer, manufacturer.name, manufacturer.pair, true)?, issue(&owner, owner.name, owner.pair, true)?],
            by_manufacturer: [issue(&card_party, "Partition", &partition, false)?, issue(&manufacturer, "Card", &card, true)?],
            card_by_owner: issue(&owner, "Card", &card, true)?,
            partition_by_owner: issue(&owner, "Partition", &partition, false)?,
            partition,
        })
    }

    /// The certificates that a client has to trust, as PEM: the manufacturer's root and the owner's.
    pub(super) fn roots(&self) -> String {
        self.roots.concat()
    }

    /// A `KeyOperationAttestation`.
    // contract: gcp.attestation
    pub(super) fn attest(
        &self,
        crypto: &dyn ServiceCrypto,
        readings: &Readings,
        style: Style,
        statement: &Statement,
    ) -> Result<Value, Refused> {
        let objects: Vec<Vec<u8>> = statement.objects(readings).iter().map(|attributes| object(attributes)).collect();
        let (format, mut content) = match readings.attestation {
            Attestation::CaviumV1 => (AttestationFormat::CaviumV1, objects.concat()),
            Attestation::CaviumV2 => (AttestationFormat::CaviumV2, response(&objects)),
        };
        let digest = crypto.digest(Hash::Sha256, &content);
        let mut signature = crypto.rsa_sign(&self.partition.private, RsaSignature::Pkcs1, Hash::Sha256, &digest)?;
        if readings.spoiled.signature {
            signature.iter_mut().for_each(|byte| *byte ^= 0xff);
        }
        content.extend(signature);
        Ok(json!({
            "format": style.word(format),
            "content": encode(&gzip(&content)?),
            "certChains": {
                "caviumCerts": self.by_manufacturer,
                "googleCardCerts": [self.card_by_owner],
                "googlePartitionCerts": [self.partition_by_owner],
            },
        }))
    }
}

/// Version 2: a response header, an information header with the offset of each object, and the objects.
fn response(objects: &[Vec<u8>]) -> Vec<u8> {
    /// Bytes of the information header.
    const INFORMATION: u16 = 8;
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let attributes = u32::from(INFORMATION) + length(objects.iter().map(Vec::len).sum());
    let second = match objects {
        [first, _, ..] => u16::try_from(first.len()).unwrap_or(u16::MAX) + INFORMATION,
        _ => 0,
    };
    let mut content = Vec::new();
    for word in [0, u32::from(FLAGS), PREFACE + attributes + SIGNATURE, attributes] {
        content.extend(word.to_be_bytes());
    }
    content.resize(PREFACE as usize, 0);
    for word in [1, FLAGS, INFORMATION, second] {
        content.extend(word.to_be_bytes());
    }
    content.extend(objects.concat());
    content
}

/// An object: handle, number of attributes, their size, and for each attribute type, length and value.
fn object(attributes: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut encoded = Vec::new();
    for (number, value) in attributes {
        encoded.extend(number.to_be_bytes());
        encoded.extend(length(value.len()).to_be_bytes());
        encoded.extend(value);
    }
    let header = [1, length(attributes.len()), length(encoded.len())].map(u32::to_be_bytes).concat();
    [header, encoded].concat()
}

fn secret(crypto: &dyn ServiceCrypto, material: &Secret, check: [u8; 3]) -> Subject {
    // HKDF (RFC 5869): extract with a salt of zeros, then the first block of the expansion with empty info.
    let extracted = crypto.mac(MacHash::Sha256, &Secret::new([0; 32]), material.expose());
    let hkdf = crypto.mac(MacHash::Sha256, &Secret::new(extracted), &[1]);
    let sha256 = crypto.digest(Hash::Sha256, material.expose());
    Subject::Secret { length: material.expose().len(), check, hkdf, sha256 }
}

/// The check values are those of the public key's SubjectPublicKeyInfo.
fn pair(crypto: &dyn ServiceCrypto, kind: PairKind, material: &Secret, told: Vec<u8>, bits: usize) -> Result<Subject, Refused> {
    let public = crypto.public_of(kind, material)?;
    let hash = crypto.sha1(&public);
    let sha256 = crypto.digest(Hash::Sha256, &public);
    Ok(Subject::Pair { told, bits, check: [hash[0], hash[1], hash[2]], sha256 })
}

const fn curve_bits(curve: Curve) -> usize {
    match curve {
        Curve::P256 | Curve::Secp256k1 => 256,
        Curve::P384 => 384,
        Curve::P521 => 521,
    }
}
