//! Derivation inside the token: NIST SP 800-108r1 in counter mode, with AES-CMAC as the pseudorandom function.
//!
//! Owns the encoding of what is derived from. It can never change: a copy that was derived once must come out the same
//! for as long as its root epoch lives. A test holds it to a known answer.

use cryptoki::mechanism::kbkdf::{Endianness, KbkdfCounterFormat, KbkdfParams, PrfDataParam, PrfDataParamType};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectHandle};
use keyplane_model::CopyCoordinates;

use crate::HsmError;
use crate::token::{Ephemeral, Token};

/// The purpose of a derivation: no two share a label, so that no two meet.
#[derive(Clone, Copy)]
pub(crate) enum Label {
    /// A copy's bytes.
    Copy,
    /// The key that seals blobs and charters.
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

/// The width of counter and length in the input, in bits: SP 800-108's `r`, and what `[L]` is written in.
const WIDTH: std::num::NonZeroUsize = std::num::NonZeroUsize::new(32).expect("32 is not zero");
/// What is derived: 256 bits.
const LENGTH_IN_BITS: u32 = 256;

/// Derives a key of 256 bits; it lives until the guard goes.
pub(crate) fn derive<'token>(
    token: &'token Token,
    root: ObjectHandle,
    label: Label,
    context: &[u8],
    template: &[Attribute],
) -> Result<Ephemeral<'token>, cryptoki::error::Error> {
    let fixed = fixed_input(label, context);
    let counter = KbkdfCounterFormat::new(Endianness::Big, WIDTH);
    // The length goes in as bytes of ours: tokens differ in whether their own length field counts bits or bytes.
    let data =
        [PrfDataParam::new(PrfDataParamType::IterationVariable(Some(&counter))), PrfDataParam::new(PrfDataParamType::ByteArray(&fixed))];
    let mechanism = Mechanism::KbkdfCounter(KbkdfParams::new(MechanismType::AES_CMAC, &data, None));
    token.session().derive_key(&mechanism, root, template).map(|handle| token.ephemeral(handle))
}

/// `Label || 0x00 || Context || [L]` (SP 800-108r1, section 4.1).
pub(crate) fn fixed_input(label: Label, context: &[u8]) -> Vec<u8> {
    [label.bytes(), &[0], context, &LENGTH_IN_BITS.to_be_bytes()].concat()
}

/// What a derived copy is bound to: installation, key, version, placement, algorithm; each with its length before it.
pub(crate) fn copy_context(of: &CopyCoordinates) -> Result<Vec<u8>, HsmError> {
    let mut context = Vec::new();
    put(&mut context, of.installation.0.as_bytes())?;
    put(&mut context, of.key.0.as_bytes())?;
    put(&mut context, &of.version.0.to_be_bytes())?;
    put(&mut context, of.placement.0.as_bytes())?;
    put(&mut context, of.algorithm.as_str().as_bytes())?;
    Ok(context)
}

/// Appends a field behind its length, so that no two lists of fields give the same bytes.
pub(crate) fn put(to: &mut Vec<u8>, field: &[u8]) -> Result<(), HsmError> {
    let length = u32::try_from(field.len()).map_err(|_| HsmError::Coordinates("a field is longer than 4 GiB"))?;
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(field);
    Ok(())
}
