//! Looking at the clouds for planning.

use keyplane_model::{Inventory, Problem, Target};
use keyplane_port::Clock;

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
    /// Looks at these placements directly, and sweeps the destination for whatever else carries our marks.
    ///
    /// # Errors
    /// When the destination cannot be read at all; a single placement that cannot is in [`Looked::problems`].
    pub async fn survey(&self, targets: &[Target], clock: &dyn Clock) -> Result<Looked, Problem> {
        let mut looked = Looked {
            inventory: Inventory { at: clock.now(), complete: true, ours: Default::default(), placements: Default::default() },
            problems: Vec::new(),
        };
        let (objects, complete) = self.sweep().await.map_err(|error| error.problem(self.destination()))?;
        looked.inventory.complete = complete;
        for object in objects {
            looked.inventory.ours.insert(object.object.clone(), object);
        }
        for target in targets {
            match self.look(target).await {
                Ok(seen) => {
                    looked.inventory.placements.insert(target.placement, seen);
                }
                Err(error) => looked.problems.push(error.problem(self.destination()).key(&target.key)),
            }
        }
        Ok(looked)
    }
}
