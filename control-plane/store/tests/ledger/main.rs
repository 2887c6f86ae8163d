//! What every ledger has to do, and what only one in a database has to.
//!
//! `suite` and `property` hold both ledgers to the same; `schema`, `damage`, `files` and `processes` are about databases.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod files;
mod processes;
mod property;
mod schema;
mod suite;
mod world;
