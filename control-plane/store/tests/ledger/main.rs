//! Tests of ledgers. `suite` and `property` run against the ledger in memory and the one in a database. `schema`, `damage`, `files` and
//! `processes` are about databases alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod files;
mod processes;
mod property;
mod schema;
mod suite;
mod world;
