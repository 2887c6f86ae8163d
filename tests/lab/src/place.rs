//! The lab's destinations, and which emulator plays each.

use keyplane_model::CloudKind;

/// The AWS account that the emulators play.
pub const ACCOUNT: &str = "111122223333";

/// The Google Cloud project that the emulator plays, and where its key rings are.
pub const PROJECT: &str = "acme-prod";
/// See [`PROJECT`].
pub const LOCATION: &str = "europe-west3";

/// A destination of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its name in configuration and policy.
    pub name: &'static str,
    /// What it is.
    pub place: Place,
}

/// What a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// AWS KMS in a region: an emulator each.
    Aws {
        /// Which region.
        region: &'static str,
    },
    /// A Google Cloud key ring: one emulator for all of them, as one project.
    Gcp {
        /// Its id.
        ring: &'static str,
        /// How keys are kept there, as the configuration says it.
        protection: &'static str,
    },
    /// An Azure vault: an emulator each.
    Azure {
        /// Its name.
        vault: &'static str,
        /// What it is, as configuration and emulator say it.
        kind: &'static str,
    },
}

/// Every destination of a lab: those that `policy/examples` names.
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
    /// Whose API it speaks.
    #[must_use]
    pub fn cloud(&self) -> CloudKind {
        match self.place {
            Place::Aws { .. } => CloudKind::Aws,
            Place::Gcp { .. } => CloudKind::Gcp,
            Place::Azure { .. } => CloudKind::Azure,
        }
    }

    /// The emulator that plays it.
    pub(crate) fn emulator(&self) -> &'static str {
        match self.place {
            Place::Aws { .. } | Place::Azure { .. } => self.name,
            Place::Gcp { .. } => "google-cloud",
        }
    }

    /// Whether its HSMs say what their keys are, and sign that.
    pub(crate) fn attests(&self) -> bool {
        match self.place {
            Place::Aws { .. } => false,
            Place::Gcp { .. } => true,
            Place::Azure { kind, .. } => kind == "managed-hsm",
        }
    }

    /// A Google Cloud key ring's whole name.
    #[must_use]
    pub fn key_ring(ring: &str) -> String {
        format!("projects/{PROJECT}/locations/{LOCATION}/keyRings/{ring}")
    }
}
