//! A server that was taken over, and a custodian that it asks for everything.
//!
//! Owns runs without engine and clouds: an adversary with everything that a server ever saw, people who sign what they are shown, the
//! custodian's judgement with a token in memory, and a checker that knows who signed what. Each run is drawn from its seed.
//!
//! | module | owns |
//! |---|---|
//! | `cast` | the clock, the people and their keys, and charters |
//! | `sets` | change sets |
//! | `adversary` | what it knows and does |
//! | `checker` | what the custodian should not have let through |
//! | `planted` | custodians that let too much through, to test the checker with |

mod adversary;
mod cast;
mod checker;
mod planted;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use adversary::Adversary;
pub(crate) use checker::{Broken, touched};
pub(crate) use planted::Planted;

/// How many things the adversary does in a run.
const MOVES: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) broken: Vec<Broken>,
    /// How often each thing happened.
    pub(crate) counts: BTreeMap<String, u64>,
    /// What happened, if it was to be read.
    pub(crate) lines: Vec<String>,
}

/// Runs the schedule of a seed, with a planted variant if one is given.
pub(crate) fn run(seed: u64, planted: Option<Planted>, readable: bool) -> Ended {
    let mut adversary = Adversary::new(seed, planted, readable);
    for _ in 0..MOVES {
        adversary.act();
    }
    let (broken, counts, lines) = adversary.end();
    Ended { broken, counts, lines }
}
