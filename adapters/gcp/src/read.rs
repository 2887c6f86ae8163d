//! The reads of keys: of one placement or key, and of a page of a sweep.

use std::cmp::{Ordering, Reverse};

use futures::future::{join_all, try_join_all};
use google_cloudkms1::api::{CryptoKey, CryptoKeyVersion};
use keyplane_model::{
    Class, Digest, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState, PlacementSeen, Presence, Target,
};
use keyplane_port::{Cause, CloudError, Cursor, Page, Swept};
use serde::{Deserialize, Serialize};

use crate::GoogleKms;
use crate::answer::{is_intact, spki, timestamp};
use crate::checks::check_id;
use crate::error::{contradiction, found, garbled, spoils_only_itself};
use crate::kinds;
use crate::names;
use crate::operation::{KEY_REQUESTS, Operation, PAGE, SWEEP_KEYS, SWEEP_REQUESTS, VERSION_PAGES};

/// The longest page token that is taken, in bytes.
const MAX_TOKEN: usize = 4_096;

/// A key that was read.
pub(crate) struct KeySeen {
    pub(crate) object: ObjectSeen,
    /// Whether users can use it by its name: it has a primary version, or is of a kind without one and has an enabled version.
    pub(crate) published: bool,
    /// The number of requests about it, beside the one that showed the key itself.
    requests: usize,
}

/// The position of a page of a sweep, as its cursor encodes it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The token of a page of `ListCryptoKeys`; `None`: the first page.
    token: Option<String>,
    /// The last key on that page that was read already; `None`: none was.
    after: Option<String>,
}

impl GoogleKms {
    /// Reads a placement. A key's name is fixed, so the key of that name has the placement's claim, and is active once it can be used.
    pub(crate) async fn read_placement(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        let Some(KeySeen { object, published, .. }) = self.read_object(&target.name).await? else { return Ok(PlacementSeen::default()) };
        Ok(PlacementSeen { published: published.then(|| object.clone()), claimed: Some(object) })
    }

    /// Reads a key by its id; `None`: Google Cloud says that there is none.
    ///
    /// As many public keys are shown as there are requests left: first that of the current version, then those of the newest, which an
    /// import may be about to confirm. A version's import job tells which copy it is; its public key can only contradict that.
    // contract: gcp.import.repeat
    pub(crate) async fn read_object(&self, id: &str) -> Result<Option<KeySeen>, CloudError> {
        let Some(mut seen) = self.read_listed(id).await? else { return Ok(None) };
        self.add_public_keys(&mut seen).await?;
        Ok(Some(seen))
    }

    /// Reads the public keys of a key pair's versions.
    async fn add_public_keys(&self, seen: &mut KeySeen) -> Result<(), CloudError> {
        let KeySeen { object, requests, .. } = seen;
        if object.algorithm.is_none_or(|algorithm| algorithm.is_symmetric()) {
            return Ok(());
        }
        let id = &object.object.0;
        let ours = |material: &&mut MaterialSeen| material.version.is_some() && material.is_present();
        let mut wanted: Vec<_> = object.materials.iter_mut().filter(ours).collect();
        // Of two imports of one version, the one with the lower number comes first, because that one is kept.
        wanted.sort_by_key(|material| (material.state != MaterialState::Current, Reverse(material.version)));
        // INVARIANT: no more requests than [`KEY_REQUESTS`] (rule 8), of which the pages of versions took some.
        wanted.truncate(KEY_REQUESTS - *requests);
        *requests += wanted.len();
        try_join_all(wanted.into_iter().map(|material| async move {
            material.public_key = self.public_key(id, material).await?;
            Ok(())
        }))
        .await?;
        Ok(())
    }

    /// Like [`GoogleKms::read_object`], without public keys.
    pub(crate) async fn read_listed(&self, id: &str) -> Result<Option<KeySeen>, CloudError> {
        const OPERATION: Operation = Operation::GetCryptoKey;
        check_id(OPERATION, id)?;
        let mut request = self.begin(OPERATION, id);
        let sent = self.hub.projects().locations_key_rings_crypto_keys_get(&self.ring.key(id)).delegate(&mut request).doit().await;
        let (_, key) = match request.judge(sent) {
            Err(error) if error.class == Class::NotFound => return Ok(None),
            other => other?,
        };
        self.check_key(OPERATION, key.name.as_deref(), id)?;
        self.read_details(id, &key).await.map(Some).map_err(contradiction)
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
        // If the key where the last page stopped is no longer listed, the page is read from its beginning. Reading keys twice does no
        // harm.
        let seen = place.after.as_deref().and_then(|after| keys.iter().position(|(id, _)| id == after)).map_or(0, |at| at + 1);
        if seen > 0 {
            page.broken = 0;
        }
        let mut marked = keys.split_off(seen).into_iter().filter(|(_, key)| marks(key).is_some()).peekable();
        let (mut left, mut last) = (SWEEP_REQUESTS, None);
        loop {
            // As many keys concurrently as there are requests for, if each needs the most that a key can.
            let round: Vec<_> = marked.by_ref().take(left / KEY_REQUESTS).collect();
            if round.is_empty() {
                break;
            }
            let read = round.into_iter().map(|(id, key)| async move { (self.read_swept(&id, &key).await, id) });
            for (seen, id) in join_all(read).await {
                match seen {
                    Ok(key) => {
                        left -= key.requests;
                        page.objects.push(key.object);
                    }
                    Err(error) if spoils_only_itself(&error) => {
                        tracing::debug!(destination = %self.destination.name, key = id, %error, "key cannot be read");
                        left -= KEY_REQUESTS;
                        page.broken += 1;
                    }
                    Err(error) => return Err(error),
                }
                last = Some(id);
            }
        }
        page.next = if marked.peek().is_some() {
            Some(cursor_at(&Place { token: place.token, after: last })?)
        } else {
            next.map(|token| cursor_at(&Place { token: Some(token), after: None })).transpose()?
        };
        Ok(page)
    }

    async fn read_swept(&self, id: &str, key: &CryptoKey) -> Result<KeySeen, CloudError> {
        let mut seen = self.read_details(id, key).await?;
        self.add_public_keys(&mut seen).await?;
        Ok(seen)
    }

    /// Turns a key into an object, and reads its versions. No version of a key without our marks is read, because nothing may be done with
    /// such a key.
    async fn read_details(&self, id: &str, key: &CryptoKey) -> Result<KeySeen, CloudError> {
        let kind = kinds::read(key, self.protection);
        let mut object = ObjectSeen {
            object: ObjectId(id.to_owned()),
            marks: marks(key),
            external: key.import_only == Some(true) && key.rotation_period.is_none() && key.next_rotation_time.is_none(),
            algorithm: kind.map(|(algorithm, _)| algorithm),
            purpose: kind.map(|(_, purpose)| purpose),
            // The project's IAM decides who may use a key. We neither read nor write it.
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
            return Ok(KeySeen { object, published: primary.is_some(), requests: 0 });
        }
        let by_primary = key.purpose.as_deref() == Some(kinds::ENCRYPT_DECRYPT);
        let (versions, pages) = self.versions(id).await?;
        object.materials = self.materials(id, &object, versions, primary.as_deref(), by_primary)?;
        object.state = state(&object.materials);
        let published = is_published(&object, by_primary);
        Ok(KeySeen { object, published, requests: pages })
    }

    /// Turns the versions of a key into materials, lowest number first. Of two imports of one copy, the lower number is kept.
    fn materials(
        &self,
        id: &str,
        object: &ObjectSeen,
        versions: Vec<CryptoKeyVersion>,
        primary: Option<&str>,
        by_primary: bool,
    ) -> Result<Vec<MaterialSeen>, CloudError> {
        const OPERATION: Operation = Operation::ListCryptoKeyVersions;
        let mut materials = Vec::new();
        for version in versions {
            let number = self.check_version_name(OPERATION, id, version.name.as_deref())?;
            materials.push((number.parse::<u64>().unwrap_or(u64::MAX), self.material(number, &version, object)?));
        }
        materials.sort_by_key(|(number, _)| *number);
        if let Some(primary) = primary
            && !materials.iter().any(|(_, material)| material.id.as_deref() == Some(primary))
        {
            // The key and its list of versions contradict each other: one of the two reads shows an earlier state.
            return Err(found(OPERATION, Class::Transient, Cause::Plain, "two reads of the same key contradict each other"));
        }
        let ours = |material: &MaterialSeen| material.version.is_some();
        let current = match primary {
            Some(primary) => materials.iter().position(|(_, material)| material.id.as_deref() == Some(primary)),
            None if by_primary => None,
            // Keys of this kind have no primary version; each version is used by its number.
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

    /// Lists the versions of a key, and counts the pages. A key with more than [`VERSION_PAGES`] pages is [`Class::Unsupported`].
    async fn versions(&self, id: &str) -> Result<(Vec<CryptoKeyVersion>, usize), CloudError> {
        const OPERATION: Operation = Operation::ListCryptoKeyVersions;
        let (mut versions, mut token) = (Vec::new(), None::<String>);
        for pages in 1..=VERSION_PAGES {
            let mut request = self.begin(OPERATION, id);
            let name = self.ring.key(id);
            let mut call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_list(&name).page_size(PAGE);
            if let Some(token) = &token {
                call = call.page_token(token);
            }
            let sent = call.delegate(&mut request).doit().await;
            let (_, page) = request.judge(sent)?;
            versions.extend(page.crypto_key_versions.unwrap_or_default());
            token = next_token(OPERATION, page.next_page_token, token.as_deref())?;
            if token.is_none() {
                return Ok((versions, pages));
            }
        }
        let message = format!("it has more versions than {VERSION_PAGES} pages list");
        Err(found(OPERATION, Class::Unsupported, Cause::Plain, &message))
    }

    fn material(&self, number: &str, version: &CryptoKeyVersion, object: &ObjectSeen) -> Result<MaterialSeen, CloudError> {
        let why = |reason: &Option<String>| Presence::Failed(reason.clone().unwrap_or_else(|| "no reason was given".to_owned()));
        let presence = match version.state.as_deref() {
            Some("ENABLED") => Presence::Present,
            Some("DISABLED") => Presence::Disabled,
            Some("PENDING_IMPORT" | "PENDING_GENERATION") => Presence::Arriving,
            Some("IMPORT_FAILED") => why(&version.import_failure_reason),
            Some("GENERATION_FAILED") => why(&version.generation_failure_reason),
            Some("DESTROY_SCHEDULED") => Presence::Leaving,
            Some("DESTROYED") => Presence::Missing,
            _ => return Err(garbled(Operation::ListCryptoKeyVersions, "a version in a state that is not known")),
        };
        // A version has no labels. Its import job, which served only one copy, tells which one.
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

    /// The digest of a version's public key; `None`: the version is not enabled, so Google Cloud does not show its key.
    // contract: gcp.evidence.public
    pub(crate) async fn public_key(&self, id: &str, material: &MaterialSeen) -> Result<Option<Digest>, CloudError> {
        const OPERATION: Operation = Operation::GetPublicKey;
        let Some(number) = material.id.as_ref().filter(|_| material.is_present()) else { return Ok(None) };
        let name = self.ring.version(id, number);
        let mut request = self.begin(OPERATION, &name);
        let call = self.hub.projects().locations_key_rings_crypto_keys_crypto_key_versions_get_public_key(&name);
        let sent = call.delegate(&mut request).doit().await;
        let (_, key) = request.judge(sent).map_err(contradiction)?;
        if key.name.as_deref() != Some(&name) {
            return Err(garbled(OPERATION, "an answer about another version"));
        }
        let pem = key.pem.ok_or_else(|| garbled(OPERATION, "an answer without a public key"))?;
        if !is_intact(pem.as_bytes(), key.pem_crc32c) {
            return Err(found(OPERATION, Class::Transient, Cause::Plain, "the answer was damaged on the way: its checksum is another one"));
        }
        let spki = spki(&pem).ok_or_else(|| garbled(OPERATION, "a public key that is not PEM"))?;
        Ok(Some(Digest::of(&spki)))
    }
}

/// Answers [`keyplane_port::Cloud::find`] without a request: a key is reached only by its name, so a sweep that found it tells everything.
/// `None`: the sweep did not find it.
pub(crate) fn find_placement(target: &Target, swept: &Swept) -> Option<PlacementSeen> {
    let object = swept.get(&ObjectId(target.name.clone()))?;
    let published = is_published(object, kinds::has_primary(object.algorithm?, object.purpose?));
    Some(PlacementSeen { claimed: Some(object.clone()), published: published.then(|| object.clone()) })
}

/// Whether users can use a key of ours by its name. If it has a primary version, that is the current material.
fn is_published(object: &ObjectSeen, has_primary: bool) -> bool {
    if has_primary { object.current().is_some() } else { object.materials.iter().any(MaterialSeen::is_present) }
}

fn marks(key: &CryptoKey) -> Option<Marks> {
    let labels = key.labels.as_ref()?;
    names::marks(|label| labels.get(label))
}

/// The state of a key. A crypto key has none of its own, so it is derived from the states of its versions.
fn state(materials: &[MaterialSeen]) -> ObjectState {
    if materials.iter().any(MaterialSeen::is_present) {
        ObjectState::Usable
    } else if materials.iter().any(|material| material.presence == Presence::Disabled) {
        ObjectState::Disabled
    } else {
        ObjectState::AwaitingMaterial
    }
}

/// The token of a list's next page; `None`: this was the last page. Refuses a repeated page, since such a list would never end.
fn next_token(operation: Operation, next: Option<String>, this: Option<&str>) -> Result<Option<String>, CloudError> {
    match next.filter(|token| !token.is_empty()) {
        Some(token) if Some(token.as_str()) == this || token.len() > MAX_TOKEN => Err(garbled(operation, "a list that goes on nowhere")),
        next => Ok(next),
    }
}

fn cursor_at(place: &Place) -> Result<Cursor, CloudError> {
    serde_json::to_string(place).map(Cursor).map_err(|error| garbled(Operation::ListCryptoKeys, &error.to_string()))
}
