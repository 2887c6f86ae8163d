//! One life of a party, from its start to its crash, and the exact moments at which a schedule made by hand ends it.
//!
//! A random crash counts polls ([`crate::schedule::Fault::Crash`]): it may fall anywhere. What is enumerated needs more: before the
//! `n`th request leaves, or between its effect and its reply. Every such moment of a run is counted, so that an undisturbed run says
//! how many there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::executor::{Party, Sim, locked};

/// A moment in the work of a server. Requests are the mutating ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Moment {
    /// An attempt is durable in the ledger, and the server does not know that yet.
    Written,
    /// A request leaves the server. Whether it arrives after the crash, the fault says.
    Sent,
    /// The cloud has dealt with a request, and its reply is still on the way, if there is one.
    Served,
    /// The server has dealt with the reply, or with a closed connection, and waits for what it asked next.
    Answered,
    /// A receipt is durable in the ledger, and the server does not know that yet.
    Recorded,
    /// The server told a line of progress.
    Told,
}

/// How often each moment came in a run, and at which ones a server crashes.
#[derive(Default)]
pub(crate) struct Moments(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    counts: BTreeMap<Moment, u64>,
    /// With each, whether what the server was sending still arrives.
    crashes: BTreeMap<(Moment, u64), bool>,
}

impl Moments {
    /// Has whichever server comes to the `nth` of these moments (from 1, counted over all servers and their lives) crash there.
    pub(crate) fn crash_at(&self, moment: Moment, nth: u64, lands: bool) {
        locked(&self.0).crashes.insert((moment, nth), lands);
    }

    /// How often each moment came.
    pub(crate) fn counts(&self) -> BTreeMap<Moment, u64> {
        locked(&self.0).counts.clone()
    }

    /// Counts a moment. `None`: nobody crashes at this one.
    fn pass(&self, moment: Moment) -> Option<bool> {
        let mut inner = locked(&self.0);
        let count = inner.counts.entry(moment).or_default();
        *count += 1;
        let nth = *count;
        inner.crashes.remove(&(moment, nth))
    }
}

/// One life of a party; a clone is the same one.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) party: Party,
    pub(crate) sim: Arc<Sim>,
    moments: Arc<Moments>,
    /// False once the party crashed.
    lives: Arc<AtomicBool>,
    /// Whether what it sent and nobody has received yet still arrives: false once its machine took it along in a crash.
    carries: Arc<AtomicBool>,
}

impl Life {
    /// A life that begins.
    pub(crate) fn new(party: Party, sim: Arc<Sim>, moments: Arc<Moments>) -> Self {
        let on = || Arc::new(AtomicBool::new(true));
        Self { party, sim, moments, lives: on(), carries: on() }
    }

    /// Counts a moment, and ends the life if the schedule says so: at the end of the poll or event in which it comes.
    pub(crate) fn passes(&self, moment: Moment) {
        // What a server sent before it crashed may be served when the next one works.
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

    /// Whether what was sent and not received yet still arrives.
    pub(crate) fn carries(&self) -> bool {
        self.carries.load(Ordering::Relaxed)
    }

    /// Has nothing arrive any more that was sent in this life.
    pub(crate) fn cut(&self) {
        self.carries.store(false, Ordering::Relaxed);
    }
}
