//! The proof of what a token can do: self-tests with throwaway keys.
//!
//! A throwaway key is wrapped for an RSA key made in software, unwrapped here, and must decrypt what the token encrypted
//! with it. Ways are tried in order: direct RSA-OAEP; the token's own `CKM_RSA_AES_KEY_WRAP`; composed of an ephemeral AES
//! key, AES-KWP and RSA-OAEP.

use std::collections::BTreeMap;

use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use aws_lc_rs::rsa::KeySize;
use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectHandle;
use keyplane_model::WrapScheme;
use keyplane_port::{EnrolmentCheck, Expected};

use crate::HsmError;
use crate::derive::{self, Label};
use crate::error::{NoRoute, Unsupported, is_refusal};
use crate::routes::{self, Kwp, Routes, SCHEMES, Way};
use crate::software::SoftwareKey;
use crate::spki::RsaPublicKey;
use crate::template::{self, Life, Use};
use crate::token::{Ephemeral, Token};

/// What a quick proof uses: enough to tell whether a route is there.
pub(crate) const QUICK: &[KeySize] = &[KeySize::Rsa2048];
/// What enrolment uses: every modulus that the clouds offer.
pub(crate) const THOROUGH: &[KeySize] = &[KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096];

/// Finds and proves what the token can do.
pub(crate) fn prove(token: &Token, moduli: &[KeySize]) -> Result<(Routes, Vec<EnrolmentCheck>), HsmError> {
    let mut checks = Vec::new();
    let kwp = prove_kwp(token, &mut checks)?;
    let derives = prove_derivation(token, &mut checks)?;
    let pair = |size: &KeySize| {
        let cloud = SoftwareKey::make(*size)?;
        let public = routes::import(token, &RsaPublicKey::parse(cloud.spki())?)?;
        Ok((cloud, public))
    };
    let pairs = moduli.iter().map(pair).collect::<Result<Vec<_>, HsmError>>()?;
    let mut ways = BTreeMap::new();
    for scheme in SCHEMES {
        ways.insert(scheme, prove_scheme(token, scheme, kwp, &pairs, &mut checks)?);
    }
    Ok((Routes { kwp, derives, ways }, checks))
}

/// A block that throwaway keys encrypt, so that two handles can be told to be one key.
const KNOWN: [u8; 16] = *b"keyplane checks.";

/// What a key makes of the known block.
fn known_ciphertext(token: &Token, key: ObjectHandle) -> Result<Vec<u8>, Pkcs11Error> {
    token.session().encrypt(&Mechanism::AesEcb, key, &KNOWN)
}

fn throwaway(token: &Token) -> Result<Ephemeral<'_>, HsmError> {
    token
        .generate(&Mechanism::AesKeyGen, &template::secret_of_256_bits(Life::Passing, &[Use::Encrypt]))
        .map_err(HsmError::token("making a throwaway key"))
}

/// A refusal is an answer; anything else that goes wrong is an error.
fn answer<T>(result: Result<T, Pkcs11Error>) -> Result<Result<T, Pkcs11Error>, HsmError> {
    match result {
        Err(error) if !is_refusal(&error) => Err(HsmError::token("testing itself")(error)),
        result => Ok(result),
    }
}

/// Wraps under AES, unwraps, and compares; then changes one bit, which must be noticed.
fn prove_kwp(token: &Token, checks: &mut Vec<EnrolmentCheck>) -> Result<Option<Kwp>, HsmError> {
    let kek = token
        .generate(&Mechanism::AesKeyGen, &template::secret_of_256_bits(Life::Held, &[Use::Wrap, Use::Unwrap]))
        .map_err(HsmError::token("making a throwaway key"))?;
    let key = throwaway(token)?;
    let works = |kwp: Kwp| -> Result<bool, Pkcs11Error> {
        let mut wrapped = token.wrap(&kwp.mechanism(), kek.handle(), key.handle())?;
        let back = token.unwrap(&kwp.mechanism(), kek.handle(), &wrapped, &template::copy())?;
        let same = known_ciphertext(token, back.handle())? == known_ciphertext(token, key.handle())?;
        if let Some(byte) = wrapped.last_mut() {
            *byte ^= 1;
        }
        let noticed = token.unwrap(&kwp.mechanism(), kek.handle(), &wrapped, &template::copy()).is_err();
        // RFC 5649: 8 bytes more than the key's 32.
        Ok(same && noticed && wrapped.len() == 40)
    };
    let mut found = None;
    for kwp in [Kwp::Kwp, Kwp::Pad] {
        if found.is_none() && answer(works(kwp))?.unwrap_or(false) {
            found = Some(kwp);
        }
    }
    checks.push(EnrolmentCheck {
        name: "wrap under AES (AES-KWP) and unwrap again".to_owned(),
        expected: Expected::Works,
        passed: found.is_some(),
        detail: match found {
            Some(Kwp::Kwp) => "CKM_AES_KEY_WRAP_KWP; a changed bit is noticed".to_owned(),
            Some(Kwp::Pad) => "CKM_AES_KEY_WRAP_PAD, which is RFC 5649 here; a changed bit is noticed".to_owned(),
            None => Unsupported::KeyWrap.to_string(),
        },
    });
    Ok(found)
}

/// Derives twice from one throwaway key (equal) and once with another context (different).
fn prove_derivation(token: &Token, checks: &mut Vec<EnrolmentCheck>) -> Result<bool, HsmError> {
    let root = token
        .generate(&Mechanism::AesKeyGen, &template::secret_of_256_bits(Life::Held, &[Use::Derive]))
        .map_err(HsmError::token("making a throwaway key"))?;
    let derived = |context: &[u8]| -> Result<Vec<u8>, Pkcs11Error> {
        let template = template::secret_of_256_bits(Life::Passing, &[Use::Encrypt]);
        let key = derive::derive(token, root.handle(), Label::Copy, context, &template)?;
        known_ciphertext(token, key.handle())
    };
    let works = || -> Result<bool, Pkcs11Error> {
        let first = derived(b"a")?;
        Ok(first == derived(b"a")? && first != derived(b"b")?)
    };
    let derives = answer(works())?.unwrap_or(false);
    checks.push(EnrolmentCheck {
        name: "derive keys (SP 800-108, counter mode, AES-CMAC)".to_owned(),
        expected: Expected::Works,
        passed: derives,
        detail: if derives { "the same again for the same input, another for another".to_owned() } else { "not on this token".to_owned() },
    });
    Ok(derives)
}

fn prove_scheme(
    token: &Token,
    scheme: WrapScheme,
    kwp: Option<Kwp>,
    pairs: &[(SoftwareKey, Ephemeral<'_>)],
    checks: &mut Vec<EnrolmentCheck>,
) -> Result<Result<Way, NoRoute>, HsmError> {
    let (candidates, mut why) = match scheme {
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1 => (vec![Way::Direct], NoRoute::Oaep),
        WrapScheme::RsaAesKeyWrapSha256 | WrapScheme::RsaAesKeyWrapSha1 => {
            ([Way::Own].into_iter().chain(kwp.map(Way::Composed)).collect(), NoRoute::Compose)
        }
    };
    let mut chosen = None;
    for way in candidates {
        let mut works = true;
        for (cloud, public) in pairs {
            match prove_way(token, scheme, way, cloud, public.handle())? {
                Some(true) => {}
                Some(false) => (works, why) = (false, NoRoute::Nonconforming),
                None => works = false,
            }
        }
        if works {
            chosen = Some(way);
            break;
        }
    }
    let sizes = pairs.iter().map(|(cloud, _)| cloud.bits().to_string()).collect::<Vec<_>>().join(", ");
    let result = chosen.ok_or(why);
    checks.push(EnrolmentCheck {
        name: format!("wrap by {scheme} under RSA {sizes}"),
        expected: Expected::Works,
        passed: result.is_ok(),
        detail: match &result {
            Ok(way) => format!("{way}; unwrapped in software, it decrypts what the token encrypted"),
            Err(why) => why.to_string(),
        },
    });
    Ok(result)
}

/// Whether a way gives what the scheme says; `None`: the token refuses.
fn prove_way(token: &Token, scheme: WrapScheme, way: Way, cloud: &SoftwareKey, public: ObjectHandle) -> Result<Option<bool>, HsmError> {
    let key = throwaway(token)?;
    let ciphertext = known_ciphertext(token, key.handle()).map_err(HsmError::token("encrypting a known block"))?;
    let Ok(wrapped) = answer(routes::wrap(token, scheme, way, public, key.handle()))? else { return Ok(None) };
    let conforms = cloud.unwrap(scheme, &wrapped).is_some_and(|bytes| decrypts(&bytes, &ciphertext));
    Ok(Some(conforms))
}

/// Whether these bytes are the AES-256 key that encrypted the known block.
fn decrypts(key: &[u8], ciphertext: &[u8]) -> bool {
    let open = || {
        let key = DecryptingKey::ecb(UnboundCipherKey::new(&AES_256, key).ok()?).ok()?;
        let mut block = ciphertext.to_vec();
        Some(key.decrypt(&mut block, DecryptionContext::None).ok()? == KNOWN)
    };
    open().unwrap_or(false)
}
