//! The client, as the rules ask for it, and the port over it.

use std::fmt;

use async_trait::async_trait;
use google_cloudkms1::CloudKMS;
use google_cloudkms1::common::Client;
use hyper_util::rt::TokioExecutor;
use keyplane_destination::{Roots, Settings};
use keyplane_model::{
    CopyRecord, Destination, Evidence, InstallationId, ObjectId, ObjectSeen, PlacementSeen, Protection, Target, Timestamp, Version,
    WrapScheme,
};
use keyplane_port::{Acted, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};

use crate::config::{Checked, ConfigError, GcpConfig};
use crate::error::Request;
use crate::names::Ring;
use crate::operation::Operation;
use crate::reach::Reach;
use crate::token::Tokens;

/// What we call ourselves.
const USER_AGENT: &str = concat!("keyplane/", env!("CARGO_PKG_VERSION"));

/// Google Cloud KMS in one key ring.
pub struct GoogleKms {
    pub(crate) hub: CloudKMS<Reach>,
    pub(crate) destination: Destination,
    pub(crate) ring: Ring,
    pub(crate) installation: InstallationId,
    pub(crate) protection: Protection,
    pub(crate) deletion_days: u32,
    /// Of the keys that import jobs have, in bits.
    pub(crate) import_key_size: u32,
    pub(crate) roots: Option<Roots>,
    tokens: Tokens,
}

impl GoogleKms {
    /// Checks the configuration and makes the client. Sends nothing; tokens are fetched with the first call.
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
        Ok(Self { hub, destination, ring, installation, protection, deletion_days, import_key_size, roots, tokens })
    }

    /// Every request of ours begins here: one line for each, never material.
    pub(crate) fn begin(&self, operation: Operation, resource: &str) -> Request<'_> {
        tracing::debug!(operation = operation.name(), destination = %self.destination.name, resource, "request");
        Request::new(operation, &self.tokens)
    }
}

impl fmt::Debug for GoogleKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoogleKms({} at {})", self.destination.name, self.ring.name())
    }
}

#[async_trait]
impl Cloud for GoogleKms {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        self.read_placement(target).await
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        Ok(self.read_object(&object.0).await?.map(|key| key.object))
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        self.read_page(cursor).await
    }

    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        Ok(crate::read::find_placement(target, swept))
    }

    async fn prepared(&self, target: &Target, version: Version, _: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        // The name of a job is ours: it is found by that, whoever made it and whatever became of the reply.
        self.newest_job(target, version).await
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        self.read_wrapping_key(from, scheme).await
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        self.mutate(mutation).await
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        self.read_evidence(target, copy, now).await
    }
}
