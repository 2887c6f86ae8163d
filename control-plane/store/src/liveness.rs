//! Detects dead servers of a SQLite database: each server holds a lock on a file of its own beside the database, and the kernel
//! releases the lock when the process ends, however it ends. So a successor on the same machine need not wait out a lease.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keyplane_model::ServerId;
use keyplane_port::LedgerError;

/// The liveness locks beside a database.
#[derive(Clone, Debug)]
pub(crate) struct LivenessLocks {
    folder: PathBuf,
    /// The locks that this ledger holds, by server; released with the last clone.
    held: Arc<Mutex<BTreeMap<ServerId, LivenessLock>>>,
}

/// A locked file, removed when it is dropped.
#[derive(Debug)]
struct LivenessLock {
    path: PathBuf,
    _locked: File,
}

impl LivenessLocks {
    /// The locks of the database at a path: files in the folder `PATH.servers`.
    pub(crate) fn beside(database: &Path) -> Self {
        let mut folder = database.as_os_str().to_owned();
        folder.push(".servers");
        Self { folder: folder.into(), held: Arc::default() }
    }

    /// Locks a server's file, unless this ledger holds the lock.
    pub(crate) fn take(&self, server: ServerId) -> Result<(), LedgerError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(&server) {
            return Ok(());
        }
        let path = self.path(server);
        let locked = self.lock(&path).map_err(|error| LedgerError::Failed(format!("`{}` cannot be locked: {error}", path.display())))?;
        held.insert(server, LivenessLock { path, _locked: locked });
        Ok(())
    }

    /// Whether the server is dead. A server takes its lock before its first lease.
    pub(crate) fn is_dead(&self, server: ServerId) -> bool {
        let path = self.path(server);
        match File::open(&path).map(|file| file.try_lock()) {
            Ok(Ok(())) => {
                // A server never comes back under the same id.
                let _ = fs::remove_file(&path);
                true
            }
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(Err(_)) => false,
        }
    }

    fn path(&self, server: ServerId) -> PathBuf {
        self.folder.join(server.to_string())
    }

    fn lock(&self, path: &Path) -> Result<File, Error> {
        match fs::DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.try_lock()?;
        Ok(file)
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
