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

/// How often a call draws from each quota at most. A call that draws several times lists the quota several times.
fn drawn<'d>(destination: &'d Destination, word: &str) -> BTreeMap<&'d String, u32> {
    let mut times = BTreeMap::new();
    for name in destination.capabilities.draws.get(word).into_iter().flatten() {
        if destination.capabilities.quotas.contains_key(name) {
            *times.entry(name).or_default() += 1;
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

    /// Draws from all quotas of a call, or from none. Returns how long to wait before the next try; zero: drawn.
    fn take(&self, destination: &Destination, word: &'static str, now: Span) -> Span {
        let span = |name, times| {
            let quota = destination.capabilities.quotas.get(name).copied();
            quota.map_or(Span::ZERO, |quota| spacing(quota).times(times))
        };
        let drawn: Vec<(Slot, Span)> = drawn(destination, word)
            .into_iter()
            .map(|(name, times)| ((destination.home.clone(), name.clone()), span(name, times)))
            .collect();
        let mut next = self.slots();
        let mut start = now;
        for (slot, span) in &drawn {
            start = start.max(*next.entry(slot.clone()).or_insert(if self.begins_empty { now + *span } else { now }));
        }
        if start <= now {
            next.extend(drawn.into_iter().map(|(slot, span)| (slot, now + span)));
        }
        start - now
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

    /// Gives back what was drawn and not sent, and wakes those that wait.
    fn give_back(&self, destination: &Destination, name: &str, times: u32) {
        if let Some(quota) = destination.capabilities.quotas.get(name)
            && let Some(next) = self.slots().get_mut(&(destination.home.clone(), name.to_owned()))
        {
            *next = *next - spacing(*quota).times(times);
        }
        for waiting in self.waiting().drain(..) {
            // It may have stopped waiting.
            let _ = waiting.send(());
        }
    }
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
/// ends. While other calls of the destination are under way, nobody knows who sent what, so only what is certainly left is given back.
#[derive(Clone)]
pub(crate) struct Meter {
    cloud: Arc<dyn Cloud>,
    quotas: Quotas,
    clock: Arc<dyn Clock>,
    drawn: Arc<Mutex<BTreeMap<String, Drawn>>>,
}

/// What this destination's calls drew from one quota.
#[derive(Clone, Copy, Default)]
struct Drawn {
    /// By all calls so far, less what was given back.
    kept: u64,
    /// By the calls that are under way.
    open: u64,
}

/// What a call drew. Dropped when the call has ended, or will not be sent: then what it did not send is given back.
pub struct Admission {
    meter: Meter,
    word: &'static str,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.meter.ended(self.word);
    }
}

impl Meter {
    pub(crate) fn new(cloud: Arc<dyn Cloud>, quotas: Quotas, clock: Arc<dyn Clock>) -> Self {
        Self { cloud, quotas, clock, drawn: Arc::default() }
    }

    /// Waits until a call may begin. It checks again after each wait: after a machine was suspended, the delayed calls must not all be sent
    /// at once.
    pub(crate) async fn admit(&self, word: &'static str) -> Admission {
        let destination = self.cloud.destination();
        loop {
            let wait = self.quotas.admitted.take(destination, word, self.clock.uptime());
            if wait == Span::ZERO {
                self.began(word);
                return Admission { meter: self.clone(), word };
            }
            tracing::debug!(destination = %destination.name, call = word, %wait, "waits for its quota");
            select(self.clock.sleep(wait), self.quotas.admitted.given_back()).await;
        }
    }

    fn drawn(&self) -> MutexGuard<'_, BTreeMap<String, Drawn>> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn began(&self, word: &str) {
        let mut all = self.drawn();
        for (name, times) in drawn(self.cloud.destination(), word) {
            let drawn = all.entry(name.clone()).or_default();
            drawn.kept += u64::from(times);
            drawn.open += u64::from(times);
        }
    }

    fn ended(&self, word: &str) {
        let destination = self.cloud.destination();
        for (name, times) in drawn(destination, word) {
            let unsent = {
                let mut all = self.drawn();
                let drawn = all.entry(name.clone()).or_default();
                drawn.open = drawn.open.saturating_sub(u64::from(times));
                // INVARIANT: what the calls under way have sent already counts twice here, so never too much is given back.
                let unsent = self.cloud.sent(name).map_or(0, |sent| drawn.kept.saturating_sub(sent + drawn.open));
                drawn.kept -= unsent;
                u32::try_from(unsent).unwrap_or(u32::MAX)
            };
            if unsent > 0 {
                self.quotas.admitted.give_back(destination, name, unsent);
            }
        }
    }

    /// How long a mutation has to wait after those that were sent before it. Zero: it counts as sent now.
    pub(crate) fn gap(&self, word: &'static str) -> Span {
        self.quotas.sent.take(self.cloud.destination(), word, self.clock.uptime())
    }

    /// Forgets what this server drew at the destination's home, because another server has drawn there since, by an unknown amount.
    pub(crate) fn begin_empty(&self) {
        let home = &self.cloud.destination().home;
        self.quotas.admitted.slots().retain(|(drawn, _), _| drawn != home);
        // What was drawn before is not given back to what is drawn from now on.
        for (name, drawn) in self.drawn().iter_mut() {
            drawn.kept = self.cloud.sent(name).unwrap_or_default();
        }
    }
}
