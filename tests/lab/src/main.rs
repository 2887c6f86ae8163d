//! The `keyplane-lab` binary: the tour (`demo`), and a lab to work in by hand (`up`).

mod tour;

use std::error::Error as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything on one machine: cloud emulators, a development token, approvers, policy. For development only.
#[derive(Debug, Parser)]
#[command(name = "keyplane-lab", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    /// The lab's folder. What an earlier lab left there is removed.
    #[arg(long, global = true, default_value = ".keyplane/lab", value_name = "FOLDER")]
    folder: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Show a whole life: from policy files to keys that applications use. Asks nothing, leaves nothing running.
    Demo,
    /// Start a lab and keep it running, to try commands by hand. Ends with Ctrl-C.
    Up,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo => tour::demo(&cli.folder),
        Command::Up => tour::up(&cli.folder),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tour::complain(&format!("error: {error}"));
            let mut source = error.source();
            while let Some(cause) = source {
                tour::complain(&format!("  because: {cause}"));
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}
