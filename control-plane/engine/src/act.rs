//! Carries out one attempt of a step: prepares the mutating request, records the attempt, sends the request, and handles a failure.

use keyplane_model::{
    Act, Attempt, AttemptId, Class, CopyRecord, Creation, Digest, Marks, ObjectId, ProblemCode, Span, Step, StepNo, Timestamp, Version,
    Wrap, WrapScheme,
};
use keyplane_port::{Acted, Cause, CloudError, LedgerError, Mutation, Refusal, WrapFor, WrapRequest, Wrapped, WrappingKey};

use crate::attempts::Attempts;
use crate::judgement::{Conflict, Seen};
use crate::lane::{Admission, Failure, pause};
use crate::lease::Renewing;
use crate::observe::{FRESH, Look, PACE};
use crate::progress::Event;
use crate::site::Site;
use crate::stop::Stop;
use crate::track::Track;

/// A mutation that is ready to be sent: its quotas are drawn, and what it imports is wrapped.
pub(crate) struct Ready {
    mutation: Mutation,
    admission: Admission,
    /// SHA-256 of the public key that an import is wrapped under. `None`: the step is no import.
    wrapped_under: Option<Digest>,
}

/// What an import carried. `None`: the mutation is no import.
fn to_send_again(mutation: Mutation, wrapped_under: Option<Digest>) -> Option<WrappedCopy> {
    match (mutation, wrapped_under) {
        (Mutation::Import { wrapping_key, wrapped, .. }, Some(wrapped_under)) => {
            Some(WrappedCopy { wrapping_key, wrapped: Wrapped { bytes: wrapped, wrapped_under } })
        }
        _ => None,
    }
}

/// A copy that was wrapped for an import. Another attempt can send it again, as long as its key is valid: a destination may give another
/// key at each asking, and the custodian wraps a step under few.
pub(crate) struct WrappedCopy {
    wrapping_key: WrappingKey,
    wrapped: Wrapped,
}

/// How much longer a wrapping key has to be valid to be used again: the clocks of server and cloud differ, and the request may wait for
/// quotas.
const MARGIN: Span = Span::seconds(300);

impl WrappedCopy {
    /// Whether the key is certainly valid for one more request. If the cloud does not say how long it is, it is asked again.
    fn is_valid(&self, now: Timestamp) -> bool {
        self.wrapping_key.valid_until.is_some_and(|until| now + MARGIN < until)
    }
}

/// Whether the destination certainly did not look at a request that failed like this, so that the same one may be sent again. Any other
/// refusal may be because of its wrapping key.
fn is_untouched(error: &CloudError) -> bool {
    match error.class {
        Class::Throttled => true,
        Class::Transient => match error.cause {
            // There was no connection, or nothing to sign the request with.
            Cause::Unreachable | Cause::Credentials => true,
            Cause::Plain | Cause::ImportTokenExpired | Cause::OtherMaterial | Cause::WrongHome => false,
        },
        Class::Ambiguous
        | Class::Stale
        | Class::NotFound
        | Class::AlreadyExists
        | Class::Denied
        | Class::Unsupported
        | Class::Invalid
        | Class::Broken => false,
    }
}

/// The mutation was not sent, because the look before it is too old.
fn outdated(operation: &'static str) -> CloudError {
    let message = format!("the last look was more than {FRESH} ago: it was not sent");
    CloudError { class: Class::Stale, cause: Cause::Plain, operation, message, retry_after: None }
}

/// Carries out the attempts of one step.
pub(crate) struct Actor<'a> {
    site: &'a Site<'a>,
    number: StepNo,
    step: &'a Step,
}

impl<'a> Actor<'a> {
    pub(crate) fn new(site: &'a Site<'a>, number: StepNo, step: &'a Step) -> Self {
        Self { site, number, step }
    }

    /// Does everything that comes before the mutating request, including the wait for its quotas. `ordinal`: the number of the attempt.
    /// `kept`: what the attempt before left.
    pub(crate) async fn prepare(&self, ordinal: u32, track: &Track, seen: &Seen, kept: Option<WrappedCopy>) -> Result<Ready, Stop> {
        let target = self.site.target.clone();
        let object = || track.object().cloned().ok_or_else(|| self.internal("a step without the object of the steps before"));
        let mut wrapped_under = None;
        let mutation = match &self.step.act {
            Act::Create => Mutation::Create { target, marks: self.marks(ordinal) },
            Act::Claim => Mutation::Claim { target, object: object()? },
            Act::Publish => Mutation::Publish { target, object: object()?, material: track.newest_material().map(str::to_owned) },
            Act::Prepare { version, scheme } => Mutation::Prepare { target, version: *version, scheme: *scheme },
            Act::DisableSurplus { object, material, .. } => Mutation::Disable { object: object.clone(), material: Some(material.clone()) },
            Act::RemoveSurplus { object } => {
                Mutation::ScheduleDeletion { object: object.clone(), material: None, days: self.site.capabilities().deletion_days }
            }
            Act::Import { version, scheme, .. } => {
                let object = if self.site.capabilities().creation == Creation::Imported { None } else { Some(object()?) };
                let copy = self.copy(track, *version)?;
                let kept = kept.filter(|kept| kept.is_valid(self.site.job.ports.clock.now()));
                let WrappedCopy { wrapping_key, wrapped } = match kept {
                    Some(kept) => kept,
                    None => self.wrap(copy, self.wrapping_key(track, object.as_ref(), *scheme).await?).await?,
                };
                let found = seen.placement.claimed.as_ref().and_then(|object| object.of_version(*version, track.public_key(self.step)));
                let again = found.and_then(|material| material.id.clone());
                let public_key = copy.public_key.clone();
                wrapped_under = Some(wrapped.wrapped_under);
                let (marks, version) = (self.marks(ordinal), *version);
                Mutation::Import { target, object, marks, again, version, public_key, wrapping_key, wrapped: wrapped.bytes }
            }
            Act::Mint { .. } | Act::Share { .. } | Act::FollowSecond { .. } => {
                return Err(self.internal("a step that sends no request to a cloud"));
            }
        };
        let admission = self.site.lane().admit(mutation.word()).await;
        Ok(Ready { mutation, admission, wrapped_under })
    }

    /// Waits until the mutation may follow the previous ones in its quotas. Returns whether the look is still fresh by then: preparing may
    /// have waited for quotas.
    pub(crate) async fn waits_its_turn(&self, ready: &Ready, look: &Look) -> bool {
        while look.is_fresh(self.site.uptime()) {
            match self.site.lane().gap(ready.mutation.word()) {
                Span::ZERO => return true,
                gap => self.site.sleep(gap).await,
            }
        }
        false
    }

    /// Makes one attempt: records it, sends the mutation if the lease and the look still allow it, and handles the reply. A refusal that
    /// may pass and a lost reply are no errors here; the next look shows what happened. Returns what the next attempt may send again.
    pub(crate) async fn attempt(
        &self,
        ready: Ready,
        look: &Look,
        track: &Track,
        attempts: &mut Attempts,
    ) -> Result<Option<WrappedCopy>, Stop> {
        let (job, ordinal) = (&self.site.job, attempts.next());
        let Ready { mutation, admission, wrapped_under } = ready;
        let id = self.attempt_id(ordinal);
        let at = job.ports.clock.now();
        let attempt = Attempt { id, step: self.number, ordinal, at, wrapped_under, refused: None };
        self.write_down(&attempt).await?;
        attempts.wrote(attempt, self.site.uptime());
        let key = &self.site.target.key;
        tracing::info!(%key, attempt = ordinal, "acts");
        job.progress.event(&Event::Acting { key, destination: self.site.destination(), act: self.step.act.word(), attempt: ordinal });
        let (error, untouched) = match self.may_send(&mutation, look).await {
            Err(unsent) => (unsent, true),
            Ok(()) => match self.send(&mutation, attempts).await {
                Ok(Acted::Created(object)) => {
                    attempts.name(object);
                    return Ok(None);
                }
                Ok(Acted::Done) => return Ok(None),
                Err(error) => {
                    let untouched = is_untouched(&error);
                    (error, untouched)
                }
            },
        };
        drop(admission);
        self.failed(&error, track, attempts).await?;
        Ok(if untouched { to_send_again(mutation, wrapped_under) } else { None })
    }

    /// Has a copy wrapped under this key.
    async fn wrap(&self, copy: &CopyRecord, wrapping_key: WrappingKey) -> Result<WrappedCopy, Stop> {
        let job = &self.site.job;
        let wrap = Wrap { step: self.number, wrapped_under: Digest::of(&wrapping_key.spki), at: job.ports.clock.now() };
        self.write_wrap(&wrap).await?;
        let copy = CopyRecord { coordinates: copy.bound(), ..copy.clone() };
        let request = WrapRequest { step: self.number, copy, wrapping_key };
        let wrapped = job.ports.custodian.wrap(job.warrant, &request).await;
        let wrapped = wrapped.map_err(|error| job.custodian(&error, self.site.destination()))?;
        Ok(WrappedCopy { wrapping_key: request.wrapping_key, wrapped })
    }

    /// Records in the ledger under which key bytes are about to be wrapped.
    ///
    /// INVARIANT: the ledger knows it before the custodian is asked. So if the custodian has a wrap on record that the ledger does not know,
    /// somebody else asked for it.
    async fn write_wrap(&self, wrap: &Wrap) -> Result<(), Stop> {
        let job = &self.site.job;
        let fence = self.site.keep().await?;
        self.written(job.ports.ledger.wrap(&job.record.digest, wrap, Some(fence), job.asked()).await)
    }

    /// Records an attempt in the ledger.
    ///
    /// INVARIANT: only the server that recorded the attempt sends its request.
    async fn write_down(&self, attempt: &Attempt) -> Result<(), Stop> {
        let job = &self.site.job;
        // Preparing may have taken longer than the lease.
        let fence = self.site.keep().await?;
        self.written(job.ports.ledger.attempt(&job.record.digest, attempt, Some(fence), job.asked()).await)
    }

    /// Stops if the ledger holds another server's attempt or receipt in that place.
    fn written(&self, result: Result<(), LedgerError>) -> Result<(), Stop> {
        match result {
            Ok(()) => Ok(()),
            Err(LedgerError::Refused(Refusal::Contradiction)) => {
                let detail = format!("another server is at work on the same step ({})", self.step.act.word());
                Err(self.site.stop(ProblemCode::ChangeSetStale, detail, "keyplane apply"))
            }
            Err(error) => Err(self.site.job.ledger(&error)),
        }
    }

    /// Whether the mutating request may still be sent. Otherwise nothing was sent.
    ///
    /// INVARIANT: it is not sent if it could outlast the lease, or if the look is no longer fresh. Both are checked last, since the machine
    /// may have been suspended before.
    async fn may_send(&self, mutation: &Mutation, look: &Look) -> Result<(), CloudError> {
        self.site.hold.outlasts(mutation.word()).await?;
        if look.is_fresh(self.site.uptime()) { Ok(()) } else { Err(outdated(mutation.word())) }
    }

    /// Sends the mutating request, once.
    async fn send(&self, mutation: &Mutation, attempts: &mut Attempts) -> Result<Acted, CloudError> {
        attempts.send(self.site.uptime());
        self.site.lane().act(mutation).await
    }

    /// Handles a failed mutation: decides whether to look again, and pauses first where the cloud needs time.
    async fn failed(&self, error: &CloudError, track: &Track, attempts: &mut Attempts) -> Result<(), Stop> {
        let job = &self.site.job;
        let problem = self.site.problem(error);
        // Whether another attempt can help now.
        let again = match error.class {
            Class::Transient | Class::Throttled | Class::Ambiguous | Class::Stale | Class::AlreadyExists => true,
            // The effect of the step before may not be visible in every part of the cloud yet.
            Class::NotFound => {
                let visible = track.visible(self.site.capabilities().settling_time());
                visible.is_some_and(|visible| self.site.uptime() < visible)
            }
            Class::Denied | Class::Unsupported | Class::Invalid | Class::Broken => false,
        };
        if error.class != Class::Ambiguous
            && let Some(id) = attempts.last()
        {
            match job.ports.ledger.refused(&job.record.digest, id, error.class, job.asked()).await {
                Ok(()) => attempts.refuse(error.class),
                // Another server confirmed this attempt's effect as its own; the next look shows it.
                Err(LedgerError::Refused(Refusal::Contradiction)) => {}
                Err(error) => return Err(job.ledger(&error)),
            }
        }
        if error.class == Class::Ambiguous {
            // The next look shows its effect, and also checks whether the attempts are spent.
            attempts.lose(problem.detail.clone());
        } else if !again || attempts.spent(self.site.uptime()).is_some() {
            return Err(Stop::Held(problem));
        }
        let key = &self.site.target.key;
        tracing::info!(%key, class = %error.class, "refused or ambiguous: looks again");
        job.progress.event(&Event::Again { key, destination: self.site.destination(), problem: &problem });
        // The cloud refused it because of a state that it does not show everywhere yet; that takes time.
        if error.class != Class::Ambiguous {
            self.site.sleep(pause(attempts.tried(), error)).await;
        }
        Ok(())
    }

    /// The public key to wrap under: the prepared one, or one that the destination gives for the object.
    async fn wrapping_key(&self, track: &Track, object: Option<&ObjectId>, scheme: WrapScheme) -> Result<WrappingKey, Stop> {
        let (from, made) = match (track.wrapping(), object) {
            (Some((wrapping, at)), _) => (WrapFor::Prepared(wrapping.clone()), Some(at)),
            (None, Some(object)) => (WrapFor::Object(object.clone()), None),
            (None, None) => return Err(self.internal("an import without a key to wrap under")),
        };
        let visible = made.map(|at| at + self.site.capabilities().settling_time());
        loop {
            let failure = match self.site.lane().wrapping_key(&from, scheme, &Renewing(&self.site.hold)).await {
                Ok(found) => return Ok(found),
                Err(failure) => failure,
            };
            match (&failure, &from) {
                // It was seen a moment ago, so a read that does not show it proves nothing yet.
                (Failure::Call(error), _) if error.class == Class::NotFound && visible.is_some_and(|at| self.site.uptime() < at) => {
                    self.site.sleep(PACE.1).await;
                }
                // The wrapping key is part of what was approved, so another one needs another change set.
                (Failure::Call(error), WrapFor::Prepared(wrapping))
                    if error.cause == Cause::ImportTokenExpired || error.class == Class::NotFound =>
                {
                    return Err(self.site.conflict(&Conflict::WrappingKeyGone(wrapping.clone())));
                }
                _ => return Err(self.site.unread(&failure)),
            }
        }
    }

    fn copy<'t>(&self, track: &'t Track, version: Version) -> Result<&'t CopyRecord, Stop> {
        track.copy(version).ok_or_else(|| {
            let detail = format!("the ledger has no copy of version {version} for placement {}", self.site.target.placement);
            self.site.stop(ProblemCode::DatabaseBroken, detail, "keyplane status")
        })
    }

    fn attempt_id(&self, ordinal: u32) -> AttemptId {
        AttemptId::of(&self.site.job.record.digest, self.number.0, ordinal)
    }

    fn marks(&self, ordinal: u32) -> Marks {
        let target = &self.site.target;
        Marks {
            installation: target.installation,
            placement: target.placement,
            incarnation: target.incarnation,
            attempt: self.attempt_id(ordinal),
        }
    }

    fn internal(&self, detail: &str) -> Stop {
        self.site.stop(ProblemCode::Internal, detail, "keyplane status")
    }
}
