//! What was asked of a cloud: every request, in order, so that a test can look for what must not be in it.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

use crate::{Timestamp, fault::Effect};

/// How many requests are kept; the oldest go first. Enough for a kill matrix, and bounded at 100,000 keys.
const KEPT: usize = 20_000;

/// One request that the emulator received, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counted from 1 since the emulator began.
    pub sequence: u64,
    /// Counted from 1 among the requests that can change something; absent on others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutation: Option<u64>,
    /// When it came, in microseconds since the epoch, on the emulator's clock.
    pub at: Timestamp,
    /// The operation's name on the wire.
    pub operation: String,
    /// The region that it was addressed to, where a cloud has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The key that it names, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The length of its body in bytes.
    pub size: usize,
    /// The whole body; null if it was not JSON.
    pub body: Value,
    /// The wrapped key material in it, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapped_material: Option<String>,
    /// The fault that hit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Effect>,
    /// `ok` or an error code; absent as long as it took no effect and got no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// The requests so far.
#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    count: u64,
    mutations: u64,
}

impl Journal {
    /// How many requests there were, the forgotten ones included.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them could change something.
    pub fn mutations(&self) -> u64 {
        self.mutations
    }

    /// The requests that are kept, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets the requests; the counters go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Counts a request and gives its numbers: among all, and among the mutating ones.
    pub(crate) fn number(&mut self, mutating: bool) -> (u64, Option<u64>) {
        self.count += 1;
        self.mutations += u64::from(mutating);
        (self.count, mutating.then_some(self.mutations))
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Writes down how a request ended, if it is still kept.
    pub(crate) fn outcome(&mut self, sequence: u64, outcome: &str) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.sequence == sequence) {
            entry.outcome = Some(outcome.to_owned());
        }
    }
}
