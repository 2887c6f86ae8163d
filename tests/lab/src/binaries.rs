//! Where the programs of this workspace are: where cargo put them, beside the running one.

use std::path::PathBuf;

use crate::LabError;

/// The variable that names their folder instead.
const VARIABLE: &str = "KEYPLANE_BIN_DIR";

/// Finds a built file: in the folder of `KEYPLANE_BIN_DIR`, or beside the running executable, or one folder above it if that is a test in
/// `deps`.
pub(crate) fn find(name: &'static str, package: &'static str) -> Result<PathBuf, LabError> {
    let folders = match std::env::var_os(VARIABLE) {
        Some(folder) => vec![PathBuf::from(folder)],
        None => beside(),
    };
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.and_then(|path| path.canonicalize().ok()).ok_or_else(|| LabError::Binary {
        name,
        package,
        looked: folders.iter().map(|folder| format!("`{}`", folder.display())).collect::<Vec<_>>().join(" or "),
    })
}

fn beside() -> Vec<PathBuf> {
    let Ok(executable) = std::env::current_exe() else { return Vec::new() };
    let mut folders: Vec<PathBuf> = executable.ancestors().skip(1).take(2).map(PathBuf::from).collect();
    if !folders.first().is_some_and(|folder| folder.ends_with("deps")) {
        folders.truncate(1);
    }
    folders
}
