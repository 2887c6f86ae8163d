//! `keyplane-emulator`: a cloud on this machine, for development and tests.
#![expect(clippy::disallowed_macros, reason = "biased: the end of standard input always counts first")]

mod azure_args;
mod gcp_args;

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use keyplane_emulator_core::{aws::Config, crypto::RsaPairs};
use keyplane_emulator_wire::{
    aws::{self, AccessKey, Options},
    system_clock,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot};

use crate::{azure_args::AzureArgs, gcp_args::GcpArgs};

/// A cloud's key service on this machine, speaking its real protocol. For development and tests only.
#[derive(Parser)]
#[command(name = "keyplane-emulator", version)]
struct Cli {
    #[command(subcommand)]
    cloud: Cloud,
}

#[derive(Subcommand)]
enum Cloud {
    /// AWS KMS, one account, over plain HTTP
    Aws(AwsArgs),
    /// Google Cloud KMS, one project, over plain HTTP
    Gcp(GcpArgs),
    /// Azure Key Vault or Managed HSM, one vault, over HTTPS
    Azure(Box<AzureArgs>),
}

impl Cloud {
    fn exit_with_stdin(&self) -> bool {
        match self {
            Self::Aws(args) => args.exit_with_stdin,
            Self::Gcp(args) => args.exit_with_stdin,
            Self::Azure(args) => args.exit_with_stdin,
        }
    }
}

#[derive(Args)]
struct AwsArgs {
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
    exit_with_stdin: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter("warn").init();
    let Cli { cloud } = Cli::parse();
    let exit_with_stdin = cloud.exit_with_stdin();
    let serving = async {
        match cloud {
            Cloud::Aws(args) => Ok(run(args).await?),
            Cloud::Gcp(args) => gcp_args::run(args).await,
            Cloud::Azure(args) => azure_args::run(*args).await,
        }
    };
    let served: Result<(), Box<dyn Error + Send + Sync>> = if exit_with_stdin {
        tokio::select! {
            biased;
            () = stdin_ends() => Ok(()),
            served = serving => served,
        }
    } else {
        serving.await
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the emulator cannot serve: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: AwsArgs) -> io::Result<()> {
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
    axum::serve(listener, router).await
}

/// Where RSA pairs come from.
fn pairs(fixed: bool) -> RsaPairs {
    if fixed { RsaPairs::fixed() } else { RsaPairs::default() }
}

/// Says on standard output where the emulator listens.
fn announce(line: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Waits for the end of standard input, on a thread of its own: a read there cannot be called off.
async fn stdin_ends() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // Nothing is expected there: the end, or a failure, is all that counts.
        let mut ignored = [0; 64];
        while io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
        ended.send(())
    });
    // A sender that is gone means that the thread has ended: the same.
    let _ = end.await;
}

fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { Ok(text.to_owned()) } else { Err("an account id has twelve digits".into()) }
}
