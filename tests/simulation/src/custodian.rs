//! A custodian with symbolic keys.
//!
//! Bytes, seals and records are symbols in memory. What decides is the product's: the verifier's judgement of each request, and the port's
//! rules for records of use, in the same order as in front of an HSM (`adapters/hsm/src/custodian.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyplane_emulator_core::crypto::OaepHash;
use keyplane_model::{
    Algorithm, Approval, ChangeSet, Charter, CharterChange, CharterId, CheckValue, CopyCoordinates, CopyRecord, Digest, EpochId,
    InstallationId, PublicKey, SealedBlob, SealedCharter, Source, StepNo, Timestamp, WrapScheme, canonical_bytes,
};
use keyplane_port::{
    Clock, Custodian, CustodianError, CustodianStatus, EnrolmentReport, MintRequest, Minted, Route, Spent, Usage, Usages, Warrant, Wrap,
    WrapRequest, Wrapped, WrappingKey,
};
use keyplane_verifier::{Adoption, RequestFault, Shown, fit, judge_adoption, judge_mint, judge_wrap};
use sha2::{Digest as _, Sha256};

use crate::executor::locked;
use crate::symbols::{SYMBOL, Symbols, public_half};

/// The only root epoch of a run.
pub(crate) const EPOCH: EpochId = EpochId(1);

/// Judges what a custodian is asked, before its token does anything.
pub(crate) trait Judge: Send + Sync {
    fn mint(&self, warrant: &Warrant, request: &MintRequest, now: Timestamp) -> Result<(), RequestFault>;

    fn wrap(&self, warrant: &Warrant, request: &WrapRequest, now: Timestamp) -> Result<(), RequestFault>;

    fn adoption(
        &self,
        current: &SealedCharter,
        change: &CharterChange,
        approvals: &[Approval],
        now: Timestamp,
    ) -> Result<Adoption, RequestFault> {
        judge_adoption(current, change, approvals, now)
    }
}

/// The product's judge.
pub(crate) struct Verifier;

impl Judge for Verifier {
    fn mint(&self, warrant: &Warrant, request: &MintRequest, now: Timestamp) -> Result<(), RequestFault> {
        judge_mint(&shown(warrant, now), request.step, &request.coordinates)
    }

    fn wrap(&self, warrant: &Warrant, request: &WrapRequest, now: Timestamp) -> Result<(), RequestFault> {
        judge_wrap(&shown(warrant, now), request.step, &request.copy.coordinates, request.wrapping_key.scheme)
    }
}

pub(crate) fn shown(warrant: &Warrant, now: Timestamp) -> Shown<'_> {
    Shown { change_set: &warrant.change_set, approvals: &warrant.approvals, charter: &warrant.charter, now }
}

/// The product's judge, which is asked only once about equal requests: each round of a run asks the same, and checking signatures is slow.
#[derive(Default)]
pub(crate) struct Remembering(Mutex<Vec<Good>>);

/// A request that was judged good. Only its end can make it bad.
struct Good {
    step: StepNo,
    copy: CopyCoordinates,
    /// `None`: the copy was to be made.
    scheme: Option<WrapScheme>,
    warrant: Warrant,
}

impl Remembering {
    fn or_judge(&self, good: Good, now: Timestamp, judge: impl FnOnce() -> Result<(), RequestFault>) -> Result<(), RequestFault> {
        let same = |there: &Good| {
            (there.step, &there.copy, there.scheme) == (good.step, &good.copy, good.scheme)
                && there.warrant.change_set == good.warrant.change_set
                && there.warrant.approvals == good.warrant.approvals
                && there.warrant.charter == good.warrant.charter
        };
        if now < good.warrant.change_set.until && locked(&self.0).iter().any(same) {
            return Ok(());
        }
        judge()?;
        locked(&self.0).push(good);
        Ok(())
    }
}

impl Judge for Remembering {
    fn mint(&self, warrant: &Warrant, request: &MintRequest, now: Timestamp) -> Result<(), RequestFault> {
        let good = Good { step: request.step, copy: request.coordinates.clone(), scheme: None, warrant: warrant.clone() };
        self.or_judge(good, now, || Verifier.mint(warrant, request, now))
    }

    fn wrap(&self, warrant: &Warrant, request: &WrapRequest, now: Timestamp) -> Result<(), RequestFault> {
        let scheme = Some(request.wrapping_key.scheme);
        let good = Good { step: request.step, copy: request.copy.coordinates.clone(), scheme, warrant: warrant.clone() };
        self.or_judge(good, now, || Verifier.wrap(warrant, request, now))
    }
}

/// The HSM of a run.
pub(crate) struct SymbolCustodian {
    symbols: Symbols,
    root: [u8; SYMBOL],
    clock: Arc<dyn Clock>,
    judge: Arc<dyn Judge>,
    /// Every charter that was ever adopted, the one in force last, each with its approvals.
    adopted: Mutex<Vec<(SealedCharter, Vec<Approval>)>>,
    /// The charter in force, kept because each round asks for it.
    last: Mutex<Option<CharterId>>,
    /// What each change set was used for.
    usages: Mutex<BTreeMap<Digest, Usage>>,
}

impl SymbolCustodian {
    pub(crate) fn new(symbols: Symbols, clock: Arc<dyn Clock>, judge: Arc<dyn Judge>) -> Arc<Self> {
        let root = symbols.key("root");
        Arc::new(Self { symbols, root, clock, judge, adopted: Mutex::default(), last: Mutex::default(), usages: Mutex::default() })
    }

    /// Every charter that was ever adopted, oldest first, with its approvals.
    pub(crate) fn adopted(&self) -> Vec<(SealedCharter, Vec<Approval>)> {
        locked(&self.adopted).clone()
    }

    /// Adopts a charter after the current one, without checking who signed it.
    pub(crate) fn replace(&self, current: &SealedCharter, next: &Charter, approvals: &[Approval]) -> Result<SealedCharter, CustodianError> {
        let serial = current.serial.checked_add(1).ok_or(CustodianError::CharterChanged)?;
        let there = locked(&self.adopted).last().map(|(sealed, _)| sealed.clone());
        if let Some(there) = there.filter(|there| there.serial == serial && there.charter == *next) {
            // A repeated adoption succeeds: its first answer may have been lost.
            self.sealed_here(current)?;
            return Ok(there);
        }
        self.in_force(current)?;
        let sealed = self.sealed(next, serial);
        self.enforce(&sealed, approvals);
        Ok(sealed)
    }

    /// Puts a charter in force.
    pub(crate) fn enforce(&self, sealed: &SealedCharter, approvals: &[Approval]) {
        *locked(&self.last) = sealed.id().ok();
        locked(&self.adopted).push((sealed.clone(), approvals.to_vec()));
    }

    /// Checks that a charter is the one that was adopted last.
    fn in_force(&self, sealed: &SealedCharter) -> Result<(), CustodianError> {
        match locked(&self.adopted).last() {
            None => return Err(CustodianError::NotEnrolled("no charter was adopted".to_owned())),
            Some((last, _)) if last == sealed => return Ok(()),
            Some(_) => {}
        }
        self.sealed_here(sealed)?;
        Err(CustodianError::CharterChanged)
    }

    fn sealed_here(&self, sealed: &SealedCharter) -> Result<(), CustodianError> {
        let broken = || CustodianError::Broken("the charter was not sealed here".to_owned());
        if self.sealed(&sealed.charter, sealed.serial) == *sealed { Ok(()) } else { Err(broken()) }
    }

    pub(crate) fn sealed(&self, charter: &Charter, serial: u32) -> SealedCharter {
        let bytes = canonical_bytes(charter).unwrap_or_default();
        let mac = Sha256::new().chain_update(b"charter").chain_update(self.root).chain_update(serial.to_be_bytes()).chain_update(bytes);
        SealedCharter { charter: charter.clone(), serial, epoch: EPOCH, mac: mac.finalize().to_vec() }
    }

    /// The bytes of a copy in the ledger. Only the checkers of a run may have them.
    pub(crate) fn reveal(&self, copy: &CopyRecord) -> Result<Vec<u8>, CustodianError> {
        self.bring(&copy.bound(), copy.blob.as_ref())
    }

    /// The bytes that are bound to these coordinates.
    pub(crate) fn bring(&self, coordinates: &CopyCoordinates, blob: Option<&SealedBlob>) -> Result<Vec<u8>, CustodianError> {
        match (coordinates.source, blob) {
            (Source::Derived, _) => Ok(self.symbols.derived(&bound(coordinates)).to_vec()),
            (Source::Generated, Some(blob)) => {
                if blob.mac != self.mac(coordinates, &blob.wrapped) {
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
        let key = self.bring(&request.copy.coordinates, request.copy.blob.as_ref())?;
        Ok(self.wrapped(&request.wrapping_key, &key))
    }

    fn wrapped(&self, under: &WrappingKey, key: &[u8]) -> Wrapped {
        let by_key = |hash| {
            let ephemeral = self.symbols.key("ephemeral");
            [self.symbols.oaep(&under.spki, hash, &ephemeral), self.symbols.kwp(&ephemeral, key)].concat()
        };
        let bytes = match under.scheme {
            WrapScheme::RsaOaepSha256 => self.symbols.oaep(&under.spki, OaepHash::Sha256, key),
            WrapScheme::RsaOaepSha1 => self.symbols.oaep(&under.spki, OaepHash::Sha1, key),
            WrapScheme::RsaAesKeyWrapSha256 => by_key(OaepHash::Sha256),
            WrapScheme::RsaAesKeyWrapSha1 => by_key(OaepHash::Sha1),
        };
        Wrapped { bytes, wrapped_under: Digest::of(&under.spki) }
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

    pub(crate) fn mac(&self, coordinates: &CopyCoordinates, wrapped: &[u8]) -> Vec<u8> {
        Sha256::new()
            .chain_update(b"mac")
            .chain_update(self.root)
            .chain_update(bound(coordinates))
            .chain_update(wrapped)
            .finalize()
            .to_vec()
    }

    /// Loses every record of use. No token does that.
    pub(crate) fn forget(&self) {
        locked(&self.usages).clear();
    }
}

fn judged(fault: RequestFault) -> CustodianError {
    match fault {
        RequestFault::Approvals(shortfall) => {
            CustodianError::ApprovalsMissing { have: shortfall.have(), need: shortfall.rule.need, why: shortfall.to_string() }
        }
        RequestFault::CharterChanged => CustodianError::CharterChanged,
        fault => CustodianError::Refused(fault.to_string()),
    }
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
        let charter = locked(&self.last).map(|last| (last.serial, last.digest));
        Ok(CustodianStatus {
            token: "symbols".to_owned(),
            development: true,
            epoch: Some(EPOCH),
            charter,
            derives: true,
            routes: WrapScheme::ALL.into_iter().map(route).collect(),
        })
    }

    async fn enroll(&self, installation: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError> {
        if charter.installation != installation {
            return Err(judged(RequestFault::OtherInstallation));
        }
        fit(charter).map_err(|faults| judged(RequestFault::Unfit(faults)))?;
        let sealed = self.sealed(charter, 1);
        let last = locked(&self.adopted).last().map(|(sealed, _)| sealed.clone());
        if last.is_none() {
            self.enforce(&sealed, &[]);
        }
        // A repeated enrolment with the same charter succeeds: the first answer may have been lost.
        let charter = last.is_none_or(|last| last == sealed).then_some(sealed);
        Ok(EnrolmentReport { status: self.status().await?, charter, checks: Vec::new() })
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
        self.judge
            .adoption(current, change, approvals, self.clock.now())
            .and_then(|adoption| adoption.in_time(*locked(&self.last)))
            .map_err(judged)?;
        self.replace(current, &change.next, approvals)
    }

    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        self.judge.mint(warrant, request, self.clock.now()).map_err(judged)?;
        self.in_force(&warrant.charter)?;
        self.usage(&warrant.change_set, |usage| usage.still_open())?;
        Ok(self.make(&request.coordinates))
    }

    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        let now = self.clock.now();
        self.judge.wrap(warrant, request, now).map_err(judged)?;
        self.in_force(&warrant.charter)?;
        self.usage(&warrant.change_set, |usage| usage.still_open())?;
        let key = self.bring(&request.copy.coordinates, request.copy.blob.as_ref())?;
        let wrap = Wrap { step: request.step, wrapped_under: Digest::of(&request.wrapping_key.spki), at: now };
        self.usage(&warrant.change_set, |usage| {
            usage.admits(&wrap)?;
            usage.add(&Usage { wraps: vec![wrap], ..usage.clone() });
            Ok(())
        })?;
        Ok(self.wrapped(&request.wrapping_key, &key))
    }

    async fn finish(&self, sealed: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError> {
        self.sealed_here(sealed)?;
        self.usage(change_set, |usage| {
            usage.finished = true;
            Ok(())
        })
    }

    async fn usages(&self) -> Result<Usages, CustodianError> {
        Ok(self.all_usages())
    }
}
