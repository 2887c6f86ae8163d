//! Google Cloud KMS over plain HTTP: REST with JSON. Also the sources of its clients' access tokens.
//!
//! | request | is |
//! |---|---|
//! | `POST /token` | the token endpoint of Google's OAuth 2, for service accounts (RFC 7523) |
//! | `POST /v1/token` | the security token service, for workloads outside (RFC 8693); impersonation is left out |
//! | `GET /computeMetadata/v1/…` | the metadata server of a virtual machine |
//! | `GET /_emulator/attestation-root` | the certificates by which attestations are trusted, as PEM: the HSM manufacturer's root, then the owner's |

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Form, Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use keyplane_emulator_core::{
    crypto::RsaPairs,
    gcp::{self, Code, Config, Gcp, GrantRefused, Refusal, Reply, Request as Call, ServiceAccount, Token},
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};

use crate::{Clock, Shared, control};

/// The longest request body, in bytes. The longest fields are a plaintext and its additional data of 64 KiB each; in base64, and with
/// everything else at its limit, a request stays below this.
const LONGEST_BODY: usize = 1024 * 1024;

const CONTENT_TYPE: &str = "application/json; charset=UTF-8";

/// The header that identifies a metadata server.
const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");
const GOOGLE: HeaderValue = HeaderValue::from_static("Google");

/// The options of an emulated project.
pub struct Options {
    pub config: Config,
    /// The account that requests have to come from. `None`: any token is accepted, and none is needed.
    pub account: Option<ServiceAccount>,
    /// The only token of a workload elsewhere that can be exchanged; `None`: any can.
    pub subject_token: Option<Vec<u8>>,
    /// Whether request quotas hold from the start.
    pub quotas: bool,
    /// Key rings that exist from the start, by their full names.
    pub key_rings: Vec<String>,
    /// The source of RSA pairs.
    pub pairs: RsaPairs,
    /// For everything random except private keys of pairs.
    pub seed: u64,
    /// The time, before `/_emulator/clock` moves it. Tokens expire by this one, since the clocks of clients are not moved.
    pub clock: Clock,
}

struct Project {
    shared: Arc<Shared<Gcp>>,
    clock: Clock,
    name: String,
}

type Handle = State<Arc<Project>>;

pub fn router(options: Options) -> Router {
    let Options { config, account, subject_token, quotas, key_rings, pairs, seed, clock } = options;
    let name = config.project.clone();
    let mut cloud = Gcp::new(config, Box::new(pairs));
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    for key_ring in key_rings {
        if let Some((location, id)) = key_ring.rsplit_once("/keyRings/") {
            let query = vec![("keyRingId".to_owned(), id.into())];
            let path = format!("/v1/{location}/keyRings");
            cloud.handle(clock(), &mut rng, &Call { method: gcp::Method::Post, path, query, body: b"{}".to_vec() });
        }
    }
    cloud.quotas().turn(quotas);
    let identity = cloud.service().identity();
    if let Some(account) = account {
        identity.demand(account);
    }
    if let Some(token) = subject_token {
        identity.expect_subject(token);
    }
    let shared = Shared::new(cloud, rng, Arc::clone(&clock));
    let project = Arc::new(Project { shared: Arc::clone(&shared), clock, name });
    let roots = Router::new().route("/attestation-root", get(attestation_root)).with_state(Arc::clone(&project));
    Router::new()
        .route("/", get(metadata_root))
        .route("/token", post(token))
        .route("/v1/token", post(exchange))
        .route("/computeMetadata/v1/{*path}", get(metadata))
        .fallback(serve)
        .with_state(project)
        .nest("/_emulator", control::router(shared).merge(roots))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
}

async fn serve(
    State(project): Handle,
    method: Method,
    uri: Uri,
    query: Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let call = read(&method, &uri, query.0, &body);
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let now = (project.clock)();
    let admit = move |cloud: &mut Gcp| {
        cloud.service().authorize(now, authorization.as_deref())?;
        call
    };
    Arc::clone(&project.shared).admit(admit, respond).await
}

/// A request in the core's form.
fn read(method: &Method, uri: &Uri, query: Vec<(String, String)>, body: &[u8]) -> Result<Call, Refusal> {
    let method = match *method {
        Method::GET => gcp::Method::Get,
        Method::POST => gcp::Method::Post,
        Method::PATCH => gcp::Method::Patch,
        Method::DELETE => gcp::Method::Delete,
        _ => return Err(Code::NotFound.because(format!("The requested URL {} was not found on this server.", uri.path()))),
    };
    let path = decoded(uri.path()).ok_or_else(|| Code::InvalidArgument.because("The path is not encoded properly."))?;
    let query = query.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    Ok(Call { method, path, query, body: body.to_vec() })
}

/// Decodes percent-encoding.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = behind;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn respond(reply: Reply) -> Response<Body> {
    let mut response = Response::new(crate::written(&reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if reply.status == 401 {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"https://accounts.google.com/\""));
    }
    response
}

async fn attestation_root(State(project): Handle) -> Response<Body> {
    let roots = Arc::clone(&project.shared).with(|inner, now| inner.cloud.service().attestation_roots(now, &mut inner.rng)).await;
    match roots {
        Ok(Ok(pem)) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(failure) => failure.into_response(),
    }
}

// contract: gcp.credentials.service_account
async fn token(State(project): Handle, Form(form): Form<BTreeMap<String, String>>) -> Response<Body> {
    let of = |name: &str| form.get(name).cloned();
    if of("grant_type").as_deref() != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return grant_refused(GrantRefused::UnsupportedGrantType);
    }
    let Some(assertion) = of("assertion") else {
        return grant_refused(GrantRefused::InvalidRequest);
    };
    let now = (project.clock)();
    let granted = Arc::clone(&project.shared).with(move |inner, _| inner.cloud.service().grant(now, &mut inner.rng, &assertion)).await;
    match granted {
        Ok(Ok(token)) => Json(bearer(&token)).into_response(),
        Ok(Err(refused)) => grant_refused(refused),
        Err(failure) => failure.into_response(),
    }
}

// contract: gcp.credentials.federation
async fn exchange(State(project): Handle, Form(form): Form<BTreeMap<String, String>>) -> Response<Body> {
    let of = |name: &str| form.get(name).cloned().unwrap_or_default();
    if of("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
        return grant_refused(GrantRefused::UnsupportedGrantType);
    }
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    let requested = of("requested_token_type");
    if of("audience").is_empty() || of("subject_token_type").is_empty() || (!requested.is_empty() && requested != access_token) {
        return grant_refused(GrantRefused::InvalidRequest);
    }
    let (now, subject) = ((project.clock)(), of("subject_token"));
    let exchanged =
        Arc::clone(&project.shared).with(move |inner, _| inner.cloud.service().identity().exchange(now, &mut inner.rng, &subject)).await;
    match exchanged {
        Ok(Ok(token)) => {
            let mut answer = bearer(&token);
            answer["issued_token_type"] = access_token.into();
            Json(answer).into_response()
        }
        Ok(Err(refused)) => grant_refused(refused),
        Err(failure) => failure.into_response(),
    }
}

/// Clients look here for a metadata server.
async fn metadata_root(headers: HeaderMap) -> Response<Body> {
    flavored(&headers, || ([(header::CONTENT_TYPE, "application/text")], "computeMetadata/\n").into_response())
}

// contract: gcp.credentials.metadata
async fn metadata(State(project): Handle, Path(path): Path<String>, headers: HeaderMap) -> Response<Body> {
    let now = (project.clock)();
    let asked = Arc::clone(&project.shared).with(move |inner, _| {
        let identity = inner.cloud.service().identity();
        let email = identity.email().to_owned();
        (email, identity.issue(now, &mut inner.rng))
    });
    let (email, token) = match asked.await {
        Ok(known) => known,
        Err(failure) => return failure.into_response(),
    };
    flavored(&headers, || {
        let account = path.strip_prefix("instance/service-accounts/").and_then(|rest| rest.split_once('/'));
        match (path.as_str(), account) {
            ("project/project-id", _) => project.name.clone().into_response(),
            ("universe/universe-domain", _) => "googleapis.com".into_response(),
            (_, Some((account, member))) if account == "default" || account == email => match member {
                "" => {
                    let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
                    Json(json!({ "aliases": ["default"], "email": email, "scopes": scopes })).into_response()
                }
                "email" => email.clone().into_response(),
                "token" => Json(bearer(&token)).into_response(),
                _ => StatusCode::NOT_FOUND.into_response(),
            },
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    })
}

/// A metadata server answers only requests with its header, and sends that header itself.
fn flavored(headers: &HeaderMap, answer: impl FnOnce() -> Response<Body>) -> Response<Body> {
    let meant = headers.get(FLAVOR).is_some_and(|flavor| flavor == GOOGLE);
    let mut response = if meant { answer() } else { StatusCode::FORBIDDEN.into_response() };
    response.headers_mut().insert(FLAVOR, GOOGLE);
    response
}

fn bearer(token: &Token) -> Value {
    json!({ "access_token": token.text, "expires_in": token.expires_in, "token_type": "Bearer" })
}

fn grant_refused(refused: GrantRefused) -> Response<Body> {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": refused.to_string() }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_without_percent_signs() {
        assert_eq!(decoded("/v1/a%2Fb%3ac"), Some("/v1/a/b:c".into()));
        assert_eq!(decoded("/v1/%2"), None);
        assert_eq!(decoded("/v1/%zz"), None);
        assert_eq!(decoded("/v1/%ff"), None);
    }
}
