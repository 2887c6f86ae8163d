//! What the emulator keeps of its own for importing: RSA pairs for wrapping, and the secret that seals tokens.

use std::collections::BTreeMap;

use rand_core::RngCore;

use super::refusal::Refusal;
use crate::crypto::{Crypto, Pair, RsaSize, Secret};

/// RSA pairs of each size. AWS makes a new pair for every token; making one takes up to seconds, so here the tokens take
/// turns. Two are enough to refuse a client that wraps under another token's key.
const PAIRS: usize = 2;

/// Pairs and secret of one account.
pub(super) struct Wrappers {
    token_key: Secret,
    pairs: BTreeMap<RsaSize, Turns>,
    /// How many tokens were given out.
    tokens: u64,
}

/// Pairs of one size that take turns.
#[derive(Default)]
struct Turns {
    pairs: Vec<Pair>,
    next: usize,
}

impl Wrappers {
    pub(super) fn new(rng: &mut dyn RngCore) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self { token_key: Secret::new(bytes), pairs: BTreeMap::new(), tokens: 0 }
    }

    /// What seals every kind of token.
    pub(super) fn token_key(&self) -> &Secret {
        &self.token_key
    }

    /// The pair for the next token.
    pub(super) fn next_pair(&mut self, crypto: &dyn Crypto, size: RsaSize) -> Result<(usize, &Pair), Refusal> {
        let Turns { pairs, next } = self.pairs.entry(size).or_default();
        let turn = *next;
        if turn == pairs.len() {
            pairs.push(crypto.make_pair(size)?);
        }
        *next = (turn + 1) % PAIRS;
        Ok((turn, &pairs[turn]))
    }

    /// The pair at this place among those of its size, where [`Wrappers::next_pair`] said that it is.
    pub(super) fn pair(&self, size: RsaSize, place: usize) -> Option<&Pair> {
        self.pairs.get(&size)?.pairs.get(place)
    }

    /// A number for the next token.
    pub(super) fn next_number(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
}
