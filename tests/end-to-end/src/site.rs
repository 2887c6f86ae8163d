//! The places where the kill matrix works, and what is each one's own.

use keyplane_lab::{DESTINATIONS, Lab, LabError, Protected};
use keyplane_model::{Algorithm, CloudKind, Purpose};
use serde_json::Value;

/// A destination, and how a key comes to be there.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its name.
    pub(crate) destination: &'static str,
    /// What keys are there.
    pub(crate) algorithm: Algorithm,
    /// The mutating requests that a first key takes, in order: no more than the contracts ask for.
    pub(crate) requests: &'static [&'static str],
    /// The one of them, from 1, that leaves something over when it takes effect long after its client gave up and did it again.
    pub(crate) doubles: u64,
    /// The mutating requests that clean that up; none where what came late is followed.
    pub(crate) cleans: &'static [&'static str],
}

/// AWS: the object, its claim, its material, its users' name.
pub(crate) const AWS: Site = Site {
    destination: "prod-us-east-1",
    algorithm: Algorithm::Aes256,
    requests: &["CreateKey", "CreateAlias", "ImportKeyMaterial", "CreateAlias"],
    doubles: 1,
    cleans: &["ScheduleKeyDeletion"],
};

/// Google Cloud: the object, a job to import by, the version, and that it is the primary one.
pub(crate) const GCP: Site = Site {
    destination: "analytics-ring",
    algorithm: Algorithm::Aes256,
    requests: &["CreateCryptoKey", "CreateImportJob", "ImportCryptoKeyVersion", "UpdateCryptoKeyPrimaryVersion"],
    doubles: 3,
    cleans: &["UpdateCryptoKeyVersion"],
};

/// Azure Key Vault: a key to wrap under, and the import that makes the key.
pub(crate) const KEY_VAULT: Site =
    Site { destination: "corp-vault", algorithm: Algorithm::Rsa3072, requests: &["CreateKey", "ImportKey"], doubles: 2, cleans: &[] };

/// Azure Managed HSM: the same, and symmetric keys too.
pub(crate) const MANAGED_HSM: Site = Site { destination: "corp-hsm", algorithm: Algorithm::Aes256, ..KEY_VAULT };

/// Every one of them.
pub(crate) const SITES: [&Site; 4] = [&AWS, &GCP, &KEY_VAULT, &MANAGED_HSM];

/// The site of a destination; AWS's other region is like the first.
pub(crate) fn of(destination: &str) -> &'static Site {
    SITES.into_iter().find(|site| site.destination == destination).unwrap_or(&AWS)
}

impl Site {
    /// Whose API is spoken here.
    pub(crate) fn cloud(&self) -> CloudKind {
        DESTINATIONS.iter().find(|there| there.name == self.destination).unwrap().cloud()
    }

    /// A placement of a key here, or at a destination like this, as the policy writes it.
    pub(crate) fn placement(&self, destination: &str, key: &str) -> String {
        let cloud = self.cloud();
        let name = if cloud == CloudKind::Aws { "alias" } else { "name" };
        format!("  - {cloud}: {{ destination: {destination}, {name}: {key}, algorithm: {} }}\n", self.algorithm)
    }

    /// The objects of a dump that are a key's.
    pub(crate) fn is_of(object: &Value, key: &str) -> bool {
        let id = object["id"].as_str().unwrap();
        object["tags"]["keyplane:key"] == key || id.rsplit('/').next() == Some(key)
    }

    /// Whether an object still counts: it is not being deleted.
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

    /// Uses a key as an application would, by the name that users have.
    pub(crate) fn protect(&self, lab: &Lab, name: &str, message: &[u8]) -> Result<Protected, LabError> {
        lab.application(self.destination)?.protect(name, self.algorithm, Purpose::Encrypt, message)
    }

    /// Takes it back, or says why it is not what was protected.
    pub(crate) fn check(&self, lab: &Lab, name: &str, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        lab.application(self.destination)?.check(name, self.algorithm, Purpose::Encrypt, message, kept)
    }
}
