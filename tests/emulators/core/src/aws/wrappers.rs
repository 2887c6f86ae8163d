//! The emulator's own keys for imports: RSA pairs for wrapping, and the secret that encrypts tokens.

use rand_core::RngCore;

use crate::crypto::{Secret, Turns};

/// How many RSA pairs of each size the tokens use in turn.
const PAIRS: usize = 2;

pub(super) struct Wrappers {
    token_key: Secret,
    pub(super) pairs: Turns,
    /// How many tokens were issued.
    tokens: u64,
}

impl Wrappers {
    pub(super) fn new(rng: &mut dyn RngCore) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self { token_key: Secret::new(bytes), pairs: Turns::of(PAIRS), tokens: 0 }
    }

    /// The key that encrypts every kind of token.
    pub(super) fn token_key(&self) -> &Secret {
        &self.token_key
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }
}
