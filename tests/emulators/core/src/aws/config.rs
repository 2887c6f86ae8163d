//! The configuration of an emulated account.

use std::time::Duration;

use super::readings::Readings;

/// Customer keys in a region (KMS Developer Guide, "Resource quotas").
// contract: aws.quota.resources
const PUBLISHED_MOST_KEYS: usize = 100_000;

/// Grants on a key, of all grantees (the same).
const PUBLISHED_MOST_GRANTS: usize = 50_000;

#[derive(Clone, Debug)]
pub struct Config {
    /// The home region, such as `us-east-1`: that of a request that names none.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    pub readings: Readings,
    /// How long after a change a read may still show the state before it. Zero: never.
    pub consistency: Duration,
    /// In each region.
    pub most_keys: usize,
    /// On each key.
    pub most_grants: usize,
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
    /// The account as another region sees it.
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
