//! RSA pairs for key exchange keys.

use std::collections::BTreeMap;

use crate::crypto::{Crypto, Pair, Refused, RsaSize, keys::KeyCrypto};

/// RSA pairs of each size for key exchange keys. A vault makes a new pair each time; making one takes up to seconds, so
/// here the keys take turns. Three are enough to refuse what was wrapped under another one.
pub const PAIRS: usize = 3;

/// Pairs for key exchange keys.
#[derive(Default)]
pub(super) struct Pairs(BTreeMap<RsaSize, (Vec<Pair>, usize)>);

impl Pairs {
    /// Takes a pair that was made beforehand, if there is room for it.
    pub(super) fn provide(&mut self, size: RsaSize, pair: Pair) {
        let (pairs, _) = self.0.entry(size).or_default();
        if pairs.len() < PAIRS {
            pairs.push(pair);
        }
    }

    pub(super) fn next(&mut self, crypto: &dyn KeyCrypto, size: RsaSize) -> Result<&Pair, Refused> {
        let (pairs, next) = self.0.entry(size).or_default();
        let turn = *next;
        if turn == pairs.len() {
            pairs.push(Crypto::make_pair(crypto, size)?);
        }
        *next = (turn + 1) % PAIRS;
        Ok(&pairs[turn])
    }
}
