//! One placement, and the way that the engine would take it.

use std::sync::Arc;

use keyplane_model::{
    Algorithm, AttemptId, CopyCoordinates, CopyRecord, Creation, EpochId, IdTree, KeyId, Marks, MaterialSeen, ObjectId, ObjectSeen,
    PlacementId, PlacementSeen, Presence, Purpose, Source, Span, Target, Version, WrapScheme,
};
use keyplane_port::{Acted, Cloud, CloudError, Mutation, Prepared, WrapFor, WrappingKey};

use crate::material::Material;
use crate::{Request, Subject, wrap};

/// The version that the cases import.
pub(crate) const VERSION: Version = Version(1);

/// How often a case looks, a second apart by the cloud's clock, for something that the cloud is at work on.
const PATIENCE: u32 = 100;

/// A placement at a subject's cloud.
pub(crate) struct Fixture<'a> {
    pub(crate) subject: &'a dyn Subject,
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) target: Target,
    pub(crate) marks: Marks,
    pub(crate) material: Material,
    ids: IdTree,
}

impl<'a> Fixture<'a> {
    /// A placement for encryption whose users' name is `name`, symmetric where the destination takes that; all its ids follow from the
    /// name.
    pub(crate) fn new(subject: &'a impl Subject, name: &str) -> Self {
        let takes = |algorithm| subject.cloud().destination().capabilities.algorithms.contains_key(algorithm);
        let algorithm = if takes(&Algorithm::Aes256) { Algorithm::Aes256 } else { Algorithm::Rsa2048 };
        Self::of(subject, name, algorithm, Purpose::Encrypt, Material::named(algorithm, name))
    }

    /// A placement of any kind.
    pub(crate) fn of(subject: &'a impl Subject, name: &str, algorithm: Algorithm, purpose: Purpose, material: Material) -> Self {
        let ids = IdTree::new([7; 32]).child(name);
        let placement = PlacementId(ids.child("placement").uuid());
        let marks =
            Marks { installation: subject.installation(), placement, incarnation: 1, attempt: AttemptId(ids.child("attempt").uuid()) };
        let target = Target {
            installation: marks.installation,
            placement,
            incarnation: marks.incarnation,
            name: name.to_owned(),
            algorithm,
            purpose,
            key: name.parse().expect("the cases choose well-formed names"),
        };
        Self { subject, cloud: subject.cloud(), target, marks, material, ids }
    }

    /// How objects come to be.
    pub(crate) fn creation_kind(&self) -> Creation {
        self.cloud.destination().capabilities.creation
    }

    /// Whether wrapping keys have to be made.
    pub(crate) fn prepares(&self) -> bool {
        self.cloud.destination().capabilities.prepares
    }

    /// Whether an object holds materials that are switched each by itself.
    pub(crate) fn generations(&self) -> bool {
        self.cloud.destination().capabilities.generations
    }

    /// Whether an object has to be published; where importing makes it, it has its name already.
    pub(crate) fn publishes(&self) -> bool {
        self.creation_kind() != Creation::Imported
    }

    /// What makes the object, and its kind.
    pub(crate) async fn making(&self) -> (Request, Mutation) {
        match self.creation_kind() {
            Creation::Claimed | Creation::Named => (Request::Create, self.creation()),
            Creation::Imported => (Request::Import, self.import(&self.name(), &self.material.bytes).await),
        }
    }

    /// The first mutation of a placement's life, before which nothing has to be there, and its kind.
    pub(crate) fn opening(&self) -> (Request, Mutation) {
        match self.creation_kind() {
            Creation::Claimed | Creation::Named => (Request::Create, self.creation()),
            Creation::Imported => (Request::Prepare, self.preparation()),
        }
    }

    /// The object's name, where it has the users' one.
    fn name(&self) -> ObjectId {
        ObjectId(self.target.name.clone())
    }

    pub(crate) fn creation(&self) -> Mutation {
        Mutation::Create { target: self.target.clone(), marks: self.marks.clone() }
    }

    pub(crate) fn claim(&self, object: &ObjectId) -> Mutation {
        Mutation::Claim { target: self.target.clone(), object: object.clone() }
    }

    pub(crate) fn preparation(&self) -> Mutation {
        Mutation::Prepare { target: self.target.clone(), version: VERSION, scheme: self.scheme() }
    }

    /// The publication of the material that is there.
    pub(crate) async fn publication(&self, object: &ObjectId) -> Mutation {
        let material = self.material_id().await;
        Mutation::Publish { target: self.target.clone(), object: object.clone(), material }
    }

    pub(crate) async fn disabling(&self, object: &ObjectId) -> Mutation {
        let material = self.material_id().await;
        Mutation::Disable { object: object.clone(), material }
    }

    pub(crate) async fn enabling(&self, object: &ObjectId) -> Mutation {
        let material = self.material_id().await;
        Mutation::Enable { object: object.clone(), material }
    }

    /// What an act on a material names: nothing where the object is switched as a whole; else the first that the object holds, or
    /// one that does not exist.
    async fn material_id(&self) -> Option<String> {
        if !self.generations() {
            return None;
        }
        // Whether it can be looked at is another case's question.
        let seen = self.cloud.look(&self.target).await.ok().and_then(|seen| seen.claimed);
        seen.and_then(|object| object.materials.first().and_then(|material| material.id.clone()))
            .or_else(|| self.subject.unknown_material())
    }

    /// The kinds of mutating requests that the cloud has, in the order of a placement's life.
    pub(crate) fn mutations(&self) -> Vec<Request> {
        let all = [
            Request::Create,
            Request::Claim,
            Request::Prepare,
            Request::Import,
            Request::Publish,
            Request::Disable,
            Request::Enable,
            Request::ScheduleDeletion,
        ];
        let has = |request: &Request| match request {
            Request::Create | Request::Publish => self.publishes(),
            Request::Claim => self.creation_kind() == Creation::Claimed,
            Request::Prepare => self.prepares(),
            // A name that can never be had again is not given up.
            Request::ScheduleDeletion => self.creation_kind() != Creation::Named,
            _ => true,
        };
        all.into_iter().filter(has).collect()
    }

    /// A mutation of this kind that is possible now, on an object that was created.
    pub(crate) async fn mutation(&self, request: Request, object: &ObjectId) -> Mutation {
        match request {
            Request::Create => self.another_creation(),
            Request::Claim => self.claim(object),
            Request::Prepare => self.preparation(),
            Request::Import => self.import(object, &self.material.bytes).await,
            Request::Publish => self.publication(object).await,
            Request::Disable => self.disabling(object).await,
            Request::Enable => self.enabling(object).await,
            Request::ScheduleDeletion => Mutation::ScheduleDeletion {
                object: object.clone(),
                material: None,
                days: self.cloud.destination().capabilities.deletion_days,
            },
            Request::WrappingKey | Request::Inspect | Request::List | Request::ListedObject => unreachable!("{request:?} is a read"),
        }
    }

    /// The creation of an object beside the one that is there: under another name where names are unique.
    fn another_creation(&self) -> Mutation {
        let mut target = self.target.clone();
        target.name.push_str("-2");
        Mutation::Create { target, marks: self.marks.clone() }
    }

    /// A key to wrap under, as fresh as the cloud gives it.
    pub(crate) async fn wrapping_key(&self, object: &ObjectId) -> WrappingKey {
        let from = self.wrap_for(object).await;
        self.cloud.wrapping_key(&from, self.scheme()).await.expect("a wrapping key")
    }

    /// What a wrapping key is asked for; where one has to be made, it is.
    pub(crate) async fn wrap_for(&self, object: &ObjectId) -> WrapFor {
        if !self.prepares() {
            return WrapFor::Object(object.clone());
        }
        let made = match self.prepared(None).await {
            Some(_) => None,
            None => match self.cloud.act(&self.preparation()).await.expect("the wrapping key is made") {
                Acted::Created(wrapping) => Some(wrapping),
                Acted::Done => unreachable!("preparing makes a wrapping key"),
            },
        };
        for _ in 0..PATIENCE {
            let prepared = self.prepared(made.as_ref()).await.expect("what was made is there");
            if prepared.ready {
                return WrapFor::Prepared(prepared.wrapping);
            }
            self.subject.advance(Span::seconds(1)).await;
        }
        unreachable!("the wrapping key is never ready")
    }

    /// The wrapping key that was made for the copy.
    pub(crate) async fn prepared(&self, made: Option<&ObjectId>) -> Option<Prepared> {
        self.cloud.prepared(&self.target, VERSION, made).await.expect("a read")
    }

    /// The import of these bytes, under a new wrapping key.
    pub(crate) async fn import(&self, object: &ObjectId, material: &[u8]) -> Mutation {
        let wrapping_key = self.wrapping_key(object).await;
        let wrapped = wrap(&wrapping_key, material);
        self.import_of(object, wrapping_key, wrapped)
    }

    /// The import of these bytes into a material of ours that lost or never had them.
    pub(crate) async fn import_again(&self, object: &ObjectId, material: &[u8], into: Option<String>) -> Mutation {
        let mut import = self.import(object, material).await;
        let Mutation::Import { again, .. } = &mut import else { unreachable!("an import is an import") };
        *again = into;
        import
    }

    /// The import of what was wrapped.
    pub(crate) fn import_of(&self, object: &ObjectId, wrapping_key: WrappingKey, wrapped: Vec<u8>) -> Mutation {
        Mutation::Import {
            target: self.target.clone(),
            object: Some(object.clone()).filter(|_| self.creation_kind() != Creation::Imported),
            marks: self.marks.clone(),
            again: None,
            version: VERSION,
            public_key: self.material.public_key.clone(),
            wrapping_key,
            wrapped,
        }
    }

    /// Creates the object; where importing makes it, with its material.
    pub(crate) async fn created(&self) -> ObjectId {
        if self.creation_kind() == Creation::Imported {
            let (_, making) = self.making().await;
            self.act(&making).await;
            return self.name();
        }
        match self.cloud.act(&self.creation()).await.expect("the object is created") {
            Acted::Created(object) => object,
            Acted::Done => unreachable!("creating gives an object"),
        }
    }

    /// Creates the object and claims the placement for it.
    pub(crate) async fn claimed(&self) -> ObjectId {
        let object = self.created().await;
        if self.creation_kind() == Creation::Claimed {
            self.act(&self.claim(&object)).await;
        }
        object
    }

    /// What an import goes into: the claimed object; where importing makes it, nothing but its name.
    pub(crate) async fn ready(&self) -> ObjectId {
        if self.creation_kind() == Creation::Imported { self.name() } else { self.claimed().await }
    }

    /// Whether nothing was imported yet.
    pub(crate) async fn is_bare(&self) -> bool {
        match self.look().await.claimed {
            Some(object) => object.is_empty(),
            None => self.creation_kind() == Creation::Imported,
        }
    }

    /// Created, claimed, imported, and arrived.
    pub(crate) async fn imported(&self) -> ObjectId {
        let object = self.ready().await;
        self.act(&self.import(&object, &self.material.bytes).await).await;
        self.settled().await;
        object
    }

    /// Goes all the way: created, claimed, imported, published.
    pub(crate) async fn published(&self) -> ObjectId {
        let object = self.imported().await;
        self.publish(&object).await;
        object
    }

    /// Publishes it, where that is to be done.
    pub(crate) async fn publish(&self, object: &ObjectId) {
        if self.publishes() {
            self.act(&self.publication(object).await).await;
        }
    }

    /// Waits until the cloud is no longer at work on an import.
    pub(crate) async fn settled(&self) {
        if !self.generations() {
            return;
        }
        for _ in 0..PATIENCE {
            let materials = self.look().await.claimed.map(|object| object.materials).unwrap_or_default();
            if materials.iter().all(|material| material.presence != Presence::Arriving) {
                return;
            }
            self.subject.advance(Span::seconds(1)).await;
        }
        unreachable!("the cloud is still at work")
    }

    /// An act that works, whichever it is.
    pub(crate) async fn performed(&self, mutation: &Mutation) {
        let acted = self.cloud.act(mutation).await;
        assert!(acted.is_ok(), "{}: {acted:?}", mutation.word());
        self.settled().await;
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

    /// The materials of the object that are our version, in the adapter's order.
    pub(crate) async fn ours(&self) -> Vec<MaterialSeen> {
        let holder = self.holder().await;
        holder.materials.into_iter().filter(|material| material.version == Some(VERSION)).collect()
    }

    /// Whether the cloud holds the bytes that belong into the object, seen behind its back.
    pub(crate) async fn holds_its_own(&self, object: &ObjectId) -> bool {
        self.subject.holds(object, &self.material.bytes).await
    }

    /// What the ledger would know of the copy; its material as the cloud shows it now.
    pub(crate) async fn copy(&self) -> CopyRecord {
        let material = match self.look().await.claimed {
            Some(object) => object.current().or_else(|| object.materials.first()).and_then(|material| material.id.clone()),
            None => None,
        };
        CopyRecord {
            coordinates: CopyCoordinates {
                installation: self.target.installation,
                key: KeyId(self.ids.child("key").uuid()),
                version: VERSION,
                placement: self.target.placement,
                algorithm: self.target.algorithm,
                source: Source::Derived,
                epoch: EpochId(1),
            },
            bytes_of: None,
            check_value: self.material.check_value(self.target.algorithm),
            blob: None,
            public_key: self.material.public_key.clone(),
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
