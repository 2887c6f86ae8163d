//! Destinations as planning sees them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, CloudKind, DestinationName, Digest, Protection, Span, WrapScheme};

/// A place that holds keys: an AWS account and region, a Google Cloud key ring, an Azure vault or Managed HSM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    pub name: DestinationName,
    pub cloud: CloudKind,
    /// Account and region, or the cloud's counterpart, as text for people. Destinations with the same `home` share quotas and form a lane.
    pub home: String,
    /// The digest of endpoint, private CA, account, region and credential source. A change set carries it, so that another destination
    /// under the same name is refused (rule 11).
    pub fingerprint: Digest,
    pub capabilities: Capabilities,
}

/// What a destination accepts and how it behaves. Its adapter declares this, so that no other code branches on the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The algorithms that can be imported, each with its wrapping schemes, best first.
    pub algorithms: BTreeMap<Algorithm, Vec<WrapScheme>>,
    /// Whether one object holds several versions, each with its own id, enabled and disabled separately.
    pub generations: bool,
    pub protection: Protection,
    /// What makes a placement's object the only one.
    pub creation: Creation,
    /// Whether the key encryption key has to be created there first, because the destination does not hand one out on request.
    pub prepares: bool,
    /// The longest time for which a read may still show the state before a mutation. Set by `consistency` in the configuration.
    pub consistency: Span,
    /// The time-out of one call. Set by `call-timeout` in the configuration.
    pub call_timeout: Span,
    /// How many equal reads in a row make an absence conclusive. Set by `equal-reads` in the configuration.
    pub equal_reads: u32,
    /// By the cloud's own names. Destinations with the same `home` are counted together.
    pub quotas: BTreeMap<String, Quota>,
    /// The quotas that each call of the port draws from, by the call's word (`create`, `claim`, `prepare`, `import`, `publish`, `prepared`,
    /// `wrapping-key`, `look`, `inspect`, `sweep`, `find`, `evidence`, `disable`, `enable`, `schedule-deletion`, `restore`, `purge`). A
    /// call without an entry is not limited.
    pub draws: BTreeMap<String, Vec<String>>,
    /// How many days a scheduled deletion waits before the cloud deletes. Set by `deletion-days` in the configuration.
    pub deletion_days: u32,
}

/// How a placement's object comes to be, and what makes it the only one (`control-plane/docs/adr/0006-how-objects-come-to-be.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Creation {
    /// Several objects can be created alike. Before one gets material it has to be claimed, by a name that only one object can have (AWS).
    Claimed,
    /// The object is created under a name of ours that only one object can have (Google Cloud).
    Named,
    /// The import creates the object under a name of ours. Another import makes another version under the same name (Azure).
    Imported,
}

/// A limit on requests: at most `calls` in each period of `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    pub calls: u32,
    pub per: Span,
}

impl Capabilities {
    /// How long after the start of an attempt its effect may still become visible: call time-out plus consistency bound.
    #[must_use]
    pub fn settling_time(&self) -> Span {
        self.call_timeout + self.consistency
    }
}
