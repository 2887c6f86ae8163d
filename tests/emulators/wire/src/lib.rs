//! HTTP around the emulator cores, so that a cloud's official clients work with them unchanged.
//!
//! This crate owns sockets, the clock and signatures. It must not decide anything about keys: that is the core's.
//!
//! # Regions
//!
//! One emulator is every region of its account: a request is addressed to the region that it is signed for. Where an access key is
//! demanded, the emulator is the endpoint of its home region, and refuses other regions as AWS's endpoints do.
//!
//! # Names and certificates
//!
//! An emulated vault speaks only TLS, under an authority that it makes at start. Its certificate is valid for the vault's own name and for
//! `login.microsoftonline.com`, so that a client whose resolver leads here needs no other setting than that authority; for `localhost` and
//! `127.0.0.1` too.
//!
//! # The control interface
//!
//! Beside the cloud's own protocol, every emulator answers under `/_emulator/` in JSON, even while it is halted; an emulated vault also
//! without TLS, at its address for managed identities:
//!
//! | request | body | does |
//! |---|---|---|
//! | `GET state` | | `{"now", "requests", "mutations", "halted"}`: the clock in microseconds since the epoch, how many requests came, how many of them can change something, and where it halted, or null. `halted.hanging` counts the requests that came since: after an `after_reply` halt, 1 proves that the client has its reply |
//! | `POST clock` | `{"advance_seconds": 86400}` | moves the clock forward; answers as `state` |
//! | `POST quotas` | `{"on": true, "limits": {"ImportKeyMaterial": 2}}` | both members optional; a limit is in requests per second and region at AWS, per ten seconds and vault at Azure Key Vault, per second at a Managed HSM. AWS's `Cryptographic` is the shared quota of encrypting and decrypting |
//! | `POST consistency` | `{"seconds": 5}` | for so long after a change, a read may show what was before it |
//! | `POST readings` | [`keyplane_emulator_core::aws::Readings`], [`keyplane_emulator_core::azure::Readings`] | replaces the readings of what the cloud's documents leave open; what is left out is the default |
//! | `GET readings` | | the readings in force |
//! | `POST faults` | one [`keyplane_emulator_core::fault::Rule`], or a list | adds rules |
//! | `GET faults` | | the rules that can still act |
//! | `DELETE faults` | | forgets all rules |
//! | `POST late` | | lets every `late` request take effect now; answers as `state` |
//! | `POST resume` | `{"apply": false}` | ends a halt; with `apply`, a request that was halted before its effect takes effect now |
//! | `POST lose` | `{"region": "us-east-1"}` | loses the imported material of a region, as a failure of the whole region may |
//! | `GET dump` | | the whole state; key material as SHA-256, and in the clear only if the emulator was started so |
//! | `GET requests` | | every request, [`keyplane_emulator_core::journal::Entry`] |
//! | `GET attestation-root` | | a Managed HSM's: the maker's certificate behind its attestations, as PEM |
//! | `DELETE requests` | | forgets them; the counters go on |
//!
//! # Rules for faults
//!
//! ```json
//! {"operation": "ImportKeyMaterial", "effect": {"kind": "lost_reply"}}
//! {"mutation": 3, "effect": {"kind": "halt", "when": "before_effect"}}
//! {"operation": "CreateKey", "skip": 1, "times": null, "effect": {"kind": "server_error", "applied": true}}
//! ```
//!
//! `operation` and `mutation` (the n-th mutating request, counted from 1 since the start) select requests; both are optional. `skip` lets
//! so many pass first. `times` is 1 by default, and null means always. The effects: `throttle`, `deny`, `server_error {applied}`, `error
//! {code, status}`, `hang {applied}`, `lost_reply`, `late {after_seconds, after_requests, close}`, `undone`, `altered`, `halt {when:
//! before_effect | after_effect | after_reply}`.

pub mod aws;
pub mod azure;
mod control;
mod entra;
pub mod gcp;
mod sigv4;
mod tls;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::{Body, HttpBody},
    response::IntoResponse,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use keyplane_emulator_core::{
    Timestamp,
    frame::{Answer, Frame, Service},
};
use rand_chacha::ChaCha20Rng;
use serde_json::Value;
use tokio::sync::Mutex;

/// The source of the time, before the emulator's own offset is added.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

#[expect(clippy::disallowed_methods, reason = "an emulator is a process of its own: this is its edge, and its clock")]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    })
}

/// A cloud behind a lock, with the clock and the randomness that its core takes as arguments.
struct Shared<C> {
    clock: Clock,
    /// Fair: requests that wait for an RSA pair to be generated keep their order.
    inner: Arc<Mutex<Inner<C>>>,
}

struct Inner<C> {
    cloud: C,
    rng: ChaCha20Rng,
    offset: Duration,
}

impl<C: Send + 'static> Shared<C> {
    fn new(cloud: C, rng: ChaCha20Rng, clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, inner: Arc::new(Mutex::new(Inner { cloud, rng, offset: Duration::ZERO })) })
    }

    /// Uses the cloud on a thread that may block, since generating an RSA pair takes seconds. A request counts from its arrival: requests
    /// that waited together did not arrive together, and are not too many for a quota.
    async fn with<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&mut Inner<C>, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let came = (self.clock)();
        let mut inner = Arc::clone(&self.inner).lock_owned().await;
        let worked = tokio::task::spawn_blocking(move || {
            let now = came + inner.offset;
            work(&mut inner, now)
        });
        worked.await.map_err(|_| Failure { status: StatusCode::INTERNAL_SERVER_ERROR, message: "the emulator failed".into() })
    }
}

/// An error of the emulator or its control interface, as plain text. A cloud's own errors are replies.
struct Failure {
    status: StatusCode,
    message: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        (self.status, format!("{}\n", self.message)).into_response()
    }
}

impl<S: Service> Shared<Frame<S>> {
    /// Serves one request, or refuses it before the cloud sees it. `respond` turns the answer into HTTP.
    async fn answer(
        self: Arc<Self>,
        admitted: Result<S::Request, S::Refusal>,
        respond: impl FnOnce(S::Reply) -> Response<Body>,
    ) -> Response<Body> {
        self.admit(move |_| admitted, respond).await
    }

    /// Serves one request of a cloud whose core authenticates it.
    async fn admit(
        self: Arc<Self>,
        admit: impl FnOnce(&mut Frame<S>) -> Result<S::Request, S::Refusal> + Send + 'static,
        respond: impl FnOnce(S::Reply) -> Response<Body>,
    ) -> Response<Body> {
        let answered = self.with(move |inner, now| match admit(&mut inner.cloud) {
            Ok(request) => inner.cloud.handle(now, &mut inner.rng, &request),
            Err(refusal) => Answer::Reply(inner.cloud.turn_away(&mut inner.rng, &refusal)),
        });
        match answered.await {
            Ok(Answer::Reply(reply)) => respond(reply),
            Ok(Answer::Hang) => std::future::pending().await,
            Ok(Answer::Close) => closed(),
            Err(failure) => failure.into_response(),
        }
    }
}

/// An answer's body: empty for null.
fn written(body: &Value) -> Body {
    if body.is_null() { Body::empty() } else { Body::from(body.to_string()) }
}

/// A response that closes the connection before its first byte: the body fails while the head is still in the buffer.
fn closed() -> Response<Body> {
    Response::new(Body::new(Broken))
}

struct Broken;

#[derive(Debug, thiserror::Error)]
#[error("the connection is closed on purpose")]
struct OnPurpose;

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = OnPurpose;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<http_body::Frame<Bytes>, OnPurpose>>> {
        Poll::Ready(Some(Err(OnPurpose)))
    }
}
