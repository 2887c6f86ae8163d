//! `keyplane-bench`: measures ratios of times and judges each by its bound.
//!
//! Owns the table of ratios, [`RATIOS`], and how they are measured. Speed is judged here and nowhere else: no test asks how long
//! something took. A ratio is measured in one run on one machine: both sides in turns, several times, and their medians are compared. So
//! it says the same on a slow machine as on a fast one, and little of what else runs there. No absolute time decides anything.
//!
//! To add a ratio, add a line to [`RATIOS`]; what is measured in a new way is a new variant of [`Measure`].
//!
//! | module | owns |
//! |---|---|
//! | `ratio` | a ratio, its verdict, the arithmetic |
//! | `keys` | the CPU time that commands take with many keys |
//! | `revision` | the time that `make` takes here and at an earlier revision |
#![expect(clippy::print_stdout, reason = "the report")]

mod keys;
mod ratio;
mod revision;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use tempfile::TempDir;

use crate::keys::{Command, Installation};
use crate::ratio::{Ratio, Verdict};
use crate::revision::{Goal, Repository};

/// Ratios of times, each with a bound. The exit code is 0 when all are in bounds.
#[derive(Debug, Parser)]
#[command(name = "keyplane-bench", version, max_term_width = 110)]
struct Cli {
    /// What is measured
    #[arg(default_value = "keys")]
    groups: Vec<Group>,
    /// How often each revision is built and run, in turns
    #[arg(long, default_value_t = 1)]
    turns: usize,
}

/// Ratios that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Commands with many keys: minutes
    Keys,
    /// `make demo` against an earlier revision: ten minutes a turn and more
    Demo,
    /// `make test` against an earlier revision: an hour a turn and more
    Loop,
}

/// How a ratio's value is found.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// How the time per key of a command grows from a number of keys to a larger one.
    PerKey { command: Command, from: u32, to: u32 },
    /// The time of `make` from a clean clone, against [`revision::BASE`].
    Clean(Goal),
}

/// Every ratio.
const RATIOS: [Ratio; 8] = [
    per_key("validate, per key, 100 to 1,000 keys", Command::Validate, 100, 1_000),
    per_key("validate, per key, 1,000 to 10,000 keys", Command::Validate, 1_000, 10_000),
    per_key("plan, per key, 100 to 1,000 keys", Command::Plan, 100, 1_000),
    per_key("plan, per key, 1,000 to 10,000 keys", Command::Plan, 1_000, 10_000),
    per_key("status, per key, 100 to 1,000 keys", Command::Status, 100, 1_000),
    per_key("status, per key, 1,000 to 10,000 keys", Command::Status, 1_000, 10_000),
    Ratio { name: "make demo from nothing, new to old", bound: 0.8, measure: Measure::Clean(Goal::Demo) },
    Ratio { name: "make test from nothing, new to old", bound: 1.0 / 3.0, measure: Measure::Clean(Goal::Test) },
];

/// Ten times the keys may take ten times the time, and a fifth more.
const fn per_key(name: &'static str, command: Command, from: u32, to: u32) -> Ratio {
    Ratio { name, bound: 1.2, measure: Measure::PerKey { command, from, to } }
}

impl Measure {
    fn group(self) -> Group {
        match self {
            Self::PerKey { .. } => Group::Keys,
            Self::Clean(Goal::Demo) => Group::Demo,
            Self::Clean(Goal::Test) => Group::Loop,
        }
    }
}

/// Something cannot be measured.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// The lab does not work.
    #[error("{0}")]
    Lab(#[from] keyplane_lab::LabError),
    /// The ledger cannot be filled.
    #[error("{0}")]
    Ledger(#[from] keyplane_port::LedgerError),
    /// A file, a folder or a process.
    #[error("{what}: {source}")]
    System { what: String, source: std::io::Error },
    /// A program did not do what is measured.
    #[error("{0}")]
    Failed(String),
}

/// Makes an error of the operating system one of ours.
fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::System { what: what.into(), source }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut installation = None;
    let mut verdict = Verdict(Vec::new());
    for ratio in RATIOS.iter().filter(|ratio| cli.groups.contains(&ratio.measure.group())) {
        let value = match ratio.measure {
            Measure::PerKey { command, from, to } => per_key_growth(&mut installation, command, from, to),
            Measure::Clean(goal) => Repository::here().compare(goal, cli.turns),
        };
        let judged = ratio.judged(value.map_err(|error| error.to_string()));
        println!("{judged}");
        verdict.0.push(judged);
    }
    for ratio in RATIOS.iter().filter(|ratio| !cli.groups.contains(&ratio.measure.group())) {
        println!("{:<48} left out: `make help` says how it is measured", ratio.name);
    }
    // Everything that was started has ended, and is cleaned up, before the last line is printed.
    drop(installation);
    println!("{verdict}");
    verdict.exit_code()
}

/// Measures in the one installation of this run, which is made when it is first needed.
fn per_key_growth(installation: &mut Option<Installation>, command: Command, from: u32, to: u32) -> Result<f64, BenchError> {
    let installation = match installation {
        Some(installation) => installation,
        None => installation.insert(Installation::start()?),
    };
    installation.growth(command, from, to)
}

/// How long something takes.
#[expect(clippy::disallowed_methods, reason = "how long another process runs is told by the real clock alone")]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let done = run();
    (done, begin.elapsed())
}

/// A temporary folder, below `parent` if that can be written. It goes with the value, and with Ctrl-C, which drops no value.
fn temporary(parent: &Path) -> Result<TempDir, BenchError> {
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

/// The workspace's folder.
fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
