//! One step of one placement: look, attempt, act, confirm, receipt; each durable before the next.

use keyplane_model::{
    Act, Attempt, AttemptId, ChangeSetRecord, Class, CopyCoordinates, Digest, Marks, ObjectId, Outcome, PlacementId, PlacementPlan,
    Problem, ProblemCode, Receipt, Source, Span, Step, StepNo, Target, Timestamp,
};
use keyplane_port::{Acted, CloudError, CustodianError, LedgerError, MintRequest, Mutation, Warrant, WrapRequest};

use crate::judgement::{Decision, Misfit, Past, Seen, decide};
use crate::lane::pause;
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
    pub(crate) record: &'a ChangeSetRecord,
    pub(crate) warrant: &'a Warrant,
    pub(crate) placement: PlacementId,
    pub(crate) plan: &'a PlacementPlan,
    pub(crate) progress: &'a dyn Progress,
    /// The object that the steps so far made or claimed, and when that was confirmed.
    pub(crate) object: Option<(ObjectId, Timestamp)>,
}

/// A mutation is sent only if a read at most so old showed the expected state (rule 4: "a few seconds").
const FRESH: Span = Span::seconds(3);

/// How many attempts of one step one run makes. A step that still fails then needs a person, or a later run.
const ATTEMPTS: u32 = 6;

/// The pause between reads that wait for something to appear is between these, whatever the consistency bound.
const PACE: (Span, Span) = (Span::millis(50), Span::seconds(1));

impl Track<'_> {
    /// Takes in the receipt of an earlier step.
    pub(crate) fn remember(&mut self, receipt: &Receipt) {
        match &receipt.outcome {
            Outcome::Created { object } | Outcome::Claimed { object } => self.object = Some((object.clone(), receipt.at)),
            Outcome::Imported { .. } | Outcome::Published => {
                if let Some((_, at)) = &mut self.object {
                    *at = receipt.at;
                }
            }
            Outcome::Minted { .. } | Outcome::SurplusRemoved { .. } => {}
        }
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
            Act::Create | Act::Claim | Act::Import { .. } | Act::Publish | Act::RemoveSurplus { .. } => self.cloud(number, step).await?,
        };
        self.engine.ledger.receive(&self.record.digest, &receipt).await.map_err(|error| self.ledger(&error))?;
        self.remember(&receipt);
        tracing::info!(key = %self.record.change_set.key, found = receipt.attempt.is_none(), "confirmed");
        self.progress.event(&Event::Received {
            key: &self.record.change_set.key,
            destination: &self.plan.destination,
            act: step.act.word(),
            found: receipt.attempt.is_none() && !matches!(step.act, Act::Mint { .. }),
        });
        Ok(())
    }

    /// Minting has no effect outside of its receipt: a crash before it leaves nothing that anybody uses.
    async fn mint(&self, number: StepNo, coordinates: CopyCoordinates) -> Result<Receipt, Stop> {
        let request = MintRequest { step: number, coordinates: coordinates.clone() };
        let minted = self.engine.custodian.mint(self.warrant, &request).await.map_err(|error| self.custodian(&error))?;
        let outcome = Outcome::Minted { coordinates, check_value: minted.check_value, blob: minted.blob };
        Ok(Receipt { step: number, attempt: None, outcome, at: self.engine.clock.now() })
    }

    /// A step at a cloud.
    ///
    /// # Flow
    /// Look until the decision about what is seen is certain; do what it says; after acting, look again: the reply alone
    /// is never believed. Done is certain after several equal reads, and so is everything that follows from *not* finding
    /// something. The race that remains (somebody changes the object between the last look and the request) is detected
    /// by the reads that confirm.
    async fn cloud(&self, number: StepNo, step: &Step) -> Result<Receipt, Stop> {
        let target = self.target();
        let capabilities = &self.lane.destination().capabilities;
        let clock = &self.engine.clock;
        let pace = capabilities.consistency.divided_by(capabilities.equal_reads).clamp(PACE.0, PACE.1);
        let mut attempts: Vec<Attempt> = self.record.attempts_of(number).cloned().collect();
        let before = attempts.len();
        let mut made = None;
        let mut prepared = None;
        let mut sweep = false;
        let mut streak: Option<(Decision, u32)> = None;
        loop {
            let open = attempts.iter().rfind(|attempt| attempt.refused.is_none());
            let looked = clock.now();
            let seen = self.look(step, &target, made.as_ref(), sweep).await?;
            let past = Past {
                settles: open.map(|attempt| attempt.at + capabilities.settling_time()),
                visible: self.object.as_ref().map_or(looked, |(_, at)| *at + capabilities.settling_time()),
                unheard_of: attempts.is_empty() && self.drawn_here(step),
                now: clock.now(),
            };
            let decision = match (decide(&step.act, &target, &seen, past), past.settles) {
                // What was made a moment ago may be listed before it can be read.
                (Decision::Sweep, Some(settles)) if sweep && past.now < settles => Decision::Wait(settles),
                (decision, _) => decision,
            };
            match &decision {
                Decision::Wait(until) => {
                    streak = None;
                    let why =
                        if open.is_some() { "an earlier attempt may still take effect" } else { "the step before is not visible yet" };
                    self.event(&Event::Waiting {
                        key: &target.key,
                        destination: &self.plan.destination,
                        act: step.act.word(),
                        until: *until,
                        why,
                    });
                    // A sweep reads the whole destination: it is not repeated to pass the time.
                    clock.sleep(if sweep { *until - past.now } else { (*until - past.now).min(pace) }).await;
                    continue;
                }
                Decision::Sweep if !sweep => {
                    sweep = true;
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
            // The first attempt may begin after one look: nothing of ours can be there yet, and whoever was faster shows
            // in the reads that confirm.
            let needed = if decision == Decision::Act && open.is_none() { 1 } else { capabilities.equal_reads.max(1) };
            if count < needed {
                if capabilities.consistency > Span::ZERO {
                    clock.sleep(pace).await;
                }
                continue;
            }
            match decision {
                Decision::Done(outcome) => {
                    let outcome = match outcome {
                        Outcome::Imported { version, material, .. } => {
                            Outcome::Imported { version, material, wrapped_under: open.and_then(|attempt| attempt.wrapped_under) }
                        }
                        other => other,
                    };
                    return Ok(Receipt { step: number, attempt: open.map(|attempt| attempt.id), outcome, at: clock.now() });
                }
                Decision::Misfit(misfit) => return Err(self.misfit(&misfit, &target)),
                Decision::Act => {}
                Decision::Wait(_) | Decision::Sweep => continue,
            }
            let ordinal = u32::try_from(attempts.len()).unwrap_or(u32::MAX).saturating_add(1);
            let (mutation, wrapped_under) = match prepared.take() {
                Some(ready) => ready,
                None => self.prepare(number, step, &target, ordinal).await?,
            };
            // Preparing may have waited for quotas: a look that went stale meanwhile is made anew.
            if clock.now() - looked > FRESH {
                prepared = Some((mutation, wrapped_under));
                streak = None;
                continue;
            }
            let attempt = Attempt {
                id: AttemptId::of(&self.record.digest, number.0, ordinal),
                step: number,
                ordinal,
                at: clock.now(),
                wrapped_under,
                refused: None,
            };
            self.engine.ledger.attempt(&self.record.digest, &attempt).await.map_err(|error| self.ledger(&error))?;
            attempts.push(attempt);
            streak = None;
            tracing::info!(key = %target.key, attempt = ordinal, "acts");
            self.event(&Event::Acting { key: &target.key, destination: &self.plan.destination, act: step.act.word(), attempt: ordinal });
            match self.lane.act(mutation).await {
                Ok(Acted::Created(object)) => made = Some(object),
                Ok(Acted::Done) => {}
                Err(error) => {
                    let tried = u32::try_from(attempts.len() - before).unwrap_or(u32::MAX);
                    self.failed(&error, tried, attempts.last_mut()).await?;
                }
            }
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

    /// What was seen for a step, in fresh reads.
    async fn look(&self, step: &Step, target: &Target, made: Option<&ObjectId>, sweep: bool) -> Result<Seen, Stop> {
        let about = match &step.act {
            Act::Create => made,
            Act::Claim => self.object.as_ref().map(|(object, _)| object),
            Act::RemoveSurplus { object } => Some(object),
            Act::Mint { .. } | Act::Import { .. } | Act::Publish => None,
        };
        let placement = self.lane.look(target).await.map_err(|error| self.held(&error))?;
        let object = match about {
            Some(object) => self.lane.inspect(object).await.map_err(|error| self.held(&error))?,
            None => None,
        };
        let swept = if sweep {
            let (objects, complete) = self.lane.sweep().await.map_err(|error| self.held(&error))?;
            complete.then_some(objects)
        } else {
            None
        };
        Ok(Seen { placement, object, swept })
    }

    /// Everything that has to be done before the mutating request can be sent, quotas included. With an import comes the
    /// digest of the public key that it is wrapped under.
    async fn prepare(&self, number: StepNo, step: &Step, target: &Target, ordinal: u32) -> Result<(Mutation, Option<Digest>), Stop> {
        let object = || {
            self.object.as_ref().map(|(object, _)| object.clone()).ok_or_else(|| {
                Stop::Held(self.problem(ProblemCode::Internal, "a step without the object of the steps before", "keyplane status"))
            })
        };
        let mut wrapped_under = None;
        let mutation = match &step.act {
            Act::Create => Mutation::Create {
                target: target.clone(),
                marks: Marks {
                    installation: target.installation,
                    placement: target.placement,
                    incarnation: target.incarnation,
                    attempt: AttemptId::of(&self.record.digest, number.0, ordinal),
                },
            },
            Act::Claim => Mutation::Claim { target: target.clone(), object: object()? },
            Act::Publish => Mutation::Publish { target: target.clone(), object: object()? },
            Act::RemoveSurplus { object } => {
                Mutation::ScheduleDeletion { object: object.clone(), days: self.lane.destination().capabilities.deletion_days }
            }
            Act::Import { version, scheme } => {
                let object = object()?;
                let copy = self.copy(*version).await?;
                let wrapping_key = self.lane.wrapping_key(&object, *scheme).await.map_err(|error| self.held(&error))?;
                let request = WrapRequest { step: number, copy, wrapping_key: wrapping_key.clone() };
                let wrapped = self.engine.custodian.wrap(self.warrant, &request).await.map_err(|error| self.custodian(&error))?;
                wrapped_under = Some(wrapped.wrapped_under);
                Mutation::Import { object, version: *version, wrapping_key, wrapped: wrapped.bytes }
            }
            Act::Mint { .. } => return Err(Stop::Held(self.problem(ProblemCode::Internal, "a mint step at a cloud", "keyplane status"))),
        };
        self.lane.admit(mutation.word()).await;
        Ok((mutation, wrapped_under))
    }

    /// The copy as the ledger has it: its blob was made durable by the receipt of its mint step.
    async fn copy(&self, version: keyplane_model::Version) -> Result<keyplane_model::CopyRecord, Stop> {
        let snapshot = self.engine.ledger.snapshot().await.map_err(|error| self.ledger(&error))?;
        let record = snapshot.keys.get(&self.record.change_set.key);
        let copy = record.and_then(|record| record.copy(version, self.placement)).cloned();
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
            Class::NotFound | Class::Denied | Class::Unsupported | Class::Invalid | Class::Broken => false,
        };
        if error.class != Class::Ambiguous
            && let Some(attempt) = attempt
        {
            self.engine.ledger.refused(&self.record.digest, attempt.id, error.class).await.map_err(|error| self.ledger(&error))?;
            attempt.refused = Some(error.class);
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
