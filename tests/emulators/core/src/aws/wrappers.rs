//! What the emulator keeps of its own for importing: RSA pairs for wrapping, and the secret that seals tokens.

use rand_core::RngCore;

use crate::crypto::{Secret, Turns};

/// RSA pairs of each size that the tokens take in turns.
const PAIRS: usize = 2;

/// Pairs and secret of one account.
pub(super) struct Wrappers {
    token_key: Secret,
    pub(super) pairs: Turns,
    /// How many tokens were given out.
    tokens: u64,
}

impl Wrappers {
    pub(super) fn new(rng: &mut dyn RngCore) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self { token_key: Secret::new(bytes), pairs: Turns::of(PAIRS), tokens: 0 }
    }

    /// What seals every kind of token.
    pub(super) fn token_key(&self) -> &Secret {
        &self.token_key
    }

    /// A number for the next token.
    pub(super) fn next_number(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
}
