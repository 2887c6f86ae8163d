//! AWS KMS: one account in one region.
//!
//! Owns the rules of imported symmetric keys as the service model and the developer guide state them. Other key kinds
//! are refused with `UnsupportedOperationException`. Permissions are not modelled: a policy is checked for its form, kept
//! and given back, and allows everything.
//!
//! Consistency: a mutating request changes the state as it is. Within the window after a change, any other request may
//! be answered from a state before it.

mod alias;
mod answer;
mod crypt;
mod dump;
mod fields;
mod import;
mod key;
mod lifecycle;
mod marks;
mod operation;
mod page;
mod readings;
mod refusal;
mod rotation;

use std::{collections::VecDeque, time::Duration};

use rand_core::RngCore;
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::{
    answer::{Answer, Reply, Request},
    operation::Operation,
    readings::{
        ImportTokenUse, ImportWhileDisabled, MutationsSee, PolicyText, Readings, RepeatedPendingImport, RestoredDisabledKey, RotationsOrder,
    },
    refusal::{Code, Refusal},
};
use self::{
    fields::Fields,
    import::Wrappers,
    key::{LastUse, Store},
};
use crate::{
    Timestamp,
    crypto::{Crypto, Secret},
    fault::{Effect, Faults, HaltPoint},
    journal::{Entry, Journal},
    quota::Buckets,
};

/// Customer keys in a region (KMS Developer Guide, "Resource quotas").
// contract: aws.quota.resources
const PUBLISHED_MOST_KEYS: usize = 100_000;

/// How many earlier states are kept for stale reads.
const MOST_PAST: usize = 64;

/// What the emulated account is like.
#[derive(Clone, Debug)]
pub struct Config {
    /// For instance `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// How to read what AWS's documents leave open.
    pub readings: Readings,
    /// How long after a change a read may still show what was before it. Zero: never.
    pub consistency: Duration,
    /// How many keys fit into the account and region.
    pub most_keys: usize,
    /// Whether the dump shows key material.
    pub reveal_material: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            account: "111122223333".into(),
            readings: Readings::default(),
            consistency: Duration::ZERO,
            most_keys: PUBLISHED_MOST_KEYS,
            reveal_material: false,
        }
    }
}

impl Config {
    fn arn(&self, name: &str) -> String {
        format!("arn:aws:kms:{}:{}:{name}", self.region, self.account)
    }

    fn key_arn(&self, id: &str) -> String {
        self.arn(&format!("key/{id}"))
    }
}

/// The cloud has fallen silent.
#[derive(Clone, Debug, Serialize)]
pub struct Halted {
    /// Where in the life of the request.
    pub when: HaltPoint,
    /// The request's number among all.
    pub sequence: u64,
    /// The request's number among the mutating ones.
    pub mutation: Option<u64>,
    /// Its operation.
    pub operation: String,
    /// How many requests came since, and hang.
    pub hanging: u64,
    /// What [`Aws::resume`] can still let happen.
    #[serde(skip)]
    request: Option<Request>,
}

/// A request that will take effect without an answer.
struct Late {
    due: Option<Timestamp>,
    /// The number of requests after which it is due.
    count: Option<u64>,
    sequence: u64,
    request: Request,
}

/// AWS KMS in one account and region.
pub struct Aws {
    config: Config,
    crypto: Box<dyn Crypto>,
    store: Store,
    /// States before recent changes, each with the moment of the change; oldest first.
    past: VecDeque<(Timestamp, Store)>,
    wrappers: Wrappers,
    buckets: Buckets,
    faults: Faults,
    journal: Journal,
    late: Vec<Late>,
    halted: Option<Halted>,
    /// INVARIANT: time does not run backwards.
    now: Timestamp,
}

/// What serving one request needs besides the store.
struct Scope<'a> {
    now: Timestamp,
    config: &'a Config,
    crypto: &'a dyn Crypto,
    rng: &'a mut dyn RngCore,
    wrappers: &'a mut Wrappers,
    /// The keys that a cryptographic operation used.
    used: Vec<String>,
}

impl Aws {
    /// An account without keys, with the published quotas.
    pub fn new(config: Config, crypto: Box<dyn Crypto>, rng: &mut dyn RngCore) -> Self {
        Self {
            config,
            crypto,
            store: Store::default(),
            past: VecDeque::new(),
            wrappers: Wrappers::new(rng),
            buckets: Buckets::new(Operation::ALL.iter().map(|op| (op.quota(), op.published_quota()))),
            faults: Faults::default(),
            journal: Journal::default(),
            late: Vec::new(),
            halted: None,
            now: Timestamp::from_micros(0),
        }
    }

    /// Takes one request.
    ///
    /// Flow: let happen what is due by time; count and write down; decide on a fault; serve, or not; let happen what is
    /// due by count. While halted, every request hangs and is only counted in [`Halted::hanging`].
    pub fn handle(&mut self, now: Timestamp, rng: &mut dyn RngCore, request: &Request) -> Answer {
        if let Some(halted) = &mut self.halted {
            halted.hanging += 1;
            return Answer::Hang;
        }
        let now = self.tick(now, rng);

        let operation = Operation::from_name(&request.operation);
        let (sequence, mutation) = self.journal.number(operation.is_some_and(Operation::is_mutating));
        let effect = self.faults.decide(&request.operation, mutation);
        self.journal.push(entry(now, sequence, mutation, request, effect.clone()));

        let answer = match effect {
            None => self.reply(now, rng, sequence, request),
            Some(Effect::Throttle) => self.refuse(rng, sequence, &throttled()),
            Some(Effect::Deny) => {
                let message = format!("no policy allows `kms:{}`", request.operation);
                self.refuse(rng, sequence, &Code::AccessDenied.because(message))
            }
            Some(Effect::Error { code, status }) => {
                self.journal.outcome(sequence, &code);
                Answer::Reply(Reply::error(status, &code, "a fault was asked for", uuid(rng)))
            }
            Some(Effect::ServerError { applied }) => {
                if applied {
                    self.apply(now, rng, sequence, request);
                }
                Answer::Reply(Reply::refusal(&Code::Internal.because("a fault was asked for"), uuid(rng)))
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
                let operation = request.operation.clone();
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

    /// Refuses a request that the core never sees, such as one with a wrong signature. It is not counted.
    pub fn turn_away(rng: &mut dyn RngCore, refusal: &Refusal) -> Reply {
        Reply::refusal(refusal, uuid(rng))
    }

    /// Whether the cloud has fallen silent, and at which request.
    pub fn halted(&self) -> Option<&Halted> {
        self.halted.as_ref()
    }

    /// Ends a halt. The request that was halted before its effect takes effect now if `apply` says so, and never
    /// otherwise; its client gets no answer either way.
    pub fn resume(&mut self, now: Timestamp, rng: &mut dyn RngCore, apply: bool) {
        let Some(halted) = self.halted.take() else {
            return;
        };
        let now = self.tick(now, rng);
        if let Some(request) = halted.request.filter(|_| apply) {
            self.apply(now, rng, halted.sequence, &request);
        }
    }

    /// The rules for what goes wrong.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// The requests so far.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// The request quotas, by operation; `Cryptographic` for those that encrypt and decrypt.
    pub fn quotas(&mut self) -> &mut Buckets {
        &mut self.buckets
    }

    /// How open questions are read; may be changed at any time.
    pub fn readings(&mut self) -> &mut Readings {
        &mut self.config.readings
    }

    /// Changes how long a read may lag behind. Zero: not at all.
    pub fn set_consistency(&mut self, window: Duration) {
        self.config.consistency = window;
        self.past.clear();
    }

    /// Lets happen what is due by time, and says what time it is: `now`, or the latest time that was ever heard. While
    /// halted, late requests stay out.
    pub fn tick(&mut self, now: Timestamp, rng: &mut dyn RngCore) -> Timestamp {
        self.now = self.now.max(now);
        let now = self.now;
        self.store.settle(now);
        if self.halted.is_none() {
            self.land(rng, |late| late.due.is_some_and(|due| due <= now));
        }
        now
    }

    /// Lets late requests take effect.
    fn land(&mut self, rng: &mut dyn RngCore, due: impl Fn(&Late) -> bool) {
        let (landing, waiting) = self.late.drain(..).partition(due);
        self.late = waiting;
        for Late { sequence, request, .. } in landing {
            self.apply(self.now, rng, sequence, &request);
        }
    }

    /// Serves a request within the quotas and answers it.
    fn reply(&mut self, now: Timestamp, rng: &mut dyn RngCore, sequence: u64, request: &Request) -> Answer {
        if let Some(operation) = Operation::from_name(&request.operation)
            && !self.buckets.take(operation.quota(), now)
        {
            return self.refuse(rng, sequence, &throttled());
        }
        let id = uuid(rng);
        Answer::Reply(match self.serve(now, rng, &id, request) {
            Ok(output) => {
                self.journal.outcome(sequence, "ok");
                Reply::output(&output, id)
            }
            Err(refusal) => {
                self.journal.outcome(sequence, refusal.code.name());
                Reply::refusal(&refusal, id)
            }
        })
    }

    /// Serves a request that nobody waits for.
    fn apply(&mut self, now: Timestamp, rng: &mut dyn RngCore, sequence: u64, request: &Request) {
        let id = uuid(rng);
        let served = self.serve(now, rng, &id, request);
        self.journal.outcome(sequence, served.map_or_else(|refusal| refusal.code.name(), |_| "ok"));
    }

    fn refuse(&mut self, rng: &mut dyn RngCore, sequence: u64, refusal: &Refusal) -> Answer {
        self.journal.outcome(sequence, refusal.code.name());
        Answer::Reply(Reply::refusal(refusal, uuid(rng)))
    }

    fn serve(&mut self, now: Timestamp, rng: &mut dyn RngCore, id: &str, request: &Request) -> Result<Value, Refusal> {
        let operation = Operation::from_name(&request.operation)
            .ok_or_else(|| Code::UnknownOperation.because(format!("there is no operation `{}`", request.operation)))?;
        let members: Map<String, Value> =
            serde_json::from_slice(&request.body).map_err(|_| Code::Serialization.because("the body is not a JSON object"))?;
        let fields = Fields::new(&members);

        // The store that the request sees: the present one, or for a read perhaps one of the recent past.
        let window = self.config.consistency;
        self.past.retain(|(changed, _)| *changed + window > now);
        let may_lag = !operation.is_mutating() || self.config.readings.mutations_see == MutationsSee::RecentPast;
        let stale = (may_lag && !self.past.is_empty() && rng.next_u32() & 1 == 1).then(|| rng.next_u32() as usize % self.past.len());
        let before = (operation.is_mutating() && !window.is_zero()).then(|| self.store.clone());

        let Self { config, crypto, store, past, wrappers, .. } = self;
        let mut scope = Scope { now, config, crypto: crypto.as_ref(), rng, wrappers, used: Vec::new() };
        let answer = if operation.is_mutating() {
            if let Some(index) = stale {
                mutate(&mut scope, &mut past[index].1.clone(), operation, &fields)?;
            }
            mutate(&mut scope, store, operation, &fields)
        } else {
            read(&mut scope, stale.map_or(&*store, |index| &past[index].1), operation, &fields)
        }?;
        let event = uuid(scope.rng);
        for key in scope.used {
            let usage = LastUse { operation, at: now, event: event.clone(), request: id.to_owned() };
            store.change(&key, |key| key.last_use = Some(usage));
        }
        if let Some(before) = before {
            past.push_back((now, before));
            past.drain(..past.len().saturating_sub(MOST_PAST));
        }
        Ok(answer)
    }
}

/// INVARIANT: a refused request has changed nothing; each of these checks first and changes last.
fn mutate(scope: &mut Scope<'_>, store: &mut Store, operation: Operation, fields: &Fields<'_>) -> Result<Value, Refusal> {
    match operation {
        Operation::CancelKeyDeletion => lifecycle::cancel_deletion(scope, store, fields),
        Operation::CreateAlias => alias::create(scope, store, fields),
        Operation::CreateKey => lifecycle::create(scope, store, fields),
        Operation::DeleteAlias => alias::delete(scope, store, fields),
        Operation::DeleteImportedKeyMaterial => import::delete(scope, store, fields),
        Operation::DisableKey => lifecycle::switch(scope, store, fields, true),
        Operation::EnableKey => lifecycle::switch(scope, store, fields, false),
        Operation::DisableKeyRotation | Operation::EnableKeyRotation => rotation::automatic(scope, store, fields),
        Operation::ImportKeyMaterial => import::import(scope, store, fields),
        Operation::PutKeyPolicy => marks::put_policy(scope, store, fields),
        Operation::RotateKeyOnDemand => rotation::rotate(scope, store, fields),
        Operation::ScheduleKeyDeletion => lifecycle::schedule_deletion(scope, store, fields),
        Operation::TagResource => marks::tag(scope, store, fields),
        Operation::UntagResource => marks::untag(scope, store, fields),
        Operation::UpdateAlias => alias::update(scope, store, fields),
        other => read(scope, store, other, fields),
    }
}

fn read(scope: &mut Scope<'_>, store: &Store, operation: Operation, fields: &Fields<'_>) -> Result<Value, Refusal> {
    match operation {
        Operation::Decrypt => crypt::decrypt(scope, store, fields),
        Operation::DescribeKey => lifecycle::describe(scope, store, fields),
        Operation::Encrypt => crypt::encrypt(scope, store, fields),
        Operation::GenerateDataKey => crypt::data_key(scope, store, fields, true),
        Operation::GenerateDataKeyWithoutPlaintext => crypt::data_key(scope, store, fields, false),
        Operation::GetKeyLastUsage => lifecycle::last_usage(scope, store, fields),
        Operation::GetKeyPolicy => marks::get_policy(scope, store, fields),
        Operation::GetKeyRotationStatus => rotation::status(scope, store, fields),
        Operation::GetParametersForImport => import::parameters(scope, store, fields),
        Operation::ListAliases => alias::list(scope, store, fields),
        Operation::ListKeyPolicies => marks::list_policies(scope, store, fields),
        Operation::ListKeyRotations => rotation::list(scope, store, fields),
        Operation::ListKeys => lifecycle::list(scope, store, fields),
        Operation::ListResourceTags => marks::list_tags(scope, store, fields),
        Operation::ReEncrypt => crypt::re_encrypt(scope, store, fields),
        mutating => Err(Code::Internal.because(format!("`{}` is not a read", mutating.name()))),
    }
}

impl Scope<'_> {
    fn uuid(&mut self) -> String {
        uuid(self.rng)
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        nonce
    }

    fn secret(&mut self) -> Secret {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        Secret::new(bytes)
    }
}

/// A random UUID, version 4.
fn uuid(rng: &mut dyn RngCore) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    crypt::dashed(&hex::encode(bytes))
}

fn throttled() -> Refusal {
    Code::Throttling.because("you have exceeded the rate at which you may call KMS; reduce the frequency of your calls")
}

fn entry(now: Timestamp, sequence: u64, mutation: Option<u64>, request: &Request, fault: Option<Effect>) -> Entry {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let wrapped = text("EncryptedKeyMaterial").and_then(|wrapped| STANDARD.decode(wrapped).ok());
    Entry {
        sequence,
        mutation,
        at: now,
        operation: request.operation.clone(),
        key_id: text("KeyId").or_else(|| text("TargetKeyId")),
        size: request.body.len(),
        wrapped_material: wrapped.map(hex::encode),
        body,
        fault,
        outcome: None,
    }
}
