//! The token and the charter.

use keyplane_api::{CharterRequest, CharterState, EnrollRequest, HsmCheck, HsmReport, HsmRoute};
use keyplane_model::{
    APPROVALS_LAST, Actor, Approval, ApproverName, Asked, CharterChange, Problem, ProblemCode, SealedCharter, Span, Timestamp,
};
use keyplane_port::{EnrolmentReport, Expected};
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

    /// Compares the policy's charter with the one in force. If they differ and the request carries approvals, adopts the policy's under the
    /// rules in force.
    ///
    /// # Errors
    /// When the approvals do not suffice under the charter in force; problems of the policy files, of the token, or of the ledger.
    pub async fn adopt_charter(&self, request: &CharterRequest, proposer: &Actor) -> Result<CharterState, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        let id = |sealed: &SealedCharter| sealed.id().map_err(|error| one(uncanonical(&error)));
        let next = self.load(&request.sources)?.intent.charter(self.installation);
        let sealed = self.charter().await.map_err(one)?;
        let before = id(&sealed)?;
        if next == sealed.charter {
            return Ok(CharterState { current: sealed.charter, id: before, change: None, rules: Vec::new() });
        }
        let now = self.engine.clock.now();
        let until = request.until.unwrap_or_else(|| Timestamp(now.0 - now.0.rem_euclid(Span::days(1).micros())) + APPROVALS_LAST);
        let change = CharterChange { before, next, proposer: proposer.clone(), until };
        if request.approvals.is_empty() {
            let rules = verifier::required_for_charter(&sealed.charter, &change.next).into_iter().cloned().collect();
            return Ok(CharterState { current: sealed.charter, id: before, change: Some(change), rules });
        }
        let approval =
            |(approver, signature): &(ApproverName, String)| Approval { approver: approver.clone(), signature: signature.clone(), at: now };
        let approvals: Vec<Approval> = request.approvals.iter().map(approval).collect();
        let sealed = self.engine.custodian.adopt(&sealed, &change, &approvals).await.map_err(|error| {
            // That command shows who has to sign, and what.
            one(Problem { next: "keyplane hsm charter".to_owned(), ..error.problem() })
        })?;
        self.engine.ledger.put_charter(&sealed, &approvals, Asked { by: proposer, at: now }).await.map_err(|error| one(error.problem()))?;
        let id = id(&sealed)?;
        Ok(CharterState { current: sealed.charter, id, change: None, rules: Vec::new() })
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
