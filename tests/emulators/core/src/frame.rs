//! What every emulated cloud has around its state machine: numbering, journal, faults, halts, late effects, quotas and lagging reads.
//!
//! A cloud implements [`Service`] and is used as a [`Frame`]. The frame knows of a request only what that trait tells.

use std::{collections::VecDeque, time::Duration};

use rand_core::RngCore;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Timestamp,
    fault::{Effect, Faults, HaltPoint},
    journal::{Entry, Journal},
    quota::Buckets,
};

/// How many earlier states are kept for lagging reads.
const MOST_PAST: usize = 64;

/// A cloud as a state machine: what a request does to a store, and how the cloud words its answers.
pub trait Service: Send + 'static {
    /// Everything that the cloud holds. Cloning has to be cheap, because earlier states are kept.
    type Store: Clone + Default + Send;
    /// A request that is already authenticated.
    type Request: Clone + Send;
    /// The result of a request that succeeds.
    type Output;
    type Refusal: Send;
    /// An answer in the form of the wire.
    type Reply: Send;
    /// The answers to the contract's open questions.
    type Readings: Serialize + DeserializeOwned + Send;

    /// The operation's name at the cloud, or whatever the client wrote if no operation has that name.
    fn operation<'a>(&self, request: &'a Self::Request) -> &'a str;

    /// Whether the request can change what others see.
    fn is_mutating(&self, request: &Self::Request) -> bool;

    /// Whether the answer may come from an earlier state within the consistency window.
    fn may_lag(&self, request: &Self::Request) -> bool {
        !self.is_mutating(request)
    }

    /// The buckets to take a token from, in this order, as place and name. The first empty one refuses the request.
    fn draws(&self, store: &Self::Store, request: &Self::Request) -> Vec<(String, &'static str)>;

    /// What the journal records about the request.
    fn noted(&self, request: &Self::Request) -> Noted;

    /// Makes the changes that are due without a request: expiry, rotation, deletion.
    fn settle(&mut self, store: &mut Self::Store, now: Timestamp, rng: &mut dyn RngCore);

    /// Serves a request on the present store. `past` is the state before recent changes, from which the answer may come instead.
    ///
    /// # Errors
    /// What the cloud refuses. INVARIANT: a refused request has changed nothing.
    fn serve(
        &mut self,
        call: Call<'_>,
        store: &mut Self::Store,
        past: Option<&Self::Store>,
        request: &Self::Request,
    ) -> Result<Self::Output, Self::Refusal>;

    /// `id` is the request's id.
    fn reply(&self, served: Result<&Self::Output, &Self::Refusal>, id: String) -> Self::Reply;

    /// Any error that a test chooses, even one that the cloud does not have.
    fn error(&self, status: u16, code: &str, id: String) -> Self::Reply;

    /// The cloud's refusal for an injected fault, or for an empty quota.
    fn blamed(&self, blame: Blame, request: &Self::Request) -> Self::Refusal;

    /// The code in the journal.
    fn code(refusal: &Self::Refusal) -> String;

    fn readings(&mut self) -> &mut Self::Readings;

    /// Everything that the cloud holds, as JSON, for tests and people.
    fn dump(&self, now: Timestamp, store: &Self::Store) -> Value;

    /// Loses the imported material of a place, as after a failure of the whole place.
    fn lose(&mut self, store: &mut Self::Store, now: Timestamp, place: &str);

    /// Alters what was made since `before`, as [`Effect::Altered`] says.
    fn alter(&self, store: &mut Self::Store, before: &Self::Store);
}

/// What serving one request needs besides the store.
pub struct Call<'a> {
    pub now: Timestamp,
    /// The only source of randomness, except for key pairs.
    pub rng: &'a mut dyn RngCore,
    /// A UUID.
    pub id: &'a str,
}

/// Why a correct request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// With the seconds to wait, if the quota says so.
    Throttled(Option<u32>),
    Denied,
    /// The cloud has an internal error.
    Failed,
}

/// What the journal records about a request beyond what the frame knows.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// `None`: the cloud has no regions.
    pub region: Option<String>,
    /// As the client wrote it.
    pub key_id: Option<String>,
    /// In bytes.
    pub size: usize,
    /// Null if it is not JSON.
    pub body: Value,
    pub wrapped_material: Option<Vec<u8>>,
}

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<R> {
    Reply(R),
    /// Nothing; the connection stays open.
    Hang,
    /// Nothing; the connection is closed.
    Close,
}

/// The state of a cloud that a fault stopped.
#[derive(Clone, Debug, Serialize)]
pub struct Halted<R> {
    pub when: HaltPoint,
    /// The request's number among all requests.
    pub sequence: u64,
    /// The request's number among the mutating ones. `None`: it is not mutating.
    pub mutation: Option<u64>,
    pub operation: String,
    /// How many requests came since then; all of them hang.
    pub hanging: u64,
    /// The request that [`Frame::resume`] can still serve.
    #[serde(skip)]
    request: Option<R>,
}

/// A request that will take effect without an answer.
struct Late<R> {
    due: Option<Timestamp>,
    /// The number of requests after which it is due.
    count: Option<u64>,
    sequence: u64,
    request: R,
}

pub struct Frame<S: Service> {
    service: S,
    store: S::Store,
    /// Earlier states, each with the moment at which it changed; oldest first.
    past: VecDeque<(Timestamp, S::Store)>,
    /// How long after a change a read may still show the state before it. Zero: never.
    consistency: Duration,
    buckets: Buckets,
    faults: Faults,
    journal: Journal,
    late: Vec<Late<S::Request>>,
    halted: Option<Halted<S::Request>>,
    /// INVARIANT: time does not run backwards.
    now: Timestamp,
}

impl<S: Service> Frame<S> {
    /// An empty cloud.
    pub fn around(service: S, buckets: Buckets, consistency: Duration) -> Self {
        Self {
            service,
            store: S::Store::default(),
            past: VecDeque::new(),
            consistency,
            buckets,
            faults: Faults::default(),
            journal: Journal::default(),
            late: Vec::new(),
            halted: None,
            now: Timestamp::from_micros(0),
        }
    }

    /// Serves what is due by time; counts and records the request; decides on a fault; serves the request or not; serves what is due by
    /// count. While halted, every request hangs and is only counted in [`Halted::hanging`].
    pub fn handle(&mut self, now: Timestamp, rng: &mut dyn RngCore, request: &S::Request) -> Answer<S::Reply> {
        if let Some(halted) = &mut self.halted {
            halted.hanging += 1;
            return Answer::Hang;
        }
        let now = self.tick(now, rng);

        let (sequence, mutation) = self.journal.number(self.service.is_mutating(request));
        let effect = self.faults.decide(self.service.operation(request), mutation);
        self.journal.push(self.entry(now, sequence, mutation, request, effect.clone()));

        let answer = match effect {
            None => self.reply(now, rng, sequence, request),
            Some(Effect::Throttle) => self.blame(rng, sequence, Blame::Throttled(None), request),
            Some(Effect::Deny) => self.blame(rng, sequence, Blame::Denied, request),
            Some(Effect::Error { code, status }) => {
                self.journal.outcome(sequence, &code);
                Answer::Reply(self.service.error(status, &code, uuid(rng)))
            }
            Some(Effect::ServerError { applied }) => {
                if applied {
                    self.apply(now, rng, sequence, request);
                }
                let refusal = self.service.blamed(Blame::Failed, request);
                Answer::Reply(self.service.reply(Err(&refusal), uuid(rng)))
            }
            Some(Effect::Hang { applied }) => {
                if applied {
                    self.apply(now, rng, sequence, request);
                }
                Answer::Hang
            }
            Some(Effect::LostReply) => {
                self.apply(now, rng, sequence, request);
                Answer::Close
            }
            Some(Effect::Late { after_seconds, after_requests, close }) => {
                let due = after_seconds.map(|seconds| now + Duration::from_secs(seconds.into()));
                let wait = after_requests.or_else(|| due.is_none().then_some(0));
                let count = wait.map(|requests| sequence.saturating_add(requests));
                self.late.push(Late { due, count, sequence, request: request.clone() });
                if close { Answer::Close } else { Answer::Hang }
            }
            Some(undoing @ (Effect::Undone | Effect::Altered)) => {
                let before = self.store.clone();
                let answer = self.reply(now, rng, sequence, request);
                if undoing == Effect::Undone {
                    self.store = before;
                } else {
                    self.service.alter(&mut self.store, &before);
                }
                answer
            }
            Some(Effect::Halt { when }) => {
                let answer = match when {
                    HaltPoint::BeforeEffect => Answer::Hang,
                    HaltPoint::AfterEffect => {
                        self.apply(now, rng, sequence, request);
                        Answer::Hang
                    }
                    HaltPoint::AfterReply => self.reply(now, rng, sequence, request),
                };
                let pending = (when == HaltPoint::BeforeEffect).then(|| request.clone());
                let operation = self.service.operation(request).to_owned();
                self.halted = Some(Halted { when, sequence, mutation, operation, hanging: 0, request: pending });
                answer
            }
        };
        if self.halted.is_none() {
            let count = self.journal.count();
            self.land(rng, |late| late.count.is_some_and(|due| due <= count));
        }
        answer
    }

    /// The answer to a request that is refused before it gets here, such as one with a wrong signature. It is not counted.
    pub fn turn_away(&self, rng: &mut dyn RngCore, refusal: &S::Refusal) -> S::Reply {
        self.service.reply(Err(refusal), uuid(rng))
    }

    /// `None`: the cloud runs.
    pub fn halted(&self) -> Option<&Halted<S::Request>> {
        self.halted.as_ref()
    }

    /// Ends a halt. With `apply`, a request that was halted before its effect takes effect now, and otherwise never. Its client gets no
    /// answer.
    pub fn resume(&mut self, now: Timestamp, rng: &mut dyn RngCore, apply: bool) {
        let Some(halted) = self.halted.take() else {
            return;
        };
        let now = self.tick(now, rng);
        if let Some(request) = halted.request.filter(|_| apply) {
            self.apply(now, rng, halted.sequence, &request);
        }
    }

    /// Lets every late request take effect now, whenever it was due. Nothing takes effect while the cloud is halted.
    pub fn land_late(&mut self, now: Timestamp, rng: &mut dyn RngCore) {
        self.tick(now, rng);
        if self.halted.is_none() {
            self.land(rng, |_| true);
        }
    }

    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    pub fn quotas(&mut self) -> &mut Buckets {
        &mut self.buckets
    }

    /// The buckets from which a request would take a token now.
    pub fn draws(&self, request: &S::Request) -> Vec<(String, &'static str)> {
        self.service.draws(&self.store, request)
    }

    /// Can be changed at any time.
    pub fn readings(&mut self) -> &mut S::Readings {
        self.service.readings()
    }

    pub fn service(&mut self) -> &mut S {
        &mut self.service
    }

    /// Sets how long a read may lag behind. Zero: not at all.
    pub fn set_consistency(&mut self, window: Duration) {
        self.consistency = window;
        self.past.clear();
    }

    /// Loses the imported material of a place, as after a failure of the whole place. Every read shows that at once.
    pub fn lose_imported_material(&mut self, now: Timestamp, rng: &mut dyn RngCore, place: &str) {
        let now = self.tick(now, rng);
        self.past.clear();
        self.service.lose(&mut self.store, now, place);
    }

    /// Everything that the cloud holds, as JSON. Times are microseconds since the epoch.
    pub fn dump(&mut self, now: Timestamp, rng: &mut dyn RngCore) -> Value {
        let now = self.tick(now, rng);
        self.service.dump(now, &self.store)
    }

    /// Serves what is due by time, and returns the time: `now`, or the latest time that was ever passed. While halted, late requests wait.
    pub fn tick(&mut self, now: Timestamp, rng: &mut dyn RngCore) -> Timestamp {
        self.now = self.now.max(now);
        let now = self.now;
        self.service.settle(&mut self.store, now, rng);
        if self.halted.is_none() {
            self.land(rng, |late| late.due.is_some_and(|due| due <= now));
        }
        now
    }

    /// Lets late requests take effect.
    fn land(&mut self, rng: &mut dyn RngCore, due: impl Fn(&Late<S::Request>) -> bool) {
        let (landing, waiting) = self.late.drain(..).partition(due);
        self.late = waiting;
        for Late { sequence, request, .. } in landing {
            self.apply(self.now, rng, sequence, &request);
        }
    }

    fn reply(&mut self, now: Timestamp, rng: &mut dyn RngCore, sequence: u64, request: &S::Request) -> Answer<S::Reply> {
        for (place, name) in self.service.draws(&self.store, request) {
            if !self.buckets.take_in(&place, name, now) {
                let wait = self.buckets.wait(&place, name);
                return self.blame(rng, sequence, Blame::Throttled(wait), request);
            }
        }
        let id = uuid(rng);
        let served = self.serve(now, rng, &id, sequence, request);
        Answer::Reply(self.service.reply(served.as_ref(), id))
    }

    /// Serves a request whose client gets no answer.
    fn apply(&mut self, now: Timestamp, rng: &mut dyn RngCore, sequence: u64, request: &S::Request) {
        let id = uuid(rng);
        // The journal records the result.
        let _ = self.serve(now, rng, &id, sequence, request);
    }

    fn blame(&mut self, rng: &mut dyn RngCore, sequence: u64, blame: Blame, request: &S::Request) -> Answer<S::Reply> {
        let refusal = self.service.blamed(blame, request);
        self.journal.outcome(sequence, &S::code(&refusal));
        Answer::Reply(self.service.reply(Err(&refusal), uuid(rng)))
    }

    fn serve(
        &mut self,
        now: Timestamp,
        rng: &mut dyn RngCore,
        id: &str,
        sequence: u64,
        request: &S::Request,
    ) -> Result<S::Output, S::Refusal> {
        let window = self.consistency;
        self.past.retain(|(changed, _)| *changed + window > now);
        let may_lag = self.service.may_lag(request) && !self.past.is_empty();
        let past = (may_lag && rng.next_u32() & 1 == 1).then(|| rng.next_u32() as usize % self.past.len());
        let before = (self.service.is_mutating(request) && !window.is_zero()).then(|| self.store.clone());

        let past = past.map(|index| &self.past[index].1);
        let served = self.service.serve(Call { now, rng, id }, &mut self.store, past, request);
        match &served {
            Ok(_) => self.journal.outcome(sequence, "ok"),
            Err(refusal) => self.journal.outcome(sequence, &S::code(refusal)),
        }
        if let Some(before) = before.filter(|_| served.is_ok()) {
            self.past.push_back((now, before));
            self.past.drain(..self.past.len().saturating_sub(MOST_PAST));
        }
        served
    }

    fn entry(&self, now: Timestamp, sequence: u64, mutation: Option<u64>, request: &S::Request, fault: Option<Effect>) -> Entry {
        let Noted { region, key_id, size, body, wrapped_material } = self.service.noted(request);
        Entry {
            sequence,
            mutation,
            at: now,
            operation: self.service.operation(request).to_owned(),
            region,
            key_id,
            size,
            wrapped_material: wrapped_material.map(hex::encode),
            body,
            fault,
            outcome: None,
        }
    }
}

/// A random UUID, version 4.
pub(crate) fn uuid(rng: &mut dyn RngCore) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    dashed(&hex::encode(bytes))
}

/// Writes a UUID of 32 digits as 8-4-4-4-12.
pub(crate) fn dashed(hex: &str) -> String {
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
