//! RSA pairs for wrapping that are used in turn.
//!
//! A cloud generates a new pair for each token, import job or key exchange key. That takes up to seconds, so an emulated cloud generates a
//! few of each size and reuses them. Two are enough to refuse what was wrapped under another one.

use std::{collections::BTreeMap, sync::Arc};

use super::{Crypto, Pair, Refused, RsaSize};

/// Pairs of each size, generated when they are first needed.
pub(crate) struct Turns {
    most: usize,
    sizes: BTreeMap<RsaSize, Size>,
}

/// The pairs of one size.
#[derive(Default)]
struct Size {
    pairs: Vec<Arc<Pair>>,
    next: usize,
}

impl Turns {
    /// Uses this many pairs of each size in turn.
    pub(crate) fn of(most: usize) -> Self {
        Self { most, sizes: BTreeMap::new() }
    }

    /// Adds a pair that was generated beforehand, if fewer than the most are there.
    pub(crate) fn provide(&mut self, size: RsaSize, pair: Pair) {
        let Size { pairs, .. } = self.sizes.entry(size).or_default();
        if pairs.len() < self.most {
            pairs.push(Arc::new(pair));
        }
    }

    /// The next pair, and its position among those of its size.
    pub(crate) fn next<C: Crypto + ?Sized>(&mut self, crypto: &C, size: RsaSize) -> Result<(usize, &Arc<Pair>), Refused> {
        let Size { pairs, next } = self.sizes.entry(size).or_default();
        let turn = *next;
        if turn == pairs.len() {
            pairs.push(Arc::new(crypto.make_pair(size)?));
        }
        *next = (turn + 1) % self.most;
        Ok((turn, &pairs[turn]))
    }

    /// The pair at a position that [`Self::next`] returned.
    pub(crate) fn at(&self, size: RsaSize, place: usize) -> Option<&Pair> {
        self.sizes.get(&size)?.pairs.get(place).map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::RsaPairs;

    #[test]
    fn pairs_of_each_size_take_turns_and_are_found_where_they_are() {
        let crypto = RsaPairs::fixed();
        let mut turns = Turns::of(2);
        let mut next = |size| turns.next(&crypto, size).map(|(place, pair)| (place, pair.public.clone())).unwrap();
        let [first, second, other, again] = [RsaSize::Rsa2048, RsaSize::Rsa2048, RsaSize::Rsa3072, RsaSize::Rsa2048].map(&mut next);
        assert_ne!(first.1, second.1, "what was wrapped under another pair would be opened");
        assert_eq!([first.0, second.0, other.0], [0, 1, 0]);
        assert_eq!(again, first);
        assert_eq!(turns.at(RsaSize::Rsa2048, 1).unwrap().public, second.1);
        assert!(turns.at(RsaSize::Rsa3072, 1).is_none() && turns.at(RsaSize::Rsa4096, 0).is_none());
    }

    #[test]
    fn a_pair_that_was_made_beforehand_has_the_first_turn_and_none_is_taken_without_room() {
        let crypto = RsaPairs::fixed();
        let mut turns = Turns::of(2);
        let publics: Vec<Vec<u8>> = std::iter::repeat_with(|| {
            let pair = crypto.make_pair(RsaSize::Rsa2048).unwrap();
            let public = pair.public.clone();
            turns.provide(RsaSize::Rsa2048, pair);
            public
        })
        .take(3)
        .collect();
        assert!(turns.at(RsaSize::Rsa2048, 2).is_none(), "a pair is kept that never has its turn");
        for public in [&publics[0], &publics[1], &publics[0]] {
            assert_eq!(&turns.next(&crypto, RsaSize::Rsa2048).unwrap().1.public, public);
        }
    }
}
