//! The ledger in SQL: [`SqlLedger`].
//!
//! Owns the schema and its migrations (`migrations/` at the root of the workspace), and how records become rows and rows
//! become records again. Every row that is read is checked: an unknown word, or a body that does not have its digest, is
//! [`keyplane_port::LedgerError::Broken`], and the error names table and row. Must not know of planning, clouds or tokens. How
//! commits and receipts change a key is decided by [`keyplane_model::KeyRecord`], not here.
//!
//! Each file uses only files further down in this table.
//!
//! | file | owns |
//! |---|---|
//! | `ledger` | the transactions; each asks in this order: is it done already, is it allowed, does it fit |
//! | `schema` | migrations, and the guard against older and newer schemas |
//! | `keys`, `change_sets`, `leases` | records from and to rows |
//! | `db` | which databases there are: connections, transactions, the classes of errors |
//! | `liveness` | which servers of a database in a file are dead |
//! | `sqlite` | the database's file, how it is opened, and SQLite's error codes |
//! | `row` | cells, typed and checked |
//!
//! SQL text is shared between databases: `$n` for arguments, ids as text, times as 64-bit microseconds, nothing sorted by
//! text in SQL (collations differ).

mod change_sets;
mod db;
mod keys;
mod leases;
mod ledger;
mod liveness;
mod row;
mod schema;
mod sqlite;

pub use ledger::SqlLedger;
pub use schema::Migrated;
