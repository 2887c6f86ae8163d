//! The command line: its commands and options. The doc comments here are the help texts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use keyplane_model::{ApproverName, Digest, KeyName};

/// A control plane for encryption keys that live in several clouds and are owned by none of them.
#[derive(Debug, Parser)]
#[command(name = "keyplane", version, arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// The configuration file: the command runs here, as this operating system user, with the same approvals as anywhere.
    #[arg(long, global = true, env = "KEYPLANE_CONFIG", default_value = "keyplane.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Policy files or folders, in place of those that the configuration names.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) policy: Vec<PathBuf>,

    /// Prints JSON: results to standard output, problems to standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the database of a new installation.
    Init,
    /// Bring an older database up to this program.
    Migrate,
    /// Look after the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Check the policy files.
    Validate {
        /// Print the JSON Schema of policy files, for editors, and check nothing.
        #[arg(long)]
        schema: bool,
    },
    /// Show the effective rules of a key, and where each comes from.
    Explain {
        /// Which key.
        key: KeyName,
    },
    /// Work out what has to change, and propose it.
    Plan {
        /// Exit with 2 when there is something to do.
        #[arg(long)]
        detailed_exitcode: bool,
    },
    /// Show what a change set or a proposed charter does, and how to sign an approval of it elsewhere.
    Show {
        /// The digest of the change set or of the proposed charter.
        digest: Digest,
        /// Print the text that an approval signs, and nothing else.
        #[arg(long)]
        message: bool,
    },
    /// Approve a change set or a proposed charter: show what it does, ask, then sign that by OpenSSH.
    Approve(Approve),
    /// Run what is approved and still wanted, resume what was begun, and say what is left.
    Apply {
        /// Only these change sets, without planning again afterwards; by the policy of the last plan, and by `--policy` if it is given.
        digests: Vec<Digest>,
    },
    /// Show what is where.
    Status,
    /// Show what proves that the destinations hold the right keys.
    Evidence,
    /// Look after the HSM that holds the root of trust.
    Hsm {
        #[command(subcommand)]
        command: HsmCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration and try everything that it names: database, token, destinations.
    Check,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HsmCommand {
    /// Choose and prove the wrapping routes, make the root epoch, adopt the policy's approvers.
    Enroll,
    /// Prove the wrapping routes again; changes nothing.
    Test,
    /// Propose the policy's approvers and approval rules, if they are not in force; adopt them, once they are proposed and approved.
    Charter {
        /// Propose them oneself, even if somebody else did: the proposer's own approval does not count, and may be needed.
        #[arg(long)]
        own: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The digest of the change set or of the proposed charter.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) digest: Option<Digest>,

    /// Every change set that waits for approval.
    #[arg(long)]
    pub(crate) all: bool,

    /// Who approves.
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) approver: ApproverName,

    /// The private key (or the public one, if an agent or a hardware key holds the private one): `ssh-keygen` signs with it.
    #[arg(long, value_name = "FILE", conflicts_with = "signature", required_unless_present = "signature")]
    pub(crate) key: Option<PathBuf>,

    /// A signature made elsewhere, over what `keyplane show DIGEST --message` prints.
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub(crate) signature: Option<PathBuf>,

    /// Sign without asking first: for scripts, which read what they sign by `keyplane show`.
    #[arg(long, conflicts_with = "signature")]
    pub(crate) yes: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
