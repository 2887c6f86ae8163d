//! Aliases: names that are unique in an account and region.

use serde_json::{Value, json};

use super::{
    fields::{Fields, constraint},
    key::{Key, LIVING},
    page::Page,
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Alias, Naming, Store},
};

/// Aliases on a key (KMS Developer Guide, "Resource quotas").
const MOST_ALIASES: usize = 50;

pub(super) fn create(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let name = alias_name(fields)?;
    let target = target(scope, store, fields)?;
    if store.alias(name).is_some() {
        return Err(Code::AlreadyExists.because(format!("alias `{}` already exists", scope.config.arn(name))));
    }
    room_for_one(target)?;
    let alias = Alias { target: target.id.clone(), created: scope.now, updated: scope.now };
    store.bind(name, alias);
    Ok(Value::Null)
}

pub(super) fn update(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let name = alias_name(fields)?;
    let known = store.alias(name).ok_or_else(|| not_found(scope, name))?;
    let target = target(scope, store, fields)?;
    if known.target != target.id {
        room_for_one(target)?;
    }
    let alias = Alias { target: target.id.clone(), created: known.created, updated: scope.now };
    store.bind(name, alias);
    Ok(Value::Null)
}

pub(super) fn delete(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let name = alias_name(fields)?;
    store.unbind(name).ok_or_else(|| not_found(scope, name))?;
    Ok(Value::Null)
}

pub(super) fn list(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let page = Page::read(fields, "aliases", 50, 100)?;
    let target = match fields.text("KeyId", 1..=2048)? {
        Some(key) => Some(store.find(scope.config, key, Naming::Key)?),
        None => None,
    };
    let aliases = store.aliases_after(page.after.as_deref());
    let aliases = aliases.filter(|(name, _)| target.is_none_or(|target| target.aliases.contains(*name)));
    let entry = |(name, alias): (&String, &Alias)| {
        let entry = json!({
            "AliasName": name,
            "AliasArn": scope.config.arn(name),
            "TargetKeyId": alias.target,
            "CreationDate": alias.created.seconds(),
            "LastUpdatedDate": alias.updated.seconds(),
        });
        (name.clone(), entry)
    };
    Ok(page.fill("Aliases", aliases.map(entry)))
}

fn alias_name<'a>(fields: &Fields<'a>) -> Result<&'a str, Refusal> {
    let name = fields.required_text("AliasName", 1..=256)?;
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '_' | '-')) {
        let rule = "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$";
        return Err(constraint("AliasName", name, rule));
    }
    // The model's pattern allows a colon; its text forbids it.
    let own = name.strip_prefix("alias/").filter(|rest| !rest.is_empty() && !rest.contains(':'));
    if own.is_none_or(|own| own.starts_with("aws/")) {
        let message = format!("`{name}` does not begin with `alias/`, or is reserved, or has a colon");
        return Err(Code::InvalidAliasName.because(message));
    }
    Ok(name)
}

fn target<'s>(scope: &Scope<'_>, store: &'s Store, fields: &Fields<'_>) -> Result<&'s Key, Refusal> {
    let key = store.find(scope.config, fields.required_text("TargetKeyId", 1..=2048)?, Naming::Key)?;
    key.allow(LIVING)?;
    Ok(key)
}

fn room_for_one(target: &Key) -> Result<(), Refusal> {
    if target.aliases.len() >= MOST_ALIASES {
        return Err(Code::LimitExceeded.because(format!("a key has at most {MOST_ALIASES} aliases")));
    }
    Ok(())
}

fn not_found(scope: &Scope<'_>, name: &str) -> Refusal {
    Code::NotFound.because(format!("alias `{}` is not found", scope.config.arn(name)))
}
