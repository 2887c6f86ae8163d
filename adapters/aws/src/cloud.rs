//! Implements [`Cloud`] with the reads and mutations of this crate.

use async_trait::async_trait;
use keyplane_model::{
    Class, CopyRecord, Destination, Evidence, ObjectId, ObjectSeen, PlacementSeen, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};

use crate::AwsKms;
use crate::error::found;
use crate::operation::Operation;

#[async_trait]
impl Cloud for AwsKms {
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
        self.find_placement(target, swept).await
    }

    /// Always `None`: KMS gives a new wrapping key at each request, so none is made for a copy.
    async fn prepared(&self, _: &Target, _: Version, _: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        Ok(None)
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        match from {
            WrapFor::Object(object) => self.read_wrapping_key(object, scheme).await,
            WrapFor::Prepared(_) => {
                let message = "KMS gives a key to wrap under at each asking";
                Err(found(Operation::GetParametersForImport, Class::Unsupported, Cause::Plain, message))
            }
        }
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        self.mutate(mutation).await
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        self.read_evidence(target, copy, now).await
    }
}
