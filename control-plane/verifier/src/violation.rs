//! The rules for change sets, each named by what breaks it.

use keyplane_model::{
    APPROVALS_LAST, Action, Algorithm, DestinationName, Expectation, Generation, InstallationId, ObjectId, PlacementId, ProfileName,
    Purpose, StepNo, Timestamp, Version, WrapScheme,
};

/// The most steps in a change set: six for each of 166 placements, far more than any key has.
pub const MAX_STEPS: usize = 1_000;

/// A rule that a change set breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    // Rules that the change set alone decides.
    /// The format is not known to this program.
    #[error("format {0} is not known")]
    Format(u32),
    /// It is for another installation.
    #[error("it is for installation {0}")]
    Installation(InstallationId),
    /// The charter belongs to another installation.
    #[error("the charter is that of installation {0}")]
    CharterInstallation(InstallationId),
    /// There is no proposer, so nobody could be kept from approving an own proposal.
    #[error("nobody proposed it")]
    NoProposer,
    /// Its approvals have ended.
    #[error("its approvals ended at {0}")]
    Ended(Timestamp),
    /// It asks for approvals that last longer than [`APPROVALS_LAST`].
    #[error("its approvals would last until {0}, longer than {APPROVALS_LAST}")]
    EndsTooLate(Timestamp),
    /// It has no steps.
    #[error("it has no steps")]
    Empty,
    /// It has more steps than [`MAX_STEPS`].
    #[error("it has {0} steps, more than {MAX_STEPS}")]
    TooLong(usize),
    /// A step acts on a placement that is not described.
    #[error("step {0} is for a placement that it does not describe")]
    UnknownPlacement(StepNo),
    /// A described placement has no step.
    #[error("no step is for placement {0}")]
    IdlePlacement(PlacementId),
    /// Two placements have the same destination and name.
    #[error("placement {0} has the destination and name of another one")]
    SameAddress(PlacementId),
    /// An incarnation is 0; they count from 1.
    #[error("placement {0} has incarnation 0")]
    Incarnation(PlacementId),
    /// The act does not belong to the action: clean-ups only remove surplus, imports remove nothing.
    #[error("step {step} does not belong to `{action}`")]
    WrongAct {
        /// The number of the step.
        step: StepNo,
        /// The action of the change set.
        action: Action,
    },
    /// The step comes before one that has to come first; the order is mint or share, create, claim, prepare, import, publish.
    #[error("step {0} comes too late or too early")]
    Order(StepNo),
    /// The step does the same as an earlier one.
    #[error("step {0} does again what an earlier step does")]
    Repeated(StepNo),
    /// The step expects another state than its act needs.
    #[error("step {step} expects `{found:?}`, not `{wanted:?}`")]
    Expectation {
        /// The number of the step.
        step: StepNo,
        /// The state that it expects.
        found: Expectation,
        /// The state that its act needs.
        wanted: Expectation,
    },
    /// A version or root epoch is 0; both count from 1.
    #[error("step {0} is for a version or root epoch 0")]
    Zero(StepNo),
    /// The change set is about more than one version.
    #[error("step {step} is for version {version}, other steps for another one")]
    TwoVersions {
        /// The number of the step.
        step: StepNo,
        /// The version of that step.
        version: Version,
    },
    /// A key pair is to be derived, which is impossible.
    #[error("step {0} derives a key pair")]
    DerivedKeyPair(StepNo),
    /// The scheme does not take keys of that algorithm ([`WrapScheme::takes`]).
    #[error("step {step} wraps a private key by `{scheme}`, which is for secret keys")]
    SchemeUnfit {
        /// The number of the step.
        step: StepNo,
        /// The scheme of that step.
        scheme: WrapScheme,
    },
    /// The scheme uses SHA-1 where the cloud takes something better.
    #[error("step {step} wraps by `{scheme}` where there is better")]
    SchemeWeak {
        /// The number of the step.
        step: StepNo,
        /// The scheme of that step.
        scheme: WrapScheme,
    },
    /// An import does not say what is wanted of the key.
    #[error("it does not say what is wanted of the key")]
    NothingWanted,

    // Rules that the charter decides.
    /// The charter does not know the profile.
    #[error("the charter knows no profile `{0}`")]
    UnknownProfile(ProfileName),
    /// It asks for fewer approvals than the charter does, or for approvals from other groups.
    #[error("it asks for fewer approvals than the charter, or from others")]
    ApprovalsLooser,

    // Rules that the ledger decides.
    /// The key has changed since planning.
    #[error("the key is at generation {found}, it was planned at {planned}")]
    Generation {
        /// The generation in the change set.
        planned: Generation,
        /// The generation in the ledger.
        found: Generation,
    },
    /// Another key has this id or name.
    #[error("the key's id or name is not the recorded one")]
    OtherKey,
    /// A recorded placement would change its destination, name, algorithm or use.
    #[error("placement {0} is not as it is recorded")]
    OtherPlacement(PlacementId),
    /// Another recorded placement has the same destination and name.
    #[error("placement {0} has the address of a recorded placement")]
    TakenAddress(PlacementId),
    /// The placement already has bytes for this version, and those never change.
    #[error("step {step} makes the bytes of version {version} again")]
    CopyExists {
        /// The number of the step.
        step: StepNo,
        /// The version.
        version: Version,
    },
    /// The version neither exists nor is the next one.
    #[error("step {step} makes version {version}, which neither exists nor comes next")]
    VersionGap {
        /// The number of the step.
        step: StepNo,
        /// The version.
        version: Version,
    },
    /// No bytes exist that could be imported or shared.
    #[error("step {step} imports version {version}, which has no bytes yet")]
    NoCopy {
        /// The number of the step.
        step: StepNo,
        /// The version.
        version: Version,
    },
    /// No object exists to import into.
    #[error("step {0} imports into nothing")]
    NoObject(StepNo),
    /// Nothing is imported that could be activated.
    #[error("step {0} publishes an object without our copy")]
    NotImported(StepNo),
    /// A placement would share its own bytes.
    #[error("step {0} shares the bytes of its own placement")]
    SharesWithItself(StepNo),
    /// A placement would share bytes of another algorithm.
    #[error("step {0} shares the bytes of another algorithm")]
    SharesOtherAlgorithm(StepNo),
    /// The import names another placement's bytes than the copy has.
    #[error("step {0} imports the bytes of another placement than the copy's")]
    OtherBytes(StepNo),
    /// What was prepared differs from what is imported.
    #[error("step {0} wraps in another way than was prepared")]
    PreparedOtherwise(StepNo),
    /// The object to remove is in use.
    #[error("step {step} removes `{object}`, which is in use")]
    RemovesInUse {
        /// The number of the step.
        step: StepNo,
        /// The object.
        object: ObjectId,
    },
    /// The import to disable may be in use. Of two imports of a version, one has to stay and one has to be recorded.
    #[error("step {step} disables `{material}`, which is the import that should stay, or no import that is known")]
    DisablesInUse {
        /// The number of the step.
        step: StepNo,
        /// The cloud's id of the import.
        material: String,
    },

    /// The import to follow did not become current by itself, or the first one is not recorded.
    #[error("step {step} follows `{material}`, which is no second import, or not of what is known")]
    FollowsUnknown {
        /// The number of the step.
        step: StepNo,
        /// The cloud's id of the import.
        material: String,
    },

    // Rules that the intent decides.
    /// The intent now says something else about the key.
    #[error("it is for something else than what is wanted of the key now")]
    Wanted,
    /// The approvals that it asks for differ from those of the key's rules.
    #[error("it asks for other approvals than the key's rules")]
    ApprovalsDiffer,
    /// The key is under another profile.
    #[error("the key is not under profile `{0}`")]
    OtherProfile(ProfileName),
    /// The placement is not wanted.
    #[error("placement {0} is not wanted so")]
    NotWanted(PlacementId),
    /// The rules do not allow the algorithm, or it cannot serve the key's purpose.
    #[error("placement {placement} must not be `{algorithm}`")]
    Algorithm {
        /// The placement.
        placement: PlacementId,
        /// Its algorithm in the change set.
        algorithm: Algorithm,
    },
    /// The placement would be used for something else than the key.
    #[error("placement {placement} would be made to {purpose}, which the key is not for")]
    Purpose {
        /// The placement.
        placement: PlacementId,
        /// Its use in the change set.
        purpose: Purpose,
    },
    /// The rules do not allow the destination.
    #[error("placement {placement} must not be at `{destination}`")]
    Location {
        /// The placement.
        placement: PlacementId,
        /// Its destination.
        destination: DestinationName,
    },
    /// The rules require the other source.
    #[error("step {0} makes bytes in another way than the rules say")]
    Source(StepNo),
    /// The bytes of a shared key's version would be made twice.
    #[error("step {step} makes bytes of version {version} that another placement has already, and the key's placements share theirs")]
    TwoOrigins {
        /// The number of the step.
        step: StepNo,
        /// The version.
        version: Version,
    },
    /// A placement would share bytes, though the key does not say `shared`.
    #[error("step {0} shares the bytes of another placement, which the key does not ask for")]
    Shares(StepNo),

    // Rules that the destinations decide.
    /// There is no such destination.
    #[error("there is no destination `{0}`")]
    UnknownDestination(DestinationName),
    /// The destination's fingerprint differs from the one in the change set.
    #[error("destination `{0}` is not the one that it was planned for")]
    OtherDestination(DestinationName),
    /// The destination protects keys less than the rules require.
    #[error("`{0}` protects less than the rules ask for")]
    Protection(DestinationName),
    /// The destination does not take this algorithm wrapped by this scheme.
    #[error("step {step} wraps by `{scheme}`, which `{destination}` does not take")]
    SchemeRefused {
        /// The number of the step.
        step: StepNo,
        /// The scheme of that step.
        scheme: WrapScheme,
        /// The destination.
        destination: DestinationName,
    },
    /// The import comes without a claim; only the holder of the claim ever gets material.
    #[error("step {0} imports without the claim")]
    Unclaimed(StepNo),
    /// The import comes without a wrapping key, which has to be created at this destination first.
    #[error("step {0} imports before the destination was asked for a key to wrap under")]
    Unprepared(StepNo),
    /// A wrapping key would be created at a destination that hands one out on request.
    #[error("step {0} asks for a key to wrap under where the destination gives one at each asking")]
    PreparesInVain(StepNo),
}
