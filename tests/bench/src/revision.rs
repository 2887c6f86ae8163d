//! How long `make` takes from a clean clone, for what is checked out here and for an earlier revision, in turns.
//!
//! Each turn has a new clone and build folder in a temporary folder, which is removed afterwards. Downloads and installations are done
//! before the time is taken. The output of `make` is kept in `target/bench`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{BenchError, system};
use crate::ratio::median;
use crate::temporary::temporary;

/// The earlier revision: the last one before building and testing were made faster.
pub(crate) const BASE: &str = "64edeab7dfbeacb12cb24ada9cfa83d3573d993b";

/// The goal of `make`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Demo,
    Test,
}

impl Goal {
    fn word(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Test => "test",
        }
    }
}

struct Turn {
    seconds: f64,
    /// The exit code; -1 if a signal ended it.
    code: i32,
    /// The last line of its output that counts tests; empty if there is none.
    summary: String,
}

/// The origin of both revisions, and the folder of their logs.
pub(crate) struct Repository {
    folder: PathBuf,
    base: String,
    logs: PathBuf,
}

impl Repository {
    /// This repository, with [`BASE`].
    pub(crate) fn here() -> Self {
        Self { folder: root(), base: BASE.to_owned(), logs: root().join("target/bench") }
    }

    /// The time of what is checked out when its turn begins, divided by the base's: medians of this many turns each. Prints how each turn
    /// ended.
    ///
    /// # Errors
    /// When a `make` fails. The other turns are run and printed all the same, but there is no ratio.
    pub(crate) fn compare(&self, goal: Goal, turns: usize) -> Result<f64, BenchError> {
        fs::create_dir_all(&self.logs).map_err(system("the folder for logs"))?;
        let (mut old, mut new, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=turns {
            for (side, revision, times) in [("old", self.base.as_str(), &mut old), ("new", "HEAD", &mut new)] {
                let revision = &self.git(&["rev-parse", revision])?;
                let name = format!("{}-{side}-{number}", goal.word());
                println!("  {name} ({revision:.7}) begins; its output goes to target/bench/{name}.log");
                match self.turn(goal, revision, &name) {
                    Ok(Turn { seconds, code, summary }) => {
                        println!("  {name}: {:.1} min, exit code {code} {summary}", seconds / 60.0);
                        times.push(seconds);
                        failed.extend((code != 0).then(|| name.clone()));
                    }
                    Err(error) => {
                        println!("  {name}: {error}");
                        failed.push(name);
                    }
                }
            }
        }
        if failed.is_empty() { Ok(median(&new) / median(&old)) } else { Err(BenchError::Failed(format!("failed: {}", failed.join(", ")))) }
    }

    fn turn(&self, goal: Goal, revision: &str, name: &str) -> Result<Turn, BenchError> {
        let folder = temporary(&std::env::temp_dir())?;
        let clone = folder.path().join("keyplane");
        let path = clone.display().to_string();
        self.git(&["clone", "--quiet", "--no-checkout", ".", &path])?;
        self.git(&["-C", &path, "checkout", "--quiet", "--detach", revision])?;
        let prepared = run(&clone, &self.logs.join(format!("{name}-prepare.log")), PREPARE)?;
        if prepared != 0 {
            return Err(BenchError::Failed(format!("preparing ended with {prepared}; see {name}-prepare.log")));
        }
        let log = self.logs.join(format!("{name}.log"));
        // What is built only once needs no incremental compilation.
        let (code, time) = timed(|| run(&clone, &log, &format!("export CARGO_INCREMENTAL=0; make {}", goal.word())));
        let text = fs::read(&log).map_err(system("the log"))?;
        let summary = String::from_utf8_lossy(&text).lines().rev().find(|line| is_summary(line)).unwrap_or_default().to_owned();
        Ok(Turn { seconds: time.as_secs_f64(), code: code?, summary })
    }

    fn git(&self, args: &[&str]) -> Result<String, BenchError> {
        let output = Command::new("git").args(args).current_dir(&self.folder).output().map_err(system("git cannot be run"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(BenchError::Failed(format!("git {}: {said}", args.join(" "))))
    }
}

/// Downloads and installs what is missing: system packages, crates, and the clouds' Python clients (not on a system without Python).
const PREPARE: &str = "set -e
.ci/prerequisites test
cargo fetch --locked
KEYPLANE_EMULATOR=/bin/sh tests/clients/run --version || [ $? = 77 ]";

/// Runs a script in a folder to its end, with its output in a file.
fn run(folder: &Path, log: &Path, script: &str) -> Result<i32, BenchError> {
    let output = File::create(log).map_err(system(log.display().to_string()))?;
    let errors = output.try_clone().map_err(system(log.display().to_string()))?;
    let mut command = Command::new("bash");
    // The build folder has to be the clone's own, and the outer `make` must not pass its settings on.
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(name);
    }
    let command = command.args(["-c", script]).current_dir(folder).stdin(Stdio::null()).stdout(output).stderr(errors);
    let status = command.status().map_err(system("bash cannot be run"))?;
    Ok(status.code().unwrap_or(-1))
}

/// How long something takes.
#[expect(clippy::disallowed_methods, reason = "how long another process runs is told by the real clock alone")]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let done = run();
    (done, begin.elapsed())
}

/// The workspace's folder.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Whether a line counts tests, as the last one of `make test` does.
fn is_summary(line: &str) -> bool {
    let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    matches!(words.as_slice(), [passed, "passed", failed, "failed", ..] if [passed, failed].iter().all(|word| word.parse::<u32>().is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_counts_tests_is_known() {
        assert!(is_summary("1572 passed, 0 failed, 0 skipped"));
        assert!(is_summary("12 passed, 3 failed"));
        assert!(!is_summary("==== 12 passed, 3 failed in 0.1s ===="));
        assert!(!is_summary("many passed, few failed"));
    }

    #[test]
    fn a_script_s_output_is_kept_whatever_its_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(run(folder.path(), &log, "pwd; echo '1 passed, 1 failed' >&2; exit 3").unwrap(), 3);
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.starts_with(&folder.path().canonicalize().unwrap().display().to_string()), "{text}");
        assert_eq!(text.lines().rev().find(|line| is_summary(line)), Some("1 passed, 1 failed"));
    }

    /// A repository whose `make test` prints one line, with another exit code at each revision.
    fn repository(folder: &Path, codes: [u8; 2]) -> Repository {
        let script = |text: &str| {
            let ran = Command::new("bash").args(["-ec", text]).current_dir(folder).status().unwrap();
            assert!(ran.success());
        };
        script(
            "git init --quiet; git config user.name x; git config user.email x; mkdir -p .ci src tests/clients; touch src/lib.rs
            printf '[package]\nname = \"x\"\nedition = \"2024\"\n' >Cargo.toml; cargo generate-lockfile --offline
            printf '#!/bin/sh\nexit 77\n' >tests/clients/run; printf '#!/bin/sh\n' >.ci/prerequisites; chmod +x tests/clients/run .ci/prerequisites",
        );
        for (number, code) in (1..).zip(codes) {
            script(&format!(
                "printf 'test:\\n\\t@echo \"{number} passed, {code} failed, 0 skipped\"; exit {code}\\n' >Makefile
                git add .; git commit --quiet -m x"
            ));
        }
        let mut repository = Repository { folder: folder.to_owned(), base: String::new(), logs: folder.join("logs") };
        repository.base = repository.git(&["rev-parse", "HEAD^"]).unwrap();
        repository
    }

    #[test]
    fn two_revisions_are_made_each_from_its_own_clone_and_their_output_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path(), [0, 0]);
        assert!(repository.compare(Goal::Test, 2).unwrap() > 0.0);
        for (name, line) in [("old-1", "1 passed"), ("new-1", "2 passed"), ("old-2", "1 passed"), ("new-2", "2 passed")] {
            let text = fs::read_to_string(repository.logs.join(format!("test-{name}.log"))).unwrap();
            assert!(text.contains(line), "{name}: {text}");
        }
    }

    #[test]
    fn a_revision_that_fails_is_named_and_the_other_is_run_all_the_same() {
        for (codes, name) in [([1, 0], "failed: test-old-1"), ([0, 1], "failed: test-new-1")] {
            let folder = tempfile::tempdir().unwrap();
            let repository = repository(folder.path(), codes);
            assert_eq!(repository.compare(Goal::Test, 1).unwrap_err().to_string(), name);
            assert!(fs::read_to_string(repository.logs.join("test-new-1.log")).unwrap().contains("2 passed"));
        }
    }
}
