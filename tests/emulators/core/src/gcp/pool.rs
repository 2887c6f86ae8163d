//! RSA pairs for wrapping.

use std::{collections::BTreeMap, sync::Arc};

use crate::crypto::{Crypto, Pair, Refused, RsaSize};

/// Pairs of each size. Google makes a new pair for every import job; making one takes up to seconds, so here the jobs take
/// turns. Two are enough to refuse a client that wraps under another job's key.
const PAIRS: usize = 2;

/// Pairs that take turns.
#[derive(Default)]
pub(super) struct Pool(BTreeMap<RsaSize, Turns>);

#[derive(Default)]
struct Turns {
    pairs: Vec<Arc<Pair>>,
    next: usize,
}

impl Pool {
    /// The pair for the next job.
    pub(super) fn next<C: Crypto + ?Sized>(&mut self, crypto: &C, size: RsaSize) -> Result<Arc<Pair>, Refused> {
        let Turns { pairs, next } = self.0.entry(size).or_default();
        let turn = *next;
        if turn == pairs.len() {
            pairs.push(Arc::new(crypto.make_pair(size)?));
        }
        *next = (turn + 1) % PAIRS;
        Ok(Arc::clone(&pairs[turn]))
    }
}
