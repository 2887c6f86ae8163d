//! The rules for change sets, each named by what breaks it.

use keyplane_model::{
    Action, Algorithm, DestinationName, Expectation, Generation, InstallationId, ObjectId, PlacementId, ProfileName, Purpose, Span, StepNo,
    Timestamp, Version, WrapScheme,
};

/// The most steps in a change set. Enough for 166 placements with six steps each, far more than any key has.
pub const MAX_STEPS: usize = 1_000;

/// A rule that a change set breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    // Rules that the change set alone decides.
    /// This program does not know the format.
    #[error("format {0} is not known")]
    Format(u32),
    #[error("it is for installation {0}")]
    Installation(InstallationId),
    /// The charter belongs to another installation.
    #[error("the charter is that of installation {0}")]
    CharterInstallation(InstallationId),
    /// Without a proposer, the rule that nobody approves an own proposal could not be enforced.
    #[error("nobody proposed it")]
    NoProposer,
    /// Its approvals have expired.
    #[error("its approvals ended at {0}")]
    Ended(Timestamp),
    /// Its approvals would count for longer than the charter or the key's rules allow.
    #[error("its approvals would count until {until}, longer than `{valid}` from now")]
    EndsTooLate {
        until: Timestamp,
        /// How long they may count.
        valid: Span,
    },
    #[error("it has no steps")]
    Empty,
    #[error("it has {0} steps, more than {MAX_STEPS}")]
    TooLong(usize),
    /// A step acts on a placement that the change set does not describe.
    #[error("step {0} is for a placement that it does not describe")]
    UnknownPlacement(StepNo),
    /// A described placement has no step.
    #[error("no step is for placement {0}")]
    IdlePlacement(PlacementId),
    /// Two placements have the same destination and name.
    #[error("placement {0} has the destination and name of another one")]
    SameAddress(PlacementId),
    /// Incarnations count from 1.
    #[error("placement {0} has incarnation 0")]
    Incarnation(PlacementId),
    /// The act does not belong to the action: clean-ups only remove surplus, imports remove nothing.
    #[error("step {step} does not belong to `{action}`")]
    WrongAct { step: StepNo, action: Action },
    /// The order is: mint or share, create, claim, prepare, import, publish.
    #[error("step {0} comes too late or too early")]
    Order(StepNo),
    /// The step repeats an earlier one.
    #[error("step {0} does again what an earlier step does")]
    Repeated(StepNo),
    #[error("step {step} expects `{found:?}`, not `{wanted:?}`")]
    Expectation {
        step: StepNo,
        found: Expectation,
        /// The state that its act needs.
        wanted: Expectation,
    },
    /// Versions and root epochs count from 1.
    #[error("step {0} is for a version or root epoch 0")]
    Zero(StepNo),
    /// A change set has one version only.
    #[error("step {step} is for version {version}, other steps for another one")]
    TwoVersions { step: StepNo, version: Version },
    /// A key pair cannot be derived.
    #[error("step {0} derives a key pair")]
    DerivedKeyPair(StepNo),
    /// The scheme does not wrap keys of that algorithm ([`WrapScheme::takes`]).
    #[error("step {step} wraps a private key by `{scheme}`, which is for secret keys")]
    SchemeUnfit { step: StepNo, scheme: WrapScheme },
    /// The scheme uses SHA-1 although the destination offers a better one.
    #[error("step {step} wraps by `{scheme}` where there is better")]
    SchemeWeak { step: StepNo, scheme: WrapScheme },
    #[error("it does not say what is wanted of the key")]
    NothingWanted,

    // Rules that the charter decides.
    /// The charter does not know the profile.
    #[error("the charter knows no profile `{0}`")]
    UnknownProfile(ProfileName),
    /// It asks for fewer approvals than the charter, or for approvals from other groups.
    #[error("it asks for fewer approvals than the charter, or from others")]
    ApprovalsLooser,
    /// Its rule is guarded by nobody: those who may change the members of its groups need not be those who satisfy it.
    #[error("it asks for approvals by a rule that is neither its profile's nor any key's in the charter")]
    ApprovalsUnknown,

    // Rules that the ledger decides.
    /// The key has changed since the change set was planned.
    #[error("the key is at generation {found}, it was planned at {planned}")]
    Generation {
        /// In the change set.
        planned: Generation,
        /// In the ledger.
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
    /// The placement already has bytes for this version; they never change.
    #[error("step {step} makes the bytes of version {version} again")]
    CopyExists { step: StepNo, version: Version },
    /// The version neither exists nor is the next one.
    #[error("step {step} makes version {version}, which neither exists nor comes next")]
    VersionGap { step: StepNo, version: Version },
    /// There are no bytes to import or share.
    #[error("step {step} imports version {version}, which has no bytes yet")]
    NoCopy { step: StepNo, version: Version },
    /// There is no object to import into.
    #[error("step {0} imports into nothing")]
    NoObject(StepNo),
    /// Nothing was imported that could be activated.
    #[error("step {0} publishes an object without our copy")]
    NotImported(StepNo),
    #[error("step {0} shares the bytes of its own placement")]
    SharesWithItself(StepNo),
    #[error("step {0} shares the bytes of another algorithm")]
    SharesOtherAlgorithm(StepNo),
    /// The import names bytes of another placement than the copy's record does.
    #[error("step {0} imports the bytes of another placement than the copy's")]
    OtherBytes(StepNo),
    /// The import says of bytes that were made before that this change set makes them, or names another profile, rule, source or root epoch
    /// than the copy's record does.
    #[error("step {0} does not say how the bytes that it imports were made")]
    OtherMaking(StepNo),
    /// The import uses another scheme than the prepare step.
    #[error("step {0} wraps in another way than was prepared")]
    PreparedOtherwise(StepNo),
    #[error("step {step} removes `{object}`, which is in use")]
    RemovesInUse { step: StepNo, object: ObjectId },
    /// The import to disable may be in use. Of two imports of a version one has to stay, and the ledger has to record one.
    #[error("step {step} disables `{material}`, which is the import that should stay, or no import that is known")]
    DisablesInUse {
        step: StepNo,
        /// The cloud's id of the import to disable.
        material: String,
    },

    /// The second import did not become current by itself, or the ledger does not record the first one.
    #[error("step {step} follows `{material}`, which is no second import, or not of what is known")]
    FollowsUnknown {
        step: StepNo,
        /// The cloud's id of the second import.
        material: String,
    },

    // Rules that the intent decides.
    /// The intent has changed for this key.
    #[error("it is for something else than what is wanted of the key now")]
    Wanted,
    /// The intent does not have the key any more.
    #[error("the key is not wanted any more")]
    KeyDropped,
    #[error("it asks for other approvals than the key's rules")]
    ApprovalsDiffer,
    /// The key is under another profile.
    #[error("the key is not under profile `{0}`")]
    OtherProfile(ProfileName),
    /// The intent does not have the placement.
    #[error("placement {placement} at `{destination}` is not wanted so")]
    NotWanted { placement: PlacementId, destination: DestinationName },
    /// The rules do not allow the algorithm, or it cannot serve the key's purpose.
    #[error("placement {placement} must not be `{algorithm}`")]
    Algorithm { placement: PlacementId, algorithm: Algorithm },
    /// The placement would be for another use than the key.
    #[error("placement {placement} would be made to {purpose}, which the key is not for")]
    Purpose { placement: PlacementId, purpose: Purpose },
    /// The rules do not allow the destination.
    #[error("placement {placement} must not be at `{destination}`")]
    Location { placement: PlacementId, destination: DestinationName },
    /// The rules require the other source.
    #[error("step {0} makes bytes in another way than the rules say")]
    Source(StepNo),
    /// The placements of a shared key have the same bytes, and this version's would be made twice.
    #[error("step {step} makes bytes of version {version} that another placement has already, and the key's placements share theirs")]
    TwoOrigins { step: StepNo, version: Version },
    /// A placement would share bytes, but the key is not `shared`.
    #[error("step {0} shares the bytes of another placement, which the key does not ask for")]
    Shares(StepNo),

    // Rules that the destinations decide.
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
    SchemeRefused { step: StepNo, scheme: WrapScheme, destination: DestinationName },
    /// The placement has no claim. Only the object with the claim ever gets material.
    #[error("step {0} imports without the claim")]
    Unclaimed(StepNo),
    /// The destination needs a prepare step before an import.
    #[error("step {0} imports before the destination was asked for a key to wrap under")]
    Unprepared(StepNo),
    /// The destination hands out a wrapping key on request, so a prepare step is not needed.
    #[error("step {0} asks for a key to wrap under where the destination gives one at each asking")]
    PreparesInVain(StepNo),
}
