//! Which servers of a database in a file live: each holds a lock on a file of its own beside the database, which the operating system
//! takes away when the process ends, however it does. What is on one machine needs no waiting to be certain that a server is gone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keyplane_model::ServerId;
use keyplane_port::LedgerError;

/// The seats beside a database.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    folder: PathBuf,
    /// Those that this ledger holds. A seat ends with its last clone.
    taken: Arc<Mutex<BTreeMap<ServerId, Seat>>>,
}

/// A locked file, removed at the end.
#[derive(Debug)]
struct Seat {
    path: PathBuf,
    _locked: File,
}

impl Seats {
    /// Those of the database at a path: in `PATH.servers`.
    pub(crate) fn beside(database: &Path) -> Self {
        let mut folder = database.as_os_str().to_owned();
        folder.push(".servers");
        Self { folder: folder.into(), taken: Arc::default() }
    }

    /// Takes a server's seat, unless this ledger holds it.
    pub(crate) fn take(&self, server: ServerId) -> Result<(), LedgerError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.contains_key(&server) {
            return Ok(());
        }
        let path = self.path(server);
        let locked = self.lock(&path).map_err(|error| LedgerError::Failed(format!("`{}` cannot be locked: {error}", path.display())))?;
        taken.insert(server, Seat { path, _locked: locked });
        Ok(())
    }

    /// Whether nobody sits there: a server takes its seat before its first lease.
    pub(crate) fn is_empty(&self, server: ServerId) -> bool {
        let path = self.path(server);
        match File::open(&path).map(|file| file.try_lock()) {
            Ok(Ok(())) => {
                // Nobody comes back to it.
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

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
