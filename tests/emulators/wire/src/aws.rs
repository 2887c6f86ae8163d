//! AWS KMS over HTTP: AWS JSON 1.1, signed with Signature Version 4.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    routing::post,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use keyplane_emulator_core::{
    aws::{Aws, Code, Config, Refusal, Reply, Request as Call},
    crypto::RsaPairs,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use crate::{
    Clock, Shared, control,
    sigv4::{Credential, Signed},
};

/// The longest request body, in bytes. KMS's longest fields are a policy of 128 KiB and blobs of 6 KiB; escaped, and with everything else
/// at its limit, a request stays below this.
const LONGEST_BODY: usize = 1024 * 1024;

/// The prefix of an operation's name in `X-Amz-Target`.
const TARGET_PREFIX: &str = "TrentService.";

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The options of an emulated AWS account.
pub struct Options {
    pub config: Config,
    /// The access key that requests have to be signed with, for the home region. `None`: any signature is accepted, and a request is
    /// addressed to the region that its signature names.
    pub credential: Option<AccessKey>,
    /// Whether request quotas hold from the start.
    pub quotas: bool,
    /// The source of RSA pairs.
    pub pairs: RsaPairs,
    /// For everything random except RSA pairs.
    pub seed: u64,
    /// The time, before `/_emulator/clock` moves it.
    pub clock: Clock,
}

pub struct AccessKey {
    /// The public part, which every signature names.
    pub id: String,
    pub secret: String,
}

struct Account {
    shared: Arc<Shared<Aws>>,
    credential: Option<Credential>,
    clock: Clock,
    region: String,
}

/// The protocol at `/`, and the control interface under `/_emulator/`.
pub fn router(options: Options) -> Router {
    let Options { config, credential, quotas, pairs, seed, clock } = options;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let region = config.region.clone();
    let mut aws = Aws::new(config, Box::new(pairs), &mut rng);
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
        Ok((region, operation)) => Ok(Call { region, operation, body: body.to_vec() }),
        Err(refusal) => Err(refusal),
    };
    Arc::clone(&account.shared).answer(call, respond).await
}

/// The region and the operation of a request, if it is authenticated. Where signatures are checked, the emulator is the endpoint of its
/// home region, and refuses requests signed for another one, as AWS's endpoints do.
fn admit(account: &Account, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(Option<String>, String), Refusal> {
    let signed = Signed::read(headers)?;
    if let Some(credential) = &account.credential {
        credential.check(&signed, &account.region, (account.clock)(), method, uri, headers, body)?;
    }
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix(TARGET_PREFIX);
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == CONTENT_TYPE);
    operation
        .filter(|_| json)
        .map(|operation| (signed.region().map(str::to_owned), operation.to_owned()))
        .ok_or_else(|| Code::UnknownOperation.because(format!("`{target}` as `{CONTENT_TYPE}` is what KMS expects")))
}

fn respond(reply: Reply) -> Response<Body> {
    let mut response = Response::new(crate::written(&reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if let Ok(id) = HeaderValue::from_str(&reply.request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
