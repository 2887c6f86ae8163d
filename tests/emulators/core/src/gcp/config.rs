//! The configuration of an emulated project.

use std::time::Duration;

use super::readings::Readings;

#[derive(Clone, Debug)]
pub struct Config {
    /// As in resource names. Requests for another project are refused.
    pub project: String,
    pub readings: Readings,
    /// How long after a change a key may still be used in its former state. Zero: not at all.
    pub consistency: Duration,
    pub reveal_material: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { project: "emulated-project".into(), readings: Readings::default(), consistency: Duration::ZERO, reveal_material: false }
    }
}
