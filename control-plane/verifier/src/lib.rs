//! The independent judge of change sets and approvals.
//!
//! Owns the rules for change sets whoever made them ([`judge()`]), the worth of approvals ([`required`], [`approved`],
//! [`verify_approval`]), what a charter has to be and whose approvals a change of it needs ([`fit`], [`required_for_charter`]), and what the custodian may do for one step ([`entitles`], [`may_mint`], [`may_wrap`]). Service and engine
//! use it before a commit, the custodian before it makes or wraps anything.
//!
//! Must not know the planner or share code with it: the planner's mistakes have to be caught here. Pure: no clock, no randomness,
//! no I/O. A fact that a caller cannot know is an `Option` in [`Facts`]: the custodian, for example, has no ledger. Rules that need
//! such a fact are left to the callers that have it; every other rule always holds.

mod approvals;
mod charter;
mod entitlement;
mod judge;
mod keys;
mod signature;
mod violation;

pub use approvals::{Approved, NotCounted, Shortfall, approved, required, required_in_all, verify_approval};
pub use charter::{CharterFault, fit, required_for_charter};
pub use entitlement::{Denial, Entitlement, entitles, may_mint, may_wrap};
pub use judge::{Facts, in_time, judge};
pub use keys::KeyFault;
pub use signature::{ApprovalFault, MAX_SIGNATURE};
pub use violation::{MAX_STEPS, Violation};
