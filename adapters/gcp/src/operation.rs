//! The operations of Google Cloud KMS that we use, and what they draw on.

use std::collections::BTreeMap;

use keyplane_destination::operations;
use keyplane_model::{Quota, Span};

operations! {
    CreateCryptoKey true,
    CreateImportJob true,
    ImportCryptoKeyVersion true,
    UpdateCryptoKeyPrimaryVersion true,
    UpdateCryptoKeyVersion true,
    DestroyCryptoKeyVersion true,
    RestoreCryptoKeyVersion true,
    GetCryptoKey false,
    ListCryptoKeys false,
    ListCryptoKeyVersions false,
    GetCryptoKeyVersion false,
    GetPublicKey false,
    GetImportJob false,
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

/// How many versions one page lists. The largest page is not documented: a smaller one comes where this is too many. A version has
/// about a kilobyte, so that a full page is half of the longest answer that is read.
pub(crate) const PAGE: i32 = 1_000;

/// How many pages of one key's versions are read: a key with more of them is not shown in part. They have 2,000 versions, as long
/// as a page is as large as asked for.
pub(crate) const VERSION_PAGES: usize = 2;

/// How many requests are sent about one key at most, beside the one that shows the key itself (rule 8): for its versions and, as far as
/// there are any left, for public keys. One of those can always be had; two, as long as there is one page of versions.
pub(crate) const KEY_REQUESTS: usize = VERSION_PAGES + 1;

/// How many requests one look at a key sends at most.
const LOOK_REQUESTS: usize = 1 + KEY_REQUESTS;

/// How many requests one page of a sweep sends beside the list: enough for ten keys whose versions fit on a page each. With
/// these, a page draws about a second's share of the quota of reads, so that pages can be drawn evenly.
pub(crate) const SWEEP_REQUESTS: usize = 12;

// INVARIANT: every page of a sweep can look at one key, whatever it has.
const _: () = assert!(SWEEP_REQUESTS >= KEY_REQUESTS);

/// How many reads at most find the newest import job of a copy.
pub(crate) const JOB_READS: u32 = 6;

/// How many import jobs are made for one copy at most. Another one is needed only when one ran out, after three days: this
/// is seven weeks of an import that never works. The first two are found by one read more than there are of them.
pub(crate) const MAX_JOBS: u32 = 17;

// INVARIANT: so many reads tell every number of jobs from every other.
const _: () = assert!(MAX_JOBS < 1 << JOB_READS);

/// Which quotas a call of the port draws from, once for each time that a name is listed; what sends no request is not in it. Public
/// keys are drawn for as reads, which are scarcer than uses of keys, should they count as those.
pub(crate) fn draws() -> BTreeMap<String, Vec<String>> {
    let drawn = |word: &str, reads: usize, writes: usize| {
        let names = std::iter::repeat_n(READ, reads).chain(std::iter::repeat_n(WRITE, writes));
        (word.to_owned(), names.map(str::to_owned).collect())
    };
    BTreeMap::from([
        drawn("create", 0, 1),
        // Looks for the first id that is free.
        drawn("prepare", JOB_READS as usize, 1),
        // Why an import was refused is seen by looking at its job.
        drawn("import", 1, 1),
        drawn("publish", 0, 1),
        drawn("disable", 0, 1),
        drawn("enable", 0, 1),
        // For how long the key keeps what is to be destroyed.
        drawn("schedule-deletion", 1, 1),
        drawn("restore", 0, 1),
        drawn("prepared", JOB_READS as usize, 0),
        drawn("wrapping-key", 1, 0),
        drawn("look", LOOK_REQUESTS, 0),
        drawn("inspect", LOOK_REQUESTS, 0),
        drawn("evidence", LOOK_REQUESTS, 0),
        drawn("sweep", 1 + SWEEP_REQUESTS, 0),
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
