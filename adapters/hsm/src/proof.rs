//! Self-tests with throwaway keys, which prove what a token can do.
//!
//! A throwaway key is wrapped under AES and unwrapped again, as a blob is. Then the token wraps it for an RSA key made in software, and
//! software unwraps it. What arrives must be the throwaway key: a secret key decrypts what the token encrypted with it; a private key is
//! strict PKCS#8 and belongs to its public key.
//!
//! For each scheme the first way that passes is used: RSA-OAEP alone; or the token's own `CKM_RSA_AES_KEY_WRAP`, and then one composed of
//! an ephemeral AES key, AES-KWP and RSA-OAEP.

use std::collections::BTreeMap;

use aws_lc_rs::rsa::KeySize;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use keyplane_model::{Algorithm, WrapScheme};
use keyplane_port::{EnrolmentCheck, Expected, RsaPublicKey};

use crate::HsmError;
use crate::derive::{self, Label};
use crate::error::{NoRoute, Unsupported, is_refusal};
use crate::kind::Kind;
use crate::pair::Pair;
use crate::pkcs11;
use crate::routes::{self, Kwp, Routes, Way};
use crate::software::SoftwareKey;
use crate::template::{self, Fences, Life, Use};
use crate::throwaway::Throwaway;
use crate::token::{Ephemeral, Token};

/// The version of these self-tests. Raise it whenever the self-tests, the negative controls or the meaning of a [`Way`] change: records of
/// another version are not believed.
pub(crate) const VERSION: u32 = 2;

/// What the self-tests cover.
#[derive(Debug)]
pub(crate) struct Effort {
    /// The moduli of the RSA keys to wrap under.
    moduli: &'static [KeySize],
    /// The algorithms of the keys that are wrapped.
    algorithms: &'static [Algorithm],
}

/// Enough to find a route: RSA-2048 stands for longer moduli, which take seconds to generate.
pub(crate) const QUICK: &Effort = &Effort {
    moduli: &[KeySize::Rsa2048],
    algorithms: &[Algorithm::Aes256, Algorithm::HmacSha256, Algorithm::Rsa2048, Algorithm::EcP256, Algorithm::EcP384],
};
/// What enrolment covers: every modulus that the clouds offer, and every algorithm.
pub(crate) const THOROUGH: &Effort =
    &Effort { moduli: &[KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096], algorithms: &Algorithm::ALL };

/// Tests what the token can do. `wrapping` is the root wrapping key, if the token has one: an older release may have given it other
/// attributes than a throwaway key gets now.
pub(crate) fn prove(token: &Token, wrapping: Option<ObjectHandle>, effort: &Effort) -> Result<(Routes, Vec<EnrolmentCheck>), HsmError> {
    let mut checks = Vec::new();
    let kwp = prove_kwp(token, &mut checks)?;
    let derives = prove_derivation(token, &mut checks)?;
    // Generating RSA keys takes most of the time, so software generates its keys while the token generates the others.
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

/// Removes the routes of keys that this root wrapping key cannot wrap and unwrap again. The self-tests ran before it was made, or an older
/// release made it with other attributes.
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

/// `None`: the token refuses the operation, or does not show a public attribute, or makes malformed pairs. Any other failure is an error.
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

/// Wraps under AES, unwraps, and compares. Then it changes one bit, and unwrapping must fail.
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
        // RFC 5649 adds 8 bytes to the key's 32.
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

/// Derives twice with the same context, for equal keys, and once with another, for a different key.
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

/// Generates a key of each algorithm, wraps it as for a blob, and unwraps it again.
fn prove_keeping<'token>(
    token: &'token Token,
    wrapping: Option<ObjectHandle>,
    kwp: Option<Kwp>,
    effort: &Effort,
    checks: &mut Vec<EnrolmentCheck>,
) -> Result<Keys<'token>, HsmError> {
    // The same attributes as the root wrapping key gets.
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

/// The way that a scheme has for keys of each algorithm.
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
    // `None`: the token cannot make a key of that length, so it does not show whether a way pads. The private keys alone have to show it.
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

/// Whether a way appends bytes to what it wraps.
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

/// Whether what a way wraps unwraps as the scheme says, under every modulus. `None`: the token refuses to wrap.
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

/// The result for an RSA length that was not tested: that of RSA-2048, if the token says that it generates such moduli. `None`: the
/// algorithm was tested, or has no stand-in.
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

/// Groups algorithms by their result.
fn grouped<T: Ord>(results: impl Iterator<Item = (Algorithm, T)>) -> BTreeMap<T, Vec<Algorithm>> {
    let mut groups = BTreeMap::new();
    for (algorithm, result) in results {
        groups.entry(result).or_insert_with(Vec::new).push(algorithm);
    }
    groups
}
