//! The operations of Cloud KMS that we use, their published quotas, and the number of requests of each call of the port.

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

pub(crate) const READ: &str = "Read";

pub(crate) const WRITE: &str = "Write";

/// The quotas that Google publishes, in requests a minute, for each project and location.
// contract: gcp.quota.requests
pub(crate) fn published_quotas() -> BTreeMap<String, Quota> {
    [(READ, 600), (WRITE, 60)].map(|(name, calls)| (name.to_owned(), Quota { calls, per: Span::seconds(60) })).into()
}

/// The number of keys that one page of a sweep lists: one read, whether they are ours or not.
pub(crate) const SWEEP_KEYS: i32 = 100;

/// The number of versions that a page of a key's versions is asked for. Google does not document its largest page, and gives a smaller one
/// if this is too large. A version has about a kilobyte, so a full page is half of the longest answer that is read.
pub(crate) const PAGE: i32 = 1_000;

/// The number of pages of one key's versions that are read: 2,000 versions, if pages are as large as asked for. A key with more pages is
/// [`keyplane_model::Class::Unsupported`], and not shown in part.
pub(crate) const VERSION_PAGES: usize = 2;

/// The largest number of requests about one key, beside the one that shows the key itself (rule 8). First its versions are listed; each
/// request that is left reads a public key. At least one is left, and two if the versions fit on a page.
pub(crate) const KEY_REQUESTS: usize = VERSION_PAGES + 1;

/// The largest number of requests of one look at a key.
const LOOK_REQUESTS: usize = 1 + KEY_REQUESTS;

/// The largest number of requests of one page of a sweep, beside the list: enough for ten symmetric keys whose versions fit on a page each.
/// So a page takes about a second's share of the quota of reads. Small pages are sent evenly.
pub(crate) const SWEEP_REQUESTS: usize = 12;

// INVARIANT: a page of a sweep has enough requests for any one key, so that every sweep makes progress.
const _: () = assert!(SWEEP_REQUESTS >= KEY_REQUESTS);

/// The largest number of reads to find the newest import job of a copy.
pub(crate) const JOB_READS: u32 = 6;

/// The largest number of import jobs for one copy. A new one is needed only when the last has expired, after three days. So this is enough
/// for seven weeks in which no import works.
pub(crate) const MAX_JOBS: u32 = 17;

// INVARIANT: [`JOB_READS`] reads with two outcomes each distinguish all numbers of jobs from 0 to [`MAX_JOBS`].
const _: () = assert!(MAX_JOBS < 1 << JOB_READS);

/// The quotas that each call of the port draws from, at most: once for each time that a name is listed. Calls that send no request are left
/// out. Reads of public keys are counted as reads; if Google counts them as uses of keys, more of those are allowed.
pub(crate) fn draws() -> BTreeMap<String, Vec<String>> {
    let drawn = |word: &str, reads: usize, writes: usize| {
        let names = std::iter::repeat_n(READ, reads).chain(std::iter::repeat_n(WRITE, writes));
        (word.to_owned(), names.map(str::to_owned).collect())
    };
    BTreeMap::from([
        drawn("create", 0, 1),
        // The reads find the first free id.
        drawn("prepare", JOB_READS as usize, 1),
        // The read shows the state of the import job if the import is refused.
        drawn("import", 1, 1),
        drawn("publish", 0, 1),
        drawn("disable", 0, 1),
        drawn("enable", 0, 1),
        // The read shows for how long the version could be restored.
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
