//! Creating, describing, enabling, disabling and deleting keys.

use serde_json::{Value, json};

use super::{
    fields::{Fields, constraint},
    key::{DAY, Deletion, ID_PREFIX, Key, KeyState, LIVING, Origin, Related, Role, SWITCHABLE},
    marks,
    metadata::metadata,
    page::Page,
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Naming, Store},
};

/// Key specs that `CreateKey` has, but this emulator has not.
const OTHER_SPECS: [&str; 19] = [
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
];

pub(super) fn create(scope: &mut Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    symmetric_only(fields)?;
    let origin = match fields.text("Origin", 1..=32)?.unwrap_or("AWS_KMS") {
        "AWS_KMS" => Origin::AwsKms,
        "EXTERNAL" => Origin::External,
        "AWS_CLOUDHSM" | "EXTERNAL_KEY_STORE" => {
            return Err(Code::UnsupportedOperation.because("this emulator has no custom key stores"));
        }
        other => {
            return Err(constraint("Origin", other, "Member must satisfy enum value set"));
        }
    };
    let multi_region = fields.flag("MultiRegion")?;
    if multi_region && origin != Origin::External {
        return Err(Code::UnsupportedOperation.because("this emulator has multi-Region keys of imported material only"));
    }
    let description = fields.text("Description", 0..=8192)?.unwrap_or_default().to_owned();
    let policy = match marks::policy(fields)? {
        Some(policy) => policy.to_owned(),
        None => marks::default_policy(scope.config),
    };
    let tags = marks::tags(fields)?.unwrap_or_default();
    let most = scope.config.most_keys;
    if store.keys().len() >= most {
        return Err(Code::LimitExceeded.because(format!("a region holds at most {most} keys")));
    }

    let uuid = scope.uuid();
    let id = if multi_region { format!("{ID_PREFIX}{}", uuid.replace('-', "")) } else { uuid };
    let mut key = Key::new(id.clone(), origin, scope.now);
    (key.description, key.policy, key.tags) = (description, policy, tags);
    key.related = multi_region.then(|| Related::primary(&scope.config.region));
    if origin == Origin::AwsKms {
        key.materials.push(scope.own_material(&id, Role::Current));
    }
    let answer = json!({ "KeyMetadata": metadata(scope.config, &key) });
    store.insert(key);
    Ok(answer)
}

pub(super) fn describe(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::KeyOrAlias)?;
    Ok(json!({ "KeyMetadata": metadata(scope.config, key) }))
}

pub(super) fn list(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let page = Page::read(fields, "keys", 100, 1000)?;
    let keys = store.keys_after(page.after.as_deref());
    Ok(page.fill("Keys", keys.map(|key| (key.id.clone(), json!({ "KeyId": key.id, "KeyArn": scope.config.key_arn(&key.id) })))))
}

/// `EnableKey` and `DisableKey`.
pub(super) fn switch(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>, disabled: bool) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    key.allow(SWITCHABLE)?;
    let id = key.id.clone();
    store.change(&id, |key| key.disabled = disabled);
    Ok(Value::Null)
}

// contract: aws.deletion.waiting
pub(super) fn schedule_deletion(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    // The service model says 1 to 365; its text and the service say 7 to 30.
    let days = fields.integer("PendingWindowInDays", 7..=30)?.unwrap_or(30);
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    key.allow(LIVING)?;
    let id = key.id.clone();
    let has_replicas = key.related.as_ref().is_some_and(|related| related.primary == scope.config.region && !related.replicas.is_empty());
    let at = (!has_replicas).then(|| scope.now + DAY * days);
    let state = if has_replicas { KeyState::PendingReplicaDeletion } else { KeyState::PendingDeletion };
    store.change(&id, |key| key.deletion = Some(Deletion { at, days }));
    let mut answer = json!({ "KeyId": scope.config.key_arn(&id), "KeyState": state.name(), "PendingWindowInDays": days });
    if let Some(at) = at {
        answer["DeletionDate"] = at.seconds().into();
    }
    Ok(answer)
}

pub(super) fn cancel_deletion(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    if key.deletion.is_none() {
        return Err(key.in_wrong_state("not pending deletion"));
    }
    let id = key.id.clone();
    store.change(&id, |key| {
        key.deletion = None;
        // A key without its material is `PendingImport` again, and an import enables it.
        key.disabled = key.is_whole();
    });
    Ok(json!({ "KeyId": scope.config.key_arn(&id) }))
}

// contract: aws.deletion.last_use
pub(super) fn last_usage(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    let usage = key.last_use.as_ref().map_or_else(
        || json!({}),
        |usage| {
            json!({
                "Operation": usage.operation.name(),
                "Timestamp": usage.at.seconds(),
                "CloudTrailEventId": usage.event,
                "KmsRequestId": usage.request,
            })
        },
    );
    Ok(json!({
        "KeyId": key.id,
        "KeyLastUsage": usage,
        "TrackingStartDate": key.created.seconds(),
        "KeyCreationDate": key.created.seconds(),
    }))
}

fn symmetric_only(fields: &Fields<'_>) -> Result<(), Refusal> {
    let spec = fields.text("KeySpec", 1..=64)?;
    let old_spec = fields.text("CustomerMasterKeySpec", 1..=64)?;
    if spec.is_some() && old_spec.is_some() {
        return Err(Code::Validation.because("`KeySpec` and `CustomerMasterKeySpec` cannot both be given"));
    }
    match spec.or(old_spec).unwrap_or("SYMMETRIC_DEFAULT") {
        "SYMMETRIC_DEFAULT" => {}
        other if OTHER_SPECS.contains(&other) => {
            let message = format!("this emulator has only symmetric keys now, not `{other}`");
            return Err(Code::UnsupportedOperation.because(message));
        }
        other => {
            return Err(constraint("KeySpec", other, "Member must satisfy enum value set"));
        }
    }
    match fields.text("KeyUsage", 1..=64)?.unwrap_or("ENCRYPT_DECRYPT") {
        "ENCRYPT_DECRYPT" => {}
        other => {
            let message = format!("key usage `{other}` is not compatible with key spec `SYMMETRIC_DEFAULT`");
            return Err(Code::Validation.because(message));
        }
    }
    if fields.has("CustomKeyStoreId") || fields.has("XksKeyId") {
        return Err(Code::UnsupportedOperation.because("this emulator has no custom key stores"));
    }
    Ok(())
}
