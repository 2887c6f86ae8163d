//! Plans: from intent, ledger and inventory to change sets, with a typed reason for everything that is not done.
//!
//! Owns the decision what has to change. Pure: the same [`PlanInput`] gives the same bytes, whatever the order of its lists. Time and ids
//! are arguments, and a change set leaves execution no choices. Must not know the verifier, which judges the plans and shares no code with
//! the planner. Must not know a vendor: [`keyplane_model::Capabilities`] says how clouds differ.
//!
//! `input` is what a plan is made from, `targets` what has to be looked at before. `keys` plans key by key, with one module for each pass:
//! `open` (open change sets), `placements` (first imports, and what a dropped change set left unfinished), `drift` (differences between
//! record and cloud), `surplus` (objects of ours that nothing needs), `estimate` (least time by quotas), `report` (what the operator sees).

mod drift;
mod estimate;
mod input;
mod keys;
mod open;
mod placements;
mod report;
mod surplus;
mod targets;

pub use drift::Drift;
pub use input::{Custody, PlanInput};
pub use keys::{Plan, plan};
pub use report::{Finding, KeyReport, NothingReason, Obstacle, Outcome, PlanReport, Warning};
pub use targets::targets;
