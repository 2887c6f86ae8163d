//! The control interface of an emulated cloud: its clock, its faults and its journal.
//!
//! Must not know any emulator's code: it speaks HTTP to a service in the same process.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use keyplane_model::Span;
use serde_json::{Value, json};
use tower::{Service, ServiceExt as _};

type Exchange = dyn Fn(Request<String>) -> BoxFuture<'static, (StatusCode, Bytes)> + Send + Sync;

pub struct Control {
    exchange: Box<Exchange>,
    /// How long the cloud works on a request that it has answered.
    busy: Span,
    /// How old a state that a read shows may be, in seconds.
    lag: AtomicU32,
}

impl Control {
    /// For a service with the cloud's protocol and the control interface under `/_emulator/`.
    pub fn over<S, B>(cloud: S) -> Self
    where
        S: Service<Request<String>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
        B: http_body::Body<Data: Send, Error: fmt::Debug> + Send + 'static,
    {
        let exchange = move |request: Request<String>| {
            let cloud = cloud.clone();
            async move {
                let (parts, body) = cloud.oneshot(request).await.unwrap_or_else(|never| match never {}).into_parts();
                (parts.status, body.collect().await.expect("a whole answer").to_bytes())
            }
            .boxed()
        };
        Self { exchange: Box::new(exchange), busy: Span::ZERO, lag: AtomicU32::new(0) }
    }

    /// For a cloud that works for a while on requests that it has answered.
    #[must_use]
    pub fn busy_for(self, busy: Span) -> Self {
        Self { busy, ..self }
    }

    /// Sends any request, without a socket.
    pub async fn ask(&self, request: Request<String>) -> (StatusCode, Bytes) {
        (self.exchange)(request).await
    }

    /// A request to the control interface whose answer is not JSON.
    ///
    /// # Panics
    /// When the request is refused, here and in the methods below: then the test is wrong.
    pub async fn raw(&self, method: &str, path: &str, body: Option<Value>) -> Bytes {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder().method(method).uri(format!("/_emulator/{path}")).body(body).expect("a well-formed path");
        let (status, answer) = self.ask(request).await;
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        answer
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        serde_json::from_slice(&self.raw(method, path, body).await).expect("the control interface speaks JSON")
    }

    /// The next request of this operation, and only that one, meets this fault.
    pub async fn next(&self, operation: &str, effect: Value) {
        self.call("POST", "faults", Some(json!({ "operation": operation, "effect": effect }))).await;
    }

    /// The next request of this operation meets this fault.
    pub async fn fault(&self, operation: &str, fault: Fault) {
        let effect = match fault {
            Fault::Throttled => json!({ "kind": "throttle" }),
            Fault::Denied => json!({ "kind": "deny" }),
            Fault::Fails => json!({ "kind": "server_error" }),
            Fault::FailsAfterEffect => json!({ "kind": "server_error", "applied": true }),
            Fault::LosesReply => json!({ "kind": "lost_reply" }),
            Fault::Hangs => json!({ "kind": "hang" }),
            Fault::HangsAfterEffect => json!({ "kind": "hang", "applied": true }),
            Fault::Late(after) => json!({ "kind": "late", "after_seconds": seconds(after) }),
        };
        self.next(operation, effect).await;
    }

    pub async fn advance(&self, span: Span) {
        self.call("POST", "clock", Some(json!({ "advance_seconds": seconds(span) }))).await;
    }

    /// From now on, a read may show a state as old as this.
    pub async fn lag(&self, span: Span) {
        self.call("POST", "consistency", Some(json!({ "seconds": seconds(span) }))).await;
        self.lag.store(seconds(span), Ordering::SeqCst);
    }

    /// How long it takes until every read shows what was done. Zero: it is visible at once.
    pub fn settling(&self) -> Span {
        match self.busy + Span::seconds(self.lag.load(Ordering::SeqCst)) {
            Span::ZERO => Span::ZERO,
            // The end of the window still belongs to it.
            settling => settling + Span::seconds(1),
        }
    }

    /// Moves the clock until every read shows what was done.
    pub async fn settle(&self) {
        let settling = self.settling();
        if settling > Span::ZERO {
            self.advance(settling).await;
        }
    }

    /// The number of requests so far, and the number of mutating ones.
    pub async fn counted(&self) -> (u64, u64) {
        let state = self.call("GET", "state", None).await;
        let count = |name: &str| state[name].as_u64().expect("the state counts requests");
        (count("requests"), count("mutations"))
    }

    pub async fn dump(&self) -> Value {
        self.call("GET", "dump", None).await
    }

    /// Oldest first.
    pub async fn requests(&self) -> Vec<Value> {
        match self.call("GET", "requests", None).await {
            Value::Array(requests) => requests,
            other => unreachable!("no list of requests: {other}"),
        }
    }

    /// The operations of the requests so far.
    pub async fn operations(&self) -> Vec<String> {
        self.requests().await.iter().filter_map(|request| request["operation"].as_str().map(str::to_owned)).collect()
    }

    pub async fn bodies(&self, operation: &str) -> Vec<Value> {
        let requests = self.requests().await.into_iter();
        requests.filter(|request| request["operation"] == operation).map(|mut request| request["body"].take()).collect()
    }
}

/// A fault of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The cloud refuses: too many requests. No effect.
    Throttled,
    /// The cloud refuses: not allowed. No effect.
    Denied,
    /// An internal error without the effect, which the client cannot know.
    Fails,
    /// An internal error after the effect.
    FailsAfterEffect,
    /// The connection breaks after the effect.
    LosesReply,
    /// No answer, and no effect.
    Hangs,
    /// No answer, after the effect.
    HangsAfterEffect,
    /// No answer, and the effect after this time, if it is still possible then.
    Late(Span),
}

fn seconds(span: Span) -> u32 {
    u32::try_from(span.micros() / 1_000_000).unwrap_or(u32::MAX)
}
