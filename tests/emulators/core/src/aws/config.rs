//! What an emulated account is like, and how it names what is in it.

use std::time::Duration;

use super::readings::Readings;

/// Customer keys in a region (KMS Developer Guide, "Resource quotas").
// contract: aws.quota.resources
const PUBLISHED_MOST_KEYS: usize = 100_000;

/// Grants on a key, of all grantees (the same).
const PUBLISHED_MOST_GRANTS: usize = 50_000;

/// What the emulated account is like.
#[derive(Clone, Debug)]
pub struct Config {
    /// The home region, for instance `us-east-1`: that of a request that names none.
    pub region: String,
    /// The account's id: twelve digits.
    pub account: String,
    /// How to read what AWS's documents leave open.
    pub readings: Readings,
    /// How long after a change a read may still show what was before it. Zero: never.
    pub consistency: Duration,
    /// How many keys fit into each region.
    pub most_keys: usize,
    /// How many grants a key can have.
    pub most_grants: usize,
    /// Whether the dump shows key material.
    pub reveal_material: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            account: "111122223333".into(),
            readings: Readings::default(),
            consistency: Duration::ZERO,
            most_keys: PUBLISHED_MOST_KEYS,
            most_grants: PUBLISHED_MOST_GRANTS,
            reveal_material: false,
        }
    }
}

impl Config {
    /// The same account, as another region sees it.
    pub(super) fn in_region(&self, region: &str) -> Self {
        Self { region: region.to_owned(), ..self.clone() }
    }

    /// The ARN of a key (`key/…`) or an alias (`alias/…`) of this region.
    pub(super) fn arn(&self, name: &str) -> String {
        format!("arn:aws:kms:{}:{}:{name}", self.region, self.account)
    }

    pub(super) fn key_arn(&self, id: &str) -> String {
        self.arn(&format!("key/{id}"))
    }
}
