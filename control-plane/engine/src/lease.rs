//! The leases of one server: which lanes it holds, and for how long.
//!
//! A lane belongs to one server at a time. The fencing number protects the ledger. No cloud checks it, so the holder checks its lease
//! before each call and starts no mutation that could outlast it. A server that wants the lane watches the lease, by its own clock, for as
//! long as the lease and one call last. If nothing has changed by then, it takes the lane and begins with empty quota buckets. A crash
//! therefore costs that time and nothing else; if the ledger is certain that the holder is dead, not even that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keyplane_model::{Actor, Asked, Class, Fence, Lease, Problem, ProblemCode, ServerId, Span};
use keyplane_port::{Cause, CloudError, Ledger};

use crate::job::Job;
use crate::lane::{Guard, Lane};
use crate::progress::{Event, Progress};

/// A lease lasts this many call time-outs of its lane. It is renewed after half of that, so the rest is always long enough for a call.
const CALLS: u32 = 4;

/// The longest pause between two reads of a lease that another server holds.
const WATCH: Span = Span::seconds(1);

pub struct Leases {
    server: ServerId,
    /// By lane ([`keyplane_model::Destination::home`]). Each has its own lock, so that waiting for one lane blocks no other.
    lanes: Mutex<BTreeMap<String, Slot>>,
    /// How many runs are active. The last one to end releases every lane.
    runs: AtomicU32,
}

/// `None`: this server does not hold the lane.
type Slot = Arc<futures::lock::Mutex<Option<Held>>>;

#[derive(Clone, Copy)]
struct Held {
    lease: Lease,
    /// The server's uptime when it last requested the lease. The lease lasts from then on.
    since: Span,
}

impl Leases {
    /// For a server that holds no lane yet.
    #[must_use]
    pub fn new(server: ServerId) -> Self {
        Self { server, lanes: Mutex::default(), runs: AtomicU32::new(0) }
    }

    fn slot(&self, lane: &str) -> Slot {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(lane.to_owned()).or_default())
    }

    /// Counts a run until the value is dropped.
    pub(crate) fn begin(&self) -> Working<'_> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        Working(self)
    }

    /// Makes sure that this server holds a lane for at least as long as a call takes. Waits for a holder that may be dead.
    ///
    /// # Errors
    /// When another server works there, or the ledger fails.
    async fn keep(&self, lane: &Lane, ledger: &dyn Ledger, by: &Actor, progress: &dyn Progress) -> Result<Fence, Problem> {
        let home = &lane.destination().home;
        let clock = lane.clock();
        let slot = self.slot(home);
        let mut slot = slot.lock().await;
        let term = term(lane);
        let fence = |lease: &Lease| Fence { lane: home.clone(), number: lease.fence };
        if let Some(Held { lease, since }) = &*slot
            && clock.uptime() < *since + term.divided_by(2)
        {
            return Ok(fence(lease));
        }
        let mut watched: Option<(Lease, Span)> = None;
        loop {
            let since = clock.uptime();
            // Its own last write need not be read again: if another server has written since, `put_lease` refuses.
            let seen = match slot.take() {
                Some(held) => held.lease,
                None => ledger.lease(home).await.map_err(|error| error.problem())?,
            };
            let read = clock.uptime();
            let next = match (seen.holder, watched) {
                (Some(holder), _) if holder == self.server => seen.renewed(),
                (None, _) => seen.taken(self.server, term + lane.destination().capabilities.call_timeout),
                (Some(_), Some((before, at))) if before == seen && since >= at + seen.span => seen.taken(self.server, seen.span),
                (Some(holder), Some((before, _))) if before != seen => {
                    let detail = format!("server {holder} works at `{home}`");
                    return Err(Problem::new(ProblemCode::LaneBusy, detail, "keyplane apply").destination(&lane.destination().name));
                }
                (Some(holder), _) => {
                    if watched.is_none() {
                        // From when it was read, and not from before: the machine may have stood still in between, while the holder
                        // took the lane.
                        watched = Some((seen, read));
                        progress.event(&Event::Watching { destination: &lane.destination().name, holder, longest: seen.span });
                    }
                    clock.sleep(seen.span.min(WATCH)).await;
                    continue;
                }
            };
            if ledger.put_lease(home, &seen, &next, Asked { by, at: clock.now() }).await.map_err(|error| error.problem())? {
                if next.fence != seen.fence {
                    lane.begin_with_empty_buckets();
                    tracing::info!(lane = home, fence = next.fence, "takes the lane");
                }
                *slot = Some(Held { lease: next, since });
                return Ok(fence(&next));
            }
        }
    }

    /// Refuses a call that could end after the lease if it started now.
    ///
    /// # Errors
    /// [`Class::Stale`]: it must not be sent.
    async fn outlasts(&self, lane: &Lane, operation: &'static str) -> Result<(), CloudError> {
        let slot = self.slot(&lane.destination().home);
        let slot = slot.lock().await;
        let ends = lane.clock().uptime() + lane.destination().capabilities.call_timeout;
        if slot.as_ref().is_some_and(|held| ends <= held.since + term(lane)) {
            return Ok(());
        }
        let message = "the lease on its lane could run out before it ends: it was not sent".to_owned();
        Err(CloudError { class: Class::Stale, cause: Cause::Plain, operation, message, retry_after: None })
    }

    /// Releases every lane, unless another run is active. A lease that cannot be released expires by itself.
    pub(crate) async fn release(&self, ledger: &dyn Ledger, asked: Asked<'_>) {
        if self.runs.load(Ordering::SeqCst) > 0 {
            return;
        }
        let lanes: Vec<(String, Slot)> = {
            let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.iter().map(|(lane, slot)| (lane.clone(), Arc::clone(slot))).collect()
        };
        for (lane, slot) in lanes {
            if let Some(Held { lease, .. }) = slot.lock().await.take()
                && let Err(error) = ledger.put_lease(&lane, &lease, &lease.released(), asked).await
            {
                tracing::debug!(lane, %error, "the lease was not given back");
            }
        }
    }
}

pub(crate) struct Working<'a>(&'a Leases);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.runs.fetch_sub(1, Ordering::SeqCst);
    }
}

fn term(lane: &Lane) -> Span {
    let call = lane.destination().capabilities.call_timeout;
    (0..CALLS).fold(Span::ZERO, |term, _| term + call)
}

/// The right to work at a lane, under one fencing number.
pub(crate) struct Hold<'a> {
    leases: &'a Leases,
    lane: &'a Lane,
    ledger: &'a dyn Ledger,
    by: &'a Actor,
    progress: &'a dyn Progress,
    fence: Fence,
}

impl<'a> Hold<'a> {
    /// Takes the lane, or continues with it if this server holds it already.
    ///
    /// # Errors
    /// When another server works there, or the ledger fails.
    pub(crate) async fn take(leases: &'a Leases, lane: &'a Lane, job: &Job<'a>) -> Result<Self, Problem> {
        let Job { ports, by, progress, .. } = *job;
        let fence = leases.keep(lane, ports.ledger, by, progress).await?;
        Ok(Self { leases, lane, ledger: ports.ledger, by, progress, fence })
    }

    pub(crate) fn lane(&self) -> &'a Lane {
        self.lane
    }

    /// Renews the lease if needed, so that it lasts for at least one call. Returns the fence for writes to the ledger.
    ///
    /// # Errors
    /// When another server has the lane, or had it for a while: then what this one knows of the placement is old.
    pub(crate) async fn keep(&self) -> Result<&Fence, Problem> {
        let fence = self.leases.keep(self.lane, self.ledger, self.by, self.progress).await?;
        if fence == self.fence {
            return Ok(&self.fence);
        }
        let detail = "another server had the lane for a while";
        Err(Problem::new(ProblemCode::LaneBusy, detail, "keyplane apply").destination(&self.lane.destination().name))
    }

    /// Refuses a call that could end after the lease if it started now.
    ///
    /// # Errors
    /// [`Class::Stale`]: it must not be sent.
    pub(crate) async fn outlasts(&self, operation: &'static str) -> Result<(), CloudError> {
        self.leases.outlasts(self.lane, operation).await
    }
}

/// Renews the lease before a read that could outlast it: reads draw from the same quotas as the calls of a server that took over the lane.
#[async_trait]
impl Guard for Hold<'_> {
    async fn admits(&self, operation: &'static str) -> Result<(), Problem> {
        match self.outlasts(operation).await {
            Ok(()) => Ok(()),
            Err(_) => self.keep().await.map(|_| ()),
        }
    }
}

/// Guards the read that a wrap and a mutation follow at once. It renews the lease after half of its term, so that all of them fit into it.
pub(crate) struct Renewing<'a>(pub(crate) &'a Hold<'a>);

#[async_trait]
impl Guard for Renewing<'_> {
    async fn admits(&self, _: &'static str) -> Result<(), Problem> {
        self.0.keep().await.map(|_| ())
    }
}
