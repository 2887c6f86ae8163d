//! Symbolic cryptography: a ciphertext is a number without information, and a table holds its meaning.
//!
//! Only this file knows the key bytes of a run, and so it can recognise them wherever they must not be (rule 1). One table serves the HSM
//! and every emulated cloud. A cloud can open exactly what the real mechanisms would let it open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keyplane_emulator_core::crypto::keys::{AesMode, Curve, EcPublic, Hash, KeyCrypto, RsaEncryption, RsaNumbers, RsaPublic, RsaSignature};
use keyplane_emulator_core::crypto::service::{MacHash, PairKind, ServiceCrypto};
use keyplane_emulator_core::crypto::{Crypto, OaepHash, Pair, Refused, RsaSize, Secret};
use keyplane_model::{Algorithm, Digest};
use sha2::{Digest as _, Sha256};

use crate::executor::locked;

/// The bytes of a symbol: those of an AES-256 key, or the secret part of a private key.
pub(crate) const SYMBOL: usize = 32;

/// So many bytes of a written key identify it, even if the rest is written in another way.
const TELLS: usize = 16;

/// The table of a run. A clone is the same table.
#[derive(Clone, Default)]
pub(crate) struct Symbols(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    numbers: u64,
    /// By ciphertext.
    meanings: BTreeMap<Vec<u8>, Meaning>,
    /// The bytes of all our keys; of a pair, the secret part.
    keys: Vec<[u8; SYMBOL]>,
    /// The digests of all public keys of clouds' pairs.
    publics: BTreeSet<Digest>,
}

/// What a ciphertext stands for: the plaintext, the key, and the mechanism.
struct Meaning {
    under: Vec<u8>,
    how: How,
    plaintext: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Oaep(OaepHash),
    Kwp,
    Sealed { nonce: Vec<u8>, context: Vec<u8> },
}

impl Symbols {
    /// Generates a key's bytes.
    pub(crate) fn key(&self, what: &str) -> [u8; SYMBOL] {
        let mut table = locked(&self.0);
        let key = table.draw(what);
        table.keys.push(key);
        key
    }

    /// Derives a key's bytes: the same input gives the same bytes.
    pub(crate) fn derived(&self, from: &[u8]) -> [u8; SYMBOL] {
        let key: [u8; SYMBOL] = Sha256::new().chain_update(b"derived").chain_update(from).finalize().into();
        let mut table = locked(&self.0);
        if !table.keys.contains(&key) {
            table.keys.push(key);
        }
        key
    }

    /// Generates a private key. [`public_half`] gives its public key.
    pub(crate) fn pair(&self, algorithm: Algorithm) -> Vec<u8> {
        private_half(algorithm, &self.key(algorithm.as_str()))
    }

    /// Encrypts under an RSA public key, by OAEP.
    pub(crate) fn oaep(&self, public: &[u8], hash: OaepHash, plaintext: &[u8]) -> Vec<u8> {
        locked(&self.0).seal(public, How::Oaep(hash), plaintext, public.len())
    }

    /// Encrypts under an AES key, by AES-KWP.
    pub(crate) fn kwp(&self, key: &[u8], plaintext: &[u8]) -> Vec<u8> {
        locked(&self.0).seal(key, How::Kwp, plaintext, plaintext.len().next_multiple_of(8) + 8)
    }

    /// Whether a cloud made a pair whose public key has this digest.
    pub(crate) fn gave(&self, public: &Digest) -> bool {
        locked(&self.0).publics.contains(public)
    }

    /// The plaintext of an AES-KWP ciphertext, if this is its key.
    pub(crate) fn unwrap(&self, key: &[u8], wrapped: &[u8]) -> Option<Vec<u8>> {
        Some(self.open(key, &How::Kwp, wrapped).ok()?.expose().to_vec())
    }

    /// The first key whose bytes are in one of the texts, by its number, with the number of the text. The bytes may be raw, in hexadecimal,
    /// or in Base64 at any offset.
    pub(crate) fn leaked(&self, texts: &[&[u8]]) -> Option<(usize, usize)> {
        let keys = locked(&self.0).keys.clone();
        let patterns: Vec<Vec<u8>> = keys.iter().flat_map(written).collect();
        let every = patterns.len() / keys.len().max(1);
        let search = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&patterns).ok()?;
        texts.iter().enumerate().find_map(|(number, text)| Some((search.find(text)?.pattern().as_usize() / every, number)))
    }

    fn open(&self, under: &[u8], how: &How, ciphertext: &[u8]) -> Result<Secret, Refused> {
        let table = locked(&self.0);
        let meaning = table.meanings.get(ciphertext).filter(|meaning| meaning.under == under && meaning.how == *how);
        meaning.map(|meaning| Secret::new(meaning.plaintext.as_slice())).ok_or(Refused)
    }
}

/// The ways in which a key's bytes may be written.
fn written(key: &[u8; SYMBOL]) -> [Vec<u8>; 8] {
    let base64 = |encode: &dyn Fn(&[u8]) -> String, shift: usize| {
        let text = encode(&[&[0; 2][..shift], key].concat());
        // Characters that also depend on adjacent bytes are left out, on both sides.
        let end = text.len() - 2;
        text.as_bytes()[2 * shift..end].to_vec()
    };
    let (standard, url) = (|bytes: &[u8]| STANDARD_NO_PAD.encode(bytes), |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes));
    let written = [
        key.to_vec(),
        hex::encode(key).into_bytes(),
        base64(&standard, 0),
        base64(&standard, 1),
        base64(&standard, 2),
        base64(&url, 0),
        base64(&url, 1),
        base64(&url, 2),
    ];
    written.map(|mut text| {
        text.truncate(TELLS);
        text
    })
}

impl Table {
    /// Unique bytes.
    fn draw(&mut self, what: &str) -> [u8; SYMBOL] {
        self.numbers += 1;
        Sha256::new().chain_update(what).chain_update(self.numbers.to_be_bytes()).finalize().into()
    }

    fn seal(&mut self, under: &[u8], how: How, plaintext: &[u8], length: usize) -> Vec<u8> {
        let mut ciphertext = Vec::with_capacity(length + SYMBOL);
        while ciphertext.len() < length {
            ciphertext.extend(self.draw("ciphertext"));
        }
        ciphertext.truncate(length);
        self.meanings.insert(ciphertext.clone(), Meaning { under: under.to_vec(), how, plaintext: plaintext.to_vec() });
        ciphertext
    }
}

/// A symbolic private key: its algorithm and its secret part. It stands for PKCS#8.
fn private_half(algorithm: Algorithm, secret: &[u8; SYMBOL]) -> Vec<u8> {
    [algorithm.as_str().as_bytes(), b":", secret].concat()
}

/// A private key's algorithm, and its public key: the modulus, or both coordinates. The secret part does not follow from it.
pub(crate) fn public_half(private: &[u8]) -> Option<(Algorithm, Vec<u8>)> {
    let (name, _) = private.split_at_checked(private.len().checked_sub(SYMBOL)?)?;
    let algorithm = Algorithm::ALL.into_iter().find(|algorithm| name.strip_suffix(b":") == Some(algorithm.as_str().as_bytes()))?;
    let length = match algorithm {
        Algorithm::Rsa2048 => RsaSize::Rsa2048.bytes(),
        Algorithm::Rsa3072 => RsaSize::Rsa3072.bytes(),
        Algorithm::Rsa4096 => RsaSize::Rsa4096.bytes(),
        Algorithm::EcP256 => 2 * Curve::P256.bytes(),
        Algorithm::EcP384 => 2 * Curve::P384.bytes(),
        Algorithm::Aes256 | Algorithm::HmacSha256 => return None,
    };
    let mut public = Vec::with_capacity(length + SYMBOL);
    for number in 0_u32.. {
        if public.len() >= length {
            break;
        }
        public.extend(Sha256::new().chain_update(b"public").chain_update(private).chain_update(number.to_be_bytes()).finalize());
    }
    public.truncate(length);
    // The highest bit of a modulus is set.
    public[0] |= 0x80;
    Some((algorithm, public))
}

fn algorithm_of(curve: Curve) -> Option<Algorithm> {
    match curve {
        Curve::P256 => Some(Algorithm::EcP256),
        Curve::P384 => Some(Algorithm::EcP384),
        Curve::P521 | Curve::Secp256k1 => None,
    }
}

fn is_rsa(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096)
}

/// The public key of an RSA key.
fn rsa(private: &Secret) -> Result<Vec<u8>, Refused> {
    public_half(private.expose()).filter(|(algorithm, _)| is_rsa(*algorithm)).map(|(_, public)| public).ok_or(Refused)
}

/// The public key of a key on this curve.
fn ec(curve: Curve, private: &Secret) -> Result<Vec<u8>, Refused> {
    public_half(private.expose()).filter(|(algorithm, _)| Some(*algorithm) == algorithm_of(curve)).map(|(_, public)| public).ok_or(Refused)
}

impl Crypto for Symbols {
    fn make_pair(&self, size: RsaSize) -> Result<Pair, Refused> {
        let algorithm = match size {
            RsaSize::Rsa2048 => Algorithm::Rsa2048,
            RsaSize::Rsa3072 => Algorithm::Rsa3072,
            RsaSize::Rsa4096 => Algorithm::Rsa4096,
        };
        // A pair of the cloud's own, so it is not searched for.
        let private = private_half(algorithm, &locked(&self.0).draw("pair"));
        let (_, public) = public_half(&private).ok_or(Refused)?;
        locked(&self.0).publics.insert(Digest::of(&public));
        Ok(Pair { public, private: Secret::new(private) })
    }

    fn unwrap_oaep(&self, private: &Secret, hash: OaepHash, wrapped: &[u8]) -> Result<Secret, Refused> {
        self.open(&rsa(private)?, &How::Oaep(hash), wrapped)
    }

    fn unwrap_kwp(&self, key: &Secret, wrapped: &[u8]) -> Result<Secret, Refused> {
        self.open(key.expose(), &How::Kwp, wrapped)
    }

    fn seal(&self, key: &Secret, nonce: [u8; 12], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        let how = How::Sealed { nonce: nonce.to_vec(), context: context.to_vec() };
        Ok(locked(&self.0).seal(key.expose(), how, plaintext, plaintext.len() + 16))
    }

    fn open(&self, key: &Secret, nonce: [u8; 12], context: &[u8], sealed: &[u8]) -> Result<Secret, Refused> {
        Self::open(self, key.expose(), &How::Sealed { nonce: nonce.to_vec(), context: context.to_vec() }, sealed)
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        hash.finalize().into()
    }
}

/// In a run, keys are imported and shown, but not used.
impl KeyCrypto for Symbols {
    fn make_ec(&self, _: Curve) -> Result<Secret, Refused> {
        Err(Refused)
    }

    fn read_rsa(&self, pkcs8: &Secret) -> Result<RsaPublic, Refused> {
        Ok(RsaPublic { modulus: rsa(pkcs8)?, exponent: vec![1, 0, 1] })
    }

    fn read_ec(&self, curve: Curve, pkcs8: &Secret) -> Result<EcPublic, Refused> {
        let mut x = ec(curve, pkcs8)?;
        let y = x.split_off(curve.bytes());
        Ok(EcPublic { x, y })
    }

    fn join_rsa(&self, _: &RsaPublic, _: &RsaNumbers) -> Result<Secret, Refused> {
        Err(Refused)
    }

    fn join_ec(&self, _: Curve, _: &EcPublic, _: &Secret) -> Result<Secret, Refused> {
        Err(Refused)
    }

    fn rsa_sign(&self, _: &Secret, _: RsaSignature, _: Hash, _: &[u8]) -> Result<Vec<u8>, Refused> {
        Err(Refused)
    }

    fn rsa_verify(&self, _: &Secret, _: RsaSignature, _: Hash, _: &[u8], _: &[u8]) -> Result<bool, Refused> {
        Err(Refused)
    }

    fn ec_sign(&self, _: Curve, _: &Secret, _: &[u8]) -> Result<Vec<u8>, Refused> {
        Err(Refused)
    }

    fn ec_verify(&self, _: Curve, _: &Secret, _: &[u8], _: &[u8]) -> Result<bool, Refused> {
        Err(Refused)
    }

    fn rsa_encrypt(&self, _: &Secret, _: RsaEncryption, _: &[u8]) -> Result<Vec<u8>, Refused> {
        Err(Refused)
    }

    fn rsa_decrypt(&self, _: &Secret, _: RsaEncryption, _: &[u8]) -> Result<Secret, Refused> {
        Err(Refused)
    }

    fn aes_encrypt(&self, key: &Secret, mode: AesMode, iv: &[u8], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        match mode {
            AesMode::Gcm => {
                let how = How::Sealed { nonce: iv.to_vec(), context: context.to_vec() };
                Ok(locked(&self.0).seal(key.expose(), how, plaintext, plaintext.len() + 16))
            }
            _ => Err(Refused),
        }
    }

    fn aes_decrypt(&self, key: &Secret, mode: AesMode, iv: &[u8], context: &[u8], ciphertext: &[u8]) -> Result<Secret, Refused> {
        match mode {
            AesMode::Gcm => Self::open(self, key.expose(), &How::Sealed { nonce: iv.to_vec(), context: context.to_vec() }, ciphertext),
            _ => Err(Refused),
        }
    }
}

/// What a run does not use is refused, or returns a number that nothing reads.
impl ServiceCrypto for Symbols {
    fn mac(&self, _: MacHash, key: &Secret, data: &[u8]) -> Vec<u8> {
        self.hash(&[b"mac", key.expose(), data]).to_vec()
    }

    fn digest(&self, _: Hash, data: &[u8]) -> Vec<u8> {
        self.hash(&[data]).to_vec()
    }

    fn sha1(&self, data: &[u8]) -> [u8; 20] {
        let mut short = [0; 20];
        short.copy_from_slice(&self.hash(&[b"sha1", data])[..20]);
        short
    }

    fn make_ed25519(&self) -> Result<Secret, Refused> {
        Err(Refused)
    }

    fn ed25519_sign(&self, _: &Secret, _: &[u8]) -> Result<Vec<u8>, Refused> {
        Err(Refused)
    }

    fn aes_ctr(&self, _: &Secret, _: [u8; 16], _: &[u8]) -> Result<Vec<u8>, Refused> {
        Err(Refused)
    }

    fn public_of(&self, kind: PairKind, pkcs8: &Secret) -> Result<Vec<u8>, Refused> {
        match kind {
            PairKind::Rsa => rsa(pkcs8),
            PairKind::Ec(curve) => ec(curve, pkcs8),
            PairKind::Ed25519 => Err(Refused),
        }
    }
}
