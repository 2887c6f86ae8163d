//! The way to a destination: quota, time-out and repeated reads around its adapter, as tower layers, once.
//!
//! Order, from outside: a read that failed for the moment is repeated; each try waits for its quota, then runs under the
//! call's time-out. A mutation is never repeated here: what a lost reply means is the step's to find out. Nor is a read that is as
//! rare as one: between two tries, the step sees whether the lane is still its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either, select};
use keyplane_model::{
    Class, CopyRecord, Destination, Evidence, ObjectId, ObjectSeen, PlacementSeen, Quota, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Clock, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
use tower::{Layer as _, Service, ServiceExt as _};

/// The way to one destination.
#[derive(Clone)]
pub struct Lane {
    cloud: Arc<dyn Cloud>,
    quotas: Quotas,
    clock: Arc<dyn Clock>,
    swept: LastSweep,
}

/// What the complete sweep that began last found, and at which uptime it began.
type LastSweep = Arc<Mutex<Option<(Span, Arc<Swept>)>>>;

/// One call of the port: how to make it, and what the layers have to know about it.
pub struct Call<T> {
    word: &'static str,
    kind: Kind,
    make: Arc<dyn Fn() -> BoxFuture<'static, Result<T, CloudError>> + Send + Sync>,
}

/// What the layers do about a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// They wait for its quota, and repeat it.
    Read,
    /// Its caller does both: whoever waited for what is rare has to see that the lane is still its own.
    RareRead,
    /// The same; and without an answer it is unknown whether it had its effect.
    Mutation,
}

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        Self { word: self.word, kind: self.kind, make: Arc::clone(&self.make) }
    }
}

/// How often a read is tried in all: with the pauses of [`pause`], a cloud has about eight seconds to recover.
pub(crate) const READ_TRIES: u32 = 5;

/// Whether a read that failed so may work in a moment.
pub(crate) fn is_passing(class: Class) -> bool {
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

/// The pause before the `n`th repetition (from 1): 0.5 s, doubled each time, at most 30 s; longer if the cloud says so.
#[must_use]
pub fn pause(n: u32, error: &CloudError) -> Span {
    let doubled = Span::millis(500_u32.saturating_mul(1 << n.saturating_sub(1).min(6)).min(30_000));
    error.retry_after.map_or(doubled, |asked| asked.max(doubled).min(Span::seconds(300)))
}

impl Lane {
    /// A lane; `quotas` is shared by all lanes of a server, since several destinations can draw from the same scope.
    #[must_use]
    pub fn new(cloud: Arc<dyn Cloud>, quotas: Quotas, clock: Arc<dyn Clock>) -> Self {
        Self { cloud, quotas, clock, swept: Arc::default() }
    }

    /// Whose lane it is.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        self.cloud.destination()
    }

    /// See [`Cloud::look`].
    ///
    /// # Errors
    /// As there, after repeating.
    pub async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let target = target.clone();
        self.call("look", Kind::Read, move |cloud| {
            let target = target.clone();
            async move { cloud.look(&target).await }
        })
        .await
    }

    /// See [`Cloud::inspect`].
    ///
    /// # Errors
    /// As there, after repeating.
    pub async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        let object = object.clone();
        self.call("inspect", Kind::Read, move |cloud| {
            let object = object.clone();
            async move { cloud.inspect(&object).await }
        })
        .await
    }

    /// See [`Cloud::sweep`]: all pages; the second value says whether it is complete.
    ///
    /// # Errors
    /// As there, after repeating.
    pub async fn sweep(&self) -> Result<(Arc<Swept>, bool), CloudError> {
        let began = self.clock.uptime();
        let (mut objects, mut complete, mut cursor) = (Swept::new(), true, None::<Cursor>);
        for _ in 0..SWEEP_PAGES {
            let from = cursor.clone();
            let Page { objects: page, broken, next } = self
                .call("sweep", Kind::Read, move |cloud| {
                    let from = from.clone();
                    async move { cloud.sweep(from.as_ref()).await }
                })
                .await?;
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

    /// What the complete sweep that began last found, for whomever it was made.
    pub(crate) fn last_sweep(&self) -> Option<Arc<Swept>> {
        self.swept.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, swept)| Arc::clone(swept))
    }

    /// See [`Cloud::find`].
    ///
    /// # Errors
    /// As there, after repeating.
    pub async fn find(&self, target: &Target, swept: &Arc<Swept>) -> Result<Option<PlacementSeen>, CloudError> {
        let (target, swept) = (target.clone(), Arc::clone(swept));
        self.call("find", Kind::Read, move |cloud| {
            let (target, swept) = (target.clone(), Arc::clone(&swept));
            async move { cloud.find(&target, &swept).await }
        })
        .await
    }

    /// See [`Cloud::wrapping_key`]. The caller has waited with [`Lane::admit`], and repeats it.
    ///
    /// # Errors
    /// As there.
    pub async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        let from = from.clone();
        self.call("wrapping-key", Kind::RareRead, move |cloud| {
            let from = from.clone();
            async move { cloud.wrapping_key(&from, scheme).await }
        })
        .await
    }

    /// See [`Cloud::prepared`].
    ///
    /// # Errors
    /// As there, after repeating.
    pub async fn prepared(&self, target: &Target, version: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        let (target, made) = (target.clone(), made.cloned());
        self.call("prepared", Kind::Read, move |cloud| {
            let (target, made) = (target.clone(), made.clone());
            async move { cloud.prepared(&target, version, made.as_ref()).await }
        })
        .await
    }

    /// See [`Cloud::evidence`].
    ///
    /// # Errors
    /// As there, after repeating.
    pub async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let (target, copy) = (target.clone(), copy.clone());
        self.call("evidence", Kind::Read, move |cloud| {
            let (target, copy) = (target.clone(), copy.clone());
            async move { cloud.evidence(&target, &copy, now).await }
        })
        .await
    }

    /// Waits until a mutation is within its quotas: before the last look, so that the look is fresh when it is sent.
    pub async fn admit(&self, word: &'static str) {
        self.quotas.admit(self.destination(), word, self.clock.as_ref()).await;
    }

    /// How long a mutation has to wait for those that were sent before it; zero: it is sent now. The caller has waited with
    /// [`Lane::admit`], and asks again when the time has come.
    #[must_use]
    pub fn gap(&self, word: &'static str) -> Span {
        self.quotas.sent.take(self.destination(), word, self.clock.uptime())
    }

    /// Whoever takes the lane over from another server does not know what that one has drawn.
    pub(crate) fn begin_with_empty_buckets(&self) {
        self.quotas.forget(&self.destination().home);
    }

    /// See [`Cloud::act`]. The caller has waited with [`Lane::admit`].
    ///
    /// # Errors
    /// As there; a time-out is [`Class::Ambiguous`].
    pub async fn act(&self, mutation: Mutation) -> Result<Acted, CloudError> {
        let (word, mutation) = (mutation.word(), Arc::new(mutation));
        self.call(word, Kind::Mutation, move |cloud| {
            let mutation = Arc::clone(&mutation);
            async move { cloud.act(&mutation).await }
        })
        .await
    }

    async fn call<T, F, R>(&self, word: &'static str, kind: Kind, make: F) -> Result<T, CloudError>
    where
        T: Send + 'static,
        F: Fn(Arc<dyn Cloud>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, CloudError>> + Send + 'static,
    {
        let cloud = Arc::clone(&self.cloud);
        let call = Call { word, kind, make: Arc::new(move || Box::pin(make(Arc::clone(&cloud))) as BoxFuture<'static, _>) };
        let timed = Timed { inner: Adapter, limit: self.destination().capabilities.call_timeout, clock: Arc::clone(&self.clock) };
        let metered = Metered { inner: timed, lane: self.clone() };
        let repeated = tower::retry::RetryLayer::new(Repeat { tries: 1, clock: Arc::clone(&self.clock) }).layer(metered);
        repeated.oneshot(call).await
    }
}

/// A sweep of more pages than this is not complete: at 1,000 objects a page, ten times what the clouds allow.
const SWEEP_PAGES: usize = 1_000;

/// What the layers are around: the adapter itself.
#[derive(Clone)]
struct Adapter;

impl<T: 'static> Service<Call<T>> for Adapter {
    type Response = T;
    type Error = CloudError;
    type Future = BoxFuture<'static, Result<T, CloudError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CloudError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<T>) -> Self::Future {
        (call.make)()
    }
}

/// The time-out of one call.
#[derive(Clone)]
struct Timed<S> {
    inner: S,
    limit: Span,
    clock: Arc<dyn Clock>,
}

impl<T, S> Service<Call<T>> for Timed<S>
where
    T: Send + 'static,
    S: Service<Call<T>, Response = T, Error = CloudError>,
    S::Future: Send + Unpin + 'static,
{
    type Response = T;
    type Error = CloudError;
    type Future = BoxFuture<'static, Result<T, CloudError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloudError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<T>) -> Self::Future {
        let (word, mutates) = (call.word, call.kind == Kind::Mutation);
        let running = self.inner.call(call);
        let (clock, limit) = (Arc::clone(&self.clock), self.limit);
        Box::pin(async move {
            // `select` polls the call first: an answer that is there when the time is up counts.
            match select(running, clock.sleep(limit)).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(CloudError {
                    class: if mutates { Class::Ambiguous } else { Class::Transient },
                    cause: if mutates { Cause::Plain } else { Cause::Unreachable },
                    operation: word,
                    message: format!("no answer within {limit}"),
                    retry_after: None,
                }),
            }
        })
    }
}

/// The quotas of reads; who sends what is rare has waited for it.
#[derive(Clone)]
struct Metered<S> {
    inner: S,
    lane: Lane,
}

impl<T, S> Service<Call<T>> for Metered<S>
where
    T: Send + 'static,
    S: Service<Call<T>, Response = T, Error = CloudError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = T;
    type Error = CloudError;
    type Future = Pin<Box<dyn Future<Output = Result<T, CloudError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloudError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<T>) -> Self::Future {
        let (mut inner, lane) = (self.inner.clone(), self.lane.clone());
        Box::pin(async move {
            if call.kind == Kind::Read {
                lane.admit(call.word).await;
            }
            inner.call(call).await
        })
    }
}

/// Reads that failed for the moment are repeated.
#[derive(Clone)]
struct Repeat {
    tries: u32,
    clock: Arc<dyn Clock>,
}

impl<T> tower::retry::Policy<Call<T>, T, CloudError> for Repeat {
    type Future = BoxFuture<'static, ()>;

    fn retry(&mut self, call: &mut Call<T>, result: &mut Result<T, CloudError>) -> Option<Self::Future> {
        let Err(error) = result else { return None };
        if call.kind != Kind::Read || !is_passing(error.class) || self.tries >= READ_TRIES {
            return None;
        }
        let (clock, span) = (Arc::clone(&self.clock), pause(self.tries, error));
        self.tries += 1;
        Some(Box::pin(async move { clock.sleep(span).await }))
    }

    fn clone_request(&mut self, call: &Call<T>) -> Option<Call<T>> {
        Some(call.clone())
    }
}

/// What a server draws from the destinations' quotas. Calls are spaced evenly and begin with an empty bucket, so that a server that
/// takes over from another cannot spend what that one has spent already.
#[derive(Clone)]
pub struct Quotas {
    /// When calls may begin.
    admitted: Slots,
    /// When mutations may be sent: what comes between admission and request (a look that took long) would bring two together.
    sent: Slots,
}

/// By home and quota, at which uptime it allows the next call.
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

impl Quotas {
    /// Waits until a call may begin. Whoever waits asks again when the time has come: a machine that woke up late does not
    /// let all go at once that should have gone meanwhile.
    async fn admit(&self, destination: &Destination, word: &'static str, clock: &dyn Clock) {
        loop {
            let wait = self.admitted.take(destination, word, clock.uptime());
            if wait == Span::ZERO {
                return;
            }
            tracing::debug!(destination = %destination.name, call = word, %wait, "waits for its quota");
            clock.sleep(wait).await;
        }
    }

    /// Begins with empty buckets at a home.
    fn forget(&self, home: &str) {
        self.admitted.slots().retain(|(drawn, _), _| drawn != home);
    }
}

impl Slots {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<(String, String), Span>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a call draws, all of it or nothing; how long to wait when it is nothing.
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

/// What is added to the time between two calls, for the network may bring the second one faster than the first: a tenth of
/// it, and no more than a tenth of a second.
const JITTER: (u32, Span) = (10, Span::millis(100));

/// The least time between two calls of a quota.
fn spacing(quota: Quota) -> Span {
    let even = quota.per.divided_by(quota.calls);
    even + even.divided_by(JITTER.0).min(JITTER.1)
}
