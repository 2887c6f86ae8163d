//! The part of Microsoft Entra ID from which a client gets a token for a vault: client credentials by secret and by a federated assertion,
//! managed identities, and the discovery documents.
//!
//! Tokens are JSON Web Tokens under a secret of this process. Their times are those of the machine's clock, which `/_emulator/clock` does
//! not move, because clients compare them with their own clocks.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::{
    hmac,
    signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use axum::{
    Form, Json, Router,
    body::Body,
    extract::{Path, Query, State},
    response::IntoResponse as _,
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Response, StatusCode};
use keyplane_emulator_core::azure::{Code, Kind, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Clock;

/// The audience of an assertion that is exchanged for a token.
const EXCHANGE: &str = "api://AzureADTokenExchange";

/// The grant type for a secret or an assertion.
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// The type of an assertion.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The default lifetime of a token, in seconds.
pub const USUAL_TOKEN_SECONDS: u32 = 3_599;

/// The directory (tenant) of an emulated Entra ID.
pub struct Directory {
    /// A UUID, which is part of every issuer and of the token endpoint's path.
    pub tenant: String,
    /// The application that may request tokens. `None`: every request gets one, and no token is checked.
    pub application: Option<Application>,
    /// An issuer whose assertions are accepted instead of the application's secret.
    pub federation: Option<Federation>,
    /// The secret header of an App Service's managed identity endpoint. `None`: any is accepted.
    pub identity_header: Option<String>,
    /// The lifetime of a token. Zero: tokens are never valid.
    pub token_seconds: u32,
}

pub struct Application {
    /// The client id that requests have to name.
    pub id: String,
    /// `None`: only federation gets a token.
    pub secret: Option<String>,
}

/// A trusted issuer of assertions (workload identity federation).
pub struct Federation {
    /// As in its tokens.
    pub issuer: String,
    /// The subject that gets tokens.
    pub subject: String,
    /// The issuer's RSA public key, as a SubjectPublicKeyInfo in DER.
    pub key: Vec<u8>,
}

pub(crate) struct Entra {
    directory: Directory,
    /// Signs tokens.
    secret: hmac::Key,
    clock: Clock,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    appid: String,
    oid: String,
    sub: String,
    tid: String,
    idtyp: String,
    ver: String,
}

/// The claims of another issuer's assertion.
#[derive(Deserialize)]
struct Assertion {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Why no token is issued, in Entra's form.
struct Denied {
    status: StatusCode,
    error: &'static str,
    number: u32,
    /// INVARIANT: contains nothing that JSON would escape, because clients borrow the text.
    why: &'static str,
}

impl Denied {
    const fn new(status: StatusCode, error: &'static str, number: u32, why: &'static str) -> Self {
        Self { status, error, number, why }
    }

    fn respond(&self) -> Response<Body> {
        let body = json!({
            "error": self.error,
            "error_description": format!("AADSTS{}: {}", self.number, self.why),
            "error_codes": [self.number],
            "timestamp": "2026-01-01 00:00:00Z",
            "trace_id": "00000000-0000-0000-0000-000000000000",
            "correlation_id": "00000000-0000-0000-0000-000000000000",
        });
        (self.status, Json(body)).into_response()
    }
}

impl Entra {
    pub(crate) fn new(directory: Directory, secret: &[u8], clock: Clock) -> Arc<Self> {
        Arc::new(Self { directory, secret: hmac::Key::new(hmac::HMAC_SHA256, secret), clock })
    }

    /// The challenge for a client without a valid token.
    // contract: azure.challenge
    pub(crate) fn challenge(&self, resource: &str, refusal: &Refusal) -> String {
        let tenant = &self.directory.tenant;
        let base = format!(r#"Bearer authorization="https://{LOGIN_HOST}/{tenant}", resource="{resource}""#);
        if refusal.message == MISSING { base } else { format!(r#"{base}, error="invalid_token", error_description="{refusal}""#) }
    }

    /// Checks a request's token.
    // contract: azure.credentials.token
    pub(crate) fn admit(&self, kind: Kind, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = headers.get(http::header::AUTHORIZATION).and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = token.ok_or_else(|| Code::Unauthorized.because(MISSING))?;
        if self.directory.application.is_none() {
            return Ok(());
        }
        let invalid = |why: &str| Code::Unauthorized.because(why);
        let claims: Claims =
            self.open(token).ok_or_else(|| invalid("AKV10046: Unable to resolve the key used for signature validation."))?;
        let now = self.seconds();
        if claims.iss != self.issuer() {
            return Err(invalid("AKV10032: Invalid issuer."));
        }
        if resource(&claims.aud) != Some(kind.resource()) {
            return Err(invalid("AKV10022: Invalid audience."));
        }
        if !(claims.nbf..claims.exp).contains(&now) {
            return Err(invalid("AKV10005: The token is outside of its lifetime."));
        }
        Ok(())
    }

    fn seconds(&self) -> i64 {
        (self.clock)().micros().div_euclid(1_000_000)
    }

    fn issuer(&self) -> String {
        format!("https://sts.windows.net/{}/", self.directory.tenant)
    }

    fn issue(&self, application: &str, audience: &str) -> String {
        let now = self.seconds();
        let claims = Claims {
            aud: audience.to_owned(),
            iss: self.issuer(),
            iat: now,
            nbf: now,
            exp: now + i64::from(self.directory.token_seconds),
            appid: application.to_owned(),
            oid: application.to_owned(),
            sub: application.to_owned(),
            tid: self.directory.tenant.clone(),
            idtyp: "app".into(),
            ver: "1.0".into(),
        };
        let header = json!({ "typ": "JWT", "alg": "HS256" });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(json!(claims).to_string()));
        let tag = hmac::sign(&self.secret, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The claims of a token that this directory issued.
    fn open(&self, token: &str) -> Option<Claims> {
        let (signed, tag) = token.rsplit_once('.')?;
        hmac::verify(&self.secret, signed.as_bytes(), &URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        claims(signed)
    }

    /// Issues a token to the application.
    // contract: azure.credentials.secret, azure.credentials.workload
    fn token(&self, tenant: &str, form: &BTreeMap<String, String>) -> Result<Value, Denied> {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const NO: StatusCode = StatusCode::UNAUTHORIZED;
        let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if !tenant.eq_ignore_ascii_case(&self.directory.tenant) {
            return Err(Denied::new(
                BAD,
                "invalid_request",
                90_002,
                "Tenant not found. Check to make sure you have the correct tenant ID.",
            ));
        }
        if given("grant_type") != CLIENT_CREDENTIALS {
            return Err(Denied::new(BAD, "unsupported_grant_type", 70_003, "The app requested an unsupported grant type."));
        }
        let Some(audience) = given("scope").strip_suffix("/.default").filter(|scope| resource(scope).is_some()) else {
            return Err(Denied::new(BAD, "invalid_resource", 500_011, "The resource principal was not found in the tenant."));
        };
        let application = given("client_id");
        if let Some(expected) = &self.directory.application {
            if application != expected.id {
                return Err(Denied::new(BAD, "unauthorized_client", 700_016, "Application was not found in the directory."));
            }
            if form.contains_key("client_assertion") {
                self.federated(given("client_assertion_type"), given("client_assertion"))?;
            } else if expected.secret.as_deref() != Some(given("client_secret")) {
                return Err(Denied::new(NO, "invalid_client", 7_000_215, "Invalid client secret provided."));
            }
        }
        let seconds = self.directory.token_seconds;
        Ok(json!({
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": self.issue(application, audience),
        }))
    }

    /// Checks that an assertion can replace the application's secret.
    fn federated(&self, kind: &str, token: &str) -> Result<(), Denied> {
        let denied = |number, why| Denied::new(StatusCode::UNAUTHORIZED, "invalid_client", number, why);
        if kind != JWT_BEARER {
            return Err(Denied::new(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                900_144,
                "The request body must contain client_assertion_type.",
            ));
        }
        let Some(federation) = &self.directory.federation else {
            return Err(denied(70_025, "The client has no configured federated identity credentials."));
        };
        let unreadable = || denied(50_027, "JWT token is invalid or malformed.");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(unreadable)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| unreadable())?;
        let Assertion { iss, sub, aud, exp, nbf } = claims(signed).ok_or_else(unreadable)?;
        if iss != federation.issuer {
            return Err(denied(700_211, "No matching federated identity record found for presented assertion issuer."));
        }
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &federation.key);
        if key.verify(signed.as_bytes(), &signature).is_err() {
            return Err(denied(700_027, "Client assertion failed signature validation."));
        }
        if sub != federation.subject {
            return Err(denied(700_213, "No matching federated identity record found for presented assertion subject."));
        }
        let exchanges = match aud {
            Audience::One(audience) => audience == EXCHANGE,
            Audience::Many(audiences) => audiences.iter().any(|audience| audience == EXCHANGE),
        };
        if !exchanges {
            return Err(denied(700_212, "No matching federated identity record found for presented assertion audience."));
        }
        if !(nbf..exp).contains(&self.seconds()) {
            return Err(denied(700_024, "Client assertion is not within its valid time range."));
        }
        Ok(())
    }

    /// Issues a token for a managed identity of this machine.
    // contract: azure.credentials.managed
    fn managed(&self, query: &BTreeMap<String, String>) -> Response<Body> {
        let refuse =
            |error: &str, why: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error, "error_description": why }))).into_response();
        let own = self.directory.application.as_ref().map_or("00000000-0000-0000-0000-000000000000", |application| &application.id);
        if query.get("client_id").is_some_and(|wanted| wanted != own) {
            return refuse("invalid_request", "Identity not found");
        }
        let Some(audience) = query.get("resource").filter(|audience| resource(audience).is_some()) else {
            return refuse("invalid_resource", "AADSTS500011: The resource principal was not found in the tenant.");
        };
        let seconds = self.directory.token_seconds;
        let expires = self.seconds() + i64::from(seconds);
        Json(json!({
            "access_token": self.issue(own, audience),
            "client_id": own,
            "expires_in": seconds.to_string(),
            "expires_on": expires.to_string(),
            "resource": audience,
            "token_type": "Bearer",
        }))
        .into_response()
    }
}

/// The usual host of Entra ID. The emulator's certificate is valid for it too, so that a client whose resolver leads here needs no other
/// setting.
pub(crate) const LOGIN_HOST: &str = "login.microsoftonline.com";

const MISSING: &str = "AKV10000: Request is missing a Bearer or PoP token.";

/// The resource of an audience, without port and final slash.
fn resource(audience: &str) -> Option<&'static str> {
    let bare = audience.trim_end_matches('/');
    let known = [Kind::Premium.resource(), Kind::ManagedHsm.resource()];
    known.into_iter().find(|known| {
        let rest = bare.strip_prefix(known);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
    })
}

/// The claims of a token. Its signature is not checked.
fn claims<T: for<'a> Deserialize<'a>>(signed: &str) -> Option<T> {
    let (_, payload) = signed.split_once('.')?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// The endpoints of the directory.
pub(crate) fn router(entra: Arc<Entra>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/v2.0/token", post(token))
        .route("/{tenant}/v2.0/.well-known/openid-configuration", get(configuration))
        .route("/common/discovery/instance", get(instance))
        .with_state(Arc::clone(&entra))
        .merge(metadata(entra))
}

/// The endpoints of managed identities, which have no host name: a machine's metadata service, and an App Service's.
pub(crate) fn metadata(entra: Arc<Entra>) -> Router {
    Router::new().route("/metadata/identity/oauth2/token", get(machine)).route("/msi/token", get(service)).with_state(entra)
}

async fn token(State(entra): State<Arc<Entra>>, Path(tenant): Path<String>, Form(form): Form<BTreeMap<String, String>>) -> Response<Body> {
    entra.token(&tenant, &form).map_or_else(|denied| denied.respond(), |token| Json(token).into_response())
}

async fn configuration(Path(tenant): Path<String>, headers: HeaderMap) -> Json<Value> {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or(LOGIN_HOST);
    let base = format!("https://{host}/{tenant}");
    Json(json!({
        "issuer": format!("{base}/v2.0"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_types_supported": ["code"],
        "tenant_region_scope": "NA",
        "cloud_instance_name": "microsoftonline.com",
    }))
}

async fn instance(Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
    let asked = query.get("authorization_endpoint").and_then(|endpoint| endpoint.strip_prefix("https://"));
    let (host, path) = asked.and_then(|rest| rest.split_once('/')).unwrap_or((LOGIN_HOST, "common"));
    let tenant = path.split('/').next().unwrap_or_default();
    Json(json!({
        "tenant_discovery_endpoint": format!("https://{host}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    }))
}

async fn machine(State(entra): State<Arc<Entra>>, headers: HeaderMap, Query(query): Query<BTreeMap<String, String>>) -> Response<Body> {
    if headers.get("metadata").is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"true")) {
        let body = json!({ "error": "invalid_request", "error_description": "Required metadata header not specified" });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    entra.managed(&query)
}

async fn service(State(entra): State<Arc<Entra>>, headers: HeaderMap, Query(query): Query<BTreeMap<String, String>>) -> Response<Body> {
    let header = headers.get("x-identity-header").map(http::HeaderValue::as_bytes);
    let expected = entra.directory.identity_header.as_deref().map(str::as_bytes);
    if header.is_none() || expected.is_some_and(|expected| header != Some(expected)) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "statusCode": 401, "message": "Unauthorized" }))).into_response();
    }
    entra.managed(&query)
}
