//! The network between a party and an emulated cloud: messages take time, and some are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::oneshot;
use keyplane_emulator_core::Timestamp as CoreTime;
use keyplane_emulator_core::frame::{Answer, Frame, Service};
use keyplane_emulator_core::quota::Buckets;
use keyplane_model::{Span, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::executor::{Sim, locked};
use crate::life::{Life, Moment};

/// The longest time that most messages take.
const QUICK: Span = Span::millis(40);

/// One message in this many takes longer, up to [`SLOW`].
const RARELY: u32 = 40;

/// The longest time that such a message takes: about a call's time-out.
const SLOW: Span = Span::seconds(9);

/// An emulated cloud, shared by all parties.
pub(crate) struct Site<S: Service>(Mutex<Inner<S>>);

struct Inner<S: Service> {
    frame: Frame<S>,
    rng: ChaCha20Rng,
    /// The numbers of the mutating requests that arrive twice.
    twice: BTreeSet<u64>,
    /// The cloud's buckets as if each request arrived when it was sent, so that the network's delays do not count against a server.
    paced: Buckets,
    /// The requests that were sent when the quota was used up, with their times.
    overdrawn: Vec<(Timestamp, String)>,
    /// The callers that the cloud will never answer. They wait until their time-out.
    unanswered: Vec<oneshot::Sender<Result<S::Reply, Lost>>>,
}

impl<S: Service> Site<S> {
    pub(crate) fn new(mut frame: Frame<S>, seed: u64) -> Arc<Self> {
        let paced = frame.quotas().clone();
        let (rng, twice, overdrawn, unanswered) = (ChaCha20Rng::seed_from_u64(seed), BTreeSet::new(), Vec::new(), Vec::new());
        Arc::new(Self(Mutex::new(Inner { frame, rng, twice, paced, overdrawn, unanswered })))
    }

    /// Makes the nth mutating request arrive twice.
    pub(crate) fn double(&self, mutation: u64) {
        locked(&self.0).twice.insert(mutation);
    }

    /// A request leaves. Counts what it draws; returns whether it is a mutating one.
    fn leaves(&self, now: Timestamp, request: &S::Request, sent: &mut BTreeMap<&'static str, u64>) -> bool {
        let mut inner = locked(&self.0);
        let Inner { frame, paced, overdrawn, .. } = &mut *inner;
        for (place, name) in frame.draws(request) {
            *sent.entry(name).or_default() += 1;
            if !paced.take_in(&place, name, core_time(now)) {
                overdrawn.push((now, frame.service().operation(request).to_owned()));
            }
        }
        frame.service().is_mutating(request)
    }

    /// The requests that were sent when the quota was used up, with their times.
    pub(crate) fn overdrawn(&self) -> Vec<(Timestamp, String)> {
        locked(&self.0).overdrawn.clone()
    }

    /// Serves a request as often as it arrives; returns the first answer.
    fn serve(&self, now: Timestamp, request: &S::Request) -> Answer<S::Reply> {
        let mut inner = locked(&self.0);
        let Inner { frame, rng, twice, .. } = &mut *inner;
        let before = frame.journal().mutations();
        let answer = frame.handle(core_time(now), rng, request);
        let number = frame.journal().mutations();
        if number > before && twice.remove(&number) {
            drop(frame.handle(core_time(now), rng, request));
        }
        answer
    }

    /// Reads or changes the cloud as no client can.
    pub(crate) fn inside<T>(&self, work: impl FnOnce(&mut Frame<S>, &mut ChaCha20Rng) -> T) -> T {
        let mut inner = locked(&self.0);
        let Inner { frame, rng, .. } = &mut *inner;
        work(frame, rng)
    }
}

/// No answer will come. It is not known whether the request had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost;

/// The connection of one party to one cloud.
pub(crate) struct Line<S: Service> {
    life: Life,
    site: Arc<Site<S>>,
    /// Caller and cloud, for the transcript.
    name: String,
    /// How often the requests that left draw from each quota.
    sent: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl<S: Service> Clone for Line<S> {
    fn clone(&self) -> Self {
        Self { life: self.life.clone(), site: Arc::clone(&self.site), name: self.name.clone(), sent: Arc::clone(&self.sent) }
    }
}

impl<S: Service> Line<S> {
    pub(crate) fn new(life: Life, site: Arc<Site<S>>, name: impl Into<String>) -> Self {
        Self { life, site, name: name.into(), sent: Arc::default() }
    }

    /// How often the requests that left draw from a quota.
    pub(crate) fn sent(&self, quota: &str) -> u64 {
        locked(&self.sent).get(quota).copied().unwrap_or_default()
    }

    /// Sends one request and waits for its answer, for ever if there is none: the lane has the time-outs. Dropping the future does not
    /// cancel the request.
    pub(crate) async fn send(&self, request: S::Request) -> Result<S::Reply, Lost> {
        let (answer, answered) = oneshot::channel();
        let Self { life, site, name, sent } = self.clone();
        let mutates = site.leaves(life.sim.now(), &request, &mut locked(&sent));
        if mutates {
            life.passes(Moment::Sent);
        }
        let there = way(&life.sim);
        self.life.sim.after(there, move || {
            // The request was still on the machine that crashed.
            if !life.carries() {
                return;
            }
            let operation = locked(&site.0).frame.service().operation(&request).to_owned();
            let sim = Arc::clone(&life.sim);
            sim.note(&name, &operation);
            let served = site.serve(sim.now(), &request);
            if mutates {
                life.passes(Moment::Served);
            }
            let back = match served {
                Answer::Reply(reply) => Ok(reply),
                Answer::Close => Err(Lost),
                Answer::Hang => {
                    locked(&site.0).unanswered.push(answer);
                    return;
                }
            };
            let delay = way(&sim);
            // If the caller is gone, the answer is lost.
            sim.after(delay, move || {
                let _ = answer.send(back);
            });
        });
        let answer = answered.await.unwrap_or(Err(Lost));
        if mutates {
            self.life.passes(Moment::Answered);
        }
        answer
    }
}

fn way(sim: &Sim) -> Span {
    let rare = sim.below(RARELY) == 0;
    let most = if rare && !sim.is_quick() { SLOW } else { QUICK };
    sim.span(most)
}

/// A time in the emulators' type.
pub(crate) fn core_time(at: Timestamp) -> CoreTime {
    CoreTime::from_micros(at.0)
}

/// A span in the standard library's type.
pub(crate) fn duration(span: Span) -> Duration {
    span.to_std()
}
