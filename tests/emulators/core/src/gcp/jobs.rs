//! Import jobs.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    attestation::Statement,
    certificate::pem,
    fields::{Message, caller_id},
    input::Input,
    moment::rfc3339,
    page::{PARAMETERS, Page},
    refusal::{Code, Refusal, invalid_field},
    scope::Scope,
    store::{Job, Store, within},
    word::{ImportMethod, JobState, KeyFormat, Kind, Level, Word as _},
    written::{encode, put},
};

/// How many RSA pairs of each size the jobs use in turn.
pub(super) const PAIRS: usize = 2;

const MEMBERS: [&str; 12] = [
    "name",
    "importMethod",
    "protectionLevel",
    "createTime",
    "generateTime",
    "expireTime",
    "expireEventTime",
    "state",
    "publicKey",
    "publicKeyFormat",
    "attestation",
    "cryptoKeyBackend",
];

// contract: gcp.import.job
pub(super) fn create(scope: &mut Scope<'_>, store: &mut Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let query = Message::of_query(input.query, &["importJobId"])?;
    let body = Message::of_body(input.body, &MEMBERS)?;
    let method: ImportMethod = body.required_word("importMethod")?;
    let level: Level = body.required_word("protectionLevel")?;
    if !matches!(level, Level::Software | Level::Hsm) || body.has("cryptoKeyBackend") {
        return Err(Code::Unimplemented.because(format!("this emulator has no import jobs of protection level {}", level.name())));
    }
    let wrapping =
        method.rsa().ok_or_else(|| Code::Unimplemented.because(format!("this emulator does not import by {}", method.name())))?;
    store.ring(input.name())?;
    let name = format!("{}/importJobs/{}", input.name(), caller_id(&query, "importJobId")?);
    if store.jobs.contains_key(&name) {
        return Err(Code::AlreadyExists.because(format!("ImportJob {name} already exists.")));
    }
    let pair = Arc::clone(scope.pairs.next(scope.crypto, wrapping.size)?.1);
    let statement = if level == Level::Hsm {
        let kind = Kind::RsaDecrypt { size: wrapping.size, hash: wrapping.hash };
        Some(Arc::new(Statement::of(scope.crypto, &name, kind, &pair.private, false)?))
    } else {
        None
    };
    let ready = scope.now + Duration::from_millis(scope.config.readings.job_millis.into());
    let job = Job { method, level, created: scope.now, ready, pair, statement };
    let answer = show(scope, &name, &job, None)?;
    store.jobs.insert(name, Arc::new(job));
    Ok(answer)
}

pub(super) fn get(scope: &mut Scope<'_>, store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let format = input.parameters(&["publicKeyFormat"])?.word("publicKeyFormat")?;
    show(scope, input.name(), store.job(input.name())?, format)
}

pub(super) fn list(scope: &mut Scope<'_>, store: &Store, input: &Input<'_>) -> Result<Value, Refusal> {
    let page = Page::read(input, &input.parameters(&PARAMETERS)?)?;
    store.ring(input.name())?;
    let prefix = format!("{}/importJobs/", input.name());
    let now = scope.now;
    let facts = |(name, job): (&str, &Arc<Job>), field: &str| match field {
        "name" => Some(name.to_owned()),
        "state" => Some(job.state(now).name().to_owned()),
        "importMethod" => Some(job.method.name().to_owned()),
        "protectionLevel" => Some(job.level.name().to_owned()),
        _ => None,
    };
    page.fill(
        "importJobs",
        within(&store.jobs, &prefix, None),
        |(name, _)| name.to_owned(),
        facts,
        |(name, job)| show(scope, name, job, None),
    )
}

fn show(scope: &mut Scope<'_>, name: &str, job: &Job, format: Option<KeyFormat>) -> Result<Value, Refusal> {
    let state = job.state(scope.now);
    let mut shown = json!({
        "name": name,
        "importMethod": scope.style.word(job.method),
        "protectionLevel": scope.style.word(job.level),
        "createTime": rfc3339(job.created),
        "expireTime": rfc3339(job.expires()),
        "state": scope.style.word(state),
    });
    if state != JobState::PendingGeneration {
        shown["generateTime"] = rfc3339(job.ready).into();
        if let Some(statement) = &job.statement {
            shown["attestation"] = scope.attest(statement)?;
        }
    }
    if state == JobState::Expired {
        shown["expireEventTime"] = rfc3339(job.expires()).into();
    }
    if state == JobState::Active {
        shown["publicKey"] = match format {
            None | Some(KeyFormat::Pem) => json!({ "pem": pem("PUBLIC KEY", &job.pair.public) }),
            Some(KeyFormat::Der) => json!({ "data": encode(&job.pair.public) }),
            Some(other) => return Err(invalid_field("public_key_format", format!("an RSA key cannot be written as {}", other.name()))),
        };
    }
    put(&mut shown, "publicKeyFormat", format.map(|format| scope.style.word(format)).unwrap_or_default());
    Ok(shown)
}
