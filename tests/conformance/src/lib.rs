//! One test suite for every cloud adapter: what [`keyplane_port::Cloud`] promises.
//!
//! An adapter's own tests implement [`Subject`] with its emulator and call `keyplane_conformance::runs!`, for each reading of what the
//! cloud's documents leave open. Under each reading every case is a test of its own, on a new, empty subject.
//!
//! Must not know of any vendor: where clouds differ, the cases ask [`keyplane_model::Capabilities`].

use std::sync::Arc;

use async_trait::async_trait;
use keyplane_model::{EvidenceStrength, InstallationId, ObjectId, Span, Target};
use keyplane_port::{Cloud, Mutation};

pub mod cases;
mod control;
mod fixture;
mod material;
mod wrap;

pub use control::{Control, Fault};
pub use material::{rsa_pair, rsa_public_key};
pub use wrap::wrap;

/// A cloud with its adapter, and the means to disturb it. It is empty at first; request quotas are off.
#[async_trait]
pub trait Subject: Send + Sync {
    fn cloud(&self) -> Arc<dyn Cloud>;

    /// The adapter with an address where nobody listens.
    fn cloud_at_a_dead_address(&self) -> Arc<dyn Cloud>;

    /// The adapter with credentials that the cloud refuses.
    fn cloud_with_wrong_credentials(&self) -> Arc<dyn Cloud>;

    /// The adapter's installation.
    fn installation(&self) -> InstallationId;

    /// The control interface of the emulator.
    fn control(&self) -> &Control;

    /// The cloud's own name for a kind of request.
    fn operation(&self, request: Request) -> &'static str;

    /// The next request of this kind, and only that one, meets this fault.
    async fn fault(&self, request: Request, fault: Fault) {
        self.control().fault(self.operation(request), fault).await;
    }

    async fn advance(&self, span: Span) {
        self.control().advance(span).await;
    }

    /// How many requests the cloud received so far. A request is counted no later than its effect.
    async fn requests(&self) -> u64 {
        self.control().counted().await.0
    }

    /// How many mutating requests the cloud received so far.
    async fn mutations(&self) -> u64 {
        self.control().counted().await.1
    }

    /// Whether an object can be used with this material (PKCS#8 for a key pair), or could be if it were activated. Checked without the
    /// adapter.
    async fn holds(&self, object: &ObjectId, material: &[u8]) -> bool;

    /// Encrypts under the users' name with the cloud's own client. `None`: the cloud refuses.
    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Option<Vec<u8>>;

    /// Decrypts the result of [`Subject::encrypt`]. `None`: the cloud refuses.
    async fn decrypt(&self, name: &str, ciphertext: &[u8]) -> Option<Vec<u8>>;

    /// Makes `count` objects that are not ours.
    async fn crowd(&self, count: usize) -> Vec<ObjectId>;

    /// The well-formed name of an object that does not exist.
    fn unknown_object(&self) -> ObjectId;

    /// A well-formed id of a material. `None`: materials are not disabled by themselves.
    fn unknown_material(&self) -> Option<String> {
        None
    }

    /// The well-formed name of a wrapping key that does not exist. Called only for clouds whose wrapping keys have to be made.
    fn unknown_wrapping_key(&self) -> ObjectId {
        self.unknown_object()
    }

    /// Gives a placement's claim to an object, without the adapter. Called only for clouds with claims.
    async fn squat(&self, target: &Target, object: &ObjectId);

    /// Others make an object that is not ours, and give it a users' name.
    async fn occupy(&self, name: &str) -> ObjectId;

    /// The strength of evidence for a copy: a symmetric one where the destination takes those, otherwise an RSA pair.
    fn symmetric_evidence(&self) -> EvidenceStrength;

    /// The changes that others can make to our objects.
    fn tamperings(&self) -> Vec<Tampering> {
        vec![Tampering::Marks, Tampering::Policy, Tampering::OtherMaterial, Tampering::NoMaterial]
    }

    /// Others change an object of ours.
    async fn tamper(&self, object: &ObjectId, tampering: Tampering);
}

/// A kind of request, in the port's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// That of [`keyplane_port::Mutation::Create`].
    Create,
    /// That of [`keyplane_port::Mutation::Claim`].
    Claim,
    /// That of [`keyplane_port::Mutation::Prepare`]. Only for clouds whose wrapping keys have to be made.
    Prepare,
    /// That of [`keyplane_port::Mutation::Import`].
    Import,
    /// That of [`keyplane_port::Mutation::Publish`].
    Publish,
    /// That of [`keyplane_port::Mutation::Disable`].
    Disable,
    /// That of [`keyplane_port::Mutation::Enable`].
    Enable,
    /// That of [`keyplane_port::Mutation::ScheduleDeletion`].
    ScheduleDeletion,
    /// That of [`keyplane_port::Mutation::Restore`].
    Restore,
    /// That of [`keyplane_port::Mutation::Purge`]. Only for clouds that keep the names of deleted objects.
    Purge,
    /// That of [`Cloud::wrapping_key`], and the first of [`Cloud::prepared`].
    WrappingKey,
    /// The first of [`Cloud::inspect`] and [`Cloud::look`].
    Inspect,
    /// The first of [`Cloud::sweep`].
    List,
    /// One of [`Cloud::sweep`] about a single object.
    ListedObject,
}

impl Request {
    /// The mutating kinds, in the order of a placement's life.
    pub fn mutating() -> impl Iterator<Item = Self> {
        std::iter::successors(Some(Self::Create), |request| request.next_mutating())
    }

    /// Without a catch-all arm, so that a new kind has to be put in its place.
    const fn next_mutating(self) -> Option<Self> {
        match self {
            Self::Create => Some(Self::Claim),
            Self::Claim => Some(Self::Prepare),
            Self::Prepare => Some(Self::Import),
            Self::Import => Some(Self::Publish),
            Self::Publish => Some(Self::Disable),
            Self::Disable => Some(Self::Enable),
            Self::Enable => Some(Self::ScheduleDeletion),
            Self::ScheduleDeletion => Some(Self::Restore),
            Self::Restore => Some(Self::Purge),
            Self::Purge | Self::WrappingKey | Self::Inspect | Self::List | Self::ListedObject => None,
        }
    }

    /// The kind of a mutation. Without a catch-all arm, so that a new mutation has to get a kind.
    pub(crate) const fn of(mutation: &Mutation) -> Self {
        match mutation {
            Mutation::Create { .. } => Self::Create,
            Mutation::Claim { .. } => Self::Claim,
            Mutation::Prepare { .. } => Self::Prepare,
            Mutation::Import { .. } => Self::Import,
            Mutation::Publish { .. } => Self::Publish,
            Mutation::Disable { .. } => Self::Disable,
            Mutation::Enable { .. } => Self::Enable,
            Mutation::ScheduleDeletion { .. } => Self::ScheduleDeletion,
            Mutation::Restore { .. } => Self::Restore,
            Mutation::Purge { .. } => Self::Purge,
        }
    }
}

/// A change that others make to an object of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    /// One of its marks is removed.
    Marks,
    /// It gets another access policy.
    Policy,
    /// Other material becomes current.
    OtherMaterial,
    /// Its material is deleted.
    NoMaterial,
}

/// Makes a test of every case. The argument is an async function without arguments that returns a [`Subject`].
#[macro_export]
macro_rules! suite {
    ($begin:path) => {
        $crate::suite! { $begin;
            life: an_imported_key_is_the_key_that_was_wrapped
            life: every_kind_of_key_is_the_key_that_was_wrapped
            life: an_object_is_recognisable_from_its_first_moment
            life: a_claim_can_be_had_once
            life: a_squatted_claim_shows_who_has_it
            life: a_taken_name_is_seen_and_not_taken_over
            life: an_object_has_its_name_alone
            life: what_does_not_exist_is_a_typed_not_found
            life: a_name_that_the_cloud_cannot_have_is_refused_without_a_request
            life: a_disabled_object_is_unusable_until_it_is_enabled
            life: a_scheduled_deletion_says_when
            life: what_is_leaving_can_be_restored
            life: what_was_deleted_is_purged_where_it_keeps_its_name
            life: a_deleted_name_is_not_had_again_before_its_time
            life: importing_the_same_bytes_again_changes_nothing
            life: other_bytes_are_refused_and_change_nothing
            life: what_could_not_be_unwrapped_is_imported_again_into_the_same_material
            life: lost_material_comes_back_by_the_same_bytes_alone
            life: two_imports_of_one_version_are_both_seen_and_one_is_switched_off
            life: an_expired_token_is_named_and_a_new_one_works
            faults: a_mutation_is_one_request_whatever_the_answer
            faults: an_error_without_an_effect_is_never_ambiguous
            faults: an_internal_error_of_a_mutation_is_ambiguous
            faults: a_failed_read_is_never_ambiguous
            faults: an_effect_after_the_call_was_given_up_is_found
            faults: a_lost_create_is_found_by_its_marks
            faults: a_lost_claim_is_found_by_looking
            faults: a_lost_prepare_leaves_one_wrapping_key_to_use
            faults: a_lost_import_is_found_by_its_version
            faults: nobody_at_the_address_is_told_apart
            faults: refused_credentials_are_told_apart
            faults: a_call_that_hangs_can_be_dropped
            lists: a_foreign_object_is_never_ours
            lists: what_another_installation_made_is_listed_as_theirs
            lists: a_handful_of_ours_is_found_among_thousands
            lists: more_of_ours_than_one_page_holds_are_all_found
            lists: what_a_sweep_told_is_not_read_again
            lists: one_object_that_cannot_be_read_is_counted_and_spoils_nothing
            lists: a_failing_list_fails_as_a_whole
            lists: a_foreign_cursor_is_refused
            lists: a_lagging_read_shows_the_past_or_the_present_and_nothing_else
            evidence: there_is_none_before_an_import
            evidence: an_imported_copy_is_what_the_cloud_shows
            evidence: a_key_pair_is_told_by_its_public_key
            evidence: a_disabled_copy_is_still_there
            evidence: tampering_takes_it_away
            matrix: every_mutation_under_every_fault_comes_to_the_same_end
        }
    };
    ($begin:path; $($module:ident: $case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::cases::$module::$case(&$begin().await).await;
            }
        )*
    };
}

/// The whole suite under each of several readings of what a cloud's documents leave open. For each name there is a module, and a function
/// that returns the readings. Beside them, an async function `begin` makes a [`Subject`] from readings.
#[macro_export]
macro_rules! runs {
    ($($run:ident)*) => {
        $(
            mod $run {
                async fn begin() -> impl $crate::Subject {
                    super::begin(super::$run()).await
                }

                $crate::suite!(begin);
            }
        )*
    };
}

/// Checks that every answer of every reading is used in one of these runs, and every number with two values.
///
/// INVARIANT: a new reading, or a new answer of one, does not compile until it is listed here.
#[macro_export]
macro_rules! assert_every_answer_is_in_force {
    ($runs:expr; $readings:ident { $($field:ident: $kind:ident { $($answer:ident)* })* }; numbers { $($number:ident)* }; beside { $($beside:ident)* }) => {
        let runs = $runs;
        for run in &runs {
            let $readings { $($field: _,)* $($number: _,)* $($beside: _,)* } = run;
        }
        $(
            let _ = |answer: $kind| match answer {
                $($kind::$answer => {})*
            };
            $(
                let is_in_force = runs.iter().any(|run| run.$field == $kind::$answer);
                assert!(is_in_force, "`{}` is `{}` in no run", stringify!($field), stringify!($answer));
            )*
        )*
        $(
            assert!(runs.iter().any(|run| run.$number != runs[0].$number), "`{}` is the same in every run", stringify!($number));
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_suite() {
        let listed = include_str!("lib.rs");
        for (module, source) in [
            ("life", include_str!("cases/life.rs")),
            ("faults", include_str!("cases/faults.rs")),
            ("lists", include_str!("cases/lists.rs")),
            ("evidence", include_str!("cases/evidence.rs")),
            ("matrix", include_str!("cases/matrix.rs")),
        ] {
            let cases: Vec<&str> = source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('<').next()).collect();
            assert!(!cases.is_empty(), "{module}");
            for case in cases {
                assert!(listed.contains(&format!("{module}: {case}\n")), "{module}: {case} is in no suite");
            }
        }
    }
}
