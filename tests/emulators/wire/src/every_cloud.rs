//! The part of the command line that every emulated cloud has.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use keyplane_emulator_core::crypto::RsaPairs;

// No documentation here: clap would show it as the command's.
#[derive(Args)]
pub(crate) struct EveryCloud {
    /// Address to listen on; port 0 takes a free one, and the first line on standard output tells which
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Grant requests without limit
    #[arg(long)]
    pub(crate) no_quotas: bool,
    /// Seconds for which the cloud may still answer as before a change
    #[arg(long, default_value_t = 0)]
    consistency: u32,
    /// Take RSA pairs from files that are the same for everybody, and generate only what they do not suffice for: faster, for tests
    #[arg(long)]
    fixed_pairs: bool,
    /// Seed for identifiers and everything else that is random, key pairs aside
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Show key material in the dump
    #[arg(long)]
    pub(crate) reveal_material: bool,
    /// End when standard input ends, and so with the process that holds it
    #[arg(long)]
    pub(crate) exit_with_stdin: bool,
}

impl EveryCloud {
    pub(crate) fn consistency(&self) -> Duration {
        Duration::from_secs(self.consistency.into())
    }

    /// The source of RSA pairs: files, or generation only.
    pub(crate) fn pairs(&self) -> RsaPairs {
        if self.fixed_pairs { RsaPairs::fixed() } else { RsaPairs::default() }
    }
}
