//! Implements [`Cloud`] with the reads and mutations of this crate.

use async_trait::async_trait;
use keyplane_model::{CopyRecord, Destination, Evidence, ObjectId, ObjectSeen, PlacementSeen, Target, Timestamp, Version, WrapScheme};
use keyplane_port::{Acted, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};

use crate::AzureVault;
use crate::read::find_placement;

#[async_trait]
impl Cloud for AzureVault {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    fn sent(&self, quota: &str) -> Option<u64> {
        Some(self.sent.of(quota))
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        self.read_placement(target).await
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.read_object(&object.0).await
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        self.read_page(cursor).await
    }

    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        Ok(find_placement(target, swept))
    }

    async fn prepared(&self, _: &Target, _: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        self.read_prepared(made).await
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
