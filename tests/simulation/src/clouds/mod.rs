//! The port `Cloud` with each emulator's core: the adapters' mapping, without a wire and an SDK.
//!
//! Owns the mapping of requests and answers, as far as a run needs it. The conformance suite tests the adapters over the wire; here the
//! engine is tested.

pub(crate) mod aws;
pub(crate) mod azure;
pub(crate) mod by_hand;
pub(crate) mod gcp;

use keyplane_model::Algorithm;
use serde::Serialize;

/// The clouds of a run. Each is one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Place {
    Aws,
    /// A Google Cloud key ring.
    Gcp,
    /// An Azure Key Vault or Managed HSM.
    Azure,
    /// A second Google Cloud key ring in a project of its own, so that MAC keys can be shared by two clouds. Only if a schedule uses it.
    Gcp2,
}

impl Place {
    pub(crate) const ALWAYS: [Self; 3] = [Self::Aws, Self::Gcp, Self::Azure];

    pub(crate) const ALL: [Self; 4] = [Self::Aws, Self::Gcp, Self::Azure, Self::Gcp2];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Gcp => "gcp",
            Self::Azure => "azure",
            Self::Gcp2 => "gcp2",
        }
    }

    /// The algorithms that can be imported there, as the adapter declares. `key_vault`: the Azure vault is a Key Vault, not a Managed HSM.
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
