//! `keyplane-emulator`: a cloud on this machine, for development and tests.
#![expect(clippy::disallowed_macros, reason = "biased: the end of standard input always counts first")]

mod announce;
mod aws_args;
mod azure_args;
mod every_cloud;
mod gcp_args;

use std::{
    error::Error,
    io::{self, Read as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tokio::sync::oneshot;

use crate::{aws_args::AwsArgs, azure_args::AzureArgs, every_cloud::EveryCloud, gcp_args::GcpArgs};

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
    fn every(&self) -> &EveryCloud {
        match self {
            Self::Aws(args) => &args.every,
            Self::Gcp(args) => &args.every,
            Self::Azure(args) => &args.every,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(tracing::Level::WARN).init();
    let Cli { cloud } = Cli::parse();
    let exit_with_stdin = cloud.every().exit_with_stdin;
    let serving = async {
        match cloud {
            Cloud::Aws(args) => aws_args::run(args).await,
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

/// Waits for the end of standard input, on a thread of its own, because a blocking read cannot be cancelled.
async fn stdin_ends() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // Only the end, or a failure, matters.
        let mut ignored = [0; 64];
        while io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
        ended.send(())
    });
    // A dropped sender means that the thread has ended.
    let _ = end.await;
}
