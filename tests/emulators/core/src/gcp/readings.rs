//! What Google's documents leave open, or contradict: each question is a switch, so that a client can be tested under every reading. Also
//! errors inside of answers, which the rules for faults cannot express.

use serde::{Deserialize, Serialize};

/// One answer for each open question. The default is the likeliest reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readings {
    /// How long an import job is `PENDING_GENERATION`, in milliseconds.
    pub job_millis: u32,
    /// How long an imported version is `PENDING_IMPORT`, in milliseconds.
    pub import_millis: u32,
    /// How long a generated asymmetric version is `PENDING_GENERATION`, in milliseconds.
    pub generation_millis: u32,
    /// When an import fails whose wrapped bytes are wrong: wrong wrapping, wrong length, or other material than before.
    pub bad_material: BadMaterial,
    /// The error of an import with a job that has expired.
    pub expired_job: ExpiredJob,
    /// The error of an import with a job that is not ready yet.
    pub pending_job: PendingJob,
    /// Whether a version that is not enabled can become the primary one.
    pub primary_of_unusable: PrimaryOfUnusable,
    /// The format of attestations.
    pub attestation: Attestation,
    /// The extended key check value of a secret key.
    pub extended_check: ExtendedCheck,
    /// The most entries on a page, whatever is asked for.
    pub largest_page: u32,
    /// Errors inside of answers.
    pub spoiled: Spoiled,
}

impl Default for Readings {
    fn default() -> Self {
        Self {
            job_millis: 200,
            import_millis: 200,
            generation_millis: 200,
            bad_material: BadMaterial::default(),
            expired_job: ExpiredJob::default(),
            pending_job: PendingJob::default(),
            primary_of_unusable: PrimaryOfUnusable::default(),
            attestation: Attestation::default(),
            extended_check: ExtendedCheck::default(),
            largest_page: 1_000,
            spoiled: Spoiled::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadMaterial {
    /// The import is accepted, and its version becomes `IMPORT_FAILED`.
    #[default]
    Later,
    /// `INVALID_ARGUMENT`, and no version is made.
    AtOnce,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiredJob {
    /// `FAILED_PRECONDITION`.
    #[default]
    FailedPrecondition,
    /// `INVALID_ARGUMENT`.
    InvalidArgument,
    /// `NOT_FOUND`.
    NotFound,
    /// The import is accepted, and its version becomes `IMPORT_FAILED`.
    ImportFailed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PendingJob {
    /// `FAILED_PRECONDITION`.
    #[default]
    FailedPrecondition,
    /// `INVALID_ARGUMENT`.
    InvalidArgument,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrimaryOfUnusable {
    /// `FAILED_PRECONDITION`.
    #[default]
    Refused,
    /// It can, but encrypting is refused until it is enabled.
    Accepted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attestation {
    /// `CAVIUM_V2_COMPRESSED`.
    #[default]
    CaviumV2,
    /// `CAVIUM_V1_COMPRESSED`.
    CaviumV1,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtendedCheck {
    /// HKDF (RFC 5869) with SHA-256, without salt and info.
    #[default]
    Hkdf,
    /// SHA-256 of the key.
    Sha256,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spoiled {
    /// The CRC32C of an answer's data is wrong.
    pub checksum: bool,
    /// Answers do not confirm a client's checksum, as if it had not arrived.
    pub verification: bool,
    /// Attestations have the check values of another key.
    pub check_value: bool,
    pub signature: bool,
}
