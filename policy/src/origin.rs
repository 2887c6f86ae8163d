//! Where a rule comes from.

use std::fmt;

use keyplane_model::{ProfileName, SourceLocation};
use serde::{Deserialize, Serialize};

/// The document that sets a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A profile: the key's own, or one that it extends.
    Profile {
        /// The name of that profile.
        profile: ProfileName,
        /// The place of the value in the policy files.
        location: SourceLocation,
    },
    /// The key itself.
    Key {
        /// The place of the value in the policy files.
        location: SourceLocation,
    },
    /// No document sets it, so the default holds.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile { profile, location } => write!(f, "profile {profile}, {location}"),
            Self::Key { location } => write!(f, "this key, {location}"),
            Self::Default => f.write_str("default"),
        }
    }
}
