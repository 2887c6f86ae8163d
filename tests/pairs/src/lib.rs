//! RSA pairs for tests, from files.
//!
//! Owns the files and hands each pair out once. Must not know what a pair is used for. `README.md` says why there are files.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The pairs of one size, in the order in which they are handed out.
struct Pairs {
    /// The length of the modulus.
    bits: usize,
    pkcs8: &'static [&'static [u8]],
}

macro_rules! pairs {
    ($folder:literal: $($bits:literal { $($number:literal)* })*) => {
        &[$(Pairs {
            bits: $bits,
            pkcs8: &[$(include_bytes!(concat!("../", $folder, "/rsa-", $bits, "-", $number, ".der"))),*],
        }),*]
    };
}

const CLOUDS: &[Pairs] = pairs!("clouds": 2048 { 1 2 3 4 5 6 7 8 } 3072 { 1 2 3 4 } 4096 { 1 2 3 4 });
const CLIENTS: &[Pairs] = pairs!("clients": 2048 { 1 2 3 4 } 3072 { 1 2 } 4096 { 1 2 });

/// Pairs that were not handed out yet.
pub struct Stock {
    pairs: &'static [Pairs],
    /// How many pairs of each size were handed out.
    taken: Mutex<BTreeMap<usize, usize>>,
}

impl Stock {
    /// The pairs that emulated clouds use as if they had generated them.
    #[must_use]
    pub const fn of_clouds() -> Self {
        Self::new(CLOUDS)
    }

    /// The pairs that clients bring. No emulated cloud uses them.
    #[must_use]
    pub const fn of_clients() -> Self {
        Self::new(CLIENTS)
    }

    const fn new(pairs: &'static [Pairs]) -> Self {
        Self { pairs, taken: Mutex::new(BTreeMap::new()) }
    }

    /// The next pair with a modulus of `bits` bits, as PKCS#8 in DER. `None`: all pairs of that size were handed out, or there are none.
    pub fn take(&self, bits: usize) -> Option<&'static [u8]> {
        let pairs = self.pairs.iter().find(|pairs| pairs.bits == bits)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = taken.entry(bits).or_default();
        let pair = pairs.pkcs8.get(*taken)?;
        *taken += 1;
        Some(pair)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pair_is_handed_out_once_and_no_cloud_has_a_client_s() {
        let mut seen = BTreeSet::new();
        for (stock, sizes) in
            [(Stock::of_clouds(), [(2048, 8), (3072, 4), (4096, 4)]), (Stock::of_clients(), [(2048, 4), (3072, 2), (4096, 2)])]
        {
            for (bits, count) in sizes {
                for _ in 0..count {
                    assert!(seen.insert(stock.take(bits).unwrap()), "a pair of {bits} bits is in the files twice");
                }
                assert_eq!(stock.take(bits), None);
            }
            assert_eq!(stock.take(1024), None);
        }
        assert_eq!(seen.len(), 24);
    }

    #[test]
    fn stocks_that_are_not_shared_hand_out_the_same_pairs_in_the_same_order() {
        let (one, other) = (Stock::of_clouds(), Stock::of_clouds());
        assert_eq!((one.take(4096), one.take(4096)), (other.take(4096), other.take(4096)));
        assert_ne!(one.take(4096), one.take(4096));
    }
}
