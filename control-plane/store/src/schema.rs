//! Forward-only migrations, and the guard that refuses any other schema version.

use keyplane_port::LedgerError;

use crate::db::{Db, Location, Mode, Transaction};
use crate::row::{Cell, Table};

const SCHEMA: Table = Table { name: "keyplane_schema", id_columns: 1 };

/// Every migration, oldest first. A schema's version is its place here, counted from 1. A released migration never changes; otherwise
/// databases of the same version would differ.
const SQLITE: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_ledger.sql"),
    include_str!("../../../migrations/sqlite/0002_key_kinds.sql"),
    include_str!("../../../migrations/sqlite/0003_leases.sql"),
    include_str!("../../../migrations/sqlite/0004_bound_copies.sql"),
    include_str!("../../../migrations/sqlite/0005_events.sql"),
    include_str!("../../../migrations/sqlite/0006_charter_proposals.sql"),
    include_str!("../../../migrations/sqlite/0007_ends_and_wraps.sql"),
];

/// The version of the schema that this program reads and writes.
pub(crate) const KNOWN: i64 = SQLITE.len() as i64;

/// The first version that binds copies to the approvals they were made under. Data of an earlier version cannot be upgraded.
const BOUND: i64 = 4;

/// The result of a migration. If both versions are the same, it did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version of the schema before.
    pub from: i64,
    /// The schema version now.
    pub to: i64,
}

/// Upgrades an initialised database to this program's schema, in one transaction: a crash leaves the old schema or the new one.
pub(crate) async fn migrate(location: &Location) -> Result<Migrated, LedgerError> {
    let db = Db::connect(location).await?;
    let mut transaction = db.begin(Mode::Write).await?;
    let from = found(&mut transaction).await?.ok_or_else(|| LedgerError::Missing(location.shown()))?;
    if from > KNOWN {
        return Err(LedgerError::Newer { found: from, known: KNOWN });
    }
    if from < BOUND {
        empty(&mut transaction, from).await?;
    }
    apply(&mut transaction, from).await?;
    transaction.commit().await?;
    db.close().await;
    Ok(Migrated { from, to: KNOWN })
}

/// Refuses a database from before [`BOUND`] that holds data.
async fn empty(transaction: &mut Transaction, found: i64) -> Result<(), LedgerError> {
    for (table, sql) in [
        (Table { name: "charters", id_columns: 1 }, "SELECT serial FROM charters LIMIT 1"),
        (Table { name: "change_sets", id_columns: 1 }, "SELECT digest FROM change_sets LIMIT 1"),
        (Table { name: "copies", id_columns: 3 }, "SELECT key_id, version, placement_id FROM copies LIMIT 1"),
    ] {
        if !transaction.rows(table, sql, &[]).await?.is_empty() {
            return Err(LedgerError::Broken(format!(
                "it has schema {found} and rows in `{}`: before schema {BOUND}, copies were not bound to approvals, and approvals had no end. \
                 They cannot be taken over: begin again with another database and another token (`keyplane init`, `keyplane hsm enroll`)",
                table.name
            )));
        }
    }
    Ok(())
}

/// Runs the migrations after version `from`; 0: the database is empty.
pub(crate) async fn apply(transaction: &mut Transaction, from: i64) -> Result<(), LedgerError> {
    for (version, sql) in (1_i64..).zip(SQLITE).filter(|(version, _)| *version > from) {
        transaction.script(sql).await?;
        transaction.execute("INSERT INTO keyplane_schema (version) VALUES ($1)", &[Cell::Number(Some(version))]).await?;
    }
    Ok(())
}

/// The version of a database's schema. `None`: the database is empty. A database with another program's tables is refused.
pub(crate) async fn found(transaction: &mut Transaction) -> Result<Option<i64>, LedgerError> {
    let tables = transaction.tables().await?;
    if tables.iter().any(|table| table == SCHEMA.name) {
        current(transaction).await.map(Some)
    } else if let Some(table) = tables.first() {
        Err(LedgerError::Broken(format!("it has a table `{table}` and no `{}`: another program's", SCHEMA.name)))
    } else {
        Ok(None)
    }
}

/// Refuses every schema but this program's. Called at the beginning of each transaction, because another process may have migrated since
/// the last one.
pub(crate) async fn guard(transaction: &mut Transaction) -> Result<(), LedgerError> {
    check(current(transaction).await?)
}

/// Refuses an older or newer version.
pub(crate) fn check(found: i64) -> Result<(), LedgerError> {
    match found.cmp(&KNOWN) {
        std::cmp::Ordering::Less => Err(LedgerError::Older { found, known: KNOWN }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(LedgerError::Newer { found, known: KNOWN }),
    }
}

async fn current(transaction: &mut Transaction) -> Result<i64, LedgerError> {
    let rows = transaction.rows(SCHEMA, "SELECT max(version) AS version FROM keyplane_schema", &[]).await?;
    rows.first().ok_or_else(|| LedgerError::Broken(format!("table `{}` is empty", SCHEMA.name)))?.number("version")
}
