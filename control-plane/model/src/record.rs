//! What the ledger records, and how commits and receipts change it. Every implementation of the ledger applies these functions, so that all
//! behave alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Act, Action, Algorithm, Approval, AttemptId, ChangeSet, CheckValue, Class, CloudKind, CopyCoordinates, DestinationName, Digest,
    Generation, InstallationId, KeyId, KeyName, ObjectId, PlacementId, ProfileName, PublicKey, Purpose, SealedBlob, StepNo, Timestamp,
    Version,
};

/// Everything that planning needs to know of the ledger, read in one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    pub installation: InstallationId,
    pub keys: BTreeMap<KeyName, KeyRecord>,
    /// The open change sets, at most one for each key.
    pub open: BTreeMap<KeyId, ChangeSetRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Never changes.
    pub id: KeyId,
    pub name: KeyName,
    /// That of the change set that was committed last.
    pub profile: ProfileName,
    /// Counts the commits and receipts that changed this record.
    pub generation: Generation,
    /// Includes placements that are no longer wanted.
    pub placements: BTreeMap<PlacementId, PlacementRecord>,
    pub versions: BTreeMap<Version, VersionRecord>,
    /// Sorted by version and placement.
    pub copies: Vec<CopyRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRecord {
    pub destination: DestinationName,
    /// The destination's fingerprint when the placement's last import was committed.
    pub fingerprint: Digest,
    pub cloud: CloudKind,
    /// The name by which users address the key at the destination.
    pub name: String,
    pub algorithm: Algorithm,
    #[serde(default)]
    pub purpose: Purpose,
    /// Numbers the objects that have been this placement over time, from 1.
    pub incarnation: u32,
    /// `None`: not created yet.
    pub object: Option<ObjectId>,
    /// Whether the object has the placement's claim.
    pub claimed: bool,
    /// Whether the copy is activated: the users' name points at the object.
    pub published: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    pub state: VersionState,
    /// When the receipt of its first copy was written.
    pub created: Timestamp,
    /// When it became active in all placements of the key. `None`: not yet.
    pub activated: Option<Timestamp>,
}

/// The states of a key (NIST SP 800-57 part 1, section 7), for one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionState {
    /// Exists and must not be used yet.
    PreActivation,
    /// Protects new data.
    Active,
    /// Made unusable for a while, in all placements at once.
    Suspended,
    /// Still decrypts, but protects no new data.
    Deactivated,
    /// Somebody without authorization knows its bytes, or may know them.
    Compromised,
    /// Its bytes can no longer be derived or unwrapped.
    Destroyed,
}

/// The bytes of one version in one placement: how they were made and where they are. Never the plain bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// The copy's own; see [`Self::bound`].
    pub coordinates: CopyCoordinates,
    /// The placement that the bytes were made for. `None`: this one.
    pub bytes_of: Option<PlacementId>,
    /// `None`: the token computes none for the algorithm.
    pub check_value: Option<CheckValue>,
    /// `None`: the copy is derived.
    pub blob: Option<SealedBlob>,
    /// `None`: the key is symmetric.
    pub public_key: Option<PublicKey>,
    /// The cloud's id of the imported material. `None`: not imported yet, or the cloud gives none.
    pub material: Option<String>,
    /// SHA-256 of the public key that the bytes were wrapped under (rule 11). `None`: not imported, or not known because a look found the
    /// import already done.
    pub wrapped_under: Option<Digest>,
    /// When the import was confirmed. `None`: not yet.
    pub imported: Option<Timestamp>,
}

impl CopyRecord {
    /// The coordinates that the bytes are bound to in the HSM: those of the placement that they were made for.
    #[must_use]
    pub fn bound(&self) -> CopyCoordinates {
        let placement = self.bytes_of.unwrap_or(self.coordinates.placement);
        CopyCoordinates { placement, ..self.coordinates.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSetRecord {
    /// What approvals sign.
    pub digest: Digest,
    pub change_set: ChangeSet,
    pub state: ChangeSetState,
    /// By the server's wall clock.
    pub proposed: Timestamp,
    /// At most one for each approver. Whoever relies on them verifies them.
    pub approvals: Vec<Approval>,
    /// Of all steps, oldest first.
    pub attempts: Vec<Attempt>,
    /// Of all steps, oldest first; a step and a key have at most one.
    #[serde(default)]
    pub wraps: Vec<Wrap>,
    /// Of the finished steps.
    pub receipts: BTreeMap<StepNo, Receipt>,
}

impl ChangeSetRecord {
    /// Oldest first.
    pub fn attempts_of(&self, step: StepNo) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |attempt| attempt.step == step)
    }

    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.receipts.len() == self.change_set.steps.len()
    }
}

/// A change set that is proposed, ending or committed is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeSetState {
    /// May be approved, committed or dropped.
    Proposed,
    /// A proposal that is being withdrawn: the custodian is told, and then it is dropped. Nobody approves or commits it any more.
    Ending,
    /// Its steps run, or will be resumed.
    Committed,
    /// Every step has its receipt.
    Done,
    /// It became stale and was dropped, before or after the commit. The next plan continues from what it had done.
    Dropped,
}

impl ChangeSetState {
    /// Whether the key can have no other change set beside it.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Proposed | Self::Ending | Self::Committed => true,
            Self::Done | Self::Dropped => false,
        }
    }

    /// As in messages and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Ending => "ending",
            Self::Committed => "committed",
            Self::Done => "done",
            Self::Dropped => "dropped",
        }
    }
}

/// The durable record that a step is about to send its request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// [`AttemptId::of`] change set, step and ordinal.
    pub id: AttemptId,
    pub step: StepNo,
    /// Numbers the attempts of the step, from 1.
    pub ordinal: u32,
    /// When it began, by the server's wall clock.
    pub at: Timestamp,
    /// For an import: SHA-256 of the public key that the material was wrapped under. Recorded before the request, since the reply may be
    /// lost. `None`: any other step.
    pub wrapped_under: Option<Digest>,
    /// Why the attempt certainly had no effect. `None`: it may have had one.
    pub refused: Option<Class>,
}

/// Bytes were wrapped, or were about to be when whoever recorded it stopped. The server records it in the ledger before it asks the
/// custodian, and the custodian in the token before it wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrap {
    pub step: StepNo,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub wrapped_under: Digest,
    /// The first time, by the clock of whoever recorded it.
    pub at: Timestamp,
}

impl Wrap {
    /// Whether both are of the same step and key, whenever they were recorded.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.step, self.wrapped_under) == (other.step, other.wrapped_under)
    }
}

/// The durable record of what a step did, written once that is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub step: StepNo,
    /// The attempt that had the effect. `None`: the step was found done, or needs no attempt.
    pub attempt: Option<AttemptId>,
    pub outcome: Outcome,
    /// When it was written, by the server's wall clock.
    pub at: Timestamp,
}

/// The confirmed effect of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// The custodian generated or derived the copy's bytes.
    Minted {
        /// The coordinates that the bytes are bound to.
        coordinates: CopyCoordinates,
        /// `None`: the token computes none for the algorithm.
        check_value: Option<CheckValue>,
        /// `None`: the copy is derived.
        blob: Option<SealedBlob>,
        /// `None`: the key is symmetric.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public_key: Option<PublicKey>,
    },
    /// The copy has the bytes of another placement of the key.
    Shared {
        from: PlacementId,
    },
    Created {
        object: ObjectId,
    },
    /// The object has the placement's claim.
    Claimed {
        /// May be another object of ours than the one created last.
        object: ObjectId,
    },
    /// The destination made a key encryption key for the copy.
    Prepared {
        /// The cloud's id of that key or import job.
        wrapping: ObjectId,
    },
    /// The destination holds the copy.
    Imported {
        version: Version,
        /// Set if the import made the object. `None`: an earlier step did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<ObjectId>,
        /// The cloud's id. `None`: the cloud gives none.
        material: Option<String>,
        /// SHA-256 of the public key that the copy was wrapped under. `None`: not known, because a look found the import already done.
        wrapped_under: Option<Digest>,
    },
    /// The copy is activated: the users' name points at the object.
    Published,
    /// The surplus object is scheduled for deletion, or gone.
    SurplusRemoved {
        object: ObjectId,
    },
    /// The second import is disabled, or gone.
    SurplusDisabled {
        /// The object that holds both imports.
        object: ObjectId,
        /// The cloud's id of the second import.
        material: String,
    },
    /// The second import is the current one, and is recorded as the copy.
    SecondFollowed {
        /// The object that holds both imports.
        object: ObjectId,
        /// The cloud's id of the second import.
        material: String,
    },
}

/// Why a commit or a receipt does not fit the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The key changed since the change set was planned.
    #[error("the key is at generation {found}, the change set was planned at {planned}")]
    Generation {
        /// In the change set.
        planned: Generation,
        /// In the ledger.
        found: Generation,
    },
    #[error("the change set has no step {0}")]
    NoStep(StepNo),
    /// The receipt's outcome belongs to another kind of step, or to another copy or object than the step's.
    #[error("step {step} is `{act}`, which cannot have that outcome")]
    WrongOutcome {
        step: StepNo,
        /// [`Act::word`].
        act: &'static str,
    },
    /// The placement already has bytes for this version, and those never change.
    #[error("version {0} of this placement has its bytes already")]
    HasBytes(Version),
    /// The ledger knows no such placement, or no copy in it.
    #[error("the ledger does not know placement {0}, or no such copy in it")]
    NoPlacement(PlacementId),
}

impl KeyRecord {
    /// The record after a change set was committed.
    ///
    /// # Errors
    /// When the key's generation is not the one that the change set was planned at.
    pub fn committed(current: Option<&Self>, change_set: &ChangeSet) -> Result<Self, SettleError> {
        let found = current.map_or(Generation(0), |record| record.generation);
        if found != change_set.generation {
            return Err(SettleError::Generation { planned: change_set.generation, found });
        }
        let mut record = current.cloned().unwrap_or_else(|| Self {
            id: change_set.key_id,
            name: change_set.key.clone(),
            profile: change_set.profile.clone(),
            generation: Generation(0),
            placements: BTreeMap::new(),
            versions: BTreeMap::new(),
            copies: Vec::new(),
        });
        record.profile = change_set.profile.clone();
        record.generation = found.next();
        if change_set.action == Action::Import {
            for (id, plan) in &change_set.placements {
                let placement = record.placements.entry(*id).or_insert_with(|| PlacementRecord {
                    destination: plan.destination.clone(),
                    fingerprint: plan.fingerprint,
                    cloud: plan.cloud,
                    name: plan.name.clone(),
                    algorithm: plan.algorithm,
                    purpose: plan.purpose,
                    incarnation: plan.incarnation,
                    object: None,
                    claimed: false,
                    published: false,
                });
                if placement.incarnation != plan.incarnation {
                    placement.incarnation = plan.incarnation;
                    placement.object = None;
                    placement.claimed = false;
                    placement.published = false;
                }
                placement.fingerprint = plan.fingerprint;
            }
        }
        Ok(record)
    }

    /// Applies the receipt of a step to the record.
    ///
    /// # Errors
    /// When the receipt fits neither the change set nor the record. The record stays as it was.
    pub fn settle(&mut self, change_set: &ChangeSet, receipt: &Receipt) -> Result<(), SettleError> {
        let step = change_set.step(receipt.step).ok_or(SettleError::NoStep(receipt.step))?;
        let wrong = SettleError::WrongOutcome { step: receipt.step, act: step.act.word() };
        let unknown = SettleError::NoPlacement(step.placement);
        match (&step.act, &receipt.outcome) {
            (Act::Mint { version, source, epoch }, Outcome::Minted { coordinates, check_value, blob, public_key }) => {
                if coordinates.placement != step.placement
                    || coordinates.version != *version
                    || coordinates.source != *source
                    || coordinates.epoch != *epoch
                    || coordinates.key != self.id
                {
                    return Err(wrong);
                }
                // INVARIANT: a version's bytes never change (rule 2).
                if self.copy(*version, step.placement).is_some() {
                    return Err(SettleError::HasBytes(*version));
                }
                self.copies.push(CopyRecord {
                    coordinates: coordinates.clone(),
                    bytes_of: None,
                    check_value: *check_value,
                    blob: blob.clone(),
                    public_key: public_key.clone(),
                    material: None,
                    wrapped_under: None,
                    imported: None,
                });
                self.copies.sort_by_key(|copy| (copy.coordinates.version, copy.coordinates.placement));
                self.versions.entry(*version).or_insert(VersionRecord {
                    state: VersionState::PreActivation,
                    created: receipt.at,
                    activated: None,
                });
            }
            (Act::Share { version, from }, Outcome::Shared { from: shared }) if from == shared => {
                if self.copy(*version, step.placement).is_some() {
                    return Err(SettleError::HasBytes(*version));
                }
                let source = self.copy(*version, *from).ok_or(SettleError::NoPlacement(*from))?;
                let mut copy = CopyRecord {
                    bytes_of: Some(source.bytes_of.unwrap_or(*from)),
                    material: None,
                    wrapped_under: None,
                    imported: None,
                    ..source.clone()
                };
                copy.coordinates.placement = step.placement;
                self.copies.push(copy);
                self.copies.sort_by_key(|copy| (copy.coordinates.version, copy.coordinates.placement));
            }
            (Act::Create, Outcome::Created { object }) => {
                self.placements.get_mut(&step.placement).ok_or(unknown)?.object = Some(object.clone());
            }
            (Act::Claim, Outcome::Claimed { object }) => {
                let placement = self.placements.get_mut(&step.placement).ok_or(unknown)?;
                placement.object = Some(object.clone());
                placement.claimed = true;
            }
            (Act::Prepare { .. }, Outcome::Prepared { .. }) => {}
            (Act::Import { version, .. }, Outcome::Imported { version: imported, object, material, wrapped_under })
                if version == imported =>
            {
                if !self.placements.contains_key(&step.placement) {
                    return Err(unknown);
                }
                let copy = self
                    .copies
                    .iter_mut()
                    .find(|copy| copy.coordinates.version == *version && copy.coordinates.placement == step.placement)
                    .ok_or(unknown)?;
                copy.material.clone_from(material);
                copy.wrapped_under = *wrapped_under;
                copy.imported = Some(receipt.at);
                if let (Some(object), Some(placement)) = (object, self.placements.get_mut(&step.placement)) {
                    placement.object = Some(object.clone());
                }
            }
            (Act::Publish, Outcome::Published) => {
                self.placements.get_mut(&step.placement).ok_or(unknown)?.published = true;
            }
            (Act::RemoveSurplus { object }, Outcome::SurplusRemoved { object: removed }) if object == removed => {}
            (Act::DisableSurplus { object, material, keeps }, Outcome::SurplusDisabled { object: other, material: disabled })
                if (object, material) == (other, disabled) =>
            {
                let copies = self.copies.iter_mut().filter(|copy| copy.coordinates.placement == step.placement);
                copies.filter(|copy| copy.material.as_ref() == Some(material)).for_each(|copy| copy.material = Some(keeps.clone()));
            }
            (Act::FollowSecond { object, material, keeps }, Outcome::SecondFollowed { object: other, material: current })
                if (object, keeps) == (other, current) =>
            {
                let copies = self.copies.iter_mut().filter(|copy| copy.coordinates.placement == step.placement);
                copies.filter(|copy| copy.material.as_ref() == Some(material)).for_each(|copy| copy.material = Some(keeps.clone()));
            }
            (
                Act::Mint { .. }
                | Act::Share { .. }
                | Act::Create
                | Act::Claim
                | Act::Prepare { .. }
                | Act::Import { .. }
                | Act::Publish
                | Act::RemoveSurplus { .. }
                | Act::DisableSurplus { .. }
                | Act::FollowSecond { .. },
                _,
            ) => return Err(wrong),
        }
        self.generation = self.generation.next();
        Ok(())
    }

    /// Applies the end of a change set: versions that all placements hold and have activated become active.
    pub fn complete(&mut self, at: Timestamp) {
        for (number, version) in &mut self.versions {
            let everywhere = self.placements.iter().all(|(id, placement)| {
                placement.published
                    && self
                        .copies
                        .iter()
                        .any(|copy| copy.coordinates.version == *number && copy.coordinates.placement == *id && copy.imported.is_some())
            });
            if version.state == VersionState::PreActivation && everywhere {
                version.state = VersionState::Active;
                version.activated = Some(at);
            }
        }
        self.generation = self.generation.next();
    }

    /// The copy of a version in a placement.
    #[must_use]
    pub fn copy(&self, version: Version, placement: PlacementId) -> Option<&CopyRecord> {
        self.copies.iter().find(|copy| copy.coordinates.version == version && copy.coordinates.placement == placement)
    }
}
