//! The reads of keys: direct ones, and pages of a sweep.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use google_cloudkms1::api::{CryptoKey, CryptoKeyVersion};
use keyplane_model::{
    Class, Digest, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementSeen, Presence, Target, Timestamp,
};
use keyplane_port::{Cause, CloudError, Cursor, Page};
use serde::{Deserialize, Serialize};

use crate::GoogleKms;
use crate::act::check_id;
use crate::checksum::crc32c;
use crate::error::{found, garbled};
use crate::jobs::spki;
use crate::kinds;
use crate::names;
use crate::operation::{Operation, SWEEP_AT_A_TIME, SWEEP_KEYS, SWEEP_OBJECTS};

/// How many pages of one key's versions are read: more than that many rotations in a lifetime is an endpoint that never ends.
const MAX_PAGES: usize = 20;

/// How many versions one page lists.
const VERSIONS: i32 = 100;

/// How many public keys of one key are read: one for each version of ours that is there.
const MAX_PUBLIC_KEYS: usize = 200;

/// The longest page token that is taken, in bytes.
const MAX_TOKEN: usize = 4_096;

/// A key that was read.
pub(crate) struct KeySeen {
    pub(crate) object: ObjectSeen,
    /// Whether users reach it by its name alone: it has a primary version or, where there is none, any that can be used.
    pub(crate) published: bool,
}

/// Where a page of a sweep begins.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The token of the page of `ListCryptoKeys`; `None`: the first.
    token: Option<String>,
    /// The last key of that page that was looked at already.
    after: Option<String>,
}

impl GoogleKms {
    /// A key and its name are one: what has the name is the placement's object, and is published once it can be used.
    pub(crate) async fn read_placement(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let Some(KeySeen { object, published }) = self.read_object(&target.name).await? else { return Ok(PlacementSeen::default()) };
        Ok(PlacementSeen { published: published.then(|| object.clone()), claimed: Some(object) })
    }

    /// A key by its id; `None`: Google Cloud says that there is none.
    pub(crate) async fn read_object(&self, id: &str) -> Result<Option<KeySeen>, CloudError> {
        const OPERATION: Operation = Operation::GetCryptoKey;
        check_id(OPERATION, id)?;
        let mut request = self.begin(OPERATION, id);
        let sent = self.hub.projects().locations_key_rings_crypto_keys_get(&self.ring.key(id)).delegate(&mut request).doit().await;
        let (_, key) = match request.judge(sent) {
            Err(error) if error.class == Class::NotFound => return Ok(None),
            other => other?,
        };
        self.check_key(OPERATION, key.name.as_deref(), id)?;
        self.read_details(id, &key, true).await.map(Some).map_err(|error| match error.class {
            // It was there a moment ago: reads that contradict each other show nothing.
            Class::NotFound => CloudError { class: Class::Transient, ..error },
            _ => error,
        })
    }

    pub(crate) async fn read_page(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        const OPERATION: Operation = Operation::ListCryptoKeys;
        let place: Place = match cursor {
            None => Place::default(),
            Some(Cursor(text)) => serde_json::from_str(text)
                .map_err(|_| found(OPERATION, Class::Invalid, Cause::Plain, "a cursor that no sweep of Google Cloud gave"))?,
        };
        let mut request = self.begin(OPERATION, self.ring.name());
        let mut call = self.hub.projects().locations_key_rings_crypto_keys_list(self.ring.name()).page_size(SWEEP_KEYS);
        if let Some(token) = &place.token {
            call = call.page_token(token);
        }
        let sent = call.delegate(&mut request).doit().await;
        let (_, listed) = request.judge(sent)?;
        let next = next_token(OPERATION, listed.next_page_token, place.token.as_deref())?;
        let mut page = Page::default();
        let mut keys = Vec::new();
        for key in listed.crypto_keys.unwrap_or_default() {
            let Some(name) = &key.name else {
                page.broken += 1;
                continue;
            };
            let id = self.ring.key_id(name).ok_or_else(|| self.wrong_home(OPERATION, name))?.to_owned();
            keys.push((id, key));
        }
        // If the key where the last page stopped has left the list, its whole page is read again: twice does no harm.
        let seen = place.after.as_deref().and_then(|after| keys.iter().position(|(id, _)| id == after)).map_or(0, |at| at + 1);
        if seen > 0 {
            page.broken = 0;
        }
        let mut marked: Vec<_> = keys.split_off(seen).into_iter().filter(|(_, key)| marks(key).is_some()).collect();
        page.next = if marked.len() > SWEEP_OBJECTS {
            marked.truncate(SWEEP_OBJECTS);
            let after = marked.last().map(|(id, _)| id.clone());
            Some(cursor_at(&Place { token: place.token, after })?)
        } else {
            next.map(|token| cursor_at(&Place { token: Some(token), after: None })).transpose()?
        };
        let details = stream::iter(marked).map(|(id, key)| async move { (self.read_details(&id, &key, false).await, id) });
        let mut details = details.buffered(SWEEP_AT_A_TIME);
        while let Some((seen, id)) = details.next().await {
            match seen {
                Ok(key) => page.objects.push(key.object),
                Err(error) if spoils_only_itself(&error) => {
                    tracing::debug!(destination = %self.destination.name, key = id, %error, "key cannot be read");
                    page.broken += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    /// What a key is and holds. One that is not marked as ours is not read any further: nothing may be done with it. Public
    /// keys are asked for where one key is looked at, not in a sweep.
    async fn read_details(&self, id: &str, key: &CryptoKey, public_keys: bool) -> Result<KeySeen, CloudError> {
        let kind = kinds::read(key, self.protection);
        let mut object = ObjectSeen {
            object: ObjectId(id.to_owned()),
            marks: marks(key),
            external: key.import_only == Some(true) && key.rotation_period.is_none() && key.next_rotation_time.is_none(),
            algorithm: kind.map(|(algorithm, _)| algorithm),
            purpose: kind.map(|(_, purpose)| purpose),
            // Who may use a key is the project's IAM, which we neither read nor write.
            policy_fits: true,
            state: ObjectState::Other,
            created: key.create_time.map(timestamp),
            materials: Vec::new(),
        };
        let primary = match key.primary.as_ref().and_then(|version| version.name.as_deref()) {
            Some(name) => Some(self.check_version_name(Operation::GetCryptoKey, id, Some(name))?.to_owned()),
            None => None,
        };
        if object.marks.is_none() {
            return Ok(KeySeen { object, published: primary.is_some() });
        }
        let by_primary = key.purpose.as_deref() == Some(kinds::ENCRYPT_DECRYPT);
        object.materials = self.materials(id, &object, primary.as_deref(), by_primary).await?;
        object.state = state(&object.materials);
        if public_keys && matches!(kind, Some((algorithm, _)) if !algorithm.is_symmetric()) {
            self.add_public_keys(id, &mut object).await?;
        }
        let published = if by_primary { primary.is_some() } else { object.materials.iter().any(MaterialSeen::is_present) };
        Ok(KeySeen { object, published })
    }

    /// The versions of a key, lowest number first: of two imports of one copy, that one is kept.
    async fn materials(
        &self,
        id: &str,
        object: &ObjectSeen,
        primary: Option<&str>,
        by_primary: bool,
    ) -> Result<Vec<MaterialSeen>, CloudError> {
        const OPERATION: Operation = Operation::ListCryptoKeyVersions;
        let mut materials = Vec::new();
        for version in self.versions(id).await? {
            let number = self.check_version_name(OPERATION, id, version.name.as_deref())?;
            materials.push((number.parse::<u64>().unwrap_or(u64::MAX), self.material(number, &version, object)?));
        }
        materials.sort_by_key(|(number, _)| *number);
        if let Some(primary) = primary
            && !materials.iter().any(|(_, material)| material.id.as_deref() == Some(primary))
        {
            // One of the two reads is late.
            return Err(found(OPERATION, Class::Transient, Cause::Plain, "two reads of the same key contradict each other"));
        }
        let ours = |material: &MaterialSeen| material.version.is_some();
        let current = match primary {
            Some(primary) => materials.iter().position(|(_, material)| material.id.as_deref() == Some(primary)),
            None if by_primary => None,
            // Such keys have no primary version: every version is used by its number.
            None => materials
                .iter()
                .position(|(_, material)| ours(material) && material.is_present())
                .or_else(|| materials.iter().position(|(_, material)| ours(material) && material.presence == Presence::Disabled)),
        };
        let place = |at: usize| match current.map(|current| at.cmp(&current)) {
            Some(Ordering::Equal) => MaterialState::Current,
            Some(Ordering::Less) => MaterialState::Former,
            Some(Ordering::Greater) | None => MaterialState::Pending,
        };
        Ok(materials.into_iter().enumerate().map(|(at, (_, material))| MaterialSeen { state: place(at), ..material }).collect())
    }

    async fn versions(&self, id: &str) -> Result<Vec<CryptoKeyVersion>, CloudError> {
        const OPERATION: Operation = Operation::ListCryptoKeyVersions;
        let (mut versions, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            let mut request = self.begin(OPERATION, id);
            let name = self.ring.key(id);
            let mut call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_list(&name).page_size(VERSIONS);
            if let Some(token) = &token {
                call = call.page_token(token);
            }
            let sent = call.delegate(&mut request).doit().await;
            let (_, page) = request.judge(sent)?;
            versions.extend(page.crypto_key_versions.unwrap_or_default());
            token = next_token(OPERATION, page.next_page_token, token.as_deref())?;
            if token.is_none() {
                return Ok(versions);
            }
        }
        Err(garbled(OPERATION, "a list of versions without an end"))
    }

    fn material(&self, number: &str, version: &CryptoKeyVersion, object: &ObjectSeen) -> Result<MaterialSeen, CloudError> {
        let why = |reason: &Option<String>| Presence::Failed(reason.clone().unwrap_or_else(|| "no reason was given".to_owned()));
        let presence = match version.state.as_deref() {
            Some("ENABLED") => Presence::Present,
            Some("DISABLED") => Presence::Disabled,
            Some("PENDING_IMPORT" | "PENDING_GENERATION") => Presence::Arriving,
            Some("IMPORT_FAILED") => why(&version.import_failure_reason),
            Some("GENERATION_FAILED") => why(&version.generation_failure_reason),
            Some("DESTROYED" | "DESTROY_SCHEDULED") => Presence::Missing,
            _ => return Err(garbled(Operation::ListCryptoKeyVersions, "a version in a state that is not known")),
        };
        // A version has no labels: the import job that it came through, which served no other copy, says what it is.
        let placement = object.marks.as_ref().filter(|marks| marks.installation == self.installation).map(|marks| marks.placement);
        let job = version.import_job.as_deref().and_then(|name| self.ring.job_id(name));
        Ok(MaterialSeen {
            id: Some(number.to_owned()),
            version: placement.zip(job).and_then(|(placement, job)| names::job_version(placement, job)),
            state: MaterialState::Pending,
            presence,
            public_key: None,
        })
    }

    async fn add_public_keys(&self, id: &str, object: &mut ObjectSeen) -> Result<(), CloudError> {
        // Only a version that can be used shows its public key.
        let shown = object.materials.iter_mut().filter(|material| material.version.is_some() && material.is_present());
        for material in shown.take(MAX_PUBLIC_KEYS) {
            if let Some(number) = &material.id {
                material.public_key = Some(self.public_key(id, number).await?);
            }
        }
        Ok(())
    }

    /// The digest of a version's public key.
    async fn public_key(&self, id: &str, number: &str) -> Result<Digest, CloudError> {
        const OPERATION: Operation = Operation::GetPublicKey;
        let name = self.ring.version(id, number);
        let mut request = self.begin(OPERATION, &name);
        let call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_get_public_key(&name);
        let sent = call.delegate(&mut request).doit().await;
        let (_, key) = request.judge(sent)?;
        if key.name.as_deref() != Some(&name) {
            return Err(garbled(OPERATION, "an answer about another version"));
        }
        let pem = key.pem.ok_or_else(|| garbled(OPERATION, "an answer without a public key"))?;
        if key.pem_crc32c != Some(i64::from(crc32c(pem.as_bytes()))) {
            return Err(found(OPERATION, Class::Transient, Cause::Plain, "the answer was damaged on the way: its checksum is another one"));
        }
        let spki = spki(&pem).ok_or_else(|| garbled(OPERATION, "a public key that is not PEM"))?;
        Ok(Digest::of(&spki))
    }

    /// Refuses an answer about another key, or from another home than was approved (rule 11).
    pub(crate) fn check_key(&self, operation: Operation, name: Option<&str>, id: &str) -> Result<(), CloudError> {
        let name = name.ok_or_else(|| garbled(operation, "an answer without a name"))?;
        match self.ring.key_id(name) {
            Some(found) if found == id => Ok(()),
            Some(_) => Err(garbled(operation, "an answer about another key")),
            None => Err(self.wrong_home(operation, name)),
        }
    }

    /// As [`GoogleKms::check_key`], for an import job.
    pub(crate) fn check_job(&self, operation: Operation, name: Option<&str>, id: &ObjectId) -> Result<(), CloudError> {
        let name = name.ok_or_else(|| garbled(operation, "an answer without a name"))?;
        match self.ring.job_id(name) {
            Some(found) if found == id.0 => Ok(()),
            Some(_) => Err(garbled(operation, "an answer about another import job")),
            None => Err(self.wrong_home(operation, name)),
        }
    }

    /// As [`GoogleKms::check_key`], for a version; gives its number.
    pub(crate) fn check_version_name<'a>(&self, operation: Operation, id: &str, name: Option<&'a str>) -> Result<&'a str, CloudError> {
        let name = name.ok_or_else(|| garbled(operation, "an answer without a name"))?;
        if let Some(number) = self.ring.version_number(id, name) {
            return Ok(number);
        }
        if name.starts_with(&format!("{}/", self.ring.name())) {
            return Err(garbled(operation, "an answer about another version"));
        }
        Err(self.wrong_home(operation, name))
    }

    fn wrong_home(&self, operation: Operation, name: &str) -> CloudError {
        // A key that was made at the wrong place is made all the same.
        let class = if operation.mutates() { Class::Ambiguous } else { Class::Stale };
        found(operation, class, Cause::WrongHome, &format!("`{name}` is not in `{}`", self.ring.name()))
    }
}

fn marks(key: &CryptoKey) -> Option<Marks> {
    let labels = key.labels.as_ref()?;
    names::marks(|label| labels.get(label))
}

/// The state of a key, from that of its versions. A key that takes imported material has none of its own.
fn state(materials: &[MaterialSeen]) -> ObjectState {
    if materials.iter().any(MaterialSeen::is_present) {
        ObjectState::Usable
    } else if materials.iter().any(|material| material.presence == Presence::Disabled) {
        ObjectState::Disabled
    } else {
        ObjectState::AwaitingMaterial
    }
}

/// Where a list goes on.
fn next_token(operation: Operation, next: Option<String>, this: Option<&str>) -> Result<Option<String>, CloudError> {
    match next.filter(|token| !token.is_empty()) {
        Some(token) if Some(token.as_str()) == this || token.len() > MAX_TOKEN => Err(garbled(operation, "a list that goes on nowhere")),
        next => Ok(next),
    }
}

fn cursor_at(place: &Place) -> Result<Cursor, CloudError> {
    serde_json::to_string(place).map(Cursor).map_err(|error| garbled(Operation::ListCryptoKeys, &error.to_string()))
}

/// Whether a failed read says something about one key only, so that the list can go on without it.
///
/// A key that the list names and a direct read does not find counts too: a sweep that missed it is not complete.
fn spoils_only_itself(error: &CloudError) -> bool {
    match (error.class, error.cause) {
        (_, Cause::Credentials | Cause::Unreachable | Cause::WrongHome) => false,
        (Class::Transient | Class::Throttled | Class::Ambiguous, _) => false,
        (
            Class::Stale | Class::NotFound | Class::AlreadyExists | Class::Denied | Class::Unsupported | Class::Invalid | Class::Broken,
            _,
        ) => true,
    }
}

/// To the microsecond.
pub(crate) fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp(time.timestamp_micros())
}
