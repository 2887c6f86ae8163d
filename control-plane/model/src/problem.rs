//! What is told when something does not work: one type everywhere.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DestinationName, KeyName};

/// What kind of failure it is: decides what may be done next. Always by type, never by text (rule 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Had no effect, and may work when tried again.
    Transient,
    /// Had no effect: too many calls.
    Throttled,
    /// May have had its effect.
    Ambiguous,
    /// The world is no longer as it was when this was decided.
    Stale,
    /// There is no such thing.
    NotFound,
    /// There is such a thing already, and it is not what was meant.
    AlreadyExists,
    /// Not allowed.
    Denied,
    /// Not possible there, however it is asked.
    Unsupported,
    /// Asked wrongly.
    Invalid,
    /// Something that must not be: a bug, or damage.
    Broken,
}

impl Class {
    /// The exit code of a command that ends with a problem of this class. 0 is success, 1 is left to the shell, 2 is
    /// `plan --detailed-exitcode` with something to do, 64 is a wrong command line.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid => 3,
            Self::Denied => 4,
            Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::Stale => 7,
            Self::Unsupported => 8,
            Self::Transient => 9,
            Self::Throttled => 10,
            Self::Ambiguous => 11,
            Self::Broken => 12,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Ambiguous => "ambiguous",
            Self::Stale => "stale",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Denied => "denied",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::Broken => "broken",
        })
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $class:ident;)*) => {
        /// What happened, as a word that programs may depend on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum ProblemCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl ProblemCode {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Its class.
            #[must_use]
            pub fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }
        }
    };
}

codes! {
    /// The configuration cannot be read or says something impossible.
    ConfigInvalid = "config-invalid", Invalid;
    /// A policy file cannot be read or says something impossible.
    PolicyInvalid = "policy-invalid", Invalid;
    /// The policy names a key, profile or destination that is not there.
    NameUnknown = "name-unknown", NotFound;
    /// A destination cannot take what the policy asks for.
    DestinationUnsupported = "destination-unsupported", Unsupported;

    /// The PKCS#11 module cannot be loaded.
    ModuleMissing = "module-missing", NotFound;
    /// The module has no token with that label.
    TokenMissing = "token-missing", NotFound;
    /// The PIN is wrong; it was tried once.
    PinWrong = "pin-wrong", Denied;
    /// The token would lock at the next wrong PIN, or is locked; nothing was tried.
    PinLocked = "pin-locked", Denied;
    /// The PIN cannot be read.
    PinMissing = "pin-missing", Invalid;
    /// The token holds no root epoch.
    TokenNotEnrolled = "token-not-enrolled", NotFound;
    /// The token cannot do what is needed.
    TokenUnsupported = "token-unsupported", Unsupported;
    /// The token holds something else under our names, or a blob that is not what it says.
    TokenBroken = "token-broken", Broken;
    /// The token failed; may work when tried again.
    TokenFailed = "token-failed", Transient;
    /// The custodian refuses: what was asked is not what was approved.
    CustodianRefused = "custodian-refused", Denied;

    /// There is no database; `init` makes it.
    DatabaseMissing = "database-missing", NotFound;
    /// There is a database already.
    DatabaseExists = "database-exists", AlreadyExists;
    /// The database was made by a newer program.
    DatabaseNewer = "database-newer", Unsupported;
    /// The database was made by an older program; `migrate` brings it up.
    DatabaseOlder = "database-older", Stale;
    /// The database does not answer; may work when tried again.
    DatabaseFailed = "database-failed", Transient;
    /// The database holds something that cannot be.
    DatabaseBroken = "database-broken", Broken;

    /// The destination does not answer.
    DestinationUnreachable = "destination-unreachable", Transient;
    /// The destination refuses our credentials.
    CredentialsRefused = "credentials-refused", Denied;
    /// The destination knows us and does not allow this.
    DestinationDenied = "destination-denied", Denied;
    /// The destination asks us to slow down.
    DestinationThrottled = "destination-throttled", Throttled;
    /// The destination did not say whether it did what was asked.
    DestinationAmbiguous = "destination-ambiguous", Ambiguous;
    /// Another server works there.
    LaneBusy = "lane-busy", Transient;
    /// The destination refuses what was asked.
    DestinationRefused = "destination-refused", Invalid;
    /// The destination is not the one that was approved.
    DestinationChanged = "destination-changed", Stale;
    /// The import token ran out before the import.
    ImportTokenExpired = "import-token-expired", Stale;
    /// Something that is not ours has a name that we need.
    ForeignObject = "foreign-object", AlreadyExists;
    /// An object of ours is not as it should be.
    Drift = "drift", Stale;

    /// Nothing with that digest is waiting for approval.
    ApprovalUnknownDigest = "approval-unknown-digest", NotFound;
    /// The signature does not verify, or its key is not enrolled.
    ApprovalInvalid = "approval-invalid", Denied;
    /// Nobody can approve a proposal of one's own.
    ApprovalBySelf = "approval-by-self", Denied;
    /// Fewer approvals than the profile asks for.
    ApprovalsMissing = "approvals-missing", Denied;
    /// The policy's approvers or approval rules are not those that the custodian adopted.
    CharterChanged = "charter-changed", Stale;

    /// The key changed since the change set was planned.
    ChangeSetStale = "change-set-stale", Stale;
    /// A change set broke a rule: the verifier refused it.
    ChangeSetRefused = "change-set-refused", Broken;
    /// Something that must not be: a bug.
    Internal = "internal", Broken;
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceLocation {
    /// Which file, as it was given.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// What happened, to which key at which destination, and what to do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What happened, for programs.
    pub code: ProblemCode,
    /// Its class.
    pub class: Class,
    /// What happened, for people: lower case, no full stop, user values in backticks.
    pub detail: String,
    /// To which key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyName>,
    /// At which destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationName>,
    /// Where in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<SourceLocation>,
    /// The command that helps, or what to do before repeating the last one.
    pub next: String,
}

impl Problem {
    /// A problem; `next` is the command that helps.
    pub fn new(code: ProblemCode, detail: impl Into<String>, next: impl Into<String>) -> Self {
        Self { code, class: code.class(), detail: detail.into(), key: None, destination: None, location: None, next: next.into() }
    }

    /// The same, for a key.
    #[must_use]
    pub fn key(mut self, key: &KeyName) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// The same, at a destination.
    #[must_use]
    pub fn destination(mut self, destination: &DestinationName) -> Self {
        self.destination = Some(destination.clone());
        self
    }

    /// The same, at a place in a file.
    #[must_use]
    pub fn at(mut self, location: SourceLocation) -> Self {
        self.location = Some(location);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_class_exits_like_success_or_like_a_plan_with_something_to_do() {
        for code in ProblemCode::ALL {
            assert!(code.class().exit_code() > 2, "{code}");
        }
    }
}
