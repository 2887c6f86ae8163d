//! Azure: a Key Vault or a Managed HSM, as `adapters/azure` uses one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::str::FromStr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::{join_all, try_join_all};
use keyplane_emulator_core::azure::{self as emulated, Config, Kind, Operation, Reply, Request};
use keyplane_emulator_core::frame::Frame;
use keyplane_model::{
    Algorithm, Capabilities, Class, CloudKind, CopyRecord, Creation, Destination, DestinationName, Digest, Evidence, EvidenceStrength,
    InstallationId, KeyName, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementId, PlacementSeen, Presence,
    Protection, PublicKey, Purpose, Quota, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
use serde_json::{Value, json};

use crate::clouds::Place;
use crate::net::{Line, Lost, duration};
use crate::symbols::Symbols;

const API_VERSION: &str = "7.6";

/// The number of days for which a deleted key can be recovered, at the vault and in our capabilities.
const DELETION_DAYS: u32 = 90;

/// The requests of one look: four pages show the 100 versions that a key can have.
const LOOK: usize = 7;
/// The requests of one page of a sweep, beside the list.
const SWEEP: usize = 30;
/// Keys on a page of a sweep. INVARIANT: looking at all of them costs no more than is declared (rule 8).
const SWEPT: usize = SWEEP / LOOK;

/// The operations (`key_ops`) of our keys.
fn operations(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        Purpose::Encrypt => &["encrypt", "decrypt", "wrapKey", "unwrapKey"],
        Purpose::Sign => &["sign", "verify"],
        // Azure imports no such key.
        Purpose::Mac => &[],
    }
}

/// The prefix of key exchange keys' names.
const KEK: &str = "keyplane-kek-";

/// One vault.
pub(crate) struct Azure {
    line: Line<emulated::Azure>,
    destination: Destination,
    installation: InstallationId,
}

/// A vault as a destination; its home is the vault's name.
pub(crate) fn destination(name: DestinationName, key_vault: bool) -> Destination {
    let home = format!("{name}.{}.azure.net", if key_vault { "vault" } else { "managedhsm" });
    // A Key Vault counts an operation on the heaviest key as eight on the lightest, within ten seconds.
    let (quotas, per, key) = if key_vault {
        (vec![("CreateHsm", 10), ("Operations", 2_000)], Span::seconds(10), 8)
    } else {
        (vec![("CreateHsm", 1), ("Operations", 1_100), ("Delete", 10)], Span::seconds(1), 1)
    };
    let quotas = quotas.into_iter().map(|(name, calls)| (name.to_owned(), Quota { calls, per }));
    // A Managed HSM also has an attestation to be read.
    let kek = if key_vault { key } else { 2 * key };
    let operations = [("prepared", kek), ("wrapping-key", kek), ("disable", key), ("enable", key)];
    let reads = [("look", LOOK * key), ("inspect", LOOK * key), ("evidence", LOOK * key), ("sweep", 1 + SWEEP * key)];
    let delete = [("schedule-deletion", if key_vault { 2 * key } else { key })];
    let drawn = |(word, times): (&str, usize)| (word.to_owned(), vec!["Operations".to_owned(); times]);
    let mut draws: BTreeMap<_, _> = operations.into_iter().chain(reads).chain(delete).map(drawn).collect();
    let delete = (!key_vault).then_some(("schedule-deletion", "Delete"));
    for (word, quota) in [("prepare", "CreateHsm"), ("import", "CreateHsm")].into_iter().chain(delete) {
        draws.entry(word.to_owned()).or_default().push(quota.to_owned());
    }
    Destination {
        name,
        cloud: CloudKind::Azure,
        fingerprint: Digest::of(format!("azure {home}").as_bytes()),
        home,
        capabilities: Capabilities {
            algorithms: Place::Azure.takes(key_vault).into_iter().map(|taken| (taken, vec![WrapScheme::RsaAesKeyWrapSha1])).collect(),
            generations: true,
            protection: Protection::Hsm,
            creation: Creation::Imported,
            prepares: true,
            consistency: Span::seconds(10),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas: quotas.collect(),
            draws,
            deletion_days: DELETION_DAYS,
        },
    }
}

/// The vault of a destination, with the published quotas. `consistency`: how old a state that a read shows may be.
pub(crate) fn frame(symbols: Symbols, destination: &Destination, consistency: Span) -> Frame<emulated::Azure> {
    let kind = if destination.home.contains(".vault.") { Kind::Premium } else { Kind::ManagedHsm };
    let config =
        Config { consistency: duration(consistency), retention_days: DELETION_DAYS, ..Config::new(kind, destination.home.as_str()) };
    emulated::Azure::vault(config, Box::new(symbols))
}

impl Azure {
    pub(crate) fn new(line: Line<emulated::Azure>, destination: Destination, installation: InstallationId) -> Self {
        Self { line, destination, installation }
    }

    /// Sends one request. `path` may include a query.
    async fn call(&self, operation: Operation, method: &str, path: &str, body: Value) -> Result<Value, CloudError> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::new(method, None, path, &format!("api-version={API_VERSION}&{query}"), body);
        match self.line.send(request).await {
            Ok(reply) if reply.status == 200 => Ok(reply.body),
            Ok(reply) => Err(refused(operation, &reply)),
            Err(Lost) => Err(failed(operation, uncertain(operation, Class::Transient), "no answer")),
        }
    }

    async fn get(&self, operation: Operation, path: &str) -> Result<Value, CloudError> {
        self.call(operation, "GET", path, Value::Null).await
    }

    /// A key by its name, with the public keys of former versions as far as the look has requests left.
    async fn shown(&self, name: &str) -> Result<Option<ObjectSeen>, CloudError> {
        let Some(mut object) = self.object(name).await? else { return Ok(None) };
        if object.current().is_some_and(|current| current.public_key.is_some()) {
            let former = |material: &&mut MaterialSeen| material.state == MaterialState::Former && material.version.is_some();
            try_join_all(object.materials.iter_mut().filter(former).take(LOOK - 2).map(|material| async move {
                let id = material.id.as_deref().unwrap_or_default();
                let read = self.get(Operation::GetKey, &format!("/keys/{name}/{id}")).await;
                // The list showed the version a moment ago.
                let late = || failed(Operation::GetKey, Class::Transient, "a version that is listed is not there");
                material.public_key = public_key(&found(read)?.ok_or_else(late)?["key"]).map(|public| Digest::of(&public));
                Ok(())
            }))
            .await?;
        }
        Ok(Some(object))
    }

    /// `None`: Azure says that there is no such key, and no deleted one either.
    async fn object(&self, name: &str) -> Result<Option<ObjectSeen>, CloudError> {
        if let Some(newest) = found(self.get(Operation::GetKey, &format!("/keys/{name}")).await)? {
            return self.with_versions(name, &newest).await.map(Some);
        }
        let deleted = found(self.get(Operation::GetDeletedKey, &format!("/deletedkeys/{name}")).await)?;
        Ok(deleted.map(|key| {
            let state = ObjectState::DeletionScheduled(moment(&key["scheduledPurgeDate"]));
            seen(&key, state, moment(&key["attributes"]["created"]), Vec::new())
        }))
    }

    /// A key with all its versions; if its newest version is not marked as ours, only that one.
    async fn with_versions(&self, name: &str, newest: &Value) -> Result<ObjectSeen, CloudError> {
        let (kid, attributes) = (&newest["key"]["kid"], &newest["attributes"]);
        let marks = marks(newest);
        let mut listed = match &marks {
            Some(_) => self.versions(name).await?,
            None => vec![json!({ "kid": kid, "attributes": attributes })],
        };
        let created = |one: &Value| moment(&one["attributes"]["created"]);
        // The key itself tells which of the versions of one second is the newest.
        listed.sort_by_key(|one| Reverse((one["kid"] == *kid, created(one), one["kid"].to_string())));
        let agree = listed.first().is_some_and(|first| {
            let enabled = first["attributes"]["enabled"] == attributes["enabled"];
            first["kid"] == *kid && enabled && listed.iter().all(|one| created(one) <= created(first))
        });
        if !agree {
            return Err(failed(Operation::GetKeyVersions, Class::Transient, "two reads of the same key contradict each other"));
        }
        let materials = listed.iter().map(|one| {
            let (is_current, version) = (one["kid"] == *kid, marks.as_ref().and_then(|marks| version(one, self.installation, marks)));
            let shown = (is_current && version.is_some()).then(|| public_key(&newest["key"])).flatten();
            MaterialSeen {
                id: Some(named(&one["kid"]).1.to_owned()),
                version,
                state: if is_current { MaterialState::Current } else { MaterialState::Former },
                presence: if one["attributes"]["enabled"] == true { Presence::Present } else { Presence::Disabled },
                public_key: shown.map(|public| Digest::of(&public)),
            }
        });
        let state = if attributes["enabled"] == true { ObjectState::Usable } else { ObjectState::Disabled };
        Ok(seen(newest, state, listed.iter().filter_map(created).min(), materials.collect()))
    }

    async fn versions(&self, name: &str) -> Result<Vec<Value>, CloudError> {
        let (mut listed, mut next) = (Vec::new(), Some(format!("/keys/{name}/versions")));
        while let Some(path) = next {
            // The key was there a moment ago.
            let late = || failed(Operation::GetKeyVersions, Class::Transient, "a key without versions");
            let page = found(self.get(Operation::GetKeyVersions, &path).await)?.ok_or_else(late)?;
            listed.extend(page["value"].as_array().into_iter().flatten().cloned());
            next = next_page(&page);
        }
        Ok(listed)
    }

    /// The public key of a key exchange key, which must have no other use (rule 11).
    async fn kek(&self, kid: &ObjectId) -> Result<Vec<u8>, CloudError> {
        const OPERATION: Operation = Operation::GetKey;
        let kid = json!(kid);
        let (name, version) = named(&kid);
        if !name.starts_with(KEK) || version.is_empty() {
            return Err(failed(OPERATION, Class::Invalid, "no key to wrap under that was made here"));
        }
        let made = self.get(OPERATION, &format!("/keys/{name}/{version}")).await?;
        let key = &made["key"];
        if key["kty"] != "RSA-HSM" || key["key_ops"] != json!(["import"]) || made["attributes"]["enabled"] != true {
            let stale = failed(OPERATION, Class::Stale, "no longer a key to wrap under");
            return Err(CloudError { cause: Cause::ImportTokenExpired, ..stale });
        }
        public_key(key).ok_or_else(|| garbled(OPERATION, "a key without a public half"))
    }

    async fn switch(&self, object: &ObjectId, material: &str, enabled: bool) -> Result<Acted, CloudError> {
        let body = json!({ "attributes": { "enabled": enabled } });
        self.call(Operation::UpdateKey, "PATCH", &format!("/keys/{object}/{material}"), body).await.map(done)
    }

    /// INVARIANT: the key can be recovered for exactly `days` days, or nothing is deleted.
    async fn delete(&self, object: &ObjectId, days: u32) -> Result<Acted, CloudError> {
        let path = format!("/keys/{object}");
        if self.get(Operation::GetKey, &path).await?["attributes"]["recoverableDays"] != days {
            return Err(failed(Operation::DeleteKey, Class::Invalid, "a deleted key can be recovered for another time"));
        }
        self.call(Operation::DeleteKey, "DELETE", &path, Value::Null).await.map(done)
    }
}

#[async_trait]
impl Cloud for Azure {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The emulator names its quotas otherwise.
    fn sent(&self, _: &str) -> Option<u64> {
        None
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let claimed = self.shown(&target.name).await?;
        // The import is the activation: the users' name leads to the current version.
        let published = claimed.clone().filter(|object| object.current().is_some());
        Ok(PlacementSeen { claimed, published })
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.shown(&object.0).await
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        let first = format!("/keys?maxresults={SWEPT}");
        let list = self.get(Operation::GetKeys, cursor.map_or(&first, |cursor| &cursor.0)).await?;
        let mut page = Page { next: next_page(&list).map(Cursor), ..Page::default() };
        let ours = list["value"].as_array().into_iter().flatten().filter(|key| marks(key).is_some());
        for object in join_all(ours.map(|key| self.object(named(&key["kid"]).0))).await {
            match object {
                Ok(Some(object)) => page.objects.push(object),
                Ok(None) => page.broken += 1,
                Err(error) if matches!(error.class, Class::Transient | Class::Throttled) || error.cause != Cause::Plain => {
                    return Err(error);
                }
                Err(_) => page.broken += 1,
            }
        }
        Ok(page)
    }

    /// A sweep tells everything but public keys.
    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        let told = |object: &&ObjectSeen| object.algorithm.is_some_and(Algorithm::is_symmetric);
        let claimed = swept.get(&ObjectId(target.name.clone())).filter(told).cloned();
        Ok(claimed.map(|object| PlacementSeen {
            published: Some(object.clone()).filter(|object| object.current().is_some()),
            claimed: Some(object),
        }))
    }

    async fn prepared(&self, _: &Target, _: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        let Some(made) = made else { return Ok(None) };
        match self.kek(made).await {
            Ok(_) => Ok(Some(Prepared { wrapping: made.clone(), ready: true })),
            Err(error) if error.class == Class::NotFound || error.cause == Cause::ImportTokenExpired => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        match (from, scheme) {
            (WrapFor::Prepared(kid), WrapScheme::RsaAesKeyWrapSha1) => {
                Ok(WrappingKey { spki: self.kek(kid).await?, scheme, token: kid.0.clone().into_bytes(), valid_until: None })
            }
            _ => Err(failed(Operation::GetKey, Class::Unsupported, "a key to wrap under is made for each copy, for one scheme")),
        }
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        match mutation {
            Mutation::Prepare { target, version, scheme: WrapScheme::RsaAesKeyWrapSha1 } => {
                let path = format!("/keys/{KEK}{}-{version}/create", target.placement.0.simple());
                let body = json!({
                    "kty": "RSA-HSM",
                    "key_size": 4_096,
                    "key_ops": ["import"],
                    "attributes": { "enabled": true },
                    "tags": tags(target.installation, target.placement, &target.key, *version),
                });
                let made = self.call(Operation::CreateKey, "POST", &path, body).await?;
                Ok(Acted::Created(ObjectId(made["key"]["kid"].as_str().unwrap_or_default().to_owned())))
            }
            Mutation::Import { target, marks, again: None, version, wrapping_key, wrapped, .. }
                if wrapping_key.scheme == WrapScheme::RsaAesKeyWrapSha1 =>
            {
                let (kty, crv) =
                    key_type(target.algorithm).ok_or_else(|| failed(Operation::ImportKey, Class::Unsupported, "no such keys"))?;
                let blob = json!({
                    "schema_version": "1.0.0",
                    "header": { "kid": String::from_utf8_lossy(&wrapping_key.token), "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP" },
                    "ciphertext": URL_SAFE_NO_PAD.encode(wrapped),
                });
                let mut tags = tags(marks.installation, marks.placement, &target.key, *version);
                tags["keyplane-incarnation"] = marks.incarnation.to_string().into();
                tags["keyplane-attempt"] = marks.attempt.to_string().into();
                let mut key = json!({
                    "kty": kty,
                    "key_ops": operations(target.purpose),
                    "key_hsm": URL_SAFE_NO_PAD.encode(blob.to_string()),
                });
                if let Some(crv) = crv {
                    key["crv"] = crv.into();
                }
                let body = json!({
                    "Hsm": true,
                    "key": key,
                    "attributes": { "enabled": true },
                    "tags": tags,
                });
                self.call(Operation::ImportKey, "PUT", &format!("/keys/{}", target.name), body).await.map(done)
            }
            Mutation::Disable { object, material: Some(material) } => self.switch(object, material, false).await,
            Mutation::Enable { object, material: Some(material) } => self.switch(object, material, true).await,
            Mutation::ScheduleDeletion { object, material: None, days } => self.delete(object, *days).await,
            // What the import does here, what Azure cannot disable, and other schemes.
            _ => Err(failed(Operation::ImportKey, Class::Unsupported, "an import makes a version, and makes it current")),
        }
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let object = self.object(&target.name).await?;
        let current = object.as_ref().filter(|object| object.fits(target)).and_then(ObjectSeen::current);
        let is_it = |current: &MaterialSeen| {
            let ours = copy.public_key.as_ref().map(PublicKey::digest);
            current.id == copy.material && current.version == Some(copy.coordinates.version) && current.public_key == ours
        };
        let fits = current.is_some_and(is_it);
        let (strength, reason) = match (fits, &copy.public_key) {
            (true, Some(_)) => (EvidenceStrength::Equality, None),
            (true, None) => (EvidenceStrength::None, Some("a Managed HSM shows nothing of an AES key's bytes")),
            (false, _) => (EvidenceStrength::None, Some("the copy is not what is current there")),
        };
        Ok(Evidence {
            placement: target.placement,
            version: copy.coordinates.version,
            strength,
            fits,
            reason: reason.map(str::to_owned),
            material: object.as_ref().and_then(ObjectSeen::current).and_then(|current| current.id.clone()),
            check_value: copy.check_value,
            wrapped_under: copy.wrapped_under,
            at: now,
        })
    }
}

fn seen(newest: &Value, state: ObjectState, created: Option<Timestamp>, materials: Vec<MaterialSeen>) -> ObjectSeen {
    let key = &newest["key"];
    let may: Vec<&str> = key["key_ops"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let only = |purpose: &Purpose| !may.is_empty() && may.iter().all(|one| operations(*purpose).contains(one));
    let purpose = [Purpose::Encrypt, Purpose::Sign].into_iter().find(only);
    let all = purpose.is_some_and(|purpose| operations(purpose).iter().all(|one| may.contains(one)));
    let algorithm = algorithm(key);
    ObjectSeen {
        object: ObjectId(named(&key["kid"]).0.to_owned()),
        marks: marks(newest),
        external: algorithm.is_some(),
        algorithm,
        purpose,
        policy_fits: all && newest["attributes"]["exportable"] != true,
        state,
        created,
        materials,
    }
}

/// The type and curve of our keys, always of HSM keys; `None`: Azure has none.
fn key_type(algorithm: Algorithm) -> Option<(&'static str, Option<&'static str>)> {
    match algorithm {
        Algorithm::Aes256 => Some(("oct-HSM", None)),
        Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => Some(("RSA-HSM", None)),
        Algorithm::EcP256 => Some(("EC-HSM", Some("P-256"))),
        Algorithm::EcP384 => Some(("EC-HSM", Some("P-384"))),
        Algorithm::HmacSha256 => None,
    }
}

/// `None`: not one of ours. Azure does not show the length of an AES key.
fn algorithm(key: &Value) -> Option<Algorithm> {
    let kind = (key["kty"].as_str()?, key["crv"].as_str());
    let bits = public_key(key).map_or(0, |public| 8 * public.len());
    Algorithm::ALL.into_iter().find(|algorithm| {
        let long = match algorithm {
            Algorithm::Rsa2048 => bits == 2_048,
            Algorithm::Rsa3072 => bits == 3_072,
            Algorithm::Rsa4096 => bits == 4_096,
            Algorithm::Aes256 | Algorithm::EcP256 | Algorithm::EcP384 | Algorithm::HmacSha256 => true,
        };
        long && key_type(*algorithm) == Some(kind)
    })
}

/// The public key in the encoding of `symbols`: the modulus, or both coordinates; `None`: the key has none.
fn public_key(key: &Value) -> Option<Vec<u8>> {
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str()?).ok();
    number("n").or_else(|| Some([number("x")?, number("y")?].concat()))
}

/// The tags of what is made for a copy. Complete marks have two more.
fn tags(installation: InstallationId, placement: PlacementId, key: &KeyName, version: Version) -> Value {
    json!({
        "keyplane-installation": installation,
        "keyplane-placement": placement,
        "keyplane-key": key,
        "keyplane-version": version.to_string(),
    })
}

fn tag<T: FromStr>(of: &Value, name: &str) -> Option<T> {
    of["tags"][&format!("keyplane-{name}")].as_str()?.parse().ok()
}

fn marks(of: &Value) -> Option<Marks> {
    let (installation, placement) = (tag(of, "installation")?, tag(of, "placement")?);
    Some(Marks { installation, placement, incarnation: tag(of, "incarnation")?, attempt: tag(of, "attempt")? })
}

/// `None`: the version is not of this installation and placement.
fn version(of: &Value, installation: InstallationId, key: &Marks) -> Option<Version> {
    marks(of).filter(|marks| marks.installation == installation && marks.placement == key.placement)?;
    tag(of, "version").map(Version)
}

/// Name and version in a key id; the version is empty if there is none.
fn named(kid: &Value) -> (&str, &str) {
    let path = kid.as_str().and_then(|kid| kid.split_once("/keys/")).map_or("", |(_, path)| path);
    path.split_once('/').unwrap_or((path, ""))
}

/// Path and query of the page that follows.
fn next_page(page: &Value) -> Option<String> {
    let (_, path) = page["nextLink"].as_str()?.split_once("/keys")?;
    Some(format!("/keys{path}"))
}

fn moment(seconds: &Value) -> Option<Timestamp> {
    Some(Timestamp(seconds.as_i64()?.saturating_mul(1_000_000)))
}

fn done(_: Value) -> Acted {
    Acted::Done
}

/// `None`: the typed "not found".
fn found<T>(read: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match read {
        Err(error) if error.class == Class::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// The class of a failure that may have had an effect: for a read this one.
fn uncertain(operation: Operation, read: Class) -> Class {
    if operation.is_mutating() { Class::Ambiguous } else { read }
}

fn failed(operation: Operation, class: Class, message: &str) -> CloudError {
    CloudError { class, cause: Cause::Plain, operation: operation.name(), message: message.to_owned(), retry_after: None }
}

fn garbled(operation: Operation, message: &str) -> CloudError {
    failed(operation, uncertain(operation, Class::Broken), message)
}

/// The error for status and code, and for the nested code where it says more.
fn refused(operation: Operation, reply: &Reply) -> CloudError {
    let error = &reply.body["error"];
    let class = match (reply.status, error["code"].as_str(), error["innererror"]["code"].as_str()) {
        (429, ..) => Class::Throttled,
        (408 | 500.., ..) => uncertain(operation, Class::Transient),
        (401, ..) => Class::Denied,
        (_, None, _) => uncertain(operation, Class::Broken),
        (404, Some("KeyNotFound"), _) => Class::NotFound,
        (403, _, Some("KeyDisabled" | "KeyExpired" | "KeyNotYetValid")) => Class::Stale,
        (403, ..) => Class::Denied,
        (409, _, Some("ObjectIsDeletedButRecoverable")) => Class::AlreadyExists,
        (409, _, Some("ObjectIsBeingDeleted" | "ObjectIsBeingRecovered")) => Class::Transient,
        (409, ..) => Class::Stale,
        (405, ..) | (_, Some("NotSupported" | "NotImplemented"), _) => Class::Unsupported,
        (400..500, ..) => Class::Invalid,
        _ => uncertain(operation, Class::Broken),
    };
    let cause = if reply.status == 401 { Cause::Credentials } else { Cause::Plain };
    CloudError { cause, retry_after: reply.retry_after.map(Span::seconds), ..failed(operation, class, &error.to_string()) }
}

#[cfg(test)]
mod tests;
