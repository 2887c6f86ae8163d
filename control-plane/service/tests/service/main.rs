//! The use cases over a ledger in memory, a clock that the tests set, and a custodian without a token.
#![expect(clippy::unwrap_used, reason = "a test fails where its world cannot be built")]

mod charter;
mod planning;
mod world;
