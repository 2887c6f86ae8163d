//! What a server draws from the clouds' request quotas, so that it never asks for more than they allow.
//!
//! Knows what a destination says of its quotas, and the clock; must not know which call is a read or what becomes of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyplane_model::{Destination, Quota, Span};
use keyplane_port::{Clock, Cloud};

/// The quotas of one server, shared by all of its lanes: several destinations can draw from the same quota.
///
/// Calls are spaced evenly. The first call waits as if there had been one before it, so that a server that takes over from another
/// does not spend what that one has spent already.
#[derive(Clone)]
pub struct Quotas {
    /// When the next call may begin.
    admitted: Slots,
    /// When the next mutation may be sent. Between admission and request comes a look, and a slow look would bring two requests
    /// together.
    sent: Slots,
}

/// By home and the cloud's name of the quota: the uptime at which it allows the next call. One that is missing was not drawn from yet.
#[derive(Clone)]
struct Slots {
    next: Arc<Mutex<BTreeMap<(String, String), Span>>>,
    /// Whether the first call waits as if there had been one before it.
    begins_empty: bool,
}

impl Default for Quotas {
    fn default() -> Self {
        let slots = |begins_empty| Slots { next: Arc::default(), begins_empty };
        Self { admitted: slots(true), sent: slots(false) }
    }
}

impl Slots {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<(String, String), Span>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all that a call draws, or nothing. Returns how long to wait before asking again; zero: it was taken.
    fn take(&self, destination: &Destination, word: &'static str, now: Span) -> Span {
        let capabilities = &destination.capabilities;
        // A call that draws several times names the quota as often.
        let mut times: BTreeMap<&String, Span> = BTreeMap::new();
        for name in capabilities.draws.get(word).into_iter().flatten() {
            if let Some(quota) = capabilities.quotas.get(name) {
                let span = times.entry(name).or_default();
                *span = *span + spacing(*quota);
            }
        }
        let drawn: Vec<((String, String), Span)> =
            times.into_iter().map(|(name, span)| ((destination.home.clone(), name.clone()), span)).collect();
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
}

/// Two calls of a quota are this much further apart than it asks for, since the network may bring the second one faster than the first:
/// a tenth of the time between them, at most a tenth of a second.
const JITTER: (u32, Span) = (10, Span::millis(100));

/// The least time between two calls of a quota.
fn spacing(quota: Quota) -> Span {
    let even = quota.per.divided_by(quota.calls);
    even + even.divided_by(JITTER.0).min(JITTER.1)
}

/// What the calls of one destination draw.
#[derive(Clone)]
pub(crate) struct Meter {
    cloud: Arc<dyn Cloud>,
    quotas: Quotas,
    clock: Arc<dyn Clock>,
}

impl Meter {
    pub(crate) fn new(cloud: Arc<dyn Cloud>, quotas: Quotas, clock: Arc<dyn Clock>) -> Self {
        Self { cloud, quotas, clock }
    }

    /// Waits until a call may begin. It asks again after each wait: when a machine wakes up late, the calls that should have gone
    /// meanwhile do not all go at once.
    pub(crate) async fn admit(&self, word: &'static str) {
        let destination = self.cloud.destination();
        loop {
            let wait = self.quotas.admitted.take(destination, word, self.clock.uptime());
            if wait == Span::ZERO {
                return;
            }
            tracing::debug!(destination = %destination.name, call = word, %wait, "waits for its quota");
            self.clock.sleep(wait).await;
        }
    }

    /// How long a mutation has to wait for those that were sent before it; zero: it counts as sent now.
    pub(crate) fn gap(&self, word: &'static str) -> Span {
        self.quotas.sent.take(self.cloud.destination(), word, self.clock.uptime())
    }

    /// Forgets what this server drew at the destination's home: another one drew there meanwhile, and nobody knows how much.
    pub(crate) fn begin_empty(&self) {
        let home = &self.cloud.destination().home;
        self.quotas.admitted.slots().retain(|(drawn, _), _| drawn != home);
    }
}
