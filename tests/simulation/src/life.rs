//! One life of a party, from its start to its crash, and the exact moments at which a handmade schedule ends it.
//!
//! A random crash counts polls ([`crate::schedule::Fault::Crash`]) and may come anywhere. Cases that are enumerated need exact moments:
//! before the `n`th request leaves, or between its effect and its reply. All moments of a run are counted, so that an undisturbed run tells
//! how many there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::executor::{Party, Sim, locked};

/// A moment in the work of a server. Only mutating requests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Moment {
    /// An attempt is durable in the ledger, and the server does not know that yet.
    Written,
    /// A request leaves the server. The fault says whether it still arrives after a crash.
    Sent,
    /// The cloud has dealt with a request, and its reply, if any, is still on the way.
    Served,
    /// The server has dealt with the reply or with a closed connection, and waits for its next call.
    Answered,
    /// A receipt is durable in the ledger, and the server does not know that yet.
    Recorded,
    /// The server reported a line of progress.
    Told,
}

/// How often each moment came in a run, and at which ones a server crashes.
#[derive(Default)]
pub(crate) struct Moments(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    counts: BTreeMap<Moment, u64>,
    /// The value: whether the request that the server was sending still arrives.
    crashes: BTreeMap<(Moment, u64), bool>,
}

impl Moments {
    /// Makes the server that comes to the `nth` of these moments crash there, counted from 1 over all servers and their lives.
    pub(crate) fn crash_at(&self, moment: Moment, nth: u64, lands: bool) {
        locked(&self.0).crashes.insert((moment, nth), lands);
    }

    /// How often each moment came.
    pub(crate) fn counts(&self) -> BTreeMap<Moment, u64> {
        locked(&self.0).counts.clone()
    }

    /// Counts a moment. `None`: no crash at this one.
    fn pass(&self, moment: Moment) -> Option<bool> {
        let mut inner = locked(&self.0);
        let count = inner.counts.entry(moment).or_default();
        *count += 1;
        let nth = *count;
        inner.crashes.remove(&(moment, nth))
    }
}

/// One life of a party. A clone is the same life.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) party: Party,
    pub(crate) sim: Arc<Sim>,
    moments: Arc<Moments>,
    /// False after the party's crash.
    lives: Arc<AtomicBool>,
    /// Whether requests on the way still arrive. False if they were lost with the crashed machine.
    carries: Arc<AtomicBool>,
}

impl Life {
    pub(crate) fn new(party: Party, sim: Arc<Sim>, moments: Arc<Moments>) -> Self {
        let on = || Arc::new(AtomicBool::new(true));
        Self { party, sim, moments, lives: on(), carries: on() }
    }

    /// Counts a moment and, if the schedule says so, ends the life at the end of the current poll or event.
    pub(crate) fn passes(&self, moment: Moment) {
        // A request of a server that has crashed since may still be served.
        if let Some(lands) = self.moments.pass(moment)
            && self.lives.load(Ordering::Relaxed)
        {
            if !lands {
                self.cut();
            }
            self.sim.doom(self.party);
        }
    }

    /// The party crashed.
    pub(crate) fn end(&self) {
        self.lives.store(false, Ordering::Relaxed);
    }

    /// Whether requests on the way still arrive.
    pub(crate) fn carries(&self) -> bool {
        self.carries.load(Ordering::Relaxed)
    }

    /// From now on no request of this life arrives any more.
    pub(crate) fn cut(&self) {
        self.carries.store(false, Ordering::Relaxed);
    }
}
