//! The only module that knows the kinds of databases: URLs, pools, transactions, and the classes of their errors.
//!
//! The other modules send the same SQL to all of them through a [`Transaction`]. Each further database is one more variant of each enum
//! here.

use std::collections::BTreeSet;
use std::path::PathBuf;

use keyplane_model::ServerId;
use keyplane_port::LedgerError;
use sqlx::error::ErrorKind;
use sqlx::{Column as _, Row as _, SqlitePool};

use crate::liveness::Liveness;
use crate::row::{Cell, Row, Table};
use crate::sqlite;

/// Where a database is. Contains no secret.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    Sqlite(PathBuf),
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, LedgerError> {
        match url.split_once(':') {
            Some(("sqlite", rest)) => sqlite::path(rest).map(Self::Sqlite),
            // The rest of the URL may contain a password, so the error leaves it out.
            Some((scheme, _)) => {
                Err(LedgerError::Failed(format!("databases of the kind `{}` are not known: `sqlite:PATH`", short(scheme))))
            }
            None => Err(LedgerError::Failed("a database URL has the form `sqlite:PATH`".to_owned())),
        }
    }

    /// For error messages: the path as given.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
        }
    }

    /// Makes an empty database, unless there is one.
    pub(crate) fn create(&self) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(path) => sqlite::create(path),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Reads one consistent snapshot.
    Read,
    /// Reads and writes, as the only writer until its end.
    Write,
}

/// A database with open connections.
#[derive(Clone, Debug)]
pub(crate) enum Db {
    Sqlite {
        /// One connection, so that writers of this process wait in a fair queue instead of competing for SQLite's lock.
        writer: SqlitePool,
        readers: SqlitePool,
        liveness: Liveness,
    },
}

impl Db {
    /// Fails with [`LedgerError::Missing`] if there is no database.
    pub(crate) async fn connect(location: &Location) -> Result<Self, LedgerError> {
        match location {
            Location::Sqlite(path) => {
                // INVARIANT: connections and liveness locks belong to the same file, however it was named, and even if a link changes
                // later.
                let file = sqlite::existing(path)?;
                Ok(Self::Sqlite {
                    writer: sqlite::pool(&file, 1).await.map_err(failed)?,
                    readers: sqlite::pool(&file, sqlite::READERS).await.map_err(failed)?,
                    liveness: Liveness::beside(&file),
                })
            }
        }
    }

    pub(crate) async fn begin(&self, mode: Mode) -> Result<Transaction, LedgerError> {
        match (self, mode) {
            (Self::Sqlite { readers, .. }, Mode::Read) => readers.begin().await,
            // It waits for other writers when it begins. If it began as a reader, a write by another would make it fail.
            (Self::Sqlite { writer, .. }, Mode::Write) => writer.begin_with("BEGIN IMMEDIATE").await,
        }
        .map(Transaction::Sqlite)
        .map_err(failed)
    }

    /// Takes the liveness lock of a server that is about to hold a lease. The lock is held until the last clone of this value is dropped.
    pub(crate) fn hold_liveness_lock(&self, server: ServerId) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite { liveness, .. } => liveness.hold(server),
        }
    }

    /// Updates which servers leases name, after `before` released or lost a lease.
    pub(crate) fn leases_name(&self, named: &BTreeSet<ServerId>, before: ServerId) {
        match self {
            Self::Sqlite { liveness, .. } => {
                if !named.contains(&before) {
                    liveness.released(before);
                }
                liveness.clear(named);
            }
        }
    }

    /// Whether a server is certainly dead. `false` does not mean that it is alive.
    pub(crate) fn is_dead(&self, server: ServerId) -> bool {
        match self {
            Self::Sqlite { liveness, .. } => liveness.is_dead(server),
        }
    }

    /// Waits for open transactions, then closes every connection.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

/// An open transaction. Dropping it without [`Transaction::commit`] rolls it back.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
}

impl Transaction {
    /// Runs a query. Returns its rows in order.
    pub(crate) async fn rows(&mut self, table: Table, sql: &'static str, arguments: &[Cell]) -> Result<Vec<Row>, LedgerError> {
        match self {
            Self::Sqlite(transaction) => {
                let rows = bind(sqlx::query(sql), arguments).fetch_all(&mut **transaction).await.map_err(failed)?;
                rows.iter().map(|row| Ok(Row::new(table, cells(row)?))).collect()
            }
        }
    }

    /// Runs a statement. Returns how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, arguments: &[Cell]) -> Result<u64, LedgerError> {
        match self {
            Self::Sqlite(transaction) => {
                let done = bind(sqlx::query(sql), arguments).execute(&mut **transaction).await.map_err(failed)?;
                Ok(done.rows_affected())
            }
        }
    }

    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(transaction) => sqlx::raw_sql(sql).execute(&mut **transaction).await.map(drop).map_err(failed),
        }
    }

    /// The names of all tables in the database, including another program's, without SQLite's internal ones.
    pub(crate) async fn tables(&mut self) -> Result<Vec<String>, LedgerError> {
        let (table, sql) = match self {
            Self::Sqlite(_) => (sqlite::CATALOGUE, sqlite::TABLES),
        };
        self.rows(table, sql, &[]).await?.iter().map(|row| Ok(row.text("name")?.to_owned())).collect()
    }

    /// The keys of a revision of the intent that have these names, a JSON array: columns `name` and `body`.
    pub(crate) async fn wanted(&mut self, table: Table, revision: Cell, names: Cell) -> Result<Vec<Row>, LedgerError> {
        let sql = match self {
            Self::Sqlite(_) => sqlite::WANTED,
        };
        self.rows(table, sql, &[revision, names]).await
    }

    /// Commits. When this returns `Ok`, the changes are on disk.
    pub(crate) async fn commit(self) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await.map_err(failed),
        }
    }
}

type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(query: SqliteQuery<'q>, arguments: &[Cell]) -> SqliteQuery<'q> {
    arguments.iter().fold(query, |query, cell| match cell {
        Cell::Text(text) => query.bind(text.clone()),
        Cell::Number(number) => query.bind(*number),
    })
}

fn cells(row: &sqlx::sqlite::SqliteRow) -> Result<Vec<(String, Cell)>, LedgerError> {
    let cell = |place: usize| match row.try_get::<Option<i64>, _>(place) {
        Ok(number) => Ok(Cell::Number(number)),
        Err(_) => row.try_get::<Option<String>, _>(place).map(Cell::Text).map_err(failed),
    };
    row.columns().iter().map(|column| Ok((column.name().to_owned(), cell(column.ordinal())?))).collect()
}

/// Classifies a database error. If a constraint or a decoder refuses data, that is [`LedgerError::Broken`], because the program checks data
/// before it writes them. If this process is short of memory or threads, that is [`LedgerError::Exhausted`]. Everything else is
/// [`LedgerError::Failed`], and may work when tried again.
fn failed(error: sqlx::Error) -> LedgerError {
    if is_exhaustion(&error) {
        return LedgerError::Exhausted(error.to_string());
    }
    let broken = match &error {
        sqlx::Error::Database(database) => match database.kind() {
            ErrorKind::UniqueViolation
            | ErrorKind::ForeignKeyViolation
            | ErrorKind::NotNullViolation
            | ErrorKind::CheckViolation
            | ErrorKind::ExclusionViolation => true,
            _ => database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some_and(sqlite::is_damage),
        },
        sqlx::Error::Protocol(_)
        | sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_) => true,
        _ => false,
    };
    if broken { LedgerError::Broken(error.to_string()) } else { LedgerError::Failed(error.to_string()) }
}

/// SQLite reports errors of files by codes of its own. An error of the operating system comes from sqlx, when it starts the thread of a
/// connection (`EAGAIN`) or SQLite has no memory for the connection (`ENOMEM`).
fn is_exhaustion(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::OutOfMemory),
        sqlx::Error::Database(database) => database.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some_and(sqlite::is_short_of_memory),
        _ => false,
    }
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_cannot_be_started_is_not_told_as_a_failure_of_the_database() {
        for kind in [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::OutOfMemory] {
            assert!(matches!(failed(sqlx::Error::Io(kind.into())), LedgerError::Exhausted(_)), "{kind}");
        }
        assert!(matches!(failed(sqlx::Error::Io(std::io::ErrorKind::PermissionDenied.into())), LedgerError::Failed(_)));
    }

    #[tokio::test]
    async fn too_little_memory_for_a_query_is_not_told_as_a_failure_of_the_database() {
        let folder = tempfile::TempDir::new().unwrap();
        let location = Location::Sqlite(folder.path().join("ledger.db"));
        location.create().unwrap();
        let db = Db::connect(&location).await.unwrap();
        let mut transaction = db.begin(Mode::Read).await.unwrap();
        // The limit, in bytes, is the whole process's, and nextest gives each test a process of its own.
        let error = transaction.script("PRAGMA hard_heap_limit = 1").await.unwrap_err();
        assert!(matches!(error, LedgerError::Exhausted(_)), "{error}");
    }
}
