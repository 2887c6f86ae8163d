//! `KeyMetadata`: how answers describe a key.

use serde_json::{Value, json};

use super::{
    config::Config,
    key::{Deletion, Key, KeyState, Origin, Related, expiration_model},
};

/// `KeyMetadata`, as the region of `config` sees the key.
pub(super) fn metadata(config: &Config, key: &Key) -> Value {
    let state = key.state();
    let mut metadata = json!({
        "AWSAccountId": config.account,
        "KeyId": key.id,
        "Arn": config.key_arn(&key.id),
        "CreationDate": key.created.seconds(),
        "Enabled": state == KeyState::Enabled,
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": state.name(),
        "Origin": key.origin.name(),
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": key.related.is_some(),
    });
    if let Some(related) = &key.related {
        metadata["MultiRegionConfiguration"] = configuration(config, &key.id, related);
    }
    match key.deletion {
        None => {}
        Some(Deletion { at: Some(at), .. }) => metadata["DeletionDate"] = at.seconds().into(),
        Some(Deletion { at: None, days }) => metadata["PendingDeletionWindowInDays"] = days.into(),
    }
    if let Some(current) = key.current() {
        metadata["CurrentKeyMaterialId"] = current.id.clone().into();
        // Only material that is present expires.
        if key.origin == Origin::External && key.permanent().any(|material| material.bytes().is_some()) {
            let earliest = key.permanent().filter(|m| m.bytes().is_some()).filter_map(|m| m.expires).min();
            metadata["ExpirationModel"] = expiration_model(earliest).into();
            if let Some(valid_to) = earliest {
                metadata["ValidTo"] = valid_to.seconds().into();
            }
        }
    }
    metadata
}

fn configuration(config: &Config, id: &str, related: &Related) -> Value {
    let key = |region: &String| json!({ "Arn": config.in_region(region).key_arn(id), "Region": region });
    json!({
        "MultiRegionKeyType": if related.primary == config.region { "PRIMARY" } else { "REPLICA" },
        "PrimaryKey": key(&related.primary),
        "ReplicaKeys": related.replicas.iter().map(key).collect::<Vec<_>>(),
    })
}
