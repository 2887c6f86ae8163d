//! The operations of KMS that we use, and what they may draw on.

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
    // A wrapping key that nobody uses leaves no trace.
    GetParametersForImport false,
    DescribeKey false,
    GetKeyPolicy false,
    ListKeyRotations false,
    ListKeys false,
    ListResourceTags false,
}

/// How often a second AWS allows each at first, per account and region (`contracts/aws.md`, "request quotas"; KMS Developer Guide
/// where that is silent).
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

/// How many keys one page of a sweep lists: each costs one read of its tags. A twentieth of a second's quota of those, so
/// that pages can be drawn evenly.
pub(crate) const SWEEP_KEYS: u32 = 100;

/// How many keys' tags are read at a time: a page takes about a tenth of a second at 10 ms a read, far below any sensible
/// time-out of a call.
pub(crate) const SWEEP_AT_A_TIME: usize = 8;

/// How many marked keys one page of a sweep describes in full: what it draws from `ListKeyRotations` is a tenth of a
/// second's quota, so that sweeping our own keys is as fast as the quota allows, and foreign ones pass ten times faster.
pub(crate) const SWEEP_OBJECTS: usize = 10;

/// Which quotas a call of the port draws from, once for each time that a name is listed. Left out is what is never
/// scarcer than what is listed: `GetKeyPolicy` goes with `ListKeyRotations`, and is allowed ten times as often.
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
        // Claim and users' name.
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
