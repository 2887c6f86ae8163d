//! The proof of what a token can do: self-tests with throwaway keys.
//!
//! A throwaway key is wrapped under AES and brought back, as a blob's is; then it is wrapped for an RSA key made in
//! software, unwrapped here, and must be the key that the token knows: it decrypts what that encrypted, or, as strict PKCS#8, it
//! is the other half of that public key. Ways are tried in order: direct RSA-OAEP; the token's own `CKM_RSA_AES_KEY_WRAP`; composed of
//! an ephemeral AES key, AES-KWP and RSA-OAEP.

use std::collections::BTreeMap;

use aws_lc_rs::rsa::KeySize;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use keyplane_model::{Algorithm, WrapScheme};
use keyplane_port::{EnrolmentCheck, Expected};

use crate::HsmError;
use crate::derive::{self, Label};
use crate::error::{NoRoute, Unsupported, is_refusal};
use crate::kind::Kind;
use crate::pair::Pair;
use crate::pkcs11;
use crate::routes::{self, Kwp, Routes, Way};
use crate::software::SoftwareKey;
use crate::spki::RsaPublicKey;
use crate::template::{self, Fences, Life, Use};
use crate::throwaway::Throwaway;
use crate::token::{Ephemeral, Token};

/// The version of this proof. It has to be raised whenever the self-tests, the negative controls or the meaning of a way change: records
/// of another version are not believed.
pub(crate) const VERSION: u32 = 1;

/// How much is tried.
#[derive(Debug)]
pub(crate) struct Effort {
    /// What is wrapped under.
    moduli: &'static [KeySize],
    /// What is wrapped.
    algorithms: &'static [Algorithm],
}

/// Enough to tell whether a route is there: RSA-2048 stands for longer moduli, which take seconds to make.
pub(crate) const QUICK: &Effort = &Effort {
    moduli: &[KeySize::Rsa2048],
    algorithms: &[Algorithm::Aes256, Algorithm::HmacSha256, Algorithm::Rsa2048, Algorithm::EcP256, Algorithm::EcP384],
};
/// What enrolment tries: every modulus that the clouds offer, and every algorithm.
pub(crate) const THOROUGH: &Effort =
    &Effort { moduli: &[KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096], algorithms: &Algorithm::ALL };

/// Finds and proves what the token can do; with its root wrapping key where it has one, since that was made when it was made.
pub(crate) fn prove(token: &Token, wrapping: Option<ObjectHandle>, effort: &Effort) -> Result<(Routes, Vec<EnrolmentCheck>), HsmError> {
    let mut checks = Vec::new();
    let kwp = prove_kwp(token, &mut checks)?;
    let derives = prove_derivation(token, &mut checks)?;
    // Making RSA keys takes most of the time: software makes its own while the token makes those of the token.
    let (keys, clouds) = std::thread::scope(|scope| {
        let clouds = scope.spawn(|| effort.moduli.iter().map(|size| SoftwareKey::make(*size)).collect::<Result<Vec<_>, HsmError>>());
        let keys = prove_keeping(token, wrapping, kwp, effort, &mut checks);
        (keys, clouds.join().unwrap_or(Err(HsmError::Software("making RSA keys"))))
    });
    let (keys, clouds) = (keys?, clouds?);
    let import = |cloud: SoftwareKey| {
        let public = routes::import(token, &RsaPublicKey::parse(cloud.spki())?)?;
        Ok((cloud, public))
    };
    let clouds = clouds.into_iter().map(import).collect::<Result<Vec<_>, HsmError>>()?;
    let mut ways = BTreeMap::new();
    for scheme in WrapScheme::ALL {
        let proven = prove_scheme(token, scheme, kwp, &clouds, &keys)?;
        checks.extend(scheme_checks(scheme, &clouds, &proven));
        let stand_ins = Algorithm::ALL.into_iter().filter_map(|algorithm| Some((algorithm, stand_in(token, algorithm, &proven)?)));
        ways.extend(stand_ins.chain(proven.clone()).map(|(algorithm, way)| ((scheme, algorithm), way)));
    }
    Ok((Routes { kwp, derives, ways }, checks))
}

/// Takes away the routes of keys that this root wrapping key does not keep. A proof that was made before this key had a throwaway key in its
/// place, and the key may have been made by an older release.
pub(crate) fn narrow(token: &Token, wrapping: ObjectHandle, routes: &Routes) -> Result<(Routes, Vec<EnrolmentCheck>), HsmError> {
    let (mut routes, mut checks) = (routes.clone(), Vec::new());
    let keys = prove_keeping(token, Some(wrapping), routes.kwp, QUICK, &mut checks)?;
    for ((_, algorithm), way) in &mut routes.ways {
        let tried = if matches!(Kind::of(*algorithm), Kind::Pair(Pair::Rsa(_))) { Algorithm::Rsa2048 } else { *algorithm };
        if let (Ok(_), Some(Err(why))) = (&way, keys.get(&tried)) {
            *way = Err(*why);
        }
    }
    checks.retain(|check| !check.passed);
    Ok((routes, checks))
}

/// A refusal is an answer, and so is a key that does not show what it has to; anything else that goes wrong is an error.
fn answer<T>(result: Result<T, HsmError>) -> Result<Option<T>, HsmError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(HsmError::Token { source, .. }) if is_refusal(&source) => Ok(None),
        Err(HsmError::Attribute(_) | HsmError::Malformed) => Ok(None),
        Err(error) => Err(error),
    }
}

fn kek<'token>(token: &'token Token, template: &[cryptoki::object::Attribute]) -> Result<Ephemeral<'token>, HsmError> {
    token.generate(&Mechanism::AesKeyGen, template).map_err(HsmError::token("making a throwaway key"))
}

/// Wraps under AES, unwraps, and compares; then changes one bit, which must be noticed.
fn prove_kwp(token: &Token, checks: &mut Vec<EnrolmentCheck>) -> Result<Option<Kwp>, HsmError> {
    let kek = kek(token, &template::secret_of_256_bits(Life::Held, &[Use::Wrap, Use::Unwrap]))?;
    let key = Throwaway::make(token, Algorithm::Aes256)?;
    let works = |kwp: Kwp| -> Result<bool, HsmError> {
        let doing = || HsmError::token("testing itself");
        let mut wrapped = token.wrap(&kwp.mechanism(), kek.handle(), key.handle()).map_err(doing())?;
        let back = token.unwrap(&kwp.mechanism(), kek.handle(), &wrapped, &key.template()).map_err(doing())?;
        let same = key.is(back.handle())?;
        if let Some(byte) = wrapped.last_mut() {
            *byte ^= 1;
        }
        let noticed = token.unwrap(&kwp.mechanism(), kek.handle(), &wrapped, &key.template()).is_err();
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
    let root = kek(token, &template::secret_of_256_bits(Life::Held, &[Use::Derive]))?;
    let derived = |context: &[u8]| -> Result<_, HsmError> {
        let template = template::secret_of_256_bits(Life::Passing, &[Use::Encrypt]);
        let key = derive::derive(token, root.handle(), Label::Copy, context, &template).map_err(HsmError::token("testing itself"))?;
        Kind::Aes.check_value(token, key.handle())
    };
    let works = || -> Result<bool, HsmError> {
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

type Keys<'token> = BTreeMap<Algorithm, Result<Throwaway<'token>, NoRoute>>;

/// Makes a key of each algorithm, wraps it as for a blob, and brings it back.
fn prove_keeping<'token>(
    token: &'token Token,
    wrapping: Option<ObjectHandle>,
    kwp: Option<Kwp>,
    effort: &Effort,
    checks: &mut Vec<EnrolmentCheck>,
) -> Result<Keys<'token>, HsmError> {
    // As the root wrapping key is made.
    const USES: &[Use] = &[Use::Wrap, Use::Unwrap];
    let allowed = [pkcs11::kwp_type(), MechanismType::AES_KEY_WRAP_PAD];
    let throwaway = kek(token, &Fences::probe(token)?.fence(template::secret_of_256_bits(Life::Held, USES), USES, &allowed))?;
    let wrapping = wrapping.unwrap_or(throwaway.handle());
    let kept = |key: &Throwaway<'_>| -> Result<bool, HsmError> {
        let doing = || HsmError::token("testing itself");
        let Some(kwp) = kwp else { return Ok(false) };
        let wrapped = token.wrap(&kwp.mechanism(), wrapping, key.handle()).map_err(doing())?;
        let back = token.unwrap(&kwp.mechanism(), wrapping, &wrapped, &key.template()).map_err(doing())?;
        key.is(back.handle())
    };
    let mut keys = Keys::new();
    for &algorithm in effort.algorithms {
        let key = match answer(Throwaway::make(token, algorithm))? {
            Some(key) if answer(kept(&key))?.unwrap_or(false) => Ok(key),
            Some(_) => Err(NoRoute::Keep),
            None => Err(NoRoute::Make),
        };
        keys.insert(algorithm, key);
    }
    for (why, algorithms) in grouped(keys.iter().map(|(algorithm, key)| (*algorithm, key.as_ref().map(|_| ()).map_err(|why| *why)))) {
        checks.push(EnrolmentCheck {
            name: format!("make {}, keep under AES and bring back", routes::list(&algorithms)),
            expected: Expected::Works,
            passed: why.is_ok(),
            detail: why.map_or_else(|why| why.to_string(), |()| "the same keys again".to_owned()),
        });
    }
    Ok(keys)
}

/// How keys of each algorithm go by a scheme.
type Ways = BTreeMap<Algorithm, Result<Way, NoRoute>>;

fn prove_scheme(
    token: &Token,
    scheme: WrapScheme,
    kwp: Option<Kwp>,
    clouds: &[(SoftwareKey, Ephemeral<'_>)],
    keys: &Keys<'_>,
) -> Result<Ways, HsmError> {
    let (candidates, otherwise): (Vec<Way>, _) = match scheme {
        WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1 => (vec![Way::Direct], NoRoute::Oaep),
        WrapScheme::RsaAesKeyWrapSha256 | WrapScheme::RsaAesKeyWrapSha1 => {
            ([Way::Own].into_iter().chain(kwp.map(Way::Composed)).collect(), NoRoute::Compose)
        }
    };
    // A token that does not make it does not take it either; then the private keys have to do.
    let uneven = answer(Throwaway::uneven(token))?;
    let choose = |algorithm: Algorithm, key: &Throwaway<'_>| -> Result<Result<Way, NoRoute>, HsmError> {
        let mut why = otherwise;
        for &way in &candidates {
            match prove_way(token, scheme, way, clouds, key)? {
                Some(_) if !algorithm.is_symmetric() && pads(token, scheme, way, clouds, uneven.as_ref())? => why = NoRoute::Padded,
                Some(Ok(())) => return Ok(Ok(way)),
                Some(Err(because)) => why = because,
                None => {}
            }
        }
        Ok(Err(why))
    };
    let mut ways = Ways::new();
    for (&algorithm, key) in keys {
        if scheme.takes(algorithm) {
            ways.insert(algorithm, key.as_ref().map_or_else(|why| Ok(Err(*why)), |key| choose(algorithm, key))?);
        }
    }
    Ok(ways)
}

/// Whether a way makes longer what it wraps.
fn pads(
    token: &Token,
    scheme: WrapScheme,
    way: Way,
    clouds: &[(SoftwareKey, Ephemeral<'_>)],
    uneven: Option<&Throwaway<'_>>,
) -> Result<bool, HsmError> {
    let Some(key) = uneven else { return Ok(false) };
    Ok(matches!(prove_way(token, scheme, way, clouds, key)?, Some(Err(_))))
}

/// Whether what a way gives is what the scheme says, under every modulus; `None`: the token refuses.
fn prove_way(
    token: &Token,
    scheme: WrapScheme,
    way: Way,
    clouds: &[(SoftwareKey, Ephemeral<'_>)],
    key: &Throwaway<'_>,
) -> Result<Option<Result<(), NoRoute>>, HsmError> {
    for (cloud, public) in clouds {
        let wrapped = routes::wrap(token, scheme, way, public.handle(), key.handle()).map_err(HsmError::token("testing itself"));
        let Some(wrapped) = answer(wrapped)? else { return Ok(None) };
        let arrived = cloud.unwrap(scheme, &wrapped).ok_or(NoRoute::Nonconforming).and_then(|bytes| key.arrived(&bytes));
        if arrived.is_err() {
            return Ok(Some(arrived));
        }
    }
    Ok(Some(Ok(())))
}

/// What a scheme's proof says of an algorithm that was not tried: RSA-2048 stands for RSA, where the token says that it makes
/// such moduli. `None`: it was tried, or nothing stands for it.
fn stand_in(token: &Token, algorithm: Algorithm, proven: &Ways) -> Option<Result<Way, NoRoute>> {
    let Kind::Pair(Pair::Rsa(bits)) = Kind::of(algorithm) else { return None };
    if proven.contains_key(&algorithm) {
        return None;
    }
    let way = proven.get(&Algorithm::Rsa2048)?;
    Some(if token.rsa_sizes().is_some_and(|sizes| sizes.contains(&bits)) { *way } else { Err(NoRoute::Make) })
}

fn scheme_checks(scheme: WrapScheme, clouds: &[(SoftwareKey, Ephemeral<'_>)], proven: &Ways) -> Vec<EnrolmentCheck> {
    let sizes = clouds.iter().map(|(cloud, _)| cloud.bits().to_string()).collect::<Vec<_>>().join(", ");
    let check = |(way, algorithms): (Result<Way, NoRoute>, Vec<Algorithm>)| EnrolmentCheck {
        name: format!("wrap {} by {scheme} under RSA {sizes}", routes::list(&algorithms)),
        expected: Expected::Works,
        passed: way.is_ok(),
        detail: match way {
            Ok(way) => format!("{way}; unwrapped in software, it is the key that the token knows"),
            Err(why) => why.to_string(),
        },
    };
    grouped(proven.iter().map(|(algorithm, way)| (*algorithm, *way))).into_iter().map(check).collect()
}

/// Algorithms that fared alike.
fn grouped<T: Ord>(results: impl Iterator<Item = (Algorithm, T)>) -> BTreeMap<T, Vec<Algorithm>> {
    let mut groups = BTreeMap::new();
    for (algorithm, result) in results {
        groups.entry(result).or_insert_with(Vec::new).push(algorithm);
    }
    groups
}
