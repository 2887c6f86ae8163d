//! The operations of KMS that we use, and what they may draw on.

use std::collections::BTreeMap;

use keyplane_model::{Quota, Span};

/// Name on the wire, whether it changes anything, and how often a second AWS allows it at first, per account and region
/// (`contracts/aws.md`, "request quotas"; KMS Developer Guide where that is silent).
macro_rules! operations {
    ($($variant:ident $mutating:literal $quota:literal,)*) => {
        /// An operation of KMS that we use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($variant,)* }

        impl Operation {
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// AWS's own name of it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Whether it can change anything that another call could see. A wrapping key that nobody uses leaves no trace.
            pub(crate) const fn mutates(self) -> bool {
                match self { $(Self::$variant => $mutating,)* }
            }
        }

        /// The published quotas, by AWS's names.
        pub(crate) fn published_quotas() -> BTreeMap<String, Quota> {
            [$((Operation::$variant, $quota),)*]
                .into_iter()
                .map(|(operation, calls)| (operation.name().to_owned(), Quota { calls, per: Span::seconds(1) }))
                .collect()
        }
    };
}

operations! {
    CreateKey true 5,
    CreateAlias true 5,
    ImportKeyMaterial true 15,
    DisableKey true 5,
    EnableKey true 5,
    ScheduleKeyDeletion true 15,
    CancelKeyDeletion true 5,
    GetParametersForImport false 1,
    DescribeKey false 2_000,
    GetKeyPolicy false 1_000,
    ListKeyRotations false 100,
    ListKeys false 500,
    ListResourceTags false 2_000,
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
