//! Key rings, and the records of keys that were deleted.

use serde_json::{Value, json};

use super::{
    fields::{Message, caller_id},
    input::Input,
    moment::rfc3339,
    page::{PARAMETERS, Page},
    refusal::{Code, Refusal, missing},
    scope::Scope,
    store::{Retired, Ring, Store, within},
};

pub(super) fn create(scope: &Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let query = Message::of_query(input.query, &["keyRingId"])?;
    Message::of_body(input.body, &["name", "createTime"])?;
    let name = format!("{}/keyRings/{}", input.name(), caller_id(&query, "keyRingId")?);
    if store.rings.contains_key(&name) {
        return Err(Code::AlreadyExists.because(format!("KeyRing {name} already exists.")));
    }
    let ring = Ring { created: scope.now };
    let answer = show(&name, &ring);
    store.rings.insert(name, ring);
    Ok(answer)
}

pub(super) fn get(store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.parameters(&[])?;
    Ok(show(input.name(), store.ring(input.name())?))
}

pub(super) fn list(store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let page = Page::read(input, &input.parameters(&PARAMETERS)?)?;
    let prefix = format!("{}/keyRings/", input.name());
    let facts = |(name, _): (&str, &Ring), field: &str| (field == "name").then(|| name.to_owned());
    page.fill("keyRings", within(&store.rings, &prefix, None), |(name, _)| name.to_owned(), facts, |(name, ring)| Ok(show(name, ring)))
}

// contract: gcp.deletion
pub(super) fn get_retired(store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.parameters(&[])?;
    let retired = store.retired.get(input.name()).ok_or_else(|| missing("RetiredResource", input.name()))?;
    Ok(show_retired(input.name(), retired))
}

pub(super) fn list_retired(store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let page = Page::read(input, &input.parameters(&PARAMETERS)?)?;
    let prefix = format!("{}/retiredResources/", input.name());
    let facts = |(name, _): (&str, &Retired), field: &str| (field == "name").then(|| name.to_owned());
    page.fill(
        "retiredResources",
        within(&store.retired, &prefix, None),
        |(name, _)| name.to_owned(),
        facts,
        |(name, retired)| Ok(show_retired(name, retired)),
    )
}

fn show(name: &str, ring: &Ring) -> Value {
    json!({ "name": name, "createTime": rfc3339(ring.created) })
}

fn show_retired(name: &str, retired: &Retired) -> Value {
    json!({
        "name": name,
        "originalResource": retired.original,
        "resourceType": "cloudkms.googleapis.com/CryptoKey",
        "deleteTime": rfc3339(retired.deleted),
    })
}
