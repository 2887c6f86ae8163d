//! The whole state as JSON, for tests and for people.

use serde_json::{Value, json};

use super::{
    config::Config,
    operation::parent,
    store::{Job, Key, Store, Version},
    word::{VersionState, Word as _},
};
use crate::{Timestamp, crypto::service::ServiceCrypto};

/// Everything in the project: each key with its versions as materials, each with its SHA-256, and its bytes in hexadecimal only with
/// [`Config::reveal_material`]. Times are microseconds since the epoch.
pub(super) fn everything(config: &Config, crypto: &dyn ServiceCrypto, now: Timestamp, store: &Store) -> Value {
    json!({
        "cloud": "gcp",
        "project": config.project,
        "now": now,
        "key_rings": store.rings.keys().collect::<Vec<_>>(),
        "import_jobs": store.jobs.iter().map(|(name, job)| dump_job(now, name, job)).collect::<Vec<_>>(),
        "keys": store.keys().map(|(name, key)| dump_key(config, crypto, name, key)).collect::<Vec<_>>(),
    })
}

fn dump_key(config: &Config, crypto: &dyn ServiceCrypto, name: &str, key: &Key) -> Value {
    json!({
        "id": name.rsplit('/').next(),
        "name": name,
        "key_ring": parent(name),
        "purpose": key.purpose.name(),
        "protection_level": key.template.level.name(),
        "algorithm": key.template.algorithm.name(),
        "import_only": key.import_only,
        "state": state(key),
        "tags": key.labels,
        "created": key.created,
        "primary": key.primary.map(|number| number.to_string()),
        "next_rotation": key.schedule.map(|schedule| schedule.next),
        "materials": key.versions.values().map(|version| dump_version(config, crypto, version)).collect::<Vec<_>>(),
    })
}

fn dump_version(config: &Config, crypto: &dyn ServiceCrypto, version: &Version) -> Value {
    let material = version.material.as_deref();
    let mut dumped = json!({
        "id": version.number.to_string(),
        "state": version.state.name(),
        "algorithm": version.algorithm.name(),
        "created": version.created,
        "destroyed": version.destroyed,
        "import_job": version.import.as_ref().map(|import| &import.job),
        "failure": version.import.as_ref().and_then(|import| import.failure.as_ref()),
        "imported": version.import.is_some() && material.is_some(),
        "sha256": material.map(|bytes| hex::encode(crypto.hash(&[bytes.expose()]))),
    });
    if config.reveal_material {
        dumped["bytes"] = material.map(|bytes| hex::encode(bytes.expose())).into();
    }
    dumped
}

fn dump_job(now: Timestamp, name: &str, job: &Job) -> Value {
    json!({
        "name": name,
        "method": job.method.name(),
        "protection_level": job.level.name(),
        "state": job.state(now).name(),
        "created": job.created,
    })
}

/// The state of a key, which has none of its own: that of the enabled version, or of the latest one.
fn state(key: &Key) -> &'static str {
    let enabled = key.versions.values().find(|version| version.state == VersionState::Enabled);
    enabled.or_else(|| key.versions.values().next_back()).map_or("NO_VERSION", |version| version.state.name())
}
