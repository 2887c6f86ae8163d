//! Rotation on demand, and the list of a key's materials.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    fields::Fields,
    key::{Key, KeyState, LIVING, Material, Origin, Role, Rotation, USABLE, expiration_model},
    page::Page,
    readings::{LeavingRotations, MultiRegionRotation, RotationsOrder},
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Naming, Store},
};

/// The most rotations on demand of a key.
const MOST_ROTATIONS: u32 = 25;

// contract: aws.rotation.imported, aws.rotation.count
pub(super) fn rotate(scope: &mut Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    key.allow(USABLE)?;
    if key.is_replica(&scope.config.region) {
        return Err(Code::UnsupportedOperation.because(format!("`{}` is a replica: its primary key rotates", key.id)));
    }
    if key.related.is_some() && scope.config.readings.multi_region_rotation == MultiRegionRotation::Refused {
        return Err(key.not_in_many_regions());
    }
    if key.rotation.is_some() {
        return Err(Code::Conflict.because(format!("a rotation of `{}` is in progress", key.id)));
    }
    if key.rotations >= MOST_ROTATIONS {
        return Err(Code::LimitExceeded.because(format!("a key rotates on demand at most {MOST_ROTATIONS} times")));
    }
    if key.origin == Origin::External && key.pending().and_then(|material| material.bytes()).is_none() {
        return Err(key.in_wrong_state("without key material that is pending rotation"));
    }
    if key.related.as_ref().is_some_and(|related| related.awaiting) {
        return Err(key.in_wrong_state("waiting for replicas without the key material that is pending"));
    }

    let (id, origin) = (key.id.clone(), key.origin);
    let fresh = (origin == Origin::AwsKms).then(|| scope.own_material(&id, Role::PendingRotation));
    let (now, delay) = (scope.now, scope.config.readings.rotation_seconds);
    store.change(&id, |key| {
        key.materials.extend(fresh);
        key.rotations += 1;
        if delay == 0 {
            key.rotate(now);
        } else {
            key.rotation = Some(Rotation { started: now, due: now + Duration::from_secs(delay.into()) });
        }
    });
    Ok(json!({ "KeyId": id }))
}

/// `EnableKeyRotation` and `DisableKeyRotation`: impossible for imported material, and not modelled for KMS's own.
// contract: aws.rotation.automatic
pub(super) fn automatic(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    key.allow(&[KeyState::Enabled, KeyState::PendingImport])?;
    let origin = key.origin.name();
    let message = format!("the origin of `{}` is `{origin}`: nothing rotates it automatically", key.id);
    Err(Code::UnsupportedOperation.because(message))
}

pub(super) fn list(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let page = Page::read(fields, "rotations", 100, 1000)?;
    let words = [("ALL_KEY_MATERIAL", true), ("ROTATIONS_ONLY", false)];
    let all = fields.word("IncludeKeyMaterial", &words)?.unwrap_or(false);
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    if scope.config.readings.leaving_rotations == LeavingRotations::Refused {
        key.allow(LIVING)?;
    }
    let mut materials: Vec<&Material> = key.materials.iter().filter(|material| all || material.rotated.is_some()).collect();
    if scope.config.readings.rotations_order == RotationsOrder::NewestFirst {
        materials.reverse();
    }
    // The marker is a position in the list: a key has at most 27 materials.
    let placed = materials.iter().enumerate().map(|(place, material)| (format!("{place:04}"), material));
    let placed = placed.filter(|(place, _)| page.after.as_ref().is_none_or(|after| place > after));
    Ok(page.fill("Rotations", placed.map(|(place, material)| (place, entry(key, material)))))
}

pub(super) fn status(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    let mut status = json!({ "KeyId": key.id, "KeyRotationEnabled": false });
    if let Some(rotation) = key.rotation {
        status["OnDemandRotationStartDate"] = rotation.started.seconds().into();
    }
    Ok(status)
}

// contract: aws.rotation.material_states
fn entry(key: &Key, material: &Material) -> Value {
    let mut entry = json!({
        "KeyId": key.id,
        "KeyMaterialId": material.id,
        "KeyMaterialState": key.material_state(material),
    });
    if key.origin == Origin::External {
        let imported = material.bytes().is_some();
        entry["ImportState"] = if imported { "IMPORTED" } else { "PENDING_IMPORT" }.into();
        if let Some(description) = &material.description {
            entry["KeyMaterialDescription"] = description.clone().into();
        }
        if imported {
            entry["ExpirationModel"] = expiration_model(material.expires).into();
        }
        if let Some(expires) = material.expires.filter(|_| imported) {
            entry["ValidTo"] = expires.seconds().into();
        }
    }
    if let Some(rotated) = material.rotated {
        entry["RotationDate"] = rotated.seconds().into();
        entry["RotationType"] = "ON_DEMAND".into();
    }
    entry
}
