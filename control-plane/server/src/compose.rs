//! Which adapter is behind which port: the one place that names them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::{Extension, Router};
use keyplane_aws::{AwsConfig, AwsKms, Credentials, Secret};
use keyplane_engine::{Engine, Lane, lane::Quotas};
use keyplane_hsm::{HsmConfig, HsmCustodian, Pin};
use keyplane_model::{Actor, DestinationName, InstallationId, Problem, ProblemCode, Quota, Span};
use keyplane_port::{Clock, Cloud, Custodian, Ledger};
use keyplane_service::Service;
use keyplane_store::SqlLedger;

use crate::config::{self, Config};
use crate::system::SystemClock;

/// The API in this process: whoever runs it is who asks.
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
    let engine = Engine { ledger: Arc::new(ledger), custodian: custodian(config)?, lanes, clock };
    let service = Service::new(engine).await?;
    Ok(crate::router::router(Arc::new(service)).layer(Extension(user()?)))
}

/// The ledger of the configuration.
pub(crate) async fn open(config: &Config) -> Result<SqlLedger, Problem> {
    SqlLedger::open(&database_url(config)?).await.map_err(|error| error.problem())
}

/// The database of the configuration, as the store names it.
pub(crate) fn database_url(config: &Config) -> Result<String, Problem> {
    Ok(format!("sqlite:{}", config.database()?.display()))
}

/// The custodian of the configuration; its token is opened when it is first asked.
pub(crate) fn custodian(config: &Config) -> Result<Arc<dyn Custodian>, Problem> {
    let invalid = |error: keyplane_hsm::HsmError| Problem::new(ProblemCode::PinMissing, error.to_string(), "keyplane config check");
    let pin = config.pin()?.map(|pin| Pin::new((*pin).clone())).transpose().map_err(invalid)?;
    let hsm = HsmConfig {
        module: config.resolve(&config.custodian.module),
        token_label: config.custodian.token.clone(),
        init: config.custodian.init.clone(),
        pin,
    };
    Ok(Arc::new(HsmCustodian::start(hsm).map_err(|error| Problem::new(ProblemCode::TokenFailed, error.to_string(), "keyplane hsm test"))?))
}

/// The destinations of the configuration.
pub(crate) async fn clouds(config: &Config, installation: InstallationId) -> Result<BTreeMap<DestinationName, Arc<dyn Cloud>>, Problem> {
    let mut clouds: BTreeMap<DestinationName, Arc<dyn Cloud>> = BTreeMap::new();
    for (name, section) in &config.destination.aws {
        clouds.insert(name.clone(), Arc::new(aws(config, name, section, installation).await?));
    }
    Ok(clouds)
}

async fn aws(config: &Config, name: &DestinationName, section: &config::Aws, installation: InstallationId) -> Result<AwsKms, Problem> {
    let at = |problem: Problem| problem.destination(name);
    let credentials = match &section.credentials {
        config::Credentials::Default => Credentials::Default,
        config::Credentials::Profile { name } => Credentials::Profile(name.clone()),
        config::Credentials::Static { access_key_id, secret_access_key_file } => {
            let secret = zeroize::Zeroizing::new(config.file(secret_access_key_file, "secret access key file").map_err(at)?);
            Credentials::Static { access_key_id: access_key_id.clone(), secret: Secret::new(secret.trim().into()) }
        }
    };
    let ca = section.ca.as_ref().map(|path| config.file(path, "CA file")).transpose().map_err(at)?;
    let key_policy = section.key_policy_file.as_ref().map(|path| config.file(path, "key policy")).transpose().map_err(at)?;
    let aws = AwsConfig {
        name: name.clone(),
        region: section.region.clone(),
        account: section.account.clone(),
        endpoint: section.endpoint.clone(),
        ca: ca.map(String::into_bytes),
        credentials,
        installation,
        key_policy,
        call_timeout: section.call_timeout,
        consistency: section.consistency,
        equal_reads: section.equal_reads,
        deletion_days: section.deletion_days,
        quotas: section.quotas.iter().map(|(name, calls)| (name.clone(), Quota { calls: *calls, per: Span::seconds(1) })).collect(),
    };
    AwsKms::connect(aws).await.map_err(|error| at(Problem::new(ProblemCode::ConfigInvalid, error.to_string(), "keyplane config check")))
}

/// Who runs this process, as the operating system says.
pub(crate) fn user() -> Result<Actor, Problem> {
    whoami::username().map(Actor).map_err(|error| {
        let detail = format!("the operating system does not say who runs this process: {error}");
        Problem::new(ProblemCode::Internal, detail, "keyplane --version")
    })
}
