//! The ledger in SQL: [`SqlLedger`].
//!
//! Owns the schema and its migrations (`migrations/` at the root of the workspace), and the conversion of records to rows and back. Every
//! row is checked when it is read: an unknown word, or a body that does not match its digest, is [`keyplane_port::LedgerError::Broken`],
//! and the error names table and row. Must not know planning, clouds or tokens. [`keyplane_model::KeyRecord`] decides how commits and
//! receipts change a key.
//!
//! A module uses only those below it in this table.
//!
//! | file | owns |
//! |---|---|
//! | `ledger` | the transactions; each checks whether it is already done, is allowed, and fits |
//! | `schema` | migrations, and the guard against older and newer schemas |
//! | `keys`, `change_sets`, `charter_proposals`, `leases` | records from and to rows |
//! | `db` | the kinds of databases: connections, transactions, the classes of errors |
//! | `liveness` | which servers of a database in a file are dead |
//! | `sqlite` | the database's file, how it is opened, and SQLite's error codes |
//! | `row` | cells, typed and checked |
//!
//! All databases share the SQL text: `$n` for arguments, ids as text, times as 64-bit microseconds. SQL never sorts by text, since
//! collations differ.

mod change_sets;
mod charter_proposals;
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
