//! The calls to one destination: its adapter, wrapped in tower layers for quotas, time-outs and repeated reads.
//!
//! | layer, from outside | purpose | used for |
//! |---|---|---|
//! | `Repeat` | repeats a call that failed transiently | reads |
//! | `Admitted` | before each try: waits for its quota, then asks its [`Guard`] | reads |
//! | `Timed` | ends the call at the destination's time-out | reads and mutations |
//! | `Adapter` | sends the call | reads and mutations |
//!
//! A mutation is never repeated here, since only a look shows what happened to a request whose reply was lost. Its caller waits for the
//! quota before the last look, so that this look is fresh when the mutation is sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::future::{BoxFuture, Either, select};
use keyplane_model::{Class, CopyRecord, Destination, Evidence, ObjectId, ObjectSeen, PlacementSeen, Problem, Span, Target, Timestamp};
use keyplane_model::{Version, WrapScheme};
use keyplane_port::{Acted, Cause, Clock, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
use tower::retry::{Policy, Retry};
use tower::{Service, ServiceBuilder, ServiceExt as _};

use crate::quota::Meter;
pub use crate::quota::{Admission, Quotas};

#[derive(Clone)]
pub struct Lane {
    cloud: Arc<dyn Cloud>,
    clock: Arc<dyn Clock>,
    meter: Meter,
    mutations: Timed<Adapter>,
    reads: Retry<Repeat, Admitted<Timed<Adapter>>>,
    swept: LastSweep,
}

/// The complete sweep that began last: the uptime when it began, and what it found. `None`: no sweep was complete yet.
type LastSweep = Arc<Mutex<Option<(Span, Arc<Swept>)>>>;

/// Decides whether a read may still be sent: a server that waited for a quota may have lost the lane meanwhile.
#[async_trait]
pub trait Guard: Send + Sync {
    /// Asked before each try, after the wait for its quota.
    async fn admits(&self, operation: &'static str) -> Result<(), Problem>;
}

/// For reads that need no lease: planning reads beside the server that holds the lane.
#[derive(Clone, Copy, Debug)]
pub struct Anybody;

#[async_trait]
impl Guard for Anybody {
    async fn admits(&self, _: &'static str) -> Result<(), Problem> {
        Ok(())
    }
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Call(CloudError),
    /// The guard refused the read; nothing was sent.
    Guard(Problem),
}

impl Failure {
    /// The problem to report.
    #[must_use]
    pub fn problem(&self, destination: &Destination) -> Problem {
        match self {
            Self::Call(error) => error.problem(destination),
            Self::Guard(problem) => problem.clone(),
        }
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, CloudError>>;

/// One call of the port.
struct Call<'a, T> {
    word: &'static str,
    /// Whether it can have an effect even without a reply.
    mutates: bool,
    send: Arc<dyn Fn() -> Answer<'a, T> + Send + Sync + 'a>,
}

/// A call that can be repeated, with the guard to ask before each try.
struct Read<'a, T> {
    call: Call<'a, T>,
    guard: &'a dyn Guard,
}

impl<T> Clone for Read<'_, T> {
    fn clone(&self) -> Self {
        let Call { word, mutates, send } = &self.call;
        Self { call: Call { word, mutates: *mutates, send: Arc::clone(send) }, guard: self.guard }
    }
}

/// A sweep of more pages than this counts as incomplete: at 1,000 objects a page, ten times what the clouds allow.
const SWEEP_PAGES: usize = 1_000;

impl Lane {
    /// `quotas` is shared by all lanes of a server.
    #[must_use]
    pub fn new(cloud: Arc<dyn Cloud>, quotas: Quotas, clock: Arc<dyn Clock>) -> Self {
        let meter = Meter::new(Arc::clone(&cloud), quotas, Arc::clone(&clock));
        let limit = cloud.destination().capabilities.call_timeout;
        let mutations = Timed { inner: Adapter, limit, clock: Arc::clone(&clock) };
        let reads = ServiceBuilder::new()
            .retry(Repeat { tries: 1, clock: Arc::clone(&clock) })
            .layer_fn(|inner| Admitted { inner, meter: meter.clone() })
            .service(mutations.clone());
        Self { cloud, clock, meter, mutations, reads, swept: Arc::default() }
    }

    #[must_use]
    pub fn destination(&self) -> &Destination {
        self.cloud.destination()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// See [`Cloud::look`].
    ///
    /// # Errors
    /// As there, after repeating; or the guard's.
    pub async fn look(&self, target: &Target, guard: &dyn Guard) -> Result<PlacementSeen, Failure> {
        self.read("look", guard, || self.cloud.look(target)).await
    }

    /// See [`Cloud::inspect`].
    pub(crate) async fn inspect(&self, object: &ObjectId, guard: &dyn Guard) -> Result<Option<ObjectSeen>, Failure> {
        self.read("inspect", guard, || self.cloud.inspect(object)).await
    }

    /// See [`Cloud::sweep`]: all pages. The second value says whether the sweep is complete.
    ///
    /// # Errors
    /// As there, after repeating; or the guard's.
    pub async fn sweep(&self, guard: &dyn Guard) -> Result<(Arc<Swept>, bool), Failure> {
        let began = self.clock.uptime();
        let (mut objects, mut complete, mut cursor) = (Swept::new(), true, None::<Cursor>);
        for _ in 0..SWEEP_PAGES {
            let Page { objects: page, broken, next } = self.read("sweep", guard, || self.cloud.sweep(cursor.as_ref())).await?;
            objects.extend(page.into_iter().map(|object| (object.object.clone(), object)));
            complete &= broken == 0;
            if next.is_none() {
                let swept = Arc::new(objects);
                if complete {
                    self.keep_sweep(began, &swept);
                }
                return Ok((swept, complete));
            }
            cursor = next;
        }
        Ok((Arc::new(objects), false))
    }

    fn keep_sweep(&self, began: Span, swept: &Arc<Swept>) {
        let mut last = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(at, _)| *at <= began) {
            *last = Some((began, Arc::clone(swept)));
        }
    }

    /// The result of the last complete sweep of this lane, whoever asked for it. `None`: no sweep was complete yet.
    pub(crate) fn last_sweep(&self) -> Option<Arc<Swept>> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, swept)| Arc::clone(swept))
    }

    /// See [`Cloud::find`].
    pub(crate) async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, Failure> {
        self.read("find", &Anybody, || self.cloud.find(target, swept)).await
    }

    /// See [`Cloud::wrapping_key`].
    pub(crate) async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme, guard: &dyn Guard) -> Result<WrappingKey, Failure> {
        self.read("wrapping-key", guard, || self.cloud.wrapping_key(from, scheme)).await
    }

    /// See [`Cloud::prepared`].
    pub(crate) async fn prepared(
        &self,
        target: &Target,
        version: Version,
        made: Option<&ObjectId>,
        guard: &dyn Guard,
    ) -> Result<Option<Prepared>, Failure> {
        self.read("prepared", guard, || self.cloud.prepared(target, version, made)).await
    }

    /// See [`Cloud::evidence`].
    ///
    /// # Errors
    /// As there, after repeating.
    pub async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, Failure> {
        self.read("evidence", &Anybody, || self.cloud.evidence(target, copy, now)).await
    }

    /// Waits until a mutation is within its quotas. Called before the last look, so that this look is fresh when the mutation is sent. What
    /// it returns is kept until the mutation has ended.
    pub async fn admit(&self, word: &'static str) -> Admission {
        self.meter.admit(word).await
    }

    /// How long an admitted mutation still has to wait after those that were sent before it. Zero: it counts as sent now. Ask again after
    /// each wait.
    #[must_use]
    pub fn gap(&self, word: &'static str) -> Span {
        self.meter.gap(word)
    }

    /// Forgets what was drawn from the quotas: another server held the lane and drew an unknown amount.
    pub(crate) fn begin_with_empty_buckets(&self) {
        self.meter.begin_empty();
    }

    /// See [`Cloud::act`]. The caller has waited with [`Lane::admit`] and [`Lane::gap`].
    ///
    /// # Errors
    /// As there; a time-out is [`Class::Ambiguous`].
    pub async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        let call = Call { word: mutation.word(), mutates: true, send: Arc::new(|| self.cloud.act(mutation)) };
        self.mutations.clone().oneshot(call).await
    }

    async fn read<'a, T, F>(&self, word: &'static str, guard: &'a dyn Guard, send: F) -> Result<T, Failure>
    where
        T: Send + 'a,
        F: Fn() -> Answer<'a, T> + Send + Sync + 'a,
    {
        let call = Call { word, mutates: false, send: Arc::new(send) };
        self.reads.clone().oneshot(Read { call, guard }).await
    }
}

/// The innermost service: sends a call.
#[derive(Clone)]
struct Adapter;

impl<'a, T> Service<Call<'a, T>> for Adapter {
    type Response = T;
    type Error = CloudError;
    type Future = Answer<'a, T>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CloudError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<'a, T>) -> Self::Future {
        (call.send)()
    }
}

/// Ends a call after `limit`.
#[derive(Clone)]
struct Timed<S> {
    inner: S,
    limit: Span,
    clock: Arc<dyn Clock>,
}

impl<'a, T, S> Service<Call<'a, T>> for Timed<S>
where
    T: Send + 'a,
    S: Service<Call<'a, T>, Response = T, Error = CloudError, Future = Answer<'a, T>>,
{
    type Response = T;
    type Error = CloudError;
    type Future = Answer<'a, T>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloudError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<'a, T>) -> Self::Future {
        let (operation, mutates) = (call.word, call.mutates);
        let running = self.inner.call(call);
        let (clock, limit) = (Arc::clone(&self.clock), self.limit);
        Box::pin(async move {
            // `select` polls the call first, so a reply that is there at the time-out still counts.
            match select(running, clock.sleep(limit)).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => {
                    let (class, cause) = if mutates { (Class::Ambiguous, Cause::Plain) } else { (Class::Transient, Cause::Unreachable) };
                    let message = format!("no answer within {limit}");
                    Err(CloudError { class, cause, operation, message, retry_after: None })
                }
            }
        })
    }
}

/// Waits for a read's quota and asks its guard before sending it.
#[derive(Clone)]
struct Admitted<S> {
    inner: S,
    meter: Meter,
}

impl<'a, T, S> Service<Read<'a, T>> for Admitted<S>
where
    T: Send + 'a,
    S: Service<Call<'a, T>, Response = T, Error = CloudError, Future = Answer<'a, T>> + Clone + Send + 'a,
{
    type Response = T;
    type Error = Failure;
    type Future = BoxFuture<'a, Result<T, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx).map_err(Failure::Call)
    }

    fn call(&mut self, Read { call, guard }: Read<'a, T>) -> Self::Future {
        let (mut inner, meter) = (self.inner.clone(), self.meter.clone());
        Box::pin(async move {
            let _admission = meter.admit(call.word).await;
            guard.admits(call.word).await.map_err(Failure::Guard)?;
            inner.call(call).await.map_err(Failure::Call)
        })
    }
}

/// The most tries of a read. With the pauses of [`pause`], a cloud has about eight seconds to recover.
const READ_TRIES: u32 = 5;

/// Repeats a read that failed transiently.
#[derive(Clone)]
struct Repeat {
    /// The number of the current try, from 1.
    tries: u32,
    clock: Arc<dyn Clock>,
}

impl<'a, T> Policy<Read<'a, T>, T, Failure> for Repeat {
    type Future = BoxFuture<'static, ()>;

    fn retry(&mut self, _: &mut Read<'a, T>, result: &mut Result<T, Failure>) -> Option<Self::Future> {
        let Err(Failure::Call(error)) = result else { return None };
        if !is_passing(error.class) || self.tries >= READ_TRIES {
            return None;
        }
        let (clock, span) = (Arc::clone(&self.clock), pause(self.tries, error));
        self.tries += 1;
        Some(Box::pin(async move { clock.sleep(span).await }))
    }

    fn clone_request(&mut self, read: &Read<'a, T>) -> Option<Read<'a, T>> {
        Some(read.clone())
    }
}

/// Whether a read that failed with this class may succeed soon.
fn is_passing(class: Class) -> bool {
    match class {
        Class::Transient | Class::Throttled => true,
        Class::Ambiguous
        | Class::Stale
        | Class::NotFound
        | Class::AlreadyExists
        | Class::Denied
        | Class::Unsupported
        | Class::Invalid
        | Class::Broken => false,
    }
}

/// The pause before the `n`th repetition (from 1): 0.5 s, doubled each time, at most 30 s. If the cloud asks for a longer pause, that one,
/// at most five minutes.
pub(crate) fn pause(n: u32, error: &CloudError) -> Span {
    let doubled = Span::millis(500_u32.saturating_mul(1 << n.saturating_sub(1).min(6)).min(30_000));
    error.retry_after.map_or(doubled, |asked| asked.max(doubled).min(Span::seconds(300)))
}
