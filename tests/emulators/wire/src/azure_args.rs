//! The command line of an emulated vault.

use std::{error::Error, io, net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use keyplane_emulator_core::azure::{Config, Kind, SHORTEST_RETENTION_DAYS, USUAL_RETENTION_DAYS};
use keyplane_emulator_wire::{
    azure::{self, Application, Directory, Emulator, Federation, Forgery, Options, USUAL_TOKEN_SECONDS},
    system_clock,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::{announce::announce, every_cloud::EveryCloud};

#[derive(Clone, Copy, ValueEnum)]
enum Service {
    /// Key Vault
    KeyVault,
    /// Managed HSM
    ManagedHsm,
}

#[derive(Clone, Copy, ValueEnum)]
enum Forged {
    /// The signature is one of something else
    Signature,
    /// They are about another key
    Key,
    /// The key can leave the HSM
    Extractable,
    /// The key was not made in the HSM
    Origin,
    /// The key can decrypt
    Uses,
}

#[derive(Args)]
pub(crate) struct AzureArgs {
    /// Which service it is
    #[arg(long, value_enum, default_value = "key-vault")]
    kind: Service,
    /// The vault has HSM keys
    #[arg(long)]
    premium: bool,
    /// Host name of the vault [default: emulator.vault.azure.net, or emulator.managedhsm.azure.net]
    #[arg(long)]
    host: Option<String>,
    /// File for the certificate of the authority behind the server's own, as PEM: what clients have to trust
    #[arg(long)]
    ca_out: PathBuf,
    /// Address without TLS, for managed identities (as a machine's metadata service has it) and the control interface
    #[arg(long)]
    metadata_listen: Option<SocketAddr>,
    /// Secret header of managed identities as an App Service has them
    #[arg(long, env = "KEYPLANE_EMULATOR_IDENTITY_HEADER", hide_env_values = true)]
    identity_header: Option<String>,
    /// Tenant id
    #[arg(long, default_value = "11111111-2222-3333-4444-555555555555")]
    tenant: String,
    /// Application that may ask for tokens; without it, anybody gets one, and none is checked
    #[arg(long)]
    client_id: Option<String>,
    /// Secret of the application
    #[arg(long, requires = "client_id", env = "KEYPLANE_EMULATOR_CLIENT_SECRET", hide_env_values = true)]
    client_secret: Option<String>,
    /// Issuer whose assertions are as good as the secret (workload identity)
    #[arg(long, requires_all = ["client_id", "federated_subject", "federated_key"])]
    federated_issuer: Option<String>,
    /// Subject of those assertions
    #[arg(long, requires = "federated_issuer")]
    federated_subject: Option<String>,
    /// File with that issuer's RSA public key, as PEM
    #[arg(long, requires = "federated_issuer")]
    federated_key: Option<PathBuf>,
    /// Seconds for which a token is good
    #[arg(long, default_value_t = USUAL_TOKEN_SECONDS)]
    token_seconds: u32,
    /// What is wrong with the attestations of a Managed HSM
    #[arg(long, value_enum)]
    forge_attestation: Option<Forged>,
    /// Days for which a deleted key can be recovered
    #[arg(long, default_value_t = USUAL_RETENTION_DAYS, value_parser = clap::value_parser!(u32).range(i64::from(SHORTEST_RETENTION_DAYS)..=i64::from(USUAL_RETENTION_DAYS)))]
    retention_days: u32,
    /// Only time purges deleted keys
    #[arg(long)]
    purge_protection: bool,
    /// Keys that fit in [default: 5000 in a Managed HSM]
    #[arg(long)]
    most_keys: Option<usize>,
    /// Versions that a key can have [default: 100 in a Managed HSM]
    #[arg(long)]
    most_versions: Option<usize>,
    #[command(flatten)]
    pub(crate) every: EveryCloud,
}

/// Serves the vault until one of its listeners fails.
pub(crate) async fn run(args: AzureArgs) -> Result<(), Box<dyn Error + Send + Sync>> {
    let kind = match (args.kind, args.premium) {
        (Service::KeyVault, false) => Kind::Standard,
        (Service::KeyVault, true) => Kind::Premium,
        (Service::ManagedHsm, _) => Kind::ManagedHsm,
    };
    let host = args.host.unwrap_or_else(|| {
        let domain = kind.resource().trim_start_matches("https://");
        format!("emulator.{domain}")
    });
    let mut config = Config::new(kind, host.as_str());
    config.consistency = args.every.consistency();
    config.retention_days = args.retention_days;
    config.purge_protection = args.purge_protection;
    config.reveal_material = args.every.reveal_material;
    config.forgery = args.forge_attestation.map(|forged| match forged {
        Forged::Signature => Forgery::Signature,
        Forged::Key => Forgery::Key,
        Forged::Extractable => Forgery::Extractable,
        Forged::Origin => Forgery::Origin,
        Forged::Uses => Forgery::Uses,
    });
    config.limits.keys = args.most_keys.or(config.limits.keys);
    config.limits.versions = args.most_versions.or(config.limits.versions);

    let federation = match (args.federated_issuer, args.federated_subject, args.federated_key) {
        (Some(issuer), Some(subject), Some(file)) => {
            let key = SubjectPublicKeyInfoDer::from_pem_file(&file).map_err(|error| format!("`{}`: {error}", file.display()))?;
            Some(Federation { issuer, subject, key: key.to_vec() })
        }
        _ => None,
    };
    let Emulator { vault, metadata, identity, preparation } = azure::emulator(Options {
        config,
        directory: Directory {
            tenant: args.tenant,
            application: args.client_id.map(|id| Application { id, secret: args.client_secret }),
            federation,
            identity_header: args.identity_header,
            token_seconds: args.token_seconds,
        },
        quotas: !args.every.no_quotas,
        pairs: args.every.pairs(),
        seed: args.every.seed,
        clock: system_clock(),
    })?;
    tokio::fs::write(&args.ca_out, &identity.authority).await?;

    let listener = TcpListener::bind(args.every.listen).await?;
    let mut first = json!({ "listening": listener.local_addr()?.to_string(), "host": host });
    let plain = match args.metadata_listen {
        Some(address) => Some(TcpListener::bind(address).await?),
        None => None,
    };
    if let Some(plain) = &plain {
        first["metadata"] = plain.local_addr()?.to_string().into();
    }
    announce(&first)?;
    // Nobody waits for the thread, which ends with the process.
    if kind != Kind::Standard {
        std::thread::spawn(preparation);
    }
    let vault = async { axum::serve(identity.listen(listener), vault).await };
    let metadata = async {
        match plain {
            Some(plain) => axum::serve(plain, metadata).await,
            None => std::future::pending::<io::Result<()>>().await,
        }
    };
    tokio::try_join!(vault, metadata)?;
    Ok(())
}
