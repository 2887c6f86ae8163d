//! What serving one request needs besides the project's state.

use rand_core::RngCore;
use serde_json::Value;

use super::{
    attestation::{Hsm, Statement},
    checksum::crc32c,
    config::Config,
    refusal::{Code, Refusal},
    word::Style,
};
use crate::{
    Timestamp,
    crypto::{Secret, Turns, service::ServiceCrypto},
    frame,
};

pub(super) struct Scope<'a> {
    pub(super) now: Timestamp,
    pub(super) config: &'a Config,
    pub(super) crypto: &'a dyn ServiceCrypto,
    pub(super) rng: &'a mut dyn RngCore,
    pub(super) pairs: &'a mut Turns,
    pub(super) hsm: &'a mut Option<Hsm>,
    pub(super) style: Style,
}

impl Scope<'_> {
    /// Made when it is first needed.
    pub(super) fn hsm(&mut self) -> Result<(&Hsm, &dyn ServiceCrypto), Refusal> {
        if self.hsm.is_none() {
            *self.hsm = Some(Hsm::new(self.crypto, self.now, self.rng)?);
        }
        let hsm = self.hsm.as_ref().ok_or_else(|| Code::Internal.because("there is no HSM"))?;
        Ok((hsm, self.crypto))
    }

    /// The HSM's signed statement about a key.
    pub(super) fn attest(&mut self, statement: &Statement) -> Result<Value, Refusal> {
        let (style, config) = (self.style, self.config);
        let (hsm, crypto) = self.hsm()?;
        Ok(hsm.attest(crypto, &config.readings, style, statement)?)
    }

    /// The CRC32C of an answer's data, as JSON writes long integers.
    // contract: gcp.crc32c
    pub(super) fn crc(&self, data: &[u8]) -> Value {
        let wrong = u32::from(self.config.readings.spoiled.checksum);
        crc32c(data).wrapping_add(wrong).to_string().into()
    }

    /// Whether the answer confirms that a client's checksum was verified.
    pub(super) fn confirms(&self, verified: bool) -> bool {
        verified && !self.config.readings.spoiled.verification
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    pub(super) fn secret(&mut self, length: usize) -> Secret {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        Secret::new(bytes)
    }

    pub(super) fn uuid(&mut self) -> String {
        frame::uuid(self.rng)
    }
}
