//! How long `make` takes from a clean clone: of what is checked out here, and of an earlier revision, in turns.
//!
//! Each turn has a clone of its own in a temporary folder, with a build folder of its own, which goes with it. What has to be downloaded
//! or installed is, before the time is taken. What `make` prints is kept in `target/bench`, and stays there.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::ratio::median;
use crate::{BenchError, root, system, timed};

/// The revision that the new one is measured against: the last one before building and testing were made faster.
pub(crate) const BASE: &str = "64edeab7dfbeacb12cb24ada9cfa83d3573d993b";

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// `make demo`
    Demo,
    /// `make test`
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

/// One `make` that ended.
struct Turn {
    seconds: f64,
    /// The exit code; -1 when a signal ended it.
    code: i32,
    /// The last line of its output that counts tests; empty when no line does.
    summary: String,
}

/// The new revision's time, divided by the old one's: medians of so many turns each. Says of each turn how it ended.
///
/// # Errors
/// When a `make` fails: the other turns are run all the same, and told, but what failed is compared with nothing.
pub(crate) fn compare(goal: Goal, turns: usize) -> Result<f64, BenchError> {
    let head = git(&["rev-parse", "HEAD"])?;
    let (mut old, mut new, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=turns {
        for (side, revision, times) in [("old", BASE, &mut old), ("new", head.as_str(), &mut new)] {
            let name = format!("{}-{side}-{number}", goal.word());
            println!("  {name} ({revision:.7}) begins; its output goes to target/bench/{name}.log");
            match turn(goal, revision, &name) {
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

fn turn(goal: Goal, revision: &str, name: &str) -> Result<Turn, BenchError> {
    let logs = root().join("target/bench");
    fs::create_dir_all(&logs).map_err(system("the folder for logs"))?;
    let folder = tempfile::tempdir().map_err(system("a temporary folder"))?;
    let clone = folder.path().join("keyplane");
    git(&["clone", "--quiet", "--no-checkout", ".", &clone.display().to_string()])?;
    git(&["-C", &clone.display().to_string(), "checkout", "--quiet", "--detach", revision])?;
    let prepared = run(&clone, &logs.join(format!("{name}-prepare.log")), PREPARE)?;
    if prepared != 0 {
        return Err(BenchError::Failed(format!("preparing ended with {prepared}; see {name}-prepare.log")));
    }
    let log = logs.join(format!("{name}.log"));
    let (code, time) = timed(|| run(&clone, &log, &format!("make {}", goal.word())));
    let text = fs::read(&log).map_err(system("the log"))?;
    let summary = String::from_utf8_lossy(&text).lines().rev().find(|line| is_summary(line)).unwrap_or_default().to_owned();
    Ok(Turn { seconds: time.as_secs_f64(), code: code?, summary })
}

/// Downloads and installs: what the system lacks, the crates, the clouds' Python clients (which a system without Python goes without).
const PREPARE: &str = "set -e
.ci/prerequisites test
cargo fetch --locked
KEYPLANE_EMULATOR=/bin/sh tests/clients/run --version || [ $? = 77 ]";

/// Runs a script in a folder to its end; its output goes to a file.
fn run(folder: &Path, log: &Path, script: &str) -> Result<i32, BenchError> {
    let output = File::create(log).map_err(system(log.display().to_string()))?;
    let errors = output.try_clone().map_err(system(log.display().to_string()))?;
    let mut command = Command::new("bash");
    // A build folder of its own, and no word of the `make` that started this.
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(name);
    }
    let command = command.args(["-c", script]).current_dir(folder).stdin(Stdio::null()).stdout(output).stderr(errors);
    let status = command.status().map_err(system("bash cannot be run"))?;
    Ok(status.code().unwrap_or(-1))
}

/// Whether a line counts tests, as the last one of `make test` does.
fn is_summary(line: &str) -> bool {
    let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    matches!(words.as_slice(), [passed, "passed", failed, "failed", ..] if [passed, failed].iter().all(|word| word.parse::<u32>().is_ok()))
}

/// Asks git about this repository.
fn git(args: &[&str]) -> Result<String, BenchError> {
    let output = Command::new("git").args(args).current_dir(root()).output().map_err(system("git cannot be run"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BenchError::Failed(format!("git {}: {said}", args.join(" "))))
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
}
