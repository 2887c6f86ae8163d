//! Reads policy files.
//!
//! A policy folder comes from a version control system, which also stores links. A link that leaves the folder is refused, because it could
//! lead to any file of this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keyplane_api::Source;
use keyplane_model::{Problem, ProblemCode};
use keyplane_policy::{MAX_BYTES, MAX_FILE_BYTES, MAX_FILES};

use crate::files;

/// The most entries of all policy folders. Enough for a checkout with its history; a folder such as `/` has more.
const MAX_ENTRIES: usize = 100_000;

/// Reads these files, and all `.yaml` and `.yml` files below these folders, sorted by name. Names stay as given, for messages. A file with
/// several names is read once, under the first of them.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Source>, Vec<Problem>> {
    let mut reading = Reading::default();
    for path in paths {
        reading.named(path).map_err(|problem| vec![problem])?;
    }
    if reading.sources.is_empty() {
        let names = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("`, `");
        return Err(vec![invalid(format!("there is no policy file (`.yaml`) at `{names}`"))]);
    }
    Ok(reading.sources)
}

#[derive(Default)]
struct Reading {
    sources: Vec<Source>,
    /// The bytes of all sources.
    bytes: usize,
    /// The entries of folders that were looked at.
    entries: usize,
    /// Files and folders that were read, by their paths without links.
    seen: BTreeSet<PathBuf>,
}

impl Reading {
    /// Reads a file or folder that was named explicitly, even if it is a link.
    fn named(&mut self, path: &Path) -> Result<(), Problem> {
        let real = path.canonicalize().map_err(|error| unreadable(path, &error))?;
        if real.is_dir() { self.folder(path, real.clone(), &real) } else { self.file(path, real) }
    }

    /// Reads a folder that is `root` or below it. `real` is its path without links.
    fn folder(&mut self, path: &Path, real: PathBuf, root: &Path) -> Result<(), Problem> {
        // A link to a folder above would be followed for ever.
        if !self.seen.insert(real) {
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|error| unreadable(path, &error))? {
            entries.push(entry.map_err(|error| unreadable(path, &error))?.path());
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(invalid(format!(
                    "the policy folders have more than {MAX_ENTRIES} entries, counted up to `{}`",
                    path.display()
                )));
            }
        }
        entries.sort();
        entries.iter().try_for_each(|entry| self.entry(entry, root))
    }

    fn entry(&mut self, path: &Path, root: &Path) -> Result<(), Problem> {
        let is_folder = path.is_dir();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if !is_folder && !is_yaml {
            return Ok(());
        }
        let real = path.canonicalize().map_err(|error| unreadable(path, &error))?;
        if !real.starts_with(root) {
            return Err(invalid(format!(
                "`{}` is a link that leaves the policy folder: put what it leads to into the folder, or name it by `--policy`",
                path.display()
            )));
        }
        if is_folder { self.folder(path, real, root) } else { self.file(path, real) }
    }

    /// Reads a file. `real` is its path without links.
    fn file(&mut self, path: &Path, real: PathBuf) -> Result<(), Problem> {
        if self.seen.contains(&real) {
            return Ok(());
        }
        if self.sources.len() == MAX_FILES {
            return Err(invalid(format!("there are more than {MAX_FILES} policy files, counted up to `{}`", path.display())));
        }
        let text = files::text(&real, MAX_FILE_BYTES).map_err(|error| unreadable(path, &error))?;
        self.bytes += text.len();
        if self.bytes > MAX_BYTES {
            return Err(invalid(format!("the policy files have more than {MAX_BYTES} bytes together, counted up to `{}`", path.display())));
        }
        self.seen.insert(real);
        self.sources.push(Source { name: path.display().to_string(), text });
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    invalid(format!("policy file `{}` cannot be read: {error}", path.display()))
}

fn invalid(detail: String) -> Problem {
    Problem::new(ProblemCode::PolicyInvalid, detail, "keyplane config check")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A folder `policy` with these files, beside a file `secret`.
    fn world(files: &[(&str, &str)]) -> TempDir {
        let world = TempDir::new().unwrap();
        std::fs::write(world.path().join("secret"), "48151623").unwrap();
        for (name, text) in files {
            let path = world.path().join("policy").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        world
    }

    /// The names, relative to the policy folder, of the files that are read.
    fn names(world: &TempDir) -> Vec<String> {
        let folder = world.path().join("policy");
        let sources = read(std::slice::from_ref(&folder)).unwrap();
        let below = |source: &Source| Path::new(&source.name).strip_prefix(&folder).unwrap().display().to_string();
        sources.iter().map(below).collect()
    }

    fn told(paths: &[PathBuf]) -> String {
        let problems = read(paths).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].detail.clone()
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names_and_others_are_left_alone() {
        let world = world(&[("b.yaml", "b"), ("a/c.yml", "c"), ("notes.txt", "n"), ("d.yaml.orig", "d")]);
        symlink("nowhere", world.path().join("policy/dangling.txt")).unwrap();
        symlink("../secret", world.path().join("policy/out.txt")).unwrap();
        assert_eq!(names(&world), ["a/c.yml", "b.yaml"]);
    }

    #[test]
    fn a_link_that_leaves_the_folder_is_refused() {
        for (target, link) in [("../secret", "x.yaml"), ("../../secret", "sub/x.yaml"), ("..", "out"), ("/etc/hostname", "x.yml")] {
            let world = world(&[("a.yaml", "a"), ("sub/b.yaml", "b")]);
            let link = world.path().join("policy").join(link);
            symlink(target, &link).unwrap();
            let right = "is a link that leaves the policy folder: put what it leads to into the folder, or name it by `--policy`";
            assert_eq!(told(&[world.path().join("policy")]), format!("`{}` {right}", link.display()), "{target}");
        }
    }

    #[test]
    fn a_link_beside_the_folder_s_name_leaves_it() {
        let world = world(&[("a.yaml", "a")]);
        std::fs::create_dir(world.path().join("policy-of-others")).unwrap();
        std::fs::write(world.path().join("policy-of-others/b.yaml"), "b").unwrap();
        symlink("../policy-of-others/b.yaml", world.path().join("policy/b.yaml")).unwrap();
        assert!(told(&[world.path().join("policy")]).contains("leaves the policy folder"));
    }

    #[test]
    fn a_link_that_somebody_names_is_followed() {
        let world = world(&[("a.yaml", "a")]);
        symlink("policy", world.path().join("current")).unwrap();
        symlink("policy/a.yaml", world.path().join("a.yaml")).unwrap();
        for name in ["current", "a.yaml"] {
            assert_eq!(read(&[world.path().join(name)]).unwrap()[0].text, "a", "{name}");
        }
    }

    /// Kubernetes mounts a configuration folder in this way. If this fails, a folder that contains itself is read for ever.
    #[test]
    fn what_several_names_lead_to_is_read_once() {
        let world = world(&[("..2026/a.yaml", "a"), ("..2026/sub/b.yaml", "b")]);
        let folder = world.path().join("policy");
        for (target, link) in [("..2026", "..data"), ("..data/a.yaml", "a.yaml"), ("..data/sub", "sub"), (".", "self"), ("..", "sub/up")] {
            symlink(target, folder.join(link)).unwrap();
        }
        assert_eq!(names(&world), ["..2026/a.yaml", "..2026/sub/b.yaml"]);
        assert_eq!(read(&[folder.clone(), folder.join("a.yaml"), folder]).unwrap().len(), 2);
    }

    /// If this fails, it hangs: nobody writes into the FIFO.
    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let world = world(&[("a.yaml", "a")]);
        let fifo = world.path().join("policy/b.yaml");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let right = format!("policy file `{}` cannot be read: it is no regular file", fifo.display());
        assert_eq!(told(&[world.path().join("policy")]), right);
        assert_eq!(told(&["/dev/zero".into()]), "policy file `/dev/zero` cannot be read: it is no regular file");
    }

    #[test]
    fn each_file_and_all_of_them_have_a_limit() {
        let world = world(&[]);
        let folder = world.path().join("policy");
        std::fs::create_dir(&folder).unwrap();
        let file = |name: &str, length: usize| {
            let path = folder.join(name);
            std::fs::File::create(&path).unwrap().set_len(length as u64).unwrap();
            path
        };
        let large = file("large.yaml", MAX_FILE_BYTES + 1);
        assert_eq!(
            told(std::slice::from_ref(&large)),
            format!("policy file `{}` cannot be read: it has more than 1048576 bytes", large.display())
        );
        std::fs::remove_file(large).unwrap();

        let most = MAX_BYTES / MAX_FILE_BYTES;
        (0..most).for_each(|number| drop(file(&format!("{number:04}.yaml"), MAX_FILE_BYTES)));
        assert_eq!(names(&world).len(), most);
        let last = file("9999.yaml", 1);
        let right = format!("the policy files have more than 12582912 bytes together, counted up to `{}`", last.display());
        assert_eq!(told(std::slice::from_ref(&folder)), right);

        (0..MAX_FILES).for_each(|number| drop(file(&format!("{number:04}.yaml"), 1)));
        let right = format!("there are more than 1000 policy files, counted up to `{}`", last.display());
        assert_eq!(told(std::slice::from_ref(&folder)), right);
    }
}
