//! The sites of the kill matrix, and their differences.

use keyplane_lab::{DESTINATIONS, Lab, LabError, Protected};
use keyplane_model::{Algorithm, CloudKind, Purpose};
use serde_json::Value;

/// A destination, and how a key gets there.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) destination: &'static str,
    /// The algorithm of the keys there.
    pub(crate) algorithm: Algorithm,
    /// The mutating requests of a first key, in order: no more than the contracts ask for.
    pub(crate) requests: &'static [&'static str],
    /// The number of the request, counted from 1, that leaves surplus if it takes effect long after its client gave up and sent it again.
    pub(crate) doubles: u64,
    /// The mutating requests of the clean-up; none where a late import is followed.
    pub(crate) cleans: &'static [&'static str],
}

/// The object, its claim, its material, its users' name.
pub(crate) const AWS: Site = Site {
    destination: "prod-us-east-1",
    algorithm: Algorithm::Aes256,
    requests: &["CreateKey", "CreateAlias", "ImportKeyMaterial", "CreateAlias"],
    doubles: 1,
    cleans: &["ScheduleKeyDeletion"],
};

/// The object, an import job, the version, and its activation as the primary version.
pub(crate) const GCP: Site = Site {
    destination: "analytics-ring",
    algorithm: Algorithm::Aes256,
    requests: &["CreateCryptoKey", "CreateImportJob", "ImportCryptoKeyVersion", "UpdateCryptoKeyPrimaryVersion"],
    doubles: 3,
    cleans: &["UpdateCryptoKeyVersion"],
};

/// A key exchange key, and the import that makes the key.
pub(crate) const KEY_VAULT: Site =
    Site { destination: "corp-vault", algorithm: Algorithm::Rsa3072, requests: &["CreateKey", "ImportKey"], doubles: 2, cleans: &[] };

/// Like a Key Vault, with symmetric keys too.
pub(crate) const MANAGED_HSM: Site = Site { destination: "corp-hsm", algorithm: Algorithm::Aes256, ..KEY_VAULT };

pub(crate) const SITES: [&Site; 4] = [&AWS, &GCP, &KEY_VAULT, &MANAGED_HSM];

/// The site of a destination. AWS's other region is like the first.
pub(crate) fn of(destination: &str) -> &'static Site {
    SITES.into_iter().find(|site| site.destination == destination).unwrap_or(&AWS)
}

impl Site {
    pub(crate) fn cloud(&self) -> CloudKind {
        DESTINATIONS.iter().find(|there| there.name == self.destination).unwrap().cloud()
    }

    /// The policy's placement of a key here, or at a destination of the same kind.
    pub(crate) fn placement(&self, destination: &str, key: &str) -> String {
        let cloud = self.cloud();
        let name = if cloud == CloudKind::Aws { "alias" } else { "name" };
        format!("  - {cloud}: {{ destination: {destination}, {name}: {key}, algorithm: {} }}\n", self.algorithm)
    }

    /// Whether an object of a dump is a key's.
    pub(crate) fn is_of(object: &Value, key: &str) -> bool {
        let id = object["id"].as_str().unwrap();
        object["tags"]["keyplane:key"] == key || id.rsplit('/').next() == Some(key)
    }

    /// Whether an object counts, because its deletion is not scheduled.
    pub(crate) fn is_live(object: &Value) -> bool {
        object["state"] != "PendingDeletion" && object["state"] != "deleted"
    }

    /// The materials of an object that can be used.
    pub(crate) fn usable(object: &Value) -> Vec<&Value> {
        let materials = object["materials"].as_array().unwrap().iter();
        materials
            .filter(|material| material["imported"] == true && material["state"] != "DISABLED" && material["state"] != "disabled")
            .collect()
    }

    /// Protects a message as an application would, by the users' name.
    pub(crate) fn protect(&self, lab: &Lab, name: &str, message: &[u8]) -> Result<Protected, LabError> {
        lab.application(self.destination)?.protect(name, self.algorithm, Purpose::Encrypt, message)
    }

    /// Decrypts or verifies, as an application would.
    pub(crate) fn check(&self, lab: &Lab, name: &str, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        lab.application(self.destination)?.check(name, self.algorithm, Purpose::Encrypt, message, kept)
    }
}
