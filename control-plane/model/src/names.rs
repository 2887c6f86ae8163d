//! Names that people choose. They are checked once: every value of these types is well formed.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says which rule a name breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no valid {what}: lower-case letters, digits and `-`, beginning with a letter or digit, at most {max} characters")]
pub struct NameError {
    what: &'static str,
    given: String,
    max: usize,
}

/// In characters. 63 is the shortest limit among the clouds' names (Google Cloud key ids), and that of DNS labels.
const MAX: usize = 63;

fn well_formed(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX && text.starts_with(plain) && text.chars().all(|c| plain(c) || c == '-')
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = "^[a-z0-9][a-z0-9-]{0,62}$"), with = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                if well_formed(&text) {
                    Ok(Self(text))
                } else {
                    // A name from outside may have any length; the error shows the part that a person can read.
                    Err(NameError { what: $what, given: text.chars().take(80).collect(), max: MAX })
                }
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a key, unique in an installation.
    KeyName, "key name");
name!(
    /// The name of a profile, unique in an installation.
    ProfileName, "profile name");
name!(
    /// The name of a destination in the configuration.
    DestinationName, "destination name");
name!(
    /// The name of a person who may approve, unique in an installation.
    ApproverName, "approver name");
name!(
    /// The name of a group of approvers.
    GroupName, "group name");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_cloud_would_refuse_are_refused() {
        for bad in ["", "-a", "Upper", "under_score", "a.b", "a b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad:?} was taken");
        }
        for good in ["a", "0", "payments-db", &"a".repeat(63)] {
            assert!(good.parse::<KeyName>().is_ok(), "{good:?} was refused");
        }
    }
}
