//! Google Cloud KMS at the protection level SOFTWARE: what `adapters/gcp` does, for AES-256 keys.
//!
//! A destination is a project of its own name, with one key ring. An object is a crypto key, a material a version of it by its
//! number, a wrapping key an import job of ours, which serves one copy and no other.

use std::cmp::Ordering;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::join_all;
use keyplane_emulator_core::Timestamp as CoreTime;
use keyplane_emulator_core::frame::Frame;
use keyplane_emulator_core::gcp::{Config, Method, Project, Request};
use keyplane_model::{
    Algorithm, Capabilities, Class, CloudKind, CopyRecord, Creation, Destination, DestinationName, Digest, Evidence, EvidenceStrength,
    InstallationId, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementId, PlacementSeen, Presence,
    Protection, Purpose, Quota, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, WrapFor, WrappingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};

use crate::net::{Line, duration};
use crate::symbols::Symbols;

const LOCATION: &str = "europe-west3";
const PURPOSE: &str = "ENCRYPT_DECRYPT";
const ALGORITHM: &str = "GOOGLE_SYMMETRIC_ENCRYPTION";
const LEVEL: &str = "SOFTWARE";

/// How many keys a page of a sweep lists: one read for each of them, and one for the list.
const SWEEP_KEYS: usize = 12;

/// Google Cloud KMS in one key ring.
pub(crate) struct Gcp {
    line: Line<Project>,
    destination: Destination,
    installation: InstallationId,
}

/// The destination of this name, as the adapter declares one.
pub(crate) fn destination(name: DestinationName) -> Destination {
    const DRAWS: [(&str, usize, usize); 6] = [
        ("create publish disable enable", 0, 1),
        ("prepare import", 1, 1),
        ("prepared", 2, 0),
        ("wrapping-key", 1, 0),
        ("look inspect evidence", 4, 0),
        ("sweep", 1 + SWEEP_KEYS, 0),
    ];
    let drawn = |reads, writes| std::iter::repeat_n("Read", reads).chain(std::iter::repeat_n("Write", writes)).map(str::to_owned);
    let draws = DRAWS
        .iter()
        .flat_map(|(words, reads, writes)| words.split(' ').map(move |word| (word.to_owned(), drawn(*reads, *writes).collect())));
    let capabilities = Capabilities {
        algorithms: [(Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256])].into(),
        generations: true,
        protection: Protection::Software,
        creation: Creation::Named,
        prepares: true,
        consistency: Span::seconds(10),
        call_timeout: Span::seconds(10),
        equal_reads: 3,
        quotas: [("Read", 600), ("Write", 60)].map(|(name, calls)| (name.to_owned(), Quota { calls, per: Span::seconds(60) })).into(),
        draws: draws.collect(),
        deletion_days: 30,
    };
    let fingerprint = Digest::of(ring(&name).as_bytes());
    Destination { cloud: CloudKind::Gcp, home: format!("{name}/{LOCATION}"), fingerprint, capabilities, name }
}

/// The project of this name, with its key ring and the published quotas. Nobody has to show a token.
pub(crate) fn frame(symbols: Symbols, name: &DestinationName, consistency: Span) -> Frame<Project> {
    let config = Config { project: name.to_string(), consistency: duration(consistency), ..Config::default() };
    let mut frame = Frame::<Project>::new(config, Box::new(symbols));
    let path = format!("/v1/projects/{name}/locations/{LOCATION}/keyRings");
    let query = vec![("keyRingId".to_owned(), "ring".into())];
    // Long before a run begins, so that its quota is whole again. Nothing about a ring is random.
    let request = Request { method: Method::Post, path, query, body: Vec::new() };
    frame.handle(CoreTime::from_micros(0), &mut ChaCha20Rng::seed_from_u64(0), &request);
    frame
}

fn ring(name: &DestinationName) -> String {
    format!("projects/{name}/locations/{LOCATION}/keyRings/ring")
}

#[async_trait]
impl Cloud for Gcp {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    /// A key and its name are one: what has the name is the placement's object, and is published once it has a primary version.
    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let Some((object, published)) = self.key(&target.name).await? else { return Ok(PlacementSeen::default()) };
        Ok(PlacementSeen { published: published.then(|| object.clone()), claimed: Some(object) })
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        Ok(self.key(&object.0).await?.map(|(object, _)| object))
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        let size = SWEEP_KEYS.to_string();
        let query: Vec<_> = [("pageSize", &*size)].into_iter().chain(cursor.map(|Cursor(token)| ("pageToken", &**token))).collect();
        let listed = self.get("ListCryptoKeys", "cryptoKeys", &query).await?;
        let keys = items(&listed["cryptoKeys"]).filter(|key| marks(&key["labels"]).is_some());
        let mut page = Page { next: listed["nextPageToken"].as_str().map(|token| Cursor(token.to_owned())), ..Page::default() };
        for read in join_all(keys.map(|key| self.details(key))).await {
            match read {
                Ok((object, _)) => page.objects.push(object),
                Err(error) if matches!(error.class, Class::Transient | Class::Throttled) || error.cause != Cause::Plain => {
                    return Err(error);
                }
                Err(_) => page.broken += 1,
            }
        }
        Ok(page)
    }

    /// The newest one that did not run out, whoever made it: its name is ours.
    async fn prepared(&self, target: &Target, version: Version, _: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        let jobs = self.jobs(target.placement, version).await?;
        let usable = jobs.into_iter().rev().find(|(_, job)| job["state"] != "EXPIRED");
        Ok(usable.map(|(wrapping, job)| Prepared { wrapping, ready: job["state"] == "ACTIVE" }))
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        let failed = |class, message| error("GetImportJob", class, message);
        let WrapFor::Prepared(id) = from else { return Err(failed(Class::Unsupported, "a key to wrap under comes from an import job")) };
        let job = self.get("GetImportJob", &format!("importJobs/{id}"), &[]).await?;
        match job["state"].as_str() {
            Some("ACTIVE") => {}
            Some("EXPIRED") => return Err(ran_out(failed(Class::Stale, "the import job ran out"))),
            _ => return Err(failed(Class::Transient, "the import job is still being made")),
        }
        if method(scheme).is_none() || job["importMethod"].as_str() != method(scheme) {
            return Err(failed(Class::Stale, "the import job does not unwrap that"));
        }
        let pem = job["publicKey"]["pem"].as_str().unwrap_or_default().lines();
        let base64: String = pem.filter(|line| !line.starts_with('-')).collect();
        let spki = STANDARD.decode(base64).map_err(|_| failed(Class::Broken, "a public key that is not PEM"))?;
        Ok(WrappingKey { spki, scheme, token: id.0.clone().into_bytes(), valid_until: time(&job["expireTime"]) })
    }

    /// What Google Cloud has no request for is unsupported: a claim, deleting a key, and switching all of it on or off.
    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        match mutation {
            Mutation::Create { target, marks } => self.create(target, marks).await,
            Mutation::Prepare { target, version, scheme } => self.prepare(target, *version, *scheme).await,
            Mutation::Import { object: Some(object), again, wrapping_key, wrapped, .. } => {
                self.import(object, again.as_deref(), wrapping_key, wrapped).await
            }
            Mutation::Publish { object, material: Some(number), .. } => {
                let (path, body) = (format!("cryptoKeys/{object}:updatePrimaryVersion"), json!({ "cryptoKeyVersionId": number }));
                self.send("UpdateCryptoKeyPrimaryVersion", Method::Post, &path, &[], &body).await.map(|_| Acted::Done)
            }
            Mutation::Disable { object, material: Some(number) } => self.switch(object, number, "DISABLED").await,
            Mutation::Enable { object, material: Some(number) } => self.switch(object, number, "ENABLED").await,
            other => Err(error(other.word(), Class::Unsupported, "there is no such request")),
        }
    }

    /// The version that the import was confirmed with is still there, of our job, and no other took its place: more it does not show.
    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let object = self.key(&target.name).await?;
        let object = object.as_ref().map(|(object, _)| object);
        let (version, current) = (copy.coordinates.version, object.and_then(ObjectSeen::current));
        let held = object.into_iter().flat_map(|object| &object.materials).find(|material| material.id == copy.material);
        let fits = held.is_some_and(|held| {
            object.is_some_and(|object| object.fits(target))
                && held.version == Some(version)
                && matches!(held.presence, Presence::Present | Presence::Disabled)
                && current.is_none_or(|current| current.id == held.id || current.version > held.version)
        });
        let reason = if fits { "Google Cloud shows nothing of a software key's bytes" } else { "the version is not there as it was" };
        Ok(Evidence {
            placement: target.placement,
            version,
            strength: EvidenceStrength::None,
            fits,
            reason: Some(reason.to_owned()),
            material: held.or(current).and_then(|material| material.id.clone()),
            check_value: copy.check_value,
            wrapped_under: copy.wrapped_under,
            at: now,
        })
    }
}

impl Gcp {
    pub(crate) fn new(line: Line<Project>, destination: Destination, installation: InstallationId) -> Self {
        Self { line, destination, installation }
    }

    async fn create(&self, target: &Target, marks: &Marks) -> Result<Acted, CloudError> {
        let key = json!({
            "purpose": PURPOSE,
            "importOnly": true,
            "versionTemplate": { "algorithm": ALGORITHM, "protectionLevel": LEVEL },
            "destroyScheduledDuration": format!("{}s", u64::from(self.destination.capabilities.deletion_days) * 86_400),
            "labels": labels(marks),
        });
        let query = [("cryptoKeyId", &*target.name), ("skipInitialVersionCreation", "true")];
        self.send("CreateCryptoKey", Method::Post, "cryptoKeys", &query, &key).await?;
        Ok(Acted::Created(ObjectId(target.name.clone())))
    }

    /// Under the first id that is free: jobs are never deleted, so those before it are all there.
    async fn prepare(&self, target: &Target, version: Version, scheme: WrapScheme) -> Result<Acted, CloudError> {
        const OPERATION: &str = "CreateImportJob";
        let Some(method) = method(scheme) else { return Err(error(OPERATION, Class::Unsupported, "no import job of ours unwraps that")) };
        let id = job_id(target.placement, version, self.jobs(target.placement, version).await?.len() + 1);
        let job = json!({ "importMethod": method, "protectionLevel": LEVEL });
        self.send(OPERATION, Method::Post, "importJobs", &[("importJobId", &id.0)], &job).await?;
        Ok(Acted::Created(id))
    }

    /// Without a version it makes a new one, with the next number; into one (`again`) it restores the same bytes.
    async fn import(&self, object: &ObjectId, again: Option<&str>, under: &WrappingKey, wrapped: &[u8]) -> Result<Acted, CloudError> {
        let job = format!("importJobs/{}", String::from_utf8_lossy(&under.token));
        let versions = format!("cryptoKeys/{object}/cryptoKeyVersions");
        let order = json!({
            "algorithm": ALGORITHM,
            "importJob": self.name(&job),
            "cryptoKeyVersion": again.map(|number| self.name(&format!("{versions}/{number}"))),
            "wrappedKey": STANDARD.encode(wrapped),
        });
        match self.send("ImportCryptoKeyVersion", Method::Post, &format!("{versions}:import"), &[], &order).await {
            // Google Cloud does not say which code an expired job has: its state tells.
            Err(refused) if matches!(refused.class, Class::Stale | Class::Invalid | Class::NotFound) => {
                let expired = self.get("GetImportJob", &job, &[]).await.is_ok_and(|job| job["state"] == "EXPIRED");
                Err(if expired { ran_out(refused) } else { refused })
            }
            answer => answer.map(|_| Acted::Done),
        }
    }

    async fn switch(&self, object: &ObjectId, number: &str, state: &str) -> Result<Acted, CloudError> {
        let (path, query) = (format!("cryptoKeys/{object}/cryptoKeyVersions/{number}"), [("updateMask", "state")]);
        self.send("UpdateCryptoKeyVersion", Method::Patch, &path, &query, &json!({ "state": state })).await.map(|_| Acted::Done)
    }

    /// A key by its id, and whether it is published; `None`: a typed "not found".
    async fn key(&self, id: &str) -> Result<Option<(ObjectSeen, bool)>, CloudError> {
        let Some(key) = found(self.get("GetCryptoKey", &format!("cryptoKeys/{id}"), &[]).await)? else { return Ok(None) };
        // It was there a moment ago: reads that contradict each other show nothing.
        self.details(&key).await.map(Some).map_err(|error| match error.class {
            Class::NotFound => CloudError { class: Class::Transient, ..error },
            _ => error,
        })
    }

    /// What a key is and holds, and whether it is published. One that is not marked as ours is not read any further.
    async fn details(&self, key: &Value) -> Result<(ObjectSeen, bool), CloudError> {
        let (id, primary) = (last(&key["name"]).unwrap_or_default(), last(&key["primary"]["name"]));
        let template = &key["versionTemplate"];
        let known = key["purpose"] == PURPOSE && template["algorithm"] == ALGORITHM && template["protectionLevel"] == LEVEL;
        let mut object = ObjectSeen {
            object: ObjectId(id.to_owned()),
            marks: marks(&key["labels"]),
            external: key["importOnly"] == true && key["nextRotationTime"].is_null(),
            algorithm: known.then_some(Algorithm::Aes256),
            purpose: known.then_some(Purpose::Encrypt),
            policy_fits: true,
            state: ObjectState::Other,
            created: time(&key["createTime"]),
            materials: Vec::new(),
        };
        if let Some(marks) = &object.marks {
            let placement = (marks.installation == self.installation).then_some(marks.placement);
            let path = format!("cryptoKeys/{id}/cryptoKeyVersions");
            let listed = self.get("ListCryptoKeyVersions", &path, &[("pageSize", "1000")]).await?;
            // The lowest number comes first: of two imports of one copy, that one is kept.
            let versions = items(&listed["cryptoKeyVersions"]);
            object.materials = versions.map(|version| material(version, placement)).collect::<Result<_, _>>()?;
            let current = object.materials.iter().position(|material| material.id.as_deref() == primary);
            for (at, material) in object.materials.iter_mut().enumerate() {
                material.state = match current.map(|current| at.cmp(&current)) {
                    Some(Ordering::Equal) => MaterialState::Current,
                    Some(Ordering::Less) => MaterialState::Former,
                    Some(Ordering::Greater) | None => MaterialState::Pending,
                };
            }
            object.state = state(&object.materials);
        }
        Ok((object, primary.is_some()))
    }

    /// The import jobs for a copy, oldest first.
    async fn jobs(&self, placement: PlacementId, version: Version) -> Result<Vec<(ObjectId, Value)>, CloudError> {
        let mut jobs = Vec::new();
        loop {
            let id = job_id(placement, version, jobs.len() + 1);
            let Some(job) = found(self.get("GetImportJob", &format!("importJobs/{id}"), &[]).await)? else { return Ok(jobs) };
            jobs.push((id, job));
        }
    }

    async fn get(&self, operation: &'static str, path: &str, query: &[(&str, &str)]) -> Result<Value, CloudError> {
        self.send(operation, Method::Get, path, query, &json!({})).await
    }

    /// One request about something in the ring, and its answer.
    async fn send(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> Result<Value, CloudError> {
        let mutates = method != Method::Get;
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let request = Request { method, path: format!("/v1/{}", self.name(path)), query, body: body.to_string().into_bytes() };
        let Ok(reply) = self.line.send(request).await else { return Err(error(operation, uncertain(mutates), "no answer came")) };
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        if reply.status == 200 { Ok(answer) } else { Err(refusal(operation, mutates, reply.status, &answer["error"])) }
    }

    /// The whole name of something in the ring.
    fn name(&self, path: &str) -> String {
        format!("{}/{path}", ring(&self.destination.name))
    }
}

fn error(operation: &'static str, class: Class, message: &str) -> CloudError {
    CloudError { class, cause: Cause::Plain, operation, message: message.to_owned(), retry_after: None }
}

fn ran_out(error: CloudError) -> CloudError {
    CloudError { class: Class::Stale, cause: Cause::ImportTokenExpired, ..error }
}

fn uncertain(mutates: bool) -> Class {
    if mutates { Class::Ambiguous } else { Class::Transient }
}

/// What a refusal means, by the name of its canonical code.
fn refusal(operation: &'static str, mutates: bool, status: u16, refused: &Value) -> CloudError {
    let code = refused["status"].as_str().unwrap_or_default();
    let class = match code {
        "NOT_FOUND" => Class::NotFound,
        "ALREADY_EXISTS" => Class::AlreadyExists,
        "RESOURCE_EXHAUSTED" => Class::Throttled,
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => Class::Denied,
        "FAILED_PRECONDITION" | "ABORTED" => Class::Stale,
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => Class::Invalid,
        "UNIMPLEMENTED" => Class::Unsupported,
        "DEADLINE_EXCEEDED" | "UNKNOWN" | "DATA_LOSS" | "CANCELLED" => uncertain(mutates),
        _ if status >= 500 || mutates => uncertain(mutates),
        _ => Class::Broken,
    };
    let wait = items(&refused["details"]).find_map(|detail| detail["retryDelay"].as_str()?.strip_suffix('s')?.parse().ok());
    let cause = if code == "UNAUTHENTICATED" { Cause::Credentials } else { Cause::Plain };
    CloudError { cause, retry_after: wait.map(Span::seconds), ..error(operation, class, &format!("{code}: {}", refused["message"])) }
}

/// What was read; `None`: a typed "not found".
fn found(read: Result<Value, CloudError>) -> Result<Option<Value>, CloudError> {
    match read {
        Err(error) if error.class == Class::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn material(version: &Value, placement: Option<PlacementId>) -> Result<MaterialSeen, CloudError> {
    let presence = match version["state"].as_str() {
        Some("ENABLED") => Presence::Present,
        Some("DISABLED") => Presence::Disabled,
        Some("DESTROY_SCHEDULED") => Presence::Leaving,
        Some("PENDING_IMPORT" | "PENDING_GENERATION") => Presence::Arriving,
        Some("IMPORT_FAILED") => Presence::Failed(version["importFailureReason"].as_str().unwrap_or("no reason was given").to_owned()),
        Some("DESTROYED") => Presence::Missing,
        _ => return Err(error("ListCryptoKeyVersions", Class::Broken, "a version in a state that is not known")),
    };
    // A version has no labels: the import job that it came through says what it is.
    let ours = placement.zip(last(&version["importJob"])).and_then(|(placement, job)| job_version(placement, job));
    Ok(MaterialSeen {
        id: last(&version["name"]).map(str::to_owned),
        version: ours,
        state: MaterialState::Pending,
        presence,
        public_key: None,
    })
}

/// The state of a key, from that of its versions: it has none of its own.
fn state(materials: &[MaterialSeen]) -> ObjectState {
    if materials.iter().any(MaterialSeen::is_present) {
        ObjectState::Usable
    } else if materials.iter().any(|material| material.presence == Presence::Disabled) {
        ObjectState::Disabled
    } else {
        ObjectState::AwaitingMaterial
    }
}

fn labels(marks: &Marks) -> Value {
    json!({
        "keyplane-installation": marks.installation,
        "keyplane-placement": marks.placement,
        "keyplane-incarnation": marks.incarnation.to_string(),
        "keyplane-attempt": marks.attempt,
    })
}

fn marks(labels: &Value) -> Option<Marks> {
    Some(Marks {
        installation: labels["keyplane-installation"].as_str()?.parse().ok()?,
        placement: labels["keyplane-placement"].as_str()?.parse().ok()?,
        incarnation: labels["keyplane-incarnation"].as_str()?.parse().ok()?,
        attempt: labels["keyplane-attempt"].as_str()?.parse().ok()?,
    })
}

/// The id of the `n`th import job for a copy: the job of a material names its version.
fn job_id(placement: PlacementId, version: Version, n: usize) -> ObjectId {
    ObjectId(format!("kp-{}-v{version}-{n}", placement.to_string().replace('-', "")))
}

/// Which version of a placement an import job was made for; `None`: not one of ours for this placement.
fn job_version(placement: PlacementId, id: &str) -> Option<Version> {
    let (_, number) = id.split_once("-v")?;
    let (version, n) = number.split_once('-')?;
    let version = Version(version.parse().ok()?);
    (job_id(placement, version, n.parse().ok()?).0 == id).then_some(version)
}

fn method(scheme: WrapScheme) -> Option<&'static str> {
    match scheme {
        WrapScheme::RsaOaepSha256 => Some("RSA_OAEP_4096_SHA256"),
        WrapScheme::RsaAesKeyWrapSha256 => Some("RSA_OAEP_4096_SHA256_AES_256"),
        WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha1 => None,
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The last part of a name.
fn last(name: &Value) -> Option<&str> {
    name.as_str()?.rsplit('/').next()
}

fn time(text: &Value) -> Option<Timestamp> {
    text.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::channel::oneshot;
    use keyplane_emulator_core::crypto::OaepHash;
    use keyplane_emulator_core::fault::{Effect, Rule};
    use keyplane_emulator_core::gcp::{BadMaterial, ExpiredJob};
    use keyplane_model::{CopyCoordinates, EpochId, Source};

    use super::*;
    use crate::executor::{Parties, Sim, Stopped, Wire};
    use crate::net::Site;

    struct Rig {
        cloud: Gcp,
        site: Arc<Site<Project>>,
        sim: Arc<Sim>,
        symbols: Symbols,
    }

    /// Runs a test to its end, in virtual time.
    fn run<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Rig) -> F) {
        let (sim, symbols, name) = (Sim::new(7, false), Symbols::default(), "gcp".parse().unwrap());
        let site = Site::new(frame(symbols.clone(), &name, Span::seconds(10)), 7);
        let line = Line::new(Arc::clone(&sim), Arc::clone(&site), Wire::new(), "server>gcp");
        let cloud = Gcp::new(line, destination(name), id('1'));
        let mut parties = Parties::new(Arc::clone(&sim));
        let test = test(Rig { cloud, site, sim: Arc::clone(&sim), symbols });
        let (end, mut ended) = oneshot::channel();
        parties.spawn(1, async move {
            test.await;
            end.send(()).unwrap();
        });
        assert_eq!(parties.run(sim.now() + Span::days(30)), Stopped::Quiet);
        assert_eq!(ended.try_recv(), Ok(Some(())), "the test has not come to its end");
    }

    impl Rig {
        fn fault(&self, operation: &str, effect: Effect) {
            let rule = Rule { operation: Some(operation.to_owned()), mutation: None, skip: 0, times: Some(1), effect };
            self.site.inside(|frame, _| frame.faults().add(rule));
        }

        async fn act(&self, mutation: Mutation) -> Result<Acted, (Class, Cause)> {
            self.cloud.act(&mutation).await.map_err(|error| (error.class, error.cause))
        }

        /// Has a job made, and gives its key as soon as it is there.
        async fn wrapping_key(&self, scheme: WrapScheme) -> WrappingKey {
            let Ok(Acted::Created(job)) = self.act(prepare(scheme)).await else { panic!() };
            let prepared = self.cloud.prepared(&target(), Version(1), None).await.unwrap();
            assert_eq!(prepared, Some(Prepared { wrapping: job.clone(), ready: false }));
            let from = WrapFor::Prepared(job.clone());
            assert_eq!(self.cloud.wrapping_key(&from, scheme).await.unwrap_err().class, Class::Transient);
            self.sim.sleep(Span::seconds(1)).await;
            let prepared = self.cloud.prepared(&target(), Version(1), None).await.unwrap();
            assert_eq!(prepared, Some(Prepared { wrapping: job, ready: true }));
            self.cloud.wrapping_key(&from, scheme).await.unwrap()
        }

        /// What the HSM does.
        fn wrap(&self, under: &WrappingKey, material: &[u8]) -> Vec<u8> {
            let oaep = |plaintext: &[u8]| self.symbols.oaep(&under.spki, OaepHash::Sha256, plaintext);
            match under.scheme {
                WrapScheme::RsaOaepSha256 => oaep(material),
                _ => {
                    let kek = self.symbols.key("kek");
                    [oaep(&kek), self.symbols.kwp(&kek, material)].concat()
                }
            }
        }

        async fn fits(&self, version: u32, recorded: Option<&str>) -> bool {
            self.cloud.evidence(&target(), &copy(version, recorded), Timestamp(0)).await.unwrap().fits
        }

        /// The materials of the key, once the cloud has finished its work on them.
        async fn materials(&self) -> Vec<MaterialSeen> {
            self.sim.sleep(Span::seconds(1)).await;
            self.cloud.inspect(&object()).await.unwrap().unwrap().materials
        }
    }

    fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(digit: char) -> T {
        "xxxxxxxx-0000-8000-8000-000000000000".replace('x', &digit.to_string()).parse().unwrap()
    }

    fn target() -> Target {
        let (ObjectId(name), key) = (object(), "payments".parse().unwrap());
        let (algorithm, purpose) = (Algorithm::Aes256, Purpose::Encrypt);
        Target { installation: id('1'), placement: id('2'), incarnation: 3, name, algorithm, purpose, key }
    }

    fn object() -> ObjectId {
        ObjectId("payments-db".to_owned())
    }

    fn ours() -> Marks {
        Marks { installation: id('1'), placement: id('2'), incarnation: 3, attempt: id('4') }
    }

    fn creation() -> Mutation {
        Mutation::Create { target: target(), marks: ours() }
    }

    fn prepare(scheme: WrapScheme) -> Mutation {
        Mutation::Prepare { target: target(), version: Version(1), scheme }
    }

    fn import(again: Option<&str>, wrapping_key: WrappingKey, wrapped: Vec<u8>) -> Mutation {
        let (target, object, marks, again) = (target(), Some(object()), ours(), again.map(str::to_owned));
        Mutation::Import { target, object, marks, again, version: Version(1), public_key: None, wrapping_key, wrapped }
    }

    fn publication(number: &str) -> Mutation {
        Mutation::Publish { target: target(), object: object(), material: Some(number.to_owned()) }
    }

    fn seen(number: &str, state: MaterialState, presence: Presence) -> MaterialSeen {
        MaterialSeen { id: Some(number.to_owned()), version: Some(Version(1)), state, presence, public_key: None }
    }

    fn copy(version: u32, material: Option<&str>) -> CopyRecord {
        let coordinates = CopyCoordinates {
            installation: id('1'),
            key: id('5'),
            version: Version(version),
            placement: id('2'),
            algorithm: Algorithm::Aes256,
            source: Source::Generated,
            epoch: EpochId(1),
        };
        let material = material.map(str::to_owned);
        let (bytes_of, check_value, blob, public_key) = (None, None, None, None);
        CopyRecord { coordinates, bytes_of, check_value, blob, public_key, material, wrapped_under: None, imported: None }
    }

    #[test]
    fn a_key_comes_is_seen_and_is_switched_but_never_goes() {
        for scheme in destination("gcp".parse().unwrap()).capabilities.algorithms[&Algorithm::Aes256].clone() {
            run(move |rig| async move {
                let material = rig.symbols.key("copy");
                assert_eq!(rig.cloud.look(&target()).await.unwrap(), PlacementSeen::default());
                assert_eq!(rig.act(creation()).await, Ok(Acted::Created(object())));
                let PlacementSeen { claimed: Some(shell), published: None } = rig.cloud.look(&target()).await.unwrap() else { panic!() };
                assert!(shell.fits(&target()) && shell.is_empty() && shell.created.is_some(), "{shell:?}");
                let under = rig.wrapping_key(scheme).await;
                assert!(under.valid_until.is_some_and(|end| end > rig.sim.now() + Span::days(2)));
                rig.act(import(None, under.clone(), rig.wrap(&under, &material))).await.unwrap();
                assert_eq!(rig.materials().await, [seen("1", MaterialState::Pending, Presence::Present)]);
                rig.act(publication("1")).await.unwrap();

                let PlacementSeen { claimed: Some(key), published } = rig.cloud.look(&target()).await.unwrap() else { panic!() };
                assert_eq!(published.as_ref(), Some(&key));
                assert!(key.fits(&target()) && key.state == ObjectState::Usable, "{key:?}");
                assert_eq!(key.materials, [seen("1", MaterialState::Current, Presence::Present)]);
                assert_eq!(rig.cloud.sweep(None).await.unwrap().objects, [key]);
                for (version, recorded, fits) in [(1, Some("1"), true), (2, Some("1"), false), (1, Some("2"), false), (1, None, false)] {
                    assert_eq!(rig.fits(version, recorded).await, fits, "{version} as {recorded:?}");
                }

                // Sent twice it is there twice; the second one is switched off by itself.
                rig.act(import(None, under.clone(), rig.wrap(&under, &material))).await.unwrap();
                let (first, second) =
                    (seen("1", MaterialState::Current, Presence::Present), |presence| seen("2", MaterialState::Pending, presence));
                assert_eq!(rig.materials().await, [first.clone(), second(Presence::Present)]);
                rig.act(Mutation::Disable { object: object(), material: Some("2".to_owned()) }).await.unwrap();
                assert_eq!(rig.materials().await, [first, second(Presence::Disabled)]);
                rig.act(Mutation::Disable { object: object(), material: Some("1".to_owned()) }).await.unwrap();
                assert_eq!(rig.cloud.inspect(&object()).await.unwrap().unwrap().state, ObjectState::Disabled);
                assert!(rig.fits(1, Some("1")).await, "unusable is not gone");
                rig.act(Mutation::Enable { object: object(), material: Some("2".to_owned()) }).await.unwrap();
                rig.act(publication("2")).await.unwrap();
                let (former, current) = (MaterialState::Former, MaterialState::Current);
                assert_eq!(rig.materials().await, [seen("1", former, Presence::Disabled), seen("2", current, Presence::Present)]);

                assert_eq!((rig.fits(1, Some("1")).await, rig.fits(1, Some("2")).await), (false, true), "another one took its place");

                let (target, object) = (target(), object());
                for mutation in
                    [Mutation::ScheduleDeletion { object: object.clone(), material: None, days: 30 }, Mutation::Claim { target, object }]
                {
                    assert_eq!(rig.act(mutation).await, Err((Class::Unsupported, Cause::Plain)), "Google Cloud has no such thing");
                }
            });
        }
    }

    #[test]
    fn what_is_foreign_is_not_ours() {
        run(|rig| async move {
            let key = json!({ "purpose": PURPOSE });
            rig.cloud.send("CreateCryptoKey", Method::Post, "cryptoKeys", &[("cryptoKeyId", "payments-db")], &key).await.unwrap();
            let PlacementSeen { claimed: Some(foreign), published: Some(_) } = rig.cloud.look(&target()).await.unwrap() else { panic!() };
            assert_eq!((&foreign.object, &foreign.marks, foreign.external), (&object(), &None, false));
            assert!(!foreign.fits(&target()));
            assert!(rig.cloud.sweep(None).await.unwrap().objects.is_empty());
            assert_eq!(rig.act(creation()).await, Err((Class::AlreadyExists, Cause::Plain)));
            // Marked by another installation: swept, and not this one's either, whatever it holds.
            let (target, marks) = (Target { name: "theirs".to_owned(), ..target() }, Marks { installation: id('9'), ..ours() });
            let Ok(Acted::Created(theirs)) = rig.act(Mutation::Create { target: target.clone(), marks }).await else { panic!() };
            let under = rig.wrapping_key(WrapScheme::RsaOaepSha256).await;
            let mut sent = import(None, under.clone(), rig.wrap(&under, &rig.symbols.key("copy")));
            if let Mutation::Import { object, .. } = &mut sent {
                *object = Some(theirs);
            }
            rig.act(sent).await.unwrap();
            let swept = rig.cloud.sweep(None).await.unwrap().objects;
            assert!(swept.len() == 1 && !swept[0].fits(&target) && swept[0].materials[0].version.is_none(), "{swept:?}");
            let job = job_id(id('2'), Version(1), 1).0;
            assert_eq!([job_version(id('2'), &job), job_version(id('3'), &job)], [Some(Version(1)), None]);
        });
    }

    #[test]
    fn a_wrong_wrapping_is_refused_and_the_right_one_may_follow() {
        run(|rig| async move {
            rig.act(creation()).await.unwrap();
            let (material, other) = (rig.symbols.key("copy"), rig.symbols.key("copy"));
            let under = rig.wrapping_key(WrapScheme::RsaOaepSha256).await;
            let next = rig.wrapping_key(WrapScheme::RsaOaepSha256).await;
            rig.act(import(None, under.clone(), rig.wrap(&next, &material))).await.unwrap();
            assert!(matches!(rig.materials().await[0].presence, Presence::Failed(_)), "under another job's key");
            assert_eq!(rig.act(publication("1")).await, Err((Class::Stale, Cause::Plain)));
            rig.act(import(Some("1"), under.clone(), rig.wrap(&under, &material))).await.unwrap();
            assert_eq!(rig.materials().await, [seen("1", MaterialState::Pending, Presence::Present)]);
            let exchanged = rig.act(import(Some("1"), under.clone(), rig.wrap(&under, &other))).await;
            assert_eq!(exchanged, Err((Class::Stale, Cause::Plain)), "it holds its bytes already");
            rig.site.inside(|frame, _| frame.readings().bad_material = BadMaterial::AtOnce);
            let refused = rig.act(import(None, under.clone(), rig.wrap(&next, &material))).await;
            assert_eq!(refused, Err((Class::Invalid, Cause::Plain)));
        });
    }

    #[test]
    fn a_job_that_ran_out_is_not_used_any_more() {
        run(|rig| async move {
            rig.act(creation()).await.unwrap();
            let (scheme, expired) = (WrapScheme::RsaAesKeyWrapSha256, (Class::Stale, Cause::ImportTokenExpired));
            let under = rig.wrapping_key(scheme).await;
            let from = WrapFor::Prepared(job_id(id('2'), Version(1), 1));
            let other = rig.cloud.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.unwrap_err();
            assert_eq!(other.class, Class::Stale, "it unwraps something else");
            rig.sim.sleep(Span::days(4)).await;
            assert_eq!(rig.cloud.prepared(&target(), Version(1), None).await, Ok(None));
            let asked = rig.cloud.wrapping_key(&from, scheme).await.unwrap_err();
            assert_eq!((asked.class, asked.cause), expired);
            for reading in [ExpiredJob::FailedPrecondition, ExpiredJob::InvalidArgument, ExpiredJob::NotFound] {
                rig.site.inside(|frame, _| frame.readings().expired_job = reading);
                let imported = rig.act(import(None, under.clone(), rig.wrap(&under, &[7; 32]))).await;
                assert_eq!(imported, Err(expired), "{reading:?}");
            }
            rig.wrapping_key(scheme).await;
        });
    }

    #[test]
    fn failures_have_their_class() {
        run(|rig| async move {
            assert_eq!(rig.cloud.inspect(&object()).await, Ok(None));
            assert_eq!(rig.act(publication("1")).await, Err((Class::NotFound, Cause::Plain)));
            let from = WrapFor::Prepared(ObjectId("nothing".to_owned()));
            assert_eq!(rig.cloud.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.unwrap_err().class, Class::NotFound);
            let error = |code: &str| Effect::Error { code: code.to_owned(), status: 400 };
            let effects = [
                (Effect::Throttle, Class::Throttled, Class::Throttled),
                (Effect::Deny, Class::Denied, Class::Denied),
                (error("UNIMPLEMENTED"), Class::Unsupported, Class::Unsupported),
                (error("ABORTED"), Class::Stale, Class::Stale),
                (error("CANCELLED"), Class::Transient, Class::Ambiguous),
                (error("nonsense"), Class::Broken, Class::Ambiguous),
                (Effect::ServerError { applied: false }, Class::Transient, Class::Ambiguous),
                (Effect::LostReply, Class::Transient, Class::Ambiguous),
            ];
            for (effect, read, mutation) in effects {
                rig.fault("GetCryptoKey", effect.clone());
                assert_eq!(rig.cloud.inspect(&object()).await.unwrap_err().class, read, "{effect:?}");
                rig.fault("CreateCryptoKey", effect.clone());
                assert_eq!(rig.act(creation()).await, Err((mutation, Cause::Plain)), "{effect:?}");
            }
            assert_eq!(rig.cloud.sweep(None).await.unwrap().objects.len(), 1, "of the last one only the reply was lost");
            assert_eq!(rig.act(creation()).await, Err((Class::AlreadyExists, Cause::Plain)));
            rig.fault("ListCryptoKeyVersions", error("NOT_FOUND"));
            assert_eq!(rig.cloud.inspect(&object()).await.unwrap_err().class, Class::Transient, "two reads contradict each other");
            rig.fault("GetCryptoKey", error("UNAUTHENTICATED"));
            assert_eq!(rig.cloud.inspect(&object()).await.unwrap_err().cause, Cause::Credentials);
            rig.site.inside(|frame, _| frame.quotas().limit("Read", 1));
            assert!(rig.cloud.inspect(&object()).await.unwrap_err().retry_after.is_some(), "the cloud says how long to wait");
        });
    }

    #[test]
    fn a_sweep_goes_on_to_the_last_page_and_counts_what_it_cannot_read() {
        run(|rig| async move {
            for n in 0..14 {
                let target = Target { name: format!("key-{n}"), ..target() };
                rig.act(Mutation::Create { target, marks: ours() }).await.unwrap();
            }
            rig.fault("ListCryptoKeyVersions", Effect::Deny);
            let first = rig.cloud.sweep(None).await.unwrap();
            assert_eq!((first.objects.len(), first.broken), (SWEEP_KEYS - 1, 1));
            let last = rig.cloud.sweep(first.next.as_ref()).await.unwrap();
            assert_eq!((last.objects.len(), last.broken, last.next), (2, 0, None));
            rig.fault("ListCryptoKeyVersions", Effect::LostReply);
            assert_eq!(rig.cloud.sweep(None).await.unwrap_err().class, Class::Transient, "that says nothing about the key");
        });
    }
}
