//! Destinations, as planning sees them: who they are and what they can take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Algorithm, CloudKind, DestinationName, Digest, Protection, Span, WrapScheme};

/// A place that holds keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Its name in the configuration.
    pub name: DestinationName,
    /// Whose API it speaks.
    pub cloud: CloudKind,
    /// Account and region, or what corresponds to it, for people.
    pub home: String,
    /// The digest of endpoint, private CA, account, region and credential source. Change sets carry it: what was approved
    /// for one destination is refused at another that took over its name (rule 11).
    pub fingerprint: Digest,
    /// What it can take.
    pub capabilities: Capabilities,
}

/// What a destination can take, and how it behaves: declared by its adapter, so that nobody else branches on the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What can be imported, and how it may be wrapped, best first.
    pub algorithms: BTreeMap<Algorithm, Vec<WrapScheme>>,
    /// Whether one object holds the generations of a key under ids of their own, each switched on and off by itself.
    pub generations: bool,
    /// How copies are protected there.
    pub protection: Protection,
    /// How a placement's object comes to be.
    pub creation: Creation,
    /// Whether the key that a copy is wrapped under has to be made there first, because the destination does not give one at each asking.
    pub prepares: bool,
    /// How long a read may still show the state before a mutation.
    pub consistency: Span,
    /// The time-out of one call.
    pub call_timeout: Span,
    /// How many equal reads in a row make a "no" conclusive.
    pub equal_reads: u32,
    /// The cloud's request quotas, by the cloud's own names; counted together for all destinations with the same `home`.
    pub quotas: BTreeMap<String, Quota>,
    /// Which quotas a call of the port draws from, by the call's word (`create`, `claim`, `prepare`, `import`, `publish`, `prepared`,
    /// `wrapping-key`, `look`, `inspect`, `sweep`, `evidence`, `disable`, `enable`, `schedule-deletion`, `restore`, `purge`); one that is not listed is never
    /// the bottleneck.
    pub draws: BTreeMap<String, Vec<String>>,
    /// How many days a scheduled deletion waits.
    pub deletion_days: u32,
}

/// How a placement's object comes to be (`contracts/identity.md`): what makes it the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Creation {
    /// Creating is not unique: the object has to be claimed, by a name that only one can have, before it gets material (AWS).
    Claimed,
    /// Created under a name of ours that only one can have (Google Cloud).
    Named,
    /// By the import itself, under a name of ours; importing again makes another generation under it (Azure).
    Imported,
}

/// So many calls in a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// How many.
    pub calls: u32,
    /// In which time.
    pub per: Span,
}

impl Capabilities {
    /// How long after an attempt began its effect can no longer become visible: the call's own time-out and the
    /// consistency bound (`contracts/identity.md`, "wait").
    #[must_use]
    pub fn settling_time(&self) -> Span {
        self.call_timeout + self.consistency
    }
}
