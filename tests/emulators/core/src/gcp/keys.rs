//! Creating, reading, updating, rotating and deleting keys.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    fields::{Message, caller_id, required},
    input::Input,
    moment::{rfc3339, span},
    page::{PARAMETERS, Page},
    readings::PrimaryOfUnusable,
    refusal::{Code, Refusal, invalid_field, wrong_state},
    scope::Scope,
    store::{Key, Retired, Schedule, Store, Template, kind_for, not_in_state, version_name},
    versions,
    word::{Algorithm, Level, Purpose, VersionState, View, Word as _},
    written::put,
};

const MEMBERS: [&str; 12] = [
    "name",
    "primary",
    "purpose",
    "createTime",
    "nextRotationTime",
    "rotationPeriod",
    "versionTemplate",
    "labels",
    "importOnly",
    "destroyScheduledDuration",
    "cryptoKeyBackend",
    "keyAccessJustificationsPolicy",
];

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long versions wait for their destruction if the key does not say (PROTO).
// contract: gcp.key.create
const USUAL_DESTROY_DELAY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The longest wait (Cloud KMS documentation, "Destroy and restore key versions"). Import-only keys may have none.
const LONGEST_DESTROY_DELAY: Duration = Duration::from_secs(120 * 24 * 60 * 60);

/// The longest rotation period (PROTO: "at most 876,000 hours").
const LONGEST_PERIOD: Duration = Duration::from_secs(876_000 * 60 * 60);

/// Labels on a key (Cloud KMS documentation, "Labeling keys").
const MOST_LABELS: usize = 64;

pub(super) fn create(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let query = Message::of_query(input.query, &["cryptoKeyId", "skipInitialVersionCreation", "trustedWrappingEnabled"])?;
    let body = Message::of_body(input.body, &MEMBERS)?;
    let id = caller_id(&query, "cryptoKeyId")?;
    let skip = query.flag("skipInitialVersionCreation")?;
    let purpose: Purpose = body.required_word("purpose")?;
    let template = template(&body, purpose)?;
    for (name, asked) in [
        ("trusted_wrapping_enabled", query.flag("trustedWrappingEnabled")?),
        ("crypto_key_backend", body.text("cryptoKeyBackend")?.is_some()),
        ("key_access_justifications_policy", body.has("keyAccessJustificationsPolicy")),
    ] {
        if asked {
            return Err(Code::Unimplemented.because(format!("this emulator does not know `{name}`")));
        }
    }
    let import_only = body.flag("importOnly")?;
    if import_only && !skip {
        return Err(invalid_field("skip_initial_version_creation", "a key for imports alone has no version to begin with"));
    }
    let shortest = if import_only { Duration::ZERO } else { DAY };
    let destroy_delay = body.span("destroyScheduledDuration")?.unwrap_or(USUAL_DESTROY_DELAY);
    if !(shortest..=LONGEST_DESTROY_DELAY).contains(&destroy_delay) {
        let range = format!("must lie between {} and {}", span(shortest), span(LONGEST_DESTROY_DELAY));
        return Err(invalid_field("destroy_scheduled_duration", range));
    }
    let mut key = Key {
        purpose,
        created: scope.now,
        labels: labels(&body)?,
        template,
        import_only,
        destroy_delay,
        schedule: None,
        versions: BTreeMap::new(),
        last_number: 0,
        primary: None,
    };
    key.schedule = schedule(scope, &body, &key)?;
    store.ring(input.name())?;
    let name = format!("{}/cryptoKeys/{id}", input.name());
    if store.find_key(&name).is_some() || is_retired(store, &name) {
        return Err(Code::AlreadyExists.because(format!("CryptoKey {name} already exists.")));
    }
    if !skip {
        let version = versions::generate(scope, &name, &key)?;
        key.last_number = version.number;
        if purpose == Purpose::EncryptDecrypt {
            key.primary = Some(version.number);
        }
        key.versions.insert(version.number, version);
    }
    let answer = show(scope, &name, &key, false)?;
    store.insert_key(&name, key);
    Ok(answer)
}

pub(super) fn get(scope: &mut Scope<'_>, store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.parameters(&[])?;
    show(scope, input.name(), store.key(input.name())?, true)
}

pub(super) fn list(scope: &mut Scope<'_>, store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let query = input.parameters(&[&PARAMETERS[..], &["versionView"]].concat())?;
    let full = query.word("versionView")? == Some(View::Full);
    let page = Page::read(input, &query)?;
    store.ring(input.name())?;
    let prefix = format!("{}/cryptoKeys/", input.name());
    let fact = |(name, key): (&str, &Key), field: &str| match field.split_once('.') {
        Some(("labels", label)) => Some(key.labels.get(label).cloned().unwrap_or_default()),
        None if field == "name" => Some(name.to_owned()),
        None if field == "purpose" => Some(key.purpose.name().to_owned()),
        _ => None,
    };
    page.fill("cryptoKeys", store.keys_in(&prefix, None), |(name, _)| name.to_owned(), fact, |(name, key)| show(scope, name, key, full))
}

pub(super) fn update(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let query = Message::of_query(input.query, &["updateMask"])?;
    let body = Message::of_body(input.body, &MEMBERS)?;
    let mask = query.mask("updateMask")?;
    if mask.is_empty() {
        return Err(required("update_mask"));
    }
    let mut key = store.key(input.name())?.clone();
    let mut rotation = false;
    for path in &mask {
        match path.as_str() {
            "labels" => key.labels = labels(&body)?,
            "rotationPeriod" | "nextRotationTime" => rotation = true,
            "versionTemplate" | "versionTemplate.algorithm" => {
                let changed = template(&body, key.purpose)?;
                if path == "versionTemplate" && changed.level != key.template.level {
                    return Err(invalid_field("version_template.protection_level", "the field is immutable"));
                }
                key.template.algorithm = changed.algorithm;
            }
            "purpose" | "importOnly" | "destroyScheduledDuration" | "cryptoKeyBackend" | "versionTemplate.protectionLevel" => {
                return Err(invalid_field("update_mask", format!("the field `{path}` is immutable")));
            }
            other => return Err(invalid_field("update_mask", format!("the field `{other}` cannot be updated"))),
        }
    }
    if rotation {
        key.schedule = updated_schedule(scope, &body, &key, &mask)?;
    }
    let answer = show(scope, input.name(), &key, false)?;
    store.change(input.name(), |known| *known = key);
    Ok(answer)
}

// contract: gcp.primary
pub(super) fn update_primary(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let body = input.members(&["cryptoKeyVersionId"])?;
    let id = body.required_text("cryptoKeyVersionId")?;
    let mut key = store.key(input.name())?.clone();
    if key.purpose != Purpose::EncryptDecrypt {
        let message = format!("{} has the purpose {}: it has no primary version.", input.name(), key.purpose.name());
        return Err(wrong_state(input.name(), "CRYPTO_KEY_PURPOSE", message));
    }
    let name = format!("{}/cryptoKeyVersions/{id}", input.name());
    let (_, _, version) = store.version(&name)?;
    if version.state != VersionState::Enabled && scope.config.readings.primary_of_unusable == PrimaryOfUnusable::Refused {
        return Err(not_in_state(&name, version, "enabled"));
    }
    key.primary = Some(version.number);
    let answer = show(scope, input.name(), &key, false)?;
    store.change(input.name(), |known| *known = key);
    Ok(answer)
}

/// A long-running operation that is done at once.
// contract: gcp.deletion
pub(super) fn delete(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    input.parameters(&[])?;
    let key = store.key(input.name())?;
    if !key.versions.is_empty() {
        let message = format!("{} still has versions: delete them first.", input.name());
        return Err(wrong_state(input.name(), "CRYPTO_KEY_VERSIONS", message));
    }
    let location = format!("projects/{}/locations/{}", input.route.project, input.route.location);
    let retired = format!("{location}/retiredResources/{}", scope.uuid());
    let operation = format!("{location}/operations/{}", scope.uuid());
    store.remove_key(input.name());
    store.retired.insert(retired.clone(), Retired { original: input.name().to_owned(), deleted: scope.now });
    Ok(json!({
        "name": operation,
        "metadata": { "@type": "type.googleapis.com/google.cloud.kms.v1.DeleteCryptoKeyMetadata", "retiredResource": retired },
        "done": true,
        "response": { "@type": "type.googleapis.com/google.protobuf.Empty" },
    }))
}

/// Rotates a key whose rotation is due: a new generated version becomes the primary one.
// contract: gcp.rotation.automatic
pub(super) fn rotate(scope: &mut Scope<'_>, store: &mut Store, name: &str) {
    let Some((key, due)) = store.find_key(name).and_then(|key| Some((key, key.schedule.filter(|schedule| schedule.next <= scope.now)?)))
    else {
        return;
    };
    // Only symmetric keys rotate, and generating one cannot fail.
    let Ok(version) = versions::generate(scope, name, key) else {
        return;
    };
    store.change(name, |key| {
        key.last_number = version.number;
        key.primary = Some(version.number);
        key.versions.insert(version.number, version);
        key.schedule = due.period.map(|period| Schedule { next: due.next + period, ..due });
    });
}

pub(super) fn show(scope: &mut Scope<'_>, name: &str, key: &Key, full: bool) -> Result<Value, Refusal> {
    let style = scope.style;
    let mut shown = json!({
        "name": name,
        "purpose": style.word(key.purpose),
        "createTime": rfc3339(key.created),
        "versionTemplate": {
            "protectionLevel": style.word(key.template.level),
            "algorithm": style.word(key.template.algorithm),
        },
        "destroyScheduledDuration": span(key.destroy_delay),
    });
    put(&mut shown, "labels", json!(key.labels));
    put(&mut shown, "importOnly", key.import_only);
    if let Some(version) = key.primary.and_then(|number| key.version(number)) {
        shown["primary"] = versions::show(scope, &version_name(name, version.number), version, full)?;
    }
    if let Some(schedule) = key.schedule {
        shown["nextRotationTime"] = rfc3339(schedule.next).into();
        put(&mut shown, "rotationPeriod", schedule.period.map(span));
    }
    Ok(shown)
}

fn template(body: &Message<'_>, purpose: Purpose) -> Result<Template, Refusal> {
    let template = body.message("versionTemplate", &["protectionLevel", "algorithm"])?;
    let (level, algorithm) = match &template {
        Some(template) => (template.word("protectionLevel")?, template.word("algorithm")?),
        None => (None, None),
    };
    let level = level.unwrap_or(Level::Software);
    if !matches!(level, Level::Software | Level::Hsm) {
        return Err(Code::Unimplemented.because(format!("this emulator does not have the protection level {}", level.name())));
    }
    // "For backwards compatibility, GOOGLE_SYMMETRIC_ENCRYPTION is implied."
    let implied = (purpose == Purpose::EncryptDecrypt).then_some(Algorithm::GoogleSymmetric);
    let algorithm = algorithm.or(implied).ok_or_else(|| required("crypto_key.version_template.algorithm"))?;
    kind_for(algorithm, purpose)?;
    Ok(Template { level, algorithm })
}

/// Labels: at most 64. Names and values have at most 63 lower-case letters, digits, underscores and dashes; names begin with a letter.
// contract: gcp.key.labels
fn labels(body: &Message<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let labels = body.texts("labels")?;
    let allowed = |c: char| matches!(c, '0'..='9' | '_' | '-') || c.is_lowercase() || (c.is_alphabetic() && !c.is_uppercase());
    let is_good = |text: &str| text.chars().count() <= 63 && text.chars().all(allowed);
    if labels.len() > MOST_LABELS {
        return Err(invalid_field("crypto_key.labels", format!("a key has at most {MOST_LABELS} labels")));
    }
    for (name, value) in &labels {
        let letter = name.chars().next().is_some_and(|first| first.is_alphabetic());
        if !letter || !is_good(name) || !is_good(value) {
            return Err(invalid_field("crypto_key.labels", format!("`{name}` with the value `{value}` is not a label")));
        }
    }
    Ok(labels)
}

fn schedule(scope: &Scope<'_>, body: &Message<'_>, key: &Key) -> Result<Option<Schedule>, Refusal> {
    let (next, period) = (body.moment("nextRotationTime")?, body.span("rotationPeriod")?);
    checked(scope, key, next, period)
}

/// The schedule after an update of the fields in the mask.
fn updated_schedule(scope: &Scope<'_>, body: &Message<'_>, key: &Key, mask: &[String]) -> Result<Option<Schedule>, Refusal> {
    let names = |path: &str| mask.iter().any(|named| named == path);
    let next = if names("nextRotationTime") { body.moment("nextRotationTime")? } else { key.schedule.map(|schedule| schedule.next) };
    let period = if names("rotationPeriod") { body.span("rotationPeriod")? } else { key.schedule.and_then(|schedule| schedule.period) };
    checked(scope, key, next, period)
}

// contract: gcp.rotation.automatic
fn checked(scope: &Scope<'_>, key: &Key, next: Option<crate::Timestamp>, period: Option<Duration>) -> Result<Option<Schedule>, Refusal> {
    if next.is_none() && period.is_none() {
        return Ok(None);
    }
    if key.purpose != Purpose::EncryptDecrypt {
        return Err(invalid_field("crypto_key.rotation_schedule", format!("a key of purpose {} does not rotate", key.purpose.name())));
    }
    if key.import_only {
        return Err(invalid_field("crypto_key.rotation_schedule", "a key for imports alone does not rotate by itself"));
    }
    let next = next.ok_or_else(|| invalid_field("crypto_key.next_rotation_time", "must be set together with a rotation period"))?;
    if next <= scope.now {
        return Err(invalid_field("crypto_key.next_rotation_time", "must be in the future"));
    }
    if period.is_some_and(|period| !(DAY..=LONGEST_PERIOD).contains(&period)) {
        return Err(invalid_field("crypto_key.rotation_period", "must be at least 24 hours and at most 876,000 hours"));
    }
    Ok(Some(Schedule { next, period }))
}

fn is_retired(store: &Store, name: &str) -> bool {
    store.retired.values().any(|retired| retired.original == name)
}
