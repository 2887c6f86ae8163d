//! Counts the requests that an adapter sends.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How often an adapter's requests have drawn from each quota, by the quota's name.
#[derive(Debug, Default)]
pub struct Sent(Mutex<BTreeMap<&'static str, u64>>);

impl Sent {
    /// Counts a request that is about to leave, and that draws this often.
    pub fn count(&self, quota: &'static str, times: usize) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let so_far = sent.entry(quota).or_default();
        *so_far = so_far.saturating_add(u64::try_from(times).unwrap_or(u64::MAX));
    }

    #[must_use]
    pub fn of(&self, quota: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(quota).copied().unwrap_or_default()
    }
}
