//! The rules, each as what breaks it.

use keyplane_model::{
    Action, Algorithm, DestinationName, Expectation, Generation, InstallationId, ObjectId, PlacementId, ProfileName, Purpose, StepNo,
    Version, WrapScheme,
};

use crate::MAX_STEPS;

/// A rule that a change set breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    // The change set by itself.
    /// It is of a format that this program does not know.
    #[error("format {0} is not known")]
    Format(u32),
    /// It is for another installation.
    #[error("it is for installation {0}")]
    Installation(InstallationId),
    /// The charter is another installation's.
    #[error("the charter is that of installation {0}")]
    CharterInstallation(InstallationId),
    /// Nobody proposed it: nobody could be kept from approving it.
    #[error("nobody proposed it")]
    NoProposer,
    /// It has no steps.
    #[error("it has no steps")]
    Empty,
    /// It has more steps than are judged.
    #[error("it has {0} steps, more than {MAX_STEPS}")]
    TooLong(usize),
    /// A step is for a placement that is not described.
    #[error("step {0} is for a placement that it does not describe")]
    UnknownPlacement(StepNo),
    /// A placement is described, and no step is for it.
    #[error("no step is for placement {0}")]
    IdlePlacement(PlacementId),
    /// Two placements have the same destination and name.
    #[error("placement {0} has the destination and name of another one")]
    SameAddress(PlacementId),
    /// Incarnations count from 1.
    #[error("placement {0} has incarnation 0")]
    Incarnation(PlacementId),
    /// An act that does not belong to the action: cleaning up only removes surplus, importing removes nothing.
    #[error("step {step} does not belong to `{action}`")]
    WrongAct {
        /// Which step.
        step: StepNo,
        /// What the change set says to be.
        action: Action,
    },
    /// A step comes before one that has to come first (mint, create, claim, import, publish).
    #[error("step {0} comes too late or too early")]
    Order(StepNo),
    /// The same thing a second time.
    #[error("step {0} does again what an earlier step does")]
    Repeated(StepNo),
    /// The expectation is not the act's.
    #[error("step {step} expects `{found:?}`, not `{wanted:?}`")]
    Expectation {
        /// Which step.
        step: StepNo,
        /// What it expects.
        found: Expectation,
        /// What such a step has to expect.
        wanted: Expectation,
    },
    /// Versions count from 1, root epochs too.
    #[error("step {0} is for a version or root epoch 0")]
    Zero(StepNo),
    /// One change set brings one version.
    #[error("step {step} is for version {version}, other steps for another one")]
    TwoVersions {
        /// Which step.
        step: StepNo,
        /// Its version.
        version: Version,
    },
    /// A key pair cannot be derived.
    #[error("step {0} derives a key pair")]
    DerivedKeyPair(StepNo),
    /// The scheme is not for keys of that algorithm ([`WrapScheme::takes`]).
    #[error("step {step} wraps a private key by `{scheme}`, which is for secret keys")]
    SchemeUnfit {
        /// Which step.
        step: StepNo,
        /// How it wraps.
        scheme: WrapScheme,
    },
    /// SHA-1 where the cloud offers better.
    #[error("step {step} wraps by `{scheme}` where there is better")]
    SchemeWeak {
        /// Which step.
        step: StepNo,
        /// How it wraps.
        scheme: WrapScheme,
    },
    /// What is wanted is not said.
    #[error("it does not say what is wanted of the key")]
    NothingWanted,

    // Against the charter.
    /// The charter does not know the profile.
    #[error("the charter knows no profile `{0}`")]
    UnknownProfile(ProfileName),
    /// The approvals that it asks for are fewer, or from others, than the charter asks for.
    #[error("it asks for fewer approvals than the charter, or from others")]
    ApprovalsLooser,

    // Against the ledger.
    /// The key changed since it was planned.
    #[error("the key is at generation {found}, it was planned at {planned}")]
    Generation {
        /// What it says.
        planned: Generation,
        /// What the ledger says.
        found: Generation,
    },
    /// The id or the name is another key's.
    #[error("the key's id or name is not the recorded one")]
    OtherKey,
    /// A recorded placement is somewhere else, or something else.
    #[error("placement {0} is not as it is recorded")]
    OtherPlacement(PlacementId),
    /// The placement's address is recorded under another id.
    #[error("placement {0} has the address of a recorded placement")]
    TakenAddress(PlacementId),
    /// A version's bytes never change.
    #[error("step {step} makes the bytes of version {version} again")]
    CopyExists {
        /// Which step.
        step: StepNo,
        /// Which version.
        version: Version,
    },
    /// A version that neither exists nor comes next.
    #[error("step {step} makes version {version}, which neither exists nor comes next")]
    VersionGap {
        /// Which step.
        step: StepNo,
        /// Which version.
        version: Version,
    },
    /// There are no bytes to import.
    #[error("step {step} imports version {version}, which has no bytes yet")]
    NoCopy {
        /// Which step.
        step: StepNo,
        /// Which version.
        version: Version,
    },
    /// There is no object to import into.
    #[error("step {0} imports into nothing")]
    NoObject(StepNo),
    /// Nothing was imported that could be published.
    #[error("step {0} publishes an object without our copy")]
    NotImported(StepNo),
    /// A placement cannot share what it does not have.
    #[error("step {0} shares the bytes of its own placement")]
    SharesWithItself(StepNo),
    /// Bytes are of one algorithm.
    #[error("step {0} shares the bytes of another algorithm")]
    SharesOtherAlgorithm(StepNo),
    /// The import is of other bytes than the copy's.
    #[error("step {0} imports the bytes of another placement than the copy's")]
    OtherBytes(StepNo),
    /// What was prepared is not what is imported.
    #[error("step {0} wraps in another way than was prepared")]
    PreparedOtherwise(StepNo),
    /// An object that is in use must not be removed.
    #[error("step {step} removes `{object}`, which is in use")]
    RemovesInUse {
        /// Which step.
        step: StepNo,
        /// Which object.
        object: ObjectId,
    },
    /// Of two imports of a version one stays, and the ledger knows one of them.
    #[error("step {step} disables `{material}`, which is the import that should stay, or no import that is known")]
    DisablesInUse {
        /// Which step.
        step: StepNo,
        /// Which import.
        material: String,
    },

    /// A second import is followed only where it became the current one by itself, and the ledger knows the first.
    #[error("step {step} follows `{material}`, which is no second import, or not of what is known")]
    FollowsUnknown {
        /// Which step.
        step: StepNo,
        /// Which import.
        material: String,
    },

    // Against what is wanted.
    /// It is for something else than what is wanted now.
    #[error("it is for something else than what is wanted of the key now")]
    Wanted,
    /// The approvals that it asks for are not those that the key's rules ask for.
    #[error("it asks for other approvals than the key's rules")]
    ApprovalsDiffer,
    /// The key is under another profile.
    #[error("the key is not under profile `{0}`")]
    OtherProfile(ProfileName),
    /// Nobody wants the placement.
    #[error("placement {0} is not wanted so")]
    NotWanted(PlacementId),
    /// The rules do not allow the algorithm, or it cannot serve the purpose.
    #[error("placement {placement} must not be `{algorithm}`")]
    Algorithm {
        /// Which placement.
        placement: PlacementId,
        /// What it would be.
        algorithm: Algorithm,
    },
    /// It would be used for something else than the key is for.
    #[error("placement {placement} would be made to {purpose}, which the key is not for")]
    Purpose {
        /// Which placement.
        placement: PlacementId,
        /// For what.
        purpose: Purpose,
    },
    /// The rules do not allow the place.
    #[error("placement {placement} must not be at `{destination}`")]
    Location {
        /// Which placement.
        placement: PlacementId,
        /// Where it would be.
        destination: DestinationName,
    },
    /// The bytes do not come to be as the rules say.
    #[error("step {0} makes bytes in another way than the rules say")]
    Source(StepNo),
    /// Where clouds must agree, the bytes of a version are made once.
    #[error("step {step} makes bytes of version {version} that another placement has already, and the key's placements share theirs")]
    TwoOrigins {
        /// Which step.
        step: StepNo,
        /// Which version.
        version: Version,
    },
    /// Each placement has its own bytes, unless the key says otherwise.
    #[error("step {0} shares the bytes of another placement, which the key does not ask for")]
    Shares(StepNo),

    // Against the destinations.
    /// There is no such destination.
    #[error("there is no destination `{0}`")]
    UnknownDestination(DestinationName),
    /// The destination is not the one that it was planned for.
    #[error("destination `{0}` is not the one that it was planned for")]
    OtherDestination(DestinationName),
    /// The destination protects less than the rules ask for.
    #[error("`{0}` protects less than the rules ask for")]
    Protection(DestinationName),
    /// The destination does not take the algorithm wrapped so.
    #[error("step {step} wraps by `{scheme}`, which `{destination}` does not take")]
    SchemeRefused {
        /// Which step.
        step: StepNo,
        /// How it wraps.
        scheme: WrapScheme,
        /// Where.
        destination: DestinationName,
    },
    /// Only the holder of the claim ever gets material.
    #[error("step {0} imports without the claim")]
    Unclaimed(StepNo),
    /// The destination has to be asked for a key to wrap under first.
    #[error("step {0} imports before the destination was asked for a key to wrap under")]
    Unprepared(StepNo),
    /// The destination gives a key to wrap under at each asking.
    #[error("step {0} asks for a key to wrap under where the destination gives one at each asking")]
    PreparesInVain(StepNo),
}
