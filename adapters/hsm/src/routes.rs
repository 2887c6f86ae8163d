//! Wrapping routes: the way in which the token wraps for each scheme of the clouds.
//!
//! Owns the ways and the PKCS#11 calls of each. A route is believed only after its self-test (`proof`).

use std::collections::{BTreeMap, BTreeSet};

use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use keyplane_model::{Algorithm, WrapScheme};
use keyplane_port::{Route, RsaPublicKey};
use serde::{Deserialize, Serialize};

use crate::HsmError;
use crate::error::{NoRoute, Unsupported};
use crate::pkcs11;
use crate::template::{self, Life, Use};
use crate::token::{Ephemeral, Token};

/// The token's mechanism for AES-KWP (RFC 5649).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kwp {
    /// `CKM_AES_KEY_WRAP_KWP`, 0x210B.
    Kwp,
    /// `CKM_AES_KEY_WRAP_PAD`, 0x210A. It is RFC 5649 on some tokens and something else on others.
    Pad,
}

impl Kwp {
    pub(crate) fn mechanism(self) -> Mechanism<'static> {
        match self {
            Self::Kwp => pkcs11::kwp(),
            Self::Pad => Mechanism::AesKeyWrapPad,
        }
    }
}

/// How the token wraps for a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// RSA-OAEP of the copy itself.
    Direct,
    /// The token's own `CKM_RSA_AES_KEY_WRAP`.
    Own,
    /// AES-KWP under an ephemeral AES-256 key, and RSA-OAEP of that key.
    Composed(Kwp),
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Own => "the token's own CKM_RSA_AES_KEY_WRAP",
            Self::Composed(_) => "composed",
        })
    }
}

/// What the self-tests proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Routes {
    /// The mechanism that wraps blobs. `None`: the token has no working AES-KWP.
    pub(crate) kwp: Option<Kwp>,
    /// Whether it derives keys (SP 800-108).
    pub(crate) derives: bool,
    /// The way for each scheme and each algorithm that the scheme takes. Pairs that are missing were not tested.
    pub(crate) ways: BTreeMap<(WrapScheme, Algorithm), Result<Way, NoRoute>>,
}

impl Routes {
    pub(crate) fn kwp(&self) -> Result<Kwp, Unsupported> {
        self.kwp.ok_or(Unsupported::KeyWrap)
    }

    pub(crate) fn way(&self, scheme: WrapScheme, algorithm: Algorithm) -> Result<Way, Unsupported> {
        let way = match self.ways.get(&(scheme, algorithm)) {
            _ if !scheme.takes(algorithm) => Err(NoRoute::ForSecrets),
            Some(way) => *way,
            None => Err(NoRoute::Make),
        };
        way.map_err(|why| Unsupported::Scheme { scheme, algorithm, why })
    }

    /// Checks that some scheme takes keys of this algorithm out of the token. Otherwise none is generated.
    pub(crate) fn leads_somewhere(&self, algorithm: Algorithm) -> Result<(), Unsupported> {
        let mut why = NoRoute::Make;
        for (_, way) in self.ways.iter().filter(|((_, of), _)| *of == algorithm) {
            match way {
                Ok(_) => return Ok(()),
                Err(because) => why = *because,
            }
        }
        Err(Unsupported::Algorithm { algorithm, why })
    }

    /// Summarises a scheme: its ways, the algorithms that they serve, and why the others have none. A scheme can have both a way and a
    /// reason. Algorithms that the scheme does not take ([`WrapScheme::takes`]) are left out.
    pub(crate) fn report(&self, scheme: WrapScheme) -> Route {
        let (mut algorithms, mut names, mut left_out) = (Vec::new(), BTreeSet::new(), BTreeMap::<NoRoute, Vec<Algorithm>>::new());
        for (&(of, algorithm), way) in &self.ways {
            match way {
                _ if of != scheme => {}
                Ok(way) => {
                    algorithms.push(algorithm);
                    names.insert(way.to_string());
                }
                Err(why) => left_out.entry(*why).or_default().push(algorithm),
            }
        }
        let joined = |parts: Vec<String>, by: &str| (!parts.is_empty()).then(|| parts.join(by));
        Route {
            scheme,
            way: joined(names.into_iter().collect(), ", or "),
            algorithms,
            reason: joined(left_out.iter().map(|(why, of)| format!("not for {}: {why}", list(of))).collect(), "; "),
        }
    }
}

pub(crate) fn list(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|algorithm| algorithm.as_str()).collect::<Vec<_>>().join(", ")
}

/// A cloud's public key as a session object whose only use is wrapping.
pub(crate) fn import<'token>(token: &'token Token, key: &RsaPublicKey) -> Result<Ephemeral<'token>, HsmError> {
    let template = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(KeyType::RSA),
        Attribute::Token(false),
        Attribute::Private(false),
        Attribute::Wrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
        Attribute::Modulus(key.modulus.clone()),
        Attribute::PublicExponent(key.exponent.clone()),
    ];
    let handle = token.session().create_object(&template).map_err(HsmError::token("importing a public key"))?;
    Ok(token.ephemeral(handle))
}

/// Wraps a key under a cloud's public key.
pub(crate) fn wrap(token: &Token, scheme: WrapScheme, way: Way, public: ObjectHandle, key: ObjectHandle) -> Result<Vec<u8>, Pkcs11Error> {
    let oaep = oaep(scheme);
    match way {
        Way::Direct => token.wrap(&Mechanism::RsaPkcsOaep(oaep), public, key),
        Way::Own => {
            let parameter = pkcs11::rsa_aes_parameter(&oaep);
            token.wrap(&pkcs11::rsa_aes_key_wrap(&parameter), public, key)
        }
        Way::Composed(kwp) => {
            // INVARIANT: the ephemeral key is generated for this wrap, leaves only under the destination's key, and is destroyed when this
            // returns.
            let ephemeral = token.generate(&Mechanism::AesKeyGen, &template::secret_of_256_bits(Life::Passing, &[Use::Wrap]))?;
            let inner = token.wrap(&kwp.mechanism(), ephemeral.handle(), key)?;
            let mut wrapped = token.wrap(&Mechanism::RsaPkcsOaep(oaep), public, ephemeral.handle())?;
            wrapped.extend(inner);
            Ok(wrapped)
        }
    }
}

fn oaep(scheme: WrapScheme) -> PkcsOaepParams<'static> {
    let (hash, mgf) = match scheme {
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaAesKeyWrapSha256 => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
        WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1 => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
    };
    PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty())
}
