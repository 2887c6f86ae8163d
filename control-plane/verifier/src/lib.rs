//! The independent judge of change sets and approvals.
//!
//! Owns the rules that a change set has to keep whoever made it ([`judge()`]), what an approval is worth ([`required`],
//! [`approved`], [`verify_approval`]), and what one step of a change set entitles the custodian to ([`entitles`], [`may_mint`], [`may_wrap`]).
//! Used by the service and the engine before anything is committed, and by the custodian before it makes or wraps anything.
//!
//! Must not know the planner, nor share code with it: a mistake there has to be caught here. Pure: no clock, no randomness,
//! no I/O. Whatever a caller cannot know (the custodian has no ledger) is an `Option` in [`Facts`], and the rules that need it
//! are then left to whoever does know it; every other rule always holds.

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
