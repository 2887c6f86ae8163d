//! AWS KMS: one account and region, as `adapters/aws` uses it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::join_all;
use keyplane_emulator_core::aws::{Config, Kms, Operation, Request};
use keyplane_emulator_core::frame::Frame;
use keyplane_model::{
    Algorithm, Capabilities, Class, CloudKind, CopyRecord, Creation, Destination, DestinationName, Digest, Evidence, EvidenceStrength,
    InstallationId, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementSeen, Presence, Protection, Purpose,
    Quota, Span, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};

use crate::net::{Line, duration};
use crate::symbols::Symbols;

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "111122223333";

/// Keys on one page of a sweep: as many as the adapter reads in full, so that the adapter's draws suffice.
const SWEEP_KEYS: usize = 10;

/// The quotas that each call of the port draws from, and how often, as the adapter declares them.
const DRAWS: [(&str, Operation, usize); 14] = [
    ("create", Operation::CreateKey, 1),
    ("claim", Operation::CreateAlias, 1),
    ("publish", Operation::CreateAlias, 1),
    ("import", Operation::ImportKeyMaterial, 1),
    ("disable", Operation::DisableKey, 1),
    ("enable", Operation::EnableKey, 1),
    ("schedule-deletion", Operation::ScheduleKeyDeletion, 1),
    ("wrapping-key", Operation::GetParametersForImport, 1),
    ("look", Operation::ListKeyRotations, 2),
    ("inspect", Operation::ListKeyRotations, 1),
    ("evidence", Operation::ListKeyRotations, 1),
    ("sweep", Operation::ListKeys, 1),
    ("sweep", Operation::ListResourceTags, 100),
    ("sweep", Operation::ListKeyRotations, SWEEP_KEYS),
];

/// The emulated account, with the published quotas.
pub(crate) fn frame(symbols: Symbols, consistency: Span, seed: u64) -> Frame<Kms> {
    let config = Config { region: REGION.to_owned(), account: ACCOUNT.to_owned(), consistency: duration(consistency), ..Config::default() };
    Frame::<Kms>::new(config, Box::new(symbols), &mut ChaCha20Rng::seed_from_u64(seed))
}

/// The account as a destination.
pub(crate) fn destination(name: DestinationName) -> Destination {
    let (mut quotas, mut draws) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    for (word, operation, times) in DRAWS {
        let name = operation.name().to_owned();
        quotas.insert(name.clone(), Quota { calls: operation.published_quota(), per: Span::seconds(1) });
        draws.entry(word.to_owned()).or_default().extend(std::iter::repeat_n(name, times));
    }
    let home = format!("{ACCOUNT}/{REGION}");
    Destination {
        name,
        cloud: CloudKind::Aws,
        fingerprint: Digest::of(format!("aws {home}").as_bytes()),
        home,
        capabilities: Capabilities {
            algorithms: [(Algorithm::Aes256, vec![WrapScheme::RsaOaepSha256, WrapScheme::RsaAesKeyWrapSha256])].into(),
            generations: false,
            protection: Protection::Hsm,
            creation: Creation::Claimed,
            prepares: false,
            consistency: Span::seconds(10),
            call_timeout: Span::seconds(10),
            equal_reads: 3,
            quotas,
            draws,
            deletion_days: 7,
        },
    }
}

/// AWS KMS over one connection.
pub(crate) struct Aws {
    line: Line<Kms>,
    destination: Destination,
    installation: InstallationId,
}

impl Aws {
    pub(crate) fn new(line: Line<Kms>, destination: Destination, installation: InstallationId) -> Self {
        Self { line, destination, installation }
    }

    /// One request and its answer; null if KMS answers with an empty body.
    async fn ask(&self, operation: Operation, body: Value) -> Result<Value, CloudError> {
        let name = operation.name();
        let uncertain = if operation.is_mutating() { Class::Ambiguous } else { Class::Transient };
        let request = Request { region: Some(REGION.to_owned()), operation: name.to_owned(), body: body.to_string().into_bytes() };
        let Ok(reply) = self.line.send(request).await else { return Err(failed(name, uncertain, "no answer came")) };
        let answer = reply.body;
        if reply.status == 200 {
            return Ok(answer);
        }
        let (code, message) = (text(&answer, "__type"), text(&answer, "message"));
        let (class, cause) = refused(code, reply.status, uncertain);
        Err(CloudError { cause, ..failed(name, class, &format!("{code}: {message}")) })
    }

    async fn done(&self, operation: Operation, body: Value) -> Result<Acted, CloudError> {
        self.ask(operation, body).await.map(|_| Acted::Done)
    }

    async fn create(&self, target: &Target, marks: &Marks) -> Result<Acted, CloudError> {
        let tag = |name, value: String| json!({ "TagKey": format!("keyplane:{name}"), "TagValue": value });
        let body = json!({
            "Origin": "EXTERNAL",
            "KeySpec": "SYMMETRIC_DEFAULT",
            "KeyUsage": "ENCRYPT_DECRYPT",
            "Policy": policy().to_string(),
            "Description": format!("keyplane {}", target.key),
            // INVARIANT: the key carries its marks from its first moment (rule 3).
            "Tags": [
                tag("installation", marks.installation.to_string()),
                tag("placement", marks.placement.to_string()),
                tag("incarnation", marks.incarnation.to_string()),
                tag("attempt", marks.attempt.to_string()),
                tag("key", target.key.to_string()),
            ],
        });
        let created = self.ask(Operation::CreateKey, body).await?;
        Ok(Acted::Created(ObjectId(text(&created["KeyMetadata"], "KeyId").to_owned())))
    }

    async fn create_alias(&self, alias: String, object: &ObjectId) -> Result<Acted, CloudError> {
        self.done(Operation::CreateAlias, json!({ "AliasName": alias, "TargetKeyId": object.0 })).await
    }

    /// `KeyMetadata`, by the key's id or one of its aliases.
    async fn describe(&self, id: &str) -> Result<Value, CloudError> {
        Ok(self.ask(Operation::DescribeKey, json!({ "KeyId": id })).await?["KeyMetadata"].take())
    }

    /// A key by its id or one of its aliases, unless `read` shows it already; `None`: there is none.
    async fn object(&self, id: &str, read: Option<&ObjectSeen>) -> Result<Option<ObjectSeen>, CloudError> {
        let key = match self.describe(id).await {
            Err(error) if error.class == Class::NotFound => return Ok(None),
            other => other?,
        };
        if let Some(read) = read.filter(|read| read.object.0 == text(&key, "KeyId")) {
            return Ok(Some(read.clone()));
        }
        // The first read showed the key, so a "not found" of the second is a contradiction, which proves nothing.
        let class = |class| if class == Class::NotFound { Class::Transient } else { class };
        self.details(&key).await.map(Some).map_err(|error| CloudError { class: class(error.class), ..error })
    }

    /// A key in a list.
    async fn listed(&self, id: &str) -> Result<ObjectSeen, CloudError> {
        self.details(&self.describe(id).await?).await
    }

    /// Nothing more is read of a key that is not marked.
    async fn details(&self, key: &Value) -> Result<ObjectSeen, CloudError> {
        let id = text(key, "KeyId");
        // At most 50, which is one page.
        let tags = self.ask(Operation::ListResourceTags, json!({ "KeyId": id })).await?;
        let mut object = ObjectSeen {
            object: ObjectId(id.to_owned()),
            marks: marks(list(&tags, "Tags")),
            external: text(key, "Origin") == "EXTERNAL",
            algorithm: (text(key, "KeySpec") == "SYMMETRIC_DEFAULT").then_some(Algorithm::Aes256),
            purpose: (text(key, "KeyUsage") == "ENCRYPT_DECRYPT").then_some(Purpose::Encrypt),
            policy_fits: false,
            state: state(key),
            created: time(key, "CreationDate"),
            materials: Vec::new(),
        };
        if object.marks.is_some() {
            let given = self.ask(Operation::GetKeyPolicy, json!({ "KeyId": id })).await?;
            object.policy_fits = serde_json::from_str::<Value>(text(&given, "Policy")).is_ok_and(|given| given == policy());
            // KMS may refuse to list the materials of a key that waits for its deletion, and they are not needed.
            if object.external && !matches!(object.state, ObjectState::DeletionScheduled(_)) {
                object.materials = self.materials(key).await?;
            }
        }
        Ok(object)
    }

    async fn materials(&self, key: &Value) -> Result<Vec<MaterialSeen>, CloudError> {
        const OPERATION: Operation = Operation::ListKeyRotations;
        // At most 26, which is one page.
        let listed = self.ask(OPERATION, json!({ "KeyId": key["KeyId"], "IncludeKeyMaterial": "ALL_KEY_MATERIAL" })).await?;
        let materials: Vec<MaterialSeen> = list(&listed, "Rotations").iter().map(|entry| self.material(entry)).collect();
        let current =
            materials.iter().find(|material| material.state == MaterialState::Current).and_then(|material| material.id.as_deref());
        // If two reads contradict each other, one of them shows an earlier state.
        if matches!(state(key), ObjectState::Usable | ObjectState::Disabled) && current != key["CurrentKeyMaterialId"].as_str() {
            return Err(failed(OPERATION.name(), Class::Transient, "two reads of the same key contradict each other"));
        }
        Ok(materials)
    }

    fn material(&self, entry: &Value) -> MaterialSeen {
        MaterialSeen {
            id: Some(text(entry, "KeyMaterialId").to_owned()),
            version: material_version(self.installation, text(entry, "KeyMaterialDescription")),
            state: match text(entry, "KeyMaterialState") {
                "CURRENT" => MaterialState::Current,
                "NON_CURRENT" => MaterialState::Former,
                _ => MaterialState::Pending,
            },
            presence: if text(entry, "ImportState") == "IMPORTED" { Presence::Present } else { Presence::Missing },
            public_key: None,
        }
    }
}

#[async_trait]
impl Cloud for Aws {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    fn sent(&self, quota: &str) -> Option<u64> {
        Some(self.line.sent(quota))
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let claimed = self.object(&claim_alias(target), None).await?;
        let published = self.object(&users_alias(target), claimed.as_ref()).await?;
        Ok(PlacementSeen { claimed, published })
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.object(&object.0, None).await
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        let mut question = json!({ "Limit": SWEEP_KEYS });
        if let Some(Cursor(marker)) = cursor {
            question["Marker"] = marker.as_str().into();
        }
        let listed = self.ask(Operation::ListKeys, question).await?;
        let mut page = Page { next: listed["NextMarker"].as_str().map(|marker| Cursor(marker.to_owned())), ..Page::default() };
        for read in join_all(list(&listed, "Keys").iter().map(|key| self.listed(text(key, "KeyId")))).await {
            match read {
                Ok(object) => page.objects.extend(object.marks.is_some().then_some(object)),
                Err(error) if matches!(error.class, Class::Transient | Class::Throttled | Class::Ambiguous) => return Err(error),
                // The failure concerns only that key.
                Err(_) => page.broken += 1,
            }
        }
        Ok(page)
    }

    /// A sweep does not tell where claim and users' name lead. An object that is now in another state has to be read.
    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        let mut found = PlacementSeen::default();
        for (alias, place) in [(claim_alias(target), &mut found.claimed), (users_alias(target), &mut found.published)] {
            let key = match self.describe(&alias).await {
                Err(error) if error.class == Class::NotFound => continue,
                other => other?,
            };
            let same = swept.get(&ObjectId(text(&key, "KeyId").to_owned())).filter(|object| object.state == state(&key));
            let Some(object) = same else { return Ok(None) };
            *place = Some(object.clone());
        }
        Ok(Some(found))
    }

    /// `None`: KMS gives a new wrapping key at each request, so none is made.
    async fn prepared(&self, _: &Target, _: Version, _: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        Ok(None)
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        const OPERATION: Operation = Operation::GetParametersForImport;
        let WrapFor::Object(object) = from else {
            return Err(failed(OPERATION.name(), Class::Unsupported, "KMS gives a key to wrap under at each asking"));
        };
        let algorithm = match scheme {
            WrapScheme::RsaOaepSha256 => "RSAES_OAEP_SHA_256",
            WrapScheme::RsaOaepSha1 => "RSAES_OAEP_SHA_1",
            WrapScheme::RsaAesKeyWrapSha256 => "RSA_AES_KEY_WRAP_SHA_256",
            WrapScheme::RsaAesKeyWrapSha1 => "RSA_AES_KEY_WRAP_SHA_1",
        };
        let question = json!({ "KeyId": object.0, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_4096" });
        let given = self.ask(OPERATION, question).await?;
        let blob = |member| STANDARD.decode(text(&given, member)).map_err(|_| failed(OPERATION.name(), Class::Broken, member));
        Ok(WrappingKey { spki: blob("PublicKey")?, scheme, token: blob("ImportToken")?, valid_until: time(&given, "ParametersValidTo") })
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        match mutation {
            Mutation::Create { target, marks } => self.create(target, marks).await,
            Mutation::Claim { target, object } => self.create_alias(claim_alias(target), object).await,
            Mutation::Publish { target, object, .. } => self.create_alias(users_alias(target), object).await,
            // Without `ImportType` the same bytes can be imported again: KMS recognises the material by them.
            Mutation::Import { object: Some(object), version, wrapping_key, wrapped, .. } => {
                let body = json!({
                    "KeyId": object.0,
                    "ImportToken": STANDARD.encode(&wrapping_key.token),
                    "EncryptedKeyMaterial": STANDARD.encode(wrapped),
                    "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
                    "KeyMaterialDescription": material_description(self.installation, *version),
                });
                self.done(Operation::ImportKeyMaterial, body).await
            }
            Mutation::Disable { object, material: None } => self.done(Operation::DisableKey, json!({ "KeyId": object.0 })).await,
            Mutation::Enable { object, material: None } => self.done(Operation::EnableKey, json!({ "KeyId": object.0 })).await,
            Mutation::ScheduleDeletion { object, material: None, days } => {
                self.done(Operation::ScheduleKeyDeletion, json!({ "KeyId": object.0, "PendingWindowInDays": days })).await
            }
            // INVARIANT: a mutation of one material never disables or enables the whole key. The engine restores nothing.
            Mutation::Disable { material: Some(_), .. }
            | Mutation::Enable { material: Some(_), .. }
            | Mutation::ScheduleDeletion { material: Some(_), .. }
            | Mutation::Restore { .. }
            | Mutation::Purge { .. }
            | Mutation::Import { object: None, .. }
            | Mutation::Prepare { .. } => Err(failed(mutation.word(), Class::Unsupported, "KMS has nothing like it")),
        }
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let claimed = self.object(&claim_alias(target), None).await?;
        let current = claimed.as_ref().and_then(ObjectSeen::current);
        let fits = claimed.as_ref().is_some_and(|object| {
            object.fits(target) && matches!(object.state, ObjectState::Usable | ObjectState::Disabled) && copy.material.is_some()
        }) && current.is_some_and(|current| {
            current.id == copy.material && current.version == Some(copy.coordinates.version) && current.is_present()
        });
        Ok(Evidence {
            placement: target.placement,
            version: copy.coordinates.version,
            strength: if fits { EvidenceStrength::SameObject } else { EvidenceStrength::None },
            fits,
            reason: (!fits).then(|| "no key of ours has the claim and the material that was recorded".to_owned()),
            material: current.and_then(|material| material.id.clone()),
            check_value: copy.check_value,
            wrapped_under: copy.wrapped_under,
            at: now,
        })
    }
}

fn claim_alias(target: &Target) -> String {
    format!("alias/keyplane/{}/{}", target.placement, target.incarnation)
}

fn users_alias(target: &Target) -> String {
    format!("alias/{}", target.name)
}

/// The marks that tags spell; `None` unless all four are there and well formed.
fn marks(tags: &[Value]) -> Option<Marks> {
    let value = |name| {
        let key = format!("keyplane:{name}");
        tags.iter().find(|tag| text(tag, "TagKey") == key).map(|tag| text(tag, "TagValue"))
    };
    Some(Marks {
        installation: value("installation")?.parse().ok()?,
        placement: value("placement")?.parse().ok()?,
        incarnation: value("incarnation")?.parse().ok()?,
        attempt: value("attempt")?.parse().ok()?,
    })
}

fn material_description(installation: InstallationId, version: Version) -> String {
    format!("keyplane {installation} v{version}")
}

/// `None`: the material is not of this installation.
fn material_version(installation: InstallationId, description: &str) -> Option<Version> {
    let version = Version(description.rsplit_once(" v")?.1.parse().ok()?);
    (material_description(installation, version) == description).then_some(version)
}

/// AWS's default policy: the account's IAM decides.
fn policy() -> Value {
    let root = format!("arn:aws:iam::{ACCOUNT}:root");
    let sid = "Enable IAM User Permissions";
    let statement = json!({ "Sid": sid, "Effect": "Allow", "Principal": { "AWS": root }, "Action": "kms:*", "Resource": "*" });
    json!({ "Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement] })
}

fn state(key: &Value) -> ObjectState {
    match text(key, "KeyState") {
        "PendingImport" => ObjectState::AwaitingMaterial,
        "Enabled" => ObjectState::Usable,
        "Disabled" => ObjectState::Disabled,
        "PendingDeletion" | "PendingReplicaDeletion" => ObjectState::DeletionScheduled(time(key, "DeletionDate")),
        _ => ObjectState::Other,
    }
}

/// Empty if the member is missing.
fn text<'a>(of: &'a Value, member: &str) -> &'a str {
    of[member].as_str().unwrap_or_default()
}

fn list<'a>(of: &'a Value, member: &str) -> &'a [Value] {
    of[member].as_array().map_or(&[], Vec::as_slice)
}

/// A time in seconds, exact to the microsecond.
fn time(of: &Value, member: &str) -> Option<Timestamp> {
    of[member].as_f64().map(|seconds| Timestamp((seconds * 1e6).round() as i64))
}

fn failed(operation: &'static str, class: Class, message: &str) -> CloudError {
    CloudError { class, cause: Cause::Plain, operation, message: message.to_owned(), retry_after: None }
}

/// The meaning of KMS's error code. `uncertain`: the class of a failure that may have had an effect.
fn refused(code: &str, status: u16, uncertain: Class) -> (Class, Cause) {
    let class = match code {
        "ExpiredImportTokenException" => return (Class::Stale, Cause::ImportTokenExpired),
        "IncorrectKeyMaterialException" => return (Class::Invalid, Cause::OtherMaterial),
        "NotFoundException" => Class::NotFound,
        "AlreadyExistsException" => Class::AlreadyExists,
        "KMSInvalidStateException" | "DisabledException" | "ConflictException" => Class::Stale,
        "ThrottlingException" => Class::Throttled,
        "AccessDeniedException" | "LimitExceededException" => Class::Denied,
        "UnsupportedOperationException" | "UnknownOperationException" => Class::Unsupported,
        "KMSInternalException" | "DependencyTimeoutException" | "KeyUnavailableException" => uncertain,
        _ if status >= 500 => uncertain,
        // An unknown code with a status below 500: KMS answered, and refused.
        _ => Class::Invalid,
    };
    (class, Cause::Plain)
}

#[cfg(test)]
mod tests;
