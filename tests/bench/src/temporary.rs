//! Temporary folders that are removed however the run ends.

use std::path::Path;

use tempfile::TempDir;

use crate::error::{BenchError, system};

/// A temporary folder, in `parent` if that is writable. It is removed with the value, and on Ctrl-C, which drops no value.
pub(crate) fn temporary(parent: &Path) -> Result<TempDir, BenchError> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("keyplane-bench-");
    let folder = builder.tempdir_in(parent).or_else(|_| builder.tempdir()).map_err(system("a temporary folder"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("no threads"))?;
    let path = folder.path().to_owned();
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = std::fs::remove_dir_all(path);
            // As in a shell: 128 and the signal's number.
            std::process::exit(130);
        }
    });
    Ok(folder)
}
