//! What only SQLite needs: its file, how it is opened, its catalogue and its error codes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyplane_port::LedgerError;
use sqlx::ConnectOptions as _;
use sqlx::error::DatabaseError as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::db::failed;
use crate::row::Table;

/// Readers do not wait for writers (write-ahead log); more than a few only wait for the disk.
pub(crate) const READERS: u32 = 4;

/// How long a writer waits for one of another process. A transaction of ours takes milliseconds; a hundred of them in a
/// queue, on a slow disk, are still served.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a transaction waits for a connection: longer than [`BUSY_TIMEOUT`], so that the better message wins.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where SQLite lists its tables.
pub(crate) const CATALOGUE: Table = Table { name: "sqlite_schema", id_columns: 1 };

/// SQLite's own tables left out.
pub(crate) const TABLES: &str = "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_'";

/// The path in what follows `sqlite:`. There are no parameters: how the file is opened is not for a URL to say.
pub(crate) fn path(rest: &str) -> Result<PathBuf, LedgerError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.starts_with(':') || path.contains('?') {
        return Err(LedgerError::Failed(format!("`sqlite:{rest}` names no file: `sqlite:PATH`, without parameters")));
    }
    Ok(PathBuf::from(path))
}

/// Makes an empty file that only its owner can read, unless there is one. SQLite gives its log the same permissions.
pub(crate) fn create(path: &Path) -> Result<(), LedgerError> {
    let io = |error: std::io::Error| LedgerError::Failed(format!("`{}` cannot be made: {error}", path.display()));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            // The umask may have taken the owner's own permissions.
            file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
            file.sync_all().map_err(io)?;
            // The name is durable when its folder is.
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io(error)),
    }
}

/// Whether there is a file that only its owner can read.
pub(crate) fn check_file(path: &Path) -> Result<(), LedgerError> {
    let shown = path.display();
    let mode = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata.permissions().mode() & 0o777,
        Ok(_) => return Err(LedgerError::Failed(format!("`{shown}` is no file"))),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(LedgerError::Missing(shown.to_string())),
        Err(error) => return Err(LedgerError::Failed(format!("`{shown}` cannot be read: {error}"))),
    };
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(LedgerError::Failed(format!("`{shown}` is open to others than its owner (mode {mode:03o}); `chmod 600` it")))
    }
}

pub(crate) async fn pool(path: &Path, connections: u32) -> Result<SqlitePool, LedgerError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // In the write-ahead log, NORMAL may lose the last commits with the power; FULL does not.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A connection to a file does not wear out.
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await
        .map_err(failed)
}

/// Whether an error says that the file, or the schema in it, is not what it must be. The codes are SQLite's primary ones
/// (`sqlite.org/rescode.html`): 1 ERROR (no such table or column: our SQL is fixed), 11 CORRUPT, 19 CONSTRAINT, 20 MISMATCH, 26 NOTADB.
pub(crate) fn is_damage(error: &SqliteError) -> bool {
    let extended = error.code().and_then(|code| code.parse::<i32>().ok());
    extended.is_some_and(|code| matches!(code & 0xff, 1 | 11 | 19 | 20 | 26))
}
