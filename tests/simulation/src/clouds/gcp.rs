//! Google Cloud KMS at the protection level SOFTWARE, as `adapters/gcp` uses it.
//!
//! A destination is a project of the same name with one key ring. An object is a crypto key, a material a version of it by its number, a
//! wrapping key an import job of ours, which serves only one copy.

use std::cmp::{Ordering, Reverse};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::{join_all, try_join_all};
use keyplane_emulator_core::Timestamp as CoreTime;
use keyplane_emulator_core::frame::Frame;
use keyplane_emulator_core::gcp::{Config, Method, Project, Request};
use keyplane_model::{
    Algorithm, Capabilities, Class, CloudKind, CopyRecord, Creation, Destination, DestinationName, Digest, Evidence, EvidenceStrength,
    InstallationId, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementId, PlacementSeen, Presence,
    Protection, Purpose, Quota, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};

use crate::clouds::Place;
use crate::net::{Line, duration};
use crate::symbols::Symbols;

const LOCATION: &str = "europe-west3";
const LEVEL: &str = "SOFTWARE";

/// The only purpose whose keys have a primary version.
const ENCRYPT_DECRYPT: &str = "ENCRYPT_DECRYPT";

/// The number of keys on a page of a sweep: one read for each of them, and one for the list.
const SWEEP_KEYS: usize = 12;

/// The number of public keys that a look shows: the rest of its four reads, after the key and its versions.
const LOOK_KEYS: usize = 2;

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
        algorithms: Place::Gcp.takes(false).into_iter().map(|algorithm| (algorithm, schemes(algorithm))).collect(),
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

/// The project of this name, with its key ring and the published quotas. Requests need no token.
pub(crate) fn frame(symbols: Symbols, name: &DestinationName, consistency: Span) -> Frame<Project> {
    let config = Config { project: name.to_string(), consistency: duration(consistency), ..Config::default() };
    let mut frame = Frame::<Project>::new(config, Box::new(symbols));
    let path = format!("/v1/projects/{name}/locations/{LOCATION}/keyRings");
    let query = vec![("keyRingId".to_owned(), "ring".into())];
    // Long before a run begins, so that its quota is full again. A key ring has nothing random.
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

    fn sent(&self, quota: &str) -> Option<u64> {
        Some(self.line.sent(quota))
    }

    /// A key is found by its name, so the key of that name is the placement's object. It is active once it can be used.
    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let Some((object, published)) = self.shown(&target.name).await? else { return Ok(PlacementSeen::default()) };
        Ok(PlacementSeen { published: published.then(|| object.clone()), claimed: Some(object) })
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        Ok(self.shown(&object.0).await?.map(|(object, _)| object))
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

    /// A sweep tells all but public keys.
    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        let told = |object: &&ObjectSeen| object.algorithm.is_some_and(Algorithm::is_symmetric);
        let Some(object) = swept.get(&ObjectId(target.name.clone())).filter(told).cloned() else { return Ok(None) };
        let is_used = |material: &MaterialSeen| match object.purpose {
            Some(Purpose::Encrypt) => material.state == MaterialState::Current,
            _ => material.is_present(),
        };
        let published = object.materials.iter().any(is_used).then(|| object.clone());
        Ok(Some(PlacementSeen { claimed: Some(object), published }))
    }

    /// The newest job that has not expired, whichever server made it: we choose the names.
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
        let spki = spki(&job["publicKey"]["pem"]).ok_or_else(|| failed(Class::Broken, "a public key that is not PEM"))?;
        Ok(WrappingKey { spki, scheme, token: id.0.clone().into_bytes(), valid_until: time(&job["expireTime"]) })
    }

    /// Google Cloud has no claims, deletes no key, and does not enable or disable whole keys.
    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        match mutation {
            Mutation::Create { target, marks } => self.create(target, marks).await,
            Mutation::Prepare { target, version, scheme } => self.prepare(target, *version, *scheme).await,
            Mutation::Import { target, object: Some(object), again, wrapping_key, wrapped, .. } => {
                self.import(target, object, again.as_deref(), wrapping_key, wrapped).await
            }
            Mutation::Publish { target, object, material: Some(number) } if has_primary(target) => {
                let (path, body) = (format!("cryptoKeys/{object}:updatePrimaryVersion"), json!({ "cryptoKeyVersionId": number }));
                self.send("UpdateCryptoKeyPrimaryVersion", Method::Post, &path, &[], &body).await.map(|_| Acted::Done)
            }
            Mutation::Disable { object, material: Some(number) } => self.switch(object, number, "DISABLED").await,
            Mutation::Enable { object, material: Some(number) } => self.switch(object, number, "ENABLED").await,
            other => Err(error(other.word(), Class::Unsupported, "there is no such request")),
        }
    }

    /// The version that the import was confirmed with is still there, came through our job, and was not replaced; a pair also has to have
    /// the public key. Google Cloud shows nothing more.
    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let object = self.key(&target.name).await?;
        let object = object.as_ref().map(|(object, _)| object);
        let (version, current) = (copy.coordinates.version, object.and_then(ObjectSeen::current));
        let primary = current.filter(|_| has_primary(target));
        let held = object.into_iter().flat_map(|object| &object.materials).find(|material| material.id == copy.material);
        let fits = held.is_some_and(|held| {
            object.is_some_and(|object| object.fits(target))
                && held.version == Some(version)
                && matches!(held.presence, Presence::Present | Presence::Disabled)
                && primary.is_none_or(|primary| primary.id == held.id || primary.version > held.version)
        });
        let shown = match held.filter(|_| fits) {
            Some(held) if copy.public_key.is_some() => self.public_key(&target.name, held).await?,
            _ => None,
        };
        let (strength, fits, reason) = match (shown, &copy.public_key) {
            (Some(shown), Some(ours)) if shown == ours.digest() => (EvidenceStrength::Equality, fits, None),
            (Some(_), _) => (EvidenceStrength::None, false, Some("the public key is another one")),
            (None, Some(_)) if fits => (EvidenceStrength::None, fits, Some("a disabled version does not show its public key")),
            (None, None) if fits => (EvidenceStrength::None, fits, Some("Google Cloud shows nothing of a software key's bytes")),
            (None, _) => (EvidenceStrength::None, fits, Some("the version is not there as it was")),
        };
        Ok(Evidence {
            placement: target.placement,
            version,
            strength,
            fits,
            reason: reason.map(str::to_owned),
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
        const OPERATION: &str = "CreateCryptoKey";
        let (purpose, algorithm) = self.written(OPERATION, target)?;
        let key = json!({
            "purpose": purpose,
            "importOnly": true,
            "versionTemplate": { "algorithm": algorithm, "protectionLevel": LEVEL },
            "destroyScheduledDuration": format!("{}s", u64::from(self.destination.capabilities.deletion_days) * 86_400),
            "labels": labels(marks),
        });
        let query = [("cryptoKeyId", &*target.name), ("skipInitialVersionCreation", "true")];
        self.send(OPERATION, Method::Post, "cryptoKeys", &query, &key).await?;
        Ok(Acted::Created(ObjectId(target.name.clone())))
    }

    /// Makes a job under the first free id. Jobs are never deleted, so all ids before it are taken.
    async fn prepare(&self, target: &Target, version: Version, scheme: WrapScheme) -> Result<Acted, CloudError> {
        const OPERATION: &str = "CreateImportJob";
        let Some(method) = method(scheme) else { return Err(error(OPERATION, Class::Unsupported, "no import job of ours unwraps that")) };
        let id = job_id(target.placement, version, self.jobs(target.placement, version).await?.len() + 1);
        let job = json!({ "importMethod": method, "protectionLevel": LEVEL });
        self.send(OPERATION, Method::Post, "importJobs", &[("importJobId", &id.0)], &job).await?;
        Ok(Acted::Created(id))
    }

    /// Without a version (`again`) it makes a new one with the next number; with one, it restores the same bytes.
    async fn import(
        &self,
        target: &Target,
        object: &ObjectId,
        again: Option<&str>,
        under: &WrappingKey,
        wrapped: &[u8],
    ) -> Result<Acted, CloudError> {
        const OPERATION: &str = "ImportCryptoKeyVersion";
        let (_, algorithm) = self.written(OPERATION, target)?;
        let job = format!("importJobs/{}", String::from_utf8_lossy(&under.token));
        let versions = format!("cryptoKeys/{object}/cryptoKeyVersions");
        let order = json!({
            "algorithm": algorithm,
            "importJob": self.name(&job),
            "cryptoKeyVersion": again.map(|number| self.name(&format!("{versions}/{number}"))),
            "wrappedKey": STANDARD.encode(wrapped),
        });
        match self.send(OPERATION, Method::Post, &format!("{versions}:import"), &[], &order).await {
            // Google Cloud does not document the code for an expired job, so the job's state is read.
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

    /// A key by its id, with public keys as far as the look has reads left, newest versions first.
    async fn shown(&self, id: &str) -> Result<Option<(ObjectSeen, bool)>, CloudError> {
        let Some((mut object, published)) = self.key(id).await? else { return Ok(None) };
        if object.algorithm.is_some_and(|algorithm| !algorithm.is_symmetric()) {
            let ours = |material: &&mut MaterialSeen| material.version.is_some() && material.is_present();
            let mut wanted: Vec<_> = object.materials.iter_mut().filter(ours).collect();
            wanted.sort_by_key(|material| (material.state != MaterialState::Current, Reverse(material.version)));
            wanted.truncate(LOOK_KEYS);
            try_join_all(wanted.into_iter().map(|material| async move {
                material.public_key = self.public_key(id, material).await?;
                Ok(())
            }))
            .await?;
        }
        Ok(Some((object, published)))
    }

    /// The digest of a version's public key. Only an enabled version shows it.
    async fn public_key(&self, id: &str, material: &MaterialSeen) -> Result<Option<Digest>, CloudError> {
        const OPERATION: &str = "GetPublicKey";
        let Some(number) = material.id.as_ref().filter(|_| material.is_present()) else { return Ok(None) };
        let key =
            self.get(OPERATION, &format!("cryptoKeys/{id}/cryptoKeyVersions/{number}/publicKey"), &[]).await.map_err(contradiction)?;
        spki(&key["pem"]).map(|spki| Some(Digest::of(&spki))).ok_or_else(|| error(OPERATION, Class::Broken, "a public key that is not PEM"))
    }

    /// A key by its id, and whether it is active; `None`: the typed "not found".
    async fn key(&self, id: &str) -> Result<Option<(ObjectSeen, bool)>, CloudError> {
        let Some(key) = found(self.get("GetCryptoKey", &format!("cryptoKeys/{id}"), &[]).await)? else { return Ok(None) };
        self.details(&key).await.map(Some).map_err(contradiction)
    }

    /// The object, and whether it is active. Nothing more is read of a key that is not marked as ours.
    async fn details(&self, key: &Value) -> Result<(ObjectSeen, bool), CloudError> {
        let (id, primary) = (last(&key["name"]).unwrap_or_default(), last(&key["primary"]["name"]));
        let (kind, by_primary) = (kind(key), key["purpose"] == ENCRYPT_DECRYPT);
        let mut object = ObjectSeen {
            object: ObjectId(id.to_owned()),
            marks: marks(&key["labels"]),
            external: key["importOnly"] == true && key["nextRotationTime"].is_null(),
            algorithm: kind.map(|(algorithm, _)| algorithm),
            purpose: kind.map(|(_, purpose)| purpose),
            policy_fits: true,
            state: ObjectState::Other,
            created: time(&key["createTime"]),
            materials: Vec::new(),
        };
        if let Some(marks) = &object.marks {
            let placement = (marks.installation == self.installation).then_some(marks.placement);
            let path = format!("cryptoKeys/{id}/cryptoKeyVersions");
            let listed = self.get("ListCryptoKeyVersions", &path, &[("pageSize", "1000")]).await?;
            // Lowest number first: of two imports of one copy, that one is kept.
            let versions = items(&listed["cryptoKeyVersions"]);
            object.materials = versions.map(|version| material(version, placement)).collect::<Result<_, _>>()?;
            let first = |is: &dyn Fn(&MaterialSeen) -> bool| {
                object.materials.iter().position(|material| material.version.is_some() && is(material))
            };
            let current = if by_primary {
                object.materials.iter().position(|material| material.id.as_deref() == primary)
            } else {
                // Keys without a primary version are used by the version's number.
                first(&MaterialSeen::is_present).or_else(|| first(&|material| material.presence == Presence::Disabled))
            };
            for (at, material) in object.materials.iter_mut().enumerate() {
                material.state = match current.map(|current| at.cmp(&current)) {
                    Some(Ordering::Equal) => MaterialState::Current,
                    Some(Ordering::Less) => MaterialState::Former,
                    Some(Ordering::Greater) | None => MaterialState::Pending,
                };
            }
            object.state = state(&object.materials);
        }
        let published = if by_primary { primary.is_some() } else { object.materials.iter().any(MaterialSeen::is_present) };
        Ok((object, published))
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

    /// One request about something in the key ring, and its answer.
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
        let answer = reply.body;
        if reply.status == 200 { Ok(answer) } else { Err(refusal(operation, mutates, reply.status, &answer["error"])) }
    }

    /// Google Cloud's purpose and algorithm.
    fn written(&self, operation: &'static str, target: &Target) -> Result<(&'static str, String), CloudError> {
        written(target.algorithm, target.purpose).ok_or_else(|| error(operation, Class::Unsupported, "there is no such kind of key"))
    }

    /// The full name of something in the key ring.
    fn name(&self, path: &str) -> String {
        format!("{}/{path}", ring(&self.destination.name))
    }
}

/// Google Cloud's purpose and algorithm for our keys; `None`: the algorithm does not serve the purpose.
fn written(algorithm: Algorithm, purpose: Purpose) -> Option<(&'static str, String)> {
    let bits = match algorithm {
        Algorithm::Rsa2048 => 2_048,
        Algorithm::Rsa3072 => 3_072,
        Algorithm::Rsa4096 => 4_096,
        Algorithm::Aes256 | Algorithm::EcP256 | Algorithm::EcP384 | Algorithm::HmacSha256 => 0,
    };
    if !algorithm.serves(purpose) {
        return None;
    }
    Some(match (algorithm, purpose) {
        (Algorithm::Aes256, _) => (ENCRYPT_DECRYPT, "GOOGLE_SYMMETRIC_ENCRYPTION".to_owned()),
        (Algorithm::EcP256, _) => ("ASYMMETRIC_SIGN", "EC_SIGN_P256_SHA256".to_owned()),
        (Algorithm::EcP384, _) => ("ASYMMETRIC_SIGN", "EC_SIGN_P384_SHA384".to_owned()),
        (Algorithm::HmacSha256, _) => ("MAC", "HMAC_SHA256".to_owned()),
        (_, Purpose::Encrypt) => ("ASYMMETRIC_DECRYPT", format!("RSA_DECRYPT_OAEP_{bits}_SHA256")),
        (_, _) => ("ASYMMETRIC_SIGN", format!("RSA_SIGN_PKCS1_{bits}_SHA256")),
    })
}

/// `None`: we make no such keys.
fn kind(key: &Value) -> Option<(Algorithm, Purpose)> {
    let (purpose, template) = (key["purpose"].as_str()?, &key["versionTemplate"]);
    let algorithm = template["algorithm"].as_str().filter(|_| template["protectionLevel"] == LEVEL)?;
    let purposes = [Purpose::Encrypt, Purpose::Sign, Purpose::Mac];
    let mut kinds = Algorithm::ALL.into_iter().flat_map(|algorithm| purposes.map(|purpose| (algorithm, purpose)));
    kinds.find(|(one, serves)| written(*one, *serves).is_some_and(|(word, spec)| word == purpose && spec == algorithm))
}

/// Whether such keys have a primary version.
fn has_primary(target: &Target) -> bool {
    written(target.algorithm, target.purpose).is_some_and(|(purpose, _)| purpose == ENCRYPT_DECRYPT)
}

fn schemes(algorithm: Algorithm) -> Vec<WrapScheme> {
    let all = [WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256];
    all.into_iter().filter(|scheme| scheme.takes(algorithm)).collect()
}

/// The DER in a public key's PEM.
fn spki(pem: &Value) -> Option<Vec<u8>> {
    let base64: String = pem.as_str()?.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).ok()
}

/// Another read just showed it, so a "not found" is a contradiction, which proves nothing.
fn contradiction(error: CloudError) -> CloudError {
    match error.class {
        Class::NotFound => CloudError { class: Class::Transient, ..error },
        _ => error,
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

/// The error for the name of a canonical code.
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

/// `None`: the typed "not found".
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
    // A version has no labels. The import job that it came through tells which copy it is.
    let ours = placement.zip(last(&version["importJob"])).and_then(|(placement, job)| job_version(placement, job));
    Ok(MaterialSeen {
        id: last(&version["name"]).map(str::to_owned),
        version: ours,
        state: MaterialState::Pending,
        presence,
        public_key: None,
    })
}

/// The state of a key, derived from its versions, because a crypto key has none of its own.
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

/// The id of the `n`th import job for a copy. A material's job tells its version.
fn job_id(placement: PlacementId, version: Version, n: usize) -> ObjectId {
    ObjectId(format!("kp-{}-v{version}-{n}", placement.to_string().replace('-', "")))
}

/// The version that an import job was made for; `None`: it is not ours, or not for this placement.
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
mod tests;
