//! What an emulated project is like.

use std::time::Duration;

use super::readings::Readings;

/// What the emulated project is like.
#[derive(Clone, Debug)]
pub struct Config {
    /// The project's id, as resource names have it. Requests for another project are refused.
    pub project: String,
    /// How to read what Google's documents leave open.
    pub readings: Readings,
    /// How long after a change a key may still be used as before it. Zero: not at all.
    pub consistency: Duration,
    /// Whether the dump shows key material.
    pub reveal_material: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { project: "emulated-project".into(), readings: Readings::default(), consistency: Duration::ZERO, reveal_material: false }
    }
}
