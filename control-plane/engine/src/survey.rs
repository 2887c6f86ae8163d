//! Looking at the clouds for planning.

use std::sync::Arc;

use keyplane_model::{Inventory, PlacementSeen, Problem, Target};
use keyplane_port::{Clock, CloudError, Swept};

use crate::Lane;

/// What a look at a destination gave.
#[derive(Debug)]
pub struct Looked {
    /// What was seen; not complete when anything could not be read.
    pub inventory: Inventory,
    /// What could not be read, and why.
    pub problems: Vec<Problem>,
}

impl Lane {
    /// Sweeps the destination for whatever carries our marks, and looks at these placements: each object is read once.
    ///
    /// # Errors
    /// When the destination cannot be read at all; a single placement that cannot is in [`Looked::problems`].
    pub async fn survey(&self, targets: &[Target], clock: &dyn Clock) -> Result<Looked, Problem> {
        let at = clock.now();
        let (swept, complete) = self.sweep().await.map_err(|error| error.problem(self.destination()))?;
        let mut inventory = Inventory { at, complete, ours: Default::default(), placements: Default::default() };
        let mut problems = Vec::new();
        for target in targets {
            match self.find_or_look(target, &swept).await {
                Ok(seen) => {
                    inventory.placements.insert(target.placement, seen);
                }
                Err(error) => problems.push(error.problem(self.destination()).key(&target.key)),
            }
        }
        inventory.ours = Arc::unwrap_or_clone(swept);
        Ok(Looked { inventory, problems })
    }

    async fn find_or_look(&self, target: &Target, swept: &Arc<Swept>) -> Result<PlacementSeen, CloudError> {
        match self.find(target, swept).await? {
            Some(seen) => Ok(seen),
            None => self.look(target).await,
        }
    }
}
