//! Draws from the clouds' request quotas, so that a server never sends more requests than they allow.
//!
//! Knows a destination's quotas and the clock. Must not know which call is a read, or what its result is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// By home and the cloud's name of the quota: the uptime at which it allows the next call. A quota without an entry was never drawn from.
#[derive(Clone)]
struct Slots {
    next: Arc<Mutex<BTreeMap<(String, String), Span>>>,
    /// Whether the first call waits as if one had come before it.
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

    /// Draws from all quotas of a call, or from none. Returns how long to wait before the next try; zero: drawn.
    fn take(&self, destination: &Destination, word: &'static str, now: Span) -> Span {
        let capabilities = &destination.capabilities;
        // A call that draws several times lists the quota several times.
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

/// Added to the time between two calls, because the network may deliver the second one faster than the first: a tenth of that time, at most
/// a tenth of a second.
const JITTER: (u32, Span) = (10, Span::millis(100));

/// The least time between two calls of a quota.
fn spacing(quota: Quota) -> Span {
    let even = quota.per.divided_by(quota.calls);
    even + even.divided_by(JITTER.0).min(JITTER.1)
}

/// Draws for the calls of one destination.
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

    /// Waits until a call may begin. It checks again after each wait: after a machine was suspended, the delayed calls must not all be sent
    /// at once.
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

    /// How long a mutation has to wait after those that were sent before it. Zero: it counts as sent now.
    pub(crate) fn gap(&self, word: &'static str) -> Span {
        self.quotas.sent.take(self.cloud.destination(), word, self.clock.uptime())
    }

    /// Forgets what this server drew at the destination's home, because another server has drawn there since, by an unknown amount.
    pub(crate) fn begin_empty(&self) {
        let home = &self.cloud.destination().home;
        self.quotas.admitted.slots().retain(|(drawn, _), _| drawn != home);
    }
}
