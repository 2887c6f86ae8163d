//! One step of one placement: look, attempt, act, confirm, receipt; each durable before the next.

use keyplane_model::{
    Act, Attempt, AttemptId, ChangeSetRecord, Class, CopyCoordinates, CopyRecord, Creation, Digest, Fence, Marks, ObjectId, Outcome,
    PlacementId, PlacementPlan, Presence, Problem, ProblemCode, Receipt, Source, Span, Step, StepNo, Target, Version,
};
use keyplane_port::{Acted, Cause, CloudError, CustodianError, LedgerError, MintRequest, Mutation, Refusal, Warrant, WrapFor, WrapRequest};

use crate::judgement::{Decision, Known, Misfit, Seen, decide};
use crate::lane::{READ_TRIES, is_passing, pause};
use crate::progress::{Event, Progress};
use crate::{Engine, Lane};

/// Why a placement's steps do not go on.
pub(crate) enum Stop {
    /// The change set does not fit the world: it is dropped.
    Misfit(Problem),
    /// Something stands in the way: the change set stays committed, and the next run goes on.
    Held(Problem),
}

/// A placement on its way through its steps.
pub(crate) struct Track<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) lane: &'a Lane,
    /// By which right it works at the lane; `None`: it does not, and only makes bytes.
    pub(crate) fence: Option<Fence>,
    pub(crate) record: &'a ChangeSetRecord,
    pub(crate) warrant: &'a Warrant,
    pub(crate) placement: PlacementId,
    pub(crate) plan: &'a PlacementPlan,
    pub(crate) progress: &'a dyn Progress,
    /// The object that the steps so far made or claimed, and since which uptime that is known.
    pub(crate) object: Option<(ObjectId, Span)>,
    /// The wrapping key that the steps so far had made, and since which uptime that is known.
    pub(crate) wrapping: Option<(ObjectId, Span)>,
    /// The copies of the placement, as the ledger had them after the prologue, and what the steps since made of them.
    pub(crate) copies: Vec<CopyRecord>,
    /// What the last step's last look showed: while it is fresh, the next step does not ask again.
    pub(crate) last: Option<Look>,
}

/// What direct reads showed, and at which uptime they began.
pub(crate) struct Look {
    at: Span,
    seen: Seen,
}

/// A mutation is sent only if a read at most so old showed the expected state (rule 4: "a few seconds").
const FRESH: Span = Span::seconds(3);

/// How many attempts of one step one run makes. A step that still fails then needs a person, or a later run.
const ATTEMPTS: u32 = 6;

/// Whether a step comes before its placement's way to the cloud: bytes are made, and shared, before anything is imported.
pub(crate) fn is_prologue(act: &Act) -> bool {
    matches!(act, Act::Mint { .. } | Act::Share { .. })
}

/// For how long one run waits for a destination that is at work on an import. Google Cloud takes minutes at its slowest.
const PATIENCE: Span = Span::seconds(600);

/// The pause before it is asked again whether a destination is still at work: it doubles from the first to the second.
const WORK: (Span, Span) = (Span::seconds(1), Span::seconds(16));

/// The pause between reads that wait for something to appear is between these, whatever the consistency bound.
const PACE: (Span, Span) = (Span::millis(50), Span::seconds(1));

/// Whether an outcome is that something is there. What a clean-up does is that something is *not* there any more.
fn is_found(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Created { .. } | Outcome::Claimed { .. } | Outcome::Prepared { .. } | Outcome::Imported { .. } | Outcome::Published => {
            true
        }
        Outcome::Minted { .. }
        | Outcome::Shared { .. }
        | Outcome::SurplusRemoved { .. }
        | Outcome::SurplusDisabled { .. }
        | Outcome::SecondFollowed { .. } => false,
    }
}

/// A mutation that was not sent, because what it rests on was seen too long ago.
fn outdated(operation: &'static str) -> CloudError {
    let message = format!("the last look was more than {FRESH} ago: it was not sent");
    CloudError { class: Class::Stale, cause: Cause::Plain, operation, message, retry_after: None }
}

impl Look {
    /// Whether it shows an object too, where a step is about one.
    fn shows(&self, about: Option<&ObjectId>) -> bool {
        about.is_none_or(|about| self.seen.object.as_ref().is_some_and(|seen| seen.object == *about))
    }
}

/// What one run of a step at a cloud came to so far. Moments are the server's uptime.
struct Course {
    attempts: Vec<Attempt>,
    /// How many of them other runs made.
    before: usize,
    began: Span,
    /// When the last attempt was sent; of one that another run made, when this one heard of it.
    sent: Span,
    /// What a reply said that it made.
    made: Option<ObjectId>,
    /// What is sent next, with the digest of the key that it is wrapped under.
    ready: Option<(Mutation, Option<Digest>)>,
    /// Whether the next look sweeps the destination.
    sweep: bool,
    /// Whether sweeps were conclusive that no earlier attempt made anything there. What later ones show counts all the same.
    searched: bool,
    last: Option<Look>,
}

impl Course {
    fn begin(attempts: Vec<Attempt>, last: Option<Look>, now: Span) -> Self {
        let before = attempts.len();
        Self { attempts, before, began: now, sent: now, made: None, ready: None, sweep: false, searched: false, last }
    }

    /// The last attempt that may have had its effect.
    fn open(&self) -> Option<&Attempt> {
        self.attempts.iter().rfind(|attempt| attempt.refused.is_none())
    }

    /// How many attempts this run made.
    fn tried(&self) -> u32 {
        u32::try_from(self.attempts.len() - self.before).unwrap_or(u32::MAX)
    }
}

impl Track<'_> {
    /// Takes in the receipt of an earlier step. What another server wrote may have become true just before it was read.
    pub(crate) fn remember(&mut self, receipt: &Receipt) {
        let now = self.engine.clock.uptime();
        match &receipt.outcome {
            Outcome::Created { object } | Outcome::Claimed { object } => self.object = Some((object.clone(), now)),
            Outcome::Prepared { wrapping } => self.wrapping = Some((wrapping.clone(), now)),
            Outcome::Imported { version, object, material, .. } => {
                if let Some(object) = object {
                    self.object = Some((object.clone(), now));
                }
                if let Some((_, at)) = &mut self.object {
                    *at = now;
                }
                if let Some(copy) = self.copies.iter_mut().find(|copy| copy.coordinates.version == *version) {
                    copy.material.clone_from(material);
                    copy.imported = Some(receipt.at);
                }
            }
            Outcome::Published => {
                if let Some((_, at)) = &mut self.object {
                    *at = now;
                }
            }
            // The prologue's: what it made is read from the ledger again.
            Outcome::Minted { .. }
            | Outcome::Shared { .. }
            | Outcome::SurplusRemoved { .. }
            | Outcome::SurplusDisabled { .. }
            | Outcome::SecondFollowed { .. } => {}
        }
    }

    /// What log lines about a step carry.
    pub(crate) fn span(&self, number: StepNo, step: &Step) -> tracing::Span {
        tracing::info_span!("step", number = number.0, act = step.act.word(), lane = %self.plan.destination)
    }

    /// Brings a step to its receipt.
    pub(crate) async fn run(&mut self, number: StepNo, step: &Step) -> Result<(), Stop> {
        let receipt = match &step.act {
            Act::Mint { version, source, epoch } => {
                let coordinates = CopyCoordinates {
                    installation: self.record.change_set.installation,
                    key: self.record.change_set.key_id,
                    version: *version,
                    placement: self.placement,
                    algorithm: self.plan.algorithm,
                    source: *source,
                    epoch: *epoch,
                };
                self.mint(number, coordinates).await?
            }
            // The ledger's own business: nothing outside of it changes.
            Act::Share { from, .. } => {
                Receipt { step: number, attempt: None, outcome: Outcome::Shared { from: *from }, at: self.engine.clock.now() }
            }
            Act::Create
            | Act::Claim
            | Act::Prepare { .. }
            | Act::Import { .. }
            | Act::Publish
            | Act::RemoveSurplus { .. }
            | Act::DisableSurplus { .. }
            | Act::FollowSecond { .. } => {
                // A wrapping key is looked at by itself.
                let last = if matches!(step.act, Act::Prepare { .. }) { None } else { self.last.take() };
                let (receipt, look) = self.cloud(number, step, last).await?;
                if look.seen.prepared.is_none() {
                    self.last = Some(look);
                }
                receipt
            }
        };
        let fence = if is_prologue(&step.act) { None } else { Some(self.keep().await?) };
        let receipt = match self.engine.ledger.receive(&self.record.digest, &receipt, fence.as_ref()).await {
            Ok(()) => receipt,
            Err(LedgerError::Refused(Refusal::Contradiction)) => {
                self.last = None;
                self.theirs(number, receipt, fence.as_ref()).await?
            }
            Err(error) => return Err(self.ledger(&error)),
        };
        self.remember(&receipt);
        tracing::info!(key = %self.record.change_set.key, found = receipt.attempt.is_none(), "confirmed");
        self.progress.event(&Event::Received {
            key: &self.record.change_set.key,
            destination: &self.plan.destination,
            act: step.act.word(),
            found: receipt.attempt.is_none() && !is_prologue(&step.act),
        });
        Ok(())
    }

    /// The receipt of another server that works on the same change set and was faster: what it wrote is what counts. If it only
    /// knows that our attempt had no effect, what was seen was found, whoever did it.
    async fn theirs(&self, number: StepNo, ours: Receipt, fence: Option<&Fence>) -> Result<Receipt, Stop> {
        let record = self.engine.ledger.change_set(&self.record.digest).await.map_err(|error| self.ledger(&error))?;
        if let Some(theirs) = record.and_then(|record| record.receipts.get(&number).cloned()) {
            return Ok(theirs);
        }
        let found = Receipt { attempt: None, ..ours };
        self.engine.ledger.receive(&self.record.digest, &found, fence).await.map_err(|error| self.ledger(&error))?;
        Ok(found)
    }

    /// Minting has no effect outside of its receipt: a crash before it leaves nothing that anybody uses.
    async fn mint(&self, number: StepNo, coordinates: CopyCoordinates) -> Result<Receipt, Stop> {
        let request = MintRequest { step: number, coordinates: coordinates.clone() };
        let minted = self.engine.custodian.mint(self.warrant, &request).await.map_err(|error| self.custodian(&error))?;
        let outcome = Outcome::Minted { coordinates, check_value: minted.check_value, blob: minted.blob, public_key: minted.public_key };
        Ok(Receipt { step: number, attempt: None, outcome, at: self.engine.clock.now() })
    }

    /// A step at a cloud.
    ///
    /// # Flow
    /// Look until the decision about what is seen is certain; do what it says; after acting, look again: the reply alone
    /// is never believed. The race that remains (somebody changes the object between the last look and the request) is detected
    /// by the reads that confirm. The look that confirmed one step is the next one's first, as long as it is fresh: `last`.
    async fn cloud(&self, number: StepNo, step: &Step, last: Option<Look>) -> Result<(Receipt, Look), Stop> {
        let target = self.target();
        let clock = &self.engine.clock;
        let mut course = Course::begin(self.record.attempts_of(number).cloned().collect(), last, clock.uptime());
        loop {
            let (decision, known, look) = self.certain(step, &target, &mut course).await?;
            match decision {
                Decision::Done(outcome) => {
                    let open = course.open();
                    let outcome = match outcome {
                        Outcome::Imported { version, object, material, .. } => {
                            Outcome::Imported { version, object, material, wrapped_under: open.and_then(|attempt| attempt.wrapped_under) }
                        }
                        other => other,
                    };
                    return Ok((Receipt { step: number, attempt: open.map(|attempt| attempt.id), outcome, at: clock.now() }, look));
                }
                Decision::Misfit(misfit) => return Err(self.misfit(&misfit, &target)),
                Decision::Act => {}
                Decision::Wait(_) | Decision::AtWork | Decision::Sweep => continue,
            }
            // An import that the destination took and could not use ends without an error; it is not repeated for ever.
            if let Some(reason) = self.refusal(step, &look.seen, known)
                && course.tried() >= ATTEMPTS
            {
                let detail = format!("the destination took the import and could not use it: {reason}");
                return Err(Stop::Held(self.problem(ProblemCode::DestinationRefused, detail, "keyplane hsm test")));
            }
            let ordinal = u32::try_from(course.attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
            let (mutation, wrapped_under) = match course.ready.take() {
                Some(ready) => ready,
                None => self.prepare(number, step, &target, ordinal, &look.seen, known).await?,
            };
            if !self.waits_its_turn(mutation.word(), look.at).await {
                course.ready = Some((mutation, wrapped_under));
                continue;
            }
            let id = AttemptId::of(&self.record.digest, number.0, ordinal);
            let attempt = Attempt { id, step: number, ordinal, at: clock.now(), wrapped_under, refused: None };
            self.write_down(step, &attempt).await?;
            course.attempts.push(attempt);
            course.searched = false;
            tracing::info!(key = %target.key, attempt = ordinal, "acts");
            self.event(&Event::Acting { key: &target.key, destination: &self.plan.destination, act: step.act.word(), attempt: ordinal });
            let acted = match self.engine.outlasted(self.lane, mutation.word()).await {
                // The machine may have stood still since.
                Ok(()) if clock.uptime() - look.at > FRESH => Err(outdated(mutation.word())),
                Ok(()) => {
                    course.sent = clock.uptime();
                    self.lane.act(mutation).await
                }
                Err(error) => Err(error),
            };
            match acted {
                Ok(Acted::Created(object)) => course.made = Some(object),
                Ok(Acted::Done) => {}
                Err(error) => {
                    let tried = course.tried();
                    self.failed(&error, tried, course.attempts.last_mut()).await?;
                }
            }
        }
    }

    /// Looks until it is certain what to do. What is found is certain at once; everything that follows from *not* finding something is
    /// after several equal reads that began when no earlier attempt could take effect any more.
    async fn certain(&self, step: &Step, target: &Target, course: &mut Course) -> Result<(Decision, Known<'_>, Look), Stop> {
        let capabilities = &self.lane.destination().capabilities;
        let clock = &self.engine.clock;
        let pace = capabilities.consistency.divided_by(capabilities.equal_reads).clamp(PACE.0, PACE.1);
        let mut streak: Option<(Decision, u32)> = None;
        let mut work = WORK.0;
        loop {
            self.keep().await?;
            let about = self.about(step, course.made.as_ref());
            let last = course.last.take().filter(|last| clock.uptime() - last.at <= FRESH && last.shows(about));
            let mut look = match last {
                Some(last) => last,
                None => Look { at: clock.uptime(), seen: self.look(step, target, about, course.sweep).await? },
            };
            if !course.sweep {
                look.seen.swept = if course.searched { self.lane.last_sweep() } else { None };
            }
            let open = course.open().is_some();
            let known = Known {
                creation: capabilities.creation,
                public_key: self.public_key(step),
                material: self.newest_material(),
                made: course.made.is_some(),
                settles: open.then(|| course.sent + capabilities.settling_time()),
                visible: self.visible().unwrap_or(look.at),
                unheard_of: course.attempts.is_empty() && self.drawn_here(step),
                looked: look.at,
            };
            let decision = match (decide(&step.act, target, &look.seen, known), known.settles) {
                // What was made a moment ago may be listed before it can be read.
                (Decision::Sweep, Some(settles)) if course.sweep && look.at < settles => Decision::Wait(settles),
                (decision, _) => decision,
            };
            match &decision {
                Decision::Wait(until) => {
                    streak = None;
                    let left = *until - look.at;
                    let why = if open { "an earlier attempt may still take effect" } else { "the step before is not visible yet" };
                    self.event(&Event::Waiting {
                        key: &target.key,
                        destination: &self.plan.destination,
                        act: step.act.word(),
                        until: clock.now() + left,
                        why,
                    });
                    // A sweep reads the whole destination: it is not repeated to pass the time.
                    clock.sleep(if course.sweep { left } else { left.min(pace) }).await;
                    continue;
                }
                Decision::AtWork if look.at - course.began < PATIENCE => {
                    streak = None;
                    clock.sleep(work).await;
                    work = (work + work).min(WORK.1);
                    continue;
                }
                Decision::AtWork => {
                    let detail = "the destination is still at work on it";
                    return Err(Stop::Held(self.problem(ProblemCode::DestinationAmbiguous, detail, "keyplane apply")));
                }
                Decision::Sweep if !course.sweep => {
                    course.sweep = true;
                    continue;
                }
                Decision::Sweep => {
                    let detail = "not every object could be read, so that it is unknown whether an earlier attempt made one";
                    return Err(Stop::Held(self.problem(ProblemCode::DestinationAmbiguous, detail, "keyplane apply")));
                }
                Decision::Done(_) | Decision::Act | Decision::Misfit(_) => {}
            }
            let count = match &streak {
                Some((last, count)) if *last == decision => count + 1,
                _ => 1,
            };
            streak = Some((decision.clone(), count));
            let needed = match &decision {
                // The first attempt may begin after one look: nothing of ours can be there yet, and whoever was faster shows
                // in the reads that confirm.
                Decision::Act if !open => 1,
                Decision::Done(outcome) if !course.sweep && is_found(outcome) => 1,
                _ => capabilities.equal_reads.max(1),
            };
            if count < needed {
                if capabilities.consistency > Span::ZERO {
                    clock.sleep(pace).await;
                }
                continue;
            }
            // A sweep takes longer than a look stays fresh. What it showed stays true: nothing that was tried before can come any more.
            if course.sweep && decision == Decision::Act {
                (course.sweep, course.searched) = (false, true);
                continue;
            }
            return Ok((decision, known, look));
        }
    }

    /// Waits until a mutation is not too close to those before it; whether the look that it rests on is still fresh then. Preparing may
    /// have waited for quotas.
    async fn waits_its_turn(&self, word: &'static str, looked: Span) -> bool {
        let clock = &self.engine.clock;
        while clock.uptime() - looked <= FRESH {
            match self.lane.gap(word) {
                Span::ZERO => return true,
                gap => clock.sleep(gap).await,
            }
        }
        false
    }

    /// Makes an attempt durable.
    async fn write_down(&self, step: &Step, attempt: &Attempt) -> Result<(), Stop> {
        // Preparing may have taken its time.
        let fence = self.keep().await?;
        match self.engine.ledger.attempt(&self.record.digest, attempt, Some(&fence)).await {
            Ok(()) => Ok(()),
            // INVARIANT: whoever writes the attempt down first is the only one who makes it.
            Err(LedgerError::Refused(Refusal::Contradiction)) => {
                let detail = format!("another server is at work on the same step ({})", step.act.word());
                Err(Stop::Held(self.problem(ProblemCode::ChangeSetStale, detail, "keyplane apply")))
            }
            Err(error) => Err(self.ledger(&error)),
        }
    }

    /// The right to work at the lane, for as long as a call takes. Where it is another one than the track began with, another server
    /// may have worked there meanwhile: what is known here is old.
    async fn keep(&self) -> Result<Fence, Stop> {
        let kept = self.engine.keep(self.lane, self.progress).await;
        let kept = kept.map_err(|problem| Stop::Held(problem.key(&self.record.change_set.key)))?;
        if self.fence.as_ref() == Some(&kept) {
            return Ok(kept);
        }
        let detail = "another server had the lane for a while";
        Err(Stop::Held(self.problem(ProblemCode::LaneBusy, detail, "keyplane apply")))
    }

    /// From which uptime on the effect of the step before has to be visible; `None`: there was none.
    fn visible(&self) -> Option<Span> {
        self.object.as_ref().map(|(_, at)| *at + self.lane.destination().capabilities.settling_time())
    }

    /// The digest of the public key of the copy that a step imports.
    fn public_key(&self, step: &Step) -> Option<Digest> {
        let Act::Import { version, .. } = &step.act else { return None };
        Some(self.copies.iter().find(|copy| copy.coordinates.version == *version)?.public_key.as_ref()?.digest())
    }

    /// Why the destination could not use what was imported last.
    fn refusal(&self, step: &Step, seen: &Seen, known: Known<'_>) -> Option<String> {
        let Act::Import { version, .. } = &step.act else { return None };
        match &seen.placement.claimed.as_ref()?.of_version(*version, known.public_key)?.presence {
            Presence::Failed(reason) => Some(reason.clone()),
            Presence::Present | Presence::Arriving | Presence::Missing | Presence::Disabled | Presence::Leaving => None,
        }
    }

    /// Whether this change set draws the bytes that a step imports. Derived bytes are the same whoever derives them.
    fn drawn_here(&self, step: &Step) -> bool {
        let Act::Import { version, .. } = &step.act else { return false };
        self.record
            .change_set
            .steps_of(self.placement)
            .any(|(_, other)| matches!(&other.act, Act::Mint { version: minted, source: Source::Generated, .. } if minted == version))
    }

    /// The object that a step is about beside its placement's; of [`Act::Prepare`], the wrapping key that was made.
    fn about<'o>(&'o self, step: &'o Step, made: Option<&'o ObjectId>) -> Option<&'o ObjectId> {
        match &step.act {
            Act::Create | Act::Prepare { .. } => made,
            Act::Claim => self.object.as_ref().map(|(object, _)| object),
            Act::RemoveSurplus { object } => Some(object),
            Act::Mint { .. }
            | Act::Share { .. }
            | Act::Import { .. }
            | Act::Publish
            | Act::DisableSurplus { .. }
            | Act::FollowSecond { .. } => None,
        }
    }

    /// What was seen for a step, in fresh reads.
    async fn look(&self, step: &Step, target: &Target, about: Option<&ObjectId>, sweep: bool) -> Result<Seen, Stop> {
        if let Act::Prepare { version, .. } = &step.act {
            let prepared = self.lane.prepared(target, *version, about).await.map_err(|error| self.held(&error))?;
            return Ok(Seen { prepared, ..Seen::default() });
        }
        let placement = self.lane.look(target).await.map_err(|error| self.held(&error))?;
        let object = match (about, &placement.claimed) {
            // It was just read.
            (Some(object), Some(claimed)) if claimed.object == *object => Some(claimed.clone()),
            (Some(object), _) => self.lane.inspect(object).await.map_err(|error| self.held(&error))?,
            (None, _) => None,
        };
        let swept = if sweep {
            let (swept, complete) = self.lane.sweep().await.map_err(|error| self.held(&error))?;
            complete.then_some(swept)
        } else {
            None
        };
        Ok(Seen { placement, object, swept, prepared: None })
    }

    /// Everything that has to be done before the mutating request can be sent, quotas included. With an import comes the
    /// digest of the public key that it is wrapped under.
    async fn prepare(
        &self,
        number: StepNo,
        step: &Step,
        target: &Target,
        ordinal: u32,
        seen: &Seen,
        known: Known<'_>,
    ) -> Result<(Mutation, Option<Digest>), Stop> {
        let object = || {
            self.object.as_ref().map(|(object, _)| object.clone()).ok_or_else(|| {
                Stop::Held(self.problem(ProblemCode::Internal, "a step without the object of the steps before", "keyplane status"))
            })
        };
        let marks = Marks {
            installation: target.installation,
            placement: target.placement,
            incarnation: target.incarnation,
            attempt: AttemptId::of(&self.record.digest, number.0, ordinal),
        };
        let mut wrapped_under = None;
        let mutation = match &step.act {
            Act::Create => Mutation::Create { target: target.clone(), marks },
            Act::Claim => Mutation::Claim { target: target.clone(), object: object()? },
            Act::Publish => {
                Mutation::Publish { target: target.clone(), object: object()?, material: self.newest_material().map(str::to_owned) }
            }
            Act::Prepare { version, scheme } => Mutation::Prepare { target: target.clone(), version: *version, scheme: *scheme },
            Act::DisableSurplus { object, material, .. } => Mutation::Disable { object: object.clone(), material: Some(material.clone()) },
            Act::RemoveSurplus { object } => Mutation::ScheduleDeletion {
                object: object.clone(),
                material: None,
                days: self.lane.destination().capabilities.deletion_days,
            },
            Act::Import { version, scheme, .. } => {
                let object = if known.creation == Creation::Imported { None } else { Some(object()?) };
                let copy = self.copy(*version)?;
                let wrapping_key = self.wrapping_key(object.as_ref(), *scheme, target).await?;
                let found = seen.placement.claimed.as_ref().and_then(|object| object.of_version(*version, known.public_key));
                let again = found.and_then(|material| material.id.clone());
                let public_key = copy.public_key.clone();
                let copy = CopyRecord { coordinates: copy.bound(), ..copy };
                let request = WrapRequest { step: number, copy, wrapping_key: wrapping_key.clone() };
                let wrapped = self.engine.custodian.wrap(self.warrant, &request).await.map_err(|error| self.custodian(&error))?;
                wrapped_under = Some(wrapped.wrapped_under);
                let (target, version) = (target.clone(), *version);
                Mutation::Import { target, object, marks, again, version, public_key, wrapping_key, wrapped: wrapped.bytes }
            }
            Act::Mint { .. } | Act::Share { .. } | Act::FollowSecond { .. } => {
                return Err(Stop::Held(self.problem(ProblemCode::Internal, "a step that sends no request to a cloud", "keyplane status")));
            }
        };
        self.lane.admit(mutation.word()).await;
        Ok((mutation, wrapped_under))
    }

    /// The public key to wrap under: the one that was made for the copy, or one that the destination gives for the object.
    async fn wrapping_key(
        &self,
        object: Option<&ObjectId>,
        scheme: keyplane_model::WrapScheme,
        target: &Target,
    ) -> Result<keyplane_port::WrappingKey, Stop> {
        let from = match (&self.wrapping, object) {
            (Some((wrapping, _)), _) => WrapFor::Prepared(wrapping.clone()),
            (None, Some(object)) => WrapFor::Object(object.clone()),
            (None, None) => {
                let detail = "an import without a key to wrap under";
                return Err(Stop::Held(self.problem(ProblemCode::Internal, detail, "keyplane status")));
            }
        };
        let settling = self.lane.destination().capabilities.settling_time();
        let visible = self.wrapping.as_ref().map(|(_, at)| *at + settling);
        let mut tries = 1;
        let answer = loop {
            // INVARIANT: this may be as rare as a mutation. Whoever waited for it, or slept, may have lost the lane to another server.
            self.lane.admit("wrapping-key").await;
            self.keep().await?;
            match self.lane.wrapping_key(&from, scheme).await {
                // What was seen a moment ago is not gone because one read does not show it yet.
                Err(error) if error.class == Class::NotFound && visible.is_some_and(|at| self.engine.clock.uptime() < at) => {
                    self.engine.clock.sleep(PACE.1).await;
                }
                Err(error) if is_passing(error.class) && tries < READ_TRIES => {
                    self.engine.clock.sleep(pause(tries, &error)).await;
                    tries += 1;
                }
                answer => break answer,
            }
        };
        match (answer, from) {
            (Ok(found), _) => Ok(found),
            // What was approved is the import, and the key that was made for it is part of the change set: a new one makes another.
            (Err(error), WrapFor::Prepared(wrapping)) if error.cause == Cause::ImportTokenExpired || error.class == Class::NotFound => {
                Err(self.misfit(&Misfit::WrappingKeyGone(wrapping), target))
            }
            (Err(error), _) => Err(self.held(&error)),
        }
    }

    /// The cloud's id of the newest version that was imported.
    fn newest_material(&self) -> Option<&str> {
        self.copies.iter().filter(|copy| copy.imported.is_some()).max_by_key(|copy| copy.coordinates.version)?.material.as_deref()
    }

    /// The copy: its blob was made durable by the receipt of its mint step.
    fn copy(&self, version: Version) -> Result<CopyRecord, Stop> {
        let copy = self.copies.iter().find(|copy| copy.coordinates.version == version).cloned();
        copy.ok_or_else(|| {
            let detail = format!("the ledger has no copy of version {version} for placement {}", self.placement);
            Stop::Held(self.problem(ProblemCode::DatabaseBroken, detail, "keyplane status"))
        })
    }

    /// What a failed mutation means: the next look decides, after a pause where the cloud needs one.
    async fn failed(&self, error: &CloudError, tried: u32, attempt: Option<&mut Attempt>) -> Result<(), Stop> {
        let problem = error.problem(self.lane.destination()).key(&self.record.change_set.key);
        // Whether another attempt may help, now.
        let again = match error.class {
            Class::Transient | Class::Throttled | Class::Ambiguous | Class::Stale | Class::AlreadyExists => true,
            // What the step before made may not be there for every part of the cloud yet.
            Class::NotFound => self.visible().is_some_and(|visible| self.engine.clock.uptime() < visible),
            Class::Denied | Class::Unsupported | Class::Invalid | Class::Broken => false,
        };
        if error.class != Class::Ambiguous
            && let Some(attempt) = attempt
        {
            match self.engine.ledger.refused(&self.record.digest, attempt.id, error.class).await {
                Ok(()) => attempt.refused = Some(error.class),
                // Another server saw done what this attempt was for, and took it for its doing: the next look tells.
                Err(LedgerError::Refused(Refusal::Contradiction)) => {}
                Err(error) => return Err(self.ledger(&error)),
            }
        }
        if !again || tried >= ATTEMPTS {
            return Err(Stop::Held(problem));
        }
        tracing::info!(key = %self.record.change_set.key, class = %error.class, "refused or ambiguous: looks again");
        self.event(&Event::Again { key: &self.record.change_set.key, destination: &self.plan.destination, problem: &problem });
        // Refused because of what another read did not show yet: that needs time as well.
        if error.class != Class::Ambiguous {
            self.engine.clock.sleep(pause(tried, error)).await;
        }
        Ok(())
    }

    fn target(&self) -> Target {
        Target {
            installation: self.record.change_set.installation,
            placement: self.placement,
            incarnation: self.plan.incarnation,
            name: self.plan.name.clone(),
            algorithm: self.plan.algorithm,
            purpose: self.plan.purpose,
            key: self.record.change_set.key.clone(),
        }
    }

    fn event(&self, event: &Event<'_>) {
        self.progress.event(event);
    }

    fn problem(&self, code: ProblemCode, detail: impl Into<String>, next: &str) -> Problem {
        Problem::new(code, detail, next).key(&self.record.change_set.key).destination(&self.plan.destination)
    }

    fn misfit(&self, misfit: &Misfit, target: &Target) -> Stop {
        let code = if misfit.is_foreign() { ProblemCode::ForeignObject } else { ProblemCode::Drift };
        Stop::Misfit(self.problem(code, misfit.detail(target), "keyplane plan"))
    }

    fn held(&self, error: &CloudError) -> Stop {
        Stop::Held(error.problem(self.lane.destination()).key(&self.record.change_set.key))
    }

    fn ledger(&self, error: &LedgerError) -> Stop {
        Stop::Held(error.problem().key(&self.record.change_set.key))
    }

    fn custodian(&self, error: &CustodianError) -> Stop {
        Stop::Held(error.problem().key(&self.record.change_set.key).destination(&self.plan.destination))
    }
}
