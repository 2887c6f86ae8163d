//! What every lab for tests begins with, made once for each build: approvers' keys, a database, and an enrolled token. Making it takes
//! seconds of computing; copying takes almost none.
//!
//! Owns the template's folder beside the programs (`lab-template` in cargo's target folder) and its lock. A template is made by the real
//! `keyplane init` and `keyplane hsm enroll`. All copies have the same installation id, charter and root keys, which is harmless because
//! each lab has its own emulators.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use keyplane_hsm::provision::Provisioned;

use crate::layout::TOKEN;
use crate::policy::Policy;
use crate::{LabError, files, layout, people};

/// The folder of all templates, beside the programs.
const FOLDER: &str = "lab-template";

/// The lock in [`FOLDER`]: shared for reading a template, exclusive for making one.
const LOCK: &str = "lock";

/// The file in a template's folder that shows that it is complete.
const COMPLETE: &str = "complete";

/// Copies the template for a policy into a lab's folder. If this build has none, `make` makes it in a folder of its own, with the real
/// commands, in a lab without clouds.
pub(crate) fn copy(
    folder: &Path,
    policy: &Policy,
    keyplane: &Path,
    module: &Path,
    make: impl FnOnce(&Path) -> Result<(), LabError>,
) -> Result<Provisioned, LabError> {
    let all = keyplane.parent().unwrap_or(Path::new(".")).join(FOLDER);
    files::make_private(&all)?;
    let lock = open_lock(&all.join(LOCK))?;
    let locked = |source| LabError::File { doing: "locked", path: all.join(LOCK), source };
    let build = build(&[keyplane, module])?;
    // The charter that the token adopts depends on the policy, and names the user that runs this.
    let charter = digest_of(&[&policy.text(), &people::login()?]);
    let template = all.join(format!("{build}-{charter}"));
    // The lock is held until the copy is complete, so that nobody removes the template meanwhile.
    lock.lock_shared().map_err(locked)?;
    if !template.join(COMPLETE).is_file() {
        // Another test may make it between these two calls. Then nothing is left to do.
        lock.unlock().map_err(locked)?;
        lock.lock().map_err(locked)?;
        if !template.join(COMPLETE).is_file() {
            remove_outdated(&all, &build, &template)?;
            make(&template)?;
            files::write(&template.join(COMPLETE), "")?;
        }
    }
    for name in [layout::APPROVERS_FOLDER, layout::TOKEN_FOLDER] {
        copy_files(&template.join(name), &files::make_inner(folder, name)?, |_| true)?;
    }
    // SQLite may keep more files beside the database's own.
    copy_files(&template, folder, |name| name.starts_with(layout::DATABASE))?;
    let token = folder.join(layout::TOKEN_FOLDER);
    Ok(Provisioned { init: token.join("token.sql").display().to_string(), label: TOKEN.to_owned(), pin_file: token.join("user.pin") })
}

/// Removes templates of other builds, and what a crash left of this one.
fn remove_outdated(all: &Path, build: &str, template: &Path) -> Result<(), LabError> {
    for path in entries(all)? {
        let of_this_build = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(build));
        if path.is_dir() && (path == template || !of_this_build) {
            std::fs::remove_dir_all(&path).map_err(|source| LabError::File { doing: "removed", path, source })?;
        }
    }
    Ok(())
}

/// Identifies a build. Cargo writes a program again whenever it changes, so its length and time of change identify it.
fn build(programs: &[&Path]) -> Result<String, LabError> {
    let mut parts = Vec::new();
    for path in programs {
        let seen = path.metadata().map_err(|source| LabError::File { doing: "read", path: path.to_path_buf(), source })?;
        parts.push(format!("{} {} {}.{}", path.display(), seen.len(), seen.mtime(), seen.mtime_nsec()));
    }
    Ok(digest_of(&parts.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// 16 hexadecimal digits of a SHA-256 over the parts, each preceded by its length.
fn digest_of(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    hex::encode(&context.finish().as_ref()[..8])
}

fn open_lock(path: &Path) -> Result<File, LabError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map_err(|source| LabError::File { doing: "made", path: path.to_owned(), source })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, LabError> {
    let read = || -> std::io::Result<Vec<PathBuf>> { std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    read().map_err(|source| LabError::File { doing: "read", path: folder.to_owned(), source })
}

/// Copies a folder's files that are wanted, with their modes.
fn copy_files(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<(), LabError> {
    for path in entries(from)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| wanted(name)) else { continue };
        if path.is_file() {
            let target = to.join(name);
            std::fs::copy(&path, &target).map_err(|source| LabError::File { doing: "written", path: target, source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_build_and_another_policy_have_templates_of_their_own() {
        let folder = tempfile::TempDir::new().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "one").unwrap();
        let before = build(&[&program]).unwrap();
        assert_eq!(build(&[&program]).unwrap(), before);
        std::fs::write(&program, "other").unwrap();
        assert_ne!(build(&[&program]).unwrap(), before);
        assert_ne!(digest_of(&["ab", "c"]), digest_of(&["a", "bc"]));
    }

    #[test]
    fn templates_of_other_builds_go_and_those_of_this_one_stay() {
        let folder = tempfile::TempDir::new().unwrap();
        for name in ["aa-1", "aa-2", "bb-1"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join(LOCK), "").unwrap();
        remove_outdated(folder.path(), "aa", &folder.path().join("aa-2")).unwrap();
        let mut left: Vec<_> = entries(folder.path()).unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        left.sort();
        assert_eq!(left, ["aa-1", LOCK]);
    }
}
