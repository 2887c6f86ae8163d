//! One step of a placement: look, attempt, act, confirm, receipt. The attempt is durable before the request, and the receipt before the
//! next step.

use keyplane_model::{Act, Outcome, ProblemCode, Receipt, Step, StepNo};

use crate::act::Actor;
use crate::attempts::Attempts;
use crate::judgement::Decision;
use crate::observe::{Look, Observer};
use crate::site::Site;
use crate::spent;
use crate::stop::Stop;
use crate::track::Track;

/// How many looks in a row may be too old when the request could be sent. Each took seconds, so the destination answers too slowly to
/// change anything there.
const MOST_OUTDATED: u32 = 100;

/// One placement during its steps at a cloud.
pub(crate) struct Way<'a> {
    site: Site<'a>,
    track: Track,
    /// The look that confirmed the step before. While it is fresh, the next step does not look again.
    last: Option<Look>,
}

impl<'a> Way<'a> {
    pub(crate) fn begin(site: Site<'a>, track: Track) -> Self {
        Self { site, track, last: None }
    }

    /// Takes up the receipt of a step that is already done.
    pub(crate) fn remember(&mut self, receipt: &Receipt) {
        self.track.remember(receipt, self.site.uptime());
    }

    /// Runs a step and writes its receipt.
    pub(crate) async fn run(&mut self, number: StepNo, step: &Step) -> Result<(), Stop> {
        // A prepare step looks only at the wrapping key, so the look of the step before is kept for the step after.
        let is_apart = matches!(step.act, Act::Prepare { .. });
        let last = if is_apart { None } else { self.last.take() };
        let (confirmed, look) = self.confirm(number, step, last).await?;
        if !is_apart {
            self.last = Some(look);
        }
        let receipt = self.site.job.receive(confirmed.clone(), Some(self.site.keep().await?)).await?;
        if receipt != confirmed {
            // Another server wrote the receipt.
            self.last = None;
        }
        self.remember(&receipt);
        self.site.job.received(step, self.site.destination(), receipt.attempt.is_none());
        Ok(())
    }

    /// Carries a step out, unless it is already done, and confirms it. Returns the receipt, not yet written, and the look that shows the
    /// effect.
    ///
    /// # Flow
    /// Look until it is certain what to do; do it; look again, because a reply alone proves nothing. If somebody changes the object between
    /// the last look and the request, the reads that confirm show it.
    async fn confirm(&self, number: StepNo, step: &Step, last: Option<Look>) -> Result<(Receipt, Look), Stop> {
        let (site, track) = (&self.site, &self.track);
        let actor = Actor::new(site, number, step);
        let mut observer = Observer::begin(site, step, last);
        let mut attempts = Attempts::begin(site.job.record.attempts_of(number).cloned().collect(), site.uptime());
        let (mut ready, mut kept, mut outdated) = (None, None, 0);
        loop {
            let (decision, look) = observer.certain(track, &attempts).await?;
            match decision {
                Decision::Done(outcome) => {
                    spent::tell_unused(site, attempts.all_made(), &outcome);
                    return Ok((self.receipt(number, outcome, &attempts), look));
                }
                Decision::Conflict(conflict) => return Err(site.conflict(&conflict)),
                Decision::Act => {}
                Decision::Wait(_) | Decision::AtWork | Decision::Sweep => continue,
            }
            // A destination that answers "done" without showing the effect gives no error to count, so every attempt is counted before it
            // is made.
            if let Some(spent) = attempts.spent(site.uptime()) {
                return Err(spent::stop(spent, site, step, track, &look.seen, &attempts));
            }
            if !attempts.has_acted() {
                site.job.still_wanted().await?;
            }
            let next = match ready.take() {
                Some(next) => next,
                None => actor.prepare(attempts.next(), track, &look.seen, kept.take()).await?,
            };
            if actor.waits_its_turn(&next, &look).await {
                outdated = 0;
                kept = actor.attempt(next, &look, track, &mut attempts).await?;
                observer.attempted();
            } else {
                outdated += 1;
                ready = Some(next);
            }
            if outdated > MOST_OUTDATED {
                let detail = format!("{outdated} looks one after the other were out of date before the request could be sent");
                return Err(site.stop(ProblemCode::DestinationUnreachable, detail, "keyplane apply"));
            }
        }
    }

    /// The receipt of a confirmed step. It names the attempt that may have had the effect; `None`: the step was found done.
    fn receipt(&self, step: StepNo, outcome: Outcome, attempts: &Attempts) -> Receipt {
        let open = attempts.open();
        let outcome = match outcome {
            Outcome::Imported { version, object, material, .. } => {
                Outcome::Imported { version, object, material, wrapped_under: open.and_then(|attempt| attempt.wrapped_under) }
            }
            other => other,
        };
        Receipt { step, attempt: open.map(|attempt| attempt.id), outcome, at: self.site.job.ports.clock.now() }
    }
}
