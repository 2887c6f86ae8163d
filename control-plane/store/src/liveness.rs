//! Detects dead servers of a database in a file: each server holds a lock on a file of its own, and the kernel releases it when the process
//! ends. So a killed server is known to be dead before its lease expires.
//!
//! The locks are in the folder `PATH.servers` beside the database, one file for each server, named by its id. Only one observation proves
//! death: *the very file that the server locked can be locked by somebody else.* A missing file proves nothing. One database can be reached
//! by several names (a symbolic link, a bind mount, another container), and the folder beside such a name need not be the one that the
//! server uses. A copy of the file proves nothing either, since nobody holds a lock on a copy. Therefore each server, once it holds the
//! lock, writes the file's device and inode into it. While the server lives it keeps the file open, so no other file on this machine has
//! both.
//!
//! Without a proof a server counts as living: whoever wants its lane waits until the lease has expired ([ADR
//! 10](../../docs/adr/0010-leases-are-watched.md)).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyplane_model::ServerId;
use keyplane_port::LedgerError;

/// The most bytes of a lock file that are read. Two 64-bit numbers with a space have at most 41 characters.
const MAX_IDENTITY: u64 = 64;

/// The liveness locks beside a database.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    folder: PathBuf,
    /// The locks that this ledger holds. They are released with its last clone.
    held: Arc<Mutex<BTreeMap<ServerId, LivenessLock>>>,
}

/// Held as long as this value lives.
#[derive(Debug)]
struct LivenessLock {
    path: PathBuf,
    _locked: File,
    /// Whether a lease may name the server. If so, the file stays after the lock ends, as the proof of the server's death.
    leases: bool,
}

impl Liveness {
    /// The locks in `PATH.servers`. The path has to be canonical, so that symbolic links to the database lead to the same folder.
    pub(crate) fn beside(database: &Path) -> Self {
        let mut folder = database.as_os_str().to_owned();
        folder.push(".servers");
        Self { folder: folder.into(), held: Arc::default() }
    }

    /// Takes the lock of a server that is about to hold a lease, unless this ledger already has it.
    pub(crate) fn hold(&self, server: ServerId) -> Result<(), LedgerError> {
        let mut held = self.held();
        if let Some(lock) = held.get_mut(&server) {
            lock.leases = true;
            return Ok(());
        }
        let path = self.folder.join(server.to_string());
        let locked = self.lock(&path).map_err(|error| LedgerError::Failed(format!("`{}` cannot be locked: {error}", path.display())))?;
        held.insert(server, LivenessLock { path, _locked: locked, leases: true });
        Ok(())
    }

    /// Records that no lease names a server any more, so no proof of its death will be needed.
    pub(crate) fn released(&self, server: ServerId) {
        if let Some(lock) = self.held().get_mut(&server) {
            lock.leases = false;
        }
    }

    /// Whether a server that once held its lock is certainly dead. `false` does not mean that it is alive.
    pub(crate) fn is_dead(&self, server: ServerId) -> bool {
        is_free_original(&self.folder.join(server.to_string()))
    }

    /// Removes the files of dead servers that no lease names. A file that cannot be removed does no harm.
    pub(crate) fn clear(&self, named: &BTreeSet<ServerId>) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let server = entry.file_name().to_str().and_then(|name| name.parse::<ServerId>().ok());
            if server.is_some_and(|server| !named.contains(&server)) && is_free_original(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ServerId, LivenessLock>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self, path: &Path) -> Result<File, Error> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.try_lock()?;
        // INVARIANT: a file contains its own identity only after its server locked it. Whoever reads it there, and can lock that file,
        // knows that the server had the lock and lost it.
        file.write_all(identity(&file)?.as_bytes())?;
        Ok(file)
    }
}

impl Drop for LivenessLock {
    fn drop(&mut self) {
        if !self.leases {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the path leads to a file that a server locked, not to a copy, and nobody has it locked now.
///
/// It takes a shared lock, so that two processes that check at the same moment do not take each other for the server.
fn is_free_original(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut said = String::new();
    let read = (&file).take(MAX_IDENTITY).read_to_string(&mut said).is_ok();
    read && identity(&file).is_ok_and(|is| is == said) && file.try_lock_shared().is_ok()
}

/// Device and inode, in decimal digits.
fn identity(file: &File) -> Result<String, Error> {
    let metadata = file.metadata()?;
    Ok(format!("{} {}", metadata.dev(), metadata.ino()))
}
