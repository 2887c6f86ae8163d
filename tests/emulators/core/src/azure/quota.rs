//! The quota that a request draws from.
//!
//! Key Vault counts per vault and ten seconds (Key Vault service limits), Managed HSM per second (Managed HSM service limits). A
//! subscription's limit is that of five vaults, so one vault cannot use it up.

use super::{
    config::{Config, Kind},
    fields::Fields,
    key::{Public, Store},
    operation::{Operation, Target},
    readings::ImportQuota,
};

pub(super) const CREATE_HSM: &str = "CreateHsmKey";
pub(super) const CREATE_SOFTWARE: &str = "CreateSoftwareKey";
const USE_2048: &str = "UseHsmKey";
const USE_3072: &str = "UseHsmKey3072";
const USE_4096: &str = "UseHsmKey4096";
const CREATE: &str = "CreateKey";
const GET: &str = "GetKey";
const RSA: &str = "UseRsaKey";
const AES: &str = "UseAesKey";
const DELETE: &str = "DeleteKey";

/// Requests in [`Kind::period`].
// contract: azure.quota.vault, azure.quota.managed_hsm
pub(super) const fn published(kind: Kind) -> &'static [(&'static str, u32)] {
    match kind {
        Kind::Standard | Kind::Premium => &[(CREATE_HSM, 10), (CREATE_SOFTWARE, 20), (USE_2048, 2_000), (USE_3072, 500), (USE_4096, 250)],
        Kind::ManagedHsm => &[(CREATE, 1), (GET, 1_100), (RSA, 1_100), (AES, 2_200), (DELETE, 10)],
    }
}

/// `None`: the request is free.
pub(super) fn drawn(config: &Config, store: &Store, target: &Target, fields: Fields<'_>) -> Option<&'static str> {
    let operation = target.operation;
    let creates = match operation {
        Operation::CreateKey | Operation::RotateKey => true,
        Operation::ImportKey => config.readings.import_quota == ImportQuota::Create,
        _ => false,
    };
    let material = || {
        let version = store.any(&target.name)?.version(target.version.as_deref()).ok()?;
        Some(&version.material)
    };
    match config.kind {
        Kind::Standard | Kind::Premium => {
            let hsm = match operation {
                Operation::CreateKey => fields.text("kty").ok().flatten().is_some_and(|kty| kty.ends_with("-HSM")),
                Operation::ImportKey => {
                    let kty = fields.object("key").ok().flatten().and_then(|key| key.text("kty").ok().flatten());
                    fields.flag("Hsm").ok().flatten() == Some(true) || kty.is_some_and(|kty| kty.ends_with("-HSM"))
                }
                _ => material().is_some_and(|material| material.hsm),
            };
            match (creates, hsm, material().map(|material| &material.public)) {
                (true, true, _) => Some(CREATE_HSM),
                (true, false, _) => Some(CREATE_SOFTWARE),
                (false, false, _) => None,
                (false, true, Some(Public::Rsa(public))) if public.modulus.len() == 384 => Some(USE_3072),
                (false, true, Some(Public::Rsa(public))) if public.modulus.len() == 512 => Some(USE_4096),
                (false, true, _) => Some(USE_2048),
            }
        }
        Kind::ManagedHsm if creates => Some(CREATE),
        Kind::ManagedHsm => match operation {
            Operation::DeleteKey | Operation::PurgeDeletedKey => Some(DELETE),
            Operation::GetKey => Some(GET),
            _ if operation.computes() => match material().map(|material| &material.public) {
                Some(Public::Oct(_)) => Some(AES),
                Some(_) => Some(RSA),
                None => None,
            },
            _ => None,
        },
    }
}
