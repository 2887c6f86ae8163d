//! The port `Cloud` over each emulator's core: what the adapters do over the wire, without a wire and an SDK.
//!
//! Owns the same mapping of requests and answers as each adapter, as far as a run needs it. What the adapters themselves do is
//! the conformance suite's to judge, over the wire; here the engine is judged.

pub(crate) mod aws;
pub(crate) mod azure;
pub(crate) mod by_hand;
pub(crate) mod gcp;

use keyplane_model::Algorithm;
use serde::Serialize;

/// The clouds of a run, a destination each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Place {
    /// AWS KMS in a region.
    Aws,
    /// A Google Cloud key ring.
    Gcp,
    /// An Azure Key Vault or Managed HSM.
    Azure,
    /// A second Google Cloud key ring, in a project of its own: whom else could MAC keys agree with. There only if it is wanted.
    Gcp2,
}

impl Place {
    /// Those that are in every run.
    pub(crate) const ALWAYS: [Self; 3] = [Self::Aws, Self::Gcp, Self::Azure];

    /// Every one of them.
    pub(crate) const ALL: [Self; 4] = [Self::Aws, Self::Gcp, Self::Azure, Self::Gcp2];

    /// The destination's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::Gcp2 => "gcp2",
        }
    }

    /// What can be imported there, as the adapters say; an Azure vault is a Key Vault or a Managed HSM.
    pub(crate) fn takes(self, key_vault: bool) -> Vec<Algorithm> {
        use Algorithm as A;
        match self {
            Self::Aws => vec![A::Aes256],
            Self::Gcp | Self::Gcp2 => A::ALL.to_vec(),
            Self::Azure => {
                let pairs = [A::Rsa2048, A::Rsa3072, A::Rsa4096, A::EcP256, A::EcP384];
                pairs.into_iter().chain((!key_vault).then_some(A::Aes256)).collect()
            }
        }
    }
}
