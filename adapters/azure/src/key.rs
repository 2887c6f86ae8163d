//! One key of the vault: checks of its name, a direct read, and whether an answer is about it.

use azure_security_keyvault_keys::models::{DeletionRecoveryLevel, Key, KeyAttributes, KeyClientGetKeyOptions};
use keyplane_model::{Class, ObjectId};
use keyplane_port::{Cause, CloudError};

use crate::AzureVault;
use crate::error::{found, garbled};
use crate::names::{self, Kid, KidError};
use crate::operation::Operation;

impl AzureVault {
    /// Refuses an object whose name cannot be put into a path.
    pub(crate) fn check_object(&self, operation: Operation, object: &ObjectId) -> Result<(), CloudError> {
        names::check_name(&object.0).map_err(|error| found(operation, Class::Invalid, Cause::Plain, &format!("`{object}`: {error}")))
    }

    /// Reads the key id in an answer. Refuses that of another vault than was approved (rule 11), or of another key than was asked for.
    pub(crate) fn read_kid(&self, operation: Operation, kid: Option<&str>, name: &str) -> Result<Kid, CloudError> {
        let text = kid.ok_or_else(|| garbled(operation, "an answer without a key"))?;
        match Kid::read(text, &self.vault) {
            Ok(kid) if kid.name.eq_ignore_ascii_case(name) => Ok(kid),
            Ok(_) => Err(garbled(operation, "an answer about another key")),
            Err(KidError::NotOne) => Err(garbled(operation, "an answer without a key's id")),
            Err(KidError::Elsewhere) => {
                // A mutation in the wrong place may have had its effect there.
                let class = if operation.mutates() { Class::Ambiguous } else { Class::Stale };
                Err(found(operation, class, Cause::WrongHome, &format!("`{text}` is not in `{}`", self.vault)))
            }
        }
    }

    /// Reads one version of a key; without a version, the newest.
    pub(crate) async fn key(&self, name: &str, version: Option<&str>) -> Result<Key, CloudError> {
        const OPERATION: Operation = Operation::GetKey;
        let options = KeyClientGetKeyOptions { key_version: version.map(str::to_owned), ..KeyClientGetKeyOptions::default() };
        let key = self.request(OPERATION, name, self.client.get_key(name, Some(options))).await?;
        let key = key.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?;
        let kid = self.read_kid(OPERATION, key.key.as_ref().and_then(|key| key.kid.as_deref()), name)?;
        match (kid.version, version) {
            (Some(_), None) => Ok(key),
            (Some(is), Some(asked)) if is.eq_ignore_ascii_case(asked) => Ok(key),
            _ => Err(garbled(OPERATION, "an answer about another version")),
        }
    }
}

/// For how many days a deleted key can be recovered, as the vault says; `None`: it cannot be recovered, or the vault does not say.
// contract: azure.attributes
pub(crate) fn recoverable_days(attributes: Option<&KeyAttributes>) -> Option<u32> {
    let attributes = attributes.filter(|attributes| attributes.recovery_level != Some(DeletionRecoveryLevel::Purgeable))?;
    attributes.recoverable_days.and_then(|days| u32::try_from(days).ok()).filter(|days| *days > 0)
}
