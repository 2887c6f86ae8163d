//! What is told: for every key what is done and why, or why nothing is; and how long it takes.

use std::collections::BTreeMap;
use std::fmt;

use keyplane_model::{
    Action, Algorithm, CloudKind, DestinationName, Digest, KeyName, ObjectId, PlacementId, Problem, ProblemCode, Purpose, Reason, Span,
    Timestamp, Version, VersionState,
};
use serde::Serialize;

use crate::Drift;

/// What a plan says to people and programs. [`fmt::Display`] renders it as lines of text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// Every key that is wanted or known.
    pub keys: BTreeMap<KeyName, KeyReport>,
    /// How long the change sets of this plan, new and kept, take together at least, by lane (the `home` of its destinations).
    pub lanes: BTreeMap<String, Span>,
    /// What concerns no key, or not one alone.
    pub warnings: Vec<Warning>,
}

/// What a plan says of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    /// What is done.
    pub outcome: Outcome,
    /// What stands in the way, or is not as it should be, by placement.
    pub findings: Vec<Finding>,
}

/// What is done for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// A new change set.
    Change {
        /// Its digest: what people approve.
        digest: Digest,
        /// What kind of change it is.
        action: Action,
        /// Why.
        reasons: Vec<Reason>,
        /// How many steps it has.
        steps: usize,
        /// How long it takes at least, alone, by quotas.
        takes: Span,
        /// The proposed change set that it replaces, with its approvals.
        replaces: Option<Digest>,
    },
    /// Nothing is to be done.
    Nothing {
        /// Why.
        reason: NothingReason,
    },
    /// Something is to be done, and nothing can be: see the findings.
    Blocked,
}

/// Why nothing is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum NothingReason {
    /// Every placement holds the version.
    InPlace {
        /// Which version.
        version: Version,
        /// Since when it is active everywhere; `None`: in place, but not everywhere that the ledger knows of.
        since: Option<Timestamp>,
    },
    /// The open change set still fits, and waits for approvals or for being applied.
    AwaitingApproval {
        /// Which one.
        digest: Digest,
        /// How many approvals were given, whether they count or not.
        given: usize,
        /// How many its rule asks for.
        need: u32,
    },
    /// A committed change set runs, or will be resumed.
    Running {
        /// Which one.
        digest: Digest,
        /// How many of its steps have their receipt.
        done: usize,
        /// How many it has.
        steps: usize,
    },
    /// No placement is wanted, and none is known.
    NoPlacements,
    /// Nobody wants the key any more. Nothing is destroyed for that.
    Unwanted,
}

/// What stands in the way of a placement, or is not as it should be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which placement.
    pub placement: PlacementId,
    /// Where.
    pub destination: DestinationName,
    /// How users address it there.
    pub name: String,
    /// What it is.
    pub obstacle: Obstacle,
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "obstacle")]
pub enum Obstacle {
    /// No such destination is configured.
    UnknownDestination,
    /// The destination speaks another cloud's API than the policy says.
    OtherCloud {
        /// What it speaks.
        configured: CloudKind,
    },
    /// The intent has no such profile: nobody could say who has to approve.
    UnknownProfile,
    /// The rules do not allow the algorithm, or it does not serve the purpose.
    AlgorithmNotAllowed {
        /// Which one.
        algorithm: Algorithm,
    },
    /// The rules do not allow the destination.
    LocationNotAllowed,
    /// The destination protects keys less than the rules ask for.
    ProtectionTooLow,
    /// The destination does not take keys of this algorithm from outside.
    AlgorithmUnsupported {
        /// Which one.
        algorithm: Algorithm,
    },
    /// The HSM has no route for any wrapping scheme that the destination takes.
    NoRoute {
        /// For which algorithm.
        algorithm: Algorithm,
    },
    /// The rules ask for derived bytes, and the HSM cannot derive.
    CannotDerive,
    /// It shares bytes that cannot be made yet.
    SharedWaits,
    /// The placement was not looked at: nothing is concluded from that.
    NotLookedAt,
    /// What was seen differs from what was recorded so shortly before that it may still be the old state.
    Unsettled,
    /// The destination is not the one that the placement was made at.
    DestinationChanged,
    /// The placement was made as another algorithm.
    AlgorithmChanged {
        /// As what it was made.
        recorded: Algorithm,
    },
    /// The key was made for something else; what a copy may be used for never changes.
    PurposeChanged {
        /// For what.
        recorded: Purpose,
    },
    /// The key's newest version must not be brought anywhere.
    VersionUnusable {
        /// Which one.
        version: Version,
        /// Its state.
        state: VersionState,
    },
    /// Something that is not the placement's own object has the placement's claim.
    ForeignClaim {
        /// What has it.
        object: ObjectId,
    },
    /// Something that is not the placement's own object has the users' name.
    ForeignName {
        /// What has it.
        object: ObjectId,
    },
    /// What was recorded and what is seen differ.
    Drift(Drift),
}

/// What concerns no key alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "warning")]
pub enum Warning {
    /// The sweep of a destination did not reach its end: no surplus objects are looked for there.
    IncompleteSweep {
        /// Which destination.
        destination: DestinationName,
    },
    /// A destination was looked at long before planning.
    OldLook {
        /// Which destination.
        destination: DestinationName,
        /// When it was looked at.
        at: Timestamp,
    },
    /// A placement is known and no longer wanted. Nothing is destroyed for that.
    UnwantedPlacement {
        /// Of which key.
        key: KeyName,
        /// Where.
        destination: DestinationName,
        /// How users address it there.
        name: String,
    },
    /// An object with our marks, for a placement that the ledger does not know. Nothing is done to it.
    UnknownObject {
        /// Where.
        destination: DestinationName,
        /// Which object.
        object: ObjectId,
    },
}

impl Obstacle {
    /// Whether this says only that nothing is known: nothing that was decided before is wrong because of it.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::NotLookedAt | Self::Unsettled)
    }

    /// The problem code that it is told with.
    #[must_use]
    pub fn code(&self) -> ProblemCode {
        match self {
            Self::UnknownDestination | Self::UnknownProfile => ProblemCode::NameUnknown,
            Self::OtherCloud { .. }
            | Self::AlgorithmNotAllowed { .. }
            | Self::LocationNotAllowed
            | Self::AlgorithmChanged { .. }
            | Self::PurposeChanged { .. } => ProblemCode::PolicyInvalid,
            Self::ProtectionTooLow | Self::AlgorithmUnsupported { .. } | Self::SharedWaits => ProblemCode::DestinationUnsupported,
            Self::NoRoute { .. } | Self::CannotDerive => ProblemCode::TokenUnsupported,
            Self::NotLookedAt => ProblemCode::DestinationUnreachable,
            Self::DestinationChanged => ProblemCode::DestinationChanged,
            Self::ForeignClaim { .. } | Self::ForeignName { .. } => ProblemCode::ForeignObject,
            Self::Unsettled | Self::VersionUnusable { .. } | Self::Drift(_) => ProblemCode::Drift,
        }
    }

    /// What to do about it.
    fn next(&self) -> &'static str {
        match self {
            Self::UnknownDestination => "add the destination to the configuration, then `keyplane plan`",
            Self::UnknownProfile => "add the profile to the policy, then `keyplane validate`",
            Self::OtherCloud { .. } | Self::AlgorithmNotAllowed { .. } | Self::LocationNotAllowed => {
                "correct the placement in the policy, then `keyplane validate`"
            }
            Self::AlgorithmChanged { .. } => "give the placement its algorithm back, or another name, then `keyplane validate`",
            Self::PurposeChanged { .. } => "give the key its purpose back, or the placement another name, then `keyplane validate`",
            Self::ProtectionTooLow | Self::AlgorithmUnsupported { .. } => {
                "choose another destination or algorithm, then `keyplane validate`"
            }
            Self::SharedWaits => "see what is in the way of the key's first placement, then `keyplane plan`",
            Self::NoRoute { .. } | Self::CannotDerive => "see what the token can do with `keyplane hsm test`",
            Self::NotLookedAt => "see that the destination answers with `keyplane config check`, then `keyplane plan`",
            Self::Unsettled => "wait for the destination to settle, then `keyplane plan`",
            Self::DestinationChanged => "give the destination its endpoint, account and credential source back, then `keyplane plan`",
            Self::ForeignClaim { .. } => "find out who made the object and remove its name, then `keyplane plan`",
            Self::ForeignName { .. } => "give the placement or the object another name, then `keyplane plan`",
            Self::VersionUnusable { .. } => "see the key with `keyplane status`",
            Self::Drift(_) => "find out who changed it and undo it there, then `keyplane plan`",
        }
    }
}

impl Finding {
    /// The finding as a problem of its key.
    #[must_use]
    pub fn problem(&self, key: &KeyName) -> Problem {
        Problem::new(self.obstacle.code(), self.to_string(), self.obstacle.next()).key(key).destination(&self.destination)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at `{}`: {}", self.name, self.destination, self.obstacle)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownDestination => f.write_str("no such destination is configured"),
            Self::OtherCloud { configured } => write!(f, "the destination speaks {configured}, the policy says otherwise"),
            Self::UnknownProfile => f.write_str("the key's profile is not in the policy"),
            Self::AlgorithmNotAllowed { algorithm } => write!(f, "the rules do not allow `{algorithm}`, or it does not serve the purpose"),
            Self::LocationNotAllowed => f.write_str("the rules do not allow this destination"),
            Self::ProtectionTooLow => f.write_str("the destination protects keys less than the rules ask for"),
            Self::AlgorithmUnsupported { algorithm } => write!(f, "the destination takes no `{algorithm}` keys from outside"),
            Self::NoRoute { algorithm } => write!(f, "the token cannot wrap `{algorithm}` keys in any way that the destination takes"),
            Self::CannotDerive => f.write_str("the rules ask for derived bytes, and the token cannot derive"),
            Self::SharedWaits => f.write_str("it shares the bytes of the key's first placement, and those cannot be made yet"),
            Self::NotLookedAt => f.write_str("it was not looked at"),
            Self::Unsettled => f.write_str("what is seen may still be the state before the last change"),
            Self::DestinationChanged => f.write_str("the destination is not the one that the placement was made at"),
            Self::AlgorithmChanged { recorded } => write!(f, "it was made as `{recorded}`, which cannot be changed"),
            Self::PurposeChanged { recorded } => write!(f, "it was made to {recorded}, which cannot be changed"),
            Self::VersionUnusable { version, state } => {
                write!(f, "version {version} must not be brought anywhere: it is {}", state_word(*state))
            }
            Self::ForeignClaim { object } => write!(f, "`{object}`, which is not ours, has the placement's claim"),
            Self::ForeignName { object } => write!(f, "`{object}`, which is not the placement's object, has the users' name"),
            Self::Drift(drift) => drift.fmt(f),
        }
    }
}

impl fmt::Display for NothingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InPlace { version, since: Some(since) } => write!(f, "version {version} is in place since {since}"),
            Self::InPlace { version, since: None } => {
                write!(f, "version {version} is in place wherever it is wanted, not yet wherever it is known")
            }
            Self::AwaitingApproval { digest, given, need } => {
                write!(f, "change set {} is proposed, with {given} of {need} approvals", digest.short())
            }
            Self::Running { digest, done, steps } => write!(f, "change set {} runs: {done} of {steps} steps are done", digest.short()),
            Self::NoPlacements => f.write_str("it is wanted nowhere"),
            Self::Unwanted => f.write_str("nobody wants it any more; nothing is destroyed for that"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IncompleteSweep { destination } => {
                write!(f, "`{destination}` could not be seen in full: surplus objects there are left alone")
            }
            Self::OldLook { destination, at } => write!(f, "`{destination}` was last looked at {at}"),
            Self::UnwantedPlacement { key, destination, name } => {
                write!(f, "`{name}` at `{destination}` is no longer wanted of key `{key}`; nothing is destroyed for that")
            }
            Self::UnknownObject { destination, object } => {
                write!(f, "`{object}` at `{destination}` has our marks, for a placement that is not known")
            }
        }
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Change { digest, action, reasons, steps, takes, replaces } => {
                write!(f, "{action} in {steps} steps, change set {}", digest.short())?;
                if *takes > Span::ZERO {
                    write!(f, ", at least {takes}")?;
                }
                if let Some(old) = replaces {
                    write!(f, ", in place of {}", old.short())?;
                }
                for reason in reasons {
                    write!(f, "\n    because {reason}")?;
                }
            }
            Outcome::Nothing { reason } => write!(f, "nothing to do: {reason}")?,
            Outcome::Blocked => f.write_str("blocked")?,
        }
        for finding in &self.findings {
            write!(f, "\n    {finding}\n        {}", finding.obstacle.next())?;
        }
        Ok(())
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, key) in &self.keys {
            writeln!(f, "{name}: {key}")?;
        }
        for (lane, span) in &self.lanes {
            writeln!(f, "all of it takes at least {span} at `{lane}`")?;
        }
        for warning in &self.warnings {
            writeln!(f, "note: {warning}")?;
        }
        Ok(())
    }
}

fn state_word(state: VersionState) -> &'static str {
    match state {
        VersionState::PreActivation => "not active yet",
        VersionState::Active => "active",
        VersionState::Suspended => "suspended",
        VersionState::Deactivated => "deactivated",
        VersionState::Compromised => "compromised",
        VersionState::Destroyed => "destroyed",
    }
}
