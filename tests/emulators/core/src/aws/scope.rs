//! What serving one request needs besides the account's state.

use std::sync::Arc;

use rand_core::RngCore;

use super::{
    config::Config,
    key::{Material, Role},
    refusal::Refusal,
    wrappers::Wrappers,
};
use crate::{
    Timestamp,
    crypto::{Crypto, Secret},
    frame::uuid,
};

pub(super) struct Scope<'a> {
    pub(super) now: Timestamp,
    pub(super) config: &'a Config,
    pub(super) crypto: &'a dyn Crypto,
    pub(super) rng: &'a mut dyn RngCore,
    pub(super) wrappers: &'a mut Wrappers,
    /// The keys that a cryptographic operation used.
    pub(super) used: Vec<String>,
}

impl Scope<'_> {
    pub(super) fn uuid(&mut self) -> String {
        uuid(self.rng)
    }

    /// Encrypts a token. One of one kind does not open as one of another.
    pub(super) fn seal_token(&mut self, kind: &[u8], payload: &[u8]) -> Result<Vec<u8>, Refusal> {
        let nonce = self.nonce();
        let mut sealed = nonce.to_vec();
        sealed.extend(self.crypto.seal(self.wrappers.token_key(), nonce, kind, payload)?);
        Ok(sealed)
    }

    /// The contents of a token; `None`: it is not one of this kind.
    pub(super) fn open_token(&self, kind: &[u8], sealed: &[u8]) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_first_chunk::<12>()?;
        self.crypto.open(self.wrappers.token_key(), *nonce, kind, sealed).ok()
    }

    pub(super) fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        nonce
    }

    pub(super) fn secret(&mut self) -> Secret {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        Secret::new(bytes)
    }

    /// Material that KMS generates for the key with this id.
    pub(super) fn own_material(&mut self, key: &str, role: Role) -> Material {
        let bytes = self.secret();
        Material { id: self.material_id(key, &bytes), description: None, bytes: Some(Arc::new(bytes)), expires: None, role, rotated: None }
    }

    /// The id of a material: "based on the KMS key ID and the imported key material".
    pub(super) fn material_id(&self, key: &str, bytes: &Secret) -> String {
        hex::encode(self.crypto.hash(&[b"key material", key.as_bytes(), bytes.expose()]))
    }
}
