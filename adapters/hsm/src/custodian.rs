//! The custodian: judges what it is asked for, then lets its thread do it.
//!
//! Owns the order of things: the change set is judged, its step matched and its approvals counted before the token is
//! touched; that the charter is the one adopted last is looked up in the token, by the same job that then makes or wraps.

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use keyplane_model::{Approval, Charter, CharterChange, CopyCoordinates, Digest, InstallationId, SealedCharter, Statement, Timestamp};
use keyplane_port::{
    Clock, Custodian, CustodianError, CustodianStatus, EnrolmentReport, MintRequest, Minted, Warrant, WrapRequest, Wrapped,
};
use keyplane_verifier::{Facts, Shortfall, approved, fit, in_time, judge, may_mint, may_wrap, required, required_for_charter};

use crate::charter::{self, Adopted};
use crate::proof::{Effort, THOROUGH};
use crate::root::Root;
use crate::vault::Vault;
use crate::worker::Worker;
use crate::{HsmConfig, HsmError};

/// The custodian of one token. Dropping it waits for the running call, closes the session and finalises the module.
pub struct HsmCustodian {
    worker: Worker,
    /// Nobody else's says whether approvals have ended.
    clock: Arc<dyn Clock>,
    /// How thoroughly routes are proven when it matters.
    effort: &'static Effort,
}

impl HsmCustodian {
    /// Starts the custodian's thread. The token is opened by the first call, so that a wrong PIN is a typed answer to it.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(config: HsmConfig, clock: Arc<dyn Clock>) -> Result<Self, HsmError> {
        Ok(Self { worker: Worker::start(config)?, clock, effort: THOROUGH })
    }

    /// The public audit key of the newest root epoch: an uncompressed point on P-256 (SEC 1, 65 bytes).
    ///
    /// # Errors
    /// When the token is not enrolled, or fails.
    pub async fn audit_public_key(&self) -> Result<[u8; 65], HsmError> {
        self.worker
            .run(|vault| {
                let epoch = Root::newest(vault.token())?.ok_or(HsmError::NotEnrolled)?;
                crate::root::audit_point(vault.token(), &Root::open(vault.token(), epoch)?)
            })
            .await
    }

    /// A copy's bytes in the clear, for tests that search for them where they must not be. Works as a cloud would: the copy is
    /// wrapped for an RSA key made here. In no build but a test's.
    ///
    /// # Errors
    /// As [`Custodian::wrap`].
    #[cfg(any(test, feature = "reveal"))]
    pub async fn reveal_for_test(
        &self,
        coordinates: &keyplane_model::CopyCoordinates,
        blob: Option<&keyplane_model::SealedBlob>,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, HsmError> {
        let (coordinates, blob) = (coordinates.clone(), blob.cloned());
        self.worker.run(move |vault| vault.reveal(&coordinates, blob.as_ref())).await
    }
}

#[cfg(test)]
impl HsmCustodian {
    /// The same for tests of other things than enrolment: making RSA-4096 keys takes seconds.
    pub(crate) fn quick(self) -> Self {
        Self { effort: crate::proof::QUICK, ..self }
    }

    /// How many proofs this process has made.
    pub(crate) async fn proofs_for_test(&self) -> usize {
        self.worker.run(|vault| Ok(vault.proofs.get())).await.unwrap()
    }

    /// How many session objects the token holds: none but while a call runs.
    pub(crate) async fn session_objects_for_test(&self) -> Result<usize, HsmError> {
        use cryptoki::object::Attribute;
        let search = |vault: &Vault| vault.token().session().find_objects(&[Attribute::Token(false)]);
        self.worker.run(move |vault| search(vault).map(|found| found.len()).map_err(HsmError::token("counting"))).await
    }
}

#[async_trait]
impl Custodian for HsmCustodian {
    async fn status(&self) -> Result<CustodianStatus, CustodianError> {
        Ok(self.worker.run(Vault::status).await?)
    }

    async fn enroll(&self, installation: InstallationId, charter: &Charter) -> Result<EnrolmentReport, CustodianError> {
        if charter.installation != installation {
            return Err(CustodianError::Refused("the charter is another installation's".to_owned()));
        }
        sound(charter)?;
        let (charter, effort) = (charter.clone(), self.effort);
        Ok(self.worker.run(move |vault| enrol(vault, effort, &charter)).await?)
    }

    async fn test(&self) -> Result<EnrolmentReport, CustodianError> {
        let effort = self.effort;
        let report = self.worker.run(move |vault| {
            let (routes, mut checks) = vault.prove(effort)?;
            let mut routes = Rc::new(routes);
            if let Some(epoch) = Root::newest(vault.token())? {
                checks.push(vault.test_audit_key(&Root::open(vault.token(), epoch)?)?);
                routes = vault.record(epoch, &routes, &mut checks)?;
            }
            Ok(EnrolmentReport { status: vault.status_after(&routes, &checks)?, charter: None, checks })
        });
        Ok(report.await?)
    }

    async fn adopt(
        &self,
        current: &SealedCharter,
        change: &CharterChange,
        approvals: &[Approval],
    ) -> Result<SealedCharter, CustodianError> {
        let next = &change.next;
        if next.installation != current.charter.installation {
            return Err(CustodianError::Refused("the charter is another installation's".to_owned()));
        }
        if change.before != current.id().map_err(HsmError::from)? {
            return Err(CustodianError::CharterChanged);
        }
        sound(next)?;
        if change.proposer.0.trim().is_empty() {
            return Err(CustodianError::Refused("nobody proposed the charter".to_owned()));
        }
        let in_time = in_time(change.until, self.clock.now()).map_err(refused);
        // A rule is changed only under the old rule.
        let rules = required_for_charter(&current.charter, next);
        let statement = Statement::of_charter(change).map_err(HsmError::from)?;
        approved(&statement, &change.proposer, rules, &current.charter, approvals).map_err(missing)?;
        let digest = next.digest().map_err(HsmError::from)?;
        let (current, next) = (current.clone(), next.clone());
        // The same adoption again: its answer may never have arrived, and its approvals may have ended since.
        let again = Adopted { serial: current.serial.checked_add(1).ok_or(CustodianError::CharterChanged)?, digest };
        if self.worker.run(|vault| Adopted::read(vault.token())).await? != Some(again) {
            in_time?;
        }
        Ok(self.worker.run(move |vault| adopt(vault, &current, &next, digest)).await?)
    }

    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        entitled(warrant, None, self.clock.now())?;
        may_mint(&warrant.change_set, request.step, &request.coordinates).map_err(refused)?;
        let (sealed, coordinates) = (warrant.charter.clone(), request.coordinates.clone());
        let minted = self.worker.run(move |vault| {
            in_force(vault, &sealed)?;
            vault.mint(&coordinates)
        });
        Ok(minted.await?)
    }

    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        // The blob's MAC, or the derivation, holds these coordinates to be what the bytes were made under.
        entitled(warrant, Some(&request.copy.coordinates), self.clock.now())?;
        let scheme = request.wrapping_key.scheme;
        may_wrap(&warrant.change_set, request.step, &request.copy.coordinates, scheme).map_err(refused)?;
        let (sealed, copy, spki) = (warrant.charter.clone(), request.copy.clone(), request.wrapping_key.spki.clone());
        let wrapped = self.worker.run(move |vault| {
            in_force(vault, &sealed)?;
            vault.wrap(&copy, &spki, scheme)
        });
        Ok(wrapped.await?)
    }
}

/// Whether a warrant's change set is sound, and approved as its charter asks. That the charter is the right one is [`in_force`]'s.
fn entitled(warrant: &Warrant, made: Option<&CopyCoordinates>, now: Timestamp) -> Result<(), CustodianError> {
    let Warrant { change_set, approvals, charter: sealed } = warrant;
    let charter = &sealed.charter;
    let facts = Facts { charter, installation: charter.installation, now, record: None, key: None, destinations: None };
    judge(change_set, &facts).map_err(|violations| refused(listed(&violations)))?;
    let digest = change_set.digest().map_err(HsmError::from)?;
    let statement = Statement::of_change_set(change_set, &digest, &sealed.id().map_err(HsmError::from)?);
    approved(&statement, &change_set.proposer, required(change_set, charter, made), charter, approvals).map_err(missing)?;
    Ok(())
}

/// Whether a charter can be in force at all.
fn sound(charter: &Charter) -> Result<(), CustodianError> {
    fit(charter).map_err(|faults| refused(format!("the charter cannot be in force: {}", listed(&faults))))
}

fn listed(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether a charter is sealed by this HSM and the one that was adopted last.
fn in_force(vault: &Vault, sealed: &SealedCharter) -> Result<(), HsmError> {
    let adopted = Adopted::read(vault.token())?.ok_or(HsmError::NoCharter)?;
    charter::check(vault.token(), sealed)?;
    let presented = Adopted { serial: sealed.serial, digest: sealed.charter.digest()? };
    if presented == adopted { Ok(()) } else { Err(HsmError::CharterChanged) }
}

fn enrol(vault: &Vault, effort: &Effort, charter: &Charter) -> Result<EnrolmentReport, HsmError> {
    // Before there is a root key to lose: what does not work is found on throwaway keys.
    let (routes, mut checks) = vault.prove(effort)?;
    let epoch = vault.enrol(&routes)?;
    let root = Root::open(vault.token(), epoch)?;
    let first = Adopted { serial: 1, digest: charter.digest()? };
    let adopted = Adopted::read(vault.token())?;
    // The same first charter again: its seal may never have reached the ledger.
    let sealed = if adopted.is_none() || adopted == Some(first) {
        let sealed = charter::seal(vault.token(), &root, charter, first.serial, epoch)?;
        first.write(vault.token())?;
        Some(sealed)
    } else {
        None
    };
    checks.push(vault.test_audit_key(&root)?);
    let routes = vault.record(epoch, &routes, &mut checks)?;
    Ok(EnrolmentReport { status: vault.status_after(&routes, &checks)?, charter: sealed, checks })
}

fn adopt(vault: &Vault, current: &SealedCharter, next: &Charter, digest: Digest) -> Result<SealedCharter, HsmError> {
    let token = vault.token();
    let adopted = Adopted { serial: current.serial.checked_add(1).ok_or(HsmError::CharterChanged)?, digest };
    // The same adoption again: its answer may never have arrived.
    if Adopted::read(token)? == Some(adopted) {
        charter::check(token, current)?;
    } else {
        in_force(vault, current)?;
    }
    let epoch = Root::newest(token)?.ok_or(HsmError::NotEnrolled)?;
    let sealed = charter::seal(token, &Root::open(token, epoch)?, next, adopted.serial, epoch)?;
    adopted.write(token)?;
    Ok(sealed)
}

fn refused(why: impl std::fmt::Display) -> CustodianError {
    CustodianError::Refused(why.to_string())
}

fn missing(shortfall: Shortfall) -> CustodianError {
    CustodianError::ApprovalsMissing { have: shortfall.have(), need: shortfall.rule.need }
}
