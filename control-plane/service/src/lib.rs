//! The use cases: one function for each request of the API.
//!
//! Owns the flow of data: policy files to intent, intent and inventory to change sets, then approvals, commit, run and evidence. Knows
//! policy, planner, verifier, engine, the ports and the wire types. Must not know HTTP, the command line, the configuration, or the
//! adapters behind the ports.
//!
//! | module | owns |
//! |---|---|
//! | `planning` | `validate`, `explain`, `plan` |
//! | `approving` | `show`, `approve` |
//! | `applying` | `apply` |
//! | `showing` | `status`, `evidence`, and change sets for people |
//! | `comparing` | for `evidence`: the custodian's records of use against the ledger |
//! | `custody` | `hsm enroll`, `hsm test`, the charter |
//! | `charters` | which charters can be adopted, and which are proposed |

mod applying;
mod approving;
mod charters;
mod comparing;
mod custody;
mod planning;
mod showing;

use std::collections::BTreeMap;

use keyplane_api::Source;
use keyplane_engine::Engine;
use keyplane_model::{Destination, DestinationName, IdTree, InstallationId, Problem, ProblemCode, SealedCharter};
use keyplane_policy::Policy;

pub struct Service {
    engine: Engine,
    installation: InstallationId,
    destinations: BTreeMap<DestinationName, Destination>,
}

impl Service {
    /// The installation is that of the engine's ledger.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn new(engine: Engine) -> Result<Self, Problem> {
        let installation = engine.ledger.installation().await.map_err(|error| error.problem())?;
        let destinations = engine.lanes.iter().map(|(name, lane)| (name.clone(), lane.destination().clone())).collect();
        Ok(Self { engine, installation, destinations })
    }

    fn ids(&self) -> IdTree {
        IdTree::of(self.installation)
    }

    fn load(&self, sources: &[Source]) -> Result<Policy, Vec<Problem>> {
        let sources: Vec<(String, String)> = sources.iter().map(|source| (source.name.clone(), source.text.clone())).collect();
        keyplane_policy::load(&sources, Some(&self.destinations))
    }

    async fn charter(&self) -> Result<SealedCharter, Problem> {
        let charter = self.engine.ledger.charter().await.map_err(|error| error.problem())?;
        charter.ok_or_else(|| {
            let detail = "no charter was adopted: the token is not enrolled, or was enrolled for another installation";
            Problem::new(ProblemCode::TokenNotEnrolled, detail, "keyplane hsm enroll")
        })
    }
}

/// A value without canonical JSON. It would be a bug: every value of the model has one.
fn uncanonical(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemCode::Internal, format!("a value has no canonical form: {error}"), "keyplane status")
}
