//! Imports of key material.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    fields::Message,
    input::Input,
    operation::{child, parent},
    readings::{BadMaterial, ExpiredJob, PendingJob},
    refusal::{Code, Refusal, invalid_field, missing, wrong_state},
    scope::Scope,
    store::{Import, Job, Key, Pending, Store, Template, Version, kind_for, not_in_state, version_name},
    versions,
    word::{Algorithm, ImportMethod, JobState, Kind, Level, VersionState, Word as _},
};
use crate::crypto::{RsaSize, Secret, service::PairKind};

const MEMBERS: [&str; 6] = ["cryptoKeyVersion", "algorithm", "importJob", "wrappedKey", "rsaAesWrappedKey", "trustedWrappingEnabled"];

/// The parameters of an import.
struct Order<'a> {
    algorithm: Algorithm,
    kind: Kind,
    /// By its full name.
    job: &'a str,
    wrapped: Vec<u8>,
    /// The full name of an existing version to import into. `None`: a new one.
    into: Option<&'a str>,
}

// contract: gcp.import.version
pub(super) fn import(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&MEMBERS)?;
    let key = store.key(input.name())?;
    let order = Order::read(&body, key)?;
    let job = job_for(store, input.name(), key, &order)?;
    let expired = is_usable(scope, order.job, job)?;

    let mut version = match order.into {
        Some(name) => reimported(store, input.name(), name, &order)?,
        None => Version::new(key.last_number + 1, Template { level: key.template.level, algorithm: order.algorithm }, scope.now),
    };
    version.import = Some(Import { job: order.job.to_owned(), at: None, failure: None });
    let unwrapped = if expired { Err("the import job has expired") } else { unwrap(scope, job, &order, version.fingerprint.as_ref()) };
    let name = version_name(input.name(), version.number);
    let (outcome, statement) = match unwrapped {
        Ok(material) => {
            let statement = versions::statement(scope, &name, &version, order.kind, &material)?;
            version.fingerprint = Some(scope.crypto.hash(&[material.expose()]));
            (Ok(Arc::new(material)), statement)
        }
        Err(reason) if scope.config.readings.bad_material == BadMaterial::AtOnce && !expired => {
            return Err(invalid_field("wrapped_key", reason));
        }
        Err(reason) => (Err(reason.to_owned()), None),
    };
    version.state = VersionState::PendingImport;
    version.destroyed = None;
    let due = scope.now + Duration::from_millis(scope.config.readings.import_millis.into());
    version.pending = Some(Pending { due, outcome, statement });
    let answer = versions::show(scope, &name, &version, true)?;
    store.change(input.name(), |key| {
        key.last_number = key.last_number.max(version.number);
        key.versions.insert(version.number, version);
    });
    Ok(answer)
}

impl<'a> Order<'a> {
    fn read(body: &Message<'a>, key: &Key) -> Result<Self, Refusal> {
        if body.flag("trustedWrappingEnabled")? {
            return Err(Code::Unimplemented.because("this emulator does not know `trusted_wrapping_enabled`"));
        }
        let algorithm: Algorithm = body.required_word("algorithm")?;
        let wrapped = match (body.bytes("wrappedKey")?, body.bytes("rsaAesWrappedKey")?) {
            (Some(wrapped), None) | (None, Some(wrapped)) => wrapped,
            _ => return Err(invalid_field("wrapped_key", "exactly one of `wrapped_key` and `rsa_aes_wrapped_key` must be given")),
        };
        let job = body.required_text("importJob")?;
        Ok(Self { algorithm, kind: kind_for(algorithm, key.purpose)?, job, wrapped, into: body.text("cryptoKeyVersion")? })
    }
}

/// The job, which has to be of the key's ring and of its protection level.
// contract: gcp.import.job
fn job_for<'s>(store: &'s Store, key_name: &str, key: &Key, order: &Order<'_>) -> Result<&'s Job, Refusal> {
    if child(order.job, parent(key_name), "importJobs").is_none() {
        return Err(invalid_field("import_job", format!("`{}` is not an import job of the key's key ring", order.job)));
    }
    let job = store.job(order.job)?;
    if job.level != key.template.level {
        let message = format!("{} has the protection level {}, not the key's.", order.job, job.level.name());
        return Err(wrong_state(order.job, "PROTECTION_LEVEL", message));
    }
    // contract: gcp.import.methods
    let direct = job.method.rsa().is_some_and(|wrapping| !wrapping.with_aes);
    if direct && matches!(order.kind, Kind::RsaSign { .. } | Kind::RsaDecrypt { .. }) {
        return Err(invalid_field("import_job", format!("{} cannot wrap RSA keys", job.method.name())));
    }
    Ok(job)
}

/// Whether the job is active; `false`: it has expired, and the import will fail because of that. Any other state is refused.
fn is_usable(scope: &Scope<'_>, name: &str, job: &Job) -> Result<bool, Refusal> {
    let readings = &scope.config.readings;
    let state = job.state(scope.now);
    let precondition = || wrong_state(name, "IMPORT_JOB_STATE", format!("{name} is not active, current state is: {}.", state.name()));
    let argument = || invalid_field("import_job", format!("`{name}` is {}", state.name()));
    match state {
        JobState::Active => Ok(false),
        JobState::PendingGeneration => Err(match readings.pending_job {
            PendingJob::FailedPrecondition => precondition(),
            PendingJob::InvalidArgument => argument(),
        }),
        JobState::Expired => match readings.expired_job {
            ExpiredJob::FailedPrecondition => Err(precondition()),
            ExpiredJob::InvalidArgument => Err(argument()),
            ExpiredJob::NotFound => Err(missing("ImportJob", name)),
            ExpiredJob::ImportFailed => Ok(true),
        },
    }
}

/// The version to import into again, if that is allowed.
// contract: gcp.import.again
fn reimported(store: &Store, key: &str, name: &str, order: &Order<'_>) -> Result<Version, Refusal> {
    if child(name, key, "cryptoKeyVersions").is_none() {
        return Err(invalid_field("crypto_key_version", format!("`{name}` is not a version of `{key}`")));
    }
    let (_, _, version) = store.version(name)?;
    if version.import.is_none() {
        return Err(wrong_state(name, "NOT_IMPORTED", format!("{name} was not imported.")));
    }
    if !version.is_reimport_eligible() {
        return Err(not_in_state(name, version, "destroyed and no failed import either"));
    }
    // "must match the previous version exactly if the version has ever contained key material"
    if version.fingerprint.is_some() && version.algorithm != order.algorithm {
        return Err(invalid_field("algorithm", format!("the version had the algorithm {}", version.algorithm.name())));
    }
    Ok(Version { algorithm: order.algorithm, ..version.clone() })
}

/// The material, or the reason for which the import fails after it was answered.
// contract: gcp.import.payload, gcp.import.lengths
fn unwrap(scope: &Scope<'_>, job: &Job, order: &Order<'_>, before: Option<&[u8; 32]>) -> Result<Secret, &'static str> {
    let unwrapped = unwrap_bytes(scope, job, &order.wrapped).ok_or("the key material could not be unwrapped")?;
    if !fits(scope, order.kind, job.level, &unwrapped) {
        return Err("the key material is not a key of this algorithm");
    }
    if before.is_some_and(|before| *before != scope.crypto.hash(&[unwrapped.expose()])) {
        return Err("the key material is not the one that the version had");
    }
    Ok(unwrapped)
}

fn unwrap_bytes(scope: &Scope<'_>, job: &Job, wrapped: &[u8]) -> Option<Secret> {
    let wrapping = ImportMethod::rsa(job.method)?;
    let private = &job.pair.private;
    if !wrapping.with_aes {
        return scope.crypto.unwrap_oaep(private, wrapping.hash, wrapped).ok();
    }
    let (kek, material) = wrapped.split_at_checked(wrapping.size.bytes())?;
    let kek = scope.crypto.unwrap_oaep(private, wrapping.hash, kek).ok()?;
    scope.crypto.unwrap_kwp(&kek, material).ok()
}

/// Whether bytes are a key of this kind: raw and of the right length, or exactly one PKCS#8 structure.
fn fits(scope: &Scope<'_>, kind: Kind, level: Level, material: &Secret) -> bool {
    let length = material.expose().len();
    let public = |kind| scope.crypto.public_of(kind, material);
    let is_rsa =
        |size: RsaSize| public(PairKind::Rsa).is_ok() && scope.crypto.read_rsa(material).is_ok_and(|public| is_of(size, &public.modulus));
    match kind {
        Kind::Symmetric => length == 32,
        Kind::Raw { length: wanted, .. } => length == wanted,
        Kind::Hmac(hash) => length == hash.bytes(),
        Kind::RsaSign { size, .. } | Kind::RsaDecrypt { size, .. } => is_rsa(size),
        // secp256k1 is only for HSMs (Cloud KMS documentation, "Key purposes and algorithms").
        Kind::Ec(crate::crypto::keys::Curve::Secp256k1) if level != Level::Hsm => false,
        Kind::Ec(curve) => public(PairKind::Ec(curve)).is_ok(),
        Kind::Ed25519 => public(PairKind::Ed25519).is_ok(),
    }
}

/// Whether a modulus, given without leading zeros, has all bits of its size.
fn is_of(size: RsaSize, modulus: &[u8]) -> bool {
    modulus.len() == size.bytes() && modulus.first().is_some_and(|first| first & 0x80 != 0)
}
