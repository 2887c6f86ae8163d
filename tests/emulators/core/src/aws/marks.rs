//! The policy and the tags of a key.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    config::Config,
    fields::{Fields, constraint, missing, text_within},
    key::LIVING,
    page::Page,
    readings::PolicyText,
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Naming, Store},
};

/// Bytes of a key policy (KMS Developer Guide, "Resource quotas": 32 KB; the service model allows more).
const LONGEST_POLICY: usize = 32 * 1024;

/// Tags on a key (KMS Developer Guide, "Tags in KMS").
const MOST_TAGS: usize = 50;

/// The name of a key's only policy.
const POLICY_NAME: &str = "default";

pub(super) fn get_policy(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    only_policy(fields)?;
    let text = match scope.config.readings.policy_text {
        PolicyText::AsWritten => key.policy.clone(),
        PolicyText::Reformatted => rewritten(&key.policy, |_| ()),
        PolicyText::Reordered => rewritten(&key.policy, reverse_lists),
    };
    Ok(json!({ "Policy": text, "PolicyName": POLICY_NAME }))
}

pub(super) fn list_policies(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    Ok(json!({ "PolicyNames": [POLICY_NAME], "Truncated": false }))
}

pub(super) fn put_policy(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let policy = policy(fields)?.ok_or_else(|| missing("Policy"))?.to_owned();
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    only_policy(fields)?;
    let id = key.id.clone();
    store.change(&id, |key| key.policy = policy);
    Ok(Value::Null)
}

pub(super) fn list_tags(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let page = Page::read(fields, "tags", 50, 50)?;
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    let tags = key.tags.iter().filter(|(name, _)| page.after.as_ref().is_none_or(|after| *name > after));
    Ok(page.fill("Tags", tags.map(|(name, value)| (name.clone(), json!({ "TagKey": name, "TagValue": value })))))
}

pub(super) fn tag(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let new = tags(fields)?.ok_or_else(|| missing("Tags"))?;
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    key.allow(LIVING)?;
    let added = new.keys().filter(|name| !key.tags.contains_key(*name)).count();
    if key.tags.len() + added > MOST_TAGS {
        return Err(too_many_tags());
    }
    let id = key.id.clone();
    store.change(&id, |key| key.tags.extend(new));
    Ok(Value::Null)
}

pub(super) fn untag(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let names = fields.list("TagKeys")?.ok_or_else(|| missing("TagKeys"))?;
    let names: Vec<&str> = names.iter().map(|name| name.as_str().ok_or_else(|| missing("TagKeys"))).collect::<Result<_, _>>()?;
    for name in &names {
        text_within("TagKeys", name, 1..=128)?;
    }
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    key.allow(LIVING)?;
    let id = key.id.clone();
    store.change(&id, |key| key.tags.retain(|name, _| !names.contains(&name.as_str())));
    Ok(Value::Null)
}

/// The member `Tags`; `None`: it is missing.
pub(super) fn tags(fields: &Fields<'_>) -> Result<Option<BTreeMap<String, String>>, Refusal> {
    let Some(list) = fields.list("Tags")? else {
        return Ok(None);
    };
    let mut tags = BTreeMap::new();
    for tag in list {
        let members = tag.as_object().ok_or_else(|| Code::Serialization.because("`Tags` must be a list of tags"))?;
        let tag = Fields::new(members);
        let name = tag.required_text("TagKey", 1..=128)?;
        let value = tag.required_text("TagValue", 0..=256)?;
        if name.to_ascii_lowercase().starts_with("aws:") {
            return Err(Code::Tag.because(format!("the prefix of tag `{name}` is reserved")));
        }
        if tags.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Code::Tag.because(format!("tag `{name}` is given twice")));
        }
    }
    if tags.len() > MOST_TAGS {
        return Err(too_many_tags());
    }
    Ok(Some(tags))
}

/// The member `Policy`, which has to be well formed and must not lock its author out; `None`: it is missing.
pub(super) fn policy<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Refusal> {
    let bypass = fields.flag("BypassPolicyLockoutSafetyCheck")?;
    let Some(text) = fields.text("Policy", 1..=131_072)? else {
        return Ok(None);
    };
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}');
    if !text.chars().all(allowed) {
        let rule = "Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+";
        return Err(constraint("Policy", "<policy>", rule));
    }
    if text.len() > LONGEST_POLICY {
        return Err(Code::LimitExceeded.because(format!("a key policy has at most {LONGEST_POLICY} bytes")));
    }
    let statements = statements(text).ok_or_else(|| Code::MalformedPolicyDocument.because("the key policy is malformed"))?;
    if !bypass && !statements.iter().any(lets_change_policy) {
        let message = "the new key policy will not allow you to update the key policy in the future";
        return Err(Code::MalformedPolicyDocument.because(message));
    }
    Ok(Some(text))
}

/// The policy of a key that was created without one: the account's IAM decides.
pub(super) fn default_policy(config: &Config) -> String {
    let policy = json!({
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [{
            "Sid": "Enable IAM User Permissions",
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{}:root", config.account) },
            "Action": "kms:*",
            "Resource": "*",
        }],
    });
    format!("{policy:#}")
}

/// The statements of a well-formed policy document.
fn statements(text: &str) -> Option<Vec<Value>> {
    let document: Value = serde_json::from_str(text).ok()?;
    let members = document.as_object()?;
    let known = |name: &String| matches!(name.as_str(), "Version" | "Id" | "Statement");
    let version = members.get("Version").and_then(Value::as_str);
    if !members.keys().all(known) || !matches!(version, None | Some("2012-10-17" | "2008-10-17")) {
        return None;
    }
    let statements = match members.get("Statement")? {
        Value::Array(statements) => statements.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        _ => return None,
    };
    let formed = |statement: &Value| {
        let has = |names: [&str; 2]| names.iter().filter(|name| statement.get(**name).is_some()).count() == 1;
        matches!(statement["Effect"].as_str(), Some("Allow" | "Deny"))
            && has(["Principal", "NotPrincipal"])
            && has(["Action", "NotAction"])
            && has(["Resource", "NotResource"])
    };
    (!statements.is_empty() && statements.iter().all(formed)).then_some(statements)
}

/// A rough form of the lockout check: some statement lets a principal put a policy.
fn lets_change_policy(statement: &Value) -> bool {
    let opens = |action: &Value| {
        action.as_str().is_some_and(|action| {
            let action = action.to_ascii_lowercase();
            match action.strip_suffix('*') {
                Some(prefix) => "kms:putkeypolicy".starts_with(prefix),
                None => action == "kms:putkeypolicy",
            }
        })
    };
    statement["Effect"] == "Allow"
        && match &statement["Action"] {
            Value::Array(actions) => actions.iter().any(opens),
            action => opens(action),
        }
}

/// The policy after a change, with other white space.
fn rewritten(policy: &str, change: impl FnOnce(&mut Value)) -> String {
    let Ok(mut document) = serde_json::from_str::<Value>(policy) else { return policy.to_owned() };
    change(&mut document);
    format!("{document:#}")
}

/// Reverses all lists, which are sets: the policy means the same.
fn reverse_lists(document: &mut Value) {
    match document {
        Value::Array(items) => {
            items.reverse();
            items.iter_mut().for_each(reverse_lists);
        }
        Value::Object(members) => members.values_mut().for_each(reverse_lists),
        _ => {}
    }
}

fn only_policy(fields: &Fields<'_>) -> Result<(), Refusal> {
    match fields.text("PolicyName", 1..=128)? {
        None | Some(POLICY_NAME) => Ok(()),
        Some(other) => Err(Code::NotFound.because(format!("no such policy exists: `{other}`"))),
    }
}

fn too_many_tags() -> Refusal {
    Code::LimitExceeded.because(format!("a key has at most {MOST_TAGS} tags"))
}
