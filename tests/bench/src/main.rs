//! `keyplane-bench`: measures ratios of times and judges each by its bound.
//!
//! Owns the table of ratios, [`RATIOS`], and how they are measured. Speed is judged only here: no test asks how long something took. A
//! ratio is measured in one run on one machine, both sides in turns, several times, and their medians are compared. So it is the same on
//! slow and fast machines, and depends little on other processes. No absolute time decides anything.
//!
//! To add a ratio, add a line to [`RATIOS`]; for a new way of measuring, add a variant of [`Measure`].
//!
//! | module | owns |
//! |---|---|
//! | `ratio` | a ratio, its verdict, the arithmetic |
//! | `keys` | the CPU time that commands take with many keys |
//! | `revision` | the time that `make` takes here and at an earlier revision |
//! | `temporary` | folders that are removed after the run |
//! | `error` | why something cannot be measured |
#![expect(clippy::print_stdout, reason = "the report")]

mod error;
mod keys;
mod ratio;
mod revision;
mod temporary;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::error::BenchError;
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

/// How a ratio's value is measured.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// How the time of an `apply` of ten keys grows beside this many open change sets of other keys.
    Beside(u32),
    /// How the time per key of a command grows between two numbers of keys.
    PerKey { command: Command, from: u32, to: u32 },
    /// The time of `make` from a clean clone, divided by that of [`revision::BASE`].
    Clean(Goal),
}

const RATIOS: [Ratio<Measure>; 9] = [
    per_key("validate, per key, 100 to 1,000 keys", Command::Validate, 100, 1_000),
    per_key("validate, per key, 1,000 to 10,000 keys", Command::Validate, 1_000, 10_000),
    per_key("plan, per key, 100 to 1,000 keys", Command::Plan, 100, 1_000),
    per_key("plan, per key, 1,000 to 10,000 keys", Command::Plan, 1_000, 10_000),
    per_key("status, per key, 100 to 1,000 keys", Command::Status, 100, 1_000),
    per_key("status, per key, 1,000 to 10,000 keys", Command::Status, 1_000, 10_000),
    // A part of the start's time is for opening the database, which is larger; nothing else may depend on the others.
    Ratio { name: "apply of ten keys, beside 10,000 open to alone", bound: 1.5, measure: Measure::Beside(10_000) },
    Ratio { name: "make demo from nothing, new to old", bound: 0.8, measure: Measure::Clean(Goal::Demo) },
    Ratio { name: "make test from nothing, new to old", bound: 1.0 / 3.0, measure: Measure::Clean(Goal::Test) },
];

/// Ten times the keys may take ten times the time and a fifth more.
const fn per_key(name: &'static str, command: Command, from: u32, to: u32) -> Ratio<Measure> {
    Ratio { name, bound: 1.2, measure: Measure::PerKey { command, from, to } }
}

impl Measure {
    fn group(self) -> Group {
        match self {
            Self::PerKey { .. } | Self::Beside(_) => Group::Keys,
            Self::Clean(Goal::Demo) => Group::Demo,
            Self::Clean(Goal::Test) => Group::Loop,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut installation = None;
    let mut verdict = Verdict(Vec::new());
    for ratio in RATIOS.iter().filter(|ratio| cli.groups.contains(&ratio.measure.group())) {
        let value = match ratio.measure {
            Measure::PerKey { command, from, to } => in_installation(&mut installation, |there| there.growth(command, from, to)),
            Measure::Beside(others) => in_installation(&mut installation, |there| there.apply_beside(others)),
            Measure::Clean(goal) => Repository::here().compare(goal, cli.turns),
        };
        let judged = ratio.judged(value.map_err(|error| error.to_string()));
        println!("{judged}");
        verdict.0.push(judged);
    }
    for ratio in RATIOS.iter().filter(|ratio| !cli.groups.contains(&ratio.measure.group())) {
        println!("{:<48} left out: `make help` says how it is measured", ratio.name);
    }
    // Everything that was started ends and is cleaned up before the last line is printed.
    drop(installation);
    println!("{verdict}");
    verdict.exit_code()
}

/// Measures in the only installation of this run, which is made when it is first needed.
fn in_installation(
    installation: &mut Option<Installation>,
    measure: impl FnOnce(&mut Installation) -> Result<f64, BenchError>,
) -> Result<f64, BenchError> {
    let installation = match installation {
        Some(installation) => installation,
        None => installation.insert(Installation::start()?),
    };
    measure(installation)
}
