//! The operations of Key Vault that we use, the published quotas, and the number of requests of each call of the port.

use std::collections::BTreeMap;

use keyplane_destination::operations;
use keyplane_model::{Quota, Span};

use crate::vault::VaultKind;

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

/// The number of keys or versions that a page of a list is asked for: the most that Azure gives.
// contract: azure.lists
pub(crate) const PAGE: i32 = 25;

/// The largest number of requests of one look at a key (rule 8): one for its newest version, one for each page of its versions; each that
/// is left reads a former version. Six pages list 150 versions. A key of a Managed HSM has at most 100, so it is listed even if some pages
/// are empty or not full. The four looks of an import still draw less time of `Operations` (1.2 s) than the two keys that it makes draw of
/// `CreateHsm` (2.2 s).
// contract: azure.limits.managed_hsm, azure.unstated.pages
pub(crate) const LOOK_REQUESTS: usize = 7;

/// The largest number of requests of one page of a sweep, beside the list: enough for a dozen keys, each of which costs two if its versions
/// fit on a page. More could take longer than the time-out of a call.
pub(crate) const SWEEP_REQUESTS: usize = 30;

// INVARIANT: a page of a sweep has enough requests for any one key, so that every sweep makes progress.
const _: () = assert!(SWEEP_REQUESTS >= LOOK_REQUESTS);

const CREATE: &str = "CreateHsm";
const OPERATIONS: &str = "Operations";
const DELETE: &str = "Delete";

/// The quotas that Azure publishes. A key vault weighs its operations: it allows 2,000 on RSA-2048 and EC keys, 500 on RSA-3072 keys or 250
/// on RSA-4096 keys, and limits the weighted sum. So `Operations` counts operations of the lightest kind, and an operation on a key of the
/// heaviest kind counts as eight ([`weight`]).
// contract: azure.quota.vault, azure.quota.managed_hsm
pub(crate) fn published_quotas(kind: VaultKind) -> BTreeMap<String, Quota> {
    let quotas = match kind {
        VaultKind::KeyVault => &[(CREATE, 10, 10), (OPERATIONS, 2_000, 10)][..],
        VaultKind::ManagedHsm => &[(CREATE, 1, 1), (OPERATIONS, 1_100, 1), (DELETE, 10, 1)],
    };
    quotas.iter().copied().map(|(name, calls, seconds)| (name.to_owned(), Quota { calls, per: Span::seconds(seconds) })).collect()
}

/// The largest number of lightest operations that one operation on a key counts as: for an RSA-4096 key 2,000 / 250.
fn weight(kind: VaultKind) -> usize {
    match kind {
        VaultKind::KeyVault => 8,
        VaultKind::ManagedHsm => 1,
    }
}

/// The quota that one request draws from, and how often at most: it does not tell the kind of its key.
pub(crate) fn drawn_by(operation: Operation, kind: VaultKind) -> (&'static str, usize) {
    match (operation, kind) {
        (Operation::CreateKey | Operation::ImportKey, _) => (CREATE, 1),
        (Operation::DeleteKey, VaultKind::ManagedHsm) => (DELETE, 1),
        (Operation::GetKeys, _) => (OPERATIONS, 1),
        (Operation::DeleteKey, VaultKind::KeyVault)
        | (
            Operation::UpdateKey
            | Operation::RecoverDeletedKey
            | Operation::PurgeDeletedKey
            | Operation::GetKey
            | Operation::GetKeyVersions
            | Operation::GetDeletedKey
            | Operation::GetKeyAttestation,
            _,
        ) => (OPERATIONS, weight(kind)),
    }
}

/// The quotas that each call of the port draws from, at most: once for each time that a name is listed. Calls that send no request are left
/// out. Azure does not document whether an import counts as creating a key; here it does.
// contract: azure.unstated.import_quota
pub(crate) fn draws(kind: VaultKind) -> BTreeMap<String, Vec<String>> {
    let key = weight(kind);
    let object = LOOK_REQUESTS * key;
    let (kek, delete) = match kind {
        VaultKind::KeyVault => (key, (OPERATIONS, key)),
        // The key, and its attestation.
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
        // A read of how long the vault keeps deleted keys, and the deletion.
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
