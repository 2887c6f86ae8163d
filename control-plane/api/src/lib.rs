//! The API `/v1`: its wire types, and a client over any `tower::Service` of HTTP requests.
//!
//! Owns the wire types and the paths. Knows only the model. Must hold no server code. The client works the same over a connection to a
//! server and over a router in its own process.
//!
//! A failed request is answered with `application/problem+json` (RFC 9457), whose members are those of [`Failure`]. Long work (`apply`) is
//! answered with a stream of lines (`application/x-ndjson`), each an [`ApplyLine`].

mod client;
mod types;
mod words;

pub use client::{Client, ClientError};
pub use types::{
    Applied, ApplyLine, ApplyRequest, ApprovalRequest, Approved, ChangeSetView, CharterChangeView, CharterRequest, CharterState, CopyLine,
    EnrollRequest, EvidenceLine, EvidenceTable, ExplainRequest, Failure, HsmCheck, HsmReport, HsmRoute, KeyStatus, PlacementView,
    PlanRequest, Planned, PlannedKey, Proposal, ProposedCharter, ShowRequest, Source, StatusReport, StepView, Subject, ValidateRequest,
    Validated, Verdict,
};
pub use words::{differences, rule};

/// The paths of `/v1`.
pub mod paths {
    /// POST [`crate::ValidateRequest`], gives [`crate::Validated`].
    pub const VALIDATE: &str = "/v1/validate";
    /// POST [`crate::ExplainRequest`], gives an object: `text` for people, `explanation` for programs.
    pub const EXPLAIN: &str = "/v1/explain";
    /// POST [`crate::PlanRequest`], gives [`crate::Planned`].
    pub const PLAN: &str = "/v1/plans";
    /// POST [`crate::ShowRequest`], gives [`crate::Proposal`].
    pub const SHOW: &str = "/v1/proposals/show";
    /// POST [`crate::ApprovalRequest`], gives [`crate::Approved`].
    pub const APPROVE: &str = "/v1/approvals";
    /// POST [`crate::ApplyRequest`], gives lines of [`crate::ApplyLine`].
    pub const APPLY: &str = "/v1/apply";
    /// GET [`crate::StatusReport`].
    pub const STATUS: &str = "/v1/status";
    /// GET [`crate::EvidenceTable`].
    pub const EVIDENCE: &str = "/v1/evidence";
    /// POST [`crate::EnrollRequest`], gives [`crate::HsmReport`].
    pub const HSM_ENROLL: &str = "/v1/hsm/enroll";
    /// POST without a body, gives [`crate::HsmReport`].
    pub const HSM_TEST: &str = "/v1/hsm/test";
    /// POST [`crate::CharterRequest`], gives [`crate::CharterState`].
    pub const CHARTER: &str = "/v1/hsm/charter";
}
