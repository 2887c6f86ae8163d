//! Looks at a whole destination, for planning.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use keyplane_model::{Inventory, PlacementSeen, Problem, Target};
use keyplane_port::{Clock, Swept};

use crate::lane::{Anybody, Failure, Lane};

/// The result of a look at a destination.
#[derive(Debug)]
pub struct Looked {
    /// Placements that could not be read are missing.
    pub inventory: Inventory,
    /// Why each missing placement could not be read.
    pub problems: Vec<Problem>,
}

impl Lane {
    /// Sweeps the destination for objects with our marks, and looks at these placements. Each object is read once.
    ///
    /// # Errors
    /// When the destination cannot be read at all. A single placement that cannot is in [`Looked::problems`].
    pub fn survey<'a>(&'a self, targets: &'a [Target], clock: &'a dyn Clock) -> BoxFuture<'a, Result<Looked, Problem>> {
        self.survey_all(targets, clock).boxed()
    }

    async fn survey_all(&self, targets: &[Target], clock: &dyn Clock) -> Result<Looked, Problem> {
        let at = clock.now();
        let (swept, complete) = self.sweep(&Anybody).await.map_err(|failure| failure.problem(self.destination()))?;
        let mut inventory = Inventory { at, complete, ours: Default::default(), placements: Default::default() };
        let mut problems = Vec::new();
        for target in targets {
            match self.find_or_look(target, &swept).await {
                Ok(seen) => {
                    inventory.placements.insert(target.placement, seen);
                }
                Err(failure) => problems.push(failure.problem(self.destination()).key(&target.key)),
            }
        }
        inventory.ours = Arc::unwrap_or_clone(swept);
        Ok(Looked { inventory, problems })
    }

    async fn find_or_look(&self, target: &Target, swept: &Swept) -> Result<PlacementSeen, Failure> {
        match self.find(target, swept).await? {
            Some(seen) => Ok(seen),
            None => self.look(target, &Anybody).await,
        }
    }
}
