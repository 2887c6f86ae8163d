//! The reads: of one placement or key, of a page of a sweep, of a wrapping key, of evidence.

use azure_core::http::Url;
use azure_core::http::pager::{PagerContinuation, PagerOptions};
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_keys::models::{
    DeletedKey, JsonWebKey, Key, KeyAttributes, KeyClientGetKeyAttestationOptions, KeyClientListKeyPropertiesOptions,
    KeyClientListKeyPropertiesVersionsOptions, KeyProperties, KeyType, ListKeyPropertiesResult,
};
use futures::TryStreamExt as _;
use futures::future::{join_all, try_join_all};
use keyplane_destination::check_wrapping_key;
use keyplane_model::{
    Class, CopyRecord, Digest, Evidence, EvidenceStrength, Marks, MaterialSeen, MaterialState, ObjectId, ObjectSeen, ObjectState,
    PlacementSeen, Presence, PublicKey, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Cause, CloudError, Cursor, Page, Prepared, Swept, WrapFor, WrappingKey};
use serde::{Deserialize, Serialize};

use crate::act::KEK_BITS;
use crate::error::{contradiction, failed, found, garbled, spoils_only_itself};
use crate::key::recoverable_days;
use crate::names::{self, Kid, KidError, Tags};
use crate::operation::{LOOK_REQUESTS, Operation, PAGE, SWEEP_REQUESTS};
use crate::vault::VaultKind;
use crate::{AzureVault, attestation, jwk};

/// The number of requests that one look at a key may still send.
///
/// INVARIANT: every request about a key is taken from here before it is sent, so that no call sends more than it declares (rule 8).
struct Requests {
    left: usize,
}

impl Requests {
    fn of_a_look() -> Self {
        Self { left: LOOK_REQUESTS }
    }

    fn sent(&self) -> usize {
        LOOK_REQUESTS - self.left
    }

    fn take(&mut self, operation: Operation) -> Result<(), CloudError> {
        let spent = || {
            let message = format!("it has more versions than can be listed with the {LOOK_REQUESTS} requests of one look");
            found(operation, Class::Unsupported, Cause::Plain, &message)
        };
        self.left = self.left.checked_sub(1).ok_or_else(spent)?;
        Ok(())
    }
}

/// The position of a page of a sweep, as its cursor encodes it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The URL of a page of the vault's keys; `None`: the first page.
    link: Option<String>,
    /// The last key on that page that was read already; `None`: none was.
    after: Option<String>,
}

/// A version, as the list of a key's versions shows it.
struct Listed {
    id: String,
    tags: Tags,
    enabled: bool,
    created: Option<i64>,
}

impl AzureVault {
    pub(crate) async fn read_placement(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        Ok(placement(self.read_object(&target.name).await?))
    }

    /// Reads a key by its name; `None`: Azure says that there is none, and no deleted one either.
    ///
    /// The public keys of former versions are read too, newest first, as many as there are requests left.
    pub(crate) async fn read_object(&self, name: &str) -> Result<Option<ObjectSeen>, CloudError> {
        self.read_whole(name, &mut Requests::of_a_look()).await
    }

    async fn read_whole(&self, name: &str, requests: &mut Requests) -> Result<Option<ObjectSeen>, CloudError> {
        let Some(mut object) = self.read_listed(name, requests).await? else { return Ok(None) };
        // If the newest version has no public key, no version that could be a copy of ours has one.
        if object.current().is_some_and(|current| current.public_key.is_some()) {
            let former =
                object.materials.iter_mut().filter(|material| material.state == MaterialState::Former && material.version.is_some());
            let former: Vec<_> = former.take(requests.left).collect();
            requests.left -= former.len();
            try_join_all(former.into_iter().map(|material| self.add_public_key(name, material))).await?;
        }
        Ok(Some(object))
    }

    /// Like [`AzureVault::read_object`], but shows of former versions only what the list of versions tells.
    ///
    /// If the newest version does not carry marks, only that one is shown and no others are read. A key with more versions than can be
    /// listed is [`Class::Unsupported`], and not shown in part.
    async fn read_listed(&self, name: &str, requests: &mut Requests) -> Result<Option<ObjectSeen>, CloudError> {
        self.check_object(Operation::GetKey, &ObjectId(name.to_owned()))?;
        requests.take(Operation::GetKey)?;
        match self.key(name, None).await {
            Ok(newest) => self.read_versions(newest, requests).await.map(Some),
            Err(error) if error.class == Class::NotFound => {
                requests.take(Operation::GetDeletedKey)?;
                self.read_deleted(name).await
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn read_page(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        const OPERATION: Operation = Operation::GetKeys;
        let foreign = || found(OPERATION, Class::Invalid, Cause::Plain, "a cursor that no sweep of this vault gave");
        let place: Place = match cursor {
            None => Place::default(),
            Some(Cursor(text)) => serde_json::from_str(text).map_err(|_| foreign())?,
        };
        let from = place.link.as_deref().map(|link| self.link(link, "/keys").ok_or_else(foreign)).transpose()?;
        let options = KeyClientListKeyPropertiesOptions {
            maxresults: Some(PAGE),
            method_options: PagerOptions { continuation: from.map(PagerContinuation::Link), ..PagerOptions::default() },
        };
        let pager = self.client.list_key_properties(Some(options)).map_err(|error| failed(OPERATION, &error))?;
        let mut pages = pager.into_pages();
        let listed = self.request(OPERATION, "", pages.try_next()).await?;
        let listed: ListKeyPropertiesResult = match listed {
            Some(page) => page.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?,
            None => return Err(garbled(OPERATION, "a list without a page")),
        };
        let next = self.next_link(OPERATION, pages.continuation(), place.link.as_deref(), "/keys")?;
        let mut page = Page::default();
        let mut ours = Vec::new();
        for key in listed.value {
            match self.listed_name(OPERATION, &key)? {
                None => page.broken += 1,
                // Key exchange keys are not objects of ours.
                Some(name) if names::is_kek(&name) => {}
                Some(name) if names::marks(&tags(&key.tags)).is_some() => ours.push(name),
                Some(_) => {}
            }
        }
        // If the key where the last page stopped is no longer listed, the page is read from its beginning. Reading keys twice does no
        // harm.
        let seen = place.after.as_deref().and_then(|after| ours.iter().position(|key| key == after)).map_or(0, |at| at + 1);
        let mut rest = ours.split_off(seen).into_iter().peekable();
        let (mut left, mut last) = (SWEEP_REQUESTS, None);
        loop {
            // As many keys concurrently as there are requests for, if each needs the most that a key can.
            let round: Vec<String> = rest.by_ref().take(left / LOOK_REQUESTS).collect();
            if round.is_empty() {
                break;
            }
            let read = round.into_iter().map(|name| async move {
                let mut requests = Requests::of_a_look();
                let object = self.read_whole(&name, &mut requests).await;
                (object, name, requests.sent())
            });
            for (object, name, sent) in join_all(read).await {
                match object {
                    Ok(Some(object)) => page.objects.push(object),
                    // The key is listed and cannot be read. It may be so new that not every read shows it, so the sweep is not complete.
                    Ok(None) => page.broken += 1,
                    Err(error) if spoils_only_itself(&error) => {
                        tracing::debug!(destination = %self.destination.name, key = name, %error, "key cannot be read");
                        page.broken += 1;
                    }
                    Err(error) => return Err(error),
                }
                left -= sent;
                last = Some(name);
            }
        }
        if rest.peek().is_some() {
            page.next = Some(cursor_of(&Place { link: place.link, after: last })?);
        } else if let Some(link) = next {
            page.next = Some(cursor_of(&Place { link: Some(link), after: None })?);
        }
        Ok(page)
    }

    /// The key exchange key that the reply to [`keyplane_port::Mutation::Prepare`] named; `None`: it is gone, or not fit to wrap under.
    pub(crate) async fn read_prepared(&self, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        let Some(made) = made else { return Ok(None) };
        match self.kek(&made.0).await {
            Ok(_) => Ok(Some(Prepared { wrapping: made.clone(), ready: true })),
            Err(error) if error.class == Class::NotFound || error.cause == Cause::ImportTokenExpired => {
                tracing::debug!(destination = %self.destination.name, key = made.0, %error, "cannot be wrapped under");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn read_wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        const OPERATION: Operation = Operation::GetKey;
        let unsupported = |message| Err(found(OPERATION, Class::Unsupported, Cause::Plain, message));
        let kid = match from {
            WrapFor::Prepared(kid) => &kid.0,
            WrapFor::Object(_) => return unsupported("a key to wrap under is made for each copy"),
        };
        match scheme {
            WrapScheme::RsaAesKeyWrapSha1 => {}
            WrapScheme::RsaOaepSha256 | WrapScheme::RsaOaepSha1 | WrapScheme::RsaAesKeyWrapSha256 => {
                return unsupported("material is wrapped for Azure by `rsa-aes-key-wrap-sha1`");
            }
        }
        let key = self.kek(kid).await?;
        let spki = public_key(OPERATION, &key)?;
        // The id goes into the transfer blob and is no secret. There is no expiry, because an expired key still unwraps.
        // contract: azure.validity
        Ok(WrappingKey { spki: spki.0, scheme, token: kid.clone().into_bytes(), valid_until: None })
    }

    /// The evidence that Azure can give: the public key of an RSA or EC key, which has to be the copy's. Of an AES key's bytes it shows
    /// nothing unless the key is used.
    // contract: azure.evidence.public, azure.evidence.known_answer
    pub(crate) async fn read_evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        let object = self.read_listed(&target.name, &mut Requests::of_a_look()).await?;
        let shown = object.as_ref().map_or(Err("there is no such key"), |object| holds(object, target, copy));
        let (strength, reason) = match shown {
            Ok(strength @ EvidenceStrength::None) => (strength, Some("a Managed HSM shows nothing of an AES key's bytes")),
            Ok(strength) => (strength, None),
            Err(reason) => (EvidenceStrength::None, Some(reason)),
        };
        if let Some(reason) = reason {
            tracing::debug!(destination = %self.destination.name, placement = %target.placement, reason, "no evidence");
        }
        Ok(Evidence {
            placement: target.placement,
            version: copy.coordinates.version,
            strength,
            fits: shown.is_ok(),
            reason: reason.map(str::to_owned),
            material: object.as_ref().and_then(ObjectSeen::current).and_then(|material| material.id.clone()),
            check_value: copy.check_value,
            wrapped_under: copy.wrapped_under,
            at: now,
        })
    }

    /// Reads the key exchange key with a key id, which has to name the version. The key has to be in this vault, in an HSM, enabled, and
    /// only for imports.
    ///
    /// INVARIANT: nothing is wrapped under a key that could decrypt (rule 11), because its users could then read the material.
    async fn kek(&self, text: &str) -> Result<JsonWebKey, CloudError> {
        const OPERATION: Operation = Operation::GetKey;
        let kid = Kid::read(text, &self.vault).ok().filter(|kid| names::is_kek(&kid.name));
        let Some(Kid { name, version: Some(version) }) = kid else {
            return Err(found(OPERATION, Class::Invalid, Cause::Plain, &format!("`{text}` is no key to wrap under that was made here")));
        };
        let Key { key, attributes, .. } = self.key(&name, Some(&version)).await?;
        let key = key.ok_or_else(|| garbled(OPERATION, "an answer without a key"))?;
        let enabled = attributes.as_ref().and_then(|attributes| attributes.enabled) == Some(true);
        if key.kty != Some(KeyType::RsaHsm) || !jwk::may_exactly(&key, &[jwk::KEK_OPERATION.as_ref()]) || !enabled {
            let message = format!("`{text}` is no longer a key to wrap under, and to do nothing else with");
            return Err(found(OPERATION, Class::Stale, Cause::ImportTokenExpired, &message));
        }
        // INVARIANT: nothing is wrapped under a key of another size than was asked for (rule 11). Another key is made instead.
        if let Some(unfit) = public_key(OPERATION, &key).map(|spki| check_wrapping_key(&spki.0, KEK_BITS.into()).err())? {
            return Err(found(OPERATION, Class::Stale, Cause::ImportTokenExpired, &format!("`{text}`: {unfit}")));
        }
        if self.kind == VaultKind::ManagedHsm {
            let made = attributes.and_then(|attributes| attributes.created).map(timestamp);
            self.check_attestation(&name, &version, &key, made).await?;
        }
        Ok(key)
    }

    /// Checks that the Managed HSM attests this key and, if there are roots, that the attestation is genuine and says what it must.
    // contract: azure.attestation
    async fn check_attestation(&self, name: &str, version: &str, key: &JsonWebKey, made: Option<Timestamp>) -> Result<(), CloudError> {
        const OPERATION: Operation = Operation::GetKeyAttestation;
        let options =
            KeyClientGetKeyAttestationOptions { key_version: Some(version.to_owned()), ..KeyClientGetKeyAttestationOptions::default() };
        let attested = self.request(OPERATION, name, self.client.get_key_attestation(name, Some(options))).await?;
        let attested = attested.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?;
        let kid = self.read_kid(OPERATION, attested.key.as_ref().and_then(|key| key.kid.as_deref()), name)?;
        if !kid.version.is_some_and(|is| is.eq_ignore_ascii_case(version)) {
            return Err(garbled(OPERATION, "an answer about another version"));
        }
        let Some(attestation) = attested.attributes.and_then(|attributes| attributes.attestation) else {
            return Err(garbled(OPERATION, "an answer without an attestation"));
        };
        let parts = [&attestation.certificate_pem_file, &attestation.private_key_attestation, &attestation.public_key_attestation];
        if !parts.into_iter().all(|part| part.as_ref().is_some_and(|bytes| !bytes.is_empty())) {
            return Err(garbled(OPERATION, "an answer without a whole attestation"));
        }
        let Some(roots) = &self.attestation_roots else { return Ok(()) };
        attestation::check(&attestation, roots, made, name, version, key.n.as_deref().unwrap_or_default())
            .map_err(|reason| found(OPERATION, Class::Broken, Cause::Plain, &reason))
    }

    async fn read_deleted(&self, name: &str) -> Result<Option<ObjectSeen>, CloudError> {
        const OPERATION: Operation = Operation::GetDeletedKey;
        let deleted = match self.request(OPERATION, name, self.client.get_deleted_key(name, None)).await {
            Err(error) if error.class == Class::NotFound => return Ok(None),
            other => other?,
        };
        let deleted = deleted.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?;
        let DeletedKey { key, attributes, tags: shown, managed, scheduled_purge_date, .. } = deleted;
        let key = key.ok_or_else(|| garbled(OPERATION, "an answer without a key"))?;
        let kid = self.read_kid(OPERATION, key.kid.as_deref(), name)?;
        let state = ObjectState::DeletionScheduled(scheduled_purge_date.map(timestamp));
        let seen = Shown { key: &key, attributes: attributes.as_ref(), tags: tags(&shown), managed };
        // Azure shows only the last version of a deleted key, and lists none.
        let created = attributes.as_ref().and_then(|attributes| attributes.created).map(timestamp);
        Ok(Some(seen.object(kid.name, state, created, Vec::new())))
    }

    /// Turns a key into an object, and lists its versions. The newest was read already.
    async fn read_versions(&self, newest: Key, requests: &mut Requests) -> Result<ObjectSeen, CloudError> {
        const OPERATION: Operation = Operation::GetKeyVersions;
        let Key { key, attributes, tags: shown, managed, .. } = newest;
        let key = key.ok_or_else(|| garbled(Operation::GetKey, "an answer without a key"))?;
        let tags = tags(&shown);
        let Some(Kid { name, version: Some(current) }) = key.kid.as_deref().and_then(|kid| Kid::read(kid, &self.vault).ok()) else {
            return Err(garbled(Operation::GetKey, "an answer without a key's id"));
        };
        let enabled = attributes.as_ref().and_then(|attributes| attributes.enabled) == Some(true);
        let state = if enabled { ObjectState::Usable } else { ObjectState::Disabled };
        let marks = names::marks(&tags);
        let created = attributes.as_ref().and_then(|attributes| attributes.created).map(OffsetDateTime::unix_timestamp);
        let (created, materials) = match &marks {
            None => {
                let alone = Listed { id: current, tags: Tags::new(), enabled, created };
                (created, vec![material(&alone, MaterialState::Current, None, None)])
            }
            Some(marks) => {
                self.note_retention(attributes.as_ref());
                let mut listed = self.versions(&name, requests).await?;
                // Times are in whole seconds. The key itself tells which of the versions of one second is the newest.
                // contract: azure.attributes, azure.unstated.versions_order
                listed.sort_by(|a, b| (b.id == current, b.created, &b.id).cmp(&(a.id == current, a.created, &a.id)));
                // The key and its list of versions: if they contradict each other, one of the two reads shows an earlier state. Nothing may
                // be concluded then, or the version in use could be taken for a former one.
                let late = match listed.split_first() {
                    Some((first, rest)) => {
                        first.id != current || first.enabled != enabled || rest.iter().any(|other| other.created > first.created)
                    }
                    None => true,
                };
                if late {
                    return Err(found(OPERATION, Class::Transient, Cause::Plain, "two reads of the same key contradict each other"));
                }
                (listed.iter().filter_map(|version| version.created).min(), self.materials(&key, marks, listed)?)
            }
        };
        let seen = Shown { key: &key, attributes: attributes.as_ref(), tags, managed };
        Ok(seen.object(name, state, created.map(from_seconds), materials))
    }

    /// Turns versions into materials, newest first. `newest` is the key of the first.
    fn materials(&self, newest: &JsonWebKey, marks: &Marks, listed: Vec<Listed>) -> Result<Vec<MaterialSeen>, CloudError> {
        let seen = listed.into_iter().enumerate().map(|(place, one)| {
            let version = names::version(&one.tags, self.installation, marks.placement);
            let (state, public_key) = match (place, version) {
                (0, Some(_)) => (MaterialState::Current, digest(newest)?),
                (0, None) => (MaterialState::Current, None),
                (_, _) => (MaterialState::Former, None),
            };
            Ok(material(&one, state, version, public_key))
        });
        seen.collect()
    }

    async fn add_public_key(&self, name: &str, material: &mut MaterialSeen) -> Result<(), CloudError> {
        let key = self.key(name, material.id.as_deref()).await.map_err(contradiction)?;
        material.public_key = digest(key.key.as_ref().ok_or_else(|| garbled(Operation::GetKey, "an answer without a key"))?)?;
        Ok(())
    }

    /// Logs once that the vault keeps deleted keys for another number of days than configured. Only deleting depends on that number, and is
    /// then refused ([`AzureVault::mutate`]).
    fn note_retention(&self, attributes: Option<&KeyAttributes>) {
        let (vault, configured) = (recoverable_days(attributes), self.destination.capabilities.deletion_days);
        if vault != Some(configured) {
            self.retention_noted.call_once(|| {
                let destination = &self.destination.name;
                tracing::warn!(%destination, vault, configured, "a deleted key can be recovered for another number of days than configured");
            });
        }
    }

    async fn versions(&self, name: &str, requests: &mut Requests) -> Result<Vec<Listed>, CloudError> {
        const OPERATION: Operation = Operation::GetKeyVersions;
        let path = format!("/keys/{name}/versions");
        let options = KeyClientListKeyPropertiesVersionsOptions { maxresults: Some(PAGE), ..Default::default() };
        let pager = self.client.list_key_properties_versions(name, Some(options)).map_err(|error| failed(OPERATION, &error))?;
        let mut pages = pager.into_pages();
        let (mut listed, mut link) = (Vec::new(), None);
        loop {
            requests.take(OPERATION)?;
            let page = self.request(OPERATION, name, pages.try_next()).await.map_err(contradiction)?;
            let page: ListKeyPropertiesResult = match page {
                Some(page) => page.into_model().map_err(|error| garbled(OPERATION, &error.to_string()))?,
                None => return Err(garbled(OPERATION, "a list without a page")),
            };
            for one in page.value {
                listed.push(self.listed_version(OPERATION, one, name)?);
            }
            link = self.next_link(OPERATION, pages.continuation(), link.as_deref(), &path)?;
            if link.is_none() {
                return Ok(listed);
            }
        }
    }

    fn listed_version(&self, operation: Operation, one: KeyProperties, name: &str) -> Result<Listed, CloudError> {
        let id = self.read_kid(operation, one.kid.as_deref(), name)?.version;
        Ok(Listed {
            id: id.ok_or_else(|| garbled(operation, "a version without an id"))?,
            tags: tags(&one.tags),
            enabled: one.attributes.as_ref().and_then(|attributes| attributes.enabled) == Some(true),
            created: one.attributes.and_then(|attributes| attributes.created).map(OffsetDateTime::unix_timestamp),
        })
    }

    /// The name of a listed key; `None`: its key id cannot be read.
    fn listed_name(&self, operation: Operation, key: &KeyProperties) -> Result<Option<String>, CloudError> {
        match key.kid.as_deref().map(|kid| (Kid::read(kid, &self.vault), kid)) {
            Some((Ok(kid), _)) => Ok(Some(kid.name)),
            Some((Err(KidError::Elsewhere), kid)) => self.read_kid(operation, Some(kid), "").map(|_| None),
            Some((Err(KidError::NotOne), _)) | None => Ok(None),
        }
    }

    /// The URL of a list's next page; `None`: this was the last page. It has to be another page of the same list in this vault.
    fn next_link(
        &self,
        operation: Operation,
        continuation: Option<&PagerContinuation>,
        from: Option<&str>,
        path: &str,
    ) -> Result<Option<String>, CloudError> {
        let Some(continuation) = continuation else { return Ok(None) };
        let link: &str = continuation.as_ref();
        if self.link(link, path).is_none() || from == Some(link) {
            return Err(garbled(operation, "a list that goes on nowhere"));
        }
        Ok(Some(link.to_owned()))
    }

    fn link(&self, text: &str, path: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let here = url.scheme() == "https" && url.host_str() == Some(self.vault.as_str()) && url.port().is_none();
        (here && url.path().trim_end_matches('/').eq_ignore_ascii_case(path)).then_some(url)
    }
}

/// Answers [`keyplane_port::Cloud::find`] without a request: a key is reached only by its name, so a sweep that found it tells everything.
/// `None`: the sweep did not find it. Deleted keys are in no sweep.
pub(crate) fn find_placement(target: &Target, swept: &Swept) -> Option<PlacementSeen> {
    swept.get(&ObjectId(target.name.clone())).map(|object| placement(Some(object.clone())))
}

/// A key's name is the placement's claim, and its import is also the activation: users get the current version.
fn placement(claimed: Option<ObjectSeen>) -> PlacementSeen {
    let published = claimed.clone().filter(|object| object.current().is_some());
    PlacementSeen { claimed, published }
}

/// The parts of an answer that describe a key.
struct Shown<'a> {
    key: &'a JsonWebKey,
    attributes: Option<&'a KeyAttributes>,
    tags: Tags,
    managed: Option<bool>,
}

impl Shown<'_> {
    fn object(&self, name: String, state: ObjectState, created: Option<Timestamp>, materials: Vec<MaterialSeen>) -> ObjectSeen {
        let algorithm = jwk::algorithm(self.key);
        let purpose = jwk::purpose(self.key);
        let exportable = self.attributes.and_then(|attributes| attributes.exportable) == Some(true);
        ObjectSeen {
            object: ObjectId(name),
            marks: names::marks(&self.tags),
            // An HSM key that no certificate manages, because such a key would be renewed with the certificate. Azure does not show where a
            // key's bytes came from; tags and public key tell.
            external: algorithm.is_some() && self.managed != Some(true),
            algorithm,
            purpose,
            policy_fits: !exportable && purpose.is_some_and(|purpose| jwk::may_exactly(self.key, jwk::operations(purpose))),
            state,
            created,
            materials,
        }
    }
}

fn material(listed: &Listed, state: MaterialState, version: Option<Version>, public_key: Option<Digest>) -> MaterialSeen {
    let presence = if listed.enabled { Presence::Present } else { Presence::Disabled };
    MaterialSeen { id: Some(listed.id.clone()), version, state, presence, public_key }
}

fn digest(key: &JsonWebKey) -> Result<Option<Digest>, CloudError> {
    let public_key = jwk::public_key(key).map_err(|_| garbled(Operation::GetKey, "a key that cannot be one"))?;
    Ok(public_key.map(|public_key| public_key.digest()))
}

/// Checks that an object is the target's and holds the copy; returns the strength of Azure's evidence.
fn holds(object: &ObjectSeen, target: &Target, copy: &CopyRecord) -> Result<EvidenceStrength, &'static str> {
    if !object.fits(target) {
        return Err("the key's kind, operations or tags are not ours");
    }
    match object.state {
        ObjectState::Usable | ObjectState::Disabled => {}
        ObjectState::DeletionScheduled(_) => return Err("the key is deleted"),
        ObjectState::AwaitingMaterial | ObjectState::Other => return Err("the key is in another state"),
    }
    let Some(recorded) = &copy.material else { return Err("no import was ever confirmed") };
    let Some(current) = object.current() else { return Err("the key has no current version") };
    if current.id.as_ref() != Some(recorded) {
        return Err("another version is current");
    }
    if current.version != Some(copy.coordinates.version) {
        return Err("the version's tag names another one of ours");
    }
    match (&current.public_key, &copy.public_key) {
        (Some(shown), Some(ours)) if *shown == ours.digest() => Ok(EvidenceStrength::Equality),
        (Some(_), Some(_)) => Err("the public key is another one"),
        (Some(_), None) => Err("the copy's own public key is not known"),
        (None, Some(_)) => Err("the version shows no public key"),
        (None, None) => Ok(EvidenceStrength::None),
    }
}

/// Sorts tags by name, because Azure shows them in no fixed order.
fn tags<'a>(shown: impl IntoIterator<Item = impl IntoIterator<Item = (&'a String, &'a String)>>) -> Tags {
    shown.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn cursor_of(place: &Place) -> Result<Cursor, CloudError> {
    serde_json::to_string(place).map(Cursor).map_err(|error| garbled(Operation::GetKeys, &error.to_string()))
}

fn public_key(operation: Operation, key: &JsonWebKey) -> Result<PublicKey, CloudError> {
    jwk::public_key(key).ok().flatten().ok_or_else(|| garbled(operation, "a key without a public half"))
}

fn timestamp(time: OffsetDateTime) -> Timestamp {
    from_seconds(time.unix_timestamp())
}

fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000))
}
