//! Certificates for the emulated HSM: X.509 version 3 (RFC 5280), RSA with SHA-256.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::moment::utc;
use crate::{
    Timestamp,
    crypto::{
        Pair, Refused,
        keys::{Hash, RsaSignature},
        service::ServiceCrypto,
    },
};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;

/// 1.2.840.113549.1.1.11, `sha256WithRSAEncryption`.
const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];

/// 2.5.4.10 and 2.5.4.3, the organisation and the common name.
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// 2.5.29.15 and 2.5.29.19, key usage and basic constraints.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// An issuer or a subject.
pub(super) struct Party<'a> {
    pub(super) name: &'a str,
    pub(super) pair: &'a Pair,
}

/// The contents of a certificate beside its names.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) serial: u64,
    /// Whether the subject may sign certificates.
    pub(super) authority: bool,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// A certificate in DER.
pub(super) fn certificate(crypto: &dyn ServiceCrypto, issuer: &Party<'_>, subject: &Party<'_>, terms: Terms) -> Result<Vec<u8>, Refused> {
    let algorithm = sequence(&[&tlv(OBJECT_ID, SHA256_WITH_RSA), &[0x05, 0]]);
    let validity = sequence(&[&time(terms.from), &time(terms.until)]);
    // Digital signatures or, for an authority, certificates and revocation lists as well.
    let usage = if terms.authority { [0x03, 2, 1, 0x86] } else { [0x03, 2, 7, 0x80] };
    let constraints = if terms.authority { sequence(&[&[0x01, 1, 0xff]]) } else { sequence(&[]) };
    let extensions = sequence(&[&extension(BASIC_CONSTRAINTS, &constraints), &extension(KEY_USAGE, &usage)]);
    // A serial number must not be negative, nor begin with a superfluous zero.
    let serial = [&[1], terms.serial.to_be_bytes().as_slice()].concat();
    let body = sequence(&[
        &tlv(0xa0, &[0x02, 1, 2]),
        &tlv(0x02, &serial),
        &algorithm,
        &name(issuer.name),
        &validity,
        &name(subject.name),
        &subject.pair.public,
        &tlv(0xa3, &extensions),
    ]);
    let digest = crypto.digest(Hash::Sha256, &body);
    let signature = crypto.rsa_sign(&issuer.pair.private, RsaSignature::Pkcs1, Hash::Sha256, &digest)?;
    Ok(sequence(&[&body, &algorithm, &tlv(0x03, &[&[0], signature.as_slice()].concat())]))
}

/// DER as text (RFC 7468).
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// A DER element.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut value = vec![tag];
    match length {
        0..0x80 => value.push(length.to_le_bytes()[0]),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            value.push(0x80 | significant.len().to_le_bytes()[0]);
            value.extend(significant);
        }
    }
    value.extend(content);
    value
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

fn name(common: &str) -> Vec<u8> {
    let part = |id: &[u8], text: &str| tlv(SET, &sequence(&[&tlv(OBJECT_ID, id), &tlv(0x0c, text.as_bytes())]));
    sequence(&[&part(ORGANISATION, "Emulated HSM"), &part(COMMON_NAME, common)])
}

/// A critical extension.
fn extension(id: &[u8], value: &[u8]) -> Vec<u8> {
    sequence(&[&tlv(OBJECT_ID, id), &[0x01, 1, 0xff], &tlv(0x04, value)])
}

/// Two digits for the year until 2049, four afterwards (RFC 5280, section 4.1.2.5).
fn time(moment: Timestamp) -> Vec<u8> {
    let moment = utc(moment);
    let rest = moment.strftime("%m%d%H%M%SZ");
    match moment.year() {
        year @ 1950..2050 => tlv(0x17, format!("{:02}{rest}", year % 100).as_bytes()),
        year => tlv(0x18, format!("{year:04}{rest}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        assert_eq!(tlv(4, &[7; 3])[..2], [4, 3]);
        assert_eq!(tlv(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[7; 256])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn a_year_has_two_digits_until_2049_and_four_from_2050() {
        assert_eq!(time(Timestamp::from_micros(1_795_473_000_000_001)), [&[0x17, 13], b"261123223000Z".as_slice()].concat());
        assert_eq!(time(Timestamp::from_micros(4_107_542_400_000_000)), [&[0x18, 15], b"21000301000000Z".as_slice()].concat());
    }
}
