//! Creating, reading, enabling, disabling, destroying, restoring and deleting versions of keys.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    attestation::Statement,
    fields::{Message, required},
    input::Input,
    moment::rfc3339,
    page::{PARAMETERS, Page},
    refusal::{Refusal, invalid_field, wrong_state},
    scope::Scope,
    store::{Key, Pending, Store, Version, kind_for, not_in_state, version_name},
    word::{Kind, Level, VersionState, View, Word as _},
    written::put,
};
use crate::crypto::{Refused, Secret};

const MEMBERS: [&str; 17] = [
    "name",
    "state",
    "protectionLevel",
    "algorithm",
    "attestation",
    "createTime",
    "generateTime",
    "destroyTime",
    "destroyEventTime",
    "importJob",
    "importTime",
    "importFailureReason",
    "generationFailureReason",
    "externalDestructionFailureReason",
    "externalProtectionLevelOptions",
    "reimportEligible",
    "trustedWrappingEnabled",
];

pub(super) fn create(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&MEMBERS)?;
    let state = body.word("state")?.unwrap_or(VersionState::Enabled);
    if !matches!(state, VersionState::Enabled | VersionState::Disabled) {
        return Err(invalid_field("crypto_key_version.state", "a new version is enabled or disabled"));
    }
    let key = store.key(input.name())?;
    if key.import_only {
        let message = format!("{} takes imported versions only.", input.name());
        return Err(wrong_state(input.name(), "IMPORT_ONLY", message));
    }
    let mut version = generate(scope, input.name(), key)?;
    if state == VersionState::Disabled && version.pending.is_none() {
        version.state = VersionState::Disabled;
    }
    let answer = show(scope, &version_name(input.name(), version.number), &version, true)?;
    store.change(input.name(), |key| {
        key.last_number = version.number;
        key.versions.insert(version.number, version);
    });
    Ok(answer)
}

pub(super) fn get(scope: &mut Scope<'_>, store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.parameters(&[])?;
    show(scope, input.name(), store.version(input.name())?.2, true)
}

pub(super) fn list(scope: &mut Scope<'_>, store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let query = input.parameters(&[&PARAMETERS[..], &["view"]].concat())?;
    let full = query.word("view")? == Some(View::Full);
    let page = Page::read(input, &query)?;
    let key = store.key(input.name())?;
    let fact = |version: &Version, field: &str| match field {
        "name" => Some(version_name(input.name(), version.number)),
        "state" => Some(version.state.name().to_owned()),
        "algorithm" => Some(version.algorithm.name().to_owned()),
        "protectionLevel" | "protection_level" => Some(version.level.name().to_owned()),
        "importJob" | "import_job" => Some(version.import.as_ref().map(|import| import.job.clone()).unwrap_or_default()),
        _ => None,
    };
    // Sorts version 10 after version 9.
    let rank = |version: &Version| format!("{:010}", version.number);
    let show_one = |version: &Version| show(scope, &version_name(input.name(), version.number), version, full);
    page.fill("cryptoKeyVersions", key.versions.values(), rank, fact, show_one)
}

/// Only the state can be updated, between enabled and disabled.
// contract: gcp.version.states
pub(super) fn update(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let query = Message::of_query(input.query, &["updateMask"])?;
    let body = Message::of_body(input.body, &MEMBERS)?;
    match query.mask("updateMask")?.as_slice() {
        [] => return Err(required("update_mask")),
        [path] if path == "state" => {}
        paths => return Err(invalid_field("update_mask", format!("`{}` cannot be updated", paths.join(",")))),
    }
    let state: VersionState = body.required_word("state")?;
    if !matches!(state, VersionState::Enabled | VersionState::Disabled) {
        return Err(invalid_field("crypto_key_version.state", format!("a version cannot be made {}", state.name())));
    }
    let (_, _, version) = store.version(input.name())?;
    if !matches!(version.state, VersionState::Enabled | VersionState::Disabled) {
        return Err(not_in_state(input.name(), version, "enabled or disabled"));
    }
    change(scope, store, input, |_, version| version.state = state)
}

pub(super) fn destroy(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.members(&[])?;
    let (_, _, version) = store.version(input.name())?;
    if !matches!(version.state, VersionState::Enabled | VersionState::Disabled) {
        return Err(not_in_state(input.name(), version, "enabled or disabled"));
    }
    let now = scope.now;
    change(scope, store, input, |delay, version| version.schedule_destruction(now, delay))
}

pub(super) fn restore(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.members(&[])?;
    let (_, _, version) = store.version(input.name())?;
    if version.state != VersionState::DestroyScheduled {
        return Err(not_in_state(input.name(), version, "scheduled for destruction"));
    }
    change(scope, store, input, |_, version| (version.state, version.destroyed) = (VersionState::Disabled, None))
}

/// "Only possible if the version has not been previously imported", and holds nothing.
// contract: gcp.deletion
pub(super) fn delete(store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.parameters(&[])?;
    let (key, _, version) = store.version(input.name())?;
    if !matches!(version.state, VersionState::Destroyed | VersionState::ImportFailed | VersionState::GenerationFailed) {
        return Err(not_in_state(input.name(), version, "destroyed or failed"));
    }
    if version.import.is_some() && version.fingerprint.is_some() {
        return Err(wrong_state(input.name(), "IMPORTED", format!("{} was imported and cannot be deleted.", input.name())));
    }
    let number = version.number;
    store.change(key, |key| {
        key.versions.remove(&number);
        if key.primary == Some(number) {
            key.primary = None;
        }
    });
    Ok(json!({
        "name": format!("projects/{}/locations/{}/operations/delete-{number}", input.route.project, input.route.location),
        "metadata": { "@type": "type.googleapis.com/google.cloud.kms.v1.DeleteCryptoKeyVersionMetadata" },
        "done": true,
        "response": { "@type": "type.googleapis.com/google.protobuf.Empty" },
    }))
}

/// The next version of a key, with generated material. Symmetric versions are ready at once.
pub(super) fn generate(scope: &mut Scope<'_>, name: &str, key: &Key) -> Result<Version, Refusal> {
    let kind = kind_for(key.template.algorithm, key.purpose)?;
    let mut version = Version::new(key.last_number + 1, key.template, scope.now);
    let material = make(scope, kind)?;
    let statement = statement(scope, &version_name(name, version.number), &version, kind, &material)?;
    version.fingerprint = Some(scope.crypto.hash(&[material.expose()]));
    let millis = if kind.is_asymmetric() { scope.config.readings.generation_millis } else { 0 };
    if millis == 0 {
        version.state = VersionState::Enabled;
        version.generated = Some(scope.now);
        (version.material, version.statement) = (Some(Arc::new(material)), statement);
    } else {
        let due = scope.now + Duration::from_millis(millis.into());
        version.pending = Some(Pending { due, outcome: Ok(Arc::new(material)), statement });
    }
    Ok(version)
}

/// The HSM's statement about a version's material; `None`: there is none.
pub(super) fn statement(
    scope: &Scope<'_>,
    name: &str,
    version: &Version,
    kind: Kind,
    material: &Secret,
) -> Result<Option<Arc<Statement>>, Refused> {
    if version.level != Level::Hsm {
        return Ok(None);
    }
    Statement::of(scope.crypto, name, kind, material, version.import.is_some()).map(|statement| Some(Arc::new(statement)))
}

pub(super) fn show(scope: &mut Scope<'_>, name: &str, version: &Version, full: bool) -> Result<Value, Refusal> {
    let style = scope.style;
    let mut shown = json!({
        "name": name,
        "state": style.word(version.state),
        "protectionLevel": style.word(version.level),
        "algorithm": style.word(version.algorithm),
        "createTime": rfc3339(version.created),
    });
    put(&mut shown, "generateTime", version.generated.map(rfc3339));
    match version.state {
        VersionState::DestroyScheduled => put(&mut shown, "destroyTime", version.destroyed.map(rfc3339)),
        VersionState::Destroyed => put(&mut shown, "destroyEventTime", version.destroyed.map(rfc3339)),
        _ => {}
    }
    if let Some(import) = &version.import {
        shown["importJob"] = import.job.clone().into();
        put(&mut shown, "importTime", import.at.map(rfc3339));
        if version.state == VersionState::ImportFailed {
            put(&mut shown, "importFailureReason", import.failure.clone());
        }
    }
    put(&mut shown, "reimportEligible", version.is_reimport_eligible());
    if full && let Some(statement) = &version.statement {
        shown["attestation"] = scope.attest(statement)?;
    }
    Ok(shown)
}

/// Changes a version, which has to exist, and shows it.
fn change(
    scope: &mut Scope<'_>,
    store: &mut Store,
    input: &Input<'_>,
    change: impl FnOnce(Duration, &mut Version),
) -> Result<Value, Refusal> {
    let (name, key, version) = store.version(input.name())?;
    let mut version = version.clone();
    change(key.destroy_delay, &mut version);
    let answer = show(scope, input.name(), &version, true)?;
    store.change(name, |key| key.versions.insert(version.number, version));
    Ok(answer)
}

fn make(scope: &mut Scope<'_>, kind: Kind) -> Result<Secret, Refusal> {
    Ok(match kind {
        Kind::Symmetric => scope.secret(32),
        Kind::Raw { length, .. } => scope.secret(length),
        Kind::Hmac(hash) => scope.secret(hash.bytes()),
        Kind::RsaSign { size, .. } | Kind::RsaDecrypt { size, .. } => scope.crypto.make_pair(size)?.private,
        Kind::Ec(curve) => scope.crypto.make_ec(curve)?,
        Kind::Ed25519 => scope.crypto.make_ed25519()?,
    })
}
