//! As much DER as strict reading of keys needs: definite lengths in their shortest form, nothing behind the end.

use super::Refused;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1, `rsaEncryption`.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// 1.2.840.10045.2.1, `id-ecPublicKey`.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// 1.3.101.112, `id-Ed25519`.
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Values one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next value, which must have this tag.
    fn take(&mut self, wanted: u8) -> Result<&'a [u8], Refused> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>().ok_or(Refused)?;
        if tag != wanted {
            return Err(Refused);
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 | 0x82 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(Refused)?;
                let length = bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
                // The shortest form only; 64 KiB are enough for any key.
                let shortest = if first == 0x81 { 0x80 } else { 0x100 };
                (Some(length).filter(|length| *length >= shortest).ok_or(Refused)?, rest)
            }
            _ => return Err(Refused),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(Refused)?;
        self.0 = rest;
        Ok(content)
    }

    /// A positive integer without its sign byte.
    fn positive(&mut self) -> Result<&'a [u8], Refused> {
        match self.take(INTEGER)? {
            [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Ok(rest),
            bytes @ [first, ..] if *first != 0 && first & 0x80 == 0 => Ok(bytes),
            _ => Err(Refused),
        }
    }

    fn end(&self) -> Result<(), Refused> {
        if self.0.is_empty() { Ok(()) } else { Err(Refused) }
    }
}

/// One value with this tag, and nothing behind it.
fn only(tag: u8, der: &[u8]) -> Result<Reader<'_>, Refused> {
    let mut outer = Reader(der);
    let inner = outer.take(tag)?;
    outer.end()?;
    Ok(Reader(inner))
}

/// Whose key it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Rsa,
    Ec,
    Ed25519,
}

/// Checks that these bytes are one PKCS#8 `PrivateKeyInfo`, version 0, without attributes, of this algorithm, and nothing
/// else: a library that reads it next may forgive more, above all what stands behind the end.
pub(super) fn check_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<(), Refused> {
    let mut info = only(SEQUENCE, der)?;
    if info.take(INTEGER)? != [0] {
        return Err(Refused);
    }
    let mut identifier = Reader(info.take(SEQUENCE)?);
    let expected = match algorithm {
        Algorithm::Rsa => RSA,
        Algorithm::Ec => EC,
        Algorithm::Ed25519 => ED25519,
    };
    if identifier.take(OID)? != expected {
        return Err(Refused);
    }
    match algorithm {
        Algorithm::Rsa => identifier.take(NULL)?,
        // The curve; which one it is, the library tells.
        Algorithm::Ec => identifier.take(OID)?,
        // No parameters at all.
        Algorithm::Ed25519 => &[],
    };
    identifier.end()?;
    let key = info.take(OCTET_STRING)?;
    info.end()?;
    let inner = if algorithm == Algorithm::Ed25519 { OCTET_STRING } else { SEQUENCE };
    only(inner, key).map(|_| ())
}

/// Modulus and exponent of a `SubjectPublicKeyInfo`, big-endian, without leading zeros.
pub(super) fn rsa_public(der: &[u8]) -> Result<(&[u8], &[u8]), Refused> {
    let mut info = only(SEQUENCE, der)?;
    let mut identifier = Reader(info.take(SEQUENCE)?);
    if identifier.take(OID)? != RSA {
        return Err(Refused);
    }
    let [0, key @ ..] = info.take(BIT_STRING)? else {
        return Err(Refused);
    };
    info.end()?;
    let mut key = only(SEQUENCE, key)?;
    let (modulus, exponent) = (key.positive()?, key.positive()?);
    key.end()?;
    Ok((modulus, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key as the structure has it, with what `change` does to its parts.
    fn pkcs8(version: &[u8], oid: &[u8], tail: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
        let identifier = wrap(SEQUENCE, &[wrap(OID, oid), wrap(NULL, &[])].concat());
        let key = wrap(OCTET_STRING, &wrap(SEQUENCE, &wrap(INTEGER, &[0])));
        wrap(SEQUENCE, &[wrap(INTEGER, version), identifier, key, tail.to_vec()].concat())
    }

    #[test]
    fn a_private_key_is_one_value_of_its_kind_and_nothing_else() {
        let good = pkcs8(&[0], RSA, &[]);
        assert_eq!(check_pkcs8(Algorithm::Rsa, &good), Ok(()));
        assert_eq!(check_pkcs8(Algorithm::Ec, &good), Err(Refused));
        for (wrong, what) in [
            ([good.clone(), vec![0; 8]].concat(), "zeros behind it, as one token pads"),
            (pkcs8(&[1], RSA, &[]), "another version"),
            (pkcs8(&[0], EC, &[]), "another algorithm"),
            (pkcs8(&[0], RSA, &[0xa0, 0]), "attributes"),
            (good[..good.len() - 1].to_vec(), "an end too early"),
            ([&[SEQUENCE, 0x81, good[1]], &good[2..]].concat(), "a length in a longer form than it needs"),
            (Vec::new(), "nothing"),
        ] {
            assert_eq!(check_pkcs8(Algorithm::Rsa, &wrong), Err(Refused), "{what}");
        }
    }

    #[test]
    fn integers_are_positive_and_as_short_as_they_can_be() {
        let read =
            |content: &[u8]| Reader(&[&[INTEGER, u8::try_from(content.len()).unwrap()], content].concat()).positive().map(<[u8]>::to_vec);
        assert_eq!(read(&[1, 0, 1]), Ok(vec![1, 0, 1]));
        assert_eq!(read(&[0, 0x80]), Ok(vec![0x80]));
        for wrong in [&[] as &[u8], &[0], &[0, 1], &[0x80]] {
            assert_eq!(read(wrong), Err(Refused), "{wrong:?}");
        }
    }
}
