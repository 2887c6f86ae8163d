//! Implements [`Cloud`] with the reads and mutations of this crate.

use async_trait::async_trait;
use keyplane_model::{CopyRecord, Destination, Evidence, ObjectId, ObjectSeen, PlacementSeen, Target, Timestamp, Version, WrapScheme};
use keyplane_port::{Acted, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};

use crate::GoogleKms;
use crate::read::find_placement;

#[async_trait]
impl Cloud for GoogleKms {
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
        Ok(self.read_object(&object.0).await?.map(|key| key.object))
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        self.read_page(cursor).await
    }

    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        Ok(find_placement(target, swept))
    }

    async fn prepared(&self, target: &Target, version: Version, _: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        // We choose the ids of import jobs. So a job is found by its id, whichever server made it, even if its reply was lost.
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
