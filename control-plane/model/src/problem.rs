//! Problems: the one type that says what went wrong.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DestinationName, KeyName};

/// The kind of failure; it decides what may be done next. Chosen by type, never by an error's text (rule 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Had no effect, and may work when tried again.
    Transient,
    /// Had no effect, because a request quota of the destination was exceeded. May work later.
    Throttled,
    /// May have had its effect; only a look can tell.
    Ambiguous,
    /// The world has changed since this was decided.
    Stale,
    /// Something that was named does not exist.
    NotFound,
    /// Something with that name exists, and it is not what was meant.
    AlreadyExists,
    /// Not allowed, or not approved.
    Denied,
    /// Not possible there, whatever the request says.
    Unsupported,
    /// The request, the policy or the configuration is wrong.
    Invalid,
    /// A bug, or damaged data.
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
        /// What happened, as a stable word that programs may depend on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum ProblemCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl ProblemCode {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word, as in JSON and messages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The class, which decides the exit code.
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
    /// A destination does not support what the policy asks for.
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
    /// The token lacks a mechanism or a property that is needed.
    TokenUnsupported = "token-unsupported", Unsupported;
    /// The token holds something else under our names, or a blob that is not what it says.
    TokenBroken = "token-broken", Broken;
    /// The token failed; may work when tried again.
    TokenFailed = "token-failed", Transient;
    /// Bytes left the HSM under a wrapping key that the ledger does not know.
    WrappingKeyUnknown = "wrapping-key-unknown", Broken;
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
    /// The database is of another installation than the configuration names.
    OtherInstallation = "other-installation", Invalid;
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
    /// A step was attempted as often as it may be, and the destination does not show what it did.
    AttemptsSpent = "attempts-spent", Ambiguous;
    /// Another server holds the lease of the lane.
    LaneBusy = "lane-busy", Transient;
    /// The destination refuses what was asked.
    DestinationRefused = "destination-refused", Invalid;
    /// The destination's fingerprint differs from the one that was approved.
    DestinationChanged = "destination-changed", Stale;
    /// The cloud's import token or wrapping key expired before the import.
    ImportTokenExpired = "import-token-expired", Stale;
    /// An object that is not ours has a name that we need.
    ForeignObject = "foreign-object", AlreadyExists;
    /// An object of ours differs from the ledger's record.
    Drift = "drift", Stale;

    /// No change set or charter with that digest waits for approval.
    ApprovalUnknownDigest = "approval-unknown-digest", NotFound;
    /// The signature does not verify, or its key is not enrolled.
    ApprovalInvalid = "approval-invalid", Denied;
    /// The approver is the proposer.
    ApprovalBySelf = "approval-by-self", Denied;
    /// Fewer approvals count than the rule needs.
    ApprovalsMissing = "approvals-missing", Denied;
    /// The policy's approvers or approval rules differ from the charter in force.
    CharterChanged = "charter-changed", Stale;

    /// The key changed since the change set was planned.
    ChangeSetStale = "change-set-stale", Stale;
    /// A change set broke a rule: the verifier refused it.
    ChangeSetRefused = "change-set-refused", Broken;
    /// The operating system gives this process no more memory or threads; may work when tried again.
    ResourcesShort = "resources-short", Transient;
    /// A bug: something happened that the code rules out.
    Internal = "internal", Broken;
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceLocation {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
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
    /// The code's class.
    pub class: Class,
    /// What happened, for people: lower case, no full stop, user values in backticks.
    pub detail: String,
    /// The key that it is about. `None`: no key, or more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyName>,
    /// The destination that it is about. `None`: no destination, or more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationName>,
    /// The place in a policy or configuration file. `None`: it is about no file.
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

    /// Says which key it is about.
    #[must_use]
    pub fn key(mut self, key: &KeyName) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// Says which destination it is about.
    #[must_use]
    pub fn destination(mut self, destination: &DestinationName) -> Self {
        self.destination = Some(destination.clone());
        self
    }

    /// Says which place in a file it is about.
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
