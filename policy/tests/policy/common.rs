//! Shared by several tests: destinations as an adapter declares them, and the example company.

use std::collections::BTreeMap;
use std::path::Path;

use keyplane_model::{Algorithm, Capabilities, CloudKind, Destination, DestinationName, Digest, Protection, Span, WrapScheme};

/// Destinations that take AES-256; one of them only in software.
pub(crate) fn destinations() -> BTreeMap<DestinationName, Destination> {
    [("prod-us-east-1", Protection::Hsm), ("prod-eu-central-1", Protection::Hsm), ("laboratory", Protection::Software)]
        .into_iter()
        .map(|(name, protection)| (name.parse().unwrap(), destination(name, protection)))
        .collect()
}

fn destination(name: &str, protection: Protection) -> Destination {
    Destination {
        name: name.parse().unwrap(),
        cloud: CloudKind::Aws,
        home: "a home".to_owned(),
        fingerprint: Digest::of(name.as_bytes()),
        capabilities: Capabilities {
            algorithms: BTreeMap::from([(Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256])]),
            protection,
            creation: keyplane_model::Creation::Claimed,
            prepares: false,
            generations: false,
            consistency: Span::seconds(10),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas: BTreeMap::new(),
            draws: BTreeMap::new(),
            deletion_days: 30,
        },
    }
}

pub(crate) fn examples() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}
