//! AWS KMS over HTTP: AWS JSON 1.1, signed with Signature Version 4.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    response::IntoResponse as _,
    routing::post,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use keyplane_emulator_core::{
    aws::{Answer, Aws, Code, Config, Refusal, Reply, Request as Call},
    crypto::RealCrypto,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::{
    Clock, Shared, closed, control,
    sigv4::{Credential, Signed},
};

/// Bytes of a request body. The longest fields of KMS are a policy of 128 KiB and blobs of 6 KiB; escaped and with
/// everything else at its limit, a request stays below this.
const LONGEST_BODY: usize = 1024 * 1024;

/// How requests name an operation of KMS.
const TARGET_PREFIX: &str = "TrentService.";

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// How to start an emulated AWS account.
pub struct Options {
    /// What the account is like.
    pub config: Config,
    /// The access key that requests must be signed with; any is accepted when there is none.
    pub credential: Option<AccessKey>,
    /// Whether request quotas hold from the start.
    pub quotas: bool,
    /// For everything random but RSA pairs.
    pub seed: u64,
    /// The time, before `/_emulator/clock` moves it.
    pub clock: Clock,
}

/// An access key.
pub struct AccessKey {
    /// Its id, the public part.
    pub id: String,
    /// Its secret part.
    pub secret: String,
}

struct Account {
    shared: Arc<Shared<Aws>>,
    credential: Option<Credential>,
    clock: Clock,
    region: String,
}

/// The emulator as a router: the protocol at `/`, the control interface under `/_emulator/`.
pub fn router(options: Options) -> Router {
    let Options { config, credential, quotas, seed, clock } = options;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let region = config.region.clone();
    let mut aws = Aws::new(config, Box::new(RealCrypto), &mut rng);
    aws.quotas().turn(quotas);
    let shared = Shared::new(aws, rng, Arc::clone(&clock));
    let account =
        Account { shared: Arc::clone(&shared), credential: credential.map(|key| Credential::new(key.id, key.secret)), clock, region };
    Router::new()
        .route("/", post(serve))
        .with_state(Arc::new(account))
        .nest("/_emulator", control::router(shared))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
}

async fn serve(State(account): State<Arc<Account>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let call = match admit(&account, &method, &uri, &headers, &body) {
        Ok(operation) => Ok(Call { operation, body: body.to_vec() }),
        Err(refusal) => Err(refusal),
    };
    let answered = Arc::clone(&account.shared).with(move |inner, now| match call {
        Ok(call) => inner.cloud.handle(now, &mut inner.rng, &call),
        Err(refusal) => Answer::Reply(Aws::turn_away(&mut inner.rng, &refusal)),
    });
    match answered.await {
        Ok(Answer::Reply(reply)) => respond(reply),
        Ok(Answer::Hang) => std::future::pending().await,
        Ok(Answer::Close) => closed(),
        Err(failure) => failure.into_response(),
    }
}

/// The operation that a request asks for, if the request may ask for anything.
fn admit(account: &Account, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<String, Refusal> {
    let signed = Signed::read(headers)?;
    if let Some(credential) = &account.credential {
        credential.check(&signed, &account.region, (account.clock)(), method, uri, headers, body)?;
    }
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix(TARGET_PREFIX);
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == CONTENT_TYPE);
    operation
        .filter(|_| json)
        .map(str::to_owned)
        .ok_or_else(|| Code::UnknownOperation.because(format!("`{target}` as `{CONTENT_TYPE}` is what KMS expects")))
}

fn respond(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if let Ok(id) = HeaderValue::from_str(&reply.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
