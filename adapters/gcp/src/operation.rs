//! The operations of Google Cloud KMS that we use, and what they draw on.

use std::collections::BTreeMap;

use keyplane_model::{Quota, Span};

/// An operation of Google Cloud KMS that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateCryptoKey,
    CreateImportJob,
    ImportCryptoKeyVersion,
    UpdateCryptoKeyPrimaryVersion,
    UpdateCryptoKeyVersion,
    DestroyCryptoKeyVersion,
    GetCryptoKey,
    ListCryptoKeys,
    ListCryptoKeyVersions,
    GetCryptoKeyVersion,
    GetPublicKey,
    GetImportJob,
}

impl Operation {
    /// Google Cloud's own name of it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CreateCryptoKey => "CreateCryptoKey",
            Self::CreateImportJob => "CreateImportJob",
            Self::ImportCryptoKeyVersion => "ImportCryptoKeyVersion",
            Self::UpdateCryptoKeyPrimaryVersion => "UpdateCryptoKeyPrimaryVersion",
            Self::UpdateCryptoKeyVersion => "UpdateCryptoKeyVersion",
            Self::DestroyCryptoKeyVersion => "DestroyCryptoKeyVersion",
            Self::GetCryptoKey => "GetCryptoKey",
            Self::ListCryptoKeys => "ListCryptoKeys",
            Self::ListCryptoKeyVersions => "ListCryptoKeyVersions",
            Self::GetCryptoKeyVersion => "GetCryptoKeyVersion",
            Self::GetPublicKey => "GetPublicKey",
            Self::GetImportJob => "GetImportJob",
        }
    }

    /// Whether it can change anything that another call could see.
    pub(crate) const fn mutates(self) -> bool {
        match self {
            Self::CreateCryptoKey
            | Self::CreateImportJob
            | Self::ImportCryptoKeyVersion
            | Self::UpdateCryptoKeyPrimaryVersion
            | Self::UpdateCryptoKeyVersion
            | Self::DestroyCryptoKeyVersion => true,
            Self::GetCryptoKey
            | Self::ListCryptoKeys
            | Self::ListCryptoKeyVersions
            | Self::GetCryptoKeyVersion
            | Self::GetPublicKey
            | Self::GetImportJob => false,
        }
    }
}

/// The quota of reads.
pub(crate) const READ: &str = "Read";

/// The quota of writes.
pub(crate) const WRITE: &str = "Write";

/// The published quotas, per project and location (`contracts/gcp.md`, "quotas").
pub(crate) fn published_quotas() -> BTreeMap<String, Quota> {
    [(READ, 600), (WRITE, 60)].map(|(name, calls)| (name.to_owned(), Quota { calls, per: Span::seconds(60) })).into()
}

/// How many keys one page of a sweep lists: one read for all of them, whoever they belong to.
pub(crate) const SWEEP_KEYS: i32 = 100;

/// How many marked keys one page of a sweep describes in full, by one read each: with these, a page draws about a second's
/// share of the quota of reads, so that pages can be drawn evenly.
pub(crate) const SWEEP_OBJECTS: usize = 10;

/// How many marked keys are read at a time.
pub(crate) const SWEEP_AT_A_TIME: usize = 5;

/// Which quotas a call of the port draws from, once for each time that a name is listed. What is rare is left out: another
/// page of versions (of which there are a hundred on the first), the public keys of second imports, and a read for each
/// import job of a copy that ran out.
pub(crate) fn draws() -> BTreeMap<String, Vec<String>> {
    let drawn = |word: &str, reads: usize, writes: usize| {
        let names = std::iter::repeat_n(READ, reads).chain(std::iter::repeat_n(WRITE, writes));
        (word.to_owned(), names.map(str::to_owned).collect())
    };
    BTreeMap::from([
        drawn("create", 0, 1),
        // Looks for the first id that is free.
        drawn("prepare", 1, 1),
        // Why an import was refused is seen by looking at its job.
        drawn("import", 1, 1),
        drawn("publish", 0, 1),
        drawn("disable", 0, 1),
        drawn("enable", 0, 1),
        // The newest job, and that there is none after it.
        drawn("prepared", 2, 0),
        drawn("wrapping-key", 1, 0),
        // The key, its versions, a public key.
        drawn("look", 3, 0),
        drawn("inspect", 3, 0),
        // The same and, for keys without a public key, an attestation.
        drawn("evidence", 3, 0),
        drawn("sweep", 1 + SWEEP_OBJECTS, 0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_drawn_from_has_a_quota() {
        let quotas = published_quotas();
        for (word, drawn) in draws() {
            for name in drawn {
                let quota = quotas.get(&name).unwrap_or_else(|| unreachable!("`{word}` draws from `{name}`"));
                assert!(quota.calls >= 1);
            }
        }
    }
}
