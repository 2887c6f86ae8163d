//! One placement, and the steps that the engine would take with it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use keyplane_model::{
    Algorithm, AttemptId, Class, CopyCoordinates, CopyRecord, Creation, EpochId, IdTree, KeyId, Marks, MaterialSeen, ObjectId, ObjectSeen,
    PlacementId, PlacementSeen, Presence, Purpose, Source, Span, Target, Version, WrapScheme,
};
use keyplane_port::{Acted, Cloud, CloudError, Cursor, Mutation, Prepared, WrapFor, WrappingKey};

use crate::material::Material;
use crate::{Request, Subject, wrap};

pub(crate) const VERSION: Version = Version(1);

/// The waits, in seconds of the cloud's clock, before each further look for something that the cloud works on.
const PATIENCE: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// More pages than any case here makes. A longer sweep never ends.
const MAX_PAGES: usize = 1_000;

/// INVARIANT: reads here wait, by the cloud's clock, until what was done is visible. A case that wants to see an earlier state asks the
/// cloud itself.
pub(crate) struct Fixture<'a> {
    pub(crate) subject: &'a dyn Subject,
    pub(crate) cloud: Arc<dyn Cloud>,
    pub(crate) target: Target,
    pub(crate) marks: Marks,
    pub(crate) material: Material,
    ids: IdTree,
}

impl<'a> Fixture<'a> {
    /// A placement for encryption with `name` as users' name: symmetric if the destination takes that. All ids are derived from the name.
    pub(crate) fn new(subject: &'a impl Subject, name: &str) -> Self {
        let takes = |algorithm| subject.cloud().destination().capabilities.algorithms.contains_key(algorithm);
        let algorithm = if takes(&Algorithm::Aes256) { Algorithm::Aes256 } else { Algorithm::Rsa2048 };
        Self::of(subject, name, algorithm, Purpose::Encrypt, Material::named(algorithm, name))
    }

    /// A placement for any algorithm and purpose.
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

    pub(crate) fn creation_kind(&self) -> Creation {
        self.cloud.destination().capabilities.creation
    }

    /// Whether wrapping keys have to be made first.
    pub(crate) fn prepares(&self) -> bool {
        self.cloud.destination().capabilities.prepares
    }

    /// Whether each material of an object is disabled by itself.
    pub(crate) fn generations(&self) -> bool {
        self.cloud.destination().capabilities.generations
    }

    /// Whether an object has to be activated. An object that is made by its import has its name already.
    pub(crate) fn publishes(&self) -> bool {
        self.creation_kind() != Creation::Imported
    }

    /// The mutation that makes the object, and its kind.
    pub(crate) async fn making(&self) -> (Request, Mutation) {
        match self.creation_kind() {
            Creation::Claimed | Creation::Named => (Request::Create, self.creation()),
            Creation::Imported => (Request::Import, self.import(&self.name(), &self.material.bytes).await),
        }
    }

    /// The first mutation of a placement, and its kind.
    pub(crate) fn opening(&self) -> (Request, Mutation) {
        match self.creation_kind() {
            Creation::Claimed | Creation::Named => (Request::Create, self.creation()),
            Creation::Imported => (Request::Prepare, self.preparation()),
        }
    }

    /// The object's name, where that is the users' name.
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

    /// The activation of the material that is there.
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

    /// The material that a mutation names. `None`: objects are disabled as a whole. Otherwise the first that the object holds, or one that
    /// does not exist.
    async fn material_id(&self) -> Option<String> {
        if !self.generations() {
            return None;
        }
        self.settle().await;
        // Another case tests whether it can be looked at.
        let seen = self.cloud.look(&self.target).await.ok().and_then(|seen| seen.claimed);
        seen.and_then(|object| object.materials.first().and_then(|material| material.id.clone()))
            .or_else(|| self.subject.unknown_material())
    }

    /// Whether the cloud has this kind of mutating request.
    pub(crate) fn has(&self, request: Request) -> bool {
        match request {
            Request::Create | Request::Publish => self.publishes(),
            Request::Claim => self.creation_kind() == Creation::Claimed,
            Request::Prepare => self.prepares(),
            Request::Import | Request::Disable | Request::Enable | Request::ScheduleDeletion | Request::Restore => true,
            // Other clouds keep no deleted object's name.
            Request::Purge => self.creation_kind() == Creation::Imported,
            Request::WrappingKey | Request::Inspect | Request::List | Request::ListedObject => false,
        }
    }

    /// The mutating requests that the cloud has, in the order of a placement's life. A restored object is deleted again before the purge.
    pub(crate) fn life(&self) -> Vec<Request> {
        let has = Request::mutating().filter(|request| self.has(*request));
        has.flat_map(|request| match request {
            Request::Purge => vec![Request::ScheduleDeletion, Request::Purge],
            other => vec![other],
        })
        .collect()
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
            Request::ScheduleDeletion => self.deletion(object).await,
            Request::Restore => self.restoration(object).await,
            Request::Purge => Mutation::Purge { object: object.clone() },
            Request::WrappingKey | Request::Inspect | Request::List | Request::ListedObject => unreachable!("{request:?} is a read"),
        }
    }

    /// Whether objects cannot be deleted, so that only their materials are destroyed. Their names could never be had again.
    pub(crate) fn stays(&self) -> bool {
        self.creation_kind() == Creation::Named
    }

    /// The deletion of the object or, where objects cannot be deleted, the destruction of its material.
    pub(crate) async fn deletion(&self, object: &ObjectId) -> Mutation {
        let material = if self.stays() { self.material_id().await } else { None };
        Mutation::ScheduleDeletion { object: object.clone(), material, days: self.cloud.destination().capabilities.deletion_days }
    }

    /// Cancels [`Self::deletion`].
    pub(crate) async fn restoration(&self, object: &ObjectId) -> Mutation {
        let material = if self.stays() { self.material_id().await } else { None };
        Mutation::Restore { object: object.clone(), material }
    }

    /// The creation of a second object, under another name where names are unique.
    fn another_creation(&self) -> Mutation {
        let mut target = self.target.clone();
        target.name.push_str("-2");
        Mutation::Create { target, marks: self.marks.clone() }
    }

    /// A new wrapping key.
    pub(crate) async fn wrapping_key(&self, object: &ObjectId) -> WrappingKey {
        let from = self.wrap_for(object).await;
        self.settle().await;
        self.cloud.wrapping_key(&from, self.scheme()).await.expect("a wrapping key")
    }

    /// What a wrapping key is asked for with. Makes one where that is needed.
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
        for wait in PATIENCE {
            let prepared = self.prepared(made.as_ref()).await.expect("what was made is there");
            if prepared.ready {
                return WrapFor::Prepared(prepared.wrapping);
            }
            self.subject.advance(Span::seconds(wait)).await;
        }
        unreachable!("the wrapping key is never ready")
    }

    /// The wrapping key that was made for the copy.
    pub(crate) async fn prepared(&self, made: Option<&ObjectId>) -> Option<Prepared> {
        self.settle().await;
        self.cloud.prepared(&self.target, VERSION, made).await.expect("a read")
    }

    /// The import of these bytes, under a new wrapping key.
    pub(crate) async fn import(&self, object: &ObjectId, material: &[u8]) -> Mutation {
        let wrapping_key = self.wrapping_key(object).await;
        let wrapped = wrap(&wrapping_key, material);
        self.import_of(object, wrapping_key, wrapped)
    }

    /// The import of these bytes into a material of ours that lost them or never had them.
    pub(crate) async fn import_again(&self, object: &ObjectId, material: &[u8], into: Option<String>) -> Mutation {
        let mut import = self.import(object, material).await;
        let Mutation::Import { again, .. } = &mut import else { unreachable!("an import is an import") };
        *again = into;
        import
    }

    /// The import of bytes that are wrapped already.
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

    /// Creates the object; with its material, where the import makes it.
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

    pub(crate) async fn claimed(&self) -> ObjectId {
        let object = self.created().await;
        if self.creation_kind() == Creation::Claimed {
            self.act(&self.claim(&object)).await;
        }
        object
    }

    /// What an import goes into: the claimed object or, where the import makes the object, its name.
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

    /// Creates, claims and imports, and waits until the import is done.
    pub(crate) async fn imported(&self) -> ObjectId {
        let object = self.ready().await;
        self.act(&self.import(&object, &self.material.bytes).await).await;
        self.settled().await;
        object
    }

    /// Creates, claims, imports and activates.
    pub(crate) async fn published(&self) -> ObjectId {
        let object = self.imported().await;
        self.publish(&object).await;
        object
    }

    /// Activates the object, where that is needed.
    pub(crate) async fn publish(&self, object: &ObjectId) {
        if self.publishes() {
            self.act(&self.publication(object).await).await;
        }
    }

    /// Waits until the cloud has finished an import.
    pub(crate) async fn settled(&self) {
        // Elsewhere an import is finished when it is answered.
        if self.generations() {
            self.at_rest().await;
        }
    }

    /// The placement as soon as the cloud has finished an import.
    pub(crate) async fn at_rest(&self) -> PlacementSeen {
        for wait in PATIENCE {
            let seen = self.look().await;
            let mut materials = seen.claimed.iter().flat_map(|object| &object.materials);
            if materials.all(|material| material.presence != Presence::Arriving) {
                return seen;
            }
            self.subject.advance(Span::seconds(wait)).await;
        }
        unreachable!("the cloud is still at work")
    }

    /// Waits until every read shows what was done.
    pub(crate) async fn settle(&self) {
        self.subject.control().settle().await;
    }

    /// A mutation that has to succeed at the first try.
    pub(crate) async fn performed(&self, mutation: &Mutation) {
        self.settle().await;
        let acted = self.cloud.act(mutation).await;
        assert!(acted.is_ok(), "{}: {acted:?}", mutation.word());
        self.settled().await;
    }

    /// A mutation that has to succeed and makes nothing new. A cloud that does not show a preceding change yet refuses it with certainty;
    /// then it is repeated when the change is visible.
    pub(crate) async fn act(&self, mutation: &Mutation) {
        let mut acted = self.cloud.act(mutation).await;
        if self.subject.control().settling() > Span::ZERO
            && let Err(error) = &acted
        {
            assert_ne!(error.class, Class::Ambiguous, "{error}");
            self.settle().await;
            acted = self.cloud.act(mutation).await;
        }
        assert_eq!(acted, Ok(Acted::Done), "{}", mutation.word());
    }

    /// A mutation that has to fail.
    pub(crate) async fn refused(&self, mutation: &Mutation) -> CloudError {
        self.settle().await;
        let error = self.cloud.act(mutation).await.expect_err(mutation.word());
        assert_is_printable(&error);
        error
    }

    /// A mutation without an answer: it is given up when the cloud has received it.
    pub(crate) async fn abandoned(&self, mutation: &Mutation) {
        self.settle().await;
        let received = async || self.subject.mutations().await;
        given_up(self.cloud.act(mutation), received).await;
    }

    pub(crate) async fn look(&self) -> PlacementSeen {
        self.settle().await;
        self.cloud.look(&self.target).await.expect("the placement can be looked at")
    }

    /// A direct read of one object.
    pub(crate) async fn inspect(&self, object: &ObjectId) -> Option<ObjectSeen> {
        self.settle().await;
        self.cloud.inspect(object).await.expect("a read")
    }

    /// All marked objects, to the end of the list.
    pub(crate) async fn swept(&self) -> Vec<ObjectSeen> {
        self.settle().await;
        let (objects, broken) = sweep(&*self.cloud).await.expect("a list");
        assert_eq!(broken, 0);
        objects
    }

    /// The object that has the claim.
    pub(crate) async fn holder(&self) -> ObjectSeen {
        self.look().await.claimed.expect("something holds the claim")
    }

    /// The materials of the object that are our version, in the adapter's order.
    pub(crate) async fn ours(&self) -> Vec<MaterialSeen> {
        let holder = self.holder().await;
        holder.materials.into_iter().filter(|material| material.version == Some(VERSION)).collect()
    }

    /// Whether the cloud holds the object's own bytes, checked without the adapter.
    pub(crate) async fn holds_its_own(&self, object: &ObjectId) -> bool {
        self.subject.holds(object, &self.material.bytes).await
    }

    /// The ledger's record of the copy, with its material as the cloud shows it now.
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
                profile: "standard".parse().expect("a name"),
                approvals: keyplane_model::ApprovalRule { need: 0, from: std::collections::BTreeSet::new() },
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

    /// The best scheme that the destination takes.
    pub(crate) fn scheme(&self) -> WrapScheme {
        let schemes = self.cloud.destination().capabilities.algorithms.get(&self.target.algorithm);
        *schemes.and_then(|schemes| schemes.first()).expect("the destination takes the algorithm")
    }
}

/// Sweeps to the end. Returns the objects in the order of their pages, and how many could not be read.
pub(crate) async fn sweep(cloud: &dyn Cloud) -> Result<(Vec<ObjectSeen>, u32), CloudError> {
    let (mut objects, mut broken, mut cursor) = (Vec::new(), 0, None::<Cursor>);
    for _ in 0..MAX_PAGES {
        let page = cloud.sweep(cursor.as_ref()).await?;
        objects.extend(page.objects);
        broken += page.broken;
        cursor = page.next;
        if cursor.is_none() {
            return Ok((objects, broken));
        }
    }
    unreachable!("the sweep does not end")
}

/// Drops a call that gets no answer as soon as the cloud's count of requests moves, so that no time-out has to be guessed.
pub(crate) async fn given_up<T>(call: impl Future<Output = T>, count: impl AsyncFn() -> u64) {
    let before = count().await;
    let received = async {
        while count().await == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    match select(pin!(call), pin!(received)).await {
        Either::Left(_) => unreachable!("something answered"),
        Either::Right(_) => {}
    }
}

/// Checks that an error's message is fit for people: one line, not too long.
pub(crate) fn assert_is_printable(error: &CloudError) {
    assert!(!error.message.is_empty(), "{error:?}");
    assert!(error.message.chars().count() <= 500, "{error:?}");
    assert!(!error.message.chars().any(char::is_control), "{error:?}");
}
