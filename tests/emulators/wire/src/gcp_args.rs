//! The command line of an emulated project.

use std::{error::Error, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf};

use clap::Args;
use keyplane_emulator_core::gcp::{Config, ServiceAccount};
use keyplane_emulator_wire::{
    gcp::{self, Options},
    system_clock,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{announce::announce, every_cloud::EveryCloud};

#[derive(Args)]
pub(crate) struct GcpArgs {
    /// Project id
    #[arg(long, default_value = "emulated-project")]
    project: String,
    /// JSON key file of the service account that requests must come from; without one, any token is accepted, or none
    #[arg(long, conflicts_with = "make_service_account")]
    service_account: Option<PathBuf>,
    /// Make such an account, and write its key file there; its token endpoint is this emulator
    #[arg(long)]
    make_service_account: Option<PathBuf>,
    /// File with the one token of a workload outside that can be exchanged [default: any can]
    #[arg(long)]
    subject_token: Option<PathBuf>,
    /// Key ring that is there from the start, as `projects/P/locations/L/keyRings/R`; may be given again
    #[arg(long)]
    key_ring: Vec<String>,
    /// Milliseconds for which import jobs, imported versions and generated pairs are pending
    #[arg(long, default_value_t = 200)]
    pending_millis: u32,
    #[command(flatten)]
    pub(crate) every: EveryCloud,
}

pub(crate) async fn run(args: GcpArgs) -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind(args.every.listen).await?;
    let address = listener.local_addr()?;
    let mut config = Config {
        project: args.project,
        consistency: args.every.consistency(),
        reveal_material: args.every.reveal_material,
        ..Config::default()
    };
    let readings = &mut config.readings;
    (readings.job_millis, readings.import_millis, readings.generation_millis) =
        (args.pending_millis, args.pending_millis, args.pending_millis);
    let rsa = args.every.pairs();
    let account = match (args.service_account, args.make_service_account) {
        (Some(file), _) => Some(ServiceAccount::read(&rsa, &fs::read(file)?)?),
        (None, Some(file)) => {
            let mut rng = ChaCha20Rng::seed_from_u64(args.every.seed);
            let (account, key_file) = ServiceAccount::make(&rsa, &mut rng, &config.project, &format!("http://{address}"))?;
            // `keyplane` reads no secret from a file that others can read.
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(key_file.as_bytes())?;
            Some(account)
        }
        (None, None) => None,
    };
    let subject_token = args.subject_token.map(fs::read).transpose()?;
    let router = gcp::router(Options {
        config,
        account,
        subject_token,
        quotas: !args.every.no_quotas,
        key_rings: args.key_ring,
        pairs: rsa,
        seed: args.every.seed,
        clock: system_clock(),
    });
    announce(&json!({ "listening": address.to_string() }))?;
    Ok(axum::serve(listener, router).await?)
}
