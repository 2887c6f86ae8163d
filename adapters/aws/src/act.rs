//! The mutations. Each sends one request.

use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{ExpirationModelType, KeySpec, KeyUsageType, OriginType, Tag};
use keyplane_model::{Algorithm, Class, Marks, ObjectId, Target, Version};
use keyplane_port::{Acted, Cause, CloudError, Mutation, WrappingKey};

use crate::AwsKms;
use crate::error::{found, garbled};
use crate::names;
use crate::operation::Operation;

impl AwsKms {
    pub(crate) async fn mutate(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        match mutation {
            Mutation::Create { target, marks } => self.create(target, marks).await,
            Mutation::Claim { target, object } => self.create_alias(names::claim_alias(target), object).await,
            // `again` is not needed: KMS recognises material by its bytes.
            Mutation::Import { object: Some(object), version, wrapping_key, wrapped, .. } => {
                self.import(object, *version, wrapping_key, wrapped).await
            }
            Mutation::Import { object: None, .. } => {
                Err(found(Operation::ImportKeyMaterial, Class::Unsupported, Cause::Plain, "an import makes no key at AWS"))
            }
            Mutation::Prepare { .. } => {
                let message = "KMS gives a key to wrap under at each asking";
                Err(found(Operation::GetParametersForImport, Class::Unsupported, Cause::Plain, message))
            }
            Mutation::Publish { target, object, .. } => {
                let alias = names::users_alias(target)
                    .map_err(|error| found(Operation::CreateAlias, Class::Invalid, Cause::Plain, &format!("`{}`: {error}", target.name)))?;
                self.create_alias(alias, object).await
            }
            // INVARIANT: a mutation of one material never disables or enables the whole key.
            Mutation::Disable { material: Some(_), .. } | Mutation::Enable { material: Some(_), .. } => {
                let message = "KMS switches the whole key, not one material of it";
                Err(found(Operation::DisableKey, Class::Unsupported, Cause::Plain, message))
            }
            Mutation::Disable { object, material: None } => {
                self.request(Operation::DisableKey, &object.0, self.client.disable_key().key_id(&object.0).send()).await?;
                Ok(Acted::Done)
            }
            Mutation::Enable { object, material: None } => {
                self.request(Operation::EnableKey, &object.0, self.client.enable_key().key_id(&object.0).send()).await?;
                Ok(Acted::Done)
            }
            Mutation::ScheduleDeletion { object, material: None, days } => self.schedule_deletion(object, *days).await,
            Mutation::Restore { object, material: None } => self.restore(object).await,
            Mutation::ScheduleDeletion { material: Some(_), .. } | Mutation::Restore { material: Some(_), .. } => {
                let message = "AWS KMS schedules the deletion of keys: a material is deleted at once";
                Err(found(Operation::ScheduleKeyDeletion, Class::Unsupported, Cause::Plain, message))
            }
            Mutation::Purge { .. } => {
                let message = "AWS KMS deletes no key before its time";
                Err(found(Operation::ScheduleKeyDeletion, Class::Unsupported, Cause::Plain, message))
            }
        }
    }

    async fn create(&self, target: &Target, marks: &Marks) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::CreateKey;
        if target.algorithm != Algorithm::Aes256 {
            let message = format!("keys of `{}` are not made at AWS", target.algorithm);
            return Err(found(OPERATION, Class::Unsupported, Cause::Plain, &message));
        }
        let tags = names::tags(marks, &target.key)
            .into_iter()
            .map(|(key, value)| Tag::builder().tag_key(key).tag_value(value).build())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| found(OPERATION, Class::Invalid, Cause::Plain, &error.to_string()))?;
        let creation = self
            .client
            .create_key()
            .origin(OriginType::External)
            .key_spec(KeySpec::SymmetricDefault)
            .key_usage(KeyUsageType::EncryptDecrypt)
            .policy(&self.policy_text)
            .description(names::description(&target.key))
            // INVARIANT: the key carries its marks from its first moment (rule 3).
            .set_tags(Some(tags));
        let created = self.request(OPERATION, "", creation.send()).await?;
        let metadata = created.key_metadata().ok_or_else(|| garbled(OPERATION, "an answer without a key"))?;
        self.check_home(OPERATION, metadata.arn())?;
        Ok(Acted::Created(ObjectId(metadata.key_id().to_owned())))
    }

    async fn create_alias(&self, alias: String, object: &ObjectId) -> Result<Acted, CloudError> {
        let creation = self.client.create_alias().alias_name(alias).target_key_id(&object.0);
        self.request(Operation::CreateAlias, &object.0, creation.send()).await?;
        Ok(Acted::Done)
    }

    /// Sends no `ImportType`. KMS then treats a first import as NEW and every later one as EXISTING, so an import can be repeated with the
    /// same bytes, but not with others.
    // contract: aws.import.type, aws.import.wrong_material
    async fn import(&self, object: &ObjectId, version: Version, wrapping_key: &WrappingKey, wrapped: &[u8]) -> Result<Acted, CloudError> {
        let import = self
            .client
            .import_key_material()
            .key_id(&object.0)
            .import_token(Blob::new(wrapping_key.token.as_slice()))
            .encrypted_key_material(Blob::new(wrapped))
            .expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire)
            .key_material_description(names::material_description(self.installation, version));
        self.request(Operation::ImportKeyMaterial, &object.0, import.send()).await?;
        Ok(Acted::Done)
    }

    async fn schedule_deletion(&self, object: &ObjectId, days: u32) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::ScheduleKeyDeletion;
        // contract: aws.deletion.waiting
        let Some(days) = i32::try_from(days).ok().filter(|days| (7..=30).contains(days)) else {
            return Err(found(OPERATION, Class::Invalid, Cause::Plain, "a scheduled deletion waits 7 to 30 days"));
        };
        let deletion = self.client.schedule_key_deletion().key_id(&object.0).pending_window_in_days(days);
        self.request(OPERATION, &object.0, deletion.send()).await?;
        Ok(Acted::Done)
    }

    /// Cancels a scheduled deletion. The key is disabled afterwards.
    async fn restore(&self, object: &ObjectId) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::CancelKeyDeletion;
        self.request(OPERATION, &object.0, self.client.cancel_key_deletion().key_id(&object.0).send()).await?;
        Ok(Acted::Done)
    }
}
