//! The command line of an emulated account.

use std::error::Error;

use clap::Args;
use keyplane_emulator_core::aws::Config;
use keyplane_emulator_wire::{
    aws::{self, AccessKey, Options},
    system_clock,
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{announce::announce, every_cloud::EveryCloud};

#[derive(Args)]
pub(crate) struct AwsArgs {
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
    #[command(flatten)]
    pub(crate) every: EveryCloud,
}

pub(crate) async fn run(args: AwsArgs) -> Result<(), Box<dyn Error + Send + Sync>> {
    let router = aws::router(Options {
        config: Config {
            region: args.region,
            account: args.account,
            consistency: args.every.consistency(),
            reveal_material: args.every.reveal_material,
            ..Config::default()
        },
        credential: args.access_key.zip(args.secret_key).map(|(id, secret)| AccessKey { id, secret }),
        quotas: !args.every.no_quotas,
        pairs: args.every.pairs(),
        seed: args.every.seed,
        clock: system_clock(),
    });
    let listener = TcpListener::bind(args.every.listen).await?;
    announce(&json!({ "listening": listener.local_addr()?.to_string() }))?;
    Ok(axum::serve(listener, router).await?)
}

fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(text.to_owned()) } else { Err("an account id has twelve digits".into()) }
}
