//! Folders that go with the run, however it ends.

use std::path::Path;

use tempfile::TempDir;

use crate::error::{BenchError, system};

/// A temporary folder, below `parent` if that can be written. It goes with the value, and with Ctrl-C, which drops no value.
pub(crate) fn temporary(parent: &Path) -> Result<TempDir, BenchError> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("keyplane-bench-");
    let folder = builder.tempdir_in(parent).or_else(|_| builder.tempdir()).map_err(system("a temporary folder"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("no threads"))?;
    let path = folder.path().to_owned();
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            let _ = std::fs::remove_dir_all(path);
            // As a shell counts it: 128 and the signal's number.
            std::process::exit(130);
        }
    });
    Ok(folder)
}
