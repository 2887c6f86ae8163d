//! The ledger in SQL: [`SqlLedger`].
//!
//! Owns the schema and its migrations (`migrations/` at the root of the workspace), and the conversion of records to rows and back. Every
//! row is checked when it is read: an unknown word, or a body that does not match its digest, is [`keyplane_port::LedgerError::Broken`],
//! and the error names table and row. Must not know planning, clouds or tokens. [`keyplane_model::Subject`] decides what each transition
//! of a change set demands and changes.
//!
//! A module uses only those below it in this table.
//!
//! | file | owns |
//! |---|---|
//! | `ledger` | the transactions: each reads what a transition depends on, and writes what it leaves and its event |
//! | `schema` | migrations, and the guard against older and newer schemas |
//! | `keys`, `change_sets`, `charter_proposals`, `leases`, `events` | records from and to rows |
//! | `db` | the kinds of databases: connections, transactions, the classes of errors |
//! | `liveness` | which servers of a database in a file are dead |
//! | `sqlite` | the database's file, how it is opened, and SQLite's error codes |
//! | `row` | cells, typed and checked |
//!
//! All databases share the SQL text: `$n` for arguments, ids as text, times as 64-bit microseconds. SQL sorts by no
//! text but ids, since collations differ: ids are lower-case hexadecimal digits with hyphens at fixed places, which all sort alike.

mod change_sets;
mod charter_proposals;
mod db;
mod events;
mod keys;
mod leases;
mod ledger;
mod liveness;
mod row;
mod schema;
mod sqlite;

pub use ledger::SqlLedger;
pub use schema::Migrated;
