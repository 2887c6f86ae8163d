//! Reads policy files.

use std::path::{Path, PathBuf};

use keyplane_api::Source;
use keyplane_model::{Problem, ProblemCode};

/// Reads these files, and all `.yaml` and `.yml` files below these folders, sorted by name. The names stay as they were given, so
/// that problems show them as people know them.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<Problem>> {
    let mut sources = Vec::new();
    for path in paths {
        collect(path, true, &mut sources).map_err(|problem| vec![problem])?;
    }
    if sources.is_empty() {
        let names = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("`, `");
        let detail = format!("there is no policy file (`.yaml`) at `{names}`");
        return Err(vec![Problem::new(ProblemCode::PolicyInvalid, detail, "keyplane config check")]);
    }
    Ok(sources)
}

fn collect(path: &Path, named: bool, sources: &mut Vec<Source>) -> Result<(), Problem> {
    let unreadable = |error: std::io::Error| {
        let detail = format!("policy file `{}` cannot be read: {error}", path.display());
        Problem::new(ProblemCode::PolicyInvalid, detail, "keyplane config check")
    };
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()).map_err(unreadable)?;
        entries.sort();
        return entries.iter().try_for_each(|entry| collect(entry, false, sources));
    }
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if !named && !is_yaml {
        return Ok(());
    }
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > keyplane_policy::MAX_FILE_BYTES as u64 {
        let detail = format!("policy file `{}` has {size} bytes; the limit is {}", path.display(), keyplane_policy::MAX_FILE_BYTES);
        return Err(Problem::new(ProblemCode::PolicyInvalid, detail, "keyplane validate"));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    sources.push(Source { name: path.display().to_string(), text });
    Ok(())
}
