//! The planner against a tiny pure world, and against the verifier.

#![expect(clippy::unwrap_used, reason = "a test fails where its world cannot be built")]

mod properties;
mod scenarios;
mod world;
