//! The client: Google's API library, set up so that a call sends one request, to the place that was approved.

use std::fmt;

use google_cloudkms1::CloudKMS;
use google_cloudkms1::common::Client;
use hyper_util::rt::TokioExecutor;
use keyplane_destination::{Roots, Sent, Settings};
use keyplane_model::{Destination, InstallationId, Protection};

use crate::config::{Checked, ConfigError, GcpConfig};
use crate::error::Request;
use crate::names::Ring;
use crate::operation::{Operation, READ, WRITE};
use crate::reach::Reach;
use crate::token::Tokens;

const USER_AGENT: &str = concat!("keyplane/", env!("CARGO_PKG_VERSION"));

/// Google Cloud KMS in one key ring.
pub struct GoogleKms {
    pub(crate) hub: CloudKMS<Reach>,
    pub(crate) destination: Destination,
    pub(crate) ring: Ring,
    pub(crate) installation: InstallationId,
    pub(crate) protection: Protection,
    pub(crate) deletion_days: u32,
    /// In bits.
    pub(crate) import_key_size: u32,
    pub(crate) roots: Option<Roots>,
    pub(crate) sent: Sent,
    tokens: Tokens,
}

impl GoogleKms {
    /// Checks the configuration and makes the client. Sends nothing; the first call fetches a token.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub async fn connect(config: GcpConfig) -> Result<Self, ConfigError> {
        let (protection, import_key_size) = (config.protection, config.import_key_size);
        let Checked { settings, destination, ring, endpoint, source, plain, roots } = config.check()?;
        let Settings { installation, deletion_days, .. } = settings;
        let reach = Reach::new(settings.trusted(!plain)?, plain)?;
        let tokens = Tokens::new(source, reach.clone()).await?;
        let client: Client<Reach> = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(reach);
        let mut hub = CloudKMS::new(client, tokens.clone());
        hub.base_url(endpoint.clone());
        hub.root_url(endpoint);
        hub.user_agent(USER_AGENT.to_owned());
        Ok(Self { hub, destination, ring, installation, protection, deletion_days, import_key_size, roots, sent: Sent::default(), tokens })
    }

    /// Begins every request: counts it, and writes one log line without material. `resource` is for that line.
    pub(crate) fn begin(&self, operation: Operation, resource: &str) -> Request<'_> {
        tracing::debug!(operation = operation.name(), destination = %self.destination.name, resource, "request");
        self.sent.count(if operation.mutates() { WRITE } else { READ }, 1);
        Request::new(operation, &self.tokens)
    }
}

impl fmt::Debug for GoogleKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoogleKms({} at {})", self.destination.name, self.ring.name())
    }
}
