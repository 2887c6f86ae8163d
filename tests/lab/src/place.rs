//! The lab's destinations, and the emulator of each.

use keyplane_model::CloudKind;

/// The account id of the AWS emulators.
pub const ACCOUNT: &str = "111122223333";

/// The project id of the Google Cloud emulator.
pub const PROJECT: &str = "acme-prod";
/// The location of the Google Cloud key rings.
pub const LOCATION: &str = "europe-west3";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// As in configuration and policy.
    pub name: &'static str,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// AWS KMS in a region. Each has an emulator.
    Aws { region: &'static str },
    /// A Google Cloud key ring. All are in one project, which is one emulator.
    Gcp {
        /// The key ring's id.
        ring: &'static str,
        /// The protection level, as in the configuration.
        protection: &'static str,
    },
    /// An Azure vault. Each has an emulator.
    Azure {
        /// The vault's host name.
        vault: &'static str,
        /// The kind, as in configuration and emulator arguments.
        kind: &'static str,
    },
}

/// The destinations that `policy/examples` names.
pub const DESTINATIONS: [Destination; 8] = [
    Destination { name: "prod-us-east-1", place: Place::Aws { region: "us-east-1" } },
    Destination { name: "prod-eu-central-1", place: Place::Aws { region: "eu-central-1" } },
    Destination { name: "analytics-ring", place: Place::Gcp { ring: "analytics", protection: "software" } },
    Destination { name: "backups-ring", place: Place::Gcp { ring: "backups", protection: "software" } },
    Destination { name: "payments-ring", place: Place::Gcp { ring: "payments", protection: "hsm" } },
    Destination { name: "release-ring", place: Place::Gcp { ring: "release", protection: "hsm" } },
    Destination { name: "corp-vault", place: Place::Azure { vault: "corp-vault.vault.azure.net", kind: "key-vault" } },
    Destination { name: "corp-hsm", place: Place::Azure { vault: "corp-hsm.managedhsm.azure.net", kind: "managed-hsm" } },
];

impl Destination {
    #[must_use]
    pub fn cloud(&self) -> CloudKind {
        match self.place {
            Place::Aws { .. } => CloudKind::Aws,
            Place::Gcp { .. } => CloudKind::Gcp,
            Place::Azure { .. } => CloudKind::Azure,
        }
    }

    /// The name of its emulator.
    pub(crate) fn emulator(&self) -> &'static str {
        match self.place {
            Place::Aws { .. } | Place::Azure { .. } => self.name,
            Place::Gcp { .. } => "google-cloud",
        }
    }

    /// Whether its HSMs sign attestations.
    pub(crate) fn attests(&self) -> bool {
        match self.place {
            Place::Aws { .. } => false,
            Place::Gcp { .. } => true,
            Place::Azure { kind, .. } => kind == "managed-hsm",
        }
    }

    /// The full name of a Google Cloud key ring.
    #[must_use]
    pub fn key_ring(ring: &str) -> String {
        format!("projects/{PROJECT}/locations/{LOCATION}/keyRings/{ring}")
    }
}
