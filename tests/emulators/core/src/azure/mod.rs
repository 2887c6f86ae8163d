//! Azure Key Vault and Azure Managed HSM: the keys of one vault.
//!
//! Owns the rules of keys as the service's specification and documents state them, above all those of imported keys. Secrets and
//! certificates are left out. Permissions are not modelled: every authenticated caller may do everything.
//!
//! A vault is Standard (software keys), Premium (HSM keys too) or a Managed HSM (HSM keys only, symmetric ones too).

mod answer;
mod attestation;
mod config;
mod create;
mod crypt;
mod dump;
mod fields;
mod import;
mod key;
mod lifecycle;
mod operation;
mod page;
mod query;
mod quota;
mod readings;
mod refusal;
mod scope;

use rand_core::RngCore;
use serde_json::{Map, Value};

pub use self::{
    answer::{Reply, Request},
    config::{Attester, Config, Forgery, Kind, Limits, SHORTEST_RETENTION_DAYS, USUAL_RETENTION_DAYS},
    create::PAIRS,
    key::Store,
    operation::Operation,
    readings::{DisabledKey, Full, ImportQuota, Pages, PlainKeyIntoHsm, Readings, VersionsOrder},
    refusal::{Code, Inner, Refusal},
};
use self::{fields::Fields, key::Writer, operation::Target, query::Query, scope::Scope};
use crate::{
    Timestamp,
    crypto::{Pair, RsaSize, Turns, keys::KeyCrypto},
    frame::{Blame, Call, Frame, Noted, Service},
    quota::Buckets,
};

/// The versions of the API that are served.
// contract: azure.api_version
pub const API_VERSIONS: [&str; 4] = ["7.4", "7.5", "7.6", "2025-07-01"];

/// The text of a throttling error.
const THROTTLED: &str = "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached";

pub struct Azure {
    config: Config,
    crypto: Box<dyn KeyCrypto>,
    pairs: Turns,
}

impl Azure {
    /// An empty vault with the published quotas.
    pub fn vault(config: Config, crypto: Box<dyn KeyCrypto>) -> Frame<Self> {
        let buckets = Buckets::per(config.kind.period(), quota::published(config.kind).iter().copied());
        let consistency = config.consistency;
        Frame::around(Self { config, crypto, pairs: Turns::of(PAIRS) }, buckets, consistency)
    }

    /// Adds an RSA pair for later key exchange keys, so that no client waits for one to be generated. [`PAIRS`] of each size are used.
    pub fn provide(&mut self, size: RsaSize, pair: Pair) {
        self.pairs.provide(size, pair);
    }
}

impl Service for Azure {
    type Store = Store;
    type Request = Request;
    type Output = Value;
    type Refusal = Refusal;
    type Reply = Reply;
    type Readings = Readings;

    fn operation<'a>(&self, request: &'a Request) -> &'a str {
        request.target.as_ref().map_or(&request.path, |target| target.operation.name())
    }

    fn is_mutating(&self, request: &Request) -> bool {
        request.target.as_ref().is_ok_and(|target| target.operation.is_mutating())
    }

    fn draws(&self, store: &Store, request: &Request) -> Vec<(String, &'static str)> {
        let (Ok(target), Ok(body)) = (&request.target, members(&request.body)) else {
            return Vec::new();
        };
        let drawn = quota::drawn(&self.config, store, target, Fields::new(&body));
        drawn.map(|name| (self.config.host.clone(), name)).into_iter().collect()
    }

    fn noted(&self, request: &Request) -> Noted {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
        let name = request.target.as_ref().map(|target| target.name.clone()).ok().filter(|name| !name.is_empty());
        Noted { region: None, key_id: name, size: request.body.len(), wrapped_material: import::wrapped(&body), body }
    }

    fn settle(&mut self, store: &mut Store, now: Timestamp, _: &mut dyn RngCore) {
        store.settle(now);
    }

    fn serve(&mut self, call: Call<'_>, store: &mut Store, past: Option<&Store>, request: &Request) -> Result<Value, Refusal> {
        let target = request.target.as_ref().map_err(Clone::clone)?;
        let query = Query::read(&request.query);
        let api_version = api_version(&query)?;
        let body = members(&request.body)?;
        let fields = Fields::new(&body);
        let Self { config, crypto, pairs } = self;
        let writer = Writer { config, authority: config.authority(request.authority.as_deref()), api_version };
        let mut scope = Scope { now: call.now, config, crypto: crypto.as_ref(), rng: call.rng, pairs, query: &query, writer };
        if target.operation.is_mutating() {
            mutate(&mut scope, store, target, fields)
        } else {
            read(&mut scope, past.unwrap_or(store), target, fields)
        }
    }

    fn reply(&self, served: Result<&Value, &Refusal>, id: String) -> Reply {
        match served {
            Ok(output) => Reply::output(output, id),
            Err(refusal) => Reply::refusal(refusal, id),
        }
    }

    fn error(&self, status: u16, code: &str, id: String) -> Reply {
        Reply::error(status, code, "a fault was asked for", id)
    }

    fn blamed(&self, blame: Blame, request: &Request) -> Refusal {
        match blame {
            Blame::Throttled(wait) => {
                let period = u32::try_from(self.config.kind.period().as_secs()).unwrap_or(u32::MAX);
                Refusal { retry_after: Some(wait.unwrap_or(period)), ..Code::Throttled.because(THROTTLED) }
            }
            Blame::Denied => {
                let message = format!("Caller is not authorized to perform `{}` on this resource.", self.operation(request));
                Code::Forbidden.because(message).with(Inner::ForbiddenByRbac)
            }
            Blame::Failed => Code::InternalServerError.because("a fault was asked for"),
        }
    }

    fn code(refusal: &Refusal) -> String {
        refusal.code.name().to_owned()
    }

    fn readings(&mut self) -> &mut Readings {
        &mut self.config.readings
    }

    fn dump(&self, now: Timestamp, store: &Store) -> Value {
        dump::everything(&self.config, self.crypto.as_ref(), store, now)
    }

    fn lose(&mut self, _: &mut Store, _: Timestamp, _: &str) {
        // Azure loses imported keys no sooner than its own.
    }

    fn alter(&self, store: &mut Store, before: &Store) {
        let is_new = |(name, version): &(String, String)| before.any(name).is_none_or(|key| key.version(Some(version)).is_err());
        let live = store.everything().filter(|(_, deleted)| deleted.is_none());
        let versions = live.flat_map(|(key, _)| key.versions().iter().map(move |version| (key.name.clone(), version.id.clone())));
        let made: Vec<(String, String)> = versions.filter(is_new).collect();
        for (name, version) in made {
            store.change(&name, |key| key.change(&version, |version| version.attributes.enabled = false));
        }
    }
}

/// The version of the API that a request names.
fn api_version(query: &Query) -> Result<&str, Refusal> {
    let Some(version) = query.get("api-version") else {
        return Err(Code::BadParameter.because("api-version must be specified"));
    };
    if !API_VERSIONS.contains(&version) {
        let latest = API_VERSIONS[API_VERSIONS.len() - 1];
        let message =
            format!("The specified version ({version}) is not recognized. Consider using the latest supported version ({latest}).");
        return Err(Code::BadParameter.because(message));
    }
    Ok(version)
}

/// The members of a body; none if it is empty.
fn members(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|_| Code::BadParameter.because("The request body is not a JSON object"))
}

/// INVARIANT: a refused request has changed nothing, because each operation makes all checks before its first change.
fn mutate(scope: &mut Scope<'_>, store: &mut Store, target: &Target, fields: Fields<'_>) -> Result<Value, Refusal> {
    let name = target.name.as_str();
    match target.operation {
        Operation::CreateKey => create::create(scope, store, name, fields),
        Operation::DeleteKey => lifecycle::delete(scope, store, name),
        Operation::ImportKey => import::import(scope, store, name, fields),
        Operation::PurgeDeletedKey => lifecycle::purge(scope, store, name),
        Operation::RecoverDeletedKey => lifecycle::recover(scope, store, name),
        Operation::RotateKey => create::rotate(scope, store, name),
        Operation::UpdateKey => lifecycle::update(scope, store, target, fields),
        Operation::UpdateKeyRotationPolicy => lifecycle::set_rotation_policy(scope, store, name, fields),
        _ => read(scope, store, target, fields),
    }
}

fn read(scope: &mut Scope<'_>, store: &Store, target: &Target, fields: Fields<'_>) -> Result<Value, Refusal> {
    let name = target.name.as_str();
    match target.operation {
        Operation::Decrypt | Operation::UnwrapKey => crypt::decrypt(scope, store, target, fields),
        Operation::Encrypt | Operation::WrapKey => crypt::encrypt(scope, store, target, fields),
        Operation::GetDeletedKey => lifecycle::get_deleted(scope, store, name),
        Operation::GetDeletedKeys => lifecycle::list_deleted(scope, store),
        Operation::GetKey => lifecycle::get(scope, store, target),
        Operation::GetKeyAttestation => attestation::attest(scope, store, target),
        Operation::GetKeyRotationPolicy => lifecycle::rotation_policy(scope, store, name),
        Operation::GetKeyVersions => lifecycle::versions(scope, store, name),
        Operation::GetKeys => lifecycle::list(scope, store),
        Operation::GetRandomBytes => crypt::random(scope, fields),
        Operation::Sign => crypt::sign(scope, store, target, fields),
        Operation::Verify => crypt::verify(scope, store, target, fields),
        Operation::BackupKey => lifecycle::backup(scope, store, name),
        Operation::Release | Operation::RestoreKey => {
            Err(Code::NotSupported.because(format!("this emulator has no `{}`", target.operation.word())))
        }
        mutating => Err(Code::InternalServerError.because(format!("`{}` is not a read", mutating.name()))),
    }
}
