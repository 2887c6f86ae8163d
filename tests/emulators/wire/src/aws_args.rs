//! The command line of an emulated account.

use std::{error::Error, net::SocketAddr, time::Duration};

use clap::Args;
use keyplane_emulator_core::aws::Config;
use keyplane_emulator_wire::{
    aws::{self, AccessKey, Options},
    system_clock,
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{announce::announce, pairs::pairs};

#[derive(Args)]
pub(crate) struct AwsArgs {
    /// Address to listen on; port 0 takes a free one, and the first line on standard output tells which
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Home region of the account; without an access key, every other region is there when a request is signed for it
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Account id, twelve digits
    #[arg(long, default_value = "111122223333", value_parser = account)]
    account: String,
    /// Access key id that requests must be signed with, for the home region; without it, any signature is accepted
    #[arg(long, requires = "secret_key")]
    access_key: Option<String>,
    /// Secret of the access key
    #[arg(long, requires = "access_key", env = "KEYPLANE_EMULATOR_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,
    /// Grant requests without limit
    #[arg(long)]
    no_quotas: bool,
    /// Seconds for which a read may lag behind a change
    #[arg(long, default_value_t = 0)]
    consistency: u32,
    /// Take RSA pairs from files that are the same for everybody, and generate only what they do not suffice for: faster, for tests
    #[arg(long)]
    fixed_pairs: bool,
    /// Seed for identifiers and everything else that is random, RSA pairs aside
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Show key material in the dump
    #[arg(long)]
    reveal_material: bool,
    /// End when standard input ends, and so with the process that holds it
    #[arg(long)]
    pub(crate) exit_with_stdin: bool,
}

pub(crate) async fn run(args: AwsArgs) -> Result<(), Box<dyn Error + Send + Sync>> {
    let router = aws::router(Options {
        config: Config {
            region: args.region,
            account: args.account,
            consistency: Duration::from_secs(args.consistency.into()),
            reveal_material: args.reveal_material,
            ..Config::default()
        },
        credential: args.access_key.zip(args.secret_key).map(|(id, secret)| AccessKey { id, secret }),
        quotas: !args.no_quotas,
        pairs: pairs(args.fixed_pairs),
        seed: args.seed,
        clock: system_clock(),
    });
    let listener = TcpListener::bind(args.listen).await?;
    announce(&json!({ "listening": listener.local_addr()?.to_string() }))?;
    Ok(axum::serve(listener, router).await?)
}

fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(text.to_owned()) } else { Err("an account id has twelve digits".into()) }
}
