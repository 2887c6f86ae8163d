//! The independent judge of change sets and approvals.
//!
//! Owns the rules for change sets, whoever made them ([`judge()`], [`still_wanted`]); which approvals count ([`required`], [`approved`],
//! [`verify_approval`]), and for how long ([`in_time`]); which charters can be in force, and whose approvals a change needs ([`fit`],
//! [`required_for_charter`]); what the custodian may do for a step ([`entitles`], [`may_mint`], [`may_wrap`]); and all of that together for
//! what the custodian is asked ([`judge_mint`], [`judge_wrap`], [`judge_adoption`]). Service and engine use it before a commit, the custodian
//! before it makes or wraps bytes.
//!
//! Must not know the planner or share code with it: it has to catch the planner's mistakes. Pure: no clock, no randomness, no I/O. A fact
//! that some callers cannot know is an `Option` in [`Facts`]; the custodian, for example, has no ledger. Rules that need such a fact are
//! left to the callers that have it. Every other rule always holds.

mod approvals;
mod charter;
mod entitlement;
mod judge;
mod keys;
mod request;
mod signature;
mod violation;

pub use approvals::{Approved, NotCounted, Shortfall, approved, required, required_in_all, verify_approval};
pub use charter::{CharterFault, fit, required_for_charter, valid_for_charter};
pub use entitlement::{Denial, Entitlement, entitles, may_mint, may_wrap};
pub use judge::{Facts, in_time, judge, still_wanted, valid_for};
pub use keys::KeyFault;
pub use request::{Adoption, RequestFault, Shown, judge_adoption, judge_mint, judge_wrap};
pub use signature::{ApprovalFault, MAX_SIGNATURE, normalised};
pub use violation::{MAX_STEPS, Violation};
