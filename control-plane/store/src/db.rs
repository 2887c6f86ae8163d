//! The one place that knows which databases there are: URLs, pools, transactions, the classes of their errors.
//!
//! Everything above speaks to [`Transaction`] in shared SQL text. A further database is one more variant here.

use std::path::PathBuf;

use keyplane_model::ServerId;
use keyplane_port::LedgerError;
use sqlx::error::ErrorKind;
use sqlx::{Column as _, Row as _, SqlitePool};

use crate::row::{Cell, Row, Table};
use crate::seats::Seats;
use crate::sqlite;

/// Where a database is. Never holds a secret.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    Sqlite(PathBuf),
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, LedgerError> {
        match url.split_once(':') {
            Some(("sqlite", rest)) => sqlite::path(rest).map(Self::Sqlite),
            // The rest of a URL may hold a password.
            Some((scheme, _)) => {
                Err(LedgerError::Failed(format!("databases of the kind `{}` are not known: `sqlite:PATH`", short(scheme))))
            }
            None => Err(LedgerError::Failed("a database URL has the form `sqlite:PATH`".to_owned())),
        }
    }

    /// How an error names it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
        }
    }

    /// Makes room for a new database, unless there is one.
    pub(crate) fn create(&self) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(path) => sqlite::create(path),
        }
    }
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Sees one moment.
    Read,
    /// Sees one moment and no other writer until its end.
    Write,
}

/// A database that answers.
#[derive(Clone, Debug)]
pub(crate) enum Db {
    Sqlite {
        /// One connection: writers of this process stand in a fair queue instead of waking each other up.
        writer: SqlitePool,
        readers: SqlitePool,
        seats: Seats,
    },
}

impl Db {
    /// Connects to what is there; a location without a database is [`LedgerError::Missing`].
    pub(crate) async fn connect(location: &Location) -> Result<Self, LedgerError> {
        match location {
            Location::Sqlite(path) => {
                sqlite::check_file(path)?;
                Ok(Self::Sqlite {
                    writer: sqlite::pool(path, 1).await?,
                    readers: sqlite::pool(path, sqlite::READERS).await?,
                    seats: Seats::beside(path),
                })
            }
        }
    }

    pub(crate) async fn begin(&self, mode: Mode) -> Result<Transaction, LedgerError> {
        match (self, mode) {
            (Self::Sqlite { readers, .. }, Mode::Read) => readers.begin().await,
            // A transaction that reads first and writes later would lose to another writer in between; this one waits at its beginning.
            (Self::Sqlite { writer, .. }, Mode::Write) => writer.begin_with("BEGIN IMMEDIATE").await,
        }
        .map(Transaction::Sqlite)
        .map_err(failed)
    }

    /// From now on this server lives, as long as this value does.
    pub(crate) fn seat(&self, server: ServerId) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite { seats, .. } => seats.take(server),
        }
    }

    /// Whether a server is certain to be gone.
    pub(crate) fn is_gone(&self, server: ServerId) -> bool {
        match self {
            Self::Sqlite { seats, .. } => seats.is_empty(server),
        }
    }

    /// Ends every connection; open transactions come to their end first.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

/// A transaction: committed, or rolled back when it is dropped.
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
}

impl Transaction {
    /// The rows that a query gives.
    pub(crate) async fn rows(&mut self, table: Table, sql: &'static str, arguments: &[Cell]) -> Result<Vec<Row>, LedgerError> {
        match self {
            Self::Sqlite(transaction) => {
                let rows = bind(sqlx::query(sql), arguments).fetch_all(&mut **transaction).await.map_err(failed)?;
                rows.iter().map(|row| Ok(Row::new(table, cells(row)?))).collect()
            }
        }
    }

    /// Changes rows; says how many.
    pub(crate) async fn execute(&mut self, sql: &'static str, arguments: &[Cell]) -> Result<u64, LedgerError> {
        match self {
            Self::Sqlite(transaction) => {
                let done = bind(sqlx::query(sql), arguments).execute(&mut **transaction).await.map_err(failed)?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Runs the statements of a migration.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(transaction) => sqlx::raw_sql(sql).execute(&mut **transaction).await.map(drop).map_err(failed),
        }
    }

    /// The names of the tables that there are, ours and others'.
    pub(crate) async fn tables(&mut self) -> Result<Vec<String>, LedgerError> {
        let (table, sql) = match self {
            Self::Sqlite(_) => (sqlite::CATALOGUE, sqlite::TABLES),
        };
        self.rows(table, sql, &[]).await?.iter().map(|row| Ok(row.text("name")?.to_owned())).collect()
    }

    /// Makes it durable.
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

/// What an error of a database means: what a constraint or a decoder refuses is damage (the program checked it before),
/// everything else may pass.
pub(crate) fn failed(error: sqlx::Error) -> LedgerError {
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

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}
