//! Turns the errors of the ports into problems. Only this file says what people should do about each.

use keyplane_model::{Class, Destination, Problem, ProblemCode};

use crate::{Cause, CloudError, CustodianError, LedgerError, Refusal};

/// What helps a process that is short of memory or threads.
const RAISE_LIMITS: &str = "free memory, or raise the limits of this process (`ulimit -v`, `ulimit -u`, its container's or service's), \
then the same command again";

impl CloudError {
    /// The problem for people: what failed at this destination, and the command that helps.
    #[must_use]
    pub fn problem(&self, destination: &Destination) -> Problem {
        let name = &destination.name;
        let again = "keyplane apply";
        let (code, next) = match (self.cause, self.class) {
            (Cause::Unreachable, _) => (ProblemCode::DestinationUnreachable, "keyplane config check"),
            (Cause::Credentials, _) => (ProblemCode::CredentialsRefused, "keyplane config check"),
            (Cause::WrongHome, _) => (ProblemCode::DestinationChanged, "keyplane config check"),
            (Cause::ImportTokenExpired, _) => (ProblemCode::ImportTokenExpired, again),
            (Cause::OtherMaterial, _) => (ProblemCode::Drift, "keyplane status"),
            (Cause::Plain, class) => match class {
                Class::Transient => (ProblemCode::DestinationUnreachable, again),
                Class::Throttled => (ProblemCode::DestinationThrottled, again),
                Class::Ambiguous => (ProblemCode::DestinationAmbiguous, again),
                Class::Denied => (ProblemCode::DestinationDenied, again),
                Class::Stale | Class::NotFound => (ProblemCode::Drift, "keyplane plan"),
                Class::AlreadyExists => (ProblemCode::ForeignObject, "keyplane plan"),
                Class::Unsupported => (ProblemCode::DestinationUnsupported, "keyplane validate"),
                Class::Invalid | Class::Broken => (ProblemCode::DestinationRefused, "keyplane status"),
            },
        };
        let mut problem = Problem::new(code, format!("`{name}` ({}): {} failed: {}", destination.home, self.operation, self.message), next)
            .destination(name);
        problem.class = self.class;
        problem
    }
}

impl CustodianError {
    /// The problem for people: what failed at the token, and the command that helps.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (code, next) = match self {
            Self::ModuleMissing { .. } => (ProblemCode::ModuleMissing, "keyplane config check"),
            Self::TokenMissing { .. } => (ProblemCode::TokenMissing, "keyplane config check"),
            Self::PinMissing(_) => (ProblemCode::PinMissing, "keyplane config check"),
            Self::PinWrong => (ProblemCode::PinWrong, "keyplane config check"),
            Self::PinLocked => (ProblemCode::PinLocked, "keyplane hsm test"),
            Self::NotEnrolled(_) => (ProblemCode::TokenNotEnrolled, "keyplane hsm enroll"),
            Self::Unsupported(_) => (ProblemCode::TokenUnsupported, "keyplane hsm test"),
            Self::Refused(_) => (ProblemCode::CustodianRefused, "keyplane plan"),
            Self::ApprovalsMissing { .. } => (ProblemCode::ApprovalsMissing, "keyplane status"),
            Self::CharterChanged => (ProblemCode::CharterChanged, "keyplane hsm charter"),
            Self::Spent(_) => (ProblemCode::CustodianRefused, "keyplane plan"),
            Self::UsageBroken(_) => (
                ProblemCode::TokenBroken,
                "find out who can log in to the token, and treat the bytes that the change set wraps as exposed; then `keyplane plan`",
            ),
            Self::Full(_) => (
                ProblemCode::TokenFailed,
                "make room in the token, then `keyplane apply`; objects labelled `keyplane/usage/…` go by themselves after 31 days",
            ),
            Self::Broken(_) => (ProblemCode::TokenBroken, "keyplane hsm test"),
            Self::Failed(_) => (ProblemCode::TokenFailed, "keyplane hsm test"),
            Self::Exhausted(_) => (ProblemCode::ResourcesShort, RAISE_LIMITS),
        };
        Problem::new(code, self.to_string(), next)
    }
}

impl LedgerError {
    /// The problem for people: what failed at the database, and the command that helps.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (code, next) = match self {
            Self::Refused(Refusal::NoChangeSet(_) | Refusal::NoCharterProposal(_)) => (ProblemCode::ApprovalUnknownDigest, "keyplane plan"),
            Self::Refused(Refusal::State(_) | Refusal::Settle(_) | Refusal::KeyBusy { .. } | Refusal::Approved { .. }) => {
                (ProblemCode::ChangeSetStale, "keyplane plan")
            }
            Self::Refused(Refusal::AlreadyApproved(_)) => (ProblemCode::ApprovalInvalid, "keyplane status"),
            Self::Refused(Refusal::LeaseLost(_)) => (ProblemCode::LaneBusy, "keyplane apply"),
            Self::Refused(Refusal::Contradiction) => (ProblemCode::DatabaseBroken, "keyplane status"),
            Self::Missing(_) => (ProblemCode::DatabaseMissing, "keyplane init"),
            Self::Newer { .. } => (ProblemCode::DatabaseNewer, "keyplane --version"),
            Self::Older { .. } => (ProblemCode::DatabaseOlder, "keyplane migrate"),
            Self::Failed(_) => (ProblemCode::DatabaseFailed, "keyplane status"),
            Self::Exhausted(_) => (ProblemCode::ResourcesShort, RAISE_LIMITS),
            Self::Broken(_) => (ProblemCode::DatabaseBroken, "keyplane status"),
        };
        Problem::new(code, self.to_string(), next)
    }
}
