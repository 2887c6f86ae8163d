//! One placement, and the way that the engine would take it.

use std::sync::Arc;

use keyplane_model::{
    Algorithm, AttemptId, CopyCoordinates, CopyRecord, Digest, EpochId, IdTree, KeyId, Marks, ObjectId, ObjectSeen, PlacementId,
    PlacementSeen, Source, Target, Version, WrapScheme,
};
use keyplane_port::{Acted, Cloud, CloudError, Mutation, WrappingKey};

use crate::{Subject, wrap};

/// A placement at a subject's cloud.
pub(crate) struct Fixture {
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) target: Target,
    pub(crate) marks: Marks,
    ids: IdTree,
}

impl Fixture {
    /// A placement whose users' name is `name`; all its ids follow from that.
    pub(crate) fn new(subject: &impl Subject, name: &str) -> Self {
        let ids = IdTree::new([7; 32]).child(name);
        let placement = PlacementId(ids.child("placement").uuid());
        let marks =
            Marks { installation: subject.installation(), placement, incarnation: 1, attempt: AttemptId(ids.child("attempt").uuid()) };
        let target = Target {
            installation: marks.installation,
            placement,
            incarnation: marks.incarnation,
            name: name.to_owned(),
            algorithm: Algorithm::Aes256,
            key: name.parse().expect("the cases choose well-formed names"),
        };
        Self { cloud: subject.cloud(), target, marks, ids }
    }

    /// The bytes that belong into it.
    pub(crate) fn material(&self) -> [u8; 32] {
        Digest::of(self.target.name.as_bytes()).0
    }

    pub(crate) fn creation(&self) -> Mutation {
        Mutation::Create { target: self.target.clone(), marks: self.marks.clone() }
    }

    pub(crate) fn claim(&self, object: &ObjectId) -> Mutation {
        Mutation::Claim { target: self.target.clone(), object: object.clone() }
    }

    pub(crate) fn publication(&self, object: &ObjectId) -> Mutation {
        Mutation::Publish { target: self.target.clone(), object: object.clone() }
    }

    pub(crate) async fn wrapping_key(&self, object: &ObjectId) -> WrappingKey {
        self.cloud.wrapping_key(object, self.scheme()).await.expect("a wrapping key")
    }

    /// The import of these bytes as version 1, under a new wrapping key.
    pub(crate) async fn import(&self, object: &ObjectId, material: &[u8]) -> Mutation {
        let wrapping_key = self.wrapping_key(object).await;
        let wrapped = wrap(&wrapping_key, material);
        Mutation::Import { object: object.clone(), version: Version(1), wrapping_key, wrapped }
    }

    /// Creates the object.
    pub(crate) async fn created(&self) -> ObjectId {
        match self.cloud.act(&self.creation()).await.expect("the object is created") {
            Acted::Created(object) => object,
            Acted::Done => unreachable!("creating gives an object"),
        }
    }

    /// Creates the object and claims the placement for it.
    pub(crate) async fn claimed(&self) -> ObjectId {
        let object = self.created().await;
        if self.cloud.destination().capabilities.claims {
            self.act(&self.claim(&object)).await;
        }
        object
    }

    /// Goes all the way: created, claimed, imported, published.
    pub(crate) async fn published(&self) -> ObjectId {
        let object = self.claimed().await;
        self.act(&self.import(&object, &self.material()).await).await;
        self.act(&self.publication(&object)).await;
        object
    }

    /// An act that works, whichever it is.
    pub(crate) async fn performed(&self, mutation: &Mutation) {
        let acted = self.cloud.act(mutation).await;
        assert!(acted.is_ok(), "{}: {acted:?}", mutation.word());
    }

    /// An act that works and makes nothing new.
    pub(crate) async fn act(&self, mutation: &Mutation) {
        let acted = self.cloud.act(mutation).await;
        assert_eq!(acted, Ok(Acted::Done), "{}", mutation.word());
    }

    /// An act that fails.
    pub(crate) async fn refused(&self, mutation: &Mutation) -> CloudError {
        let error = self.cloud.act(mutation).await.expect_err(mutation.word());
        assert_is_printable(&error);
        error
    }

    pub(crate) async fn look(&self) -> PlacementSeen {
        self.cloud.look(&self.target).await.expect("the placement can be looked at")
    }

    /// What holds the claim.
    pub(crate) async fn holder(&self) -> ObjectSeen {
        self.look().await.claimed.expect("something holds the claim")
    }

    /// What the ledger would know of the copy; its material as the cloud shows it now.
    pub(crate) async fn copy(&self) -> CopyRecord {
        let material = self.look().await.claimed.and_then(|object| object.current().and_then(|material| material.id.clone()));
        CopyRecord {
            coordinates: CopyCoordinates {
                installation: self.target.installation,
                key: KeyId(self.ids.child("key").uuid()),
                version: Version(1),
                placement: self.target.placement,
                algorithm: self.target.algorithm,
                source: Source::Derived,
                epoch: EpochId(1),
            },
            check_value: None,
            blob: None,
            material,
            wrapped_under: None,
            imported: None,
        }
    }

    /// The best that the destination takes.
    pub(crate) fn scheme(&self) -> WrapScheme {
        let schemes = self.cloud.destination().capabilities.algorithms.get(&self.target.algorithm);
        *schemes.and_then(|schemes| schemes.first()).expect("the destination takes the algorithm")
    }
}

/// Errors are for people: one line, not too long.
pub(crate) fn assert_is_printable(error: &CloudError) {
    assert!(!error.message.is_empty(), "{error:?}");
    assert!(error.message.chars().count() <= 500, "{error:?}");
    assert!(!error.message.chars().any(char::is_control), "{error:?}");
}
