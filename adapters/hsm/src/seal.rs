//! The custodian's seal: an AES-CMAC that only its HSM can make, over data that is kept outside the HSM.
//!
//! Owns the exact bytes that are sealed. Each kind of data begins with its own prefix, so that no seal fits data of another kind.

use cryptoki::error::{Error as Pkcs11Error, RvError};
use cryptoki::mechanism::Mechanism;
use keyplane_model::{Charter, CopyCoordinates, EpochId, Source};
use keyplane_port::Usage;
use serde::Serialize;

use crate::HsmError;
use crate::derive::{copy_context, put};
use crate::root::Root;
use crate::token::Token;

/// The length of an AES-CMAC, in bytes (SP 800-38B).
const MAC_BYTES: usize = 16;

/// The sealed bytes for a generated copy's blob: the copy's coordinates, and the blob.
pub(crate) fn blob_message(coordinates: &CopyCoordinates, wrapped: &[u8]) -> Result<Vec<u8>, HsmError> {
    let mut message = b"keyplane/v1/blob\0".to_vec();
    message.extend(copy_context(coordinates)?);
    let source: &[u8] = match coordinates.source {
        Source::Derived => b"derived",
        Source::Generated => b"generated",
    };
    put(&mut message, source)?;
    put(&mut message, &coordinates.epoch.0.to_be_bytes())?;
    put(&mut message, wrapped)?;
    Ok(message)
}

/// The sealed bytes for a charter: charter, serial and epoch, as canonical JSON.
pub(crate) fn charter_message(charter: &Charter, serial: u32, epoch: EpochId) -> Result<Vec<u8>, HsmError> {
    #[derive(Serialize)]
    struct Sealed<'a> {
        charter: &'a Charter,
        serial: u32,
        epoch: EpochId,
    }
    let mut message = b"keyplane/v1/charter\0".to_vec();
    message.extend(keyplane_model::canonical_bytes(&Sealed { charter, serial, epoch })?);
    Ok(message)
}

/// The sealed bytes for a record of the self-tests: the record as canonical JSON.
pub(crate) fn proof_message(record: &impl Serialize) -> Result<Vec<u8>, HsmError> {
    let mut message = b"keyplane/v1/proof\0".to_vec();
    message.extend(keyplane_model::canonical_bytes(record)?);
    Ok(message)
}

/// The sealed bytes for a record of what a change set was used for: the record and the epoch, as canonical JSON.
pub(crate) fn usage_message(usage: &Usage, epoch: EpochId) -> Result<Vec<u8>, HsmError> {
    let mut message = b"keyplane/v1/usage\0".to_vec();
    message.extend(keyplane_model::canonical_bytes(&(usage, epoch))?);
    Ok(message)
}

pub(crate) fn seal(token: &Token, root: &Root, message: &[u8]) -> Result<Vec<u8>, HsmError> {
    let key = root.mac_key(token)?;
    token.session().sign(&Mechanism::AesCMac, key.handle(), message).map_err(HsmError::token("sealing"))
}

/// Checks a seal. The token itself compares the MACs.
pub(crate) fn check(token: &Token, root: &Root, message: &[u8], mac: &[u8], what: &'static str) -> Result<(), HsmError> {
    if mac.len() != MAC_BYTES {
        return Err(HsmError::Unsealed(what));
    }
    let key = root.mac_key(token)?;
    match token.session().verify(&Mechanism::AesCMac, key.handle(), message, mac) {
        Ok(()) => Ok(()),
        Err(Pkcs11Error::Pkcs11(RvError::SignatureInvalid | RvError::SignatureLenRange, _)) => Err(HsmError::Unsealed(what)),
        Err(error) => Err(HsmError::token("checking a seal")(error)),
    }
}
