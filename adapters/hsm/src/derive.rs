//! Derivation inside the token: NIST SP 800-108r1 in counter mode, with AES-CMAC as the pseudorandom function.
//!
//! Owns the encoding of the derivation's input. It can never change, since a copy has to be derived again for as long as its root epoch
//! lives. A test compares it with a known answer.

use cryptoki::mechanism::kbkdf::{Endianness, KbkdfCounterFormat, KbkdfParams, PrfDataParam, PrfDataParamType};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectHandle};
use keyplane_model::CopyCoordinates;

use crate::HsmError;
use crate::token::{Ephemeral, Token};

/// The purpose of a derivation. Each purpose has a label of its own, so that no two derivations have the same input.
#[derive(Clone, Copy)]
pub(crate) enum Label {
    /// Derives a copy's bytes.
    Copy,
    /// Derives the key that seals blobs and charters.
    Mac,
}

impl Label {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Copy => b"keyplane/v1/copy",
            Self::Mac => b"keyplane/v1/mac",
        }
    }
}

/// The width of the counter and of the length in the input, in bits (SP 800-108: `r` and `[L]`).
const WIDTH: std::num::NonZeroUsize = std::num::NonZeroUsize::new(32).expect("32 is not zero");
const LENGTH_IN_BITS: u32 = 256;

pub(crate) fn derive<'token>(
    token: &'token Token,
    root: ObjectHandle,
    label: Label,
    context: &[u8],
    template: &[Attribute],
) -> Result<Ephemeral<'token>, cryptoki::error::Error> {
    let fixed = fixed_input(label, context);
    let counter = KbkdfCounterFormat::new(Endianness::Big, WIDTH);
    // We encode the length ourselves: tokens differ in whether their own length field counts bits or bytes.
    let data =
        [PrfDataParam::new(PrfDataParamType::IterationVariable(Some(&counter))), PrfDataParam::new(PrfDataParamType::ByteArray(&fixed))];
    let mechanism = Mechanism::KbkdfCounter(KbkdfParams::new(MechanismType::AES_CMAC, &data, None));
    token.session().derive_key(&mechanism, root, template).map(|handle| token.ephemeral(handle))
}

/// `Label || 0x00 || Context || [L]` (SP 800-108r1, section 4.1).
pub(crate) fn fixed_input(label: Label, context: &[u8]) -> Vec<u8> {
    [label.bytes(), &[0], context, &LENGTH_IN_BITS.to_be_bytes()].concat()
}

/// The context of a derived copy: installation, key, version, placement, algorithm, profile and approvals, each preceded by its length. A
/// request that claims another profile therefore gets other bytes.
pub(crate) fn copy_context(of: &CopyCoordinates) -> Result<Vec<u8>, HsmError> {
    let mut context = Vec::new();
    put(&mut context, of.installation.0.as_bytes())?;
    put(&mut context, of.key.0.as_bytes())?;
    put(&mut context, &of.version.0.to_be_bytes())?;
    put(&mut context, of.placement.0.as_bytes())?;
    put(&mut context, of.algorithm.as_str().as_bytes())?;
    put(&mut context, of.profile.as_str().as_bytes())?;
    put(&mut context, &keyplane_model::canonical_bytes(&of.approvals)?)?;
    Ok(context)
}

/// Appends a field after its length, so that two different lists of fields never give the same bytes.
pub(crate) fn put(to: &mut Vec<u8>, field: &[u8]) -> Result<(), HsmError> {
    let length = u32::try_from(field.len()).map_err(|_| HsmError::Coordinates("a field is longer than 4 GiB"))?;
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(field);
    Ok(())
}
