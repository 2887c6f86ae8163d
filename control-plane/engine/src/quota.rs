//! Draws from the clouds' request quotas, so that a server never sends more requests than they allow.
//!
//! Knows a destination's quotas and the clock. Must not know which call is a read, or what its result is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;
use futures::future::select;
use keyplane_model::{Destination, Quota, Span};
use keyplane_port::{Clock, Cloud};

/// The quotas of one server, shared by all of its lanes: several destinations can draw from the same quota.
///
/// Calls are spaced evenly. The first call waits as if one had come before it: a server that takes over from another one does not know what
/// that one has just drawn.
#[derive(Clone)]
pub struct Quotas {
    /// When the next call may begin.
    admitted: Slots,
    /// When the next mutation may be sent. A look comes between admission and request, and a slow look would bring two requests close
    /// together.
    sent: Slots,
}

#[derive(Clone)]
struct Slots {
    next: Arc<Mutex<BTreeMap<Slot, Span>>>,
    /// Those that wait for a call to give something back.
    waiting: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    /// Whether the first call waits as if one had come before it.
    begins_empty: bool,
}

/// A home and the cloud's name of a quota. Its value is the uptime at which it allows the next call; without one it was never drawn from.
type Slot = (String, String);

impl Default for Quotas {
    fn default() -> Self {
        let slots = |begins_empty| Slots { next: Arc::default(), waiting: Arc::default(), begins_empty };
        Self { admitted: slots(true), sent: slots(false) }
    }
}

/// The quotas that a call draws from, and how often at most. A call that draws several times lists the quota several times.
fn drawn<'d>(destination: &'d Destination, word: &str) -> BTreeMap<&'d String, (u32, Quota)> {
    let mut times = BTreeMap::new();
    for name in destination.capabilities.draws.get(word).into_iter().flatten() {
        if let Some(quota) = destination.capabilities.quotas.get(name) {
            times.entry(name).or_insert((0, *quota)).0 += 1;
        }
    }
    times
}

impl Slots {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<Slot, Span>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws from all quotas of a call, or from none. `Err`: how long to wait before the next try.
    fn take(&self, destination: &Destination, word: &'static str, now: Span) -> Result<Vec<Draw>, Span> {
        let draws: Vec<(Slot, u32, Span)> = drawn(destination, word)
            .into_iter()
            .map(|(name, (times, quota))| ((destination.home.clone(), name.clone()), times, spacing(quota)))
            .collect();
        let mut next = self.slots();
        let mut start = now;
        for (slot, times, spacing) in &draws {
            let first = if self.begins_empty { now + spacing.times(*times) } else { now };
            start = start.max(*next.entry(slot.clone()).or_insert(first));
        }
        if start > now {
            return Err(start - now);
        }
        let draw = |(slot, times, spacing): (Slot, u32, Span)| {
            let after = now + spacing.times(times);
            next.insert(slot.clone(), after);
            Draw { slot, times, spacing, after }
        };
        Ok(draws.into_iter().map(draw).collect())
    }

    /// Ends when something is given back, to whichever quota.
    fn given_back(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        // Those whose wait is over by now.
        waiting.retain(|sender| !sender.is_canceled());
        waiting.push(sender);
        receiver
    }

    /// Gives back what was drawn and not sent, and wakes those that wait. Once another call has drawn, the time of this one has passed, and
    /// nothing is left to give back: what was not drawn is not saved up either.
    fn give_back(&self, draw: &Draw, unsent: u32) {
        {
            let mut slots = self.slots();
            let Some(next) = slots.get_mut(&draw.slot).filter(|next| **next == draw.after) else { return };
            *next = draw.after - draw.spacing.times(unsent);
        }
        for waiting in self.waiting().drain(..) {
            // It may have stopped waiting.
            let _ = waiting.send(());
        }
    }
}

/// What a call drew from a quota.
struct Draw {
    slot: Slot,
    times: u32,
    spacing: Span,
    /// When the quota allowed the next call after this draw.
    after: Span,
}

/// Added to the time between two calls, because the network may deliver the second one faster than the first: a tenth of that time, at most
/// a tenth of a second.
const JITTER: (u32, Span) = (10, Span::millis(100));

/// The least time between two calls of a quota.
fn spacing(quota: Quota) -> Span {
    let even = quota.per.divided_by(quota.calls);
    even + even.divided_by(JITTER.0).min(JITTER.1)
}

/// Draws for the calls of one destination.
///
/// A call draws as often as it can at most: a look may read one page of versions or several. What it did not send is given back when it
/// ends. Whatever the destination's other calls sent meanwhile counts as sent by this one, for nobody knows who sent what.
#[derive(Clone)]
pub(crate) struct Meter {
    cloud: Arc<dyn Cloud>,
    quotas: Quotas,
    clock: Arc<dyn Clock>,
}

/// What a call drew. Dropped when the call has ended, or will not be sent: then what it did not send is given back.
pub struct Admission {
    meter: Meter,
    /// Each with the number of requests that the destination's calls had sent before. `None`: they are not counted.
    draws: Vec<(Draw, Option<u64>)>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        for (draw, before) in &self.draws {
            let sent = self.meter.sent(draw).zip(*before).map(|(now, before)| now.saturating_sub(before));
            let unsent = sent.map_or(0, |sent| draw.times.saturating_sub(u32::try_from(sent).unwrap_or(u32::MAX)));
            if unsent > 0 {
                self.meter.quotas.admitted.give_back(draw, unsent);
            }
        }
    }
}

impl Meter {
    pub(crate) fn new(cloud: Arc<dyn Cloud>, quotas: Quotas, clock: Arc<dyn Clock>) -> Self {
        Self { cloud, quotas, clock }
    }

    /// Waits until a call may begin. It checks again after each wait: after a machine was suspended, the delayed calls must not all be sent
    /// at once.
    pub(crate) async fn admit(&self, word: &'static str) -> Admission {
        let destination = self.cloud.destination();
        loop {
            let wait = match self.quotas.admitted.take(destination, word, self.clock.uptime()) {
                Ok(draws) => {
                    let draws = draws.into_iter().map(|draw| {
                        let before = self.sent(&draw);
                        (draw, before)
                    });
                    return Admission { meter: self.clone(), draws: draws.collect() };
                }
                Err(wait) => wait,
            };
            tracing::debug!(destination = %destination.name, call = word, %wait, "waits for its quota");
            select(self.clock.sleep(wait), self.quotas.admitted.given_back()).await;
        }
    }

    /// How many requests the destination's calls have sent that count against the quota. `None`: they are not counted.
    fn sent(&self, draw: &Draw) -> Option<u64> {
        self.cloud.sent(&draw.slot.1)
    }

    /// How long a mutation has to wait after those that were sent before it. Zero: it counts as sent now.
    pub(crate) fn gap(&self, word: &'static str) -> Span {
        self.quotas.sent.take(self.cloud.destination(), word, self.clock.uptime()).err().unwrap_or(Span::ZERO)
    }

    /// Forgets what this server drew at the destination's home, because another server has drawn there since, by an unknown amount.
    pub(crate) fn begin_empty(&self) {
        let home = &self.cloud.destination().home;
        self.quotas.admitted.slots().retain(|(drawn, _), _| drawn != home);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_draw_from_a_quota_is_given_back() {
        let slots = Quotas::default().admitted;
        let slot = || ("home".to_owned(), "Read".to_owned());
        let draw = Draw { slot: slot(), times: 4, spacing: Span::seconds(1), after: Span::seconds(4) };
        let next = |slots: &Slots| slots.slots().get(&slot()).copied();
        slots.slots().insert(slot(), draw.after);
        slots.give_back(&draw, 3);
        assert_eq!(next(&slots), Some(Span::seconds(1)));
        // Another call drew since, or another server had the lane meanwhile.
        for later in [Some(Span::seconds(8)), None] {
            slots.slots().clear();
            slots.slots().extend(later.map(|later| (slot(), later)));
            slots.give_back(&draw, 3);
            assert_eq!(next(&slots), later);
        }
    }
}
