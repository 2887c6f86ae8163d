//! What the ledger knows, and how commits and receipts change it. Every ledger applies these functions, so that none has
//! an opinion of its own.

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
    /// Whose ledger it is.
    pub installation: InstallationId,
    /// The keys, by name.
    pub keys: BTreeMap<KeyName, KeyRecord>,
    /// The open change sets: at most one a key.
    pub open: BTreeMap<KeyId, ChangeSetRecord>,
}

/// A key, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// Its name.
    pub name: KeyName,
    /// Under whose rules it was committed last.
    pub profile: ProfileName,
    /// Counts the commits and receipts that changed it.
    pub generation: Generation,
    /// Where it is.
    pub placements: BTreeMap<PlacementId, PlacementRecord>,
    /// Its versions.
    pub versions: BTreeMap<Version, VersionRecord>,
    /// The bytes of its versions in its placements, by version and placement.
    pub copies: Vec<CopyRecord>,
}

/// A placement, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRecord {
    /// Where.
    pub destination: DestinationName,
    /// Which destination exactly.
    pub fingerprint: Digest,
    /// Whose API it speaks.
    pub cloud: CloudKind,
    /// How users address it there.
    pub name: String,
    /// What it is there.
    pub algorithm: Algorithm,
    /// What it may be used for there.
    #[serde(default)]
    pub purpose: Purpose,
    /// Counts the objects that ever were this placement, from 1.
    pub incarnation: u32,
    /// What the cloud calls it, once it was made.
    pub object: Option<ObjectId>,
    /// Whether that object holds the placement's claim.
    pub claimed: bool,
    /// Whether the users' name points at it.
    pub published: bool,
}

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// Its NIST state.
    pub state: VersionState,
    /// When its first copy was made.
    pub created: Timestamp,
    /// When it became active everywhere.
    pub activated: Option<Timestamp>,
}

/// The states of a version (NIST SP 800-57 part 1, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionState {
    /// Made, not yet to be used.
    PreActivation,
    /// Protects new data.
    Active,
    /// Unusable for now.
    Suspended,
    /// Protects nothing new, still decrypts.
    Deactivated,
    /// Known, or feared, to be known to others.
    Compromised,
    /// Gone for good.
    Destroyed,
}

/// The bytes of one version in one placement: where they came from and where they are, never what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// Which copy.
    pub coordinates: CopyCoordinates,
    /// The placement that the bytes were made for, where this one shares another's.
    pub bytes_of: Option<PlacementId>,
    /// The HSM's check value; `None` where the token gives none for the algorithm.
    pub check_value: Option<CheckValue>,
    /// A generated copy's bytes under the root wrapping key; `None` for a derived one.
    pub blob: Option<SealedBlob>,
    /// A key pair's public key.
    pub public_key: Option<PublicKey>,
    /// The cloud's own id of the material, once it was imported and where it has one.
    pub material: Option<String>,
    /// SHA-256 of the public key that it was wrapped under (rule 11).
    pub wrapped_under: Option<Digest>,
    /// When its import was confirmed.
    pub imported: Option<Timestamp>,
}

impl CopyRecord {
    /// The coordinates that its bytes are bound to in the HSM.
    #[must_use]
    pub fn bound(&self) -> CopyCoordinates {
        let placement = self.bytes_of.unwrap_or(self.coordinates.placement);
        CopyCoordinates { placement, ..self.coordinates.clone() }
    }
}

/// A change set, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSetRecord {
    /// Its digest.
    pub digest: Digest,
    /// What it is.
    pub change_set: ChangeSet,
    /// How far it is.
    pub state: ChangeSetState,
    /// When it was proposed.
    pub proposed: Timestamp,
    /// The approvals that were given, one an approver.
    pub approvals: Vec<Approval>,
    /// Every attempt of its steps, oldest first.
    pub attempts: Vec<Attempt>,
    /// The receipts of its steps.
    pub receipts: BTreeMap<StepNo, Receipt>,
}

impl ChangeSetRecord {
    /// The attempts of one step, oldest first.
    pub fn attempts_of(&self, step: StepNo) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |attempt| attempt.step == step)
    }

    /// Whether every step has its receipt.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.receipts.len() == self.change_set.steps.len()
    }
}

/// How far a change set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeSetState {
    /// Proposed: may be approved, committed or dropped.
    Proposed,
    /// Committed: its steps run, or will be resumed.
    Committed,
    /// Every step has its receipt.
    Done,
    /// It did not fit any more and was dropped, before or after it was committed; a new plan takes up what it left.
    Dropped,
}

/// The durable record that a step is about to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id: [`AttemptId::of`] change set, step and ordinal.
    pub id: AttemptId,
    /// Of which step.
    pub step: StepNo,
    /// Counts the attempts of the step, from 1.
    pub ordinal: u32,
    /// When it began.
    pub at: Timestamp,
    /// For an import: SHA-256 of the public key that the material was wrapped under. Kept here, since the reply may be lost.
    pub wrapped_under: Option<Digest>,
    /// Set once it is certain that it had no effect, and why. `None`: it may have had one.
    pub refused: Option<Class>,
}

/// The durable record of what a step did, written after it was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Of which step.
    pub step: StepNo,
    /// The attempt that did it; `None`: the step found it done, or needs no attempt.
    pub attempt: Option<AttemptId>,
    /// What was confirmed.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// What a step was confirmed to have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// The custodian made the copy's bytes.
    Minted {
        /// The coordinates that they are bound to.
        coordinates: CopyCoordinates,
        /// Their check value.
        check_value: Option<CheckValue>,
        /// Their blob, when they were generated.
        blob: Option<SealedBlob>,
        /// The public key, when they are a key pair.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        public_key: Option<PublicKey>,
    },
    /// The copy has another placement's bytes.
    Shared {
        /// Whose.
        from: PlacementId,
    },
    /// The object exists.
    Created {
        /// What the cloud calls it.
        object: ObjectId,
    },
    /// The object holds the placement's claim.
    Claimed {
        /// What the cloud calls it: whoever holds the claim, which may be another one of ours than was created last.
        object: ObjectId,
    },
    /// The destination made a key to wrap the copy under.
    Prepared {
        /// What the cloud calls it.
        wrapping: ObjectId,
    },
    /// The copy is there.
    Imported {
        /// Which generation of the key.
        version: Version,
        /// The object that holds it, where the import made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<ObjectId>,
        /// The cloud's id of the material.
        material: Option<String>,
        /// SHA-256 of the public key that it was wrapped under.
        wrapped_under: Option<Digest>,
    },
    /// The users' name points at the object.
    Published,
    /// The surplus object is scheduled for deletion, or gone.
    SurplusRemoved {
        /// Which one.
        object: ObjectId,
    },
    /// The second import is disabled, or gone.
    SurplusDisabled {
        /// In which object.
        object: ObjectId,
        /// Which one.
        material: String,
    },
    /// The second import is the current one, and of the same version.
    SecondFollowed {
        /// In which object.
        object: ObjectId,
        /// The second import.
        material: String,
    },
}

/// A commit or a receipt that does not fit the record; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The key changed since the change set was planned.
    #[error("the key is at generation {found}, the change set was planned at {planned}")]
    Generation {
        /// What the change set says.
        planned: Generation,
        /// What the ledger says.
        found: Generation,
    },
    /// The change set has no such step.
    #[error("the change set has no step {0}")]
    NoStep(StepNo),
    /// The outcome is not that of the step.
    #[error("step {step} is `{act}`, which cannot have that outcome")]
    WrongOutcome {
        /// Which step.
        step: StepNo,
        /// What it does.
        act: &'static str,
    },
    /// The bytes of a version never change.
    #[error("version {0} of this placement has its bytes already")]
    HasBytes(Version),
    /// The ledger does not know the placement or the copy.
    #[error("the ledger does not know placement {0}, or no such copy in it")]
    NoPlacement(PlacementId),
}

impl KeyRecord {
    /// The record after a change set is committed.
    ///
    /// # Errors
    /// When the key is at another generation than the one that the change set was planned at.
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

    /// Takes in the receipt of a step.
    ///
    /// # Errors
    /// When the receipt does not fit the change set or the record; the record is as it was.
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

    /// Takes in that every step of a change set has its receipt: versions that are in all their placements become active.
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
