//! The leases of one server: which lanes it works at, and how long it may.
//!
//! A lane belongs to one server at a time. The fencing number protects the ledger; since no cloud checks one, the holder itself looks at
//! its lease before each send and starts no call that could outlast it. Whoever wants the lane watches the lease for as long as it and a
//! call take, by a clock of its own; if nothing changed, it takes it, and begins with empty buckets. A crash therefore costs that
//! time and nothing else; where the ledger is certain that the holder is gone, not even that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use keyplane_model::{Class, Fence, Lease, Problem, ProblemCode, ServerId, Span};
use keyplane_port::{Cause, CloudError};

use crate::progress::{Event, Progress};
use crate::{Engine, Lane};

/// A lease lasts for so many of the longest calls of its lane: it is renewed when half of it is gone, and then a call still fits in.
const CALLS: u32 = 4;

/// The pause between two looks at a lease that somebody else holds, at most.
const WATCH: Span = Span::seconds(1);

/// The leases of one server.
pub struct Leases {
    server: ServerId,
    /// By lane. Who waits for one lane is in nobody's way at another.
    lanes: Mutex<BTreeMap<String, Slot>>,
    /// How many runs work side by side: the last one gives back what they held.
    runs: AtomicU32,
}

type Slot = Arc<futures::lock::Mutex<Option<Held>>>;

/// A lease that this server holds.
#[derive(Clone, Copy)]
struct Held {
    lease: Lease,
    /// The server's uptime when it asked for it last: it counts from there.
    since: Span,
}

impl Leases {
    /// Those of this server; it holds none.
    #[must_use]
    pub fn new(server: ServerId) -> Self {
        Self { server, lanes: Mutex::default(), runs: AtomicU32::new(0) }
    }

    fn slot(&self, lane: &str) -> Slot {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(lane.to_owned()).or_default())
    }

    /// One run more works; ends with the value.
    pub(crate) fn begin(&self) -> Working<'_> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        Working(self)
    }
}

/// A run that works.
pub(crate) struct Working<'a>(&'a Leases);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.runs.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long a lease on a lane lasts.
fn term(lane: &Lane) -> Span {
    let call = lane.destination().capabilities.call_timeout;
    (0..CALLS).fold(Span::ZERO, |term, _| term + call)
}

impl Engine {
    /// Sees to it that this server holds a lane, and will for as long as a call takes. Waits for a holder that may be gone.
    ///
    /// # Errors
    /// When another server works there, or the ledger fails.
    pub(crate) async fn keep(&self, lane: &Lane, progress: &dyn Progress) -> Result<Fence, Problem> {
        let home = &lane.destination().home;
        let slot = self.leases.slot(home);
        let mut slot = slot.lock().await;
        let term = term(lane);
        let fence = |lease: &Lease| Fence { lane: home.clone(), number: lease.fence };
        if let Some(Held { lease, since }) = &*slot
            && self.clock.uptime() < *since + term.divided_by(2)
        {
            return Ok(fence(lease));
        }
        let mut watched: Option<(Lease, Span)> = None;
        loop {
            let since = self.clock.uptime();
            // Nobody else has written it, or this is refused.
            let seen = match slot.take() {
                Some(held) => held.lease,
                None => self.ledger.lease(home).await.map_err(|error| error.problem())?,
            };
            let next = match (seen.holder, watched) {
                (Some(holder), _) if holder == self.leases.server => seen.renewed(),
                (None, _) => seen.taken(self.leases.server, term + lane.destination().capabilities.call_timeout),
                (Some(_), Some((before, at))) if before == seen && since >= at + seen.span => seen.taken(self.leases.server, seen.span),
                (Some(holder), Some((before, _))) if before != seen => {
                    let detail = format!("server {holder} works at `{home}`");
                    return Err(Problem::new(ProblemCode::LaneBusy, detail, "keyplane apply").destination(&lane.destination().name));
                }
                (Some(holder), _) => {
                    if watched.is_none() {
                        watched = Some((seen, since));
                        progress.event(&Event::Watching { destination: &lane.destination().name, holder, longest: seen.span });
                    }
                    self.clock.sleep(seen.span.min(WATCH)).await;
                    continue;
                }
            };
            if self.ledger.put_lease(home, &seen, &next).await.map_err(|error| error.problem())? {
                if next.fence != seen.fence {
                    lane.begin_with_empty_buckets();
                    tracing::info!(lane = home, fence = next.fence, "takes the lane");
                }
                *slot = Some(Held { lease: next, since });
                return Ok(fence(&next));
            }
        }
    }

    /// Whether a call that is started now ends before the lease does; the error of one that would not, and is not started.
    pub(crate) async fn outlasted(&self, lane: &Lane, operation: &'static str) -> Result<(), CloudError> {
        let slot = self.leases.slot(&lane.destination().home);
        let slot = slot.lock().await;
        let ends = self.clock.uptime() + lane.destination().capabilities.call_timeout;
        if slot.as_ref().is_some_and(|held| ends <= held.since + term(lane)) {
            return Ok(());
        }
        let message = "the lease on its lane could run out before it ends: it was not sent".to_owned();
        Err(CloudError { class: Class::Stale, cause: Cause::Plain, operation, message, retry_after: None })
    }

    /// Gives back every lane, unless another run works. What cannot be given back runs out.
    pub(crate) async fn release(&self) {
        if self.leases.runs.load(Ordering::SeqCst) > 0 {
            return;
        }
        let lanes: Vec<(String, Slot)> = {
            let lanes = self.leases.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.iter().map(|(lane, slot)| (lane.clone(), Arc::clone(slot))).collect()
        };
        for (lane, slot) in lanes {
            if let Some(Held { lease, .. }) = slot.lock().await.take()
                && let Err(error) = self.ledger.put_lease(&lane, &lease, &lease.released()).await
            {
                tracing::debug!(lane, %error, "the lease was not given back");
            }
        }
    }
}
