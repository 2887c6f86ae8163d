//! Key pairs: how the token generates them, how their public key is read, and how a private key is checked against it.
//!
//! Owns what RSA and elliptic curves are in PKCS#11. Must not know blobs, destinations or coordinates.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use keyplane_model::PublicKey;
use spki::ObjectIdentifier;

use crate::error::is_refusal;
use crate::template::{self, Life, Use};
use crate::token::{Ephemeral, Token};
use crate::{HsmError, spki as public_keys};

/// The public exponent of every RSA pair: F4, which is 65537 (FIPS 186-5 forbids smaller ones).
const F4: [u8; 3] = [1, 0, 1];
/// The message that a private key signs to show that it belongs to a public key.
const MESSAGE: &[u8] = b"keyplane/v1/pair-check";
/// How many malformed pairs are replaced before the token is given up. On the one token that makes them, one pair in 256 is malformed, so
/// 16 in a row mean that all are.
const TRIES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pair {
    /// The length of the modulus in bits. The exponent is 65537.
    Rsa(usize),
    /// ECDSA.
    Ec(Curve),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// The object identifier (RFC 5480).
    pub(crate) fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
            Self::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        }
    }

    /// The value of `CKA_EC_PARAMS`: the object identifier in DER.
    pub(crate) fn parameters(self) -> Vec<u8> {
        let oid = self.oid();
        let oid = oid.as_bytes();
        // A curve's identifier is shorter than 128 bytes, so one byte holds its length.
        [&[0x06, oid.len() as u8], oid].concat()
    }

    /// The length of a coordinate and of the private number, in bytes.
    pub(crate) fn field_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// The shortest PKCS#8 of a private key, in bytes: the full private number (RFC 5915, section 3) and no optional field.
    fn shortest_pkcs8(self) -> usize {
        // ECPrivateKey: 3 for the version, 2 + n for the number, 2 around them. PrivateKeyInfo: 3 for the version, 9 for
        // id-ecPublicKey and the curve's identifier in a SEQUENCE (2), ECPrivateKey in an OCTET STRING (2), 2 around them. All
        // lengths are below 128.
        let key = 2 + 3 + 2 + self.field_bytes();
        2 + 3 + (2 + 9 + self.parameters().len()) + 2 + key
    }
}

impl Pair {
    pub(crate) fn key_type(self) -> KeyType {
        match self {
            Self::Rsa(_) => KeyType::RSA,
            Self::Ec(_) => KeyType::EC,
        }
    }

    /// Generates a pair in the session. The public key is read, and its object destroyed.
    pub(crate) fn generate<'token>(
        self,
        token: &'token Token,
        life: Life,
        uses: &[Use],
    ) -> Result<(Ephemeral<'token>, PublicKey), HsmError> {
        let mut public = template::of_pair(template::public(self.key_type()));
        let mechanism = match self {
            Self::Rsa(bits) => {
                let bits = bits.try_into().map_err(|_| HsmError::Software("writing a modulus's length"))?;
                public.extend([Attribute::ModulusBits(bits), Attribute::PublicExponent(F4.to_vec())]);
                Mechanism::RsaPkcsKeyPairGen
            }
            Self::Ec(curve) => {
                public.push(Attribute::EcParams(curve.parameters()));
                Mechanism::EccKeyPairGen
            }
        };
        let private = template::of_pair(template::private(self.key_type(), life, uses));
        for _ in 0..TRIES {
            let (public, private) = token.generate_pair(&mechanism, &public, &private).map_err(HsmError::token("making a key pair"))?;
            if life != Life::Passing || self.leaves_whole(token, private.handle())? {
                let public = self.public_key(token, public.handle())?;
                return Ok((private, public));
            }
        }
        Err(HsmError::Malformed)
    }

    /// Whether a private key would leave the token in a complete encoding.
    ///
    /// kryoptic 1.5.4 stores the private number of an EC key without leading zero bytes (`BigNum::to_bigendian_vec`), also in the PKCS#8.
    /// One P-256 key in 256 is then a byte shorter than RFC 5915 requires, and a destination with a strict parser will never accept it. The
    /// key is wrapped under AES-GCM to measure it: that adds exactly 16 bytes.
    pub(crate) fn leaves_whole(self, token: &Token, private: ObjectHandle) -> Result<bool, HsmError> {
        const TAG_BITS: u64 = 128;
        const TAG_BYTES: usize = 16;
        let Self::Ec(curve) = self else { return Ok(true) };
        // INVARIANT: this key only measures. It never leaves the token and is destroyed when the function returns, so what it wrapped can
        // never be unwrapped.
        let scale = token
            .generate(&Mechanism::AesKeyGen, &template::secret_of_256_bits(Life::Held, &[Use::Wrap]))
            .map_err(HsmError::token("making a throwaway key"))?;
        let mut nonce = [0; 12];
        let parameters = GcmParams::new(&mut nonce, &[], TAG_BITS.into()).map_err(HsmError::token("measuring a private key"))?;
        match token.wrap(&Mechanism::AesGcm(parameters), scale.handle(), private) {
            Ok(wrapped) => Ok(wrapped.len() >= curve.shortest_pkcs8() + TAG_BYTES),
            // Without AES-GCM the length cannot be measured. On such a token the self-tests check the encoding: they see throwaway keys in
            // the clear.
            Err(error) if is_refusal(&error) => Ok(true),
            Err(error) => Err(HsmError::token("measuring a private key")(error)),
        }
    }

    pub(crate) fn fits(self, token: &Token, private: ObjectHandle) -> Result<bool, HsmError> {
        match self {
            Self::Rsa(bits) => {
                let (modulus, exponent) = rsa_numbers(token, private)?;
                Ok(public_keys::bit_length(&modulus) == bits && exponent == F4)
            }
            Self::Ec(curve) => {
                Ok(token.attributes(private, &[AttributeType::EcParams])?.contains(&Attribute::EcParams(curve.parameters())))
            }
        }
    }

    fn public_key(self, token: &Token, public: ObjectHandle) -> Result<PublicKey, HsmError> {
        let der = match self {
            Self::Rsa(_) => {
                let (modulus, exponent) = rsa_numbers(token, public)?;
                public_keys::of_rsa(&modulus, &exponent)
            }
            Self::Ec(curve) => public_keys::of_point(curve.oid(), &point(token, public, curve)?),
        };
        der.map(PublicKey).map_err(|_| HsmError::Software("writing a public key"))
    }

    /// Whether a private key in the token belongs to a public key: the token signs, and software verifies.
    pub(crate) fn belongs(self, token: &Token, private: ObjectHandle, public: &PublicKey) -> Result<bool, HsmError> {
        let signature = self.sign(token, private).map_err(HsmError::token("signing with a private key"))?;
        Ok(self.verifies(public, MESSAGE, &signature))
    }

    fn sign(self, token: &Token, private: ObjectHandle) -> Result<Vec<u8>, Pkcs11Error> {
        match self {
            Self::Rsa(_) => token.session().sign(&Mechanism::Sha256RsaPkcs, private, MESSAGE),
            Self::Ec(curve) => {
                let hash = match curve {
                    Curve::P256 => &digest::SHA256,
                    Curve::P384 => &digest::SHA384,
                };
                token.session().sign(&Mechanism::Ecdsa, private, digest::digest(hash, MESSAGE).as_ref())
            }
        }
    }

    /// Verifies RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA with the curve's hash and the signature as two numbers.
    pub(crate) fn verifies(self, public: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::Rsa(_) => &RSA_PKCS1_2048_8192_SHA256,
            Self::Ec(Curve::P256) => &ECDSA_P256_SHA256_FIXED,
            Self::Ec(Curve::P384) => &ECDSA_P384_SHA384_FIXED,
        };
        UnparsedPublicKey::new(algorithm, &public.0).verify(message, signature).is_ok()
    }
}

/// The public key as an uncompressed point (SEC 1). Some tokens wrap `CKA_EC_POINT` in an OCTET STRING, some do not.
pub(crate) fn point(token: &Token, public: ObjectHandle, curve: Curve) -> Result<Vec<u8>, HsmError> {
    let length = 1 + 2 * curve.field_bytes();
    let seen = token.attributes(public, &[AttributeType::EcPoint])?;
    let [Attribute::EcPoint(point)] = &seen[..] else { return Err(HsmError::Attribute(AttributeType::EcPoint)) };
    // DER of an OCTET STRING shorter than 128 bytes: tag 04, then the length.
    let bare = match point[..] {
        [0x04, short, ref rest @ ..] if usize::from(short) == length && rest.len() == length => rest,
        _ => point,
    };
    if bare.len() == length && bare.first() == Some(&0x04) { Ok(bare.to_vec()) } else { Err(HsmError::Attribute(AttributeType::EcPoint)) }
}

/// Modulus and public exponent without leading zeros. Private RSA keys have these attributes too.
fn rsa_numbers(token: &Token, key: ObjectHandle) -> Result<(Vec<u8>, Vec<u8>), HsmError> {
    let (mut modulus, mut exponent) = (None, None);
    for attribute in token.attributes(key, &[AttributeType::Modulus, AttributeType::PublicExponent])? {
        match attribute {
            Attribute::Modulus(bytes) => modulus = Some(without_leading_zeros(bytes)),
            Attribute::PublicExponent(bytes) => exponent = Some(without_leading_zeros(bytes)),
            _ => {}
        }
    }
    Ok((modulus.ok_or(HsmError::Attribute(AttributeType::Modulus))?, exponent.ok_or(HsmError::Attribute(AttributeType::PublicExponent))?))
}

fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_named_as_rfc_5480_names_them() {
        assert_eq!(hex::encode(Curve::P256.parameters()), "06082a8648ce3d030107");
        assert_eq!(hex::encode(Curve::P384.parameters()), "06052b81040022");
    }

    #[test]
    fn the_shortest_pkcs8_of_a_curve_is_that_of_rfc_5915_without_optional_fields() {
        assert_eq!((Curve::P256.shortest_pkcs8(), Curve::P384.shortest_pkcs8()), (67, 80));
    }
}
