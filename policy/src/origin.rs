//! Where the value of a rule comes from.

use std::fmt;

use keyplane_model::{ProfileName, SourceLocation};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The key's own profile, or one that it extends.
    Profile {
        profile: ProfileName,
        /// Where the value is.
        location: SourceLocation,
    },
    Key {
        /// Where the value is.
        location: SourceLocation,
    },
    /// No document sets the rule, so the default applies.
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
