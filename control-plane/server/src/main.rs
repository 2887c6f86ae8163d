//! The `keyplane` binary: configuration, composition, router and command line.
//!
//! Owns what only a program has: files, environment, terminal, process. The only crate that names real adapters (`compose`). Must not
//! decide anything about keys; the service and the crates below it do.
//!
//! | module | owns |
//! |---|---|
//! | `cli` | the command line |
//! | `config` | `keyplane.toml` |
//! | `compose` | which adapter is behind which port |
//! | `router` | HTTP around the service |
//! | `commands` | what each command does, as a client of the API |
//! | `render` | output for people |
//! | `sources` | reading policy files |
//! | `files` | reading any other file that people name, and secrets |
//! | `keygen` | starting `ssh-keygen` |
//! | `process` | protection of secrets in memory, and the end at a panic |
//! | `system` | clock and entropy of the operating system |

mod cli;
mod commands;
mod compose;
mod config;
mod files;
mod keygen;
mod process;
mod render;
mod router;
mod sources;
mod system;

use std::alloc::System;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed. The clouds' SDKs copy credentials while they sign and encode, and free the copies as they are.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// A wrong command line (`EX_USAGE` of sysexits). The usual 2 means that a plan has something to do.
const EXIT_USAGE: u8 = 64;

/// Libraries whose debug logs contain requests, and with them import tokens and wrapped material. Their level is at most `warn`, whatever
/// `KEYPLANE_LOG` says.
const TALKATIVE: [&str; 11] = [
    "aws_config",
    "aws_credential_types",
    "aws_runtime",
    "aws_sdk_kms",
    "aws_sigv4",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "h2",
    "hyper",
    "hyper_util",
];

/// `KEYPLANE_LOG`: a level, or levels by target, as in `warn,keyplane_engine=trace`; by default warnings and errors.
fn log_filter() -> Targets {
    let asked = std::env::var("KEYPLANE_LOG").ok().and_then(|asked| asked.parse().ok());
    bounded(&asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN)))
}

/// What was asked for, with the bound on [`TALKATIVE`], their modules included.
fn bounded(asked: &Targets) -> Targets {
    let bound = |(target, level): (&str, LevelFilter)| {
        let talks = TALKATIVE.iter().any(|name| target.starts_with(name));
        (target.to_owned(), if talks { level.min(LevelFilter::WARN) } else { level })
    };
    let default = asked.default_level().unwrap_or(LevelFilter::OFF);
    let all = Targets::new().with_default(default).with_targets(TALKATIVE.map(|name| (name, default.min(LevelFilter::WARN))));
    all.with_targets(asked.iter().map(bound))
}
/// Runs everything on one thread: the token and the database have their own threads. With worker threads, tokio would queue blocking work
/// for them if the system gives no further thread, and they never take it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Printing help fails only if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let json = cli.json;
    process::end_at_panic(json);
    if let Err(problem) = process::hide() {
        return render::failed(&[problem], json);
    }
    let locked = process::lock();
    let log = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(log).with(log_filter()).init();
    if let Err(why) = locked {
        tracing::info!(%why, "memory is not locked, so secrets may be written to swap");
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let detail = format!("the operating system does not give what waiting for events needs: {error}");
            let problem = keyplane_model::Problem::new(keyplane_model::ProblemCode::Internal, detail, "keyplane --version");
            return render::failed(&[problem], json);
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(problems) => render::failed(&problems, json),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// An SDK's log of requests would hold import tokens and wrapped material.
    #[test]
    fn no_level_makes_a_talkative_library_talk() {
        for asked in ["trace", "aws_sdk_kms=trace", "warn,hyper=debug,aws_smithy_runtime::client=trace"] {
            let filter = bounded(&asked.parse().unwrap());
            for name in TALKATIVE {
                for target in [name.to_owned(), format!("{name}::client"), format!("{name}::client::orchestrator")] {
                    assert!(!filter.would_enable(&target, &Level::INFO), "{asked}: {target}");
                }
            }
        }
    }

    #[test]
    fn a_level_is_for_what_it_names() {
        let filter = bounded(&"error,keyplane_engine=trace,hyper=off".parse().unwrap());
        assert!(filter.would_enable("keyplane_engine::lane", &Level::TRACE));
        assert!(filter.would_enable("keyplane_store", &Level::ERROR) && !filter.would_enable("keyplane_store", &Level::WARN));
        assert!(filter.would_enable("h2", &Level::ERROR) && !filter.would_enable("h2", &Level::WARN));
        assert!(!filter.would_enable("hyper", &Level::ERROR));
    }
}
