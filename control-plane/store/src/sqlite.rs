//! What is specific to SQLite: the database file, its options, its catalogue and its error codes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyplane_port::LedgerError;
use sqlx::ConnectOptions as _;
use sqlx::error::DatabaseError as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::row::Table;

/// How many connections only read. In write-ahead logging readers do not wait for writers; more of them would only wait for the disk.
pub(crate) const READERS: u32 = 4;

/// How long a writer waits for a writer of another process. Our transactions take milliseconds, so a queue of a hundred is served even on a
/// slow disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a transaction waits for a connection of the pool. Longer than [`BUSY_TIMEOUT`], because that one has the more useful message.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// SQLite's list of all tables.
pub(crate) const CATALOGUE: Table = Table { name: "sqlite_schema", id_columns: 1 };

/// Lists all tables but SQLite's internal ones.
pub(crate) const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'";

/// The path after `sqlite:` in a URL. Parameters are refused: only [`pool`] decides how the file is opened.
pub(crate) fn path(rest: &str) -> Result<PathBuf, LedgerError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.starts_with(':') || path.contains('?') {
        return Err(LedgerError::Failed(format!("`sqlite:{rest}` names no file: `sqlite:PATH`, without parameters")));
    }
    Ok(PathBuf::from(path))
}

/// Makes an empty file that only its owner can read, unless there is a file. SQLite gives its log the same permissions.
pub(crate) fn create(path: &Path) -> Result<(), LedgerError> {
    let io = |error: std::io::Error| LedgerError::Failed(format!("`{}` cannot be made: {error}", path.display()));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // The umask may have removed the owner's own permissions.
            file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
            file.sync_all().map_err(io)?;
            // A new file name is on disk only once its folder is synced.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io(error)),
    }
}

/// The canonical path of a database file. The file has to exist and be readable by its owner alone.
pub(crate) fn existing(path: &Path) -> Result<PathBuf, LedgerError> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| LedgerError::Failed(format!("`{shown}` cannot be read: {error}"));
    let mode = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.permissions().mode() & 0o777,
        Ok(_) => return Err(LedgerError::Failed(format!("`{shown}` is no file"))),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(LedgerError::Missing(shown.to_string())),
        Err(error) => return Err(unreadable(error)),
    };
    if mode & 0o077 == 0 {
        fs::canonicalize(path).map_err(unreadable)
    } else {
        Err(LedgerError::Failed(format!("`{shown}` is open to others than its owner (mode {mode:03o}); `chmod 600` it")))
    }
}

/// Opens a file with at most this many connections. More than one is for readers.
pub(crate) async fn pool(path: &Path, connections: u32) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // In write-ahead logging, NORMAL may lose the last commits in a power failure; FULL loses none.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // Replacing a connection to a file gains nothing.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
}

/// Whether an error says that the file, or its schema, is damaged. Decided by SQLite's primary result codes (`sqlite.org/rescode.html`): 1
/// ERROR (a missing table or column, since our SQL is fixed), 11 CORRUPT, 19 CONSTRAINT, 20 MISMATCH, 26 NOTADB.
pub(crate) fn is_damage(error: &SqliteError) -> bool {
    let extended = error.code().and_then(|code| code.parse::<i32>().ok());
    extended.is_some_and(|code| matches!(code & 0xff, 1 | 11 | 19 | 20 | 26))
}

/// Whether SQLite got no memory. Decided by its result codes: 7 NOMEM, and 3082 IOERR_NOMEM.
pub(crate) fn is_short_of_memory(error: &SqliteError) -> bool {
    let extended = error.code().and_then(|code| code.parse::<i32>().ok());
    extended.is_some_and(|code| code & 0xff == 7 || code == 3082)
}
