//! Execution: committed change sets, step by step, to their receipts.
//!
//! Owns the order of things (look, attempt, act, confirm, receipt), what may be concluded from what was seen, quotas,
//! time-outs and retries. Knows the ports and the verifier; must not know of any vendor, database or token, nor make a
//! choice that a change set left open: there is none.
//!
//! A module knows only those below it.
//!
//! | module | owns |
//! |---|---|
//! | `engine` | the order of a run: commit, prologue, placements side by side |
//! | `step` | one step of a placement, from the first look to its receipt |
//! | `prologue` | the steps that generate, derive and share bytes, before any cloud is asked |
//! | `act` | the one mutating request: prepared, written down, sent, refused |
//! | `spent` | what is told, and done, when a step was attempted as often as it may be |
//! | `observe` | looks and sweeps; how long a look is fresh, when a "no" is conclusive |
//! | `track` | what is known of a placement's object, wrapping key and copies |
//! | `attempts` | what was tried for a step, what of it may still take effect, every bound of it |
//! | `site` | where a placement's steps work, under which right |
//! | `job` | what the steps of a change set share; how a receipt is written |
//! | [`judgement`] | what a step does about what was seen: pure, and the heart of resuming after a crash |
//! | `survey` | looking at a whole destination, for planning |
//! | `lease` | which lanes this server works at, and how long it may |
//! | [`lane`] | quota, time-out and repeated reads, as tower layers |
//! | `quota` | when the quotas of the clouds allow the next call |
//! | `progress` | what a run tells while it goes on |

mod act;
mod attempts;
mod engine;
mod job;
pub mod judgement;
pub mod lane;
mod lease;
mod observe;
mod progress;
mod prologue;
mod quota;
mod site;
mod spent;
mod step;
mod survey;
mod track;

pub use engine::{Engine, Ran};
pub use lane::Lane;
pub use lease::Leases;
pub use progress::{Event, Progress, Silent};
pub use survey::Looked;
