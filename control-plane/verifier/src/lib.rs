//! The independent judge of change sets and approvals.
//!
//! Owns the rules for change sets whoever made them ([`judge()`]), the worth of approvals ([`required`], [`approved`],
//! [`verify_approval`]), and what the custodian may do for one step ([`entitles`], [`may_mint`], [`may_wrap`]). Service and engine
//! use it before a commit, the custodian before it makes or wraps anything.
//!
//! Must not know the planner or share code with it: the planner's mistakes have to be caught here. Pure: no clock, no randomness,
//! no I/O. A fact that a caller cannot know is an `Option` in [`Facts`]: the custodian, for example, has no ledger. Rules that need
//! such a fact are left to the callers that have it; every other rule always holds.

mod approvals;
mod entitlement;
mod judge;
mod signature;
mod violation;

pub use approvals::{Approved, NotCounted, Shortfall, approved, required, verify_approval};
pub use entitlement::{Denial, Entitlement, entitles, may_mint, may_wrap};
pub use judge::{Facts, MAX_STEPS, judge};
pub use signature::{ApprovalFault, MAX_SIGNATURE};
pub use violation::Violation;
