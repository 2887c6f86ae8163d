//! The configuration of an emulated vault.

use std::{sync::Arc, time::Duration};

use super::readings::Readings;
use crate::crypto::Secret;

/// Days for which a deleted key can be recovered, unless the vault was made with another number.
pub const USUAL_RETENTION_DAYS: u32 = 90;

pub const SHORTEST_RETENTION_DAYS: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Key Vault for keys in software.
    Standard,
    /// A Key Vault for keys in software and in HSMs.
    Premium,
    ManagedHsm,
}

impl Kind {
    /// The resource that tokens are requested for: their audience.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Standard | Self::Premium => "https://vault.azure.net",
            Self::ManagedHsm => "https://managedhsm.azure.net",
        }
    }

    /// The period of the quotas.
    pub(super) const fn period(self) -> Duration {
        match self {
            Self::Standard | Self::Premium => Duration::from_secs(10),
            Self::ManagedHsm => Duration::from_secs(1),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `None`: no limit.
    pub keys: Option<usize>,
    /// Of each key. `None`: no limit.
    pub versions: Option<usize>,
}

#[derive(Clone)]
pub struct Config {
    pub kind: Kind,
    /// The host name, such as `corp-vault.vault.azure.net`.
    pub host: String,
    pub readings: Readings,
    /// How long after a change a read may still show the state before it. Zero: never.
    pub consistency: Duration,
    /// Days for which a deleted key can be recovered.
    pub retention_days: u32,
    /// With it, a deleted key is purged only when its time is over.
    pub purge_protection: bool,
    pub limits: Limits,
    /// What a Managed HSM signs attestations with. `None`: it attests nothing.
    pub attester: Option<Arc<Attester>>,
    /// What is wrong with its attestations, for tests.
    pub forgery: Option<Forgery>,
    pub reveal_material: bool,
}

impl Config {
    /// A vault with the service's own limits.
    pub fn new(kind: Kind, host: impl Into<String>) -> Self {
        let limits = match kind {
            Kind::Standard | Kind::Premium => Limits { keys: None, versions: None },
            Kind::ManagedHsm => Limits { keys: Some(5_000), versions: Some(100) },
        };
        Self {
            kind,
            host: host.into(),
            readings: Readings::default(),
            consistency: Duration::ZERO,
            retention_days: USUAL_RETENTION_DAYS,
            purge_protection: false,
            limits,
            attester: None,
            forgery: None,
            reveal_material: false,
        }
    }

    // contract: azure.delete.soft
    pub(super) const fn recovery_level(&self) -> &'static str {
        match (self.retention_days == USUAL_RETENTION_DAYS, self.purge_protection) {
            (true, false) => "Recoverable+Purgeable",
            (true, true) => "Recoverable",
            (false, false) => "CustomizedRecoverable+Purgeable",
            (false, true) => "CustomizedRecoverable",
        }
    }

    /// Host and port in addresses: as the client wrote them if the host is this vault's, otherwise the vault's host.
    pub(super) fn authority<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        let ours = |authority: &&str| authority.split(':').next().is_some_and(|host| host.eq_ignore_ascii_case(&self.host));
        asked.filter(ours).unwrap_or(&self.host)
    }
}

/// What an emulated HSM signs with. Whoever starts the emulator makes it.
pub struct Attester {
    /// As PEM, without the manufacturer's root.
    pub certificates: String,
    /// RSA-2048, as PKCS#8.
    pub private: Secret,
}

/// What can be wrong with an attestation, for tests of a checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// The signature is over something else.
    Signature,
    /// The statement has the modulus of another key.
    Key,
    Extractable,
    /// The key was not generated in the HSM.
    Origin,
    Uses,
}
