//! A ledger in memory: for simulation and tests, and the plainest statement of what a ledger does.

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {}
