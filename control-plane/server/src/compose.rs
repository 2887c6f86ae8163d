//! Connects ports with adapters. No other file names the adapters.

use std::collections::BTreeMap;
use std::io::Error;
use std::path::Path;
use std::sync::Arc;

use axum::{Extension, Router};
use keyplane_aws::{AwsConfig, AwsKms, Secret, SecretSource};
use keyplane_azure::{AzureConfig, AzureVault};
use keyplane_engine::{Engine, Lane, Leases, lane::Quotas};
use keyplane_gcp::{GcpConfig, GoogleKms};
use keyplane_hsm::{HsmConfig, HsmCustodian, HsmError, Pin, PinSource};
use keyplane_model::{Actor, DestinationName, IdTree, InstallationId, Problem, ProblemCode, Quota, ServerId, Span};
use keyplane_port::{Clock, Cloud, Custodian, Entropy as _, Ledger};
use keyplane_service::Service;
use keyplane_store::SqlLedger;
use zeroize::Zeroizing;

use crate::config::{Config, destinations};
use crate::files;
use crate::system::{SystemClock, SystemEntropy};

/// The API in this process, for requests of the user who runs it.
pub(crate) async fn local(config: &Config) -> Result<Router, Problem> {
    let ledger = open(config).await?;
    let installation = ledger.installation().await.map_err(|error| error.problem())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let quotas = Quotas::default();
    let lanes = clouds(config, installation)
        .await?
        .into_iter()
        .map(|(name, cloud)| (name, Lane::new(cloud, quotas.clone(), Arc::clone(&clock))))
        .collect();
    let leases = Leases::new(server_id()?);
    let engine = Engine { ledger: Arc::new(ledger), custodian: custodian(config)?, lanes, clock, leases };
    let service = Service::new(engine).await?;
    Ok(crate::router::router(Arc::new(service)).layer(Extension(user()?)))
}

/// A new one for each start.
fn server_id() -> Result<ServerId, Problem> {
    let drawn = SystemEntropy.draw().map_err(|error| Problem::new(ProblemCode::Internal, error.to_string(), "keyplane --version"))?;
    Ok(ServerId(IdTree::new(drawn).child("server").uuid()))
}

pub(crate) async fn open(config: &Config) -> Result<SqlLedger, Problem> {
    let ledger = SqlLedger::open(&database_url(config)?).await.map_err(|error| error.problem())?;
    pinned(config, ledger.installation().await.map_err(|error| error.problem())?)?;
    Ok(ledger)
}

/// Checks that a database is of the installation that the configuration names, if it names one.
pub(crate) fn pinned(config: &Config, found: InstallationId) -> Result<(), Problem> {
    let Some(pinned) = config.installation.filter(|pinned| *pinned != found) else { return Ok(()) };
    let detail = format!(
        "the database `{}` is of installation {found}, and the configuration is for installation {pinned}: bring the database of that one \
         back, or correct `database` or `installation` in the configuration",
        config.database()?.display()
    );
    Err(Problem::new(ProblemCode::OtherInstallation, detail, "keyplane config check"))
}

/// In the store's form.
pub(crate) fn database_url(config: &Config) -> Result<String, Problem> {
    Ok(format!("sqlite:{}", config.database()?.display()))
}

/// The first request opens the token.
pub(crate) fn custodian(config: &Config) -> Result<Arc<dyn Custodian>, Problem> {
    let pin = config.pin()?.map(|place| {
        PinSource::new(move || {
            let mut text = place.read().map_err(HsmError::PinMissing)?;
            Pin::new(std::mem::take(&mut *text))
        })
    });
    // Read and wiped, so that a missing PIN is told before anything is done.
    if let Some(pin) = &pin {
        let missing = |error: HsmError| Problem::new(ProblemCode::PinMissing, error.to_string(), "keyplane config check");
        drop(pin.read().map_err(missing)?);
    }
    let hsm = HsmConfig {
        module: config.resolve(&config.custodian.module),
        token_label: config.custodian.token.clone(),
        init: config.custodian.init.clone(),
        pin,
    };
    let custodian = HsmCustodian::start(hsm, Arc::new(SystemClock));
    Ok(Arc::new(custodian.map_err(|error| keyplane_port::CustodianError::from(error).problem())?))
}

pub(crate) async fn clouds(config: &Config, installation: InstallationId) -> Result<BTreeMap<DestinationName, Arc<dyn Cloud>>, Problem> {
    let mut clouds: BTreeMap<DestinationName, Arc<dyn Cloud>> = BTreeMap::new();
    for (name, section) in &config.destination.aws {
        clouds.insert(name.clone(), Arc::new(aws(config, name, section, installation).await.map_err(|problem| problem.destination(name))?));
    }
    for (name, section) in &config.destination.gcp {
        let gcp = gcp(config, name, section, installation).await.map_err(|problem| problem.destination(name))?;
        unnamed(clouds.insert(name.clone(), Arc::new(gcp)), name)?;
    }
    for (name, section) in &config.destination.azure {
        let azure = azure(config, name, section, installation).map_err(|problem| problem.destination(name))?;
        unnamed(clouds.insert(name.clone(), Arc::new(azure)), name)?;
    }
    Ok(clouds)
}

/// Checks that no two destinations have the same name, even at different clouds.
fn unnamed(before: Option<Arc<dyn Cloud>>, name: &DestinationName) -> Result<(), Problem> {
    match before {
        None => Ok(()),
        Some(_) => Err(unusable("two destinations have this name").destination(name)),
    }
}

fn unusable(error: impl ToString) -> Problem {
    Problem::new(ProblemCode::ConfigInvalid, error.to_string(), "keyplane config check")
}

/// Builds the settings that all clouds share from a section of the configuration. The sections have the same fields with their own
/// defaults. `$per` is the period in which quotas are counted.
macro_rules! settings {
    ($config:expr, $name:expr, $section:expr, $installation:expr, $per:expr) => {
        Settings {
            name: $name.clone(),
            installation: $installation,
            ca: ca($config, $section.ca.as_deref())?,
            call_timeout: $section.call_timeout,
            consistency: $section.consistency,
            equal_reads: $section.equal_reads,
            deletion_days: $section.deletion_days,
            quotas: $section.quotas.iter().map(|(name, calls)| (name.clone(), Quota { calls: *calls, per: $per })).collect(),
        }
    };
}

/// What reads a file that the configuration names: a secret or a token, without surrounding white space. `what` describes the file in
/// errors. The adapter reads it when it is made, and again whenever it needs it.
fn secret(config: &Config, path: &Path, what: &'static str, read: fn(&Path) -> Result<Zeroizing<String>, Error>) -> SecretSource {
    let path = config.resolve(path);
    SecretSource::new(move || match read(&path) {
        Ok(text) => Ok(Secret::new(text.trim().into())),
        Err(error) => Err(Error::new(error.kind(), format!("the {what} `{}` cannot be read: {error}", path.display()))),
    })
}

async fn aws(
    config: &Config,
    name: &DestinationName,
    section: &destinations::Aws,
    installation: InstallationId,
) -> Result<AwsKms, Problem> {
    use keyplane_aws::{Credentials, Settings};
    let credentials = match &section.credentials {
        destinations::AwsCredentials::Default => Credentials::Default,
        destinations::AwsCredentials::Profile { name } => Credentials::Profile(name.clone()),
        destinations::AwsCredentials::Static { access_key_id, secret_access_key_file } => {
            let secret = secret(config, secret_access_key_file, "secret access key file", files::secret);
            Credentials::Static { access_key_id: access_key_id.clone(), secret }
        }
    };
    let aws = AwsConfig {
        settings: settings!(config, name, section, installation, Span::seconds(1)),
        region: section.region.clone(),
        account: section.account.clone(),
        endpoint: section.endpoint.clone(),
        credentials,
        key_policy: section.key_policy_file.as_ref().map(|path| config.file(path, "key policy")).transpose()?,
    };
    AwsKms::connect(aws).await.map_err(unusable)
}

async fn gcp(
    config: &Config,
    name: &DestinationName,
    section: &destinations::Gcp,
    installation: InstallationId,
) -> Result<GoogleKms, Problem> {
    use keyplane_gcp::{Credentials, Settings};
    let file = |path: &Path, what| secret(config, path, what, files::secret);
    let credentials = match &section.credentials {
        destinations::GcpCredentials::Metadata { endpoint } => Credentials::Metadata { endpoint: endpoint.clone() },
        destinations::GcpCredentials::ServiceAccount { file: path } => Credentials::ServiceAccount(file(path, "service account")),
        destinations::GcpCredentials::ExternalAccount { file: path } => Credentials::ExternalAccount(file(path, "external account")),
    };
    let gcp = GcpConfig {
        settings: settings!(config, name, section, installation, Span::seconds(60)),
        project: section.project.clone(),
        location: section.location.clone(),
        key_ring: section.key_ring.clone(),
        protection: section.protection,
        import_key_size: section.import_key_size,
        endpoint: section.endpoint.clone(),
        credentials,
        attestation_roots: ca(config, section.attestation_roots.as_deref())?,
    };
    GoogleKms::connect(gcp).await.map_err(unusable)
}

fn azure(
    config: &Config,
    name: &DestinationName,
    section: &destinations::Azure,
    installation: InstallationId,
) -> Result<AzureVault, Problem> {
    use keyplane_azure::{Credentials, Settings, VaultKind};
    let (kind, per) = match section.kind {
        destinations::VaultKind::KeyVault => (VaultKind::KeyVault, Span::seconds(10)),
        destinations::VaultKind::ManagedHsm => (VaultKind::ManagedHsm, Span::seconds(1)),
    };
    let credentials = match &section.credentials {
        destinations::AzureCredentials::ManagedIdentity { client, address } => {
            Credentials::ManagedIdentity { client: client.clone(), address: address.clone() }
        }
        destinations::AzureCredentials::ClientSecret { tenant, client, secret_file } => Credentials::ClientSecret {
            tenant: tenant.clone(),
            client: client.clone(),
            secret: secret(config, secret_file, "client secret file", files::secret),
        },
        destinations::AzureCredentials::WorkloadIdentity { tenant, client, token_file } => Credentials::WorkloadIdentity {
            tenant: tenant.clone(),
            client: client.clone(),
            token_file: config.resolve(token_file),
            token: secret(config, token_file, "token file", files::token),
        },
    };
    let azure = AzureConfig {
        settings: settings!(config, name, section, installation, per),
        vault: section.vault.clone(),
        kind,
        address: section.address.clone(),
        authority: section.authority.clone(),
        credentials,
        attestation_roots: ca(config, section.attestation_roots.as_deref())?,
    };
    AzureVault::connect(azure).map_err(unusable)
}

/// `None`: no file is configured.
fn ca(config: &Config, path: Option<&Path>) -> Result<Option<Vec<u8>>, Problem> {
    Ok(path.map(|path| config.file(path, "CA file")).transpose()?.map(String::into_bytes))
}

/// The user who runs this process, from the operating system.
pub(crate) fn user() -> Result<Actor, Problem> {
    whoami::username().map(Actor).map_err(|error| {
        let detail = format!("the operating system does not say who runs this process: {error}");
        Problem::new(ProblemCode::Internal, detail, "keyplane --version")
    })
}
