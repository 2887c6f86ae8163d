//! The operations of Cloud KMS that we use, their published quotas, and how many requests each call of the port sends.

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

/// The name of the quota of read requests.
pub(crate) const READ: &str = "Read";

/// The name of the quota of write requests.
pub(crate) const WRITE: &str = "Write";

/// The quotas that Google publishes, in requests a minute, for each project and location.
// contract: gcp.quota.requests
pub(crate) fn published_quotas() -> BTreeMap<String, Quota> {
    [(READ, 600), (WRITE, 60)].map(|(name, calls)| (name.to_owned(), Quota { calls, per: Span::seconds(60) })).into()
}

/// How many keys one page of a sweep lists. They cost one read together, whether they are ours or not.
pub(crate) const SWEEP_KEYS: i32 = 100;

/// How many versions of a key one page is asked to list. The largest page is not documented; Google gives a smaller one where this is
/// too large. A version has about a kilobyte, so a full page is half of the longest answer that is read.
pub(crate) const PAGE: i32 = 1_000;

/// How many pages of one key's versions are read: 2,000 versions, if pages are as large as asked for. A key with more pages is
/// [`keyplane_model::Class::Unsupported`], and not shown in part.
pub(crate) const VERSION_PAGES: usize = 2;

/// How many requests are sent about one key at most, beside the one that shows the key itself (rule 8). First its versions are listed;
/// each request that is left reads a public key. At least one is left, and two if the versions fit on a page.
pub(crate) const KEY_REQUESTS: usize = VERSION_PAGES + 1;

/// How many requests one look at a key sends at most.
const LOOK_REQUESTS: usize = 1 + KEY_REQUESTS;

/// How many requests one page of a sweep sends at most beside the list: enough for ten symmetric keys whose versions fit on a page
/// each. So a page takes about a second's share of the quota of reads, little enough for pages to be sent evenly.
pub(crate) const SWEEP_REQUESTS: usize = 12;

// INVARIANT: a page of a sweep has requests enough for one key, whatever that key has. So every sweep gets on.
const _: () = assert!(SWEEP_REQUESTS >= KEY_REQUESTS);

/// How many reads find the newest import job of a copy, at most.
pub(crate) const JOB_READS: u32 = 6;

/// How many import jobs are made for one copy, at most. A new one is needed only when the last has expired, after three days. So this is
/// enough for seven weeks in which no import works.
pub(crate) const MAX_JOBS: u32 = 17;

// INVARIANT: [`JOB_READS`] reads, each with two outcomes, tell every number of jobs from 0 to [`MAX_JOBS`] from every other.
const _: () = assert!(MAX_JOBS < 1 << JOB_READS);

/// The quotas that each call of the port draws from, at most: a name that stands twice is drawn from twice. Calls that send no request
/// are not in it. Reads of public keys are counted as reads; should Google count them as uses of keys, of those more are allowed.
pub(crate) fn draws() -> BTreeMap<String, Vec<String>> {
    let drawn = |word: &str, reads: usize, writes: usize| {
        let names = std::iter::repeat_n(READ, reads).chain(std::iter::repeat_n(WRITE, writes));
        (word.to_owned(), names.map(str::to_owned).collect())
    };
    BTreeMap::from([
        drawn("create", 0, 1),
        // The reads look for the first free id.
        drawn("prepare", JOB_READS as usize, 1),
        // The read looks at the import job, to tell why an import was refused.
        drawn("import", 1, 1),
        drawn("publish", 0, 1),
        drawn("disable", 0, 1),
        drawn("enable", 0, 1),
        // The read tells for how long the version could be restored.
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
