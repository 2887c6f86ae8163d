//! The operations of Key Vault that we use, and what they may draw on.

use std::collections::BTreeMap;

use keyplane_destination::operations;
use keyplane_model::{Quota, Span};

use crate::config::VaultKind;

operations! {
    CreateKey true,
    ImportKey true,
    UpdateKey true,
    DeleteKey true,
    RecoverDeletedKey true,
    PurgeDeletedKey true,
    GetKey false,
    GetKeyVersions false,
    GetKeys false,
    GetDeletedKey false,
    GetKeyAttestation false,
}

/// How many objects one page of a list has: the most that Azure gives (`contracts/azure.md`, "lists").
pub(crate) const PAGE: i32 = 25;

/// How many requests one look at a key sends at most (rule 8): for its newest version, for the pages of its versions, and, as far
/// as there are any left, for former versions. Six pages show the 100 versions that a key of a Managed HSM can have, even if
/// pages come that are empty or not full; at a key vault, 150. And the four looks of an import still take less time
/// of `Operations` (1.2 s) than its two new keys take of `CreateHsm` (2.2 s).
pub(crate) const LOOK_REQUESTS: usize = 7;

/// How many requests one page of a sweep sends beside the list: enough for a dozen keys, which cost two each until they have more
/// versions than fit on a page; more would take longer than any sensible time-out of a call.
pub(crate) const SWEEP_REQUESTS: usize = 30;

// INVARIANT: every page of a sweep can look at one key, whatever it has.
const _: () = assert!(SWEEP_REQUESTS >= LOOK_REQUESTS);

const CREATE: &str = "CreateHsm";
const OPERATIONS: &str = "Operations";
const DELETE: &str = "Delete";

/// The published quotas (`contracts/azure.md`, "throttling"). A key vault weighs its operations: the published numbers are
/// 2,000 for RSA-2048 and EC, 500 for RSA-3072 and 250 for RSA-4096, and what counts is the sum. So `Operations` counts
/// operations of the lightest kind, and an operation on the heaviest counts as eight of them ([`weight`]).
pub(crate) fn published_quotas(kind: VaultKind) -> BTreeMap<String, Quota> {
    let quotas = match kind {
        VaultKind::KeyVault => &[(CREATE, 10, 10), (OPERATIONS, 2_000, 10)][..],
        VaultKind::ManagedHsm => &[(CREATE, 1, 1), (OPERATIONS, 1_100, 1), (DELETE, 10, 1)],
    };
    quotas.iter().copied().map(|(name, calls, seconds)| (name.to_owned(), Quota { calls, per: Span::seconds(seconds) })).collect()
}

/// What an operation on one key counts at most: of an RSA-4096 key, 2,000 / 250.
fn weight(kind: VaultKind) -> usize {
    match kind {
        VaultKind::KeyVault => 8,
        VaultKind::ManagedHsm => 1,
    }
}

/// Which quotas a call of the port draws from, once for each time that a name is listed; what sends no request is not in it. Whether an import counts as making a
/// key is not known: it is assumed (`contracts/azure.md`, `[unstated]`).
pub(crate) fn draws(kind: VaultKind) -> BTreeMap<String, Vec<String>> {
    let key = weight(kind);
    let object = LOOK_REQUESTS * key;
    let (kek, delete) = match kind {
        VaultKind::KeyVault => (key, (OPERATIONS, key)),
        // An attestation besides.
        VaultKind::ManagedHsm => (2 * key, (DELETE, 1)),
    };
    let drawn = |word: &str, names: &[(&str, usize)]| {
        let names = names.iter().flat_map(|(name, times)| std::iter::repeat_n((*name).to_owned(), *times));
        (word.to_owned(), names.collect())
    };
    BTreeMap::from([
        drawn("prepare", &[(CREATE, 1)]),
        drawn("import", &[(CREATE, 1)]),
        drawn("prepared", &[(OPERATIONS, kek)]),
        drawn("wrapping-key", &[(OPERATIONS, kek)]),
        drawn("disable", &[(OPERATIONS, key)]),
        drawn("enable", &[(OPERATIONS, key)]),
        // For how long the vault keeps what is deleted, and the deletion.
        drawn("schedule-deletion", &[(OPERATIONS, key), delete]),
        drawn("restore", &[(OPERATIONS, key)]),
        drawn("purge", &[(OPERATIONS, key)]),
        drawn("look", &[(OPERATIONS, object)]),
        drawn("inspect", &[(OPERATIONS, object)]),
        drawn("evidence", &[(OPERATIONS, object)]),
        drawn("sweep", &[(OPERATIONS, 1 + SWEEP_REQUESTS * key)]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_drawn_from_has_a_quota_that_suffices_for_it() {
        for kind in [VaultKind::KeyVault, VaultKind::ManagedHsm] {
            let quotas = published_quotas(kind);
            for (word, drawn) in draws(kind) {
                assert!(!drawn.is_empty(), "{word}");
                for name in &drawn {
                    let quota = quotas.get(name).unwrap_or_else(|| panic!("`{word}` draws from `{name}`"));
                    let times = drawn.iter().filter(|other| *other == name).count();
                    assert!(quota.calls as usize >= times, "{word} can never be had");
                }
            }
        }
    }

    #[test]
    fn every_mutation_that_we_send_is_drawn_for() {
        for kind in [VaultKind::KeyVault, VaultKind::ManagedHsm] {
            for word in ["prepare", "import", "disable", "enable", "schedule-deletion", "restore", "purge"] {
                assert!(draws(kind).contains_key(word), "{word}");
            }
        }
    }
}
