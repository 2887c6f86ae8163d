//! The report of a plan: for each key, what will be done and why, or why nothing will be; and how long it takes.

use std::collections::BTreeMap;
use std::fmt;

use keyplane_model::{
    Action, Algorithm, CloudKind, DestinationName, Digest, KeyName, ObjectId, PlacementId, Problem, ProblemCode, Purpose, Reason, Span,
    Timestamp, Version, VersionState,
};
use serde::Serialize;

use crate::drift::Drift;

/// For programs; its [`fmt::Display`] is the text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanReport {
    /// Every key that is wanted or recorded.
    pub keys: BTreeMap<KeyName, KeyReport>,
    /// The least time that this plan's change sets take, new and kept, by lane (the `home` of its destinations).
    pub lanes: BTreeMap<String, Span>,
    /// Warnings that concern no key, or more than one.
    pub warnings: Vec<Warning>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyReport {
    pub outcome: Outcome,
    /// What blocks or differs at its placements.
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// A new change set is proposed.
    Change {
        digest: Digest,
        action: Action,
        reasons: Vec<Reason>,
        steps: usize,
        /// The least time by quotas if it ran alone.
        takes: Span,
        /// The proposed change set that it replaces, whose approvals are lost. `None`: it replaces none.
        replaces: Option<Digest>,
    },
    /// The key needs nothing, or nothing beyond its open change set.
    Nothing { reason: NothingReason },
    /// The key needs something that cannot be done; the findings say why.
    Blocked,
}

/// Why a key gets no new change set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum NothingReason {
    /// Every placement holds the key's newest version.
    InPlace {
        version: Version,
        /// When it became active in all its placements. `None`: it is not active in all recorded placements.
        since: Option<Timestamp>,
    },
    /// An open change set still fits. It waits for approvals, or for `apply`.
    AwaitingApproval {
        digest: Digest,
        /// How many approvals were received, verified or not.
        given: usize,
        need: u32,
    },
    /// A proposed change set is being withdrawn. The next plan ends that if it was interrupted, and plans the key anew.
    Withdrawing { digest: Digest },
    /// A committed change set runs, or will be resumed.
    Running {
        digest: Digest,
        /// How many of its steps have a receipt.
        done: usize,
        steps: usize,
    },
    /// The key has no placements, wanted or recorded.
    NoPlacements,
    /// The key is no longer wanted. Nothing is destroyed because of that.
    Unwanted,
}

/// Something that blocks or differs at a placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub placement: PlacementId,
    pub destination: DestinationName,
    /// The name by which users address the key there.
    pub name: String,
    pub obstacle: Obstacle,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "obstacle")]
pub enum Obstacle {
    /// The configuration has no such destination.
    UnknownDestination,
    /// The configuration and the policy name different clouds for the destination.
    OtherCloud { configured: CloudKind },
    /// The intent has no such profile, so no approvers are defined.
    UnknownProfile,
    /// The rules do not allow the algorithm, or it does not serve the key's purpose.
    AlgorithmNotAllowed { algorithm: Algorithm },
    /// The rules do not allow the destination.
    LocationNotAllowed,
    /// The destination protects keys less than the rules require.
    ProtectionTooLow,
    /// The destination does not take imports of this algorithm.
    AlgorithmUnsupported { algorithm: Algorithm },
    /// The token has no proven route for any scheme that the destination takes.
    NoRoute { algorithm: Algorithm },
    /// The rules require derived bytes, and the token cannot derive.
    CannotDerive,
    /// The placement shares bytes of another placement, and those cannot be made yet.
    SharedWaits,
    /// The placement was not looked at, so nothing is concluded about it.
    NotLookedAt,
    /// The last recorded change is within the consistency bound, or came after the look, so the look may show the state before it.
    Unsettled,
    /// The destination's fingerprint differs from the one that the placement was made under.
    DestinationChanged,
    /// The placement was made with another algorithm.
    AlgorithmChanged { recorded: Algorithm },
    /// The key was made for another use. The use of a copy never changes.
    PurposeChanged { recorded: Purpose },
    /// The key's newest version is in a state in which it must not be imported.
    VersionUnusable { version: Version, state: VersionState },
    /// An object that is not the placement's own holds its claim.
    ForeignClaim { object: ObjectId },
    /// The users' name points at an object that is not the placement's own.
    ForeignName { object: ObjectId },
    /// Record and look differ.
    Drift(Drift),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "warning")]
pub enum Warning {
    /// The sweep of a destination was incomplete, so nothing surplus is removed there.
    IncompleteSweep { destination: DestinationName },
    /// The look at a destination is older than 15 minutes.
    OldLook {
        destination: DestinationName,
        /// When the look began.
        at: Timestamp,
    },
    /// A recorded placement is no longer wanted. Nothing is destroyed because of that.
    UnwantedPlacement {
        key: KeyName,
        destination: DestinationName,
        /// The name by which users address the key there.
        name: String,
    },
    /// An object of ours that was made for a key and is not used. Its removal is proposed once the key needs nothing else: until then a
    /// step may still use it.
    UnusedObject { key: KeyName, destination: DestinationName, object: ObjectId },
    /// An object with our marks for a placement that the ledger does not know. Nothing is done to it.
    UnknownObject { destination: DestinationName, object: ObjectId },
}

impl Obstacle {
    /// Whether it only says that nothing is known. Such an obstacle makes no earlier decision stale.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::NotLookedAt | Self::Unsettled)
    }

    /// The code of the problem that reports it.
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

    /// The command or action that helps.
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
    /// The finding as a problem of this key.
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
            Self::Withdrawing { digest } => write!(f, "change set {} is being withdrawn; plan again", digest.short()),
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
            Self::UnusedObject { key, destination, object } => {
                write!(
                    f,
                    "`{object}` at `{destination}` was made for key `{key}` and is not used; once the key is in place, its removal is proposed"
                )
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
