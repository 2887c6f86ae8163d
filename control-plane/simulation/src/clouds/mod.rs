//! The port `Cloud` over each emulator's core, for AES-256 keys: what the adapters do over the wire, without a wire and an SDK.
//!
//! Owns the same mapping of requests and answers as each adapter, as far as a run needs it. What the adapters themselves do is
//! the conformance suite's to judge, over the wire; here the engine is judged.

pub(crate) mod aws;
pub(crate) mod azure;
pub(crate) mod by_hand;
pub(crate) mod gcp;

use serde::Serialize;

/// The clouds of a run, a destination each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Place {
    /// AWS KMS in a region.
    Aws,
    /// A Google Cloud key ring.
    Gcp,
    /// An Azure Managed HSM.
    Azure,
}

impl Place {
    /// Every one of them.
    pub(crate) const ALL: [Self; 3] = [Self::Aws, Self::Gcp, Self::Azure];

    /// The destination's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
        }
    }
}
