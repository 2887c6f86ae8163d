//! Grants.
//!
//! Permissions are not modelled, so a grant allows nothing more, its constraints restrict nothing, and anybody can retire it. Its form is
//! checked, and it is stored, listed and deleted. A grant token has to be a valid one. Rules: the service model's `CreateGrant`,
//! `ListGrants`, `ListRetirableGrants`, `RetireGrant`, `RevokeGrant`; for the key states: KMS Developer Guide, "Key states of KMS keys".

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    fields::{Fields, constraint, missing, not_dry},
    key::{Constraints, Grant, Key, Principal, Terms, USABLE},
    page::Page,
    refusal::{Code, Refusal},
    scope::Scope,
    store::{Naming, Store},
};

/// What a grant on a symmetric key can permit.
const PERMITTED: [&str; 11] = [
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
];

/// What a grant on a key of another kind can permit.
const PERMITTED_ELSEWHERE: [&str; 8] =
    ["Sign", "Verify", "GetPublicKey", "GenerateMac", "VerifyMac", "DeriveSharedSecret", "Encapsulate", "Decapsulate"];

/// Pairs of an encryption context in one constraint, and characters of a value (service model, `CreateGrant`).
const MOST_PAIRS: usize = 8;
const LONGEST_VALUE: usize = 384;

/// Grant tokens in one request (service model, `GrantTokenList`).
const MOST_TOKENS: usize = 10;

/// Distinguishes grant tokens from other tokens of the emulator.
const TOKEN_CONTEXT: &[u8] = b"grant token";

/// The contents of a grant token, which a client sees encrypted.
#[derive(Serialize, Deserialize)]
struct Token {
    key: String,
    grant: String,
}

pub(super) fn create(scope: &mut Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let terms = Terms::read(fields)?;
    check_tokens(scope, fields)?;
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    key.allow(USABLE)?;
    let repeated = terms.name.is_some().then(|| key.grants.iter().find(|(_, grant)| grant.terms == terms)).flatten();
    let known = repeated.map(|(id, _)| id.clone());
    let most = scope.config.most_grants;
    // contract: aws.quota.resources
    if known.is_none() && key.grants.len() >= most {
        return Err(Code::LimitExceeded.because(format!("a key has at most {most} grants")));
    }
    not_dry(fields)?;

    let key = key.id.clone();
    let id = match known {
        Some(id) => id,
        None => {
            let id = hex::encode(scope.secret().expose());
            let grant = Arc::new(Grant { created: scope.now, terms });
            store.change(&key, |key| key.grants.insert(id.clone(), grant));
            id
        }
    };
    Ok(json!({ "GrantToken": seal_token(scope, &key, &id)?, "GrantId": id }))
}

pub(super) fn list(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let page = Page::read(fields, "grants", 50, 100)?;
    let wanted = grant_id(fields)?;
    let grantee = principal(fields, "GranteePrincipal", "GranteeServicePrincipal")?;
    let key = store.find(scope.config, fields.required_text("KeyId", 1..=2048)?, Naming::Key)?;
    let grants = key.grants.iter().filter(|(id, grant)| {
        page.after.as_ref().is_none_or(|after| *id > after)
            && wanted.is_none_or(|wanted| *id == wanted)
            && grantee.as_ref().is_none_or(|grantee| grant.terms.grantee == *grantee)
    });
    Ok(page.fill("Grants", grants.map(|(id, grant)| (id.clone(), entry(scope, key, id, grant)))))
}

pub(super) fn list_retirable(scope: &Scope<'_>, store: &Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let page = Page::read(fields, "retirable grants", 50, 100)?;
    let retiring = principal(fields, "RetiringPrincipal", "RetiringServicePrincipal")?.ok_or_else(|| missing("RetiringPrincipal"))?;
    let grants = store.keys().flat_map(|key| key.grants.iter().map(move |(id, grant)| (key, id, grant)));
    let grants = grants.filter(|(.., grant)| grant.terms.retiring.as_ref() == Some(&retiring));
    // Key ids sort the same with a suffix, because none is a prefix of another.
    let placed = grants.map(|(key, id, grant)| (format!("{}/{id}", key.id), entry(scope, key, id, grant)));
    Ok(page.fill("Grants", placed.filter(|(place, _)| page.after.as_ref().is_none_or(|after| place > after))))
}

pub(super) fn retire(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let token = fields.text("GrantToken", 1..=8192)?;
    let named = (fields.text("KeyId", 1..=2048)?, grant_id(fields)?);
    let (key, grant) = match (token, named) {
        (Some(token), (None, None)) => {
            let Token { key, grant } = open_token(scope, token)?;
            (key, grant)
        }
        (None, (Some(key), Some(grant))) => (key.to_owned(), grant.to_owned()),
        _ => {
            let message = "a grant is retired by its `GrantToken`, or by both `KeyId` and `GrantId`";
            return Err(Code::Validation.because(message));
        }
    };
    remove(scope, store, fields, &key, &grant)
}

pub(super) fn revoke(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>) -> Result<Value, Refusal> {
    let grant = grant_id(fields)?.ok_or_else(|| missing("GrantId"))?;
    remove(scope, store, fields, fields.required_text("KeyId", 1..=2048)?, grant)
}

/// Checks the member `GrantTokens`: each has to be a valid token, of any grant, even of one that is gone.
pub(super) fn check_tokens(scope: &Scope<'_>, fields: &Fields<'_>) -> Result<(), Refusal> {
    let tokens = fields.list("GrantTokens")?.unwrap_or_default();
    if tokens.len() > MOST_TOKENS {
        let rule = format!("Member must have length less than or equal to {MOST_TOKENS}");
        return Err(constraint("GrantTokens", "<too long>", &rule));
    }
    for token in tokens {
        let token = token.as_str().ok_or_else(|| Code::Serialization.because("`GrantTokens` must be a list of strings"))?;
        open_token(scope, token)?;
    }
    Ok(())
}

/// A grant in the dump.
pub(super) fn dumped(id: &str, grant: &Grant) -> Value {
    let mut dumped = grant.terms.members();
    dumped["id"] = id.into();
    dumped["created"] = json!(grant.created);
    dumped
}

impl Terms {
    fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        let name = fields.text("Name", 1..=256)?;
        if let Some(name) = name.filter(|name| !name.chars().all(|c| c.is_ascii_alphanumeric() || ":/_-".contains(c))) {
            return Err(constraint("Name", name, "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"));
        }
        let grantee = principal(fields, "GranteePrincipal", "GranteeServicePrincipal")?;
        let grantee = grantee.ok_or_else(|| Code::Validation.because("`GranteePrincipal` or `GranteeServicePrincipal` must be given"))?;
        let retiring = principal(fields, "RetiringPrincipal", "RetiringServicePrincipal")?;
        let operations = operations(fields)?;
        let constraints = Constraints::read(fields)?;
        if matches!(grantee, Principal::Service(_)) && (constraints.source.is_none() || retiring.is_none()) {
            let message = "a `GranteeServicePrincipal` needs a constraint `SourceArn` and someone who can retire the grant";
            return Err(Code::Validation.because(message));
        }
        Ok(Self { name: name.map(str::to_owned), grantee, retiring, operations, constraints })
    }

    /// The terms under their names in requests and answers.
    fn members(&self) -> Value {
        let mut members = json!({ "Operations": self.operations });
        if let Some(name) = &self.name {
            members["Name"] = name.clone().into();
        }
        let (of_grantee, grantee) = self.grantee.member(["GranteePrincipal", "GranteeServicePrincipal"]);
        members[of_grantee] = grantee.into();
        if let Some(retiring) = &self.retiring {
            let (of_retiring, retiring) = retiring.member(["RetiringPrincipal", "RetiringServicePrincipal"]);
            members[of_retiring] = retiring.into();
        }
        let Constraints { equals, subset, source } = &self.constraints;
        let present =
            [("EncryptionContextEquals", json!(equals)), ("EncryptionContextSubset", json!(subset)), ("SourceArn", json!(source))];
        for (name, value) in present.into_iter().filter(|(_, value)| !value.is_null()) {
            members["Constraints"][name] = value;
        }
        members
    }
}

impl Principal {
    /// Which of the two members names the principal, and its value.
    fn member<'a>(&'a self, [identity, service]: [&'static str; 2]) -> (&'static str, &'a str) {
        match self {
            Self::Identity(arn) => (identity, arn),
            Self::Service(name) => (service, name),
        }
    }
}

impl Constraints {
    fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        let Some(members) = fields.structure("Constraints")? else {
            return Ok(Self::default());
        };
        let source = members.text("SourceArn", 20..=512)?;
        if let Some(source) = source.filter(|source| !is_arn(source)) {
            let rule = "Member must satisfy regular expression pattern: ^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$";
            return Err(constraint("Constraints.SourceArn", source, rule));
        }
        Ok(Self {
            equals: context(&members, "EncryptionContextEquals")?,
            subset: context(&members, "EncryptionContextSubset")?,
            source: source.map(str::to_owned),
        })
    }
}

fn context(members: &Fields<'_>, name: &str) -> Result<Option<BTreeMap<String, String>>, Refusal> {
    let pairs = members.texts(name)?;
    if pairs.len() > MOST_PAIRS {
        return Err(Code::Validation.because(format!("`{name}` has at most {MOST_PAIRS} pairs")));
    }
    if pairs.values().any(|value| value.chars().count() > LONGEST_VALUE) {
        return Err(Code::Validation.because(format!("a value of `{name}` has at most {LONGEST_VALUE} characters")));
    }
    let owned = || pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(members.has(name).then(owned))
}

fn operations(fields: &Fields<'_>) -> Result<BTreeSet<String>, Refusal> {
    let list = fields.list("Operations")?.ok_or_else(|| missing("Operations"))?;
    let mut operations = BTreeSet::new();
    for operation in list {
        let operation = operation.as_str().ok_or_else(|| Code::Serialization.because("`Operations` must be a list of strings"))?;
        if PERMITTED_ELSEWHERE.contains(&operation) {
            return Err(Code::Validation.because(format!("a symmetric key cannot `{operation}`, so no grant can permit it")));
        }
        if !PERMITTED.contains(&operation) {
            return Err(constraint("Operations", operation, "Member must satisfy enum value set"));
        }
        operations.insert(operation.to_owned());
    }
    if operations.is_empty() {
        return Err(Code::Validation.because("a grant permits at least one operation"));
    }
    Ok(operations)
}

/// One of two members that exclude each other; `None`: both are missing.
fn principal(fields: &Fields<'_>, identity: &str, service: &str) -> Result<Option<Principal>, Refusal> {
    match (fields.text(identity, 1..=256)?, fields.text(service, 1..=128)?) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Code::Validation.because(format!("`{identity}` and `{service}` cannot both be given"))),
        (Some(arn), None) => {
            if !arn.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c)) {
                return Err(constraint(identity, arn, "Member must satisfy regular expression pattern: ^[\\w+=,.@:/-]+$"));
            }
            if !is_principal(arn) {
                return Err(Code::InvalidArn.because(format!("`{arn}` is not the ARN of a principal")));
            }
            Ok(Some(Principal::Identity(arn.to_owned())))
        }
        (None, Some(name)) => {
            let parts: Vec<&str> = name.split('.').collect();
            let formed = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if parts.len() < 3 || !parts.iter().all(formed) {
                let rule = "Member must satisfy regular expression pattern: ^([A-Za-z0-9\\-]+)\\.([A-Za-z0-9\\-]+)(\\.[A-Za-z0-9\\-]+)+$";
                return Err(constraint(service, name, rule));
            }
            Ok(Some(Principal::Service(name.to_owned())))
        }
    }
}

/// Whether an ARN is that of an account, IAM user, role, assumed role or federated user. Whether it exists is not modelled.
fn is_principal(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, _, service, "", _, name] = parts[..] else {
        return false;
    };
    let kinds: &[&str] = match service {
        "iam" => &["user/", "role/"],
        "sts" => &["assumed-role/", "federated-user/"],
        _ => return false,
    };
    let named = kinds.iter().any(|kind| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty()));
    (named || (service == "iam" && name == "root")) && is_arn(arn)
}

/// Whether a text is an ARN with an account.
fn is_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, owner, name] = parts[..] else {
        return false;
    };
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    partition.starts_with("aws")
        && [partition, service, region].into_iter().all(plain)
        && !service.is_empty()
        && owner.len() == 12
        && owner.bytes().all(|byte| byte.is_ascii_digit())
        && !name.is_empty()
}

fn grant_id<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Refusal> {
    let Some(id) = fields.text("GrantId", 1..=128)? else {
        return Ok(None);
    };
    let formed = id.len() == 64 && id.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    formed.then_some(Some(id)).ok_or_else(|| Code::InvalidGrantId.because(format!("`{id}` is not the id of a grant")))
}

fn remove(scope: &Scope<'_>, store: &mut Store, fields: &Fields<'_>, key: &str, grant: &str) -> Result<Value, Refusal> {
    let key = store.find(scope.config, key, Naming::Key)?;
    if !key.grants.contains_key(grant) {
        return Err(Code::NotFound.because(format!("grant `{grant}` is not found on `{}`", key.id)));
    }
    not_dry(fields)?;
    let key = key.id.clone();
    store.change(&key, |key| key.grants.remove(grant));
    Ok(Value::Null)
}

fn entry(scope: &Scope<'_>, key: &Key, id: &str, grant: &Grant) -> Value {
    let mut entry = grant.terms.members();
    entry["KeyId"] = scope.config.key_arn(&key.id).into();
    entry["GrantId"] = id.into();
    entry["CreationDate"] = grant.created.seconds().into();
    entry["IssuingAccount"] = format!("arn:aws:iam::{}:root", scope.config.account).into();
    entry
}

/// Makes a new token each time. All of them stay valid.
fn seal_token(scope: &mut Scope<'_>, key: &str, grant: &str) -> Result<String, Refusal> {
    let token = Token { key: scope.config.key_arn(key), grant: grant.to_owned() };
    let payload = serde_json::to_vec(&token).map_err(|_| Code::Internal.because("the token cannot be written"))?;
    Ok(URL_SAFE_NO_PAD.encode(scope.seal_token(TOKEN_CONTEXT, &payload)?))
}

fn open_token(scope: &Scope<'_>, token: &str) -> Result<Token, Refusal> {
    let invalid = || Code::InvalidGrantToken.because("the grant token is not one");
    let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let payload = scope.open_token(TOKEN_CONTEXT, &sealed).ok_or_else(invalid)?;
    serde_json::from_slice(payload.expose()).map_err(|_| invalid())
}
