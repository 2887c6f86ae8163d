//! Execution: runs committed change sets step by step, and writes a receipt for each step.
//!
//! Owns the order (look, attempt, act, confirm, receipt), what may be concluded from a look, quotas, time-outs and retries. Knows the ports
//! and the verifier. Must not know a vendor, database or token. Makes no choices: a change set leaves none.
//!
//! A module uses only those below it in this table.
//!
//! | module | owns |
//! |---|---|
//! | `engine` | the order of a run: commit, prologue, placements concurrently |
//! | `ending` | how a change set ends, at the custodian and in the ledger |
//! | `step` | one step of a placement, from the first look to its receipt |
//! | `prologue` | the steps that generate, derive and share bytes, before any request to a cloud |
//! | `act` | one attempt: the mutating request is prepared, recorded, sent, and its failure handled |
//! | `spent` | what happens when a step has used up its attempts |
//! | `observe` | looks and sweeps; how long a look is fresh, when a "no" is conclusive |
//! | `track` | what is known of a placement's object, wrapping key and copies |
//! | `attempts` | what was tried for a step, what may still take effect, and every limit on attempts |
//! | `site` | one placement at its destination: target, lane, lease |
//! | `job` | what the steps of a change set share; how a receipt is written |
//! | `wanted` | what is wanted now, and whether a change set does nothing else |
//! | `unfit` | what is told of a change set that does not fit any more |
//! | `stop` | why a run stops, and what becomes of its change set |
//! | [`judgement`] | what a step does next, given what was seen: a pure function |
//! | `survey` | looking at a whole destination, for planning |
//! | `lease` | which lanes this server holds, and for how long |
//! | [`lane`] | quota, time-out and repeated reads, as tower layers |
//! | `quota` | when the quotas of the clouds allow the next call |
//! | `progress` | the events of a run |

mod act;
mod attempts;
mod ending;
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
mod stop;
mod survey;
mod track;
mod unfit;
mod wanted;

pub use engine::{Engine, Ran};
pub use lane::Lane;
pub use lease::Leases;
pub use progress::{Event, Progress, Silent};
pub use survey::Looked;
