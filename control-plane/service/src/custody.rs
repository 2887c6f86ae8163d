//! The token and the charter.

use keyplane_api::{CharterRequest, CharterState, EnrollRequest, HsmCheck, HsmReport, HsmRoute};
use keyplane_model::{Actor, Asked, Charter, CharterChange, CharterProposal, Digest, Problem, ProblemCode};
use keyplane_port::{EnrolmentReport, Expected, LedgerError, Refusal};
use keyplane_verifier as verifier;

use crate::{Service, uncanonical};

impl Service {
    /// Enrols the token: chooses and proves wrapping routes, makes the root epoch, adopts the first charter. Can be repeated: it completes
    /// what is missing.
    ///
    /// # Errors
    /// Problems of the policy files, of the token, or of the ledger.
    pub async fn enroll(&self, request: &EnrollRequest, by: &Actor) -> Result<HsmReport, Vec<Problem>> {
        let charter = self.load(&request.sources)?.intent.charter(self.installation);
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
    /// was approved, adopts it under the rules in force.
    ///
    /// # Errors
    /// When there are approvals and they do not suffice under the charter in force; problems of the policy files, of the token, or of the
    /// ledger.
    pub async fn change_charter(&self, request: &CharterRequest, proposer: &Actor) -> Result<CharterState, Vec<Problem>> {
        let next = self.load(&request.sources)?.intent.charter(self.installation);
        self.propose_or_adopt(next, proposer).await.map_err(|problem| vec![problem])
    }

    async fn propose_or_adopt(&self, next: Charter, proposer: &Actor) -> Result<CharterState, Problem> {
        let ledger = &self.engine.ledger;
        let sealed = self.charter().await?;
        let id = sealed.id().map_err(|error| uncanonical(&error))?;
        if next == sealed.charter {
            return Ok(CharterState { id, adopted: false, proposal: None });
        }
        let now = self.engine.clock.now();
        let proposals = ledger.charter_proposals(&id).await.map_err(|error| error.problem())?;
        let valid = verifier::valid_for_charter(&sealed.charter, &next);
        // Whoever asks for the same finds the first proposal, with its proposer and its approvals.
        let in_time = |change: &CharterChange| verifier::in_time(change.until, now, valid).is_ok();
        let open = proposals.into_iter().find(|there| there.change.next == next && in_time(&there.change));
        let Some(CharterProposal { digest, change, approvals, .. }) = open else {
            let change = CharterChange { before: id, next, proposer: proposer.clone(), until: now + valid };
            let digest = ledger.propose_charter(&change, Asked { by: proposer, at: now }).await.map_err(|error| error.problem())?;
            return Ok(CharterState { id, adopted: false, proposal: Some(digest) });
        };
        let rules = verifier::required_for_charter(&sealed.charter, &change.next);
        if approvals.is_empty() && rules.iter().any(|rule| rule.need > 0) {
            return Ok(CharterState { id, adopted: false, proposal: Some(digest) });
        }
        let adopted = self.engine.custodian.adopt(&sealed, &change, &approvals).await.map_err(|error| {
            // That command shows what is asked for, and how to sign it.
            Problem { next: format!("keyplane show {digest}"), ..error.problem() }
        })?;
        match ledger.put_charter(&adopted, &approvals, Asked { by: proposer, at: now }).await {
            Ok(()) => {}
            Err(LedgerError::Refused(Refusal::Contradiction)) => return Err(self.overtaken(&digest, adopted.serial).await),
            Err(error) => return Err(error.problem()),
        }
        let id = adopted.id().map_err(|error| uncanonical(&error))?;
        Ok(CharterState { id, adopted: true, proposal: None })
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
