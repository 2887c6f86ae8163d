//! Google Cloud KMS: one project.
//!
//! Owns the rules of key rings, keys, versions and import jobs as the published interface (googleapis, `google/cloud/kms/v1`) and the
//! documentation state them, for the purposes ENCRYPT_DECRYPT, RAW_ENCRYPT_DECRYPT, ASYMMETRIC_SIGN, ASYMMETRIC_DECRYPT and MAC at the
//! protection levels SOFTWARE and HSM. The rest of the interface is refused with `UNIMPLEMENTED`. Permissions are not modelled. A location
//! has quotas of its own, and exists as soon as a request names it.
//!
//! Consistency: reads show the present state, and new keys and enabled versions can be used at once. Within the window after a change, a
//! version that was disabled or scheduled for destruction may still work, and encrypting under a key may still use the former primary
//! version.

mod attestation;
mod certificate;
mod checksum;
mod config;
mod crypt;
mod dump;
mod fields;
mod identity;
mod import;
mod input;
mod jobs;
mod keys;
mod moment;
mod operation;
mod page;
mod readings;
mod refusal;
mod rings;
mod scope;
mod sign;
mod store;
mod versions;
mod word;
mod written;

use std::time::Duration;

use rand_core::RngCore;
use serde_json::{Map, Value};

use self::{
    attestation::Hsm,
    input::Input,
    operation::{Kind, Route},
    scope::Scope,
    word::{Level, Style},
};
pub use self::{
    config::Config,
    identity::{GrantRefused, Identity, ServiceAccount, Token},
    operation::{Method, Operation},
    readings::{Attestation, BadMaterial, ExpiredJob, ExtendedCheck, PendingJob, PrimaryOfUnusable, Readings, Spoiled},
    refusal::{Code, Refusal, Reply, unauthenticated},
    store::Store,
};
use crate::{
    Timestamp,
    crypto::{Turns, service::ServiceCrypto},
    frame::{Blame, Call, Frame, Noted, Service},
    quota::Buckets,
};

/// Requests per minute and location, by class. Reads: Cloud KMS documentation, "Quotas". The number for writes is no longer published; it
/// was 60. Those for using keys are former ones too: 60,000 for software keys, and 3,000 for HSM keys, the lower one of asymmetric and
/// symmetric.
const QUOTAS: [(&str, u32); 4] = [(READ, 600), (WRITE, 60), (SOFTWARE, 60_000), (HSM, 3_000)];

const READ: &str = "Read";
const WRITE: &str = "Write";
const SOFTWARE: &str = "Software";
const HSM: &str = "HSM";

/// A request that is already authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// The path after the host, decoded.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, Value)>,
    /// A JSON object, or empty.
    pub body: Vec<u8>,
}

pub type Gcp = Frame<Project>;

pub struct Project {
    config: Config,
    crypto: Box<dyn ServiceCrypto>,
    pairs: Turns,
    hsm: Option<Hsm>,
    identity: Identity,
}

impl Gcp {
    /// An empty project with the published quotas.
    pub fn new(config: Config, crypto: Box<dyn ServiceCrypto>) -> Self {
        let consistency = config.consistency;
        let project = Project { config, crypto, pairs: Turns::of(jobs::PAIRS), hsm: None, identity: Identity::default() };
        // contract: gcp.quota.requests
        Self::around(project, Buckets::per(Duration::from_secs(60), QUOTAS), consistency)
    }
}

impl Project {
    pub fn identity(&mut self) -> &mut Identity {
        &mut self.identity
    }

    /// Checks the `Authorization` header of a request.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` for a token that is unknown, expired or missing.
    pub fn authorize(&self, now: Timestamp, header: Option<&str>) -> Result<(), Refusal> {
        self.identity.authorize(self.crypto.as_ref(), now, header)
    }

    /// Issues a token for a service account, in exchange for a signed assertion.
    ///
    /// # Errors
    /// When the assertion is not a valid one of the account for this server.
    pub fn grant(&mut self, now: Timestamp, rng: &mut dyn RngCore, assertion: &str) -> Result<Token, GrantRefused> {
        self.identity.grant(self.crypto.as_ref(), now, rng, assertion)
    }

    /// The roots of the emulated HSM's certificates, as PEM: the manufacturer's, then the owner's.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn attestation_roots(&mut self, now: Timestamp, rng: &mut dyn RngCore) -> Result<String, Refusal> {
        self.scope(now, rng, Style::Names).hsm().map(|(hsm, _)| hsm.roots())
    }

    fn scope<'a>(&'a mut self, now: Timestamp, rng: &'a mut dyn RngCore, style: Style) -> Scope<'a> {
        let Self { config, crypto, pairs, hsm, .. } = self;
        Scope { now, config, crypto: &**crypto, rng, pairs, hsm, style }
    }
}

impl Service for Project {
    type Store = Store;
    type Request = Request;
    type Output = Value;
    type Refusal = Refusal;
    type Reply = Reply;
    type Readings = Readings;

    fn operation<'a>(&self, request: &'a Request) -> &'a str {
        Route::read(request.method, &request.path).map_or(&request.path, |route| route.operation.name())
    }

    fn is_mutating(&self, request: &Request) -> bool {
        Route::read(request.method, &request.path).is_some_and(|route| route.operation.is_mutating())
    }

    // contract: gcp.consistency
    fn may_lag(&self, request: &Request) -> bool {
        Route::read(request.method, &request.path).is_some_and(|route| route.operation.kind() == Kind::Computes)
    }

    fn draws(&self, store: &Store, request: &Request) -> Vec<(String, &'static str)> {
        let Some(route) = Route::read(request.method, &request.path) else {
            return Vec::new();
        };
        vec![(route.location.to_owned(), class(store, &route))]
    }

    fn noted(&self, request: &Request) -> Noted {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let wrapped = ["wrappedKey", "wrapped_key", "rsaAesWrappedKey", "rsa_aes_wrapped_key"].iter().find_map(|name| body[name].as_str());
        let route = Route::read(request.method, &request.path);
        let chosen =
            |names: [&str; 2]| request.query.iter().find(|(name, _)| names.contains(&name.as_str())).and_then(|(_, id)| id.as_str());
        let key_id = route.map(|route| {
            let (collection, id) = match route.operation {
                Operation::CreateKeyRing => ("keyRings", chosen(["keyRingId", "key_ring_id"])),
                Operation::CreateCryptoKey => ("cryptoKeys", chosen(["cryptoKeyId", "crypto_key_id"])),
                Operation::CreateImportJob => ("importJobs", chosen(["importJobId", "import_job_id"])),
                _ => ("", None),
            };
            id.map_or_else(|| route.name.to_owned(), |id| format!("{}/{collection}/{id}", route.name))
        });
        Noted {
            region: route.map(|route| route.location.to_owned()),
            key_id,
            size: request.body.len(),
            wrapped_material: wrapped.and_then(fields::decode),
            body,
        }
    }

    fn settle(&mut self, store: &mut Store, now: Timestamp, rng: &mut dyn RngCore) {
        while let Some((at, name)) = store.next_due(now) {
            store.settle(&name, at);
            keys::rotate(&mut self.scope(at, rng, Style::Names), store, &name);
        }
    }

    fn serve(&mut self, call: Call<'_>, store: &mut Store, past: Option<&Store>, request: &Request) -> Result<Value, Refusal> {
        let route = Route::read(request.method, &request.path)
            .ok_or_else(|| Code::NotFound.because(format!("The requested URL {} was not found on this server.", request.path)))?;
        if route.project != self.config.project {
            return Err(refusal::denied(route.operation.permission(), route.name));
        }
        let style = style(&request.query)?;
        let body: Map<String, Value> = if request.body.is_empty() {
            Map::new()
        } else {
            serde_json::from_slice(&request.body)
                .map_err(|_| Code::InvalidArgument.because("Invalid JSON payload received. The body is not a JSON object."))?
        };
        let largest_page = usize::try_from(self.config.readings.largest_page).unwrap_or(usize::MAX).max(1);
        let input = Input { route, query: &request.query, body: &body, largest_page };
        dispatch(&mut self.scope(call.now, call.rng, style), store, past, &input)
    }

    fn reply(&self, served: Result<&Value, &Refusal>, _: String) -> Reply {
        match served {
            Ok(output) => Reply::output(output),
            Err(refusal) => Reply::refusal(refusal),
        }
    }

    fn error(&self, status: u16, code: &str, _: String) -> Reply {
        Reply::error(status, code, "a fault was asked for", &[])
    }

    fn blamed(&self, blame: Blame, request: &Request) -> Refusal {
        let route = Route::read(request.method, &request.path);
        match (blame, route) {
            (Blame::Throttled(wait), Some(route)) => {
                let class = if route.operation.kind() == Kind::Writes { WRITE } else { READ };
                refusal::exhausted(class, route.project, route.location, wait)
            }
            (Blame::Throttled(wait), None) => refusal::exhausted(READ, &self.config.project, "global", wait),
            (Blame::Denied, Some(route)) => refusal::denied(route.operation.permission(), route.name),
            (Blame::Denied, None) => refusal::denied("cloudkms.locations.get", &request.path),
            (Blame::Failed, _) => Code::Internal.because("Internal error encountered."),
        }
    }

    fn code(refusal: &Refusal) -> String {
        refusal.code.name().to_owned()
    }

    fn readings(&mut self) -> &mut Readings {
        &mut self.config.readings
    }

    fn dump(&self, now: Timestamp, store: &Store) -> Value {
        dump::everything(&self.config, self.crypto.as_ref(), now, store)
    }

    /// The contract knows no such failure, so nothing is lost.
    fn lose(&mut self, _: &mut Store, _: Timestamp, _: &str) {}

    fn alter(&self, store: &mut Store, before: &Store) {
        let made: Vec<String> = store.keys().filter(|(name, _)| before.find_key(name).is_none()).map(|(name, _)| name.to_owned()).collect();
        for name in made {
            store.change(&name, |key| key.labels.clear());
        }
    }
}

fn dispatch(scope: &mut Scope<'_>, store: &mut Store, past: Option<&Store>, input: &Input<'_>) -> Result<Value, Refusal> {
    match input.route.operation {
        Operation::CreateKeyRing => rings::create(scope, store, input),
        Operation::GetKeyRing => rings::get(store, input),
        Operation::ListKeyRings => rings::list(store, input),
        Operation::CreateCryptoKey => keys::create(scope, store, input),
        Operation::GetCryptoKey => keys::get(scope, store, input),
        Operation::ListCryptoKeys => keys::list(scope, store, input),
        Operation::UpdateCryptoKey => keys::update(scope, store, input),
        Operation::UpdateCryptoKeyPrimaryVersion => keys::update_primary(scope, store, input),
        Operation::DeleteCryptoKey => keys::delete(scope, store, input),
        Operation::CreateCryptoKeyVersion => versions::create(scope, store, input),
        Operation::ImportCryptoKeyVersion => import::import(scope, store, input),
        Operation::GetCryptoKeyVersion => versions::get(scope, store, input),
        Operation::ListCryptoKeyVersions => versions::list(scope, store, input),
        Operation::UpdateCryptoKeyVersion => versions::update(scope, store, input),
        Operation::DestroyCryptoKeyVersion => versions::destroy(scope, store, input),
        Operation::RestoreCryptoKeyVersion => versions::restore(scope, store, input),
        Operation::DeleteCryptoKeyVersion => versions::delete(store, input),
        Operation::GetPublicKey => sign::public_key(scope, store, past, input),
        Operation::CreateImportJob => jobs::create(scope, store, input),
        Operation::GetImportJob => jobs::get(scope, store, input),
        Operation::ListImportJobs => jobs::list(scope, store, input),
        Operation::GetRetiredResource => rings::get_retired(store, input),
        Operation::ListRetiredResources => rings::list_retired(store, input),
        Operation::Encrypt => crypt::encrypt(scope, store, past, input),
        Operation::Decrypt => crypt::decrypt(scope, store, past, input),
        Operation::RawEncrypt => crypt::raw_encrypt(scope, store, past, input),
        Operation::RawDecrypt => crypt::raw_decrypt(scope, store, past, input),
        Operation::AsymmetricSign => sign::asymmetric_sign(scope, store, past, input),
        Operation::AsymmetricDecrypt => sign::asymmetric_decrypt(scope, store, past, input),
        Operation::MacSign => sign::mac_sign(scope, store, past, input),
        Operation::MacVerify => sign::mac_verify(scope, store, past, input),
    }
}

/// How an answer writes enumerations: `$alt=json;enum-encoding=int` asks for numbers.
// contract: gcp.json
fn style(query: &[(String, Value)]) -> Result<Style, Refusal> {
    let mut style = Style::Names;
    for (_, value) in query.iter().filter(|(name, _)| name == "alt" || name == "$alt") {
        match value.as_str().unwrap_or_default() {
            "json" => {}
            "json;enum-encoding=int" => style = Style::Numbers,
            other => return Err(Code::InvalidArgument.because(format!("the answer cannot be written as `{other}`"))),
        }
    }
    Ok(style)
}

/// The class of the quota that a request draws from.
fn class(store: &Store, route: &Route<'_>) -> &'static str {
    match route.operation.kind() {
        Kind::Reads => READ,
        Kind::Writes => WRITE,
        Kind::Computes => {
            let key = store.find_key(route.name).or_else(|| store.find_key(operation::parent(route.name)));
            match key.map(|key| key.template.level) {
                Some(Level::Hsm) => HSM,
                _ => SOFTWARE,
            }
        }
    }
}
