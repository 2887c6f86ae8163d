//! An application at AWS: it uses keys through the cloud's own SDK, by the alias that their owners chose.

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::primitives::Blob;
use keyplane_model::{Algorithm, Purpose};

use super::caller::{Caller, Doubt, Protected};
use crate::LabError;

/// An application that uses the keys of one destination.
#[derive(Debug)]
pub struct KeyUser {
    client: Client,
    caller: Caller,
}

/// The result of encrypting.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// The ARN of the key that encrypted.
    pub key: String,
    pub ciphertext: Vec<u8>,
}

impl KeyUser {
    pub(crate) fn new(destination: &str, endpoint: &str, region: &str, access_key_id: &str, secret: &str) -> Result<Self, LabError> {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::from_keys(access_key_id, secret, None))
            .build();
        Ok(Self { client: Client::from_conf(config), caller: Caller::new(destination)? })
    }

    /// `alias` is without `alias/`; `context` is authenticated, but not secret.
    ///
    /// # Errors
    /// When the destination refuses.
    pub fn encrypt(&self, alias: &str, plaintext: &[u8], context: &[(&str, &str)]) -> Result<Encrypted, LabError> {
        let mut request = self.client.encrypt().key_id(format!("alias/{alias}")).plaintext(Blob::new(plaintext));
        for (name, value) in context {
            request = request.encryption_context(*name, *value);
        }
        let answer = self.caller.call("Encrypt", request.send())?;
        let ciphertext = answer.ciphertext_blob.map(Blob::into_inner).unwrap_or_default();
        Ok(Encrypted { key: answer.key_id.unwrap_or_default(), ciphertext })
    }

    /// Decrypts with the key that the ciphertext names.
    ///
    /// # Errors
    /// When the destination refuses.
    pub fn decrypt(&self, ciphertext: &[u8], context: &[(&str, &str)]) -> Result<Vec<u8>, LabError> {
        let mut request = self.client.decrypt().ciphertext_blob(Blob::new(ciphertext));
        for (name, value) in context {
            request = request.encryption_context(*name, *value);
        }
        let answer = self.caller.call("Decrypt", request.send())?;
        Ok(answer.plaintext.map(Blob::into_inner).unwrap_or_default())
    }

    pub(super) fn protect(&self, alias: &str, algorithm: Algorithm, purpose: Purpose, message: &[u8]) -> Result<Protected, LabError> {
        self.expect_fit("Encrypt", algorithm, purpose)?;
        let Encrypted { key, ciphertext } = self.encrypt(alias, message, &[])?;
        Ok(Protected { key, bytes: ciphertext, word: "ciphertext" })
    }

    /// Checks with the key that is known to have encrypted, not with the one that the ciphertext names.
    pub(super) fn check(&self, algorithm: Algorithm, purpose: Purpose, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        self.expect_fit("Decrypt", algorithm, purpose)?;
        let request = self.client.decrypt().key_id(&kept.key).ciphertext_blob(Blob::new(kept.bytes.as_slice()));
        let answer = self.caller.call("Decrypt", request.send())?;
        let same = answer.plaintext.is_some_and(|plaintext| plaintext.as_ref() == message);
        self.caller.expect("Decrypt", same)
    }

    fn expect_fit(&self, operation: &'static str, algorithm: Algorithm, purpose: Purpose) -> Result<(), LabError> {
        let fits = (algorithm, purpose) == (Algorithm::Aes256, Purpose::Encrypt);
        if fits { Ok(()) } else { Err(self.caller.failed(operation, Doubt::Unfit { algorithm, purpose })) }
    }
}
