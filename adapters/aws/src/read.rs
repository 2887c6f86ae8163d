//! The reads: of one placement or key, of a page of a sweep, of a wrapping key, of evidence.

use aws_sdk_kms::types::{
    AlgorithmSpec, ImportState, IncludeKeyMaterial, KeyMaterialState, KeyMetadata, KeySpec, KeyState, KeyUsageType, OriginType,
    RotationsListEntry, Tag, WrappingKeySpec,
};
use aws_smithy_types::DateTime;
use futures::stream::{self, StreamExt as _};
use keyplane_destination::check_wrapping_key;
use keyplane_model::{
    Algorithm, Class, CopyRecord, Evidence, EvidenceStrength, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState,
    PlacementSeen, Presence, Purpose, Target, Timestamp, WrapScheme,
};
use keyplane_port::{Cause, CloudError, Cursor, Page, Swept, WrappingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::AwsKms;
use crate::error::{contradiction, found, garbled, spoils_only_itself};
use crate::names;
use crate::operation::{Operation, SWEEP_AT_A_TIME, SWEEP_KEYS, SWEEP_OBJECTS};

/// The number of pages that are read of one key's tags or materials. A key has at most 50 tags and 26 materials, which fit on one page; an
/// endpoint with more pages than this may never stop.
const MAX_PAGES: usize = 20;

/// The strongest wrapping key that KMS offers, and the length of its modulus in bits.
const WRAPPING_KEY: (WrappingKeySpec, usize) = (WrappingKeySpec::Rsa4096, 4_096);

/// The position of a page of a sweep, as its cursor encodes it.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    /// The marker of a page of `ListKeys`; `None`: the first page.
    marker: Option<String>,
    /// The last key on that page that was read already; `None`: none was.
    after: Option<String>,
}

impl AwsKms {
    pub(crate) async fn read_placement(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let users = users_alias(target)?;
        let claimed = self.read_object(&names::claim_alias(target)).await?;
        let published = match self.described(&users).await? {
            None => None,
            // The claim leads to the same key, which was just read.
            Some(metadata) if claimed.as_ref().is_some_and(|claimed| claimed.object.0 == metadata.key_id()) => claimed.clone(),
            Some(metadata) => Some(self.read_metadata(metadata).await?),
        };
        Ok(PlacementSeen { claimed, published })
    }

    /// Reads where the claim and the users' name lead. The sweep tells everything else.
    pub(crate) async fn find_placement(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        let users = users_alias(target)?;
        let mut found = PlacementSeen::default();
        for (alias, place) in [(names::claim_alias(target), &mut found.claimed), (users, &mut found.published)] {
            let Some(metadata) = self.described(&alias).await? else { continue };
            // An object that the sweep did not find, or found in another state, has to be read.
            let same = swept.get(&ObjectId(metadata.key_id().to_owned())).filter(|object| object.state == state(&metadata));
            let Some(object) = same else { return Ok(None) };
            *place = Some(object.clone());
        }
        Ok(Some(found))
    }

    /// Reads a key by its id or an alias; `None`: KMS says that there is none.
    ///
    /// Of a key without our marks, policy and materials are not read: the policy counts as another one, and no material is shown.
    pub(crate) async fn read_object(&self, id: &str) -> Result<Option<ObjectSeen>, CloudError> {
        match self.described(id).await? {
            Some(metadata) => self.read_metadata(metadata).await.map(Some),
            None => Ok(None),
        }
    }

    /// Describes a key by its id or an alias; `None`: KMS says that there is none.
    async fn described(&self, id: &str) -> Result<Option<KeyMetadata>, CloudError> {
        match self.describe(id).await {
            Err(error) if error.class == Class::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    async fn read_metadata(&self, metadata: KeyMetadata) -> Result<ObjectSeen, CloudError> {
        let tags = self.tags(metadata.key_id()).await.map_err(contradiction)?;
        self.read_details(metadata, &tags).await.map_err(contradiction)
    }

    pub(crate) async fn read_page(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        const OPERATION: Operation = Operation::ListKeys;
        let place: Place = match cursor {
            None => Place::default(),
            Some(Cursor(text)) => serde_json::from_str(text)
                .map_err(|_| found(OPERATION, Class::Invalid, Cause::Plain, "a cursor that no sweep of AWS KMS gave"))?,
        };
        let list = self.client.list_keys().limit(SWEEP_KEYS as i32).set_marker(place.marker.clone());
        let listed = self.request(OPERATION, "", list.send()).await?;
        let mut keys: Vec<String> = listed.keys().iter().filter_map(|key| key.key_id().map(str::to_owned)).collect();
        for key in listed.keys() {
            self.check_home(OPERATION, key.key_arn())?;
        }
        // If the key where the last page stopped is no longer listed, the page is read from its beginning. Reading keys twice does no harm.
        let seen = place.after.as_deref().and_then(|after| keys.iter().position(|key| key == after)).map_or(0, |at| at + 1);
        let mut page =
            Page { objects: Vec::new(), broken: u32::try_from(listed.keys().len() - keys.len()).unwrap_or(u32::MAX), next: None };
        let tagged = stream::iter(keys.split_off(seen)).map(|key: String| async move { (self.tags(&key).await, key) });
        let mut tagged = tagged.buffered(SWEEP_AT_A_TIME);
        while let Some((tags, key)) = tagged.next().await {
            match self.read_marked(&key, tags).await {
                Ok(None) => {}
                Ok(Some(object)) => page.objects.push(object),
                Err(error) if spoils_only_itself(&error) => {
                    tracing::debug!(destination = %self.destination.name, key_id = key, %error, "key cannot be read");
                    page.broken += 1;
                }
                Err(error) => return Err(error),
            }
            if page.objects.len() == SWEEP_OBJECTS {
                page.next = Some(self.cursor(&Place { marker: place.marker, after: Some(key) })?);
                return Ok(page);
            }
        }
        if listed.truncated() {
            let further = listed.next_marker().filter(|marker| place.marker.as_deref() != Some(marker));
            let marker = further.ok_or_else(|| garbled(OPERATION, "a list that goes on nowhere"))?;
            page.next = Some(self.cursor(&Place { marker: Some(marker.to_owned()), after: None })?);
        }
        Ok(page)
    }

    pub(crate) async fn read_wrapping_key(&self, object: &ObjectId, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        const OPERATION: Operation = Operation::GetParametersForImport;
        let (spec, bits) = WRAPPING_KEY;
        let question = self
            .client
            .get_parameters_for_import()
            .key_id(&object.0)
            .wrapping_algorithm(match scheme {
                WrapScheme::RsaOaepSha256 => AlgorithmSpec::RsaesOaepSha256,
                WrapScheme::RsaOaepSha1 => AlgorithmSpec::RsaesOaepSha1,
                WrapScheme::RsaAesKeyWrapSha256 => AlgorithmSpec::RsaAesKeyWrapSha256,
                WrapScheme::RsaAesKeyWrapSha1 => AlgorithmSpec::RsaAesKeyWrapSha1,
            })
            .wrapping_key_spec(spec);
        let given = self.request(OPERATION, &object.0, question.send()).await?;
        self.check_home(OPERATION, given.key_id())?;
        // INVARIANT: a wrapping key is used only for the key that it was requested for.
        if !given.key_id().is_some_and(|arn| arn.ends_with(&format!(":key/{object}"))) {
            return Err(garbled(OPERATION, "a wrapping key for another key"));
        }
        let (Some(spki), Some(token)) = (given.public_key(), given.import_token()) else {
            return Err(garbled(OPERATION, "an answer without public key or token"));
        };
        // INVARIANT: nothing is wrapped under a key of another size than was asked for (rule 11).
        check_wrapping_key(spki.as_ref(), bits).map_err(|unfit| garbled(OPERATION, &unfit.to_string()))?;
        Ok(WrappingKey {
            spki: spki.as_ref().to_vec(),
            scheme,
            token: token.as_ref().to_vec(),
            valid_until: given.parameters_valid_to().map(timestamp),
        })
    }

    /// The evidence that AWS can give: the current material has the id that the import was confirmed with, in a key that is still ours. AWS
    /// shows nothing of the bytes and attests nothing ([`EvidenceStrength::SameObject`]).
    pub(crate) async fn read_evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let claimed = self.read_object(&names::claim_alias(target)).await?;
        let shown = claimed.as_ref().map_or(Err("nothing holds the claim"), |object| holds(object, target, copy));
        if let Err(reason) = shown {
            tracing::debug!(destination = %self.destination.name, placement = %target.placement, reason, "no evidence");
        }
        Ok(Evidence {
            placement: target.placement,
            version: copy.coordinates.version,
            strength: if shown.is_ok() { EvidenceStrength::SameObject } else { EvidenceStrength::None },
            fits: shown.is_ok(),
            reason: shown.err().map(str::to_owned),
            material: claimed.as_ref().and_then(ObjectSeen::current).and_then(|material| material.id.clone()),
            check_value: copy.check_value,
            wrapped_under: copy.wrapped_under,
            at: now,
        })
    }

    /// Refuses an answer for another account or region than was approved (rule 11).
    pub(crate) fn check_home(&self, operation: Operation, arn: Option<&str>) -> Result<(), CloudError> {
        let arn = arn.ok_or_else(|| garbled(operation, "an answer without an ARN"))?;
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        if let ["arn", _, "kms", region, account, _] = parts.as_slice()
            && *region == self.region
            && *account == self.account
        {
            return Ok(());
        }
        // A mutation in the wrong place may have had its effect there.
        let class = if operation.mutates() { Class::Ambiguous } else { Class::Stale };
        let message = format!("`{arn}` is not in account {} and region {}", self.account, self.region);
        Err(found(operation, class, Cause::WrongHome, &message))
    }

    async fn describe(&self, id: &str) -> Result<KeyMetadata, CloudError> {
        const OPERATION: Operation = Operation::DescribeKey;
        let described = self.request(OPERATION, id, self.client.describe_key().key_id(id).send()).await?;
        let metadata = described.key_metadata.ok_or_else(|| garbled(OPERATION, "an answer without a key"))?;
        self.check_home(OPERATION, metadata.arn())?;
        if !id.starts_with("alias/") && metadata.key_id() != id {
            return Err(garbled(OPERATION, "an answer about another key"));
        }
        Ok(metadata)
    }

    /// Reads a listed key; `None`: it does not carry marks.
    async fn read_marked(&self, key: &str, tags: Result<Vec<Tag>, CloudError>) -> Result<Option<ObjectSeen>, CloudError> {
        let tags = tags?;
        if names::marks(&tags).is_none() {
            return Ok(None);
        }
        let metadata = self.describe(key).await?;
        self.read_details(metadata, &tags).await.map(Some)
    }

    async fn read_details(&self, metadata: KeyMetadata, tags: &[Tag]) -> Result<ObjectSeen, CloudError> {
        let external = metadata.origin() == Some(&OriginType::External);
        let mut object = ObjectSeen {
            object: ObjectId(metadata.key_id().to_owned()),
            marks: names::marks(tags),
            external,
            algorithm: algorithm(&metadata),
            purpose: purpose(&metadata),
            policy_fits: false,
            state: state(&metadata),
            created: metadata.creation_date().map(timestamp),
            materials: Vec::new(),
        };
        if object.marks.is_some() {
            object.policy_fits = self.policy_fits(metadata.key_id()).await?;
            // KMS lists no materials of asymmetric and HMAC keys. It may refuse to list those of a key that waits for its deletion. They
            // are not needed, and one such key must not make every sweep incomplete until it is deleted.
            // contract: aws.unstated.leaving_rotations
            let leaving = matches!(object.state, ObjectState::DeletionScheduled(_));
            if external && object.algorithm == Some(Algorithm::Aes256) && !leaving {
                object.materials = self.materials(&metadata).await?;
            }
        }
        Ok(object)
    }

    async fn tags(&self, key: &str) -> Result<Vec<Tag>, CloudError> {
        const OPERATION: Operation = Operation::ListResourceTags;
        let (mut tags, mut marker) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let list = self.client.list_resource_tags().key_id(key).set_marker(marker);
            let page = self.request(OPERATION, key, list.send()).await?;
            marker = page.next_marker().filter(|_| page.truncated()).map(str::to_owned);
            tags.extend(page.tags.unwrap_or_default());
            if marker.is_none() {
                return Ok(tags);
            }
        }
        Err(garbled(OPERATION, "a list of tags without an end"))
    }

    /// Whether a key has the policy that is configured, compared as JSON: white space and the order of members and lists do not count.
    // contract: aws.unstated.policy_text
    async fn policy_fits(&self, key: &str) -> Result<bool, CloudError> {
        const OPERATION: Operation = Operation::GetKeyPolicy;
        let given = self.request(OPERATION, key, self.client.get_key_policy().key_id(key).send()).await?;
        let text = given.policy().ok_or_else(|| garbled(OPERATION, "an answer without a policy"))?;
        Ok(serde_json::from_str::<Value>(text).is_ok_and(|policy| is_same(&policy, &self.policy)))
    }

    async fn materials(&self, metadata: &KeyMetadata) -> Result<Vec<MaterialSeen>, CloudError> {
        const OPERATION: Operation = Operation::ListKeyRotations;
        let entries = self.rotations(metadata.key_id()).await?;
        let materials = entries
            .iter()
            .map(|entry| self.material(entry))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| garbled(OPERATION, "a material in a state that is not known"))?;
        let current =
            materials.iter().find(|material| material.state == MaterialState::Current).and_then(|material| material.id.as_deref());
        // The list and the description are two reads of one key. If they contradict each other, one shows an earlier state.
        if matches!(state(metadata), ObjectState::Usable | ObjectState::Disabled) && current != metadata.current_key_material_id() {
            return Err(found(OPERATION, Class::Transient, Cause::Plain, "two reads of the same key contradict each other"));
        }
        Ok(materials)
    }

    async fn rotations(&self, key: &str) -> Result<Vec<RotationsListEntry>, CloudError> {
        const OPERATION: Operation = Operation::ListKeyRotations;
        let (mut entries, mut marker) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let list = self.client.list_key_rotations().key_id(key).include_key_material(IncludeKeyMaterial::AllKeyMaterial);
            let page = self.request(OPERATION, key, list.set_marker(marker).send()).await?;
            marker = page.next_marker().filter(|_| page.truncated()).map(str::to_owned);
            entries.extend(page.rotations.unwrap_or_default());
            if marker.is_none() {
                return Ok(entries);
            }
        }
        Err(garbled(OPERATION, "a list of materials without an end"))
    }

    fn material(&self, entry: &RotationsListEntry) -> Option<MaterialSeen> {
        Some(MaterialSeen {
            id: entry.key_material_id().map(str::to_owned),
            version: entry.key_material_description().and_then(|text| names::material_version(self.installation, text)),
            state: match entry.key_material_state()? {
                KeyMaterialState::Current => MaterialState::Current,
                KeyMaterialState::NonCurrent => MaterialState::Former,
                KeyMaterialState::PendingRotation | KeyMaterialState::PendingMultiRegionImportAndRotation => MaterialState::Pending,
                _ => return None,
            },
            presence: if entry.import_state() == Some(&ImportState::Imported) { Presence::Present } else { Presence::Missing },
            public_key: None,
        })
    }

    fn cursor(&self, place: &Place) -> Result<Cursor, CloudError> {
        serde_json::to_string(place).map(Cursor).map_err(|error| garbled(Operation::ListKeys, &error.to_string()))
    }
}

fn users_alias(target: &Target) -> Result<String, CloudError> {
    let unusable = |error| found(Operation::DescribeKey, Class::Invalid, Cause::Plain, &format!("`{}`: {error}", target.name));
    names::users_alias(target).map_err(unusable)
}

/// Checks that an object is the target's and holds the copy.
fn holds(object: &ObjectSeen, target: &Target, copy: &CopyRecord) -> Result<(), &'static str> {
    if !object.fits(target) {
        return Err("the key's origin, kind, policy or marks are not ours");
    }
    match object.state {
        ObjectState::Usable | ObjectState::Disabled => {}
        ObjectState::AwaitingMaterial | ObjectState::DeletionScheduled(_) | ObjectState::Other => {
            return Err("the key is in another state");
        }
    }
    let Some(recorded) = &copy.material else { return Err("no import was ever confirmed") };
    let Some(current) = object.current() else { return Err("the key has no current material") };
    if current.id.as_ref() != Some(recorded) {
        return Err("another material is current");
    }
    if current.version != Some(copy.coordinates.version) {
        return Err("the material's description names another version");
    }
    if !current.is_present() {
        return Err("the material is gone");
    }
    Ok(())
}

/// Whether two parts of a policy mean the same. Lists have no order: statements, principals, actions and the values of a condition are
/// sets.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(some), Value::Array(others)) if some.len() == others.len() => {
            let mut left: Vec<&Value> = others.iter().collect();
            some.iter().all(|one| left.iter().position(|other| is_same(one, other)).map(|found| left.swap_remove(found)).is_some())
        }
        (Value::Object(some), Value::Object(others)) if some.len() == others.len() => {
            some.iter().all(|(name, one)| others.get(name).is_some_and(|other| is_same(one, other)))
        }
        _ => one == other,
    }
}

fn algorithm(metadata: &KeyMetadata) -> Option<Algorithm> {
    match (metadata.key_spec()?, metadata.key_usage()?) {
        (KeySpec::SymmetricDefault, KeyUsageType::EncryptDecrypt) => Some(Algorithm::Aes256),
        (KeySpec::Hmac256, KeyUsageType::GenerateVerifyMac) => Some(Algorithm::HmacSha256),
        (KeySpec::Rsa2048, KeyUsageType::EncryptDecrypt | KeyUsageType::SignVerify) => Some(Algorithm::Rsa2048),
        (KeySpec::Rsa3072, KeyUsageType::EncryptDecrypt | KeyUsageType::SignVerify) => Some(Algorithm::Rsa3072),
        (KeySpec::Rsa4096, KeyUsageType::EncryptDecrypt | KeyUsageType::SignVerify) => Some(Algorithm::Rsa4096),
        (KeySpec::EccNistP256, KeyUsageType::SignVerify) => Some(Algorithm::EcP256),
        (KeySpec::EccNistP384, KeyUsageType::SignVerify) => Some(Algorithm::EcP384),
        _ => None,
    }
}

fn purpose(metadata: &KeyMetadata) -> Option<Purpose> {
    match metadata.key_usage()? {
        KeyUsageType::EncryptDecrypt => Some(Purpose::Encrypt),
        KeyUsageType::SignVerify => Some(Purpose::Sign),
        KeyUsageType::GenerateVerifyMac => Some(Purpose::Mac),
        _ => None,
    }
}

fn state(metadata: &KeyMetadata) -> ObjectState {
    match metadata.key_state() {
        Some(KeyState::PendingImport) => ObjectState::AwaitingMaterial,
        Some(KeyState::Enabled) => ObjectState::Usable,
        Some(KeyState::Disabled) => ObjectState::Disabled,
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
            ObjectState::DeletionScheduled(metadata.deletion_date().map(timestamp))
        }
        _ => ObjectState::Other,
    }
}

/// To the microsecond; the rest is cut off. Times out of range become the first or last that can be represented.
fn timestamp(time: &DateTime) -> Timestamp {
    Timestamp(time.secs().saturating_mul(1_000_000).saturating_add(i64::from(time.subsec_nanos() / 1_000)))
}
