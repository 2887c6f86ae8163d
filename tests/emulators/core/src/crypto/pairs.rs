//! RSA pairs from files, for tests that need a pair but do not test generating one.

use std::sync::Arc;

use aws_lc_rs::rsa::PrivateDecryptingKey;
use keyplane_pairs::Stock;

use super::{Pair, PairSource, RealCrypto, Refused, RsaSize};

/// Real cryptography, with RSA pairs that are generated or taken from files.
#[derive(Clone, Default)]
pub struct RsaPairs {
    /// The pairs to take first. `None`: every pair is generated.
    stock: Option<Arc<Stock>>,
}

impl RsaPairs {
    /// Takes the pairs of `keyplane-pairs` in order, and generates when those of a size are used up. Their private keys are public and
    /// protect nothing. Clones share one stock, so no two of them get the same pair.
    #[must_use]
    pub fn fixed() -> Self {
        Self { stock: Some(Arc::new(Stock::of_clouds())) }
    }
}

impl PairSource for RsaPairs {
    fn next_pair(&self, size: RsaSize) -> Result<Pair, Refused> {
        match self.stock.as_ref().and_then(|stock| stock.take(size.bytes() * 8)) {
            Some(pkcs8) => Pair::of(&PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| Refused)?),
            None => RealCrypto.next_pair(size),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};

    use super::*;
    use crate::crypto::{Crypto as _, OaepHash};

    const SIZES: [RsaSize; 3] = [RsaSize::Rsa2048, RsaSize::Rsa3072, RsaSize::Rsa4096];

    /// A ciphertext under the public key has the expected length, and the private key decrypts it.
    fn assert_works(pair: &Pair, size: RsaSize) {
        let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&pair.public).unwrap()).unwrap();
        let mut wrapped = vec![0; size.bytes()];
        let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, b"plain", &mut wrapped, None).unwrap();
        assert_eq!(wrapped.len(), size.bytes());
        assert_eq!(RealCrypto.unwrap_oaep(&pair.private, OaepHash::Sha256, wrapped).unwrap().expose(), b"plain");
    }

    /// The only test that waits for a new pair of every size. That two new pairs differ is shown where one cannot decrypt for the other.
    #[test]
    fn a_source_without_files_generates_pairs_of_every_size() {
        for size in SIZES {
            let pair = RsaPairs::default().make_pair(size).unwrap();
            assert_works(&pair, size);
            let stock = Stock::of_clouds();
            let mut files = std::iter::from_fn(|| stock.take(size.bytes() * 8));
            assert!(files.all(|file| file != pair.private.expose()), "{size:?}");
        }
    }

    #[test]
    fn pairs_from_files_are_whole_and_all_different() {
        for size in SIZES {
            let bits = size.bytes() * 8;
            let (clouds, clients) = (Stock::of_clouds(), Stock::of_clients());
            let mut publics = BTreeSet::new();
            while let Some(file) = clouds.take(bits).or_else(|| clients.take(bits)) {
                let pair = Pair::of(&PrivateDecryptingKey::from_pkcs8(file).unwrap()).unwrap();
                assert_works(&pair, size);
                assert_eq!(pair.private.expose(), file, "a file is written as every key is");
                assert!(publics.insert(pair.public), "two files hold one pair");
            }
        }
    }

    #[test]
    fn clones_share_what_is_left_and_then_new_pairs_are_generated() {
        let (one, other) = (RsaPairs::fixed(), RsaPairs::fixed());
        let clone = one.clone();
        let mut publics = BTreeSet::new();
        for _ in 0..5 {
            for source in [&one, &clone] {
                assert!(publics.insert(source.make_pair(RsaSize::Rsa2048).unwrap().public), "a pair was handed out twice");
            }
        }
        assert!(publics.contains(&other.make_pair(RsaSize::Rsa2048).unwrap().public), "another stock begins with the same pairs");
    }
}
