//! Folders and files that only this user can read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::LabError;

/// Makes a folder that only this user can read, and those above it, if it is not there.
pub(crate) fn make_private(folder: &Path) -> Result<(), LabError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| LabError::File { doing: "made", path: folder.to_owned(), source })
}

/// Makes a folder in a folder.
pub(crate) fn make_inner(folder: &Path, name: &str) -> Result<PathBuf, LabError> {
    let path = folder.join(name);
    DirBuilder::new().mode(0o700).create(&path).map_err(|source| LabError::File { doing: "made", path: path.clone(), source })?;
    Ok(path)
}

/// Writes a file that only this user can read.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), LabError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| LabError::File {
        doing: "written",
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn read(path: &Path) -> Result<String, LabError> {
    std::fs::read_to_string(path).map_err(|source| LabError::File { doing: "read", path: path.to_owned(), source })
}
