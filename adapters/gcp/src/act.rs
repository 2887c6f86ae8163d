//! The mutations. Each sends one mutating request.

use google_cloudkms1::FieldMask;
use google_cloudkms1::api::{
    CryptoKey, CryptoKeyVersion, CryptoKeyVersionTemplate, DestroyCryptoKeyVersionRequest, ImportCryptoKeyVersionRequest, ImportJob,
    RestoreCryptoKeyVersionRequest, UpdateCryptoKeyPrimaryVersionRequest,
};
use keyplane_model::{Class, Marks, ObjectId, Target, Version, WrapScheme};
use keyplane_port::{Acted, Cause, CloudError, Mutation, WrappingKey};

use crate::GoogleKms;
use crate::checks::{check_id, check_version};
use crate::error::{found, garbled};
use crate::kinds;
use crate::names;
use crate::operation::Operation;

impl GoogleKms {
    pub(crate) async fn mutate(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        match mutation {
            Mutation::Create { target, marks } => self.create(target, marks).await,
            Mutation::Prepare { target, version, scheme } => self.create_job(target, *version, *scheme).await,
            Mutation::Import { target, object: Some(object), again, wrapping_key, wrapped, .. } => {
                self.import(target, object, again.as_deref(), wrapping_key, wrapped).await
            }
            Mutation::Publish { target, object, material } => self.publish(target, object, material.as_deref()).await,
            Mutation::Disable { object, material: Some(material) } => self.switch(object, material, "DISABLED").await,
            Mutation::Enable { object, material: Some(material) } => self.switch(object, material, "ENABLED").await,
            Mutation::Claim { .. } => Err(unsupported(Operation::CreateCryptoKey, "a key has one name, and nothing else to claim")),
            Mutation::Import { object: None, .. } => {
                Err(unsupported(Operation::ImportCryptoKeyVersion, "an import makes no key at Google Cloud"))
            }
            Mutation::Disable { material: None, .. } | Mutation::Enable { material: None, .. } => {
                Err(unsupported(Operation::UpdateCryptoKeyVersion, "Google Cloud switches the versions of a key, not the whole key"))
            }
            Mutation::ScheduleDeletion { object, material: Some(material), days } => self.destroy(object, material, *days).await,
            Mutation::Restore { object, material: Some(material) } => self.restore(object, material).await,
            Mutation::ScheduleDeletion { material: None, .. } | Mutation::Restore { material: None, .. } | Mutation::Purge { .. } => Err(
                unsupported(Operation::DestroyCryptoKeyVersion, "Google Cloud destroys the versions of a key, never the key, nor its name"),
            ),
        }
    }

    async fn create(&self, target: &Target, marks: &Marks) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::CreateCryptoKey;
        check_id(OPERATION, &target.name)?;
        let Some((purpose, algorithm)) = kinds::written(target.algorithm, target.purpose) else {
            let message = format!("a key of `{}` cannot be made to {}", target.algorithm, target.purpose);
            return Err(unsupported(OPERATION, &message));
        };
        let key = CryptoKey {
            purpose: Some(purpose.to_owned()),
            // INVARIANT: Google Cloud never generates a version in it. A rotation schedule would, so there is none.
            // contract: gcp.rotation.automatic
            import_only: Some(true),
            version_template: Some(CryptoKeyVersionTemplate {
                algorithm: Some(algorithm.to_owned()),
                protection_level: Some(kinds::level(self.protection).to_owned()),
            }),
            destroy_scheduled_duration: Some(chrono::Duration::days(i64::from(self.deletion_days))),
            // INVARIANT: the key carries its marks from its first moment (rule 3).
            labels: Some(names::labels(marks).into_iter().collect()),
            ..CryptoKey::default()
        };
        let mut request = self.begin(OPERATION, &target.name);
        let sent = self
            .hub
            .projects()
            .locations_key_rings_crypto_keys_create(key, self.ring.name())
            .crypto_key_id(&target.name)
            .skip_initial_version_creation(true)
            .delegate(&mut request)
            .doit()
            .await;
        let (_, made) = request.judge(sent)?;
        self.check_key(OPERATION, made.name.as_deref(), &target.name)?;
        Ok(Acted::Created(ObjectId(target.name.clone())))
    }

    /// Makes an import job under the first free id. Import jobs cannot be deleted, so all ids before it are taken.
    async fn create_job(&self, target: &Target, version: Version, scheme: WrapScheme) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::CreateImportJob;
        let Some(method) = kinds::method(scheme, self.import_key_size) else {
            return Err(unsupported(OPERATION, &format!("no import job of ours unwraps `{scheme}`")));
        };
        let job = self.free_job(target, version).await?;
        let making = ImportJob {
            import_method: Some(method.to_owned()),
            protection_level: Some(kinds::level(self.protection).to_owned()),
            ..ImportJob::default()
        };
        let mut request = self.begin(OPERATION, &job.0);
        let call = self.hub.projects().locations_key_rings_import_jobs_create(making, self.ring.name()).import_job_id(&job.0);
        let sent = call.delegate(&mut request).doit().await;
        let (_, made) = request.judge(sent)?;
        self.check_job(OPERATION, made.name.as_deref(), &job)?;
        Ok(Acted::Created(job))
    }

    /// Imports a copy into a new version, which gets the next number, or into the version `again`, which takes only the same bytes.
    // contract: gcp.import.repeat, gcp.import.again
    async fn import(
        &self,
        target: &Target,
        object: &ObjectId,
        again: Option<&str>,
        wrapping_key: &WrappingKey,
        wrapped: &[u8],
    ) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::ImportCryptoKeyVersion;
        check_id(OPERATION, &object.0)?;
        let Some((_, algorithm)) = kinds::written(target.algorithm, target.purpose) else {
            return Err(unsupported(OPERATION, &format!("no key of `{}` is made to {}", target.algorithm, target.purpose)));
        };
        let job = str::from_utf8(&wrapping_key.token).ok().and_then(|name| self.ring.job_id(name)).map(|id| ObjectId(id.to_owned()));
        let Some(job) = job else {
            return Err(invalid(OPERATION, "the wrapping key is not of an import job of this key ring"));
        };
        if let Some(number) = again {
            check_version(OPERATION, number)?;
        }
        let importing = ImportCryptoKeyVersionRequest {
            algorithm: Some(algorithm.to_owned()),
            import_job: Some(self.ring.job(&job.0)),
            crypto_key_version: again.map(|number| self.ring.version(&object.0, number)),
            wrapped_key: Some(wrapped.to_vec()),
            rsa_aes_wrapped_key: None,
        };
        let mut request = self.begin(OPERATION, &object.0);
        let call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_import(importing, &self.ring.key(&object.0));
        let sent = call.delegate(&mut request).doit().await;
        let (_, version) = match request.judge(sent) {
            Err(error) if matches!(error.class, Class::Stale | Class::Invalid | Class::NotFound) => {
                return Err(self.why_refused(error, &job).await);
            }
            other => other?,
        };
        let number = self.check_version_name(OPERATION, &object.0, version.name.as_deref())?;
        match again {
            Some(asked) if asked != number => Err(garbled(OPERATION, "an answer about another version")),
            _ => Ok(Acted::Done),
        }
    }

    async fn publish(&self, target: &Target, object: &ObjectId, material: Option<&str>) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::UpdateCryptoKeyPrimaryVersion;
        check_id(OPERATION, &target.name)?;
        check_id(OPERATION, &object.0)?;
        if object.0 != target.name {
            return Err(invalid(OPERATION, "a key is reached by its own name and by no other"));
        }
        if !kinds::has_primary(target.algorithm, target.purpose) {
            return Err(unsupported(OPERATION, "such a key has no primary version: each is used by its number as soon as it is there"));
        }
        let Some(number) = material else {
            return Err(invalid(OPERATION, "which version is to be the primary one"));
        };
        check_version(OPERATION, number)?;
        let update = UpdateCryptoKeyPrimaryVersionRequest { crypto_key_version_id: Some(number.to_owned()) };
        let mut request = self.begin(OPERATION, &object.0);
        let call = self.hub.projects().locations_key_rings_crypto_keys_update_primary_version(update, &self.ring.key(&object.0));
        let sent = call.delegate(&mut request).doit().await;
        let (_, key) = request.judge(sent)?;
        self.check_key(OPERATION, key.name.as_deref(), &object.0)?;
        Ok(Acted::Done)
    }

    /// Schedules the destruction of a version.
    ///
    /// INVARIANT: the version can be restored for exactly `days` days, or nothing is sent. That time was fixed when the key was made, so
    /// the key is read first.
    async fn destroy(&self, object: &ObjectId, material: &str, days: u32) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::DestroyCryptoKeyVersion;
        check_id(OPERATION, &object.0)?;
        check_version(OPERATION, material)?;
        let mut request = self.begin(Operation::GetCryptoKey, &object.0);
        let call = self.hub.projects().locations_key_rings_crypto_keys_get(&self.ring.key(&object.0));
        let sent = call.delegate(&mut request).doit().await;
        let (_, key) = request.judge(sent)?;
        self.check_key(OPERATION, key.name.as_deref(), &object.0)?;
        if key.destroy_scheduled_duration != Some(chrono::Duration::days(i64::from(days))) {
            let delay = key.destroy_scheduled_duration.map(|delay| delay.num_days()).unwrap_or_default();
            return Err(invalid(OPERATION, &format!("what is destroyed can be restored for {delay} days here, not {days}")));
        }
        let name = self.ring.version(&object.0, material);
        let mut request = self.begin(OPERATION, &name);
        let call = self
            .hub
            .projects()
            .locations_key_rings_crypto_keys_crypto_key_versions_destroy(DestroyCryptoKeyVersionRequest::default(), &name);
        let sent = call.delegate(&mut request).doit().await;
        let (_, version) = request.judge(sent)?;
        self.expect_version(OPERATION, object, version.name.as_deref(), material)
    }

    /// Cancels the destruction of a version. The version is disabled afterwards.
    // contract: gcp.version.states
    async fn restore(&self, object: &ObjectId, material: &str) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::RestoreCryptoKeyVersion;
        check_id(OPERATION, &object.0)?;
        check_version(OPERATION, material)?;
        let name = self.ring.version(&object.0, material);
        let mut request = self.begin(OPERATION, &name);
        let call = self
            .hub
            .projects()
            .locations_key_rings_crypto_keys_crypto_key_versions_restore(RestoreCryptoKeyVersionRequest::default(), &name);
        let sent = call.delegate(&mut request).doit().await;
        let (_, version) = request.judge(sent)?;
        self.expect_version(OPERATION, object, version.name.as_deref(), material)
    }

    fn expect_version(&self, operation: Operation, object: &ObjectId, said: Option<&str>, material: &str) -> Result<Acted, CloudError> {
        if self.check_version_name(operation, &object.0, said)? != material {
            return Err(garbled(operation, "an answer about another version"));
        }
        Ok(Acted::Done)
    }

    async fn switch(&self, object: &ObjectId, material: &str, state: &str) -> Result<Acted, CloudError> {
        const OPERATION: Operation = Operation::UpdateCryptoKeyVersion;
        check_id(OPERATION, &object.0)?;
        check_version(OPERATION, material)?;
        let name = self.ring.version(&object.0, material);
        let patch = CryptoKeyVersion { state: Some(state.to_owned()), ..CryptoKeyVersion::default() };
        let mut request = self.begin(OPERATION, &name);
        let call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_patch(patch, &name);
        let sent = call.update_mask(FieldMask::new(&["state"])).delegate(&mut request).doit().await;
        let (_, version) = request.judge(sent)?;
        self.expect_version(OPERATION, object, version.name.as_deref(), material)
    }
}

fn invalid(operation: Operation, message: &str) -> CloudError {
    found(operation, Class::Invalid, Cause::Plain, message)
}

fn unsupported(operation: Operation, message: &str) -> CloudError {
    found(operation, Class::Unsupported, Cause::Plain, message)
}
