//! The operations of KMS that we use, their published quotas, and the number of requests of each call of the port.

use std::collections::BTreeMap;

use keyplane_destination::operations;
use keyplane_model::{Quota, Span};

operations! {
    CreateKey true,
    CreateAlias true,
    ImportKeyMaterial true,
    DisableKey true,
    EnableKey true,
    ScheduleKeyDeletion true,
    CancelKeyDeletion true,
    // It makes a wrapping key, but one that is not used has no visible effect.
    GetParametersForImport false,
    DescribeKey false,
    GetKeyPolicy false,
    ListKeyRotations false,
    ListKeys false,
    ListResourceTags false,
}

/// The quotas that AWS publishes, in requests a second, for each account and region ("Request quotas", KMS Developer Guide).
// contract: aws.quota.requests
pub(crate) fn published_quotas() -> BTreeMap<String, Quota> {
    use Operation as O;
    [
        (O::CreateKey, 5),
        (O::CreateAlias, 5),
        (O::ImportKeyMaterial, 15),
        (O::DisableKey, 5),
        (O::EnableKey, 5),
        (O::ScheduleKeyDeletion, 15),
        (O::CancelKeyDeletion, 5),
        (O::GetParametersForImport, 1),
        (O::DescribeKey, 2_000),
        (O::GetKeyPolicy, 1_000),
        (O::ListKeyRotations, 100),
        (O::ListKeys, 500),
        (O::ListResourceTags, 2_000),
    ]
    .map(|(operation, calls)| (operation.name().to_owned(), Quota { calls, per: Span::seconds(1) }))
    .into()
}

/// The number of keys that one page of a sweep lists. Each costs one read of its tags, so a page takes a twentieth of a second's quota of
/// those reads. Small pages are sent evenly.
pub(crate) const SWEEP_KEYS: u32 = 100;

/// The number of keys whose tags are read concurrently. At 10 ms a read a page takes about an eighth of a second, far less than the
/// time-out of a call.
pub(crate) const SWEEP_AT_A_TIME: usize = 8;

/// The number of marked keys that one page of a sweep reads in full. They draw a tenth of a second's quota of `ListKeyRotations`. So a
/// sweep passes our keys as fast as that quota allows, and other keys ten times as fast.
pub(crate) const SWEEP_OBJECTS: usize = 10;

/// The quotas that each call of the port draws from, at most: once for each time that a name is listed. A quota that is never scarcer than
/// a listed one is left out: `GetKeyPolicy` is sent as often as `ListKeyRotations`, and allowed ten times as often.
pub(crate) fn draws() -> BTreeMap<String, Vec<String>> {
    use Operation as O;
    let drawn = |word: &str, operations: &[(Operation, usize)]| {
        let names = operations.iter().flat_map(|(operation, times)| std::iter::repeat_n(operation.name().to_owned(), *times));
        (word.to_owned(), names.collect())
    };
    BTreeMap::from([
        drawn("create", &[(O::CreateKey, 1)]),
        drawn("claim", &[(O::CreateAlias, 1)]),
        drawn("publish", &[(O::CreateAlias, 1)]),
        drawn("import", &[(O::ImportKeyMaterial, 1)]),
        drawn("disable", &[(O::DisableKey, 1)]),
        drawn("enable", &[(O::EnableKey, 1)]),
        drawn("schedule-deletion", &[(O::ScheduleKeyDeletion, 1)]),
        drawn("restore", &[(O::CancelKeyDeletion, 1)]),
        drawn("wrapping-key", &[(O::GetParametersForImport, 1)]),
        // Once for the claim, once for the users' name.
        drawn("look", &[(O::DescribeKey, 2), (O::ListKeyRotations, 2)]),
        drawn("find", &[(O::DescribeKey, 2)]),
        drawn("inspect", &[(O::DescribeKey, 1), (O::ListKeyRotations, 1)]),
        drawn("evidence", &[(O::DescribeKey, 1), (O::ListKeyRotations, 1)]),
        drawn(
            "sweep",
            &[
                (O::ListKeys, 1),
                (O::ListResourceTags, SWEEP_KEYS as usize),
                (O::DescribeKey, SWEEP_OBJECTS),
                (O::ListKeyRotations, SWEEP_OBJECTS),
            ],
        ),
    ])
}

#[cfg(test)]
mod tests {
    use keyplane_destination::Operation as _;

    use super::*;

    #[test]
    fn whatever_is_drawn_from_has_a_quota() {
        let quotas = published_quotas();
        for (word, drawn) in draws() {
            for name in drawn {
                let quota = quotas.get(&name).unwrap_or_else(|| panic!("`{word}` draws from `{name}`"));
                assert!(quota.calls >= 1);
            }
        }
    }

    #[test]
    fn every_mutation_is_drawn_for() {
        let drawn: Vec<String> = draws().into_values().flatten().collect();
        for operation in Operation::ALL.iter().filter(|operation| operation.mutates()) {
            assert!(drawn.iter().any(|name| name == operation.name()), "{operation:?}");
        }
    }
}
