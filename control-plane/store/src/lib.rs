//! The ledger in SQL: [`SqlLedger`].
//!
//! Owns the schema and its migrations (`migrations/` at the root of the workspace), and how records become rows and rows
//! become records again. Every row that is read is checked: a word that nobody knows, or a body that does not have its
//! digest, is [`keyplane_port::LedgerError::Broken`] and names table and row. Must not know of planning, clouds or tokens,
//! and has no opinion on how commits and receipts change a key: that is [`keyplane_model::KeyRecord`]'s.
//!
//! | file | what it is for |
//! |---|---|
//! | `ledger` | the transactions, each in the order: done already, allowed, fits |
//! | `keys`, `change_sets`, `leases` | records from and to rows |
//! | `seats` | which servers of a database in a file live |
//! | `row` | cells, typed and checked |
//! | `schema` | migrations and the guard against older and newer schemas |
//! | `db` | the one place that knows which databases there are |
//! | `sqlite` | what only SQLite needs: the file |
//!
//! SQL text is shared between databases: `$n` for arguments, ids as text, times as 64-bit microseconds, nothing sorted by
//! text in SQL (collations differ).

mod change_sets;
mod db;
mod keys;
mod leases;
mod ledger;
mod row;
mod schema;
mod seats;
mod sqlite;

pub use ledger::SqlLedger;
pub use schema::Migrated;
