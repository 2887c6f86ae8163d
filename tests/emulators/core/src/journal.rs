//! Every request to a cloud, in order, so that a test can search them for what must not be in them.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

use crate::{Timestamp, fault::Effect};

/// How many requests are kept; the oldest are dropped first. Enough for a kill matrix, and a bound for 100,000 keys.
const KEPT: usize = 20_000;

/// A request that the emulator received, and its outcome.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Counted from 1 since the emulator started.
    pub sequence: u64,
    /// Counted from 1 among the mutating requests; absent on others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutation: Option<u64>,
    /// On the emulator's clock.
    pub at: Timestamp,
    /// The operation's name on the wire.
    pub operation: String,
    /// Absent if the cloud has no regions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// As the client wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// In bytes.
    pub size: usize,
    /// Null if it was not JSON.
    pub body: Value,
    /// In hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapped_material: Option<String>,
    /// The fault that the request met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Effect>,
    /// `ok` or an error code; absent as long as it had no effect and no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    count: u64,
    mutations: u64,
}

impl Journal {
    /// The number of requests since the start, including those that are no longer kept.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number of mutating requests since the start.
    pub fn mutations(&self) -> u64 {
        self.mutations
    }

    /// Oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets the requests. The counters go on.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Counts a request; returns its number among all requests, and among the mutating ones.
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

    /// Records the outcome of a request, if it is still kept.
    pub(crate) fn outcome(&mut self, sequence: u64, outcome: &str) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.sequence == sequence) {
            entry.outcome = Some(outcome.to_owned());
        }
    }
}
