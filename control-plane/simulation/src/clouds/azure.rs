//! Azure: a Managed HSM, as `adapters/azure` uses one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::str::FromStr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use keyplane_emulator_core::azure::{self as emulated, Config, Kind, Operation, Reply, Request};
use keyplane_emulator_core::frame::Frame;
use keyplane_model::{
    Algorithm, Capabilities, Class, CloudKind, CopyRecord, Creation, Destination, DestinationName, Digest, Evidence, EvidenceStrength,
    InstallationId, KeyName, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementId, PlacementSeen, Presence,
    Protection, Purpose, Quota, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, WrapFor, WrappingKey};
use serde_json::{Value, json};

use crate::net::{Line, Lost, duration};
use crate::symbols::Symbols;

const API_VERSION: &str = "7.6";

/// For how long a deleted key can be recovered, by the vault's own word and by ours.
const DELETION_DAYS: u32 = 90;

/// The requests of one look: four pages show the 100 versions that a key can have.
const LOOK: usize = 7;
/// The requests of one page of a sweep beside the list.
const SWEEP: usize = 30;
/// Keys on a page of a sweep. INVARIANT: looking at all of them costs no more than is declared (rule 8).
const SWEPT: usize = SWEEP / LOOK;

/// What a key of ours may do.
const OPERATIONS: [&str; 4] = ["encrypt", "decrypt", "wrapKey", "unwrapKey"];

/// How the names of keys to wrap under begin.
const KEK: &str = "keyplane-kek-";

/// One Managed HSM.
pub(crate) struct Azure {
    line: Line<emulated::Azure>,
    destination: Destination,
    installation: InstallationId,
}

/// A Managed HSM as a destination; its home is the vault's name.
pub(crate) fn destination(name: DestinationName) -> Destination {
    let home = format!("{name}.managedhsm.azure.net");
    let quotas = [("CreateHsm", 1), ("Operations", 1_100), ("Delete", 10)];
    let quota = |(name, calls): (&str, u32)| (name.to_owned(), Quota { calls, per: Span::seconds(1) });
    let operations = [("prepared", 2), ("wrapping-key", 2), ("disable", 1), ("enable", 1), ("schedule-deletion", 1)];
    let reads = [("look", LOOK), ("inspect", LOOK), ("evidence", LOOK), ("sweep", 1 + SWEEP)];
    let drawn = |(word, times): (&str, usize)| (word.to_owned(), vec!["Operations".to_owned(); times]);
    let mut draws: BTreeMap<_, _> = operations.into_iter().chain(reads).map(drawn).collect();
    for (word, quota) in [("prepare", "CreateHsm"), ("import", "CreateHsm"), ("schedule-deletion", "Delete")] {
        draws.entry(word.to_owned()).or_default().push(quota.to_owned());
    }
    Destination {
        name,
        cloud: CloudKind::Azure,
        fingerprint: Digest::of(format!("azure {home}").as_bytes()),
        home,
        capabilities: Capabilities {
            algorithms: BTreeMap::from([(Algorithm::Aes256, vec![WrapScheme::RsaAesKeyWrapSha1])]),
            generations: true,
            protection: Protection::Hsm,
            creation: Creation::Imported,
            prepares: true,
            consistency: Span::seconds(10),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas: quotas.map(quota).into(),
            draws,
            deletion_days: DELETION_DAYS,
        },
    }
}

/// The Managed HSM behind a destination, with the published quotas; a read may show what was so long ago.
pub(crate) fn frame(symbols: Symbols, destination: &Destination, consistency: Span) -> Frame<emulated::Azure> {
    let config = Config {
        consistency: duration(consistency),
        retention_days: DELETION_DAYS,
        ..Config::new(Kind::ManagedHsm, destination.home.as_str())
    };
    emulated::Azure::vault(config, Box::new(symbols))
}

impl Azure {
    pub(crate) fn new(line: Line<emulated::Azure>, destination: Destination, installation: InstallationId) -> Self {
        Self { line, destination, installation }
    }

    /// Sends one request. Behind the path there may be a query.
    async fn call(&self, operation: Operation, method: &str, path: &str, body: Value) -> Result<Value, CloudError> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::new(method, None, path, &format!("api-version={API_VERSION}&{query}"), body);
        match self.line.send(request).await {
            Ok(reply) if reply.status == 200 => serde_json::from_slice(&reply.body).map_err(|error| garbled(operation, &error.to_string())),
            Ok(reply) => Err(refused(operation, &reply)),
            Err(Lost) => Err(failed(operation, uncertain(operation, Class::Transient), "no answer")),
        }
    }

    async fn get(&self, operation: Operation, path: &str) -> Result<Value, CloudError> {
        self.call(operation, "GET", path, Value::Null).await
    }

    /// A key by its name; `None`: Azure says that there is none, and none that was deleted either.
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

    /// A key with all its versions; one whose newest version is not marked as ours, with that alone.
    async fn with_versions(&self, name: &str, newest: &Value) -> Result<ObjectSeen, CloudError> {
        let (kid, attributes) = (&newest["key"]["kid"], &newest["attributes"]);
        let marks = marks(newest);
        let mut listed = match &marks {
            Some(_) => self.versions(name).await?,
            None => vec![json!({ "kid": kid, "attributes": attributes })],
        };
        let created = |one: &Value| moment(&one["attributes"]["created"]);
        // Which one of a second is the newest, the key itself says.
        listed.sort_by_key(|one| Reverse((one["kid"] == *kid, created(one), one["kid"].to_string())));
        let agree = listed.first().is_some_and(|first| {
            let enabled = first["attributes"]["enabled"] == attributes["enabled"];
            first["kid"] == *kid && enabled && listed.iter().all(|one| created(one) <= created(first))
        });
        if !agree {
            return Err(failed(Operation::GetKeyVersions, Class::Transient, "two reads of the same key contradict each other"));
        }
        let materials = listed.iter().map(|one| MaterialSeen {
            id: Some(named(&one["kid"]).1.to_owned()),
            version: marks.as_ref().and_then(|marks| version(one, self.installation, marks)),
            state: if one["kid"] == *kid { MaterialState::Current } else { MaterialState::Former },
            presence: if one["attributes"]["enabled"] == true { Presence::Present } else { Presence::Disabled },
            public_key: None,
        });
        let state = if attributes["enabled"] == true { ObjectState::Usable } else { ObjectState::Disabled };
        Ok(seen(newest, state, listed.iter().filter_map(created).min(), materials.collect()))
    }

    async fn versions(&self, name: &str) -> Result<Vec<Value>, CloudError> {
        let (mut listed, mut next) = (Vec::new(), Some(format!("/keys/{name}/versions")));
        while let Some(path) = next {
            // It was there a moment ago.
            let late = || failed(Operation::GetKeyVersions, Class::Transient, "a key without versions");
            let page = found(self.get(Operation::GetKeyVersions, &path).await)?.ok_or_else(late)?;
            listed.extend(page["value"].as_array().into_iter().flatten().cloned());
            next = next_page(&page);
        }
        Ok(listed)
    }

    /// The public half of a key to wrap under, which can do nothing else (rule 11).
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
        URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap_or_default()).map_err(|error| garbled(OPERATION, &error.to_string()))
    }

    async fn switch(&self, object: &ObjectId, material: &str, enabled: bool) -> Result<Acted, CloudError> {
        let body = json!({ "attributes": { "enabled": enabled } });
        self.call(Operation::UpdateKey, "PATCH", &format!("/keys/{object}/{material}"), body).await.map(done)
    }

    /// INVARIANT: what is deleted can be recovered for as long as was said.
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

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let claimed = self.object(&target.name).await?;
        // An import is the activation: a version that is current is what the users' name leads to.
        let published = claimed.clone().filter(|object| object.current().is_some());
        Ok(PlacementSeen { claimed, published })
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.object(&object.0).await
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
                let blob = json!({
                    "schema_version": "1.0.0",
                    "header": { "kid": String::from_utf8_lossy(&wrapping_key.token), "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP" },
                    "ciphertext": URL_SAFE_NO_PAD.encode(wrapped),
                });
                let mut tags = tags(marks.installation, marks.placement, &target.key, *version);
                tags["keyplane-incarnation"] = marks.incarnation.to_string().into();
                tags["keyplane-attempt"] = marks.attempt.to_string().into();
                let body = json!({
                    "Hsm": true,
                    "key": { "kty": "oct-HSM", "key_ops": OPERATIONS, "key_hsm": URL_SAFE_NO_PAD.encode(blob.to_string()) },
                    "attributes": { "enabled": true },
                    "tags": tags,
                });
                self.call(Operation::ImportKey, "PUT", &format!("/keys/{}", target.name), body).await.map(done)
            }
            Mutation::Disable { object, material: Some(material) } => self.switch(object, material, false).await,
            Mutation::Enable { object, material: Some(material) } => self.switch(object, material, true).await,
            Mutation::ScheduleDeletion { object, material: None, days } => self.delete(object, *days).await,
            // What importing does, what Azure has no switch for, and other schemes.
            _ => Err(failed(Operation::ImportKey, Class::Unsupported, "an import makes a version, and makes it current")),
        }
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let object = self.object(&target.name).await?;
        let current = object.as_ref().filter(|object| object.fits(target)).and_then(ObjectSeen::current);
        let is_it = |current: &MaterialSeen| current.id == copy.material && current.version == Some(copy.coordinates.version);
        let fits = current.is_some_and(is_it);
        let reason = if fits { "a Managed HSM shows nothing of an AES key's bytes" } else { "the copy is not what is current there" };
        Ok(Evidence {
            placement: target.placement,
            version: copy.coordinates.version,
            strength: EvidenceStrength::None,
            fits,
            reason: Some(reason.to_owned()),
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
    let only = !may.is_empty() && may.iter().all(|one| OPERATIONS.contains(one));
    let all = OPERATIONS.iter().all(|one| may.contains(one));
    let algorithm = (key["kty"] == "oct-HSM").then_some(Algorithm::Aes256);
    ObjectSeen {
        object: ObjectId(named(&key["kid"]).0.to_owned()),
        marks: marks(newest),
        external: algorithm.is_some(),
        algorithm,
        purpose: only.then_some(Purpose::Encrypt),
        policy_fits: only && all && newest["attributes"]["exportable"] != true,
        state,
        created,
        materials,
    }
}

/// The tags of everything that is made for a copy; marks are two more.
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

/// Which version of ours it is; `None`: none of this installation's, and of the placement whose marks the key has.
fn version(of: &Value, installation: InstallationId, key: &Marks) -> Option<Version> {
    marks(of).filter(|marks| marks.installation == installation && marks.placement == key.placement)?;
    tag(of, "version").map(Version)
}

/// The name in a key's id, and the version; without one, nothing.
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

/// A typed "not found" is an answer.
fn found<T>(read: Result<T, CloudError>) -> Result<Option<T>, CloudError> {
    match read {
        Err(error) if error.class == Class::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// What a call means that may have had its effect; of a read, this.
fn uncertain(operation: Operation, read: Class) -> Class {
    if operation.is_mutating() { Class::Ambiguous } else { read }
}

fn failed(operation: Operation, class: Class, message: &str) -> CloudError {
    CloudError { class, cause: Cause::Plain, operation: operation.name(), message: message.to_owned(), retry_after: None }
}

fn garbled(operation: Operation, message: &str) -> CloudError {
    failed(operation, uncertain(operation, Class::Broken), message)
}

/// By status and code, and by the code inside where it says more.
fn refused(operation: Operation, reply: &Reply) -> CloudError {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let error = &body["error"];
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
mod tests {
    use std::sync::Arc;

    use futures::channel::oneshot;
    use keyplane_emulator_core::crypto::OaepHash;
    use keyplane_emulator_core::fault::{Effect, Rule};

    use super::*;
    use crate::executor::{Parties, Sim, Stopped, Wire};
    use crate::net::Site;

    const SHA1: WrapScheme = WrapScheme::RsaAesKeyWrapSha1;

    struct World {
        sim: Arc<Sim>,
        site: Arc<Site<emulated::Azure>>,
        symbols: Symbols,
        hsm: Azure,
    }

    /// Lets one task run to its end.
    fn run<F: Future<Output = ()> + Send + 'static>(consistency: Span, task: impl FnOnce(World) -> F) {
        let (sim, symbols) = (Sim::new(7, false), Symbols::default());
        let destination = destination("corp".parse().unwrap());
        let site = Site::new(frame(symbols.clone(), &destination, consistency), 7);
        let line = Line::new(Arc::clone(&sim), Arc::clone(&site), Wire::new(), "test");
        let hsm = Azure::new(line, destination, target().installation);
        let mut parties = Parties::new(Arc::clone(&sim));
        let task = task(World { sim: Arc::clone(&sim), site, symbols, hsm });
        let (end, mut ended) = oneshot::channel();
        parties.spawn(0, async move {
            task.await;
            end.send(()).unwrap();
        });
        assert_eq!(parties.run(sim.now() + Span::days(1)), Stopped::Quiet);
        assert_eq!(ended.try_recv(), Ok(Some(())), "the task has not come to its end");
    }

    fn id<T: FromStr<Err: std::fmt::Debug>>(digit: u8) -> T {
        format!("{digit}0000000-0000-8000-8000-000000000000").parse().unwrap()
    }

    fn target() -> Target {
        Target {
            installation: id(1),
            placement: id(2),
            incarnation: 1,
            name: "payments-db".into(),
            algorithm: Algorithm::Aes256,
            purpose: Purpose::Encrypt,
            key: "payments-db".parse().unwrap(),
        }
    }

    fn object() -> ObjectId {
        ObjectId(target().name)
    }

    impl World {
        /// An act, and the time that the quota wants behind it.
        async fn act(&self, mutation: Mutation) -> Result<Acted, CloudError> {
            let acted = self.hsm.act(&mutation).await;
            self.sim.sleep(Span::seconds(1)).await;
            acted
        }

        /// Has a key to wrap under made.
        async fn kek(&self, version: u32) -> ObjectId {
            match self.act(Mutation::Prepare { target: target(), version: Version(version), scheme: SHA1 }).await {
                Ok(Acted::Created(kek)) => kek,
                other => panic!("{other:?}"),
            }
        }

        /// What the HSM does, and the import.
        async fn import(&self, version: u32, kek: &ObjectId, hash: OaepHash) -> Result<Acted, CloudError> {
            let spki = self.hsm.wrapping_key(&WrapFor::Prepared(kek.clone()), SHA1).await?.spki;
            let aes = self.symbols.key("transport");
            let material = self.symbols.kwp(&aes, &self.symbols.key("material"));
            self.send(version, kek, [self.symbols.oaep(&spki, hash, &aes), material].concat()).await
        }

        async fn send(&self, version: u32, kek: &ObjectId, wrapped: Vec<u8>) -> Result<Acted, CloudError> {
            let wrapping_key = WrappingKey { spki: Vec::new(), scheme: SHA1, token: kek.0.clone().into_bytes(), valid_until: None };
            let marks = Marks { installation: id(1), placement: id(2), incarnation: 1, attempt: id(4) };
            let (version, object, again, public_key) = (Version(version), None, None, None);
            self.act(Mutation::Import { target: target(), object, marks, again, version, public_key, wrapping_key, wrapped }).await
        }

        async fn look(&self) -> PlacementSeen {
            self.hsm.look(&target()).await.unwrap()
        }

        /// The names that a whole sweep finds, however many pages it has.
        async fn swept(&self) -> Vec<String> {
            let (mut names, mut cursor) = (Vec::new(), None);
            loop {
                let page = self.hsm.sweep(cursor.as_ref()).await.unwrap();
                assert_eq!(page.broken, 0);
                names.extend(page.objects.into_iter().map(|object| object.object.0));
                cursor = page.next;
                if cursor.is_none() {
                    return names;
                }
            }
        }

        /// Makes a key as somebody else would; its id.
        async fn make(&self, name: &str, kty: &str) -> ObjectId {
            let path = format!("/keys/{name}/create");
            let made = self.hsm.call(Operation::CreateKey, "POST", &path, json!({ "kty": kty })).await.unwrap();
            self.sim.sleep(Span::seconds(1)).await;
            ObjectId(made["key"]["kid"].as_str().unwrap().to_owned())
        }
    }

    #[test]
    fn a_key_comes_to_be_and_goes() {
        run(Span::ZERO, |world| async move {
            assert_eq!(world.look().await, PlacementSeen::default());
            let claim = world.act(Mutation::Claim { target: target(), object: object() }).await;
            assert_eq!(claim.unwrap_err().class, Class::Unsupported, "a name is a claim");
            let mut ids = Vec::new();
            for version in [1, 2] {
                let kek = world.kek(version).await;
                let prepared = world.hsm.prepared(&target(), Version(version), Some(&kek)).await.unwrap();
                assert_eq!(prepared, Some(Prepared { wrapping: kek.clone(), ready: true }));
                assert_eq!(world.import(version, &kek, OaepHash::Sha1).await, Ok(Acted::Done));
                let seen = world.look().await;
                let claimed = seen.claimed.clone().unwrap();
                assert!(claimed.fits(&target()) && claimed.state == ObjectState::Usable && seen.published == seen.claimed, "{claimed:?}");
                let current = claimed.current().unwrap();
                assert!(current.version == Some(Version(version)) && current.is_present(), "{current:?}");
                ids.push(current.id.clone().unwrap());
            }
            assert_eq!(world.swept().await, ["payments-db"], "and no key to wrap under");

            for (material, state) in ids.iter().zip([ObjectState::Usable, ObjectState::Disabled]) {
                world.act(Mutation::Disable { object: object(), material: Some(material.clone()) }).await.unwrap();
                let seen = world.hsm.inspect(&object()).await.unwrap().unwrap();
                let disabled = seen.materials.iter().find(|one| one.id.as_ref() == Some(material)).unwrap();
                assert!(seen.state == state && disabled.presence == Presence::Disabled, "{seen:?}");
            }
            world.act(Mutation::Enable { object: object(), material: ids.pop() }).await.unwrap();
            assert_eq!(world.look().await.claimed.unwrap().state, ObjectState::Usable);

            let early = world.act(Mutation::ScheduleDeletion { object: object(), material: None, days: 7 }).await;
            assert_eq!(early.unwrap_err().class, Class::Invalid, "the vault keeps it for longer");
            world.act(Mutation::ScheduleDeletion { object: object(), material: None, days: DELETION_DAYS }).await.unwrap();
            let PlacementSeen { claimed, published } = world.look().await;
            let ObjectState::DeletionScheduled(Some(purge)) = claimed.unwrap().state else { panic!("it is deleted") };
            assert!(purge > world.sim.now() + Span::days(DELETION_DAYS - 1) && published.is_none());
            assert!(world.swept().await.is_empty());
            let taken = world.import(3, &world.kek(3).await, OaepHash::Sha1).await;
            assert_eq!(taken.unwrap_err().class, Class::AlreadyExists, "a deleted key keeps its name");
            let gone = world.act(Mutation::Disable { object: ObjectId("other".into()), material: ids.pop() }).await;
            assert_eq!(gone.unwrap_err().class, Class::NotFound);
        });
    }

    #[test]
    fn what_others_made_is_not_ours() {
        run(Span::ZERO, |world| async move {
            for name in ["a", "b", "c", "d", "payments-db"] {
                world.make(name, "oct-HSM").await;
            }
            let seen = world.look().await.claimed.unwrap();
            assert!(seen.marks.is_none() && !seen.fits(&target()), "{seen:?}");
            assert!(world.swept().await.is_empty());
            world.import(1, &world.kek(1).await, OaepHash::Sha1).await.unwrap();
            assert_eq!(world.swept().await, ["payments-db"], "on the second page");
            let seen = world.look().await.claimed.unwrap();
            assert_eq!(seen.materials.iter().map(|one| one.version).collect::<Vec<_>>(), [Some(Version(1)), None]);
        });
    }

    #[test]
    fn what_is_not_wrapped_as_agreed_is_refused_and_makes_nothing() {
        run(Span::ZERO, |world| async move {
            let (kek, other) = (world.kek(1).await, world.kek(2).await);
            let refused = world.import(1, &kek, OaepHash::Sha256).await;
            assert_eq!(refused.unwrap_err().class, Class::Invalid);
            let spki = world.hsm.kek(&kek).await.unwrap();
            assert_ne!(spki, world.hsm.kek(&other).await.unwrap());
            let wrapped = [world.symbols.oaep(&spki, OaepHash::Sha1, &[1; 32]), world.symbols.kwp(&[1; 32], &[2; 32])].concat();
            assert_eq!(world.send(1, &other, wrapped.clone()).await.unwrap_err().class, Class::Invalid, "it is under another key");
            assert_eq!(world.look().await.claimed, None);
            assert_eq!(world.send(1, &kek, wrapped).await, Ok(Acted::Done));
        });
    }

    #[test]
    fn what_could_decrypt_or_is_switched_off_is_not_wrapped_under() {
        run(Span::ZERO, |world| async move {
            let (usual, off) = (world.make("keyplane-kek-usual", "RSA-HSM").await, world.kek(1).await);
            let off_id = json!(off);
            let (name, version) = named(&off_id);
            world.hsm.switch(&ObjectId(name.into()), version, false).await.unwrap();
            for kid in [usual, off] {
                assert_eq!(world.hsm.kek(&kid).await.unwrap_err().cause, Cause::ImportTokenExpired);
                assert_eq!(world.hsm.prepared(&target(), Version(1), Some(&kid)).await, Ok(None));
            }
        });
    }

    #[test]
    fn a_failure_is_ambiguous_exactly_where_it_may_have_had_its_effect() {
        use Effect::{Deny, LostReply, ServerError, Throttle};
        run(Span::ZERO, |world| async move {
            let kek = world.kek(1).await;
            for (effect, mutation, read) in [
                (Throttle, Class::Throttled, Class::Throttled),
                (Deny, Class::Denied, Class::Denied),
                (ServerError { applied: false }, Class::Ambiguous, Class::Transient),
                (LostReply, Class::Ambiguous, Class::Transient),
            ] {
                assert_eq!(world.look().await.claimed, None);
                for operation in ["ImportKey", "GetKeys"] {
                    world.site.inside(|frame, _| frame.faults().add(Rule::on_operation(operation, effect.clone())));
                }
                let failed = world.import(1, &kek, OaepHash::Sha1).await.unwrap_err();
                assert_eq!((failed.class, failed.retry_after.is_some()), (mutation, mutation == Class::Throttled), "{effect:?}");
                assert_eq!(world.hsm.sweep(None).await.unwrap_err().class, read, "{effect:?}");
            }
            assert!(world.look().await.claimed.is_some(), "the reply was lost, the import was not");
        });
    }

    /// Whoever believed them would take the newest version for a former one.
    #[test]
    fn two_reads_that_contradict_each_other_are_no_answer() {
        run(Span::seconds(10), |world| async move {
            let keks = (world.kek(1).await, world.kek(2).await);
            world.sim.sleep(Span::seconds(10)).await;
            world.import(1, &keks.0, OaepHash::Sha1).await.unwrap();
            world.sim.sleep(Span::seconds(10)).await;
            world.import(2, &keks.1, OaepHash::Sha1).await.unwrap();
            let mut contradictions = 0;
            for _ in 0..20 {
                match world.hsm.look(&target()).await {
                    Ok(seen) => {
                        let object = seen.claimed.unwrap();
                        assert_eq!(object.current().unwrap().version, object.materials.iter().filter_map(|one| one.version).max());
                    }
                    Err(error) => {
                        assert_eq!(error.class, Class::Transient, "{error}");
                        contradictions += 1;
                    }
                }
            }
            assert!(contradictions > 0);
        });
    }
}
