//! Virtual time: all tasks of a run take turns in one thread, and time advances only when all of them wait.
//!
//! Owns the order of events: which task is polled next, and when a timer fires. All randomness is drawn from the seed in that order, so the
//! same seed gives the same run. Must not know what the tasks do.
//!
//! A *party* can crash by itself: a server, an operator, an approver. Each has one task.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use async_trait::async_trait;
use futures::channel::oneshot;
use keyplane_model::{Span, Timestamp};
use keyplane_port::Clock;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// The number of a party.
pub(crate) type Party = u32;

/// Something that happens at its time without a task.
type Event = Box<dyn FnOnce() + Send>;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time, randomness and transcript of a run, shared by everything in it.
pub(crate) struct Sim {
    inner: Mutex<Inner>,
    ready: Arc<Ready>,
    /// The parties that crash at the end of the current poll or event.
    doomed: Mutex<BTreeSet<Party>>,
    /// Whether no message takes seconds.
    quick: AtomicBool,
}

struct Inner {
    now: Timestamp,
    rng: ChaCha20Rng,
    /// Future events by time; at the same time by a random number, then in order of scheduling.
    events: BTreeMap<(Timestamp, u32, u64), Event>,
    numbers: u64,
    transcript: Transcript,
}

/// The lines of what happened: always as a hash, and as text if they are to be read.
struct Transcript {
    hash: Sha256,
    lines: Option<Vec<String>>,
}

#[derive(Default)]
struct Ready(Mutex<BTreeSet<Party>>);

/// The waker of a party's task.
struct Waking {
    ready: Arc<Ready>,
    party: Party,
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        locked(&self.ready.0).insert(self.party);
    }
}

/// A poisoned lock is harmless: nothing goes on after a panic.
pub(crate) fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The true time at which every run begins.
const BEGINNING: Timestamp = Timestamp(1_800_000_000_000_000);

impl Sim {
    /// A run that has not begun. `readable`: whether the transcript's lines are kept.
    pub(crate) fn new(seed: u64, readable: bool) -> Arc<Self> {
        let inner = Inner {
            now: BEGINNING,
            rng: ChaCha20Rng::seed_from_u64(seed),
            events: BTreeMap::new(),
            numbers: 0,
            transcript: Transcript { hash: Sha256::new(), lines: readable.then(Vec::new) },
        };
        Arc::new(Self { inner: Mutex::new(inner), ready: Arc::default(), doomed: Mutex::default(), quick: AtomicBool::new(false) })
    }

    /// The true time. The parties' clocks may be wrong.
    pub(crate) fn now(&self) -> Timestamp {
        locked(&self.inner).now
    }

    /// From now on no message takes seconds.
    pub(crate) fn hurry(&self) {
        self.quick.store(true, Ordering::Relaxed);
    }

    /// Whether no message takes seconds.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    /// Makes a party crash at the end of the current poll or event.
    pub(crate) fn doom(&self, party: Party) {
        locked(&self.doomed).insert(party);
    }

    /// A random number below `end`, which is not 0.
    pub(crate) fn below(&self, end: u32) -> u32 {
        locked(&self.inner).rng.next_u32() % end
    }

    /// A random span of up to `most`, in whole milliseconds.
    pub(crate) fn span(&self, most: Span) -> Span {
        let millis = u32::try_from(most.micros() / 1_000).unwrap_or(u32::MAX - 1);
        Span::millis(self.below(millis + 1))
    }

    /// Schedules an event.
    pub(crate) fn after(&self, span: Span, event: impl FnOnce() + Send + 'static) {
        let mut inner = locked(&self.inner);
        let at = inner.now + span;
        let chance = inner.rng.next_u32();
        inner.numbers += 1;
        let number = inner.numbers;
        inner.events.insert((at, chance, number), Box::new(event));
    }

    /// Waits for a span of true time.
    pub(crate) async fn sleep(&self, span: Span) {
        let (wake, woken) = oneshot::channel();
        // If the waiting task is gone, nothing has to be woken.
        self.after(span, move || {
            let _ = wake.send(());
        });
        let _ = woken.await;
    }

    /// Writes a line of the transcript.
    pub(crate) fn note(&self, who: &str, what: &str) {
        let mut inner = locked(&self.inner);
        let millis = (inner.now - BEGINNING).micros() / 1_000;
        let mut line = String::with_capacity(128);
        // Writing into a string cannot fail.
        let _ = write!(line, "{:>8}.{:03} {who:<10} {what}", millis / 1_000, millis % 1_000);
        inner.transcript.hash.update(line.as_bytes());
        inner.transcript.hash.update(b"\n");
        if let Some(lines) = &mut inner.transcript.lines {
            lines.push(line);
        }
    }

    /// The transcript's hash, and its lines if they were kept.
    pub(crate) fn transcript(&self) -> (String, Vec<String>) {
        let inner = locked(&self.inner);
        (hex::encode(inner.transcript.hash.clone().finalize()), inner.transcript.lines.clone().unwrap_or_default())
    }

    /// `None`: nothing is scheduled.
    fn next(&self) -> Option<Timestamp> {
        locked(&self.inner).events.first_key_value().map(|((at, ..), _)| *at)
    }

    /// Advances the time to the next event and runs it. `false`: there was none.
    fn step(&self) -> bool {
        let event = {
            let mut inner = locked(&self.inner);
            let Some(((at, ..), event)) = inner.events.pop_first() else { return false };
            inner.now = inner.now.max(at);
            event
        };
        event();
        true
    }
}

/// A party's clock: true time plus an error.
pub(crate) struct PartyClock {
    sim: Arc<Sim>,
    wrong: Mutex<i64>,
}

impl PartyClock {
    pub(crate) fn new(sim: Arc<Sim>) -> Arc<Self> {
        Arc::new(Self { sim, wrong: Mutex::new(0) })
    }

    /// Sets it forward or back by so many microseconds. Timers are not affected.
    pub(crate) fn jump(&self, micros: i64) {
        *locked(&self.wrong) += micros;
    }
}

#[async_trait]
impl Clock for PartyClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.sim.now().0.saturating_add(*locked(&self.wrong)))
    }

    /// True time, which nobody can set.
    fn uptime(&self) -> Span {
        self.sim.now() - Timestamp(0)
    }

    async fn sleep(&self, span: Span) {
        self.sim.sleep(span).await;
    }
}

/// The tasks of a run, and the faults of their parties.
pub(crate) struct Parties {
    sim: Arc<Sim>,
    tasks: BTreeMap<Party, Task>,
    /// How often each was polled, in all its lives.
    polls: BTreeMap<Party, u64>,
    /// The polls at which each crashes.
    crashes: BTreeMap<Party, BTreeSet<u64>>,
    /// The polls at which each is suspended, and for how long.
    stalls: BTreeMap<(Party, u64), Span>,
    /// The times during which each is suspended.
    paused: BTreeMap<Party, Vec<(Timestamp, Timestamp)>>,
}

/// Why [`Parties::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// A party crashed: its task was dropped.
    Crashed(Party),
    /// Every task waits, and no event is scheduled.
    Quiet,
    /// The next event is after the caller's limit.
    Late,
}

impl Parties {
    pub(crate) fn new(sim: Arc<Sim>) -> Self {
        Self {
            sim,
            tasks: BTreeMap::new(),
            polls: BTreeMap::new(),
            crashes: BTreeMap::new(),
            stalls: BTreeMap::new(),
            paused: BTreeMap::new(),
        }
    }

    pub(crate) fn spawn(&mut self, party: Party, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.insert(party, Box::pin(task));
        locked(&self.sim.ready.0).insert(party);
    }

    /// Makes a party crash at its nth poll, counted from 1 over all its lives.
    pub(crate) fn crash_at(&mut self, party: Party, poll: u64) {
        self.crashes.entry(party).or_default().insert(poll);
    }

    /// Suspends a party for a while. What it waits for goes on.
    pub(crate) fn pause(&mut self, party: Party, from: Timestamp, until: Timestamp) {
        self.paused.entry(party).or_default().push((from, until));
    }

    /// Suspends a party from its nth poll on, counted as for a crash.
    pub(crate) fn stall_at(&mut self, party: Party, poll: u64, span: Span) {
        self.stalls.insert((party, poll), span);
    }

    /// Until when a party is suspended. `None`: it is not.
    fn pause_of(&self, party: Party, now: Timestamp) -> Option<Timestamp> {
        self.paused.get(&party)?.iter().filter(|(from, until)| *from <= now && now < *until).map(|(_, until)| *until).max()
    }

    /// Runs until a party crashes, every task waits for ever, or the next event is after `until`.
    pub(crate) fn run(&mut self, until: Timestamp) -> Stopped {
        loop {
            if let Some(party) = self.choose() {
                if self.poll(party) {
                    return Stopped::Crashed(party);
                }
                continue;
            }
            match self.sim.next() {
                None => return Stopped::Quiet,
                Some(at) if at > until => return Stopped::Late,
                Some(_) => drop(self.sim.step()),
            }
            if let Some(party) = self.doomed() {
                return Stopped::Crashed(party);
            }
        }
    }

    /// Draws one of the parties that can be polled. `None`: all of them wait.
    fn choose(&self) -> Option<Party> {
        let now = self.sim.now();
        let ready: Vec<Party> = {
            let mut ready = locked(&self.sim.ready.0);
            ready.retain(|party| self.tasks.contains_key(party));
            ready.iter().copied().filter(|party| self.pause_of(*party, now).is_none()).collect()
        };
        match ready.len() {
            0 => {
                self.wake_the_paused(now);
                None
            }
            1 => ready.first().copied(),
            several => ready.get(self.sim.below(u32::try_from(several).unwrap_or(u32::MAX)) as usize).copied(),
        }
    }

    /// Advances the time to the end of a suspension if there is nothing else to wait for.
    fn wake_the_paused(&self, now: Timestamp) {
        let ready = locked(&self.sim.ready.0).clone();
        let end = ready.iter().filter_map(|party| self.pause_of(*party, now)).min();
        if let Some(end) = end
            && self.sim.next().is_none_or(|next| next > end)
        {
            self.sim.after(end - now, || {});
        }
    }

    /// A party that is to crash and has a task; the task is dropped.
    fn doomed(&mut self) -> Option<Party> {
        let party = locked(&self.sim.doomed).pop_first()?;
        self.tasks.remove(&party).map(|_| party)
    }

    /// Polls a party's task. `true`: the party crashed.
    fn poll(&mut self, party: Party) -> bool {
        locked(&self.sim.ready.0).remove(&party);
        let Some(task) = self.tasks.get_mut(&party) else { return false };
        let waker = Waker::from(Arc::new(Waking { ready: Arc::clone(&self.sim.ready), party }));
        if let Poll::Ready(()) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.tasks.remove(&party);
            return false;
        }
        let polls = self.polls.entry(party).or_default();
        *polls += 1;
        if let Some(span) = self.stalls.get(&(party, *polls)) {
            let now = self.sim.now();
            self.paused.entry(party).or_default().push((now, now + *span));
        }
        let crashes = self.crashes.get(&party).is_some_and(|crashes| crashes.contains(polls));
        // A poll can make only its own party crash.
        if self.doomed().is_some() {
            return true;
        }
        if crashes {
            self.tasks.remove(&party);
        }
        crashes
    }
}
