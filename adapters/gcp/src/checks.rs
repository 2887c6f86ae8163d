//! Checks ids before they are put into a path, and that an answer is about what was asked for.

use keyplane_model::{Class, ObjectId};
use keyplane_port::{Cause, CloudError};

use crate::GoogleKms;
use crate::error::{found, garbled};
use crate::names;
use crate::operation::Operation;

/// Refuses a text that is not an id, before it is put into a path.
pub(crate) fn check_id(operation: Operation, id: &str) -> Result<(), CloudError> {
    names::check_name(id).map_err(|error| found(operation, Class::Invalid, Cause::Plain, &format!("`{id}`: {error}")))
}

/// Refuses a text that is not the number of a version.
pub(crate) fn check_version(operation: Operation, number: &str) -> Result<(), CloudError> {
    if names::is_version_number(number) {
        return Ok(());
    }
    Err(found(operation, Class::Invalid, Cause::Plain, &format!("`{number}` is no number of a version")))
}

impl GoogleKms {
    /// Refuses an answer about another key, or from another home than was approved (rule 11).
    pub(crate) fn check_key(&self, operation: Operation, name: Option<&str>, id: &str) -> Result<(), CloudError> {
        let name = name.ok_or_else(|| garbled(operation, "an answer without a name"))?;
        match self.ring.key_id(name) {
            Some(found) if found == id => Ok(()),
            Some(_) => Err(garbled(operation, "an answer about another key")),
            None => Err(self.wrong_home(operation, name)),
        }
    }

    /// Refuses an answer about another import job, or from another home.
    pub(crate) fn check_job(&self, operation: Operation, name: Option<&str>, id: &ObjectId) -> Result<(), CloudError> {
        let name = name.ok_or_else(|| garbled(operation, "an answer without a name"))?;
        match self.ring.job_id(name) {
            Some(found) if found == id.0 => Ok(()),
            Some(_) => Err(garbled(operation, "an answer about another import job")),
            None => Err(self.wrong_home(operation, name)),
        }
    }

    /// Refuses an answer about a version of another key, or from another home; returns the version's number.
    pub(crate) fn check_version_name<'a>(&self, operation: Operation, id: &str, name: Option<&'a str>) -> Result<&'a str, CloudError> {
        let name = name.ok_or_else(|| garbled(operation, "an answer without a name"))?;
        if let Some(number) = self.ring.version_number(id, name) {
            return Ok(number);
        }
        if name.starts_with(&format!("{}/", self.ring.name())) {
            return Err(garbled(operation, "an answer about another version"));
        }
        Err(self.wrong_home(operation, name))
    }

    /// The error for an answer from another home than was approved.
    pub(crate) fn wrong_home(&self, operation: Operation, name: &str) -> CloudError {
        // A mutation in the wrong place may have had its effect there.
        let class = if operation.mutates() { Class::Ambiguous } else { Class::Stale };
        found(operation, class, Cause::WrongHome, &format!("`{name}` is not in `{}`", self.ring.name()))
    }
}
