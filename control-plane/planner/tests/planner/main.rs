//! The planner in a small pure world, with the verifier as judge.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails where its world cannot be built")]

mod example;
mod properties;
mod scenarios;
mod world;
