//! The mutations. Each sends one mutating request.

use azure_core::http::RequestContent;
use azure_security_keyvault_keys::models::{
    CreateKeyParameters, ImportKeyParameters, JsonWebKey, Key, KeyAttributes, KeyClientUpdateKeyPropertiesOptions, KeyType,
    UpdateKeyPropertiesParameters,
};
use keyplane_model::{Class, Marks, ObjectId, Target, Version, WrapScheme};
use keyplane_port::{Acted, Cause, CloudError, Mutation, WrappingKey};

use crate::error::{found, garbled};
use crate::key::recoverable_days;
use crate::names::{self, Kid};
use crate::operation::Operation;
use crate::{AzureVault, byok, jwk, vault};

/// The length of key exchange keys' modulus, in bits: the longest that Azure offers.
// contract: azure.kek.create
pub(crate) const KEK_BITS: u16 = 4_096;

/// The longest wrapped material that is sent, in bytes. An RSA-4096 key pair in PKCS#8 has about 2,400, and wrapping adds about 530.
const MAX_WRAPPED: usize = 8 * 1_024;

impl AzureVault {
    pub(crate) async fn mutate(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        let unsupported = |operation, message| Err(found(operation, Class::Unsupported, Cause::Plain, message));
        match mutation {
            Mutation::Create { .. } => unsupported(Operation::ImportKey, "a key is made by its import"),
            Mutation::Claim { .. } => unsupported(Operation::ImportKey, "a key's name is its claim"),
            Mutation::Publish { .. } => unsupported(Operation::ImportKey, "an import makes its version current at once"),
            Mutation::Prepare { target, version, scheme } => self.prepare(target, *version, *scheme).await,
            Mutation::Import { again: Some(_), .. } => unsupported(Operation::ImportKey, "a version takes its material once"),
            Mutation::Import { target, object: Some(object), .. } if !object.0.eq_ignore_ascii_case(&target.name) => {
                let message = format!("`{object}` is not the key that users know as `{}`", target.name);
                Err(found(Operation::ImportKey, Class::Invalid, Cause::Plain, &message))
            }
            Mutation::Import { target, marks, version, wrapping_key, wrapped, .. } => {
                self.import(target, marks, *version, wrapping_key, wrapped).await
            }
            Mutation::Disable { object, material: Some(material) } => self.switch(object, material, false).await,
            Mutation::Enable { object, material: Some(material) } => self.switch(object, material, true).await,
            Mutation::Disable { material: None, .. } | Mutation::Enable { material: None, .. } => {
                unsupported(Operation::UpdateKey, "each version is switched by itself, and a key has no switch")
            }
            Mutation::ScheduleDeletion { object, material: None, days } => self.delete(object, *days).await,
            Mutation::Restore { object, material: None } => self.recover(object).await,
            Mutation::ScheduleDeletion { material: Some(_), .. } | Mutation::Restore { material: Some(_), .. } => {
                unsupported(Operation::DeleteKey, "a key is deleted, and recovered, with all its versions")
            }
            Mutation::Purge { object } => self.purge(object).await,
        }
    }

    /// Makes a key exchange key for one copy. If it is made twice, the key has two versions, and the version's id tells which is used.
    ///
    /// It stays in the vault. Deleting it would be a destructive step that nobody approved, and it does no harm: all it can do is to unwrap
    /// an import into this vault, for somebody who may import there. It gets no expiry, because an expired key still unwraps, and because
    /// the vault's clock is not known here.
    // contract: azure.kek.create, azure.validity
    async fn prepare(&self, target: &Target, version: Version, scheme: WrapScheme) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::CreateKey;
        self.check_scheme(OPERATION, target, scheme)?;
        let name = names::kek(target.placement, version);
        let tags = names::kek_tags(target.installation, target.placement, &target.key, version);
        let parameters = CreateKeyParameters {
            kty: Some(KeyType::RsaHsm),
            key_size: Some(KEK_BITS.into()),
            key_ops: Some(vec![jwk::KEK_OPERATION]),
            key_attributes: Some(KeyAttributes { enabled: Some(true), ..KeyAttributes::default() }),
            tags: Some(tags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ..CreateKeyParameters::default()
        };
        let content = content(OPERATION, parameters)?;
        let made = self.request(OPERATION, &name, self.client.create_key(&name, content, None)).await?;
        let made = made.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?;
        let kid = self.kid(OPERATION, &made, &name)?;
        Ok(Acted::Created(ObjectId(kid)))
    }

    /// Imports a copy as a new version. It is the current version at once, so the import is also the activation.
    // contract: azure.import.activation
    async fn import(
        &self,
        target: &Target,
        marks: &Marks,
        version: Version,
        wrapping_key: &WrappingKey,
        wrapped: &[u8],
    ) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::ImportKey;
        let invalid = |message: &str| found(OPERATION, Class::Invalid, Cause::Plain, message);
        names::check_name(&target.name).map_err(|error| invalid(&format!("`{}`: {error}", target.name)))?;
        self.check_scheme(OPERATION, target, wrapping_key.scheme)?;
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED {
            return Err(invalid("wrapped material is empty or too long"));
        }
        let kid = std::str::from_utf8(&wrapping_key.token).unwrap_or_default();
        if !Kid::read(kid, &self.vault).is_ok_and(|read| names::is_kek(&read.name) && read.version.is_some()) {
            return Err(invalid("the wrapping key is none that was made here"));
        }
        let Some((kty, crv)) = jwk::key_type(target.algorithm) else {
            let message = format!("keys of `{}` are not imported into a {}", target.algorithm, self.kind);
            return Err(found(OPERATION, Class::Unsupported, Cause::Plain, &message));
        };
        let parameters = ImportKeyParameters {
            hsm: Some(true),
            key: Some(JsonWebKey {
                kty: Some(kty),
                crv,
                key_ops: Some(jwk::operations(target.purpose).iter().map(|one| (*one).to_owned()).collect()),
                t: Some(byok::blob(kid, wrapped)),
                ..JsonWebKey::default()
            }),
            key_attributes: Some(KeyAttributes { enabled: Some(true), ..KeyAttributes::default() }),
            // INVARIANT: the version carries its marks from its first moment (rule 3).
            tags: Some(names::tags(marks, &target.key, version).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ..ImportKeyParameters::default()
        };
        let content = content(OPERATION, parameters)?;
        let imported = self.request(OPERATION, &target.name, self.client.import_key(&target.name, content, None)).await?;
        let imported = imported.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?;
        self.kid(OPERATION, &imported, &target.name)?;
        Ok(Acted::Done)
    }

    /// Disables or enables one version. Once the newest is disabled, nobody can use the key without naming a version. Whether to do that is
    /// the planner's decision.
    async fn switch(&self, object: &ObjectId, material: &str, enabled: bool) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::UpdateKey;
        self.check_object(OPERATION, object)?;
        if !names::is_version(material) {
            return Err(found(OPERATION, Class::Invalid, Cause::Plain, &format!("`{material}` is no version of a key")));
        }
        let parameters = UpdateKeyPropertiesParameters {
            key_attributes: Some(KeyAttributes { enabled: Some(enabled), ..KeyAttributes::default() }),
            ..UpdateKeyPropertiesParameters::default()
        };
        let options = KeyClientUpdateKeyPropertiesOptions {
            key_version: Some(material.to_owned()),
            ..KeyClientUpdateKeyPropertiesOptions::default()
        };
        let content = content(OPERATION, parameters)?;
        let sent = self.client.update_key_properties(&object.0, content, Some(options));
        self.request(OPERATION, &object.0, sent).await?;
        Ok(Acted::Done)
    }

    /// Deletes a key with all its versions. The time for which it can be recovered was fixed when the vault was made.
    ///
    /// INVARIANT: the key can be recovered for exactly `days` days, or nothing is deleted. The vault is asked first, since the
    /// configuration could be wrong.
    // contract: azure.delete.soft
    async fn delete(&self, object: &ObjectId, days: u32) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::DeleteKey;
        self.check_object(OPERATION, object)?;
        let vaults = recoverable_days(self.key(&object.0, None).await?.attributes.as_ref());
        if vaults != Some(days) {
            let message = match vaults {
                Some(vaults) => format!("a deleted key can be recovered for {vaults} days here, not {days}"),
                None => "the vault does not say that a deleted key can be recovered".to_owned(),
            };
            return Err(found(OPERATION, Class::Invalid, Cause::Plain, &message));
        }
        self.request(OPERATION, &object.0, self.client.delete_key(&object.0, None)).await?;
        Ok(Acted::Done)
    }

    /// Recovers a deleted key with all its versions, as they were.
    // contract: azure.delete.recover
    async fn recover(&self, object: &ObjectId) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::RecoverDeletedKey;
        self.check_object(OPERATION, object)?;
        let recovered = self.request(OPERATION, &object.0, self.client.recover_deleted_key(&object.0, None)).await?;
        let recovered = recovered.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?;
        self.kid(OPERATION, &recovered, &object.0)?;
        Ok(Acted::Done)
    }

    /// Destroys a deleted key for good and frees its name. A vault with purge protection refuses.
    // contract: azure.delete.purge
    async fn purge(&self, object: &ObjectId) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::PurgeDeletedKey;
        self.check_object(OPERATION, object)?;
        self.request(OPERATION, &object.0, self.client.purge_deleted_key(&object.0, None)).await?;
        Ok(Acted::Done)
    }

    fn check_scheme(&self, operation: Operation, target: &Target, scheme: WrapScheme) -> Result<(), CloudError> {
        let unsupported = |message: &str| Err(found(operation, Class::Unsupported, Cause::Plain, message));
        if !vault::algorithms(self.kind).contains(&target.algorithm) || !target.algorithm.serves(target.purpose) {
            return unsupported(&format!("keys of `{}` to {} are not imported into a {}", target.algorithm, target.purpose, self.kind));
        }
        match scheme {
            WrapScheme::RsaAesKeyWrapSha1 => Ok(()),
            WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha256 => {
                unsupported(&format!("`{scheme}` is not how material is wrapped for Azure"))
            }
        }
    }

    /// The key id of the version that a mutation made. It has to be of the key that was asked for, in this vault.
    fn kid(&self, operation: Operation, made: &Key, name: &str) -> Result<String, CloudError> {
        let kid = made.key.as_ref().and_then(|key| key.kid.as_deref());
        self.read_kid(operation, kid, name)?.version.ok_or_else(|| garbled(operation, "a key without a version"))?;
        kid.map(str::to_owned).ok_or_else(|| garbled(operation, "an answer without a key"))
    }
}

fn content<T>(operation: Operation, parameters: T) -> Result<RequestContent<T>, CloudError>
where
    RequestContent<T>: TryFrom<T, Error = azure_core::Error>,
{
    parameters.try_into().map_err(|error: azure_core::Error| found(operation, Class::Invalid, Cause::Plain, &error.to_string()))
}
