//! A custodian with symbolic keys. It judges with the same verifier as the real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyplane_emulator_core::crypto::OaepHash;
use keyplane_model::{
    Algorithm, Approval, ChangeSet, Charter, CharterChange, CheckValue, CopyCoordinates, CopyRecord, Digest, EpochId, InstallationId,
    PublicKey, SealedBlob, SealedCharter, Source, Statement, WrapScheme, canonical_bytes,
};
use keyplane_port::{
    Custodian, CustodianError, CustodianStatus, EnrolmentReport, MintRequest, Minted, Route, Spent, Usage, Usages, Warrant, Wrap,
    WrapRequest, Wrapped,
};
use keyplane_verifier::{
    Facts, Shortfall, approved, fit, in_time, judge, may_mint, may_wrap, required, required_for_charter, valid_for, valid_for_charter,
};
use sha2::{Digest as _, Sha256};

use crate::executor::{Sim, locked};
use crate::symbols::{SYMBOL, Symbols, public_half};

/// The only root epoch of a run.
pub(crate) const EPOCH: EpochId = EpochId(1);

/// The HSM of a run.
pub(crate) struct SymbolCustodian {
    symbols: Symbols,
    root: [u8; SYMBOL],
    /// Every charter that was ever adopted, the one in force last, each with its approvals.
    adopted: Mutex<Vec<(SealedCharter, Vec<Approval>)>>,
    /// Serial and digest of the charter in force, kept because each round asks for them.
    digest: Mutex<Option<(u32, Digest)>>,
    /// What was judged good under the charter in force. Each step shows the same, and checking signatures is slow.
    good: Mutex<Vec<Good>>,
    /// What each change set was used for.
    usages: Mutex<BTreeMap<Digest, Usage>>,
    sim: Arc<Sim>,
}

/// A change set that was judged good, with its approvals and the copy that it may wrap.
type Good = (ChangeSet, Vec<Approval>, Option<CopyCoordinates>);

impl SymbolCustodian {
    pub(crate) fn new(symbols: Symbols, sim: Arc<Sim>) -> Arc<Self> {
        let root = symbols.key("root");
        Arc::new(Self {
            symbols,
            root,
            adopted: Mutex::default(),
            digest: Mutex::default(),
            good: Mutex::default(),
            usages: Mutex::default(),
            sim,
        })
    }

    /// Every charter that was ever adopted, oldest first, with its approvals.
    pub(crate) fn adopted(&self) -> Vec<(SealedCharter, Vec<Approval>)> {
        locked(&self.adopted).clone()
    }

    fn in_force(&self) -> Option<SealedCharter> {
        locked(&self.adopted).last().map(|(sealed, _)| sealed.clone())
    }

    /// Adopts a charter after the current one, without checking who signed it.
    pub(crate) fn replace(&self, current: &SealedCharter, next: &Charter, approvals: &[Approval]) -> Result<SealedCharter, CustodianError> {
        let serial = current.serial + 1;
        let there = self.in_force();
        if let Some(there) = there.clone().filter(|there| there.serial == serial && there.charter == *next) {
            // A repeated adoption succeeds: its first answer may have been lost.
            return Ok(there);
        }
        if there.as_ref() != Some(current) {
            return Err(CustodianError::CharterChanged);
        }
        let sealed = self.sealed(next, serial);
        self.enforce(&sealed, approvals);
        Ok(sealed)
    }

    /// Puts a charter in force.
    fn enforce(&self, sealed: &SealedCharter, approvals: &[Approval]) {
        *locked(&self.digest) = sealed.charter.digest().ok().map(|digest| (sealed.serial, digest));
        locked(&self.adopted).push((sealed.clone(), approvals.to_vec()));
        locked(&self.good).clear();
    }

    fn sealed(&self, charter: &Charter, serial: u32) -> SealedCharter {
        let bytes = canonical_bytes(charter).unwrap_or_default();
        let mac = Sha256::new().chain_update(b"charter").chain_update(self.root).chain_update(serial.to_be_bytes()).chain_update(bytes);
        SealedCharter { charter: charter.clone(), serial, epoch: EPOCH, mac: mac.finalize().to_vec() }
    }

    /// A copy's bytes. Only the checkers of a run may have them.
    pub(crate) fn reveal(&self, copy: &CopyRecord) -> Result<Vec<u8>, CustodianError> {
        let coordinates = copy.bound();
        match (coordinates.source, &copy.blob) {
            (Source::Derived, _) => Ok(self.symbols.derived(&bound(&coordinates)).to_vec()),
            (Source::Generated, Some(blob)) => {
                if blob.mac != self.mac(&coordinates, &blob.wrapped) {
                    return Err(CustodianError::Broken("the blob is not bound to this copy".to_owned()));
                }
                self.symbols.unwrap(&self.root, &blob.wrapped).ok_or_else(|| CustodianError::Broken("the blob is damaged".to_owned()))
            }
            (Source::Generated, None) => Err(CustodianError::Broken("a generated copy without its blob".to_owned())),
        }
    }

    /// Makes a copy without a check of the warrant.
    pub(crate) fn make(&self, coordinates: &CopyCoordinates) -> Minted {
        let algorithm = coordinates.algorithm;
        let (key, blob) = match coordinates.source {
            Source::Derived => (self.symbols.derived(&bound(coordinates)).to_vec(), None),
            Source::Generated => {
                let key = if algorithm.is_symmetric() { self.symbols.key("generated").to_vec() } else { self.symbols.pair(algorithm) };
                let wrapped = self.symbols.kwp(&self.root, &key);
                let mac = self.mac(coordinates, &wrapped);
                (key, Some(SealedBlob { wrapped, mac }))
            }
        };
        let check: [u8; SYMBOL] = Sha256::digest(&key).into();
        let check_value = algorithm.is_symmetric().then_some(CheckValue([check[0], check[1], check[2]]));
        Minted { check_value, blob, public_key: public_half(&key).map(|(_, public)| PublicKey(public)) }
    }

    /// The bytes in a blob, without a check of the warrant; empty if there are none.
    pub(crate) fn open(&self, wrapped: &[u8]) -> Vec<u8> {
        self.symbols.unwrap(&self.root, wrapped).unwrap_or_default()
    }

    /// Wraps a copy without a check of the warrant.
    pub(crate) fn seal(&self, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        let key = self.reveal(&request.copy)?;
        let spki = &request.wrapping_key.spki;
        let by_key = |hash| {
            let ephemeral = self.symbols.key("ephemeral");
            [self.symbols.oaep(spki, hash, &ephemeral), self.symbols.kwp(&ephemeral, &key)].concat()
        };
        let bytes = match request.wrapping_key.scheme {
            WrapScheme::RsaOaepSha256 => self.symbols.oaep(spki, OaepHash::Sha256, &key),
            WrapScheme::RsaOaepSha1 => self.symbols.oaep(spki, OaepHash::Sha1, &key),
            WrapScheme::RsaAesKeyWrapSha256 => by_key(OaepHash::Sha256),
            WrapScheme::RsaAesKeyWrapSha1 => by_key(OaepHash::Sha1),
        };
        Ok(Wrapped { bytes, wrapped_under: Digest::of(spki) })
    }

    /// The record of a change set, to be read or added to in one step.
    fn usage<T>(&self, change_set: &ChangeSet, with: impl FnOnce(&mut Usage) -> Result<T, Spent>) -> Result<T, CustodianError> {
        let digest = change_set.digest().map_err(|error| CustodianError::Refused(error.to_string()))?;
        Ok(with(locked(&self.usages).entry(digest).or_insert_with(|| Usage::none(change_set, digest)))?)
    }

    /// What every change set was used for.
    pub(crate) fn all_usages(&self) -> Usages {
        let mut all = Usages::default();
        locked(&self.usages).values().for_each(|usage| all.add(usage.clone()));
        all
    }

    /// Whether nothing more is wrapped for a change set.
    pub(crate) fn has_finished(&self, change_set: &Digest) -> bool {
        locked(&self.usages).get(change_set).is_some_and(|usage| usage.finished)
    }

    fn mac(&self, coordinates: &CopyCoordinates, wrapped: &[u8]) -> Vec<u8> {
        Sha256::new()
            .chain_update(b"mac")
            .chain_update(self.root)
            .chain_update(bound(coordinates))
            .chain_update(wrapped)
            .finalize()
            .to_vec()
    }

    /// Checks that a warrant's change set is sound and approved as its charter asks, and that the charter is in force.
    fn entitled(&self, warrant: &Warrant, made: Option<&CopyCoordinates>) -> Result<(), CustodianError> {
        if self.in_force().as_ref() != Some(&warrant.charter) {
            return Err(CustodianError::CharterChanged);
        }
        let Warrant { change_set, approvals, charter: sealed } = warrant;
        let refused = |why: &dyn ToString| CustodianError::Refused(why.to_string());
        let now = self.sim.now();
        in_time(change_set.until, now, valid_for(change_set, &sealed.charter)).map_err(|violation| refused(&violation))?;
        if locked(&self.good).iter().any(|(good, by, of)| good == change_set && by == approvals && of.as_ref() == made) {
            return Ok(());
        }
        let charter = &sealed.charter;
        let facts = Facts { charter, installation: charter.installation, now, record: None, key: None, destinations: None };
        judge(change_set, &facts).map_err(|violations| refused(&format!("{violations:?}")))?;
        let digest = change_set.digest().map_err(|error| refused(&error))?;
        let statement = Statement::of_change_set(change_set, &digest, &sealed.id().map_err(|error| refused(&error))?);
        approved(&statement, &change_set.proposer, required(change_set, charter, made), charter, approvals).map_err(missing)?;
        locked(&self.good).push((change_set.clone(), approvals.clone(), made.cloned()));
        Ok(())
    }
}

fn missing(shortfall: Shortfall) -> CustodianError {
    CustodianError::ApprovalsMissing { have: shortfall.have(), need: shortfall.rule.need, why: shortfall.to_string() }
}

/// The algorithms of copies that can be wrapped by this scheme.
fn taken(scheme: WrapScheme) -> Vec<Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| scheme.takes(*algorithm)).collect()
}

/// What a copy's bytes are bound to.
fn bound(coordinates: &CopyCoordinates) -> Vec<u8> {
    format!("{coordinates:?}").into_bytes()
}

#[async_trait]
impl Custodian for SymbolCustodian {
    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        let route = |scheme| Route { scheme, way: Some("symbols".to_owned()), algorithms: taken(scheme), reason: None };
        let charter = *locked(&self.digest);
        Ok(CustodianStatus {
            token: "symbols".to_owned(),
            development: true,
            epoch: Some(EPOCH),
            charter,
            derives: true,
            routes: WrapScheme::ALL.into_iter().map(route).collect(),
        })
    }

    async fn enroll(&self, _: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError> {
        let sealed = self.sealed(charter, 1);
        self.enforce(&sealed, &[]);
        Ok(EnrolmentReport { status: self.status().await?, charter: Some(sealed), checks: Vec::new() })
    }

    async fn test(&self) -> Result<EnrolmentReport, CustodianError> {
        Ok(EnrolmentReport { status: self.status().await?, charter: None, checks: Vec::new() })
    }

    async fn adopt(
        &self,
        current: &SealedCharter,
        change: &CharterChange,
        approvals: &[Approval],
    ) -> Result<SealedCharter, CustodianError> {
        let refused = |why: &dyn ToString| CustodianError::Refused(why.to_string());
        let CharterChange { before, next, proposer, until } = change;
        if *before != current.id().map_err(|error| refused(&error))? {
            return Err(CustodianError::CharterChanged);
        }
        fit(next).map_err(|faults| refused(&format!("{faults:?}")))?;
        in_time(*until, self.sim.now(), valid_for_charter(&current.charter, next)).map_err(|violation| refused(&violation))?;
        let statement = Statement::of_charter(change).map_err(|error| refused(&error))?;
        // The charter in force decides who has to approve the next one.
        let rules = required_for_charter(&current.charter, next);
        approved(&statement, proposer, rules, &current.charter, approvals).map_err(missing)?;
        if self.sealed(&current.charter, current.serial) != *current {
            return Err(CustodianError::Broken("the charter was not sealed here".to_owned()));
        }
        self.replace(current, next, approvals)
    }

    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        self.entitled(warrant, None)?;
        may_mint(&warrant.change_set, request.step, &request.coordinates).map_err(|denial| CustodianError::Refused(denial.to_string()))?;
        self.usage(&warrant.change_set, |usage| usage.still_open())?;
        Ok(self.make(&request.coordinates))
    }

    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        self.entitled(warrant, Some(&request.copy.coordinates))?;
        let scheme = request.wrapping_key.scheme;
        may_wrap(&warrant.change_set, request.step, &request.copy.coordinates, scheme)
            .map_err(|denial| CustodianError::Refused(denial.to_string()))?;
        let wrap = Wrap { step: request.step, wrapped_under: Digest::of(&request.wrapping_key.spki), at: self.sim.now() };
        self.usage(&warrant.change_set, |usage| {
            usage.admits(&wrap)?;
            usage.add(&Usage { wraps: vec![wrap], ..usage.clone() });
            Ok(())
        })?;
        self.seal(request)
    }

    async fn finish(&self, change_set: &ChangeSet) -> Result<(), CustodianError> {
        self.usage(change_set, |usage| {
            usage.finished = true;
            Ok(())
        })
    }

    async fn usages(&self) -> Result<Usages, CustodianError> {
        Ok(self.all_usages())
    }
}
