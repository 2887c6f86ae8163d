//! A single-threaded world for tests: a clock that moves only when somebody sleeps, a cloud that can lose replies, and a switch that stops
//! everything at the nth call of any port, as a crash does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use keyplane_engine::{Engine, Lane, Leases, Silent, lane::Quotas};
use keyplane_model::{
    APPROVALS_LAST, Act, Action, Actor, Algorithm, Approval, ApprovalRule, Approvals, Approver, Asked, Attempt, AttemptId, Capabilities,
    ChangeSet, ChangeSetRecord, Charter, CheckValue, Class, CloudKind, CopyRecord, Creation, Destination, DestinationName, Digest, EpochId,
    Evidence, EvidenceStrength, Expectation, Fence, Generation, GroupName, IdTree, InstallationId, Intent, Inventory, Key, KeyId, KeyName,
    KeyRecord, Lease, LedgerEvent, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementId, PlacementIntent,
    PlacementPlan, PlacementSeen, Presence, Problem, Protection, Purpose, Reason, Receipt, Retire, Rotation, Rules, SealedBlob,
    SealedCharter, ServerId, Source, Span, Standing, Step, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{
    Acted, Cause, Clock, Cloud, CloudError, Commitment, Cursor, Custodian, CustodianError, CustodianStatus, EnrolmentReport,
    IntentRevision, KeyState, Ledger, LedgerError, MemoryLedger, MintRequest, Minted, Mutation, OpenChangeSet, Page, Prepared, Spent,
    Swept, Usage, Usages, Warrant, Wrap, WrapFor, WrapRequest, Wrapped, WrappingKey,
};

pub(crate) const START: Timestamp = Timestamp(1_790_000_000_000_000);

/// Counts the calls of all ports. The call with the chosen number never returns.
#[derive(Default)]
pub(crate) struct Switch {
    calls: AtomicI64,
    stop_at: AtomicI64,
}

impl Switch {
    pub(crate) fn stop_at(&self, call: i64) {
        self.calls.store(0, Ordering::SeqCst);
        self.stop_at.store(call, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> i64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn is_off(&self) -> bool {
        let stop_at = self.stop_at.load(Ordering::SeqCst);
        stop_at > 0 && self.calls() >= stop_at
    }

    /// Returns, or never returns if the switch is off. Once it is off, no call returns: after a crash nothing runs.
    async fn pass(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_off() {
            std::future::pending::<()>().await;
        }
    }
}

/// Fields: the true time, which moves only when somebody sleeps; the switch; what happens during each sleep; by how many microseconds the
/// wall clock is ahead.
pub(crate) struct TestClock(Mutex<Timestamp>, Arc<Switch>, Mutex<Option<Meanwhile>>, AtomicI64);

pub(crate) type Meanwhile = Box<dyn FnMut() + Send>;

impl TestClock {
    /// Does this during each sleep.
    pub(crate) fn meanwhile(&self, what: impl FnMut() + Send + 'static) {
        *self.2.lock().unwrap() = Some(Box::new(what));
    }

    /// Sets the server's wall clock ahead.
    pub(crate) fn set_ahead(&self, span: Span) {
        self.3.store(span.micros(), Ordering::SeqCst);
    }

    /// Sets the server's wall clock back.
    pub(crate) fn set_behind(&self, span: Span) {
        self.3.store(-span.micros(), Ordering::SeqCst);
    }

    /// The true time, whatever the wall clock says.
    fn true_time(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn moves(&self, span: Span) {
        let mut now = self.0.lock().unwrap();
        *now = *now + span;
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.true_time().0 + self.3.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Span {
        self.true_time() - START
    }

    async fn sleep(&self, span: Span) {
        if self.1.is_off() {
            std::future::pending::<()>().await;
        }
        self.moves(span);
        if let Some(meanwhile) = self.2.lock().unwrap().as_mut() {
            meanwhile();
        }
    }
}

/// What happens to the nth mutating request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LostReply,
    /// The effect comes this much later, and the reply is ambiguous.
    Late(Span),
    Refused(Class),
    /// Certainly without an effect.
    Failed(Class, Cause),
}

#[derive(Default)]
pub(crate) struct CloudState {
    pub(crate) objects: Vec<ObjectSeen>,
    pub(crate) claims: BTreeMap<String, ObjectId>,
    pub(crate) names: BTreeMap<String, ObjectId>,
    pub(crate) imports: Vec<(ObjectId, Vec<u8>)>,
    pub(crate) prepared: Vec<ObjectId>,
    /// Imports that the cloud still processes: until when, in which object, which material.
    pub(crate) arriving: Vec<(Timestamp, ObjectId, String)>,
    /// How many imports the cloud will accept and then fail to use.
    pub(crate) useless: u32,
    /// How many mutations, by word, will be answered as done while their effect is undone at once.
    pub(crate) undone: BTreeMap<&'static str, u32>,
    pub(crate) mutations: u32,
    pub(crate) faults: BTreeMap<u32, Fault>,
    /// How many looks will fail, and with which class.
    pub(crate) blind: (u32, Option<Class>),
    pub(crate) looks: u32,
    /// How many requests the calls so far sent. `None`: they are not counted.
    pub(crate) sent: Option<u64>,
    /// How many requests each look sends.
    pub(crate) look_sends: u64,
    /// How often a wrapping key was requested. An object has another one at each request.
    pub(crate) asked: u32,
    /// How long a wrapping key is valid. `None`: the cloud does not say.
    pub(crate) valid_for: Option<Span>,
    /// Whether calls never get a reply.
    pub(crate) silent: bool,
    /// There may be thousands of objects.
    pub(crate) sweep_takes: Span,
    pub(crate) look_takes: Span,
    /// Whether each request for a wrapping key takes a minute, during which somebody disables every object.
    pub(crate) meddled: bool,
    pub(crate) late: Vec<(Timestamp, Mutation)>,
}

pub(crate) struct TestCloud {
    destination: Destination,
    pub(crate) state: Mutex<CloudState>,
    switch: Arc<Switch>,
    pub(crate) clock: Arc<TestClock>,
}

impl TestCloud {
    pub(crate) fn new(destination: Destination, clock: Arc<TestClock>) -> Arc<Self> {
        Arc::new(Self { destination, state: Mutex::default(), switch: Arc::clone(&clock.1), clock })
    }

    fn seen(state: &CloudState, object: Option<&ObjectId>) -> Option<ObjectSeen> {
        state.objects.iter().find(|seen| Some(&seen.object) == object).cloned()
    }

    /// The current state, after all late effects that are due.
    fn tick(&self) -> std::sync::MutexGuard<'_, CloudState> {
        let mut state = self.state.lock().unwrap();
        let now = self.clock.true_time();
        let (here, arriving) = std::mem::take(&mut state.arriving).into_iter().partition(|(at, ..)| *at <= now);
        state.arriving = arriving;
        for (_, object, material) in Vec::<(Timestamp, ObjectId, String)>::from_iter(here) {
            let seen = state.objects.iter_mut().find(|seen| seen.object == object).unwrap();
            seen.state = ObjectState::Usable;
            seen.materials.iter_mut().filter(|seen| seen.id.as_ref() == Some(&material)).for_each(|seen| seen.presence = Presence::Present);
        }
        let (due, late) = std::mem::take(&mut state.late).into_iter().partition(|(at, _)| *at <= now);
        state.late = late;
        for (at, mutation) in due {
            let _ = effect(&mut state, self.destination.capabilities.creation, &mutation, at);
        }
        state
    }
}

fn empty(object: &ObjectId, target: &Target, marks: &Marks, now: Timestamp) -> ObjectSeen {
    ObjectSeen {
        object: object.clone(),
        marks: Some(marks.clone()),
        external: true,
        algorithm: Some(target.algorithm),
        purpose: Some(target.purpose),
        policy_fits: true,
        state: ObjectState::AwaitingMaterial,
        created: Some(now),
        materials: Vec::new(),
    }
}

fn error(class: Class) -> CloudError {
    CloudError { class, cause: Cause::Plain, operation: "Test", message: format!("{class}"), retry_after: None }
}

/// How long the cloud processes an import after its reply, where it does so.
const ARRIVES_AFTER: Span = Span::seconds(2);

/// The reply to a mutation whose effect is undone at once: somebody strips the object's marks, alters the wrapping key, or resets what the
/// mutation set.
fn undone(state: &mut CloudState, mutation: &Mutation, now: Timestamp) -> Acted {
    match mutation {
        Mutation::Create { target, marks } => {
            let object = ObjectId(format!("object-{}", state.objects.len()));
            state.objects.push(ObjectSeen { marks: None, ..empty(&object, target, marks, now) });
            Acted::Created(object)
        }
        Mutation::Prepare { .. } => Acted::Created(ObjectId(format!("altered-{}", state.mutations))),
        _ => Acted::Done,
    }
}

fn effect(state: &mut CloudState, creation: Creation, mutation: &Mutation, now: Timestamp) -> Result<Acted, CloudError> {
    if let Some(left @ 1..) = state.undone.get_mut(mutation.word()) {
        *left -= 1;
        return Ok(undone(state, mutation, now));
    }
    match mutation {
        Mutation::Create { target, .. } if creation == Creation::Named && state.objects.iter().any(|seen| seen.object.0 == target.name) => {
            Err(error(Class::AlreadyExists))
        }
        Mutation::Create { target, marks } => {
            let named = (creation == Creation::Named).then(|| target.name.clone());
            let object = ObjectId(named.unwrap_or_else(|| format!("object-{}", state.objects.len())));
            state.objects.push(empty(&object, target, marks, now));
            Ok(Acted::Created(object))
        }
        Mutation::Claim { target, object } => {
            let claim = format!("{}/{}", target.placement, target.incarnation);
            if state.claims.contains_key(&claim) {
                return Err(error(Class::AlreadyExists));
            }
            state.claims.insert(claim, object.clone());
            Ok(Acted::Done)
        }
        Mutation::Publish { object, material, .. } if creation == Creation::Named => {
            let seen = state.objects.iter_mut().find(|seen| seen.object == *object).ok_or_else(|| error(Class::NotFound))?;
            for found in &mut seen.materials {
                found.state = if found.id == *material { MaterialState::Current } else { MaterialState::Pending };
            }
            Ok(Acted::Done)
        }
        Mutation::Prepare { version, .. } => {
            let wrapping = match creation {
                Creation::Named => ObjectId(format!("job-{version}")),
                Creation::Imported => ObjectId(format!("kek-{}", state.prepared.len())),
                Creation::Claimed => return Err(error(Class::Unsupported)),
            };
            if state.prepared.contains(&wrapping) {
                return Err(error(Class::AlreadyExists));
            }
            state.prepared.push(wrapping.clone());
            Ok(Acted::Created(wrapping))
        }
        // Each import makes another generation, whatever its bytes, except one into an existing generation.
        Mutation::Import { target, marks, again, version, wrapped, .. } if creation != Creation::Claimed => {
            if creation == Creation::Imported && state.objects.is_empty() {
                state.objects.push(empty(&ObjectId(target.name.clone()), target, marks, now));
            }
            let seen = state.objects.iter_mut().find(|seen| seen.object.0 == target.name).ok_or_else(|| error(Class::NotFound))?;
            state.imports.push((seen.object.clone(), wrapped.clone()));
            let id = again.clone().unwrap_or_else(|| (seen.materials.len() + 1).to_string());
            seen.materials.retain(|material| material.id.as_ref() != Some(&id));
            let (state_of_it, presence) = match creation {
                Creation::Imported => (MaterialState::Current, Presence::Present),
                Creation::Named | Creation::Claimed if state.useless > 0 => {
                    state.useless -= 1;
                    (MaterialState::Pending, Presence::Failed("no use".to_owned()))
                }
                Creation::Named | Creation::Claimed => {
                    state.arriving.push((now + ARRIVES_AFTER, seen.object.clone(), id.clone()));
                    (MaterialState::Pending, Presence::Arriving)
                }
            };
            if state_of_it == MaterialState::Current {
                seen.state = ObjectState::Usable;
                seen.materials.iter_mut().for_each(|before| before.state = MaterialState::Former);
            }
            let made = MaterialSeen { id: Some(id), version: Some(*version), state: state_of_it, presence, public_key: None };
            // The newest comes first where the newest is current.
            let place = if creation == Creation::Imported { 0 } else { seen.materials.len() };
            seen.materials.insert(place, made);
            Ok(Acted::Done)
        }
        Mutation::Publish { target, object, .. } => {
            if state.names.contains_key(&target.name) {
                return Err(error(Class::AlreadyExists));
            }
            state.names.insert(target.name.clone(), object.clone());
            Ok(Acted::Done)
        }
        Mutation::Import { object: Some(object), version, wrapped, .. } => {
            let before = state.imports.iter().find(|(to, _)| to == object).cloned();
            if before.is_some_and(|(_, bytes)| bytes != *wrapped) {
                return Err(CloudError { cause: Cause::OtherMaterial, ..error(Class::Invalid) });
            }
            state.imports.push((object.clone(), wrapped.clone()));
            let seen = state.objects.iter_mut().find(|seen| seen.object == *object).ok_or_else(|| error(Class::NotFound))?;
            seen.state = ObjectState::Usable;
            seen.materials = vec![MaterialSeen {
                id: Some("material-1".to_owned()),
                version: Some(*version),
                state: MaterialState::Current,
                presence: Presence::Present,
                public_key: None,
            }];
            Ok(Acted::Done)
        }
        Mutation::ScheduleDeletion { object, .. } => {
            let seen = state.objects.iter_mut().find(|seen| seen.object == *object).ok_or_else(|| error(Class::NotFound))?;
            seen.state = ObjectState::DeletionScheduled(None);
            Ok(Acted::Done)
        }
        Mutation::Import { .. }
        | Mutation::Disable { .. }
        | Mutation::Enable { .. }
        | Mutation::Restore { .. }
        | Mutation::Purge { .. } => Err(error(Class::Unsupported)),
    }
}

#[async_trait]
impl Cloud for TestCloud {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    fn sent(&self, _: &str) -> Option<u64> {
        self.state.lock().unwrap().sent
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        self.switch.pass().await;
        if self.tick().silent {
            std::future::pending::<()>().await;
        }
        let mut state = self.tick();
        self.clock.moves(state.look_takes);
        state.looks += 1;
        state.sent = state.sent.map(|sent| sent + state.look_sends);
        if let (1.., Some(class)) = state.blind {
            state.blind.0 -= 1;
            return Err(error(class));
        }
        if self.destination.capabilities.creation != Creation::Claimed {
            let claimed = Self::seen(&state, Some(&ObjectId(target.name.clone())));
            let published = claimed.clone().filter(|object| object.current().is_some());
            return Ok(PlacementSeen { claimed, published });
        }
        let claim = state.claims.get(&format!("{}/{}", target.placement, target.incarnation));
        Ok(PlacementSeen { claimed: Self::seen(&state, claim), published: Self::seen(&state, state.names.get(&target.name)) })
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.switch.pass().await;
        Ok(Self::seen(&self.tick(), Some(object)))
    }

    async fn sweep(&self, _: Option<&Cursor>) -> Result<Page, CloudError> {
        self.switch.pass().await;
        let takes = self.state.lock().unwrap().sweep_takes;
        self.clock.moves(takes);
        let objects = self.tick().objects.iter().filter(|seen| seen.marks.is_some()).cloned().collect();
        Ok(Page { objects, broken: 0, next: None })
    }

    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        self.switch.pass().await;
        if self.destination.capabilities.creation == Creation::Claimed {
            return Ok(None);
        }
        let claimed = swept.get(&ObjectId(target.name.clone())).cloned();
        Ok(claimed.map(|object| PlacementSeen {
            published: Some(object.clone()).filter(|object| object.current().is_some()),
            claimed: Some(object),
        }))
    }

    async fn prepared(&self, _: &Target, version: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        self.switch.pass().await;
        let state = self.tick();
        let ours = ObjectId(format!("job-{version}"));
        let named = if self.destination.capabilities.creation == Creation::Named { Some(&ours) } else { made };
        let found = state.prepared.iter().find(|wrapping| Some(*wrapping) == named);
        Ok(found.map(|wrapping| Prepared { wrapping: wrapping.clone(), ready: true }))
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        self.switch.pass().await;
        let mut state = self.tick();
        state.asked += 1;
        if state.meddled {
            self.clock.moves(Span::seconds(60));
            state.objects.iter_mut().for_each(|object| object.state = ObjectState::Disabled);
        }
        let spki = match from {
            WrapFor::Object(object) => format!("{object}, {}", state.asked),
            WrapFor::Prepared(wrapping) => wrapping.to_string(),
        };
        let valid_until = state.valid_for.map(|span| self.clock.true_time() + span);
        Ok(WrappingKey { spki: spki.into_bytes(), scheme, token: b"token".to_vec(), valid_until })
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        self.switch.pass().await;
        let reply = {
            if self.tick().silent {
                std::future::pending::<()>().await;
            }
            let mut state = self.tick();
            state.mutations += 1;
            let number = state.mutations;
            let now = self.clock.true_time();
            match state.faults.get(&number).copied() {
                None => effect(&mut state, self.destination.capabilities.creation, mutation, now),
                Some(Fault::LostReply) => {
                    let _ = effect(&mut state, self.destination.capabilities.creation, mutation, now);
                    Err(error(Class::Ambiguous))
                }
                Some(Fault::Late(span)) => {
                    state.late.push((now + span, mutation.clone()));
                    Err(error(Class::Ambiguous))
                }
                Some(Fault::Refused(class)) => Err(error(class)),
                Some(Fault::Failed(class, cause)) => Err(CloudError { cause, ..error(class) }),
            }
        };
        self.switch.pass().await;
        reply
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        Ok(Evidence {
            placement: target.placement,
            version: copy.coordinates.version,
            strength: EvidenceStrength::None,
            fits: true,
            reason: None,
            material: None,
            check_value: None,
            wrapped_under: None,
            at: now,
        })
    }
}

/// A custodian whose "bytes" are its count of mints, so a second mint of a generated copy gives another key.
pub(crate) struct TestCustodian {
    mints: AtomicU32,
    usages: Mutex<BTreeMap<Digest, Usage>>,
    /// Whether it cannot be reached.
    pub(crate) gone: AtomicBool,
    /// Does this whenever it is about to record an end.
    pub(crate) about_to_finish: Mutex<Option<Meanwhile>>,
    switch: Arc<Switch>,
}

#[async_trait]
impl Custodian for TestCustodian {
    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        Err(CustodianError::NotEnrolled("a test".to_owned()))
    }

    async fn enroll(&self, _: InstallationId, _: &Charter) -> Result<EnrolmentReport, CustodianError> {
        Err(CustodianError::Unsupported("enrol: a test".to_owned()))
    }

    async fn test(&self) -> Result<EnrolmentReport, CustodianError> {
        Err(CustodianError::Unsupported("test: a test".to_owned()))
    }

    async fn adopt(&self, _: &SealedCharter, _: &keyplane_model::CharterChange, _: &[Approval]) -> Result<SealedCharter, CustodianError> {
        Err(CustodianError::Unsupported("adopt: a test".to_owned()))
    }

    async fn mint(&self, warrant: &Warrant, _: &MintRequest) -> Result<Minted, CustodianError> {
        self.switch.pass().await;
        self.usage(&warrant.change_set, |usage| usage.still_open())?;
        let count = self.mints.fetch_add(1, Ordering::SeqCst);
        let blob = SealedBlob { wrapped: count.to_be_bytes().to_vec(), mac: Vec::new() };
        Ok(Minted { check_value: Some(CheckValue([0, 0, 1])), blob: Some(blob), public_key: None })
    }

    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        self.switch.pass().await;
        let wrap = Wrap { step: request.step, wrapped_under: Digest::of(&request.wrapping_key.spki), at: START };
        self.usage(&warrant.change_set, |usage| {
            usage.admits(&wrap)?;
            usage.add(&Usage { wraps: vec![wrap], ..usage.clone() });
            Ok(())
        })?;
        let blob = request.copy.blob.as_ref().ok_or_else(|| CustodianError::Broken("no blob".to_owned()))?;
        Ok(Wrapped { bytes: blob.wrapped.clone(), wrapped_under: Digest::of(&request.wrapping_key.spki) })
    }

    async fn finish(&self, _: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError> {
        self.switch.pass().await;
        if let Some(meanwhile) = self.about_to_finish.lock().unwrap().as_mut() {
            meanwhile();
        }
        let finished = self.usage(change_set, |usage| {
            usage.finished = true;
            Ok(())
        });
        self.switch.pass().await;
        finished
    }

    async fn usages(&self) -> Result<Usages, CustodianError> {
        let mut all = Usages::default();
        self.usages.lock().unwrap().values().for_each(|usage| all.add(usage.clone()));
        Ok(all)
    }
}

impl TestCustodian {
    fn usage<T>(&self, change_set: &ChangeSet, with: impl FnOnce(&mut Usage) -> Result<T, Spent>) -> Result<T, CustodianError> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(CustodianError::Failed("it is gone".to_owned()));
        }
        let digest = change_set.digest().unwrap();
        Ok(with(self.usages.lock().unwrap().entry(digest).or_insert_with(|| Usage::none(change_set, digest)))?)
    }
}

/// The in-memory ledger, with a possible crash before and after each of its transactions.
pub(crate) struct TestLedger {
    inner: MemoryLedger,
    switch: Arc<Switch>,
    clock: Arc<TestClock>,
    /// How many seconds pass, once, after an attempt is recorded.
    slow: Arc<AtomicU32>,
    /// How many seconds pass, once, before a lease is read.
    slow_lease: Arc<AtomicU32>,
    fails: Fails,
    calls: Calls,
}

/// The method that fails once when it is called next.
pub(crate) type Fails = Arc<Mutex<Option<&'static str>>>;

/// The names of the ledger's methods that were called.
pub(crate) type Calls = Arc<Mutex<BTreeSet<&'static str>>>;

macro_rules! passing {
    ($(async fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        #[async_trait]
        impl Ledger for TestLedger {
            $(async fn $name(&self $(, $argument: $type)*) -> $result {
                self.switch.pass().await;
                self.calls.lock().unwrap().insert(stringify!($name));
                if stringify!($name) == "lease" {
                    self.clock.moves(Span::seconds(self.slow_lease.swap(0, Ordering::SeqCst)));
                }
                if self.fails.lock().unwrap().take_if(|name| *name == stringify!($name)).is_some() {
                    return Err(LedgerError::Failed("it is busy".to_owned()));
                }
                let result = self.inner.$name($($argument),*).await;
                if stringify!($name) == "attempt" {
                    self.clock.moves(Span::seconds(self.slow.swap(0, Ordering::SeqCst)));
                }
                self.switch.pass().await;
                result
            })*
        }
    };
}

passing! {
    async fn installation(&self) -> Result<InstallationId, LedgerError>;
    async fn put_intent(&self, intent: &Intent, source: &str, asked: Asked<'_>) -> Result<IntentRevision, LedgerError>;
    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError>;
    async fn intent_revision(&self) -> Result<Option<IntentRevision>, LedgerError>;
    async fn wanted(&self, keys: &BTreeSet<KeyName>) -> Result<Option<(IntentRevision, BTreeMap<KeyName, Key>)>, LedgerError>;
    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, LedgerError>;
    async fn page_of_keys(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<KeyState>, LedgerError>;
    async fn page_of_events(&self, after: u64, limit: u32) -> Result<Vec<LedgerEvent>, LedgerError>;
    async fn page_of_open(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError>;
    async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError>;
    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError>;
    async fn approve(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError>;
    async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError>;
    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease, asked: Asked<'_>) -> Result<bool, LedgerError>;
    async fn complete(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn end(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn withdraw(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn abandon(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError>;
    async fn propose_charter(&self, change: &keyplane_model::CharterChange, asked: Asked<'_>) -> Result<Digest, LedgerError>;
    async fn charter_proposals(&self, before: &keyplane_model::CharterId) -> Result<Vec<keyplane_model::CharterProposal>, LedgerError>;
    async fn charter_proposal(&self, digest: &Digest) -> Result<Option<keyplane_model::CharterProposal>, LedgerError>;
    async fn approve_charter(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn put_charter(&self, charter: &SealedCharter, approvals: &[Approval], asked: Asked<'_>) -> Result<(), LedgerError>;
    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError>;
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) cloud: Arc<TestCloud>,
    pub(crate) custodian: Arc<TestCustodian>,
    pub(crate) switch: Arc<Switch>,
    pub(crate) digest: Digest,
    /// How many seconds pass after the next attempt is recorded.
    pub(crate) slow: Arc<AtomicU32>,
    /// How many seconds pass before the next lease is read.
    pub(crate) slow_lease: Arc<AtomicU32>,
    pub(crate) fails: Fails,
    pub(crate) calls: Calls,
}

pub(crate) fn actor() -> Actor {
    Actor("operator".to_owned())
}

/// For writes of the tests themselves.
pub(crate) fn asked() -> Asked<'static> {
    static ACTOR: LazyLock<Actor> = LazyLock::new(actor);
    Asked { by: &ACTOR, at: START }
}

pub(crate) fn server(number: u64) -> ServerId {
    ServerId(IdTree::new([2; 32]).child(&number.to_string()).uuid())
}

pub(crate) fn installation() -> InstallationId {
    InstallationId(IdTree::new([1; 32]).child("installation").uuid())
}

pub(crate) fn destination(creation: Creation) -> Destination {
    Destination {
        name: "prod".parse().unwrap(),
        cloud: CloudKind::Aws,
        home: "aws:111122223333:us-east-1".to_owned(),
        fingerprint: Digest::of(b"prod"),
        capabilities: Capabilities {
            algorithms: [(Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256])].into(),
            protection: Protection::Hsm,
            creation,
            prepares: creation != Creation::Claimed,
            generations: creation != Creation::Claimed,
            consistency: Span::seconds(5),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas: BTreeMap::new(),
            draws: BTreeMap::new(),
            deletion_days: 7,
        },
    }
}

pub(crate) fn target() -> Target {
    let ids = IdTree::new([1; 32]);
    Target {
        installation: installation(),
        placement: ids.placement(ids.key("payments-db"), "prod", "payments-db"),
        incarnation: 1,
        name: "payments-db".to_owned(),
        algorithm: Algorithm::Aes256,
        purpose: Purpose::Encrypt,
        key: "payments-db".parse().unwrap(),
    }
}

fn rule() -> ApprovalRule {
    ApprovalRule { need: 0, from: BTreeSet::new() }
}

/// The intent of the worlds: the first key, under this rule of approval.
pub(crate) fn intent(approvals: ApprovalRule) -> Intent {
    let there = destination(Creation::Claimed);
    let key = Key {
        profile: "payments".parse().unwrap(),
        purpose: Purpose::Encrypt,
        shared: false,
        rules: Rules {
            algorithms: [Algorithm::Aes256].into(),
            protection: Protection::Hsm,
            locations: None,
            source: Some(Source::Generated),
            rotation: Rotation { every: None, overlap: Span::days(30), retire: Retire::Never },
            approvals: Approvals { import: approvals.clone(), retire: approvals, standing: Standing::default(), valid: APPROVALS_LAST },
        },
        placements: [PlacementIntent {
            destination: there.name,
            cloud: there.cloud,
            name: "payments-db".to_owned(),
            algorithm: Algorithm::Aes256,
        }]
        .into(),
    };
    Intent { keys: [("payments-db".parse().unwrap(), key)].into(), ..Intent::default() }
}

pub(crate) fn first_key(creation: Creation, placement: PlacementId, approvals: ApprovalRule) -> ChangeSet {
    let destination = destination(creation);
    let step = |expects, act| Step { placement, expects, act };
    let (version, scheme) = (Version(1), WrapScheme::RsaOaepSha256);
    let create = step(Expectation::Unclaimed, Act::Create);
    let prepare = step(Expectation::Absent, Act::Prepare { version, scheme });
    let before_the_import = match creation {
        Creation::Claimed => vec![create, step(Expectation::Created, Act::Claim)],
        Creation::Named => vec![create, prepare],
        Creation::Imported => vec![prepare],
    };
    ChangeSet {
        format: ChangeSet::FORMAT,
        installation: installation(),
        key: "payments-db".parse().unwrap(),
        key_id: IdTree::new([1; 32]).key("payments-db"),
        profile: "payments".parse().unwrap(),
        action: Action::Import,
        wanted: intent(approvals.clone()).keys.values().next().map(|key| key.digest().unwrap()),
        approvals,
        proposer: keyplane_model::Actor("proposer".to_owned()),
        generation: Generation(0),
        placements: [(
            placement,
            PlacementPlan {
                destination: destination.name.clone(),
                fingerprint: destination.fingerprint,
                cloud: CloudKind::Aws,
                name: "payments-db".to_owned(),
                algorithm: Algorithm::Aes256,
                purpose: Purpose::Encrypt,
                incarnation: 1,
            },
        )]
        .into(),
        steps: [
            vec![step(Expectation::NoCopy, Act::Mint { version, source: Source::Generated, epoch: EpochId(1) })],
            before_the_import,
            vec![
                step(Expectation::Empty, Act::Import { version, scheme, of: None, made: None }),
                step(Expectation::Imported, Act::Publish),
            ],
        ]
        .concat(),
        reasons: vec![Reason::NewKey],
        until: START + Span::days(30),
    }
}

impl World {
    /// A world in which a first key is proposed, at a cloud with claims. `need` is the number of approvals that a commit needs.
    pub(crate) async fn new(need: u32) -> Self {
        Self::with(Creation::Claimed, need).await
    }

    /// The same, at another cloud, without approvals.
    pub(crate) async fn at(creation: Creation) -> Self {
        Self::with(creation, 0).await
    }

    async fn with(creation: Creation, need: u32) -> Self {
        Self::of(destination(creation), need).await
    }

    /// The same, at this destination.
    pub(crate) async fn of(destination: Destination, need: u32) -> Self {
        let creation = destination.capabilities.creation;
        let switch = Arc::new(Switch::default());
        let clock = Arc::new(TestClock(Mutex::new(START), Arc::clone(&switch), Mutex::default(), AtomicI64::default()));
        let cloud = TestCloud::new(destination.clone(), Arc::clone(&clock));
        let placement = target().placement;
        let security: GroupName = "security".parse().unwrap();
        let rule = ApprovalRule { need, from: if need == 0 { rule().from } else { [security.clone()].into() } };
        let change_set = first_key(creation, placement, rule.clone());
        let inner = MemoryLedger::new(installation());
        inner.put_intent(&intent(rule.clone()), "files", asked()).await.unwrap();
        inner
            .put_charter(
                &SealedCharter {
                    charter: Charter {
                        installation: installation(),
                        approvers: [(
                            "alice".parse().unwrap(),
                            Approver { groups: [security].into(), logins: ["alice".to_owned()].into(), keys: BTreeSet::new() },
                        )]
                        .into(),
                        profiles: [(
                            change_set.profile.clone(),
                            Approvals { import: rule.clone(), retire: rule, valid: APPROVALS_LAST, standing: Standing::default() },
                        )]
                        .into(),
                        key_rules: BTreeSet::new(),
                    },
                    serial: 1,
                    epoch: EpochId(1),
                    mac: Vec::new(),
                },
                &[],
                asked(),
            )
            .await
            .unwrap();
        let digest = inner.propose(&change_set, asked()).await.unwrap();
        let shared: Arc<dyn Cloud> = Arc::clone(&cloud) as Arc<dyn Cloud>;
        let fails = Fails::default();
        let (slow, slow_lease, calls) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Calls::default());
        let ledger = TestLedger {
            inner,
            switch: Arc::clone(&switch),
            clock: Arc::clone(&clock),
            slow: Arc::clone(&slow),
            slow_lease: Arc::clone(&slow_lease),
            fails: Arc::clone(&fails),
            calls: Arc::clone(&calls),
        };
        let custodian = Arc::new(TestCustodian {
            mints: AtomicU32::new(0),
            usages: Mutex::default(),
            gone: AtomicBool::new(false),
            about_to_finish: Mutex::default(),
            switch: Arc::clone(&switch),
        });
        let engine = Engine {
            ledger: Arc::new(ledger),
            custodian: Arc::clone(&custodian) as Arc<dyn Custodian>,
            lanes: [(destination.name, Lane::new(shared, Quotas::default(), Arc::clone(&clock) as Arc<dyn Clock>))].into(),
            clock,
            leases: Leases::new(server(1)),
        };
        Self { engine, cloud, custodian, switch, digest, slow, slow_lease, fails, calls }
    }

    /// Commits and runs. `None`: the switch stopped it.
    pub(crate) async fn run(&self) -> Option<Result<(), Vec<Problem>>> {
        let run = async {
            self.commit().await.map_err(|problem| vec![problem])?;
            self.resume(None).await
        };
        // Nothing here waits except a call that the switch stopped, so pending means stopped.
        futures::FutureExt::now_or_never(run)
    }

    pub(crate) async fn commit(&self) -> Result<Commitment, Problem> {
        self.engine.commit(&[self.digest], None, &actor()).await.remove(0)
    }

    /// Runs what is committed. `policy`: that of the command.
    pub(crate) async fn resume(&self, policy: Option<&Intent>) -> Result<(), Vec<Problem>> {
        self.engine.run(&[self.digest], policy, &actor(), &Silent).await.remove(0).result
    }

    /// Rules 2 and 3: one usable object with one material, whatever happened.
    pub(crate) fn check(&self) {
        let state = self.cloud.state.lock().unwrap();
        let live: Vec<&ObjectSeen> = state.objects.iter().filter(|object| object.state == ObjectState::Usable).collect();
        assert_eq!(live.len(), 1, "live objects: {:?}", state.objects);
        let bytes: BTreeSet<&Vec<u8>> = state.imports.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(bytes.len(), 1, "a version's bytes changed");
        assert!(state.imports.iter().all(|(object, _)| *object == live[0].object), "material went to two objects");
        if self.cloud.destination.capabilities.creation == Creation::Claimed {
            assert_eq!(state.names.get("payments-db"), Some(&live[0].object));
            assert_eq!(state.claims.len(), 1);
        } else {
            assert_eq!(live[0].materials.iter().filter(|material| material.state == MaterialState::Current).count(), 1);
        }
        assert!(live[0].materials.iter().all(|material| material.version == Some(Version(1))), "not recognisable: {live:?}");
    }

    /// Counts empty objects and second imports, once every late effect has come.
    pub(crate) fn surplus(&self) -> usize {
        *self.cloud.clock.0.lock().unwrap() = START + Span::days(1);
        let state = self.cloud.tick();
        let empty = state.objects.iter().filter(|object| object.state == ObjectState::AwaitingMaterial).count();
        let second: usize = state.objects.iter().map(|object| object.materials.len().saturating_sub(1)).sum();
        empty + second
    }
}
