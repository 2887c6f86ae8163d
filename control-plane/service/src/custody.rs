//! The token and the charter.

use keyplane_api::{CharterRequest, CharterState, EnrollRequest, HsmCheck, HsmReport, HsmRoute};
use keyplane_model::{Actor, Asked, Charter, CharterChange, CharterProposal, Digest, Problem, ProblemCode, SealedCharter};
use keyplane_port::{EnrolmentReport, Expected, LedgerError, Refusal};
use keyplane_verifier as verifier;

use crate::charters::{OpenCharter, adoptable};
use crate::{Service, uncanonical};

impl Service {
    /// Enrols the token: chooses and proves wrapping routes, makes the root epoch, adopts the first charter. Can be repeated: it completes
    /// what is missing.
    ///
    /// # Errors
    /// Problems of the policy files, of the token, or of the ledger.
    pub async fn enroll(&self, request: &EnrollRequest, by: &Actor) -> Result<HsmReport, Vec<Problem>> {
        let charter = self.load(&request.sources)?.intent.charter(self.installation);
        adoptable(&charter)?;
        let report = self.engine.custodian.enroll(self.installation, &charter).await.map_err(|error| vec![error.problem()])?;
        let ledger = &self.engine.ledger;
        match &report.charter {
            Some(sealed) => {
                let asked = Asked { by, at: self.engine.clock.now() };
                ledger.put_charter(sealed, &[], asked).await.map_err(|error| vec![error.problem()])?;
            }
            None if ledger.charter().await.map_err(|error| vec![error.problem()])?.is_none() => {
                let detail = "the token holds the charter of another installation, or of this one in a database that is gone";
                let next = "bring that database back, or configure another token and see `keyplane config check`";
                return Err(vec![Problem::new(ProblemCode::CharterChanged, detail, next)]);
            }
            None => {}
        }
        Ok(shown(report))
    }

    /// Proves the token's wrapping routes again. Changes nothing.
    ///
    /// # Errors
    /// Problems of the token.
    pub async fn test_hsm(&self) -> Result<HsmReport, Problem> {
        self.engine.custodian.test().await.map(shown).map_err(|error| error.problem())
    }

    /// Proposes the policy's charter if it is not in force: keeps the change under its digest, for everybody. If it is proposed already and
    /// was approved, adopts it under the rules in force. Before anything else, completes an adoption that a crash cut off.
    ///
    /// # Errors
    /// When there are approvals and they do not suffice under the charter in force; problems of the policy files, of the token, or of the
    /// ledger.
    pub async fn change_charter(&self, request: &CharterRequest, by: &Actor) -> Result<CharterState, Vec<Problem>> {
        // First of all, so that no mistake in the policy is in its way.
        let in_force = self.complete_adoption(by).await.map_err(|problem| vec![problem])?;
        let next = self.load(&request.sources)?.intent.charter(self.installation);
        adoptable(&next)?;
        self.propose_or_adopt(in_force, next, request.own, by).await.map_err(|problem| vec![problem])
    }

    /// `in_force`: as [`Self::complete_adoption`] returned it.
    async fn propose_or_adopt(
        &self,
        (sealed, adopted): (SealedCharter, bool),
        next: Charter,
        own: bool,
        by: &Actor,
    ) -> Result<CharterState, Problem> {
        let id = sealed.id().map_err(|error| uncanonical(&error))?;
        if next == sealed.charter {
            return Ok(CharterState { id, adopted, proposal: None });
        }
        let mut open = self.open_charters(&sealed).await?;
        open.retain(|there| there.proposal.change.next == next);
        // One that was approved, whoever proposed it; one's own; the first one, so that whoever asks for the same finds its approvals.
        let found = open
            .iter()
            .find(|there| there.missing.is_none())
            .or_else(|| open.iter().find(|there| there.proposal.change.proposer == *by))
            .or_else(|| open.first().filter(|_| !own));
        let Some(OpenCharter { proposal, missing }) = found else {
            let now = self.engine.clock.now();
            let until = now + verifier::valid_for_charter(&sealed.charter, &next);
            let change = CharterChange { before: id, next, proposer: by.clone(), until };
            let proposed = self.engine.ledger.propose_charter(&change, Asked { by, at: now }).await;
            return Ok(CharterState { id, adopted, proposal: Some(proposed.map_err(|error| error.problem())?) });
        };
        if missing.is_some() && proposal.approvals.is_empty() {
            return Ok(CharterState { id, adopted, proposal: Some(proposal.digest) });
        }
        // If approvals are missing, the custodian says which.
        let sealed = self.adopt(&sealed, proposal, by).await?;
        Ok(CharterState { id: sealed.id().map_err(|error| uncanonical(&error))?, adopted: true, proposal: None })
    }

    /// Completes an adoption that was cut off after the token took the charter and before the ledger kept it. Until then the custodian
    /// refuses everything under the ledger's charter, whatever the policy asks for by now, and whether or not the approvals have ended.
    ///
    /// Returns the charter in force, and whether its adoption was completed here.
    async fn complete_adoption(&self, by: &Actor) -> Result<(SealedCharter, bool), Problem> {
        // Read in this order: the ledger gets a charter after the token. So where the ledger has a newer one, another process has just had it
        // adopted, and where it lacks one, an adoption was cut off.
        let token = self.engine.custodian.status().await.map_err(|error| error.problem())?.charter;
        let sealed = self.charter().await?;
        let id = sealed.id().map_err(|error| uncanonical(&error))?;
        let Some((serial, digest)) = token.filter(|token| token.0 >= id.serial && *token != (id.serial, id.digest)) else {
            return Ok((sealed, false));
        };
        let mut why = None;
        if serial == id.serial.saturating_add(1) {
            for proposal in self.engine.ledger.charter_proposals(&id).await.map_err(|error| error.problem())? {
                if proposal.change.next.digest().map_err(|error| uncanonical(&error))? == digest {
                    match self.adopt(&sealed, &proposal, by).await {
                        Ok(adopted) => return Ok((adopted, true)),
                        Err(problem) => why = Some(problem),
                    }
                }
            }
        }
        Err(why.unwrap_or_else(|| {
            let detail =
                format!("the token's charter is {serial} {digest}, the database's is {id}, and no proposal in it leads to the token's");
            let next = format!("bring the database back that has charter {serial}, or see `keyplane config check`");
            Problem::new(ProblemCode::CharterChanged, detail, next)
        }))
    }

    /// Has a proposal adopted by the custodian, and keeps the sealed charter.
    async fn adopt(&self, sealed: &SealedCharter, proposal: &CharterProposal, by: &Actor) -> Result<SealedCharter, Problem> {
        let CharterProposal { digest, change, approvals, .. } = proposal;
        let adopted = self.engine.custodian.adopt(sealed, change, approvals).await.map_err(|error| {
            let problem = error.problem();
            if problem.code != ProblemCode::ApprovalsMissing {
                return problem;
            }
            // That command shows what is asked for, and how to sign it.
            Problem { next: format!("keyplane show {digest}"), ..problem }
        })?;
        match self.engine.ledger.put_charter(&adopted, approvals, Asked { by, at: self.engine.clock.now() }).await {
            Ok(()) => Ok(adopted),
            Err(LedgerError::Refused(Refusal::Contradiction)) => Err(self.overtaken(digest, adopted.serial).await),
            Err(error) => Err(error.problem()),
        }
    }

    /// Another process had another charter adopted between this one's reading and writing. Which of the two the token took, it says itself.
    async fn overtaken(&self, digest: &Digest, serial: u32) -> Problem {
        let token = self.engine.custodian.status().await.ok().and_then(|status| status.charter);
        let token = token.map_or_else(String::new, |(serial, digest)| format!("; the token's is charter {serial} {digest}"));
        let detail = format!("another charter was adopted at the same moment as {digest}, and is charter {serial} in the database{token}");
        Problem::new(ProblemCode::CharterChanged, detail, "keyplane hsm charter")
    }
}

fn shown(report: EnrolmentReport) -> HsmReport {
    let status = report.status;
    HsmReport {
        token: status.token,
        development: status.development,
        epoch: status.epoch,
        charter: status.charter,
        derives: status.derives,
        routes: status
            .routes
            .into_iter()
            .map(|route| HsmRoute { scheme: route.scheme.to_string(), way: route.way, reason: route.reason })
            .collect(),
        checks: report
            .checks
            .into_iter()
            .map(|check| HsmCheck {
                name: check.name,
                must_be_refused: check.expected == Expected::Refused,
                passed: check.passed,
                detail: check.detail,
            })
            .collect(),
    }
}
