//! What an emulated vault is like.

use std::{sync::Arc, time::Duration};

use super::readings::Readings;
use crate::crypto::Secret;

/// Days for which a deleted key can be recovered, unless the vault was made with another number.
pub const USUAL_RETENTION_DAYS: u32 = 90;

/// The fewest days.
pub const SHORTEST_RETENTION_DAYS: u32 = 7;

/// Which service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Key Vault for keys in software.
    Standard,
    /// A Key Vault for keys in software and in HSMs.
    Premium,
    /// A Managed HSM.
    ManagedHsm,
}

impl Kind {
    /// What the service is called among resources: the audience of its tokens.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Standard | Self::Premium => "https://vault.azure.net",
            Self::ManagedHsm => "https://managedhsm.azure.net",
        }
    }

    /// How long a quota counts.
    pub(super) const fn period(self) -> Duration {
        match self {
            Self::Standard | Self::Premium => Duration::from_secs(10),
            Self::ManagedHsm => Duration::from_secs(1),
        }
    }
}

/// How much fits in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Keys; no limit if none.
    pub keys: Option<usize>,
    /// Versions of a key; no limit if none.
    pub versions: Option<usize>,
}

/// What the emulated vault is like.
#[derive(Clone)]
pub struct Config {
    /// Which service it is.
    pub kind: Kind,
    /// Its host name, for instance `corp-vault.vault.azure.net`.
    pub host: String,
    /// How to read what Azure's documents leave open.
    pub readings: Readings,
    /// How long after a change a read may still show what was before it. Zero: never.
    pub consistency: Duration,
    /// Days for which a deleted key can be recovered.
    pub retention_days: u32,
    /// Whether only time can purge a deleted key.
    pub purge_protection: bool,
    /// How much fits in.
    pub limits: Limits,
    /// What a Managed HSM attests with; without it, it attests nothing.
    pub attester: Option<Arc<Attester>>,
    /// What is wrong with its attestations, on purpose.
    pub forgery: Option<Forgery>,
    /// Whether the dump shows key material.
    pub reveal_material: bool,
}

impl Config {
    /// A vault as the service makes it.
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

    /// What stands in addresses: host and port as the client wrote them, if that is this vault, and otherwise its host.
    pub(super) fn authority<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        let ours = |authority: &&str| authority.split(':').next().is_some_and(|host| host.eq_ignore_ascii_case(&self.host));
        asked.filter(ours).unwrap_or(&self.host)
    }
}

/// What an emulated HSM signs with, made by whoever starts it.
pub struct Attester {
    /// The certificates, as PEM, without the maker's root.
    pub certificates: String,
    /// The signing key: RSA of 2048 bits, as PKCS#8.
    pub private: Secret,
}

/// What can be wrong with an attestation, for tests of those who check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// The signature is one of something else.
    Signature,
    /// It is about another key: the modulus is not this one's.
    Key,
    /// The key can leave the HSM.
    Extractable,
    /// The key was not made in the HSM.
    Origin,
    /// The key can decrypt.
    Uses,
}
