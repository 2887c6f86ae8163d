//! The custodian judges a request on the caller's thread; then the worker thread carries it out in the token.
//!
//! Owns the order of checks in the token. The change set is judged, its approvals counted and its step matched before the token is touched,
//! by functions of the verifier that own that order. The job that generates, derives or wraps also checks in the token that the charter is
//! the one adopted last, and what is on record of the change set.

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use keyplane_model::{
    APPROVALS_LAST, Approval, ChangeSet, Charter, CharterChange, CharterId, Digest, InstallationId, SealedCharter, Timestamp,
};
use keyplane_port::{
    Clock, Custodian, CustodianError, CustodianStatus, EnrolmentReport, MintRequest, Minted, Usage, Usages, Warrant, Wrap, WrapRequest,
    Wrapped,
};
use keyplane_verifier::{RequestFault, Shown, Violation, fit, in_time, judge_adoption, judge_mint, judge_wrap};

use crate::charter::{self, Adopted};
use crate::proof::{Effort, THOROUGH};
use crate::root::Root;
use crate::vault::Vault;
use crate::worker::Worker;
use crate::{HsmConfig, HsmError, usage};

/// The custodian of one token. Dropping it waits for the running call, closes the session and finalises the module.
pub struct HsmCustodian {
    worker: Worker,
    /// The only clock that decides whether approvals have expired.
    clock: Arc<dyn Clock>,
    /// How much enrolment proves: [`THOROUGH`], except in tests.
    effort: &'static Effort,
}

impl HsmCustodian {
    /// Starts the custodian's thread. The first call opens the token, so a wrong PIN is that call's error.
    ///
    /// # Errors
    /// When the operating system cannot start a thread.
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

    /// A copy's bytes in the clear, for tests that check that these bytes are found nowhere else. The copy is wrapped under an RSA key made
    /// here, and unwrapped as a cloud would. Compiled only for tests and with the feature `reveal`.
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
    /// Proves only [`QUICK`](crate::proof::QUICK) at enrolment, since generating RSA-4096 keys takes seconds.
    pub(crate) fn quick(self) -> Self {
        Self { effort: crate::proof::QUICK, ..self }
    }

    /// Makes some of the token's calls fail from now on.
    pub(crate) async fn fail_for_test(&self, fails: Option<crate::token::Fails>) {
        let set = move |vault: &Vault| {
            vault.token().fails.set(fails);
            Ok(())
        };
        self.worker.run(set).await.unwrap();
    }

    pub(crate) async fn proofs_for_test(&self) -> usize {
        self.worker.run(|vault| Ok(vault.proofs.get())).await.unwrap()
    }

    /// The number of session objects in the token. It is 0 unless a call is running.
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
            return Err(judged(RequestFault::OtherInstallation));
        }
        fit(charter).map_err(|faults| judged(RequestFault::Unfit(faults)))?;
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
        let adoption = judge_adoption(current, change, approvals, self.clock.now()).map_err(judged)?;
        let last = self.worker.run(|vault| Adopted::read(vault.token())).await?;
        adoption.in_time(last.map(|last| CharterId { serial: last.serial, digest: last.digest })).map_err(judged)?;
        let (current, next, digest) = (current.clone(), change.next.clone(), adoption.next.digest);
        Ok(self.worker.run(move |vault| adopt(vault, &current, &next, digest)).await?)
    }

    async fn mint(&self, warrant: &Warrant, request: &MintRequest) -> Result<Minted, CustodianError> {
        judge_mint(&shown(warrant, self.clock.now()), request.step, &request.coordinates).map_err(judged)?;
        let (sealed, coordinates) = (warrant.charter.clone(), request.coordinates.clone());
        let unused = unused(&warrant.change_set)?;
        let minted = self.worker.run(move |vault| {
            in_force(vault, &sealed)?;
            usage::read(vault.token(), &unused)?.still_open()?;
            vault.mint(&coordinates)
        });
        Ok(minted.await?)
    }

    async fn wrap(&self, warrant: &Warrant, request: &WrapRequest) -> Result<Wrapped, CustodianError> {
        let (now, scheme) = (self.clock.now(), request.wrapping_key.scheme);
        judge_wrap(&shown(warrant, now), request.step, &request.copy.coordinates, scheme).map_err(judged)?;
        let (sealed, copy, spki) = (warrant.charter.clone(), request.copy.clone(), request.wrapping_key.spki.clone());
        let (unused, step) = (unused(&warrant.change_set)?, request.step);
        let wrapped = self.worker.run(move |vault| {
            in_force(vault, &sealed)?;
            usage::read(vault.token(), &unused)?.still_open()?;
            vault.wrap(&copy, &spki, scheme, |wrapped_under| {
                usage::wrapped(vault.token(), &unused, Wrap { step, wrapped_under, at: now }, now)
            })
        });
        Ok(wrapped.await?)
    }

    async fn finish(&self, sealed: &SealedCharter, change_set: &ChangeSet) -> Result<(), CustodianError> {
        if sealed.charter.installation != change_set.installation {
            return Err(judged(RequestFault::OtherInstallation));
        }
        let (sealed, unused, now) = (sealed.clone(), unused(change_set)?, self.clock.now());
        if usage::is_over(&unused, now) {
            return Ok(());
        }
        // Such a change set entitles to nothing yet, under no charter, and its record would be kept too long.
        in_time(unused.until, now, APPROVALS_LAST).or_else(|violation| match violation {
            Violation::Ended(_) => Ok(()),
            other => Err(judged(RequestFault::Time(other))),
        })?;
        let finished = self.worker.run(move |vault| {
            charter::check(vault.token(), &sealed)?;
            usage::finish(vault.token(), &unused, now)
        });
        Ok(finished.await?)
    }

    async fn usages(&self) -> Result<Usages, CustodianError> {
        Ok(self.worker.run(|vault| usage::all(vault.token())).await?)
    }
}

/// [`in_force`] checks the charter.
fn shown(warrant: &Warrant, now: Timestamp) -> Shown<'_> {
    Shown { change_set: &warrant.change_set, approvals: &warrant.approvals, charter: &warrant.charter, now }
}

/// The record of a change set before it was used.
fn unused(change_set: &ChangeSet) -> Result<Usage, HsmError> {
    Ok(Usage::none(change_set, change_set.digest()?))
}

/// Checks that this HSM sealed the charter, and that it is the one adopted last.
fn in_force(vault: &Vault, sealed: &SealedCharter) -> Result<(), HsmError> {
    let adopted = Adopted::read(vault.token())?.ok_or(HsmError::NoCharter)?;
    charter::check(vault.token(), sealed)?;
    let presented = Adopted { serial: sealed.serial, digest: sealed.charter.digest()? };
    if presented == adopted { Ok(()) } else { Err(HsmError::CharterChanged) }
}

fn enrol(vault: &Vault, effort: &Effort, charter: &Charter) -> Result<EnrolmentReport, HsmError> {
    // Proven with throwaway keys before a root key is made: a token that cannot do what is needed gets no root.
    let (routes, mut checks) = vault.prove(effort)?;
    let epoch = vault.enrol(&routes)?;
    let root = Root::open(vault.token(), epoch)?;
    let first = Adopted { serial: 1, digest: charter.digest()? };
    let adopted = Adopted::read(vault.token())?;
    // A repeated enrolment with the same charter succeeds: the ledger may not have received the first seal.
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
    // A repeated adoption succeeds: the first answer may have been lost.
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

fn judged(fault: RequestFault) -> CustodianError {
    match fault {
        RequestFault::Approvals(shortfall) => {
            CustodianError::ApprovalsMissing { have: shortfall.have(), need: shortfall.rule.need, why: shortfall.to_string() }
        }
        RequestFault::CharterChanged => CustodianError::CharterChanged,
        RequestFault::Canonical(_) => CustodianError::Broken(fault.to_string()),
        RequestFault::ChangeSet(_)
        | RequestFault::Step(_)
        | RequestFault::OtherInstallation
        | RequestFault::Unfit(_)
        | RequestFault::NoProposer
        | RequestFault::Time(_) => CustodianError::Refused(fault.to_string()),
    }
}
