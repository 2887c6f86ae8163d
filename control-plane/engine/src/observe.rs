//! Looks and sweeps: how long a look is fresh, and when an absence is conclusive.
//!
//! That something is there is certain at once. Whatever follows from *not* finding something is certain after several equal reads, all
//! begun when no earlier attempt could take effect any more.

use keyplane_model::{Act, ObjectId, Outcome, ProblemCode, Source, Span, Step};

use crate::attempts::Attempts;
use crate::judgement::{Decision, Known, Seen, decide};
use crate::progress::Event;
use crate::site::Site;
use crate::stop::Stop;
use crate::track::Track;

/// A mutation is sent only if a read no older than this showed the expected state (rule 4: "a few seconds").
pub(crate) const FRESH: Span = Span::seconds(3);

/// How long one run waits for a destination that still processes a request, from the moment it was sent: the wait for a quota before it is
/// none of the destination's. Google Cloud takes minutes for an import at its slowest.
const PATIENCE: Span = Span::seconds(600);

/// How often a look may lead to another decision than the look before. Lagging parts of a cloud can disagree for as long as the consistency
/// bound, at a few reads a second.
const MOST_TURNS: u32 = 100;

/// The first and the longest pause between reads while a destination processes a request. Each is twice the one before.
const WORK: (Span, Span) = (Span::seconds(1), Span::seconds(16));

/// The shortest and the longest pause between reads while waiting for something to appear, whatever the consistency bound.
pub(crate) const PACE: (Span, Span) = (Span::millis(50), Span::seconds(1));

pub(crate) struct Look {
    /// The uptime when the reads began.
    pub(crate) at: Span,
    pub(crate) seen: Seen,
}

impl Look {
    /// Whether a mutation may still be based on it.
    pub(crate) fn is_fresh(&self, now: Span) -> bool {
        now - self.at <= FRESH
    }

    /// Whether it shows the object `about`, if the step needs one.
    fn shows(&self, about: Option<&ObjectId>) -> bool {
        about.is_none_or(|about| self.seen.object.as_ref().is_some_and(|seen| seen.object == *about))
    }
}

/// Makes the looks for one run of a step.
pub(crate) struct Observer<'a> {
    site: &'a Site<'a>,
    step: &'a Step,
    /// A look made earlier. Used once in place of a new one, if it is fresh and shows what is needed.
    last: Option<Look>,
    /// Whether the next look sweeps the destination.
    sweep: bool,
    /// Whether sweeps have conclusively shown that no earlier attempt made anything. A later sweep of the lane can still show otherwise.
    searched: bool,
}

impl<'a> Observer<'a> {
    /// `last`: the look that confirmed the step before. `None`: there is none.
    pub(crate) fn begin(site: &'a Site<'a>, step: &'a Step, last: Option<Look>) -> Self {
        Self { site, step, last, sweep: false, searched: false }
    }

    /// Forgets what was concluded before the attempt just made.
    pub(crate) fn attempted(&mut self) {
        self.searched = false;
    }

    /// Looks until it is certain what to do: [`Decision::Done`], [`Decision::Act`] or [`Decision::Conflict`]. Returns also the look that
    /// made it certain.
    pub(crate) async fn certain(&mut self, track: &Track, attempts: &Attempts) -> Result<(Decision, Look), Stop> {
        let capabilities = self.site.capabilities();
        let pace = capabilities.consistency.divided_by(capabilities.equal_reads).clamp(PACE.0, PACE.1);
        let mut streak: Option<(Decision, u32)> = None;
        let (mut work, mut turns) = (WORK.0, 0);
        loop {
            self.site.keep().await?;
            let look = self.next_look(track, attempts).await?;
            let known = self.known(track, attempts, look.at);
            let decision = match (decide(&self.step.act, &self.site.target, &look.seen, known), known.settles) {
                // A new object may be listed before it can be read.
                (Decision::Sweep, Some(settles)) if self.sweep && look.at < settles => Decision::Wait(settles),
                (decision, _) => decision,
            };
            match &decision {
                Decision::Wait(until) => {
                    streak = None;
                    let left = *until - look.at;
                    self.waits(left, known.settles.is_some());
                    // A sweep reads the whole destination, so it is not repeated while waiting.
                    self.site.sleep(if self.sweep { left } else { left.min(pace) }).await;
                    continue;
                }
                Decision::AtWork if look.at - attempts.sent() < PATIENCE => {
                    streak = None;
                    self.site.sleep(work).await;
                    work = (work + work).min(WORK.1);
                    continue;
                }
                Decision::AtWork => {
                    let detail = "the destination is still at work on it";
                    return Err(self.site.stop(ProblemCode::DestinationAmbiguous, detail, "keyplane apply"));
                }
                Decision::Sweep if !self.sweep => {
                    self.sweep = true;
                    continue;
                }
                Decision::Sweep => {
                    let detail = "not every object could be read, so that it is unknown whether an earlier attempt made one";
                    return Err(self.site.stop(ProblemCode::DestinationAmbiguous, detail, "keyplane apply"));
                }
                Decision::Done(_) | Decision::Act | Decision::Conflict(_) => {}
            }
            let count = match &streak {
                Some((last, count)) if *last == decision => count + 1,
                Some(_) if turns == MOST_TURNS => {
                    let detail = "what is there changes from one look to the next";
                    return Err(self.site.stop(ProblemCode::DestinationAmbiguous, detail, "keyplane apply"));
                }
                Some(_) => {
                    turns += 1;
                    1
                }
                None => 1,
            };
            if count < self.needed(&decision, known) {
                streak = Some((decision, count));
                if capabilities.consistency > Span::ZERO {
                    self.site.sleep(pace).await;
                }
                continue;
            }
            // A sweep takes longer than a look stays fresh, so a look follows. No earlier attempt can still take effect, so the sweep stays
            // valid.
            if self.sweep && decision == Decision::Act {
                streak = Some((decision, count));
                (self.sweep, self.searched) = (false, true);
                continue;
            }
            return Ok((decision, look));
        }
    }

    fn needed(&self, decision: &Decision, known: Known<'_>) -> u32 {
        match decision {
            // Before the first attempt nothing of ours can be there. If another server makes something meanwhile, the reads that confirm
            // show it.
            Decision::Act if known.settles.is_none() => 1,
            Decision::Done(outcome) if !self.sweep && is_found(outcome) => 1,
            _ => self.site.capabilities().equal_reads.max(1),
        }
    }

    /// The last look if it is still fresh, otherwise a new one.
    async fn next_look(&mut self, track: &Track, attempts: &Attempts) -> Result<Look, Stop> {
        let about = self.about(track, attempts);
        let last = self.last.take().filter(|last| last.is_fresh(self.site.uptime()) && last.shows(about));
        let mut look = match last {
            Some(last) => last,
            None => Look { at: self.site.uptime(), seen: self.look(about).await? },
        };
        if !self.sweep {
            look.seen.swept = if self.searched { self.site.lane().last_sweep() } else { None };
        }
        Ok(look)
    }

    /// Fresh reads for the step.
    async fn look(&self, about: Option<&ObjectId>) -> Result<Seen, Stop> {
        let (lane, target, hold) = (self.site.lane(), &self.site.target, &self.site.hold);
        if let Act::Prepare { version, .. } = &self.step.act {
            let prepared = lane.prepared(target, *version, about, hold).await.map_err(|failure| self.site.unread(&failure))?;
            return Ok(Seen { prepared, ..Seen::default() });
        }
        let placement = lane.look(target, hold).await.map_err(|failure| self.site.unread(&failure))?;
        let object = match (about, &placement.claimed) {
            // It was read a moment ago.
            (Some(object), Some(claimed)) if claimed.object == *object => Some(claimed.clone()),
            (Some(object), _) => lane.inspect(object, hold).await.map_err(|failure| self.site.unread(&failure))?,
            (None, _) => None,
        };
        let swept = if self.sweep {
            let (swept, complete) = lane.sweep(hold).await.map_err(|failure| self.site.unread(&failure))?;
            complete.then_some(swept)
        } else {
            None
        };
        Ok(Seen { placement, object, swept, prepared: None })
    }

    /// The object that a step needs beside its placement's; for [`Act::Prepare`], the wrapping key that a reply named.
    fn about<'o>(&self, track: &'o Track, attempts: &'o Attempts) -> Option<&'o ObjectId>
    where
        'a: 'o,
    {
        let step: &'a Step = self.step;
        match &step.act {
            Act::Create | Act::Prepare { .. } => attempts.made(),
            Act::Claim => track.object(),
            Act::RemoveSurplus { object } => Some(object),
            Act::Mint { .. }
            | Act::Share { .. }
            | Act::Import { .. }
            | Act::Publish
            | Act::DisableSurplus { .. }
            | Act::FollowSecond { .. } => None,
        }
    }

    fn known<'t>(&self, track: &'t Track, attempts: &Attempts, looked: Span) -> Known<'t> {
        let capabilities = self.site.capabilities();
        let settling = capabilities.settling_time();
        Known {
            creation: capabilities.creation,
            public_key: track.public_key(self.step),
            material: track.newest_material(),
            made: attempts.made().is_some(),
            settles: attempts.open().map(|_| attempts.sent() + settling),
            visible: track.visible(settling).unwrap_or(looked),
            unheard_of: attempts.is_empty() && self.generated_here(),
            looked,
        }
    }

    /// Whether this change set generates the bytes that the step imports. Derived bytes are the same each time they are derived.
    fn generated_here(&self) -> bool {
        let Act::Import { version, .. } = &self.step.act else { return false };
        let mut steps = self.site.job.record.change_set.steps_of(self.step.placement);
        steps.any(|(_, other)| matches!(&other.act, Act::Mint { version: made, source: Source::Generated, .. } if made == version))
    }

    fn waits(&self, left: Span, tried: bool) {
        let job = &self.site.job;
        let why = if tried { "an earlier attempt may still take effect" } else { "the step before is not visible yet" };
        job.progress.event(&Event::Waiting {
            key: &self.site.target.key,
            destination: self.site.destination(),
            act: self.step.act.word(),
            until: job.ports.clock.now() + left,
            why,
        });
    }
}

/// Whether the outcome is that something is there. The outcome of a clean-up is that something is *not* there any more.
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
