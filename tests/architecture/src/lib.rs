//! The architecture's invariants of absence, each with a test.
#![cfg(test)]

mod circles;
mod contracts;
mod features;
mod files;
mod rooms;

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// Every file of the repository with one of these endings, by its path from the root. Build results and ignored files are left out.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found.sort();
    let wanted = |path: &Path| path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted));
    found.retain(|path| endings.is_empty() || wanted(path));
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    // A file that is not text has no words to check.
    found.iter().filter_map(|path| Some((name(path), std::fs::read_to_string(path).ok()?))).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() {
            let hidden = name.starts_with('.') && name != ".ci" && name != ".config";
            if !hidden && name != "target" && name != "__pycache__" && name != "node_modules" {
                collect(&path, found);
            }
        } else if !name.starts_with('.') || name == ".gitignore" {
            found.push(path);
        }
    }
}
