//! Azure Key Vault and Managed HSM over HTTPS, with the part of Entra ID that issues tokens for them.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use keyplane_emulator_core::{
    azure::{Attester, Azure, Config, Kind, PAIRS, Reply, Request as Call},
    crypto::{Crypto as _, RsaPairs, RsaSize, Secret},
    frame::Frame,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

pub use keyplane_emulator_core::azure::Forgery;

use crate::{
    Clock, Shared, control,
    entra::{self, Entra, LOGIN_HOST},
    tls::Chain,
};
pub use crate::{
    entra::{Application, Directory, Federation, USUAL_TOKEN_SECONDS},
    tls::{Identity, TlsError},
};

/// The longest request body, in bytes. A transfer blob for RSA-4096 needs about 5 KiB.
const LONGEST_BODY: usize = 1024 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const SERVICE_VERSION: HeaderName = HeaderName::from_static("x-ms-keyvault-service-version");

/// The options of an emulated vault.
pub struct Options {
    /// A Managed HSM also gets a key for attestations.
    pub config: Config,
    /// The directory that issues tokens for the vault.
    pub directory: Directory,
    /// Whether request quotas hold from the start.
    pub quotas: bool,
    /// The source of RSA pairs.
    pub pairs: RsaPairs,
    /// For everything random except keys.
    pub seed: u64,
    /// The time, before `/_emulator/clock` moves it.
    pub clock: Clock,
}

/// An emulated vault that is not served yet.
pub struct Emulator {
    /// The vault, its directory and the control interface under `/_emulator/`, to be served over TLS.
    pub vault: Router,
    /// Managed identities, like a machine's metadata service, and the control interface, to be served without TLS.
    pub metadata: Router,
    /// The server's certificate, and its authority's.
    pub identity: Identity,
    /// Makes RSA-4096 pairs for key exchange keys. It takes seconds, unless they come from files, so run it where it may block.
    pub preparation: Box<dyn FnOnce() + Send>,
}

struct Vault {
    shared: Arc<Shared<Frame<Azure>>>,
    entra: Arc<Entra>,
    kind: Kind,
    host: String,
}

/// Makes an emulated vault. Nothing listens yet.
///
/// # Errors
/// When the vault's host is not a host name, or there is no randomness for certificates.
pub fn emulator(options: Options) -> Result<Emulator, TlsError> {
    let Options { mut config, directory, quotas, pairs, seed, clock } = options;
    let (kind, host) = (config.kind, config.host.clone());
    let identity = Identity::new(&[host.as_str(), LOGIN_HOST, "localhost", "127.0.0.1"])?;
    let mut root = None;
    if kind == Kind::ManagedHsm && config.attester.is_none() {
        let chain = Chain::new(&pairs)?;
        config.attester = Some(Arc::new(Attester { certificates: chain.certificates, private: Secret::new(chain.private) }));
        root = Some(chain.root);
    }
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut secret = [0; 32];
    rng.fill_bytes(&mut secret);
    let entra = Entra::new(directory, &secret, Arc::clone(&clock));

    let mut azure = Azure::vault(config, Box::new(pairs.clone()));
    azure.quotas().turn(quotas);
    let shared = Shared::new(azure, rng, clock);
    let preparation = {
        let inner = Arc::clone(&shared.inner);
        move || {
            // Other sizes are generated quickly when they are needed. If a pair cannot be made now, that is tried again when it is needed.
            for _ in 0..PAIRS {
                if let Ok(pair) = pairs.make_pair(RsaSize::Rsa4096) {
                    inner.blocking_lock().cloud.service().provide(RsaSize::Rsa4096, pair);
                }
            }
        }
    };
    let mut control = control::router(Arc::clone(&shared));
    if let Some(root) = root {
        control = control.route("/attestation-root", get(async move || root.clone()));
    }
    let vault = Vault { shared, entra: Arc::clone(&entra), kind, host };
    let router = Router::new()
        .fallback(serve)
        .with_state(Arc::new(vault))
        .merge(entra::router(Arc::clone(&entra)))
        .nest("/_emulator", control.clone())
        .layer(DefaultBodyLimit::max(LONGEST_BODY));
    let metadata = entra::metadata(entra).nest("/_emulator", control);
    Ok(Emulator { vault: router, metadata, identity, preparation: Box::new(preparation) })
}

async fn serve(State(vault): State<Arc<Vault>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let authority = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let call = vault
        .entra
        .admit(vault.kind, &headers)
        .map(|()| Call::new(method.as_str(), authority, uri.path(), uri.query().unwrap_or_default(), body.to_vec()));
    let challenge = call.as_ref().err().map(|refusal| vault.entra.challenge(&vault.resource(authority), refusal));
    Arc::clone(&vault.shared).answer(call, |reply| respond(reply, challenge.as_deref())).await
}

impl Vault {
    /// The resource in the challenge, with the port that the client wrote, since some clients compare it with the whole authority.
    fn resource(&self, authority: Option<&str>) -> String {
        let ours = authority.and_then(|authority| authority.split_once(':')).filter(|(host, _)| host.eq_ignore_ascii_case(&self.host));
        let resource = self.kind.resource();
        ours.map_or_else(|| resource.to_owned(), |(_, port)| format!("{resource}:{port}"))
    }
}

fn respond(reply: Reply, challenge: Option<&str>) -> Response<Body> {
    let mut response = Response::new(crate::written(&reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(SERVICE_VERSION, HeaderValue::from_static("1.9.0.0"));
    let texts = [(REQUEST_ID, Some(reply.request_id.as_str())), (header::WWW_AUTHENTICATE, challenge)];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
    if let Some(seconds) = reply.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
