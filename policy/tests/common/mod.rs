//! What several tests need: destinations as an adapter would declare them, and the example company.

use std::collections::BTreeMap;
use std::path::Path;

use keyplane_model::{
    Algorithm, Capabilities, CloudKind, Destination, DestinationName, Digest, Protection, Span, WrapScheme,
};

/// Destinations that take AES-256, as AWS does now.
pub fn destinations() -> BTreeMap<DestinationName, Destination> {
    ["prod-us-east-1", "prod-eu-central-1"]
        .into_iter()
        .map(|name| {
            let destination = destination(name, CloudKind::Aws, Protection::Hsm);
            (destination.name.clone(), destination)
        })
        .collect()
}

/// One destination.
pub fn destination(name: &str, cloud: CloudKind, protection: Protection) -> Destination {
    Destination {
        name: name.parse().unwrap(),
        cloud,
        home: "a home".to_owned(),
        fingerprint: Digest::of(name.as_bytes()),
        capabilities: Capabilities {
            algorithms: BTreeMap::from([(Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256])]),
            protection,
            claims: true,
            consistency: Span::seconds(10),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas: BTreeMap::new(),
            draws: BTreeMap::new(),
            deletion_days: 30,
        },
    }
}

/// The example company, file by file.
pub fn examples() -> Vec<(String, String)> {
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
